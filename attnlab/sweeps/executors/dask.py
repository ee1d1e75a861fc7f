"""Runs on a dask cluster: an existing scheduler, or a new cluster of processes on this machine.

What happens on a worker is in `remote.py`, the connection in `cluster.py`, and what is compared before the first run in
`agreement.py`. Here is which run goes when, and what becomes of one that is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt

from attnlab.errors import SettingError
from attnlab.interfaces import Executor
from attnlab.plugins import active_options
from attnlab.sweeps.executors.agreement import (
    FILE_AT,
    KEPT,
    LIMITS,
    THERE,
    behind,
    described,
    difference,
    is_component,
    table,
)
from attnlab.sweeps.executors.attempt import now
from attnlab.sweeps.executors.messages import unpack
from attnlab.sweeps.executors.quarantine import Quarantine
from attnlab.sweeps.run import Result, Run

if TYPE_CHECKING:
    from attnlab.sweeps.executors.cluster import Cluster

__all__ = ["DaskExecutor", "worth"]

_AHEAD = 2  # orders in the scheduler for each thread of the workers: one at work, one that waits
# Of work in one order, as far as runs are short: an order takes the processor 3 ms in each of three processes
_SECONDS = 1.0
_ORDERS = 100.0  # a second, of all threads together: where there are more threads, orders are of more work
_LONGEST = 30.0  # seconds of work in one order, even then
_MOST = 64  # runs in one order
_LEAST, _MEAN_OF = 0.002, 8  # seconds that a run takes at least with what is around it; over how many runs a mean goes
_LOOK = 0.5  # seconds between looks at the connection while nothing arrives
_NOBODY = 5.0  # seconds without a worker after which it is said
_UNABLE = 5  # orders that workers could not even begin, after which a run is given up
_MEND = (
    "Install the same Python, attnlab, libraries and plugins there (`pip freeze` here says which), the files of --plugin at the "
    "same paths, and start the workers anew"
)


@dataclasses.dataclass
class _Asked:
    """A run on its way."""

    run: Run
    deaths: int = 0  # of workers that did it, perhaps beside others
    unable: int = 0  # workers that could not begin
    is_wanted: bool = True


@dataclasses.dataclass
class _Order:
    """What was handed over at once."""

    asked: list[_Asked]
    whom: list[str] | None  # the workers that may do it; None is all
    is_last: bool  # it is alone: nothing else goes on anywhere


def worth(width: int) -> float:
    """Seconds of work in one order, where so many threads do runs."""
    return max(_SECONDS, min(_LONGEST, width / _ORDERS))


class DaskExecutor(Executor):
    """Executes runs on a dask cluster, for sweeps that are too large for one machine.

    The workers must have the same Python, attnlab, libraries and plugins, in the same versions and with the same code. This
    is compared before the first run, and a difference is refused with a table. Workers may come and go meanwhile. One that
    comes later and differs is not used, which is said. Classes registered with `attnlab.register` in a notebook are known to this
    process only.

    On a worker with Linux, runs are done in processes beside it, as the executor `local` does them, with its limits and its
    `retries`, so that a run that dies costs itself. If a worker dies all the same, another run on it may be the cause. So the
    run is tried again, at first beside others, then alone, after all others. It is `crashed` when its worker died alone with it,
    and more often than `retries` in all. A component of somebody's that kills three workers in a row is no longer tried.

    Runs are handed over a few at a time, and as many of them as take a second in one order; where there are more than a
    hundred threads, as many more as keep it to a hundred orders a second. So the scheduler never holds more than a small
    multiple of what the workers do at once.

    Parameters
    ----------
    jobs : int or None
        Worker processes on this machine; None is one a processor. Not with `address`.
    address : str or None
        A scheduler to use instead, such as "tcp://10.0.0.1:8786" or "tls://...", or the path of a scheduler file (.json). Where
        both are None, dask's own configuration may name one (DASK_SCHEDULER_ADDRESS).
    time_limit : float or None
        Seconds a run may take, > 0. None: no limit.
    memory_limit : int or None
        Bytes a run may add to the memory of its process and of what it starts, > 0. None: no limit.
    retries : int
        How often a run is tried again whose worker died, >= 0.
    patience : float
        Seconds without an answer of the scheduler after which it counts as lost, > 0.

    Raises
    ------
    SettingError
        When `distributed` is not installed, both jobs and address are given, or a worker differs.
    ClusterLost
        When the scheduler cannot be reached, or not any more. What was finished is stored by then.
    """

    name = "dask"

    def __init__(
        self,
        jobs: Annotated[int, Ge(1)] | None = None,
        address: str | None = None,
        time_limit: Annotated[float, Gt(0)] | None = None,
        memory_limit: Annotated[int, Gt(0)] | None = None,
        retries: Annotated[int, Ge(0)] = 1,
        patience: Annotated[float, Gt(0)] = 60.0,
    ) -> None:
        if address is not None and jobs is not None:
            raise SettingError(
                "the executor 'dask' takes jobs or address, not both: a cluster has workers of its own, as many as it has"
            )
        self.jobs = jobs
        self.address = address
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self.retries = retries
        self.patience = patience
        self._cluster: Cluster | None = None
        self._here: dict[str, str] = {}  # what this process has, as far as it was asked for
        self._is_prepared = False
        self._agreed: set[str] = set()  # addresses of workers that have the same
        self._refused: dict[str, dict[str, tuple[str, str]]] = {}  # those that have not, and what differs
        self._asked_of: set[str] = set()  # who was asked and has not answered
        self._waiting: deque[_Asked] = deque()
        self._last: deque[_Asked] = deque()  # each alone, after all others
        self._finished: deque[tuple[Run, Result]] = deque()
        self._orders: dict[int, _Order] = {}
        self._number = 0
        self._seconds = _SECONDS  # that a run takes, about: the mean of the last ones, and at first of those there were
        self._n_taken = 0
        self._quarantine = Quarantine()
        self._nobody_since: float | None = None  # `time.monotonic()` when the last worker had gone

    @classmethod
    def unavailable(cls) -> str:
        """Empty where `distributed` is installed."""
        return "" if importlib.util.find_spec("distributed") else "it needs distributed: pip install 'attnlab[dask]'"

    # -- the interface ------------------------------------------------------------------------------------------------
    def prepare(self, runs: Sequence[Run]) -> None:
        """Compare the workers with this process, as to what is behind some runs; wait until there is a worker.

        Raises
        ------
        SettingError
            When a worker differs, with a table of what does.
        ClusterLost
            When no scheduler answers.
        """
        self._know(runs)
        cluster = self._connected()
        self._is_prepared = True
        while True:
            self._look_after()
            self._ask_newcomers()
            present = cluster.threads.keys()
            if not self._asked_of and (
                differing := {who: self._refused[who] for who in present & self._refused.keys()}
            ):
                raise SettingError(
                    f"{len(differing)} of {len(present)} workers differ from this process, and their numbers would be other "
                    f"ones:\n{table(differing)}\n{_MEND}"
                )
            if not self._asked_of and present & self._agreed:
                return
            self._hear(aloud=False)

    def width(self) -> int:
        """As many as the workers that are there now have threads."""
        threads = self._connected().threads
        return sum(n for address, n in threads.items() if address not in self._refused) or 1

    def submit(self, run: Run) -> None:
        """Put a run in the queue; it is handed over when its turn comes."""
        self._waiting.append(_Asked(run))

    def as_completed(self) -> Iterator[tuple[Run, Result]]:
        """Each submitted run with its result, as they end; over when nothing runs.

        Raises
        ------
        SettingError
            Where the workers that are there at the start differ from this process.
        ClusterLost
            When the scheduler does not answer for longer than the patience.
        """
        while True:
            while self._finished:
                yield self._finished.popleft()
            if not (self._waiting or self._last or self._orders):
                return
            if not self._is_prepared:
                self.prepare([asked.run for asked in self._waiting])
            self._look_after()
            self._hand_over()
            if not self._finished:
                self._hear()

    def cancel(self, run: Run) -> None:
        """Forget a run: it will yield nothing. One that has begun goes on where it is, and nobody hears of it."""
        self._waiting = deque(asked for asked in self._waiting if asked.run != run)
        self._last = deque(asked for asked in self._last if asked.run != run)
        self._finished = deque(pair for pair in self._finished if pair[0] != run)
        for number, order in list(self._orders.items()):
            if all(asked.run == run for asked in order.asked):
                del self._orders[number]
                self._connected().forget(number)
            for asked in order.asked:
                asked.is_wanted &= asked.run != run

    def close(self) -> None:
        """Leave the cluster, or end it if it is this executor's own; again does nothing."""
        for pending in (self._waiting, self._last, self._finished):
            pending.clear()
        self._orders.clear()
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- handing over -------------------------------------------------------------------------------------------------
    def _connected(self) -> Cluster:
        if self._cluster is None:
            if lacks := self.unavailable():
                raise SettingError(f"the executor 'dask' cannot be used here: {lacks}")
            from attnlab.sweeps.executors.cluster import Cluster

            limits = {"time_limit": self.time_limit, "memory_limit": self.memory_limit, "retries": self.retries}
            self._cluster = Cluster(self.address, self.jobs, self.patience, limits)
            self._cluster.open()
        return self._cluster

    def _hand_over(self) -> None:
        """Give the cluster as many orders as it may have at once."""
        cluster = self._connected()
        self._ask_newcomers()
        present = cluster.threads.keys()
        whom = None if present <= self._agreed else sorted(present & self._agreed)
        if whom == [] or not present or any(order.is_last for order in self._orders.values()):
            return
        while self._waiting and len(self._orders) < _AHEAD * self.width():
            if asked := self._next():
                self._send(_Order(asked, whom, is_last=False))
        if self._last and not self._waiting and not self._orders:
            self._send(_Order([self._last.popleft()], whom, is_last=True))

    def _next(self) -> list[_Asked]:
        """The runs of the next order: one, or several that are short and never lost a worker."""
        width = self.width()
        most = min(_MOST, int(worth(width) / self._seconds), len(self._waiting) // (_AHEAD * width))
        taken: list[_Asked] = []
        while self._waiting and len(taken) < max(1, most):
            is_suspect = self._waiting[0].deaths or self._waiting[0].unable
            if taken and is_suspect:
                break
            asked = self._waiting.popleft()
            if why := self._quarantine.refuses(asked.run):
                self._finish(asked, Result("crashed", why, executor=self.name, started_at=now(), attempts=0))
                continue
            taken.append(asked)
            if is_suspect:
                break
        return taken

    def _send(self, order: _Order) -> None:
        runs = [asked.run for asked in order.asked]
        components = self._know(runs)
        here = {name: value for name, value in self._here.items() if name in components or not is_component(name)}
        self._number += 1
        self._orders[self._number] = order
        self._connected().submit(self._number, here, runs, order.whom, worth(self.width()))

    def _know(self, runs: Sequence[Run]) -> frozenset[str]:
        """What is behind some runs, which this process then knows of itself."""
        distinct = {(run.but_the_seed, run.metrics): run for run in runs}
        components = frozenset[str]().union(*(behind(run) for run in distinct.values()))
        if not self._here or not components <= self._here.keys():
            self._here |= described(components - self._here.keys())
            self._here |= {FILE_AT + file: THERE for file in active_options()["files"]}
            if self.time_limit is not None or self.memory_limit is not None:
                self._here[LIMITS] = KEPT
        return components

    # -- who is there -------------------------------------------------------------------------------------------------
    def _ask_newcomers(self) -> None:
        cluster = self._connected()
        for address in cluster.threads.keys() - self._agreed - self._refused.keys() - self._asked_of:
            self._asked_of.add(address)
            cluster.ask(address, self._here)

    def _meet(self, address: str, there: Any, aloud: bool) -> bool:
        """A worker has said what it has; whether it differs."""
        self._asked_of.discard(address)
        if there is None:  # it has left, or will be asked again
            return False
        if isinstance(there, Exception):
            differs = {"attnlab": (self._here["attnlab"], f"{type(there).__name__}: {there}")}
        else:
            differs = difference({name: self._here[name] for name in there if name in self._here}, there)
        if not differs:
            self._agreed.add(address)
            return False
        self._agreed.discard(address)
        is_new = address not in self._refused
        self._refused[address] = differs
        if aloud and is_new:
            self._connected().say(
                f"a worker differs from this process, and is not used:\n{table({address: differs})}\n{_MEND}"
            )
        return True

    def _look_after(self) -> None:
        """See to a connection that is lost, to orders whose workers have all gone, and say that nobody is there."""
        cluster = self._connected()
        if cluster.is_lost():
            self._asked_of.clear()
            orders, self._orders = self._orders, {}
            for order in reversed(orders.values()):
                self._put_back(order.asked, order.is_last)
            cluster.return_to()
        present = cluster.threads.keys()
        for number, order in list(self._orders.items()):
            if order.whom is not None and not present & set(order.whom):
                del self._orders[number]
                cluster.forget(number)
                self._bury(order, "it left")
        if present - self._refused.keys():
            self._nobody_since = None
        elif self._nobody_since is None:
            self._nobody_since = time.monotonic()
        elif 0 < self._nobody_since < time.monotonic() - _NOBODY:
            self._nobody_since = 0.0  # it is said once
            cluster.say(
                f"no worker that can be used is at {cluster.address}; waiting for one (`dask worker {cluster.address}`)"
            )

    # -- taking in ----------------------------------------------------------------------------------------------------
    def _hear(self, aloud: bool = True) -> None:
        """Wait for a message from the cluster, for a while, and see to all that have come."""
        answers = self._connected().answers
        with contextlib.suppress(queue.Empty):
            who, answer = answers.get(timeout=_LOOK)
            while True:
                if isinstance(who, str):
                    self._meet(who, answer, aloud)
                elif (order := self._orders.pop(who, None)) is not None:
                    self._take(order, answer)
                who, answer = answers.get_nowait()

    def _take(self, order: _Order, answer: Any) -> None:
        """What came of an order: results, of which the last may be missing, or none."""
        if isinstance(answer, list):
            for asked, reply in zip(order.asked, answer, strict=False):
                self._take_result(asked, reply)
            self._put_back(order.asked[len(answer) :])
        elif answer is None or self._differs(answer):
            self._put_back(order.asked, order.is_last)
        elif type(answer).__name__ == "KilledWorker":
            self._bury(order, str(answer))
        else:
            is_told = isinstance(answer, dict)
            said = answer.get("unable", "it differs") if is_told else f"{type(answer).__name__}: {answer}"
            for asked in order.asked:
                asked.unable += 1
                if asked.unable < _UNABLE:
                    self._waiting.append(asked)
                else:
                    self._finish(asked, Result("crashed", f"no worker could do it: {said}", started_at=now()))

    def _differs(self, answer: Any) -> bool:
        return (
            isinstance(answer, dict) and "there" in answer and self._meet(answer["worker"], answer["there"], aloud=True)
        )

    def _take_result(self, asked: _Asked, reply: bytes) -> None:
        try:
            result = unpack(reply)
        except (TypeError, ValueError) as error:
            result = Result("failed", f"its worker sent what is not a result: {error}", started_at=now())
        if result.status == "crashed":
            for _ in range(result.attempts):
                self._quarantine.died(asked.run)
        else:
            self._quarantine.lived(asked.run)
        self._n_taken += 1
        self._seconds += (max(result.seconds, _LEAST) - self._seconds) / min(self._n_taken, _MEAN_OF)
        self._finish(asked, dataclasses.replace(result, attempts=max(result.attempts, asked.deaths + 1)))

    def _bury(self, order: _Order, said: str) -> None:
        """The worker of an order has died. dask says so of what it had in its queue as well: only who was alone is guilty."""
        for asked in order.asked:
            asked.deaths += 1
            if order.is_last:
                self._quarantine.died(asked.run)
            if order.is_last and asked.deaths > self.retries:
                self._finish(
                    asked, Result("crashed", f"its worker died: {said}", started_at=now(), attempts=asked.deaths)
                )
            elif order.is_last or asked.deaths > 1:
                self._last.append(asked)
            else:
                self._waiting.append(asked)

    def _put_back(self, asked: Sequence[_Asked], is_last: bool = False) -> None:
        """Runs of which nothing became known wait again, before all others."""
        (self._last if is_last else self._waiting).extendleft(reversed(asked))

    def _finish(self, asked: _Asked, result: Result) -> None:
        if asked.is_wanted:
            self._finished.append((asked.run, dataclasses.replace(result, executor=self.name)))
