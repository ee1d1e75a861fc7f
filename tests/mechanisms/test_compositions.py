"""Mechanisms made of mechanisms: values by an independent sum over heads, gradients by differences, and strangers' own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

import attnlab
from attnlab import AttentionAligner, Mechanism, MechanismComponent, SettingError, Unsupported
from attnlab.mechanisms.binding import BoundComposition, with_heads
from attnlab.mechanisms.compositions import Mixture, MultiHead
from attnlab.mechanisms.pullback import leaves, rebuilt


class Averaged(MechanismComponent):
    """Half of one and half of the other; what it is handed, it hands on."""

    name = "averaged_specimen"

    def __init__(self, left: MechanismComponent, right: MechanismComponent):
        self.left = left
        self.right = right

    def init(self, rng, d_query, d_key, d_value):
        return {
            "left": self.left.init(rng, d_query, d_key, d_value),
            "right": self.right.init(rng, d_query, d_key, d_value),
        }

    def attend(self, params, Q, K, V, **context):
        left = self.left.attend(params["left"], Q, K, V, **context)
        return (left + self.right.attend(params["right"], Q, K, V, **context)) / 2

    def weights(self, params, Q, K, **context):
        return (
            self.left.weights(params["left"], Q, K, **context) + self.right.weights(params["right"], Q, K, **context)
        ) / 2


class OnlyMask(MechanismComponent):
    """Names what it takes, and takes no more than a mask."""

    name = "only_mask_specimen"

    def __init__(self, inside: MechanismComponent):
        self.inside = inside

    def init(self, rng, d_query, d_key, d_value):
        return self.inside.init(rng, d_query, d_key, d_value)

    def attend(self, params, Q, K, V, mask=None):
        return self.inside.attend(params, Q, K, V, mask)

    def weights(self, params, Q, K, mask=None):
        return self.inside.weights(params, Q, K, mask)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(5)
    mask = rng.random((2, 3, 5)) < 0.7
    mask[0, 1] = False
    return rng.normal(size=(2, 3, 6)), rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 3)), mask


def softmax(S, mask):
    E = np.where(mask, np.exp(S), 0)
    total = E.sum(axis=-1, keepdims=True)
    return E / np.where(total > 0, total, 1)


@pytest.mark.parametrize(("heads", "kv"), [(1, 1), (2, 2), (4, 2), (4, 1)])
def test_multi_head_is_a_sum_over_heads(drawn, heads, kv):
    Q, K, V, mask = drawn
    e = 3
    mechanism = MultiHead(Mechanism("scaled_dot"), heads=heads, kv_heads=kv, head_dim=e)
    params = mechanism.init(np.random.default_rng(0), 6, 4, 3)
    Y, W = 0, []
    for h in range(heads):
        own, shared = slice(h * e, (h + 1) * e), slice(h // (heads // kv) * e, (h // (heads // kv) + 1) * e)
        q, k, v = Q @ params["Wq"][:, own], K @ params["Wk"][:, shared], V @ params["Wv"][:, shared]
        w = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(e), mask)
        W.append(w)
        Y = Y + w @ v @ params["Wo"][own]
    np.testing.assert_allclose(mechanism.attend(params, Q, K, V, mask), Y, rtol=1e-11)
    np.testing.assert_allclose(mechanism.weights(params, Q, K, mask, heads=True), np.stack(W, axis=1), rtol=1e-11)
    np.testing.assert_allclose(mechanism.weights(params, Q, K, mask), np.mean(W, axis=0), rtol=1e-11)
    np.testing.assert_array_equal(mechanism.attend(params, Q, K, V, mask)[0, 1], 0)
    bound = mechanism.bind()
    context = bound.context(Q, K, V, mask)
    np.testing.assert_allclose(bound.attend(params, Q, K, V, context), Y, rtol=1e-11)


def test_each_head_may_have_a_mechanism_of_its_own(drawn):
    Q, K, _V, mask = drawn
    inside = [Mechanism("additive", "sparsemax"), Mechanism("dot", mask="causal")]
    mechanism = MultiHead(inside, heads=2, head_dim=3)
    params = mechanism.init(np.random.default_rng(0), 6, 4, 3)
    assert set(params["mechanism"]) == {"0", "1"}
    W = mechanism.weights(params, Q, K, mask, heads=True)
    for h, one in enumerate(inside):
        here = slice(3 * h, 3 * h + 3)
        expected = one.weights(params["mechanism"][str(h)], Q @ params["Wq"][:, here], K @ params["Wk"][:, here], mask)
        np.testing.assert_allclose(W[:, h], expected, rtol=1e-12)
    with pytest.raises(SettingError, match="one mechanism for each of 3 heads; got 2"):
        MultiHead(inside, heads=3).init(np.random.default_rng(0), 6, 4, 3)
    with pytest.raises(SettingError, match="kv_heads must divide heads = 4; got 3"):
        MultiHead(heads=4, kv_heads=3).init(np.random.default_rng(0), 6, 4, 3)


def compositions():
    inner = Mechanism("additive", "entmax", position="learned", modifier="softcap")
    return [
        MultiHead(Mechanism("general", position="rope", mask="causal"), heads=2, kv_heads=1),
        MultiHead([Mechanism("cosine"), inner], heads=2),
        Mixture(inner, Mechanism("neg_l2", "sigmoid")),
        Mixture(MultiHead(inner, heads=2), Averaged(Mechanism("dot"), Mechanism("general"))),
        Averaged(Mechanism("additive"), Mechanism("coverage")),
        OnlyMask(Mechanism("general", "sparsemax")),
    ]


@pytest.mark.parametrize("mechanism", compositions(), ids=lambda m: m.name)
def test_bound_is_unbound_and_gradients_are_differences(drawn, mechanism):
    Q, K, V, mask = drawn
    K = np.concatenate(
        [K, K[..., :2] * 0.5], axis=-1
    )  # as many features as queries, for those that compare them as they are
    rng = np.random.default_rng(1)
    params = mechanism.init(rng, 6, 6, 3)
    params = rebuilt(params, {path: np.asarray(a) + 0.1 * rng.normal(size=np.shape(a)) for path, a in leaves(params)})
    bound = mechanism.bind()
    assert isinstance(bound, BoundComposition)
    context = bound.context(Q, K, V, mask)
    Y = mechanism.attend(params, Q, K, V, mask=mask)
    W = mechanism.weights(params, Q, K, mask=mask)
    np.testing.assert_allclose(bound.attend(params, Q, K, V, context), Y, rtol=1e-12)
    np.testing.assert_allclose(bound.weights(params, Q, K, context), W, rtol=1e-12)
    assert (W[~mask] == 0).all()

    g = rng.normal(size=Y.shape)
    _, back = bound.pull(params, Q, K, V, context, frozenset({"Q", "K", "V", "params"}))
    found = back(g)
    directions = {"Q": rng.normal(size=Q.shape), "K": rng.normal(size=K.shape), "V": rng.normal(size=V.shape)}
    h, slope = 1e-6, 0.0
    moved = {path: rng.normal(size=np.shape(a)) for path, a in leaves(params)}

    def at(t):
        now = rebuilt(params, {path: a + t * moved[path] for path, a in leaves(params)})
        here = (X + t * directions[n] for n, X in (("Q", Q), ("K", K), ("V", V)))
        return float((mechanism.attend(now, *here, mask=mask) * g).sum())

    slope = (at(h) - at(-h)) / (2 * h)
    mine = sum(float((found[n] * d).sum()) for n, d in directions.items())
    mine += sum(float(np.sum(a * moved[path])) for path, a in leaves(found["params"]))
    assert mine == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("mechanism", compositions(), ids=lambda m: m.name)
def test_an_aligner_learns_a_composition_and_gives_no_key_a_name_twice(mechanism):
    data = attnlab.get("task", "lookup", n_keys=4, d=6, n_train=64).make(np.random.default_rng(0)).train
    aligner = AttentionAligner(mechanism, projection=6, steps=30, random_state=0).fit(data)
    assert set(aligner.params_) == {"mechanism", "projection", "readout"}
    assert np.mean(aligner.loss_curve_[-5:]) < np.mean(aligner.loss_curve_[:5])
    assert aligner.align(data).shape == (64, data.n_queries, 4)
    again = clone(aligner).fit(data)
    np.testing.assert_array_equal(again.loss_curve_, aligner.loss_curve_)


def test_steps_are_the_rows_of_the_whole(drawn):
    Q, K, V, mask = drawn
    mechanism = MultiHead(Mechanism("general", position="rope", mask="causal"), heads=2)
    params = mechanism.init(np.random.default_rng(0), 6, 4, 3)
    Y, W = mechanism.attend(params, Q, K, V, mask), mechanism.weights(params, Q, K, mask)
    for t in range(3):
        y, w, _ = mechanism.step(params, Q[:, t : t + 1], K, V, None, t, mask[:, t : t + 1])
        np.testing.assert_allclose(y, Y[:, t : t + 1], rtol=1e-11)
        np.testing.assert_allclose(w, W[:, t : t + 1], rtol=1e-11)
    remembers = MultiHead(Mechanism("coverage"), heads=2)
    assert remembers.is_stateful
    with pytest.raises(
        Unsupported, match="'multi_head' has no steps of its own, and its setting 'mechanism' remembers"
    ):
        remembers.step(remembers.init(np.random.default_rng(0), 6, 6, 3), Q[:, :1], Q, V, None, 0)


def test_lengths_and_positions_reach_the_heads(drawn):
    Q, K, _V, _ = drawn
    mechanism = MultiHead(Mechanism("general", position="diagonal"), heads=2)
    params = mechanism.init(np.random.default_rng(0), 6, 4, 3)
    lengths = np.array([[3, 5], [2, 4]])
    for n in range(2):
        alone = mechanism.weights(params, Q[n], K[n], lengths=lengths[n])
        together = mechanism.weights(params, Q, K, lengths=lengths)
        np.testing.assert_allclose(together[n], alone, rtol=1e-11)
    handed = with_heads({"mask": np.ones((2, 3, 5), bool), "lengths": lengths, "q_index": np.arange(3), "rng": None})
    assert handed["mask"].shape == (2, 1, 3, 5)
    assert handed["lengths"].shape == (2, 1, 2)
    assert handed["q_index"].shape == (3,)


def test_names_and_mappings_are_built_where_they_are_used(drawn):
    Q, K, V, _ = drawn
    by_name = attnlab.get(
        "mechanism", "multi_head", heads=2, mechanism={"similarity": "general", "normaliser": "sparsemax"}
    )
    raw = MultiHead({"similarity": "general", "normaliser": "sparsemax"}, heads=2)
    params = by_name.init(np.random.default_rng(0), 6, 4, 3)
    np.testing.assert_array_equal(by_name.attend(params, Q, K, V), raw.attend(params, Q, K, V))
    bound = raw.bind()
    np.testing.assert_array_equal(
        bound.attend(params, Q, K, V, bound.context(Q, K, V)), by_name.attend(params, Q, K, V)
    )
    assert bound.kernels()["mechanism.normaliser.normalise"] == "attnlab:sparsemax_rows"
    assert raw.bind("reference").kernels()["mechanism.normaliser.normalise"] == "reference"
    by_name.set_params(mechanism__similarity="additive", mechanism__similarity__hidden=3)
    assert by_name.init(np.random.default_rng(0), 6, 4, 3)["mechanism"]["similarity"]["v"].shape == (3,)


def test_a_composition_without_its_arrays_says_so(drawn):
    Q, K, V, _ = drawn
    with pytest.raises(attnlab.NotInitialised, match=r"'multi_head' has arrays to learn: params = mechanism\.init"):
        MultiHead(heads=2).attend(None, Q, K, V)
