"""Look-up, linear map and cross entropy: values, and gradients against plain maths."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from attnlab.kernels.layers import cross_entropy, dense, embed

RNG = np.random.default_rng(0)


def test_embed_sums_the_gradients_of_repeated_tokens():
    table, ids = RNG.normal(size=(6, 3)), np.array([[1, 1, 4], [4, 1, 0]])
    R = RNG.normal(size=(2, 3, 3))
    expected = np.zeros_like(table)
    np.add.at(expected, ids, R)
    np.testing.assert_allclose(autograd.grad(lambda a: anp.sum(R * embed(a, ids)))(table), expected, atol=1e-13)
    assert np.array_equal(embed(table, ids), table[ids])
    assert not autograd.grad(lambda a: anp.sum(embed(a, ids[:0])))(table).any()


def test_dense_is_a_linear_map_of_the_last_axis():
    arrays = [RNG.normal(size=(2, 3, 4)), RNG.normal(size=(4, 5)), RNG.normal(size=5)]
    R = RNG.normal(size=(2, 3, 5))
    found = autograd.grad(lambda a: anp.sum(R * dense(*a)))(arrays)
    expected = autograd.grad(lambda a: anp.sum(R * (anp.einsum("nmd,dh->nmh", a[0], a[1]) + a[2])))(arrays)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_minus_the_weighted_log_softmax(dtype):
    logits, classes = (4 * RNG.normal(size=(7, 5))).astype(dtype), RNG.integers(5, size=7)
    logits[0] += 1e4  # no overflow
    weights = RNG.random(7).astype(dtype)

    def plain(a):
        shifted = a - np.max(a, axis=1, keepdims=True)
        logp = shifted - anp.log(anp.sum(anp.exp(shifted), axis=1, keepdims=True))
        return -anp.sum(weights * logp[np.arange(7), classes])

    wide = logits.astype("float64")
    assert float(cross_entropy(logits, classes, weights)) == pytest.approx(plain(wide), rel=1e-5)
    found = autograd.grad(lambda a: cross_entropy(a, classes, weights))(logits)
    shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
    expected = weights[:, None] * (shifted / shifted.sum(axis=1, keepdims=True) - np.eye(5)[classes])
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found, expected, atol=1e-6)
