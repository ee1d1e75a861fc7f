"""`attnlab show TASK --example`: each task prints an example with its gold, and draws it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from attnlab.commands.components import show
from attnlab.commands.example import first_example, told
from attnlab.errors import SettingError
from attnlab.registry import names


def shown(*words):
    ran = CliRunner().invoke(show, list(words), catch_exceptions=False, standalone_mode=False)
    return ran.output


@pytest.mark.parametrize("name", sorted(set(names("task")) - {"arrays", "bitext"}))
def test_every_task_has_a_line_for_each_query_that_asks(name):
    task, data = first_example(name, {"n_train": 3})
    _, rows = told(task, data)
    assert len(rows) == data.alive.sum()
    for row, i in zip(rows, np.flatnonzero(data.alive[0]), strict=True):
        assert row["query"].split()[0] == str(i)
        assert (row["gold"] == "nothing") == (not data.gold[0, i].any())
        if (data.gold[0, i] > 0).sum() == 1:
            assert row["gold"].split()[0] == str(data.gold[0, i].argmax())
        if data.is_classification:
            assert row["target"] == f"class {data.target[0, i]}"


def test_an_example_is_printed_and_drawn_with_its_settings(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "n_back.svg"
    text = shown("n_back", "--example", "--set", "length=5", "--set", "n_back=3", "-o", str(picture))
    assert "5 queries of 32 features, 5 keys" in text
    assert [line.split()[:3] for line in text.splitlines()[-2:]] == [["3", "0..3", "0"], ["4", "0..4", "1"]]
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_words_and_links_that_are_many_or_uneven():
    assert "0 w" in shown("copy", "--example")
    assert "(0.25 each)" in shown("local_count", "--example")
    assert "1..14 (0.071 each)" in shown("trigger_average", "--example", "--set", "p_trigger=0.999")
    assert "and 10 more" in shown("in_context_regression", "--example")


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(SettingError, match="--set takes NAME=VALUE, as in --set length=8; got 'length'"):
        shown("copy", "--example", "--set", "length")
    with pytest.raises(SettingError, match="is no YAML value"):
        shown("copy", "--example", "--set", "length={")
    with pytest.raises(SettingError, match=r"no setting 'lenght' \(did you mean length"):
        shown("copy", "--example", "--set", "lenght=3")
    with pytest.raises(Exception, match="add --example"):
        shown("copy", "--set", "length=3")
    np.savez(tmp_path / "mine.npz", Q=np.ones((9, 1, 2)), K=np.ones((9, 3, 2)), V=np.ones((9, 3, 2)))
    path = f"path={tmp_path / 'mine.npz'}"
    assert "–" in shown("arrays", "--example", "--set", path)
    with pytest.raises(SettingError, match="no gold alignment to draw"):
        shown("arrays", "--example", "--set", path, "-o", str(tmp_path / "mine.svg"))
