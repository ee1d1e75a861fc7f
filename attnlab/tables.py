"""How values and tables are written: for people as a table that fits the terminal, for programs as CSV, JSON or parquet."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.errors import SettingError, UnknownName
from attnlab.progress import duration
from attnlab.writing import whole, write_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_new",
    "describe_component",
    "differs",
    "duration",
    "for_spreadsheets",
    "form_of",
    "natural",
    "print_frame",
    "print_table",
    "setting_text",
    "shown",
    "shown_column",
    "visible",
]


def visible(text: str) -> str:
    """Text for a terminal, which obeys none of it: control characters but line ends and tabs are written out, like \\x1b."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table for programs that take text for formulas: text that begins with = + - @ gets an apostrophe before it."""

    return _with_texts(frame, lambda text: f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text)


def _with_texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The same table with other texts, in its headings too."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    found = frame.rename(columns=changed)
    for i, column in enumerate(frame.columns):
        if frame[column].dtype.kind not in "iufbM":
            found.isetitem(i, [changed(value) for value in frame[column]])
    return found


def shown(value: Any) -> str:
    """A measured value as people read it: three decimals, or three digits where it is very small; a dash if missing.

    >>> shown(0.12345), shown(123.456), shown(2.0), shown(1e-5), shown(None)
    ('0.123', '123.5', '2', '1e-05', '–')
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, (float, np.floating)):
        size = abs(float(value))
        if float(value).is_integer() and size < 1e6:
            return str(int(value))
        if not 1e-3 <= size < 1e6:
            return f"{value:.3g}"
        return f"{value:.3f}" if size < 100 else f"{value:.1f}"
    return visible(str(value))


def shown_column(name: Any, values: Iterable[Any]) -> list[str]:
    """The cells of a column as `shown` writes them; those of a setting (`task.d`) with all digits where two would look the same.

    >>> shown_column("task.noise", [0.1001, 0.1002, None]), shown_column("accuracy", [0.1001, 0.1002])
    (['0.1001', '0.1002', '–'], ['0.100', '0.100'])
    """
    values = list(values if getattr(values, "dtype", None) != "str" else values.to_numpy(dtype=object))  # type: ignore[attr-defined]
    texts = {value: visible(value) for value in {value for value in values if type(value) is str}}
    cells = [texts[value] if type(value) is str else shown(value) for value in values]
    if "." not in str(name):
        return cells
    exact = [
        c if c == shown(None) or isinstance(v, str) else setting_text(v) for c, v in zip(cells, values, strict=True)
    ]
    return cells if len(set(exact)) == len(set(cells)) else exact


def setting_text(value: Any) -> str:
    """A setting with all its digits, so that two different settings never look the same; `none` if missing.

    >>> setting_text(16.0), setting_text(0.12345), setting_text(None)
    ('16', '0.12345', 'none')
    """
    if value is None or value != value:
        return "none"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def natural(text: str) -> list[tuple[float, str]]:
    """A key by which texts are sorted with the numbers in them by size.

    >>> sorted(["n=256", "n=64", "rho=0.5", "rho=0.25"], key=natural)
    ['n=64', 'n=256', 'rho=0.25', 'rho=0.5']
    """
    words = re.findall(r"\d+(?:\.\d+)?|\D+", text)
    return [(float(w), "") if w[0].isdigit() else (-1.0, w) for w in words]


def differs(column: pd.Series) -> bool:
    """Whether a column has more than one value; a missing value counts as one."""
    if column.dtype == object:  # what is equal in Python may differ here: 1 and true
        return bool(column.map(repr).nunique() > 1)
    return bool(column.nunique(dropna=False) > 1)


def print_table(frame: pd.DataFrame, caption: str = "", order: Sequence[str] | None = None) -> None:
    """Print a table to stdout, with the caption under it. Into a file or a pipe everything is printed.

    On a terminal cells are wrapped between words. Columns that still do not fit are left out, and stderr names them. The
    columns at the end of `order` are left out first; `order` is the order of the frame unless it is given.
    """
    cells = {name: shown_column(name, column) for name, column in frame.items()}
    numbers = {name: len(frame) > 0 and frame[name].dtype.kind in "fiu" for name in cells}
    if not _may_be_a_terminal() and (plain := _plain(cells, numbers, _WIDEST)) is not None:
        print("\n".join(plain))
        if caption := visible(caption):
            print(caption)
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths: dict[Any, int | None] = dict.fromkeys(cells)
    if console.is_terminal:
        widths |= (fitting := _fitting(cells, list(frame.columns if order is None else order), console.width))
        widths = {name: widths[name] for name in cells if name in fitting}
    else:
        console = Console(highlight=False, width=_WIDEST)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, width in widths.items():
        heading = visible(str(name)) if width is None else _broken(visible(str(name)), width)
        table.add_column(Text(heading), justify="right" if numbers[name] else "left", overflow="fold", width=width)
    for row in zip(*(cells[name] for name in widths), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    if console.is_terminal:
        console.print(table)
    else:
        with console.capture() as captured:
            console.print(table)
        print("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))
    if caption := visible(caption):
        console.print(Text(caption, style="italic")) if console.is_terminal else print(caption)
    if left_out := [str(name) for name in cells if name not in widths]:
        names = ", ".join(left_out[:6]) + (", ..." if len(left_out) > 6 else "")
        what = "column" if len(left_out) == 1 else f"{len(left_out)} columns"
        print(f"attnlab: no room for the {what} {names}; a pipe shows all (| less -S)", file=sys.stderr)


_GAP = 2  # characters between columns
_WORD = 20  # a longer word may be broken
_WIDEST = 10_000  # characters of a line in a file or a pipe


def _may_be_a_terminal() -> bool:
    """Whether rich has to be asked, which takes a tenth of a second to load: it counts a pipe as a terminal where it is told to."""
    return sys.stdout.isatty() or "FORCE_COLOR" in os.environ or "TTY_COMPATIBLE" in os.environ


def _plain(cells: Mapping[Any, Sequence[str]], numbers: Mapping[Any, bool], width: int) -> list[str] | None:
    """The lines that rich makes of a table in which nothing is wrapped, in a hundredth of the time.

    None where a cell has several lines or a tab, or where a line would be longer than `width`.
    """
    from rich.cells import cell_len

    columns, left = [], width + _GAP
    for name, column in cells.items():
        whole = [visible(str(name)), *column]
        if any("\n" in cell or "\t" in cell for cell in whole):
            return None
        lengths = [len(cell) if cell.isascii() else cell_len(cell) for cell in whole]
        widest = max(lengths)
        left -= widest + _GAP
        spaces = [" " * (widest - n) for n in lengths]
        pairs = zip(spaces, whole, strict=True) if numbers[name] else zip(whole, spaces, strict=True)
        columns.append(["".join(pair) for pair in pairs])
    return [(" " * _GAP).join(row).rstrip() for row in zip(*columns, strict=True)] if columns and left >= 0 else None


def _broken(heading: str, width: int) -> str:
    """A dotted heading on as many lines as it needs."""
    lines: list[str] = []
    for word in re.findall(r"[^._]*[._]?", heading):
        if lines and len(lines[-1]) + len(word) <= width:
            lines[-1] += word
        elif word:
            lines.append(word)
    return "\n".join(lines)


def _fitting(cells: dict[Any, list[str]], order: list[Any], width: int) -> dict[Any, int]:
    """The columns that fit, with their widths; no column is narrower than its longest word."""
    from rich.cells import cell_len

    least, whole = {}, {}
    for name, column in cells.items():
        words = [word for cell in column for word in cell.split()]
        parts = re.findall(r"[^._]*[._]?", str(name))
        least[name] = max(min(_WORD, max(map(cell_len, words), default=1)), *map(cell_len, parts))
        whole[name] = max(max(map(cell_len, column), default=1), cell_len(str(name)), least[name])
    kept = [name for name in order if name in cells]
    while len(kept) > 1 and sum(least[name] + _GAP for name in kept) - _GAP > width:
        kept.pop()
    room = width - sum(least[name] + _GAP for name in kept) + _GAP
    modest = sorted(kept, key=lambda name: whole[name] - least[name])  # a column that needs little more gets all of it
    for i, name in enumerate(modest):
        more = min(whole[name] - least[name], max(0, room) // (len(kept) - i))
        least[name] += more
        room -= more
    return {name: least[name] for name in kept}


def print_frame(
    frame: pd.DataFrame,
    form: str,
    output: str | None = None,
    order: Sequence[str] | None = None,
    keep: Collection[str] = (),
) -> None:
    """Write a DataFrame as `table`, `csv`, `json`, `parquet` or `xlsx`; a file that exists is not overwritten.

    Parameters
    ----------
    frame : DataFrame
    form : str
        A `table` is for people: columns that are the same in every row are left out, and stderr says how many.
    output : path or None
        Where to write; None is stdout.
    order : sequence of str or None
        The columns of a table that a narrow terminal shows first.
    keep : collection of str
        The columns of a table that are printed even if they are the same in every row.

    Raises
    ------
    SettingError
        When the output exists or cannot be written, when parquet or xlsx has no output, or when the library that writes it is
        not installed.
    """
    if output is not None:
        check_new(output)
    if form in _BINARY:
        _write_binary(frame, form, output)
        return
    if form == "table":
        if output is not None:
            raise SettingError(
                f"--output {output}: a table is for the terminal; choose a form for files, such as --format csv"
            )
        kept = [c for c in frame.columns if len(frame) < 2 or c in keep or differs(frame[c])]
        first = [column for column in order or () if column in kept]
        print_table(frame[kept], order=list(dict.fromkeys([*first, *kept])))
        if left_out := len(frame.columns) - len(kept):
            what = "1 column is" if left_out == 1 else f"{left_out} columns are"
            print(f"attnlab: {what} the same in every row and left out; --format csv has all", file=sys.stderr)
        return
    if form == "csv":
        text = frame.to_csv(index=False, lineterminator="\n")
    else:
        text = frame.to_json(orient="records", indent=2, force_ascii=False, double_precision=15)
        text += "" if output is not None else "\n"
    if output is not None:
        write_whole(output, text)
    elif sys.stdout is not None:
        sys.stdout.write(text)


_BINARY = {
    "parquet": ("pyarrow", "report"),
    "xlsx": ("openpyxl", "xlsx"),
}  # form: (what writes it, attnlab's extra with it)


def _write_binary(frame: pd.DataFrame, form: str, output: str | None) -> None:
    needs, extra = _BINARY[form]
    if output is None:
        raise SettingError(f"--format {form} is binary; give --output FILE.{form}")
    try:
        with whole(output) as partial:
            if form == "parquet":
                frame.to_parquet(partial)
            else:
                _with_texts(frame, visible).to_excel(partial, index=False, engine="openpyxl")  # a sheet refuses others
    except ImportError:
        raise SettingError(
            f"--format {form} needs {needs}, which is not installed: pip install 'attnlab[{extra}]'; --format csv needs nothing"
        ) from None


_ENDINGS = {
    "csv": "csv",
    "json": "json",
    "md": "markdown",
    "markdown": "markdown",
    "tex": "latex",
    "parquet": "parquet",
}
_ENDINGS |= {"xlsx": "xlsx"}


def form_of(form: str | None, output: str | None, forms: Sequence[str]) -> str:
    """The form in which to write: what is asked for, or what the name of the file says, or a table for the terminal.

    Raises
    ------
    SettingError
        When the file's name does not say, or a table is asked for in a file.

    Examples
    --------
    >>> form_of(None, "r.csv", ["table", "csv"]), form_of(None, None, ["table", "csv"]), form_of("csv", "r.txt", ["csv"])
    ('csv', 'table', 'csv')
    """
    if output is None or form not in (None, "table"):
        return form or "table"
    if form == "table":
        raise SettingError(
            f"--output {output}: a table is for the terminal; choose a form for files, such as --format csv"
        )
    found = _ENDINGS.get(os.path.splitext(output)[1].removeprefix(".").lower(), "")
    if found not in forms:
        known = ", ".join(f".{ending}" for ending, one in _ENDINGS.items() if one in forms)
        raise SettingError(
            f"--output {output}: its name does not say what to write; end it in one of {known}, or give --format"
        )
    return found


def check_new(output: str) -> None:
    """Check that `--output` can be written: it must be a new file in a folder that exists (SettingError)."""
    folder = os.path.dirname(output) or "."
    if os.path.lexists(output):
        raise SettingError(f"--output {output}: the file exists, and nothing is overwritten; choose another name")
    if not os.path.isdir(folder):
        raise SettingError(f"--output {output}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"--output {output}: the folder {folder} may not be written to; choose another")


def describe_component(name: str) -> str:
    """The text of `attnlab show`: kind, docstring, settings with ranges, flags and source."""
    import inspect

    from attnlab.interfaces import settings_of
    from attnlab.kinds import KINDS
    from attnlab.registry import COMPOSED, OF_YOUR_OWN, entries, entry, may_have_it
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
        near = did_you_mean(name, known)
        raise UnknownName(
            f"no component {name!r}{near}; `attnlab list` prints them all{'' if near else OF_YOUR_OWN}{may_have_it()}"
        )
    blocks = []
    for e in found:
        cls: Any = e.cls
        lines = [f"{e.kind} {e.name}    from {e.distribution} {e.version}", "", inspect.cleandoc(cls.__doc__ or "")]
        settings = settings_of(cls)
        lines += ["", "Settings", "--------"] if settings else []
        for setting, parameter in settings.items():
            default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
            lines.append(f"{setting}{default}    {describe(cls, setting)}")
        if e.kind == "model":
            lines += ["", f"Mechanism unless one is given: {_flow(cls.preferred) or COMPOSED}"]
        flags = [
            f"{flag} = {getattr(cls, flag)}"
            for flag in (*KINDS[e.kind].flags, "direction", "bounds", "per")
            if hasattr(cls, flag)
        ]
        lines += ["", "Flags", "-----", *flags] if flags else []
        lines += ["", f"Source: {cls.source}"] if cls.source else []
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _flow(spec: Any) -> str:
    """A component as it would be written on one line of a file."""
    if isinstance(spec, Mapping):
        inner = (f"{key}: {'{' + _flow(v) + '}' if isinstance(v, Mapping) else _flow(v)}" for key, v in spec.items())
        return ", ".join(inner)
    return str(spec)
