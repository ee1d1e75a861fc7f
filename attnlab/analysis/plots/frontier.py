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

SIZE = (7.2, 4.6)  # inches
APART = 13  # points between the names of two competitors
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
    """Draw quality against cost: a point a competitor, and the names of those that no other beats in both.

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
    >>> [text.get_text() for text in ax.texts]
    ['dot', 'additive']
    """
    table = frontier(frame, metric, cost, by, direction=direction, missing=missing)
    if ax is None:
        ax = new_pyplot_figure(*SIZE).add_subplot()
    draw_frontier(table, metric, cost, ax)
    return ax


def frontier_figure(table: pd.DataFrame, metric: str, cost: str) -> Figure:
    """The picture of a table of `frontier`, without pyplot."""
    figure = new_figure(*SIZE)
    draw_frontier(table, metric, cost, figure.add_subplot())
    return figure


def draw_frontier(table: pd.DataFrame, metric: str, cost: str, ax: Axes) -> None:
    if table.empty:
        raise SettingError(f"no competitor has both {metric} and {cost}, so there is nothing to draw")
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
    ax.legend(loc="lower right", frameon=False, fontsize=8, labelcolor=INK)


def _name(ax: Axes, front: pd.DataFrame, metric: str, cost: str) -> None:
    """Write each name above its point; names that would lie on one another are moved apart."""
    names, families = drawable(front["label"].tolist())
    style: dict[str, Any] = {"fontfamily": families, "parse_math": False, "fontsize": 9, "color": INK}
    height = ax.get_figure(root=True).get_figheight() * 72 * 0.75  # type: ignore[union-attr]
    bottom, top = ax.get_ylim()
    last = -np.inf
    for name, x, y in zip(names, front[cost], front[metric], strict=True):
        at = (y - bottom) / (top - bottom) * height  # points above the axis
        lifted = max(at + 7, last + APART)
        last = lifted
        arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.7} if lifted - at > 10 else None
        ax.annotate(
            name,
            (x, y),
            xytext=(-4 if arrow else 0, lifted - at),
            textcoords="offset points",
            ha="right" if arrow else "center",
            arrowprops=arrow,
            **style,
        )
