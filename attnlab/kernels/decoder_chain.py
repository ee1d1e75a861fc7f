"""The decoder that attends before each step, as one function with a pullback, for any mechanism made of parts.

At each step the bound mechanism takes a step with a pullback (`BoundMechanism.pull_step`), so that the kernels of its parts
answer here too. What the scores compute from the encoder's states is computed once.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from autograd.extend import defvjp_argnums, primitive

from attnlab.interfaces import Kernel, Source
from attnlab.mechanisms.allowed import by_content
from attnlab.mechanisms.bound import BoundMechanism
from attnlab.mechanisms.pullback import leaves, pulled, rebuilt, unbroadcast
from attnlab.models.seq2seq.decoders import Memory, PreviousState
from attnlab.parts.aggregators import WeightedSum

__all__ = ["ChainedPreviousState"]

Array = np.ndarray[Any, Any]
ONE_BY_ONE = frozenset({"Q", "K", "V", "params"})


class ChainedPreviousState(Kernel):
    """The decoder that attends before each step, with a hand-written pullback, for any mechanism made of parts.

    It replaces `PreviousState`: `init`, `step` and `run` give the same values and gradients, for NumPy arrays. It has no second
    derivative.

    Parameters
    ----------
    mechanism : Mechanism for which `fits` is True
    cell : the recurrent unit; one that has `pull(x, s, **params) -> (s', back)` is faster
    weigh : bool
        Whether the weights have gradients too.

    References
    ----------
    Bahdanau, Cho, Bengio (2015), section 3.1; Werbos (1990), backpropagation through time.

    Examples
    --------
    >>> import attnlab
    >>> ChainedPreviousState.fits(attnlab.Mechanism("cosine", "sparsemax"))
    True
    """

    name = "previous_state_chained"
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )
    replaces = PreviousState

    def __init__(self, mechanism: Any, cell: Any = None, weigh: bool = False) -> None:
        self.mechanism = mechanism
        self.cell = cell
        self.weigh = weigh

    @functools.cached_property
    def reference(self) -> PreviousState:
        """What it replaces."""
        return PreviousState(self.mechanism, self.cell)

    @property
    def gru(self) -> Any:
        return self.reference.gru

    @staticmethod
    def fits(mechanism: Any) -> bool:
        """Whether it handles this mechanism: one that is made of parts, and whose masks are rules about positions."""
        bound = mechanism.bind()
        if not isinstance(bound, BoundMechanism):
            return False
        return not any(hasattr(mask, "dtype") or by_content(mask) for mask in bound.parts.masks)

    def init(self, rng: np.random.Generator, d_input: int, d_hidden: int, d: int) -> Any:
        return self.reference.init(rng, d_input, d_hidden, d)

    def step(self, params: Any, e: Any, s: Any, memory: Memory, t: int, **context: Any) -> Any:
        """One step without gradient; see `PreviousState.step`."""
        return self.reference.step(params, e, s, memory, t, **context)

    def run(self, params: Any, E: Any, start: Any, memory: Memory, **context: Any) -> tuple[Any, Any]:
        """All steps; see `PreviousState.run`."""
        mask = None if memory.mask is None or memory.mask.all() else memory.mask
        given = {"lengths": memory.lengths, **context}
        learned = dict(leaves(params))
        walk = _Walk(self.reference.bound, self.gru, params, tuple(learned), mask, given, self.weigh)
        out = _walked(walk, E, start, memory.H, *learned.values())
        m = memory.H.shape[1]
        if self.weigh:
            return out[..., :-m], out[..., -m:]
        return out, walk.W


class _Walk:
    """The arguments of one pass over a sequence, and what the pass keeps for the pullback."""

    def __init__(
        self,
        bound: BoundMechanism,
        cell: Any,
        params: Mapping[str, Any],
        paths: tuple[tuple[str, ...], ...],
        mask: Any,
        given: Mapping[str, Any],
        weigh: bool,
    ) -> None:
        self.bound, self.cell, self.params, self.paths = bound, cell, params, paths
        self.mask, self.given, self.weigh = mask, given, weigh
        self.W: Any = None
        self.steps: list[Any] = []
        self.of_keys: Any = None
        self.scored: Any = None  # scores the queries of all steps at once, on the way back
        self.queries: Any = None
        self.later: Any = [] if getattr(cell, "linear_before_reset", False) and hasattr(cell, "summed") else None
        self.sums_values = False  # those of the values are one product, too

    def forward(self, E: Array, s: Array, H: Array, *flat: Any) -> Array:
        params = rebuilt(self.params, dict(zip(self.paths, flat, strict=True)))
        learned, bound = params["mechanism"], self.bound
        (n, T), m = E.shape[:2], H.shape[1]
        queries = np.broadcast_to(s[:, None, :], (n, T, s.shape[1]))
        mask = None if self.mask is None else self.mask[:, None, :]
        whole = bound.at_row(0).context(queries, H, H, mask, **self.given)
        states = bound.initial_states(learned, queries[:, :1], H, whole.row(0)) if T else {}
        prepared = bound.prepared(learned, H)
        P, self.of_keys = prepared if prepared is not None else (None, None)
        out = np.empty((n, T, s.shape[1] + H.shape[2] + (m if self.weigh else 0)), dtype=H.dtype)
        self.W = np.empty((n, T, m), dtype=H.dtype)
        self.steps = []
        h, d = s.shape[1], H.shape[2]
        wants = self._postponed(learned, H, prepared is None and not states) if s.dtype == H.dtype else ONE_BY_ONE
        inner = "" if self.scored is None else self.scored.step.writes[0]
        self.queries = np.empty((n, T, h), dtype=s.dtype)
        for t in range(T):
            self.queries[:, t] = s
            outs, looked = bound.pull_step(learned, s[:, None, :], H, H, states, whole.row(t), wants, P, inner)
            states = {path: outs[f"next.{path}"] for path in states}
            c, self.W[:, t] = outs["Y"][:, 0], outs["W"][:, 0]
            s, stepped = _pull(self.cell, np.concatenate([E[:, t], c], axis=1), s, params["gru"], self.later)
            self.steps.append((looked, stepped))
            out[:, t, :h], out[:, t, h : h + d] = s, c
        if self.weigh:
            out[..., h + d :] = self.W
        return out

    def _postponed(self, learned: Any, H: Array, once: bool) -> frozenset[str]:
        """Choose what is left for the end of the way back, where all steps are one product; returns what each step gives.

        `once` says whether the scores of all steps can be made again at little cost.
        """
        keys, values = (self.bound.reader(noun, H.dtype) for noun in ("K", "V"))
        self.sums_values = values is not None and type(values.part) is WeightedSum
        alone = all(path[0] == "similarity" for path, _ in leaves(learned))
        if once and alone and keys is not None and keys.step.verb == "score":
            self.scored = keys
        wants = ONE_BY_ONE if self.scored is None else frozenset({"Q", "V"})
        return wants - {"V"} if self.sums_values else wants

    def backward(self, g: Array, E: Array, start: Array, H: Array, flat: tuple[Any, ...]) -> list[Any]:
        """The gradients of E, start, H and the learned arrays, in this order."""
        h, d, e = start.shape[1], H.shape[2], E.shape[2]
        dE, dH = np.empty_like(E), np.zeros_like(H)
        if self.later is not None:
            self.later.clear()
        dP: Any = None
        ds = np.zeros_like(start)
        sums: dict[tuple[str, ...], Any] = {}
        carried: dict[str, Any] = {}
        dC = np.empty((*g.shape[:2], d), dtype=g.dtype)
        dS = None if self.scored is None else np.zeros(self.W.shape, dtype=H.dtype)
        for t in range(len(self.steps) - 1, -1, -1):
            looked, stepped = self.steps[t]
            found = stepped(ds + g[:, t, :h])
            dE[:, t] = found["x"][:, :e]
            for name, one in found["params"].items():
                _add(sums, ("gru", name), one)
            np.add(found["x"][:, e:], g[:, t, h : h + d], out=dC[:, t])
            ends = {"Y": dC[:, t : t + 1], **carried}
            if self.weigh:
                ends["W"] = g[:, t, h + d :][:, None, :]
            seen = looked(ends)
            ds = found["s"] + seen["Q"][:, 0]
            if not self.sums_values:
                dH += seen["V"]
            if dS is not None:
                if (one := seen.get(self.scored.step.writes[0])) is not None:
                    dS[:, t] = one[:, 0]
                continue
            dH += seen["K"]
            if self.of_keys is not None and "P" in seen:
                dP = seen["P"] if dP is None else dP + seen["P"]
            for path, one in leaves(seen["params"]):
                _add(sums, ("mechanism", *path), one)
            carried = {f"next.{name[6:]}": one for name, one in seen.items() if name.startswith("state.")}
        if self.sums_values:
            dH += np.matmul(self.W.swapaxes(-1, -2), dC)
        if dS is not None and self.steps:
            self._of_scores(dS, flat, H, dH, sums)
        for name, one in self.cell.summed(self.later).items() if self.later else ():
            _add(sums, ("gru", name), one)
        if self.of_keys is not None and dP is not None:
            for name, one in self.of_keys(dP).items():
                if name == "K":
                    dH += one
                else:
                    _add(sums, ("mechanism", *name), one)
        learned = [sums.get(path, np.zeros_like(a)) for path, a in zip(self.paths, flat, strict=True)]
        return [dE, ds, dH, *(one.astype(a.dtype, copy=False) for one, a in zip(learned, flat, strict=True))]

    def _of_scores(self, dS: Array, flat: tuple[Any, ...], H: Array, dH: Array, sums: dict[Any, Any]) -> None:
        """Add the gradients of keys and learned arrays through the scores of all steps."""
        call, own = self.scored, dict(zip(self.paths, flat, strict=True))
        at = ("mechanism", *call.step.path)
        learned = {name: own[(*at, name)] for name in call.learned if (*at, name) in own}
        wants = {"wants": frozenset({"K", *learned})} if call.told else {}
        nouns = {"Q": self.queries, "K": H}
        arguments = {argument: nouns[slot] for argument, slot in call.reads}
        _, back = call.verb(call.part, **arguments, **learned, **wants)
        for name, one in back(dS).items():
            if call.step.reads.get(name) == "K":
                dH += unbroadcast(one, H)
            elif name in learned:
                _add(sums, (*at, name), unbroadcast(one, learned[name]))


def _add(sums: dict[tuple[str, ...], Any], name: tuple[str, ...], one: Any) -> None:
    sums[name] = sums[name] + one if name in sums else one


def _pull(cell: Any, x: Array, s: Array, learned: Mapping[str, Any], later: Any) -> tuple[Array, Any]:
    """The cell's step with its pullback, {"x", "s", "params"}: the cell's own, or autograd's."""
    if later is not None:
        lazily: tuple[Array, Any] = cell.pull(x, s, **learned, later=later)
        return lazily
    if hasattr(cell, "pull"):
        found: tuple[Array, Any] = cell.pull(x, s, **learned)
        return found
    after, back = pulled(cell.step, {"x": x, "s": s, **learned})

    def named(g: Any) -> dict[str, Any]:
        found = back(g)
        return {"x": found["x"], "s": found["s"], "params": {n: found[n] for n in learned if n in found}}

    return after, named


@primitive
def _walked(walk: _Walk, E: Array, start: Array, H: Array, *flat: Any) -> Array:
    return walk.forward(E, start, H, *flat)


def _vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    walk, E, start, H, *flat = args

    def back(g: Any) -> list[Any]:
        found = walk.backward(g, E, start, H, tuple(flat))
        return [found[a - 1] for a in argnums]

    return back


defvjp_argnums(_walked, _vjps)
