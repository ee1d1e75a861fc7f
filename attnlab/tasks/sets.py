"""Queries about a set of keys: the mean of those that belong, and the greatest of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.said import SaidTask

__all__ = ["MaxRetrieval", "SubsetMean"]


@dataclass(eq=False, repr=False)
class SubsetMean(SaidTask):
    """The mean of a subset: r keys carry the query's tag, and the target is the mean of their values.

    The keys of an example are put at random into groups of r. Keys that are left over are one more group, and no query asks
    for it. With a tag t_g ~ N(0, I_d) for each group,

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
    layout : str
        pairs, or tokens: one sequence of the keys with their values, then the queries, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split.

    Raises
    ------
    SettingError
        When n_relevant is larger than n_keys.

    Notes
    -----
    Softmax gives some weight to the other groups, and gives the r keys different weights, since it is exponential. Sparse
    normalisers can give the others exactly nothing. Sigmoid and ReLU weights must first learn how many keys share the sum.

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
    revision = 1

    d: Count = 16
    n_keys: Count = 16
    n_relevant: Count = 4
    noise: Annotated[float, Ge(0)] = 0.1
    n_queries: Count = 4
    d_value: Count = 16

    @property
    def chance(self) -> float:
        return self.chance_in(self.n_relevant / self.n_keys)

    def draw(self, rng: Rng, n: int) -> AlignmentData:
        if self.n_relevant > self.n_keys:
            raise SettingError(
                f"task 'subset_mean': n_relevant must be at most n_keys = {self.n_keys}; got {self.n_relevant}"
            )
        example = np.arange(n)[:, None]
        groups = np.arange(self.n_keys) // self.n_relevant
        group = rng.permuted(np.broadcast_to(groups, (n, self.n_keys)), axis=1)  # (n, k)
        tags = rng.normal(size=(n, groups[-1] + 1, self.d))
        K = tags[example, group]
        K = K + self.noise * rng.normal(size=K.shape)
        V = rng.normal(size=(n, self.n_keys, self.d_value))
        asked = rng.integers(self.n_keys // self.n_relevant, size=(n, self.n_queries))
        gold = (asked[:, :, None] == group[:, None, :]) / self.n_relevant
        return self.laid_out(AlignmentData(tags[example, asked], K, V, gold=gold, target=gold @ V))


@dataclass(eq=False, repr=False)
class MaxRetrieval(SaidTask):
    """The class of the greatest: each key has a priority and a class; say the class of the highest priority.

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
    layout : str
        pairs, or tokens: one sequence of the keys with their values, then the queries, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    Inner product, cosine and distance all rank keys by priority without training, since the vectors of the classes are at
    right angles to the query. Only the sharpness is to be learned. With bounded scores softmax must disperse as k grows:
    the largest weight is at most 1 / (1 + (k - 1) exp(-D)), where D is the range of the scores.

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
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    n_keys: Count = 16
    n_classes: Annotated[int, Ge(2)] = 8
    d: Annotated[int, Ge(2)] = 16
    longer: Sequence[Count] = (64, 256)

    @property
    def chance(self) -> float:
        return self.chance_in(1 / self.n_keys)

    def shared(self, rng: Rng) -> dict[str, Array]:
        length = self.d**0.5
        a = rng.normal(size=self.d)
        a *= length / np.linalg.norm(a)
        B = rng.normal(size=(self.n_classes, self.d))
        B -= np.outer(B @ a, a) / self.d
        B *= length / np.linalg.norm(B, axis=-1, keepdims=True)
        return {"a": a, "B": B}

    def conditions(self) -> dict[str, dict[str, int]]:
        return {f"n={n_keys}": {"n_keys": n_keys} for n_keys in self.longer}

    def draw(self, rng: Rng, n: int, a: Array, B: Array, n_keys: int | None = None) -> AlignmentData:
        k = n_keys or self.n_keys
        priority = rng.random((n, k))
        classes = rng.integers(self.n_classes, size=(n, k))
        first = priority.argmax(axis=1)[:, None]  # (n, 1)
        data = AlignmentData(
            Q=np.tile(a, (n, 1, 1)),
            K=priority[:, :, None] * a + B[classes],
            V=np.eye(self.n_classes)[classes],
            gold=np.eye(k)[first],
            target=np.take_along_axis(classes, first, axis=1),
        )
        return self.laid_out(data)
