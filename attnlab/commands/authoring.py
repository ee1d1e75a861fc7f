"""Commands for authors: `attnlab new KIND NAME` starts a plugin, `attnlab cite FILE` prints what to cite."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from attnlab.commands.completion import complete_kinds
from attnlab.commands.options import plugin_options, use_plugins
from attnlab.writing import together, write_whole

if TYPE_CHECKING:
    from attnlab.interfaces import Source

__all__ = ["bibtex", "cite", "new", "references", "template"]

BACKSLASH = r"\\\1"
IDLE = (("position", "none"), ("mask", "all"), ("modifier", "none"))  # what does nothing, and is from no paper

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "0.1.0"
description = "{kind} {name} for attnlab"
readme = "README.md"
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


def test_{name}():
    (component,) = {module}.{hook}()
    assert (component.kind, component.name) == ("{kind}", "{name}")
    # Add numbers that you have worked out by hand: they hold {cls} to what you mean, as no contract can.
"""

README = """\
# {distribution}

The {kind} `{name}` for attnlab: {summary}

    pip install -e .    # from this folder
    attnlab show {kind}:{name}
    attnlab check {name}    # the contract, check by check
    python -m pytest    # the same, and your own tests

In an experiment it is named like any other {kind}:

{use}

`{module}.py` holds the class `{cls}` and the hook `{hook}`, which gives it to attnlab. When the meaning of a setting or of a
default changes, raise the class's `revision`.
"""

DOC = """\
    \"\"\"{summary}

    Say here what it computes, as a formula, and what it costs.
{parameters}
    References
    ----------
    Who (year), the paper and the equation, or: new.

    Examples
    --------
    >>> {cls}.name
    '{name}'
    \"\"\"

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
    code, summary = _documented(code, new_class, name)
    module = f"attnlab_{name}"
    distribution = f"attnlab-{name.replace('_', '-')}"
    words = {"distribution": distribution, "kind": kind, "name": name, "module": module, "hook": hook}
    words |= {"cls": new_class, "summary": summary, "use": textwrap.indent(_use(kind, name), "    ")}
    return {
        f"{distribution}/pyproject.toml": PROJECT.format(**words),
        f"{distribution}/{module}.py": f'"""{new_class}, a {kind} for attnlab."""\n\n{code}',
        f"{distribution}/test_{module}.py": TEST.format(**words),
        f"{distribution}/README.md": README.format(**words),
    }


def _documented(code: str, cls: str, name: str) -> tuple[str, str]:
    """The code with a docstring that has every section, and its first line."""
    found = re.search(rf'^class {cls}\(.*\):\n    """(.*?)"""\n', code, re.MULTILINE | re.DOTALL)
    assert found is not None
    summary = found[1].splitlines()[0].strip()
    settings = re.search(r"    def __init__\(self, (.*?)\)(?: -> None)?:", code[found.end() :], re.DOTALL)
    names = re.findall(r"(?:^|, )\*?(\w+)", re.sub(r"\[[^\]]*\]", "", settings[1])) if settings else []
    told = "".join(f"    {setting} : its type, range and unit\n        What it does.\n" for setting in names)
    parameters = f"\n    Parameters\n    ----------\n{told}" if names else ""
    doc = DOC.format(summary=summary, parameters=parameters, cls=cls, name=name)
    start = found.start(1) - len('    """')
    return code[:start] + doc + code[found.end() :], summary


def _use(kind: str, name: str) -> str:
    """How an experiment names a component of a kind."""
    from attnlab.kinds import PARTS

    if kind in PARTS:
        return f"mechanism:\n  {kind}: {name}"
    written = {"metric": f"metrics: [{name}]", "executor": f"# attnlab sweep x.yaml --executor {name}"}
    written |= {
        "encoder": f"model:\n  seq2seq: {{encoder: {name}}}",
        "kernel": "# a kernel is chosen by itself where it fits",
    }
    return written.get(kind, f"{kind}: {name}")


@click.command()
@click.argument("kind", shell_complete=complete_kinds)
@click.argument("name")
def new(kind: str, name: str) -> int:
    """Start a plugin: make a package here with one component of KIND, called NAME, that passes its test.

    KIND: similarity, normaliser, aggregator, position, mask, modifier, mechanism, task, metric, or another of `attnlab list`.
    """
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
    with together(files):
        for path, text in files.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_whole(path, text)
    click.echo("\n".join(files))
    folder = next(iter(files)).partition("/")[0]
    click.echo(f"next: pip install -e {folder}, then attnlab check {name}", err=True)
    return 0


def references(experiment: Any) -> dict[str, Iterable[str]]:
    """The sources that an experiment's components name, and for each the components that name it."""
    return {str(source): components for source, components in _cited(experiment).items() if source is not None}


def _cited(experiment: Any) -> dict[Source | None, list[str]]:
    """The components of an experiment by the source that they name; None are those that name none, and do something."""
    from attnlab.registry import entry
    from attnlab.sweeps.columns import ROLES, components_of
    from attnlab.sweeps.plan import plan

    used: dict[tuple[str, str], None] = {}
    for run in plan(experiment):
        for role in ROLES:
            used |= {(kind, name): None for _, kind, name, _ in components_of(role, run.spec[role])}
    used |= {("metric", name): None for name in experiment.metrics}
    found: dict[Source | None, list[str]] = {}
    for kind, name in used:
        source = entry(kind, name).cls.source  # type: ignore[attr-defined]
        if source is not None or (kind, name) not in IDLE:
            found.setdefault(source, []).append(f"{kind} {name}")
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def bibtex(sources: Iterable[Source]) -> str:
    """The sources as BibTeX entries, each with a key of its own: the first author, the year and a letter where it takes one."""
    from collections import Counter

    entries = []
    taken: Counter[str] = Counter()
    papers = {
        (source.authors, source.title, source.year): source for source in reversed([*sources])
    }  # equations of one are one
    for source in reversed(papers.values()):
        group = source.authors.startswith("The ")  # no person's name
        authors = [f"{{{source.authors}}}"] if group else _authors(source.authors)
        key = _key(source.authors.split()[1] if group else authors[0].split()[-1]) + str(source.year)
        taken[key] += 1
        key += chr(ord("a") + taken[key] - 1) if taken[key] > 1 else ""
        fields = {"author": " and ".join(authors), "title": f"{{{source.title}}}", "year": str(source.year)}
        fields |= {"howpublished": source.where} if source.where else {}
        lines = [f"  {name} = {{{re.sub(r'([&%$#_])', BACKSLASH, value)}}}," for name, value in fields.items()]
        entries.append("\n".join([f"@misc{{{key},", *lines, "}"]))
    return "\n\n".join(entries)


def _authors(text: str) -> list[str]:
    """The authors of a source, one by one: "Luong, Pham, Manning", "Vaswani et al."."""
    known = re.sub(r"\s*et al\.$", ", others", text)
    return [author.strip() for author in re.split(r",\s*(?:and\s+)?|\s+and\s+", known) if author.strip()] or [
        "anonymous"
    ]


def _key(name: str) -> str:
    """A name in the letters that every BibTeX takes in a key."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z]", "", plain) or "source"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format", "form", type=click.Choice(["text", "bibtex"]), default="text", show_default=True, help="How to print."
)
@plugin_options
def cite(files: tuple[str, ...], form: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """Print the sources of everything that the experiments in FILE... use.

    Stderr names the components that have no source, such as what is new in attnlab.
    """
    use_plugins(blocked, plugin_files)
    from attnlab.sweeps.experiment.read import read

    merged: dict[Source | None, dict[str, None]] = {}
    for file in files:
        for source, components in _cited(read(file)).items():
            merged.setdefault(source, {}).update(dict.fromkeys(components))
    nameless = merged.pop(None, {})
    sources = sorted((source for source in merged if source is not None), key=str)
    if form == "bibtex":
        click.echo(bibtex(sources))
    else:
        for source in sources:
            click.echo(f"{source}\n    {', '.join(merged[source])}")
    if nameless:
        click.echo(f"attnlab: no source is given for {', '.join(nameless)}", err=True)
    return 0
