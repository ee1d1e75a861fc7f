"""Positions that mix keys, count by content, learn functions of distances, or turn lengths: plain loops and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest

import attnlab
from attnlab import Mechanism, ShapeError, attention_weights
from attnlab.parts.convolutions import ShortConv
from attnlab.parts.learned_biases import Cope, Fire
from attnlab.parts.rotary import Pope, Rope
from attnlab.testing import parametrize_with_checks

VARIANTS = [ShortConv(width=1), ShortConv(width=9), Cope(positions=2), Fire(hidden=3, threshold=1.5), Pope(base=10.0)]
VARIANTS += [Rope(share=0.5), Rope(share=0.5, layout="half")]


@parametrize_with_checks(VARIANTS)
def test_each_keeps_the_contract(component, check):
    check(component)


def test_short_conv_by_loops():
    rng = np.random.default_rng(0)
    Q, K, C = rng.normal(size=(2, 3)), rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    placed, mixed = ShortConv(width=3).place(Q, K, C)
    np.testing.assert_array_equal(placed, Q)
    for j, c in np.ndindex(5, 3):
        total = K[j, c] + sum(C[t - 1, c] * K[j - t, c] for t in (1, 2, 3) if j >= t)
        assert mixed[j, c] == pytest.approx(total, rel=1e-12)


def test_with_short_conv_one_layer_does_induction():
    """A B ... A: the query A finds B, since B's key holds the A before it."""
    tokens = [0, 1, 2, 3, 4, 2, 5]
    E = np.eye(6)
    K = E[tokens]
    params = Mechanism(position={"short_conv": {"width": 1}}).init(np.random.default_rng(0), 6, 6, 6)
    params["position"]["C"] = np.full((1, 6), 40.0)
    for token, after in ((0, 1), (1, 2), (3, 4), (4, 5)):
        W = Mechanism(position={"short_conv": {"width": 1}}).weights(params, E[[token]], K)
        assert W.argmax() == after


def test_cope_by_loops_with_a_mask():
    rng = np.random.default_rng(1)
    S, Q, E = 2 * rng.normal(size=(3, 6)), rng.normal(size=(3, 2)), rng.normal(size=(2, 3))
    M = rng.random((3, 6)) < 0.6
    found = Cope(positions=3).bias(S, Q, M, E)
    for i, j in np.ndindex(3, 6):
        p = min(2.0, sum(1 / (1 + math.exp(-S[i, m])) for m in range(j, 6) if M[i, m]))
        n = min(1, math.floor(p))
        value = (1 - (p - n)) * (Q[i] @ E[:, n]) + (p - n) * (Q[i] @ E[:, n + 1])
        assert found[i, j] == pytest.approx(S[i, j] + value, rel=1e-12)


def test_cope_with_open_gates_is_a_learned_bias_of_the_distance():
    S, Q, E = np.full((4, 4), 60.0), np.ones((4, 1)), np.arange(8.0)[None] ** 2
    found = Cope(positions=8).bias(S, Q, np.tril(np.ones((4, 4), dtype=bool)), E) - S
    for i, j in np.ndindex(4, 4):
        assert found[i, j] == pytest.approx((max(0, i - j + 1)) ** 2, abs=1e-9)


def test_fire_by_loops():
    rng = np.random.default_rng(2)
    own = {"u": rng.normal(size=4), "b": rng.normal(size=4), "v": rng.normal(size=4), "a": np.asarray(0.3)}
    S, at_q, at_k = rng.normal(size=(3, 5)), np.array([0, 4, 9]), np.array([0, 1, 2, 7, 9])
    found = Fire(hidden=4).bias(S, at_q, at_k, **own, log_c=np.log(0.7), log_L=np.log(5.0))
    for (n, i), (m, j) in ((a, b) for a in enumerate(at_q) for b in enumerate(at_k)):
        x = math.log(1 + 0.7 * abs(i - j)) / math.log(1 + 0.7 * max(5.0, i))
        f = sum(own["v"][h] * max(0.0, own["u"][h] * x + own["b"][h]) for h in range(4)) + 0.3
        assert found[n, m] == pytest.approx(S[n, m] + f, rel=1e-12)


def test_pope_scores_by_loops():
    rng = np.random.default_rng(3)
    Q, K, delta = rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=3)
    at_q, at_k = np.array([5, 1]), np.array([0, 2, 3, 9])
    placed, keys = Pope(base=100.0).place(Q, K, at_q, at_k, delta)
    S = placed @ keys.T
    for i, j in np.ndindex(2, 4):
        total = sum(
            math.log1p(math.exp(Q[i, c]))
            * math.log1p(math.exp(K[j, c]))
            * math.cos((at_k[j] - at_q[i]) * 100.0 ** (-c / 3) + delta[c])
            for c in range(3)
        )
        assert S[i, j] == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("similarity", ["dot", "general", "additive", "neg_l2", "cosine"])
def test_similarities_learn_for_the_features_that_pope_gives(similarity):
    rng = np.random.default_rng(4)
    Q, K, V = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    mechanism = Mechanism(similarity, position="pope", modifier="softcap")
    params = mechanism.init(rng, 4, 4, 2)
    assert mechanism.attend(params, Q, K, V).shape == (3, 2)
    assert mechanism.operations(5, 4, 4, 2) > Mechanism(similarity, modifier="softcap").operations(5, 4, 4, 2)
    if similarity == "general":
        assert params["similarity"]["W"].shape == (8, 8)
        params["similarity"]["W"] = np.eye(4)
        with pytest.raises(ShapeError, match=r"d_query = 8, d_key = 8"):
            mechanism.attend(params, Q, K, V)


def test_pope_refuses_queries_and_keys_of_other_sizes():
    with pytest.raises(ShapeError, match="queries have 3 features and keys 2"):
        attention_weights(np.ones((1, 3)), np.ones((1, 2)), "additive", position="pope", rng=0)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_share_leaves_the_lowest_frequencies_alone(layout):
    x = np.random.default_rng(5).normal(size=(1, 8))
    whole, _ = Rope(layout=layout).place(x, x, np.array([7]), np.array([0]))
    part, _ = Rope(layout=layout, share=0.5).place(x, x, np.array([7]), np.array([0]))
    fast = [0, 1, 2, 3] if layout == "interleaved" else [0, 1, 4, 5]  # the pairs of the two highest of four frequencies
    slow = [c for c in range(8) if c not in fast]
    np.testing.assert_array_equal(part[:, fast], whole[:, fast])
    np.testing.assert_array_equal(part[:, slow], x[:, slow])


@pytest.mark.parametrize(("share", "pairs"), [(0.29, 29), (0.07, 7), (1.0, 100), (0.999, 99)])
def test_share_is_rounded_down_and_no_further(share, pairs):
    x = np.ones((1, 200))
    turned, _ = Rope(base=1.01, share=share).place(x, x, np.array([1]), np.array([0]))
    assert (turned[0] != 1).sum() == 2 * pairs


def test_a_step_is_a_row_with_each():
    rng = np.random.default_rng(6)
    Q, K, V = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    for name in ("short_conv", "cope", "fire", "pope"):
        mechanism = Mechanism(position=name, mask="causal")
        params = mechanism.init(rng, 4, 4, 2)
        params["position"] = {n: a + 0.3 * rng.normal(size=np.shape(a)) for n, a in params["position"].items()}
        W = mechanism.weights(params, Q, K)
        for t in range(4):
            _, w, _ = mechanism.step(params, Q[t : t + 1], K, V, None, t)
            np.testing.assert_allclose(w[0], W[t], rtol=1e-12, atol=1e-15)
        assert attnlab.attend(Q, K, V, position=name, rng=0).shape == (4, 2)


def test_fire_has_no_query_without_a_scale():
    """At the first position with the smallest L, a distance was divided by log 1."""
    S = np.zeros((2, 3))
    for threshold in (5e-324, 1e-300, 1e300):
        fire = Fire(hidden=2, threshold=threshold)
        found = fire.bias(S, np.arange(2), np.arange(3), **fire.init(np.random.default_rng(0)))
        assert np.isfinite(found).all()
