"""Which modules the zygote is to import for the workers to come, learned from what workers had to import.

A module goes through these states, and back only where the zygote is lost:

    needed      a worker has imported it for a call
    due         that was dear, or a second worker had to do it as well
    on trial    a probe, a process forked for this, is importing it
    proven      the probe found nothing that another process could feel
    loading     the zygote is importing it
    learned     later workers have it at once, and share its memory
    refused     for good, with the reason: the probe or the zygote has come to harm by it

A batch of modules goes through the trial in the order in which a worker had imported them. One bad module ends the
trial; the others get another one without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice

DEAR_SECONDS = 0.003
"""An import that took longer is worth a probe at once; a shorter one when a second worker has had to do it."""
QUICK_SECONDS = 0.25
"""The zygote forks nobody while it imports: what takes longer waits for a moment without calls..."""
INSISTENT = 3
"""...or until so many workers have had to import it, each of which took as long."""
MOST_MODULES = 4096
MOST_IN_A_TRIAL = 1500
"""Their names have to fit into one message to the zygote."""
MOST_REFUSED = 32
"""So many bad ones, and no more probes are made: this program's modules are not of the kind that can be shared."""
_NOT_NEWS = sys.stdlib_module_names | {"hybridrt"}


class _Need:
    __slots__ = ("seconds", "workers")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.workers = 0


class Learning:
    """Plain data in, decisions out. At most one batch is on trial, proven or loading at a time."""

    def __init__(self) -> None:
        self._needs: dict[str, _Need] = {}
        self._trial: tuple[str, ...] = ()
        self._proven: tuple[str, ...] = ()
        self._loading: tuple[str, ...] = ()
        self._seconds = 0.0  # that the proven batch took to import
        self._learned: dict[str, None] = {}
        self.refused: dict[str, str] = {}
        """Module and the reason why it is imported by each worker that needs it; its submodules are meant as well."""

    def needed(self, names: Iterable[str], seconds: float) -> None:
        """A worker had to import these, in this order, for a call that took ``seconds`` with all it did."""
        for name in names:
            if name in self._learned or self._is_refused(name):
                continue  # of a worker that is older than the lesson
            need = self._needs.get(name)
            if need is None:
                if len(self._needs) + len(self._learned) >= MOST_MODULES:
                    return
                need = self._needs[name] = _Need()
            need.workers += 1
            need.seconds = max(need.seconds, seconds)

    def next_trial(self) -> tuple[str, ...]:
        """What a probe is to import now, in this order; nothing while another batch is under way."""
        if self._trial or self._proven or self._loading or len(self.refused) >= MOST_REFUSED:
            return ()
        due = (name for name, need in self._needs.items() if need.seconds >= DEAR_SECONDS or need.workers > 1)
        self._trial = tuple(islice(due, MOST_IN_A_TRIAL))
        return self._trial

    def not_tried(self) -> None:
        """There was no probe: the batch on trial is due again."""
        self._trial = ()

    def found_clean(self, seconds: float) -> None:
        """The batch on trial harms nobody, and takes this long to import."""
        self._proven, self._trial = self._trial, ()
        self._seconds = seconds

    def found_unclean(self, index: int, why: str) -> None:
        """The module of this index in the batch must not be imported in the zygote; the others are due again."""
        if index < len(self._trial):
            self._refuse(self._trial[index], why)
        self._trial = ()

    def next_import(self, *, is_idle: bool) -> tuple[str, ...]:
        """What the zygote is to import now. ``is_idle``: no call is running or waiting, so nobody wants a worker."""
        proven = self._proven
        if not proven:
            return ()
        if not (is_idle or self._seconds <= QUICK_SECONDS or self._workers_that_needed(proven) >= INSISTENT):
            return ()
        self._loading, self._proven = proven, ()
        return proven

    def not_imported(self) -> None:
        """There was no zygote: the batch is due again."""
        self._loading = ()

    def imported(self) -> None:
        """The zygote has done so."""
        for name in self._loading:
            self._learned[name] = None
            self._needs.pop(name, None)
        self._loading = ()

    def zygote_lost(self) -> None:
        """The next one knows nothing. What this one was importing is refused: it may have died of that."""
        for name in self._loading:
            self._refuse(name, "the zygote died while it imported this")
        self._loading = ()
        again, self._learned = tuple(self._learned), {}
        self.needed(again, DEAR_SECONDS)
        self._trial = ()
        self._proven = ()

    def learned(self) -> tuple[str, ...]:
        """What later workers have at once: the outermost packages, without the standard library and ours."""
        return tuple(
            name
            for name in self._learned
            if name[0] != "_"
            and name.partition(".")[0] not in _NOT_NEWS
            and not _has_parent_in(name, self._learned)
        )

    def _workers_that_needed(self, names: tuple[str, ...]) -> int:
        return max(need.workers for name in names if (need := self._needs.get(name)) is not None)

    def _refuse(self, name: str, why: str) -> None:
        if not self._is_refused(name):
            self.refused[name] = why
        for other in tuple(self._needs):
            if self._is_refused(other):
                del self._needs[other]

    def _is_refused(self, name: str) -> bool:
        return name in self.refused or _has_parent_in(name, self.refused)


def _has_parent_in(name: str, names: dict[str, str] | dict[str, None]) -> bool:
    while name := name.rpartition(".")[0]:
        if name in names:
            return True
    return False
