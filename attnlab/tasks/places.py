"""Sequences in which some places ask about the places before them: what the tasks of that form share.

A sequence of k places is queries and keys at once, q = k. A place that does not ask is padding as a query: it may attend to
nothing. A place that asks may attend to the places before it, and where the task says so to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.tasks.drawn import Array

__all__ = ["chance_at", "needs_tokens", "of_lengths", "sequence", "to_the_one_before"]


def sequence(
    X: Array,
    V: Array,
    asked: Array,
    links: Array,
    target: Array,
    itself: bool = False,
    Q: Array | None = None,
    ids: Array | None = None,
    by_layer: Array | None = None,
    inputs: Array | None = None,
    possible: Array | None = None,
) -> AlignmentData:
    """Sequences as examples.

    Parameters
    ----------
    X : array (n, k, d)
        What a place holds: its key, and its query where Q is not given.
    V : array (n, k, v)
        Values.
    asked : bool array (n, k)
        The places that ask.
    links : array (n, k, k)
        What each place should attend to, 0/1 or a distribution; rows of places that do not ask are ignored.
    target : int array (n, k) or float array (n, k, v)
        What each place should get; 0 where it does not ask.
    itself : bool
        Whether a place may attend to itself.
    Q : array (n, k, d) or None
        Queries.
    ids : int array (n, k) or None
        The tokens, for models that read sequences.
    by_layer : array (n, s, k, k) or None
        Where each layer of a known solution attends.
    inputs : array (n, k, f) or None
        Numbers beside the tokens.
    possible : bool array (n, k, k) or None
        Possible links.
    """
    before = np.tri(X.shape[1], k=0 if itself else -1, dtype=bool)
    gold = links * asked[:, :, None]
    gold = gold / np.maximum(gold.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
    return AlignmentData(
        X if Q is None else Q,
        X,
        V,
        mask=before & asked[:, :, None],
        gold=gold,
        target=target * (asked if target.ndim == 2 else asked[:, :, None]),
        possible=possible,
        ids=ids,
        inputs=inputs,
        gold_by_layer=by_layer,
    )


def to_the_one_before(n: int, k: int) -> Array:
    """bool (n, 1, k, k): the link from each place to the one before it, as a first layer of many known solutions."""
    return np.broadcast_to(np.eye(k, k=-1, dtype=bool), (n, 1, k, k))


def chance_at(asked: Array, allowed: Array, links: float | Array = 1) -> float:
    """How often a guess is right: places ask with the probabilities `asked`, among `allowed` keys, of which `links` are gold."""
    there = allowed > 0
    asked, allowed, links = (np.broadcast_to(a, there.shape)[there] for a in (asked, allowed, links))
    return float((asked * links / allowed).sum() / asked.sum())


def of_lengths(longer: Sequence[int]) -> dict[str, dict[str, int]]:
    """Test conditions of these lengths: what `draw` gets for each, by name, "n=64" for 64."""
    return {f"n={length}": {"length": length} for length in longer}


def needs_tokens(task: Any) -> None:
    """Refuse `every_token` where a task has not the layout tokens."""
    if task.every_token and task.layout != "tokens":
        raise SettingError(
            f"task {task.name!r}: every_token is a setting of layout='tokens'; got True with layout={task.layout!r}"
        )
