"""`namespace(*arrays)`: one definition gives numbers on NumPy, gradients through autograd, and runs on torch or JAX.

For NumPy arrays the answer is a thin namespace over `autograd.numpy`. It carries the array API's names and mends what
autograd lacks or gets wrong: functions without a gradient (`matrix_transpose`, `vecdot`, `take_along_axis`,
`cumulative_sum`, `flip`, `sort` along an axis, `clip(min=)`, ...), a wrong one (`where` under broadcasting,
`var(correction=)`), float32 that becomes float64 on the way back (`where`, `max`, `mean`, `maximum`), and a gradient that
overflows (`tanh`) or is not there (`abs` of infinity, `std` of equal numbers). For other libraries' arrays it is their array API namespace, with the same
additions and the same meaning (`attnlab.libraries`).

The additions beyond the array API are `softmax`, `logsumexp`, `sigmoid`, `erf` and `softplus`.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import Box, getval, isbox

from attnlab import boxes, gradients
from attnlab.libraries import detached, library_of, on_the_host, other_namespace, widest
from attnlab.shapes import as_array

__all__ = ["as_float", "detach", "namespace", "to_numpy"]

_BOXES = Box.types  # the classes of boxes, by which `isbox` goes

boxes.install()


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

    tensordot = staticmethod(anp.tensordot)

    @staticmethod
    def matrix_transpose(x: Any) -> Any:
        return anp.swapaxes(x, -1, -2)


def _count(x: Any, axis: Any) -> int:
    """How many numbers are summed up over an axis, or several, or all (None)."""
    shape = np.shape(detach(x))
    if axis is None:
        return math.prod(shape)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return math.prod(shape[operator.index(a)] for a in axes)


def _one_axis(function: str, x: Any, axis: Any) -> int:
    """The axis counted from the front; None is the only one."""
    if axis is None and x.ndim != 1:
        raise ValueError(f"{function} needs an axis for an array of {x.ndim} dimensions")
    axis = 0 if axis is None else operator.index(axis)
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(axis, x.ndim)
    return axis % x.ndim


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
    abs = absolute = staticmethod(gradients.absolute)
    log2, log10, exp2 = staticmethod(gradients.log2), staticmethod(gradients.log10), staticmethod(gradients.exp2)
    broadcast_to = staticmethod(gradients.broadcast_to)
    vecdot = staticmethod(_Linalg.vecdot)
    matrix_transpose = staticmethod(_Linalg.matrix_transpose)
    permute_dims, pow = staticmethod(anp.transpose), staticmethod(anp.power)
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
        if np.dtype(dtype).kind not in "fc" and "float" not in str(dtype):  # integers and booleans have no gradient
            return detach(x).astype(dtype, copy=copy)
        return gradients.astype(x, dtype) if copy or x.dtype != dtype else x

    @staticmethod
    def mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return anp.sum(x, axis=axis, keepdims=keepdims) / _count(x, axis)

    def var(self, x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        away = x - self.mean(x, axis=axis, keepdims=True)
        return anp.sum(away * away, axis=axis, keepdims=keepdims) / max(_count(x, axis) - correction, 0.0)

    def std(self, x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        # as a norm, whose gradient is 0 where nothing varies
        away = x - self.mean(x, axis=axis, keepdims=True)
        return gradients.norm(away, axis, keepdims) / math.sqrt(max(_count(x, axis) - correction, 0.0))

    @staticmethod
    def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
        # a gradient of one inside the range and on its borders, zero outside; NaN stays NaN
        if min is not None:
            plain, least = detach(x), detach(min)
            x = gradients.where((plain >= least) | (plain != plain), x, min * anp.ones_like(plain))
        if max is not None:
            plain, most = detach(x), detach(max)
            x = gradients.where((plain <= most) | (plain != plain), x, max * anp.ones_like(plain))
        return x

    @staticmethod
    def concat(arrays: Any, /, *, axis: int | None = 0) -> Any:
        if axis is None:
            return anp.concatenate([anp.reshape(x, (-1,)) for x in arrays])
        return anp.concatenate(arrays, axis=operator.index(axis))

    @staticmethod
    def broadcast_arrays(*arrays: Any) -> list[Any]:
        shape = np.broadcast_shapes(*(np.shape(detach(x)) for x in arrays))
        return [gradients.broadcast_to(x, shape) for x in arrays]

    @staticmethod
    def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
        return gradients.take_along_axis(x, indices, axis)

    @staticmethod
    def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
        return x[(slice(None),) * _one_axis("take", x, axis) + (indices,)]

    def argsort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        plain = detach(x)
        kind: Any = "stable" if stable else None
        if not descending:
            return np.argsort(plain, axis=axis, kind=kind)
        # the other way round: equal elements keep their order, and no dtype needs a negative
        order = np.argsort(np.flip(plain, axis), axis=axis, kind=kind)
        return plain.shape[axis] - 1 - np.flip(order, axis)

    def sort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        return gradients.take_along_axis(x, self.argsort(x, axis=axis, descending=descending, stable=stable), axis)

    def cumulative_sum(self, x: Any, /, *, axis: int | None = None, include_initial: bool = False) -> Any:
        axis = _one_axis("cumulative_sum", x, axis)
        total = gradients.cumulative_sum(x, axis)
        return self._with_initial(total, axis, 0) if include_initial else total

    def cumulative_prod(self, x: Any, /, *, axis: int | None = None, include_initial: bool = False) -> Any:
        axis = _one_axis("cumulative_prod", x, axis)
        if x.dtype.kind not in "fc":
            total = np.cumprod(x, axis=axis)
        else:  # a plain product of slices: right at zeros, where exp(cumsum(log)) is not
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
        axis = _one_axis("unstack", x, axis)
        lead = (slice(None),) * axis
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
            others.setdefault(library_of(array), array)
    if not others:
        return _NUMPY
    if numpy_seen or len(others) > 1:
        names = sorted([*others, *(["numpy"] if numpy_seen else [])])
        raise TypeError(f"arrays of different libraries are mixed: {', '.join(names)}; convert them to one of these")
    ((_, array),) = others.items()
    return other_namespace(array)


def detach(x: Any) -> Any:
    """`x` without its gradient, in any namespace."""
    if type(x) is np.ndarray or isinstance(x, (np.ndarray, np.generic, bool, int, float, list, tuple)):
        return x
    if isbox(x):
        while isbox(x):
            x = getval(x)
        return x
    return detached(x)


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array, without its gradient, wherever it lies."""
    plain = detach(x)
    return np.asarray(plain) if isinstance(plain, (np.ndarray, np.generic, list, tuple)) else on_the_host(plain)


def as_float(x: Any, name: str) -> Any:
    """`x` as an array of floats: lists and integers become float64; float32 stays, other libraries' arrays stay in their library.

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
        return _real(x, name)
    array = as_array(x, name)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":  # which NumPy knows by a package of its own
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return array


def _real(x: Any, name: str) -> Any:
    """An array of another library as floats."""
    dtype = str(getattr(x, "dtype", "float"))
    if "float" in dtype:
        return x
    if "complex" in dtype:
        raise TypeError(f"{name} must hold real numbers; got dtype {dtype}")
    xp = namespace(x)
    return xp.astype(x, widest(xp, x)) if library_of(x) in ("torch", "jax") else x
