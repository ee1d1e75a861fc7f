"""Minus the squared distance of all pairs as one matrix product, without an array (..., q, k, d)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Similarity
from attnlab.parts.similarities import NegL2
from attnlab.precision import is_low

__all__ = ["FastNegL2", "fast_similarity"]

NUMBERS = 2**20  # the most numbers that one block of the reference forms


class FastNegL2(Similarity):
    """Minus the squared Euclidean distance, by one matrix product.

    -|q - k|^2 / 2 = q.k - |q|^2 / 2 - |k|^2 / 2, both measured from the median of some of the keys: the rows [q, -|q|^2/2, 1] times
    the columns [k, 1, -|k|^2/2]. Cost: 2 (d + 2) operations a pair; memory q k, where the reference takes q k d.

    Parameters
    ----------
    sigma : float > 0, in the unit of the queries and keys

    Notes
    -----
    It differs from the reference by about eps (|q|^2 + |k|^2) / sigma^2, with lengths measured from the middle of the keys. If
    that may be more than 1e-3 (float32) or 1e-8 (float64), the reference scores the block of queries and keys. The reference also
    scores arrays of other libraries, whose numbers may not be readable.

    Examples
    --------
    >>> import numpy as np
    >>> FastNegL2(sigma=1.0).score(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]]))
    array([[-1.,  0.]])
    """

    name = "neg_l2"
    source = NegL2.source
    replaces = NegL2
    symmetric = True
    content_free = False

    def __init__(self, sigma: Annotated[float, Gt(0)] = 1.0) -> None:
        self.sigma = sigma

    def score(self, Q: Any, K: Any) -> Any:
        xp, q, k = namespace(Q, K), detach(Q), detach(K)
        if not isinstance(q, np.ndarray) or not k.size or is_low(q):
            return NegL2(self.sigma).score(Q, K)
        middle = self.middle(k)
        far_q, far_k = (self.far(x, middle) for x in (q, k))
        finite = all(not far.any() or bool(np.isfinite(x).all()) for far, x in ((far_q, q), (far_k, k)))
        if finite and not (far_q.any() and far_k.any()):
            return self._expanded(xp, Q, K, middle)
        if not finite or q.ndim > 2 or k.ndim > 2 or far_q.all() or far_k.all():
            return self._plain(xp, Q, K)
        # the rows and columns that are far come last; then all return to their order
        rows, columns = (np.argsort(far, kind="stable") for far in (far_q, far_k))
        n, m = len(rows) - far_q.sum(), len(columns) - far_k.sum()
        Q, K = Q[rows], K[columns]
        corner = xp.concat([self._expanded(xp, Q[n:], K[:m], middle), self._plain(xp, Q[n:], K[m:])], axis=-1)
        S = xp.concat([self._expanded(xp, Q[:n], K, middle), corner], axis=-2)
        return S[np.argsort(rows)][:, np.argsort(columns)]

    @staticmethod
    def middle(K: Any) -> Any:
        """The median (..., 1, d) of some of the keys."""
        found: Any = np.median(K[..., :: max(1, K.shape[-2] // 64), :], axis=-2, keepdims=True).astype(K.dtype)
        return found

    def far(self, X: Any, middle: Any) -> Any:
        """Which vectors are so far from the middle that rounding in their squares matters; NaN and infinity also are."""
        away = (X - middle) / self.sigma
        allowed = 1e-3 if X.dtype == np.float32 else 1e-8
        return ~((away * away).sum(axis=-1) <= allowed / (16 * np.finfo(X.dtype).eps))

    def _expanded(self, xp: Any, Q: Any, K: Any, middle: Any) -> Any:
        Q, K = (Q - middle) / self.sigma, (K - middle) / self.sigma
        one_q, one_k = xp.ones_like(detach(Q)[..., :1]), xp.ones_like(detach(K)[..., :1])
        left = xp.concat([Q, -xp.sum(Q * Q, axis=-1, keepdims=True) / 2, one_q], axis=-1)
        right = xp.concat([K, one_k, -xp.sum(K * K, axis=-1, keepdims=True) / 2], axis=-1)
        return xp.matmul(left, xp.matrix_transpose(right))

    def _plain(self, xp: Any, Q: Any, K: Any) -> Any:
        """The reference, a few queries at a time, so that its array of queries times keys times features stays small."""
        rows = max(1, NUMBERS // max(1, K.shape[-2] * K.shape[-1]))
        parts = [NegL2(self.sigma).score(Q[..., i : i + rows, :], K) for i in range(0, max(1, Q.shape[-2]), rows)]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2)

    def operations(self, n_keys: int, d_query: int) -> float:
        return (2.0 * d_query + 4.0) * n_keys


def fast_similarity(similarity: Similarity) -> Similarity | None:
    """The faster twin of a similarity, with its settings, or None where there is none."""
    return FastNegL2(similarity.sigma) if type(similarity) is NegL2 else None
