"""What a comparison says, in its verdicts and words: signs, ranks against means, few kinds of task, facts of a whole run."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import attnlab
from attnlab import registry
from attnlab.analysis.compare import compare, pairwise, performance_profile
from attnlab.analysis.presentation import compact
from attnlab.analysis.statistics import mean_interval
from attnlab.errors import SettingError


def frame_of(scores, kinds=None, metric="alignment_accuracy", tests=("test",), seeds=1, **columns):
    """A results table from scores (competitor, task); `kinds` names the kind of each task, whose settings they are."""
    kinds = [f"task{t}" for t in range(len(scores[0]))] if kinds is None else kinds
    rows = []
    for (c, row), test, seed in itertools.product(enumerate(scores), tests, range(seeds)):
        for t, score in enumerate(row):
            rows.append(
                {
                    "run_id": f"{c}-{t}-{seed}",
                    "task": kinds[t],
                    "task.d": t,
                    "test": test,
                    "similarity": f"s{c}",
                    "seed": seed,
                    metric: score,
                    "status": "ok",
                    **{name: values[c][t] for name, values in columns.items()},
                }
            )
    return pd.DataFrame(rows)


# -- ranks and means --------------------------------------------------------------------------------------------------
BASE = np.linspace(0.2, 0.9, 15) * 2
SMALL_WINS = np.append(0.01 + 0.001 * np.arange(14), -1.0)  # fourteen small wins and one loss


def test_the_mean_is_printed_with_its_sign_and_a_disagreement_is_said():
    table = compare(frame_of([BASE, BASE + SMALL_WINS], metric="score"), "score", "similarity", "s0", direction="up")
    (row,) = table.to_dict("records")
    assert row["verdict"] == "better"
    assert row["improvement"] == pytest.approx(SMALL_WINS.mean())
    assert row["improvement"] < 0 < row["rank_biserial"]
    assert row["reason"] == "ranks and mean disagree: better by ranks, worse by the mean"
    conclusion = table.attrs["conclusion"]
    low, high = mean_interval(SMALL_WINS)
    assert (
        f"Better than s0: s1 by {SMALL_WINS.mean():.3g} [{low:.3g}, {high:.3g}] (14 won, 0 tied, 1 lost" in conclusion
    )
    assert f"Ranks and mean disagree for s1: better by ranks, that is on most tasks, but worse by the mean ({SMALL_WINS.mean():.3g})" in conclusion  # fmt: skip


def test_a_disagreement_is_said_the_other_way_round_too():
    for direction, sign in (("up", -1), ("down", 1)):
        frame = frame_of([BASE, BASE + sign * SMALL_WINS], metric="score")
        table = compare(frame, "score", "similarity", "s0", direction=direction)
        assert table["verdict"].tolist() == ["worse"]
        assert f"Worse than s0: s1 by {-SMALL_WINS.mean():.3g} [" in table.attrs["conclusion"]
        assert "worse by ranks, that is on most tasks, but better by the mean" in table.attrs["conclusion"]


def test_pairs_and_the_order_of_merit_say_it_too():
    frame = frame_of([BASE, BASE + SMALL_WINS], metric="score")
    pairs = pairwise(frame, "score", "similarity", direction="up")
    assert "Different: s1 over s0" in pairs.attrs["conclusion"]
    assert "Ranks and mean disagree for" in pairs.attrs["conclusion"]
    base = np.array([0.0] * 7 + [1.0] * 8)  # one of the middle half falls from 1 to 0
    merit = compare(frame_of([base, base + SMALL_WINS], metric="score"), "score", "similarity", direction="up")
    assert merit["similarity"].tolist() == ["s0", "s1"]
    assert merit["verdict"].tolist() == ["", "better"]
    assert "Ranks and means disagree: by ranks s1 is better than s0" in merit.attrs["conclusion"]


def test_agreement_is_no_disagreement():
    rng = np.random.default_rng(0)
    frame = frame_of([BASE, BASE + rng.uniform(0.1, 0.2, 15), BASE - rng.uniform(0.1, 0.2, 15)])
    table = compare(frame, "alignment_accuracy", "similarity", "s0")
    assert "isagree" not in table.attrs["conclusion"]
    assert table["reason"].tolist() == ["", ""]


def test_an_interval_of_the_mean_that_holds_0_is_said():
    d = np.append(0.01 * np.arange(1, 15), -0.5)
    table = compare(frame_of([BASE, BASE + d], metric="score"), "score", "similarity", "s0", direction="up")
    assert table["verdict"].tolist() == ["better"]
    assert table["low"].iloc[0] < 0 < table["high"].iloc[0]
    assert "For s1 ranks differ, but the interval of the mean holds 0." in table.attrs["conclusion"]


# -- the region of equivalence ----------------------------------------------------------------------------------------
def test_a_region_of_equivalence_drops_no_finding():
    d = 0.001 + 0.0001 * np.arange(15)  # shown, and so small that it does not matter
    bare = compare(frame_of([BASE, BASE + d], metric="score"), "score", "similarity", "s0", direction="up")
    table = compare(frame_of([BASE, BASE + d], metric="score"), "score", "similarity", "s0", direction="up", rope=0.1)
    assert bare["verdict"].tolist() == ["better"]
    assert table["verdict"].tolist() == ["better, equivalent"]
    conclusion = table.attrs["conclusion"]
    assert "Better than s0: s1 by 0.0017" in conclusion
    assert "Practically equivalent to s0, to within 0.1, with probability at least 0.95: s1 (1.00)." in conclusion
    assert "Of these, s1 differs all the same, but by no more than that." in conclusion
    pairs = pairwise(frame_of([BASE, BASE + d], metric="score"), "score", "similarity", direction="up", rope=0.1, tidy=True)  # fmt: skip
    assert pairs["verdict"].iloc[0] in ("better, equivalent", "worse, equivalent")
    assert "Different: s1 over s0" in pairs.attrs["conclusion"]
    assert "Practically equivalent, to within 0.1" in pairs.attrs["conclusion"]
    merit = compare(frame_of([BASE, BASE + d], metric="score"), "score", "similarity", direction="up", rope=0.1)
    assert merit["verdict"].tolist() == ["", "worse, equivalent"]
    assert "Practically equivalent to s1, to within 0.1" in merit.attrs["conclusion"]


# -- kinds of task ----------------------------------------------------------------------------------------------------
def kinds_of(n_kinds, settings):
    return [f"task{k}" for k in range(n_kinds) for _ in range(settings)]


def ahead(n, by=0.1, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.2, 0.6, n)
    return [base, base + by + rng.uniform(0, 0.05, n)]


def test_kinds_of_task_are_the_replicates_where_they_are_enough():
    scores = ahead(24)
    frame = frame_of(scores, kinds_of(6, 4))  # one comparison: six kinds can give .031
    table = compare(frame, "alignment_accuracy", "similarity", "s0")
    assert table["n_tasks"].tolist() == [6]
    assert table["verdict"].tolist() == ["better"]
    d = (scores[1] - scores[0]).reshape(6, 4).mean(axis=1)
    assert table["p_value"].tolist() == pytest.approx([stats.wilcoxon(d).pvalue])
    assert table["improvement"].tolist() == pytest.approx([d.mean()])
    conclusion = table.attrs["conclusion"]
    assert "over 6 kinds of task with 1 seed each" in conclusion
    assert "The 24 settings and test conditions are averaged within their 6 kinds of task" in conclusion
    assert compare(frame, "alignment_accuracy", "similarity", "s0", unit="setting")["n_tasks"].tolist() == [24]


@pytest.mark.parametrize(("n_kinds", "about"), [(1, "on this kind of task"), (3, "on these 3 kinds of task"), (5, "on these 5 kinds of task")])  # fmt: skip
def test_a_verdict_says_that_it_is_about_few_kinds(n_kinds, about):
    frame = frame_of(ahead(4 * n_kinds if n_kinds > 1 else 12), kinds_of(n_kinds, 4 if n_kinds > 1 else 12))
    table = compare(frame, "alignment_accuracy", "similarity", "s0")
    assert table["n_tasks"].tolist() == [4 * n_kinds if n_kinds > 1 else 12]
    assert table["verdict"].tolist() == [f"better, {about}"]
    assert compact(table)["verdict"].tolist() == [f"better, {about}"]
    assert f"{about[0].upper()}{about[1:]}, better than s0: s1" in table.attrs["conclusion"]
    pairs = pairwise(frame, "alignment_accuracy", "similarity", tidy=True)
    assert pairs["verdict"].tolist() == [f"better, {about}"]
    merit = compare(frame, "alignment_accuracy", "similarity")
    assert merit["verdict"].tolist() == ["", f"worse, {about}"]
    assert compact(merit)["verdict"].tolist() == ["", f"worse, {about}"]
    assert compare(frame, "alignment_accuracy", "similarity", "s0", unit="setting")["verdict"].equals(table["verdict"])
    whole = compare(frame, "alignment_accuracy", "similarity", "s0", unit="task")
    assert whole["n_tasks"].tolist() == [n_kinds]
    assert whole["verdict"].tolist() == ["undecided"]


def test_every_comparison_counts_for_how_many_kinds_are_enough():
    scores = [*ahead(24), ahead(24, 0.2)[1]]
    frame = frame_of(scores, kinds_of(6, 4))
    assert compare(frame, "alignment_accuracy", "similarity", "s0")["n_tasks"].tolist() == [24, 24]  # it takes seven
    assert compare(frame, "alignment_accuracy", "similarity", "s0", alpha=0.1)["n_tasks"].tolist() == [6, 6]
    more = frame_of([*ahead(28), ahead(28, 0.2)[1]], kinds_of(7, 4))
    assert compare(more, "alignment_accuracy", "similarity", "s0")["n_tasks"].tolist() == [7, 7]
    pairs = frame_of([*ahead(28), ahead(28, 0.2)[1], ahead(28, 0.3)[1]], kinds_of(7, 4))
    assert (
        compare(pairs, "alignment_accuracy", "similarity")["n_tasks"].tolist() == [28] * 4
    )  # six pairs: it takes eight


def test_an_undecided_verdict_says_nothing_of_kinds():
    frame = frame_of([np.tile([0.1, 0.2], 6), np.tile([0.2, 0.1], 6)], kinds_of(3, 4))
    assert compare(frame, "alignment_accuracy", "similarity", "s0")["verdict"].tolist() == ["undecided"]


def test_complete_tasks_keeps_the_other_settings_of_a_kind():
    scores = ahead(24)
    frame = frame_of(scores, kinds_of(6, 4))
    gone = frame[~((frame["similarity"] == "s1") & (frame["task.d"] == 5))]
    table = compare(gone, "alignment_accuracy", "similarity", "s0", missing="complete-tasks")
    d = np.delete(scores[1] - scores[0], 5)
    each = [*(d[:4].mean(), d[4:7].mean()), *d[7:].reshape(4, 4).mean(axis=1)]
    assert table["n_tasks"].tolist() == [6]
    assert table["improvement"].tolist() == pytest.approx([np.mean(each)])


def test_a_profile_is_of_settings():
    frame = frame_of(ahead(24), kinds_of(6, 4))
    profile = performance_profile(frame, "alignment_accuracy", "similarity")
    assert profile.min(axis=None) in (0, 1 / 24)
    assert len(profile) == 48


def test_kinds_that_share_their_luck_are_seldom_called_different():
    """Twelve tasks of three kinds: a verdict without a word on kinds is about all kinds, and none is false."""
    bare = about = 0
    for s in range(60):
        rng = np.random.default_rng(s)
        scores = np.repeat(rng.standard_normal((2, 3)), 4, axis=1) + rng.standard_normal((2, 12))
        frame = frame_of(scores, kinds_of(3, 4), metric="score")
        (verdict,) = compare(frame, "score", "similarity", "s0", direction="up")["verdict"]
        bare += verdict in ("better", "worse")
        about += verdict.endswith("on these 3 kinds of task")
    assert bare == 0
    assert about / 60 > 0.1  # so often about these kinds, of which each competitor has its luck


# -- the bounds of a metric -------------------------------------------------------------------------------------------
def test_no_interval_is_wider_than_what_is_possible():
    sample = np.array([0.016, 0.942, 0.849, 0.996, 0.838])
    low, high = mean_interval(sample)
    assert (low, high) == pytest.approx((-0.940, 1.063), abs=1e-3)
    merit = compare(frame_of([sample, sample / 2]), "alignment_accuracy", "similarity").set_index("similarity")
    assert merit.loc["s0", ["low", "high"]].tolist() == [0, 1]
    assert "0 to 1" in compact(merit.reset_index().pipe(_with_attrs, merit))["95% interval"].tolist()
    errors = compare(frame_of([sample, sample / 2], metric="aer"), "aer", "similarity").set_index("similarity")
    assert errors.loc["s0", ["low", "high"]].tolist() == [0, 1]
    far = compare(
        frame_of([np.zeros(5), np.array([1.0, 1.0, 1.0, 0.0, 1.0])]), "alignment_accuracy", "similarity", "s0"
    )
    assert far["high"].tolist() == [1]
    assert mean_interval([1.0, 1.0, 1.0, 0.0, 1.0])[1] > 1
    kl = compare(frame_of([sample, sample / 2], metric="kl_to_gold"), "kl_to_gold", "similarity").set_index(
        "similarity"
    )
    assert kl.loc["s0", "low"] == 0
    assert kl.loc["s0", "high"] == pytest.approx(high)


def _with_attrs(table, other):
    table.attrs = other.attrs
    return table


# -- what a run has once ----------------------------------------------------------------------------------------------
def test_a_metric_of_a_whole_run_counts_once():
    speed = [[100.0, 110.0], [200.0, 230.0]]
    frame = frame_of(speed, metric="steps_per_second", tests=("short", "long", "test"), seeds=2)
    table = compare(frame, "steps_per_second", "similarity", "s0")
    assert table["n_tasks"].tolist() == [2]  # six once, and p = .031
    assert table["improvement"].tolist() == [110]
    assert table["p_value"].isna().all()
    assert "settings and test conditions" not in table.attrs["conclusion"]
    accuracy = compare(frame.rename(columns={"steps_per_second": "accuracy"}), "accuracy", "similarity", "s0")
    assert accuracy["n_tasks"].tolist() == [6]
    partly = frame.assign(steps_per_second=frame["steps_per_second"].where(frame["test"] == "long"))
    assert compare(partly, "steps_per_second", "similarity", "s0")["improvement"].tolist() == [110]


def test_a_metric_of_ones_own_may_be_of_a_whole_run(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    frame = frame_of([[1.0, 2.0], [2.0, 3.0]], metric="watts", tests=("short", "long"))
    assert compare(frame, "watts", "similarity", "s0", direction="down")["n_tasks"].tolist() == [4]
    body = {"name": "watts", "per": "run", "direction": "down", "measure": lambda self, model: 0.0}
    attnlab.register(type("Watts", (attnlab.Metric,), body))
    assert compare(frame, "watts", "similarity", "s0")["n_tasks"].tolist() == [2]


@pytest.mark.parametrize("column", ["n_parameters", "fit_seconds", "operations_per_query", "attempts", "n_tuned"])
def test_what_a_run_took_can_be_compared(column):
    frame = frame_of([[100.0] * 7, [60.0] * 7], metric=column, tests=("short", "long"))
    direction = None if column in ("n_parameters", "fit_seconds", "operations_per_query") else "down"
    table = compare(frame, column, "similarity", "s0", direction=direction)
    assert table["n_tasks"].tolist() == [7]
    assert (table["improvement"].tolist(), table["verdict"].tolist()) == ([40], ["better"])
    assert performance_profile(frame, column, "similarity", direction=direction).index.tolist() == [100, 60]
    if direction:
        with pytest.raises(SettingError, match=f"{column} does not say which way is better; say up or down"):
            compare(frame, column, "similarity")
