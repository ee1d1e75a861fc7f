"""Who works on what: a lease a run, so that each run is done once however many sweeps share a store.

A coordinator claims runs before it does them, in one short transaction for several. A lease ends when its run is stored, when its
coordinator leaves, or when its coordinator is dead: at once where its process was on this machine and is gone, and elsewhere after
`LEASE` seconds without a heartbeat. These seconds are counted by the clock of whoever waits, since two machines rarely agree on
the time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.sweeps.database import Database
from attnlab.sweeps.rows import marks

__all__ = ["LEASE", "Claim", "Holder", "Leases", "this_machine"]

LEASE = 60.0  # seconds without a heartbeat after which a coordinator on another machine counts as dead
_BEATS = 4  # heartbeats a lease
_SEVERAL = 500  # runs in one query
_LOOKED_UP = 8  # pages of the file that are gone through in the time in which one run is found by its name

# No process is forked while the heartbeat is within SQLite, since a lock that it holds would never be given back in the child.
_BEATING = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_BEATING.acquire, after_in_parent=_BEATING.release, after_in_child=_BEATING.release)


@dataclass(frozen=True)
class Holder:
    """A coordinator that has a lease."""

    owner: str
    host: str
    machine: str
    pid: int
    started: str  # when its process started, as the system tells; process numbers are used again
    beats: int
    expires: float  # seconds since 1970, by its own clock

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Claim:
    """What became of a wish to do some runs; `held` and `changed` are others' business."""

    mine: list[str]
    held: dict[str, Holder]  # by run_id: somebody else is at work on it
    changed: list[str]  # somebody else has stored a result since


class Leases:
    """The leases of a store, as one coordinator sees and holds them.

    Parameters
    ----------
    db : Database
    lease : float
        Seconds without a heartbeat after which a coordinator on another machine counts as dead.
    """

    def __init__(self, db: Database, lease: float = LEASE) -> None:
        self._db, self._lease = db, lease
        self.owner = uuid.uuid4().hex
        self.claimed: dict[str, bytes | None] = {}  # run_id -> the checksum of its row then
        self._seen: dict[str, tuple[int, float]] = {}  # owner -> its heartbeats, and when they were first so many
        self._stop: threading.Event | None = None

    # -- holding ------------------------------------------------------------------------------------------------------
    def claim(self, wanted: Sequence[str], before: Mapping[str, bytes], most: int) -> Claim:
        """Take the leases of up to `most` of the runs, in their order, that are free.

        Parameters
        ----------
        wanted : sequence of run_ids
        before : mapping of run_id to checksum
            The rows that the caller knows, of `row_marks`. A run whose row is another by now was done by somebody else.
        most : int

        Raises
        ------
        StoreError
        """
        claim = Claim([], {}, [])
        with self._db.refusals(), self._db.transaction():
            holders = self._living()
            for some in _slices(wanted, _SEVERAL):
                rows, leases = self._rows(some), self._leases(some)
                for run_id in some:
                    if len(claim.mine) == most:
                        break
                    if rows.get(run_id) != before.get(run_id):
                        claim.changed.append(run_id)
                    elif (holder := holders.get(leases.get(run_id, ""))) is not None and holder.owner != self.owner:
                        claim.held[run_id] = holder
                    else:
                        claim.mine.append(run_id)
                        self.claimed[run_id] = rows.get(run_id)
                if len(claim.mine) == most:
                    break
            if claim.mine:
                self._sign()
                self._db.executemany(
                    "INSERT OR REPLACE INTO leases VALUES (?, ?)", ((run_id, self.owner) for run_id in claim.mine)
                )
        if claim.mine:
            self._keep_beating()
        return claim

    def give_up(self, run_id: str) -> bool:
        """Within the caller's transaction: end the lease of a run. False if it was claimed here and somebody took it over."""
        if run_id not in self.claimed:
            return True
        ended = self._db.execute("DELETE FROM leases WHERE run_id = ? AND owner = ?", (run_id, self.owner))
        return bool(ended.rowcount)

    def leave(self) -> None:
        """End all leases of this coordinator; again does nothing."""
        if self._stop is not None:
            self._stop.set()
            self._stop = None
        if self.claimed:
            with self._db.refusals(), self._db.transaction():
                self._forget([self.owner])
            self.claimed.clear()

    def _sign(self) -> None:
        """Write down that this coordinator lives."""
        pid, wall = os.getpid(), time.time()
        self._db.execute(
            "INSERT INTO owners VALUES (?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (owner) DO UPDATE SET "
            "beats = beats + 1, heartbeat = excluded.heartbeat, expires = excluded.expires",
            (self.owner, socket.gethostname(), this_machine(), pid, _started(pid), wall, wall + self._lease),
        )

    def _keep_beating(self) -> None:
        """Have a thread tell others from time to time that this coordinator lives, whatever else it does."""
        if self._stop is None:
            self._stop = threading.Event()
            arguments = (self._db, self.owner, self._lease, self._stop)
            thread = threading.Thread(target=_beat, args=arguments, daemon=True, name="attnlab heartbeat")
            with contextlib.suppress(RuntimeError):  # no threads here: each claim is a heartbeat
                thread.start()

    def between_beats(self) -> contextlib.AbstractContextManager[Any]:
        """Within, the thread has no connection open."""
        return _BEATING

    # -- looking ------------------------------------------------------------------------------------------------------
    def row_marks(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        """The checksums of the rows that the store has of some runs, as they were written; read before what they say."""
        found: dict[str, bytes] = {}
        with self._db.refusals(), self._db.transaction("DEFERRED"):
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            if len(run_ids) * _LOOKED_UP > pages:
                wanted = set(run_ids)
                return {r: mark for r, mark in self._db.execute("SELECT run_id, sha256 FROM runs") if r in wanted}
            for some in _slices(run_ids, _SEVERAL):
                found |= self._rows(some)
        return found

    def at_work(self, run_ids: Sequence[str]) -> dict[str, Holder]:
        """Of some runs those that another coordinator is at work on, as far as can be seen now.

        One on another machine counts by the time of day here: whoever only looks does not wait.
        """
        if self._db.version < 3:
            return {}
        with self._db.refusals(), self._db.transaction("DEFERRED"):
            living = {h.owner: h for h in self._owners() if h.owner != self.owner and not _is_gone(h)}
            living = {o: h for o, h in living.items() if h.machine == this_machine() or h.expires > time.time()}
            found: dict[str, Holder] = {}
            for some in _slices(run_ids if living else (), _SEVERAL):
                leases = self._leases(some)
                found |= {run_id: living[owner] for run_id, owner in leases.items() if owner in living}
        return found

    def _living(self) -> dict[str, Holder]:
        """The coordinators that live; the others are forgotten, with their leases. Within a transaction to write."""
        owners = self._owners()
        dead = [h.owner for h in owners if h.owner != self.owner and self._is_dead(h)]
        self._forget(dead)
        return {h.owner: h for h in owners if h.owner not in dead}

    def _is_dead(self, holder: Holder) -> bool:
        if _is_gone(holder):
            return True
        if holder.machine == this_machine() and holder.started:
            return False
        beats, since = self._seen.get(holder.owner, (None, 0.0))
        if beats != holder.beats:
            self._seen[holder.owner] = (holder.beats, time.monotonic())
            return False
        return time.monotonic() - since > self._lease

    def _forget(self, owners: Iterable[str]) -> None:
        for owner in owners:
            self._db.execute("DELETE FROM leases WHERE owner = ?", (owner,))
            self._db.execute("DELETE FROM owners WHERE owner = ?", (owner,))

    def _owners(self) -> list[Holder]:
        query = "SELECT owner, host, machine, pid, started, beats, expires FROM owners"
        return [holder for row in self._db.execute(query) if (holder := _holder(row)) is not None]

    def _rows(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        query = f"SELECT run_id, sha256 FROM runs WHERE run_id IN ({marks(len(run_ids))})"
        return dict(self._db.execute(query, tuple(run_ids)))

    def _leases(self, run_ids: Sequence[str]) -> dict[str, str]:
        query = f"SELECT run_id, owner FROM leases WHERE run_id IN ({marks(len(run_ids))})"
        return dict(self._db.execute(query, tuple(run_ids)))


def _beat(db: Database, owner: str, lease: float, stop: threading.Event) -> None:
    """The life of the heartbeat: a connection of its own for each beat, since the coordinator's belongs to its thread."""
    while not stop.wait(lease / _BEATS):
        with (
            _BEATING,
            contextlib.suppress(sqlite3.Error),  # locked, or gone: the next beat tries again
            contextlib.closing(db.another(timeout=1.0)) as connection,
        ):
            wall = time.time()
            connection.execute(
                "UPDATE owners SET beats = beats + 1, heartbeat = ?, expires = ? WHERE owner = ?",
                (wall, wall + lease, owner),
            )


def _holder(row: Sequence[Any]) -> Holder | None:
    """None for a row that no coordinator wrote."""
    kinds = (str, str, str, int, str, int, float)
    fits = all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True))
    return Holder(*row) if fits and 0 < row[3] < 2**31 else None


def _is_gone(holder: Holder) -> bool:
    """Whether it was a process of this machine, and there is none any more."""
    if holder.machine != this_machine() or os.name != "posix":
        return False
    if holder.started:
        return _started(holder.pid) != holder.started
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is another user's
        return False
    return False


def _started(pid: int) -> str:
    """When a process started, on Linux in ticks since the machine did; '' for one that is gone, and where that is not told."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" or len(fields) < 19 else fields[18]


def this_machine() -> str:
    """This machine since it was started, and within it the set of processes that this one can see."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[i : i + size] for i in range(0, len(items), size))
