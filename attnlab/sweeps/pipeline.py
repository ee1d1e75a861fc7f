"""A sweep from file to table. Start reading here; each step is a file of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnlab.errors import SettingError
from attnlab.registry import build
from attnlab.sweeps import execute as _execute
from attnlab.sweeps import migrate
from attnlab.sweeps.asked import executor_of, limits, usable
from attnlab.sweeps.collecting import uncollected
from attnlab.sweeps.columns import only as filtered
from attnlab.sweeps.environment import versions_of
from attnlab.sweeps.executors.strangers import hooks_of_others, metrics_of_others
from attnlab.sweeps.experiment.read import Experiment, read, text_of
from attnlab.sweeps.fingerprint import fingerprints, fingerprints_of_metrics
from attnlab.sweeps.frame import DEFAULT_STORE, frame_of, registered_in
from attnlab.sweeps.place import checked_path, there_is
from attnlab.sweeps.plan import DEFAULT_WORDS, Planned, but_for_the_seed, by_examples, decide, parse_rerun, plan
from attnlab.sweeps.progress import Progress
from attnlab.sweeps.reading import Reading, Swept
from attnlab.sweeps.refusals import Refusing, with_refusals
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.sharing import Shared, named
from attnlab.sweeps.store import Known, Store
from attnlab.sweeps.suites import expanded
from attnlab.sweeps.telling import told
from attnlab.sweeps.warming import warmed
from attnlab.tables import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Stopped", "distinct", "plan_with_reasons", "sweep"]

Source = str | os.PathLike[str] | Mapping[str, Any] | Experiment


class Stopped(Exception):
    """`fail_fast` ended the sweep at the first run that failed."""


def sweep(
    *sources: Source,
    jobs: int | None = None,
    executor: str | Mapping[str, Mapping[str, Any]] | None = None,
    store: str | os.PathLike[str] = DEFAULT_STORE,
    rerun: str = DEFAULT_WORDS,
    time_limit: float | str | None = None,
    memory_limit: int | str | None = None,
    only: str | None = None,
    limit: int | None = None,
    fail_fast: bool = False,
    quiet: bool = False,
    wait: bool = True,
    retries: int | None = None,
    address: str | None = None,
    patience: float | str | None = None,
    finished: Callable[[Experiment, Swept], None] | None = None,
) -> pd.DataFrame:
    """Run what is missing of some experiments, and return the results table of all their runs.

    Several sweeps may share a store: each run is done by one of them. The runs of a sweep that died are done by the others.

    Parameters
    ----------
    *sources : paths of YAML files, mappings of the same form, experiments that were read, or "suite:NAME"
        A source that is given twice counts once.
    jobs : int or None
        Worker processes; None is one a processor.
    executor : str or {name: {setting: value}} or None
        Where runs happen: "local" (worker processes, with limits), "serial" (this process), "dask" (a cluster), or a plugin's;
        ``{"dask": {"patience": 600}}`` sets what it has to set. None is "local", and "serial" where no worker
        process can be started, which is said on stderr.
    store : path
        The SQLite file that holds the results; made where there is none.
    rerun : str
        Which runs to run: some of missing, failed, stale (the code of a plugin changed), stale-own (attnlab's own code
        changed); or all, or none.
    time_limit, memory_limit : of one run, seconds or "60s", bytes or "2GiB"; over the experiments' own limits
    only : str or None
        A filter over dotted columns: "similarity=dot,task.d=16".
    limit : int or None
        At most this many of the runs of each experiment that are to run; a second call runs the next ones.
    fail_fast : bool
        Stop at the first run that is neither ok nor skipped (`Stopped`).
    quiet : bool
        No progress on stderr.
    wait : bool
        Whether to wait at the end for the runs that other sweeps are at work on. Without, `attrs["elsewhere"]` of the table has
        their ids by experiment, if there are any.
    retries : int or None
        How often a run is tried again whose worker died of a signal; None is once.
    address : str or None
        The scheduler of a cluster, for an executor that has one: "tcp://10.0.0.1:8786", or a scheduler file (.json).
    patience : seconds or "60s" or None
        How long that scheduler may give no answer before the sweep ends (`ClusterLost`); None is 60 seconds.
    finished : callable, (Experiment, Swept) -> None, or None
        Called with each experiment whose runs are all stored, while those of the next one wait, and with what gives its table.

    Returns
    -------
    DataFrame
        One row a run and test condition; see `load_results`.

    Raises
    ------
    ExperimentError, SettingError, StoreError
        Before anything is run.
    ClusterLost
        When the scheduler of a cluster does not answer, or no longer. What was finished is stored.
    """
    experiments = distinct(sources)
    words = parse_rerun(rerun)
    asked = {"jobs": jobs, "address": address, "retries": retries, **limits(time_limit, memory_limit, patience)}
    executor = usable(executor, asked)
    executors = [executor_of(executor, asked, experiment) for experiment in experiments]
    with uncollected():
        whole = [(experiment, plan(experiment)) for experiment in experiments]
    chosen = _chosen(whole, only)
    _check_limit(limit)
    asked_metrics = _metrics_of_others(chosen)
    _look_up([run for _, runs in chosen for run in runs])
    left: dict[str, list[str]] = {}
    with _workers_begin_here(), Store(store) as opened, _Workers() as several:
        migrate.adopt(opened)
        reading = Reading(opened)
        for (experiment, runs), (_, planned), spec in zip(chosen, whole, executors, strict=True):
            _link(opened, experiment, planned)
            with uncollected():
                known, before = reading.known(runs)
                decided = _limited(_decided(opened, experiment, runs, words, known), limit)
            wanted = ("run", "skip", "elsewhere") if limit is None else ("run", "skip")
            runs_now = (p for p in decided if p.action in wanted)
            todo = by_examples(_with_metrics(p, asked_metrics.get(p.run.run_id, ())) for p in runs_now)
            told(opened, "attnlab_sweep_started", experiment=experiment, runs=todo)
            workers = several.for_runs(spec, todo)
            if workers.name == "local":
                warmed(p.run for p in decided if p.action == "run")
            with Progress(experiment.name, len(todo), quiet) as progress:
                again = functools.partial(_is_stale, opened, experiment, words)
                shared = Shared(opened, todo, before, Refusing(workers), progress, wait, again)
                for run, result in shared.as_completed():
                    result = _with_provenance(run, result)
                    if not opened.append(run, result, result.fingerprints):
                        progress.elsewhere(1)  # it was taken over, and done
                        continue
                    progress.finished(run, result)
                    told(opened, "attnlab_run_finished", run=run, result=result)
                    if fail_fast and result.status not in ("ok", "skipped"):
                        raise Stopped(f"run {run.run_id} ({run.label()}): {result.status}: {result.reason}")
            if shared.elsewhere:
                left[experiment.name] = list(shared.elsewhere)
                print(
                    f"attnlab: {experiment.name}: {len(shared.elsewhere)} runs are at work elsewhere "
                    f"({named(shared.elsewhere.values())}) and were not waited for",
                    file=sys.stderr,
                )
            table = _table(opened, [(experiment, reading.results(runs))])
            told(opened, "attnlab_sweep_finished", experiment=experiment, frame=table() if hooks_of_others() else None)
            if finished is not None and not shared.elsewhere:
                all_of_it = (
                    table if len(runs) == len(planned) else _table(opened, [(experiment, reading.results(planned))])
                )
                finished(experiment, Swept(experiment, planned, all_of_it))
        if len(chosen) != 1:
            table = _table(opened, [(experiment, reading.results(runs)) for experiment, runs in chosen])
    frame = table().copy()
    frame.attrs |= {"elsewhere": left} if left else {}
    return frame


class _Workers(contextlib.ExitStack):
    """The executor of a sweep. Experiments in a row that have the same settings of it share one."""

    _spec: Any = None
    _executor: Any = None

    def for_runs(self, spec: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> Any:
        """An executor, which is shown the runs first where it wants to see them (`prepare`)."""
        if self._executor is None or spec != self._spec:
            self.close()
            self._spec, self._executor = spec, self.enter_context(contextlib.closing(build("executor", spec)))
        if runs and (prepare := getattr(self._executor, "prepare", None)) is not None:
            prepare(runs)
        return self._executor


def _link(opened: Store, experiment: Experiment, planned: Sequence[Run]) -> None:
    """Link an experiment to its runs, register what it says, and say so if it takes the place of another one of its name."""
    path = "" if experiment.path is None else text_of(str(experiment.path.resolve()))
    replaced = opened.add_experiment(experiment.name, experiment.question, experiment.text, _ids(planned), path)
    opened.predictions.add(experiment, planned)
    if replaced is None or replaced.text == experiment.text:
        return
    if replaced.path != path or (not path and replaced.question != experiment.question):
        said = (
            f"attnlab: {experiment.name}: this experiment takes the place of another one of the same name in {opened.path}, "
            f"that of {replaced.path or 'a mapping'} ({replaced.question}). The results stay, and `attnlab results` shows them "
            f"under no experiment; give one of the two a `name:` of its own"
        )
        print(visible(said), file=sys.stderr)


def _is_stale(opened: Store, experiment: Experiment, words: Collection[str], run: Run) -> bool:
    """Whether what another sweep has just stored was made with other code than that of this process."""
    asked = {*words} & {"stale", "stale-own"} or {"none"}
    (planned,) = _decided(opened, experiment, [run], asked, migrate.known(opened, [run.run_id]))
    return planned.action != "keep"


def plan_with_reasons(
    sources: Sequence[Source],
    store: str | os.PathLike[str] = DEFAULT_STORE,
    rerun: str = DEFAULT_WORDS,
    only: str | None = None,
    limit: int | None = None,
) -> list[tuple[Experiment, tuple[Planned, ...]]]:
    """What a sweep would run, and why; a store that does not exist counts as empty and is not made.

    What is to run and lies beyond `limit` has the action "later"; what another sweep is at work on, "elsewhere"; what cannot be
    carried out, as its parts say, "skip", with the reason.
    """
    words = parse_rerun(rerun)
    _check_limit(limit)
    store = checked_path(store)
    with uncollected():
        chosen = _chosen([(experiment, plan(experiment)) for experiment in distinct(sources)], only)
    if not there_is(store):
        new = [(experiment, with_refusals(decide(runs, {}, fingerprints, words))) for experiment, runs in chosen]
        return [(experiment, _limited(decided, limit)) for experiment, decided in new]
    with Store(store, create=False) as opened, uncollected():
        decided = [
            (experiment, _decided(opened, experiment, runs, words, migrate.known(opened, _ids(runs))))
            for experiment, runs in chosen
        ]
    return [(experiment, _limited(planned, limit)) for experiment, planned in decided]


def _with_provenance(run: Run, result: Result) -> Result:
    """The result with fingerprints and versions from the worker that made it, or from this process if it gave none."""
    measured = {metric for values in result.metrics.values() for metric in values} | {*run.metrics}
    return dataclasses.replace(
        result,
        fingerprints=result.fingerprints or {**fingerprints(run), **fingerprints_of_metrics(measured)},
        versions=result.versions or versions_of(run, measured),
    )


def _decided(
    opened: Store, experiment: Experiment, runs: Sequence[Run], words: Collection[str], known: Mapping[str, Known]
) -> tuple[Planned, ...]:
    shown = fingerprints_of_metrics(shown_by(experiment))
    decided = decide(runs, known, but_for_the_seed(lambda run: {**fingerprints(run), **shown}), words)
    holders = opened.leases.at_work([p.run.run_id for p in decided if p.action == "run"])
    return with_refusals(
        dataclasses.replace(p, action="elsewhere", reason=f"{p.reason}; at work elsewhere ({holders[p.run.run_id]})")
        if p.run.run_id in holders
        else p
        for p in decided
    )


def _look_up(runs: Sequence[Run]) -> None:
    """Fingerprint the code as it was imported, before workers start, so that each of them finds it done."""
    for run in {run.but_the_seed: run for run in runs}.values():
        _execute.look_up(run)


def _workers_begin_here() -> contextlib.AbstractContextManager[None]:
    """Within, workers are forked from what this process is now: plugins are loaded, and none of their hooks was called."""
    try:
        from attnlab.sweeps.executors.local import LocalExecutor
    except ImportError:  # where no executor can start a process, none is needed
        return contextlib.nullcontext()
    if LocalExecutor.unavailable() or sys.platform != "linux":
        return contextlib.nullcontext()
    from attnlab.sweeps.executors.zygote import shared

    return shared()


def _metrics_of_others(chosen: Sequence[tuple[Experiment, Sequence[Run]]]) -> dict[str, tuple[str, ...]]:
    """By run: the metrics of others that some experiment shows or claims something of."""
    found: dict[str, set[str]] = {}
    for experiment, runs in chosen:
        if mine := metrics_of_others(shown_by(experiment)):
            for run in runs:
                found.setdefault(run.run_id, set()).update(mine)
    return {run_id: tuple(sorted(columns)) for run_id, columns in found.items()}


def _with_metrics(planned: Planned, asked: Collection[str]) -> Run:
    """The run with the metrics of others that are measured: those asked for now, and those it was measured by before."""
    columns = metrics_of_others({*asked, *planned.measured})
    return dataclasses.replace(planned.run, metrics=columns) if columns else planned.run


def shown_by(experiment: Experiment) -> set[str]:
    """The metrics that an experiment shows, or claims something of."""
    return {*experiment.metrics, *(m for claim in experiment.claims for m in claim.metrics)}


def _ids(runs: Sequence[Run]) -> list[str]:
    return [run.run_id for run in runs]


def _table(
    opened: Store, found: Sequence[tuple[Experiment, Sequence[tuple[Run, Result]]]]
) -> Callable[[], pd.DataFrame]:
    """What gives the table of some experiments and their results, which is made once, by whoever asks first."""
    metrics = {experiment.name: experiment.metrics for experiment, _ in found}
    budgets = {experiment.name: experiment.allowance for experiment, _ in found if experiment.allowance is not None}
    registered, path = registered_in(opened, metrics), opened.path

    @functools.cache
    def made() -> pd.DataFrame:
        records = ((experiment.name, *pair) for experiment, pairs in found for pair in pairs)
        return frame_of(records, metrics=metrics, store=path, registered=registered, budgets=budgets)

    def table() -> pd.DataFrame:
        with making:
            return made()

    making = threading.Lock()
    return table


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be 1 or more, or None for all; got {limit}")


def _limited(decided: Sequence[Planned], limit: int | None) -> tuple[Planned, ...]:
    """What was decided, with so many of the runs that are to run; the rest are for later."""
    if limit is None:
        return tuple(decided)
    left = itertools.count()
    return tuple(
        dataclasses.replace(p, action="later") if p.action == "run" and next(left) >= limit else p for p in decided
    )


def _chosen(
    planned: Sequence[tuple[Experiment, tuple[Run, ...]]], only: str | None
) -> list[tuple[Experiment, tuple[Run, ...]]]:
    """The runs of each experiment that the filter leaves.

    Raises
    ------
    SettingError
        When the filter names a column that no run has, or leaves no run at all.
    """
    if only:
        everything = [run for _, runs in planned for run in runs]
        kept = set(filtered(everything, only))
        if everything and not kept:
            raise SettingError(
                f"--only {only!r} leaves none of {len(everything)} runs; `attnlab plan` shows their columns"
            )
        planned = [(experiment, tuple(run for run in runs if run in kept)) for experiment, runs in planned]
    return list(planned)


def distinct(sources: Sequence[Source]) -> list[Experiment]:
    """The experiments, read; the same one given twice counts once, and `suite:NAME` is all experiments of a suite.

    Raises
    ------
    ExperimentError
        For mistakes in a file.
    SettingError
        When two different ones have the same name.
    """
    found: dict[str, Experiment] = {}
    for source in expanded(sources):
        experiment = source if isinstance(source, Experiment) else read(source)
        same = found.setdefault(experiment.name, experiment)
        if same.text != experiment.text:
            where = " and ".join(str(e.path or "a mapping") for e in (same, experiment))
            raise SettingError(f"two experiments are called {experiment.name!r} ({where}): give one of them a `name:`")
    return list(found.values())
