"""The command `attnlab compare`."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from attnlab.commands.completion import complete_metrics
from attnlab.commands.options import experiment_option, output_format, plugin_options, store_option, use_plugins
from attnlab.writing import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.analysis.papers import TaskTable

__all__ = ["compare"]

FORMS = ("table", "csv", "json", "latex", "markdown")
MOST_THRESHOLDS = 21  # of a performance profile for people
LATE = (
    "won/tied/lost",
    "mean",
    "n_tasks",
    "iqm",
    "P(improvement)",
    "rank-biserial",
)  # a narrow terminal omits them first


@click.command()
@click.argument("metric", shell_complete=complete_metrics)
@click.option(
    "--by",
    required=True,
    metavar="COLUMNS",
    help="The columns that tell competitors apart: similarity, or similarity,normaliser.",
)
@click.option("--baseline", metavar="NAME", help="The competitor that the others are compared with.")
@click.option(
    "--pairs", is_flag=True, help="Compare all pairs: a matrix of adjusted p values (csv, json: one row a pair)."
)
@click.option(
    "--profile", is_flag=True, help="The performance profile: the share of tasks at least as good as a threshold."
)
@click.option(
    "--table",
    "for_paper",
    is_flag=True,
    help="A table for papers: competitors by tasks, mean and spread over seeds, the best of each task, and what is not shown to "
    "differ from it.",
)
@click.option(
    "--missing",
    type=click.Choice(["error", "complete-tasks", "worst-rank"]),
    default="error",
    show_default=True,
    help="What to do about missing runs.",
)
@click.option("--rope", type=float, metavar="X", help="Differences up to X do not matter; this adds the Bayesian test.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Family-wise error.")
@click.option(
    "--unit",
    type=click.Choice(["setting", "task"]),
    help="The replicate: a task with its settings and test condition, or a task averaged over them. The second where there "
    "are enough tasks for a finding, and else the first.",
)
@click.option("--direction", type=click.Choice(["up", "down"]), help="Which way is better, if the metric does not say.")
@store_option
@experiment_option
@click.option("-o", "--output", metavar="FILE", help="Write here; .csv, .json, .md or .tex says the form.")
@output_format(*FORMS)
@plugin_options
def compare(
    metric: str,
    by: str,
    baseline: str | None,
    pairs: bool,
    profile: bool,
    for_paper: bool,
    missing: str,
    rope: float | None,
    alpha: float,
    unit: str | None,
    direction: str | None,
    store: str,
    experiment: str | None,
    output: str | None,
    form: str | None,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Compare competitors on METRIC over tasks, with tests, intervals and a conclusion in words.

    \b
    attnlab compare alignment_accuracy --by similarity --baseline scaled_dot
    attnlab compare context_error --by similarity,normaliser --pairs
    attnlab compare alignment_accuracy --by similarity --profile
    attnlab compare alignment_accuracy --by similarity --table -o table.tex
    """
    if pairs and baseline is not None:
        raise click.UsageError("--pairs compares every competitor with every other; leave --baseline out")
    if profile and (pairs or baseline is not None or rope is not None):
        raise click.UsageError("--profile makes no test; leave --pairs, --baseline and --rope out")
    if for_paper and (pairs or profile or baseline is not None or rope is not None):
        raise click.UsageError(
            "--table compares with the best of each task; leave --pairs, --profile, --baseline and --rope out"
        )
    from attnlab.tables import check_new, form_of

    form = form_of(form, output, FORMS)
    if output is not None:
        check_new(output)
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.compare import compare as compared
    from attnlab.analysis.compare import pairwise, performance_profile
    from attnlab.analysis.presentation import compact
    from attnlab.sweeps.frame import load_results

    frame = load_results(store, experiment=experiment)
    columns = [column.strip() for column in by.split(",")]
    for_programs = form in ("csv", "json")
    replicates = {"missing": missing, "unit": unit, "direction": direction}
    judged = {**replicates, "rope": rope, "alpha": alpha}
    with _into(output):
        if for_paper:
            from attnlab.analysis.papers import task_table

            _print_for_paper(task_table(frame, metric, columns, alpha=alpha, **replicates), form)  # type: ignore[arg-type]
            return 0
        if profile:
            table = performance_profile(frame, metric, columns, **replicates)  # type: ignore[arg-type]
            _print(table.reset_index() if for_programs else _fewer(table).reset_index(), form)
            return 0
        if pairs:
            table = pairwise(frame, metric, columns, tidy=for_programs, **judged)  # type: ignore[arg-type]
        else:
            table = compared(frame, metric, columns, baseline, **judged)  # type: ignore[arg-type]
        _print(table if for_programs else compact(table), form)
        for reason in table.attrs.get("no_p_value", []) if not for_programs else []:
            click.echo(f"no p value (–): {reason or 'there are too few tasks'}", err=form != "table")
        if form == "table":
            width = min(shutil.get_terminal_size().columns, 120)
            click.echo("\n" + textwrap.fill(table.attrs["conclusion"], width))
    return 0


@contextlib.contextmanager
def _into(output: str | None) -> Iterator[None]:
    """What is printed within goes to a file, if there is one, and only if nothing fails."""
    if output is None:
        yield
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    write_whole(output, printed.getvalue())


def _print_for_paper(table: TaskTable, form: str) -> None:
    from attnlab.tables import print_frame

    if form in ("csv", "json"):
        print_frame(table.to_frame(), form)
    elif form == "latex":
        click.echo(table.latex())
    elif form == "markdown":
        click.echo(table.markdown())
    else:
        _print(table.cells(), form)
        width = min(shutil.get_terminal_size().columns, 120)
        click.echo("\n" + textwrap.fill(table.caption(), width))


def _print(table: pd.DataFrame, form: str) -> None:
    from attnlab.analysis.presentation import paper_table
    from attnlab.tables import print_frame, print_table

    if form == "table":
        early = [column for column in table.columns if column not in LATE]
        early.sort(key=lambda column: column.startswith("P("))
        print_table(table, order=[*early, *(column for column in LATE if column in table.columns)])
    elif form in ("csv", "json"):
        print_frame(table, form)
    else:
        click.echo(paper_table(table, form))


def _fewer(profile: pd.DataFrame) -> pd.DataFrame:
    """A profile at fewer thresholds, evenly spaced, with the easiest and the hardest."""
    n = len(profile)
    if n <= MOST_THRESHOLDS:
        return profile
    print(f"attnlab: {MOST_THRESHOLDS} of {n} thresholds; --format csv has all", file=sys.stderr)
    return profile.iloc[[round(i * (n - 1) / (MOST_THRESHOLDS - 1)) for i in range(MOST_THRESHOLDS)]]
