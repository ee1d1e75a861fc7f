"""The reference of the documentation, made from the code: `python -m tools.reference` writes it into `docs/`.

`pages()` gives the text of each file. The files are committed, so that they can be read without a build; a test holds them to
what the code gives.
"""

from __future__ import annotations

import re
from pathlib import Path

from attnlab.kinds import KINDS
from tools.reference import components, words
from tools.reference.commands import commands_page
from tools.reference.docstrings import code, table
from tools.reference.interfaces import interfaces_page
from tools.reference.namespace import namespace_page
from tools.reference.python import estimators_page, python_page
from tools.reference.referee import referee_pages
from tools.reference.results import contract_page, results_page

__all__ = ["DOCS", "FOLDERS", "pages", "write"]

DOCS = Path(__file__).parents[2] / "docs"
FOLDERS = ("reference", "referee")  # of which every page is made
MADE = "<!-- Made by `python -m tools.reference` from the code. Change the code, not this file. -->\n\n"


def index_page() -> str:
    """The page that leads to the others. Its headings are where earlier versions of the reference had the things themselves."""
    kinds = []
    for kind, text in components.INTRODUCTIONS.items():
        plural = KINDS[kind].plural
        (first,) = re.findall(r"^.+?[.?](?= |$)", text)
        kinds.append([f"[{plural.capitalize()}](reference/{plural}.md)", first, str(len(components.own(kind)))])
    return "\n\n".join(
        [
            "# Reference",
            "Everything that can be looked up. These pages are made from the code, and a test compares them with it.",
            "## Python",
            table(
                ["page", "what it has"],
                [
                    [
                        "[Functions and classes](reference/python.md)",
                        "every name of `attnlab`, `attnlab.testing` and `attnlab.bitext`",
                    ],
                    [
                        "[Estimators](reference/estimators.md)",
                        "settings, attributes and methods of the five estimators",
                    ],
                    [
                        "[Kinds, hooks and settings](reference/interfaces.md)",
                        "interfaces, verbs, flags, hooks, how a setting declares type and range",
                    ],
                    [
                        "[What namespace() offers](reference/namespace.md)",
                        "the functions that a part may use, and which have gradients",
                    ],
                    ["[Checks of the contract](reference/contract.md)", "what `attnlab check` holds a component to"],
                ],
            ),
            "## Components",
            table(["kind", "what it does", "how many"], kinds),
            "## Hooks",
            "Each hook has [an example](reference/interfaces.md#hooks).",
            "## Commands",
            "Every command has [a section with its options](reference/commands.md).",
            "## Columns of the results table",
            "[What each column of `attnlab results` is](reference/results.md#columns-of-the-results-table).",
            "## Columns of summarise",
            "[What each column of `attnlab.summarise` is](reference/results.md#columns-of-summarise).",
            "## Metrics",
            "[The formula of each metric, its bounds and which way is better](reference/metrics.md).",
            "## Statuses",
            f"A run ends as one of {', '.join(code(status) for status in words.STATUSES)}: "
            "[what each means](reference/results.md#statuses).",
            "## Exit status",
            f"One of {', '.join(words.EXIT_STATUS)}: [what each means](reference/commands.md#exit-status).",
            "## Environment",
            f"{', '.join(code(name) for name in words.ENVIRONMENT)}: [what each does](reference/commands.md#environment).",
        ]
    )


def pages() -> dict[str, str]:
    """The text of each page, by its path below `docs/`."""
    made = {
        "reference.md": index_page(),
        "reference/python.md": python_page(),
        "reference/estimators.md": estimators_page(),
        "reference/interfaces.md": interfaces_page(),
        "reference/namespace.md": namespace_page(),
        "reference/contract.md": contract_page(),
        "reference/commands.md": commands_page(),
        "reference/results.md": results_page(),
        **referee_pages(),
    }
    for kind in components.INTRODUCTIONS:
        made[f"reference/{KINDS[kind].plural}.md"] = components.page_of(KINDS[kind])
    return {path: f"{MADE}{text}\n" for path, text in made.items()}


def write() -> list[str]:
    """Write the pages that differ from what is there, and remove pages that are made no longer; returns their paths."""
    made, changed = pages(), []
    for path, text in made.items():
        file = DOCS / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    for folder in FOLDERS:
        for file in sorted((DOCS / folder).glob("*.md")):
            if f"{folder}/{file.name}" not in made:
                file.unlink()
                changed.append(f"{folder}/{file.name}")
    return changed
