"""Normalisers: turn scores into weights.  normalise(S (..., q, k)) -> W (..., q, k).

A forbidden score is -inf, and its weight is exactly 0. A normaliser never sees a row in which every key is forbidden. Scores of
+inf are the limit of scores that grow together: where weights compete, these keys share all the weight. The sparse normalisers
find their threshold on `detach(S)` and then apply the closed form. Autograd thus gives the right gradient, and nobody
has to write it by hand.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Normaliser, Source
from attnlab.parts import learned
from attnlab.parts.running import absorbed, started
from attnlab.precision import exact, in_float32

__all__ = ["Entmax", "Hardmax", "LognSoftmax", "Sigmoid", "Softmax", "SoftmaxN", "Sparsemax"]


def _below_best(xp: Any, S: Any, top: Any = None) -> Any:
    """Scores minus the best of their row (or minus `top`), so that large scores lose no precision.

    If the best score of a row is +inf, the scores of +inf become 0 and all others -inf. They are constants without gradient.
    """
    plain = detach(S)
    top = xp.max(plain, axis=-1, keepdims=True) if top is None else top
    endless = top == xp.inf
    if isinstance(plain, np.ndarray) and not endless.any():
        return S - top
    zero = xp.zeros_like(plain)
    first = xp.where(plain == xp.inf, zero, zero - xp.inf)
    return xp.where(endless, first, S - xp.where(endless, xp.zeros_like(top), top))


class Softmax(Normaliser):
    """Exponentials over their sum.

    w = argmax over the simplex of w.s/temperature + H(w) = exp(s/temperature) / sum exp(s/temperature). Cost: 3 operations
    a score.

    Parameters
    ----------
    temperature : float > 0, dimensionless
        Below 1 sharper, above 1 flatter.

    References
    ----------
    Bridle (1990).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "softmax").normalise(np.array([[-2.0, 0.0, 0.5]])).round(4)
    array([[0.0486, 0.3592, 0.5922]])
    """

    name = "softmax"
    source = Source("Probabilistic Interpretation of Feedforward Classification Network Outputs", "Bridle", 1990)
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = True

    def __init__(self, temperature: Annotated[float, Gt(0)] = 1.0) -> None:
        self.temperature = temperature

    @in_float32
    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        if self.temperature == 1:
            return xp.softmax(S, axis=-1)
        return xp.softmax(_below_best(xp, S) / self.temperature, axis=-1)

    def begin(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return started(shape, dtype)

    def absorb(self, state: Any, S: Any) -> Any:
        return absorbed(state, S if self.temperature == 1 else S / self.temperature)

    def finish(self, state: Any) -> Any:
        return 1 / state.total

    def operations(self, n_keys: int) -> float:
        return 3.0 * n_keys


class SoftmaxN(Normaliser):
    """Softmax that may abstain: n0 is added to the sum of exponentials.

    w_j = exp(s_j) / (n0 + sum_i exp(s_i)); n0 = 1 is softmax1, n0 = 0 is softmax. The weights sum to less than one. When
    every score is low, they sum to nearly zero. Cost: 3 operations a score.

    Parameters
    ----------
    n0 : float >= 0, dimensionless
        It acts like one more key whose value is zero: n0 is the exponential of that key's score.

    References
    ----------
    Miller (2023).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> float(attnlab.get("normaliser", "softmax_n").normalise(np.full((1, 8), -10.0)).sum().round(6))
    0.000363
    """

    name = "softmax_n"
    source = Source("Attention Is Off By One", "Miller", 2023)
    rows_sum_to_one = False
    nonnegative = True
    sparse = False
    shift_invariant = False

    def __init__(self, n0: Annotated[float, Ge(0)] = 1.0) -> None:
        self.n0 = n0

    @in_float32
    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        top = xp.max(detach(S), axis=-1, keepdims=True)
        if self.n0 > 0:
            top = xp.maximum(top, xp.zeros_like(top))
        E = xp.exp(_below_best(xp, S, top))
        total = xp.sum(E, axis=-1, keepdims=True)
        return E / (total + self.n0 * xp.exp(-top)) if self.n0 > 0 else E / total

    def begin(self, shape: tuple[int, ...], dtype: Any) -> Any:
        if self.n0 > 0:  # a key with score 0, n0 times, whose value is zero
            return started(shape, dtype, top=0.0, total=self.n0)
        return started(shape, dtype)

    def absorb(self, state: Any, S: Any) -> Any:
        return absorbed(state, S)

    def finish(self, state: Any) -> Any:
        return 1 / state.total

    def operations(self, n_keys: int) -> float:
        return 3.0 * n_keys + 2.0


class LognSoftmax(Normaliser):
    """Softmax of scores times the logarithm of the number of keys; it counters dispersion.

    w = softmax(scale * log(n) * s), where n is the number of allowed keys. The largest weight then does not fade as n grows.
    A key that is alone gets weight 1. Cost: 4 operations a score.

    Parameters
    ----------
    scale : float > 0 or "learned", dimensionless
        The factor on log n. "learned" starts at 1, and its logarithm is learned, `log_scale` (). Scalable softmax learns about 0.43.

    References
    ----------
    Chiang and Cholak (2022), section 5.3; Nakanishi (2025).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.array([[1.0, 0.0, 0.0, 0.0]])
    >>> attnlab.get("normaliser", "logn_softmax").normalise(S, mask=S >= 0, n_allowed=np.array([[4.0]])).round(3)
    array([[0.571, 0.143, 0.143, 0.143]])
    """

    name = "logn_softmax"
    source = Source("Overcoming a Theoretical Limitation of Self-Attention", "Chiang, Cholak", 2022, "ACL")
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = True

    def __init__(self, scale: Annotated[float, Gt(0)] | Literal["learned"] = 1.0) -> None:
        self.scale = scale

    def init(self) -> dict[str, Any]:
        return {"log_scale": np.zeros(())} if self.scale == "learned" else {}

    @in_float32
    def normalise(self, S: Any, mask: Any, n_allowed: Any, log_scale: Any = None) -> Any:
        xp = namespace(S, log_scale)
        zero = xp.zeros_like(detach(S))
        factor = xp.astype(learned.log_factor(xp, n_allowed, self.scale, log_scale), S.dtype)
        Z = xp.where(mask, _below_best(xp, S), zero) * factor  # log 1 = 0, and 0 * -inf would be nan
        return xp.softmax(xp.where(mask, Z, zero - xp.inf), axis=-1)

    def begin(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return started(shape, dtype)

    def absorb(self, state: Any, S: Any, n_allowed: Any, log_scale: Any = None) -> Any:
        xp = namespace(S)
        factor = xp.astype(learned.log_factor(xp, n_allowed, self.scale, log_scale), S.dtype)
        if not xp.all(factor > 0):  # a single key has all the weight, and 0 times infinity would be nan
            zero = xp.zeros_like(S)
            S = xp.where(factor > 0, S, xp.where(-xp.inf == S, zero - xp.inf, zero))
            factor = xp.where(factor > 0, factor, xp.ones_like(factor))
        return absorbed(state, S * factor)

    def finish(self, state: Any) -> Any:
        return 1 / state.total

    def operations(self, n_keys: int) -> float:
        return 4.0 * n_keys + 1.0


class Sparsemax(Normaliser):
    """The Euclidean projection onto the simplex: low scores get exactly zero.

    w = argmin over the simplex of |w - s|^2 = max(s - tau, 0), with tau such that the weights sum to one. Cost: a sort,
    about log2(k) + 4 operations a score.

    Notes
    -----
    One key gets all the weight once its score leads by 1.

    References
    ----------
    Martins and Astudillo (2016), algorithm 1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "sparsemax").normalise(np.array([[-2.0, 0.0, 0.5]]))
    array([[0.  , 0.25, 0.75]])
    """

    name = "sparsemax"
    source = Source(
        "From Softmax to Sparsemax: A Sparse Model of Attention and Multi-Label Classification",
        "Martins, Astudillo",
        2016,
        "ICML",
    )
    rows_sum_to_one = True
    nonnegative = True
    sparse = True
    shift_invariant = True

    @in_float32
    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        Z = _below_best(xp, S)
        descending = xp.flip(xp.sort(detach(Z), axis=-1), axis=-1)
        rank = xp.astype(xp.arange(1, S.shape[-1] + 1), S.dtype)
        inside = 1 + rank * descending > xp.cumulative_sum(descending, axis=-1)
        least = xp.min(xp.where(inside, descending, xp.zeros_like(descending)), axis=-1, keepdims=True)
        # all scores that equal the least one are included, so that rounding cannot separate them; NaN is included and stays NaN
        support = ~(detach(Z) < least)
        size = xp.sum(xp.astype(support, S.dtype), axis=-1, keepdims=True)
        zero = xp.zeros_like(detach(Z))
        tau = (xp.sum(xp.where(support, Z, zero), axis=-1, keepdims=True) - 1) / size
        return xp.where(support, xp.maximum(Z - tau, zero), zero)

    def operations(self, n_keys: int) -> float:
        return n_keys * (math.log2(max(n_keys, 2)) + 4.0)


class Entmax(Normaliser):
    """Between softmax (alpha 1) and sparsemax (alpha 2): sparse, with a curved border.

    w = argmax over the simplex of w.s + H_alpha(w), Tsallis' entropy; w_j = max((alpha-1) s_j - tau, 0)^(1/(alpha-1)).
    Cost: a bisection, about 100 operations a score (a kernel needs far fewer).

    Parameters
    ----------
    alpha : float >= 1 or "learned", dimensionless
        1 is softmax, 1.5 the usual choice, 2 sparsemax. "learned" lies between 1 and 2.5 and starts at 1.5: alpha is
        1 + 1.5 sigmoid(a), with a () learned.

    Notes
    -----
    The bisection finds the weight m of the best key, with tau = -m^(alpha-1). It lies between 1/k and 1, so that tau has full
    relative precision, however small it is. The weights at both ends of the last bracket are then mixed, so that they sum to
    one. Each true weight lies between the two. The gradient is that of the implicit function, proposition 2 of the paper.
    One key gets all the weight once its score leads by 1 / (alpha - 1).

    References
    ----------
    Peters, Niculae, Martins (2019), equation 10 and algorithm 1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "entmax").normalise(np.array([[-2.0, 0.0, 0.5]])).round(4)
    array([[0.   , 0.326, 0.674]])
    """

    name = "entmax"
    source = Source("Sparse Sequence-to-Sequence Models", "Peters, Niculae, Martins", 2019, "ACL")
    rows_sum_to_one = True
    nonnegative = True
    sparse = True
    shift_invariant = True

    def __init__(self, alpha: Annotated[float, Ge(1)] | Literal["learned"] = 1.5) -> None:
        self.alpha: Any = alpha

    def init(self) -> dict[str, Any]:
        return {"a": np.asarray(learned.START)} if self.alpha == "learned" else {}

    @in_float32
    def normalise(self, S: Any, a: Any = None) -> Any:
        xp = namespace(S, a)
        if self.alpha == "learned":
            return learned.entmax_weights(xp, _below_best(xp, S), a)
        if self.alpha == 1:
            return xp.softmax(S, axis=-1)
        Z = _below_best(xp, S)
        W = self._solve(xp, (self.alpha - 1) * (0 - detach(Z)))
        return W + self._change(xp, W, Z)

    def _solve(self, xp: Any, gap: Any) -> Any:
        """W of scores that lie gap / (alpha - 1) below the best of their row."""
        one, zero = xp.ones_like(gap[..., :1]), xp.zeros_like(gap[..., :1])
        gap = xp.minimum(gap, one)  # a key whose gap is 1 or more has no weight, whatever the other keys are
        low, high = one / gap.shape[-1], one
        for _ in range(30 if "32" in str(gap.dtype) else 60):
            middle = (low + high) / 2
            enough = xp.sum(self._weights(xp, gap, middle), axis=-1, keepdims=True) >= 1
            low, high = xp.where(enough, low, middle), xp.where(enough, middle, high)
        less, more = self._weights(xp, gap, low), self._weights(xp, gap, high)
        short = 1 - xp.sum(less, axis=-1, keepdims=True)
        width = xp.sum(more, axis=-1, keepdims=True) - 1 + short
        share = xp.where(width > 0, xp.maximum(short, zero) / xp.where(width > 0, width, one), one)
        W = (1 - share) * less + share * more
        return W / xp.sum(W, axis=-1, keepdims=True)

    def _weights(self, xp: Any, gap: Any, best: Any) -> Any:
        """(best^(alpha-1) - gap)^(1/(alpha-1)), or 0: the weights when the best key has weight `best`. NaN stays NaN."""
        most = math.log(float(xp.finfo(gap.dtype).max)) - 1
        ratio = gap * xp.exp(xp.minimum(-(self.alpha - 1) * xp.log(best), xp.ones_like(best) * most))
        ratio, exponent = xp.minimum(ratio, xp.ones_like(ratio)), 1 / (self.alpha - 1)
        if exponent <= 4:  # a small power is faster and just as exact
            return best * (1 - ratio) ** exponent
        inside, zero = ~(ratio >= 1), xp.zeros_like(gap)
        return xp.where(inside, best * xp.exp(xp.log1p(-xp.where(inside, ratio, zero)) * exponent), zero)

    def _change(self, xp: Any, W: Any, S: Any) -> Any:
        """0, with the gradient of W: u (dS - u.dS / sum u), u = W^(2-alpha) where there is weight."""
        inside, zero = ~(W <= 0), xp.zeros_like(W)
        base = xp.where(inside, W, xp.ones_like(W))
        if self.alpha > 2:  # the root of the largest number is the largest u
            base = xp.maximum(base, zero + float(xp.finfo(W.dtype).max) ** (-0.5 / (self.alpha - 2)))
        u = xp.where(inside, base ** (2 - self.alpha), zero)
        dS = xp.where(inside, S, zero)
        dS = dS - detach(dS)
        dS = dS - xp.take_along_axis(dS, xp.argmax(u, axis=-1)[..., None], axis=-1)  # else the largest u cancels itself
        return u * (dS - xp.sum(u * dS, axis=-1, keepdims=True) / xp.sum(u, axis=-1, keepdims=True))

    def operations(self, n_keys: int) -> float:
        return 100.0 * n_keys if self.alpha != 1 else 3.0 * n_keys


class Sigmoid(Normaliser):
    """The logistic function of score minus log n, for each key by itself.

    w_j = 1 / (1 + exp(log(n) - s_j)), where n is the number of allowed keys. The weights need not sum to one. Cost: 4
    operations a score.

    Parameters
    ----------
    minus_log_n : bool
        Subtract log n. The weights of random scores then sum to about one at the start; without it they sum to about n/2.

    References
    ----------
    Ramapuram et al. (2024), section 3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.attention_weights(np.ones((1, 2)), np.ones((3, 2)), similarity="uniform", normaliser="sigmoid")
    array([[0.25, 0.25, 0.25]])
    """

    name = "sigmoid"
    source = Source("Theory, Analysis, and Best Practices for Sigmoid Self-Attention", "Ramapuram et al.", 2024)
    rows_sum_to_one = False
    nonnegative = True
    sparse = False
    shift_invariant = False

    def __init__(self, minus_log_n: bool = True) -> None:
        self.minus_log_n = minus_log_n

    @in_float32
    def normalise(self, S: Any, n_allowed: Any) -> Any:
        xp = namespace(S)
        return xp.sigmoid(S - xp.astype(xp.log(exact(xp, n_allowed)), S.dtype) if self.minus_log_n else S)

    def begin(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return None

    def absorb(self, state: Any, S: Any, n_allowed: Any) -> Any:
        return self.normalise(S, n_allowed), 1.0, None

    def finish(self, state: Any) -> Any:
        return 1.0

    def operations(self, n_keys: int) -> float:
        return 4.0 * n_keys + 1.0


class Hardmax(Normaliser):
    """The best key gets all the weight; the gradient is that of softmax (straight-through).

    w = the one-hot vector of argmax s. The first key wins a tie. Cost: 1 operation a score, 3 with gradient.

    Notes
    -----
    It is not differentiable. The gradients are those of softmax, which are a biased estimate.

    References
    ----------
    Xu et al. (2015), section 4.1; Bengio, Leonard, Courville (2013) for the straight-through estimate.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "hardmax").normalise(np.array([[-2.0, 0.0, 0.5]]))
    array([[0., 0., 1.]])
    """

    name = "hardmax"
    source = Source("Show, Attend and Tell", "Xu et al.", 2015, "ICML")
    rows_sum_to_one = True
    nonnegative = True
    sparse = True
    shift_invariant = True
    differentiable = False

    @in_float32
    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        soft = xp.softmax(S, axis=-1)
        best = xp.argmax(detach(S), axis=-1)
        hard = xp.astype(xp.arange(S.shape[-1]) == best[..., None], S.dtype)
        return hard + (soft - detach(soft))

    def operations(self, n_keys: int) -> float:
        return float(n_keys)
