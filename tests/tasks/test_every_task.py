"""What holds for every task: it depends on settings and rng only, its splits are apart, its chance level is right."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest

from attnlab.errors import SettingError
from attnlab.injection import check_class
from attnlab.interfaces import settings_of
from attnlab.metrics.alignment import AlignmentAccuracy
from attnlab.settings import checked
from attnlab.tasks import arrays, recall, sequences, sets
from attnlab.tasks.recall import Lookup, NoisyRecall, NormHubs, NullQueries
from attnlab.tasks.sequences import Copy, Reverse
from attnlab.tasks.sets import MaxRetrieval, SubsetMean

TASKS = [
    Lookup(n_keys=6),
    Lookup(n_keys=9, min_keys=2),
    NoisyRecall(n_keys=5, rho=0.5),
    NormHubs(n_keys=6),
    NullQueries(n_keys=6, pi=0.4),
    Copy(length=6, longer=[11]),
    Copy(length=9, min_length=4),
    Reverse(length=6),
    SubsetMean(n_keys=7, n_relevant=2),
    MaxRetrieval(n_keys=6, longer=[12]),
]
ARRAYS = ("Q", "K", "V", "mask", "gold", "target")
every_task = pytest.mark.parametrize("task", TASKS, ids=repr)


def parts_of(splits):
    return {"train": splits.train, "validation": splits.validation, **splits.tests}


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


@every_task
def test_the_same_rng_gives_the_same_data_and_another_gives_other_data(task):
    first, again, other = (parts_of(task.make(np.random.default_rng(seed))) for seed in (3, 3, 4))
    assert list(first) == list(again) == list(other)
    for name in first:
        assert same(first[name], again[name])
        assert not np.array_equal(first[name].K, other[name].K)


@every_task
def test_splits_are_apart_and_stay_when_another_grows(task):
    parts = parts_of(task.make(np.random.default_rng(0)))
    seen = [row.tobytes() for data in parts.values() for row in data.V]
    assert len(set(seen)) > 0.95 * len(seen)  # (short sequences of tokens may repeat)
    settings = {**task.get_params(), "n_train": task.n_train + 7}
    grown = parts_of(type(task)(**settings).make(np.random.default_rng(0)))
    assert len(grown["train"]) == task.n_train + 7
    for name in set(parts) - {"train"}:
        assert same(parts[name], grown[name]), name


@every_task
def test_sizes_dtype_and_where_the_gold_points(task):
    splits = task.make(np.random.default_rng(1))
    assert (len(splits.train), len(splits.validation)) == (task.n_train, task.n_validation)
    for data in splits.tests.values():
        assert len(data) == task.n_test
        assert {data.Q.dtype, data.K.dtype, data.V.dtype} == {np.dtype(np.float64)}
        assert not (data.gold > 0)[~data.allowed].any()
        np.testing.assert_allclose(data.gold.sum(axis=-1)[(data.gold > 0).any(axis=-1)], 1)
        if data.is_classification:
            best = (data.gold @ data.V).argmax(axis=-1)
            assert np.array_equal(best[data.alive], data.target[data.alive])
        else:
            np.testing.assert_allclose(data.gold @ data.V, data.target, atol=1e-12)


@every_task
def test_chance_is_what_random_weights_get(task):
    data = type(task)(**{**task.get_params(), "n_test": 4000}).make(np.random.default_rng(2)).tests["test"]
    W = np.random.default_rng(5).random((len(data), data.n_queries, data.n_keys))
    assert AlignmentAccuracy().measure(data, W) == pytest.approx(task.chance, abs=0.025)
    uniform = data.allowed / np.maximum(data.allowed.sum(axis=-1, keepdims=True), 1)
    assert AlignmentAccuracy().measure(data, uniform) == pytest.approx(task.chance, abs=0.006)


@pytest.mark.parametrize("cls", [*dict.fromkeys(type(t) for t in TASKS), arrays.Arrays])
def test_classes_declare_ranges_and_document_every_setting(cls):
    check_class("task", cls)
    documented = inspect.getdoc(cls)
    for setting, parameter in settings_of(cls).items():
        assert setting in documented
        assert parameter.annotation is not inspect.Parameter.empty
        if isinstance(parameter.default, (int, float)):
            with pytest.raises(SettingError, match=setting):
                checked("task", cls, {setting: -1, **({"path": "x"} if cls is arrays.Arrays else {})})
    assert all(word in documented.lower() for word in ("gold", "target", "chance", "references", "examples"))


@pytest.mark.parametrize("module", [arrays, recall, sequences, sets], ids=lambda m: m.__name__)
def test_examples_run(module):
    ran = doctest.testmod(module)
    assert ran.attempted > 0
    assert ran.failed == 0


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Lookup(n_keys=4, min_keys=5), "min_keys must be at most n_keys = 4; got 5"),
        (Copy(length=4, min_length=5), "min_length must be at most length = 4; got 5"),
        (SubsetMean(n_keys=4, n_relevant=5), "n_relevant must be at most n_keys = 4; got 5"),
    ],
)
def test_settings_that_disagree_are_refused(task, words):
    with pytest.raises(SettingError, match=words):
        task.make(np.random.default_rng(0))
