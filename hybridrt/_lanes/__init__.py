"""Floor 2, RUN: the places where work happens, each behind the same small contract (see ``contract``)."""
