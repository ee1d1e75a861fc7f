"""What modules have that everybody relies on, as it was: put back where somebody replaced, removed or hid some of it."""

from __future__ import annotations

import builtins
import contextlib
import importlib.abc
import operator
import os
import sys
from types import ModuleType
from typing import Any

from attnlab import descriptors, shared_state, staying

__all__ = ["Modules"]

_METHODS = (staticmethod, classmethod, property)
_CONSTANTS = (str, bytes, int, float, tuple, frozenset, ModuleType)
_LIBRARIES = {  # which replace functions of Python, such as torch `inspect.getfile`, or say how its objects are pickled
    *("IPython", "cloudpickle", "coverage", "dask", "dill", "distributed", "flax", "gevent", "ipykernel", "jax", "jaxlib"),
    *("joblib", "keras", "lightning", "matplotlib", "ml_dtypes", "multiprocess", "numba", "pandas", "polars", "pyarrow"),
    *("ray", "scipy", "setuptools", "sklearn", "tblib", "tensorflow", "torch", "torchvision", "transformers", "typing_extensions"),
}  # fmt: skip
_MADE_AGAIN = (str, bytes, int, float, tuple, frozenset)
_TABLES = (dict, list, set)
_PACKAGES = ("attnlab", "numpy", "autograd", "click", "pluggy", "threadpoolctl")  # with all their modules
_RELIED_ON = {  # by numbers, names of runs, stores, tables and messages
    *("abc", "ast", "base64", "bisect", "builtins", "collections", "concurrent.futures", "contextlib", "contextvars", "copy"),
    *("copyreg", "csv", "ctypes", "dataclasses", "datetime", "decimal", "difflib", "enum", "faulthandler", "fcntl", "fnmatch"),
    *("functools", "gc", "genericpath", "glob", "hashlib", "heapq", "html", "importlib", "importlib.metadata"),
    *("importlib.util", "inspect", "io", "itertools", "json", "json.decoder", "json.encoder", "linecache", "math", "mmap"),
    *("multiprocessing.connection", "numbers", "operator", "os", "pathlib", "pickle", "platform", "posixpath", "queue", "random"),
    *("re", "resource", "secrets", "select", "shlex", "shutil", "signal", "socket", "sqlite3", "stat", "statistics", "string"),
    *("struct", "subprocess", "sys", "tempfile", "textwrap", "threading", "time", "traceback", "types", "unicodedata"),
    *("urllib.parse", "uuid", "warnings", "weakref", "zipfile", "zlib"),
    *("pandas", "pandas.core.frame", "pandas.core.generic", "pandas.core.groupby.generic", "pandas.core.groupby.groupby"),
    *("pandas.core.indexes.base", "pandas.core.reshape.concat", "pandas.core.series", "scipy.special", "scipy.stats"),
}  # fmt: skip
_IMPORTED_LATER = (
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "jinja2",
    "rich",
    "pydantic",
    "ruamel",
    "dask",
    "distributed",
)
_OF_SYS = (
    "stdin",
    "stdout",
    "stderr",
    "__stdin__",
    "__stdout__",
    "__stderr__",
    "last_type",
    "last_value",
    "last_traceback",
)
_QUIETLY = (  # what programs replace with good reason
    *("sys.excepthook", "sys.unraisablehook", "sys.displayhook", "threading.excepthook", "warnings.showwarning"),
    *("warnings._showwarnmsg_impl", "time.tzname", "time.timezone", "time.altzone", "time.daylight"),
)
_CHANGEABLE = 1 << 9  # the flag of classes that are no builtin ones

_Owner = tuple[Any, str, dict[str, Any]]  # a module or class, what it is called, and what it has
_Table = tuple[str, Any, Any]  # what a table is called, the table, and what it holds

_classes: dict[tuple[str, int, int], list[type]] = {}  # of modules that were looked through
_names_of_builtins = frozenset(vars(builtins)) - frozenset(name for name in vars(builtins) if name.startswith("__"))


class Modules:
    """Functions, classes, their methods, and constants. What is added stays, unless it hides what was there.

    Functions that somebody replaced may be those that put back. So those are put back first, by what calls none of them.
    """

    def __init__(self) -> None:
        self.owners: list[_Owner] = []
        self.tables: list[_Table] = []
        for name, module in list(sys.modules.items()):
            if _is_relied_on(name) and isinstance(module, ModuleType):
                self.look(module, name)
        self.modules = sys.modules.copy()
        self.lists = {name: (found := getattr(sys, name), [*found]) for name in ("path", "meta_path", "path_hooks")}
        mine = (
            builtins,
            os,
            operator,
            descriptors,
            shared_state,
            staying,
            *map(sys.modules.get, ("attnlab.guard", __name__)),
        )
        self.first = [(vars(m), vars(m).copy()) for m in mine if m is not None]
        self.builtins = _names_of_builtins
        self.spoilt: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.watch = _Watch(self)
        sys.meta_path.insert(0, self.watch)

    def look(self, module: ModuleType, name: str) -> None:
        """Keep what a module has."""
        own = vars(module).copy()
        key = (name, id(module), len(own))
        if key not in _classes:
            mine = (c for c in own.values() if isinstance(c, type) and c.__module__ == name)
            _classes[key] = [c for c in mine if c.__flags__ & _CHANGEABLE]
        found: list[_Owner] = [(module, name, own)]
        found += [(cls, f"{name}.{cls.__name__}", vars(cls).copy()) for cls in _classes[key]]
        self.owners += found
        if name.startswith("autograd") or name in ("copy", "copyreg", "pickle"):
            tables = ((shown, n, v) for _, shown, has in found for n, v in has.items() if not n.startswith("__"))
        elif name.startswith("attnlab"):
            tables = ((name, n, v) for n, v in own.items() if n.isupper())
        else:
            return
        self.tables += [(f"{shown}.{n}", v, v.copy()) for shown, n, v in tables if type(v) in _TABLES]

    def first_of_all(self) -> None:
        """Put back the functions that put back. Not one of them is called: somebody may have replaced it."""
        for now, before in self.first:
            self.spoilt += [(before["__name__"], now.copy(), before)]
            now.update(before)
            for name in self.builtins:
                if name in now and name not in before:
                    del now[name]

    def put_back(self) -> list[str]:
        """Put the rest back; what had been changed, in words."""
        return [*self._said(), *self._imports(), *self._owners(), *self._tables()]

    def _said(self) -> list[str]:
        changes = []
        for owner, now, before in self.spoilt:
            changes += [f"{owner}.{n}" for n, v in before.items() if now.get(n, self) is not v and _is_kept(n, v)]
            changes += [f"{owner}.{n}" for n in now if n not in before and n in _names_of_builtins]
        return changes

    def _imports(self) -> list[str]:
        """Modules, and where they are found; more may be added."""
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            sys.meta_path.remove(self.watch)
        changes = []
        for name, (found, items) in self.lists.items():
            now: Any = getattr(sys, name, None)
            if now is not found or any(item not in found for item in items):
                changes.append(f"sys.{name}")
                setattr(sys, name, found)
            found[:] = [*items, *(item for item in found if item not in items and item is not self.watch)]
        modules: dict[str, Any] = sys.modules
        other = {name: m for name, m in self.modules.items() if modules.get(name) is not m}
        for name, module in other.items():
            is_ours = _is_relied_on(name) or (name in modules and _is_no_module(name, modules[name]))
            if name not in modules or is_ours:
                modules[name] = module
                if is_ours:
                    changes.append(f"sys.modules[{name!r}]")
        for name in [n for n in modules if n not in self.modules and _is_no_module(n, modules[n])]:
            del modules[name]
            changes.append(f"sys.modules[{name!r}]")
        return changes

    def _owners(self) -> list[str]:
        changes = []
        for owner, shown, names in self.owners:
            now = vars(owner)
            same = all(map(operator.is_, map(now.get, names), names.values()))
            if same and len(now) == len(names):
                continue
            for name, value in names.items():
                if (
                    _is_another(now.get(name, self), value)
                    and not _is_of_a_library(now.get(name))
                    and _is_kept(name, value)
                    and not (shown == "sys" and name in _OF_SYS)
                ):
                    if f"{shown}.{name}" not in _QUIETLY:
                        changes.append(f"{shown}.{name}")
                    setattr(owner, name, value)
            for name in [n for n in now if n not in names and _hides(owner, n, now[n])]:
                changes.append(f"{shown}.{name}")
                delattr(owner, name)
        return changes

    def _tables(self) -> list[str]:
        changes = []
        for shown, table, before in self.tables:
            if not isinstance(table, dict):
                same = len(table) == len(before) and (
                    table == before if isinstance(table, set) else all(map(operator.is_, table, before))
                )
                if not same:
                    changes.append(shown)
                    table.clear()
                    table.update(before) if isinstance(table, set) else table.extend(before)
                continue
            other = [key for key, value in before.items() if table.get(key) is not value]
            spoilt = any(not _is_of_a_library(table.get(key)) for key in other)
            new = [key for key in table if key not in before] if shown.startswith("copyreg") else []
            ours = [key for key in new if _is_common(key) and not _is_of_a_library(table[key])]
            if spoilt or ours:
                changes.append(shown)
                table.update(before)
                for key in ours:
                    del table[key]
        return changes


def _is_relied_on(name: str) -> bool:
    return name in _RELIED_ON or name.partition(".")[0] in _PACKAGES


def _is_kept(name: str, value: Any) -> bool:
    """Whether what a module or a class has under a name stays the same as long as a process lives."""
    if callable(value) or isinstance(value, _METHODS):
        return True
    return isinstance(value, _CONSTANTS) and (name.isupper() or not name.startswith("_"))


def _is_another(now: Any, before: Any) -> bool:
    """Whether it is another object; a constant that was made again, as `time.tzset` does, is the same if it is equal."""
    if now is before:
        return False
    return not (type(now) is type(before) and type(now) in _MADE_AGAIN and now == before)


def _is_of_a_library(value: Any) -> bool:
    """Whether it is a function of a library that changes Python where it is imported, for good reasons."""
    value = getattr(value, "func", value)  # of what is partly applied
    return str(getattr(value, "__module__", "")).partition(".")[0] in _LIBRARIES


def _hides(owner: Any, name: str, value: Any) -> bool:
    """Whether a new name of a module or a class is found in the place of what others mean by it."""
    if isinstance(owner, ModuleType):
        return name in _names_of_builtins and callable(value)
    others = (vars(cls) for cls in owner.__mro__[1:])
    return (callable(value) or isinstance(value, _METHODS)) and any(name in has for has in others)


def _is_no_module(name: str, module: Any) -> bool:
    """Whether something has the name of a module that attnlab may import, and was not imported."""
    top = name.partition(".")[0]
    known = name in sys.stdlib_module_names or name in _IMPORTED_LATER or top in _PACKAGES
    return known and (not isinstance(module, ModuleType) or getattr(module, "__spec__", None) is None)


def _is_common(key: Any) -> bool:
    """Whether it is a class of Python's, NumPy's or attnlab's."""
    return isinstance(key, type) and key.__module__.partition(".")[0] in (
        "builtins",
        "collections",
        "numpy",
        "attnlab",
        "types",
    )


class _Watch(importlib.abc.MetaPathFinder):
    """Sees modules that everybody relies on as they are when they have just been imported, and nobody has changed them."""

    def __init__(self, seen: Modules) -> None:
        self.seen = seen

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if not _is_relied_on(name):
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target)) is not None), None)
        loader: Any = getattr(spec, "loader", None)
        if not isinstance(loader, type) and hasattr(loader, "exec_module"):
            real = loader.exec_module

            def and_look(module: ModuleType) -> None:
                real(module)
                self.seen.look(module, name)

            with contextlib.suppress(AttributeError):  # a loader that takes no attribute
                loader.exec_module = and_look
        return spec
