"""What a worker of a cluster does for a sweep: it says what it has, and does runs in processes beside it.

These functions are called there, with text and numbers as arguments. Everything of a sweep hangs on its name, which its
coordinator chose: one clean process that has loaded the plugins, as they are when the sweep begins, and from which the
processes of runs are forked.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from attnlab.errors import message_of
from attnlab.sweeps.executors.agreement import ABSENT, FILE_AT, KEPT, LIMITS, THERE, described, difference, is_component
from attnlab.sweeps.executors.messages import pack, unpack
from attnlab.sweeps.run import Run

if TYPE_CHECKING:
    from attnlab.sweeps.executors.local import LocalExecutor
    from attnlab.sweeps.executors.zygote import Zygote

__all__ = ["describe", "leave", "order_of", "work"]

_SWEEPS = 4  # whose processes are kept; those of coordinators that were killed stay until others need their place


def order_of(
    sweep: str,
    options: Mapping[str, Any],
    limits: Mapping[str, Any],
    here: Mapping[str, str],
    runs: Sequence[Run] = (),
    seconds: float = 0.0,
) -> str:
    """Some runs as they go to a worker, with what it must have; it begins none of them after so many `seconds`."""
    asked = [(run.canonical, run.run_id, run.metrics) for run in runs]
    order = {"sweep": sweep, "options": options, "limits": limits, "here": here, "runs": asked, "seconds": seconds}
    return json.dumps(order)


async def describe(order: str) -> dict[str, str]:
    """What this worker has, under the names of `agreement.described`."""
    asked = json.loads(order)
    return await asyncio.to_thread(lambda: _sweep(asked).described(asked["here"]))


def work(order: str) -> list[bytes] | dict[str, Any]:
    """Do runs: their packed results in order, or what differs here, or why this worker cannot. It raises nothing."""
    asked = json.loads(order)
    runs = [Run(canonical, run_id, tuple(metrics)) for canonical, run_id, metrics in asked["runs"]]
    try:
        sweep = _sweep(asked)
        there = sweep.described(asked["here"])
        if difference(asked["here"], there):
            return {"there": there, "worker": _address()}
        return sweep.done(runs, asked["seconds"])
    except Exception as error:
        return {"unable": f"{type(error).__name__}: {message_of(error)}", "worker": _address()}


async def leave(sweep: str) -> None:
    """End what a sweep has here, its runs too."""
    with _lock:
        _left.append(sweep)
        found = _sweeps.pop(sweep, None)
    if found is not None:
        await asyncio.to_thread(found.end)


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)


class _Sweep:
    """What a sweep has on this worker."""

    def __init__(self, options: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
        self._options, self._limits = options, dict(limits)
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._keeper = ThreadPoolExecutor(1)  # a process that is to die with its parent dies with its parent's thread
        self._idle: list[LocalExecutor] = []
        self._known: dict[str, str] = {}  # of what `described` has said
        self._ended = False
        self.n_working = 0  # threads of this worker

    def described(self, names: Mapping[str, str]) -> dict[str, str]:
        """What is here, of the components among some names."""
        files = {FILE_AT + f: THERE if os.path.isfile(f) else ABSENT for f in self._options.get("files", ())}
        if missing := {name: said for name, said in files.items() if said == ABSENT}:
            return missing  # nothing else can be told
        wanted = sorted(name for name in names if name not in self._known)
        if wanted:
            components = [name for name in wanted if is_component(name)]
            self._known |= self._zygote_here().described(components) if _apart() else self._in_this_process(components)
            kept = _apart() or not any(self._limits.get(limit) for limit in ("time_limit", "memory_limit"))
            self._known[LIMITS] = KEPT if kept else f"cannot be kept ({sys.platform})"
        return {name: {**self._known, **files}.get(name, ABSENT) for name in names}

    def done(self, runs: Sequence[Run], seconds: float) -> list[bytes]:
        """The packed results of some runs in their order, without those that would begin after so many seconds."""
        until, replies = time.monotonic() + seconds, list[bytes]()
        executor = self._borrowed() if _apart() else None
        with _lock:
            self.n_working += 1
        try:
            for run in runs:
                if replies and time.monotonic() > until:
                    break
                replies.append(self._done_in_this_process(run) if executor is None else _done_beside(executor, run))
        except BaseException:
            if executor is not None:
                executor.close()
            raise
        finally:
            with _lock:
                self.n_working -= 1
        if executor is not None:
            with self._lock:
                self._idle.append(executor)
        return replies

    def end(self) -> None:
        """End the process of this sweep, and with it all that was forked from it."""
        with self._lock:
            self._ended = True
            idle, self._idle = self._idle, []
            zygote = self._zygote
        for executor in idle:
            executor.close()
        if zygote is not None:
            zygote.end()
        self._keeper.shutdown(wait=False)

    def _borrowed(self) -> LocalExecutor:
        """An executor that nobody uses: as many as this worker has threads."""
        from attnlab.sweeps.executors.local import LocalExecutor

        with self._lock:
            if self._idle:
                return self._idle.pop()
        executor = LocalExecutor(jobs=1, **self._limits)
        executor.zygote_of = self._zygote_here
        return executor

    def _zygote_here(self) -> Zygote:
        from attnlab.sweeps.executors.zygote import Zygote

        with self._lock:
            if self._ended:
                raise OSError("the sweep has left this worker")
            if self._zygote is None or not self._zygote.alive:
                self._zygote = self._keeper.submit(Zygote, None, self._options).result()
            return self._zygote

    # -- where no process can be forked -------------------------------------------------------------------------------
    def _in_this_process(self, components: Sequence[str]) -> dict[str, str]:
        self._configure()
        return described(components)

    def _done_in_this_process(self, run: Run) -> bytes:
        from attnlab.sweeps.execute import execute
        from attnlab.sweeps.executors.attempt import attempt
        from attnlab.sweeps.executors.strangers import is_apart, noted

        self._configure()
        reply, _ = attempt(execute, run, "dask")
        return pack(noted(unpack(reply))) if is_apart(run) else reply

    def _configure(self) -> None:
        from attnlab.plugins import active_options, configure

        options = {name: tuple(values) for name, values in self._options.items()}
        if active_options() != options:
            configure(**options)


def _done_beside(executor: LocalExecutor, run: Run) -> bytes:
    executor.submit(run)
    ((_, result),) = executor.as_completed()
    return pack(result)


_lock = threading.Lock()
_sweeps: OrderedDict[str, _Sweep] = OrderedDict()
_left: deque[str] = deque(maxlen=1000)  # an order of theirs may still be in the queue of this worker


def _sweep(asked: Mapping[str, Any]) -> _Sweep:
    with _lock:
        if asked["sweep"] in _left:
            raise OSError("the sweep has left this worker")
        found = _sweeps.get(asked["sweep"])
        if found is None:
            found = _sweeps[asked["sweep"]] = _Sweep(asked["options"], asked["limits"])
        _sweeps.move_to_end(asked["sweep"])
        idle = [name for name, one in _sweeps.items() if not one.n_working and one is not found]
        old = [_sweeps.pop(name) for name in idle[: max(0, len(_sweeps) - _SWEEPS)]]
    for one in old:
        one.end()
    return found


def _apart() -> bool:
    """Whether runs are done in processes beside this worker."""
    from attnlab.sweeps.executors.local import LocalExecutor

    return sys.platform == "linux" and not LocalExecutor.unavailable()
