"""FastGru is Gru: values, every gradient, masks, layouts, dtypes; and both are PyTorch's GRU."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.kernels.gru import FastGru
from attnlab.models.seq2seq.recurrence import Gru

NAMES = ("Wi", "Wh", "bi", "bh")


def drawn(rng, n, m, d, h, dtype=np.float64):
    """X, start, the four learned arrays, and a ragged mask."""
    learned = [
        (a + 0.1 * rng.normal(size=a.shape)).astype(dtype) for a in (Gru().init(rng, d, h)[name] for name in NAMES)
    ]
    X, start = rng.normal(size=(n, m, d)).astype(dtype), rng.normal(size=(n, h)).astype(dtype)
    mask = np.arange(m) < rng.integers(0, m + 1, size=(n, 1))
    return [X, start, *learned], mask


def gradients(gru, arrays, mask, R):
    def loss(a):
        return anp.sum(R * gru.run(a[0], a[1], mask, *a[2:]))

    return autograd.grad(loss)(arrays)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5))
def test_the_fast_gru_has_the_values_and_gradients_of_the_reference(seed, n, m, d, h):
    rng = np.random.default_rng(seed)
    arrays, mask = drawn(rng, n, m, d, h)
    R = rng.normal(size=(n, m, h))
    for M in (None, mask, rng.random((n, m)) < 0.5):  # none, ragged, with holes
        np.testing.assert_allclose(
            FastGru().run(*arrays[:2], M, *arrays[2:]), Gru().run(*arrays[:2], M, *arrays[2:]), atol=1e-12
        )
        for fast, plain in zip(gradients(FastGru(), arrays, M, R), gradients(Gru(), arrays, M, R), strict=True):
            np.testing.assert_allclose(fast, plain, atol=1e-11)


def test_one_step_has_the_value_and_gradients_of_the_reference():
    rng = np.random.default_rng(3)
    (X, start, *learned), _ = drawn(rng, 4, 1, 3, 5)
    arrays, R = [X[:, 0], start, *learned], rng.normal(size=(4, 5))

    def of(gru):
        return gru.step(*arrays), autograd.grad(lambda a: anp.sum(R * gru.step(*a)))(arrays)

    for fast, plain in zip([of(FastGru())[0], *of(FastGru())[1]], [of(Gru())[0], *of(Gru())[1]], strict=True):
        np.testing.assert_allclose(fast, plain, atol=1e-12)


def test_float32_stays_and_agrees():
    rng = np.random.default_rng(1)
    arrays, mask = drawn(rng, 5, 7, 4, 6, np.float32)
    R = rng.normal(size=(5, 7, 6)).astype(np.float32)
    assert FastGru().run(*arrays[:2], mask, *arrays[2:]).dtype == np.float32
    for fast, plain in zip(gradients(FastGru(), arrays, mask, R), gradients(Gru(), arrays, mask, R), strict=True):
        assert fast.dtype == np.float32
        np.testing.assert_allclose(fast, plain, atol=2e-5)


def test_layout_does_not_matter_and_inputs_stay():
    rng = np.random.default_rng(2)
    arrays, mask = drawn(rng, 3, 4, 3, 4)
    spread = [np.repeat(a, 2, axis=-1)[..., ::2] for a in arrays]
    turned = [np.asfortranarray(a) for a in arrays]
    R, kept = rng.normal(size=(3, 4, 4)), [a.copy() for a in arrays]
    found = gradients(FastGru(), arrays, mask, R)
    for other in (spread, turned):
        for a, b in zip(found, gradients(FastGru(), other, mask, R), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))


@pytest.mark.parametrize(("n", "m"), [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_run_is_no_error(n, m):
    arrays, mask = drawn(np.random.default_rng(0), n, m, 2, 3)
    for gru in (FastGru(), Gru()):
        assert gru.run(*arrays[:2], mask, *arrays[2:]).shape == (n, m, 3)
    assert [g.shape for g in gradients(FastGru(), arrays, mask, np.zeros((n, m, 3)))] == [a.shape for a in arrays]


def test_the_gradient_is_that_of_central_differences():
    rng = np.random.default_rng(5)
    arrays, mask = drawn(rng, 2, 4, 3, 3)
    R = rng.normal(size=(2, 4, 3))

    def loss(a):
        return float(np.sum(R * FastGru().run(a[0], a[1], mask, *a[2:])))

    for i, g in enumerate(gradients(FastGru(), arrays, mask, R)):
        towards = rng.normal(size=g.shape)
        ends = [loss([a + sign * 1e-6 * towards if j == i else a for j, a in enumerate(arrays)]) for sign in (1, -1)]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(np.sum(g * towards), abs=1e-7)


def test_a_masked_step_keeps_the_state():
    arrays, _ = drawn(np.random.default_rng(4), 2, 5, 3, 4)
    mask = np.array([[True, True, False, False, False], [True] * 5])
    H = FastGru().run(*arrays[:2], mask, *arrays[2:])
    assert np.array_equal(H[0, 2:], np.repeat(H[0, 1:2], 3, axis=0))
    assert not np.allclose(H[1, 2], H[1, 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_are_the_gru_of_pytorch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    rng = np.random.default_rng(6)
    (X, start, *learned), _ = drawn(rng, 4, 6, 3, 5, dtype)
    R = rng.normal(size=(4, 6, 5)).astype(dtype)
    peer = torch.nn.GRU(3, 5, batch_first=True).to(getattr(torch, dtype))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    with torch.no_grad():
        for name, array in zip(names, learned, strict=True):
            getattr(peer, name).copy_(torch.from_numpy(np.ascontiguousarray(array.T)))
    inputs, first = torch.tensor(X, requires_grad=True), torch.tensor(start[None], requires_grad=True)
    H, _ = peer(inputs, first)
    (H * torch.tensor(R)).sum().backward()
    theirs = [g.numpy() for g in (inputs.grad, first.grad[0])] + [getattr(peer, name).grad.numpy().T for name in names]
    for gru in (FastGru(), Gru()):
        np.testing.assert_allclose(gru.run(X, start, None, *learned), H.detach().numpy(), atol=1e-5)
        for ours, g in zip(gradients(gru, [X, start, *learned], None, R), theirs, strict=True):
            np.testing.assert_allclose(ours, g, atol=1e-5)
