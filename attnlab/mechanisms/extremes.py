"""Settings too small or too large for the floats that a mechanism computes with: refused, so that no NaN passes for a result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from attnlab.arrays import detach, namespace
from attnlab.component import Component, settings_of
from attnlab.errors import Unsupported
from attnlab.libraries import library_of
from attnlab.mechanisms.pullback import leaves
from attnlab.precision import is_low
from attnlab.settings import SEEDS

__all__ = ["Extreme", "beyond", "extremes_of", "refuse_beyond", "refuse_nan"]

ORDINARY = 1e-6, 1e6  # sizes whose squares, quotients and products are harmless beside numbers as data have them
EXPONENT = 64  # whole numbers beyond which powers may leave the range

Extreme = tuple[str, str, float]  # (whose it is, the setting, its value)


def extremes_of(components: Iterable[Any]) -> tuple[Extreme, ...]:
    """The settings that are numbers of an unusual size, at any depth; those that have their default are none."""
    return tuple(found for one in components for found in _of(one))


def _of(component: Any) -> Iterator[Extreme]:
    if not isinstance(component, Component):
        return
    for setting, parameter in settings_of(type(component)).items():
        value = getattr(component, setting, parameter.default)
        if value is parameter.default or isinstance(value, (str, bool)):
            continue
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, (int, float)) and one and setting not in SEEDS and _unusual(component, one):
                yield f"the {component.kind} {component.name!r}", setting, _as_float(one)
            elif isinstance(one, Component):
                yield from _of(one)


def _unusual(component: Any, number: Any) -> bool:
    if isinstance(number, int) and getattr(component, "init", None) is None:  # no size of arrays, perhaps an exponent
        return abs(number) > EXPONENT
    return not ORDINARY[0] <= abs(number) <= ORDINARY[1]


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def beyond(extremes: Iterable[Extreme], dtype: str) -> str:
    """Which setting is no ordinary float of this dtype, in words; empty where all are, and for dtypes that NumPy does not know."""
    if dtype not in ("float32", "float64"):
        return ""
    known = np.finfo(dtype)
    least, most = float(known.smallest_normal), float(known.max)
    for whose, setting, value in extremes:
        if not least <= abs(value) <= most:
            wider = " or compute in float64" if dtype == "float32" else ""
            return (
                f"{whose} has {setting} = {value!r}, which {dtype} cannot hold: take one of size {least:.3g} to {most:.3g}, better "
                f"one nearer to 1{wider}"
            )
    return ""


def refuse_beyond(extremes: tuple[Extreme, ...], array: Any) -> None:
    """Refuse settings that the floats of an array cannot hold; float16 and bfloat16 are computed in float32.

    Raises
    ------
    Unsupported
    """
    if extremes and (why := beyond(extremes, "float32" if is_low(array) else _name(array))):
        raise Unsupported(why)


def refuse_nan(extremes: tuple[Extreme, ...], params: Any, nouns: Mapping[str, Any], results: Iterable[Any]) -> None:
    """Refuse results that hold NaN where what they were made of is finite. Arrays of JAX, which may be traced, are not looked at.

    Parameters
    ----------
    extremes : the settings that may be the cause, at least one
    params : learned arrays, in nested dicts
    nouns : arrays by name, such as queries, keys and values
    results : arrays

    Raises
    ------
    Unsupported
    """
    for result in map(detach, results):
        if library_of(result) not in ("numpy", "torch") or not _any_nan(result):
            continue
        if all(map(_is_finite, nouns.values())) and all(_is_finite(array) for _, array in leaves(params)):
            whose, setting, value = max(extremes, key=lambda one: abs(math.log(abs(one[2]))))
            raise Unsupported(
                f"{whose} has {setting} = {value!r}, and with these queries and keys numbers beyond the range of "
                f"{_name(result)} come of it, so that the result is not a number: take one nearer to 1"
            )


def _any_nan(plain: Any) -> bool:
    xp = namespace(plain)
    return bool(xp.any(xp.isnan(plain)))


def _is_finite(array: Any) -> bool:
    plain = detach(array)
    xp = namespace(plain)
    return bool(xp.all(xp.isfinite(plain)))


def _name(array: Any) -> str:
    return str(getattr(array, "dtype", "")).removeprefix("torch.")
