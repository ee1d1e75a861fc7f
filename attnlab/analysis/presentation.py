"""Tables of comparisons, claims and results as people read them: in a terminal, in a notebook, as LaTeX or as Markdown."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd

from attnlab.analysis.conclusion import percent
from attnlab.analysis.standing import BEST, TIED
from attnlab.analysis.verdicts import Region
from attnlab.sweeps.predictions import BEFORE
from attnlab.tables import check_new, shown, shown_column
from attnlab.writing import write_whole

__all__ = [
    "ClaimTable",
    "Comparison",
    "FindingTable",
    "compact",
    "compact_claims",
    "compact_summary",
    "latex_table",
    "latex_text",
    "markdown_rows",
    "markdown_table",
    "markdown_text",
    "paper_claims",
    "paper_table",
    "print_paper",
]


MARKS = {BEST: "best", TIED: "~"}  # of a table in a terminal


class Comparison(pd.DataFrame):
    """A table of `compare` or `pairwise`. A notebook shows its conclusion and the chief columns.

    Its parts and copies are plain DataFrames.
    """

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        return _html(self, compact, str(self.attrs.get("conclusion", "")))


class ClaimTable(pd.DataFrame):
    """A table of `check_claims`. A notebook shows the chief columns. Its parts and copies are plain DataFrames."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        return _html(self, compact_claims, "Mean over n seeds, and 95 % t interval from low to high.")


class FindingTable(pd.DataFrame):
    """A table of `referee`. A notebook shows it whole. Its parts and copies are plain DataFrames."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        said = "What a sceptical reader would object to, and what would settle it."
        return _html(self, pd.DataFrame, said if len(self) else "Nothing to object to.")


def _html(table: pd.DataFrame, shorten: Callable[[pd.DataFrame], pd.DataFrame], text: str) -> str | None:
    """A paragraph above the chief columns; above all columns if some of the chief ones are gone."""
    if not pd.get_option("display.notebook_repr_html"):
        return None
    try:
        short = shorten(table)
    except KeyError:
        short = pd.DataFrame(table)
    with pd.option_context("display.max_colwidth", None):
        cells: str = short.map(shown).to_html(index=False, border=0)
    return f"<p>{escape(text)}</p>\n{cells}"


# -- the chief columns ------------------------------------------------------------------------------------------------
def compact(table: pd.DataFrame) -> pd.DataFrame:
    """The chief columns of a comparison, with bounds and counts in one cell each.

    Parameters
    ----------
    table : DataFrame
        A table of `compare` or `pairwise`, with its `attrs`.

    Raises
    ------
    KeyError
        When columns or `attrs` are missing.
    """
    interval = f"{percent(1 - table.attrs['alpha'])} interval"
    if "p_holm" not in table.columns and "n_tasks" not in table.columns:  # the matrix of all pairs
        return table.reset_index(names="p (Holm)")
    if "mean_rank" in table.columns:
        people = table[[*table.attrs["by"], "n_tasks", "iqm", "mean"]].copy()
        people[interval] = _bounds(table)
        people["mean_rank"] = table["mean_rank"]
        people["p to first (Holm)"] = table["p_holm"]
        people["verdict"] = table["verdict"]
        return pd.DataFrame(people)
    if "second" in table.columns:
        people = table[["first", "second", "n_tasks", "improvement"]].copy()
    else:
        people = table[[*table.attrs["by"], "n_tasks", "mean", "iqm", "improvement"]].copy()
    people[interval] = _bounds(table)
    counts = zip(table["wins"], table["ties"], table["losses"], strict=True)
    people["won/tied/lost"] = ["/".join(map(str, count)) for count in counts]
    people["p (Holm)"] = table["p_holm"]
    people["rank-biserial"] = table["rank_biserial"]
    people["P(improvement)"] = table["p_improvement"]
    for column in ("p_better", "p_equivalent", "p_worse"):
        if column in table.columns:
            people[column.replace("p_", "P(") + ")"] = table[column]
    people["verdict"] = table["verdict"]
    return people


def _bounds(table: pd.DataFrame) -> list[str]:
    bounds = zip(table["low"], table["high"], strict=True)
    return [f"{shown(low)} to {shown(high)}" if low == low else shown(low) for low, high in bounds]


def compact_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `summarise` as a terminal shows it: the share of seeds that solved the task in one cell with its interval,
    and the best of each task marked, with `~` for what is not shown to differ from it."""
    people = table.drop(columns=["solved_low", "solved_high", "mean_solved", "identical"], errors="ignore")
    if "standing" in people.columns:
        at, marks = list(people.columns).index("standing"), people.pop("standing").map(lambda said: MARKS.get(said, ""))
        if marks.ne("").any():
            people.insert(at, "best", marks)
    if "solved" not in table.columns:
        return people
    at = list(people.columns).index("solved")
    bounds = zip(table["solved"], table["solved_low"], table["solved_high"], strict=True)
    cells = [
        f"{share:.2f} ({low:.2f} to {high:.2f})" if share == share else shown(share) for share, low, high in bounds
    ]
    people["solved"] = cells
    people.insert(at + 1, "mean if solved", table["mean_solved"])
    return people


def compact_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The chief columns of a table of `check_claims`. The reason of a refuted claim, and of an identity, begins with its `why`."""
    people = table[["verdict", "say", "metric", "effect", "low", "high"]].copy()
    if table["doubtful"].any():
        people.insert(1, "mark", _marks(table))
    people["claimed"] = _claimed(table)
    people["n"] = table["n"]
    if "written" in table and table["written"].any():
        people["written"] = [_when(when) for when in table["written"]]
    refuted = table["why"].where(table["verdict"].isin(["refuted", "identity"]), "")
    people["reason"] = ["; ".join(filter(None, both)) for both in zip(refuted, table["reason"], strict=True)]
    return people


def paper_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table of `check_claims` that fit on paper: what is claimed, what was found, and the verdict."""
    people = table[["say", "metric"]].rename(columns={"say": "claim"})
    people["claimed"] = _claimed(table)
    people["effect"] = table["effect"]
    people["95% interval"] = _bounds(table)
    if table["doubtful"].any():
        people["95% interval"] += [f" ({mark})" if mark else "" for mark in _marks(table)]
    return people.assign(n=table["n"], verdict=table["verdict"])


def _when(written: str) -> str:
    """When a claim was written, in a word or two."""
    return "before" if written == BEFORE else re.sub(r" runs?$", "", written)


def _marks(table: pd.DataFrame) -> list[str]:
    return ["doubtful" if doubtful else "" for doubtful in table["doubtful"]]


def _claimed(table: pd.DataFrame) -> list[str]:
    return [str(Region.of(row)) for row in table.to_dict("records")]


# -- for paper and for pages ------------------------------------------------------------------------------------------
def paper_table(frame: pd.DataFrame, form: str) -> str:
    """A table as `latex` or `markdown`."""
    return {"latex": latex_table, "markdown": markdown_table}[form](frame)


def print_paper(frame: pd.DataFrame, kept: pd.DataFrame, form: str, output: str | None = None) -> None:
    """Write some columns of a table as `latex` or `markdown`, to stdout or to a new file.

    Stderr says how many columns of `frame` are not in `kept`.

    Raises
    ------
    SettingError
        When the output exists or cannot be written.
    """
    if output is not None:
        check_new(output)
    text = paper_table(kept, form)
    if output is None:
        print(text)
    else:
        write_whole(output, f"{text}\n")
    if left_out := len(frame.columns) - len(kept.columns):
        what = "1 column is" if left_out == 1 else f"{left_out} columns are"
        print(f"attnlab: {what} left out, to fit on paper; --format csv has all", file=sys.stderr)


def _is_number(column: pd.Series) -> bool:
    return len(column) > 0 and column.dtype.kind in "fiu"


def _lines(name: Any, column: Iterable[Any]) -> list[str]:
    """The cells of a column, each on one line."""
    return [" ".join(cell.split()) for cell in shown_column(name, column)]


# what pandas does not escape: these signs need a command in the fonts that LaTeX uses by default
_SIGNS = str.maketrans(
    {
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": r"\textendash{}",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "±": r"$\pm$",
    }
)


def latex_table(frame: pd.DataFrame) -> str:
    r"""A `tabular` with the rules of booktabs. Numbers are in math mode and aligned to the right.

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
    numbers = [_is_number(frame[name]) for name in frame.columns]
    cells = pd.DataFrame({str(name): _lines(name, frame[name]) for name in frame.columns}, dtype=object)
    style = cells.style.hide(axis="index")
    style = style.format_index(_latex_text, axis="columns", escape="latex")
    for name, number in zip(cells.columns, numbers, strict=True):
        style = style.format(_latex_number if number else _latex_words, subset=[name], escape="latex")
    columns = "".join("r" if number else "l" for number in numbers)
    text: str = style.to_latex(hrules=True, column_format=columns)
    return text.rstrip("\n")


def latex_text(text: str) -> str:
    r"""Text for LaTeX, with its special signs escaped.

    >>> print(latex_text("lookup_table, 50 % ± 1"))
    lookup\_table, 50 \% $\pm$ 1
    """
    escaped = re.sub(r"[\\&%$#_{}~^]", lambda found: _ESCAPED[found[0]], text)
    return _latex_text(escaped)


_ESCAPED = {sign: f"\\{sign}" for sign in "&%$#_{}"}
_ESCAPED |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _latex_text(escaped: Any) -> str:
    """Text that pandas has escaped; LaTeX would make dashes of two hyphens in a row."""
    return str(escaped).translate(_SIGNS).replace("--", "-{}-").replace("--", "-{}-")


def _latex_words(escaped: Any) -> str:
    """Text with minus signs before the numbers in it: -0.1 to 0.2."""
    return _latex_text(re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped))


def _latex_number(cell: Any) -> str:
    """A number in math mode: 3.2e-17 with its power of ten, infinity as a sign."""
    if cell == shown(None):
        return _latex_text(cell)
    mantissa, e, power = str(cell).partition("e")
    if e:
        return rf"${mantissa} \times 10^{{{int(power)}}}$"
    return f"${mantissa.replace('inf', chr(92) + 'infty')}$"


_MARKDOWN = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\|`*_[]~#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "$": "&#36;"}
)
_ADDRESS = re.compile(r"(https?://[^\s<>|\"]+)")


def markdown_text(text: str) -> str:
    r"""Text on one line that Markdown shows as it was written: no markup, no HTML, no list. An address stays a link.

    Examples
    --------
    >>> print(markdown_text("is <q> *it*? see https://doi.org/10.1/a_b"))
    is &lt;q&gt; \*it\*? see https://doi.org/10.1/a_b
    >>> print(markdown_text("1. a  list"), markdown_text("- of\ntwo"))
    1\. a list \- of two
    """
    parts = _ADDRESS.split(" ".join(str(text).split()))
    escaped = "".join(part if i % 2 else part.translate(_MARKDOWN) for i, part in enumerate(parts))
    return re.sub(r"^(\d+)(?=[.)])|^(?=[-+=])", lambda found: f"{found[0]}\\", escaped)


def markdown_table(frame: pd.DataFrame) -> str:
    r"""A table as GitHub, Pandoc and mkdocs read it, with numbers aligned to the right.

    Examples
    --------
    >>> import pandas as pd
    >>> print(markdown_table(pd.DataFrame({"similarity": ["scaled_dot"], "mean": [0.25]})))
    | similarity  |  mean |
    | :---------- | ----: |
    | scaled\_dot | 0.250 |
    """
    columns = [
        [cell.translate(_MARKDOWN) for cell in (*_lines("", [name]), *_lines(name, frame[name]))]
        for name in frame.columns
    ]
    return markdown_rows(columns, [_is_number(frame[name]) for name in frame.columns])


def markdown_rows(columns: Sequence[Sequence[str]], numbers: Sequence[bool]) -> str:
    """A table from its columns, each a heading and cells that are Markdown already; numbers are aligned to the right."""
    done = []
    for cells, number in zip(columns, numbers, strict=True):
        width = max(3, *map(len, cells))
        rule = "-" * (width - 1)
        head, *rest = (cell.rjust(width) if number else cell.ljust(width) for cell in cells)
        done.append([head, f"{rule}:" if number else f":{rule}", *rest])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*done, strict=True))
