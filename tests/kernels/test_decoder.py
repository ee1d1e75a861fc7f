"""FastPreviousState is PreviousState on Mechanism.step: values, weights and every gradient."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab.kernels.decoder import FastPreviousState
from attnlab.models.seq2seq.decoders import Memory, PreviousState
from attnlab.models.training import leaves, rebuild

SIMILARITIES = ["dot", "scaled_dot", "general", {"additive": {"hidden": 3}}]


def drawn(rng, similarity, n, T, m, e, h, d, dtype=np.float64, temperature=1.0):
    mechanism = attnlab.Mechanism(similarity, {"softmax": {"temperature": temperature}})
    decoder = PreviousState(mechanism)
    params = decoder.init(rng, e, h, d)
    params = rebuild(params, [(a + 0.1 * rng.normal(size=a.shape)).astype(dtype) for _, a in leaves(params)])
    E, start, H = (rng.normal(size=s).astype(dtype) for s in ((n, T, e), (n, h), (n, m, d)))
    mask = np.arange(m) < rng.integers(1, m + 1, size=(n, 1))
    return mechanism, params, [E, start, H], mask


def both(decoder, params, arrays, mask, R):
    """Values, weights and the gradients of all inputs and learned arrays."""

    def run(arrays):
        E, start, H, *learned = arrays
        return decoder.run(rebuild(params, learned), E, start, Memory(H, mask, None, None))

    everything = [*arrays, *(a for _, a in leaves(params))]
    SC, W = run(everything)
    return [SC, W, *autograd.grad(lambda a: anp.sum(R * run(a)[0]))(everything)]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SIMILARITIES), st.booleans(), st.integers(1, 5), st.integers(1, 5))
def test_values_and_gradients_are_those_of_the_reference(seed, similarity, masked, T, m):
    rng = np.random.default_rng(seed)
    mechanism, params, arrays, mask = drawn(rng, similarity, 3, T, m, 2, 4, 4, temperature=0.7)
    mask, R = mask if masked else None, rng.normal(size=(3, T, 8))
    fast = both(FastPreviousState(mechanism), params, arrays, mask, R)
    plain = both(PreviousState(mechanism), params, arrays, mask, R)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("similarity", ["general", {"additive": {"hidden": 3}}])
def test_keys_of_another_width_float32_and_strange_layouts(similarity):
    rng = np.random.default_rng(8)
    mechanism, params, arrays, mask = drawn(rng, similarity, 3, 4, 5, 2, 4, 6, np.float32)
    arrays = [np.asfortranarray(a) for a in arrays]
    R = rng.normal(size=(3, 4, 10)).astype(np.float32)
    fast = both(FastPreviousState(mechanism), params, arrays, mask, R)
    for a, b in zip(fast, both(PreviousState(mechanism), params, arrays, mask, R), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=5e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_steps_are_the_whole(similarity):
    rng = np.random.default_rng(9)
    mechanism, params, (E, s, H), mask = drawn(rng, similarity, 3, 4, 5, 2, 4, 4)
    decoder = FastPreviousState(mechanism)
    SC, W = decoder.run(params, E, s, Memory(H, mask, None, None))
    memory = Memory(H, mask, None, None)
    for t in range(4):
        s, c, w, memory = decoder.step(params, E[:, t], s, memory, t)
        np.testing.assert_allclose(np.concatenate([s, c], axis=1), SC[:, t], atol=1e-12)
        np.testing.assert_allclose(w, W[:, t], atol=1e-12)


def test_a_row_without_any_key_gets_zeros_as_from_the_engine():
    rng = np.random.default_rng(10)
    mechanism, params, arrays, mask = drawn(rng, "general", 3, 2, 4, 2, 3, 3)
    mask[1] = False
    R = rng.normal(size=(3, 2, 6))
    fast = both(FastPreviousState(mechanism), params, arrays, mask, R)
    assert np.all(fast[1][1] == 0)
    for a, b in zip(fast, both(PreviousState(mechanism), params, arrays, mask, R), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("masked", [True, False])
def test_scores_beyond_all_numbers_share_the_weight_as_in_the_engine(masked):
    mechanism, params, arrays, mask = drawn(np.random.default_rng(11), "dot", 3, 2, 4, 2, 3, 3)
    arrays[1], arrays[2] = arrays[1] * 1e200, arrays[2] * 1e200
    E, start, H = arrays
    memory = Memory(H, mask if masked else None, None, None)
    with np.errstate(over="ignore", invalid="ignore"):
        fast, plain = (d(mechanism).run(params, E[:, :1], start, memory)[1] for d in (FastPreviousState, PreviousState))
    assert np.isin(fast, [0, 1, 1 / 2, 1 / 3, 1 / 4]).all()
    np.testing.assert_array_equal(fast, plain)


def test_only_what_it_can_do_is_supported():
    yes = [attnlab.Mechanism(s) for s in SIMILARITIES]
    no = [
        attnlab.Mechanism("cosine"),
        attnlab.Mechanism("dot", "sparsemax"),
        attnlab.Mechanism("dot", position="sinusoidal"),
        attnlab.Mechanism("dot", aggregator="gather"),
        attnlab.Mechanism("dot", mask="causal"),
        attnlab.Mechanism("location_aware"),
    ]
    assert all(FastPreviousState.fits(m) for m in yes)
    assert not any(FastPreviousState.fits(m) for m in no)


def test_widths_that_cannot_be_compared_are_refused():
    rng = np.random.default_rng(0)
    mechanism, params, (E, start, H), mask = drawn(rng, "dot", 2, 3, 4, 2, 4, 5)
    with pytest.raises(attnlab.ShapeError, match="axis 'd' disagrees"):
        FastPreviousState(mechanism).run(params, E, start, Memory(H, mask, None, None))
