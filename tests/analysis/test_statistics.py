"""The statistics against scipy, against enumeration, against other libraries, and against what they promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attnlab.analysis.statistics import (
    bayesian_signed_rank,
    differences,
    fewest_pairs,
    holm,
    interquartile_mean,
    mean,
    mean_interval,
    rescaled,
    seeds_needed,
    signed_rank,
    tasks_needed,
    wilson,
)

# four competitors on nine tasks, and what other software says of them
SCORES = np.array(
    [
        [0.8029, 0.8642, 0.8147, 0.6027, 0.5607, 0.7067, 0.7861, 0.7509, 0.8810],
        [0.8051, 0.7940, 0.6569, 0.6192, 0.8784, 0.7349, 0.8112, 0.5924, 0.6864],
        [0.6709, 0.7224, 0.8903, 0.6519, 0.7466, 0.8164, 0.7332, 0.7748, 0.7778],
        [0.9418, 0.8569, 0.9272, 0.9057, 0.9425, 0.9225, 1.0658, 0.8336, 1.0199],
    ]
)
PAIRS = list(itertools.combinations(range(4), 2))
# scikit-posthocs 0.17.1: posthoc_wilcoxon, bare and with p_adjust="holm", in the order of PAIRS
POSTHOCS = [0.734375, 1.0, 0.0078125, 0.65234375, 0.00390625, 0.00390625]
POSTHOCS_HOLM = [1.0, 1.0, 0.03125, 1.0, 0.0234375, 0.0234375]
# statsmodels 0.15.0: multipletests(P_VALUES, method="holm")
P_VALUES = [0.01, 0.04, 0.03, 0.005, 0.2, 0.0301]
HOLM = [0.05, 0.12, 0.12, 0.03, 0.2, 0.12]
# baycomp 1.0.3: SignedRankTest.probs(SCORES[j], SCORES[i], rope), mean of six times 50,000 draws: (j better, rope, i better)
BAYCOMP = {
    (0, 1, 0.047): (0.1179, 0.2913, 0.5908),
    (1, 2, 0.047): (0.5638, 0.2223, 0.2138),
    (0, 2, 0.013): (0.4771, 0.0003, 0.5226),
}

some = st.lists(st.integers(-6, 6), min_size=1, max_size=10)


def enumerated(d):
    """The two-sided p value by trying every sign of every difference that is not 0."""
    d = np.asarray(d, dtype=float)
    ranks = stats.rankdata(np.abs(d))[d != 0]
    if not len(ranks):
        return 1.0
    seen = abs((ranks * np.sign(d[d != 0])).sum())
    signs = np.array(list(itertools.product((-1, 1), repeat=len(ranks))))
    return (np.abs(signs @ ranks) >= seen - 1e-9).mean()


@given(some)
def test_signed_rank_is_exact_whatever_the_ties(d):
    assert signed_rank(d).p_value == pytest.approx(enumerated(d), abs=1e-12)


@pytest.mark.parametrize("n", [6, 13, 40, 100])
def test_signed_rank_without_ties_is_that_of_scipy(n):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    theirs = stats.wilcoxon(d, method="exact")
    ours = signed_rank(d)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert min(ours.plus, ours.minus) == theirs.statistic


@pytest.mark.parametrize("n", [101, 300])
def test_signed_rank_of_many_is_the_normal_approximation_of_scipy(n):
    d = np.random.default_rng(n).integers(-4, 6, n)
    theirs = stats.wilcoxon(d, zero_method="pratt", correction=False, method="asymptotic")
    assert (d == 0).any()
    assert signed_rank(d).p_value == pytest.approx(theirs.pvalue, rel=1e-9)


def test_the_exact_and_the_normal_p_value_meet():
    d = np.random.default_rng(3).normal(0.2, 1, 100)
    assert signed_rank(d).p_value == pytest.approx(signed_rank(np.append(d, 1e-9)).p_value, rel=0.1)


@given(some)
def test_signed_rank_is_antisymmetric(d):
    there, back = signed_rank(d), signed_rank(-np.array(d))
    assert there.p_value == back.p_value
    assert there.rank_biserial == -back.rank_biserial
    assert there.plus + there.minus == len(d) * (len(d) + 1) / 2
    assert -1 <= there.rank_biserial <= 1


def test_rank_biserial_counts_ties_as_no_difference():
    assert signed_rank([1, 2, 3]).rank_biserial == 1
    assert signed_rank([0, 0, 3]).rank_biserial == 0.5  # rank 3 of 6, and half of ranks 1 and 2 on either side
    assert signed_rank([0, 0]).rank_biserial == 0


def test_infinite_differences_have_the_last_rank():
    assert signed_rank([-math.inf, 1, 2, 3]).minus == 4
    assert list(differences([-math.inf, -math.inf, 1], [-math.inf, 1, -math.inf])) == [0, -math.inf, math.inf]


def test_rounding_makes_neither_winners_nor_ranks():
    assert differences(0.1 + 0.2, 0.3) == 0
    assert differences(0.8, 0.7) == differences(0.2, 0.1)
    assert differences(1e-9, 2e-9) != 0
    assert np.isfinite(differences(5e-324, 0))


def test_all_pairs_are_those_recorded_from_scikit_posthocs():
    ours = [signed_rank(differences(SCORES[i], SCORES[j])).p_value for i, j in PAIRS]
    assert ours == pytest.approx(POSTHOCS, rel=1e-12)
    assert holm(ours) == pytest.approx(POSTHOCS_HOLM, rel=1e-12)


def test_all_pairs_are_those_of_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs")
    pandas = pytest.importorskip("pandas")
    scores = np.random.default_rng(8).normal(size=(4, 12)) + np.array([0, 0.5, 1, 1.5])[:, None]
    long = pandas.DataFrame([(i, j, scores[i, j]) for i in range(4) for j in range(12)], columns=["g", "t", "v"])
    theirs = posthocs.posthoc_wilcoxon(long, val_col="v", group_col="g", p_adjust="holm").to_numpy()
    ours = holm([signed_rank(scores[i] - scores[j]).p_value for i, j in PAIRS])
    assert ours == pytest.approx([theirs[i, j] for i, j in PAIRS], rel=1e-9)


def test_holm_is_that_of_statsmodels():
    assert holm(P_VALUES) == pytest.approx(HOLM)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_is_a_step_down(p, random):
    adjusted = holm(p)
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()  # never more than Bonferroni
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert adjusted.min() == min(1, len(p) * min(p))
    order = random.sample(range(len(p)), len(p))
    assert holm(np.array(p)[order]) == pytest.approx(adjusted[order])


def test_holm_of_what_is_not_there():
    assert np.isnan(holm([0.01, math.nan])).all()
    assert len(holm([])) == 0


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.1])
@pytest.mark.parametrize("tests", [1, 7, 28])
def test_fewest_pairs_is_where_a_p_value_becomes_possible(alpha, tests):
    n = fewest_pairs(alpha, tests)
    assert signed_rank(np.arange(1, n + 1)).p_value <= alpha / tests
    assert signed_rank(np.arange(1, n)).p_value > alpha / tests


@pytest.mark.parametrize("n", [4, 8, 20])
def test_interquartile_mean_is_that_of_scipy_where_four_divides_n(n):
    x = np.random.default_rng(n).lognormal(size=n)
    assert interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25))


def test_interquartile_mean_takes_parts_of_values():
    assert interquartile_mean([1, 2, 4]) == pytest.approx((0.25 * 1 + 2 + 0.25 * 4) / 1.5)
    assert interquartile_mean([5.0]) == 5
    assert interquartile_mean([-math.inf, 1, 2, 3, 4]) > 1
    assert math.isnan(interquartile_mean([]))


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_interquartile_mean_lies_within_the_quartiles(x):
    low, high = np.sort(x)[[int(0.25 * (len(x) - 1)), math.ceil(0.75 * (len(x) - 1))]]
    assert low - 1e-9 <= interquartile_mean(x) <= high + 1e-9


@given(st.integers(1, 60), st.data())
def test_wilson_is_that_of_scipy(n, data):
    wins = data.draw(st.integers(0, n))
    theirs = stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson(wins, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


# -- the interval of a mean -------------------------------------------------------------------------------------------
def test_interval_of_symmetric_values_is_student_s():
    d = np.array([-3.0, -1.0, 0.5, 1.5, 2.0, 2.5, 4.0, 6.0])
    d = np.concatenate([d, 3 - d])
    theirs = stats.t.interval(0.9, len(d) - 1, d.mean(), stats.sem(d))
    assert mean_interval(d, 0.9) == pytest.approx(theirs, rel=1e-9)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20), st.integers(-9, 9), st.sampled_from([-2.0, 0.5, 3.0]))
def test_interval_moves_with_the_values(d, shift, scale):
    d = np.array(d, dtype=float)
    low, high = mean_interval(d)
    assert low <= d.mean() + 1e-9
    assert high >= d.mean() - 1e-9
    moved = sorted([low * scale + shift, high * scale + shift])
    assert mean_interval(d * scale + shift) == pytest.approx(tuple(moved), rel=1e-6, abs=1e-6)


def test_interval_leans_to_the_long_tail_and_covers_better_than_student_s():
    n, times = 10, 4000
    d = np.random.default_rng(5).exponential(size=(times, n)) - 1
    low, high = mean_interval(d)
    covered = ((low <= 0) & (high >= 0)).mean()
    half = stats.t.ppf(0.975, n - 1) * d.std(axis=1, ddof=1) / math.sqrt(n)
    student = (np.abs(d.mean(axis=1)) <= half).mean()
    assert student < 0.92
    assert 0.93 <= covered <= 0.96
    assert (high + low > 2 * d.mean(axis=1)).mean() > 0.9


def test_interval_of_too_little():
    assert np.isnan(mean_interval([1.0])).all()
    assert np.isnan(mean_interval([1.0, math.inf, 2.0])).all()
    assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


# -- numbers of any size ----------------------------------------------------------------------------------------------
sizes = st.sampled_from([-900, -600, 600, 900])  # powers of two whose squares, or cubes, no float can hold
several = st.lists(st.integers(-50, 50), min_size=6, max_size=20)


@given(several, sizes)
def test_intervals_and_means_do_not_depend_on_the_unit(d, power):
    d = np.array(d, dtype=float)
    far = np.ldexp(d, power)
    assert np.ldexp(mean_interval(far), -power) == pytest.approx(np.array(mean_interval(d)), rel=1e-12)
    assert np.ldexp(interquartile_mean(far), -power) == pytest.approx(interquartile_mean(d))
    assert np.ldexp(mean(far), -power) == mean(d)


@given(several, sizes)
def test_a_number_of_tasks_or_seeds_has_no_unit(d, power):
    d = np.array(d, dtype=float)
    assert tasks_needed(np.ldexp(d, power), 0.05) == tasks_needed(d, 0.05)
    assert seeds_needed(rescaled(np.ldexp(d, power))[0], 0.01, 3, 0.05) == seeds_needed(rescaled(d)[0], 0.01, 3, 0.05)


def test_the_largest_numbers_there_are():
    d = np.array([1.0, 1.5, 1.2, 1.7, 1.1, 1.6]) * 1e308
    assert mean(d) == pytest.approx(1.35e308)
    assert mean_interval(d)[0] == pytest.approx(mean_interval(d / 1e308)[0] * 1e308)
    assert mean_interval(d * [1, 1, 1, 1, 1, -1])[1] < math.inf
    assert mean_interval(np.array([1.7, 1.7, 1.7, -1.7, 1.7, 1.7]) * 1e308)[0] == -math.inf  # said, and not raised
    assert differences(1e308, -1e308) == math.inf
    assert bayesian_signed_rank(d, 0.0, n_resamples=1000) == pytest.approx((1, 0, 0), abs=0.02)
    assert math.isnan(mean([math.inf, -math.inf]))


def test_a_mean_that_is_almost_nothing_takes_infinitely_many():
    d = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 0.0, 1e-300]
    assert tasks_needed(d, 0.05) == math.inf
    assert seeds_needed([1e-160] * 8, 1.0, 3, 0.05) == math.inf


# -- the Bayesian test ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", BAYCOMP)
def test_posterior_is_that_of_baycomp(case):
    i, j, rope = case
    assert bayesian_signed_rank(SCORES[i] - SCORES[j], rope) == pytest.approx(BAYCOMP[case][::-1], abs=0.01)


def test_posterior_is_that_of_baycomp_where_it_is_installed():
    baycomp = pytest.importorskip("baycomp")
    rng = np.random.default_rng(12)
    a, b = rng.normal(0.1, 1, 15), rng.normal(0, 1, 15)
    theirs = baycomp.SignedRankTest.probs(b, a, 0.3, random_state=1)
    assert bayesian_signed_rank(a - b, 0.3) == pytest.approx(theirs[::-1], abs=0.015)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12), st.sampled_from([0.0, 1.0, 2.5]))
def test_posterior_is_a_distribution_and_antisymmetric(d, rope):
    there = bayesian_signed_rank(d, rope, n_resamples=2000)
    back = bayesian_signed_rank(-np.array(d), rope, n_resamples=2000)
    assert sum(there) == pytest.approx(1)
    assert min(there) >= 0
    assert there == pytest.approx(back[::-1], abs=1e-9)


def test_posterior_knows_the_region():
    d = np.random.default_rng(0).normal(0, 0.01, 20)
    assert bayesian_signed_rank(d, 0.1)[1] > 0.99
    assert bayesian_signed_rank(d + 1, 0.1)[0] > 0.99
    assert bayesian_signed_rank(d, 0.0)[1] == 0


# -- planning, and promises by simulation -----------------------------------------------------------------------------
@pytest.mark.parametrize(("effect", "tests"), [(0.5, 1), (0.8, 7), (2.0, 7)])
def test_as_many_tasks_as_needed_are_enough(effect, tests):
    pilot = [effect - math.sqrt(0.5), effect + math.sqrt(0.5)]  # this mean, spread 1
    n = tasks_needed(pilot, 0.05, tests)
    rng = np.random.default_rng(n)
    found = [signed_rank(rng.normal(effect, 1, n)).p_value <= 0.05 / tests for _ in range(1000)]
    assert 0.75 <= np.mean(found) <= 0.9


@pytest.mark.parametrize(("effect", "tests", "n"), [(0.3, 1, 94), (0.5, 7, 56), (1.2, 7, 13), (2.0, 1, 6), (2.0, 7, 9)])
def test_tasks_needed_are_those_whose_power_is_published(effect, tests, n):
    d = np.array([-1.0, 1.0, -1.0, 1.0])
    assert tasks_needed(d / d.std(ddof=1) - effect, 0.05, tests) == n


def test_as_many_seeds_as_needed_are_enough():
    effect, n, between, within = 0.4, 20, 0.3, 1.5
    rng = np.random.default_rng(6)
    pilot = rng.normal(0, 1, n)
    pilot = (pilot - pilot.mean()) / pilot.std(ddof=1) * math.sqrt(between**2 + within**2 / 3) + effect
    seeds = seeds_needed(pilot, within**2, 3, 0.05)
    spread = math.sqrt(between**2 + within**2 / seeds)
    found = [signed_rank(rng.normal(effect, spread, n)).p_value <= 0.05 for _ in range(1000)]
    assert 3 < seeds < 30
    assert 0.72 <= np.mean(found) <= 0.9


def test_what_no_number_would_do():
    assert tasks_needed([-1.0, 1.0], 0.05) == math.inf
    assert math.isnan(tasks_needed([1.0, math.inf], 0.05))
    assert seeds_needed([0.1, -1.0, 1.0] * 4, 1e-6, 5, 0.05) == math.inf  # the tasks disagree
    assert seeds_needed([1.0] * 5, 0.1, 5, 0.05) == math.inf  # too few tasks, whatever the seeds


@pytest.mark.parametrize("n", [10, 30])
def test_family_wise_error_is_at_most_alpha(n):
    times, k, alpha = 2000, 8, 0.05
    rng = np.random.default_rng(n)
    wrong, bare = 0, 0
    for _ in range(times):
        scores = np.exp(rng.normal(size=(k, n)))
        p = [signed_rank(scores[i] - scores[0]).p_value for i in range(1, k)]
        wrong += min(holm(p)) <= alpha
        bare += min(p) <= alpha
    assert wrong / times <= alpha + 2 * math.sqrt(alpha * (1 - alpha) / times)
    assert bare / times > 3 * alpha  # what it is without the adjustment
