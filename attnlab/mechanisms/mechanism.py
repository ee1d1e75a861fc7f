"""Mechanism: a similarity, a normaliser, an aggregator, a position and a mask, composed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnlab.arrays import as_float, detach, namespace
from attnlab.errors import SettingError, ShapeError, did_you_mean
from attnlab.injection import call
from attnlab.interfaces import Mask, MechanismComponent, Source, settings_of
from attnlab.kinds import PARTS
from attnlab.mechanisms.bound import BoundMechanism, Params, Parts
from attnlab.mechanisms.context import Context
from attnlab.mechanisms.params import completed, initial, seen_by
from attnlab.mechanisms.refusals import one_query_is_too_few, refusal_of_parts
from attnlab.parts.masks import AllKeys
from attnlab.parts.modifiers import NoModifier
from attnlab.precision import in_range
from attnlab.registry import Own, build, kept, shared
from attnlab.settings import checked, checked_one

__all__ = ["Mechanism", "generator", "part_of"]


class Mechanism(MechanismComponent):
    """Attention from six parts: compare, normalise, sum up, with positions, a modifier of scores and a mask.

    S = modifier(similarity(position(Q, K))), W = normaliser(S, mask), Y = aggregator(W, V). A weight that the mask forbids is
    exactly 0. If a query may attend to nothing, its weights and its context are exactly 0.

    Parameters
    ----------
    similarity, normaliser, aggregator, position : name, {name: {setting: value}}, or object
    mask : the same, or a boolean array that broadcasts to (..., q, k), or a list of masks, joined by "and", or None
        True = may attend; None forbids nothing.
    modifier : name, {name: {setting: value}}, or object, or a list of modifiers, which act in the given order
        Changes scores between the position's bias and the mask.

    Notes
    -----
    `__init__` only stores its arguments, as in scikit-learn. Names are looked up when the mechanism is used. `set_params`
    accepts names and their settings together: ``set_params(similarity="neg_l2", similarity__sigma=2.0)``.

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
        similarity: Any = Own("scaled_dot"),
        normaliser: Any = Own("softmax"),
        aggregator: Any = Own("weighted_sum"),
        position: Any = Own("none"),
        mask: Any = Own("all"),
        *,
        modifier: Any = Own("none"),
    ) -> None:
        self.similarity = similarity
        self.normaliser = normaliser
        self.aggregator = aggregator
        self.position = position
        self.mask = mask
        self.modifier = modifier

    def _repr_html_(self) -> str:
        from attnlab.mechanisms.html import mechanism_html

        return mechanism_html(self)

    # -- settings -----------------------------------------------------------------------------------------------
    def parts(self) -> Parts:
        """The parts as objects. Names are looked up, and the settings of objects are checked against their ranges."""
        return self._parts(_built)

    def _parts(self, built: Any) -> Parts:
        masks = self.mask if isinstance(self.mask, (list, tuple)) else [self.mask]
        return Parts(
            built("similarity", self.similarity),
            built("normaliser", self.normaliser),
            built("aggregator", self.aggregator),
            built("position", self.position),
            tuple(_as_mask(m, built) for m in masks),
            _as_modifiers(self.modifier, built),
        )

    def bind(self, backend: str = "auto") -> BoundMechanism:
        """The mechanism with its parts built, for many calls; `BoundMechanism` says what its caller must ensure."""
        return BoundMechanism(self.parts(), backend)

    def _bound(self) -> BoundMechanism:
        """The same for one call that changes no part. Parts given by name are built once and shared."""
        given = (self.similarity, self.normaliser, self.aggregator, self.position, self.mask, self.modifier)
        if not all(isinstance(one, str) or getattr(one, "has_no_settings", False) for one in given):
            return BoundMechanism(self._parts(part_of))
        key = tuple((type(one), one if isinstance(one, str) else "") for one in given)
        found = (mine := kept()).get(key)
        if found is None:
            found = mine[key] = BoundMechanism(self._parts(part_of))
        return found

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parts as they were given; with `deep`, also the settings of each part, as `part__setting`."""
        params: dict[str, Any] = {role: getattr(self, role) for role in PARTS}
        if deep:
            for role in PARTS:
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
            if role not in PARTS:
                raise SettingError(
                    f"Mechanism has no part {role!r}{did_you_mean(role, PARTS)}; it has {', '.join(PARTS)}"
                )
            if rest:
                nested.setdefault(role, {})[rest] = value
            else:
                setattr(self, role, value)
        for role, inner in nested.items():
            if isinstance(given := getattr(self, role), (list, tuple)):
                first = next(iter(inner))
                raise SettingError(
                    f"{role} is a list of {len(given)}, so that {role}__{first} does not say which one: give the list anew, "
                    f"set_params({role}=[...])"
                )
            part = build(role, given)
            known = copy.deepcopy(part.get_params(deep=False))  # the part that was given stays as it is
            direct = {setting: value for setting, value in inner.items() if "__" not in setting}
            part = type(part)(**checked(role, type(part), {**known, **direct}))
            setattr(self, role, part.set_params(**{s: value for s, value in inner.items() if "__" in s}))
        return self

    # -- learning -----------------------------------------------------------------------------------------------
    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        """Arrays to learn, by part: {"similarity": {...}, ..., "modifier": {name: {...}}}."""
        rng = generator(rng)
        dims = {"d_query": d_query, "d_key": d_key, "d_value": d_value}
        for name, size in dims.items():
            if not isinstance(size, (int, np.integer)) or size < 0:
                raise ShapeError(f"{name} must be a number of features, an integer from 0; got {size!r}")
        return initial(self.parts(), rng, dims)

    def refusal(self) -> str:
        """Why these parts cannot work together, whatever the data are, in words; empty where nothing is known against it."""
        return refusal_of_parts(self.parts())

    def refusal_of_steps(self) -> str:
        """Why it cannot attend one query at a time, in words; empty where it can."""
        return one_query_is_too_few(self.parts())

    @property
    def is_stateful(self) -> bool:
        """Whether a part needs the weights of the step before."""
        return bool(self.bind().stateful)

    @property
    def over_keys(self) -> bool:
        """Whether a context has one feature for each key, whatever the values have."""
        return bool(self.parts().aggregator.over_keys)

    @property
    def mixes_values(self) -> bool | None:  # type: ignore[override]
        """Whether contexts mix values by weights of zero and above, as the aggregator says it; None where it does not say."""
        parts = self.parts()
        return parts.aggregator.mixes_values if parts.normaliser.nonnegative else False

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
        lengths : int (..., 2), true numbers of queries and keys; all of them by default
        state : dict, what stateful parts remember, as `step` returned it
        rng : numpy.random.Generator or None
        training : bool

        Raises
        ------
        ShapeError
            When axes disagree; the message names the axis and both arrays.
        NotInitialised
            When a part has arrays to learn and params is None.
        """
        params, (Q, K), back = in_range(params, as_float(Q, "Q"), as_float(K, "K"))
        bound = self._bound()
        context = bound.context(
            Q, K, None, mask, q_index=q_index, k_index=k_index, lengths=lengths, rng=rng, training=training
        )
        params = completed(bound.owners, params, Q, K, K)
        bound = bound.for_arrays(params, Q, K)
        Q, K, context = _legible(Q, K, context)
        if bound.stateful:
            return back(bound.in_steps(params, Q, K, context, state)[0])
        return back(bound.weights(params, Q, K, context))

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
        """The contexts, Y (..., q, v): sums of the values V (..., k, v). `weights` explains the arguments."""
        params, (Q, K, V), back = in_range(params, as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V"))
        bound = self._bound()
        context = bound.context(
            Q, K, V, mask, q_index=q_index, k_index=k_index, lengths=lengths, rng=rng, training=training
        )
        params = completed(bound.owners, params, Q, K, V)
        bound = bound.for_arrays(params, Q, K, V)
        Q, K, context = _legible(Q, K, context)
        if state is None and (not context.forbids or all_finite(V)):
            return back(bound.attend(params, Q, K, V, context))
        if state is None and bound.is_long(Q, K, context):
            return back(_finite_first(lambda V: bound.attend(params, Q, K, V, context), context, V))
        W = bound.in_steps(params, Q, K, context, state)[0] if bound.stateful else bound.weights(params, Q, K, context)
        return back(_summed(bound, params, W, V, Q, K, context))

    def attend_and_weigh(
        self, params: Params | None, Q: Any, K: Any, V: Any, mask: Any = None, *, lengths: Any = None
    ) -> tuple[Any, Any]:
        """What `attend` and `weights` give, (Y, W), with the weights computed once."""
        params, (Q, K, V), back = in_range(params, as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V"))
        bound = self._bound()
        context = bound.context(Q, K, V, mask, lengths=lengths)
        params = completed(bound.owners, params, Q, K, V)
        bound = bound.for_arrays(params, Q, K, V)
        Q, K, context = _legible(Q, K, context)
        W = bound.in_steps(params, Q, K, context, None)[0] if bound.stateful else bound.weights(params, Q, K, context)
        return back(_summed(bound, params, W, V, Q, K, context)), back(W)

    def step(  # type: ignore[override]
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
        state : None at the first step; after that, what the step before returned
        t : int >= 0, the query's position; positions and masks are those of row t of the whole sequence
        mask : bool array, broadcast to (..., 1, k), or None
        """
        params, (Q, K, V), back = in_range(params, as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V"))
        if Q.shape[-2] != 1:
            raise ShapeError(f"step takes one query, Q (..., 1, d); got {tuple(Q.shape)}")
        bound = self._bound().at_row(t)
        context = bound.context(
            Q, K, V, mask, q_index=np.asarray([t]), k_index=k_index, lengths=lengths, rng=rng, training=training
        )
        params = completed(bound.owners, params, Q, K, V)
        bound = bound.for_arrays(params, Q, K, V)
        Q, K, context = _legible(Q, K, context)
        if bound.stateful:
            W, state = bound.in_steps(params, Q, K, context, state)
        else:
            W, state = bound.weights(params, Q, K, context), dict(state or {})
        return back(_summed(bound, params, W, V, Q, K, context)), back(W), state

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        """Floating-point operations for one query, as the parts declare them; NaN if a part declares none."""
        sizes = {"d_query": d_query, "d_key": d_key, "d_value": d_value}
        total = 0.0
        parts = self.parts()
        for _, part in parts.learning():
            seen = {"n_keys": n_keys, **seen_by(part, parts.position, sizes)}
            total += call(part, "operations", **seen) if hasattr(part, "operations") else float("nan")
        return total


# --------------------------------------------------------------------------------------------------------------------
# settings and params
# --------------------------------------------------------------------------------------------------------------------
def generator(rng: Any) -> np.random.Generator:
    """A random generator from a generator, a seed or None."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise SettingError(f"rng must be a numpy.random.Generator, an integer from 0, or None; got {rng!r}") from error


def _built(kind: str, given: Any) -> Any:
    """A part as an object. The registry checks the settings that come with a name; this checks those of an object."""
    part = build(kind, given)
    if part is given:
        for setting, parameter in settings_of(type(part)).items():
            value = getattr(part, setting, parameter.default)
            if value is not parameter.default:
                checked_one(kind, type(part), setting, value)
    return part


def part_of(kind: str, given: Any) -> Any:
    """A part for one call; for a name it is an object that all calls share."""
    return shared(kind, given) if isinstance(given, str) else _built(kind, given)


def _as_mask(mask: Any, built: Any) -> Any:
    if mask is None:
        return AllKeys()
    if isinstance(mask, (str, Mapping, Mask)):
        return built("mask", mask)
    if not hasattr(mask, "dtype"):
        raise SettingError(
            f"a mask is a name, a {{name: {{setting: value}}}} mapping, an object, a boolean array, or a list of these; "
            f"got {type(mask).__name__}: {mask!r} (write an array as numpy.array(...))"
        )
    if "bool" not in str(mask.dtype):
        raise TypeError(
            f"a mask array must be boolean, True = may attend; got dtype {mask.dtype}. Numbers to add to the scores are the "
            f"modifier 'bias': modifier={{'bias': {{'array': ...}}}}"
        )
    return mask


def _as_modifiers(given: Any, built: Any) -> tuple[Any, ...]:
    """The modifiers that change scores, in their order."""
    several = given if isinstance(given, (list, tuple)) else [given]
    made = tuple(m for m in (built("modifier", one) for one in several) if type(m) is not NoModifier)
    names = [modifier.name for modifier in made]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingError(f"the modifier {twice[0]!r} is given twice; each may act once in a mechanism")
    return made


def all_finite(X: Any) -> bool:
    """Whether all numbers are finite. JAX's arrays cannot be read while they are traced; they count as finite."""
    plain = detach(X)
    if type(plain).__module__.startswith("jax"):
        return True
    xp = np if isinstance(plain, np.ndarray) else namespace(plain)
    return bool(xp.all(xp.isfinite(plain)))


def _legible(Q: Any, K: Any, context: Context) -> tuple[Any, Any, Context]:
    """Queries, keys and context; if some hold NaN or infinity, those that nobody may read become 0, as 0 * NaN is NaN.

    Masks that look at queries and keys are then made.
    """
    if (context.M is None and context.later is None) or 0 in context.shape:
        return Q, K, context.chosen(Q, K)
    spoilt_Q = (context.alive is not None or context.later is not None) and not all_finite(Q)
    spoilt_K = not all_finite(K)
    if spoilt_Q or spoilt_K:
        xp = namespace(Q, K)
        alive, read = context.readers()
        if spoilt_Q:
            Q = xp.where(alive, Q, xp.zeros_like(detach(Q)))
        if spoilt_K:
            K = xp.where(read, K, xp.zeros_like(detach(K)))
    return Q, K, context.chosen(Q, K)


def _summed(bound: BoundMechanism, params: Params, W: Any, V: Any, Q: Any, K: Any, context: Context) -> Any:
    """Y (..., q, v). The content of a forbidden value changes nothing, even if it is NaN."""
    if not context.forbids or W.shape[-1] == 0 or all_finite(V):
        return bound.aggregate(params, W, V, Q, K, context)
    return _finite_first(lambda V: bound.aggregate(params, W, V, Q, K, context), context, V)


def _finite_first(sum_up: Callable[[Any], Any], context: Context, V: Any) -> Any:
    """Y where some values are NaN or infinity: such values count as 0 for queries that may not attend to them."""
    xp, plain = namespace(V), detach(V)
    spoilt, zero = ~xp.isfinite(plain), xp.zeros_like(plain)
    Y = sum_up(xp.where(spoilt, zero, V))
    reached = context.reaching(xp.any(spoilt, axis=-1))  # (..., q, 1): these queries get the NaN or infinity
    if not xp.any(reached):
        return Y
    with np.errstate(invalid="ignore"):
        made = detach(sum_up(plain))
        return Y + xp.where(reached, made - detach(Y), xp.zeros_like(detach(Y)))
