"""Training: trees, Adam against its formula, L-BFGS-B, divergence at its step."""

from __future__ import annotations

import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnlab import Diverged
from attnlab.models.training import (
    Adam,
    Watch,
    cast,
    count,
    leaves,
    minibatches,
    minimise_adam,
    minimise_lbfgs,
    rebuild,
)

TREE = {"b": {"x": np.arange(3.0), "a": np.array(2.0)}, "a": {}, "c": np.ones((2, 2))}


def test_trees_are_walked_in_sorted_order_and_rebuilt():
    paths = [path for path, _ in leaves(TREE)]
    assert paths == [("b", "a"), ("b", "x"), ("c",)]
    twice = rebuild(TREE, [2 * array for _, array in leaves(TREE)])
    np.testing.assert_array_equal(twice["b"]["x"], [0, 2, 4])
    assert twice["a"] == {}
    assert count(TREE) == 8
    assert {a.dtype for _, a in leaves(cast(TREE, np.float32))} == {np.dtype(np.float32)}


def papers_adam(theta, gradients, rate, epsilon=1e-8):
    """Kingma and Ba 2015, algorithm 1, from its sums: a moment is the weighted mean of all gradients so far."""
    for t in range(1, len(gradients) + 1):
        age = np.arange(t)[::-1]
        first = sum(0.9**k * g for k, g in zip(age, gradients[:t], strict=True)) / sum(0.9**age)
        second = sum(0.999**k * g**2 for k, g in zip(age, gradients[:t], strict=True)) / sum(0.999**age)
        theta = theta - rate * first / (np.sqrt(second) + epsilon)
    return theta


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-8, 1e-10, 0.0])  # where epsilon is nothing, and where it is everything
def test_adam_is_the_papers(size):
    rng = np.random.default_rng(0)
    theta, gradients = rng.normal(size=4), size * rng.normal(size=(5, 4))
    adam, found = Adam(0.1), theta
    for g in gradients:
        (found,) = adam.step([found], [g])
    np.testing.assert_allclose(found - theta, papers_adam(theta, gradients, 0.1) - theta, rtol=1e-9, atol=1e-15)


@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 99))
def test_minibatches_go_through_all_in_each_epoch(n, size, seed):
    size = min(n, size)
    batches = minibatches(n, size, np.random.default_rng(seed))
    for _ in range(2):
        epoch = np.concatenate([next(batches) for _ in range(-(-n // size))])
        assert sorted(epoch) == list(range(n))


TARGET = np.array([1.0, -2.0, 0.5])


def bowl(params, batch):
    return anp.sum((params["w"]["x"] - TARGET) ** 2 * np.array([1.0, 10.0, 100.0]))


START = {"w": {"x": np.zeros(3)}}


def everything():
    while True:
        yield None


def test_both_find_the_bottom_of_a_bowl():
    adam = minimise_adam(bowl, START, everything(), 400, 0.05)
    lbfgs = minimise_lbfgs(bowl, START, 50)
    np.testing.assert_allclose(adam.params["w"]["x"], TARGET, atol=1e-2)
    np.testing.assert_allclose(lbfgs.params["w"]["x"], TARGET, atol=1e-5)
    assert (adam.n_iter, len(adam.loss_curve)) == (400, 400)
    assert lbfgs.n_iter == len(lbfgs.loss_curve) <= 50
    assert (np.diff(lbfgs.loss_curve) <= 0).all()
    np.testing.assert_array_equal(START["w"]["x"], 0)


def test_it_stops_after_patience_and_keeps_the_best():
    looks = iter([5.0, 4.0, 3.0, 3.1, 3.2, 3.3, 3.4])
    seen = []

    def look(params):
        seen.append(params["w"]["x"].copy())
        return {"loss": next(looks)}

    watch = Watch(look, every=2, patience=3, tolerance=0.0)
    fitted = minimise_adam(bowl, START, everything(), 100, 0.05, watch)
    assert fitted.n_iter == 10
    assert [row["step"] for row in fitted.validation_curve] == [0, 2, 4, 6, 8, 10]
    np.testing.assert_array_equal(fitted.params["w"]["x"], seen[2])


def test_the_last_step_is_looked_at_too():
    watch = Watch(lambda params: {"loss": 0.0}, every=4, patience=None, tolerance=0.0)
    minimise_adam(bowl, START, everything(), 6, 0.05, watch)
    assert [row["step"] for row in watch.curve] == [0, 4, 6]


def test_divergence_says_its_step():
    def cliff(params, batch):
        x = params["w"]["x"]
        return anp.sum(x) * (np.inf if float(np.sum(getattr(x, "_value", x))) < -0.25 else 1.0)

    with pytest.raises(
        Diverged, match=r"the loss became -inf at step 4 of 9 \(learning_rate=0\.03: a lower one"
    ) as error:
        minimise_adam(cliff, START, everything(), 9, 0.03)
    assert error.value.step == 4
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            Diverged, match=r"not finite after step 1 of 9 \(its gradient is not, .* look at the data"
        ) as error,
    ):
        minimise_adam(lambda p, b: anp.sum(anp.sqrt(p["w"]["x"])), START, everything(), 9, 0.03)
    assert error.value.step == 1
    at_first = r"the loss became nan at step 1 of 9 \(before anything was learned: look at the data"
    with pytest.raises(Diverged, match=at_first):
        minimise_lbfgs(lambda p, b: anp.sum(p["w"]["x"]) * np.nan, START, 9)
    with pytest.raises(Diverged, match=at_first):
        minimise_adam(lambda p, b: anp.sum(p["w"]["x"]) * np.nan, START, everything(), 9, 0.03)
    with pytest.raises(Diverged, match=r"the loss became -inf at step \d of 9 \(L-BFGS-B: scale the inputs"):
        minimise_lbfgs(cliff, START, 9)


def test_adam_takes_single_numbers_and_leaves_what_it_is_given():
    start, gradient = np.asarray(1.0, dtype=np.float32), np.asarray(0.5, dtype=np.float32)
    adam = Adam(0.1)
    (first,) = adam.step([start], [gradient])
    (second,) = adam.step([first], [gradient])
    assert first.dtype == second.dtype == np.float32
    assert (float(start), float(gradient)) == (1.0, 0.5)
    assert float(first) == pytest.approx(0.9, abs=1e-6)
    assert float(second) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is kept on Linux")
def test_a_fit_that_may_take_little_memory_is_made():
    code = """
import resource, numpy as np, attnlab, attnlab.models.training
data = attnlab.AlignmentData(*np.random.default_rng(0).standard_normal((3, 8, 2, 3)), target=np.zeros((8, 2, 3)))
aligner = attnlab.AttentionAligner(attnlab.Mechanism("general"), steps=2, random_state=0).fit(data)
attnlab.models.training.keep_memory.cache_clear()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**23, size + 2**23))
aligner.fit(data)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
