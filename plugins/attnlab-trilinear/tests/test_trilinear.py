"""The contract of attnlab; the weights against three loops; and products that solve the task."""

import numpy as np
import pytest

plugin = pytest.importorskip("attnlab_trilinear", reason="not installed: pip install ./plugins/attnlab-trilinear")

import attnlab  # noqa: E402


@attnlab.testing.parametrize_with_checks([plugin.Trilinear, plugin.Trilinear(rank=3), plugin.MatchThree])
def test_contract(component, check):
    check(component)


def test_the_weights_pair_by_pair():
    rng = np.random.default_rng(0)
    Q, K, M = rng.normal(size=(3, 2)), rng.normal(size=(5, 4)), rng.random((3, 5)) < 0.6
    M[:, 0] = True
    mechanism = plugin.Trilinear(rank=6)
    params = mechanism.init(rng, 2, 4, 1)
    W = mechanism.weights(params, Q, K, M)
    for i in range(3):
        allowed = np.flatnonzero(M[i])
        a, B, C = Q[i] @ params["A"], K @ params["B"], K @ params["C"]
        e = {(j, m): np.exp((a * B[j] * C[m]).sum() / 6**0.5) for j in allowed for m in allowed}
        for j in range(5):
            share = sum((e[p] * (p[0] == j) + e[p] * (p[1] == j)) / 2 for p in e) / sum(e.values())
            assert W[i, j] == pytest.approx(share, abs=1e-12)


def test_products_of_three_find_the_pair():
    """cos(a + b + c) is a sum of four products, so that a rank of four solves the task."""
    data = plugin.MatchThree(n_train=200).make(np.random.default_rng(0)).train
    big = 40.0
    cos, sin = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    params = {
        "A": big * np.stack([cos, -cos, -sin, -sin], axis=1),
        "B": np.stack([cos, sin, sin, cos], axis=1),
        "C": np.stack([cos, sin, cos, sin], axis=1),
    }
    W = plugin.Trilinear(rank=4).weights(params, data.Q, data.K)
    different = (W * (data.gold > 0)).sum(axis=-1)
    assert (different > 0.5).mean() > 0.8  # a key twice may fit as well: x_q + 2 x_j = 0


def test_the_names_are_known():
    assert "trilinear" in attnlab.names("mechanism")
    assert "match_three" in attnlab.names("task")
