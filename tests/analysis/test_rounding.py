"""Ties are those of exact arithmetic: each number against fractions, for values as accuracies, losses and means over seeds."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.analysis.compare import compare, pairwise, performance_profile
from attnlab.analysis.rounding import alike, differences, signs
from attnlab.analysis.statistics import bayesian_signed_rank, signed_rank, tasks_needed
from attnlab.analysis.summary import summarise
from attnlab.metrics.links import links


def ranks(sizes):
    """Mean ranks."""
    return [Fraction(sum(s < x for s in sizes) * 2 + sum(s == x for s in sizes) + 1, 2) for x in sizes]


def exact(d):
    """Wilcoxon's test on fractions: (W+, W-, p), zeros split between the sides, every sign of the others equally likely."""
    twice = [int(2 * r) for r in ranks([abs(x) for x in d])]
    plus, minus, zeros = (sum(r for r, x in zip(twice, d, strict=True) if way(x)) for way in WAYS)
    signed = [r for r, x in zip(twice, d, strict=True) if x]
    sums = {0: 1}
    for r in signed:
        longer = dict(sums)
        for total, count in sums.items():
            longer[total + r] = longer.get(total + r, 0) + count
        sums = longer
    tail = sum(count for total, count in sums.items() if total >= max(plus, minus))
    p = min(Fraction(1), Fraction(2 * tail, 2 ** len(signed))) if signed else Fraction(1)
    return Fraction(plus, 2) + Fraction(zeros, 4), Fraction(minus, 2) + Fraction(zeros, 4), p


WAYS = (lambda x: x > 0, lambda x: x < 0, lambda x: x == 0)
STEPS = {
    "accuracies": (Fraction(1, 20), lambda k: k * 0.05),
    "losses": (Fraction(1, 10), lambda k: k / 10),
    "summed": (Fraction(1, 10), lambda k: sum([0.1] * k)),
    "shares": (Fraction(1, 3), lambda k: k / 3),
    "tiny": (Fraction(1, 10**13), lambda k: k * 1e-13),
    "large": (Fraction(5), lambda k: k * 5.0),
    "far from zero": (Fraction(1, 10), lambda k: 1_000_000 + k / 10),
}


@st.composite
def scores(draw, competitors=2, kinds=tuple(STEPS), most=9):
    """(floats, fractions), both (competitors, tasks, seeds): each task has values in steps of its own."""
    n, seeds = draw(st.integers(2, most)), draw(st.sampled_from([1, 3, 5, 7]))
    floats, fractions = np.empty((competitors, n, seeds)), np.empty((competitors, n, seeds), dtype=object)
    for t in range(n):
        step, value = STEPS[draw(st.sampled_from(kinds))]
        offset = Fraction(value(0))
        for c, s in itertools.product(range(competitors), range(seeds)):
            k = draw(st.integers(0, 20))
            floats[c, t, s], fractions[c, t, s] = value(k), offset + step * k
    return floats, fractions


def exact_differences(fractions):
    means = [[sum(row, Fraction(0)) / len(row) for row in competitor] for competitor in fractions]
    return [a - b for a, b in zip(*means, strict=True)]


@settings(max_examples=300)
@given(scores())
def test_the_signed_rank_test_is_that_of_fractions(drawn):
    floats, fractions = drawn
    d = differences(*floats.mean(axis=2))
    plus, minus, p = exact(exact_differences(fractions))
    found = signed_rank(d)
    assert (found.plus, found.minus) == (float(plus), float(minus))
    assert found.p_value == pytest.approx(float(p), rel=1e-12)
    assert found.rank_biserial == pytest.approx(float((plus - minus) / (plus + minus)), rel=1e-12)
    assert d.tolist() == pytest.approx(list(map(float, exact_differences(fractions))), rel=1e-6, abs=1e-16)


@given(scores())
def test_differences_are_antisymmetric_and_do_not_depend_on_the_order(drawn):
    a, b = drawn[0].mean(axis=2)
    d = differences(a, b)
    assert (differences(b, a) == -d).all()
    assert (differences(a[::-1], b[::-1]) == d[::-1]).all()


def test_differences_that_rounding_told_apart():
    assert differences([2, 17], [1, 16]).tolist() == [1, 1]  # .9999999999999999 and 1 once
    assert len(set(differences([0.95, 0.2, 0.1, 5.05], [0.9, 0.15, 0.05, 5.0]))) == 1
    assert len(set(np.abs(differences([0.3, 10.0, 1e6 + 0.1], [0.2, 10.1, 1e6])))) == 1


def test_differences_taken_elsewhere_share_a_rank_too():
    d = np.array([0.95, 0.2, 0.1, 0.4]) - [0.9, 0.15, 0.15, 0.2]  # .05 three times, in three ways
    assert len(set(np.abs(d[:3]))) > 1
    assert (signed_rank(d).plus, signed_rank(d).minus) == (8, 2)


def test_a_large_number_does_not_coarsen_small_ones():
    d = differences([1e6, 3e-12, 1e6 + 2, 1e-12], [1e6, 1e-12, 1e6, 2e-12])
    assert d.tolist() == pytest.approx([0, 2e-12, 2, -1e-12], rel=1e-9)
    bridge = differences([1e6 + 2e-6, 2.1e-6, 1.9e-6], [1e6, 0, 0])  # 2e-6 is known to 1e-6, the others to 1e-18
    assert bridge[1] != bridge[2]


def test_signs_and_equal_numbers():
    assert signs([0.1 + 0.2, 1e-9, -math.inf, 1.0], [0.3, 2e-9, -math.inf, -math.inf]).tolist() == [0, -1, 0, 1]
    assert alike([0.1 + 0.2, 0.3, 1 / 3, -math.inf, 0.0]).tolist() == [0.3, 0.3, 1 / 3, -math.inf, 0.0]
    assert np.isnan(alike([math.nan, 1.0])).tolist() == [True, False]


# -- through the comparison -------------------------------------------------------------------------------------------
def frame_of(floats, metric="alignment_accuracy"):
    c, n, seeds = floats.shape
    return pd.DataFrame(
        [
            {
                "run_id": f"{i}-{t}-{s}",
                "task": f"task{t}",
                "test": "test",
                "similarity": f"s{i}",
                "seed": s,
                metric: floats[i, t, s],
                "status": "ok",
            }
            for i, t, s in itertools.product(range(c), range(n), range(seeds))
        ]
    )


@settings(max_examples=25)
@given(scores(competitors=3, kinds=("accuracies", "losses", "summed", "shares")))
def test_a_comparison_is_that_of_fractions(drawn):
    floats, fractions = drawn
    frame = frame_of(floats)
    table = compare(frame, "alignment_accuracy", "similarity", "s0").set_index("similarity")
    for i in (1, 2):
        d = exact_differences(fractions[[i, 0]])
        plus, minus, p = exact(d)
        row = table.loc[f"s{i}"]
        assert (row["wins"], row["ties"]) == (sum(x > 0 for x in d), sum(x == 0 for x in d))
        assert row["rank_biserial"] == pytest.approx(float((plus - minus) / (plus + minus)), rel=1e-12)
        if len(d) >= 6:
            assert row["p_value"] == pytest.approx(float(p), rel=1e-12)
    means = [[sum(row, Fraction(0)) / len(row) for row in competitor] for competitor in fractions]
    profile = performance_profile(frame, "alignment_accuracy", "similarity")
    levels = sorted({value for row in means for value in row})
    assert profile.index.tolist() == pytest.approx(list(map(float, levels)), rel=1e-12)
    for i, row in enumerate(means):
        shares = [sum(value >= level for value in row) / len(row) for level in levels]
        assert profile[f"s{i}"].tolist() == pytest.approx(shares)


def test_a_threshold_is_listed_once_and_reached_by_what_equals_it():
    a = np.array([[0.1 + 0.2, 0.5], [0.3, 0.7 - 0.4]])[:, :, None]
    profile = performance_profile(frame_of(a), "alignment_accuracy", "similarity")
    assert profile.index.tolist() == [0.3, 0.5]
    assert profile["s1"].tolist() == [1, 0]
    assert performance_profile(frame_of(a), "alignment_accuracy", "similarity", [0.1 + 0.2])["s1"].tolist() == [1]


def test_an_edge_of_the_region_of_equivalence_is_shared():
    a, b = np.array([0.3, 0.8, 0.7, 100.1]), np.array([0.2, 0.7, 0.6, 100.0])
    found = bayesian_signed_rank(a - b, 0.1, n_resamples=2000, slack=1e-12 * a)
    assert found == pytest.approx(bayesian_signed_rank([1.0] * 4, 1.0, n_resamples=2000), abs=1e-12)
    frame = frame_of(np.stack([b, a])[:, :, None])
    table = compare(frame, "alignment_accuracy", "similarity", "s0", rope=0.1, n_resamples=2000)
    assert table[["p_better", "p_equivalent", "p_worse"]].to_numpy()[0] == pytest.approx(found, abs=1e-12)


def test_competitors_of_equal_merit_keep_an_order_that_rounding_does_not_make():
    equal = np.array([[0.1 + 0.2] * 4, [0.3] * 4, [0.7 - 0.4] * 4])[:, :, None]
    assert compare(frame_of(equal), "alignment_accuracy", "similarity")["similarity"].tolist() == ["s0", "s1", "s2"]
    assert list(pairwise(frame_of(equal), "alignment_accuracy", "similarity")) == ["s0", "s1", "s2"]
    ahead = compare(frame_of(equal[[2, 0, 1]]), "alignment_accuracy", "similarity", "s0")
    assert ahead["similarity"].tolist() == ["s1", "s2"]
    assert summarise(frame_of(equal[[2, 0, 1]]), "alignment_accuracy", by="similarity")["similarity"].tolist() == [
        "s0",
        "s1",
        "s2",
    ]


def test_differences_that_cancel_ask_for_infinitely_many_tasks():
    d = np.array([0.1, 0.2, -0.3, 0.4, -0.4, 0.3, -0.3])
    assert d.sum() != 0
    assert tasks_needed(d, 0.05) == math.inf


def test_a_weight_of_a_half_is_null_whatever_the_order_of_the_keys():
    W = np.array([2, 7, 1]) * 0.05  # .5000000000000001 in this order
    for order in itertools.permutations(range(3)):
        assert not links([W[list(order)]]).any()
