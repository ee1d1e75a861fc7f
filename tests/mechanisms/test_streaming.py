"""Long inputs in blocks: the same numbers as the whole, little memory, masks that are never whole."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from rounds import quick, spread

import attnlab
from attnlab import Mask, Mechanism, Similarity
from attnlab.mechanisms import blocks, bound, context

STATEFUL = ("location_aware", "coverage", "monotonic")
# each with each; of those without kernels, or blocks of their own, every one with a plain partner
SIMILARITIES = ("dot", "scaled_dot", "cosine", "general", "additive", "neg_l2", "uniform")
NORMALISERS = ("softmax", "softmax_n", "logn_softmax", "sparsemax", "entmax", "sigmoid", "hardmax", "relu_over_n")
PAIRS = [
    *((similarity, normaliser) for similarity in SIMILARITIES for normaliser in NORMALISERS),
    *((name, "softmax") for name in attnlab.names("similarity") if name not in (*SIMILARITIES, *STATEFUL)),
    *(("uniform", name) for name in attnlab.names("normaliser") if name not in (*NORMALISERS, *STATEFUL, "l1")),
    ("taylor", "relu_over_n"),
]
MASKS = ["all", "causal", {"window": {"width": 3}}]


@pytest.fixture
def small(monkeypatch):
    """Blocks of few numbers, masks in blocks from few pairs on, and no fused kernel."""

    def shrink(block=1500, large=100):
        monkeypatch.setattr(bound, "BLOCK", block)
        monkeypatch.setattr(context, "LARGE", large)

    monkeypatch.setattr("attnlab.kernels.chains.SoftmaxChain.pairs", (2**60, 2**60))
    return shrink


def drawn(dtype=np.float64, q=30, k=40, q_lead=(2, 3), k_lead=(2, 1)):
    rng = np.random.default_rng(0)
    Q = rng.normal(size=(*q_lead, 6, q)).astype(dtype).swapaxes(-1, -2)  # not contiguous
    K, V = (rng.normal(size=(*k_lead, k, n)).astype(dtype) for n in (6, 5))
    mask = rng.random((*np.broadcast_shapes(q_lead, k_lead), q, k)) < 0.6
    mask[..., 3, :] = False  # a query that may attend to nothing
    mask[..., 20:] &= rng.random((*mask.shape[:-1], k - 20)) < 0.1
    return Q, K, V, mask


def started(mechanism, dtype=np.float64):
    params = mechanism.init(0, 6, 6, 5)
    return {
        role: own if role == "modifier" else {n: np.asarray(a, dtype) for n, a in own.items()}
        for role, own in params.items()
    }


@pytest.mark.parametrize(("similarity", "normaliser"), quick(PAIRS, spread(SIMILARITIES, NORMALISERS)))
def test_blocks_give_the_numbers_of_the_whole(similarity, normaliser, small):
    for dtype, rtol in ((np.float64, 1e-9), (np.float32, 2e-4)):
        Q, K, V, given = drawn(dtype)
        for position in ("none", "alibi", "gaussian_local"):
            for mask in MASKS:
                mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
                params = started(mechanism, dtype)
                expected = {}
                for name, M in (("none", None), ("given", given), ("padded", given[..., 5:6, :])):
                    small(2**60, 2**60)
                    expected[name] = [mechanism.attend(params, Q, K, V, M), mechanism.weights(params, Q, K, M)]
                    small()
                    found = [mechanism.attend(params, Q, K, V, M), mechanism.weights(params, Q, K, M)]
                    for one, two in zip(found, expected[name], strict=True):
                        assert one.dtype == dtype
                        np.testing.assert_allclose(
                            one, two, rtol=rtol, atol=rtol / 100, err_msg=f"{position} {mask} {name}"
                        )


@pytest.mark.parametrize(
    ("q_lead", "k_lead"), [((), ()), ((4,), ()), ((), (4,)), ((2, 1), (3,)), ((0,), (0,)), ((5, 0), ())]
)
@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "sigmoid"])
def test_leading_axes_broadcast_in_blocks_too(q_lead, k_lead, normaliser, small):
    Q, K, V, _ = drawn(q_lead=q_lead, k_lead=k_lead)
    mechanism = Mechanism("cosine", normaliser, mask="causal")
    params = started(mechanism)
    wide = np.broadcast_to(V, (*np.broadcast_shapes(q_lead, k_lead), *V.shape[-2:]))
    for values in (V, np.stack([wide, 2 * wide])):
        small(2**60, 2**60)
        whole = mechanism.attend(params, Q, K, values)
        small()
        np.testing.assert_allclose(mechanism.attend(params, Q, K, values), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("normaliser", ["softmax", "softmax_n", "logn_softmax", "sigmoid", "entmax"])
def test_what_nobody_may_read_changes_nothing_and_nan_stays(normaliser, small):
    Q, K, V, mask = drawn(q_lead=(2,), k_lead=(2,))
    mask[..., 7] = False
    mask[:, 1:, 9] = False
    mask[:, 0, 9] = True
    small(2**60, 2**60)
    mechanism = Mechanism("dot", normaliser, mask={"window": {"width": 30}})
    whole = mechanism.attend(None, Q, K, V, mask)
    K2, V2, Q2 = K.copy(), V.copy(), Q.copy()
    K2[:, 7], V2[:, 7], Q2[:, 3] = np.nan, np.inf, np.nan
    small()
    np.testing.assert_allclose(mechanism.attend(None, Q2, K2, V2, mask), whole, rtol=1e-9, atol=1e-12)
    for spoilt in (np.nan, np.inf, -np.inf):
        K3, V3 = K2.copy(), V2.copy()
        K3[:, 9, 0] = spoilt
        V3[:, 9, 0] = spoilt
        for arrays in ((Q2, K3, V), (Q2, K3, V2), (Q2, K2, V3)):
            small(2**60, 2**60)
            expected = mechanism.attend(None, *arrays, mask)
            small()
            found = mechanism.attend(None, *arrays, mask)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found[:, 1:], whole[:, 1:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("similarity", ["neg_l2", "additive", "scaled_dot"])
@pytest.mark.parametrize("normaliser", ["softmax", "entmax", "hardmax"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_memory_is_bounded_by_what_parts_form(similarity, normaliser, backend):
    """Of 1,024 queries and keys `neg_l2` would form 512 MiB at once, `additive` 256."""
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(1024, 64)) for _ in range(3))
    mechanism = Mechanism(similarity, normaliser, mask="causal")
    params = mechanism.init(0, 64, 64, 64)
    bound = mechanism.bind(backend)
    context = bound.context(Q, K, V)
    tracemalloc.start()
    try:
        bound.attend(params, Q, K, V, context)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120 * 2**20


@pytest.mark.parametrize("normaliser", ["softmax", "softmax_n", "sigmoid"])
def test_memory_of_long_inputs_grows_with_queries_plus_keys(normaliser):
    """Scores, or a mask, of 16,384 queries and keys would take 256 MiB a byte."""
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(16384, 2)).astype(np.float32) for _ in range(3))
    mechanism = Mechanism("scaled_dot", normaliser, mask={"window": {"width": 100}})
    tracemalloc.start()
    try:
        Y = mechanism.attend(None, Q, K, V)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20
    here = slice(8000, 8003)
    near = slice(8000 - 150, 8003 + 150)
    few = mechanism.attend(
        None, Q[here], K[near], V[near], q_index=np.arange(8000, 8003), k_index=np.arange(16384)[near]
    )
    np.testing.assert_allclose(Y[here], few, rtol=1e-4, atol=1e-5)


def test_a_part_that_remembers_needs_no_whole_weights():
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(n, 2)) for n in (900, 4000, 4000))
    mechanism = Mechanism("uniform", "monotonic", mask="causal")
    tracemalloc.start()
    try:
        mechanism.attend(None, Q, K, V)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20  # weights would take 27 MiB


# -- masks ------------------------------------------------------------------------------------------------------------
class Watched(Mask):
    """Causal, and says what it was asked."""

    name = "watched"

    def __init__(self):
        self.asked = []

    def allow(self, q_index, k_index):
        self.asked.append((q_index.size, k_index.size))
        return k_index[..., None, :] <= q_index[..., :, None]


def test_a_mask_is_never_whole_and_forbidden_blocks_are_skipped(monkeypatch):
    scored = []

    class Shy(Similarity):
        """Dot, that says how many pairs it was given."""

        name = "shy"
        mixes_keys = False

        def score(self, Q, K):
            scored.append(Q.shape[-2] * K.shape[-2])
            return Q @ K.swapaxes(-1, -2)

    monkeypatch.setattr(context, "LARGE", 10_000)
    monkeypatch.setattr(bound, "BLOCK", 20 * 20)
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(200, 3)) for _ in range(3))
    mask = Watched()
    found = Mechanism(Shy(), mask=mask).attend(None, Q, K, V)
    assert max(q * k for q, k in mask.asked) <= 400
    assert sum(scored) < 0.65 * 200 * 200
    np.testing.assert_allclose(found, Mechanism("dot", mask=np.tri(200, dtype=bool)).attend(None, Q, K, V), rtol=1e-12)


def test_a_similarity_that_mixes_keys_has_them_all(monkeypatch):
    """One that does not say so is asked by queries, whole rows at a time."""

    class Centred(Similarity):
        """Distances from the mean of all keys."""

        name = "centred"

        def score(self, Q, K):
            return Q @ (K - K.mean(axis=-2, keepdims=True)).swapaxes(-1, -2)

    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(50, 3)) + 1 for _ in range(3))
    whole = Mechanism(Centred()).attend(None, Q, K, V)
    monkeypatch.setattr(bound, "BLOCK", 100)
    np.testing.assert_allclose(Mechanism(Centred()).attend(None, Q, K, V), whole, rtol=1e-12)


class Former(Mask):
    """Causal, in the form of before."""

    name = "former"

    def allow(self, n_queries, n_keys):
        return np.tri(n_queries, n_keys, dtype=bool)


def test_a_mask_in_the_form_of_before_is_adapted_and_said_so(monkeypatch):
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(5, 3)), rng.normal(size=(6, 3))
    with pytest.warns(
        DeprecationWarning, match=r"Former\.allow\(n_queries, n_keys\) is built whole.*Write allow\(self, q_index"
    ):
        found = Mechanism(mask=Former()).weights(None, Q, K)
    np.testing.assert_array_equal(found, Mechanism(mask="causal").weights(None, Q, K))
    monkeypatch.setattr(context, "LARGE", 1)
    with pytest.warns(DeprecationWarning, match="is built whole"):
        np.testing.assert_array_equal(Mechanism(mask=[Former(), "causal"]).weights(None, Q, K), found)
    attnlab.injection.check_class("mask", Former)


def test_positions_of_each_example_reach_a_mask_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(3, n, 2)) for n in (20, 30, 30))
    q_index = rng.permuted(np.broadcast_to(np.arange(40), (3, 40)), axis=1)[:, :20]
    mechanism = Mechanism("cosine", "softmax_n", mask="causal")
    params = mechanism.init(0, 2, 2, 2)
    whole = mechanism.attend(params, Q, K, V, q_index=q_index)
    monkeypatch.setattr(context, "LARGE", 10)
    monkeypatch.setattr(bound, "BLOCK", 100)
    np.testing.assert_allclose(mechanism.attend(params, Q, K, V, q_index=q_index), whole, rtol=1e-9)
    flat = mechanism.attend(params, Q[0], K[0], V[0], q_index=q_index)
    np.testing.assert_allclose(flat[0], whole[0], rtol=1e-9)


# -- threads ----------------------------------------------------------------------------------------------------------
def test_numbers_do_not_depend_on_threads_and_none_is_left():
    from threadpoolctl import threadpool_info, threadpool_limits

    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(2, 1500, 16)).astype(np.float32) for _ in range(3))
    for normaliser in ("softmax", "softmax_n", "sparsemax"):
        mechanism = Mechanism("scaled_dot", normaliser, mask="causal")
        found = []
        for n in (1, 2, 4):
            with threadpool_limits(n):
                before = [(one["filepath"], one["num_threads"]) for one in threadpool_info()]
                found.append(mechanism.attend(None, Q, K, V))
                assert [(one["filepath"], one["num_threads"]) for one in threadpool_info()] == before
        assert not [thread for thread in threading.enumerate() if thread.name == "attnlab"]
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])


def test_an_error_in_a_thread_is_raised_and_limits_are_given_back():
    from threadpoolctl import threadpool_info, threadpool_limits

    def worker(items):
        for item in items:
            if item == 3:
                raise ValueError("three")

    with threadpool_limits(2):
        before = threadpool_info()
        with pytest.raises(ValueError, match="three"):
            blocks.in_threads(worker, range(10))
        assert threadpool_info() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "attnlab"]


def test_calls_that_overlap_give_the_limits_back():
    from threadpoolctl import threadpool_info, threadpool_limits

    inside, go_on = threading.Event(), threading.Event()

    def slow(items):
        for _ in items:
            inside.set()
            go_on.wait(10)

    with threadpool_limits(2):
        before = threadpool_info()
        other = threading.Thread(target=blocks.in_threads, args=(slow, [0]))
        other.start()
        inside.wait(10)
        done = []
        blocks.in_threads(lambda items: done.extend(items), [1, 2, 3])
        go_on.set()
        other.join()
        assert sorted(done) == [1, 2, 3]
        assert threadpool_info() == before


@pytest.mark.parametrize(
    ("lead", "q", "rows", "together"), [((), 7, 3, 1), ((4, 3), 5, 5, 6), ((4, 3), 5, 2, 1), ((9,), 4, 4, 4)]
)
def test_tiles_cover_everything_once(lead, q, rows, together):
    seen = np.zeros((*lead, q), dtype=int)
    for front, here in blocks.tiles(lead, q, rows, together):
        part = seen[(*front, here)]
        assert part.shape[-1] <= rows
        assert part[..., 0].size <= together
        part += 1
    assert (seen == 1).all()
