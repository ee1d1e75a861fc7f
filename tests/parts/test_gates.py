"""Modifiers that read contents or other scores, against plain loops over the formulas of the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from attnlab import Mechanism, Unsupported, get


@pytest.fixture
def drawn():
    rng = np.random.default_rng(4)
    S, Q, K = rng.normal(size=(6, 6)), rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    mask = np.tri(6, dtype=bool) & (rng.random((6, 6)) < 0.8)
    return S, Q, K, mask | np.eye(6, dtype=bool), np.arange(6)


def test_forget_is_the_sum_of_the_gates_between(drawn):
    S, _, K, mask, i = drawn
    w, b = np.array([0.5, -1.0, 2.0]), np.asarray(0.3)
    f = special.expit(K @ w + b)
    part = get("modifier", "forget")
    for M in (np.ones((6, 6), bool), mask):
        expected = np.array(
            [[S[p, j] + sum(math.log(f[r]) for r in range(j + 1, p + 1) if M[p, r]) for j in i] for p in i]
        )
        np.testing.assert_allclose(part.modify(S, K, M, i, i, w, b), expected, rtol=1e-12)
    order = np.array([3, 0, 5, 1, 2, 4])
    moved = part.modify(S[:, order], K[order], mask[:, order], i, order, w, b)
    np.testing.assert_allclose(moved, part.modify(S, K, mask, i, i, w, b)[:, order], rtol=1e-12)
    alibi = get("position", "alibi", slope=-math.log(f[0])).bias(S, i, i)
    same_gates = part.modify(S, np.broadcast_to(K[0], K.shape), np.tri(6, dtype=bool), i, i, w, b)
    np.testing.assert_allclose(same_gates[np.tri(6, dtype=bool)], alibi[np.tri(6, dtype=bool)], rtol=1e-12)


def test_forget_step_by_step_is_the_whole(drawn):
    _, Q, K, mask, i = drawn
    mechanism = Mechanism("scaled_dot", mask="causal", modifier="forget")
    params = mechanism.init(0, 3, 3, 3)
    params["modifier"]["forget"]["w"] = np.array([1.0, -2.0, 0.5])
    whole = mechanism.weights(params, Q, K, mask)
    state = None
    for t in i:
        _, W, state = mechanism.step(params, Q[t : t + 1], K, K, state, int(t), mask[t : t + 1])
        np.testing.assert_allclose(W[0], whole[t], rtol=1e-12)


def test_adaptive_scale_is_its_formula(drawn):
    S, Q, _, _, _ = drawn
    b, g = np.array([0.5, -1.0, 2.0]), np.array([0.1, 0.7, -0.4])
    n = np.array([[6.0], [2.0], [100.0], [3.0], [1e6], [4.0]])
    factor = [
        1 + math.log1p(math.exp(q @ b)) * math.log(m[0]) ** (2 * math.tanh(q @ g)) for q, m in zip(Q, n, strict=True)
    ]
    np.testing.assert_allclose(
        get("modifier", "adaptive_scale").modify(S, Q, n, b, g), S * np.array(factor)[:, None], rtol=1e-12
    )
    alone = get("modifier", "adaptive_scale").modify(S, Q, np.ones((6, 1)), b, 100 * g)
    assert np.isfinite(alone).all()


def test_selective_is_its_formula(drawn):
    S, _, _, mask, i = drawn
    part = get("modifier", "selective")
    for M in (np.tri(6, dtype=bool), mask):
        expected = S.copy()
        for p in i:
            for j in range(1, 6):
                expected[p, j] -= sum(max(S[r, j], 0) for r in range(j + 1, p) if M[r, j])
        np.testing.assert_allclose(part.modify(S, M, i, i), expected, rtol=1e-12)
    assert (expected[:, 0] == S[:, 0]).all()


def test_multi_token_is_a_convolution(drawn):
    S, _, _, mask, _ = drawn
    for queries, keys in ((1, 1), (2, 3), (3, 4), (9, 15)):
        C = np.random.default_rng(0).normal(size=(queries, keys))
        shown, middle = np.where(mask, S, 0.0), (keys - 1) // 2
        expected = np.zeros_like(S)
        for p, j, a, b in np.ndindex(6, 6, queries, keys):
            if p - a >= 0 and 0 <= j + b - middle < 6:
                expected[p, j] += C[a, b] * shown[p - a, j + b - middle]
        found = get("modifier", "multi_token", queries=queries, keys=keys).modify(S, mask, C)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    part = get("modifier", "multi_token")
    np.testing.assert_allclose(part.modify(S, np.ones((1, 1), bool), **part.init()), S, rtol=1e-15)


@pytest.mark.parametrize("name", ["selective", "multi_token"])
def test_a_step_has_no_other_queries(name, drawn):
    _, Q, K, _, _ = drawn
    mechanism = Mechanism(modifier=name)
    with pytest.raises(Unsupported, match=f"the modifier '{name}' needs the scores of other queries"):
        mechanism.step(mechanism.init(0, 3, 3, 3), Q[:1], K, K, None, 0)
