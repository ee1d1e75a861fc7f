"""Runs in this process, one after another: for debugging, and for where no process can be started."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from attnlab.interfaces import Executor
from attnlab.sweeps.executors.attempt import Execute, attempt, or_standard
from attnlab.sweeps.executors.messages import unpack
from attnlab.sweeps.run import Result, Run

__all__ = ["SerialExecutor"]


class SerialExecutor(Executor):
    """In this process, in order; no limits, and a crash of a run is a crash of the sweep.

    What a run raises becomes its result, except KeyboardInterrupt, which is the user's.

    Parameters
    ----------
    execute : callable, Run -> Result, optional
        What does a run. Default: `attnlab.sweeps.execute.execute`.

    Examples
    --------
    >>> from attnlab.sweeps.run import Result, Run
    >>> executor = SerialExecutor(execute=lambda run: Result("ok", facts={"seed": run.seed}))
    >>> executor.submit(Run.of({"seed": 7}))
    >>> [(result.status, result.facts["seed"]) for run, result in executor.as_completed()]
    [('ok', 7)]
    """

    name = "serial"

    def __init__(self, execute: Execute | None = None) -> None:
        self.execute = execute
        self._waiting: deque[Run] = deque()
        self._closed = False

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
        execute = or_standard(self.execute)
        while self._waiting:
            run = self._waiting.popleft()
            reply, _ = attempt(execute, run, self.name)
            yield run, unpack(reply)

    def cancel(self, run: Run) -> None:
        """Forget a run that is waiting: it will yield nothing."""
        self._waiting = deque(r for r in self._waiting if r != run)

    def close(self) -> None:
        """Forget what is waiting; closing again does nothing."""
        self._waiting.clear()
        self._closed = True

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
