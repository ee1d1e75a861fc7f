"""Exponentials over their sum, one block of keys after the other; each row keeps a running maximum and sum."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import namespace

__all__ = ["Running", "absorbed", "started"]


class Running(NamedTuple):
    """For each row (..., q, 1): the largest score so far, and the sum of exponentials of scores minus it."""

    top: Any
    total: Any


def started(shape: tuple[int, ...], dtype: Any, top: float = -np.inf, total: float = 0.0) -> Running:
    """The state before the first block."""
    return Running(np.full(shape, top, dtype=dtype), np.full(shape, total, dtype=dtype))


def absorbed(state: Running, S: Any) -> tuple[Any, Any, Running]:
    """(exponentials of a block, factor on the sum before, the state after), for scores S (..., q, some keys).

    A score of +inf gets the whole sum. Several such scores share it equally.
    """
    xp = namespace(S)
    top = xp.maximum(state.top, xp.max(S, axis=-1, keepdims=True))
    zero = xp.zeros_like(top)
    base = xp.where(xp.isinf(top), zero, top)  # while nothing may be attended to, all exponentials are zero
    before = state.top
    if xp.any(endless := top == xp.inf):
        S = xp.where(endless, xp.where(xp.inf == S, xp.zeros_like(S), xp.zeros_like(S) - xp.inf), S)
        before = xp.where(endless, xp.where(before == xp.inf, zero, zero - xp.inf), before)
    E, factor = xp.exp(S - base), xp.exp(before - base)
    return E, factor, Running(top, state.total * factor + xp.sum(E, axis=-1, keepdims=True))
