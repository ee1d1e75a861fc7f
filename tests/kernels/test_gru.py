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


either = pytest.mark.parametrize("linear_before_reset", [True, False])


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.booleans()
)
def test_the_fast_gru_has_the_values_and_gradients_of_the_reference(seed, n, m, d, h, linear):
    fast_gru, gru = FastGru(linear), Gru(linear)
    rng = np.random.default_rng(seed)
    arrays, mask = drawn(rng, n, m, d, h)
    R = rng.normal(size=(n, m, h))
    for M in (None, mask, rng.random((n, m)) < 0.5):  # none, ragged, with holes
        np.testing.assert_allclose(
            fast_gru.run(*arrays[:2], M, *arrays[2:]), gru.run(*arrays[:2], M, *arrays[2:]), atol=1e-12
        )
        for fast, plain in zip(gradients(fast_gru, arrays, M, R), gradients(gru, arrays, M, R), strict=True):
            np.testing.assert_allclose(fast, plain, atol=1e-11)


@either
def test_one_step_has_the_value_and_gradients_of_the_reference(linear_before_reset):
    fast_gru, plain_gru = FastGru(linear_before_reset), Gru(linear_before_reset)
    rng = np.random.default_rng(3)
    (X, start, *learned), _ = drawn(rng, 4, 1, 3, 5)
    arrays, R = [X[:, 0], start, *learned], rng.normal(size=(4, 5))

    def of(gru):
        return gru.step(*arrays), autograd.grad(lambda a: anp.sum(R * gru.step(*a)))(arrays)

    for fast, plain in zip([of(fast_gru)[0], *of(fast_gru)[1]], [of(plain_gru)[0], *of(plain_gru)[1]], strict=True):
        np.testing.assert_allclose(fast, plain, atol=1e-12)


@either
def test_float32_stays_and_agrees(linear_before_reset):
    fast_gru, plain_gru = FastGru(linear_before_reset), Gru(linear_before_reset)
    rng = np.random.default_rng(1)
    arrays, mask = drawn(rng, 5, 7, 4, 6, np.float32)
    R = rng.normal(size=(5, 7, 6)).astype(np.float32)
    assert fast_gru.run(*arrays[:2], mask, *arrays[2:]).dtype == np.float32
    for fast, plain in zip(gradients(fast_gru, arrays, mask, R), gradients(plain_gru, arrays, mask, R), strict=True):
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


def onnx_gru(X, H, W, R, B, linear_before_reset):
    """One direction of ONNX's GRU, batch by batch: X (m, n, d), H (n, h), W (3h, d), R (3h, h), B (6h,), gates z, r, h."""
    (W_z, W_r, W_h), (R_z, R_r, R_h) = np.split(W, 3), np.split(R, 3)
    Wb_z, Wb_r, Wb_h, Rb_z, Rb_r, Rb_h = np.split(B, 6)
    states = []
    for x in X:
        z = 1 / (1 + np.exp(-(x @ W_z.T + H @ R_z.T + Wb_z + Rb_z)))
        r = 1 / (1 + np.exp(-(x @ W_r.T + H @ R_r.T + Wb_r + Rb_r)))
        state = r * (H @ R_h.T + Rb_h) if linear_before_reset else (r * H) @ R_h.T + Rb_h
        H = (1 - z) * np.tanh(x @ W_h.T + state + Wb_h) + z * H
        states.append(H)
    return np.stack(states)


def as_onnx(Wi, Wh, bi, bh):
    """W, R and B of ONNX, whose gates are z, r, h."""
    order = [1, 0, 2]
    W, R = (np.concatenate([np.split(a.T, 3)[i] for i in order]) for a in (Wi, Wh))
    return W, R, np.concatenate([np.split(b, 3)[i] for b in (bi, bh) for i in order])


@either
@pytest.mark.parametrize("kind", [FastGru, Gru])
def test_both_are_the_gru_of_onnx(kind, linear_before_reset):
    rng = np.random.default_rng(8)
    (X, start, *learned), _ = drawn(rng, 4, 6, 3, 5)
    learned = [a + rng.normal(size=a.shape) for a in learned]
    ours = kind(linear_before_reset).run(X, start, None, *learned)
    theirs = onnx_gru(X.transpose(1, 0, 2), start, *as_onnx(*learned), linear_before_reset)
    np.testing.assert_allclose(ours, theirs.transpose(1, 0, 2), atol=1e-12)
    assert not np.allclose(ours, kind(not linear_before_reset).run(X, start, None, *learned), atol=1e-3)


@either
def test_the_operator_of_onnx_gives_the_same(linear_before_reset):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(9)
    (X, start, *learned), _ = drawn(rng, 2, 4, 3, 5, np.float32)
    W, R, B = as_onnx(*learned)
    given = {"X": X.transpose(1, 0, 2), "W": W[None], "R": R[None], "B": B[None], "s": np.zeros(0), "H": start[None]}
    node = onnx.helper.make_node(
        "GRU", ["X", "W", "R", "B", "", "H"], ["Y", "last"], hidden_size=5, linear_before_reset=int(linear_before_reset)
    )
    kinds = {n: onnx.helper.make_tensor_value_info(n, 1, a.shape) for n, a in given.items() if n != "s"}
    out = [onnx.helper.make_tensor_value_info(n, 1, None) for n in ("Y", "last")]
    graph = onnx.helper.make_graph([node], "gru", list(kinds.values()), out)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    last = ReferenceEvaluator(model).run(None, {n: given[n] for n in kinds})[1][0]
    for kind in (FastGru, Gru):
        np.testing.assert_allclose(kind(linear_before_reset).run(X, start, None, *learned)[:, -1], last, atol=1e-5)


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
