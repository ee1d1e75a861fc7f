"""The runs of one experiment, shared with whoever else sweeps them: claimed in small portions, and never done twice."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attnlab.sweeps.leases import Holder
from attnlab.sweeps.progress import Progress
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store
from attnlab.tables import visible

__all__ = ["Shared", "named"]

_SHORT, _LONG = 0.1, 1.0  # seconds between two claims: more runs are claimed at a time below, fewer above
_MOST_AHEAD = 1000  # runs claimed beyond those that are being done
_MEASURED = 0.5  # seconds for which the width of an executor counts
_LOOK = (0.05, 1.0)  # seconds between looks at what others do: at first, and at most


class Shared:
    """The runs that a coordinator is to do, less those that others do.

    Parameters
    ----------
    opened : Store
    todo : sequence of Run
    before : mapping of run_id to checksum
        The rows of these runs when it was decided that they are to be done (`Leases.row_marks`).
    executor : Executor
    progress : Progress
    wait : bool
        Whether to wait at the end for the runs that others are at work on. They are done here if the others die.
    again : callable, Run -> bool
        Whether a run that somebody else has just done must be done once more, with the code of this process.

    Attributes
    ----------
    elsewhere : dict of run_id to Holder
        At the end: what others are still at work on.
    """

    def __init__(
        self,
        opened: Store,
        todo: Sequence[Run],
        before: Mapping[str, bytes],
        executor: Any,
        progress: Progress,
        wait: bool = True,
        again: Callable[[Run], bool] = lambda run: False,
    ) -> None:
        self._leases, self._executor, self._progress = opened.leases, executor, progress
        self._runs = {run.run_id: run for run in todo}
        self._waiting = deque(self._runs)
        self._before = dict(before)
        self._wait, self._again = wait, again
        self._busy: set[str] = set()
        self._width = self._ahead = 0
        self._measured_at = self._claimed_at = 0.0
        self.elsewhere: dict[str, Holder] = {}

    def as_completed(self) -> Iterator[tuple[Run, Result]]:
        """Each run that was done here, with its result, as they end."""
        if not self._runs:
            return
        self._ahead = self._width_now()
        pause, told = _LOOK[0], False
        while True:
            self._claim()
            if self._busy:
                pause, told = _LOOK[0], False
                for run, result in self._executor.as_completed():
                    self._busy.discard(run.run_id)
                    yield run, result
                    self._claim()
                self._busy.clear()
            elif not (self.elsewhere and self._wait):
                return
            else:
                if not told:
                    self._progress.waiting(len(self.elsewhere), named(self.elsewhere.values()))
                told = True
                time.sleep(pause)
                pause = min(2 * pause, _LOOK[1])
                self._waiting.extend(self.elsewhere)
                self.elsewhere.clear()

    def _claim(self) -> None:
        """Hand over more runs, where the executor will soon have too few: about as many as it does in half a second."""
        while self._waiting and len(self._busy) < self._width_now() + (self._ahead + 1) // 2:
            elapsed = time.monotonic() - self._claimed_at
            if self._claimed_at and elapsed < _SHORT:
                self._ahead = min(2 * self._ahead + 1, _MOST_AHEAD)
            elif self._claimed_at and elapsed > _LONG:
                self._ahead //= 2
            self._claimed_at = time.monotonic()
            most = self._width + self._ahead - len(self._busy)
            claim = self._leases.claim([*itertools.islice(self._waiting, most + 500)], self._before, most)
            for _ in range(len(claim.mine) + len(claim.held) + len(claim.changed)):
                self._waiting.popleft()
            self.elsewhere |= claim.held
            self._done_by_others(claim.changed)
            for run_id in claim.mine:
                self._busy.add(run_id)
                self._executor.submit(self._runs[run_id])

    def _width_now(self) -> int:
        """How many runs the executor can do at a time, which may change: workers of a cluster come and go."""
        if not self._measured_at or time.monotonic() - self._measured_at > _MEASURED:
            self._width, self._measured_at = _width(self._executor), time.monotonic()
        return self._width

    def _done_by_others(self, changed: Sequence[str]) -> None:
        if not changed:
            return
        now = self._leases.row_marks(changed)
        once_more = [run_id for run_id in changed if run_id not in now or self._again(self._runs[run_id])]
        for run_id in once_more:
            self._before.pop(run_id, None)
        self._before |= now
        self._waiting.extend(once_more)
        self._progress.elsewhere(len(changed) - len(once_more))


def _width(executor: Any) -> int:
    """How many runs an executor can do at a time: what it says, or one a processor."""
    width = getattr(executor, "width", None)
    return max(1, int(width()) if callable(width) else os.cpu_count() or 1)


def named(holders: Any) -> str:
    """Who they are: 'process 12 on alpha, process 7 on beta'."""
    names = list(dict.fromkeys(visible(str(holder)) for holder in holders))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
