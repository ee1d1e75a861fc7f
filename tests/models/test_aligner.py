"""AttentionAligner: it learns, it chooses, it keeps scikit-learn's manners, and it refuses aloud."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline

import attnlab
from attnlab import (
    AlignmentData,
    AttentionAligner,
    Diverged,
    Mechanism,
    NothingToLearn,
    SettingError,
    ShapeError,
    Splits,
    UnknownName,
)
from attnlab.models.batches import held_out, vectors
from attnlab.models.training import leaves


def task(name="lookup", seed=0, **settings) -> Splits:
    return attnlab.get("task", name, **settings).make(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def lookup():
    return task(d=16, n_keys=8, noise=0.2, n_train=256, n_test=100)


def aligner(similarity="general", steps=40, **settings):
    mechanism = Mechanism(similarity, **{k: settings.pop(k) for k in ("normaliser", "position") if k in settings})
    return AttentionAligner(mechanism, **{"steps": steps, "random_state": 0, **settings})


def accuracy(model, data):
    W = model.align(data)
    return (W.argmax(axis=-1) == data.gold.argmax(axis=-1))[data.alive].mean()


# -- it learns -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("similarity", "settings"),
    [
        ("general", {"learning_rate": 0.1}),
        ("additive", {"steps": 250}),
        ("cosine", {}),
        ("dot", {"projection": 16, "learning_rate": 0.1}),
        ("scaled_dot", {"projection": 16, "learning_rate": 0.1}),
        ("neg_l2", {"projection": 16}),
    ],
)
def test_it_learns_lookup_from_targets_alone(lookup, similarity, settings):
    model = aligner(similarity, **{"steps": 120, **settings}).fit(
        AlignmentData(lookup.train.Q, lookup.train.K, lookup.train.V, target=lookup.train.target)
    )
    test = lookup.tests["test"]
    assert accuracy(model, test) > 0.85
    assert model.score(test) > 0.6
    assert np.mean(model.loss_curve_[-10:]) < 0.5 * model.loss_curve_[0]


def test_uniform_stays_at_chance(lookup):
    with pytest.warns(NothingToLearn, match="there is nothing to learn"):
        model = aligner("uniform").fit(lookup.train)
    assert accuracy(model, lookup.tests["test"]) < 0.3
    assert model.n_parameters_ == 0
    projected = aligner("uniform", projection=4, steps=3).fit(lookup.train)
    assert projected.n_parameters_ == 2 * 16 * 4
    assert np.ptp(projected.align(lookup.tests["test"])) == 0


@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "entmax"])
def test_it_learns_from_alignments(lookup, normaliser):
    train = AlignmentData(lookup.train.Q, lookup.train.K, lookup.train.V, gold=lookup.train.gold)
    model = aligner(objective="alignment", learning_rate=0.1, normaliser=normaliser).fit(train)
    test = lookup.tests["test"]
    assert model.score(test) == pytest.approx(accuracy(model, test))
    assert model.score(test) > 0.85
    needs = r'fit with objective="values" needs AlignmentData with target; it has none'
    with pytest.raises(SettingError, match=needs + r'; it has gold, to learn from with objective="alignment"'):
        aligner().fit(train)
    with pytest.raises(SettingError, match=needs + "$"):
        aligner().fit(AlignmentData(train.Q, train.K, train.V))


def test_lbfgs_goes_down_at_every_iteration(lookup):
    model = aligner(optimizer="lbfgs", steps=15).fit(lookup.train, validation=lookup.validation)
    assert (np.diff(model.loss_curve_) <= 0).all()
    assert model.n_iter_ == len(model.loss_curve_) <= 15
    assert accuracy(model, lookup.tests["test"]) > 0.85
    assert [row["step"] for row in model.validation_curve_] == list(range(model.n_iter_ + 1))


def test_classes_are_one_hot_vectors(lookup):
    rng = np.random.default_rng(0)
    train = lookup.train
    classes = rng.integers(5, size=train.V.shape[:2])
    target = np.take_along_axis(classes, train.gold.argmax(axis=-1), axis=1)
    data = AlignmentData(train.Q, train.K, np.eye(5)[classes], train.mask, train.gold, target)
    model = aligner(learning_rate=0.1, steps=60).fit(data)
    assert model.score(data) > 0.9
    assert model.predict(data).shape == (*target.shape, 5)
    same = AlignmentData(train.Q, train.K, np.eye(5)[classes], target=np.eye(5)[target])
    np.testing.assert_allclose(aligner(learning_rate=0.1, steps=60).fit(same).loss_curve_, model.loss_curve_, rtol=1e-9)


def test_the_loss_is_the_mean_squared_error_of_living_queries(lookup):
    data = lookup.train[:20]
    mask = np.ones((20, data.n_queries, data.n_keys), dtype=bool)
    mask[3] = mask[7, 0] = False
    data = AlignmentData(data.Q, data.K, data.V, mask, data.gold, data.target)
    model = aligner("scaled_dot", projection=3, steps=1, batch_size=20).fit(data, validation=data)
    start = model.validation_curve_[0]
    assert start["loss"] == pytest.approx(model.loss_curve_[0], rel=1e-9)
    with pytest.warns(NothingToLearn, match="steps is 0"):
        model = model.set_params(steps=0).fit(data)
    away = (model.predict(data) - data.target)[data.alive]
    assert (away**2).mean() == pytest.approx(start["loss"], rel=1e-9)
    W = model.align(data)
    assert start["alignment_accuracy"] == (W.argmax(-1) == data.gold.argmax(-1))[data.alive].mean()
    np.testing.assert_array_equal(W[3], 0)


def test_examples_may_come_in_chunks(lookup, monkeypatch):
    test = lookup.tests["test"]
    model = aligner(steps=3).fit(lookup.train, validation=lookup.validation)
    whole = model.align(test), model.predict(test), model.validation_curve_
    monkeypatch.setattr("attnlab.models.batches.CHUNK", 7 * test.n_queries * test.n_keys)
    np.testing.assert_allclose(model.align(test), whole[0], rtol=1e-12)
    np.testing.assert_allclose(model.predict(test), whole[1], rtol=1e-12)
    again = aligner(steps=3).fit(lookup.train, validation=lookup.validation)
    assert [r["loss"] for r in again.validation_curve_] == pytest.approx([r["loss"] for r in whole[2]])


# -- early stopping and looking on -------------------------------------------------------------------------------------
def test_early_stopping_keeps_the_best(lookup):
    model = aligner(
        steps=2000, learning_rate=0.3, early_stopping=True, validate_every=5, n_iter_no_change=3, tol=0.0
    ).fit(lookup.train[:64], validation=lookup.validation)
    losses = [row["loss"] for row in model.validation_curve_]
    assert model.n_iter_ < 2000
    assert np.argmin(losses) == len(losses) - 4
    target = vectors(lookup.validation)
    assert np.mean((model.predict(lookup.validation) - target) ** 2) == pytest.approx(min(losses))


def test_early_stopping_holds_out_a_part(lookup):
    model = aligner(steps=20, early_stopping=True, validation_fraction=0.25).fit(lookup.train)
    assert [row["step"] for row in model.validation_curve_] == [0, 10, 20]
    train, held = held_out(lookup.train, 64, np.random.default_rng(0))
    assert (len(train), len(held)) == (192, 64)
    both = np.concatenate([train.Q, held.Q]).reshape(256, -1)
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(lookup.train.Q.reshape(256, -1), axis=0))
    with pytest.raises(ValueError, match="which leaves none to learn from"):
        aligner(early_stopping=True).fit(lookup.train[:1])


def test_the_validation_curve_names_its_steps(lookup):
    model = aligner(steps=25, validate_every=10, learning_rate=0.1).fit(lookup.train, validation=lookup.validation)
    assert [row["step"] for row in model.validation_curve_] == [0, 10, 20, 25]
    assert model.validation_curve_[-1]["alignment_accuracy"] > model.validation_curve_[0]["alignment_accuracy"]
    assert aligner(steps=3).fit(lookup.train).validation_curve_ == []


# -- the same numbers ----------------------------------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_numbers(lookup):
    one, two, other = (aligner("additive", steps=5, random_state=s).fit(lookup.train) for s in (3, 3, 4))
    assert one.loss_curve_ == two.loss_curve_
    assert one.loss_curve_ != other.loss_curve_
    for random_state in (np.random.default_rng(3), np.random.RandomState(3), np.int64(3), None):
        aligner(steps=1, random_state=random_state).fit(lookup.train)
    generators = [aligner(steps=2, random_state=np.random.default_rng(3)).fit(lookup.train) for _ in range(2)]
    assert generators[0].loss_curve_ == generators[1].loss_curve_
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    aligner(steps=2, random_state=None).fit(lookup.train)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_looking_on_changes_nothing(lookup):
    alone = aligner(steps=12).fit(lookup.train)
    watched = aligner(steps=12, validate_every=3).fit(lookup.train, validation=lookup.validation)
    assert alone.loss_curve_ == watched.loss_curve_


def test_float32_stays_float32(lookup):
    train, test = lookup.train.astype(np.float32), lookup.tests["test"].astype(np.float32)
    for optimizer in ("adam", "lbfgs"):
        for similarity in ("additive", "cosine"):
            model = aligner(similarity, steps=3, projection=4, normaliser="entmax", optimizer=optimizer).fit(train)
            assert {a.dtype for _, a in leaves(model.params_)} == {np.dtype(np.float32)}
            assert model.align(test).dtype == model.predict(test).dtype == np.float32


# -- scikit-learn's manners ------------------------------------------------------------------------------------------
def test_params_are_nested_cloned_and_untouched(lookup):
    model = aligner("additive", steps=2)
    model.set_params(mechanism__similarity__hidden=5, projection=3)
    fitted = model.fit(lookup.train)
    assert fitted is model
    assert [".".join(path) for path, _ in leaves(model.params_)] == [
        *(f"mechanism.similarity.{n}" for n in ("Wk", "Wq", "b", "v")),
        "projection.Wk",
        "projection.Wq",
    ]
    assert model.n_parameters_ == 2 * 16 * 3 + 2 * 3 * 5 + 5 + 5
    copied = clone(model)
    assert copied.get_params()["mechanism__similarity__hidden"] == 5
    assert not hasattr(copied, "params_")
    with pytest.raises(NotFittedError):
        copied.align(lookup.train)
    with pytest.raises(NotFittedError):
        copied.predict(lookup.train)
    assert copied.fit(lookup.train).loss_curve_ == model.loss_curve_


def test_a_mechanism_of_none_or_a_mapping(lookup):
    model = AttentionAligner(steps=2, projection=4, random_state=0)
    model.set_params(mechanism__similarity="neg_l2", mechanism__similarity__sigma=2.0, mechanism__normaliser="entmax")
    assert model.mechanism.similarity.sigma == 2.0
    expected = model.fit(lookup.train).loss_curve_
    mapping = {"similarity": {"neg_l2": {"sigma": 2.0}}, "normaliser": "entmax"}
    assert AttentionAligner(mapping, steps=2, projection=4, random_state=0).fit(lookup.train).loss_curve_ == expected
    assert AttentionAligner(steps=2, projection=4).fit(lookup.train).mechanism_.similarity == "scaled_dot"


def test_targets_may_come_as_y(lookup):
    train = lookup.train
    bare = AlignmentData(train.Q, train.K, train.V)
    one = aligner(steps=4).fit(bare, train.target)
    assert one.loss_curve_ == aligner(steps=4).fit(train).loss_curve_
    assert one.score(bare, train.target) == one.score(train)


def test_grid_search_chooses_a_similarity_and_a_normaliser():
    """On norm_hubs long keys attract every dot product; cosine is immune (catalogue T12)."""
    splits = task("norm_hubs", d=16, n_keys=12, sigma=1.0, n_train=240, n_test=150)
    search = GridSearchCV(
        AttentionAligner(Mechanism(), steps=15, objective="alignment", random_state=0),
        {"mechanism__similarity": ["uniform", "dot", "cosine"], "mechanism__normaliser": ["softmax", "sparsemax"]},
        cv=KFold(3, shuffle=True, random_state=0),
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToLearn)
        search.fit(splits.train)
        test = splits.tests["test"]
        chosen = accuracy(search.best_estimator_, test)
        worst = clone(search.estimator).set_params(
            **search.cv_results_["params"][np.argmin(search.cv_results_["mean_test_score"])]
        )
        assert search.best_params_["mechanism__similarity"] == "cosine"
        assert chosen > 4 / 12  # four times chance
        assert chosen > accuracy(worst.fit(splits.train), test) + 0.3
    assert len(cross_val_score(search.best_estimator_, splits.train, cv=2)) == 2


class Standardised(TransformerMixin, BaseEstimator):
    """Queries and keys to mean 0 and variance 1, each feature, with the keys' figures."""

    def fit(self, X, y=None):
        self.mean_, self.scale_ = X.K.mean(axis=(0, 1)), X.K.std(axis=(0, 1))
        return self

    def transform(self, X):
        return AlignmentData(
            (X.Q - self.mean_) / self.scale_, (X.K - self.mean_) / self.scale_, X.V, X.mask, X.gold, X.target
        )


def test_inside_a_pipeline(lookup):
    def badly_scaled(data):
        scale, shift = np.logspace(-2, 2, data.Q.shape[-1]), 5.0
        return AlignmentData(
            (data.Q + shift) * scale, (data.K + shift) * scale, data.V, data.mask, data.gold, data.target
        )

    train, test = badly_scaled(lookup.train), badly_scaled(lookup.tests["test"])
    last = aligner("scaled_dot", projection=16, learning_rate=0.1, steps=80)
    pipeline = Pipeline([("scale", Standardised()), ("align", last)])
    search = GridSearchCV(pipeline, {"align__mechanism__similarity": ["uniform", "scaled_dot"]}, cv=2).fit(train)
    assert search.best_params_ == {"align__mechanism__similarity": "scaled_dot"}
    assert search.score(test) > 0.5 > clone(last).set_params(steps=20).fit(train).score(test)
    assert search.predict(test).shape == test.target.shape


# -- errors ------------------------------------------------------------------------------------------------------------
def test_divergence_says_its_step(lookup):
    far = np.array(lookup.train.target)
    far[200] = 1e200  # its square is infinite
    train = AlignmentData(lookup.train.Q, lookup.train.K, lookup.train.V, target=far)
    first = None
    for seed in range(20):
        with pytest.raises(Diverged, match=r"the loss became inf at step \d+ of 40") as error:
            aligner(random_state=seed).fit(train)
        assert 1 <= error.value.step <= 8  # the first epoch has eight batches
        said = (
            "before anything was learned: look at the data" if error.value.step == 1 else r"learning_rate=0\.03: a low"
        )
        error.match(said)
        first = first or error.value.step == 1
    assert first
    huge = AlignmentData(1e200 * train.Q, 1e200 * train.K, train.V, target=lookup.train.target)
    with pytest.raises(Diverged):
        aligner("general", optimizer="lbfgs").fit(huge)


@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "entmax"])
def test_a_rate_beyond_range_is_divergence_with_every_normaliser(lookup, normaliser):
    model = AttentionAligner(Mechanism("dot", normaliser), projection=8, learning_rate=1e200, steps=9, random_state=0)
    with pytest.raises(Diverged, match=r"after step 1 of 9 \(learning_rate=1e\+200: a lower one may help"):
        model.fit(lookup.train)


@pytest.mark.parametrize(("objective", "names"), [("values", ("Q", "K", "V", "target")), ("alignment", ("Q", "K"))])
def test_data_that_are_not_finite_are_named(lookup, objective, names):
    for name in names:
        spoilt = lookup.train[:]
        array = np.array(getattr(spoilt, name))
        array[200, 0, 3] = np.nan
        setattr(spoilt, name, array)
        model = aligner(objective=objective, steps=2)
        with pytest.raises(
            ValueError, match=rf"^fit: {name} must be finite where it is read: example 200, .* 0 holds nan"
        ):
            model.fit(spoilt)
        with pytest.raises(ValueError, match=rf"^fit's validation data: {name} must be finite"):
            model.fit(lookup.train, validation=spoilt)


@pytest.mark.parametrize("objective", ["values", "alignment"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_anything_may_stand_where_the_mask_forbids(lookup, objective, optimizer):
    """Training, weights, predictions and score are those of the same examples with numbers there."""
    plain = AlignmentData(**{n: np.array(getattr(lookup.train, n)) for n in ("Q", "K", "V", "gold", "target")})
    plain.mask = np.ones((len(plain), plain.n_queries, plain.n_keys), dtype=bool)
    worst = plain.gold.sum(axis=1).argmin(axis=-1)
    plain.mask[np.arange(len(plain)), :, worst] = False  # one key of each example is padding
    plain.mask[7, 0] = False  # and a query
    spoilt = plain[:]
    for name in ("Q", "K", "V", "target"):
        setattr(spoilt, name, np.array(getattr(plain, name)))
    for name in ("K", "V"):
        getattr(spoilt, name)[np.arange(len(plain)), worst] = np.nan
    spoilt.Q[7, 0], spoilt.target[7, 0] = np.inf, np.nan
    models = [
        aligner("dot", projection=4, steps=5, objective=objective, optimizer=optimizer).fit(data, validation=data)
        for data in (plain, spoilt)
    ]
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert models[0].validation_curve_ == models[1].validation_curve_
    np.testing.assert_array_equal(models[0].align(plain), models[1].align(spoilt))
    np.testing.assert_array_equal(models[0].predict(plain), models[1].predict(spoilt))
    assert models[0].score(plain) == models[1].score(spoilt)


def test_nothing_to_learn_is_said_where_fit_was_called(lookup):
    with pytest.warns(NothingToLearn, match="projection=16 gives it projections to learn") as caught:
        model = aligner("neg_l2", steps=5).fit(lookup.train, validation=lookup.validation)
    assert caught[0].filename == __file__
    assert (model.n_iter_, model.loss_curve_, len(model.validation_curve_)) == (0, [], 1)
    assert accuracy(model, lookup.tests["test"]) > 0.5


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"objective": "value"},
            SettingError,
            r"objective must be 'values' or 'alignment'; got 'value' \(did you mean values",
        ),
        ({"projection": 0}, SettingError, "projection must be .*> 0.* got 0"),
        ({"learning_rate": -0.1}, SettingError, "learning_rate must be float, > 0; got -0.1"),
        ({"steps": 1.5}, SettingError, "steps must be int, >= 0 or None; got 1.5"),
        ({"mechanism": "dot"}, SettingError, r"such as Mechanism\('dot'\), a mapping .*got 'dot'"),
        ({"mechanism": {"similarity": "dott"}}, UnknownName, "did you mean dot"),
        ({"mechanism": {"similar": "dot"}}, SettingError, r"has no setting 'similar' \(did you mean similarity"),
        ({"random_state": "one"}, SettingError, "random_state must be an integer from 0.*got 'one'"),
        ({"random_state": -1}, SettingError, "random_state must be an integer from 0.*got -1"),
    ],
)
def test_settings_are_refused_at_fit(lookup, settings, error, message):
    with pytest.raises(error, match=message):
        AttentionAligner(**settings).fit(lookup.train)


def test_data_are_refused(lookup):
    train = lookup.train
    with pytest.raises(TypeError, match=r"X must be attnlab\.AlignmentData; got ndarray"):
        aligner().fit(train.Q)
    with pytest.raises(ValueError, match="fit needs at least one example; got 0"):
        aligner().fit(train[:0])
    with pytest.raises(ShapeError, match=r"axis 'v' disagrees: V has .*, target has"):
        aligner().fit(AlignmentData(train.Q, train.K, train.V, target=train.target[..., :1]))
    classes = np.full(train.target.shape[:2], train.V.shape[2])
    with pytest.raises(ShapeError, match=r"class targets must be 0\.\."):
        aligner().fit(AlignmentData(train.Q, train.K, train.V, target=classes))
    model = aligner(steps=1).fit(train)
    with pytest.raises(ShapeError, match="axis 'd' disagrees: fitted on queries with 16 features, got 15"):
        model.align(AlignmentData(train.Q[..., 1:], train.K, train.V))
    with pytest.raises(ShapeError, match="axis 'd' disagrees: fitted on keys with 16 features, got 15"):
        model.predict(AlignmentData(train.Q, train.K[..., 1:], train.V))
    with pytest.raises(SettingError, match='score with objective="values" needs'):
        model.score(AlignmentData(train.Q, train.K, train.V))


@pytest.mark.parametrize(
    "mechanism",
    [
        {},
        {"similarity": "general", "normaliser": "sparsemax", "aggregator": "gated"},
        {"similarity": "additive", "normaliser": {"entmax": {"alpha": "learned"}}, "mask": "causal"},
        {"similarity": "cosine", "normaliser": "sigmoid", "aggregator": "laser"},
        {"similarity": "uniform", "position": "rope"},
        {"similarity": "coverage", "position": "sinusoidal"},
        {"multi_head": {"heads": 2}},
    ],
)
@pytest.mark.parametrize("mix", ["values", "predictions"])
def test_predict_and_align_is_predict_and_align(mechanism, mix, monkeypatch):
    if mix == "predictions" and ("aggregator" in mechanism or "multi_head" in mechanism):
        return  # their contexts are no probabilities
    splits = task("copy", length=5, min_length=2, d=4, n_train=16, n_test=9, seed=4)
    for dtype in (np.float64, np.float32):
        data, tests = splits.train.astype(dtype), splits.tests["test"].astype(dtype)
        model = AttentionAligner(mechanism, steps=3, projection=4, mix=mix, random_state=1).fit(data)
        monkeypatch.setattr("attnlab.models.batches.CHUNK", 2 * 5 * 5)  # several chunks
        Y, W = model.predict_and_align(tests)
        within = {"rtol": 1e-12, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(Y, model.predict(tests), **within)
        np.testing.assert_allclose(W, model.align(tests), **within)
        assert (Y.dtype, W.dtype) == (model.predict(tests).dtype, model.align(tests).dtype)


def test_predict_and_align_of_a_subclass_are_its_own(lookup):
    class Even(AttentionAligner):
        def align(self, X, heads=False):
            return np.full(X.allowed.shape, 0.125)

    model = Even(Mechanism("dot"), steps=1, projection=4).fit(lookup.train)
    Y, W = model.predict_and_align(lookup.tests["test"])
    assert (W == 0.125).all()
    np.testing.assert_array_equal(Y, model.predict(lookup.tests["test"]))
