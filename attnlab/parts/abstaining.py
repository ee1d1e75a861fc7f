"""Normalisers whose weights need not sum to one: a query may take little, nothing, or the opposite of a value."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Normaliser, Source
from attnlab.parts.normalisers import _below_best
from attnlab.precision import in_float32

__all__ = ["Cog", "Identity", "ReluOverN", "SinkSoftmax", "Softpick", "StickBreaking"]


class SinkSoftmax(Normaliser):
    """Softmax with one more key whose score is learned and whose value is zero: it learns to abstain.

    w_j = exp(s_j) / (exp(b) + sum_i exp(s_i)), learned b (), started at 0, where it is `softmax_n` with n0 = 1. The weights sum
    to less than one. Cost: 3 operations a score.

    Notes
    -----
    gpt-oss learns a sink for each head and calls it `sinks`. x-transformers also has sinks with learned values, which is
    another mechanism.

    References
    ----------
    OpenAI (2025), section 2.1; Miller (2023) for a constant in the place of exp(b).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("normaliser", "sink_softmax").normalise(np.array([[-2.0, 0.0, 0.5]]), b=np.zeros(())).round(7)
    array([[0.0357646, 0.2642667, 0.4357021]])
    """

    name = "sink_softmax"
    source = Source("gpt-oss-120b & gpt-oss-20b Model Card", "OpenAI", 2025, "arXiv:2508.10925")
    rows_sum_to_one = False
    nonnegative = True
    sparse = False
    shift_invariant = False

    def init(self) -> dict[str, Any]:
        return {"b": np.zeros(())}

    @in_float32
    def normalise(self, S: Any, b: Any) -> Any:
        xp = namespace(S, b)
        top = xp.max(detach(S), axis=-1, keepdims=True)
        top = xp.maximum(top, detach(b) + xp.zeros_like(top))
        E = xp.exp(_below_best(xp, S, top))
        return E / (xp.sum(E, axis=-1, keepdims=True) + xp.exp(b - top))

    def operations(self, n_keys: int) -> float:
        return 3.0 * n_keys + 2.0


class Softpick(Normaliser):
    """Softmax of exponentials minus one: scores below zero get nothing, and count against the others.

    w_j = max(exp(s_j) - 1, 0) / (sum_i |exp(s_i) - 1| + eps). The weights sum to one where no score is negative, and else to
    less. Where no score is positive they are all zero. Cost: 5 operations a score.

    Parameters
    ----------
    eps : float > 0, dimensionless
        It keeps a row of scores that are all 0 from a division by zero.

    Notes
    -----
    The sum goes over allowed keys. (A published code masks with -inf and then counts |exp(-inf) - 1| = 1 for each forbidden key.)
    Around 0 the gradient is taken from the side where the weight is zero.

    References
    ----------
    Zuhri, Fuadi, Aji (2025), equations 3 and 4.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[-2.0, 0.0, 0.5]]), "softpick").round(7)
    array([[0.       , 0.       , 0.4286555]])
    """

    name = "softpick"
    source = Source(
        "Softpick: No Attention Sink, No Massive Activations with Rectified Softmax", "Zuhri, Fuadi, Aji", 2025
    )
    rows_sum_to_one = False
    nonnegative = True
    sparse = True
    shift_invariant = False

    def __init__(self, eps: Annotated[float, Gt(0)] = 1e-8) -> None:
        self.eps = eps

    @in_float32
    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        top = xp.max(detach(S), axis=-1, keepdims=True)
        top = xp.maximum(top, xp.zeros_like(top))
        small = xp.exp(-top)  # all is multiplied by this: nothing overflows
        near = detach(S) < 1
        low = small * xp.expm1(xp.where(near & mask, S, zero))  # exact around 0
        E = xp.where(near, low, xp.exp(_below_best(xp, S, top)) - small)
        E = xp.where(mask, E, zero)
        picked = xp.where(detach(E) <= 0, zero, E)
        return picked / (xp.sum(xp.abs(E), axis=-1, keepdims=True) + self.eps * small)

    def operations(self, n_keys: int) -> float:
        return 5.0 * n_keys + 2.0


class ReluOverN(Normaliser):
    """Positive scores, or their squares, over the number of keys; each key by itself.

    w_j = max(s_j, 0)^power / n^exponent, where n is the number of allowed keys. The weights need not sum to one. Cost: 3
    operations a score.

    Parameters
    ----------
    power : int > 0
        1 is ReLU attention; 2 is the squared ReLU.
    exponent : float >= 0
        Of n: 1 divides by the number of keys, 0 by nothing.

    Notes
    -----
    Wortsman et al. found an exponent of about 1 to come near softmax; without the division the sum grows with the number of
    keys. Primer and the gated attention unit use the square. The latter divides by n, or by n d.

    References
    ----------
    Wortsman et al. (2023), section 3; Hua et al. (2022), equation 5, for the square.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.array([[-2.0, 0.0, 0.5]])
    >>> attnlab.normalise(S, "relu_over_n").round(4)
    array([[0.    , 0.    , 0.1667]])
    >>> attnlab.normalise(S, {"relu_over_n": {"power": 2}}).round(4)
    array([[0.    , 0.    , 0.0833]])
    """

    name = "relu_over_n"
    source = Source("Replacing softmax with ReLU in Vision Transformers", "Wortsman et al.", 2023, "arXiv:2309.08586")
    rows_sum_to_one = False
    nonnegative = True
    sparse = True
    shift_invariant = False

    def __init__(self, power: Annotated[int, Ge(1)] = 1, exponent: Annotated[float, Ge(0)] = 1.0) -> None:
        self.power = power
        self.exponent = exponent

    @in_float32
    def normalise(self, S: Any, n_allowed: Any) -> Any:
        xp = namespace(S)
        positive = xp.where(detach(S) <= 0, xp.zeros_like(detach(S)), S)
        return positive**self.power / xp.astype(n_allowed, S.dtype) ** self.exponent

    def begin(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return None

    def absorb(self, state: Any, S: Any, n_allowed: Any) -> Any:
        return self.normalise(S, n_allowed), 1.0, None

    def finish(self, state: Any) -> Any:
        return 1.0

    def operations(self, n_keys: int) -> float:
        return (2.0 + self.power) * n_keys


class StickBreaking(Normaliser):
    """From the last key back, each key breaks a part off what is left of a stick: the latest match wins.

    w_j = sigmoid(s_j) prod_l (1 - sigmoid(s_l)), the product over allowed keys l at positions after j. No position is needed for
    the order of keys to matter. What no key takes is lost, so that a row may sum to less than one. Cost: 6 operations a score.

    Notes
    -----
    Keys are taken in falling order of `k_index`, wherever the query is; without it, the last key first. The paper's attention is
    causal, so that the last allowed key is the nearest. It is computed with logarithms, whose sum no product underflows.

    References
    ----------
    Tan et al. (2024), equation 4.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[-2.0, 0.0, 0.5]]), "stick_breaking").round(7)
    array([[0.022502 , 0.1887703, 0.6224593]])
    """

    name = "stick_breaking"
    source = Source("Stick-breaking Attention", "Tan et al.", 2024, "arXiv:2410.17980")
    rows_sum_to_one = False
    nonnegative = True
    sparse = False
    shift_invariant = False
    permutation_equivariant = False

    @in_float32
    def normalise(self, S: Any, mask: Any, k_index: Any = None) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        given = xp.where(mask, S, zero)
        kept = xp.where(mask, xp.softplus(given), zero)  # minus log(1 - sigmoid(s))
        if k_index is None:
            after = _after(xp, kept)
        else:
            order = xp.argsort(xp.asarray(k_index), axis=-1)
            back = xp.argsort(order, axis=-1)
            shape = tuple(kept.shape)
            order, back = (xp.broadcast_to(one[..., None, :], shape) for one in (order, back))
            after = xp.take_along_axis(_after(xp, xp.take_along_axis(kept, order, axis=-1)), back, axis=-1)
        return xp.where(mask, xp.sigmoid(given) * xp.exp(-after), zero)

    def operations(self, n_keys: int) -> float:
        return 6.0 * n_keys


def _after(xp: Any, X: Any) -> Any:
    """The sum of what comes after each key."""
    least = xp.zeros_like(X[..., :1])
    return xp.flip(xp.cumulative_sum(xp.concat([least, xp.flip(X[..., 1:], axis=-1)], axis=-1), axis=-1), axis=-1)


class Cog(Normaliser):
    """Softmax of sizes with the signs of the scores: a key with a negative score takes its value away.

    w_j = sign(s_j) exp(|s_j|) / sum_i exp(|s_i|). The sizes of the weights sum to one. A score of exactly 0 gets 0, though scores
    beside it get more. Cost: 5 operations a score.

    Notes
    -----
    x-transformers calls it `cog_signed`. The sum goes over allowed keys.

    References
    ----------
    Lv et al. (2024), equation 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[-2.0, 0.0, 0.5]]), "cog").round(7)
    array([[-0.7361247,  0.       ,  0.1642516]])
    """

    name = "cog"
    source = Source("More Expressive Attention with Negative Weights", "Lv et al.", 2024, "arXiv:2411.07176")
    rows_sum_to_one = False
    nonnegative = False
    sparse = False
    shift_invariant = False

    @in_float32
    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        size = xp.where(mask, xp.abs(xp.where(mask, S, zero)), zero - xp.inf)
        E = xp.exp(_below_best(xp, size))
        sign = xp.where(mask, xp.sign(detach(S)), zero)
        return sign * E / xp.sum(E, axis=-1, keepdims=True)

    def operations(self, n_keys: int) -> float:
        return 5.0 * n_keys


class Identity(Normaliser):
    """Scores as weights.

    w_j = s_j, and 0 for a forbidden key. Cost: none.

    Notes
    -----
    With `dot` this is linear attention without normalisation. It is a control for what a normaliser adds. Weights may be negative,
    and their sum grows with the number of keys.

    References
    ----------
    Katharopoulos et al. (2020), section 3.2, without the division.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[-2.0, 0.0, 0.5]]), "identity", np.array([[True, True, False]]))
    array([[-2.,  0.,  0.]])
    """

    name = "identity"
    source = Source(
        "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        "Katharopoulos et al.",
        2020,
        "ICML",
    )
    rows_sum_to_one = False
    nonnegative = False
    sparse = False
    shift_invariant = False

    @in_float32
    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        return xp.where(mask, S, xp.zeros_like(detach(S)))

    def operations(self) -> float:
        return 0.0
