"""What changes or makes a store: repair, merge, export, vacuum, gc. Each says what it did; none loses what is whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab.errors import SettingError, StoreError, UnknownName
from attnlab.sweeps.checksums import digest
from attnlab.sweeps.database import Database
from attnlab.sweeps.place import begun_beside, checked_path, log_of, there_is
from attnlab.sweeps.rows import marks, now, revived
from attnlab.sweeps.upkeep.contents import Contents, Finding, Kept, contents_of, linked_runs
from attnlab.writing import whole

__all__ = ["Conflict", "Merged", "collect_garbage", "export", "merge", "repair", "unnamed", "vacuum"]

RULE = "the same run with numbers that differ by more than the tolerance: both are named, and the first is kept"
_RESULTS = ("ok", "invalid", "skipped")  # statuses that are results; the others are attempts


@dataclass(frozen=True)
class Conflict:
    """One run, two stores, and numbers that differ."""

    run_id: str
    where: str  # the test condition and the metric, or the status
    first: Any
    second: Any
    store: str  # of the second


@dataclass
class Merged:
    """What a merge has done."""

    added: int = 0
    same: int = 0
    replaced: int = 0  # failures in the first store, results in the second
    conflicts: list[Conflict] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)  # experiments of the same name with another text
    findings: list[Finding] = field(default_factory=list)  # what was left out, not being whole


def repair(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> Contents:
    """Write all that is whole to a new store. The old file is only read.

    Raises
    ------
    StoreError
        When nothing of a store can be read, or the new file exists.
    """
    new = _new(output)
    contents = contents_of(path)
    _write(new, contents, contents.runs, contents.experiments)
    return contents


def export(path: str | os.PathLike[str], output: str | os.PathLike[str], experiments: Collection[str] = ()) -> int:
    """Write the runs of some experiments, or everything, to a new file: a store, or .jsonl with one run a line.

    Returns
    -------
    int
        The number of runs.

    Raises
    ------
    StoreError, UnknownName, SettingError
        When a row is damaged, there is no such experiment, or the new file exists.
    """
    contents = _sound(path)
    for name in experiments:
        if name not in contents.experiments:
            raise UnknownName(
                f"{path}: no experiment {name!r} in this store; there are: {', '.join(contents.experiments) or 'none'}"
            )
    chosen = {key: found for key, found in contents.experiments.items() if not experiments or key in experiments}
    ids = [run_id for run_id in linked_runs(contents, chosen) if run_id in contents.runs]
    if not experiments:
        ids += [run_id for run_id in contents.runs if run_id not in set(ids)]
    runs = {run_id: contents.runs[run_id] for run_id in ids}
    if experiments:
        contents.registered = {key: rows for key, rows in contents.registered.items() if key in chosen}
    new = _new(output)
    if new.suffix == ".jsonl":
        named = {run_id: key for key, (_, linked) in reversed(chosen.items()) for run_id in linked}
        with whole(new) as begun, begun.open("w", encoding="utf-8") as file:
            file.writelines(f"{_line(kept, named.get(run_id, ''))}\n" for run_id, kept in runs.items())
    else:
        _write(new, contents, runs, chosen)
    return len(runs)


def _line(kept: Kept, experiment: str) -> str:
    run, result = revived(kept.row)
    about = {"run_id": run.run_id, "experiment": experiment, "run": run.spec, "status": result.status}
    return json.dumps(
        {
            **about,
            "reason": result.reason,
            "metrics": result.metrics,
            "facts": result.facts,
            "versions": result.versions,
            "started_at": result.started_at,
            "seconds": result.seconds,
        }
    )


def merge(into: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]], tolerance: float = 1e-6) -> Merged:
    """Add what other stores hold to one, which is made where there is none.

    A run that is in both is kept as the first store has it if its numbers are equal within the tolerance, |a - b| <= tolerance
    max(1, |a|, |b|); and also if they are not, which is a `Conflict`. A result takes the place of a failure. An
    experiment of the same name with another text is added under a name of its own. Sources are only read.

    Raises
    ------
    StoreError
        When a store cannot be used. Rows that are not whole are left out, and told.
    """
    if not (tolerance >= 0 and math.isfinite(tolerance)):
        raise SettingError(f"tolerance must be 0 or more; got {tolerance}")
    done = Merged()
    given = [(os.fspath(source), contents_of(source)) for source in sources]
    db = Database(into, create=True, timeout=30.0)
    try:
        mine = contents_of(into)
        for source, theirs in given:
            done.findings += theirs.findings
            with db.refusals(), db.transaction():
                for run_id, kept in theirs.runs.items():
                    _join(db, mine, run_id, kept, source, tolerance, done)
                for run_id, became in theirs.former.items():
                    db.execute("INSERT OR IGNORE INTO former VALUES (?, ?)", (run_id, became))
                for key, (row, linked) in theirs.experiments.items():
                    name = _join_experiment(db, mine, key, row, linked, done)
                    mine.registered[name] = [*mine.registered.get(name, ()), *theirs.registered.pop(key, ())]
                    _register(db, name, mine.registered[name])
                for key, rows in theirs.registered.items():  # what was registered and never swept
                    mine.registered[key] = [*mine.registered.get(key, ()), *rows]
                    _register(db, key, mine.registered[key])
            db.still_there()
    finally:
        db.close()
    return done


def _join(db: Database, mine: Contents, run_id: str, kept: Kept, source: str, tolerance: float, done: Merged) -> None:
    before = mine.runs.get(run_id)
    if before is None:
        mine.runs[run_id] = kept
        _put(db, kept)
        done.added += 1
        return
    old = before.row
    if old.status not in _RESULTS and kept.row.status in _RESULTS:
        earlier = (run_id, len(before.history), old.status, old.reason, old.started_at, old.seconds, now())
        history = [*before.history, (*earlier, digest(earlier))]
        mine.runs[run_id] = replaced = Kept(kept.row, kept.artifacts, history)
        _put(db, replaced)
        done.replaced += 1
        return
    done.same += 1
    if kept.row.status in _RESULTS and (differs := _differ(before, kept, tolerance)):
        done.same -= 1
        done.conflicts.append(Conflict(run_id, *differs, source))


def _differ(one: Kept, other: Kept, tolerance: float) -> tuple[str, Any, Any] | None:
    """Where two rows of one run differ, and how; costs and times are nobody's result."""
    if one.row.status != other.row.status:
        return "status", one.row.status, other.row.status
    first, second = ({row[:2]: row[2] for row in kept.measures if row[1] not in _COSTS} for kept in (one, other))
    for key in first.keys() & second.keys():  # a metric that only one of them knew is no difference
        a, b = (math.nan if value is None else value for value in (first[key], second[key]))
        equal = a == b or (a != a and b != b) or abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
        if not equal:
            return f"{key[1]} ({key[0]})", a, b
    return None


_COSTS = ("fit_seconds", "steps_per_second")


def _join_experiment(
    db: Database, mine: Contents, key: str, row: tuple[Any, ...], linked: list[str], done: Merged
) -> str:
    """Add an experiment, unless it is there; the name that it has."""
    same = mine.experiments.get(key)
    if same is not None and (same[0][4], same[1]) == (row[4], linked):
        return key
    name = key
    if same is not None:
        name = next(n for n in (f"{key}-merged-{i}" for i in range(2, 10**6)) if n not in mine.experiments)
        done.renamed[key] = name
    place = 1 + max((found[0][1] for found in mine.experiments.values()), default=-1)
    mine.experiments[name] = _link(db, (name, place, *row[2:-1]), linked)
    return name


def _register(db: Database, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """What an experiment said, in the order in which it said it; the same at the same time counts once."""
    db.execute("DELETE FROM registered WHERE key = ?", (name,))
    for place, row in enumerate(sorted({row[2:-1] for row in rows})):
        again = (name, place, *row)
        db.execute(f"INSERT INTO registered VALUES ({marks(8)})", (*again, digest(again)))


def vacuum(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Give the space of what was deleted back to the disk; the sizes in bytes before and after."""
    db = Database(path, create=False, timeout=30.0)
    try:
        with db.refusals():
            before = _size(db.path)
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.close()
    return before, _size(Path(path))


def unnamed(path: str | os.PathLike[str]) -> list[str]:
    """The runs that no experiment names and nobody is at work on.

    Raises
    ------
    StoreError
        When a row is damaged: an experiment that cannot be read may name any run.
    """
    contents = _sound(path)
    named = set(linked_runs(contents))
    return [run_id for run_id in contents.runs if run_id not in named]


def collect_garbage(path: str | os.PathLike[str], run_ids: Collection[str]) -> int:
    """Delete runs, with their artifacts and history, unless an experiment names them by now or they are at work; how many."""
    db = Database(path, create=True, timeout=30.0)
    n_deleted = 0
    try:
        with db.refusals(), db.transaction():
            for run_id in run_ids:
                query = "SELECT 1 FROM links WHERE run_id = ? UNION SELECT 1 FROM leases WHERE run_id = ?"
                if db.execute(query, (run_id, run_id)).fetchone():
                    continue
                for table in ("runs", "artifacts", "history", "former"):
                    db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
                n_deleted += 1
        db.still_there()
    finally:
        db.close()
    return n_deleted


# -- writing ----------------------------------------------------------------------------------------------------------
def _new(output: str | os.PathLike[str]) -> Path:
    path = checked_path(output)
    if there_is(path):
        raise StoreError(f"{path}: this file exists and is not overwritten; name another one with -o")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"{path}: there is no folder {path.parent}; make it first")
    return path


def _sound(path: str | os.PathLike[str]) -> Contents:
    contents = contents_of(path)
    if contents.findings:
        first = contents.findings[0]
        raise StoreError(
            f"{path}: {len(contents.findings)} damaged, such as {first.table} {first.key} ({first.what}); `attnlab store verify` "
            f"lists them, and `attnlab store repair` writes all that is whole to a new file"
        )
    return contents


def _write(
    path: Path,
    contents: Contents,
    runs: Mapping[str, Kept],
    experiments: Mapping[str, tuple[tuple[Any, ...], list[str]]],
) -> None:
    """A new store, whole or not at all."""
    with begun_beside(path) as begun:
        db = Database(begun, create=True, timeout=30.0, called=path)
        try:
            with db.refusals(), db.transaction():
                for kept in runs.values():
                    _put(db, kept)
                for row, linked in experiments.values():
                    _link(db, row[:-1], linked)
                for key, rows in contents.registered.items():
                    _register(db, key, rows)
                formers = ((run_id, became) for run_id, became in contents.former.items() if run_id in runs)
                db.executemany("INSERT INTO former VALUES (?, ?)", formers)
            with db.refusals():
                db.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, to be handed on
        finally:
            db.close()


def _put(db: Database, kept: Kept) -> None:
    run_id = kept.row.run_id
    for table in ("runs", "artifacts", "history"):
        db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    db.execute(f"INSERT INTO runs VALUES ({marks(len(kept.row))})", kept.row)
    if kept.artifacts:
        db.execute("INSERT INTO artifacts VALUES (?, ?)", (run_id, kept.artifacts))
    for place, row in enumerate(kept.history):
        again = (run_id, place, *row[2:-1])
        db.execute(f"INSERT INTO history VALUES ({marks(8)})", (*again, digest(again)))


def _link(db: Database, row: Sequence[Any], linked: Iterable[str]) -> tuple[tuple[Any, ...], list[str]]:
    run_ids = list(linked)
    whole = (*row, digest(tuple(row), run_ids))
    db.execute(f"INSERT INTO experiments VALUES ({marks(7)})", whole)
    db.executemany("INSERT INTO links VALUES (?, ?, ?)", ((row[0], place, r) for place, r in enumerate(run_ids)))
    return whole, run_ids


def _size(path: Path) -> int:
    return sum(os.path.getsize(name) for name in (path, log_of(path)) if os.path.exists(name))
