"""The matrix-product twin of neg_l2 has its values and gradients; the loops of `additive` have its values for any width."""

import autograd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab import AttentionRegressor, get, namespace
from attnlab.kernels.products import AdditiveLoops
from attnlab.kernels.similarities import FastNegL2, fast_similarity
from attnlab.parts.similarities import Dot, NegL2


@settings(max_examples=30)
@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.integers(1, 7),
    st.integers(1, 5),
    st.floats(0.2, 5),
    st.floats(-1e4, 1e4),
)
def test_values_and_gradients_are_those_of_the_reference(seed, q, k, d, sigma, offset):
    rng = np.random.default_rng(seed)
    Q, K, weight = rng.normal(size=(2, q, d)) + offset, rng.normal(size=(2, k, d)) + offset, rng.normal(size=(2, q, k))
    slow, fast = NegL2(sigma), FastNegL2(sigma)
    np.testing.assert_allclose(fast.score(Q, K), slow.score(Q, K), rtol=1e-7, atol=1e-9 / sigma**2)
    for argument in (0, 1):
        grads = [
            autograd.grad(lambda *a, part=part: namespace(a[0]).sum(part.score(*a) * weight), argument)(Q, K)
            for part in (slow, fast)
        ]
        np.testing.assert_allclose(grads[1], grads[0], rtol=1e-6, atol=1e-8 / sigma**2)


FAR = {  # queries and keys whose squares are far larger than their distances
    "unix times": lambda rng: np.concatenate([np.zeros((1, 1)), 1.7e9 + np.arange(10.0)[:, None]]),
    "two clusters": lambda rng: rng.normal(size=(40, 3)) + 1e8 * (rng.random((40, 1)) < 0.5),
    "one far off": lambda rng: np.concatenate([rng.normal(size=(30, 2)), [[1e15, 0.0]], [[1e15, 1.0]]]),
    "many widths": lambda rng: 1e4 * rng.random((50, 1)),
    "beyond all": lambda rng: np.concatenate([rng.normal(size=(5, 2)), [[1e200, 1e200]]]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FAR)
def test_what_would_cancel_is_scored_by_the_reference(name, dtype):
    if dtype == np.float32 and name == "beyond all":
        return
    rng = np.random.default_rng(0)
    X = FAR[name](rng).astype(dtype)
    Q, slow, fast = X[rng.permutation(len(X))[:7]], NegL2(0.3), FastNegL2(0.3)
    with np.errstate(over="ignore", invalid="ignore"):
        right, found = slow.score(Q, X), fast.score(Q, X)
    assert found.dtype == dtype
    relative, absolute = (1e-5, 2e-3) if dtype == np.float32 else (1e-12, 1e-7)
    np.testing.assert_allclose(found, right, rtol=relative, atol=absolute)
    if name == "beyond all":
        return
    R = rng.normal(size=right.shape).astype(dtype) / np.maximum(1, abs(right))
    for argument in (0, 1):
        slow_g, fast_g = (
            autograd.grad(lambda *a, part=part: namespace(a[0]).sum(part.score(*a) * R), argument)(Q, X)
            for part in (slow, fast)
        )
        assert fast_g.dtype == dtype
        np.testing.assert_allclose(fast_g, slow_g, rtol=1e-3, atol=1e-3 * abs(slow_g).max())


def test_the_estimator_tells_the_seconds_of_unix_times_apart():
    X = np.concatenate([[[0.0]], 1.7e9 + np.arange(10.0)[:, None]])
    model = AttentionRegressor({"neg_l2": {"sigma": 0.3}}, n_neighbors=None, standardise=False).fit(X, np.arange(11.0))
    np.testing.assert_allclose(model.predict(X), np.arange(11.0), atol=0.01)


def test_float32_stays_and_is_close():
    rng = np.random.default_rng(3)
    Q, K = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(9, 8)).astype(np.float32)
    S = FastNegL2(0.7).score(Q, K)
    assert S.dtype == np.float32
    np.testing.assert_allclose(S, NegL2(0.7).score(Q, K), rtol=1e-4, atol=1e-4)


def test_only_the_part_itself_has_the_twin():
    assert fast_similarity(NegL2(3.0)).sigma == 3.0
    assert fast_similarity(Dot()) is None


@pytest.mark.parametrize("d", [1, 4])
def test_it_needs_no_array_of_queries_times_keys_times_features(d):
    import tracemalloc

    Q = np.ones((300, d * 20))
    tracemalloc.start()
    FastNegL2().score(Q, Q)
    assert tracemalloc.get_traced_memory()[1] < 4 * 300 * 300 * 8
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["additive", "cosine", "neg_l2", "diag_mahalanobis"])
def test_a_mask_with_more_examples_than_queries_and_keys(name):
    """Scores are then broadcast, whatever answered: the twin of `additive` is a function, which no part owns."""
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    M = rng.random((2, 2, 3, 5)) < 0.7
    found = attnlab.attend(Q, K, V, name, mask=M, rng=0)
    np.testing.assert_allclose(found, attnlab.attend(Q + np.zeros((2, 2, 1, 1)), K, V, name, mask=M, rng=0), atol=1e-12)


@pytest.mark.parametrize("hidden", [8, 24, 64])
def test_additive_scores_of_any_width_are_those_of_the_part(hidden):
    part = get("similarity", "additive", hidden=hidden)
    learned = {name: np.asarray(a, np.float32) for name, a in part.init(np.random.default_rng(0), 5, 6).items()}
    rng = np.random.default_rng(1)
    Q, K = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 5), (2, 11, 6)))
    kernel = AdditiveLoops()
    P, _ = kernel.prepare(part, K, learned["Wk"], learned["b"])
    S, _ = kernel.score(part, Q, P, learned["Wq"], learned["v"], frozenset())
    np.testing.assert_allclose(S, part.score(Q, K, **learned), rtol=1e-5, atol=1e-6)
