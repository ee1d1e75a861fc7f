"""`attnlab check TARGET`: what a target names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from types import ModuleType

from attnlab.errors import AttnlabError, UnknownName, did_you_mean
from attnlab.kinds import INTERFACES
from attnlab.plugins import plugins
from attnlab.registry import KINDS, Entry, entries, entry, may_have_it

__all__ = ["resolve_target"]


def resolve_target(target: str) -> list[type]:
    """The component classes that a target names.

    Parameters
    ----------
    target : str
        In this order: a file, `path/to/file.py` or `path/to/file.py:Class`; `distribution:name` or `kind:name`;
        `module:Class`; a component's `name` (of every kind that has it); a plugin or a distribution (all that it gives).

    Raises
    ------
    UnknownName
        When there is none, with the nearest names.
    AmbiguousName
        When two distributions give a component of that kind and name.
    AttnlabError
        When a plugin is broken or a file or module cannot be loaded, with the reason.
    """
    path, colon, inner = target.rpartition(":") if target.rpartition(":")[0].endswith(".py") else (target, "", "")
    if path.endswith(".py"):
        return _of_module(_load(path), inner if colon else "", path)
    known = [e for kind in KINDS for found in entries(kind).values() for e in found]
    head, colon, name = target.rpartition(":")
    if colon:
        if found := [e.cls for e in known if e.name == name and head in (e.distribution, e.kind)]:
            return found
        if head in KINDS or head in {e.distribution for e in known}:
            raise UnknownName(f"no component {target!r}{_meant(target, known)}")
        return _of_module(_import(head), name, head)
    if kinds := dict.fromkeys(e.kind for e in known if e.name == target):
        return [entry(kind, target).cls for kind in kinds]
    records = [r for r in plugins().records if target in (r.name, r.distribution)]
    for record in records:
        if record.status != "ok":
            raise AttnlabError(f"the plugin {record.name} of {record.distribution} is {record.status}: {record.reason}")
    if found := [e.cls for e in known if target in (e.plugin, e.distribution)]:
        return found
    if records:
        raise UnknownName(f"the plugin {target!r} gives no component")
    raise UnknownName(f"no component, plugin or file {target!r}{_meant(target, known)}{may_have_it()}")


def _meant(target: str, known: list[Entry]) -> str:
    return did_you_mean(target, {n for e in known for n in (e.name, e.qualified, f"{e.kind}:{e.name}", e.distribution)})


def _load(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise UnknownName(f"no such file: {path}")
    name = f"attnlab_checked_{os.path.splitext(os.path.basename(path))[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AttnlabError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise AttnlabError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise AttnlabError(f"the module {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def _of_module(module: ModuleType, name: str, where: str) -> list[type]:
    """The component classes that a module defines, or the one of that name that it has."""
    found = {
        n: c
        for n, c in inspect.getmembers(module, inspect.isclass)
        if getattr(c, "kind", "") in INTERFACES and issubclass(c, tuple(INTERFACES.values()))
    }
    if name:
        if name not in found:
            raise UnknownName(f"{where} has no component class {name!r}{did_you_mean(name, found)}")
        return [found[name]]
    own = [c for c in found.values() if c.__module__ == module.__name__]
    if not own:
        raise UnknownName(f"{where} defines no component class")
    return own
