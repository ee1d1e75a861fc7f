"""JSON Schema (2020-12) of an experiment, with the installed components and their settings, for editors to complete.

It knows names, settings, types and ranges. What needs the whole experiment (claims' selections, tuned settings that
nothing has, the number of runs) only `experiment.read` can say.
"""

from __future__ import annotations

from typing import Any

from attnlab.interfaces import settings_of
from attnlab.kinds import KINDS
from attnlab.nested import Nested, nested
from attnlab.registry import COMPOSED, Entry, entry, names
from attnlab.settings import describe, field_schema
from attnlab.sweeps.experiment.grid import FILLED_IN
from attnlab.sweeps.experiment.read import Layout

__all__ = ["json_schema"]

_ROLES = ("task", "mechanism", "model")


def json_schema() -> dict[str, Any]:
    """The schema of an experiment file as this installation would read it."""
    schema = Layout.model_json_schema()
    definitions = schema["$defs"]
    for kind in (*_ROLES, *(k for k, record in KINDS.items() if record.composes and k not in _ROLES)):
        definitions[kind] = _component(kind, definitions)
    for role in _ROLES:
        described = {k: v for k, v in schema["properties"][role].items() if k in ("description", "default")}
        axis = _axis(Nested(role))
        if role == "mechanism":
            axis["anyOf"].append({"type": "null"})
        schema["properties"][role] = {**axis, **described}
    metric = {"type": "string", "enum": _names("metric")}
    shown = schema["properties"]["metrics"]
    several = {"type": "array", "items": metric, "minItems": 1}
    kept = {key: value for key, value in shown.items() if key in ("description", "default")}
    schema["properties"]["metrics"] = {**kept, "anyOf": [metric, several]}
    claim = definitions["Claim"]["properties"]
    claim["metric"] = {**metric, "description": claim["metric"]["description"]}
    seeds: list[dict[str, Any]] = [
        {"type": "integer", "minimum": 1},
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True},
    ]
    apart = {
        "type": "object",
        "properties": {"data": {"anyOf": seeds}, "model": {"anyOf": seeds}},
        "required": ["data", "model"],
        "additionalProperties": False,
    }
    schema["properties"]["seeds"] = {
        "description": schema["properties"]["seeds"]["description"],
        "anyOf": [*seeds, apart],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An attnlab experiment",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _names(kind: str) -> list[str]:
    """Every way to write a name: bare where it is clear, and `distribution:name`."""
    bare = names(kind)
    return list(dict.fromkeys([*bare, *(entry(kind, name).qualified for name in bare)]))


def _axis(held: Nested) -> dict[str, Any]:
    """One value of a setting that holds components, or a list of such values."""
    one: dict[str, Any] = {"$ref": f"#/$defs/{held.kind}"}
    several: dict[str, Any] = {"type": "array", "items": one, "minItems": 1 if held.joined else held.fewest}
    if held.most is not None:
        several["maxItems"] = held.most
    written = {"type": "object", "properties": {"value": several}, "required": ["value"], "additionalProperties": False}
    alone: list[dict[str, Any]] = [one] if held.one else []
    alone += [{"type": "null"}] if held.optional else []
    alone += [written] if held.joined or held.several else []
    items = [*alone, several] if held.joined else alone
    return {"anyOf": [*alone, {"type": "array", "items": {"anyOf": items}, "minItems": 1}]}


def _component(kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A name, or one name with its settings, which are put among the definitions; a mechanism may be a mapping of parts."""
    found = {name: entry(kind, name) for name in _names(kind)}
    for e in found.values():
        definitions[f"{kind} {e.qualified}"] = _settings(e)
    choices: list[dict[str, Any]] = [
        {"type": "string", "enum": list(found)},
        {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/{kind} {e.qualified}"} for name, e in found.items()},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
    if kind == "mechanism" and COMPOSED in found:
        choices.append(_settings(found[COMPOSED], null=False))
    return {"anyOf": choices}


def _settings(found: Entry, *, null: bool = True) -> dict[str, Any]:
    """The settings of a component, each a value, a list of values, or {value: ...}."""
    properties: dict[str, Any] = {}
    for setting in settings_of(found.cls):
        if setting in FILLED_IN.get(found.kind, ()):
            continue
        if held := nested(found.cls, setting):
            properties[setting] = _axis(held)
            continue
        one = field_schema(found.cls, setting)
        default = {"default": one.pop("default")} if "default" in one else {}
        if "$defs" in one:
            one = {}  # a type with parts of its own: any value, in an editor
        written = {"type": "object", "properties": {"value": one}, "required": ["value"], "additionalProperties": False}
        choices = [one, {"type": "array", "items": {"anyOf": [one, written]}, "minItems": 1}, written]
        properties[setting] = {"description": describe(found.cls, setting), "anyOf": choices, **default}
    return {
        "type": ["object", "null"] if null else "object",
        "description": found.cls.summary(),  # type: ignore[attr-defined]
        "properties": properties,
        "additionalProperties": False,
    }
