"""Fingerprints of the code behind a run, so that runs whose code was edited, and no others, are stale.

A fingerprint is `name:theirs/own`: of a component's name, of the code of its distribution (`-` for attnlab's own parts), and
of the code of attnlab that it reaches (`sweeps/code.py` says which). Both are hashes of syntax trees without docstrings and
comments, taken from what was imported. Kernels that replace a class are code behind that class. The code that executes a run
has a fingerprint as well. Each metric has one too, which counts where the metric is shown.

A release whose edits change no number lists fingerprints that count as equal in `equal_fingerprints.json`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from attnlab.plugins import BUILTIN
from attnlab.registry import Entry, entries, entry
from attnlab.sources import source_of
from attnlab.sweeps.code import Node, bare, module_of, own_closure, own_targets, strangers_files, written
from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.run import Run

__all__ = [
    "EXECUTION",
    "METRIC",
    "Changes",
    "changes",
    "execution",
    "fingerprint",
    "fingerprints",
    "fingerprints_of_metrics",
    "unmeasured",
]

METRIC = "metric "  # how the role of a metric's fingerprint begins
EXECUTION = "execution"  # the role of the code that executes a run
_OWN = "-"  # what attnlab's own parts have where others have the hash of their distribution
_EXECUTE = "attnlab.sweeps.execute"
_CARRIES_OUT = ("splits_of", "_learns", "_fit_best", "_used", "_check", "measure")
_INTERFACES: Node = ("attnlab.interfaces", None)
_BINDING: Node = ("attnlab.mechanisms.binding", None)  # what mechanisms made of mechanisms run through


def fingerprints(run: Run) -> dict[str, str]:
    """`{column: "name:theirs/own"}` for each component of a run, those inside others included, and for its execution.

    Raises
    ------
    UnknownName, AmbiguousName
        When a component is not installed any more.
    """
    found = {
        column: _of_entry(entry(kind, name))
        for role in ROLES
        for column, kind, name, _ in components_of(role, run.spec[role])
    }
    return {**found, EXECUTION: execution()}


def fingerprints_of_metrics(columns: Collection[str]) -> dict[str, str]:
    """`{"metric <column>": "name:theirs/own"}` for those of the metrics that are installed."""
    return {METRIC + e.shown: _of_entry(e) for found in entries("metric").values() for e in found if e.shown in columns}


def _of_entry(found: Entry) -> str:
    return f"{found.name}:{fingerprint(found.cls, found.distribution)}"


class _Kept(NamedTuple):
    value: str
    pending: list[tuple[Path, str]]  # files whose modules were not loaded yet: what is loaded later may differ


_kept: dict[tuple[type, str], _Kept] = {}


def fingerprint(cls: type, distribution: str = BUILTIN) -> str:
    """`theirs/own` of a class: sixteen hexadecimal digits each, or `-` for theirs where it is attnlab's own."""
    kept = _kept.get((cls, distribution))
    if kept is None or any(module in sys.modules for _, module in kept.pending):
        kept = _kept[cls, distribution] = _own_part(cls) if distribution == BUILTIN else _strangers(cls, distribution)
    return kept.value


def _own_part(cls: type) -> _Kept:
    me: Node = (cls.__module__, cls.__qualname__.partition(".")[0])
    roots = [me]
    others: set[Node] = set()  # what a kernel replaces besides is another part of the run, or of another run
    for found in entries("kernel").values():
        for e in found:
            if e.distribution == BUILTIN and _replaces(e.cls, cls):
                roots.append((e.cls.__module__, e.cls.__name__))
                others |= {(one.__module__, one.__name__) for one in _classes(getattr(e.cls, "replaces", None))}
    return _Kept(f"{_OWN}/{_hash_of_own(roots, others - {me})}", [])


def _replaces(kernel: type, cls: type) -> bool:
    return cls in _classes(getattr(kernel, "replaces", None))


def _classes(replaced: Any) -> Iterator[type]:
    """The classes in what a kernel replaces: one, three, or several threes."""
    if isinstance(replaced, tuple):
        for one in replaced:
            yield from _classes(one)
    elif isinstance(replaced, type):
        yield replaced


def _hash_of_own(roots: Collection[Node], without: Collection[Node] = ()) -> str:
    return _hash(sorted(own_closure(roots, without).values()))


@functools.cache
def execution() -> str:
    """The fingerprint of the code that executes a run, `execute:-/own`."""
    return f"execute:{_OWN}/{_hash_of_own([(_EXECUTE, name) for name in _CARRIES_OUT])}"


def _strangers(cls: type, distribution: str) -> _Kept:
    """All code of the distribution, and what it imports of attnlab."""
    texts: list[str] = []
    roots: set[Node] = {_INTERFACES, *([_BINDING] if getattr(cls, "kind", "") == "mechanism" else [])}
    pending = []
    for file, name in strangers_files(cls.__module__, distribution).items():
        module = module_of(name, file) if file.suffix == ".py" else None
        if module is not None:
            texts.append(module.digest)
            roots.update(own_targets(module, [module.tree]))
        elif file.suffix != ".py" and file.is_file():
            texts.append(hashlib.sha256(source_of(file, name).content).hexdigest())
        if name not in sys.modules:
            pending.append((file, name))
    if not texts:  # typed at a prompt or in a notebook
        tree = _own_tree(cls)
        texts = [_bytecode(cls) if tree is None else written(bare(tree))]
    return _Kept(f"{_hash(sorted(texts))}/{_hash_of_own(roots)}", pending)


def _hash(texts: Collection[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


# -- without a file ---------------------------------------------------------------------------------------------------
def _own_tree(cls: type) -> ast.AST | None:
    """The source of the class alone: in a notebook, its cell's."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return None


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


# -- comparing --------------------------------------------------------------------------------------------------------
class Changes(NamedTuple):
    """The roles behind which code changed, each with its component: that of its own distribution, and attnlab's."""

    theirs: list[str]
    own: list[str]
    of_earlier_form: bool = False  # the kept fingerprint comes from an attnlab whose fingerprints covered less code


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Changes:
    """What changed. Metrics that are not shown or are new do not count, and neither does code that counts as equal."""
    found = Changes([], [], any("/" not in value for value in before.values()))
    for role in [*now, *(role for role in before if role not in now)]:
        old, new = before.get(role), now.get(role)
        if old == new or (role.startswith(METRIC) and (old is None or new is None)):
            continue
        name = (new or old or "").partition(":")[0]
        said = role if role.startswith(METRIC) or role == EXECUTION else f"{role} {name}"
        theirs, own = _differ(old, new, name)
        if theirs:
            found.theirs.append(said)
        elif own:
            found.own.append(said)
    return found


def unmeasured(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The metrics of others, by column, that are shown now and that a run was not measured by."""
    theirs = [role for role, value in now.items() if role.startswith(METRIC) and f":{_OWN}/" not in value]
    return [role.removeprefix(METRIC) for role in theirs if role not in before]


def _differ(old: str | None, new: str | None, name: str) -> tuple[bool, bool]:
    """Whether a component's own distribution changed, and whether attnlab did."""
    if old is None or new is None:
        own = f":{_OWN}/" in (old or new or "")
        return not own, own
    if "/" not in old:
        return False, True
    (old_name, _, old_code), (_, _, new_code) = (
        old.partition(":"),
        new.partition(":"),
    )  # of a store: it may say anything
    (old_theirs, _, old_own), (new_theirs, _, new_own) = old_code.partition("/"), new_code.partition("/")
    theirs = old_name != name or old_theirs != new_theirs
    return theirs, old_own != new_own and not _equal(name, old_own, new_own)


def _equal(name: str, old: str, new: str) -> bool:
    return any({old, new} <= set(hashes) for hashes in _listed().get(name, ()))


@functools.cache
def _listed() -> dict[str, list[list[str]]]:
    """By component (or `execute`): lists of hashes of attnlab's own code that give the same numbers."""
    listed: dict[str, Any] = json.loads((files("attnlab") / "sweeps" / "equal_fingerprints.json").read_text("utf-8"))
    return listed
