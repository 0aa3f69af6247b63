"""Floor 0, DECIDE: plain data and rules, without loop, threads, sockets or clocks (``now`` is an argument)."""
