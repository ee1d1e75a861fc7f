"""Recall from pairs of keys and values: lookup, and lookup among distractors, hubs and questions without an answer.

In all four an example has a memory of k pairs (k_j, v_j) with v_j ~ N(0, I). Each query asks for the value of one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, Lt

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, Rng
from attnlab.tasks.said import SaidTask

__all__ = ["Lookup", "NoisyRecall", "NormHubs", "NullQueries"]

Noise = Annotated[float, Ge(0), Le(1e100)]


def _ask(rng: Rng, asked: Array, K: Array, V: Array, noise: float) -> tuple[Array, Array, Array]:
    """Queries for the keys `asked` (n, q), blurred by noise: Q (n, q, d), gold (n, q, k), target (n, q, v)."""
    example = np.arange(len(asked))[:, None]
    Q = K[example, asked]
    Q = Q + noise * rng.normal(size=Q.shape)
    return Q, np.eye(K.shape[1])[asked], V[example, asked]


@dataclass(eq=False, repr=False)
class Lookup(SaidTask):
    """Key lookup: which of k random keys is this query a blurred copy of?

    For each example, with j(i) uniform on the keys that are not padding,

        k_j ~ N(0, I_d),   v_j ~ N(0, I_v),   q_i = k_j(i) + noise * e_i,   e_i ~ N(0, I_d)

    Gold: the link i -> j(i). Target: v_j(i), float. Chance: 1/k (with padding, the mean of 1/k over the lengths).

    Parameters
    ----------
    d : int, at least 1
        Features of a query or key. At 16 and noise 0.3 the exact dot product ranks the gold key first in about 97 of
        100 queries, and neg_l2 in all.
    n_keys : int, at least 1
        Keys of each example, k.
    noise : float, 0 to 1e100
        Standard deviation of the query's blur, per feature; the keys' own is 1.
    n_queries : int, at least 1
        Queries of each example, q; they may ask for the same key.
    d_value : int, at least 1
        Features of a value, v.
    min_keys : int or None
        If given, the number of keys of each example is uniform on min_keys..n_keys; the rest is padding: zeros, masked.
    layout : str
        pairs, or tokens: one sequence of the keys with their values, then the queries, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split.

    Raises
    ------
    SettingError
        When min_keys is larger than n_keys.

    Notes
    -----
    Also called associative recall. Nothing of one example helps with another: only the way of comparing is learned.

    References
    ----------
    Graves, Wayne and Danihelka (2014), Neural Turing Machines, section 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> splits = Lookup(n_train=8, min_keys=4).make(np.random.default_rng(0))
    >>> splits.train
    <AlignmentData n=8 q=4 k=32 d=16 v=16 float64; has mask, gold, target>
    """

    name = "lookup"
    source = Source("Neural Turing Machines", "A. Graves, G. Wayne, I. Danihelka", 2014, "arXiv:1410.5401, section 4.3")
    revision = 1

    d: Count = 16
    n_keys: Count = 32
    noise: Noise = 0.3
    n_queries: Count = 4
    d_value: Count = 16
    min_keys: Count | None = None

    def _lengths(self) -> Array:
        """The numbers of keys that an example may have, each equally likely."""
        if self.min_keys is None:
            return np.array([self.n_keys])
        if self.min_keys > self.n_keys:
            raise SettingError(f"task 'lookup': min_keys must be at most n_keys = {self.n_keys}; got {self.min_keys}")
        return np.arange(self.min_keys, self.n_keys + 1)

    @property
    def chance(self) -> float:
        return self.chance_in(float(np.mean(1 / self._lengths())))

    def draw(self, rng: Rng, n: int) -> AlignmentData:
        lengths = rng.choice(self._lengths(), size=(n, 1))
        K = rng.normal(size=(n, self.n_keys, self.d))
        V = rng.normal(size=(n, self.n_keys, self.d_value))
        asked = rng.integers(lengths, size=(n, self.n_queries))
        Q, gold, target = _ask(rng, asked, K, V, self.noise)
        if self.min_keys is None:
            return self.laid_out(AlignmentData(Q, K, V, gold=gold, target=target))
        there = np.arange(self.n_keys) < lengths  # (n, k)
        K, V = K * there[:, :, None], V * there[:, :, None]
        return self.laid_out(AlignmentData(Q, K, V, mask=there[:, None, :], gold=gold, target=target))


@dataclass(eq=False, repr=False)
class NoisyRecall(SaidTask):
    """Lookup among distractors: a share rho of the memory comes from another vocabulary and is never asked for.

    The memory has `n_keys` pairs as in `lookup`, and so many distractors that they are the share rho of it,

        k_j ~ N(0, I_d) for the pairs,   k_j ~ N(c, I_d) for the distractors,   |c| = shift,   v_j ~ N(0, I_v)
        q_i = k_j(i) + noise * e_i,   j(i) uniform on the pairs

    in a random order. The direction of c is drawn once and holds for all splits, so that it can be learned.

    Gold: the link i -> j(i). Target: v_j(i), float. Chance: 1/k, where k = n_keys + distractors.

    Parameters
    ----------
    rho : float, from 0 to less than 1
        Share of the memory that is distractors; their number is rounded.
    shift : float, at least 0
        Distance between the centres of the two vocabularies; a feature's standard deviation is 1.
    d, n_keys, noise, n_queries, d_value, layout, n_train, n_validation, n_test
        As in `lookup`; n_keys counts the pairs that may be asked for.

    Notes
    -----
    The number of pairs stays the same when distractors are added. So rho = 0 is `lookup`, and what changes is the weight
    that goes to distractors. Poli et al. instead replace a share of a sequence of fixed length by tokens of a noise
    vocabulary.

    References
    ----------
    Poli et al. (2024), Mechanistic design and scaling of hybrid architectures (noisy in-context recall).

    Examples
    --------
    >>> import numpy as np
    >>> NoisyRecall(n_keys=8, rho=0.5, n_train=4).make(np.random.default_rng(0)).train
    <AlignmentData n=4 q=4 k=16 d=16 v=16 float64; has gold, target>
    """

    name = "noisy_recall"
    source = Source(
        "Mechanistic Design and Scaling of Hybrid Architectures", "M. Poli et al.", 2024, "arXiv:2403.17844"
    )
    revision = 1

    rho: Annotated[float, Ge(0), Lt(1)] = 0.4
    shift: Annotated[float, Ge(0)] = 4.0
    d: Count = 16
    n_keys: Count = 16
    noise: Noise = 0.3
    n_queries: Count = 4
    d_value: Count = 16

    @property
    def n_distractors(self) -> int:
        """How many distractors make the share rho."""
        return round(self.n_keys * self.rho / (1 - self.rho))

    @property
    def chance(self) -> float:
        return self.chance_in(1 / (self.n_keys + self.n_distractors))

    def shared(self, rng: Rng) -> dict[str, Array]:
        centre = rng.normal(size=self.d)
        return {"centre": centre * self.shift / np.linalg.norm(centre)}

    def draw(self, rng: Rng, n: int, centre: Array) -> AlignmentData:
        k = self.n_keys + self.n_distractors
        order = rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)  # the place of each pair, then distractor
        distractor = np.argsort(order, axis=1) >= self.n_keys  # (n, k), by place
        K = rng.normal(size=(n, k, self.d)) + distractor[:, :, None] * centre
        V = rng.normal(size=(n, k, self.d_value))
        asked = np.take_along_axis(order, rng.integers(self.n_keys, size=(n, self.n_queries)), axis=1)
        Q, gold, target = _ask(rng, asked, K, V, self.noise)
        return self.laid_out(AlignmentData(Q, K, V, gold=gold, target=target))


@dataclass(eq=False, repr=False)
class NormHubs(SaidTask):
    """Lookup among hubs: the keys' norms are log-normal, and long keys win inner products they should not.

        u_j uniform on the sphere of radius sqrt(d),   k_j = exp(sigma * z_j) * u_j,   z_j ~ N(0, 1)
        q_i = u_j(i) + noise * e_i,   v_j ~ N(0, I_v),   j(i) uniform on the keys

    Gold: the link i -> j(i). Target: v_j(i), float. Chance: 1/k.

    Parameters
    ----------
    sigma : float, 0 to 10
        Standard deviation of the logarithm of the keys' norms, dimensionless.
    d, n_keys, noise, n_queries, d_value, layout, n_train, n_validation, n_test
        As in `lookup`.

    Notes
    -----
    The query carries the key's direction and not its norm. Untrained, with the defaults, the gold key has the highest
    score in this share of queries (a test holds these numbers):

        sigma    dot    neg_l2    cosine
        0.5      .69      .90      1.0
        1.0      .38      .73      1.0
        1.5      .26      .62      1.0

    References
    ----------
    Henry et al. (2020), Query-key normalization for transformers.

    Examples
    --------
    >>> import numpy as np
    >>> NormHubs(n_train=4).make(np.random.default_rng(0)).train
    <AlignmentData n=4 q=4 k=32 d=16 v=16 float64; has gold, target>
    """

    name = "norm_hubs"
    source = Source(
        "Query-Key Normalization for Transformers",
        "A. Henry, P. R. Dachapally, S. Pawar, Y. Chen",
        2020,
        "Findings of EMNLP",
    )
    revision = 1

    sigma: Annotated[float, Ge(0), Le(10)] = 1.0
    d: Count = 16
    n_keys: Count = 32
    noise: Noise = 0.3
    n_queries: Count = 4
    d_value: Count = 16

    @property
    def chance(self) -> float:
        return self.chance_in(1 / self.n_keys)

    def draw(self, rng: Rng, n: int) -> AlignmentData:
        U = rng.normal(size=(n, self.n_keys, self.d))
        U *= self.d**0.5 / np.linalg.norm(U, axis=-1, keepdims=True)
        K = U * np.exp(self.sigma * rng.normal(size=(n, self.n_keys, 1)))
        V = rng.normal(size=(n, self.n_keys, self.d_value))
        asked = rng.integers(self.n_keys, size=(n, self.n_queries))
        Q, gold, target = _ask(rng, asked, U, V, self.noise)
        return self.laid_out(AlignmentData(Q, K, V, gold=gold, target=target))


@dataclass(eq=False, repr=False)
class NullQueries(SaidTask):
    """Lookup where a share pi of the queries matches nothing: their gold row and their target are zero.

    Keys, values and queries as in `lookup`, but each query is, with probability pi, a null query

        q_i ~ N(0, (1 + noise^2) I_d),   gold_i = 0,   target_i = 0

    which looks like any other query and fits no key. A null query is no padding: it may attend to every key, and should
    not. Chance: 1/k, on the queries that match.

    Parameters
    ----------
    pi : float, 0 to 1
        Expected share of null queries.
    d, n_keys, noise, n_queries, d_value, layout, n_train, n_validation, n_test
        As in `lookup`.

    Notes
    -----
    Softmax must spend a mass of 1 on every query; softmax_n, sigmoid and ReLU can abstain.

    References
    ----------
    Miller (2023), Attention is off by one.

    Examples
    --------
    >>> import numpy as np
    >>> data = NullQueries(pi=0.5).make(np.random.default_rng(0)).train
    >>> null = data.gold.sum(axis=-1) == 0
    >>> bool(0.45 < null.mean() < 0.55), float(abs(data.target[null]).max())
    (True, 0.0)
    """

    name = "null_queries"
    source = Source("Attention Is Off By One", "E. Miller", 2023, "evanmiller.org/attention-is-off-by-one.html")
    revision = 1

    pi: Annotated[float, Ge(0), Le(1)] = 0.3
    d: Count = 16
    n_keys: Count = 16
    noise: Noise = 0.3
    n_queries: Count = 4
    d_value: Count = 16

    @property
    def chance(self) -> float:
        return self.chance_in(1 / self.n_keys)

    def draw(self, rng: Rng, n: int) -> AlignmentData:
        K = rng.normal(size=(n, self.n_keys, self.d))
        V = rng.normal(size=(n, self.n_keys, self.d_value))
        asked = rng.integers(self.n_keys, size=(n, self.n_queries))
        Q, gold, target = _ask(rng, asked, K, V, self.noise)
        matches = (rng.random((n, self.n_queries)) >= self.pi)[:, :, None]
        stranger = (1 + self.noise**2) ** 0.5 * rng.normal(size=Q.shape)
        Q = np.where(matches, Q, stranger)
        return self.laid_out(AlignmentData(Q, K, V, gold=gold * matches, target=target * matches))
