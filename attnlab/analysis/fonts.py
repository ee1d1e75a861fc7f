"""Fonts that have the characters of a text: matplotlib's own has no Chinese."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

__all__ = ["drawable"]

# Where several have a character, the first of these; simplified Chinese before the other Han scripts.
PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Noto Sans CJK JP",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
PLACEHOLDER = "Last Resort"  # has a box for every character


def drawable(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts that can be drawn, and the font families to draw them with.

    Characters that no installed font has are replaced by their code points (`<U+6C64>`), with a warning.
    """
    from matplotlib import rcParams

    families, missing = _families(frozenset("".join(texts)))
    if missing:
        shown = " ".join(sorted(missing)[:12]) + (" ..." if len(missing) > 12 else "")
        warnings.warn(
            f"no installed font has {shown}, drawn as code points; install one that does, such as Noto Sans CJK "
            "(Debian and Ubuntu: fonts-noto-cjk) for Chinese, Japanese and Korean",
            UserWarning,
            stacklevel=3,
        )
    written = ["".join(f"<U+{ord(c):04X}>" if c in missing else c for c in text) for text in texts]
    return written, [*rcParams["font.family"], *families]


@functools.lru_cache(maxsize=64)
def _families(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Families beside the default one, and the characters that none has."""
    from matplotlib.font_manager import FontProperties, findfont

    needed = set(characters) - {" ", "\n"} - _characters(findfont(FontProperties()))
    chosen: list[str] = []
    for refresh in (False, True):
        for name, path in _installed(refresh).items() if needed else ():
            if found := needed & _characters(path):
                chosen.append(name)
                needed -= found
    return tuple(chosen), frozenset(needed)


@functools.cache
def _installed(refresh: bool) -> dict[str, str]:
    """Family -> file, the preferred first; `refresh` adds what was installed since matplotlib last looked."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    if refresh:
        known = {entry.fname for entry in fontManager.ttflist}
        for path in findSystemFonts():
            if path not in known:
                fontManager.addfont(path)
    upright = [e for e in fontManager.ttflist if e.style == "normal" and not e.name.startswith(PLACEHOLDER)]
    files = {entry.name: entry.fname for entry in upright}
    order = [*(name for name in PREFERRED if name in files), *sorted(set(files) - set(PREFERRED))]
    return {name: files[name] for name in order}


@functools.cache
def _characters(path: str) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    return frozenset(map(chr, get_font(path).get_charmap()))
