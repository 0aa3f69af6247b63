"""What map, streams, actors and queues cost and hold: ``python -m benchmarks.flow``."""
