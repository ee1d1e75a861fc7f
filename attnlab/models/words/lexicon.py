"""Counts the word pairs of a bitext; the model `word_aligner` learns them besides its mechanism.

A cell is a target word and a source word of the same sentence pair. Flat arrays hold all cells of all pairs, so that one
step of expectation maximisation is a few sums over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.gradients import special

__all__ = ["Cells", "Direction", "Prior", "spelled_alike"]

Array = np.ndarray[Any, Any]
FORWARD, BACKWARD = 0, 1  # the direction says which side of `Cells.types` is given: the source word, or the target word


class Cells:
    """Every target word with every source word of its pair.

    Parameters
    ----------
    pairs : sequence of (source words, target words)
    known : Cells or None
        Its words and word pairs come first and keep their numbers.

    Attributes
    ----------
    words : (list of source words, list of target words)
    lengths : int (pairs, 2), numbers of source and target words
    tokens : (int (s,), int (t,)), the word of each source and each target token, for all pairs in a row
    types : int (types, 2), the distinct (source word, target word)
    type : int (cells,), the type of each cell; cells are ordered by pair, target token, source token
    token : (int (cells,), int (cells,)), the source token and the target token of each cell
    """

    def __init__(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]], known: Cells | None = None) -> None:
        indices: tuple[dict[str, int], dict[str, int]] = ({}, {})
        if known is not None:
            indices = tuple({w: i for i, w in enumerate(side)} for side in known.words)  # type: ignore[assignment]
        ids = [
            [[index.setdefault(w, len(index)) for w in pair[side]] for pair in pairs]
            for side, index in enumerate(indices)
        ]
        self.words: tuple[list[str], ...] = tuple(list(index) for index in indices)
        self.lengths = np.array([[len(s), len(t)] for s, t in pairs], dtype=np.intp).reshape(-1, 2)
        self.tokens = tuple(np.array([w for line in side for w in line], dtype=np.intp) for side in ids)
        m, n = self.lengths[:, 1], self.lengths[:, 0]
        size = m * n
        pair = np.repeat(np.arange(len(pairs)), size)
        place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        starts = np.cumsum(self.lengths, axis=0) - self.lengths
        width = np.maximum(n[pair], 1)
        self.token = (starts[pair, 0] + place % width, starts[pair, 1] + place // width)
        self.ends = np.cumsum(size)

        here = np.stack([self.tokens[side][self.token[side]] for side in (0, 1)], axis=-1)
        before = np.zeros((0, 2), dtype=np.intp) if known is None else known.types
        base = max(1, len(self.words[1]))
        old = before[:, 0] * base + before[:, 1]
        codes = np.concatenate([old, here[:, 0] * base + here[:, 1]])
        distinct, first, number = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)  # known words keep their numbers
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self.type = rank[number.reshape(-1)][len(old) :]
        self.types: Array = np.stack([distinct[order] // base, distinct[order] % base], axis=-1)

    def split(self, values: Array) -> list[Array]:
        """Values (cells,) as an array (target words, source words) for each pair."""
        parts = np.split(values, self.ends[:-1]) if len(self.ends) else []
        return [part.reshape(m, n) for part, (n, m) in zip(parts, self.lengths, strict=True)]


def spelled_alike(cells: Cells) -> Array:
    """How similar the spelling of the two words of each type is, (types,), from 0 to 1.

    This is the Dice coefficient of two sets: the pieces of two and three letters, borders included, and the whole word. It is
    1 for the same word and 0 for words without a common piece, such as words in different scripts.
    """
    index: dict[str, int] = {}
    rows, columns = [], []
    for row, word in enumerate([*cells.words[0], *cells.words[1]]):
        inside = f"^{word}$"
        pieces = {inside[i : i + n] for n in (2, 3) for i in range(len(inside) - n + 1)} | {inside}
        rows += [row] * len(pieces)
        columns += [index.setdefault(piece, len(index)) for piece in pieces]
    shape = (len(cells.words[0]) + len(cells.words[1]), max(1, len(index)))
    from scipy import sparse

    has = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    size = np.bincount(rows, minlength=shape[0])
    source, target = cells.types[:, 0], len(cells.words[0]) + cells.types[:, 1]
    both = np.zeros(len(cells.types))
    for start in range(0, len(both), 2**16):  # in blocks, to limit the memory of the gathered rows
        here = slice(start, start + 2**16)
        both[here] = has[source[here]].multiply(has[target[here]]).sum(axis=1)
    return 2 * both / (size[source] + size[target])


@dataclass
class Prior:
    """The prior of word pairs, before any is counted, in pseudo-counts.

    Each word pair gets `smoothing`, plus `spelling` times the square of the similarity of its words' spelling. It also gets
    `stem_weight` times the estimate from the counts of its stems, the first `stem` letters: p(said stem | given stem) times
    the said word's share in its stem.
    """

    smoothing: float
    spelling: float
    stem: int
    stem_weight: float
    variational: bool

    def fixed(self, cells: Cells) -> Array:
        """The part that does not depend on counts, (types,)."""
        prior = np.full(len(cells.types), self.smoothing)
        return prior + self.spelling * spelled_alike(cells) ** 2 if self.spelling else prior

    def estimate(self, counts: Array, prior: Array, group: Array, n_groups: int) -> Array:
        """Probabilities from counts and pseudo-counts, within groups: their expectation, or those of variational Bayes.

        The latter are exp(E[log p]) under the Dirichlet posterior, exp(digamma(c) - digamma(sum c)). They sum to less than
        one, and give little to words with a count below about one.
        """
        total = np.bincount(group, counts + prior, n_groups)[group]
        if self.variational:
            digamma = special().digamma
            return np.exp(digamma(counts + prior) - digamma(total))
        return (counts + prior) / np.where(total > 0, total, 1)


class Direction:
    """One direction of translation: p(said word | given word), and p(said word | no word).

    Parameters
    ----------
    cells : Cells
    given : FORWARD (source words are given, target words said) or BACKWARD
    prior : Prior
    frequency : float (words,) or None
        How often each word is said; None counts it in the cells.
    """

    def __init__(self, cells: Cells, given: int, prior: Prior, frequency: Array | None = None) -> None:
        said = 1 - given
        self.side, self.prior, self.fixed, self.type = given, prior, prior.fixed(cells), cells.type
        self.given, self.n_given = cells.types[:, given], len(cells.words[given])
        self.n_said = len(cells.words[said])
        self.token, self.words = cells.token[said], cells.tokens[said]  # for each cell, and for each said token
        self.frequency = (
            np.bincount(self.words, minlength=self.n_said).astype(float) if frequency is None else frequency
        )
        if prior.stem and prior.stem_weight:
            stems = [_numbered(word[: prior.stem] for word in cells.words[side]) for side in (given, said)]
            base = int(stems[1].max(initial=0)) + 1
            codes = stems[0][self.given] * base + stems[1][cells.types[:, said]]
            distinct, self.stem_type = np.unique(codes, return_inverse=True)
            self.stem_given = distinct // base
            of_stem = np.bincount(stems[1], self.frequency)[stems[1]]
            self.share = (self.frequency / np.where(of_stem > 0, of_stem, 1))[cells.types[:, said]]
        self.forget()

    def forget(self) -> None:
        """Start from the prior alone; the null word starts from the word frequencies."""
        total = np.bincount(self.given, self.fixed, self.n_given)[self.given]
        even = 1 / np.bincount(self.given, minlength=self.n_given)[self.given]
        self.counts, self.unsaid = np.zeros(len(self.fixed)), self.frequency
        self.table = np.where(total > 0, self.fixed / np.where(total > 0, total, 1), even)
        self.null = self.frequency / max(1.0, self.frequency.sum())

    def posterior(self, a: Array, a_null: Array) -> tuple[Array, Array, float]:
        """The share of each cell, and of the null word, in its said token, (cells,), (tokens,); and the log-likelihood.

        The share is a_ij p(y_i | x_j) over its sum, with the alignment a (cells,) and the null word's part of it, (tokens,).
        """
        each = a * self.table[self.type]
        none = a_null * self.null[self.words]
        total = np.bincount(self.token, each, len(self.words)) + none
        safe = np.where(total > 0, total, 1)
        return each / safe[self.token], none / safe, float(np.log(np.maximum(total, 1e-300)).sum())

    def count(self, mass: Array) -> None:
        """The maximisation step: learn from the share of each cell, (cells,)."""
        left = np.maximum(0, 1 - np.bincount(self.token, mass, len(self.words)))
        self._learn(np.bincount(self.type, mass, len(self.fixed)), np.bincount(self.words, left, self.n_said))

    def of(self, cells: Cells) -> Direction:
        """The same direction with cells of other pairs, made with its own cells as `known`; new words have no counts."""
        more = [len(cells.types) - len(self.counts), len(cells.words[1 - self.side]) - self.n_said]
        other = Direction(cells, self.side, self.prior, np.pad(self.frequency, (0, more[1])))
        other._learn(np.pad(self.counts, (0, more[0])), np.pad(self.unsaid, (0, more[1])))
        return other

    def _learn(self, counts: Array, unsaid: Array) -> None:
        self.counts, self.unsaid = counts, unsaid
        prior = self.fixed
        if self.prior.stem and self.prior.stem_weight:
            by_stem = np.bincount(self.stem_type, counts)
            total = np.bincount(self.stem_given, by_stem)[self.stem_given]
            expected = by_stem / np.where(total > 0, total, 1)
            prior = prior + self.prior.stem_weight * expected[self.stem_type] * self.share
        self.table = self.prior.estimate(counts, prior, self.given, self.n_given)
        even = np.full(self.n_said, self.prior.smoothing)
        self.null = self.prior.estimate(unsaid, even, np.zeros(self.n_said, dtype=np.intp), 1)


def _numbered(words: Iterable[str]) -> Array:
    index: dict[str, int] = {}
    return np.array([index.setdefault(w, len(index)) for w in words], dtype=np.intp)
