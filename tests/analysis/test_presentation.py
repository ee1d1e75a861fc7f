"""LaTeX and Markdown tables: they say what the table says, and whatever stands in a cell stays in its cell."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab.analysis.presentation import latex_table, markdown_table
from attnlab.analysis.summary import telling
from attnlab.cli import _status

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
frames = (
    st.integers(1, 4)
    .flatmap(
        lambda n: st.fixed_dictionaries(
            {"name": st.lists(words, min_size=n, max_size=n), "x|y_": st.lists(st.floats(), min_size=n, max_size=n)}
        )
    )
    .map(pd.DataFrame)
)


@given(frames)
def test_markdown_has_a_line_a_row_and_a_cell_a_column(frame):
    lines = markdown_table(frame).split("\n")
    assert len(lines) == 2 + len(frame)
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
        assert not set("<>") & set(line)


@given(frames)
def test_latex_has_a_line_a_row_and_a_cell_a_column(frame):
    lines = latex_table(frame).split("\n")
    assert len(lines) == 6 + len(frame)
    for line in [lines[2], *lines[4:-2]]:
        body = line.removesuffix(r" \\")
        assert body != line
        assert len(re.findall(r"(?<!\\)&", body)) == 1
        assert not re.search(r"(?<!\\)[%#_]", re.sub(r"\$[^$]*\$", "", body))


def test_numbers():
    frame = pd.DataFrame({"x": [-0.25, 3.2e-17, math.inf, math.nan, 7.0]})
    cells = [line.removesuffix(r" \\") for line in latex_table(frame).split("\n")[4:-2]]
    assert cells == ["$-0.250$", r"$3.2 \times 10^{-17}$", r"$\infty$", r"\textendash{}", "$7$"]
    cells = [line.strip("| ") for line in markdown_table(frame).split("\n")[2:]]
    assert cells == ["-0.250", "3.2e-17", "inf", "–", "7"]


def test_latex_has_signs_where_text_has_them():
    frame = pd.DataFrame({"claimed": ["≥ 0.9", "within ±0.03", "≤ -1"], "interval": ["-0.10 to -0.05", "a-1", "k=-2"]})
    rows = latex_table(frame).split("\n")[4:-2]
    assert rows == [
        r"$\geq$ 0.9 & $-$0.10 to $-$0.05 \\",
        r"within $\pm$0.03 & a-1 \\",
        r"$\leq$ $-$1 & k=$-$2 \\",
    ]


def test_latex_makes_no_dashes_of_hyphens():
    frame = pd.DataFrame({"a--b": ["--rope", "x---y"]})
    assert latex_table(frame).split("\n")[2:6] == [r"a-{}-b \\", r"\midrule", r"-{}-rope \\", r"x-{}-{}-y \\"]


def test_what_tells_is_the_grid_the_metrics_and_who_did_not_succeed():
    frame = pd.DataFrame(
        {
            "experiment": "e",
            "run_id": list("abcd"),
            "task": "copy",
            "similarity": ["dot", "dot", "cosine", "cosine"],
            "similarity.temperature": [math.nan, math.nan, 1.0, 1.0],  # says no more than cosine does
            "normaliser": ["softmax"] * 4,
            "seed": [0, 1, 0, 1],
            "aer": [0.1, 0.2, 0.3, 0.4],
            "gold_mass": [0.5] * 4,
            "status": "ok",
            "reason": "",
            "notes": ["", "slow", "", ""],
            "fit_seconds": [0.1, 0.2, 0.3, 0.4],
        }
    )
    assert list(telling(frame)) == ["similarity", "seed", "aer"]
    assert list(telling(frame, ["gold_mass"])) == ["similarity", "seed", "gold_mass"]
    assert list(telling(frame, ["gold_mass", "fit_seconds"]))[-2:] == ["gold_mass", "fit_seconds"]
    assert list(telling(frame, ["not_measured"])) == ["similarity", "seed", "aer"]
    two = frame.assign(**{"similarity.temperature": [math.nan, math.nan, 1.0, 2.0]})
    assert "similarity.temperature" in telling(two)
    failed = frame.assign(status=["ok", "ok", "timeout", "ok"], reason=["", "", "over 60 s", ""])
    assert list(telling(failed)) == ["similarity", "seed", "aer", "status"]


def test_an_empty_table_has_its_heads():
    frame = pd.DataFrame({"a": [], "b": []})
    assert markdown_table(frame).split("\n")[0].split() == ["|", "a", "|", "b", "|"]
    assert r"a & b \\" in latex_table(frame)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_sets_it(tmp_path):
    frame = pd.DataFrame({"name": [r"\input{x} & 50% $a_b$ #1 ~^ {", "--"], "x": [1e-20, 2.0]})
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(f"{head}{latex_table(frame)}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-1500:]


def test_the_command_prints_what_differs(tmp_path, capsys):
    experiment = {
        "attnlab": 1,
        "name": "tables",
        "question": "Do tables go on paper?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
        "mechanism": {"similarity": ["scaled_dot", "cosine"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 2,
        "metrics": ["weight_entropy", "gold_mass"],
    }
    frame = attnlab.sweep(experiment, executor="serial", store=tmp_path / "a.db", quiet=True)
    results = ["results", "--store", str(tmp_path / "a.db"), "--format"]
    assert _status([*results, "markdown"]) == 0
    captured = capsys.readouterr()
    head, _, *rows = captured.out.splitlines()
    columns = [word.strip() for word in head.strip("|").split("|")]
    assert columns == ["similarity", "seed", r"gold\_mass", r"weight\_entropy"]
    assert len(rows) == len(frame)
    assert (
        captured.err
        == f"attnlab: {len(frame.columns) - 4} columns are left out, to fit on paper; --format csv has all\n"
    )
    assert _status([*results, "latex", "-o", str(tmp_path / "t.tex")]) == 0
    written = (tmp_path / "t.tex").read_text()
    assert written.startswith(r"\begin{tabular}")
    assert r"scaled\_dot" in written
    assert _status([*results, "latex", "-o", str(tmp_path / "t.tex")]) == 2
    assert (tmp_path / "t.tex").read_text() == written
