"""Bound mechanisms: parts built and checked, so that a call does arithmetic and nothing else.

A bound mechanism trusts its caller. All arrays are floats of one dtype, with zeros (no NaN) where nobody may read. The params
are complete. The bound mechanism itself made the context. `Mechanism.attend` makes sure of all that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from autograd.tracer import isbox

from attnlab.arrays import namespace
from attnlab.errors import ShapeError, Unsupported
from attnlab.injection import asks_for, call
from attnlab.interfaces import Aggregator, Mask, Normaliser, Position, Similarity
from attnlab.kinds import COMBINES, KINDS, LEARNING
from attnlab.mechanisms.context import Context, context_of
from attnlab.mechanisms.extremes import Extreme, extremes_of, refuse_beyond, refuse_nan
from attnlab.mechanisms.passes import at, run
from attnlab.mechanisms.plan import NONE, Call, fused, numbers, planned
from attnlab.mechanisms.primitive import on_boxes
from attnlab.mechanisms.program import Program, Step, program_of
from attnlab.mechanisms.pullback import leaves, pulled_whole, way_back
from attnlab.mechanisms.refusals import one_query_is_too_few, orders_disagree
from attnlab.mechanisms.streaming import by_keys, by_queries, keys_split
from attnlab.parts.aggregators import WeightedSum
from attnlab.shapes import broadcast_leading

__all__ = ["BLOCK", "BoundMechanism", "Params", "Parts"]

BLOCK = 2**19  # numbers: if a verb would form more at once, the call goes through queries, or keys, in blocks

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
        """(path in params, part) of each part that may have arrays to learn; the path names parts that share a kind."""
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
        The distribution whose kernels may answer.
    """

    parts: Parts
    backend: str = "auto"
    owners: tuple[tuple[tuple[str, ...], Any], ...] = field(init=False, repr=False)  # `parts.learning()`
    program: Program = field(init=False, repr=False)
    stateful: tuple[tuple[str, ...], ...] = field(init=False, repr=False)  # paths of the parts that remember
    extremes: tuple[Extreme, ...] = field(init=False, repr=False)  # settings of an unusual size
    _verbs: tuple[tuple[Step, Any], ...] = field(init=False, repr=False)  # each step with the part that has the verb
    _names: frozenset[str] = field(init=False, repr=False)  # of the verbs
    _plans: dict[Any, tuple[Call, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        listed = tuple(self.parts.learning())
        owners = dict(listed)
        program = program_of(tuple((path, type(part)) for path, part in listed))
        object.__setattr__(self, "owners", listed)
        verbs = tuple((step, owners[step.path] if step.path else None) for step in program.steps)
        object.__setattr__(self, "program", program)
        object.__setattr__(self, "stateful", tuple(s.path for s in program.steps if s.verb == "update"))
        object.__setattr__(self, "extremes", extremes_of(part for _, part in listed))
        object.__setattr__(self, "_verbs", verbs)
        object.__setattr__(self, "_names", frozenset(step.verb for step in program.steps))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # plans are made again, and may name a library that is not there

    # -- once for a whole data set ------------------------------------------------------------------------------------
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
        """Check shapes and combine masks; `Mechanism.weights` explains the arguments and errors. V may be None."""
        refuse_beyond(self.extremes, Q)
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
            later=True,
        )

    def kernels(self, dtype: Any = np.float32, library: str = "numpy") -> dict[str, str]:
        """What answers each verb, by role and verb: "reference", or `distribution:name` of a kernel.

        A kernel that computes everything from the scores to the contexts is listed as "attend". Where there are few queries and
        keys, the other kernels answer instead.
        """
        which = (library, np.dtype(dtype) if library == "numpy" else dtype, NONE)
        plan = (*self._plan(*which, "parts"), *self._plan(*which, "Y"))
        named = [(".".join(c.step.path) + "." + c.step.verb if c.step.path else c.step.verb, c) for c in plan]
        return {name: c.kernel or "reference" for name, c in named if c.part is not None}

    # -- which calls --------------------------------------------------------------------------------------------------
    def _plan(self, library: str, dtype: Any, wants: frozenset[str], end: str) -> tuple[Call, ...]:
        """The calls that lead to an end.

        The ends are "W", "Y", "S" (masked scores), "step" and "parts" (W and Y without a fused kernel). "aggregate" and
        "update" start from given weights.
        """
        key = (library, dtype, wants, end)
        if (found := self._plans.get(key)) is None:
            found = self._plans[key] = self._planned(library, str(dtype), wants, end)
        return found

    def _planned(self, library: str, dtype: str, wants: frozenset[str], end: str) -> tuple[Call, ...]:
        if end == "Y" and (whole := fused(self._verbs, library, dtype, wants, self.backend)) is not None:
            return whole
        verbs = self._verbs
        if end == "W":
            verbs = verbs[:-1]
        elif end == "S":
            verbs = verbs[: next(n for n, (step, _) in enumerate(verbs) if step.verb == "mask") + 1]
        elif end == "aggregate":
            verbs = verbs[-1:]
        elif end == "update":
            verbs = tuple(pair for pair in verbs if pair[0].verb == "update")
        return planned(verbs, library, dtype, wants, self.backend)

    def _calls(self, params: Params, slots: dict[str, Any], end: str) -> tuple[Call, ...]:
        """The calls for these arrays without gradients; where an array is one of autograd's boxes, the parts answer."""
        if self.stateful and _boxed(params, slots):
            return self._plan("", None, NONE, end)
        return self._plan(*_library(slots), NONE, end)

    def for_arrays(self, params: Params, *nouns: Any) -> BoundMechanism:
        """This mechanism if all arrays have one dtype; else one without kernels, whose parts promote dtypes as usual."""
        dtype = getattr(nouns[0], "dtype", None)
        alike = all(array.dtype == dtype for array in nouns[1:])
        if alike and all(getattr(array, "dtype", dtype) == dtype for _, array in leaves(params)):
            return self
        return BoundMechanism(self.parts, "reference")

    # -- values -------------------------------------------------------------------------------------------------------
    def weights(self, params: Params, Q: Any, K: Any, context: Context) -> Any:
        """W (..., q, k)."""
        if self.stateful:
            return self.in_steps(params, Q, K, context)[0]
        if 0 in context.shape:
            return namespace(Q, K).zeros(context.shape, dtype=Q.dtype)
        slots = {"Q": Q, "K": K}
        if _boxed(params, slots):
            return on_boxes(self, params, slots, context)
        calls = self._calls(params, slots, "W")
        if self._large(calls, slots, context):
            return self._by_queries(calls, params, slots, context, self.program.W)
        return self._run(calls, params, slots, context)[self.program.W]

    def attend(self, params: Params, Q: Any, K: Any, V: Any, context: Context) -> Any:
        """Y (..., q, v). Long inputs are computed in blocks of keys where possible, else in blocks of queries."""
        slots = {"Q": Q, "K": K, "V": V}
        if self.stateful and self.is_long(Q, K, context):
            return self.in_steps(params, Q, K, context, V=V)[0]
        if self.stateful or 0 in context.shape:
            return self.aggregate(params, self.weights(params, Q, K, context), V, Q, K, context)
        if _boxed(params, slots):
            return on_boxes(self, params, slots, context)
        calls = self._calls(params, slots, "Y")
        if calls[-1].step.verb == "attend":
            if _pairs(slots, context) >= calls[-1].fused.pairs[0]:  # a fused kernel bounds what it forms
                return self._run(calls, params, slots, context)[self.program.Y]
            calls = self._calls(params, slots, "parts")
        if not self._large(calls, slots, context):
            return self._run(calls, params, slots, context)[self.program.Y]
        scores = self._calls(params, slots, "S")
        if (
            type(self.parts.aggregator) is WeightedSum
            and "reweigh" not in self._names
            and context.content is None
            and keys_split(self.parts, scores)
        ):
            return self._sound(by_keys(scores, params, slots, context, self.parts.normaliser, BLOCK), params, slots)
        return self._by_queries(calls, params, slots, context, self.program.Y)

    def is_long(self, Q: Any, K: Any, context: Context) -> bool:
        """Whether weights are more numbers than a block has."""
        return _pairs({"Q": Q, "K": K}, context) > BLOCK

    def _large(self, calls: tuple[Call, ...], slots: Mapping[str, Any], context: Context) -> bool:
        """Whether a verb would form more numbers than a block has. Only NumPy's arrays are computed in blocks."""
        Q, K = slots["Q"], slots["K"]
        if not (isinstance(Q, np.ndarray) and isinstance(K, np.ndarray)):
            return False
        return _pairs(slots, context) * numbers(calls, K.shape[-2], K.shape[-1]) > BLOCK

    def _by_queries(self, calls: tuple[Call, ...], params: Params, slots: Any, context: Context, end: str) -> Any:
        couples, W = any(getattr(part, "couples_rows", False) for _, part in self.owners), self.program.W
        return self._sound(by_queries(calls, params, slots, context, W, end, BLOCK, couples), params, slots)

    def aggregate(self, params: Params, W: Any, V: Any, Q: Any, K: Any, context: Context) -> Any:
        """Y (..., q, v) of given weights; zeros where there is no key at all."""
        if W.shape[-1] == 0:
            lead = broadcast_leading(("W", tuple(W.shape[:-2])), ("V", tuple(V.shape[:-2])))
            size = 0 if self.parts.aggregator.over_keys else V.shape[-1]
            return namespace(W, V).zeros((*lead, W.shape[-2], size), dtype=V.dtype)
        slots = {"Q": Q, "K": K, "V": V, self.program.W: W}
        if _boxed(params, slots):
            return self._run(self._plan("", None, NONE, "aggregate"), params, slots, context)[self.program.Y]
        return self._run(self._calls(params, slots, "aggregate"), params, slots, context)[self.program.Y]

    def seen_through(self, params: Params, nouns: Mapping[str, Any], context: Context) -> Any:
        """Y, or W where `nouns` has no V. The parts themselves compute it, whatever the arrays are."""
        end, slot = ("Y", self.program.Y) if "V" in nouns else ("W", self.program.W)
        return self._run(self._plan("", None, NONE, end), params, dict(nouns), context)[slot]

    def _run(
        self, calls: tuple[Call, ...], params: Params, slots: dict[str, Any], context: Context, tape: Any = None
    ) -> dict[str, Any]:
        if not self.extremes:
            return run(calls, params, slots, context, self.program.W, tape)
        nouns, ends = dict(slots), (self.program.W, *calls[-1].step.writes)
        made = run(calls, params, slots, context, self.program.W, tape)
        refuse_nan(self.extremes, params, nouns, [made[name] for name in ends if name in made])
        return made

    def _sound(self, result: Any, params: Params, nouns: Mapping[str, Any]) -> Any:
        """The result, unless it holds NaN because of settings of an unusual size."""
        if self.extremes:
            refuse_nan(self.extremes, params, nouns, [result])
        return result

    def in_steps(
        self,
        params: Params,
        Q: Any,
        K: Any,
        context: Context,
        states: Mapping[str, Any] | None = None,
        V: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Query by query: (W (..., q, k), or Y (..., q, v) with values; what each part remembers at the end, by path).

        Raises
        ------
        Unsupported
            When a part needs the scores of all queries at once.
        """
        if why := orders_disagree(self.parts):
            raise Unsupported(why)
        states = self.initial_states(params, Q, K, context, states)
        rows = []
        for t in range(Q.shape[-2]):
            here = context if Q.shape[-2] == 1 else context.row(t)
            q = Q[..., t : t + 1, :]
            slots = {"Q": q, "K": K, **{f"state.{p}": state for p, state in states.items()}}
            if 0 in here.shape:
                slots[self.program.W] = W = namespace(Q, K).zeros(here.shape, dtype=Q.dtype)
                self._run(self._calls(params, slots, "update"), params, slots, here)
            else:
                W = self._run(self._calls(params, slots, "W"), params, slots, here)[self.program.W]
            states = {p: slots.get(f"next.{p}", state) for p, state in states.items()}
            rows.append(W if V is None else self.aggregate(params, W, V, q, K, here))
        if not rows:
            W = namespace(Q, K).zeros(context.shape, dtype=Q.dtype)
            return (W if V is None else self.aggregate(params, W, V, Q, K, context)), states
        return (rows[0] if len(rows) == 1 else namespace(rows[0]).concat(rows, axis=-2)), states

    def at_row(self, t: int) -> BoundMechanism:
        """The mechanism as the query at position t sees it: a mask array over all queries is reduced to row t.

        Raises
        ------
        Unsupported
            When a modifier or the normaliser needs the scores of other queries.
        """
        if why := one_query_is_too_few(self.parts):
            raise Unsupported(why)
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
                now[name] = call(owners[path], "initial_state", **facts, **at(params, path))
        return now

    # -- gradients ----------------------------------------------------------------------------------------------------
    def pull(self, params: Params, Q: Any, K: Any, V: Any, context: Context, wants: frozenset[str]) -> tuple[Any, Any]:
        """Values and their pullback, on NumPy arrays.

        Parameters
        ----------
        V : array (..., k, v), or None for the weights
        wants : the names among "Q", "K", "V" and "params" whose gradients will be needed

        Returns
        -------
        value : Y (..., q, v), or W (..., q, k) where V is None
        back : callable
            `back(g)` gives the gradients by name. Those of params are nested like params. It is valid until the params change.
        """
        if self.stateful or 0 in context.shape:
            return pulled_whole(self, params, Q, K, V, context, wants)
        slots, end = ({"Q": Q, "K": K}, "W") if V is None else ({"Q": Q, "K": K, "V": V}, "Y")
        tape: list[Any] = []
        calls = self._plan(*_library(slots), wants, end)
        if calls[-1].step.verb == "attend" and _pairs(slots, context) < calls[-1].fused.pairs[1]:
            calls = self._plan(*_library(slots), wants, "parts")
        value = self._run(calls, params, slots, context, tape)[self.program.W if V is None else self.program.Y]
        return value, lambda g: way_back(
            tape, slots, params, {self.program.W if V is None else self.program.Y: g}, wants
        )

    def prepared(self, params: Params, K: Any) -> tuple[Any, Any] | None:
        """What the scores compute from the keys once, for `pull_step`, and its pullback; None if they compute nothing.

        `back(g)` gives the gradient of the keys, "K", and those of learned arrays by (*path, name).
        """
        plan = self._plan(*_library({"Q": K}), frozenset({"K", "params"}), "step")
        score = next(call for call in plan if call.step.verb == "score")
        if score.prepare is None or score.step.reads["K"] != "K":
            return None
        own = at(params, score.step.path)
        asked = asks_for(score.prepare.__self__, "prepare")
        P, back = score.prepare(score.part, K, **{name: a for name, a in own.items() if name in asked})
        return P, lambda g: {n if n == "K" else (*score.step.path, n): one for n, one in back(g).items()}

    def pull_step(
        self,
        params: Params,
        Q: Any,
        K: Any,
        V: Any,
        states: Mapping[str, Any],
        context: Context,
        wants: frozenset[str],
        P: Any = None,
        inner: str = "",
    ) -> tuple[dict[str, Any], Any]:
        """One query and its pullback: ({"Y", "W", "next.<path>": what is remembered}, back), back(gradients by name).

        `back` also gives the gradients of the states, as "state.<path>", of P, which `prepared` made, and of the slot `inner`, such as
        that of the scores.
        """
        slots = {"Q": Q, "K": K, **({} if V is None else {"V": V})}
        if P is not None:
            slots["P"], wants = P, wants | {"P"}
        slots |= {f"state.{path}": state for path, state in states.items()}
        wants = wants | {f"state.{path}" for path in states}
        ends = {"W": self.program.W, **({} if V is None else {"Y": self.program.Y})}
        ends |= {f"next.{path}": f"next.{path}" for path in states}
        tape: list[Any] = []
        calls = self._plan(*_library(slots), wants, "W" if V is None else "step")
        self._run(calls, params, slots, context, tape)
        outs = {name: slots[slot] for name, slot in ends.items()}
        return outs, lambda g: way_back(tape, slots, params, {ends[name]: one for name, one in g.items()}, wants, inner)

    def reader(self, slot: str, dtype: Any) -> Any:
        """The only call of a step that reads a noun, if a kernel answers it and it asks for nothing of the context; else None."""
        calls = self._plan("numpy", dtype, frozenset({"K", "V", "params"}), "step")
        readers = [call for call in calls if slot in call.step.reads.values()]
        return readers[0] if len(readers) == 1 and readers[0].kernel and not readers[0].asks else None


def _boxed(params: Params, slots: Mapping[str, Any]) -> bool:
    """Whether some array is one of autograd's boxes."""
    return any(isbox(array) for _, array in leaves(slots)) or any(isbox(array) for _, array in leaves(params))


def _pairs(slots: Mapping[str, Any], context: Context) -> int:
    """How many scores there are."""
    front, Q, K = context.shape[:-2], slots["Q"], slots["K"]
    if Q.shape[:-2] != front or K.shape[:-2] != front:
        front = np.broadcast_shapes(Q.shape[:-2], K.shape[:-2], front)
    return math.prod(front) * context.shape[-2] * context.shape[-1]


def _library(slots: Mapping[str, Any]) -> tuple[str, Any]:
    """(library, dtype) for which kernels are chosen; ("", None) where no kernel may answer."""
    Q = slots["Q"]
    if type(Q) is np.ndarray:
        return "numpy", Q.dtype
    name = type(Q).__module__.partition(".")[0]
    return ("jax" if name.startswith("jax") else name if name == "torch" else ""), getattr(Q, "dtype", None)


def _row(mask: Any, t: int) -> Any:
    """Row t of a mask array over all queries."""
    if isinstance(mask, Mask) or mask.ndim < 2 or mask.shape[-2] == 1:
        return mask
    if t >= mask.shape[-2]:
        raise ShapeError(f"step {t} is outside the mechanism's mask (..., q, k) = {tuple(mask.shape)}")
    return mask[..., t : t + 1, :]
