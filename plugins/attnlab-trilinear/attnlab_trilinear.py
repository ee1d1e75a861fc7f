"""Attention to pairs of keys, and a task that needs it. A plugin for attnlab."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab import (
    AlignmentData,
    DrawnTask,
    MechanismComponent,
    Source,
    Task,
    check_shapes,
    detach,
    hookimpl,
    namespace,
)
from attnlab.arrays import as_float
from attnlab.mechanisms.context import context_of
from attnlab.mechanisms.heads import own_of, readable
from attnlab.precision import in_range


class Trilinear(MechanismComponent):
    """Attends to pairs of keys: a pair answers by the product of three projections, of the query and of both keys.

    s_ijl = sum_c (A'q_i)_c (B'k_j)_c (C'k_l)_c / rank^(1/2), p_ijl = softmax of s over all pairs (j, l) whose keys are both allowed,
    w_ij = 1/2 sum_l (p_ijl + p_ilj), y_i = sum_j w_ij v_j. Learned: A (d_query, rank), B (d_key, rank), C (d_key, rank), started at N(0, 1/rows).
    Cost: 2 rank operations for each pair of keys, so that it grows with the cube of the number of tokens.

    Parameters
    ----------
    rank : int > 0, features
        Products that are summed up.

    Notes
    -----
    A score of one key cannot tell what depends on two keys together. The paper puts v_j v'_l, a product, in the place of the mean of two
    values; with it contexts are no weighted sums of values. Here the weights are a key's share of all pairs.

    References
    ----------
    Clift, Doryn, Murfet, Wallbridge (2020), section 3; arXiv:2507.02754 for kernels.

    Examples
    --------
    >>> import numpy as np
    >>> trilinear = Trilinear(rank=3)
    >>> params = trilinear.init(np.random.default_rng(0), d_query=2, d_key=2, d_value=1)
    >>> W = trilinear.weights(params, np.ones((1, 2)), np.ones((4, 2)))
    >>> W.round(3)
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    name = "trilinear"
    source = Source("Logic and the 2-Simplicial Transformer", "Clift, Doryn, Murfet, Wallbridge", 2020, "ICLR")

    def __init__(self, rank: Annotated[int, Gt(0)] = 16) -> None:
        self.rank = rank

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        widths = {"A": d_query, "B": d_key, "C": d_key}
        return {n: rng.normal(size=(d, self.rank)) / math.sqrt(max(1, d)) for n, d in widths.items()}

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        params, (Q, K), cast = in_range(own_of(self, params), as_float(Q, "Q"), as_float(K, "K"))
        check_shapes(Q=("... q d", Q), K=("... k e", K))
        M = context_of((mask,), Q, K, None, features="free").M
        return cast(self._weights(params, Q, readable(K, M), M))

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        params, (Q, K, V), cast = in_range(own_of(self, params), *nouns)
        M = context_of((mask,), Q, K, V, features="free").M
        W = self._weights(params, Q, readable(K, M), M)
        return cast(namespace(W, V).matmul(W, readable(V, M)))

    def _weights(self, params: Any, Q: Any, K: Any, M: Any) -> Any:
        xp = namespace(Q, K, params["A"])
        a, b, c = (xp.matmul(X, params[n]) for X, n in ((Q, "A"), (K, "B"), (K, "C")))
        if 0 in (Q.shape[-2], K.shape[-2]):
            return xp.matmul(a, xp.matrix_transpose(b))
        S = xp.matmul(
            a[..., :, None, :] * b[..., None, :, :], xp.matrix_transpose(c)[..., None, :, :]
        )  # (..., q, k, k)
        S = S / self.rank**0.5
        if M is None:
            P = self._shares(xp, S, None)
            return (xp.sum(P, axis=-1) + xp.sum(P, axis=-2)) / 2
        both = M[..., :, None] & M[..., None, :]
        P = self._shares(xp, S, both)
        return (xp.sum(P, axis=-1) + xp.sum(P, axis=-2)) / 2

    @staticmethod
    def _shares(xp: Any, S: Any, both: Any) -> Any:
        """The softmax over pairs; zeros where there is none."""
        if both is None:
            E = xp.exp(S - xp.max(detach(S), axis=(-2, -1), keepdims=True))
            return E / xp.sum(E, axis=(-2, -1), keepdims=True)
        zero = xp.zeros_like(detach(S))
        low = xp.where(both, detach(S), zero - xp.inf)
        top = xp.max(low, axis=(-2, -1), keepdims=True)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        E = xp.where(both, xp.exp(xp.where(both, S - top, zero)), zero)
        total = xp.sum(E, axis=(-2, -1), keepdims=True)
        return E / xp.where(detach(total) > 0, total, xp.ones_like(detach(total)))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        projected = 2.0 * self.rank * (d_query + 2 * d_key)
        return projected + (2.0 * self.rank + 5.0) * n_keys**2 + 2.0 * n_keys * d_value


@dataclass(eq=False, repr=False)
class MatchThree(DrawnTask):
    """Find the two keys whose numbers, with that of the query, add up to nothing modulo `base`.

    A number x is the vector (cos(2 pi x / base), sin(2 pi x / base)), for keys and the query. One pair of keys (j, l) has x_q + x_j + x_l = 0
    modulo base, and no other pair has. Values are ~ N(0, I_v).

    Gold: one half on each of both keys. Target: the mean of their values, float (n, 1, d_value). Chance: 2 / k.

    Parameters
    ----------
    n_keys : int > 1
        Keys of an example, k.
    base : int > 2
        Numbers are 0..base - 1. It must leave room: base > 2 k.
    d_value : int > 0
        Features of a value.
    n_train, n_validation, n_test : int > 0
        Examples of each split.

    Notes
    -----
    Whether a key belongs to the pair depends on the other key, so that scores of single keys are at chance.

    References
    ----------
    Sanford, Hsu, Telgarsky (2023), section 4: Match3.

    Examples
    --------
    >>> import numpy as np
    >>> data = MatchThree(n_train=50).make(np.random.default_rng(0)).train
    >>> angle = np.arctan2(data.K[..., 1], data.K[..., 0])
    >>> total = np.arctan2(data.Q[:, 0, 1], data.Q[:, 0, 0]) + (angle * data.gold[:, 0] * 2).sum(axis=-1)
    >>> bool(np.allclose(np.cos(total), 1))
    True
    """

    name = "match_three"
    source = Source(
        "Representational Strengths and Limitations of Transformers", "Sanford, Hsu, Telgarsky", 2023, "NeurIPS"
    )

    n_keys: Annotated[int, Gt(1)] = 5
    base: Annotated[int, Gt(2)] = 24
    d_value: Annotated[int, Gt(0)] = 8

    @property
    def chance(self) -> float:
        return 2 / self.n_keys

    def draw(self, rng: np.random.Generator, n: int) -> AlignmentData:
        k, base = self.n_keys, self.base
        pairs = np.triu_indices(k, 1)
        K = np.zeros((n, k), dtype=int)
        asked, chosen = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        left = np.arange(n)
        while len(left):  # until one pair alone fits
            x, q = rng.integers(base, size=(len(left), k)), rng.integers(base, size=len(left))
            fits = (x[:, pairs[0]] + x[:, pairs[1]] + q[:, None]) % base == 0
            good = fits.sum(axis=1) == 1
            K[left[good]], asked[left[good]], chosen[left[good]] = x[good], q[good], fits[good].argmax(axis=1)
            left = left[~good]
        gold = (np.eye(k)[pairs[0][chosen]] + np.eye(k)[pairs[1][chosen]])[:, None, :] / 2
        V = rng.normal(size=(n, k, self.d_value))
        return AlignmentData(_circle(asked[:, None], base), _circle(K, base), V, gold=gold, target=gold @ V)


def _circle(x: Any, base: int) -> Any:
    angle = 2 * np.pi * x / base
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


@hookimpl
def attnlab_mechanisms() -> list[type[MechanismComponent]]:
    return [Trilinear]


@hookimpl
def attnlab_tasks() -> list[type[Task]]:
    return [MatchThree]
