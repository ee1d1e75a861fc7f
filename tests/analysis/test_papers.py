"""The table for papers: means, spreads, marks and a caption that says what they mean, in LaTeX, Markdown and for programs."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import attnlab
from attnlab.analysis.papers import task_table
from attnlab.analysis.statistics import holm
from attnlab.cli import _status
from attnlab.errors import SettingError

METRIC = "alignment_accuracy"  # greater is better
HEAD = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"


def frame_of(values, tasks=None):
    """A results table from {competitor: (n tasks, n seeds)}."""
    rows = []
    for name, table in values.items():
        for j, by_seed in enumerate(table):
            task, n_keys = tasks[j] if tasks else (f"task{j}", 4)
            for seed, value in enumerate(by_seed):
                ok = value == value
                about = {"experiment": "e", "run_id": f"{name}{j}{seed}", "task": task, "task.n_keys": n_keys}
                about |= {"similarity": name, "seed": seed, "test": "test", METRIC: value}
                rows.append({**about, "status": "ok" if ok else "failed", "reason": ""})
    return pd.DataFrame(rows)


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    shared = rng.normal(0.5, 0.1, size=(3, 6))  # of the examples, which are the same for all
    return {
        "dot": shared + rng.normal(0.1, 0.005, size=(3, 6)),
        "co_sine": shared + rng.normal(0.1, 0.005, size=(3, 6)),
        "uni%form": shared - 0.2 + rng.normal(0, 0.01, size=(3, 6)),
    }


def test_numbers_and_marks(values):
    table = task_table(frame_of(values), METRIC, "similarity")
    assert [table.scores.labels[i] for i in range(3)] == sorted(values)
    p, places = [], []
    for i, name in enumerate(sorted(values)):
        np.testing.assert_allclose(table.mean[i], values[name].mean(axis=1))
        np.testing.assert_allclose(table.spread[i], values[name].std(axis=1, ddof=1))
    for j in range(3):
        means = {name: x[j].mean() for name, x in values.items()}
        best = max(means, key=means.get)
        assert [table.scores.labels[i] for i in np.flatnonzero(table.best[:, j])] == [best]
        for i, name in enumerate(sorted(values)):
            if name != best:
                p.append(stats.ttest_rel(values[best][j], values[name][j]).pvalue)
                places.append((i, j))
    np.testing.assert_allclose([table.p[at] for at in places], holm(p))
    assert table.comparisons == 6
    assert table.alike.sum() == sum(holm(p) > 0.05)
    assert 0 < table.alike.sum() < 6
    assert not table.alike[2].any(), "uniform is shown to be worse on every task"


def test_columns_are_in_the_order_of_the_numbers_in_their_names(values):
    table = task_table(frame_of(values, [("lookup", 256), ("lookup", 64), ("lookup", 8)]), METRIC, "similarity")
    ordered = sorted(table.scores.units, key=lambda unit: int(unit.rpartition("=")[2]))
    assert list(table.cells().columns)[1:] == ordered == list(dict.fromkeys(table.to_frame()["task"]))
    at = [table.latex().index(unit.rpartition(" ")[2].replace("_", r"\_")) for unit in ordered]
    assert at == sorted(at)


def test_the_caption_says_n_test_correction_and_ties(values):
    said = task_table(frame_of(values), METRIC, "similarity").caption(bold=True)
    for words in (
        "alignment_accuracy (greater is better), mean ± standard deviation over n = 6 seeds",
        "Bold: the best mean of each task; means that are equal to it, to twelve digits, are marked too",
        "†: not shown to differ from the best of its task, which does not mean equal",
        "paired t test over seeds, two-sided",
        "adjusted by Holm's method for all 6 comparisons of the table, at 5%",
    ):
        assert words in said


def test_ties_are_all_the_best():
    frame = frame_of({"a": [[0.1 + 0.2, 0.5]], "b": [[0.3, 0.5]], "c": [[0.1, 0.3]]})
    table = task_table(frame, METRIC, "similarity")
    assert table.best[:, 0].tolist() == [True, True, False]
    assert table.markdown().count("**") == 4
    assert table.latex().count(r"\mathbf") == 2
    assert table.by_signs, "the difference to c is the same in both seeds"
    assert table.p[2, 0] == 0.5
    assert "sign test where a difference is the same in every seed" in table.caption()


def test_one_seed_has_no_spread_and_no_test():
    table = task_table(frame_of({"a": [[0.3]], "b": [[0.5]]}), METRIC, "similarity")
    assert table.comparisons == 0
    assert table.cells().to_numpy().tolist() == [["b", "0.500 *"], ["a", "0.300 †"]]
    assert "one seed has no spread, so nothing can be tested" in table.caption()
    assert r"\pm" not in table._block([0])


def test_a_missing_run_is_refused_or_has_a_dash():
    frame = frame_of({"a": [[0.3, 0.4], [0.1, np.nan]], "b": [[0.5, 0.7], [0.2, 0.3]]})
    with pytest.raises(SettingError, match="1 run"):
        task_table(frame, METRIC, "similarity")
    table = task_table(frame, METRIC, "similarity", missing="worst-rank")
    assert table.cells()["task1"].tolist() == ["0.250 ± 0.071 *", "–"]
    assert r"\textendash{}" in table.latex()
    with pytest.raises(SettingError, match="alpha"):
        task_table(frame, METRIC, "similarity", alpha=2)


def test_columns_are_named_by_what_tells_them_apart():
    tasks = [("lookup", 4), ("lookup", 8), ("copy", 4)]
    table = task_table(frame_of({"a": [[0.1, 0.2]] * 3, "b": [[0.3, 0.5]] * 3}, tasks), METRIC, "similarity")
    assert sorted(table.scores.units) == ["copy", "lookup, n_keys=4", "lookup, n_keys=8"]
    whole = task_table(
        frame_of({"a": [[0.1, 0.2]] * 3, "b": [[0.3, 0.5]] * 3}, tasks), METRIC, "similarity", unit="task"
    )
    assert sorted(whole.scores.units) == ["copy", "lookup"]
    assert "Averaged within a task: task.n_keys (4, 8)." in whole.caption()


def test_for_programs(values):
    frame = task_table(frame_of(values), METRIC, "similarity").to_frame()
    assert list(frame) == ["similarity", "task", "mean", "sd", "n", "best", "p_holm", "not_shown_to_differ"]
    assert len(frame) == 9
    assert (frame["n"] == 6).all()
    assert not (frame["best"] & frame["not_shown_to_differ"]).any()


@pytest.mark.parametrize("n_tasks", [1, 4, 5, 9])
def test_latex_is_whole(n_tasks):
    """Every row has a cell a column, every environment and brace is closed, and nothing but booktabs is needed."""
    rng = np.random.default_rng(n_tasks)
    frame = frame_of({f"a_{i}&": rng.random((n_tasks, 3)) for i in range(3)})
    text = task_table(frame, METRIC, "similarity").latex()
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text).count("tabular") == -(-n_tasks // 4)
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}")
    for block in re.findall(r"\\begin\{tabular\}\{l(c+)\}(.*?)\\end\{tabular\}", bare, re.DOTALL):
        rows = re.findall(r"^(.*) \\\\$", block[1], re.MULTILINE)
        assert len(rows) == 4
        assert {row.count("&") for row in rows} == {len(block[0])}
    known = {"begin", "end", "centering", "caption", "label", "footnotesize", "setlength", "tabcolsep", "medskip", "pm"}
    known |= {"toprule", "midrule", "bottomrule", "mathbf", "dagger"}
    assert set(re.findall(r"\\([a-z]+)", text)) <= known


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_sets_it(values, tmp_path):
    (tmp_path / "t.tex").write_text(
        f"{HEAD}{task_table(frame_of(values), METRIC, 'similarity').latex()}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-1500:]
    assert "Overfull" not in done.stdout


def test_the_command(tmp_path, capsys):
    experiment = {
        "attnlab": 1,
        "question": "Do tables go on paper?",
        "task": {"lookup": {"n_keys": [4, 6], "d": 4, "n_train": 8, "n_validation": 4, "n_test": 8}},
        "mechanism": {"similarity": ["scaled_dot", "cosine"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 3,
    }
    store = str(tmp_path / "a.db")
    attnlab.sweep(experiment, executor="serial", store=store, quiet=True)
    command = ["compare", "gold_mass", "--by", "similarity", "--table", "--store", store]
    assert _status([*command, "--format", "latex"]) == 0
    assert capsys.readouterr().out.startswith("\\begin{table}[t]\n")
    assert _status([*command, "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| similarity  | lookup, n\\_keys=4")
    assert _status([*command, "--format", "csv"]) == 0
    assert len(pd.read_csv(io.StringIO(capsys.readouterr().out))) == 4
    table = tmp_path / "table.tex"
    assert _status([*command, "-o", str(table)]) == 0
    assert table.read_text(encoding="utf-8").startswith("\\begin{table}[t]\n")
    assert capsys.readouterr().out == ""
    assert _status([*command, "-o", str(table)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert _status([*command, "-o", str(tmp_path / "table.pdf")]) == 2
    assert "its name does not say what to write" in capsys.readouterr().err
    ranked = [*command[:4], "--store", store, "-o", str(tmp_path / "all.csv")]
    assert _status(ranked) == 0
    assert len(pd.read_csv(tmp_path / "all.csv")) == 2
    assert _status(["compare", "no_such", "--by", "similarity", "--store", store, "-o", str(tmp_path / "not.csv")]) == 2
    assert not (tmp_path / "not.csv").exists()
    capsys.readouterr()
    assert _status(command) == 0
    said = capsys.readouterr().out
    assert "scaled_dot" in said
    assert "*: the best mean of each task" in " ".join(said.split())
    for more in (["--pairs"], ["--profile"], ["--baseline", "cosine"]):
        assert _status([*command, *more]) == 2
        assert "leave --pairs, --profile, --baseline and --rope out" in capsys.readouterr().err
