"""The house rules that a machine can hold: imports point one way, files stay small, nothing is swallowed."""

from __future__ import annotations

import ast
import functools
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import attnlab
from attnlab import errors

ROOT = Path(attnlab.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Low to high: a module imports from lower lines only, and within its own name. The longest name that fits a module counts.
# (CONTRIBUTING.md draws the same.)
LAYERS = [
    ["errors", "findings", "sources", "progress", "process", "threads", "descriptors", "shared_state", "writing"],
    ["staying"],
    ["relied_on"],
    ["guard"],
    ["shapes", "gradients", "libraries", "boxes", "trial"],
    ["arrays"],
    ["precision"],
    ["data"],
    ["component", "bitext", "version"],
    ["sizes"],
    ["interfaces"],
    ["kinds"],
    ["results", "nested"],
    ["injection"],
    ["settings", "hookspecs", "parts", "tasks", "metrics"],
    ["plugins"],
    ["registry"],
    ["mechanisms", "tables", "loading"],
    ["models.seq2seq.recurrence"],  # references, below their fast twins
    ["models.seq2seq.decoders"],
    ["kernels"],
    ["models"],
    ["sweeps"],
    ["analysis", "testing"],
    ["commands"],
    ["builtins", "cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
COMPONENTS = ("parts", "tasks", "metrics")
MATHS = ("parts", "mechanisms")


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def layer_of(module: str) -> str:
    """The longest name in `LAYERS` that fits a module; the first word where none does."""
    words = module.split(".")
    names = [".".join(words[:n]) for n in range(len(words), 0, -1)]
    return next((name for name in names if name in RANK), words[0])


def imported(file: Path) -> dict[str, int]:
    """The modules of attnlab that a file imports, anywhere in it, with the line; "" for the package itself."""
    found = {}
    tree = tree_of(file)
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno}: imports are absolute"
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for path in paths:
            package, *rest = path.split(".")
            if package == "attnlab":
                names = [".".join(rest[:n]) for n in range(len(rest), 0, -1)]
                found[next((name for name in names if name in MODULES), "")] = node.lineno
    return found


def offenders(rule) -> list[str]:
    """What a rule says of all files: `rule(file)` gives sentences."""
    return [f"{name_of(file)}: {said}" for file in FILES for said in rule(file)]


def test_every_module_has_its_layer():
    assert {layer_of(module) for module in MODULES} - {"__init__"} <= set(RANK)


def test_imports_point_one_way():
    def rule(file):
        here = layer_of(module_of(file))
        if here == "__init__":
            return  # lazy: see test_importing_is_cheap
        for module, line in imported(file).items():
            there = layer_of(module) if module else ""
            if not module:
                if RANK[here] < RANK["sweeps"]:
                    yield f"line {line} imports attnlab, and so everything"
            elif here != there and RANK[there] >= RANK[here]:
                yield f"line {line} ({here}) imports {module}, which is not below it"

    assert offenders(rule) == []


def circles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """The sets of modules that import each other, directly or through others: the strongly connected components."""
    reached = {}
    for start in graph:
        found, ahead = set(), [start]
        while ahead:
            new = graph[ahead.pop()] - found
            found |= new
            ahead += new
        reached[start] = found
    return sorted({tuple(sorted(n for n in reached[m] if m in reached[n])) for m in graph if m in reached[m]})


def test_no_circle_of_imports_anywhere_inside_packages_too():
    """Imports inside functions count; imports for type checkers do not, nor does the lazy `import attnlab`."""
    graph = {module: set(imported(file)) - {"", module} for module, file in MODULES.items()}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [("b", "c")]
    assert circles(graph) == []


def test_a_component_never_imports_the_registry():
    def rule(file):
        if layer_of(module_of(file)) in COMPONENTS:
            yield from {"", "registry", "plugins", "hookspecs", "builtins"} & set(imported(file))

    assert offenders(rule) == []


def test_maths_never_imports_kernels():
    def rule(file):
        if layer_of(module_of(file)) not in MATHS:
            return
        yield from (module for module in imported(file) if layer_of(module) == "kernels")
        for node in ast.walk(tree_of(file)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from {"numba", "sklearn", "pandas", "torch", "jax"} & {name.split(".")[0] for name in names}

    assert offenders(rule) == []


def test_the_registry_never_imports_a_component():
    allowed = {"component", "errors", "injection", "interfaces", "kinds", "nested", "plugins", "settings", "sources"}
    assert set(imported(ROOT / "registry.py")) <= allowed
    assert set(imported(ROOT / "interfaces.py")) <= {"component", "data", "errors", "sizes"}
    assert set(imported(ROOT / "plugins.py")) <= {
        "errors",
        "guard",
        "hookspecs",
        "kinds",
        "sources",
        "staying",
        "trial",
        "version",
    }
    assert set(imported(ROOT / "kinds.py")) <= {"interfaces"}


def test_nothing_is_swallowed():
    def rule(file):
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ExceptHandler):
                if node.type is None:
                    yield f"line {node.lineno}: a bare except"
                if all(isinstance(line, ast.Pass) for line in node.body):
                    yield f"line {node.lineno}: except ...: pass"

    assert offenders(rule) == []


def test_a_file_is_read_in_one_sitting():
    assert [name_of(file) for file in FILES if len(file.read_text().splitlines()) > 450] == []


# -- what an import costs: real processes ----------------------------------------------------------------------------
HEAVY = ("pandas", "sklearn", "numba", "autograd", "scipy", "pydantic", "matplotlib", "numpy", "rich.console")


def loaded_after(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded after the code."""
    program = f"import sys\n{code}\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


def test_importing_is_cheap():
    assert loaded_after("import attnlab; dir(attnlab)") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["--version"]], ids=" ".join)
def test_help_is_cheap(arguments):
    code = f"""
from attnlab.cli import main
try:
    main({arguments!r})
except SystemExit as stop:
    assert not stop.code, stop.code"""
    assert loaded_after(code).isdisjoint(("pandas", "sklearn", "numba", "autograd"))


def test_attending_needs_neither_pandas_nor_sklearn():
    code = "import attnlab; attnlab.attend([[1.0]], [[1.0]], [[1.0]], normaliser='sparsemax')"
    unwanted = {"pandas", "sklearn"}
    if importlib.util.find_spec("numba") is None:  # where it is installed, it compiles the kernels
        unwanted.add("numba")
    assert loaded_after(code).isdisjoint(unwanted)


def test_a_process_that_does_runs_needs_neither_pandas_nor_sklearn():
    """What it has loaded is copied, page by page, for each process that is forked from it."""
    code = """
from attnlab.process import claim
claim()
from attnlab.registry import KINDS, entries
from attnlab.sweeps.executors.rehearsal import rehearse
[entries(kind) for kind in KINDS]
rehearse()"""
    assert loaded_after(code).isdisjoint(("pandas", "sklearn"))


def test_planning_loads_nothing_that_computes_or_paints(tmp_path):
    experiment = tmp_path / "few.yaml"
    experiment.write_text("attnlab: 1\nquestion: Few?\ntask: lookup\nmechanism: {similarity: dot}\n", encoding="utf-8")
    code = f"""
from attnlab.process import claim
claim()
from attnlab.cli import main
try:
    main(["plan", {str(experiment)!r}, "--store", {str(tmp_path / "s.db")!r}])
except SystemExit as stop:
    assert not stop.code, stop.code"""
    assert loaded_after(code).isdisjoint(("scipy", "rich.console", "sklearn"))


def test_every_library_with_threads_is_told_to_have_one():
    """SciPy comes with a BLAS of its own. One that is loaded after the look has as many threads as the machine has processors."""
    code = """
from attnlab.sweeps.execute import threads
known = {library.filepath for library in threads().lib_controllers}
import numpy.linalg, scipy.linalg, scipy.special, threadpoolctl
assert known == {library["filepath"] for library in threadpoolctl.threadpool_info()}"""
    assert "scipy" in loaded_after(code)


# -- public names ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", attnlab.__all__)
def test_every_public_name_resolves(name):
    assert getattr(attnlab, name) is not None
    assert name in dir(attnlab)


def test_type_checkers_see_every_public_name():
    """What is loaded lazily is written out under TYPE_CHECKING too."""
    (block,) = (
        node
        for node in tree_of(ROOT / "__init__.py").body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    raised = {name for name in attnlab.__all__ if hasattr(errors, name)}
    assert {name for name in attnlab.__all__ if name[0].isupper()} - raised <= seen | raised


def test_an_unknown_public_name_gets_the_nearest():
    with pytest.raises(AttributeError, match=r"no attribute 'atend' \(did you mean attend"):
        attnlab.atend  # noqa: B018


def test_the_tree_of_exceptions_is_drawn_as_it_is():
    drawn = {}
    for line in errors.__doc__.splitlines():
        if "──" in line:
            name, *base = line.split("── ")[1].split("  ")[0].split(" (")
            drawn[name.strip()] = base[0].rstrip(") ") if base else None
    real = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.AttnlabError) and not name.startswith("_")
    }
    assert set(drawn) == set(real) - {"AttnlabError"}
    for name, base in drawn.items():
        builtin = next(b.__name__ for b in real[name].__mro__ if b.__module__ == "builtins")
        assert builtin == (base or "Exception"), name
    assert "\nAttnlabError " in errors.__doc__
    assert set(real) <= set(errors.__all__)
    assert set(real) <= set(attnlab.__all__)


def test_files_of_users_are_written_whole():
    """Through `attnlab.writing`, or as its own file beside the one that it takes the place of; a full disk leaves no half of one."""
    beside = {"writing.py", "sweeps/outlines.py", "sweeps/upkeep/moves.py", "analysis/report/page.py"}
    writes = {"write_text", "write_bytes"}

    def writing(node):
        if not isinstance(node, ast.Call):
            return False
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return name in writes or (name == "open" and any(mode in ("w", "wb", "a", "x", "r+") for mode in modes))

    found = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if any(writing(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    }
    assert found <= beside, found - beside
