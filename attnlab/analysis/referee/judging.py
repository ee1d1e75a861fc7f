"""The referee: results -> findings. Nothing is run, and the store is only read.

results of an experiment  ->  Case  ->  each check  ->  findings, without those that the file allows
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnlab.analysis.presentation import FindingTable
from attnlab.analysis.referee import claimed, fairness, leaking, scale, spread, training
from attnlab.analysis.referee.case import Case
from attnlab.analysis.summary import check_table
from attnlab.errors import AttnlabError, SettingError
from attnlab.findings import CODES, Finding
from attnlab.sweeps.experiment.read import Experiment, read
from attnlab.sweeps.run import Run
from attnlab.sweeps.suites import expanded

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.analysis.claims import Judgement

__all__ = ["COLUMNS", "Report", "referee", "reported", "table_of"]

COLUMNS = ["experiment", "code", "finding", "where", "seen", "settle"]
CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "R101": training.edges,
    "R102": training.tuning,
    "R103": training.unfinished,
    "R104": scale.saturation,
    "R105": scale.worse_than_uniform,
    "R106": fairness.sizes,
    "R107": fairness.kinds_of_task,
    "R108": spread.too_few,
    "R109": spread.outliers,
    "R110": spread.modes,
    "R111": leaking.leaks,
    "R112": fairness.baseline,
    "R113": claimed.at_bounds,
    "R114": claimed.cannot_fail,
    "R115": scale.directions,
    "R116": claimed.rewritten,
}
Source = str | os.PathLike[str] | Mapping[str, Any] | Experiment


@dataclass(frozen=True)
class Report:
    """What the referee says of one experiment.

    Parameters
    ----------
    name : str
    findings : sequence of Finding
        In the order of their codes.
    allowed : sequence of (Finding, str or None)
        What the file allows, each with its reason.
    unused : sequence of str
        Codes that the file allows and that were not found.
    notes : sequence of str
        What could not be looked at, and why.
    """

    name: str
    findings: Sequence[Finding]
    allowed: Sequence[tuple[Finding, str | None]] = ()
    unused: Sequence[str] = ()
    notes: Sequence[str] = ()


def referee(
    results: pd.DataFrame | str | os.PathLike[str], experiments: Source | Iterable[Source] | None = None
) -> pd.DataFrame:
    """What a sceptical reader would object to in some results, and what would settle it.

    Parameters
    ----------
    results : DataFrame or path
        The results table of `sweep` or `load_results`, or the path of a store. Of a table that came from a store, the store is
        read as well: for loss curves, and for the experiments as they were swept.
    experiments : path, mapping, Experiment, or several; or None
        What was asked and claimed, and which findings are allowed (`allow`). None is what the store says.

    Returns
    -------
    DataFrame
        One row a finding, by experiment and code: `experiment`, `code` (R101, ...), `finding` (its title), `where`, `seen` (what
        the results show) and `settle` (what would settle it). docs/referee/ has a page for each code. Findings that an
        experiment allows are left out; `attrs["allowed"]` has them as (experiment, code, where, reason), and `attrs["notes"]`
        what could not be looked at.

    Raises
    ------
    SettingError
        When the frame is no wide results table, or has no rows of the experiments that are given.
    ExperimentError, StoreError
        When an experiment or the store cannot be read.

    Examples
    --------
    >>> import pandas as pd
    >>> import attnlab
    >>> rows = {"normaliser": ["sparsemax", "entmax"] * 3, "seed": [0, 0, 1, 1, 2, 2], "aer": [0.5, 0.2] * 3}
    >>> frame = pd.DataFrame(rows).assign(run_id=list("abcdef"), test="test", status="ok", task="lookup")
    >>> attnlab.referee(frame)[["code", "finding", "where"]]
       code                  finding       where
    0  R112  the baseline is missing  normaliser
    """
    return table_of(list(_reports(results, experiments)))


def _reports(results: Any, experiments: Any) -> Iterator[Report]:
    from attnlab.analysis.referee.stored import Stored

    if isinstance(results, (str, os.PathLike)):
        from attnlab.sweeps.frame import load_results

        results = load_results(results)
    check_table(results, ("run_id", "test", "status"))
    given = {one.name: one for one in _read(experiments)}
    frame = results if "experiment" in results else results.assign(experiment="")
    there = [str(name) for name in frame["experiment"].unique()]
    if given and not set(given) & set(there) and len(there) == 1 and len(given) == 1:
        given = {there[0]: next(iter(given.values()))}  # a table of one experiment, under another name
    if absent := [name for name in given if name not in there]:
        raise SettingError(
            f"no rows of {', '.join(absent)}; the table has {', '.join(filter(None, there)) or 'no experiment'}"
        )
    stored = Stored.of(results.attrs.get("store"))
    for name in there:
        if given and name not in given:
            continue
        rows = frame[frame["experiment"] == name].dropna(axis=1, how="all")
        rows.attrs = dict(results.attrs)
        yield reported(name, rows, given.get(name) or stored.experiment(name), stored)


def _read(experiments: Any) -> list[Experiment]:
    if experiments is None:
        return []
    single = isinstance(experiments, (str, os.PathLike, Mapping, Experiment))
    each = expanded([experiments] if single else experiments)
    return [one if isinstance(one, Experiment) else read(one) for one in each]


def reported(
    name: str,
    rows: pd.DataFrame,
    experiment: Experiment | None,
    stored: Any = None,
    judged: Sequence[Judgement] | None = None,
    planned: Sequence[Run] | None = None,
) -> Report:
    """What the referee says of the rows of one experiment, whose claims may be `judged` already, and its runs `planned`."""
    needed = [c for c in ("run_id", "test", "status") if c not in rows]
    curves = {} if stored is None else stored.curves(rows)
    case = Case(name, rows, experiment, curves, stored.settled(name) if stored else (), judged, planned)
    findings: list[Finding] = []
    notes = (
        [] if experiment is not None or stored is None else [f"claims: {stored.why(name)}"] if stored.why(name) else []
    )
    for code, check in CHECKS.items() if not needed and len(case.ok) else ():
        try:
            findings += check(case)
        except (AttnlabError, ValueError, ArithmeticError) as error:  # one check may fail, and the report says so
            notes.append(f"{code} could not be looked at: {type(error).__name__}: {error}")
    allow = {one.code: one.why for one in experiment.allow} if experiment else {}
    return Report(
        name,
        [f for f in findings if f.code not in allow],
        [(f, allow[f.code]) for f in findings if f.code in allow],
        [code for code in allow if code not in {f.code for f in findings}],
        notes,
    )


def table_of(reports: Sequence[Report]) -> pd.DataFrame:
    """The table of `referee`."""
    rows = [
        {
            "experiment": one.name,
            "code": f.code,
            "finding": f.title,
            "where": f.where,
            "seen": f.seen,
            "settle": f.settle,
        }
        for one in reports
        for f in one.findings
    ]
    table = FindingTable(rows, columns=COLUMNS)
    table.attrs["allowed"] = [(one.name, f.code, f.where, why) for one in reports for f, why in one.allowed]
    table.attrs["notes"] = [f"{one.name}: {note}" for one in reports for note in one.notes]
    return table


assert set(CHECKS) == set(CODES)
