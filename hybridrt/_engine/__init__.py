"""Floor 1, WORKERS: child processes of our own, and the bytes between them and us."""
