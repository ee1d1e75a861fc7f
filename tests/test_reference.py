"""The reference page lacks nothing: hooks, commands and options, columns, statuses, exit status, environment."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import click
import pytest

import attnlab
from attnlab import cli, hookspecs
from attnlab.kinds import HOOKS
from attnlab.sweeps.frame import AXES, FIRST, LAST
from attnlab.sweeps.plan import RERUN
from attnlab.sweeps.run import STATUSES

PAGE = (Path(__file__).parent.parent / "docs" / "reference.md").read_text(encoding="utf-8")
PACKAGE = Path(attnlab.__file__).parent


def section(title, level=2):
    """The text of a section, up to the next heading of its level or above."""
    found = re.search(
        rf"^{'#' * level} {re.escape(title)}\n(.*?)(?=^#{{1,{level}}} |\Z)", PAGE, re.DOTALL | re.MULTILINE
    )
    assert found, f"docs/reference.md lacks the section {'#' * level} {title}"
    return found[1]


def first_cells(text):
    """What stands in code letters in the first cell of each row of the tables."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def commands(command=cli.cli, path=()):
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield " ".join(path), command


def test_every_hook():
    hooks = {name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("attnlab_")}
    assert set(HOOKS.values()) < hooks
    assert first_cells(section("Hooks")) == hooks


def test_what_events_are_told():
    text = section("Hooks")
    for name in ("attnlab_sweep_started", "attnlab_run_finished", "attnlab_sweep_finished"):
        (row,) = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert set(inspect.signature(getattr(hookspecs, name)).parameters) <= set(re.findall(r"`(\w+)`", row))


def test_every_command_and_nothing_else():
    shown = re.findall(r"^### attnlab (.+)$", section("Commands"), re.MULTILINE)
    assert shown == sorted(path for path, _ in commands())


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=p) for p, c in commands()])
def test_every_option_of_a_command_and_nothing_else(path, command):
    text = section(f"attnlab {path}", 3)
    options = {flag for p in command.params if isinstance(p, click.Option) for flag in (*p.opts, *p.secondary_opts)}
    assert first_cells(text) == options
    for option in command.params:
        if isinstance(option, click.Option):
            (row,) = [
                line
                for line in text.splitlines()
                if line.startswith("|") and f"`{option.opts[0]}`" in line.split("|")[1]
            ]
            for choice in getattr(option.type, "choices", ()):
                assert f"`{choice}`" in row or choice in row.split("|")[2]
            if option.default not in (None, False, ()) and not option.is_flag and option.show_default:
                assert f"`{option.default}`" in row


def test_every_column():
    shown = first_cells(section("Columns of the results table"))
    assert {*FIRST, *AXES, *LAST} <= shown
    extra = {word for word in shown - {*FIRST, *AXES, *LAST} if "." not in word}
    assert not extra, f"no such columns: {extra}"


def test_the_columns_stand_in_the_order_of_the_table():
    rows = re.findall(r"^\| (`.*?) \|", section("Columns of the results table"), re.MULTILINE)
    order = [word for row in rows for word in re.findall(r"`([\w]+)`", row)]
    assert order == [*FIRST, *AXES, *LAST]


def test_every_metric_and_which_way_is_better():
    from attnlab.registry import entries

    rows = re.findall(r"^\| `(\w+)` \|.*\| (\S+) \|$", section("Metrics"), re.MULTILINE)
    own = {name: e.cls for name, found in entries("metric").items() for e in found if e.distribution == "attnlab"}
    assert [name for name, _ in rows] == sorted(own)
    words = {"up": "higher", "down": "lower", None: "–"}
    assert dict(rows) == {name: words[cls.direction] for name, cls in own.items()}


def test_every_status():
    shown = re.findall(r"^\| `(\w+)` \|", section("Statuses"), re.MULTILINE)
    assert shown == list(STATUSES)


def test_which_statuses_are_tried_again():
    from attnlab.sweeps.plan import DEFAULT_RERUN, decide
    from attnlab.sweeps.run import Run

    run = Run.of({"seed": 0})
    for status in STATUSES:
        (planned,) = decide([run], {run.run_id: (status, {})}, lambda run: {}, DEFAULT_RERUN)
        (row,) = re.findall(rf"^\| `{status}` \|.*$", section("Statuses"), re.MULTILINE)
        assert row.split("|")[3].strip().startswith("yes") == (planned.action == "run"), status


def test_every_exit_status():
    said = (inspect.getdoc(cli) or "").partition("Exit status:")[2].partition("\n\n")[0]
    documented = set(re.findall(r"\b\d+\b", said))
    assert documented
    returned = {
        str(node.value)
        for node in ast.walk(ast.parse(inspect.getsource(cli)))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }
    assert documented <= returned
    assert set(re.findall(r"^\| (\d+) \|", section("Exit status"), re.MULTILINE)) == documented


def test_every_environment_variable():
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\s*[\"'](\w+)", path.read_text(encoding="utf-8"))
    }
    assert read
    assert first_cells(section("Environment")) == read | {"NO_COLOR"}  # rich reads that one


def test_what_rerun_takes():
    sweeps = (PACKAGE.parent / "docs" / "sweeps.md").read_text(encoding="utf-8")
    assert all(f"`{word}`" in sweeps for word in RERUN)
