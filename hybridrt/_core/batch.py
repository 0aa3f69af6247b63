"""How a method that takes many items at once is called by many who have one each."""

from __future__ import annotations

from dataclasses import dataclass

BATCH = "__hybridrt_batch__"
"""The attribute that ``batched`` sets on what stands in the class; ``__wrapped__`` is the method that takes many."""


@dataclass(frozen=True, slots=True)
class Batch:
    """At most ``max_size`` items in one call; the first of them waits for others for at most ``max_delay`` seconds."""

    max_size: int
    max_delay: float
