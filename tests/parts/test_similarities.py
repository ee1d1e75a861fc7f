"""Similarities: hand-computed scores, the literature's facts, gradients, extremes."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from autograd.test_util import check_grads
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab import NotInitialised, SettingError, attention_weights, call, get

EACH = {
    "dot": {},
    "scaled_dot": {},
    "cosine": {},
    "general": {},
    "additive": {"hidden": 6},
    "neg_l2": {"sigma": 0.7},
    "uniform": {},
}
each = pytest.mark.parametrize("name", EACH)


def test_every_built_in_is_here():
    assert set(EACH) <= set(attnlab.names("similarity"))


def drawn(seed, *lead, q=3, k=4, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*lead, q, d)), rng.normal(size=(*lead, k, d))


def part_and_params(name, d=5, seed=0, **settings):
    part = get("similarity", name, **{**EACH[name], **settings})
    learns = part.init is not None
    return part, call(part, "init", rng=np.random.default_rng(seed), d_query=d, d_key=d, d_value=d) if learns else {}


# -- formulas, pair by pair ------------------------------------------------------------------------------------------
def by_hand(name, q, k, params):
    if name == "dot":
        return sum(a * b for a, b in zip(q, k, strict=True))
    if name == "scaled_dot":
        return sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q))
    if name == "cosine":
        return (q @ k) / math.sqrt((q @ q) * (k @ k)) / math.exp(params["log_temperature"])
    if name == "general":
        return sum(q[i] * params["W"][i, j] * k[j] for i in range(len(q)) for j in range(len(k)))
    if name == "additive":
        hidden = [
            math.tanh(q @ params["Wq"][:, h] + k @ params["Wk"][:, h] + params["b"][h]) for h in range(len(params["v"]))
        ]
        return sum(v * h for v, h in zip(params["v"], hidden, strict=True))
    if name == "neg_l2":
        return -sum((a - b) ** 2 for a, b in zip(q, k, strict=True)) / (2 * 0.7**2)
    return 0.0


@each
def test_the_formula_pair_by_pair(name):
    Q, K = drawn(1, 2)
    part, params = part_and_params(name)
    if name == "additive":
        params["b"] = np.linspace(-1, 1, 6)
    S = part.score(Q, K, **params)
    for n, i, j in np.ndindex(2, 3, 4):
        assert S[n, i, j] == pytest.approx(by_hand(name, Q[n, i], K[n, j], params), rel=1e-12, abs=1e-12)


@each
def test_gradients_are_those_of_finite_differences(name):
    Q, K = drawn(2, 2)
    part, params = part_and_params(name)
    weight = np.random.default_rng(3).normal(size=(2, 3, 4))
    names = list(params)

    def loss(Q, K, *learned):
        return (part.score(Q, K, **dict(zip(names, learned, strict=True))) * weight).sum()

    if name == "uniform":
        assert np.all(part.score(Q, K) == 0)
        return
    check_grads(loss, modes=["rev"], order=1)(Q, K, *params.values())


@each
def test_float32_strides_and_leading_axes(name):
    Q, K = drawn(4, 2)
    part, params = part_and_params(name)
    S = part.score(Q, K, **params)
    assert part.score(*(a.astype(np.float32) for a in (Q, K)), **_float32(params)).dtype == np.float32
    wide = np.full((2, 3, 10), np.nan)
    wide[..., ::2] = Q
    np.testing.assert_array_equal(part.score(wide[..., ::2], K, **params), S)
    np.testing.assert_allclose(part.score(Q[:, None], K[None], **params)[0, 1], part.score(Q[0], K[1], **params))


def _float32(params):
    return {name: np.asarray(a, dtype=np.float32) for name, a in params.items()}


@each
def test_no_keys_and_no_queries(name):
    Q, K = drawn(5)
    part, params = part_and_params(name)
    assert part.score(Q[:0], K, **params).shape == (0, 4)
    assert part.score(Q, K[:0], **params).shape == (3, 0)


@each
def test_declared_symmetry_holds(name):
    Q, K = drawn(6)
    part, params = part_and_params(name)
    swapped = part.score(K, Q, **params).T
    assert np.allclose(part.score(Q, K, **params), swapped) == part.symmetric


# -- facts of the literature -----------------------------------------------------------------------------------------
@given(st.integers(0, 10**6), st.floats(0.2, 3))
def test_softmax_of_neg_l2_is_that_of_dot_minus_half_the_norm_of_the_key(seed, scale):
    Q, K = (scale * a for a in drawn(seed))
    one = attention_weights(Q, K, similarity="neg_l2")
    other = np.exp(Q @ K.T - (K * K).sum(axis=-1) / 2)
    np.testing.assert_allclose(one, other / other.sum(axis=-1, keepdims=True), rtol=1e-10)


def spread(name, d):
    """Mean heaviest weight, and mean trace of softmax's Jacobian, of random queries over 32 random keys."""
    rng = np.random.default_rng(d)
    W = attention_weights(rng.normal(size=(600, 4, d)), rng.normal(size=(600, 32, d)), similarity=name)
    return W.max(axis=-1).mean(), (W * (1 - W)).sum(axis=-1).mean()


def test_dot_saturates_as_the_dimension_grows_and_scaled_dot_does_not():
    """Vaswani et al. 2017, section 3.2.1, in numbers: catalogue L6."""
    table = {d: spread("dot", d) for d in (4, 16, 64, 256, 1024)}
    expected = {4: 0.345, 16: 0.626, 64: 0.810, 256: 0.912, 1024: 0.954}
    for d, heaviest in expected.items():
        assert table[d][0] == pytest.approx(heaviest, abs=0.015), d
    assert table[4][1] == pytest.approx(0.789, abs=0.015)
    assert table[1024][1] == pytest.approx(0.066, abs=0.015)
    for d in (4, 64, 1024):
        heaviest, trace = spread("scaled_dot", d)
        assert heaviest == pytest.approx(0.16, abs=0.015)
        assert trace == pytest.approx(0.925, abs=0.015)


@pytest.mark.parametrize(("n", "bound"), [(10, 0.451), (50, 0.131), (100, 0.070)])
def test_cosine_at_temperature_one_cannot_align(n, bound):
    """Catalogue L21: 1/(1+(n-1)e^-2) is the most that the best key can get, and this set-up gets it."""
    K = -np.ones((n, 3))
    K[0] = 1
    with pytest.warns(UserWarning, match="cannot align"):
        W = attention_weights(np.ones((1, 3)), K, similarity={"cosine": {"temperature": 1.0}})
    assert W[0, 0] == pytest.approx(1 / (1 + (n - 1) * math.exp(-2)), rel=1e-12)
    assert W[0, 0] == pytest.approx(bound, abs=6e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sharp = attention_weights(np.ones((1, 3)), K, similarity={"cosine": {"temperature": 0.1}})
    assert sharp[0, 0] > 0.999


def test_cosine_takes_zero_tiny_and_huge_vectors():
    cosine = get("similarity", "cosine", temperature=0.5)
    x = np.array([[0.0, 0.0], [3e-200, 4e-200], [3e200, 4e200], [3.0, 4.0]])
    with np.errstate(all="raise", under="ignore"):
        S = cosine.score(x, x)
    np.testing.assert_array_equal(S[0], 0)
    np.testing.assert_allclose(S[1:, 1:], 2.0, rtol=1e-12)
    check_grads(lambda x: cosine.score(x, x[::-1]), modes=["rev"], order=1)(x[3:] + np.arange(3)[:, None])


def test_learned_temperature_starts_at_a_tenth_and_is_needed():
    cosine, params = part_and_params("cosine")
    assert np.exp(params["log_temperature"]) == pytest.approx(0.1)
    with pytest.raises(NotInitialised, match="log_temperature"):
        cosine.score(np.ones((1, 2)), np.ones((1, 2)))


def test_additive_without_its_bias_is_odd():
    Q, K = drawn(7)
    additive, params = part_and_params("additive")
    np.testing.assert_array_equal(params["b"], 0)
    np.testing.assert_allclose(additive.score(-Q, -K, **params), -additive.score(Q, K, **params))
    params["b"] = np.ones(6)
    assert not np.allclose(additive.score(-Q, -K, **params), -additive.score(Q, K, **params), atol=0.1)


@pytest.mark.parametrize("name", ["general", "additive"])
def test_queries_and_keys_may_differ_in_dimension(name):
    rng = np.random.default_rng(0)
    part = get("similarity", name)
    params = part.init(rng, d_query=3, d_key=6)
    assert part.score(rng.normal(size=(2, 3)), rng.normal(size=(4, 6)), **params).shape == (2, 4)


@pytest.mark.parametrize("name", ["general", "additive"])
def test_starting_scores_are_of_order_one_at_any_dimension(name):
    for d in (8, 256):
        Q, K = drawn(8, 30, d=d)
        part, params = part_and_params(name, d=d)
        assert 0.1 < part.score(Q, K, **params).std() < (3 if name == "additive" else 3 * math.sqrt(d))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cosine", {"temperature": 0.0}, "temperature must be"),
        ("cosine", {"temperature": "lerned"}, "did you mean learned"),
        ("neg_l2", {"sigma": -1.0}, "sigma must be float, > 0; got -1.0"),
        ("neg_l2", {"sigma": float("nan")}, "sigma must be float, > 0; got nan"),
        ("neg_l2", {"sigma": float("inf")}, "sigma must be float, > 0; got inf"),
        ("additive", {"hidden": 0}, "hidden must be int, > 0; got 0"),
        ("additive", {"hiden": 4}, "has no setting 'hiden' \\(did you mean hidden\\?\\); it has hidden"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, message):
    with pytest.raises(SettingError, match=message):
        get("similarity", name, **settings)
