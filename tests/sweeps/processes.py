"""A real cluster for tests: a scheduler and workers, each a process as a user starts it, and what one sees of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 200.0  # seconds for anything: only a failure takes so long
SETTINGS = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}


def until(true, what):
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, f"{what}: not in {PATIENCE:.0f} s"
        time.sleep(0.02)
    return found


class Processes:
    """A scheduler and workers, which end with the test."""

    def __init__(self, folder, *options, **environment):
        self.folder = Path(folder)
        self.file = self.folder / "scheduler.json"
        self.started = []
        self.options, self.environment = options, environment
        self.scheduler = self.start_scheduler()

    def _start(self, *command, before=(), **environment):
        log = (self.folder / f"{len(self.started)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **SETTINGS, **environment},
                cwd=self.folder,
            )
        self.started.append(process)
        return process

    def start_scheduler(self, port=0):
        self.file.unlink(missing_ok=True)
        options = ("--port", str(port), "--no-dashboard", "--scheduler-file", str(self.file), *self.options)
        process = self._start("distributed.cli.dask_scheduler", *options, **self.environment)
        until(lambda: process.poll() is not None or self._address(), "a scheduler")
        assert process.poll() is None, "the scheduler has ended"
        return process

    def _address(self):
        try:
            return json.loads(self.file.read_text())["address"]
        except (OSError, ValueError):
            return None

    @property
    def address(self):
        return self._address()

    def start_worker(self, before=(), threads=1, options=(), **environment):
        asked = (
            "--scheduler-file",
            str(self.file),
            "--nthreads",
            str(threads),
            "--no-nanny",
            "--no-dashboard",
            *options,
        )
        return self._start("distributed.cli.dask_worker", *asked, before=before, **environment)

    def end(self):
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def said(self, process):
        return (self.folder / f"{self.started.index(process)}.log").read_text(errors="replace")


class Sweep:
    """`attnlab sweep` as a process of its own."""

    def __init__(self, folder, *arguments, before=(), **environment):
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "attnlab", "sweep", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def ended(self):
        """(exit status, stdout, stderr)"""
        out, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, said

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
