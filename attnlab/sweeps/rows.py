"""Rows of the store: Result <-> values for SQLite, and a strict reader.

A store may come from anywhere. What its rows say is checked before it is used: a row is what attnlab could have written, or it is
`Unfit`, with the column and the reason.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import operator
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from attnlab.plugins import FILE
from attnlab.sweeps.executors.messages import to_json
from attnlab.sweeps.run import STATUSES, Result, Run, with_file_names

__all__ = ["Unfit", "as_row", "as_text", "fingerprints_in", "marks", "now", "revived"]

_COLUMNS = (
    "run_id", "canonical", "status", "reason", "traceback", "facts", "versions", "fingerprints", "attempts",
    "executor", "started_at", "seconds", "artifacts_sha256",
)  # fmt: skip
_KINDS = tuple({"attempts": int, "seconds": float, "artifacts_sha256": bytes}.get(name, str) for name in _COLUMNS)
_NUMBERS = ("fit_seconds", "n_parameters", "operations_per_query", "n_tuned")
_LARGEST = 2**63
_LONGEST = 2**16  # bytes of a reason, a traceback, or all notes of a run
_CUT = "... cut"
_SEED = re.compile(r',"seed":(-?\d{1,18}),"task":')  # in the canonical text of a run


class Unfit(Exception):
    """A row that agrees with its checksum and says what attnlab never writes."""


def marks(n: int) -> str:
    """The place holders of n values."""
    return ", ".join("?" * n)


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def as_text(text: str) -> str:
    """Text as UTF-8 can hold it: lone surrogates are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(text: str) -> str:
    """Text of at most 64 KiB in UTF-8."""
    text = as_text(text)
    if len(text) <= _LONGEST // 4 or len(kept := text.encode()) <= _LONGEST:
        return text
    return kept[: _LONGEST - len(_CUT)].decode("utf-8", "ignore") + _CUT


def _with_cut_notes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run with at most 64 KiB of notes."""
    notes = facts.get("notes")
    if not isinstance(notes, list | tuple) or sum(len(str(note)) for note in notes) <= _LONGEST // 4:
        return dict(facts)
    kept, left = [], _LONGEST
    for note in map(str, notes):
        size = len(note.encode("utf-8", "backslashreplace"))
        if size > left:
            kept.append(_cut(note)[: left // 4] + _CUT)
            break
        kept.append(note)
        left -= size
    return {**facts, "notes": kept}


def as_row(run: Run, result: Result, fingerprints: Mapping[str, str]) -> tuple[tuple[Any, ...], list[Any]]:
    """The row of a result without its checksum, and its measures as (test, metric, value)."""
    if result.status not in STATUSES:
        raise ValueError(f"a result is one of {', '.join(STATUSES)}; got {result.status!r}")
    measures = [
        (test, metric, _stored(value)) for test, values in result.metrics.items() for metric, value in values.items()
    ]
    texts = (run.canonical, result.status, _cut(result.reason), _cut(result.traceback))
    mappings = (to_json(_with_cut_notes(result.facts)), to_json(dict(result.versions)), to_json(dict(fingerprints)))
    provenance = (int(result.attempts), as_text(result.executor), as_text(result.started_at), float(result.seconds))
    return (run.run_id, *texts, *mappings, *provenance, hashlib.sha256(result.artifacts).digest()), measures


def _stored(value: Any) -> float | None:
    """A number as SQLite will give it back: NaN as NULL, and -0.0 as 0.0."""
    number = float(value) + 0.0
    return None if number != number else number


# -- reading ----------------------------------------------------------------------------------------------------------
def revived(
    row: Sequence[Any], measures: Iterable[Any], artifacts: bytes = b"", checked: set[tuple[str, ...]] | None = None
) -> tuple[Run, Result]:
    """The run and the result that a row says.

    For many rows give one `checked` to all calls, an empty set at first: most runs differ from others in their seed alone.

    Raises
    ------
    Unfit
        When attnlab cannot have written it.
    """
    if tuple(map(type, row)) != _KINDS:
        for name, value, kind in zip(_COLUMNS, row, _KINDS, strict=True):
            if not isinstance(value, kind):
                raise Unfit(f"{name} is no {kind.__name__} but {type(value).__name__}")
    run_id, canonical, status, reason, traceback, facts, versions, _, attempts, executor, started_at, seconds, _ = row
    if status not in STATUSES:
        raise Unfit(f"the status {status!r} is none of {', '.join(STATUSES)}")
    if not (0 <= attempts < _LARGEST and math.isfinite(seconds)):
        raise Unfit(f"{attempts} attempts and {seconds} seconds cannot be")
    before, _, after = (*_SEED.split(canonical, 1), "", "")[:3]
    if checked is None or not after or (before, after) not in checked:
        _check_spec(_mapping("canonical", canonical))
        if checked is not None and after:
            checked.add((before, after))
    made_with = _words("versions", versions)
    run = Run(canonical if FILE not in made_with.values() else with_file_names(canonical, made_with), run_id)
    return run, Result(
        status, reason, traceback, _metrics(measures), _facts(facts), dict(made_with), artifacts, attempts, executor, started_at,
        seconds,
    )  # fmt: skip


def fingerprints_in(row: Sequence[Any]) -> Mapping[str, str]:
    """The fingerprints of a row, the same object for the same text; Unfit as for `revived`."""
    return _words("fingerprints", row[7])


def _mapping(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unfit(f"{name} is no JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise Unfit(f"{name} is no mapping but {type(value).__name__}")
    return value


@functools.lru_cache(maxsize=1024)
def _words(name: str, text: str) -> Mapping[str, str]:
    """A mapping of texts; many rows say the same, and share one that nobody can write to."""
    found = _mapping(name, text)
    for key, value in found.items():
        if not isinstance(value, str):
            raise Unfit(f"{name}: {key!r} is no text but {type(value).__name__}")
    return MappingProxyType(found)


def _check_spec(spec: Mapping[str, Any]) -> None:
    for name in ("seed", "model_seed"):
        value = spec.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _LARGEST:
            raise Unfit(f"canonical: {name} is no whole number of 64 bits")
    if "seed" not in spec:
        raise Unfit("canonical has no seed")
    for role in ("task", "mechanism", "model"):
        value = spec.get(role, {"": {}})
        if not (isinstance(value, dict) and len(value) == 1 and all(isinstance(s, dict) for s in value.values())):
            raise Unfit(f"canonical: {role} is no name with settings")
    tune, inputs = spec.get("tune", {}), spec.get("inputs", {})
    if not isinstance(tune, dict) or not all(isinstance(values, list) for values in tune.values()):
        raise Unfit("canonical: tune is no mapping of lists")
    if not isinstance(inputs, dict) or not all(isinstance(value, str) for value in inputs.values()):
        raise Unfit("canonical: inputs is no mapping of texts")


def _facts(text: str) -> dict[str, Any]:
    facts = _mapping("facts", text)
    notes = facts.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise Unfit("facts: notes is no list of texts")
    if not isinstance(facts.get("tuned", {}), dict):
        raise Unfit("facts: tuned is no mapping")
    if facts.get("converged") not in (None, True, False):
        raise Unfit("facts: converged is neither true nor false")
    for name in _NUMBERS:
        value = facts.get(name)
        if value is not None and (not isinstance(value, int | float) or abs(value) >= 1e300):
            raise Unfit(f"facts: {name} is no number that can be")
    if not isinstance(facts.get("backend", ""), str):
        raise Unfit("facts: backend is no text")
    return facts


def _metrics(measures: Iterable[Any]) -> dict[str, dict[str, float]]:
    if not (measures := list(measures)):
        return {}
    tests, metrics, values = zip(*measures, strict=True)
    found: dict[str, dict[str, float]] = {}
    for test, names, first, end in _measured(tests, metrics):
        some = values[first:end]
        if (kinds := set(map(type, some))) != {float}:
            for metric, value in () if kinds <= {float, type(None)} else zip(names, some, strict=True):
                if value is not None and not isinstance(value, float):
                    raise Unfit(f"{metric} is no number but {type(value).__name__}")
            some = tuple([math.nan if value is None else value for value in some])
        if test in found:
            found[test].update(zip(names, some, strict=True))
        else:
            found[test] = dict(zip(names, some, strict=True))
    return found


@functools.lru_cache(maxsize=256)
def _measured(tests: tuple[Any, ...], metrics: tuple[Any, ...]) -> tuple[tuple[str, tuple[str, ...], int, int], ...]:
    """Each test condition with its metrics, and the places of these; one text for all rows that have the same names."""
    if not all(isinstance(name, str) for name in (*tests, *metrics)):
        raise Unfit("a measure has no name of text")
    found, first = [], 0
    for test, names in itertools.groupby(zip(tests, metrics, strict=True), key=operator.itemgetter(0)):
        each = tuple(sys.intern(metric) for _, metric in names)
        found.append((sys.intern(test), each, first, first + len(each)))
        first += len(each)
    return tuple(found)
