"""Attention over training rows: placing and weighing rows, predicting, and learning the metric."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf_shrinkage, shrunk_covariance

from attnlab.arrays import detach, namespace
from attnlab.kernels.similarities import FastNegL2
from attnlab.mechanisms.bound import BoundMechanism
from attnlab.models.stopping import Stopping
from attnlab.models.training import Fitted, cast, minibatches, minimise_adam

__all__ = ["BLOCK", "Memory", "learn", "project", "start_projection"]

BLOCK = 2**22  # the most numbers in an array that a block of queries and keys forms
KEYS = 4096  # training rows that one learning step may attend to
LOOKED_AT = 512  # validation rows that one look uses

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Memory:
    """Rows X (n, d) with values V (n, v), measured from their mean, and sample weights w (n,), or None for ones."""

    bound: BoundMechanism
    X: Array
    V: Array
    w: Array | None

    @property
    def counts(self) -> Array:
        """The sample weights; ones if there are none."""
        return np.ones(len(self.X), dtype=self.X.dtype) if self.w is None else self.w

    def weights(self, params: Any, Q: Any, K: Any, w: Any, mask: Any = None, **given: Any) -> tuple[Any, Any]:
        """W (q, k) of placed queries over placed keys with sample weights w, and the engine's context.

        Sample weights multiply the weights of a row, which keeps its sum. If the weights of a row sum to more than one, they
        are scaled to one.
        """
        context = self.bound.context(Q, K, None, mask, rng=given.get("rng"), training=given.get("training", False))
        W = self.bound.weights(params["mechanism"], Q, K, context)
        xp = namespace(W)
        if w is not None:
            total, W = xp.sum(W, axis=-1, keepdims=True), W * w
            weighted = xp.sum(W, axis=-1, keepdims=True)
            some = detach(weighted) > 0
            W = W * xp.where(some, total / xp.where(some, weighted, xp.ones_like(detach(weighted))), total)
        if not self.bound.parts.normaliser.rows_sum_to_one:
            W = W / xp.maximum(xp.sum(W, axis=-1, keepdims=True), xp.ones_like(detach(W)[..., :1]))
        return W, context

    def answer(self, params: Any, Q: Any, K: Any, V: Any, w: Any, mask: Any = None, **given: Any) -> Any:
        """Y (q, v), measured from the mean of the values. If a row of weights sums to less than 1, the rest goes there."""
        W, context = self.weights(params, Q, K, w, mask, **given)
        return self.bound.aggregate(params["mechanism"], W, V, Q, K, context)

    def blocks(self, n_queries: int, n_keys: int, width: int) -> Iterator[slice]:
        """The queries, a few at a time, so that memory does not grow with q k (or q k d, if the similarity forms it)."""
        rows = max(1, BLOCK // max(1, n_keys * self.numbers(width)))
        return (slice(start, start + rows) for start in range(0, n_queries, rows))

    def numbers(self, width: int) -> int:
        """How many numbers the similarity may form for each pair: d, unless it is known to need only one."""
        return 1 if isinstance(self.bound.parts.similarity, FastNegL2) else max(1, width)


# --------------------------------------------------------------------------------------------------------------------
# projections
# --------------------------------------------------------------------------------------------------------------------
def start_projection(kind: str | int | None, memory: Memory) -> dict[str, Array]:
    """What is learned of the metric, before learning: nothing, log scales of zero, or directions (d, width).

    The directions are the discriminant ones if the targets give enough of them, and else the principal ones.
    """
    if kind is None:
        return {}
    if kind == "scale":
        return {"log_scale": np.zeros(())}
    if kind == "diagonal":
        return {"log_scale": np.zeros(memory.X.shape[1])}
    width = min(int(kind), memory.X.shape[1])
    root = np.sqrt(memory.counts)[:, None]
    X, V = (memory.X - np.average(memory.X, axis=0, weights=memory.w)) * root, memory.V * root
    X = X / (abs(X).max() or 1)  # directions have no unit
    if width <= np.linalg.matrix_rank(V):
        W = discriminant_directions(X, V)[:, :width]
        return {"W": W * np.sqrt(width / (W * W).sum())}  # as large as principal directions; the bandwidth is separate
    _, directions = np.linalg.eigh(X.T @ X)  # ascending
    return {"W": np.ascontiguousarray(directions[:, ::-1][:, :width])}


def discriminant_directions(X: Array, V: Array) -> Array:
    """Directions (d, d) of centred rows X (n, d); those that values V (n, v) explain best come first.

    For classes they are Fisher's discriminants; for one number they are its least squares. The part of X that V does not
    explain has variance 1 along each direction. Its covariance is shrunk as Ledoit and Wolf (2004) do.
    """
    explained = V @ np.linalg.lstsq(V, X, rcond=None)[0]
    rest = X - explained
    covariance = shrunk_covariance(rest.T @ rest, ledoit_wolf_shrinkage(rest, assume_centered=True))
    covariance += np.finfo(X.dtype).eps * (1 + np.trace(X.T @ X)) * np.eye(X.shape[1])  # V may explain all of X
    _, directions = eigh(explained.T @ explained, covariance)  # ascending
    return np.ascontiguousarray(directions[:, ::-1]).astype(X.dtype, copy=False)


def departure(learned: Any, start: Any) -> Any:
    """How far a projection is from its start: the squared distance of the maps, over the start's square.

    One bandwidth for all features (a log scale without axes) changes no direction and counts as zero.
    """
    if "W" in learned:
        away, size = learned["W"] - start["W"], (start["W"] ** 2).sum()
    elif "log_scale" in learned and np.ndim(start["log_scale"]):
        xp = namespace(learned["log_scale"])
        away, size = xp.exp(learned["log_scale"]) - np.exp(start["log_scale"]), np.exp(2 * start["log_scale"]).sum()
    else:
        return 0.0
    return namespace(away).sum(away * away) / size


def project(learned: Any, X: Any) -> Any:
    """Rows (n, d) as the similarity compares them: scaled, multiplied by W, or unchanged."""
    if not learned:
        return X
    xp = namespace(X)
    return xp.matmul(X, learned["W"]) if "W" in learned else X * xp.exp(learned["log_scale"])


# --------------------------------------------------------------------------------------------------------------------
# learning
# --------------------------------------------------------------------------------------------------------------------
def learn(
    memory: Memory,
    params: Any,
    spread: Array,
    rng: np.random.Generator,
    stopping: Stopping,
    *,
    learning_rate: float,
    batch_size: int,
    alpha: float,
) -> Fitted:
    """Minimise the leave-one-out squared error of minibatches of rows, each in units of `spread` (v,), by Adam.

    The loss is the mean error of n rows, plus alpha / n times the projection's departure from its start.

    Learning uses the rows held out neither as queries nor as keys. A distance is symmetric: if learning moved a row close
    to one held out because their targets agree, that row would reveal the target.
    """
    X, V, n = memory.X, memory.V, len(memory.X)
    params = cast(params, X.dtype)
    start, pull = params["projection"], X.dtype.type(alpha / memory.counts.sum())
    order = rng.permutation(n)
    held = order[: max(1, min(round(stopping.validation_fraction * n), n - 2)) if stopping.stops else 0]
    asked = order[len(held) :]
    n_keys = min(len(asked), KEYS, max(64, BLOCK // (batch_size * memory.numbers(X.shape[1]))))
    fixed = np.sort(rng.choice(asked, n_keys, replace=False))

    def loss(params: Any, rows: Array, keys: Array, training: bool) -> Any:
        Q, K = project(params["projection"], X[rows]), project(params["projection"], X[keys])
        inner = {role: learned for role, learned in params.items() if role != "projection"}
        w = None if memory.w is None else memory.w[keys]
        unseen = rows[:, None] != keys[None, :]
        away = (memory.answer(inner, Q, K, V[keys], w, unseen, rng=rng, training=training) - V[rows]) / spread
        counts = memory.counts[rows, None]
        return namespace(away).sum(away * away * counts) / (counts.sum() * V.shape[1])

    def batch_loss(params: Any, batch: Array) -> Any:
        keys = fixed if n_keys == len(asked) else np.sort(rng.choice(asked, n_keys, replace=False))
        return loss(params, asked[batch], keys, True) + pull * departure(params["projection"], start)

    def look(params: Any) -> dict[str, float]:
        rows = held[:LOOKED_AT]
        parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        losses = [float(loss(params, part, fixed, False)) for part in parts]
        return {"loss": float(np.average(losses, weights=[memory.counts[part].sum() for part in parts]))}

    watch = stopping.watch(look) if stopping.stops else None
    batches = minibatches(len(asked), min(batch_size, len(asked)), rng)
    with np.errstate(all="ignore"), warnings.catch_warnings():  # each step checks that its numbers are finite
        warnings.filterwarnings("ignore", "Output seems independent of input")  # uniform: gradients of zero
        return minimise_adam(batch_loss, params, batches, stopping.most, learning_rate, watch)
