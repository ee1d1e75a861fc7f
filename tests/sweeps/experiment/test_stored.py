"""A stored experiment is read from the text that was swept, by one reader, for claims and for the report alike."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attnlab
from attnlab.analysis.index import stored_experiments
from attnlab.analysis.report import collect
from attnlab.cli import _status
from attnlab.errors import ExperimentError
from attnlab.plugins import configure
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.experiment.stored import metrics_of, read_stored
from attnlab.sweeps.plan import plan
from attnlab.sweeps.store import Store

TEXT = """\
attnlab: 1
question: Is the stored text read?
task: {norm_hubs: {sigma: 1.5, n_train: 1, n_validation: 1, n_test: 8}}
mechanism: {similarity: [dot, cosine]}
model: {aligner: {steps: 0}}
seeds: 2
metrics: [gold_mass, alignment_accuracy]
claims:
  - {say: cosine finds some, metric: alignment_accuracy, at_least: -100.0, where: {similarity: cosine}}
"""
PLUGIN = """\
from attnlab import Similarity, hookimpl


class Halved(Similarity):
    \"\"\"Half the dot product.\"\"\"

    name = "halved"

    def score(self, Q, K):
        return 0.5 * Q @ K.swapaxes(-1, -2)


@hookimpl
def attnlab_similarities():
    return [Halved]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions").mkdir()
    yield tmp_path
    configure()


def swept(source):
    attnlab.sweep(source, executor="serial", store="s.db", quiet=True)
    with Store("s.db", create=False) as opened:
        (linked,) = opened.experiments()
    return linked


def check_both_readers(name):
    """`claims` without FILE and `report` read the same experiment and judge the same claims."""
    (found,), unreadable = stored_experiments("s.db")
    (chapter,) = collect("s.db").chapters
    assert unreadable == {}
    assert found.name == chapter.name == name
    assert chapter.claims["verdict"].tolist() == ["supported"]
    assert chapter.claims_problem == ""
    assert _status(["claims", "--store", "s.db"]) == 0


def test_of_a_file_that_is_gone(here):
    (here / "questions" / "hubs.yaml").write_text(TEXT)
    original = read("questions/hubs.yaml")
    linked = swept("questions/hubs.yaml")
    (here / "questions" / "hubs.yaml").unlink()
    assert read_stored(linked) == original.model_copy(update={"path": original.path.absolute()})
    assert metrics_of(linked) == ["gold_mass", "alignment_accuracy"]
    check_both_readers("hubs")


def test_of_a_file_that_says_something_else_by_now(here):
    (here / "questions" / "hubs.yaml").write_text(TEXT)
    original = read("questions/hubs.yaml")
    linked = swept("questions/hubs.yaml")
    (here / "questions" / "hubs.yaml").write_text(TEXT.replace("[dot, cosine]", "neg_l2"))
    assert plan(read_stored(linked)) == plan(original)
    check_both_readers("hubs")


def test_of_a_mapping(here):
    mapping = {
        "attnlab": 1,
        "question": "Is a mapping read, \U0001f600 too, and 1e-05?",
        "task": {"norm_hubs": {"sigma": 1.5, "n_train": 1, "n_validation": 1, "n_test": 8}},
        "mechanism": {"similarity": ["dot", {"cosine": {"temperature": 1e-05}}]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 2,
        "claims": [{"say": "some are found", "metric": "alignment_accuracy", "at_least": -1.0}],
    }
    linked = swept(mapping)
    assert read_stored(linked) == read(mapping)
    check_both_readers("experiment")


def test_of_a_file_that_names_input_files_beside_it(here):
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(12, 3, 4)), rng.normal(size=(12, 5, 4))
    np.savez(here / "questions" / "data.npz", Q=Q, K=K, V=K, target=Q, gold=np.eye(3, 5)[None].repeat(12, axis=0))
    task = "{arrays: {path: data.npz}}"
    text = "\n".join(f"task: {task}" if line.startswith("task:") else line for line in TEXT.splitlines())
    (here / "questions" / "own.yaml").write_text(text)
    original = read("questions/own.yaml")
    linked = swept("questions/own.yaml")
    assert read_stored(linked) == original.model_copy(update={"path": original.path.absolute()})
    (here / "questions" / "own.yaml").unlink()
    assert [run.run_id for run in plan(read_stored(linked))] == [run.run_id for run in plan(original)]
    check_both_readers("own")
    (here / "questions" / "data.npz").unlink()
    with pytest.raises(ExperimentError, match=r"own.yaml \(as swept\):3:\d+: .*no such file: data.npz"):
        read_stored(linked)
    assert metrics_of(linked) == ["gold_mass", "alignment_accuracy"]


def test_of_a_plugin_that_is_missing(here, capsys):
    (here / "halved.py").write_text(PLUGIN)
    (here / "questions" / "own.yaml").write_text(TEXT.replace("dot, cosine]", "halved, cosine]"))
    configure(files=["halved.py"])
    linked = swept("questions/own.yaml")
    check_both_readers("own")
    configure()
    problem = r"own.yaml \(as swept\):4:26: .*no similarity 'halved'"
    with pytest.raises(ExperimentError, match=problem):
        read_stored(linked)
    _, unreadable = stored_experiments("s.db")
    (chapter,) = collect("s.db").chapters
    assert chapter.claims_problem == f"its text cannot be read here: {unreadable['own']}"
    capsys.readouterr()
    assert _status(["claims", "--store", "s.db"]) == 1
    assert "as swept" in capsys.readouterr().err
    assert attnlab.load_results("s.db").attrs["metrics"] == {"own": ["gold_mass", "alignment_accuracy"]}


@pytest.mark.parametrize("text", ["", "[1, 2]", "3", "{", json.dumps({"attnlab": 1})])
def test_a_text_that_is_no_experiment_is_refused_and_has_no_metrics(here, text):
    with Store("s.db") as opened:
        for path in ("", "gone.yaml"):
            opened.add_experiment("broken", "?", text, [], path)
            (linked,) = opened.experiments()
            with pytest.raises(ExperimentError, match=r"no experiment|as swept|missing key"):
                read_stored(linked)
            assert metrics_of(linked) == (["alignment_accuracy"] if "attnlab" in text else [])
