"""A worker as the coordinator sees it: a process, a socket, its last output, and its run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from attnlab.plugins import active_options
from attnlab.sweeps.executors import kin
from attnlab.sweeps.executors.attempt import LARGEST_RESULT, Execute, now
from attnlab.sweeps.executors.messages import to_json
from attnlab.sweeps.executors.worker import ends, frame, serve
from attnlab.sweeps.run import Run

if TYPE_CHECKING:
    from attnlab.sweeps.executors.zygote import Zygote

__all__ = ["TO_ANSWER", "Worker", "epitaph"]

_LENGTH = struct.Struct("!Q")
_NONSENSE = b"\1 not a result"  # an answer that ends its worker
_CHUNK = 2**18
_KEPT_OUTPUT = 16_000  # bytes: the end of what a run printed, and room for a stack of a hundred frames
_BELOW_THE_RUN = os.path.join("executors", "attempt.py")  # where a stack, innermost first, leaves the run
TO_ANSWER = 0.8  # seconds in which a worker must answer with its stack
_PATIENCE = 5.0  # seconds for things that usually take milliseconds: taking a message, dying of SIGKILL
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")


class Worker:
    """One process, one pipe, no lock shared with anybody.

    Attributes
    ----------
    run : Run or None
        What it is doing; None when idle.
    used : bool
        Whether it was ever given a run.
    examples : str
        Which examples its last run had (`Run.examples`).
    attempt : int
        1, or 2 when the run had lost an earlier worker to a kill from outside.
    started_at : str
        When the run was given to it, ISO 8601.
    began : float or None
        `time.monotonic()` when its clock started: when it was given, or when the process was ready if that was later.
    """

    def __init__(self, heard: Callable[[bytes], None] | None = None) -> None:
        self._heard = heard
        self.run: Run | None = None
        self.attempt = 1
        self.started_at = ""
        self.began: float | None = None
        self.ready = False
        self.used = False
        self.examples = ""
        self.device: int | None = None  # the number of the GPU that its run has, or its last run on one had
        self._process: Any = None
        self._channel: socket.socket | None = None
        self._output: socket.socket | None = None
        self._pidfd: int | None = None
        self._inbox = bytearray()
        self._printed = bytearray()
        self._resident = self._shared = 0  # bytes: when its run began; of pages that it has in common with others
        self._sharers = 1.0  # how many processes have these pages
        self._limited = False

    # -- life ---------------------------------------------------------------------------------------------------------
    def start(
        self,
        execute: Execute,
        memory_limit: int | None,
        time_limit: float | None,
        zygote: Zygote | None,
        run: Run | None = None,
        apart: bool = False,
    ) -> None:
        """Start the process: forked from a zygote, so that classes registered in a notebook are there; else spawned.

        `run` is what it will perhaps do, and `apart` whether it will do nothing else.
        """
        self._limited = memory_limit is not None
        self._channel, theirs = socket.socketpair()
        self._output, their_output = socket.socketpair()
        for end in (self._channel, self._output):
            end.setblocking(False)
        ends.update(end.fileno() for end in (self._channel, self._output))
        try:
            if zygote is not None:
                self._process = zygote.fork(
                    theirs.fileno(), their_output.fileno(), memory_limit, time_limit, run, apart
                )
            else:
                self._process = _spawned(theirs, their_output, execute, memory_limit, time_limit)
        finally:
            theirs.close()
            their_output.close()
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or a process already gone: its sentinel will tell
                self._pidfd = os.pidfd_open(self._process.pid)

    def end(self) -> None:
        """Kill the process and what it started, and forget it; again does nothing."""
        self.kill()
        process, self._process = self._process, None
        if process is not None and process.pid is not None:
            if self._pidfd is not None:
                wait([self._pidfd], _PATIENCE)
            process.join(_PATIENCE)
        for end in (self._channel, self._output):
            if end is not None:
                ends.discard(end.fileno())
                end.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._channel = self._output = self._pidfd = None

    def kill(self) -> None:
        """Kill the process and all that it started, without waiting for its end."""
        if self._process is not None and self._process.pid is not None:
            if not self.is_over() and kin.below(self._process.pid):
                kin.end_descendants(self._process.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left in the group
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()

    # -- listening ----------------------------------------------------------------------------------------------------
    def sources(self) -> list[Any]:
        """What to wait for: its answers, its output, its death (a pidfd: a sentinel stays silent if a run forked)."""
        death = self._process.sentinel if self._pidfd is None else self._pidfd
        return [s for s in (self._channel, self._output, death) if s is not None]

    def is_over(self) -> bool:
        """Whether the process has ended. Where the system tells by a pidfd, its parent is not asked."""
        if self._process is None:
            return True
        if self._pidfd is None:
            return self._process.exitcode is not None
        death = select.poll()
        death.register(self._pidfd, select.POLLIN)
        return bool(death.poll(0))

    def exit_code(self) -> int | None:
        """None while it lives; minus the signal that killed it."""
        code: int | None = self._process.exitcode if self.is_over() else None
        return code

    def listen(self) -> list[bytes]:
        """The messages that have arrived whole, without waiting for more."""
        self._hear_output()
        while self._channel is not None:
            try:
                chunk = self._channel.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:  # the run closed it, or the process is gone: its death or its time limit will tell
                ends.discard(self._channel.fileno())
                self._channel.close()
                self._channel = None
            self._inbox += chunk
            if len(self._inbox) > 2 * LARGEST_RESULT:  # no worker says so much: a run writes where it should not
                break
        messages = []
        while len(self._inbox) >= _LENGTH.size:
            length = _LENGTH.unpack_from(self._inbox)[0]
            if length > 2 * LARGEST_RESULT:
                self._inbox.clear()
                messages.append(_NONSENSE)
                break
            end = _LENGTH.size + length
            if len(self._inbox) < end:
                break
            messages.append(bytes(self._inbox[_LENGTH.size : end]))
            del self._inbox[:end]
        return messages

    def _hear_output(self) -> None:
        for _ in range(16):  # and no more at a time: a run may print without end
            if self._output is None:
                return
            try:
                chunk = self._output.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                ends.discard(self._output.fileno())
                self._output.close()
                self._output = None
            if self._heard is not None:
                self._heard(chunk)
            self._printed = (self._printed + chunk)[-_KEPT_OUTPUT:]

    def last_words(self) -> str:
        """The end of what the run printed, or the stack of its crash."""
        self._hear_output()
        lines = self._printed.decode("utf-8", "replace").strip().splitlines()
        ours = (i for i, line in enumerate(lines) if _BELOW_THE_RUN in line and line.endswith("in attempt"))
        return "\n".join(lines[: next(ours, None)])

    def ask(self) -> None:
        """Ask where the run is now; `whereabouts` hears the answer."""
        if self.ready and self._output is not None and self._process.is_alive():
            self._hear_output()
            os.kill(self._process.pid, signal.SIGUSR1)

    def whereabouts(self, until: float) -> str:
        """`last_words`, with the Python line where the run is, if it tells before a time of `time.monotonic()`."""
        while self.ready and self._output is not None and _BELOW_THE_RUN.encode() not in self._printed:
            if not self._process.is_alive() or not wait([self._output], max(0.0, until - time.monotonic())):
                break
            self._hear_output()
        return self.last_words()

    # -- work ---------------------------------------------------------------------------------------------------------
    def give(self, run: Run, attempt: int = 1, device: int | None = None) -> bool:
        """Hand it a run, and the number of its GPU if it has one; False if it cannot take it, being dead."""
        if self._channel is None:
            return False
        self._hear_output()
        self._printed.clear()
        self.run, self.attempt, self.started_at, self.used = run, attempt, now(), True
        self.examples, self.device = run.examples, device
        self._start_clock()
        try:
            self._channel.settimeout(_PATIENCE)
            gpu = "" if device is None else str(device)
            self._channel.sendall(
                frame("\n".join((run.run_id, to_json(run.metrics), run.canonical, gpu)).encode("ascii"))
            )
            self._channel.setblocking(False)
        except OSError:
            self.run = None
            return False
        return True

    def is_ready(self) -> None:
        """It has said that it is ready: the clock of its first run starts here."""
        if self.ready:  # a run cannot say it again, and start its clock anew
            return
        self.ready = True
        if self._limited:
            self._shared, self._sharers = kin.shared(self._process.pid)
        self._start_clock()

    def _start_clock(self) -> None:
        self.began = time.monotonic() if self.ready else None
        self._resident = kin.resident(self._process.pid) if self.ready else 0

    def growth(self) -> int:
        """Bytes of memory that the run has added, in all its processes (Linux; elsewhere 0). Pages that these share count once."""
        if self.began is None:
            return 0
        pid = self._process.pid
        if not (others := kin.below(pid)):
            return kin.resident(pid) - self._resident
        n = len(others)  # which share these pages, too
        before = self._resident - self._shared + self._shared * (n + 1) / (n + self._sharers)
        return round(sum(kin.proportional(one) for one in (pid, *others)) - before)


def epitaph(code: int, attempt: int) -> str:
    """Of what a process died, by its exit code, at the n-th attempt at a run."""
    if code >= 0:
        return f"its process exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    often = "" if attempt == 1 else f", {attempt} times"
    if name in _FROM_OUTSIDE:
        perhaps = ": perhaps the machine ran out of memory" if name == "SIGKILL" else ""
        return f"its process was killed by {name} from outside{often}{perhaps}"
    return f"its process was killed by {name}{often}"


def _spawned(
    channel: socket.socket,
    output: socket.socket,
    execute: Execute,
    memory_limit: int | None,
    time_limit: float | None,
) -> Any:
    """A worker in a new interpreter, which loads the plugins that this process has."""
    context = multiprocessing.get_context("spawn")
    arguments: tuple[Any, ...] = (channel, output, [], os.getpid(), execute, memory_limit, time_limit, active_options())
    process = context.Process(target=serve, args=arguments, daemon=True, name="attnlab worker")
    process.start()
    return process
