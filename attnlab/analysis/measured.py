"""A results table as arrays, taken apart by point of the grid and test condition. Ten thousand runs are no burden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Cell", "Measured"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """The rows of one point of the grid, and among them the successful ones of one test condition."""

    condition: str
    group: Places  # rows of the table, of any status and condition
    here: Places


class Measured:
    """A results table as arrays.

    Parameters
    ----------
    frame : DataFrame
    points : columns that tell points of the grid apart
    metrics : columns of numbers, or names of which no run has a value
    """

    def __init__(self, frame: pd.DataFrame, points: Sequence[str], metrics: Iterable[str]) -> None:
        self.frame = frame
        self.ok = (frame["status"] == "ok").to_numpy()
        self.tests = frame["test"].to_numpy(object)
        self.runs = pd.factorize(frame["run_id"])[0]
        self.has_seed = "seed" in frame
        self.seeds = pd.factorize(frame["seed"], sort=True)[0] if self.has_seed else np.arange(len(frame))
        self.has_model_seed = "model_seed" in frame
        self._values = {m: self._numbers(m) for m in dict.fromkeys(metrics)}
        ids = self._codes(points)
        order = np.argsort(ids, kind="stable")
        self.groups = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
        settings = [c for c in frame.columns if c == "task" or c.startswith("task.")]
        self._conditions = [self._conditions_of(settings), self._conditions_of([c for c in settings if c == "task"])]

    def _codes(self, columns: Sequence[str]) -> Places:
        """A number for each row by its values in some columns."""
        if not columns:
            return np.zeros(len(self.frame), dtype=np.int64)
        codes: Any = self.frame.groupby(list(columns), dropna=False, sort=False).ngroup().to_numpy(dtype=np.int64)
        return codes

    def _conditions_of(self, columns: Sequence[str]) -> tuple[Places, dict[int, set[str]]]:
        """A number for each row by its task, and by these numbers the conditions in which some run succeeded."""
        codes = self._codes(columns)
        found: dict[int, set[str]] = {}
        for task, condition in zip(codes[self.ok].tolist(), self.tests[self.ok], strict=True):
            found.setdefault(task, set()).add(condition)
        return codes, found

    def _numbers(self, metric: str) -> Floats:
        if metric not in self.frame:
            return np.full(len(self.frame), np.nan)
        return pd.to_numeric(self.frame[metric], errors="coerce").to_numpy(float, na_value=np.nan)

    def cells(self, conditions: Sequence[str]) -> Iterator[Cell]:
        """Each point of the grid, as they first occur, in each condition that its task has."""
        for group in self.groups:
            good = group[self.ok[group]]
            known = self._conditions_of_its_task(group)
            for condition in conditions:
                if not known or condition in known:
                    yield Cell(condition, group, good[self.tests[good] == condition])

    def _conditions_of_its_task(self, group: Places) -> set[str]:
        """The test conditions in which some run of the same task succeeded: with the same settings, or else with any."""
        for codes, known in self._conditions:
            if found := set().union(*(known.get(task, ()) for task in np.unique(codes[group]).tolist())):
                return found
        return set()

    def values(self, metric: str, rows: Places) -> Floats:
        """The values of a metric in some rows, one a seed of the data: runs that differ in the model's seed are averaged."""
        return self.one_a_seed(self._values[metric][rows], rows)

    def one_a_seed(self, values: Floats, rows: Places) -> Floats:
        """Values of some rows as they are; or, where the model has seeds of its own, their mean for each seed of the data."""
        return self.by_seed(values, rows)[1] if self.has_model_seed else values

    def by_seed(self, values: Floats, rows: Places) -> tuple[Places, Floats]:
        """The seeds (as numbers) of some rows, and the mean of the values of each, NaN left out."""
        seeds, places = np.unique(self.seeds[rows], return_inverse=True)
        there = ~np.isnan(values)
        counts = np.bincount(places[there], minlength=len(seeds))
        with np.errstate(invalid="ignore", divide="ignore"):
            return seeds, np.bincount(places[there], weights=values[there], minlength=len(seeds)) / counts

    def column(self, metric: str) -> Floats:
        """A metric of every row."""
        return self._values[metric]

    def content(self, metrics: Sequence[str], rows: Places) -> Any:
        """All that some rows have of some metrics, seed by seed, as something that can be compared."""
        seeds = [self.seeds[rows].astype(float)]
        if self.has_model_seed:
            seeds.append(pd.to_numeric(self.frame["model_seed"].iloc[rows], errors="coerce").to_numpy(float))
        table = np.column_stack([*seeds, *(self._values[m][rows] for m in metrics)])
        return table[np.lexsort(table.T[::-1])].tobytes()
