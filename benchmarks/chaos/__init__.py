"""Random calls, kills, cancels and time limits, and a ledger of what really ran: nothing lost, doubled or left."""
