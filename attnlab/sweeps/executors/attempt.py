"""One run here, whatever it raises: its packed result. It needs nothing that some platforms lack."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from attnlab.errors import message_of
from attnlab.guard import interruptions
from attnlab.libraries import no_memory
from attnlab.sweeps.executors.messages import pack
from attnlab.sweeps.run import Result, Run

__all__ = ["LARGEST_RESULT", "Execute", "attempt", "now", "or_standard", "readable_size"]

Execute = Callable[[Run], Result]

LARGEST_RESULT = 64 * 2**20  # bytes


def or_standard(execute: Execute | None) -> Execute:
    """`execute`, or `attnlab.sweeps.execute.execute`, imported only where it is needed."""
    if execute is not None:
        return execute
    from attnlab.sweeps.execute import execute as standard

    return standard


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
    KeyboardInterrupt, Terminated
        When a signal arrived that asks this process to end. What the run itself raises is no such signal.
    """
    started_at, began, n_threads = now(), time.perf_counter(), threading.active_count()
    spent, owner = False, os.getpid()
    with interruptions():
        result, spent = _done(execute, run, memory_limit)
    if os.getpid() != owner:  # the run forked, and this is the copy: one run, one answer
        os._exit(1)
    seconds = time.perf_counter() - began
    try:
        reply = pack(_dated(result, executor, started_at, seconds))
        if len(reply) > LARGEST_RESULT:
            size, allowed = readable_size(len(reply)), readable_size(LARGEST_RESULT)
            raise ValueError(f"it takes {size}, and at most {allowed} are kept")
    except Exception as error:
        failed = Result(
            "failed", reason=f"the result cannot be kept: {message_of(error)}", traceback=traceback.format_exc()
        )
        reply = pack(_dated(failed, executor, started_at, seconds))
    return reply, spent or threading.active_count() > n_threads


def _done(execute: Execute, run: Run, memory_limit: int | None) -> tuple[Result, bool]:
    """The result of a run, and whether its process is spent."""
    spent = False
    try:
        with _limited_memory(memory_limit):
            result = execute(run)
    except BaseException as error:
        if no_memory(error):
            spent = True
            limit = "out of memory"
            if memory_limit and isinstance(
                error, (MemoryError, OSError)
            ):  # others may speak of a device that has no limit
                limit = f"its memory limit of {readable_size(memory_limit)} is used up"
            result = Result("oom", reason=f"{limit} ({_says(error)})", traceback=traceback.format_exc())
        else:
            spent = not isinstance(error, Exception)
            result = Result("failed", reason=_says(error), traceback=traceback.format_exc())
    return result, spent


def _says(error: BaseException) -> str:
    """'ValueError: message', also when the message cannot be had."""
    try:
        return traceback.format_exception_only(error)[-1].strip()
    except BaseException:  # of its own methods
        return f"{type(error).__name__}: {message_of(error)}"


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
    import resource

    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = used + limit if hard == resource.RLIM_INFINITY else min(used + limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
