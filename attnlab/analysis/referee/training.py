"""Findings on how mechanisms were trained: rates, tuning, steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from attnlab.analysis.referee.case import Case, is_rate
from attnlab.analysis.standing import ALPHA, paired_p
from attnlab.analysis.statistics import t_interval
from attnlab.findings import Finding, listed
from attnlab.models.stopping import FEWEST, STILL
from attnlab.tables import setting_text

__all__ = ["edges", "tuning", "unfinished"]


# -- R101 -------------------------------------------------------------------------------------------------------------
def edges(case: Case) -> Iterator[Finding]:
    """The best rate is at the edge of its grid."""
    for column in case.tuned:
        if column in case.ok:
            yield from _edge_of_tuned(case, column)
    for column in case.rates:
        yield from _edge_of_axis(case, column)


def _numbers(values: Any) -> list[float]:
    return sorted({float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and v == v})


def _edge_of_tuned(case: Case, column: str) -> Iterator[Finding]:
    candidates = _numbers(case.tuned[column])
    if len(candidates) < 2 or not case.metrics or not len(case.learned):
        return
    rows = case.learned
    rows = pd.DataFrame(
        {
            "competitor_": case.named(rows),
            "task_": case.task_of(rows),
            "choice_": pd.to_numeric(rows[column], errors="coerce"),
        }
    )
    solved = _solved(case)
    places = []
    for (task, name), group in rows.groupby(["task_", "competitor_"], sort=False):
        choice = group["choice_"].dropna()
        for end, word in ((candidates[0], "least"), (candidates[-1], "greatest")):
            hits = int(np.isclose(choice, end).sum())
            if hits > len(choice) / 2 and (task, name) not in solved:
                places.append(f"{name} on {task}: {setting_text(end)}, the {word}, in {hits} of {len(choice)} seeds")
    if places:
        grid = ", ".join(map(setting_text, candidates))
        yield Finding(
            "R101",
            column,
            f"of the candidates {grid} the one at the edge is chosen: {listed(places)}",
            f"candidates beyond {'both ends' if len({p.split(', the ')[1][:5] for p in places}) > 1 else 'that end'} in `tune: {{{column}: ...}}`",
        )


def _solved(case: Case) -> set[tuple[str, str]]:
    """The tasks and competitors whose mean counts as solved in every test condition."""
    found: dict[tuple[str, str], bool] = {}
    for cell in case.cells(case.metrics[0]):
        for name in cell.values:
            key = (cell.task, name)
            found[key] = found.get(key, True) and case.solved(cell, case.metrics[0], name)
    return {key for key, solved in found.items() if solved}


def _edge_of_axis(case: Case, column: str) -> Iterator[Finding]:
    """Of a learning rate that is an axis of the grid: the edge is better than every other value."""
    metric = case.metrics[0] if case.metrics else ""
    sign = case.sign(metric)
    values = _numbers(case.learned[column]) if len(case.learned) else []
    if not sign or len(values) < 2:
        return
    others = [c for c in case.axes if c != column]
    places = []
    for cell in case.cells(metric, [*others, column]):
        rows = cell.rows.drop_duplicates("competitor_")
        rates: dict[str, dict[float, str]] = {}
        for name, rate, own in zip(case.named(rows, others), rows[column], rows["competitor_"], strict=True):
            if own in cell.values and isinstance(rate, (int, float)) and rate == rate:
                rates.setdefault(name, {})[float(rate)] = own
        for name, by_rate in rates.items():
            means = {rate: np.mean(list(cell.values[own].values())) for rate, own in by_rate.items()}
            best = max(means, key=lambda rate: sign * means[rate])
            if len(means) < 2 or best not in (min(means), max(means)) or case.solved(cell, metric, by_rate[best]):
                continue
            arrays = dict(zip(by_rate, cell.arrays(by_rate.values()), strict=True))
            p = [paired_p(arrays[best], arrays[rate], case.overlap(cell)) for rate in means if rate != best]
            if all(one <= ALPHA for one in p):
                word = "least" if best == min(means) else "greatest"
                places.append(f"{name} on {cell.place}: {setting_text(best)}, the {word}")
    if places:
        yield Finding(
            "R101",
            column,
            f"the best of {', '.join(map(setting_text, values))} is at the edge: {listed(places)}",
            f"values of {column} beyond that end",
        )


# -- R102 -------------------------------------------------------------------------------------------------------------
def tuning(case: Case) -> Iterator[Finding]:
    """Not tuned, or tuned unequally."""
    rows = case.learned
    rates = [
        c
        for c in rows.columns
        if c.startswith("model.") and is_rate(c) and rows[c].notna().any() and c not in case.tuned
    ]
    if "model.optimizer" in rows:
        rates = [c for c in rates if (rows["model.optimizer"] != "lbfgs").any()]
    mechanisms = [c for c in case.axes if c not in rates]
    if not mechanisms or not len(rows):
        return
    rows = rows[[*rates, *(["n_tuned"] if "n_tuned" in rows else [])]].assign(competitor_=case.named(rows, mechanisms))
    names = list(rows["competitor_"].unique())
    if len(names) < 2:
        return
    if "n_tuned" in rows and rows["n_tuned"].notna().any():
        counts = rows.groupby("competitor_", sort=False)["n_tuned"].max().dropna()
        if counts.nunique() > 1:
            said = listed([f"{name}: {n:.0f}" for name, n in counts.items()], 6)
            yield Finding(
                "R102", "number of candidates", f"candidates that were tried: {said}", "as many candidates for all"
            )
    for column in rates:
        grids = {str(name): _numbers(group) for name, group in rows.groupby("competitor_", sort=False)[column]}
        rate = next(iter(grids.values()))
        if any(grid != rate for grid in grids.values()):
            said = listed([f"{name}: {', '.join(map(setting_text, grid))}" for name, grid in grids.items()], 6)
            yield Finding("R102", column, f"the rates differ: {said}", "the same rates for all")
        elif len(rate) == 1:
            said = f"{setting_text(rate[0])} for all {len(names)} mechanisms that learn"
            candidates = ", ".join(f"{rate[0] * factor:.3g}" for factor in (1 / 3, 1, 3))
            yield Finding(
                "R102", column, f"not tuned: {said}", f"`tune: {{{column}: [{candidates}]}}`, or a grid of rates"
            )


# -- R103 -------------------------------------------------------------------------------------------------------------
def unfinished(case: Case) -> Iterator[Finding]:
    """Still improving when training stopped."""
    rows = case.learned
    if "R103" in case.settled or not len(rows) or "converged" not in rows or not case.metrics:
        return
    rows = rows[[c for c in ("run_id", "converged", "model.steps") if c in rows]]
    rows = rows.assign(competitor_=case.named(rows), task_=case.task_of(rows))
    solved = _solved(case)
    places, steps = [], set()
    for (task, name), group in rows.groupby(["task_", "competitor_"], sort=False):
        if (task, name) in solved:
            continue
        curves = (_fall(case.curves[run]) for run in group["run_id"] if run in case.curves)
        falls = [fall for fall in curves if fall is not None]
        unsettled = int((group["converged"] == False).fillna(False).sum())  # noqa: E712  a column of booleans and NA
        if len(falls) >= 3:
            mean, low, _, n = t_interval(falls)
            if mean > STILL and low > 0 and unsettled:
                places.append(f"{name} on {task}: the loss fell by {100 * mean:.1f} % ({n} seeds)")
        elif unsettled > len(group) / 2:
            places.append(f"{name} on {task}: in {unsettled} of {len(group)} seeds")
        steps |= set(group["model.steps"].dropna()) if "model.steps" in group else set()
    if places:
        after = f" after {', '.join(map(setting_text, sorted(steps)))} steps" if steps else ""
        yield Finding(
            "R103",
            f"{len(places)} of {rows.groupby(['task_', 'competitor_']).ngroups} mechanisms and tasks",
            f"in the last tenth{after} the loss still fell: {listed(places)}",
            "`--longer 4`: which verdicts change with four times the steps?",
        )


def _fall(curve: Any) -> float | None:
    """By what share the mean loss of the last tenth lies below that of the tenth before."""
    size = max(FEWEST, round(len(curve) / 10))
    if len(curve) < 2 * size:
        return None
    last, before = float(np.mean(curve[-size:])), float(np.mean(curve[-2 * size : -size]))
    return (before - last) / abs(before) if before and math.isfinite(before - last) else None
