"""Bound mechanisms: parts built and checked, so that a call does arithmetic and nothing else.

A bound mechanism trusts its caller: arrays are floats of one dtype, with zeros (no NaN) where nobody may read; params are
complete; the context is one that it made. `Mechanism.attend` makes sure of all that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import detach, namespace
from attnlab.errors import ComponentError, ShapeError, Unsupported
from attnlab.injection import asks_for, call
from attnlab.interfaces import Aggregator, Mask, Normaliser, Position, Similarity
from attnlab.kinds import COMBINES, KINDS, LEARNING
from attnlab.mechanisms.context import Context, context_of
from attnlab.mechanisms.program import Program, Step, gradients_through, program_of
from attnlab.mechanisms.pullback import pulled_verb, pulled_whole, unbroadcast, way_back
from attnlab.shapes import broadcast_leading

__all__ = ["BLOCK", "BoundMechanism", "Params", "Parts"]

BLOCK = 2**22  # weights: attend() goes through the queries in blocks rather than form more than this many at once

Params = Mapping[str, Mapping[str, Any]]


class Parts(NamedTuple):
    """The parts of a mechanism, as objects."""

    similarity: Similarity
    normaliser: Normaliser
    aggregator: Aggregator
    position: Position
    masks: tuple[Any, ...] = ()  # Mask objects and boolean arrays
    modifiers: tuple[Any, ...] = ()  # in the order in which they act

    def learning(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """(path in params, part) of each part that may have something to learn; several of one kind are told by name."""
        for role in LEARNING:
            if role in COMBINES:
                for part in getattr(self, KINDS[role].plural):
                    yield (role, part.name), part
            else:
                yield (role,), getattr(self, role)


@dataclass(frozen=True, eq=False)
class BoundMechanism:
    """A mechanism whose parts are built and whose program is known.

    Parameters
    ----------
    parts : Parts
    backend : "auto", "reference", or a distribution
        Whose kernels may answer.
    """

    parts: Parts
    backend: str = "auto"
    owners: tuple[tuple[tuple[str, ...], Any], ...] = field(init=False, repr=False)  # `parts.learning()`
    program: Program = field(init=False, repr=False)
    stateful: tuple[tuple[str, ...], ...] = field(init=False, repr=False)  # paths of the parts that remember
    _verbs: tuple[tuple[Step, Any], ...] = field(init=False, repr=False)  # each step with the part that has the verb
    _live: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        listed = tuple(self.parts.learning())
        owners = dict(listed)
        program = program_of(tuple((path, type(part)) for path, part in listed))
        object.__setattr__(self, "owners", listed)
        verbs = tuple((step, owners[step.path] if step.path else None) for step in program.steps)
        object.__setattr__(self, "program", program)
        object.__setattr__(self, "stateful", tuple(s.path for s in program.steps if s.verb == "update"))
        object.__setattr__(self, "_verbs", verbs)

    # -- what is the same for a whole data set ------------------------------------------------------------------------
    def context(
        self,
        Q: Any,
        K: Any,
        V: Any = None,
        mask: Any = None,
        *,
        q_index: Any = None,
        k_index: Any = None,
        lengths: Any = None,
        rng: Any = None,
        training: bool = False,
    ) -> Context:
        """Shapes checked and masks combined; for the arguments and errors see `Mechanism.weights`. V may be None."""
        similarity = self.parts.similarity
        mixes = similarity.init is not None and {"d_query", "d_key"} <= asks_for(similarity, "init")
        return context_of(
            (*self.parts.masks, *(m.allowed for m in self.parts.modifiers if m.allowed is not None), mask),
            Q,
            K,
            V,
            features="none" if similarity.content_free is True else "free" if mixes else "same",
            who=f"similarity {similarity.name!r}",
            asks=self.program.asks,
            q_index=q_index,
            k_index=k_index,
            lengths=lengths,
            rng=rng,
            training=training,
        )

    def kernels(self, dtype: Any = None) -> dict[str, str]:
        """What answers each verb, by role and verb: "reference", or the name of a kernel."""
        return {f"{'.'.join(s.path)}.{s.verb}": "reference" for s in self.program.steps if s.path}

    # -- values -------------------------------------------------------------------------------------------------------
    def weights(self, params: Params, Q: Any, K: Any, context: Context) -> Any:
        """W (..., q, k)."""
        if self.stateful:
            return self.in_steps(params, Q, K, context)[0]
        return self._weigh(params, Q, K, context)

    def attend(self, params: Params, Q: Any, K: Any, V: Any, context: Context) -> Any:
        """Y (..., q, v). Long inputs go through in blocks of queries."""
        if self.stateful or 0 in context.shape:
            return self.aggregate(params, self.weights(params, Q, K, context), V, Q, K, context)
        if math.prod(context.shape) > BLOCK and len(blocks := self._blocks(Q, K, context)) > 1:
            done = [self.attend(params, Q[..., here, :], K, V, context.rows(here)) for here in blocks]
            return namespace(done[0]).concat(done, axis=-2)
        return self._run(self._verbs, params, {"Q": Q, "K": K, "V": V}, context)[self.program.Y]

    def aggregate(self, params: Params, W: Any, V: Any, Q: Any, K: Any, context: Context) -> Any:
        """Y (..., q, v) of given weights; zero where there is no key at all."""
        if W.shape[-1] == 0:
            lead = broadcast_leading(("W", tuple(W.shape[:-2])), ("V", tuple(V.shape[:-2])))
            return namespace(W, V).zeros((*lead, W.shape[-2], V.shape[-1]), dtype=V.dtype)
        slots = {"Q": Q, "K": K, "V": V, self.program.W: W}
        return self._run(self._verbs[-1:], params, slots, context)[self.program.Y]

    def in_steps(
        self, params: Params, Q: Any, K: Any, context: Context, states: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Query by query: (W (..., q, k), what each part remembers after the last query, by its dotted path)."""
        states = self.initial_states(params, Q, K, context, states)
        rows = []
        for t in range(Q.shape[-2]):
            here = context if Q.shape[-2] == 1 else context.row(t)
            slots = {"Q": Q[..., t : t + 1, :], "K": K, **{f"state.{p}": state for p, state in states.items()}}
            if 0 in here.shape:
                slots[self.program.W] = W = namespace(Q, K).zeros(here.shape, dtype=Q.dtype)
                updates = tuple(pair for pair in self._verbs if pair[0].verb == "update")
                self._run(updates, params, slots, here)
            else:
                W = self._run(self._verbs[:-1], params, slots, here)[self.program.W]
            states = {p: slots.get(f"next.{p}", state) for p, state in states.items()}
            rows.append(W)
        if not rows:
            return namespace(Q, K).zeros(context.shape, dtype=Q.dtype), states
        return (rows[0] if len(rows) == 1 else namespace(rows[0]).concat(rows, axis=-2)), states

    def at_row(self, t: int) -> BoundMechanism:
        """The mechanism as the query at position t sees it: of a mask array over all queries, row t.

        Raises
        ------
        Unsupported
            When a modifier needs the scores of other queries.
        """
        if coupled := [m.name for m in self.parts.modifiers if m.couples_rows]:
            raise Unsupported(f"the modifier {coupled[0]!r} needs the scores of other queries; a step has one query")
        if all(isinstance(mask, Mask) for mask in self.parts.masks):
            return self
        return BoundMechanism(self.parts._replace(masks=tuple(_row(m, t) for m in self.parts.masks)), self.backend)

    def step(
        self, params: Params, Q: Any, K: Any, V: Any, state: Any, t: int, mask: Any = None, **given: Any
    ) -> tuple[Any, Any, Any]:
        """One query, Q (..., 1, d), at position t: (Y (..., 1, v), W (..., 1, k), the state for step t + 1)."""
        bound = self.at_row(t)
        context = bound.context(Q, K, V, mask, q_index=np.asarray([t]), **given)
        if bound.stateful:
            W, state = bound.in_steps(params, Q, K, context, state)
        else:
            W = bound.weights(params, Q, K, context)
        return bound.aggregate(params, W, V, Q, K, context), W, state

    def initial_states(
        self, params: Params, Q: Any, K: Any, context: Context, states: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What each part that remembers starts with, by dotted path; those in `states` stay."""
        now = dict(states or {})
        owners = dict(self.owners) if self.stateful else {}
        facts = {"n_keys": context.shape[-1], "leading": context.shape[:-2], "Q": Q, "K": K}
        for path in self.stateful:
            if (name := ".".join(path)) not in now:
                now[name] = call(owners[path], "initial_state", **facts, **_at(params, path))
        return now

    def _weigh(self, params: Params, Q: Any, K: Any, context: Context) -> Any:
        if 0 in context.shape:
            return namespace(Q, K).zeros(context.shape, dtype=Q.dtype)
        return self._run(self._verbs[:-1], params, {"Q": Q, "K": K}, context)[self.program.W]

    def _blocks(self, Q: Any, K: Any, context: Context) -> list[slice]:
        """The queries to go through at once: all, or blocks of them where gradients and parts allow."""
        q = Q.shape[-2]
        coupled = any(getattr(part, "couples_rows", False) for _, part in self.owners)
        if q <= 1 or coupled or not (isinstance(Q, np.ndarray) and isinstance(K, np.ndarray)):
            return [slice(None)]
        rows = max(1, BLOCK // (math.prod(context.shape) // q))
        return [slice(start, start + rows) for start in range(0, q, rows)]

    # -- gradients ----------------------------------------------------------------------------------------------------
    def pull(self, params: Params, Q: Any, K: Any, V: Any, context: Context, wants: frozenset[str]) -> tuple[Any, Any]:
        """Values and their way back, on NumPy arrays.

        Parameters
        ----------
        V : array (..., k, v), or None for the weights
        wants : of "Q", "K", "V" and "params", those whose gradients will be asked for

        Returns
        -------
        value : Y (..., q, v), or W (..., q, k) where V is None
        back : callable
            `back(g)` gives the gradients by name, those of params as nested as params; it holds until the params change.
        """
        if self.stateful or 0 in context.shape:
            return pulled_whole(self, params, Q, K, V, context, wants)
        slots = {"Q": Q, "K": K} if V is None else {"Q": Q, "K": K, "V": V}
        verbs, end = (self._verbs[:-1], self.program.W) if V is None else (self._verbs, self.program.Y)
        tape: list[Any] = []
        value = self._run(verbs, params, slots, context, tape, wants)[end]
        return value, lambda g: way_back(tape, slots, params, {end: g}, wants)

    def pull_step(
        self,
        params: Params,
        Q: Any,
        K: Any,
        V: Any,
        states: Mapping[str, Any],
        context: Context,
        wants: frozenset[str],
    ) -> tuple[dict[str, Any], Any]:
        """One query, and its way back: ({"Y", "W", "next.<path>": what is remembered}, back), back(gradients by name).

        The gradients that back gives have those of the states too, as "state.<path>".
        """
        slots = {"Q": Q, "K": K, **({} if V is None else {"V": V})}
        slots |= {f"state.{path}": state for path, state in states.items()}
        wants = wants | {f"state.{path}" for path in states}
        ends = {"W": self.program.W, **({} if V is None else {"Y": self.program.Y})}
        ends |= {f"next.{path}": f"next.{path}" for path in states}
        tape: list[Any] = []
        self._run(self._verbs[:-1] if V is None else self._verbs, params, slots, context, tape, wants)
        outs = {name: slots[slot] for name, slot in ends.items()}
        return outs, lambda g: way_back(tape, slots, params, {ends[name]: one for name, one in g.items()}, wants)

    def _through(self, verbs: tuple[tuple[Step, Any], ...], wants: frozenset[str]) -> Any:
        """Where gradients go, found once for each combination of what is wanted."""
        if (found := self._live.get((len(verbs), wants))) is None:
            found = self._live[len(verbs), wants] = gradients_through(tuple(step for step, _ in verbs), wants)
        return found

    # -- one pass -----------------------------------------------------------------------------------------------------
    def _run(
        self,
        verbs: tuple[tuple[Step, Any], ...],
        params: Params,
        slots: dict[str, Any],
        context: Context,
        tape: list[Any] | None = None,
        wants: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        """Run steps on `slots`, which gains what they write. With a tape, keep the way back of each step that has one."""
        Q, M, given, shape = slots["Q"], context.M, context.given, context.shape
        if Q.shape[:-2] != shape[:-2]:  # an axis of heads, or queries that broadcast
            shape = (*np.broadcast_shapes(Q.shape[:-2], slots["K"].shape[:-2], shape[:-2]), *shape[-2:])
        through = self._through(verbs, wants) if tape is not None else ()
        arguments: dict[str, Any] = {}
        learned: dict[str, Any] = {}
        step, verb = verbs[0][0], None
        try:
            for n, (step, part) in enumerate(verbs):
                back = None
                if part is None:
                    X = slots[next(iter(step.reads.values()))]
                    out = X if M is None else _masked(X, context) if step.verb == "mask" else _struck(X, M)
                    if tape is not None and through[n][0]:
                        back = _identity(step, M)
                    learned = {}
                else:
                    verb = getattr(part, step.verb)
                    arguments = {name: slots[slot] for name, slot in step.reads.items()}
                    learned = {}
                    if step.learned:
                        own = _at(params, step.path)
                        learned = {name: own[name] for name in step.learned if name in own}
                    if step.asks:
                        known = given if not step.counts else _true(given, context, slots[self.program.W])
                        arguments.update((name, known[name]) for name in step.asks)
                    if tape is not None and (through[n][0] or through[n][1]):
                        out, back = pulled_verb(verb, arguments, learned, *through[n])
                    else:
                        out = verb(**arguments, **learned)
                    if step.gives and not (type(out) is np.ndarray and out.shape == shape and out.dtype.kind == "f"):
                        out, back = _whole(verb, out, shape, back)
                if len(step.writes) == 1:
                    slots[step.writes[0]] = out
                else:
                    slots.update(zip(step.writes, out, strict=True))
                if back is not None and tape is not None:
                    tape.append((step, back, learned))
        except (ValueError, TypeError, RuntimeError) as error:
            _explain(step, verb, learned, slots, error)
            raise
        return slots


# --------------------------------------------------------------------------------------------------------------------
# the engine's own steps
# --------------------------------------------------------------------------------------------------------------------
def _masked(S: Any, context: Context) -> Any:
    """Scores, -inf where they are forbidden; of a query that may attend to nothing, zeros."""
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


def _identity(step: Step, M: Any) -> Any:
    """The way back of a step that lets through what is allowed."""
    (name,) = step.reads
    if M is None:
        return lambda g: {name: g}
    return lambda g: {name: np.where(M, g, g.dtype.type(0))}


def _true(given: Mapping[str, Any], context: Context, W: Any) -> dict[str, Any]:
    """What may be asked for, with the true mask, in which a query may have no key, and the true count."""
    xp = namespace(W)
    M = xp.ones((1, 1), dtype=xp.bool) if context.M is None else context.M
    counted = xp.astype(xp.broadcast_to(M, W.shape), W.dtype)
    return {**given, "mask": M, "n_allowed": xp.sum(counted, axis=-1, keepdims=True)}


# --------------------------------------------------------------------------------------------------------------------
# verbs
# --------------------------------------------------------------------------------------------------------------------
def _at(params: Params, path: tuple[str, ...]) -> Mapping[str, Any]:
    found: Any = params
    for name in path:
        found = found[name]
    return found


def _whole(verb: Any, X: Any, shape: tuple[int, ...], back: Any) -> tuple[Any, Any]:
    """What a verb returned, as real floats in the shape (..., q, k) of the call: leading axes may be missing or one."""
    who = f"{type(verb.__self__).__name__}.{verb.__name__}"
    given = tuple(getattr(X, "shape", ()))
    lead = given[:-2]
    fits = all(a in (1, b) for a, b in zip(reversed(lead), reversed(shape[:-2]), strict=False))
    if given[-2:] != shape[-2:] or len(given) > len(shape) or not fits:
        raise ComponentError(f"{who} must return (..., q, k) = {shape}; got {given or type(X)}")
    if "float" not in str(X.dtype):
        raise ComponentError(f"{who} must return real floats; got dtype {X.dtype}")
    if given == shape:
        return X, back
    wide = namespace(X).broadcast_to(X, shape)
    return wide, None if back is None else lambda g: back(unbroadcast(g, X))


def _explain(step: Step, verb: Any, learned: Mapping[str, Any], slots: Mapping[str, Any], error: Exception) -> None:
    """Raise a ShapeError where a verb failed because its arrays were learned for other widths."""
    if isinstance(error, (ShapeError, ComponentError)) or not learned:
        return
    part, Q, K = verb.__self__, slots["Q"], slots["K"]
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


def _row(mask: Any, t: int) -> Any:
    """Row t of a mask array over all queries."""
    if isinstance(mask, Mask) or mask.ndim < 2 or mask.shape[-2] == 1:
        return mask
    if t >= mask.shape[-2]:
        raise ShapeError(f"step {t} is outside the mechanism's mask (..., q, k) = {tuple(mask.shape)}")
    return mask[..., t : t + 1, :]
