"""Precision: float16 and bfloat16 are computed in float32 and cast at the end; what may overflow in the next wider float.

`in_float32` is for a verb of a part, `in_range` for a whole mechanism: there scores are never formed in less than float32,
so that a temperature, or a normaliser, still finds them finite.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnlab.arrays import detach, namespace
from attnlab.errors import Unsupported
from attnlab.libraries import library_of, widest

__all__ = ["exact", "in_float32", "in_range", "is_low", "widened"]

# Products of two numbers up to this, and sums of many such products, are finite
LARGE = {"float32": 1e18, "float64": 1e150}
# The next wider float of NumPy; where a platform has none, float64 is the widest
WIDER: Mapping[str, np.dtype[Any]] = {"float32": np.dtype(np.float64), "float64": np.dtype(np.longdouble)}


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

    That is float32 for less. Where queries or keys are so large that products of them are not finite, it is float64 for float32
    and on NumPy `longdouble` for float64. `back` casts a result to the dtype of the arrays, where they have one, and refuses what
    is then not finite though the arrays are. Arrays on an accelerator, and those of JAX, are not looked at.

    Parameters
    ----------
    params : nested dicts of arrays, or None
    *arrays : queries, keys and perhaps values
    """
    low = any(map(is_low, arrays))
    wide = tuple(map(widened, arrays)) if low else arrays
    large = [name for x in wide[:2] if (name := _large(x))]
    if not low and not large:
        return params, arrays, _same
    kinds = {str(x.dtype): x.dtype for x in arrays}
    dtype: Any = next(iter(kinds.values())) if len(kinds) == 1 else None
    if not large:
        return widened(params), wide, _same if dtype is None else functools.partial(_cast, dtype=dtype)
    if library_of(detach(wide[0])) == "torch":
        wide = tuple(namespace(x).astype(x, namespace(x).float64) for x in wide)
    else:
        wider = max((WIDER[name] for name in large), key=lambda one: one.itemsize)
        wide = tuple(namespace(x).astype(x, np.promote_types(x.dtype, wider)) for x in wide)
        if dtype is None:
            dtype = np.result_type(*(x.dtype for x in arrays))
    legible = all(bool(namespace(x).all(namespace(x).isfinite(detach(x)))) for x in wide)
    return widened(params), wide, functools.partial(_finite, dtype=dtype, legible=legible)


def _large(x: Any) -> str:
    """The name of the dtype if products of numbers as large as these may overflow in it; else nothing."""
    plain = detach(x)
    if isinstance(plain, np.ndarray):
        if plain.dtype.char == "d" and _is_small(plain):
            return ""
        name = plain.dtype.name
        return name if name in LARGE and plain.size and LARGE[name] < max(plain.max(), -plain.min()) < np.inf else ""
    name = str(plain.dtype)
    name = name.removeprefix("torch.")
    if library_of(plain) != "torch" or plain.device.type != "cpu" or not plain.numel() or name not in LARGE:
        return ""
    import torch

    if torch.compiler.is_compiling():
        return ""
    try:
        largest = float(plain.abs().max())
    except RuntimeError:  # inside `vmap` there are no numbers to look at
        return ""
    return name if LARGE[name] < largest < np.inf else ""


def _is_small(x: Any) -> bool:
    """Whether the sum of all squares is so small that no product can be large: one pass over the memory."""
    if not x.flags.c_contiguous:
        x = x.T
    return bool(x.flags.c_contiguous and np.vdot(x, x) < 1e300)


def _finite(x: Any, dtype: Any, legible: bool) -> Any:
    """A result in its dtype, unless the arrays are finite and it is not.

    Raises
    ------
    Unsupported
    """
    x = x if dtype is None else _cast(x, dtype)
    xp, plain = namespace(x), detach(x)
    if legible and not bool(xp.all(xp.isfinite(plain))):
        raise Unsupported(
            f"queries and keys as large as these have scores beyond the range of {plain.dtype}, and a result that is not finite: "
            "scale queries and keys down, or choose parts whose weights stay finite, such as 'cosine' and 'softmax'"
        )
    return x


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
    return xp.astype(plain, widest(xp, plain))
