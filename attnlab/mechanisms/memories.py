"""Mechanisms that are memories: one asked several times, and matrices that are written key by key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Le

from attnlab.arrays import as_float, namespace, to_numpy
from attnlab.errors import ShapeError, Unsupported
from attnlab.interfaces import MechanismComponent, Source
from attnlab.libraries import is_traced
from attnlab.mechanisms.binding import attended, weighed
from attnlab.mechanisms.context import context_of
from attnlab.mechanisms.heads import operations_of, own_of, readable
from attnlab.precision import in_range
from attnlab.registry import Own, build

__all__ = ["DeltaRule", "GatedDelta", "Hopfield"]


class Hopfield(MechanismComponent):
    """Attends several times: each time the query becomes the keys that it found.

    q <- sum_j w_j(q) k_j, steps - 1 times, then y = A(q, K, V). Learned: the arrays of the mechanism A. Cost: that of A for each
    step.

    Parameters
    ----------
    mechanism : mechanism
        A. With `dot` and softmax it is the paper's update; its temperature is 1/beta.
    steps : int > 0
        How often it attends; 1 is the mechanism itself.

    Raises
    ------
    ShapeError
        When queries and keys have different numbers of features, and there is more than one step.

    Notes
    -----
    The paper's fixed points are reached after one step where keys are far apart; several steps tell apart keys that are near
    each other, or settle at their mean. Its layers project queries and keys first: put this mechanism into `multi_head`. The
    weights are those of the last step.

    References
    ----------
    Ramsauer et al. (2021), equation 3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> hopfield = attnlab.get("mechanism", "hopfield", mechanism=attnlab.Mechanism("dot"), steps=3)
    >>> params = hopfield.init(np.random.default_rng(0), d_query=2, d_key=2, d_value=1)
    >>> hopfield.weights(params, np.array([[1.0, 0.0]]), 3 * np.eye(2)).round(3)
    array([[1., 0.]])
    """

    name = "hopfield"
    source = Source("Hopfield Networks is All You Need", "Ramsauer et al.", 2021, "ICLR")

    def __init__(
        self,
        mechanism: MechanismComponent = Own("single_head"),  # type: ignore[assignment]
        steps: Annotated[int, Gt(0)] = 2,
    ) -> None:
        self.mechanism = mechanism
        self.steps = steps

    def _inside(self) -> Any:
        return self.mechanism if hasattr(self.mechanism, "attend") else build("mechanism", self.mechanism)

    @property
    def is_stateful(self) -> bool:
        return bool(getattr(self._inside(), "is_stateful", False))

    @property
    def over_keys(self) -> bool:
        return bool(getattr(self._inside(), "over_keys", False))

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        return {"mechanism": self._inside().init(rng, d_query, d_key, d_value)}

    def _settled(self, params: Any, Q: Any, K: Any, mask: Any, context: Any) -> Any:
        """The query before the last step."""
        if self.steps == 1:
            return Q
        if Q.shape[-1] != K.shape[-1]:
            raise ShapeError(
                f"axis 'd' disagrees: hopfield puts keys in the place of queries; Q has {Q.shape[-1]} features, K has "
                f"{K.shape[-1]}: set steps to 1, or project both, as multi_head does"
            )
        known = readable(K, context_of((mask,), Q, K, None).M)
        for _ in range(self.steps - 1):
            W = weighed(self._inside(), params["mechanism"], Q, K, mask=mask, **context)
            Q = namespace(W, known).matmul(W, known)
        return Q

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        params, (Q, K, V), cast = in_range(own_of(self, params), *nouns)
        Q = self._settled(params, Q, K, mask, context)
        return cast(attended(self._inside(), params["mechanism"], Q, K, V, mask=mask, **context))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        params, (Q, K), cast = in_range(own_of(self, params), as_float(Q, "Q"), as_float(K, "K"))
        Q = self._settled(params, Q, K, mask, context)
        return cast(weighed(self._inside(), params["mechanism"], Q, K, mask=mask, **context))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        each = operations_of(self._inside(), n_keys, d_query, d_key, d_value)
        return self.steps * each + 2.0 * (self.steps - 1) * n_keys * d_key


Share = Annotated[float, Gt(0), Le(1)]


class DeltaRule(MechanismComponent):
    """A matrix that maps keys to values, corrected key by key; the query reads it.

    S_0 = 0, S_j = S_{j-1} (I - beta_j k_j k_j') + beta_j v_j k_j', y_i = S q_i, with S after the last key that query i may attend to,
    written with these keys alone. beta_j = sigmoid(w_beta . k_j + b_beta) where it is learned: w_beta (d_key,) and b_beta () start
    at 0. The weights are unrolled: w_ij = beta_j k_j' (product of I - beta_l k_l k_l' over l > j) q_i, so that y_i = sum_j w_ij v_j.
    Cost: 6 d + 2 v operations a pair.

    Parameters
    ----------
    beta : float in (0, 1] or "learned", dimensionless
        How much of what the matrix says of a key is replaced. With 1 and orthogonal keys, a key that comes again overwrites its
        value.
    unit : bool
        Divide queries and keys by their lengths, without which long keys make the matrix grow without bound.

    Raises
    ------
    ShapeError
        When queries and keys have different numbers of features.
    Unsupported
        When examples write their keys in different orders (`k_index`).

    Notes
    -----
    Keys are written in the order of their positions. With a causal mask this is the recurrence of linear transformers; with any
    other mask each query has a matrix of its own, which costs the same here, for matrices are never formed. Weights may be
    negative. DeltaNet applies SiLU before it divides by lengths, and has a short convolution before; there are none here. Linear
    attention without the correction is the similarity `dot` with the normaliser `identity`.

    References
    ----------
    Schlag, Irie, Schmidhuber (2021), equation 24; Yang et al. (2024), section 2.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> delta = attnlab.get("mechanism", "delta_rule", beta=1.0)
    >>> K, V = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([[1.0], [2.0], [5.0]])
    >>> delta.attend({}, K[:2], K, V)               # the first key came again: its value is 5 now
    array([[5.],
           [2.]])
    """

    name = "delta_rule"
    source = Source(
        "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", "Yang et al.", 2024, "NeurIPS"
    )

    def __init__(self, beta: Share | Literal["learned"] = "learned", unit: bool = True) -> None:
        self.beta = beta
        self.unit = unit

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        return _started(self.beta, "beta", d_key, 0.0)

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        return _read(self, params, Q, K, V, mask, context.get("k_index"))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        return _weights(self, params, Q, K, mask, context.get("k_index"))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        return n_keys * (6.0 * d_key + 2.0 * d_value)


class GatedDelta(MechanismComponent):
    """The delta rule with forgetting: before each key the matrix shrinks.

    S_j = alpha_j S_{j-1} (I - beta_j k_j k_j') + beta_j v_j k_j', y_i = S q_i, as in `delta_rule`. Where they are learned,
    alpha_j = sigmoid(w_alpha . k_j + b_alpha) and beta_j = sigmoid(w_beta . k_j + b_beta), with w_alpha and w_beta (d_key,) and b_beta ()
    started at 0, and b_alpha () at 4, where alpha is .98. The weights are unrolled:
    w_ij = beta_j k_j' (product of alpha_l (I - beta_l k_l k_l') over l > j) q_i. Cost: 7 d + 2 v operations a pair.

    Parameters
    ----------
    beta : float in (0, 1] or "learned", dimensionless
    decay : float in (0, 1] or "learned", dimensionless
        alpha, the share that is kept; with 1 it is `delta_rule`.
    unit : bool
        Divide queries and keys by their lengths.

    Raises
    ------
    ShapeError
        When queries and keys have different numbers of features.
    Unsupported
        When examples write their keys in different orders (`k_index`).

    Notes
    -----
    The paper's decay is exp(-a softplus(.)) of the token, as in Mamba; a sigmoid has the same range. All else is as in
    `delta_rule`.

    References
    ----------
    Yang, Kautz, Hatamizadeh (2025), equation 10.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> gated = attnlab.get("mechanism", "gated_delta", beta=1.0, decay=0.5)
    >>> K, V = np.eye(3), np.array([[4.0], [2.0], [1.0]])
    >>> gated.attend({}, K, K, V)
    array([[1.],
           [1.],
           [1.]])
    """

    name = "gated_delta"
    source = Source("Gated Delta Networks: Improving Mamba2 with Delta Rule", "Yang, Kautz, Hatamizadeh", 2025, "ICLR")

    def __init__(
        self,
        beta: Share | Literal["learned"] = "learned",
        decay: Share | Literal["learned"] = "learned",
        unit: bool = True,
    ) -> None:
        self.beta = beta
        self.decay = decay
        self.unit = unit

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        return _started(self.beta, "beta", d_key, 0.0) | _started(self.decay, "alpha", d_key, 4.0)

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        return _read(self, params, Q, K, V, mask, context.get("k_index"))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        return _weights(self, params, Q, K, mask, context.get("k_index"))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        return n_keys * (7.0 * d_key + 2.0 * d_value)


# --------------------------------------------------------------------------------------------------------------------
def _started(value: Any, letter: str, d_key: int, start: float) -> dict[str, Any]:
    """The arrays of a number that is learned of each key."""
    return {f"w_{letter}": np.zeros(d_key), f"b_{letter}": np.asarray(start)} if value == "learned" else {}


def _read(rule: Any, params: Any, Q: Any, K: Any, V: Any, mask: Any, k_index: Any) -> Any:
    """Y (..., q, v) of a memory that is written key by key."""
    nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
    params, (Q, K, V), cast = in_range(own_of(rule, params), *nouns)
    M = context_of((mask,), Q, K, V, who=rule.name).M
    W = _weighed(rule, params, Q, readable(K, M), M, k_index)
    return cast(namespace(W, V).matmul(W, readable(V, M)))


def _weights(rule: Any, params: Any, Q: Any, K: Any, mask: Any, k_index: Any) -> Any:
    """W (..., q, k) of a memory that is written key by key."""
    params, (Q, K), cast = in_range(own_of(rule, params), as_float(Q, "Q"), as_float(K, "K"))
    M = context_of((mask,), Q, K, None, who=rule.name).M
    return cast(_weighed(rule, params, Q, readable(K, M), M, k_index))


def _weighed(rule: Any, own: Any, Q: Any, K: Any, M: Any, k_index: Any) -> Any:
    if rule.unit:
        Q, K = _unit(Q), _unit(K)
    beta = _rate(rule.beta, K, own, "beta")
    decay = None if getattr(rule, "decay", 1.0) == 1.0 else _rate(rule.decay, K, own, "alpha")
    return _unrolled(Q, K, M, _order(k_index, K.shape[-2]), beta, decay)


def _rate(value: Any, K: Any, own: Any, letter: str) -> Any:
    """A number a key (..., k): what a setting fixes, or a sigmoid of the key."""
    if value == "learned":
        return namespace(K, own[f"w_{letter}"]).sigmoid(namespace(K).matmul(K, own[f"w_{letter}"]) + own[f"b_{letter}"])
    return float(value) + namespace(K).zeros_like(K[..., 0])


def _order(k_index: Any, n_keys: int) -> Any:
    """The keys in the order in which they are written, by their positions; ties in the order of the array.

    Raises
    ------
    Unsupported
        When examples have different orders.
    """
    if k_index is None or is_traced(k_index):
        return np.arange(n_keys)
    rows = np.argsort(to_numpy(k_index).reshape((-1, n_keys)), axis=-1, kind="stable")
    if len(rows) and not (rows == rows[:1]).all():
        raise Unsupported("a memory is written in one order of keys; here k_index has another order in each example")
    return rows[0] if len(rows) else np.arange(n_keys)


def _unrolled(Q: Any, K: Any, M: Any, order: Any, beta: Any, decay: Any) -> Any:
    """W (..., q, k): what the matrix, written with the keys that each query may attend to, gives of each value.

    The matrix S is not formed. A query is moved back through the keys instead: what key j wrote reaches it as
    beta_j k_j . u, and before that key the query is decay_j (u - beta_j k_j (k_j . u)).
    """
    xp = namespace(Q, K)
    lead = np.broadcast_shapes(Q.shape[:-2], K.shape[:-2], () if M is None else M.shape[:-2])
    u = Q + xp.zeros((*lead, *Q.shape[-2:]), dtype=Q.dtype)
    columns: dict[int, Any] = {}
    for j in map(int, order[::-1]):
        k, rate = K[..., j, :], beta[..., j][..., None, None]
        w = rate * xp.matmul(u, k[..., None])  # (..., q, 1)
        before = u - w * k[..., None, :]
        if decay is not None:
            before = decay[..., j][..., None, None] * before
        if M is not None:
            may = M[..., j : j + 1]
            w, before = xp.where(may, w, xp.zeros_like(w)), xp.where(may, before, u)
        columns[j], u = w, before
    if not columns:
        return xp.zeros((*lead, Q.shape[-2], 0), dtype=Q.dtype)
    return xp.concat([columns[j] for j in range(len(columns))], axis=-1)


def _unit(X: Any) -> Any:
    """Vectors of length one; a zero vector stays."""
    xp = namespace(X)
    length = xp.linalg.vector_norm(X, axis=-1, keepdims=True)
    return X / xp.where(length > 0, length, xp.ones_like(length))
