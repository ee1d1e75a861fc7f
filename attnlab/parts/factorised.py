"""Similarities with something to learn: bilinear forms of low rank, additive ones in other coordinates, weighted distances."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Similarity, Source
from attnlab.parts.similarities import Additive
from attnlab.precision import in_float32

__all__ = ["AdditiveWn", "DiagMahalanobis", "LowRank"]


class LowRank(Similarity):
    """A learned bilinear form whose matrix is a product of two narrow ones.

    s_ij = (q_i' Wq) . (k_j' Wk), learned Wq (d_query, rank) and Wk (d_key, rank), started at N(0, 1/d_query) and N(0, 1/d_key).
    It is `general` with the matrix Wq Wk', whose rank is at most `rank`. Cost: 2 d rank operations a vector, 2 rank a pair.

    Parameters
    ----------
    rank : int > 0, features
        The width in which queries and keys are compared. What matches in more directions than that cannot be told apart.

    Notes
    -----
    Queries and keys may have different dimensions. One head of multi-head attention compares in this way, over the square root
    of its width. Its projections for queries and keys are Wq and Wk.

    References
    ----------
    Kim et al. (2017), equation 2, without its nonlinearity; Bhojanapalli et al. (2020), section 3, for the limit that the rank
    sets.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> W = np.array([[1.0], [0.0]])
    >>> attnlab.get("similarity", "low_rank", rank=1).score(np.array([[2.0, 5.0]]), np.array([[3.0, 4.0]]), W, W)
    array([[6.]])
    """

    name = "low_rank"
    source = Source("Hadamard Product for Low-rank Bilinear Pooling", "Kim et al.", 2017, "ICLR")
    nonnegative = False
    symmetric = False
    content_free = False
    mixes_keys = False

    def __init__(self, rank: Annotated[int, Gt(0)] = 8) -> None:
        self.rank = rank

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        return {
            "Wq": rng.normal(size=(d_query, self.rank)) / math.sqrt(d_query),
            "Wk": rng.normal(size=(d_key, self.rank)) / math.sqrt(d_key),
        }

    @in_float32
    def score(self, Q: Any, K: Any, Wq: Any, Wk: Any) -> Any:
        xp = namespace(Q, K, Wq, Wk)
        return xp.matmul(xp.matmul(Q, Wq), xp.matrix_transpose(xp.matmul(K, Wk)))

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return 2.0 * self.rank * (d_query + (d_key + 1.0) * n_keys)


class AdditiveWn(Additive):
    """A small network over query and key, whose last layer learns its length and its direction apart.

    s_ij = (g v / |v|)' tanh(q_i' Wq + k_j' Wk + b), learned Wq (d_query, h), Wk (d_key, h), b (h,), v (h,) and g (), started at
    N(0, 1/d), 0, N(0, 1/h) and 1. It is `additive` in other coordinates. A step of learning turns v, or changes g. Cost: that of
    `additive`.

    Parameters
    ----------
    hidden : int > 0, units
        The width h of the hidden layer.

    Notes
    -----
    TensorFlow Addons has it as `BahdanauAttention(normalize=True)`, where g starts at sqrt(1/h). Here g starts at 1, so that
    the scores start as large as those of `additive`. A v of zeros gives scores of zero.

    References
    ----------
    Salimans and Kingma (2016), equation 2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> similarity = attnlab.get("similarity", "additive_wn", hidden=8)
    >>> params = similarity.init(np.random.default_rng(0), d_query=3, d_key=5)
    >>> similarity.score(np.ones((2, 3)), np.ones((4, 5)), **params).shape
    (2, 4)
    """

    name = "additive_wn"
    source = Source(
        "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
        "Salimans, Kingma",
        2016,
        "NeurIPS",
    )

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        return {**super().init(rng, d_query, d_key), "g": np.ones(())}

    @in_float32
    def score(self, Q: Any, K: Any, Wq: Any, Wk: Any, b: Any, v: Any, g: Any) -> Any:
        xp = namespace(Q, K, Wq, Wk, b, v, g)
        squares = xp.sum(v * v)
        length = xp.sqrt(xp.where(detach(squares) > 0, squares, xp.ones_like(squares)))
        return super().score(Q, K, Wq, Wk, b, g * v / length)

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return super().operations(n_keys, d_query, d_key) + 4.0 * self.hidden


class DiagMahalanobis(Similarity):
    """Minus a squared distance in which each feature has a learned weight.

    s_ij = -sum_f a_f (q_if - k_jf)^2, a = softplus(r) >= 0, learned r (d,), started where a is 1/2: it starts as `neg_l2` with
    sigma 1. A feature that does not matter gets a weight near zero. Cost: 4 d operations a pair.

    Notes
    -----
    Under softmax this is a Gaussian kernel with automatic relevance determination: a_f is 1 / (2 width_f^2). `gaussian` of the
    plugin attnlab-distance learns the logarithm of 1 / width_f instead.

    References
    ----------
    Neal (1996), section 1.5; Rasmussen and Williams (2006), equation 5.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> similarity = attnlab.get("similarity", "diag_mahalanobis")
    >>> params = similarity.init(d_query=2)
    >>> similarity.score(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0], [2.0, 0.0]]), **params).round(6)
    array([[-1., -2.]])
    """

    name = "diag_mahalanobis"
    source = Source("Bayesian Learning for Neural Networks", "Neal", 1996, "Springer")
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    def init(self, d_query: int) -> dict[str, Any]:
        return {"r": np.full(d_query, math.log(math.expm1(0.5)))}

    @in_float32
    def score(self, Q: Any, K: Any, r: Any) -> Any:
        xp = namespace(Q, K, r)
        away = Q[..., :, None, :] - K[..., None, :, :]  # (..., q, k, d)
        return -xp.sum(xp.softplus(r) * away * away, axis=-1)

    def numbers(self, n_keys: int, d: int) -> float:
        return float(max(1, d))

    def operations(self, n_keys: int, d_query: int) -> float:
        return 4.0 * d_query * n_keys + 3.0 * d_query
