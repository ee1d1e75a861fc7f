"""Associative recall as language models need it: several questions, keys of several tokens, values that are overwritten."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MultipleOf

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import of_lengths, sequence
from attnlab.tasks.words import Factor

__all__ = ["Mqar", "Mqmtar"]

Even = Annotated[int, Ge(2), MultipleOf(2)]
SAMPLE = 4096  # examples from which the level of chance is found in the layout tokens


def _distinct(rng: Rng, n: int, choices: int, size: int) -> Array:
    """(n, size) numbers below `choices`, all different in a row."""
    return np.stack([rng.choice(choices, size, replace=False) for _ in range(n)])


@dataclass(eq=False, repr=False)
class Mqar(DrawnTask):
    """Multi-query associative recall: a sequence of pairs of key and value, then places that ask.

    A place j of the first k holds a pair: its key is the vector of x_j and its value the one-hot vector of y_j. The q places
    after them ask, each for another key, and hold no value. The query and the key of such a place are the vector of what it
    asks for. A pair is asked for with a probability proportional to gap^(power - 1), where gap is its distance from the first
    question. The variants differ in the keys x_j:

        plain           all different, of `vocabulary` keys; a key's vector is ~ N(0, I_d), drawn once for all splits
        forgetting      k // 2 different ones, each written twice or so, and the last value counts
        compositional   as plain, but key number c has the vectors of two tokens side by side, c // m and c % m with
                        m = ceil(sqrt(vocabulary)), so that different keys agree in one of the halves
        continuous      as plain, but a key is ~ N(0, I_d) anew in each example, and a query is blurred by noise * N(0, I_d)

    Gold: the place of the last pair with the key that is asked for. Target: the class y there, int (n, k + q), of `n_values`
    classes. Chance: the mean of 1/(k + t) over t = 0..q - 1, since a place may attend to all places before it.

    With ``layout="tokens"``, as published, each place holds one token. The first 2 k places hold key, value, key, value, ..; a question
    is the key alone, at the place 2 (k + g - 1), counted from 0, where the gaps g = 1..room are drawn with probabilities proportional to
    g^(power - 1) without replacement. All other places hold any token. Keys, queries and values are those of the tokens, and gold is
    the place of the value. So one layer cannot do it, unless keys see the place before. By layer: from each value to its key, then gold. Chance is estimated from 4,096 examples.

    Parameters
    ----------
    variant : str
        What the keys are: plain, forgetting, compositional or continuous.
    layout : str
        joined: a place holds a pair. tokens: a place holds a key or a value, and the examples have `ids`; the variants are plain and
        forgetting.
    room : int, at least 1, or None
        Of layout tokens: how many gaps there are, so that an example has 2 (n_pairs + room) places; None is as many as pairs.
    n_pairs : int, at least 1
        Pairs of an example, k.
    n_queries : int, at least 1
        Places that ask, q; no more than there are different keys.
    vocabulary : int, at least 1
        Different keys of all examples; the continuous variant has no vocabulary.
    n_values : int, at least 2
        Classes of values.
    d : int, at least 2 and even
        Features of a query or key.
    noise : float, at least 0
        Blur of a query in the continuous variant, per feature; a key's own is 1.
    power : float, above 0 and at most 1
        Exponent of the gaps: 1 is uniform, and near 0 the latest pairs are asked for most.
    longer : sequence of int
        Further test conditions of so many pairs, named `n=64` for 64.
    gaps : sequence of int
        Further test conditions in which each pair that is asked for is just so far before its question, named `gap=8` for 8.
        From n_queries to n_pairs.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When there are too few keys for the pairs or for the queries, a gap is out of range, or a layout has not this setting.

    Notes
    -----
    In the original a value is a token of its own after its key, and a first layer joins them. In the layout joined the places are
    joined, as one layer of attention needs them. Without positions a mechanism cannot tell which of two equal keys is the later.

    References
    ----------
    Arora et al. (2023), Zoology, section 3 and appendix on the synthetic task; the other variants are defined here.

    Examples
    --------
    >>> import numpy as np
    >>> data = Mqar(n_pairs=6, n_queries=2, n_train=1).make(np.random.default_rng(0)).train
    >>> data.alive[0].astype(int).tolist()
    [0, 0, 0, 0, 0, 0, 1, 1]
    >>> bool((data.K[0, data.gold[0, 6].argmax()] == data.Q[0, 6]).all())
    True
    """

    name = "mqar"
    source = Source(
        "Zoology: Measuring and Improving Recall in Efficient Language Models",
        "S. Arora et al.",
        2023,
        "arXiv:2312.04927",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer", "gaps")

    variant: Literal["plain", "forgetting", "compositional", "continuous"] = "plain"
    n_pairs: Count = 32
    n_queries: Count = 4
    vocabulary: Count = 64
    n_values: Annotated[int, Ge(2)] = 8
    d: Even = 8
    noise: Annotated[float, Ge(0)] = 0.3
    power: Annotated[float, Gt(0), Le(1)] = 0.01
    longer: Sequence[Count] = ()
    gaps: Sequence[Count] = ()
    layout: Literal["joined", "tokens"] = "joined"
    room: Count | None = None

    @property
    def chance(self) -> float:
        if self.layout == "tokens":
            return _chance(self.n_pairs, self.room or self.n_pairs, self.n_queries, self.power)
        return float(np.mean(1 / (self.n_pairs + np.arange(self.n_queries))))

    def shared(self, rng: Rng) -> dict[str, Array]:
        E = rng.normal(size=(self.vocabulary, self.d))
        if self.layout == "tokens":
            return {"E": np.concatenate([E, rng.normal(size=(self.n_values, self.d))])}
        if self.variant != "compositional":
            return {"E": E}
        m = int(np.ceil(self.vocabulary**0.5))
        number, half = np.arange(self.vocabulary), self.d // 2
        return {"E": np.concatenate([E[number // m, :half], E[number % m, half:]], axis=1)}

    def conditions(self) -> dict[str, dict[str, int]]:
        if self.layout == "joined" and self.room is not None:
            raise SettingError(
                f"task 'mqar': room is a setting of layout='tokens'; got {self.room} with layout='joined'"
            )
        if self.layout == "tokens" and (self.gaps or self.variant not in ("plain", "forgetting")):
            has = f"gaps={list(self.gaps)}" if self.gaps else f"variant={self.variant!r}"
            raise SettingError(
                f"task 'mqar': layout='tokens' has the variants plain and forgetting, and no gaps; got {has}"
            )
        for gap in self.gaps:
            if not self.n_queries <= gap <= self.n_pairs:
                raise SettingError(
                    f"task 'mqar': gaps must be from n_queries = {self.n_queries} to n_pairs = {self.n_pairs}; got {gap}"
                )
        return of_lengths(self.longer) | {f"gap={gap}": {"gap": gap} for gap in self.gaps}

    def _different(self, k: int) -> int:
        """How many different keys k pairs have."""
        many = max(1, k // 2) if self.variant == "forgetting" else k
        most = many - 1 if self.gaps and many < k else many  # a gap leaves later pairs keys that nobody asks for
        if self.n_queries > most:
            raise SettingError(
                f"task 'mqar': n_queries must be at most {most}, as {k} pairs have {many} different keys; got {self.n_queries}"
            )
        if self.variant != "continuous" and many > self.vocabulary:
            raise SettingError(
                f"task 'mqar': vocabulary must be at least {many}, the different keys of {k} pairs; "
                f"got {self.vocabulary}"
            )
        return many

    def draw(self, rng: Rng, n: int, E: Array, length: int | None = None, gap: int | None = None) -> AlignmentData:
        k, q = length or self.n_pairs, self.n_queries
        many = self._different(k)
        if self.layout == "tokens":
            return self._tokens(rng, n, E, k, many)
        example = np.arange(n)[:, None]
        x = rng.permuted(np.broadcast_to(np.arange(k) % many, (n, k)), axis=1)  # which of the example's keys
        if gap is not None and many < k:  # no pair after those at the gap has their keys
            x[:, k - gap :] = q + rng.integers(many - q, size=(n, gap))
            x[:, k - gap : k - gap + q] = np.arange(q)
        last = ~(np.tri(k, k=-1, dtype=bool).T & (x[:, :, None] == x[:, None, :])).any(axis=-1)  # (n, k)
        score = (self.power - 1) * np.log(k - np.arange(k)) + rng.gumbel(size=(n, k))
        places = np.argsort(np.where(last, -score, np.inf), axis=1)[:, :q]
        places = rng.permuted(places, axis=1)
        if gap is not None:
            places = np.broadcast_to(k - gap + np.arange(q), (n, q))
        if self.variant == "continuous":
            keys = rng.normal(size=(n, many, self.d))
        else:
            keys = E[_distinct(rng, n, self.vocabulary, many)]
        K = keys[example, x]
        asking = K[example, places]
        if self.variant == "continuous":
            asking = asking + self.noise * rng.normal(size=asking.shape)
        y = rng.integers(self.n_values, size=(n, k))
        V = np.concatenate([np.eye(self.n_values)[y], np.zeros((n, q, self.n_values))], axis=1)
        asked = np.zeros((n, k + q), dtype=bool)
        asked[:, k:] = True
        links = np.zeros((n, k + q, k + q))
        links[:, k:] = np.eye(k + q)[places]
        target = np.concatenate([np.zeros((n, k), dtype=np.intp), y[example, places]], axis=1)
        return sequence(np.concatenate([K, asking], axis=1), V, asked, links, target)

    def _tokens(self, rng: Rng, n: int, E: Array, k: int, many: int) -> AlignmentData:
        """Examples of one token a place; the values are the tokens after the keys."""
        q, room = self.n_queries, self.room or k
        if q > room:
            raise SettingError(f"task 'mqar': room must be at least n_queries = {q}; got {room}")
        length, example = 2 * (k + room), np.arange(n)[:, None]
        x = rng.permuted(np.broadcast_to(np.arange(k) % many, (n, k)), axis=1)  # which of the example's keys
        last = ~(np.tri(k, k=-1, dtype=bool).T & (x[:, :, None] == x[:, None, :])).any(axis=-1)
        pairs = np.argsort(np.where(last, rng.random((n, k)), np.inf), axis=1)[:, :q]  # those that are asked for
        y = rng.integers(self.n_values, size=(n, k))
        ids = rng.integers(self.vocabulary + self.n_values, size=(n, length))
        ids[:, : 2 * k : 2] = _distinct(rng, n, self.vocabulary, many)[example, x]
        ids[:, 1 : 2 * k : 2] = self.vocabulary + y
        places = _asking(rng, n, k, room, q, self.power)
        ids[example, places] = ids[example, 2 * pairs]
        V = np.zeros((n, length, self.n_values))
        V[:, 1 : 2 * k : 2] = np.eye(self.n_values)[y]
        asked, target = np.zeros((n, length), dtype=bool), np.zeros((n, length), dtype=np.intp)
        asked[example, places] = True
        target[example, places] = y[example, pairs]
        links = np.zeros((n, length, length))
        links[example, places] = np.eye(length)[2 * pairs + 1]
        by_layer = np.zeros((n, 2, length, length), dtype=bool)
        by_layer[:, 0, 1 : 2 * k : 2] = np.eye(length, dtype=bool)[: 2 * k : 2]  # a value looks at its key
        by_layer[:, 1] = links > 0
        return sequence(E[ids], V, asked, links, target, ids=ids, by_layer=by_layer)


def _asking(rng: Rng, n: int, k: int, room: int, q: int, power: float) -> Array:
    """The places (n, q) that ask, in a random order: 2 (k + g - 1) for different gaps g = 1..room, the small ones more often."""
    score = (power - 1) * np.log(np.arange(1, room + 1)) + rng.gumbel(size=(n, room))
    return 2 * (k + np.argsort(-score, axis=1)[:, :q])


@functools.lru_cache(maxsize=64)
def _chance(k: int, room: int, q: int, power: float) -> float:
    return float((1 / _asking(np.random.default_rng(0), SAMPLE, k, room, min(q, room), power)).mean())


@dataclass(eq=False, repr=False)
class Mqmtar(DrawnTask):
    """Multi-query multi-token associative recall: keys and values of two tokens, and ever longer memories.

    The k pairs of an example have different keys. A key is two of `vocabulary` tokens, a and b, and its vector is A_a and B_b
    side by side, d/2 features each. A value is two tokens too, c and e, with the vectors C_c and F_e side by side. All
    vectors are ~ N(0, I) and drawn once for all splits. A share `alike` of the pairs that are not asked for has the first
    token of a key that is asked for. Each query is the key of another pair.

    Gold: the link to that pair. Target: its value, float (n, q, d_value). Chance: 1/k.

    Parameters
    ----------
    n_pairs : int, at least 1
        Pairs of an example in training, k.
    n_queries : int, at least 1
        Queries, each for another pair; at most n_pairs.
    vocabulary : int, at least 2
        Different tokens of each place of a key or value. There are vocabulary^2 keys, and the longest example needs that many.
    alike : float, 0 to 1
        Share of the other pairs whose first token is that of a query, so that the second decides.
    d : int, at least 2 and even
        Features of a query or key.
    d_value : int, at least 2 and even
        Features of a value.
    ladder : sequence of int, each at least 2
        Further test conditions with so many times n_pairs, named `4x` for 4. An example of 1024x with the defaults has 16,384
        pairs, and a block of 256 examples takes 1 GB.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When there are fewer keys than the longest example needs, or more queries than pairs.

    Notes
    -----
    The order of the pairs says nothing. What a longer memory costs is dispersion: softmax leaves more weight on the others.

    References
    ----------
    Vasylenko et al. (2025), Long-context generalization with sparse attention, on the task of that name.

    Examples
    --------
    >>> import numpy as np
    >>> splits = Mqmtar(ladder=[4], n_train=4).make(np.random.default_rng(0))
    >>> splits.train, splits.tests["4x"].n_keys
    (<AlignmentData n=4 q=4 k=16 d=8 v=16 float64; has gold, target>, 64)
    """

    name = "mqmtar"
    source = Source(
        "Long-Context Generalization with Sparse Attention", "P. Vasylenko et al.", 2025, "arXiv:2506.16640"
    )
    revision = 1
    counts = (*DrawnTask.counts, "ladder")

    n_pairs: Count = 16
    n_queries: Count = 4
    vocabulary: Annotated[int, Ge(2)] = 128
    alike: Annotated[float, Ge(0), Le(1)] = 0.5
    d: Even = 8
    d_value: Even = 16
    ladder: Sequence[Factor] = (4, 16)

    @property
    def chance(self) -> float:
        return 1 / self.n_pairs

    def shared(self, rng: Rng) -> dict[str, Array]:
        sizes = {"A": self.d, "B": self.d, "C": self.d_value, "F": self.d_value}
        return {name: rng.normal(size=(self.vocabulary, size // 2)) for name, size in sizes.items()}

    def conditions(self) -> dict[str, dict[str, int]]:
        longest = self.n_pairs * max([1, *self.ladder])
        if longest > self.vocabulary**2:
            raise SettingError(
                f"task 'mqmtar': keys differ, so vocabulary^2 must be at least {longest}, the longest example; "
                f"got vocabulary = {self.vocabulary}"
            )
        if self.n_queries > self.n_pairs:
            raise SettingError(
                f"task 'mqmtar': n_queries must be at most n_pairs = {self.n_pairs}; got {self.n_queries}"
            )
        return {f"{factor}x": {"factor": factor} for factor in self.ladder}

    def draw(self, rng: Rng, n: int, A: Array, B: Array, C: Array, F: Array, factor: int = 1) -> AlignmentData:
        k, m, q = self.n_pairs * factor, self.vocabulary, self.n_queries
        keys = np.stack([self._keys(rng, k) for _ in range(n)])  # (n, k), the first q are asked for
        order = rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)
        keys, places = np.take_along_axis(keys, order, axis=1), np.argsort(order, axis=1)[:, :q]
        K = np.concatenate([A[keys // m], B[keys % m]], axis=-1)
        V = np.concatenate([C[rng.integers(m, size=(n, k))], F[rng.integers(m, size=(n, k))]], axis=-1)
        example = np.arange(n)[:, None]
        return AlignmentData(K[example, places], K, V, gold=np.eye(k)[places], target=V[example, places])

    def _keys(self, rng: Rng, k: int) -> Array:
        """k different keys a * m + b, as many as may be like one of the first q."""
        m, q = self.vocabulary, self.n_queries
        asked = rng.choice(m * m, q, replace=False)
        first = np.unique(asked // m)
        near = np.setdiff1d((first[:, None] * m + np.arange(m)).ravel(), asked)
        n_near = min(round(self.alike * (k - q)), len(near))
        like = rng.choice(near, n_near, replace=False)
        used = np.concatenate([asked, like])
        rest = rng.choice(m * m, k, replace=False)
        rest = rest[~np.isin(rest, used)][: k - len(used)]
        return np.concatenate([used, rest])
