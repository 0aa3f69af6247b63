"""Whether ``run`` puts real functions where they belong, and what that is worth: ``python -m benchmarks.placement``."""
