"""Softmax by its kernel is the softmax of the reference, whatever the scores are like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab.kernels.normalisers import SoftmaxRows

PART = attnlab.get("normaliser", "softmax")


def softmax(S):
    """In twice the precision, with the largest score taken away."""
    S = S.astype(np.longdouble)
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


@given(
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([0.0, 0.1, 1.0, 15.0, 59.0, 61.0, 599.0, 601.0, 1e4, 1e30]),
    st.sampled_from([0.0, 30.0, -50.0, 400.0, -700.0]),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 40)),
    st.integers(0, 2**20),
)
def test_weights_and_gradients_are_the_references(dtype, spread, shift, temperature, shape, seed):
    rng = np.random.default_rng(seed)
    part = attnlab.get("normaliser", "softmax", temperature=temperature)
    S = (spread * rng.uniform(-1, 1, size=shape) + shift).astype(dtype).swapaxes(0, 1)  # not contiguous
    scaled = S.astype(np.longdouble) / dtype(temperature)
    W, back = SoftmaxRows().normalise(part, S, {"S"})
    # the product of a score and the scale is rounded once, and an exponential makes that an error of the weight
    tolerance = 16 * np.finfo(dtype).eps * (1 + float(abs(scaled).max()))
    expected = softmax(scaled)
    assert W.dtype == dtype
    np.testing.assert_allclose(W, expected, rtol=min(tolerance, 1.0), atol=1e-36)
    g = rng.normal(size=W.shape).astype(dtype)
    wanted = expected * (g - (expected * g).sum(axis=-1, keepdims=True)) / temperature
    np.testing.assert_allclose(back(g)["S"], wanted, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_scores_that_are_no_numbers_change_their_row_alone(odd):
    S = np.random.default_rng(0).normal(size=(3, 4))
    alone = SoftmaxRows().normalise(PART, S, ())[0]
    S[1, 2] = odd
    W = SoftmaxRows().normalise(PART, S, ())[0]
    np.testing.assert_allclose(W[[0, 2]], alone[[0, 2]], rtol=1e-15)
    np.testing.assert_array_equal(W[1], PART.normalise(S)[1])


def test_an_empty_array_is_empty():
    assert SoftmaxRows().normalise(PART, np.zeros((0, 3)), ())[0].shape == (0, 3)


@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", {"entmax": {"alpha": 1.5}}])
def test_all_rows_at_once_are_rows_alone(normaliser):
    """Odd rows, rows whose first score is far from the others, and so many rows that threads share them."""
    S = np.random.default_rng(0).normal(size=(3, 8200, 24)).astype(np.float32)
    S[0, 1, 3], S[0, 2, 4], S[0, 3] = np.nan, np.inf, -np.inf
    S[0, 4, 0], S[0, 5, 0], S[0, 6, 0], S[0, 7] = -np.inf, 1e4, -1e4, S[0, 7] * np.float32(1e30)
    with np.errstate(invalid="ignore"):
        W = attnlab.normalise(S, normaliser)
        expected = attnlab.Mechanism(normaliser=normaliser).parts().normaliser.normalise(S[0, :9].astype(np.float64))
    assert (W.shape, W.dtype) == (S.shape, np.float32)
    np.testing.assert_allclose(W[0, :9], expected, rtol=2e-5, atol=2e-6)
    alone = attnlab.normalise(S[2], normaliser)  # fewer numbers than threads share
    np.testing.assert_array_equal(W[2], alone)
    np.testing.assert_allclose(W[1].sum(axis=-1), 1, rtol=1e-6)
