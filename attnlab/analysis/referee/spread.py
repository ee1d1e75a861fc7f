"""Findings on seeds: too few for the spread, an outlier, two modes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from attnlab.analysis.measures import is_per_run
from attnlab.analysis.referee.case import Case
from attnlab.analysis.standing import TIED, standings
from attnlab.analysis.statistics import t_interval
from attnlab.findings import Finding, listed
from attnlab.tables import shown

__all__ = ["modes", "outliers", "too_few"]

FEW = 3  # seeds, of fewer of which no spread can be seen
WIDE, WIDE_OF_MEAN = 0.1, 0.25  # half-width of a difference, of the range of a metric; of the mean where there is none
FAR, SCALE = 5.0, 1.4826  # spreads from the median; what makes the median absolute deviation one of a normal law
SIZE, SIZE_OF_MEAN = 0.1, 0.25  # nearer values are no outliers
GAP, GAP_OF_MEAN = 0.2, 0.5  # between two modes


def _metric(case: Case) -> str | None:
    """The metric that ranks, unless it is a cost."""
    return case.metrics[0] if case.metrics and not is_per_run(case.metrics[0]) else None


def _least(case: Case, metric: str, values: list[float], of_range: float, of_mean: float) -> float:
    """The smallest distance that counts: a share of the range of a metric, or where it has none of the values."""
    has_range = all(map(math.isfinite, case.bounds(metric)))
    return (of_range if has_range else of_mean) * case.span(metric, values)


# -- R108 -------------------------------------------------------------------------------------------------------------
def too_few(case: Case) -> Iterator[Finding]:
    """Too few seeds for the spread."""
    metric = _metric(case)
    if metric is None:
        return
    cells = list(case.cells(metric))
    fewest = min((len(v) for cell in cells for v in cell.values.values()), default=FEW)
    if fewest < FEW:
        yield Finding("R108", "seeds", f"{fewest} seed{'s' * (fewest != 1)}", "five seeds or more")
        return
    places = []
    for cell in cells:
        names = list(cell.values)
        arrays = cell.arrays(names)
        means = [float(np.nanmean(a)) for a in arrays]
        direction = {1: "up", -1: "down"}.get(case.sign(metric))
        stand = standings(np.array(arrays), means, direction, case.overlap(cell))
        if TIED not in stand:
            continue
        best = (np.argmax if direction == "up" else np.argmin)(means)
        limit = _least(case, metric, means, WIDE, WIDE_OF_MEAN)
        for name, array, word in zip(names, arrays, stand, strict=True):
            _, low, high, n = t_interval(array - arrays[int(best)], overlap=case.overlap(cell))
            if word == TIED and n > 1 and (high - low) / 2 > limit:
                said = f"{shown(low)} to {shown(high)}, n = {n}"
                places.append(f"{names[int(best)]} and {name} on {cell.place} differ by {said}")
    undecided = [
        f"“{one.claim.say}” takes about {one.decision.seeds_needed:.0f} seeds"
        for one in case.judgements
        if one.decision.verdict == "undecided" and one.decision.n > 1 and one.decision.seeds_needed > one.decision.n
    ]
    if places or undecided:
        yield Finding(
            "R108",
            metric if places else "claims",
            "; ".join(filter(None, [listed(places), listed(undecided)])),
            "more seeds: only the new ones are run",
        )


# -- R109 -------------------------------------------------------------------------------------------------------------
def outliers(case: Case) -> Iterator[Finding]:
    """An outlier among the seeds."""
    metric = _metric(case)
    places = []
    for cell in case.cells(metric) if metric else ():
        for name, values in cell.values.items():
            seed = _outlier(values, _least(case, str(metric), list(values.values()), SIZE, SIZE_OF_MEAN))
            if seed is not None:
                others = [v for s, v in values.items() if s != seed]
                places.append(
                    f"{name} on {cell.place}: seed {seed} has {shown(values[seed])}, the others {shown(min(others))} to "
                    f"{shown(max(others))}"
                )
    if places:
        yield Finding(
            "R109", str(metric), listed(places), "a look at those runs, the share that solved the task, more seeds"
        )


def _outlier(values: Mapping[int, float], least: float) -> int | None:
    """The one seed that lies far from all others; None where there is none or there are several."""
    if len(values) < 4:
        return None
    seeds, x = list(values), np.array(list(values.values()))
    away = np.abs(x - np.median(x))
    spread = SCALE * float(np.median(away))
    far = [i for i in range(len(x)) if away[i] > max(FAR * spread, least)]
    if len(far) != 1:
        return None
    nearest = float(np.abs(np.delete(x, far) - x[far]).min())
    return seeds[far[0]] if nearest > away[far[0]] / 2 else None  # else it is the end of a wide spread


# -- R110 -------------------------------------------------------------------------------------------------------------
def modes(case: Case) -> Iterator[Finding]:
    """Two modes among the seeds."""
    metric = _metric(case)
    places = []
    for cell in case.cells(metric) if metric else ():
        for name, values in cell.values.items():
            each = list(values.values())
            if groups := _two_modes(each, _least(case, str(metric), each, GAP, GAP_OF_MEAN)):
                said = " and ".join(f"{len(g)} seeds at {shown(g[0])} to {shown(g[-1])}" for g in groups)
                places.append(f"{name} on {cell.place}: {said}")
    if places:
        yield Finding(
            "R110", str(metric), listed(places), "the share of seeds that solved the task (`solved`), with more seeds"
        )


def _two_modes(values: list[float], least: float) -> tuple[list[float], list[float]] | None:
    x = sorted(values)
    if len(x) < 4:
        return None
    gaps = np.diff(x)
    at = int(np.argmax(gaps)) + 1
    lower, upper = x[:at], x[at:]
    width = max(lower[-1] - lower[0], upper[-1] - upper[0])
    wide = gaps[at - 1] > max(2 * width, least)
    return (lower, upper) if wide and min(len(lower), len(upper)) > 1 else None
