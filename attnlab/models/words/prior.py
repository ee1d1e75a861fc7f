"""The prior of exact latent alignment: a mechanism's alignment before a word is seen, and how it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from attnlab.arrays import namespace
from attnlab.bitext import Pair, spelling_vectors
from attnlab.errors import Unsupported
from attnlab.injection import asks_for
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.models.training import count, minimise_lbfgs
from attnlab.models.words.lexicon import Cells

__all__ = ["Alignment", "D"]

Array = np.ndarray[Any, Any]
FLOOR = 1e-12  # the least probability of a link that learning a mechanism knows
GROUPS = 8  # groups of patterns of similar size
D = 32  # features of a word's spelling, for mechanisms that compare contents


class Alignment:
    """The alignment a of each cell of one direction, which a mechanism gives, and how the mechanism learns.

    A mechanism that sees no contents gives all pairs of the same two lengths the same alignment, so it runs once for each. It
    runs as in training, because it must give probabilities, and some mechanisms take a single path at prediction.
    """

    def __init__(self, mechanism: Any, pairs: Sequence[Pair], cells: Cells, given: int, null: float) -> None:
        self.null, self.token = null, cells.token[1 - given]
        self.bound = mechanism.bind()
        self.n_tokens = len(cells.tokens[1 - given])
        lengths = cells.lengths[:, [1 - given, given]]  # (queries, keys) of each pair
        if _sees_contents(mechanism):
            shapes, pattern = lengths, np.arange(len(lengths))
            vectors = [_vectors([p[side] for p in pairs]) for side in (1 - given, given)]
        else:
            shapes, pattern = np.unique(lengths, axis=0, return_inverse=True)
            pattern, vectors = pattern.reshape(-1), []
        # patterns of similar size are padded and compared together
        self.groups: list[tuple[Array, Array, Any]] = []  # Q, K, context
        base, width, self.size = np.zeros(len(shapes), dtype=np.intp), np.zeros(len(shapes), dtype=np.intp), 0
        order = np.argsort(shapes.prod(axis=1), kind="stable")
        for members in np.array_split(order, min(GROUPS, len(shapes))) if len(shapes) else ():
            here = shapes[members]
            q, k = here.max(axis=0)
            Q, K = (
                (v[members][:, :m] for v, m in zip(vectors, (q, k), strict=True))
                if vectors
                else _blank(len(here), q, k)
            )
            mask = (np.arange(q) < here[:, :1])[:, :, None] & (np.arange(k) < here[:, 1:])[:, None, :]
            context = self.bound.context(Q, K, None, mask, lengths=here, training=True)
            self.groups.append((Q, K, context))
            base[members], width[members] = self.size + np.arange(len(here)) * q * k, k
            self.size += mask.size
        # the place of each cell in the mechanism's weights
        first = np.cumsum(cells.lengths, axis=0) - cells.lengths
        pair = np.repeat(np.arange(len(pairs)), lengths.prod(axis=1))
        query = cells.token[1 - given] - first[pair, 1 - given]
        key = cells.token[given] - first[pair, given]
        self.place = base[pattern[pair]] + query * width[pattern[pair]] + key

    def even(self) -> tuple[Array, Array]:
        """Like `probabilities`, with every key of a query equally probable."""
        a = (1 - self.null) / np.maximum(1, np.bincount(self.token, minlength=self.n_tokens))[self.token]
        return a, np.full(self.n_tokens, self.null)

    def probabilities(self, params: Any) -> tuple[Array, Array]:
        """a of each cell, (cells,), and of the null word, (tokens,): (1 - null) times the weights, and the rest."""
        W = np.concatenate([np.zeros(0), *(np.ravel(self._weights(params, group)) for group in self.groups)])[
            self.place
        ]
        if not np.all(np.isfinite(W)) or (W < 0).any():
            raise Unsupported("the weights of this mechanism are no probabilities: some are negative or not finite")
        a = (1 - self.null) * W
        spent = np.bincount(self.token, a, self.n_tokens)
        if (spent > 1 + 1e-6).any():
            raise Unsupported(
                "the weights of this mechanism sum to more than 1: they are no distribution to mix predictions by"
            )
        return a, np.maximum(0, 1 - spent)

    def fit(self, params: Any, mass: Array, steps: int) -> Any:
        """Params under which the expected log-probability of the links, sum of mass * log a, is larger."""
        if not count(params):
            return params
        expected = np.bincount(self.place, mass, self.size)
        ends = np.cumsum([math.prod(context.shape) for _, _, context in self.groups])[:-1]
        masses = [m.reshape(g[2].shape) for m, g in zip(np.split(expected, ends), self.groups, strict=True)]
        total = max(1.0, float(mass.sum()))

        def loss(now: Any, batch: Any) -> Any:
            less = 0.0
            for group, expected in zip(self.groups, masses, strict=True):
                W = self._weights(now, group)
                xp = namespace(W)
                less = less - xp.sum(expected * xp.log(W + FLOOR))
            return less / total

        return minimise_lbfgs(loss, params, steps).params

    def _weights(self, params: Any, group: tuple[Array, Array, Any]) -> Any:
        return self.bound.weights(params, *group)


def _sees_contents(mechanism: Any) -> bool:
    if not isinstance(mechanism, Mechanism):
        return True
    parts = mechanism.parts()
    position = type(parts.position)
    looks = any({"Q", "K"} & asks_for(position, verb) for verb in ("bias", "reweigh"))
    looks = looks or any({"Q", "K"} & asks_for(modifier, "modify") for modifier in parts.modifiers)
    return parts.similarity.content_free is not True or looks


def _blank(n: int, q: int, k: int) -> tuple[Array, Array]:
    return np.zeros((n, q, 1)), np.zeros((n, k, 1))


def _vectors(sentences: Sequence[Sequence[str]]) -> Array:
    words = sorted({word for line in sentences for word in line})
    vectors = dict(zip(words, spelling_vectors(words, D), strict=True))
    X = np.zeros((len(sentences), max([1, *(len(line) for line in sentences)]), D))
    for row, line in zip(X, sentences, strict=True):
        for place, word in zip(row, line, strict=False):
            place[:] = vectors[word]
    return X
