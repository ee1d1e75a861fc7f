"""Tables of comparisons and of claims as people read them: the chief columns, on a terminal, on paper, in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from attnlab.analysis.conclusion import percent
from attnlab.tables import shown

__all__ = ["ClaimTable", "Comparison", "compact", "compact_claims", "paper_claims"]


class Comparison(pd.DataFrame):
    """A table of `compare` or `pairwise`; a notebook shows its conclusion and the chief columns.

    What is cut out of it, sorted or copied is a plain DataFrame.
    """

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        return _html(self, compact, str(self.attrs.get("conclusion", "")))


class ClaimTable(pd.DataFrame):
    """A table of `check_claims`; a notebook shows the chief columns. Its parts and copies are plain DataFrames."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        return _html(self, compact_claims, "Mean over n seeds, and 95 % t interval from low to high.")


def _html(table: pd.DataFrame, shorten: Any, text: str) -> str | None:
    """A paragraph above a short table; the table as pandas shows it where columns were taken from it in place."""
    if not pd.get_option("display.notebook_repr_html"):
        return None
    try:
        short = shorten(table)
    except KeyError:
        short = pd.DataFrame(table)
    with pd.option_context("display.max_colwidth", None):
        cells: str = short.map(shown).to_html(index=False, border=0)
    return f"<p>{escape(text)}</p>\n{cells}"


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a comparison that one reads first, bounds and counts in one cell each.

    Parameters
    ----------
    table : DataFrame
        Of `compare` or `pairwise`, with its `attrs`.

    Raises
    ------
    KeyError
        When columns or `attrs` were taken from it.
    """
    interval = f"{percent(1 - table.attrs['alpha'])} interval"
    if "p_holm" not in table.columns and "n_tasks" not in table.columns:  # the matrix of all pairs
        return table.reset_index(names="p (Holm)")
    if "mean_rank" in table.columns:
        people = table[[*table.attrs["by"], "n_tasks", "iqm", "mean"]].copy()
        people[interval] = _bounds(table)
        people["mean_rank"] = table["mean_rank"]
        people["p to first (Holm)"] = table["p_holm"]
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


def compact_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table of `check_claims` that one reads first; why a claim was refuted stands with the reason."""
    people = table[["verdict", "say", "metric", "effect", "low", "high"]].copy()
    people["claimed"] = _claimed(table)
    people["n"] = table["n"]
    refuted = table["why"].where(table["verdict"] == "refuted", "")
    people["reason"] = ["; ".join(filter(None, both)) for both in zip(refuted, table["reason"], strict=True)]
    return people


def paper_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table of `check_claims` that fit on paper: what is claimed, what was found, and the verdict."""
    people = table[["say", "metric"]].rename(columns={"say": "claim"})
    people["claimed"] = _claimed(table)
    people["effect"] = table["effect"]
    people["95% interval"] = _bounds(table)
    return people.assign(n=table["n"], verdict=table["verdict"])


def _claimed(table: pd.DataFrame) -> list[str]:
    from attnlab.analysis.index import bound_of

    return [bound_of(row) for _, row in table.iterrows()]
