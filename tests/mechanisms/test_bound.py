"""Bound mechanisms against the first engine, kept as `oracle.py`, and against autograd: values and every gradient."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import autograd
import numpy as np
import pytest

import attnlab
from attnlab import ComponentError, Mechanism, ShapeError, Similarity
from attnlab.mechanisms.bound import BLOCK, BoundMechanism, Parts
from attnlab.mechanisms.context import Context
from attnlab.mechanisms.pullback import leaves, pulled, rebuilt, unbroadcast

spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
oracle = sys.modules["oracle"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

SIMILARITIES = ["dot", "scaled_dot", "cosine", "general", "additive", "neg_l2", "uniform", "location_aware", "coverage"]
NORMALISERS = ["softmax", "softmax_n", "logn_softmax", "sparsemax", "entmax", "sigmoid", "hardmax", "monotonic"]
POSITIONS = ["none", "sinusoidal", "learned", "alibi", "rope", "t5_bias", "gaussian_local", "diagonal"]
MASKS = ["all", "causal", {"window": {"width": 1}}]
Q_LEADS = {
    (): [(), (3,)],
    (3,): [(3,), (), (1,)],
    (2, 3): [(2, 3), (3,)],
}  # leading axes of Q, and those that K may have


def combinations(n):
    """Mechanisms drawn so that each part meets each other part often, the same at every run."""
    rng = np.random.default_rng(7)
    found = []
    for i in range(n):
        pick = [options[rng.integers(len(options))] for options in (SIMILARITIES, NORMALISERS, POSITIONS, MASKS)]
        found.append(pytest.param(*pick, i, id=f"{i}-{'-'.join(str(p) for p in pick)}"))
    return found


def problem(mechanism, seed, dtype=np.float64, dead=True):
    rng = np.random.default_rng(seed)
    lead = list(Q_LEADS)[seed % 3]
    k_lead = Q_LEADS[lead][seed % len(Q_LEADS[lead])]
    q, k, d, v = rng.integers(1, 5), rng.integers(1, 6), 4, 3
    Q = np.asarray(rng.normal(size=(*lead, d, q)), dtype=dtype).swapaxes(-1, -2)  # not contiguous
    K, V = (rng.normal(size=(*k_lead, k, n)).astype(dtype) for n in (d, v))
    mask = rng.random((*np.broadcast_shapes(lead, k_lead), q, k)) < 0.7 if seed % 4 else None
    if mask is not None and dead:
        mask[..., 0, :] = False  # a query that may attend to nothing
    params = mechanism.init(rng, d, d, v)
    moved = {path: (np.asarray(a) + 0.1 * rng.normal(size=np.shape(a))).astype(dtype) for path, a in leaves(params)}
    return Q, K, V, mask, rebuilt(params, moved)


def of_oracle(mechanism, params, Q, K, V, mask, **given):
    p = mechanism.parts()
    parts = oracle.Parts(p.similarity, p.normaliser, p.aggregator, p.position, p.masks)
    context = oracle.context_of(parts, Q, K, V, mask, None, None, None, given.get("rng"), given.get("training", False))
    if oracle.stateful(parts):
        W = oracle.weigh_in_steps(parts, params, Q, K, context, None)[0]
    else:
        W = oracle.weigh(parts, params, Q, K, context)
    return W, oracle.aggregate(parts, params, W, V, Q, K, context)


@pytest.mark.parametrize("aggregator", ["weighted_sum", "gather"])
@pytest.mark.parametrize(("similarity", "normaliser", "position", "mask", "seed"), combinations(120))
def test_values_and_gradients_are_the_first_engines(similarity, normaliser, position, mask, seed, aggregator):
    mechanism = Mechanism(similarity, normaliser, aggregator, position, mask)
    Q, K, V, given, params = problem(mechanism, seed)
    W, Y = of_oracle(mechanism, params, Q, K, V, given, training=True)
    bound = mechanism.bind()
    context = bound.context(Q, K, V, given, training=True)
    close = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(bound.weights(params, Q, K, context), W, **close)
    np.testing.assert_allclose(bound.attend(params, Q, K, V, context), Y, **close)
    np.testing.assert_allclose(mechanism.attend(params, Q, K, V, given, training=True), Y, **close)

    wants = frozenset({"Q", "K", "V", "params"})
    found_Y, back = bound.pull(params, Q, K, V, context, wants)
    found_W, back_W = bound.pull(params, Q, K, None, context, wants - {"V"})
    np.testing.assert_allclose(found_Y, Y, **close)
    np.testing.assert_allclose(found_W, W, **close)
    rng = np.random.default_rng(seed)
    flat = dict(leaves(params))
    for shape, which, way in ((Y.shape, 1, back), (W.shape, 0, back_W)):
        g = rng.normal(size=shape)

        def loss(arrays, which=which, g=g):
            now = rebuilt(params, dict(zip(flat, arrays[3:], strict=True)))
            return np.sum(of_oracle(mechanism, now, *arrays[:3], given, training=True)[which] * g)

        true = quiet_grad(loss, [Q, K, V, *flat.values()])
        once, twice = way(g), way(g)
        for name, gradient in zip(("Q", "K", "V"), true, strict=False):
            if name in once:
                np.testing.assert_allclose(once[name], gradient, rtol=1e-9, atol=1e-11, err_msg=name)
                np.testing.assert_array_equal(once[name], twice[name])
        mine = dict(leaves(once["params"]))
        for path, gradient in zip(flat, true[3:], strict=True):
            np.testing.assert_allclose(mine[path], gradient, rtol=1e-9, atol=1e-11, err_msg=str(path))


def quiet_grad(loss, arrays):
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input")
        return autograd.grad(loss)(arrays)


@pytest.mark.parametrize(("similarity", "normaliser", "position", "mask", "seed"), combinations(24))
def test_float32_stays_float32_on_the_way_there_and_back(similarity, normaliser, position, mask, seed):
    mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
    Q, K, V, given, params = problem(mechanism, seed, np.float32)
    bound = mechanism.bind()
    Y, back = bound.pull(params, Q, K, V, bound.context(Q, K, V, given), frozenset({"Q", "K", "V", "params"}))
    found = back(np.ones_like(Y))
    assert {Y.dtype, found["Q"].dtype, found["K"].dtype, found["V"].dtype} == {np.dtype("float32")}
    assert all(a.dtype == np.float32 for _, a in leaves(found["params"]))
    assert found["Q"].shape == Q.shape
    assert found["K"].shape == K.shape
    assert found["V"].shape == V.shape


@pytest.mark.parametrize(
    "wants", [{"Q"}, {"K"}, {"V"}, {"params"}, {"K", "params"}, set()], ids=lambda w: "+".join(sorted(w))
)
def test_back_gives_what_was_wanted(wants):
    mechanism = Mechanism("additive", "entmax", position="learned", mask="causal", modifier="softcap")
    Q, K, V, given, params = problem(mechanism, 5)
    bound = mechanism.bind()
    context = bound.context(Q, K, V, given)
    _, back = bound.pull(params, Q, K, V, context, frozenset(wants))
    _, whole = bound.pull(params, Q, K, V, context, frozenset({"Q", "K", "V", "params"}))
    g = np.random.default_rng(1).normal(size=(*np.broadcast_shapes(Q.shape[:-2], K.shape[:-2]), Q.shape[-2], 3))
    found, all_of_them = back(g), whole(g)
    assert set(found) == wants
    for name in wants - {"params"}:
        np.testing.assert_allclose(found[name], all_of_them[name], rtol=1e-12)


def test_names_are_looked_up_once_and_the_step_resolves_nothing(monkeypatch):
    """After `bind` nothing is looked up: a name that is gone then does no harm."""
    mechanism = Mechanism("cosine", "sparsemax", mask="causal")
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=s) for s in ((2, 8), (5, 8), (5, 3)))
    params = mechanism.init(rng, 8, 8, 3)
    bound = mechanism.bind()
    context = bound.context(Q, K, V)
    before = bound.attend(params, Q, K, V, context)
    mechanism.similarity = "no such similarity"
    np.testing.assert_array_equal(bound.attend(params, Q, K, V, context), before)
    with pytest.raises(attnlab.UnknownName):
        mechanism.attend(params, Q, K, V)


# -- contexts ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rows", [np.array([3, 0, 0]), slice(1, 4), np.array([], dtype=int)], ids=["some", "slice", "none"]
)
@pytest.mark.parametrize(("similarity", "normaliser", "position", "mask", "seed"), combinations(24))
def test_a_picked_context_is_that_of_the_picked_examples(similarity, normaliser, position, mask, seed, rows):
    mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
    rng = np.random.default_rng(seed)
    Q, K, V = (rng.normal(size=s) for s in ((5, 3, 4), (5, 6, 4), (5, 6, 2)))
    given = rng.random((5, 3, 6)) < 0.6
    given[2, 1] = False
    lengths = rng.integers(1, 4, size=(5, 2))
    params = mechanism.init(rng, 4, 4, 2)
    bound = mechanism.bind()
    whole = bound.context(Q, K, V, given, lengths=lengths)
    part = bound.context(Q[rows], K[rows], V[rows], given[rows], lengths=lengths[rows])
    picked = whole.pick(rows, 5)
    assert picked.shape == part.shape
    np.testing.assert_array_equal(
        bound.attend(params, Q[rows], K[rows], V[rows], picked), bound.attend(params, Q[rows], K[rows], V[rows], part)
    )


@pytest.mark.parametrize(("similarity", "normaliser", "position", "mask", "seed"), combinations(24))
def test_rows_and_heads_of_a_context(similarity, normaliser, position, mask, seed):
    mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
    if mechanism.is_stateful:
        pytest.skip("its steps hang together")
    rng = np.random.default_rng(seed)
    Q, K, V = (rng.normal(size=s) for s in ((5, 3, 4), (5, 6, 4), (5, 6, 2)))
    given = rng.random((5, 3, 6)) < 0.6
    params = mechanism.init(rng, 4, 4, 2)
    bound = mechanism.bind()
    context = bound.context(Q, K, V, given)
    Y = bound.attend(params, Q, K, V, context)
    for t in range(3):
        one = bound.attend(params, Q[:, t : t + 1], K, V, context.row(t))
        np.testing.assert_allclose(one, Y[:, t : t + 1], rtol=1e-12, atol=1e-14)
    many = bound.attend(params, np.stack([Q, 2 * Q], 1), K[:, None], V[:, None], context.heads())
    np.testing.assert_allclose(many[:, 0], Y, rtol=1e-12, atol=1e-14)


def test_step_by_step_backwards_is_the_whole_backwards():
    """pull_step, chained by hand through the states, gives the gradients of the whole."""
    mechanism = Mechanism("coverage", "softmax")
    Q, K, V, _, params = problem(mechanism, 8)
    rng = np.random.default_rng(0)
    bound = mechanism.bind()
    context = bound.context(Q, K, V)
    wants = frozenset({"Q", "K", "V", "params"})
    Y, back = bound.pull(params, Q, K, V, context, wants)
    g = rng.normal(size=Y.shape)
    states, backs = bound.initial_states(params, Q, K, context), []
    for t in range(Q.shape[-2]):
        outs, way = bound.pull_step(params, Q[..., t : t + 1, :], K, V, states, context.row(t), wants)
        np.testing.assert_allclose(outs["Y"], Y[..., t : t + 1, :], rtol=1e-12)
        states = {path: outs[f"next.{path}"] for path in states}
        backs.append(way)
    K_total, carried = np.zeros_like(K), {}
    for t in reversed(range(len(backs))):
        found = backs[t]({"Y": g[..., t : t + 1, :], **carried})
        carried = {f"next.{path}": found[f"state.{path}"] for path in states}
        K_total += found["K"]
    np.testing.assert_allclose(K_total, back(g)["K"], rtol=1e-9)


def test_blocks_of_queries_are_the_whole(monkeypatch):
    mechanism = Mechanism("neg_l2", "sparsemax", position="alibi", mask="causal")
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=s) for s in ((7, 3), (9, 3), (9, 2)))
    bound = mechanism.bind()
    context = bound.context(Q, K, V)
    whole = bound.attend(
        {role: {} for role in ("similarity", "normaliser", "aggregator", "position")}, Q, K, V, context
    )
    monkeypatch.setattr("attnlab.mechanisms.bound.BLOCK", 20)
    params = mechanism.init(rng, 3, 3, 2)
    np.testing.assert_allclose(bound.attend(params, Q, K, V, context), whole, rtol=1e-12)
    assert BLOCK > 20


# -- what parts return is looked at ---------------------------------------------------------------------------------------
class Wrong(Similarity):
    """Scores in a wrong shape or dtype."""

    name = "wrong_specimen"

    def __init__(self, how="shape"):
        self.how = how

    def score(self, Q, K):
        S = Q @ K.swapaxes(-1, -2)
        return {"shape": S[..., :1, :-1], "int": S.astype(int), "list": S.tolist()}[self.how]


@pytest.mark.parametrize("how", ["shape", "int", "list"])
def test_a_part_that_returns_something_else_is_named(how):
    bound = Mechanism(Wrong(how)).bind()
    Q, K = np.ones((2, 3)), np.ones((4, 3))
    with pytest.raises(ComponentError, match=r"Wrong\.score must return"):
        bound.weights({role: {} for role in ("similarity", "normaliser")}, Q, K, bound.context(Q, K))


def test_arrays_of_other_widths_are_a_shape_error_in_a_bound_mechanism_too():
    mechanism = Mechanism("general")
    params = mechanism.init(np.random.default_rng(0), 3, 3, 2)
    bound = mechanism.bind()
    Q, K = np.ones((2, 5)), np.ones((4, 5))
    with pytest.raises(ShapeError, match=r"learned arrays of the similarity 'general' do not fit"):
        bound.weights(params, Q, K, bound.context(Q, K))


# -- pulled -----------------------------------------------------------------------------------------------------------
def test_pulled_has_several_outputs_and_leaves_no_trace_behind():
    def function(a, b):
        return a * b, a + 1.0, b * 0 + 2

    (p, s, c), back = pulled(function, {"a": np.array([2.0, 3.0]), "b": np.array([5.0, 7.0])})
    np.testing.assert_array_equal(p, [10, 21])
    np.testing.assert_array_equal(s, [3, 4])
    np.testing.assert_array_equal(c, [2, 2])
    found = back((np.ones(2), 10 * np.ones(2), None))
    np.testing.assert_array_equal(found["a"], [15, 17])
    np.testing.assert_array_equal(found["b"], [2, 3])
    assert "b" not in back((None, np.ones(2), None))

    def fails(a):
        raise ValueError("no")

    from autograd.tracer import trace_stack

    top = trace_stack.top
    with pytest.raises(ValueError, match="no"):
        pulled(fails, {"a": np.ones(1)})
    assert trace_stack.top == top


def test_unbroadcast_sums_to_the_shape_and_dtype():
    g = np.ones((2, 3, 4))
    for shape in ((3, 4), (1, 4), (2, 1, 4), (), (1,), (2, 3, 4)):
        found = unbroadcast(g, np.zeros(shape, dtype=np.float32))
        assert found.shape == shape
        assert found.dtype == np.float32
        assert found.sum() == 24


def test_parts_and_contexts_are_frozen():
    bound = Mechanism().bind()
    assert isinstance(bound, BoundMechanism)
    assert isinstance(bound.parts, Parts)
    context = bound.context(np.ones((1, 2)), np.ones((3, 2)))
    assert isinstance(context, Context)
    with pytest.raises(AttributeError):
        context.shape = (1,)
    assert bound.kernels()["similarity.score"] == "attnlab:scaled_dot_product"
    assert Mechanism().bind("reference").kernels()["similarity.score"] == "reference"
