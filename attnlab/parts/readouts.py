"""Aggregators that change the weighted sum by the query, or give the weights themselves."""

from __future__ import annotations

import math
from typing import Any

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Aggregator, Source
from attnlab.precision import in_float32

__all__ = ["Gated", "LuongOutput", "Pointer"]


class LuongOutput(Aggregator):
    """A hidden layer over the weighted sum and the query: Luong's attentional vector.

    y_i = tanh(W [c_i; q_i]), c_i = sum_j w_ij v_j. Where no key has any weight, y_i is zero. Learned: W, as Wc (d_value,
    d_value) and Wq (d_query, d_value), started at N(0, 1/(d_value + d_query)). Cost: 2 v operations a pair, and
    2 v (v + d) a query.

    Notes
    -----
    Values between -1 and 1 come out, so that targets outside cannot be met. The paper feeds y to the softmax over words. It
    has no case of a query without weights; zero keeps such queries as they are for all other aggregators. OpenNMT and
    Luong's own code call the same layer `linear_out` and `W_c`.

    References
    ----------
    Luong, Pham, Manning (2015), equation 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> luong = attnlab.get("aggregator", "luong_output")
    >>> W, V, Q = np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]]), np.array([[1.0]])
    >>> luong.aggregate(W, V, Q, Wc=np.array([[0.1]]), Wq=np.array([[-0.7]])).round(4)
    array([[0.]])
    """

    name = "luong_output"
    mixes_values = False
    source = Source(
        "Effective Approaches to Attention-based Neural Machine Translation", "Luong, Pham, Manning", 2015, "EMNLP"
    )

    def init(self, rng: Any, d_query: int, d_value: int) -> dict[str, Any]:
        scale = 1 / math.sqrt(max(1, d_query + d_value))
        return {
            "Wc": scale * rng.normal(size=(d_value, d_value)),
            "Wq": scale * rng.normal(size=(d_query, d_value)),
        }

    @in_float32
    def aggregate(self, W: Any, V: Any, Q: Any, Wc: Any, Wq: Any) -> Any:
        xp = namespace(W, V, Q, Wc)
        Y = xp.tanh(xp.matmul(xp.matmul(W, V), Wc) + xp.matmul(Q, Wq))
        some = xp.any(detach(W) != 0, axis=-1, keepdims=True)
        return xp.where(some, Y, xp.zeros_like(detach(Y)))

    def operations(self, n_keys: int, d_query: int, d_value: int) -> float:
        return 2.0 * n_keys * d_value + 2.0 * d_value * (d_value + d_query)


class Gated(Aggregator):
    """The weighted sum, each feature times a gate that the query opens or closes.

    y_i = sigmoid(G' q_i) * sum_j w_ij v_j. Learned: G (d_query, d_value), started at N(0, 1/d_query). Cost: 2 v operations a
    pair, and 2 v d a query.

    Notes
    -----
    Qiu et al. try many places for a gate; this is the one that they find best, after the weighted sum, one gate a feature
    (elementwise, in each head). A closed gate lets a head say nothing, which softmax cannot, so that no key has to serve as a
    sink. A gated linear unit computes its gate from the same vector that it multiplies; here the query decides.

    References
    ----------
    Qiu et al. (2025), section 2.2, position G1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> gated = attnlab.get("aggregator", "gated")
    >>> W, V, Q = np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]]), np.array([[1.0]])
    >>> gated.aggregate(W, V, Q, G=np.array([[0.0]]))
    array([[3.5]])
    """

    name = "gated"
    mixes_values = False
    source = Source(
        "Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free",
        "Qiu et al.",
        2025,
        "arXiv:2505.06708",
    )

    def init(self, rng: Any, d_query: int, d_value: int) -> dict[str, Any]:
        return {"G": rng.normal(size=(d_query, d_value)) / math.sqrt(max(1, d_query))}

    @in_float32
    def aggregate(self, W: Any, V: Any, Q: Any, G: Any) -> Any:
        xp = namespace(W, V, Q, G)
        return xp.sigmoid(xp.matmul(Q, G)) * xp.matmul(W, V)

    def operations(self, n_keys: int, d_query: int, d_value: int) -> float:
        return 2.0 * n_keys * d_value + 2.0 * d_query * d_value + 5.0 * d_value


class Pointer(Aggregator):
    """The weights themselves: how much each key is pointed at.

    y_ij = w_ij, so that a context has one feature for each key, (..., q, k), and the values are not read. Cost: none.

    Notes
    -----
    It is for targets that are positions: class j means key j. A model whose values have another number of features than there
    are keys refuses it. A pointer-generator mixes these weights with a distribution over words, which is more than this part.

    References
    ----------
    Vinyals, Fortunato, Jaitly (2015), section 2.3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("aggregator", "pointer").aggregate(np.array([[0.25, 0.75]]))
    array([[0.25, 0.75]])
    """

    name = "pointer"
    mixes_values = False
    source = Source("Pointer Networks", "Vinyals, Fortunato, Jaitly", 2015, "NeurIPS")
    over_keys = True

    def aggregate(self, W: Any) -> Any:
        return W

    def operations(self) -> float:
        return 0.0
