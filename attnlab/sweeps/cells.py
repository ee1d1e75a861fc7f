"""The cells of a results table, collected by column. What many rows share is kept once, with the number of its row.

Most runs differ from others in their seed alone, and have the same metrics. So their settings are those of one row, which is
taken many times, and their metrics are put into columns all at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from attnlab.sweeps.columns import columns, seed_in
from attnlab.sweeps.run import Run

__all__ = ["Cells", "Settings"]


class Settings:
    """The columns of runs, as `columns` gives them, and what is said of them besides."""

    def __init__(self) -> None:
        self.each: list[dict[str, Any]] = []  # each distinct row without its seed
        self.codes: list[int] = []  # of each row of the table, as `code` gave them
        self.seeds: list[Any] = []
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

    def cells(self, name: str) -> Any:
        """A column."""
        if name == "seed":
            return self.seeds
        return _taken([row.get(name, np.nan) for row in self.each], self.codes)


class _Alike:
    """The rows that have the same metrics."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.rows: list[int] = []
        self.values: list[list[Any]] = []
        self._numbers: np.ndarray[Any, Any] | None = None

    def cells(self, name: str) -> Any:
        """A column: an array where all is numbers, else a list."""
        place = self.names.index(name)
        if self._numbers is None and {*map(type, itertools.chain.from_iterable(self.values))} == {float}:
            size = len(self.names)
            flat = np.fromiter(itertools.chain.from_iterable(self.values), float, size * len(self.rows))
            self._numbers = np.ascontiguousarray(flat.reshape(-1, size).T)
        return [values[place] for values in self.values] if self._numbers is None else self._numbers[place]


class Cells:
    """A table under construction.

    Parameters
    ----------
    settings : Settings
        With a code and a seed for each row.
    metrics : sequence of mappings
        Of each row.
    own : mapping of str to sequence
        The columns that each row has one cell of, which no setting and no metric takes the place of.
    few : collection of str
        Those of them that are texts and have few different ones.

    Attributes
    ----------
    names : list of str
        The columns, in the order in which they first occur.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Sequence[Mapping[str, Any]],
        own: Mapping[str, Sequence[Any]],
        few: Collection[str] = (),
    ) -> None:
        self.settings, self._own, self._few = settings, own, few
        self.n_rows = len(metrics)
        self._alike: dict[tuple[str, ...], _Alike] = {}
        shapes: dict[tuple[int, tuple[str, ...]], tuple[_Alike, bool]] = {}
        names: dict[str, None] = {}
        for row, (code, measured) in enumerate(zip(settings.codes, metrics, strict=True)):
            shape = (code, tuple(measured))
            if (found := shapes.get(shape)) is None:
                taken = settings.each[code]
                kept = tuple(name for name in measured if name not in taken and name not in own)
                names |= dict.fromkeys((*taken, *kept, *own))
                alike = self._alike.setdefault(kept, _Alike(kept))
                found = shapes[shape] = alike, kept == shape[1]
            alike, whole = found
            alike.rows.append(row)
            alike.values.append([*measured.values()] if whole else [measured[name] for name in alike.names])
        self.names = list(names)

    def column(self, name: str) -> Any:
        """The cells of a column: a list, or an array that a table takes as it is."""
        if name in self._own:
            return _coded(self._own[name]) if name in self._few else list(self._own[name])
        measured = [alike for alike in self._alike.values() if name in alike.names]
        if not measured:
            return self.settings.cells(name)
        if len(measured) == 1 and len(measured[0].rows) == self.n_rows:
            return measured[0].cells(name)
        each = self.settings.each
        cells = [each[code].get(name, np.nan) for code in self.settings.codes]
        for alike in measured:
            for row, value in zip(alike.rows, alike.cells(name), strict=True):
                cells[row] = value
        return cells


def _coded(column: Sequence[Hashable]) -> Any:
    """A column of few values: each is kept once. Values that are equal are the same."""
    known = {value: code for code, value in enumerate(dict.fromkeys(column))}
    return _taken(list(known), [known[value] for value in column] if len(known) > 1 else [0] * len(column))


def _taken(values: list[Any], codes: list[int]) -> Any:
    """The values that the codes tell, as pandas keeps a column of them."""
    import pandas as pd

    return pd.Series(values).array.take(np.array(codes, dtype=np.intp))
