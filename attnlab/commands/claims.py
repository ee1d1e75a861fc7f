"""The commands about claims: claims, index."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from attnlab.commands.longer import longer_option, print_changes, with_more_steps
from attnlab.commands.options import (
    experiment_option,
    format_option,
    plugin_options,
    store_option,
    use_plugins,
)

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.sweeps.experiment.read import Experiment

__all__ = ["claims", "index"]


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]")
@store_option
@experiment_option
@longer_option
@format_option("table", "csv", "json", "latex", "markdown")
@plugin_options
def claims(
    files: tuple[str, ...],
    store: str,
    experiment: str | None,
    times: int | None,
    form: str,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Judge claims by the results in the store: of the experiments in FILE..., or of all experiments in the store."""
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.claims import check_claims
    from attnlab.analysis.index import results_of, stored_experiments
    from attnlab.sweeps.pipeline import distinct

    if files and experiment is not None:
        raise click.UsageError("give FILE... or --experiment NAME, not both")
    unreadable: dict[str, str] = {}
    if files:
        found = distinct(files)
    else:
        found, unreadable = stored_experiments(store, experiment)
    if times:
        print_changes(with_more_steps(found, times), store, times, form)
        return 1 if unreadable else 0
    _print_all([(one, check_claims(frame, one)) for one, frame in results_of(found, store)], form)
    if not found and not unreadable:
        print(f"attnlab: {store}: this store has no experiments, so there are no claims", file=sys.stderr)
    from attnlab.tables import visible

    for name, problem in unreadable.items():
        said = (
            f"attnlab: {name}: its claims were not judged, because its text in the store cannot be read here; give "
            f"--plugin FILE.py or FILE.yaml\n{textwrap.indent(problem, '  ')}"
        )
        print(visible(said), file=sys.stderr)
    return 1 if unreadable else 0


def _print_all(tables: Sequence[tuple[Experiment, pd.DataFrame]], form: str) -> None:
    """Print the claims: a table for each experiment for people, one table for programs and for paper."""
    import pandas as pd

    from attnlab.analysis.claims import COLUMNS
    from attnlab.tables import print_frame

    if form == "table":
        for one, table in tables:
            click.echo(f"\n{one.name}: {one.question}")
            if len(table):
                print_claims(table)
            else:
                click.echo("no claims: `claims:` in the file says what should come out (docs/claims.md)")
        return
    named = [table.assign(experiment=one.name)[["experiment", *COLUMNS]] for one, table in tables if len(table)]
    whole = pd.concat(named, ignore_index=True) if named else pd.DataFrame(columns=["experiment", *COLUMNS])
    if form in ("csv", "json"):
        print_frame(whole, form)
        return
    from attnlab.analysis.presentation import paper_claims, paper_table

    short = paper_claims(whole)
    if len(named) > 1:
        short.insert(0, "experiment", whole["experiment"])
    click.echo(paper_table(short, form))
    print("attnlab: the reasons are left out, to fit on paper; --format csv has them", file=sys.stderr)


def warn_of(experiments: Iterable[Experiment]) -> None:
    """Say which claims can compare nothing, whatever the results will be, each with its place in the file."""
    from attnlab.tables import visible

    for experiment in experiments:
        for warning in experiment.warnings:
            print(f"attnlab: warning: {visible(warning)}", file=sys.stderr)


def print_claims(table: pd.DataFrame) -> None:
    """Print a table of `check_claims` for people."""
    from attnlab.analysis.presentation import compact_claims
    from attnlab.sweeps.predictions import BEFORE
    from attnlab.tables import print_table, visible

    click.echo()
    caption = "claims; mean over n seeds and 95 % t interval, low to high"
    if table["doubtful"].any():
        caption += "; doubtful: that it is seldom wrong is not assured, as the reason says"
    short = compact_claims(table)
    order = ("verdict", "mark", "say", "effect", "low", "high", "claimed", "reason", "metric", "n", "written")
    print_table(short, caption, order)
    if early := int((table["written"] == BEFORE).sum()):
        click.echo(f"{BEFORE}: {'all' if early == len(table) else f'{early} of'} {len(table)} claims")
    for row in table.to_dict("records"):
        if row.get("change"):
            click.echo(visible(f"{row['written']}: {row['say']}: {row['change']}"))
    for note in table.attrs.get("registered", ()):
        click.echo(visible(note))


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@store_option
@click.option(
    "-o", "--output", required=True, metavar="FILE.md", help="The page. Its pictures go to pictures/ beside it."
)
@plugin_options
def index(
    files: tuple[str, ...], store: str, output: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]
) -> int:
    """Write the index of experiments: question, claims with their verdicts, and a picture of each experiment."""
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.index import results_of, write_index
    from attnlab.sweeps.pipeline import distinct

    for note in write_index(results_of(distinct(files), store), output):
        print(f"attnlab: {note}", file=sys.stderr)
    return 0
