"""Checksums of what the store holds, and rows of runs together with their measures.

The checksum of a run is computed for each row that is read. So the text that it is the hash of is put together from pieces
that many rows share. It is the same text, character by character, as that of `digest`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["digest", "digest_of_run", "runs_with_measures"]

_SHARED = (6, 7)  # the places of versions and fingerprints in a row of `runs`: texts that many rows have
_WIDTH = 13  # of a row of `runs` without its checksum
_ROW = ", ".join("%s" if place in _SHARED else "%a" for place in range(_WIDTH))


def digest(row: Sequence[Any], rest: Sequence[Any] = ()) -> bytes:
    """A checksum of what a row says: of its values with their types, written in ASCII."""
    return hashlib.sha256(ascii((tuple(row), list(rest))).encode()).digest()


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
    execute: Callable[..., Any], where: str = "", values: Sequence[Any] = ()
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
    """
    sizes = execute(f"SELECT run_id, count(*) FROM measures {where} GROUP BY run_id ORDER BY run_id", values)
    measured = execute(f"SELECT test, metric, value FROM measures {where} ORDER BY run_id, place", values)
    of, size = next(sizes, (None, 0))
    for row in execute(f"SELECT * FROM runs {where} ORDER BY run_id", values):
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
