"""The command `attnlab diff`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from attnlab.commands.options import experiment_option, format_option, plugin_options, use_plugins

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["diff"]


@click.command()
@click.argument("first", metavar="A.db")
@click.argument("second", metavar="B.db")
@experiment_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-6,
    show_default=True,
    metavar="X",
    help="Numbers are equal if they differ by at most X times the larger of 1 and the two.",
)
@click.option("--all", "everything", is_flag=True, help="Also what did not move.")
@click.option("--strict", is_flag=True, help="Exit status 1 if anything moved.")
@format_option("table", "csv", "json", "markdown")
@plugin_options
def diff(
    first: str,
    second: str,
    experiment: str | None,
    tolerance: float,
    everything: bool,
    strict: bool,
    form: str,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Which verdicts and effects moved between two stores: of each claim, and of each row of the tables.

    Experiments are the same if they have the same name; each is judged as its own store has it. The exit status is 0, unless
    --strict is given.
    """
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.index import results_of, stored_experiments
    from attnlab.analysis.moved import moved, summary_of
    from attnlab.errors import UnknownName
    from attnlab.sweeps.rows import as_text
    from attnlab.tables import print_frame, print_table, visible

    sides, missed = [], 0
    for store in (first, second):
        found, unreadable = stored_experiments(store)
        found = [one for one in found if experiment in (None, one.name)]
        unreadable = {name: why for name, why in unreadable.items() if experiment in (None, name)}
        sides.append({one.name: (one, frame) for one, frame in results_of(found, store)})
        for name, problem in unreadable.items():
            said = f"attnlab: {store}: {name}: not compared, its text cannot be read here: {problem}"
            print(visible(said), file=sys.stderr)
        missed += len(unreadable)
    if experiment is not None and not any(sides) and not missed:
        raise UnknownName(f"no experiment {experiment!r} in {first} or {second}")
    table = moved(sides[0], sides[1], tolerance)
    changed = table[table["moved"] != ""]
    shown = table if everything else changed
    if form in ("csv", "json"):
        print_frame(shown, form)
    else:
        people = shown[["experiment", "what", "metric", "moved"]].copy()
        for side, name in (("a", first), ("b", second)):
            heading = as_text(name)  # a name may be no text
            people[f"{heading} ({side})" if heading in people else heading] = _effects(shown, side)
        if form == "markdown":
            from attnlab.analysis.presentation import paper_table

            click.echo(paper_table(people, form))
        elif len(people):
            print_table(people)
    print(f"attnlab: {'; '.join(summary_of(table)) or 'nothing to compare'}", file=sys.stderr)
    return 1 if missed or (strict and len(changed)) else 0


def _effects(table: pd.DataFrame, side: str) -> list[str]:
    """Verdict and effect with its interval, as people read them."""
    from attnlab.tables import shown

    columns = (table[f"{c}_{side}"] for c in ("verdict", "effect", "low", "high", "n"))
    return [
        f"{f'{verdict}, ' if verdict else ''}{shown(effect)} [{shown(low)}, {shown(high)}] n={n}" if n else "–"
        for verdict, effect, low, high, n in zip(*columns, strict=True)
    ]
