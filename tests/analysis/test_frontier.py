"""Quality against cost: what is named is what no other beats in both."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab.analysis.frontier import frontier
from attnlab.cli import _status
from attnlab.errors import SettingError

plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("agg")


def results(points, metric="alignment_accuracy", tasks=1, **columns):
    """A results table: competitor i has the quality and cost of point i, on every task and seed."""
    records = [
        {"similarity": f"s{i}", "task": f"t{t}", "seed": seed, metric: good, "operations_per_query": dear}
        for i, (good, dear) in enumerate(points)
        for t in range(tasks)
        for seed in range(2)
    ]
    frame = pd.DataFrame(records).assign(test="test", status="ok", **columns)
    return frame.assign(run_id=[f"{i:016x}" for i in range(len(frame))])


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.1 + 0.2, 0.3, 0.9]), st.sampled_from([1.0, 2.0, 3.0, 8.0])),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from(["alignment_accuracy", "context_error"]),
)
def test_what_is_not_dominated_is_what_nothing_beats(points, metric):
    table = frontier(results(points, metric), metric, by="similarity").set_index("label")
    sign = 1 if metric == "alignment_accuracy" else -1
    rounded = [(round(sign * good, 9), dear) for good, dear in points]
    for i, (good, dear) in enumerate(rounded):
        beaten = any(g >= good and d <= dear and (g, d) != (good, dear) for g, d in rounded)
        assert table.loc[f"s{i}", "dominated"] == beaten


def test_means_are_over_seeds_and_then_tasks():
    frame = results([(0.2, 10), (0.6, 30)], tasks=3)
    frame.loc[(frame["task"] == "t0") & (frame["similarity"] == "s0"), "alignment_accuracy"] = [0.8, 1.0]
    table = frontier(frame, "alignment_accuracy")
    assert table["alignment_accuracy"].tolist() == pytest.approx([(0.9 + 0.2 + 0.2) / 3, 0.6])
    assert table["label"].tolist() == ["s0", "s1"]
    assert (table["low"] <= table["alignment_accuracy"]).all()
    assert (table[["low", "high"]].to_numpy() >= 0).all()
    assert (table[["low", "high"]].to_numpy() <= 1).all()


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (lambda f: f, {"metric": "alignment_acuracy"}, "did you mean alignment_accuracy"),
        (lambda f: f, {"cost": "operations"}, "no metric or other column of numbers|operations"),
        (lambda f: f, {"cost": "alignment_accuracy"}, "is the quality too"),
        (lambda f: f, {"by": "similarty"}, "similarty"),
        (lambda f: f.assign(similarity="dot").drop_duplicates("seed"), {}, "no competitors"),
        (lambda f: f.assign(status=["failed", *["ok"] * (len(f) - 1)]), {}, "missing"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, arguments, said):
    given_ = {"metric": "alignment_accuracy", **arguments}
    with pytest.raises(SettingError, match=said):
        frontier(change(results([(0.2, 10), (0.6, 30)])), **given_)


@pytest.mark.parametrize("metric", ["alignment_accuracy", "context_error"])
def test_the_picture_names_the_frontier_and_has_better_upwards(metric):
    good = [0.2, 0.6, 0.5, 0.9] if metric == "alignment_accuracy" else [0.9, 0.5, 0.6, 0.1]
    frame = results([*zip(good, [10, 30, 40, 900], strict=True)], metric, tasks=2)
    ax = attnlab.plot_frontier(frame, metric)
    try:
        ax.figure.draw_without_rendering()
        assert [text.get_text() for text in ax.texts if text.get_gid() == "name"] == ["s0", "s1", "s3"]
        low, high = ax.get_ylim()
        assert (low < high) == (metric == "alignment_accuracy")
        assert ax.get_xscale() == "log"
        boxes = [text.get_window_extent() for text in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(ax.figure.bbox.x0 <= b.x0 and b.x1 <= ax.figure.bbox.x1 for b in boxes)
    finally:
        plt.close(ax.figure)


def test_the_command_draws_and_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec = {
        "attnlab": 1,
        "name": "small",
        "question": "?",
        "task": {"lookup": {"n_keys": [3, 5], "d": 4, "n_train": 8, "n_validation": 2, "n_test": 8}},
        "mechanism": {"similarity": ["dot", "additive"]},
        "model": {"aligner": {"steps": 1}},
        "seeds": 2,
    }
    frame = attnlab.sweep(spec, executor="serial", store="s.db", quiet=True)
    command = ["plot", "frontier", "alignment_accuracy", "--store", "s.db", "-o"]
    assert _status([*command, "f.svg"]) == 0
    assert "that no other beats in both" in capsys.readouterr().out
    names = frontier(frame, "alignment_accuracy").query("not dominated")["label"]
    picture = (tmp_path / "f.svg").read_text("utf-8")
    assert all(f">{name}<" in picture for name in names)
    assert _status([*command, "g.svg", "--cost", "n_parameters", "--by", "similarity"]) == 0
    assert _status([*command, "h.svg", "--cost", "nothing"]) == 2
    assert not (tmp_path / "h.svg").exists()
