"""Mechanism: masks, dead rows, blocks, steps, state, settings by name, and the sentences of its errors."""

from __future__ import annotations

import math

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import attnlab
from attnlab import ComponentError, Mechanism, NotInitialised, SettingError, ShapeError, UnknownName, namespace
from attnlab.kinds import PARTS
from attnlab.mechanisms import bound as engine
from attnlab.parts.masks import Causal, Window
from attnlab.parts.normalisers import Softmax
from attnlab.parts.similarities import Additive, Dot, NegL2

SIMILARITIES = ("dot", "scaled_dot", "cosine", "general", "additive", "neg_l2", "uniform")
NORMALISERS = ("softmax", "softmax_n", "logn_softmax", "sparsemax", "entmax", "sigmoid", "hardmax")


def drawn(seed=0, *lead, q=4, k=6, d=5, v=3):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(*lead, *tail)) for tail in ((q, d), (k, d), (k, v)))


def started(mechanism, seed=0, d=5, v=3):
    return mechanism.init(np.random.default_rng(seed), d, d, v)


class Shy(attnlab.Similarity):
    """Dot product minus what a key got so far: stateful, with an array to learn."""

    name = "shy_specimen"

    def init(self, rng):
        return {"shyness": np.asarray(2.0)}

    def initial_state(self, n_keys, leading):
        return np.zeros((*leading, 1, n_keys))

    def update(self, state, W):
        return state + W

    def score(self, Q, K, shyness, state):
        xp = namespace(Q, K, shyness)
        return xp.matmul(Q, xp.matrix_transpose(K)) - shyness * state


@pytest.fixture
def shy():
    attnlab.register(Shy)
    yield "shy_specimen"
    from attnlab import registry

    registry._registered.pop(("similarity", "shy_specimen"))


class Wandering(attnlab.Aggregator):
    """A weighted sum whose features lie elsewhere."""

    name = "wandering_specimen"

    def aggregate(self, W, V):
        return namespace(W, V).flip(W @ V, axis=-1)


# -- the formula -----------------------------------------------------------------------------------------------------
def test_it_is_compare_normalise_sum_up():
    Q, K, V = drawn(0, 2)
    S = np.einsum("nid,njd->nij", Q, K) / np.sqrt(5)
    E = np.exp(S)
    W = E / E.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(Mechanism().weights(None, Q, K), W, rtol=1e-12)
    np.testing.assert_allclose(Mechanism().attend(None, Q, K, V), np.einsum("nij,njv->niv", W, V), rtol=1e-12)


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_combination_attends_and_is_the_same_twice(similarity, normaliser):
    Q, K, V = drawn(1, 2)
    for position, mask in (("none", "all"), ("sinusoidal", "causal")):
        mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
        params = started(mechanism)
        Y = mechanism.attend(params, Q, K, V)
        assert Y.shape == (2, 4, 3)
        np.testing.assert_array_equal(Y, mechanism.attend(params, Q, K, V))
        np.testing.assert_allclose(Y, mechanism.weights(params, Q, K) @ V, rtol=1e-12)


def test_queries_and_keys_broadcast_their_leading_axes():
    Q, _, _ = drawn(2, 3, 1)
    _, K, V = drawn(3, 2)
    Y = Mechanism().attend(None, Q, K, V)
    assert Y.shape == (3, 2, 4, 3)
    np.testing.assert_allclose(Y[1, 0], Mechanism().attend(None, Q[1, 0], K[0], V[0]), rtol=1e-12)


# -- masks -------------------------------------------------------------------------------------------------------------
def test_masks_of_all_sorts_combine_by_and():
    Q, K, _ = drawn(4, 2)
    rng = np.random.default_rng(0)
    whole = rng.random((2, 4, 6)) < 0.8
    keys = np.array([True, True, False, True, True, True])
    causal, window = np.tril(np.ones((4, 6), dtype=bool)), np.abs(np.arange(6) - np.arange(4)[:, None]) <= 2
    expected = whole & keys & causal & window
    mechanism = Mechanism(mask=["causal", {"window": {"width": 2}}, keys])
    np.testing.assert_array_equal(mechanism.weights(None, Q, K, whole) > 0, expected)
    np.testing.assert_array_equal(Mechanism(mask=Causal()).weights(None, Q, K, whole & keys & window) > 0, expected)
    np.testing.assert_array_equal(Mechanism(mask=expected).weights(None, Q, K) > 0, expected)
    np.testing.assert_array_equal(Mechanism(mask=[]).weights(None, Q, K), Mechanism().weights(None, Q, K))


def test_a_mask_may_bring_leading_axes_of_its_own():
    Q, K, V = drawn(5)
    mask = np.ones((3, 1, 6), dtype=bool)
    mask[1, :, 2] = False
    W = Mechanism("uniform").weights(None, Q, K, mask)
    assert W.shape == (3, 4, 6)
    np.testing.assert_allclose(W[1], np.where(mask[1], 0.2, 0) * np.ones((4, 1)))
    assert Mechanism().attend(None, Q, K, V, mask).shape == (3, 4, 3)


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("similarity", ["scaled_dot", "additive", "cosine"])
def test_dead_rows_are_exactly_zero_with_finite_gradients(similarity, normaliser):
    Q, K, V = drawn(6, 2)
    mask = np.random.default_rng(1).random((2, 4, 6)) < 0.6
    mask[0, 1] = mask[1] = False
    mechanism = Mechanism(similarity, normaliser)
    params = started(mechanism)
    W = mechanism.weights(params, Q, K, mask)
    np.testing.assert_array_equal(W[~mask], 0)
    np.testing.assert_array_equal(mechanism.attend(params, Q, K, V, mask)[1], 0)
    alone = mechanism.weights(params, Q[0, :1], K[0], mask[0, :1])
    np.testing.assert_allclose(W[0, :1], alone, rtol=1e-12)

    def loss(Q, K, V, params):
        return (mechanism.attend(params, Q, K, V, mask) ** 2).sum()

    gradients = [autograd.grad(loss, i)(Q, K, V, params) for i in range(3)]
    if params["similarity"]:
        gradients += autograd.grad(loss, 3)(Q, K, V, params)["similarity"].values()
    for g in gradients:
        assert np.isfinite(g).all()
    np.testing.assert_array_equal(gradients[0][1], 0)


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_a_row_with_one_key_and_padding(normaliser):
    Q, K, V = drawn(7)
    mechanism = Mechanism("dot", normaliser)
    one = np.zeros((4, 6), dtype=bool)
    one[:, 2] = True
    W = mechanism.weights(None, Q, K, one)
    np.testing.assert_allclose(W[:, 2:3], mechanism.weights(None, Q, K[2:3]), rtol=1e-12)
    padded = np.concatenate([K, 100 + K[:3]]), np.concatenate([V, 100 + V[:3]])
    mask = np.arange(9) < 6
    np.testing.assert_allclose(
        mechanism.attend(None, Q, *padded, mask), mechanism.attend(None, Q, K, V), rtol=1e-9, atol=1e-12
    )


@given(
    normaliser=st.sampled_from(NORMALISERS),
    aggregator=st.sampled_from(["weighted_sum", "gather", Wandering()]),
    seed=st.integers(0, 999),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_what_a_forbidden_place_holds_changes_nothing(normaliser, aggregator, seed, bad):
    """NaN and infinity neither: not the contexts of those that may not see it, nor any gradient."""
    Q, K, V = drawn(seed, 2)
    rng = np.random.default_rng(seed)
    mask = rng.random((2, 4, 6)) < 0.6
    mask[:, 1:, 3] = False  # query 0 may see key 3, the others may not
    mask[:, 0, 3] = True
    mask[:, :, 5] = False  # nobody may see key 5
    mask[0, 2] = False  # and query 2 of the first example nobody
    spoilt = [a.copy() for a in (Q, K, V)]
    spoilt[0][0, 2], spoilt[1][:, 5], spoilt[2][:, 5] = bad, bad, bad
    mechanism = Mechanism("general", normaliser, aggregator)
    params = started(mechanism, seed)
    weight = rng.normal(size=(2, 4, 3))

    def loss(params, Q, K, V):
        return (mechanism.attend(params, Q, K, V, mask) * weight).sum()

    np.testing.assert_array_equal(mechanism.weights(params, *spoilt[:2], mask), mechanism.weights(params, Q, K, mask))
    np.testing.assert_array_equal(mechanism.attend(params, *spoilt, mask), mechanism.attend(params, Q, K, V, mask))
    for found, expected in zip(
        *(autograd.grad(loss, argnum=(0, 1, 2, 3))(params, *arrays) for arrays in (spoilt, (Q, K, V))), strict=True
    ):
        found, expected = (a["similarity"]["W"] if isinstance(a, dict) else a for a in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)

    spoilt[2][:, 3] = bad  # seen by query 0 alone
    Y = mechanism.attend(params, *spoilt, mask)
    np.testing.assert_allclose(Y[:, 1:], mechanism.attend(params, Q, K, V, mask)[:, 1:], rtol=1e-12)
    assert not np.isfinite(Y[:, 0]).any()


def test_no_keys_no_queries_no_examples():
    Q, K, V = drawn(8, 2)
    for name in SIMILARITIES:
        mechanism = Mechanism(name, position="sinusoidal", mask="causal")
        params = started(mechanism)
        np.testing.assert_array_equal(mechanism.attend(params, Q, K[:, :0], V[:, :0]), np.zeros((2, 4, 3)))
        assert mechanism.weights(params, Q, K[:, :0]).shape == (2, 4, 0)
        assert mechanism.attend(params, Q[:, :0], K, V).shape == (2, 0, 3)
        assert mechanism.attend(params, Q[:0], K[:0], V[:0]).shape == (0, 4, 3)


# -- blocks and steps ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("block", [1, 500, 5000])
def test_blocks_of_queries_are_the_whole(block, monkeypatch):
    """A block is of as many numbers as the part forms, 32 for each pair of `additive`, 3 for one of `neg_l2`."""
    Q, K, V = drawn(9, 2, q=7)
    mask = np.random.default_rng(2).random((2, 7, 6)) < 0.7
    for mechanism in (
        Mechanism("additive", "sparsemax", position="sinusoidal", mask=["causal", np.arange(6) != 1]),
        Mechanism("neg_l2", "sigmoid", "gather"),
    ):
        params = started(mechanism)
        whole = mechanism.attend(params, Q, K, V, mask)
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(engine, "BLOCK", block)
            patch.setattr(type(mechanism.parts().similarity), "score", _counted(mechanism, calls))
            bound = mechanism.bind("reference")
            found = bound.attend(params, Q, K, V, bound.context(Q, K, V, mask))
            np.testing.assert_allclose(found, whole, rtol=1e-12, atol=1e-15)
        each = {"additive": 32, "neg_l2": 3}[mechanism.similarity]
        rows = [math.prod(shape[:-1]) for shape in calls]
        assert sum(rows) == 2 * 7
        assert max(rows) * 6 * each <= max(block, 6 * each)


def _counted(mechanism, calls):
    cls = type(mechanism.parts().similarity)
    score = cls.score
    if cls is Additive:

        def counted(self, Q, K, Wq, Wk, b, v):
            calls.append(Q.shape)
            return score(self, Q, K, Wq, Wk, b, v)

    else:

        def counted(self, Q, K):
            calls.append(Q.shape)
            return score(self, Q, K)

    return counted


@pytest.mark.parametrize("similarity", ["scaled_dot", "additive", "shy_specimen"])
def test_step_by_step_is_the_whole(similarity, shy):
    Q, K, V = drawn(10, 2)
    rng = np.random.default_rng(3)
    own, given_mask = rng.random((4, 6)) < 0.8, rng.random((2, 4, 6)) < 0.8
    mechanism = Mechanism(similarity, "entmax", position="sinusoidal", mask=["causal", {"window": {"width": 2}}, own])
    params = started(mechanism)
    whole_W, whole_Y = mechanism.weights(params, Q, K, given_mask), mechanism.attend(params, Q, K, V, given_mask)
    state = None
    for t in range(4):
        Y, W, state = mechanism.step(params, Q[:, t : t + 1], K, V, state, t, given_mask[:, t : t + 1])
        np.testing.assert_allclose(W, whole_W[:, t : t + 1], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(Y, whole_Y[:, t : t + 1], rtol=1e-12, atol=1e-15)
    assert mechanism.is_stateful == (similarity == "shy_specimen")


def test_rows_at_their_q_index_are_the_rows_of_the_whole():
    Q, K, V = drawn(11)
    mechanism = Mechanism(position="sinusoidal", mask="causal")
    whole = mechanism.attend(None, Q, K, V)
    order = np.array([3, 1, 2])
    np.testing.assert_allclose(mechanism.attend(None, Q[order], K, V, q_index=order), whole[order], rtol=1e-12)
    keys = np.array([5, 0, 3])
    found = mechanism.weights(None, Q, K[keys], k_index=keys)
    np.testing.assert_array_equal(found > 0, keys <= np.arange(4)[:, None])


def test_state_is_what_the_part_said(shy):
    Q, K, V = drawn(12, 2)
    mechanism = Mechanism(shy)
    params = started(mechanism)
    assert params["similarity"] == {"shyness": 2.0}
    seen = np.zeros((2, 1, 6))
    for t in range(4):
        S = Q[:, t : t + 1] @ np.swapaxes(K, 1, 2) - 2 * seen
        W = np.exp(S) / np.exp(S).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(mechanism.weights(params, Q, K)[:, t : t + 1], W, rtol=1e-12)
        seen = seen + W
    gradient = autograd.grad(lambda p: (mechanism.attend(p, Q, K, V) ** 2).sum())(params)
    assert np.isfinite(gradient["similarity"]["shyness"])
    first = mechanism.weights(params, Q[:, :2], K)
    state = {"similarity": first.sum(axis=-2, keepdims=True)}
    rest = mechanism.weights(params, Q[:, 2:], K, state=state, q_index=np.array([2, 3]))
    np.testing.assert_allclose(rest, mechanism.weights(params, Q, K)[:, 2:], rtol=1e-12)


def test_step_errors():
    Q, K, V = drawn(13)
    with pytest.raises(ShapeError, match=r"step takes one query, Q \(\.\.\., 1, d\); got \(4, 5\)"):
        Mechanism().step(None, Q, K, V, None, 0)
    with pytest.raises(ShapeError, match=r"step 4 is outside the mechanism's mask \(\.\.\., q, k\) = \(4, 6\)"):
        Mechanism(mask=np.ones((4, 6), dtype=bool)).step(None, Q[:1], K, V, None, 4)


# -- in scikit-learn's manner ------------------------------------------------------------------------------------------
def test_params_by_name_nested_and_cloned():
    mechanism = Mechanism("cosine", {"softmax": {"temperature": 0.5}}, mask=[Causal()])
    params = mechanism.get_params()
    assert params["similarity"] == "cosine"
    assert params["similarity__temperature"] == "learned"
    assert params["normaliser__temperature"] == 0.5
    assert mechanism.get_params(deep=False).keys() == set(PARTS)
    copied = clone(mechanism)
    assert copied is not mechanism
    assert repr(copied) == repr(mechanism)
    assert copied.parts().normaliser.temperature == 0.5

    mechanism.set_params(similarity__sigma=2.0, similarity="neg_l2", normaliser__temperature=3.0)
    assert mechanism.similarity.sigma == 2.0
    assert mechanism.normaliser.temperature == 3.0
    assert copied.similarity == "cosine"
    assert mechanism.set_params(mask={"window": {"width": 1}}).set_params(mask__width=4).mask.width == 4


def test_set_params_leaves_the_object_that_was_given_alone():
    mine = NegL2(sigma=1.0)
    mechanism = Mechanism(mine, Softmax())
    mechanism.set_params(similarity__sigma=5.0)
    assert (mine.sigma, mechanism.similarity.sigma) == (1.0, 5.0)


class Louder(attnlab.Similarity):
    """Another similarity, times a factor."""

    name = "louder_specimen"

    def __init__(self, inner=None, factor=1.0):
        self.inner = inner
        self.factor = factor

    def score(self, Q, K):
        return self.factor * attnlab.call(self.inner, "score", Q=Q, K=K)


def test_set_params_reaches_into_a_wrapped_part():
    inner = NegL2(sigma=1.0)
    mechanism = Mechanism(Louder(inner, 2.0))
    assert mechanism.get_params()["similarity__inner__sigma"] == 1.0
    mechanism.set_params(similarity__inner__sigma=3.0, similarity__factor=4.0)
    assert (mechanism.similarity.inner.sigma, mechanism.similarity.factor, inner.sigma) == (3.0, 4.0, 1.0)
    Q, K, _ = drawn(14)
    expected = Mechanism(NegL2(sigma=1.5)).weights(None, Q, K)
    np.testing.assert_allclose(mechanism.weights(None, Q, K), expected, rtol=1e-12)


def test_init_is_by_part_by_name_and_by_rng():
    mechanism = Mechanism(Additive(hidden=7), position="sinusoidal")
    params = started(mechanism)
    assert {role: sorted(learned) for role, learned in params.items()} == {
        "similarity": ["Wk", "Wq", "b", "v"],
        "normaliser": [],
        "aggregator": [],
        "position": [],
        "modifier": [],
    }
    np.testing.assert_array_equal(params["similarity"]["Wq"], started(mechanism)["similarity"]["Wq"])
    assert not np.array_equal(params["similarity"]["Wq"], started(mechanism, seed=1)["similarity"]["Wq"])
    changed = started(mechanism.set_params(normaliser="sparsemax"))
    np.testing.assert_array_equal(params["similarity"]["Wq"], changed["similarity"]["Wq"])


def test_operations_are_the_sum_of_the_parts():
    assert Mechanism("dot").operations(10, 4, 4, 3) == 2 * 10 * 4 + 3 * 10 + 2 * 10 * 3
    assert np.isnan(Mechanism(Louder(Dot())).operations(10, 4, 4, 3))


def test_inputs_stay_as_they_are():
    arrays = drawn(15, 2)
    mask = np.ones((2, 4, 6), dtype=bool)
    mask[0, 0] = False
    kept = [a.copy() for a in (*arrays, mask)]
    for normaliser in NORMALISERS:
        Mechanism("neg_l2", normaliser, position="sinusoidal").attend(None, *arrays, mask)
    for now, before in zip((*arrays, mask), kept, strict=True):
        np.testing.assert_array_equal(now, before)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.lists(st.integers(1, 3), max_size=2))
def test_shapes(q, k, d, lead):
    Q, K, V = drawn(0, *lead, q=q, k=k, d=d, v=2)
    assert Mechanism().attend(None, Q, K, V).shape == (*lead, q, 2)
    assert Mechanism("uniform").weights(None, Q, K[..., :1]).shape == (*lead, q, k)


def test_float32_stays_with_every_part():
    Q, K, V = (a.astype(np.float32) for a in drawn(16, 2))
    mask = np.tri(4, 6, 1, dtype=bool)
    for similarity in SIMILARITIES:
        for normaliser in NORMALISERS:
            mechanism = Mechanism(similarity, normaliser, position="sinusoidal")
            params = {
                role: {n: a.astype(np.float32) for n, a in arrays.items()}
                for role, arrays in started(mechanism).items()
            }
            assert mechanism.attend(params, Q, K, V, mask).dtype == np.float32, (similarity, normaliser)


# -- errors --------------------------------------------------------------------------------------------------------------
def test_axes_that_disagree():
    with pytest.raises(ShapeError) as error:
        attnlab.attend(np.ones((2, 5, 3)), np.ones((2, 7, 4)), np.ones((2, 7, 2)))
    assert "axis 'd' disagrees: Q has 3, K has 4 (K is (..., k, d) = (2, 7, 4)" in str(error.value)
    Q, K, V = drawn(17, 2)
    with pytest.raises(ShapeError, match="axis 'k' disagrees: K has 6, V has 5"):
        attnlab.attend(Q, K, V[:, :5])
    with pytest.raises(ShapeError, match=r"leading axes do not broadcast: Q and K has \(2,\), V has \(3,\)"):
        attnlab.attend(Q, K, np.ones((3, 6, 2)))
    with pytest.raises(ShapeError, match=r"Q, K and mask has \(2,\), V has \(3,\)"):
        attnlab.attend(Q[0], K[0], np.ones((3, 6, 2)), mask=np.ones((2, 4, 6), dtype=bool))
    with pytest.raises(ShapeError, match=r"Q must have at least 2 axes, \(\.\.\., q, d\); got 1: shape \(5,\)"):
        attnlab.attend(Q[0, 0], K, V)


@pytest.mark.parametrize(
    ("context", "error", "message"),
    [
        ({"mask": np.ones((4, 6))}, TypeError, "mask must be boolean, True = may attend; got dtype float64"),
        ({"mask": np.ones((3, 6), dtype=bool)}, ShapeError, r"mask \(3, 6\) does not broadcast to .* \(\.\.\., 4, 6\)"),
        ({"mask": np.ones((5, 4, 6), dtype=bool)}, ShapeError, r"Q and K has \(2,\), mask has \(5,\)"),
        ({"q_index": [0, 1]}, ShapeError, r"q_index must end in axis 'q' = 4; got shape \(2,\)"),
        ({"k_index": np.arange(6.0)}, ValueError, "k_index must hold positions, integers from 0; got float64"),
        ({"q_index": [0, 1, 2, -1]}, ValueError, r"q_index must hold positions, integers from 0; .*-1"),
        ({"lengths": [4, 6, 8]}, ShapeError, r"lengths must be \(\.\.\., 2\)"),
    ],
)
def test_context_that_does_not_fit(context, error, message):
    Q, K, _ = drawn(18, 2)
    with pytest.raises(error, match=message):
        Mechanism().weights(None, Q, K, **context)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"similarity": "scaled_dott"}, UnknownName, r"no similarity 'scaled_dott' \(did you mean scaled_dot"),
        ({"similarity": "softmax"}, UnknownName, "'softmax' is a normaliser|no similarity 'softmax'"),
        ({"similarity": Dot}, SettingError, r"Dot is a class: give an object, Dot\(\), or its name 'dot'"),
        ({"similarity": Softmax()}, SettingError, "a similarity is a name, .* got Softmax"),
        ({"normaliser": {"softmax": {"temp": 1}}}, SettingError, "has no setting 'temp'.*it has temperature"),
        ({"normaliser": {"softmax": {}, "sparsemax": {}}}, SettingError, "with one name"),
        ({"mask": np.ones(6)}, TypeError, "a mask array must be boolean, True = may attend; got dtype float64"),
        ({"mask": [[True, False]]}, SettingError, r"a mask is a name.*write an array as numpy\.array"),
        ({"mask": [True] * 6}, SettingError, "a mask is a name"),
        ({"mask": 3}, SettingError, "a mask is a name"),
    ],
)
def test_parts_that_are_none(parts, error, message):
    Q, K, _ = drawn(19)
    with pytest.raises(error, match=message):
        Mechanism(**parts).weights(None, Q, K)


def test_params_that_do_not_fit():
    Q, K, V = drawn(20)
    mechanism = Mechanism("additive")
    with pytest.raises(NotInitialised, match=r"the similarity 'additive' has arrays to learn \(Wk, Wq, b, v\)"):
        mechanism.weights(None, Q, K)
    with pytest.raises(NotInitialised, match=r"'cosine' has arrays to learn \(log_temperature\)"):
        Mechanism("cosine").weights(None, Q, K)
    params = started(mechanism)
    del params["similarity"]["b"]
    with pytest.raises(NotInitialised, match=r"\(b\)"):
        mechanism.weights(params, Q, K)
    with pytest.raises(SettingError, match=r"unknown entry 'similarty' \(did you mean similarity\?\)"):
        mechanism.attend({"similarty": {}}, Q, K, V)
    params = {"similarity": {"log_temperature": np.zeros(()), "log_temprature": 1}}
    meant = r"unknown array 'log_temprature' for the similarity 'cosine' \(did you mean log_temperature\?\); it has log_temp"
    with pytest.raises(SettingError, match=meant):
        Mechanism("cosine").attend(params, Q, K, V)
    with pytest.raises(SettingError, match=r"unknown array 'X' for the similarity 'general'; it has W$"):
        Mechanism("general").attend({"similarity": {"W": np.eye(5), "X": 1}}, Q, K, V)
    with pytest.raises(SettingError, match="params has W for the similarity 'dot', which has nothing to learn"):
        Mechanism("dot").weights({"similarity": {"W": np.eye(5)}}, Q, K)
    with pytest.raises(SettingError, match=r"Mechanism has no part 'simlarity' \(did you mean similarity\?\)"):
        mechanism.set_params(simlarity="dot")
    with pytest.raises(SettingError, match="has no setting 'width'"):
        mechanism.set_params(similarity__width=3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"similarity": NegL2(sigma=0)}, "similarity 'neg_l2': sigma must be float, > 0; got 0"),
        ({"normaliser": Softmax(temperature=np.nan)}, "normaliser 'softmax': temperature must be float, > 0; got nan"),
        ({"similarity": Additive(hidden=0.5)}, r"similarity 'additive': hidden must be int, > 0; got 0\.5"),
        ({"mask": [Causal(), Window(width=-1)]}, "mask 'window': width must be int, >= 0; got -1"),
    ],
)
def test_objects_keep_to_the_ranges_of_their_settings(parts, message):
    mechanism, (Q, K, V) = Mechanism(**parts), drawn(21)
    for use in (
        lambda: mechanism.weights(None, Q, K),
        lambda: mechanism.attend(None, Q, K, V),
        lambda: mechanism.init(0, 5, 5, 3),
    ):
        with pytest.raises(SettingError, match=message):
            use()
    assert Mechanism(NegL2(sigma=np.float32(2)), Softmax(temperature=1)).weights(None, Q, K).shape == (4, 6)


def test_init_takes_numbers_of_features_and_chance():
    mechanism = Mechanism("general")
    with pytest.raises(ShapeError, match="d_query must be a number of features, an integer from 0; got -1"):
        mechanism.init(0, -1, 8, 3)
    with pytest.raises(ShapeError, match=r"d_value must be a number of features, an integer from 0; got 2\.5"):
        mechanism.init(0, 8, 8, 2.5)
    for rng in ("x", -1, 0.5):
        with pytest.raises(
            SettingError, match=r"rng must be a numpy\.random\.Generator, an integer from 0, or None; got"
        ):
            mechanism.init(rng, 8, 8, 3)


@pytest.mark.parametrize("similarity", [s for s in SIMILARITIES if s != "uniform"])
def test_without_features_there_is_nothing_to_compare(similarity):
    nothing = np.ones((2, 0)), np.ones((3, 0))
    with pytest.raises(ShapeError, match=rf"{similarity}' compares features, and there are none: Q is .* = \(2, 0\)"):
        attnlab.attention_weights(*nothing, similarity=similarity, rng=0)
    np.testing.assert_allclose(attnlab.attention_weights(*nothing, similarity="uniform"), 1 / 3)


class Wide(attnlab.Normaliser):
    """One weight too many."""

    name = "wide_specimen"

    def normalise(self, S):
        return np.concatenate([S, S[..., :1]], axis=-1)


class Lost(attnlab.Mask):
    """The wrong shape."""

    name = "lost_specimen"

    def allow(self, q_index, k_index):
        return np.ones((len(k_index), len(q_index)), dtype=bool)


class Positional(attnlab.Similarity):
    """Scores of positions alone, without leading axes."""

    name = "positional_specimen"
    content_free = True

    def score(self, q_index, k_index):
        return -np.abs(q_index[:, None] - k_index[None, :]).astype(float)


def test_parts_of_the_wrong_shape_are_named():
    Q, K, _ = drawn(21, 2)
    with pytest.raises(
        ComponentError, match=r"Wide\.normalise must return \(\.\.\., q, k\) = \(2, 4, 6\); got \(2, 4, 7\)"
    ):
        Mechanism(normaliser=Wide()).weights(None, Q, K)
    with pytest.raises(
        ComponentError,
        match=r"Lost\.allow\(q_index \(4,\), k_index \(6,\)\) must return bool \(\.\.\., q, k\) = \(4, 6\); got bool \(6, 4\)",
    ):
        Mechanism(mask=Lost()).weights(None, Q, K)


def test_scores_without_leading_axes_are_broadcast():
    Q, K, _ = drawn(22, 2, 3)
    for mask in (None, np.tri(4, 6, 2, dtype=bool)):
        W = Mechanism(Positional()).weights(None, Q, K, mask)
        assert W.shape == (2, 3, 4, 6)
        np.testing.assert_array_equal(W[0, 0], W[1, 2])
