"""What happens inside a worker: one run after another, each answered by exactly one packed result.

A worker is a process of its own with one socket to the coordinator. A message is eight bytes of length and then itself.
It first says b"" (ready), then answers each run, its run_id and canonical form, with one flag byte (1: do not use me again) and the result.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import faulthandler
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from attnlab.sweeps.executors.messages import pack
from attnlab.sweeps.run import Result, Run

__all__ = ["LARGEST_RESULT", "Execute", "attempt", "frame", "now", "or_standard", "readable_size", "serve"]

Execute = Callable[[Run], Result]

LARGEST_RESULT = 64 * 2**20  # bytes
_LENGTH = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def or_standard(execute: Execute | None) -> Execute:
    """`execute`, or `attnlab.sweeps.execute.execute`, imported only where it is needed."""
    if execute is not None:
        return execute
    from attnlab.sweeps.execute import execute as standard

    return standard


def frame(message: bytes) -> bytes:
    """A message as it goes over the socket: its length, then itself."""
    return _LENGTH.pack(len(message)) + message


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def readable_size(n_bytes: float) -> str:
    """'512.0 MiB'."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.4g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.4g} GiB"


def attempt(execute: Execute, run: Run, executor: str, memory_limit: int | None = None) -> tuple[bytes, bool]:
    """Do one run here, whatever it raises.

    Parameters
    ----------
    execute : callable, Run -> Result
    run : Run
    executor : str
        Written into the result.
    memory_limit : int, optional
        Bytes of address space that the run may add to what this process has now (Linux).

    Returns
    -------
    reply : bytes
        The packed result.
    spent : bool
        Whether the run left this process in a state in which no other run should start.

    Raises
    ------
    KeyboardInterrupt
        It is the user's, not the run's.
    """
    started_at, began, n_threads = now(), time.perf_counter(), threading.active_count()
    spent = False
    try:
        with _limited_memory(memory_limit):
            result = execute(run)
    except KeyboardInterrupt:
        raise
    except MemoryError as error:
        spent = True
        limit = f"its memory limit of {readable_size(memory_limit)} is used up" if memory_limit else "out of memory"
        result = Result("oom", reason=f"{limit} ({_says(error)})", traceback=traceback.format_exc())
    except BaseException as error:
        spent = not isinstance(error, Exception)
        result = Result("failed", reason=_says(error), traceback=traceback.format_exc())
    seconds = time.perf_counter() - began
    try:
        reply = pack(_dated(result, executor, started_at, seconds))
        if len(reply) > LARGEST_RESULT:
            size, allowed = readable_size(len(reply)), readable_size(LARGEST_RESULT)
            raise ValueError(f"it takes {size}, and at most {allowed} are kept")
    except Exception as error:
        failed = Result("failed", reason=f"the result cannot be kept: {error}", traceback=traceback.format_exc())
        reply = pack(_dated(failed, executor, started_at, seconds))
    return reply, spent or threading.active_count() > n_threads


def _says(error: BaseException) -> str:
    """'ValueError: message', also when the message cannot be had."""
    return traceback.format_exception_only(error)[-1].strip()


def _dated(result: Result, executor: str, started_at: str, seconds: float) -> Result:
    if not isinstance(result, Result):
        raise TypeError(f"execute returned {type(result).__name__}, not a Result")
    return dataclasses.replace(
        result,
        executor=executor,
        started_at=result.started_at or started_at,
        seconds=result.seconds or seconds,
    )


@contextlib.contextmanager
def _limited_memory(limit: int | None) -> Iterator[None]:
    """Within, this process may grow by `limit` bytes of address space; beyond, allocation raises MemoryError."""
    if limit is None:
        yield
        return
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = used + limit if hard == resource.RLIM_INFINITY else min(used + limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def serve(
    channel: socket.socket,
    output: socket.socket,
    inherited: Sequence[int],
    coordinator: int,
    execute: Execute,
    memory_limit: int | None,
) -> None:
    """The life of a worker: ends when the coordinator closes its end of `channel`, or dies.

    `inherited` are the coordinator's file descriptors that a fork has copied here: as long as a copy is open, the
    workers at their other ends would never see the coordinator go.
    """
    me = os.getpid()
    _leave_home(coordinator)
    for descriptor in inherited:
        os.close(descriptor)
    _redirect(output)
    _keep_freed_memory()
    with contextlib.suppress(OSError):  # the coordinator is gone, and with it the reason to go on
        channel.sendall(frame(b""))
        while (message := _receive(channel)) is not None:
            run_id, _, canonical = message.decode("ascii").partition(" ")
            reply, spent = attempt(execute, Run(canonical, run_id), "local", memory_limit)
            if os.getpid() != me:  # the run forked, and this is the copy: one run, one answer
                os._exit(os.EX_SOFTWARE)
            signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm it left behind is not for the next run
            channel.sendall(frame(bytes([spent]) + reply))
    os._exit(os.EX_OK)  # past threads and exit handlers that runs may have left


def _receive(channel: socket.socket) -> bytes | None:
    header = _exactly(channel, _LENGTH.size)
    return None if header is None else _exactly(channel, _LENGTH.unpack(header)[0])


def _exactly(channel: socket.socket, n_bytes: int) -> bytes | None:
    received = bytearray()
    while len(received) < n_bytes:
        chunk = channel.recv(n_bytes - len(received))
        if not chunk:
            return None
        received += chunk
    return bytes(received)


def _leave_home(coordinator: int) -> None:
    """A process group of its own, no Ctrl-C (the coordinator decides), and death with the coordinator."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != coordinator:  # it died before the line above
            os._exit(os.EX_OK)


def _redirect(output: socket.socket) -> None:
    """What runs print goes to the coordinator, which keeps the end of it for the reason of a crash.

    So does the Python stack at a segmentation fault, or when asked for by SIGUSR1.
    """
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout, sys.stderr = (os.fdopen(d, "w", 1, errors="backslashreplace", closefd=False) for d in (1, 2))
    faulthandler.enable(2, all_threads=False)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=False)


def _keep_freed_memory() -> None:
    """Large temporaries are reused and not given back to the system each time.

    Measured on an additive similarity in NumPy, (64, 32, 64, 32) in float64: 36 ms a step instead of 52.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**30)
        libc.mallopt(_M_TOP_PAD, 2**26)
