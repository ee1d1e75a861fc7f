"""The file of the store: SQLite with a checked schema, waits that end, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from attnlab.errors import StoreError

__all__ = ["SCHEMA_VERSION", "Database"]

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x61746E6C  # "atnl"

_TABLES = (
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY NOT NULL, canonical TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
        traceback TEXT NOT NULL, facts TEXT NOT NULL, versions TEXT NOT NULL, fingerprints TEXT NOT NULL,
        attempts INTEGER NOT NULL, executor TEXT NOT NULL, started_at TEXT NOT NULL, seconds REAL NOT NULL,
        artifacts_sha256 BLOB NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE measures (
        run_id TEXT NOT NULL, place INTEGER NOT NULL, test TEXT NOT NULL, metric TEXT NOT NULL, value REAL,
        PRIMARY KEY (run_id, place)) WITHOUT ROWID""",  # a value that is NULL is NaN: SQLite has no other
    """CREATE TABLE artifacts (run_id TEXT NOT NULL, content BLOB NOT NULL)""",
    """CREATE UNIQUE INDEX artifacts_of_run ON artifacts (run_id)""",
    """CREATE TABLE history (
        run_id TEXT NOT NULL, place INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
        started_at TEXT NOT NULL, seconds REAL NOT NULL, replaced_at TEXT NOT NULL, sha256 BLOB NOT NULL,
        PRIMARY KEY (run_id, place)) WITHOUT ROWID""",
    """CREATE TABLE experiments (
        key TEXT PRIMARY KEY NOT NULL, place INTEGER NOT NULL, path TEXT NOT NULL, question TEXT NOT NULL,
        text TEXT NOT NULL, linked_at TEXT NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE links (
        key TEXT NOT NULL, place INTEGER NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (key, place)) WITHOUT ROWID""",
    """CREATE TABLE former (run_id TEXT PRIMARY KEY NOT NULL, became TEXT NOT NULL) WITHOUT ROWID""",
)
_N_TABLES = {1: 7, 2: 8}  # how many of these statements made a store of each schema version

# From each version to the next. From 1 to 2 the identity of runs changes; `attnlab.sweeps.migrate` computes the new one.
_MIGRATIONS = {1: (_TABLES[7], "INSERT INTO former SELECT run_id, '' FROM runs")}


class Database:
    """An open results store, as SQLite sees it.

    Parameters
    ----------
    path : path-like
    create : bool
        Make the file, and its folder, if there is none; otherwise that is an error.
    timeout : float
        Seconds to wait for another process that is writing.

    Attributes
    ----------
    version : int
        The version of its schema. Opening with `create` brings an older store to `SCHEMA_VERSION`. Otherwise it is read
        unchanged.

    Raises
    ------
    StoreError
        Not a store, of a newer attnlab, damaged, locked, not writable, disk full; each with what to do.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool, timeout: float) -> None:
        self.path = Path(path)
        self.timeout = timeout
        if not create and not self.path.exists():
            raise StoreError(f"{self.path}: there is no results store; run a sweep first, or name another with --store")
        with self.refusals():
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._only_read = not create and not self._may_be_written()
            mode = "rwc" if create else "ro&immutable=1" if self._only_read else "rw"
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            self._connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
        self.execute, self.executemany = self._connection.execute, self._connection.executemany
        try:
            with self.refusals():
                self._open(create)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        with self.refusals():
            self._connection.close()

    def _open(self, create: bool) -> None:
        self.execute("PRAGMA synchronous = FULL")
        with self.transaction("DEFERRED"):
            application, version, tables = self._identity()
        if application == 0 and not tables:
            if not create:
                raise StoreError(
                    f"{self.path}: the file is empty; run a sweep to fill it, or name another with --store"
                )
            with self.transaction():
                if not self._identity()[2]:  # nobody else was first
                    for statement in _TABLES:
                        self.execute(statement)
                    self.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                application, version, tables = self._identity()
        if application != _APPLICATION_ID:
            raise StoreError(
                f"{self.path}: this is the database of another program, not a results store of attnlab; "
                f"nothing in it was changed; name another file with --store"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: the store has schema version {version}, and this attnlab reads up to {SCHEMA_VERSION}: "
                f"upgrade attnlab (pip install -U attnlab), or name another file with --store"
            )
        if sorted(tables) != sorted(_TABLES[: _N_TABLES.get(version, 0)]):  # VACUUM changes their order
            raise self.damaged("its schema is not that of a results store")
        if create and version < SCHEMA_VERSION:
            version = self._migrate()
        self.version = version
        for table in ("runs", "measures", "history", "experiments", "links"):
            if (found := self.execute(f"PRAGMA integrity_check({table})").fetchone()[0]) != "ok":
                raise self.damaged(str(found).replace("\n", " "))
        if not self._only_read:
            self._write_ahead()

    def _migrate(self) -> int:
        """Bring an older store to this schema, all or nothing; only where results are to be added to it."""
        with self.transaction():
            (version,) = self.execute("PRAGMA user_version").fetchone()
            for step in range(version, SCHEMA_VERSION):
                for statement in _MIGRATIONS[step]:
                    self.execute(statement)
            self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return SCHEMA_VERSION

    def _may_be_written(self) -> bool:
        """Whether the file and its folder allow it; where not, a store that nobody has open can still be read."""
        log = Path(f"{self.path}-wal")
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return writable or (log.exists() and log.stat().st_size > 0)

    def _identity(self) -> tuple[int, int, list[str]]:
        """Whose database it is, the version of its schema, and the schema; asked within a transaction."""
        (application,) = self.execute("PRAGMA application_id").fetchone()
        (version,) = self.execute("PRAGMA user_version").fetchone()
        tables = [row[0] for row in self.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")]
        return application, version, tables

    def _write_ahead(self) -> None:
        """Switch to the write-ahead log; SQLite does not itself wait when another process has the file open."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                self.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """All or nothing: IMMEDIATE to write, waiting for other writers; DEFERRED to read as of one moment."""
        self.execute(f"BEGIN {kind}")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """What SQLite and the system refuse, as a StoreError that says what to do."""
        try:
            yield
        except sqlite3.ProgrammingError:  # a mistake of the caller: closed, or another thread
            raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            advice = {
                sqlite3.SQLITE_BUSY: f"another process has kept it locked for {self.timeout:g} s; wait for it, or end it",
                sqlite3.SQLITE_LOCKED: "another connection has locked it; wait for it, or end it",
                sqlite3.SQLITE_READONLY: "it is read-only; make the file and its folder writable, or copy it elsewhere",
                sqlite3.SQLITE_PERM: "it is read-only; make the file and its folder writable, or copy it elsewhere",
                sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder must exist and be writable",
                sqlite3.SQLITE_FULL: "the disk is full; make room and run the sweep again: what was stored is kept",
                sqlite3.SQLITE_IOERR: "the disk refused to read or write; is it full, or gone? What was stored is kept",
                sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite can hold",
                sqlite3.SQLITE_NOTADB: "this is not a results store; name another file with --store",
            }.get(_code(error))
            if advice is None:
                raise self.damaged(str(error)) from error
            raise StoreError(f"{self.path}: {advice} ({error})") from error
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be used: {error.strerror}; name another with --store") from error

    def damaged(self, what: str) -> StoreError:
        """The error to raise when the file differs from what was written."""
        return StoreError(
            f"{self.path}: the store is damaged ({what}); nothing was changed. Move it aside and sweep again, "
            f"or save what can be read with: sqlite3 {self.path.name} .recover"
        )


def _code(error: BaseException) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF
