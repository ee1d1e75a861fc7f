"""The page of the tasks: each is in the table of difficulty, and no row is solved by all three similarities or beyond them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import attnlab
from attnlab.interfaces import settings_of
from attnlab.registry import entry, names

PAGE = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("## How hard") :]
ROWS = {
    name: rest.split(" | ")
    for name, rest in re.findall(r"^\| `(\w+)` \| (.*) \|$", TABLE, re.MULTILINE)
    if name != "dot"
}


def test_every_task_that_draws_is_in_the_table_and_its_chance_is_right():
    assert sorted(ROWS) == sorted(set(names("task")) - {"arrays", "bitext"})
    for name, row in ROWS.items():
        assert float(row[1]) == pytest.approx(attnlab.get("task", name).chance, abs=6e-4), name


@pytest.mark.parametrize("name", sorted(ROWS))
def test_no_task_is_solved_by_all_or_beyond_all(name):
    chance, *found = (float(x) for x in ROWS[name][1:])
    accuracy, score = found[::2], found[1::2]
    assert min(map(min, zip(accuracy, score, strict=True))) < 0.99, "solved by all"
    assert max(accuracy) > chance + 0.05 if chance < 1 else max(score) > 0.05, "beyond all"


def test_slices_that_the_page_names_are_settings_of_the_tasks():
    slices = PAGE[PAGE.index("## Slices") : PAGE.index("## Which task")]
    for settings, tasks in re.findall(r"^\| [^|`]+ \| (`.*?) \| (.*) \|$", slices, re.MULTILINE):
        for name in set(re.findall(r"`(\w+)`", tasks)):
            has = set(settings_of(entry("task", name).cls))
            assert has & set(re.findall(r"`(\w+)`", settings)), (name, settings)
