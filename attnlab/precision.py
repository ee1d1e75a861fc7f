"""Precision: float16 and bfloat16 are computed in float32 and cast at the end; float32 that may overflow in float64.

`in_float32` is for a verb of a part, `in_range` for a whole mechanism: there scores are never formed in less than float32,
so that a temperature, or a normaliser, still finds them finite.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnlab.arrays import detach, namespace
from attnlab.libraries import library_of

__all__ = ["exact", "in_float32", "in_range", "is_low", "widened"]

LARGE = 1e18  # products of two float32 numbers up to this, and sums of many such products, are finite


def is_low(x: Any) -> bool:
    """Whether it is an array of floats of less than four bytes."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and dtype.itemsize < 4 and "float" in str(dtype)


def widened(x: Any) -> Any:
    """An array of float16 or bfloat16 as float32, anything else as it is; the same for the arrays in nested dicts."""
    if isinstance(x, Mapping):
        return {name: widened(inner) for name, inner in x.items()}
    if not is_low(x):
        return x
    xp = namespace(x)
    return xp.astype(x, xp.float32)


def in_float32(verb: Callable[..., Any]) -> Callable[..., Any]:
    """A part's verb that computes float16 and bfloat16 in float32, and gives what it is given, cast at the end."""

    @functools.wraps(verb)
    def computed(self: Any, *args: Any, **named: Any) -> Any:
        given = [*args, *named.values()]
        if not any(map(is_low, given)):
            return verb(self, *args, **named)
        result = verb(self, *map(widened, args), **{name: widened(x) for name, x in named.items()})
        kinds = {str(x.dtype): x.dtype for x in given if "float" in str(getattr(x, "dtype", ""))}
        if len(kinds) > 1:
            return result
        (dtype,) = kinds.values()
        return tuple(_cast(x, dtype) for x in result) if isinstance(result, tuple) else _cast(result, dtype)

    return computed


def in_range(params: Any, *arrays: Any) -> tuple[Any, tuple[Any, ...], Callable[[Any], Any]]:
    """(params, arrays, back): learned arrays and nouns in a dtype in which scores stay finite, and the way back.

    That is float32 for less, and on NumPy float64 for float32 whose queries or keys are so large that products of them are not
    finite. `back` casts a result to the dtype of the arrays, where they have one.

    Parameters
    ----------
    params : nested dicts of arrays, or None
    *arrays : queries, keys and perhaps values
    """
    low, large = any(map(is_low, arrays)), False
    wide = tuple(map(widened, arrays)) if low else arrays
    large = any(_is_large(x) for x in wide[:2])
    if not low and not large:
        return params, arrays, _same
    if large:
        wide = tuple(namespace(x).astype(x, np.float64) for x in wide)
    kinds = {str(x.dtype): x.dtype for x in arrays}
    dtype = next(iter(kinds.values())) if len(kinds) == 1 else None
    return widened(params), wide, _same if dtype is None else functools.partial(_cast, dtype=dtype)


def _is_large(x: Any) -> bool:
    plain = detach(x)
    if not isinstance(plain, np.ndarray) or plain.dtype != np.float32 or not plain.size:
        return False
    return bool(LARGE < max(plain.max(), -plain.min()) < np.inf)


def _same(x: Any) -> Any:
    return x


def _cast(x: Any, dtype: Any) -> Any:
    with np.errstate(over="ignore"):  # what is too large for the dtype is infinite in it
        return namespace(x).astype(x, dtype)


def exact(xp: Any, index: Any) -> Any:
    """Positions, counts or lengths as floats of the widest type that the library has, to compute with and then cast.

    float64 holds integers to 2^53; JAX without 64 bits, and PyTorch on Apple's GPUs, have float32.
    """
    plain = xp.asarray(index)
    library = library_of(plain)
    if library == "jax":
        from jax.dtypes import canonicalize_dtype

        return xp.astype(plain, canonicalize_dtype(np.float64))
    single = library == "torch" and plain.device.type == "mps"
    return xp.astype(plain, xp.float32 if single else xp.float64)
