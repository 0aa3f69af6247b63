"""Where the time of one call goes, by counting tools: ``python -m benchmarks.profile`` writes ``profile.md``."""
