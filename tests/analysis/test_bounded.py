"""The interval of a mean that needs nothing but bounds: against the exact binomial one, and against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attnlab.analysis.bounded import chance_below, sure_interval, unseen

UNIT = st.floats(0, 1, allow_subnormal=False)


@pytest.mark.parametrize("n", [1, 2, 5, 20, 100])
def test_of_zeros_and_ones_it_is_the_exact_binomial_interval(n):
    for ones in {0, 1, n // 2, n}:
        exact = stats.binomtest(ones, n).proportion_ci(0.95, "exact")
        x = np.repeat([1.0, 0.0], [ones, n - ones])
        assert sure_interval(x, (0.0, 1.0)) == pytest.approx((exact.low, exact.high), abs=1e-7)


@pytest.mark.parametrize("x", [[0.3, 0.9], [0.19, 0.191, 0.192], [1, 1, 1, 0.992, 0.191], [0.5] * 7 + [0.1]])
def test_its_ends_are_the_quantiles_that_define_it(x):
    W = np.random.default_rng(0).dirichlet(np.ones(len(x) + 1), 200_000)
    low, high = sure_interval(x, (0.0, 1.0))
    assert np.mean(W @ [0.0, *x] <= low) == pytest.approx(0.025, abs=0.002)
    assert np.mean(W @ [1.0, *x] >= high) == pytest.approx(0.025, abs=0.002)


@given(st.lists(UNIT, min_size=1, max_size=12), st.floats(-3, 3), st.floats(0.1, 10))
def test_it_holds_the_mean_lies_within_the_bounds_and_moves_with_them(x, shift, scale):
    x = np.array(x)
    low, high = sure_interval(x, (0.0, 1.0))
    assert 0 <= low <= x.mean() + 1e-9
    assert x.mean() - 1e-9 <= high <= 1
    moved = sure_interval(shift + scale * x, (shift, shift + scale))
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), abs=1e-6)
    mirrored = sure_interval(1 - x, (0.0, 1.0))
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_without_an_end_there_is_no_limit():
    low, high = sure_interval([1.0, 2.0], (0.0, math.inf))
    assert 0 < low < 1.5
    assert high == math.inf
    assert sure_interval([1.0, 2.0], (-math.inf, math.inf)) == (-math.inf, math.inf)


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.9, 0.98])
def test_it_covers_where_a_few_values_show_nothing(n, p):
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(400):
        x = np.where(rng.random(n) < p, 1 - 0.1 * rng.random(n), 0.19)
        mean = p * 0.95 + (1 - p) * 0.19
        held += min(chance_below([0.0, *x], mean), chance_below([0.0, *(1 - x)], 1 - mean)) >= 0.025
    assert held / 400 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)


def test_what_is_not_seen_is_not_excluded():
    assert unseen(5) == pytest.approx(1 - 0.05 ** (1 / 5))
    assert stats.binom.pmf(0, 5, unseen(5)) == pytest.approx(0.05)
