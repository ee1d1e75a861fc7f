"""Tables for people: captions on one line, and only the columns that tell rows apart."""

import os
import random
import re
import string
import struct
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attnlab.analysis.presentation import paper_table
from attnlab.errors import SettingError
from attnlab.tables import _fitting, _plain, print_frame, print_table


def test_a_caption_is_one_line_after_the_table(capsys):
    caption = "alignment_accuracy, higher is better; mean and 95 % t interval over seeds [0, 1]"
    print_table(pd.DataFrame({"a": [1], "b": [2]}), caption)
    assert capsys.readouterr().out.splitlines() == ["a  b", "1  2", caption]


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_two_settings_never_look_the_same(capsys, form):
    """A row of a table is a point of the grid: rounded to three decimals, two of them would be one row twice."""
    settings, same = [0.0101, 0.0102, None], [0.5, 0.25, 1.0]
    frame = pd.DataFrame({"model.learning_rate": settings, "task.noise": same, "accuracy": [0.9001, 0.9002, 0.8]})
    print_table(frame) if form == "table" else print(paper_table(frame, form))
    out = capsys.readouterr().out
    assert [out.count(text) for text in ("0.0101", "0.0102", "0.010 ", "0.500", "0.250", "0.900")] == [1, 1, 0, 1, 1, 2]


@pytest.mark.parametrize("rows", [1, 2])
def test_columns_that_are_the_same_in_every_row_are_left_out_of_the_table_and_counted(capsys, rows):
    frame = pd.DataFrame(
        {
            "experiment": ["one"] * 2,
            "run_id": ["a1", "b2"],
            "task.n_keys": [8, 8],
            "model.depth": [None, None],
            "similarity": ["dot", "cosine"],
            "aer": [0.5, 0.5],
            "status": ["ok", "ok"],
            "backend": ["numpy", "numpy"],
        }
    )[:rows]
    print_frame(frame, "table", keep=["experiment", "run_id", "aer", "status"])
    said = capsys.readouterr()
    kept = ["experiment", "run_id", "similarity", "aer", "status"] if rows == 2 else list(frame.columns)
    assert said.out.splitlines()[0].split() == kept
    assert said.err.startswith("attnlab: 3 columns are the same in every row") is (rows == 2)
    print_frame(frame, "csv")
    assert capsys.readouterr().out.splitlines()[0] == ",".join(frame.columns)


# -- on a terminal ----------------------------------------------------------------------------------------------------
WIDE = """
import pandas as pd
from attnlab.tables import print_table
columns = {
    "similarity": ["scaled_dot", "neg_l2"],
    "normaliser.temperature": [1.0, 0.5],
    "say": ["the length of a vector is no part of its meaning"] * 2,
    "reason": ["undecided: more seeds would narrow the interval"] * 2,
    "alignment_accuracy": [0.123, 0.456],
    "context_error": [0.1, 0.2],
}
print_table(pd.DataFrame(columns), "a caption", order=list(columns)[::-1] if ORDER else None)
"""


def on_a_terminal(script: str, width: int) -> tuple[list[str], str]:
    """What a process prints on a terminal that is so wide, and its stderr."""
    pty = pytest.importorskip("pty")
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    done = subprocess.run([sys.executable, "-c", script], stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    printed = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # so Linux says that nobody writes any more
            break
        if not piece:
            break
        printed += piece
    os.close(ours)
    assert done.returncode == 0, done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode()).splitlines(), done.stderr.decode()


@pytest.mark.parametrize("width", [200, 100, 60, 45, 30])
def test_a_terminal_is_not_overrun_and_no_word_is_broken(width):
    lines, err = on_a_terminal("ORDER = False" + WIDE, width)
    assert max(map(len, lines)) <= width
    words = set(" ".join(lines).split())
    whole = {"scaled_dot": "similarity", "meaning": "say", "undecided:": "reason", "0.456": "alignment_accuracy"}
    kept = [column for word, column in whole.items() if word in words]
    assert kept == list(whole.values())[: len(kept)]  # those at the end go first
    assert len(kept) >= 1 + (width > 30)
    if width == 200:
        assert lines[0].split()[1] == "normaliser.temperature"
        assert err == ""
    else:
        assert all((column in err) is (column not in kept) for column in whole.values())
    if width < 60:
        assert "attnlab: no room for the" in err
        assert "context_error; a pipe shows all" in err


def test_what_matters_most_is_kept():
    lines, err = on_a_terminal("ORDER = True" + WIDE, 45)
    assert "columns" in err
    assert "similarity" in err
    assert "0.456" in " ".join(lines)
    assert "scaled_dot" not in " ".join(lines)


@given(
    st.lists(
        st.lists(st.text(string.ascii_lowercase + " ", max_size=60), min_size=2, max_size=2), min_size=1, max_size=12
    ),
    st.integers(20, 200),
)
def test_widths_fit_and_hold_the_longest_word(cells, width):
    columns = {f"task.{i}": column for i, column in enumerate(cells)}
    widths = _fitting(columns, list(columns), width)
    assert list(widths) == list(columns)[: len(widths)]
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= width
    for name, given_width in widths.items():
        assert given_width >= max([min(20, len(w)) for cell in columns[name] for w in cell.split()], default=1)
    whole = sum(max(len(name), *map(len, columns[name])) + 2 for name in columns) - 2
    if whole <= width:
        assert all(widths[name] == max(len(name), *map(len, columns[name])) for name in columns)


# -- where output goes ------------------------------------------------------------------------------------------------
def test_output_that_cannot_be_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"a": [1]})
    Path("there.csv").write_text("mine")
    for output, said in (("there.csv", "the file exists"), ("none/x.csv", "no folder none; make it"), (".", "exists")):
        with pytest.raises(SettingError, match=said):
            print_frame(frame, "csv", output)
    assert Path("there.csv").read_text() == "mine"
    if os.geteuid():  # root may write everywhere
        Path("closed").mkdir(mode=0o500)
        with pytest.raises(SettingError, match="may not be written to"):
            print_frame(frame, "csv", "closed/x.csv")
    with pytest.raises(SettingError, match="such as --format csv"):
        print_frame(frame, "table", "x.txt")


def test_a_table_for_a_pipe_has_the_lines_that_rich_makes_of_it():
    """They are written without it, because it takes half a minute for a hundred thousand rows."""
    chance = random.Random(0)
    letters = ["a", "漢", "é", " ", "x_y", "-1", "👍", "e\u0301", "", ".", "b c"]
    for _ in range(50):
        n_rows, n_columns = chance.randrange(5), chance.randrange(1, 5)
        words = [
            ["".join(chance.choices(letters, k=chance.randrange(5))) for _ in range(n_rows)] for _ in range(n_columns)
        ]
        cells = dict(zip(("h", "ein 漢", "three", "4"), words, strict=False))
        numbers = {name: not any(cell.endswith(" ") for cell in column) for name, column in cells.items()}
        table = Table(box=None, pad_edge=False)
        for name in cells:
            table.add_column(Text(name), justify="right" if numbers[name] else "left")
        for row in zip(*words, strict=True):
            table.add_row(*map(Text, row))
        console = Console(highlight=False, width=10_000)
        with console.capture() as captured:
            console.print(table)
        assert _plain(cells, numbers, 10_000) == [line.rstrip() for line in captured.get().split("\n")[:-1]]
    assert _plain({"a": ["two\nlines"]}, {"a": False}, 80) is _plain({"a": ["long"]}, {"a": False}, 3) is None
