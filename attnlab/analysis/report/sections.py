"""Further sections of a chapter that a program of its own adds: sentences, small tables, and quality against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["CostPlot", "Section", "cost_plot"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 820, 400, 52, 210, 16, 44
APART = 15  # between two lines of text


@dataclass(frozen=True)
class Section:
    """What is between two headings. Words in `backquotes` are code."""

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()  # a list
    # (what is said above it, its columns, each [head, *cells], and which of them are numbers)
    tables: Sequence[tuple[str, Sequence[Sequence[str]], Sequence[bool]]] = ()
    plot: CostPlot | None = None


@dataclass(frozen=True)
class CostPlot:
    """A picture of quality against cost, in the units of its own box."""

    quality: str
    cost: str
    points: Sequence[dict[str, Any]]  # x, y, low, high, name, said, on (no other beats it), label_x, label_y, end
    line: str  # the frontier, as the points of a polyline
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    box: tuple[int, int] = (WIDTH, HEIGHT)
    edges: tuple[int, int, int, int] = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM)


def cost_plot(rows: pd.DataFrame, quality: str, cost: str) -> CostPlot | None:
    """The picture of what `attnlab.analysis.frontier` gives, on a logarithmic axis of costs; None where nothing costs anything.

    Parameters
    ----------
    rows : DataFrame
        With `label`, `dominated`, `low`, `high`, the quality and the cost.
    """
    rows = rows[rows[cost] > 0]
    if rows.empty:
        return None
    least, most = math.log10(rows[cost].min()), math.log10(rows[cost].max())
    least, most = least - 0.04 * max(most - least, 1), most + 0.04 * max(most - least, 1)
    bottom = min(0.0, float(rows[["low", quality]].min().min()))
    top = float(rows[["high", quality]].max().max())

    def across(x: float) -> float:
        return round(LEFT + (math.log10(x) - least) / (most - least) * (WIDTH - LEFT - RIGHT), 1)

    def up(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - bottom) / ((top - bottom) or 1) * (HEIGHT - TOP - BOTTOM), 1)

    points = []
    for row in rows.to_dict("records"):
        low, high = (row[end] if row[end] == row[end] else row[quality] for end in ("low", "high"))
        said = f"{row['label']}: {quality} {row[quality]:.3g} [{low:.3g}, {high:.3g}], {row[cost]:,.0f} {cost}"
        place = {"x": across(row[cost]), "y": up(row[quality]), "low": up(low), "high": up(high)}
        points.append(
            {**place, "name": row["label"], "said": said.replace("-", "\N{MINUS SIGN}"), "on": not row["dominated"]}
        )
    best = [p for p in points if p["on"]]
    _label(best)
    steps = " ".join(f"{p['x']},{p['y']}" for p in best)
    decades = range(math.ceil(least), math.floor(most) + 1)
    x_ticks = [
        (across(m * 10.0**n), f"{m * 10.0**n:,.0f}") for n in range(math.floor(least), math.ceil(most)) for m in (1, 3)
    ]
    x_ticks = (
        [(x, said) for x, said in x_ticks if LEFT <= x <= WIDTH - RIGHT]
        if len(decades) < 4
        else [(across(10.0**n), f"{10.0**n:,.0f}") for n in decades]
    )
    y_ticks = [
        (up(k / 5), f"{k / 5:.1f}".replace("-", "\N{MINUS SIGN}"))
        for k in range(math.ceil(5 * bottom), math.floor(5 * top) + 1)
    ]
    return CostPlot(quality, cost, points, steps, x_ticks, y_ticks)


def _label(points: list[dict[str, Any]]) -> None:
    """Where the names go: at the right margin, in the order of the points and apart from each other."""
    at = HEIGHT - BOTTOM + APART
    for point in sorted(points, key=lambda one: -one["y"]):
        at = min(at - APART, point["y"])
        point["label_y"] = round(at, 1)
    over = TOP - min((point["label_y"] for point in points), default=TOP)
    if over > 0:
        for point in points:
            point["label_y"] = round(point["label_y"] + over, 1)
