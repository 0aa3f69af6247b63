"""Listens only: delete this folder and everything else still runs."""
