"""The index of plugins is what the checks say, and every plugin has what the index asks for."""

from __future__ import annotations

import re

import pytest

from tools import plugin_index

LISTED = plugin_index.listed()


def cells():
    found = [
        line.strip("| \n").split(" | ") for line in plugin_index.PAGE.read_text().splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in found}


def test_every_plugin_is_listed_with_what_it_gives():
    assert list(cells()) == [one.name for one in LISTED]
    for one in LISTED:
        _, version, what, gives, _, ran = cells()[one.name]
        assert (version, what) == (one.version, one.description)
        named = [*(cls.name for cls in one.classes), *one.events]
        assert sorted(re.findall(r"`(\w+)`", gives)) == sorted(named)
        assert re.findall(r"`(\w+)`", ran) == list(one.experiments)


def test_no_check_of_a_plugin_fails():
    for one in LISTED:
        said = cells()[one.name][4]
        if one.classes:
            passed, made = map(int, said.split(" of "))
            assert passed == made > 0, one.name
        else:
            assert said == "no component"


@pytest.mark.parametrize("one", LISTED, ids=lambda one: one.name)
def test_a_plugin_has_a_readme_tests_and_something_that_shows_what_it_is_for(one):
    folder = plugin_index.ROOT / "plugins" / one.name
    readme = (folder / "README.md").read_text()
    assert readme.startswith(f"# {one.name}\n")
    assert list((folder / "tests").glob("test_*.py"))
    assert one.experiments or "```" in readme or "    " in readme
    for cls in one.classes:
        assert f"`{cls.name}`" in readme, cls.name


@pytest.mark.long
def test_the_counts_are_those_of_the_checks():
    assert plugin_index.page() == plugin_index.PAGE.read_text()
