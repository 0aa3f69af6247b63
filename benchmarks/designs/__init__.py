"""Prototypes of designs that were weighed against each other, without features: what each costs at the least."""
