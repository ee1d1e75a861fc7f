"""What all pictures share: colours, fonts that have the glyphs, new figures, and files.

The colours are those of Okabe and Ito, which colour-blind people can tell apart.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.errors import SettingError
from attnlab.tables import check_new
from attnlab.writing import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "FAINT",
    "FALLBACKS",
    "INK",
    "ORANGE",
    "drawable",
    "new_figure",
    "new_picture",
    "new_pyplot_figure",
    "save",
]

INK, FAINT = "#333333", "#b8b8b8"
BLUE, ORANGE = "#0072B2", "#D55E00"
FORMATS = (".png", ".svg")
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


def new_figure(width: float, height: float) -> Figure:
    """A figure without pyplot, in inches."""
    _matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def new_pyplot_figure(width: float, height: float) -> Figure:
    """A new pyplot figure, which a notebook shows, in inches."""
    _matplotlib()
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height), layout="constrained", facecolor="white")


# -- fonts ------------------------------------------------------------------------------------------------------------
def drawable(texts: Sequence[str]) -> tuple[list[str], list[str]]:
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
    with matplotlib.rc_context({"svg.hashsalt": "attnlab", "svg.fonttype": "none"}), whole(path) as partial:
        figure.savefig(partial, dpi=150, metadata=metadata)
