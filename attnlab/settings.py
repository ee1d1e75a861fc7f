"""Settings, checked against what a component's `__init__` declares: names, types and ranges.

Ranges stand where the settings are, by annotated-types: `scale: Annotated[float, Gt(0)] = 1.0`.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from attnlab.errors import SettingError, did_you_mean
from attnlab.interfaces import Component, names_of, settings_of
from attnlab.nested import hints, nested

__all__ = ["SEEDS", "checked", "checked_one", "describe", "field_schema"]

SEEDS = ("seed", "random_state")  # settings that may be any whole number: NumPy's generators take them of any length

# pydantic's findings about types and ranges, which `describe` puts into words
_DESCRIBED = {
    "bool_type",
    "float_type",
    "greater_than",
    "greater_than_equal",
    "int_from_float",
    "int_type",
    "is_instance_of",
    "less_than",
    "less_than_equal",
    "list_type",
    "literal_error",
    "multiple_of",
    "sequence_str",
    "string_type",
    "tuple_type",
}


@functools.cache
def _adapter(cls: type, setting: str) -> Any:
    """pydantic's checker for one setting, or None where nothing is declared."""
    hint = hints(cls).get(setting, Any)
    if hint is Any:
        return None
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    components = nested(cls, setting) is not None
    try:
        return TypeAdapter(
            hint, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=components)
        )
    except PydanticUserError:  # the type brings its own configuration
        return TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return None


def describe(cls: type, setting: str) -> str:
    """What a setting may be, in a few words: 'float, > 0'."""
    hint = hints(cls).get(setting, Any)
    return _words(hint)


def _words(hint: Any) -> str:
    if hint is Any:
        return "anything"
    if typing.get_origin(hint) is typing.Annotated:
        base, *extras = typing.get_args(hint)
        limits = []
        for extra in extras:
            for sign, attribute in ((">", "gt"), (">=", "ge"), ("<", "lt"), ("<=", "le")):
                if (bound := getattr(extra, attribute, None)) is not None:
                    limits.append(f"{sign} {bound}")
            if (step := getattr(extra, "multiple_of", None)) is not None:
                limits.append(f"a multiple of {step}")
        return ", ".join([_words(base), *limits])
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return " or ".join(repr(a) for a in typing.get_args(hint))
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return " or ".join("None" if a is type(None) else _words(a) for a in typing.get_args(hint))
    if origin in (list, tuple, collections.abc.Sequence):
        inner = [a for a in typing.get_args(hint) if a is not Ellipsis]
        return f"a list of {_words(inner[0])}" if inner else "a list"
    if isinstance(hint, type) and issubclass(hint, Component) and hint.kind:
        return f"{'an' if hint.kind[0] in 'aeiou' else 'a'} {hint.kind}"
    return getattr(hint, "__name__", str(hint)) if origin is None else str(hint).replace("typing.", "")


@functools.cache
def required(cls: Any) -> tuple[str, ...]:
    """The settings without a default."""
    return tuple(s for s, p in settings_of(cls).items() if p.default is inspect.Parameter.empty)


def checked(kind: str, cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each checked and in its declared type.

    Raises
    ------
    SettingError
        Naming the component, the setting, what was given and what is allowed. Its `setting` attribute is the name.
    """
    known = settings_of(cls)
    if not settings and not required(cls):
        return {}
    name = getattr(cls, "name", cls.__name__)
    result = {}
    for setting, value in settings.items():
        if setting not in known:
            raise _error(
                setting,
                f"{kind} {name!r} has no setting {setting!r}{did_you_mean(setting, known)}; it has {names_of(known)}",
            )
        result[setting] = checked_one(kind, cls, setting, value)
    for setting, parameter in known.items():
        if setting not in result and parameter.default is inspect.Parameter.empty:
            raise _error(setting, f"{kind} {name!r} needs the setting {setting!r} ({describe(cls, setting)})")
    return result


def prepared(cls: type, settings: Iterable[str]) -> None:
    """Make what checks some settings, for processes that are forked later."""
    for setting in settings:
        if setting in settings_of(cls):
            _adapter(cls, setting)


def checked_one(kind: str, cls: type, setting: str, value: Any) -> Any:
    """One value of a setting that the class has, in its declared type; SettingError otherwise."""
    if isinstance(value, np.generic):
        value = value.item()
    if setting not in SEEDS and (long := _beyond_64_bits(value)) is not None:
        raise _error(
            setting,
            f"{kind} {getattr(cls, 'name', cls.__name__)!r}: {setting} must be {describe(cls, setting)}, and a whole number must fit in "
            f"64 bits, as arrays have them; got {_short(long)}",
        )
    adapter = _adapter(cls, setting)
    if adapter is None:
        return value
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        name = getattr(cls, "name", cls.__name__)
        meant = did_you_mean(value, _literals(hints(cls).get(setting))) if isinstance(value, str) else ""
        first = error.errors()[0]
        more = "" if first["type"] in _DESCRIBED else f" ({first['msg'].replace('Input should', 'it must')})"
        raise _error(
            setting,
            f"{kind} {name!r}: {setting} must be {describe(cls, setting)}; got {value!r}{meant}{more}",
        ) from None


def _beyond_64_bits(value: Any) -> int | None:
    """The first whole number, in lists and mappings too, that no array of integers holds."""
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return next((found for one in inner if (found := _beyond_64_bits(one)) is not None), None)


def _short(number: int) -> str:
    """A whole number, or its size where it is long: Python refuses to write one of thousands of digits."""
    return str(number) if abs(number) < 10**30 else f"{'-' if number < 0 else ''}2**{number.bit_length() - 1} or more"


def _literals(hint: Any) -> list[str]:
    """The words that a setting may be, however deep in its type."""
    return [word for a in typing.get_args(hint) for word in ([a] if isinstance(a, str) else _literals(a))]


def _error(setting: str, message: str) -> SettingError:
    error = SettingError(message)
    error.setting = setting  # type: ignore[attr-defined]
    return error


def field_schema(cls: type, setting: str) -> dict[str, Any]:
    """JSON Schema of one setting, for editors."""
    adapter = _adapter(cls, setting)
    schema: dict[str, Any] = {}
    if adapter is not None:
        try:
            schema = dict(adapter.json_schema())
        except Exception:  # a type that JSON cannot write may be anything in an editor
            schema = {}
    default = settings_of(cls)[setting].default
    if isinstance(default, (bool, int, float, str)) or default is None:
        schema["default"] = default
    return schema
