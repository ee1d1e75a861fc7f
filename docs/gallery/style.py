"""The look of the gallery: one restrained style for every picture, in colours that the colour-blind can tell apart.

Each picture is a script with `numbers()`, what is measured, and `draw(numbers)`, the figure. Run one to write its SVG:

    python docs/gallery/temperature.py                  # docs/gallery/temperature.svg
    python docs/gallery/temperature.py FOLDER           # FOLDER/temperature.svg
    python docs/gallery/temperature.py picture.png      # .svg, .png or .pdf
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, FAINT = "#333333", "#666666", "#b8b8b8"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito's
MARKERS = {BLUE: "o", ORANGE: "s", GREEN: "^", PURPLE: "D"}  # a colour is never the only difference

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "attnlab",
}
WIDTH = 7.2  # inches


def panels(n: int = 1, height: float = 2.8, **settings: Any) -> tuple[Figure, list[Axes]]:
    """A figure of n panels side by side."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure, list(figure.subplots(1, n, squeeze=False, **settings)[0])


def line(ax: Axes, x: Any, y: Any, colour: str, label: str, **settings: Any) -> None:
    """A curve with the marker of its colour."""
    ax.plot(x, y, color=colour, marker=MARKERS[colour], label=label, clip_on=False, **settings)


def name_end(ax: Axes, x: float, y: float, text: str, colour: str, dy: float = 0) -> None:
    """A curve's name at its right end, in its colour."""
    ax.annotate(text, (x, y), (7, dy), textcoords="offset points", color=colour, va="center", fontsize=8.5)


def main(file: str, numbers: Callable[[], Any], draw: Callable[[Any], Figure]) -> None:
    """Write the picture of a script beside it, or where the command line says: a folder, or a file .svg, .png or .pdf."""
    script = Path(file)
    about = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or script.stem
    parser = argparse.ArgumentParser(prog=script.name, description=about)
    parser.add_argument(
        "output",
        nargs="?",
        type=Path,
        default=script.with_suffix(".svg"),
        help=f"a folder, or a file that ends in .svg, .png or .pdf; docs/gallery/{script.stem}.svg if left out",
    )
    given: Path = parser.parse_args().output
    output = given / f"{script.stem}.svg" if given.is_dir() else given
    if output.suffix not in (".svg", ".png", ".pdf"):
        parser.error(f"{given} is no folder, and no file that ends in .svg, .png or .pdf")
    if not output.parent.is_dir():
        parser.error(f"there is no folder {output.parent}")
    dateless = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
    with matplotlib.rc_context(STYLE):
        draw(numbers()).savefig(output, metadata=dateless.get(output.suffix), dpi=200)
