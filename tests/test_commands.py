"""What every command has in common: help that is whole at 80 columns, and words that the shell completes."""

from __future__ import annotations

import re

import click
import pytest
from click.shell_completion import ShellComplete

import attnlab
from attnlab.cli import cli


def commands(command=cli, path=()):
    yield path, command
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda x: " ".join(x) if isinstance(x, tuple) else ""
)
def test_help_is_whole_at_80_columns(path, command):
    with click.Context(command, info_name=" ".join(["attnlab", *path]), terminal_width=80) as ctx:
        lines = command.get_help(ctx).splitlines()
    for line in lines:
        assert len(line) <= 80, line
        assert not re.search(r"[a-z,]\.\.\.$", line), line


@pytest.fixture
def completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def complete(*args):
        found = ShellComplete(cli, {}, "attnlab", "_ATTNLAB_COMPLETE").get_completions(list(args[:-1]), args[-1])
        return {item.value: item.help for item in found}

    return complete


def test_components_are_completed(completed):
    assert completed("show", "soft")["softmax"] == "normaliser"
    assert "additive" in completed("check", "additi")
    assert set(completed("new", "sim")) == {"similarity"}
    assert "alignment_accuracy" in completed("compare", "alignment_acc")
    assert "similarity" in completed("list", "sim")


def test_experiments_and_runs_are_completed(completed, tmp_path):
    assert completed("run", "") == completed("report", "--experiment", "") == {}, "there is no store"
    experiment = {
        "attnlab": 1,
        "name": "tiny",
        "question": "Does it?",
        "task": {"lookup": {"n_keys": 4, "n_train": 8}},
        "model": {"aligner": {"steps": 0}},
        "seeds": 2,
    }
    (one, two) = attnlab.sweep(experiment, executor="serial", quiet=True)["run_id"]
    attnlab.sweep({**experiment, "name": "other"}, store="other.db", executor="serial", quiet=True)
    assert completed("run", "") == {one: "tiny", two: "tiny"}
    assert completed("run", one[:4]) == {one: "tiny"}
    assert completed("report", "--experiment", "") == {"tiny": "Does it?"}
    assert completed("results", "--store", "other.db", "--experiment", "") == {"other": "Does it?"}
    assert completed("plot", "alignment", two[:4]) == {two: "tiny"}
