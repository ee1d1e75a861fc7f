"""Judging claims: the effect of each seed, its 95 % interval, and a verdict.

    plan + results table  ->  the runs of a claim  ->  one number a seed  ->  interval  ->  verdict

The unit is the seed. Within a seed, all runs that `where` selects are averaged first. The two sides of a comparison are
averaged over the grid points that both have. So they differ only in what the claim selects them by.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.analysis.measures import bounds_of as bounds_of_metric
from attnlab.analysis.measures import direction_of
from attnlab.analysis.presentation import ClaimTable
from attnlab.analysis.verdicts import (
    Decision,
    Region,
    at_end,
    bounds_of,
    decide,
    decide_correlation,
    decide_exact,
)
from attnlab.errors import SettingError
from attnlab.registry import get
from attnlab.sweeps.columns import buildable, columns
from attnlab.sweeps.experiment.claims import Claim, Table
from attnlab.sweeps.experiment.read import Experiment, read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.predictions import RESULTS, Registered, Written, content_of, says_more, written

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Judgement", "check_claims", "judge", "table_of", "told", "versions_of"]

NAN = float("nan")
COLUMNS = ["say", "form", "metric", "verdict", "effect", "low", "high", "n"]
COLUMNS += [
    "by",
    "within",
    "at_least",
    "at_most",
    "exact",
    "doubtful",
    "sure_low",
    "sure_high",
    "seeds_needed",
    "reason",
    "why",
    "written",
    "change",
]
Cell = tuple[Any, ...]  # a grid point and a test condition


@dataclass(frozen=True)
class Judgement:
    """A claim with its decision and the effect of each seed."""

    claim: Claim
    decision: Decision
    by_seed: Mapping[int, float]

    @property
    def region(self) -> Region:
        return Region.of(self.claim)


def check_claims(
    frame: pd.DataFrame, experiment: Experiment | str | os.PathLike[str] | Mapping[str, Any]
) -> pd.DataFrame:
    """Judge every claim of an experiment by its results.

    Parameters
    ----------
    frame : DataFrame
        The results table (`attnlab.sweep`, `attnlab.load_results`), one row a run and test condition. It may have rows of
        other experiments. Rows are found by `run_id`. If the table has none of the planned run_ids, rows are found by the
        columns of the plan.
    experiment : Experiment, path or mapping

    Returns
    -------
    DataFrame
        One row a claim: `say`, `form`, `metric`, `verdict` (supported, refuted, undecided; of an exact claim identity,
        refuted, undecided), `effect` with `low` and `high` (95 % Student t interval over seeds; of an exact
        claim the least and the greatest value), `n` (seeds), the bound (`by`, `within`, `at_least`, `at_most`; NaN
        where there is none), `exact`, `seeds_needed` (how many seeds would decide at the observed spread; NaN if the claim is
        decided or no number is known), `reason`, `why` (the claim's own sentence), and `written`: "written before the first run"
        or "changed after N runs" with the `change`, where the store has registered the experiment ("" if not).
        `attrs["registered"]` says what was dropped or planned otherwise after there were results.

        The effect is in units of the metric. For `better` it is the mean difference, positive if the claim is right: if
        less is better, it is `than` minus `better`. A metric without direction is taken to be better higher. For `equal`
        it is the first minus the second, for `at_least` and `at_most` the mean. For `correlation` it is the mean over
        seeds of Pearson's r across the grid points within a seed, which has no unit.

    Raises
    ------
    ExperimentError
        When the experiment cannot be read.
    SettingError
        When the table is tidy, or two of its rows are the same point of the grid.
    """
    if not isinstance(experiment, Experiment):
        experiment = read(experiment)
    return told(judge(frame, experiment), frame, experiment)


def told(judgements: Sequence[Judgement], frame: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The table of `check_claims` from judgements, with when each claim was written."""
    return table_of(judgements, *written(experiment.claims, versions_of(frame, experiment)))


def versions_of(frame: pd.DataFrame, experiment: Experiment) -> list[Registered]:
    """The registered versions of an experiment that a results table has with it.

    If it claims now what none of them does, and some of its runs have a result, it is the last of them, as a sweep would register
    it. So a changed claim is called changed at once.
    """
    versions = [Registered(**one) for one in frame.attrs.get("registered", {}).get(experiment.name, ())]
    if says_more(experiment.claims, versions) and {"run_id", "status"} <= set(frame.columns):
        runs = plan(experiment)
        shown = frame["status"].isin(RESULTS) & frame["run_id"].isin([run.run_id for run in runs])
        if n := frame.loc[shown, "run_id"].nunique():
            versions.append(Registered(experiment.name, "", n, "", "", content_of(experiment, runs)))
    return versions


def table_of(judgements: Sequence[Judgement], when: Sequence[Written] = (), notes: Sequence[str] = ()) -> pd.DataFrame:
    """The table of `check_claims`."""
    rows = []
    for judged, told in zip(judgements, when or [Written("")] * len(judgements), strict=True):
        claim, decision = judged.claim, judged.decision
        rows.append(
            {
                "say": claim.say,
                "form": claim.form,
                "metric": ", ".join(claim.metrics),
                "verdict": decision.verdict,
                "effect": decision.effect,
                "low": decision.low,
                "high": decision.high,
                "n": decision.n,
                **bounds_of(claim),
                "exact": claim.exact,
                "doubtful": decision.doubtful,
                "sure_low": decision.sure_low,
                "sure_high": decision.sure_high,
                "seeds_needed": decision.seeds_needed,
                "reason": decision.reason,
                "why": claim.why or "",
                "written": told.when,
                "change": told.change,
            }
        )
    table = ClaimTable(rows, columns=COLUMNS)
    table.attrs["registered"] = list(notes)
    return table


def judge(frame: pd.DataFrame, experiment: Experiment | str | os.PathLike[str] | Mapping[str, Any]) -> list[Judgement]:
    """Judge claims as `check_claims` does, and keep the effect of each seed."""
    if not isinstance(experiment, Experiment):
        experiment = read(experiment)
    results = _Results(frame, experiment)
    return [_judge(claim, results) for claim in experiment.claims]


# -- the numbers of a claim -------------------------------------------------------------------------------------------
@dataclass
class _Side:
    """The runs of one selection: their metrics by cell and seed, and what is missing."""

    n_runs: int = 0
    cells: dict[Cell, dict[int, list[list[float]]]] = field(default_factory=dict)
    missing: dict[int, list[str]] = field(default_factory=dict)  # seed -> what is wrong with runs of it

    def at(self, seed: int, cells: Collection[Cell]) -> np.ndarray:
        """The metrics of one seed (cells, metrics). Runs that differ only in the side's own columns are averaged."""
        return np.array([np.mean(self.cells[cell][seed], axis=0) for cell in cells])

    def values(self) -> list[float]:
        """Every value of the first metric."""
        return [value[0] for by_seed in self.cells.values() for values in by_seed.values() for value in values]


def _judge(claim: Claim, results: _Results) -> Judgement:
    selections = [{**claim.where, **chosen} for _, chosen in claim.selections()] or [claim.where]
    own = {key for _, chosen in claim.selections() for key in chosen}
    points, pairing = _paired([results.runs_of(selection) for selection in selections], own, results.rows)
    if claim.form == "correlation":
        points = [{i: (results.mechanism_of(i),) for i in by_run} for by_run in points]
    common = set.intersection(*(set(by_run.values()) for by_run in points))
    kept = [{i: point for i, point in by_run.items() if point in common} for by_run in points]
    sides = results.sides(kept, [selection.get("test") for selection in selections], claim.metrics, "test" in own)
    cells = [cell for cell in sides[0].cells if all(cell in side.cells for side in sides)]
    seeds = [seed for seed in results.seeds if all(any(results.rows[i]["seed"] == seed for i in k) for k in kept)]
    missing = [what for side in sides for seed in seeds for what in side.missing.get(seed, [])]
    whole = [seed for seed in seeds if cells and not any(seed in side.missing for side in sides)]
    by_side = {seed: [side.at(seed, cells) for side in sides] for seed in whole}
    by_seed = {} if claim.form == "correlation" else {seed: _effect(claim, by_side[seed]) for seed in whole}

    no = ""
    if not common:
        no = f"the two selections share no grid point: they differ in {_differing(points, pairing)}"
    elif not seeds:
        no = "the two selections share no seed, and differences are taken seed by seed"
    elif missing:
        no = f"{len(missing)} of {sum(side.n_runs for side in sides)} runs have no value: {_counted(missing)}"
    elif not cells:
        no = "the two selections share no test condition"
    if claim.form == "correlation":
        means = np.mean([by_side[seed][0] for seed in whole], axis=0) if whole else np.empty((0, 2))
        decision = decide_correlation(_by_mechanism(cells, means), Region.of(claim))
    elif claim.exact:
        values = [value for seed in whole for value in _every_effect(claim, sides, seed, cells)]
        decision = decide_exact(values, Region.of(claim), len(whole))
    else:
        bounds = bounds_of_metric(claim.metrics[0], [v for side in sides for v in side.values()])
        ends = at_end([np.array([by_side[seed][i].mean() for seed in whole]) for i in range(len(sides))], bounds)
        reach = bounds if len(sides) == 1 else (bounds[0] - bounds[1], bounds[1] - bounds[0])
        overlap = max((results.overlap_of(i) for by_run in kept for i in by_run), default=0.0)
        decision = decide(by_seed.values(), Region.of(claim), reach, ends, overlap)
    notes = [no] if no else [decision.reason]
    if alone := sum(map(len, points)) - sum(map(len, kept)):
        notes.append(f"{alone} runs have no partner on the other side and are left out")
    lone = sum(len(side.cells) - len(cells) for side in sides)
    if lone and not missing:  # if runs are missing, these are their test conditions
        notes.append(f"{lone} test conditions have no partner on the other side and are left out")
    if claim.form == "better" and direction_of(claim.metrics[0]) is None:
        notes.append(f"{claim.metrics[0]} has no better direction, so higher is taken to be better")
    decision = dataclasses.replace(decision, reason="; ".join(filter(None, notes)))
    if no:
        decision = dataclasses.replace(decision, verdict="undecided", seeds_needed=NAN, doubtful=False)
    return Judgement(claim, decision, by_seed)


def _paired(
    picked: Sequence[Sequence[int]], own: Collection[str], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[int, Cell]], list[str]]:
    """The grid point of each run of each side, and its columns.

    They are the columns that every side has, without the seed and the columns that the claim selects the sides by.
    """
    shared = set.intersection(*({column for i in side for column in rows[i]} for side in picked))
    pairing = sorted(c for c in shared - {"seed"} if not any(c == key or c.startswith(f"{key}.") for key in own))
    return [{i: tuple(rows[i].get(c) for c in pairing) for i in side} for side in picked], pairing


def _effect(claim: Claim, arrays: Sequence[np.ndarray]) -> float:
    """The effect in one seed, from the metrics in each cell of each side."""
    means = [float(array.mean()) for array in arrays]
    if len(means) == 1:
        return means[0]
    return _sign(claim) * (means[0] - means[1])


def _every_effect(claim: Claim, sides: Sequence[_Side], seed: int, cells: Sequence[Cell]) -> list[float]:
    """What an exact claim is about: every value in one seed, or every difference between the sides in the same cell."""
    values = [[[value for (value,) in side.cells[cell][seed]] for cell in cells] for side in sides]
    if len(values) == 1:
        return [value for cell in values[0] for value in cell]
    pairs = [(one, other) for ones, others in zip(*values, strict=True) for one in ones for other in others]
    return [0.0 if math.isclose(one, other, rel_tol=1e-12) else _sign(claim) * (one - other) for one, other in pairs]


def _sign(claim: Claim) -> int:
    """-1 where the effect of a claim is the second side minus the first."""
    return -1 if claim.form == "better" and direction_of(claim.metrics[0]) == "down" else 1


def _by_mechanism(cells: Sequence[Cell], means: np.ndarray) -> np.ndarray:
    """Two metrics of each mechanism (mechanisms, 2), from those of each mechanism in each test condition."""
    named: dict[Any, list[np.ndarray]] = {}
    for cell, mean in zip(cells, means, strict=True):
        named.setdefault(cell[0], []).append(mean)
    return np.array([np.mean(rows, axis=0) for rows in named.values()]).reshape(-1, 2)


def _differing(points: Sequence[Mapping[int, Cell]], pairing: Sequence[str]) -> str:
    """The columns in which two selections have no value in common."""
    values = [[{point[j] for point in side.values()} for j in range(len(pairing))] for side in points]
    return ", ".join(c for j, c in enumerate(pairing) if not set.intersection(*(side[j] for side in values)))


def _counted(missing: Sequence[str]) -> str:
    counts = Counter(missing).most_common()
    more = f", {len(counts) - 3} other reasons" if len(counts) > 3 else ""
    return ", ".join(f"{n} {what}" for what, n in counts[:3]) + more


# -- the runs ---------------------------------------------------------------------------------------------------------
class _Results:
    """The planned runs of an experiment, and what the table has of each."""

    def __init__(self, frame: pd.DataFrame, experiment: Experiment) -> None:
        if {"metric", "value"} <= set(frame.columns):
            raise SettingError("claims need the wide table, and this one is tidy; give load_results(..., tidy=False)")
        self._runs = runs = plan(experiment)
        self._overlaps: dict[str, float] = {}  # by task
        self.seeds = experiment.seeds
        known: dict[str, dict[str, Any]] = {}
        chosen = set(experiment.chosen)  # no axis: what the budget chooses is paired with what it chooses elsewhere
        self.rows = [{c: v for c, v in columns(run, known).items() if c not in chosen} for run in runs]
        self._table = Table({"run": self.rows}, ())
        self._read = {"test", "status", "reason", *(m for claim in experiment.claims for m in claim.metrics)}
        self._found = self._match(frame, [run.run_id for run in runs], bool(experiment.tune))
        self._conditions: dict[Cell, dict[str, None]] = {}  # task -> its test conditions, in order
        for i in range(len(runs)):
            self._conditions.setdefault(self._task(i), {}).update(dict.fromkeys(self._values(i, ())))

    def _match(self, frame: pd.DataFrame, run_ids: Sequence[str], tuned: bool) -> list[dict[str, dict[str, Any]]]:
        """For each planned run its rows of the table, by test condition."""
        keys: list[Any]
        if "run_id" in frame and (tuned or frame["run_id"].isin(run_ids).any()):
            keys, wanted, exact = frame["run_id"].tolist(), list(run_ids), True
        else:
            shared = [c for c in dict.fromkeys(c for row in self.rows for c in row) if c in frame.columns]
            keys = [tuple(map(_cell, row)) for row in frame[shared].itertuples(index=False, name=None)]
            wanted, exact = [tuple(_cell(row.get(c)) for c in shared) for row in self.rows], False  # type: ignore[misc]
            if len(set(wanted)) < len(wanted) and len(frame):
                raise SettingError(
                    "the table has none of this experiment's run_ids, and its columns do not tell the planned runs apart; "
                    f"of the plan's columns it has {', '.join(shared) or 'none'}. Give the table of sweep or load_results"
                )
        place = {key: i for i, key in enumerate(wanted)}
        found: list[dict[str, dict[str, Any]]] = [{} for _ in wanted]
        read = frame[[c for c in frame.columns if c in self._read]]
        for key, record in zip(keys, read.to_dict("records"), strict=True):
            if key in place:
                tests = found[place[key]]
                test = str(record.get("test", "test"))
                if test in tests and not exact:  # a run_id comes twice if two experiments share the run
                    raise SettingError(
                        f"the table has two rows for the same point of the grid: {self.rows[place[key]]}"
                    )
                tests[test] = {str(column): value for column, value in record.items()}
        return found

    def mechanism_of(self, i: int) -> str:
        """The mechanism of a run with its settings."""
        return json.dumps(self._runs[i].spec["mechanism"], sort_keys=True)

    def overlap_of(self, i: int) -> float:
        """`Task.overlap` of the task of a run."""
        task = self._runs[i].spec["task"]
        key = json.dumps(task, sort_keys=True)
        if key not in self._overlaps:
            ((name, settings),) = buildable("task", task).items()
            self._overlaps[key] = float(get("task", name, **settings).overlap)
        return self._overlaps[key]

    def runs_of(self, selection: Mapping[str, Any]) -> list[int]:
        """The planned runs that a selection names, with any test condition."""
        chosen = set(range(len(self.rows)))
        for key, value in selection.items():
            if key != "test":
                ones = value if isinstance(value, list) else [value]
                chosen &= set[int]().union(*(self._table.having(key, one) for one in ones))
        return sorted(chosen)

    def sides(
        self, points: Sequence[Mapping[int, Cell]], asked: Sequence[Any], metrics: Sequence[str], own_test: bool
    ) -> list[_Side]:
        """The values of the runs of each side.

        A side may ask for no test condition. It then has every test condition of the run's task in which some run has
        finite metrics.
        """
        values = {i: self._values(i, metrics) for side in points for i in side}
        alive = {test for by_test in values.values() for test, v in by_test.items() if np.isfinite(v).all()}
        sides = []
        for side_points, tests in zip(points, asked, strict=True):
            side = _Side(n_runs=len(side_points))
            for i, point in side_points.items():
                wanted = self._conditions.get(self._task(i), {}) if tests is None else tests
                wanted = [
                    t for t in ([wanted] if isinstance(wanted, str) else wanted) if tests is not None or t in alive
                ]
                seed, faults = self.rows[i]["seed"], [self._fault(i, test, values[i]) for test in wanted]
                if not wanted or any(faults):
                    what = next(filter(None, faults), "") or self._fault(i, None, values[i])
                    side.missing.setdefault(seed, []).append(what)
                    continue
                for test in wanted:
                    cell = (*point, "" if own_test else test)
                    side.cells.setdefault(cell, {}).setdefault(seed, []).append(values[i][test])
            sides.append(side)
        return sides

    def _task(self, i: int) -> Cell:
        """The task with its settings, which decides what test conditions a run has."""
        return tuple((c, v) for c, v in self.rows[i].items() if c == "task" or c.startswith("task."))

    def _values(self, i: int, metrics: Sequence[str]) -> dict[str, list[float]]:
        ok = {test: record for test, record in self._found[i].items() if record.get("status", "ok") == "ok"}
        return {test: [float(record.get(m, NAN)) for m in metrics] for test, record in ok.items()}

    def _fault(self, i: int, test: str | None, values: Mapping[str, Sequence[float]]) -> str:
        """Why a run has no value in a test condition (None: in any of them), or ''."""
        if not self._found[i]:
            return "not run"
        record = next(iter(self._found[i].values()))
        status, reason = str(record.get("status", "ok")), str(record.get("reason", "") or "")
        if status != "ok":
            return f"{status} ({reason[:80]}{'...' if len(reason) > 80 else ''})" if reason else status
        if test is None:
            return "ok, but not measured"
        if test not in values:
            return f"ok, but without the test condition {test!r} (its conditions: {', '.join(values)})"
        return "" if np.isfinite(values[test]).all() else "ok, but not measured or not finite"


def _cell(value: Any) -> Any:
    """A cell as it is compared: None if it is missing."""
    return None if value is None or value != value else value
