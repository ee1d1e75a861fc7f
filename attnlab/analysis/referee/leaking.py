"""Findings on the examples: test examples in the training data.

The examples of a task are drawn again, as a run would draw them. Those of a task whose examples cannot repeat are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attnlab.analysis.measures import settings_of_task
from attnlab.analysis.referee.case import Case
from attnlab.data import AlignmentData, Splits
from attnlab.errors import AttnlabError
from attnlab.findings import Finding, listed
from attnlab.injection import call
from attnlab.plugins import BUILTIN
from attnlab.registry import Own, build, entry
from attnlab.sweeps.columns import buildable
from attnlab.sweeps.execute import data_rng, splits_of
from attnlab.tasks.drawn import DrawnTask

__all__ = ["leaks"]

LEAKED = 0.005  # of the test examples
MOST_TASKS = 24  # whose data are drawn again
SAMPLE = 64  # examples of which no two share a vector
FEWEST_ROWS = 4  # vectors of an example
Spec = dict[str, dict[str, Any]]


# -- R111 -------------------------------------------------------------------------------------------------------------
def leaks(case: Case) -> Iterator[Finding]:
    """Test examples in the training data."""
    rows = case.learned
    if "task" not in rows or "seed" not in rows:
        return
    places = []
    rows = rows[[c for c in ("run_id", "seed", "n_tuned", *case.task_columns) if c in rows]]
    points = rows[~rows[case.task_columns].duplicated()].head(MOST_TASKS)
    for row, task in zip(points.to_dict("records"), case.task_of(points), strict=True):
        splits = _drawn_again(case, row)
        if splits is None:
            continue
        parts = [splits.train, *([splits.validation] if row.get("n_tuned", 1) > 1 else [])]
        seen = {content for part in parts for content in _each(part)}
        for condition, data in splits.tests.items():
            known = sum(content in seen for content in _each(data))
            if known and known >= LEAKED * len(data):
                place = task if condition == "test" else f"{task}, {condition}"
                places.append(f"{place}: {known} of {len(data)} ({100 * known / len(data):.0f} %)")
    if places:
        yield Finding(
            "R111",
            listed([place.split(":")[0] for place in places]),
            f"test examples that are training examples too, of the first seed: {listed(places)}",
            "a task with more possible examples (longer, more symbols, other settings of the test)",
        )


def _drawn_again(case: Case, row: Mapping[Any, Any]) -> Splits | None:
    """The examples of a run; None where they cannot repeat, the task is not installed here, or a file that it reads is gone."""
    try:
        if (run := case.runs.get(str(row["run_id"]))) is not None:
            return None if _never_repeats(run.spec["task"], run.seed) else splits_of(run)
        spec = {str(row["task"]): settings_of_task({c: row[c] for c in case.task_columns})}
        if _never_repeats(spec, int(row["seed"])):
            return None
        (pair,) = spec.items()
        splits = build("task", {Own(pair[0]): pair[1]}).make(data_rng(spec, int(row["seed"])))
        return splits if isinstance(splits, Splits) else None
    except (AttnlabError, OSError, TypeError, ValueError, KeyError):
        return None


def _never_repeats(spec: Spec, seed: int) -> bool:
    """Whether every example of a task of attnlab's own is drawn anew from a continuous law, so that none comes twice.

    Its vectors tell. Where they stand for one of so many symbols, some stand in several of a few examples; where they are
    noise, none does.
    """
    (name,) = spec
    found = entry("task", Own(name))
    if found.distribution != BUILTIN or not issubclass(found.cls, DrawnTask):
        return False
    task: Any = build("task", buildable("task", spec))
    shared = task.shared(data_rng(spec, seed))
    drawn = call(task, "draw", **{"rng": data_rng(spec, seed), "n": SAMPLE, "split": "train", "block": 0, **shared})
    return any(_all_differ(np.asarray(array)) for array in (drawn.Q, drawn.K, drawn.V))


def _all_differ(array: np.ndarray[Any, Any]) -> bool:
    """Whether no two vectors of an array (n, m, d) are the same; vectors of zeros, which pad, do not count."""
    if array.ndim != 3 or array.dtype.kind != "f":
        return False
    there = array.any(axis=-1)
    if there.sum(axis=1).min(initial=FEWEST_ROWS) < FEWEST_ROWS:
        return False
    return len({row.tobytes() for row in array[there]}) == there.sum()


def _each(data: AlignmentData) -> list[bytes]:
    """All that is shown of each example: its queries, keys and values, without padding."""
    arrays = [np.ascontiguousarray(array) for array in (data.Q, data.K, data.V)]
    if data.mask is None:
        heads = [repr(array.shape[1:]).encode() for array in arrays]
        each = ([head + one.tobytes() for one in array] for head, array in zip(heads, arrays, strict=True))
        return [b"|".join(example) for example in zip(*each, strict=True)]
    mask, found = np.asarray(data.mask), []
    queries, keys = np.asarray(mask.any(axis=2)), np.asarray(mask.any(axis=1))
    for Q, K, V, asked, there in zip(*arrays, queries, keys, strict=True):
        found.append(b"|".join(repr(a.shape).encode() + a.tobytes() for a in (Q[asked], K[there], V[there])))
    return found
