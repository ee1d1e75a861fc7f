"""What `--longer N` of `sweep` and `claims` does: the same experiments with N times the steps, and which verdicts that changes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.sweeps.experiment.read import Experiment

__all__ = ["longer_option", "print_changes", "with_more_steps"]

Pairs = Sequence[tuple["Experiment", "Experiment"]]

longer_option = click.option(
    "--longer",
    "times",
    type=click.IntRange(min=2),
    metavar="N",
    help="Also with N times the steps of each model: which verdicts does that change?",
)


def with_more_steps(experiments: Sequence[Experiment], times: int) -> list[tuple[Experiment, Experiment]]:
    """Each experiment with itself at so many times the steps; stderr names those that have none to multiply.

    What a store has of an earlier `--longer` is not lengthened again.
    """
    from attnlab.sweeps.experiment.longer import longer

    found = [(experiment, longer(experiment, times)) for experiment in experiments]
    made = {more.name for _, more in found if more is not None}
    pairs = []
    for experiment, more in found:
        if experiment.name in made:
            continue
        if more is None:
            print(f"attnlab: {experiment.name}: no model has steps to multiply by {times}", file=sys.stderr)
        else:
            pairs.append((experiment, more))
    return pairs


def print_changes(pairs: Pairs, store: str, times: int, form: str = "changes") -> None:
    """Print the verdicts beside those with more steps: only the `changes`, or all in one of the formats of `attnlab claims`."""
    from attnlab.analysis.index import results_of
    from attnlab.analysis.longer import verdicts_with_more_steps
    from attnlab.tables import print_frame, print_table

    found, more = (list(results_of([pair[i] for pair in pairs], store)) for i in (0, 1))
    table = verdicts_with_more_steps(found, more)
    changed = table[table["changes"].astype(bool)]
    if form in ("csv", "json"):
        print_frame(table, form)
        return
    said = f"{len(changed)} of {len(table)} verdicts change with {times} times the steps"
    short = _short(changed if form == "changes" else table, times)
    if form in ("latex", "markdown"):
        from attnlab.analysis.presentation import paper_table

        click.echo(paper_table(short, form))
        print(f"attnlab: {said}; the reasons are left out, --format csv has them", file=sys.stderr)
        return
    click.echo()
    if len(short):
        print_table(short, said)
    else:
        click.echo(said)


def _short(table: pd.DataFrame, times: int) -> pd.DataFrame:
    """The columns for people: what was claimed, and the verdict with its effect before and after."""
    from attnlab.tables import shown

    people = table[["experiment", "say", "metric"]].rename(columns={"say": "claim"})
    for prefix, name in (("", "verdict"), ("longer_", f"with {times} times the steps")):
        columns = (table[f"{prefix}{column}"] for column in ("verdict", "effect", "low", "high"))
        people[name] = [
            f"{verdict}, {shown(effect)} [{shown(low)}, {shown(high)}]"
            for verdict, effect, low, high in zip(*columns, strict=True)
        ]
    return people
