"""Aggregators beyond the weighted sum: plain loops, golden values, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import attnlab
from attnlab import AttentionAligner, Mechanism, Unsupported, get
from attnlab.parts.exponential_sums import Laser, MaxPlus
from attnlab.parts.readouts import Gated, LuongOutput, Pointer
from attnlab.parts.regressions import LocalLinear, Parallax

W3 = np.array([[0.2, 0.3, 0.5]])
K3 = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
V3 = np.array([[1.0], [2.0], [4.0]])


def drawn(seed, q=3, k=5, d=2, v=4):
    rng = np.random.default_rng(seed)
    W = rng.random((q, k)) + 0.1
    W[0, 1] = 0.0
    return W / W.sum(axis=-1, keepdims=True), *(rng.normal(size=s) for s in ((k, v), (q, d), (k, d))), rng


def test_luong_output_is_a_layer_over_context_and_query_and_zero_without_weights():
    W, V, Q, _, rng = drawn(0)
    Wc, Wq = rng.normal(size=(4, 4)), rng.normal(size=(2, 4))
    W[2] = 0.0
    Y = LuongOutput().aggregate(W, V, Q, Wc, Wq)
    for i in range(2):
        c = sum(W[i, j] * V[j] for j in range(5))
        for o in range(4):
            total = sum(c[f] * Wc[f, o] for f in range(4)) + sum(Q[i, f] * Wq[f, o] for f in range(2))
            assert Y[i, o] == pytest.approx(math.tanh(total), rel=1e-12)
    np.testing.assert_array_equal(Y[2], 0)


def test_gated_multiplies_each_feature_by_a_gate_of_the_query():
    W, V, Q, _, rng = drawn(1)
    G = rng.normal(size=(2, 4))
    Y = Gated().aggregate(W, V, Q, G)
    for i, c in np.ndindex(3, 4):
        gate = 1 / (1 + math.exp(-sum(Q[i, f] * G[f, c] for f in range(2))))
        assert Y[i, c] == pytest.approx(gate * sum(W[i, j] * V[j, c] for j in range(5)), rel=1e-12)


def test_pointer_gives_the_weights():
    rng = np.random.default_rng(2)
    Q, K, V = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 1))
    Y = attnlab.attend(Q, K, V, aggregator="pointer", mask="causal")
    np.testing.assert_array_equal(Y, attnlab.attention_weights(Q, K, mask="causal"))
    assert attnlab.attend(Q, K[:, :0], V[:, :0], aggregator="pointer").shape == (2, 3, 0)


def test_pointer_learns_positions_and_is_refused_where_classes_are_no_positions():
    rng = np.random.default_rng(3)
    K = rng.normal(size=(64, 4, 8))
    at = rng.integers(4, size=(64, 2))
    Q = np.take_along_axis(K, at[:, :, None], axis=1)
    mechanism = Mechanism("dot", aggregator="pointer")
    positions = np.broadcast_to(np.eye(4), (64, 4, 4)).copy()
    data = attnlab.AlignmentData(Q, K, positions, target=at)
    with pytest.warns(attnlab.NothingToLearn):
        assert AttentionAligner(mechanism, steps=1).fit(data).score(data) > 0.8
    words = attnlab.AlignmentData(Q, K, positions[:, :, :3], target=np.zeros((64, 2), dtype=int))
    with pytest.raises(Unsupported, match=r"one feature for each key.*4 keys and 3 features"):
        AttentionAligner(mechanism, steps=1).fit(words)


@pytest.mark.parametrize("weights_sum_to", [1.0, 0.7])
def test_max_plus_and_laser_by_loops(weights_sum_to):
    W, V, *_ = drawn(4)
    W = weights_sum_to * W
    W[1, 2] = -0.5  # as absent as a zero
    most, log = MaxPlus().aggregate(W, V), Laser().aggregate(W, V)
    for i, c in np.ndindex(3, 4):
        there = [j for j in range(5) if W[i, j] > 0]
        assert most[i, c] == pytest.approx(max(math.log(W[i, j]) + V[j, c] for j in there), rel=1e-12)
        assert log[i, c] == pytest.approx(math.log(sum(W[i, j] * math.exp(V[j, c]) for j in there)), rel=1e-12)


def test_laser_neither_overflows_nor_loses_small_values_beside_a_large_one_without_weight():
    V = np.array([[1000.0], [2000.0], [-3000.0]])
    np.testing.assert_allclose(Laser().aggregate(np.array([[0.5, 0.0, 0.5]]), V), [[1000 + math.log(0.5)]])
    np.testing.assert_array_equal(Laser().aggregate(np.array([[0.0, 0.0, 1.0]]), V), [[-3000.0]])


def test_max_plus_with_softmax_is_the_tropical_product_up_to_a_constant_a_row():
    rng = np.random.default_rng(5)
    Q, K, V = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    S = Q @ K.T
    Y = attnlab.attend(Q, K, V, "dot", aggregator="max_plus")
    tropical = np.array([[max(S[i, j] + V[j, c] for j in range(4)) for c in range(3)] for i in range(3)])
    np.testing.assert_allclose(Y, tropical - np.log(np.exp(S).sum(axis=-1, keepdims=True)), rtol=1e-12)


def test_golden_values_of_the_local_fits():
    parallax = Parallax().aggregate(W3, V3, np.array([[0.5, -1.0]]), K3, np.eye(2))
    np.testing.assert_allclose(parallax, [[3.04]], rtol=1e-12)
    line = LocalLinear(ridge=0.1).aggregate(W3, V3, np.array([[0.3, 0.8]]), K3)
    np.testing.assert_allclose(line, [[2.3636363636]], rtol=1e-9)


def _moments(w, V, K):
    """Mean value, mean key, Cov(v, k) (v, d) and Cov(k, k) (d, d), by their definitions."""
    c, m = sum(wj * v for wj, v in zip(w, V, strict=True)), sum(wj * k for wj, k in zip(w, K, strict=True))
    vk = sum(wj * np.outer(v - c, k - m) for wj, v, k in zip(w, V, K, strict=True))
    kk = sum(wj * np.outer(k - m, k - m) for wj, k in zip(w, K, strict=True))
    return c, m, vk, kk


def test_parallax_and_local_linear_by_their_definitions():
    W, V, Q, K, rng = drawn(6)
    R = rng.normal(size=(2, 2))
    parallax = Parallax().aggregate(W, V, Q, K, R)
    line = LocalLinear(ridge=0.3).aggregate(W, V, Q, K)
    for i in range(3):
        c, m, vk, kk = _moments(W[i], V, K)
        np.testing.assert_allclose(parallax[i], c - vk @ (Q[i] @ R), rtol=1e-10)
        np.testing.assert_allclose(line[i], c + vk @ np.linalg.inv(kk + 0.3 * np.eye(2)) @ (Q[i] - m), rtol=1e-10)


def test_a_line_has_no_bias_at_the_boundary_where_the_mean_has():
    K = np.linspace(0, 1, 40)[:, None]
    V, Q = 3 * K + 1, np.array([[0.0]])
    near = {"neg_l2": {"sigma": 0.2}}
    assert attnlab.attend(Q, K, V, near)[0, 0] > 1.3
    line = attnlab.attend(Q, K, V, near, aggregator={"local_linear": {"ridge": 1e-9}})
    assert line[0, 0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["parallax", "local_linear"])
@pytest.mark.parametrize(("normaliser", "position"), [("sigmoid", "none"), ("softmax", "gaussian_local")])
def test_weights_that_do_not_sum_to_one_are_refused(name, normaliser, position):
    rng = np.random.default_rng(7)
    Q, K, V = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    with pytest.raises(Unsupported, match=rf"'{name}' needs weights of which each row sums to one.*softmax"):
        attnlab.attend(Q, K, V, normaliser=normaliser, position=position, aggregator=name, rng=0)


def test_queries_of_another_space_than_the_keys_are_refused():
    with pytest.raises(Unsupported, match="the same features; got 3 of queries and 2 of keys"):
        LocalLinear().aggregate(W3, V3, np.ones((1, 3)), K3)


def test_a_sweep_records_the_refusals_as_skipped(tmp_path):
    frame = attnlab.sweep(
        {
            "attnlab": 1,
            "question": "Do weights that sum to less than one have a covariance?",
            "task": {"subset_mean": {"n_keys": 12, "n_train": 16, "n_test": 8, "n_validation": 8}},
            "mechanism": {"normaliser": "sigmoid", "aggregator": ["parallax", "local_linear", "pointer"]},
            "model": {"aligner": {"steps": 1}},
            "seeds": 1,
        },
        store=tmp_path / "s.db",
        executor="serial",
        quiet=True,
    )
    assert set(frame["status"]) == {"skipped"}
    reasons = frame.set_index("aggregator")["reason"]
    assert "sums to one" in reasons["parallax"]
    assert "sums to one" in reasons["local_linear"]
    assert "one feature for each key" in reasons["pointer"]


def test_a_decoder_and_a_table_refuse_a_pointer():
    with pytest.raises(Unsupported, match="one feature for each key"):
        attnlab.AttentionSeq2Seq(Mechanism("additive", aggregator="pointer"), steps=1).fit([["a"]], [["b"]])
    with pytest.raises(Unsupported, match="points at training rows"):
        attnlab.AttentionRegressor(aggregator="pointer").fit(np.arange(8.0)[:, None], np.arange(8.0))


def test_pointer_parts_have_one_feature_a_key():
    assert Pointer.over_keys
    assert not get("aggregator", "weighted_sum").over_keys


def test_a_line_whose_ridge_is_lost_in_rounding_is_refused():
    """Three keys span two directions of four: beside squares of 1e18, nothing but rounding would say what the third slope is."""
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(2, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    for scale in (1e9, 1e200):
        with pytest.raises(attnlab.Unsupported, match="set ridge higher, or scale keys down"):
            attnlab.attend(scale * Q, scale * K, V, "uniform", aggregator="local_linear")
    given = {"local_linear": {"ridge": 0.1}}, {"local_linear": {"ridge": 1e17}}  # the same in other units
    one, other = (
        attnlab.attend(s * Q, s * K, V, "uniform", aggregator=a) for s, a in zip((1, 1e9), given, strict=True)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9)
    K = rng.normal(size=(9, 4))  # they span all directions, so that the ridge does not matter
    V = K @ rng.normal(size=(4, 2))
    near = attnlab.attend(1e9 * Q, 1e9 * K, V, "uniform", aggregator="local_linear")
    far = attnlab.attend(1e200 * Q, 1e200 * K, V, "uniform", aggregator="local_linear")
    np.testing.assert_allclose(near, far, rtol=1e-9)
