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


def shares(x: Floats, corrected: bool = True) -> dict[str, float]:
    """The share of the total sum of squares of each part. They add up to 1.

    Every cell has the same number of seeds, so the parts are orthogonal: an effect is a mean less the effects that it contains.
    What the seeds of a task do to all mechanisms alike, and to some of them, is the part `seeds`. A mean over few seeds has noise,
    which looks like an effect. What is expected of it is taken away from the effect and given to the seeds: so much as the same
    effect varies from seed to seed within a task, divided by the number of seeds. A share may then be a little below 0.

    Parameters
    ----------
    x : array (similarities, normalisers, tasks, seeds)
    corrected : bool
        False leaves the noise of the means where it is; so does a single seed, which does not show it.

    Examples
    --------
    >>> x = np.zeros((2, 2, 1, 2)); x[1] = 1.0
    >>> shares(x)["similarity"]
    1.0
    """
    m = {kept: _mean(x, kept) for kept in ("", "S", "N", "T", "SN", "ST", "NT", "SNT", "TR", "STR", "NTR")}
    squares = {
        "task": m["T"] - m[""],
        "similarity": m["S"] - m[""],
        "normaliser": m["N"] - m[""],
        "similarity x normaliser": m["SN"] - m["S"] - m["N"] + m[""],
        "similarity x task": m["ST"] - m["S"] - m["T"] + m[""],
        "normaliser x task": m["NT"] - m["N"] - m["T"] + m[""],
        "similarity x normaliser x task": (m["SNT"] - m["SN"] - m["ST"] - m["NT"] + m["S"] + m["N"] + m["T"] - m[""]),
        "seeds": x - m["SNT"],
    }
    total = _squares(x - m[""], x.size)
    if total == 0:
        return dict.fromkeys(PARTS, float("nan"))
    found = {part: _squares(squares[part], x.size) for part in PARTS}
    n_tasks, n_seeds = x.shape[2:]
    if corrected and n_seeds > 1:
        by_seed = {
            "task": m["TR"] - m["T"],
            "similarity": m["STR"] - m["ST"] - m["TR"] + m["T"],
            "normaliser": m["NTR"] - m["NT"] - m["TR"] + m["T"],
            "similarity x normaliser": x - m["SNT"] - m["STR"] + m["ST"] - m["NTR"] + m["NT"] + m["TR"] - m["T"],
        }
        for part, deviations in by_seed.items():
            noise = _squares(deviations, x.size) / (n_seeds - 1)
            of_tasks = noise * (n_tasks - 1) / n_tasks
            for name, lost in ((part, noise - of_tasks), (f"{part} x task", of_tasks)):
                if part == "task":
                    name, lost = ("task", of_tasks) if name == "task x task" else ("seeds", 0.0)
                found[name] -= lost
                found["seeds"] += lost
    return {part: value / total for part, value in found.items()}


def _squares(effect: Floats, size: int) -> float:
    """The sum of squares of an effect, each of its values counted as often as it is in the whole."""
    return float((effect**2).sum()) * (size / effect.size)


def within_tasks(x: Floats, corrected: bool = True) -> dict[str, float]:
    """The same of what is left when each task has its own mean: what a part does on average and what it does in a task together."""
    all_parts = shares(x, corrected)
    left = 1.0 - all_parts["task"]
    if not left > 0:
        return dict.fromkeys(WITHIN, float("nan"))
    found = {part: all_parts[part] + all_parts[f"{part} x task"] for part in WITHIN[:-1]}
    return {part: value / left for part, value in {**found, "seeds": all_parts["seeds"]}.items()}


def intervals(x: Floats, resamples: int = 1000, level: float = 0.95) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Intervals of `shares` ("whole") and `within_tasks` ("within") by the bootstrap over the seeds of each task.

    All mechanisms of a seed are drawn together, because they saw the same examples. The seeds of each task are drawn for
    themselves, because each task has its own examples. The intervals are the basic ones: among the resamples, what is true is the shares
    of the seeds that are drawn from, not corrected. How far the resamples lie from them is how far the shares lie from what is true.
    They are cut at 0 and 1.
    """
    rng = np.random.default_rng(0)
    n_tasks, n_seeds = x.shape[2:]
    found = {}
    for name, measured in (("whole", shares), ("within", within_tasks)):
        shown, true = measured(x), measured(x, corrected=False)
        draws = []
        for _ in range(resamples):
            picked = rng.integers(n_seeds, size=(n_tasks, n_seeds))
            draws.append(measured(np.take_along_axis(x, picked[None, None], axis=3)))
        found[name] = {}
        for part, share in shown.items():
            low, high = np.quantile([draw[part] for draw in draws], [(1 - level) / 2, (1 + level) / 2])
            ends = (share - float(far - true[part]) for far in (high, low))
            found[name][part] = tuple(min(1.0, max(0.0, end)) for end in ends)
    return found  # type: ignore[return-value]
