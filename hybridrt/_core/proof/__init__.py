"""Whether a function means the same in a worker process: shown from its source, or refused with the reason.

TODO
"""

from __future__ import annotations

from .plain import may_travel, refusal_of
from .verdict import Verdict, examine

__all__ = ["Verdict", "examine", "may_travel", "refusal_of"]
