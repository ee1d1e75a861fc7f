"""The setting `mechanism` of models: an object, a mapping of parts, a name, or None for what the model prefers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attnlab.errors import AmbiguousName, SettingError, UnknownName, Unsupported, did_you_mean
from attnlab.interfaces import MechanismComponent
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.registry import build, entry, names
from attnlab.settings import checked

__all__ = ["Attending", "answered", "refusal_of_decoder", "refuse_positions"]


class Attending:
    """Gives a model the setting `mechanism`; it must be the first base. None means the class's `preferred`."""

    mechanism: Any
    preferred: ClassVar[Any]

    def set_params(self, **params: Any) -> Any:
        """Change settings; `mechanism__similarity="dot"` and `mechanism__similarity__hidden=8` reach into the mechanism."""
        given = params.get("mechanism", self.mechanism)
        if any(key.startswith("mechanism__") for key in params) and not isinstance(given, MechanismComponent):
            params["mechanism"] = self._attending_with(given)
        return super().set_params(**params)  # type: ignore[misc]

    def refusal(self) -> str:
        """Why it cannot learn with these settings, whatever the data are, in words; empty where nothing is known against it."""
        uses_it = getattr(self, "context", "") != "fixed"
        return _refused(self) if uses_it else ""

    def _refusal_of(self, mechanism: Any) -> str:
        """What this model has against a mechanism that works."""
        return ""

    def _attending_with(self, given: Any) -> Any:
        """The mechanism that a value of the setting means.

        Raises
        ------
        SettingError
            The message says what was given and what is allowed.
        """
        given = self.preferred if given is None else given
        if isinstance(given, MechanismComponent):
            return given
        if isinstance(given, (str, Mapping)) and _names_a_mechanism(given):
            return build("mechanism", given)
        if isinstance(given, Mapping):
            return Mechanism(**checked("mechanism", Mechanism, given))
        known = names("similarity") if isinstance(given, str) else []
        example, meant = (given, "") if given in known else ("additive", did_you_mean(given, known))
        raise SettingError(
            f"mechanism must be a Mechanism, such as Mechanism({example!r}), a mapping such as {{'similarity': {example!r}}}, "
            f"a mechanism's name, with settings {{name: {{setting: value}}}}, or None; got {given!r}{meant}"
        )


def _refused(model: Any) -> str:
    """Why a model cannot learn its mechanism, whatever the data are: the mechanism's reason, or the model's own."""
    mechanism = model._attending_with(model.mechanism)
    if why := mechanism.refusal():
        return str(why)
    if not mechanism.forms_weights:
        return (
            f"mechanism {mechanism.name!r} forms no weights, by which this model aligns: choose a mechanism that does"
        )
    return str(model._refusal_of(mechanism))


def answered(kernels: Mapping[str, str]) -> str:
    """ "fast" if a kernel answers, else "reference", from a bound mechanism's `kernels`."""
    return "fast" if any(name != "reference" for name in kernels.values()) else "reference"


def refuse_positions(mechanism: Any, n_keys: int | None = None, d_value: int | None = None) -> None:
    """Refuse a mechanism whose contexts have one feature for each key where a model needs as many as values have.

    Parameters
    ----------
    mechanism : MechanismComponent
    n_keys, d_value : int or None
        Where there are as many keys as features of a value, targets are positions. None is no fixed number.

    Raises
    ------
    Unsupported
    """
    if why := _positions_refused(mechanism, n_keys, d_value):
        raise Unsupported(why)


def refusal_of_decoder(model: Any, mechanism: Any) -> str:
    """What a model that decodes token by token has against a mechanism that works."""
    return _positions_refused(mechanism) or str(mechanism.refusal_of_steps())


def _positions_refused(mechanism: Any, n_keys: int | None = None, d_value: int | None = None) -> str:
    """The words of `refuse_positions`; empty where it refuses nothing."""
    if getattr(mechanism, "over_keys", False) and (n_keys is None or n_keys != d_value):
        numbers = "their numbers differ" if n_keys is None else f"there are {n_keys} keys and {d_value} features"
        return (
            f"mechanism {mechanism.name!r} points at keys: a context has one feature for each key, where this model needs one for "
            f"each feature of a value ({numbers}); choose another aggregator"
        )
    return ""


def _names_a_mechanism(given: str | Mapping[str, Any]) -> bool:
    """Whether it is a mechanism's name, or a mapping with one such name; a mapping of parts is neither."""
    if isinstance(given, Mapping) and len(given) != 1:
        return False
    name = given if isinstance(given, str) else str(next(iter(given)))
    try:
        entry("mechanism", name)
    except UnknownName:
        return False
    except AmbiguousName:
        return True  # `build` reports the error
    return True
