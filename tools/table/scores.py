"""From the results table to the skill of each mechanism on each task with each seed, and what is tested of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr

from attnlab.analysis.statistics import holm

__all__ = ["ALPHA", "BASELINE", "FLOOR", "LOWEST", "SOLVED", "Table", "gathered", "label", "paired_p"]

BASELINE = "scaled_dot + softmax"
FLOOR = "uniform + softmax"
LOWEST = -1.0  # a skill below it counts as it
SOLVED = 0.9
ALPHA = 0.05
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Skill: 0 is what uniform weights reach on the same examples, and 1 is no error.

    Attributes
    ----------
    mechanisms, tasks : tuple of str
    kinds : tuple of str
        The experiment of each task.
    seeds : tuple of int
    skill : array (m, t, s)
    cost : array (m, t)
        Operations for one query.
    frame : DataFrame
        One row a run, with the columns `competitor` and `skill`.
    n_cut, n_lost : int
        Runs whose skill was below the lowest, and runs without a result, which count as the lowest.
    """

    mechanisms: tuple[str, ...]
    tasks: tuple[str, ...]
    kinds: tuple[str, ...]
    seeds: tuple[int, ...]
    skill: Floats
    cost: Floats
    frame: pd.DataFrame
    n_cut: int
    n_lost: int

    @property
    def base(self) -> int:
        return self.mechanisms.index(BASELINE)

    def against_baseline(self) -> Floats:
        """(m, t) p values of the difference to the baseline, paired by seed, adjusted by Holm's method within each task."""
        p = np.full(self.skill.shape[:2], np.nan)
        others = [i for i in range(len(self.mechanisms)) if i != self.base]
        for j in range(len(self.tasks)):
            raw = [paired_p(self.skill[i, j] - self.skill[self.base, j]) for i in others]
            p[others, j] = holm(raw)
        return p

    def verdicts(self) -> NDArray[np.int64]:
        """(m, t) 1 where a mechanism is shown to be better than the baseline, -1 where worse, else 0."""
        sign = np.sign((self.skill - self.skill[self.base]).mean(axis=2))
        return np.where(self.against_baseline() <= ALPHA, sign, 0).astype(np.int64)

    def grid(self, similarities: Sequence[str], normalisers: Sequence[str]) -> Floats:
        """(similarities, normalisers, tasks, seeds) the skills of their compositions."""
        return np.array([[self.skill[self.mechanisms.index(f"{s} + {n}")] for n in normalisers] for s in similarities])


def paired_p(d: Floats) -> float:
    """Two-sided p of the mean of differences by Student's t; by a sign test where all are the same, which have no spread.

    >>> round(paired_p(np.array([0.1, 0.2, 0.3])), 4)
    0.0742
    >>> paired_p(np.full(5, 0.5)), paired_p(np.zeros(5))
    (0.0625, 1.0)
    """
    n, spread = len(d), float(d.std(ddof=1)) if len(d) > 1 else 0.0
    if spread <= 1e-12 * float(np.abs(d).max(initial=0.0)):
        return 2.0 ** (1 - n) if np.any(d) else 1.0
    return 2.0 * float(stdtr(n - 1, -abs(float(d.mean())) / (spread / math.sqrt(n))))


def label(row: dict[str, Any]) -> str:
    """A mechanism in a few words."""
    if row["mechanism"] != "single_head":
        return str(row["mechanism"])
    return f"{row['similarity']} + {row['normaliser']}"


def gathered(frame: pd.DataFrame) -> Table:
    """The skill of every mechanism, on each task that some seed has for all mechanisms, with the seeds that all such tasks have.

    The loss is the error of the contexts, or for classes the share of wrong ones. The skill is 1 less the loss over that of uniform
    weights, on the same examples. A skill below -1 counts as -1, so that a run which went astray weighs no more than two that
    learned nothing; so does a run without a result.

    Raises
    ------
    SystemExit
        When the floor or the baseline was not run, or no seed is complete.
    """
    frame = frame[frame["test"] == "test"].copy()
    records = frame[["mechanism", "similarity", "normaliser"]].to_dict("records")
    frame["competitor"] = [label(record) for record in records]
    error = frame["context_error"] if "context_error" in frame else pd.Series(np.nan, frame.index)
    wrong = 1.0 - frame["accuracy"] if "accuracy" in frame else pd.Series(np.nan, frame.index)
    frame["loss"] = pd.to_numeric(error).fillna(pd.to_numeric(wrong))
    frame.loc[frame["status"] != "ok", "loss"] = np.nan
    kinds = frame.drop_duplicates("task").set_index("task")["experiment"].to_dict()
    mechanisms, tasks = list(dict.fromkeys(frame["competitor"])), list(dict.fromkeys(frame["task"]))
    for needed in (BASELINE, FLOOR):
        if needed not in mechanisms:
            raise SystemExit(
                f"the store has no runs of {needed}, which all others are compared with; sweep the whole file"
            )
    runs = frame.groupby(["task", "seed"])["competitor"].nunique().unstack("seed")
    whole = runs.eq(len(mechanisms))
    tasks = [task for task in tasks if whole.loc[task].any()]
    seeds = sorted(int(seed) for seed in whole.columns if tasks and whole.loc[tasks, seed].all())
    if not seeds:
        raise SystemExit(
            f"no seed has runs of all {len(mechanisms)} mechanisms on the same tasks; finish the sweep first"
        )
    frame = frame[frame["task"].isin(tasks)]
    frame = frame[frame["seed"].isin(seeds)].copy()
    floor = frame[frame["competitor"] == FLOOR].set_index(["task", "seed"])["loss"]
    at_floor = floor.loc[list(zip(frame["task"], frame["seed"], strict=True))].to_numpy()
    raw = 1.0 - frame["loss"].to_numpy() / at_floor
    frame["skill"] = np.maximum(np.nan_to_num(raw, nan=LOWEST), LOWEST)
    cube = frame.pivot(index=["competitor", "task"], columns="seed", values="skill")
    order = pd.MultiIndex.from_product([mechanisms, tasks])
    shape = len(mechanisms), len(tasks)
    cost = frame.groupby(["competitor", "task"])["operations_per_query"].mean()
    return Table(
        tuple(mechanisms),
        tuple(tasks),
        tuple(str(kinds[task]) for task in tasks),
        tuple(seeds),
        cube.loc[order].to_numpy(float).reshape(*shape, len(seeds)),
        cost.loc[order].to_numpy(float).reshape(shape),
        frame,
        int((raw < LOWEST).sum()),
        int(np.isnan(raw).sum()),
    )
