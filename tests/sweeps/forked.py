"""Coordinators for tests with many rounds: processes that are forked with attnlab already imported."""

import json
import os
import signal
import sqlite3
import sys
import time
import traceback
import warnings
from pathlib import Path

PATIENCE = 600.0  # seconds for anything: only a failure takes so long


class Forked:
    """A process with a session of its own that does something in a folder, and writes what it says to a file there."""

    def __init__(self, folder, do):
        self.said = Path(folder) / "said.txt"
        self.said.touch()
        self.returncode = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be(folder, do)

    def _be(self, folder, do):
        status = 70
        try:
            os.setsid()
            os.chdir(folder)
            out = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor in (1, 2):
                os.dup2(out, descriptor)
            sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
            sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            warnings.simplefilter("ignore")
            do()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def poll(self):
        """The exit status, or minus the signal; None while it goes on."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def ended(self):
        """Wait for its end; its exit status."""
        return until(lambda: self.poll() is not None, "the end of a coordinator") and self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)


def until(true, what):
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, f"{what}: not in {PATIENCE:.0f} s"
        time.sleep(0.02)
    return found


def rows(store):
    """{run_id: (status, numbers)} of a store, as another process sees it, without what a clock says."""
    if not Path(store).exists():
        return {}
    found = {}
    db = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=60)
    try:
        db.execute("BEGIN")
        for run_id, status in db.execute("SELECT run_id, status FROM runs").fetchall():
            found[run_id] = (status, [])
        for run_id, *measure in measures_in(db):
            if "second" not in measure[1]:
                found[run_id][1].append((*measure[:2], repr(measure[2])))
    except sqlite3.OperationalError:  # it is being made
        return {}
    finally:
        db.close()
    return found


def measures_in(db):
    """Every number of a store, as (run_id, test, metric, value), with None for NaN."""
    for run_id, measured, numbers in db.execute("SELECT run_id, measured, numbers FROM runs ORDER BY run_id"):
        names = [(test, metric) for test, metrics in json.loads(measured).items() for metric in metrics]
        yield from ((run_id, *name, value) for name, value in zip(names, json.loads(numbers), strict=True))


def integrity(store):
    """What SQLite says of a store."""
    db = sqlite3.connect(store)
    try:
        return db.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        db.close()


def descendants(pid):
    """The processes that a process has started, they too."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def is_running(pid):
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
