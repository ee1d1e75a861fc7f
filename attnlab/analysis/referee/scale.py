"""Findings on what the metrics can show: saturated, worse than uniform, of another direction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from attnlab.analysis.measures import ALMOST, GUESSED, chance_of, is_per_run
from attnlab.analysis.referee.case import Case, Cell
from attnlab.analysis.standing import ALPHA, paired_p
from attnlab.analysis.statistics import holm, t_interval
from attnlab.findings import Finding, listed
from attnlab.tables import shown

__all__ = ["directions", "saturation", "worse_than_uniform"]

ALIKE = 0.02  # of the range of a metric: means that differ by no more


# -- R104 -------------------------------------------------------------------------------------------------------------
def saturation(case: Case) -> Iterator[Finding]:
    """The metric cannot discriminate."""
    for metric in case.metrics[:1]:
        low, high = case.bounds(metric)
        sign = case.sign(metric)
        if not sign or is_per_run(metric) or not (math.isfinite(low) or math.isfinite(high)):
            continue
        found: dict[str, list[tuple[str, str]]] = {}
        for cell in case.cells(metric):
            if len(cell.values) > 1:
                found.setdefault(cell.kind, []).append((cell.place, _stuck(case, cell, metric)))
        for task, each in found.items():
            stuck = [f"{place}: {why}" for place, why in each if why]
            if 2 * len(stuck) >= len(each):
                yield Finding(
                    "R104",
                    f"{metric} on {task}",
                    f"all mechanisms are alike on {len(stuck)} of {len(each)} settings and test conditions: {listed(stuck)}",
                    "a harder task" if "best" in stuck[0] else "an easier task, or more steps",
                )


def _stuck(case: Case, cell: Cell, metric: str) -> str:
    """Where all means of a cell lie together: at the best end, the worst, or what guessing gets; '' if they do not."""
    (low, high), up = case.bounds(metric), case.sign(metric) > 0
    means = [float(np.mean(list(values.values()))) for values in cell.values.values()]
    ends = {"at the best value": high if up else low, "at the worst value": low if up else high}
    if metric == GUESSED:
        ends["at what guessing gets"] = chance_of(cell.rows, cell.condition)
    span = high - low
    if not math.isfinite(span):
        return "at the best value" if not up and max(means) <= 1e-9 and low == 0 else ""
    if max(means) - min(means) > ALIKE * span:
        return ""
    for word, end in ends.items():
        if math.isfinite(end) and all(abs(mean - end) <= ALMOST * span for mean in means):
            return f"{word}, {shown(min(means))} to {shown(max(means))}"
    return ""


# -- R105 -------------------------------------------------------------------------------------------------------------
def worse_than_uniform(case: Case) -> Iterator[Finding]:
    """Worse than uniform weights."""
    for metric in case.metrics:
        sign = case.sign(metric)
        if not sign or is_per_run(metric):
            continue
        places = []
        compared = 0
        for cell in case.cells(metric):
            compared += len(cell.values)
            places += list(_below_uniform(case, cell, metric, sign))
        if places:
            yield Finding(
                "R105",
                f"{len(places)} of {compared} on {metric}",
                f"worse than uniform weights: {listed(places)}",
                "a look at the weights (`attnlab plot alignment`), the loss curve and the rate",
            )


def _uniform(case: Case, cell: Cell) -> list[str]:
    """The competitors of a cell that attend to all keys alike."""
    found = (name for i, name in zip(cell.at, cell.competitors, strict=True) if case.uniform[i])
    return [name for name in dict.fromkeys(found) if name in cell.values]


def _below_uniform(case: Case, cell: Cell, metric: str, sign: int) -> Iterator[str]:
    uniform = _uniform(case, cell)
    others = [name for name in cell.values if name not in uniform]
    if uniform:
        arrays = cell.arrays([*uniform, *others])
        each = np.array(arrays[: len(uniform)])
        there = np.isfinite(each)
        base = np.where(there, each, 0.0).sum(axis=0) / np.where(there.any(axis=0), there.sum(axis=0), np.nan)
        shared: dict[
            str, tuple[Any, Any]
        ] = {}  # its values and those of uniform weights, in the seeds in which both are finite
        for name, v in zip(others, arrays[len(uniform) :], strict=True):
            both = np.isfinite(v) & np.isfinite(base)
            shared[name] = v[both], base[both]
        worse = [n for n, (v, b) in shared.items() if len(v) and sign * float(np.mean(v) - np.mean(b)) < 0]
        p = {name: paired_p(*shared[name], case.overlap(cell)) for name in worse}
        tested = [name for name in p if p[name] == p[name]]
        for name, adjusted in zip(tested, holm([p[name] for name in tested]) if tested else [], strict=True):
            if adjusted <= ALPHA:
                v, b = shared[name]
                yield f"{name} on {cell.place}: {shown(float(np.mean(v)))}, uniform {shown(float(np.mean(b)))}"
        return
    chance = chance_of(cell.rows, cell.condition) if metric == GUESSED else math.nan
    for name in others if chance == chance else ():
        mean, _, high, n = t_interval(list(cell.values[name].values()), overlap=case.overlap(cell))
        if n > 1 and high < chance - 1e-9:
            yield f"{name} on {cell.place}: {shown(mean)}, by guessing {shown(chance)}"


# -- R115 -------------------------------------------------------------------------------------------------------------
def directions(case: Case) -> Iterator[Finding]:
    """A metric of another direction."""
    for judged in case.judgements:
        claim = judged.claim
        if claim.form == "better" and not case.sign(claim.metrics[0]):
            yield Finding(
                "R115",
                f"claim: {claim.say}",
                f"it says better by {claim.metrics[0]}, which has no better direction, so that higher counts as better",
                "a metric with a direction, or `at_least` and `at_most`",
            )
        if claim.form == "correlation" and claim.at_least is None and claim.at_most is None:
            signs = {metric: case.sign(metric) for metric in claim.metrics}
            if sorted(signs.values()) == [-1, 1]:
                yield Finding(
                    "R115",
                    f"claim: {claim.say}",
                    f"of {' and '.join(claim.metrics)} one is better higher and the other lower: if they agree, they correlate below 0",
                    "a bound that says which sign is meant, such as `at_most: -0.5`",
                )
    if not case.metrics:
        return
    first = case.metrics[0]
    if not case.sign(first) and not is_per_run(first):
        if not case.judgements and case.axes:
            yield Finding(
                "R115",
                first,
                "the metric that ranks has no better direction, and no claim says what is expected of it",
                "a first metric with a direction, or claims",
            )
        return
    yield from _reversed(case, first)


def _reversed(case: Case, first: str) -> Iterator[Finding]:
    """The best by the first metric beats some; by another metric these beat it."""
    others = [m for m in case.metrics[1:] if case.sign(m) and not is_per_run(m)]
    by_place = {m: {cell.place: cell for cell in case.cells(m)} for m in (first, *others)}
    for metric in others:
        places = []
        for place, cell in by_place[first].items():
            other = by_place[metric].get(place)
            names = [name for name in cell.values if other is not None and name in other.values]
            if other is None or len(names) < 2:
                continue
            one, two = cell.arrays(names), other.arrays(names)
            best = max(range(len(names)), key=lambda i: case.sign(first) * float(np.nanmean(one[i])))
            rest = [i for i in range(len(names)) if i != best]
            beaten = _beats(case, cell, [(one[best], one[i]) for i in rest], case.sign(first))
            beats = _beats(case, cell, [(two[i], two[best]) for i in rest], case.sign(metric))
            for i, won, lost in zip(rest, beaten, beats, strict=True):
                if won and lost:
                    places.append(f"{names[best]} beats {names[i]} on {place}")
        if places:
            yield Finding(
                "R115",
                f"{first} and {metric}",
                f"by {first} {listed(places)}; by {metric} it is the other way round",
                "both metrics in the conclusion, or the one that the question is about",
            )


def _beats(case: Case, cell: Cell, pairs: list[tuple[np.ndarray, np.ndarray]], sign: int) -> list[bool]:
    p = [paired_p(a, b, case.overlap(cell)) for a, b in pairs]
    p = [1.0 if one != one else one for one in p]
    return [
        bool(adjusted <= ALPHA and sign * (np.nanmean(a) - np.nanmean(b)) > 0)
        for adjusted, (a, b) in zip(holm(p), pairs, strict=True)
    ]
