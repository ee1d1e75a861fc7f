"""What estimators do with examples: chunks, held-out examples, targets as vectors, the share of right alignments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.data import AlignmentData

__all__ = [
    "Examples",
    "alignment_data",
    "chunks",
    "held_out",
    "readable",
    "rows_to_one",
    "top_gold",
    "true_lengths",
    "vectors",
    "with_target",
]


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples in the form that training uses: what does not change between steps is made once, then cut by batch.

    Attributes
    ----------
    Q, K, V : arrays (n, q, d), (n, k, d), (n, k, v)
    target : array (n, q, v) of vectors, or (n, q, k) of gold rows that sum to one
    alive : float array (n, q, 1), 1 where a query may attend to something
    context : Context
    """

    Q: Any
    K: Any
    V: Any
    target: Any
    alive: Any
    context: Any

    def pick(self, rows: Any) -> Examples:
        """Some of the examples, by an array of indices."""
        n, context = len(self.Q), self.context
        alive = self.alive[: len(rows)] if context.all_alive else self.alive.take(rows, 0)
        Q, K, V, target = self.Q.take(rows, 0), self.K.take(rows, 0), self.V.take(rows, 0), self.target.take(rows, 0)
        return Examples(Q, K, V, target, alive, context.pick(rows, n))

    def at(self, rows: Any) -> Examples:
        """Some of the examples, whose arrays are another library's, by an array of indices of that library."""
        Q, K, V, target, alive = (array[rows] for array in (self.Q, self.K, self.V, self.target, self.alive))
        return Examples(Q, K, V, target, alive, self.context.pick(rows, len(self.Q)))


CHUNK = 2**21  # weights: align and predict process the examples in chunks of at most this many


def alignment_data(X: Any, y: Any = None) -> AlignmentData:
    if not isinstance(X, AlignmentData):
        raise TypeError(
            f"X must be attnlab.AlignmentData; got {type(X).__name__}. Make one: AlignmentData(Q, K, V, target=target)"
        )
    if y is None:
        return X
    return with_target(X, y)


def with_target(X: AlignmentData, y: Any) -> AlignmentData:
    """The same examples with another target."""
    return AlignmentData(X.Q, X.K, X.V, X.mask, X.gold, y, X.possible, X.tokens, X.ids, X.inputs, X.gold_by_layer)


def readable(X: AlignmentData, *names: str) -> AlignmentData:
    """`X.finite(*names)`; where all numbers are finite, the sum of their squares mostly says so, in one pass."""
    odd = [name for name in names if getattr(X, name) is not None and not _all_finite(getattr(X, name))]
    return X.finite(*odd) if odd else X


def _all_finite(array: Any) -> bool:
    if array.dtype.kind != "f" or not array.flags.c_contiguous:
        return False
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(flat.dot(flat)))


def held_out(X: AlignmentData, held: int, rng: Any) -> tuple[AlignmentData, AlignmentData]:
    """(the examples to learn from, the given number of other examples held out at random)."""
    order = rng.permutation(len(X))
    return X[order[held:]], X[order[:held]]


def chunks(X: AlignmentData) -> Any:
    size = max(1, CHUNK // max(1, X.n_queries * X.n_keys))
    return [X] if len(X) <= size else [X[i : i + size] for i in range(0, len(X), size)]


def vectors(X: AlignmentData) -> Any:
    """The targets as vectors; classes become one-hot."""
    target = np.asarray(X.target)
    return np.eye(X.V.shape[2], dtype=X.Q.dtype)[target] if X.is_classification else target


def true_lengths(X: AlignmentData) -> Any:
    """True numbers of queries and keys, (n, 2): up to the last query, and the last key, that the mask allows."""
    if X.mask is None:
        return None
    there = [X.mask.any(axis=axis) for axis in (2, 1)]
    return np.stack([(t * np.arange(1, t.shape[1] + 1)).max(axis=1, initial=0) for t in there], axis=-1)


def rows_to_one(gold: Any, dtype: Any) -> Any:
    gold = np.asarray(gold, dtype=dtype)
    total = gold.sum(axis=-1, keepdims=True)
    return gold / np.where(total > 0, total, 1)


def top_gold(W: Any, X: AlignmentData) -> float:
    """Among queries with gold links, the share whose heaviest key is one of the linked keys."""
    gold = np.asarray(X.gold) > 0
    asked = gold.any(axis=-1) & X.alive
    if not asked.any():
        return float("nan")
    best = np.take_along_axis(gold, W.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return float(best[asked].mean())
