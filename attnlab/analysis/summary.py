"""The table at the end of a sweep: mean and interval of each point of the grid, over seeds, ranked by the first metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.errors import UnknownName
from attnlab.registry import entry
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
        direction: str | None = entry("metric", metric).cls.direction  # type: ignore[attr-defined]
    except UnknownName:
        return None
    return direction


def varied(frame: pd.DataFrame) -> list[str]:
    """The columns of the grid in which the rows differ, besides the seed and what was tuned."""
    skipped = {"seed", *FIRST, *LAST, *metric_columns(frame)}
    tuned = frame.attrs.get("tuned", ())
    axes = [c for c in frame.columns if c not in skipped and c not in tuned]
    return [c for c in axes if frame[c].map(repr).nunique() > 1]


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
        of its 95 % t interval over seeds, the means of the other metrics, `n` (runs with a value) and `ok` ("4/5": runs
        that succeeded, of all).
    """
    keys = varied(frame) or [c for c in AXES if c in frame.columns and c in ("similarity", "normaliser", "aggregator")]
    first, *others = metrics
    # a run that failed has one row whatever the test conditions are: count it in each
    conditions = list(frame.loc[frame["status"] == "ok", "test"].unique()) or ["test"]
    points = [k for k in keys if k != "test"]
    rows = []
    grouped = frame.groupby(points, dropna=False, sort=False) if points else [((), frame)]
    for key, group in grouped:
        for condition in conditions:
            here = group[(group["test"] == condition) & (group["status"] == "ok")]
            mean, low, high, n = t_interval(here.get(first, []))
            row: dict[str, Any] = dict(zip(points, key, strict=True))
            if "test" in keys or len(conditions) > 1:
                row["test"] = condition
            row |= {first: mean, "low": low, "high": high}
            row |= {m: t_interval(here.get(m, []))[0] for m in others}
            row |= {"n": n, "ok": f"{here['run_id'].nunique()}/{group['run_id'].nunique()}"}
            rows.append(row)
    table = pd.DataFrame(rows)
    ascending = direction_of(first) == "down"
    by = ["test", first] if "test" in table else [first]
    order = [True, ascending] if "test" in table else [ascending]
    return table.sort_values(by, ascending=order, kind="stable", na_position="last", ignore_index=True)
