"""Data of one task and seed are drawn once for several mechanisms, and no run can change them for the next."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import attnlab.sweeps.execute as module
from attnlab.models.aligner import AttentionAligner
from attnlab.sweeps.run import Run
from attnlab.tasks.recall import Lookup

TASK = {"lookup": {"n_keys": 4, "d": 4, "n_train": 32, "n_validation": 8, "n_test": 8}}


def run_of(task, seed=1):
    return Run.of({"task": task, "mechanism": {"single_head": {}}, "model": {"aligner": {}}, "seed": seed})


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(module, "DRAWN", module._Drawn(2**20))


def counted(monkeypatch):
    calls = []
    make = Lookup.make
    monkeypatch.setattr(Lookup, "make", lambda self, rng: calls.append(1) or make(self, rng))
    return calls


def test_the_second_run_has_the_same_examples_without_a_draw(monkeypatch):
    calls = counted(monkeypatch)
    first, second = module.splits_of(run_of(TASK)), module.splits_of(run_of(TASK))
    assert len(calls) == 1
    np.testing.assert_array_equal(first.train.Q, second.train.Q)
    module.splits_of(run_of(TASK, seed=2))
    assert len(calls) == 2


def test_what_does_not_fit_is_drawn_again(monkeypatch):
    monkeypatch.setattr(module, "DRAWN", module._Drawn(10))
    calls = counted(monkeypatch)
    module.splits_of(run_of(TASK))
    module.splits_of(run_of(TASK))
    assert len(calls) == 2


def test_the_last_used_is_kept(monkeypatch):
    size = sum(a.nbytes for a in vars(module.splits_of(run_of(TASK)).train).values() if isinstance(a, np.ndarray))
    monkeypatch.setattr(module, "DRAWN", module._Drawn(4 * size))
    calls = counted(monkeypatch)
    for seed in (1, 2, 1, 3, 1, 4, 1):
        module.splits_of(run_of(TASK, seed=seed))
    assert len(calls) == 4


def test_a_run_cannot_change_the_examples_of_the_next():
    data = module.splits_of(run_of(TASK)).tests["test"]
    for name, array in vars(data).items():
        if isinstance(array, np.ndarray):
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.setflags(write=True)
            base = array
            while isinstance(base.base, np.ndarray):
                base = base.base
            assert not base.flags.writeable, name
    data.gold = None
    assert module.splits_of(run_of(TASK)).tests["test"].gold is not None


def test_words_are_each_runs_own():
    task = {"copy": {"n_train": 16, "n_validation": 4, "n_test": 4}}
    data = module.splits_of(run_of(task)).train
    assert data.tokens is not None
    before = repr(data.tokens[0])
    data.tokens[0] = None
    assert repr(module.splits_of(run_of(task)).train.tokens[0]) == before


@pytest.mark.parametrize(
    ("mechanism", "model", "drawn"),
    [
        ({}, {"steps": 5}, 1),
        ({}, {"steps": 0, "projection": 3}, 1),
        ({"similarity": {"additive": {}}}, {"steps": 0}, 1),
        ({}, {"steps": 5, "projection": 3}, 32),
        ({"similarity": {"general": {}}}, {"steps": 5}, 32),
        ({"normaliser": {"entmax": {"alpha": "learned"}}}, {"steps": 5}, 32),
    ],
)
def test_what_no_model_learns_from_is_not_drawn(mechanism, model, drawn, monkeypatch):
    sizes = []
    fit = AttentionAligner.fit
    monkeypatch.setattr(AttentionAligner, "fit", lambda self, X, **given: sizes.append(len(X)) or fit(self, X, **given))
    run = Run.of({"task": TASK, "mechanism": {"single_head": mechanism}, "model": {"aligner": model}, "seed": 3})
    result = module.execute(run, raise_errors=True)
    assert sizes == [drawn]
    monkeypatch.setattr(module, "_learns", lambda run: True)
    whole = module.execute(run, raise_errors=True)
    assert sizes == [drawn, 32]
    same = {name: value for name, value in result.metrics["test"].items() if "second" not in name}
    np.testing.assert_equal(same, {name: whole.metrics["test"][name] for name in same})
    assert (result.facts["n_parameters"], result.facts["notes"]) == (whole.facts["n_parameters"], whole.facts["notes"])


def test_to_ask_whether_a_model_learns_warns_of_nothing():
    mechanism = {"single_head": {"similarity": {"cosine": {"temperature": 1.0}}}}
    run = Run.of({"task": TASK, "mechanism": mechanism, "model": {"aligner": {"steps": 1, "projection": 2}}, "seed": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = module.execute(run, raise_errors=True).facts["notes"]
    assert any("temperature" in note for note in notes)
