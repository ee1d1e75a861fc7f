"""Plugins: found, loaded each in isolation, and never a reason for the rest to stop.

Distributions announce a plugin by an entry point in the group `attnlab`. `ATTNLAB_PLUGINS=a,b` pins which are loaded
(empty: none), `configure(blocked=...)` leaves some out (`-p no:NAME`), `configure(files=...)` adds Python files
(`--plugin FILE.py`). attnlab's own parts come in by the same door, as the plugin `attnlab`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from attnlab import guard, hookspecs, staying
from attnlab.errors import AttnlabError, did_you_mean, message_of
from attnlab.guard import called
from attnlab.kinds import HOOKS
from attnlab.sources import remember
from attnlab.trial import Candidate, Verdict, changed, listed, messages_to_stderr, tried
from attnlab.version import __version__

__all__ = ["BUILTIN", "FILE", "GROUP", "Plugin", "Plugins", "active_options", "configure", "plugins"]

GROUP = "attnlab"
BUILTIN = "attnlab"
FILE = "file"  # the distribution of what a --plugin file gives, whatever the file is called

_SAID = 2000  # characters of what an exception says that are shown
OWN = "attnlab.builtins"  # the module that attnlab's own entry point names


def _is_own(point: importlib.metadata.EntryPoint) -> bool:
    return point.name == BUILTIN and point.value == OWN


def _installed() -> bool:
    try:
        importlib.metadata.version(BUILTIN)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@dataclass
class Plugin:
    """One plugin and what became of it."""

    name: str
    distribution: str
    version: str
    where: str  # the module or file it is
    status: str = "ok"  # ok, broken or blocked
    reasons: list[str] = field(default_factory=list)
    module: Any = None
    hooks: list[str] = field(default_factory=list)  # that it has, and attnlab calls
    refused: bool = (
        False  # nothing of it is used, since it could not be loaded or has a hook that attnlab does not know
    )
    hooks_refused: dict[str, str] = field(default_factory=dict)  # that are not called, and why

    def broken(self, reason: str) -> None:
        """Record a reason for which something of this plugin cannot be used."""
        self.status = "broken"
        if reason not in self.reasons:
            self.reasons.append(reason)

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)


def _explain(error: BaseException) -> str:
    """The error and, where it is known, the last line of the plugin's own code that led to it."""
    frames = [
        f
        for f in traceback.extract_tb(object.__getattribute__(error, "__traceback__"))
        if "importlib" not in f.filename
    ]
    frames = [f for f in frames if f.filename not in (__file__, guard.__file__, staying.__file__)]
    place = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    said = message_of(error)
    return f"{type(error).__name__[:_SAID]}: {said[:_SAID]}{' ... cut' if len(said) > _SAID else ''}{place}"


def _prefixed(name: str, hooks: Iterable[str]) -> str:
    """What was meant by a hook's name without its prefix."""
    near = did_you_mean(f"attnlab_{name}", hooks)
    return near or f"; there are {', '.join(hooks)}"


def _misspelt(name: str, function: Any, module: Any, hooks: Iterable[str]) -> str:
    """The hook that a function of a plugin's own was meant to be; empty where it was meant to be none."""
    if getattr(function, "__module__", "") != getattr(module, "__name__", None) or not name.startswith("attnlab_"):
        return ""
    near = difflib.get_close_matches(name[8:], [hook[8:] for hook in hooks], n=1, cutoff=0.75)
    return f"attnlab_{near[0]}" if near else ""


def _of_file(path: str) -> Plugin:
    """The record of a plugin file; AttnlabError where there is none."""
    if not os.path.isfile(path):
        raise AttnlabError(f"--plugin {path}: no such file")
    name = os.path.splitext(os.path.basename(path))[0]
    return Plugin(name, FILE, os.path.basename(path), os.path.abspath(path))


def _module_of(path: str) -> ModuleType:
    name = f"attnlab_file_plugin_{os.path.splitext(os.path.basename(path))[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Plugins:
    """The plugins of this process.

    Parameters
    ----------
    only : sequence of str or None
        Names of plugins, or of their distributions, to load besides attnlab's own; None loads all that are installed.
    blocked : sequence of str
        Names of plugins, or of their distributions, to leave out.
    files : sequence of str
        Paths of Python files, each a plugin.
    """

    def __init__(
        self, only: Sequence[str] | None = None, blocked: Sequence[str] = (), files: Sequence[str] = ()
    ) -> None:
        self.manager = pluggy.PluginManager("attnlab")
        self.manager.add_hookspecs(hookspecs)
        self.hooks = sorted(name for name in vars(hookspecs) if name.startswith("attnlab_"))
        self.records: list[Plugin] = []
        self.notes: list[str] = []
        self.left_out: list[str] = []  # by ATTNLAB_PLUGINS
        points = importlib.metadata.entry_points(group=GROUP)
        self._load_own(points)
        found: set[str] = set()
        wanted: list[tuple[Plugin, Callable[[], Any]]] = []
        for point in sorted(points, key=lambda p: (p.dist.name if p.dist else "", p.name)):
            if _is_own(point):
                continue
            distribution = point.dist.name if point.dist else "?"
            plugin = Plugin(point.name, distribution, point.dist.version if point.dist else "?", point.value)
            aliases = {point.name, distribution}
            found |= aliases
            if only is not None and not aliases & set(only):
                self.left_out.append(point.name)
                continue
            if aliases & set(blocked):
                plugin.status = "blocked"
                self.records.append(plugin)
                continue
            wanted.append((plugin, point.load))
        for path in files:
            wanted.append((_of_file(path), functools.partial(_module_of, os.path.abspath(path))))
        verdicts = tried([Candidate(load, self._nouns) for _, load in wanted])
        for (plugin, load), verdict in zip(wanted, verdicts, strict=True):
            self._load(plugin, load, verdict)
        for name in blocked:
            if name == BUILTIN:
                raise AttnlabError(
                    "-p no:attnlab would leave out attnlab's own parts; only other plugins can be left out"
                )
            if name not in found:
                raise AttnlabError(
                    f"-p no:{name}: no such plugin{did_you_mean(name, found)}; there are {', '.join(sorted(found)) or 'none'}"
                )
        missing = [name for name in only or () if name not in found | {BUILTIN}]
        if missing:
            self.notes.append(
                f"ATTNLAB_PLUGINS names {', '.join(missing)}, which is not installed{did_you_mean(missing[0], found)}"
            )

    def _load_own(self, points: Iterable[importlib.metadata.EntryPoint]) -> None:
        """attnlab's own parts, by attnlab's own entry point; in a source tree without one, from where they lie."""
        point = next(filter(_is_own, points), None)
        if not _installed():
            self.notes.append(
                "attnlab runs from a source tree that is not installed: it knows its own parts, --plugin files, and the "
                "plugins of other distributions that are installed"
            )
        where = OWN if point is None else point.value
        self._admit(Plugin(BUILTIN, BUILTIN, __version__, where, module=importlib.import_module(where)))

    def _nouns(self, module: Any) -> list[tuple[str, Callable[[], Any]]]:
        """The hooks of a module that give components."""
        found: list[tuple[str, Callable[[], Any]]] = []
        for name, value in inspect.getmembers(module, inspect.isroutine):
            marked = getattr(value, "attnlab_impl", None)
            hook = (marked["specname"] or name) if marked else ""
            if hook in (*HOOKS.values(), "attnlab_suites"):
                found.append((hook, value))
        return found

    def _load(self, plugin: Plugin, load: Callable[[], Any], verdict: Verdict) -> None:
        """Load a plugin that a trial did not refuse. It may call sys.exit on import; attnlab goes on."""
        plugin.hooks_refused.update(verdict.hooks)
        if verdict.refused:
            self._refuse(plugin, verdict.refused)
            return
        with messages_to_stderr():
            loaded = called(load)
        if loaded.error is not None:
            self._refuse(plugin, _explain(loaded.error))
            return
        if loaded.changes:
            self._refuse(plugin, changed(loaded.changes))
            return
        plugin.module = loaded.value
        remember(getattr(plugin.module, "__name__", ""))
        self._admit(plugin)

    def _refuse(self, plugin: Plugin, reason: str) -> None:
        plugin.broken(reason)
        plugin.refused = True
        self.records.append(plugin)

    def _admit(self, plugin: Plugin) -> None:
        """Register a loaded plugin's hooks, or say why not."""
        self.records.append(plugin)
        for name, value in inspect.getmembers(plugin.module, inspect.isroutine):
            marked: Any = getattr(value, "attnlab_impl", None)
            hook = marked["specname"] or name if marked else name
            if marked and hook not in self.hooks:
                plugin.broken(f"unknown hook {hook!r}{did_you_mean(hook, self.hooks) or _prefixed(hook, self.hooks)}")
            elif marked:
                plugin.hooks.append(hook)
            elif name in self.hooks:
                plugin.broken(f"{name} is not marked: write @hookimpl above it")
            elif meant := _misspelt(name, value, plugin.module, self.hooks):
                plugin.broken(f"{name} is no hook (did you mean {meant}?), and is not marked: write @hookimpl above it")
        if plugin.status == "broken":
            plugin.refused = True
            return
        trial = pluggy.PluginManager("attnlab")
        trial.add_hookspecs(hookspecs)
        try:
            trial.register(plugin.module)
            self.manager.register(plugin.module, name=f"{plugin.distribution}/{plugin.name}")
        except (pluggy.PluginValidationError, ValueError) as error:
            plugin.broken(" ".join(str(error).split()))
            plugin.refused = True

    def gives(self, kind: str) -> Iterator[tuple[Plugin, list[type]]]:
        """What each plugin gives of a kind; a hook that raises makes its plugin broken and gives nothing."""
        return self.given(HOOKS[kind])

    def given(self, name: str) -> Iterator[tuple[Plugin, list[Any]]]:
        """What each plugin's implementation of a hook returns, as `gives` does."""
        hook = getattr(self.manager.hook, name)
        by_module = {id(p.module): p for p in self.records if p.module is not None}
        for impl in reversed(hook.get_hookimpls()):
            plugin = by_module[id(impl.plugin)]
            if refused := plugin.hooks_refused.get(name):
                plugin.broken(f"{name}: {refused}")
                continue
            if plugin.distribution == BUILTIN:  # it needs no guard; on some platforms a module of it cannot be imported
                try:
                    yield plugin, list(impl.function())
                except Exception as error:
                    plugin.broken(f"{name}: {_explain(error)}")
                continue
            with messages_to_stderr():
                found = called(listed, impl.function)
            if found.error is not None or found.changes:
                said = changed(found.changes) if found.error is None else _explain(found.error)
                plugin.broken(f"{name}: {said}")
                continue
            yield plugin, found.value

    def report(self, event: str, facts: Callable[[], Mapping[str, Any]]) -> list[str]:
        """Tell every plugin of an event; what their hooks raise or change comes back as sentences, never as an exception.

        `facts` gives what an event tells, by name, to each hook anew.

        Raises
        ------
        KeyboardInterrupt, Terminated
            When a signal arrived meanwhile that asks this process to end, and for no other reason.
        """
        global _active
        failures = []
        for impl in reversed(getattr(self.manager.hook, event).get_hookimpls()):
            own, chosen = facts(), dict(_options)
            told = called(impl.function, **{name: own[name] for name in impl.argnames})
            _active = self  # whatever it made of plugins
            _options.update(chosen)
            if told.error is not None:
                failures.append(f"plugin {impl.plugin_name}: {event} raised {_explain(told.error)}")
            if told.changes:
                failures.append(
                    f"plugin {impl.plugin_name}: {event}: put back what it changed: {', '.join(told.changes)}"
                )
        return failures


_active: Plugins | None = None
_options: dict[str, Any] = {"blocked": (), "files": ()}


def configure(blocked: Sequence[str] = (), files: Sequence[str] = ()) -> None:
    """Choose which plugins this process uses from here on (`-p no:NAME`, `--plugin FILE.py`)."""
    global _active
    _options.update(blocked=tuple(blocked), files=tuple(files))
    _active = None


def active_options() -> dict[str, Any]:
    """What `configure` was given, for processes that must do the same."""
    return dict(_options)


def plugins() -> Plugins:
    """The plugins of this process, found at the first call."""
    global _active
    if _active is None:
        pinned = os.environ.get("ATTNLAB_PLUGINS")
        only = None if pinned is None else [name.strip() for name in pinned.split(",") if name.strip()]
        _active = Plugins(only, _options["blocked"], _options["files"])
    return _active
