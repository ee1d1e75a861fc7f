"""`attend` and `attention_weights`: attention in one call."""

from __future__ import annotations

from typing import Any

from attnlab.arrays import as_float
from attnlab.errors import SettingError
from attnlab.mechanisms.mechanism import Mechanism, generator
from attnlab.registry import Own

__all__ = ["attend", "attention_weights"]


def attend(
    Q: Any,
    K: Any,
    V: Any,
    similarity: Any = Own("scaled_dot"),
    normaliser: Any = Own("softmax"),
    aggregator: Any = Own("weighted_sum"),
    position: Any = Own("none"),
    mask: Any = Own("all"),
    params: Any = None,
    rng: Any = None,
) -> Any:
    """Attention: compare queries with keys, normalise, sum up values.

    Large inputs are gone through in blocks of queries, so that the weights are not formed as a whole.

    Parameters
    ----------
    Q : array (..., q, d)
    K : array (..., k, d)
    V : array (..., k, v)
    similarity, normaliser, aggregator, position : name, {name: {setting: value}}, or object
    mask : the same, or a boolean array broadcast to (..., q, k), or a list of these, or None
        True = may attend; None forbids nothing.
    params : dict, what `Mechanism.init` returned, or None
    rng : numpy.random.Generator, int or None
        Starts the arrays to learn of parts that have some, when params is None. Without it attend is deterministic.

    Returns
    -------
    Y : array (..., q, v)

    Raises
    ------
    ShapeError, UnknownName, SettingError
        With the axis, the nearest names, or what is allowed.
    NotInitialised
        When a part has arrays to learn and neither params nor rng is given.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.attend(np.ones((1, 2)), np.ones((3, 2)), np.array([[1.0], [2.0], [6.0]]))
    array([[3.]])
    """
    Q, K, V = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
    mechanism = Mechanism(similarity, normaliser, aggregator, position, mask)
    params, rng = _started(mechanism, params, rng, Q, K, V)
    return mechanism.attend(params, Q, K, V, rng=rng)


def attention_weights(
    Q: Any,
    K: Any,
    similarity: Any = Own("scaled_dot"),
    normaliser: Any = Own("softmax"),
    position: Any = Own("none"),
    mask: Any = Own("all"),
    params: Any = None,
    rng: Any = None,
) -> Any:
    """The weights of queries over keys, W (..., q, k); for the arguments see `attend`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.attention_weights(np.ones((1, 2)), np.ones((4, 2)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    Q, K = as_float(Q, "Q"), as_float(K, "K")
    mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
    params, rng = _started(mechanism, params, rng, Q, K, K)
    return mechanism.weights(params, Q, K, rng=rng)


def _started(mechanism: Mechanism, params: Any, rng: Any, Q: Any, K: Any, V: Any) -> tuple[Any, Any]:
    if params is not None and not isinstance(params, dict):
        raise SettingError(f"params must be what Mechanism.init returned, a dict by part; got {type(params).__name__}")
    if rng is None:
        return params, None
    rng = generator(rng)
    if params is None:
        params = mechanism.init(rng, Q.shape[-1], K.shape[-1], V.shape[-1])
        params = {role: {n: _as_like(a, Q) for n, a in learned.items()} for role, learned in params.items()}
    return params, rng


def _as_like(array: Any, Q: Any) -> Any:
    """A learned array in the dtype, and the library, of the queries."""
    from attnlab.arrays import namespace

    xp = namespace(Q)
    return xp.astype(xp.asarray(array), Q.dtype)
