"""Functions with the gradients that autograd lacks, has wrong, or lets leave float32: what `attnlab.arrays` is made of.

Each is autograd's primitive over NumPy's own function, with its vector-Jacobian product. An array is not differentiable
everywhere: at ties of max and maximum the gradient is shared, at the zero vector that of its norm is 0.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import getval, isbox

__all__ = [
    "absolute",
    "astype",
    "broadcast_to",
    "cumulative_sum",
    "erf",
    "exp2",
    "flip",
    "log2",
    "log10",
    "logsumexp",
    "maximum",
    "minimum",
    "norm",
    "reduce_max",
    "reduce_min",
    "sigmoid",
    "softmax",
    "softplus",
    "special",
    "take_along_axis",
    "tanh",
    "where",
]


def _unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` down to `shape`, the shape an operand had before it was broadcast."""
    extra = anp.ndim(g) - len(shape)
    if extra > 0:
        g = anp.sum(g, axis=tuple(range(extra)))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and anp.shape(g)[i] != 1)
    return anp.sum(g, axis=axes, keepdims=True) if axes else g


def _like(g: Any, x: Any) -> Any:
    """The gradient of x in x's shape and dtype."""
    g = _unbroadcast(g, np.shape(getval(x)))
    dtype = getattr(getval(x), "dtype", None)
    return g if dtype is None or g.dtype == dtype else g.astype(dtype)


where = primitive(lambda condition, x, y: np.where(condition, x, y))
defvjp(
    where,
    lambda ans, c, x, y: lambda g: _like(where(c, g, anp.zeros_like(g)), x),
    lambda ans, c, x, y: lambda g: _like(where(c, anp.zeros_like(g), g), y),
    argnums=(1, 2),
)


def _pick(choose: Callable[..., Any]) -> Any:
    """maximum and minimum: the gradient goes to the winner, and is halved between equals."""
    f = primitive(lambda x, y: choose(x, y))

    def share(ans: Any, x: Any, y: Any) -> Any:
        x, y, ans = getval(x), getval(y), getval(ans)
        return ((x == ans) / (1.0 + (x == y))).astype(ans.dtype)

    defvjp(
        f,
        lambda ans, x, y: lambda g: _like(g * share(ans, x, y), x),
        lambda ans, x, y: lambda g: _like(g * share(ans, y, x), y),
    )
    return f


def _extreme(reduce: Callable[..., Any]) -> Any:
    """max and min along axes: the gradient is shared equally between equals."""
    f = primitive(lambda x, axis=None, keepdims=False: reduce(x, axis=axis, keepdims=keepdims))

    def vjp(ans: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        plain = getval(x)
        winner = plain == reduce(plain, axis=axis, keepdims=True)
        share = (winner / winner.sum(axis=axis, keepdims=True)).astype(plain.dtype)

        def back(g: Any) -> Any:
            if not keepdims:
                kept = np.shape(reduce(plain, axis=axis, keepdims=True))
                g = anp.reshape(g, kept)
            return g * share

        return back

    defvjp(f, vjp)
    return f


maximum, minimum = _pick(np.maximum), _pick(np.minimum)
reduce_max, reduce_min = _extreme(np.max), _extreme(np.min)

tanh = primitive(np.tanh)
defvjp(tanh, lambda ans, x: lambda g: g * (1 - ans * ans))


@functools.cache
def special() -> Any:
    """`scipy.special`, loaded when a number needs it: its import takes as long as NumPy's, and most commands compute nothing."""
    return importlib.import_module("scipy.special")


def _of_scipy(name: str) -> Any:
    """A function of scipy's, which gives float64 for float16."""

    def function(x: Any) -> Any:
        found = getattr(special(), name)(x)
        return found.astype(x.dtype) if getattr(x, "dtype", None) == np.float16 else found

    function.__name__ = name
    return primitive(function)


sigmoid = _of_scipy("expit")
defvjp(sigmoid, lambda ans, x: lambda g: g * ans * (1 - ans))


def _floats(x: Any) -> Any:
    """Integers and booleans as float64, which their own NumPy functions may give less of."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


@primitive
def softplus(x: Any) -> Any:
    x = _floats(x)
    return np.logaddexp(x, np.zeros((), dtype=x.dtype))


defvjp(softplus, lambda ans, x: lambda g: g * sigmoid(x))

erf = _of_scipy("erf")
defvjp(erf, lambda ans, x: lambda g: g * (2 / math.sqrt(math.pi)) * anp.exp(-(x * x)))


absolute = primitive(np.abs)
defvjp(absolute, lambda ans, x: lambda g: g * anp.sign(x))

# with a Python number for the constant, so that float32 stays float32
log2, log10, exp2 = primitive(np.log2), primitive(np.log10), primitive(np.exp2)
defvjp(log2, lambda ans, x: lambda g: g / (x * math.log(2)))
defvjp(log10, lambda ans, x: lambda g: g / (x * math.log(10)))
defvjp(exp2, lambda ans, x: lambda g: g * ans * math.log(2))


@primitive
def _softmax(x: Any, top: Any, axis: int) -> Any:
    e = np.exp(x - top)
    return e / np.sum(e, axis=axis, keepdims=True)


defvjp(
    _softmax,
    lambda ans, x, top, axis: lambda g: ans * (g - anp.sum(g * ans, axis=axis, keepdims=True)),
    argnums=(0,),
)


def softmax(x: Any, axis: int = -1) -> Any:
    """Exponentials over their sum; +inf has all of it, in equal shares where there are several, and no gradient."""
    plain = x
    while isbox(plain):
        plain = getval(plain)
    plain = _floats(plain)
    x = x if isbox(x) else plain
    if not plain.size:
        return _softmax(x, np.zeros_like(plain, shape=()), axis)
    if plain.dtype == np.float16:  # in which sums are infinite soon
        return astype(softmax(astype(x, np.float32), axis), np.float16)
    top = np.max(plain, axis=axis, keepdims=True)
    endless = top == np.inf
    if endless.any():
        low = plain.dtype.type(-np.inf)
        x = where(endless, np.where(plain == np.inf, plain.dtype.type(0), low), x)
        top = np.where(endless, plain.dtype.type(0), top)
    return (_softmax if isbox(x) else _softmax.fun)(x, top, axis)


@primitive
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    x = _floats(x)
    return np.asarray(special().logsumexp(x, axis=axis, keepdims=keepdims)).astype(x.dtype, copy=False)


def _logsumexp_vjp(ans: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    def back(g: Any) -> Any:
        kept = np.shape(np.sum(getval(x), axis=axis, keepdims=True))
        g, total = anp.reshape(g, kept), anp.reshape(ans, kept)
        total = where(anp.isneginf(getval(total)), anp.zeros_like(total), total)  # of nothing but -inf it is -inf
        if not anp.isposinf(getval(total)).any():
            return g * anp.exp(x - total)
        endless, top = np.isposinf(getval(total)), np.isposinf(getval(x))  # shared by those that are infinite
        share = (top / np.maximum(top.sum(axis=axis, keepdims=True), 1)).astype(g.dtype)
        return g * where(endless, share, anp.exp(where(endless, anp.zeros_like(x), x - where(endless, 0.0, total))))

    return back


defvjp(logsumexp, _logsumexp_vjp)


@primitive
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    return np.take_along_axis(x, indices, axis=axis)


@primitive
def _put_along_axis(g: Any, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, dtype=g.dtype)
    at = [np.arange(n).reshape((-1,) + (1,) * (len(shape) - i - 1)) for i, n in enumerate(shape)]
    at[axis] = indices
    np.add.at(out, tuple(at), g)
    return out


defvjp(
    take_along_axis,
    lambda ans, x, indices, axis=-1: lambda g: _put_along_axis(g, getval(indices), axis, np.shape(getval(x))),
    argnums=(0,),
)
defvjp(
    _put_along_axis,
    lambda ans, g, indices, axis, shape: lambda h: take_along_axis(h, indices, axis),
    argnums=(0,),
)

flip = primitive(lambda x, axis=None: np.flip(x, axis=axis))
defvjp(flip, lambda ans, x, axis=None: lambda g: flip(g, axis))

broadcast_to = primitive(lambda x, shape: np.broadcast_to(x, shape))
defvjp(broadcast_to, lambda ans, x, shape: lambda g: _like(g, x), argnums=(0,))

cumulative_sum = primitive(lambda x, axis: np.cumsum(x, axis=axis))
defvjp(cumulative_sum, lambda ans, x, axis: lambda g: flip(cumulative_sum(flip(g, axis), axis), axis), argnums=(0,))

astype = primitive(lambda x, dtype: x.astype(dtype))
defvjp(astype, lambda ans, x, dtype: lambda g: astype(g, np.asarray(getval(x)).dtype), argnums=(0,))

norm = primitive(lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)))


def _norm_vjp(ans: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    def back(g: Any) -> Any:
        kept = np.shape(np.sum(getval(x), axis=axis, keepdims=True))
        g, length = anp.reshape(g, kept), anp.reshape(ans, kept)
        safe = where(getval(length) > 0, length, anp.ones_like(length))
        return g * x / safe  # at x = 0 the subgradient 0

    return back


defvjp(norm, _norm_vjp, argnums=(0,))
