"""The options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from attnlab.commands.completion import complete_experiments

__all__ = [
    "STORE",
    "WholeHelp",
    "experiment_option",
    "format_option",
    "limit_option",
    "only_option",
    "output_format",
    "plugin_options",
    "rerun_option",
    "store_option",
    "use_plugins",
]

STORE = "results/attnlab.db"


class WholeHelp(click.Group):
    """A group whose help has the whole first sentence of each command, on as many lines as it takes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def use_plugins(blocked: Sequence[str], files: Sequence[str], broken_too: bool = False) -> None:
    """Load the plugin files, and leave out the blocked plugins. A file that does not load is an error."""
    names = []
    for word in blocked:
        prefix, _, name = word.partition(":")
        if prefix != "no" or not name:
            raise click.UsageError(f"-p takes no:NAME, which leaves the plugin NAME out; got {word!r}")
        names.append(name)
    if names or files:
        from attnlab.errors import AttnlabError
        from attnlab.plugins import FILE, configure, plugins

        configure(blocked=names, files=files)
        for plugin in plugins().records:
            if plugin.distribution == FILE and plugin.status == "broken" and not broken_too:
                raise AttnlabError(f"--plugin {os.path.relpath(plugin.where)}: {plugin.reason}")
        if files and not broken_too:
            from attnlab.loading import given_by

            for plugin in [p for p in plugins().records if p.distribution == FILE]:
                for said in given_by(plugin).silent:
                    click.echo(f"attnlab: --plugin {os.path.relpath(plugin.where)}: {said}", err=True)


def plugin_options(command: Any) -> Any:
    """`--plugin FILE.py` and `-p no:NAME`."""
    command = click.option(
        "--plugin", "plugin_files", multiple=True, metavar="FILE.py", help="A Python file that is a plugin."
    )(command)
    return click.option("-p", "blocked", multiple=True, metavar="no:NAME", help="Leave a plugin out.")(command)


store_option = click.option(
    "--store", default=STORE, show_default=True, metavar="PATH", help="The SQLite file of results."
)
experiment_option = click.option(
    "--experiment", metavar="NAME", help="Only this experiment.", shell_complete=complete_experiments
)
only_option = click.option("--only", metavar="EXPR", help="Only runs such as similarity=dot,task.d=16.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N more runs an experiment."
)
rerun_option = click.option(
    "--rerun",
    default="missing,failed,stale,stale-own",
    show_default=True,
    metavar="WORDS",
    help="Which runs to run: some of missing, failed, stale (a plugin's code changed), stale-own (attnlab's own did); or all, or none.",
)


def format_option(*formats: str) -> Any:
    return click.option("--format", "form", type=click.Choice(formats), default="table", show_default=True)


def output_format(*formats: str) -> Any:
    """`--format` of a command with `--output`: left out, it is what the name of the file says, and else a table."""
    return click.option(
        "--format", "form", type=click.Choice(formats), help="The form; that of FILE if left out, or a table."
    )
