"""What the store holds, as DataFrames: one row a run and test condition, or one run with its arrays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.errors import StoreError
from attnlab.results import AXES, FIRST, LAST
from attnlab.sweeps.cells import Cells, Settings
from attnlab.sweeps.collecting import uncollected
from attnlab.sweeps.columns import ROLES
from attnlab.sweeps.environment import ENVIRONMENT
from attnlab.sweeps.run import Result, Run

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.sweeps.store import Store

__all__ = ["AXES", "FIRST", "LAST", "StoredRun", "frame_of", "load_results", "load_run", "registered_in", "with_files"]

DEFAULT_STORE = "results/attnlab.db"


_TEXTS = (
    "test",
    "reason",
    "notes",
    "status",
    "backend",
    "executor",
    "attnlab_version",
    "started_at",
    "plugin_versions",
)


def _own_of(results: Sequence[Result], plugin_versions: Sequence[str]) -> dict[str, Sequence[Any]]:
    """What the table says of runs besides their settings and their metrics, by column."""
    said = [(r.status, r.reason, r.attempts, r.executor, r.versions.get("attnlab", ""), r.started_at) for r in results]
    asked = [
        (
            " | ".join(get("notes", ())), get("fit_seconds", np.nan), get("n_parameters", np.nan),
            get("operations_per_query", np.nan), get("converged"), get("n_tuned", np.nan), get("backend", ""),
        )
        for get in (result.facts.get for result in results)
    ]  # fmt: skip
    status, reason, attempts, executor, attnlab_version, started_at = zip(*said, strict=True) if said else ((),) * 6
    notes, fit_seconds, n_parameters, operations, converged, n_tuned, backend = (
        zip(*asked, strict=True) if asked else ((),) * 7
    )
    return {
        "status": status,
        "reason": reason,
        "notes": notes,
        "attempts": attempts,
        "fit_seconds": fit_seconds,
        "n_parameters": n_parameters,
        "operations_per_query": operations,
        "converged": converged,
        "n_tuned": n_tuned,
        "backend": backend,
        "executor": executor,
        "attnlab_version": attnlab_version,
        "started_at": started_at,
        "plugin_versions": plugin_versions,
    }


def _plugins_in(versions: Mapping[str, str]) -> str:
    own = {name: version for name, version in versions.items() if name not in ENVIRONMENT and name != "attnlab"}
    return " ".join(f"{name}={version}" for name, version in sorted(own.items()))


def _plugins_of(results: Sequence[Result]) -> list[str]:
    """`_plugins_in` of the versions of each; many have the same mapping."""
    known = {id(result.versions): result.versions for result in results}
    said = {found: _plugins_in(versions) for found, versions in known.items()}
    return [said[id(result.versions)] for result in results]


def _ordered(names: Iterable[str]) -> list[str]:
    """The pinned order of columns: the run, with each axis before its settings; its metrics; its outcome."""
    names = list(names)
    order = [n for n in FIRST if n in names]
    for axis in AXES:
        order += [n for n in names if n == axis or n.startswith(f"{axis}.")]
    rest = [n for n in names if n not in order and n not in LAST]
    order += [n for n in rest if "." in n]  # settings of parts inside a composed mechanism
    order += sorted(n for n in rest if "." not in n)
    return [*order, *(n for n in LAST if n in names)]


class _Carried(dict[str, Any]):
    """What a table carries along, which nobody changes: pandas copies `attrs` to the bottom at every step of a computation."""

    def __deepcopy__(self, memo: Any) -> _Carried:
        return self


@uncollected()
def frame_of(
    records: Iterable[tuple[str, Run, Result]],
    tidy: bool = False,
    metrics: Mapping[str, Sequence[str]] | None = None,
    store: str | os.PathLike[str] | None = None,
    registered: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    budgets: Mapping[str, tuple[str, float, Sequence[str]]] | None = None,
) -> pd.DataFrame:
    """The results table of (experiment, run, result) records.

    Parameters
    ----------
    records : iterable of (str, Run, Result)
    tidy : bool
    metrics : mapping or None
        The metrics that each experiment shows, by its name.
    store : path or None
        Where the records come from.
    registered : mapping or None
        The versions of each experiment that were registered, by its name.
    budgets : mapping or None
        Of the experiments that have one, the column that it is about, how many, and the columns that it chooses.

    Returns
    -------
    DataFrame
        One row a run and test condition; with `tidy`, one row a run, test condition and metric, in the columns `metric`
        and `value`. A run that did not succeed has NaN metrics and its reason. `attrs["tuned"]` lists the columns that were
        chosen on validation data or by a budget, `attrs["candidates"]` what they were chosen from, `attrs["metrics"]` the metrics that each
        experiment shows, the first of which ranks, `attrs["store"]` the path of the store, if it came from one, and
        `attrs["registered"]` what each experiment said before its results (`attnlab.sweeps.predictions`).
    """
    import pandas as pd

    tuned: dict[str, Any] = {}
    candidates: dict[str, list[Any]] = {}
    settings = Settings()
    records = list(records)
    drawn = []
    for experiment, run, result in records:
        chosen = result.facts.get("tuned") or {}
        drawn.append(settings.code(experiment, run, chosen))
        if chosen:
            tuned |= chosen
            candidates |= run.spec.get("tune", {})
    results = [result for _, _, result in records]
    own: dict[str, Any] = {
        "run_id": [run.run_id for _, run, _ in records],
        "test": [],
        **_own_of(results, _plugins_of(results)),
    }
    if budgets:
        wanted = (budgets.get(experiment) for experiment, _, _ in records)
        own["off_budget"] = [own[b[0]][n] / b[1] - 1 if b is not None else np.nan for n, b in enumerate(wanted)]
    tests = [(n, *pair) for n, result in enumerate(results) for pair in (result.metrics or {"test": {}}).items()]
    of = [n for n, _, _ in tests]
    if len(of) != len(records):  # several test conditions of a run
        drawn = [drawn[n] for n in of]
        own = {name: [column[n] for n in of] if column else [] for name, column in own.items()}
    own["test"] = [test for _, test, _ in tests]
    settings.codes, settings.seeds = [code for code, _ in drawn], [seed for _, seed in drawn]
    cells = Cells(settings, [values for _, _, values in tests], own, _TEXTS)
    names = cells.names
    if not cells.n_rows:  # a column model_seed only where it was set apart, and off_budget only where there is a budget
        names = [name for name in (*FIRST, *AXES, *LAST) if name not in ("model_seed", "off_budget")]
    elif budgets and not {*cells.settings.cells("experiment")} & {*budgets}:
        names.remove("off_budget")
    columns_ = {name: cells.column(name) if cells.n_rows else [] for name in _ordered(names)}
    frame = pd.DataFrame(columns_, columns=list(columns_)).astype({"converged": "boolean"})
    shown = _Carried({name: list(columns) for name, columns in (metrics or {}).items()})
    frame.attrs = {"tuned": list(tuned), "metrics": shown}
    frame.attrs |= {"candidates": _Carried(candidates)} if candidates else {}
    if budgets:
        frame.attrs["widths"] = {name: list(columns) for name, (_, _, columns) in budgets.items()}
        if {*(frame["experiment"].unique() if cells.n_rows else ())} <= set(budgets):
            frame.attrs["tuned"] += dict.fromkeys(c for columns in frame.attrs["widths"].values() for c in columns)
    frame.attrs |= {"store": os.path.abspath(store)} if store is not None else {}
    if registered:
        frame.attrs["registered"] = _Carried({name: list(one) for name, one in registered.items()})
    if not tidy:
        return frame
    measured = metric_columns(frame)
    keys = [c for c in frame.columns if c not in measured]
    if not measured:  # no run was measured; each still has a row
        return frame.assign(metric="", value=np.nan)
    return frame.melt(id_vars=keys, value_vars=measured, var_name="metric", value_name="value")


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """The metrics of a results table, in its order."""
    known = {*FIRST, *AXES, *LAST, "metric", "value"}
    return [c for c in frame.columns if c not in known and "." not in c]


def load_results(
    store: str | os.PathLike[str] = DEFAULT_STORE, tidy: bool = False, experiment: str | None = None
) -> pd.DataFrame:
    """The results of a store, one row a run and test condition.

    Parameters
    ----------
    store : path of the store that `attnlab sweep` wrote
    tidy : bool
        One row a run and metric instead, in the columns `metric` and `value`.
    experiment : str or None
        The name of one experiment; None for all.

    Raises
    ------
    StoreError
        When there is no such store, or it cannot be read.
    """
    from attnlab.sweeps.experiment.stored import budget_of, metrics_of
    from attnlab.sweeps.store import Store

    with Store(store, create=False) as opened:
        asked = [linked for linked in opened.experiments() if experiment in (None, linked.key)]
        metrics = {linked.key: metrics_of(linked) for linked in asked}
        budgets = {linked.key: found for linked in asked if (found := budget_of(linked)) is not None}
        with uncollected():
            return frame_of(opened.rows(experiment), tidy, metrics, store, registered_in(opened, metrics), budgets)


def registered_in(opened: Store, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The versions of some experiments that were registered, as plain data."""
    wanted = set(names)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in opened.predictions.of():
        if one.key in wanted:
            found.setdefault(one.key, []).append(dataclasses.asdict(one))
    return found


@dataclass(frozen=True)
class StoredRun:
    """One run with what was kept of it: loss curve, learned arrays, the weights of a few test examples."""

    run: Run
    result: Result
    arrays: Mapping[str, np.ndarray[Any, Any]]

    def __repr__(self) -> str:
        kept = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"<StoredRun {self.run.run_id} {self.result.status}: {self.run.label()}; {kept or 'no arrays'}>"


def load_run(run_id: str, store: str | os.PathLike[str] = DEFAULT_STORE) -> StoredRun:
    """One run by its id, or by the beginning of it.

    `arrays` has "loss_curve", "params.mechanism.similarity.Wq", "test.<condition>.W", "test.<condition>.gold", ... as far as they
    were kept.

    Raises
    ------
    StoreError
        When there is no such store, or it cannot be read.
    UnknownName, AmbiguousName
        When no run, or more than one, has an id that begins so.
    """
    from attnlab.sweeps.artifacts import arrays_in
    from attnlab.sweeps.rows import Unfit
    from attnlab.sweeps.store import Store

    with Store(store, create=False) as opened:
        run, result = opened.load_run(run_id)
    try:
        return StoredRun(run, result, arrays_in(result.artifacts))
    except Unfit as error:
        raise StoreError(f"{os.fspath(store)}: run {run.run_id}: {error}; sweep it again with --rerun all") from None


def with_files(run: Run, store: str | os.PathLike[str]) -> Run:
    """The same run, with the files that it reads where they are now.

    A project may be moved with its results. If a file is not at its path, or has other content there, it is searched by the
    end of its path: below the folders of the experiments that plan the run, the working directory, the folder of the store
    and its parent. A file is used only if its content is the same.

    Raises
    ------
    StoreError
        Where the store says of a run less than it takes to repeat it.
    """
    from attnlab.sweeps.experiment.inputs import found_again
    from attnlab.sweeps.store import Store

    if lacking := [role for role in ROLES if role not in run.spec]:
        raise StoreError(
            f"{store}: run {run.run_id}: canonical has no {lacking[0]}, so that the run cannot be repeated; attnlab writes no such row"
        )
    inputs = run.spec.get("inputs", {})
    if not inputs:
        return run
    with Store(store, create=False) as opened:
        planned = [Path(e.path) for e in opened.experiments() if run.run_id in e.run_ids and e.path]
    home = Path(store).resolve().parent
    folders = [*(path.resolve().parent for path in planned), Path.cwd(), home, home.parent]
    places = {path: found_again(path, digest, folders) or path for path, digest in inputs.items()}

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {places.get(key, key): moved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [moved(inner) for inner in value]
        return places.get(value, value) if isinstance(value, str) else value

    return Run(Run.of(moved(run.spec)).canonical, run.run_id)
