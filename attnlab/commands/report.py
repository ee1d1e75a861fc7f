"""The command `attnlab report`."""

from __future__ import annotations

import sys

import click

from attnlab.commands.options import experiment_option, plugin_options, store_option, use_plugins

__all__ = ["report"]


@click.command()
@click.option("-o", "--output", default="report.html", show_default=True, metavar="FILE", help="Where to write it.")
@store_option
@experiment_option
@click.option("--force", is_flag=True, help="Replace FILE if it is a report.")
@plugin_options
def report(
    output: str,
    store: str,
    experiment: str | None,
    force: bool,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Write one HTML file that works offline: claims, rankings, curves, alignments, failures, and every command.

    \b
    attnlab report
    attnlab report --experiment divisor -o divisor.html
    """
    use_plugins(blocked, plugin_files)
    from attnlab.analysis.report import check_output, collect, write_report

    check_output(output, force, store)
    book = collect(store, experiment)
    size = write_report(book, output, force)
    n = len(book.chapters)
    print(f"attnlab: {output}: {n} experiment{'s' * (n != 1)}, {size / 1e6:.1f} MB", file=sys.stderr)
    return 0
