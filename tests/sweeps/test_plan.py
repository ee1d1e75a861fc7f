"""Planning: the grid, its canonical runs, and what is to be done about each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab import registry
from attnlab.errors import ExperimentError, SettingError
from attnlab.kinds import PARTS
from attnlab.sweeps.columns import columns, only, with_chosen
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.fingerprint import fingerprints
from attnlab.sweeps.plan import Planned, decide, parse_rerun, plan
from attnlab.sweeps.run import Run


@pytest.fixture(autouse=True, scope="module")
def strangers() -> Iterator[None]:
    before = dict(registry._registered)

    class Stretched(attnlab.Similarity):
        """Dot product, stretched; its setting is not declared."""

        name = "stretched"

        def __init__(self, scale=1.0, shape=(1, 2)):
            self.scale, self.shape = scale, shape

        def score(self, Q, K):
            return Q @ K.swapaxes(-1, -2) * self.scale

    class Around(attnlab.MechanismComponent):
        """Another mechanism, several times."""

        name = "around"

        def __init__(self, times: int = 2, mechanism="single_head"):
            self.times, self.mechanism = times, mechanism

    class Over(attnlab.MechanismComponent):
        """A mechanism with a normaliser of its own around it."""

        name = "over"

        def __init__(self, normaliser="softmax", mechanism="single_head"):
            self.normaliser, self.mechanism = normaliser, mechanism

    for cls in (Stretched, Around, Over):
        attnlab.register(cls)
    yield
    registry._registered.clear()
    registry._registered.update(before)


def planned(**keys: Any) -> tuple[Run, ...]:
    return plan(read({"attnlab": 1, "question": "q", "task": "lookup", "seeds": 1, **keys}))


# -- the grid ---------------------------------------------------------------------------------------------------------
def test_a_run_is_complete_and_canonical() -> None:
    (run,) = planned(task={"lookup": {"d": 4}}, mechanism={"similarity": {"stretched": {"scale": 2}}})
    spec = run.spec
    assert spec["seed"] == 0
    assert spec["tune"] == {}
    assert "inputs" not in spec
    assert spec["task"]["lookup"]["d"] == 4
    assert set(spec["task"]["lookup"]) == set(registry.resolve("task", "lookup", {}))
    assert spec["mechanism"] == {
        "single_head": {
            "similarity": {"this-process:stretched": {"scale": 2.0, "shape": [1, 2]}},
            "normaliser": {"softmax": {"temperature": 1.0}},
            "aggregator": {"weighted_sum": {}},
            "position": {"none": {}},
            "mask": {"all": {}},
            "modifier": {"none": {}},
        }
    }
    assert not {"mechanism", "random_state"} & set(spec["model"]["aligner"])
    assert run.canonical == json.dumps(spec, sort_keys=True, separators=(",", ":"))


def test_every_list_is_an_axis() -> None:
    runs = planned(
        task=["copy", {"lookup": {"d": [4, 8]}}],
        mechanism=[
            {"similarity": ["dot", {"stretched": {"scale": [1, 2]}}], "normaliser": ["softmax", "sparsemax"]},
            {"similarity": "cosine", "mask": "causal"},
        ],
        model={"aligner": {"steps": [1, 2]}},
        seeds=[3, 5],
    )
    assert len(runs) == 3 * (3 * 2 + 1) * 2 * 2
    assert len({run.run_id for run in runs}) == len(runs)
    assert [run.seed for run in runs[:4]] == [3, 5, 3, 5]
    rows = [columns(run) for run in runs]
    assert {row["task"] for row in rows} == {"copy", "lookup"}
    assert {(row["similarity"], row["mask"]) for row in rows} == {
        ("dot", "all"),
        ("stretched", "all"),
        ("cosine", "causal"),
    }


def test_masks_combine() -> None:
    window = {"window": {"width": [1, 2]}}
    (one,) = planned(mechanism={"mask": {"value": ["causal", {"window": {"width": 2}}]}})
    assert one.spec["mechanism"]["single_head"]["mask"] == {"causal": {}, "window": {"width": 2}}
    row = columns(one)
    assert (row["mask"], row["mask.window.width"]) == ("causal+window", 2)
    assert "causal+window" in one.label()
    assert planned(mechanism={"mask": [[{"window": {"width": 2}}, "causal"]]}) == (one,), "their order means nothing"
    assert planned(mechanism={"mask": {"value": ["causal"]}}) == planned(mechanism={"mask": "causal"})
    five = planned(mechanism={"mask": ["all", "causal", {"value": [window, "causal"]}, [window]]})
    assert [columns(run)["mask"] for run in five] == ["all", "causal", *["causal+window"] * 2, *["window"] * 2]
    assert len(only(five, "mask=causal+window,mask.window.width=2")) == 1
    tuned = planned(mechanism={"mask": [["causal", "window"]]}, tune={"mask.window.width": [1, 2]})
    assert tuned[0].spec["tune"] == {"mask.window.width": [1, 2]}
    assert with_chosen(tuned[0], {"mask.window.width": 2})["mechanism"] == one.spec["mechanism"]
    assert {"mask.causal", "mask.window"} < set(fingerprints(one))


def test_a_list_setting_is_written_as_a_value() -> None:
    (run,) = planned(mechanism={"similarity": {"stretched": {"shape": {"value": [3, 4]}}}})
    assert run.spec["mechanism"]["single_head"]["similarity"]["this-process:stretched"]["shape"] == [3, 4]
    assert columns(run)["similarity.shape"] == "[3, 4]"
    two = planned(mechanism={"similarity": {"stretched": {"shape": [{"value": [3, 4]}, {"value": [5]}]}}})
    assert len(two) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"task": "lookup"}, {"task": {"lookup": None}}),
        ({"task": "lookup"}, {"task": "attnlab:lookup"}),
        ({"task": {"lookup": {"noise": 0}}}, {"task": {"lookup": {"noise": -0.0}}}),
        ({"task": {"lookup": {"noise": 1}}}, {"task": {"lookup": {"noise": [1.0, 1]}}}),
        ({"mechanism": {}}, {"mechanism": "single_head"}),
        ({"mechanism": {"mask": "all"}}, {"mechanism": [{}, {"similarity": ["scaled_dot", {"scaled_dot": {}}]}]}),
        ({"mechanism": {"similarity": "stretched"}}, {"mechanism": {"single_head": {"similarity": "this-process:stretched"}}}),
        ({"mechanism": {"similarity": {"stretched": {"scale": 3}}}}, {"mechanism": {"similarity": {"stretched": {"scale": 3.0}}}}),
        ({"model": "aligner"}, {"model": {"aligner": {"projection": None}}}),
        ({"seeds": 2}, {"seeds": [0, 1]}),
        ({}, {"metrics": ["aer"], "name": "other", "limits": {"time": "3s"}, "source": "x"}),
    ],
)  # fmt: skip
def test_what_means_the_same_is_the_same_run(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert planned(**one) == planned(**other)


def test_what_differs_is_another_run() -> None:
    variants = [
        {},
        {"task": {"lookup": {"noise": 0.2}}},
        {"mechanism": {"similarity": "dot"}},
        {"model": {"aligner": {"steps": 7}}},
        {"seeds": [1]},
        {"tune": {"model.steps": [3, 4]}},
        {"tune": {"model.steps": [3, 5]}},
    ]
    assert len({planned(**keys)[0].run_id for keys in variants}) == len(variants)


@settings(max_examples=50)
@given(
    dims=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    similarities=st.lists(st.sampled_from(["dot", "cosine", "neg_l2", "additive"]), min_size=1, max_size=4),
    seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=4, unique=True),
)
def test_planning_is_pure_and_the_grid_is_the_product(
    dims: list[int], similarities: list[str], seeds: list[int]
) -> None:
    keys: dict[str, Any] = {"task": {"lookup": {"d": dims}}, "mechanism": {"similarity": similarities}, "seeds": seeds}
    runs = planned(**keys)
    assert runs == planned(**dict(reversed(keys.items())))
    wanted = list(itertools.product(dict.fromkeys(dims), dict.fromkeys(similarities), seeds))
    assert [(c["task.d"], c["similarity"], c["seed"]) for c in map(columns, runs)] == wanted
    assert len({run.run_id for run in runs}) == len(runs)


def test_columns_stand_in_the_order_of_the_frame() -> None:
    (run,) = planned(mechanism={"similarity": {"stretched": {"scale": 2}}})
    heads = [column for column in columns(run) if "." not in column]
    assert heads == ["task", *PARTS, "mechanism", "model", "seed"]
    assert columns(run)["similarity"] == "stretched"
    assert columns(run)["similarity.scale"] == 2.0


# -- mechanisms in mechanisms -----------------------------------------------------------------------------------------
def test_a_mechanism_around_another() -> None:
    runs = planned(mechanism={"around": {"times": [2, 3], "mechanism": {"similarity": ["dot", "cosine"]}}})
    assert len(runs) == 4
    row = columns(runs[0])
    assert (row["mechanism"], row["mechanism.times"], row["mechanism.mechanism"]) == ("around", 2, "single_head")
    assert (row["similarity"], row["normaliser.temperature"]) == ("dot", 1.0)
    inner = runs[0].spec["mechanism"]["this-process:around"]["mechanism"]
    assert list(inner) == ["single_head"]


def test_a_part_of_the_outer_mechanism_keeps_its_column() -> None:
    (run,) = planned(mechanism={"over": {"normaliser": "sparsemax", "mechanism": {"normaliser": "softmax"}}})
    row = columns(run)
    assert (row["normaliser"], row["mechanism.mechanism.normaliser"]) == ("sparsemax", "softmax")
    tuned = planned(
        mechanism={"over": {"normaliser": "sparsemax", "mechanism": {"normaliser": "softmax"}}},
        tune={"mechanism.mechanism.normaliser.temperature": [1, 2]},
    )
    assert tuned[0].spec["tune"] == {"mechanism.mechanism.normaliser.temperature": [1.0, 2.0]}
    spec = with_chosen(tuned[0], {"mechanism.mechanism.normaliser.temperature": 2.0})
    ((_, outer),) = spec["mechanism"].items()
    assert outer["mechanism"]["single_head"]["normaliser"] == {"softmax": {"temperature": 2.0}}
    assert outer["normaliser"] == {"sparsemax": {}}


# -- tuning -----------------------------------------------------------------------------------------------------------
def test_tuned_settings_stand_in_tune_and_only_where_they_apply() -> None:
    dot, stretched = planned(
        mechanism={"similarity": ["dot", "stretched"]},
        tune={"similarity.scale": [2, 1, 2.0], "model.learning_rate": [0.1]},
    )
    assert dot.spec["tune"] == {"model.learning_rate": [0.1]}
    assert stretched.spec["tune"] == {"model.learning_rate": [0.1], "similarity.scale": [2.0, 1.0]}
    assert "learning_rate" not in dot.spec["model"]["aligner"]
    assert "model.learning_rate" not in columns(dot)
    assert list(stretched.spec["tune"]) == sorted(stretched.spec["tune"])


def test_the_cap_is_checked_before_anything_is_expanded() -> None:
    many = list(range(1, 1001))
    with pytest.raises(ExperimentError, match=r"^experiment: limits\.runs: 1000000000000 runs .* are more than 10000"):
        read(
            {
                "attnlab": 1,
                "question": "q",
                "task": {"lookup": {"d": many, "n_keys": many, "n_queries": many, "n_train": many}},
                "seeds": 1,
            }
        )


# -- --only -----------------------------------------------------------------------------------------------------------
RUNS_OF_ONLY = {
    "task": {"lookup": {"d": [8, 16], "noise": [0.1, 0.5]}},
    "mechanism": {"similarity": ["dot", "scaled_dot", "stretched"]},
    "seeds": 2,
}


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("similarity=dot", 8),
        ("similarity=*dot", 16),
        ("similarity=dot,similarity=stretched", 16),
        (" similarity = dot , task.d=16 ", 4),
        ("task.noise=0.10", 12),
        ("task.noise=5e-1,seed=1", 6),
        ("similarity.scale=1", 8),
        ("task.min_keys=null", 24),
        ("model.early_stopping=false", 24),
        ("model.early_stopping=False", 24),
        ("task.min_keys=None", 24),
        ("model.early_stopping=0", 0),
        ("task.d=17", 0),
    ],
)
def test_only(expression: str, count: int) -> None:
    runs = planned(**RUNS_OF_ONLY)
    kept = only(runs, expression)
    assert len(kept) == count
    assert [run for run in runs if run in kept] == list(kept)


@pytest.mark.parametrize("expression", ["", "dot", "=dot", "similarity=dot,,seed=1", "__import__('os')"])
def test_only_refuses_what_is_no_filter(expression: str) -> None:
    with pytest.raises(SettingError, match="is not KEY=VALUE"):
        only(planned(), expression)


def test_only_refuses_an_unknown_key() -> None:
    with pytest.raises(
        SettingError, match=r"unknown key 'simlarity' \(did you mean similarity\?\); known are aggregator, "
    ):
        only(planned(), "simlarity=dot")


# -- what is to be done -----------------------------------------------------------------------------------------------
def test_decisions_and_their_reasons() -> None:
    runs = planned(seeds=12)
    now = {"task": "lookup:-/aa", "similarity": "far:cc/bb"}
    edited = {"task": "lookup:-/aa", "similarity": "far:dd/bb"}
    own = {"task": "lookup:-/ab", "similarity": "far:cc/bb"}
    known = {
        runs[1].run_id: ("ok", now),
        runs[2].run_id: ("timeout", now),
        runs[3].run_id: ("failed", now),
        runs[4].run_id: ("ok", edited),
        runs[5].run_id: ("skipped", now),
        runs[6].run_id: ("invalid", now),
        runs[7].run_id: ("oom", edited),
        runs[8].run_id: ("ok", {"task": "lookup:-/aa"}),
        runs[9].run_id: ("ok", own, 7.5),
        runs[10].run_id: ("ok", {"task": "lookup:-/ab", "similarity": "far:dd/ba"}),
        runs[11].run_id: ("ok", {"task": "lookup:aa", "similarity": "far:cc"}),
    }

    def said(rerun: str) -> list[tuple[str, str]]:
        found = decide(runs, known, lambda run: now, parse_rerun(rerun))
        assert [p.run for p in found] == list(runs)
        return [(p.action, p.reason) for p in found]

    stale = "stale: similarity far changed"
    assert said("missing,failed,stale") == [
        ("run", "missing"),
        ("keep", "done"),
        ("run", "failed: timeout"),
        ("run", "failed"),
        ("run", stale),
        ("keep", "done: skipped"),
        ("keep", "done: invalid"),
        ("run", f"failed: oom; {stale}"),
        ("run", stale),
        ("keep", "stale-own: attnlab changed behind task lookup"),
        ("run", f"{stale}; stale-own: attnlab changed behind task lookup"),
        ("keep", "stale-own: done by an earlier attnlab, whose fingerprints covered less of its code"),
    ]
    acting = {rerun: [i for i, (action, _) in enumerate(said(rerun)) if action == "run"] for rerun in
              ("missing", "failed", "stale", "stale-own", "missing, stale", "all", "none")}  # fmt: skip
    assert acting == {
        "missing": [0],
        "failed": [2, 3, 7],
        "stale": [4, 7, 8, 10],
        "stale-own": [9, 10, 11],
        "missing, stale": [0, 4, 7, 8, 10],
        "all": list(range(12)),
        "none": [],
    }
    kept = decide(runs[9:10], known, lambda run: now, parse_rerun("stale"))
    assert kept == (Planned(runs[9], "keep", "stale-own: attnlab changed behind task lookup", True, 7.5),)
    assert [p.action for p in decide(runs, known, lambda run: now)] == [
        *("run", "keep", "run", "run", "run", "keep", "keep", "run", "run", "run", "run", "run")
    ], "by default both are run"
    assert decide(runs[:1], {}, lambda run: now) == (Planned(runs[0], "run", "missing"),)


@pytest.mark.parametrize("text", ["", "stail", "missing,stail", "none,missing"])
def test_rerun_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(SettingError, match="--rerun"):
        parse_rerun(text)


@given(
    st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.dictionaries(st.text(), st.none()), max_size=4),
    st.lists(st.dictionaries(st.sampled_from(["seed", "model_seed"]), st.integers(), max_size=2), max_size=3),
)  # fmt: skip
def test_runs_that_share_all_but_the_seed_are_what_each_is_by_itself(spec, several):
    identity = {"meant": spec}
    one_by_one = [Run.of({**spec, **more}, {**identity, **more}) for more in several]
    assert list(Run.each(spec, identity, several)) == one_by_one
