"""The open part of an experiment: components and their settings, every list a grid axis.

    normaliser: softmax                                    a name
    normaliser: {entmax: {alpha: 1.5}}                     a name with settings
    normaliser: [softmax, {entmax: {alpha: [1.2, 1.5]}}]   an axis of three
    lengths: {value: [10, 20]}                             a setting that is itself a list or a mapping
    mask: {value: [causal, window]}                        masks that combine by "and"; in an axis [[causal, window], all]
    mechanism: {averaged: {first: {similarity: dot}}}      a setting that holds a component, with grids inside
    heads: {value: [{similarity: dot}, {mask: causal}]}    a setting that is a list of components

Which settings hold components is said in `attnlab.nested`. `GridReader` checks all of it against what the components
declare; a `Choice` is the result: counted by multiplication, expanded late.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnlab.errors import AmbiguousName, SettingError, UnknownName, did_you_mean
from attnlab.interfaces import Component, names_of, settings_of
from attnlab.kinds import PARTS
from attnlab.nested import Nested, nested
from attnlab.registry import COMPOSED, Entry, Own, entries, entry, names
from attnlab.settings import checked_one, describe
from attnlab.sweeps.experiment.choices import Choice, Combined
from attnlab.sweeps.experiment.inputs import Inputs
from attnlab.sweeps.experiment.source import At, Document, short

__all__ = ["FILLED_IN", "GridReader", "prefix_of"]

FILLED_IN = {"model": ("mechanism", "random_state")}  # settings that the run gives, by kind


def prefix_of(prefix: str, setting: str, taken: frozenset[str]) -> str:
    """The dotted column of a component that is a setting.

    The parts of a mechanism in the setting `mechanism`, at any depth, have columns of their own (`similarity`, not
    `mechanism.similarity`) unless a mechanism around it has that part itself.
    """
    only_mechanisms = all(word == "mechanism" for word in prefix.split("."))
    return setting if only_mechanisms and setting in PARTS and setting not in taken else f"{prefix}.{setting}"


class GridReader:
    """Reads components out of a document, noting every problem at its place.

    Parameters
    ----------
    document : Document
    tune : mapping of dotted setting to candidates
        The choices have these settings in `tune`, not among their settings. `tuned` collects the settings that were found, and
        `tunable` all that could be tuned.
    inputs : Inputs
        Where settings that are paths are found and hashed.
    """

    def __init__(self, document: Document, tune: Mapping[str, Any], inputs: Inputs) -> None:
        self.document = document
        self.tune = tune
        self.inputs = inputs
        self.tuned: set[str] = set()
        self.tunable: set[str] = set()
        self.incomplete = False  # whether some component could not be read
        self._own = False  # whether a bare name means attnlab's own: in defaults

    # -- components ---------------------------------------------------------------------------------------------
    def axis(self, kind: str, value: Any, at: At, prefix: str) -> list[Choice]:
        """A task, a mechanism or a model, or a list of them."""
        return self._axis(Nested(kind), value, at, prefix, frozenset())

    def default(self, kind: str, default: Any, at: At, prefix: str) -> list[Choice]:
        """A component as code gives it: by name, as a mapping, or as an object. Bare names mean attnlab's own."""
        with self._as_own():
            return self._axis(Nested(kind), default, at, prefix, frozenset())

    @contextlib.contextmanager
    def _as_own(self) -> Iterator[None]:
        before, self._own = self._own, True
        try:
            yield
        finally:
            self._own = before

    def _axis(self, held: Nested, value: Any, at: At, prefix: str, taken: frozenset[str]) -> list[Any]:
        """The choices for a setting that holds a component, or a list of values; None where the setting allows it."""
        if self._own and isinstance(value, (list, tuple)) and (held.several or held.joined):
            value = {"value": list(value)}  # in code a list is no axis
        items, places = (value, [(*at, i) for i in range(len(value))]) if isinstance(value, list) else ([value], [at])
        if not items:
            self.document.problem(at, f"an empty list: give at least one {held.kind}")
        found: list[Any] = []
        for item, place in zip(items, places, strict=True):
            if item is None and held.optional:
                found.append(None)
            elif (choice := self._held(held, item, place, prefix, taken)) is not None:
                found.append(choice)
            else:
                self.incomplete = True
        self.incomplete |= not found
        return found

    def _held(self, held: Nested, value: Any, at: At, prefix: str, taken: frozenset[str]) -> Choice | Combined | None:
        """One value of a setting that holds components: a component, or several."""
        written = isinstance(value, dict) and list(value) == ["value"]
        if held.several and written:
            return self._several(held, value["value"], (*at, "value"), prefix, taken)
        if not held.one:
            self.document.problem(at, f"{held} is written {{value: [...]}}; got {short(value)}")
            return None
        if held.joined and written:
            value, at = value["value"], (*at, "value")
        if held.joined and isinstance(value, list):
            return self._joined(held, value, at, prefix, taken)
        return self.one(held.kind, value, at, prefix, taken)

    def _several(self, held: Nested, value: Any, at: At, prefix: str, taken: frozenset[str]) -> Combined | None:
        """A list of components, each on its own."""
        if not isinstance(value, list):
            self.document.problem(at, f"must be {held}; got {short(value)}")
            return None
        if len(value) < held.fewest or (held.most is not None and len(value) > held.most):
            self.document.problem(at, f"must be {held}; got {len(value)}")
            return None
        found = [self.one(held.kind, item, (*at, i), f"{prefix}.{i}", taken) for i, item in enumerate(value)]
        choices = tuple(choice for choice in found if choice is not None)
        return Combined(choices, ordered=True) if len(choices) == len(found) else None

    def _joined(self, held: Nested, value: list[Any], at: At, prefix: str, taken: frozenset[str]) -> Any:
        """Components of one kind that act as one, each once; masks by name, since their order means nothing."""
        kind = held.kind
        if not value:
            self.document.problem(at, f"an empty list combines no {kind}s: give at least one")
            return None
        found: dict[str, Choice] = {}
        for i, item in enumerate(value):
            name = str(next(iter(item), "") if isinstance(item, dict) else item)
            column = f"{prefix}.{name.rpartition(':')[2]}" if len(value) > 1 else prefix
            choice = self.one(kind, item, (*at, i), column, taken)
            if choice is None:
                return None
            if found.setdefault(choice.name.rpartition(":")[2], choice) is not choice:
                self.document.problem((*at, i), f"the {kind} {short(item)} occurs twice in one combination")
        ordered = held.joined == "in order"
        choices = tuple(found[name] for name in (found if ordered else sorted(found)))
        return Combined(choices, ordered) if len(choices) > 1 else choices[0]

    def one(self, kind: str, value: Any, at: At, prefix: str, taken: frozenset[str]) -> Choice | None:
        """A component: a name, `{name: {setting: value}}`, or, for a mechanism, a mapping of parts."""
        problem = self.document.problem
        if self._own and isinstance(value, Component):
            value = _as_written(value)
        if isinstance(value, str):
            return self.component(kind, value, {}, at, at, prefix, taken)
        if not isinstance(value, Mapping):
            problem(at, f"{_a(kind)} is a name, or {{name: {{setting: value}}}}; got {short(value)}")
            return None
        if kind == "mechanism" and (len(value) != 1 or any(key in PARTS for key in value)):
            return self._block(value, at, prefix, taken)
        if len(value) != 1:
            problem(
                at,
                f"{_a(kind)} is written {{name: {{setting: value}}}} with one name; got {names_of(map(short, value))}{_as_a_list(value)}",
            )
            return None
        ((name, settings),) = value.items()
        if kind == "mechanism" and self._is_no_mechanism(name):
            near = did_you_mean(name, [*PARTS, *names("mechanism")])
            problem(
                (*at, name),
                f"unknown key {short(name)} in mechanism{near}; it has the parts {names_of(PARTS)}, or is one of "
                f"{names_of(names('mechanism'))} with settings",
                key=True,
            )
            return None
        if settings is None:
            settings = {}
        if not isinstance(settings, Mapping):
            problem((*at, name), f"the settings of {kind} {name!r} must be a mapping; got {short(settings)}")
            return None
        return self.component(kind, name, settings, (*at, name), at, prefix, taken)

    def _is_no_mechanism(self, name: str) -> bool:
        try:
            entry("mechanism", name)
        except UnknownName:
            return True
        except AmbiguousName:
            return False
        return False

    def _block(self, value: Mapping[str, Any], at: At, prefix: str, taken: frozenset[str]) -> Choice | None:
        parts = {}
        for key, inner in value.items():
            if key in PARTS:
                parts[key] = inner
            else:
                message = (
                    f"unknown key {short(key)} in mechanism{did_you_mean(key, PARTS)}; allowed are {names_of(PARTS)}"
                )
                self.document.problem((*at, key), message, key=True)
        return self.component("mechanism", COMPOSED, parts, at, at, prefix, taken)

    def component(
        self, kind: str, name: str, given: Mapping[str, Any], at: At, named_at: At, prefix: str, taken: frozenset[str]
    ) -> Choice | None:
        """A named component with the settings given at `at`; the defaults of the others are written out."""
        try:
            found = entry(kind, Own(name) if self._own else name)
        except (UnknownName, AmbiguousName) as error:
            self.document.problem(at, str(error), key=at != named_at)
            return None
        known = settings_of(found.cls)
        filled = FILLED_IN.get(kind, ())
        for setting in given:
            if setting in filled:
                self.document.problem(
                    (*at, setting), f"{setting!r} of {kind} {name!r} is filled in by the run; leave it out", key=True
                )
            elif setting not in known:
                allowed = [s for s in known if s not in filled]
                message = (
                    f"{kind} {name!r} has no setting {short(setting)}{did_you_mean(setting, allowed)}; "
                    f"it has {names_of(allowed)}"
                )
                self.document.problem((*at, setting), message, key=True)
        inner_taken = taken | {s for s in known if s in PARTS} if kind == "mechanism" else frozenset()
        settings: list[tuple[str, tuple[Any, ...]]] = []
        tune: list[tuple[str, tuple[Any, ...]]] = []
        for setting, parameter in known.items():
            if setting in filled:
                continue
            column = f"{prefix}.{setting}"
            where = (*at, setting)
            if held := nested(found.cls, setting):
                inner_prefix = prefix_of(prefix, setting, taken)
                if setting in given:
                    choices = self._axis(held, given[setting], where, inner_prefix, inner_taken)
                elif parameter.default is inspect.Parameter.empty:
                    self._missing(found, setting, at)
                    continue
                else:
                    with self._as_own():
                        choices = self._axis(held, parameter.default, at, inner_prefix, inner_taken)
                settings.append((setting, tuple(choices)))
                continue
            self.tunable.add(column)
            if column in self.tune:
                self.tuned.add(column)
                tune.append((column, self._tuned(found, setting, column, given, where)))
            elif setting in given:
                settings.append((setting, self._options(found, setting, given[setting], where)))
            elif parameter.default is inspect.Parameter.empty:
                self._missing(found, setting, at)
            else:
                settings.append((setting, self._default(found, setting, parameter.default, at)))
        bare = found.distribution == "attnlab"
        return Choice(kind, found.name if bare else found.qualified, tuple(settings), tuple(tune))

    def _missing(self, found: Entry, setting: str, at: At) -> None:
        allowed = describe(found.cls, setting)
        allowed = "" if allowed == "anything" and nested(found.cls, setting) else f" ({allowed})"
        self.document.problem(at, f"{found.kind} {found.name!r} needs the setting {setting!r}{allowed}", key=True)

    # -- settings -----------------------------------------------------------------------------------------------
    def _options(self, found: Entry, setting: str, value: Any, at: At) -> tuple[Any, ...]:
        """The values of a setting: one, or a list of them."""
        if not isinstance(value, list):
            return (self._value(found, setting, value, at),)
        if not value:
            self.document.problem(at, "an empty list is no axis; a setting that is a list is written {value: []}")
        if self._is_itself_a_list(found, setting, value):
            message = f"{setting} of {found.kind} {found.name!r} is a list itself, and a list is an axis: write {{value: {short(value)}}}"
            self.document.problem(at, message)
            return ()
        options: dict[str, Any] = {}  # options with the same meaning count once
        for i, inner in enumerate(value):
            if isinstance(inner, list):
                message = f"a list in a list: a setting that is a list is written {{value: {short(inner)}}}"
                self.document.problem((*at, i), message)
                continue
            option = self._value(found, setting, inner, (*at, i))
            options[json.dumps(option, sort_keys=True)] = option
        return tuple(options.values())

    @staticmethod
    def _is_itself_a_list(found: Entry, setting: str, value: list[Any]) -> bool:
        """Whether the whole list is a value of a setting, of which no element is one."""

        def fits(given: Any) -> bool:
            try:
                checked_one(found.kind, found.cls, setting, given)
            except SettingError:
                return False
            return True

        return bool(value) and fits(value) and not any(map(fits, value))

    def _value(self, found: Entry, setting: str, value: Any, at: At) -> Any:
        """One value, checked, in its declared type, as JSON has it. After a problem: None."""
        if isinstance(value, dict) and list(value) == ["value"]:
            value, at = value["value"], (*at, "value")
        try:
            if self.inputs.is_path(found.cls, setting) and isinstance(value, str):
                return self.inputs.add(value)
            return canonical(checked_one(found.kind, found.cls, setting, self._number(found, setting, value)))
        except SettingError as error:
            self.document.problem(at, str(error))
        except (OSError, ValueError, RuntimeError) as error:  # a file that is not there; ~nobody
            self.document.problem(at, f"{found.kind} {found.name!r}: {setting}: {error}")
        except TypeError as error:
            self.document.problem(at, f"{found.kind} {found.name!r}: {setting} {error}")
        return None

    @staticmethod
    def _number(found: Entry, setting: str, value: Any) -> Any:
        """Where nothing is declared but the default is a float, 1 is 1.0: the same run."""
        default = settings_of(found.cls)[setting].default
        undeclared = describe(found.cls, setting) == "anything"
        if undeclared and type(default) is float and type(value) is int:
            return float(value)
        return value

    def _default(self, found: Entry, setting: str, default: Any, at: At) -> tuple[Any, ...]:
        try:
            return (canonical(default),)
        except TypeError as error:
            message = f"the default of {setting!r} of {found.kind} {found.name!r} {error}; give it a value here"
            self.document.problem(at, message, key=True)
            return (None,)

    def _tuned(self, found: Entry, setting: str, column: str, given: Mapping[str, Any], at: At) -> tuple[Any, ...]:
        if setting in given:
            line = "" if self.document.path is None else f" (line {self.document.line_of_key(('tune', column))})"
            message = f"{column} is both set here and tuned{line}; leave one of them out"
            self.document.problem(at, message, key=True)
        candidates = self.tune[column]
        if not isinstance(candidates, list):
            return ()  # refused already
        return self._options(found, setting, candidates, ("tune", column))


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _as_written(component: Component) -> dict[str, Any]:
    """An object as a file would have it: by its class's name, whatever else has that name."""
    same = [e.qualified for e in entries(component.kind).get(component.name, []) if e.cls is type(component)]
    return {next(iter(same), component.name): component.get_params(deep=False)}


def canonical(value: Any) -> Any:
    """A value as JSON has it, the same for all that mean the same: tuples are lists, -0.0 is 0.0.

    Raises
    ------
    TypeError
        For what JSON cannot write.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"is {value}, which is no finite number")
        return value + 0.0
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, (list, tuple)):
        return [canonical(inner) for inner in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: canonical(inner) for key, inner in value.items()}
    raise TypeError(f"is {type(value).__name__}: {short(value)}, which an experiment cannot write down")


def _as_a_list(several: Mapping[str, Any]) -> str:
    """How several components in one mapping are written."""
    items = ", ".join(f"{{{name}: ...}}" for name in list(several)[:2])
    return f" (for several write a list: [{items}])" if len(several) > 1 else ""
