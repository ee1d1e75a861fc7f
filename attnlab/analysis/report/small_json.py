"""Tables and arrays as small JSON: columns instead of rows, levels instead of repeated words, half-precision weights."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["halves", "plain", "script_json", "table"]

DIGITS = 6  # significant, of every number on the page


def plain(value: Any, digits: int = DIGITS) -> Any:
    """A cell for JSON: text, a rounded number, True or False, or None if it is missing.

    Infinity becomes the word "Infinity" or "-Infinity", which the script turns back into a number.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas' own marks of what is missing
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value) if abs(int(value)) < 2**53 else str(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number != number:
            return None
        if math.isinf(number):
            return "Infinity" if number > 0 else "-Infinity"
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        return float(f"{number:.{digits}g}")
    return None if value != value else str(value)


def table(frame: pd.DataFrame) -> dict[str, Any]:
    """A DataFrame by columns.

    Returns
    -------
    dict
        `n`, and `columns`: for each name either `{"all": value}`, or `{"levels": [...], "codes": [...]}`, or
        `{"values": [...]}`, whichever is smaller.
    """
    columns = {}
    for name in frame.columns:
        codes, levels = _levels(frame[name])
        if len(levels) == 1:
            columns[str(name)] = {"all": levels[0]}
        elif 3 * len(levels) < len(codes):
            columns[str(name)] = {"levels": levels, "codes": codes}
        else:
            columns[str(name)] = {"values": [levels[code] for code in codes]}
    return {"n": len(frame), "columns": columns}


def _levels(column: pd.Series) -> tuple[list[int], list[Any]]:
    """The place of each cell among the different ones, and these as plain values."""
    import pandas as pd

    if len(column) and (column.dtype.kind in "iufb" or isinstance(column.dtype, pd.StringDtype)):
        at, different = pd.factorize(column, use_na_sentinel=False)
        given, places = [plain(value) for value in different.tolist()], at.tolist()
    else:
        given, places = [plain(value) for value in column.tolist()], list(range(len(column)))
    found: dict[tuple[str, Any], int] = {}
    again = [found.setdefault((type(value).__name__, value), len(found)) for value in given]
    return [again[place] for place in places], [value for _, value in found]


def halves(array: Any) -> str:
    """Numbers in half precision (three digits; zero stays exact), little-endian, as base64."""
    largest = float(np.finfo(np.float16).max)
    clipped = np.clip(np.asarray(array, dtype=np.float64), -largest, largest)
    tiny = float(np.finfo(np.float16).smallest_subnormal)
    clipped = np.where(
        (clipped != 0) & (np.abs(clipped) < tiny), np.copysign(tiny, clipped), clipped
    )  # not rounded to zero
    return base64.b64encode(clipped.astype("<f2").tobytes()).decode("ascii")


def script_json(value: Any) -> str:
    """JSON that is safe in a script element with any text in it: ASCII only, without <, > and &."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
