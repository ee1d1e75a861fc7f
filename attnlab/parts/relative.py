"""Positions: learned ones, and those that depend on distances, or on the place in the whole sequence."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, MultipleOf

from attnlab.arrays import namespace, to_numpy
from attnlab.errors import NotInitialised, SettingError, Unsupported
from attnlab.interfaces import Position, Source
from attnlab.libraries import is_traced, library_of
from attnlab.precision import exact, in_float32

__all__ = ["Alibi", "Diagonal", "GaussianLocal", "Learned", "T5Bias"]


class Learned(Position):
    """A learned vector for each position, added to queries and keys.

    q_i + P_i and k_j + R_j, with learned tables P (positions, d_query) and R (positions, d_key), started at N(0, scale^2).
    Cost: d operations a vector.

    Parameters
    ----------
    positions : int > 0, positions
        Rows of the tables. A position that training did not see keeps its random start. What is learned thus does not carry
        over to longer sequences.
    scale : float > 0, in the unit of queries and keys
        Standard deviation of the start.

    Raises
    ------
    Unsupported
        When a sequence has more positions than the tables.

    Notes
    -----
    Queries and keys have a table each, because their sequences and dimensions may differ. Software for self-attention
    has one table, which it adds to the embeddings before the projections.

    References
    ----------
    Gehring et al. (2017), section 3.1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> learned = attnlab.get("position", "learned", positions=8)
    >>> P = learned.init(np.random.default_rng(0), d_query=4, d_key=4)
    >>> P["query_table"].shape, P["key_table"].shape
    ((8, 4), (8, 4))
    """

    name = "learned"
    source = Source("Convolutional Sequence to Sequence Learning", "Gehring et al.", 2017, "ICML")
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, positions: Annotated[int, Gt(0)] = 512, scale: Annotated[float, Gt(0)] = 0.1) -> None:
        self.positions = positions
        self.scale = scale

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        return {
            "query_table": self.scale * rng.normal(size=(self.positions, d_query)),
            "key_table": self.scale * rng.normal(size=(self.positions, d_key)),
        }

    @in_float32
    def place(self, Q: Any, K: Any, q_index: Any, k_index: Any, query_table: Any, key_table: Any) -> Any:
        return Q + self._rows(query_table, q_index), K + self._rows(key_table, k_index)

    def _rows(self, table: Any, index: Any) -> Any:
        xp = namespace(table)
        places = xp.asarray(index)
        known = 0 not in places.shape and not is_traced(index)  # inside JAX's jit there are no numbers to look at yet
        on_device = library_of(index) == "torch"  # only the largest is copied from there
        largest = int(xp.max(places) if on_device else to_numpy(index).max()) if known else -1
        if largest >= table.shape[0]:
            raise Unsupported(
                f"position 'learned' has vectors for positions 0 to {table.shape[0] - 1}; got position {largest}: "
                "set positions higher, or choose a position that has no table"
            )
        rows = xp.take(table, xp.reshape(places, (-1,)), axis=0)
        return xp.reshape(rows, (*places.shape, table.shape[-1]))

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return float(d_query + n_keys * d_key)


class Alibi(Position):
    """A penalty on scores that grows with the distance between query and key.

    s_ij - slope |i - j|. Cost: 2 operations a pair.

    Parameters
    ----------
    slope : float > 0 or "learned", 1/position
        Head h of H has 2^(-8h/H) in the paper. The default is that of the first of eight heads. "learned" starts at the default,
        and its logarithm is learned, `log_slope` ().

    Notes
    -----
    The paper's attention is causal, j <= i. Here, keys after the query are penalised in the same way.

    References
    ----------
    Press, Smith, Lewis (2022), section 3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("position", "alibi", slope=0.5).bias(np.zeros((2, 3)), np.arange(2), np.arange(3))
    array([[ 0. , -0.5, -1. ],
           [-0.5,  0. , -0.5]])
    """

    name = "alibi"
    source = Source(
        "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation",
        "Press, Smith, Lewis",
        2022,
        "ICLR",
    )
    keeps_nonnegative = False
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, slope: Annotated[float, Gt(0)] | Literal["learned"] = 0.5) -> None:
        self.slope = slope

    def init(self) -> dict[str, Any]:
        return {"log_slope": np.asarray(math.log(0.5))} if self.slope == "learned" else {}

    @in_float32
    def bias(self, S: Any, q_index: Any, k_index: Any, log_slope: Any = None) -> Any:
        xp = namespace(S, log_slope)
        away = xp.astype(xp.abs(xp.asarray(k_index)[..., None, :] - xp.asarray(q_index)[..., :, None]), S.dtype)
        return S - _fixed_or_learned(xp, "alibi", "slope", self.slope, log_slope) * away

    def operations(self, n_keys: int) -> float:
        return 2.0 * n_keys


def _fixed_or_learned(xp: Any, name: str, setting: str, value: Any, log_value: Any) -> Any:
    """The value that a setting fixes, or the exponential of what was learned."""
    if log_value is not None:
        return xp.exp(log_value)
    if value == "learned":
        raise NotInitialised(f"{name} learns its {setting}, and was not given log_{setting}; see init")
    return float(value)


class T5Bias(Position):
    """A learned number for each bucket of distances, added to scores.

    s_ij + b[bucket(j - i)]. Half of the buckets are for keys after the query. In each half, the first half of the buckets
    holds one distance each. The others grow geometrically up to `max_distance`, and the last holds all larger distances.
    The learned b (buckets,) starts at 0. Cost: 1 operation a pair.

    Parameters
    ----------
    buckets : int >= 4, a multiple of 4
    max_distance : int > buckets / 4, positions

    Raises
    ------
    SettingError
        When max_distance is not more than buckets / 4.

    References
    ----------
    Raffel et al. (2020), section 2.1; the buckets are those of the authors' code, bidirectional.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> t5 = attnlab.get("position", "t5_bias")
    >>> t5.buckets_of(np.array([0, -1, -7, -8, -200, 1, 7, 8, 200])).tolist()
    [0, 1, 7, 8, 15, 17, 23, 24, 31]
    """

    name = "t5_bias"
    source = Source(
        "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
        "Raffel et al.",
        2020,
        "JMLR 21",
    )
    keeps_nonnegative = False
    permutation_equivariant = False
    mixes_keys = False

    def __init__(
        self, buckets: Annotated[int, Ge(4), MultipleOf(4)] = 32, max_distance: Annotated[int, Gt(1)] = 128
    ) -> None:
        self.buckets = buckets
        self.max_distance = max_distance

    def init(self) -> dict[str, Any]:
        return {"bucket_bias": np.zeros(self.buckets)}

    def buckets_of(self, distance: Any) -> Any:
        """The bucket of each distance j - i, int of the same shape."""
        half, exact = self.buckets // 2, self.buckets // 4
        if self.max_distance <= exact:
            raise SettingError(
                f"position 't5_bias': max_distance must be more than buckets / 4 = {exact}; got {self.max_distance}"
            )
        xp = namespace(distance)
        away = xp.abs(distance)
        beyond = xp.searchsorted(xp.asarray(self._edges(exact, half)), away, side="right")  # edges reached
        bucket = xp.where(away < exact, away, exact + beyond)
        return bucket + half * xp.astype(distance > 0, bucket.dtype)

    def _edges(self, exact: int, half: int) -> Any:
        """The distance at which each bucket after the first of the geometric ones begins."""

        def bucket(away: int) -> int:
            return int(math.log(away / exact) / math.log(self.max_distance / exact) * (half - exact))

        edges = []
        for i in range(1, half - exact):
            edge = max(exact, math.floor(exact * (self.max_distance / exact) ** (i / (half - exact))) - 1)
            while bucket(edge) < i:
                edge += 1
            edges.append(edge)
        return np.array(edges, dtype=np.int64)

    @in_float32
    def bias(self, S: Any, q_index: Any, k_index: Any, bucket_bias: Any) -> Any:
        xp = namespace(S, bucket_bias)
        bucket = self.buckets_of(xp.asarray(k_index)[..., None, :] - xp.asarray(q_index)[..., :, None])
        values = xp.take(bucket_bias, xp.reshape(bucket, (-1,)), axis=0)
        return S + xp.reshape(values, bucket.shape)

    def operations(self, n_keys: int) -> float:
        return float(n_keys)


class GaussianLocal(Position):
    """Weights fade with the distance from a place that the query predicts: Luong's local-p.

    w_ij exp(-(j - p_i)^2 / (2 sigma^2)) with p_i = n sigmoid(v' tanh(W q_i)), sigma = width / 2, n the true number of keys,
    j from 0. Learned: W (d_query, hidden), started at N(0, 1/d_query), and v (hidden,), at N(0, 1/hidden). Cost: 2 d_query
    hidden operations a query, 4 a pair.

    Parameters
    ----------
    width : float > 0, positions
        Luong's D, twice the standard deviation of the bell.
    hidden : int > 0, units

    Notes
    -----
    As in the paper, the weights are not normalised again, so that a row sums to less than one. The paper also forbids keys
    further than D from p_i, where the bell is below 0.14. The mask `window` does that around i instead of p_i.

    References
    ----------
    Luong, Pham, Manning (2015), equations 9 and 10.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> local = attnlab.get("position", "gaussian_local", width=2.0, hidden=1)
    >>> local.reweigh(np.ones((1, 3)), np.zeros((1, 1)), np.arange(3), np.array([1, 2]), np.ones((1, 1)), np.ones(1)).round(4)
    array([[0.6065, 1.    , 0.6065]])
    """

    name = "gaussian_local"
    source = Source(
        "Effective Approaches to Attention-based Neural Machine Translation", "Luong, Pham, Manning", 2015, "EMNLP"
    )
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, width: Annotated[float, Gt(0)] = 10.0, hidden: Annotated[int, Gt(0)] = 16) -> None:
        self.width = width
        self.hidden = hidden

    def init(self, rng: Any, d_query: int) -> dict[str, Any]:
        return {
            "Wp": rng.normal(size=(d_query, self.hidden)) / math.sqrt(d_query),
            "vp": rng.normal(size=self.hidden) / math.sqrt(self.hidden),
        }

    @in_float32
    def reweigh(self, W: Any, Q: Any, k_index: Any, lengths: Any, Wp: Any, vp: Any) -> Any:
        xp = namespace(W, Q, Wp)
        n = xp.astype(xp.asarray(lengths), W.dtype)[..., 1][..., None]  # (..., 1)
        p = n * xp.sigmoid(xp.matmul(xp.tanh(xp.matmul(Q, Wp)), vp))  # (..., q)
        away = xp.astype(k_index, W.dtype)[..., None, :] - p[..., :, None]
        return W * xp.exp(-2 * (away / self.width) ** 2)

    def operations(self, n_keys: int, d_query: int) -> float:
        return 2.0 * self.hidden * (d_query + 1) + 4.0 * n_keys


class Diagonal(Position):
    """A penalty on scores that grows with the distance from the diagonal, in shares of the two lengths.

    s_ij - tension |i/m - j/n|, i = 1..m queries, j = 1..n keys, m and n the true lengths without padding. With the similarity
    `uniform` and softmax that is FastAlign's prior of an alignment. Cost: 4 operations a pair.

    Parameters
    ----------
    tension : float >= 0 or "learned", dimensionless
        FastAlign's lambda; 0 has no preference. "learned" starts at 4, and its logarithm is learned, `log_tension` ().

    References
    ----------
    Dyer, Chahuneau, Smith (2013), equation 1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("position", "diagonal").bias(np.zeros((1, 2)), np.arange(1), np.arange(2), np.array([1, 2]))
    array([[-2.,  0.]])
    """

    name = "diagonal"
    source = Source(
        "A Simple, Fast, and Effective Reparameterization of IBM Model 2", "Dyer, Chahuneau, Smith", 2013, "NAACL"
    )
    keeps_nonnegative = False
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, tension: Annotated[float, Ge(0)] | Literal["learned"] = 4.0) -> None:
        self.tension = tension

    def init(self) -> dict[str, Any]:
        return {"log_tension": np.asarray(math.log(4.0))} if self.tension == "learned" else {}

    @in_float32
    def bias(self, S: Any, q_index: Any, k_index: Any, lengths: Any, log_tension: Any = None) -> Any:
        xp = namespace(S, log_tension)
        true = exact(xp, lengths)
        m, n = true[..., 0][..., None, None], true[..., 1][..., None, None]
        i, j = exact(xp, q_index)[..., :, None] + 1, exact(xp, k_index)[..., None, :] + 1
        away = xp.astype(xp.abs(i / _at_least_one(xp, m) - j / _at_least_one(xp, n)), S.dtype)
        return S - _fixed_or_learned(xp, "diagonal", "tension", self.tension, log_tension) * away

    def operations(self, n_keys: int) -> float:
        return 4.0 * n_keys


def _at_least_one(xp: Any, x: Any) -> Any:
    return xp.maximum(x, xp.ones_like(x))  # an example that is all padding has length 0
