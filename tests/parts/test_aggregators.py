"""Aggregators: sums by hand, gather, gradients."""

from __future__ import annotations

import autograd
import numpy as np
from autograd.test_util import check_grads

from attnlab import attend, get


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    W = rng.random((2, 3, 4))
    return W / W.sum(axis=-1, keepdims=True), rng.normal(size=(2, 4, 5))


def test_weighted_sum_is_the_sum():
    W, V = drawn()
    by_hand = [[[sum(W[n, i, j] * V[n, j, c] for j in range(4)) for c in range(5)] for i in range(3)] for n in range(2)]
    np.testing.assert_allclose(get("aggregator", "weighted_sum").aggregate(W, V), by_hand, rtol=1e-12)
    check_grads(get("aggregator", "weighted_sum").aggregate, modes=["rev"], order=1)(W, V)


def test_gather_takes_the_heaviest_of_equal_ones_the_first_and_nothing_from_nothing():
    W = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.0, 0.0, 0.0], [0.0, 0.0, 0.1]])
    V = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    Y = get("aggregator", "gather").aggregate(W, V)
    np.testing.assert_array_equal(Y, [[2, 20], [1, 10], [0, 0], [3, 30]])


def test_gather_is_exact_and_has_the_gradient_of_the_weighted_sum():
    W, V = drawn(1)
    gather = get("aggregator", "gather")
    np.testing.assert_array_equal(gather.aggregate(W, V), np.take_along_axis(V, W.argmax(-1)[..., None], axis=1))
    g = np.random.default_rng(2).normal(size=(2, 3, 5))
    np.testing.assert_allclose(
        autograd.grad(lambda W: (gather.aggregate(W, V) * g).sum())(W), g @ np.swapaxes(V, -1, -2), rtol=1e-12
    )
    assert not gather.differentiable


def test_gather_through_attend_gives_a_value_itself():
    rng = np.random.default_rng(3)
    Q, K, V = rng.normal(size=(5, 4)), rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    np.testing.assert_array_equal(attend(Q, K, V, aggregator="gather"), V[(Q @ K.T).argmax(axis=-1)])
    assert attend(*(a.astype(np.float32) for a in (Q, K, V)), aggregator="gather").dtype == np.float32
