"""All that a file holds, row by row: what is whole, and what is not and why. The file itself is only read.

A sound store is read by SQLite. Where its trees are damaged, rows are searched from both ends of a table, by the keys that other
tables name, and at last in the pages themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.errors import StoreError
from attnlab.sweeps.checksums import digest, digest_of_row
from attnlab.sweeps.columns import columns
from attnlab.sweeps.earlier import converted
from attnlab.sweeps.place import checked_path, log_of, there_is
from attnlab.sweeps.predictions import misfit
from attnlab.sweeps.rows import Row, Unfit, fingerprints_in, measures_of, revived, signed, typed
from attnlab.sweeps.upkeep.pages import records

__all__ = ["Contents", "Finding", "Kept", "contents_of", "linked_runs"]

_EMPTY = hashlib.sha256(b"").digest()
_KEYS = {
    "runs": 1,
    "measures": 2,
    "artifacts": 1,
    "history": 2,
    "experiments": 1,
    "links": 2,
    "former": 1,
    "registered": 2,
}
_WIDTHS = {
    "runs": len(Row._fields),
    "measures": 5,
    "artifacts": 2,
    "history": 8,
    "experiments": 7,
    "links": 3,
    "former": 2,
    "registered": 8,
}
_OF_VERSION_4 = 14  # values of a row of `runs` in schema versions 1 to 4
_Table = dict[tuple[Any, ...], tuple[Any, ...]]


class Finding(NamedTuple):
    """Something that is not whole: in which table, what its key is, and what is wrong."""

    table: str
    key: str
    what: str


@dataclass
class Kept:
    """A run that is whole: its row with the checksum, artifacts, and earlier attempts."""

    row: Row
    artifacts: bytes = b""
    history: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def measures(self) -> list[tuple[str, str, float | None]]:
        """(test, metric, value), with None for NaN."""
        return measures_of(self.row)


@dataclass
class Contents:
    """What a store holds.

    Attributes
    ----------
    runs : dict of run_id to Kept
    experiments : dict of key to (row, run_ids)
    former : dict of run_id to its present run_id
        Runs of schema version 1; '' for those whose present identity is not known.
    registered : dict of key to rows
        What experiments said, oldest first.
    findings : list of Finding
        All that is not whole.
    """

    runs: dict[str, Kept] = field(default_factory=dict)
    experiments: dict[str, tuple[tuple[Any, ...], list[str]]] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    registered: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def contents_of(path: str | os.PathLike[str]) -> Contents:
    """Read a store whole or damaged.

    Raises
    ------
    StoreError
        When there is no file, or nothing of a results store in it.
    """
    path = checked_path(path)
    if not there_is(path) or not path.is_file():
        raise StoreError(f"{path}: there is no results store; name another with --store")
    found = Contents()
    with tempfile.TemporaryDirectory(prefix="attnlab-store-") as folder:
        copy = Path(folder) / "copy.db"
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            shutil.copyfile(path, copy)
            if (log := log_of(path)).exists():
                shutil.copyfile(log, f"{copy}-wal")
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be copied to {folder}, where it is looked at: {error.strerror}. Set TMPDIR to a folder with more room"
            ) from error
        tables = _read_all(copy, found.findings)
    if not any(tables.values()) and found.findings:
        raise StoreError(
            f"{path}: this is not a results store, or nothing of it can be read ({found.findings[0].what})"
        )
    _sort_out(tables, found)
    return found


# -- rows, wherever they are ------------------------------------------------------------------------------------------
def _read_all(copy: Path, findings: list[Finding]) -> dict[str, _Table]:
    tables: dict[str, _Table] = {name: {} for name in _KEYS}
    broken = True
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(copy)) as db:
        db.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (found,) = db.execute(
                "SELECT group_concat(integrity_check, '; ') FROM pragma_integrity_check(20)"
            ).fetchone()
            broken = found != "ok"
        except sqlite3.Error as error:
            found = str(error)
        if broken:
            findings.append(Finding("file", "", str(found).replace("\n", " ")))
        for name in _KEYS:
            _scan(db, name, tables[name])
        if broken:
            _probe(db, tables)
    if broken:
        _carve(copy.read_bytes(), tables)
    return tables


def _scan(db: sqlite3.Connection, name: str, found: _Table) -> None:
    """A table from its beginning, and where that ends in damage, from its end."""
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{i} {direction}" for i in range(1, _KEYS[name] + 1))
        try:
            for row in db.execute(f"SELECT * FROM {name} ORDER BY {order}"):
                if len(row) in (_WIDTHS[name], _OF_VERSION_4 if name == "runs" else 0):
                    found.setdefault(row[: _KEYS[name]], row)
            return
        except sqlite3.Error:
            continue


def _probe(db: sqlite3.Connection, tables: dict[str, _Table]) -> None:
    """Runs that other tables name, one by one: the way to each may be whole."""
    named = {row[0] for name in ("measures", "artifacts", "history") for row in tables[name].values()}
    named |= {row[2] for row in tables["links"].values()} | {key[0] for key in tables["runs"]}
    named = {name for name in named if isinstance(name, str) and name.isascii()}  # damaged bytes name no run
    for name in ("runs", "measures", "artifacts", "history"):
        for run_id in named:
            with contextlib.suppress(sqlite3.Error):
                for row in db.execute(f"SELECT * FROM {name} WHERE run_id = ?", (run_id,)):
                    tables[name].setdefault(row[: _KEYS[name]], row)


def _carve(content: bytes, tables: dict[str, _Table]) -> None:
    """Rows in the pages that no search has met. Those of a run that was replaced may be there too; the latest counts."""
    carved: dict[str, list[tuple[Any, ...]]] = {name: [] for name in tables}
    for row in records(content):
        for name, width in _WIDTHS.items():
            if (len(row) == width and _looks_like(name, row)) or (name == "runs" and _is_of_version_4(row)):
                carved[name].append(row)
    carved["runs"].sort(key=lambda row: str(row[6 if len(row) == _WIDTHS["runs"] else 10]), reverse=True)
    for name, rows in carved.items():
        for row in rows:
            tables[name].setdefault(row[: _KEYS[name]], row)


def _looks_like(name: str, row: tuple[Any, ...]) -> bool:
    kinds = {
        "runs": (str, bytes, int, (float, int), str, str, str, bytes, str, str, str),
        "measures": (str, int, str, str, (float, int, type(None))),
        "artifacts": (str, bytes),
        "history": (str, int, str),
        "experiments": (str, int, str),
        "links": (str, int, str),
        "former": (str, str),
        "registered": (str, int, str, int),
    }[name]
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=False))


def _is_of_version_4(row: tuple[Any, ...]) -> bool:
    return len(row) == _OF_VERSION_4 and all(isinstance(value, str) for value in row[:8])


# -- what is whole ----------------------------------------------------------------------------------------------------
def _sort_out(tables: dict[str, _Table], found: Contents) -> None:
    measures: dict[Any, list[tuple[Any, ...]]] = {}
    for _, row in sorted(tables["measures"].items(), key=lambda item: (str(item[0][0]), _number(item[0][1]))):
        value = float(row[4]) if isinstance(row[4], int) else row[4]
        measures.setdefault(row[0], []).append((row[2], row[3], value))
    history: dict[Any, list[tuple[Any, ...]]] = {}
    for key, row in sorted(tables["history"].items(), key=lambda item: (str(item[0][0]), _number(item[0][1]))):
        row = (*row[:5], float(row[5]), *row[6:]) if isinstance(row[5], int) else row
        if digest(row[:-1]) == row[-1]:
            history.setdefault(row[0], []).append(row)
        else:
            found.findings.append(Finding("history", f"{key[0]} {key[1]}", _DIFFERS))
    known: dict[str, dict[str, Any]] = {}
    for (run_id,), row in tables["runs"].items():
        if len(row) == _OF_VERSION_4:
            row = (*row[:11], float(row[11]), *row[12:]) if isinstance(row[11], int) else row
            kept = Kept(converted(row, measures.get(run_id, [])), history=history.get(run_id, []))
        else:
            row = (*row[:3], float(row[3]), *row[4:]) if isinstance(row[3], int) else row
            kept = Kept(typed(row), history=history.get(run_id, []))
        if wrong := _wrong(kept, known):
            found.findings.append(Finding("runs", str(run_id), wrong))
            continue
        content = tables["artifacts"].get((run_id,), (run_id, b""))[1]
        if isinstance(content, bytes) and hashlib.sha256(content).digest() == kept.row.artifacts_sha256:
            kept.artifacts = content
        else:
            found.findings.append(Finding("artifacts", run_id, f"{_DIFFERS}; the numbers of the run are whole"))
            kept.row = signed(kept.row._replace(artifacts_sha256=_EMPTY))
        found.runs[run_id] = kept
    links: dict[Any, list[str]] = {}
    for key, row in sorted(tables["links"].items(), key=lambda item: (str(item[0][0]), _number(item[0][1]))):
        links.setdefault(key[0], []).append(row[2])
    for (key,), row in sorted(tables["experiments"].items(), key=lambda item: _number(item[1][1])):
        linked = links.get(key, [])
        if digest(row[:-1], linked) == row[-1] and all(isinstance(v, str) for v in (key, *row[2:-1], *linked)):
            found.experiments[key] = (row, linked)
        else:
            found.findings.append(
                Finding("experiments", str(key), f"{_DIFFERS}; sweep its file again, and it is linked again")
            )
    found.former = {str(run_id): str(row[1]) for (run_id,), row in tables["former"].items() if run_id in found.runs}
    for key, row in sorted(tables["registered"].items(), key=lambda item: (str(item[0][0]), _number(item[0][1]))):
        if wrong := _DIFFERS if digest(row[:-1]) != row[-1] else misfit(row):
            found.findings.append(Finding("registered", f"{key[0]} {key[1]}", wrong))
        else:
            found.registered.setdefault(str(key[0]), []).append(row)


_DIFFERS = "does not agree with its checksum"


def _wrong(kept: Kept, known: dict[str, dict[str, Any]]) -> str:
    try:
        if digest_of_row(kept.row) != kept.row.sha256:
            return _DIFFERS
        run, _ = revived(kept.row)
        fingerprints_in(kept.row)
        columns(run, known)
    except Unfit as error:
        return f"{error}; attnlab writes no such row"
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        return f"canonical is no run that can be ({type(error).__name__}: {error}); attnlab writes no such row"
    return ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -1.0


def linked_runs(contents: Contents, keys: Collection[str] | None = None) -> Iterator[str]:
    """The runs that experiments name, each once."""
    chosen = [linked for key, (_, linked) in contents.experiments.items() if keys is None or key in keys]
    yield from dict.fromkeys(run_id for linked in chosen for run_id in linked)
