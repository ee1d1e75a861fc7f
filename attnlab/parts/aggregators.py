"""Aggregators: sum up values by their weights.  aggregate(W (..., q, k), V (..., k, v)) -> Y (..., q, v)."""

from __future__ import annotations

from typing import Any

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Aggregator, Source
from attnlab.precision import in_float32

__all__ = ["Gather", "WeightedSum"]


class WeightedSum(Aggregator):
    """The weighted sum of the values.

    y_i = sum_j w_ij v_j: Bahdanau's context C_i, the third of the three stages compare, normalise, sum up. Cost: 2 v
    operations a pair.

    References
    ----------
    Bahdanau, Cho, Bengio (2015), equation 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("aggregator", "weighted_sum").aggregate(np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]]))
    array([[7.]])
    """

    name = "weighted_sum"
    mixes_values = True
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )

    @in_float32
    def aggregate(self, W: Any, V: Any) -> Any:
        return namespace(W, V).matmul(W, V)

    def operations(self, n_keys: int, d_value: int) -> float:
        return 2.0 * n_keys * d_value


class Gather(Aggregator):
    """The value of the heaviest key, and no other.

    y_i = v_j with j = argmax_j w_ij. The first key wins a tie. Where no key has any weight, y_i is zero. Cost: 1 operation
    a weight.

    Notes
    -----
    It is not differentiable in the weights. They get the gradients of the weighted sum instead (straight-through).

    References
    ----------
    Vinyals, Fortunato, Jaitly (2015), section 2.3, for pointing at one input.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("aggregator", "gather").aggregate(np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]]))
    array([[8.]])
    """

    name = "gather"
    mixes_values = True
    source = Source("Pointer Networks", "Vinyals, Fortunato, Jaitly", 2015, "NeurIPS")
    differentiable = False

    @in_float32
    def aggregate(self, W: Any, V: Any) -> Any:
        xp = namespace(W, V)
        plain = detach(W)
        best = xp.argmax(plain, axis=-1)[..., None]
        hard = xp.astype((xp.arange(W.shape[-1]) == best) & xp.any(plain != 0, axis=-1, keepdims=True), W.dtype)
        return xp.matmul(hard + (W - plain), V)

    def operations(self, n_keys: int) -> float:
        return float(n_keys)
