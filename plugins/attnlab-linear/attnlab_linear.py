"""Attention whose cost grows with the number of tokens, and not with its square. A plugin for attnlab.

Each mechanism here gives the same numbers in two ways. The short one keeps a matrix of d x v numbers and forms no weights. It is
taken where every query sees the same keys, or, with `causal`, all keys up to its own. With any other mask, and for `weights`, the
weights are formed.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

import attnlab
from attnlab import MechanismComponent, Similarity, Source, check_shapes, detach, hookimpl, namespace
from attnlab.arrays import as_float, to_numpy
from attnlab.libraries import is_traced
from attnlab.mechanisms.binding import weighed
from attnlab.parts.regressions import solved
from attnlab.precision import in_float32, in_range

BLOCK = 64  # tokens whose weights are formed together on the short way of a causal mask
Share = Annotated[float, Gt(0), Le(1)]


# -- feature maps ---------------------------------------------------------------------------------------------------------
class Favor(Similarity):
    """Positive random features, whose dot product estimates the exponential of the scaled dot product.

    s_ij = phi(q_i) . phi(k_j), phi(x)_r = exp(w_r . x / d^(1/4) - |x|^2 / (2 d^(1/2))) / m^(1/2), r = 1..m, with w_r ~ N(0, I_d), in blocks
    of d orthogonal directions. The mean over draws of w is exp(q_i . k_j / d^(1/2)). Use it with the normaliser `l1`. Cost: 2 m
    operations a pair, 2 m d a vector.

    Parameters
    ----------
    n_features : int > 0, features
        m. The variance of the estimate falls as 1 / m.
    seed : int >= 0
        Of the directions, which are not learned.

    Notes
    -----
    The paper draws new directions during training; here they stay. The variance grows fast with the lengths of queries and keys.

    References
    ----------
    Choromanski et al. (2021), equation 5 and section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> Q, K = np.array([[1.0, 0.5]]), np.array([[0.3, -0.2]])
    >>> S = Favor(n_features=4096).score(Q, K)
    >>> bool(abs(S[0, 0] / np.exp(Q[0] @ K[0] / 2**0.5) - 1) < 0.05)
    True
    """

    name = "favor"
    source = Source("Rethinking Attention with Performers", "Choromanski et al.", 2021, "ICLR")
    symmetric = True
    content_free = False
    mixes_keys = False
    nonnegative = True

    def __init__(self, n_features: Annotated[int, Gt(0)] = 64, seed: Annotated[int, Ge(0)] = 0) -> None:
        self.n_features = n_features
        self.seed = seed

    def features(self, X: Any) -> Any:
        """phi(X), (..., m)."""
        xp, d = namespace(X), X.shape[-1]
        X = X / d**0.25
        w = xp.asarray(_directions(d, self.n_features, self.seed), dtype=detach(X).dtype)
        size = xp.sum(X * X, axis=-1, keepdims=True) / 2
        return xp.exp(xp.matmul(X, xp.matrix_transpose(w)) - size) / self.n_features**0.5

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        return namespace(Q, K).matmul(self.features(Q), namespace(K).matrix_transpose(self.features(K)))

    def operations(self, n_keys: int, d_query: int) -> float:
        return 2.0 * self.n_features * (n_keys + d_query * (n_keys + 1))


@functools.lru_cache(maxsize=32)
def _directions(d: int, m: int, seed: int) -> np.ndarray[Any, Any]:
    """m directions (m, d), in blocks of d orthogonal ones, with the lengths of Gaussian vectors."""
    rng = np.random.default_rng([d, m, seed])
    blocks = []
    for _ in range(-(-m // d)):
        turned, R = np.linalg.qr(rng.normal(size=(d, d)))
        blocks.append((turned * np.sign(np.diag(R))).T)  # without the signs some directions would be rarer than others
    lengths = np.linalg.norm(rng.normal(size=(m, d)), axis=1)
    return np.concatenate(blocks)[:m] * lengths[:, None]


class Linear(MechanismComponent):
    """Attention by a feature map: what the keys hold is summed up once, and each query reads the sum.

    y_i = (sum_j v_j phi(k_j)') phi(q_i) / (sum_j phi(k_j)) . phi(q_i). Its weights are phi(q_i) . phi(k_j) over their sum. Cost: 4 m (v + d)
    operations a token, m the number of features.

    Parameters
    ----------
    features : "elu" or "favor"
        phi: elu + 1 of each feature, as in `feature_map_elu`; or the positive random features of `favor`.
    causal : bool
        A query sees the keys up to its own position.
    n_features : int > 0, features
        m of "favor"; "elu" has as many as queries and keys.
    seed : int >= 0
        Of the directions of "favor".

    Notes
    -----
    It gives the numbers of the similarity with the normaliser `l1`. A query whose products are all zero shares its weight equally.

    References
    ----------
    Katharopoulos et al. (2020), equations 5 and 9; Choromanski et al. (2021), section 2.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> rng = np.random.default_rng(0)
    >>> Q, K, V = rng.normal(size=(3, 100, 4))
    >>> plain = attnlab.attend(Q, K, V, similarity="feature_map_elu", normaliser="l1", mask="causal")
    >>> bool(np.allclose(Linear(causal=True).attend({}, Q, K, V), plain))
    True
    """

    name = "linear"
    source = Source(
        "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        "Katharopoulos et al.",
        2020,
        "ICML",
    )

    def __init__(
        self,
        features: Literal["elu", "favor"] = "elu",
        causal: bool = False,
        n_features: Annotated[int, Gt(0)] = 64,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.features = features
        self.causal = causal
        self.n_features = n_features
        self.seed = seed

    def _inside(self) -> Any:
        """The same as a composition of parts, which forms the weights."""
        similarity = Favor(self.n_features, self.seed) if self.features == "favor" else _Scaled()
        return attnlab.Mechanism(similarity, "l1", mask="causal" if self.causal else "all")

    def _maps(self, Q: Any, K: Any) -> tuple[Any, Any]:
        if self.features == "favor":
            favor = Favor(self.n_features, self.seed)
            return favor.features(Q), favor.features(K)
        return _elu_plus_one(Q, -1), _elu_plus_one(K, (-2, -1))

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        return {}

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        return weighed(self._inside(), {}, Q, K, mask=mask, **context)

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        Q, K, V = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        check_shapes(Q=("... q d", Q), K=("... k d", K), V=("... k v", V))
        if 0 in Q.shape[-1:] or not _is_short(Q, K, mask, self.causal, context):
            return self._inside().attend({}, Q, K, V, mask, **context)
        _, (Q, K, V), cast = in_range({}, Q, K, V)
        K, V, known = _readable(K, V, mask)
        F, G = self._maps(Q, K)
        xp = namespace(F, G, V)
        if known is not None:
            G = xp.where(known, G, xp.zeros_like(detach(G)))
        here = xp.ones_like(detach(V)[..., :1]) if known is None else xp.astype(known, detach(V).dtype)
        count = here + xp.zeros_like(detach(V)[..., :1])
        # values and ones are summed up alike: the last column is what they are divided by
        wide = xp.concat([V, xp.ones_like(detach(V)[..., :1])], axis=-1)
        read = _causal(xp, F, G, wide) if self.causal else xp.matmul(F, xp.matmul(xp.matrix_transpose(G), wide))
        total = read[..., -1:]
        none = detach(total) < _least(xp, total)
        Y = read[..., :-1] / xp.where(none, xp.ones_like(detach(total)), total)
        if bool(xp.any(none)):
            shared = xp.concat([V * count, count], axis=-1)
            ones = [xp.ones((*X.shape[:-1], 1), dtype=detach(X).dtype) for X in (F, G)]
            equal = _causal(xp, *ones, shared) if self.causal else ones[0] * xp.sum(shared, axis=-2, keepdims=True)
            some = xp.maximum(equal[..., -1:], xp.ones_like(detach(equal[..., -1:])))
            Y = xp.where(none, equal[..., :-1] / some, Y)
        return cast(Y)

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        m = self.n_features if self.features == "favor" else d_query
        return 4.0 * m * (d_value + d_query)


def _elu_plus_one(X: Any, axis: Any) -> Any:
    """elu + 1 over its largest value on some axes, which changes no weight and keeps small values in range."""
    xp = namespace(X)
    plain = detach(X)
    zero = xp.zeros_like(plain)
    top = xp.max(xp.where(plain == plain, plain, zero - xp.inf), axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    base = xp.minimum(top, xp.zeros_like(top))  # the largest value is exp(base) (1 + over)
    over = xp.maximum(top, xp.zeros_like(top))
    above = ~(plain <= 0)  # with NaN, which stays NaN
    return xp.where(above, X + 1, xp.exp(xp.where(above, zero, X - base))) / (1 + over)


def _least(xp: Any, X: Any) -> float:
    """Products below this one count as zero: the gradient of what is divided by them would not be finite."""
    return float(xp.finfo(detach(X).dtype).smallest_normal) ** 0.5


class _Scaled(Similarity):
    """`feature_map_elu` with each query, and all keys, over their largest value, which changes no weight of `l1`."""

    name = "scaled_feature_map"
    nonnegative = True
    mixes_keys = True

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        xp = namespace(Q, K)
        S = xp.matmul(_elu_plus_one(Q, -1), xp.matrix_transpose(_elu_plus_one(K, (-2, -1))))
        return xp.where(detach(S) < _least(xp, S), xp.zeros_like(detach(S)), S)


def _causal(xp: Any, F: Any, G: Any, V: Any) -> Any:
    """sum over j <= i of (F_i . G_j) V_j, block by block: within a block as weights, before it as one matrix."""
    rows: list[Any] = []
    before: Any = 0.0
    for start in range(0, F.shape[-2], BLOCK):
        f, g, v = (X[..., start : start + BLOCK, :] for X in (F, G, V))
        size = f.shape[-2]
        tri = xp.asarray(np.tri(size), dtype=detach(f).dtype)
        inside = xp.matmul(xp.matmul(f, xp.matrix_transpose(g)) * tri, v)
        rows.append(inside + xp.matmul(f, before) if rows else inside)
        before = before + xp.matmul(xp.matrix_transpose(g), v)
    return rows[0] if len(rows) == 1 else xp.concat(rows, axis=-2)


def _is_short(Q: Any, K: Any, mask: Any, causal: bool, context: Any) -> bool:
    """Whether no weights need to be formed: every query sees the same keys, or those up to its own."""
    q, k = Q.shape[-2], K.shape[-2]
    if 0 in (q, k) or (causal and q != k):
        return False
    for name, size in (("q_index", q), ("k_index", k)):
        index = context.get(name)
        if causal and index is not None and (is_traced(index) or not (to_numpy(index) == np.arange(size)).all()):
            return False
    if mask is None:
        return True
    if is_traced(mask) or getattr(mask, "ndim", 0) < 2 or mask.shape[-1] != k:
        return False
    return mask.shape[-2] == 1 or bool((mask == mask[..., :1, :]).all())


def _readable(K: Any, V: Any, mask: Any) -> tuple[Any, Any, Any]:
    """Keys and values with zeros where nobody may read, and which may be read (..., k, 1), or None for all."""
    if mask is None:
        return K, V, None
    xp = namespace(K, V)
    known = xp.asarray(mask)[..., 0, :, None]
    K, V = (xp.where(known, X, xp.zeros_like(detach(X))) for X in (K, V))
    return K, V, known


# -- memories that are written key by key ---------------------------------------------------------------------------------
class DeltaMemory(MechanismComponent):
    """The delta rule with a memory of d x v numbers: each token is written, and then read.

    T_j = alpha_j (T_{j-1} - beta_j k_j (k_j' T_{j-1})) + beta_j k_j v_j', y_i = T_i' q_i: the numbers of `gated_delta` with a causal mask. Cost:
    6 d v operations a token.

    Parameters
    ----------
    beta : float in (0, 1] or "learned", dimensionless
        How much of what the memory says of a key is replaced.
    decay : float in (0, 1] or "learned", dimensionless
        alpha, the share that is kept; with 1 it is `delta_rule`.
    unit : bool
        Divide queries and keys by their lengths.

    Notes
    -----
    `gated_delta` takes any mask, and moves each query back through all keys. This one goes forward once, as a recurrent network.
    The published kernels go through blocks of tokens, with the same values.

    References
    ----------
    Schlag, Irie, Schmidhuber (2021), equation 24; Yang, Kautz, Hatamizadeh (2025), equation 10.

    Examples
    --------
    >>> import numpy as np
    >>> K, V = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([[1.0], [2.0], [5.0]])
    >>> DeltaMemory(beta=1.0).attend({}, K, K, V)               # the first key came again: its value is 5 now
    array([[1.],
           [2.],
           [5.]])
    """

    name = "delta_memory"
    source = Source(
        "Linear Transformers Are Secretly Fast Weight Programmers", "Schlag, Irie, Schmidhuber", 2021, "ICML"
    )

    def __init__(
        self,
        beta: Share | Literal["learned"] = "learned",
        decay: Share | Literal["learned"] = 1.0,
        unit: bool = True,
    ) -> None:
        self.beta = beta
        self.decay = decay
        self.unit = unit

    def _inside(self) -> Any:
        return attnlab.get("mechanism", "attnlab:gated_delta", beta=self.beta, decay=self.decay, unit=self.unit)

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        return dict(self._inside().init(rng, d_query, d_key, d_value))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        Q, K = as_float(Q, "Q"), as_float(K, "K")
        return weighed(self._inside(), params, Q, K, mask=_causal_mask(Q, K, mask, context), **context)

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        Q, K, V = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        if 0 in Q.shape[-1:] or not _is_short(Q, K, mask, True, context):
            return self._inside().attend(params, Q, K, V, _causal_mask(Q, K, mask, context), **context)
        params, (Q, K, V), cast = in_range(params or {}, Q, K, V)
        check_shapes(Q=("... q d", Q), K=("... k d", K), V=("... k v", V))
        K, V, known = _readable(K, V, mask)
        if self.unit:
            Q, K = _unit(Q), _unit(K)
        xp = namespace(Q, K, V)
        beta, decay = self._rate(self.beta, K, params, "beta"), self._rate(self.decay, K, params, "alpha")
        T: Any = 0.0 * (K[..., 0, :, None] * V[..., 0, None, :])
        rows = []
        for j in range(K.shape[-2]):
            k, v = K[..., j, :, None], V[..., j, None, :]
            b, a = beta[..., j][..., None, None], decay[..., j][..., None, None]
            new = a * (T - b * k * xp.matmul(xp.matrix_transpose(k), T)) + b * k * v
            T = new if known is None else xp.where(known[..., j, :][..., None], new, T)
            rows.append(xp.matmul(Q[..., j : j + 1, :], T))
        return cast(xp.concat(rows, axis=-2))

    @staticmethod
    def _rate(value: Any, K: Any, params: Any, letter: str) -> Any:
        """A number a key (..., k): what a setting fixes, or a sigmoid of the key."""
        xp = namespace(K)
        if value == "learned":
            w = params[f"w_{letter}"]
            return namespace(K, w).sigmoid(xp.matmul(K, w) + params[f"b_{letter}"])
        return float(value) + xp.zeros_like(detach(K)[..., 0])

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        return 6.0 * d_key * d_value + 4.0 * d_key


def _causal_mask(Q: Any, K: Any, mask: Any, context: Any) -> Any:
    """The mask, and no key after the query, by positions."""
    at = [
        np.arange(X.shape[-2]) if context.get(n) is None else to_numpy(context[n])
        for X, n in ((Q, "q_index"), (K, "k_index"))
    ]
    causal = at[0][..., :, None] >= at[1][..., None, :]
    xp = namespace(Q, K)
    return xp.asarray(causal) if mask is None else xp.asarray(mask) & xp.asarray(causal)


def _unit(X: Any) -> Any:
    """Vectors of length one; a zero vector stays."""
    xp = namespace(X)
    length = xp.linalg.vector_norm(X, axis=-1, keepdims=True)
    return X / xp.where(length > 0, length, xp.ones_like(detach(length)))


class Mesa(MechanismComponent):
    """The best linear map from keys to values, found anew for each query by ridge regression.

    y_i = V' K (K' K + ridge I)^-1 q_i, over the keys that query i may attend to. The weights are w_ij = k_j' (K' K + ridge I)^-1 q_i. Cost:
    2 d^2 operations a pair, and d^3 a query.

    Parameters
    ----------
    ridge : float > 0, in the unit of squared keys
        Keeps the system solvable; the larger it is, the nearer it is to linear attention without correction.

    Raises
    ------
    ShapeError
        When queries and keys have different numbers of features.
    Unsupported
        When the ridge is lost in rounding: keys are large, and span fewer directions than they have features.

    Notes
    -----
    Weights have any sign and any sum. `delta_memory` takes one step of gradient descent on the same problem for each key; this solves
    it. The paper learns a ridge for each feature and forgets old keys, and solves by conjugate gradients.

    References
    ----------
    von Oswald et al. (2025), arXiv:2506.05233, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> K, B = rng.normal(size=(9, 3)), rng.normal(size=(3, 2))
    >>> Q = rng.normal(size=(4, 3))
    >>> bool(np.allclose(Mesa(ridge=1e-9).attend({}, Q, K, K @ B), Q @ B))
    True
    """

    name = "mesa"
    source = Source(
        "MesaNet: Sequence Modeling by Locally Optimal Test-Time Training",
        "von Oswald et al.",
        2025,
        "arXiv:2506.05233",
    )

    def __init__(self, ridge: Annotated[float, Gt(0)] = 0.1) -> None:
        self.ridge = ridge

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        return {}

    def _inside(self) -> Any:
        return attnlab.Mechanism(_Solved(self.ridge), "identity")

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        return self._inside().attend({}, Q, K, V, mask, **context)

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        return weighed(self._inside(), {}, Q, K, mask=mask, **context)

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        return n_keys * (2.0 * d_key**2 + 2.0 * d_key + 2.0 * d_value) + d_key**3


class _Solved(Similarity):
    """k_j' (K' K + ridge I)^-1 q_i over allowed keys."""

    name = "solved"
    mixes_keys = True

    def __init__(self, ridge: float) -> None:
        self.ridge = ridge

    @in_float32
    def score(self, Q: Any, K: Any, mask: Any) -> Any:
        xp = namespace(Q, K)
        d = K.shape[-1]
        # all keys that are known to count, scaled so that their products stay in range
        top = xp.maximum(xp.max(xp.abs(detach(K))), xp.max(xp.abs(detach(Q))))
        top = xp.maximum(top, xp.ones_like(top))
        Q, K, ridge = Q / top, K / top, self.ridge / (top * top)
        counted = xp.astype(mask, detach(K).dtype)[..., None] * K[..., None, :, :]  # (..., q, k, d)
        A = xp.matmul(xp.matrix_transpose(counted), K[..., None, :, :]) + ridge * xp.eye(d, dtype=detach(K).dtype)
        u = solved("mechanism 'mesa'", A, (Q + xp.zeros_like(detach(A)[..., 0]))[..., None])[..., 0]  # (..., q, d)
        return xp.matmul(u, xp.matrix_transpose(K))

    def numbers(self, n_keys: int, d: int) -> float:
        return float(d)


@hookimpl
def attnlab_similarities() -> list[type[Similarity]]:
    return [Favor]


@hookimpl
def attnlab_mechanisms() -> list[type[MechanismComponent]]:
    return [Linear, DeltaMemory, Mesa]
