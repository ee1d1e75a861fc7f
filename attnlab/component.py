"""What every component is: a class with a name, a source and settings, in scikit-learn's manner."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from attnlab.errors import SettingError, did_you_mean

__all__ = ["Component", "Source", "first_line", "names_of", "settings_of"]


@dataclass(frozen=True)
class Source:
    """Where a component comes from: what `attnlab show` prints and `attnlab cite` collects."""

    title: str
    authors: str
    year: int
    where: str = ""

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}). {self.title}." + (f" {self.where}." if self.where else "")


@functools.cache
def _settings_of(cls: Any) -> Mapping[str, inspect.Parameter]:
    if cls.__init__ is object.__init__:
        return {}
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return {p.name: p for p in parameters}


def settings_of(cls: Any) -> Mapping[str, inspect.Parameter]:
    """The settings of a component class: the parameters of its `__init__`, in order."""
    return _settings_of(cls)


def first_line(cls: Any) -> str:
    """The first line of a docstring."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    return doc.splitlines()[0].strip() if doc else ""


def _set_inner(where: str, component: Any, settings: Mapping[str, Any]) -> None:
    if not hasattr(component, "set_params") or isinstance(component, type):
        raise SettingError(
            f"{where} is {component!r}, which has no settings to change ({names_of(settings)}); set a component there first"
        )
    component.set_params(**settings)


def _with_items(where: str, items: list[Any] | tuple[Any, ...], settings: Mapping[str, Any]) -> Any:
    """The items, replaced (`0`) or with settings changed (`0__setting`)."""
    changed = list(items)
    inner: dict[int, dict[str, Any]] = {}
    for key, value in settings.items():
        index, _, rest = key.partition("__")
        if not index.isdecimal() or int(index) >= len(changed):
            raise SettingError(f"{where} is a list of {len(changed)}: an item is named 0 to n - 1; got {index!r}")
        if rest:
            inner.setdefault(int(index), {})[rest] = value
        else:
            changed[int(index)] = value
    for i, given in inner.items():
        _set_inner(f"{where}: item {i}", changed[i], given)
    return type(items)(changed)


class Component:
    """A class with a name, a source and settings, in scikit-learn's manner: `clone` and `GridSearchCV` take it."""

    name: ClassVar[str] = ""
    source: ClassVar[Source | None] = None
    kind: ClassVar[str] = ""
    # raised by 1 when the meaning of a setting or of a default changes, so that older results count as another's
    revision: ClassVar[int] = 0
    # defaults that were other once: a run with one of these counts as it did then, one with the present default as another
    former: ClassVar[Mapping[str, Any]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """A setting that is a number of NumPy's becomes Python's, which does not turn float32 into float64."""
        if isinstance(value, np.generic) and name in settings_of(type(self)):
            value = value.item()
        object.__setattr__(self, name, value)

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return first_line(cls)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name; with `deep`, those of components among them as `name__setting`, in a list as `name__0__setting`."""
        params: dict[str, Any] = {}
        for name in settings_of(type(self)):
            value = getattr(self, name)
            params[name] = value
            items = enumerate(value) if isinstance(value, (list, tuple)) else ()
            for place, inner in [(name, value), *((f"{name}__{i}", item) for i, item in items)]:
                if deep and hasattr(inner, "get_params") and not isinstance(inner, type):
                    params[place] = inner
                    params.update({f"{place}__{k}": v for k, v in inner.get_params(deep=True).items()})
        return params

    def set_params(self, **settings: Any) -> Component:
        """Change settings; `part__setting` and `parts__0__setting` reach into components among them. Returns self."""
        known = settings_of(type(self))
        nested: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            head, _, rest = key.partition("__")
            if head not in known:
                raise SettingError(
                    f"{type(self).__name__} has no setting {head!r}{did_you_mean(head, known)}; "
                    f"it has {', '.join(known) or 'none'}"
                )
            if rest:
                nested.setdefault(head, {})[rest] = value
            else:
                setattr(self, head, value)
        for head, inner in nested.items():
            value = getattr(self, head)
            if isinstance(value, (list, tuple)):
                setattr(self, head, _with_items(f"{type(self).__name__}: {head}", value, inner))
            else:
                _set_inner(f"{type(self).__name__}: {head}", value, inner)
        return self

    def __repr__(self) -> str:
        shown = []
        for name, parameter in settings_of(type(self)).items():
            value = getattr(self, name, None)
            if parameter.default is inspect.Parameter.empty or repr(value) != repr(parameter.default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def names_of(items: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(items) or "none"
