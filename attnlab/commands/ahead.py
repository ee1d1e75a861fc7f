"""What is printed of an experiment, computed while the next experiment of the sweep is at work."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from types import TracebackType
from typing import Any, NamedTuple

from attnlab.sweeps.collecting import uncollected

__all__ = ["Ahead", "Made", "made"]

_SWITCH = 0.0005  # seconds after which the thread lets the sweep give out its next run


class Made(NamedTuple):
    """What is said of an experiment: its results, their summary, the table of its claims, and the referee's report."""

    whole: Any
    summary: Any
    claims: Any
    report: Any


@uncollected()
def made(experiment: Any, store: str, frame: Any = None, whole: Any = None, planned: Any = None) -> Made:
    """Compute it from the store, or from all results where the caller has read them; the summary from `frame` if there is one.

    `planned` are the runs of the experiment, where they are known.
    """
    from attnlab.analysis.index import results_of
    from attnlab.analysis.referee.judging import reported
    from attnlab.analysis.referee.stored import Stored
    from attnlab.analysis.summary import summarise

    if whole is None:  # claims and the referee are about the whole experiment
        ((_, whole),) = results_of([experiment], store)
    judged = claims = None
    if experiment.claims:
        from attnlab.analysis.claims import judge, told

        judged = judge(whole, experiment)
        claims = told(judged, whole, experiment)
    report = reported(experiment.name, whole, experiment, Stored.of(store), judged, planned)
    frame = whole.copy() if frame is None else frame
    frame.attrs["tuned"] = experiment.chosen
    shown = [*experiment.metrics, *(["off_budget"] if experiment.budget else [])]
    return Made(whole, summarise(frame, shown, standing=True), claims, report)


class Ahead:
    """A thread that computes it for experiments whose runs are stored.

    It is at work where runs are done in other processes, and for experiments whose parts are all attnlab's own: code of others
    runs in the main thread alone.

    Parameters
    ----------
    store : str
    executor : str or None
        As the sweep has it.
    """

    def __init__(self, store: str, executor: str | None) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._made: dict[str, Made] = {}
        self._swept: dict[str, Any] = {}
        self._works = executor in (None, "local") and _has_workers()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Ahead:
        self._switch = sys.getswitchinterval()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        sys.setswitchinterval(self._switch)
        if self._thread is not None:
            self._waiting.put(None)
            if kind is None:
                self._thread.join()

    def finished(self, experiment: Any, swept: Any = None) -> None:
        """The runs of an experiment are stored; `swept` gives its table (`attnlab.sweeps.reading`)."""
        if swept is not None:
            self._swept[experiment.name] = swept
        if not self._works:
            return
        if self._thread is None:
            sys.setswitchinterval(_SWITCH)
            self._thread = threading.Thread(target=self._work, name="attnlab tables", daemon=True)
            self._thread.start()
        self._waiting.put(experiment)

    def of(self, experiment: Any, frame: Any) -> Made:
        """What was computed, or now is."""
        found = self._made.get(experiment.name)
        if found is not None and len(found.whole) == len(frame):
            return found
        return made(experiment, self._store, frame, self._whole(experiment), self._planned(experiment))

    def _whole(self, experiment: Any) -> Any:
        """A copy of the table of all its runs, if the sweep has read it."""
        swept = self._swept.get(experiment.name)
        return None if swept is None else swept.table().copy()

    def _planned(self, experiment: Any) -> Any:
        swept = self._swept.get(experiment.name)
        return None if swept is None else swept.runs

    def _work(self) -> None:
        while (experiment := self._waiting.get()) is not None:
            with contextlib.suppress(Exception):  # it is raised again where it is printed
                if not _of_others(experiment, self._swept.get(experiment.name)):
                    whole, planned = self._whole(experiment), self._planned(experiment)
                    self._made[experiment.name] = made(experiment, self._store, None, whole, planned)


def _of_others(experiment: Any, swept: Any = None) -> bool:
    from attnlab.sweeps.executors.strangers import is_apart
    from attnlab.sweeps.plan import plan

    runs = plan(experiment) if swept is None else swept.runs
    return any(is_apart(run) for run in {run.but_the_seed: run for run in runs}.values())


def _has_workers() -> bool:
    try:
        from attnlab.sweeps.executors.local import LocalExecutor
    except ImportError:
        return False
    return not LocalExecutor.unavailable() and sys.platform == "linux"
