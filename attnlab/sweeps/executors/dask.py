"""Runs on a dask cluster: an existing scheduler, or a new cluster of processes on this machine."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from annotated_types import Ge

from attnlab.errors import SettingError
from attnlab.interfaces import Executor
from attnlab.sweeps.run import Result, Run

__all__ = ["DaskExecutor"]


class DaskExecutor(Executor):
    """Executes runs on a dask cluster, for sweeps that are too large for one machine.

    attnlab and the same plugins must be installed on the workers. On a worker with Linux, runs are done in processes beside
    it, as the executor `local` does them, so that a run that dies costs itself. If a worker dies all the same, another run
    on it may be the cause. So the run is tried once more, alone, after all others, and is `crashed` at the second death. This executor has no limits
    of time and memory; the cluster must keep them. Classes registered with `attnlab.register` in a notebook are known to
    this process only.

    Parameters
    ----------
    jobs : int or None
        Worker processes on this machine; None is one a processor. Not with `address`.
    address : str or None
        A scheduler to use instead, such as "tcp://10.0.0.1:8786".

    Raises
    ------
    SettingError
        When `distributed` is not installed, or both jobs and address are given.
    """

    name = "dask"

    def __init__(self, jobs: Annotated[int, Ge(1)] | None = None, address: str | None = None) -> None:
        self.jobs = jobs
        self.address = address
        self._client: Any = None
        self._futures: dict[Any, Run] = {}
        self._suspects: deque[Run] = deque()

    @classmethod
    def unavailable(cls) -> str:
        """Empty where `distributed` is installed."""
        return "" if importlib.util.find_spec("distributed") else "it needs distributed: pip install 'attnlab[dask]'"

    def _connected(self) -> Any:
        if self._client is None:
            if lacks := self.unavailable():
                raise SettingError(f"the executor 'dask' cannot be used here: {lacks}")
            from distributed import Client

            if self.address is not None and self.jobs is not None:
                raise SettingError("the executor 'dask' takes jobs or address, not both: a cluster has its own workers")
            if self.address is not None:
                self._client = Client(self.address)
                return self._client
            import dask

            with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                self._client = Client(
                    n_workers=self.jobs,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",  # any free one: another cluster may have that of dask
                    set_as_default=False,
                )
        return self._client

    def width(self) -> int:
        """As many as the workers that are there now have threads."""
        return sum(self._connected().nthreads().values()) or 1

    def submit(self, run: Run) -> None:
        """Hand a run to the cluster."""
        self._hand_over(run)

    def _hand_over(self, run: Run, attempt: int = 1) -> None:
        future = self._connected().submit(
            _remote,
            run.canonical,
            run.run_id,
            _plugin_options(),
            run.metrics,
            key=f"attnlab-{run.run_id}-{attempt}",
            pure=False,
        )
        self._futures[future] = run

    def as_completed(self) -> Iterator[tuple[Run, Result]]:
        """Each submitted run with its result, as they end; over when nothing runs."""
        alone = False
        while self._futures or self._suspects:
            if not self._futures:
                alone = True
                self._hand_over(self._suspects.popleft(), attempt=2)
            for future in self._ended():
                run = self._futures.pop(future)
                result = _result(future, attempts=2 if alone else 1)
                lost = future.status != "finished"
                future.release()
                if lost and not alone:
                    self._suspects.append(run)
                else:
                    yield run, result

    def _ended(self) -> set[Any]:
        from distributed import wait

        with self._client.as_current():
            ended: set[Any] = wait(list(self._futures), return_when="FIRST_COMPLETED").done
        return ended

    def cancel(self, run: Run) -> None:
        """Forget a run: it will yield nothing."""
        for future in [f for f, r in self._futures.items() if r == run]:
            del self._futures[future]
            future.cancel()
        self._suspects = deque(r for r in self._suspects if r != run)

    def close(self) -> None:
        """Leave the cluster, or end it if it is this executor's own."""
        self._futures.clear()
        self._suspects.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _result(future: Any, attempts: int) -> Result:
    """What a future that ended says: the run's own result, or that the cluster lost it."""
    from attnlab.sweeps.executors.messages import unpack

    error: Any = None
    if future.status == "finished":
        try:
            result = unpack(future.result())
            return replace(result, attempts=max(result.attempts, attempts))
        except Exception as lost:  # with its worker, after it was finished and before it was fetched
            error = lost
    elif future.status == "error":
        error = future.exception()
    said = f"{type(error).__name__}: {error}" if error else future.status
    return Result("crashed", reason=f"its worker died: {said}", executor=DaskExecutor.name, attempts=attempts)


def _plugin_options() -> dict[str, Any]:
    from attnlab.plugins import active_options

    return active_options()


_here: dict[tuple[int, str], Executor] = {}  # of each thread of this worker, and options of plugins


def _remote(canonical: str, run_id: str, options: Mapping[str, Any], metrics: Sequence[str] = ()) -> bytes:
    """One run, on a worker; the packed result."""
    from attnlab.sweeps.executors.local import LocalExecutor
    from attnlab.sweeps.executors.messages import pack

    run = Run(canonical, run_id, tuple(metrics))
    if sys.platform != "linux" or LocalExecutor.unavailable():
        return _in_this_process(run, options)
    key = (threading.get_ident(), json.dumps(options, sort_keys=True))
    if key not in _here:
        for other in [k for k in _here if k[0] == key[0]]:
            _here.pop(other).close()
        _here[key] = LocalExecutor(jobs=1)
        _here[key].options = dict(options)
    executor: Any = _here[key]
    executor.submit(run)
    ((_, result),) = executor.as_completed()
    return pack(replace(result, executor=DaskExecutor.name))


def _in_this_process(run: Run, options: Mapping[str, Any]) -> bytes:
    from attnlab.plugins import active_options, configure
    from attnlab.sweeps.execute import execute
    from attnlab.sweeps.executors.attempt import attempt
    from attnlab.sweeps.executors.messages import pack, unpack
    from attnlab.sweeps.executors.strangers import is_apart, noted

    if active_options() != dict(options):
        configure(**options)
    reply, _ = attempt(execute, run, DaskExecutor.name)
    return pack(noted(unpack(reply))) if is_apart(run) else reply
