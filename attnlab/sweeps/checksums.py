"""Checksums of what the store holds. That of a run is computed for each row that is read, of the very bytes that are stored."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ["agree", "digest", "digest_of_row", "stored_bytes"]

_HEAD = struct.Struct("<qd13I")  # attempts, seconds, and the length of each text


def digest(row: Sequence[Any], rest: Sequence[Any] = ()) -> bytes:
    """A checksum of what a row says: of its values with their types, written in ASCII."""
    return hashlib.sha256(ascii((tuple(row), list(rest))).encode()).digest()


def stored_bytes(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row with each text as the bytes that SQLite keeps."""
    return tuple(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value for value in row)


def digest_of_row(row: Sequence[Any]) -> bytes:
    """The checksum that belongs to a row of `runs` (`attnlab.sweeps.rows.Row`).

    It is of its numbers, the lengths of its texts, and its texts. A row whose values are not of the kinds that attnlab writes has
    one of another form.
    """
    run_id, _, attempts, seconds, *texts = stored_bytes(row)
    try:
        head = _HEAD.pack(attempts, seconds, len(run_id), *map(len, texts))
        return hashlib.sha256(b"".join((head, run_id, *texts))).digest()
    except (TypeError, struct.error):
        return digest((run_id, attempts, seconds, *texts))


def agree(rows: Iterable[tuple[Any, ...]]) -> Iterator[bool]:
    """Whether each row agrees with its checksum. Texts are given as bytes."""
    pack, sha256, join = _HEAD.pack, hashlib.sha256, b"".join
    for row in rows:
        texts = row[4:]
        try:
            content = join((pack(row[2], row[3], len(row[0]), *map(len, texts)), row[0], *texts))
        except (TypeError, struct.error):
            yield digest_of_row(row) == row[1]
        else:
            yield sha256(content).digest() == row[1]
