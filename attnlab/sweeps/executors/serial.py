"""Runs one after another: attnlab's own in this process, for debugging and for where no process can be started."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

from attnlab.interfaces import Executor
from attnlab.sweeps.executors.attempt import Execute, attempt, or_standard
from attnlab.sweeps.executors.messages import unpack
from attnlab.sweeps.executors.strangers import hooks_of_others, is_apart, noted
from attnlab.sweeps.run import Result, Run

__all__ = ["SerialExecutor"]


class SerialExecutor(Executor):
    """One run after another, in order and without limits; attnlab's own are done in this process.

    A crash in this process ends the sweep. Where the code of a run is not wholly attnlab's own, the run has a process that
    is forked for it (Linux) or started for it, so that nothing it changes there reaches another run; what it prints comes
    out on stderr. Where no process can be started it is done here, and a note of the run says so. What a run raises becomes
    its result, KeyboardInterrupt too; a Ctrl-C that was pressed is the user's.

    Parameters
    ----------
    execute : callable, Run -> Result, optional
        What does a run, in this process. Default: `attnlab.sweeps.execute.execute`.
    isolate : bool
        False does everything in this process, as a debugger wants it, and notes it with each run of others' code.

    Examples
    --------
    >>> from attnlab.sweeps.run import Result, Run
    >>> executor = SerialExecutor(execute=lambda run: Result("ok", facts={"seed": run.seed}))
    >>> executor.submit(Run.of({"seed": 7}))
    >>> [(result.status, result.facts["seed"]) for run, result in executor.as_completed()]
    [('ok', 7)]
    """

    name = "serial"

    def __init__(self, execute: Execute | None = None, isolate: bool = True) -> None:
        self.execute = execute
        self.isolate = isolate
        self._waiting: deque[Run] = deque()
        self._closed = False
        self._apart: Any = None  # a LocalExecutor, once one is needed

    def width(self) -> int:
        """One run at a time."""
        return 1

    def submit(self, run: Run) -> None:
        """Put a run in the queue; it is done when `as_completed` comes to it.

        Raises
        ------
        RuntimeError
            After `close`.
        """
        if self._closed:
            raise RuntimeError("this executor is closed: make a new one")
        self._waiting.append(run)

    def as_completed(self) -> Iterator[tuple[Run, Result]]:
        """Each submitted run with its result, in order."""
        while self._waiting:
            run = self._waiting.popleft()
            theirs = self.execute is None and (is_apart(run) or hooks_of_others())
            if theirs and self.isolate and _can_be_apart():
                yield run, self._done_apart(run)
            else:
                reply, _ = attempt(or_standard(self.execute), run, self.name)
                result = unpack(reply)
                yield run, noted(result) if theirs else result

    def _done_apart(self, run: Run) -> Result:
        if self._apart is None:
            from attnlab.sweeps.executors.local import LocalExecutor

            self._apart = LocalExecutor(jobs=1)
            self._apart.heard = _shown
        self._apart.coming = self._waiting[0] if self._waiting else None
        self._apart.submit(run)
        ((_, result),) = self._apart.as_completed()
        return dataclasses.replace(result, executor=self.name)

    def cancel(self, run: Run) -> None:
        """Forget a run that is waiting: it will yield nothing."""
        self._waiting = deque(r for r in self._waiting if r != run)

    def close(self) -> None:
        """Forget what is waiting; closing again does nothing."""
        self._waiting.clear()
        self._closed = True
        if self._apart is not None:
            self._apart.close()

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _can_be_apart() -> bool:
    """Whether a run can have a process to itself; where that executor cannot even be imported, it cannot."""
    try:
        from attnlab.sweeps.executors.local import LocalExecutor
    except ImportError:
        return False
    return not LocalExecutor.unavailable()


def _shown(printed: bytes) -> None:
    if sys.stderr is not None:
        sys.stderr.write(printed.decode("utf-8", "backslashreplace"))
        sys.stderr.flush()
