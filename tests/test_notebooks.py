"""The notebooks run from the first cell to the last, as Jupyter would run them, and hold what they showed when they were made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 200_000  # bytes, pictures included

FEW = {
    r'"steps": \d+': '"steps": 2',
    r'"seeds": \d+': '"seeds": 2',
    r'"n_train": \d+': '"n_train": 16',
}  # the others learn in earnest with the marker long

# What Jupyter does with a cell, without a server: run it, and show what its last line is worth. The packages are imported once, and
# each notebook has a process that is forked from that one.
RUN = """
import ast, json, os, sys, traceback
import attnlab, matplotlib.pyplot

def run(cells):
    names = {"__name__": "__main__"}
    for number, source in enumerate(cells):
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            print(shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown))

def child(folder, cells):
    os.makedirs(folder)
    os.chdir(folder)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(stream.name.strip("<>"), os.O_WRONLY | os.O_CREAT), stream.fileno())
    try:
        run(cells)
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush(), sys.stderr.flush()

notebooks = json.load(sys.stdin)
if not hasattr(os, "fork"):
    for folder, cells in notebooks.items():
        run(cells)
    sys.exit()
for folder, cells in notebooks.items():
    if os.fork() == 0:
        os._exit(child(folder, cells))
    print(json.dumps([folder, os.waitstatus_to_exitcode(os.wait()[1])]))
"""


def outcomes(folder, few):
    """Of each notebook that the guide has: its status, what it printed, and its errors."""
    pytest.importorskip("matplotlib")
    sources = {}
    for path in NOTEBOOKS:
        each = [re.sub(r"(?m)^%.*$", "", "".join(cell["source"])) for cell in cells(path, "code")]
        if few and path.stem != "attention":
            for pattern, less in FEW.items():
                each = [re.sub(pattern, less, source) for source in each]
        sources[path.stem] = each
    (folder / "run.py").write_text(RUN, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "run.py"],
        input=json.dumps(sources),
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
    )
    assert process.returncode == 0, process.stderr
    if not hasattr(os, "fork"):
        return dict.fromkeys(sources, (0, process.stdout, process.stderr))
    statuses = dict(json.loads(line) for line in process.stdout.splitlines())
    said = {n: [(folder / n / s).read_text(encoding="utf-8") for s in ("stdout", "stderr")] for n in sources}
    return {name: (status, *said[name]) for name, status in statuses.items()}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("notebooks"), few=True)


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@every_notebook
def test_a_notebook_runs(path, ran):
    holds(*ran[path.stem])


def holds(status, stdout, stderr):
    assert status == 0, stderr
    assert stdout
    assert set(re.findall(r"\bfailed (\d+)", stdout)) <= {"0"}, stdout


@pytest.mark.long
def test_notebooks_run_as_they_are(tmp_path):
    for outcome in outcomes(tmp_path, few=False).values():
        holds(*outcome)


@every_notebook
def test_a_notebook_was_run_from_the_first_cell_to_the_last(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    ran = cells(path, "code")
    assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
    kinds = {output["output_type"] for cell in ran for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name") != "stderr" for cell in ran for output in cell["outputs"])
    assert any("image/png" in output.get("data", {}) for cell in ran for output in cell["outputs"])
    assert path.stat().st_size < LARGEST


def test_the_guide_has_a_page_on_each_notebook():
    assert NOTEBOOKS
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", page)) == [path.stem for path in NOTEBOOKS]
