"""The scoreboard of predictions: of the claims that were written before the first run, how many came true, by author."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from attnlab.analysis.claims import check_claims, versions_of
from attnlab.analysis.statistics import wilson
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.predictions import BEFORE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "scoreboard"]

UNKNOWN = "(unknown)"
COLUMNS = [
    "author",
    "experiments",
    "predictions",
    "supported",
    "refuted",
    "undecided",
    "came_true",
    "low",
    "high",
    "later",
]


def scoreboard(found: Iterable[tuple[Experiment, pd.DataFrame]]) -> pd.DataFrame:
    """How many predictions came true.

    Parameters
    ----------
    found : iterable of (Experiment, results table)

    Returns
    -------
    DataFrame
        One row an author, who predicted most first: `experiments`, `predictions` (claims written before the first run, without
        identities), how many were `supported`, `refuted` and `undecided`, `came_true` (supported of those decided; NaN if none
        is), with Wilson's 95 % interval from `low` to `high`, and `later` (claims changed, added or written down after results).
    """
    import pandas as pd

    counts: dict[str, Counter[str]] = {}
    for experiment, frame in found:
        versions = versions_of(frame, experiment)
        author = experiment.author or next((one.author for one in versions if one.author), UNKNOWN)
        mine = counts.setdefault(author, Counter())
        claims = check_claims(frame, experiment)
        mine["experiments"] += bool(len(claims))
        for claim in claims.to_dict("records"):
            if claim["exact"]:
                continue
            early = claim["written"] == BEFORE
            mine["predictions" if early else "later"] += 1
            mine[claim["verdict"]] += early
    rows = []
    for author, mine in counts.items():
        decided = mine["supported"] + mine["refuted"]
        low, high = wilson(mine["supported"], decided) if decided else (float("nan"),) * 2
        share = mine["supported"] / decided if decided else float("nan")
        rows.append({**{c: mine[c] for c in COLUMNS}, "author": author, "came_true": share, "low": low, "high": high})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table[table["experiments"] > 0]
    return table.sort_values(["predictions", "later"], ascending=False, kind="stable", ignore_index=True)
