"""The cells of a results table, collected by column. What many rows share is kept once, with the number of its row.

Most runs differ from others in their seed alone, and have the same metrics. So their settings are those of one row, which is
taken many times, and their metrics are put into columns all at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.sweeps.columns import columns, seed_in
from attnlab.sweeps.run import Run

__all__ = ["Cells", "Coded", "Settings"]


class Coded:
    """A column of few values: each value once, and for each row which it has. Values that are equal are the same."""

    def __init__(self) -> None:
        self._codes: list[int] = []
        self._known: dict[Hashable, int] = {}

    def append(self, value: Hashable) -> None:
        self._codes.append(self._known.setdefault(value, len(self._known)))

    def cells(self) -> Any:
        return _taken(list(self._known), self._codes)


class Settings:
    """The columns of runs, as `columns` gives them, and what is said of them besides."""

    def __init__(self) -> None:
        self.each: list[dict[str, Any]] = []  # each distinct row without its seed
        self.codes: list[int] = []  # of each row of the table
        self._seeds: list[Any] = []
        self._known: dict[Hashable, int] = {}
        self._columns: dict[str, dict[str, Any]] = {}

    def code(self, experiment: str, run: Run, tuned: Mapping[str, Any]) -> tuple[int, Any]:
        """Which of the distinct rows a run has, with the settings that were chosen for it; and its seed."""
        seed = seed_in(run)
        key = (experiment, run.but_the_seed, repr(tuned) if tuned else "")
        if seed is None or "seed" in tuned:
            self.each.append({"experiment": experiment, **columns(run), **tuned})
            return len(self.each) - 1, self.each[-1].get("seed", np.nan)
        if (found := self._known.get(key)) is None:
            found = self._known[key] = len(self.each)
            self.each.append({"experiment": experiment, **columns(run, self._columns), **tuned})
        return found, seed

    def append(self, code: int, seed: Any) -> None:
        """A row of the table."""
        self.codes.append(code)
        self._seeds.append(seed)

    def cells(self, name: str) -> Any:
        """A column."""
        if name == "seed":
            return self._seeds
        return _taken([row.get(name, np.nan) for row in self.each], self.codes)


class _Alike(NamedTuple):
    """The rows that have the same metrics."""

    names: tuple[str, ...]
    rows: list[int]
    values: list[tuple[Any, ...]]


class Cells:
    """A table under construction.

    Parameters
    ----------
    own : sequence of str
        The columns that each row has one cell of, which no setting and no metric takes the place of.
    few : collection of str
        Those of them that are texts and have few different ones.
    """

    def __init__(self, own: Sequence[str], few: Iterable[str] = ()) -> None:
        self.settings = Settings()
        self.n_rows = 0
        self._few = {name: Coded() for name in own if name in {*few}}
        self._own: dict[str, Any] = {name: self._few.get(name, []) for name in own}
        self._appends = [column.append for column in self._own.values()]
        self._alike: dict[tuple[str, ...], _Alike] = {}
        self._shapes: dict[tuple[int, tuple[str, ...]], tuple[_Alike, bool]] = {}
        self._names: dict[str, None] = {}

    def append(self, code: int, seed: Any, metrics: Mapping[str, Any], own: Iterable[Any]) -> None:
        """A row: which of the settings it has, its seed, its metrics, and its own cells."""
        shape = (code, tuple(metrics))
        found = self._shapes.get(shape)
        if found is None:
            found = self._shapes[shape] = self._shape(*shape)
        alike, whole = found
        alike.rows.append(self.n_rows)
        alike.values.append(tuple(metrics.values()) if whole else tuple(metrics[name] for name in alike.names))
        self.settings.append(code, seed)
        for append, cell in zip(self._appends, own, strict=True):
            append(cell)
        self.n_rows += 1

    def _shape(self, code: int, metrics: tuple[str, ...]) -> tuple[_Alike, bool]:
        settings = self.settings.each[code]
        kept = tuple(name for name in metrics if name not in settings and name not in self._own)
        self._names |= dict.fromkeys((*settings, *kept, *self._own))
        return self._alike.setdefault(kept, _Alike(kept, [], [])), kept == metrics

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they first occur."""
        return list(self._names)

    def column(self, name: str) -> Any:
        """The cells of a column: a list, or an array that a table takes as it is."""
        if name in self._own:
            return self._few[name].cells() if name in self._few else self._own[name]
        measured = [alike for alike in self._alike.values() if name in alike.names]
        if not measured:
            return self.settings.cells(name)
        if len(measured) == 1 and len(measured[0].rows) == self.n_rows:
            return _cells_of(measured[0], name)
        each = self.settings.each
        cells = [each[code].get(name, np.nan) for code in self.settings.codes]
        for alike in measured:
            for row, value in zip(alike.rows, _cells_of(alike, name), strict=True):
                cells[row] = value
        return cells


def _cells_of(alike: _Alike, name: str) -> list[Any]:
    place = alike.names.index(name)
    return [values[place] for values in alike.values]


def _taken(values: list[Any], codes: list[int]) -> Any:
    """The values that the codes tell, as pandas keeps a column of them."""
    import pandas as pd

    return pd.Series(values).array.take(np.array(codes, dtype=np.intp))
