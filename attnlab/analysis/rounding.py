"""Numbers that are equal but for rounding: which of two is greater, and which differences are the same.

Sums and means of decimal fractions carry errors of about 1e-16 of what was summed. Two numbers count as equal where they
differ by at most 1e-12 of the larger size. So the ties of exact arithmetic are ties here, whatever the size of the numbers,
and a task with large numbers does not coarsen a task with small ones.
"""

from __future__ import annotations

import bisect
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["alike", "differences", "signs", "tolerance"]

Floats = NDArray[np.float64]
RELATIVE = 1e-12  # the part of its size by which a number may be wrong
_FINE, _SHORT = 14, 10  # significant digits: of a number without its rounding error, and of one that is a short decimal


def tolerance(a: ArrayLike, b: ArrayLike = 0.0) -> Floats:
    """The difference up to which two numbers are equal: 1e-12 of the larger size, and 0 where one is infinite."""
    size = _size(a, b)
    return np.where(np.isfinite(size), RELATIVE * size, 0.0)


def signs(a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
    """1 where a is greater than b, -1 where it is less, and 0 where they are equal but for rounding.

    >>> signs([0.1 + 0.2, 1e-9, -np.inf], [0.3, 2e-9, -np.inf]).tolist()
    [0, -1, 0]
    """
    d = _minus(a, b)
    return np.where(np.abs(d) <= tolerance(a, b), 0, np.sign(d)).astype(np.int64)


def differences(a: ArrayLike, b: ArrayLike) -> Floats:
    """a - b, in which differences that are equal but for rounding are equal, and 0 where a and b are.

    Each difference may be wrong by 1e-12 of the larger of its two values. Differences of the same size to within that get
    one size, that of the difference that is known best. Two infinite values of one sign are equal: two competitors that
    are both last on a task are tied there.

    Parameters
    ----------
    a, b : arrays of one shape, infinite values allowed, not NaN
        All values that are ranked together.

    Examples
    --------
    >>> differences([0.8, 0.7, 0.3, 5.0], [0.7, 0.6, 0.1 + 0.2, -np.inf])
    array([0.1, 0.1, 0. , inf])
    """
    d = _minus(a, b)
    slack = tolerance(a, b)
    d = np.where(np.abs(d) <= slack, 0.0, d)
    return np.sign(d) * _gathered(np.abs(d), np.broadcast_to(_size(a, b), d.shape))


def alike(x: ArrayLike, size: ArrayLike = 0.0) -> Floats:
    """The numbers, with those equal that are equal but for rounding.

    Parameters
    ----------
    x : array
    size : array or float
        How large what was summed is, where that is more than the numbers themselves.

    Examples
    --------
    >>> alike([0.1 + 0.2, 0.3, 0.7 - 0.4, 0.31])
    array([0.3 , 0.3 , 0.3 , 0.31])
    """
    x = np.asarray(x, dtype=float)
    return _gathered(x, np.broadcast_to(_size(x, size), x.shape))


def _minus(a: ArrayLike, b: ArrayLike) -> Floats:
    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(a == b, 0.0, a - b)


def _size(a: ArrayLike, b: ArrayLike) -> Floats:
    size: Floats = np.maximum(np.abs(np.asarray(a, dtype=float)), np.abs(np.asarray(b, dtype=float)))
    return size


def _gathered(x: Floats, size: Floats) -> Floats:
    """x, each number replaced by the one that it equals to within 1e-12 of its own size; infinities stay.

    The best known number comes first, so that a number that is known less well joins it and never draws two together.
    """
    flat, sizes = x.ravel().copy(), size.ravel()
    kept: list[float] = []  # in ascending order
    names: dict[float, float] = {}
    known = np.isfinite(flat) & np.isfinite(sizes)
    for i in np.lexsort((flat, sizes)):
        if not known[i]:
            continue
        value, slack = float(flat[i]), RELATIVE * float(sizes[i])
        at = bisect.bisect_left(kept, value)
        near = min(kept[max(at - 1, 0) : at + 1], key=lambda other: abs(other - value), default=math.inf)
        if not abs(near - value) <= slack:
            kept.insert(at, value)
            near = value
            names[near] = _plain(value, float(sizes[i]))
        flat[i] = names[near]
    return flat.reshape(x.shape)


def _plain(value: float, size: float) -> float:
    """A number of this size without its rounding error, if it is a short decimal; else as it is.

    >>> _plain(0.1 + 0.2, 0.3), _plain(1000.1 - 1000, 1000.1), _plain(1 / 3, 1.0) == 1 / 3
    (0.3, 0.1, True)
    """
    if not 1e-290 < size < 1e290:
        return value
    places = -math.ceil(math.log10(size))
    short = round(value, places + _SHORT)
    return short if short == round(value, places + _FINE) else value
