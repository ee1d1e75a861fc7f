"""Positions: the table at hand-computed places, and what positions are for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from autograd.test_util import check_grads
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab import SettingError, attend, attention_weights, get


def table(index, d, **settings):
    zeros = np.zeros((len(index), d))
    P, _ = get("position", "sinusoidal", **settings).place(zeros, zeros, np.asarray(index), np.asarray(index))
    return P


@pytest.mark.parametrize(
    ("p", "i", "value"),
    [
        (0, 0, 0.0),
        (0, 1, 1.0),
        (1, 0, math.sin(1)),
        (1, 1, math.cos(1)),
        (3, 2, math.sin(3 / 10000 ** (2 / 6))),
        (3, 3, math.cos(3 / 10000 ** (2 / 6))),
        (1000, 4, math.sin(1000 / 10000 ** (4 / 6))),
        (1000, 5, math.cos(1000 / 10000 ** (4 / 6))),
    ],
)
def test_sinusoidal_by_hand(p, i, value):
    assert table([p], 6)[0, i] == pytest.approx(value, abs=1e-12)


def test_odd_dimensions_other_bases_and_float32():
    assert table([1, 2], 5).shape == (2, 5)
    assert table([1, 2], 5)[1, 4] == pytest.approx(math.sin(2 / 10000 ** (4 / 5)))
    assert table([7], 4, base=100.0)[0, 2] == pytest.approx(math.sin(0.7))
    zeros = np.zeros((3, 4), dtype=np.float32)
    Q, K = get("position", "sinusoidal").place(zeros, zeros, np.arange(3), np.arange(3))
    assert Q.dtype == K.dtype == np.float32


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 50))
def test_the_product_of_two_positions_is_a_matter_of_their_distance(p, q, by):
    P = table([p, q, p + by, q + by], 8)
    assert P[0] @ P[1] == pytest.approx(P[2] @ P[3], abs=1e-9)


def test_queries_and_keys_each_at_their_own_positions():
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(2, 6)), rng.normal(size=(3, 6))
    PQ, PK = get("position", "sinusoidal").place(Q, K, np.array([4, 9]), np.array([1, 0, 7]))
    np.testing.assert_allclose(PQ - Q, table([4, 9], 6), atol=1e-12)
    np.testing.assert_allclose(PK - K, table([1, 0, 7], 6), atol=1e-12)
    check_grads(lambda Q: get("position", "sinusoidal").place(Q, K, np.arange(2), np.arange(3))[0], modes=["rev"])(Q)


@pytest.mark.parametrize("similarity", ["dot", "scaled_dot", "neg_l2", "additive", "general", "cosine", "uniform"])
@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "sigmoid"])
def test_attention_without_positions_is_a_bag_of_words(similarity, normaliser):
    rng = np.random.default_rng(1)
    Q, K, V = rng.normal(size=(4, 8)), rng.normal(size=(9, 8)), rng.normal(size=(9, 3))
    order = rng.permutation(9)
    how = {"similarity": similarity, "normaliser": normaliser, "rng": 0}
    np.testing.assert_allclose(attend(Q, K[order], V[order], **how), attend(Q, K, V, **how), rtol=1e-12, atol=1e-12)
    if similarity not in ("uniform",):
        moved = attend(Q, K[order], V[order], position="sinusoidal", **how)
        assert np.abs(moved - attend(Q, K, V, position="sinusoidal", **how)).max() > 1e-3


def test_none_is_the_identity():
    rng = np.random.default_rng(2)
    Q, K, S = rng.normal(size=(4, 8)), rng.normal(size=(9, 8)), rng.normal(size=(4, 9))
    none = get("position", "none")
    assert none.place(Q, K) == (Q, K)
    assert none.bias(S) is S
    assert none.reweigh(S) is S
    assert none.permutation_equivariant
    assert not get("position", "sinusoidal").permutation_equivariant


def test_sinusoidal_lets_equal_words_find_their_own_place():
    Q = np.zeros((5, 16))
    W = attention_weights(4 * Q, Q, position="sinusoidal")
    np.testing.assert_array_equal(W.argmax(axis=-1), np.arange(5))


def test_base_must_be_above_one():
    with pytest.raises(SettingError, match=r"base must be float, > 1; got 1\.0"):
        get("position", "sinusoidal", base=1.0)
    assert {"none", "sinusoidal"} <= set(attnlab.names("position"))
