"""A claim that can compare nothing is told before its runs, and only such a claim: the warning says what the judgement will say."""

import pandas as pd
import pytest

from attnlab.analysis.claims import judge
from attnlab.sweeps.columns import columns
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from tests.commands import attnlab_command

TWO = [{"similarity": "dot"}, {"similarity": ["cosine", "additive"], "normaliser": "sparsemax"}]
TASKS = [{"copy": {"length": 8}}, {"reverse": {"length": [8, 16]}}]
METRIC = {"say": "s", "metric": "alignment_accuracy"}
NOTHING = ("share no grid point", "share no seed", "and a correlation takes 4")


def sides(one, other, **more):
    return {**METRIC, "better": one, "than": other, **more}


def experiment(claim, **more):
    spec = {"attnlab": 1, "question": "?", "task": "lookup", "mechanism": TWO, "seeds": 3, "claims": [claim]}
    return read({**spec, **more})


DOT, COSINE = {"similarity": "dot"}, {"similarity": "cosine"}
CASES = {
    "another normaliser": (sides(DOT, COSINE), {}, "They differ in normaliser: 'softmax', and 'sparsemax'; select by normaliser"),
    "equal as well": ({**METRIC, "equal": [DOT, COSINE], "within": 0.1}, {}, "normaliser"),
    "both are named": (sides({**DOT, "normaliser": "softmax"}, {**COSINE, "normaliser": "sparsemax"}), {}, ""),
    "the same normaliser": (sides({"similarity": "additive"}, COSINE), {}, ""),
    "some of the points": (sides(DOT, COSINE), {"mechanism": [*TWO, COSINE]}, ""),
    "a setting that only one side has": (sides({"task": "copy"}, {"task": "reverse"}), {"task": TASKS}, ""),
    "a setting that both have": (
        sides({"task": "copy"}, {"task": "reverse"}),
        {"task": [{"copy": {"n_train": 32}}, {"reverse": {"n_train": 64}}], "mechanism": DOT},
        "",
    ),
    "other models": (
        sides({"model.steps": 5}, {"model.steps": 6}),
        {"model": [{"aligner": {"steps": 5, "batch_size": 1}}, {"aligner": {"steps": 6, "batch_size": 2}}]},
        "model.batch_size: 1, and 2",
    ),
    "two columns together": (
        sides(DOT, COSINE),
        {"mechanism": [{**DOT, "normaliser": "sparsemax", "mask": "causal"}, DOT,
                       {**COSINE, "normaliser": "sparsemax"}, {**COSINE, "mask": "causal"}]},
        "mask: 'causal', 'all', and 'all', 'causal'; normaliser: 'sparsemax', 'softmax', and",
    ),
    "other seeds": (sides({"seed": 0}, {"seed": 1}), {}, "share no seed"),
    "what is tuned": (
        sides(DOT, {"similarity": "additive"}),
        {"mechanism": [DOT, {"similarity": "additive"}], "tune": {"model.learning_rate": [0.1, 0.01]}},
        "",
    ),
    "three mechanisms": ({"say": "s", "correlation": ["aer", "gold_mass"]}, {}, "takes 4 mechanisms, and 3 are planned"),
    "four mechanisms": ({"say": "s", "correlation": ["aer", "gold_mass"]}, {"mechanism": [*TWO, COSINE]}, ""),
    "four tasks and a mechanism": (
        {"say": "s", "correlation": ["aer", "gold_mass"], "where": DOT},
        {"task": {"lookup": {"d": [4, 8, 16, 32]}}},
        "1 is planned",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("claim", "more", "said"), CASES.values(), ids=CASES)
def test_the_warning_and_the_judgement_agree(claim, more, said):
    found = experiment(claim, **more)
    rows = [columns(run) | {"run_id": run.run_id} for run in plan(found)]
    frame = pd.DataFrame(rows).assign(test="test", status="ok", reason="")
    for i, metric in enumerate(found.claims[0].metrics):
        frame[metric] = [((7 * j + 3 * i) % 11) / 11 for j in range(len(frame))]
    (judged,) = judge(frame, found)
    assert any(words in judged.decision.reason for words in NOTHING) == bool(said)
    assert len(found.warnings) == bool(said)
    assert said in " ".join(found.warnings)


def test_commands_say_so_before_anything_runs(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "attnlab: 1\nquestion: q\ntask: {lookup: {n_train: 8, n_test: 8, n_validation: 8}}\nseeds: 1\nmodel: {aligner: {steps: 1}}\n"
        "mechanism: [{similarity: dot}, {similarity: cosine, normaliser: sparsemax}]\nclaims:\n"
        "  - {say: s, metric: aer, better: {similarity: dot}, than: {similarity: cosine}}\n"
    )
    for command in ("plan", "preregister", "sweep"):
        done = attnlab_command(
            command, "x.yaml", *["-q", "--executor=serial"][: 2 * (command == "sweep")], cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("attnlab: warning: x.yaml:8:60: the two sides share no grid point") == 1
