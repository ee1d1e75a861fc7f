"""Docstrings in numpydoc's manner, as Markdown that GitHub and mkdocs read alike."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

LISTS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")


@dataclass(frozen=True)
class Entry:
    """One entry of a section such as Parameters: its names, its type in words and its text."""

    names: tuple[str, ...]
    type: str
    text: str


@dataclass(frozen=True)
class Docstring:
    """A docstring in pieces: the first line, what follows it, and the sections by title, in order."""

    summary: str
    body: str
    sections: dict[str, str]

    def entries(self, title: str) -> list[Entry]:
        """The entries of a section: a line that is not indented, and what is indented under it."""
        found: list[Entry] = []
        for block in re.split(r"\n(?=\S)", self.sections.get(title, "")):
            head, _, text = block.partition("\n")
            if head.strip():
                names, colon, kind = head.partition(" : ")
                named = tuple(name.strip() for name in names.split(","))
                found.append(Entry(named, kind.strip() if colon else "", inspect.cleandoc(text)))
        return found


def docstring_of(thing: Any) -> Docstring:
    """The docstring of a class, function or module, in pieces."""
    text = inspect.getdoc(thing) or ""
    head, *rest = re.split(r"^(\S[^\n]*)\n-{3,}\n", text, flags=re.MULTILINE)
    summary, _, body = head.partition("\n\n")
    sections = {title: part.strip("\n") for title, part in zip(rest[::2], rest[1::2], strict=True)}
    return Docstring(" ".join(summary.split()), body.strip("\n"), sections)


def prose(text: str) -> str:
    """Words with nothing in them that Markdown would take for its own, but for code between backticks."""
    pieces = re.split(r"(``.+?``|`[^`]+`)", text)
    for i in range(0, len(pieces), 2):
        plain = pieces[i].replace("&", "&amp;").replace("<", "&lt;")
        pieces[i] = re.sub(r"([\\*_\[\]|#])", r"\\\1", plain)
    return "".join(pieces)


def cell(text: str) -> str:
    """Prose on one line, for a table; a bar between backticks is written so that it ends no cell."""
    words = prose(" ".join(text.split()))
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("|", r"\|"), words)


def code(text: str) -> str:
    """Text in code letters, for a table."""
    return "`" + text.replace("|", r"\|") + "`" if text else ""


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown; empty where there are no rows."""
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def markdown(text: str, formula: str = "") -> str:
    """The text of a docstring: paragraphs, lists, indented blocks and examples.

    A formula in LaTeX takes the place of the first indented block.
    """
    made = []
    for block in _blocks(text):
        if block.startswith(">>>"):
            made.append(fenced(block, "pycon"))
        elif block.startswith("    "):
            language = "python" if "import " in block else "text"
            made.append(fenced(formula, "math") if formula else fenced(inspect.cleandoc("\n" + block), language))
            formula = ""
        elif re.match(r"[*-] |\d+\. ", block):
            items = re.split(r"\n(?=[*-] |\d+\. )", block)
            made.append("\n".join(f"* {prose(' '.join(re.sub(r'^([*-]|[0-9]+[.]) ', '', i).split()))}" for i in items))
        else:
            made.append(prose(" ".join(block.removesuffix("::").split())) + (":" if block.endswith("::") else ""))
    return "\n\n".join(made)


def _blocks(text: str) -> list[str]:
    """Blocks between empty lines; indented blocks, and examples, that follow each other are one."""
    blocks: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        block = block.strip("\n")
        both_indented = bool(blocks) and blocks[-1].startswith("    ") and block.startswith("    ")
        both_examples = bool(blocks) and blocks[-1].startswith(">>>") and block.startswith(">>>")
        if both_indented or both_examples:
            blocks[-1] += "\n\n" + block
        elif block.strip():
            blocks.append(block)
    return blocks


def entry_list(entries: list[Entry], raising: bool = False) -> str:
    """Entries as a list: the name in code letters, its type, its text."""
    lines = []
    for entry in entries:
        is_code = bool(entry.type) or raising
        head = ", ".join(code(name) if is_code else prose(name) for name in entry.names)
        head += f": {prose(entry.type)}" if entry.type else ""
        text = prose(" ".join(entry.text.split()))
        head += "" if not text or head.endswith((".", ";")) else "."
        lines.append(f"* {head} {text}".rstrip())
    return "\n".join(lines)


def sections(doc: Docstring, leave_out: tuple[str, ...] = ()) -> list[str]:
    """The sections of a docstring, each under its title in bold letters."""
    made = []
    for title, text in doc.sections.items():
        if title in leave_out:
            continue
        in_words = title in ("Returns", "Yields") and not re.search(r"^ | : ", text, re.MULTILINE)
        if title in LISTS and not in_words:
            made.append(f"**{title}**\n\n{entry_list(doc.entries(title), raising=title in ('Raises', 'Warns'))}")
        else:
            made.append(f"**{title}**\n\n{markdown(text)}")
    return made
