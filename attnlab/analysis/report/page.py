"""From plain data to one HTML file. Whatever a user, a plugin or a file has said is text here, never markup."""

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

from attnlab.analysis.report.small_json import plain, script_json, table
from attnlab.analysis.summary import direction_of
from attnlab.errors import SettingError
from attnlab.sweeps.frame import AXES, DEFAULT_STORE, FIRST, metric_columns
from attnlab.tables import shown

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.analysis.report.book import Book, Chapter, Comparison

__all__ = ["check_output", "page", "write_report"]

HERE = Path(__file__).parent
SCRIPTS = ("base", "search", "table", "charts", "comparison", "explorer", "main")
MARK = '<meta name="generator" content="attnlab">'
HEAD = 4096  # bytes at the beginning of a report that have the mark
VERDICTS = {"supported": "●", "refuted": "✕", "undecided": "◇"}


def check_output(
    path: str | os.PathLike[str], force: bool = False, store: str | os.PathLike[str] | None = None
) -> Path:
    """The path, if a report may be written there.

    Parameters
    ----------
    path : path of the page
    force : bool
        Replace a file, if it is a report; no other file is ever replaced.
    store : path or None
        The store that the report is of, which the page must not replace.

    Raises
    ------
    SettingError
        When the path is the store, a file that exists and `force` is not given or it is no report, or a folder; or its own
        folder does not exist or cannot be written to.
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
    """Refuse to replace a file, unless it is a report and that is wished."""
    if store is not None and os.path.exists(store) and os.path.samefile(path, store):
        raise SettingError(f"{path} is the store that the report is of, and is not overwritten; choose another name")
    if not force:
        raise SettingError(f"{path}: the file exists, and nothing is overwritten; choose another name, or say --force")
    if path.is_file():
        with path.open("rb") as file:
            if MARK.encode() in file.read(HEAD):
                return
    raise SettingError(f"{path}: --force replaces only a report of attnlab, and this is none; choose another name")


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
    target = path.resolve()  # a link goes on pointing to what it points to
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
    environment.globals |= {"shown": _number, "glyphs": VERDICTS, "tally": _tally, "forest": _forest, "small": _small}
    environment.globals["pairs_command"] = _pairs_command
    style = (HERE / "style.css").read_text("utf-8")
    return environment.get_template("page.html.j2").render(
        book=book,
        mark=Markup(MARK),
        style=Markup(style),  # our own files, not escaped
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        data=Markup(script_json(_data(book))),  # escaped for where it stands
        suffix=_suffix(book),
    )


def _hash(text: str) -> str:
    """What a content security policy says of the one script or style that may be used."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _suffix(book: Book) -> str:
    """What every command needs after the run, to find the store and the plugin files that were given."""
    store = "" if book.store == DEFAULT_STORE else f" --store {shlex.quote(book.store)}"
    return store + "".join(f" --plugin {shlex.quote(file)}" for file in book.given_files)


# -- what the script works on -----------------------------------------------------------------------------------------
def _data(book: Book) -> dict[str, Any]:
    return {"suffix": _suffix(book), "chapters": [_chapter(chapter) for chapter in book.chapters]}


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
        "tests": several,
        "tasks": [c for c in chapter.points if c == AXES[0] or c.startswith(f"{AXES[0]}.")],
        "first": first[0] if first else None,
        "metrics": [*chapter.metrics, *(m for m in measured if m not in chapter.metrics)],
        "shown": list(chapter.metrics),
        "directions": {m: direction_of(m) for m in measured},
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


# -- what the template asks -------------------------------------------------------------------------------------------
def _tally(chapter: Chapter) -> list[tuple[str, int]]:
    """The verdicts of an experiment's claims, with their numbers."""
    counts = Counter(chapter.claims["verdict"]) if chapter.claims is not None else Counter[str]()
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def _number(value: Any) -> str:
    """A cell as `shown` has it, with a true minus."""
    text = shown(value)
    return text if isinstance(value, str) else text.replace("-", "\N{MINUS SIGN}")


def _small(frame: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[list[tuple[str, bool]]]]:
    """Head and cells of a small table, each with whether it is a number; empty columns, and reasons in words, are left out."""
    kept = [c for c in frame.columns if c != "reason" and frame[c].notna().any()]
    numbers = [frame[c].dtype.kind in "fiu" for c in kept]
    rows = frame[kept].itertuples(index=False, name=None)
    head = [(str(c), number) for c, number in zip(kept, numbers, strict=True)]
    return head, [[(_number(v), number) for v, number in zip(row, numbers, strict=True)] for row in rows]


def _pairs_command(book: Book, chapter: Chapter, comparison: Comparison) -> str:
    """The command that lists each competitor with each."""
    which = ["--experiment", chapter.name] if chapter.name else []
    words = ["attnlab", "compare", comparison.metric, "--by", comparison.by, "--pairs", *which, "--format", "csv"]
    return shlex.join(words + ([] if book.store == DEFAULT_STORE else ["--store", book.store]))


def _forest(claim: dict[str, Any]) -> dict[str, Any] | None:
    """Where effect, interval and bounds of a claim stand on a scale of 0 to 100; None where there is no effect."""
    finite = {name: float(claim[name]) for name in ("effect", "low", "high") if math.isfinite(claim[name])}
    if "effect" not in finite:
        return None
    bounds = []
    if claim["form"] == "better":
        bounds = [float(claim["by"])]
    elif claim["form"] == "equal":
        bounds = [-float(claim["within"]), float(claim["within"])]
    else:
        bounds = [float(claim[name]) for name in ("at_least", "at_most") if math.isfinite(claim[name])]
    difference = claim["form"] in ("better", "equal", "correlation")
    marks = [*finite.values(), *bounds, *([0.0] if difference else [])]
    low, high = min(marks), max(marks)
    room = (high - low) or max(abs(high), 1.0)

    def place(value: float) -> float:
        return round(8 + 84 * (value - low) / room, 2)

    return {
        "effect": place(finite["effect"]),
        "low": place(finite.get("low", finite["effect"])),
        "high": place(finite.get("high", finite["effect"])),
        "bounds": [(place(b), plain(b)) for b in bounds],
        "zero": place(0.0) if difference else None,
    }
