"""The pages of components: a page a kind, with formula, settings, flags, source and an example of each."""

from __future__ import annotations

import inspect
import re
from typing import Any

from attnlab.interfaces import settings_of
from attnlab.kinds import KINDS, Kind
from attnlab.registry import Entry as Registered
from attnlab.registry import entries
from attnlab.settings import describe
from tools.reference.docstrings import cell, code, docstring_of, fenced, markdown, prose, sections, table
from tools.reference.formulas import FORMULAS

# What a page of components starts with, by kind; the pages stand in this order in the navigation.
INTRODUCTIONS = {
    "similarity": "How well does key j answer query i? A similarity turns queries and keys into scores.",
    "normaliser": "Turn scores into weights. A masked score is -inf, and its weight is exactly 0. The number of keys that a query "
    "may attend to is n.",
    "aggregator": "Sum up values by their weights.",
    "position": "Where queries and keys are in a sequence: a position changes queries and keys, scores or weights.",
    "mask": "Which keys may a query attend to? Query i may attend to key j where the formula holds. Both count from 0.",
    "modifier": "Change scores between the position's bias and the mask.",
    "mechanism": "Queries, keys and values in, contexts out: parts or mechanisms, composed.",
    "encoder": "The states of a sequence, for the model `seq2seq`.",
    "task": "What there is to align, with its answers. Every task draws its examples from the seed.",
    "metric": "How good is an alignment or a prediction? Every metric that applies is always measured.",
    "kernel": "A kernel has the values and gradients of what it replaces, and is faster. It has no settings.",
    "executor": "Where the runs of a sweep happen: `attnlab sweep --executor NAME`.",
}
BETTER = {"up": "higher", "down": "lower", None: "–"}
PER = {"condition": "each test condition", "run": "each run"}


def own(kind: str) -> list[Registered]:
    """The components of a kind that attnlab gives, by name."""
    found = [e for named in entries(kind).values() for e in named if e.distribution == "attnlab"]
    return sorted(found, key=lambda e: e.name)


def default_of(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    value = parameter.default
    return code(str(value) if isinstance(value, str) and type(value) is not str else repr(value))


def unit_of(words: str) -> str:
    """What a docstring's type says beyond type and range: the unit, such as "dimensionless"."""
    rest = [piece.strip() for piece in words.split(",")[1:]]
    is_range = re.compile(
        r"[<>=]|at least|at most|optional|\bNone\b|^even$|^or |\bmultiple of\b|^mapping|RandomState|Generator"
    )
    return ", ".join(piece for piece in rest if piece and not is_range.search(piece))


def allowed(cls: Any, setting: str, words: str) -> str:
    """What a setting may be: as it is declared, or in the docstring's words where nothing is."""
    declared = describe(cls, setting)
    if declared == "anything" and words:
        return cell(words)
    return cell(re.sub(r"collections\.abc\.|attnlab\.[\w.]+\.(?=[A-Z])", "", declared))


def settings_table(cls: Any) -> str:
    """The settings of a component, with defaults, types, ranges and what each is."""
    documented = {
        name: entry
        for c in reversed(documenting(cls))
        for entry in docstring_of(c).entries("Parameters")
        for name in entry.names
    }
    rows = []
    for name, parameter in settings_of(cls).items():
        entry = documented[name]
        unit = unit_of(entry.type)
        text = cell(entry.text or entry.type)
        told = f"{text[:1].upper()}{text[1:]}" if entry.text else text
        told = f"In {unit}. {told}" if entry.text and unit and unit != "dimensionless" and "." not in unit else told
        rows.append([code(name), default_of(parameter), allowed(cls, name, entry.type), told])
    return table(["setting", "default", "type and range", "what it is"], rows)


def documenting(cls: Any) -> list[type]:
    """The class, and those whose parameters its docstring says it shares."""
    import attnlab

    shared = re.search(r"Parameters,? [^.]*those of `(\w+)`", inspect.getdoc(cls) or "")
    return [cls, getattr(attnlab, shared[1])] if shared else [cls]


def flags_table(kind: Kind, cls: Any) -> str:
    heads = [code(flag) for flag in kind.flags]
    values = {True: "yes", False: "no", None: "not said"}
    return table(heads, [[values[getattr(cls, flag)] for flag in kind.flags]]) if heads else ""


def component(entry: Registered) -> list[str]:
    """One component of a page."""
    kind, cls = KINDS[entry.kind], entry.cls
    any_cls: Any = cls
    doc = docstring_of(cls)
    formula = FORMULAS.get(entry.kind, {}).get(entry.name, "")
    in_place = bool(formula) and bool(re.search(r"(?:^|\n\n) {4}", doc.body))
    made = [f"## {entry.name}", prose(doc.summary)]
    if formula and not in_place:
        made += [fenced(formula, "math")]
    made += [markdown(doc.body, formula if in_place else "")] if doc.body else []
    if entry.kind == "kernel":
        made += [f"**Replaces**: {replaced(any_cls)}."]
    if entry.kind == "metric":
        least, most = any_cls.bounds
        made += [
            table(
                ["better", "least", "greatest", "one value for"],
                [[BETTER[any_cls.direction], number(least), number(most), PER[any_cls.per]]],
            )
        ]
    elif settings_of(cls):
        made += [f"**Settings**\n\n{settings_table(cls)}"]
    else:
        made += ["It has no settings."] if entry.kind != "kernel" else []
    flags = flags_table(kind, cls)
    made += [f"**Flags** ([what they mean](interfaces.md#{entry.kind}))\n\n{flags}"] if flags else []
    made += sections(doc, leave_out=("Parameters",))
    made += [f"**Source**: {prose(str(any_cls.source))}"] if any_cls.source else []
    return made


def number(value: float) -> str:
    return {float("inf"): "none", float("-inf"): "none"}.get(value, f"{value:g}")


def replaced(cls: Any) -> str:
    """What a kernel replaces, in code letters."""

    def named(thing: type) -> str:
        return code(getattr(thing, "name", "") or thing.__name__)

    what = cls.replaces
    if not isinstance(what, tuple):
        return named(what)
    chains = what if isinstance(what[0], tuple) else (what,)
    return "; ".join(" with ".join(named(part) for part in chain) for chain in chains)


def page_of(kind: Kind) -> str:
    """The page of a kind: an overview, then each component."""
    found = own(kind.name)
    title = kind.plural.capitalize()
    where = f"[The interface](interfaces.md#{kind.name}) says what one of your own needs; `attnlab show NAME` prints an entry in a terminal."
    made = [f"# {title}", INTRODUCTIONS[kind.name], where]
    if kind.name == "metric":
        rows = [
            [link(e), cell(docstring_of(e.cls).summary.rstrip(".")), BETTER[getattr(e.cls, "direction", None)]]
            for e in found
        ]
        made += [table(["metric", "what it is", "better"], rows)]
    else:
        made += [table(["name", "what it is"], [[link(e), cell(docstring_of(e.cls).summary)] for e in found])]
    for entry in found:
        made += component(entry)
    return "\n\n".join(made)


def link(entry: Registered) -> str:
    return f"[{code(entry.name)}](#{entry.name})"
