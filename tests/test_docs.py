"""The documentation is true: README's examples run, every docstring example gives what it says."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import attnlab
from attnlab.registry import KINDS, entries

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def modules():
    for found in pkgutil.walk_packages(attnlab.__path__, "attnlab."):
        if found.name.startswith("attnlab.kernels.compiled") and importlib.util.find_spec("numba") is None:
            continue  # loops that numba compiles, where it is installed
        if not found.name.endswith("__main__"):
            yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_of_attnlab_has_an_example(kind):
    without = []
    for found in entries(kind).values():
        for entry in found:
            if (
                entry.distribution == "attnlab"
                and ">>>" not in (inspect.getdoc(entry.cls) or "")
                and kind != "executor"
            ):
                without.append(entry.name)
    assert without == []


def test_readme_python_runs(tmp_path):
    code = "\n".join(block for block in blocks(README, "python") if "@hookimpl" not in block)
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    process = subprocess.run([sys.executable, "readme.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "failed 0" in process.stdout or "passed" in process.stdout


def test_readme_experiment_reads_and_plans():
    from ruamel.yaml import YAML

    from attnlab.sweeps.experiment.read import read
    from attnlab.sweeps.plan import plan

    (text,) = blocks(README, "yaml")
    assert len(plan(read(YAML(typ="safe").load(text)))) == 2 * 3 * 5


def test_readme_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_command_in_readme_exists():
    from attnlab.cli import cli

    for block in blocks(README, "console"):
        for line in block.splitlines():
            match = re.match(r"attnlab (\w+)", line)
            if match:
                assert match[1] in cli.commands, line
