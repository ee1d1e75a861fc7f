"""The ranked table at the end of a sweep."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import attnlab
from attnlab import registry
from attnlab.analysis.standing import paired_p
from attnlab.analysis.statistics import t_interval
from attnlab.analysis.summary import summarise
from attnlab.errors import SettingError


def rows(**columns):
    frame = pd.DataFrame(columns)
    for name, value in (("experiment", "e"), ("status", "ok"), ("test", "test"), ("normaliser", "softmax")):
        if name not in frame:
            frame[name] = value
    frame["run_id"] = [f"{i:016x}" for i in range(len(frame))]
    return frame


@pytest.mark.parametrize("n", [2, 5, 30])
def test_t_interval_is_scipys(n):
    x = np.random.default_rng(n).normal(size=n)
    mean, low, high, count = t_interval([*x, np.nan])
    expected = stats.t.interval(0.95, n - 1, loc=x.mean(), scale=stats.sem(x))
    assert (mean, count) == (pytest.approx(x.mean()), n)
    assert (low, high) == pytest.approx(expected)


def test_one_value_has_no_interval():
    assert t_interval([3.0])[0] == 3.0
    assert np.isnan(t_interval([3.0])[1:3]).all()
    assert np.isnan(t_interval([])[0])


def test_ranked_by_the_metrics_direction():
    frame = rows(
        similarity=["dot", "dot", "cosine", "cosine"],
        seed=[0, 1, 0, 1],
        alignment_accuracy=[0.1, 0.3, 0.8, 0.9],
        context_error=[1.0, 3.0, 0.1, 0.2],
    )
    up = summarise(frame, ["alignment_accuracy", "context_error"])
    assert up["similarity"].tolist() == ["cosine", "dot"]
    assert up["alignment_accuracy"].tolist() == pytest.approx([0.85, 0.2])
    assert summarise(frame, ["context_error"])["similarity"].tolist() == ["cosine", "dot"]
    assert up["ok"].tolist() == ["2/2", "2/2"]


@pytest.mark.parametrize(
    ("settings", "overlap"),
    [
        ({"task.share": 0.5}, 1.0),
        ({"task.share": 0.2}, 0.25),
        ({"task.bootstrap": True}, 1.0),
        ({"task.limit": 3.0}, 0.0),
    ],
)
def test_seeds_that_draw_from_one_corpus_share_its_chance(settings, overlap):
    x = np.random.default_rng(0).normal(0.3, 0.01, size=10)
    frame = rows(seed=range(10), aer=x, task="bitext", **{"task.path": "corpus", "task.limit": np.nan, **settings})
    (row,) = summarise(frame, "aer", by="normaliser").to_dict("records")
    half = stats.t.ppf(0.975, 9) * x.std(ddof=1) * np.sqrt(1 / 10 + overlap)
    assert (row["low"], row["high"]) == pytest.approx((x.mean() - half, x.mean() + half))


def test_failed_runs_are_counted_in_every_condition_and_conditions_are_in_natural_order():
    frame = rows(
        similarity=["dot"] * 3 + ["cosine"] * 3 + ["cosine"],
        seed=[0, 0, 0, 0, 0, 0, 1],
        test=["n=256", "n=64", "test", "n=256", "n=64", "test", "test"],
        alignment_accuracy=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, np.nan],
        status=["ok"] * 6 + ["failed"],
    )
    frame["run_id"] = ["a"] * 3 + ["b"] * 3 + ["c"]
    table = summarise(frame, ["alignment_accuracy"])
    assert table["test"].tolist() == ["test", "test", "n=64", "n=64", "n=256", "n=256"]
    assert table[table["similarity"] == "cosine"]["ok"].tolist() == ["1/2"] * 3


def test_a_task_has_no_rows_for_the_test_conditions_of_others():
    frame = rows(
        task=["lookup", "lookup", "max_retrieval", "max_retrieval", "max_retrieval", "sort", "sort"],
        test=["test", "test", "test", "n=64", "n=64", "test", "test"],
        similarity=["dot", "cosine", "dot", "dot", "cosine", "dot", "cosine"],
        status=["ok", "ok", "ok", "ok", "failed", "failed", "failed"],
        seed=0,
        alignment_accuracy=[0.5, 0.6, 0.7, 0.8, None, None, None],
    )
    table = summarise(frame, "alignment_accuracy")
    seen = [tuple(row) for row in table[["task", "similarity", "test", "ok"]].itertuples(index=False)]
    assert [row[1:] for row in seen if row[0] == "lookup"] == [("cosine", "test", "1/1"), ("dot", "test", "1/1")]
    assert [row[1:] for row in seen if row[0] == "max_retrieval"] == [
        ("dot", "test", "1/2"),
        ("cosine", "test", "0/1"),
        ("dot", "n=64", "1/2"),
        ("cosine", "n=64", "0/1"),
    ]
    # of a task of which no run succeeded nobody knows the conditions, and its failures are not hidden
    assert {(row[1], row[3]) for row in seen if row[0] == "sort"} == {("dot", "0/1"), ("cosine", "0/1")}


def test_conditions_depend_on_the_settings_of_a_task():
    frame = rows(
        task="lookup",
        **{"task.noise": [0.3, 0.3, 0.5, 0.5]},
        test=["test", "n=64", "test", "test"],
        similarity=["dot", "dot", "dot", "cosine"],
        status=["ok", "ok", "ok", "failed"],
        seed=0,
        alignment_accuracy=[0.5, 0.6, 0.7, None],
    )
    table = summarise(frame, "alignment_accuracy")
    assert table.loc[table["task.noise"] == 0.5, "test"].unique().tolist() == ["test"]


def test_a_metric_that_only_some_runs_have_says_so():
    frame = rows(similarity=["dot"] * 3, seed=[0, 1, 2], alignment_accuracy=[1.0] * 3, steps_to_95=[10, 20, np.nan])
    assert summarise(frame, ["alignment_accuracy", "steps_to_95"])["steps_to_95"].tolist() == ["15 (2 of 3)"]


def test_only_columns_that_differ_are_shown():
    frame = rows(
        similarity=["neg_l2", "dot", "dot"],
        seed=[0, 0, 0],
        alignment_accuracy=[0.1, 0.2, 0.3],
        **{"similarity.sigma": [1.0, np.nan, np.nan], "model": ["aligner"] * 3, "model.projection": [16, np.nan, 16]},
    )
    table = summarise(frame, ["alignment_accuracy"])
    assert "similarity.sigma" not in table  # dot has none
    assert "model.projection" in table  # null and 16 are two points of the grid
    assert "normaliser" not in table


def test_what_was_tuned_is_no_point_of_the_grid():
    frame = rows(
        similarity=["dot"] * 2, seed=[0, 1], alignment_accuracy=[0.5, 0.7], **{"model.learning_rate": [0.1, 0.3]}
    )
    assert len(summarise(frame, ["alignment_accuracy"])) == 2
    frame.attrs["tuned"] = ["model.learning_rate"]
    (mean,) = summarise(frame, ["alignment_accuracy"])["alignment_accuracy"]
    assert mean == pytest.approx(0.6)


# -- what is possible, and what is solved -----------------------------------------------------------------------------
BIMODAL = [1.0, 0.191, 1.0, 1.0, 0.992]


def wilson(share, n, z=1.959963984540054):
    centre, half = (share + z * z / 2 / n), z * np.sqrt(share * (1 - share) / n + z * z / 4 / n / n)
    return max(0, (centre - half) / (1 + z * z / n)), min(1, (centre + half) / (1 + z * z / n))


def test_intervals_end_where_the_metric_ends():
    frame = rows(task="copy", similarity=["dot"] * 3, seed=[0, 1, 2], alignment_accuracy=[0.99, 1.0, 1.0], context_error=[0.01, 0.0, 0.0])  # fmt: skip
    (row,) = summarise(frame, "alignment_accuracy").to_dict("records")
    low, high = stats.t.interval(0.95, 2, 2.99 / 3, stats.sem([0.99, 1, 1]))
    assert high > 1
    assert (row["low"], row["high"]) == pytest.approx((low, 1.0))
    assert summarise(frame, "context_error")["low"].tolist() == [0]
    beyond = frame.assign(context_error=[-1.0, -2.0, -3.0])  # a metric that is not what its name says
    assert summarise(beyond, "context_error")["high"].tolist() == pytest.approx([stats.t.interval(0.95, 2, -2, stats.sem([1, 2, 3]))[1]])  # fmt: skip


def test_the_share_of_seeds_that_solved_the_task_and_their_mean():
    frame = rows(task="copy", similarity=["dot"] * 5 + ["cosine"] * 5, seed=[*range(5)] * 2, accuracy=[*BIMODAL, 0.95, 0.949, 0.19 * 5, 0.1, 1 - 0.05])  # fmt: skip
    table = summarise(frame, "accuracy").set_index("similarity")
    assert table["solved"].tolist() == pytest.approx([0.8, 0.6])  # .95 is solved, .949 is not
    assert table.loc["dot", ["solved_low", "solved_high"]].tolist() == pytest.approx(wilson(0.8, 5))
    assert table.loc["cosine", ["solved_low", "solved_high"]].tolist() == pytest.approx(wilson(0.6, 5))
    assert table["mean_solved"].tolist() == pytest.approx([3.992 / 4, 0.95])
    down = summarise(rows(task="copy", seed=[0, 1, 2], aer=[0.05, 0.051, 0.0]), "aer")
    assert down["solved"].tolist() == pytest.approx([2 / 3])
    assert down["mean_solved"].tolist() == pytest.approx([0.025])


def test_a_seed_that_failed_is_not_counted_and_none_that_solved_has_no_mean():
    frame = rows(task="copy", seed=[0, 1, 2], accuracy=[0.5, 0.6, np.nan], status=["ok", "ok", "failed"])
    (row,) = summarise(frame, "accuracy").to_dict("records")
    assert row["solved"] == 0
    assert (row["solved_low"], row["solved_high"]) == pytest.approx(wilson(0, 2))
    assert np.isnan(row["mean_solved"])
    none = summarise(frame.assign(status="failed", accuracy=np.nan), "accuracy")
    assert none[["solved", "solved_low", "solved_high", "mean_solved"]].isna().all(axis=None)


def test_seeds_of_the_model_share_the_seed_of_the_data():
    frame = rows(task="copy", seed=[0, 0, 1, 1], model_seed=[0, 1, 0, 1], accuracy=[1.0, 0.2, 1.0, 0.98])
    (row,) = summarise(frame, "accuracy", by="task").to_dict("records")
    assert row["solved"] == pytest.approx(0.75)
    assert (row["solved_low"], row["solved_high"]) == pytest.approx(wilson(0.75, 2))
    assert row["mean_solved"] == pytest.approx(2.98 / 3)


def test_a_task_says_what_is_solved_where_the_metric_has_no_end(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    frame = rows(task="mine", seed=[0, 1], context_error=[0.01, 0.5])
    assert "solved" not in summarise(frame, "context_error")
    body = {"name": "mine", "solved": {"context_error": 0.05}, "make": lambda self, rng: None}
    attnlab.register(type("Mine", (attnlab.Task,), body))
    assert summarise(frame, "context_error")["solved"].tolist() == [0.5]
    assert "solved" not in summarise(frame.assign(task=["mine", "lookup"]), "context_error", by="normaliser")
    assert "solved" not in summarise(frame.assign(max_weight=0.5), "max_weight")  # neither way is better


def test_what_a_run_has_once_has_one_row():
    frame = rows(task="copy", similarity=["dot", "dot", "cosine", "cosine"], seed=[0] * 4, test=["test", "n=64"] * 2, steps_to_95=[np.nan, 20.0, 40.0, 40.0])  # fmt: skip
    frame["run_id"] = ["a", "a", "b", "b"]
    table = summarise(frame, "steps_to_95")
    assert "test" not in table
    assert table["steps_to_95"].tolist() == [20, 40]
    assert table["n"].tolist() == [1, 1]
    assert len(summarise(frame.assign(accuracy=0.5), ["accuracy", "steps_to_95"])) == 4


def test_what_a_run_took_can_be_summarised():
    frame = rows(task="copy", similarity=["dot", "cosine"], seed=[0, 0], n_parameters=[10.0, 5.0], fit_seconds=[1.0, 2.0])  # fmt: skip
    assert summarise(frame, "n_parameters")["similarity"].tolist() == ["cosine", "dot"]
    assert summarise(frame, ["fit_seconds", "n_parameters"])["n_parameters"].tolist() == [10, 5]


# -- attnlab.summarise ------------------------------------------------------------------------------------------------
SPEC = {
    "attnlab": 1,
    "name": "looking_up",
    "question": "Which similarity looks up a key?",
    "task": {"lookup": {"n_keys": [4, 8], "noise": 0.5, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 16}},
    "mechanism": {"similarity": ["dot", "cosine"], "normaliser": ["softmax", "sparsemax"]},
    "model": {"aligner": {"steps": 0}},
    "seeds": 3,
    "metrics": ["context_error", "alignment_accuracy"],
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "s.db"
    return attnlab.sweep(SPEC, executor="serial", store=store, quiet=True), store


def check_against_pandas(table, frame, axes, metric):
    groups = frame.groupby(axes)[metric]
    assert len(table) == groups.ngroups
    for (_, row), key in zip(table.iterrows(), table[axes].itertuples(index=False, name=None), strict=True):
        values = groups.get_group(key).to_numpy()
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        low, high = max(low, 0), min(high, 1 if metric == "alignment_accuracy" else np.inf)  # what is possible
        assert (row[metric], row["low"], row["high"]) == pytest.approx((values.mean(), low, high))
        assert (row["n"], row["ok"]) == (len(values), f"{len(values)}/{len(values)}")


def test_every_axis_that_varies_and_the_first_metric_unless_they_are_given(swept):
    frame, _ = swept
    table = attnlab.summarise(frame)
    assert list(table) == ["task.n_keys", "similarity", "normaliser", "context_error", "low", "high", "n", "ok"]
    check_against_pandas(table, frame, ["task.n_keys", "similarity", "normaliser"], "context_error")
    assert table["task.n_keys"].is_monotonic_increasing, "task by task"
    assert table.groupby("task.n_keys")["context_error"].is_monotonic_increasing.all()  # less error is better


@pytest.mark.parametrize("by", ["similarity", ["task.n_keys", "normaliser"], ["task"]])
def test_runs_that_differ_in_other_axes_are_pooled(swept, by):
    frame, _ = swept
    table = attnlab.summarise(frame, "alignment_accuracy", by)
    check_against_pandas(table, frame, [by] if isinstance(by, str) else by, "alignment_accuracy")
    tasks = table.get("task.n_keys", pd.Series(0, index=table.index))
    assert table.groupby(tasks)["alignment_accuracy"].is_monotonic_decreasing.all()


def test_several_metrics(swept):
    frame, _ = swept
    table = attnlab.summarise(frame, ["alignment_accuracy", "context_error"], by="similarity")
    means = frame.groupby("similarity")[["alignment_accuracy", "context_error"]].mean()
    pd.testing.assert_frame_equal(
        table.set_index("similarity")[list(means)].sort_index(), means, check_names=False, check_like=True
    )


def test_each_test_condition_has_its_rows(swept):
    frame, _ = swept
    longer = frame.assign(test="n=64", context_error=frame["context_error"] + 1)
    both = pd.concat([frame, longer])
    table = attnlab.summarise(both, "context_error", by="similarity")
    assert table["test"].tolist() == ["test"] * 2 + ["n=64"] * 2
    check_against_pandas(table, both, ["similarity", "test"], "context_error")


def test_a_store_knows_the_first_metric_of_its_experiments(swept):
    frame, store = swept
    loaded = attnlab.load_results(store)
    assert loaded.attrs["metrics"] == frame.attrs["metrics"] == {"looking_up": SPEC["metrics"]}
    pd.testing.assert_frame_equal(attnlab.summarise(loaded), attnlab.summarise(frame))
    assert list(attnlab.summarise(loaded[loaded["similarity"] == "dot"])) == [
        *("task.n_keys", "normaliser", "context_error", "low", "high", "n", "ok")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"metric": "context_eror"},
            r"no metric 'context_eror' in these results \(did you mean context_error\?\); there are",
        ),
        ({"metric": 3}, "metric: 3 is neither"),
        ({"metric": []}, "neither the name of a metric nor a list"),
        (
            {"by": "similarty"},
            r"by: no axis 'similarty' \(did you mean similarity\?\).* task.n_keys, similarity, normaliser$",
        ),
        ({"by": ["similarity", "seed"]}, "by: no axis 'seed'"),
        ({"by": "context_error"}, "by: no axis 'context_error'"),
        ({"by": []}, "by: names no axis"),
    ],
)
def test_what_cannot_be_summarised_is_refused(swept, arguments, said):
    with pytest.raises(SettingError, match=said):
        attnlab.summarise(swept[0], **arguments)


def test_tables_that_cannot_be_summarised_are_refused(swept):
    frame, store = swept
    with pytest.raises(SettingError, match="tidy"):
        attnlab.summarise(attnlab.load_results(store, tidy=True))
    with pytest.raises(SettingError, match="no rows"):
        attnlab.summarise(frame[:0])
    with pytest.raises(SettingError, match="is a DataFrame; got list"):
        attnlab.summarise([])
    with pytest.raises(
        SettingError, match=r"does not say which is first; name one \(metric=\), such as .*context_error"
    ):
        attnlab.summarise(pd.DataFrame(frame.to_dict("list")))
    other = frame.assign(experiment="other")
    both = pd.concat([frame, other])
    both.attrs["metrics"] = {"looking_up": ["context_error"], "other": ["gold_mass"]}
    with pytest.raises(SettingError, match="rank by context_error and by gold_mass; name one"):
        attnlab.summarise(both)


# -- tasks are ranked one by one --------------------------------------------------------------------------------------
def ranked(frame, *metrics):
    return summarise(frame, list(metrics), standing=True)


def five_tasks():
    """Two mechanisms on five tasks and two test conditions; `dot` is better on the first three."""
    rng = np.random.default_rng(3)
    records = [
        {"task": f"t{t}", "test": test, "similarity": s, "seed": seed, "recall": t + 0.1 * rng.random() + (s == "dot") * (0.5 if t < 3 else -0.5)}
        for t in (4, 0, 3, 1, 2)
        for s in ("cosine", "dot")
        for seed in range(4)
        for test in ("test", "n=9")
    ]  # fmt: skip
    frame = rows(**{name: [r[name] for r in records] for name in records[0]})
    frame["run_id"] = [f"{r['task']}{r['similarity']}{r['seed']}" for r in records]
    return frame


@pytest.mark.filterwarnings("ignore:.*recall")
def test_rows_of_a_task_and_test_condition_follow_each_other():
    table = summarise(five_tasks(), "recall")
    groups = list(dict.fromkeys(zip(table["task"], table["test"], strict=True)))
    assert groups == [(f"t{t}", test) for t in (4, 0, 3, 1, 2) for test in ("test", "n=9")], (
        "as the experiment has them"
    )
    assert [*zip(table["task"], table["test"], strict=True)] == [g for g in groups for _ in range(2)]
    pooled = summarise(five_tasks(), "recall", by=["similarity", "test"])
    assert pooled["test"].tolist() == ["test", "test", "n=9", "n=9"]


def test_the_best_of_each_task_is_marked_and_what_is_not_shown_to_differ():
    noise = np.array([0.0, 0.01, -0.01, 0.02, -0.02])
    values = {"best": 0.9 + noise, "near": 0.895 + noise[::-1], "far": 0.5 + noise, "one": [0.4], "none": [np.nan] * 5}
    frame = rows(
        similarity=[name for name, v in values.items() for _ in v],
        seed=[i for v in values.values() for i in range(len(v))],
        alignment_accuracy=np.concatenate([*values.values()]),
    )
    table = ranked(frame, "alignment_accuracy").set_index("similarity")
    assert table["standing"].to_dict() == {"best": "best", "near": "not shown to differ", "far": "differs", "one": "not shown to differ", "none": ""}  # fmt: skip
    assert "standing" not in summarise(frame, "alignment_accuracy")


@pytest.mark.parametrize("seed", range(4))
def test_the_paired_test_is_scipys(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 6))
    assert paired_p([*a, np.nan], [np.nan, *b]) == pytest.approx(stats.ttest_rel(a[1:], b[:5]).pvalue), (
        "5 seeds of both"
    )


def test_standings_are_of_one_task_and_one_direction():
    table = ranked(five_tasks(), "recall")
    assert set(table["standing"]) == {""}, "recall does not say which way is better"
    frame = five_tasks().rename(columns={"recall": "context_error"})
    table = ranked(frame, "context_error")
    best = table[table["standing"] == "best"]
    assert len(best) == 10
    assert (best.groupby(["task", "test"]).size() == 1).all()
    assert best["similarity"].tolist() == ["dot" if task in ("t3", "t4") else "cosine" for task in best["task"]]


def test_what_guessing_gets_is_beside_the_accuracy():
    frame = rows(
        task=["lookup"] * 2 + ["copy"] * 2,
        similarity=["dot", "cosine"] * 2,
        seed=[0] * 4,
        alignment_accuracy=[0.2, 0.3, 0.4, 0.5],
        context_error=[1.0] * 4,
        **{"task.n_keys": [8.0, 8.0, np.nan, np.nan], "task.length": [np.nan, np.nan, 16, 16], "task.transfer": [None, None, "[2]", "[2]"]},
    )  # fmt: skip
    twice = pd.concat([frame, frame[2:].assign(test="2L")], ignore_index=True)
    table = ranked(twice, "alignment_accuracy").set_index(["task", "test"])
    assert table.loc[("lookup", "test"), "chance"].tolist() == [1 / 8] * 2
    assert table.loc[("copy", "test"), "chance"].tolist() == [1 / 16] * 2
    assert table.loc[("copy", "2L"), "chance"].tolist() == pytest.approx([1 / 32] * 2)
    assert "chance" not in ranked(frame, "context_error")
    assert "chance" not in ranked(frame.assign(task="nobody:knows"), "alignment_accuracy")
    columns = list(ranked(frame, "context_error", "alignment_accuracy"))
    assert columns.index("chance") == columns.index("alignment_accuracy") + 1


def test_rows_that_are_the_same_in_every_digit_are_said_to_be():
    frame = rows(
        similarity=["dot", "cosine", "additive"] * 4,
        seed=[0, 0, 0, 1, 1, 1] * 2,
        accuracy=[0.5, 0.5, 0.5, 0.7, 0.7, 0.7, 0.4, 0.4, 0.6, 0.8, 0.8, 0.8],
        weight_entropy=[0.1] * 12,
        fit_seconds=np.arange(12.0),
        **{"model.context": ["fixed"] * 6 + ["attention"] * 6},
    )
    frame.loc[7, "weight_entropy"] = 0.1000000001  # of attention with cosine
    table = ranked(frame, "accuracy").set_index(["model.context", "similarity"])
    assert table["identical"].loc["fixed"].to_dict() == {"dot": "cosine; additive", "cosine": "dot; additive", "additive": "dot; cosine"}  # fmt: skip
    assert (table["identical"].loc["attention"] == "").all()
    assert table.attrs["identical"] == ["dot = cosine = additive (model.context fixed)"]
    assert "identical" not in ranked(frame[6:], "accuracy")


def test_a_task_without_the_first_metric_is_ranked_by_the_next_that_it_has():
    rows = [
        {
            "run_id": f"{task}{name}{seed}",
            "task": task,
            "similarity": name,
            "seed": seed,
            "test": "test",
            "status": "ok",
        }
        | ({"context_error": error + seed / 100} if task == "lookup" else {"accuracy": right + seed / 50})
        for task in ("lookup", "copy")
        for name, error, right in (("dot", 0.1, 0.4), ("cosine", 0.3, 0.8), ("additive", 0.2, 0.6))
        for seed in range(3)
    ]
    found = attnlab.summarise(pd.DataFrame(rows), ["context_error", "accuracy"], standing=True)
    assert found["task"].tolist() == ["lookup"] * 3 + ["copy"] * 3
    assert found["similarity"].tolist() == ["dot", "additive", "cosine", "cosine", "additive", "dot"]
    assert found["ranked_by"].tolist() == ["context_error"] * 3 + ["accuracy"] * 3
    assert found["context_error"].isna().tolist() == [False] * 3 + [True] * 3
    best = found.iloc[3]
    assert best["low"] < best["accuracy"] < best["high"]
    assert best["accuracy"] == pytest.approx(0.82)
    assert found["standing"].tolist()[::3] == ["best", "best"]
    assert found["n"].tolist() == [3] * 6
    alone = attnlab.summarise(pd.DataFrame(rows[:9]), ["context_error"], standing=True)
    assert "ranked_by" not in alone
