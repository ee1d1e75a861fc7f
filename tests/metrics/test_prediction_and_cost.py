"""Predictions against targets, costs from what a model says of itself, and what every metric class must have."""

from __future__ import annotations

import doctest
import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest

from attnlab.data import AlignmentData
from attnlab.errors import ShapeError
from attnlab.injection import call, check_class
from attnlab.interfaces import Metric
from attnlab.metrics import alignment, cost, distribution, links, prediction
from attnlab.metrics.cost import FitSeconds, NParameters, OperationsPerQuery, StepsPerSecond, StepsTo95
from attnlab.metrics.prediction import Accuracy, ContextError

MODULES = [alignment, cost, distribution, prediction]
CLASSES = [getattr(module, name) for module in MODULES for name in module.__all__]


def data_of(target, mask=None):
    n, q = np.shape(target)[:2]
    return AlignmentData(np.ones((n, q, 2)), np.ones((n, 3, 2)), np.ones((n, 3, 4)), mask, target=target)


def test_context_error_is_the_mean_square_over_live_queries():
    rng = np.random.default_rng(0)
    T, Y = rng.normal(size=(2, 5, 3, 4))
    alive = rng.random((5, 3)) < 0.6
    data = data_of(T, mask=np.repeat(alive[:, :, None], 3, axis=2))
    assert ContextError().measure(data, Y) == pytest.approx(np.mean((Y - T)[alive] ** 2))
    Y[~alive] = 1e6
    assert ContextError().measure(data, Y) == pytest.approx(np.mean((Y - T)[alive] ** 2))
    assert ContextError().measure(data, T) == 0
    with pytest.raises(ShapeError, match="axis 'v' disagrees"):
        ContextError().measure(data, Y[:, :, :2])


def test_accuracy_counts_the_best_class_of_live_queries():
    data = data_of(np.array([[2, 0], [1, 1]]), mask=np.array([[[True]], [[True]]]))
    Y = np.array([[[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]], [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    assert Accuracy().measure(data, Y) == pytest.approx((1 + 0 + 1 / 2 + 1 / 3) / 4)
    half = data_of(np.array([[2, 0], [1, 1]]), mask=np.array([[[True], [False]], [[False], [False]]]))
    assert Accuracy().measure(half, Y) == 1.0
    assert Accuracy().measure(half, -Y) == 0.0
    with pytest.raises(ShapeError, match="Y must have 3 axes"):
        Accuracy().measure(data, Y.argmax(axis=-1))


def test_the_target_chooses_between_error_and_accuracy():
    vectors, classes = data_of(np.ones((2, 1, 4))), data_of(np.ones((2, 1), int))
    none = AlignmentData(vectors.Q, vectors.K, vectors.V)
    assert [ContextError().applies(d) for d in (vectors, classes, none)] == [True, False, False]
    assert [Accuracy().applies(d) for d in (vectors, classes, none)] == [False, True, False]
    dead = data_of(np.ones((2, 1, 4)), mask=np.zeros((2, 1, 3), bool))
    assert math.isnan(ContextError().measure(dead, np.ones((2, 1, 4))))


def test_steps_to_95_is_the_first_step_that_gets_there():
    def curve(*accuracies):
        entries = [{"step": 10 * i, "loss": 1.0, "alignment_accuracy": a} for i, a in enumerate(accuracies)]
        return SimpleNamespace(validation_curve_=entries)

    assert StepsTo95().measure(curve(0.1, 0.94, 0.95, 0.2, 1.0)) == 20
    assert StepsTo95().measure(curve(1.0)) == 0
    assert math.isnan(StepsTo95().measure(curve(0.1, 0.9499, float("nan"))))
    assert math.isnan(StepsTo95().measure(curve()))


def test_costs_come_from_the_model_and_the_clock():
    model = SimpleNamespace(n_parameters_=12, operations_per_query_=640, n_iter_=300)
    there = {"model": model, "fit_seconds": 2.0, "data": None, "W": None, "Y": None}
    metrics = (NParameters(), OperationsPerQuery(), FitSeconds(), StepsPerSecond())
    assert [call(metric, "measure", **there) for metric in metrics] == [12.0, 640.0, 2.0, 150.0]


def test_a_model_that_does_not_say_gives_nan():
    silent = SimpleNamespace()
    for metric in (NParameters(), OperationsPerQuery(), StepsTo95(), StepsPerSecond()):
        assert math.isnan(call(metric, "measure", model=silent, fit_seconds=1.0))
    assert math.isnan(StepsPerSecond().measure(SimpleNamespace(n_iter_=0), 1.0))
    assert math.isnan(StepsPerSecond().measure(SimpleNamespace(n_iter_=5), 0.0))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_each_class_is_a_metric_with_a_direction_a_source_and_a_whole_docstring(cls):
    check_class("metric", cls)
    assert issubclass(cls, Metric)
    assert "direction" in vars(cls)
    assert cls.source is not None
    documented = inspect.getdoc(cls)
    said = {"up": "up is better", "down": "down is better", None: "no direction"}[cls.direction]
    assert said in " ".join(documented.split())
    assert all(word in documented for word in ("Range", "References", "Examples", ">>>"))


def test_names_are_apart():
    assert len({cls.name for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("module", [*MODULES, links], ids=lambda m: m.__name__)
def test_examples_run(module):
    ran = doctest.testmod(module)
    assert ran.attempted > 0
    assert ran.failed == 0
