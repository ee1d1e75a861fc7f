"""Blocks of softmax attention by compiled loops, where nothing is masked and the lengths of the vectors bound the scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.kernels.normalisers import compiled
from attnlab.mechanisms.blocks import Tile

__all__ = ["KEYS", "in_loops"]

Array = np.ndarray[Any, Any]
KEYS = 256  # of a block


def in_loops(chain: Any, Y: Array, L: Any) -> Callable[[Tile, Any], bool] | None:
    """A function that computes a tile into Y and L, or leaves it and returns False; None where loops cannot.

    Parameters
    ----------
    chain : the arrays X (..., q, d), Z (..., k, d) and V (..., k, v), and how they are cut
    Y : array (..., q, v)
    L : array (..., q, 1) of logarithms of sums to the base 2, or None where they are not wanted
    """
    arrays = (chain.X, chain.Z, chain.V)
    if chain.dtype != np.float32 or chain.allowed is not None or compiled() is None:
        return None
    if any(array.shape[:-2] != chain.lead or not array.flags.c_contiguous for array in (*arrays, Y)):
        return None
    from attnlab.kernels.compiled_chain import bounded

    lead, q, keys = chain.lead, chain.q, min(KEYS, chain.k)
    flat = [array.reshape(-1, *array.shape[-2:]) for array in (*arrays, Y)]
    total = np.empty(flat[0].shape[:2], np.float32)
    given = (*flat, total, chain.powers, np.float32(chain.safe), keys)
    each = chain.X.shape[-1] + keys + chain.V.shape[-1]

    def one(tile: Tile, room: Any) -> bool:
        front, here = tile  # the last axes of `front` are whole, so that its examples lie together
        first = int(np.ravel_multi_index([axis.start for axis in front], lead)) if lead else 0
        last = first + math.prod(axis.stop - axis.start for axis in front)
        space = room.array("loops", (here.stop - here.start) * each)
        if not bounded(*given, (first, last), (here.start, here.stop), space):
            return False
        if L is not None:
            np.log2(total[first:last, here], out=L.reshape(-1, q)[first:last, here])
        return True

    return one
