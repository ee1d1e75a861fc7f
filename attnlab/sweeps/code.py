"""The code behind a class: every module that can change its numbers, found by reading imports and names.

A module of attnlab counts as a whole, with every module of attnlab that it imports, at any depth and inside functions too. A
module that holds several components (such as `parts/similarities.py`) counts by name: a component counts with the functions,
constants and imports of that module that it uses, at any depth. Code that reads, stores, prints or analyses does not count.
The look-up of names does not count either, because a component that is looked up is another role of the run.

For other people's code, every module of the distribution counts: what is installed with it and the whole package. For a
single file, the modules beside it that it imports count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import attnlab
from attnlab.sources import Source, folder_of, source_of
from attnlab.sweeps.outlines import Outline, Outlines

__all__ = [
    "Module",
    "Node",
    "bare",
    "module_of",
    "names_where",
    "own_closure",
    "own_targets",
    "strangers_files",
    "written",
]

Raw = tuple[str | None, str | None]  # what is imported: a module and a name; or None and a name of the module itself
Node = tuple[str, str | None]  # a module of attnlab, and one name in it; None is the whole module

ROOT = Path(attnlab.__file__).parent
NO_NUMBERS = (
    *("cli", "__main__", "commands", "builtins", "hookspecs", "plugins", "registry", "settings", "errors", "version"),
    *(
        "boxes",
        "guard",
        "loading",
        "progress",
        "results",
        "sources",
        "sweeps",
        "analysis",
        "tables",
        "testing",
        "trial",
        "writing",
    ),
    "mechanisms.html",
)
_BY_NAME = ("attnlab.sweeps.execute",)  # counts by name, as a module of components does
_LOOSE = "."  # in an outline: the statements that belong to every name
_CODE = (".py", ".so", ".pyd")


class Module:
    """A module as it was imported: its tree without docstrings, what it defines, and what it imports.

    `by_name` says whether it counts name by name.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.edited = source.edited
        self.tree = bare(ast.parse(source.content))
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}  # bound name -> (module, name in it)
        self.loose: list[ast.stmt] = []  # statements that bind no name: part of whatever is taken
        n_components = 0
        for statement in getattr(self.tree, "body", []):
            n_components += _names_a_component(statement)
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for bound, target in _imported(statement, name):
                    self.imports[bound] = target
                    self.definitions.setdefault(bound, []).append(statement)
            elif bound_names := list(_bound(statement)):
                for bound in bound_names:
                    self.definitions.setdefault(bound, []).append(statement)
            else:
                self.loose.append(statement)
        self.by_name = n_components > 1 or name in _BY_NAME

    @functools.cached_property
    def digest(self) -> str:
        """Of the whole module."""
        return _digest(written(self.tree) + self.edited)

    def statements(self, name: str | None) -> list[ast.AST]:
        """Those that a name stands for; None is all of them."""
        return [self.tree] if name is None else [*self.definitions.get(name, []), *self.loose]

    def digest_of(self, name: str | None) -> str:
        """Of the statements of a name, of an import only what it binds the name to."""
        if name is None:
            return self.digest
        if name in self.imports:
            return _digest(repr((name, self.imports[name])))
        return _digest("".join(map(written, self.statements(name))) + self.edited)


def _names_a_component(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ClassDef) and any(
        isinstance(s, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "name" for t in s.targets)
        and isinstance(s.value, ast.Constant)
        and isinstance(s.value.value, str)
        for s in statement.body
    )


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a module binds."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _imported(node: ast.Import | ast.ImportFrom, here: str) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """(bound name, (module, name in it)) of an import; `import a.b` binds `a`."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, None)
        return
    package = here.rsplit(".", node.level)[0] if node.level else ""
    module = ".".join(filter(None, [package, node.module]))
    for alias in node.names:
        yield alias.asname or alias.name, (module, alias.name)


# -- attnlab's own ----------------------------------------------------------------------------------------------------
def _own_file(name: str) -> Path | None:
    place = os.path.join(ROOT, *name.split(".")[1:])
    return next((_path(f) for f in (f"{place}.py", os.path.join(place, "__init__.py")) if os.path.isfile(f)), None)


_path = functools.cache(Path)


_modules: dict[tuple[str, str], tuple[Source, Module]] = {}


def module_of(name: str, file: Path) -> Module | None:
    """A module of Python source, read once for each time that it is loaded; None if its source cannot be read."""
    try:
        source = source_of(file, name)
        kept = _modules.get((name, str(file)))
        if kept is None or kept[0] is not source:
            kept = _modules[name, str(file)] = source, Module(name, source)
    except (OSError, SyntaxError, ValueError):
        return None
    return kept[1]


_OUTLINES = Outlines(Path(__file__))
_outlines: dict[str, tuple[Source, Outline]] = {}


def _own(name: str) -> Outline:
    """What a module of attnlab's own defines and reaches."""
    file = _own_file(name)
    try:
        source = source_of(file, name) if file is not None else None
    except OSError:
        source = None
    if source is None:
        raise LookupError(f"attnlab's own module {name} has no source that can be read")
    kept = _outlines.get(name)
    if kept is None or kept[0] is not source:
        read = functools.partial(_outline, name, source)
        kept = _outlines[name] = source, _OUTLINES.get(name, source.content, source.edited, read)
    return kept[1]


def _outline(name: str, source: Source) -> Outline:
    try:
        module = Module(name, source)
    except (SyntaxError, ValueError):
        raise LookupError(f"attnlab's own module {name} has no source that can be read") from None
    names = {"": (module.digest, _raw(module, None))}
    if module.by_name:
        names |= {n: (module.digest_of(n), _raw(module, n)) for n in [*module.definitions, _LOOSE]}
    return Outline(module.by_name, names)


def _raw(module: Module, name: str | None) -> list[Raw]:
    if name is not None and name in module.imports:
        return [module.imports[name]]
    return list(dict.fromkeys(_raw_targets(module, module.statements(name), names=name is not None)))


def _counts(module: str) -> bool:
    inside = module.partition(".")[2]
    return bool(inside) and not any(inside == name or inside.startswith(f"{name}.") for name in NO_NUMBERS)


def _target(module: str, name: str | None) -> Node | None:
    """What an import of attnlab's reaches; None where that changes no number."""
    if module.partition(".")[0] != "attnlab":
        return None
    if name is not None and _own_file(f"{module}.{name}") is not None:
        return (f"{module}.{name}", None) if _counts(f"{module}.{name}") else None
    if module == "attnlab":
        where = names_where().get(name or "")
        return None if where is None else _target(where, name)
    if not _counts(module) or _own_file(module) is None:
        return None
    return (module, name) if name and _own(module).by_name and name in _own(module).names else (module, None)


def names_where() -> dict[str, str]:
    """The modules of the names that `attnlab` itself gives."""
    return attnlab._WHERE


def own_targets(module: Module, statements: Iterable[ast.AST]) -> Iterator[Node]:
    """What these statements of a module reach in attnlab by import."""
    yield from (t for target in _raw_targets(module, statements, names=False) if (t := _target(*target)) is not None)


def _raw_targets(module: Module, statements: Iterable[ast.AST], names: bool) -> Iterator[Any]:
    """What statements import, as (module, name), and with `names` what of their own module they use, as (None, name)."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from (target for _, target in _imported(node, module.name))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if module.imports.get(node.value.id) == ("attnlab", None):  # import attnlab; attnlab.attend(...)
                    yield "attnlab", node.attr
            elif names and isinstance(node, ast.Name):
                if node.id in module.imports:
                    yield module.imports[node.id]
                elif node.id in module.definitions:
                    yield None, node.id


def _reached(module: str, raw: Iterable[Raw]) -> Iterator[Node]:
    for where, name in raw:
        target = (module, name) if where is None else _target(where, name)
        if target is not None:
            yield target


def own_closure(roots: Iterable[Node], without: Collection[Node] = ()) -> dict[Node, str]:
    """Everything that some of attnlab's code reaches in attnlab, itself included, but for what is left out: node -> digest."""
    found: dict[Node, str] = {}
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in found and node not in without:
            outline = _own(node[0])
            name = (node[1] or "") if outline.by_name else ""
            found[node], raw = outline.names[name if name in outline.names else _LOOSE]
            waiting += _reached(node[0], raw)
    _OUTLINES.keep()
    return found


# -- of others --------------------------------------------------------------------------------------------------------
def strangers_files(module: str, distribution: str) -> dict[Path, str]:
    """The files of code of a module's package and distribution, each with the name of its module."""
    found: dict[Path, str] = {}
    package = module
    while package and not getattr(sys.modules.get(package), "__path__", None):
        package = package.rpartition(".")[0]
    outer = package
    while (outer := outer.rpartition(".")[0]) and getattr(sys.modules.get(outer), "__file__", None):
        package = outer  # a namespace package, which has no file, may hold other people's packages
    if package:
        for folder in map(Path, sys.modules[package].__path__):
            found |= {f: _name_below(package, folder, f) for f in sorted(folder.rglob("*")) if f.suffix in _CODE}
    file = getattr(sys.modules.get(module), "__file__", None)
    if isinstance(file, str):
        found[Path(file)] = module
    found |= _installed(distribution)
    top = (package or module).partition(".")[0]
    if (beside := folder_of(top)) is not None:
        _add_beside(found, beside)
    return {f.resolve(): name for f, name in found.items()}


def _name_below(package: str, folder: Path, file: Path) -> str:
    words = file.relative_to(folder).with_suffix("").parts
    return ".".join([package, *words]).removesuffix(".__init__")


@functools.cache
def _installed(distribution: str) -> dict[Path, str]:
    """The code that is installed with a distribution; nothing for one that is edited where it lies."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    names = {f: ".".join(f.with_suffix("").parts).removesuffix(".__init__") for f in files if f.suffix in _CODE}
    return {
        path: name for f, name in names.items() if ".." not in f.parts and (path := Path(str(f.locate()))).is_file()
    }


def _add_beside(found: dict[Path, str], folder: Path) -> None:
    """Add the modules of a folder that the files found so far import, at any depth."""
    waiting = list(found.items())
    while waiting:
        file, name = waiting.pop()
        module = module_of(name, file) if file.suffix == ".py" else None
        for node in [] if module is None else ast.walk(module.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for _, (target, inner) in _imported(node, name):
                    for dotted in (target, f"{target}.{inner}"):
                        path = folder.joinpath(*dotted.split("."))
                        for beside in (path.with_suffix(".py"), path / "__init__.py"):
                            if beside.is_file() and beside not in found and dotted.partition(".")[0] != "attnlab":
                                found[beside] = dotted
                                waiting.append((beside, dotted))


# -- trees ------------------------------------------------------------------------------------------------------------
def bare(tree: Any) -> Any:
    """The same tree without docstrings, `__all__` and what only type checkers read, changed in place."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del body[0]
        body[:] = [kept for statement in body for kept in _run(statement)]
    return tree


def _run(statement: ast.stmt) -> list[ast.stmt]:
    """A statement as it runs: of `if TYPE_CHECKING` the other branch."""
    if isinstance(statement, ast.If) and ast.unparse(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return statement.orelse
    if isinstance(statement, ast.Assign) and [ast.unparse(t) for t in statement.targets] == ["__all__"]:
        return []
    return [statement]


def written(node: object) -> str:
    """The tree in words; fields that are empty are left out, since later versions of Python add such fields."""
    if isinstance(node, list):
        return f"[{', '.join(map(written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (f"{name}={written(value)}" for name, value in ast.iter_fields(node) if value is not None and value != [])
    return f"{type(node).__name__}({', '.join(fields)})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
