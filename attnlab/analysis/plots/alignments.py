"""Weights with their tokens and true links: of one mechanism, or of several on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np

from attnlab.analysis.plots.drawing import INK, ORANGE, drawable, new_figure, new_pyplot_figure
from attnlab.errors import SettingError, ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["alignment_figure", "alignments_figure", "draw_alignments", "plot_alignment", "plot_alignments"]

LONGEST = 20  # characters of a token that are drawn
BAR, GAP = 0.12, 0.08  # inches: the width of a colour bar, and its distance from the weights
WIDEST = 14.0  # inches: pictures that need more stand below one another

Tokens = Sequence[str] | None


def plot_alignment(
    W: Any,
    source: Tokens = None,
    target: Tokens = None,
    gold: Any = None,
    possible: Any = None,
    ax: Axes | None = None,
    vmax: float | None = None,
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
    vmax : float or None
        The weight that has the full colour, so that pictures can be compared; the scale begins at 0, or at -vmax where
        weights are negative. None is 1 where the largest weight is above a half, else the largest weight.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ShapeError
        When W is not two axes of finite numbers, or the tokens or links do not fit it.
    SettingError
        When vmax is not above 0, or matplotlib is not installed.

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
    W = _weights("W", W, source, target)
    links = _links(W, gold, possible)
    _check_scale(vmax)
    if ax is None:
        ax = new_pyplot_figure(*_size(W.shape, source, target)).add_subplot()
    high = float(np.abs(W).max())
    top = vmax or (1.0 if 0.5 < high <= 1 and W.min() >= 0 else high or 1.0)
    _draw(ax, W, source, target, links, (-top if W.min() < 0 else 0.0, top))
    _add_legend(ax)
    return ax


def plot_alignments(
    weights: Mapping[str, Any],
    source: Tokens = None,
    target: Tokens = None,
    gold: Any = None,
    possible: Any = None,
    vmax: float | None = None,
) -> list[Axes]:
    """Draw the weights that several mechanisms gave to one example, side by side on one scale.

    Parameters
    ----------
    weights : mapping of str to array (q, k)
        The weights of each mechanism, by the name that is written above them.
    source, target, gold, possible : as of `plot_alignment`, the same for all
    vmax : float or None
        The weight that has the full colour. None is the larger of 1 and the largest weight of all.

    Returns
    -------
    list of matplotlib Axes
        One a mechanism, in a new pyplot figure.

    Raises
    ------
    ShapeError
        When weights differ in their shape, or as `plot_alignment` says.
    SettingError
        When there are no weights, vmax is not above 0, or matplotlib is not installed.

    Examples
    --------
    >>> axes = plot_alignments({"dot": [[0.9, 0.1]], "cosine": [[0.6, 0.4]]}, source=["Tom", "Jerry"])
    >>> [ax.get_title() for ax in axes], {ax.images[0].get_clim() for ax in axes}
    (['dot', 'cosine'], {(0.0, 1.0)})
    """
    arrays = _same_shape(weights, source, target)
    width, height, _ = _sizes(len(arrays), next(iter(arrays.values())).shape, source, target)
    return draw_alignments(new_pyplot_figure(width, height), arrays, source, target, gold, possible, vmax)


def draw_alignments(
    figure: Figure,
    weights: Mapping[str, Any],
    source: Tokens = None,
    target: Tokens = None,
    gold: Any = None,
    possible: Any = None,
    vmax: float | None = None,
) -> list[Axes]:
    """The same in a figure that is there already, such as that of `alignments_figure`."""
    arrays = _same_shape(weights, source, target)
    _check_scale(vmax)
    first = next(iter(arrays.values()))
    links = _links(first, gold, possible)
    top = vmax or max(1.0, *(float(np.abs(W).max()) for W in arrays.values()))
    limits = (-top if any(W.min() < 0 for W in arrays.values()) else 0.0, top)
    _, _, across = _sizes(len(arrays), first.shape, source, target)
    down = math.ceil(len(arrays) / across)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    names, families = drawable(list(arrays))
    for i, (ax, name, W) in enumerate(zip(grid, names, arrays.values(), strict=False)):
        ends = (i + 1) % across == 0 or i + 1 == len(arrays)
        _draw(ax, W, source, target, links, limits, bar=ends, queries=i % across == 0)
        ax.set_title(name, fontsize=10, color=INK, fontfamily=families, parse_math=False)
    for ax in grid[len(arrays) :]:
        ax.set_axis_off()
    _add_legend(grid[across * (down - 1)])
    return list(grid[: len(arrays)])


# -- what fits --------------------------------------------------------------------------------------------------------
def _weights(name: str, W: Any, source: Tokens, target: Tokens) -> np.ndarray:
    W = np.asarray(W, dtype=float)
    if W.ndim != 2 or 0 in W.shape or not np.isfinite(W).all():
        raise ShapeError(f"{name} must be finite weights (q, k) of one example, such as W[0]; got shape {W.shape}")
    for side, letter, tokens, size in (("target", "q", target, W.shape[0]), ("source", "k", source, W.shape[1])):
        if tokens is not None and len(tokens) != size:
            raise ShapeError(
                f"axis {letter!r} disagrees: {name} has {size}, {side} has {len(tokens)} tokens; "
                f"leave padding out with {name}[:len(target), :len(source)]"
            )
    return W


def _same_shape(weights: Mapping[str, Any], source: Tokens, target: Tokens) -> dict[str, np.ndarray]:
    if not isinstance(weights, Mapping) or not weights:
        raise SettingError("weights: must be a mapping with the weights of each mechanism, {'dot': W, 'cosine': W}")
    arrays = {str(name): _weights(f"the weights of {name}", W, source, target) for name, W in weights.items()}
    shapes = {name: W.shape for name, W in arrays.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(f"the weights of one example have one shape (q, k) under all mechanisms; got {said}")
    return arrays


def _links(W: np.ndarray, gold: Any, possible: Any) -> dict[str, np.ndarray]:
    links = {"gold": gold, "possible": possible}
    arrays = {name: np.asarray(given) != 0 for name, given in links.items() if given is not None}
    for name, array in arrays.items():
        if array.shape != W.shape:
            raise ShapeError(f"{name} must be (q, k) = {W.shape}, as W; got shape {array.shape}")
    return arrays


def _check_scale(vmax: float | None) -> None:
    if vmax is not None and not 0 < vmax < math.inf:
        raise SettingError(f"vmax: must be a weight above 0, such as 1; got {vmax}")


# -- sizes ------------------------------------------------------------------------------------------------------------
def _cell_size(shape: tuple[int, ...]) -> float:
    """The side of one weight, in inches."""
    return min(0.45, 10 / max(shape))


def _size(shape: tuple[int, ...], source: Tokens, target: Tokens) -> tuple[float, float]:
    """Width and height in inches, with room for the tokens."""
    longest = [min(max((_length(t) for t in tokens or ()), default=0), 2 * LONGEST) for tokens in (target, source)]
    q, k = shape
    return 1.4 + 0.1 * longest[0] + _cell_size(shape) * k, 1.1 + 0.08 * longest[1] + _cell_size(shape) * q


def _length(token: Any) -> int:
    """How wide a token is, in letters: one of Chinese, Japanese or Korean is as wide as two others."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in str(token)[:LONGEST])


def _sizes(n: int, shape: tuple[int, ...], source: Tokens, target: Tokens) -> tuple[float, float, int]:
    """Width and height of a figure with n pictures in inches, and how many stand side by side."""
    width, height = _size(shape, source, target)
    more = _cell_size(shape) * shape[1] + 0.4  # of each that stands beside the first, whose words are theirs
    across = min(n, 1 + max(0, int((WIDEST - width) // more)))
    return width + (across - 1) * more, math.ceil(n / across) * (height + 0.3), across


def alignment_figure(shape: tuple[int, ...], source: Tokens = None, target: Tokens = None) -> tuple[Figure, Axes]:
    """A figure without pyplot, with the right size for weights of this shape and these tokens."""
    figure = new_figure(*_size(shape, source, target))
    return figure, figure.add_subplot()


def alignments_figure(n: int, shape: tuple[int, ...], source: Tokens = None, target: Tokens = None) -> Figure:
    """A figure without pyplot, with the right size for the weights of n mechanisms."""
    return new_figure(*_sizes(n, shape, source, target)[:2])


# -- drawing ----------------------------------------------------------------------------------------------------------
def _draw(
    ax: Axes,
    W: np.ndarray,
    source: Tokens,
    target: Tokens,
    links: Mapping[str, np.ndarray],
    limits: tuple[float, float],
    bar: bool = True,
    queries: bool = True,
) -> None:
    cell = _cell_size(W.shape)
    _draw_weights(ax, W, limits, bar)
    _draw_tokens(ax, W.shape, source, target, cell)
    if not queries:
        ax.tick_params(axis="y", labelleft=False)
        ax.set_ylabel("")
    sure = links.get("gold", np.zeros(W.shape, dtype=bool))
    _draw_links(ax, sure, 72 * cell, "sure", ORANGE)
    if "possible" in links:
        _draw_links(ax, links["possible"] & ~sure, 72 * cell, "possible", "none")


def _draw_weights(ax: Axes, W: np.ndarray, limits: tuple[float, float], bar: bool) -> None:
    colours = "RdBu" if limits[0] < 0 else "Blues"
    image = ax.imshow(W, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="equal", interpolation="nearest")
    ax.set_xticks(np.arange(W.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(W.shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2.6 * _cell_size(W.shape))
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    if bar:
        _add_bar(ax, image, limits, tall=_cell_size(W.shape) * W.shape[0])


def _add_bar(ax: Axes, image: Any, limits: tuple[float, float], tall: float) -> None:
    """A colour bar as tall as the weights, whatever the size of the figure."""
    from matplotlib.transforms import Bbox

    side = ax.inset_axes((1.02, 0, 0.05, 1))

    def beside(_axes: Any, _renderer: Any) -> Bbox:
        figure, box = ax.get_figure(root=True), ax.get_position()
        assert figure is not None
        inch = 1 / figure.get_figwidth()
        return Bbox.from_bounds(box.x1 + GAP * inch, box.y0, BAR * inch, box.height)

    side.set_axes_locator(beside)
    ticks = np.linspace(*limits, 3 if tall > 0.4 else 2)
    above = float(np.abs(image.get_array()).max()) > limits[1]
    bar = ax.get_figure(root=True).colorbar(image, cax=side, ticks=ticks)  # type: ignore[union-attr]
    labels = [f"{tick:.2g}" for tick in ticks]
    bar.ax.set_yticklabels([*labels[:-1], f"≥ {labels[-1]}" if above else labels[-1]])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=INK)
    if tall > 0.6:
        bar.set_label("weight", fontsize=8, color=INK)
    else:
        bar.ax.set_ylabel("weight", fontsize=8, color=INK, rotation=0, ha="left", va="center")


def _draw_tokens(ax: Axes, shape: tuple[int, ...], source: Tokens, target: Tokens, cell: float) -> None:
    texts, families = drawable([str(t) for t in (*(source or ()), *(target or ()))])
    texts = [text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in texts]
    keys, queries = (texts[: len(source)] if source else []), (texts[len(source or ()) :] if target else [])
    ax.xaxis.tick_top()
    for axis, words, size in ((ax.xaxis, keys, shape[1]), (ax.yaxis, queries, shape[0])):
        if not words:
            axis.set_ticks(range(0, size, _step(size)))
            axis.set_tick_params(labelsize=8, labelcolor=INK)
            continue
        axis.set_ticks(range(len(words)), words)
        for label in axis.get_ticklabels():
            label.set(fontfamily=families, fontsize=min(10, 60 * cell), color=INK, parse_math=False)
    if max(map(_length, keys), default=0) > 3:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="left", va="bottom", rotation_mode="anchor")
    if not keys:
        ax.set_xlabel("key", fontsize=8, color=INK)
        ax.xaxis.set_label_position("top")
    if not queries:
        ax.set_ylabel("query", fontsize=8, color=INK)


def _step(size: int) -> int:
    """How far apart the numbers of an axis are: 1, 2, 5, 10, ..., so that at most ten are written."""
    steps = (m * 10**p for p in range(9) for m in (1, 2, 5))
    return next(step for step in steps if math.ceil(size / step) <= 10)


def _draw_links(ax: Axes, links: np.ndarray, side: float, label: str, fill: str) -> None:
    rows, columns = np.nonzero(links)
    if not len(rows):
        return
    area = (0.34 * side) ** 2
    edge = "white" if fill != "none" else ORANGE
    if fill == "none":  # a white ring beneath keeps a hollow dot visible on dark cells
        ax.scatter(columns, rows, s=area, facecolors="none", edgecolors="white", linewidths=0.1 * side)
    ax.scatter(columns, rows, s=area, facecolors=fill, edgecolors=edge, linewidths=0.045 * side, label=label)


def _add_legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        legend = ax.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=2, frameon=False, fontsize=8, labelcolor=INK)
        for handle in legend.legend_handles:
            handle.set_sizes([42])  # type: ignore[union-attr]
