"""The command `attnlab referee`, and its few lines under the table of a sweep."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from attnlab.commands.options import STORE, experiment_option, format_option, plugin_options, store_option, use_plugins

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.analysis.referee.judging import Report
    from attnlab.sweeps.experiment.read import Experiment

__all__ = ["print_short", "referee"]


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]")
@store_option
@experiment_option
@click.option("--strict", is_flag=True, help="Exit status 1 if there is a finding that no file allows.")
@format_option("table", "csv", "json", "markdown", "latex")
@plugin_options
def referee(
    files: tuple[str, ...],
    store: str,
    experiment: str | None,
    strict: bool,
    form: str,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """What a sceptical reader would object to in the results, and what would settle it: coded findings.

    Of the experiments in FILE..., or of all in the store. Nothing is run. A finding is no failure: the exit status is 0, unless
    --strict is given. A file allows a finding by `allow: [{code: R107, why: ...}]`.

    \b
    attnlab referee
    attnlab referee experiments/divisor.yaml --strict
    attnlab referee --format json
    """
    if files and experiment is not None:
        raise click.UsageError("give FILE... or --experiment NAME, not both")
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.index import results_of, stored_experiments
    from attnlab.analysis.referee.judging import reported, table_of
    from attnlab.analysis.referee.stored import Stored
    from attnlab.sweeps.pipeline import distinct
    from attnlab.tables import visible

    unreadable: dict[str, str] = {}
    if files:
        found = distinct(files)
    else:
        found, unreadable = stored_experiments(store, experiment)
    stored = Stored(store)
    reports = [reported(one.name, frame, one, stored) for one, frame in results_of(found, store)]
    table = table_of(reports)
    _print(found, reports, table, form)
    for name, problem in unreadable.items():
        said = (
            f"attnlab: {name}: not refereed, because its text in the store cannot be read here; give --plugin FILE.py or "
            f"FILE.yaml\n{textwrap.indent(problem, '  ')}"
        )
        print(visible(said), file=sys.stderr)
    return 1 if unreadable or (strict and len(table)) else 0


def _print(found: Sequence[Experiment], reports: Sequence[Report], table: pd.DataFrame, form: str) -> None:
    from attnlab.tables import print_frame, visible

    if form in ("csv", "json"):
        print_frame(table, form)
    elif form in ("markdown", "latex"):
        from attnlab.analysis.presentation import paper_table

        click.echo(paper_table(table[["experiment", "code", "finding", "where", "seen"]], form))
    for one, report in zip(found, reports, strict=True):
        if form == "table":
            _print_report(one, report)
        for note in [*report.notes, *(f"allow: {code} is not found; leave it out" for code in report.unused)]:
            print(visible(f"attnlab: {one.name}: {note}"), file=sys.stderr)
    n_allowed = sum(len(report.allowed) for report in reports)
    allowed = f", {n_allowed} allowed" if n_allowed else ""
    print(
        f"attnlab: {_counted(len(table), 'finding')}{allowed}, in {_counted(len(reports), 'experiment')}; docs/referee/ explains the codes",
        file=sys.stderr,
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _print_report(experiment: Experiment, report: Report) -> None:
    from attnlab.tables import visible

    width = min(120, shutil.get_terminal_size((120, 24)).columns)
    click.echo(visible(f"\n{experiment.name}: {experiment.question}"))
    if not report.findings:
        click.echo("  nothing found")

    def block(text: str, first: str, rest: str = " " * 6) -> None:
        click.echo(
            visible(textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False))
        )

    for finding in report.findings:
        block(f"{finding.title} ({finding.where})", f"{finding.code}  ")
        block(finding.seen, " " * 6)
        block(f"settle: {finding.settle}", " " * 6)
    for finding, why in report.allowed:
        block(f"allowed, {why or 'without a reason'}: {finding.title} ({finding.where})", f"{finding.code}  ")


def print_short(experiment: Experiment, report: Any, store: str) -> None:
    """The findings of a report on an experiment, in a line or two under its table."""
    from attnlab.plugins import FILE, plugins
    from attnlab.tables import visible

    titles = dict.fromkeys((finding.code, finding.title) for finding in report.findings)
    if not titles:
        return
    where = f" --experiment {experiment.name}" if experiment.path is None else f" {experiment.path}"
    where += "" if store == STORE else f" --store {store}"
    where += "".join(
        f" --plugin {shlex.quote(os.path.relpath(p.where))}" for p in plugins().records if p.distribution == FILE
    )
    said = "; ".join(f"{code} {title}" for code, title in titles)
    click.echo(visible(f"referee: {said}. `attnlab referee{where}` says more"))
