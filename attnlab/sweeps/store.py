"""The results store: Result <-> SQLite. Only the coordinator writes; several coordinators may share one file.

When `append` returns, the row is on the disk. It survives `kill -9` and, if the disk is reliable, a power cut (write-ahead
log, synchronous=FULL). Every row has a checksum of its content, so that a damaged row is found and never read as a value. A
run that is repeated replaces its row. The outcomes of earlier attempts stay in `history`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from attnlab.errors import AmbiguousName, StoreError, UnknownName
from attnlab.sweeps.bulk import Revival, read_rows
from attnlab.sweeps.checksums import digest
from attnlab.sweeps.collecting import uncollected
from attnlab.sweeps.database import Database
from attnlab.sweeps.leases import Leases
from attnlab.sweeps.predictions import Predictions
from attnlab.sweeps.rows import Row, Unfit, as_row, as_text, as_texts, fingerprints_in, marks, now, signed
from attnlab.sweeps.run import DAMAGED, Result, Run

__all__ = ["Attempt", "Known", "Linked", "Store", "Stored"]

_SEVERAL = 500  # runs asked for by name in one query; for more, the whole table is read


class Known(NamedTuple):
    """What the store knows of a run; a row whose checksum fails has the status `damaged` and no fingerprints."""

    status: str
    fingerprints: Mapping[str, str]
    seconds: float = 0.0  # that it took


class Stored(NamedTuple):
    """A row that was read: what the store knows of a run, and its run and result; no such pair where they cannot be used."""

    known: Known
    pair: tuple[Run, Result] | None


class Attempt(NamedTuple):
    """An earlier attempt at a run, since replaced."""

    status: str
    reason: str
    started_at: str
    seconds: float
    replaced_at: str


@dataclass(frozen=True)
class Linked:
    """An experiment as it was last swept: its question, its text, and the runs it plans, in order."""

    key: str
    question: str
    text: str
    path: str
    linked_at: str
    run_ids: tuple[str, ...] = field(repr=False)


class Store:
    """The results of sweeps, in one SQLite file.

    Parameters
    ----------
    path : path-like
    create : bool
        Make the file, and its folder, if there is none; otherwise that is an error.
    timeout : float
        Seconds to wait for another process that is writing.

    Raises
    ------
    StoreError
        From here or from any method: not a store, of a newer attnlab, damaged, locked, not writable, disk full. Each says what to do.

    Examples
    --------
    >>> import tempfile
    >>> from attnlab.sweeps.run import Result, Run
    >>> run = Run.of({"seed": 0})
    >>> with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/attnlab.db") as store:
    ...     _ = store.append(run, Result("ok", metrics={"test": {"accuracy": 0.75}}), {"similarity": "f00d"})
    ...     known = store.known([run.run_id])["bd0488843468e63c"]
    ...     known.status, dict(known.fingerprints)
    ('ok', {'similarity': 'f00d'})
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True, timeout: float = 30.0) -> None:
        self._db = Database(path, create, timeout)
        self.path = self._db.path
        self.leases = Leases(self._db)
        self.predictions = Predictions(self._db)
        self._revival = Revival()

    def close(self) -> None:
        """End the leases that are held, and close the file; closing again does nothing."""
        try:
            self.leases.leave()
        finally:
            self._db.close()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within, code of others is called in this process; StoreError if it closed a file of the store, which is put right first."""
        with self.leases.between_beats():
            held = self._db.descriptors()
        try:
            yield
        finally:
            if lost := held.lost():
                raise self._db.closed_by_others(lost[0])

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------------------------------
    def append(self, run: Run, result: Result, fingerprints: Mapping[str, str]) -> bool:
        """Keep a result, and end the lease of its run; on return it is on the disk.

        It replaces an earlier row of the same run, whose outcome goes to `history`.

        Returns
        -------
        bool
            False if nothing was kept: the lease was taken over meanwhile, and the run is already done.

        Raises
        ------
        StoreError
            Also when the file has been deleted, moved or replaced since it was opened.
        TypeError, ValueError
            If the result's facts or metrics are not plain data (executors see to that).
        """
        row = as_row(run, result, fingerprints)
        with self._db.refusals(), self._db.transaction():
            if not self.leases.give_up(run.run_id):
                before = self._db.execute("SELECT sha256 FROM runs WHERE run_id = ?", (run.run_id,)).fetchone()
                if before and before[0] != self.leases.claimed[run.run_id]:
                    return False
            self._keep_history(run.run_id)
            for table in ("runs", "artifacts"):
                self._db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run.run_id,))
            self._db.execute(f"INSERT INTO runs VALUES ({marks(len(row))})", row)
            if result.artifacts:
                self._db.execute("INSERT INTO artifacts VALUES (?, ?)", (run.run_id, result.artifacts))
        self._db.still_there()
        return True

    def _keep_history(self, run_id: str) -> None:
        for row, intact in self._read([run_id]):
            status, reason, started_at, seconds = DAMAGED, "", "", 0.0
            if intact:
                status, reason, started_at = map(_shown, (row.status, row.reason, row.started_at))
                seconds = row.seconds
            (place,) = self._db.execute("SELECT count(*) FROM history WHERE run_id = ?", (run_id,)).fetchone()
            kept = (run_id, place, status, reason, started_at, seconds, now())
            self._db.execute(f"INSERT INTO history VALUES ({marks(8)})", (*kept, digest(kept)))

    def add_experiment(
        self, key: str, question: str, source_text: str, run_ids: Iterable[str], path: str | os.PathLike[str] = ""
    ) -> Linked | None:
        """Link an experiment to the runs it plans, in order; on return it is on the disk.

        It replaces the links of an earlier text of the same experiment, so that the experiment never shows runs it no longer
        plans. The rows of those runs stay. Give the whole plan, even if only a part of it is swept.

        Returns
        -------
        Linked or None
            What was linked under this name before, if that can be read.
        """
        linked = list(dict.fromkeys(run_ids))
        with self._db.refusals(), self._db.transaction():
            before, _ = self._linked(key)
            found = self._db.execute("SELECT place FROM experiments WHERE key = ?", (key,)).fetchone()
            found = found or self._db.execute("SELECT ifnull(max(place), -1) + 1 FROM experiments").fetchone()
            row = (key, found[0], as_text(str(path)), as_text(question), as_text(source_text), now())
            self._db.execute(f"INSERT OR REPLACE INTO experiments VALUES ({marks(7)})", (*row, digest(row, linked)))
            if key not in before or before[key].run_ids != tuple(linked):
                self._link_to(key, linked)
        self._db.still_there()
        return before.get(key)

    # -- reading ------------------------------------------------------------------------------------------------------
    def known(self, run_ids: Iterable[str]) -> dict[str, Known]:
        """The status and fingerprints of those of `run_ids` that the store has."""
        with self._snapshot():
            found: dict[str, Known] = {}
            for rows in read_rows(self._db, list(run_ids)):
                found |= {_shown(row.run_id): known for (row, _), known in zip(rows, self._known(rows), strict=True)}
            return found

    def _known(self, rows: Sequence[tuple[Row, bool]]) -> Iterator[Known]:
        fingerprints: dict[bytes, Mapping[str, str]] = {}
        for row, intact in rows:
            if not intact:
                yield Known(DAMAGED, {})
                continue
            if (said := fingerprints.get(row.fingerprints)) is None:
                said = fingerprints[row.fingerprints] = self._said(row, fingerprints_in, row)
            yield Known(_shown(row.status), said, row.seconds)

    def stored(self, run_ids: Iterable[str]) -> dict[str, Stored]:
        """All that the store has of some runs but their artifacts, by run_id."""
        found: dict[str, Stored] = {}
        with self._snapshot():
            for rows in read_rows(self._db, list(run_ids)):
                ids = [_shown(row.run_id) for row, _ in rows]
                found |= zip(ids, map(Stored, self._known(rows), self._pairs(rows, strict=False)), strict=True)
        return found

    def results(self, run_ids: Iterable[str]) -> list[tuple[Run, Result]]:
        """The runs that the store has, in the order asked for, without artifacts. A damaged one has the status `damaged`."""
        with self._snapshot():
            asked = list(dict.fromkeys(run_ids))
            found = self._found(asked)
        return [found[run_id] for run_id in asked if run_id in found]

    def rows(self, experiment: str | None = None) -> Iterator[tuple[str, Run, Result]]:
        """Every run of every experiment (or of one), in the order of their files, as the store is now; no artifacts.

        A run that two experiments share comes twice; one that none plans any longer comes last, with '' for experiment. A row that
        does not agree with its checksum comes with the status `damaged` and no numbers.

        Raises
        ------
        UnknownName
            If there is no such experiment.
        StoreError
            If a row agrees with its checksum and says what attnlab never writes.
        """
        with self._snapshot():
            linked = self._experiments()
            if experiment is not None and experiment not in linked:
                known = ", ".join(linked) or "none"
                raise UnknownName(f"{self.path}: no experiment {experiment!r} in this store; there are: {known}")
            chosen = linked if experiment is None else {experiment: linked[experiment]}
            planned = {run_id for entry in chosen.values() for run_id in entry.run_ids}
            found = self._found(None if experiment is None else chosen[experiment].run_ids)
        for key, entry in chosen.items():
            yield from ((key, *found[run_id]) for run_id in entry.run_ids if run_id in found)
        if experiment is None:
            yield from (("", *pair) for run_id, pair in found.items() if run_id not in planned)

    def errors(self, experiment: str | None = None) -> list[tuple[str, Run, Result]]:
        """The `rows` that did not succeed."""
        return [row for row in self.rows(experiment) if row[2].status != "ok"]

    def experiments(self) -> list[Linked]:
        """The experiments, in the order in which they were first swept."""
        with self._snapshot():
            return list(self._experiments().values())

    def load_run(self, prefix: str) -> tuple[Run, Result]:
        """One run with its artifacts, by the beginning of its run_id.

        Raises
        ------
        UnknownName, AmbiguousName
            If no run or more than one begins so.
        """
        with self._snapshot():
            query = "SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? || char(1114111) LIMIT 6"
            ids = [row[0] for row in self._db.execute(query, (prefix, prefix))]
            if not ids and self._db.version > 1:  # a run_id from before the store's schema changed
                query = query.replace("run_id FROM runs", "became FROM former")
                ids = [row[0] for row in self._db.execute(query, (prefix, prefix)) if row[0]]
            if not ids or not prefix:
                raise UnknownName(f"{self.path}: no run {prefix!r} in this store; `attnlab results` lists them")
            if len(ids) > 1:
                raise AmbiguousName(f"{self.path}: {prefix!r} is the beginning of several runs: {', '.join(ids)}")
            ((row, intact),) = self._read(ids)
            found = self._db.execute("SELECT content FROM artifacts WHERE run_id = ?", (ids[0],)).fetchone()
        artifacts = found[0] if found else b""
        if not intact or not isinstance(artifacts, bytes) or hashlib.sha256(artifacts).digest() != row.artifacts_sha256:
            raise self._damaged_rows([ids[0]])
        found_so: tuple[Run, Result] = self._said(row, self._revival.one, row, artifacts)
        return found_so

    def artifacts(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        """What several runs left behind (`Result.artifacts`), by run_id.

        One that left nothing, or whose artifacts do not agree with their checksum, is not there. `damaged` tells.
        """
        query = "SELECT run_id, content, artifacts_sha256 FROM artifacts JOIN runs USING (run_id) WHERE run_id IN"
        found = {}
        with self._snapshot():
            for some in (tuple(run_ids[i : i + _SEVERAL]) for i in range(0, len(run_ids), _SEVERAL)):
                for run_id, content, sha256 in self._db.execute(f"{query} ({marks(len(some))})", some):
                    if isinstance(content, bytes) and hashlib.sha256(content).digest() == sha256:
                        found[run_id] = content
        return found

    def history(self, run_id: str) -> list[Attempt]:
        """The earlier attempts at a run, oldest first."""
        with self._snapshot():
            rows = self._db.execute("SELECT * FROM history WHERE run_id = ? ORDER BY place", (run_id,)).fetchall()
        if any(digest(row[:-1]) != row[-1] for row in rows):
            raise self._db.damaged(f"the history of run {run_id}")
        return [Attempt(*row[2:-1]) for row in rows]

    def damaged(self) -> list[str]:
        """The runs whose rows or artifacts do not agree with their checksums: sweeping again does them again."""
        with self._snapshot():
            content = self._db.execute("SELECT run_id, content FROM artifacts")
            digests = {run_id: hashlib.sha256(c).digest() for run_id, c in content if isinstance(c, bytes)}
            empty = hashlib.sha256(b"").digest()
            read = ((_shown(row.run_id), row, intact) for row, intact in self._read(None))
            return [name for name, row, ok in read if not ok or digests.get(name, empty) != row.artifacts_sha256]

    # -- runs of an earlier schema ------------------------------------------------------------------------------------
    def former(self) -> list[tuple[Run, Result]]:
        """The runs that are kept under the identity of schema version 1, as far as they are not damaged."""
        with self._snapshot():
            if self._db.version == 1:
                found = self._found(None)
            else:
                ids = [row[0] for row in self._db.execute("SELECT run_id FROM former WHERE became = ''")]
                found = self._found(ids) if ids else {}
        return [pair for pair in found.values() if pair[1].status != DAMAGED]

    def rename(self, runs: Mapping[str, Run]) -> None:
        """Keep runs under another identity: run_id -> the run as it is known now. What is there already is not replaced."""
        with self._db.refusals(), self._db.transaction():
            for run_id, run in runs.items():
                self._rename(run_id, run)
            for entry in self._experiments().values():
                if not runs.keys().isdisjoint(entry.run_ids):
                    self._link_anew(entry.key, [runs[r].run_id if r in runs else r for r in entry.run_ids])

    def _rename(self, run_id: str, run: Run) -> None:
        self._db.execute("UPDATE former SET became = ? WHERE run_id = ?", (run.run_id, run_id))
        if run.run_id == run_id or self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run.run_id,)).fetchone():
            return
        for row, intact in list(self._read([run_id])):
            if intact:
                renamed = self._said(row, as_texts, row)._replace(run_id=run.run_id, canonical=run.canonical)
                self._db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
                self._db.execute(f"INSERT INTO runs VALUES ({marks(len(renamed))})", signed(renamed))
        self._db.execute("UPDATE artifacts SET run_id = ? WHERE run_id = ?", (run.run_id, run_id))
        for row in self._db.execute("SELECT * FROM history WHERE run_id = ?", (run_id,)).fetchall():
            if digest(row[:-1]) == row[-1]:
                kept = (run.run_id, *row[1:-1])
                self._db.execute("DELETE FROM history WHERE run_id = ? AND place = ?", row[:2])
                self._db.execute(f"INSERT INTO history VALUES ({marks(8)})", (*kept, digest(kept)))

    def _link_anew(self, key: str, run_ids: Iterable[str]) -> None:
        linked = list(dict.fromkeys(run_ids))
        (row,) = self._db.execute("SELECT * FROM experiments WHERE key = ?", (key,)).fetchall()
        self._db.execute("UPDATE experiments SET sha256 = ? WHERE key = ?", (digest(row[:-1], linked), key))
        self._link_to(key, linked)

    def _link_to(self, key: str, linked: Iterable[str]) -> None:
        self._db.execute("DELETE FROM links WHERE key = ?", (key,))
        self._db.executemany("INSERT INTO links VALUES (?, ?, ?)", ((key, i, r) for i, r in enumerate(linked)))

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All reads inside see the store at one moment."""
        with uncollected(), self._db.refusals(), self._db.transaction("DEFERRED"):
            yield

    def _read(self, run_ids: Sequence[str] | None) -> Iterator[tuple[Row, bool]]:
        """Rows of `runs`, and whether they agree with their checksums."""
        return itertools.chain.from_iterable(read_rows(self._db, run_ids))

    def _found(self, run_ids: Sequence[str] | None) -> dict[str, tuple[Run, Result]]:
        found: dict[str, Any] = {}
        for rows in read_rows(self._db, run_ids):
            found |= zip((_shown(row.run_id) for row, _ in rows), self._pairs(rows), strict=True)
        return found

    def _pairs(self, rows: Sequence[tuple[Row, bool]], strict: bool = True) -> Iterator[tuple[Run, Result] | None]:
        """The run and result of each row. One that cannot be used is an error, or None where not `strict`."""
        together = self._revival.all([row for row, intact in rows if intact])
        each = iter(together or ())
        for row, intact in rows:
            if not intact:
                yield self._remains(row)
            elif together is not None:
                yield next(each)
            else:
                try:
                    yield self._said(row, self._revival.one, row)
                except StoreError:
                    if strict:
                        raise
                    yield None

    def _said(self, row: Row, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except Unfit as error:
            raise StoreError(
                f"{self.path}: run {_shown(row.run_id)}: {error}. attnlab writes no such row, though its checksum is right. "
                f"`attnlab store verify` lists all that cannot be used, and `attnlab store repair` leaves it out"
            ) from None

    def _remains(self, row: Row) -> tuple[Run, Result]:
        """A damaged row: its run, with its settings where its run_id proves them, and no number."""
        from attnlab.sweeps.identity import proven

        reason = "what the store holds of this run does not agree with its checksum; sweep again, and it is done again"
        return proven(_shown(row.run_id), _shown(row.canonical)), Result.damaged(reason)

    def _damaged_rows(self, run_ids: Sequence[Any]) -> StoreError:
        named = ", ".join(str(r) for r in run_ids[:5]) + (", ..." if len(run_ids) > 5 else "")
        return StoreError(
            f"{self.path}: {len(run_ids)} damaged: {named} (what is stored does not agree with its checksum); "
            f"sweep the experiment again, or with `--rerun all`, and they are done again"
        )

    def _experiments(self) -> dict[str, Linked]:
        found, damaged = self._linked()
        if damaged:
            raise self._db.damaged(f"the experiment {damaged[0]}: sweep it again")
        return found

    def _linked(self, key: str | None = None) -> tuple[dict[str, Linked], list[str]]:
        """The experiments, or one, and the keys of those that do not agree with their checksums."""
        where, values = ("", ()) if key is None else (" WHERE key = ?", (key,))
        links = self._db.execute(f"SELECT key, run_id FROM links{where} ORDER BY key, place", values)
        run_ids = {name: [row[1] for row in group] for name, group in itertools.groupby(links, key=lambda row: row[0])}
        found, damaged = {}, []
        for row in self._db.execute(f"SELECT * FROM experiments{where} ORDER BY place, key", values):
            name, _, path, question, text, linked_at, sha256 = row
            linked = run_ids.get(name, [])
            if digest(row[:-1], linked) != sha256 or not all(isinstance(v, str) for v in (*row[2:-1], name, *linked)):
                damaged.append(str(name))
            else:
                found[name] = Linked(name, question, text, path, linked_at, tuple(linked))
        return found, damaged


def _shown(text: Any) -> str:
    """A text of a row as it was read; of a damaged one, as far as it is text."""
    return text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)
