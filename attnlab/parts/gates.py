"""Modifiers that read contents or other scores: forgetting, scales by the query, selection, and scores of several tokens."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Modifier, Source
from attnlab.precision import exact, in_float32

__all__ = ["AdaptiveScale", "Forget", "MultiToken", "Selective"]


class Forget(Modifier):
    """A forget gate at each key: what lies behind closed gates fades.

    s_ij + sum_l log f_l, the sum over allowed keys l with j < l <= i, f_l = sigmoid(k_l' w + b), learned w (d_key,), started at 0,
    and b (), started at 4: all gates then let .982 through. Cost: 2 d operations a key, 3 a score.

    Notes
    -----
    i and j are the positions of the query and the key, `q_index` and `k_index`. Keys after the query get no gate. Keys that the
    query may not attend to do not count. In the paper attention is causal, which makes the same sum. A gate that stays the same for all keys is
    `alibi` with the slope -log f.

    References
    ----------
    Lin et al. (2025), equations 4 and 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> forget = attnlab.get("modifier", "forget")
    >>> K, every = np.array([[9.0], [0.0], [0.0]]), np.ones((1, 3), dtype=bool)
    >>> forget.modify(np.zeros((1, 3)), K, every, np.array([2]), np.arange(3), w=np.ones(1), b=np.zeros(())).round(3)
    array([[-1.386, -0.693,  0.   ]])
    """

    name = "forget"
    source = Source("Forgetting Transformer: Softmax Attention with a Forget Gate", "Lin et al.", 2025, "ICLR")
    keeps_nonnegative = False
    elementwise = True
    mixes_keys = True
    permutation_equivariant = False

    def init(self, d_key: int) -> dict[str, Any]:
        return {"w": np.zeros(d_key), "b": np.full((), 4.0)}

    @in_float32
    def modify(self, S: Any, K: Any, mask: Any, q_index: Any, k_index: Any, w: Any, b: Any) -> Any:
        xp = namespace(S, K, w, b)
        gates = -xp.softplus(-(xp.sum(K * w, axis=-1) + b))[..., None, :]  # log f (..., 1, k)
        places, here = xp.asarray(k_index), xp.asarray(q_index)
        counted = mask & (places[..., None, :] <= here[..., :, None])
        L = xp.where(counted, gates + xp.zeros_like(detach(S)), xp.zeros_like(detach(S)))
        order = xp.argsort(places, axis=-1)
        back = xp.argsort(order, axis=-1)
        shape = tuple(L.shape)
        order, back = (xp.broadcast_to(one[..., None, :], shape) for one in (order, back))
        L = xp.take_along_axis(L, order, axis=-1)
        later = xp.concat([L[..., 1:], xp.zeros_like(L[..., :1])], axis=-1)
        summed = xp.flip(xp.cumulative_sum(xp.flip(later, axis=-1), axis=-1), axis=-1)
        return S + xp.take_along_axis(summed, back, axis=-1)

    def operations(self, n_keys: int, d_key: int) -> float:
        return (2.0 * d_key + 3.0) * n_keys


class AdaptiveScale(Modifier):
    """Scores scaled by what the query asks for and by the number of keys; with `entmax` it is ASEntmax.

    s_ij (1 + softplus(b'q_i) (log n)^(2 tanh(g'q_i))), learned b (d_query,) and g (d_query,), started at 0, where the factor is
    1 + log 2. n is the number of allowed keys, and at least 2. Cost: 4 d operations a query, 1 a score.

    Notes
    -----
    A query may ask for weights that sharpen as keys are added, or that spread. With one key log n would be 0, which has no
    negative power; its weight is 1 anyway. The paper learns a bias for each of the two, and a head may turn the scaling off.

    References
    ----------
    Vasylenko et al. (2025), equation 8.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> scale = attnlab.get("modifier", "adaptive_scale")
    >>> scale.modify(np.ones((1, 2)), np.ones((1, 1)), np.array([[2.0]]), b=np.zeros(1), g=np.zeros(1)).round(4)
    array([[1.6931, 1.6931]])
    """

    name = "adaptive_scale"
    source = Source("Long-Context Generalization with Sparse Attention", "Vasylenko et al.", 2025, "arXiv:2506.16640")
    keeps_nonnegative = True
    elementwise = True

    def init(self, d_query: int) -> dict[str, Any]:
        return {"b": np.zeros(d_query), "g": np.zeros(d_query)}

    @in_float32
    def modify(self, S: Any, Q: Any, n_allowed: Any, b: Any, g: Any) -> Any:
        xp = namespace(S, Q, b, g)
        n = exact(xp, n_allowed)
        logs = xp.astype(xp.log(xp.log(xp.where(n < 2, 2 * xp.ones_like(n), n))), S.dtype)
        beta = xp.softplus(xp.sum(Q * b, axis=-1)[..., None])
        power = 2 * xp.tanh(xp.sum(Q * g, axis=-1)[..., None])
        return S * (1 + beta * xp.exp(power * logs))

    def operations(self, n_keys: int, d_query: int) -> float:
        return float(n_keys + 4 * d_query + 10)


class Selective(Modifier):
    """A token may ask that tokens before it be attended to no more by those that come after it.

    s_ij - sum_l max(s_lj, 0), the sum over queries l with j < l < i that may attend to key j. The first key is never reduced.
    It is for causal self-attention, where query l and key l are one token. Cost: 3 operations a score.

    Notes
    -----
    i, j and l are positions, `q_index` and `k_index`. A token reduces neither itself nor a token after it, so that without a
    causal mask keys after the query keep their scores. The paper selects by the scores of one head for all heads; here each head has its own. A decoder,
    which sees one query at a time, cannot have it.

    References
    ----------
    Leviathan, Kalman, Matias (2024), section 3 and figure 2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.array([[1.0, 0, 0, 0], [2, 1, 0, 0], [3, 4, 1, 0], [1, 1, 1, 1]])
    >>> i = np.arange(4)
    >>> attnlab.get("modifier", "selective").modify(S, np.tri(4, dtype=bool), i, i)
    array([[ 1.,  0.,  0.,  0.],
           [ 2.,  1.,  0.,  0.],
           [ 3.,  4.,  1.,  0.],
           [ 1., -3.,  1.,  1.]])
    """

    name = "selective"
    source = Source("Selective Attention Improves Transformer", "Leviathan, Kalman, Matias", 2024, "arXiv:2410.02703")
    keeps_nonnegative = False
    elementwise = False
    couples_rows = True
    permutation_equivariant = None  # with few queries nothing is reduced

    @in_float32
    def modify(self, S: Any, mask: Any, q_index: Any, k_index: Any) -> Any:
        xp = namespace(S)
        rows, keys = xp.asarray(q_index)[..., :, None], xp.asarray(k_index)[..., None, :]
        zero = xp.zeros_like(detach(S))
        asks = mask & (keys > 0) & (keys < rows) & ~(detach(S) <= 0)
        asked = xp.where(asks, S, zero)  # (..., l, j)
        before = xp.astype(xp.matrix_transpose(rows) < rows, S.dtype)  # (..., i, l): l < i
        return S - xp.matmul(before + xp.zeros_like(zero[..., :1]), asked)

    def operations(self, n_keys: int) -> float:
        return 3.0 * n_keys


class MultiToken(Modifier):
    """Scores convolved over queries and keys: a key is found by several tokens together.

    s'_ij = sum_ab C_ab s_{i-a, j+b-m}, a = 0..queries-1, b = 0..keys-1, m = (keys-1)//2; forbidden scores, and those beyond the edges,
    count as 0. Learned C (queries, keys), started at 1 for the score itself and 0 elsewhere. Cost: 2 queries keys
    operations a score.

    Parameters
    ----------
    queries : int > 0, queries
        How many queries are looked at: this one and those before it.
    keys : int > 0, keys
        How many keys are looked at, around this one.

    Notes
    -----
    Neighbours are rows and columns of the array, in the order in which queries and keys are given. The paper's code also convolves
    over heads, and normalises each head's context. A decoder, which sees one query at a time, cannot have it.

    References
    ----------
    Golovneva et al. (2025), equations 3 to 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> C = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])     # a score, and that of the query before for the key before
    >>> S, every = np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones((1, 2), dtype=bool)
    >>> attnlab.get("modifier", "multi_token", queries=2, keys=3).modify(S, every, C)
    array([[1., 2.],
           [3., 5.]])
    """

    name = "multi_token"
    source = Source("Multi-Token Attention", "Golovneva et al.", 2025, "arXiv:2504.00927")
    keeps_nonnegative = False
    elementwise = False
    couples_rows = True
    mixes_keys = True
    permutation_equivariant = False

    def __init__(self, queries: Annotated[int, Gt(0)] = 6, keys: Annotated[int, Gt(0)] = 11) -> None:
        self.queries = queries
        self.keys = keys

    def init(self) -> dict[str, Any]:
        C = np.zeros((self.queries, self.keys))
        C[0, (self.keys - 1) // 2] = 1.0
        return {"C": C}

    @in_float32
    def modify(self, S: Any, mask: Any, C: Any) -> Any:
        xp = namespace(S, C)
        seen = xp.where(mask, S, xp.zeros_like(detach(S)))
        middle, total = (self.keys - 1) // 2, 0.0
        for a in range(min(self.queries, S.shape[-2])):
            for b in range(self.keys):
                if abs(b - middle) < S.shape[-1]:
                    total = total + C[a, b] * _shifted(xp, _shifted(xp, seen, a, -2), middle - b, -1)
        return total

    def operations(self, n_keys: int) -> float:
        return 2.0 * self.queries * self.keys * n_keys


def _shifted(xp: Any, S: Any, by: int, axis: int) -> Any:
    """Scores moved along an axis, zeros where there are none: at i what was at i - by."""
    if by == 0:
        return S
    size = S.shape[axis]
    keep = slice(0, size - by) if by > 0 else slice(-by, size)
    lost = slice(0, abs(by))
    here, gone = (S[..., one, :] if axis == -2 else S[..., one] for one in (keep, lost))
    gap = xp.zeros_like(detach(gone))
    return xp.concat([gap, here] if by > 0 else [here, gap], axis=axis)
