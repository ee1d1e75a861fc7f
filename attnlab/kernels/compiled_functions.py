"""Functions of one number that numba compiles, of the dtype of their argument: float32 as in `attnlab.kernels.compiled`, or float64.

In float64 sums must be taken as they are written: to subtract n log(2) in two parts is exact, and in one part it is not. So these
are functions of their own, which do not allow sums to be reordered, and they are put into the loops that call them. They have no
branches, and make 2^n without a conversion to integers, so that such loops are vectorised on all processors.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from attnlab.kernels import compiled
from attnlab.kernels.compiled import exact
from attnlab.kernels.compiled import exp as exp32

__all__ = ["exp", "exp64", "least", "tanh", "tanh64"]

LOG2_HIGH, LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has 32 zeros at its end
SHIFT = 1.5 * 2**52 + 1023  # n + SHIFT has n + 1023, the exponent of 2^n, in its last bits


@exact
def power(n):
    """2^n for whole numbers -1022 <= n <= 1023."""
    return np.int64(np.float64(n + SHIFT).view(np.int64) << np.int64(52)).view(np.float64)


@exact
def rest(r):
    """e^r - 1 on [-log(2)/2, log(2)/2], relative error of the formula 4e-17.

    It is r + r^2 times a polynomial, which equals (e^r - 1 - r) / r^2 at ten Chebyshev points.
    """
    p = 2.510038549551032e-08
    p = p * r + 2.7620088445409746e-07
    p = p * r + 2.7557268459997064e-06
    p = p * r + 2.4801521295954376e-05
    p = p * r + 0.00019841269863053618
    p = p * r + 0.0013888888917213717
    p = p * r + 0.008333333333330062
    p = p * r + 0.04166666666662413
    p = p * r + 0.16666666666666669
    p = p * r + 0.5000000000000001
    return p * (r * r) + r


@exact
def exp64(x):
    """e^x for -708 <= x <= 0, relative error 4e-16."""
    n = np.floor(x * 1.4426950408889634 + 0.5)
    r = (x - n * LOG2_HIGH) - n * LOG2_LOW
    return (rest(r) + 1.0) * power(n)


@exact
def tanh64(x):
    """tanh from e^-2|x| - 1 = 2^n (e^r - 1) + (2^n - 1), which loses nothing near 0; relative error 1e-15."""
    y = -2.0 * abs(x)
    y = -40.0 if y < -40.0 else y  # tanh is 1; NaN stays
    n = np.floor(y * 1.4426950408889634 + 0.5)
    r = (y - n * LOG2_HIGH) - n * LOG2_LOW
    s = power(n)
    less = rest(r) * s + (s - 1.0)
    t = -less / (less + 2.0)
    return -t if x < 0.0 else t


def exp(x: Any) -> Any:
    """e^x for least(x) <= x <= 0, in compiled code."""
    raise NotImplementedError


def tanh(x: Any) -> Any:
    """tanh, in compiled code."""
    raise NotImplementedError


def least(x: Any) -> Any:
    """Where e^x begins to count as 0, in the dtype of x, in compiled code."""
    raise NotImplementedError


def least32(x):
    return np.float32(-87)


def least64(x):
    return -708.0


def _by_dtype(function: Any, single: Any, double: Any) -> None:
    @overload(function, inline="always")
    def chosen(x):
        return {numba.float32: single, numba.float64: double}.get(x)


_by_dtype(exp, lambda x: exp32(x), lambda x: exp64(x))
_by_dtype(tanh, compiled.tanh.py_func, lambda x: tanh64(x))
_by_dtype(least, least32, least64)
