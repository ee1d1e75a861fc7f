"""`attnlab results`: the table of a sweep in every form, the columns and rows that are asked for, and what it refuses."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest

import attnlab
from attnlab.cli import _status

EXPERIMENT = {
    "attnlab": 1,
    "question": "Does a tiny sweep work?",
    "task": {"lookup": {"n_keys": [4, 6], "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"projection": 4, "steps": 3}},
    "seeds": 2,
    "metrics": ["alignment_accuracy", "weight_entropy"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "attnlab.db"
    other = {**EXPERIMENT, "name": "second", "question": "And another?", "metrics": ["weight_entropy"]}
    attnlab.sweep({**EXPERIMENT, "name": "first"}, other, store=path, executor="serial", quiet=True)
    return str(path)


@pytest.fixture
def results(store, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args, status=0):
        assert _status(["results", "--store", store, *args]) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def expected(store):
    return attnlab.summarise(attnlab.load_results(store, experiment="first"), EXPERIMENT["metrics"])


def test_the_summary_is_the_table_of_the_sweep(results, expected):
    said = results("--experiment", "first", "--summary", "--format", "csv").out
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(said)), expected, check_dtype=False)
    assert {"alignment_accuracy", "low", "high", "n", "solved", "ok", "similarity", "task.n_keys"} <= set(expected)
    rows = json.loads(results("--experiment", "first", "--summary", "--format", "json").out)
    assert [row["alignment_accuracy"] for row in rows] == expected["alignment_accuracy"].tolist()
    people = results("--experiment", "first", "--summary").out
    assert people.startswith("\nfirst: Does a tiny sweep work?\n")
    assert "alignment_accuracy, higher is better; mean and 95 % t interval over seeds" in people


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("r.csv", pd.read_csv),
        ("r.json", pd.read_json),
        ("r.parquet", pd.read_parquet),
        ("r.xlsx", pd.read_excel),
    ],
)
def test_the_name_of_the_file_says_the_form(results, expected, tmp_path, name, read):
    if name == "r.xlsx":
        pytest.importorskip("openpyxl", reason="openpyxl is not installed (pip install 'attnlab[xlsx]')")
    results("--experiment", "first", "--summary", "-o", name)
    pd.testing.assert_frame_equal(read(tmp_path / name), expected, check_dtype=False)
    assert "nothing is overwritten" in results("--summary", "-o", name, status=2).err
    results("-o", f"runs-{name}")
    assert len(read(tmp_path / f"runs-{name}")) == 16


@pytest.mark.parametrize(("name", "begins"), [("r.md", "| task.n\\_keys | similarity"), ("r.tex", "\\begin{tabular}")])
def test_papers_and_pages(results, tmp_path, name, begins):
    results("--experiment", "first", "--summary", "-o", name)
    text = (tmp_path / name).read_text()
    assert text.startswith(begins)
    assert text.count("cosine") == 2


def test_several_experiments_are_one_file_that_says_which(results):
    frame = pd.read_csv(io.StringIO(results("--summary", "--format", "csv").out))
    assert frame.groupby("experiment")["ranked_by"].unique().map(list).to_dict() == {
        "first": ["alignment_accuracy"],
        "second": ["weight_entropy"],
    }
    people = results("--summary").out
    assert people.index("first: Does a tiny sweep work?") < people.index("second: And another?")


def test_metric_and_by(results):
    said = results(
        "--experiment", "first", "--summary", "--by", "similarity", "--metric", "weight_entropy", "--format", "csv"
    )
    frame = pd.read_csv(io.StringIO(said.out))
    assert list(frame.columns[:4]) == ["similarity", "weight_entropy", "low", "high"]
    assert frame["n"].tolist() == [4, 4]


def test_only_and_columns(results, store):
    args = ("--only", "similarity=dot,task.n_keys=6", "--columns", "seed,run_id,*_accuracy", "--format", "csv")
    frame = pd.read_csv(io.StringIO(results(*args).out))
    measured = [c for c in attnlab.load_results(store).columns if c.endswith("_accuracy")]
    assert list(frame.columns) == ["seed", "run_id", *measured]
    assert len(frame) == 4
    assert "did you mean similarity" in results("--only", "similarty=dot", status=2).err
    assert "did you mean run_id" in results("--columns", "runid", status=2).err
    assert "leaves none of 16 rows" in results("--only", "similarity=additive", status=2).err
    left = results("--summary", "--experiment", "first", "--only", "task.n_keys=4", "--columns", "n,similarity").out
    assert [line.split() for line in left.splitlines()[2:5]] == [["n", "similarity"], ["2", "cosine"], ["2", "dot"]]


def test_a_terminal_starts_with_what_was_asked(results):
    said = results("--experiment", "first")
    lines = said.out.splitlines()
    assert lines[1] == "first: Does a tiny sweep work?"
    assert lines[2].split() == [
        "run_id",
        "task.n_keys",
        "similarity",
        "seed",
        "alignment_accuracy",
        "weight_entropy",
        "status",
    ]
    assert len(lines) == 3 + 8
    assert "columns are left out; --columns NAMES chooses" in said.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-o", "r.txt"), "end it in one of .csv, .json, .md, .markdown, .tex, .parquet, .xlsx, or give --format"),
        (("-o", "r.csv", "--format", "table"), "a table is for the terminal"),
        (("--format", "parquet"), "give --output FILE.parquet"),
        (("--format", "xlsx"), "give --output FILE.xlsx"),
        (("--by", "similarity"), "--by is for --summary"),
        (("--tidy", "--summary"), "give one of them"),
        (("-o", "nowhere/r.csv"), "there is no folder nowhere; make it first"),
        (("--summary", "--by", "similarty"), "did you mean similarity"),
    ],
)
def test_what_is_refused(results, args, said):
    assert said in results(*args, status=2).err


def test_what_a_form_needs_is_named(store, tmp_path):
    """In a fresh process that cannot find the library, whether it is installed or not."""
    import subprocess
    import sys

    for form, module in (("xlsx", "openpyxl"), ("parquet", "pyarrow")):
        code = f"import sys\nsys.modules[{module!r}] = None\nfrom attnlab.cli import main\nmain(sys.argv[1:])"
        command = [sys.executable, "-c", code, "results", "--store", store, "-o", f"r.{form}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert f"--format {form} needs {module}, which is not installed: pip install 'attnlab[" in done.stderr
