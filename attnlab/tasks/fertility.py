"""Words that become several, or none, and tables that are applied one after the other: monotonic alignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from attnlab.data import AlignmentData, Splits
from attnlab.interfaces import Source, Task
from attnlab.tasks.words import Count, Dictionary, Factor, Said, chance_of, conditions, lengths_between

__all__ = ["Fertility", "LookupTable"]


class Fertility(Task):
    """Say each word as often as it is fertile, some not at all: a monotonic alignment of many to one.

    Source word w_i has a fertility of 0..max_fertility, dealt out once for all splits so that each occurs about equally
    often, and becomes so many times its translation u_i. An example has k words, k uniform on min_length..length, uniform
    with repetition; the first is fertile. Source and target words have vectors ~ N(0, I_d) that have nothing to do with each
    other: a query is the vector of its target word, a value the one-hot vector of the translation.

    Gold: the link from each target word to the word it comes from; words of fertility 0 have none. Target: the class of the
    target word, int (n, q). Chance: the mean of 1/k over all target words.

    Parameters
    ----------
    length : int, at least 1
        Words of a source at most, L.
    min_length : int, at least 1
        And at least.
    vocabulary : int, at least 2
        Different words; few, so that words are repeated and contents alone do not tell which is meant.
    max_fertility : int, at least 1
        Target words of a source word at most.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions of sources so many times L long, named `2L` for 2.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When min_length is larger than length.

    Notes
    -----
    Monotonic attention walks through it by construction, and location-aware attention sees where it was; attention that
    compares contents cannot tell equal words apart.

    References
    ----------
    Brown et al. (1993), section 4.4, for fertilities; Raffel et al. (2017) and Chorowski et al. (2015) for attention that
    suits them.

    Examples
    --------
    >>> import numpy as np
    >>> data = Fertility(length=3, n_train=1).make(np.random.default_rng(0)).train
    >>> data.tokens[0]
    (['w0', 'w2', 'w1'], ['u0', 'u2', 'u1', 'u1', 'u1', 'u1'])
    """

    name = "fertility"
    source = Source(
        "The Mathematics of Statistical Machine Translation",
        "P. F. Brown et al.",
        1993,
        "Computational Linguistics 19(2)",
    )

    def __init__(
        self,
        length: Count = 8,
        min_length: Count = 2,
        vocabulary: Annotated[int, Ge(2)] = 8,
        max_fertility: Count = 4,
        d: Count = 16,
        transfer: Sequence[Factor] = (),
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.length = length
        self.min_length = min_length
        self.vocabulary = vocabulary
        self.max_fertility = max_fertility
        self.d = d
        self.transfer = transfer
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    def _fertilities(self) -> np.ndarray[Any, Any]:
        """Of each word: 1, 2, ..., max_fertility, 0, 1, ..."""
        return np.arange(1, self.vocabulary + 1) % (self.max_fertility + 1)

    @property
    def chance(self) -> float:
        f = self._fertilities()
        lengths = lengths_between(self.name, self.min_length, self.length)
        return chance_of((1.0, k, f[f > 0].mean() + (k - 1) * f.mean()) for k in lengths)

    def make(self, rng: np.random.Generator) -> Splits:
        lengths = lengths_between(self.name, self.min_length, self.length)
        shared, train, validation, test, longer = rng.spawn(5)
        fertility = shared.permutation(self._fertilities())
        fertile = np.flatnonzero(fertility)
        source, target = ([f"{letter}{i}" for i in range(self.vocabulary)] for letter in "wu")
        book = Dictionary(shared, source, target, {w: i for i, w in enumerate(source)}, self.d, asks=True)

        def say(rng: np.random.Generator, size: int) -> Said:
            words = rng.integers(self.vocabulary, size=size)
            words[0] = rng.choice(fertile)
            comes_from = np.repeat(np.arange(size), fertility[words])
            links = [(int(j), i) for i, j in enumerate(comes_from)]
            return Said([source[w] for w in words], [target[words[j]] for j in comes_from], links)

        def draw(rng: np.random.Generator, n: int, factor: int = 1) -> AlignmentData:
            sizes = np.full(n, self.length * factor) if factor > 1 else rng.choice(lengths, size=n)
            return book.data([say(rng, int(size)) for size in sizes])

        tests = {"test": draw(test, self.n_test)}
        tests |= conditions(self.transfer, longer, lambda rng, factor: draw(rng, self.n_test, factor))
        return Splits(draw(train, self.n_train), draw(validation, self.n_validation), tests)


class LookupTable(Task):
    """Apply tables one after the other, and say what stands after each: the alignment is the diagonal.

    A source is a string x_0 of `bits` bits and c tables t_1..t_c, c uniform on 1..length; the target is x_0, x_1 = t_1(x_0),
    ..., x_c = t_c(x_(c-1)). Each of `tables` tables is a random permutation of all strings, drawn once for all splits, and so
    are the vectors ~ N(0, I_d) of strings and tables. The query is the same marker at every step; a value is one-hot for a
    string and zero for a table.

    Gold: the link i -> i, from the string after table i to table i, and from x_0 to itself. Target: the class of the string,
    int (n, q), of 2^bits classes. Chance: the mean of 1/k over all steps, k = c + 1.

    Parameters
    ----------
    length : int, at least 1
        Tables applied at most, L.
    bits : int, 1 to 10
        Bits of a string.
    tables : int, at least 1
        Different tables.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions with so many times L tables applied, named `2L` for 2.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition; short ones may be alike.

    Notes
    -----
    A task for models with a decoder: what is said depends on what was said before, and one attention alone can learn the
    alignment (`objective="alignment"`) but no more than x_0 of the target. Recurrent models fit it with any attention, and
    fail on longer compositions unless they attend to the diagonal.

    References
    ----------
    Liska, Kruszewski, Baroni (2018); Hupkes et al. (2018), sections 2 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> data = LookupTable(length=2, n_train=2).make(np.random.default_rng(0)).train
    >>> data.tokens[0]
    (['000', 't3', 't2'], ['000', '001', '000'])
    """

    name = "lookup_table"
    source = Source("Learning Compositionally Through Attentive Guidance", "D. Hupkes et al.", 2018, "arXiv:1805.09657")

    def __init__(
        self,
        length: Count = 3,
        bits: Annotated[int, Ge(1), Le(10)] = 3,
        tables: Count = 8,
        d: Count = 16,
        transfer: Sequence[Factor] = (),
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.length = length
        self.bits = bits
        self.tables = tables
        self.d = d
        self.transfer = transfer
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        return chance_of((1.0, c + 1, c + 1) for c in range(1, self.length + 1))

    def make(self, rng: np.random.Generator) -> Splits:
        shared, train, validation, test, longer = rng.spawn(5)
        strings = [f"{x:0{self.bits}b}" for x in range(2**self.bits)]
        names = [f"t{i + 1}" for i in range(self.tables)]
        after = np.array([shared.permutation(len(strings)) for _ in names])  # (tables, strings)
        book = Dictionary(
            shared, [*strings, *names], strings, {s: i for i, s in enumerate(strings)}, self.d, asks=False
        )

        def say(rng: np.random.Generator, n_applied: int) -> Said:
            applied = rng.integers(self.tables, size=n_applied)
            states = [int(rng.integers(len(strings)))]
            for table in applied:
                states.append(int(after[table, states[-1]]))
            source = [strings[states[0]], *(names[t] for t in applied)]
            return Said(source, [strings[x] for x in states], [(i, i) for i in range(len(source))])

        def draw(rng: np.random.Generator, n: int, factor: int = 1) -> AlignmentData:
            sizes = np.full(n, self.length * factor) if factor > 1 else rng.integers(1, self.length + 1, size=n)
            return book.data([say(rng, int(size)) for size in sizes])

        tests = {"test": draw(test, self.n_test)}
        tests |= conditions(self.transfer, longer, lambda rng, factor: draw(rng, self.n_test, factor))
        return Splits(draw(train, self.n_train), draw(validation, self.n_validation), tests)
