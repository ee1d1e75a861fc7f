"""The same experiment with more steps: what is multiplied, what is not, and which verdicts that changes."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from attnlab.cli import cli
from attnlab.errors import SettingError
from attnlab.sweeps.experiment.longer import longer
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

GIVEN = {
    "attnlab": 1,
    "name": "short",
    "question": "Are these steps enough?",
    "task": {"lookup": {"d": 8, "n_keys": 4, "noise": 0.1, "n_train": 256, "n_validation": 8}},
    "mechanism": {"similarity": "general"},
    "model": {"aligner": {"steps": [2, 40], "learning_rate": 0.1}},
    "seeds": 3,
    "claims": [
        {"say": "two steps are few", "metric": "alignment_accuracy", "at_most": 0.9, "where": {"model.steps": 2}},
        {
            "say": "forty are more",
            "metric": "alignment_accuracy",
            "better": {"model.steps": 40},
            "than": {"model.steps": 2},
        },
        {
            "say": "alike",
            "metric": "context_error",
            "equal": [{"model.steps": 2}, {"model.steps": 40}],
            "within": 5,
        },
    ],
}


def steps_of(experiment):
    return sorted({next(iter(run.spec["model"].values()))["steps"] for run in plan(experiment)}, key=str)


def test_steps_are_multiplied_in_the_grid_and_in_claims_and_nothing_else_is():
    one = read(GIVEN)
    more = longer(one, 4)
    assert (more.name, steps_of(more)) == ("short-longer-4", [160, 8])
    assert more.claims[0].where == {"model.steps": 8}
    assert (more.claims[1].better, more.claims[1].than) == ({"model.steps": 160}, {"model.steps": 8})
    assert more.claims[2].equal == [{"model.steps": 8}, {"model.steps": 160}]
    kept = json.loads(more.text)
    assert kept["task"] == GIVEN["task"]
    assert kept["model"]["aligner"]["learning_rate"] == 0.1
    assert {run.seed for run in plan(more)} == {0, 1, 2}
    assert len(plan(more)) == len(plan(one))


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        ({"aligner": {"steps": 3}}, [12]),
        ([{"aligner": {"steps": 3}}, {"seq2seq": {"steps": {"value": 5}}}], [12, 20]),
        ([{"aligner": {"steps": 3}}, "aligner"], [12, None]),  # without steps: until validation no longer improves
    ],
)
def test_models_are_written_in_several_ways(model, steps):
    given = {**GIVEN, "model": model, "claims": [], "task": {"copy": {"n_train": 8}}}
    assert steps_of(longer(read(given), 4)) == sorted(steps, key=str)


def test_iterations_are_steps_also_where_the_file_leaves_them_out():
    given = {**GIVEN, "model": "word_aligner", "claims": [], "task": {"toy_translation": {"n_train": 8}}}
    run = plan(longer(read(given), 2))[0]
    assert run.spec["model"]["word_aligner"]["iterations"] == 16


def test_tuned_steps_are_multiplied():
    given = {**GIVEN, "model": "aligner", "claims": [], "tune": {"model.steps": [3, 5], "model.learning_rate": [0.1]}}
    assert longer(read(given), 3).tune == {"model.steps": [9, 15], "model.learning_rate": [0.1]}


@pytest.mark.parametrize("model", ["aligner", {"aligner": {"steps": 0}}, {"aligner": {"steps": None}}])
def test_where_there_is_nothing_to_multiply_there_is_no_longer_experiment(model):
    assert longer(read({**GIVEN, "model": model, "claims": []}), 4) is None


def test_once_is_refused():
    with pytest.raises(SettingError, match="longer must be 2 or more; got 1"):
        longer(read(GIVEN), 1)


def test_the_command_lists_the_verdicts_that_change_and_publishes_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.yaml").write_text(json.dumps({k: v for k, v in GIVEN.items() if k != "name"}), encoding="utf-8")
    run = CliRunner().invoke(cli, ["sweep", "short.yaml", "--longer", "20", "--executor", "serial", "-q"])
    assert run.exit_code == 0, run.output
    table = run.output[run.output.index("with 20 times the steps") :]
    assert re.search(r"short +two steps are few +alignment_accuracy +supported.* refuted", table)
    assert "alike" not in table  # a verdict that does not change
    page = CliRunner().invoke(cli, ["claims", "short.yaml", "--longer", "20", "--format", "markdown"])
    assert page.exit_code == 0
    assert page.stdout.count("\n") == 2 + len(GIVEN["claims"])
    rows = json.loads(CliRunner().invoke(cli, ["claims", "--longer", "20", "--format", "json"]).stdout)
    assert [row["experiment"] for row in rows] == ["short"] * 3  # not once more of short-longer-20
    assert (rows[0]["verdict"], rows[0]["longer_verdict"], rows[0]["changes"]) == ("supported", "refuted", True)
    assert not rows[2]["changes"]
    planned = CliRunner().invoke(cli, ["sweep", "short.yaml", "--longer", "20", "--dry-run"])
    assert "0 to run, 12 to keep" in planned.output
