"""hybridrt beside its peers and beside the floor: ``python -m benchmarks``.

Every worker process of every contestant imports this package for the functions in ``work``, so it is empty.
"""
