"""When a fit ends: without steps when validation no longer improves, with steps when they are over; and what it says of it."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning

import attnlab
from attnlab import AttentionAligner, AttentionClassifier, AttentionRegressor, AttentionSeq2Seq, Mechanism
from attnlab.models.stopping import MOST_STEPS, Stopping, still_improves
from attnlab.models.training import Fitted

ESTIMATORS = [AttentionAligner, AttentionSeq2Seq, AttentionRegressor, AttentionClassifier]
SETTINGS = ["steps", "early_stopping", "validation_fraction", "validate_every", "n_iter_no_change", "tol"]


def stopping(**settings):
    own = {name: inspect.signature(AttentionAligner).parameters[name].default for name in SETTINGS}
    return Stopping(**own | settings)


def language(n, seed, words=20, shortest=3, longest=9):
    """Each word has its cipher, and the sentence is said backwards."""
    rng = np.random.default_rng(seed)
    cipher = rng.permutation(words)
    X = [[f"w{w}" for w in rng.integers(words, size=rng.integers(shortest, longest + 1))] for _ in range(n)]
    return X, [[f"c{cipher[int(w[1:])]}" for w in reversed(sentence)] for sentence in X]


# -- the settings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_each_estimator_has_the_settings_as_scikit_learn_wants_them(cls):
    assert set(SETTINGS) <= set(inspect.signature(cls).parameters)
    given = {
        "steps": 7,
        "early_stopping": True,
        "validation_fraction": 0.3,
        "validate_every": 2,
        "n_iter_no_change": 4,
        "tol": 0.5,
    }
    copy = clone(cls(**given))
    assert {name: copy.get_params()[name] for name in SETTINGS} == given
    assert Stopping.of(copy) == Stopping(**given)
    assert cls().get_params()["steps"] is None


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_they_are_explained_in_one_place(cls):
    documented = inspect.getdoc(AttentionRegressor if cls is AttentionClassifier else cls)
    assert f"{', '.join(SETTINGS)}\n" in documented
    assert "attnlab.models.stopping.Stopping" in documented
    assert all(f"{name} :" in inspect.getdoc(Stopping) for name in SETTINGS)


# -- whether a fit had come to an end ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("curve", "improves"),
    [
        ([], False),
        ([1.0], False),
        ([1.0, 0.5, 0.9, 1.1], True),  # too few to say that it does not
        ([1.0] * 10 + [0.98] * 10, True),
        ([1.0] * 10 + [0.991] * 10, False),
        ([1.0] * 39 + [0.8], True),  # the mean of ten steps, not of four
        ([1.0] * 90 + [0.985] * 10, True),
        ([1.0] * 90 + [0.995] * 10, False),
        ([1.0] * 80 + [0.5] * 20, False),  # it fell before
        ([0.5] * 90 + [1.0] * 10, False),
        ([3.0] * 81 + [2.0] * 9 + [1.0] * 10, True),
        ([1e-7] * 90 + [1e-8] * 10, False),  # by less than tol
    ],
)
def test_the_last_tenth_of_the_steps_is_held_against_the_tenth_before(curve, improves):
    assert still_improves(curve, tol=1e-6) is improves


def test_a_fit_without_steps_warns_where_it_ends_too_soon_and_one_with_steps_says_so():
    falling = list(np.linspace(2, 1, MOST_STEPS))
    fitted = Fitted({}, MOST_STEPS, falling)
    with pytest.warns(
        ConvergenceWarning, match=r"after 20000 steps.*still falls \(to 1\): give more, such as steps=40000"
    ):
        assert not stopping(steps=None).converged(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not stopping(steps=MOST_STEPS).converged(fitted)
        assert stopping(steps=None).converged(Fitted({}, MOST_STEPS, falling, settled=True))
        assert stopping(steps=None).converged(Fitted({}, MOST_STEPS, falling[::-1]))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("error")
def test_the_aligner_learns_until_validation_no_longer_improves(optimizer):
    splits = attnlab.get("task", "lookup", d=8, n_keys=6, n_train=256).make(np.random.default_rng(0))
    mechanism = Mechanism("general")
    short = AttentionAligner(mechanism, optimizer=optimizer, steps=4, random_state=0).fit(splits.train)
    whole = AttentionAligner(mechanism, optimizer=optimizer, random_state=0).fit(
        splits.train, validation=splits.validation
    )
    assert (short.n_iter_, short.converged_, whole.converged_) == (4, False, True)
    losses = [look["loss"] for look in whole.validation_curve_]
    assert 4 < whole.n_iter_ < MOST_STEPS
    assert min(losses) < 0.5 * losses[0]
    alone = AttentionAligner(mechanism, optimizer=optimizer, random_state=0).fit(splits.train)  # holds out its own
    assert alone.converged_
    assert len(alone.validation_curve_) > 2


@pytest.mark.filterwarnings("error")
def test_the_regressor_learns_until_validation_no_longer_improves():
    X, y = make_friedman1(200, noise=1.0, random_state=2)
    model = AttentionRegressor(projection="diagonal", random_state=0).fit(X, y)
    assert (model.converged_, model.n_iter_ < MOST_STEPS) == (True, True)
    assert (
        not AttentionRegressor(projection="diagonal", steps=2, early_stopping=False, random_state=0)
        .fit(X, y)
        .converged_
    )
    assert AttentionRegressor().fit(X, y).converged_  # nothing to learn


def test_a_cipher_that_is_said_backwards_is_learned_without_asking():
    """A short fit is left before it can say much, and says so; without steps it goes on until it can."""
    X, y = language(1000, 0, words=6, longest=4)
    settings = {"embedding_dim": 24, "hidden_dim": 24, "learning_rate": 0.005, "tol": 1e-3, "random_state": 0}
    short = AttentionSeq2Seq(steps=80, **settings).fit(X[:800], y[:800])
    whole = AttentionSeq2Seq(**settings).fit(X[:800], y[:800])
    assert (short.converged_, whole.converged_) == (False, True)
    assert short.exact_match(X[800:], y[800:]) < 0.8
    assert whole.exact_match(X[800:], y[800:]) > 0.95


def test_what_nothing_is_held_out_of():
    data = attnlab.get("task", "lookup", n_train=1).make(np.random.default_rng(0)).train
    with pytest.raises(ValueError, match=r"a fit without steps holds out 0.1 of 1 examples.*or a number of steps"):
        AttentionAligner(Mechanism("general")).fit(data)
    assert AttentionAligner(Mechanism("general"), steps=3).fit(data).n_iter_ == 3
    assert AttentionAligner(Mechanism("general")).fit(data, validation=data).converged_
    with pytest.raises(ValueError, match=r"a fit without steps holds out 0.1 of 1 pairs"):
        AttentionSeq2Seq().fit([["a"]], [["b"]])


# -- in a sweep ----------------------------------------------------------------------------------------------------------------
def test_a_sweep_keeps_its_steps_and_has_a_column(tmp_path):
    frame = attnlab.sweep(
        {
            "attnlab": 1,
            "question": "Which had converged?",
            "task": {"lookup": {"d": 8, "n_keys": 6, "n_train": 64}},
            "mechanism": {"similarity": "general"},
            "model": {"aligner": {"steps": [0, 4, None]}},
            "seeds": 2,
            "metrics": ["alignment_accuracy"],
        },
        store=tmp_path / "s.db",
        executor="serial",
        quiet=True,
    )
    said = frame.groupby("model.steps", dropna=False)["converged"].agg(list)
    assert said.tolist() == [[True, True], [False, False], [True, True]]
    assert frame["converged"].dtype == "boolean"
