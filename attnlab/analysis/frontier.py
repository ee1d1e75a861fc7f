"""Quality against cost: which competitors no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.analysis.measures import cut
from attnlab.analysis.replicates import score_table
from attnlab.analysis.rounding import signs
from attnlab.analysis.statistics import mean, mean_interval
from attnlab.analysis.summary import check_table, varied
from attnlab.errors import SettingError
from attnlab.tables import setting_text

__all__ = ["frontier"]


def frontier(
    frame: pd.DataFrame,
    metric: str,
    cost: str = "operations_per_query",
    by: str | Sequence[str] | None = None,
    *,
    direction: str | None = None,
    missing: str = "error",
) -> pd.DataFrame:
    """The quality and the cost of each competitor, and whether another is at least as good in both.

    Parameters
    ----------
    frame : DataFrame
        The results table of `sweep` or `load_results`, or a part of its rows.
    metric : str
        What is meant by quality.
    cost : str
        `operations_per_query`, `n_parameters`, `fit_seconds`, or another column of numbers of which less is better.
    by : str, sequence of str or None
        The columns that tell competitors apart; None: every axis that varies but tasks.
    direction : "up", "down" or None
        Which way the metric is better, if it does not say so itself.
    missing : "error", "complete-tasks" or "worst-rank"
        What to do about missing runs, as in `attnlab.compare`. A competitor with a last place has no mean and is left out.

    Returns
    -------
    DataFrame
        A row a competitor, the cheapest first: the columns `by`, `label`, the metric and the cost (means over seeds, then
        over tasks), `low` and `high` (95 % interval of the metric over tasks), and `dominated`: whether another competitor
        costs no more and is no worse, and one of both is better. `attrs["direction"]` is that of the metric.

    Raises
    ------
    SettingError
        When the frame is no results table, a column is unknown, or runs are missing.

    Examples
    --------
    >>> rows = {"similarity": ["dot", "cosine", "additive"], "accuracy": [0.7, 0.6, 0.9], "n_parameters": [0, 1, 64]}
    >>> frame = pd.DataFrame(rows).assign(run_id=list("abc"), task="copy", test="test", status="ok", seed=0)
    >>> frontier(frame, "accuracy", "n_parameters")[["label", "dominated"]]
          label  dominated
    0       dot      False
    1    cosine       True
    2  additive      False
    """
    check_table(frame, ("run_id", "task", "test", "status", "seed"))
    if by is None:
        by = [c for c in varied(frame) if c != "test" and c != "task" and not c.startswith("task.")]
        if not by:
            raise SettingError("nothing but tasks varies in these runs, so there are no competitors to draw")
    if metric == cost:
        raise SettingError(f"cost: {cost} is the quality too; choose another, such as n_parameters")
    quality = score_table(frame, metric, by, direction, missing, "setting")
    price = score_table(frame, cost, by, "down", missing, "setting")
    places = [price.labels.index(label) for label in quality.labels]
    low, high = mean_interval(quality.good)
    ends = [
        cut(sorted((quality.sign * float(a), quality.sign * float(b))), quality.bounds)
        for a, b in zip(low, high, strict=True)
    ]
    table = pd.DataFrame([dict(zip(quality.by, names, strict=True)) for names in quality.names])
    labels = [_label(quality.by, names) for names in quality.names]
    table["label"] = labels if len(set(labels)) == len(labels) else quality.labels
    table[metric] = quality.sign * mean(quality.good)
    table["low"], table["high"] = zip(*ends, strict=True)
    table[cost] = price.sign * mean(price.good)[places]
    table = table[np.isfinite(table[metric]) & np.isfinite(table[cost])]
    good, dear = quality.sign * table[metric].to_numpy(), table[cost].to_numpy()
    better, cheaper = signs(good[:, None], good[None, :]), -signs(dear[:, None], dear[None, :])
    beats = (better >= 0) & (cheaper >= 0) & ((better > 0) | (cheaper > 0))  # [a, b]: a beats b
    table["dominated"] = beats.any(axis=0)
    table = table.assign(good_=-good).sort_values([cost, "good_", "label"], kind="stable", ignore_index=True)
    table = table.drop(columns="good_")
    table.attrs = {"direction": "up" if quality.sign == 1 else "down", "notes": list(quality.notes)}
    return table


def _label(columns: Sequence[str], values: Sequence[Any]) -> str:
    """A competitor in a few words: its parts by name, and the settings that it has."""
    words = []
    for column, value in zip(columns, values, strict=True):
        if value is None or value != value:
            continue
        is_word = isinstance(value, str) and not value[:1].isdigit()
        words.append(value if is_word else f"{column.rpartition('.')[2]} {setting_text(value)}")
    return " · ".join(words)
