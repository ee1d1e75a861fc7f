"""Claims are judged: forms, pairing, what is missing, and how often a verdict is wrong."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import attnlab
from attnlab.analysis.claims import judge
from attnlab.analysis.verdicts import Region, at_end, decide, seeds_to_decide
from attnlab.errors import ExperimentError, SettingError
from attnlab.sweeps.columns import columns
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

DOT, COSINE = {"similarity": "dot"}, {"similarity": "cosine"}
ALIKE_5 = "doubtful: 5 of 5 seeds alike: seeds that fail up to 45 % of the time are not excluded"
BETTER = {"say": "cosine wins", "metric": "alignment_accuracy", "better": COSINE, "than": DOT}


def experiment(*claims, seeds=5, **more):
    spec = {
        "attnlab": 1,
        "question": "?",
        "task": "lookup",
        "mechanism": {"similarity": ["dot", "cosine"]},
        "seeds": seeds,
        "claims": list(claims),
    }
    return read({**spec, **more})


def table(exp, value, tests=("test",), metric="alignment_accuracy"):
    """A results table as a sweep would return it, with the metric (or metrics) that `value(columns, test)` says."""
    rows = []
    for run in plan(exp):
        row = columns(run)
        for test in tests:
            measured = value(row, test)
            measured = measured if isinstance(measured, dict) else {metric: measured}
            rows.append({"experiment": exp.name, "run_id": run.run_id, **row, "test": test, **measured, "status": "ok"})
    return pd.DataFrame(rows).assign(reason="")


def verdict(frame, exp):
    (row,) = attnlab.check_claims(frame, exp).to_dict("records")
    return row


def noise(n, spread=0.05, seed=0):
    return np.random.default_rng(seed).normal(scale=spread, size=n)


# -- the interval and the verdict -------------------------------------------------------------------------------------
def test_a_paired_difference_has_scipys_interval():
    exp = experiment({**BETTER, "by": 0.1}, seeds=7)
    e, f = noise(7, seed=1), noise(7, seed=2)
    frame = table(exp, lambda r, t: 0.5 + e[r["seed"]] + (r["similarity"] == "cosine") * (0.3 + f[r["seed"]]))
    row = verdict(frame.sample(frac=1, random_state=3), exp)
    expected = stats.ttest_1samp(0.3 + f, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["effect"] == pytest.approx(0.3 + f.mean())
    assert (row["verdict"], row["n"], row["form"]) == ("supported", 7, "better")


@pytest.mark.parametrize(("by", "expected"), [(0.0, "supported"), (0.3, "undecided"), (0.9, "refuted")])
def test_better_by(by, expected):
    exp = experiment({**BETTER, "by": by})
    frame = table(exp, lambda r, t: (r["similarity"] == "cosine") * (0.3 + 0.02 * (r["seed"] - 2)))
    row = verdict(frame, exp)
    assert row["verdict"] == expected
    assert row["effect"] == pytest.approx(0.3)


def test_lower_is_better_where_the_metric_says_so():
    exp = experiment({**BETTER, "metric": "context_error"})
    frame = table(
        exp, lambda r, t: 1 - (r["similarity"] == "cosine") * (0.3 + 0.01 * r["seed"]), metric="context_error"
    )
    row = verdict(frame, exp)
    assert row["verdict"] == "supported"
    assert row["effect"] == pytest.approx(0.32)


def test_a_metric_without_direction_is_read_as_higher_and_says_so():
    exp = experiment({**BETTER, "metric": "weight_entropy"})
    frame = table(exp, lambda r, t: (r["similarity"] == "cosine") * (0.3 + 0.01 * r["seed"]), metric="weight_entropy")
    assert verdict(frame, exp)["verdict"] == "supported"
    assert "no better direction" in verdict(frame, exp)["reason"]


@pytest.mark.parametrize(
    ("gap", "within", "expected"), [(0.01, 0.1, "supported"), (0.1, 0.1, "undecided"), (-0.5, 0.1, "refuted")]
)
def test_equal(gap, within, expected):
    exp = experiment({"say": "same", "metric": "alignment_accuracy", "equal": [COSINE, DOT], "within": within})
    frame = table(exp, lambda r, t: (r["similarity"] == "cosine") * (gap + 0.01 * (r["seed"] - 2)))
    assert verdict(frame, exp)["verdict"] == expected
    assert verdict(frame, exp)["effect"] == pytest.approx(gap)


@pytest.mark.parametrize(
    ("bound", "expected"),
    [({"at_least": 0.8}, "supported"), ({"at_least": 0.9}, "undecided"), ({"at_least": 0.99}, "refuted"),
     ({"at_most": 0.8}, "refuted"), ({"at_most": 0.99}, "supported")],
)  # fmt: skip
def test_bounds(bound, expected):
    exp = experiment({"say": "high", "metric": "alignment_accuracy", **bound})
    assert verdict(table(exp, lambda r, t: 0.9 + 0.01 * (r["seed"] - 2)), exp)["verdict"] == expected


@pytest.mark.parametrize(("bound", "expected"), [({"at_least": 1.0}, "supported"), ({"at_most": 0.999}, "refuted")])
def test_identical_seeds_are_a_point_and_a_bound_includes_itself(bound, expected):
    exp = experiment({"say": "perfect", "metric": "alignment_accuracy", **bound})
    row = verdict(table(exp, lambda r, t: 1.0), exp)
    assert (row["verdict"], row["low"], row["high"]) == (expected, 1.0, 1.0)
    assert row["reason"] == f"the same in all 5 seeds, so the interval is a point; {ALIKE_5}"
    assert row["doubtful"] is True
    assert row["sure_low"] == pytest.approx(0.025 ** (1 / 5))


def test_no_difference_at_all_is_not_better_and_no_seeds_would_tell():
    row = verdict(table(exp := experiment(BETTER), lambda r, t: 0.1 + 0.2), exp)
    assert row["verdict"] == "undecided"
    assert math.isnan(row["seeds_needed"])
    assert "no number of seeds" in row["reason"]


def test_one_seed_has_no_interval():
    row = verdict(table(exp := experiment(BETTER, seeds=1), lambda r, t: float(r["similarity"] == "cosine")), exp)
    assert (row["verdict"], row["n"], row["effect"]) == ("undecided", 1, 1.0)
    assert math.isnan(row["low"])
    assert "one seed has no interval" in row["reason"]


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.floats(-5, 5))
def test_the_verdict_is_what_the_interval_says(values, bound):
    got = decide(values, Region(low=bound))
    if got.verdict == "supported":
        assert got.low >= bound - 1e-9
    elif got.verdict == "refuted":
        assert got.high < bound
    else:
        assert got.low <= bound + 1e-9
        assert got.high >= bound - 1e-9
    mirrored = decide([-v for v in values], Region(high=-bound))
    assert mirrored.verdict == got.verdict


@given(st.floats(0.05, 5), st.floats(0.01, 5))
def test_seeds_to_decide_is_the_fewest(distance, spread):
    n = seeds_to_decide(distance, spread, Region(low=0))
    if math.isnan(n):
        assert distance < 2 * spread / 1000
        return

    def half(n):
        return stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n)

    assert half(n) < distance
    assert n == 2 or half(n - 1) >= distance


# -- doubt ------------------------------------------------------------------------------------------------------------
def single(values, metric="alignment_accuracy", **bound):
    exp = experiment({"say": "so", "metric": metric, "where": COSINE, **bound}, seeds=len(values))
    return verdict(table(exp, lambda r, t: values[r["seed"]], metric=metric), exp)


def test_what_the_bounds_alone_bear_out_is_not_doubtful():
    """Of twenty seeds that are all right, 1 - .025^(1/20) = 16.8 % may fail: .8 is sure, .85 is not."""
    assert single([1.0] * 20, at_least=0.8)["doubtful"] is False
    row = single([1.0] * 20, at_least=0.85)
    assert (row["verdict"], row["doubtful"]) == ("supported", True)
    assert "20 of 20 seeds alike: seeds that fail up to 14 % of the time" in row["reason"]
    row = single([0.0] * 20, at_least=0.15)
    assert (row["verdict"], row["doubtful"]) == ("refuted", True)
    assert single([0.0] * 20, at_least=0.2)["doubtful"] is False


@pytest.mark.parametrize("metric", ["gold_mass", "context_error"])
def test_a_metric_without_an_end_is_never_sure_of_seeds_that_are_alike(metric):
    row = single([0.25] * 20, metric=metric, at_most=1.0)
    assert (row["verdict"], row["doubtful"]) == ("supported", True)


def test_seeds_that_differ_by_less_than_a_hundredth_of_the_range_are_alike():
    row = single([0.300, 0.304, 0.301, 0.308, 0.303], at_most=0.4)
    assert (row["verdict"], row["reason"]) == ("supported", ALIKE_5)
    assert row["low"] < row["high"]


def test_spread_in_the_middle_of_the_range_is_not_doubtful():
    row = single([0.60, 0.64, 0.61, 0.66, 0.63], at_least=0.4)
    assert (row["verdict"], row["doubtful"], row["reason"]) == ("supported", False, "")


def test_seeds_near_an_end_say_which_mean_is_not_excluded():
    row = single([0.93, 0.99, 0.94, 0.97, 0.92], at_least=0.8)
    assert (row["verdict"], row["doubtful"]) == ("supported", True)
    assert row["reason"].startswith("doubtful: 2 of 5 seeds lie at an end of what is possible")
    assert f"a mean of {row['sure_low']:.3f} is not excluded" in row["reason"]
    assert row["sure_low"] < 0.8


def test_a_side_at_an_end_makes_a_difference_doubtful():
    exp = experiment({**BETTER, "by": 0.1})
    solved, near = [1.0, 0.99, 1.0, 0.97, 1.0], noise(5)
    frame = table(exp, lambda r, t: solved[r["seed"]] if r["similarity"] == "cosine" else 0.5 + near[r["seed"]])
    row = verdict(frame, exp)
    assert (row["verdict"], row["doubtful"]) == ("supported", True)
    frame = table(exp, lambda r, t: 0.5 + near[r["seed"]] + (r["similarity"] == "cosine") * (0.3 + near[4 - r["seed"]]))
    assert verdict(frame, exp)["doubtful"] is False


def test_an_interval_does_not_leave_the_range_of_the_metric():
    row = single([0.99, 1.0, 0.96, 1.0, 1.0], at_least=0.5)
    assert (row["low"] < 1, row["high"]) == (True, 1.0)
    row = single([0.1, 2.0, 0.4], metric="context_error", at_most=9.0)
    assert row["low"] == 0.0


def test_values_beyond_the_bounds_that_a_metric_declares_are_judged_without_them():
    row = single([-0.5, 1.7, 0.6, 2.0], at_most=9.0)
    assert row["high"] > 2
    assert math.isnan(row["sure_low"])


def test_undecided_claims_and_identities_are_not_doubtful():
    assert single([0.99, 1.0, 0.9, 1.0, 1.0], at_least=0.98)["doubtful"] is False
    assert single([1.0], at_least=0.98)["doubtful"] is False
    assert single([1.0] * 5, at_least=0.98, exact=True, why="so")["doubtful"] is False


# -- identities -------------------------------------------------------------------------------------------------------
def exact(*, seeds=5, **claim):
    said = {"say": "by definition", "metric": "alignment_accuracy", "exact": True, "why": "There is no other way."}
    return experiment({**said, **claim}, seeds=seeds, task={"lookup": {"n_keys": [8, 16]}})


@pytest.mark.parametrize("seeds", [1, 5])
def test_an_identity_is_no_support_and_needs_one_seed(seeds):
    row = verdict(table(exp := exact(at_most=0.0, seeds=seeds), lambda r, t: 0.0), exp)
    assert (row["verdict"], row["exact"], row["n"]) == ("identity", True, seeds)
    assert (row["effect"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
    assert f"no support: it holds of every one of {4 * seeds} values" in row["reason"]
    assert row["why"] == "There is no other way."


def test_an_exact_claim_is_refuted_by_one_value_that_the_mean_of_a_seed_would_hide():
    exp = exact(at_most=0.5)
    frame = table(exp, lambda r, t: 0.75 if (r["seed"], r["task.n_keys"], r["similarity"]) == (3, 8, "dot") else 0.0)
    row = verdict(frame, exp)
    assert (row["verdict"], row["high"]) == ("refuted", 0.75)
    assert "1 of 20 values are otherwise, such as 0.75" in row["reason"]


@pytest.mark.parametrize(("gap", "expected"), [(0.0, "identity"), (1e-17, "identity"), (1e-9, "refuted")])
def test_exactly_equal_is_equal_but_for_rounding(gap, expected):
    exp = exact(equal=[COSINE, DOT])
    frame = table(exp, lambda r, t: 1e-3 * (0.1 * r["seed"] + gap * (r["similarity"] == "dot") + 1))
    assert verdict(frame, exp)["verdict"] == expected
    near = exact(equal=[COSINE, DOT], within=1e-6)
    assert verdict(table(near, lambda r, t: 0.1 + gap * (r["similarity"] == "dot")), near)["verdict"] == "identity"


@pytest.mark.parametrize(("dot", "expected"), [(0.4, "identity"), (0.5, "refuted")])
def test_exactly_better_is_better_every_time(dot, expected):
    exp = exact(better=COSINE, than=DOT)
    frame = table(exp, lambda r, t: 0.5 if r["similarity"] == "cosine" else dot)
    frame.loc[(frame["seed"] > 0) & (frame["similarity"] == "dot"), "alignment_accuracy"] = 0.4
    assert verdict(frame, exp)["verdict"] == expected


def test_an_exact_claim_waits_for_every_run():
    exp = exact(at_most=0.0)
    row = verdict(table(exp, lambda r, t: 0.0)[1:], exp)
    assert row["verdict"] == "undecided"
    assert "1 of 20 runs have no value: 1 not run" in row["reason"]


# -- how often it is wrong --------------------------------------------------------------------------------------------
def false_support(draw, n, repeats=1500):
    """Shares of falsely supported claims that lie at their bound: of all, and of those without a remark."""
    rng = np.random.default_rng(n)
    found = [decide(draw(rng, n), Region(low=0, strict=True)) for _ in range(repeats)]
    supported = [d for d in found if d.verdict == "supported"]
    return len(supported) / repeats, sum(not d.doubtful for d in supported) / repeats


def mixture(p, high, low):
    return lambda rng, n: np.where(rng.random(n) < p, high, low)


SELDOM = {  # what few seeds do not show, what it is wrong to claim
    "fails": (mixture(0.98, 1.0, 0.0), Region(low=0.98 + 1e-9), (0.0, 1.0)),
    "items": (lambda rng, n: rng.binomial(256, 0.999, n) / 256, Region(low=0.999 + 1e-9), (0.0, 1.0)),
    "equal": (mixture(0.1, 0.2, 0.0), Region(-0.01, 0.01), (-1.0, 1.0)),
    "bimodal": (mixture(0.9, 1.0, 0.19), Region(low=0.919 + 1e-9), (0.0, 1.0)),
    "learns seldom": (mixture(0.1, 1.0, 0.19), Region(high=0.271 - 1e-9), (0.0, 1.0)),
    "no bounds": (mixture(0.9, 1.0, -5.0), Region(low=0.4 + 1e-9), (-math.inf, math.inf)),
    "skewed": (lambda rng, n: rng.gamma(0.3, size=n), Region(high=0.3 - 1e-9), (0.0, math.inf)),
}


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 10, 15, 20])
@pytest.mark.parametrize("truth", SELDOM)
def test_what_few_seeds_do_not_show_is_marked(truth, n):
    draw, region, bounds = SELDOM[truth]
    rng = np.random.default_rng(n)
    wrong = unmarked = 0
    for _ in range(300):
        x = draw(rng, n)
        found = decide(
            x, region, bounds, at_end([x], bounds if region != SELDOM["equal"][1] else (-math.inf, math.inf))
        )
        wrong += found.verdict == "supported"
        unmarked += found.verdict == "supported" and not found.doubtful
    assert wrong >= (1 if n < 20 else 0)
    assert unmarked / 300 < 0.025 + 3 * math.sqrt(0.025 * 0.975 / 300)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_normal_noise_is_falsely_supported_in_two_and_a_half_per_cent(n):
    rate, _ = false_support(lambda rng, n: rng.normal(size=n), n)
    assert abs(rate - 0.025) < 4 * math.sqrt(0.025 * 0.975 / 1500)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_skewed_noise_is_falsely_supported_more_often_and_it_is_said(n):
    rate, unmarked = false_support(lambda rng, n: math.exp(0.5) - rng.lognormal(size=n), n)
    assert rate > 0.08
    assert unmarked < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 1500)


def test_a_whole_table_without_a_difference_is_seldom_supported():
    exp = experiment(BETTER, {**BETTER, "say": "dot wins", "better": DOT, "than": COSINE})
    rng = np.random.default_rng(11)
    frame = table(exp, lambda r, t: 0.0)
    supported = 0
    for _ in range(120):
        shared = rng.normal(size=5)[frame["seed"]]
        drawn = frame.assign(alignment_accuracy=shared + rng.normal(size=len(frame)))
        supported += (attnlab.check_claims(drawn, exp)["verdict"] == "supported").sum()
    assert 0 < supported / 240 < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 240)


# -- the unit is the seed ---------------------------------------------------------------------------------------------
def test_the_grid_that_where_leaves_is_averaged_within_a_seed():
    claim = {**BETTER, "where": {"task.n_keys": [8, 16]}}
    exp = experiment(claim, task={"lookup": {"n_keys": [8, 16, 32]}})
    e = noise(5)
    gain = {8: 0.1, 16: 0.3, 32: 9.0}
    frame = table(
        exp,
        lambda r, t: (r["similarity"] == "cosine") * (gain[r["task.n_keys"]] + e[r["seed"]]),
        tests=("test", "long"),
    )
    (judged,) = judge(frame, exp)
    assert judged.by_seed == pytest.approx({s: 0.2 + e[s] for s in range(5)})
    assert judged.decision.n == 5


def test_sides_are_compared_over_the_points_that_both_have():
    mechanism = [
        {"similarity": "dot", "normaliser": ["softmax", "sparsemax"]},
        {"similarity": {"cosine": {"temperature": [0.5, 1.0]}}, "normaliser": "softmax"},
    ]
    exp = experiment(BETTER, mechanism=mechanism)
    values = {("dot", "softmax"): 0.5, ("dot", "sparsemax"): 99.0, ("cosine", "softmax"): 0.8}
    e = noise(5)

    def value(r, t):
        own = 0.1 * (r.get("similarity.temperature") == 0.5)
        return values[r["similarity"], r["normaliser"]] + own + (r["similarity"] == "dot") * e[r["seed"]]

    (judged,) = judge(table(exp, value), exp)
    assert judged.by_seed == pytest.approx({s: 0.35 - e[s] for s in range(5)})
    assert "5 runs have no partner" in judged.decision.reason


def test_the_settings_of_what_a_claim_selects_by_are_its_own():
    claim = {
        "say": "copy is easier",
        "metric": "alignment_accuracy",
        "better": {"task": "copy"},
        "than": {"task": "reverse"},
    }
    exp = experiment({**claim, "where": DOT}, task=[{"copy": {"length": 8}}, {"reverse": {"length": [8, 16]}}])
    gain = {("copy", 8): 0.9, ("reverse", 8): 0.5, ("reverse", 16): 0.3}
    row = verdict(table(exp, lambda r, t: gain[r["task"], r["task.length"]] + 0.01 * r["seed"]), exp)
    assert (row["verdict"], row["reason"]) == (
        "supported",
        f"the same in all 5 seeds, so the interval is a point; {ALIKE_5}",
    )
    assert row["effect"] == pytest.approx(0.5)


def test_sides_that_differ_in_more_than_the_claim_says_are_not_compared():
    mechanism = [{"similarity": "dot", "normaliser": "softmax"}, {"similarity": "cosine", "normaliser": "sparsemax"}]
    row = verdict(table(exp := experiment(BETTER, mechanism=mechanism), lambda r, t: 0.1 * r["seed"]), exp)
    assert row["verdict"] == "undecided"
    assert "share no grid point: they differ in normaliser" in row["reason"]


def test_test_conditions_can_be_sides():
    claim = {"say": "falls", "metric": "alignment_accuracy", "better": {"test": "test"}, "than": {"test": "long"}}
    exp = experiment({**claim, "where": DOT})
    frame = table(exp, lambda r, t: 0.9 - (t == "long") * (0.2 + 0.01 * r["seed"]), tests=("test", "long"))
    assert verdict(frame, exp)["effect"] == pytest.approx(0.22)


def test_an_unknown_test_condition_is_named():
    exp = experiment({**BETTER, "where": {"test": ["test", "n=9"]}})
    row = verdict(table(exp, lambda r, t: 0.5), exp)
    assert row["verdict"] == "undecided"
    assert "without the test condition 'n=9'" in row["reason"]


def test_a_condition_in_which_nothing_is_measured_is_none():
    exp = experiment(BETTER)
    frame = table(
        exp,
        lambda r, t: math.nan if t == "long" else (r["similarity"] == "cosine") + 0.01 * r["seed"],
        tests=("test", "long"),
    )
    assert verdict(frame, exp)["verdict"] == "supported"


CORRELATED = {"say": "go together", "correlation": ["alignment_accuracy", "gold_mass"]}
TEN = {"similarity": ["dot", {"cosine": {"temperature": [0.1, 0.2, 0.5, 1.0]}}], "normaliser": ["softmax", "sparsemax"]}


def mechanism_of(r):
    return r["similarity"], r.get("similarity.temperature"), r["normaliser"]


def test_a_correlation_is_that_of_the_means_of_mechanisms():
    """Noise within seeds, which pulls the correlation within a seed to 0, is averaged out; tasks are no further points."""
    exp = experiment({**CORRELATED, "at_least": 0.5}, mechanism=TEN, task={"lookup": {"n_keys": [8, 16]}})
    rng = np.random.default_rng(5)
    truth = {}

    def value(r, t):
        x = truth.setdefault(mechanism_of(r), rng.normal())
        return {"alignment_accuracy": x + rng.normal() + 7 * r["seed"], "gold_mass": x + rng.normal() - 7 * r["seed"]}

    frame = table(exp, value, tests=("test", "long"))
    (judged,) = judge(frame, exp)
    keys = ["similarity", "similarity.temperature", "normaliser"]
    means = frame.groupby(keys, dropna=False)[["alignment_accuracy", "gold_mass"]].mean()
    assert len(means) == 10
    expected = stats.pearsonr(means["alignment_accuracy"], means["gold_mass"])
    interval = expected.confidence_interval(0.95)  # Fisher's
    decision = judged.decision
    assert (decision.effect, decision.low, decision.high) == pytest.approx((expected.statistic, *interval), abs=1e-9)
    assert (decision.verdict, decision.n) == ("supported", 10)
    within = [np.corrcoef(f["alignment_accuracy"], f["gold_mass"])[0, 1] for _, f in frame.groupby("seed")]
    assert max(within) < decision.effect - 0.2


def test_an_undecided_correlation_says_how_many_mechanisms_would_decide():
    exp = experiment({**CORRELATED, "at_least": 0.5}, mechanism=TEN)
    rng = np.random.default_rng(2)
    xs = {}

    def value(r, t):
        x, y = xs.setdefault(mechanism_of(r), rng.normal(size=2))
        return {"alignment_accuracy": x, "gold_mass": x + 0.8 * y}

    row = verdict(table(exp, value), exp)
    assert row["verdict"] == "undecided"
    (needed,) = [int(word) for word in row["reason"].split() if word.isdigit()]
    for n, decides in ((needed - 1, False), (needed + 1, True)):
        half = 1.959964 / math.sqrt(n - 3)
        assert (abs(math.atanh(row["effect"]) - math.atanh(0.5)) > half) is decides


def test_mechanisms_on_one_line_are_doubtful():
    exp = experiment(CORRELATED, mechanism=TEN)
    rng = np.random.default_rng(2)
    xs = {}

    def value(r, t):
        x = xs.setdefault(mechanism_of(r), rng.normal())
        return {"alignment_accuracy": x, "gold_mass": 2 - x}

    row = verdict(table(exp, value), exp)
    assert (row["verdict"], row["effect"], row["low"], row["high"], row["doubtful"]) == ("supported", -1, -1, -1, True)
    assert "10 of 10 mechanisms on one line" in row["reason"]


@pytest.mark.parametrize(
    ("mechanism", "said"),
    [({"similarity": ["dot", "cosine"]}, "there are 2 mechanisms, and a correlation takes 4"), (TEN, "does not vary")],
)
def test_a_correlation_that_is_undefined(mechanism, said):
    exp = experiment(CORRELATED, mechanism=mechanism, task={"lookup": {"n_keys": [4, 8, 16]}})
    frame = table(exp, lambda r, t: {"alignment_accuracy": 0.1 + 0.2, "gold_mass": r["seed"] / 7 + len(str(r))})
    row = verdict(frame, exp)
    assert row["verdict"] == "undecided"
    assert said in row["reason"]


# -- seeds that draw from the same examples ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("task", "overlap"),
    [
        ({"bitext": {"path": "text", "share": 0.5}}, 1.0),
        ({"bitext": {"path": "text", "share": 0.2}}, 0.25),
        ({"bitext": {"path": "text", "bootstrap": True}}, 1.0),
        ({"bitext": {"path": "text"}}, 0.0),
        ({"arrays": {"path": "some.npz", "test": 0.2, "validation": 0.4}}, 0.5),
        ({"arrays": {"path": "some.npz", "validation_path": "some.npz", "test_path": "some.npz"}}, 0.0),
        ([{"lookup": {}}, {"bitext": {"path": "text", "share": 0.5}}], 1.0),
    ],
)
def test_the_interval_is_as_wide_as_the_examples_that_all_seeds_share_make_it(tmp_path, monkeypatch, task, overlap):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("a b ||| c d\n" * 9, encoding="utf-8")
    np.savez(tmp_path / "some.npz", Q=np.ones((9, 1, 2)), K=np.ones((9, 3, 2)), V=np.ones((9, 3, 2)))
    exp = experiment({"say": "few errors", "metric": "aer", "at_most": 0.35, "where": COSINE}, seeds=10, task=task)
    e = noise(10, 0.02, seed=1)
    row = verdict(table(exp, lambda r, t: 0.3 + e[r["seed"]], metric="aer"), exp)
    half = stats.t.ppf(0.975, 9) * e.std(ddof=1) * math.sqrt(1 / 10 + overlap)
    assert (row["low"], row["high"]) == pytest.approx((0.3 + e.mean() - half, 0.3 + e.mean() + half))
    assert math.isnan(row["sure_low"]) is (overlap > 0)


def test_halves_of_one_corpus_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = {0.0: 0, 1.0: 0}
    for _ in range(600):
        corpus = rng.beta(2, 5, size=200)
        halves = [corpus[rng.permutation(200)[:100]].mean() for _ in range(10)]
        for overlap in held:
            found = decide(halves, Region(low=0), overlap=overlap)
            held[overlap] += found.low <= 2 / 7 <= found.high
    assert held[0.0] / 600 < 0.6
    assert abs(held[1.0] / 600 - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / 600)


def test_more_seeds_of_the_same_examples_would_not_decide():
    x = [0.30, 0.28, 0.31, 0.29, 0.27]
    assert decide(x, Region(high=0.295)).seeds_needed < 100
    found = decide(x, Region(high=0.295), overlap=1.0)
    assert math.isnan(found.seeds_needed)
    assert "no number of seeds would decide" in found.reason


# -- what is missing --------------------------------------------------------------------------------------------------
def good(r, t):
    return (r["similarity"] == "cosine") + 0.01 * r["seed"] * (r["similarity"] == "dot")


def test_missing_runs_leave_a_claim_undecided_and_the_rest_is_shown():
    exp = experiment(BETTER)
    frame = table(exp, good)
    row = verdict(frame[~((frame["similarity"] == "dot") & (frame["seed"] == 2))], exp)
    assert (row["verdict"], row["n"]) == ("undecided", 4)
    assert "1 of 10 runs have no value: 1 not run" in row["reason"]
    assert row["low"] > 0
    assert verdict(frame, exp)["verdict"] == "supported"


@pytest.mark.parametrize("status", ["timeout", None])
def test_grid_points_that_are_missing_are_not_said_to_lack_a_partner_too(status):
    exp = experiment(BETTER, task={"lookup": {"n_keys": [8, 16, 32]}})
    frame = table(exp, good)
    gone = (frame["similarity"] == "dot") & (frame["task.n_keys"] > 8)
    if status is None:
        frame = frame[~gone]
    else:
        frame.loc[gone, ["alignment_accuracy", "status"]] = [math.nan, status]
    reason = verdict(frame, exp)["reason"]
    assert "10 of 30 runs have no value" in reason
    assert "no partner" not in reason


def test_test_conditions_of_one_side_only_are_left_out_and_it_is_said():
    claim = {"say": "easier", "metric": "alignment_accuracy", "better": {"task": "copy"}, "than": {"task": "reverse"}}
    exp = experiment({**claim, "where": DOT}, task=["copy", "reverse"])
    frame = table(exp, lambda r, t: (r["task"] == "copy") + 0.01 * r["seed"], tests=("test", "long"))
    frame = frame[(frame["task"] == "copy") | (frame["test"] == "test")]
    row = verdict(frame, exp)
    assert row["verdict"] == "supported"
    assert "1 test conditions have no partner" in row["reason"]


def test_failed_runs_say_why():
    exp = experiment(BETTER)
    frame = table(exp, good)
    frame.loc[[0, 1], ["alignment_accuracy", "status", "reason"]] = [math.nan, "timeout", "longer than 60 s"]
    row = verdict(frame, exp)
    assert row["verdict"] == "undecided"
    assert "2 timeout (longer than 60 s)" in row["reason"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_leave_a_claim_undecided(bad):
    exp = experiment(BETTER)
    frame = table(exp, good)
    frame.loc[3, "alignment_accuracy"] = bad
    row = verdict(frame, exp)
    assert (row["verdict"], row["n"]) == ("undecided", 4)
    assert "1 ok, but not measured or not finite" in row["reason"]


def test_nothing_measured_or_nothing_run():
    exp = experiment(BETTER)
    frame = table(exp, good)
    assert "not measured" in verdict(frame.drop(columns="alignment_accuracy"), exp)["reason"]
    row = verdict(frame[:0], exp)
    assert (row["verdict"], row["n"]) == ("undecided", 0)
    assert "10 of 10 runs have no value: 10 not run" in row["reason"]


def test_runs_that_a_claim_is_not_about_may_be_missing():
    exp = experiment({"say": "high", "metric": "alignment_accuracy", "at_least": 0.5, "where": COSINE})
    frame = table(exp, lambda r, t: 0.9 + 0.001 * r["seed"])
    assert verdict(frame[frame["similarity"] == "cosine"], exp)["verdict"] == "supported"


# -- the table --------------------------------------------------------------------------------------------------------
def test_rows_of_other_experiments_and_repeated_rows_change_nothing():
    exp = experiment(BETTER)
    frame = table(exp, good)
    others = frame.assign(run_id="0" * 16, alignment_accuracy=-9.0, experiment="other")
    again = frame.assign(experiment="a third that shares the runs")
    mixed = pd.concat([others, frame, again])
    pd.testing.assert_frame_equal(attnlab.check_claims(mixed, exp), attnlab.check_claims(frame, exp))


def test_a_table_without_run_ids_is_matched_by_columns(tmp_path):
    exp = experiment(BETTER, task={"lookup": {"n_keys": [8, 16], "min_keys": None}})
    frame = table(exp, good)
    frame.drop(columns="run_id").to_csv(tmp_path / "r.csv", index=False)
    assert verdict(pd.read_csv(tmp_path / "r.csv"), exp)["verdict"] == "supported"
    with pytest.raises(SettingError, match="do not tell the planned runs apart"):
        attnlab.check_claims(frame[["similarity", "seed", "alignment_accuracy"]], exp)


def test_a_notebook_shows_the_chief_columns():
    exp = experiment({**BETTER, "say": "cosine > dot" + 9 * ", whatever the rate"})
    judged = attnlab.check_claims(table(exp, good), exp)
    page = judged._repr_html_()
    assert f"<td>cosine &gt; dot{9 * ', whatever the rate'}</td>" in page  # the whole of it
    assert "<th>claimed</th>" in page
    assert "<td>&gt; 0</td>" in page
    assert "<th>at_most</th>" not in page
    assert type(judged.head(1)) is pd.DataFrame


def test_a_tidy_table_is_refused():
    with pytest.raises(SettingError, match="tidy"):
        attnlab.check_claims(pd.DataFrame(columns=["metric", "value", "seed"]), experiment(BETTER))


def test_a_claim_may_say_why_it_might_be_refuted():
    exp = experiment({**BETTER, "why": "It was not to be."})
    assert verdict(table(exp, good), exp)["why"] == "It was not to be."
    with pytest.raises(ExperimentError, match="why"):
        experiment({**BETTER, "why": ""})


def test_a_real_sweep_is_judged(tmp_path):
    spec = {
        "attnlab": 1,
        "question": "Does the length of a key mislead the dot product?",
        "task": {"norm_hubs": {"sigma": 1.5, "n_train": 1, "n_validation": 1, "n_test": 16}},
        "mechanism": {"similarity": ["dot", "cosine"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 3,
        "claims": [BETTER],
    }
    frame = attnlab.sweep(spec, executor="serial", store=tmp_path / "s.db", quiet=True)
    row = verdict(frame, spec)
    means = frame.groupby("similarity")["alignment_accuracy"].mean()
    assert row["effect"] == pytest.approx(means["cosine"] - means["dot"])
    assert (row["verdict"], row["n"]) == ("supported", 3)
