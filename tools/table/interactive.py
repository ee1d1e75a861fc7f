"""The Attention Table as an interactive page: a report whose first chapter ranks all mechanisms on all tasks by their skill."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

import attnlab
from attnlab.analysis.report import Chapter, Section, collect, cost_plot, write_report
from attnlab.analysis.report.book import Comparison
from attnlab.analysis.report.curves_and_weights import Lookback
from attnlab.analysis.statistics import t_interval
from attnlab.analysis.summary import summarise
from tools.table import variance
from tools.table.page import NORMALISERS, OF_COST, OF_FAMILIES, SIMILARITIES, conclusions, families, variance_tables
from tools.table.scores import BASELINE, LOWEST, SOLVED, Table

__all__ = ["write_interactive"]

NAME = "all tasks"
QUESTION = "Which mechanism finds what it should, by content and by order, after equal training?"
SHOWN = ("skill", "context_error", "accuracy", "alignment_accuracy")
FACTS = ("status", "reason", "fit_seconds", "n_parameters", "operations_per_query")


class Skill(attnlab.Metric):
    """1 is no error, and 0 the error of uniform weights on the same examples."""

    name = "skill"
    direction = "up"
    bounds = (LOWEST, 1.0)

    def measure(self, W: Any) -> float:
        raise NotImplementedError("it is computed from a whole table")


def write_interactive(store: str, table: Table, costs: pd.DataFrame, output: str) -> int:
    """Write the page, and return its size in bytes; a page that is there is replaced. `costs` is what `frontier` gives."""
    attnlab.register(Skill)
    book = collect(store)
    chapters = [_all_tasks(table, costs), *book.chapters]
    return write_report(dataclasses.replace(book, chapters=chapters), output, force=True)


def _all_tasks(table: Table, costs: pd.DataFrame) -> Chapter:
    shown = [m for m in SHOWN if m in table.frame and table.frame[m].notna().any()]
    frame = table.frame.assign(
        experiment=NAME, mechanism=table.frame["competitor"], skill=table.frame["skill"].round(9)
    )
    frame = frame.reset_index(drop=True)
    frame = frame[["experiment", "run_id", "task", "mechanism", "seed", "test", *shown, *FACTS]]
    frame.attrs = {}
    return Chapter(
        name=NAME,
        question=QUESTION,
        source=f"Skill: 1 is no error, 0 the error of uniform weights on the same examples; solved is {SOLVED} and more. docs/table.md "
        "says what can be concluded.",
        text="",
        linked_at="",
        n_planned=frame["run_id"].nunique(),
        frame=frame,
        metrics=shown,
        points=["task", "mechanism"],
        ranking=summarise(frame, shown, by=["task", "mechanism"], standing=True).drop(
            columns="chance", errors="ignore"
        ),
        claims=None,
        claims_problem="",
        comparisons=[_against_baseline(frame, table)],
        failures=[],
        notes=[],
        lookback=Lookback(),
        more=_sections(table, costs),
    )


def _sections(table: Table, costs: pd.DataFrame) -> list[Section]:
    """What docs/table.md says of all tasks together."""
    grid = table.grid(SIMILARITIES, NORMALISERS)
    bounds = variance.intervals(grid) if len(table.seeds) > 1 else {}
    said = [
        line.replace("R103, below,", "R103, in docs/table.md,")
        for line in conclusions(table, grid, bounds.get("within", {}))
    ]
    plot = cost_plot(costs, "skill", "operations_per_query")
    return [
        Section("What can be concluded", points=said),
        Section(
            "Which part explains what",
            tables=[
                (above.replace("*", ""), columns, [False, *[True] * (len(columns) - 1)])
                for above, columns in variance_tables(table, grid, bounds)
            ],
        ),
        Section("Families", [OF_FAMILIES], tables=[("", families(table), [False, True, True, True, True])]),
        *([Section("Quality and cost", [OF_COST], plot=plot)] if plot else []),
    ]


def _against_baseline(frame: pd.DataFrame, table: Table) -> Comparison:
    """Each mechanism over all tasks: mean with interval, share solved, and on how many tasks it is shown to differ."""
    found = attnlab.compare(frame, "skill", "mechanism", BASELINE)
    marks = table.verdicts()
    place = [table.mechanisms.index(name) for name in found["mechanism"]]
    intervals = [
        t_interval(table.skill[i].mean(axis=0)) for i in place
    ]  # over seeds, for these tasks, as in docs/table.md
    found = found.assign(
        low=[low for _, low, _, _ in intervals],
        high=[high for _, _, high, _ in intervals],
        solved=[(table.skill[i] >= SOLVED).mean() for i in place],
        better_tasks=[int((marks[i] > 0).sum()) for i in place],
        worse_tasks=[int((marks[i] < 0).sum()) for i in place],
        operations=[table.cost[i].mean() for i in place],
    )
    said = (
        f"The mean skill over all {len(table.tasks)} tasks, with Student's interval over seeds; improvement and p_holm are of the difference "
        f"to {BASELINE}. better_tasks and worse_tasks count the tasks on which it is "
        "shown to be better or worse (paired t tests over seeds, Holm within the task, 5 %); solved is the share of runs with a skill of "
        f"{SOLVED} and more, operations those for one query. What is not shown to differ need not be equal."
    )
    return Comparison("skill", "mechanism", found, None, said)
