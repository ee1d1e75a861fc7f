"""The page of kinds: interfaces, verbs, flags and hooks, what a verb may ask for, how a setting declares type and range."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from attnlab import hookspecs, interfaces
from attnlab.interfaces import EVERY_VERB, Component, Similarity
from attnlab.kinds import TABLE, Kind
from attnlab.settings import describe
from tools.reference.docstrings import cell, code, docstring_of, fenced, markdown, prose, table
from tools.reference.python import methods, signature

# Attributes of interfaces that are no flags of `kinds`, but that a component of the kind may set.
FOR_ALL = ("name", "source", "revision", "former")
OTHERS = ("attnlab_suites",)  # which give something else than components
EVENTS = ("attnlab_sweep_started", "attnlab_run_finished", "attnlab_sweep_finished")


class Specimen(Component):
    """Settings of every sort, to show how each is declared and how attnlab puts it into words."""

    def __init__(
        self,
        scale: Annotated[float, Gt(0)] = 1.0,
        share: Annotated[float, Ge(0), Le(1)] = 0.5,
        decay: Annotated[float, Gt(0), Lt(1)] = 0.9,
        heads: Annotated[int, Ge(1)] = 4,
        dims: Annotated[int, Ge(2), MultipleOf(2)] | None = None,
        layout: Literal["interleaved", "half"] = "half",
        learned: bool = False,
        path: str | None = None,
        widths: Sequence[int] = (1, 2),
        inner: Similarity | None = None,
        anything: Any = None,
    ) -> None:
        raise NotImplementedError("it is shown, and not made")


def comments(cls: type) -> dict[str, str]:
    """What the comments of a class say of its attributes: those above an attribute, or beside it."""
    source = textwrap.dedent(inspect.getsource(cls))
    beside = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines = source.splitlines()
    said: dict[str, str] = {}
    last: int | None = None
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            words = [beside[n] for n in range(node.lineno, (node.end_lineno or node.lineno) + 1) if n in beside]
            above = node.lineno - 1
            while above >= 1 and lines[above - 1].strip().startswith("#"):
                words.insert(0, beside[above])
                above -= 1
            if not words and said and node.lineno - 1 == last:  # a comment is about what follows it, line by line
                words = [list(said.values())[-1]]
            said[node.target.id], last = " ".join(words), node.end_lineno
    return said


def meaning(cls: type, attribute: str) -> str:
    """What an attribute of an interface means, by the comments of the class or of those that it derives from."""
    for base in cls.__mro__:
        if base.__module__.startswith("attnlab") and (said := comments(base).get(attribute)):
            return said
    raise LookupError(f"{cls.__name__}.{attribute} has no comment in attnlab that says what it means")


def sentence(text: str) -> str:
    """The text as a sentence; a call at its start stays as it is."""
    first = text.partition(" ")[0]
    is_word = first.replace(",", "").replace("'", "").isalpha() and first not in ("bool", "float", "int")
    whole = text[:1].upper() + text[1:] if is_word else text
    return whole if whole.endswith((".", "`")) or not whole else f"{whole}."


def shown(value: Any) -> str:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, tuple):
        return f"({', '.join(shown(v) for v in value)})"
    return repr(value)


def attributes(kind: Kind) -> list[str]:
    """The flags of a kind, then the other attributes of its interface that a component may set."""
    listed = list(kind.flags)
    for base in kind.interface.__mro__:
        if base.__module__.startswith("attnlab") and base is not Component:
            listed += [name for name in comments(base) if name not in listed and name not in ("kind", *FOR_ALL)]
    return listed


def kind_section(kind: Kind) -> list[str]:
    interface: Any = kind.interface
    doc = docstring_of(interface)
    made = [
        f"### {kind.name}",
        f"The interface is `attnlab.{interface.__name__}`, the hook [`{kind.hook}`](#{kind.hook}).",
    ]
    made += [prose(" ".join(doc.summary.split()))]
    made += [markdown(doc.body)] if doc.body else []
    verbs = []
    for name, verb in kind.verbs.items():
        takes = ", ".join(f"`{noun}`" for noun in verb.reads) or "–"
        gives = ", ".join(f"`{noun}`" for noun in verb.writes) or "–"
        verbs.append([code(name), takes, gives, "no: it does nothing unless written" if verb.optional else "yes"])
    if kind.in_mechanism:
        made += [table(["verb", "may ask for", "gives", "must be written"], verbs)]
    rows = []
    for name in attributes(kind):
        said = cell(sentence(meaning(interface, name)))
        rows.append(
            [
                code(name),
                said,
                code(shown(getattr(interface, name))),
                "checked" if name in kind.flags else "not checked",
            ]
        )
    made += (
        [f"**Flags and attributes**\n\n{table(['name', 'what it means', 'unless set', 'by the contract'], rows)}"]
        if rows
        else []
    )
    told = [(name, member) for name, member in methods(interface) if name not in kind.verbs and inspect.getdoc(member)]
    told = [(name, member) for name, member in told if name not in rows_named(rows)]
    if told:
        lines = [f"* {code(call_of(name, member))}: {prose(docstring_of(member).summary)}" for name, member in told]
        made += ["**Methods**\n\n" + "\n".join(lines)]
    facts = []
    if kind.learns:
        facts.append("It may have `init`, and so arrays to learn.")
    if kind.combines:
        facts.append(
            f"Several of them are one: they combine {'by “and”' if kind.combines == 'and' else kind.combines}."
        )
    if kind.axis:
        facts.append("It is an axis of a sweep, with columns of its own.")
    if kind.composes:
        facts.append("It may be a setting of other components.")
    made += [" ".join(facts)] if facts else []
    return made


def rows_named(rows: list[list[str]]) -> set[str]:
    return {row[0].strip("`") for row in rows}


def call_of(name: str, member: Any) -> str:
    return name if isinstance(member, property) else signature(name, member)


def hook_rows() -> list[list[str]]:
    rows = []
    for kind in TABLE:
        summary = docstring_of(kind.interface).summary
        verbs = ", ".join(f"`{name}`" for name in kind.verbs) or "as the interface says"
        rows.append([f"[`{kind.hook}`](#{kind.hook})", f"[`{kind.interface.__name__}`](#{kind.name}) classes", verbs])
        assert summary
    return [
        *rows,
        *([f"[`{name}`](#{name})", "directories of experiments", "`attnlab sweep suite:NAME`"] for name in OTHERS),
    ]


def event_rows() -> list[list[str]]:
    rows = []
    for name in EVENTS:
        function = getattr(hookspecs, name)
        takes = ", ".join(f"`{p}`" for p in inspect.signature(function).parameters)
        rows.append([f"[`{name}`](#{name})", takes, cell(docstring_of(function).summary)])
    return rows


def hook_section(name: str) -> list[str]:
    function = getattr(hookspecs, name)
    doc = docstring_of(function)
    made = [f"### {name}", prose(doc.summary)]
    text, _, example = doc.body.partition("Example::")
    made += [markdown(text)] if text.strip() else []
    made += [fenced(inspect.cleandoc("\n" + example.strip("\n")), "python")] if example.strip() else []
    return made


def settings_section() -> list[str]:
    source = inspect.getsource(Specimen.__init__)
    rows = []
    for name, declaration, default in re.findall(r"^        (\w+): (.+?) = (.+),$", source, re.MULTILINE):
        rows.append([code(f"{name}: {declaration} = {default}"), cell(describe(Specimen, name))])
    return [
        "## How a setting declares type and range",
        "A setting is a parameter of `__init__`, which stores it untouched under the same name. Its annotation is its type. "
        "A range is written with the markers of the package `annotated-types`, which attnlab installs: "
        "`Gt`, `Ge`, `Lt`, `Le` and `MultipleOf`. attnlab checks a setting where it is given by name, in Python and in an "
        "experiment, and the message says the type and range in words. `attnlab show` prints these words too.",
        fenced(
            "from typing import Annotated\n\nfrom annotated_types import Gt\n\nimport attnlab\n\n\n"
            "class Laplace(attnlab.Similarity):\n"
            '    """Minus the city-block distance over a length scale."""\n\n'
            '    name = "laplace"\n\n'
            "    def __init__(self, scale: Annotated[float, Gt(0)] = 1.0) -> None:\n        self.scale = scale\n\n"
            "    def score(self, Q, K):\n        xp = attnlab.namespace(Q, K)\n"
            "        return -xp.sum(xp.abs(Q[..., :, None, :] - K[..., None, :, :]), axis=-1) / self.scale",
            "python",
        ),
        table(["declaration", "in words"], rows),
        "A setting without a default is required. A setting without an annotation may be anything. A number must be finite. An "
        "integer is accepted where a float is asked for, a float is not accepted where an integer is. A setting "
        "that is annotated with an interface holds a component, and in a file it is written as a name or as `{name: {setting: value}}`.",
    ]


def interfaces_page() -> str:
    every = [[code(name), cell(sentence(text))] for name, text in EVERY_VERB.items()]
    made = [
        "# Kinds, hooks and settings",
        "A component is a class of one of these kinds. A plugin is a module with some of the [hooks](#hooks) below, named in "
        "an entry point of the group `attnlab`. [Writing a plugin](../plugins.md) shows how.",
        "## Kinds",
        "Every component has a `name`, a docstring whose first line says what it is, and optionally a `source`, an "
        "`attnlab.Source`. " + " ".join(f"`{name}`: {prose(text)}." for name, text in told_of_all()),
        "A flag that is checked is one that the contract tests hold a component to, both ways.",
    ]
    for kind in TABLE:
        made += kind_section(kind)
    made += [
        "## What a verb may ask for",
        "A verb of a part takes, by name, what it needs: its own nouns, the arrays that its `init` returned, and any of these.",
        table(["name", "what it is"], every),
        *settings_section(),
        "## Hooks",
        "Each hook takes nothing and returns classes.",
        table(["hook", "gives", "verbs"], hook_rows()),
        "Events receive what happened. They return nothing and cannot change it. If one raises an error, the error is printed and "
        "the sweep goes on.",
        table(["event", "receives", "when"], event_rows()),
    ]
    for name in [*(kind.hook for kind in TABLE), *OTHERS, *EVENTS]:
        made += hook_section(name)
    return "\n\n".join(made)


def told_of_all() -> list[tuple[str, str]]:
    said = comments(interfaces.Component)
    return [(name, said[name]) for name in ("revision", "former")]
