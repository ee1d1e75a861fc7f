"""Modifiers: published values, the order in which they act, and a bias that forbids."""

from __future__ import annotations

import numpy as np
import pytest

import attnlab
from attnlab import Mechanism, Modifier, SettingError, ShapeError, Unsupported, namespace
from attnlab.parts.modifiers import Bias, Softcap


class Shifted(Modifier):
    """A learned number added to every score of the queries before."""

    name = "shifted_specimen"

    def init(self, d_query):
        return {"shift": np.full((), 1.0 / d_query)}

    def modify(self, S, shift):
        return S + shift


class Centred(Modifier):
    """Scores minus their mean over queries."""

    name = "centred_specimen"
    couples_rows = True

    def modify(self, S):
        return S - namespace(S).mean(S, axis=-2, keepdims=True)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(3)
    return rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 2))


def softmax(S):
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


def test_softcap_has_the_published_values():
    np.testing.assert_allclose(Softcap(5.0).modify(np.array([-10.0, 0.0, 0.5]))[[0, 1]], [-4.8201379, 0.0], rtol=1e-7)
    np.testing.assert_allclose(Softcap(5.0).modify(np.array([-2.0, 0.5])), [-1.8997448, 0.4983400], rtol=1e-6)
    np.testing.assert_allclose(Softcap(30.0).modify(np.array([100.0])), [29.9237390], rtol=1e-8)


def test_a_modifier_acts_between_scores_and_mask(drawn):
    Q, K, V = drawn
    mask = np.tri(3, 5, dtype=bool)
    S = 2.0 * np.tanh(Q @ K.swapaxes(-1, -2) / 2 / 2.0)
    W = softmax(np.where(mask, S, -np.inf))
    found = Mechanism("scaled_dot", mask="causal", modifier=Softcap(2.0)).attend(None, Q, K, V)
    np.testing.assert_allclose(found, W @ V, rtol=1e-12)


def test_several_act_in_their_order(drawn):
    Q, K, _ = drawn
    S, B = Q @ K.swapaxes(-1, -2), np.linspace(-3, 3, 15).reshape(3, 5)
    cap = {"softcap": {"cap": 2.0}}
    first = attnlab.attention_weights(Q, K, "dot", modifier=[cap, {"bias": {"array": B}}])
    last = attnlab.attention_weights(Q, K, "dot", modifier=[{"bias": {"array": B}}, cap])
    np.testing.assert_allclose(first, softmax(2 * np.tanh(S / 2) + B), rtol=1e-12)
    np.testing.assert_allclose(last, softmax(2 * np.tanh((S + B) / 2)), rtol=1e-12)
    assert np.abs(first - last).max() > 0.01


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (3, 1), (5,), (2, 3, 5), (2, 1, 5), ()])
def test_a_bias_is_added_and_broadcasts(drawn, shape):
    Q, K, _ = drawn
    B = np.random.default_rng(1).normal(size=shape)
    found = attnlab.attention_weights(Q, K, "dot", modifier={"bias": {"array": B}})
    np.testing.assert_allclose(found, softmax(Q @ K.swapaxes(-1, -2) + B), rtol=1e-12)


def test_minus_infinity_in_a_bias_is_a_mask_before_anything_is_counted(drawn):
    Q, K, V = drawn
    B = np.zeros((3, 5))
    B[0, 1:] = B[1] = -np.inf
    B[2, 3] = 2.0
    allowed = np.isfinite(B)
    for normaliser in ("softmax", "logn_softmax", "sigmoid", "sparsemax", "entmax"):
        with_bias = Mechanism("dot", normaliser, modifier=Bias(B))
        plain = Mechanism("dot", normaliser, modifier=Bias(np.where(allowed, B, 0)), mask=allowed)
        np.testing.assert_array_equal(with_bias.weights(None, Q, K), plain.weights(None, Q, K))
        assert (with_bias.weights(None, Q, K)[:, 1] == 0).all()
        np.testing.assert_array_equal(with_bias.attend(None, Q, K, V)[:, 1], 0)


def test_a_bias_finds_its_row_at_each_step(drawn):
    Q, K, V = drawn
    B = np.random.default_rng(1).normal(size=(3, 5))
    B[0, 0] = -np.inf
    mechanism = Mechanism("dot", modifier=Bias(B))
    whole = mechanism.attend(None, Q, K, V)
    for t in range(3):
        Y, _, _ = mechanism.step(None, Q[:, t : t + 1], K, V, None, t)
        np.testing.assert_allclose(Y, whole[:, t : t + 1], rtol=1e-12)


def test_a_bias_from_a_file_is_the_array(drawn, tmp_path):
    Q, K, _ = drawn
    B = np.random.default_rng(1).normal(size=(3, 5))
    np.save(tmp_path / "b.npy", B)
    one = attnlab.attention_weights(Q, K, modifier={"bias": {"path": str(tmp_path / "b.npy")}})
    np.testing.assert_array_equal(one, attnlab.attention_weights(Q, K, modifier=Bias(B)))


@pytest.mark.parametrize(
    ("bias", "error", "said"),
    [
        ({"array": [[np.nan, 0.0]]}, SettingError, "real numbers or -inf.*1 NaN"),
        ({"array": [[np.inf, 0.0]]}, SettingError, r"1 \+inf"),
        ({"array": np.zeros((3, 4))}, ShapeError, "bias"),
        ({"array": "numbers"}, SettingError, "must hold real numbers or -inf"),
        ({"array": [[0.0], [1.0, 2.0]]}, ShapeError, "must be an array, or lists of lists of the same length"),
        ({"array": np.ones((3, 5), bool)}, SettingError, "must hold real numbers or -inf.*bool"),
        ({"array": np.zeros((2, 5))}, ShapeError, "bias.*2 rows.*query at position 2"),
        ({"path": "nowhere.npy"}, SettingError, "path must be a .npy file.*nowhere"),
        ({"path": "b.npy", "array": np.zeros((3, 5))}, SettingError, "array or path, not both"),
    ],
)
def test_a_bias_that_cannot_be_added_is_refused(drawn, bias, error, said):
    Q, K, _ = drawn
    with pytest.raises(error, match=said):
        attnlab.attention_weights(Q, K, modifier={"bias": bias})


def test_what_modifiers_learn_lies_under_their_names(drawn):
    Q, K, V = drawn
    mechanism = Mechanism("dot", modifier=["softcap", Shifted()])
    params = mechanism.init(0, 4, 4, 2)
    assert params["modifier"] == {"softcap": {}, "shifted_specimen": {"shift": 0.25}}
    bound = mechanism.bind()
    Y, back = bound.pull(params, Q, K, V, bound.context(Q, K, V), frozenset({"params"}))
    gradient = back(np.ones_like(Y))["params"]["modifier"]["shifted_specimen"]["shift"]
    assert gradient == pytest.approx(0, abs=1e-12)  # softmax does not see a shift
    sigmoid = Mechanism("dot", "sigmoid", modifier=Shifted()).bind()
    params = {**params, "modifier": {"shifted_specimen": {"shift": np.asarray(0.25)}}}
    total = lambda s: sigmoid.attend(  # noqa: E731
        {**params, "modifier": {"shifted_specimen": {"shift": np.asarray(s)}}}, Q, K, V, context
    ).sum()
    context = sigmoid.context(Q, K, V)
    Y, back = sigmoid.pull(params, Q, K, V, context, frozenset({"params"}))
    found = back(np.ones_like(Y))["params"]["modifier"]["shifted_specimen"]["shift"]
    assert found == pytest.approx((total(0.25 + 1e-6) - total(0.25 - 1e-6)) / 2e-6, rel=1e-6)
    with pytest.raises(attnlab.NotInitialised, match=r"modifier 'shifted_specimen' has arrays to learn \(shift\)"):
        mechanism.attend(None, Q, K, V)
    with pytest.raises(SettingError, match="clipped under modifier; the mechanism has the modifiers softcap"):
        Mechanism(modifier="softcap").attend({"modifier": {"clipped": {}}}, Q, K, V)


def test_a_modifier_that_couples_queries_has_no_steps_and_is_not_split(drawn, monkeypatch):
    Q, K, V = drawn
    mechanism = Mechanism("dot", modifier=Centred())
    whole = mechanism.attend(None, Q, K, V)
    monkeypatch.setattr("attnlab.mechanisms.bound.BLOCK", 5)
    np.testing.assert_array_equal(mechanism.attend(None, Q, K, V), whole)
    with pytest.raises(Unsupported, match="'centred_specimen' needs the scores of other queries"):
        mechanism.step(None, Q[:, :1], K, V, None, 0)


def test_one_modifier_acts_once():
    with pytest.raises(SettingError, match="'softcap' is given twice"):
        Mechanism(modifier=["softcap", {"softcap": {"cap": 2.0}}]).parts()
    with pytest.raises(attnlab.UnknownName, match=r"no modifier 'softcop' \(did you mean softcap"):
        Mechanism(modifier="softcop").parts()
    assert Mechanism(modifier=["none", "softcap"]).parts().modifiers[0].name == "softcap"


def test_settings_of_a_modifier_by_name():
    mechanism = Mechanism(modifier="softcap").set_params(modifier__cap=7.0)
    assert mechanism.get_params()["modifier__cap"] == 7.0
    assert Mechanism().get_params()["modifier"] == "none"
    with pytest.raises(SettingError, match=r"modifier is a list of 2.*set_params\(modifier=\[\.\.\.\]\)"):
        Mechanism(modifier=["softcap", "bias"]).set_params(modifier__cap=7.0)


def test_a_float_mask_is_told_of_the_bias(drawn):
    Q, K, V = drawn
    for mechanism, mask in ((Mechanism(mask=np.zeros((3, 5))), None), (Mechanism(), np.zeros((3, 5)))):
        with pytest.raises(TypeError, match=r"must be boolean.*modifier=\{'bias'"):
            mechanism.attend(None, Q, K, V, mask)


# -- normalise ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("normaliser", attnlab.names("normaliser"))
def test_normalise_is_the_normaliser_of_a_mechanism(normaliser):
    rng = np.random.default_rng(0)
    S, mask = rng.normal(size=(2, 3, 4)), rng.random((2, 3, 4)) < 0.7
    mask[0, 1] = False
    S = np.abs(S) if attnlab.get("normaliser", normaliser).nonnegative_scores else S
    mechanism = Mechanism("dot", normaliser)
    params = mechanism.init(rng, 4, 4, 1)
    eye = np.broadcast_to(np.eye(4), (2, 4, 4))
    expected = mechanism.weights(params, S, eye, mask)
    np.testing.assert_allclose(attnlab.normalise(S, normaliser, mask, params["normaliser"]), expected, rtol=1e-12)
    assert (expected[~mask] == 0).all()


def test_normalise_refuses_what_are_no_scores():
    with pytest.raises(ShapeError, match=r"S must be \(\.\.\., q, k\)"):
        attnlab.normalise(np.zeros(3))
    with pytest.raises(ShapeError, match="mask"):
        attnlab.normalise(np.zeros((2, 3)), mask=np.ones((2, 4), bool))
    with pytest.raises(SettingError, match="params must be the normaliser's arrays"):
        attnlab.normalise(np.zeros((2, 3)), params=[1])
