"""Pictures: weights with their tokens and true links, and claims with their seeds, interval and bound.

The colours are those of Okabe and Ito, which colour-blind people can tell apart. Each verdict also has a shape of its own.
"""

from __future__ import annotations

import functools
import os
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.analysis.claims import judge
from attnlab.analysis.summary import direction_of
from attnlab.analysis.verdicts import drawn_range
from attnlab.errors import SettingError, ShapeError
from attnlab.tables import check_new, setting_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attnlab.analysis.claims import Judgement
    from attnlab.sweeps.experiment.claims import Claim
    from attnlab.sweeps.experiment.read import Experiment

__all__ = ["alignment_figure", "claims_figure", "new_picture", "plot_alignment", "plot_claim", "save"]

INK, FAINT, ALLOWED = "#333333", "#b8b8b8", "#e6f0f7"
LINK = "#D55E00"
VERDICTS = {
    "supported": ("#0072B2", "o"),
    "refuted": ("#D55E00", "X"),
    "undecided": ("#666666", "D"),
    "identity": ("#666666", "s"),
}
FORMATS = (".png", ".svg")
LONGEST = 20  # characters of a token that are drawn
# Where matplotlib looks for a glyph that its own font lacks; simplified Chinese comes before the other Han scripts.
FALLBACKS = [
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei", "Noto Sans CJK JP", "Droid Sans Fallback"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Hebrew", "Noto Sans Thai", "Arial Unicode MS"),
]


def _matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SettingError("pictures need matplotlib: pip install 'attnlab[report]'") from None


def _figure(width: float, height: float) -> Figure:
    _matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _own_axes(width: float, height: float) -> Axes:
    """The axes of a new pyplot figure, which a notebook shows."""
    _matplotlib()
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained", facecolor="white")
    return figure.add_subplot()


# -- alignments -------------------------------------------------------------------------------------------------------
def plot_alignment(
    W: Any,
    source: Sequence[str] | None = None,
    target: Sequence[str] | None = None,
    gold: Any = None,
    possible: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of one example: a row for each query (target), a column for each key (source).

    Parameters
    ----------
    W : array (q, k)
        Weights. If some are negative, white is zero and two colours tell the signs apart.
    source : sequence of k str, or None
        The tokens of the keys, along the top.
    target : sequence of q str, or None
        The tokens of the queries, down the side.
    gold : array (q, k) or None
        The true links, drawn as filled dots; an entry that is not zero is a link.
    possible : array (q, k) or None
        Possible links, drawn as hollow dots where there is no true link.
    ax : matplotlib Axes or None
        Where to draw; a new pyplot figure if None.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ShapeError
        When W is not two axes of finite numbers, or the tokens or links do not fit it.
    SettingError
        When matplotlib is not installed.

    Warns
    -----
    UserWarning
        When no font has a character of a token. It is then drawn as its code point.

    Examples
    --------
    >>> ax = plot_alignment([[0.9, 0.1], [0.2, 0.8]], source=["Tom", "Jerry"], target=["T", "J"], gold=np.eye(2))
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['Tom', 'Jerry']
    """
    W = np.asarray(W, dtype=float)
    if W.ndim != 2 or 0 in W.shape or not np.isfinite(W).all():
        raise ShapeError(f"W must be finite weights (q, k) of one example, such as W[0]; got shape {W.shape}")
    links = {"gold": gold, "possible": possible}
    arrays = {name: np.asarray(given) != 0 for name, given in links.items() if given is not None}
    for name, array in arrays.items():
        if array.shape != W.shape:
            raise ShapeError(f"{name} must be (q, k) = {W.shape}, as W; got shape {array.shape}")
    for name, letter, tokens, size in (("target", "q", target, W.shape[0]), ("source", "k", source, W.shape[1])):
        if tokens is not None and len(tokens) != size:
            raise ShapeError(
                f"axis {letter!r} disagrees: W has {size}, {name} has {len(tokens)} tokens; "
                "leave padding out with W[:len(target), :len(source)]"
            )
    if ax is None:
        ax = _own_axes(*_alignment_size(W.shape, source, target))
    _draw_weights(ax, W)
    _draw_tokens(ax, source, target, _cell_size(W.shape))
    side = 72 * _cell_size(W.shape)
    sure = arrays.get("gold", np.zeros(W.shape, dtype=bool))
    _draw_links(ax, sure, side, "sure", LINK)
    if "possible" in arrays:
        _draw_links(ax, arrays["possible"] & ~sure, side, "possible", "none")
    if ax.get_legend_handles_labels()[0]:
        legend = ax.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=2, frameon=False, fontsize=8, labelcolor=INK)
        for handle in legend.legend_handles:
            handle.set_sizes([42])  # type: ignore[union-attr]
    return ax


def _cell_size(shape: tuple[int, ...]) -> float:
    """The side of one weight, in inches."""
    return min(0.45, 10 / max(shape))


def _alignment_size(
    shape: tuple[int, ...], source: Sequence[str] | None, target: Sequence[str] | None
) -> tuple[float, float]:
    """Width and height in inches, with room for the tokens."""
    longest = [min(max((len(str(t)) for t in tokens or ()), default=0), LONGEST) for tokens in (target, source)]
    q, k = shape
    return 1.4 + 0.1 * longest[0] + _cell_size(shape) * k, 1.1 + 0.08 * longest[1] + _cell_size(shape) * q


def _draw_weights(ax: Axes, W: np.ndarray) -> None:
    low, high = float(W.min()), float(W.max())
    if low < 0:
        size = max(-low, high)
        limits, colours = (-size, size), "RdBu"
    else:
        limits, colours = (0.0, 1.0 if 0.5 < high <= 1 else high or 1.0), "Blues"
    image = ax.imshow(W, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="equal", interpolation="nearest")
    ax.set_xticks(np.arange(W.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(W.shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2.6 * _cell_size(W.shape))
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ticks = np.linspace(*limits, 3)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02, aspect=24, shrink=0.9, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=INK)
    bar.set_label("weight", fontsize=8, color=INK)


def _draw_tokens(ax: Axes, source: Sequence[str] | None, target: Sequence[str] | None, cell: float) -> None:
    from matplotlib.ticker import MaxNLocator

    texts, families = _drawable([str(t) for t in (*(source or ()), *(target or ()))])
    texts = [text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in texts]
    keys, queries = (texts[: len(source)] if source else []), (texts[len(source or ()) :] if target else [])
    ax.xaxis.tick_top()
    for axis, words in ((ax.xaxis, keys), (ax.yaxis, queries)):
        if not words:
            axis.set_major_locator(MaxNLocator(10, integer=True))
            axis.set_tick_params(labelsize=8, labelcolor=INK)
            continue
        axis.set_ticks(range(len(words)), words)
        for label in axis.get_ticklabels():
            label.set(fontfamily=families, fontsize=min(10, 60 * cell), color=INK, parse_math=False)
    if max(map(len, keys), default=0) > 3:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="left", va="bottom", rotation_mode="anchor")
    if not keys:
        ax.set_xlabel("key", fontsize=8, color=INK)
        ax.xaxis.set_label_position("top")
    if not queries:
        ax.set_ylabel("query", fontsize=8, color=INK)


def _draw_links(ax: Axes, links: np.ndarray, side: float, label: str, fill: str) -> None:
    rows, columns = np.nonzero(links)
    if not len(rows):
        return
    area = (0.34 * side) ** 2
    edge = "white" if fill != "none" else LINK
    if fill == "none":  # a white ring beneath keeps a hollow dot visible on dark cells
        ax.scatter(columns, rows, s=area, facecolors="none", edgecolors="white", linewidths=0.1 * side)
    ax.scatter(columns, rows, s=area, facecolors=fill, edgecolors=edge, linewidths=0.045 * side, label=label)


# -- claims -----------------------------------------------------------------------------------------------------------
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
    ax = _own_axes(7.2, _height(judged[claim])) if ax is None else ax
    _draw_claim(judged[claim], ax)
    return ax


def claims_figure(judged: Sequence[Judgement]) -> Figure:
    """Claims below one another. Each has an axis of its own, since it has a unit of its own."""
    if not judged:
        raise SettingError("the experiment makes no claim, so there is nothing to draw; write one under `claims:`")
    heights = [_height(one) for one in judged]
    figure = _figure(7.2, sum(heights))
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
    said, families = _drawable(_said(judgement))
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


# -- fonts ------------------------------------------------------------------------------------------------------------
def _drawable(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts that can be drawn, and the font families in which matplotlib looks for each glyph.

    A character that no family has is replaced by its code point (`<U+6C64>`). One warning names them all.
    """
    from matplotlib import rcParams

    wanted = set("".join(texts)) - {" ", "\n"}
    families = tuple(rcParams["font.family"])
    for refresh in (False, True):
        if wanted - _characters(families):
            families = (*rcParams["font.family"], *_fallbacks(refresh))
    missing = wanted - _characters(families)
    if missing:
        shown = " ".join(sorted(missing)[:12]) + (" ..." if len(missing) > 12 else "")
        warnings.warn(
            f"no font has {shown}, drawn as code points; install Noto Sans CJK (Debian and Ubuntu: fonts-noto-cjk) for "
            "Chinese, Japanese and Korean, or name a font that has them in matplotlib.rcParams['font.family']",
            UserWarning,
            stacklevel=3,
        )
    return ["".join(f"<U+{ord(c):04X}>" if c in missing else c for c in text) for text in texts], list(families)


def _fallbacks(refresh: bool) -> list[str]:
    """The families of `FALLBACKS` that are installed; `refresh` adds those that matplotlib has not seen yet."""
    from matplotlib.font_manager import get_font_names

    if refresh:
        _look_for_fonts()
    installed = set(get_font_names())
    return [name for name in FALLBACKS if name in installed]


@functools.lru_cache(maxsize=8)
def _characters(families: tuple[str, ...]) -> frozenset[str]:
    """The characters that some families have together."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = {findfont(FontProperties(family=[family])) for family in families}
    return frozenset(chr(code) for file in files for code in get_font(file).get_charmap())


@functools.cache
def _look_for_fonts() -> None:
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known:
            fontManager.addfont(path)


# -- files ------------------------------------------------------------------------------------------------------------
def alignment_figure(
    shape: tuple[int, ...], source: Sequence[str] | None = None, target: Sequence[str] | None = None
) -> tuple[Figure, Axes]:
    """A figure without pyplot, with the right size for weights of this shape and these tokens."""
    figure = _figure(*_alignment_size(shape, source, target))
    return figure, figure.add_subplot()


def new_picture(path: str | os.PathLike[str]) -> None:
    """Check that a picture can be written: a new .png or .svg in a folder that exists (SettingError)."""
    if Path(path).suffix.lower() not in FORMATS:
        raise SettingError(f"--output {path}: the name of a picture ends in .png or .svg")
    check_new(os.fspath(path))


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG or an SVG, as the name ends. The same picture gives the same file."""
    import matplotlib

    png = Path(path).suffix.lower() == ".png"
    metadata = {"Software": None} if png else {"Date": None, "Creator": None}
    with matplotlib.rc_context({"svg.hashsalt": "attnlab", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata=metadata)
