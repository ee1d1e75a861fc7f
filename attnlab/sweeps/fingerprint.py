"""Fingerprints of the code behind a run, so that an edited component's runs, and no others, are stale.

Of attnlab's own components the class is hashed, of all others the whole module: its syntax tree, without docstrings (and
comments), so that formatting and documenting change nothing. Where no source can be had, the bytecode. Metrics are no part
of a run; those that are not attnlab's own have fingerprints beside its own, and count where they are shown. Fields of the tree that are empty are left out: later versions of Python add such fields, and results stay good.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import sys
import textwrap
from collections.abc import Collection
from types import CodeType

from attnlab.plugins import BUILTIN
from attnlab.registry import Entry, entries, entry
from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.run import Run

__all__ = ["METRIC", "fingerprint", "fingerprints", "fingerprints_of_metrics"]

METRIC = "metric "  # how the role of a metric's fingerprint begins


def fingerprints(run: Run) -> dict[str, str]:
    """`{column: "name:hash"}` for each component of a run, those inside others included.

    Raises
    ------
    UnknownName, AmbiguousName
        When a component is not installed any more.
    """
    return {
        column: _of_entry(entry(kind, name))
        for role in ROLES
        for column, kind, name, _ in components_of(role, run.spec[role])
    }


def fingerprints_of_metrics(columns: Collection[str]) -> dict[str, str]:
    """`{"metric <column>": "name:hash"}` for those of the metrics that are installed and not attnlab's own."""
    return {
        METRIC + e.shown: _of_entry(e)
        for found in entries("metric").values()
        for e in found
        if e.shown in columns and e.distribution != BUILTIN
    }


def _of_entry(found: Entry) -> str:
    return f"{found.name}:{fingerprint(found.cls, whole_module=found.distribution != BUILTIN)}"


@functools.cache
def fingerprint(cls: type, whole_module: bool = False) -> str:
    """Sixteen hexadecimal digits for the code of a class, or of the module in which it stands."""
    module = _module_tree(cls.__module__)
    tree = module if whole_module or module is None else _find(module, cls.__qualname__)
    tree = tree or _own_tree(cls)
    text = _bytecode(cls) if tree is None else _written(_bare(tree))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _module_tree(name: str) -> ast.Module | None:
    module = sys.modules.get(name)
    if module is None:
        return None
    linecache.checkcache(getattr(module, "__file__", None))
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):  # built in, typed at a prompt, or a notebook's __main__
        return None


def _own_tree(cls: type) -> ast.AST | None:
    """The source of the class alone: in a notebook, its cell's."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return None


def _find(tree: ast.AST, qualname: str) -> ast.AST | None:
    """The class of that name; None where it is made by a function."""
    found: ast.AST | None = tree
    for word in qualname.split("."):
        classes = [n for n in getattr(found, "body", []) if isinstance(n, ast.ClassDef) and n.name == word]
        if not classes:
            return None
        found = classes[-1]
    return found


def _bare(tree: ast.AST) -> ast.AST:
    """The same tree without docstrings, changed in place."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del node.body[0]
    return tree


def _written(node: object) -> str:
    """The tree in words."""
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (f"{name}={_written(value)}" for name, value in ast.iter_fields(node) if value is not None and value != [])
    return f"{type(node).__name__}({', '.join(fields)})"


def _bytecode(cls: type) -> str:
    """What the functions of a class do, in order of their names."""
    parts = []
    for name, value in sorted(vars(cls).items()):
        inner = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(code := getattr(inner, "__code__", None), CodeType):
            parts.append((name, _code(code, inner.__doc__), repr(inner.__defaults__), repr(inner.__kwdefaults__)))
        elif isinstance(value, (bool, int, float, str)) and not name.startswith("__"):
            parts.append((name, repr(value), "", ""))
    return repr(parts)


def _code(code: CodeType, doc: str | None) -> str:
    constants = [
        _code(c, None) if isinstance(c, CodeType) else repr(c) for c in code.co_consts if doc is None or c != doc
    ]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))
