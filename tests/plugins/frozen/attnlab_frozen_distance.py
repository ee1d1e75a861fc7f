"""Distances as attention scores: a plugin for attnlab."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab import Similarity, Source, hookimpl, namespace


class Laplace(Similarity):
    """Minus the city-block distance over a length scale.

    s_ij = -sum_d |q_id - k_jd| / scale: the logarithm of a Laplace kernel. Cost: 3 d operations a pair.

    Parameters
    ----------
    scale : float > 0, in the unit of the queries and keys
        The distance at which exp(s) has fallen to 1/e.

    References
    ----------
    Laplace (1774), the first law of errors.

    Examples
    --------
    >>> Laplace(scale=2.0).score(np.array([[0.0, 0.0]]), np.array([[1.0, -3.0], [0.0, 0.0]]))
    array([[-2., -0.]])
    """

    name = "laplace"
    source = Source("Mémoire sur la probabilité des causes par les évènements", "Laplace", 1774)
    symmetric = True
    content_free = False

    def __init__(self, scale: Annotated[float, Gt(0)] = 1.0) -> None:
        self.scale = scale

    def score(self, Q: Any, K: Any) -> Any:  # Q (..., q, d), K (..., k, d) -> S (..., q, k)
        xp = namespace(Q, K)
        return -xp.sum(xp.abs(Q[..., :, None, :] - K[..., None, :, :]), axis=-1) / self.scale


class Gaussian(Similarity):
    """Minus half the squared distance, each feature over its own learned width.

    s_ij = -1/2 sum_d (exp(log_precision_d) (q_id - k_jd))^2, learned log_precision (d,), started at 0. Cost: 4 d operations
    a pair. A feature that does not matter gets a great width.

    References
    ----------
    Neal (1996), section 1.5: automatic relevance determination.

    Examples
    --------
    >>> Gaussian().score(np.array([[0.0, 0.0]]), np.array([[1.0, 2.0]]), log_precision=np.zeros(2))
    array([[-2.5]])
    """

    name = "gaussian"
    source = Source("Bayesian Learning for Neural Networks", "Neal", 1996, "Springer")
    symmetric = True
    content_free = False

    def init(self, d_query: int) -> dict[str, Any]:
        return {"log_precision": np.zeros(d_query)}

    def score(self, Q: Any, K: Any, log_precision: Any) -> Any:
        xp = namespace(Q, K, log_precision)
        away = xp.exp(log_precision) * (Q[..., :, None, :] - K[..., None, :, :])  # (..., q, k, d)
        return -xp.sum(away * away, axis=-1) / 2


@hookimpl
def attnlab_similarities() -> list[type[Similarity]]:
    return [Laplace, Gaussian]
