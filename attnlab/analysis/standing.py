"""Who is best on a task, who is not shown to differ from it, and whose values are the same in every digit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.analysis.measures import is_per_run
from attnlab.analysis.rounding import differences
from attnlab.analysis.statistics import holm
from attnlab.sweeps.frame import metric_columns

__all__ = ["ALPHA", "BEST", "DIFFERS", "TIED", "identical", "paired_p", "standings"]

ALPHA = 0.05  # family-wise, over the rows of one task and test condition
BEST, TIED, DIFFERS = "best", "not shown to differ", "differs"


def paired_p(first: pd.Series, second: pd.Series) -> float:
    """Two-sided p value of the paired t test of two series of values by seed, over the seeds that both have.

    It is NaN below two such seeds, 1 where all differences are 0, and 0 where they are all equal and not 0.

    Examples
    --------
    >>> round(paired_p(pd.Series([0.9, 0.8, 0.9]), pd.Series([0.5, 0.6, 0.6])), 4)
    0.0351
    """
    both = pd.concat([first, second], axis=1, join="inner").dropna().to_numpy(float)
    both = both[np.isfinite(both).all(axis=1)]
    n = len(both)
    if n < 2:
        return math.nan
    d = differences(both[:, 0], both[:, 1])
    if not d.any():
        return 1.0
    spread = float(d.std(ddof=1))
    if spread == 0:
        return 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(float(d.mean())) / (spread / math.sqrt(n))))


def standings(values: Sequence[pd.Series], means: Sequence[float], direction: str | None) -> list[str]:
    """How each row of one task and test condition stands to the best of them.

    Parameters
    ----------
    values : sequence of Series
        The values of each row by seed; index: seed.
    means : sequence of float
        The mean of each row, NaN if it has none.
    direction : "up", "down" or None
        Which way is better; None: nothing is best.

    Returns
    -------
    list of str
        BEST for the row with the best mean, and for each that equals it on every seed; TIED where a paired t test over seeds
        shows no difference from the best (p values adjusted by Holm over the rows, above 0.05, or fewer than two seeds that
        both have); DIFFERS where it does; "" where there is no mean, or only one row.
    """
    there = [i for i, mean in enumerate(means) if math.isfinite(mean)]
    if direction is None or len(there) < 2:
        return [""] * len(means)
    best = (max if direction == "up" else min)(there, key=lambda i: means[i])
    others = [i for i in there if i != best]
    p = np.array([paired_p(values[best], values[i]) for i in others])
    tested = np.isfinite(p)
    adjusted = np.ones(len(p))
    adjusted[tested] = holm(p[tested])
    found = ["" for _ in means]
    found[best] = BEST
    for i, own, shared in zip(others, p, adjusted, strict=True):
        same = own == 1.0 and set(values[i].dropna().index) == set(values[best].dropna().index)
        found[i] = BEST if same else DIFFERS if shared <= ALPHA else TIED
    return found


def identical(parts: Sequence[pd.DataFrame]) -> list[list[int]]:
    """The sets of rows whose runs have the same values, seed by seed, in every metric that is measured on test data.

    Parameters
    ----------
    parts : sequence of DataFrame
        The successful runs behind each row, of one task and test condition.

    Returns
    -------
    list of list of int
        Places in `parts`; only sets of two and more.
    """
    found: dict[Any, list[int]] = {}
    for i, part in enumerate(parts):
        if len(part):
            found.setdefault(_content(part), []).append(i)
    return [places for places in found.values() if len(places) > 1]


def _content(part: pd.DataFrame) -> Any:
    """All that was measured, as something that can be compared."""
    seeds = [c for c in ("seed", "model_seed") if c in part.columns]
    metrics = [m for m in metric_columns(part) if not is_per_run(m) and part[m].notna().any()]
    if not metrics or not seeds:
        return object()  # nothing to compare: equal to nothing else
    rows = part[[*seeds, *metrics]].to_dict("records")
    return tuple(metrics), tuple(sorted(tuple(map(repr, row.values())) for row in rows))
