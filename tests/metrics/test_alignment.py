"""Weights against gold: a hand-counted alignment error rate, and the laws that hold whatever the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.data import AlignmentData
from attnlab.errors import ShapeError
from attnlab.metrics.alignment import (
    Aer,
    AerPrecision,
    AerRecall,
    AlignmentAccuracy,
    GoldMass,
    KlToGold,
    NullMass,
    ShiftedAlignmentAccuracy,
)
from attnlab.metrics.distribution import MaxWeight, SupportSize, WeightEntropy
from attnlab.metrics.links import links

OF_WEIGHTS = [
    Aer(),
    AerPrecision(),
    AerRecall(),
    AlignmentAccuracy(),
    GoldMass(),
    KlToGold(),
    NullMass(),
    ShiftedAlignmentAccuracy(),
    MaxWeight(),
    SupportSize(),
    WeightEntropy(),
]


def data_of(gold, possible=None, mask=None):
    n, q, k = np.shape(gold)
    return AlignmentData(np.ones((n, q, 2)), np.ones((n, k, 2)), np.ones((n, k, 2)), mask, gold, possible=possible)


def measured(data, W):
    return {metric.name: metric.measure(data=data, W=W) for metric in OF_WEIGHTS}


@st.composite
def problems(draw):
    """Data with sure and possible links, padding and null queries, and weights of rows that sum to at most one."""
    n, q, k = draw(st.tuples(*[st.integers(1, 4)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random((n, q, k)) < draw(st.sampled_from([0.5, 0.9, 1.0]))
    gold = (rng.random((n, q, k)) < 0.4) & mask
    possible = (rng.random((n, q, k)) < 0.3) & mask
    W = rng.integers(0, 5, size=(n, q, k)) * mask  # small integers, so that there are ties and zeros
    W = W / np.maximum(W.sum(axis=-1, keepdims=True), 1) * rng.choice([0.2, 0.7, 1.0], size=(n, q, 1))
    return data_of(gold, possible, mask), W


def test_the_alignment_error_rate_by_hand():
    # Och and Ney 2003: five target words, four source words.
    #            gold: S sure, P possible                      heaviest key
    # query 1    S at 1                                        1   sure
    # query 2    S at 2, P at 3                                3   possible
    # query 3    S at 4                                        2   wrong
    # query 4    P at 1                                        1   possible (no sure link)
    # query 5    null                                          mass 0.4: predicted null, no link
    gold = np.zeros((1, 5, 4), int)
    possible = np.zeros((1, 5, 4), bool)
    gold[0, [0, 1, 2], [0, 1, 3]] = 1
    possible[0, [1, 3], [2, 0]] = True
    W = [
        [
            [0.7, 0.1, 0.1, 0.1],
            [0.0, 0.4, 0.6, 0.0],
            [0.1, 0.5, 0.1, 0.3],
            [0.9, 0.1, 0.0, 0.0],
            [0.1, 0.1, 0.1, 0.1],
        ]
    ]
    got = measured(data_of(gold, possible), W)
    # |A| = 4, |S| = 3, |A & S| = 1, |A & P| = 3
    assert got["aer"] == pytest.approx(1 - (1 + 3) / (4 + 3))
    assert got["aer_precision"] == pytest.approx(3 / 4)
    assert got["aer_recall"] == pytest.approx(1 / 3)
    assert got["alignment_accuracy"] == pytest.approx(1 / 3)
    assert got["gold_mass"] == pytest.approx((0.7 + 0.4 + 0.3) / 3)
    assert got["kl_to_gold"] == pytest.approx(-(math.log(0.7) + math.log(0.4) + math.log(0.3)) / 3)
    assert got["null_mass"] == pytest.approx((0.0 + 0.6) / 2)
    assert got["max_weight"] == pytest.approx((0.7 + 0.6 + 0.5 + 0.9 + 0.1) / 5)
    assert got["support_size"] == pytest.approx((4 + 2 + 4 + 2 + 4) / 5)
    without_possible = measured(data_of(gold), W)  # now links 2 and 4 are wrong too
    assert without_possible["aer"] == pytest.approx(1 - 2 / 7)


@settings(max_examples=150)
@given(problems())
def test_the_error_rate_is_between_0_and_1_and_0_exactly_for_links_between_sure_and_possible(problem):
    data, W = problem
    A = links(np.where(data.allowed, W, 0), data.allowed)
    S, P = data.gold, data.gold | data.possible
    aer = Aer().measure(data, W)
    if not A.any() and not S.any():
        assert math.isnan(aer)
        return
    assert 0 <= aer <= 1
    assert (aer == 0) == bool((S <= A).all() and (A <= P).all())


@settings(max_examples=100)
@given(problems(), st.integers(0, 2**32 - 1))
def test_permuting_keys_changes_nothing(problem, seed):
    data, W = problem
    order = np.random.default_rng(seed).permutation(data.n_keys)
    shuffled = data_of(data.gold[:, :, order], data.possible[:, :, order], data.mask[:, :, order])
    assert measured(shuffled, W[:, :, order]) == pytest.approx(measured(data, W), nan_ok=True, abs=1e-12)


@settings(max_examples=100)
@given(problems(), st.integers(0, 2**32 - 1))
def test_padding_changes_nothing_whatever_its_weights(problem, seed):
    data, W = problem
    rng = np.random.default_rng(seed)
    wider = ((0, 1), (0, 2), (0, 3))  # another example, two queries and three keys, all of them padding
    W_padded = np.pad(W, wider)
    mask = np.pad(data.mask, wider)
    W_padded = np.where(mask, W_padded, rng.random(mask.shape))
    padded = data_of(np.pad(data.gold, wider), np.pad(data.possible, wider), mask)
    assert measured(padded, W_padded) == pytest.approx(measured(data, W), nan_ok=True, abs=1e-12)


@settings(max_examples=100)
@given(problems())
def test_every_value_is_in_its_declared_range_or_nan(problem):
    data, W = problem
    before = W.copy()
    got = measured(data, W)
    greatest = {"kl_to_gold": 27.7, "support_size": data.n_keys}
    for name, value in got.items():
        assert math.isnan(value) or 0 <= value <= greatest.get(name, 1) + 1e-12, (name, value)
    assert np.array_equal(W, before)


def test_ties_score_their_share():
    data = data_of([[[0, 1, 0, 1]]])
    cases = [
        ([0.25, 0.25, 0.25, 0.25], 0.5),
        ([0.4, 0.4, 0.2, 0.0], 0.5),
        ([0.0, 0.5, 0.0, 0.5], 1.0),
        ([0.0, 0.0, 0.0, 0.0], 0.5),
        ([0.1 + 0.2, 0.3, 0.0, 0.0], 0.5),  # equal but for the last digit
    ]
    for weights, share in cases:
        assert AlignmentAccuracy().measure(data, [[weights]]) == share, weights
    assert AlignmentAccuracy().measure(data, np.float32([[[0.3, 0.3 + 1e-7, 0.2, 0.2]]])) == 0.5
    assert AlignmentAccuracy().measure(data, [[[0.3, 0.3 + 1e-7, 0.2, 0.2]]]) == 1.0


def test_the_shifted_accuracy_reads_the_weights_of_the_next_query():
    gold = [[[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]]
    W = np.array([[[0.9, 0.1, 0.0], [0.6, 0.2, 0.2], [0.2, 0.4, 0.4], [0.5, 0.2, 0.3]]])
    # query 1: all of the second's weight is right; query 2: a tie of the third's; query 3: the fourth is elsewhere
    assert ShiftedAlignmentAccuracy().measure(data_of(gold), W) == pytest.approx((1 + 0.5 + 0) / 3)
    mask = np.ones((1, 4, 3), dtype=bool)
    mask[0, 3] = False  # padding: query 3 has no next one
    assert ShiftedAlignmentAccuracy().measure(data_of(gold, mask=mask), W) == pytest.approx((1 + 0.5) / 2)
    assert not ShiftedAlignmentAccuracy().applies(data_of([[[1, 0]]]))


def test_entropy_is_normalised_by_the_keys_that_may_be_attended_to():
    mask = np.array([[[True, True, False, False], [True, False, False, False], [False] * 4]])
    data = data_of(np.zeros((1, 3, 4)), mask=mask)
    W = [[[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    assert WeightEntropy().measure(data, W) == pytest.approx(1.0)  # one-key and dead rows do not count
    assert WeightEntropy().measure(data, 0.01 * np.array(W)) == pytest.approx(1.0)  # nor does the total mass
    assert SupportSize().measure(data, W) == 1.5


def test_divergence_is_zero_at_gold_and_finite_where_gold_has_no_weight():
    gold = np.array([[[0.25, 0.75, 0.0]]])
    data = data_of(gold)
    assert KlToGold().measure(data, gold) == pytest.approx(0, abs=1e-9)
    assert KlToGold().measure(data, 3 * gold) == pytest.approx(0, abs=1e-9)  # p is normalised
    assert KlToGold().measure(data_of([[[1, 0, 0]]]), [[[0.0, 1.0, 0.0]]]) == pytest.approx(-math.log(1e-12))


def test_without_a_query_that_counts_the_value_is_nan_and_the_metric_does_not_apply():
    dead = data_of([[[1, 0]]], mask=np.zeros((1, 1, 2), bool))
    got = measured(dead, np.zeros((1, 1, 2)))
    assert all(math.isnan(value) for value in got.values()), got
    null_only = data_of([[[0, 0]]])
    applies = {metric.name for metric in OF_WEIGHTS if metric.applies(null_only)}
    assert "null_mass" in applies
    assert not applies & {"alignment_accuracy", "gold_mass", "kl_to_gold"}
    no_gold = AlignmentData(np.ones((1, 1, 2)), np.ones((1, 2, 2)), np.ones((1, 2, 2)))
    assert {m.name for m in OF_WEIGHTS if m.applies(no_gold)} == {"max_weight", "support_size", "weight_entropy"}
    with pytest.raises(ValueError, match="no gold alignment"):
        Aer().measure(no_gold, np.ones((1, 1, 2)))


def test_links_follow_the_stated_rule():
    W = np.array([[0.1, 0.6, 0.3], [0.2, 0.2, 0.1], [0.5, 0.0, 0.0], [0.4, 0.4, 0.0], [0.0, 0.0, 0.0]])
    assert links(W).astype(int).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert links(W, null_below=0.3)[1].tolist() == [True, True, False]
    allowed = np.array([True, False, True])
    assert links(W, allowed, null_below=0.0).astype(int).tolist()[0] == [0, 0, 1]


@pytest.mark.parametrize("metric", OF_WEIGHTS, ids=lambda m: m.name)
def test_weights_of_another_shape_are_refused(metric):
    with pytest.raises(ShapeError, match="axis 'k' disagrees"):
        metric.measure(data=data_of([[[1, 0]]]), W=np.ones((1, 1, 3)))
