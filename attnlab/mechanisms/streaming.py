"""Computes long inputs in blocks, so that intermediate arrays stay small.

The blocks are keys if the normaliser supports it (`begin`, `absorb`, `finish`) and no part mixes keys. Memory then does not
depend on the number of keys. Else the blocks are queries, each with all keys, if no part couples queries. Else they are examples.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from attnlab.injection import asks_for, call
from attnlab.mechanisms.blocks import ALL, Tile, cut, in_threads, slices, tiles, wide
from attnlab.mechanisms.context import Context
from attnlab.mechanisms.passes import at, run
from attnlab.mechanisms.plan import Call, numbers

__all__ = ["by_keys", "by_queries", "keys_split"]

ROWS, KEYS = 512, 1024  # queries and keys of a block by keys, if a part forms one number for each pair
FEW, MUCH = (
    64,
    4,
)  # queries of a block where a part forms one number a pair, up to so many times its room: products need rows
THREADS = 8  # at most, so that what all of them form stays small

Params = Mapping[str, Any]


def by_queries(
    calls: tuple[Call, ...],
    params: Params,
    nouns: Mapping[str, Any],
    context: Context,
    W: str,
    end: str,
    room: int,
    couples: bool,
) -> Any:
    """What the calls write into the slot `end`, in blocks of queries, or of examples if a part couples queries.

    Parameters
    ----------
    calls : the calls of a plan
    nouns : {"Q": (..., q, d), "K": (..., k, d)}, and "V": (..., k, v) where it is read
    W, end : str, slots
    room : int, numbers that a verb may form for a block
    couples : whether a part needs the scores of all queries
    """
    lead, q, k = _lead(nouns, context), *context.shape[-2:]
    formed = numbers(calls, k, nouns["K"].shape[-1])
    each = k * formed
    few = min(FEW, int(MUCH * room // each)) if formed == 1 else 1
    rows = q if couples else max(1, int(room // each), few)
    together = max(1, int(room // (each * min(q, rows))))
    parts = tiles(lead, q, rows, together)

    def one(tile: Tile) -> Any:
        front, here = tile
        slots = {"Q": cut(nouns["Q"], front, here, ALL)}
        slots["K"] = cut(nouns["K"], front, ALL, ALL)
        if "V" in nouns:
            slots["V"] = cut(nouns["V"], wide(front, lead), ALL, ALL)
        return run(calls, params, slots, context.cut(front, here), W)[end]

    return _gathered(one, parts, lead, q, context)


def by_keys(
    calls: tuple[Call, ...], params: Params, nouns: Mapping[str, Any], context: Context, normaliser: Any, room: int
) -> Any:
    """Y (..., q, v) of a weighted sum, computed in blocks of queries and of keys.

    Parameters
    ----------
    calls : the calls that lead to masked scores
    nouns : {"Q": (..., q, d), "K": (..., k, d), "V": (..., k, v)}
    normaliser : a normaliser with `begin`, `absorb` and `finish`
    room : int, numbers that a verb may form for a block
    """
    Q, K, V = nouns["Q"], nouns["K"], nouns["V"]
    lead, q, k = _lead(nouns, context), *context.shape[-2:]
    each = numbers(calls, k, K.shape[-1])
    rows, keys = _sides(q, k, int(room // each))
    parts = tiles(lead, q, rows, max(1, int(room // (each * min(q, rows) * min(k, keys)))))
    learned = at(params, ("normaliser",))
    counts = any("n_allowed" in asks_for(normaliser, verb) for verb in ("begin", "absorb", "finish"))
    S, blocks = calls[-1].step.writes[0], slices(k, keys)

    def one(tile: Tile) -> Any:
        front, here = tile
        block, values = cut(Q, front, here, ALL), wide(front, lead)
        given: dict[str, Any] = dict(learned)
        if counts:
            given["n_allowed"] = _counted(context, front, here, blocks, Q.dtype)
        Y: Any = None
        state: Any = None
        alive: Any = not context.forbids
        for there in blocks:
            now = context.cut(front, here, there)
            if now.M is not None:
                if not now.M.any():
                    continue
                alive = alive | now.M.any(axis=-1, keepdims=True)
                now = replace(now, M=None, alive=None) if now.M.all() else now
            slots = {"Q": block, "K": cut(K, front, there, ALL)}
            scores = run(calls, params, slots, now, "")[S]
            if state is None:
                state = call(normaliser, "begin", shape=(*scores.shape[:-1], 1), dtype=scores.dtype, **given)
            E, factor, state = call(normaliser, "absorb", state=state, S=scores, **given)
            part = np.matmul(E, cut(V, values, there, ALL))
            Y = part if Y is None else Y * factor + part
        if Y is None:  # no query of the block may attend to any key
            both = np.broadcast_shapes(block.shape[:-2], cut(V, values, ALL, ALL).shape[:-2])
            return np.zeros((*both, block.shape[-2], V.shape[-1]), dtype=V.dtype)
        Y = Y * call(normaliser, "finish", state=state, **given)
        return Y if alive is True else np.where(alive, Y, Y.dtype.type(0))

    with np.errstate(divide="ignore", invalid="ignore"):  # of queries that may attend to nothing
        return _gathered(one, parts, lead, q, context)


def keys_split(parts: Any, calls: tuple[Call, ...]) -> bool:
    """Whether the parts, and the calls up to the masked scores, can be computed in blocks of keys."""
    if getattr(parts.normaliser, "begin", None) is None or parts.normaliser.couples_rows:
        return False
    mixing = (parts.similarity.mixes_keys, parts.position.mixes_keys, *(m.mixes_keys for m in parts.modifiers))
    coupled = any(m.couples_rows for m in parts.modifiers)
    return not coupled and all(m is False for m in mixing) and not any({"mask", "n_allowed"} & {*c.asks} for c in calls)


# --------------------------------------------------------------------------------------------------------------------
# shared
# --------------------------------------------------------------------------------------------------------------------
def _lead(nouns: Mapping[str, Any], context: Context) -> tuple[int, ...]:
    """The leading axes of the scores, with as many axes as the contexts have."""
    scores = np.broadcast_shapes(nouns["Q"].shape[:-2], nouns["K"].shape[:-2], context.shape[:-2])
    whole = np.broadcast_shapes(scores, *(nouns[name].shape[:-2] for name in ("V",) if name in nouns))
    return (1,) * (len(whole) - len(scores)) + scores


def _sides(q: int, k: int, room: int) -> tuple[int, int]:
    """The numbers of queries and keys of a block, such that there is room for their pairs."""
    rows, keys = min(q, ROWS), min(k, KEYS)
    while rows * keys > room and (rows > 1 or keys > 1):
        if keys >= 2 * rows or rows == 1:
            keys = -(-keys // 2)
        else:
            rows = -(-rows // 2)
    return rows, keys


def _counted(context: Context, front: tuple[slice, ...], here: slice, blocks: list[slice], dtype: Any) -> Any:
    """How many keys each query may attend to, (..., q, 1)."""
    if "n_allowed" in context.given:
        return cut(context.given["n_allowed"], front, here, ALL)
    total: Any = 0
    for there in blocks:
        M = context.allowed(front, here, there)
        width = len(range(context.shape[-1])[there])
        if M is None:
            total = total + width
        else:
            found = np.count_nonzero(M, axis=-1, keepdims=True)
            total = total + (found if M.shape[-1] == width else width * found)
    n = np.asarray(total, dtype=dtype)
    return np.where(n > 0, n, context.shape[-1]).astype(dtype)  # a query without keys is shown all of them


def _gathered(one: Callable[[Tile], Any], parts: list[Tile], lead: tuple[int, ...], q: int, context: Context) -> Any:
    """The blocks put together; they run one after the other if a part may draw random numbers."""
    if len(parts) == 1:
        return one(parts[0])
    lock = threading.Lock()
    made: list[Any] = []  # where the blocks go: its shape and type are known from the first that is done

    def put(tile: Tile, block: Any) -> None:
        with lock:
            if not made:
                front = tuple(n if n > 1 else m for n, m in zip(lead, _fronts(block, lead), strict=True))
                made.append(np.empty((*front, q, block.shape[-1]), dtype=block.dtype))
        made[0][(*wide(tile[0], lead), tile[1])] = block

    def worker(items: Iterable[Tile]) -> None:
        for tile in items:
            put(tile, one(tile))

    in_threads(worker, parts, 1 if context.given.get("rng") is not None else THREADS)
    return made[0]


def _fronts(block: Any, lead: tuple[int, ...]) -> tuple[int, ...]:
    front = block.shape[:-2]
    return (1,) * (len(lead) - len(front)) + tuple(front)
