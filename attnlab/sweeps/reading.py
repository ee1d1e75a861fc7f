"""What a sweep reads of its store: each row once, unless somebody changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnlab.sweeps import migrate
from attnlab.sweeps.collecting import uncollected
from attnlab.sweeps.run import DAMAGED, Result, Run
from attnlab.sweeps.store import Known, Store, Stored

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.sweeps.experiment.read import Experiment

__all__ = ["Reading", "Swept"]


@dataclass(frozen=True)
class Swept:
    """An experiment whose runs are all stored.

    Attributes
    ----------
    experiment : Experiment
    runs : sequence of Run
        All that it plans.
    table : callable, () -> DataFrame
        Gives the table of these runs, in any thread, and the same one each time.
    """

    experiment: Experiment
    runs: Sequence[Run]
    table: Callable[[], pd.DataFrame]


class Reading:
    """Reads the rows of a store and keeps what they say. A row counts as read while its checksum is the one it had.

    Parameters
    ----------
    opened : Store
    """

    def __init__(self, opened: Store) -> None:
        self._opened = opened
        self._read: dict[str, Stored] = {}
        self._marks: dict[str, bytes] = {}  # the checksums in the rows when they were read

    def known(self, runs: Sequence[Run]) -> tuple[Mapping[str, Known], Mapping[str, bytes]]:
        """What the store knows of runs, as it is now, and the checksums of their rows, which were read before (`Leases.row_marks`)."""
        marks = self._look(runs)
        found = {run.run_id: self._read[run.run_id].known for run in runs if run.run_id in self._read}
        missing = [run.run_id for run in runs if run.run_id not in found]
        return found | migrate.known(self._opened, missing) if missing else found, marks

    def results(self, runs: Sequence[Run]) -> list[tuple[Run, Result]]:
        """The runs that the store has, in their order, as it is now; a damaged one as it is planned, with the status `damaged`."""
        self._look(runs)
        with uncollected():
            return self._results(runs)

    def _results(self, runs: Sequence[Run]) -> list[tuple[Run, Result]]:
        kept = {run.run_id: found.pair for run in runs if (found := self._read.get(run.run_id)) is not None}
        pairs = {run_id: pair for run_id, pair in kept.items() if pair is not None}
        if missing := [run.run_id for run in runs if run.run_id not in pairs]:
            pairs |= {pair[0].run_id: pair for pair in migrate.results(self._opened, missing)}
        found_now = ((run, *pairs[run.run_id]) for run in runs if run.run_id in pairs)
        return [
            (run if result.status == DAMAGED or kept_as == run else kept_as, result)
            for run, kept_as, result in found_now
        ]

    def _look(self, runs: Sequence[Run]) -> Mapping[str, bytes]:
        """Read what was not read yet, or is another by now."""
        ids = [run.run_id for run in runs]
        marks = self._opened.leases.row_marks(ids)
        new = [run_id for run_id, mark in marks.items() if self._marks.get(run_id) != mark]
        for run_id in self._read.keys() & (set(ids) - marks.keys()):
            del self._read[run_id], self._marks[run_id]
        if new:
            self._read |= self._opened.stored(new)
            self._marks |= {run_id: marks[run_id] for run_id in new}
        return marks
