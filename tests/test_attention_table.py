"""The Attention Table: its experiments, what it computes, and its page from a real sweep."""

from __future__ import annotations

import functools
import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import attnlab
from attnlab.analysis.statistics import holm
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.frame import load_results
from attnlab.sweeps.plan import plan
from tools.table import page, scores, variance
from tools.table.__main__ import main

FOLDER = Path(__file__).parents[1] / "experiments" / "table"
FILES = {kind: FOLDER / f"{kind}.yaml" for kind in ("content", "order")}
SMALL = """
attnlab: 1
question: Does the page come out?
task:
  {tasks}
mechanism:
  - similarity: [scaled_dot, general, additive, cosine, neg_l2]
    normaliser: [softmax, sparsemax, entmax, sigmoid, topk_softmax]
  - similarity: uniform
    normaliser: softmax
  - delta_rule
model: {{aligner: {{projection: 4, steps: 4, batch_size: 8}}}}
tune: {{model.learning_rate: [0.02, 0.05]}}
seeds: 2
metrics: [accuracy, context_error]
claims:
  - say: uniform weights solve nothing
    metric: alignment_accuracy
    at_most: 0.9
    where: {{similarity: uniform}}
"""
TASKS = {
    "content": (
        "lookup: {n_keys: 3, d: 4, d_value: 2, n_train: 8, n_validation: 4, n_test: 8}",
        "xor_key: {n_ids: 2, n_train: 8, n_validation: 4, n_test: 8}",
    ),
    "order": ("sort: {length: 3, vocabulary: 4, unseen: 0.0, n_train: 8, n_validation: 4, n_test: 8}",),
}


@functools.cache
def planned(kind):
    return plan(read(FILES[kind]))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    files = []
    for kind, tasks in TASKS.items():
        files.append(folder / f"{kind}.yaml")
        files[-1].write_text(SMALL.format(tasks="\n  ".join(f"- {task}" for task in tasks)), encoding="utf-8")
        attnlab.sweep(files[-1], store=folder / "table.db", executor="serial", quiet=True)
    return folder, files


@pytest.fixture(scope="module")
def table(swept):
    return scores.gathered(load_results(swept[0] / "table.db"))


def test_the_experiments_are_49_mechanisms_on_16_tasks_with_10_seeds_tuned_alike():
    mechanisms, tasks = {}, []
    for kind, file in FILES.items():
        experiment = read(file)
        runs = planned(kind)
        mechanisms[kind] = {str(run.spec["mechanism"]) for run in runs}
        tasks += dict.fromkeys(next(iter(run.spec["task"])) for run in runs)
        assert len({str(run.spec["tune"]) for run in runs}) == 1
        assert {run.seed for run in runs} == set(range(10))
        assert len(mechanisms[kind]) == 49
        assert experiment.claims
        assert file.read_text(encoding="utf-8").startswith("# ")
    assert len(tasks) == len(set(tasks)) == 16


def test_every_mechanism_of_a_family_is_in_the_experiments():
    runs = [run for kind in FILES for run in planned(kind) if run.seed == 0]
    named = set()
    for run in runs:
        ((mechanism, parts),) = run.spec["mechanism"].items()
        single = mechanism == "single_head"
        row = {
            "mechanism": mechanism,
            **({k: next(iter(parts[k])) for k in ("similarity", "normaliser")} if single else {}),
        }
        named.add(scores.label(row))
    members = {name for members in page.FAMILIES.values() for name in members}
    grid = {f"{s} + {n}" for s, n in itertools.product(page.SIMILARITIES, page.NORMALISERS)}
    assert members | grid | {scores.FLOOR} == named


def test_the_skill_of_a_run_is_what_its_loss_says(table, swept):
    frame = load_results(swept[0] / "table.db").set_index(["task", "mechanism", "similarity", "normaliser", "seed"])
    for task, (metric, perfect) in {"lookup": ("context_error", 0.0), "sort": ("accuracy", 1.0)}.items():
        value = frame.loc[(task, "single_head", "cosine", "sparsemax", 1), metric].item()
        floor = frame.loc[(task, "single_head", "uniform", "softmax", 1), metric].item()
        at = table.mechanisms.index("cosine + sparsemax"), table.tasks.index(task), table.seeds.index(1)
        assert table.skill[at] == pytest.approx(max(-1.0, (value - floor) / (perfect - floor)))


def test_the_floor_has_no_skill_and_a_lost_run_has_the_least(swept):
    frame = load_results(swept[0] / "table.db")
    lost = (frame["mechanism"] == "delta_rule") & (frame["task"] == "lookup") & (frame["seed"] == 0)
    frame.loc[lost, "status"] = "invalid"
    table = scores.gathered(frame)
    assert not table.skill[table.mechanisms.index(scores.FLOOR)].any()
    assert table.skill[table.mechanisms.index("delta_rule"), table.tasks.index("lookup"), 0] == scores.LOWEST
    assert table.n_lost == 1


def test_only_seeds_that_all_mechanisms_have_count(swept):
    frame = load_results(swept[0] / "table.db")
    missing = (frame["mechanism"] == "delta_rule") & (frame["task"] == "sort") & (frame["seed"] == 1)
    assert scores.gathered(frame[~missing]).seeds == (0,)
    without = frame[(frame["mechanism"] != "delta_rule") | (frame["task"] != "sort")]
    assert scores.gathered(without).tasks == ("lookup", "xor_key")  # a task that no seed has for all is left out
    first, second = ("lookup", 0), ("sort", 1)
    at = [(task, seed) in (first, second) for task, seed in zip(frame["task"], frame["seed"], strict=True)]
    with pytest.raises(SystemExit, match="no seed has runs of all 27 mechanisms on the same tasks"):
        scores.gathered(frame[at])


def made(skill):
    """A table of given skills (m, t, s), the first mechanism being the baseline."""
    m, t, s = skill.shape
    names = (scores.BASELINE, *(f"other {i}" for i in range(1, m)))
    tasks = tuple(f"task {j}" for j in range(t))
    return scores.Table(names, tasks, ("content",) * t, tuple(range(s)), skill, np.ones((m, t)), pd.DataFrame(), 0, 0)


def test_differences_to_the_baseline_are_adjusted_within_each_task():
    stats = pytest.importorskip("scipy.stats")
    skill = np.random.default_rng(3).normal(size=(5, 3, 6)) + np.arange(5)[:, None, None]
    found = made(skill).against_baseline()
    for j in range(3):
        raw = [stats.ttest_rel(skill[i, j], skill[0, j]).pvalue for i in range(1, 5)]
        assert found[1:, j] == pytest.approx(holm(raw))
    assert np.isnan(found[0]).all()


def test_a_verdict_needs_more_than_its_sign():
    rng = np.random.default_rng(4)
    skill = np.zeros((4, 1, 8))
    skill[1] = 0.5 + 0.01 * rng.normal(size=8)
    skill[2] = -0.5 + 0.01 * rng.normal(size=8)
    skill[3] = rng.normal(size=8)
    assert made(skill).verdicts()[:, 0].tolist() == [0, 1, -1, 0]


def by_regression(x):
    """The same shares by least squares: what the residuals lose when a factor's columns are added, in the order of the parts."""
    codes = np.stack([axis.ravel() for axis in np.indices(x.shape)])
    S, N, T = (np.eye(x.shape[axis])[codes[axis]] for axis in range(3))

    def crossed(*blocks):
        product = blocks[0]
        for block in blocks[1:]:
            product = np.einsum("ia,ib->iab", product, block).reshape(len(product), -1)
        return product

    columns = [np.ones((x.size, 1))]
    y, left, lost = x.ravel(), [], []
    for block in (T, S, N, crossed(S, N), crossed(S, T), crossed(N, T), crossed(S, N, T)):
        before = np.hstack(columns)
        columns.append(block)
        after = np.hstack(columns)
        left = [float(((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2).sum()) for X in (before, after)]
        lost.append(left[0] - left[1])
    total = float(((y - y.mean()) ** 2).sum())
    return dict(zip(variance.PARTS, [value / total for value in [*lost, left[1]]], strict=True))


def test_the_decomposition_is_that_of_nested_regressions():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 4, 2, 3)) + rng.normal(size=(3, 1, 2, 1)) + 2 * rng.normal(size=(1, 4, 1, 1))
    found = variance.shares(x, corrected=False)
    assert found == pytest.approx(by_regression(x))
    assert sum(found.values()) == pytest.approx(1.0)


def test_noise_of_the_seeds_is_not_taken_for_an_effect():
    """Without effects the shares are 0 on average, also where seeds do the same to all mechanisms, or to those of one similarity."""
    rng = np.random.default_rng(8)
    plain, corrected = [], []
    for _ in range(300):
        x = rng.normal(size=(3, 2, 4, 3)) + 2 * rng.normal(size=(1, 1, 4, 3)) + rng.normal(size=(3, 1, 4, 3))
        plain.append(variance.shares(x, corrected=False))
        corrected.append(variance.shares(x))
        assert sum(corrected[-1].values()) == pytest.approx(1.0)
    for part in variance.PARTS[:-1]:
        shown = np.array([found[part] for found in corrected])
        assert abs(shown.mean()) < 4 * shown.std() / np.sqrt(len(shown)), part
    assert np.mean([found["similarity x task"] for found in plain]) > 0.03


def test_within_tasks_is_the_mean_of_the_tasks_weighted_by_their_spread():
    x = np.random.default_rng(6).normal(size=(3, 3, 4, 2)) * np.array([1.0, 2.0, 0.5, 3.0])[:, None]
    spread = np.array([((x[:, :, j] - x[:, :, j].mean()) ** 2).sum() for j in range(4)])
    each = [variance.within_tasks(x[:, :, [j]], corrected=False) for j in range(4)]
    for part, share in variance.within_tasks(x, corrected=False).items():
        assert share == pytest.approx(sum(w * e[part] for w, e in zip(spread, each, strict=True)) / spread.sum())


def test_the_intervals_hold_the_shares_and_narrow_where_seeds_agree():
    rng = np.random.default_rng(7)
    effect = rng.normal(size=(3, 3, 4, 1))
    noisy, quiet = (effect + scale * rng.normal(size=(3, 3, 4, 5)) for scale in (1.0, 0.01))
    wide, narrow = (variance.intervals(x, resamples=200)["within"]["similarity"] for x in (noisy, quiet))
    assert narrow[0] <= variance.within_tasks(quiet)["similarity"] <= narrow[1]
    assert narrow[1] - narrow[0] < 0.1 * (wide[1] - wide[0])


def test_the_page_and_its_picture_come_from_a_store(swept, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    folder, files = swept
    store = tmp_path / "table.db"
    shutil.copy(folder / "table.db", store)
    chosen = [word for file in files for word in ("--file", str(file))]
    longer = tmp_path / "longer.md"
    longer.write_text("It still holds with more steps.\n", encoding="utf-8")
    also = ["--short", "It is small.", "--longer", str(longer), "--page", str(tmp_path / "table.html")]
    main([str(store), "-o", str(tmp_path / "table.md"), *chosen, *also])
    ranked = (tmp_path / "table.html").read_text(encoding="utf-8")
    assert ranked.index(">all tasks<") < ranked.index(">content<") < ranked.index(">order<")
    assert all(f"<td>{name}</td>" in ranked for name in ("scaled_dot + softmax", "uniform + softmax", "delta_rule"))
    at = [
        ranked.index(f'data-section="{title}"') for title in ("What can be concluded", "Families", "Quality and cost")
    ]
    assert at == sorted(at)
    assert at[-1] < ranked.index(">content</p>")
    assert "<td>similarity x normaliser</td>" in ranked
    assert "<td>memories</td>" in ranked
    assert ranked.count("<polyline") == 1
    assert "operations_per_query</text>" in ranked
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "pictures" / "table-frontier.svg").exists()
    assert "27 mechanisms on 3 small tasks with 2 seeds: 162 runs" in text
    assert "It is small." in text
    assert text.index("## Checked by longer runs\n\nIt still holds with more steps.\n\n## What was predicted") > 0
    assert "uniform weights solve nothing" in text
    assert "(1 supported)" in text or "(2 supported)" in text  # by the two seeds there are
    widths = {len(row) for row in (line.split(" | ") for line in text.splitlines() if line.startswith("| mechanism"))}
    assert widths == {9, 3, 2}  # all mechanisms, by content, by order
    assert str(tmp_path) not in text
