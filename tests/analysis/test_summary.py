"""The ranked table at the end of a sweep."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attnlab.analysis.summary import summarise, t_interval


def rows(**columns):
    frame = pd.DataFrame(columns)
    for name, value in (("experiment", "e"), ("status", "ok"), ("test", "test"), ("normaliser", "softmax")):
        if name not in frame:
            frame[name] = value
    frame["run_id"] = [f"{i:016x}" for i in range(len(frame))]
    return frame


@pytest.mark.parametrize("n", [2, 5, 30])
def test_t_interval_is_scipys(n):
    x = np.random.default_rng(n).normal(size=n)
    mean, low, high, count = t_interval([*x, np.nan])
    expected = stats.t.interval(0.95, n - 1, loc=x.mean(), scale=stats.sem(x))
    assert (mean, count) == (pytest.approx(x.mean()), n)
    assert (low, high) == pytest.approx(expected)


def test_one_value_has_no_interval():
    assert t_interval([3.0])[0] == 3.0
    assert np.isnan(t_interval([3.0])[1:3]).all()
    assert np.isnan(t_interval([])[0])


def test_ranked_by_the_metrics_direction():
    frame = rows(
        similarity=["dot", "dot", "cosine", "cosine"],
        seed=[0, 1, 0, 1],
        alignment_accuracy=[0.1, 0.3, 0.8, 0.9],
        context_error=[1.0, 3.0, 0.1, 0.2],
    )
    up = summarise(frame, ["alignment_accuracy", "context_error"])
    assert up["similarity"].tolist() == ["cosine", "dot"]
    assert up["alignment_accuracy"].tolist() == pytest.approx([0.85, 0.2])
    assert summarise(frame, ["context_error"])["similarity"].tolist() == ["cosine", "dot"]
    assert up["ok"].tolist() == ["2/2", "2/2"]


def test_failed_runs_are_counted_in_every_condition_and_conditions_are_in_natural_order():
    frame = rows(
        similarity=["dot"] * 3 + ["cosine"] * 3 + ["cosine"],
        seed=[0, 0, 0, 0, 0, 0, 1],
        test=["n=256", "n=64", "test", "n=256", "n=64", "test", "test"],
        alignment_accuracy=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, np.nan],
        status=["ok"] * 6 + ["failed"],
    )
    frame["run_id"] = ["a"] * 3 + ["b"] * 3 + ["c"]
    table = summarise(frame, ["alignment_accuracy"])
    assert table["test"].tolist() == ["test", "test", "n=64", "n=64", "n=256", "n=256"]
    assert table[table["similarity"] == "cosine"]["ok"].tolist() == ["1/2"] * 3


def test_a_metric_that_only_some_runs_have_says_so():
    frame = rows(similarity=["dot"] * 3, seed=[0, 1, 2], alignment_accuracy=[1.0] * 3, steps_to_95=[10, 20, np.nan])
    assert summarise(frame, ["alignment_accuracy", "steps_to_95"])["steps_to_95"].tolist() == ["15 (2 of 3)"]


def test_only_columns_that_differ_are_shown():
    frame = rows(
        similarity=["neg_l2", "dot", "dot"],
        seed=[0, 0, 0],
        alignment_accuracy=[0.1, 0.2, 0.3],
        **{"similarity.sigma": [1.0, np.nan, np.nan], "model": ["aligner"] * 3, "model.projection": [16, np.nan, 16]},
    )
    table = summarise(frame, ["alignment_accuracy"])
    assert "similarity.sigma" not in table  # dot has none
    assert "model.projection" in table  # null and 16 are two points of the grid
    assert "normaliser" not in table


def test_what_was_tuned_is_no_point_of_the_grid():
    frame = rows(
        similarity=["dot"] * 2, seed=[0, 1], alignment_accuracy=[0.5, 0.7], **{"model.learning_rate": [0.1, 0.3]}
    )
    assert len(summarise(frame, ["alignment_accuracy"])) == 2
    frame.attrs["tuned"] = ["model.learning_rate"]
    (mean,) = summarise(frame, ["alignment_accuracy"])["alignment_accuracy"]
    assert mean == pytest.approx(0.6)
