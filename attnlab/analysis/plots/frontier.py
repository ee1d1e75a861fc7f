"""Quality against cost, with the names of the competitors that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.analysis.frontier import frontier
from attnlab.analysis.plots.drawing import BLUE, FAINT, INK, drawable, new_figure, new_pyplot_figure
from attnlab.errors import SettingError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_frontier", "frontier_figure", "plot_frontier"]

LINE = 14  # points from one name to the next
WORDS = {
    "operations_per_query": "operations per query",
    "n_parameters": "learned numbers",
    "fit_seconds": "seconds to fit",
}


def plot_frontier(
    frame: pd.DataFrame,
    metric: str,
    cost: str = "operations_per_query",
    by: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    direction: str | None = None,
    missing: str = "error",
) -> Axes:
    """Draw quality against cost: a point a competitor; those that no other beats in both are numbered and named.

    Parameters
    ----------
    frame, metric, cost, by, direction, missing : as of `attnlab.analysis.frontier.frontier`
        The metric is drawn upwards where it is better, and its 95 % interval over tasks as a line.
    ax : matplotlib Axes or None
        Where to draw; a new pyplot figure if None.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    SettingError
        When the frame is no results table, a column is unknown, runs are missing, no competitor has both numbers, or
        matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"similarity": ["dot", "cosine", "additive"], "accuracy": [0.7, 0.6, 0.9], "n_parameters": [0, 1, 64]}
    >>> frame = pd.DataFrame(rows).assign(run_id=list("abc"), task="copy", test="test", status="ok", seed=0)
    >>> ax = plot_frontier(frame, "accuracy", "n_parameters")
    >>> [text.get_text() for text in ax.texts if text.get_gid() == "name"]
    ['dot', 'additive']
    """
    table = frontier(frame, metric, cost, by, direction=direction, missing=missing)
    _check(table, metric, cost)
    if ax is None:
        ax = new_pyplot_figure(*_size(table)).add_subplot()
    draw_frontier(table, metric, cost, ax)
    return ax


def frontier_figure(table: pd.DataFrame, metric: str, cost: str) -> Figure:
    """The picture of a table of `frontier`, without pyplot."""
    _check(table, metric, cost)
    figure = new_figure(*_size(table))
    draw_frontier(table, metric, cost, figure.add_subplot())
    return figure


def _check(table: pd.DataFrame, metric: str, cost: str) -> None:
    if table.empty:
        raise SettingError(f"no competitor has both {metric} and {cost}, so there is nothing to draw")


def draw_frontier(table: pd.DataFrame, metric: str, cost: str, ax: Axes) -> None:
    x, y, dominated = (table[c].to_numpy() for c in (cost, metric, "dominated"))
    for on, colour, size in ((dominated, FAINT, 26), (~dominated, BLUE, 46)):
        there = on & table["low"].notna().to_numpy()
        low, high = (np.abs(table[end].to_numpy() - y)[there] for end in ("low", "high"))
        if there.any():
            ax.errorbar(x[there], y[there], yerr=[low, high], fmt="none", ecolor=colour, elinewidth=1.2, zorder=2)
        label = "beaten in both by another" if colour == FAINT else "not beaten in both"
        if on.any():
            ax.scatter(x[on], y[on], s=size, color=colour, edgecolors="white", linewidths=0.8, zorder=4, label=label)
    front = table[~table["dominated"]]
    ax.step(front[cost], front[metric], where="post", color=BLUE, linewidth=1.2, alpha=0.6, zorder=1)
    if (x > 0).all() and x.max() > 10 * x.min():
        ax.set_xscale("log")
    if table.attrs["direction"] == "down":
        ax.invert_yaxis()
    ax.margins(x=0.12, y=0.14)
    _name(ax, front, metric, cost)
    ax.set_xlabel(f"{WORDS.get(cost, cost)} (cheaper to the left)", fontsize=9, color=INK)
    ax.set_ylabel(f"{metric} (better upwards)", fontsize=9, color=INK)
    ax.spines[["right", "top"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(color=FAINT, labelcolor=INK, labelsize=8)
    ax.grid(color="#eeeeee", zorder=0)
    ax.set_axisbelow(True)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.13), ncols=2, frameon=False, fontsize=8, labelcolor=INK)


def _name(ax: Axes, front: pd.DataFrame, metric: str, cost: str) -> None:
    """Number the points, and write the names beside the axes: names at the points would lie on one another."""
    names, families = drawable(front["label"].tolist())
    style: dict[str, Any] = {"fontsize": 9, "color": INK, "va": "top", "annotation_clip": False}
    numbers: dict[tuple[float, float], int] = {}
    for line, (name, x, y) in enumerate(zip(names, front[cost], front[metric], strict=True)):
        at = (float(f"{x:.9g}"), float(f"{y:.9g}"))
        if at not in numbers:
            numbers[at] = len(numbers) + 1
            ax.annotate(
                str(numbers[at]), (x, y), (-7, 5), textcoords="offset points", ha="center", fontsize=9, color=INK
            ).set_gid("number")
        place = (10, -2 - LINE * line)
        ax.annotate(f"{numbers[at]}", (1, 1), place, "axes fraction", "offset points", **style).set_gid("number")
        ax.annotate(
            name,
            (1, 1),
            (place[0] + 16, place[1]),
            "axes fraction",
            "offset points",
            fontfamily=families,
            parse_math=False,
            **style,
        ).set_gid("name")


def _size(table: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches, with room for the names."""
    names = table.loc[~table["dominated"], "label"]
    return 6.2 + 0.085 * names.map(len).max(), max(4.4, 1.0 + LINE * len(names) / 72)
