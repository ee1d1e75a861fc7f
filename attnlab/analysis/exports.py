"""Tables for papers and for pages: LaTeX (booktabs) and Markdown. Text is escaped for where it goes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.analysis.index import shown_metrics
from attnlab.sweeps.frame import LAST, metric_columns
from attnlab.tables import check_new, shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["latex_table", "markdown_table", "paper_table", "print_paper", "telling"]

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
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
}
_MARKDOWN = {mark: f"\\{mark}" for mark in "\\|`*_[]~#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def paper_table(frame: pd.DataFrame, form: str) -> str:
    """A table as `latex` or `markdown`."""
    return {"latex": latex_table, "markdown": markdown_table}[form](frame)


def print_paper(
    frame: pd.DataFrame, form: str, output: str | None = None, store: str | os.PathLike[str] | None = None
) -> None:
    """Write what tells of a results table as `latex` or `markdown`, to stdout or to a file that is not there yet.

    How many columns were left out is said on stderr. With `store`, the metrics are those that the experiments in it show.

    Raises
    ------
    SettingError
        When the output exists, or cannot be.
    """
    if output is not None:
        check_new(output)
    metrics = None if store is None else shown_metrics(store, frame["experiment"].unique())
    kept = telling(frame, metrics)
    text = paper_table(kept, form)
    if output is None:
        print(text)
    else:
        Path(output).write_text(f"{text}\n", encoding="utf-8")
    if left_out := len(frame.columns) - len(kept.columns):
        what = "1 column is" if left_out == 1 else f"{left_out} columns are"
        print(f"attnlab: {what} left out, to fit on paper; --format csv has all", file=sys.stderr)


def telling(frame: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """What of a results table fits on paper: the grid as far as it varies, the metrics, and who did not succeed.

    Of the grid these are the columns in which rows differ, but for a setting that only says again which part it is of; the
    status is there if not all runs are ok. All else is left out: what runs cost, their notes, where and when they were.

    Parameters
    ----------
    frame : DataFrame
    metrics : sequence of str or None
        The metrics that the experiments show; None for all in which rows differ.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"task": ["copy", "copy"], "seed": [0, 1], "aer": [0.5, 0.5], "run_id": ["a", "b"]})
    >>> list(telling(frame)), list(telling(frame, ["aer"]))
    (['seed'], ['seed', 'aer'])
    """
    shown = [m for m in metrics or () if m in frame.columns and frame[m].notna().any()]
    measured = set() if metrics is None or not shown else set(metric_columns(frame))
    failed = ["status"] if "status" in frame and (frame["status"] != "ok").any() else []
    whole = {"metric", "value", *shown, *failed}
    out = {"run_id", *LAST, *measured}
    return frame[[c for c in frame.columns if c in whole or (c not in out and _differs(frame, c))]]


def _differs(frame: pd.DataFrame, column: str) -> bool:
    """Whether rows differ in a column, and say more by it than by the part whose setting it is."""
    if len(frame) < 2:
        return True
    part = column.rpartition(".")[0]
    groups = [frame[column]] if part not in frame.columns else [x for _, x in frame.groupby(part, dropna=False)[column]]
    return any(group.map(repr).nunique() > 1 for group in groups)


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
    lines = [
        [_math(cell) if number else _minus(cell) for cell, number in zip(row, numbers, strict=True)] for row in rows
    ]
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


def _minus(cell: str) -> str:
    """Text, with minus signs before the numbers in it: -0.1 to 0.2."""
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", cell)


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
