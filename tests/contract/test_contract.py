"""Every registered component against every check that applies to its kind."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from rounds import quick

import attnlab
from attnlab.parts import aggregators, masks, modifiers, normalisers, positions, similarities
from attnlab.registry import KINDS, entries
from attnlab.sweeps.executors.dask import DaskExecutor
from attnlab.testing import check_component, parametrize_with_checks

REGISTERED = [e.cls for kind in KINDS for found in entries(kind).values() for e in found]
OTHERWISE_SET = [  # settings that take another way through the code
    similarities.Cosine(temperature=0.1),
    similarities.NegL2(sigma=0.5),
    normalisers.Softmax(temperature=0.5),
    normalisers.Entmax(alpha=1.3),
    normalisers.Entmax(alpha=2.0),
    normalisers.LognSoftmax(scale=0.43),
    normalisers.Sigmoid(minus_log_n=False),
    positions.Sinusoidal(base=100.0),
    masks.Window(width=0),
    modifiers.Softcap(cap=2.0),
    attnlab.Mechanism("additive", "sparsemax", aggregators.WeightedSum(), "sinusoidal", "window"),
    attnlab.Mechanism("general", "logn_softmax", mask=["causal", "window"]),
]


@parametrize_with_checks(REGISTERED + OTHERWISE_SET)
def test_contract(component, check):
    check(component)


def test_there_is_something_of_each_kind():
    kinds = {cls.kind for cls in REGISTERED}
    assert {
        "similarity",
        "normaliser",
        "aggregator",
        "position",
        "mask",
        "modifier",
        "mechanism",
        "task",
        "metric",
        "model",
    } <= kinds


SOME = {cls.kind: cls for cls in reversed(REGISTERED)}.values()  # one of each kind; of the others, with the marker long


@pytest.mark.parametrize(
    "component",
    quick(REGISTERED, lambda cls: cls in SOME),
    ids=lambda c: f"{c.kind}:{c.name}",
)
def test_most_checks_are_made(component):
    """A component that skips its way through would pass: count what ran."""
    if component.kind == "executor" and component.name == "dask":
        pytest.importorskip("distributed", reason="pip install 'attnlab[dask]'")
    report = check_component(component, seed=1)
    assert report, str(report)
    few = component.name in (
        "arrays",
        "bitext",
        "gru_fast",
        "previous_state_fast",
        "previous_state_chained",
        "induction_score",
        "first_token_mass",
    )  # files needed; no part replaced; sequences needed
    assert report.n_ran >= (5 if few else 0.6 * len(report)), str(report)


def test_the_users_own_arrays(tmp_path):
    rng = np.random.default_rng(0)
    K = rng.normal(size=(30, 4, 3))
    gold = np.eye(4)[rng.integers(4, size=(30, 2))]
    np.savez(tmp_path / "mine.npz", Q=gold @ K, K=K, V=K, gold=gold, target=gold @ K)
    report = check_component(attnlab.get("task", "arrays", path=str(tmp_path / "mine.npz")))
    assert report, str(report)
    assert report.codes("skipped") == ["T609"]  # no sequences


def test_an_executor_that_cannot_be_used_here_is_skipped_with_its_reason(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "distributed" else found(name, *more)
    )
    outcomes = {o.code: o for o in check_component(DaskExecutor).outcomes}
    for code in ("X901", "X902"):
        assert outcomes[code].status == "skipped"
        assert "pip install 'attnlab[dask]'" in outcomes[code].reason
