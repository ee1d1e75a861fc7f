"""Sequences to say in another order, or in part: sort and selective copy. The query says only "the next one, please"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.said import SaidTask
from attnlab.tasks.words import Dictionary, Factor, HeldOut, Said, Unseen, chance_of, lengths_between, longer

__all__ = ["SelectiveCopy", "Sort"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")


@dataclass(eq=False, repr=False)
class Sort(SaidTask):
    """Say numbers in ascending order: step t must attend to the t-th smallest.

    An example is k distinct numbers of 0..vocabulary - 1 in random order, k uniform on min_length..length. A number x has
    the vector x / vocabulary * a + e_x, with a ~ N(0, I_d) and e_x ~ N(0, I_d) drawn once for all splits; the query is the
    same marker at every step; values are one-hot.

    Gold: the link from step t to the place of the t-th smallest, a permutation. Target: its class, int (n, q), of
    `vocabulary` classes. Chance: the mean of 1/k over all steps.

    Parameters
    ----------
    length : int, at least 1
        The most numbers that an example has, L.
    min_length : int, at least 1
        The fewest.
    vocabulary : int, at least 2
        Different numbers; at least as many as the longest example has.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions of examples so many times L long, named `2L` for 2.
    unseen : float, 0 to less than 0.5
        Share of all possible sources that belongs to the test split; the same share belongs to validation, and no source of one
        occurs in another. With 0 they are drawn alike, and short ones occur in several.
    layout : str
        pairs, or tokens: one sequence of the source, a separator and what is said, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When min_length is larger than length, or there are fewer numbers than the longest example needs.

    Notes
    -----
    The alignment is a permutation: each key is gold for exactly one query. Without a state or positions a query cannot know
    its step.

    References
    ----------
    Vinyals, Bengio, Kudlur (2016), Order matters: sequence to sequence for sets, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> data = Sort(length=4, min_length=4, vocabulary=9, n_train=1).make(np.random.default_rng(0)).train
    >>> source, target = data.tokens[0]
    >>> target == sorted(source), data
    (True, <AlignmentData n=1 q=4 k=4 d=16 v=9 float64; has mask, gold, target, tokens>)
    """

    name = "sort"
    source = Source("Order Matters: Sequence to Sequence for Sets", "O. Vinyals, S. Bengio, M. Kudlur", 2016, "ICLR")
    revision = 2
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 8
    min_length: Count = 2
    vocabulary: Annotated[int, Ge(2)] = 64
    d: Count = 16
    transfer: Sequence[Factor] = ()
    unseen: Unseen = 0.2

    @property
    def chance(self) -> float:
        return self.chance_in(chance_of((1.0, k, k) for k in lengths_between(self.name, self.min_length, self.length)))

    def conditions(self) -> dict[str, dict[str, int]]:
        longest = self.length * max([1, *self.transfer])
        if longest > self.vocabulary:
            raise SettingError(
                f"task 'sort': numbers are distinct, so vocabulary must be at least {longest}, the longest example; "
                f"got {self.vocabulary}"
            )
        return longer(self.transfer)

    def shared(self, rng: Rng) -> dict[str, Any]:
        width = len(str(self.vocabulary - 1))
        words = [f"{x:0{width}}" for x in range(self.vocabulary)]
        book = Dictionary(rng, words, words, {w: i for i, w in enumerate(words)}, self.d, asks=False)
        book.keys = book.keys + np.outer(np.arange(self.vocabulary) / self.vocabulary, rng.normal(size=self.d))
        return {"book": book, "words": words, "held_out": HeldOut(rng.bytes(16), self.unseen)}

    def draw(
        self, rng: Rng, n: int, split: str, book: Dictionary, words: list[str], held_out: HeldOut, factor: int = 1
    ) -> AlignmentData:
        lengths = lengths_between(self.name, self.min_length, self.length)
        k = self.length * factor

        def say() -> Said:
            size = int(rng.choice(lengths)) if factor == 1 else k
            return self._say(rng.permutation(self.vocabulary)[:size], words)

        return book.data(held_out.sentences(say, n, split, self.name), k, k, layout=self.layout)

    @staticmethod
    def _say(numbers: Array, words: list[str]) -> Said:
        order = np.argsort(numbers)
        source = [words[x] for x in numbers]
        return Said(source, [source[j] for j in order], [(int(j), t) for t, j in enumerate(order)])


@dataclass(eq=False, repr=False)
class SelectiveCopy(SaidTask):
    """Say the marked words of a sequence in their order: step t must attend to the t-th that is no blank.

    A sequence has k = length places. At n_marked of them is a word, uniform with repetition of `vocabulary` words; at the
    others is the blank `_`. Words and the blank have vectors ~ N(0, I_d), drawn once for all splits; the query is the same marker at every step;
    values are one-hot, the blank's zero.

    Gold: the link from step t to the t-th marked place. Target: its class, int (n, q), of `vocabulary` classes. Chance: 1/k.

    Parameters
    ----------
    length : int, at least 1
        Places of an example, k = L.
    n_marked : int, at least 1
        Marked places, q.
    vocabulary : int, at least 1
        Different words.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions with so many times as many places and marked places, named `2L` for 2.
    layout : str
        pairs, or tokens: one sequence of the source, a separator and what is said, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When n_marked is larger than length.

    Notes
    -----
    The place of the t-th word depends on all places before it. A mechanism can count, or remember from step to step
    (`coverage`, `location_aware`, `monotonic`), but it cannot look the place up.

    References
    ----------
    Gu and Dao (2023), section 4.1.1; there with a fixed number of marked tokens.

    Examples
    --------
    >>> import numpy as np
    >>> data = SelectiveCopy(length=6, n_marked=2, n_train=1).make(np.random.default_rng(0)).train
    >>> source, target = data.tokens[0]
    >>> len(source), target == [word for word in source if word != "_"]
    (6, True)
    """

    name = "selective_copy"
    source = Source("Mamba: Linear-Time Sequence Modeling with Selective State Spaces", "A. Gu, T. Dao", 2023)
    revision = 1
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 16
    n_marked: Count = 4
    vocabulary: Count = 8
    d: Count = 16
    transfer: Sequence[Factor] = ()

    @property
    def chance(self) -> float:
        return self.chance_in(1 / self.length)

    def conditions(self) -> dict[str, dict[str, int]]:
        return longer(self.transfer)

    def shared(self, rng: Rng) -> dict[str, Any]:
        words = [f"w{i}" for i in range(self.vocabulary)]
        return {"book": Dictionary(rng, ["_", *words], words, {w: i for i, w in enumerate(words)}, self.d, asks=False)}

    def draw(self, rng: Rng, n: int, book: Dictionary, factor: int = 1) -> AlignmentData:
        if self.n_marked > self.length:
            raise SettingError(
                f"task 'selective_copy': n_marked must be at most length = {self.length}; got {self.n_marked}"
            )
        k, q = self.length * factor, self.n_marked * factor
        return book.data([self._say(rng, k, q) for _ in range(n)], k, q, layout=self.layout)

    def _say(self, rng: Rng, k: int, q: int) -> Said:
        source = ["_"] * k
        places = np.sort(rng.permutation(k)[:q])
        for place in places:
            source[place] = f"w{rng.integers(self.vocabulary)}"
        return Said(source, [source[j] for j in places], [(int(j), t) for t, j in enumerate(places)])
