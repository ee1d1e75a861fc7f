"""The clean process from which workers are forked. It carries out no run of a sweep, touches no accelerator, and has one thread.

It is started once plugins are loaded, and before a hook or a run of somebody else is called. So whatever runs and hooks
change in their processes, the next worker begins as the first did. Messages are JSON in packets, one answer to each.
This file is loaded where processes can be forked (Linux), and nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from attnlab.errors import message_of
from attnlab.guard import wait_for_children
from attnlab.process import claim
from attnlab.sweeps.executors import kin
from attnlab.sweeps.executors.attempt import Execute, or_standard
from attnlab.sweeps.executors.worker import ends, keep_freed_memory, serve
from attnlab.sweeps.run import Run
from attnlab.threads import one_thread

__all__ = ["Forked", "Zygote", "current", "main", "shared"]

_ANSWERS = 300.0  # seconds in which it must answer what takes milliseconds, or seconds in a new interpreter
_LOOK = 0.5  # seconds after which it is told to go on, if it was stopped
_PACKET = 2**16
_COMPONENTS = 100  # in one packet
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from attnlab.sweeps.executors.zygote import main; main(*sys.argv[2:])"
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # as in every run


class Zygote:
    """A process that forks others when it is asked.

    Parameters
    ----------
    execute : callable, Run -> Result, optional
        What its workers do with a run. Default: `attnlab.sweeps.execute.execute`.
    options : mapping, optional
        Start a new interpreter that loads the plugins of these options, and not a fork of this process, which may have
        threads.

    Raises
    ------
    OSError
        When no process can be had.
    """

    def __init__(self, execute: Execute | None = None, options: Mapping[str, Any] | None = None) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._owner = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._popen: subprocess.Popen[bytes] | None = None
        try:
            self.pid = self._fork(theirs, execute) if options is None else self._execute(theirs, options)
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()
        ends.add(self._control.fileno())
        self._control.settimeout(_LOOK)
        self.alive = True

    def _fork(self, theirs: socket.socket, execute: Execute | None) -> int:
        execute = or_standard(execute)  # imported here, so that workers find it loaded
        from attnlab.sweeps.execute import threads

        coordinator = os.getpid()
        with (
            one_thread(threads()),
            _no_signals(),
            warnings.catch_warnings(),
        ):  # Python 3.12 warns where there are threads
            warnings.filterwarnings("ignore", ".*use of fork\\(\\) may lead to deadlocks", DeprecationWarning)
            pid = os.fork()
            if pid == 0:
                _never_returning(_life, theirs, self._control, coordinator, execute)
        return pid

    def _execute(self, theirs: socket.socket, options: Mapping[str, Any]) -> int:
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(os.getpid()), json.dumps(options)]
        self._popen = subprocess.Popen(
            [sys.executable, "-c", _BOOT, *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,  # a Ctrl-C at the terminal does not reach it, not even while it imports
            env={**dict.fromkeys(_ONE_THREAD, "1"), **os.environ},
        )
        return self._popen.pid

    def fork(
        self,
        channel: int,
        output: int,
        memory_limit: int | None,
        time_limit: float | None,
        run: Run | None = None,
        apart: bool = False,
    ) -> Forked:
        """A new worker, which answers on the socket `channel` and prints to the socket `output`.

        `run` is what it will do, where that is known: what all runs like it look up is then found out once. `apart` says that
        it will do that alone, and so there will be many: the zygote makes it cheap to fork first.

        Raises
        ------
        OSError
            When it cannot be had.
        """
        canonical = run.canonical if run is not None and len(run.canonical) < _PACKET // 2 else None
        order = {"fork": [memory_limit, time_limit], "run": canonical, "apart": apart}
        answer = self._ask(order, [channel, output])
        if "error" in answer:
            raise OSError(*answer["error"])
        return Forked(self, answer["pid"])

    def warm(self, run: Run) -> None:
        """Compile what a run calls, so that workers that are forked later have it.

        Raises
        ------
        OSError
            When it is gone.
        """
        if len(run.canonical) < _PACKET // 2:
            self._ask({"warm": run.canonical})

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a process that it forked, which is then forgotten; None while that lives."""
        try:
            return self._ask({"reap": pid}).get("code")
        except OSError:
            return -signal.SIGKILL  # it is gone, and what it forked went with it

    def described(self, components: Sequence[str]) -> dict[str, str]:
        """What it has imported: versions, and the fingerprints of some components (`agreement.described`).

        Raises
        ------
        OSError
            When it cannot say.
        """
        found: dict[str, str] = {}
        for i in range(0, max(1, len(components)), _COMPONENTS):
            answer = self._ask({"describe": [*components[i : i + _COMPONENTS]]})
            if "refused" in answer:
                raise OSError(answer["refused"])
            found |= answer["described"]
        return found

    def _ask(self, order: dict[str, Any], descriptors: list[int] | None = None) -> dict[str, Any]:
        with self._lock:
            if not self.alive:
                raise OSError("the process that workers are forked from is gone")
            self._asked += 1
            try:
                message = json.dumps({**order, "number": self._asked}).encode("ascii")
                socket.send_fds(self._control, [message], descriptors or [])
                while True:
                    heard = self._heard()
                    if not heard:
                        raise ConnectionResetError("the process that workers are forked from is gone")
                    answer: dict[str, Any] = json.loads(heard)
                    if answer["number"] == self._asked:  # and not that of a question that was interrupted
                        return answer
            except OSError:
                self._forget()
                raise

    def _heard(self) -> bytes:
        end = time.monotonic() + _ANSWERS
        while True:
            try:
                return self._control.recv(_PACKET)
            except TimeoutError:
                if time.monotonic() > end:
                    raise
                with contextlib.suppress(ProcessLookupError):  # a run may have stopped it
                    os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """End it, and with it what it forked; again does nothing."""
        if os.getpid() == self._owner and self.alive:
            self._forget()

    def _forget(self) -> None:
        self.alive = False
        ends.discard(self._control.fileno())
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            self._popen.wait() if self._popen is not None else os.waitpid(self.pid, 0)


class Forked:
    """A process that a zygote forked, with what `multiprocessing.Process` offers to those who watch it."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._code: int | None = None

    @property
    def exitcode(self) -> int | None:
        """None while it lives; minus the signal that killed it."""
        if self._code is None:
            self._code = self._zygote.exit_code(self.pid)
        return self._code

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.exitcode is None

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        end = time.monotonic() + timeout
        wait = 0.0002
        while self.exitcode is None and time.monotonic() < end:
            time.sleep(wait)
            wait = min(2 * wait, 0.02)


# -- one for all the executors of a sweep -----------------------------------------------------------------------------
_current: list[Zygote] = []


def current() -> Zygote | None:
    """That of the sweep that goes on in this process; None where there is none, or it is dead."""
    return _current[-1] if _current and _current[-1].alive and _current[-1]._owner == os.getpid() else None


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Within, executors take their workers from one zygote, that of the process as it is now."""
    zygote = Zygote()
    _current.append(zygote)
    try:
        yield
    finally:
        _current[:] = [one for one in _current if one is not zygote]
        zygote.end()


# -- its inside -------------------------------------------------------------------------------------------------------
def main(control: str, coordinator: str, options: str) -> None:
    """The life of a zygote in a new interpreter."""
    claim()
    from attnlab.plugins import configure
    from attnlab.registry import KINDS, entries
    from attnlab.sweeps.execute import threads

    configure(**json.loads(options))
    for kind in KINDS:
        entries(kind)
    threads().limit(limits=1)
    _never_returning(_life, socket.socket(fileno=int(control)), None, int(coordinator), or_standard(None))


def _never_returning(function: Callable[..., Any], *args: Any) -> None:
    """Call, and leave the process whatever happens: nothing of the caller's is done twice."""
    try:
        function(*args)
    finally:
        os._exit(os.EX_SOFTWARE)


def _life(control: socket.socket, other: socket.socket | None, coordinator: int, execute: Execute) -> None:
    """Fork what is asked for until the coordinator closes its end, or dies."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wait_for_children()
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    kin.die_with_parent()
    if os.getppid() != coordinator:  # it died before the line above
        os._exit(os.EX_OK)
    if other is not None:
        other.close()
    for descriptor in ends - {control.fileno()}:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _shield({control.fileno()})
    control.settimeout(None)
    known: set[str] = set()
    workers: set[int] = set()
    kin.adopt_orphans()  # what a worker started, and left behind by dying
    keep_freed_memory()  # as all that it forks do
    gc.freeze()  # what is here stays here, and no child has to look through it
    from attnlab.sweeps.execute import look_up

    is_prepared = False
    while True:
        heard, descriptors, _, _ = socket.recv_fds(control, _PACKET, 2)
        if not heard:
            os._exit(os.EX_OK)
        order = json.loads(heard)
        if "fork" in order:
            run = None if order["run"] is None else Run(order["run"])
            if run is not None and run.but_the_seed not in known:
                known.add(run.but_the_seed)
                look_up(run)
            if order["apart"] and not is_prepared:
                from attnlab.sweeps.executors.rehearsal import prepare

                prepare()
                is_prepared = True
            answer = _forked(control, descriptors, execute, order["apart"], *order["fork"])
            workers.update({answer["pid"]} if "pid" in answer else ())
        elif "warm" in order:
            from attnlab.sweeps.executors.compiling import warm

            warm(Run(order["warm"]))
            gc.freeze()
            answer = {}
        elif "describe" in order:
            answer = _described(order["describe"])
        else:
            answer = _reaped(order["reap"])
            if answer["code"] is not None:
                workers.discard(order["reap"])
                kin.end_strays(workers)
        control.send(json.dumps({**answer, "number": order["number"]}).encode("ascii"))


def _shield(but: Collection[int]) -> None:
    """Put an empty file in the place of each pipe, each socket and each file that can be written to, beyond the streams.

    They are the coordinator's: no run writes to them, and none keeps them open. A file that a plugin reads stays.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor <= 2 or descriptor == nothing or descriptor in but:
            continue
        with contextlib.suppress(OSError):  # the folder that was listed
            mode = os.fstat(descriptor).st_mode
            reads = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            if not (stat.S_ISCHR(mode) or (reads and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)))):
                os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _forked(
    control: socket.socket,
    descriptors: list[int],
    execute: Execute,
    apart: bool,
    memory_limit: int | None,
    time_limit: float | None,
) -> dict[str, Any]:
    channel, output = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    me = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        return {"error": [error.errno, error.strerror]}
    if pid == 0:
        _never_returning(_serve, apart, channel, output, [control.detach()], me, execute, memory_limit, time_limit)
    channel.close()
    output.close()
    return {"pid": pid}


def _serve(apart: bool, *args: Any) -> None:
    """The life of a worker; one that does a single run gets ready for it while it waits."""
    if apart:
        from attnlab.sweeps.executors.rehearsal import write_ahead

        write_ahead()
    serve(*args)


def _described(components: list[str]) -> dict[str, Any]:
    from attnlab.sweeps.executors.agreement import described

    try:
        return {"described": {name: text[:200] for name, text in described(components).items()}}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {message_of(error)}"[:1000]}


def _reaped(pid: int) -> dict[str, Any]:
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # it was none of ours
        return {"code": -signal.SIGKILL}
    return {"code": os.waitstatus_to_exitcode(status) if found else None}


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """A handler of the coordinator must not run in the child: signals wait until the child has set its own."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
