"""The report's data: what it says is what the store says, nothing that is said becomes markup, and it stays small."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import attnlab
from attnlab.analysis.compare import pairwise
from attnlab.analysis.report import Book, collect, page, write_report
from attnlab.analysis.report.curves_and_weights import Budget, look_back
from attnlab.analysis.report.small_json import halves, plain, script_json, table
from attnlab.cli import _status
from attnlab.plugins import configure
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"'&amp;{{ 7*7 }}\u2028\U0001f600"
EXPERIMENT = {
    "attnlab": 1,
    "question": "Does a small report say what the store says?",
    "name": "small",
    "task": {"lookup": {"n_keys": [4, 6], "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
    "mechanism": {"similarity": ["dot", "cosine"], "normaliser": ["softmax", "sparsemax"]},
    "model": {"aligner": {"projection": 4, "steps": 6, "validate_every": 3}},
    "seeds": 2,
    "metrics": ["alignment_accuracy", "weight_entropy"],
    "claims": [
        {
            "say": "dot is better than cosine",
            "metric": "alignment_accuracy",
            "better": {"similarity": "dot"},
            "than": {"similarity": "cosine"},
        }
    ],
}

PLUGIN = """
from attnlab import hookimpl
from attnlab.interfaces import Similarity


class Halved(Similarity):
    \"\"\"Half the dot product.\"\"\"

    name = "halved"

    def score(self, Q, K):
        return 0.5 * Q @ K.swapaxes(-1, -2)


@hookimpl
def attnlab_similarities():
    return [Halved]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "results.db"
    attnlab.sweep(EXPERIMENT, executor="serial", store=path, quiet=True)
    return path


@pytest.fixture(scope="module")
def book(store):
    return collect(store)


def hostile_store(path):
    """A store in which every text that a stranger can choose is an attack."""
    spec = {
        "task": {f"{EVIL}:{EVIL}": {EVIL: EVIL}},
        "mechanism": {"single_head": {"similarity": {f"evil:{EVIL}": {}}, "normaliser": {"softmax": {}}}},
        "model": {"aligner": {}},
    }
    with Store(path) as opened:
        runs = [Run.of({**spec, "seed": seed}) for seed in range(3)]
        measured = {EVIL: {"alignment_accuracy": 0.5, EVIL: math.inf}}
        versions = {"attnlab": EVIL, EVIL: EVIL}
        buffer = io.BytesIO()
        tokens = np.array(json.dumps([[[EVIL, "b"], ["x", EVIL]]]))
        kept = {f"test.{EVIL}.W": np.full((1, 2, 2), 0.5), f"test.{EVIL}.tokens": tokens}
        np.savez_compressed(buffer, **kept, **{f"validation_curve.{EVIL}": np.arange(4.0)})
        good = Result("ok", metrics=measured, facts={"notes": [EVIL]}, versions=versions, executor=EVIL)
        opened.append(runs[0], Result(**{**vars(good), "artifacts": buffer.getvalue()}), {})
        opened.append(runs[1], good, {})
        opened.append(runs[2], Result("failed", reason=EVIL, traceback=EVIL, versions=versions), {})
        opened.add_experiment(EVIL, EVIL, EVIL, [run.run_id for run in runs])
    return path


class Page(HTMLParser):
    """The elements of a page, its text, and the contents of its scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.scripts, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, text):
        (self.scripts if self.cdata_elem == "script" else self.words).append(text)

    @property
    def data(self):
        return json.loads(self.scripts[0])

    @property
    def text(self):
        return "".join(self.words)


def unpacked(packed):
    """The DataFrame that `table` made this of."""
    columns = {}
    for name, column in packed["columns"].items():
        if "all" in column:
            columns[name] = [column["all"]] * packed["n"]
        elif "codes" in column:
            columns[name] = [column["levels"][code] for code in column["codes"]]
        else:
            columns[name] = column["values"]
    return pd.DataFrame(columns, dtype=object)


# -- what it says -----------------------------------------------------------------------------------------------------
def test_the_runs_of_the_page_are_those_of_the_store(store, book):
    frame = attnlab.load_results(store)
    shown = unpacked(Page(page(book)).data["chapters"][0]["runs"])
    assert shown["run_id"].tolist() == frame["run_id"].tolist()
    for metric in ("alignment_accuracy", "weight_entropy", "context_error"):
        np.testing.assert_allclose(shown[metric].astype(float), frame[metric], rtol=1e-5)
    assert shown["similarity"].tolist() == frame["similarity"].tolist()


def test_every_run_has_its_command(store, book, capsys):
    found = Page(page(book))
    run_id = attnlab.load_results(store)["run_id"].iloc[-1]
    command = shlex.split(f"attnlab run {run_id}{found.data['suffix']}")
    assert command[-2:] == ["--store", str(store)]
    assert _status(command[1:]) == 0
    assert "alignment_accuracy" in capsys.readouterr().out


def test_claims_stand_with_their_verdicts(store, book):
    judged = attnlab.check_claims(attnlab.load_results(store), EXPERIMENT)
    (chapter,) = book.chapters
    pd.testing.assert_frame_equal(chapter.claims, judged)
    text = Page(page(book)).text
    assert judged["say"][0] in text
    assert judged["verdict"][0] in text


def test_claims_that_cannot_be_judged_say_why(tmp_path):
    attnlab.sweep({**EXPERIMENT, "seeds": 1}, executor="serial", store=tmp_path / "a.db", quiet=True, limit=1)
    with Store(tmp_path / "a.db") as opened:
        (linked,) = opened.experiments()
        text = linked.text.replace('"dot"', '"of_a_plugin_that_is_gone"')
        opened.add_experiment("small", linked.question, text, linked.run_ids)
    (chapter,) = collect(tmp_path / "a.db").chapters
    assert chapter.claims is None
    assert "of_a_plugin_that_is_gone" in chapter.claims_problem
    assert "of_a_plugin_that_is_gone" in Page(page(collect(tmp_path / "a.db"))).text
    assert chapter.n_missing == len(linked.run_ids) - 1


def test_a_why_stands_where_a_claim_is_refuted(store):
    (chapter,) = collect(store).chapters
    told = {"supported": "WHY-1", "refuted": "WHY-2", "undecided": "WHY-3"}
    rows = [chapter.claims.assign(verdict=verdict, why=why) for verdict, why in told.items()]
    claims = dataclasses.replace(chapter, claims=pd.concat(rows, ignore_index=True), text="")
    text = Page(page(Book("s.db", [claims], []))).text
    assert [why for why in told.values() if why in text] == ["WHY-2"]


def test_pairs_are_those_of_compare(store, book):
    frame = attnlab.load_results(store)
    for comparison, by in zip(book.chapters[0].comparisons, ("similarity", "normaliser"), strict=True):
        assert comparison.by == by
        pd.testing.assert_frame_equal(comparison.pairs, pairwise(frame, "alignment_accuracy", by, tidy=True))
    (packed, _) = Page(page(book)).data["chapters"][0]["comparisons"]
    shown = unpacked(packed["pairs"])
    wanted = {"first", "second", "improvement", "wins", "ties", "losses", "rank_biserial", "p_improvement", "verdict"}
    assert wanted <= set(shown.columns)
    assert "interquartile" in Page(page(book)).text
    assert "mean_rank" in Page(page(book)).text, "without scripts too"


@pytest.mark.parametrize("error", [ValueError("no such root"), ZeroDivisionError("by nothing")])
def test_a_comparison_that_breaks_is_said_and_the_page_goes_on(store, monkeypatch, error):
    compare = attnlab.compare

    def breaks(frame, metric, by):
        if by == "similarity":
            raise error
        return compare(frame, metric, by)

    monkeypatch.setattr("attnlab.analysis.report.book.compare", breaks)
    found = collect(store)
    assert [one.table is None for one in found.chapters[0].comparisons] == [True, False]
    text = Page(page(found)).text
    assert f"No comparison: {type(error).__name__}: {error}" in text
    assert found.chapters[0].comparisons[1].conclusion in text


def test_pairs_that_are_too_many_have_a_command(store, book):
    (chapter,) = book.chapters
    many = [dataclasses.replace(one, pairs=None) for one in chapter.comparisons]
    text = Page(page(Book(str(store), [dataclasses.replace(chapter, comparisons=many)], []))).text
    (command,) = re.findall(r"attnlab (compare .* --by normaliser .*\.db)", text)
    assert _status(shlex.split(command)) == 0


def test_points_of_the_grid_are_what_differs(book):
    (chapter,) = book.chapters
    assert set(chapter.points) == {"task.n_keys", "similarity", "normaliser"}
    assert len(chapter.ranking) == 8


def test_weights_and_gold_are_those_that_were_kept(store, book):
    chapter = Page(page(book)).data["chapters"][0]
    runs = unpacked(chapter["runs"])
    assert len(chapter["alignments"]) == 8  # of the first seed of each point of the grid
    for alignment in chapter["alignments"]:
        kept = attnlab.load_run(runs["run_id"][alignment["row"]], store).arrays
        for name, key in (("w", "test.test.W"), ("gold", "test.test.gold")):
            packed = np.frombuffer(base64.b64decode(chapter["pool"][alignment[name]]), "<f2")
            n = alignment["shape"][0]
            np.testing.assert_allclose(packed.reshape(alignment["shape"]), kept[key][:n], rtol=1e-3, atol=1e-7)
    gold = {alignment["gold"] for alignment in chapter["alignments"]}
    assert len(gold) == 2, "mechanisms share their task's gold"


def test_curves_are_means_over_seeds(store, book):
    (chapter,) = book.chapters
    frame = chapter.frame
    curve = next(c for c in chapter.lookback.curves if c["series"] == "training loss")
    same = (frame[list(chapter.points)] == frame[list(chapter.points)].iloc[curve["row"]]).all(axis=1)
    kept = [attnlab.load_run(r, store).arrays["loss_curve"] for r in frame.loc[same, "run_id"]]
    assert curve["seeds"] == len(kept) == 2
    assert curve["x"] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(curve["mean"], np.mean(kept, axis=0), rtol=1e-3)
    np.testing.assert_allclose(curve["high"], np.max(kept, axis=0), rtol=1e-3)


def test_a_budget_is_kept_and_what_is_left_out_is_said(store, book):
    (chapter,) = book.chapters
    budget = Budget(2, runs=12, numbers=10_000, weights=1200)
    with Store(store, create=False) as opened:
        kept = look_back(chapter.frame, chapter.points, opened, budget)
    assert sum(len(text) for text in kept.pool) <= 600, "a half for each of two experiments"
    said = " ".join(kept.left_out)
    assert "5 of 8 points of the grid were not read" in said
    assert "have weights that are left out" in said
    assert budget.runs == 6


def test_an_experiment_that_was_never_run(tmp_path, store):
    with Store(store, create=False) as opened:
        (linked,) = opened.experiments()
    with Store(tmp_path / "new.db") as opened:
        opened.add_experiment("small", linked.question, linked.text, linked.run_ids)
    (chapter,) = collect(tmp_path / "new.db").chapters
    assert chapter.n_missing == 16
    assert set(chapter.claims["verdict"]) == {"undecided"}
    assert "16 not run yet" in Page(page(collect(tmp_path / "new.db"))).text


def test_failures_are_grouped_with_a_traceback(tmp_path):
    specs = [{"task": {"t": {}}, "mechanism": {"m": {}}, "model": {"a": {}}, "seed": seed} for seed in range(30)]
    with Store(tmp_path / "f.db") as opened:
        for i, spec in enumerate(specs):
            reason = "ValueError: no" if i % 3 else "took longer than 1 s"
            opened.append(Run.of(spec), Result("failed" if i % 3 else "timeout", reason, f"line {i}\n{reason}"), {})
        opened.add_experiment("f", "Why?", "", [Run.of(spec).run_id for spec in specs])
    (chapter,) = collect(tmp_path / "f.db").chapters
    assert [(f.status, f.count) for f in chapter.failures] == [("failed", 20), ("timeout", 10)]
    text = Page(page(collect(tmp_path / "f.db"))).text
    assert "line 1\nValueError: no" in text
    assert f"attnlab run {Run.of(specs[1]).run_id} --store" in text


def test_a_store_without_runs_makes_a_page(tmp_path):
    Store(tmp_path / "empty.db").close()
    assert "no runs yet" in Page(page(collect(tmp_path / "empty.db"))).text


def test_one_experiment_of_several(store, tmp_path):
    hostile_store(tmp_path / "two.db")
    attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path / "two.db", quiet=True, limit=1)
    assert [c.name for c in collect(tmp_path / "two.db").chapters] == [EVIL, "small"]
    assert [c.name for c in collect(tmp_path / "two.db", "small").chapters] == ["small"]
    with pytest.raises(attnlab.UnknownName, match="no experiment 'smal'"):
        collect(tmp_path / "two.db", "smal")


# -- plugin files -----------------------------------------------------------------------------------------------------
@pytest.fixture
def with_plugin(tmp_path, monkeypatch):
    """A folder with the results of a part that came by a file, which lies elsewhere, and a run that was killed."""
    (tmp_path / "else where").mkdir()
    file = tmp_path / "else where" / "my_parts.py"
    file.write_text(PLUGIN)
    mechanism = {"similarity": ["dot", "file:halved"], "normaliser": "softmax"}
    experiment = {**EXPERIMENT, "mechanism": mechanism, "seeds": 1, "claims": []}
    (tmp_path / "small.yaml").write_text(json.dumps(experiment))
    monkeypatch.chdir(tmp_path)
    try:
        assert _status(["sweep", "small.yaml", "-q", "--executor=serial", "--store=a.db", f"--plugin={file}"]) == 0
    finally:
        configure()
    with Store("a.db") as opened:
        killed, made = next((run, result) for _, run, result in opened.rows() if "file" in result.versions)
        opened.append(killed, Result("timeout", reason="took longer than 1 s", versions=made.versions), {})
    yield file
    configure()


def commands(found):
    """Each run's component and what its command says after the run."""
    (chapter,) = found.data["chapters"]
    runs, files = unpacked(chapter["runs"]), unpacked(chapter["files"])
    return {(runs["similarity"][i], runs["status"][i]): files["plugin"][i] for i in range(len(runs))}


def test_a_command_names_the_plugin_file_that_it_needs(with_plugin, capsys):
    assert _status(["report", "--store", "a.db"]) == 0
    text = Path("report.html").read_text("utf-8")
    found = Page(text)
    hint = "--plugin my_parts.py"
    assert commands(found) == {("dot", "ok"): "", ("halved", "ok"): hint, ("halved", "timeout"): hint}
    assert "put the path" in found.text
    (command,) = re.findall(r"attnlab (run .*? --plugin my_parts\.py)", found.text)
    assert _status(shlex.split(command)) == 2, "there is no such file here"
    with_plugin.rename("my_parts.py")
    assert _status(shlex.split(command)) == 0
    assert "alignment_accuracy" in capsys.readouterr().out


def test_a_plugin_file_that_was_given_is_in_every_command(with_plugin, capsys):
    assert _status(["report", "--store", "a.db", "--plugin", str(with_plugin)]) == 0
    configure()
    found = Page(Path("report.html").read_text("utf-8"))
    assert set(commands(found).values()) == {""}
    assert "put the path" not in found.text
    runs = unpacked(found.data["chapters"][0]["runs"])
    halved = runs["run_id"][runs["similarity"] == "halved"].iloc[0]
    assert _status(shlex.split(f"run {halved}{found.data['suffix']}")) == 0
    assert "alignment_accuracy" in capsys.readouterr().out


# -- nothing becomes markup -------------------------------------------------------------------------------------------
def test_what_strangers_say_is_text(tmp_path, book):
    plain_page, hostile = Page(page(book)), Page(page(collect(hostile_store(tmp_path / "evil.db"))))
    assert set(hostile.tags) <= set(plain_page.tags) | {"noscript", "details", "summary", "pre", "ul", "li", "option"}
    assert "img" not in hostile.tags
    assert len(hostile.scripts) == len(plain_page.scripts) == 2
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert hostile.scripts[1] == plain_page.scripts[1], "the script is the same whatever the data"
    assert EVIL in hostile.text
    assert hostile.data["chapters"][0]["name"] == EVIL
    assert "{{ 7*7 }}" in hostile.text, "it is no template either"


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists, max_leaves=5))
def test_json_in_a_script_is_harmless_and_true(value):
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_the_policy_allows_this_script_and_no_other(book):
    import hashlib

    text = page(book)
    policy = dict(
        re.findall(r"(\w+-src) ([^;]+)", re.search(r'Policy" content="([^"]+)"', text)[1].replace("&#39;", "'"))
    )
    script = re.findall(r"<script>(.*?)</script>", text, re.S)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), "nothing points anywhere else"


# -- small and exact --------------------------------------------------------------------------------------------------
@given(st.lists(st.none() | st.booleans() | st.integers(-99, 99) | st.floats(width=16) | st.text(max_size=3)))
def test_a_table_comes_back(values):
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object), "same": 1})
    assert unpacked(table(frame))["x"].tolist() == [plain(value) for value in values]


@given(st.floats())
def test_numbers_keep_six_digits(x):
    value = plain(x)
    if math.isnan(x):
        assert value is None
    elif math.isinf(x):
        assert float(value) == x
    else:
        assert value == pytest.approx(x, rel=1e-5, abs=0)


@given(arrays(np.float64, 5, elements=st.floats(-1e9, 1e9)))
def test_half_precision_keeps_zeros_and_signs(x):
    back = np.frombuffer(base64.b64decode(halves(x)), "<f2")
    np.testing.assert_array_equal(np.sign(back), np.sign(x))
    np.testing.assert_allclose(back, np.clip(x, -65504, 65504), rtol=1e-3, atol=1e-7)


# -- the command ------------------------------------------------------------------------------------------------------
def test_the_command_writes_and_does_not_overwrite(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert _status(["report", "--store", str(store)]) == 0
    first = (tmp_path / "report.html").read_text("utf-8")
    assert first.startswith("<!doctype html>")
    assert _status(["report", "--store", str(store)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text("utf-8") == first
    assert _status(["report", "--store", str(store), "--force", "--experiment", "small"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_store_is_never_replaced(store, tmp_path, monkeypatch, capsys, force):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.db").write_bytes(before := store.read_bytes())
    (tmp_path / "link.html").symlink_to("s.db")
    for output in ("s.db", "./s.db", str(tmp_path / "s.db"), "link.html"):
        assert _status(["report", "--store", "s.db", "-o", output, *force]) == 2
        assert "is the store" in capsys.readouterr().err
    assert (tmp_path / "s.db").read_bytes() == before
    assert (tmp_path / "link.html").is_symlink()


def test_force_replaces_reports_and_nothing_else(store, book, tmp_path, capsys):
    kept = {"small.yaml": json.dumps(EXPERIMENT), "page.html": "<!doctype html><title>Mine</title>", "empty": ""}
    for name, text in kept.items():
        (tmp_path / name).write_text(text)
        assert _status(["report", "--store", str(store), "-o", str(tmp_path / name), "--force"]) == 2
        assert "is no report of attnlab" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == text
    write_report(book, tmp_path / "one.html")
    (tmp_path / "latest.html").symlink_to("one.html")
    old = (tmp_path / "one.html").read_bytes()
    write_report(dataclasses.replace(book, made_at="later"), tmp_path / "latest.html", force=True)
    assert (tmp_path / "one.html").read_bytes() != old, "what a link points to is replaced, not the link"
    assert (tmp_path / "latest.html").is_symlink()


@pytest.mark.parametrize(
    ("place", "said"),
    [("", "is a folder"), ("no/r.html", "no folder"), ("file/r.html", "no folder"), ("x" * 300, "cannot be written")],
)
def test_places_where_nothing_can_be_written(store, tmp_path, capsys, place, said):
    (tmp_path / "file").write_text("")
    for force in ([], ["--force"]):
        assert _status(["report", "--store", str(store), "-o", str(tmp_path / place), *force]) == 2
        assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, where nobody can make a file")
def test_a_folder_in_which_nothing_can_be_made(book):
    with pytest.raises(attnlab.SettingError, match="cannot be written"):
        write_report(book, "/proc/report.html")


def test_a_folder_that_is_not_there_is_said(book, tmp_path):
    with pytest.raises(attnlab.SettingError, match="there is no folder"):
        write_report(book, tmp_path / "nowhere" / "report.html")


def test_no_store_is_exit_status_6(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _status(["report"]) == 6
    assert list(tmp_path.iterdir()) == []


# -- the environment, and rankings ------------------------------------------------------------------------------------
def test_the_environment_is_complete(book):
    from attnlab.sweeps.environment import environment

    said = dict(book.environment)
    for name, version in environment().items():
        assert said[name] == version, "of the runs"
        assert f"{name} {version}" in said["report written by"]
    assert {"numpy", "scipy", "scikit-learn", "system", "processor"} <= set(said)


def test_the_ranking_has_chance_and_the_best_of_each_task(book):
    ranking = book.chapters[0].ranking
    assert ranking.groupby("task.n_keys", sort=False)["chance"].first().to_dict() == {4: 1 / 4, 6: 1 / 6}
    assert (ranking.groupby("task.n_keys")["standing"].apply(lambda s: (s == "best").sum()) >= 1).all()


def test_the_axes_that_claims_ask_about_come_first(book):
    assert list(book.chapters[0].asked) == ["similarity"]
