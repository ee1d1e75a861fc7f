"""How much of the variance of a complete grid each factor explains: similarity x normaliser x task, with seeds within tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["PARTS", "WITHIN", "intervals", "shares", "within_tasks"]

Floats = NDArray[np.float64]
PARTS = (
    "task",
    "similarity",
    "normaliser",
    "similarity x normaliser",
    "similarity x task",
    "normaliser x task",
    "similarity x normaliser x task",
    "seeds",
)
WITHIN = ("similarity", "normaliser", "similarity x normaliser", "seeds")


def _mean(x: Floats, kept: str, axes: str = "SNTR") -> Floats:
    """The mean over all axes but those kept, which stay with length 1 so that means of different axes add up."""
    gone = tuple(i for i, axis in enumerate(axes) if axis not in kept)
    averaged: Floats = x.mean(axis=gone, keepdims=True)
    return averaged


def shares(x: Floats) -> dict[str, float]:
    """The share of the total sum of squares of each part. They add up to 1.

    Every cell has the same number of seeds, so the parts are orthogonal: an effect is a mean less the effects that it contains.
    What the seeds of a task do to all mechanisms alike, and to some of them, is the part `seeds`.

    Parameters
    ----------
    x : array (similarities, normalisers, tasks, seeds)

    Examples
    --------
    >>> x = np.zeros((2, 2, 1, 2)); x[1] = 1.0
    >>> shares(x)["similarity"]
    1.0
    """
    m = {kept: _mean(x, kept) for kept in ("", "S", "N", "T", "SN", "ST", "NT", "SNT")}
    effects = {
        "task": m["T"] - m[""],
        "similarity": m["S"] - m[""],
        "normaliser": m["N"] - m[""],
        "similarity x normaliser": m["SN"] - m["S"] - m["N"] + m[""],
        "similarity x task": m["ST"] - m["S"] - m["T"] + m[""],
        "normaliser x task": m["NT"] - m["N"] - m["T"] + m[""],
        "similarity x normaliser x task": (
            m["SNT"] - m["SN"] - m["ST"] - m["NT"] + m["S"] + m["N"] + m["T"] - m[""]
        ),
        "seeds": x - m["SNT"],
    }
    total = float(((x - m[""]) ** 2).sum())
    if total == 0:
        return dict.fromkeys(PARTS, float("nan"))
    return {part: float((effects[part] ** 2).sum() * (x.size / effects[part].size) / total) for part in PARTS}


def within_tasks(x: Floats) -> dict[str, float]:
    """The same of what is left when each task has its own mean: what a part does on average and what it does in a task together."""
    all_parts = shares(x)
    left = 1.0 - all_parts["task"]
    if not left > 0:
        return dict.fromkeys(WITHIN, float("nan"))
    found = {part: all_parts[part] + all_parts[f"{part} x task"] for part in WITHIN[:-1]}
    return {part: value / left for part, value in {**found, "seeds": all_parts["seeds"]}.items()}


def intervals(x: Floats, resamples: int = 1000, level: float = 0.95) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Percentile intervals of `shares` ("whole") and `within_tasks` ("within") by the bootstrap over the seeds of each task.

    All mechanisms of a seed are drawn together, because they saw the same examples. The seeds of each task are drawn for
    themselves, because each task has its own examples.
    """
    rng = np.random.default_rng(0)
    n_tasks, n_seeds = x.shape[2:]
    drawn: dict[str, list[dict[str, float]]] = {"whole": [], "within": []}
    for _ in range(resamples):
        picked = rng.integers(n_seeds, size=(n_tasks, n_seeds))
        again = np.take_along_axis(x, picked[None, None], axis=3)
        drawn["whole"].append(shares(again))
        drawn["within"].append(within_tasks(again))
    ends = [(1 - level) / 2, (1 + level) / 2]
    return {
        name: {
            part: tuple(float(q) for q in np.quantile([draw[part] for draw in draws], ends))  # type: ignore[misc]
            for part in draws[0]
        }
        for name, draws in drawn.items()
    }
