"""An interval for the mean of bounded values that needs no assumption on how they are distributed.

Student's t interval is right for noise that is about normal. It knows nothing of a value that none of the seeds has shown:
of five seeds that are all 1.0 it makes a point. What the bounds alone tell is this interval, wide as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["chance_below", "sure_interval", "unseen"]

Floats = NDArray[np.float64]
STEP = 0.1  # of the trapezoidal rule in log u


def sure_interval(values: ArrayLike, bounds: tuple[float, float], level: float = 0.95) -> tuple[float, float]:
    """Gaffke's interval of the mean of values that lie within bounds.

    With z_1 ... z_n the values, a the least possible one and W uniform on the simplex (n + 1 parts that sum to one), the lower
    limit is the quantile (1 - level) / 2 of

        W_0 a + W_1 z_1 + ... + W_n z_n,

    and the upper limit likewise, mirrored. For values that are all at one of two bounds it is the exact binomial interval of
    Clopper and Pearson. Cost: some thousand operations a value.

    Parameters
    ----------
    values : (n,) array of finite floats
    bounds : two floats
        The least and the greatest value that is possible; infinite where there is none, and then so is the limit.
    level : float in (0, 1)

    Returns
    -------
    low, high : float

    Notes
    -----
    That it covers at least with probability `level`, whatever the distribution, is a conjecture: no case is known in which it
    does not. docs/claims.md has simulations.

    References
    ----------
    Gaffke (2005), Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable;
    Learned-Miller and Thomas (2019), A new confidence interval for the mean of a bounded random variable.

    Examples
    --------
    >>> [round(limit, 3) for limit in sure_interval([1.0, 1.0, 1.0, 1.0, 1.0], (0.0, 1.0))]
    [0.478, 1.0]
    """
    z = np.asarray(values, dtype=float)
    least, most = bounds
    return _lower(z, float(least), (1 - level) / 2), -_lower(-z, -float(most), (1 - level) / 2)


def _lower(z: Floats, least: float, alpha: float) -> float:
    if not math.isfinite(least):
        return -math.inf
    from scipy.optimize import brentq

    with_least = np.concatenate([[least], np.maximum(z, least)])
    most = float(with_least.max())
    if most == least:
        return least
    return float(brentq(lambda x: chance_below(with_least, x) - alpha, least, most, xtol=1e-10 * (most - least)))


def chance_below(points: ArrayLike, x: float) -> float:
    """P(sum_i W_i points_i <= x) for W uniform on the simplex, by Imhof's integral.

    The sum is at most x where sum_i E_i (points_i - x) is at most 0, with E_i independent and exponential.

    >>> round(chance_below([0.0, 1.0], 0.3), 6)
    0.3
    """
    c = np.asarray(points, dtype=float) - x
    size = float(np.abs(c).max())
    if size == 0 or (c <= 0).all():
        return 1.0
    if (c >= 0).all():
        return 0.0
    c = c[c != 0] / size
    s = np.arange(-25.0, 30.0 / len(c) - math.log(float(np.abs(c).min())), STEP)  # u = exp(s)
    cu = c[:, None] * np.exp(s)
    log_rho = 0.5 * np.log1p(cu * cu).sum(axis=0)
    above = 0.5 + STEP / math.pi * float((np.sin(np.arctan(cu).sum(axis=0)) * np.exp(-log_rho)).sum())
    return min(1.0, max(0.0, 1 - above))


def unseen(n: int, level: float = 0.95) -> float:
    """The greatest rate of an event that n trials without it do not exclude: 1 - (1 - level)^(1/n).

    >>> round(unseen(5), 2)
    0.45
    """
    return float(1 - (1 - level) ** (1 / n))
