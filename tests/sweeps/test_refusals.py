"""What cannot work is refused before anything runs: `plan` lists it with its reason, and a sweep records it as `skipped`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attnlab
from attnlab import cli
from attnlab.mechanisms.binding import step_of
from attnlab.sweeps.execute import execute
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.pipeline import plan_with_reasons, sweep
from attnlab.sweeps.plan import plan
from attnlab.sweeps.refusals import refusal
from attnlab.sweeps.run import Run

TASK = {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_test": 8}}


def experiment(mechanism, model=None, **more):
    return {
        "attnlab": 1,
        "question": "Which are refused?",
        "name": "refused",
        "task": TASK,
        "mechanism": mechanism,
        "model": model or {"aligner": {"steps": 2, "projection": 2}},
        "seeds": 1,
        "metrics": ["alignment_accuracy"],
        **more,
    }


def planned(mechanism, model=None, **more):
    ((_, found),) = plan_with_reasons([experiment(mechanism, model, **more)], "no-such-store.db")
    return found


REFUSED = {
    "signs": ({"similarity": "dot", "normaliser": "l1"}, "the scores of the similarity 'dot' have any sign"),
    "signs by a position": (
        {"similarity": "taylor", "normaliser": "l1", "position": "alibi"},
        "the position 'alibi' may make a score negative",
    ),
    "signs by a modifier": (
        {"similarity": "taylor", "normaliser": "l1", "modifier": "forget"},
        "the modifier 'forget' may make a score negative",
    ),
    "sums": ({"normaliser": "sigmoid", "aggregator": "parallax"}, "those of the normaliser 'sigmoid' do not"),
    "sums by a position": (
        {"aggregator": "local_linear", "position": "gaussian_local"},
        "the position 'gaussian_local' reweighs them",
    ),
    "orders": (
        {"similarity": "coverage", "modifier": "selective"},
        "the similarity 'coverage' goes query by query, and the modifier 'selective' needs the scores of all queries at once",
    ),
    "heads that point": (
        {"multi_head": {"mechanism": {"similarity": "dot", "aggregator": "pointer"}}},
        "the aggregator of 'single_head' gives one feature for each key",
    ),
    "deep inside": (
        {"mixture": {"first": {"multi_head": {"mechanism": {"similarity": "dot", "normaliser": "l1"}}}}},
        "first of 'mixture': mechanism of 'multi_head': the normaliser 'l1'",
    ),
    "talking heads that remember": (
        {"talking_heads": {"normaliser": "monotonic"}},
        "'monotonic' remembers the weights",
    ),
    "talking heads of any sign": ({"talking_heads": {"normaliser": "l1"}}, "the normaliser 'l1' weighs"),
}


@pytest.mark.parametrize(("mechanism", "why"), REFUSED.values(), ids=REFUSED)
def test_it_is_planned_as_skipped_with_its_reason(mechanism, why):
    (only,) = planned(mechanism)
    assert only.action == "skip"
    assert only.reason.startswith("missing; refused: ")
    assert why in only.reason


@pytest.mark.parametrize(
    "mechanism",
    [
        {"similarity": "dot", "normaliser": "compact_kernel", "aggregator": "local_linear"},
        {"similarity": "taylor", "normaliser": "l1", "position": "short_conv", "modifier": "softcap"},
        {"similarity": "coverage", "normaliser": "monotonic"},
        {"similarity": "dot", "normaliser": "l1", "mask": "causal", "position": "none"} | {"similarity": "uniform"},
        {"talking_heads": {}},
    ],
    ids=str,
)
def test_what_works_is_not_refused(mechanism):
    (only,) = planned(mechanism)
    assert (only.action, only.reason) == ("run", "missing")
    assert execute(only.run).status == "ok"


MODELS = {
    "a decoder has one query": (
        {"seq2seq": {"steps": 2}},
        {"similarity": "dot", "modifier": "selective"},
        "a step has one query",
    ),
    "a decoder has one query, deep inside": (
        {"seq2seq": {"steps": 2}},
        {"hopfield": {"mechanism": {"similarity": "dot", "modifier": "multi_token"}}},
        "mechanism of 'hopfield': the modifier 'multi_token' needs the scores of other queries",
    ),
    "a decoder reads values": ({"seq2seq": {"steps": 2}}, {"aggregator": "pointer"}, "points at keys"),
    "classes of alignments": (
        {"aligner": {"mix": "predictions", "objective": "alignment"}},
        {"similarity": "dot"},
        'objective="alignment" has none',
    ),
}


@pytest.mark.parametrize(("model", "mechanism", "why"), MODELS.values(), ids=MODELS)
def test_a_model_says_what_it_cannot_learn(model, mechanism, why):
    (only,) = planned(mechanism, model)
    assert only.action == "skip"
    assert why in only.reason


def test_a_model_that_uses_no_mechanism_refuses_none():
    (only,) = planned({"similarity": "dot", "normaliser": "l1"}, {"seq2seq": {"steps": 2, "context": "fixed"}})
    assert only.action == "run"


def test_a_sweep_records_it_without_running_it(tmp_path, monkeypatch):
    given = experiment({"similarity": ["dot", "taylor"], "normaliser": "l1"})
    frame = sweep(given, store=tmp_path / "s.db", executor="serial", quiet=True)
    found = frame.set_index("similarity")
    assert dict(found["status"]) == {"dot": "skipped", "taylor": "ok"}
    assert "have any sign" in found.loc["dot", "reason"]
    assert found.loc["dot", "fit_seconds"] != found.loc["dot", "fit_seconds"]  # NaN: nothing was fitted
    ((_, again),) = plan_with_reasons([given], tmp_path / "s.db")
    kept = {p.run.spec["mechanism"]["single_head"]["similarity"].popitem()[0]: p for p in again}
    assert {p.action for p in again} == {"keep"}
    assert kept["dot"].reason.startswith("done: skipped: the normaliser 'l1'")
    assert kept["taylor"].reason == "done"


def test_the_data_of_a_refused_run_are_never_drawn(tmp_path):
    """The run would fail when it draws its data; it is skipped, since it is refused before."""
    given = experiment({"similarity": "dot", "normaliser": "l1"})
    given["task"] = {"arrays": {"path": str(tmp_path / "data.npz")}}
    K = np.ones((8, 2, 2))
    np.savez(tmp_path / "data.npz", Q=K, K=K, V=K, target=K)
    read_already = read(given)
    (run,) = plan(read_already)
    (tmp_path / "data.npz").write_bytes(b"no longer what it was")
    assert execute(run).status == "failed"
    frame = sweep(read_already, store=tmp_path / "s.db", executor="serial", quiet=True)
    assert list(frame["status"]) == ["skipped"]


def test_a_limit_counts_no_refused_runs(tmp_path):
    given = experiment({"similarity": ["dot", "taylor"], "normaliser": "l1"})
    frame = sweep(given, store=tmp_path / "s.db", executor="serial", quiet=True, limit=1)
    assert sorted(frame["status"]) == ["ok", "skipped"]


def test_a_run_that_is_tuned_is_refused_too():
    (only,) = planned({"similarity": "dot", "normaliser": "l1"}, tune={"model.learning_rate": [0.1, 0.01]})
    assert only.action == "skip"


def test_the_command_lists_the_reasons(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(experiment({"similarity": ["dot", "taylor"], "normaliser": "l1"})))
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", str(path), "--store", str(tmp_path / "s.db")])
    out = capsys.readouterr()
    assert ended.value.code == 0
    assert "missing; refused: the normaliser 'l1' weighs scores of zero and above" in out.out
    assert "attnlab: 1 to run, 1 to record as skipped, 0 to keep" in out.err


def test_a_run_that_cannot_be_built_is_not_refused_but_fails():
    assert refusal(Run.of({"seed": 0})) == ""


class Formless(attnlab.MechanismComponent):
    """Sums up without weights."""

    name = "formless"
    forms_weights = False

    def init(self, rng, d_query, d_key, d_value):
        return {}

    def attend(self, params, Q, K, V, mask=None):
        return Q @ (np.swapaxes(K, -1, -2) @ V)

    def weights(self, params, Q, K, mask=None):
        raise attnlab.Unsupported("formless forms no weights")


def test_weights_are_not_wanted_of_what_forms_none():
    for model in (attnlab.AttentionAligner, attnlab.AttentionSeq2Seq):
        assert model(Formless()).refusal() == (
            "mechanism 'formless' forms no weights, by which this model aligns: choose a mechanism that does"
        )


# -- what is not refused before is refused when it attends ------------------------------------------------------------
def test_parts_that_go_query_by_query_refuse_what_couples_queries():
    drawn = np.random.default_rng(0)
    Q, K = drawn.normal(size=(3, 2)), drawn.normal(size=(4, 2))
    mechanism = attnlab.Mechanism("coverage", modifier="selective")
    params = mechanism.init(0, 2, 2, 2)
    for verb in (lambda: mechanism.weights(params, Q, K), lambda: mechanism.attend(params, Q, K, K)):
        with pytest.raises(attnlab.Unsupported, match="'coverage' goes query by query, and the modifier 'selective'"):
            verb()


class OverQueries(attnlab.Normaliser):
    """Each key is shared by the queries."""

    name = "over_queries"
    couples_rows = True

    def normalise(self, S):
        return np.exp(S) / np.exp(S).sum(axis=-2, keepdims=True)


def test_a_step_refuses_a_normaliser_that_couples_queries():
    Q, K = np.ones((1, 2)), np.ones((4, 2))
    for mechanism in (
        attnlab.Mechanism("dot", OverQueries()),
        attnlab.get("mechanism", "talking_heads", normaliser=OverQueries()),
    ):
        params = mechanism.init(np.random.default_rng(0), 2, 2, 2)
        assert (
            mechanism.refusal_of_steps()
            == "the normaliser 'over_queries' needs the scores of other queries; a step has one query"
        )
        with pytest.raises(attnlab.Unsupported, match="a step has one query"):
            mechanism.step(params, Q, K, K, None, 0)
    heads = attnlab.get("mechanism", "multi_head", mechanism=attnlab.Mechanism("dot", OverQueries()))
    with pytest.raises(attnlab.Unsupported, match="mechanism of 'multi_head'"):
        step_of(heads, heads.init(np.random.default_rng(0), 2, 2, 2), Q, K, K, None, 0)
