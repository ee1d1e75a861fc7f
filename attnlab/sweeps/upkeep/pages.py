"""Records in the pages of a SQLite file, found without its trees: for a file whose trees no longer lead to them.

The format is that of https://www.sqlite.org/fileformat2.html. Whoever uses the records holds them to their checksums.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

__all__ = ["records"]

_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX = 0x0D, 0x0A, 0x02
_SIZES = {512 << n for n in range(8)}
_LONGEST = 2**27  # bytes of a record


def records(content: bytes) -> Iterator[tuple[Any, ...]]:
    """Every record that can be decoded, of any table, in the order of the file; text that is no UTF-8 makes none."""
    size = struct.unpack_from(">H", content, 16)[0] if len(content) >= 100 else 0
    size = 65536 if size == 1 else size
    if size not in _SIZES:
        size = 4096  # what attnlab's stores have; the header is damaged
    usable = size - (content[20] if len(content) > 20 and content[20] < 64 else 0)
    for start in range(0, len(content) - size + 1, size):
        yield from _of_page(content, start, size, usable)


def _of_page(content: bytes, start: int, size: int, usable: int) -> Iterator[tuple[Any, ...]]:
    head = start + (100 if start == 0 else 0)
    kind = content[head]
    if kind not in (_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX):
        return
    (n_cells,) = struct.unpack_from(">H", content, head + 3)
    first = head + (12 if kind == _INNER_INDEX else 8)
    for i in range(min(n_cells, usable // 3)):
        where = first + 2 * i
        if where + 2 > start + size:
            return
        cell = start + struct.unpack_from(">H", content, where)[0]
        try:
            payload = _payload(content, cell, kind, size, usable, start + size)
            yield _decoded(payload)
        except (IndexError, ValueError, struct.error):  # this cell is damaged; the others are not
            continue


def _payload(content: bytes, at: int, kind: int, size: int, usable: int, end: int) -> bytes:
    at += 4 if kind == _INNER_INDEX else 0
    length, at = _varint(content, at)
    if kind == _LEAF_TABLE:
        _, at = _varint(content, at)
    if not 0 < length <= min(_LONGEST, len(content)):
        raise ValueError
    most = usable - 35 if kind == _LEAF_TABLE else (usable - 12) * 64 // 255 - 23
    if length <= most:
        here = length
    else:
        least = (usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
    if at + here > end:
        raise ValueError
    found = bytearray(content[at : at + here])
    following = struct.unpack_from(">I", content, at + here)[0] if here < length else 0
    for _ in range(length // (usable - 4) + 2):
        if len(found) >= length:
            return bytes(found[:length])
        start = (following - 1) * size
        if following < 2 or start + size > len(content):
            raise ValueError
        (following,) = struct.unpack_from(">I", content, start)
        found += content[start + 4 : start + usable]
    raise ValueError


def _decoded(payload: bytes) -> tuple[Any, ...]:
    length, at = _varint(payload, 0)
    if not 0 < length <= len(payload):
        raise ValueError
    body, values = length, []
    while at < length:
        code, at = _varint(payload, at)
        value, body = _value(payload, code, body)
        values.append(value)
    if body > len(payload):
        raise ValueError
    return tuple(values)


def _value(payload: bytes, code: int, at: int) -> tuple[Any, int]:
    if code == 0:
        return None, at
    if code in (8, 9):
        return code - 8, at
    if code == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if code < 7:
        n = (0, 1, 2, 3, 4, 6, 8)[code]
        return int.from_bytes(payload[at : at + n], "big", signed=True), at + n
    if code < 12:
        raise ValueError
    n = (code - 12) // 2
    if at + n > len(payload):
        raise ValueError
    value = payload[at : at + n]
    return (value.decode("utf-8") if code % 2 else value), at + n


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(9):
        byte = content[at + n]
        if n == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | (byte & 0x7F)
        if byte < 0x80:
            return value, at + n + 1
    raise ValueError
