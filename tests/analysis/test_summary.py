"""The ranked table at the end of a sweep."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import attnlab
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
        assert (row[metric], row["low"], row["high"]) == pytest.approx((values.mean(), low, high))
        assert (row["n"], row["ok"]) == (len(values), f"{len(values)}/{len(values)}")


def test_every_axis_that_varies_and_the_first_metric_unless_they_are_given(swept):
    frame, _ = swept
    table = attnlab.summarise(frame)
    assert list(table) == ["task.n_keys", "similarity", "normaliser", "context_error", "low", "high", "n", "ok"]
    check_against_pandas(table, frame, ["task.n_keys", "similarity", "normaliser"], "context_error")
    assert table["context_error"].is_monotonic_increasing  # less error is better


@pytest.mark.parametrize("by", ["similarity", ["task.n_keys", "normaliser"], ["task"]])
def test_runs_that_differ_in_other_axes_are_pooled(swept, by):
    frame, _ = swept
    table = attnlab.summarise(frame, "alignment_accuracy", by)
    check_against_pandas(table, frame, [by] if isinstance(by, str) else by, "alignment_accuracy")
    assert table["alignment_accuracy"].is_monotonic_decreasing


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
