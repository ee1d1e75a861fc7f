"""Attention that knows where it was: a place that moves on, mixed with contents. A plugin for attnlab."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab import Position, Source, detach, hookimpl, namespace


class LocationAttender(Position):
    """A bell around a place that moves on from where the step before looked, mixed with the weights by content.

    w_ij = (1 - g_i) c_ij + g_i b_ij, with the weights by content c and b_ij = exp(-(j - mu_i)^2 / (2 sigma^2)) over its sum for the keys
    that query i may attend to, where

        mu_i = a_i . (p, 1, i, n - 1),   a_i = a + A' q_i,   g_i = sigmoid(c + G' q_i),   sigma = least + exp(s).

    p is the mean place of the sizes of the weights of the step before, -1 before the first; n is the number of keys. Learned: a (4,),
    started at (1, 1, 0, 0), the next place; A (d_query, 4) and G (d_query,) at 0, c () at 0, half and half, and s () at 0. Cost: 8
    operations a pair.

    Parameters
    ----------
    least : float > 0, keys
        The smallest standard deviation of the bell.

    Notes
    -----
    Places of keys are `k_index`, and n is the true length without padding. In the paper the parts of mu are shares of the length, the
    weights of the parts are rounded as training goes on, and sigma is of each query. Its state is the weights of the step before.

    References
    ----------
    Dubois et al. (2020), section 4.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> mechanism = attnlab.Mechanism("uniform", position=LocationAttender(least=0.01))
    >>> params = mechanism.init(np.random.default_rng(0), d_query=1, d_key=1, d_value=1)
    >>> params["position"].update(c=np.array(50.0), s=np.array(-9.0))     # the bell alone, and narrow
    >>> mechanism.weights(params, np.ones((3, 1)), np.ones((4, 1))).argmax(axis=-1)
    array([0, 1, 2])
    """

    name = "location_attender"
    source = Source("Location Attention for Extrapolation to Longer Sequences", "Dubois et al.", 2020, "ACL")
    permutation_equivariant = False
    mixes_keys = False
    keeps_sums = True

    def __init__(self, least: Annotated[float, Gt(0)] = 0.27) -> None:
        self.least = least

    def init(self, d_query: int) -> dict[str, Any]:
        return {
            "a": np.array([1.0, 1.0, 0.0, 0.0]),
            "A": np.zeros((d_query, 4)),
            "c": np.zeros(()),
            "G": np.zeros(d_query),
            "s": np.zeros(()),
        }

    def initial_state(self, n_keys: int, leading: tuple[int, ...], Q: Any) -> Any:
        return namespace(Q).zeros((*leading, 1, n_keys), dtype=Q.dtype)

    def update(self, state: Any, W: Any) -> Any:
        xp = namespace(state, W)
        return xp.where(xp.any(detach(W) != 0, axis=-1, keepdims=True), W, state)

    def reweigh(
        self,
        W: Any,
        Q: Any,
        mask: Any,
        q_index: Any,
        k_index: Any,
        lengths: Any,
        state: Any,
        a: Any,
        A: Any,
        c: Any,
        G: Any,
        s: Any,
    ) -> Any:
        xp = namespace(W, Q, state, a)
        zero = xp.zeros_like(detach(W))
        i, j, n = (xp.astype(xp.asarray(one), W.dtype) for one in (q_index, k_index, lengths))
        i, j, n = i[..., :, None], j[..., None, :], n[..., 1][..., None, None]
        sizes = xp.abs(state)
        total = xp.sum(sizes, axis=-1, keepdims=True)
        none = detach(total) == 0
        p = xp.where(
            none, xp.zeros_like(detach(total)) - 1, xp.sum(sizes * j, axis=-1, keepdims=True) / xp.where(none, 1, total)
        )
        moves = xp.matmul(Q, A) + a  # (..., q, 4)
        mu = moves[..., :1] * p + moves[..., 1:2] + moves[..., 2:3] * i + moves[..., 3:] * (n - 1)
        away = (j - mu) / (self.least + xp.exp(s))
        counted = xp.broadcast_to(mask, W.shape) | ~xp.any(xp.broadcast_to(mask, W.shape), axis=-1, keepdims=True)
        bell = xp.softmax(xp.where(counted, -away * away / 2, zero - xp.inf), axis=-1)
        share = xp.sigmoid(xp.matmul(Q, G) + c)[..., None]
        return (1 - share) * W + share * bell

    def operations(self, n_keys: int, d_query: int) -> float:
        return 8.0 * n_keys + 10.0 * d_query


@hookimpl
def attnlab_positions() -> list[type[Position]]:
    return [LocationAttender]
