"""Claims with their seeds, interval and bound. Each verdict has a shape of its own beside its colour."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.analysis.claims import judge
from attnlab.analysis.plots.drawing import BLUE, FAINT, INK, ORANGE, drawable, new_figure, new_pyplot_figure
from attnlab.analysis.summary import direction_of
from attnlab.analysis.verdicts import drawn_range
from attnlab.errors import SettingError
from attnlab.tables import setting_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attnlab.analysis.claims import Judgement
    from attnlab.sweeps.experiment.claims import Claim
    from attnlab.sweeps.experiment.read import Experiment

__all__ = ["claims_figure", "plot_claim"]

ALLOWED = "#e6f0f7"
VERDICTS = {
    "supported": (BLUE, "o"),
    "refuted": (ORANGE, "X"),
    "undecided": ("#666666", "D"),
    "identity": ("#666666", "s"),
}


def plot_claim(
    frame: pd.DataFrame,
    experiment: Experiment | str | os.PathLike[str] | Mapping[str, Any],
    claim: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw a claim: a point for each seed, mean and 95 % interval, and the bound. What the claim allows is shaded.

    Parameters
    ----------
    frame : DataFrame
        The results table that `check_claims` takes.
    experiment : Experiment, path or mapping
    claim : int
        Which of its claims, from 0.
    ax : matplotlib Axes or None
        Where to draw; a new pyplot figure if None.

    Raises
    ------
    SettingError
        When there is no such claim, or matplotlib is not installed.
    """
    judged = judge(frame, experiment)
    if not 0 <= claim < len(judged):
        raise SettingError(f"there is no claim {claim}; the experiment has {len(judged)}, counted from 0")
    ax = new_pyplot_figure(7.2, _height(judged[claim])).add_subplot() if ax is None else ax
    _draw_claim(judged[claim], ax)
    return ax


def claims_figure(judged: Sequence[Judgement]) -> Figure:
    """Claims below one another. Each has an axis of its own, since it has a unit of its own."""
    if not judged:
        raise SettingError("the experiment makes no claim, so there is nothing to draw; write one under `claims:`")
    heights = [_height(one) for one in judged]
    figure = new_figure(7.2, sum(heights))
    figure.get_layout_engine().set(h_pad=0.09)  # type: ignore[union-attr, call-arg]
    for one, ax in zip(
        judged, figure.subplots(len(judged), 1, squeeze=False, height_ratios=heights)[:, 0], strict=True
    ):
        _draw_claim(one, ax)
    return figure


def _said(judgement: Judgement) -> list[str]:
    return textwrap.wrap(judgement.claim.say, 84) or [""]


def _height(judgement: Judgement) -> float:
    return 1.2 + 0.17 * len(_said(judgement))


def _draw_claim(judgement: Judgement, ax: Axes) -> None:
    claim, decision, region = judgement.claim, judgement.decision, judgement.region
    colour, shape = VERDICTS[decision.verdict]
    seeds = np.array(list(judgement.by_seed.values()))
    marks = [*seeds, decision.low, decision.high, *region.bounds, *([0.0] if claim.form == "better" else [])]
    left, right = drawn_range(marks)

    for low, high in [(left, right)] if region.not_zero else [(max(region.low, left), min(region.high, right))]:
        ax.axvspan(low, high, color=ALLOWED, linewidth=0, zorder=0)
    for bound in region.bounds:
        ax.axvline(bound, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.scatter(seeds, np.full(len(seeds), -0.45), s=26, color=colour, alpha=0.55, linewidths=0, zorder=3)
    if np.isfinite(decision.low):
        ax.plot([decision.low, decision.high], [0.4, 0.4], color=colour, linewidth=2.6, solid_capstyle="butt", zorder=3)
    if np.isfinite(decision.effect):
        ax.scatter([decision.effect], [0.4], s=62, marker=shape, color=colour, edgecolors="white", zorder=4)
    else:
        ax.text(0.02, 0.5, "no seed has a value", transform=ax.transAxes, va="center", color=INK, fontsize=9)
    ax.set(xlim=(left, right), ylim=(-1, 1), yticks=[])
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    ax.tick_params(axis="x", color=FAINT, labelcolor=INK, labelsize=8)
    said, families = drawable(_said(judgement))
    style: dict[str, Any] = {"fontfamily": families, "parse_math": False}
    ax.set_title("\n".join(said), loc="left", fontsize=9.5, color=INK, **style)
    if decision.doubtful:
        ax.text(
            0.99,
            0.94,
            "doubtful",
            transform=ax.transAxes,
            ha="right",
            va="top",
            color=INK,
            fontsize=8.5,
            style="italic",
        )
    ax.set_title(f"{decision.verdict}, n = {decision.n}", loc="right", fontsize=9.5, color=colour, fontweight="bold")
    ax.set_xlabel(_effect_label(claim), fontsize=8, color=INK, **style)


def _effect_label(claim: Claim) -> str:
    """What the horizontal axis shows."""
    if claim.form == "correlation":
        return "correlation of " + " and ".join(claim.metrics)
    (metric,) = claim.metrics
    sides = [_selection(chosen) for _, chosen in claim.selections()]
    if not sides:
        return metric
    if claim.form == "better" and direction_of(metric) == "down":
        sides.reverse()
    return f"{metric}: {sides[0]} minus {sides[1]}"


def _selection(chosen: Mapping[str, Any]) -> str:
    words = []
    for key, value in chosen.items():
        text = " or ".join(map(setting_text, value if isinstance(value, list) else [value]))
        words.append(f"{key} {text}" if "." in key else text)
    return ", ".join(words)
