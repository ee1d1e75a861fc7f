"""`attnlab check TARGET`: what a target names."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from dataclasses import dataclass, field
from types import ModuleType

from attnlab.errors import AttnlabError, UnknownName, did_you_mean
from attnlab.kinds import INTERFACES
from attnlab.loading import given_by, without_entry_point
from attnlab.plugins import FILE, active_options, configure, plugins
from attnlab.registry import KINDS, OF_YOUR_OWN, Entry, entries, entry, may_have_it

__all__ = ["Target", "find_target", "resolve_target"]


@dataclass(frozen=True)
class Target:
    """What a target names: component classes, and what keeps them, or their plugin, from being used where it is loaded."""

    classes: list[type]
    problems: list[str] = field(default_factory=list)


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
        When a plugin, file or module cannot be loaded, with the reason; when a distribution that is installed is no plugin.
    """
    before = active_options()
    try:
        return find_target(target).classes
    finally:
        if active_options() != before:
            configure(**before)


def find_target(target: str) -> Target:
    """The component classes that a target names, and what loading finds wrong. A file stays loaded, as by `--plugin`."""
    path, colon, inner = target.rpartition(":") if target.rpartition(":")[0].endswith(".py") else (target, "", "")
    if path.endswith(".py"):
        return _of_file(path, inner if colon else "")
    known = [e for kind in KINDS for found in entries(kind).values() for e in found]
    head, colon, name = target.rpartition(":")
    if colon:
        if found := [e.cls for e in known if e.name == name and head in (e.distribution, e.kind)]:
            return Target(found)
        if head in KINDS or head in {e.distribution for e in known}:
            raise UnknownName(f"no component {target!r}{_meant(target, known)}")
        return Target([_named(_import(head), name, head)])
    if kinds := dict.fromkeys(e.kind for e in known if e.name == target):
        return Target([entry(kind, target).cls for kind in kinds])
    records = [r for r in plugins().records if _same(target, r.name) or _same(target, r.distribution)]
    for record in records:
        if record.module is None:
            raise AttnlabError(f"the plugin {record.name} of {record.distribution} is {record.status}: {record.reason}")
    given = [(record, given_by(record)) for record in records]
    problems = [f"plugin {r.name} of {r.distribution}: {said}" for r, g in given for said in (*g.reasons, *g.silent)]
    if classes := [cls for _, g in given for cls in g.classes]:
        return Target(classes, problems)
    if records:
        raise UnknownName(
            f"the plugin {target!r} gives no component{_instead(problems, [e for _, g in given for e in g.events])}"
        )
    if lacks := without_entry_point(target):
        raise AttnlabError(lacks)
    raise UnknownName(
        f"no component, plugin or file {target!r}{(meant := _meant(target, known))}{'' if meant else OF_YOUR_OWN}{may_have_it()}"
    )


def _same(one: str, two: str) -> bool:
    """Whether two names are the same to those who install distributions."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", two).lower()


def _instead(problems: list[str], events: list[str]) -> str:
    if problems:
        return f": {'; '.join(problems)}"
    return f"; it listens to {', '.join(events)}" if events else ""


def _meant(target: str, known: list[Entry]) -> str:
    return did_you_mean(target, {n for e in known for n in (e.name, e.qualified, f"{e.kind}:{e.name}", e.distribution)})


def _of_file(path: str, name: str) -> Target:
    """What a file gives where it is loaded as a plugin, as `--plugin` loads it; or the class of that name in it."""
    if not os.path.isfile(path):
        raise UnknownName(f"no such file: {path}")
    where = os.path.abspath(path)
    options = active_options()
    if where not in map(os.path.abspath, options["files"]):
        configure(**{**options, "files": (*options["files"], path)})
    record = next(r for r in plugins().records if r.distribution == FILE and r.where == where)
    if record.module is None:
        raise AttnlabError(f"{path} cannot be loaded: {record.reason}")
    given = given_by(record)
    silent = given.silent
    if name:
        cls = _named(record.module, name, path)
        silent = [said for said in silent if "it has no hook" in said or said.startswith(f"{name} ")]
        return Target([cls], [f"{path}: {said}" for said in (*given.reasons, *silent)])
    problems = [f"{path}: {said}" for said in (*given.reasons, *silent)]
    if not given.classes:
        if given.reasons or given.events:
            raise AttnlabError(f"{path} defines no component class{_instead(problems, given.events)}")
        raise UnknownName(f"{path} defines no component class, and gives nothing: {'; '.join(silent)}")
    return Target(given.classes, problems)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise AttnlabError(f"the module {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def _named(module: ModuleType, name: str, where: str) -> type:
    """The component class of a name that a module has."""
    found: dict[str, type] = {
        n: c
        for n, c in inspect.getmembers(module, inspect.isclass)
        if getattr(c, "kind", "") in INTERFACES and issubclass(c, tuple(INTERFACES.values()))
    }
    if name not in found:
        raise UnknownName(f"{where} has no component class {name!r}{did_you_mean(name, found)}")
    return found[name]
