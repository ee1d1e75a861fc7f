"""The reference lacks nothing, and is what the code gives: names, components, settings, flags, commands, columns, statuses."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import autograd
import click
import numpy as np
import pytest

import attnlab
from attnlab import cli, hookspecs
from attnlab.arrays import namespace
from attnlab.guard import ASKING
from attnlab.interfaces import EVERY_VERB, settings_of
from attnlab.kinds import HOOKS, KINDS, TABLE
from attnlab.registry import entries
from attnlab.settings import describe
from attnlab.sweeps.frame import AXES, FIRST, LAST
from attnlab.sweeps.plan import DEFAULT_RERUN, RERUN, decide
from attnlab.sweeps.run import STATUSES, Run
from attnlab.testing import CHECKS

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the generator lies beside the package

from tools.reference import FOLDERS, pages  # noqa: E402
from tools.reference.formulas import COUNTED, FORMULAS, NEEDED  # noqa: E402
from tools.reference.namespace import differentiable, offered  # noqa: E402

DOCS = ROOT / "docs"
PACKAGE = Path(attnlab.__file__).parent
MADE = pages()
OWN = [e for kind in KINDS for found in entries(kind).values() for e in found if e.distribution == "attnlab"]
every_component = pytest.mark.parametrize("entry", OWN, ids=lambda e: f"{e.kind}-{e.name}")


def page(name):
    return (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


def section(text, title, level=2):
    """The text of a section, up to the next heading of its level or above."""
    found = re.search(
        rf"^{'#' * level} {re.escape(title)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found, f"the reference lacks the section {'#' * level} {title}"
    return found[1]


def rows(text):
    """The rows of the tables of a text, as lists of cells."""
    return [re.split(r" (?<!\\)\| ", line.strip("| \n")) for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)]


def first_cells(text):
    """What is in code letters in the first cell of each row of the tables."""
    return {word for row in rows(text) for word in re.findall(r"`([^`]+)`", row[0])}


def plain(cell):
    """A cell without Markdown's escapes."""
    return re.sub(r"\\(.)", r"\1", cell).replace("&lt;", "<").replace("&amp;", "&")


# -- the files --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", sorted(MADE))
def test_a_page_is_what_the_code_gives(path):
    assert (DOCS / path).read_text(encoding="utf-8") == MADE[path], "run `python -m tools.reference`"


def test_no_page_is_left_over():
    there = {f"{folder}/{file.name}" for folder in FOLDERS for file in (DOCS / folder).glob("*")}
    assert there == set(MADE) - {"reference.md"}


def test_markdown_shows_names_as_they_are():
    """Nothing outside code is emphasised by chance, or disappears as a tag."""
    for path, text in MADE.items():
        outside = re.sub(
            r"^```.*?^```$|<!--.*?-->|`[^`\n]*`|\*\*\w[\w ]*\*\*", "", text, flags=re.DOTALL | re.MULTILINE
        )
        assert re.findall(r"(?<!\\)<\w[^>\n]*>", outside) == [], path
        assert re.findall(r"(?<![\\\n ])(?<!\])\*\w|(?<![\\\w])_\w+_(?!\w)", outside) == [], path


# -- Python -----------------------------------------------------------------------------------------------------------
INTERFACES = {kind.interface.__name__ for kind in TABLE}


@pytest.mark.parametrize("name", attnlab.__all__)
def test_every_public_name_with_its_docstring(name):
    thing = getattr(attnlab, name)
    if inspect.ismodule(thing):
        assert f"## The module attnlab.{name}\n" in page("python")
        return
    if name in INTERFACES:
        (kind,) = [kind.name for kind in TABLE if kind.interface is thing]
        text = section(page("interfaces"), kind, 3)
        assert f"`attnlab.{name}`" in text
    elif f"## attnlab.{name}\n" in page("estimators"):
        text = section(page("estimators"), f"attnlab.{name}")
    else:
        text = section(page("python"), f"attnlab.{name}", 3)
        if inspect.isfunction(thing):
            call = re.findall(r"```py\n(.*?)```", text, re.DOTALL)[0]
            assert set(inspect.signature(thing).parameters) <= set(re.findall(r"\w+", call))
    if name == "hookimpl":  # pluggy's, with words of ours
        assert "hook" in text
        return
    words = re.findall(r"\w{4,}", inspect.getdoc(thing).partition("\n\n")[0])
    assert words
    assert set(words) <= set(re.findall(r"\w{4,}", plain(text)))


@pytest.mark.parametrize("path", ["attnlab.testing", "attnlab.bitext"])
def test_every_name_of_the_public_modules(path):
    module = importlib.import_module(path)
    for name in module.__all__:
        assert section(page("python"), f"{path}.{name}", 3).strip(), name


def test_every_method_of_an_estimator():
    for title in re.findall(r"^## attnlab\.(\w+)$", page("estimators"), re.MULTILINE):
        cls = getattr(attnlab, title)
        public = {n for n in dir(cls) if not n.startswith("_") and inspect.isfunction(getattr(cls, n))}
        own = {n for n in public if getattr(cls, n).__module__.startswith("attnlab")} - {
            "summary",
            "get_params",
            "set_params",
        }
        shown = set(re.findall(rf"^### {title}\.(\w+)$", page("estimators"), re.MULTILINE))
        assert own
        assert own <= shown, title


def test_names_that_docs_and_docstrings_give_in_full_have_an_entry():
    known = set(re.findall(r"^#+ (attnlab\.\S+)$", page("python") + page("estimators"), re.MULTILINE))
    texts = [*(f.read_text(encoding="utf-8") for f in DOCS.rglob("*.md")), (ROOT / "README.md").read_text("utf-8")]
    for name in {found for text in texts for found in re.findall(r"`(attnlab(?:\.\w+)+)(?:\([^`]*\))?`", text)}:
        parts = name.split(".")
        if len(parts) < 3 or parts[1] == "db":  # attnlab.db is the file of results
            continue
        thing, module = attnlab, "attnlab"
        for part in parts[1:]:
            module = f"{module}.{part}"
            thing = getattr(thing, part, None) or importlib.import_module(module)
        if not inspect.ismodule(thing):
            outer = [".".join(parts[:n]) for n in range(2, len(parts) + 1)]
            assert set(outer) & known, f"{name} has no entry: add it to IN_FULL in tools/reference/python.py"


# -- components -------------------------------------------------------------------------------------------------------
def entry_text(entry):
    if entry.kind == "model":
        return section(page("estimators"), f"attnlab.{entry.cls.__name__}")
    return section(page(KINDS[entry.kind].plural), entry.name)


@every_component
def test_a_component_has_its_settings_with_default_and_range(entry):
    text = entry_text(entry)
    told = {row[0].strip("`"): row for row in rows(text) if len(row) == 4}
    for name, parameter in settings_of(entry.cls).items():
        row = told[name]
        assert row[3].strip(), f"{name} is not explained"
        assert (
            row[1] == "required"
            if parameter.default is parameter.empty
            else f"`{parameter.default!s}`" in row[1].replace("'", "")
        )
        declared = describe(entry.cls, name)
        if declared != "anything" and "." not in declared:
            assert plain(row[2]) == declared


@every_component
def test_a_component_has_its_flags_and_its_source(entry):
    text = plain(entry_text(entry))
    for flag in KINDS[entry.kind].flags:
        assert f"`{flag}`" in text
    if entry.cls.__dict__.get("source"):
        assert f"**Source**: {entry.cls.source}" in text


@every_component
def test_a_component_has_its_formula(entry):
    formula = FORMULAS.get(entry.kind, {}).get(entry.name)
    if entry.kind in NEEDED and entry.name not in COUNTED:
        assert formula, f"add the formula of {entry.kind} {entry.name} to tools/reference/formulas.py"
    if formula:
        assert f"```math\n{formula}\n```" in entry_text(entry)


def test_no_formula_is_of_nothing():
    names = {(e.kind, e.name) for e in OWN}
    assert {(kind, name) for kind, found in FORMULAS.items() for name in found} <= names


def test_every_formula_can_be_typeset():
    pytest.importorskip("latex2mathml", reason="pip install 'attnlab[docs]'")
    import xml.etree.ElementTree as ElementTree

    from tools.mathml import mathml

    for formula in [f for found in FORMULAS.values() for f in found.values()]:
        made = ElementTree.fromstring(mathml(formula, "block"))
        assert made.get("alttext") == formula
        assert "\\" not in "".join(made.itertext()), f"a command that latex2mathml does not know: {formula}"


def test_every_metric_has_its_direction_and_bounds():
    words = {"up": "higher", "down": "lower", None: "–"}
    for entry in [e for e in OWN if e.kind == "metric"]:
        (row,) = [row for row in rows(section(page("metrics"), entry.name)) if row[0] in words.values()]
        least, most = ("none" if np.isinf(b) else f"{b:g}" for b in entry.cls.bounds)
        assert row == [
            words[entry.cls.direction],
            least,
            most,
            {"condition": "each test condition", "run": "each run"}[entry.cls.per],
        ]


# -- kinds, hooks, settings -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.name)
def test_every_flag_of_a_kind_and_what_its_verbs_ask_for(kind):
    text = section(page("interfaces"), kind.name, 3)
    told = {row[0].strip("`"): row for row in rows(text)}
    assert all(told[flag][1] and told[flag][3] == "checked" for flag in kind.flags)
    if kind.in_mechanism:
        for name, verb in kind.verbs.items():
            (row,) = [
                row
                for row in rows(text)
                if row[0] == f"`{name}`" and len(row) == 4 and row[3].split(":")[0] in ("yes", "no")
            ]
            assert re.findall(r"\w+", row[1]) == list(verb.reads)


def test_what_every_verb_may_ask_for():
    assert first_cells(section(page("interfaces"), "What a verb may ask for")) == set(EVERY_VERB)


def test_every_hook():
    hooks = {name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("attnlab_")}
    assert set(HOOKS.values()) < hooks
    text = section(page("interfaces"), "Hooks")
    assert first_cells(text) == hooks
    assert set(re.findall(r"^### (attnlab_\w+)$", text, re.MULTILINE)) == hooks


def test_what_events_are_told():
    text = section(page("interfaces"), "Hooks")
    for name in ("attnlab_sweep_started", "attnlab_run_finished", "attnlab_sweep_finished"):
        (row,) = [row for row in rows(text) if f"`{name}`" in row[0]]
        assert set(inspect.signature(getattr(hookspecs, name)).parameters) <= set(re.findall(r"`(\w+)`", row[1]))


def test_every_check():
    assert first_cells(page("contract")) == set(CHECKS)


# -- namespace --------------------------------------------------------------------------------------------------------
NP = namespace(np.zeros(1))
SHOWN = {word for row in rows(page("namespace")) for cell in row for word in re.findall(r"`([\w.]+)`", cell)}


def test_all_that_the_namespace_has_of_attnlabs_is_shown_and_all_that_is_shown_is_there():
    assert set(offered()) <= SHOWN
    for name in SHOWN - {"axis"}:
        thing = NP
        for part in name.split("."):
            thing = getattr(thing, part)


def test_what_is_said_of_gradients():
    X = np.array([[0.3, 0.7], [0.6, 0.2]])
    several = {"unstack", "meshgrid", "broadcast_arrays", "linalg.eigh", "linalg.slogdet", "linalg.svd", "linalg.qr"}
    tried = set()
    for name in {n for n in SHOWN - {"axis", "acosh"} - several if differentiable(n) in ("yes", "no")}:
        function = NP
        for part in name.split("."):
            function = getattr(function, part)
        try:
            function(X)
        except (TypeError, ValueError):  # it takes more than an array
            continue
        try:
            autograd.grad(lambda x, function=function: NP.sum(function(x) * 1.0))(X)
            has = True
        except (NotImplementedError, TypeError, ValueError):
            has = False
        tried.add(name)
        assert has == (differentiable(name) == "yes"), name
    assert len(tried) > 50


# -- commands ---------------------------------------------------------------------------------------------------------
def commands(command=cli.cli, path=()):
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield " ".join(path), command


def test_every_command_and_nothing_else():
    shown = re.findall(r"^### attnlab (.+)$", page("commands"), re.MULTILINE)
    assert shown == sorted(path for path, _ in commands())


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=p) for p, c in commands()])
def test_every_option_of_a_command_and_nothing_else(path, command):
    text = section(page("commands"), f"attnlab {path}", 3)
    options = {flag for p in command.params if isinstance(p, click.Option) for flag in (*p.opts, *p.secondary_opts)}
    assert first_cells(text) == options
    for option in command.params:
        if isinstance(option, click.Option):
            (row,) = [row for row in rows(text) if f"`{option.opts[0]}`" in row[0]]
            assert row[-1], option.opts
            for choice in getattr(option.type, "choices", ()):
                assert f"`{choice}`" in row[-1]
            if option.default not in (None, False, ()) and not option.is_flag and option.show_default:
                assert f"`{option.default}`" in row[-1]


# -- results ----------------------------------------------------------------------------------------------------------
def test_every_column():
    shown = first_cells(section(page("results"), "Columns of the results table"))
    assert shown == {*FIRST, *AXES, *LAST}


def test_the_columns_stand_in_the_order_of_the_table():
    told = [row[0] for row in rows(section(page("results"), "Columns of the results table"))]
    assert [word for cell in told for word in re.findall(r"`(\w+)`", cell)] == [*FIRST, *AXES, *LAST]


def test_every_status():
    assert re.findall(r"^\| `(\w+)` \|", section(page("results"), "Statuses"), re.MULTILINE) == list(STATUSES)


def test_which_statuses_are_tried_again():
    run = Run.of({"seed": 0})
    for status in STATUSES:
        (planned,) = decide([run], {run.run_id: (status, {})}, lambda run: {}, DEFAULT_RERUN)
        (row,) = [row for row in rows(section(page("results"), "Statuses")) if row[0] == f"`{status}`"]
        assert row[2].startswith("yes") == (planned.action == "run"), status


def test_every_exit_status():
    said = (inspect.getdoc(cli) or "").partition("Exit status:")[2].partition("\n\n")[0]
    documented = set(re.findall(r"\b\d+\b", said))
    assert documented
    returned = {
        str(node.value)
        for node in ast.walk(ast.parse(inspect.getsource(cli)))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }
    assert documented <= returned | {str(128 + number) for number in ASKING}
    assert {row[0] for row in rows(section(page("commands"), "Exit status"))} - {"status", "---"} == documented


def test_every_environment_variable():
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\s*[\"'](\w+)", path.read_text(encoding="utf-8"))
    }
    assert read
    assert first_cells(section(page("commands"), "Environment")) == read | {"NO_COLOR"}  # rich reads that one


def test_what_rerun_takes():
    sweeps = (DOCS / "sweeps.md").read_text(encoding="utf-8")
    assert all(f"`{word}`" in sweeps for word in RERUN)
