"""What runs left behind, for the page: learning curves, and the weights of a few examples beside the true links.

The size of a report is bounded: so many runs are read and so much is kept. The report counts what was left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.analysis.report.small_json import halves, plain
from attnlab.errors import StoreError
from attnlab.sweeps.artifacts import arrays_in
from attnlab.sweeps.rows import Unfit
from attnlab.sweeps.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Budget", "Lookback", "look_back"]

RUNS_READ = 1000  # in the whole report
CURVE_NUMBERS = 60_000  # in the whole report
CURVE_POINTS = 48  # in one curve
WEIGHT_BYTES = 2_400_000  # of base64, in the whole report
EXAMPLES, QUERIES, CELLS = 3, 64, 4096  # in one test condition; in one example


@dataclass
class Budget:
    """What the remaining experiments may use together. If one uses less than its share, the next ones may use more."""

    chapters: int
    runs: int = RUNS_READ
    numbers: int = CURVE_NUMBERS
    weights: int = WEIGHT_BYTES

    def share(self) -> Budget:
        """The share of the next experiment."""
        n, self.chapters = max(1, self.chapters), self.chapters - 1
        return Budget(1, self.runs // n, self.numbers // n, self.weights // n)

    def spent(self, runs: int, numbers: int, weights: int) -> None:
        self.runs -= runs
        self.numbers -= numbers
        self.weights -= weights


@dataclass(frozen=True)
class Lookback:
    """Plain data for the page. `row` is a row in the experiment's table of runs.

    curves : one for each point of the grid and series: {"row", "series", "seeds", "x", "mean", "low", "high"}
    alignments : {"row", "shape" (n, q, k), "w" and "gold" and "mask" (places in `pool`, or None), "whole" (q, k before it
        was cut), "tokens"}
    pool : arrays in half precision, base64; what several alignments share is there once
    """

    curves: list[dict[str, Any]] = field(default_factory=list)
    alignments: list[dict[str, Any]] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def look_back(frame: pd.DataFrame, points: Sequence[str], opened: Store, budget: Budget) -> Lookback:
    """The curves of each point of the grid over its seeds, and the alignments of its first seed.

    Parameters
    ----------
    frame : DataFrame
        One experiment's rows, one a run and test condition.
    points : the columns in which the runs differ
    opened : Store
    budget : Budget
        It is reduced by what is used.
    """
    share, book = budget.share(), _Pages()
    run_ids, tests = frame["run_id"].astype(str).tolist(), frame["test"].tolist()
    groups = _groups(frame, points)
    read = unread = 0
    for rows_of_runs in groups:
        if read + len(rows_of_runs) > share.runs:
            unread += 1
            continue
        artifacts = opened.artifacts([run_ids[rows[0]] for rows in rows_of_runs])
        kept: list[Mapping[str, Any]] = []
        for rows in rows_of_runs:
            run_id = run_ids[rows[0]]
            kept.append(_arrays(run_id, artifacts.get(run_id, b""), not kept, opened))
            read += 1
        book.add_curves(rows_of_runs[0][0], kept, share.numbers)
        book.add_alignments(rows_of_runs[0], tests, kept[0], share.weights)
    budget.spent(read, book.numbers, book.bytes)
    reasons = {
        "were not read for curves and weights": unread,
        "have curves that are left out": book.no_curves,
        "have weights that are left out": book.no_weights,
    }
    left = [
        f"{n} of {len(groups)} points of the grid {what}, to keep the file small" for what, n in reasons.items() if n
    ]
    return Lookback(book.curves, book.alignments, list(book.pool), left)


def _groups(frame: pd.DataFrame, points: Sequence[str]) -> list[list[list[int]]]:
    """The successful runs of each point of the grid, and the rows of each run, in the order of the table."""
    found: dict[tuple[str, ...], dict[str, list[int]]] = {}
    keys = zip(*(frame[c].map(repr) for c in points), strict=True) if points else iter([()] * len(frame))
    wanted = zip(keys, frame["run_id"], frame["status"], strict=True)
    for row, (key, run_id, status) in enumerate(wanted):
        if status == "ok":
            found.setdefault(tuple(key), {}).setdefault(run_id, []).append(row)
    return [list(runs.values()) for runs in found.values()]


def _arrays(run_id: str, artifacts: bytes, weights: bool, opened: Store) -> Mapping[str, np.ndarray[Any, Any]]:
    """The curves of one run, and its alignments if they are wanted. The learned arrays are not read."""
    wanted = ("loss_curve", "validation_curve.", *(("test.",) if weights else ()))
    try:
        return arrays_in(artifacts, lambda name: name.startswith(wanted))
    except Unfit as error:
        raise StoreError(f"{opened.path}: run {run_id}: {error}; sweep it again with --rerun all") from None


class _Pages:
    """What has been kept so far, and how much it is."""

    def __init__(self) -> None:
        self.curves: list[dict[str, Any]] = []
        self.alignments: list[dict[str, Any]] = []
        self.pool: dict[str, int] = {}
        self.numbers = self.bytes = self.no_curves = self.no_weights = 0

    def add_curves(self, row: int, runs: Sequence[Mapping[str, Any]], limit: int) -> None:
        drawn = [
            {"row": row, "series": name, "seeds": len(curves), **_summary(curves)} for name, curves in _series(runs)
        ]
        size = sum(len(curve["x"]) * 4 for curve in drawn)
        if self.numbers + size > limit:
            self.no_curves += 1
            return
        self.curves += drawn
        self.numbers += size

    def add_alignments(self, rows: Sequence[int], tests: Sequence[str], arrays: Mapping[str, Any], limit: int) -> None:
        drawn = [(row, cut) for row in rows if (cut := _cut(arrays, f"test.{tests[row]}")) is not None]
        numbers = sum(cut[name].size for _, cut in drawn for name in _KEPT if cut[name] is not None)
        if self.bytes + 3 * numbers > limit:
            self.no_weights += 1
            return
        for row, cut in drawn:
            places = {name: None if a is None else self._place(a) for name, a in cut.items() if name in _KEPT}
            shared = {"shape": list(cut["W"].shape), "whole": cut["whole"], "tokens": cut["tokens"]}
            self.alignments.append({"row": row, **shared, **{_KEPT[name]: place for name, place in places.items()}})

    def _place(self, array: Any) -> int:
        """The place of an array in the pool. An array that is there already is not added again."""
        text = halves(array)
        if text not in self.pool:
            self.pool[text] = len(self.pool)
            self.bytes += len(text)
        return self.pool[text]


_KEPT = {"W": "w", "gold": "gold", "mask": "mask"}


def _cut(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    """The weights of the first examples with gold, mask and tokens, cut to what a page can show."""
    W = arrays.get(f"{prefix}.W")
    if W is None or W.ndim != 3 or 0 in W.shape:
        return None
    q = min(W.shape[1], QUERIES)
    k = min(W.shape[2], CELLS // q)
    cut: dict[str, Any] = {"W": W[:EXAMPLES, :q, :k], "whole": [int(W.shape[1]), int(W.shape[2])]}
    for name in ("gold", "mask"):
        links = arrays.get(f"{prefix}.{name}")
        cut[name] = links[:EXAMPLES, :q, :k] if links is not None and links.shape == W.shape else None
    tokens = arrays.get(f"{prefix}.tokens")
    cut["tokens"] = None
    if tokens is not None and tokens.dtype.kind == "U" and tokens.ndim == 0:
        pairs = json.loads(str(tokens))[:EXAMPLES]
        cut["tokens"] = [[[str(t)[:40] for t in side[:CELLS]] for side in pair] for pair in pairs]
    return cut


def _series(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[tuple[Any, Any]]]]:
    """Each curve that the runs have, as (steps, values) of each run."""
    for name in dict.fromkeys(name for arrays in runs for name in arrays):
        found = []
        if name == "loss_curve":
            found = [(np.arange(1, len(a[name]) + 1), a[name]) for a in runs if name in a]
        elif name.startswith("validation_curve.") and name != "validation_curve.step":
            step = "validation_curve.step"
            found = [(a[step] if step in a else np.arange(1, len(a[name]) + 1), a[name]) for a in runs if name in a]
        found = [(x, y) for x, y in found if len(y) > 1 and x.shape == y.shape]
        if found:
            yield "training loss" if name == "loss_curve" else name.replace("validation_curve.", "validation "), found


def _summary(curves: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Mean, least and greatest over the seeds at each step. A long curve is averaged in bins of steps first.

    After a seed has stopped early, the numbers are those of the other seeds.
    """
    longest = max((x for x, _ in curves), key=len)
    values = np.full((len(curves), len(longest)), np.nan)
    for i, (_, y) in enumerate(curves):
        values[i, : len(y)] = y
    values[~np.isfinite(values)] = np.nan
    bins = np.array_split(np.arange(len(longest)), min(len(longest), CURVE_POINTS))
    held = [b for b in bins if np.isfinite(values[:, b]).any()]
    binned = np.array([_means(values[:, b]) for b in held]).reshape(len(held), len(curves))
    return {
        "x": [plain(longest[b].mean()) for b in held],
        "mean": [plain(v, 4) for v in _means(binned)],
        "low": [plain(np.nanmin(v), 4) for v in binned],
        "high": [plain(np.nanmax(v), 4) for v in binned],
    }


def _means(values: Any) -> Any:
    """The mean of the finite values of each row; NaN if there is none."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, values, 0.0).sum(axis=-1) / there.sum(axis=-1)
