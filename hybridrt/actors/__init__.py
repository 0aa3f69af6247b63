"""Objects that live in a worker of their own, and whose methods are awaited."""
