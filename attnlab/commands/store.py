"""The commands `attnlab store ...`: care for the file of results."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from attnlab.commands.options import WholeHelp, format_option, store_option

if TYPE_CHECKING:
    from attnlab.sweeps.upkeep.contents import Finding

__all__ = ["store"]


@click.group(cls=WholeHelp)
def store() -> None:
    """Care for the store: look for damage, save what is whole, join stores, hand a part on, make it smaller."""


def _output(form: str) -> Any:
    return click.option("-o", "--output", required=True, metavar="FILE", help=form)


@store.command()
@store_option
@format_option("table", "csv", "json")
def verify(store: str, form: str) -> int:
    """Look at every row, and list what is damaged or cannot be used. Exit status 1 if there is any."""
    import pandas as pd

    from attnlab.sweeps.upkeep.contents import contents_of
    from attnlab.tables import print_frame, print_table

    contents = contents_of(store)
    frame = pd.DataFrame(contents.findings, columns=["table", "key", "what"])
    if form != "table":
        print_frame(frame, form)
    elif len(frame):
        print_table(frame)
    n_runs, n_experiments = len(contents.runs), len(contents.experiments)
    said = f"{n_runs} runs and {n_experiments} experiments are whole, {len(frame)} findings"
    advice = "; `attnlab store repair` writes all that is whole to a new file" if len(frame) else ""
    print(f"attnlab: {store}: {said}{advice}", file=sys.stderr)
    return 1 if len(frame) else 0


def _answered(question: str) -> bool:
    """Whether somebody says yes; the end of the input is a no."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        print("\nattnlab: there is nobody to answer; --yes does not ask", file=sys.stderr)
        return False


def _print_left_out(findings: Iterable[Finding]) -> None:
    from attnlab.tables import visible

    for one in findings:
        print(visible(f"attnlab: left out: {one.table} {one.key}: {one.what}"), file=sys.stderr)


@store.command()
@store_option
@_output("The new store; it must not exist.")
def repair(store: str, output: str) -> int:
    """Write all that is whole to a new store. The old file is never touched."""
    from attnlab.sweeps.upkeep.moves import repair

    contents = repair(store, output)
    _print_left_out(contents.findings)
    n_runs, n_experiments = len(contents.runs), len(contents.experiments)
    print(f"attnlab: {output} has {n_runs} runs and {n_experiments} experiments; {store} is as it was", file=sys.stderr)
    return 0


@store.command()
@click.argument("into", metavar="INTO")
@click.argument("sources", nargs=-1, required=True, metavar="STORE...")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-6,
    show_default=True,
    metavar="X",
    help="Numbers of the same run are equal if they differ by at most X times the larger of 1 and the two.",
)
def merge(into: str, sources: tuple[str, ...], tolerance: float) -> int:
    """Add what the other stores hold to INTO, which is made if there is none. Exit status 1 if numbers differ.

    The same run in both: the first is kept. If its numbers differ by more than the tolerance, both are named. A result takes the
    place of a failure.
    """
    from attnlab.sweeps.upkeep.moves import RULE, merge
    from attnlab.tables import visible

    done = merge(into, sources, tolerance)
    _print_left_out(done.findings)
    for key, name in done.renamed.items():
        print(visible(f"attnlab: the experiment {key} with another text was added as {name}"), file=sys.stderr)
    for c in done.conflicts:
        click.echo(visible(f"{c.run_id}\t{c.where}\t{c.first}\t{c.second}\t{c.store}"))
    if done.conflicts:
        print(f"attnlab: {len(done.conflicts)} runs differ. The rule: {RULE}", file=sys.stderr)
    counts = f"{done.added} runs added, {done.replaced} failures replaced by results, {done.same} there already"
    print(f"attnlab: {into}: {counts}", file=sys.stderr)
    return 1 if done.conflicts or done.findings else 0


@store.command()
@store_option
@click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="Only the runs of this one; may be given again."
)
@_output("The new file: .jsonl is one run a line, anything else a store.")
def export(store: str, experiments: tuple[str, ...], output: str) -> int:
    """Write the runs of some experiments, or all, to a new file, to hand on or to keep."""
    from attnlab.sweeps.upkeep.moves import export

    n_runs = export(store, output, experiments)
    print(f"attnlab: {output} has {n_runs} runs", file=sys.stderr)
    return 0


@store.command()
@store_option
def vacuum(store: str) -> int:
    """Make the file as small as what it holds."""
    from attnlab.sweeps.upkeep.moves import vacuum

    before, after = vacuum(store)
    print(f"attnlab: {store}: {before} bytes before, {after} bytes now", file=sys.stderr)
    return 0


@store.command()
@store_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def gc(store: str, yes: bool) -> int:
    """Delete the runs that no experiment names, after asking."""
    from attnlab.sweeps.upkeep.moves import collect_garbage, unnamed
    from attnlab.tables import visible

    found = unnamed(store)
    if not found:
        print(f"attnlab: {store}: an experiment names each run", file=sys.stderr)
        return 0
    click.echo(visible("\n".join(found)))
    if not yes and not _answered(f"Delete these {len(found)} runs of {store}?"):
        print("attnlab: nothing was deleted", file=sys.stderr)
        return 1
    print(f"attnlab: {store}: {collect_garbage(store, found)} runs were deleted", file=sys.stderr)
    return 0
