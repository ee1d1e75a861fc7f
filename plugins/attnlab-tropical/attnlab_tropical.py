"""Tropical geometry for attention scores: a plugin for attnlab."""

from __future__ import annotations

from typing import Any

from attnlab import Similarity, Source, hookimpl, namespace


class Tropical(Similarity):
    """Minus the tropical distance of Hilbert: how far the differences of the features are apart.

    s_ij = -(max_f (q_if - k_jf) - min_f (q_if - k_jf)). Adding a constant to all features of a query or a key changes nothing.
    Cost: 3 d operations a pair.

    Notes
    -----
    The paper maps queries and keys by logarithms first, and takes the maximum of values plus weights in the place of a weighted
    sum. With a single feature all scores are 0. Features that tie share the gradient.

    References
    ----------
    Hashemi, Pasque, Teska, Yoshida (2025), definition 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> Tropical().score(np.array([[1.0, 2.0, 4.0]]), np.array([[0.0, 3.0, 1.0], [2.0, 3.0, 5.0]]))
    array([[-4.,  0.]])
    """

    name = "tropical"
    source = Source(
        "Tropical Attention: Neural Algorithmic Reasoning for Combinatorial Algorithms", "Hashemi et al.", 2025
    )
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    def score(self, Q: Any, K: Any) -> Any:  # Q (..., q, d), K (..., k, d) -> S (..., q, k)
        xp = namespace(Q, K)
        away = Q[..., :, None, :] - K[..., None, :, :]
        return xp.min(away, axis=-1) - xp.max(away, axis=-1)

    def numbers(self, n_keys: int, d: int) -> float:
        return float(max(1, d))

    def operations(self, n_keys: int, d_query: int) -> float:
        return 3.0 * d_query * n_keys


@hookimpl
def attnlab_similarities() -> list[type[Similarity]]:
    return [Tropical]
