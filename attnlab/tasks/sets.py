"""Queries about a set of keys: the mean of those that belong, and the greatest of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData, Splits
from attnlab.errors import SettingError
from attnlab.interfaces import Source, Task

__all__ = ["MaxRetrieval", "SubsetMean"]

Array = np.ndarray[Any, Any]
Count = Annotated[int, Ge(1)]


class SubsetMean(Task):
    """The mean of a subset: r keys carry the query's tag, and their values are to be averaged.

    The keys of an example fall at random into groups of r (those left over are one more group, never asked for). With a
    tag t_g ~ N(0, I_d) for each group,

        k_j = t_g(j) + noise * e_j,   e_j ~ N(0, I_d),   v_j ~ N(0, I_v)
        q_i = t_g(i),   g(i) uniform on the full groups

    Gold: the uniform distribution on the r keys of group g(i). Target: the mean of their values, float. Chance: r/k.

    Parameters
    ----------
    d : int, at least 1
        Features of a query or key.
    n_keys : int, at least 1
        Keys of each example, k.
    n_relevant : int, at least 1
        Keys that share a tag, r.
    noise : float, at least 0
        Standard deviation of a key's distance from its tag, per feature; a tag's own is 1.
    n_queries : int, at least 1
        Queries of each example; they may ask for the same tag.
    d_value : int, at least 1
        Features of a value, v.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split.

    Raises
    ------
    SettingError
        When n_relevant is larger than n_keys.

    Notes
    -----
    Softmax leaks weight to the other groups and, being exponential, weighs the r keys unevenly; sparse normalisers can
    give the others exactly nothing; sigmoid and ReLU weights must first learn how many keys share the sum.

    References
    ----------
    Defined here, after the support-recovery question of Martins and Astudillo (2016), From softmax to sparsemax.

    Examples
    --------
    >>> import numpy as np
    >>> data = SubsetMean(n_keys=6, n_relevant=2, n_train=1).make(np.random.default_rng(0)).train
    >>> sorted(set(data.gold.ravel().tolist())), bool(np.allclose(data.target, data.gold @ data.V))
    ([0.0, 0.5], True)
    """

    name = "subset_mean"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")

    def __init__(
        self,
        d: Count = 16,
        n_keys: Count = 16,
        n_relevant: Count = 4,
        noise: Annotated[float, Ge(0)] = 0.1,
        n_queries: Count = 4,
        d_value: Count = 16,
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.d = d
        self.n_keys = n_keys
        self.n_relevant = n_relevant
        self.noise = noise
        self.n_queries = n_queries
        self.d_value = d_value
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        return self.n_relevant / self.n_keys

    def make(self, rng: np.random.Generator) -> Splits:
        if self.n_relevant > self.n_keys:
            raise SettingError(
                f"task 'subset_mean': n_relevant must be at most n_keys = {self.n_keys}; got {self.n_relevant}"
            )
        train, validation, test = rng.spawn(3)
        return Splits(
            self._draw(train, self.n_train),
            self._draw(validation, self.n_validation),
            {"test": self._draw(test, self.n_test)},
        )

    def _draw(self, rng: np.random.Generator, n: int) -> AlignmentData:
        example = np.arange(n)[:, None]
        groups = np.arange(self.n_keys) // self.n_relevant
        group = rng.permuted(np.broadcast_to(groups, (n, self.n_keys)), axis=1)  # (n, k)
        tags = rng.normal(size=(n, groups[-1] + 1, self.d))
        K = tags[example, group]
        K = K + self.noise * rng.normal(size=K.shape)
        V = rng.normal(size=(n, self.n_keys, self.d_value))
        asked = rng.integers(self.n_keys // self.n_relevant, size=(n, self.n_queries))
        gold = (asked[:, :, None] == group[:, None, :]) / self.n_relevant
        return AlignmentData(tags[example, asked], K, V, gold=gold, target=gold @ V)


class MaxRetrieval(Task):
    """The class of the greatest: each key has a priority and a class; wanted is the class of the highest priority.

    With a direction a ~ N(0, I_d) scaled to length sqrt(d), and class vectors b_c of the same length at right angles to
    a, drawn once for all splits,

        p_j ~ U(0, 1),   c_j uniform,   k_j = p_j a + b_c(j),   v_j = the one-hot vector of c_j,   q = a

    Gold: the link to the key of the greatest p. Target: its class, int (n, 1), of `n_classes` classes. Chance: 1/k.

    Parameters
    ----------
    n_keys : int, at least 1
        Keys of each example in training, validation and the condition `test`, k.
    n_classes : int, at least 2
        Classes, which are the features of a value.
    d : int, at least 2
        Features of a query or key.
    longer : sequence of int
        Further test conditions with so many keys, named `n=64` for 64.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    Inner product, cosine and distance all rank keys by priority without training, since the classes stand at right
    angles to the query; what remains to be learned is how sharp to be. With bounded scores softmax must then disperse
    as k grows: the largest weight is at most 1 / (1 + (k - 1) exp(-D)), D the range of the scores.

    References
    ----------
    Velickovic et al. (2024), Softmax is not enough (for sharp out-of-distribution).

    Examples
    --------
    >>> import numpy as np
    >>> splits = MaxRetrieval(longer=[64]).make(np.random.default_rng(0))
    >>> splits.tests["n=64"]
    <AlignmentData n=256 q=1 k=64 d=16 v=8 float64; has gold, target>
    """

    name = "max_retrieval"
    source = Source(
        "Softmax is not Enough (for Sharp Size Generalisation)", "P. Velickovic et al.", 2024, "arXiv:2410.01104"
    )

    def __init__(
        self,
        n_keys: Count = 16,
        n_classes: Annotated[int, Ge(2)] = 8,
        d: Annotated[int, Ge(2)] = 16,
        longer: Sequence[Count] = (64, 256),
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.n_keys = n_keys
        self.n_classes = n_classes
        self.d = d
        self.longer = longer
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        return 1 / self.n_keys

    def make(self, rng: np.random.Generator) -> Splits:
        shared, train, validation, test, *others = rng.spawn(4 + len(self.longer))
        length = self.d**0.5
        a = shared.normal(size=self.d)
        a *= length / np.linalg.norm(a)
        B = shared.normal(size=(self.n_classes, self.d))
        B -= np.outer(B @ a, a) / self.d
        B *= length / np.linalg.norm(B, axis=-1, keepdims=True)
        tests = {"test": self._draw(test, self.n_test, self.n_keys, a, B)}
        for n_keys, stream in zip(self.longer, others, strict=True):
            tests[f"n={n_keys}"] = self._draw(stream, self.n_test, n_keys, a, B)
        return Splits(
            self._draw(train, self.n_train, self.n_keys, a, B),
            self._draw(validation, self.n_validation, self.n_keys, a, B),
            tests,
        )

    def _draw(self, rng: np.random.Generator, n: int, n_keys: int, a: Array, B: Array) -> AlignmentData:
        priority = rng.random((n, n_keys))
        classes = rng.integers(self.n_classes, size=(n, n_keys))
        first = priority.argmax(axis=1)[:, None]  # (n, 1)
        return AlignmentData(
            Q=np.tile(a, (n, 1, 1)),
            K=priority[:, :, None] * a + B[classes],
            V=np.eye(self.n_classes)[classes],
            gold=np.eye(n_keys)[first],
            target=np.take_along_axis(classes, first, axis=1),
        )
