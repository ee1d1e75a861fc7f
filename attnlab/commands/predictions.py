"""The commands about predictions: preregister, scoreboard."""

from __future__ import annotations

import sys
from typing import Any

import click

from attnlab.commands.claims import warn_of
from attnlab.commands.options import format_option, plugin_options, store_option, use_plugins

__all__ = ["preregister", "scoreboard"]


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@store_option
@format_option("table", "csv", "json")
@plugin_options
def preregister(
    files: tuple[str, ...], store: str, form: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]
) -> int:
    """Keep what FILE... asks, claims and plans in the store, before there are results. Nothing is run.

    A sweep does it by itself before its first run. Verdicts then say "written before the first run", or "changed after N runs"
    with the difference. What is printed, the SHA-256 of question, claims and plan, may be published.
    """
    use_plugins(blocked, plugin_files)
    import pandas as pd

    from attnlab.sweeps.pipeline import distinct
    from attnlab.sweeps.plan import plan
    from attnlab.sweeps.store import Store
    from attnlab.tables import print_frame, print_table

    planned = [(experiment, plan(experiment)) for experiment in distinct(files)]
    warn_of(experiment for experiment, _ in planned)
    rows: list[dict[str, Any]] = []
    with Store(store) as opened:
        for experiment, runs in planned:
            one, new = opened.predictions.add(experiment, runs)
            row = {
                "experiment": one.key,
                "sha256": one.sha256,
                "registered_at": one.registered_at,
                "n_runs": one.n_runs,
            }
            rows.append(
                {
                    **row,
                    "planned": len(runs),
                    "claims": len(experiment.claims),
                    "commit": one.commit,
                    "author": one.author,
                }
            )
            said = "registered" if new else f"registered already, at {one.registered_at}"
            when = f"after {one.n_runs} of its runs had a result" if one.n_runs else "before the first run"
            print(f"attnlab: {one.key}: {said}, {when}", file=sys.stderr)
    frame = pd.DataFrame(rows)
    if form == "table":
        print_table(frame)
    else:
        print_frame(frame, form)
    return 0


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]")
@store_option
@format_option("table", "csv", "json", "markdown")
@plugin_options
def scoreboard(
    files: tuple[str, ...], store: str, form: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]
) -> int:
    """How many predictions came true, by author of the file: of the experiments in FILE..., or of all in the store.

    A prediction is a claim that was written before the first run. Claims that were changed or added later are counted beside,
    and identities are no predictions.
    """
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.index import results_of, stored_experiments
    from attnlab.analysis.scoreboard import scoreboard as scored
    from attnlab.sweeps.pipeline import distinct
    from attnlab.tables import print_frame, print_table, visible

    found, unreadable = (distinct(files), {}) if files else stored_experiments(store)
    table = scored(results_of(found, store))
    if form in ("csv", "json"):
        print_frame(table, form)
    elif form == "markdown":
        from attnlab.analysis.presentation import paper_table

        click.echo(paper_table(table, form))
    elif len(table):
        print_table(table, "came true: the share of decided predictions, with Wilson's 95 % interval")
    else:
        print(f"attnlab: {store}: no experiment has claims", file=sys.stderr)
    for name, problem in unreadable.items():
        said = f"attnlab: {name}: not counted, its text in the store cannot be read here: {problem}"
        print(visible(said), file=sys.stderr)
    return 1 if unreadable else 0
