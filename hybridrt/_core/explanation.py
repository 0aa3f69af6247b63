"""Why a function is placed where it is, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from .function import COROUTINE, Function
from .knowledge import QUICK, QUICK_SECONDS, RELEASES, UNKNOWN, WAITS, Knowledge
from .placement import CPU_THREAD, LOOP, PROCESS, THREAD, THREAD_ONLY, place, place_measured
from .size_class import in_words


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why ``run`` places a function where it does. ``str()`` of it is one paragraph for people."""

    function: str
    lane: str
    reason: str
    runs_in_thread: int
    mean_in_thread: float
    """Seconds."""
    runs_in_process: int
    mean_in_process: float
    """Seconds."""
    seen: int = 0
    """Calls that were measured in a thread, under the probe."""
    cpu: float | None = None
    """CPU seconds of one call; None where none was seen."""
    waited: float | None = None
    """Seconds that one call waits, for anything but a CPU or the GIL."""
    gil_share: float | None = None
    """The share of a call's running time for which it keeps the GIL from other threads; None where that is unknown."""
    shipping: float | None = None
    """Seconds to pickle its arguments and its result; None where that was not tried."""
    may_move: bool | None = None
    """Whether a process would do as well, by what it does and is given; None where that was not examined."""

    def __str__(self) -> str:
        facts = [
            f"{runs} runs in a {lane}, {mean * 1e3:.3g} ms each"
            for lane, runs, mean in (
                ("thread", self.runs_in_thread, self.mean_in_thread),
                ("process", self.runs_in_process, self.mean_in_process),
            )
            if runs
        ]
        if self.cpu is not None:
            facts.append(f"{self.cpu * 1e3:.3g} ms of CPU a call")
        if self.gil_share is not None:
            facts.append(f"keeps the GIL for {min(1.0, self.gil_share):.0%} of it")
        if self.shipping is not None:
            facts.append(f"{self.shipping * 1e3:.3g} ms to pickle what goes and comes")
        return (
            f"{self.function} -> {self.lane}: {self.reason}. Measured: {'; '.join(facts) or 'nothing yet'}."
        )


def explain(function: Function, *, threads_compute: bool = False) -> Explanation:
    """The placement of this function with its reason and what has been measured of it.

    Where it depends on the size of the arguments: that of the size which came last, and the reason tells of all.
    """
    if not function.is_measured:
        lane = place(function, threads_compute=threads_compute)
        reason = _declared_reason(function, lane)
        return _explanation(function, function, THREAD if lane == CPU_THREAD else lane, reason)
    sized = function if function.knowledge.crashes else function.latest or function
    known = sized.knowledge
    lane = _lane_of(sized)
    reason = _reason(known, lane)
    if function.by_size:
        lanes = ", ".join(
            f"{in_words(size)}: {_lane_of(it)}" for size, it in sorted(function.by_size.items())
        )
        reason += f" (it depends on the size of the arguments: {lanes})"
    return _explanation(function, sized, lane, reason)


def _lane_of(function: Function) -> str:
    known = function.knowledge
    is_away = place_measured(known) == PROCESS or (not known.is_settled and known.is_promising)
    return PROCESS if is_away else THREAD


def _explanation(function: Function, sized: Function, lane: str, reason: str) -> Explanation:
    known = sized.knowledge
    return Explanation(
        function.name,
        lane,
        reason,
        sized.in_thread.runs,
        sized.in_thread.mean,
        sized.in_process.runs,
        sized.in_process.mean,
        known.sights,
        known.work if known.sights else None,
        known.waited if known.sights else None,
        known.share,
        known.shipping,
        known.is_movable if known.verdict is not None else None,
    )


def _declared_reason(function: Function, lane: str) -> str:
    if lane == CPU_THREAD:
        return "it is declared @cpu_bound, and threads compute side by side here (no GIL, cpu_threads is set)"
    if function.declared == THREAD_ONLY:
        return "it is declared @thread_only"
    if function.declared == THREAD and lane == LOOP:
        return "it is declared @io_bound, and a coroutine function waits on the loop itself"
    if function.declared is not None:
        return f"it is declared {'@cpu_bound' if lane == PROCESS else '@io_bound'}"
    if function.kind == COROUTINE:
        return "it is a coroutine function, so it runs on the loop"
    return "it is a generator function, and a generator cannot leave its process"


def _reason(known: Knowledge, lane: str) -> str:
    if known.crashes:
        return "a worker died of it, which in a thread would have been the end of the whole program"
    if not known.is_settled:
        return _first_impression(known, lane)
    if lane == PROCESS:
        return (
            f"it computes and keeps the GIL from others for {known.held * 1e3:.3g} ms a call, "
            f"against {known.cost_of_going * 1e3:.3g} ms that sending it to a process costs; {_why_movable(known)}"
        )
    kind = known.kind
    if kind == WAITS:
        return "it mostly waits"
    if kind == QUICK:
        total = (known.work + known.waited) * 1e6
        return f"it is done in {total:.0f} us, before a process would have it (below {QUICK_SECONDS * 1e6:.0f} us)"
    if kind == RELEASES:
        return "it computes, but lets other threads have the GIL meanwhile"
    if kind == UNKNOWN:
        return "how much it keeps the GIL from others could not be seen"
    if known.obstacle:
        return f"it computes and keeps the GIL from others, but it stays in a thread: {known.obstacle}"
    if known.verdict is not None and not known.verdict.is_movable:
        return f"it computes and keeps the GIL from others, but it stays in a thread: {known.verdict.reason}"
    if known.verdict is None:
        return "it computes and keeps the GIL from others, but whether it may be moved was not examined yet"
    return (
        f"it computes and keeps the GIL from others, but only for {known.held * 1e3:.3g} ms a call, "
        f"against {known.cost_of_going * 1e3:.3g} ms that sending it to a process costs"
    )


def _first_impression(known: Knowledge, lane: str) -> str:
    if not known.sights:
        return "nothing is known of it yet, so it runs in a thread, where every function can run"
    if lane == PROCESS:
        return (
            f"it computes, and by what little is known of it yet keeps the GIL from others for "
            f"{known.held * 1e3:.3g} ms a call; {_why_movable(known)}"
        )
    return "too little is known of it yet, so it runs in a thread, where every function can run"


def _why_movable(known: Knowledge) -> str:
    return known.verdict.reason if known.verdict is not None else "it may be moved"
