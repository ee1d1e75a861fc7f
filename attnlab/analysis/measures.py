"""What a metric says of itself: which way is better, its bounds, what has one value of it, and what counts as solved."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.analysis.rounding import signs
from attnlab.errors import AmbiguousName, UnknownName
from attnlab.interfaces import Task, settings_of
from attnlab.registry import Own, build, entry
from attnlab.sweeps.frame import LAST, metric_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GUESSED",
    "bounds_of",
    "chance_of",
    "cut",
    "direction_of",
    "is_per_run",
    "numeric_columns",
    "one_row_a_run",
    "overlap_of",
    "settings_of_task",
    "solved_at",
    "solves",
]

ROUNDING = 1e-6  # how far beyond a bound a value may lie
GUESSED = "alignment_accuracy"  # the metric of which a task knows what guessing gets
ALMOST = 0.05  # of the range of a metric: a run that misses no more has solved its task


def direction_of(metric: str) -> str | None:
    """Which way is better: "up", "down" or None. It is None too for a metric that is not installed here."""
    direction: str | None = _said("metric", metric, "direction", None)
    return direction


def bounds_of(metric: str, values: Any = ()) -> tuple[float, float]:
    """The least and the greatest value that a metric can have; infinite where it does not say, and where values lie beyond."""
    low, high = map(float, _said("metric", metric, "bounds", (-math.inf, math.inf)))
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    broken = len(x) > 0 and (
        x.min() < low - ROUNDING * max(1, abs(low)) or x.max() > high + ROUNDING * max(1, abs(high))
    )
    return (-math.inf, math.inf) if broken else (low, high)


def is_per_run(metric: str) -> bool:
    """Whether a run has one value of it, whatever it is tested on: a cost, or another fact of the run."""
    return bool(_said("metric", metric, "per", "run" if metric in LAST else "condition") == "run")


def solved_at(metric: str, task: str) -> float | None:
    """From which value of a metric on a task counts as solved; None where nothing says so.

    For a metric that is bounded on both sides, and says which way is better, that is 5 % of its range from the better end.
    For others the task may say it (`Task.solved`).
    """
    direction, (low, high) = direction_of(metric), bounds_of(metric)
    if direction is None:
        return None
    if math.isfinite(high - low):
        return high - ALMOST * (high - low) if direction == "up" else low + ALMOST * (high - low)
    threshold = _said("task", task, "solved", {}).get(metric)
    return None if threshold is None else float(threshold)


def solves(values: Any, metric: str, threshold: Any) -> Any:
    """Whether each value is its threshold or better, as 0 or 1; NaN where there is no value."""
    values = np.asarray(values, dtype=float)
    ahead = signs(np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf), threshold) * (
        1 if direction_of(metric) == "up" else -1
    )
    return np.where(np.isnan(values), np.nan, ahead >= 0)


def cut(interval: Iterable[Any], bounds: tuple[float, float]) -> tuple[float, float]:
    """An interval without what lies beyond the bounds; NaN stays.

    >>> cut((0.986, 1.009), (0.0, 1.0)), cut((-0.94, 1.063), (0.0, 1.0))
    ((0.986, 1.0), (0.0, 1.0))
    """
    low, high = (float(np.clip(end, *bounds)) for end in interval)
    return low, high


def one_row_a_run(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a results table for a metric that a run has once: of each run one that has a value, as one condition."""
    order = np.argsort(frame[metric].isna().to_numpy(), kind="stable") if metric in frame else np.arange(len(frame))
    first = ~frame["run_id"].iloc[order].duplicated().to_numpy()
    return frame.iloc[np.sort(order[first])].assign(test="test")


def overlap_of(rows: pd.DataFrame) -> float:
    """`Task.overlap` of the rows of a results table; of several tasks the greatest."""
    if "task" not in rows:
        return 0.0
    columns = [c for c in rows.columns if str(c).startswith("task.")]
    found = [0.0]
    for name, *values in rows[["task", *columns]].drop_duplicates().itertuples(index=False, name=None):
        cls = _task(str(name))
        if cls is not None and cls.overlap is not Task.overlap:
            given = {
                c.removeprefix("task."): v for c, v in zip(columns, values, strict=True) if v is not None and v == v
            }
            found.append(float(cls(**{s: v for s, v in given.items() if s in settings_of(cls)}).overlap))
    return max(found)


def _task(name: str) -> Any:
    """The class of a task; None where it is not installed here."""
    try:
        return entry("task", Own(name)).cls
    except (UnknownName, AmbiguousName):
        return None


def numeric_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a results table that can be compared: its metrics, and what a run took, such as `fit_seconds`."""
    from pandas.api.types import is_numeric_dtype

    named = [*metric_columns(frame), *(c for c in LAST if c in frame.columns)]
    return [c for c in named if is_numeric_dtype(frame[c])]


def _said(kind: str, name: str, what: str, default: Any) -> Any:
    """A class attribute of a component; the default where the component is not installed here."""
    try:
        return getattr(entry(kind, Own(name)).cls, what)
    except (UnknownName, AmbiguousName):
        return default


# -- chance -----------------------------------------------------------------------------------------------------------
def chance_of(rows: pd.DataFrame, condition: str) -> float:
    """The alignment accuracy of guessing, on the task and the test condition of some rows of a results table.

    Returns
    -------
    float
        NaN where the rows have several tasks whose chance differs, and where it is not known: the task is not installed
        here, or a file that it reads is gone.
    """
    if "task" not in rows or rows.empty:
        return math.nan
    settings = [c for c in rows.columns if c.startswith("task.")]
    points = rows[["task", *settings]].drop_duplicates()
    found = {
        _chance(
            str(name), json.dumps(settings_of_task(dict(zip(settings, values, strict=True))), sort_keys=True), condition
        )
        for name, *values in points.itertuples(index=False, name=None)
    }
    return found.pop() if len(found) == 1 else math.nan


def settings_of_task(point: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a task as a run writes them, from the cells of its row."""
    found = {}
    for column, value in point.items():
        if column == "task" or value is None or value != value:
            continue
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column in which other tasks have no value holds floats
        if isinstance(value, str) and value[:1] in ("[", "{"):
            value = json.loads(value)
        found[column.removeprefix("task.")] = value
    return found


@functools.lru_cache(maxsize=1024)
def _chance(name: str, settings: str, condition: str) -> float:
    try:
        if condition == "test":
            return float(build("task", {Own(name): _given(name, settings)}).chance)
        return _guessed_in(name, settings)[condition]
    except Exception:  # a task may be gone, or read a file that is
        return math.nan


def _given(name: str, settings: str) -> dict[str, Any]:
    known = settings_of(entry("task", Own(name)).cls)
    return {key: value for key, value in json.loads(settings).items() if key in known}


@functools.lru_cache(maxsize=256)
def _guessed_in(name: str, settings: str) -> Mapping[str, float]:
    """What guessing gets in every test condition of a task; the examples of all are drawn at once."""
    cls: Any = entry("task", Own(name)).cls
    few = {size: 1 for size in ("n_train", "n_validation") if size in (cls.counts or ())}
    splits = build("task", {Own(name): {**_given(name, settings), **few}}).make(np.random.default_rng(0))
    return {condition: _guessed(data) for condition, data in splits.tests.items()}


def _guessed(data: Any) -> float:
    """How often a guess among the allowed keys is a true link, over the queries that have one."""
    if data.gold is None:
        return math.nan
    gold = (data.gold > 0) & data.allowed
    asked = gold.any(axis=-1)
    share = gold.sum(axis=-1)[asked] / np.broadcast_to(data.allowed, gold.shape).sum(axis=-1)[asked]
    return float(share.mean()) if share.size else math.nan
