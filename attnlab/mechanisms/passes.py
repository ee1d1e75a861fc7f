"""One pass over the calls of a plan; between them the engine masks scores and sets forbidden weights to zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnlab.arrays import detach, namespace
from attnlab.errors import ComponentError, ShapeError
from attnlab.injection import asks_for, call
from attnlab.mechanisms.context import Context
from attnlab.mechanisms.plan import ALLOWED, NONE, Call
from attnlab.mechanisms.pullback import pulled_verb, unbroadcast

__all__ = ["at", "run"]

Params = Mapping[str, Mapping[str, Any]]


def run(
    calls: tuple[Call, ...], params: Params, slots: dict[str, Any], context: Context, W: str, tape: Any = None
) -> dict[str, Any]:
    """Run calls; they write their results into `slots`. With a tape, keep the pullback of each call that has one.

    Parameters
    ----------
    calls : tuple of Call
    params : complete learned arrays
    slots : dict of arrays, with the arrays that the first call reads
    context : Context
    W : str, the slot of the weights
    tape : list that gains (call, back, learned arrays), or None
    """
    if context.content is not None:
        context = context.chosen(slots["Q"], slots["K"])
    if context.later is not None and calls[-1].asks is not ALLOWED:
        context = context.whole()
    Q, M, given, shape = slots["Q"], context.M, context.given, context.shape
    if Q.shape[:-2] != shape[:-2]:  # an axis of heads, or queries that broadcast
        shape = (*np.broadcast_shapes(Q.shape[:-2], slots["K"].shape[:-2], shape[:-2]), *shape[-2:])
    learned: Mapping[str, Any] = {}
    one = calls[0]
    try:
        for one in calls:
            step, part, verb, kernel, reads, asks, names, told, live, learns, wants, prepare, _, _, exact = one
            back, learned = None, {}
            if part is None:
                (name, slot) = reads[0]
                through = M is None or (exact and context.alive is None)
                X = slots[slot]
                out = X if through else _masked(X, context) if step.verb == "mask" else _struck(X, M)
                if tape is not None and live:
                    back = _identity(name, None if through else M)
            else:
                arguments = {name: slots[slot] for name, slot in reads}
                if step.learned:
                    if not step.path:
                        arguments["learned"] = learned = {role: params[role] for role in names}
                    else:
                        own = at(params, step.path)
                        learned = {name: own[name] for name in names if name in own}
                if asks is ALLOWED:
                    arguments["allowed"] = context.allowed if context.forbids else None
                elif asks:
                    known = (
                        given if not step.counts else _true(given, context, slots[W] if W in slots else arguments["S"])
                    )
                    arguments.update((name, known[name]) for name in asks)
                if kernel:
                    if prepare is not None and "P" in slots:  # it was made from the keys beforehand
                        arguments["P"] = slots["P"]
                        del arguments["K"]
                        wants = wants | {"P"}
                    if told:
                        arguments["wants"] = NONE if tape is None else wants
                    if step.path:
                        out, back = verb(part, **arguments, **learned)
                    else:
                        arguments.setdefault("learned", {})
                        if asks is not ALLOWED:
                            arguments |= {"mask": M, "alive": context.alive}
                        out, back = verb(part, **arguments)
                    if tape is None or not wants:
                        back = None
                elif tape is not None and wants:
                    out, back = pulled_verb(verb, arguments, learned, live, learns)
                else:
                    out = verb(**arguments, **learned)
                if step.gives and not (type(out) is np.ndarray and out.shape == shape and out.dtype.kind == "f"):
                    out, back = _whole(verb, out, shape, back)
            if len(step.writes) == 1:
                slots[step.writes[0]] = out
            else:
                slots.update(zip(step.writes, out, strict=True))
            if back is not None and tape is not None:
                tape.append((one, back, learned))
    except (ValueError, TypeError, RuntimeError) as error:
        _explain(one, learned, slots, error)
        raise
    return slots


# --------------------------------------------------------------------------------------------------------------------
# the engine's own steps
# --------------------------------------------------------------------------------------------------------------------
def _masked(S: Any, context: Context) -> Any:
    """Scores, -inf where they are forbidden; a query that may attend to nothing has scores of zero."""
    M, alive = context.M, context.alive
    if type(S) is np.ndarray:
        low = S.dtype.type(-np.inf) if alive is None else np.where(alive, S.dtype.type(-np.inf), S.dtype.type(0))
        return np.where(M, S, low)
    xp = namespace(S)
    zero = xp.zeros_like(detach(S))
    return xp.where(M, S, zero - xp.inf if alive is None else xp.where(alive, zero - xp.inf, zero))


def _struck(W: Any, M: Any) -> Any:
    """Weights, zero where they are forbidden."""
    if type(W) is np.ndarray:
        return np.where(M, W, W.dtype.type(0))
    xp = namespace(W)
    return xp.where(M, W, xp.zeros_like(detach(W)))


def _identity(name: str, M: Any) -> Any:
    """The pullback of a step that keeps what is allowed; M = None allows everything."""
    if M is None:
        return lambda g: {name: g}
    return lambda g: {name: np.where(M, g, g.dtype.type(0))}


def _true(given: Mapping[str, Any], context: Context, X: Any) -> dict[str, Any]:
    """What a verb may ask for, with the true mask and the true count for scores or weights X; a query may then have no key."""
    xp = namespace(X)
    M = xp.ones((1, 1), dtype=xp.bool) if context.M is None else context.M
    counted = xp.astype(xp.broadcast_to(M, X.shape), X.dtype)
    return {**given, "mask": M, "n_allowed": xp.sum(counted, axis=-1, keepdims=True)}


# --------------------------------------------------------------------------------------------------------------------
# verbs
# --------------------------------------------------------------------------------------------------------------------
def at(params: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    """The learned arrays of the part with this path."""
    found: Any = params
    for name in path:
        found = found[name]
    return found


def _whole(verb: Any, X: Any, shape: tuple[int, ...], back: Any) -> tuple[Any, Any]:
    """A verb's result as real floats in the shape (..., q, k); leading axes may be missing or have size one."""
    given = tuple(getattr(X, "shape", ()))
    lead = given[:-2]
    fits = all(a in (1, b) for a, b in zip(reversed(lead), reversed(shape[:-2]), strict=False))
    if given[-2:] != shape[-2:] or len(given) > len(shape) or not fits:
        raise ComponentError(f"{_who(verb)} must return (..., q, k) = {shape}; got {given or type(X)}")
    if "float" not in str(X.dtype):
        raise ComponentError(f"{_who(verb)} must return real floats; got dtype {X.dtype}")
    if given == shape:
        return X, back
    wide = namespace(X).broadcast_to(X, shape)
    return wide, None if back is None else lambda g: back(unbroadcast(g, X))


def _who(verb: Any) -> str:
    """A verb in words; that of a kernel may be a function."""
    owner = getattr(verb, "__self__", None)
    return verb.__name__ if owner is None else f"{type(owner).__name__}.{verb.__name__}"


def _explain(failed: Call, learned: Mapping[str, Any], slots: Mapping[str, Any], error: Exception) -> None:
    """Raise a ShapeError where a verb failed because its arrays were learned for other widths."""
    if isinstance(error, (ShapeError, ComponentError)) or not learned or isinstance(failed.part, tuple):
        return
    part, reads = failed.part, failed.step.reads
    Q, K = slots[reads.get("Q", "Q")], slots[reads.get("K", "K")]
    dims = {"d_query": Q.shape[-1], "d_key": K.shape[-1], "d_value": slots.get("V", K).shape[-1]}
    fitting = call(part, "init", rng=np.random.default_rng(0), **dims)
    given = {name: tuple(np.shape(array)) for name, array in learned.items()}
    asked = {name: tuple(np.shape(array)) for name, array in fitting.items()}
    if given != asked:
        sizes = ", ".join(f"{name} = {size}" for name, size in dims.items() if name in asks_for(part, "init"))
        raise ShapeError(
            f"the learned arrays of the {part.kind} {part.name!r} do not fit: for {sizes} they are {_listed(asked)}; "
            f"got {_listed(given)}"
        ) from error


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
