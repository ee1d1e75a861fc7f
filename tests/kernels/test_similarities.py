"""The matrix-product twin of neg_l2 has its values and gradients."""

import autograd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab import namespace
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
