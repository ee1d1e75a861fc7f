"""Similarities that are matrix products, and the additive one, with their pullback."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.interfaces import Kernel
from attnlab.kernels.normalisers import compiled, numpy_floats, rows
from attnlab.kernels.similarities import FastNegL2
from attnlab.mechanisms.pullback import pulled, unbroadcast
from attnlab.parts.similarities import Additive, Cosine, Dot, General, NegL2, ScaledDot

__all__ = ["AdditiveLoops", "CosineProduct", "DotProduct", "GeneralProduct", "NegL2Product", "ScaledDotProduct"]

Array = np.ndarray[Any, Any]
PAIRS = 2**20  # the most numbers (q, k, h) that additive scores form at once without compiled loops


def turned(X: Any) -> Any:
    """The last two axes exchanged."""
    return X.swapaxes(-1, -2)


def mapped(X: Array, W: Array) -> Array:
    """X W for X (..., d), W (d, h), as one matrix product."""
    return (rows(X) @ W).reshape(*X.shape[:-1], W.shape[1])


class DotProduct(Kernel):
    """The product of queries and keys.

    References
    ----------
    Luong, Pham, Manning (2015), section 3.1, `dot`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("similarity", "dot")
    >>> S, back = DotProduct().score(part, np.ones((1, 4)), np.ones((2, 4)), ())
    >>> S.round(4)
    array([[4., 4.]])
    """

    name = "dot_product"
    source = Dot.source
    replaces = Dot

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def score(self, part: Any, Q: Any, K: Any, wants: Any) -> Any:
        return np.matmul(Q, turned(K)), _both_ways(Q, K, wants)


class ScaledDotProduct(Kernel):
    """The product of queries and keys; the queries are scaled first.

    References
    ----------
    Vaswani et al. (2017), equation 1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("similarity", "scaled_dot")
    >>> S, back = ScaledDotProduct().score(part, np.ones((1, 4)), np.ones((2, 4)), ())
    >>> S.round(4)
    array([[2., 2.]])
    """

    name = "scaled_dot_product"
    source = ScaledDot.source
    replaces = ScaledDot

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def score(self, part: Any, Q: Any, K: Any, wants: Any) -> Any:
        scale = Q.dtype.type(Q.shape[-1] ** -0.5)
        X = Q * scale
        return np.matmul(X, turned(K)), _both_ways(X, K, wants, scale)


def _both_ways(X: Array, K: Array, wants: Any, scale: Any = None) -> Any:
    """The pullback of scores X K', X = scale Q."""

    def back(g: Any) -> Any:
        found = {}
        if "Q" in wants:
            found["Q"] = np.matmul(g, K)
            if scale is not None:
                found["Q"] *= scale
        if "K" in wants:
            found["K"] = np.matmul(turned(g), X)
        return found

    return back


class NegL2Product(Kernel):
    """Minus the squared distance by one matrix product, measured from the middle of the keys.

    If queries and keys both lie so far from the middle that rounding in their squares would matter, the reference computes it.

    References
    ----------
    Nadaraya (1964); Watson (1964).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("similarity", "neg_l2")
    >>> S, back = NegL2Product().score(part, np.zeros((1, 2)), np.array([[1.0, 1.0], [0.0, 0.0]]), ())
    >>> S
    array([[-1.,  0.]])
    """

    name = "neg_l2_product"
    source = NegL2.source
    replaces = NegL2

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def score(self, part: Any, Q: Any, K: Any, wants: Any) -> Any:
        twin = FastNegL2(part.sigma)
        if not K.size or not Q.size:
            return pulled(part.score, {"Q": Q, "K": K})
        middle = twin.middle(K)
        far = [bool(twin.far(X, middle).any()) for X in (Q, K)]
        if all(far) or any(far_off and not np.isfinite(X).all() for far_off, X in zip(far, (Q, K), strict=True)):
            return pulled(part.score, {"Q": Q, "K": K})
        scale = Q.dtype.type(1 / part.sigma)
        A, B = (Q - middle) * scale, (K - middle) * scale
        S = np.matmul(A, turned(B))
        S -= np.einsum("...d,...d->...", A, A)[..., :, None] / 2
        S -= np.einsum("...d,...d->...", B, B)[..., None, :] / 2

        def back(g: Any) -> Any:
            found = {}
            if "Q" in wants:
                found["Q"] = np.matmul(g, B) - g.sum(axis=-1)[..., None] * A
                found["Q"] *= scale
            if "K" in wants:
                found["K"] = np.matmul(turned(g), A) - g.sum(axis=-2)[..., None] * B
                found["K"] *= scale
            return found

        return S, back


class GeneralProduct(Kernel):
    """The learned map as one product over all queries.

    References
    ----------
    Luong, Pham, Manning (2015), section 3.1, `general`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("similarity", "general")
    >>> S, back = GeneralProduct().score(part, np.ones((1, 2)), np.ones((2, 2)), np.eye(2), ())
    >>> S.round(4)
    array([[2., 2.]])
    """

    name = "general_product"
    source = General.source
    replaces = General

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def score(self, part: Any, Q: Any, K: Any, W: Any, wants: Any) -> Any:
        X = mapped(Q, W)

        def back(g: Any) -> Any:
            found = {}
            if "Q" in wants or "W" in wants:
                dX = unbroadcast(np.matmul(g, K), X)
                found["W"] = rows(Q).T @ rows(dX)
                if "Q" in wants:
                    found["Q"] = mapped(dX, W.T)
            if "K" in wants:
                found["K"] = np.matmul(turned(g), X)
            return found

        return np.matmul(X, turned(K)), back


class CosineProduct(Kernel):
    """Products of vectors of length one, which are computed once.

    References
    ----------
    Henry et al. (2020), equation 2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("similarity", "cosine", temperature=0.5)
    >>> S, back = CosineProduct().score(part, np.array([[2.0, 0.0]]), np.array([[5.0, 0.0], [0.0, 1.0]]), ())
    >>> S.round(4)
    array([[2., 0.]])
    """

    name = "cosine_product"
    source = Cosine.source
    replaces = Cosine

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def score(self, part: Any, Q: Any, K: Any, wants: Any, log_temperature: Any = None) -> Any:
        if log_temperature is None:
            sharp = Q.dtype.type(1 / float(part.temperature))
        else:
            sharp = np.exp(-log_temperature)
        (A, shorter_a), (B, shorter_b) = unit(Q), unit(K)
        C = np.matmul(A, turned(B))

        def back(g: Any) -> Any:
            found: dict[str, Any] = {}
            if "log_temperature" in wants:
                found["log_temperature"] = np.asarray(-np.vdot(g, C) * sharp, dtype=C.dtype)
            if "Q" in wants:
                found["Q"] = through_length(np.matmul(g, B), A, shorter_a, sharp)
            if "K" in wants:
                found["K"] = through_length(np.matmul(turned(g), A), B, shorter_b, sharp)
            return found

        return C * sharp, back


def unit(X: Array) -> tuple[Array, Array]:
    """(vectors of length one, what each was multiplied by); zeros stay zeros."""
    small = np.finfo(X.dtype).tiny / np.finfo(X.dtype).eps
    if (loops := compiled()) is not None and X.size:
        X = np.ascontiguousarray(X)
        U, shorter = np.empty(X.shape, X.dtype), np.empty((*X.shape[:-1], 1), X.dtype)
        if not loops.unit_rows(rows(X), rows(U), shorter.reshape(-1), small):
            return U, shorter
    squares = np.einsum("...d,...d->...", X, X)[..., None]
    if not squares.size or (squares.min() > small and squares.max() < np.inf):
        shorter = 1 / np.sqrt(squares)
        return X * shorter, shorter
    top = np.abs(X).max(axis=-1, keepdims=True)  # divide by the largest entry first, so that squares stay in range
    top = np.where(top > 0, top, 1).astype(X.dtype)
    Z = X / top
    squares = (Z * Z).sum(axis=-1, keepdims=True)
    shorter = 1 / np.sqrt(np.where(squares > 0, squares, 1))
    return Z * shorter, shorter / top


def through_length(d: Array, units: Array, shorter: Array, sharp: Any) -> Array:
    """The gradient of vectors, from the gradient of their unit vectors times `sharp`."""
    shape = d.shape[:-1]
    if (loops := compiled()) is not None and d.shape == units.shape and d.dtype == units.dtype:
        found = np.empty(d.shape, d.dtype)
        loops.through_length(
            rows(np.ascontiguousarray(d)), rows(units), shorter.reshape(-1), d.dtype.type(sharp), rows(found)
        )
        return found
    along = np.einsum("...d,...d->...", np.broadcast_to(units, (*shape, units.shape[-1])), d)[..., None]
    d = d - units * along
    d *= shorter * sharp
    return d


class AdditiveLoops(Kernel):
    """Additive scores without an array (..., q, k, h): the pullback computes tanh again.

    Compiled loops compute float32 if numba is installed; else NumPy computes a few queries at a time.

    References
    ----------
    Bahdanau, Cho, Bengio (2015), appendix A.1.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("similarity", "additive", hidden=8)
    >>> learned = part.init(np.random.default_rng(0), d_query=3, d_key=5)
    >>> Q, K = np.ones((2, 3)), np.ones((4, 5))
    >>> P, _ = AdditiveLoops().prepare(part, K, learned["Wk"], learned["b"])
    >>> S, back = AdditiveLoops().score(part, Q, P, learned["Wq"], learned["v"], ())
    >>> np.allclose(S, part.score(Q, K, **learned))
    True
    """

    name = "additive_loops"
    source = Additive.source
    replaces = Additive

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def prepare(self, part: Any, K: Any, Wk: Any, b: Any) -> Any:
        """P (..., k, h) of the keys."""
        P = mapped(K, Wk)
        P += b

        def back(g: Any) -> Any:
            return {"K": mapped(g, Wk.T), "Wk": rows(K).T @ rows(g), "b": rows(g).sum(axis=0)}

        return P, back

    def score(self, part: Any, Q: Any, P: Any, Wq: Any, v: Any, wants: Any) -> Any:
        A, B = mapped(Q, Wq), P
        lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        wide = [
            np.ascontiguousarray(np.broadcast_to(X, (*lead, *X.shape[-2:]))).reshape(-1, *X.shape[-2:]) for X in (A, B)
        ]
        v = np.ascontiguousarray(v)
        S = np.empty((*lead, A.shape[-2], B.shape[-2]), dtype=A.dtype)
        flat = S.reshape(-1, *S.shape[-2:])
        loops = compiled() if S.dtype == np.float32 else None
        if loops is not None:
            loops.additive(*wide, v, flat)
        else:
            for n, here in _blocks(*wide):
                np.matmul(_hidden(wide[0][n, here], wide[1][n]), v, out=flat[n, here])

        def back(g: Any) -> Any:
            g = np.ascontiguousarray(g, dtype=S.dtype).reshape(flat.shape)
            dA, dB, dv = np.empty_like(wide[0]), np.zeros_like(wide[1]), np.zeros_like(v)
            if loops is not None:
                loops.additive_back(*wide, v, g, dA, dB, dv)
            else:
                for n, here in _blocks(*wide):
                    H = _hidden(wide[0][n, here], wide[1][n])
                    dv += np.tensordot(g[n, here], H, 2)
                    H *= H
                    np.subtract(1, H, out=H)
                    H *= v
                    np.matmul(g[n, here][:, None, :], H, out=dA[n, here][:, None, :])
                    dB[n] += np.einsum("qk,qkh->kh", g[n, here], H)
            dA, dB = (unbroadcast(d.reshape(*lead, *d.shape[1:]), X) for d, X in ((dA, A), (dB, B)))
            found = {"v": dv, "P": dB}
            if "Wq" in wants:
                found["Wq"] = rows(Q).T @ rows(dA)
            if "Q" in wants:
                found["Q"] = mapped(dA, Wq.T)
            return found

        return S, back


def _blocks(A: Array, B: Array) -> Any:
    """(example, some of its queries), so that few pairs are formed at a time."""
    size = max(1, PAIRS // max(1, B.shape[1] * B.shape[2]))
    for n in range(len(A)):
        for start in range(0, A.shape[1], size):
            yield n, slice(start, start + size)


def _hidden(a: Array, b: Array) -> Array:
    """tanh of all pairs: a (q, h), b (k, h) -> (q, k, h)."""
    H = a[:, None, :] + b
    return np.tanh(H, out=H)
