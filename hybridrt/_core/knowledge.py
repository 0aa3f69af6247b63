"""What is known of the calls of one function, and where they belong by it.

Theory of operation. A call of an unknown function runs in a thread under the probe: a sight. After two of them the
function is known: it is *quick*, or it *waits*, or it *computes* and either *releases* the GIL or *holds* it. Only the
last kind gains by a process, if what it would cost others in a thread is worth more than sending it there and back,
and if it may be moved at all.

Once known, a call costs a few comparisons. What is known is looked at again when the run times leave the range in which
it is true, and now and then anyway, ever more seldom. To leave a place takes more than it took to come there, so
functions on the line do not go to and fro.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .sight import HELD_SHARE, Sight

if TYPE_CHECKING:
    from .proof.verdict import Verdict

QUICK_SECONDS = 150e-6
"""What takes less is done before a worker has it."""
DISPATCH_SECONDS = 100e-6
"""Of the loop's time, and of others', for one small call there and back: 20 to 100, measured."""
_WORTH_GOING = 1.5
_WORTH_STAYING = 0.7

_ENOUGH_SIGHTS = 2
_SURE_SIGHTS = 2
"""To say of a call that it keeps the GIL: want of a CPU can look like it, and nothing can look like the contrary."""
_UNOPPOSED_SIGHTS = 4
"""Among so many one is enough, where the probe had no CPU for the others: one that lets go would have been seen to."""
_CLEAR_SHARE = 0.8
_MOST_DOUBTFUL = 5
_MOST_SIGHTS = 12
"""Of which nothing is to be seen; then its times have to do."""
_REMEMBERED = 4
_CHANGED = 4.0
_SHORT_SECONDS = 0.005
_NEVER = float("inf")

_LOOKS_AT_FIRST = 32
_MOST_BETWEEN_LOOKS = 1 << 13
_SURE_BITS = 2
"""A look costs others more where the call belongs in a process: so many times more seldom, in powers of two."""
DEAREST_LOOK_SECONDS = 0.02
"""So long a look in passing may keep the GIL, where there is no reason to doubt."""

UNKNOWN = "unknown"
QUICK = "quick"
WAITS = "waits"
RELEASES = "releases"
HOLDS = "holds"


@dataclass(slots=True)
class Knowledge:
    """Of the calls of one function, or of those with arguments of one size. Seconds, all of them."""

    sights: int = 0
    since: int = 0
    """Sights since it last changed."""
    work: float = 0.0
    """CPU time of one call."""
    waited: float = 0.0
    """Time in which one call neither computed nor competed for a CPU."""
    share: float | None = None
    """The share of its running time for which a call keeps the GIL from others; None where nobody knows."""
    shipping: float | None = None
    obstacle: str = ""
    verdict: Verdict | None = None
    is_doubtful: bool = False
    """Whether it is only by what may have been other calls' doing that it is said to hold the GIL."""
    is_settled: bool = False
    is_away: bool = False
    """Whether its calls go to processes."""
    was_away: bool = False
    """Whether they did in an earlier program, and it is not confirmed yet."""
    is_short: bool = False
    """Whether a call keeps the GIL so briefly that it is better run here than put behind others that do not end."""
    crashes: int = 0
    """Workers that died of it."""
    low: float = 0.0
    high: float = _NEVER
    """The run times between which there is no reason to look again."""
    left: int = 0
    """Calls until it is looked at in passing."""
    looks: int = 0
    last_size: int | None = None
    """The class of the size of the arguments that were seen last."""
    releases: bool = False
    """Whether its calls compute, and let others have the GIL; as ``kind`` was when it was settled."""
    seems_harmless: bool = False
    """Whether its first call, which has not ended yet, waits for something, or lets others have the GIL."""
    seen_at: float | None = None
    """The run time at which another look was found to be due."""
    _waited_last: float = 0.0
    _shares: list[float] = field(default_factory=list)
    _doubtful: int = 0

    @property
    def kind(self) -> str:
        """One of the five words at the head of this module."""
        if not self.sights:
            return UNKNOWN
        if self.waited > self.work:
            return WAITS
        if self.work + self.waited < QUICK_SECONDS:
            return QUICK
        if self.share is None:
            return UNKNOWN
        return HOLDS if self.share > HELD_SHARE else RELEASES

    @property
    def held(self) -> float:
        """Seconds for which one call keeps the GIL from others."""
        return self.work * self.held_share

    @property
    def held_share(self) -> float:
        """``share``, or all where nobody knows."""
        return 1.0 if self.share is None else self.share

    @property
    def cost_of_going(self) -> float:
        """Seconds that one call in a process costs others: dispatch, and pickling there and back."""
        return DISPATCH_SECONDS + (self.shipping or 0.0)

    @property
    def is_suspect(self) -> bool:
        """Whether a call of it may keep the GIL, as far as is known."""
        if not self.sights:
            return not self.seems_harmless
        return self.work > self.waited and self.held_share > HELD_SHARE

    @property
    def is_promising(self) -> bool:
        """Whether its calls will probably belong in a process, by a sight that is not enough to say so."""
        return (
            self.since > 0
            and self.is_movable
            and self.shipping is not None
            and self.work > self.waited
            and self.held_share > HELD_SHARE
            and self.held > _WORTH_GOING * self.cost_of_going
        )

    @property
    def is_movable(self) -> bool:
        """Whether its calls mean the same in a process, and can be sent there."""
        return self.verdict is not None and self.verdict.is_movable and not self.obstacle

    def learn(self, sight: Sight) -> None:
        """One more call was seen in a thread."""
        self.sights += 1
        has_changed = self.since > 0 and not _alike(self.work + self.waited, sight.cpu + sight.waited)
        if has_changed or not self.since:
            # The first call of all imports and fills caches; and what was true of other input may be no more.
            self.since = 1
            self.work, self.waited = sight.cpu, sight.waited
            self.share = None
            self._shares.clear()
            self._doubtful = 0
        else:
            self.since += 1
            self.work += 0.5 * (sight.cpu - self.work)
            # The lesser: while the machine itself stands still, as virtual ones do, every call seems to wait.
            self.waited = min(self._waited_last, sight.waited)
        self._waited_last = sight.waited
        if sight.verdict is not None:
            self.verdict = sight.verdict
        if sight.shipping is not None:
            self.shipping = sight.shipping
        if sight.obstacle is not None:
            self.obstacle = sight.obstacle
        self._weigh(sight)
        if self._is_enough():
            self._settle(has_changed)
        else:
            self.is_settled = False

    def _weigh(self, sight: Sight) -> None:
        if sight.is_doubtful:
            self._doubtful += 1
            if self.share is None and self._doubtful >= _MOST_DOUBTFUL:
                self.share = sight.share
                self.is_doubtful = True
        elif sight.is_evidence:
            if self.is_doubtful:
                self._shares.clear()
                self.is_doubtful = False
            self._shares = [*self._shares[1 - _REMEMBERED :], sight.share]
            # The least of them: a look that comes late for want of a CPU can only make it seem more.
            self.share = min(1.0, *self._shares)

    def _is_enough(self) -> bool:
        if self.is_settled and self.since > _ENOUGH_SIGHTS and self.kind != UNKNOWN:
            return True  # one more look at what is known
        if self.since < _ENOUGH_SIGHTS:
            return False
        if self.kind == UNKNOWN:
            return self.since >= _MOST_SIGHTS
        if self.kind != HOLDS or self.is_doubtful:
            return True
        is_unopposed = self.since >= _UNOPPOSED_SIGHTS and self.held_share > _CLEAR_SHARE
        return len(self._shares) >= (1 if is_unopposed else _SURE_SIGHTS)

    def _settle(self, has_changed: bool) -> None:
        self.is_settled = True
        gain = self.held / self.cost_of_going
        worth = _WORTH_STAYING if self.is_away else _WORTH_GOING
        self.is_away = self.kind == HOLDS and self.is_movable and self.shipping is not None and gain > worth
        self.releases = self.kind == RELEASES
        self.is_short = self.held < _SHORT_SECONDS
        total = self.work + self.waited
        if self.is_away:
            self.low = _WORTH_STAYING * self.cost_of_going
            self.high = _NEVER
        else:
            self.low = total / _CHANGED if total > QUICK_SECONDS else 0.0
            self.high = max(_CHANGED * total, 2.0 * QUICK_SECONDS)
            if not has_changed and self.seen_at is not None:
                # The same work as ever: where calls compete, their times are not their own.
                self.low = min(self.low, self.seen_at / _CHANGED)
                self.high = max(self.high, self.seen_at * _CHANGED)
        self.seen_at = None
        self.looks += 1
        if self.kind == UNKNOWN:
            self.left = _LOOKS_AT_FIRST
        elif self.is_doubtful:
            self.left = _LOOKS_AT_FIRST << min(self.looks // 2, 4)
        else:
            is_sure = self.is_away and len(self._shares) >= _SURE_SIGHTS
            longer = min(self.looks, 10) + (_SURE_BITS if is_sure else 0)
            self.left = min(_LOOKS_AT_FIRST << longer, _MOST_BETWEEN_LOOKS)

    def presume(self, other: Knowledge, growth: float) -> None:
        """Take it that its calls are as those of ``other``, with so many times the work, until more is known.

        Only what that makes a holder worth sending away is settled by it; all else is soon seen in a thread.
        """
        self.sights, self.since = other.sights, 0
        self.work, self.waited = other.work * growth, other.waited
        self.share = other.share
        self.shipping = None if other.shipping is None else other.shipping * growth
        self.verdict, self.obstacle = other.verdict, other.obstacle
        self._settle(has_changed=True)
        if not self.is_away:
            self.is_settled = False

    def recall(self, *, was_away: bool) -> None:
        """These figures are from an earlier program: one sight is enough to confirm them."""
        self.was_away = was_away
        if was_away:
            self.since = 1
            self._shares = [self.held_share] * (_SURE_SIGHTS - 1)
        elif self.sights:
            self._settle(has_changed=True)

    def confirm(self, verdict: Verdict) -> None:
        """Believe the earlier program without a sight: its calls keep the GIL for too long to be tried out."""
        self.was_away = False
        self.verdict = verdict
        self._settle(has_changed=True)

    def is_due(self, mean: float) -> bool:
        """Whether the next call is to be seen, where they take ``mean`` seconds of late; to be asked at each call."""
        if self.low <= mean <= self.high:
            self.left -= 1
            if self.left > 0:
                return False
            if self.is_away and not self.is_doubtful and self.work > DEAREST_LOOK_SECONDS:
                self.left = _MOST_BETWEEN_LOOKS
                return False
        self.seen_at = mean
        # One look is enough; should it fail, another.
        self.low, self.high, self.left = 0.0, _NEVER, _LOOKS_AT_FIRST
        return True


def _alike(one: float, other: float) -> bool:
    least, most = sorted((one, other))
    return most < _CHANGED * least or most < QUICK_SECONDS
