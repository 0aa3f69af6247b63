"""Many values in the place of one: what stands on the lanes."""
