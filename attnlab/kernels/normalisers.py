"""Normalisers with their pullback. They use compiled loops if numba is installed, else NumPy on whole arrays.

The reference computes a row that holds NaN or +infinity.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

from attnlab.interfaces import Kernel
from attnlab.mechanisms.blocks import in_threads, slices
from attnlab.mechanisms.pullback import pulled
from attnlab.parts.normalisers import Entmax, LognSoftmax, Sigmoid, Softmax, SoftmaxN, Sparsemax

__all__ = [
    "EntmaxRows",
    "LognSoftmaxRows",
    "SigmoidByHand",
    "SoftmaxNRows",
    "SoftmaxRows",
    "SparsemaxRows",
    "compiled",
    "numpy_floats",
]

Array = np.ndarray[Any, Any]

MANY = 2**19  # numbers, above which threads share the rows


@functools.cache
def compiled() -> Any:
    """The module of compiled loops, or None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    from attnlab.kernels import compiled as module

    return module


def numpy_floats(library: str, dtype: str) -> bool:
    return library == "numpy" and dtype in ("float32", "float64")


def rows(X: Array) -> Array:
    return X.reshape(-1, X.shape[-1])


def by_loops(loop: Any, S: Array, *given: Any) -> tuple[Array, int]:
    """(W, how many rows are odd) by a compiled loop over rows; several threads share many of them."""
    S = np.ascontiguousarray(S)
    W = np.empty(S.shape, S.dtype)
    ins, outs = rows(S), rows(W)
    if S.size <= MANY:
        return W, loop(ins, outs, *given)
    odd: list[int] = []
    in_threads(
        lambda items: odd.extend(loop(ins[here], outs[here], *given) for here in items),
        slices(len(ins), max(1, MANY // S.shape[-1])),
    )
    return W, sum(odd)


def _below_infinity(top: Array) -> bool:
    """Whether the largest scores of all rows are finite."""
    return bool(np.isfinite(top).all())


def _odd(S: Array) -> Any:
    """Which rows (..., q) hold NaN or +infinity, or only -infinity; None if there is no such row."""
    with np.errstate(invalid="ignore"):
        usual = np.isfinite(S.max(axis=-1))
    return None if usual.all() else ~usual


def by_rows(kernel: Any, part: Any, S: Array, odd: Array, **given: Any) -> tuple[Array, Any]:
    """The kernel computes the usual rows; the reference computes the odd ones, with autograd's gradient."""
    W, back = kernel(np.where(odd[..., None], S.dtype.type(0), S))
    of_rows = {name: np.broadcast_to(a, (*S.shape[:-1], np.shape(a)[-1]))[odd] for name, a in given.items()}
    w, its_back = pulled(functools.partial(part.normalise, **of_rows), {"S": S[odd]})
    W[odd] = w

    def both(g: Any) -> Any:
        dS = back(g)["S"]
        dS[odd] = its_back(g[odd]).get("S", 0)
        return {"S": dS}

    return W, both


# --------------------------------------------------------------------------------------------------------------------
# exponentials
# --------------------------------------------------------------------------------------------------------------------
class SoftmaxRows(Kernel):
    """Softmax row by row in float32, with numba; else NumPy's exponential, of moderate scores as they are.

    References
    ----------
    Bridle (1990).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("normaliser", "softmax")
    >>> W, back = SoftmaxRows().normalise(part, np.array([[-2.0, 0.0, 0.5]]), wants=())
    >>> W.round(4)
    array([[0.0486, 0.3592, 0.5922]])
    """

    name = "softmax_rows"
    source = Softmax.source
    replaces = Softmax

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def row_by_row(self, part: Any, dtype: str) -> bool:
        return dtype == "float32" and compiled() is not None

    def normalise(self, part: Any, S: Any, wants: Any) -> Any:
        scale = S.dtype.type(1 / part.temperature)
        loops = compiled() if S.dtype == np.float32 else None
        if loops is not None:
            W, n_odd = by_loops(loops.softmax_rows, S, scale)
            if n_odd and (odd := _odd(S)) is not None:
                return by_rows(lambda S: self.normalise(part, S, wants=True), part, S, odd)
        elif _moderate(S, scale):  # no score has to be taken from the others first
            W = np.exp(S if scale == 1 else S * scale, order="C")
            W /= np.einsum("...k,k->...", W, np.ones(W.shape[-1], W.dtype))[..., None]  # the fastest sum of short rows
        else:
            top = S.max(axis=-1, keepdims=True)
            if not _below_infinity(top):
                return by_rows(lambda S: self.normalise(part, S, wants=True), part, S, _odd(S))
            W = np.subtract(S, top, order="C")
            if scale != 1:
                W *= scale
            np.exp(W, out=W)
            W /= W.sum(axis=-1, keepdims=True)
        return W, (lambda g: {"S": softmax_gradient(W, g, scale)}) if wants else None


def _moderate(S: Array, scale: Any) -> bool:
    """Whether the exponentials of all scores, and a sum of a billion of them, are far from the ends of the range."""
    limit = 60 if S.dtype == np.float32 else 600
    return bool(S.size) and bool(max(S.max(), -S.min()) * scale <= limit)  # not so with NaN


def softmax_gradient(W: Array, g: Array, scale: Any) -> Array:
    """scale W (g - sum W g), the gradient of the scores."""
    loops = compiled()
    if loops is not None:
        g, dS = np.ascontiguousarray(g, dtype=W.dtype), np.empty(W.shape, W.dtype)
        loops.softmax_back(rows(W), rows(g), rows(dS), scale)
        return dS
    dS = g - np.einsum("...k,...k->...", W, g)[..., None]
    dS *= W
    if scale != 1:
        dS *= scale
    return dS


class LognSoftmaxRows(Kernel):
    """Softmax of scores times the logarithm of the number of keys; a row with one key has no gradient.

    References
    ----------
    Chiang and Cholak (2022), section 5.3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("normaliser", "logn_softmax")
    >>> W, back = LognSoftmaxRows().normalise(part, np.array([[-2.0, 0.0, 0.5]]), None, np.array([[3.0]]), ())
    >>> W.round(4)
    array([[0.0391, 0.3517, 0.6092]])
    """

    name = "logn_softmax_rows"
    source = LognSoftmax.source
    replaces = LognSoftmax

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype) and part.scale != "learned"

    def normalise(self, part: Any, S: Any, mask: Any, n_allowed: Any, wants: Any) -> Any:
        factor = np.asarray(part.scale * np.log(n_allowed), dtype=S.dtype)  # 0 for one key, and 0 times -inf is NaN
        top = S.max(axis=-1, keepdims=True)
        if not _below_infinity(top):
            usual = lambda S: self.normalise(part, S, mask, n_allowed, True)  # noqa: E731
            return by_rows(usual, part, S, _odd(S), mask=mask, n_allowed=n_allowed)
        W = np.subtract(S, top, order="C")
        np.multiply(W, factor, out=W, where=~np.isneginf(W) if (factor == 0).any() else True)
        np.exp(W, out=W)
        W /= W.sum(axis=-1, keepdims=True)

        def back(g: Any) -> Any:
            dS = softmax_gradient(W, g, S.dtype.type(1))
            return {"S": dS * factor}

        return W, back if wants else None


class SoftmaxNRows(Kernel):
    """Exponentials over n0 and their sum.

    References
    ----------
    Miller (2023).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("normaliser", "softmax_n")
    >>> W, back = SoftmaxNRows().normalise(part, np.array([[-2.0, 0.0, 0.5]]), wants=())
    >>> W.round(4)
    array([[0.0358, 0.2643, 0.4357]])
    """

    name = "softmax_n_rows"
    source = SoftmaxN.source
    replaces = SoftmaxN

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def normalise(self, part: Any, S: Any, wants: Any) -> Any:
        top = S.max(axis=-1, keepdims=True)
        if not _below_infinity(top):
            return by_rows(lambda S: self.normalise(part, S, wants=True), part, S, _odd(S))
        if part.n0 > 0:
            top = np.maximum(top, 0)
        W = np.subtract(S, top, order="C")
        np.exp(W, out=W)
        total = W.sum(axis=-1, keepdims=True)
        if part.n0 > 0:
            total += (part.n0 * np.exp(-top)).astype(S.dtype)
        W /= total

        def back(g: Any) -> Any:
            return {"S": softmax_gradient(W, g, S.dtype.type(1))}  # the key of n0 has no gradient of its own

        return W, back if wants else None


class SigmoidByHand(Kernel):
    """The logistic function with its gradient W (1 - W).

    References
    ----------
    Ramapuram et al. (2024), section 3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("normaliser", "sigmoid")
    >>> W, back = SigmoidByHand().normalise(part, np.ones((1, 3)), np.array([[3.0]]), ())
    >>> W.round(4)
    array([[0.4754, 0.4754, 0.4754]])
    """

    name = "sigmoid_by_hand"
    source = Sigmoid.source
    replaces = Sigmoid

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def normalise(self, part: Any, S: Any, n_allowed: Any, wants: Any) -> Any:
        from scipy.special import expit

        Z = S - np.log(n_allowed).astype(S.dtype, copy=False) if part.minus_log_n else S
        W = expit(Z, out=np.empty(Z.shape, S.dtype))
        return W, (lambda g: {"S": g * W * (1 - W)}) if wants else None


# --------------------------------------------------------------------------------------------------------------------
# sparse
# --------------------------------------------------------------------------------------------------------------------
class SparsemaxRows(Kernel):
    """Sparsemax without a sort: the threshold starts below and rises to its value in a few passes.

    References
    ----------
    Michelot (1986), for the passes; Martins and Astudillo (2016), algorithm 1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("normaliser", "sparsemax")
    >>> W, back = SparsemaxRows().normalise(part, np.array([[-2.0, 0.0, 0.5]]), wants=())
    >>> W.round(4)
    array([[0.  , 0.25, 0.75]])
    """

    name = "sparsemax_rows"
    source = Sparsemax.source
    replaces = Sparsemax

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def row_by_row(self, part: Any, dtype: str) -> bool:
        return compiled() is not None

    def normalise(self, part: Any, S: Any, wants: Any) -> Any:
        loops = compiled()
        if loops is None:
            W = sparsemax_by_passes(S)
        else:
            W, odd = by_loops(loops.sparsemax_rows, S)
            W = None if odd else W
        if W is None:
            return by_rows(lambda S: self.normalise(part, S, wants=True), part, S, _odd(S))

        def back(g: Any) -> Any:
            if loops is None:
                inside = W > 0
                mean = np.einsum("...k,...k->...", g, inside.astype(g.dtype))[..., None] / inside.sum(-1, keepdims=True)
                return {"S": np.where(inside, g - mean.astype(g.dtype), g.dtype.type(0))}
            dS, given = np.empty(W.shape, W.dtype), np.ascontiguousarray(g, dtype=W.dtype)
            loops.sparsemax_back(rows(W), rows(given), rows(dS))
            return {"S": dS}

        return W, back if wants else None


def sparsemax_by_passes(S: Array) -> Any:
    """W by NumPy alone, all rows at once; None where a score is NaN or +infinity.

    Michelot (1986): each pass sets the threshold so that the weights of the keys above it sum to one. It only rises.
    """
    top = S.max(axis=-1, keepdims=True)
    if not _below_infinity(top):
        return None
    Z = np.subtract(S, top, order="C")
    tau = np.full_like(top, -1)
    for _ in range(S.shape[-1] + 1):
        inside = tau < Z
        n = inside.sum(axis=-1, keepdims=True, dtype=S.dtype)
        total = np.where(inside, Z, S.dtype.type(0)).sum(axis=-1, keepdims=True)
        higher = np.maximum(tau, (total - 1) / n)
        if not (higher > tau).any():
            break
        tau = higher
    Z -= tau
    return np.maximum(Z, 0, out=Z)


class EntmaxRows(Kernel):
    """Entmax of 1 < alpha <= 2 by Newton's method on the threshold, from below.

    For alpha 1.5, compiled loops use the closed form on the support.

    References
    ----------
    Peters, Niculae, Martins (2019), equation 10 and proposition 2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("normaliser", "entmax")
    >>> W, back = EntmaxRows().normalise(part, np.array([[-2.0, 0.0, 0.5]]), wants=())
    >>> W.round(4)
    array([[0.   , 0.326, 0.674]])
    """

    name = "entmax_rows"
    source = Entmax.source
    replaces = Entmax

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype) and part.alpha != "learned" and 1 < part.alpha <= 2

    def row_by_row(self, part: Any, dtype: str) -> bool:
        return part.alpha == 1.5 and compiled() is not None

    def normalise(self, part: Any, S: Any, wants: Any) -> Any:
        loops = compiled() if part.alpha == 1.5 else None
        if loops is None:
            W = entmax_by_newton(S, float(part.alpha))
        else:
            W, odd = by_loops(loops.entmax15_rows, S)
            W = None if odd else W
        if W is None:
            return by_rows(lambda S: self.normalise(part, S, wants=True), part, S, _odd(S))

        def back(g: Any) -> Any:
            if loops is not None:
                dS, given = np.empty(W.shape, W.dtype), np.ascontiguousarray(g, dtype=W.dtype)
                loops.entmax15_back(rows(W), rows(given), rows(dS))
                return {"S": dS}
            if part.alpha == 1.5:
                u = np.sqrt(W)
            else:
                u = np.where(W > 0, W, 1) ** W.dtype.type(2 - part.alpha) * (W > 0)
            mean = np.einsum("...k,...k->...", u, g) / u.sum(axis=-1)
            return {"S": u * (g - mean[..., None])}

        return W, back if wants else None


def entmax_by_newton(S: Array, alpha: float) -> Any:
    """W by NumPy alone, all rows at once; None where a score is NaN or +infinity.

    tau is the root of f(tau) = sum max((alpha - 1)(s - top) - tau, 0)^(1 / (alpha - 1)) - 1. For alpha <= 2 the function is
    convex and falls. Newton's steps start at tau = -1, where f >= 0, and therefore never pass the root.
    """
    top = S.max(axis=-1, keepdims=True)
    if not _below_infinity(top):
        return None
    power = 1 / (alpha - 1)
    Z = np.subtract(S, top, order="C")
    Z *= S.dtype.type(alpha - 1)
    tau = np.full_like(top, -1)
    close = 4 * np.finfo(S.dtype).eps
    for _ in range(100):
        Y = np.maximum(Z - tau, 0)
        steep = Y if power == 2 else Y ** S.dtype.type(power - 1)
        f = np.einsum("...k,...k->...", steep, Y)[..., None] - 1
        step = f / (S.dtype.type(power) * steep.sum(axis=-1, keepdims=True))
        moving = step > close * np.abs(tau)  # each row stops by itself, so that no row depends on another
        if not moving.any():
            break
        tau = np.where(moving, tau + step, tau)
    W = np.maximum(Z - tau, 0)
    W = np.multiply(W, W, out=W) if power == 2 else W ** S.dtype.type(power)
    W /= W.sum(axis=-1, keepdims=True)
    return W
