"""Outlines of modules that are kept on disk are those that would be read, or they are read."""

import json
import sys
from pathlib import Path

import pytest

from attnlab.sweeps import code
from attnlab.sweeps.outlines import Outline, Outlines

NAME = "attnlab.parts.normalisers"


@pytest.fixture
def reader(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "code.py"
    path.write_bytes(Path(code.__file__).read_bytes())
    return path


def outline_of(content: bytes) -> Outline:
    from attnlab.sources import Source

    return code._outline(NAME, Source(content, None))


def fails():
    raise AssertionError("it is kept, and was read")


def kept(reader):
    (file,) = (reader.parent / "__pycache__").glob("*.json")
    return file


def test_a_kept_outline_is_the_one_that_was_read(reader):
    content = (code.ROOT / "parts" / "normalisers.py").read_bytes()
    first = Outlines(reader)
    expected = outline_of(content)
    assert expected.by_name
    assert {"Softmax", "Sparsemax"} <= set(expected.names)
    assert first.get(NAME, content, "", lambda: expected) == expected
    first.keep()
    assert Outlines(reader).get(NAME, content, "", fails) == expected


@pytest.mark.parametrize("change", ["text", "name", "edited", "reader", "python"])
def test_what_an_outline_depends_on_changes_and_it_is_read(reader, change, monkeypatch):
    first, content = Outlines(reader), b"x = 1\n"
    first.get(NAME, content, "", lambda: outline_of(content))
    first.keep()
    if change == "reader":
        reader.write_bytes(reader.read_bytes() + b"\n")
    if change == "python":
        monkeypatch.setattr(sys, "version", "4.0")
    now = outline_of(b"x = 2\n")
    name, text, edited = (
        NAME + "2" * (change == "name"),
        content + b" " * (change == "text"),
        "e" * (change == "edited"),
    )
    assert Outlines(reader).get(name, text, edited, lambda: now) is now


@pytest.mark.parametrize("damage", ["", "[]", "{}", "null", '{"of": 1}', "cut", "wrong values"])
def test_a_damaged_file_is_as_none(reader, damage):
    first, content = Outlines(reader), b"x = 1\n"
    first.get(NAME, content, "", lambda: outline_of(content))
    first.keep()
    text = kept(reader).read_text()
    if damage == "wrong values":
        loaded = json.loads(text)
        loaded["outlines"] = {key: [1, {"": 5}] for key in loaded["outlines"]}
        damage = json.dumps(loaded)
    kept(reader).write_text(text[:-40] if damage == "cut" else damage)
    again = Outlines(reader)
    assert again.get(NAME, content, "", lambda: outline_of(content)) == outline_of(content)
    again.keep()
    assert Outlines(reader).get(NAME, content, "", fails) == outline_of(content)


def test_where_nothing_may_be_written_nothing_is(reader, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = Outlines(reader)
    first.get(NAME, b"x = 1\n", "", lambda: outline_of(b"x = 1\n"))
    first.keep()
    assert not (reader.parent / "__pycache__").exists()
