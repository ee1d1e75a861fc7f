"""What explains a prediction when a row does not see itself, and how far its targets are spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attnlab import AttentionClassifier, AttentionRegressor

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 3))
Y = X @ [1.0, -2.0, 0.5] + RNG.normal(scale=0.1, size=40)


@pytest.mark.parametrize("projection", [None, "diagonal", 2])
def test_without_itself_a_row_is_explained_as_if_it_were_left_out(projection):
    model = AttentionRegressor(projection=projection, n_neighbors=5, steps=0).fit(X, Y)
    whole = model.explain(X, top=None)
    assert whole.loc[whole["row"] == whole["training_row"], "weight"].gt(0).all()
    alone = model.explain(X, top=None, exclude_self=True)
    assert not (alone["row"] == alone["training_row"]).any()
    np.testing.assert_allclose(alone.groupby("row")["weight"].sum(), 1.0)
    others = whole[whole["row"] != whole["training_row"]]
    expected = others["weight"] / others.groupby("row")["weight"].transform("sum")  # softmax over those that are left
    merged = others.assign(expected=expected).merge(alone, on=["row", "training_row"], suffixes=("", "_alone"))
    np.testing.assert_allclose(merged["weight_alone"], merged["expected"], rtol=1e-6, atol=1e-12)
    new = model.explain(X + 0.01, top=3)
    pd.testing.assert_frame_equal(model.explain(X + 0.01, top=3, exclude_self=True), new)


def test_itself_is_its_values_and_where_there_are_labels_its_label():
    twice = np.repeat([[0.0], [1.0], [3.0]], 2, axis=0)
    model = AttentionRegressor(n_neighbors=1).fit(twice, np.arange(6.0))
    found = model.explain(twice[:1], top=None, exclude_self=True)
    assert not set(found["training_row"]) & {0, 1}, "of arrays, rows with the same values are the row itself"
    frame = pd.DataFrame(twice, columns=["x"], index=list("abcdef"))
    model = AttentionRegressor(n_neighbors=1).fit(frame, np.arange(6.0))
    found = model.explain(frame[:1], top=None, exclude_self=True)
    assert "a" not in set(found["training_row"])
    assert "b" in set(found["training_row"])
    elsewhere = frame.rename(index={"c": "a", "a": "z"})
    assert "a" in set(model.explain(elsewhere[:1], exclude_self=True)["training_row"]), "the label alone is not enough"


def test_in_a_pipeline_the_last_step_explains():
    frame = pd.DataFrame(X, columns=list("pqr"), index=[f"row {i}" for i in range(40)])
    pipeline = make_pipeline(StandardScaler(), AttentionRegressor(n_neighbors=5)).set_output(transform="pandas")
    pipeline.fit(frame, Y)
    found = pipeline[-1].explain(pipeline[:-1].transform(frame[:3]), top=2, exclude_self=True)
    assert found["row"].unique().tolist() == ["row 0", "row 1", "row 2"]
    assert not (found["row"] == found["training_row"]).any()


# -- spread ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "softmax_n"])
@pytest.mark.parametrize("targets", [Y, np.column_stack([Y, Y**2])], ids=["one", "two"])
def test_the_spread_is_that_of_the_targets_under_the_weights(normaliser, targets):
    model = AttentionRegressor(normaliser=normaliser, n_neighbors=6).fit(X, targets)
    new = RNG.normal(size=(7, 3))
    mean, std = model.predict(new, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(new))
    assert std.shape == mean.shape
    told = model.explain(new, top=None)
    for i in range(7):
        here = told[told["row"] == i]
        w, v = here["weight"].to_numpy(), targets[here["training_row"].to_numpy()]
        w = np.append(w, 1 - w.sum())  # what is left counts as the mean of all
        v = np.concatenate([v, targets.mean(axis=0)[None]])
        expected = np.sqrt((w[:, None] * (v.reshape(len(w), -1) - (w @ v).reshape(1, -1)) ** 2).sum(axis=0))
        np.testing.assert_allclose(np.atleast_1d(std[i]), expected, rtol=1e-9, atol=1e-9)


def test_equal_targets_have_no_spread():
    model = AttentionRegressor().fit(X, np.full(40, 1e6))
    _, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(std, 0.0, atol=1e-6)


# -- among others -----------------------------------------------------------------------------------------------------
def test_scikit_learn_calibrates_it_and_lets_it_vote():
    iris, species = load_iris(return_X_y=True)
    calibrated = CalibratedClassifierCV(AttentionClassifier(n_neighbors=10), cv=3).fit(iris, species)
    assert calibrated.score(iris, species) > 0.9
    members = [("attention", AttentionClassifier()), ("linear", LogisticRegression(max_iter=500))]
    together = VotingClassifier(members, voting="soft").fit(iris, species)
    assert together.score(iris, species) > 0.9
