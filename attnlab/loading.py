"""What a plugin gives, and what keeps some of it from being used: what loading finds out, in words for its author."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from attnlab.interfaces import Component
from attnlab.kinds import HOOKS, INTERFACES
from attnlab.plugins import BUILTIN, FILE, GROUP, Plugin, plugins
from attnlab.registry import KINDS, entries

__all__ = ["Given", "given_by", "without_entry_point"]


@dataclass(frozen=True)
class Given:
    """What a plugin gives.

    Attributes
    ----------
    classes : list of type
        The component classes that its hooks give, and those of its own that they do not give or that were refused.
    reasons : list of str
        Why it is broken: hooks that attnlab does not know, classes that were refused, names that clash.
    silent : list of str
        What it has and no hook gives; that it gives nothing.
    events : list of str
        The events that it listens to, and other hooks that give no components.
    """

    classes: list[type]
    reasons: list[str]
    silent: list[str]
    events: list[str]


def given_by(plugin: Plugin) -> Given:
    """What a plugin of this process gives; every hook of every plugin is called, so that clashes are known."""
    found = {kind: entries(kind) for kind in KINDS}
    given = [
        e.cls
        for kind in KINDS
        for es in found[kind].values()
        for e in es
        if (e.plugin, e.distribution) == (plugin.name, plugin.distribution)
    ]
    own = [] if plugin.distribution == BUILTIN else list(_own_classes(plugin))
    events = [hook for hook in plugin.hooks if hook not in HOOKS.values()]
    silent = [] if plugin.refused or plugin.distribution == BUILTIN else _silent(plugin, own, bool(given or events))
    return Given(list(dict.fromkeys([*given, *own])), list(plugin.reasons), silent, events)


def _silent(plugin: Plugin, own: list[type], gives: bool) -> list[str]:
    """What a plugin that could be loaded has and does not give."""
    returned: set[type] = set()
    raised = set()
    for kind in KINDS:
        mine = [classes for other, classes in plugins().gives(kind) if other is plugin]
        returned.update(c if isinstance(c, type) else type(c) for classes in mine for c in classes)
        if HOOKS[kind] in plugin.hooks and not mine:
            raised.add(kind)
    ungiven = [cls for cls in own if cls not in returned and _kind(cls) not in raised]
    if not plugin.hooks:
        classes = f"; it defines {_and([cls.__name__ for cls in ungiven])}" if ungiven else ""
        hook = HOOKS[_kind(ungiven[0])] if ungiven else "attnlab_similarities"
        name = ungiven[0].__name__ if ungiven else "MyClass"
        return [
            f"it has no hook, so it gives nothing{classes}: write @attnlab.hookimpl above def {hook}(): return [{name}]"
        ]
    said = [
        f"{cls.__name__} is given by no hook, so no experiment can name it: {_how(plugin, cls)}; a class that is only a base "
        f"of others is called _{cls.__name__}"
        for cls in ungiven
    ]
    if not said and not gives and not plugin.reasons:
        said.append(
            f"it gives nothing: {_and(plugin.hooks)} {'returns' if len(plugin.hooks) == 1 else 'return'} no class"
        )
    return said


def _how(plugin: Plugin, cls: type) -> str:
    hook = HOOKS[_kind(cls)]
    if hook in plugin.hooks:
        return f"add it to what {hook}() returns"
    return f"write @attnlab.hookimpl above def {hook}(): return [{cls.__name__}]"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _kind(cls: type) -> str:
    return str(getattr(cls, "kind", ""))


def _own_classes(plugin: Plugin) -> Iterator[type]:
    """The component classes that a plugin's own modules define, as far as they are imported, in order of definition.

    Private and abstract ones are left out, and those of which others among them are made.
    """
    name = getattr(plugin.module, "__name__", "")
    top = name if plugin.distribution == FILE else name.partition(".")[0]
    found: dict[type, None] = {}
    inner: type
    ahead: list[type] = [Component, *INTERFACES.values()]
    while ahead:
        cls = ahead.pop(0)
        for inner in type.__subclasses__(cls):
            if inner not in found and inner not in INTERFACES.values():
                found[inner] = None
                ahead.append(inner)
    mine = [cls for cls in found if _is_in(cls, top)]
    bases = {base for cls in mine for base in cls.__mro__[1:]}
    mine = [c for c in mine if c not in bases and not c.__name__.startswith("_") and not inspect.isabstract(c)]
    yield from sorted(mine, key=lambda cls: (cls.__module__, _line(cls)))


def _is_in(cls: type, top: str) -> bool:
    """Whether a class is defined in a module or package, and is still the one that it holds."""
    if cls.__module__ != top and not cls.__module__.startswith(f"{top}."):
        return False
    return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls and _kind(cls) in INTERFACES


def _line(cls: type) -> int:
    try:
        return inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return 0


# -- distributions ----------------------------------------------------------------------------------------------------
def without_entry_point(name: str) -> str:
    """Why an installed distribution, or a module that can be imported, is no plugin; empty where there is none of that name."""
    distribution = _distribution(name)
    if distribution is None:
        if not re.fullmatch(r"\w+", name) or importlib.util.find_spec(name) is None:
            return ""
        return f"the module {name!r} can be imported, and no plugin is called so: write {name}:Class for one of its classes"
    title = f"the distribution {distribution.metadata['Name']} {distribution.version}"
    points = list(distribution.entry_points)
    if mine := [point.name for point in points if point.group == GROUP]:
        return f"{title} is installed, and its plugin {mine[0]} is not loaded here (ATTNLAB_PLUGINS or -p no:{mine[0]})"
    module = name.replace("-", "_")
    others = sorted({point.group for point in points} - {"console_scripts", "gui_scripts"})
    groups = f"; those it has are in the group {_and(others)}" if others else ""
    return (
        f"{title} is installed and gives attnlab nothing, because it has no entry point in the group {GROUP!r}{groups}: add\n"
        f'[project.entry-points.{GROUP}]\n{module} = "{module}"\n'
        "to its pyproject.toml, with the module that holds the hooks, and install it again"
    )


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    """The installed distribution of this name, or the one that holds the module of this name."""
    if not name:
        return None
    holders = importlib.metadata.packages_distributions().get(name, []) if name.isidentifier() else []
    for candidate in (name, *holders):
        try:
            return importlib.metadata.distribution(candidate)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            continue
    return None
