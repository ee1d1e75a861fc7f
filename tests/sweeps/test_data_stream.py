"""The data of a run: they depend on the task, on what changes an example, and on the seed of the data alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import attnlab
from attnlab import registry
from attnlab.data import AlignmentData, Splits
from attnlab.interfaces import Task, settings_of
from attnlab.registry import entry
from attnlab.sweeps.execute import data_rng, splits_of
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

FILES = {"arrays": {"path": "mine.npz"}, "bitext": {"path": "mine.txt"}}


def first(task, seed=0):
    """The beginning of the stream of a task's data."""
    return data_rng(task, seed).bytes(16)


@pytest.mark.parametrize("name", attnlab.names("task"))
def test_a_stream_ignores_counts_and_defaults_and_knows_all_else(name):
    cls = entry("task", name).cls
    defaults = {s: p.default for s, p in settings_of(cls).items()}
    complete = {s: list(v) if isinstance(v, tuple) else v for s, v in defaults.items()} | FILES.get(name, {})
    plain = first({name: FILES.get(name, {})})
    assert first({name: complete}) == plain
    assert first({name: complete}, seed=1) != plain
    assert cls.revision >= 1
    for setting, value in complete.items():
        other = [5] if isinstance(value, list) else 0.25 if isinstance(value, float) else 7
        changed = first({name: {**complete, setting: other}})
        assert (changed == plain) == (setting in cls.counts), setting


def planned(task):
    runs = plan(read({"attnlab": 1, "question": "?", "task": task, "model": {"aligner": {"steps": 0}}, "seeds": 1}))
    return [splits_of(run) for run in runs]


def test_runs_that_differ_in_counts_alone_have_the_same_examples():
    few, many = planned({"max_retrieval": {"n_keys": 5, "n_test": [6, 300], "longer": {"value": [8]}}})
    plain, longer = planned(
        [{"max_retrieval": {"n_keys": 5, "longer": {"value": s}, "n_train": n}} for s, n in (([], 3), ([9, 8], 512))]
    )
    for splits in (many, longer):
        np.testing.assert_array_equal(few.train.K, splits.train.K)
        np.testing.assert_array_equal(few.tests["test"].K, splits.tests["test"].K[:6])
        np.testing.assert_array_equal(few.tests["n=8"].K, splits.tests["n=8"].K[:6])
    np.testing.assert_array_equal(plain.train.K, few.train.K[:3])
    assert list(plain.tests) == ["test"]


class Before(Task):
    """A task of a stranger that says nothing of its counts."""

    name = "before"

    def __init__(self, n=4, noise=0.5):
        self.n = n
        self.noise = noise

    def make(self, rng):
        K = rng.normal(size=(self.n, 2, 1))
        data = AlignmentData(K[:, :1], K, K)
        return Splits(data, data, {"test": data})


class Later(Before):
    """The same after its author changed what a setting means."""

    name = "later"
    revision = 1


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(registry._registered)
    for cls in (Before, Later):
        attnlab.register(cls)
    yield
    registry._registered.clear()
    registry._registered.update(before)


def test_a_task_that_does_not_say_has_the_stream_it_had_and_a_revision_is_another(registered, monkeypatch):
    assert first({"this-process:before": {"n": 4, "noise": 0.5}}).hex() == "2d1334565fbcafbd4245696ca728171c"
    assert first({"this-process:before": {"n": 4}}) != first({"this-process:before": {}})
    one = first({"this-process:later": {"n": 4}})
    monkeypatch.setattr(Later, "revision", 2)
    assert first({"this-process:later": {"n": 4}}) != one
