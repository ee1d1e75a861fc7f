"""Kind and name -> class. Strings become objects here; below, nobody looks anything up.

A name may be qualified by its distribution, `distribution:name`, which always resolves. A bare name that two
distributions registered is an error naming both, unless it is `Own`: the defaults of attnlab's signatures, and the names
in a run, mean attnlab's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnlab.errors import AmbiguousName, ComponentError, SettingError, UnknownName, did_you_mean
from attnlab.injection import check_class
from attnlab.interfaces import settings_of
from attnlab.kinds import FLAGS, HOOKS, INTERFACES, PARTS
from attnlab.kinds import KINDS as _KINDS
from attnlab.nested import Nested, nested
from attnlab.plugins import BUILTIN, Plugin, Plugins, plugins
from attnlab.settings import checked
from attnlab.sources import remember

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COMPOSED",
    "KINDS",
    "OF_YOUR_OWN",
    "Entry",
    "Own",
    "build",
    "built",
    "components",
    "entries",
    "entry",
    "get",
    "kept",
    "may_have_it",
    "names",
    "register",
    "resolve",
    "shared",
]

KINDS: tuple[str, ...] = tuple(_KINDS)
NOTEBOOK = "this-process"


class Own(str):
    """A name that means attnlab's own component where a plugin gives one of the same name; else a name like any other."""

    __slots__ = ()


COMPOSED = Own("single_head")  # the mechanism that a mapping of parts means


@dataclass(frozen=True)
class Entry:
    """A registered component and where it comes from."""

    kind: str
    name: str
    cls: type
    plugin: str
    distribution: str
    version: str

    @property
    def qualified(self) -> str:
        return f"{self.distribution}:{self.name}"

    @property
    def shown(self) -> str:
        """The name that tells it from all others of its kind, bare if it can be: of a metric, its column."""
        alone = self.distribution == BUILTIN or len(entries(self.kind)[self.name]) == 1
        return self.name if alone else self.qualified


_by_kind: dict[str, dict[str, list[Entry]]] = {}  # what the plugins of `_asked` gave
_asked: Plugins | None = None
_registered: dict[tuple[str, str], Entry] = {}  # by attnlab.register, this process only


_kept: dict[Any, Any] = {}  # what was made of names, for as long as these mean the same
_kept_for: tuple[Any, ...] = (None, None, 0)


def kept() -> dict[Any, Any]:
    """What was made of names before, by any key; empty once plugins, or what this process registered, have changed."""
    global _kept_for
    now = (plugins(), _registered, tuple(_registered.values()))
    if now[0] is not _kept_for[0] or now[1] is not _kept_for[1] or now[2] != _kept_for[2] or len(_kept) > 512:
        _kept.clear()
        _kept_for = now
    return _kept


def shared(kind: str, name: str) -> Any:
    """The component of a name, with its settings by default: one object for all callers, none of which changes it."""
    key = (kind, type(name), name)
    found = (mine := kept()).get(key)
    if found is None:
        found = mine[key] = get(kind, name)
    return found


def _given() -> dict[str, dict[str, list[Entry]]]:
    """What the plugins of this process gave, by kind, as far as they were asked; empty after they changed."""
    global _asked
    if _asked is not (now := plugins()):
        _by_kind.clear()
        _asked = now
    return _by_kind


def _check_kind(kind: str) -> None:
    if kind not in INTERFACES:
        raise UnknownName(f"no kind {kind!r}{did_you_mean(kind, KINDS)}; there are {', '.join(KINDS)}")


def entries(kind: str) -> dict[str, list[Entry]]:
    """All components of a kind by bare name; a name with more than one entry is ambiguous."""
    given = _given()
    _check_kind(kind)
    if kind not in given:
        found: dict[str, list[Entry]] = {}
        for plugin, classes in plugins().gives(kind):
            for cls in classes:
                try:
                    check_class(kind, cls)
                except ComponentError as error:
                    plugin.broken(f"{HOOKS[kind]}: {error}")
                    continue
                name = cls.name  # type: ignore[attr-defined]
                _add(found, Entry(kind, name, cls, plugin.name, plugin.distribution, plugin.version), plugin)
        given[kind] = found
    if not any(k == kind for k, _ in _registered):
        return given[kind]
    merged = dict(given[kind])
    for (k, name), e in _registered.items():
        if k == kind:
            merged[name] = [*merged.get(name, []), e]
    return merged


def _add(found: dict[str, list[Entry]], new: Entry, plugin: Plugin) -> None:
    others = found.setdefault(new.name, [])
    if same := [o for o in others if o.distribution == new.distribution]:
        files = f"{same[0].version} and {new.version}"
        clash = f"the {new.kind} {new.name!r} is given by two plugin files, {files}: give one --plugin of them"
        plugin.broken(f"gives the {new.kind} {new.name!r} twice" if same[0].plugin == new.plugin else clash)
        return
    others.append(new)
    if len(others) > 1:
        sides = " and ".join(e.distribution for e in others)
        reason = (
            f"the {new.kind} name {new.name!r} is given by {sides}: "
            f"write {' or '.join(repr(e.qualified) for e in others)}, or leave one out with -p no:NAME"
        )
        for record in plugins().records:
            if (record.distribution, record.name) in {
                (e.distribution, e.plugin) for e in others if e.plugin != BUILTIN
            }:
                record.broken(reason)


def entry(kind: str, name: str) -> Entry:
    """The entry of a name, bare or `distribution:name`.

    Raises
    ------
    UnknownName, AmbiguousName
        With the nearest names, or both distributions.
    """
    known = entries(kind)
    if not isinstance(name, str):
        raise UnknownName(f"a {kind} is named by a string; got {name!r}")
    distribution, colon, bare = name.rpartition(":")
    found = known.get(bare, [])
    if colon:
        for e in found:
            if e.distribution == distribution:
                return e
        for record in plugins().records:
            if record.distribution == distribution and record.status != "ok":
                raise UnknownName(f"no {kind} {name!r}: the plugin {record.name} is {record.status}: {record.reason}")
        others = [e.qualified for e in found]
        elsewhere = f"; there is {' and '.join(others)}" if others else ""
        qualified = [e.qualified for es in known.values() for e in es]
        raise UnknownName(f"no {kind} {name!r}{elsewhere or did_you_mean(name, qualified)}")
    if not found:
        raise UnknownName(_unknown(kind, name, list(known)))
    if len(found) > 1 and isinstance(name, Own) and (own := [e for e in found if e.distribution == BUILTIN]):
        return own[0]
    if len(found) > 1:
        sides = " and ".join(e.distribution for e in found)
        choices = " or ".join(repr(e.qualified) for e in found)
        raise AmbiguousName(f"the {kind} {name!r} is given by both {sides}: write {choices}")
    return found[0]


# What to say of a name that is like none that is known
OF_YOUR_OWN = ". One of your own comes from a file, by --plugin FILE.py, or in Python from attnlab.register"


def _unknown(kind: str, name: str, known: list[str]) -> str:
    near = did_you_mean(name, known)
    message = f"no {kind} {name!r}{near}; there are {', '.join(sorted(known)) or 'none'}"
    elsewhere = [k for k in KINDS if k != kind and k in _by_kind and name in _by_kind[k]]
    if elsewhere:
        message += f". {name!r} is a {elsewhere[0]}"
    elif not near:
        message += OF_YOUR_OWN
    return message + may_have_it()


def may_have_it() -> str:
    """What to say of a name that is not there: the plugins that are broken or left out, or are not installed."""
    message = ""
    broken = [p for p in plugins().records if p.status == "broken"]
    if broken:
        message += ". Broken plugins, which may have it: " + "; ".join(
            f"{p.name} of {p.distribution} ({p.reason})" for p in broken
        )
    blocked = [p.name for p in plugins().records if p.status == "blocked"]
    left_out = plugins().left_out
    if blocked or left_out:
        how = [f"{n} (by -p no:{n})" for n in blocked] + [f"{n} (by ATTNLAB_PLUGINS)" for n in left_out]
        message += f". Left out, and may have it: {', '.join(how)}"
    return ". ".join([message, *plugins().notes])


def get(kind: str, name: str, /, **settings: Any) -> Any:
    """A component by name, with settings checked against what it declares.

    A setting that holds a component takes an object, or what `build` takes.

    >>> import attnlab
    >>> attnlab.get("normaliser", "softmax", temperature=2.0)
    Softmax(temperature=2.0)
    """
    cls = entry(kind, name).cls
    return cls(**checked(kind, cls, built(cls, settings)))


def built(cls: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a component class, those that name components as objects, innermost first.

    Raises
    ------
    UnknownName, AmbiguousName, SettingError
        With the component and the setting in front.
    """
    done = {}
    for setting, value in settings.items():
        try:
            done[setting] = _built(nested(cls, setting), value)
        except (UnknownName, AmbiguousName, SettingError) as error:
            raise type(error)(f"{cls.kind} {cls.name!r}: {setting}: {error}") from None
    return done


def _built(held: Nested | None, value: Any) -> Any:
    if held is None:
        return value
    if isinstance(value, (list, tuple)) and held.several:
        return held.several(build(held.kind, one) for one in value)
    if isinstance(value, (list, tuple)) and held.joined:
        return [_built(held, one) for one in value]
    return build(held.kind, value) if isinstance(value, (str, Mapping)) else value


def names(kind: str) -> list[str]:
    """The names of a kind, sorted; those that clash are written `distribution:name`."""
    return sorted(e.qualified if len(es) > 1 else n for n, es in entries(kind).items() for e in es)


def build(kind: str, spec: Any) -> Any:
    """An object from a name, a `{name: {setting: value}}` mapping, or an object (returned as it is).

    A mechanism may also be a mapping of parts, `{similarity: dot}`.

    Raises
    ------
    UnknownName, AmbiguousName, SettingError
    """
    _check_kind(kind)
    if isinstance(spec, str):
        return get(kind, spec)
    if isinstance(spec, INTERFACES[kind]):
        return spec
    if isinstance(spec, Mapping):
        if kind == "mechanism" and (not spec or any(key in PARTS for key in spec)):
            return get(kind, COMPOSED, **spec)
        if len(spec) != 1:
            raise SettingError(f"a {kind} is written {{name: {{setting: value}}}} with one name; got {dict(spec)!r}")
        ((name, settings),) = spec.items()
        if settings is not None and not isinstance(settings, Mapping):
            raise SettingError(f"the settings of {kind} {name!r} must be a mapping; got {settings!r}")
        return get(kind, name, **{str(k): v for k, v in (settings or {}).items()})
    if isinstance(spec, type) and issubclass(spec, INTERFACES[kind]):
        raise SettingError(f"{spec.__name__} is a class: give an object, {spec.__name__}(), or its name {spec.name!r}")  # type: ignore[attr-defined]
    raise SettingError(
        f"a {kind} is a name, a {{name: {{setting: value}}}} mapping, or an object; got {type(spec).__name__}: {spec!r}"
    )


def resolve(kind: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a component: those given, checked, and the defaults of the rest."""
    cls = entry(kind, name).cls
    given = checked(kind, cls, settings)
    return {
        s: given.get(s, None if p.default is inspect.Parameter.empty else p.default)
        for s, p in settings_of(cls).items()
    }


def register(cls: type) -> type:
    """Register a component class in this process only, for notebooks; also a decorator.

    The same checks as for a plugin. Registering a class of the same name again replaces the earlier one, so that a
    notebook cell can be run twice; a name that an installed plugin gives is refused.

    Raises
    ------
    ComponentError, AmbiguousName
    """
    kind = getattr(cls, "kind", "") if isinstance(cls, type) else ""
    if kind not in INTERFACES:
        allowed = ", ".join(f"attnlab.{i.__name__}" for i in INTERFACES.values())
        raise ComponentError(f"register takes a class derived from one of {allowed}; got {cls!r}")
    check_class(kind, cls)
    name = cls.name  # type: ignore[attr-defined]
    taken = [e for e in entries(kind).get(name, []) if e.distribution != NOTEBOOK]
    if taken:
        raise AmbiguousName(f"the {kind} name {name!r} is given by {taken[0].distribution}: choose another name")
    remember(cls.__module__)
    _registered[kind, name] = Entry(kind, name, cls, NOTEBOOK, NOTEBOOK, "0")
    return cls


def components() -> pd.DataFrame:
    """Every component: kind, name, summary, plugin, version, source, and the flags it declares (NA: not of its kind)."""
    import pandas as pd

    rows = []
    for kind in KINDS:
        for name, found in sorted(entries(kind).items()):
            for e in found:
                row: dict[str, Any] = {
                    "kind": kind,
                    "name": e.qualified if len(found) > 1 else name,
                    "summary": e.cls.summary(),  # type: ignore[attr-defined]
                    "plugin": e.distribution,
                    "version": e.version,
                    "source": str(e.cls.source) if e.cls.source else "",  # type: ignore[attr-defined]
                }
                said = {flag: getattr(e.cls, flag, None) for flag in FLAGS}  # a property says it of an object only
                row |= {flag: value if isinstance(value, bool) else None for flag, value in said.items()}
                rows.append(row)
    frame = pd.DataFrame(rows, columns=["kind", "name", "summary", "plugin", "version", "source", *FLAGS])
    for flag in FLAGS:
        frame[flag] = frame[flag].astype("boolean")
    return frame
