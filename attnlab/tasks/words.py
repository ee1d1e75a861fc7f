"""Sentences as examples: what the tasks that say sequences of words share.

A task draws `Said` sentences with their links; `Dictionary.data` lays them out as AlignmentData, padded, with `tokens` for
models that read words and Q, K, V for models that read vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.errors import SettingError

__all__ = ["Count", "Dictionary", "Factor", "Said", "chance_of", "conditions", "lengths_between"]

Array = np.ndarray[Any, Any]
Link = tuple[int, int]
Count = Annotated[int, Ge(1)]
Factor = Annotated[int, Ge(2)]


class Said(NamedTuple):
    """A sentence and what is said of it; links are (source word, target word), counted from 0."""

    source: list[str]
    target: list[str]
    sure: list[Link]
    possible: Sequence[Link] = ()


class Dictionary:
    """The words of both languages, as vectors.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of what all splits share.
    source, target : the words of both languages
    classes : mapping of source words to the class that they translate to
        What a value holds, one-hot; zeros for words that are not in it.
    class_of : mapping of target words to classes, or None for their places in `target`
    d : int
        Features of a query or key.
    asks : bool
        True: a query is the vector of its target word. False: it is the same marker at every step, which says no more
        than "the next one, please".
    scale : float
        Standard deviation of a feature.
    """

    def __init__(
        self,
        rng: np.random.Generator,
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

    def data(self, sentences: Sequence[Said], possible: bool = False) -> AlignmentData:
        """The sentences as examples, padded to the longest; with `possible`, possible links beside the sure ones."""
        n, q, k = len(sentences), max(len(s.target) for s in sentences), max(len(s.source) for s in sentences)
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


def lengths_between(name: str, least: int, most: int) -> Array:
    """least..most, or a SettingError."""
    if least > most:
        raise SettingError(f"task {name!r}: min_length must be at most length = {most}; got {least}")
    return np.arange(least, most + 1)


def conditions(
    transfer: Sequence[int], rng: np.random.Generator, draw: Callable[[np.random.Generator, int], AlignmentData]
) -> dict[str, AlignmentData]:
    """Test conditions of longer sequences: draw(stream, factor) for each factor, named "2L" for 2."""
    factors = list(dict.fromkeys(transfer))
    streams = rng.spawn(len(factors))
    return {f"{factor}L": draw(stream, factor) for factor, stream in zip(factors, streams, strict=True)}


def chance_of(cases: Iterable[tuple[float, float, float]]) -> float:
    """How often a guess among k keys is right, over queries with one gold key, from (probability, k, such queries)."""
    asked = right = 0.0
    for probability, k, queries in cases:
        asked += probability * queries
        right += probability * queries / k
    return right / asked
