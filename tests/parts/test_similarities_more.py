"""Similarities that learn a form, map features, or look at no contents: scores by hand, limits, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnlab import SettingError, Unsupported, attention_weights, call, get


@pytest.fixture
def drawn():
    rng = np.random.default_rng(5)
    return rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))


def learned(part, seed=1, **dims):
    rng = np.random.default_rng(seed)
    return call(part, "init", rng=rng, **{"d_query": 4, "d_key": 4, "d_value": 4, **dims})


def pair_by_pair(Q, K, score):
    return np.array([[[score(q, k) for k in keys] for q in queries] for queries, keys in zip(Q, K, strict=True)])


@pytest.mark.parametrize(
    ("name", "settings", "score"),
    [
        ("poly_kernel", {}, lambda q, k: (q @ k + 1) ** 2),
        ("poly_kernel", {"power": 4, "offset": 0.5}, lambda q, k: (q @ k + 0.5) ** 4),
        (
            "feature_map_elu",
            {},
            lambda q, k: sum(
                (1 + a if a > 0 else math.exp(a)) * (1 + b if b > 0 else math.exp(b)) for a, b in zip(q, k, strict=True)
            ),
        ),
        ("taylor", {}, lambda q, k: 1 + q @ k / 2 + (q @ k / 2) ** 2 / 2),
        ("expressive", {}, lambda q, k: math.log(((q @ k / 2) ** 2 + 1e-9) / (1 + (q @ k / 2) ** 2))),
        ("expressive", {"eps": 0.1}, lambda q, k: math.log(((q @ k / 2) ** 2 + 0.1) / (1 + (q @ k / 2) ** 2))),
    ],
)
def test_scores_are_the_formula_of_each_pair(name, settings, score, drawn):
    Q, K = drawn
    np.testing.assert_allclose(get("similarity", name, **settings).score(Q, K), pair_by_pair(Q, K, score), rtol=1e-10)


def test_learned_scores_are_the_formula_of_each_pair(drawn):
    Q, K = drawn
    part = get("similarity", "low_rank", rank=2)
    p = learned(part)
    W = p["Wq"] @ p["Wk"].T
    assert np.linalg.matrix_rank(W) == 2
    np.testing.assert_allclose(part.score(Q, K, **p), pair_by_pair(Q, K, lambda q, k: q @ W @ k), rtol=1e-10)

    part = get("similarity", "additive_wn", hidden=6)
    p = {n: a + 0.3 for n, a in learned(part).items()}
    v = p["g"] * p["v"] / np.linalg.norm(p["v"])
    by_hand = pair_by_pair(Q, K, lambda q, k: v @ np.tanh(q @ p["Wq"] + k @ p["Wk"] + p["b"]))
    np.testing.assert_allclose(part.score(Q, K, **p), by_hand, rtol=1e-10)
    assert (part.score(Q, K, **{**p, "v": 0 * p["v"]}) == 0).all()

    part = get("similarity", "diag_mahalanobis")
    neg_l2 = get("similarity", "neg_l2")
    np.testing.assert_allclose(part.score(Q, K, **learned(part)), neg_l2.score(Q, K), rtol=1e-12)
    a = np.array([0.1, 2.0, 0.0, 5.0])
    r = np.log(np.expm1(np.maximum(a, 1e-300)))
    by_hand = pair_by_pair(Q, K, lambda q, k: -(a @ (q - k) ** 2))
    np.testing.assert_allclose(part.score(Q, K, r=r), by_hand, rtol=1e-10)


def test_expressive_has_the_published_weights():
    for x in ([-2.0, 0.0, 0.5], [2.0, 0.0, -0.5]):
        W = attention_weights(np.ones((1, 1)), np.array(x)[:, None], similarity="expressive")
        np.testing.assert_allclose(W, [[0.8, 0, 0.2]], atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_expressive_of_huge_products_is_zero(dtype):
    K = np.array([[1e19], [1e-30]], dtype=dtype)
    S = get("similarity", "expressive").score(np.full((1, 1), 1e19, dtype=dtype), K)
    np.testing.assert_allclose(S[0], [0, math.log(1e-9)], atol=1e-4)


def test_kernels_are_never_negative_and_l1_divides_by_their_sum(drawn):
    Q, K = (3 * X for X in drawn)
    for name in ("poly_kernel", "feature_map_elu", "taylor"):
        S = get("similarity", name).score(Q, K)
        assert (S >= 0).all()
        W = attention_weights(Q, K, similarity=name, normaliser="l1")
        np.testing.assert_allclose(W, S / S.sum(axis=-1, keepdims=True), rtol=1e-12)
    small = 0.002 * Q
    soft = attention_weights(small, K, similarity="scaled_dot")
    np.testing.assert_allclose(attention_weights(small, K, similarity="taylor", normaliser="l1"), soft, atol=2e-4)


def test_an_odd_power_is_refused():
    with pytest.raises(SettingError, match="power"):
        get("similarity", "poly_kernel", power=3)


# -- places -----------------------------------------------------------------------------------------------------------
def test_location_looks_at_places_alone(drawn):
    Q, K = drawn
    part = get("similarity", "location", positions=7)
    W = learned(part)["W"]
    for places in (np.arange(5), np.array([6, 0, 3, 3, 1])):
        found = part.score(Q, places, W)
        np.testing.assert_allclose(found, np.stack([Q @ W[:, [j]] for j in places], axis=-1)[..., 0, :], rtol=1e-12)
    each = np.array([[0, 1, 2, 3, 4], [6, 5, 4, 3, 2]])
    both = part.score(Q, each, W)
    for i in range(2):
        np.testing.assert_allclose(both[i], part.score(Q[i], each[i], W), rtol=1e-12)
    params = {"similarity": {"W": W}}
    one, other = (attention_weights(Q, X, similarity=part, params=params) for X in (K, K + 1))
    np.testing.assert_array_equal(one, other)


def test_synthesizer_reads_its_table():
    part = get("similarity", "synthesizer_random", positions=6)
    R = learned(part)["R"]
    np.testing.assert_array_equal(part.score(np.arange(3), np.arange(5), R), R[:3, :5])
    each = np.array([[0, 1, 2], [5, 0, 1]])
    np.testing.assert_array_equal(part.score(each, np.arange(5), R), R[each][..., :5])


@pytest.mark.parametrize(("name", "noun"), [("location", "keys"), ("synthesizer_random", "(queries|keys)")])
def test_a_place_beyond_the_table_is_refused(name, noun, drawn):
    Q, K = drawn
    part = get("similarity", name, positions=4)
    with pytest.raises(
        Unsupported, match=f"scores for {noun} at positions 0 to 3; got position 4: set positions higher"
    ):
        attention_weights(Q, K, similarity=part, params={"similarity": learned(part)})


def test_random_scores_are_normal_and_stay():
    part = get("similarity", "random", seed=3, scale=2.0)
    S = part.score(np.zeros((300, 1)), np.arange(300), np.arange(400))
    assert abs(S.mean()) < 0.02
    assert S.std() == pytest.approx(2, rel=0.01)
    assert np.abs(np.corrcoef(S[:-1].ravel(), S[1:].ravel())[0, 1]) < 0.01
    assert np.abs(np.corrcoef(S[:, :-1].ravel(), S[:, 1:].ravel())[0, 1]) < 0.01
    assert len(np.unique(S)) == S.size
    np.testing.assert_array_equal(part.score(np.zeros((1, 1)), np.array([7]), np.array([9, 2])), S[[7]][:, [9, 2]])
    other = get("similarity", "random", seed=4, scale=2.0).score(np.zeros((300, 1)), np.arange(300), np.arange(400))
    assert np.abs(np.corrcoef(S.ravel(), other.ravel())[0, 1]) < 0.01
