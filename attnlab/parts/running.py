"""Exponentials over their sum, block of keys by block: a running maximum and a running sum of each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import namespace

__all__ = ["Running", "absorbed", "started"]


class Running(NamedTuple):
    """Of each row (..., q, 1): the largest score so far, and the sum of exponentials of scores less that."""

    top: Any
    total: Any


def started(shape: tuple[int, ...], dtype: Any, top: float = -np.inf, total: float = 0.0) -> Running:
    """Before the first block."""
    return Running(np.full(shape, top, dtype=dtype), np.full(shape, total, dtype=dtype))


def absorbed(state: Running, S: Any) -> tuple[Any, Any, Running]:
    """(exponentials of a block, what to multiply the sum before by, the state after), of scores S (..., q, some keys)."""
    xp = namespace(S)
    top = xp.maximum(state.top, xp.max(S, axis=-1, keepdims=True))
    base = xp.where(
        top == -xp.inf, xp.zeros_like(top), top
    )  # while nothing may be attended to, all exponentials are zero
    E = xp.exp(S - base)
    factor = xp.exp(state.top - base)
    return E, factor, Running(top, state.total * factor + xp.sum(E, axis=-1, keepdims=True))
