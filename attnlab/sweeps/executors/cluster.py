"""A cluster as a coordinator sees it: whom it reaches, what it hands over, what comes back, and whether anybody answers.

Whatever happens on the cluster arrives as a message in one queue, so that the coordinator waits in one place, and a Ctrl-C
ends the wait at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attnlab.errors import ClusterLost, SettingError
from attnlab.plugins import active_options
from attnlab.sweeps.executors.remote import describe, leave, order_of, work
from attnlab.sweeps.run import Run

__all__ = ["Cluster"]

_FIRST = 10.0  # seconds in which a scheduler must answer at the start
_TRY = 5.0  # seconds of one attempt to reach it
_LOOK = 1.0  # seconds between looks at who is there
_GOODBYE = 0.7  # seconds for each step of leaving
_OF_OUR_OWN = {  # for a cluster on this machine, whose dashboard nobody looks at
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.profile.enabled": False,  # it takes 4 % of a processor for each worker
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "500ms",
}
_TOLD = 60.0  # seconds in which a worker must say what it has


class Cluster:
    """A scheduler and its workers.

    Parameters
    ----------
    address : str or None
        Of a scheduler, or the path of a scheduler file (.json). None starts processes on this machine.
    jobs : int or None
        How many, then; None is one a processor.
    patience : float
        Seconds without an answer after which a scheduler counts as lost.
    limits : mapping
        What workers are to keep: settings of the executor `local`.

    Attributes
    ----------
    threads : dict of address to int
        The workers that are there, and how many tasks each does at a time.
    answers : queue
        (number, answer) of what was handed over; (address, description or exception) of workers that were asked what they have.
        None where the connection was lost before an answer came.
    """

    def __init__(self, address: str | None, jobs: int | None, patience: float, limits: Mapping[str, Any]) -> None:
        self.address, self.jobs, self.patience, self.limits = address, jobs, patience, limits
        self.sweep = uuid.uuid4().hex
        self.threads: dict[str, int] = {}
        self.answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client: Any = None
        self._own: Any = None
        self._futures: dict[int, Any] = {}
        self._heard = 0.0
        self._quiet = contextlib.ExitStack()

    # -- there and back -----------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Reach the scheduler, or start one.

        Raises
        ------
        SettingError
            For an address that cannot be one.
        ClusterLost
            When nobody answers there.
        """
        import dask

        self.address = self.address or (dask.config.get("scheduler-address", None) if self.jobs is None else None)
        self._quiet.enter_context(_silent_logs())
        if self.address is None:
            self._start()
        else:
            self._connect(time.monotonic() + min(self.patience, _FIRST))

    def _start(self) -> None:
        import dask
        from distributed import LocalCluster

        with dask.config.set(_OF_OUR_OWN):
            try:
                self._own = LocalCluster(
                    n_workers=self.jobs,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",  # any free one: another cluster may have that of dask
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            except RuntimeError as error:  # what dask makes of a worker that has ended
                raise SettingError(
                    f"the executor 'dask' cannot start workers on this machine ({error}). Each begins by importing the script that "
                    f'sweeps: put what the script does below `if __name__ == "__main__":`'
                ) from None
        self._attach(self._own)

    def _connect(self, until: float) -> None:
        """A client of the scheduler at the address, tried until a time of `time.monotonic()`."""
        why = ""
        while True:
            try:
                address = self._scheduler()
                _greeted(address)
                self._attach(address)
                return
            except ValueError as error:
                raise SettingError(
                    f"the executor 'dask' cannot use the address {self.address!r}: {error}. An address is like "
                    f"tcp://10.0.0.1:8786 or tls://..., or the path of a scheduler file"
                ) from None
            except Exception as error:  # nobody answers, or they do not speak the same language
                why = " ".join(str(error).split()) or type(error).__name__
            if time.monotonic() >= until:
                raise ClusterLost(
                    f"no scheduler answers at {self.address} ({why}). What was finished is stored. When a scheduler and workers "
                    f"run there (`dask scheduler`, `dask worker ADDRESS`), sweep again: what is missing is done"
                ) from None
            time.sleep(0.1)

    def _scheduler(self) -> str:
        """The address; of a scheduler file what it says now, since another scheduler may have written it anew."""
        if not str(self.address).endswith(".json"):
            return str(self.address)
        try:
            return str(json.loads(Path(str(self.address)).read_text(encoding="utf-8"))["address"])
        except (KeyError, TypeError, json.JSONDecodeError):
            raise OSError("the file names no scheduler") from None

    def _attach(self, scheduler: Any) -> None:
        from distributed import Client

        self._client = Client(scheduler, timeout=_TRY, set_as_default=False, name="attnlab")
        self.threads = dict(self._client.nthreads())
        self._heard = time.monotonic()
        self._client.loop.add_callback(self._watch, self._client)

    async def _watch(self, client: Any) -> None:
        """Ask from time to time who is there."""
        while client is self._client and client.status != "closed":
            with contextlib.suppress(Exception):  # nobody answers: `is_lost` counts the seconds
                self.threads = dict(await asyncio.wait_for(client.nthreads(), self.patience))
                self._heard = time.monotonic()
            await asyncio.sleep(_LOOK)

    def is_lost(self) -> bool:
        """Whether the connection has ended, or nothing was heard for too long."""
        return self._client.status != "running" or time.monotonic() - self._heard > self.patience

    def return_to(self) -> None:
        """Reach the scheduler again, or the one that has taken its place, as long as the patience lasts.

        Raises
        ------
        ClusterLost
        """
        until = self._heard + self.patience
        left = max(0.0, until - time.monotonic())
        self.say(f"the scheduler at {self.address} does not answer; trying again for {left:.0f} s")
        self._leave()
        self._connect(until)
        self.say(f"the scheduler at {self.address} answers again, with {len(self.threads)} workers")

    # -- handing over -------------------------------------------------------------------------------------------------
    def submit(
        self, number: int, here: Mapping[str, str], runs: Sequence[Run], workers: Sequence[str] | None, seconds: float
    ) -> None:
        """Hand runs to one of some workers, or of all; the answer comes under the number."""
        client, order = self._client, order_of(self.sweep, active_options(), self.limits, here, runs, seconds)
        client.loop.add_callback(self._carry, client, number, order, workers)

    async def _carry(self, client: Any, number: int, order: str, workers: Sequence[str] | None) -> None:
        try:
            key = f"attnlab-{self.sweep}-{number}"
            future = client.submit(work, order, key=key, pure=False, workers=workers)
            self._futures[number] = future
            try:
                answer = await future
            finally:
                self._futures.pop(number, None)
                future.release()
        except Exception as error:
            from distributed.client import CancelledError

            gone = isinstance(error, CancelledError) or client.status != "running"
            answer = None if gone else error
        self.answers.put((number, answer))

    def ask(self, worker: str, here: Mapping[str, str]) -> None:
        """Ask a worker what it has; its answer comes under its address."""
        client, order = self._client, order_of(self.sweep, active_options(), self.limits, here)

        async def ask() -> None:
            try:
                told = client.run(describe, order, workers=[worker], on_error="return")
                answer = (await asyncio.wait_for(told, _TOLD)).get(worker)
            except Exception:  # it left, or nobody answers
                answer = None
            self.answers.put((worker, answer))

        client.loop.add_callback(ask)

    def forget(self, number: int) -> None:
        """Withdraw an order; a run that has begun goes on, and nobody hears its answer."""

        async def cancel() -> None:
            if (future := self._futures.get(number)) is not None:
                with contextlib.suppress(Exception):
                    await future.client.cancel([future])

        self._client.loop.add_callback(cancel)

    @staticmethod
    def say(text: str) -> None:
        """Tell the user."""
        with contextlib.suppress(OSError, ValueError):
            print(f"attnlab: {text}", file=sys.stderr, flush=True)

    # -- leaving ------------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Leave the cluster, or end it if it is this coordinator's own; closing again does nothing."""
        if self._own is not None:
            _end_processes(self._own)
        elif self._client is not None and self._client.status == "running":
            client = self._client
            self._within(lambda: client.run(leave, self.sweep, on_error="ignore"))
        self._leave()
        own, self._own = self._own, None
        if own is not None:
            with contextlib.suppress(Exception):
                own.close(timeout=_GOODBYE)
        self._quiet.close()

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._futures.clear()
            with contextlib.suppress(Exception):
                client.close(timeout=_GOODBYE)

    def _within(self, begin: Callable[[], Awaitable[Any]]) -> None:
        """Have something done in the loop of the client, in the time for it."""

        async def done() -> None:
            await asyncio.wait_for(begin(), _GOODBYE)

        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(done(), self._client.loop.asyncio_loop).result(2 * _GOODBYE)


def _greeted(address: str) -> None:
    """Ask a scheduler who it is, for so long: dask's client waits for ever for somebody who listens there and is none."""

    async def ask() -> None:
        from distributed.core import rpc
        from distributed.security import Security

        async with rpc(address, timeout=_TRY, connection_args=Security().get_connection_args("client")) as there:
            said = await there.identity()
        if said.get("type") != "Scheduler":
            raise OSError(f"a {said.get('type')} listens there")

    async def in_time() -> None:
        await asyncio.wait_for(ask(), _TRY)

    apart = ThreadPoolExecutor(1)  # a notebook has a loop in its own thread
    try:
        apart.submit(asyncio.run, in_time()).result()
    finally:
        apart.shutdown(wait=False)  # a Ctrl-C does not wait for it


def _end_processes(own: Any) -> None:
    """Kill the workers of a cluster on this machine: each would wait for the run that it is doing."""
    for nanny in list(own.workers.values()):
        with contextlib.suppress(Exception):
            nanny.auto_restart = False
            nanny.process.process._process.kill()


@contextlib.contextmanager
def _silent_logs() -> Iterator[None]:
    """Within, dask's own messages about what attnlab says in a sentence are left out, unless they were asked for."""
    import distributed  # which gives its loggers their levels

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == distributed.__name__]
    loggers = [logging.getLogger(name) for name in (*names, "tornado.application", "asyncio")]
    before = [logger.level for logger in loggers]
    if logging.getLogger(distributed.__name__).level != logging.DEBUG:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
