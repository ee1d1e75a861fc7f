"""Stateful parts: their result at one step depends on the weights of the steps before.

Each part asks for `state`. It says how the state begins (`initial_state`) and how it goes on (`update(state, W)`, where
W (..., 1, k) holds the weights of the step just taken). States are (..., 1, k), like the scores of one query.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Normaliser, Similarity, Source
from attnlab.precision import in_float32

__all__ = ["Coverage", "LocationAware", "Monotonic"]


def _additive(rng: Any, d_query: int, d_key: int, h: int) -> dict[str, Any]:
    """The arrays of `additive`, as it starts them."""
    return {
        "Wq": rng.normal(size=(d_query, h)) / math.sqrt(d_query),
        "Wk": rng.normal(size=(d_key, h)) / math.sqrt(d_key),
        "b": np.zeros(h),
        "v": rng.normal(size=h) / math.sqrt(h),
    }


def _compare(Q: Any, K: Any, extra: Any, Wq: Any, Wk: Any, b: Any, v: Any) -> Any:
    """v' tanh(q_i' Wq + k_j' Wk + extra_ij + b), extra (..., q, k, h)."""
    xp = namespace(Q, K, Wq, extra)
    H = xp.matmul(Q, Wq)[..., :, None, :] + xp.matmul(K, Wk)[..., None, :, :]
    return xp.matmul(xp.tanh(H + extra + b), v)


class LocationAware(Similarity):
    """A small network over query, key and the weights of the step before around the key.

    s_ij = v' tanh(q_i' Wq + k_j' Wk + f_ij' U + b), f_ij = sum_l F_l w_{i-1, j+l}, l = -width..width: the weights of the step
    before, convolved with `filters` filters. Before the first step all weights are 0. Learned: Wq (d_query, h),
    Wk (d_key, h), b (h,), v (h,), F (2 width + 1, filters), U (filters, h), started as in `additive`, F and U at
    N(0, 1/(2 width + 1)) and N(0, 1/filters). Cost: that of `additive`, and 2 filters (2 width + 1 + h) operations a pair.

    Parameters
    ----------
    hidden : int > 0, units
        The width h of the hidden layer.
    filters : int > 0
        Filters of the convolution.
    width : int > 0, keys
        How far a filter reaches to each side.

    Notes
    -----
    Its state is the weights of the step before, (..., 1, k). Chorowski et al. use 10 filters of 201 frames, for speech. Their
    weights start uniform or at the first frame. ESPnet calls this similarity `location` and starts with uniform weights.

    References
    ----------
    Chorowski et al. (2015), equations 8 and 9.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> mechanism = attnlab.Mechanism({"location_aware": {"hidden": 8}})
    >>> params = mechanism.init(np.random.default_rng(0), d_query=3, d_key=3, d_value=2)
    >>> mechanism.weights(params, np.ones((4, 3)), np.ones((5, 3))).shape
    (4, 5)
    """

    name = "location_aware"
    source = Source("Attention-Based Models for Speech Recognition", "Chorowski et al.", 2015, "NeurIPS")
    nonnegative = False
    symmetric = False
    content_free = False
    permutation_equivariant = False

    def __init__(
        self,
        hidden: Annotated[int, Gt(0)] = 32,
        filters: Annotated[int, Gt(0)] = 8,
        width: Annotated[int, Gt(0)] = 3,
    ) -> None:
        self.hidden = hidden
        self.filters = filters
        self.width = width

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        reach = 2 * self.width + 1
        return {
            **_additive(rng, d_query, d_key, self.hidden),
            "F": rng.normal(size=(reach, self.filters)) / math.sqrt(reach),
            "U": rng.normal(size=(self.filters, self.hidden)) / math.sqrt(self.filters),
        }

    def initial_state(self, n_keys: int, leading: tuple[int, ...], Q: Any) -> Any:
        return namespace(Q).zeros((*leading, 1, n_keys), dtype=Q.dtype)

    def update(self, state: Any, W: Any) -> Any:
        return W

    @in_float32
    def score(self, Q: Any, K: Any, state: Any, Wq: Any, Wk: Any, b: Any, v: Any, F: Any, U: Any) -> Any:
        xp = namespace(Q, K, Wq)
        n_keys, reach = K.shape[-2], 2 * self.width + 1
        edge = xp.zeros((*state.shape[:-1], self.width), dtype=state.dtype)
        wide = xp.concat([edge, state, edge], axis=-1)
        around = xp.stack([wide[..., i : i + n_keys] for i in range(reach)], axis=-1)  # (..., 1, k, 2 width + 1)
        return _compare(Q, K, xp.matmul(xp.matmul(around, F), U), Wq, Wk, b, v)

    def numbers(self, n_keys: int, d: int) -> float:
        return float(max(self.hidden, 2 * self.width + 1))

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        h, reach = self.hidden, 2 * self.width + 1
        return 2.0 * h * (d_query + d_key * n_keys) + 5.0 * h * n_keys + 2.0 * self.filters * (reach + h) * n_keys


class Coverage(Similarity):
    """A small network over query, key and how much the key has been attended to so far.

    s_ij = v' tanh(q_i' Wq + k_j' Wk + c_ij u + b), c_ij = sum over the steps before i of w_tj. Learned: Wq (d_query, h),
    Wk (d_key, h), b (h,), v (h,), u (h,), started as in `additive`, u at N(0, 1). Cost: that of `additive`, and 2 h
    operations a pair.

    Parameters
    ----------
    hidden : int > 0, units
        The width h of the hidden layer.

    Notes
    -----
    Its state is the sum of the weights of all steps before, (..., 1, k). See et al. add a coverage loss, the sum over keys
    of min(w, c), which is not part of the similarity. Tu et al. (2016) divide the sum by a learned fertility.

    References
    ----------
    See, Liu, Manning (2017), equations 10 and 11.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> mechanism = attnlab.Mechanism({"coverage": {"hidden": 8}})
    >>> params = mechanism.init(np.random.default_rng(0), d_query=3, d_key=3, d_value=2)
    >>> mechanism.weights(params, np.ones((4, 3)), np.ones((5, 3))).shape
    (4, 5)
    """

    name = "coverage"
    source = Source("Get To The Point: Summarization with Pointer-Generator Networks", "See, Liu, Manning", 2017, "ACL")
    nonnegative = False
    symmetric = False
    content_free = False

    def __init__(self, hidden: Annotated[int, Gt(0)] = 32) -> None:
        self.hidden = hidden

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        return {**_additive(rng, d_query, d_key, self.hidden), "u": rng.normal(size=self.hidden)}

    def initial_state(self, n_keys: int, leading: tuple[int, ...], Q: Any) -> Any:
        return namespace(Q).zeros((*leading, 1, n_keys), dtype=Q.dtype)

    def update(self, state: Any, W: Any) -> Any:
        return state + W

    @in_float32
    def score(self, Q: Any, K: Any, state: Any, Wq: Any, Wk: Any, b: Any, v: Any, u: Any) -> Any:
        return _compare(Q, K, state[..., None] * u, Wq, Wk, b, v)

    def numbers(self, n_keys: int, d: int) -> float:
        return float(self.hidden)

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        h = self.hidden
        return 2.0 * h * (d_query + d_key * n_keys) + 7.0 * h * n_keys


class Monotonic(Normaliser):
    """Goes from left to right: it stops at a key or goes on, and starts where the step before stopped.

    p_ij = sigmoid(s_ij + bias) is the probability of stopping at key j after reaching it. In training the weights are their
    expectation over all paths,

        w_ij = p_ij q_ij,   q_ij = (1 - p_{i,j-1}) q_{i,j-1} + w_{i-1,j}

    with all of w_0 on the first key; q_ij is the probability of reaching key j. At prediction the first key with p > 1/2, from
    where the step before stopped, gets all the weight. If there is no such key, all weights are zero. The mass that goes past
    the last key is lost, so a row may sum to less than one. Once no mass is left, all further weights are zero. Cost: 6
    operations a score, one key after the other.

    Parameters
    ----------
    bias : float, in the unit of the scores
        Added to the scores. A negative bias makes it move on at the start of learning. Raffel et al. learn it, from -1 or -4.
    noise : float >= 0, in the unit of the scores
        Standard deviation of the Gaussian noise on the scores in training. It drives the probabilities to 0 or 1. Without `rng`
        there is no noise.

    Notes
    -----
    Its state is the weights of the step before, (..., 1, k). It skips forbidden keys. The recursion has no division, so values
    and gradients are finite. (The closed form of the paper divides by products of 1 - p, which vanish.) TensorFlow Addons'
    `parallel` mode is that closed form with clipping, and its `recursive` mode is this recursion.

    References
    ----------
    Raffel et al. (2017), equations 8 to 13, algorithm 1 for the hard way.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> mechanism = attnlab.Mechanism("dot", {"monotonic": {"bias": 0.0}})
    >>> K = np.eye(3)
    >>> mechanism.weights(None, 4 * np.array([[-1, 1, -1], [1, -1, 1]]), K)      # the second query may not go back
    array([[0., 1., 0.],
           [0., 0., 1.]])
    >>> mechanism.weights(None, np.zeros((2, 3)), K, training=True)
    array([[0.5   , 0.25  , 0.125 ],
           [0.25  , 0.25  , 0.1875]])
    """

    name = "monotonic"
    source = Source("Online and Linear-Time Attention by Enforcing Monotonic Alignments", "Raffel et al.", 2017, "ICML")
    rows_sum_to_one = False
    nonnegative = True
    sparse = True
    shift_invariant = False
    differentiable = False  # at prediction
    permutation_equivariant = False

    def __init__(self, bias: float = -1.0, noise: Annotated[float, Ge(0)] = 1.0) -> None:
        self.bias = bias
        self.noise = noise

    def initial_state(self, n_keys: int, leading: tuple[int, ...], Q: Any) -> Any:
        xp = namespace(Q)
        first = xp.astype(xp.arange(n_keys) == 0, Q.dtype)
        return first + xp.zeros((*leading, 1, n_keys), dtype=Q.dtype)

    def update(self, state: Any, W: Any) -> Any:
        return W

    @in_float32
    def normalise(self, S: Any, state: Any, training: Any, rng: Any) -> Any:
        xp = namespace(S)
        S = S + self.bias
        if not training:
            return self._hard(xp, S, state)
        if rng is not None and self.noise:
            S = S + xp.asarray(self.noise * rng.normal(size=S.shape), dtype=S.dtype)
        P = xp.sigmoid(S)
        before = state + xp.zeros_like(detach(P))
        weights, here = [], None
        for j in range(S.shape[-1]):
            p, arriving = P[..., j], before[..., j]
            here = arriving if here is None else arriving + here
            weights.append(p * here)
            here = (1 - p) * here
        return xp.stack(weights, axis=-1)

    def _hard(self, xp: Any, S: Any, state: Any) -> Any:
        """One-hot: the first key with p > 1/2, from where the step before stopped; its gradient is straight-through."""
        before = xp.cumulative_sum(detach(state), axis=-1)  # 1 from the key at which the step before stopped
        stop = (detach(S) > 0) & (before > 0.5)
        counted = xp.cumulative_sum(xp.astype(stop, S.dtype), axis=-1)
        first = xp.astype(stop & (counted < 1.5), S.dtype)
        P = xp.sigmoid(S)
        return first * (1 + (P - detach(P)))

    def operations(self, n_keys: int) -> float:
        return 6.0 * n_keys
