"""The page of commands: each with its options, then completion, exit status and environment."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from attnlab.cli import cli
from tools.reference.docstrings import cell, code, fenced, prose, table
from tools.reference.words import ENVIRONMENT, EXIT_STATUS


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from commands(inner, (*path, name))
    else:
        yield " ".join(path), command


def usage(path: str, command: click.Command) -> str:
    context = click.Context(command)
    takes = []
    for argument in command.params:
        if isinstance(argument, click.Argument):
            name = argument.metavar or argument.make_metavar(context)
            if "|" in name:  # what it may be is told below
                name = f"{argument.name}".upper() if argument.required else f"[{argument.name}]".upper()
            takes.append(name)
    options = ["[OPTIONS]"] if any(isinstance(p, click.Option) for p in command.params) else []
    return " ".join(["attnlab", path, *options, *takes])


def option_row(option: click.Option) -> list[str]:
    """Its names, what it takes, what it does, what it may be and what it is unless given."""
    names = ", ".join(code(flag) for flag in (*option.opts, *option.secondary_opts))
    choices = list(getattr(option.type, "choices", ()))
    takes = ""
    if not option.is_flag and not option.count:
        name = option.type.name.upper().removesuffix(" RANGE")
        takes = code(option.metavar or ("" if choices else {"INTEGER": "N", "FLOAT": "X"}.get(name, name)))
    help_text = re.sub(r"\s*\[default: [^]]*\]", "", option.help or "")
    told = cell(with_code(help_text if not help_text or help_text.endswith((".", "?")) else f"{help_text}."))
    if choices:
        told += f" One of {', '.join(code(str(c)) for c in choices)}."
    default = option.default
    if default not in (None, False, ()) and isinstance(default, str | int | float) and not option.is_flag:
        told += f" Unless given: {code(str(default))}."
    if option.required:
        told += " It must be given."
    if option.multiple:
        told += " It may be repeated."
    return [names, takes, told.strip()]


def paragraphs(text: str) -> list[str]:
    """The help of a command, whose lists and blocks click marks with a backspace."""
    made = []
    for block in re.split(r"\n\s*\n", text.partition("\f")[0].strip()):
        if "\b" in block:
            lines = [line for line in block.replace("\b", "").splitlines() if line.strip()]
            made.append(fenced(textwrap.dedent("\n".join(lines)), "text"))
        else:
            made.append(prose(with_code(" ".join(block.split()))))
    return made


def with_code(text: str) -> str:
    """The names of options in code letters, also in text that has none."""
    return re.sub(r"(?<![`\w-])(--[a-z][\w-]*)(?!`)", r"`\1`", text)


def command_section(path: str, command: click.Command) -> list[str]:
    made = [f"### attnlab {path}", fenced(usage(path, command), "text"), *paragraphs(command.help or "")]
    for argument in command.params:
        if isinstance(argument, click.Argument) and getattr(argument.type, "choices", ()):
            made += [f"{argument.name}".upper() + f": one of {', '.join(code(c) for c in argument.type.choices)}."]
    rows = [option_row(p) for p in command.params if isinstance(p, click.Option)]
    if any(row[1] for row in rows):
        made += [table(["option", "takes", "what it does"], rows)]
    elif rows:
        made += [table(["option", "what it does"], [[row[0], row[2]] for row in rows])]
    return made


def commands_page() -> str:
    found = list(commands())
    overview: list[list[str]] = []
    for path, command in found:
        first: Any = command.get_short_help_str(limit=1000)
        overview.append([f"[{code(f'attnlab {path}')}](#attnlab-{path.replace(' ', '-')})", cell(with_code(first))])
    made = [
        "# Commands",
        "Data go to stdout, what is said about them to stderr. `attnlab --version` prints the version, `-h` or `--help` after "
        "any command its help.",
        "## Every command",
        table(["command", "what it does"], overview),
    ]
    for path, command in found:
        made += command_section(path, command)
    made += [
        "## Completion",
        "The shell completes commands, options, components, experiments of the store and ids of runs, once its start-up file has "
        "this line:",
        fenced(
            'eval "$(_ATTNLAB_COMPLETE=bash_source attnlab)"     # in ~/.bashrc; zsh_source in ~/.zshrc\n'
            "_ATTNLAB_COMPLETE=fish_source attnlab | source      # in ~/.config/fish/config.fish",
            "console",
        ),
        "## Exit status",
        table(["status", "when"], [[status, cell(text)] for status, text in EXIT_STATUS.items()]),
        "## Environment",
        table(["variable", "what it does"], [[code(name), cell(text)] for name, text in ENVIRONMENT.items()]),
    ]
    return "\n\n".join(made)
