"""Softmax attention by one kernel: values and every gradient of the parts, in blocks, and what it may hold in memory."""

from __future__ import annotations

import tracemalloc

import autograd
import numpy as np
import pytest

import attnlab
from attnlab import Mechanism
from attnlab.kernels import bounded, chains
from attnlab.mechanisms import context
from attnlab.mechanisms.pullback import leaves

SIMILARITIES = ["dot", "scaled_dot", "general", "cosine", {"cosine": {"temperature": 0.1}}]
LEADS = [((), (), ()), ((2, 3), (2, 1), (2, 3)), ((), (3,), (3,)), ((3,), (), ()), ((), (), (4,)), ((2, 1), (3,), (1,))]
TOLERANCE = {"float64": {"rtol": 1e-9, "atol": 1e-10}, "float32": {"rtol": 1e-3, "atol": 1e-4}}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(chains.SoftmaxChain, "pairs", (0, 0))
    monkeypatch.setattr(chains, "SHORT", (16, 24))
    monkeypatch.setattr(bounded, "KEYS", 24)


def problem(leads, dtype, scale=1.0):
    rng = np.random.default_rng(0)
    q, k, v = leads
    Q, K, V = (rng.normal(size=n).astype(dtype) for n in ((*q, 70, 8), (*k, 90, 8), (*v, 90, 5)))
    mask = rng.random((*np.broadcast_shapes(q, k), 70, 90)) < 0.5
    mask[..., 3, :] = False  # a query that may attend to nothing
    mask[..., 40:] &= rng.random((*mask.shape[:-1], 50)) < 0.05
    return (scale * Q).astype(dtype), K, V, mask


def both(mechanism, arrays, mask, dtype):
    """(what is found, what the parts give): Y, Y with a way back, and gradients by name."""
    Q, K, V = arrays
    params = mechanism.init(0, 8, 8, 5)
    params = {r: o if r == "modifier" else {n: np.asarray(a, dtype) for n, a in o.items()} for r, o in params.items()}
    wants = frozenset({"Q", "K", "V", "params"})
    results = []
    for backend in ("auto", "reference"):
        bound = mechanism.bind(backend)
        assert ("attend" in bound.kernels(dtype)) == (backend == "auto")
        here = bound.context(Q, K, V, mask)
        Y = bound.attend(params, Q, K, V, here)
        Y2, back = bound.pull(params, Q, K, V, here, wants)
        g = np.random.default_rng(1).normal(size=Y.shape).astype(dtype)
        found, again = back(g), back(g)
        gradients = {**{n: found[n] for n in "QKV"}, **dict(leaves(found["params"]))}
        for name in "QKV":
            np.testing.assert_array_equal(found[name], again[name])
        results.append((Y, Y2, gradients))
    return results


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("leads", LEADS, ids=str)
@pytest.mark.parametrize("similarity", SIMILARITIES, ids=str)
def test_values_and_gradients_are_those_of_the_parts(similarity, leads, dtype, monkeypatch):
    *arrays, given = problem(leads, dtype)
    cases = [("all", None, 2**60), ("causal", given, 2**60), ("causal", given[..., 5:6, :], 10)]
    for mask, M, large in [*cases, ({"window": {"width": 3}}, None, 10)]:
        monkeypatch.setattr(context, "LARGE", large)  # 10: masks are made block by block
        mechanism = Mechanism(similarity, {"softmax": {"temperature": 0.7}}, mask=mask)
        (Y, Y2, found), (expected, _, true) = both(mechanism, arrays, M, np.dtype(dtype))
        np.testing.assert_allclose(Y, expected, **TOLERANCE[dtype])
        np.testing.assert_array_equal(Y, Y2)
        for name, gradient in true.items():
            size = max(1.0, float(np.abs(gradient).max()))
            np.testing.assert_allclose(found[name] / size, gradient / size, **TOLERANCE[dtype], err_msg=str(name))
            assert found[name].dtype == dtype


@pytest.mark.parametrize("leads", [(n, n, n) for n in ((), (3,), (2, 1), (2, 3))])
def test_without_a_mask_loops_give_what_the_parts_give(leads):
    Q, K, V, _ = problem(leads, "float32")
    if leads[0]:
        Q[-1] *= 200  # these scores take a maximum
    (Y, Y2, gradients), expected = both(Mechanism("scaled_dot"), (Q, K, V), None, "float32")
    for found, wanted in zip((Y, Y2), expected, strict=False):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)
    for name, found in gradients.items():
        np.testing.assert_allclose(found, expected[2][name], rtol=1e-2, atol=1e-3)
    V[..., 7, 1] = np.inf
    with np.errstate(invalid="ignore"):
        (Y, *_), _ = both(Mechanism("scaled_dot"), (Q, K, V), None, "float32")
    assert np.isfinite(Y[..., [0, 2, 3, 4]]).all()
    assert not np.isfinite(Y[..., 1]).any()


@pytest.mark.parametrize("scale", [60.0, 1e4])
def test_large_scores_take_a_maximum(scale):
    """Beyond what lengths keep in range; and forbidden keys may have the largest scores."""
    *arrays, given = problem(LEADS[1], "float64", scale)
    for M in (None, given):
        (Y, _, found), (expected, _, true) = both(Mechanism("dot"), arrays, M, np.dtype("float64"))
        np.testing.assert_allclose(Y, expected, rtol=1e-7, atol=1e-8)
        for name in "QKV":
            size = float(np.abs(true[name]).max())
            np.testing.assert_allclose(found[name] / size, true[name] / size, rtol=1e-6, atol=1e-7)


def test_large_values_do_not_overflow_where_weights_do_not():
    rng = np.random.default_rng(0)
    Q, K = (np.full((4, 8), 2.2, np.float32) for _ in range(2))
    V = (rng.normal(size=(4, 3)) * 1e37).astype(np.float32)
    Y = Mechanism("dot").attend(None, Q, K, V)
    np.testing.assert_allclose(Y, np.broadcast_to(V.mean(axis=0), (4, 3)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_where_it_is_read(odd):
    Q, K, V, mask = problem(LEADS[0], "float64")
    mask[:, 7] = False
    mask[2:, 9] = False
    mask[:2, 9] = True
    mechanism = Mechanism("scaled_dot")
    whole = mechanism.attend(None, Q, K, V, mask)
    for place in (7, 9):
        K2, V2 = K.copy(), V.copy()
        K2[place, 0] = V2[place, 0] = odd
        found = mechanism.attend(None, Q, K2, V, mask)
        np.testing.assert_allclose(found, attnlab.attention_weights(Q, K2, mask=mask) @ V, rtol=1e-9, atol=1e-12)
        found = mechanism.attend(None, Q, K, V2, mask)
        np.testing.assert_allclose(found[2:], whole[2:], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[:, 1:], whole[:, 1:], rtol=1e-9, atol=1e-12)
        assert np.isfinite(found[:2, 0]).all() == (place == 7)
    K[:] = -np.inf
    assert np.isnan(mechanism.attend(None, np.abs(Q), K, V)).all()  # as by the parts: no score is the largest


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_scores_of_infinity_have_all_the_weight_and_no_gradient():
    Q, K, V, mask = problem(LEADS[1], "float64")
    K[..., 9, :], K[..., 70, 0] = 0, np.inf
    K[..., 30, 0] = np.inf
    mask[..., :9, 30] = False
    (Y, _, found), (expected, _, true) = both(Mechanism("dot"), (Q, K, V), mask, np.dtype("float64"))
    np.testing.assert_allclose(Y, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["V"], true["V"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["K"], true["K"], rtol=1e-9, atol=1e-10)


def test_layouts_and_empties():
    Q, K, V, mask = problem(LEADS[1], "float32")
    expected = attnlab.attend(Q, K, V, mask=mask)
    for spread in (
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        np.asfortranarray,
        lambda a: a[..., ::-1, :][..., ::-1, :],
    ):
        np.testing.assert_allclose(attnlab.attend(*map(spread, (Q, K, V)), mask=mask), expected, rtol=1e-5, atol=1e-6)
    for q, k, n in ((0, 5, 2), (3, 0, 2), (3, 5, 0)):
        Y = attnlab.attend(np.ones((n, q, 4)), np.ones((n, k, 4)), np.ones((n, k, 3)))
        assert Y.shape == (n, q, 3)
        assert not Y.any() or k


@pytest.mark.parametrize("wanted", [{"Q"}, {"K"}, {"V"}, {"params"}, {"Q", "params"}, {"K", "V"}], ids=sorted)
@pytest.mark.parametrize("similarity", ["dot", "general", "cosine"])
def test_only_what_is_wanted(similarity, wanted):
    Q, K, V, mask = problem(LEADS[1], "float64")
    mechanism = Mechanism(similarity, mask="causal")
    params = mechanism.init(0, 8, 8, 5)
    bound = mechanism.bind()
    here = bound.context(Q, K, V, mask)
    Y, back = bound.pull(params, Q, K, V, here, frozenset(wanted))
    found = back(np.ones_like(Y))
    whole = bound.pull(params, Q, K, V, here, frozenset({"Q", "K", "V", "params"}))[1](np.ones_like(Y))
    assert set(found) == wanted
    for name in wanted - {"params"}:
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-12)


def test_second_order_gradients_go_through_the_parts():
    Q, K, V, _ = problem(LEADS[0], "float64")
    mechanism = Mechanism("scaled_dot")

    def slope(Q):
        return np.sum(autograd.grad(lambda Q: autograd.numpy.sum(mechanism.attend(None, Q, K, V) ** 2))(Q)[..., 0])

    def whole(Q):
        return autograd.numpy.sum(
            autograd.grad(lambda Q: autograd.numpy.sum(mechanism.attend(None, Q, K, V) ** 2))(Q)[:, 0]
        )

    g = autograd.grad(whole)(Q)
    step = np.zeros_like(Q)
    step[2, 1] = 1e-6
    assert (slope(Q + step) - slope(Q - step)) / 2e-6 == pytest.approx(g[2, 1], rel=1e-5, abs=1e-8)


def test_training_over_many_keys_forms_no_weights(monkeypatch):
    """Scores of 4,096 queries and keys would take 64 MiB, and a way back several of them."""
    monkeypatch.setattr(chains, "SHORT", (512, 512))
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(4096, 8)).astype(np.float32) for _ in range(3))
    mechanism = Mechanism("scaled_dot", mask="causal")
    tracemalloc.start()
    try:
        autograd.grad(lambda Q: autograd.numpy.sum(mechanism.attend(None, Q, K, V) ** 2))(Q)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20


def test_few_queries_and_keys_are_left_to_the_parts(monkeypatch):
    monkeypatch.setattr(chains.SoftmaxChain, "pairs", (100, 200))
    called = []
    attend = chains.SoftmaxChain.attend

    def watched(self, parts, Q, K, V, allowed, learned, wants):
        called.append(Q.shape)
        return attend(self, parts, Q, K, V, allowed, learned, wants)

    monkeypatch.setattr(chains.SoftmaxChain, "attend", watched)
    for n, prediction, training in ((9, False, False), (12, True, False), (15, True, True)):
        Q, K, V = np.ones((n, 3)), np.ones((n, 3)), np.ones((n, 2))
        bound = Mechanism("dot").bind()
        empty = {role: {} for role in ("similarity", "normaliser", "aggregator", "position", "modifier")}
        called.clear()
        bound.attend(empty, Q, K, V, bound.context(Q, K, V))
        assert bool(called) == prediction
        called.clear()
        bound.pull(empty, Q, K, V, bound.context(Q, K, V), frozenset({"Q"}))
        assert bool(called) == training
