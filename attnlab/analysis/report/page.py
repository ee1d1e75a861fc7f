"""From plain data to one HTML file. The words of a user, a plugin or a file are text here, never markup."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from attnlab.analysis.measures import bounds_of, direction_of
from attnlab.analysis.report.small_json import plain, script_json, table
from attnlab.analysis.verdicts import Region, drawn_range
from attnlab.errors import SettingError
from attnlab.kinds import PARTS
from attnlab.sweeps.frame import AXES, DEFAULT_STORE, FIRST, metric_columns
from attnlab.sweeps.predictions import BEFORE
from attnlab.tables import shown

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.analysis.report.book import Book, Chapter, Comparison

__all__ = ["check_output", "page", "write_report"]

HERE = Path(__file__).parent
SCRIPTS = (
    *("base", "saving", "search", "table", "charts", "heatmap", "curves", "forest", "comparison"),
    *("weights", "explorer", "main"),
)
MARK = '<meta name="generator" content="attnlab">'
HEAD = 4096  # the mark is in the first so many bytes of a report
VERDICTS = {"supported": "●", "refuted": "✕", "undecided": "◇", "identity": "="}


def check_output(
    path: str | os.PathLike[str], force: bool = False, store: str | os.PathLike[str] | None = None
) -> Path:
    """The path, if a report may be written there.

    Parameters
    ----------
    path : path of the page
    force : bool
        Replace a file if it is a report. No other file is ever replaced.
    store : path or None
        The store of the report, which the page must not replace.

    Raises
    ------
    SettingError
        When the path is a folder or the store, when it exists and may not be replaced, or when its folder does not exist or
        cannot be written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise SettingError(f"{path} is a folder; name a file, such as {path / 'report.html'}")
        if not path.parent.is_dir():
            raise SettingError(f"{path}: there is no folder {path.parent}; make it first, or choose another name")
        if path.exists():
            _check_replaced(path, force, store)
    except OSError as error:
        raise _unwritable(path, error) from None
    if not os.access(path.parent, os.W_OK):
        raise SettingError(f"{path}: the folder {path.parent} cannot be written to; choose another place")
    return path


def _check_replaced(path: Path, force: bool, store: str | os.PathLike[str] | None) -> None:
    """Refuse to replace a file, unless it is a report and `force` is given."""
    if store is not None and os.path.exists(store) and os.path.samefile(path, store):
        raise SettingError(f"{path} is the store of the report, and is not overwritten; choose another name")
    if not force:
        raise SettingError(f"{path}: the file exists, and nothing is overwritten; choose another name, or give --force")
    if path.is_file():
        with path.open("rb") as file:
            if MARK.encode() in file.read(HEAD):
                return
    raise SettingError(f"{path} is no report of attnlab, and --force replaces nothing else; choose another name")


def _unwritable(path: Path, error: OSError) -> SettingError:
    return SettingError(f"{path} cannot be written: {error.strerror or error}; choose another place")


def write_report(book: Book, path: str | os.PathLike[str], force: bool = False) -> int:
    """Write the page to a file, whole or not at all; returns its size in bytes.

    Raises
    ------
    SettingError
        When nothing may be written there (`check_output`).
    """
    path = check_output(path, force, book.store)
    content = page(book).encode("utf-8", "backslashreplace")
    target = path.resolve()  # a link stays a link
    partial = target.with_name(f".report.{os.getpid()}.partial")
    try:
        try:
            partial.write_bytes(content)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return len(content)


def page(book: Book) -> str:
    """The whole page as text."""
    script = '(() => {\n"use strict";\n' + "".join((HERE / "script" / f"{s}.js").read_text("utf-8") for s in SCRIPTS)
    script += "})();\n"
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"shown": _cell, "glyphs": VERDICTS, "tally": _tally, "forest": _forest, "small": _small}
    environment.globals |= {"claimed": _claimed, "pairs_command": _pairs_command, "before": BEFORE}
    style = (HERE / "style.css").read_text("utf-8")
    return environment.get_template("page.html.j2").render(
        book=book,
        mark=Markup(MARK),
        style=Markup(style),  # our own files, not escaped
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        data=Markup(script_json(_data(book))),  # escaped for a script element
        suffix=_suffix(book),
    )


def _hash(text: str) -> str:
    """The source expression of a content security policy that allows this one script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _suffix(book: Book) -> str:
    """The options that every command needs to find the store and the plugin files."""
    store = "" if book.store == DEFAULT_STORE else f" --store {shlex.quote(book.store)}"
    return store + "".join(f" --plugin {shlex.quote(file)}" for file in book.given_files)


# -- the data of the script -------------------------------------------------------------------------------------------
def _data(book: Book) -> dict[str, Any]:
    return {
        "parts": [*PARTS, "mechanism", "model"],
        "suffix": _suffix(book),
        "chapters": [_chapter(chapter) for chapter in book.chapters],
    }


def _chapter(chapter: Chapter) -> dict[str, Any]:
    import pandas as pd

    frame = chapter.frame.drop(columns=[FIRST[0]])
    empty = [c for c in frame.columns if frame[c].isna().all()]
    measured = [m for m in metric_columns(frame) if m not in empty]
    several = len(frame) > 0 and frame["test"].nunique() > 1
    first = chapter.metrics[:1]
    return {
        "name": chapter.name,
        "runs": table(frame.drop(columns=empty)),
        "files": table(pd.DataFrame({"plugin": [chapter.plugin_files.get(run, "") for run in frame["run_id"]]})),
        "ranking": table(chapter.ranking),
        "comparisons": [_comparison(one) for one in chapter.comparisons],
        "points": list(chapter.points),
        "asked": list(chapter.asked),
        "tests": several,
        "tasks": [c for c in chapter.points if c == AXES[0] or c.startswith(f"{AXES[0]}.")],
        "first": first[0] if first else None,
        "metrics": [*chapter.metrics, *(m for m in measured if m not in chapter.metrics)],
        "shown": list(chapter.metrics),
        "directions": {m: direction_of(m) for m in measured},
        "bounds": {m: [None if math.isinf(end) else end for end in bounds_of(m, frame[m])] for m in chapter.metrics},
        "claims": None if chapter.claims is None else table(chapter.claims),
        "curves": chapter.lookback.curves,
        "alignments": chapter.lookback.alignments,
        "pool": chapter.lookback.pool,
    }


def _comparison(comparison: Comparison) -> dict[str, Any] | None:
    if comparison.table is None:
        return None
    return {
        "by": comparison.by,
        "order": table(comparison.table.dropna(axis=1, how="all")),
        "pairs": None if comparison.pairs is None else table(comparison.pairs.dropna(axis=1, how="all")),
    }


# -- functions of the template ----------------------------------------------------------------------------------------
def _tally(chapter: Chapter) -> list[tuple[str, int]]:
    """How many claims of an experiment have each verdict."""
    counts = Counter(chapter.claims["verdict"]) if chapter.claims is not None else Counter[str]()
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def _cell(value: Any) -> str:
    """A cell as `shown` writes it, with a true minus sign before a number."""
    text = shown(value)
    return text if isinstance(value, str) else text.replace("-", "\N{MINUS SIGN}")


def _claimed(claim: dict[str, Any]) -> str:
    """What a claim says of its effect, in a few words."""
    return str(Region.of(claim)).replace("-", "\N{MINUS SIGN}")


def _small(frame: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[list[tuple[str, bool]]]]:
    """Head and cells of a small table, each with whether it is a number. Empty columns and reasons are left out."""
    kept = [c for c in frame.columns if c != "reason" and frame[c].notna().any()]
    numbers = [frame[c].dtype.kind in "fiu" for c in kept]
    rows = frame[kept].itertuples(index=False, name=None)
    head = [(str(c), number) for c, number in zip(kept, numbers, strict=True)]
    return head, [[(_cell(v), number) for v, number in zip(row, numbers, strict=True)] for row in rows]


def _pairs_command(book: Book, chapter: Chapter, comparison: Comparison) -> str:
    """The command that compares every competitor with every other."""
    which = ["--experiment", chapter.name] if chapter.name else []
    words = ["attnlab", "compare", comparison.metric, "--by", comparison.by, "--pairs", *which, "--format", "csv"]
    return shlex.join(words + ([] if book.store == DEFAULT_STORE else ["--store", book.store]))


def _forest(claim: dict[str, Any]) -> dict[str, Any] | None:
    """The places of a claim's effect, interval and bounds on an axis from 0 to 100; None if it has no effect."""
    effect, low, high = (float(claim[name]) for name in ("effect", "low", "high"))
    if effect != effect:
        return None
    bounds = Region.of(claim).bounds
    is_difference = claim["form"] in ("better", "equal", "correlation")
    left, right = drawn_range([effect, low, high, *bounds, *([0.0] if is_difference else [])])

    def place(value: float) -> float:
        return round(100 * (value - left) / (right - left), 2)

    return {
        "effect": place(effect),
        "low": place(low if low == low else effect),
        "high": place(high if high == high else effect),
        "bounds": [(place(b), plain(b)) for b in bounds],
        "zero": place(0.0) if is_difference else None,
    }
