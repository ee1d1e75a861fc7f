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

# What Jupyter does with a cell, without a server: run it, and show what its last line is worth.
RUN = """
import ast, json, sys

names = {"__name__": "__main__"}
for number, source in enumerate(json.load(sys.stdin)):
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        print(shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown))
"""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@every_notebook
def test_a_notebook_runs(path, tmp_path):
    pytest.importorskip("matplotlib")
    sources = [re.sub(r"(?m)^%.*$", "", "".join(cell["source"])) for cell in cells(path, "code")]
    (tmp_path / "run.py").write_text(RUN, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "run.py"],
        input=json.dumps(sources),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
    )
    assert process.returncode == 0, process.stderr
    assert set(re.findall(r"\bfailed (\d+)", process.stdout)) <= {"0"}, process.stdout


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
