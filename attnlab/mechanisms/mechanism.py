"""Mechanism: a similarity, a normaliser, an aggregator, a position and a mask, composed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import as_float, detach, namespace
from attnlab.errors import ComponentError, NotInitialised, SettingError, ShapeError, did_you_mean
from attnlab.injection import asks_for, call, check_learned
from attnlab.interfaces import Aggregator, Mask, MechanismComponent, Normaliser, Position, Similarity, Source
from attnlab.registry import build
from attnlab.shapes import broadcast_leading, check_shapes

__all__ = ["Mechanism"]

LEARNING = ("similarity", "normaliser", "aggregator", "position")
ROLES = (*LEARNING, "mask")
Params = dict[str, dict[str, Any]]

BLOCK = 2**22  # weights: attend() goes through the queries in blocks rather than form more than this many at once


class Parts(NamedTuple):
    """The five parts, as objects."""

    similarity: Similarity
    normaliser: Normaliser
    aggregator: Aggregator
    position: Position
    masks: tuple[Any, ...]  # Mask objects and boolean arrays


class Mechanism(MechanismComponent):
    """Attention from five parts: compare, normalise, sum up, with positions and a mask.

    S = similarity(position(Q, K)), W = normaliser(S, mask), Y = aggregator(W, V). A weight that the mask forbids is exactly
    0; a query that may attend to nothing gets weights and a context of exactly 0.

    Parameters
    ----------
    similarity, normaliser, aggregator, position : name, {name: {setting: value}}, or object
    mask : the same, or a boolean array broadcast to (..., q, k), or a list of these, which combine by "and"
        True = may attend.

    Notes
    -----
    In scikit-learn's manner `__init__` only stores; names are looked up when the mechanism is used. `set_params` takes names
    and their settings together: ``set_params(similarity="neg_l2", similarity__sigma=2.0)``.

    References
    ----------
    Vaswani et al. (2017), section 3.2; Bahdanau, Cho, Bengio (2015), section 3.1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> mechanism = attnlab.Mechanism("additive", "sparsemax")
    >>> params = mechanism.init(np.random.default_rng(0), d_query=4, d_key=4, d_value=3)
    >>> mechanism.attend(params, np.ones((2, 4)), np.ones((5, 4)), np.ones((5, 3)))
    array([[1., 1., 1.],
           [1., 1., 1.]])
    """

    name = "single_head"
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")

    def __init__(
        self,
        similarity: Any = "scaled_dot",
        normaliser: Any = "softmax",
        aggregator: Any = "weighted_sum",
        position: Any = "none",
        mask: Any = "all",
    ) -> None:
        self.similarity = similarity
        self.normaliser = normaliser
        self.aggregator = aggregator
        self.position = position
        self.mask = mask

    # -- settings -----------------------------------------------------------------------------------------------
    def parts(self) -> Parts:
        """The parts as objects, names looked up."""
        masks = self.mask if isinstance(self.mask, (list, tuple)) else [self.mask]
        return Parts(
            build("similarity", self.similarity),
            build("normaliser", self.normaliser),
            build("aggregator", self.aggregator),
            build("position", self.position),
            tuple(_as_mask(m) for m in masks),
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parts as they were given; with `deep`, each part's settings as `part__setting`, also for names."""
        params: dict[str, Any] = {role: getattr(self, role) for role in ROLES}
        if deep:
            for role in ROLES:
                if isinstance(params[role], (str, Mapping)):
                    part = build(role, params[role])
                else:
                    part = params[role]
                if hasattr(part, "get_params"):
                    params.update({f"{role}__{k}": v for k, v in part.get_params(deep=True).items()})
        return params

    def set_params(self, **settings: Any) -> Mechanism:
        """Change parts (names, mappings or objects) and their settings (`similarity__sigma=2.0`). Returns self."""
        nested: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            role, _, rest = key.partition("__")
            if role not in ROLES:
                raise SettingError(
                    f"Mechanism has no part {role!r}{did_you_mean(role, ROLES)}; it has {', '.join(ROLES)}"
                )
            if rest:
                nested.setdefault(role, {})[rest] = value
            else:
                setattr(self, role, value)
        for role, inner in nested.items():
            part = build(role, getattr(self, role))
            setattr(self, role, type(part)(**{**part.get_params(deep=False), **_checked(role, part, inner)}))
        return self

    # -- learning -----------------------------------------------------------------------------------------------
    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> Params:
        """Arrays to learn, by part: {"similarity": {...}, "normaliser": {...}, "aggregator": {...}, "position": {...}}."""
        rng = np.random.default_rng(rng)
        dims = {"d_query": d_query, "d_key": d_key, "d_value": d_value}
        parts = self.parts()
        return {role: _init_part(getattr(parts, role), rng, dims) for role in LEARNING}

    @property
    def is_stateful(self) -> bool:
        """Whether a part needs the weights of the step before."""
        return bool(_stateful(self.parts()))

    # -- attending ----------------------------------------------------------------------------------------------
    def weights(
        self,
        params: Params | None,
        Q: Any,
        K: Any,
        mask: Any = None,
        *,
        q_index: Any = None,
        k_index: Any = None,
        lengths: Any = None,
        state: Any = None,
        rng: Any = None,
        training: bool = False,
    ) -> Any:
        """The weights, W (..., q, k), of queries Q (..., q, d) over keys K (..., k, d).

        Parameters
        ----------
        params : what `init` returned, or None if no part has anything to learn
        mask : bool array, broadcast to (..., q, k), or None
            True = may attend; combined with the mechanism's own masks by "and".
        q_index, k_index : int (q,), (k,), positions from 0; by default 0, 1, ...
        lengths : int (..., 2), true numbers of queries and keys; by default all
        state : dict, what stateful parts remember, as `step` returned it
        rng : numpy.random.Generator or None
        training : bool

        Raises
        ------
        ShapeError
            When axes disagree, naming the axis and both arrays.
        NotInitialised
            When a part has arrays to learn and params is None.
        """
        Q, K = as_float(Q, "Q"), as_float(K, "K")
        parts = self.parts()
        params = _completed(parts, params)
        context = _context(parts, Q, K, mask, q_index, k_index, lengths, rng, training)
        stateful = _stateful(parts)
        if not stateful:
            return _weigh(parts, params, Q, K, context)
        return _weigh_in_steps(parts, params, Q, K, context, state, stateful)[0]

    def attend(
        self,
        params: Params | None,
        Q: Any,
        K: Any,
        V: Any,
        mask: Any = None,
        *,
        q_index: Any = None,
        k_index: Any = None,
        lengths: Any = None,
        state: Any = None,
        rng: Any = None,
        training: bool = False,
    ) -> Any:
        """The contexts, Y (..., q, v): the values V (..., k, v) summed up by `weights`, which see for the arguments."""
        Q, K, V = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        parts = self.parts()
        params = _completed(parts, params)
        check_shapes(K=("... k d", K), V=("... k v", V))
        context = _context(parts, Q, K, mask, q_index, k_index, lengths, rng, training)
        stateful = _stateful(parts)
        if stateful:
            W = _weigh_in_steps(parts, params, Q, K, context, state, stateful)[0]
            return _aggregate(parts, params, W, V, Q, K, context)
        if not _may_split(parts, Q, K, context):
            W = _weigh(parts, params, Q, K, context)
            return _aggregate(parts, params, W, V, Q, K, context)
        rows = max(1, BLOCK // max(1, _size(context["shape"]) // Q.shape[-2]))
        blocks = []
        for start in range(0, Q.shape[-2], rows):
            here = slice(start, start + rows)
            inner = _rows(context, here)
            W = _weigh(parts, params, Q[..., here, :], K, inner)
            blocks.append(_aggregate(parts, params, W, V, Q[..., here, :], K, inner))
        return namespace(blocks[0]).concat(blocks, axis=-2)

    def step(
        self,
        params: Params | None,
        Q: Any,
        K: Any,
        V: Any,
        state: Any,
        t: int,
        mask: Any = None,
        *,
        k_index: Any = None,
        lengths: Any = None,
        rng: Any = None,
        training: bool = False,
    ) -> tuple[Any, Any, Any]:
        """One query at position t: (Y (..., 1, v), W (..., 1, k), the state for step t + 1).

        Parameters
        ----------
        Q : array (..., 1, d)
        state : None at the first step, then what the step before returned
        t : int >= 0, the query's position; positions and masks are those of row t of the whole
        mask : bool array, broadcast to (..., 1, k), or None
        """
        Q, K, V = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        if Q.shape[-2] != 1:
            raise ShapeError(f"step takes one query, Q (..., 1, d); got {tuple(Q.shape)}")
        parts = self.parts()
        params = _completed(parts, params)
        check_shapes(K=("... k d", K), V=("... k v", V))
        context = _context(parts, Q, K, mask, np.asarray([t]), k_index, lengths, rng, training)
        stateful = _stateful(parts)
        W, state = _weigh_in_steps(parts, params, Q, K, context, state, stateful)
        return _aggregate(parts, params, W, V, Q, K, context), W, state

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        """Floating-point operations for one query, as the parts declare them; NaN when a part does not."""
        dims = {"n_keys": n_keys, "d_query": d_query, "d_key": d_key, "d_value": d_value}
        total = 0.0
        parts = self.parts()
        for role in LEARNING:
            part = getattr(parts, role)
            total += call(part, "operations", **dims) if hasattr(part, "operations") else float("nan")
        return total


# --------------------------------------------------------------------------------------------------------------------
# settings and params
# --------------------------------------------------------------------------------------------------------------------
def _as_mask(mask: Any) -> Any:
    if isinstance(mask, (str, Mapping, Mask)):
        return build("mask", mask)
    array = mask if hasattr(mask, "dtype") else np.asarray(mask)
    if "bool" not in str(array.dtype):
        raise TypeError(f"a mask array must be boolean, True = may attend; got dtype {array.dtype}")
    return array


def _checked(role: str, part: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    from attnlab.settings import checked

    known = part.get_params(deep=False)
    return checked(role, type(part), {**known, **settings})


def _init_part(part: Any, rng: Any, dims: Mapping[str, int]) -> dict[str, Any]:
    if part.init is None:
        return {}
    return check_learned(part, call(part, "init", rng=rng, **dims))


def _completed(parts: Parts, params: Params | None) -> Params:
    """Params with an entry for each part, or an error saying which part has arrays to learn."""
    params = dict(params or {})
    if unknown := set(params) - set(ROLES):
        first = sorted(unknown)[0]
        raise SettingError(
            f"params has an unknown entry {first!r}{did_you_mean(first, LEARNING)}; it may have {', '.join(LEARNING)}"
        )
    for role in LEARNING:
        part = getattr(parts, role)
        learned = params.get(role)
        if learned is None and part.init is not None and (missing := _learns(part)):
            raise NotInitialised(
                f"the {role} {part.name!r} has arrays to learn ({', '.join(missing)}), and neither params nor rng was given: "
                f"params = mechanism.init(rng, d_query, d_key, d_value), or pass rng to start at random"
            )
        params[role] = dict(learned or {})
    return params


def _learns(part: Any) -> list[str]:
    """The names of the arrays that a part would learn."""
    rng = np.random.default_rng(0)
    return list(check_learned(part, call(part, "init", rng=rng, d_query=1, d_key=1, d_value=1)))


def _stateful(parts: Parts) -> dict[str, Any]:
    verbs = {
        "similarity": ("score",),
        "normaliser": ("normalise",),
        "aggregator": ("aggregate",),
        "position": ("place", "bias", "reweigh"),
    }
    return {
        role: getattr(parts, role)
        for role, names in verbs.items()
        if any("state" in asks_for(getattr(parts, role), verb) for verb in names)
    }


# --------------------------------------------------------------------------------------------------------------------
# one pass: compare, normalise, sum up
# --------------------------------------------------------------------------------------------------------------------
def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _context(
    parts: Parts,
    Q: Any,
    K: Any,
    mask: Any,
    q_index: Any,
    k_index: Any,
    lengths: Any,
    rng: Any,
    training: bool,
) -> dict[str, Any]:
    """What every verb may ask for, once for a call: shapes checked, masks combined."""
    xp = namespace(Q, K)
    sizes = check_shapes(Q=("... q d", Q), K=("... k e", K))
    similarity = parts.similarity
    init = similarity.init
    both = init is not None and {"d_query", "d_key"} <= set(inspect.signature(init).parameters)
    if sizes["d"] != sizes["e"] and not both and similarity.content_free is not True:
        check_shapes(Q=("... q d", Q), K=("... k d", K))
    q, k = sizes["q"], sizes["k"]
    lead = broadcast_leading(("Q", tuple(Q.shape[:-2])), ("K", tuple(K.shape[:-2])))
    q_index = np.arange(q) if q_index is None else np.asarray(q_index)
    k_index = np.arange(k) if k_index is None else np.asarray(k_index)
    for letter, index, size in (("q", q_index, q), ("k", k_index, k)):
        if index.shape[-1:] != (size,):
            raise ShapeError(f"{letter}_index must end in axis {letter!r} = {size}; got shape {index.shape}")
    shape = (*lead, q, k)
    M = None
    for one in (*parts.masks, mask):
        allowed = _allowed(one, q_index, k_index, shape)
        if allowed is not None:
            M = allowed if M is None else M & allowed
    if M is not None:
        shape = (*broadcast_leading(("Q and K", lead), ("mask", tuple(M.shape[:-2]))), q, k)
        M = xp.asarray(M) if isinstance(M, np.ndarray) else M
    return {
        "M": M,
        "shape": shape,
        "q_index": q_index if _is_numpy(Q) else xp.asarray(q_index),
        "k_index": k_index if _is_numpy(Q) else xp.asarray(k_index),
        "lengths": np.broadcast_to([q, k], (*lead, 2)) if lengths is None else lengths,
        "rng": rng,
        "training": training,
    }


def _is_numpy(array: Any) -> bool:
    return isinstance(detach(array), (np.ndarray, np.generic))


def _allowed(mask: Any, q_index: Any, k_index: Any, shape: tuple[int, ...]) -> Any:
    """One mask as a boolean array that broadcasts to `shape` with its own leading axes, or None when it allows all."""
    if mask is None:
        return None
    if isinstance(mask, Mask):
        if mask.name == "all":
            return None
        n_queries, n_keys = (int(i.max()) + 1 if i.size else 0 for i in (q_index, k_index))
        array = np.asarray(mask.allow(n_queries, n_keys))
        if array.dtype != bool or array.shape != (n_queries, n_keys):
            raise ComponentError(
                f"{type(mask).__name__}.allow({n_queries}, {n_keys}) must return bool (q, k) = ({n_queries}, {n_keys}); "
                f"got {array.dtype} {array.shape}"
            )
        return array[q_index[..., :, None], k_index[..., None, :]]
    array = mask if hasattr(mask, "dtype") else np.asarray(mask)
    if "bool" not in str(array.dtype):
        raise TypeError(f"mask must be boolean, True = may attend; got dtype {array.dtype}")
    q, k = shape[-2:]
    if array.ndim < 2:
        array = array[None, :] if array.ndim else array[None, None]
    if array.shape[-2] not in (1, q) or array.shape[-1] not in (1, k):
        raise ShapeError(f"mask {tuple(array.shape)} does not broadcast to (..., q, k) = (..., {q}, {k})")
    return array


def _rows(context: Mapping[str, Any], here: slice) -> dict[str, Any]:
    """The context of some of the queries."""
    inner = dict(context)
    inner["q_index"] = context["q_index"][..., here]
    M = context["M"]
    inner["M"] = M if M is None or M.shape[-2] == 1 else M[..., here, :]
    inner["shape"] = (*context["shape"][:-2], inner["q_index"].shape[-1], context["shape"][-1])
    return inner


def _may_split(parts: Parts, Q: Any, K: Any, context: Mapping[str, Any]) -> bool:
    plain = isinstance(Q, np.ndarray) and isinstance(K, np.ndarray)
    return plain and _size(context["shape"]) > BLOCK and Q.shape[-2] > 1 and not parts.normaliser.couples_rows


def _weigh(
    parts: Parts, params: Params, Q: Any, K: Any, context: Mapping[str, Any], states: Mapping[str, Any] | None = None
) -> Any:
    """W (..., q, k): compare and normalise. Queries that may attend to nothing are shown zeros and struck out after."""
    shape, M = context["shape"], context["M"]
    xp = namespace(Q, K)
    if shape[-1] == 0 or shape[-2] == 0:
        return xp.zeros(shape, dtype=Q.dtype)
    if M is None:
        alive, shown = None, xp.ones((1, 1), dtype=xp.bool)
        n_allowed = xp.full((1, 1), shape[-1], dtype=Q.dtype)
    else:
        M = xp.broadcast_to(M, (*M.shape[:-2], *shape[-2:]))
        alive = xp.any(M, axis=-1, keepdims=True)
        shown = M | ~alive
        n_allowed = xp.astype(xp.sum(xp.astype(shown, Q.dtype), axis=-1, keepdims=True), Q.dtype)
    available = {**context, "mask": shown, "n_allowed": n_allowed}
    del available["M"], available["shape"]

    def do(role: str, verb: str, **nouns: Any) -> Any:
        state = {"state": states[role]} if states and role in states else {}
        return call(getattr(parts, role), verb, **{**available, **params[role], **state, **nouns})

    Q, K = do("position", "place", Q=Q, K=K)
    S = do("similarity", "score", Q=Q, K=K)
    _check_shape(parts.similarity, "score", S, Q, K, shape)
    S = do("position", "bias", S=S, Q=Q, K=K)
    if M is not None:
        zero = xp.zeros_like(detach(S)) + xp.zeros(M.shape, dtype=S.dtype)
        S = xp.where(M, S, xp.where(alive, zero - xp.inf, zero))
    W = do("normaliser", "normalise", S=S)
    _check_shape(parts.normaliser, "normalise", W, Q, K, tuple(S.shape))
    W = do("position", "reweigh", W=W, Q=Q, K=K)
    return W if M is None else xp.where(M, W, xp.zeros_like(detach(W)))


def _check_shape(part: Any, verb: str, X: Any, Q: Any, K: Any, shape: tuple[int, ...]) -> None:
    given = tuple(getattr(X, "shape", ()))
    if given[-2:] != tuple(shape[-2:]) or len(given) > len(shape):
        raise ComponentError(
            f"{type(part).__name__}.{verb} must return (..., q, k) = {tuple(shape)}; got {given} "
            f"for Q {tuple(Q.shape)} and K {tuple(K.shape)}"
        )


def _aggregate(parts: Parts, params: Params, W: Any, V: Any, Q: Any, K: Any, context: Mapping[str, Any]) -> Any:
    """Y (..., q, v). With no key at all it is zero."""
    if W.shape[-1] == 0:
        xp = namespace(W, V)
        lead = broadcast_leading(("W", tuple(W.shape[:-2])), ("V", tuple(V.shape[:-2])))
        return xp.zeros((*lead, W.shape[-2], V.shape[-1]), dtype=V.dtype)
    available = {name: value for name, value in context.items() if name not in ("M", "shape")}
    if "mask" in asks_for(parts.aggregator, "aggregate") or "n_allowed" in asks_for(parts.aggregator, "aggregate"):
        xp = namespace(W)
        M = context["M"]
        available["mask"] = xp.ones((1, 1), dtype=xp.bool) if M is None else M
        counted = xp.astype(xp.broadcast_to(available["mask"], W.shape), W.dtype)
        available["n_allowed"] = xp.sum(counted, axis=-1, keepdims=True)
    return call(parts.aggregator, "aggregate", **{**available, **params["aggregator"], "W": W, "V": V, "Q": Q, "K": K})


def _weigh_in_steps(
    parts: Parts,
    params: Params,
    Q: Any,
    K: Any,
    context: Mapping[str, Any],
    states: Mapping[str, Any] | None,
    stateful: Mapping[str, Sequence[Any]],
) -> tuple[Any, dict[str, Any]]:
    """Query by query, handing each stateful part what it remembers; (W, the states after the last)."""
    lead, k = context["shape"][:-2], context["shape"][-1]
    now = dict(states or {})
    for role, part in stateful.items():
        if role not in now:
            now[role] = call(part, "initial_state", n_keys=k, leading=lead, Q=Q, K=K, **params[role])
    rows = []
    for t in range(Q.shape[-2]):
        inner = _rows(context, slice(t, t + 1))
        W = _weigh(parts, params, Q[..., t : t + 1, :], K, inner, now)
        for role, part in stateful.items():
            now[role] = call(part, "update", state=now[role], W=W, **params[role])
        rows.append(W)
    if not rows:
        return namespace(Q, K).zeros(context["shape"], dtype=Q.dtype), now
    return (rows[0] if len(rows) == 1 else namespace(rows[0]).concat(rows, axis=-2)), now
