"""The tables of the store, by version of its schema, and what leads from each version to the next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["APPLICATION_ID", "MIGRATIONS", "OF_VERSION_4", "SCHEMA_VERSION", "TABLES", "misshapen", "of_version"]

SCHEMA_VERSION = 5
APPLICATION_ID = 0x61746E6C  # "atnl"
OF_VERSION_4 = "runs_of_version_4"  # what its table of runs is called while it is being read for the last time

TABLES = (
    # What is asked of many rows comes first, and is read without the rest (`attnlab.sweeps.rows.Row`). `measured` is JSON, {test: [metric, ...]},
    # and `numbers` their values in this order, with null for NaN.
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY NOT NULL, sha256 BLOB NOT NULL, attempts INTEGER NOT NULL, seconds REAL NOT NULL,
        status TEXT NOT NULL, executor TEXT NOT NULL, started_at TEXT NOT NULL, artifacts_sha256 BLOB NOT NULL,
        reason TEXT NOT NULL, traceback TEXT NOT NULL, canonical TEXT NOT NULL, facts TEXT NOT NULL,
        measured TEXT NOT NULL, numbers TEXT NOT NULL, versions TEXT NOT NULL, fingerprints TEXT NOT NULL) WITHOUT ROWID""",
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
    # Who works on what. A row of `owners` is a coordinator that lives; `expires` is when its leases end without a heartbeat.
    """CREATE TABLE owners (
        owner TEXT PRIMARY KEY NOT NULL, host TEXT NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
        started TEXT NOT NULL, beats INTEGER NOT NULL, heartbeat REAL NOT NULL, expires REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE leases (run_id TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID""",
    # What experiments said, each version with the number of its runs that had a result then (`attnlab.sweeps.predictions`).
    """CREATE TABLE registered (
        key TEXT NOT NULL, place INTEGER NOT NULL, registered_at TEXT NOT NULL, n_runs INTEGER NOT NULL,
        git_commit TEXT NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL, sha256 BLOB NOT NULL,
        PRIMARY KEY (key, place)) WITHOUT ROWID""",
)
# Of schema versions 1 to 4, which kept a number a row.
_EARLIER = (
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY NOT NULL, canonical TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
        traceback TEXT NOT NULL, facts TEXT NOT NULL, versions TEXT NOT NULL, fingerprints TEXT NOT NULL,
        attempts INTEGER NOT NULL, executor TEXT NOT NULL, started_at TEXT NOT NULL, seconds REAL NOT NULL,
        artifacts_sha256 BLOB NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE measures (
        run_id TEXT NOT NULL, place INTEGER NOT NULL, test TEXT NOT NULL, metric TEXT NOT NULL, value REAL,
        PRIMARY KEY (run_id, place)) WITHOUT ROWID""",  # a value that is NULL is NaN: SQLite has no other
)
_N_STATEMENTS = {1: 6, 2: 7, 3: 9, 4: 10, 5: 10}  # how many of these made a store of each schema version

# From each version to the next. From 1 to 2 the identity of runs changes; `attnlab.sweeps.migrate` computes the new one. Of 4 the
# rows are put into another form by `attnlab.sweeps.earlier`, which these statements make room for.
MIGRATIONS: dict[int, Sequence[str]] = {
    1: (TABLES[6], "INSERT INTO former SELECT run_id, '' FROM runs"),
    2: TABLES[7:9],
    3: TABLES[9:10],
    4: (
        "PRAGMA legacy_alter_table = ON",
        f"ALTER TABLE runs RENAME TO {OF_VERSION_4}",
        "PRAGMA legacy_alter_table = OFF",
        TABLES[0],
    ),
}


def of_version(version: int) -> tuple[str, ...]:
    """The statements that made a store of a version; none for a version that never was."""
    statements = TABLES[: _N_STATEMENTS.get(version, 0)]
    return statements if version not in range(1, 5) else (*_EARLIER, *statements[1:])


def misshapen(found: Iterable[tuple[str, str, str, str | None]], version: int) -> str:
    """What of a schema is not that of a store, in words; empty if all is well.

    Parameters
    ----------
    found : iterable of (type, name, table, SQL), the rows of SQLite's own table
        What SQLite keeps for itself (`ANALYZE`), and the views, indexes and tables that somebody has added, do no harm. A trigger
        or a constraint on a table of the store could change what it holds.
    version : int
    """
    wanted = {_name(statement): _plain(statement) for statement in of_version(version)}
    if not wanted:
        return f"there is no schema version {version}"
    ours = {name for name in wanted if name != "artifacts_of_run"}
    for kind, name, table, sql in found:
        if name in wanted:
            if _plain(sql or "") != wanted.pop(name):
                return f"{name} is not as attnlab makes it"
        elif kind == "trigger":
            return f"the trigger {name} could change what is stored"
        elif table in ours and sql and _plain(sql).startswith("create unique"):
            return f"the index {name} could refuse what is to be stored"
    return f"it lacks {', '.join(wanted)}" if wanted else ""


def _name(statement: str) -> str:
    return statement.split("(")[0].split(" ON ")[0].split()[-1]


def _plain(sql: str) -> str:
    return re.sub(r"\s+", " ", sql).strip().lower()
