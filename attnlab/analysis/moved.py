"""What moved between two sets of results: verdicts, effects of claims, and means of the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnlab.analysis.claims import check_claims
from attnlab.analysis.summary import summarise
from attnlab.sweeps.experiment.read import Experiment
from attnlab.tables import setting_text

if TYPE_CHECKING:
    Results = Mapping[str, tuple[Experiment, pd.DataFrame]]

__all__ = ["COLUMNS", "moved", "summary_of"]

COLUMNS = ["experiment", "what", "metric", "moved", "verdict_a", "verdict_b", "effect_a", "effect_b"]
COLUMNS += ["low_a", "high_a", "low_b", "high_b", "n_a", "n_b"]
NAN = float("nan")


def moved(a: Results, b: Results, tolerance: float = 1e-6) -> pd.DataFrame:
    """The claims and the rows of the tables of two sets of results, side by side.

    Parameters
    ----------
    a, b : mappings of an experiment's name to (Experiment, results table)
    tolerance : float
        Numbers are equal if they differ by at most this times the larger of 1 and the two.

    Returns
    -------
    DataFrame
        One row a claim, then one a row of each table: `experiment`, `what` (the claim, or the row in words), `metric`, `moved`
        ("verdict", "beyond its interval": the effect of one lies outside the interval of the other; "a little", "only in a",
        "only in b", or "" for what is the same), the verdicts, the effects or means with their intervals, and how many seeds.
    """
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*a, *b]):
        claims = [_claims(side[name]) if name in side else {} for side in (a, b)]
        tables = [_table(side[name]) if name in side else {} for side in (a, b)]
        for one, other in (claims, tables):
            for key in dict.fromkeys([*one, *other]):
                rows.append(
                    {
                        "experiment": name,
                        "what": key[0],
                        "metric": key[1],
                        **_beside(one.get(key), other.get(key), tolerance),
                    }
                )
    return pd.DataFrame(rows, columns=COLUMNS)


Found = dict[tuple[str, str], dict[Any, Any]]


def _claims(results: tuple[Experiment, pd.DataFrame]) -> Found:
    experiment, frame = results
    if not experiment.claims:
        return {}
    return {(row["say"], row["metric"]): row for row in check_claims(frame, experiment).to_dict("records")}


def _table(results: tuple[Experiment, pd.DataFrame]) -> Found:
    """The means of the metric that ranks, by the row in words."""
    experiment, frame = results
    if not len(frame):
        return {}
    frame.attrs["tuned"] = experiment.chosen
    metric = experiment.metrics[0]
    table = summarise(frame, metric)
    axes = list(table.columns[: list(table.columns).index(metric)])
    found: Found = {}
    for row in table.to_dict("records"):
        words = [
            setting_text(row[c]) if "." not in str(c) else f"{c} {setting_text(row[c])}"
            for c in axes
            if row[c] == row[c]
        ]
        found[" ".join(words), metric] = {**row, "effect": row[metric], "verdict": ""}
    return found


def _beside(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, tolerance: float) -> dict[str, Any]:
    found: dict[str, Any] = {"moved": _moved(one, other, tolerance)}
    for side, row in (("a", one), ("b", other)):
        row = row or {"verdict": "", "n": 0}
        found |= {f"verdict_{side}": row["verdict"], f"n_{side}": row["n"]}
        found |= {f"{column}_{side}": row.get(column, NAN) for column in ("effect", "low", "high")}
    return found


def _moved(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, tolerance: float) -> str:
    if one is None or other is None:
        return "only in b" if one is None else "only in a"
    if one["verdict"] != other["verdict"]:
        return "verdict"
    numbers = [(float(one[c]), float(other[c])) for c in ("effect", "low", "high")]
    if all(_equal(x, y, tolerance) for x, y in numbers):
        return ""
    effects = numbers[0]
    outside = [
        row["low"] == row["low"] and not row["low"] - tolerance <= effect <= row["high"] + tolerance
        for row, effect in ((one, effects[1]), (other, effects[0]))
    ]
    return "beyond its interval" if any(outside) or any(np.isnan(effects)) else "a little"


def _equal(x: float, y: float, tolerance: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y)) or abs(x - y) <= tolerance * max(1.0, abs(x), abs(y))


def summary_of(table: pd.DataFrame) -> Sequence[str]:
    """What moved, in a few words: how many verdicts and effects."""
    claims = table["verdict_a"].ne("") | table["verdict_b"].ne("")
    said = []
    for what, rows in (("claims", table[claims]), ("rows of tables", table[~claims])):
        counts = rows["moved"].value_counts()
        moves = ", ".join(f"{n} {word or 'the same'}" for word, n in counts.items())
        if len(rows):
            said.append(f"{what}: {moves}")
    return said
