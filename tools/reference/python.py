"""The pages of Python names: functions and classes, estimators, the modules that are public."""

from __future__ import annotations

import importlib
import inspect
import re
from types import GenericAlias
from typing import Any

import attnlab
from tools.reference.components import settings_table
from tools.reference.docstrings import code, docstring_of, entry_list, fenced, markdown, prose, sections

# The names of `attnlab` by subject; a name that is in none of them is an error of the generator.
GROUPS = {
    "Attention": ("attend", "attention_weights", "normalise", "Mechanism"),
    "Components by name": ("get", "names", "components", "register"),
    "Data": ("AlignmentData", "Splits", "DrawnTask"),
    "Sweeps and results": (
        "sweep",
        "load_results",
        "load_run",
        "summarise",
        "compare",
        "compare_weights",
        "check_claims",
        "referee",
    ),
    "Pictures": ("plot_alignment", "plot_alignments", "plot_claim", "plot_frontier"),
    "Writing components": ("hookimpl", "namespace", "detach", "call", "check_shapes", "Component", "Source"),
    "Errors": tuple(
        name
        for name in attnlab.__all__
        if inspect.isclass(it := getattr(attnlab, name)) and issubclass(it, Exception | Warning)
    ),
}
ESTIMATORS = (
    *("AttentionAligner", "AttentionStack", "AttentionSeq2Seq", "WordAligner"),
    *("AttentionRegressor", "AttentionClassifier"),
)
MODULES = ("attnlab.testing", "attnlab.bitext")
# Public names of other modules, which docs and docstrings name in full.
IN_FULL = (
    "attnlab.analysis.compare.performance_profile",
    "attnlab.analysis.frontier.frontier",
    "attnlab.metrics.links.links",
    "attnlab.models.stopping.Stopping",
    "attnlab.sweeps.execute.execute",
)
NOT_SHOWN = ("get_params", "set_params", "summary", "get_metadata_routing")  # of every component and estimator


# Objects of other packages, whose own words are about something else.
BORROWED = {
    "hookimpl": (
        "@attnlab.hookimpl",
        "Marks a function of a plugin as the implementation of the hook of its name. With "
        '`@attnlab.hookimpl(specname="attnlab_executors")` the function may have another name.',
    )
}


def found(path: str) -> Any:
    """What a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def signature(name: str, thing: Any) -> str:
    """The call, with the names and defaults of what it takes."""
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return name
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    plain = [p.replace(annotation=p.empty) for p in parameters if p.name != "self"]
    shown = str(inspect.Signature(plain)).replace("<class '", "").replace("'>", "")
    return f"{name}{shown}"


def wrapped(text: str, width: int = 96) -> str:
    """A call over several lines where it is long."""
    if len(text) <= width:
        return text
    head, _, inside = text.partition("(")
    parts = re.split(r", (?![^(\[{]*[)\]}])", inside.removesuffix(")"))
    lines, line = [], "   "
    for part in parts:
        if len(line) + len(part) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {part},"
    return "\n".join([f"{head}(", *lines, line, ")"])


def methods(cls: type) -> list[tuple[str, Any]]:
    """The public methods and properties that attnlab's classes give, in the order in which they are written."""
    seen: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("attnlab"):
            continue
        for name, member in vars(base).items():
            shown = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
            if shown and not name.startswith("_") and name not in NOT_SHOWN and not name.endswith("_request"):
                seen[name] = getattr(cls, name) if not isinstance(member, property) else member
    return list(seen.items())


def class_methods(cls: type, level: str) -> list[str]:
    made = []
    for name, member in methods(cls):
        doc = docstring_of(member)
        call = name if isinstance(member, property) else wrapped(signature(name, member))
        made += [f"{level} {cls.__name__}.{name}", fenced(call, "py"), prose(doc.summary)]
        made += [markdown(doc.body)] if doc.body else []
        made += sections(doc)
    return made


def described(name: str, thing: Any, level: str = "###", called: str = "") -> list[str]:
    """A heading, the call, and the docstring of a function, class or other object."""
    doc = docstring_of(thing)
    made = [f"{level} {name}", fenced(wrapped(signature(called or name, thing)), "py")]
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        bases = [base.__name__ for base in thing.__bases__ if base is not object]
        made[1] = f"A kind of {', '.join(code(base) for base in bases)}."
    made += [prose(doc.summary)]
    made += [markdown(doc.body)] if doc.body else []
    made += sections(doc)
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        made += class_methods(thing, level + "#")
    return made


def python_page() -> str:
    """Everything that `import attnlab` offers, but for interfaces and estimators, and the public modules."""
    made = [
        "# Functions and classes",
        "Everything that `import attnlab` offers. The [interfaces](interfaces.md) of components and the "
        "[estimators](estimators.md) have pages of their own.",
    ]
    for group, names in GROUPS.items():
        made += [f"## {group}"]
        if group == "Errors":
            made += [
                "Every error that attnlab raises on purpose is one of them, or a `TypeError` or `ValueError` of Python's."
            ]
        for name in names:
            if name in BORROWED:
                call, words = BORROWED[name]
                made += [f"### attnlab.{name}", fenced(call, "py"), words]
            else:
                made += described(f"attnlab.{name}", getattr(attnlab, name))
    for path in MODULES:
        module = importlib.import_module(path)
        doc = docstring_of(module)
        made += [f"## The module {path}", prose(doc.summary)]
        made += [markdown(doc.body)] if doc.body else []
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing) or (inspect.isclass(thing) and not isinstance(thing, GenericAlias)):
                made += described(f"{path}.{name}", thing)
            else:
                made += [f"### {path}.{name}", prose(constant(path, name))]
    made += ["## Names in other modules"]
    for path in IN_FULL:
        made += described(path, found(path))
    return "\n\n".join(made)


def constant(path: str, name: str) -> str:
    """What a comment says of a constant, on its line or above it, in the module that makes it."""
    for module in (path, f"{path}.checks"):
        lines = inspect.getsource(importlib.import_module(module)).splitlines()
        for i, line in enumerate(lines):
            if re.match(rf"{name}\b.*=", line):
                above = lines[i - 1].removeprefix("# ") if lines[i - 1].startswith("# ") else ""
                text = line.partition("  # ")[2] or above
                return text[:1].upper() + text[1:]
    raise LookupError(f"{path}.{name} has no comment that says what it is")


def estimators_page() -> str:
    """The estimators: settings with ranges, attributes, methods."""
    made = [
        "# Estimators",
        "They follow scikit-learn's interface: `clone`, `get_params`, `set_params` and `GridSearchCV` work. The kind of "
        "component is `model`; [its interface](interfaces.md#model) says what a model of your own needs. "
        "`attnlab show NAME` prints the same in a terminal.",
    ]
    for name in ESTIMATORS:
        cls = getattr(attnlab, name)
        doc = docstring_of(cls)
        made += [f"## attnlab.{name}"]
        if getattr(cls, "name", ""):
            made += [f"In an experiment: `model: {cls.name}`."]
        made += [fenced(wrapped(signature(f"attnlab.{name}", cls)), "py"), prose(doc.summary)]
        made += [markdown(doc.body)] if doc.body else []
        made += [f"**Settings**\n\n{settings_table(cls)}"]
        if doc.entries("Attributes"):
            made += [f"**Attributes**, after `fit`\n\n{entry_list(doc.entries('Attributes'))}"]
        made += sections(doc, leave_out=("Parameters", "Attributes"))
        if getattr(cls, "source", None):
            made += [f"**Source**: {prose(str(cls.source))}"]
        made += class_methods(cls, "###")
    return "\n\n".join(made)
