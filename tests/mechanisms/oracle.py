"""The first engine under `Mechanism`, kept as an oracle of the bound one: one pass of compare, normalise, sum up, with masks, blocks of queries and state.

What it promises to parts: shapes are checked, masks are one boolean array, scores that may not be attended to are -inf, a
query that may attend to nothing is shown zeros and struck out after, what nobody may read is finite, and no part is called
without keys and queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import detach, namespace, to_numpy
from attnlab.errors import ComponentError, ShapeError
from attnlab.injection import asks_for, call
from attnlab.interfaces import Aggregator, Mask, Normaliser, Position, Similarity
from attnlab.parts.masks import AllKeys
from attnlab.shapes import broadcast_leading, check_shapes

__all__ = [
    "BLOCK",
    "Context",
    "Params",
    "Parts",
    "aggregate",
    "blocks",
    "context_of",
    "rows_of",
    "stateful",
    "weigh",
    "weigh_in_steps",
]

BLOCK = 2**22  # weights: attend() goes through the queries in blocks rather than form more than this many at once

Params = dict[str, dict[str, Any]]


class Parts(NamedTuple):
    """The five parts, as objects."""

    similarity: Similarity
    normaliser: Normaliser
    aggregator: Aggregator
    position: Position
    masks: tuple[Any, ...]  # Mask objects and boolean arrays


@dataclass(frozen=True)
class Context:
    """What is the same for every verb of one call."""

    shape: tuple[int, ...]  # of the weights, (..., q, k)
    M: Any  # bool, broadcasts to shape, with both of its last axes whole or one; None: all may be attended to
    given: Mapping[str, Any]  # what a verb may ask for: q_index, k_index, lengths, rng, training


_VERBS = {
    "similarity": ("score",),
    "normaliser": ("normalise",),
    "aggregator": ("aggregate",),
    "position": ("place", "bias", "reweigh"),
}


def stateful(parts: Parts) -> dict[str, Any]:
    """The parts that ask for `state`, by role."""
    return {
        role: getattr(parts, role)
        for role, verbs in _VERBS.items()
        if any("state" in asks_for(getattr(parts, role), verb) for verb in verbs)
    }


# --------------------------------------------------------------------------------------------------------------------
# before: shapes, positions, masks
# --------------------------------------------------------------------------------------------------------------------
def context_of(
    parts: Parts,
    Q: Any,
    K: Any,
    V: Any,
    mask: Any,
    q_index: Any,
    k_index: Any,
    lengths: Any,
    rng: Any,
    training: bool,
) -> Context:
    """Shapes checked, masks combined. V may be None."""
    xp = namespace(Q, K, V)
    similarity = parts.similarity
    mixes = similarity.init is not None and {"d_query", "d_key"} <= asks_for(similarity, "init")
    dims = "d" if not mixes and similarity.content_free is not True else "e"
    arrays = {"Q": ("... q d", Q), "K": (f"... k {dims}", K)}
    sizes = check_shapes(**arrays) if V is None else check_shapes(**arrays, V=("... k v", V))
    q, k = sizes["q"], sizes["k"]
    if 0 in (Q.shape[-1], K.shape[-1]) and similarity.content_free is not True:
        raise ShapeError(
            f"the similarity {similarity.name!r} compares features, and there are none: Q is (..., q, d) = "
            f"{tuple(Q.shape)}, K is (..., k, {dims}) = {tuple(K.shape)}"
        )
    lead = broadcast_leading(("Q", tuple(Q.shape[:-2])), ("K", tuple(K.shape[:-2])))
    q_index, k_index = _index("q", q_index, q), _index("k", k_index, k)
    if lengths is None:
        lengths = np.broadcast_to([q, k], (*lead, 2))
    elif np.shape(lengths)[-1:] != (2,):
        raise ShapeError(
            f"lengths must be (..., 2), the numbers of queries and keys of each example; got shape {np.shape(lengths)}"
        )

    here = isinstance(detach(Q), np.ndarray)  # NumPy's own arrays need no conversion
    shape, M = (*lead, q, k), None
    for one in (*parts.masks, mask):
        allowed = _allowed(one, q_index, k_index, shape)
        if allowed is None:
            continue
        if isinstance(allowed, np.ndarray):
            allowed = allowed if here else xp.asarray(np.array(allowed))
        else:
            namespace(Q, K, allowed)  # refuses a mixture of libraries
        M = allowed if M is None else M & allowed
    if M is not None:
        shape = (*broadcast_leading(("Q and K", lead), ("mask", tuple(M.shape[:-2]))), q, k)
        if V is not None:
            broadcast_leading(("Q, K and mask", shape[:-2]), ("V", tuple(V.shape[:-2])))
    given = {"q_index": q_index, "k_index": k_index, "lengths": lengths}
    if not here:
        given = {name: xp.asarray(np.array(to_numpy(array))) for name, array in given.items()}
    return Context(shape, M, {**given, "rng": rng, "training": training})


def _index(letter: str, index: Any, size: int) -> Any:
    if index is None:
        return np.arange(size)
    index = to_numpy(index)
    if index.shape[-1:] != (size,):
        raise ShapeError(f"{letter}_index must end in axis {letter!r} = {size}; got shape {index.shape}")
    if index.size and (index.dtype.kind not in "iu" or index.min() < 0):
        raise ValueError(f"{letter}_index must hold positions, integers from 0; got {index.dtype} {index.tolist()!r}")
    return index.astype(np.intp)


def _allowed(mask: Any, q_index: Any, k_index: Any, shape: tuple[int, ...]) -> Any:
    """One mask as a boolean array that broadcasts to `shape` with its own leading axes, or None when it allows all."""
    if mask is None or isinstance(mask, AllKeys):
        return None
    if isinstance(mask, Mask):
        return mask.allow(q_index, k_index)
    array = mask if hasattr(mask, "dtype") else np.asarray(mask)
    if "bool" not in str(array.dtype):
        raise TypeError(f"mask must be boolean, True = may attend; got dtype {array.dtype}")
    q, k = shape[-2:]
    if array.ndim < 2:
        array = array[None, :] if array.ndim else array[None, None]
    if array.shape[-2] not in (1, q) or array.shape[-1] not in (1, k):
        raise ShapeError(f"mask {tuple(array.shape)} does not broadcast to (..., q, k) = (..., {q}, {k})")
    return array


# --------------------------------------------------------------------------------------------------------------------
# some of the queries
# --------------------------------------------------------------------------------------------------------------------
def rows_of(context: Context, here: slice) -> Context:
    """The context of some of the queries."""
    if here == slice(None):
        return context
    q_index = context.given["q_index"][..., here]
    M = context.M
    return replace(
        context,
        shape=(*context.shape[:-2], q_index.shape[-1], context.shape[-1]),
        M=M if M is None or M.shape[-2] == 1 else M[..., here, :],
        given={**context.given, "q_index": q_index},
    )


def blocks(parts: Parts, Q: Any, K: Any, context: Context) -> list[slice]:
    """The queries to go through at once: all, or blocks of them where gradients and parts allow."""
    size = 1
    for n in context.shape:
        size *= n
    q = Q.shape[-2]
    whole = size <= BLOCK or q <= 1 or parts.normaliser.couples_rows
    if whole or not (isinstance(Q, np.ndarray) and isinstance(K, np.ndarray)):
        return [slice(None)]
    rows = max(1, BLOCK // (size // q))
    return [slice(start, start + rows) for start in range(0, q, rows)]


# --------------------------------------------------------------------------------------------------------------------
# one pass
# --------------------------------------------------------------------------------------------------------------------
def weigh(
    parts: Parts, params: Params, Q: Any, K: Any, context: Context, states: Mapping[str, Any] | None = None
) -> Any:
    """W (..., q, k): compare and normalise. Queries that may attend to nothing are shown zeros and struck out after."""
    shape, M = context.shape, context.M
    xp = namespace(Q, K)
    if 0 in shape:
        return xp.zeros(shape, dtype=Q.dtype)
    if M is None:
        alive, shown = None, xp.ones((1, 1), dtype=xp.bool)
        n_allowed = xp.full((1, 1), shape[-1], dtype=Q.dtype)
    else:
        M = xp.broadcast_to(M, (*M.shape[:-2], *shape[-2:]))
        alive = xp.any(M, axis=-1, keepdims=True)
        shown = M | ~alive
        n_allowed = xp.sum(xp.astype(shown, Q.dtype), axis=-1, keepdims=True)
        Q, K = _legible(Q, alive), _legible(K, xp.any(M, axis=-2)[..., None])
    available = {**context.given, "mask": shown, "n_allowed": n_allowed}
    dims = {"d_query": Q.shape[-1], "d_key": K.shape[-1], "d_value": K.shape[-1]}

    def do(role: str, verb: str, **nouns: Any) -> Any:
        state = {"state": states[role]} if states and role in states else {}
        return _done(getattr(parts, role), verb, params[role], dims, **{**available, **state, **nouns})

    places = type(parts.position)
    if places.place is not Position.place:
        Q, K = do("position", "place", Q=Q, K=K)
    S = _whole(parts.similarity, "score", do("similarity", "score", Q=Q, K=K), shape)
    if places.bias is not Position.bias:
        S = _whole(parts.position, "bias", do("position", "bias", S=S, Q=Q, K=K), shape)
    if M is not None:
        zero = xp.zeros_like(detach(S))
        S = xp.where(M, S, xp.where(alive, zero - xp.inf, zero))
    W = _whole(parts.normaliser, "normalise", do("normaliser", "normalise", S=S), shape)
    if places.reweigh is not Position.reweigh:
        W = _whole(parts.position, "reweigh", do("position", "reweigh", W=W, Q=Q, K=K), shape)
    return W if M is None else xp.where(M, W, xp.zeros_like(detach(W)))


def _legible(X: Any, read: Any) -> Any:
    """Queries or keys X, zeros where nobody may read them if some hold NaN or infinity: in gradients 0 * NaN is NaN."""
    return X if _all_finite(X) else namespace(X).where(read, X, namespace(X).zeros_like(detach(X)))


def _all_finite(X: Any) -> bool:
    """Whether all is finite. JAX's arrays, whose numbers cannot be asked for while they are traced, are taken to be."""
    plain = detach(X)
    if type(plain).__module__.startswith("jax"):
        return True
    xp = np if isinstance(plain, np.ndarray) else namespace(plain)
    return bool(xp.all(xp.isfinite(plain)))


def _done(part: Any, verb: str, learned: Mapping[str, Any], dims: Mapping[str, int], **nouns: Any) -> Any:
    """What a verb returns. If it fails with arrays that were learned for other widths, the error is a ShapeError about these."""
    try:
        return call(part, verb, **{**nouns, **learned})
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, ShapeError) or not learned:
            raise
        fitting = call(part, "init", rng=np.random.default_rng(0), **dims)
        given = {name: tuple(np.shape(array)) for name, array in learned.items()}
        asked = {name: tuple(np.shape(array)) for name, array in fitting.items()}
        if given == asked:
            raise
        raise ShapeError(
            f"the learned arrays of the {part.kind} {part.name!r} do not fit: for "
            f"{', '.join(f'{name} = {size}' for name, size in dims.items() if name in asks_for(part, 'init'))} "
            f"they are {_listed(asked)}; got {_listed(given)}"
        ) from error


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _whole(part: Any, verb: str, X: Any, shape: tuple[int, ...]) -> Any:
    """What a verb returned, real floats in the shape (..., q, k) of the call: leading axes may be missing or one."""
    given = tuple(getattr(X, "shape", ()))
    lead = given[:-2]
    fits = all(a in (1, b) for a, b in zip(reversed(lead), reversed(shape[:-2]), strict=False))
    if given[-2:] != shape[-2:] or len(given) > len(shape) or not fits:
        raise ComponentError(f"{type(part).__name__}.{verb} must return (..., q, k) = {shape}; got {given or type(X)}")
    if "float" not in str(X.dtype):
        raise ComponentError(f"{type(part).__name__}.{verb} must return real floats; got dtype {X.dtype}")
    return X if given == shape else namespace(X).broadcast_to(X, shape)


def aggregate(parts: Parts, params: Params, W: Any, V: Any, Q: Any, K: Any, context: Context) -> Any:
    """Y (..., q, v). With no key at all it is zero. What a forbidden value holds changes nothing, NaN neither."""
    xp = namespace(W, V)
    if W.shape[-1] == 0:
        lead = broadcast_leading(("W", tuple(W.shape[:-2])), ("V", tuple(V.shape[:-2])))
        return xp.zeros((*lead, W.shape[-2], V.shape[-1]), dtype=V.dtype)
    available = {**context.given, "W": W, "Q": Q, "K": K}
    dims = {"d_query": Q.shape[-1], "d_key": K.shape[-1], "d_value": V.shape[-1]}
    if not asks_for(parts.aggregator, "aggregate").isdisjoint(("mask", "n_allowed")):
        M = xp.ones((1, 1), dtype=xp.bool) if context.M is None else context.M
        counted = xp.astype(xp.broadcast_to(M, W.shape), W.dtype)
        available |= {"mask": M, "n_allowed": xp.sum(counted, axis=-1, keepdims=True)}

    def summed(V: Any) -> Any:
        return _done(parts.aggregator, "aggregate", params["aggregator"], dims, V=V, **available)

    if context.M is None or _all_finite(V):
        return summed(V)
    plain = detach(V)
    spoilt, zero = ~xp.isfinite(plain), xp.zeros_like(plain)
    Y = summed(xp.where(spoilt, zero, V))
    seen = xp.broadcast_to(context.M, (*context.M.shape[:-2], *W.shape[-2:])) & xp.any(spoilt, axis=-1)[..., None, :]
    reached = xp.any(
        seen, axis=-1, keepdims=True
    )  # (..., q, 1): those that may attend to such a value get what it makes
    if not xp.any(reached):
        return Y
    with np.errstate(invalid="ignore"):
        return Y + xp.where(reached, detach(summed(plain)) - detach(Y), xp.zeros_like(detach(Y)))


def weigh_in_steps(
    parts: Parts, params: Params, Q: Any, K: Any, context: Context, states: Mapping[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """Query by query, handing each stateful part what it remembers; (W, the states after the last)."""
    remembers = stateful(parts)
    now = dict(states or {})
    for role, part in remembers.items():
        if role not in now:
            now[role] = call(
                part,
                "initial_state",
                n_keys=context.shape[-1],
                leading=context.shape[:-2],
                Q=Q,
                K=K,
                **params[role],
            )
    rows = []
    for t in range(Q.shape[-2]):
        here = slice(t, t + 1)
        W = weigh(parts, params, Q[..., here, :], K, rows_of(context, here), now)
        for role, part in remembers.items():
            now[role] = call(part, "update", state=now[role], W=W, **params[role])
        rows.append(W)
    if not rows:
        return namespace(Q, K).zeros(context.shape, dtype=Q.dtype), now
    return (rows[0] if len(rows) == 1 else namespace(rows[0]).concat(rows, axis=-2)), now
