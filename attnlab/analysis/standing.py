"""Who is best on a task, who is not shown to differ from it, and whose values are the same in every digit."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnlab.analysis.rounding import differences
from attnlab.analysis.statistics import holm

__all__ = ["ALPHA", "BEST", "DIFFERS", "TIED", "alike_places", "paired_p", "standings"]

ALPHA = 0.05  # family-wise, over the rows of one task and test condition
BEST, TIED, DIFFERS = "best", "not shown to differ", "differs"


def paired_p(first: ArrayLike, second: ArrayLike, overlap: float = 0.0) -> float:
    """Two-sided p value of the paired t test of two series of values by seed, over the seeds of which both have a value.

    `overlap` is `Task.overlap`, the part that all seeds share.

    It is NaN below two such seeds, 1 where all differences are 0, and 0 where they are all equal and not 0.

    Examples
    --------
    >>> round(paired_p([0.9, 0.8, 0.9, float("nan")], [0.5, 0.6, 0.6, 0.7]), 4)
    0.0351
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    both = np.isfinite(a) & np.isfinite(b)
    n = int(both.sum())
    if n < 2:
        return math.nan
    d = differences(a[both], b[both])
    if not d.any():
        return 1.0
    spread = float(d.std(ddof=1))
    if spread == 0:
        return 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(float(d.mean())) / (spread * math.sqrt(1 / n + overlap))))


def standings(
    values: NDArray[np.float64], means: Sequence[float], direction: str | None, overlap: float = 0.0
) -> list[str]:
    """How each row of one task and test condition stands to the best of them.

    Parameters
    ----------
    values : array (r, s)
        The value of each row for each seed, NaN where it has none.
    means : sequence of r float
        The mean of each row, NaN if it has none.
    direction : "up", "down" or None
        Which way is better; None: nothing is best.
    overlap : float
        `Task.overlap`, the part that all seeds share.

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
    p = np.array([paired_p(values[best], values[i], overlap) for i in others])
    tested = np.isfinite(p)
    adjusted = np.ones(len(p))
    adjusted[tested] = holm(p[tested])
    found = ["" for _ in means]
    found[best] = BEST
    for i, own, shared in zip(others, p, adjusted, strict=True):
        same = own == 1.0 and bool((np.isnan(values[i]) == np.isnan(values[best])).all())
        found[i] = BEST if same else DIFFERS if shared <= ALPHA else TIED
    return found


def alike_places(contents: Sequence[Hashable]) -> list[list[int]]:
    """The places of contents that are equal; only sets of two and more. None equals nothing.

    >>> alike_places(["a", "b", "a", None, None])
    [[0, 2]]
    """
    found: dict[Hashable, list[int]] = {}
    for i, content in enumerate(contents):
        if content is not None:
            found.setdefault(content, []).append(i)
    return [places for places in found.values() if len(places) > 1]
