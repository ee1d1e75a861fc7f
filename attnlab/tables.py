"""Tables for people and for other programs: stdout as a table that fits the terminal, CSV, JSON or parquet."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.errors import SettingError, UnknownName

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe_component", "print_frame", "print_table", "shown"]


def shown(value: Any) -> str:
    """A cell for people: three or four significant digits, a dash for what is not there."""
    if value is None or value != value:
        return "–"
    if isinstance(value, (float, np.floating)):
        size = abs(float(value))
        if float(value).is_integer() and size < 1e6:
            return str(int(value))
        if not 1e-3 <= size < 1e6:
            return f"{value:.3g}"
        return f"{value:.3f}" if size < 100 else f"{value:.1f}"
    return str(value)


def print_table(frame: pd.DataFrame, caption: str = "") -> None:
    """Print to stdout, the caption under it; on a terminal all is folded to its width, elsewhere nothing is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[shown(value) for value in row] for row in frame.itertuples(index=False)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in frame.columns:
        number = len(frame) > 0 and frame[name].dtype.kind in "fiu"
        table.add_column(Text(str(name)), justify="right" if number else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        if caption:
            console.print(Text(caption, style="italic"))
        return
    wide = Console(highlight=False, width=10_000)
    with wide.capture() as captured:
        wide.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))
    if caption:
        print(caption)


def print_frame(frame: pd.DataFrame, form: str, output: str | None = None) -> None:
    """Write a DataFrame as `table`, `csv`, `json` or `parquet`; a file that exists is not overwritten.

    A table, which is for people, leaves out columns that are the same in every row, and says on stderr how many.

    Raises
    ------
    SettingError
        When the output exists, or parquet has nowhere to go or nothing to be written with.
    """
    if output is not None and os.path.exists(output):
        raise SettingError(f"--output {output}: the file exists, and nothing is overwritten; choose another name")
    if form == "parquet":
        if output is None:
            raise SettingError("--format parquet is binary: say where, with --output FILE.parquet")
        try:
            frame.to_parquet(output)
        except ImportError:
            raise SettingError("--format parquet needs pyarrow: pip install 'attnlab[report]'") from None
        return
    if form == "table":
        if output is not None:
            raise SettingError("--output goes with --format csv, json or parquet")
        telling = _telling(frame)
        print_table(frame[telling])
        if left_out := len(frame.columns) - len(telling):
            what = "1 column is" if left_out == 1 else f"{left_out} columns are"
            print(f"attnlab: {what} the same in every row and left out; --format csv has all", file=sys.stderr)
        return
    target: Any = output if output is not None else sys.stdout
    if form == "csv":
        frame.to_csv(target, index=False)
    else:
        frame.to_json(target, orient="records", indent=2, force_ascii=False, double_precision=15)
        if output is None:
            print()


def _telling(frame: pd.DataFrame) -> list[str]:
    """The columns that say which run it is or how it went, and those that are not the same in every row."""
    from attnlab.registry import entries

    whole = {"experiment", "run_id", "test", "status", "metric", "value", *entries("metric")}
    if len(frame) < 2:
        return list(frame.columns)
    return [c for c in frame.columns if c in whole or frame[c].map(repr).nunique() > 1]


def describe_component(name: str) -> str:
    """What `attnlab show` prints: kind, summary, settings with ranges, flags, source, and the docstring."""
    import inspect

    from attnlab.interfaces import settings_of
    from attnlab.registry import KINDS, entries, entry
    from attnlab.settings import describe

    head, colon, rest = name.partition(":")
    if colon and head in KINDS:
        found = [entry(head, rest)]
    else:
        found = []
        for kind in KINDS:
            try:
                found.append(entry(kind, name))
            except UnknownName:
                continue
    if not found:
        from attnlab.errors import did_you_mean

        known = [n for kind in KINDS for n in entries(kind)]
        raise UnknownName(f"no component {name!r}{did_you_mean(name, known)}; `attnlab list` prints them all")
    blocks = []
    for e in found:
        cls: Any = e.cls
        lines = [f"{e.kind} {e.name}    from {e.distribution} {e.version}", "", inspect.cleandoc(cls.__doc__ or "")]
        settings = settings_of(cls)
        lines += ["", "Settings", "--------"] if settings else []
        for setting, parameter in settings.items():
            default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
            lines.append(f"{setting}{default}    {describe(cls, setting)}")
        flags = [
            f"{flag} = {getattr(cls, flag)}"
            for flag in (
                "rows_sum_to_one",
                "nonnegative",
                "sparse",
                "shift_invariant",
                "symmetric",
                "content_free",
                "permutation_equivariant",
                "differentiable",
                "direction",
            )
            if hasattr(cls, flag)
        ]
        lines += ["", "Flags", "-----", *flags] if flags else []
        lines += ["", f"Source: {cls.source}"] if cls.source else []
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
