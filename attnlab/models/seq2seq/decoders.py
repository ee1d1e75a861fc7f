"""Decoders: a recurrent state attends to the encoder's states H, before each step, after it, or once for all.

They are the reference and use `Mechanism.step` and `Mechanism.attend`. `attnlab.kernels.decoder.FastPreviousState` is the
fast twin of `PreviousState` for the usual mechanisms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import namespace
from attnlab.models.seq2seq.recurrence import Gru

__all__ = ["CurrentState", "FixedContext", "Memory", "PreviousState"]

Params = dict[str, Any]


class Memory(NamedTuple):
    """What a decoder attends to, and the state that it keeps from step to step.

    H (n, m, d): the encoder's states; mask (n, m): True where there is one; summary (n, d): all of H in one vector;
    lengths (n, 2): true numbers of queries and keys; state: what the decoder needs at the next step, None at the first.
    """

    H: Any
    mask: Any
    summary: Any
    lengths: Any
    state: Any = None


class PreviousState:
    """Attend with the state before the step: c_t = attend(s_{t-1}, H), s_t = GRU([e_t; c_t], s_{t-1}).

    This is Bahdanau's decoder, with a_tj from F(h_j, s_{t-1}). Learned: "gru", with inputs of d_input + d features, and
    "mechanism".

    Parameters
    ----------
    mechanism : Mechanism
    gru : Gru, or its fast twin
    backend : "auto", "reference" or a distribution
        The distribution whose kernels may answer for the parts of the mechanism.

    References
    ----------
    Bahdanau, Cho, Bengio (2015), section 3.1.
    """

    def __init__(self, mechanism: Any, gru: Any = None, backend: str = "auto") -> None:
        self.mechanism = mechanism
        self.bound = mechanism.bind(backend)
        self.gru = Gru() if gru is None else gru

    def init(self, rng: np.random.Generator, d_input: int, d_hidden: int, d: int) -> Params:
        """Arrays to learn, for inputs (d_input), states (d_hidden) and encoder states (d)."""
        return {
            "gru": self.gru.init(rng, d_input + d, d_hidden),
            "mechanism": self.mechanism.init(rng, d_hidden, d, d),
        }

    def step(
        self, params: Params, e: Any, s: Any, memory: Memory, t: int, **context: Any
    ) -> tuple[Any, Any, Any, Memory]:
        """One step from input e (n, d_input) and state s (n, h): (the new state, the context (n, d), W (n, m), memory)."""
        xp = namespace(e, s, memory.H)
        c, W, memory = _look(self.bound, params, s, memory, t, context)
        return self.gru.step(xp.concat([e, c], axis=-1), s, **params["gru"]), c, W, memory

    def run(self, params: Params, E: Any, start: Any, memory: Memory, **context: Any) -> tuple[Any, Any]:
        """All steps: inputs E (n, T, d_input) and the first state (n, h) -> states with contexts (n, T, h + d), W (n, T, m)."""
        return _unroll(self, params, E, start, memory, context)


class CurrentState:
    """Attend with the state after the step: s_t = GRU(e_t, s_{t-1}), c_t = attend(s_t, H).

    This is Luong's decoder without input feeding. The context goes to the read-out alone, so all steps can attend at once.
    Learned: "gru" and "mechanism". Parameters, `init`, `step` and `run` are those of `PreviousState`. In training, `run` gives
    weights only if `weigh` asks for them, else None.

    References
    ----------
    Luong, Pham, Manning (2015), section 3.
    """

    def __init__(self, mechanism: Any, gru: Any = None, weigh: bool = False, backend: str = "auto") -> None:
        self.mechanism = mechanism
        self.bound = mechanism.bind(backend)
        self.gru = Gru() if gru is None else gru
        self.weigh = weigh

    def init(self, rng: np.random.Generator, d_input: int, d_hidden: int, d: int) -> Params:
        return {"gru": self.gru.init(rng, d_input, d_hidden), "mechanism": self.mechanism.init(rng, d_hidden, d, d)}

    def step(
        self, params: Params, e: Any, s: Any, memory: Memory, t: int, **context: Any
    ) -> tuple[Any, Any, Any, Memory]:
        s = self.gru.step(e, s, **params["gru"])
        c, W, memory = _look(self.bound, params, s, memory, t, context)
        return s, c, W, memory

    def run(self, params: Params, E: Any, start: Any, memory: Memory, **context: Any) -> tuple[Any, Any]:
        xp = namespace(E, start, memory.H)
        S = self.gru.run(E, start, None, **params["gru"])
        mask = None if memory.mask is None else memory.mask[:, None, :]
        context = {"lengths": memory.lengths, **context}
        learned = params["mechanism"]
        if getattr(self.mechanism, "is_stateful", False):  # weights and contexts in one pass, step by step
            contexts, weights, state = [], [], memory.state
            for t in range(E.shape[1]):
                q = S[:, t : t + 1]
                c, W, state = self.bound.step(learned, q, memory.H, memory.H, state, t, mask, **context)
                contexts.append(c)
                weights.append(W)
            return xp.concat([S, xp.concat(contexts, axis=1)], axis=-1), xp.concat(weights, axis=1)
        here = self.bound.context(S, memory.H, memory.H, mask, **context)
        C = self.bound.attend(learned, S, memory.H, memory.H, here)
        if context.get("training") and not self.weigh:
            return xp.concat([S, C], axis=-1), None
        return xp.concat([S, C], axis=-1), self.bound.weights(learned, S, memory.H, here)


class FixedContext:
    """No attention: the same context at each step, s_t = GRU([e_t; C], s_{t-1}), C the summary of all encoder states.

    This is Cho's decoder. It prefers no encoder state, so its weights are uniform. `init`, `step` and `run` are those of
    `PreviousState`.

    References
    ----------
    Cho et al. (2014), section 2.2; Sutskever, Vinyals, Le (2014).
    """

    def __init__(self, gru: Any = None) -> None:
        self.gru = Gru() if gru is None else gru

    def init(self, rng: np.random.Generator, d_input: int, d_hidden: int, d: int) -> Params:
        return {"gru": self.gru.init(rng, d_input + d, d_hidden)}

    def step(
        self, params: Params, e: Any, s: Any, memory: Memory, t: int, **context: Any
    ) -> tuple[Any, Any, Any, Memory]:
        xp = namespace(e, s, memory.summary)
        s = self.gru.step(xp.concat([e, memory.summary], axis=-1), s, **params["gru"])
        return s, memory.summary, _uniform(memory), memory

    def run(self, params: Params, E: Any, start: Any, memory: Memory, **context: Any) -> tuple[Any, Any]:
        xp = namespace(E, start, memory.summary)
        n, T = E.shape[:2]
        C = xp.broadcast_to(memory.summary[:, None, :], (n, T, memory.summary.shape[-1]))
        S = self.gru.run(xp.concat([E, C], axis=-1), start, None, **params["gru"])
        W = _uniform(memory)
        return xp.concat([S, C], axis=-1), np.broadcast_to(W[:, None, :], (n, T, W.shape[-1]))


def _look(bound: Any, params: Params, s: Any, memory: Memory, t: int, context: Any) -> tuple[Any, Any, Memory]:
    """The bound mechanism's step t with the one query s (n, h)."""
    mask = None if memory.mask is None else memory.mask[:, None, :]
    H, learned, Q = memory.H, params["mechanism"], s[:, None, :]
    c, W, state = bound.step(learned, Q, H, H, memory.state, t, mask, **{"lengths": memory.lengths, **context})
    return c[:, 0], W[:, 0], memory._replace(state=state)


def _unroll(decoder: Any, params: Params, E: Any, s: Any, memory: Memory, context: Any) -> tuple[Any, Any]:
    xp = namespace(E, s, memory.H)
    outputs, weights = [], []
    for t in range(E.shape[1]):
        s, c, W, memory = decoder.step(params, E[:, t], s, memory, t, **context)
        outputs.append(xp.concat([s, c], axis=-1))
        weights.append(W)
    return xp.stack(outputs, axis=1), xp.stack(weights, axis=1)


def _uniform(memory: Memory) -> Any:
    n, m = memory.H.shape[:2]
    there = np.ones((n, m), dtype=bool) if memory.mask is None else memory.mask
    return there / np.maximum(there.sum(axis=1, keepdims=True), 1)
