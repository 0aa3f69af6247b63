"""What pools do when things go wrong: each failure is caused for real, in a fresh process, and written down."""
