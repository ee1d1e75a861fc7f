"""Tables for papers and for pages: LaTeX (booktabs) and Markdown. Text is escaped for where it goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.errors import SettingError
from attnlab.tables import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["latex_table", "markdown_table", "print_paper", "telling"]

PROVENANCE = ("attempts", "executor", "backend", "plugin_versions", "attnlab_version", "started_at", "run_id")

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": r"\textendash{}",
}
_MARKDOWN = {mark: f"\\{mark}" for mark in "\\|`*_[]~#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def print_paper(frame: pd.DataFrame, form: str, output: str | None = None) -> None:
    """Write what tells of a results table as `latex` or `markdown`, to stdout or to a file that is not there yet.

    Raises
    ------
    SettingError
        When the output exists.
    """
    text = {"latex": latex_table, "markdown": markdown_table}[form](telling(frame))
    if output is None:
        print(text)
        return
    if os.path.exists(output):
        raise SettingError(f"--output {output}: the file exists, and nothing is overwritten; choose another name")
    Path(output).write_text(f"{text}\n", encoding="utf-8")


def telling(frame: pd.DataFrame) -> pd.DataFrame:
    """A results table without provenance and without columns in which no two rows differ: what fits on paper.

    Examples
    --------
    >>> import pandas as pd
    >>> list(telling(pd.DataFrame({"task": ["copy", "copy"], "seed": [0, 1], "run_id": ["a", "b"]})))
    ['seed']
    """
    kept = [c for c in frame.columns if c not in PROVENANCE and (len(frame) < 2 or frame[c].map(repr).nunique() > 1)]
    return frame[kept]


def _cells(frame: pd.DataFrame, escapes: dict[str, str]) -> tuple[list[str], list[bool], list[list[str]]]:
    """Heads, which columns are numbers, and cells, escaped; line breaks become spaces."""
    translation = str.maketrans(escapes)
    numbers = [len(frame) > 0 and frame[name].dtype.kind in "fiu" for name in frame.columns]

    def written(value: object) -> str:
        return " ".join(shown(value).split()).translate(translation)

    heads = [written(str(name)) for name in frame.columns]
    return heads, numbers, [[written(value) for value in row] for row in frame.itertuples(index=False, name=None)]


def latex_table(frame: pd.DataFrame) -> str:
    r"""A `tabular` with the rules of booktabs; numbers are in math mode and to the right.

    Examples
    --------
    >>> import pandas as pd
    >>> print(latex_table(pd.DataFrame({"similarity": ["scaled_dot"], "change": [-0.25]})))
    \begin{tabular}{lr}
    \toprule
    similarity & change \\
    \midrule
    scaled\_dot & $-0.250$ \\
    \bottomrule
    \end{tabular}
    """
    heads, numbers, rows = _cells(frame, _LATEX)
    lines = [[_math(cell) if number else cell for cell, number in zip(row, numbers, strict=True)] for row in rows]
    columns = "".join("r" if number else "l" for number in numbers)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _line(heads),
            r"\midrule",
            *map(_line, lines),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _line(cells: list[str]) -> str:
    """A row; hyphens in a row are kept apart, or LaTeX would make dashes of them."""
    return " & ".join(cells).replace("--", "-{}-").replace("--", "-{}-") + r" \\"


def _math(cell: str) -> str:
    """A number as LaTeX sets it: 3.2e-17 with its power of ten, infinity as a sign."""
    if cell == _LATEX["–"]:
        return cell
    mantissa, e, power = cell.partition("e")
    if e:
        return rf"${mantissa} \times 10^{{{int(power)}}}$"
    return f"${mantissa.replace('inf', chr(92) + 'infty')}$"


def markdown_table(frame: pd.DataFrame) -> str:
    r"""A table as GitHub, Pandoc and mkdocs read it; numbers to the right.

    Examples
    --------
    >>> import pandas as pd
    >>> print(markdown_table(pd.DataFrame({"similarity": ["scaled_dot"], "mean": [0.25]})))
    | similarity  |  mean |
    | :---------- | ----: |
    | scaled\_dot | 0.250 |
    """
    heads, numbers, rows = _cells(frame, _MARKDOWN)
    widths = [max(3, *map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rules = ["-" * (w - 1) + ":" if number else ":" + "-" * (w - 1) for w, number in zip(widths, numbers, strict=True)]
    return "\n".join([line(heads), f"| {' | '.join(rules)} |", *map(line, rows)])
