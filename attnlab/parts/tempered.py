"""Normalisers whose rows sum to one: softmax at a temperature that the row sets, of a few keys, with noise; and one with tails."""

from __future__ import annotations

import math
from typing import Annotated, Any

from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Normaliser, Source
from attnlab.parts.normalisers import _below_best
from attnlab.precision import in_float32

__all__ = ["AdaptiveTemperature", "Gumbel", "Stieltjes", "TopkSoftmax"]

# of the entropy in nats, the highest power first
POLYNOMIAL = (-0.037, 0.481, -2.3, 4.917, -1.791)


class AdaptiveTemperature(Normaliser):
    """Softmax that is sharpened at prediction where it is spread out.

    w = softmax(beta s), beta = max(poly(H), 1) where the entropy H of softmax(s) is above 0.5 nats, else 1,

        poly(H) = -0.037 H^4 + 0.481 H^3 - 2.3 H^2 + 4.917 H - 1.791.

    In training it is softmax. From H = 5.94 on, the entropy of 380 equal keys, the polynomial is below 1 and nothing happens.
    Cost: 10 operations a score.

    Notes
    -----
    The polynomial was fitted by the authors to one model. Powers fall in it. A published code has them rise, which gives 1
    from H = 2.15 on. The gradient goes through beta too.

    References
    ----------
    Velickovic et al. (2024), section 5 and figure 7.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.where(np.arange(64) == 0, 3.0, 0.0)[None]
    >>> weights = attnlab.normalise(S, "adaptive_temperature")
    >>> float(weights[0, 0].round(6)), float(attnlab.normalise(S, "softmax")[0, 0].round(6))
    (0.947258, 0.241745)
    """

    name = "adaptive_temperature"
    source = Source(
        "softmax is not enough (for sharp out-of-distribution)", "Velickovic et al.", 2024, "arXiv:2410.01104"
    )
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = True

    @in_float32
    def normalise(self, S: Any, mask: Any, training: Any) -> Any:
        xp = namespace(S)
        if training:
            return xp.softmax(S, axis=-1)
        zero = xp.zeros_like(detach(S))
        Z = _below_best(xp, S)
        live = mask & ~(detach(Z) == -xp.inf)
        Z = xp.where(live, Z, zero)
        P = xp.softmax(xp.where(live, Z, zero - xp.inf), axis=-1)
        E = xp.where(live, xp.exp(Z), zero)
        H = xp.log(xp.sum(E, axis=-1, keepdims=True)) - xp.sum(P * Z, axis=-1, keepdims=True)
        beta = 0.0 * H
        for factor in POLYNOMIAL:
            beta = beta * H + factor
        sharper = (detach(H) > 0.5) & ~(detach(beta) <= 1)
        beta = xp.where(sharper, beta, xp.ones_like(detach(beta)))
        return xp.softmax(xp.where(live, beta * Z, zero - xp.inf), axis=-1)

    def operations(self, n_keys: int) -> float:
        return 10.0 * n_keys + 12.0


class TopkSoftmax(Normaliser):
    """Softmax over the k largest scores; all others get exactly zero.

    w_j = exp(s_j) / sum_i exp(s_i), the sum over the k largest allowed scores. Scores that equal the k-th largest are all in.
    Cost: a sort, about log2(n) + 3 operations a score.

    Parameters
    ----------
    k : int > 0, keys
        How many keys share the weight. Where fewer are allowed, this is softmax.

    Notes
    -----
    Zhao et al. call it explicit sparse attention. x-transformers has it as `sparse_topk`. What does not get in has no gradient.

    References
    ----------
    Zhao et al. (2019), equations 5 to 7.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "topk_softmax", k=2).normalise(np.array([[-2.0, 0.0, 0.5]])).round(7)
    array([[0.       , 0.3775407, 0.6224593]])
    """

    name = "topk_softmax"
    source = Source(
        "Explicit Sparse Transformer: Concentrated Attention Through Explicit Selection", "Zhao et al.", 2019
    )
    rows_sum_to_one = True
    nonnegative = True
    sparse = True
    shift_invariant = True

    def __init__(self, k: Annotated[int, Gt(0)] = 2) -> None:
        self.k = k

    @in_float32
    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        if self.k >= S.shape[-1]:
            return xp.softmax(S, axis=-1)
        plain = detach(S)
        least = xp.sort(plain, axis=-1)[..., -self.k][..., None]  # NaN is sorted last, and lets all keys in
        zero = xp.zeros_like(plain)
        return xp.softmax(xp.where(plain < least, zero - xp.inf, S), axis=-1)

    def operations(self, n_keys: int) -> float:
        return n_keys * (math.log2(max(n_keys, 2)) + 3.0)


class Gumbel(Normaliser):
    """Softmax of scores with Gumbel noise: in training, keys are tried out as often as softmax would weigh them.

    w = softmax((s + g) / temperature), g_j = -log(-log(u_j)), u uniform on (0, 1). There is noise in training only, and only with
    `rng`. Cost: 6 operations a score.

    Parameters
    ----------
    temperature : float > 0, dimensionless
        Towards 0 a sample becomes one-hot, and the one key is j with the probability softmax(s)_j.
    hard : bool
        Give the best key all the weight, with the gradient of the soft weights (straight-through).

    Notes
    -----
    PyTorch's `gumbel_softmax` draws noise at prediction too, from its global generator. With `hard` the declared `sparse` and
    `differentiable` do not hold: all weights but one are 0, and the gradient is a biased estimate.

    References
    ----------
    Jang, Gu, Poole (2017), equation 2; Maddison, Mnih, Teh (2017).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> gumbel = attnlab.get("normaliser", "gumbel", temperature=0.5, hard=True)
    >>> S = np.log(np.array([[0.2, 0.8]]))
    >>> rng = np.random.default_rng(0)
    >>> bool(0.7 < sum(gumbel.normalise(S, training=True, rng=rng)[0, 1] for _ in range(400)) / 400 < 0.9)
    True
    """

    name = "gumbel"
    source = Source("Categorical Reparameterization with Gumbel-Softmax", "Jang, Gu, Poole", 2017, "ICLR")
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = True

    def __init__(self, temperature: Annotated[float, Gt(0)] = 0.5, hard: bool = False) -> None:
        self.temperature = temperature
        self.hard = hard

    @in_float32
    def normalise(self, S: Any, training: Any, rng: Any) -> Any:
        xp = namespace(S)
        if training and rng is not None:
            S = S + xp.asarray(rng.gumbel(size=tuple(S.shape)), dtype=S.dtype)
        W = xp.softmax(_below_best(xp, S) / self.temperature, axis=-1)
        if not self.hard:
            return W
        best = xp.argmax(detach(W), axis=-1)
        return xp.astype(xp.arange(S.shape[-1]) == best[..., None], S.dtype) + (W - detach(W))

    def operations(self, n_keys: int) -> float:
        return 6.0 * n_keys


class Stieltjes(Normaliser):
    """A power of the distance below a bar, which is set so that the weights sum to one: tails that fall slowly.

    w_j = (lam - s_j)^-q, lam > max s. Cost: a bisection, about 60 powers a score.

    Parameters
    ----------
    q : float > 0, dimensionless
        Tails fall as |s|^-q. The greater it is, the sharper the weights.

    Notes
    -----
    The bisection finds the weight m of the best key, with lam = max s + m^(-1/q). It lies between 1/n and 1, so that no power of n is
    formed, however small q is. The gradient is that of the implicit function: with u = (lam - s)^(-q-1),
    dw = q u (ds - u.ds / sum u). It is the transform of the name at the scores; there is no limit in q that is softmax unless
    scores are scaled by q.

    References
    ----------
    The public code of ASEntmax (2025), jtaylor-eng/asentmax, `stieltjes`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "stieltjes", q=1.0).normalise(np.array([[-2.0, 0.0, 0.5]])).round(7)
    array([[0.2083021, 0.3570512, 0.4346467]])
    """

    name = "stieltjes"
    source = Source("Stieltjes attention, in the public code jtaylor-eng/asentmax", "Taylor", 2025)
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = True

    def __init__(self, q: Annotated[float, Gt(0)] = 1.0) -> None:
        self.q = q

    @in_float32
    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        Z = _below_best(xp, S)
        gap = 0 - detach(Z)  # 0 for the best key, infinite for a forbidden one
        zero, one = xp.zeros_like(gap), xp.ones_like(gap[..., :1])
        finite = ~(gap == xp.inf)
        near = xp.where(finite, gap, zero)

        def of(best: Any) -> Any:
            """The weights when the best key has weight `best`, which is (lam - max s)^-q, and lam - s_j in units of lam - max s."""
            away = 1 + near * best ** (1 / self.q)
            return xp.where(finite, best * away**-self.q, zero), away

        low, high = one / gap.shape[-1], one
        for _ in range(30 if "32" in str(gap.dtype) else 60):
            middle = (low + high) / 2
            enough = xp.sum(of(middle)[0], axis=-1, keepdims=True) >= 1
            low, high = xp.where(enough, low, middle), xp.where(enough, middle, high)
        W, away = of((low + high) / 2)
        W = W / xp.sum(W, axis=-1, keepdims=True)
        u = W / away  # up to a factor: how much each weight tells of lam
        dS = xp.where(finite, Z, zero)
        dS = dS - detach(dS)
        slope = self.q * ((low + high) / 2) ** (1 / self.q)
        return W + slope * u * (dS - xp.sum(u * dS, axis=-1, keepdims=True) / xp.sum(u, axis=-1, keepdims=True))

    def operations(self, n_keys: int) -> float:
        return 180.0 * n_keys
