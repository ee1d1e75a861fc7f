"""The commands about components and plugins: list, show, plugins, schema, check."""

from __future__ import annotations

import sys
from typing import Any

import click

from attnlab.commands.completion import complete_components
from attnlab.commands.options import format_option, plugin_options, use_plugins
from attnlab.kinds import KINDS

__all__ = ["check", "list_", "plugins", "schema", "show"]


@click.command("list")
@click.argument("kind", required=False, type=click.Choice([*KINDS, "suite"]))
@format_option("table", "csv", "json")
@plugin_options
def list_(kind: str | None, form: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """List the components, of one kind or of all; or the experiments of each suite, with their citations."""
    use_plugins(blocked, plugin_files)
    if kind == "suite":
        return _list_suites(form)
    from attnlab.registry import components
    from attnlab.tables import print_frame, print_table

    frame = components()
    if kind:
        frame = frame[frame["kind"] == kind]
    if form == "table":
        print_table(frame[["kind", "name", "summary", "plugin", "version"]])
    else:
        print_frame(frame, form)
    return 0


def _list_suites(form: str) -> int:
    import pandas as pd

    from attnlab.sweeps.suites import suites
    from attnlab.tables import print_frame, print_table

    rows = [
        {"suite": one.name, **row, "plugin": one.plugin, "version": one.version}
        for one in suites().values()
        for row in one.experiments()
    ]
    frame = pd.DataFrame(rows, columns=["suite", "experiment", "question", "citation", "plugin", "version"])
    if form == "table":
        print_table(frame, order=["suite", "experiment", "citation", "question", "plugin", "version"])
    else:
        print_frame(frame, form)
    return 0


@click.command()
@click.argument("name", shell_complete=complete_components)
@click.option(
    "--example", is_flag=True, help="Of a task: its first training example, with what each query should attend to."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A setting of the task for --example; repeatable."
)
@click.option("-o", "--output", metavar="FILE", help="With --example: draw its gold alignment to a new .png or .svg.")
@plugin_options
def show(
    name: str,
    example: bool,
    pairs: tuple[str, ...],
    output: str | None,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Show a component: what it is, its settings with their ranges, its flags and its source. NAME or KIND:NAME.

    \b
    attnlab show mqar
    attnlab show mqar --example --set variant=forgetting -o mqar.svg
    """
    use_plugins(blocked, plugin_files)
    if (pairs or output) and not example:
        raise click.UsageError("--set and --output are for the example of a task: add --example")
    if not example:
        from attnlab.tables import describe_component

        click.echo(describe_component(name))
        return 0
    import pandas as pd

    from attnlab.commands.example import draw_example, first_example, settings_given, told
    from attnlab.tables import print_table

    task, data = first_example(name, settings_given(pairs))
    lines, rows = told(task, data)
    click.echo("\n".join(lines) + "\n")
    print_table(pd.DataFrame(rows))
    if output:
        draw_example(data, output)
    return 0


@click.command()
@format_option("table", "csv", "json")
@plugin_options
def plugins(form: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """List the plugins, with the reason if one is broken."""
    use_plugins(blocked, plugin_files, broken_too=True)
    import pandas as pd

    from attnlab.loading import given_by
    from attnlab.plugins import plugins as all_plugins
    from attnlab.registry import entries
    from attnlab.tables import print_frame, print_table

    found = {kind: entries(kind) for kind in KINDS}  # calls every hook, so that every fault is known
    rows = []
    for plugin in all_plugins().records:
        gives = [
            f"{kind} {name}"
            for kind in KINDS
            for name, es in found[kind].items()
            for e in es
            if e.plugin == plugin.name and e.distribution == plugin.distribution
        ]
        given = f"{len(gives)} components" if len(gives) > 6 else ", ".join(gives)
        rows.append(
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "status": plugin.status,
                "gives": given,
                "reason": plugin.reason or "; ".join(given_by(plugin).silent),
            }
        )
    frame = pd.DataFrame(rows)
    if form == "table":
        print_table(frame)
    else:
        print_frame(frame, form)
    for note in all_plugins().notes:
        print(f"attnlab: {note}", file=sys.stderr)
    return 0


@click.command()
@plugin_options
def schema(plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """Print the JSON Schema of an experiment, with the installed components, for editors."""
    use_plugins(blocked, plugin_files)
    import json

    from attnlab.sweeps.experiment.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0


@click.command()
@click.argument("target", shell_complete=complete_components)
@plugin_options
def check(target: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """Check that a component keeps the contract of its kind, and that its plugin can be used.

    TARGET: a name, module:Class, FILE.py, FILE.py:Class, or a plugin or distribution. A file is loaded as --plugin loads it.

    If a class needs settings, only the class can be checked, and the output says so. Alone that is no success (status 1).
    """
    use_plugins(blocked, plugin_files)
    from attnlab.testing import check_component
    from attnlab.testing.subject import Subject
    from attnlab.testing.target import find_target

    found = find_target(target)
    classes: list[Any] = found.classes
    reports = [check_component(cls) for cls in classes]
    told = [o.reason for report in reports for o in report if o.status == "failed" and o.code == "C001"]
    failed = bool(found.problems) or not classes
    for cls, report in zip(classes, reports, strict=True):
        unchecked = Subject(cls).unchecked
        said = f"only its class was checked: {unchecked}" if report and unchecked else str(report)
        click.echo(f"{cls.kind} {cls.name}: {said}")
        failed |= not report or (bool(unchecked) and len(classes) == 1)
    for problem in found.problems:
        if not any(reason.partition(": ")[2] in problem for reason in told):  # it is told of the class already
            click.echo(f"failed  {problem}")
    return 1 if failed else 0
