"""Findings on what is compared with what: unequal sizes, one kind of task, a missing baseline."""

from __future__ import annotations

from collections.abc import Iterator

from attnlab.analysis.referee.case import Case
from attnlab.findings import Finding, listed
from attnlab.tables import shown

__all__ = ["baseline", "kinds_of_task", "sizes"]

UNEQUAL = {"n_parameters": 1.1, "operations_per_query": 1.5}  # the largest by the smallest
SEVERAL = 3  # settings of one kind of task
USUAL = {
    "normaliser": ("softmax",),
    "similarity": ("dot", "scaled_dot"),
    "aggregator": ("weighted_sum",),
    "position": ("none",),
    "modifier": ("none",),
    "mechanism": ("single_head",),
}


# -- R106 -------------------------------------------------------------------------------------------------------------
def sizes(case: Case) -> Iterator[Finding]:
    """Unequal parameters or operations."""
    rows = case.ok[~case.ok["run_id"].duplicated()]
    for setting in ("model.steps", "model.iterations", "model.max_iter"):
        if setting in rows:
            rows = rows[~(rows[setting] == 0)]
    mechanisms = [c for c in case.axes if not c.startswith("model")]
    if not mechanisms or not len(rows) or "n_parameters" not in rows:
        return
    models = [c for c in case.axes if c.startswith("model")]
    rows = rows.loc[~case.uniform[rows.index], [c for c in ("n_parameters", *UNEQUAL) if c in rows]]
    rows = rows.loc[:, ~rows.columns.duplicated()].assign(
        competitor_=case.named(rows, mechanisms), place_=case.named(rows, ["task", *case.task_axes, *models])
    )
    budget = case.experiment.budget if case.experiment else None
    for column, most in UNEQUAL.items():
        if budget is not None and column != budget.column:
            continue  # what is matched is one of the two
        if column not in rows or rows[column].isna().all() or not (rows["n_parameters"] > 0).any():
            continue
        places = []
        for place, group in rows.groupby("place_", sort=False):
            means = group.groupby("competitor_", sort=False)[column].mean().dropna()
            if len(means) > 1 and means.max() > most * means.min():
                least, greatest = means.idxmin(), means.idxmax()
                times = f", {means.max() / means.min():.1f} times as many" if means.min() > 0 else ""
                places.append(f"{greatest} {shown(means.max())}, {least} {shown(means.min())}{times} ({place})")
        if places:
            yield Finding(
                "R106",
                column,
                f"{listed(places)}",
                f"`budget: {{{'parameters' if column == 'n_parameters' else 'operations'}: ...}}`, which chooses widths that match",
            )


# -- R107 -------------------------------------------------------------------------------------------------------------
def kinds_of_task(case: Case) -> Iterator[Finding]:
    """One kind of task posing as many."""
    rows = case.ok
    if "task" not in rows or rows["task"].nunique() != 1:
        return
    varying = [c for c in case.task_axes if c not in case.selected]
    n_settings = len(rows[varying].drop_duplicates()) if varying else 1
    if n_settings >= SEVERAL:
        task = rows["task"].iloc[0]
        yield Finding(
            "R107",
            str(task),
            f"{n_settings} settings of the one task {task} ({', '.join(c.partition('.')[2] for c in varying)})",
            "tasks of other kinds, or a claim about each setting",
        )


# -- R112 -------------------------------------------------------------------------------------------------------------
def baseline(case: Case) -> Iterator[Finding]:
    """The baseline is missing."""
    rows = case.ok
    alone = not case.axes
    for kind, usual in USUAL.items():
        if kind not in rows or not len(rows):
            continue
        there = {
            part for value in rows[kind].dropna().astype(str).unique() for part in [value, value.rpartition(":")[2]]
        }
        varies = any(c == kind or c.startswith(f"{kind}.") for c in case.axes)
        if there and not there & set(usual) and (varies or (alone and not case.task_axes)):
            names = ", ".join(sorted(rows[kind].dropna().astype(str).unique()))
            yield Finding(
                "R112",
                kind,
                f"{kind}: {names}, and {' or '.join(usual)} is not among them",
                f"{usual[-1]} beside them, with the same settings",
            )
