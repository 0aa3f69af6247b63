"""The demo: one job on real files, done in four ways, with the event loop's delay, the time and the memory of each."""
