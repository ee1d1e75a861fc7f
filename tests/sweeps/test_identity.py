"""What a run is known by, and the files that it reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import attnlab
from attnlab import registry
from attnlab.plugins import configure, plugins
from attnlab.sweeps.columns import columns
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.pipeline import plan_with_reasons
from attnlab.sweeps.plan import plan
from attnlab.sweeps.run import Run

ARRAYS = "attnlab: 1\nquestion: q\nname: files\ntask: {arrays: {path: data/mine.npz}}\nmodel: {aligner: {steps: 1}}\nseeds: 2\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    yield
    configure()


def planned(**keys):
    return plan(read({"attnlab": 1, "question": "q", "task": "lookup", "seeds": 1, **keys}))


def arrays(path: Path, shift: float = 0.0) -> None:
    K = np.random.default_rng(0).normal(size=(20, 3, 4)) + shift
    np.savez(path, Q=K[:, :1], K=K, V=K, gold=np.tile([1.0, 0, 0], (20, 1, 1)), target=K[:, :1])


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    arrays(folder / "data" / "mine.npz")
    (folder / "x.yaml").write_text(ARRAYS)
    monkeypatch.chdir(folder)
    return folder


# -- settings -----------------------------------------------------------------------------------------------------------
def test_what_is_as_by_default_is_no_part_of_it_and_is_stored_all_the_same():
    (short,) = planned()
    (long,) = planned(
        mechanism={"similarity": "scaled_dot", "normaliser": {"softmax": {"temperature": 1}}, "mask": "all"},
        model={"aligner": {"learning_rate": 0.03, "mix": "values"}},
        task={"lookup": {"noise": 0.3}},
    )
    assert short == long
    assert short.spec["mechanism"]["single_head"]["normaliser"] == {"softmax": {"temperature": 1.0}}
    (other,) = planned(mechanism={"normaliser": {"softmax": {"temperature": 2}}})
    assert other.run_id != short.run_id


def scaled(default: str, revision: int = 0, gains: bool = False) -> type:
    scope: dict[str, object] = {"attnlab": attnlab}
    exec(
        textwrap.dedent(f'''
        class Scaled(attnlab.Similarity):
            """The dot product, scaled."""

            name = "scaled"
            revision = {revision}

            def __init__(self, by: float = {default}{", power: int = 1" if gains else ""}):
                self.by = by
                {"self.power = power" if gains else ""}

            def score(self, Q, K):
                return Q @ K.swapaxes(-1, -2) * self.by
        '''),
        scope,
    )
    cls = scope["Scaled"]
    assert isinstance(cls, type)
    return attnlab.register(cls)


def test_a_part_that_gains_a_setting_keeps_its_runs_and_they_are_stale(tmp_path):
    experiment = {
        "attnlab": 1,
        "question": "q",
        "task": {"lookup": {"n_keys": 4, "n_train": 8, "n_test": 8}},
        "mechanism": {"similarity": [{"scaled": {"by": 2.0}}, "scaled"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 1,
    }
    scaled("1.0")
    attnlab.sweep(experiment, store=tmp_path / "s.db", executor="serial", quiet=True)
    scaled("1.0", gains=True)
    ((_, decided),) = plan_with_reasons([experiment], tmp_path / "s.db")
    assert [p.reason for p in decided] == ["stale: similarity scaled changed"] * 2
    scaled("1.0", revision=1)
    ((_, decided),) = plan_with_reasons([experiment], tmp_path / "s.db")
    assert [p.reason for p in decided] == ["missing"] * 2, "its author says that it means something else now"


def test_a_default_that_changes_changes_no_identity_and_each_row_has_its_own_settings(tmp_path):
    scaled("1.0")
    (before,) = planned(mechanism={"similarity": "scaled"})
    scaled("3.0")
    (after,) = planned(mechanism={"similarity": "scaled"})
    assert (before.run_id, before.canonical) != (after.run_id, after.canonical)
    assert before.run_id == after.run_id


def test_a_setting_that_is_newer_than_a_run_is_at_its_default_in_tables_and_makes_no_mechanism_two(tmp_path):
    def experiment(seeds):
        return {
            "attnlab": 1,
            "question": "q",
            "name": "gains",
            "task": {"lookup": {"n_keys": 4, "n_train": 8, "n_test": 8}},
            "mechanism": [
                {"similarity": [{"scaled": {"by": 2.0}}, "dot"]},
                {"hopfield": {"mechanism": {"similarity": "scaled"}, "steps": 2}},
            ],
            "model": {"aligner": {"steps": 1}},
            "tune": {"model.learning_rate": [0.01, 0.1]},
            "seeds": seeds,
        }

    scaled("1.0")
    before = attnlab.sweep(experiment([0, 1, 2]), store=tmp_path / "s.db", executor="serial", quiet=True)
    assert not any(c.endswith(".power") for c in before)
    scaled("1.0", gains=True)
    attnlab.sweep(experiment([3, 4, 5]), store=tmp_path / "s.db", executor="serial", quiet=True, rerun="missing")
    frame = attnlab.load_results(tmp_path / "s.db")
    assert len(frame) == 18
    for column in [c for c in frame if c.endswith((".by", ".power"))]:
        part = column.rpartition(".")[0]
        assert (frame[column].notna() == frame[part].eq("scaled")).all(), column
        assert frame[column].nunique() == (1 if column.endswith("power") else 2), column
    table = attnlab.summarise(frame, ["alignment_accuracy"])
    assert table["n"].tolist() == [6, 6, 6]
    assert not attnlab.referee(frame)["seen"].str.contains("power").any()
    stored = attnlab.load_run(before["run_id"].iloc[0], tmp_path / "s.db").run
    assert "power" not in stored.canonical, "the row is as it was run"
    assert columns(stored)["similarity.power"] == 1
    assert "model.learning_rate" not in columns(stored), "it was tuned"


def test_a_setting_that_is_newer_than_a_run_has_the_value_that_was_the_default_then():
    planned_once = planned(mechanism={"similarity": "scaled_dot"}, model="aligner")[0].spec
    lacking = {**planned_once, "model": {"aligner": {"optimizer": "adam"}}, "mechanism": {"single_head": {}}}
    found, whole = columns(Run.of(lacking)), columns(Run.of(planned_once))
    assert {c: v for c, v in found.items() if c != "model.steps"} == {
        c: v for c, v in whole.items() if c != "model.steps"
    }
    assert found["model.steps"] == 300, "as `former` of the aligner says"
    assert columns(Run.of({**lacking, "model": {"nobody": {"a": 1}}}))["model.a"] == 1, "not installed any more"


# -- plugin files --------------------------------------------------------------------------------------------------------
def test_a_plugin_file_may_be_renamed(tmp_path):
    source = (Path(__file__).parent / "data" / "version_1" / "mine.py").read_text()
    found = []
    for name in ("one.py", "elsewhere.py"):
        (tmp_path / name).write_text(source)
        configure(files=[str(tmp_path / name)])
        (run,) = planned(mechanism={"similarity": "halved"})
        found.append(run)
    assert found[0] == found[1]


def test_two_files_that_give_the_same_part_are_told_apart_in_words(tmp_path):
    source = (Path(__file__).parent / "data" / "version_1" / "mine.py").read_text()
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(source)
    configure(files=[str(tmp_path / name) for name in ("one.py", "two.py")])
    kept = registry.entry("similarity", "halved").version
    (broken,) = (p for p in plugins().records if p.status == "broken")
    assert broken.version != kept
    assert f"'halved' is given by two plugin files, {kept} and {broken.version}: give one" in broken.reason


# -- input files ---------------------------------------------------------------------------------------------------------
def test_the_working_directory_is_no_part_of_it(project, monkeypatch):
    here = plan(read("x.yaml"))
    monkeypatch.chdir(project.parent)
    assert plan(read("project/x.yaml")) == here
    shutil.copytree(project, project.parent / "copy")
    copied = plan(read("copy/x.yaml"))
    assert [run.run_id for run in copied] == [run.run_id for run in here]
    assert copied[0].spec["task"]["arrays"]["path"] == str(project.parent / "copy" / "data" / "mine.npz")
    arrays(project / "data" / "mine.npz", shift=1)
    assert {run.run_id for run in plan(read("project/x.yaml"))}.isdisjoint(run.run_id for run in here)


def test_the_numbers_are_the_same_wherever_the_file_is(project, monkeypatch):
    here = attnlab.sweep("x.yaml", store="a.db", executor="serial", quiet=True)
    shutil.copytree(project / "data", project.parent / "data")
    shutil.copy("x.yaml", project.parent)
    there = attnlab.sweep("../x.yaml", store="b.db", executor="serial", quiet=True)
    assert there["run_id"].tolist() == here["run_id"].tolist()
    assert there["context_error"].tolist() == here["context_error"].tolist()


def attnlab_run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "attnlab", *arguments]
    paths = os.pathsep.join([str(Path(attnlab.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})


def test_a_run_is_repeated_from_anywhere_and_after_its_project_has_moved(project, tmp_path):
    frame = attnlab.sweep("x.yaml", store="results/attnlab.db", executor="serial", quiet=True)
    name = frame["run_id"][0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = attnlab_run("run", name, "--store", str(project / "results" / "attnlab.db"), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    value = [line.split("\t")[2] for line in done.stdout.splitlines() if "context_error" in line]
    assert float(value[0]) == pytest.approx(frame["context_error"][0], rel=1e-2)
    project.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    done = attnlab_run("run", name, "--store", str(moved / "results" / "attnlab.db"), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    arrays(moved / "data" / "mine.npz", shift=1)
    done = attnlab_run("run", name, "--store", str(moved / "results" / "attnlab.db"), cwd=elsewhere)
    assert done.returncode == 2
    assert "mine.npz: the file of this run cannot be read" in done.stderr


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_a_file_that_changes_while_the_sweep_runs_gives_no_numbers(project, executor):
    """The change comes after the plan and before the run: a hook of a plugin that is told when the sweep starts."""
    (project / "late.py").write_text(
        "import shutil\nfrom attnlab import hookimpl\n\n\n@hookimpl\ndef attnlab_sweep_started(experiment, runs):\n"
        "    shutil.copy('other.npz', 'data/mine.npz')\n"
    )
    arrays(project / "other.npz", shift=1)
    configure(files=["late.py"])
    frame = attnlab.sweep("x.yaml", store="s.db", executor=executor, quiet=True)
    assert frame["status"].tolist() == ["failed", "failed"]
    assert frame["reason"].str.contains("the file has changed since the run was planned").all()
    assert "alignment_accuracy" not in frame
    configure()
    again = attnlab.sweep("x.yaml", store="s.db", executor="serial", quiet=True)
    assert again["status"].tolist() == ["ok", "ok"]
    assert set(again["run_id"]).isdisjoint(frame["run_id"])


def test_a_file_that_changes_while_it_is_read_gives_no_numbers(project):
    (project / "late.py").write_text(
        "import shutil\nfrom attnlab import Metric, hookimpl\n\n\nclass Late(Metric):\n"
        '    """Changes the file."""\n\n    name = "late"\n\n    def measure(self, data):\n'
        "        shutil.copy('other.npz', 'data/mine.npz')\n        return 0.0\n\n\n"
        "@hookimpl\ndef attnlab_metrics():\n    return [Late]\n"
    )
    arrays(project / "other.npz", shift=1)
    configure(files=["late.py"])
    (project / "shows.yaml").write_text(f"{ARRAYS}metrics: [alignment_accuracy, late]\n")
    frame = attnlab.sweep("shows.yaml", store="s.db", executor="serial", quiet=True)
    assert frame["status"].tolist() == ["failed", "failed"]


@pytest.mark.parametrize(
    ("name", "steps", "earlier"), [("aligner", 300, "fdc5bd2bd49a5d22"), ("seq2seq", 1000, "3124c547454ec2f9")]
)
def test_a_run_with_a_former_default_keeps_its_identity_and_the_present_default_is_another(name, steps, earlier):
    """The ids are those of version 0.2, of which the steps were the default."""
    given = {
        "attnlab": 1,
        "question": "q",
        "task": {"toy_translation": {"n_train": 8}},
        "mechanism": {"similarity": "dot"},
        "model": [{name: {"steps": steps}}, name],
        "seeds": 1,
    }
    before, now = plan(read(given))
    assert before.run_id == earlier
    assert now.run_id != earlier
    assert now.spec["model"][name]["steps"] is None
