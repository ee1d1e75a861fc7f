"""Rows of the store: Result <-> values for SQLite, and a strict reader.

A store may come from anywhere. What its rows say is checked before it is used: a row is what attnlab could have written, or it is
`Unfit`, with the column and the reason.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from attnlab.plugins import FILE
from attnlab.sweeps.checksums import digest_of_row
from attnlab.sweeps.executors.messages import to_json
from attnlab.sweeps.run import STATUSES, Result, Run, with_file_names

__all__ = [
    "NUMBERS",
    "OTHERS",
    "OddRow",
    "Row",
    "Unfit",
    "as_row",
    "as_text",
    "as_texts",
    "fingerprints_in",
    "marks",
    "measures_of",
    "named",
    "now",
    "revived",
    "said_of",
    "signed",
    "typed",
    "words",
]


class Row(NamedTuple):
    """A row of `runs`, in the order of its columns. As it was just read, its texts are bytes: damage can make them no text."""

    run_id: Any
    sha256: Any
    attempts: Any
    seconds: Any
    status: Any
    executor: Any
    started_at: Any
    artifacts_sha256: Any
    reason: Any
    traceback: Any
    canonical: Any
    facts: Any
    measured: Any
    numbers: Any
    versions: Any
    fingerprints: Any


class OddRow(Row):
    """A row that holds something in the place of a text (`typed`)."""


class Blob(bytes):
    """Bytes that are no text to SQLite, in the place of one."""


OTHERS = {"attempts": int, "seconds": float, "sha256": bytes, "artifacts_sha256": bytes}  # than texts
NUMBERS = ("fit_seconds", "n_parameters", "operations_per_query", "n_tuned")
_LARGEST = 2**63
_LONGEST = 2**16  # bytes of a reason, a traceback, or all notes of a run
_CUT = "... cut"


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


def as_row(run: Run, result: Result, fingerprints: Mapping[str, str]) -> Row:
    """The row of a result, with its checksum."""
    if result.status not in STATUSES:
        raise ValueError(f"a result is one of {', '.join(STATUSES)}; got {result.status!r}")
    measures = [(t, metric, _stored(value)) for t, values in result.metrics.items() for metric, value in values.items()]
    measured, numbers = said_of(measures)
    return signed(
        Row(
            run_id=run.run_id,
            sha256=b"",
            attempts=int(result.attempts),
            seconds=float(result.seconds) + 0.0,
            status=result.status,
            executor=as_text(result.executor),
            started_at=as_text(result.started_at),
            artifacts_sha256=hashlib.sha256(result.artifacts).digest(),
            reason=_cut(result.reason),
            traceback=_cut(result.traceback),
            canonical=run.canonical,
            facts=to_json(_with_cut_notes(result.facts)),
            measured=measured,
            numbers=numbers,
            versions=to_json(dict(result.versions)),
            fingerprints=to_json(dict(fingerprints)),
        )
    )


def signed(row: Row) -> Row:
    """The row with the checksum that belongs to it."""
    return row._replace(sha256=digest_of_row(row))


def said_of(measures: Iterable[tuple[Any, Any, Any]]) -> tuple[str, str]:
    """`measured` and `numbers` of a row, of (test, metric, value); what attnlab never writes makes texts that nobody can read."""
    tests: dict[Any, dict[Any, Any]] = {}
    for test, metric, value in measures:
        tests.setdefault(test, {})[metric] = value
    names = [*tests, *(metric for values in tests.values() for metric in values)]
    measured = to_json({test: list(values) for test, values in tests.items()}) if _all_texts(names) else ascii(names)
    return measured, json.dumps(
        [v for values in tests.values() for v in values.values()], default=ascii, separators=(",", ":")
    )


def measures_of(row: Row) -> list[tuple[str, str, float | None]]:
    """The measures of a row that can be read, as (test, metric, value), with None for NaN."""
    names = ((test, metric) for test, metrics, _, _ in named(row.measured) for metric in metrics)
    return [(*pair, value) for pair, value in zip(names, json.loads(row.numbers), strict=True)]


def _all_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _stored(value: Any) -> float | None:
    """A number as SQLite will give it back: NaN as NULL, and -0.0 as 0.0."""
    number = float(value) + 0.0
    return None if number != number else number


# -- reading ----------------------------------------------------------------------------------------------------------
def revived(row: Row, artifacts: bytes = b"") -> tuple[Run, Result]:
    """The run and the result that a row says.

    Raises
    ------
    Unfit
        When attnlab cannot have written it.
    """
    row = as_texts(row)
    if row.status not in STATUSES:
        raise Unfit(f"the status {row.status!r} is none of {', '.join(STATUSES)}")
    if not (0 <= row.attempts < _LARGEST and math.isfinite(row.seconds)):
        raise Unfit(f"{row.attempts} attempts and {row.seconds} seconds cannot be")
    _check_spec(_mapping("canonical", row.canonical))
    made_with = words("versions", row.versions)
    canonical = row.canonical if FILE not in made_with.values() else with_file_names(row.canonical, made_with)
    return Run(canonical, row.run_id), Result(
        row.status, row.reason, row.traceback, _metrics(row.measured, row.numbers), _facts(row.facts), dict(made_with), artifacts,
        row.attempts, row.executor, row.started_at, row.seconds,
    )  # fmt: skip


def typed(row: Iterable[Any], are_texts: Iterable[bool] | None = None) -> Row:
    """A row, with what is no text in the place of one marked as such.

    Parameters
    ----------
    row : iterable
    are_texts : iterable of bool or None
        Whether SQLite says of each value that it is text; None where it gave texts as `str`.
    """
    values = tuple(row)
    said = (not isinstance(value, bytes) for value in values) if are_texts is None else are_texts
    pairs = zip(Row._fields, values, said, strict=True)
    found = [Blob(v) if name not in OTHERS and isinstance(v, bytes) and not text else v for name, v, text in pairs]
    expected = zip(Row._fields, found, strict=True)
    odd = any(isinstance(v, Blob) or not (name in OTHERS or isinstance(v, str | bytes)) for name, v in expected)
    return (OddRow if odd else Row)._make(found)


def as_texts(row: Row) -> Row:
    """The row with its texts as texts; Unfit where a value is of another kind than attnlab writes."""
    values = []
    for name, value in zip(Row._fields, row, strict=True):
        kind = OTHERS.get(name, str)
        if kind is str and type(value) is bytes:
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise Unfit(f"{name} is no text ({error})") from None
        if not isinstance(value, kind):
            raise Unfit(f"{name} is no {kind.__name__} but {type(value).__name__}")
        values.append(value)
    return Row(*values)


def fingerprints_in(row: Row) -> Mapping[str, str]:
    """The fingerprints of a row, the same object for the same text; Unfit as for `revived`."""
    return words("fingerprints", as_texts(row).fingerprints)


def _mapping(name: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = _read("mapping", dict, name, text)
    return found


def _read(called: str, kind: type, name: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unfit(f"{name} is no JSON that can be read: {error}") from None
    if not isinstance(value, kind):
        raise Unfit(f"{name} is no {called} but {type(value).__name__}")
    return value


@functools.lru_cache(maxsize=1024)
def words(name: str, text: str) -> Mapping[str, str]:
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
    if not isinstance(notes, list) or not _all_texts(notes):
        raise Unfit("facts: notes is no list of texts")
    if not isinstance(facts.get("tuned", {}), dict):
        raise Unfit("facts: tuned is no mapping")
    if facts.get("converged") not in (None, True, False):
        raise Unfit("facts: converged is neither true nor false")
    for name in NUMBERS:
        value = facts.get(name)
        if value is not None and (not isinstance(value, int | float) or abs(value) >= 1e300):
            raise Unfit(f"facts: {name} is no number that can be")
    if not isinstance(facts.get("backend", ""), str):
        raise Unfit("facts: backend is no text")
    return facts


def _metrics(measured: str, numbers: str) -> dict[str, dict[str, float]]:
    tests, values = named(measured), _read("list", list, "numbers", numbers)
    if (n_named := tests[-1][3] if tests else 0) != len(values):
        raise Unfit(f"numbers has {len(values)} values, and measured {n_named} names")
    found: dict[str, dict[str, float]] = {}
    for test, metrics, first, end in tests:
        for metric, value in zip(metrics, values[first:end], strict=True):
            if value is not None and not isinstance(value, float):
                raise Unfit(f"{metric} is no number but {type(value).__name__}")
        some = (math.nan if value is None else value for value in values[first:end])
        found[test] = dict(zip(metrics, some, strict=True))
    return found


@functools.lru_cache(maxsize=256)
def named(measured: str) -> tuple[tuple[str, tuple[str, ...], int, int], ...]:
    """Each test condition with its metrics, and the places of these among the numbers; the same object for the same text."""
    found, first = [], 0
    for test, metrics in _mapping("measured", measured).items():
        if not isinstance(metrics, list) or not _all_texts(metrics) or len({*metrics}) < len(metrics):
            raise Unfit(f"measured: {test!r} is no list of different texts")
        found.append((sys.intern(test), tuple(map(sys.intern, metrics)), first, first + len(metrics)))
        first += len(metrics)
    return tuple(found)
