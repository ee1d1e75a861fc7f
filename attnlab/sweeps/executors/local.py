"""Runs on this machine, in supervised worker processes: a run that damages its process costs only that run."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt

from attnlab.errors import SettingError
from attnlab.interfaces import Executor
from attnlab.sweeps.executors.attempt import Execute, now, or_standard, readable_size
from attnlab.sweeps.executors.devices import Devices, asked_for
from attnlab.sweeps.executors.messages import unpack
from attnlab.sweeps.executors.quarantine import Quarantine
from attnlab.sweeps.executors.strangers import is_apart
from attnlab.sweeps.run import Result, Run

if TYPE_CHECKING:
    from attnlab.sweeps.executors.supervisor import Worker
    from attnlab.sweeps.executors.zygote import Zygote

__all__ = ["LocalExecutor"]

_AHEAD = 64  # runs that wait, of which a worker gets one that suits it
_LOOK = 0.1  # seconds between looks at the memory of workers

# Starting and stopping workers needs these modules, and names in modules; some platforms lack some of them.
_NEEDED = {
    "faulthandler": ("register",),
    "mmap": (),
    "multiprocessing.connection": ("wait",),
    "os": ("kill", "killpg", "setpgid"),
    "signal": ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "pthread_sigmask", "set_wakeup_fd", "setitimer"),
    "socket": ("socketpair",),
}
_NEEDED_ON_LINUX = {"ctypes": (), "os": ("fork",)}


class LocalExecutor(Executor):
    """Worker processes on this machine; a run that crashes, hangs or swells costs only itself.

    Each worker is one process with one pipe and does many runs; one that dies or is killed is replaced. A run may
    raise, exit, fault, or exceed its limits: it gets the status `failed`, `crashed`, `timeout` or `oom`, with the
    reason, and with the end of what it printed or the Python stack where it stood as traceback. When a worker dies of a
    signal, which somebody else may have sent, its run is tried again after all others, alone on a fresh worker; its last
    death is `crashed`. A component of somebody's that kills three workers in a row is no longer tried. What runs print is not
    shown, and what they start ends with them.
    A run that is cancelled yields nothing.

    Where the code of a run is not wholly attnlab's own, it has a worker to itself: a process that is forked for it from a
    clean one, and ends with it. So nothing that it changes in its process reaches another run.

    Parameters
    ----------
    jobs : int, optional
        The most workers at a time, >= 1. Default: as many as this process may use processors. Started when needed.
    time_limit : float, optional
        Seconds a run may take, > 0. Default: no limit.
    memory_limit : int, optional
        Bytes a run may add to the memory of its worker and of what it starts, > 0 (Linux only). Default: no limit.
    execute : callable, Run -> Result, optional
        What does a run. Default: `attnlab.sweeps.execute.execute`.
    retries : int
        How often a run is tried again whose worker died of a signal, >= 0.
    devices : int, optional
        GPUs that runs share: each has one run at a time, and a run on "cuda" gets a free one. Default: those that CUDA shows.

    Raises
    ------
    SettingError
        For a limit out of its range, or a memory limit where it cannot be kept. When the first run is submitted, where
        worker processes cannot be started: on Windows and in browsers, where the executor `serial` works.

    Notes
    -----
    Workers ignore Ctrl-C (the coordinator decides) and die with the coordinator, also when it is killed. On Linux they are
    forked from one process that carries out nothing (`zygote.py`), and so know the classes that a notebook registered
    before it started; elsewhere they are spawned.

    Examples
    --------
    >>> from attnlab.sweeps.run import Result, Run
    >>> with LocalExecutor(jobs=2, execute=lambda run: Result("ok", facts={"twice": 2 * run.seed})) as executor:
    ...     for seed in range(3):
    ...         executor.submit(Run.of({"seed": seed}))
    ...     sorted(result.facts["twice"] for run, result in executor.as_completed())
    [0, 2, 4]
    """

    name = "local"

    def __init__(
        self,
        jobs: Annotated[int, Ge(1)] | None = None,
        time_limit: Annotated[float, Gt(0)] | None = None,
        memory_limit: Annotated[int, Gt(0)] | None = None,
        execute: Execute | None = None,
        retries: Annotated[int, Ge(0)] = 1,
        devices: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        if retries < 0:
            raise SettingError(f"LocalExecutor: retries must be 0 or more; got {retries!r}")
        for setting, value, least in (
            ("jobs", jobs, "1"),
            ("time_limit", time_limit, ""),
            ("memory_limit", memory_limit, ""),
        ):
            if value is not None and not value > 0:
                allowed = f"{least} or more" if least else "greater than 0"
                raise SettingError(f"LocalExecutor: {setting} must be {allowed}, or None; got {value!r}")
        if memory_limit is not None and (sys.platform != "linux" or _lacking({"resource": ("setrlimit",)})):
            raise SettingError(
                "LocalExecutor: memory_limit can be kept on Linux only, with Python's module resource; leave it out here"
            )
        self.jobs = jobs
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self.execute = execute
        self.retries = retries
        self.devices = devices
        self._gpus = Devices(devices)
        self.zygote_of: Callable[[], Zygote] | None = None  # gives the process that workers are forked from (Linux)
        self.heard: Callable[[bytes], None] | None = None  # takes what runs print; not shown otherwise
        self.coming: Run | None = None  # will perhaps be submitted next
        self._waiting: deque[Run] = deque()
        self._again: deque[tuple[Run, int]] = deque()  # runs whose worker died of a signal, and which attempt is next
        self._quarantine = Quarantine()
        self._finished: deque[tuple[Run, Result]] = deque()
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []  # killed, and not yet seen to be gone
        self._zygotes: list[Zygote] = []  # its own: at most one that lives
        self._end_workers = weakref.finalize(self, _end_all, (self._workers, self._leaving, self._zygotes), os.getpid())

    @classmethod
    def unavailable(cls) -> str:
        """The names of what workers need and this platform lacks; empty if workers can be started."""
        lacking = _lacking(_NEEDED) + (_lacking(_NEEDED_ON_LINUX) if sys.platform == "linux" else [])
        if sys.platform in ("emscripten", "wasi"):
            lacking.insert(0, "processes")
        return (
            f"worker processes need what this platform ({sys.platform}) lacks: {', '.join(lacking)}" if lacking else ""
        )

    # -- the interface ------------------------------------------------------------------------------------------------
    def width(self) -> int:
        """As many as there may be workers."""
        return self.jobs or _n_processors()

    def submit(self, run: Run) -> None:
        """Put a run in the queue; it starts when `as_completed` is iterated and a worker is free.

        Raises
        ------
        RuntimeError
            After `close`.
        SettingError
            Where workers cannot be started.
        """
        if lacks := self.unavailable():
            raise SettingError(f"the executor 'local' cannot be used here: {lacks}; use 'serial'")
        if not self._end_workers.alive:
            raise RuntimeError("this executor is closed: make a new one")
        self._waiting.append(run)

    def as_completed(self) -> Iterator[tuple[Run, Result]]:
        """Each submitted run with its result, as they end; over when nothing waits or runs."""
        while True:
            while self._finished:
                yield self._finished.popleft()
            if not (self._waiting or self._again or self._busy()):
                self._see_off(0 if self.coming is None else self.width())
                return
            self._dispatch()
            if not self._finished:
                self._attend()

    def cancel(self, run: Run) -> None:
        """Forget a run: it will yield nothing. One that is running is killed."""
        self._waiting = deque(r for r in self._waiting if r != run)
        self._again = deque(pair for pair in self._again if pair[0] != run)
        self._finished = deque(pair for pair in self._finished if pair[0] != run)
        for worker in [w for w in self._workers if w.run == run]:
            self._retire(worker)

    def close(self) -> None:
        """End all workers at once and forget what was waiting; closing again does nothing."""
        self._waiting.clear()
        self._again.clear()
        self._finished.clear()
        self._end_workers()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- giving out ---------------------------------------------------------------------------------------------------
    def _busy(self) -> list[Worker]:
        return [w for w in self._workers if w.run is not None]

    def _dispatch(self) -> None:
        if any(w.attempt > 1 for w in self._busy()):
            return  # a second attempt is alone
        while self._waiting and self._gpus.bring(self._waiting, self._workers):
            if self._is_refused(self._waiting[0]):
                self._waiting.popleft()
                continue
            apart = self._is_apart(self._waiting[0])
            worker = self._free_worker(apart)
            if worker is None:
                break
            if self.execute is None and not apart:
                self._prefer(worker)
                if self._is_refused(self._waiting[0]):
                    self._waiting.popleft()
                    continue
            if worker.give(self._waiting[0], device=self._gpus.of(self._waiting[0], self._workers, worker.device)):
                self._waiting.popleft()
            else:
                self._retire(worker)
        self._have_one_ready()
        while self._again and self._is_refused(self._again[0][0]):
            self._again.popleft()
        if self._again and not self._busy():
            for worker in list(self._workers):
                self._retire(worker)
            if self._new_worker().give(*self._again[0], device=self._gpus.of(self._again[0][0], ())):
                self._again.popleft()

    def _prefer(self, worker: Worker) -> None:
        """Put first a run whose examples a worker has drawn before, or one whose examples no other worker has."""
        others = {w.examples for w in self._busy()}
        if asked_for(self._waiting[0]) is not None:  # it has been put first because its GPU is free
            return
        ahead = [r for r in itertools.islice(self._waiting, _AHEAD) if not self._is_apart(r) and asked_for(r) is None]
        same = (run for run in ahead if run.examples == worker.examples)
        first = next(same, next((run for run in ahead if run.examples not in others), None))
        if first is not None and first is not self._waiting[0]:
            self._waiting.remove(first)
            self._waiting.appendleft(first)

    def _is_refused(self, run: Run) -> bool:
        """Whether a run is not tried, because of what others with its components did."""
        if not (why := self._quarantine.refuses(run)):
            return False
        self._finished.append((run, Result("crashed", why, executor=self.name, started_at=now(), attempts=0)))
        return True

    def _is_apart(self, run: Run) -> bool:
        """Whether a run has a worker to itself: with the standard way to do a run, one with code of others."""
        return self.execute is None and is_apart(run)

    def _free_worker(self, apart: bool) -> Worker | None:
        jobs = self.width()
        if len(self._busy()) >= jobs:
            return None
        for worker in self._workers:
            if worker.run is None and not (apart and worker.used):
                return worker
        if len(self._workers) >= 2 * jobs:  # as many again may wait for runs that share a worker
            return None
        try:
            return self._new_worker()
        except OSError:  # no more processes or files to be had: go on with the workers there are
            if not self._busy():
                raise
            return None

    def _have_one_ready(self) -> None:
        """Start the process of a run that has one to itself while others are at work, so that it need not wait for that."""
        coming = self._waiting[0] if self._waiting else self.coming
        if coming is None or not self._busy() or not self._is_apart(coming) or not all(w.used for w in self._workers):
            return
        with contextlib.suppress(OSError):  # none is to be had, or the run will say so
            self._new_worker()

    def _new_worker(self) -> Worker:
        from attnlab.sweeps.executors.supervisor import Worker

        execute = or_standard(self.execute)  # imported here, so that forked workers find it loaded
        worker = Worker(self.heard)
        self._workers.append(worker)  # before it starts: whatever interrupts, `close` finds it
        try:
            coming = (self._waiting[0] if self._waiting else self.coming) if self.execute is None else None
            apart = coming is not None and self._is_apart(coming)
            worker.start(execute, self.memory_limit, self.time_limit, self._zygote(), coming, apart)
        except BaseException:  # an interruption, too: nobody uses one that has half started
            self._retire(worker)
            raise
        return worker

    def _zygote(self) -> Zygote | None:
        """The process that workers are forked from: that of the sweep, or one of its own; None where they are spawned."""
        if sys.platform != "linux":
            return None
        from attnlab.sweeps.executors.zygote import Zygote, current

        if self.zygote_of is not None:
            return self.zygote_of()
        found = current() if self.execute is None else None
        if found is None:
            self._zygotes[:] = [z for z in self._zygotes if z.alive] or [Zygote(self.execute)]
            found = self._zygotes[0]
        return found

    def _retire(self, worker: Worker) -> None:
        worker.end()
        worker.run = None
        self._workers.remove(worker)

    def _dismiss(self, worker: Worker) -> None:
        """Kill a worker, and what it started, without waiting until the system has taken its memory back."""
        self._leaving.append(worker)  # before it is killed: whatever interrupts, `close` finds it
        self._workers.remove(worker)
        worker.kill()
        self._see_off(self.width())

    def _see_off(self, most: int) -> None:
        """Forget those that are gone, and wait until at most so many of those that were killed are left."""
        for worker in list(self._leaving):
            if len(self._leaving) > most or worker.is_over():
                worker.end()
                self._leaving.remove(worker)

    # -- taking in ----------------------------------------------------------------------------------------------------
    def _attend(self) -> None:
        """Wait for an answer, output, a death or a deadline, and see to it."""
        from multiprocessing.connection import wait

        source_of = {source: worker for worker in self._workers for source in worker.sources()}
        ready = wait(list(source_of), self._until_deadline())
        for worker in dict.fromkeys(source_of[source] for source in ready):
            code = worker.exit_code()  # asked before listening, so that its last answer is heard
            for message in worker.listen():
                if worker in self._workers:  # what else a worker says, whose answer ended it, is no answer
                    self._hear(worker, message)
            if code is not None and worker in self._workers:
                self._bury(worker, code)
        self._stop([(worker, result) for worker in self._busy() if (result := self._exceeded(worker)) is not None])

    def _until_deadline(self) -> float | None:
        waits = [_LOOK] if self.memory_limit is not None and self._busy() else []
        if self.time_limit is not None:
            waits += [w.began + self.time_limit - time.monotonic() for w in self._busy() if w.began is not None]
        return max(0.0, min(waits)) if waits else None

    def _hear(self, worker: Worker, message: bytes) -> None:
        if not message:
            worker.is_ready()
            return
        try:
            result = unpack(message[1:])
        except (TypeError, ValueError) as error:
            result = Result("failed", reason=f"its worker sent what is not a result: {error}")
        if worker.run is not None:
            self._quarantine.lived(worker.run)
        apart = worker.run is not None and self._is_apart(worker.run)
        self._finish(worker, result)
        if apart:
            self._dismiss(worker)
        elif message[0]:
            self._retire(worker)

    def _exceeded(self, worker: Worker) -> Result | None:
        """What becomes of a run that is beyond its limits."""
        elapsed = 0.0 if worker.began is None else time.monotonic() - worker.began
        if self.time_limit is not None and elapsed >= self.time_limit:
            return Result("timeout", f"exceeded its time limit of {self.time_limit:g} s")
        if self.memory_limit is not None and (growth := worker.growth()) > self.memory_limit:
            limit = readable_size(self.memory_limit)
            return Result("oom", f"exceeded its memory limit of {limit}: it took {readable_size(growth)}")
        return None

    def _stop(self, exceeded: Sequence[tuple[Worker, Result]]) -> None:
        """End workers whose runs are beyond their limits, all at once: each may say where it is, and nobody waits for another."""
        if not exceeded:
            return
        from attnlab.sweeps.executors.supervisor import TO_ANSWER

        for worker, _ in exceeded:
            worker.ask()
        until = time.monotonic() + TO_ANSWER
        for worker, result in exceeded:
            self._finish(worker, dataclasses.replace(result, traceback=worker.whereabouts(until)))
        for worker, _ in exceeded:
            worker.kill()
        for worker, _ in exceeded:
            self._retire(worker)

    def _bury(self, worker: Worker, code: int) -> None:
        """A worker has died by itself, or somebody else has killed it."""
        run, attempt = worker.run, worker.attempt
        if run is not None:
            self._quarantine.died(run)
        if run is not None and code < 0 and attempt <= self.retries:
            self._again.append((run, attempt + 1))
        elif run is not None:
            from attnlab.sweeps.executors.supervisor import epitaph

            self._finish(worker, Result("crashed", reason=epitaph(code, attempt), traceback=worker.last_words()))
        self._retire(worker)

    def _finish(self, worker: Worker, result: Result) -> None:
        run, worker.run = worker.run, None
        if run is None:  # it was cancelled, or answered twice
            return
        known: dict[str, Any] = {"attempts": worker.attempt, "executor": self.name}
        if not result.started_at:
            seconds = 0.0 if worker.began is None else time.monotonic() - worker.began
            known |= {"started_at": worker.started_at or now(), "seconds": seconds}
        self._finished.append((run, dataclasses.replace(result, **known)))


def _end_all(kinds: Sequence[list[Any]], owner: int) -> None:
    """End workers, and then the zygotes that they were forked from."""
    if os.getpid() == owner:  # not in a fork
        for living in kinds:
            while living:
                living[-1].end()
                living.pop()


def _lacking(needed: Mapping[str, Sequence[str]]) -> list[str]:
    """The modules, and names in modules, that this platform lacks."""
    lacking = []
    for module, names in needed.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            lacking.append(module)
            continue
        lacking += [f"{module}.{name}" for name in names if not hasattr(found, name)]
    return lacking


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
