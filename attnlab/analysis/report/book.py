"""From the store to the plain data of a report. All of it is in the store or is judged from it; there is no HTML here."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnlab.analysis.claims import check_claims
from attnlab.analysis.compare import compare, pairwise
from attnlab.analysis.referee.judging import Report, reported
from attnlab.analysis.referee.stored import Stored
from attnlab.analysis.report.curves_and_weights import Budget, Lookback, look_back
from attnlab.analysis.report.sections import Section
from attnlab.analysis.summary import summarise, varied
from attnlab.errors import AttnlabError
from attnlab.kinds import PARTS
from attnlab.plugins import FILE, active_options
from attnlab.progress import over
from attnlab.sweeps.collecting import uncollected
from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.environment import environment
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.experiment.stored import read_stored
from attnlab.sweeps.frame import frame_of, metric_columns, registered_in
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Linked, Store
from attnlab.tables import duration

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Book", "Chapter", "Comparison", "Failure", "collect"]

COMPARED = (*PARTS, "mechanism", "model")
TRACEBACK_LIMIT = 20_000  # characters
RUNS_NAMED = 12  # for each kind of failure
PAIRS_OF = 40  # pairs are listed for at most so many competitors
REFUSALS = (
    AttnlabError,
    ValueError,
    ArithmeticError,
)  # one judgement may fail; the report says so and the others go on


@dataclass(frozen=True)
class Failure:
    """Runs that ended in the same way: their status and reason, one traceback, and some of the runs."""

    status: str
    reason: str
    count: int
    traceback: str
    runs: Sequence[tuple[str, str, str]]  # (run_id, label, plugin files as `Chapter.plugin_files` has them)


@dataclass(frozen=True)
class Comparison:
    """What `attnlab.compare` says of one axis, or why it says nothing. `pairs` is None if there are too many to list."""

    metric: str
    by: str
    table: pd.DataFrame | None
    pairs: pd.DataFrame | None
    conclusion: str


@dataclass(frozen=True)
class Chapter:
    """One experiment: its question, and the results that answer it."""

    name: str
    question: str
    source: str
    text: str
    linked_at: str
    n_planned: int
    frame: pd.DataFrame
    metrics: Sequence[str]  # to show; the first ranks
    points: Sequence[str]  # the axes in which the runs differ, without the test condition
    ranking: pd.DataFrame
    claims: pd.DataFrame | None
    claims_problem: str
    comparisons: Sequence[Comparison]
    failures: Sequence[Failure]
    notes: Sequence[tuple[str, int]]  # the remarks of runs, and how many runs made each
    lookback: Lookback
    plugin_files: Mapping[str, str] = field(default_factory=dict)  # run_id -> "--plugin FILE.py", if a run needs one
    asked: Sequence[str] = ()  # the axes that claims are about, the one that most are about first
    more: Sequence[Section] = ()  # after the comparison; the report of a store has none
    referee: Report | None = None  # None where no experiment plans the runs

    @property
    def statuses(self) -> dict[str, int]:
        """How many runs have each status, `ok` first."""
        found = Counter(map(str, self.frame.drop_duplicates("run_id")["status"]))
        return {"ok": found.pop("ok", 0), **{status: found[status] for status in sorted(found)}}

    @property
    def n_missing(self) -> int:
        """Planned runs that were never run."""
        return max(0, self.n_planned - sum(self.statuses.values()))


@dataclass(frozen=True)
class Book:
    """Everything that a report says."""

    store: str
    chapters: Sequence[Chapter]
    environment: Sequence[tuple[str, str]]
    given_files: Sequence[str] = ()  # the plugin files of this process
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def collect(store: str | os.PathLike[str], experiment: str | None = None) -> Book:
    """Collect what the store holds, and judge it.

    Parameters
    ----------
    store : path
    experiment : str or None
        The name of one experiment. None is all of them, and the runs that no experiment plans any longer.

    Raises
    ------
    StoreError, UnknownName
        When there is no such store or experiment, or a row is damaged.
    """
    with uncollected(), Store(store, create=False) as opened:
        linked = {entry.key: entry for entry in opened.experiments()}
        records: dict[str, list[tuple[str, Run, Result]]] = {
            key: [] for key in linked if experiment is None or key == experiment
        }
        for record in opened.rows(experiment):
            records.setdefault(record[0], []).append(record)
        budget = Budget(len(records))
        given, stored = active_options()["files"], Stored(store)
        chapters = [
            _chapter(linked.get(key), key, found, opened, budget, given, stored)
            for key, found in over(records.items(), "report", "experiments")
        ]
    environment = _environment([record for found in records.values() for record in found])
    return Book(os.fspath(store), chapters, environment, given)


def _chapter(
    linked: Linked | None,
    key: str,
    records: Sequence[tuple[str, Run, Result]],
    opened: Store,
    budget: Any,
    given: Sequence[str],
    stored: Stored,
) -> Chapter:
    frame = frame_of(records, registered=registered_in(opened, [key]))
    experiment, problem = _experiment(linked)
    if experiment is not None:
        frame.attrs["tuned"] = tuple(experiment.chosen)
    measured = [m for m in metric_columns(frame) if frame[m].notna().any()]
    metrics = [m for m in (experiment.metrics if experiment else ()) if m in measured]
    metrics = metrics or sorted(measured, key=lambda m: m != "alignment_accuracy")[:6]
    points = [c for c in varied(frame) if c != "test"]
    ranking = summarise(frame, metrics, standing=True) if len(frame) and metrics else frame.iloc[:0, :0]
    claims, problem = _claims(frame, experiment, problem)
    files = {run.run_id: needed for _, run, result in records if (needed := _plugin_files(run, result, given))}
    return Chapter(
        name=key,
        question=linked.question if linked else "Runs that no experiment plans any longer",
        source=(experiment.source or "") if experiment else "",
        text=linked.text if linked else "",
        linked_at=linked.linked_at if linked else "",
        n_planned=len(linked.run_ids) if linked else len(records),
        frame=frame,
        metrics=metrics,
        points=points,
        ranking=ranking,
        claims=claims,
        claims_problem=problem,
        comparisons=_comparisons(frame, metrics[:1]),
        failures=_failures(records, files),
        notes=Counter(str(note) for _, _, r in records for note in r.facts.get("notes", ())).most_common(),
        lookback=look_back(frame, points, opened, budget),
        plugin_files=files,
        asked=_asked(experiment, points),
        referee=reported(key, frame, experiment, stored) if linked is not None and len(frame) else None,
    )


def _asked(experiment: Experiment | None, points: Sequence[str]) -> list[str]:
    """The axes in which the two sides of a claim differ, the most frequent first; without tasks."""
    counts: Counter[str] = Counter()
    for claim in experiment.claims if experiment else ():
        sides = [chosen for _, chosen in claim.selections()]
        if len(sides) == 2:
            counts.update(key for key in {**sides[0], **sides[1]} if sides[0].get(key) != sides[1].get(key))
    return [name for name, _ in counts.most_common() if name in points and name.partition(".")[0] != "task"]


def _plugin_files(run: Run, result: Result, given: Sequence[str]) -> str:
    """The `--plugin` options that the command of a run lacks. The store knows the names of plugin files, not the folders."""
    versions = result.versions or _versions(run)
    known = {Path(file).name for file in given}
    files = versions.get(FILE, "").split(", ") if FILE in versions else []
    files += [f"{name}.py" for name, version in versions.items() if version == "file"]  # of a store of schema version 1
    return " ".join(f"--plugin {shlex.quote(file)}" for file in files if file not in known)


def _versions(run: Run) -> dict[str, str]:
    """The plugins of a run that was killed before it could tell. A plugin that is not installed was a file."""
    roles = [role for role in ROLES if role in run.spec]  # a damaged row may have lost its settings
    names = [name for role in roles for _, _, name, _ in components_of(role, run.spec[role])]
    found = {}
    for distribution in {name.rpartition(":")[0] for name in names} - {""}:
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[distribution] = "FILE.py" if distribution == FILE else "file"
    return found


def _experiment(linked: Linked | None) -> tuple[Experiment | None, str]:
    """The experiment that was swept, or why its text cannot be read here."""
    if linked is None:
        return None, ""
    try:
        return read_stored(linked), ""
    except AttnlabError as error:
        return None, f"its text cannot be read here: {error}"


def _claims(frame: pd.DataFrame, experiment: Experiment | None, problem: str) -> tuple[pd.DataFrame | None, str]:
    if experiment is None or not experiment.claims:
        return None, problem
    try:
        return check_claims(frame, experiment), ""
    except REFUSALS as error:
        return None, _said(error)


def _said(error: BaseException) -> str:
    """An error in words. An error of attnlab is a sentence; any other needs the name of its class."""
    return str(error) if isinstance(error, AttnlabError) else f"{type(error).__name__}: {error}"


def _comparisons(frame: pd.DataFrame, metrics: Sequence[str]) -> list[Comparison]:
    """The comparison of each axis of the mechanism that varies, on the metrics."""
    found = []
    for metric in metrics:
        for by in COMPARED:
            if by in frame and frame[by].dropna().nunique() > 1:
                try:
                    table = compare(frame, metric, by)
                    pairs = pairwise(frame, metric, by, tidy=True) if len(table) <= PAIRS_OF else None
                    found.append(Comparison(metric, by, table, pairs, str(table.attrs["conclusion"])))
                except REFUSALS as error:
                    found.append(Comparison(metric, by, None, None, _said(error)))
    return found


def _failures(records: Iterable[tuple[str, Run, Result]], files: Mapping[str, str]) -> list[Failure]:
    groups: dict[tuple[str, str], list[tuple[Run, Result]]] = {}
    for _, run, result in records:
        if result.status != "ok":
            groups.setdefault((result.status, result.reason), []).append((run, result))
    return [
        Failure(
            status,
            reason,
            len(group),
            group[0][1].traceback[-TRACEBACK_LIMIT:],
            [(run.run_id, run.label(), files.get(run.run_id, "")) for run, _ in group[:RUNS_NAMED]],
        )
        for (status, reason), group in sorted(groups.items(), key=lambda item: (item[0][0] == "skipped", -len(item[1])))
    ]


def _environment(records: Sequence[tuple[str, Run, Result]]) -> list[tuple[str, str]]:
    """What the runs were made with: each version, with the number of runs if there are several versions."""
    unique = {run.run_id: result for _, run, result in records}.values()
    names = dict.fromkeys(name for result in unique for name in result.versions)
    facts = [(name, [r.versions[name] for r in unique if name in r.versions]) for name in names]
    facts.append(("backend", [r.facts["backend"] for r in unique if "backend" in r.facts]))
    facts.append(("executor", [r.executor for r in unique if r.executor]))
    rows = [(name, _counted(Counter(map(str, values)))) for name, values in facts]
    started = sorted(r.started_at for r in unique if r.started_at)
    if started:
        rows.append(("started", started[0] if started[0] == started[-1] else f"{started[0]} to {started[-1]}"))
    rows.append(("time in runs", duration(sum(r.seconds for r in unique))))
    here = environment()
    rows.append(("report written by", ", ".join(f"{name} {version}" for name, version in here.items())))
    return [(name, value) for name, value in rows if value]


def _counted(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({n} runs)" for value, n in counts.items())
