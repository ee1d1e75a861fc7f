"""AttentionStack: what it learns, whose weights it shows, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import attnlab
from attnlab import AttentionStack, SettingError, Unsupported

SMALL = {"hidden_dim": 16, "heads": 2, "mlp": 0, "random_state": 0, "warm_up": 20, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def induction():
    task = attnlab.get("task", "induction", length=16, vocabulary=8, longer=[24], n_train=1024)
    return task.make(np.random.default_rng(0))


@pytest.fixture(scope="module")
def two(induction):
    return AttentionStack(**SMALL, layers=2, steps=200, validate_every=100).fit(
        induction.train, validation=induction.validation
    )


def test_two_layers_do_induction_and_one_layer_does_not(induction, two):
    one = AttentionStack(**SMALL, layers=1, steps=200).fit(induction.train)
    near = AttentionStack(**SMALL, layers=1, short_conv=1, steps=200).fit(induction.train)
    scores = [stack.score(induction.tests["test"]) for stack in (one, two, near)]
    assert scores[0] < 0.45
    assert min(scores[1:]) > 0.9


def test_the_head_that_agrees_with_gold_on_validation_data_is_named(induction, two):
    data = induction.validation
    assert two.head_chosen_on_ == "validation"
    every = two.by_layer_and_head(data)
    assert every.shape == (len(data), 2, 2, 16, 16)
    asked = data.gold.any(axis=-1) & data.alive
    mass = [[(every[:, i, h] * data.gold).sum(axis=-1)[asked].mean() for h in range(2)] for i in range(2)]
    assert two.head_ == np.unravel_index(np.argmax(mass), (2, 2))
    assert two.head_[0] == 1
    assert max(mass[1]) > 0.5 > max(mass[0])
    assert two.validation_curve_[-1]["gold_mass.1"] == pytest.approx(max(mass[1]), abs=1e-5)
    assert two.validation_curve_[-1]["accuracy"] == pytest.approx(two.score(data))


def test_align_shows_a_head_a_layer_or_the_best(induction, two):
    data = induction.tests["n=24"][:5]
    every = two.by_layer_and_head(data)
    layer, head = two.head_
    np.testing.assert_array_equal(two.align(data), np.where(data.allowed, every[:, layer, head], 0))
    np.testing.assert_array_equal(two.align(data, 0, 1), np.where(data.allowed, every[:, 0, 1], 0))
    np.testing.assert_allclose(two.align(data, 0), np.where(data.allowed, every[:, 0].mean(axis=1), 0))
    np.testing.assert_allclose(every.sum(axis=-1), 1, atol=1e-5)
    assert (np.triu(every, 1) == 0).all()
    for wrong, message in (
        ({"layer": 2}, "layer must be 0 to 1; got 2"),
        ({"layer": 0, "head": -1}, "head must be 0"),
        ({"head": 1}, "give the layer"),
        ({"layer": 1.0}, "layer must be 0 to 1; got 1.0"),
        ({"layer": 0, "head": "1"}, "head must be 0 to 1; got '1'"),
    ):
        with pytest.raises(SettingError, match=message):
            two.align(data, **wrong)


def test_tables_say_what_heads_and_layers_do(induction, two):
    data = induction.validation
    every, heads, layers = two.by_layer_and_head(data), two.by_head(data), two.best_by_layer(data)
    names = ["gold_mass", "induction_score", "first_token_mass", "solution_0", "solution_1"]
    assert list(heads) == ["layer", "head", *names]
    assert list(layers) == ["layer", *names]
    before = [every[:, i, h, j, j - 1].mean() for i in range(2) for h in range(2) for j in [np.arange(1, 16)]]
    np.testing.assert_allclose(heads["solution_0"], before, rtol=1e-5)
    np.testing.assert_allclose(heads["solution_1"], heads["gold_mass"], rtol=1e-5)  # gold is the second step
    for name in names:
        each = heads[name].to_numpy().reshape(2, 2)
        np.testing.assert_allclose(layers[name], each.mean(axis=1) if name == "first_token_mass" else each.max(axis=1))
    found = attnlab.get("metric", "solution_mass").measure(data, two)
    assert found == pytest.approx(min(layers["solution_0"][0], layers["solution_1"][1]))
    assert found > 0.5
    bare = attnlab.AlignmentData.of_sequences(data.ids)
    assert list(two.by_head(bare)) == ["layer", "head", *names[:3]]


def test_it_learns_regression_in_context_and_more_from_more_examples():
    task = attnlab.get("task", "in_context_regression", layout="tokens", d=1, n_keys=6, n_train=512, shots=[1, 6])
    data = task.make(np.random.default_rng(0))
    stack = AttentionStack(**{**SMALL, "mlp": 2}, steps=150, validate_every=150).fit(
        data.train, validation=data.validation
    )
    assert (stack.n_inputs_, stack.n_outputs_, stack.n_classes_, stack.n_tokens_) == (1, 1, 0, 2)
    assert stack.predict(data.tests["test"]).shape == (256, 13, 1)
    scores = {name: stack.score(test) for name, test in data.tests.items()}
    assert scores["test"] > 0.5
    assert scores["shots=6"] > scores["shots=1"] + 0.1
    assert stack.loss_curve_[-1] < 0.6 < stack.loss_curve_[0]
    names = ("gold_mass", "induction_score", "first_token_mass", "solution_0", "solution_1")
    assert set(stack.validation_curve_[-1]) == {"step", "loss", *(f"{name}.{i}" for name in names for i in range(2))}
    table, last = stack.best_by_layer(data.validation), stack.validation_curve_[-1]
    assert all(last[f"{name}.{i}"] == pytest.approx(table[name][i], rel=1e-4) for name in names for i in range(2))
    with pytest.raises(Unsupported, match="reads or says numbers"):
        stack.generate([[0, 1]], 1)


def test_inputs_alone_are_enough_and_are_read_where_their_token_is_not_known():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 4, 2))
    Y = X.cumsum(axis=1)[:, :, :1] / 2
    data = attnlab.AlignmentData.of_sequences(None, Y, inputs=X)
    stack = AttentionStack(**SMALL, layers=1, steps=150).fit(data)
    assert stack.score(data) > 0.8
    other = attnlab.AlignmentData.of_sequences(
        np.full((64, 4), 7), Y, inputs=X
    )  # no such token: its embedding is zeros
    found = stack.predict(other)
    stack.params_["embedding"]["E"] *= 0
    np.testing.assert_allclose(found, stack.predict(data), atol=1e-6)
    assert np.ptp(found) > 0.5
    short = attnlab.AlignmentData.of_sequences(
        np.where(np.arange(4) < 2, 0, [[-1]] * 64), Y, inputs=np.where(np.arange(4)[:, None] < 2, X, np.nan)
    )
    np.testing.assert_allclose(stack.predict(short)[:, :2], stack.predict(data)[:, :2], atol=1e-5)


def test_without_gold_align_is_the_mean_of_the_last_layer():
    stack = AttentionStack(**SMALL, steps=3).fit([[0, 1, 2], [2, 1]])
    assert stack.head_ is None
    assert stack.head_chosen_on_ == ""
    np.testing.assert_allclose(
        stack.align([[0, 1, 2]])[0, 1], stack.by_layer_and_head([[0, 1, 2]])[0, 1].mean(axis=0)[1]
    )


def test_padding_changes_nothing():
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, size=size) for size in (4, 9, 6)]
    for causal in (True, False):
        stack = AttentionStack(**SMALL, causal=causal, steps=5, mechanism={"normaliser": "logn_softmax"}).fit(ids)
        together = stack.predict(ids)
        for row, one in zip(together, ids, strict=True):
            np.testing.assert_allclose(row[: len(one)], stack.predict([one])[0], atol=1e-5)


def test_it_continues_what_repeats():
    ids = [[1, 2, 3] * 4, [4, 5] * 6] * 8
    stack = AttentionStack(**SMALL, steps=100).fit(ids)
    assert stack.generate([[1, 2, 3, 1], [5, 4, 5]], 4) == [[1, 2, 3, 1, 2, 3, 1, 2], [5, 4, 5, 4, 5, 4, 5]]
    assert stack.score(ids) > 0.8


def test_layers_may_differ(induction):
    stack = AttentionStack(**SMALL, by_layer=[{"normaliser": "sparsemax"}, {"similarity": "general"}], steps=3).fit(
        induction.train[:50]
    )
    assert [m.normaliser.name if hasattr(m.normaliser, "name") else m.normaliser for m in stack.mechanisms_] == [
        "sparsemax",
        "softmax",
    ]
    assert (stack.by_layer_and_head(induction.train[:5])[:, 0] == 0).sum() > (
        stack.by_layer_and_head(induction.train[:5])[:, 1] == 0
    ).sum()
    assert "W" in stack.params_["layers"]["1"]["mechanism"]["similarity"]


def test_a_fit_without_steps_ends_by_itself_and_one_that_is_not_done_says_so(monkeypatch):
    ids = [[1, 2, 3] * 4, [4, 5] * 6] * 8
    done = AttentionStack(**SMALL, validate_every=10, n_iter_no_change=3, tol=0.01).fit(ids)
    assert done.converged_
    assert done.n_iter_ < 2000
    monkeypatch.setattr("attnlab.models.stopping.MOST_STEPS", 25)
    with pytest.warns(ConvergenceWarning, match="after 25 steps"):
        assert not AttentionStack(**SMALL).fit(ids).converged_


def test_the_learning_rate_grows_during_the_warm_up():
    ids = [[1, 2, 3] * 4]
    at_once, slowly = (AttentionStack(**{**SMALL, "warm_up": steps}, steps=1).fit(ids) for steps in (0, 10))
    start = AttentionStack(**SMALL, steps=0)
    with pytest.warns(attnlab.NothingToLearn):
        start.fit(ids)
    moved = [np.abs(one.params_["readout"]["U"] - start.params_["readout"]["U"]).max() for one in (at_once, slowly)]
    assert moved[1] == pytest.approx(moved[0] / 10, rel=1e-3)


def test_the_same_seed_gives_the_same_numbers_and_a_clone_is_like_it(induction):
    one = AttentionStack(**SMALL, steps=5)
    np.testing.assert_array_equal(
        one.fit(induction.train).predict(induction.validation),
        clone(one).fit(induction.train).predict(induction.validation),
    )


def numbers(inputs=2):
    read = np.ones((3, 2, inputs)) if inputs else None
    return attnlab.AlignmentData.of_sequences(np.zeros((3, 2), dtype=int), np.ones((3, 2, 1)), inputs=read)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AttentionStack(heads=3).fit([[1, 2]]), SettingError, "heads must divide hidden_dim = 64; got 3"),
        (lambda: AttentionStack(layers=5).fit([[1, 2]]), SettingError, "layers"),
        (lambda: AttentionStack(by_layer=["single_head"]).fit([[1, 2]]), SettingError, "one mechanism for each of 2 layers; got 1"),
        (lambda: AttentionStack(mechanism={"aggregator": "pointer"}).fit([[1, 2]]), Unsupported, "one feature for each key"),
        (lambda: AttentionStack().fit([]), ValueError, "fit needs at least one sequence; got 0"),
        (lambda: AttentionStack().fit([[1], [2]]), ValueError, "a place that counts"),
        (lambda: AttentionStack().fit([[1, 2.5]]), TypeError, r"ids\[0\] must be a sequence of whole numbers"),
        (lambda: AttentionStack().fit([[1, -2]]), ValueError, "ids must be tokens from 0"),
        (lambda: AttentionStack().fit([[1, 2]], [[1, -2]]), ValueError, "labels must be classes from 0"),
        (lambda: AttentionStack().fit([[1, 2]], [[1, 2], [1]]), attnlab.ShapeError, "n"),
        (lambda: AttentionStack().fit(np.array([[-1, 2]])), ValueError, "padding must come after the end"),
        (lambda: AttentionStack().fit(attnlab.get("task", "lookup").make(np.random.default_rng(0)).train), Unsupported, "of_sequences"),
        (lambda: AttentionStack(causal=False, steps=1).fit([[1, 2]]).generate([[1]], 1), Unsupported, "not causal"),
        (lambda: AttentionStack(steps=1).fit([[1, 2]], [[8, 9]]).generate([[1]], 1), Unsupported, "10 classes"),
        (lambda: AttentionStack(steps=1).fit([[1, 2]]).generate([[1]], 2.5), SettingError, "n_tokens must be a whole number from 0; got 2.5"),
        (lambda: AttentionStack(steps=1).fit([[1, 2]]).generate([[1]], -1), SettingError, "n_tokens must be a whole number from 0; got -1"),
        (lambda: AttentionStack(steps=1).fit([[1, 2]]).generate([[1], []], 1), ValueError, "sequence 1 is empty"),
        (lambda: AttentionStack(steps=1).fit(numbers()).predict([[0, 0]]), attnlab.ShapeError, "0 inputs beside their tokens; .* have 2"),
        (lambda: AttentionStack(steps=1).fit([[1, 2]]).score(numbers(0)), attnlab.ShapeError, "the targets are vectors, float .n, L, 1.; .* are classes"),
        (lambda: AttentionStack(steps=1).fit(numbers(0), validation=[[1, 2]]), attnlab.ShapeError, "fit's validation data: the targets are classes"),
        (lambda: AttentionStack(steps=1).fit(numbers(), np.full((3, 2, 1), np.inf)), ValueError, "target must be finite where it is read: example 0, query 0 holds inf"),
        (lambda: AttentionStack(steps=1, tied=True).fit(numbers()), SettingError, "these targets are vectors; set tied=False"),
    ],
)  # fmt: skip
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
