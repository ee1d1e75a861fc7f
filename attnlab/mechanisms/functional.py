"""`attend` and `attention_weights`: attention in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.arrays import as_float, namespace
from attnlab.errors import SettingError, ShapeError
from attnlab.interfaces import Similarity
from attnlab.mechanisms.choice import kernel_of
from attnlab.mechanisms.extremes import extremes_of
from attnlab.mechanisms.mechanism import Mechanism, generator, part_of
from attnlab.registry import Own

__all__ = ["attend", "attention_weights", "normalise"]


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
    *,
    modifier: Any = Own("none"),
) -> Any:
    """Attention: compare queries with keys, normalise, sum up values.

    Large inputs are computed in blocks of keys or queries, so that the weights are never one large array.

    Parameters
    ----------
    Q : array (..., q, d)
    K : array (..., k, d)
    V : array (..., k, v)
    similarity, normaliser, aggregator, position : name, {name: {setting: value}}, or object
    mask : the same, or a boolean array that broadcasts to (..., q, k), or a list of such masks, or None
        True = may attend; None forbids nothing.
    params : dict, what `Mechanism.init` returned, or None
    rng : numpy.random.Generator, int or None
        Initialises the learned arrays of the parts when params is None. Without it attend is deterministic.
    modifier : name, {name: {setting: value}}, or object, or a list of modifiers, which act in the given order
        Changes scores between the position's bias and the mask; `bias` adds an array to them.

    Returns
    -------
    Y : array (..., q, v)

    Raises
    ------
    ShapeError, UnknownName, SettingError
        The message gives the axis, the nearest names, or what is allowed.
    NotInitialised
        When a part has arrays to learn and neither params nor rng is given.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.attend(np.ones((1, 2)), np.ones((3, 2)), np.array([[1.0], [2.0], [6.0]]))
    array([[3.]])
    """
    Q, K, V = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
    mechanism = Mechanism(similarity, normaliser, aggregator, position, mask, modifier=modifier)
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
    *,
    modifier: Any = Own("none"),
) -> Any:
    """The weights of queries over keys, W (..., q, k); `attend` explains the arguments.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.attention_weights(np.ones((1, 2)), np.ones((4, 2)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    Q, K = as_float(Q, "Q"), as_float(K, "K")
    mechanism = Mechanism(similarity, normaliser, position=position, mask=mask, modifier=modifier)
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
        params = _as_like(params, Q)
    return params, rng


def _as_like(array: Any, Q: Any) -> Any:
    """Learned arrays, however nested, in the dtype and the library of the queries."""
    if isinstance(array, dict):
        return {name: _as_like(inner, Q) for name, inner in array.items()}
    xp = namespace(Q)
    return xp.astype(xp.asarray(array), Q.dtype)


class _Given(Similarity):
    """A similarity that returns its queries, which hold the scores already."""

    name = "given"
    content_free = True
    has_no_settings = True  # all of them are alike

    def score(self, Q: Any) -> Any:
        return Q


def normalise(S: Any, normaliser: Any = Own("softmax"), mask: Any = None, params: Any = None, rng: Any = None) -> Any:
    """Apply one normaliser to scores: weights W (..., q, k).

    Parameters
    ----------
    S : array (..., q, k)
    normaliser : name, {name: {setting: value}}, or object
    mask : bool array that broadcasts to (..., q, k), or None
        True = may attend. A forbidden weight is exactly 0; a query that may attend to nothing gets zeros.
    params : dict of the normaliser's own arrays by name, as its `init` returns them, or None
    rng : numpy.random.Generator, int or None
        Initialises the learned arrays when params is None.

    Raises
    ------
    ShapeError, UnknownName, SettingError
        The message gives the axis, the nearest names, or what is allowed.
    NotInitialised
        When the normaliser has arrays to learn and neither params nor rng is given.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[1.0, 2.0, 0.5]]), "sparsemax")
    array([[0., 1., 0.]])
    """
    S = as_float(S, "S")
    if len(S.shape) < 2:
        raise ShapeError(f"S must be (..., q, k), scores of queries over keys; got shape {tuple(S.shape)}")
    if params is not None and not isinstance(params, dict):
        raise SettingError(
            f"params must be the normaliser's arrays by name, as its init returns them; got {type(params).__name__}"
        )
    if mask is None and params is None and rng is None and (W := _row_by_row(S, normaliser)) is not None:
        return W
    keys = namespace(S).ones((S.shape[-1], 1), dtype=S.dtype)
    mechanism = Mechanism(_Given(), normaliser)
    own, rng = _started(mechanism, None if params is None else {"normaliser": params}, rng, S, keys, keys)
    return mechanism.weights(own, S, keys, mask, rng=rng)


def _row_by_row(S: Any, normaliser: Any) -> Any:
    """The weights by a kernel that needs nothing of a mechanism; None where there is no such kernel for these scores."""
    if type(S) is not np.ndarray or not S.size:
        return None
    part = part_of("normaliser", normaliser)
    dtype = str(S.dtype)
    kernel, _ = kernel_of(part, "normalise", "numpy", dtype) or (None, "")
    if kernel is None or not kernel.row_by_row(part, dtype) or extremes_of((part,)):
        return None
    return kernel.normalise(part, S, wants=frozenset())[0]
