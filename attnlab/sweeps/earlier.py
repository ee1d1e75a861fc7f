"""Rows of runs as schema versions 1 to 4 kept them: a number a row, and a checksum of all of it written in ASCII.

The text that such a checksum is the hash of is put together from pieces that many rows share. It is the same text, character by
character, as that of `digest`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attnlab.sweeps.checksums import digest
from attnlab.sweeps.rows import Row, marks, said_of, signed, typed

__all__ = ["converted", "digest_of_run", "move_rows", "runs_with_measures"]

_SHARED = (6, 7)  # the places of versions and fingerprints in a row of `runs`: texts that many rows have
_WIDTH = 13  # of a row of `runs` without its checksum
_ROW = ", ".join("%s" if place in _SHARED else "%a" for place in range(_WIDTH))


def converted(row: Sequence[Any], measures: Sequence[tuple[Any, ...]]) -> Row:
    """The row as it is kept now. A damaged one stays damaged: its checksum is what it was."""
    run_id, canonical, status, reason, traceback, facts, versions, fingerprints, *others, sha256 = row
    attempts, executor, started_at, seconds, artifacts_sha256 = others
    measured, numbers = said_of(measures)
    found = typed((
        run_id, sha256, attempts, seconds, status, executor, started_at, artifacts_sha256, reason, traceback, canonical, facts,
        measured, numbers, versions, fingerprints,
    ))  # fmt: skip
    return signed(found) if digest_of_run(tuple(row[:-1]), measures) == sha256 else found


def move_rows(execute: Callable[..., Any], source: str) -> None:
    """Put the rows of a table of an earlier form, and their measures, into `runs`; within a transaction."""
    for row, measures in runs_with_measures(execute, source=source):
        execute(f"INSERT INTO runs VALUES ({marks(len(Row._fields))})", converted(row, measures))


def digest_of_run(row: tuple[Any, ...], measures: Sequence[tuple[Any, ...]]) -> bytes:
    """`digest` of a row of `runs` and its measures as (test, metric, value), computed faster."""
    if len(row) != _WIDTH:
        return digest(row, measures)
    *before, versions, fingerprints, a, b, c, d, e = row
    said = _ROW % (*before, _ascii(versions), _ascii(fingerprints), a, b, c, d, e)
    if measures:
        tests, metrics, values = zip(*measures, strict=True)
        measured = _template(tests, metrics) % values
    else:
        measured = ""
    return hashlib.sha256(f"(({said}), [{measured}])".encode()).digest()


def _ascii(value: Any) -> str:
    return _ascii_of_text(value) if type(value) is str else ascii(value)


_ascii_of_text = functools.lru_cache(maxsize=1024)(ascii)


@functools.lru_cache(maxsize=256)
def _template(tests: tuple[Any, ...], metrics: tuple[Any, ...]) -> str:
    """The text of measures with these names, and %a for each value."""
    names = (f"({test!a}, {metric!a}, ".replace("%", "%%") for test, metric in zip(tests, metrics, strict=True))
    return ", ".join(f"{name}%a)" for name in names)


def runs_with_measures(
    execute: Callable[..., Any], where: str = "", values: Sequence[Any] = (), source: str = "runs"
) -> Iterator[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    """The rows of `runs` that a condition leaves, by run_id, each with its measures as (test, metric, value).

    Both tables are read once, side by side. Measures without a run are passed over.

    Parameters
    ----------
    execute : callable
        That of a connection, within a transaction.
    where : str
        An SQL condition on `run_id`, with `WHERE`.
    values : sequence
        What it asks for.
    source : str
        The name of the table of runs.
    """
    sizes = execute(f"SELECT run_id, count(*) FROM measures {where} GROUP BY run_id ORDER BY run_id", values)
    measured = execute(f"SELECT test, metric, value FROM measures {where} ORDER BY run_id, place", values)
    of, size = next(sizes, (None, 0))
    for row in execute(f"SELECT * FROM {source} {where} ORDER BY run_id", values):
        while of is not None and of != row[0] and _precedes(of, row[0]):
            for _ in itertools.islice(measured, size):
                pass
            of, size = next(sizes, (None, 0))
        if of == row[0]:
            yield row, list(itertools.islice(measured, size))
            of, size = next(sizes, (None, 0))
        else:
            yield row, []


def _precedes(one: Any, other: Any) -> bool:
    """Whether a run_id comes before another one for SQLite, which puts bytes last."""
    return bool((isinstance(one, bytes), one) < (isinstance(other, bytes), other))
