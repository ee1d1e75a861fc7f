"""`call(part, verb, **available)`: a part takes, by name, what it needs. The one place where this happens."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from attnlab.errors import ComponentError, did_you_mean
from attnlab.interfaces import EVERY_VERB, names_of, settings_of
from attnlab.kinds import INTERFACES, KINDS, LEARNING, PARTS, VERBS
from attnlab.results import TAKEN

__all__ = ["FORMER_MASK", "asks_for", "call", "check_class", "check_learned", "needs"]

RESERVED = ("part", "wants")  # what kernels ask for besides: no learned array may be called so
FORMER_MASK = ("n_queries", "n_keys")  # what `Mask.allow` was asked by before it was a rule about positions
_INIT = ("rng", "d_query", "d_key", "d_value")
_FILLED_IN = ("mechanism", "random_state")  # settings that a run gives its model


@functools.cache
def _wanted(function: Any) -> tuple[tuple[str, bool], ...]:
    """(name, has a default) for each parameter of a method after self."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return tuple((p.name, p.default is not inspect.Parameter.empty) for p in parameters)


def asks_for(part: Any, verb: str) -> frozenset[str]:
    """The names a part's verb asks for."""
    cls = part if isinstance(part, type) else type(part)
    return _names(getattr(cls, verb))


@functools.cache
def _names(function: Any) -> frozenset[str]:
    return frozenset(name for name, _ in _wanted(function))


def needs(part: Any) -> frozenset[str]:
    """The learned arrays without which the verbs of a part cannot be called."""
    cls: Any = type(part)
    return _needs(cls)


@functools.cache
def _needs(cls: Any) -> frozenset[str]:
    found: set[str] = set()
    for verb, nouns in VERBS[cls.kind].items():
        wanted = {name for name, has_default in _wanted(getattr(cls, verb)) if not has_default}
        found |= wanted - set(nouns) - set(EVERY_VERB)
    return frozenset(found)


def call(part: Any, verb: str, /, **available: Any) -> Any:
    """Call `part.verb` with those of the available things that it names, and nothing else.

    Raises
    ------
    TypeError
        When it names something that is not there, with what was.
    """
    given = {}
    for name, has_default in _wanted(getattr(type(part), verb)):
        if name in available:
            given[name] = available[name]
        elif not has_default:
            raise TypeError(
                f"{type(part).__name__}.{verb} asks for {name!r}, which is not there{did_you_mean(name, available)}; "
                f"there is {', '.join(sorted(available)) or 'nothing'}"
            )
    return getattr(part, verb)(**given)


def _signature(cls: type, verb: str) -> str:
    return f"{cls.__name__}.{verb}{inspect.signature(getattr(cls, verb))}"


def check_class(kind: str, cls: Any) -> None:
    """Check what can be checked of a component class without making one; what `register` and plugins go through.

    Raises
    ------
    ComponentError
        Saying which class, what is wrong, and what is allowed.
    """
    if not isinstance(cls, type):
        raise ComponentError(f"{cls!r} is not a class; a hook gives classes, not objects")
    interface = INTERFACES[kind]
    if not issubclass(cls, interface) or cls is interface:
        raise ComponentError(f"{cls.__name__} must derive from attnlab.{interface.__name__} to be a {kind}")
    name = cls.__dict__.get("name") or getattr(cls, "name", "")
    if not isinstance(name, str) or not name.isidentifier():
        raise ComponentError(
            f"{cls.__name__}.name must be a word of letters, digits and underscores, such as "
            f"{cls.__name__.lower()!r}; got {name!r}"
        )
    for setting, parameter in settings_of(cls).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ComponentError(
                f"{_signature(cls, '__init__')}: settings are named one by one; *{setting} is not allowed"
            )
        if "__" in setting:
            raise ComponentError(
                f"{_signature(cls, '__init__')}: a setting's name may not contain '__'; got {setting!r}"
            )
    for verb, nouns in VERBS[kind].items():
        method = getattr(cls, verb, None)
        if method is None or (not KINDS[kind].verbs[verb].optional and method is getattr(interface, verb, None)):
            raise ComponentError(f"{cls.__name__} must define {verb}({', '.join(nouns)}); it is a {kind}")
        if kind in PARTS or kind == "metric":
            _check_verb(kind, cls, verb, nouns)
    if kind in LEARNING:
        _check_init(cls)
        _check_state(kind, cls)
    if kind == "metric":
        _check_metric(cls, name)
    if kind == "kernel":
        _check_kernel(cls)
    if kind == "task":
        _check_task(cls)
    if kind == "model" and (lacking := [s for s in _FILLED_IN if s not in settings_of(cls)]):
        raise ComponentError(
            f"{_signature(cls, '__init__')}: a model has the settings {' and '.join(_FILLED_IN)}, which a run fills in; "
            f"here {names_of(lacking)} {'is' if len(lacking) == 1 else 'are'} missing"
        )


def _check_verb(kind: str, cls: type, verb: str, nouns: tuple[str, ...]) -> None:
    allowed = (*nouns, *EVERY_VERB) if kind in LEARNING else nouns
    if kind == "mask" and set(asks_for(cls, verb)) == set(FORMER_MASK):
        return  # `attnlab.mechanisms.allowed` adapts it
    learns = kind in LEARNING and getattr(cls, "init", None) is not None
    for parameter in list(inspect.signature(getattr(cls, verb)).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ComponentError(
                f"{_signature(cls, verb)}: a verb names what it needs; *{parameter.name} would swallow the rest. "
                f"It may ask for {', '.join(allowed)}"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ComponentError(f"{_signature(cls, verb)}: arguments are given by name; {parameter.name!r} cannot be")
        if parameter.name not in allowed and not learns:
            raise ComponentError(
                f"{_signature(cls, verb)}: unknown argument {parameter.name!r}{did_you_mean(parameter.name, allowed)}; "
                f"{verb} may ask for {', '.join(allowed)}"
                + (", and for learned arrays if the part has init(rng, ...)" if kind in LEARNING else "")
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_task(cls: Any) -> None:
    """What solves a task is a number for the name of a metric."""
    solved = cls.solved
    if not (isinstance(solved, Mapping) and all(isinstance(m, str) and _is_number(v) for m, v in solved.items())):
        raise ComponentError(
            f"{cls.__name__}.solved must give a number for the name of each metric, such as "
            f'{{"context_error": 0.05}}; got {solved!r}'
        )


def _check_metric(cls: Any, name: str) -> None:
    """A metric points somewhere, is a column of its own in the results, and needs no setting, since nothing gives it one."""
    if cls.direction not in ("up", "down", None):
        raise ComponentError(f'{cls.__name__}.direction must be "up", "down" or None; got {cls.direction!r}')
    if cls.per not in ("run", "condition"):
        raise ComponentError(
            f'{cls.__name__}.per must be "condition", or "run" for what a run has once, whatever it is tested on; '
            f"got {cls.per!r}"
        )
    bounds = cls.bounds
    if not (isinstance(bounds, tuple) and len(bounds) == 2 and all(map(_is_number, bounds)) and bounds[0] < bounds[1]):
        raise ComponentError(
            f"{cls.__name__}.bounds must be two numbers, the least and the greatest value that it can have, such as (0, 1) "
            f'or (0, float("inf")); got {bounds!r}'
        )
    if name in TAKEN:
        raise ComponentError(
            f"{cls.__name__}.name: {name!r} is a column of the results table already, where each metric has its own; "
            f"taken are {names_of(TAKEN)}"
        )
    for setting, parameter in settings_of(cls).items():
        if parameter.default is inspect.Parameter.empty:
            raise ComponentError(
                f"{_signature(cls, '__init__')}: a sweep measures with the defaults; give {setting!r} one"
            )


_FUSED = ("similarity", "normaliser", "aggregator")
_ATTEND = ("parts", "Q", "K", "V", "mask", "alive", "allowed", "learned", "wants")


def _check_kernel(cls: Any) -> None:
    """A kernel has no settings, says what it replaces and supports, and its verbs ask for what the part's own may."""
    replaced = cls.replaces
    if (
        isinstance(replaced, type)
        and getattr(replaced, "kind", "") not in LEARNING
        and callable(getattr(cls, "run", None))
    ):
        return  # of a recurrence
    if settings_of(cls):
        raise ComponentError(
            f"{_signature(cls, '__init__')}: a kernel has no settings; those of the part are on `part`, its first argument"
        )
    if isinstance(replaced, tuple):
        threes = replaced if replaced and isinstance(replaced[0], tuple) else (replaced,)
        if any(tuple(getattr(one, "kind", "") for one in three) != _FUSED for three in threes):
            raise ComponentError(
                f"{cls.__name__}.replaces: a fused kernel replaces a tuple of three classes, (a Similarity, a Normaliser, "
                f"an Aggregator), or a tuple of such tuples; got {replaced!r}"
            )
        _check_names(cls, "attend", ("parts",), _ATTEND)
    elif isinstance(replaced, type) and getattr(replaced, "kind", "") in LEARNING:
        kind = replaced.kind  # type: ignore[attr-defined]
        verbs = {verb: nouns for verb, nouns in VERBS[kind].items() if callable(getattr(cls, verb, None))}
        if not verbs:
            raise ComponentError(f"{cls.__name__} replaces a {kind}: it must define {' or '.join(VERBS[kind])}")
        for verb, nouns in verbs.items():
            own = asks_for(replaced, verb)
            learned = sorted(own - {*nouns, *EVERY_VERB})
            keys = ("P",) if verb == "score" and callable(getattr(cls, "prepare", None)) else ()
            allowed = ("part", *nouns, *keys, *(n for n in EVERY_VERB if n not in nouns), *learned, "wants")
            _check_names(cls, verb, ("part",), allowed)
            if keys:
                _check_names(cls, "prepare", ("part", "K"), ("part", "K", *learned))
    else:
        raise ComponentError(
            f"{cls.__name__}.replaces must be the class whose values and gradients it has, or a tuple of three; got "
            f"{replaced!r}"
        )
    if cls.supports is INTERFACES["kernel"].supports:  # type: ignore[attr-defined]
        raise ComponentError(f"{cls.__name__} must define supports(part, library, dtype); it is a kernel")


def _check_names(cls: Any, verb: str, first: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    method = getattr(cls, verb, None)
    if method is None:
        raise ComponentError(f"{cls.__name__} must define {verb}({', '.join(allowed)})")
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = tuple(p.name for p in parameters)
    if names[: len(first)] != first:
        raise ComponentError(f"{_signature(cls, verb)}: the first argument of a kernel's verb is {first[0]!r}")
    for parameter in parameters:
        if parameter.name not in allowed or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ComponentError(
                f"{_signature(cls, verb)}: unknown argument {parameter.name!r}{did_you_mean(parameter.name, allowed)}; "
                f"{verb} of this kernel may ask for {', '.join(allowed)}"
            )


def _check_init(cls: type) -> None:
    init = getattr(cls, "init", None)
    if init is None:
        return
    for parameter in list(inspect.signature(init).parameters.values())[1:]:
        if parameter.name not in _INIT or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ComponentError(
                f"{_signature(cls, 'init')}: unknown argument {parameter.name!r}{did_you_mean(parameter.name, _INIT)}; "
                f"init may ask for {', '.join(_INIT)}"
            )


def _check_state(kind: str, cls: type) -> None:
    if any("state" in asks_for(cls, verb) for verb in VERBS[kind]):
        for needed in ("initial_state", "update"):
            if getattr(cls, needed, None) is None:
                raise ComponentError(f"{cls.__name__} asks for state, so it must define {needed}(...) too")


def check_learned(part: Any, learned: Any) -> dict[str, Any]:
    """Check what `init` returned against what the verbs ask for, both ways; return it.

    Raises
    ------
    ComponentError
        When an array is asked for but not learned, or learned but never asked for.
    """
    cls = type(part)
    if not isinstance(learned, Mapping) or not all(isinstance(k, str) for k in learned):
        raise ComponentError(f"{cls.__name__}.init must return a dict of arrays by name; got {type(learned).__name__}")
    verbs = VERBS[cls.kind]
    asked: set[str] = set()
    for verb, nouns in verbs.items():
        asked |= asks_for(cls, verb) - set(nouns) - set(EVERY_VERB)
    if unknown := needs(part) - set(learned):
        first = sorted(unknown)[0]
        raise ComponentError(
            f"{cls.__name__} asks for {', '.join(sorted(unknown))}, which init does not return"
            f"{did_you_mean(first, [*learned, *EVERY_VERB])}; init returns {', '.join(learned) or 'nothing'}"
        )
    if idle := set(learned) - asked:
        raise ComponentError(
            f"{cls.__name__}.init returns {', '.join(sorted(idle))}, which no verb asks for ({', '.join(verbs)})"
        )
    if clash := set(learned) & {*EVERY_VERB, *RESERVED, *(n for nouns in verbs.values() for n in nouns)}:
        raise ComponentError(f"{cls.__name__}.init returns the reserved name {sorted(clash)[0]!r}; choose another")
    return dict(learned)
