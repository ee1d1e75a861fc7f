"""Many rows of runs at once: read, held to their checksums, and made into runs and results.

What rows say is held to the same rules as by `attnlab.sweeps.rows`, column by column. Where a rule is broken, or anything is unusual,
the rows are read one by one by those rules themselves, which name what is wrong.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from attnlab.plugins import FILE
from attnlab.sweeps.checksums import agree, stored_bytes
from attnlab.sweeps.columns import columns
from attnlab.sweeps.database import Database
from attnlab.sweeps.earlier import converted, runs_with_measures
from attnlab.sweeps.rows import NUMBERS, OTHERS, OddRow, Row, Unfit, marks, named, revived, typed, words
from attnlab.sweeps.run import STATUSES, Result, Run

__all__ = ["Revival", "read_rows"]

_SEVERAL = 500  # runs asked for by name in one query; for more, the whole table is read
_BATCH = 1000  # rows
_ARE_TEXTS = " AND ".join(f"typeof({name}) = 'text'" for name in Row._fields if name not in OTHERS)
# Nothing where all texts are texts, which a row read as bytes does not tell.
_EACH = " || ' ' || ".join(f"typeof({name})" for name in Row._fields)
_KINDS = f"CASE WHEN NOT ({_ARE_TEXTS}) THEN {_EACH} END"
_STATUSES = {status.encode(): status for status in STATUSES}
_SEED, _TASK = b',"seed":', b',"task":'  # around the seed in the canonical text of a run


def read_rows(db: Database, run_ids: Sequence[str] | None = None) -> Iterator[list[tuple[Row, bool]]]:
    """The rows of some runs, or of all, by run_id, and whether each agrees with its checksum; within a transaction.

    They come some at a time. Texts are bytes. Rows of an earlier schema come in the form of now.
    """
    where, values = "", ()
    wanted = None if run_ids is None else {run_id.encode("utf-8", "surrogateescape") for run_id in run_ids}
    if run_ids is not None and len(run_ids) <= _SEVERAL:
        where, values = f"WHERE run_id IN ({marks(len(run_ids))})", tuple(run_ids)  # type: ignore[assignment]
        wanted = None
    for some in _batches(db, where, values):
        rows = some if wanted is None else [row for row in some if row[0] in wanted]
        yield list(zip(rows, agree(rows), strict=True))


def _batches(db: Database, where: str, values: Sequence[Any]) -> Iterator[list[Row]]:
    if db.version >= 5:
        for some in db.as_bytes(f"SELECT *, {_KINDS} FROM runs {where} ORDER BY run_id", values, _BATCH):
            yield [
                Row._make(row[:-1])
                if row[-1] is None
                else typed(row[:-1], [kind == b"text" for kind in row[-1].split()])
                for row in some
            ]
        return
    rows = (converted(*found) for found in runs_with_measures(db.execute, where, values))
    while earlier := list(itertools.islice(rows, _BATCH)):
        yield [type(row)._make(stored_bytes(row)) for row in earlier]


class Revival:
    """Makes the runs and results of rows. What many rows share is checked and made once."""

    def __init__(self) -> None:
        self._rests: dict[tuple[bytes, bytes], str] = {}  # by the text of a run before and after its seed, without it
        self._columns: dict[str, dict[str, Any]] = {}

    def one(self, row: Row, artifacts: bytes = b"") -> tuple[Run, Result]:
        """What a row says; Unfit if it cannot be used."""
        run, result = revived(row, artifacts)
        try:
            columns(run, self._columns)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise Unfit(f"canonical is no run that can be ({type(error).__name__}: {error})") from None
        return run, result

    def all(self, rows: Sequence[Row]) -> list[tuple[Run, Result]] | None:
        """What rows say; None if one of them is unusual, or cannot be used."""
        try:
            return self._all(rows, Row(*zip(*rows, strict=True))) if rows else []
        except (_Unusual, Unfit, UnicodeDecodeError, ValueError, TypeError, RecursionError):
            return None

    def _all(self, rows: Sequence[Row], of: Row) -> list[tuple[Run, Result]]:
        if OddRow in {*map(type, rows)} or {*map(type, of.attempts)} != {int} or {*map(type, of.seconds)} != {float}:
            raise _Unusual
        if not (min(of.attempts) >= 0 and all(map(math.isfinite, of.seconds)) and {*of.status} <= _STATUSES.keys()):
            raise _Unusual
        versions = {text: dict(words("versions", text.decode())) for text in {*of.versions}}
        if any(FILE in made_with.values() for made_with in versions.values()):
            raise _Unusual
        results = map(
            Result,
            map(_STATUSES.__getitem__, of.status),
            _texts(of.reason),
            _texts(of.traceback),
            _metrics(of.measured, _parsed(of.numbers, null=b"NaN")),
            _facts(_parsed(of.facts)),
            map(versions.__getitem__, of.versions),
            itertools.repeat(b""),
            of.attempts,
            _texts(of.executor),
            _texts(of.started_at),
            of.seconds,
        )
        return list(zip(map(self._run, rows), results, strict=True))

    def _run(self, row: Row) -> Run:
        before, _, others = row.canonical.partition(_SEED)
        seed, _, after = others.partition(_TASK)
        rest = self._rests.get((before, after))
        if rest is not None and seed.isdigit() and len(seed) <= 18 and (seed[:1] != b"0" or seed == b"0"):
            run = Run(row.canonical.decode(), row.run_id.decode())
            run.__dict__.update(but_the_seed=rest, seed_in_text=int(seed))  # the rest is one text for all
            return run
        run, _ = self.one(row)
        if run.but_the_seed.encode() == before + after:
            self._rests[before, after] = run.but_the_seed
        return run


class _Unusual(Exception):
    """Something that is to be looked at row by row."""


def _texts(column: Sequence[bytes]) -> list[str]:
    known = {text: text.decode() for text in {*column}}
    return [known[text] for text in column]


def _parsed(column: Sequence[bytes], null: bytes = b"null") -> list[Any]:
    """The values of JSON texts, parsed as one, with another word for `null`.

    Between them is a word that nobody can guess, so that none runs into the next.
    """
    word = secrets.token_hex(8)
    found = json.loads(f',"{word}",'.encode().join(column).join((b"[", b"]")).replace(b"null", null))
    if len(found) != 2 * len(column) - 1 or any(between != word for between in found[1::2]):
        raise _Unusual
    values: list[Any] = found[::2]
    return values


def _metrics(measured: Sequence[bytes], numbers: list[Any]) -> list[dict[str, dict[str, float]]]:
    if {*map(type, numbers)} != {list} or not {*map(type, itertools.chain.from_iterable(numbers))} <= {float}:
        raise _Unusual
    tests = {text: named(text.decode()) for text in {*measured}}
    found = []
    for text, values in zip(measured, numbers, strict=True):
        named_so = tests[text]
        if len(values) != (named_so[-1][3] if named_so else 0):
            raise _Unusual
        found.append({test: dict(zip(names, values[first:end], strict=True)) for test, names, first, end in named_so})
    return found


def _facts(facts: list[Any]) -> list[dict[str, Any]]:
    if {*map(type, facts)} != {dict}:
        raise _Unusual
    notes = [found["notes"] for found in facts if "notes" in found]
    if not {*map(type, notes)} <= {list} or not {*map(type, itertools.chain.from_iterable(notes))} <= {str}:
        raise _Unusual
    for name, kind in (("tuned", dict), ("backend", str)):
        if not {type(found[name]) for found in facts if name in found} <= {kind}:
            raise _Unusual
    if not {type(found.get("converged")) for found in facts} <= {bool, type(None)}:
        raise _Unusual
    for name in NUMBERS:
        values = {found.get(name) for found in facts} - {None}
        if not {*map(type, values)} <= {int, float} or not all(-1e300 < value < 1e300 for value in values):
            raise _Unusual
    return facts
