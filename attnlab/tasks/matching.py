"""What it takes to compare: keys turned by a fixed matrix, keys that match by an exclusive or, blocks that hold two letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import of_lengths

__all__ = ["FindBlock", "LinearMatch", "XorKey"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")


@dataclass(eq=False, repr=False)
class LinearMatch(DrawnTask):
    """Lookup through a fixed rotation: the query that fits a key is not the key, but the key turned back.

        u_j ~ N(0, I_d),   k_j = R u_j,   v_j ~ N(0, I_v),   q_i = u_j(i) + noise * e_i,   e_i ~ N(0, I_d)

    with R orthogonal, uniform among the orthogonal matrices, drawn once for all splits, and j(i) uniform.

    Gold: the link i -> j(i). Target: v_j(i), float. Chance: 1/k.

    Parameters
    ----------
    d : int, at least 2
        Features of a query or key.
    n_keys : int, at least 1
        Keys of each example, k.
    noise : float, at least 0
        Standard deviation of the query's blur, per feature; the keys' own is 1.
    n_queries : int, at least 1
        Queries of each example; they may ask for the same key.
    d_value : int, at least 1
        Features of a value, v.
    longer : sequence of int
        Further test conditions with so many keys, named `n=64` for 64.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    `general` holds the matrix that is needed. An inner product, a distance or a cosine of what is given ranks at random, and
    needs projections. Turned by R, it is `lookup`.

    References
    ----------
    Defined here, for the bilinear score of Luong, Pham and Manning (2015).

    Examples
    --------
    >>> import numpy as np
    >>> LinearMatch(n_train=4).make(np.random.default_rng(0)).train
    <AlignmentData n=4 q=4 k=16 d=16 v=16 float64; has gold, target>
    """

    name = "linear_match"
    source = HERE
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    d: Annotated[int, Ge(2)] = 16
    n_keys: Count = 16
    noise: Annotated[float, Ge(0)] = 0.3
    n_queries: Count = 4
    d_value: Count = 16
    longer: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        return 1 / self.n_keys

    def shared(self, rng: Rng) -> dict[str, Array]:
        R, T = np.linalg.qr(rng.normal(size=(self.d, self.d)))
        return {"R": R * np.sign(np.diag(T))}  # uniform, which qr alone is not

    def conditions(self) -> dict[str, dict[str, int]]:
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, R: Array, length: int | None = None) -> AlignmentData:
        k = length or self.n_keys
        U = rng.normal(size=(n, k, self.d))
        V = rng.normal(size=(n, k, self.d_value))
        asked = rng.integers(k, size=(n, self.n_queries))
        example = np.arange(n)[:, None]
        Q = U[example, asked] + self.noise * rng.normal(size=(n, self.n_queries, self.d))
        return AlignmentData(Q, U @ R.T, V, gold=np.eye(k)[asked], target=V[example, asked])


@dataclass(eq=False, repr=False)
class XorKey(DrawnTask):
    """Keys that match by an exclusive or: the query says whether the two bits of its key differ.

    Keys come in pairs of one identity. The two bits a, b of one key of a pair are equal and those of the other are not; each of
    a is uniform. With a vector c_g ~ N(0, I_m) for each pair, anew in each example, and bits written as -1 and 1,

        k_j = (c_g(j), bit_scale * a_j, bit_scale * b_j),   q_i = (c_g(i), bit_scale * t_i, 0),   v_j ~ N(0, I_v)

    in a random order, with g(i) and the bit t_i uniform.

    Gold: the link to the key of identity g(i) with a xor b = t_i. Target: its value, float. Chance: 1/k.

    Parameters
    ----------
    n_ids : int, at least 1
        Identities; an example has k = 2 * n_ids keys.
    d_id : int, at least 1
        Features of an identity, m. Queries and keys have two more.
    bit_scale : float, above 0
        Size of a bit; a feature's standard deviation is 1.
    n_queries : int, at least 1
        Queries of each example.
    d_value : int, at least 1
        Features of a value, v.
    longer : sequence of int
        Further test conditions with so many identities, named `n=32` for 32.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    A score that is linear in the key finds the identity and must guess which of two keys: it gets one half. A score that is
    not linear in it, as `additive`, can do it.

    References
    ----------
    Defined here, after Minsky and Papert (1969), Perceptrons, on the exclusive or.

    Examples
    --------
    >>> import numpy as np
    >>> data = XorKey(n_train=100).make(np.random.default_rng(0)).train
    >>> a, b = np.moveaxis(data.gold @ data.K[:, :, -2:], -1, 0)
    >>> bool(((a != b) == (data.Q[:, :, -2] > 0)).all())
    True
    """

    name = "xor_key"
    source = HERE
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    n_ids: Count = 4
    d_id: Count = 8
    bit_scale: Annotated[float, Gt(0)] = 1.0
    n_queries: Count = 4
    d_value: Count = 16
    longer: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        return 1 / (2 * self.n_ids)

    def conditions(self) -> dict[str, dict[str, int]]:
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, length: int | None = None) -> AlignmentData:
        ids = length or self.n_ids
        k = 2 * ids
        number = rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)  # of a key: identity, and whether a != b
        group, differs = number // 2, number % 2
        C = rng.normal(size=(n, ids, self.d_id))
        a = rng.integers(2, size=(n, k))
        example = np.arange(n)[:, None]
        bits = self.bit_scale * (2.0 * np.stack([a, a ^ differs], axis=-1) - 1)
        K = np.concatenate([C[example, group], bits], axis=-1)
        V = rng.normal(size=(n, k, self.d_value))
        asked = rng.integers(k, size=(n, self.n_queries))
        t = self.bit_scale * (2.0 * differs[example, asked] - 1)
        Q = np.concatenate([C[example, group[example, asked]], np.stack([t, 0 * t], axis=-1)], axis=-1)
        return AlignmentData(Q, K, V, gold=np.eye(k)[asked], target=V[example, asked])


@dataclass(eq=False, repr=False)
class FindBlock(DrawnTask):
    """Two letters are asked for: find the one block of letters that holds both.

    An example is n_blocks blocks of `size` different letters each, uniform. With vectors e_x ~ N(0, I_d) for the letters, drawn
    once for all splits, a place has the key e_x and as value the one-hot vector of its letter. The query is e_x + e_y for two
    letters of one block that no other block holds both of.

    Gold: the uniform distribution on the places of that block. Target: the mean of their values, float (n, 1, n_letters).
    Chance: 1 / n_blocks.

    Parameters
    ----------
    n_blocks : int, at least 1
        Blocks of an example.
    size : int, at least 2
        Letters of a block; an example has k = n_blocks * size places.
    n_letters : int, at least 3
        Different letters, more than `size`.
    d : int, at least 1
        Features of a query or key.
    longer : sequence of int
        Further test conditions with so many blocks, named `n=32` for 32.
    depths : sequence of float, 0 to 1
        Further test conditions in which the block has this place among the others, from 0 (the first) to 1 (the last), named
        `depth=0.5`.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When `size` is not less than n_letters.

    Notes
    -----
    A single score sees one letter. It finds either letter in several blocks, and only scores that are combined over
    neighbouring keys tell which block has both.

    References
    ----------
    Golovneva et al. (2025), Multi-token attention, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> data = FindBlock(n_blocks=3, n_train=1).make(np.random.default_rng(0)).train
    >>> data, int((data.gold[0, 0] > 0).sum())
    (<AlignmentData n=1 q=1 k=15 d=16 v=26 float64; has gold, target>, 5)
    """

    name = "find_block"
    source = Source(
        "Multi-Token Attention", "O. Golovneva, T. Wang, J. Weston, S. Sukhbaatar", 2025, "arXiv:2504.00927"
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer", "depths")

    n_blocks: Count = 8
    size: Annotated[int, Ge(2)] = 5
    n_letters: Annotated[int, Ge(3)] = 26
    d: Count = 16
    longer: Sequence[Count] = ()
    depths: Sequence[Annotated[float, Ge(0), Le(1)]] = ()

    @property
    def chance(self) -> float:
        return 1 / self.n_blocks

    def shared(self, rng: Rng) -> dict[str, Array]:
        if self.size >= self.n_letters:
            raise SettingError(
                f"task 'find_block': size must be less than n_letters = {self.n_letters}; got {self.size}"
            )
        return {"E": rng.normal(size=(self.n_letters, self.d))}

    def conditions(self) -> dict[str, dict[str, Any]]:
        return {**of_lengths(self.longer), **{f"depth={at:g}": {"depth": at} for at in self.depths}}

    def draw(self, rng: Rng, n: int, E: Array, length: int | None = None, depth: float | None = None) -> AlignmentData:
        blocks, size = length or self.n_blocks, self.size
        letters = self._blocks(rng, n * blocks).reshape(n, blocks, size)
        right = rng.integers(blocks, size=n) if depth is None else np.full(n, round(depth * (blocks - 1)))
        asked = letters[np.arange(n), right, :2]  # (n, 2); the letters of a block are in random order
        other = np.arange(blocks) != right[:, None]
        while (
            both := self._hold(letters, asked) & other
        ).any():  # a block avoids them with probability 2 / n_letters or more
            letters[both] = self._blocks(rng, int(both.sum()))
        places = rng.permuted(letters, axis=-1).reshape(n, blocks * size)
        V = np.eye(self.n_letters)[places]
        gold = np.repeat(np.eye(blocks)[right], size, axis=1)[:, None] / size
        return AlignmentData(E[asked].sum(axis=1, keepdims=True), E[places], V, gold=gold, target=gold @ V)

    @staticmethod
    def _hold(letters: Array, asked: Array) -> Array:
        """bool (n, blocks): the blocks that hold both letters."""
        found = (letters[:, :, None, :] == asked[:, None, :, None]).any(axis=-1)  # (n, blocks, 2)
        return np.asarray(found.all(axis=-1))

    def _blocks(self, rng: Rng, n: int) -> Array:
        """n blocks of different letters, (n, size)."""
        return np.argsort(rng.random((n, self.n_letters)), axis=1)[:, : self.size]
