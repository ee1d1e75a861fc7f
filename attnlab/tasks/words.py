"""Sentences as examples: what the tasks that say sequences of words share.

A task draws sentences with their links, each a `Said`. `Dictionary.data` makes them AlignmentData, padded, with `tokens` for
models that read words and Q, K, V for models that read vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Lt

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.tasks.drawn import Array, Rng
from attnlab.tasks.said import in_one_sequence, numbered

__all__ = ["Dictionary", "Factor", "HeldOut", "Said", "Unseen", "chance_of", "lengths_between", "longer"]

Link = tuple[int, int]
Factor = Annotated[int, Ge(2)]
Unseen = Annotated[float, Ge(0), Lt(0.5)]
MOST_TRIES = 10_000  # sentences that are drawn in vain before a split is said to have none


class Said(NamedTuple):
    """A source sentence and its target; a link is (source word, target word), counted from 0."""

    source: list[str]
    target: list[str]
    sure: list[Link]
    possible: Sequence[Link] = ()


class Dictionary:
    """The words of both languages, as vectors.

    Parameters
    ----------
    rng : numpy.random.Generator
        The random stream of the vectors.
    source, target : the words of both languages
    classes : mapping of source words to the class that they translate to
        A value is the one-hot vector of this class; zeros for words that are not in the mapping.
    d : int
        Features of a query or key.
    asks : bool
        True: a query is the vector of its target word. False: it is the same marker at every step, which says only "the
        next one, please".
    class_of : mapping of target words to classes, or None for their places in `target`
    scale : float
        Standard deviation of a feature.
    """

    def __init__(
        self,
        rng: Rng,
        source: Iterable[str],
        target: Iterable[str],
        classes: Mapping[str, int],
        d: int,
        asks: bool,
        class_of: Mapping[str, int] | None = None,
        scale: float = 1.0,
    ) -> None:
        self.source = {word: i for i, word in enumerate(source)}
        self.target = {word: i for i, word in enumerate(target)}
        self.class_of = self.target if class_of is None else class_of
        self.keys = scale * rng.normal(size=(len(self.source), d))
        self.queries = scale * rng.normal(size=(len(self.target) if asks else 1, d))
        self.asks = asks
        self.values = np.zeros((len(self.source), 1 + max(self.class_of.values())))
        for word, number in classes.items():
            self.values[self.source[word], number] = 1.0

    def data(
        self, sentences: Sequence[Said], k: int, q: int, possible: bool = False, layout: str = "pairs"
    ) -> AlignmentData:
        """The sentences as examples, padded to k source and q target words; `possible`: with links beside the sure ones."""
        pairs = self._pairs(sentences, k, q, possible)
        if layout == "pairs":
            return pairs
        number = numbered(self.source, self.class_of)
        sources, targets = (
            [[number[w] for w in side] for side in sides] for sides in zip(*(s[:2] for s in sentences), strict=True)
        )
        return in_one_sequence(pairs, sources, targets, len(number))

    def _pairs(self, sentences: Sequence[Said], k: int, q: int, possible: bool) -> AlignmentData:
        n = len(sentences)
        Q, K = np.zeros((n, q, self.keys.shape[1])), np.zeros((n, k, self.keys.shape[1]))
        V, target = np.zeros((n, k, self.values.shape[1])), np.zeros((n, q), dtype=np.intp)
        mask, gold, maybe = (np.zeros((n, q, k), dtype=bool) for _ in range(3))
        for e, said in enumerate(sentences):
            x = [self.source[word] for word in said.source]
            Q[e, : len(said.target)] = (
                self.queries[[self.target[w] for w in said.target]] if self.asks else self.queries
            )
            K[e, : len(x)], V[e, : len(x)] = self.keys[x], self.values[x]
            target[e, : len(said.target)] = [self.class_of[word] for word in said.target]
            mask[e, : len(said.target), : len(x)] = True
            for links, array in ((said.sure, gold), (said.possible, maybe)):
                for j, i in links:
                    array[e, i, j] = True
        share = np.maximum(gold.sum(axis=-1, keepdims=True), 1)
        return AlignmentData(
            Q,
            K,
            V,
            mask=mask,
            gold=gold / share,
            target=target,
            possible=maybe if possible else None,
            tokens=[(said.source, said.target) for said in sentences],
        )


class HeldOut:
    """Which split a sentence belongs to: none of training occurs in validation or in the test.

    A keyed hash of its source words says it, so that it depends on no other sentence and on no number of examples.

    Parameters
    ----------
    key : bytes
        Drawn once for all splits.
    unseen : float, 0 to less than 0.5
        Share of all possible sources that belongs to the test; the same share belongs to validation. With 0 any sentence may
        be in any split.
    """

    def __init__(self, key: bytes, unseen: float) -> None:
        self.key = key
        self.unseen = unseen

    def split_of(self, source: Sequence[str]) -> str:
        """train, validation or test."""
        digest = hashlib.blake2b(" ".join(source).encode(), key=self.key, digest_size=8).digest()
        share = int.from_bytes(digest, "big") / 2**64
        if share < self.unseen:
            return "test"
        return "validation" if share < 2 * self.unseen else "train"

    def sentences(self, say: Callable[[], Said], n: int, split: str, task: str) -> list[Said]:
        """n sentences of a split, of those that `say` draws; of another test condition, whose sources are longer, the next n.

        Raises
        ------
        SettingError
            When no sentence that is drawn belongs to the split.
        """
        if not self.unseen or split not in ("train", "validation", "test"):
            return [say() for _ in range(n)]
        found: list[Said] = []
        in_vain = 0
        while len(found) < n:
            said = say()
            if self.split_of(said.source) == split:
                found.append(said)
                in_vain = 0
                continue
            in_vain += 1
            if in_vain > MOST_TRIES:
                raise SettingError(
                    f"task {task!r}: there are too few different sources to hold out a share of {self.unseen:g} for each of "
                    f"validation and test, and {split} has none: make them longer or of more words, or set unseen=0, with "
                    f"which test sentences may occur in training"
                )
        return found


def lengths_between(name: str, least: int, most: int) -> Array:
    """least..most, or a SettingError."""
    if least > most:
        raise SettingError(f"task {name!r}: min_length must be at most length = {most}; got {least}")
    return np.arange(least, most + 1)


def longer(transfer: Sequence[int]) -> dict[str, dict[str, int]]:
    """Test conditions of longer sequences: what `draw` gets for each factor, by name, "2L" for 2."""
    return {f"{factor}L": {"factor": factor} for factor in transfer}


def chance_of(cases: Iterable[tuple[float, float, float]]) -> float:
    """How often a guess among k keys is right, over queries with one gold key, from (probability, k, such queries)."""
    asked = right = 0.0
    for probability, k, queries in cases:
        asked += probability * queries
        right += probability * queries / k
    return right / asked
