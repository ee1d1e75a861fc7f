"""The referee finds each specimen, and nothing in clean results."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab.analysis.referee import leaking
from attnlab.analysis.referee.judging import CHECKS, reported
from attnlab.cli import cli
from attnlab.findings import CODES
from attnlab.registry import build, entries
from attnlab.results import FIRST
from attnlab.sweeps.columns import columns
from attnlab.sweeps.execute import data_rng
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.tasks.drawn import DrawnTask

RATES = [0.01, 0.03, 0.1]


def asked(**changes):
    """A sound experiment, with some keys otherwise; None leaves one out."""
    value = {
        "attnlab": 1,
        "question": "Which similarity finds the key?",
        "name": "sound",
        "task": {"lookup": {"n_keys": 8, "n_train": 64, "n_test": 32}},
        "mechanism": {"similarity": ["scaled_dot", "cosine"]},
        "model": {"aligner": {"projection": 8, "steps": 100}},
        "seeds": 8,
        "metrics": ["alignment_accuracy", "context_error"],
        "tune": {"model.learning_rate": RATES},
        "claims": [
            {
                "say": "cosine is better",
                "metric": "alignment_accuracy",
                "better": {"similarity": "cosine"},
                "than": {"similarity": "scaled_dot"},
                "by": 0.1,
            }
        ],
    }
    return {key: given for key, given in {**value, **changes}.items() if given is not None}


def results(experiment, change=lambda row: {}):
    """The table of a sweep whose numbers are made up: cosine .8, all others .5, with a little noise by seed."""
    import pandas as pd

    found = read(experiment)
    rng = np.random.default_rng(0)
    rows = []
    for run in plan(found):
        row = {FIRST[0]: found.name, FIRST[1]: run.run_id, **columns(run), "test": "test"}
        level = 0.8 if row["similarity"] == "cosine" else 0.5
        accuracy = level + 0.02 * rng.uniform(-1, 1)
        row |= {"alignment_accuracy": accuracy, "context_error": 1.2 - accuracy + 0.01 * rng.uniform(-1, 1)}
        row |= {"model.learning_rate": 0.03} if found.tune else {}
        row |= {"n_parameters": 128.0, "operations_per_query": 500.0, "converged": True}
        row |= {"n_tuned": len(RATES) if found.tune else 1, "status": "ok", "reason": "", "notes": ""}
        several = change(row)
        rows += [{**row, **one} for one in (several if isinstance(several, list) else [several])]
    frame = pd.DataFrame(rows).astype({"converged": "boolean"})
    frame.attrs = {"metrics": {found.name: list(found.metrics)}, "tuned": list(found.tune)}
    return frame


def codes(experiment, change=lambda row: {}):
    report = reported("sound", results(experiment, change), read(experiment))
    assert report.notes == [], report.notes
    return sorted({finding.code for finding in report.findings})


def by_seed(values, **where):
    """The accuracy of the runs of some columns, seed by seed."""

    def change(row):
        if any(row.get(column.replace("__", ".")) != value for column, value in where.items()):
            return {}
        return {"alignment_accuracy": values[row["seed"]], "context_error": 1.2 - values[row["seed"]]}

    return change


NORMALISERS = asked(
    mechanism={"similarity": "scaled_dot", "normaliser": ["sparsemax", "entmax"]},
    claims=None,
)
STEADY = [0.50, 0.51, 0.49, 0.50, 0.52, 0.50, 0.51, 0.49]
CLAIM = asked()["claims"][0]


def claim(**changes):
    return asked(claims=[{key: v for key, v in {**CLAIM, **changes}.items() if v is not None}])


ALONE = {"better": None, "than": None, "by": None}
SPECIMENS = {
    "R101 the greatest candidate is chosen": ("R101", asked(), lambda row: {"model.learning_rate": 0.1}),
    "R101 the least candidate is chosen by one mechanism": (
        "R101",
        asked(),
        lambda row: {"model.learning_rate": 0.01} if row["similarity"] == "scaled_dot" else {},
    ),
    "R101 the best rate of an axis": (
        "R101",
        asked(
            model={"aligner": {"projection": 8, "steps": 100, "learning_rate": RATES}},
            tune=None,
            claims=[{**CLAIM, "where": {"model.learning_rate": 0.1}}],
        ),
        lambda row: {
            "alignment_accuracy": row["alignment_accuracy"] - 0.1 * (row["model.learning_rate"] < 0.1),
            "context_error": row["context_error"] + 0.1 * (row["model.learning_rate"] < 0.1),
        },
    ),
    "R102 nothing is tuned": ("R102", asked(tune=None), lambda row: {}),
    "R102 one mechanism has more candidates": (
        "R102",
        asked(),
        lambda row: {"n_tuned": 9 if row["similarity"] == "cosine" else 3},
    ),
    "R103 the loss still falls": (
        "R103",
        asked(),
        lambda row: {"converged": row["similarity"] != "scaled_dot" or row["seed"] == 0},
    ),
    "R104 everybody solves it": (
        "R104",
        asked(claims=None),
        lambda row: {"alignment_accuracy": 0.995 + 0.001 * (row["seed"] % 3), "context_error": 0.1},
    ),
    "R104 nobody does better than a guess": (
        "R104",
        asked(claims=None),
        lambda row: {"alignment_accuracy": 0.125 + 0.004 * ((row["seed"] % 3) - 1), "context_error": 1.0},
    ),
    "R105 worse than uniform": (
        "R105",
        asked(mechanism={"similarity": ["scaled_dot", "cosine", "uniform"]}),
        lambda row: (
            {"alignment_accuracy": 0.6 + 0.01 * (row["seed"] % 2), "context_error": 0.6, "n_parameters": 0.0}
            if row["similarity"] == "uniform"
            else {}
        ),
    ),
    "R105 worse than guessing": ("R105", asked(), by_seed([0.01 * (i % 3) for i in range(8)], similarity="scaled_dot")),
    "R106 more parameters": (
        "R106",
        asked(),
        lambda row: {"n_parameters": 128.0 + 20 * (row["similarity"] == "cosine")},
    ),
    "R106 more operations": (
        "R106",
        asked(),
        lambda row: {"operations_per_query": 500.0 * (1 + (row["similarity"] == "cosine"))},
    ),
    "R107 one task in four settings": (
        "R107",
        asked(task={"lookup": {"n_keys": [8, 9, 10, 11], "n_train": 64}}),
        lambda row: {},
    ),
    "R108 two seeds": ("R108", asked(seeds=2, claims=None), lambda row: {}),
    "R108 a wide spread": (
        "R108",
        asked(claims=None),
        by_seed([0.45, 0.8, 0.62, 0.97, 0.3, 0.71, 0.9, 0.53], similarity="cosine"),
    ),
    "R109 one seed fails": ("R109", asked(), by_seed([*STEADY[:6], 0.2, 0.5], similarity="scaled_dot")),
    "R110 half of the seeds fail": (
        "R110",
        asked(),
        by_seed([0.5, 0.15, 0.51, 0.16, 0.49, 0.15, 0.5, 0.17], similarity="scaled_dot"),
    ),
    "R111 few possible examples": (
        "R111",
        asked(task={"copy": {"length": 3, "vocabulary": 2, "n_train": 256, "n_test": 64}}),
        lambda row: {},
    ),
    "R112 sparse weights without softmax": (
        "R112",
        NORMALISERS,
        lambda row: {"alignment_accuracy": row["alignment_accuracy"] + 0.2 * (row["normaliser"] == "entmax")},
    ),
    "R112 new similarities without the usual one": (
        "R112",
        asked(mechanism={"similarity": ["cosine", "neg_l2"]}, claims=None),
        lambda row: {},
    ),
    "R113 the bound is the effect": (
        "R113",
        claim(by=0.2865),
        lambda row: {},
    ),
    "R114 a bound beyond what is possible": ("R114", claim(**ALONE, at_most=1.0), lambda row: {}),
    "R114 no value could support it": ("R114", claim(**ALONE, at_least=1.5), lambda row: {}),
    "R114 both sides are the same thing": (
        "R114",
        asked(
            mechanism={"similarity": ["scaled_dot", "cosine", "dot"]},
            claims=[
                {
                    "say": "the divisor changes nothing",
                    "metric": "alignment_accuracy",
                    "equal": [{"similarity": "dot"}, {"similarity": "scaled_dot"}],
                    "within": 0.1,
                }
            ],
        ),
        lambda row: (
            {}
            if row["similarity"] == "cosine"
            else {"alignment_accuracy": STEADY[row["seed"]], "context_error": 1.2 - STEADY[row["seed"]]}
        ),
    ),
    "R115 better by what has no direction": (
        "R115",
        asked(
            metrics=["alignment_accuracy"],
            claims=[{**CLAIM, "metric": "weight_entropy"}],
        ),
        lambda row: {"weight_entropy": 0.9 - 0.02 * (row["seed"] % 3) - 0.5 * (row["similarity"] == "scaled_dot")},
    ),
    "R115 another metric says the opposite": (
        "R115",
        asked(),
        lambda row: {"context_error": row["alignment_accuracy"] + 0.01},
    ),
}


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_is_found_and_nothing_else(name):
    code, experiment, change = SPECIMENS[name]
    assert codes(experiment, change) == [code]


def test_every_code_has_a_specimen():
    elsewhere = {"R116"}  # tests/sweeps/test_predictions.py, since it takes a store
    assert {name.split()[0] for name in SPECIMENS} | elsewhere == set(CODES) == set(CHECKS)


def solved_by_cosine(row):
    """Cosine solves it, and any rate does; scaled_dot does not."""
    if row["similarity"] == "cosine":
        return {
            "alignment_accuracy": 0.99 + 0.001 * (row["seed"] % 4),
            "context_error": 0.1,
            "model.learning_rate": 0.01,
        }
    return {"converged": True}


def longer(row):
    """Two test conditions, the first of which everybody solves: a ladder."""
    easy = {"alignment_accuracy": 0.99 + 0.001 * (row["seed"] % 3), "context_error": 0.1}
    return [easy, {"test": "n=64"}, {"test": "n=256"}]


def bare(experiment):
    """The same where nothing is learned."""
    return {**experiment, "model": {"aligner": {"steps": 0}}, "tune": {}}


def failing(row):
    """The runs of `uniform` fail on one seed, and so do those of cosine on another."""
    lost = {"uniform": 2, "cosine": 5}.get(row["similarity"])
    if row["similarity"] == "uniform":
        row = {**row, "alignment_accuracy": 0.12 + 0.01 * (row["seed"] % 3), "context_error": 1.1, "n_parameters": 0.0}
    failed = {"status": "failed", "alignment_accuracy": np.nan, "context_error": np.nan, "n_parameters": np.nan}
    return {**row, **(failed if row["seed"] == lost else {})}


CLEAN = {
    "some runs failed": (asked(mechanism={"similarity": ["scaled_dot", "cosine", "uniform"]}, claims=None), failing),
    "as it is": (asked(), lambda row: {}),
    "one mechanism solves it at every rate": (asked(), solved_by_cosine),
    "a ladder of tests": (
        asked(task={"max_retrieval": {"n_keys": 16, "longer": {"value": [64, 256]}}}, claims=None),
        longer,
    ),
    "settings of a task that claims are about": (
        asked(
            task={"lookup": {"n_keys": [8, 9, 10], "n_train": 64}},
            claims=[{**CLAIM, "where": {"task.n_keys": n}} for n in (8, 9, 10)],
        ),
        lambda row: {},
    ),
    "three kinds of task": (asked(task=["lookup", "noisy_recall", "norm_hubs"]), lambda row: {}),
    "nothing is learned, so nothing is tuned": (
        bare(asked()),
        lambda row: {"n_parameters": 0.0, "operations_per_query": 500.0 * (1 + (row["similarity"] == "cosine"))},
    ),
    "uniform has no parameters": (
        asked(mechanism={"similarity": ["scaled_dot", "cosine", "uniform"]}),
        lambda row: (
            {
                "alignment_accuracy": 0.12 + 0.01 * (row["seed"] % 3),
                "context_error": 1.1,
                "n_parameters": 0.0,
                "operations_per_query": 20.0,
            }
            if row["similarity"] == "uniform"
            else {}
        ),
    ),
    "the end of a wide spread is no outlier": (
        asked(),
        by_seed([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.41, 0.39], similarity="scaled_dot"),
    ),
    "two that are alike, and shown to be": (
        asked(mechanism={"similarity": ["scaled_dot", "cosine", "general"]}),
        lambda row: {},
    ),
    "an identity that says so": (
        asked(
            claims=[
                {**CLAIM, "better": None, "than": None, "by": None, "at_most": 1.0, "exact": True, "why": "a share"}
            ]
        ),
        lambda row: {},
    ),
}
for found, _ in CLEAN.values():
    found.update({key: value for key, value in found.items() if value is not None})
    found["claims"] = [{k: v for k, v in one.items() if v is not None} for one in found.get("claims", [])]


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_found_in_clean_results(name):
    experiment, change = CLEAN[name]
    assert codes(experiment, change) == []


@pytest.mark.parametrize("error", [float("inf"), float("nan")])
@pytest.mark.parametrize("seeds", [range(8), range(1)])
def test_a_baseline_that_has_no_finite_value_in_some_seeds_or_in_none_is_read(error, seeds):
    asking = asked(mechanism={"similarity": ["scaled_dot", "cosine", "uniform"]}, claims=None)
    gone = {"context_error": error, "alignment_accuracy": 0.125, "n_parameters": 0.0}
    table = results(
        asking,
        lambda row: (
            {
                "alignment_accuracy": 0.125,
                "context_error": 1.0,
                "n_parameters": 0.0,
                **(gone if row["seed"] in seeds else {}),
            }
            if row["similarity"] == "uniform"
            else {}
        ),
    )
    found = reported("sound", table, read(asking)).findings  # a warning is an error here
    assert "R105" not in {finding.code for finding in found}


def test_loss_curves_say_more_than_one_flag_a_run():
    """A noisy curve that is flat over the seeds is no finding, whatever half of the runs say; one that falls is."""
    frame = results(asked(), lambda row: {"converged": row["seed"] % 2 == 0})
    rng = np.random.default_rng(1)
    flat = {run: 1 + 0.3 * rng.normal(size=200) for run in frame["run_id"]}
    falling = {run: np.linspace(2, 1, 200) + 0.05 * rng.normal(size=200) for run in frame["run_id"]}
    for curves, found in ((flat, []), (falling, ["R103"])):
        report = reported("sound", frame, read(asked()), type("Curves", (), {
            "curves": lambda self, rows, curves=curves: curves, "settled": lambda self, name: (), "why": lambda self, name: "",
        })())  # fmt: skip
        assert [f.code for f in report.findings] == found
    assert "the loss fell by" in report.findings[0].seen


def test_examples_that_are_not_drawn_again_do_not_repeat():
    """R111 draws no examples of tasks whose vectors are all noise. Drawn all the same, none of them is in training."""
    fresh = set()
    for name, (found, *_) in entries("task").items():
        spec = {name: {}}
        if issubclass(found.cls, DrawnTask) and leaking._never_repeats(spec, 0):
            splits = build("task", spec).make(data_rng(spec, 0))
            seen = {content for part in (splits.train, splits.validation) for content in leaking._each(part)}
            assert len(seen) == len(splits.train) + len(splits.validation), name
            assert not any(content in seen for data in splits.tests.values() for content in leaking._each(data)), name
            fresh.add(name)
    assert {"lookup", "norm_hubs", "max_retrieval"} <= fresh
    assert not {"copy", "sort", "mqar", "toy_translation"} & fresh


STRANGE = [math.nan, math.inf, -math.inf, 0.0, 1.0, 1e300, -1e300, 1e-320]
numbers = st.one_of(st.floats(0, 1), st.sampled_from(STRANGE))
CHOICES = {
    "run_id": st.sampled_from("abcdef"),
    "test": st.sampled_from(["test", "n=64"]),
    "status": st.sampled_from(["ok", "ok", "ok", "failed", "invalid"]),
    "seed": st.sampled_from([0, 1, 2, 3, None]),
    "task": st.sampled_from(["lookup", "sort", "gone_task", None]),
    "task.n_keys": st.sampled_from([4, 8, None]),
    "similarity": st.sampled_from(["scaled_dot", "uniform", "gone", None]),
    "normaliser": st.sampled_from(["softmax", "sparsemax"]),
    "model.learning_rate": st.sampled_from([0.01, 0.1, None, "auto"]),
    "model.steps": st.sampled_from([0, 100, None]),
    "converged": st.sampled_from([True, False, None]),
    "alignment_accuracy": numbers,
    "context_error": numbers,
    "n_parameters": numbers,
    "their_metric": numbers,
}


@pytest.mark.filterwarnings("error")
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.fixed_dictionaries(CHOICES), min_size=1, max_size=12),
    st.sets(st.sampled_from(sorted(set(CHOICES) - {"run_id", "test", "status"})), max_size=5),
    st.sampled_from([[], ["model.learning_rate"]]),
    st.sampled_from([["alignment_accuracy", "context_error"], ["their_metric"], ["context_error"], []]),
)
def test_the_referee_neither_fails_nor_warns(rows, absent, tuned, metrics):
    """Of whatever results: no check fails, which would be a note."""
    import pandas as pd

    frame = pd.DataFrame(rows).drop(columns=list(absent))
    frame.attrs = {
        "metrics": {"": metrics},
        "tuned": tuned,
        "candidates": {"model.learning_rate": RATES} if tuned else {},
    }
    assert attnlab.referee(frame).attrs["notes"] == []


# -- allowed ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "allow",
    [["R102"], [{"code": "R102", "why": "one rate suits all"}], {"R102": "one rate suits all"}, "R102"],
    ids=["code", "code and why", "by code", "alone"],
)
def test_what_the_file_allows_is_quiet(allow):
    experiment = asked(tune=None, allow=allow)
    assert codes(experiment) == []
    table = attnlab.referee(results(experiment), experiment)
    assert table.empty
    ((name, code, where, why),) = table.attrs["allowed"]
    assert (name, code, where) == ("sound", "R102", "model.learning_rate")
    assert why in (None, "one rate suits all")
    assert codes(asked(tune=None, allow=["R107"])) == ["R102"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("allow: [R102]  # one rate suits all", "one rate suits all"),
        ("allow:\n  - R107\n  - R102  # one rate suits all\n", "one rate suits all"),
        ("# one rate\n# suits all\nallow: [R102]\n", "one rate suits all"),
        ("allow:\n  # one rate suits all\n  - R102\n", "one rate suits all"),
        ("allow: [{code: R102, why: written out}]  # a remark", "written out"),
        ("allow: [R102]\n", None),
    ],
)
def test_a_comment_is_the_reason(tmp_path, text, why):
    value = asked(tune=None)
    file = tmp_path / "sound.yaml"
    lines = "\n".join(f"{key}: {json.dumps(one)}" for key, one in value.items())
    file.write_text(f"{lines}\n{text}")
    assert {one.code: one.why for one in read(file).allow}["R102"] == why


@pytest.mark.parametrize("allow", [["R999"], ["r102"], [{"code": "R102", "reason": "x"}], 3, [3], [{"why": "x"}]])
def test_a_mistaken_allow_is_refused_with_what_there_is(allow):
    with pytest.raises(attnlab.ExperimentError, match="allow") as refused:
        read(asked(allow=allow))
    assert re.search(r"R101|code|list|mapping|string", str(refused.value))


# -- the table --------------------------------------------------------------------------------------------------------
def test_a_table_of_several_experiments_and_without_their_files():
    import pandas as pd

    sound, other = asked(), asked(name="other", tune=None, claims=None)
    both = pd.concat([results(sound), results(other)], ignore_index=True)
    both.attrs = {"tuned": ["model.learning_rate"], "candidates": {"model.learning_rate": RATES}}
    table = attnlab.referee(both, [sound, other])
    assert list(table["experiment"]) == ["other"]
    assert list(table["code"]) == ["R102"]
    edge = results(sound, lambda row: {"model.learning_rate": 0.1})
    edge.attrs["candidates"] = {"model.learning_rate": RATES}
    assert list(attnlab.referee(edge)["code"]) == ["R101"]  # no file is needed for what the results show
    with pytest.raises(attnlab.SettingError, match="no rows of nobody"):
        attnlab.referee(both, asked(name="nobody"))
    with pytest.raises(attnlab.SettingError, match="tidy"):
        attnlab.referee(pd.DataFrame({"metric": [], "value": []}))


def test_the_command_from_sweep_to_strict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hubs.yaml"
    text = """attnlab: 1
question: Which normaliser?
task: {norm_hubs: {n_train: 1, n_validation: 1, n_test: 32}}
mechanism: {normaliser: [sparsemax, entmax]}
model: {aligner: {steps: 0}}
seeds: 4
metrics: gold_mass
"""
    file.write_text(text)
    run = CliRunner()
    swept = run.invoke(cli, ["sweep", "hubs.yaml", "-q", "--executor", "serial"], standalone_mode=False)
    assert swept.return_value == 0, swept.output
    assert "referee: R112 the baseline is missing. `attnlab referee hubs.yaml` says more" in swept.output
    for arguments in (["referee", "hubs.yaml"], ["referee"], ["referee", "--experiment", "hubs"]):
        said = run.invoke(cli, arguments, standalone_mode=False)
        assert said.return_value == 0, said.output
        assert "R112  the baseline is missing (normaliser)" in said.output
        assert "settle: softmax beside them" in said.output
    assert run.invoke(cli, ["referee", "--strict"], standalone_mode=False).return_value == 1
    (found,) = json.loads(run.invoke(cli, ["referee", "--format", "json"], standalone_mode=False).stdout)
    assert found["code"] == "R112"
    assert list(found) == ["experiment", "code", "finding", "where", "seen", "settle"]
    assert list(attnlab.referee(attnlab.load_results())["code"]) == ["R112"]
    assert list(attnlab.referee("results/attnlab.db")["code"]) == ["R112"]
    file.write_text(text + "allow: [{code: R112, why: only sparse ones are asked}, {code: R101, why: x}]\n")
    said = run.invoke(cli, ["referee", "hubs.yaml", "--strict"], standalone_mode=False)
    assert said.return_value == 0, said.output
    assert "allowed, only sparse ones are asked: the baseline is missing (normaliser)" in said.output
    assert "allow: R101 is not found" in said.stderr
    assert run.invoke(cli, ["referee", "hubs.yaml", "--experiment", "x"]).exit_code == 2


def test_every_code_has_a_page():
    folder = Path(attnlab.__file__).parent.parent / "docs" / "referee"
    assert {file.stem for file in folder.glob("R*.md")} == set(CODES)
    assert all(re.fullmatch(r"R\d{3}", code) for code in CODES)
