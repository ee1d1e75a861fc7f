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
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import Box, getval, isbox

from attnlab import gradients
from attnlab.shapes import as_array

__all__ = ["as_float", "detach", "namespace", "to_numpy"]

_BOXES = Box.types  # the classes of boxes, by which `isbox` goes

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
        return gradients.norm(x, axis, keepdims)

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
    where = staticmethod(gradients.where)
    maximum = staticmethod(gradients.maximum)
    minimum = staticmethod(gradients.minimum)
    max = staticmethod(gradients.reduce_max)
    min = staticmethod(gradients.reduce_min)
    tanh = staticmethod(gradients.tanh)
    sigmoid = staticmethod(gradients.sigmoid)
    softplus = staticmethod(gradients.softplus)
    erf = staticmethod(gradients.erf)
    softmax = staticmethod(gradients.softmax)
    logsumexp = staticmethod(gradients.logsumexp)
    flip = staticmethod(gradients.flip)
    broadcast_to = staticmethod(gradients.broadcast_to)
    vecdot = staticmethod(_Linalg.vecdot)
    matrix_transpose = staticmethod(_Linalg.matrix_transpose)
    concat, permute_dims, pow = staticmethod(anp.concatenate), staticmethod(anp.transpose), staticmethod(anp.power)
    acos, asin, atan = staticmethod(anp.arccos), staticmethod(anp.arcsin), staticmethod(anp.arctan)
    acosh, asinh, atanh = staticmethod(anp.arccosh), staticmethod(anp.arcsinh), staticmethod(anp.arctanh)
    atan2 = staticmethod(anp.arctan2)

    def __getattr__(self, name: str) -> Any:
        value = _untraced(getattr(anp, name))
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return "<attnlab's namespace of NumPy arrays, with gradients by autograd>"

    @staticmethod
    def astype(x: Any, dtype: Any, *, copy: bool = True) -> Any:
        if np.dtype(dtype).kind not in "fc":  # integers and booleans have no gradient
            return detach(x).astype(dtype, copy=copy)
        return gradients.astype(x, dtype) if copy or x.dtype != dtype else x

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
        if min is not None:  # asked this way round, NaN stays NaN
            x = gradients.where(plain < getval(min), min * anp.ones_like(plain), x)
        if max is not None:
            x = gradients.where(plain > getval(max), max * anp.ones_like(plain), x)
        return x

    @staticmethod
    def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
        return gradients.take_along_axis(x, indices, axis)

    @staticmethod
    def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
        axis = 0 if axis is None else axis
        return x[(slice(None),) * (axis % x.ndim) + (indices,)]

    def argsort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        plain = getval(x)
        return np.argsort(-plain if descending else plain, axis=axis, kind="stable" if stable else None)

    def sort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        return gradients.take_along_axis(x, self.argsort(x, axis=axis, descending=descending, stable=stable), axis)

    def cumulative_sum(self, x: Any, /, *, axis: int = -1, include_initial: bool = False) -> Any:
        total = gradients.cumulative_sum(x, axis)
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

    cumprod = cumulative_prod

    @staticmethod
    def matvec(x: Any, y: Any, /) -> Any:
        return anp.matmul(x, y[..., None])[..., 0]

    @staticmethod
    def vecmat(x: Any, y: Any, /) -> Any:
        return anp.matmul(x[..., None, :], y)[..., 0, :]


def _untraced(function: Any) -> Any:
    """The same function, without autograd's bookkeeping when no argument is one of its boxes."""
    plain = getattr(function, "fun", None)  # of autograd's primitives
    if plain is None:
        return function

    @functools.wraps(plain, updated=())
    def called(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if type(arg) in _BOXES:
                return function(*args, **kwargs)
        return plain(*args, **kwargs)

    return called


_NUMPY = _NumpyNamespace()
for _name in [name for name in dir(_NumpyNamespace) if not name.startswith("_")]:
    if hasattr(getattr(_NUMPY, _name), "fun"):
        setattr(_NUMPY, _name, _untraced(getattr(_NUMPY, _name)))


# --------------------------------------------------------------------------------------------------------------------
# other libraries
# --------------------------------------------------------------------------------------------------------------------
_CREATE = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")


class _OtherNamespace:
    """Another library's array API namespace, with the same additions; new arrays lie on `device`, if one is given."""

    def __init__(self, base: Any, library: str, device: Any) -> None:
        self._base = base
        self._library = library
        if device is not None:
            for name in _CREATE:
                setattr(self, name, functools.partial(getattr(base, name), device=device))

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
        if self._library == "torch":
            return self._base.special.expit(x)
        if self._library == "jax":
            from jax.nn import sigmoid

            return sigmoid(x)
        return (self._base.tanh(x / 2) + 1) / 2  # exact to 1e-16, not to the last digit of small values

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
def _other(base: Any, library: str, device: Any) -> _OtherNamespace:
    return _OtherNamespace(base, library, device)


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
    for array in arrays:
        if type(array) is not np.ndarray:
            break
    else:
        return _NUMPY
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
    # JAX puts new arrays where it computes; its arrays being traced have no device
    return _other(array_namespace(array), library, array.device if library == "torch" else None)


def detach(x: Any) -> Any:
    """`x` without its gradient, in any namespace."""
    if type(x) is np.ndarray or isinstance(x, (np.ndarray, np.generic, bool, int, float)):
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

    A pandas DataFrame or Series becomes the NumPy array of its values.

    Raises
    ------
    TypeError
        When it is no array, or holds anything but real numbers.
    ShapeError
        When lists in it differ in length.
    """
    if type(x) is np.ndarray and x.dtype.kind == "f":
        return x
    if hasattr(x, "to_numpy"):
        x = x.to_numpy()
    if isbox(x):
        return x
    if not isinstance(x, (np.ndarray, np.generic, list, tuple, bool, int, float)):
        if not hasattr(x, "shape"):
            raise TypeError(f"{name} must be an array, or lists of real numbers; got {type(x).__name__}")
        return x
    array = as_array(x, name)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return array
