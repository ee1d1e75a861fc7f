"""How wide the estimators on tables look: the neighbours asked for are the neighbours got, whatever the data."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rounds import quick
from sklearn.datasets import make_classification
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from attnlab import AttentionClassifier, AttentionRegressor
from attnlab.models.tabular.width import middle_and_unit


def neighbours(model, X, wider=1.0, rows=None):
    """The effective number of others, row by row, from the distances alone; equal rows do not see each other."""
    placed, counts = np.unique((X - model.offset_) / model.unit_, axis=0, return_counts=True)
    Z = placed.astype(np.float64) / wider
    chosen = np.arange(len(Z)) if rows is None else np.random.default_rng(0).choice(len(Z), rows, replace=False)
    entropies = []
    for i in chosen:
        with np.errstate(over="ignore", invalid="ignore"):
            S = -((Z[i] - Z) ** 2).sum(axis=1) / 2
        S[i] = -np.inf
        each = np.exp(S - S.max())
        each /= (each * counts).sum()
        entropies.append(-(counts * each * np.log(np.maximum(each, 1e-300))).sum())
    return float(np.exp(np.average(entropies, weights=counts[chosen])))


# -- the promise ------------------------------------------------------------------------------------------------------
COLUMNS = {
    "uniform": lambda rng, n: rng.random(n),
    "normal": lambda rng, n: rng.normal(size=n),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "pareto": lambda rng, n: rng.pareto(0.3, n),
    "lognormal": lambda rng, n: np.exp(4 * rng.normal(size=n)),
    "geometric": lambda rng, n: 2.0 ** np.linspace(0, 20, n),
    "integers": lambda rng, n: rng.integers(0, 12, n).astype(float),
    "binary": lambda rng, n: (rng.random(n) < 0.2).astype(float),
    "sparse": lambda rng, n: rng.normal(size=n) * (rng.random(n) < 0.05),
    "constant": lambda rng, n: np.full(n, 3.7),
    "unix": lambda rng, n: 1.7e9 + np.arange(n),
    "unix in ms": lambda rng, n: 1.7e12 + rng.integers(0, 10**6, n),
    "one far": lambda rng, n: np.where(np.arange(n) == n // 2, 1e4, rng.random(n)),
    "one at 1e30": lambda rng, n: np.where(np.arange(n) == 1, 1e30, rng.random(n)),
    "77777": lambda rng, n: np.where(rng.random(n) < 0.05, 77777, rng.normal(size=n)),
    "-999": lambda rng, n: np.where(rng.random(n) < 0.1, -999, rng.random(n)),
    "two clusters": lambda rng, n: rng.normal(size=n) * 1e-4 + (rng.random(n) < 0.5),
    "tiny": lambda rng, n: 1e-30 * rng.normal(size=n),
    "large": lambda rng, n: 1e30 * rng.normal(size=n),
}
tables = st.tuples(
    st.integers(0, 2**31),
    st.integers(2, 120),
    st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3),
    st.floats(1, 40),
    st.sampled_from(["float64", "float32"]),
    st.booleans(),
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(tables)
def test_the_neighbours_asked_for_are_the_neighbours_got(table):
    seed, n, columns, asked, dtype, repeated = table
    rng = np.random.default_rng(seed)
    X = np.stack([COLUMNS[name](rng, n) for name in columns], axis=1).astype(dtype)
    if repeated:
        X = X[rng.integers(0, n, n)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # n_neighbors is more than the rows
        model = AttentionRegressor(n_neighbors=asked).fit(X, np.arange(n))
    if len(np.unique(X, axis=0)) == 1:
        assert model.n_neighbors_ == 0
        return
    got, goal = neighbours(model, X), max(1.0, min(asked, n / 4))
    plainly, at_the_ends = (2e-3, 1.2e-2) if dtype == "float64" else (3e-2, 0.1)  # rows are placed in their dtype
    np.testing.assert_allclose(model.n_neighbors_, got, rtol=plainly)  # what it says of itself
    fewest, most = neighbours(model, X, 1 / 8), neighbours(model, X, 1e3)  # rounding tells apart what is equally near
    if fewest * 1.01 < goal < most / 1.01:
        np.testing.assert_allclose(got, goal, rtol=plainly)
    elif most < 1.005 * fewest:  # every width gives the same
        np.testing.assert_allclose(got, goal if fewest <= goal <= most else got, rtol=1e-2)
    elif goal <= fewest * 1.01:
        np.testing.assert_allclose(got, max(goal, fewest), rtol=at_the_ends)
    else:
        np.testing.assert_allclose(got, min(goal, most), rtol=at_the_ends)


@pytest.mark.parametrize("asked", [1, 2.5, 5, 19, 30, 60])
@pytest.mark.parametrize("apart", [1e2, 1e6, 1e12])
def test_clusters_are_looked_into_and_out_of(asked, apart):
    """Between the two, a wide range of widths gives 19 others, all of a cluster."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(240, 2)) + apart * np.repeat(rng.normal(size=(12, 2)), 20, axis=0)
    model = AttentionRegressor(n_neighbors=asked).fit(X, X[:, 0])
    np.testing.assert_allclose(neighbours(model, X), max(asked, 1.001), rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "columns"),
    quick(
        itertools.product(["float32", "float64"], [["uniform"], ["normal", "cauchy"]]),
        lambda case: case == ("float32", ["normal", "cauchy"]),
    ),
)
def test_it_holds_for_sixty_thousand_rows(dtype, columns):
    rng = np.random.default_rng(1)
    X = np.stack([COLUMNS[name](rng, 60_000) for name in columns], axis=1).astype(dtype)
    model = AttentionRegressor().fit(X, X[:, 0])
    np.testing.assert_allclose(model.n_neighbors_, 15, rtol=2e-3)
    np.testing.assert_allclose(neighbours(model, X, rows=200), 15, rtol=0.15)  # of other rows


@pytest.mark.parametrize("similarity", ["dot", "scaled_dot", "cosine", "uniform", "general", "additive"])
def test_other_similarities_have_a_width_or_do_not_need_one(similarity):
    X = np.random.default_rng(3).normal(size=(60, 2))
    model = AttentionRegressor(similarity, steps=0, random_state=0).fit(X, X[:, 0])
    assert 0 < model.bandwidth_ < np.inf
    assert np.isfinite(model.predict(X)).all()


# -- what it is good for --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_value_far_off_leaves_the_others_as_they_are(dtype):
    rng = np.random.default_rng(0)
    x = rng.random((200, 1)).astype(dtype)
    y, new = np.sin(6 * x[:, 0]), np.linspace(0.02, 0.98, 50)[:, None].astype(dtype)
    x[100] = 1e4
    model = AttentionRegressor().fit(x, y)
    np.testing.assert_allclose(neighbours(model, x), 15, rtol=1e-3)
    assert r2_score(np.sin(6 * new[:, 0]), model.predict(new)) > 0.99


@pytest.mark.parametrize("share", [1 / 300, 0.05, 0.2])
@pytest.mark.parametrize("number", [77_777.0, -999.0, 1e12])
def test_a_number_for_missing_sets_no_unit(share, number):
    X, y = make_classification(400, 4, n_informative=4, n_redundant=0, class_sep=2.0, random_state=2)
    plain = KNeighborsClassifier(15).fit(X[:300], y[:300]).score(X[300:], y[300:])
    X[:300, 1][np.random.default_rng(0).random(300) < share] = number
    X[5, 1] = number
    found = AttentionClassifier().fit(X[:300], y[:300])
    assert found.score(X[300:], y[300:]) > plain - 0.05
    rest = X[:300, 1][X[:300, 1] != number]
    assert 0.5 < found.unit_[1] / found.bandwidth_ / rest.std() < 2


def test_the_nearest_of_many_rows_are_found_in_float32():
    """Sixty thousand places in 8,600 widths from the middle: products of float32 would lose them."""
    rng = np.random.default_rng(2)
    X = rng.random((30_000, 1)).astype(np.float32)
    y, new = np.sin(200 * X[:, 0]), rng.random((100, 1)).astype(np.float32)
    right = KNeighborsRegressor(15).fit(X, y).predict(new)
    np.testing.assert_allclose(AttentionRegressor().fit(X, y).predict(new), right, atol=0.03)


def test_two_rows_that_are_repeated_are_told_apart():
    """There is one other row: no width changes how many it stands for, and the narrow one is taken."""
    X, y = np.repeat([[0.0], [1.0]], [90, 10], axis=0), np.repeat([0.0, 5.0], [90, 10])
    np.testing.assert_allclose(AttentionRegressor().fit(X, y).predict([[0.0], [1.0]]), [0, 5], atol=0.01)


def test_more_neighbours_than_rows_are_warned_of():
    X = np.random.default_rng(0).normal(size=(400, 2))
    with pytest.warns(UserWarning, match=r"n_neighbors=1000 is more than the 400 rows .* 100; lower n_neighbors"):
        model = AttentionRegressor(n_neighbors=1000).fit(X, X[:, 0])
    np.testing.assert_allclose(model.n_neighbors_, 100, rtol=1e-3)
    AttentionRegressor(n_neighbors=400).fit(X, X[:, 0])
    AttentionRegressor().fit(X[:5], X[:5, 0])  # the default asks for no more than there are


# -- the unit of a feature ------------------------------------------------------------------------------------------------
@settings(max_examples=40)
@given(
    st.integers(0, 2**31),
    st.integers(20, 300),
    st.sampled_from(["uniform", "normal", "integers", "binary", "two clusters"]),
)
def test_of_ordinary_values_it_is_the_standard_deviation(seed, n, column):
    x = COLUMNS[column](np.random.default_rng(seed), n)[:, None]
    middle, unit = middle_and_unit(x, None)
    np.testing.assert_allclose([middle[0], unit[0]], [x.mean(), x.std()], rtol=1e-9, atol=1e-15)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from(sorted(set(COLUMNS) - {"unix", "unix in ms"})))
def test_a_weight_is_a_repetition_there_too(seed, column):
    rng = np.random.default_rng(seed)
    x, counts = COLUMNS[column](rng, 40)[:, None], rng.integers(1, 4, 40)
    weighed, repeated = middle_and_unit(x, counts.astype(float)), middle_and_unit(np.repeat(x, counts, axis=0), None)
    np.testing.assert_allclose(weighed, repeated, rtol=1e-9)
