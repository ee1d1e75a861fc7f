"""The experiments that come with attnlab: each reads, plans, asks what its tasks can answer, and runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

import attnlab
from attnlab.registry import build, entry
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

FOLDER = Path(__file__).parents[1] / "experiments"
QUICK = sorted(FOLDER.glob("*.yaml"))
STUDIES = sorted(FOLDER.glob("study/*.yaml"))

# All quick experiments together are the first thing that a newcomer runs: within two minutes on two cores, and so it must stay.
# Most of the runs learn nothing and take hundredths of a second; the rest is counted by steps.
MOST_RUNS = 1100
MOST_RUNS_EACH = 200
MOST_STEPS = 150
MOST_STEPS_TOGETHER = 75_000
WIDEST = 256

every_experiment = pytest.mark.parametrize("path", [*QUICK, *STUDIES], ids=lambda path: path.stem)
every_quick_one = pytest.mark.parametrize("path", QUICK, ids=lambda path: path.stem)


def small_data(experiment):
    """The test conditions of each task of an experiment, with two examples in place of hundreds."""
    specs = {json.dumps(point.spec) for choice in experiment.tasks for point in choice.points()}
    for spec in sorted(specs):
        ((name, settings),) = json.loads(spec).items()
        few = {setting: 2 for setting in settings if setting in ("n_train", "n_validation", "n_test")}
        yield name, build("task", {name: {**settings, **few}}).make(np.random.default_rng(0)).tests


def conditions_of(selection):
    named = selection.get("test", [])
    return named if isinstance(named, list) else [named]


def test_there_are_experiments_and_their_names_differ():
    assert len(QUICK) >= 5
    names = [read(path).name for path in (*QUICK, *STUDIES)]
    assert len(set(names)) == len(names)


@every_experiment
def test_it_is_a_question_with_a_source_and_claims_over_five_seeds(path):
    experiment = read(path)
    assert experiment.question.endswith("?")
    assert experiment.source
    assert experiment.claims
    assert len(experiment.seeds) >= 5
    assert path.read_text(encoding="utf-8").startswith("# ")  # what is varied, and why the set-up is fair
    says = [claim.say for claim in experiment.claims]
    assert len(set(says)) == len(says)


@every_experiment
def test_it_plans_as_many_runs_as_its_grid_has_points(path):
    experiment = read(path)
    runs = plan(experiment)
    assert 0 < len(runs) == experiment.count


@every_experiment
def test_its_metrics_measure_its_tasks(path):
    experiment = read(path)
    wanted = {*experiment.metrics, *(metric for claim in experiment.claims for metric in claim.metrics)}
    for task, conditions in small_data(experiment):
        for condition, data in conditions.items():
            unfit = [metric for metric in sorted(wanted) if not build("metric", {metric: {}}).applies(data)]
            assert not unfit, f"{task}, {condition}"


@every_experiment
def test_its_claims_speak_of_conditions_that_its_tasks_have(path):
    experiment = read(path)
    there = {condition for _, conditions in small_data(experiment) for condition in conditions}
    for claim in experiment.claims:
        for selection in (claim.where, *(chosen for _, chosen in claim.selections())):
            assert set(conditions_of(selection)) <= there, claim.say


@every_experiment
def test_better_is_said_only_of_metrics_that_know_which_way_that_is(path):
    for claim in read(path).claims:
        if claim.form == "better":
            assert entry("metric", claim.metric).cls.direction in ("up", "down"), claim.say


@every_quick_one
def test_a_quick_experiment_stays_quick(path):
    runs = plan(read(path))
    assert len(runs) <= MOST_RUNS_EACH
    for run in runs:
        ((_, settings),) = run.spec["model"].items()
        assert settings["steps"] <= MOST_STEPS
        assert (settings["projection"] or 0) <= WIDEST


def test_all_quick_experiments_together_stay_quick():
    runs = {run.run_id: run for path in QUICK for run in plan(read(path))}
    assert len(runs) <= MOST_RUNS
    steps = [settings["steps"] for run in runs.values() for settings in run.spec["model"].values()]
    assert sum(steps) <= MOST_STEPS_TOGETHER


def to_try(path):
    """The experiment; one that tunes, or learns for 400 steps and more, with few steps and examples, and without claims about them."""
    spec = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    models = spec["model"] if isinstance(spec.get("model"), list) else [spec.get("model")]
    if "tune" not in spec and not any(most_steps(model) >= 400 for model in models):
        return path
    tasks = spec["task"] if isinstance(spec["task"], list) else [spec["task"]]
    small = [{name: {**chosen, "n_train": 64, "n_test": 8} for name, chosen in task.items()} for task in tasks]
    quick = [{name: {**settings, "steps": 50} for name, settings in model.items()} for model in models]
    spec = {key: value for key, value in spec.items() if key != "claims"}
    return {**spec, "name": path.stem, "task": small, "model": quick}


def most_steps(model):
    """Of a model as an experiment has it; 0 where it does not say."""
    found = [settings["steps"] for settings in model.values() if "steps" in settings] if isinstance(model, dict) else []
    return max((n for steps in found for n in (steps if isinstance(steps, list) else [steps])), default=0)


@every_experiment
def test_its_first_run_succeeds(path, tmp_path):
    frame = attnlab.sweep(to_try(path), limit=1, store=tmp_path / "results.db", executor="serial", quiet=True)
    assert list(frame["reason"].unique()) == [""]
    assert list(frame["status"].unique()) == ["ok"]
    assert frame["run_id"].nunique() == 1
    for metric in read(path).metrics:
        if metric != "steps_to_95":  # which a run may never reach
            assert np.isfinite(frame[metric]).all(), metric


# -- the experiment on text that users bring -------------------------------------------------------------------------------
def test_the_experiment_on_real_text_says_which_files_it_needs_and_runs_on_them(tmp_path, monkeypatch):
    original = FOLDER / "study" / "bitext" / "word_alignment.yaml"
    path = tmp_path / original.name
    path.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(attnlab.ExperimentError, match=r"no such file: data/hansards\.en-fr"):
        read(path)

    (tmp_path / "data").mkdir()
    pairs = ["the house ||| la maison", "a house ||| une maison", "the book ||| le livre", "a book ||| un livre"]
    links = ["1-1 2-2", "1p1 2-2", "1-1 2-2", "1-1 2-2"]
    for name, lines in (("hansards.en-fr", pairs), ("hansards.en-fr.gold", links)):
        (tmp_path / "data" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    experiment = read(path)
    assert experiment.question.endswith("?")
    assert experiment.claims
    assert len(plan(experiment)) == experiment.count
    frame = attnlab.sweep(path, store=tmp_path / "results.db", executor="serial", quiet=True)
    assert list(frame["status"].unique()) == ["ok"]
    assert frame[list(experiment.metrics)].notna().all(axis=None)


def test_no_text_of_others_is_part_of_the_project():
    ignored = (FOLDER / "study" / "bitext" / ".gitignore").read_text(encoding="utf-8").split()
    assert ignored == ["data/"]
