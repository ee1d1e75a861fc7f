"""The contract of attnlab; each short way against the weights, and each mechanism against what it estimates or solves."""

import autograd
import numpy as np
import pytest

plugin = pytest.importorskip("attnlab_linear", reason="not installed: pip install ./plugins/attnlab-linear")

import attnlab  # noqa: E402

SET = [
    plugin.Favor(n_features=5, seed=1),
    plugin.Linear(causal=True),
    plugin.Linear("favor", causal=True),
    plugin.DeltaMemory(beta=0.5, decay="learned"),
    plugin.Mesa(ridge=1.0),
]


@attnlab.testing.parametrize_with_checks([plugin.Favor, plugin.Linear, plugin.DeltaMemory, plugin.Mesa, *SET])
def test_contract(component, check):
    check(component)


def drawn(q=150, k=150, d=4, v=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, q, d)), rng.normal(size=(2, k, d)), rng.normal(size=(2, k, v))


KEYS = np.random.default_rng(1).random((2, 1, 150)) < 0.7
MASKS = {"all": None, "keys": KEYS, "keys of each query": np.broadcast_to(KEYS, (2, 150, 150))}
SHORT = [
    plugin.Linear(),
    plugin.Linear(causal=True),
    plugin.Linear("favor", n_features=7),
    plugin.DeltaMemory(decay="learned"),
]


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("mechanism", SHORT, ids=repr)
def test_the_short_way_gives_what_the_weights_give(mechanism, mask, monkeypatch):
    Q, K, V = drawn()
    params = mechanism.init(np.random.default_rng(0), 4, 4, 3)
    expected = mechanism.weights(params, Q, K, mask) @ V
    monkeypatch.setattr(type(mechanism), "_inside", None)  # no weights are formed on the way
    np.testing.assert_allclose(mechanism.attend(params, Q, K, V, mask), expected, atol=1e-10)


def test_the_gradient_of_the_short_way_is_that_of_the_weights():
    Q, K, V = drawn(q=70, k=70)
    for mechanism in SHORT:
        params = mechanism.init(np.random.default_rng(0), 4, 4, 3)
        ways = (
            lambda a, m=mechanism, p=params: m.attend(p, *a),
            lambda a, m=mechanism, p=params: m.weights(p, a[0], a[1]) @ a[2],
        )
        one, other = (autograd.grad(lambda a, way=way: (way(a) ** 2).sum())((Q, K, V)) for way in ways)
        for found, expected in zip(one, other, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-8)


def test_linear_is_the_kernel_over_its_sum():
    Q, K, V = drawn(q=6, k=9)
    plain = attnlab.attend(Q, K, V, similarity="feature_map_elu", normaliser="l1")
    np.testing.assert_allclose(plugin.Linear().attend({}, Q, K, V), plain, atol=1e-12)


def test_the_delta_memory_is_the_gated_delta_rule_with_a_causal_mask():
    Q, K, V = drawn(q=12, k=12)
    for beta, decay in ((1.0, 1.0), (0.5, 0.8)):
        rule = attnlab.get("mechanism", "gated_delta", beta=beta, decay=decay)
        expected = rule.attend({}, Q, K, V, np.tri(12, dtype=bool))
        np.testing.assert_allclose(plugin.DeltaMemory(beta, decay).attend({}, Q, K, V), expected, atol=1e-10)


def test_random_features_come_nearer_to_softmax_as_they_grow():
    Q, K, V = (0.7 * A for A in drawn(q=8, k=8))
    exact = attnlab.attend(Q, K, V)
    away = [
        np.mean(
            [np.abs(plugin.Linear("favor", n_features=m, seed=s).attend({}, Q, K, V) - exact).mean() for s in range(8)]
        )
        for m in (16, 256, 4096)
    ]
    assert away[0] > 2 * away[1] > 4 * away[2]
    assert away[2] < 0.01


def test_random_features_have_no_bias():
    Q, K, _ = drawn(q=2, k=2, d=2)
    S = np.mean([plugin.Favor(64, seed).score(Q, K) for seed in range(400)], axis=0)
    np.testing.assert_allclose(S, np.exp(Q @ K.swapaxes(-1, -2) / 2**0.5), rtol=0.1)


def test_mesa_is_ridge_regression():
    Q, K, V = drawn(q=5, k=20)
    allowed = np.random.default_rng(0).random((2, 5, 20)) < 0.6
    found = plugin.Mesa(ridge=0.3).attend({}, Q, K, V, allowed)
    for n, i in np.ndindex(2, 5):
        k, v = K[n, allowed[n, i]], V[n, allowed[n, i]]
        np.testing.assert_allclose(
            found[n, i], Q[n, i] @ np.linalg.solve(k.T @ k + 0.3 * np.eye(4), k.T @ v), atol=1e-10
        )


def test_lists_and_integers_are_arrays():
    Q, K, V = [[1, 0], [0, 1]], [[1, 0], [1, 1]], [[1.0], [3.0]]
    for mechanism in (plugin.Linear(), plugin.Linear(causal=True), plugin.DeltaMemory(beta=1.0), plugin.Mesa()):
        right = mechanism.attend({}, *(np.array(X, dtype=float) for X in (Q, K, V)))
        np.testing.assert_array_equal(mechanism.attend({}, Q, K, V), right)
        assert mechanism.weights({}, Q, K).shape == (2, 2)
    with pytest.raises(attnlab.ShapeError, match="features"):
        plugin.Linear().attend({}, np.ones((2, 0)), np.ones((3, 0)), np.ones((3, 1)))


def test_mesa_refuses_what_rounding_decides():
    rng = np.random.default_rng(0)
    Q, K, V = 1e10 * rng.normal(size=(2, 4)), 1e10 * rng.normal(size=(2, 4)), rng.normal(size=(2, 1))
    with pytest.raises(attnlab.Unsupported, match=r"mesa.*set ridge higher"):
        plugin.Mesa().attend({}, Q, K, V)


def test_the_names_are_known():
    assert {"linear", "delta_memory", "mesa"} <= set(attnlab.names("mechanism"))
    assert "favor" in attnlab.names("similarity")
