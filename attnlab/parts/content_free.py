"""Similarities that compare no contents: scores of a key's place, of a place in a table, or of noise."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from attnlab.arrays import namespace, to_numpy
from attnlab.errors import Unsupported
from attnlab.gradients import special
from attnlab.interfaces import Similarity, Source
from attnlab.libraries import is_traced
from attnlab.precision import in_float32

__all__ = ["Location", "RandomScores", "SynthesizerRandom"]


def _within(name: str, noun: str, index: Any, positions: int) -> None:
    """Refuse a position beyond a table."""
    if 0 in index.shape or is_traced(index):  # inside JAX's jit there are no numbers to look at yet
        return
    largest = int(to_numpy(index).max())
    if largest >= positions:
        raise Unsupported(
            f"similarity {name!r} has scores for {noun} at positions 0 to {positions - 1}; got position {largest}: "
            "set positions higher, or choose a similarity that has no table"
        )


class Location(Similarity):
    """Scores of the keys' places, which the query alone decides.

    s_ij = (q_i' W)_j: what key j holds does not matter. Learned W (d_query, positions), started at N(0, 1/d_query). Cost:
    2 d operations a pair.

    Parameters
    ----------
    positions : int > 0, keys
        Columns of W. A place that training did not see keeps its random start.

    Raises
    ------
    Unsupported
        When there is a key at a position beyond the columns.

    Notes
    -----
    Luong et al. take the softmax of W times the decoder's state, and use as many columns as the sentence has words. ESPnet's
    `location` is another thing, `location_aware` here. It solves what the query's position decides, such as `reverse`, and
    nothing that must be looked up.

    References
    ----------
    Luong, Pham, Manning (2015), equation 8.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> location = attnlab.get("similarity", "location", positions=3)
    >>> location.score(np.array([[1.0, 2.0]]), np.arange(2), np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0]]))
    array([[1., 2.]])
    """

    name = "location"
    source = Source(
        "Effective Approaches to Attention-based Neural Machine Translation", "Luong, Pham, Manning", 2015, "EMNLP"
    )
    nonnegative = False
    symmetric = False
    content_free = False
    mixes_keys = False
    permutation_equivariant = False

    def __init__(self, positions: Annotated[int, Gt(0)] = 64) -> None:
        self.positions = positions

    def init(self, rng: Any, d_query: int) -> dict[str, Any]:
        return {"W": rng.normal(size=(d_query, self.positions)) / math.sqrt(d_query)}

    @in_float32
    def score(self, Q: Any, k_index: Any, W: Any) -> Any:
        xp = namespace(Q, W)
        _within("location", "keys", k_index, W.shape[-1])
        places = xp.asarray(k_index)
        if len(places.shape) == 1:
            return xp.matmul(Q, xp.take(W, places, axis=-1))
        S = xp.matmul(Q, W)
        index = xp.broadcast_to(places[..., None, :], (*S.shape[:-1], places.shape[-1]))
        return xp.take_along_axis(S, index, axis=-1)

    def operations(self, n_keys: int, d_query: int) -> float:
        return 2.0 * d_query * n_keys


class SynthesizerRandom(Similarity):
    """A learned score for each pair of places; queries and keys are not looked at.

    s_ij = R_ij, learned R (positions, positions), started at N(0, 1). Cost: none.

    Parameters
    ----------
    positions : int > 0, queries and keys
        Rows and columns of R.

    Raises
    ------
    Unsupported
        When there is a query or a key at a position beyond the table.

    Notes
    -----
    It is a control: what it reaches needs no contents. Tay et al. call it the random synthesizer, since R starts at random.
    Their `fixed random` does not learn R; that is `random` here.

    References
    ----------
    Tay et al. (2021), section 3.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> R = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> attnlab.get("similarity", "synthesizer_random", positions=2).score(np.arange(1), np.arange(2), R)
    array([[1., 2.]])
    """

    name = "synthesizer_random"
    source = Source("Synthesizer: Rethinking Self-Attention for Transformer Models", "Tay et al.", 2021, "ICML")
    nonnegative = False
    symmetric = False
    content_free = True
    mixes_keys = False
    permutation_equivariant = False

    def __init__(self, positions: Annotated[int, Gt(0)] = 64) -> None:
        self.positions = positions

    def init(self, rng: Any) -> dict[str, Any]:
        return {"R": rng.normal(size=(self.positions, self.positions))}

    @in_float32
    def score(self, q_index: Any, k_index: Any, R: Any) -> Any:
        xp = namespace(R)
        _within("synthesizer_random", "queries", q_index, R.shape[-2])
        _within("synthesizer_random", "keys", k_index, R.shape[-1])
        flat = xp.asarray(q_index)[..., :, None] * R.shape[-1] + xp.asarray(k_index)[..., None, :]
        return xp.reshape(xp.take(xp.reshape(R, (-1,)), xp.reshape(flat, (-1,)), axis=0), tuple(flat.shape))

    def operations(self) -> float:
        return 0.0


class RandomScores(Similarity):
    """Noise that stays: a fixed score for each pair of places, drawn from a normal distribution.

    s_ij ~ N(0, scale^2), the same for the same seed and places. Cost: 20 operations a pair, and none that depend on d.

    Parameters
    ----------
    seed : int >= 0
        Another seed draws other scores.
    scale : float > 0, in the unit of the scores
        Their standard deviation.

    Notes
    -----
    It is a control, as `uniform` is: sharp weights that know nothing. It is the `fixed random` synthesizer of Tay et al. Scores
    depend on the seed and the two positions alone, so that blocks, padding and decoders see the same.

    References
    ----------
    Tay et al. (2021), section 3.2; Steele, Lea, Flood (2014) for the mixing of bits.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> random = attnlab.get("similarity", "random", seed=1)
    >>> whole = random.score(np.ones((2, 4)), np.arange(2), np.arange(3))
    >>> bool((random.score(np.ones((1, 4)), np.arange(1, 2), np.arange(3)) == whole[1:]).all())
    True
    """

    name = "random"
    source = Source("Synthesizer: Rethinking Self-Attention for Transformer Models", "Tay et al.", 2021, "ICML")
    nonnegative = False
    symmetric = False
    content_free = True
    mixes_keys = False
    permutation_equivariant = False

    def __init__(self, seed: Annotated[int, Ge(0)] = 0, scale: Annotated[float, Gt(0)] = 1.0) -> None:
        self.seed = seed
        self.scale = scale

    @in_float32
    def score(self, Q: Any, q_index: Any, k_index: Any) -> Any:
        xp = namespace(Q)
        rows = to_numpy(q_index).astype(np.uint64)[..., :, None]
        columns = to_numpy(k_index).astype(np.uint64)[..., None, :]
        bits = _mixed(_mixed(_mixed(np.array([self.seed % 2**64], np.uint64)) + rows) + columns)
        uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
        return xp.astype(xp.asarray(self.scale * special().ndtri(uniform)), Q.dtype)

    def operations(self, n_keys: int) -> float:
        return 20.0 * n_keys


def _mixed(x: Any) -> Any:
    """One step of splitmix64: each bit of the result depends on all bits of x."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
