"""The file of the store: SQLite with a checked schema, waits that end, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnlab.descriptors import Descriptors
from attnlab.errors import StoreError
from attnlab.sweeps import earlier
from attnlab.sweeps.layout import APPLICATION_ID, MIGRATIONS, OF_VERSION_4, SCHEMA_VERSION, TABLES, misshapen
from attnlab.sweeps.place import Whereabouts, begun_beside, checked_path, journal_mode, log_of, there_is

__all__ = ["Database"]


class Database:
    """An open results store, as SQLite sees it.

    Parameters
    ----------
    path : path-like
    create : bool
        Make the file, and its folder, if there is none; otherwise that is an error.
    timeout : float
        Seconds to wait for another process that is writing.
    called : path-like or None
        What errors call it, where that is another name than it has now.

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

    def __init__(
        self, path: str | os.PathLike[str], create: bool, timeout: float, called: str | os.PathLike[str] | None = None
    ) -> None:
        self.path = checked_path(path)
        self._called = called or self.path
        self.timeout = timeout
        self._home = Path(os.path.abspath(self.path))  # wherever the working directory may be later
        self._logged = False  # whether there is a write-ahead log
        self._current: object = None  # the transaction that goes on
        self._is_closed = False
        self.version: Any = None
        if not create and not there_is(self.path):
            raise StoreError(f"{self.path}: there is no results store; run a sweep first, or name another with --store")
        with self.refusals():
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._only_read = not create and not self._may_be_written()
            mode = "rwc" if create else "ro&immutable=1" if self._only_read else "rw"
            self.uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            self._connection = sqlite3.connect(self.uri, uri=True, timeout=timeout, isolation_level=None)
        self.execute, self.executemany = self._connection.execute, self._connection.executemany
        try:
            with self.refusals():
                self._open(create)
        except BaseException:
            self._connection.close()
            raise

    def as_bytes(self, query: str, values: Sequence[Any], several: int) -> Iterator[list[tuple[Any, ...]]]:
        """What a query gives, so many rows at a time, with each text as the bytes that are stored."""
        rows: list[tuple[Any, ...]] = []
        cursor = None
        while rows or cursor is None:
            self._connection.text_factory = bytes
            try:
                cursor = cursor or self.execute(query, values)
                rows = cursor.fetchmany(several)
            finally:
                self._connection.text_factory = str
            yield rows

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        self._is_closed = True
        with self.refusals():
            self._connection.close()

    def descriptors(self) -> Descriptors:
        """Those by which this process has the file and its log open now."""
        return Descriptors(self._whereabouts.names())

    def closed_by_others(self, name: str) -> StoreError:
        """The error to raise when somebody else in this process has closed one of its files."""
        return StoreError(
            f"{name}: code of this process, perhaps a plugin's hook, closed this file while the sweep had it open; the sweep cannot "
            f"go on. What was stored is kept: sweep again, without that code"
        )

    def _open(self, create: bool) -> None:
        self.execute("PRAGMA trusted_schema = OFF")
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
                    for statement in TABLES:
                        self.execute(statement)
                    self.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                application, version, tables = self._identity()
        if application != APPLICATION_ID:
            raise StoreError(
                f"{self.path}: this is the database of another program, not a results store of attnlab; "
                f"nothing in it was changed; name another file with --store"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: the store has schema version {version}, and this attnlab reads up to {SCHEMA_VERSION}: "
                f"upgrade attnlab (pip install -U attnlab), or name another file with --store"
            )
        if wrong := misshapen(tables, version):
            raise self.damaged(f"its schema is not that of a results store: {wrong}")
        if create and version < SCHEMA_VERSION:
            version = self._migrate()
        self.version = version
        with self.transaction("DEFERRED"):
            for table in ("runs", *(["measures"] if version < 5 else []), "history", "experiments", "links"):
                for (found,) in self.execute(f"PRAGMA integrity_check({table})"):
                    if found != "ok" and " value in " not in found:  # a wrong value is its row's damage alone
                        raise self.damaged(str(found).replace("\n", " "))
        if not self._only_read:
            self._logged = self._set_journal(journal_mode(self.path)) == "wal"
        self._whereabouts = Whereabouts(self._home)

    def _migrate(self) -> int:
        """Bring an older store to this schema, all or nothing; only where results are to be added to it.

        A copy of the store as it was is made first, beside it.
        """
        copy = None
        try:
            with self.transaction():
                (version,) = self.execute("PRAGMA user_version").fetchone()
                if version < SCHEMA_VERSION:  # nobody else was first
                    copy = self._free_name(f".version-{version}")
                    self.copy_to(copy)
                for step in range(version, SCHEMA_VERSION):
                    for statement in MIGRATIONS[step]:
                        self.execute(statement)
                    if step == 4:
                        earlier.move_rows(self.execute, OF_VERSION_4)
                        for table in (OF_VERSION_4, "measures"):
                            self.execute(f"DROP TABLE {table}")
                self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except BaseException:
            with contextlib.suppress(sqlite3.Error, OSError):
                if copy is not None and self.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
                    copy.unlink(missing_ok=True)  # of a store that is as it was
            raise
        return SCHEMA_VERSION

    def _free_name(self, ending: str) -> Path:
        names = (Path(f"{self._home}{ending}{f'-{n}' if n else ''}") for n in range(1000))
        return next(name for name in names if not name.exists())

    def copy_to(self, path: Path) -> None:
        """Write all that is committed, as this connection sees it, to a new file: whole or not at all."""
        with begun_beside(path) as begun, contextlib.closing(sqlite3.connect(begun, isolation_level=None)) as copied:
            if self._connection.in_transaction:  # of which only another connection sees what was before
                with contextlib.closing(self.another()) as reader:
                    reader.backup(copied)
            else:
                self._connection.backup(copied)
            copied.execute("PRAGMA journal_mode = DELETE")

    def another(self, timeout: float | None = None) -> sqlite3.Connection:
        """Another connection to the same file, which must exist; it may be used by another thread."""
        uri = self.uri.replace("mode=rwc", "mode=rw")
        wait = self.timeout if timeout is None else timeout
        return sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)

    def still_there(self) -> None:
        """Raise StoreError if the file, or its log, is no longer the one that was opened.

        What this connection has written is then rescued into a new file, if that can be had.
        """
        if not (gone := self._whereabouts.missing(self._logged)):
            return
        rescued = self._free_name(".rescued")
        try:
            rescued.parent.mkdir(parents=True, exist_ok=True)
            self.copy_to(rescued)
            saved = f"All that was stored is in {rescued}: move it back, or `attnlab store merge` joins the two"
        except (OSError, sqlite3.Error) as error:
            saved = f"What was stored before could not be rescued ({error})"
        raise StoreError(f"{self.path}: {gone} while it was in use; the sweep cannot go on. {saved}")

    def _may_be_written(self) -> bool:
        """Whether the file and its folder allow it; where not, a store that nobody has open can still be read."""
        log = log_of(self.path)
        writable = os.access(self.path, os.W_OK) and os.access(log.parent, os.W_OK)
        return writable or (log.exists() and log.stat().st_size > 0)

    def _identity(self) -> tuple[int, int, list[tuple[str, str, str, str | None]]]:
        """Whose database it is, the version of its schema, and the schema; asked within a transaction."""
        (application,) = self.execute("PRAGMA application_id").fetchone()
        (version,) = self.execute("PRAGMA user_version").fetchone()
        tables = self.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        return application, version, tables

    def _set_journal(self, mode: str) -> str:
        """Switch to a journal; SQLite does not itself wait when another process has the file open. What it is then."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                return str(self.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0])
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """All or nothing: IMMEDIATE to write, waiting for other writers; DEFERRED to read as of one moment."""
        if self._connection.in_transaction:  # transactions are not nested: Ctrl-C came where nothing could end one
            self.execute("ROLLBACK")
        self._current = mine = object()
        try:
            self.execute(f"BEGIN {kind}")
            self._is_of_its_version()
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._current is mine and self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def _is_of_its_version(self) -> None:
        """Raise StoreError if another attnlab has brought the store to another schema since it was opened; within a transaction."""
        if self.version is None:  # it is being opened
            return
        (found,) = self.execute("PRAGMA user_version").fetchone()
        if found != self.version:
            raise StoreError(
                f"{self.path}: another attnlab has brought it from schema version {self.version} to {found} since it was opened here. "
                f"What was stored is kept: try again, with that attnlab if this one reads no version {found}"
            )

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """What SQLite and the system refuse, as a StoreError that says what to do."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if "closed" not in str(error) or self._is_closed:  # a mistake of the caller
                raise
            raise self.closed_by_others(str(self.path)) from None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            advice = {
                sqlite3.SQLITE_BUSY: f"another process has kept it locked for {self.timeout:g} s; wait for it, or end it",
                sqlite3.SQLITE_LOCKED: "another connection has locked it; wait for it, or end it",
                sqlite3.SQLITE_READONLY: "it is read-only; make the file and its folder writable, or copy it elsewhere",
                sqlite3.SQLITE_PERM: "it is read-only; make the file and its folder writable, or copy it elsewhere",
                sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder must exist and be writable",
                sqlite3.SQLITE_FULL: "the disk, or that of temporary files (TMPDIR), is full; make room and try again: what was stored is kept",
                sqlite3.SQLITE_IOERR: "the disk refused to read or write; is it full, or gone? What was stored is kept",
                sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite can hold",
                sqlite3.SQLITE_NOTADB: "this is not a results store; name another file with --store",
            }.get(_code(error))
            if advice is None:
                raise self.damaged(str(error)) from error
            raise StoreError(f"{self._called}: {advice} ({error})") from error
        except OSError as error:
            raise StoreError(f"{self._called}: cannot be used: {error.strerror}; name another with --store") from error

    def damaged(self, what: str) -> StoreError:
        """The error to raise when the file differs from what was written."""
        return StoreError(
            f"{self.path}: the store is damaged ({what}); nothing was changed. `attnlab store repair --store {self.path} "
            f"-o NEW.db` keeps all that is whole in a new file; a sweep with --store NEW.db does the rest again"
        )


def _code(error: BaseException) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF
