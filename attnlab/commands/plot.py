"""The commands that draw: `attnlab plot`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from attnlab.commands.completion import complete_runs
from attnlab.commands.options import WholeHelp, experiment_option, plugin_options, store_option, use_plugins

if TYPE_CHECKING:
    from attnlab.analysis.weights import Example
    from attnlab.sweeps.frame import StoredRun

__all__ = ["plot"]


@click.group(cls=WholeHelp)
def plot() -> None:
    """Draw weights, claims, or quality against cost, as PNG or SVG."""


output_option = click.option("-o", "--output", required=True, metavar="FILE", help="A new .png or .svg.")


@plot.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@store_option
@click.option("--test", "condition", metavar="CONDITION", help="The test condition; the first of the run if left out.")
@click.option("--example", type=click.IntRange(min=0), default=0, show_default=True, help="Which test example, from 0.")
@click.option("--vmax", type=float, metavar="X", help="The weight that has the full colour.")
@output_option
@plugin_options
def alignment(
    run_ids: tuple[str, ...],
    store: str,
    condition: str | None,
    example: int,
    vmax: float | None,
    output: str,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Draw the weights that runs gave to a test example, with the example's tokens and true links.

    Several runs of the same examples are drawn side by side on one scale, from 0 to 1 or to the largest weight.

    \b
    attnlab plot alignment 1f3c -o dot.png
    attnlab plot alignment 1f3c 88ab -o both.svg
    """
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.plots import (
        alignment_figure,
        alignments_figure,
        draw_alignments,
        new_picture,
        plot_alignment,
        save,
    )
    from attnlab.analysis.weights import kept_example
    from attnlab.sweeps.frame import load_run

    new_picture(output)
    runs = [load_run(run_id, store) for run_id in run_ids]
    examples = [kept_example(run, condition, example) for run in runs]
    first = examples[0]
    if len(runs) == 1:
        figure, ax = alignment_figure(first.W.shape, first.source, first.target)
        plot_alignment(first.W, first.source, first.target, first.gold, first.possible, ax, vmax)
    else:
        _check_same(run_ids, examples)
        figure = alignments_figure(len(runs), first.W.shape, first.source, first.target)
        weights = dict(zip(_names(runs), (one.W for one in examples), strict=True))
        draw_alignments(figure, weights, first.source, first.target, first.gold, first.possible, vmax)
    save(figure, output)
    return 0


def _check_same(run_ids: Sequence[str], examples: Sequence[Example]) -> None:
    """Refuse to draw different examples side by side."""
    import numpy as np

    from attnlab.errors import SettingError

    first = examples[0]
    for run_id, other in zip(run_ids[1:], examples[1:], strict=True):
        same = first.W.shape == other.W.shape and (first.source, first.target) == (other.source, other.target)
        both = first.gold is not None and other.gold is not None
        if not same or (both and not np.array_equal(first.gold, other.gold)):  # type: ignore[arg-type]
            raise SettingError(
                f"run {run_id} was tested on other examples than run {run_ids[0]}; give runs with the same task, test "
                "condition and seed"
            )


def _names(runs: Sequence[StoredRun]) -> list[str]:
    """What tells the runs apart, in a few words each: the columns in which they differ."""
    from attnlab.sweeps.columns import columns
    from attnlab.tables import setting_text

    rows = [columns(one.run) for one in runs]
    names = dict.fromkeys(name for row in rows for name in row)
    differing = [name for name in names if len({repr(row.get(name)) for row in rows}) > 1]
    found: list[str] = []
    for one, row in zip(runs, rows, strict=True):
        words = [
            row[name] if isinstance(row[name], str) and "." not in name else f"{name} {setting_text(row[name])}"
            for name in differing
            if name in row and not any(name.startswith(f"{part}.") for part in differing)
        ]
        label = ", ".join(words) or one.run.run_id
        found.append(label if label not in found else f"{label} ({one.run.run_id})")
    return found


@plot.command()
@click.argument("file")
@store_option
@click.option("--claim", "number", type=click.IntRange(min=0), metavar="N", help="Only this claim, from 0.")
@output_option
@plugin_options
def claim(
    file: str, store: str, number: int | None, output: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]
) -> int:
    """Draw the claims of an experiment: its seeds, the interval, and the bound."""
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.claims import judge
    from attnlab.analysis.index import results_of
    from attnlab.analysis.plots import claims_figure, new_picture, save
    from attnlab.sweeps.experiment.read import read

    new_picture(output)
    ((experiment, frame),) = results_of([read(file)], store)
    judged: Sequence[Any] = judge(frame, experiment)
    if number is not None:
        if number >= len(judged):
            raise click.UsageError(f"--claim {number}: {experiment.name} has {len(judged)} claims, counted from 0")
        judged = judged[number : number + 1]
    save(claims_figure(judged), output)
    return 0


@plot.command()
@click.argument("metric")
@click.option(
    "--cost",
    default="operations_per_query",
    show_default=True,
    metavar="COLUMN",
    help="operations_per_query, n_parameters, fit_seconds, or another number of which less is better.",
)
@click.option(
    "--by", metavar="COLUMNS", help="What tells competitors apart; every axis that varies but tasks, if left out."
)
@click.option(
    "--missing",
    type=click.Choice(["error", "complete-tasks", "worst-rank"]),
    default="error",
    show_default=True,
    help="What to do about missing runs.",
)
@click.option("--direction", type=click.Choice(["up", "down"]), help="Which way is better, if the metric does not say.")
@store_option
@experiment_option
@output_option
@plugin_options
def frontier(
    metric: str,
    cost: str,
    by: str | None,
    missing: str,
    direction: str | None,
    store: str,
    experiment: str | None,
    output: str,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Draw METRIC against its cost, and print the competitors that no other beats in both.

    \b
    attnlab plot frontier alignment_accuracy -o frontier.svg
    attnlab plot frontier aer --cost n_parameters --by similarity -o aer.png
    """
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.frontier import frontier as found_among
    from attnlab.analysis.plots import frontier_figure, new_picture, save
    from attnlab.sweeps.frame import load_results
    from attnlab.tables import print_table

    new_picture(output)
    columns = None if by is None else [column.strip() for column in by.split(",")]
    frame = load_results(store, experiment=experiment)
    table = found_among(frame, metric, cost, columns, direction=direction, missing=missing)
    save(frontier_figure(table, metric, cost), output)
    front = table[~table["dominated"]]
    print_table(
        front[["label", metric, "low", "high", cost]], f"{len(front)} of {len(table)} that no other beats in both"
    )
    return 0
