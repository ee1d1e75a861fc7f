"""C00x: what every component keeps, of whatever kind."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
from typing import Any

from attnlab.errors import message_of
from attnlab.injection import check_class
from attnlab.interfaces import Source, settings_of
from attnlab.kinds import INTERFACES
from attnlab.registry import built
from attnlab.settings import checked
from attnlab.testing.checks import check
from attnlab.testing.report import Failed, Skipped, Warned
from attnlab.testing.subject import Subject

KINDS = tuple(INTERFACES)
SETTLED = tuple(k for k in KINDS if k != "executor")  # an executor holds what was submitted, and is from no paper


@check("C001", *KINDS)
def class_is_as_registered(s: Subject) -> None:
    """The class has what registration asks of its kind: a name, its verbs, arguments that attnlab knows."""
    check_class(s.kind, s.cls)


@check("C002", *KINDS)
def docstring_is_complete(s: Subject) -> None:
    """The docstring has a one-line summary, every setting under Parameters, References and an Example."""
    doc = inspect.cleandoc(s.cls.__doc__ or "")
    lines = doc.splitlines()
    lacks = []
    if not lines or not lines[0].strip():
        lacks.append("a summary")
    elif len(lines[0]) > 110 or (len(lines) > 1 and lines[1].strip()):
        lacks.append("a summary of one line, with an empty one after it")
    titles = ["References", "Examples"] if s.kind != "executor" else []
    for title in [*(["Parameters"] if settings_of(s.cls) else []), *titles]:
        if not re.search(rf"^{title}\n-{{{len(title)}}}$", doc, re.MULTILINE):
            lacks.append(f"a section {title}")
    if section := re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\w+\n---|\Z)", doc, re.MULTILINE | re.DOTALL):
        told = set(re.findall(r"\w+", " ".join(re.findall(r"^(\S[^:\n]*)", section[1], re.MULTILINE))))
        lacks += [f"the setting {name} under Parameters" for name in settings_of(s.cls) if name not in told]
    _recommend(s, f"the docstring lacks {', '.join(lacks)}" if lacks else "")


@check("C003", *SETTLED)
def source_is_given(s: Subject) -> None:
    """`source` says where the component comes from: title, authors, year."""
    source = getattr(s.cls, "source", None)
    if source is not None and not isinstance(source, Source):
        raise Failed(f"source must be an attnlab.Source; got {source!r}")
    missing = "no source" if source is None else "" if source.title and source.authors else "no title or no authors"
    _recommend(
        s,
        f"{missing}: source = Source(title, authors, year, where); of a new idea, its title and you" if missing else "",
    )


@check("C004", *SETTLED)
def init_only_stores(s: Subject) -> None:
    """`__init__` stores each setting untouched under its own name, and does nothing else."""
    given = {name: object() for name in settings_of(s.cls)}
    try:
        made: Any = s.cls(**given)
    except Exception as error:
        raise Failed(
            f"__init__ looks at its settings ({type(error).__name__}: {message_of(error)}); declare ranges instead"
        ) from None
    for name, value in given.items():
        if getattr(made, name, None) is not value:
            raise Failed(f"the setting {name} is not stored as it was given")
    if more := set(vars(made)) - set(given):
        raise Failed(f"__init__ sets {', '.join(sorted(more))}, which is no setting")


@check("C005", *SETTLED)
def settings_come_back(s: Subject) -> None:
    """`get_params`, `set_params` and scikit-learn's `clone` give the settings back, in an object of its own."""
    from sklearn.base import clone

    part = s.object
    settings = part.get_params(deep=False)
    if set(settings) != set(settings_of(s.cls)):
        raise Failed(f"get_params gives {sorted(settings)}; the settings are {sorted(settings_of(s.cls))}")
    twin = clone(part)
    if twin is part or type(twin) is not type(part):
        raise Failed("clone does not give another object of the same class")
    if repr(twin.get_params(deep=False)) != repr(settings):
        raise Failed(f"clone has the settings {twin.get_params(deep=False)} instead of {settings}")
    for name in settings:
        mark = object()
        if twin.set_params(**{name: mark}) is not twin or twin.get_params(deep=False)[name] is not mark:
            raise Failed(f"set_params({name}=...) does not set it and return the object")


@check("C006", *KINDS)
def examples_run(s: Subject) -> None:
    """The docstring's Examples give what they say."""
    module = sys.modules[s.cls.__module__]
    test = doctest.DocTestParser().get_doctest(
        inspect.cleandoc(s.cls.__doc__ or ""), dict(vars(module)), s.label, None, 0
    )
    if not test.examples:
        raise Skipped("the docstring has no example")
    told: list[str] = []
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failures = doctest.DocTestRunner(verbose=False, optionflags=options).run(test, out=told.append, clear_globs=False)
    _recommend(s, " ".join("".join(told).split()) if failures.failed else "")


@check("C007", *KINDS)
def defaults_are_in_range(s: Subject) -> None:
    """The settings lie in the ranges that `__init__` declares for them."""
    part = s.object
    if not settings_of(s.cls):
        raise Skipped("it has no settings")
    checked(s.kind, s.cls, built(s.cls, {name: getattr(part, name) for name in settings_of(s.cls)}))


def _recommend(s: Subject, finding: str) -> None:
    """A failure of attnlab's own components, a warning for others'."""
    if finding:
        raise (Failed if s.own else Warned)(finding)
