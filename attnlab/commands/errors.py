"""The command `attnlab errors`."""

from __future__ import annotations

import sys

import click

from attnlab.commands.options import experiment_option, format_option, store_option

__all__ = ["errors"]


@click.command()
@store_option
@experiment_option
@click.option("--traceback", "whole", is_flag=True, help="Print the whole tracebacks too.")
@format_option("table", "csv", "json")
def errors(store: str, experiment: str | None, whole: bool, form: str) -> int:
    """List the runs that did not succeed, with their reasons."""
    import pandas as pd

    from attnlab.sweeps.store import Store
    from attnlab.tables import print_frame, print_table, visible

    with Store(store, create=False) as opened:
        rows = [
            {
                "experiment": name,
                "run_id": run.run_id,
                "status": result.status,
                "run": run.label(),
                "reason": result.reason,
                "traceback": result.traceback,
            }
            for name, run, result in opened.errors(experiment)
        ]
        empty = not any(linked.run_ids for linked in opened.experiments())
    if not rows:
        print("attnlab: this store has no runs" if empty else "attnlab: every run succeeded", file=sys.stderr)
    frame = pd.DataFrame(rows, columns=["experiment", "run_id", "status", "run", "reason", "traceback"])
    if form != "table":
        print_frame(frame, form)
    elif rows:
        print_table(frame.drop(columns="traceback"))
        for row in rows if whole else ():
            click.echo(visible(f"\n{row['run_id']} {row['run']}\n{row['traceback']}"))
        print("attnlab: `attnlab run RUN_ID` repeats a run and prints its traceback", file=sys.stderr)
    return 0
