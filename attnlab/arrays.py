"""`namespace(*arrays)`: one definition gives numbers on NumPy, gradients through autograd, and runs on torch or JAX.

For NumPy arrays the answer is a thin namespace over `autograd.numpy`. It carries the array API's names and mends what
autograd lacks or gets wrong: functions without a gradient (`matrix_transpose`, `vecdot`, `take_along_axis`,
`cumulative_sum`, `flip`, `sort` along an axis, `clip(min=)`, ...), a wrong one (`where` under broadcasting,
`var(correction=)`), float32 that becomes float64 on the way back (`where`, `max`, `mean`, `maximum`), and a gradient that
overflows (`tanh`). For other libraries' arrays it is their array API namespace, with the same additions.

The additions beyond the array API are `softmax`, `logsumexp`, `sigmoid`, `erf` and `softplus`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval, isbox
from scipy import special

__all__ = ["as_float", "detach", "namespace", "to_numpy"]


# --------------------------------------------------------------------------------------------------------------------
# gradients that autograd lacks, or that leave float32
# --------------------------------------------------------------------------------------------------------------------
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


_where = primitive(lambda condition, x, y: np.where(condition, x, y))
defvjp(
    _where,
    lambda ans, c, x, y: lambda g: _like(_where(c, g, anp.zeros_like(g)), x),
    lambda ans, c, x, y: lambda g: _like(_where(c, anp.zeros_like(g), g), y),
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


_tanh = primitive(np.tanh)
defvjp(_tanh, lambda ans, x: lambda g: g * (1 - ans * ans))

_sigmoid = primitive(special.expit)
defvjp(_sigmoid, lambda ans, x: lambda g: g * ans * (1 - ans))

_softplus = primitive(lambda x: np.logaddexp(x, np.zeros((), dtype=x.dtype)))
defvjp(_softplus, lambda ans, x: lambda g: g * _sigmoid(x))

_erf = primitive(special.erf)
defvjp(_erf, lambda ans, x: lambda g: g * (2 / math.sqrt(math.pi)) * anp.exp(-(x * x)))


@primitive
def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


defvjp(_softmax, lambda ans, x, axis=-1: lambda g: ans * (g - anp.sum(g * ans, axis=axis, keepdims=True)))


@primitive
def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.asarray(special.logsumexp(x, axis=axis, keepdims=keepdims)).astype(np.asarray(x).dtype, copy=False)


def _logsumexp_vjp(ans: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    def back(g: Any) -> Any:
        kept = np.shape(np.max(getval(x), axis=axis, keepdims=True))
        return anp.reshape(g, kept) * anp.exp(x - anp.reshape(ans, kept))

    return back


defvjp(_logsumexp, _logsumexp_vjp)


@primitive
def _take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    return np.take_along_axis(x, indices, axis=axis)


@primitive
def _put_along_axis(g: Any, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, dtype=g.dtype)
    where = [np.arange(n).reshape((-1,) + (1,) * (len(shape) - i - 1)) for i, n in enumerate(indices.shape)]
    where[axis] = indices
    np.add.at(out, tuple(where), g)
    return out


defvjp(
    _take_along_axis,
    lambda ans, x, indices, axis=-1: lambda g: _put_along_axis(g, getval(indices), axis, np.shape(getval(x))),
    argnums=(0,),
)
defvjp(
    _put_along_axis,
    lambda ans, g, indices, axis, shape: lambda h: _take_along_axis(h, indices, axis),
    argnums=(0,),
)

_flip = primitive(lambda x, axis=None: np.flip(x, axis=axis))
defvjp(_flip, lambda ans, x, axis=None: lambda g: _flip(g, axis))

_broadcast_to = primitive(lambda x, shape: np.broadcast_to(x, shape))
defvjp(_broadcast_to, lambda ans, x, shape: lambda g: _like(g, x), argnums=(0,))

_cumulative_sum = primitive(lambda x, axis: np.cumsum(x, axis=axis))
defvjp(_cumulative_sum, lambda ans, x, axis: lambda g: _flip(_cumulative_sum(_flip(g, axis), axis), axis), argnums=(0,))

_astype = primitive(lambda x, dtype: x.astype(dtype))
defvjp(_astype, lambda ans, x, dtype: lambda g: _astype(g, np.asarray(getval(x)).dtype), argnums=(0,))

_norm = primitive(lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)))


def _norm_vjp(ans: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    def back(g: Any) -> Any:
        kept = np.shape(np.sum(getval(x), axis=axis, keepdims=True))
        g, length = anp.reshape(g, kept), anp.reshape(ans, kept)
        safe = _where(getval(length) > 0, length, anp.ones_like(length))
        return g * x / safe  # at x = 0 the subgradient 0

    return back


defvjp(_norm, _norm_vjp, argnums=(0,))

if not hasattr(ArrayBox, "mT"):  # NumPy's arrays have .mT; so have autograd's from here on
    ArrayBox.mT = property(lambda self: anp.swapaxes(self, -1, -2))


class _Linalg:
    """`xp.linalg`: autograd's, with the array API's names that it cannot differentiate."""

    def __getattr__(self, name: str) -> Any:
        return getattr(anp.linalg, name)

    matmul = staticmethod(anp.matmul)

    @staticmethod
    def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
        if ord != 2:
            raise NotImplementedError(f"vector_norm with gradients knows ord=2 only; got ord={ord}")
        return _norm(x, axis, keepdims)

    @staticmethod
    def vecdot(x: Any, y: Any, *, axis: int = -1) -> Any:
        return anp.sum(x * y, axis=axis)

    @staticmethod
    def outer(x: Any, y: Any) -> Any:
        return x[:, None] * y[None, :]

    @staticmethod
    def matrix_transpose(x: Any) -> Any:
        return anp.swapaxes(x, -1, -2)


class _NumpyNamespace:
    """The array API over autograd.numpy, with the mends listed at the top of this file."""

    linalg = _Linalg()
    where = staticmethod(_where)
    maximum = staticmethod(_pick(np.maximum))
    minimum = staticmethod(_pick(np.minimum))
    max = staticmethod(_extreme(np.max))
    min = staticmethod(_extreme(np.min))
    tanh = staticmethod(_tanh)
    sigmoid = staticmethod(_sigmoid)
    softplus = staticmethod(_softplus)
    erf = staticmethod(_erf)
    softmax = staticmethod(_softmax)
    logsumexp = staticmethod(_logsumexp)
    flip = staticmethod(_flip)
    broadcast_to = staticmethod(_broadcast_to)
    vecdot = staticmethod(_Linalg.vecdot)
    matrix_transpose = staticmethod(_Linalg.matrix_transpose)
    acos, acosh, asin, asinh = anp.arccos, anp.arccosh, anp.arcsin, anp.arcsinh
    atan, atan2, atanh, pow = anp.arctan, anp.arctan2, anp.arctanh, anp.power
    permute_dims, concat = anp.transpose, staticmethod(anp.concatenate)

    def __getattr__(self, name: str) -> Any:
        value = getattr(anp, name)
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return "<attnlab's namespace of NumPy arrays, with gradients by autograd>"

    @staticmethod
    def astype(x: Any, dtype: Any, *, copy: bool = True) -> Any:
        return _astype(x, dtype) if copy or x.dtype != dtype else x

    @staticmethod
    def mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        return anp.sum(x, axis=axis, keepdims=keepdims) / math.prod(x.shape[a] for a in axes)

    def var(self, x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        away = x - self.mean(x, axis=axis, keepdims=True)
        count = math.prod(x.shape[a] for a in axes)
        return anp.sum(away * away, axis=axis, keepdims=keepdims) / (count - correction)

    def std(self, x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return anp.sqrt(self.var(x, axis=axis, correction=correction, keepdims=keepdims))

    def clip(self, x: Any, min: Any = None, max: Any = None) -> Any:
        # a gradient of one inside the range and on its borders, zero outside
        plain = getval(x)
        if min is not None:
            x = _where(plain >= getval(min), x, min * anp.ones_like(plain))
        if max is not None:
            x = _where(plain <= getval(max), x, max * anp.ones_like(plain))
        return x

    @staticmethod
    def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
        return _take_along_axis(x, indices, axis)

    @staticmethod
    def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
        axis = 0 if axis is None else axis
        return x[(slice(None),) * (axis % x.ndim) + (indices,)]

    def argsort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        plain = getval(x)
        return np.argsort(-plain if descending else plain, axis=axis, kind="stable" if stable else None)

    def sort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        return _take_along_axis(x, self.argsort(x, axis=axis, descending=descending, stable=stable), axis)

    def cumulative_sum(self, x: Any, /, *, axis: int = -1, include_initial: bool = False) -> Any:
        total = _cumulative_sum(x, axis)
        return self._with_initial(total, axis, 0) if include_initial else total

    def cumulative_prod(self, x: Any, /, *, axis: int = -1, include_initial: bool = False) -> Any:
        # a plain product of slices: right at zeros, where exp(cumsum(log)) is not
        parts = self.unstack(x, axis=axis)
        products = list(parts[:1])
        for part in parts[1:]:
            products.append(products[-1] * part)
        total = anp.stack(products, axis=axis) if products else x
        return self._with_initial(total, axis, 1) if include_initial else total

    @staticmethod
    def _with_initial(total: Any, axis: int, value: int) -> Any:
        shape = list(total.shape)
        shape[axis] = 1
        return anp.concatenate([np.full(shape, value, dtype=total.dtype), total], axis=axis)

    @staticmethod
    def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
        lead = (slice(None),) * (axis % x.ndim)
        return tuple(x[(*lead, i)] for i in range(x.shape[axis]))


_NUMPY = _NumpyNamespace()


# --------------------------------------------------------------------------------------------------------------------
# other libraries
# --------------------------------------------------------------------------------------------------------------------
class _OtherNamespace:
    """Another library's array API namespace, with the same additions."""

    def __init__(self, base: Any, library: str) -> None:
        self._base = base
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def __repr__(self) -> str:
        return f"<attnlab's namespace of {self._library} arrays>"

    def softmax(self, x: Any, axis: int = -1) -> Any:
        e = self._base.exp(x - self._base.max(x, axis=axis, keepdims=True))
        return e / self._base.sum(e, axis=axis, keepdims=True)

    def logsumexp(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        xp = self._base
        top = xp.max(x, axis=axis, keepdims=True)
        total = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
        return total if keepdims else xp.squeeze(total, axis=tuple(range(x.ndim)) if axis is None else axis)

    def softplus(self, x: Any) -> Any:
        xp = self._base
        return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))

    def sigmoid(self, x: Any) -> Any:
        xp = (
            self._base
        )  # 1 / (1 + e^-x) overflows to inf at -1e4, and 1 / inf is the 0 that is wanted; tanh stays finite
        return (xp.tanh(x / 2) + 1) / 2

    def erf(self, x: Any) -> Any:
        if self._library == "torch":
            return self._base.special.erf(x)
        if self._library == "jax":
            from jax.scipy.special import erf

            return erf(x)
        raise NotImplementedError(f"erf is not in the array API, and attnlab does not know {self._library}'s")


def _library(array: Any) -> str:
    return type(array).__module__.partition(".")[0].removesuffix("lib")


@functools.lru_cache(maxsize=16)
def _other(base: Any, library: str) -> _OtherNamespace:
    return _OtherNamespace(base, library)


def namespace(*arrays: Any) -> Any:
    """The array namespace of the arguments; Python numbers and None count for nothing.

    Parameters
    ----------
    *arrays : arrays of one library, of any shapes

    Returns
    -------
    A namespace with the array API's names plus `softmax`, `logsumexp`, `sigmoid`, `erf`, `softplus`. For NumPy arrays
    every function that has a gradient is differentiable by autograd.

    Raises
    ------
    TypeError
        When arrays of different libraries are mixed, or an argument is not an array.
    """
    others: dict[str, Any] = {}
    numpy_seen = False
    for array in arrays:
        if isinstance(array, (np.ndarray, np.generic)) or isbox(array):
            numpy_seen = True
        elif array is None or isinstance(array, (bool, int, float)):
            continue
        elif isinstance(array, (list, tuple)):
            raise TypeError(
                f"namespace() takes arrays; got a {type(array).__name__}: convert it with numpy.asarray first"
            )
        else:
            others.setdefault(_library(array), array)
    if not others:
        return _NUMPY
    if numpy_seen or len(others) > 1:
        names = sorted([*others, *(["numpy"] if numpy_seen else [])])
        raise TypeError(f"arrays of different libraries are mixed: {', '.join(names)}; convert them to one of these")
    from array_api_compat import array_namespace

    ((library, array),) = others.items()
    return _other(array_namespace(array), library)


def detach(x: Any) -> Any:
    """`x` without its gradient, in any namespace."""
    if isinstance(x, (np.ndarray, np.generic, bool, int, float)):
        return x
    if isbox(x):
        while isbox(x):
            x = getval(x)
        return x
    library = _library(x)
    if library == "torch":
        return x.detach()
    if library == "jax":
        from jax.lax import stop_gradient

        return stop_gradient(x)
    return x


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array, without its gradient."""
    return np.asarray(detach(x))


def as_float(x: Any, name: str) -> Any:
    """`x` as an array of floats: lists and integers become float64; float32 stays, other libraries' arrays stay.

    Raises
    ------
    TypeError
        When it holds anything but real numbers.
    """
    if isbox(x) or not isinstance(x, (np.ndarray, np.generic, list, tuple, bool, int, float)):
        return x
    array = np.asarray(x)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return array
