"""The guide is true, page by page: its Python runs, its experiments read, its commands and options are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def name(page):
    return page.relative_to(DOCS).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def with_blocks(language):
    pages = [page for page in PAGES if blocks(page, language)]
    assert pages
    return pytest.mark.parametrize("page", pages, ids=name)


@with_blocks("python")
def test_the_python_of_a_page_runs(page, tmp_path):
    (tmp_path / "page.py").write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert process.returncode == 0, process.stderr
    assert set(re.findall(r"\bfailed (\d+)", process.stdout)) <= {"0"}, process.stdout  # reports of the contract


@with_blocks("yaml")
def test_the_experiments_of_a_page_read_and_plan(page, tmp_path):
    code = "\n".join(blocks(page, "python"))
    if "@hookimpl" in code:  # they name what the page defines: the page is their plugin
        plan_with_plugin(blocks(page, "yaml"), code, tmp_path)
        return

    from ruamel.yaml import YAML

    from attnlab.sweeps.experiment.read import read
    from attnlab.sweeps.plan import plan

    for text in blocks(page, "yaml"):
        loaded = YAML(typ="safe").load(text)
        if "attnlab" in loaded:
            assert plan(read(loaded))
        else:  # part of an experiment
            whole = {
                "attnlab": 1,
                "question": "Of the page?",
                "task": "lookup",
                "seeds": 1,
                **PARTS.get(page.stem, {}),
                **loaded,
            }
            assert plan(read(whole))


def plan_with_plugin(texts, code, folder):
    (folder / "mine.py").write_text(code, encoding="utf-8")
    for i, text in enumerate(texts):
        (folder / f"{i}.yaml").write_text(text, encoding="utf-8")
        process = subprocess.run(
            [sys.executable, "-m", "attnlab", "plan", f"{i}.yaml", "--plugin", "mine.py"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        )
        assert process.returncode == 0, process.stderr
        assert " to run" in process.stderr + process.stdout


# What goes around a part of an experiment that a page shows.
PARTS = {
    "claims": {
        "mechanism": {"similarity": ["dot", "scaled_dot"]},
        "model": {"aligner": {"projection": 256, "learning_rate": 0.1}},
    },
    "parts": {},
    "index": {},
}


def commands_of(manifest):
    if isinstance(manifest, dict):
        yield from (words for key, words in manifest.items() if key in ("args", "command"))
    for part in manifest.values() if isinstance(manifest, dict) else manifest if isinstance(manifest, list) else ():
        yield from commands_of(part)


@with_blocks("yml")
def test_the_manifests_of_a_page_are_yaml_and_call_commands_with_text(page):
    from ruamel.yaml import YAML

    words = [
        words for text in blocks(page, "yml") for part in YAML(typ="safe").load_all(text) for words in commands_of(part)
    ]
    assert words
    assert {first for first, *_ in words} <= {"attnlab", "dask"}
    assert all(isinstance(word, str) for several in words for word in several)  # Kubernetes takes nothing else


def command_lines(page):
    for block in blocks(page, "yml"):
        from ruamel.yaml import YAML

        for part in YAML(typ="safe").load_all(block):
            yield from (shlex.join(words) for words in commands_of(part) if words[0] == "attnlab")
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("attnlab "):
                yield re.split(r"\s(?:#|>)", line)[0]


@with_blocks("console")
def test_every_command_line_names_a_command_and_options_that_are_there(page):
    from attnlab.cli import cli

    for line in command_lines(page):
        command, words = cli, shlex.split(line)[1:]
        while isinstance(command, click.Group):
            assert words[0] in command.commands, line
            command, words = command.commands[words[0]], words[1:]
        command.make_parser(click.Context(command)).parse_args(list(words))  # refuses options that are not there
        options = {flag: p for p in command.params if isinstance(p, click.Option) for flag in p.opts}
        for word, value in zip(words, [*words, ""][1 : len(words) + 1], strict=True):
            if isinstance(getattr(options.get(word), "type", None), click.Choice):
                assert value in options[word].type.choices, line


@every_page
def test_files_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:experiments|benchmarks|attnlab|plugins)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / target).exists(), target


@every_page
def test_tests_that_a_page_names_are_there(page):
    """A file in backticks, and after it in the same line the names of tests that it has."""
    for line in page.read_text(encoding="utf-8").splitlines():
        content = ""
        for word in re.findall(r"`(tests/[\w/]+\.py|test_\w+)`", line):
            if word.endswith(".py"):
                content = (ROOT / word).read_text(encoding="utf-8")
            elif content:
                assert f"def {word}(" in content, word


@every_page
def test_headings_that_a_page_points_at_are_there(page):
    for target, anchor in re.findall(r"\]\(([\w/.-]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = [re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-") for title in titles]
        assert anchor in slugs, f"{page.name}: {target}#{anchor}"


@every_page
def test_components_that_a_page_lists_with_attnlab_show_are_there(page):
    from attnlab.registry import KINDS, entries

    known = {name for kind in KINDS for name in entries(kind)}
    for name in re.findall(r"^`?attnlab show (?:\w+:)?(\w+)`?$", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert name in known


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    assert sorted(re.findall(r"(\S+\.md)", nav)) == sorted(map(name, PAGES))


IN_CHINESE = sorted((DOCS / "zh").glob("*.md"))


@pytest.mark.parametrize("page", IN_CHINESE, ids=name)
def test_a_page_in_chinese_has_the_code_of_the_english_one_and_they_point_at_each_other(page):
    english = DOCS / page.name
    for language in ("python", "yaml", "console"):
        assert [code_of(b) for b in blocks(page, language)] == [code_of(b) for b in blocks(english, language)]
    assert f"](../{page.name})" in page.read_text(encoding="utf-8")
    assert f"](zh/{page.name})" in english.read_text(encoding="utf-8")
    assert f"](docs/zh/{page.name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def code_of(block):
    """A block without its comments and without the words of a question or claim, which are translated."""
    block = re.sub(r"^(\s*(?:- )?(?:question|say): ).*$", r"\1", block, flags=re.MULTILINE)
    block = re.sub(r'("question": )".*"', r"\1", block)
    return [re.sub(r"\s*#.*$", "", line) for line in block.splitlines()]


def test_every_component_that_the_study_notes_speak_of_has_an_experiment():
    text = (DOCS / "study-notes.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^## \d\. ", text, re.MULTILINE)) == 8
    assert len(set(re.findall(r"experiments/[\w/]+\.yaml", text))) >= 8


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("latex2mathml", reason="pip install 'attnlab[docs]'")
    process = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    for html in (tmp_path / "site").rglob("*.html"):  # nothing is fetched from elsewhere
        fetched = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?://[^\s\">]+)", html.read_text("utf-8"))
        assert not fetched, f"{html.name}: {fetched}"
