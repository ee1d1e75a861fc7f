"""Talking heads, differences, Hopfield networks and delta rules: plain loops, laws, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import attnlab
from attnlab import AttentionAligner, Mechanism, ShapeError, Unsupported, get
from attnlab.mechanisms.binding import BoundComposition
from attnlab.mechanisms.compositions import MultiHead
from attnlab.mechanisms.memories import DeltaRule, GatedDelta, Hopfield
from attnlab.mechanisms.mixing_heads import Differential, TalkingHeads, lambda_init
from attnlab.testing import parametrize_with_checks

VARIANTS = [
    TalkingHeads(heads=2, head_dim=3, normaliser="entmax"),
    Differential(version=2),
    Differential(Mechanism("additive", position="alibi", mask="causal"), heads=1, layer=3),
    Hopfield(Mechanism("dot", "sparsemax"), steps=3),
    DeltaRule(beta=0.7),
    GatedDelta(decay=0.9),
]


@parametrize_with_checks(VARIANTS)
def test_each_keeps_the_contract(component, check):
    check(component)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=s) for s in ((3, 4), (5, 4), (5, 2)))
    M = rng.random((3, 5)) < 0.7
    M[:, 0] = True
    return rng, Q, K, V, M


def softmax(S, M):
    E = np.where(M, np.exp(S), 0.0)
    return E / E.sum(axis=-1, keepdims=True)


# -- talking heads --------------------------------------------------------------------------------------------------------
def test_talking_heads_by_loops(drawn):
    rng, Q, K, V, M = drawn
    talking = TalkingHeads(heads=2, head_dim=3)
    p = talking.init(rng, 4, 4, 2)
    p["A"], p["B"] = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    heads = [slice(0, 3), slice(3, 6)]
    q, k, v = (X @ p[w] for X, w in ((Q, "Wq"), (K, "Wk"), (V, "Wv")))
    S = [q[:, h] @ k[:, h].T / np.sqrt(3) for h in heads]
    W = [softmax(sum(p["A"][h, g] * S[h] for h in range(2)), M) for g in range(2)]
    U = [sum(p["B"][g, m] * W[g] for g in range(2)) for m in range(2)]
    np.testing.assert_allclose(talking.weights(p, Q, K, M, heads=True), np.stack(U), rtol=1e-10)
    np.testing.assert_allclose(talking.weights(p, Q, K, M), (U[0] + U[1]) / 2, rtol=1e-10)
    Y = np.concatenate([U[m] @ v[:, h] for m, h in enumerate(heads)], axis=-1) @ p["Wo"]
    np.testing.assert_allclose(talking.attend(p, Q, K, V, M), Y, rtol=1e-10)


def test_talking_heads_begins_as_multi_head(drawn):
    _, Q, K, V, M = drawn
    talking, plain = TalkingHeads(heads=2), MultiHead(heads=2)
    one, other = (m.init(np.random.default_rng(3), 4, 4, 2) for m in (talking, plain))
    np.testing.assert_array_equal(one["Wo"], other["Wo"])
    np.testing.assert_allclose(talking.attend(one, Q, K, V, M), plain.attend(other, Q, K, V, M), rtol=1e-12)


def test_talking_heads_refuses_a_normaliser_that_remembers():
    with pytest.raises(Unsupported, match="'monotonic' remembers the weights"):
        TalkingHeads(normaliser="monotonic").init(np.random.default_rng(0), 4, 4, 2)


@pytest.mark.parametrize("make", [TalkingHeads, MultiHead, lambda: GatedDelta(unit=False), Differential, Hopfield])
def test_padding_may_hold_nan(drawn, make):
    rng, Q, K, V, M = drawn
    mechanism = make()
    M = M.copy()
    M[:, -1] = False
    p = mechanism.init(rng, 4, 4, 2)
    Y, W = mechanism.attend(p, Q, K, V, M), mechanism.weights(p, Q, K, M)
    K, V = K.copy(), V.copy()
    K[-1], V[-1] = np.nan, np.nan
    np.testing.assert_allclose(mechanism.weights(p, Q, K, M), W, rtol=1e-12)
    np.testing.assert_allclose(mechanism.attend(p, Q, K, V, M), Y, rtol=1e-12)


# -- differential ---------------------------------------------------------------------------------------------------------
def test_lambda_starts_as_in_the_paper():
    assert [round(lambda_init(layer), 6) for layer in (1, 2, 3, 4)] == [0.2, 0.355509, 0.470713, 0.556058]


def test_differential_by_loops(drawn):
    rng, Q, K, V, M = drawn
    mechanism = Differential(heads=2, head_dim=3, layer=2)
    p = mechanism.init(rng, 4, 4, 2)
    p["g"] = rng.normal(size=6)
    start = 0.35550907
    lam = np.exp(p["a1"] @ p["b1"]) - np.exp(p["a2"] @ p["b2"]) + start
    q, k, v = Q @ p["Wq"], K @ p["Wk"], V @ p["Wv"]
    W, Y = [], []
    for h in range(2):
        one, other = slice(3 * h, 3 * h + 3), slice(6 + 3 * h, 9 + 3 * h)
        W1, W2 = (softmax(q[:, side] @ k[:, side].T / np.sqrt(3), M) for side in (one, other))
        W.append(W1 - lam * W2)
        y = W[-1] @ v[:, 6 * h : 6 * h + 6]
        y = y / np.sqrt((y**2).mean(axis=-1, keepdims=True) + 1e-5)
        Y.append((1 - start) * p["g"] * y)
    np.testing.assert_allclose(mechanism.weights(p, Q, K, M, heads=True), np.stack(W), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        mechanism.attend(p, Q, K, V, M), np.concatenate(Y, axis=-1) @ p["Wo"], rtol=1e-6, atol=1e-8
    )


def test_differential_version_2_by_loops(drawn):
    rng, Q, K, V, M = drawn
    mechanism = Differential(heads=2, head_dim=3, version=2)
    p = mechanism.init(rng, 4, 4, 2)
    q, k, v = Q @ p["Wq"], K @ p["Wk"], V @ p["Wv"]
    share = 1 / (1 + np.exp(-Q @ p["w"]))
    W, Y = [], []
    for h in range(2):
        own = slice(3 * h, 3 * h + 3)
        W1 = softmax(q[:, own] @ k[:, own].T / np.sqrt(3), M)
        W2 = softmax(q[:, 6 + 3 * h : 9 + 3 * h] @ k[:, own].T / np.sqrt(3), M)
        W.append(W1 - share[:, h : h + 1] * W2)
        Y.append(W[-1] @ v[:, own])
    np.testing.assert_allclose(mechanism.weights(p, Q, K, M), (W[0] + W[1]) / 2, rtol=1e-10)
    np.testing.assert_allclose(mechanism.attend(p, Q, K, V, M), np.concatenate(Y, axis=-1) @ p["Wo"], rtol=1e-10)


@pytest.mark.parametrize("make", [MultiHead, Differential])
def test_heads_of_contexts_over_keys_are_refused(make):
    inside = Mechanism("dot", aggregator="pointer")
    for one in (make(inside), make({"similarity": "dot", "aggregator": "pointer"})):
        with pytest.raises(Unsupported, match="one feature for each key"):
            one.init(np.random.default_rng(0), 4, 4, 2)


# -- hopfield -------------------------------------------------------------------------------------------------------------
def test_hopfield_by_loops(drawn):
    _, Q, K, V, M = drawn
    mechanism, q = Hopfield(Mechanism("dot"), steps=3), Q
    for _ in range(2):
        q = softmax(q @ K.T, M) @ K
    W = softmax(q @ K.T, M)
    np.testing.assert_allclose(mechanism.weights({"mechanism": {}}, Q, K, M), W, rtol=1e-10)
    np.testing.assert_allclose(mechanism.attend({"mechanism": {}}, Q, K, V, M), W @ V, rtol=1e-10)


def test_one_step_of_hopfield_is_the_mechanism_and_many_store_a_pattern(drawn):
    rng, Q, K, V, _ = drawn
    inside = Mechanism("dot")
    np.testing.assert_array_equal(Hopfield(inside, 1).attend({"mechanism": {}}, Q, K, V), inside.attend({}, Q, K, V))
    stored = np.sign(rng.normal(size=(4, 60)))
    noisy = stored * np.where(rng.random(stored.shape) < 0.2, -1, 1)
    found = Hopfield(inside, 4).weights({"mechanism": {}}, noisy, stored)
    np.testing.assert_allclose(found, np.eye(4), atol=1e-6)


def test_hopfield_refuses_keys_that_are_no_queries():
    mechanism = Hopfield(Mechanism("general"))
    p = mechanism.init(np.random.default_rng(0), 3, 4, 2)
    with pytest.raises(ShapeError, match="Q has 3 features, K has 4"):
        mechanism.attend(p, np.ones((1, 3)), np.ones((2, 4)), np.ones((2, 2)))


# -- delta rules ----------------------------------------------------------------------------------------------------------
def recurrence(q, K, V, allowed, beta, alpha):
    """The state itself, written key by key."""
    S = np.zeros((V.shape[1], K.shape[1]))
    for j in range(len(K)):
        if allowed[j]:
            S = alpha[j] * S @ (np.eye(K.shape[1]) - beta[j] * np.outer(K[j], K[j])) + beta[j] * np.outer(V[j], K[j])
    return S @ q


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("cls", [DeltaRule, GatedDelta])
def test_delta_rules_are_their_recurrences(drawn, cls, unit):
    rng, Q, K, V, M = drawn
    mechanism = cls(unit=unit)
    p = {n: rng.normal(size=np.shape(a)) for n, a in mechanism.init(rng, 4, 4, 2).items()}
    q, k = (X / np.linalg.norm(X, axis=-1, keepdims=True) if unit else X for X in (Q, K))
    beta = 1 / (1 + np.exp(-(k @ p["w_beta"] + p["b_beta"])))
    alpha = 1 / (1 + np.exp(-(k @ p["w_alpha"] + p["b_alpha"]))) if cls is GatedDelta else np.ones(5)
    for mask in (M, np.tril(np.ones((3, 5), dtype=bool)), np.ones((3, 5), dtype=bool)):
        Y = np.stack([recurrence(q[i], k, V, mask[i], beta, alpha) for i in range(3)])
        np.testing.assert_allclose(mechanism.attend(p, Q, K, V, mask), Y, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(mechanism.weights(p, Q, K, mask) @ V, Y, rtol=1e-9, atol=1e-12)


def test_fixed_rates_are_what_they_say(drawn):
    _, Q, K, V, M = drawn
    k = K / np.linalg.norm(K, axis=-1, keepdims=True)
    q = Q / np.linalg.norm(Q, axis=-1, keepdims=True)
    mechanism = GatedDelta(beta=0.6, decay=0.8)
    assert mechanism.init(np.random.default_rng(0), 4, 4, 2) == {}
    Y = np.stack([recurrence(q[i], k, V, M[i], np.full(5, 0.6), np.full(5, 0.8)) for i in range(3)])
    np.testing.assert_allclose(mechanism.attend({}, Q, K, V, M), Y, rtol=1e-10)


def test_the_last_value_of_a_key_counts_and_positions_give_the_order():
    K, V = np.eye(2)[[0, 1, 0, 1]], np.array([[1.0], [2.0], [3.0], [4.0]])
    delta = get("mechanism", "delta_rule", beta=1.0)
    np.testing.assert_allclose(delta.attend({}, np.eye(2), K, V), [[3.0], [4.0]])
    backwards = delta.attend({}, np.eye(2), K, V, k_index=np.array([3, 2, 1, 0]))
    np.testing.assert_allclose(backwards, [[1.0], [2.0]])
    W = delta.weights({}, np.eye(2), K, k_index=np.array([3, 2, 1, 0]))
    np.testing.assert_allclose(W, [[1, 0, 0, 0], [0, 1, 0, 0]])
    with pytest.raises(Unsupported, match="another order in each example"):
        delta.attend({}, np.ones((2, 1, 2)), np.ones((2, 2, 2)), np.ones((2, 2, 1)), k_index=np.array([[0, 1], [1, 0]]))


def test_delta_rule_refuses_queries_of_other_sizes():
    with pytest.raises(ShapeError, match="axis 'd' disagrees"):
        DeltaRule(beta=1.0).attend({}, np.ones((1, 3)), np.ones((2, 2)), np.ones((2, 1)))


# -- all ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["talking_heads", "differential", "hopfield", "delta_rule", "gated_delta"])
def test_a_model_learns_with_each(name):
    splits = get("task", "lookup", n_keys=4, d=8, n_train=64, n_test=32).make(np.random.default_rng(0))
    aligner = AttentionAligner(get("mechanism", name), steps=40, projection=8, random_state=0).fit(splits.train)
    assert aligner.loss_curve_[-1] < aligner.loss_curve_[0]
    assert aligner.align(splits.tests["test"]).shape == splits.tests["test"].gold.shape
    assert aligner.operations_per_query_ > 0


@pytest.mark.parametrize("name", ["talking_heads", "differential", "hopfield", "delta_rule", "gated_delta"])
def test_bound_is_the_same_and_steps_are_rows(name, drawn):
    rng, Q, K, V, _ = drawn
    mechanism = get("mechanism", name)
    p = mechanism.init(rng, 4, 4, 2)
    M = np.tril(np.ones((3, 5), dtype=bool))
    Y = mechanism.attend(p, Q, K, V, M)
    bound = BoundComposition(mechanism)
    np.testing.assert_allclose(bound.attend(p, Q, K, V, bound.context(Q, K, V, M)), Y, rtol=1e-12)
    for t in range(3):
        y, _, _ = mechanism.step(p, Q[t : t + 1], K, V, None, t, M[t : t + 1])
        np.testing.assert_allclose(y[0], Y[t], rtol=1e-12)
    assert attnlab.get("mechanism", "mixture", first=mechanism).init(rng, 4, 4, 2)["first"].keys() == p.keys()
