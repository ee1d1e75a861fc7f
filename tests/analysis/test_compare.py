"""`attnlab.compare` and its command on results tables: what is a replicate, what is missing, what is concluded."""

import html
import json
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import attnlab
from attnlab.analysis.compare import compare, pairwise, performance_profile
from attnlab.analysis.statistics import holm, mean_interval, seeds_needed, tasks_needed
from attnlab.cli import _status
from attnlab.commands.compare import _fewer
from attnlab.commands.compare import compare as command
from attnlab.errors import SettingError
from attnlab.plugins import configure

NAMES = ["scaled_dot", "additive", "cosine"]
PLUGIN = """\
import attnlab


class Darkness(attnlab.Metric):
    \"\"\"What falls on the first key.\"\"\"

    name = "darkness"
    direction = "down"

    def measure(self, data, W):
        return float(W[..., 0].mean())


@attnlab.hookimpl
def attnlab_metrics():
    return [Darkness]
"""
PIECES = ["improvement", "low", "high", "wins", "ties", "losses", "p_value", "p_holm", "rank_biserial", "iqm"]


def results(scores, seeds=1, spread=0.0, metric="alignment_accuracy", rates=(0.1,), names=None, **extra):
    """A results table: (competitor, task) scores, seeds about them by `spread` with the mean kept."""
    rng = np.random.default_rng(1)
    rows = []
    for c, row in enumerate(scores):
        for t, score in enumerate(row):
            noise = rng.normal(0, spread, seeds)
            for rate in rates:
                for seed in range(seeds):
                    rows.append(
                        {
                            "experiment": "e",
                            "run_id": f"{c}-{t}-{rate}-{seed}",
                            "task": f"task{t}",
                            "task.n_keys": 8,
                            "test": "test",
                            "similarity": (names or NAMES)[c],
                            "normaliser": "softmax",
                            "model.learning_rate": rate,
                            "seed": seed,
                            metric: score + noise[seed] - noise.mean(),
                            "status": "ok",
                            "reason": "",
                            **extra,
                        }
                    )
    return pd.DataFrame(rows)


def spoilt(frame, at, status="timeout", reason="over 60 s"):
    frame = frame.copy()
    frame.loc[at, ["status", "reason"]] = [status, reason]
    frame.loc[at, "alignment_accuracy"] = np.nan
    return frame


def random_scores(k=3, n=8, seed=0, by=(0, 0.1, 0.2)):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.4, 0.8, n) + rng.normal(0, 0.05, (k, n)) + np.array(by)[:k, None]


def test_the_numbers_are_those_of_the_differences():
    scores = random_scores()
    table = compare(results(scores, seeds=3, spread=0.1), "alignment_accuracy", "similarity", "scaled_dot")
    assert list(table["similarity"]) == ["cosine", "additive"]  # best first
    d = [scores[2] - scores[0], scores[1] - scores[0]]
    assert table["improvement"].to_numpy() == pytest.approx([x.mean() for x in d])
    p = [stats.wilcoxon(x).pvalue for x in d]
    assert table["p_value"].to_numpy() == pytest.approx(p)
    assert table["p_holm"].to_numpy() == pytest.approx(holm(p))
    assert table["low"].to_numpy() == pytest.approx([mean_interval(x)[0] for x in d])
    assert list(table["wins"]) == [int((x > 0).sum()) for x in d]
    assert (table["n_tasks"] == 8).all()
    assert (table["n_seeds"] == 3).all()
    assert table["mean"].to_numpy() == pytest.approx(scores[[2, 1]].mean(axis=1))
    assert table["verdict"].iloc[0] == "better"


scores_of_any_size = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 20), min_size=n, max_size=n), min_size=3, max_size=3)
)


@settings(max_examples=15)
@given(scores_of_any_size, st.randoms(use_true_random=False))
def test_order_of_rows_labels_and_seeds_does_not_matter(scores, random):
    frame = results(np.array(scores) / 20, seeds=2, spread=0.01)
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot").set_index("similarity")
    shuffled = frame.iloc[random.sample(range(len(frame)), len(frame))]
    again = compare(shuffled, "alignment_accuracy", "similarity", "scaled_dot").set_index("similarity")
    pd.testing.assert_frame_equal(table, again)
    renamed = {"scaled_dot": "zebra", "additive": "yak", "cosine": "ant"}
    other = frame.assign(similarity=frame["similarity"].map(renamed), seed=1 - frame["seed"])
    other = compare(other, "alignment_accuracy", "similarity", "zebra").set_index("similarity")
    pd.testing.assert_frame_equal(
        table[PIECES].sort_index(), other.loc[["yak", "ant"], PIECES].set_index(pd.Index(["additive", "cosine"])),
        check_names=False,
    )  # fmt: skip


@settings(max_examples=15)
@given(scores_of_any_size)
def test_swapping_competitor_and_baseline_changes_the_sign(scores):
    frame = results(np.array(scores) / 20)
    frame = frame[frame["similarity"] != "cosine"]
    there = compare(frame, "alignment_accuracy", "similarity", "scaled_dot").iloc[0]
    back = compare(frame, "alignment_accuracy", "similarity", "additive").iloc[0]
    assert there["improvement"] == -back["improvement"]
    assert there["rank_biserial"] == -back["rank_biserial"]
    assert (there["wins"], there["ties"]) == (back["losses"], back["ties"])
    assert there["low"] == pytest.approx(-back["high"])
    assert there["p_improvement"] == pytest.approx(1 - back["p_improvement"])
    assert there["p_value"] == back["p_value"] or (math.isnan(there["p_value"]) and math.isnan(back["p_value"]))
    assert {there["verdict"], back["verdict"]} in ({"better", "worse"}, {"undecided"})
    assert there["wins"] + there["ties"] + there["losses"] == there["n_tasks"]


def test_the_direction_of_the_metric_is_respected():
    scores = random_scores()
    up = compare(results(scores), "alignment_accuracy", "similarity", "scaled_dot")
    down = compare(results(-scores, metric="context_error"), "context_error", "similarity", "scaled_dot")
    pd.testing.assert_frame_equal(up[["similarity", *PIECES[:-1]]], down[["similarity", *PIECES[:-1]]])
    assert down["mean"].to_numpy() == pytest.approx(-up["mean"].to_numpy())  # in the units of the metric
    best = compare(results(-scores, metric="context_error"), "context_error", "similarity")
    assert best["similarity"].iloc[0] == "cosine"
    assert (best["low"] < best["mean"]).all()
    assert "less is better" in best.attrs["conclusion"]


def test_a_metric_may_be_of_any_size():
    scores = random_scores()
    table = compare(results(scores, seeds=3, spread=0.1), "alignment_accuracy", "similarity", "scaled_dot")
    large = compare(results(scores * 1e200, seeds=3, spread=1e199), "alignment_accuracy", "similarity", "scaled_dot")
    same = ["similarity", "p_holm", "rank_biserial", "tasks_needed", "seeds_needed", "verdict"]
    pd.testing.assert_frame_equal(large[same], table[same])
    for column in ("improvement", "low", "high", "mean", "baseline_mean", "iqm"):
        assert large[column].to_numpy() == pytest.approx(table[column].to_numpy() * 1e200)
    merit = compare(results(scores * 1e200, seeds=3, spread=1e199), "alignment_accuracy", "similarity")
    assert np.isfinite(merit[["mean", "low", "high", "iqm"]]).all(axis=None)


def test_a_metric_without_direction_must_be_told():
    frame = results(random_scores(), metric="weight_entropy")
    with pytest.raises(SettingError, match=r"say up or down \(direction=, --direction\)"):
        compare(frame, "weight_entropy", "similarity", "scaled_dot")
    up = compare(frame, "weight_entropy", "similarity", "scaled_dot", direction="up")
    down = compare(frame, "weight_entropy", "similarity", "scaled_dot", direction="down")
    assert sorted(up["improvement"]) == pytest.approx(sorted(-down["improvement"]))
    with pytest.raises(SettingError, match="leave direction out"):
        compare(results(random_scores()), "alignment_accuracy", "similarity", direction="down")


# -- replicates -------------------------------------------------------------------------------------------------------
def test_seeds_and_other_axes_are_no_replicates():
    scores = random_scores(n=7)
    once = compare(results(scores), "alignment_accuracy", "similarity", "scaled_dot")
    often = results(scores, seeds=5, spread=0.02, rates=(0.1, 0.01))
    table = compare(often, "alignment_accuracy", "similarity", "scaled_dot")
    assert (table["n_tasks"] == 7).all()
    assert table["p_value"].to_numpy() == pytest.approx(once["p_value"].to_numpy())
    assert table["improvement"].to_numpy() == pytest.approx(once["improvement"].to_numpy())
    assert "Averaged within a task: model.learning_rate (0.01, 0.1)" in table.attrs["conclusion"]


def test_a_tuned_setting_is_part_of_the_competitor():
    frame = results(random_scores())
    frame["model.learning_rate"] = np.random.default_rng(0).choice([0.1, 0.01], len(frame))
    with pytest.raises(SettingError, match="missing"):
        compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    frame.attrs["tuned"] = ["model.learning_rate"]
    assert len(compare(frame, "alignment_accuracy", "similarity", "scaled_dot")) == 2


def test_settings_of_one_task_are_tasks_and_it_is_said():
    frame = results(random_scores(n=8))
    frame["task.n_keys"] = frame["task"].map(lambda t: 2 ** int(t[-1]))
    frame["task"] = "lookup"
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    assert (table["n_tasks"] == 8).all()
    assert "settings and test conditions of 1 task" in table.attrs["conclusion"]
    single = compare(frame, "alignment_accuracy", "similarity", "scaled_dot", unit="task")
    assert (single["n_tasks"] == 1).all()
    assert "task.n_keys" in single.attrs["conclusion"]
    assert single["improvement"].to_numpy() == pytest.approx(table["improvement"].to_numpy())


def test_settings_of_a_competitor_are_averaged_unless_named():
    plain = results(random_scores()).assign(**{"similarity.scale": np.nan})
    cosine = plain["similarity"] == "cosine"
    frame = pd.concat(
        [plain[~cosine]]
        + [
            plain[cosine].assign(
                **{
                    "similarity.scale": scale,
                    "run_id": plain["run_id"] + f"-{scale}",
                    "alignment_accuracy": 0.1 * scale,
                }
            )
            for scale in (1.0, 3.0)
        ]
    )
    table = compare(frame, "alignment_accuracy", "similarity").set_index("similarity")
    assert table.loc["cosine", "mean"] == pytest.approx(0.2)
    assert "similarity.scale (1, 3)" in table.attrs["conclusion"]
    by = ["similarity", "similarity.scale"]
    apart = compare(frame, "alignment_accuracy", by, "cosine, 3")
    assert len(apart) == 3
    assert "cosine, 1" in apart.attrs["conclusion"]
    assert apart.equals(compare(frame, "alignment_accuracy", by, ("cosine", 3.0)))


def test_what_goes_along_with_the_competitor_is_refused():
    frame = results(random_scores())
    frame["normaliser"] = frame["similarity"].map(
        {"scaled_dot": "softmax", "additive": "sparsemax", "cosine": "softmax"}
    )
    with pytest.raises(SettingError, match=r"normaliser goes along with similarity.*by=\['similarity', 'normaliser'\]"):
        compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    table = compare(frame, "alignment_accuracy", ["similarity", "normaliser"], "scaled_dot, softmax")
    assert set(table["normaliser"]) == {"softmax", "sparsemax"}


def test_runs_of_two_experiments_are_not_mixed_up():
    frame = results(random_scores())
    shared = pd.concat([frame, frame.assign(experiment="f")])  # the same runs
    assert compare(shared, "alignment_accuracy", "similarity", "scaled_dot").equals(
        compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    )
    other = pd.concat([frame, frame.assign(experiment="f", run_id=frame["run_id"] + "x")])
    with pytest.raises(SettingError, match="several experiments"):
        compare(other, "alignment_accuracy", "similarity", "scaled_dot")


def test_runs_of_experiments_with_other_tasks_are_not_called_missing_before_it_is_said():
    frame = results(random_scores())
    other = frame.assign(experiment="f", run_id=frame["run_id"] + "x", task=frame["task"] + "x")
    both = pd.concat([frame, other[other["similarity"] != "cosine"]])
    for missing in ("error", "complete-tasks"):
        told = both if missing == "error" else both[(both["experiment"] == "f") | (both["similarity"] == "cosine")]
        with pytest.raises(SettingError, match=r"^these runs belong to 2 experiments.*--experiment NAME.*: e, f\n"):
            compare(told, "alignment_accuracy", "similarity", "scaled_dot", missing=missing)
    assert len(compare(both[both["experiment"] == "e"], "alignment_accuracy", "similarity", "scaled_dot")) == 2
    with pytest.raises(SettingError, match=r"^1 run is missing"):  # of one experiment
        compare(frame.drop(index=3), "alignment_accuracy", "similarity", "scaled_dot")


# -- a column of one's own --------------------------------------------------------------------------------------------
FAMILY = {"scaled_dot": "products", "additive": "networks", "cosine": "products"}


def test_competitors_may_be_told_apart_by_a_column_of_ones_own():
    scores = random_scores(n=9)
    frame = results(scores)
    frame["family"] = frame["similarity"].map(FAMILY)
    frame["similarity.temperature"] = frame["similarity"].map({"cosine": 0.5})
    frame["code"] = frame["family"].map({"products": 1, "networks": 2})
    table = compare(frame, "alignment_accuracy", by="family", baseline="products")
    expected = scores[1] - scores[[0, 2]].mean(axis=0)
    assert table["improvement"].tolist() == pytest.approx([expected.mean()])
    assert table["p_value"].tolist() == pytest.approx([stats.wilcoxon(expected).pvalue])
    assert "Averaged within a task: similarity (additive, cosine, scaled_dot)" in table.attrs["conclusion"]
    assert compare(frame, "alignment_accuracy", by="code", baseline=1)["improvement"].equals(table["improvement"])
    frame["alias"] = frame["similarity"].str.upper()
    with pytest.raises(SettingError, match=r"similarity goes along with alias.*--by alias,similarity"):
        compare(frame, "alignment_accuracy", by="alias")


def test_a_metric_is_a_number():
    frame = results(random_scores()).assign(family="products")
    with pytest.raises(SettingError, match="a metric is a column of numbers; family has 'products'"):
        compare(frame, "family", "similarity", direction="up")
    with pytest.raises(SettingError, match=r"no metric 'nix' in these results; there are alignment_accuracy$"):
        compare(frame, "nix", "similarity")
    with pytest.raises(SettingError, match="cannot both be the metric"):
        compare(frame, "alignment_accuracy", "alignment_accuracy")
    with pytest.raises(SettingError, match="'gold_mass' is a metric"):
        compare(frame.assign(gold_mass=1.0), "alignment_accuracy", "gold_mass")


def test_tasks_without_the_metric_are_left_out_and_it_is_said():
    frame = results(random_scores(n=9))
    frame.loc[frame["task"] == "task8", "alignment_accuracy"] = np.nan
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    assert (table["n_tasks"] == 8).all()
    assert "1 tasks on which alignment_accuracy is not measured" in table.attrs["conclusion"]


# -- missing runs -----------------------------------------------------------------------------------------------------
def test_missing_runs_are_an_error_that_lists_them():
    frame = spoilt(results(random_scores(), seeds=2), 5).drop(index=[22, 23])
    with pytest.raises(SettingError) as caught:
        compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    message = str(caught.value)
    assert "3 runs are missing, on 2 of the 8 tasks" in message
    assert "scaled_dot, task2, seed 1: timeout: over 60 s (run 0-2-0.1-1)" in message
    assert "additive, task3, seed 0: was never run" in message
    assert "(missing=, --missing): complete-tasks" in message
    assert "experiments" not in message


def test_a_nan_of_one_competitor_is_missing():
    frame = results(random_scores())
    frame.loc[3, "alignment_accuracy"] = np.nan
    with pytest.raises(SettingError, match="task3, seed 0: alignment_accuracy is NaN"):
        compare(frame, "alignment_accuracy", "similarity", "scaled_dot")


def test_complete_tasks_leaves_a_task_out_for_everyone():
    scores = random_scores()
    frame = spoilt(results(scores, seeds=2), 5)  # task 2
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot", missing="complete-tasks")
    rest = compare(results(np.delete(scores, 2, axis=1)), "alignment_accuracy", "similarity", "scaled_dot")
    assert table[PIECES].to_numpy() == pytest.approx(rest[PIECES].to_numpy())
    assert "those tasks are left out" in table.attrs["conclusion"]
    nothing = spoilt(results(scores), [0, 1, 2, 3, 4, 5, 6, 7])
    with pytest.raises(SettingError, match="leaves nothing"):
        compare(nothing, "alignment_accuracy", "similarity", "scaled_dot", missing="complete-tasks")


def test_worst_rank_places_a_competitor_last():
    scores = random_scores(by=(0, 1, 2))
    frame = spoilt(results(scores), 8)  # additive on task 0
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot", missing="worst-rank")
    table = table.set_index("similarity")
    assert table.loc["additive", ["wins", "losses"]].tolist() == [7, 1]
    assert table.loc["additive", "rank_biserial"] == pytest.approx((28 - 8) / 36)  # the last rank is against it
    assert math.isnan(table.loc["additive", "improvement"])
    assert "no mean" in table.loc["additive", "reason"]
    assert math.isfinite(table.loc["additive", "iqm"])
    assert table.loc["cosine", "improvement"] == pytest.approx((scores[2] - scores[0]).mean())
    assert "placed last" in table.attrs["conclusion"]


@pytest.mark.parametrize("n_missing", [2, 3])
def test_interquartile_means_bear_a_quarter_of_last_places(n_missing):
    frame = spoilt(results(random_scores(n=8)), list(range(8, 8 + n_missing)))  # additive
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot", missing="worst-rank")
    row = table.set_index("similarity").loc["additive"]
    assert math.isnan(row["mean"])
    assert math.isfinite(row["iqm"]) == (n_missing <= 2)
    assert row["losses"] >= n_missing


def test_a_failed_run_is_missing_in_every_test_condition():
    frame = results(random_scores(n=4))
    frame = pd.concat([frame.assign(test="short"), frame.assign(test="long")], ignore_index=True)
    assert (compare(frame, "alignment_accuracy", "similarity", "scaled_dot")["n_tasks"] == 8).all()
    gone = frame["run_id"] == "1-2-0.1-0"
    failed = spoilt(frame[gone].head(1).assign(test="test"), slice(None))
    frame = pd.concat([frame[~gone], failed], ignore_index=True)
    with pytest.raises(SettingError, match="2 runs are missing, on 2 of the 8 tasks"):
        compare(frame, "alignment_accuracy", "similarity", "scaled_dot")


# -- what may be concluded --------------------------------------------------------------------------------------------
def test_no_p_value_from_too_few_tasks():
    table = compare(results(random_scores(n=5)), "alignment_accuracy", "similarity", "scaled_dot")
    assert table[["p_value", "p_holm"]].isna().all(axis=None)
    assert (table["verdict"] == "undecided").all()
    assert table["reason"].str.contains(r"5 tasks cannot give p <= 0\.05 \(at best 0\.0625\); at least 6 can").all()
    assert "at least 6 tasks (7 for a finding that survives 2 comparisons)" in table.attrs["conclusion"]
    assert (
        compare(results(random_scores(n=5)), "alignment_accuracy", "similarity", "scaled_dot", alpha=0.1)["p_value"]
        .notna()
        .all()
    )


def test_the_conclusion_names_what_would_settle_the_rest():
    rng = np.random.default_rng(4)
    d = rng.normal(size=20)
    d = (d - d.mean()) / d.std(ddof=1)
    base = rng.uniform(size=20)
    frame = results([base, base + 1 + 0.01 * d, base + 0.4 + d], seeds=2, spread=0.3)
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot").set_index("similarity")
    conclusion = table.attrs["conclusion"]
    assert "Better than scaled_dot: additive by 1 " in conclusion
    assert "Not shown to differ from scaled_dot, which does not mean equal: cosine" in conclusion
    assert f"cosine {int(table.loc['cosine', 'tasks_needed'])} tasks in all" in conclusion
    assert "more seeds on these tasks are not enough" in conclusion


def test_planning_takes_the_spread_from_seed_to_seed_and_every_comparison_into_account():
    rng = np.random.default_rng(9)
    runs = rng.normal(0.5, 0.2, (3, 24, 4)) + np.array([0, 0.02, 0.1])[:, None, None]
    frame = results(runs.mean(axis=2), seeds=4)
    frame["alignment_accuracy"] = runs.ravel()  # rows are by competitor, task and seed
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot").set_index("similarity")
    for c, name in ((1, "additive"), (2, "cosine")):
        d = runs[c] - runs[0]
        each = d.var(axis=1, ddof=1).mean()
        assert table.loc[name, "tasks_needed"] == tasks_needed(d.mean(axis=1), 0.05, tests=2)
        assert table.loc[name, "seeds_needed"] == seeds_needed(d.mean(axis=1), each, 4, 0.05, tests=2)
    assert np.isfinite(table["seeds_needed"]).any()


def test_no_fewer_seeds_are_asked_for_than_there_are():
    base = np.linspace(0.2, 0.8, 6)
    d = np.array([-0.01, 0.21, 0.20, 0.19, 0.22, 0.18])  # clear, but for one rank
    frame = results([base, base + d], seeds=5, spread=0.1)
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot")
    assert table["verdict"].tolist() == ["undecided"]
    assert table["seeds_needed"].max() <= 5  # by the formula, which does not know what became of five
    assert "(or 6 seeds on these tasks)" in table.attrs["conclusion"]


@pytest.mark.parametrize("rope", [None, 0.0])
def test_competitors_that_agree_on_every_task_are_said_to(rope):
    base = np.linspace(0.2, 0.8, 8)
    scores = [base, base + 1e-15, base + np.array([0.1, -0.1] * 4)]
    table = compare(results(scores), "alignment_accuracy", "similarity", "scaled_dot", rope=rope)
    conclusion = table.attrs["conclusion"]
    assert "additive agrees with scaled_dot on every task, to twelve digits." in conclusion
    assert "not mean equal: cosine" in conclusion
    assert "For cosine the difference seen is so small" in conclusion
    pairs = pairwise(results(scores), "alignment_accuracy", "similarity").attrs["conclusion"]
    assert "The same on every task, to twelve digits: additive and scaled_dot." in pairs.replace(
        "scaled_dot and additive", "additive and scaled_dot"
    )
    assert "2 pairs are not shown to differ" in pairs


@pytest.mark.parametrize(("alpha", "said", "level"), [(0.05, "5%", "95%"), (0.025, "2.5%", "97.5%"), (0.07, "7%", "93%"), (0.001, "0.1%", "99.9%")])  # fmt: skip
def test_an_alpha_of_any_size_is_said_as_it_is(alpha, said, level):
    table = compare(results(random_scores(n=16, by=(0, 1, 2))), "alignment_accuracy", "similarity", "scaled_dot", alpha=alpha)  # fmt: skip
    assert f"in at most {said} of such studies" in table.attrs["conclusion"]
    assert f"{level} interval" in table._repr_html_()


def test_a_small_p_value_is_said_to_be_small():
    table = compare(results(random_scores(n=16, by=(0, 1, 2))), "alignment_accuracy", "similarity", "scaled_dot")
    assert "0 lost, p < .001)" in table.attrs["conclusion"]
    table = compare(results(random_scores(n=8, by=(0, 1, 2))), "alignment_accuracy", "similarity", "scaled_dot")
    assert "0 lost, p = .016)" in table.attrs["conclusion"]


@pytest.mark.parametrize("first", ["additive", "cosine"])
def test_pairs_without_a_mean_ask_for_no_number_of_tasks(first):
    rng = np.random.default_rng(2)
    frame = results(rng.uniform(0.4, 0.6, (3, 9)) + np.array([[0], [0.02], [0.04]]))
    frame = spoilt(frame, frame.index[(frame["similarity"] == first) & (frame["task"] == "task4")])
    matrix = pairwise(frame, "alignment_accuracy", "similarity", missing="worst-rank")
    conclusion = matrix.attrs["conclusion"]
    assert "  " not in conclusion
    assert re.search(r"About \d+ tasks would settle the 1 whose differences have a mean", conclusion)
    frame = spoilt(frame, frame.index[frame["task"] == frame["similarity"].map({n: f"task{i}" for i, n in enumerate(NAMES)})])  # fmt: skip
    conclusion = pairwise(frame, "alignment_accuracy", "similarity", missing="worst-rank").attrs["conclusion"]
    assert "  " not in conclusion
    assert "would settle" not in conclusion


def test_rope_finds_equivalence():
    rng = np.random.default_rng(4)
    base = rng.uniform(size=12)
    frame = results([base, base + rng.normal(0, 0.005, 12), base + 0.5])
    table = compare(frame, "alignment_accuracy", "similarity", "scaled_dot", rope=0.02).set_index("similarity")
    assert table.loc["additive", "verdict"] == "equivalent"
    assert table.loc["cosine", "verdict"] == "better"
    assert table[["p_better", "p_equivalent", "p_worse"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert "Practically equivalent to scaled_dot, to within 0.02" in table.attrs["conclusion"]


def test_order_of_merit():
    scores = random_scores(by=(0.2, 0, 0.4))
    table = compare(results(scores), "alignment_accuracy", "similarity")
    assert list(table["similarity"]) == ["cosine", "scaled_dot", "additive"]
    ranks = stats.rankdata(-scores, axis=0).mean(axis=1)
    assert table["mean_rank"].to_numpy() == pytest.approx(ranks[[2, 0, 1]])
    matrix = pairwise(results(scores), "alignment_accuracy", "similarity")
    assert table["p_holm"].iloc[1:].to_numpy() == pytest.approx(matrix.loc["cosine"].iloc[1:].to_numpy())


def test_all_pairs():
    scores = random_scores(k=3, n=12)
    matrix = pairwise(results(scores), "alignment_accuracy", "similarity")
    assert list(matrix.index) == list(matrix.columns)
    assert np.allclose(matrix, matrix.T, equal_nan=True)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = holm([stats.wilcoxon(scores[i] - scores[j]).pvalue for i, j in pairs])
    assert [matrix.loc[NAMES[i], NAMES[j]] for i, j in pairs] == pytest.approx(expected)
    tidy = pairwise(results(scores), "alignment_accuracy", "similarity", tidy=True)
    assert len(tidy) == 3
    assert set(tidy["verdict"]) <= {"better", "worse", "undecided"}


def test_performance_profile():
    frame = results([[0.1, 0.2, 0.3, 0.4], [0.2, 0.4, 0.6, 0.8], [0.9, 0.9, 0.9, 0.9]])
    profile = performance_profile(frame, "alignment_accuracy", "similarity", [0.35, 0.85])
    assert list(profile.columns) == ["cosine", "additive", "scaled_dot"]
    assert profile.to_numpy().tolist() == [[1, 0.75, 0.25], [1, 0, 0]]
    errors = results([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], metric="context_error")
    profile = performance_profile(errors, "context_error", "similarity")
    assert profile.index.tolist() == [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]  # easiest first
    assert profile["scaled_dot"].tolist() == [1, 1, 1, 1, 1, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "alignment_acuracy"}, "did you mean alignment_accuracy"),
        ({"by": "similrity"}, "did you mean similarity"),
        ({"by": "task.n_keys"}, "what competitors are compared on"),
        ({"by": "seed"}, "what competitors are compared on"),
        ({"by": "normaliser"}, r"the same normaliser \(softmax\): there is nothing to compare it with"),
        ({"by": []}, r"name the columns.*\(--by similarity,normaliser\)"),
        ({"by": None}, "by: name the columns .*; got None"),
        ({"by": ["similarity", 3]}, "by: name the columns .*; got .*3"),
        ({"by": 3}, "by: name the columns .*; got 3"),
        ({"by": ["similarity", "similarity"]}, "similarity is named more than once"),
        ({"baseline": "scaled-dot"}, "did you mean scaled_dot"),
        ({"missing": "ignore"}, r"missing: 'ignore' is not one of error, complete-tasks, worst-rank \(--missing\)"),
        ({"unit": "seed"}, r"unit: 'seed' is not one of setting, task \(--unit\)"),
        ({"alpha": 5}, r"alpha: must lie between 0 and 0.5.*\(--alpha\); got 5"),
        ({"rope": -1.0}, r"rope: must be a half width.*\(--rope\); got -1\.0"),
        ({"direction": "UP"}, r"direction: must be up .*\(--direction\); got 'UP'"),
        ({"frame": None}, "is a DataFrame; got NoneType"),
        ({"n_resamples": 10}, "at least 1000"),
        ({"frame": pd.DataFrame()}, "not a results table"),
        ({"frame": results(random_scores()).head(0)}, "no rows"),
        ({"frame": results(random_scores()).melt(id_vars=["run_id"], var_name="metric")}, "tidy"),
    ],
)
def test_mistakes_are_refused(changes, message):
    given = {"metric": "alignment_accuracy", "by": "similarity", "baseline": "scaled_dot"} | changes
    frame = given.pop("frame", results(random_scores()))
    with pytest.raises(SettingError, match=message):
        compare(frame, **given)


# -- the command ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.db"
    experiment = {
        "attnlab": 1,
        "question": "Is any better?",
        "name": "tiny",
        "task": {"lookup": {"n_keys": [3, 4, 5, 6, 7, 8], "d": 4, "n_train": 8, "n_validation": 4, "n_test": 16}},
        "mechanism": {"similarity": ["dot", "cosine"], "normaliser": ["softmax", "hardmax"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 2,
        "metrics": ["alignment_accuracy"],
    }
    frame = attnlab.sweep(experiment, executor="serial", store=path, quiet=True)
    assert (frame["status"] == "ok").all()
    return path


def test_a_sweep_says_what_was_tuned(tmp_path):
    experiment = {
        "attnlab": 1,
        "question": "Is any better at its best rate?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 8, "n_test": 8}},
        "mechanism": {"similarity": ["dot", "cosine"]},
        "model": {"aligner": {"projection": 4, "steps": 3}},
        "tune": {"model.learning_rate": [0.001, 0.1]},
        "seeds": 3,
        "metrics": ["alignment_accuracy"],
    }
    frame = attnlab.sweep(experiment, executor="serial", store=tmp_path / "s.db", quiet=True)
    assert frame.attrs["tuned"] == ["model.learning_rate"]
    table = compare(frame, "alignment_accuracy", "similarity", "dot")
    assert table["n_seeds"].tolist() == [3]


def asked(store, *args, metric="alignment_accuracy"):
    done = CliRunner().invoke(command, [metric, "--store", str(store), *args], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.output


def test_command_prints_a_table_and_a_conclusion(store):
    output = asked(store, "--by", "similarity", "--baseline", "dot")
    assert "won/tied/lost" in output
    assert "95% interval" in output
    assert "over 6 tasks with 2 seeds each" in " ".join(output.split())
    assert "Averaged within a task: normaliser (hardmax, softmax)." in " ".join(output.split())
    assert "best interquartile mean" in " ".join(asked(store, "--by", "similarity,normaliser").split())


def test_command_gives_the_numbers_of_the_function(store):
    frame = attnlab.load_results(store)
    rows = json.loads(asked(store, "--by", "similarity, normaliser", "--baseline", "dot,softmax", "--format", "json"))
    table = attnlab.compare(frame, "alignment_accuracy", ["similarity", "normaliser"], ("dot", "softmax"))
    assert [row["rank_biserial"] for row in rows] == pytest.approx(table["rank_biserial"].tolist())
    lines = asked(store, "--by", "similarity,normaliser", "--pairs", "--format", "csv").splitlines()
    assert len(lines) == 1 + 6
    assert "dot, hardmax" in asked(store, "--by", "similarity,normaliser", "--pairs")
    assert "P(equivalent)" in asked(store, "--by", "similarity", "--baseline", "dot", "--rope", "0.1")


def test_command_refuses(store):
    with pytest.raises(SettingError, match="did you mean dot"):
        asked(store, "--by", "similarity", "--baseline", "dott")
    with pytest.raises(Exception, match="leave --baseline out"):
        asked(store, "--by", "similarity", "--baseline", "dot", "--pairs")


def test_command_writes_what_a_paper_takes(store):
    frame = attnlab.load_results(store)
    by = ["--by", "similarity,normaliser"]
    table = attnlab.compare(frame, "alignment_accuracy", ["similarity", "normaliser"], "dot, softmax")
    lines = asked(store, *by, "--baseline", "dot,softmax", "--format", "markdown").splitlines()
    assert len(lines) == 2 + len(table)
    assert r"n\_tasks" in lines[0]
    assert "95% interval" in lines[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:2] for row in cells] == table[["similarity", "normaliser"]].to_numpy().tolist()
    text = asked(store, *by, "--baseline", "dot,softmax", "--format", "latex")
    assert text.startswith("\\begin{tabular}{ll")
    assert r"95\% interval" in text
    assert text.count(r"\\") == 1 + len(table)
    assert re.search(r"& (\$-\$)?0\.\d+ to (\$-\$)?0\.\d+ &", text)  # a minus sign, and no hyphen
    pairs = asked(store, *by, "--pairs", "--format", "markdown").splitlines()
    assert len(pairs) == 2 + 4
    assert "dot, hardmax" in pairs[0]


def test_command_prints_the_performance_profile(store):
    frame = attnlab.load_results(store)
    profile = performance_profile(frame, "alignment_accuracy", "similarity")
    rows = json.loads(asked(store, "--by", "similarity", "--profile", "--format", "json"))
    assert [row["alignment_accuracy"] for row in rows] == pytest.approx(profile.index.tolist())
    assert [row["dot"] for row in rows] == pytest.approx(profile["dot"].tolist())
    printed = asked(store, "--by", "similarity,normaliser", "--profile")
    head, *lines = [line for line in printed.splitlines() if not line.startswith("attnlab: ")]
    assert "dot, hardmax" in head
    assert len(lines) <= 21
    with pytest.raises(Exception, match="makes no test"):
        asked(store, "--by", "similarity", "--profile", "--baseline", "dot")


def test_a_long_profile_is_thinned_for_people_and_keeps_its_ends():
    profile = pd.DataFrame({"dot": np.linspace(1, 0, 130)}, index=np.arange(130.0))
    few = _fewer(profile)
    assert len(few) == 21
    assert few.index[[0, -1]].tolist() == [0, 129]
    assert len(_fewer(profile.head(21))) == 21


def test_command_takes_a_plugin_for_its_metric(tmp_path, capsys):
    (tmp_path / "plug.py").write_text(PLUGIN)
    store, plugin = ["--store", str(tmp_path / "s.db")], ["--plugin", str(tmp_path / "plug.py")]
    (tmp_path / "e.yaml").write_text(
        "attnlab: 1\nquestion: Is it dark?\ntask: {lookup: {n_keys: [3, 4], n_train: 1, n_validation: 1, n_test: 4}}\n"
        "mechanism: {similarity: [dot, cosine]}\nmodel: {aligner: {steps: 0}}\nseeds: 1\nmetrics: [darkness]\n"
    )
    try:
        assert _status(["sweep", str(tmp_path / "e.yaml"), "-q", "--executor", "serial", *store, *plugin]) == 0
        assert _status(["compare", "darkness", "--by", "similarity", *store, *plugin]) == 0
        assert "darkness (less is better)" in " ".join(capsys.readouterr().out.split())
        configure()
        assert _status(["compare", "darkness", "--by", "similarity", *store]) == 2
        assert "load its plugin (--plugin FILE.py), or say up or down" in capsys.readouterr().err
    finally:
        configure()


# -- in a notebook ----------------------------------------------------------------------------------------------------
def test_a_notebook_shows_the_conclusion_above_the_chief_columns():
    scores = random_scores(by=(0, 1, 2))
    frame = results(scores, names=["<dot>", "additive", "cosine"])
    for table, columns in (
        (compare(frame, "alignment_accuracy", "similarity", "<dot>"), ["won/tied/lost", "verdict"]),
        (compare(frame, "alignment_accuracy", "similarity"), ["p to first (Holm)"]),
        (pairwise(frame, "alignment_accuracy", "similarity", tidy=True), ["second", "won/tied/lost"]),
        (pairwise(frame, "alignment_accuracy", "similarity"), ["p (Holm)", "&lt;dot&gt;"]),
    ):
        page = table._repr_html_()
        assert page.startswith(f"<p>{html.escape(table.attrs['conclusion'])}</p>")
        assert "<dot>" not in page
        assert all(f"<th>{column}</th>" in page for column in columns)
        assert "tasks_needed" not in page


def test_parts_of_a_comparison_are_plain_tables():
    table = compare(results(random_scores()), "alignment_accuracy", "similarity", "scaled_dot")
    for part in (table.head(1), table[["wins"]], table.copy(), table.sort_values("low"), table[table["wins"] > 3]):
        assert type(part) is pd.DataFrame
    assert type(table["wins"]) is pd.Series
    assert pickle.loads(pickle.dumps(table)).attrs == table.attrs
    del table["wins"]  # in place: there is no such short table now
    assert "<th>tasks_needed</th>" in table._repr_html_()
    with pd.option_context("display.notebook_repr_html", False):
        assert table._repr_html_() is None


def test_importing_attnlab_does_not_load_the_analysis():
    code = "import attnlab, attnlab.commands.compare, sys; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    ("n", "said"), [(3, "3 tasks cannot give p <= 0.05 (at best 0.25); at least 6 can"), (8, None)]
)
def test_a_matrix_says_why_it_has_only_dashes(n, said):
    matrix = pairwise(results(np.random.default_rng(0).random((3, n))), "alignment_accuracy", "similarity")
    assert matrix.attrs["no_p_value"] == ([said] if said else [])
