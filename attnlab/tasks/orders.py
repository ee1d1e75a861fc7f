"""Sequences to say in another order, or in part: sort and selective copy. The query says no more than "the next, please"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData, Splits
from attnlab.errors import SettingError
from attnlab.interfaces import Source, Task
from attnlab.tasks.words import Count, Dictionary, Factor, Said, chance_of, conditions, lengths_between

__all__ = ["SelectiveCopy", "Sort"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")


class Sort(Task):
    """Say numbers in ascending order: step t must attend to the t-th smallest.

    An example is k distinct numbers of 0..vocabulary - 1 in random order, k uniform on min_length..length. A number x has
    the vector x / vocabulary * a + e_x, with a ~ N(0, I_d) and e_x ~ N(0, I_d) drawn once for all splits; the query is the
    same marker at every step; values are one-hot.

    Gold: the link from step t to the place of the t-th smallest, a permutation. Target: its class, int (n, q), of
    `vocabulary` classes. Chance: the mean of 1/k over all steps.

    Parameters
    ----------
    length : int, at least 1
        Numbers of an example at most, L.
    min_length : int, at least 1
        And at least.
    vocabulary : int, at least 2
        Different numbers; no fewer than the longest example has.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions of examples so many times L long, named `2L` for 2.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When min_length is larger than length, or there are fewer numbers than the longest example needs.

    Notes
    -----
    The alignment is a permutation: each key is wanted exactly once. Without a state or positions a query cannot know its
    step.

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

    def __init__(
        self,
        length: Count = 8,
        min_length: Count = 2,
        vocabulary: Annotated[int, Ge(2)] = 64,
        d: Count = 16,
        transfer: Sequence[Factor] = (),
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.length = length
        self.min_length = min_length
        self.vocabulary = vocabulary
        self.d = d
        self.transfer = transfer
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        return chance_of((1.0, k, k) for k in lengths_between(self.name, self.min_length, self.length))

    def make(self, rng: np.random.Generator) -> Splits:
        lengths = lengths_between(self.name, self.min_length, self.length)
        longest = self.length * max([1, *self.transfer])
        if longest > self.vocabulary:
            raise SettingError(
                f"task 'sort': numbers are distinct, so vocabulary must be at least {longest}, the longest example; "
                f"got {self.vocabulary}"
            )
        shared, train, validation, test, longer = rng.spawn(5)
        width = len(str(self.vocabulary - 1))
        words = [f"{x:0{width}}" for x in range(self.vocabulary)]
        book = Dictionary(shared, words, words, {w: i for i, w in enumerate(words)}, self.d, asks=False)
        book.keys = book.keys + np.outer(np.arange(self.vocabulary) / self.vocabulary, shared.normal(size=self.d))

        def draw(rng: np.random.Generator, n: int, factor: int = 1) -> AlignmentData:
            sizes = np.full(n, self.length * factor) if factor > 1 else rng.choice(lengths, size=n)
            return book.data([self._say(rng.permutation(self.vocabulary)[:size], words) for size in sizes])

        tests = {"test": draw(test, self.n_test)}
        tests |= conditions(self.transfer, longer, lambda rng, factor: draw(rng, self.n_test, factor))
        return Splits(draw(train, self.n_train), draw(validation, self.n_validation), tests)

    @staticmethod
    def _say(numbers: np.ndarray[Any, Any], words: list[str]) -> Said:
        order = np.argsort(numbers)
        source = [words[x] for x in numbers]
        return Said(source, [source[j] for j in order], [(int(j), t) for t, j in enumerate(order)])


class SelectiveCopy(Task):
    """Say the marked words of a sequence in their order: step t must attend to the t-th that is no blank.

    Of k = length places, n_marked hold a word, uniform with repetition of `vocabulary` words, and the others the blank `_`.
    Words and the blank have vectors ~ N(0, I_d), drawn once for all splits; the query is the same marker at every step;
    values are one-hot, the blank's zero.

    Gold: the link from step t to the t-th marked place. Target: its class, int (n, q), of `vocabulary` classes. Chance: 1/k.

    Parameters
    ----------
    length : int, at least 1
        Places of an example, k = L.
    n_marked : int, at least 1
        Those that are marked, q.
    vocabulary : int, at least 1
        Different words.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions with so many times the places and the marked ones, named `2L` for 2.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When n_marked is larger than length.

    Notes
    -----
    Where the t-th word stands depends on all before it: it is counted, or remembered from step to step (`coverage`,
    `location_aware`, `monotonic`), but not looked up.

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

    def __init__(
        self,
        length: Count = 16,
        n_marked: Count = 4,
        vocabulary: Count = 8,
        d: Count = 16,
        transfer: Sequence[Factor] = (),
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.length = length
        self.n_marked = n_marked
        self.vocabulary = vocabulary
        self.d = d
        self.transfer = transfer
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        return 1 / self.length

    def make(self, rng: np.random.Generator) -> Splits:
        if self.n_marked > self.length:
            raise SettingError(
                f"task 'selective_copy': n_marked must be at most length = {self.length}; got {self.n_marked}"
            )
        shared, train, validation, test, longer = rng.spawn(5)
        words = [f"w{i}" for i in range(self.vocabulary)]
        book = Dictionary(shared, ["_", *words], words, {w: i for i, w in enumerate(words)}, self.d, asks=False)

        def draw(rng: np.random.Generator, n: int, factor: int = 1) -> AlignmentData:
            return book.data([self._say(rng, words, factor) for _ in range(n)])

        tests = {"test": draw(test, self.n_test)}
        tests |= conditions(self.transfer, longer, lambda rng, factor: draw(rng, self.n_test, factor))
        return Splits(draw(train, self.n_train), draw(validation, self.n_validation), tests)

    def _say(self, rng: np.random.Generator, words: list[str], factor: int) -> Said:
        source = ["_"] * (self.length * factor)
        places = np.sort(rng.permutation(len(source))[: self.n_marked * factor])
        for place in places:
            source[place] = words[rng.integers(self.vocabulary)]
        return Said(source, [source[j] for j in places], [(int(j), t) for t, j in enumerate(places)])
