"""What a setting is that a run does not have: a component gains settings, and earlier runs were made without them.

The identity of a run leaves out what is equal to its default (`attnlab.sweeps.identity`). So a run without a setting is the run
with that setting at its default, or at the value of `former` if the default was changed since, and its columns say so.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from attnlab.errors import AmbiguousName, UnknownName
from attnlab.interfaces import Component, settings_of
from attnlab.kinds import PARTS
from attnlab.nested import nested
from attnlab.registry import COMPOSED, Entry, Own, entries, entry
from attnlab.sweeps.experiment.grid import FILLED_IN, canonical

__all__ = ["complete", "default_of", "spec_of"]


def default_of(found: Entry, setting: str) -> Any:
    """The value that a run means which does not have a setting; `inspect.Parameter.empty` if nobody knows."""
    parameter = settings_of(found.cls).get(setting)
    default = inspect.Parameter.empty if parameter is None else parameter.default
    return getattr(found.cls, "former", {}).get(setting, default)


def spec_of(kind: str, value: Any) -> dict[str, Any]:
    """A component as a mapping of names to settings, from any way in which a run or a default has it."""
    if isinstance(value, Component):
        same = [e.qualified for e in entries(kind).get(value.name, []) if e.cls is type(value)]
        return {next(iter(same), value.name): value.get_params(deep=False)}
    if isinstance(value, str):
        return {value: {}}
    if kind == "mechanism" and (not value or any(key in PARTS for key in value)):
        return {COMPOSED: dict(value)}
    return {name: settings or {} for name, settings in value.items()}


def complete(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A component of a run, or several that act as one, with the settings that it lacks, at any depth.

    What is not installed, and a setting without a default that an experiment can write down, stay as they are.
    """
    return {name: _settings(kind, name, settings) for name, settings in spec.items()}


def _settings(kind: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = entry(kind, Own(name))
    except (UnknownName, AmbiguousName):
        return dict(settings)
    done = {setting: _complete(found, setting, value) for setting, value in settings.items()}
    lacking = [s for s in settings_of(found.cls) if s not in settings and s not in FILLED_IN.get(kind, ())]
    for setting in lacking:
        if (default := default_of(found, setting)) is not inspect.Parameter.empty:
            try:
                done[setting] = _complete(found, setting, default)
            except TypeError:  # a default that an experiment cannot write down
                continue
    return dict(sorted(done.items())) if len(done) > len(settings) else done


def _complete(found: Entry, setting: str, value: Any) -> Any:
    """A value of a setting, of a run or of the code, as a run has it."""
    held = nested(found.cls, setting)
    if not held or value is None:
        return canonical(value)
    if not isinstance(value, (list, tuple)):
        return complete(held.kind, spec_of(held.kind, value))
    each = [complete(held.kind, spec_of(held.kind, one)) for one in value]
    if held.joined and len(each) == 1:
        return each[0]
    return {name: settings for one in each for name, settings in one.items()} if held.joined == "and" else each
