"""Attention over the rows of a table, as a regressor and a classifier."""

import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf_shrinkage, shrunk_covariance
from sklearn.datasets import load_iris, make_classification, make_friedman1
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import attnlab
from attnlab import AttentionClassifier, AttentionRegressor, Similarity, Source, namespace
from attnlab.models.tabular import learning as memory_training
from attnlab.parts.similarities import Dot, NegL2

PLAIN = {"n_neighbors": None, "standardise": False}


class CityBlock(Similarity):
    """Minus the city-block distance."""

    name = "city_block"
    source = Source("A test", "attnlab", 2026)

    def __init__(self, scale=1.0):
        self.scale = scale

    def score(self, Q, K):
        xp = namespace(Q, K)
        return -xp.sum(xp.abs(Q[..., :, None, :] - K[..., None, :, :]), axis=-1) / self.scale


@pytest.fixture
def city_block():
    from attnlab import registry

    attnlab.register(CityBlock)
    yield CityBlock
    registry._registered.pop(("similarity", "city_block"))


def nadaraya_watson(X, y, new, sigma, w=None):
    """Plain kernel regression, row by row."""
    predictions = []
    for x in new:
        kernel = np.array([np.exp(-((x - one) ** 2).sum() / (2 * sigma**2)) for one in X])
        kernel = kernel if w is None else kernel * w
        predictions.append(kernel @ y / kernel.sum())
    return np.array(predictions)


def table(seed, n=40, d=3, outputs=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, rng.normal(size=n if outputs is None else (n, outputs)) + X[:, :1].sum(), rng.normal(size=(7, d))


# -- nothing learned --------------------------------------------------------------------------------------------------
@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.3, 4), st.sampled_from([None, 1, 3]), st.sampled_from(["fast", "reference"]))
def test_with_nothing_learned_it_is_nadaraya_watson(seed, sigma, outputs, backend):
    X, y, new = table(seed, outputs=outputs)
    model = AttentionRegressor({"neg_l2": {"sigma": sigma}}, backend=backend, **PLAIN).fit(X, y)
    np.testing.assert_allclose(model.predict(new), nadaraya_watson(X, y, new, sigma), rtol=1e-8, atol=1e-10)
    assert model.backend_ == backend
    assert model.n_parameters_ == 0


def test_probabilities_are_kernel_regressions_of_the_classes():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "virginica", "amber"])[y]
    model = AttentionClassifier({"neg_l2": {"sigma": 0.4}}, **PLAIN).fit(X[::2], names[::2])
    P = model.predict_proba(X[1::2])
    assert list(model.classes_) == ["amber", "setosa", "virginica"]
    one_hot = (names[::2, None] == model.classes_).astype(float)
    np.testing.assert_allclose(P, nadaraya_watson(X[::2], one_hot, X[1::2], 0.4), atol=1e-12)
    assert set(model.predict(X[1::2])) == set(names)
    assert model.score(X[1::2], names[1::2]) > 0.9


def test_equally_probable_classes_give_the_first():
    model = AttentionClassifier("uniform").fit([[0.0], [1.0]], ["b", "a"])
    assert list(model.predict([[0.3]])) == ["a"]


@settings(max_examples=20)
@given(
    st.integers(0, 2**31), st.booleans(), st.sampled_from(["softmax", "hardmax"]), st.sampled_from([5.0, 15.0, None])
)
def test_a_weight_is_a_repetition(seed, standardise, normaliser, n_neighbors):
    X, y, new = table(seed)
    rng = np.random.default_rng(seed)
    X[3] = X[8]
    counts = rng.integers(0, 4, size=len(X))
    shuffled = rng.permutation(np.repeat(np.arange(len(X)), counts))
    model = AttentionRegressor(normaliser=normaliser, standardise=standardise, n_neighbors=n_neighbors)
    weighted = clone(model).fit(X, y, sample_weight=counts)
    repeated = clone(model).fit(X[shuffled], y[shuffled])
    if normaliser == "softmax":
        np.testing.assert_allclose(weighted.bandwidth_, repeated.bandwidth_, rtol=1e-8)
    if len(np.unique(X[counts > 0], axis=0)) == (counts > 0).sum() or normaliser == "softmax":
        np.testing.assert_allclose(weighted.predict(new), repeated.predict(new), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n_neighbors", [3.0, 12.0])
@pytest.mark.parametrize("counted", [False, True])
def test_the_bandwidth_gives_the_effective_number_of_neighbours(n_neighbors, counted):
    X, y, _ = table(5, n=80)
    counts = np.random.default_rng(5).integers(1, 4, size=80) if counted else np.ones(80, dtype=int)
    model = AttentionRegressor(n_neighbors=n_neighbors, standardise=False).fit(X, y, sample_weight=counts)
    X = np.repeat(X, counts, axis=0)
    S = -((X[:, None] - X[None]) ** 2).sum(-1) / (2 * model.bandwidth_**2)
    S[(X[:, None] == X[None]).all(-1)] = -np.inf
    P = np.exp(S - S.max(1, keepdims=True))
    P /= P.sum(1, keepdims=True)
    entropy = -(P * np.log(np.where(P > 0, P, 1))).sum(1)
    np.testing.assert_allclose(np.exp(entropy.mean()), n_neighbors, rtol=1e-6)


def test_the_unit_of_a_feature_does_not_matter():
    X, y, new = table(2)
    units = np.array([1e-6, 1.0, 1e7])
    one = AttentionRegressor().fit(X, y).predict(new)
    np.testing.assert_allclose(AttentionRegressor().fit(X * units + 5, y).predict(new * units + 5), one, rtol=1e-6)


def test_far_away_rows_and_constant_tables_have_predictions():
    X, y, _ = table(4)
    assert np.isfinite(AttentionRegressor().fit(X, y).predict(np.full((1, 3), 1e9))).all()
    np.testing.assert_allclose(AttentionRegressor().fit(np.ones((5, 2)), np.arange(5.0)).predict([[1.0, 1.0]]), 2.0)


@pytest.mark.parametrize(
    "normaliser", ["softmax_n", "sigmoid", {"sigmoid": {"minus_log_n": False}}, "sparsemax", "entmax"]
)
def test_what_weights_leave_of_one_goes_to_the_mean(normaliser):
    X, y, new = table(6)
    model = AttentionRegressor("neg_l2", normaliser).fit(X, y)
    W = attnlab.attention_weights(
        (new - model.offset_) / model.unit_, (X - model.offset_) / model.unit_, "neg_l2", normaliser
    )
    W = W / np.maximum(1, W.sum(1, keepdims=True))
    np.testing.assert_allclose(model.predict(new), W @ y + (1 - W.sum(1)) * y.mean(), rtol=1e-8)
    P = AttentionClassifier("neg_l2", normaliser).fit(X, y > 0).predict_proba(new)
    np.testing.assert_allclose(P.sum(1), 1)


def test_gather_is_the_nearest_neighbour():
    X, y, new = table(7)
    nearest = ((new[:, None] - X[None]) ** 2).sum(-1).argmin(1)
    np.testing.assert_allclose(AttentionRegressor(aggregator="gather", **PLAIN).fit(X, y).predict(new), y[nearest])


@pytest.mark.parametrize("similarity", ["neg_l2", "scaled_dot", "cosine"])
@pytest.mark.filterwarnings("ignore:cosine with its temperature")
def test_blocks_give_what_the_whole_gives(monkeypatch, similarity):
    X, y, new = table(8, outputs=2)
    model = AttentionRegressor(similarity, steps=0, random_state=0).fit(X, y, np.arange(40.0))
    whole, explained = model.predict(new), model.explain(new)
    monkeypatch.setattr(memory_training, "BLOCK", 100)
    np.testing.assert_allclose(model.predict(new), whole, rtol=1e-12)
    pd.testing.assert_frame_equal(model.explain(new), explained)


def test_memory_does_not_grow_with_the_product_of_rows(monkeypatch):
    import tracemalloc

    monkeypatch.setattr(memory_training, "BLOCK", 2**16)
    X, y, _ = table(9, n=3000)
    for backend in ("fast", "reference"):
        model = AttentionRegressor(backend=backend).fit(X, y)
        tracemalloc.start()
        model.predict(X)
        assert tracemalloc.get_traced_memory()[1] < 3000 * 3000 * 8 / 10
        tracemalloc.stop()


@pytest.mark.parametrize("projection", [None, "diagonal", 2])
def test_float32_stays(projection):
    X, y, new = table(10)
    settings = {"projection": projection, "steps": 10, "random_state": 0}
    single = AttentionRegressor(**settings).fit(X.astype(np.float32), y)
    assert single.predict(new).dtype == np.float32
    assert all(a.dtype == np.float32 for a in single.params_["projection"].values())
    if projection is None:
        np.testing.assert_allclose(
            single.predict(new), AttentionRegressor().fit(X, y).predict(new), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("shares", [1 / 40, 1e-6, 0.999])
def test_weights_that_are_shares_have_no_unit(shares):
    X, y, new = table(20)
    w = np.random.default_rng(2).uniform(0.2, 1.8, size=40)
    w /= w.mean()
    one = AttentionRegressor().fit(X, y, sample_weight=w)
    other = AttentionRegressor().fit(X, y, sample_weight=w * shares)
    np.testing.assert_allclose(other.bandwidth_, one.bandwidth_)
    np.testing.assert_allclose(other.predict(new), one.predict(new))
    assert one.bandwidth_ != AttentionRegressor().fit(X, y, sample_weight=w * 2).bandwidth_  # rows, which count


def test_boosting_gives_shares_as_weights():
    X, y = load_iris(return_X_y=True)
    boosted = AdaBoostClassifier(AttentionClassifier(), n_estimators=5, random_state=0).fit(X, y)
    assert boosted.score(X, y) >= AttentionClassifier().fit(X, y).score(X, y) - 0.03


@pytest.mark.parametrize(
    ("unit", "dtype"), [(1e-24, np.float32), (1e24, np.float32), (1e-200, np.float64), (1e200, np.float64)]
)
@pytest.mark.parametrize("standardise", [True, False])
def test_the_unit_of_the_features_does_not_matter(unit, dtype, standardise):
    X, y, new = table(21)
    tolerance = 1e-3 if dtype == np.float32 else 1e-7
    for model in (
        AttentionRegressor(standardise=standardise),
        AttentionRegressor(standardise=standardise, projection=1),
    ):
        model.set_params(steps=0)
        expected = model.fit(X, y).predict(new)
        made = model.fit((X * unit).astype(dtype), y).predict((new * unit).astype(dtype))
        np.testing.assert_allclose(made, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_a_row_that_is_beyond_all_numbers_is_named(backend):
    X, y, new = table(23)
    model = AttentionRegressor(backend=backend).fit(X, y)
    new[2, 0] = 1e200
    with pytest.raises(ValueError, match=r"row 2 of X has no prediction.*as far as .*e\+200 bandwidths"):
        model.predict(new)
    assert np.isfinite(model.predict(new[:2])).all()


# -- learning ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("projection", "gain"), [("diagonal", 0.1), (10, 0.03)])
def test_learning_the_metric_ignores_irrelevant_features(projection, gain):
    X, y = make_friedman1(400, n_features=10, noise=1.0, random_state=1)  # five of ten matter
    plain = cross_val_score(AttentionRegressor(), X, y, cv=3).mean()
    learned = cross_val_score(AttentionRegressor(projection=projection, random_state=0), X, y, cv=3).mean()
    assert learned > plain + gain


def test_learning_the_metric_helps_to_classify():
    X, y = make_classification(300, 20, n_informative=3, n_redundant=0, class_sep=1.2, random_state=3)
    plain = cross_val_score(AttentionClassifier(), X, y, cv=3).mean()
    learned = AttentionClassifier(projection="diagonal", steps=150, random_state=0)
    assert cross_val_score(learned, X, y, cv=3).mean() > plain + 0.05


def test_what_is_learned_is_the_leave_one_out_loss():
    """Adam's first loss is that of plain leave-one-out kernel regression; a row never sees itself."""
    X, y, _ = table(11)
    model = AttentionRegressor(
        projection="scale", steps=1, early_stopping=False, batch_size=40, random_state=0, **PLAIN
    ).fit(X, y)
    left_out = [nadaraya_watson(np.delete(X, i, 0), np.delete(y, i), X[i : i + 1], 1.0)[0] for i in range(40)]
    np.testing.assert_allclose(model.loss_curve_[0], np.mean((left_out - y) ** 2) / y.var(), rtol=1e-8)


def test_weights_count_in_the_loss_and_among_the_keys():
    X, y, _ = table(12)
    w = np.random.default_rng(1).uniform(0.1, 3, size=40)
    model = AttentionRegressor(
        projection="scale", steps=1, early_stopping=False, batch_size=40, random_state=0, **PLAIN
    ).fit(X, y, sample_weight=w)
    left_out = [
        nadaraya_watson(np.delete(X, i, 0), np.delete(y, i), X[i : i + 1], 1.0, np.delete(w, i))[0] for i in range(40)
    ]
    variance = np.average((y - np.average(y, weights=w)) ** 2, weights=w)
    np.testing.assert_allclose(model.loss_curve_[0], np.average((left_out - y) ** 2, weights=w) / variance, rtol=1e-8)


def test_early_stopping_keeps_the_best():
    X, y = make_friedman1(200, noise=1.0, random_state=2)
    model = AttentionRegressor(projection=10, learning_rate=0.3, n_iter_no_change=3, random_state=0).fit(X, y)
    losses = [look["loss"] for look in model.validation_curve_]
    assert model.n_iter_ < 300
    assert min(losses) < losses[-1]
    assert len(model.loss_curve_) == model.n_iter_


def test_rows_held_out_give_nothing_away():
    rng = np.random.default_rng(5)
    X, noise = rng.normal(size=(150, 20)), rng.normal(size=150)
    model = AttentionRegressor(projection=20, validation_fraction=0.5, n_iter_no_change=30, random_state=0).fit(
        X, noise
    )
    held = [look["loss"] for look in model.validation_curve_]
    assert min(model.loss_curve_) < 0.3  # learned by heart
    assert min(held) > 0.95 * held[0]  # there is nothing to find


@pytest.mark.parametrize(("n", "fraction"), [(2, 0.9), (3, 0.9), (8, 0.95), (40, 0.999)])
def test_two_rows_at_least_are_not_held_out(n, fraction):
    X, y, new = table(22)
    model = AttentionRegressor(projection="diagonal", validation_fraction=fraction, steps=20, random_state=0)
    assert np.isfinite(model.fit(X[:n], y[:n]).predict(new)).all()


def test_few_keys_at_a_time_still_learn(monkeypatch):
    monkeypatch.setattr(memory_training, "KEYS", 100)
    X, y = make_friedman1(400, noise=1.0, random_state=1)
    model = AttentionRegressor(projection="diagonal", random_state=0).fit(X, y)
    scale = np.exp(model.params_["projection"]["log_scale"])
    assert scale[:5].min() > scale[5:].max()


def test_a_similarity_with_arrays_to_learn_learns_them():
    X, y = make_friedman1(150, n_features=5, random_state=0)
    still = AttentionRegressor("general", steps=0, random_state=0).fit(X, y)
    model = AttentionRegressor("general", steps=150, random_state=0).fit(X, y)
    assert model.n_parameters_ == 25
    assert model.score(X, y) > still.score(X, y) + 0.1


def test_random_state_repeats_and_accepts_generators():
    X, y, new = table(13)
    make = lambda seed: AttentionRegressor(projection=2, steps=15, random_state=seed).fit(X, y).predict(new)  # noqa: E731
    np.testing.assert_array_equal(make(3), make(3))
    np.testing.assert_array_equal(make(np.random.default_rng(3)), make(np.random.default_rng(3)))
    assert not np.array_equal(make(3), make(4))


def cosines(A, B):
    """Cosines of the principal angles between the spaces that the columns span."""
    return np.linalg.svd(np.linalg.qr(A)[0].T @ np.linalg.qr(B)[0], compute_uv=False)


@pytest.mark.parametrize("width", [1, 2])
def test_a_map_with_fewer_dimensions_than_classes_starts_from_the_discriminants(width):
    X, y = load_iris(return_X_y=True)
    W = AttentionClassifier(projection=width, steps=0).fit(X, y).params_["projection"]["W"]
    Z = (X - X.mean(0)) / X.std(0)
    means = np.stack([Z[y == c].mean(0) for c in range(3)])
    rest = Z - means[y]
    oracle = LinearDiscriminantAnalysis().fit(Z, y).scalings_  # not shrunk
    assert cosines(W, oracle[:, :width]).min() > 0.98
    # the same by another way: the principal directions of the means, where the rest is round
    values, vectors = np.linalg.eigh(shrunk_covariance(rest.T @ rest / 150, ledoit_wolf_shrinkage(rest)))
    round_ = vectors / np.sqrt(values)
    assert cosines(W, round_ @ np.linalg.svd(means @ round_)[2].T[:, :width]).min() > 1 - 1e-9
    np.testing.assert_allclose((W**2).sum(), width)
    rows = rest @ W  # what the classes leave unexplained is as wide along each direction, but for the shrinkage
    np.testing.assert_allclose(rows.std(0) / rows.std(0)[0], 1, atol=0.1)


def test_a_map_to_one_dimension_starts_from_least_squares():
    rng = np.random.default_rng(7)
    X, w = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)), rng.integers(1, 4, 300)
    y = X @ [1.0, -2.0, 0.5, 0.0] + rng.normal(size=300)
    model = AttentionRegressor(projection=1, steps=0, standardise=False).fit(X, y, sample_weight=w)
    oracle = LinearRegression().fit(X, y, sample_weight=w).coef_[:, None]
    assert cosines(model.params_["projection"]["W"], oracle).min() > 0.99  # shrinkage turns it a little
    repeated = AttentionRegressor(projection=1, steps=0, standardise=False).fit(np.repeat(X, w, 0), np.repeat(y, w))
    assert cosines(model.params_["projection"]["W"], repeated.params_["projection"]["W"]).min() > 0.995


def test_a_wider_map_starts_from_the_principal_directions():
    X, y = load_iris(return_X_y=True)
    model = AttentionClassifier(projection=3, steps=0, standardise=False).fit(X, y)
    assert cosines(model.params_["projection"]["W"], PCA(3).fit(X).components_.T).min() > 1 - 1e-9
    constant = AttentionRegressor(projection=1, steps=0).fit(X, np.ones(150))  # nothing to explain
    assert np.isfinite(constant.predict(X)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_start_where_the_targets_explain_everything_and_features_repeat(dtype):
    y = np.repeat([0.0, 1.0, 2.0], 4)
    X = np.repeat(y[:, None], 30, axis=1).astype(dtype)  # more features than rows, all the same
    for model in (AttentionClassifier(), AttentionRegressor()):
        model.set_params(projection=1, steps=20, random_state=0).fit(X, y)
        assert np.isfinite(model.params_["projection"]["W"]).all()
        np.testing.assert_allclose(model.set_params(n_neighbors=3).fit(X, y).predict(X), y, atol=1e-3)


@pytest.mark.parametrize("projection", ["diagonal", 1, 8])
def test_alpha_holds_the_projection_to_its_start(projection):
    X, y = make_friedman1(150, n_features=8, noise=1.0, random_state=3)
    settings = {"projection": projection, "early_stopping": False, "steps": 60, "random_state": 0}
    flat = lambda model: np.concatenate([np.ravel(a) for a in model.params_["projection"].values()])  # noqa: E731
    start = flat(AttentionRegressor(**settings | {"steps": 0}).fit(X, y))
    gone = [np.linalg.norm(flat(AttentionRegressor(alpha=a, **settings).fit(X, y)) - start) for a in (0, 30, 3000)]
    assert gone[0] > 1.1 * gone[1] > 2 * gone[2]


def test_what_alpha_adds_to_the_loss():
    X, y, _ = table(15, n=50)
    settings = {"projection": "diagonal", "early_stopping": False, "batch_size": 50, "steps": 2, "random_state": 0}
    held, free = (AttentionRegressor(alpha=a, **settings).fit(X, y) for a in (20.0, 0.0))
    assert held.loss_curve_[0] == free.loss_curve_[0]  # nothing at the start
    once = AttentionRegressor(**settings | {"steps": 1}).fit(X, y).params_["projection"]["log_scale"]
    # Adam's first step does not depend on the size of the gradient, and alpha's is zero at the start
    added = 20.0 / 50 * np.mean((np.exp(once) - 1) ** 2)
    np.testing.assert_allclose(held.loss_curve_[1] - free.loss_curve_[1], added, rtol=1e-6)
    scale = [AttentionRegressor(alpha=a, **settings | {"projection": "scale"}).fit(X, y).loss_curve_ for a in (0, 9.0)]
    assert scale[0] == scale[1]


# -- explaining -------------------------------------------------------------------------------------------------------
@settings(max_examples=10)
@given(st.integers(0, 2**31), st.booleans())
def test_explain_reproduces_the_prediction(seed, weighted):
    X, y, new = table(seed)
    w = np.random.default_rng(seed).uniform(size=40) if weighted else None
    model = AttentionRegressor().fit(X, y, sample_weight=w)
    frame = model.explain(new, top=None)
    made = (frame["weight"] * frame["target"]).groupby(frame["row"]).sum()
    np.testing.assert_allclose(made, model.predict(new), rtol=1e-8, atol=1e-10)
    classifier = AttentionClassifier().fit(X, np.where(y > 0, "up", "down"), sample_weight=w)
    share = classifier.explain(new, top=None).groupby(["row", "target"])["weight"].sum().unstack(fill_value=0)
    np.testing.assert_allclose(share[classifier.classes_], classifier.predict_proba(new), atol=1e-10)


def test_explain_names_rows_by_their_labels():
    X = pd.DataFrame({"age": [1.0, 2.0, 9.0, 10.0]}, index=["ann", "bob", "cy", "di"])
    y = pd.DataFrame({"pay": [1.0, 2.0, 3.0, 4.0], "rent": [0.0, 0.0, 1.0, 1.0]}, index=X.index)
    model = AttentionRegressor({"neg_l2": {"sigma": 0.5}}, **PLAIN).fit(X, y, sample_weight=[0, 1, 1, 1])
    frame = model.explain(pd.DataFrame({"age": [9.1]}, index=["new"]), top=2)
    assert list(frame.columns) == ["row", "rank", "training_row", "weight", "target_pay", "target_rent"]
    assert frame["row"].tolist() == ["new", "new"]
    assert frame["training_row"].tolist() == ["cy", "di"]
    assert frame["rank"].tolist() == [1, 2]
    assert frame["target_pay"].tolist() == [3.0, 4.0]
    assert frame["weight"].is_monotonic_decreasing


@pytest.mark.parametrize("top", [0, -1, 2.5, True, "all"])
def test_explain_refuses_a_top_that_is_no_count(top):
    X, y, new = table(1)
    with pytest.raises(attnlab.SettingError, match="top must be an int > 0 or None"):
        AttentionRegressor().fit(X, y).explain(new, top=top)


def test_sparse_weights_explain_with_few_rows():
    X, y, new = table(1)
    frame = AttentionRegressor("neg_l2", "sparsemax", n_neighbors=3).fit(X, y).explain(new, top=None)
    assert (frame["weight"] > 0).all()
    assert len(frame) < 7 * 40 / 2


# -- scikit-learn's manners -------------------------------------------------------------------------------------------
def test_grid_search_by_names(city_block):
    X, y, _ = table(14)
    grid = [
        {"similarity": ["neg_l2"], "similarity__sigma": [0.5, 1.0]},
        {"similarity": ["city_block"], "similarity__scale": [0.5, 1.0, 2.0]},
        {"similarity": [{"neg_l2": {"sigma": 3.0}}], "normaliser": ["softmax", "sparsemax"], "n_neighbors": [5]},
    ]
    search = GridSearchCV(AttentionRegressor(), grid, cv=3, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 7
    assert search.cv_results_["mean_test_score"].std() > 0


def test_grid_search_by_objects(city_block):
    X, y, _ = table(15)
    given = [CityBlock(), CityBlock(scale=9.0)]
    search = GridSearchCV(AttentionRegressor(), {"similarity": given, "similarity__scale": [0.1, 1.0]}, cv=3).fit(X, y)
    assert search.best_estimator_.similarity.scale == search.best_params_["similarity__scale"]
    assert [one.scale for one in given] == [1.0, 9.0]
    assert "similarity__scale" in search.best_estimator_.get_params()


def test_get_and_set_params_reach_into_parts():
    model = AttentionRegressor()
    assert model.get_params()["similarity__sigma"] == 1.0
    assert model.get_params()["normaliser__temperature"] == 1.0
    assert not any("__" in name for name in model.get_params(deep=False))
    model.set_params(similarity=NegL2(2.0), normaliser__temperature=0.5, n_neighbors=4)
    assert (model.get_params()["similarity__sigma"], model.get_params()["normaliser__temperature"]) == (2.0, 0.5)
    assert clone(model).get_params()["similarity__sigma"] == 2.0
    with pytest.raises(attnlab.SettingError, match=r"no setting 'sigam'.*did you mean sigma"):
        model.set_params(similarity__sigam=1.0)
    with pytest.raises(ValueError, match="Invalid parameter 'neighbours'"):
        model.set_params(neighbours=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be .*> 0.*got 0"),
        ({"alpha": -1.0}, "alpha must be.*-1.0"),
        ({"projection": "diagnal"}, "projection must be.*'diagnal'"),
        ({"similarity": "neg_l3"}, "no similarity 'neg_l3'.*neg_l2"),
        ({"normaliser": Dot()}, "a normaliser is a name"),
        ({"similarity": {"neg_l2": {"sigma": -1.0}}}, "sigma must be float, > 0"),
        ({"backend": "gpu"}, "backend must be 'fast' or 'reference'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
    ],
)
def test_settings_are_refused_at_fit(settings, message):
    X, y, _ = table(0)
    with pytest.raises((attnlab.SettingError, attnlab.UnknownName), match=message):
        AttentionRegressor(**settings).fit(X, y)


def test_data_are_refused_with_a_reason():
    X, y, _ = table(0)
    with pytest.raises(TypeError, match=r"[Ss]parse data was passed.*dense"):
        AttentionRegressor().fit(csr_matrix(X), y)
    with pytest.raises(ValueError, match="zero"):
        AttentionRegressor().fit(X, y, sample_weight=np.zeros(40))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        AttentionRegressor().fit(X, y, sample_weight=-np.ones(40))
    with pytest.raises(ValueError, match="at least 2 rows; got 1 sample"):
        AttentionRegressor(projection="scale").fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="Unknown label type"):
        AttentionClassifier().fit(X, y)
    np.testing.assert_allclose(AttentionRegressor().fit(X[:1], y[:1]).predict(X[:3]), y[0])


def test_parts_that_couple_rows_are_refused():
    class Coupled(attnlab.Normaliser):
        """Weights that depend on other rows."""

        name = "coupled"
        couples_rows = True

        def normalise(self, S):
            return namespace(S).softmax(S - S.mean(), axis=-1)

    X, y, _ = table(0)
    with pytest.raises(attnlab.Unsupported, match="'coupled' couples rows"):
        AttentionRegressor(normaliser=Coupled()).fit(X, y)


def test_several_outputs_of_classes():
    X, y = load_iris(return_X_y=True)
    Y = np.stack([np.array(["a", "b", "c"])[y], np.where(X[:, 0] > 6, "long", "short")], axis=1)
    model = AttentionClassifier().fit(X, Y)
    assert (model.predict(X) == Y).mean() > 0.9
    first, second = model.predict_proba(X)
    assert (first.shape, second.shape) == ((150, 3), (150, 2))
    np.testing.assert_allclose(first, AttentionClassifier().fit(X, Y[:, 0]).predict_proba(X), atol=1e-12)


def test_pandas_pickle_and_html():
    data = load_iris(as_frame=True)
    model = AttentionClassifier(NegL2(2.0)).fit(data.data, data.target)
    assert list(model.feature_names_in_) == list(data.data.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(data.data.rename(columns={"sepal length (cm)": "length"}))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(data.data), model.predict_proba(data.data))
    assert "AttentionClassifier" in estimator_html_repr(model)
    assert "NegL2(sigma=2.0)" in repr(model)


def test_weights_are_routed_through_a_search():
    X, y, new = table(16)
    w = np.random.default_rng(0).integers(0, 3, size=40).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        model = AttentionRegressor().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), model)
        search = GridSearchCV(pipeline, {"attentionregressor__n_neighbors": [5]}, cv=3).fit(X, y, sample_weight=w)
    direct = AttentionRegressor(n_neighbors=5).fit(X, y, sample_weight=w)
    np.testing.assert_allclose(search.predict(new), direct.predict(new), rtol=1e-6)


def test_many_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 4))
    y = np.sin(2 * X[:, 0])
    train, test, y_train, y_test = train_test_split(X, y, test_size=200, random_state=0)
    assert AttentionRegressor().fit(train, y_train).score(test, y_test) > 0.9


def test_the_page_runs():
    page = (Path(__file__).parents[3] / "docs" / "tabular.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert code
    exec("\n".join(code), {})
