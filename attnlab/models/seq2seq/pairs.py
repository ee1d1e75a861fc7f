"""Pairs of sentences, from lists of tokens or AlignmentData with tokens: checked and turned into numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import ShapeError, Unsupported
from attnlab.models.seq2seq.vocabulary import checked_sentences

__all__ = ["Numbers", "Pairs", "in_chunks", "ragged_to", "sentences_of", "sources_of"]

CHUNK = 256  # how many sentences are predicted, aligned or scored at once
Numbers = list[list[int]]


class Pairs(NamedTuple):
    """Pairs of sentences in numbers, and the AlignmentData that they came from, if any."""

    source: Numbers
    target: Numbers
    data: AlignmentData | None

    def pick(self, rows: Any) -> Pairs:
        """Some of the pairs."""
        rows = list(rows)
        data = None if self.data is None else self.data[np.array(rows, dtype=int)]
        return Pairs([self.source[i] for i in rows], [self.target[i] for i in rows], data)

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """(source tokens, target tokens) of each pair."""
        return [(len(s), len(t)) for s, t in zip(self.source, self.target, strict=True)]

    def held_out(self, held: int, rng: np.random.Generator) -> tuple[Pairs, Pairs]:
        """(the pairs to learn from, the given number of other pairs held out at random)."""
        order = rng.permutation(len(self.source))
        return self.pick(order[held:]), self.pick(order[:held])


def sources_of(X: Any) -> list[Any]:
    """The source sentences of lists or of AlignmentData."""
    return checked_sentences([pair[0] for pair in _tokens(X)] if isinstance(X, AlignmentData) else X, "X")


def sentences_of(X: Any, y: Any, verb: str) -> tuple[list[Any], list[Any]]:
    """Source and target sentences, of lists or of AlignmentData.

    Raises
    ------
    ShapeError
        When the numbers of source and target sentences differ, or a sentence has more tokens than the data have places.
    TypeError, ValueError
        When a sentence is not a list of strings and integers, or a source sentence is empty.
    Unsupported
        For AlignmentData without tokens.
    """
    sources = sources_of(X)
    if isinstance(X, AlignmentData):
        y = [pair[1] for pair in _tokens(X)] if y is None else y
    elif y is None:
        raise TypeError(f"{verb} needs the target sentences too: X and y, or AlignmentData with tokens")
    targets = checked_sentences(y, "y", allow_empty=True)
    if len(sources) != len(targets):
        raise ShapeError(f"axis 'n' disagrees: X has {len(sources)} sentences, y has {len(targets)}")
    if isinstance(X, AlignmentData):
        for i, (s, t) in enumerate(zip(sources, targets, strict=True)):
            if len(s) > X.n_keys or len(t) > X.n_queries:
                raise ShapeError(
                    f"example {i} has {len(s)} source and {len(t)} target tokens, and the data {X.n_keys} keys and "
                    f"{X.n_queries} queries: each token is one of them"
                )
    return sources, targets


def _tokens(X: AlignmentData) -> Any:
    if X.tokens is None:
        raise Unsupported(
            "a sequence model needs AlignmentData with tokens, (source tokens, target tokens) of each example; these have none"
        )
    for i, pair in enumerate(X.tokens):
        if len(pair) != 2:
            raise ShapeError(f"tokens[{i}] must be (source tokens, target tokens); got {len(pair)} entries")
    return X.tokens


def ragged_to(data: AlignmentData, weights: list[Any]) -> Any:
    """Weights (target tokens, source tokens) of each pair as one array (n, q, k), 0 beyond the tokens."""
    W = np.zeros((len(data), data.n_queries, data.n_keys), dtype=weights[0].dtype if weights else float)
    for i, w in enumerate(weights):
        W[i, : w.shape[0], : w.shape[1]] = w
    return W


def in_chunks(lengths: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Indices of some sentences at a time, of similar lengths."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return (order[start : start + CHUNK] for start in range(0, len(order), CHUNK))
