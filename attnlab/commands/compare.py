"""The command `attnlab compare`."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare"]


@click.command()
@click.argument("metric")
@click.option(
    "--by", required=True, metavar="COLUMNS", help="What tells competitors apart: similarity, or similarity,normaliser."
)
@click.option("--baseline", metavar="NAME", help="The competitor that the others are compared with.")
@click.option("--pairs", is_flag=True, help="All pairs: a matrix of adjusted p values (csv, json: one row a pair).")
@click.option(
    "--missing",
    type=click.Choice(["error", "complete-tasks", "worst-rank"]),
    default="error",
    show_default=True,
    help="What to do about missing runs.",
)
@click.option("--rope", type=float, metavar="X", help="Differences up to X do not matter: adds the Bayesian test.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Family-wise error.")
@click.option(
    "--unit",
    type=click.Choice(["setting", "task"]),
    default="setting",
    show_default=True,
    help="The replicate: a task with its settings and test condition, or a task, averaged over these.",
)
@click.option("--direction", type=click.Choice(["up", "down"]), help="Which way is better, if the metric does not say.")
@click.option(
    "--store", default="results/attnlab.db", show_default=True, metavar="PATH", help="The SQLite file of results."
)
@click.option("--experiment", metavar="NAME", help="Only this experiment.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def compare(
    metric: str,
    by: str,
    baseline: str | None,
    pairs: bool,
    missing: str,
    rope: float | None,
    alpha: float,
    unit: str,
    direction: str | None,
    store: str,
    experiment: str | None,
    form: str,
) -> int:
    """Compare competitors on METRIC over tasks, with tests, intervals and a conclusion in words.

    \b
    attnlab compare alignment_accuracy --by similarity --baseline scaled_dot
    attnlab compare context_error --by similarity,normaliser --pairs
    """
    if pairs and baseline is not None:
        raise click.UsageError("--pairs compares every competitor with every other; leave --baseline out")
    from attnlab.analysis.compare import compare as compared
    from attnlab.analysis.compare import pairwise
    from attnlab.sweeps.frame import load_results
    from attnlab.tables import print_frame, print_table

    frame = load_results(store, experiment=experiment)
    columns = [column.strip() for column in by.split(",")]
    shared = {"missing": missing, "rope": rope, "alpha": alpha, "unit": unit, "direction": direction}
    if pairs:
        table = pairwise(frame, metric, columns, tidy=form != "table", **shared)  # type: ignore[arg-type]
    else:
        table = compared(frame, metric, columns, baseline, **shared)  # type: ignore[arg-type]
    if form != "table":
        print_frame(table, form)
        return 0
    if pairs:
        print_table(table.reset_index(names="p (Holm)"))
    else:
        print_table(_for_people(table, columns, f"{1 - alpha:.0%}"))
    width = min(shutil.get_terminal_size().columns, 120)
    click.echo("\n" + textwrap.fill(table.attrs["conclusion"], width))
    return 0


def _for_people(table: pd.DataFrame, by: Sequence[str], level: str) -> pd.DataFrame:
    """The columns that one reads first, bounds and counts in one cell each."""
    from attnlab.tables import shown

    def interval(low: str, high: str) -> list[str]:
        bounds = zip(table[low], table[high], strict=True)
        return [f"{shown(a)} to {shown(b)}" if a == a else shown(a) for a, b in bounds]

    if "baseline" not in table.columns:
        wide = table[[*by, "n_tasks", "iqm", "mean", "mean_rank", "p_holm"]].copy()
        wide.insert(len(by) + 3, f"{level} interval", interval("low", "high"))
        return wide.rename(columns={"p_holm": "p to first (Holm)"})
    people = table[[*by, "n_tasks", "mean", "iqm", "improvement"]].copy()
    people[f"{level} interval"] = interval("low", "high")
    counts = zip(table["wins"], table["ties"], table["losses"], strict=True)
    people["won/tied/lost"] = ["/".join(map(str, count)) for count in counts]
    people["p (Holm)"] = table["p_holm"]
    people["rank-biserial"] = table["rank_biserial"]
    people["P(improvement)"] = table["p_improvement"]
    for column in ("p_better", "p_equivalent", "p_worse"):
        if column in table.columns:
            people[column.replace("p_", "P(") + ")"] = table[column]
    people["verdict"] = table["verdict"]
    return people
