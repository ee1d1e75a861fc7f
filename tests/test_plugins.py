"""Discovery in this process, and the page of hooks: every example on it is run. (Real wheels: tests/plugins.)"""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import numpy
import pluggy
import pytest

import attnlab
from attnlab import hookspecs, registry
from attnlab.errors import AttnlabError
from attnlab.injection import check_class
from attnlab.kinds import HOOKS, INTERFACES
from attnlab.plugins import Plugin, Plugins, configure, plugins
from attnlab.testing import check_component

SPECS = {n: f for n, f in vars(hookspecs).items() if n.startswith("attnlab_")}
EVENTS = ["attnlab_run_finished", "attnlab_sweep_finished", "attnlab_sweep_started"]
KIND_OF_HOOK = {hook: kind for kind, hook in HOOKS.items()}

FINE = '''
from attnlab import Mask, hookimpl
import numpy as np

class All(Mask):
    """All."""
    name = "{name}"

    def allow(self, q_index, k_index):
        return np.ones((1, 1), dtype=bool)

@hookimpl
def attnlab_masks():
    return [All]
'''


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Load sources as plugin files, and forget them afterwards."""
    monkeypatch.setenv("ATTNLAB_PLUGINS", "")

    def load(**sources):
        paths = []
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            paths.append(str(tmp_path / f"{name}.py"))
        configure(files=paths)
        return {r.name: r for r in plugins().records}

    yield load
    configure()
    for name in [n for n in sys.modules if n.startswith("attnlab_file_plugin_")]:
        del sys.modules[name]


# -- the page of hooks ------------------------------------------------------------------------------------------------
def test_every_kind_has_a_hook_and_every_other_hook_is_an_event():
    assert list(HOOKS) == list(INTERFACES) == list(registry.KINDS)
    assert (
        sorted(set(SPECS) - set(KIND_OF_HOOK) - {"attnlab_suites"}) == EVENTS
    )  # which gives directories, no components
    for hook in KIND_OF_HOOK:
        assert not inspect.signature(SPECS[hook]).parameters, "nouns give, and take nothing"


def example(hook):
    doc = inspect.cleandoc(SPECS[hook].__doc__ or "")
    assert re.match(r"\w.*[.?]", doc.splitlines()[0]), "a first line that says what it is for"
    return textwrap.dedent(doc.partition("Example::")[2])


def run_example(hook, monkeypatch):
    """Execute the docstring's example as the module of a plugin."""
    package = types.ModuleType("my_package")  # what the kernel's example accelerates
    package.Laplace = attnlab.get("similarity", "neg_l2").__class__
    monkeypatch.setitem(sys.modules, "my_package", package)
    module = types.ModuleType(f"example_of_{hook}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example(hook), f"<example of {hook}>", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("hook", SPECS)
def test_the_example_is_a_plugin(hook, monkeypatch):
    module = run_example(hook, monkeypatch)
    manager = pluggy.PluginManager("attnlab")
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    assert [i.function for i in getattr(manager.hook, hook).get_hookimpls()] == [getattr(module, hook)]


@pytest.mark.parametrize("hook", KIND_OF_HOOK)
def test_the_example_gives_classes_that_can_be_registered(hook, monkeypatch):
    module = run_example(hook, monkeypatch)
    monkeypatch.setattr(registry, "_registered", {})
    kind = KIND_OF_HOOK[hook]
    classes = list(getattr(module, hook)())
    assert classes
    for cls in classes:
        check_class(kind, cls)
        attnlab.register(cls)
        assert cls.summary().endswith(".")
        made = attnlab.get(kind, cls.name)
        assert type(made) is cls
        report = check_component(cls)
        assert report, f"what the page of hooks shows must keep the contract:\n{report}"


def test_builtins_come_in_by_the_same_door():
    own = plugins().records[0]
    assert (own.name, own.distribution, own.version, own.status) == ("attnlab", "attnlab", attnlab.__version__, "ok")
    given = {f.attnlab_impl["specname"] or n for n, f in vars(own.module).items() if n.startswith("attnlab_")}
    assert given <= set(SPECS)
    assert {"attnlab_similarities", "attnlab_normalisers", "attnlab_tasks", "attnlab_metrics"} <= given


# -- files -------------------------------------------------------------------------------------------------------------------
def test_a_file_is_a_plugin(files):
    records = files(mine=FINE.format(name="mine_all"))
    assert records["mine"].status == "ok"
    assert "mine_all" in attnlab.names("mask")
    assert registry.entry("mask", "file:mine_all").version == "mine.py"
    configure()
    assert "mine_all" not in attnlab.names("mask")


def test_a_missing_file_is_an_error(tmp_path):
    configure(files=[str(tmp_path / "nowhere.py")])
    try:
        with pytest.raises(AttnlabError, match=r"nowhere\.py: no such file"):
            plugins()
    finally:
        configure()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("def f(:", "SyntaxError"),
        (FINE.replace("attnlab_masks", "attnlab_mask"), "unknown hook 'attnlab_mask' (did you mean attnlab_masks"),
        (FINE.replace("@hookimpl\n", ""), "attnlab_masks is not marked: write @hookimpl above it"),
        (FINE.replace("attnlab_masks()", "attnlab_masks(config)"), "config"),
        (FINE.replace("return [All]", "return [All()]"), "is not a class"),
        (FINE.replace("return [All]", "return All"), "TypeError"),
        (FINE.replace("return [All]", "return None"), "TypeError"),
        (FINE.replace("return [All]", "return [int]"), "int must derive from attnlab.Mask to be a mask"),
        (FINE.replace("return [All]", "raise KeyError('x')"), "attnlab_masks: KeyError: 'x' (at "),
        (FINE.replace("return [All]", "return [All, All]"), "gives the mask 'bad' twice"),
        (FINE.replace("return [All]", "yield All\n    1 / 0"), "ZeroDivisionError"),
        (
            FINE.replace("self, q_index, k_index)", "self, q_indices, k_index)"),
            "unknown argument 'q_indices' (did you mean",
        ),
        (FINE.replace("{name}", "causal"), "the mask name 'causal' is given by"),
    ],
)
def test_a_broken_plugin_has_its_reason_and_stops_nobody(files, source, reason):
    records = files(bad=source.replace("{name}", "bad"), good=FINE.format(name="good_all"))
    names = attnlab.names("mask")
    assert records["bad"].status == "broken"
    assert reason in records["bad"].reason
    assert {"good_all", "window"} <= set(names)
    assert records["good"].status == "ok"


def test_a_class_that_breaks_the_contract_takes_no_other_with_it(files):
    records = files(half=FINE.format(name="half_all").replace("return [All]", "return [int, All]"))
    assert "half_all" in attnlab.names("mask")
    assert "int must derive" in records["half"].reason


def test_a_hook_may_be_a_generator(files):
    records = files(gen=FINE.format(name="gen_all").replace("return [All]", "yield All"))
    assert "gen_all" in attnlab.names("mask")
    assert records["gen"].status == "ok"


def test_a_keyboard_interrupt_that_nobody_pressed_is_the_plugins(files):
    records = files(stop="raise KeyboardInterrupt", fine=FINE.format(name="fine_all"))
    assert (records["stop"].status, records["stop"].reason[:17]) == ("broken", "KeyboardInterrupt")
    assert "fine_all" in attnlab.names("mask")


# -- events ---------------------------------------------------------------------------------------------------------------
def test_what_an_event_hook_raises_is_told_and_goes_no_further(files):
    files(
        loud="from attnlab import hookimpl\n@hookimpl\ndef attnlab_run_finished(run):\n    raise ValueError(run)\n",
        heard="from attnlab import hookimpl\nseen = []\n"
        "@hookimpl\ndef attnlab_run_finished(result, run):\n    seen.append((run, result))\n",
    )
    told = plugins().report("attnlab_run_finished", lambda: {"run": "a run", "result": "its result"})
    assert len(told) == 1
    assert "attnlab_run_finished raised ValueError: a run" in told[0]
    assert sys.modules["attnlab_file_plugin_heard"].seen == [("a run", "its result")]


# -- records --------------------------------------------------------------------------------------------------------------
def test_a_record_keeps_each_reason_once():
    record = Plugin("p", "d", "1", "m")
    for reason in ("one", "two", "one"):
        record.broken(reason)
    assert (record.status, record.reason) == ("broken", "one; two")


def test_nothing_but_its_own_when_pinned_to_nothing():
    assert [r.name for r in Plugins(only=[]).records] == ["attnlab"]


def test_a_pin_to_what_is_not_there_is_noted():
    assert Plugins(only=["nowhere"]).notes == ["ATTNLAB_PLUGINS names nowhere, which is not installed"]


# -- a source tree that is not installed ------------------------------------------------------------------------------
def test_a_source_tree_that_is_not_installed_works_and_says_what_it_cannot_know(tmp_path):
    """A fresh interpreter that has everything but attnlab's metadata."""
    source = Path(attnlab.__file__).parents[1]
    for entry in Path(numpy.__file__).parents[1].iterdir():
        if "attnlab" not in entry.name:
            (tmp_path / entry.name).symlink_to(entry)
    code = f"""
import sys
sys.path[:0] = [{str(source)!r}, {str(tmp_path)!r}]
import attnlab, importlib.metadata
assert "attnlab" not in {{d.name for d in importlib.metadata.distributions()}}
print(attnlab.attend([[1.0]], [[1.0]], [[2.0]]))
from attnlab.cli import main
main(["plugins"])"""
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.startswith("[[2.]]"), done.stderr
    assert "is not installed" in done.stdout + done.stderr
    assert attnlab.__version__ in done.stdout


def test_attnlab_comes_in_by_its_own_entry_point():
    """Declared in pyproject.toml as any plugin's is."""
    project = tomllib.loads((Path(attnlab.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["attnlab"] == {"attnlab": "attnlab.builtins"}
    assert plugins().records[0].where == "attnlab.builtins"


LIBRARIES = (
    "dask",
    "jax",
    "matplotlib.pyplot",
    "numba",
    "pandas",
    "pyarrow",
    "scipy.stats",
    "sklearn",
    "torch",
    "unittest.mock",
)


def test_a_plugin_may_be_the_first_that_imports_a_library(tmp_path):
    """Some of them change functions of Python (torch `inspect.getfile`) or how its objects are pickled (dask): for good reasons."""
    there = [name for name in LIBRARIES if importlib.util.find_spec(name.partition(".")[0])]
    for name in there:
        (tmp_path / f"first_{name.replace('.', '_')}.py").write_text(f"import {name}\n", encoding="utf-8")
    options = [word for file in sorted(tmp_path.glob("*.py")) for word in ("--plugin", str(file))]
    command = [sys.executable, "-m", "attnlab", "plugins", *options]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout
    rows = [line for line in shown.splitlines() if line.startswith("first_")]
    assert len(rows) == len(there)
    assert not [row for row in rows if "broken" in row]
