"""The table at the end of a sweep: mean and interval of each point of the grid, over seeds, ranked by the first metric."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.errors import AmbiguousName, UnknownName
from attnlab.registry import Own, entry
from attnlab.sweeps.frame import AXES, FIRST, LAST, metric_columns

__all__ = ["direction_of", "summarise", "t_interval"]


def t_interval(values: Any, level: float = 0.95) -> tuple[float, float, float, int]:
    """(mean, low, high, n) of the finite values: Student's t interval, NaN bounds below two values.

    Source: Student (1908).
    """
    from scipy import stats

    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    n = len(x)
    if n == 0:
        return float("nan"), float("nan"), float("nan"), 0
    mean = float(x.mean())
    if n == 1:
        return mean, float("nan"), float("nan"), 1
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * x.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half, n


def direction_of(metric: str) -> str | None:
    """Which way is better: "up", "down" or None; None too for a metric that is not installed here."""
    try:
        direction: str | None = entry("metric", Own(metric)).cls.direction  # type: ignore[attr-defined]
    except (UnknownName, AmbiguousName):
        return None
    return direction


def varied(frame: pd.DataFrame) -> list[str]:
    """The columns of the grid in which the rows differ, besides the seeds.

    A setting that only some of the parts have does not differ for that, nor one that was tuned.
    """
    skipped = {"seed", "model_seed", *frame.attrs.get("tuned", ()), *FIRST, *LAST, *metric_columns(frame)}
    axes = [c for c in frame.columns if c not in skipped]
    return [c for c in axes if frame[c].dropna().map(repr).nunique() > 1 or _is_left_out(frame, c)]


def _is_left_out(frame: pd.DataFrame, column: str) -> bool:
    """Whether a setting is None in some of the rows that have it, as `model.projection: [null, 16]` is."""
    component, _, setting = column.rpartition(".")
    if not setting or component not in frame or not frame[column].isna().any():
        return False
    return any(0 < rows[column].isna().sum() < len(rows) for _, rows in frame.groupby(component))


def _natural(condition: str) -> tuple[bool, list[tuple[int, str]]]:
    """`test` first, and n=64 before n=256."""
    words = re.findall(r"\d+|\D+", condition)
    return condition != "test", [(int(w), "") if w.isdigit() else (-1, w) for w in words]


def _mean_of_some(values: Any, n: int) -> Any:
    """The mean, with a note where only some of n runs have a value."""
    mean, _, _, k = t_interval(values)
    return mean if k in (0, n) else f"{mean:.4g} ({k} of {n})"


def _by_seed(rows: pd.DataFrame, metric: str) -> Any:
    """The values of a metric, one a seed of the data: runs that differ in the model's seed are averaged."""
    if metric not in rows or "model_seed" not in rows:
        return rows.get(metric, [])
    return rows.groupby("seed")[metric].mean()


def summarise(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a point of the grid and test condition, best first.

    Parameters
    ----------
    frame : DataFrame
        The results table of one experiment.
    metrics : sequence of str
        The first ranks and gets an interval; of the others the mean is shown.

    Returns
    -------
    DataFrame
        The columns in which the grid varies (the axes of the mechanism if none does), the first metric, `low` and `high`
        of its 95 % t interval over seeds, the means of the other metrics (as text where only some runs have a value), `n` (runs with a value) and `ok` ("4/5": runs
        that succeeded, of all).
    """
    keys = varied(frame) or [c for c in AXES if c in frame.columns and c in ("similarity", "normaliser", "aggregator")]
    first, *others = metrics
    # a run that failed has one row whatever the test conditions are: count it in each
    conditions = sorted(frame.loc[frame["status"] == "ok", "test"].unique(), key=_natural) or ["test"]
    points = [k for k in keys if k != "test"]
    rows = []
    grouped = frame.groupby(points, dropna=False, sort=False) if points else [((), frame)]
    for key, group in grouped:
        for condition in conditions:
            here = group[(group["test"] == condition) & (group["status"] == "ok")]
            mean, low, high, n = t_interval(_by_seed(here, first))
            row: dict[str, Any] = dict(zip(points, key, strict=True))
            if "test" in keys or len(conditions) > 1:
                row["test"] = condition
            row |= {first: mean, "low": low, "high": high}
            row |= {
                m: _mean_of_some(_by_seed(here, m), len(here) if "model_seed" not in here else here["seed"].nunique())
                for m in others
            }
            row |= {"n": n, "ok": f"{here['run_id'].nunique()}/{group['run_id'].nunique()}"}
            rows.append(row)
    table = pd.DataFrame(rows)
    table = table.sort_values(
        first, ascending=direction_of(first) == "down", kind="stable", na_position="last", ignore_index=True
    )
    if "test" in table:
        table = table.sort_values("test", key=lambda c: c.map(conditions.index), kind="stable", ignore_index=True)
    return table
