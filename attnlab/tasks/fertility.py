"""Words that become several, or none, and tables that are applied one after the other: monotonic alignments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from attnlab.data import AlignmentData
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.said import SaidTask
from attnlab.tasks.words import Dictionary, Factor, HeldOut, Said, Unseen, chance_of, lengths_between, longer

__all__ = ["Fertility", "LookupTable"]


@dataclass(eq=False, repr=False)
class Fertility(SaidTask):
    """Say each word as often as its fertility says, some not at all: a monotonic alignment of many to one.

    Source word w_i has a fertility of 0..max_fertility: its translation u_i is said so many times. The fertilities are given
    to the words at random, once for all splits, and each occurs about equally often. An example has k words, k uniform on
    min_length..length. The words are uniform with repetition; the first has a fertility above 0. Source and target words have
    independent vectors ~ N(0, I_d). A query is the vector of its target word, a value the one-hot vector of the translation.

    Gold: the link from each target word to the word it comes from; words of fertility 0 have none. Target: the class of the
    target word, int (n, q). Chance: the mean of 1/k over all target words.

    Parameters
    ----------
    length : int, at least 1
        The most words that a source has, L.
    min_length : int, at least 1
        The fewest.
    vocabulary : int, at least 2
        Different words; few, so that words are repeated and contents alone do not say which of them is meant.
    max_fertility : int, at least 1
        The most target words that a source word has.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions of sources so many times L long, named `2L` for 2.
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
        When min_length is larger than length.

    Notes
    -----
    Monotonic attention goes from word to word by construction, and location-aware attention sees where it was. Attention
    that compares contents cannot tell equal words apart.

    References
    ----------
    Brown et al. (1993), section 4.4, for fertilities; Raffel et al. (2017) and Chorowski et al. (2015) for attention that
    suits them.

    Examples
    --------
    >>> import numpy as np
    >>> data = Fertility(length=3, n_train=1).make(np.random.default_rng(0)).train
    >>> data.tokens[0]
    (['w2', 'w7'], ['u2', 'u2', 'u7', 'u7', 'u7', 'u7'])
    """

    name = "fertility"
    source = Source(
        "The Mathematics of Statistical Machine Translation",
        "P. F. Brown et al.",
        1993,
        "Computational Linguistics 19(2)",
    )
    revision = 2
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 8
    min_length: Count = 2
    vocabulary: Annotated[int, Ge(2)] = 8
    max_fertility: Count = 4
    d: Count = 16
    transfer: Sequence[Factor] = ()
    unseen: Unseen = 0.2

    def _fertilities(self) -> Array:
        """Of each word: 1, 2, ..., max_fertility, 0, 1, ..."""
        return np.arange(1, self.vocabulary + 1) % (self.max_fertility + 1)

    @property
    def chance(self) -> float:
        f = self._fertilities()
        lengths = lengths_between(self.name, self.min_length, self.length)
        return self.chance_in(chance_of((1.0, k, f[f > 0].mean() + (k - 1) * f.mean()) for k in lengths))

    def conditions(self) -> dict[str, dict[str, int]]:
        return longer(self.transfer)

    def shared(self, rng: Rng) -> dict[str, Any]:
        fertility = rng.permutation(self._fertilities())
        source, target = ([f"{letter}{i}" for i in range(self.vocabulary)] for letter in "wu")
        book = Dictionary(rng, source, target, {w: i for i, w in enumerate(source)}, self.d, asks=True)
        return {"fertility": fertility, "book": book, "held_out": HeldOut(rng.bytes(16), self.unseen)}

    def draw(
        self, rng: Rng, n: int, split: str, fertility: Array, book: Dictionary, held_out: HeldOut, factor: int = 1
    ) -> AlignmentData:
        lengths = lengths_between(self.name, self.min_length, self.length)
        k = self.length * factor

        def say() -> Said:
            return self._say(rng, int(rng.choice(lengths)) if factor == 1 else k, fertility)

        return book.data(held_out.sentences(say, n, split, self.name), k, k * int(fertility.max()), layout=self.layout)

    def _say(self, rng: Rng, size: int, fertility: Array) -> Said:
        words = rng.integers(self.vocabulary, size=size)
        words[0] = rng.choice(np.flatnonzero(fertility))
        comes_from = np.repeat(np.arange(size), fertility[words])
        links = [(int(j), i) for i, j in enumerate(comes_from)]
        return Said([f"w{w}" for w in words], [f"u{words[j]}" for j in comes_from], links)


@dataclass(eq=False, repr=False)
class LookupTable(SaidTask):
    """Apply tables one after the other, and say the result of each: the alignment is the diagonal.

    A source is a string x_0 of `bits` bits and c tables t_1..t_c, c uniform on 1..length; the target is x_0, x_1 = t_1(x_0),
    ..., x_c = t_c(x_(c-1)). There are `tables` tables. Each is a random permutation of all strings. The tables, and the vectors
    ~ N(0, I_d) of strings and tables, are drawn once for all splits. The query is the same marker at every step; a value is one-hot for a
    string and zero for a table.

    Gold: the link i -> i, from the string after table i to table i, and from x_0 to itself. Target: the class of the string,
    int (n, q), of 2^bits classes. Chance: the mean of 1/k over all steps, k = c + 1.

    Parameters
    ----------
    length : int, at least 1
        The most tables that are applied, L.
    bits : int, 1 to 10
        Bits of a string.
    tables : int, at least 1
        Different tables.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions with so many times L tables applied, named `2L` for 2.
    unseen : float, 0 to less than 0.5
        Share of all possible sources that belongs to the test split; the same share belongs to validation, and no source of one
        occurs in another. With 0 they are drawn alike, and short ones occur in several.
    layout : str
        pairs, or tokens: one sequence of the source, a separator and what is said, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    A task for models with a decoder: each string depends on the string before. A single attention can learn the alignment
    (`objective="alignment"`), but of the target it can learn only x_0. Recurrent models fit it with any attention, and
    fail on longer compositions unless they attend to the diagonal.

    References
    ----------
    Liska, Kruszewski, Baroni (2018); Hupkes et al. (2018), sections 2 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> data = LookupTable(length=2, n_train=2).make(np.random.default_rng(0)).train
    >>> data.tokens[0]
    (['111', 't4'], ['111', '100'])
    """

    name = "lookup_table"
    source = Source("Learning Compositionally Through Attentive Guidance", "D. Hupkes et al.", 2018, "arXiv:1805.09657")
    revision = 2
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 3
    bits: Annotated[int, Ge(1), Le(10)] = 3
    tables: Count = 8
    d: Count = 16
    transfer: Sequence[Factor] = ()
    unseen: Unseen = 0.2

    @property
    def chance(self) -> float:
        return self.chance_in(chance_of((1.0, c + 1, c + 1) for c in range(1, self.length + 1)))

    def conditions(self) -> dict[str, dict[str, int]]:
        return longer(self.transfer)

    def shared(self, rng: Rng) -> dict[str, Any]:
        strings = [f"{x:0{self.bits}b}" for x in range(2**self.bits)]
        names = [f"t{i + 1}" for i in range(self.tables)]
        after = np.array([rng.permutation(len(strings)) for _ in names])  # (tables, strings)
        book = Dictionary(rng, [*strings, *names], strings, {s: i for i, s in enumerate(strings)}, self.d, asks=False)
        held_out = HeldOut(rng.bytes(16), self.unseen)
        return {"strings": strings, "after": after, "book": book, "held_out": held_out}

    def draw(
        self,
        rng: Rng,
        n: int,
        split: str,
        strings: list[str],
        after: Array,
        book: Dictionary,
        held_out: HeldOut,
        factor: int = 1,
    ) -> AlignmentData:
        most = self.length * factor

        def say() -> Said:
            return self._say(rng, int(rng.integers(1, most + 1)) if factor == 1 else most, strings, after)

        return book.data(held_out.sentences(say, n, split, self.name), 1 + most, 1 + most, layout=self.layout)

    def _say(self, rng: Rng, n_applied: int, strings: list[str], after: Array) -> Said:
        applied = rng.integers(self.tables, size=n_applied)
        states = [int(rng.integers(len(strings)))]
        for table in applied:
            states.append(int(after[table, states[-1]]))
        source = [strings[states[0]], *(f"t{table + 1}" for table in applied)]
        return Said(source, [strings[x] for x in states], [(i, i) for i in range(len(source))])
