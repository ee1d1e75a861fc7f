"""Parts that remember: against the papers' formulas written as loops, and the contract."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab.parts.stateful import Coverage, LocationAware, Monotonic
from attnlab.testing import parametrize_with_checks


@parametrize_with_checks([LocationAware(), LocationAware(hidden=4, filters=2, width=1), Coverage(), Monotonic()])
def test_contract(component, check):
    check(component)


def softmax(s):
    e = np.exp(s - s.max())
    return e / e.sum()


def drawn(seed, similarity):
    rng = np.random.default_rng(seed)
    mechanism = attnlab.Mechanism(similarity)
    params = mechanism.init(rng, 3, 4, 2)
    params["similarity"]["b"] = rng.normal(size=params["similarity"]["b"].shape)
    return mechanism, params, rng.normal(size=(5, 3)), rng.normal(size=(6, 4))


def test_location_aware_is_the_formula():
    mechanism, params, Q, K = drawn(0, LocationAware(hidden=4, filters=2, width=2))
    p = params["similarity"]
    before, rows = np.zeros(6), []
    for q in Q:
        scores = []
        for j in range(6):
            f = sum(p["F"][i] * before[j + i - 2] for i in range(5) if 0 <= j + i - 2 < 6) + np.zeros(2)
            scores.append(p["v"] @ np.tanh(q @ p["Wq"] + K[j] @ p["Wk"] + f @ p["U"] + p["b"]))
        before = softmax(np.array(scores))
        rows.append(before)
    np.testing.assert_allclose(mechanism.weights(params, Q, K), rows, atol=1e-12)


def test_coverage_is_the_formula():
    mechanism, params, Q, K = drawn(1, Coverage(hidden=4))
    p = params["similarity"]
    covered, rows = np.zeros(6), []
    for q in Q:
        hidden = np.tanh(q @ p["Wq"] + K @ p["Wk"] + covered[:, None] * p["u"] + p["b"])
        rows.append(softmax(hidden @ p["v"]))
        covered = covered + rows[-1]
    np.testing.assert_allclose(mechanism.weights(params, Q, K), rows, atol=1e-12)


def expected_by_enumeration(P):
    """The probability that step i stops at key j, by following every way."""
    n_steps, n_keys = P.shape
    W, at = np.zeros_like(P), np.eye(n_keys)[0]
    for i in range(n_steps):
        for start in range(n_keys):
            going = at[start]
            for j in range(start, n_keys):
                W[i, j] += going * P[i, j]
                going *= 1 - P[i, j]
        at = W[i]
    return W


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5))
def test_monotonic_weights_in_training_are_the_chances_of_all_ways(seed, q, k):
    S = 2 * np.random.default_rng(seed).normal(size=(q, k))
    mechanism = attnlab.Mechanism("dot", Monotonic(bias=-0.5))
    W = mechanism.weights(None, S, np.eye(k), training=True)
    np.testing.assert_allclose(W, expected_by_enumeration(1 / (1 + np.exp(0.5 - S))), atol=1e-12)
    assert np.all(W.sum(axis=1) <= 1 + 1e-12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6))
def test_monotonic_weights_at_prediction_go_from_left_to_right(seed, q, k):
    S = np.random.default_rng(seed).normal(size=(q, k)) + 0.7
    W = attnlab.Mechanism("dot", Monotonic(bias=0.0)).weights(None, S, np.eye(k))
    here, ended = 0, False
    for i in range(q):
        stops = [j for j in range(here, k) if S[i, j] > 0]
        ended = ended or not stops
        expected = np.zeros(k)
        if not ended:
            here = stops[0]
            expected[here] = 1
        np.testing.assert_array_equal(W[i], expected)


def test_sure_chances_make_the_two_ways_one():
    S = 60 * np.array([[-1.0, 1, -1, 1], [-1, -1, 1, -1], [1, -1, -1, 1]])
    mechanism = attnlab.Mechanism("dot", Monotonic(bias=0.0))
    np.testing.assert_allclose(
        mechanism.weights(None, S, np.eye(4), training=True), mechanism.weights(None, S, np.eye(4)), atol=1e-12
    )


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_gradients_in_training_are_finite_and_right(scale):
    rng = np.random.default_rng(2)
    S, R = scale * rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    mechanism = attnlab.Mechanism("dot", "monotonic")

    def loss(S):
        return anp.sum(R * mechanism.weights(None, S, np.eye(5), training=True))

    g = autograd.grad(loss)(S)
    assert np.isfinite(g).all()
    if scale == 1.0:
        towards = rng.normal(size=S.shape)
        measured = (loss(S + 1e-6 * towards) - loss(S - 1e-6 * towards)) / 2e-6
        assert measured == pytest.approx(np.sum(g * towards), abs=1e-7)


def test_noise_needs_rng_and_is_for_training_only():
    S = np.random.default_rng(3).normal(size=(3, 4))
    mechanism = attnlab.Mechanism("dot", "monotonic")

    def weights(**context):
        return mechanism.weights(None, S, np.eye(4), **context)

    noisy = weights(training=True, rng=np.random.default_rng(0))
    assert not np.allclose(noisy, weights(training=True))
    np.testing.assert_array_equal(weights(rng=np.random.default_rng(0)), weights())
