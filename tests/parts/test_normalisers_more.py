"""Normalisers of recent papers: published values, independent derivations, extremes, refusals."""

from __future__ import annotations

import itertools
import math

import autograd
import numpy as np
import pytest
from autograd.test_util import check_grads
from scipy import optimize, special

import attnlab
from attnlab import Mechanism, NotInitialised, Unsupported, call, get

X = [-2.0, 0.0, 0.5]
EACH = [
    ("sink_softmax", {}),
    ("softpick", {}),
    ("relu_over_n", {}),
    ("relu_over_n", {"power": 2}),
    ("relu_over_n", {"exponent": 0.5}),
    ("stick_breaking", {}),
    ("cog", {}),
    ("identity", {}),
    ("l1", {}),
    ("compact_kernel", {}),
    ("compact_kernel", {"kernel": "boxcar"}),
    ("compact_kernel", {"kernel": "triangular"}),
    ("adaptive_temperature", {}),
    ("topk_softmax", {}),
    ("gumbel", {}),
    ("stieltjes", {}),
    ("stieltjes", {"q": 4.0}),
]
each = pytest.mark.parametrize(("name", "settings"), EACH, ids=lambda v: v if isinstance(v, str) else str(v))


def weights(S, name, mask=None, params=None, **settings):
    part = get("normaliser", name, **settings)
    if params is None and part.init is not None:
        params = part.init()
    return attnlab.normalise(S if hasattr(S, "_value") else np.atleast_2d(S), part, mask, params)


def scores(rng, name, size):
    S = rng.normal(size=size)
    return np.abs(S) if get("normaliser", name).nonnegative_scores else S


# -- published values -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "settings", "W"),
    [
        ("sink_softmax", {}, [0.0357646, 0.2642667, 0.4357021]),
        ("softpick", {}, [0, 0, 0.4286555]),
        ("relu_over_n", {}, [0, 0, 0.1666667]),
        ("relu_over_n", {"power": 2}, [0, 0, 0.0833333]),
        ("relu_over_n", {"exponent": 0.0}, [0, 0, 0.5]),
        ("relu_over_n", {"power": 2, "exponent": 0.5}, [0, 0, 0.1443376]),
        ("logn_softmax", {}, [0.0390801, 0.3517211, 0.6091988]),
        ("stick_breaking", {}, [0.0225020, 0.1887703, 0.6224593]),
        ("topk_softmax", {"k": 2}, [0, 0.3775407, 0.6224593]),
        ("stieltjes", {"q": 1.0}, [0.2083021, 0.3570512, 0.4346467]),
        ("stieltjes", {"q": 4.0}, [0.0062919, 0.1729697, 0.8207385]),
        ("cog", {}, [-0.7361247, 0, 0.1642516]),
        ("identity", {}, X),
        ("compact_kernel", {"kernel": "epanechnikov"}, [0, 1 / 1.75, 0.75 / 1.75]),
    ],
)
def test_golden_vectors(name, settings, W):
    np.testing.assert_allclose(weights(X, name, **settings)[0], W, atol=6e-8)


def test_adaptive_temperature_sharpens_at_prediction_alone():
    S = np.where(np.arange(64) == 0, 3.0, 0.0)
    assert weights(S, "adaptive_temperature")[0, 0] == pytest.approx(0.947258, abs=5e-7)
    H = special.entr(special.softmax(S)).sum()
    assert pytest.approx(3.694635, abs=5e-7) == H
    beta = np.polyval([-0.037, 0.481, -2.3, 4.917, -1.791], H)
    assert beta == pytest.approx(2.343766, abs=5e-7)
    np.testing.assert_allclose(weights(S, "adaptive_temperature")[0], special.softmax(beta * S), rtol=1e-10)
    part = get("normaliser", "adaptive_temperature")
    trained = call(part, "normalise", S=S[None], mask=np.ones((1, 64), bool), training=True)
    np.testing.assert_allclose(trained[0], special.softmax(S), rtol=1e-14)
    for flat in (np.zeros(400), np.array([5.0, 0.0])):  # H = 5.99, from where the polynomial is below 1; H < 0.5
        np.testing.assert_allclose(weights(flat, "adaptive_temperature")[0], special.softmax(flat), rtol=1e-14)


# -- independent derivations -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_by_another_way(seed):
    """Each formula once more, without what keeps numbers in range."""
    rng = np.random.default_rng(seed)
    s = 2 * rng.normal(size=7)
    e = np.exp(s)
    b = rng.normal()
    np.testing.assert_allclose(
        weights(s, "sink_softmax", params={"b": np.asarray(b)})[0], special.softmax([*s, b])[:-1], rtol=1e-12
    )
    np.testing.assert_allclose(
        weights(s, "softpick")[0], np.maximum(e - 1, 0) / (np.abs(e - 1).sum() + 1e-8), rtol=1e-10
    )
    p = special.expit(s)
    sticks = [p[j] * np.prod(1 - p[j + 1 :]) for j in range(7)]
    np.testing.assert_allclose(weights(s, "stick_breaking")[0], sticks, rtol=1e-12)
    np.testing.assert_allclose(weights(s, "stick_breaking").sum(), 1 - np.prod(1 - p), rtol=1e-12)
    best = sorted(s)[-3:]
    np.testing.assert_allclose(
        weights(s, "topk_softmax", k=3)[0], np.where(s >= best[0], e / np.exp(best).sum(), 0), rtol=1e-12
    )
    for q in (0.5, 1.0, 4.0, 16.0):
        lam = optimize.brentq(lambda lam, q=q: ((lam - s) ** -q).sum() - 1, s.max() + 0.9, s.max() + 60, xtol=1e-14)
        np.testing.assert_allclose(weights(s, "stieltjes", q=q)[0], (lam - s) ** -q, rtol=1e-8)
    np.testing.assert_allclose(weights(s, "gumbel", temperature=0.7)[0], special.softmax(s / 0.7), rtol=1e-12)
    np.testing.assert_allclose(weights(s, "cog")[0], np.sign(s) * special.softmax(np.abs(s)), rtol=1e-12)


def test_gumbel_samples_as_often_as_softmax_weighs():
    part = get("normaliser", "gumbel", temperature=0.1, hard=True)
    s = np.array([[0.0, 1.0, -1.0]])
    S = np.broadcast_to(s, (20000, 3))
    W = part.normalise(S, training=True, rng=np.random.default_rng(0))
    assert (np.sort(W, axis=-1) == [0, 0, 1]).all()
    np.testing.assert_allclose(W.mean(axis=0), special.softmax(s[0]), atol=0.01)
    for rng, training in ((None, True), (np.random.default_rng(0), False)):
        np.testing.assert_array_equal(part.normalise(s, training=training, rng=rng), [[0, 1, 0]])


def test_stick_breaking_takes_keys_in_the_order_of_their_positions():
    S, part = np.random.default_rng(0).normal(size=(2, 3, 5)), get("normaliser", "stick_breaking")
    everything = np.ones((1, 1), bool)
    plain = part.normalise(S, everything)
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(part.normalise(S[..., order], everything, order), plain[..., order], rtol=1e-12)
    each = np.stack([np.arange(5), order])
    found = part.normalise(np.stack([S[0], S[1][:, order]]), everything, each)
    np.testing.assert_allclose(found, np.stack([plain[0], plain[1][:, order]]), rtol=1e-12)
    assert weights([3.0] * 40, "stick_breaking")[0, -1] > 0.95


def test_topk_lets_ties_in_together():
    np.testing.assert_allclose(weights([1.0, 1.0, 1.0, 0.0], "topk_softmax", k=2)[0], [1 / 3, 1 / 3, 1 / 3, 0])


# -- masks, extremes ----------------------------------------------------------------------------------------------------
@each
def test_a_masked_row_is_the_row_without_the_masked_keys(name, settings):
    rng = np.random.default_rng(1)
    s = scores(rng, name, 6)
    for kept in itertools.chain(itertools.combinations(range(6), 3), itertools.combinations(range(6), 1)):
        mask = np.isin(np.arange(6), kept)[None]
        found = weights(s, name, mask, **settings)[0]
        assert (found[~mask[0]] == 0).all()
        np.testing.assert_allclose(
            found[list(kept)], weights(s[list(kept)], name, **settings)[0], rtol=1e-9, atol=1e-12
        )


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores_are_finite(name, settings, dtype):
    rng = np.random.default_rng(0)
    S = rng.choice([-1e4, -1.0, 0.0, 1.0, 1e4], size=(20, 6)).astype(dtype)
    S[0] = 0.0
    S = np.abs(S) if get("normaliser", name).nonnegative_scores else S
    mechanism = Mechanism("dot", get("normaliser", name, **settings))
    params = mechanism.init(0, 6, 6, 1)
    params["normaliser"] = {n: np.asarray(a, dtype) for n, a in params.get("normaliser", {}).items()}
    mask = rng.random((20, 6)) < 0.7
    for M in (None, mask):
        W = mechanism.weights(params, S, np.eye(6, dtype=dtype), M)
        g = autograd.grad(lambda S, M=M: (mechanism.weights(params, S, np.eye(6, dtype=dtype), M) ** 2).sum())(S)
        assert W.dtype == g.dtype == dtype
        assert np.isfinite(W).all()
        assert np.isfinite(g).all()


@each
def test_gradients_are_those_of_finite_differences(name, settings):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        S, g = scores(rng, name, (3, 5)), rng.normal(size=(3, 5))
        if name == "compact_kernel" and settings.get("kernel") == "boxcar":
            continue
        check_grads(lambda S, g=g: weights(S, name, **settings) * g, modes=["rev"], order=1)(S)


def test_infinite_scores():
    S = np.array([[1.0, np.inf, -3.0, np.inf]])
    for name in ("softpick", "l1", "adaptive_temperature", "gumbel", "stieltjes", "sink_softmax", "topk_softmax"):
        given = np.abs(S) if name == "l1" else S
        if name == "topk_softmax":
            continue  # softmax's own: one infinite score at a time
        np.testing.assert_array_equal(weights(given, name)[0], [0, 0.5, 0, 0.5])
    np.testing.assert_allclose(weights(S, "stick_breaking")[0], [0, 0, 0, 1], atol=1e-12)


# -- refusals ---------------------------------------------------------------------------------------------------------
def test_l1_refuses_scores_of_any_sign():
    with pytest.raises(Unsupported, match=r"none may be negative; got -2: take a similarity that is a kernel"):
        weights(X, "l1")
    mask = np.array([[False, True, True]])
    np.testing.assert_array_equal(weights(X, "l1", mask), [[0, 0, 1]])  # a forbidden score may be anything
    np.testing.assert_array_equal(weights([0.0, 0.0], "l1"), [[0.5, 0.5]])
    assert math.isnan(weights([1.0, math.nan], "l1")[0, 0])


# -- learned settings -----------------------------------------------------------------------------------------------------
def test_a_learned_alpha_starts_at_three_halves_and_stays_in_its_range():
    part = get("normaliser", "entmax", alpha="learned")
    S = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_allclose(part.normalise(S, **part.init()), get("normaliser", "entmax").normalise(S), atol=1e-12)
    np.testing.assert_allclose(part.normalise(np.array([X]), **part.init())[0], [0, 0.3260074, 0.6739926], atol=5e-8)
    for alpha in (1.05, 1.2, 1.33, 2.0, 2.4):
        a = np.asarray(special.logit((alpha - 1) / 1.5))
        fixed = get("normaliser", "entmax", alpha=alpha)
        np.testing.assert_allclose(part.normalise(S, a), fixed.normalise(S), atol=1e-10)
        found, right = (
            autograd.grad(lambda S, f=f: (f(S) ** 2).sum())(S)
            for f in (lambda S, a=a: part.normalise(S, a), fixed.normalise)
        )
        np.testing.assert_allclose(found, right, atol=1e-9)
        up, down = (get("normaliser", "entmax", alpha=alpha + sign * 1e-6).normalise(S) for sign in (1, -1))
        by_alpha = autograd.jacobian(lambda a: part.normalise(S, a))(a) / ((alpha - 1) * (1 - (alpha - 1) / 1.5))
        np.testing.assert_allclose(by_alpha, (up - down) / 2e-6, atol=1e-5)
    for a, alpha in ((-800.0, 1.0), (800.0, 2.5)):
        W = part.normalise(S, np.asarray(a))
        np.testing.assert_allclose(W, get("normaliser", "entmax", alpha=alpha).normalise(S), atol=2e-3)


def test_a_learned_scale_starts_at_one():
    part = get("normaliser", "logn_softmax", scale="learned")
    given = {"S": np.array([X]), "mask": np.ones((1, 3), bool), "n_allowed": np.full((1, 1), 3.0)}
    np.testing.assert_allclose(
        call(part, "normalise", **given, **part.init())[0], [0.0390801, 0.3517211, 0.6091988], atol=6e-8
    )
    found = call(part, "normalise", **given, log_scale=np.log(0.43))
    np.testing.assert_allclose(found[0], special.softmax(0.43 * math.log(3) * np.array(X)), rtol=1e-12)


@pytest.mark.parametrize(("name", "setting"), [("entmax", "alpha"), ("logn_softmax", "scale")])
def test_a_learned_setting_needs_its_array(name, setting):
    with pytest.raises(NotInitialised, match=f"{name} learns its {setting}, and was not given"):
        call(
            get("normaliser", name, **{setting: "learned"}),
            "normalise",
            S=np.array([X]),
            mask=np.ones((1, 3), bool),
            n_allowed=3,
        )


@pytest.mark.parametrize("q", [1e-3, 0.02, 0.1, 1e4])
def test_stieltjes_at_the_ends_of_q(q):
    """The bar lies up to n^(1/q) above the best score, a number that float64 may not have."""
    rng = np.random.default_rng(0)
    for s in (
        rng.normal(size=64),
        np.array([50.0, 0.0, 0.0, -3.0]),
        np.array([1e6, 0.0, 0.0]),
        np.zeros(3),
        np.array([5.0]),
    ):
        w = weights(s, "stieltjes", q=q)[0]
        np.testing.assert_allclose(w.sum(), 1, rtol=1e-12)
        best = w.max()  # w_j = m (1 + gap_j m^(1/q))^-q: with m exact it is exact
        np.testing.assert_allclose(w, best * np.exp(-q * np.log1p((s.max() - s) * best ** (1 / q))), rtol=1e-9)
