"""Arrays of PyTorch, JAX and other libraries: their array API namespaces, with attnlab's additions and one meaning.

`attnlab.arrays` says what a function means. This file makes another library's function mean the same where it does not:
an axis may be a NumPy integer, gradients at kinks and values at infinity are those of NumPy's side.
"""

from __future__ import annotations

import errno
import functools
import types
from typing import Any

import numpy as np

from attnlab.errors import message_of

__all__ = [
    "OtherNamespace",
    "constant",
    "detached",
    "is_traced",
    "library_of",
    "no_memory",
    "on_the_host",
    "other_namespace",
    "widest",
]

_CREATE = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def library_of(array: Any) -> str:
    """'torch', 'jax' or the package of any other library whose array this is."""
    return type(array).__module__.partition(".")[0].removesuffix("lib")


def detached(x: Any) -> Any:
    """`x` without its gradient."""
    library = library_of(x)
    if library == "torch":
        return x.detach()
    if is_traced(x):  # one with numbers has no gradient, and while JAX compiles it would lose its numbers here
        from jax.lax import stop_gradient

        return stop_gradient(x)
    return x


def is_traced(x: Any) -> bool:
    """Whether it is an array of JAX's that has no numbers yet, inside `jit`."""
    if library_of(x) != "jax":
        return False
    from jax.core import Tracer

    return isinstance(x, Tracer)


def widest(xp: Any, x: Any) -> Any:
    """The widest dtype of floats where `x` lies: float32 in JAX without 64 bits and on Apple's GPUs, else float64."""
    library = library_of(x)
    if library == "jax":
        from jax.dtypes import canonicalize_dtype

        return canonicalize_dtype(np.float64)
    return xp.float32 if library == "torch" and x.device.type == "mps" else xp.float64


def on_the_host(x: Any) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array, wherever it lies."""
    if library_of(x) == "torch":
        x = x.detach().cpu()
        array: np.ndarray[Any, Any] = (x.float() if "bfloat16" in str(x.dtype) else x).numpy()  # which NumPy has not
        return array
    return np.asarray(detached(x))


# What NumPy says of an array that has more numbers than an address
TOO_LARGE = ("Maximum allowed dimension exceeded", "array is too big;", "high is out of bounds for int64")


def no_memory(error: BaseException) -> bool:
    """Whether it says that memory is exhausted: Python's, NumPy's or the system's, or that of PyTorch or JAX on a processor or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # of a mapping, or a fork
        return True
    if isinstance(error, ValueError) and message_of(error).startswith(TOO_LARGE):
        return True
    starts = ("RESOURCE_EXHAUSTED", "CUDA error: out of memory", "CUDA out of memory")
    said = message_of(error) if isinstance(error, RuntimeError) else ""
    return said.startswith(starts) or "DefaultCPUAllocator: can't allocate memory" in said


def constant(xp: Any, array: Any) -> Any:
    """A NumPy array as another library's, with its numbers, even while JAX compiles."""
    if getattr(xp, "_library", "") == "jax":
        from jax import ensure_compile_time_eval

        with ensure_compile_time_eval():
            return xp.asarray(np.array(array))
    return xp.asarray(np.array(array))


def _plain(value: Any) -> Any:
    """NumPy's integers, which PyTorch does not take for axes, as Python's."""
    if isinstance(value, np.integer):
        return int(value)
    return tuple(_plain(v) for v in value) if type(value) is tuple else value


def _with_plain_integers(function: Any) -> Any:
    @functools.wraps(function)
    def called(*args: Any, **settings: Any) -> Any:
        return function(*(_plain(a) for a in args), **{name: _plain(value) for name, value in settings.items()})

    return called


class _Names:
    """The names of a module, kept as they are asked for; PyTorch's functions get Python's integers."""

    def __init__(self, base: Any, library: str) -> None:
        self._base = base
        self._library = library

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._base, name)
        if self._library == "torch" and isinstance(value, _FUNCTIONS):
            value = _with_plain_integers(value)
        setattr(self, name, value)
        return value


class _Linalg(_Names):
    def vector_norm(self, x: Any, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
        """The norm, whose gradient at the zero vector is 0."""
        if ord != 2 or self._library == "torch":  # PyTorch's is 0 there
            return self._base.vector_norm(x, axis=_plain(axis), keepdims=keepdims, ord=ord)
        xp = other_namespace(x)
        return _root(xp, xp.sum(x * x, axis=axis, keepdims=keepdims))


class OtherNamespace(_Names):
    """Another library's array API namespace, with attnlab's additions; new arrays lie on `device`, if one is given."""

    def __init__(self, base: Any, library: str, device: Any) -> None:
        super().__init__(base, library)
        self.linalg = _Linalg(base.linalg, library) if hasattr(base, "linalg") else None
        if device is not None:
            for name in _CREATE:
                setattr(self, name, functools.partial(getattr(base, name), device=device))

    def __repr__(self) -> str:
        return f"<attnlab's namespace of {self._library} arrays>"

    # -- additions ------------------------------------------------------------------------------------------------
    def softmax(self, x: Any, axis: int = -1) -> Any:
        xp, axis, plain = self._base, _plain(axis), detached(x)
        if 0 in x.shape:
            return xp.exp(x)
        if x.dtype.itemsize < 4:  # in which sums are infinite soon
            return self.astype(self.softmax(self.astype(x, xp.float32), axis), x.dtype)
        top, zero = xp.max(plain, axis=axis, keepdims=True), xp.zeros_like(plain)
        endless = top == xp.inf  # +inf has all of it, in equal shares where there are several, and no gradient
        x = xp.where(endless, xp.where(plain == xp.inf, zero, zero - xp.inf), x)
        e = xp.exp(x - xp.where(endless, xp.zeros_like(top), top))
        return e / xp.sum(e, axis=axis, keepdims=True)

    def logsumexp(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        xp, axis = self._base, _plain(axis)
        if 0 in x.shape:
            return xp.log(xp.sum(xp.exp(x), axis=axis, keepdims=keepdims))
        top = xp.max(detached(x), axis=axis, keepdims=True)
        # of nothing but -inf it is -inf, with +inf +inf: neither may be subtracted from itself
        shift = xp.where(xp.isinf(top), xp.zeros_like(top), top)
        total = xp.sum(xp.exp(x - shift), axis=axis, keepdims=True)
        nothing = total == 0
        total = xp.where(nothing, top, xp.log(xp.where(nothing, xp.ones_like(total), total)) + shift)
        return total if keepdims else xp.squeeze(total, axis=tuple(range(x.ndim)) if axis is None else axis)

    def softplus(self, x: Any) -> Any:
        return self._base.logaddexp(x, self._base.zeros_like(x))

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

    def matvec(self, x: Any, y: Any, /) -> Any:
        return self._base.matmul(x, y[..., None])[..., 0]

    def vecmat(self, x: Any, y: Any, /) -> Any:
        return self._base.matmul(x[..., None, :], y)[..., 0, :]

    def cumprod(self, x: Any, /, *, axis: Any = None, include_initial: bool = False) -> Any:
        return self.cumulative_prod(x, axis=axis, include_initial=include_initial)

    # -- what means something else elsewhere --------------------------------------------------------------------------
    def abs(self, x: Any, /) -> Any:
        if "float" not in str(x.dtype):
            return self._base.abs(x)
        return x * self._base.sign(detached(x))  # its gradient is 0 at 0, where JAX has 1, and NaN at NaN

    def clip(self, x: Any, /, min: Any = None, max: Any = None) -> Any:
        """A gradient of one inside the range and on its borders, zero outside; NaN stays NaN."""
        if min is not None:
            x = self._base.where((x >= min) | (x != x), x, self.astype(self.asarray(min), x.dtype))
        if max is not None:
            x = self._base.where((x <= max) | (x != x), x, self.astype(self.asarray(max), x.dtype))
        return x

    def std(self, x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return _root(self, self.var(x, axis=axis, correction=correction, keepdims=keepdims))

    def count_nonzero(self, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        return self.sum(self.astype(x != 0, self.int64), axis=axis, keepdims=keepdims)

    def expand_dims(self, x: Any, /, *, axis: Any) -> Any:
        return self._base.expand_dims(x, axis=_plain(axis))


def _root(xp: Any, x: Any) -> Any:
    """The square root, whose gradient at 0 is 0: there the thing measured has no direction."""
    nothing = x == 0
    return xp.where(nothing, xp.zeros_like(x), xp.sqrt(xp.where(nothing, xp.ones_like(x), x)))


@functools.lru_cache(maxsize=16)
def _kept(base: Any, library: str, device: Any) -> OtherNamespace:
    return OtherNamespace(base, library, device)


def other_namespace(array: Any) -> OtherNamespace:
    """The namespace of another library's array."""
    from array_api_compat import array_namespace

    library = library_of(array)
    # JAX puts new arrays where it computes; its arrays being traced have no device
    return _kept(array_namespace(array), library, array.device if library == "torch" else None)
