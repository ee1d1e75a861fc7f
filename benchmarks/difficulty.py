"""How hard the tasks are: each with its defaults, for `dot`, `additive` and `cosine`, as a table for the page of the tasks.

`python -m benchmarks.difficulty [TASK ...]`. An aligner with projections of 16 features learns for 300 steps, three times. A
task that asks for places gets the position that shows them. `score` is what it learned: the share of right classes, or of the
variance of the targets that is explained.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

import attnlab
from attnlab.registry import names
from benchmarks import common

SIMILARITIES = ("dot", "additive", "cosine")
SEEDS = 3
STEPS = 300
NEED_PLACES = (
    *("copy", "reverse", "sort", "selective_copy", "fertility", "lookup_table", "block_reorder", "toy_translation"),
    *("n_back", "local_count", "boolean"),
)
NEED_FILES = ("arrays", "bitext")


def main(chosen: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each task: chance, and the mean alignment accuracy and score of each similarity."""
    every = sorted(set(names("task")) - set(NEED_FILES))
    rows = []
    for name in chosen or every:
        task = attnlab.get("task", name)
        row: dict[str, Any] = {"task": name, "position": "sinusoidal" if name in NEED_PLACES else "none"}
        row["chance"] = round(task.chance, 3)
        row |= of_task(task, row["position"])
        common.say(row)
        rows.append(row)
    return rows


def of_task(task: Any, position: str) -> dict[str, Any]:
    """The means over seeds, by similarity: alignment accuracy, and score."""
    accuracy = attnlab.get("metric", "alignment_accuracy")
    found: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        splits = task.make(np.random.default_rng(seed))
        test = splits.tests["test"]
        for similarity in SIMILARITIES:
            aligner = attnlab.AttentionAligner(
                attnlab.Mechanism(similarity, position=position), projection=16, steps=STEPS, random_state=seed
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                aligner.fit(splits.train)
            found.setdefault(similarity, []).append(accuracy.measure(data=test, W=aligner.align(test)))
            found.setdefault(f"{similarity} score", []).append(aligner.score(test))
    return {name: round(float(np.mean(values)), 2) for name, values in found.items()}


if __name__ == "__main__":
    limit = common.one_thread()
    print(f"\n{common.markdown(main(sys.argv[1:]))}\n")
