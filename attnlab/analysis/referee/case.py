"""What the referee looks at: the results of one experiment, taken apart by task, test condition and competitor."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnlab.analysis.claims import Judgement, judge
from attnlab.analysis.measures import bounds_of, direction_of, is_per_run, one_row_a_run, overlap_of, solved_at, solves
from attnlab.analysis.summary import varied
from attnlab.sweeps.experiment.longer import STEPS
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.frame import metric_columns
from attnlab.sweeps.plan import plan
from attnlab.sweeps.run import Run
from attnlab.tables import setting_text

__all__ = ["Case", "Cell", "is_rate", "text_of"]

RATES = ("learning_rate", "lr", "rate")
DEFAULT_METRIC = "alignment_accuracy"
Values = Mapping[int, float]  # by seed of the data


def is_rate(column: str) -> bool:
    """Whether a setting is a rate of learning, by its name."""
    return column.rpartition(".")[2] in RATES


@dataclass(frozen=True)
class Cell:
    """One task with its settings and one test condition: of each competitor the value of a metric by seed."""

    task: str
    kind: str  # the task without its settings
    condition: str
    values: Mapping[str, Values]
    table: pd.DataFrame
    at: Sequence[int]  # its rows in the table
    competitors: Sequence[str]  # of each of its rows

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        """Its rows of the table, with `competitor_`."""
        return self.table.loc[list(self.at)].assign(competitor_=list(self.competitors))

    @property
    def place(self) -> str:
        return self.task if self.condition == "test" else f"{self.task}, {self.condition}"

    def arrays(self, names: Iterable[str]) -> list[NDArray[np.float64]]:
        """The values of some competitors, seed by seed, NaN where one has none."""
        names = list(names)
        seeds = sorted({seed for name in names for seed in self.values[name]})
        return [np.array([self.values[name].get(seed, math.nan) for seed in seeds]) for name in names]


@dataclass
class Case:
    """The results of one experiment.

    Parameters
    ----------
    name : str
    whole : DataFrame
        Its rows of a results table.
    experiment : Experiment or None
        What was asked and claimed, where that is known.
    curves : mapping of run_id to array
        Loss curves, as far as they are known.
    settled : collection of str
        Codes that other results in the store have settled.
    judged : sequence of Judgement or None
        The claims with their decisions, where they are judged already.
    planned : sequence of Run or None
        The runs of the experiment, where they are planned already.
    """

    name: str
    whole: pd.DataFrame
    experiment: Experiment | None = None
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    settled: Sequence[str] = ()
    judged: Sequence[Judgement] | None = None
    planned: Sequence[Run] | None = None

    def __post_init__(self) -> None:
        self._overlaps: dict[str, float] = {}
        self._cells: dict[tuple[str, tuple[str, ...] | None], list[Cell]] = {}
        self._known: dict[tuple[str, ...], NDArray[np.object_]] = {}
        self.whole.attrs["tuned"] = list(self.experiment.chosen if self.experiment else self.tuned)

    # -- columns ------------------------------------------------------------------------------------------------------
    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """All rows, numbered, and without `attrs`, which pandas copies in depth with every step."""
        table = self.whole.reset_index(drop=True)
        table.attrs = {}
        return table

    @functools.cached_property
    def ok(self) -> pd.DataFrame:
        """The rows of runs that succeeded."""
        return self.table[self.table["status"] == "ok"]

    @functools.cached_property
    def metrics(self) -> list[str]:
        """The metrics that are shown and measured; the first ranks."""
        shown = self.experiment.metrics if self.experiment else self.whole.attrs.get("metrics", {}).get(self.name, ())
        measured = [m for m in metric_columns(self.ok) if self.ok[m].dtype.kind in "fiu" and self.ok[m].notna().any()]
        known = [m for m in shown if m in self.ok and self.ok[m].notna().any()]
        return known or sorted(measured, key=lambda m: m != DEFAULT_METRIC)[:1]

    @functools.cached_property
    def _varied(self) -> list[str]:
        table = self.table.copy(deep=False)
        table.attrs["tuned"] = self.whole.attrs["tuned"]
        return varied(table)

    @functools.cached_property
    def axes(self) -> list[str]:
        """The columns that tell competitors apart: of the mechanism and the model, without what was tuned."""
        return [c for c in self._varied if c not in ("test", "task") and not c.startswith("task.")]

    @property
    def tuned(self) -> Mapping[str, Sequence[Any]]:
        """The settings that were chosen on validation data, with their candidates; of a table alone as far as it says."""
        if self.experiment is not None:
            return self.experiment.tune
        tuned = "n_tuned" in self.whole and (self.whole["n_tuned"] > 1).any()
        told = {**dict.fromkeys(self.whole.attrs.get("tuned", ()), ()), **self.whole.attrs.get("candidates", {})}
        return {column: values for column, values in told.items() if tuned and column in self.whole}

    @property
    def rates(self) -> list[str]:
        """The axes that are rates of learning."""
        return [c for c in self.axes if is_rate(c)]

    @functools.cached_property
    def task_columns(self) -> list[str]:
        return [c for c in self.whole.columns if c == "task" or c.startswith("task.")]

    @functools.cached_property
    def task_axes(self) -> list[str]:
        return [c for c in self._varied if c.startswith("task.")]

    @functools.cached_property
    def learned(self) -> pd.DataFrame:
        """One row of each run that learned something: it took steps, and has parameters."""
        rows = self.ok[~self.ok["run_id"].duplicated()]
        for column in (f"model.{setting}" for setting in STEPS):
            if column in rows:
                rows = rows[~(rows[column] == 0)]
        return rows[~(rows["n_parameters"] == 0)] if "n_parameters" in rows else rows

    @functools.cached_property
    def uniform(self) -> NDArray[np.bool_]:
        """Which rows of the table attend to all keys alike."""
        found = np.zeros(len(self.table), dtype=bool)
        for kind in ("similarity", "normaliser", "mechanism"):
            if kind in self.table:
                found |= (self.table[kind] == "uniform").to_numpy(dtype=bool, na_value=False)
        return found

    # -- groups -------------------------------------------------------------------------------------------------------
    def named(self, rows: pd.DataFrame, axes: Sequence[str] | None = None) -> pd.Series:
        """The competitor of each row of the table, in words."""
        axes = self.axes if axes is None else axes
        words = self._words(rows.index, axes) if axes else text_of(rows)
        return pd.Series(words, index=rows.index, dtype=object)

    def task_of(self, rows: pd.DataFrame) -> pd.Series:
        """The task of each row of the table, in words."""
        return pd.Series(self._words(rows.index, ["task", *self.task_axes]), index=rows.index, dtype=object)

    def _words(self, index: pd.Index, columns: Sequence[str]) -> NDArray[np.object_]:
        key = tuple(columns)
        if key not in self._known:
            self._known[key] = _words(self.table, columns)
        return self._known[key][index.to_numpy(dtype=np.intp)]

    def cells(self, metric: str, axes: Sequence[str] | None = None) -> list[Cell]:
        """Each task and test condition, with the values of each competitor."""
        key = (metric, None if axes is None else tuple(axes))
        if key not in self._cells:
            self._cells[key] = list(self._made(metric, axes))
        return self._cells[key]

    def _made(self, metric: str, axes: Sequence[str] | None) -> Iterator[Cell]:
        rows = one_row_a_run(self.ok, metric) if is_per_run(metric) else self.ok
        if metric not in rows or not len(rows):
            return
        kinds = map(str, _cells(rows["task"])) if "task" in rows else itertools.repeat("")
        each = zip(
            _cells(self.task_of(rows)),
            kinds,
            _cells(rows["test"]),
            _cells(self.named(rows, axes)),
            _cells(rows["seed"]) if "seed" in rows else range(len(rows)),
            _cells(pd.to_numeric(rows[metric], errors="coerce").astype(float)),
            strict=False,
        )
        places: dict[tuple[str, str], list[int]] = {}
        values: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = {}
        names: dict[int, str] = {}
        of_kind: dict[int, str] = {}
        for i, (task, kind, test, name, seed, value) in zip(rows.index, each, strict=True):
            names[i], of_kind[i] = name, kind
            if test != test or test is None:
                continue
            place = (task, str(test))
            places.setdefault(place, []).append(i)
            by_name = values.setdefault(place, {})
            if seed == seed and seed is not None and not math.isnan(value):
                by_name.setdefault(name, {}).setdefault(int(seed), []).append(value)
        for (task, condition), at in places.items():
            means = {n: {s: sum(x) / len(x) for s, x in found.items()} for n, found in values[task, condition].items()}
            if means:
                yield Cell(task, of_kind[at[0]] or task, condition, means, self.table, at, [names[i] for i in at])

    # -- of metrics ---------------------------------------------------------------------------------------------------
    def bounds(self, metric: str) -> tuple[float, float]:
        return bounds_of(metric, self.ok.get(metric, ()))

    def span(self, metric: str, values: Iterable[float] = ()) -> float:
        """The range of a metric; where it has none, the size of the values at hand."""
        low, high = self.bounds(metric)
        if math.isfinite(high - low):
            return high - low
        x = np.abs(np.array(list(values), dtype=float))
        return float(np.nanmedian(x)) if x.size else math.inf

    def solved(self, cell: Cell, metric: str, name: str) -> bool:
        """Whether a competitor's mean counts as solving the task."""
        threshold = solved_at(metric, cell.kind)
        mean = float(np.mean(list(cell.values[name].values())))
        return threshold is not None and bool(solves([mean], metric, threshold)[0] == 1)

    def sign(self, metric: str) -> int:
        """1 where more is better, -1 where less is, 0 where neither."""
        return {"up": 1, "down": -1}.get(direction_of(metric) or "", 0)

    def overlap(self, cell: Cell) -> float:
        """`Task.overlap` of the task of a cell."""
        if cell.task not in self._overlaps:
            self._overlaps[cell.task] = overlap_of(self.table.loc[list(cell.at[:1]), self.task_columns])
        return self._overlaps[cell.task]

    @functools.cached_property
    def runs(self) -> Mapping[str, Run]:
        """The planned runs, where the experiment is known."""
        if self.experiment is None:
            return {}
        return {run.run_id: run for run in (plan(self.experiment) if self.planned is None else self.planned)}

    # -- claims -------------------------------------------------------------------------------------------------------
    @functools.cached_property
    def judgements(self) -> Sequence[Judgement]:
        """The claims with their decisions; none where they are not known."""
        if self.judged is not None:
            return self.judged
        return judge(self.whole, self.experiment) if self.experiment is not None and self.experiment.claims else []

    @functools.cached_property
    def selected(self) -> set[str]:
        """The columns by which claims select their runs."""
        claims = self.experiment.claims if self.experiment else ()
        return {key for claim in claims for one in (claim.where, *(c for _, c in claim.selections())) for key in one}


def text_of(rows: pd.DataFrame) -> str:
    """A mechanism in words, where nothing of it varies."""
    parts = [c for c in ("mechanism", "similarity", "normaliser") if c in rows and len(rows)]
    words = [str(rows[c].iloc[0]) for c in parts]
    return " ".join(w for w in words if w not in ("nan", "single_head")) or "the mechanism"


def _cells(column: pd.Series) -> list[Any]:
    """A column as objects of Python; to walk through a column of texts takes ten times as long."""
    return list(column.to_numpy(dtype=object))


def _words(rows: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.object_]:
    """The values of some columns of each row in words: names as they are, settings as `setting=value`."""
    codes = np.zeros(len(rows), dtype=np.int64)  # of each row, which of the combinations of values it has
    said: list[tuple[str, ...]] = [()]
    for column in columns:
        if column in rows:
            own, values = _coded(rows[column])
            both, codes = np.unique(codes * (len(values) + 1) + own + 1, return_inverse=True)
            before, here = np.divmod(both, len(values) + 1)
            setting = column.rpartition(".")[2] if "." in column else ""
            words = [(), *((f"{setting}={setting_text(v)}" if setting else str(v),) for v in values)]
            said = [said[i] + words[j] for i, j in zip(before, here, strict=True)]
    found = np.array([" ".join(words) or "?" for words in said], dtype=object)
    return found[codes]


def _coded(column: pd.Series) -> tuple[NDArray[np.int64], list[Any]]:
    """The different values of a column, and which of them each row has; -1 where it has none."""
    if column.dtype != object:
        codes, unique = pd.factorize(column)
        return codes.astype(np.int64), list(unique)
    missing = column.isna().to_numpy()
    codes, _ = pd.factorize(column.map(repr))  # what is equal in Python may look different: 1 and true
    _, first = np.unique(codes, return_index=True)
    return np.where(missing, -1, codes), [column.iloc[i] for i in first]
