"""What the zygote learns for the workers to come: the core decides, this carries it out, in calm moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core.learning import Learning
from .._engine import parcel, wire

_PROBE_SECONDS = 60.0
"""What an import may take in a probe, which yields to everybody."""
_LEAST_LEARN_SECONDS, _LEARN_FACTOR = 5.0, 10.0
"""What the zygote may take for what a probe did in a tenth of that; then it has hung, and is replaced."""


class Lessons:
    """Belongs to the loop's thread.

    ``teach(message)`` sends to the zygote, and is False where there is none. ``is_idle()``: no call runs or waits.
    """

    def __init__(self, teach: Callable[[tuple[Any, ...]], bool], is_idle: Callable[[], bool]) -> None:
        self._teach = teach
        self._is_idle = is_idle
        self._learning = Learning()
        self._seconds = 0.0
        self.learned = self._learning.learned

    def needed(self, frame: wire.Frame) -> None:
        """A worker tells what a call has imported."""
        self._learning.needed(parcel.loads(frame.payload), frame.extra * 1e-6)

    def go_on(self) -> None:
        """The next step, if there is one. To be called now and then."""
        self._have_learned()
        names = self._learning.next_trial()
        if names and not self._teach(("probe", names, _PROBE_SECONDS)):
            self._learning.not_tried()

    def _have_learned(self) -> None:
        names = self._learning.next_import(is_idle=self._is_idle())
        if names:
            limit = max(_LEAST_LEARN_SECONDS, self._seconds * _LEARN_FACTOR)
            if not self._teach(("learn", names, limit)):
                self._learning.not_imported()

    def hear(self, message: tuple[Any, ...]) -> None:
        """What the zygote says, or that it is lost."""
        match message:
            case ("probed", int(index), str(why), float(seconds)):
                if why:
                    self._learning.found_unclean(index, why)
                else:
                    self._seconds = seconds
                    self._learning.found_clean(seconds)
                    self._have_learned()
            case ("not probed",):
                self._learning.not_tried()
            case ("learned",):
                self._learning.imported()
            case ("lost",):
                self._learning.zygote_lost()
