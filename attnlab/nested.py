"""Components among settings: which kind a setting holds, and whether it holds one component or a list.

A setting holds components if it is annotated with an interface (`MechanismComponent`, `Similarity | None`,
`list[MechanismComponent]`), or if its default is a component. A setting whose type is not declared also holds one if it is
named for a kind (`similarity`, `mechanism`, `encoder`) and belongs to something that is not a task or a metric.
"""

from __future__ import annotations

import ast
import collections.abc
import contextlib
import functools
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from attnlab.interfaces import Component, settings_of
from attnlab.kinds import COMBINES, INTERFACES, KINDS

__all__ = ["Nested", "hints", "is_named_for_a_kind", "nested"]

_PLAIN = ("task", "metric")  # kinds whose settings are never components by their name alone


@dataclass(frozen=True)
class Nested:
    """What a setting holds.

    Attributes
    ----------
    kind : str
    one : bool
        Whether it may be one component.
    several : type or None
        `list` or `tuple` if it may be several components, each on its own; else None.
    fewest, most : int, int or None
        How many such a list may have; None is any number.
    joined : "and", "in order" or None
        How several components in this setting act as one: masks by "and", where the order means nothing.
    optional : bool
        Whether it may be None.
    """

    kind: str
    one: bool = True
    several: type | None = None
    fewest: int = 0
    most: int | None = None
    joined: str | None = None
    optional: bool = False

    def __str__(self) -> str:
        """What a list in this setting is, in words."""
        plural = KINDS[self.kind].plural
        if self.most is None:
            return f"a list of {plural}" if not self.fewest else f"a list of at least {self.fewest} {plural}"
        return (
            f"a list of {self.fewest} {plural}"
            if self.fewest == self.most
            else f"a list of {self.fewest} to {self.most} {plural}"
        )


def _composes(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].composes


def is_named_for_a_kind(kind: str, setting: str) -> bool:
    """Whether a setting of a component of this kind holds a component by its name alone."""
    return _composes(setting) and kind not in _PLAIN


@functools.cache
def nested(cls: Any, setting: str) -> Nested | None:
    """What a setting of a component class holds; None if it holds no component."""
    parameter = settings_of(cls).get(setting)
    if parameter is None:
        return None
    optional = parameter.default is None
    hint = hints(cls).get(setting, Any)
    if found := list(_interfaces_in(hint)):
        if len({one.kind for one in found}) > 1:
            return None  # a name would not say of which kind
        alone = any(one.several is None for one in found)
        first = next((one for one in found if one.several), found[0])
        return replace(first, one=alone, optional=optional or type(None) in _members(hint))
    if is_named_for_a_kind(getattr(cls, "kind", ""), setting) and any(
        member in (Any, object) for member in _members(hint)
    ):
        return Nested(setting, joined=COMBINES.get(setting), optional=optional)
    several = type(parameter.default) if isinstance(parameter.default, (list, tuple)) else None
    items = [parameter.default] if several is None else list(parameter.default)
    kinds = {item.kind if isinstance(item, Component) else "" for item in items}
    if len(kinds) == 1 and _composes(kind := kinds.pop()):
        return Nested(kind, several is None, several)
    return None


def _members(hint: Any) -> Iterator[Any]:
    """The types of a union; of any other type the type itself."""
    hint = getattr(hint, "__value__", hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        yield from _members(inner[0])
    elif origin is typing.Union or origin is types.UnionType:
        for member in inner:
            yield from _members(member)
    else:
        yield hint


def _interfaces_in(hint: Any, extras: tuple[Any, ...] = ()) -> Iterator[Nested]:
    """Each interface that a type names, alone or in a list."""
    hint = getattr(hint, "__value__", hint)  # an alias
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        yield from _interfaces_in(inner[0], inner[1:])
    elif origin is typing.Union or origin is types.UnionType:
        for member in inner:
            yield from _interfaces_in(member)
    elif origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable):
        limits = {
            name: [v for e in extras if (v := getattr(e, name, None)) is not None]
            for name in ("min_length", "max_length")
        }
        fewest, most = max(limits["min_length"], default=0), min(limits["max_length"], default=None)
        if origin is tuple and Ellipsis not in inner:
            fewest = most = len(inner)
        for item in dict.fromkeys(inner):
            for one in _interfaces_in(item):
                if one.several is None:
                    yield replace(one, one=False, several=tuple if origin is tuple else list, fewest=fewest, most=most)
    elif isinstance(hint, type) and issubclass(hint, tuple(INTERFACES.values())):
        kind: str = hint.kind  # type: ignore[attr-defined]
        if _composes(kind):
            yield Nested(kind)


# -- annotations ------------------------------------------------------------------------------------------------------
@functools.cache
def hints(cls: Any) -> Mapping[str, Any]:
    """The types that the settings of a class declare, by setting. An annotation that cannot be resolved declares nothing."""
    init = inspect.unwrap(cls.__init__)
    scope = getattr(init, "__globals__", {})
    found: dict[str, Any] = {}
    for setting, annotation in _written(init).items():
        lone = types.SimpleNamespace(__annotations__={setting: annotation})
        with contextlib.suppress(Exception):
            try:
                found |= typing.get_type_hints(lone, scope, include_extras=True)
            except NameError:
                local = dict(_for_types_only(init.__module__))
                found |= typing.get_type_hints(lone, scope, local, include_extras=True)
    return found


def _written(init: Any) -> dict[str, Any]:
    try:
        return dict(getattr(init, "__annotations__", {}))
    except NameError:  # from Python 3.14 on they are evaluated here; as text they always can be had
        library = importlib.import_module("annotationlib")
        return dict(library.get_annotations(init, format=library.Format.STRING))


@functools.cache
def _for_types_only(module: str) -> Mapping[str, Any]:
    """What a module imports under `if TYPE_CHECKING:`, as far as it can be imported."""
    loaded = sys.modules.get(module)
    found: dict[str, Any] = {}
    try:
        tree = ast.parse(inspect.getsource(loaded))  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError):
        return found
    about = {"__name__": module, "__package__": getattr(loaded, "__package__", None)}
    for block in tree.body:
        if isinstance(block, ast.If) and ast.unparse(block.test).rpartition(".")[2] == "TYPE_CHECKING":
            for statement in block.body:
                if isinstance(statement, (ast.Import, ast.ImportFrom)):
                    code = compile(ast.Module([statement], []), module, "exec")
                    with contextlib.suppress(Exception):
                        exec(code, about, found)
    return found
