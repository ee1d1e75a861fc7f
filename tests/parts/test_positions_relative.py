"""Learned and relative positions: formulas at entries computed by hand, laws of distance, lengths and offsets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab import Mechanism, get
from attnlab.errors import NotInitialised, SettingError, Unsupported
from attnlab.parts.relative import Alibi, Diagonal, GaussianLocal, Learned, T5Bias
from attnlab.parts.rotary import Rope
from attnlab.settings import checked
from attnlab.testing import check_component, parametrize_with_checks

VARIANTS = [
    Learned(positions=32),
    Alibi(),
    Alibi(slope="learned"),
    Rope(),
    Rope(base=10.0),
    Rope(layout="half"),
    Rope(dims=2),
    T5Bias(),
    T5Bias(buckets=4, max_distance=3),
    GaussianLocal(),
    Diagonal(),
    Diagonal(tension="learned"),
]


@parametrize_with_checks(VARIANTS)
def test_each_keeps_the_contract(component, check):
    check(component)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200), st.sampled_from([2, 5, 8]), st.integers(0, 10**6))
@settings(max_examples=40)
def test_rope_sees_positions_through_their_difference_alone(i, j, shift, d, seed):
    q, k = np.random.default_rng(seed).normal(size=(2, 1, d))

    def score(i, j):
        Q, K = Rope(base=100.0).place(q, k, np.array([i]), np.array([j]))
        return float(Q[0] @ K[0])

    assert score(i, j) == pytest.approx(score(i + shift, j + shift), abs=1e-9)
    turned, _ = Rope().place(q, k, np.array([i]), np.array([j]))
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(q))


def test_rope_at_entries_computed_by_hand():
    x = np.array([[1.0, 0.0, 0.0, 2.0, 7.0]])  # d = 5: angles p and p / 100^(2/5); the last feature stays
    turned, _ = Rope(base=100.0).place(x, x, np.array([3]), np.array([0]))
    b = 3 / 100**0.4
    np.testing.assert_allclose(turned, [[np.cos(3), np.sin(3), -2 * np.sin(b), 2 * np.cos(b), 7.0]], rtol=1e-12)
    still, _ = Rope().place(x, x, np.array([0]), np.array([0]))
    np.testing.assert_array_equal(still, x)


def test_alibi_and_diagonal_at_entries_computed_by_hand():
    S = np.ones((2, 3))
    np.testing.assert_allclose(
        Alibi(slope=0.25).bias(S, np.array([4, 5]), np.array([4, 6, 0])), [[1, 0.5, 0], [0.75, 0.75, -0.25]]
    )
    # m = 4 queries, n = 3 keys: |i/4 - j/3| for i = 2, 3 and j = 1, 2, 3
    away = [[1 / 6, 1 / 6, 1 / 2], [5 / 12, 1 / 12, 1 / 4]]
    found = Diagonal(tension=12.0).bias(S, np.array([1, 2]), np.arange(3), np.array([4, 3]))
    np.testing.assert_allclose(found, 1 - 12 * np.array(away), atol=1e-12)


def test_t5_buckets_are_those_of_the_published_rule():
    t5 = T5Bias(buckets=32, max_distance=128)
    # one bucket a distance below 8, then 8 + floor(log(d/8) / log(16) * 8), the last from 128 on; + 16 after the query
    expected = {0: 0, -3: 3, -7: 7, -8: 8, -11: 8, -12: 9, -16: 10, -32: 12, -64: 14, -127: 15, -128: 15, -5000: 15}
    assert {d: int(t5.buckets_of(np.array([d]))[0]) for d in expected} == expected
    for d in (1, 5, 8, 12, 64, 999):
        assert t5.buckets_of(np.array([d]))[0] == t5.buckets_of(np.array([-d]))[0] + 16
    b = np.arange(32.0)
    np.testing.assert_array_equal(
        t5.bias(np.zeros((1, 3)), np.array([10]), np.array([2, 10, 11]), b), [[8.0, 0.0, 17.0]]
    )
    with pytest.raises(SettingError, match=r"more than buckets / 4 = 8; got 8"):
        T5Bias(max_distance=8).bias(np.zeros((1, 1)), np.array([0]), np.array([0]), b)


def test_gaussian_local_is_a_bell_about_the_predicted_place_of_the_true_length():
    Q, Wp, vp = np.array([[1.0, 2.0]]), np.array([[0.3], [-0.4]]), np.array([1.5])
    p = 6 / (1 + np.exp(-1.5 * np.tanh(0.3 - 0.8)))
    W = np.full((1, 9), 0.1)
    found = GaussianLocal(width=4.0, hidden=1).reweigh(W, Q, np.arange(9), np.array([1, 6]), Wp, vp)
    np.testing.assert_allclose(found[0], 0.1 * np.exp(-((np.arange(9) - p) ** 2) / (2 * 2.0**2)), rtol=1e-12)


@pytest.mark.parametrize("position", VARIANTS, ids=repr)
def test_a_block_of_queries_and_padding_change_nothing(position):
    rng = np.random.default_rng(5)
    Q, K = rng.normal(size=(3, 6, 4)), rng.normal(size=(3, 7, 4))
    lengths = np.array([[6, 7], [2, 5], [4, 1]])
    mask = (np.arange(6) < lengths[:, :1])[:, :, None] & (np.arange(7) < lengths[:, 1:])[:, None, :]
    mechanism = Mechanism("dot", position=position)
    params = mechanism.init(rng, 4, 4, 4)
    whole = mechanism.weights(params, Q, K, mask, lengths=lengths)
    late = mechanism.weights(params, Q[:, 3:], K, mask[:, 3:], q_index=np.arange(3, 6), lengths=lengths)
    np.testing.assert_allclose(late, whole[:, 3:], atol=1e-12)
    for e, (m, n) in enumerate(lengths):
        alone = mechanism.weights(params, Q[e, :m], K[e, :n])
        np.testing.assert_allclose(alone, whole[e, :m, :n], atol=1e-12)


def test_learned_positions_refuse_what_lies_beyond_their_table():
    mechanism = Mechanism("dot", position=Learned(positions=4))
    params = mechanism.init(np.random.default_rng(0), 2, 2, 2)
    with pytest.raises(Unsupported, match="positions 0 to 3; got position 4"):
        mechanism.weights(params, np.ones((5, 2)), np.ones((3, 2)))


@pytest.mark.parametrize("position", ["alibi", "diagonal"])
def test_a_fixed_and_a_learned_strength_agree_at_its_start(position):
    setting, value = ("slope", 0.5) if position == "alibi" else ("tension", 4.0)
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    learned = Mechanism("dot", position={position: {setting: "learned"}})
    fixed = Mechanism("dot", position={position: {setting: value}})
    params = learned.init(rng, 3, 3, 3)
    np.testing.assert_allclose(learned.weights(params, Q, K), fixed.weights(None, Q, K), rtol=1e-12)
    with pytest.raises(NotInitialised, match=f"log_{setting}"):
        learned.weights(None, Q, K)


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (Learned, {"positions": 0}),
        (Learned, {"scale": 0.0}),
        (Alibi, {"slope": -1.0}),
        (Alibi, {"slope": "learnt"}),
        (Rope, {"base": 1.0}),
        (T5Bias, {"buckets": 30}),
        (GaussianLocal, {"width": 0.0}),
        (Diagonal, {"tension": -0.1}),
    ],
)
def test_settings_out_of_range_are_refused(cls, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        checked("position", cls, wrong)


def test_a_rope_that_forgets_offsets_is_found_out():
    class Forgetful(Rope.__base__):
        """Rotates by the place in the block."""

        name = "forgetful"

        def place(self, Q, K):
            return Rope().place(Q, K, np.arange(Q.shape[-2]), np.arange(K.shape[-2]))

    failed = {o.code for o in check_component(Forgetful()).outcomes if o.status == "failed"}
    assert {"C018", "P402"} <= failed


# -- rope as other software has it -----------------------------------------------------------------------------------
def rotated(x, p, layout, dims, base=10000.0):
    """RotaryEmbedding's formula for one vector, number by number: x' = cos x - sin y, y' = sin x + cos y for each pair."""
    turned = list(x)
    for i in range(dims // 2):
        first, second = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, i + dims // 2)
        angle = p * base ** (-2 * i / dims)
        turned[first] = math.cos(angle) * x[first] - math.sin(angle) * x[second]
        turned[second] = math.sin(angle) * x[first] + math.cos(angle) * x[second]
    return turned


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize(("d", "dims"), [(8, None), (8, 8), (8, 4), (7, None), (7, 6), (2, 2)])
def test_rope_turns_the_pairs_that_other_software_turns(layout, d, dims):
    rng = np.random.default_rng(3)
    Q, K, places = rng.normal(size=(2, 3, d)), rng.normal(size=(2, 4, d)), np.array([0, 5, 2, 900])
    turned_q, turned_k = get("position", "rope", layout=layout, dims=dims).place(Q, K, places[:3], places)
    for X, found in ((Q, turned_q), (K, turned_k)):
        n = d if dims is None else dims
        if d % 2 and dims is None:  # an odd last feature stays; the wavelengths are those of d
            expected = [[[*rotated_odd(x, p, layout), x[-1]] for x, p in zip(one, places, strict=False)] for one in X]
        else:
            expected = [[rotated(x, p, layout, n) for x, p in zip(one, places, strict=False)] for one in X]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def rotated_odd(x, p, layout):
    d = len(x)
    return rotated(x, p, layout, d - 1, 10000.0 ** ((d - 1) / d))[: d - 1]


def test_the_half_layout_is_the_other_with_its_features_in_another_order():
    rng = np.random.default_rng(4)
    Q, K = rng.normal(size=(5, 6)), rng.normal(size=(7, 6))
    order = [0, 3, 1, 4, 2, 5]  # half (i, i + 3) as neighbours
    half = attnlab.attention_weights(Q, K, position={"rope": {"layout": "half"}})
    np.testing.assert_allclose(half, attnlab.attention_weights(Q[:, order], K[:, order], position="rope"), atol=1e-12)
    assert not np.allclose(half, attnlab.attention_weights(Q, K, position="rope"))


def test_rope_by_default_turns_neighbours_and_all():
    assert get("position", "rope").get_params() == {
        "base": 10000.0,
        "layout": "interleaved",
        "dims": None,
        "share": 1.0,
    }


def test_rope_refuses_more_features_than_there_are():
    with pytest.raises(attnlab.ShapeError, match="turns dims = 8 features; queries and keys have 4"):
        attnlab.attention_weights(np.ones((1, 4)), np.ones((2, 4)), position={"rope": {"dims": 8}})
    with pytest.raises(attnlab.SettingError, match="dims must be int, >= 2, a multiple of 2 or None; got 3"):
        get("position", "rope", dims=3)
    with pytest.raises(attnlab.SettingError, match="layout must be 'interleaved' or 'half'; got 'llama'"):
        get("position", "rope", layout="llama")
