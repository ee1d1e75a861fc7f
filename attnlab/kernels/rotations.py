"""Positions that turn queries and keys, with their pullback: it turns back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attnlab.interfaces import Kernel
from attnlab.kernels.normalisers import numpy_floats
from attnlab.parts.rotary import Rope

__all__ = ["RopeTurns"]

Array = np.ndarray[Any, Any]


class RopeTurns(Kernel):
    """`rope` as a product of complex numbers; the gradient is turned by the opposite angle.

    References
    ----------
    Su et al. (2021), equations 14 and 34.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part, X, p = attnlab.get("position", "rope"), np.array([[1.0, 0.0]]), np.array([2])
    >>> (Q, K), back = RopeTurns().place(part, X, X, p, p, ("Q",))
    >>> back((Q, K))["Q"].round(9) + 0.0
    array([[1., 0.]])
    """

    name = "rope_turns"
    source = Rope.source
    replaces = Rope

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def place(self, part: Any, Q: Any, K: Any, q_index: Any, k_index: Any, wants: Any) -> Any:
        d = Q.shape[-1] if part.dims is None else part.dims
        if part.dims is not None and d > min(Q.shape[-1], K.shape[-1]):
            return part.place(Q, K, q_index, k_index), None  # which refuses it
        turns = {"Q": _turns(part, Q, q_index), "K": _turns(part, K, k_index)}

        def back(g: Any) -> Any:
            return {
                name: _turned(part, one, turns[name].conj())
                for name, one in zip(("Q", "K"), g, strict=True)
                if name in wants
            }

        return (_turned(part, Q, turns["Q"]), _turned(part, K, turns["K"])), back


def _turns(part: Rope, X: Array, index: Any) -> Array:
    """The turn of each place and pair of features, complex (..., n, pairs)."""
    d = X.shape[-1] if part.dims is None else part.dims
    pairs = d // 2
    frequencies = part.base ** (-2.0 * np.arange(pairs) / max(1, d))
    frequencies[math.floor(part.share * pairs + 1e-9) :] = 0.0
    angle = np.asarray(index, dtype=np.float64)[..., :, None] * frequencies
    turns = np.empty(angle.shape, dtype=np.complex64 if X.dtype == np.float32 else np.complex128)
    turns.real, turns.imag = np.cos(angle), np.sin(angle)
    return turns


def _turned(part: Rope, X: Array, turns: Array) -> Array:
    pairs = turns.shape[-1]
    front = np.broadcast_shapes(X.shape[:-1], turns.shape[:-1])
    out = np.empty((*front, X.shape[-1]), dtype=X.dtype)
    out[..., 2 * pairs :] = X[..., 2 * pairs :]
    if not pairs:
        return out
    if part.layout == "half":
        x, y, cos, sin = X[..., :pairs], X[..., pairs : 2 * pairs], turns.real, turns.imag
        out[..., :pairs] = x * cos - y * sin
        out[..., pairs : 2 * pairs] = x * sin + y * cos
    else:
        both = np.ascontiguousarray(X[..., : 2 * pairs]).view(turns.dtype)
        out[..., : 2 * pairs] = np.ascontiguousarray(both * turns).view(X.dtype)
    return out
