"""Settings of normalisers that are learned: the scale of `logn_softmax`, and the alpha of `entmax`, 1 + 1.5 sigmoid(a)."""

from __future__ import annotations

import math
from typing import Any

from attnlab.arrays import detach
from attnlab.errors import NotInitialised
from attnlab.precision import exact

__all__ = ["START", "entmax_weights", "log_factor"]

START = math.log(0.5)  # where alpha is 1.5
LEAST = 1e-3  # of alpha - 1; below it the weights are softmax's to rounding


def log_factor(xp: Any, n_allowed: Any, scale: Any, log_scale: Any) -> Any:
    """scale log n, for a fixed scale, or for one whose logarithm is learned."""
    logs = xp.log(exact(xp, n_allowed))
    if scale != "learned":
        return scale * logs
    if log_scale is None:
        raise NotInitialised("logn_softmax learns its scale, and was not given log_scale; see init")
    return xp.astype(xp.exp(log_scale), logs.dtype) * logs


def entmax_weights(xp: Any, Z: Any, a: Any) -> Any:
    """W (..., q, k) of scores minus the best of their row, Z, and the learned number a ().

    The weight m of the best key is found by bisection, as with a fixed alpha: w_j = (m^(alpha-1) - (alpha-1) gap_j)^(1/(alpha-1)).
    """
    if a is None:
        raise NotInitialised("entmax learns its alpha, and was not given a; see init")
    slack = 1.5 * xp.sigmoid(a)  # alpha - 1
    slack = xp.where(detach(slack) < LEAST, LEAST * xp.ones_like(detach(slack)), slack)
    plain, zero = detach(slack), xp.zeros_like(detach(Z))
    one = xp.ones_like(zero[..., :1])
    gap = xp.minimum(plain * (0 - detach(Z)), one)

    def of(best: Any) -> Any:
        ratio = gap * xp.exp(-plain * xp.log(best))
        inside = ~(ratio >= 1)
        return xp.where(inside, best * xp.exp(xp.log1p(-xp.where(inside, ratio, zero)) / plain), zero)

    low, high = one / gap.shape[-1], one
    for _ in range(30 if "32" in str(gap.dtype) else 60):
        middle = (low + high) / 2
        enough = xp.sum(of(middle), axis=-1, keepdims=True) >= 1
        low, high = xp.where(enough, low, middle), xp.where(enough, middle, high)
    W = of((low + high) / 2)
    W = W / xp.sum(W, axis=-1, keepdims=True)
    return W + _by_scores(xp, W, Z, plain) + _by_alpha(xp, W, plain) * (slack - plain)


def _u(xp: Any, W: Any, slack: Any) -> tuple[Any, Any]:
    """(where there is weight, W^(2 - alpha) there)."""
    inside = ~(W <= 0)
    power = xp.exp((1 - slack) * xp.log(xp.where(inside, W, xp.ones_like(W))))
    return inside, xp.where(inside, power, xp.zeros_like(W))


def _by_scores(xp: Any, W: Any, Z: Any, slack: Any) -> Any:
    """0, with the gradient of W with respect to the scores: u (dz - u.dz / sum u)."""
    inside, u = _u(xp, W, slack)
    dZ = xp.where(inside, Z, xp.zeros_like(W))
    dZ = dZ - detach(dZ)
    return u * (dZ - xp.sum(u * dZ, axis=-1, keepdims=True) / xp.sum(u, axis=-1, keepdims=True))


def _by_alpha(xp: Any, W: Any, slack: Any) -> Any:
    """dW / dalpha (Correia et al. 2019, proposition 1)."""
    inside, u = _u(xp, W, slack)
    share = u / xp.sum(u, axis=-1, keepdims=True)
    H = xp.where(inside, -W * xp.log(xp.where(inside, W, xp.ones_like(W))), xp.zeros_like(W))
    return ((W - share) / slack + H - share * xp.sum(H, axis=-1, keepdims=True)) / slack
