"""Intervals, paired tests and effect sizes, on plain arrays in which a greater number is better.

A difference is the difference of two competitors on one task. The tasks are taken to be independent. docs/statistics.md
says how far each number can be trusted, as measured by simulation.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnlab.analysis.rounding import alike, differences, tolerance

__all__ = [
    "SignedRank",
    "bayesian_signed_rank",
    "differences",
    "fewest_pairs",
    "holm",
    "interquartile_mean",
    "mean",
    "mean_interval",
    "rescaled",
    "seeds_needed",
    "signed_rank",
    "t_interval",
    "t_quantile",
    "tasks_needed",
    "wilson",
]

Floats = NDArray[np.float64]
EXACT = 100  # pairs up to which the null distribution is enumerated


def rescaled(x: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Scale x along its last axis by a power of two, so that the largest finite size is between 1/2 and 1.

    Squares and cubes of scaled numbers neither overflow nor vanish, and no digit is lost. `np.ldexp(scaled, power)` gives
    x back.

    Parameters
    ----------
    x : (..., n) array

    Returns
    -------
    scaled : (..., n) array
    power : (...) array of int

    Examples
    --------
    >>> scaled, power = rescaled([3.0, -1.0])
    >>> scaled, int(power)
    (array([ 0.75, -0.25]), 2)
    """
    x = np.asarray(x, dtype=float)
    size = np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=-1, initial=0.0)
    power = np.frexp(size)[1].astype(np.int64)
    return np.ldexp(x, -power[..., None]), power


def mean(x: ArrayLike) -> Floats:
    """The mean over the last axis; it is finite where all values are finite, however large they are."""
    scaled, power = rescaled(x)
    with np.errstate(invalid="ignore"):  # infinitely good and infinitely bad have no mean: NaN
        undone: Floats = np.ldexp(scaled.mean(axis=-1), power)
    return undone


@dataclass(frozen=True)
class SignedRank:
    """W+ and W-, the rank sums of the positive and of the negative differences, and the two-sided p value."""

    plus: float
    minus: float
    p_value: float

    @property
    def rank_biserial(self) -> float:
        """Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-): -1 to 1, positive where the first is better."""
        total = self.plus + self.minus
        return (self.plus - self.minus) / total if total else 0.0


def signed_rank(d: ArrayLike) -> SignedRank:
    """Wilcoxon's signed-rank test, two-sided.

    Differences of 0 are ranked with the others, and each gives half of its rank to either side ("zsplit"). They weaken the
    effect size; the p value is the one of Pratt's method. Equal differences share their mean rank. Under the null
    hypothesis both signs of a difference are equally likely. Up to 100 pairs this distribution is enumerated, ties and
    zeros included; beyond, it is normal with the variance of the same ranks, without continuity correction.

    Parameters
    ----------
    d : (n,) array, infinite values allowed, not NaN
        As `differences` gives them, which knows how large what was subtracted is.

    References
    ----------
    Wilcoxon (1945), Individual comparisons by ranking methods; Pratt (1959), Remarks on zeros and ties in the Wilcoxon
    signed rank procedures; Kerby (2014), The simple difference formula.

    Examples
    --------
    >>> signed_rank([0.3, 0.1, 0.2, 0.4, -0.05, 0.6]).p_value
    0.0625
    """
    d = np.asarray(d, dtype=float)
    twice = _doubled_ranks(np.abs(d))
    plus, minus = int(twice[d > 0].sum()), int(twice[d < 0].sum())
    zeros = int(twice[d == 0].sum())
    signed = np.sort(twice[d != 0])
    if len(signed) == 0:
        p = 1.0
    elif len(d) <= EXACT:
        p = min(1.0, 2.0 * float(_upper_tail(tuple(signed.tolist()))[max(plus, minus)]))
    else:
        p = math.erfc(abs(plus - minus) / math.sqrt(float((signed.astype(float) ** 2).sum())) / math.sqrt(2.0))
    return SignedRank((plus + zeros / 2) / 2, (minus + zeros / 2) / 2, p)


def _doubled_ranks(sizes: Floats) -> NDArray[np.int64]:
    """Twice the mean rank of each size, which is an integer even with ties. Sizes equal but for rounding are tied."""
    ordered = np.sort(sizes[np.isfinite(sizes)])
    steps = np.diff(ordered)
    if ((steps > 0) & (steps <= tolerance(ordered[1:]))).any():
        sizes = alike(sizes)
    _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    doubled: NDArray[np.int64] = (2 * np.cumsum(counts) - counts + 1)[which]
    return doubled


@functools.lru_cache(maxsize=64)
def _upper_tail(ranks: tuple[int, ...]) -> Floats:
    """P(sum of the ranks with a positive sign >= s) for s = 0, 1, ..., sum(ranks)."""
    chance = np.ones(1)
    for rank in ranks:
        longer = np.zeros(len(chance) + rank)
        longer[: len(chance)] = chance / 2
        longer[rank:] += chance / 2
        chance = longer
    return np.cumsum(chance[::-1])[::-1]


def fewest_pairs(alpha: float, tests: int = 1) -> int:
    """The fewest pairs whose signed-rank p value can reach alpha / tests, when all differences have one sign.

    >>> fewest_pairs(0.05), fewest_pairs(0.05, tests=7)
    (6, 9)
    """
    return math.ceil(1 - math.log2(alpha / tests) - 1e-9)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment: reject where the adjusted value is at most alpha; NaN if any p value is.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.

    >>> [round(float(p), 4) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted if np.isfinite(p).all() else np.full_like(p, np.nan)


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of the middle half. A value that a quartile cuts through counts with the part inside.

    Infinite values are allowed in the outer quarters. Source: Agarwal et al. (2021), Deep reinforcement learning at the
    edge of the statistical precipice. They cut whole values (`scipy.stats.trim_mean(x, 0.25)`); the two agree where 4
    divides n.

    >>> interquartile_mean([1.0, 2.0, 3.0, 100.0])
    2.5
    """
    scaled, power = rescaled(values)
    x = np.sort(scaled)
    n = len(x)
    if n == 0:
        return math.nan
    edges = np.arange(n + 1) / n
    inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    kept = inside > 1e-12
    return float(np.ldexp((x[kept] * inside[kept]).sum() / inside[kept].sum(), power))


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion. A tie is half a success, which can only make the interval too wide.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    if n == 0:
        return math.nan, math.nan
    z2 = _normal_quantile(0.5 + level / 2) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


@functools.lru_cache(maxsize=1024)
def t_quantile(n: int, level: float = 0.95) -> float:
    """How many standard errors of a mean of n values Student's t interval reaches to either side."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.5 + level / 2))


def t_interval(values: ArrayLike, level: float = 0.95, overlap: float = 0.0) -> tuple[float, float, float, int]:
    """Student's t interval of the mean of the finite values; `overlap` is `Task.overlap`, the part that they share.

    Returns
    -------
    mean, low, high : float
        The bounds are NaN below two values; the mean is NaN if there is no value.
    n : int
        How many values are finite.

    References
    ----------
    Student (1908), The probable error of a mean.

    Examples
    --------
    >>> [round(x, 3) for x in t_interval([1.0, 2.0, 3.0, float("nan")])]
    [2.0, -0.484, 4.484, 3]
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    n = len(x)
    if n < 2:
        return (float(x[0]) if n else math.nan), math.nan, math.nan, n
    centre = float(mean(x))
    scaled, power = rescaled(x)  # squares of large numbers overflow
    with np.errstate(over="ignore"):
        spread = t_quantile(n, level) * scaled.std(ddof=1) / np.sqrt(n) * np.sqrt(1 + n * overlap)
        half = float(np.ldexp(spread, power))
    return centre, centre - half, centre + half, n


def mean_interval(d: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Hall's interval of a mean: Student's t, corrected for skewness by a cubic transformation.

    It equals Student's t interval where the sample has no skewness. Among the intervals compared by simulation only the
    bootstrap-t is closer to the nominal level on average. The bootstrap-t is infinite where many values are tied; this
    interval is finite and needs no resampling.

    Parameters
    ----------
    d : (..., n) array
    level : float

    Returns
    -------
    low, high : (...) arrays
        NaN below two values and where a value is infinite. A bound too large for a float is infinite.

    References
    ----------
    Hall (1992), On the removal of skewness by transformation, equation (2.1) and following; with Student's quantiles
    instead of the normal.
    """
    d, power = rescaled(d)
    n = d.shape[-1]
    if n < 2:
        return np.full(d.shape[:-1], np.nan), np.full(d.shape[:-1], np.nan)
    with np.errstate(invalid="ignore"):
        centre = d.mean(axis=-1)
        centred = d - centre[..., None]
        variance = (centred**2).mean(axis=-1)
        spread = np.sqrt(variance)
        skew = (centred**3).mean(axis=-1) / np.where(spread > 0, spread, 1.0) ** 3 / math.sqrt(n)
    flat = np.abs(skew) < 1e-7  # there the cubic is the identity, and 1 / skew would only lose digits
    safe = np.where(flat, 1.0, skew)
    reach = t_quantile(n, level)
    error = spread / math.sqrt(n - 1)
    far, near = (np.where(flat, x, 3 / safe * (np.cbrt(1 + safe * (x - safe / 6)) - 1)) for x in (reach, -reach))
    with np.errstate(over="ignore"):
        return np.ldexp(centre - error * far, power), np.ldexp(centre - error * near, power)


def bayesian_signed_rank(
    d: ArrayLike,
    rope: float,
    *,
    n_resamples: int = 50_000,
    random_state: int = 0,
    prior: float = 0.5,
    slack: ArrayLike = 0.0,
) -> tuple[float, float, float]:
    """Posterior probabilities that a new pair of tasks speaks for the first, for neither, or for the second.

    The differences and one prior difference of 0 have Dirichlet weights. A draw of weights belongs to one of three regions:
    above `rope`, within, or below -`rope`. It belongs to the region with most of the distribution of the mean of two
    differences. An even split is shared.

    Parameters
    ----------
    d : (n,) array
    rope : float, >= 0
        Half the width of the region of practical equivalence, in units of the differences.
    n_resamples, random_state : int
        Draws, and the seed; the Monte Carlo error is at most 0.5 / sqrt(n_resamples).
    prior : float
        Weight of the prior difference, in tasks.
    slack : (n,) array or float
        How far each difference may be wrong by rounding (`rounding.tolerance` of its two values). A mean of two
        differences that is no further from the edge of the region is on the edge, and is shared.

    Returns
    -------
    (better, equivalent, worse), which sum to one

    References
    ----------
    Benavoli, Corani, Demšar and Zaffalon (2017), Time for a change: a tutorial for comparing multiple classifiers
    through Bayesian analysis, section 4.3.
    """
    d = np.asarray(d, dtype=float)
    slack = np.concatenate([[0.0], np.broadcast_to(np.asarray(slack, dtype=float), d.shape)])
    d = np.concatenate([[0.0], d])
    with np.errstate(invalid="ignore"):
        middle = d[:, None] / 2 + d[None, :] / 2
    middle = np.where(np.isnan(middle), 0.0, middle)  # infinitely better and infinitely worse
    blurred = np.maximum(slack[:, None], slack[None, :]) + tolerance(middle, rope)
    above, below = (np.heaviside(np.where(np.abs(m - rope) <= blurred, 0.0, m - rope), 0.5) for m in (middle, -middle))
    weights = np.ones(len(d))
    weights[0] = prior
    draws = np.random.default_rng(random_state).dirichlet(weights, n_resamples)
    better = np.einsum("ri,ri->r", draws @ above, draws)
    worse = np.einsum("ri,ri->r", draws @ below, draws)
    share = np.stack([better, np.maximum(1 - better - worse, 0.0), worse], axis=1)
    first = np.isclose(share, share.max(axis=1, keepdims=True), rtol=0, atol=1e-9)
    won = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(won[0]), float(won[1]), float(won[2])


def tasks_needed(d: ArrayLike, alpha: float, tests: int = 1, power: float = 0.8) -> float:
    """About how many tasks the signed-rank test needs, at the mean and spread of these differences.

    It is the number for Student's t at alpha / tests (the first step of Holm), divided by 3 / pi, the efficiency of the
    signed-rank test for normal differences. It is never less than `fewest_pairs(alpha, tests)`. It is inf where the mean is
    0 or the number overflows, and NaN where a difference is infinite.
    """
    d, _ = rescaled(d)  # a number of tasks has no unit
    if len(d) < 2 or not np.isfinite(d).all():
        return math.nan
    centre, sd = float(d.mean()), float(d.std(ddof=1))
    if abs(centre) <= tolerance(np.abs(d).max()):
        return math.inf
    z = _normal_quantile(1 - alpha / tests / 2)
    ratio = (z + _normal_quantile(power)) * sd / centre
    return max(fewest_pairs(alpha, tests), _whole(math.pi / 3 * ratio * ratio + z * z / 2))


def seeds_needed(
    d: ArrayLike, seed_variance: float, n_seeds: float, alpha: float, tests: int = 1, power: float = 0.8
) -> float:
    """About how many seeds a task would be enough on these tasks; inf where the tasks themselves disagree too much.

    Parameters
    ----------
    d : (n,) array, differences averaged over `n_seeds` seeds
    seed_variance : float
        Variance of the difference from seed to seed within a task, in squares of the units of `d`.
    """
    d = np.asarray(d, dtype=float)
    if len(d) < fewest_pairs(alpha, tests):
        return math.inf
    if not np.isfinite(d).all() or not math.isfinite(seed_variance):
        return math.nan
    z = _normal_quantile(1 - alpha / tests / 2)
    room = len(d) * 3 / math.pi - z * z / 2
    if room <= 0:
        return math.inf
    allowed = room * (float(d.mean()) / (z + _normal_quantile(power))) ** 2
    between = max(0.0, float(d.var(ddof=1)) - seed_variance / n_seeds)
    return _whole(seed_variance / (allowed - between)) if allowed > between else math.inf


def _whole(number: float) -> float:
    """The next integer; infinity as it is."""
    return math.ceil(number) if math.isfinite(number) else number


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
