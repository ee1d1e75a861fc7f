"""Aggregators that sum up values in another algebra: the largest of log w + v, and the logarithm of the sum of w exp v.

A weight that is not positive counts as absent, and where no weight is left the context is zero.
"""

from __future__ import annotations

import math
from typing import Any

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Aggregator, Source
from attnlab.precision import in_float32

__all__ = ["Laser", "MaxPlus"]


def _raised(xp: Any, W: Any, V: Any) -> tuple[Any, Any]:
    """(log w_ij + v_jc as (..., q, k, v), -inf where a weight is absent; which queries have a weight at all (..., q, 1)).

    A weight so small that the gradient of its logarithm is near the largest number is absent too. In a row without weights
    nothing is -inf, so that nothing there is NaN.
    """
    plain = detach(W)
    present = plain > 1e6 * float(xp.finfo(plain.dtype).smallest_normal)
    some = xp.any(present, axis=-1, keepdims=True)
    logs = xp.log(xp.where(present, W, xp.ones_like(plain)))
    logs = xp.where(present | ~some, logs, xp.full_like(plain, -math.inf))
    return logs[..., None] + V[..., None, :, :], some


class MaxPlus(Aggregator):
    """For each feature the largest value, less what its key lacks in weight: the sum of max-plus algebra.

    y_ic = max_j (log w_ij + v_jc). With softmax log w is the score, up to a constant a row. Where no weight is positive, y is
    zero. Cost: 2 v operations a pair.

    Notes
    -----
    A sum of max-plus (tropical) algebra is a maximum, and its product is a sum. The max-pooling of other software has no
    weights, and is this with all weights one. A negative weight counts as none. The largest takes the whole gradient;
    equals share it.

    References
    ----------
    Hashemi et al. (2025), arXiv:2505.17190.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> W, V = np.array([[0.5, 0.5, 0.0]]), np.array([[1.0, 6.0], [4.0, 2.0], [99.0, 99.0]])
    >>> attnlab.get("aggregator", "max_plus").aggregate(W, V).round(4)
    array([[3.3069, 5.3069]])
    """

    name = "max_plus"
    mixes_values = False
    source = Source(
        "Tropical Attention: Neural Algorithmic Reasoning for Combinatorial Algorithms",
        "Hashemi et al.",
        2025,
        "arXiv:2505.17190",
    )

    @in_float32
    def aggregate(self, W: Any, V: Any) -> Any:
        xp = namespace(W, V)
        raised, some = _raised(xp, W, V)
        return xp.where(some, xp.max(raised, axis=-2), xp.zeros_like(detach(raised[..., 0, :])))

    def numbers(self, n_keys: int, d: int) -> float:
        return float(d)

    def operations(self, n_keys: int, d_value: int) -> float:
        return 2.0 * n_keys * d_value + n_keys


class Laser(Aggregator):
    """The logarithm of the weighted sum of the exponentials of the values.

    y_ic = log sum_j w_ij exp(v_jc). Large values count for more than in the weighted sum, to which it comes close where values
    differ little. Where no weight is positive, y is zero. Cost: 4 v operations a pair.

    Notes
    -----
    The gradient of softmax weights is small where one weight is near one; through the exponentials it need not be, which is
    what the paper is about. The largest exponent is taken out first, so that nothing overflows. A negative weight counts as
    none.

    References
    ----------
    Duvvuri, Dhillon (2024), arXiv:2411.03493.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> W, V = np.array([[0.25, 0.75]]), np.array([[0.0], [np.log(5.0)]])
    >>> np.exp(attnlab.get("aggregator", "laser").aggregate(W, V)).round(6)      # 1/4 + 3/4 of 5
    array([[4.]])
    """

    name = "laser"
    mixes_values = False
    source = Source("LASER: Attention with Exponential Transformation", "Duvvuri, Dhillon", 2024, "arXiv:2411.03493")

    @in_float32
    def aggregate(self, W: Any, V: Any) -> Any:
        xp = namespace(W, V)
        raised, some = _raised(xp, W, V)
        return xp.where(some, xp.logsumexp(raised, axis=-2), xp.zeros_like(detach(raised[..., 0, :])))

    def numbers(self, n_keys: int, d: int) -> float:
        return float(d)

    def operations(self, n_keys: int, d_value: int) -> float:
        return 4.0 * n_keys * d_value + n_keys
