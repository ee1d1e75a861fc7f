"""Normalisers: golden vectors, independent derivations, laws, gradients, extremes."""

from __future__ import annotations

import itertools
import math

import autograd
import numpy as np
import pytest
from autograd.test_util import check_grads
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, special

import attnlab
from attnlab import SettingError, attention_weights, call, get

EACH = [
    ("softmax", {}),
    ("softmax", {"temperature": 0.3}),
    ("softmax_n", {}),
    ("softmax_n", {"n0": 0.0}),
    ("logn_softmax", {"scale": 0.43}),
    ("sparsemax", {}),
    ("entmax", {}),
    ("entmax", {"alpha": 1.0}),
    ("entmax", {"alpha": 1.33}),
    ("entmax", {"alpha": 2.0}),
    ("entmax", {"alpha": 3.0}),
    ("sigmoid", {}),
    ("sigmoid", {"minus_log_n": False}),
    ("hardmax", {}),
]
each = pytest.mark.parametrize(("name", "settings"), EACH, ids=lambda v: v if isinstance(v, str) else str(v))
scores = arrays(np.float64, st.integers(1, 7), elements=st.floats(-8, 8, width=32))


def weights(S, name, **settings):
    """The normaliser alone, every key allowed."""
    S = np.asarray(S, dtype=float) if not hasattr(S, "_value") else S
    part = get("normaliser", name, **settings)
    everything = np.ones((1,) * S.ndim, dtype=bool)
    return call(part, "normalise", S=S, mask=everything, n_allowed=np.full((1,) * S.ndim, float(S.shape[-1])))


def test_every_built_in_is_here():
    assert {name for name, _ in EACH} <= set(attnlab.names("normaliser"))


# -- golden vectors: catalogue 4.3 -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "settings", "S", "W"),
    [
        ("softmax", {}, [-2, 0, 0.5], [0.0486, 0.3592, 0.5922]),
        ("sparsemax", {}, [-2, 0, 0.5], [0, 0.25, 0.75]),
        ("entmax", {}, [-2, 0, 0.5], [0, 0.3260, 0.6740]),
        ("entmax", {"alpha": 1.33}, [-1, 0, 0.5], [0.0460, 0.3276, 0.6264]),
        ("hardmax", {}, [-2, 0, 0.5], [0, 0, 1]),
        ("hardmax", {}, [1, 3, 3], [0, 1, 0]),
        ("sigmoid", {"minus_log_n": False}, [-2, 0, 0.5], [0.1192, 0.5, 0.6225]),
        ("sigmoid", {}, [math.log(3), 0, -1000], [0.5, 0.25, 0]),
    ],
)
def test_golden_vectors(name, settings, S, W):
    np.testing.assert_allclose(weights(S, name, **settings), W, atol=5e-5)


def test_softmax1_abstains():
    assert weights([-10.0] * 8, "softmax_n").sum() == pytest.approx(3.63e-4, abs=5e-7)
    assert weights([-10.0] * 8, "softmax").sum() == pytest.approx(1)
    np.testing.assert_allclose(weights([1.0, 2.0], "softmax_n", n0=0.0), weights([1.0, 2.0], "softmax"), rtol=1e-15)
    S = np.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(weights(S, "softmax_n", n0=2.5), np.exp(S) / (2.5 + np.exp(S).sum()), rtol=1e-14)


# -- independent derivations -----------------------------------------------------------------------------------------
def projection_by_enumeration(s):
    """The point of the simplex nearest to s: of all supports the one that fulfils the conditions of optimality."""
    best, distance = None, np.inf
    for size in range(1, len(s) + 1):
        for support in itertools.combinations(range(len(s)), size):
            at = list(support)
            w = np.zeros(len(s))
            w[at] = s[at] - (s[at].sum() - 1) / size
            if w.min() >= 0 and ((w - s) ** 2).sum() < distance:
                best, distance = w, ((w - s) ** 2).sum()
    return best


@given(scores)
def test_sparsemax_is_the_projection_onto_the_simplex(s):
    np.testing.assert_allclose(weights(s, "sparsemax"), projection_by_enumeration(s), atol=1e-12)


def tsallis(w, alpha):
    return np.sum(w - w**alpha) / (alpha * (alpha - 1))


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8, 2.5])
def test_entmax_maximises_its_objective(alpha):
    for seed in range(3):
        s = np.random.default_rng(seed).normal(size=5)
        found = optimize.minimize(
            lambda w, s=s: -(w @ s) - tsallis(np.maximum(w, 0), alpha),
            np.full(5, 0.2),
            bounds=[(0, 1)] * 5,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(weights(s, "entmax", alpha=alpha), found.x, atol=1e-5)


@given(scores, st.floats(1.05, 4))
def test_entmax_is_the_root_of_its_threshold_equation(s, alpha):
    z = (alpha - 1) * (s - s.max())

    def w(tau):
        return np.maximum(z - tau, 0) ** (1 / (alpha - 1))

    tau = optimize.brentq(lambda tau: w(tau).sum() - 1, -1.0, 0.0, xtol=1e-15) if len(s) > 1 else -1.0
    np.testing.assert_allclose(weights(s, "entmax", alpha=alpha), w(tau) / w(tau).sum(), atol=1e-7)


def by_bisection(s, alpha):
    """tau by plain bisection of the paper's equation, in float64: slow, and good for alpha up to 2, where tau is not tiny."""
    z = (alpha - 1) * (s.astype(np.float64) - s.max())
    low, high = -1.0, 0.0
    for _ in range(200):
        middle = (low + high) / 2
        enough = (np.maximum(z - middle, 0) ** (1 / (alpha - 1))).sum() >= 1
        low, high = (middle, high) if enough else (low, middle)
    w = np.maximum(z - low, 0) ** (1 / (alpha - 1))
    return w / w.sum()


@given(
    alpha=st.one_of(st.floats(1, 50), st.sampled_from([1.0001, 1.5, 2, 3, 4, 5, 8, 20, 50])),
    n=st.one_of(st.integers(1, 40), st.sampled_from([1024, 4096])),
    levels=st.lists(st.one_of(st.floats(-3, 3, width=32), st.sampled_from([0.0, 1e-6, -1e-5])), min_size=1, max_size=5),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_entmax_of_ties_and_near_ties(alpha, n, levels, dtype, seed):
    """Any allowed alpha: finite, a distribution, in order, and a solution of the paper's equation."""
    s = np.random.default_rng(seed).choice(np.array(levels, dtype=dtype), size=n)
    part = get("normaliser", "entmax", alpha=alpha)
    w = part.normalise(s)
    g = autograd.grad(lambda s: (part.normalise(s) ** 2).sum())(s)
    assert w.dtype == g.dtype == dtype
    assert np.isfinite(w).all()
    assert np.isfinite(g).all()
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(w.sum(dtype=np.float64), 1, rtol=40 * eps)
    assert (np.diff(w[np.argsort(s, kind="stable")]) >= 0).all()
    if alpha == 1:
        return
    w, tolerance = w.astype(np.float64), 500 * eps  # w^(alpha-1) = m^(alpha-1) - gap where there is weight, else <= 0
    unit = w.max() ** (alpha - 1)
    gap = (alpha - 1) * (s.max().astype(np.float64) - s)
    np.testing.assert_allclose(w ** (alpha - 1) / unit * (w > 0), np.maximum(1 - gap / unit, 0), atol=tolerance)
    if 1.001 < alpha <= 2:
        np.testing.assert_allclose(w, by_bisection(s, alpha), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [1.01, 1.5, 2.0, 4.0, 8.0, 50.0])
def test_entmax_of_equal_scores_is_uniform(alpha, dtype):
    for n in (1, 2, 32, 1024, 4096):
        w = get("normaliser", "entmax", alpha=alpha).normalise(np.full((2, n), 0.25, dtype=dtype))
        np.testing.assert_allclose(w, np.full((2, n), 1 / n), rtol=1e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("alpha", [2.5, 6.0, 8.0])
def test_the_gradient_of_entmax_next_to_a_tiny_weight(alpha):
    """Two keys, the second nearly out: dw_1 = -dw_2 = (ds_1 - ds_2) u_1 u_2 / (u_1 + u_2), although u_2 is enormous."""
    small = 1e-3
    gap = ((1 - small) ** (alpha - 1) - small ** (alpha - 1)) / (alpha - 1)
    s = np.array([gap, 0.0])
    W, J = weights(s, "entmax", alpha=alpha), autograd.jacobian(lambda s: weights(s, "entmax", alpha=alpha))(s)
    np.testing.assert_allclose(W, [1 - small, small], rtol=1e-9)
    steep = 1 / (W[0] ** (alpha - 2) + W[1] ** (alpha - 2))
    np.testing.assert_allclose(J, steep * np.array([[1, -1], [-1, 1]]), rtol=1e-6)


@given(scores)
def test_entmax_at_one_and_two_is_softmax_and_sparsemax(s):
    np.testing.assert_allclose(weights(s, "entmax", alpha=1.0), weights(s, "softmax"), atol=1e-14)
    np.testing.assert_allclose(weights(s, "entmax", alpha=2.0), weights(s, "sparsemax"), atol=1e-12)
    np.testing.assert_allclose(weights(s, "entmax", alpha=1.0001), weights(s, "softmax"), atol=1e-2)


# -- the literature's numbers ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [16, 4096])
@pytest.mark.parametrize(
    ("name", "settings", "margin"), [("sparsemax", {}, 1.0), ("entmax", {}, 2.0), ("entmax", {"alpha": 1.25}, 4.0)]
)
def test_sparse_ones_saturate_at_their_margin(n, name, settings, margin):
    """Catalogue L9: exactly 1.0 once the top score leads by 1 / (alpha - 1), however many keys there are."""
    S = np.zeros(n)
    S[3] = margin
    W = weights(S, name, **settings)
    assert W[3] == 1.0
    assert W.sum() == 1.0
    S[3] = margin - 0.01
    assert weights(S, name, **settings)[3] < 1.0


@pytest.mark.parametrize(("n", "heaviest"), [(16, 0.908), (64, 0.702), (256, 0.368), (1024, 0.127), (4096, 0.035)])
def test_softmax_disperses_and_logn_does_not(n, heaviest):
    """Catalogue L19, the best key leading by 5."""
    K = np.zeros((n, 1))
    K[0] = 1
    Q = np.array([[5.0]])
    soft = attention_weights(Q, K, similarity="dot")[0, 0]
    assert soft == pytest.approx(1 / (1 + (n - 1) * math.exp(-5)), rel=1e-12)
    assert soft == pytest.approx(heaviest, abs=6e-4)
    scaled = attention_weights(Q, K, similarity="dot", normaliser={"logn_softmax": {"scale": 0.43}})[0, 0]
    assert 0.96 <= scaled <= 0.99995
    assert scaled > soft


@pytest.mark.parametrize("n", [10, 1000])
def test_sigmoid_minus_log_n_keeps_the_sum_near_one(n):
    S = np.random.default_rng(n).normal(size=(200, n)) * 0.5
    assert weights(S, "sigmoid").sum(axis=-1).mean() == pytest.approx(1, abs=0.15)
    assert weights(S, "sigmoid", minus_log_n=False).sum(axis=-1).mean() == pytest.approx(n / 2, rel=0.05)
    np.testing.assert_allclose(weights(S, "sigmoid"), special.expit(S - math.log(n)), rtol=1e-12)


# -- laws --------------------------------------------------------------------------------------------------------------
@each
@given(s=scores)
def test_weights_are_what_the_class_declares(name, settings, s):
    part = get("normaliser", name, **settings)
    W = weights(s, name, **settings)
    assert W.shape == s.shape
    assert (W >= 0).all()
    assert W.sum() <= len(s) + 1e-9
    if part.rows_sum_to_one:
        assert W.sum() == pytest.approx(1, abs=1e-12)


@each
@given(s=scores, by=st.floats(-50, 50))
def test_shift_invariance(name, settings, s, by):
    if get("normaliser", name, **settings).shift_invariant:
        assume(name != "hardmax" or np.ptp(s) == 0 or np.min(np.diff(np.unique(s))) > 1e-6)
        np.testing.assert_allclose(weights(s + by, name, **settings), weights(s, name, **settings), atol=1e-9)


@each
@given(s=scores)
def test_a_higher_score_never_gets_less(name, settings, s):
    W = weights(s, name, **settings)[np.argsort(s, kind="stable")]
    if name == "hardmax":  # of equal scores the first
        assert s[np.argmax(weights(s, name))] == s.max()
    else:
        assert (np.diff(W) >= -1e-12).all()


@each
@given(s=scores, data=st.data())
def test_permuting_scores_permutes_weights(name, settings, s, data):
    assume(name != "hardmax" or len(np.unique(s)) == len(s))
    order = np.array(data.draw(st.permutations(range(len(s)))), dtype=int)
    np.testing.assert_allclose(
        weights(s[order], name, **settings), weights(s, name, **settings)[order], rtol=1e-9, atol=1e-12
    )


@given(scores)
def test_softmax_at_the_ends_of_temperature(s):
    np.testing.assert_allclose(weights(s, "softmax", temperature=1e6), np.full(len(s), 1 / len(s)), atol=1e-4)
    top = s == s.max()
    assume(np.ptp(s) == 0 or np.diff(np.unique(s))[-1] > 0.01)
    np.testing.assert_allclose(weights(s, "softmax", temperature=1e-4), top / top.sum(), atol=1e-12)


@each
def test_one_key(name, settings):
    W = weights([[3.0], [-40.0]], name, **settings)
    if get("normaliser", name, **settings).rows_sum_to_one:
        np.testing.assert_array_equal(W, 1)


def test_ties_at_the_border_of_sparsemax_part_nobody():
    """Equal scores that stand exactly at the threshold are in or out together, whatever rounding says."""
    rng = np.random.default_rng(0)
    for m, n in itertools.product(range(1, 5), range(2, 8)):
        top = 0.3 / m * rng.normal(size=(200, m))
        top -= top.max(axis=-1, keepdims=True)
        border = (top.sum(axis=-1, keepdims=True) - 1) / m
        W = weights(np.concatenate([top, *[border] * n], axis=-1), "sparsemax")
        np.testing.assert_allclose(W.sum(axis=-1), 1, atol=1e-12)
        np.testing.assert_allclose(W[:, m:], 0, atol=1e-12)


# -- gradients and extremes ------------------------------------------------------------------------------------------
@each
def test_gradients_are_those_of_finite_differences(name, settings):
    if not get("normaliser", name, **settings).differentiable:
        pytest.skip("declared not differentiable")
    for seed in range(3):
        rng = np.random.default_rng(seed)
        S, g = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5))
        check_grads(lambda S, g=g: weights(S, name, **settings) * g, modes=["rev"], order=1)(S)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0])
def test_the_jacobian_of_entmax_is_the_papers(alpha):
    """Peters et al. 2019, proposition 2: diag(u) - u u' / sum(u) with u = w^(2 - alpha) on the support."""
    s = np.random.default_rng(1).normal(size=6)
    W = weights(s, "entmax", alpha=alpha)
    u = np.where(W > 0, np.where(W > 0, W, 1) ** (2 - alpha), 0)
    found = autograd.jacobian(lambda s: weights(s, "entmax", alpha=alpha))(s)
    np.testing.assert_allclose(found, np.diag(u) - np.outer(u, u) / u.sum(), atol=1e-9)


def test_hardmax_has_the_gradient_of_softmax():
    s, g = np.random.default_rng(0).normal(size=(2, 6))
    hard = autograd.grad(lambda s: (weights(s, "hardmax") * g).sum())(s)
    np.testing.assert_allclose(hard, autograd.grad(lambda s: (weights(s, "softmax") * g).sum())(s), rtol=1e-14)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_ten_thousand(name, settings, dtype):
    rng = np.random.default_rng(0)
    S = rng.choice([-1e4, -1.0, 0.0, 1.0, 1e4], size=(20, 6)).astype(dtype)
    S[0] = -1e4
    K = np.eye(6, dtype=dtype)  # scores S themselves, through the engine
    with np.errstate(all="raise", under="ignore"):
        W = attention_weights(S, K, similarity="dot", normaliser={name: settings})
        g = autograd.grad(
            lambda S: (attention_weights(S, K, similarity="dot", normaliser={name: settings}) ** 2).sum()
        )(S)
    assert W.dtype == g.dtype == dtype
    assert np.isfinite(W).all()
    assert np.isfinite(g).all()
    if get("normaliser", name, **settings).rows_sum_to_one:
        np.testing.assert_allclose(W.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "settings"), [*EACH, ("entmax", {"alpha": 8.0}), ("monotonic", {})], ids=lambda v: str(v)
)
def test_nan_stays_nan_and_a_forbidden_one_does_nothing(name, settings, dtype):
    """NaN in an allowed score is NaN in its row; where the mask forbids it, in part or wholly, it is as if it were not."""
    part, K = {name: settings}, np.eye(6, dtype=dtype)
    S = np.random.default_rng(3).normal(size=(3, 6)).astype(dtype)
    everything = attention_weights(np.full((2, 6), np.nan, dtype=dtype), K, similarity="dot", normaliser=part)
    assert np.isnan(everything).any(axis=-1).all()

    spoilt, mask = S.copy(), np.ones((3, 6), dtype=bool)
    spoilt[-1, 2] = np.nan
    W = attention_weights(spoilt, K, similarity=Table(spoilt), normaliser=part)
    assert np.isnan(W[-1]).any()
    np.testing.assert_array_equal(W[:-1], attention_weights(S, K, similarity=Table(S), normaliser=part)[:-1])

    mask[-1, 2] = False
    hidden = attention_weights(spoilt, K, similarity=Table(spoilt), normaliser=part, mask=mask)
    np.testing.assert_array_equal(hidden, attention_weights(S, K, similarity=Table(S), normaliser=part, mask=mask))
    mask[-1] = False
    assert (attention_weights(spoilt, K, similarity=Table(spoilt), normaliser=part, mask=mask)[-1] == 0).all()


class Table(attnlab.Similarity):
    """Scores as they are given, for these queries."""

    name = "table"

    def __init__(self, scores):
        self.scores = scores

    def score(self, Q, K, q_index):
        return self.scores[q_index]


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinite_score_has_all_the_weight(name, settings, dtype):
    """The limit of scores that grow together: they share what there is, and of the others the sigmoid alone leaves any."""
    part = get("normaliser", name, **settings)

    def of(S):
        count = np.array([[float(S.shape[-1])]], dtype=dtype)
        return call(part, "normalise", S=S, mask=np.isfinite(S) | (S > 0), n_allowed=count)

    one, two, rest = (np.array([row], dtype=dtype) for row in ([np.inf, 1, 2], [-np.inf, np.inf, 0, np.inf], [1, 2, 0]))
    if name == "sigmoid":
        np.testing.assert_array_equal(of(two)[0, [0, 1, 3]], [0, 1, 1])
        np.testing.assert_array_equal(of(one)[:, 1:], of(np.array([[9, 1, 2]], dtype=dtype))[:, 1:])
        return
    np.testing.assert_array_equal(of(one), [[1, 0, 0]])
    np.testing.assert_array_equal(
        of(two), [[0, 1, 0, 0 if name == "hardmax" else 1]] / np.array(1 if name == "hardmax" else 2)
    )
    both = of(np.concatenate([one, rest]))
    np.testing.assert_array_equal(both, np.concatenate([of(one), of(rest)]))  # other rows are as they are alone
    assert both.dtype == dtype
    for row in (one, two):
        assert not autograd.grad(lambda S: (of(S) * np.arange(S.shape[-1])).sum())(row).any()


@each
def test_strides_do_not_matter(name, settings):
    S = np.random.default_rng(0).normal(size=(4, 12))
    np.testing.assert_array_equal(weights(S[:, ::2], name, **settings), weights(S[:, ::2].copy(), name, **settings))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("softmax", {"temperature": 0}, "temperature must be float, > 0; got 0"),
        ("softmax", {"temperature": "hot"}, "temperature must be float, > 0; got 'hot'"),
        ("softmax", {"temperature": math.inf}, "temperature must be float, > 0; got inf"),
        ("entmax", {"alpha": 0.99}, "alpha must be float, >= 1 or 'learned'; got 0.99"),
        ("softmax_n", {"n0": -1}, "n0 must be float, >= 0; got -1"),
        ("sigmoid", {"minus_log_n": "no"}, "minus_log_n must be bool; got 'no'"),
        ("sparsemax", {"alpha": 2}, "'sparsemax' has no setting 'alpha'; it has none"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, message):
    with pytest.raises(SettingError, match=message):
        get("normaliser", name, **settings)
