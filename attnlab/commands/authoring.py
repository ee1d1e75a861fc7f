"""Commands for authors: `attnlab new KIND NAME` starts a plugin, `attnlab cite FILE` prints what to cite."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Iterable
from typing import Any

import click

from attnlab.commands.options import plugin_options, use_plugins

__all__ = ["cite", "new", "references", "template"]

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "0.1.0"
description = "{kind} {name} for attnlab"
requires-python = ">=3.11"
dependencies = ["attnlab"]

[project.entry-points.attnlab]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""

TEST = """\
import {module}

from attnlab.testing import parametrize_with_checks


@parametrize_with_checks(list({module}.{hook}()))
def test_contract(component, check):
    check(component)
"""


def template(kind: str, name: str) -> dict[str, str]:
    """The files of a new plugin package by path: the example of the kind's hook with a new name."""
    from attnlab import hookspecs
    from attnlab.kinds import HOOKS

    hook = HOOKS[kind]
    doc = inspect.cleandoc(getattr(hookspecs, hook).__doc__)
    code = textwrap.dedent(doc.partition("Example::\n")[2]).strip() + "\n"
    old_class = re.search(r"^class (\w+)\(", code, re.MULTILINE)
    assert old_class is not None
    new_class = "".join(word.capitalize() for word in name.split("_"))
    code = re.sub(rf"\b{old_class[1]}\b", new_class, code)
    code = re.sub(r'(?m)^(    name = )"\w+"', rf'\1"{name}"', code)
    code = code.replace("\nclass ", "\n\nclass ", 1).replace("\n@hookimpl", "\n\n@hookimpl")
    module = f"attnlab_{name}"
    distribution = f"attnlab-{name.replace('_', '-')}"
    words = {"distribution": distribution, "kind": kind, "name": name, "module": module, "hook": hook}
    return {
        f"{distribution}/pyproject.toml": PROJECT.format(**words),
        f"{distribution}/{module}.py": f'"""{new_class}, a {kind} for attnlab."""\n\n{code}',
        f"{distribution}/test_{module}.py": TEST.format(**words),
    }


@click.command()
@click.argument("kind")
@click.argument("name")
def new(kind: str, name: str) -> int:
    """Start a plugin: make a package here with one component of KIND, called NAME, that passes its test."""
    from attnlab.errors import SettingError, did_you_mean
    from attnlab.kinds import HOOKS
    from attnlab.registry import entries

    if kind not in HOOKS:
        raise SettingError(f"no kind {kind!r}{did_you_mean(kind, HOOKS)}; there are {', '.join(HOOKS)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SettingError(f"a name has small letters, digits and underscores, such as my_{kind}; got {name!r}")
    if name in entries(kind):
        owner = entries(kind)[name][0].distribution
        raise SettingError(f"{owner} has a {kind} {name!r} already; choose another name")
    files = template(kind, name)
    taken = [path for path in files if os.path.exists(path)]
    if taken:
        raise SettingError(f"{taken[0]} exists, and nothing is overwritten; choose another name or another directory")
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        click.echo(path)
    folder = next(iter(files)).partition("/")[0]
    click.echo(f"next: pip install -e {folder}, then attnlab check {name}", err=True)
    return 0


def references(experiment: Any) -> dict[str, Iterable[str]]:
    """The sources that an experiment's components name, and for each the components that name it."""
    from attnlab.registry import entry
    from attnlab.sweeps.columns import ROLES, components_of
    from attnlab.sweeps.plan import plan

    found: dict[str, dict[str, None]] = {}
    for run in plan(experiment):
        for role in ROLES:
            for _, kind, name, _ in components_of(role, run.spec[role]):
                source = entry(kind, name).cls.source  # type: ignore[attr-defined]
                if source is not None:
                    found.setdefault(str(source), {}).setdefault(f"{kind} {name}")
    return {source: list(components) for source, components in sorted(found.items())}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@plugin_options
def cite(files: tuple[str, ...], plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """Print the sources of everything that the experiments in FILE... use."""
    use_plugins(blocked, plugin_files)
    from attnlab.sweeps.experiment.read import read

    merged: dict[str, dict[str, None]] = {}
    for file in files:
        for source, components in references(read(file)).items():
            merged.setdefault(source, {}).update(dict.fromkeys(components))
    for source in sorted(merged):
        click.echo(f"{source}\n    {', '.join(merged[source])}")
    return 0
