"""The setting `mechanism` of models: an object, a mapping of its parts, or None for what the model prefers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attnlab.errors import SettingError, did_you_mean
from attnlab.interfaces import MechanismComponent
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.registry import names
from attnlab.settings import checked

__all__ = ["Attending"]


class Attending:
    """A model with the setting `mechanism`; comes first among its bases.

    `preferred` are the parts that None stands for.
    """

    mechanism: Any
    preferred: ClassVar[Mapping[str, Any]] = {}

    def set_params(self, **params: Any) -> Any:
        """Change settings; `mechanism__similarity="dot"` and `mechanism__similarity__hidden=8` reach into the mechanism."""
        given = params.get("mechanism", self.mechanism)
        if any(key.startswith("mechanism__") for key in params) and not isinstance(given, MechanismComponent):
            params["mechanism"] = self._attending_with(given)
        return super().set_params(**params)  # type: ignore[misc]

    def _attending_with(self, given: Any) -> Any:
        """The mechanism that a value of the setting means.

        Raises
        ------
        SettingError
            Saying what was given and what may be.
        """
        if isinstance(given, MechanismComponent):
            return given
        if given is None or isinstance(given, Mapping):
            return Mechanism(**checked("mechanism", Mechanism, self.preferred if given is None else given))
        known = names("similarity") if isinstance(given, str) else []
        example, meant = (given, "") if given in known else ("additive", did_you_mean(given, known))
        raise SettingError(
            f"mechanism must be a Mechanism, such as Mechanism({example!r}), a mapping such as {{'similarity': {example!r}}}, "
            f"or None; got {given!r}{meant}"
        )
