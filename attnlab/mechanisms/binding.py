"""Binds mechanisms that are made of mechanisms.

The author of a composition writes forward code only: `init`, `attend` and `weights`, which use the mechanisms among its
settings. Binding replaces each inner mechanism with a bound one, so that names are looked up once. Autograd gives the gradients.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from attnlab.errors import Unsupported
from attnlab.interfaces import MechanismComponent, settings_of
from attnlab.mechanisms.context import Context, context_of
from attnlab.mechanisms.extremes import extremes_of, refuse_beyond
from attnlab.mechanisms.pullback import pulled_whole
from attnlab.nested import nested
from attnlab.precision import is_low, widened
from attnlab.registry import built

__all__ = ["BoundComposition", "attended", "refusal_of", "step_of", "weighed", "with_heads"]


# --------------------------------------------------------------------------------------------------------------------
# binding
# --------------------------------------------------------------------------------------------------------------------
@functools.cache
def _asks(cls: type, verb: str) -> frozenset[str] | None:
    """The names that a mechanism's verb accepts; None means that it accepts all of them."""
    parameters = inspect.signature(getattr(cls, verb)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters)


def _handed(cls: type, verb: str, context: Mapping[str, Any]) -> dict[str, Any]:
    asks = _asks(cls, verb)
    return dict(context) if asks is None else {name: value for name, value in context.items() if name in asks}


def attended(mechanism: Any, params: Any, Q: Any, K: Any, V: Any, **context: Any) -> Any:
    """Y (..., q, v) of any mechanism; it gets those parts of the context that its verb names."""
    return mechanism.attend(params, Q, K, V, **_handed(type(mechanism), "attend", context))


def weighed(mechanism: Any, params: Any, Q: Any, K: Any, **context: Any) -> Any:
    """W (..., q, k) of any mechanism; it gets those parts of the context that its verb names."""
    return mechanism.weights(params, Q, K, **_handed(type(mechanism), "weights", context))


class _Inner:
    """A bound mechanism as the author of a composition sees it: it is called like the mechanism it was made from."""

    def __init__(self, mechanism: MechanismComponent, backend: str) -> None:
        self.mechanism = mechanism
        self.bound = mechanism.bind(backend)

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        if is_low(Q) or is_low(K) or is_low(V):  # what PyTorch's autocast multiplied
            params, Q, K, V = (widened(one) for one in (params, Q, K, V))
        return self.bound.attend(params, Q, K, V, self.bound.context(Q, K, V, mask, **context))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        if is_low(Q) or is_low(K):
            params, Q, K = (widened(one) for one in (params, Q, K))
        return self.bound.weights(params, Q, K, self.bound.context(Q, K, None, mask, **context))

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") or "mechanism" not in self.__dict__
        ):  # a copy, or one that is loaded, has nothing at first
            raise AttributeError(name)
        return getattr(self.mechanism, name)


def _inner_of(mechanism: MechanismComponent) -> dict[str, Any]:
    """The settings that are mechanisms, or lists of them, as objects."""
    cls: Any = type(mechanism)
    found = {}
    for setting in settings_of(cls):
        value = getattr(mechanism, setting, None)
        held = nested(cls, setting)
        if held is not None and held.kind == "mechanism":
            value = built(cls, {setting: value})[setting]
        several = value if isinstance(value, (list, tuple)) else [value]
        if several and all(isinstance(one, MechanismComponent) for one in several):
            found[setting] = value
    return found


def refusal_of(mechanism: MechanismComponent, verb: str) -> str:
    """What the first mechanism among the settings of this one is refused for, with the setting in front; empty if none is.

    Parameters
    ----------
    mechanism : MechanismComponent
    verb : "refusal" or "refusal_of_steps"
    """
    for setting, value in _inner_of(mechanism).items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if why := getattr(one, verb)():
                return f"{setting} of {mechanism.name!r}: {why}"
    return ""


class BoundComposition:
    """The bound form of a mechanism made of mechanisms, as `BoundMechanism` is the bound form of `Mechanism`.

    Parameters
    ----------
    mechanism : MechanismComponent
    backend : str
        The distribution whose kernels may answer in the inner mechanisms.
    """

    stateful: tuple[Any, ...] = ()

    def __init__(self, mechanism: MechanismComponent, backend: str = "auto") -> None:
        self.mechanism = mechanism
        self._extremes = extremes_of((mechanism,))
        self.forward: Any = copy.copy(mechanism)
        self.inner: dict[str, _Inner] = {}
        for setting, value in _inner_of(mechanism).items():
            if isinstance(value, (list, tuple)):
                several = [_Inner(one, backend) for one in value]
                setattr(self.forward, setting, several)
                self.inner |= {f"{setting}.{i}": one for i, one in enumerate(several)}
            else:
                self.inner[setting] = _Inner(value, backend)
                setattr(self.forward, setting, self.inner[setting])

    def context(self, Q: Any, K: Any, V: Any = None, mask: Any = None, *, lengths: Any = None, **given: Any) -> Context:
        """The mask and all else that is passed on. Each inner mechanism makes its own context from it when it is called."""
        refuse_beyond(self._extremes, Q)
        asks = frozenset() if lengths is None else frozenset({"lengths"})
        return context_of((mask,), Q, K, V, features="free", asks=asks, lengths=lengths, **given)

    def kernels(self, dtype: Any = None, library: str = "numpy") -> dict[str, str]:
        """What answers each verb of the inner mechanisms, by dotted path."""
        return {
            f"{path}.{v}": k for path, one in self.inner.items() for v, k in one.bound.kernels(dtype, library).items()
        }

    def attend(self, params: Any, Q: Any, K: Any, V: Any, context: Context) -> Any:
        """Y (..., q, v)."""
        given = _handed(type(self.mechanism), "attend", {"mask": context.M, **context.given})
        return self.forward.attend(params, Q, K, V, **given)

    def weights(self, params: Any, Q: Any, K: Any, context: Context) -> Any:
        """W (..., q, k)."""
        given = _handed(type(self.mechanism), "weights", {"mask": context.M, **context.given})
        return self.forward.weights(params, Q, K, **given)

    def step(
        self, params: Any, Q: Any, K: Any, V: Any, state: Any, t: int, mask: Any = None, **given: Any
    ) -> tuple[Any, Any, Any]:
        """One query at position t; see `MechanismComponent.step`."""
        found: tuple[Any, Any, Any] = self.forward.step(params, Q, K, V, state, t, mask, **given)
        return found

    def pull(self, params: Any, Q: Any, K: Any, V: Any, context: Context, wants: frozenset[str]) -> tuple[Any, Any]:
        """Values and their pullback; see `BoundMechanism.pull`."""
        return pulled_whole(self, params, Q, K, V, context, wants)


def step_of(
    mechanism: MechanismComponent,
    params: Any,
    Q: Any,
    K: Any,
    V: Any,
    state: Any,
    t: int,
    mask: Any = None,
    **context: Any,
) -> tuple[Any, Any, Any]:
    """One query of a mechanism that defines no `step`: it attends with that query at its position.

    Raises
    ------
    Unsupported
        When an inner mechanism remembers the steps before, or needs the scores of other queries.
    """
    if why := mechanism.refusal_of_steps():
        raise Unsupported(why)
    for setting, value in _inner_of(mechanism).items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if getattr(one, "is_stateful", False):
                raise Unsupported(
                    f"{mechanism.name!r} has no steps of its own, and its setting {setting!r} remembers the steps before; "
                    "attend to all queries at once, or define step"
                )
    given = {"mask": mask, "q_index": np.asarray([t]), **context}
    return attended(mechanism, params, Q, K, V, **given), weighed(mechanism, params, Q, K, **given), state


def with_heads(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context of `attend`, with `mask`, for queries and keys that have an axis of heads before their last two.

    Parameters
    ----------
    context : mapping with any of mask, q_index, k_index and lengths, and whatever else is passed on
    """

    def up(name: str, array: Any) -> Any:
        if name == "mask":
            return array[..., None, :, :] if getattr(array, "ndim", 0) > 2 else array
        if name in ("q_index", "k_index", "lengths"):
            return array[..., None, :] if getattr(array, "ndim", 0) > 1 else array
        return array

    return {name: up(name, array) for name, array in context.items()}
