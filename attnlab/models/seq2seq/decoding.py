"""Decoding: the likeliest next token each time (greedy), or the likeliest few beginnings (beam search)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.models.seq2seq.vocabulary import PAD, START, STOP, UNKNOWN

__all__ = ["beam_search", "greedy"]

Array = np.ndarray[Any, Any]
# (tokens int (n,), state, t) -> (scores of the next token (n, v), state); a state is a tree of arrays with one row a sentence
Step = Callable[[Array, Any, int], tuple[Array, Any]]


def greedy(step: Step, state: Any, limits: Array) -> Array:
    """The likeliest token at each step, until the stop or the sentence's limit: ids (n, most tokens), STOP after the end."""
    out = np.full((len(limits), int(limits.max(initial=0))), STOP)
    rows = np.arange(len(limits))
    tokens, going = np.full(len(limits), START), limits > 0
    for t in range(out.shape[1]):
        scores, state = step(tokens, state, t)
        tokens = _allowed(scores).argmax(axis=1)
        going &= tokens != STOP
        out[rows[going], t] = tokens[going]
        going &= t + 1 < limits[rows]
        if not going.any():
            break
        if going.mean() < 0.5:  # drop the sentences that have ended
            rows, tokens, state, going = rows[going], tokens[going], picked(state, np.flatnonzero(going)), going[going]
    return out


def beam_search(step: Step, state: Any, limits: Array, width: int) -> Array:
    """Beam search: each step keeps the `width` likeliest beginnings, by log-probability; ids as `greedy` gives them.

    If `width` covers all sentences, it finds the likeliest one within the limit. A sentence that reaches its limit ends
    there.

    References
    ----------
    Graves (2012), section 2.5; Sutskever, Vinyals, Le (2014), section 3.2.
    """
    n, steps = len(limits), int(limits.max(initial=0))
    out = np.full((n, width, steps), STOP)
    total = np.full((n, width), -np.inf)
    total[:, 0] = 0.0
    ended = np.zeros((n, width), dtype=bool)
    tokens = np.full(n * width, START)
    state = picked(state, np.repeat(np.arange(n), width))
    for t in range(steps):
        scores, state = step(tokens, state, t)
        logp = _log_softmax(_allowed(scores)).reshape(n, width, -1)
        v = logp.shape[2]
        logp[ended] = -np.inf
        logp[ended, STOP] = 0.0  # a sentence that has ended does not change
        candidates = (total[:, :, None] + logp).reshape(n, width * v)
        best = np.argsort(-candidates, axis=1, kind="stable")[:, :width]
        origin, chosen = best // v, best % v
        total = np.take_along_axis(candidates, best, axis=1)
        out = np.take_along_axis(out, origin[:, :, None], axis=1)
        out[:, :, t] = chosen
        ended = np.take_along_axis(ended, origin, axis=1) | (chosen == STOP) | (t + 1 >= limits)[:, None]
        if ended.all():
            break
        tokens = chosen.ravel()
        state = picked(state, (np.arange(n)[:, None] * width + origin).ravel())
    return out[:, 0] if n else out.reshape(0, steps)


def picked(state: Any, rows: Array) -> Any:
    """Some rows of every array of a tree of dicts, lists and tuples."""
    if isinstance(state, np.ndarray):
        return state[rows]
    if isinstance(state, dict):
        return {name: picked(value, rows) for name, value in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(picked(value, rows) for value in state))
    if isinstance(state, (list, tuple)):
        return type(state)(picked(value, rows) for value in state)
    return state


def _allowed(scores: Array) -> Array:
    """The scores without the tokens that are never predicted: padding, start, and the unknown token."""
    scores = np.array(scores)
    scores[:, [PAD, START, UNKNOWN]] = -np.inf
    return scores


def _log_softmax(scores: Array) -> Array:
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
