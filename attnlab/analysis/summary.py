"""The table at the end of a sweep, and which columns of a results table say something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from attnlab.analysis.measured import Cell, Measured
from attnlab.analysis.measures import (
    GUESSED,
    bounds_of,
    chance_of,
    cut,
    direction_of,
    is_per_run,
    numeric_columns,
    one_row_a_run,
    overlap_of,
    solved_at,
    solves,
)
from attnlab.analysis.rounding import alike
from attnlab.analysis.standing import alike_places, standings
from attnlab.analysis.statistics import t_interval, wilson
from attnlab.errors import SettingError, did_you_mean
from attnlab.sweeps.frame import AXES, FIRST, LAST, metric_columns
from attnlab.tables import differs, natural, setting_text

__all__ = ["check_table", "direction_of", "shown_metrics", "summarise", "telling", "varied"]

ALWAYS = ("similarity", "normaliser", "aggregator")  # the rows of a table in which no axis varies are named by these


def check_table(frame: Any, needed: Iterable[str] = ()) -> None:
    """Check that a results table is wide, has rows, and has the columns that are needed.

    Raises
    ------
    SettingError
        When it is no DataFrame, is tidy, lacks a column, or is empty.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SettingError(
            f"a results table, as sweep and load_results return it, is a DataFrame; got {type(frame).__name__}"
        )
    if "value" in frame.columns and "metric" in frame.columns:
        raise SettingError("this is a tidy table, one row a metric; give the wide one: load_results(tidy=False)")
    if absent := [c for c in needed if c not in frame.columns]:
        raise SettingError(f"no column {', '.join(absent)}: not a results table as sweep and load_results return it")
    if frame.empty:
        raise SettingError("the results table has no rows: nothing has been run")


# -- columns ----------------------------------------------------------------------------------------------------------
def varied(frame: pd.DataFrame) -> list[str]:
    """The axes in which the rows differ: columns of the grid, without the seed and without what was tuned.

    A setting must differ between rows with the same part. The temperature of `cosine` alone says no more than `cosine`.
    """
    skipped = {"seed", "model_seed", *frame.attrs.get("tuned", ()), *FIRST, *LAST, *metric_columns(frame)}
    return [c for c in frame.columns if c not in skipped and _differs_within_part(frame, c)]


def _differs_within_part(frame: pd.DataFrame, column: str) -> bool:
    """Whether rows differ in a column, and say more by it than by the part whose setting it is."""
    part = column.rpartition(".")[0]
    if part not in frame.columns:
        return differs(frame[column].dropna())
    if not differs(frame[column]):  # then no part of it does, and most settings end here
        return False
    return any(differs(group) for _, group in frame.groupby(part, dropna=False)[column])


def telling(frame: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """The part of a results table that fits on paper: the axes that vary, the seed, the metrics, and who failed.

    The status is there if a run is not ok. What runs cost, their notes, and where and when they ran are left out.

    Parameters
    ----------
    frame : DataFrame
    metrics : sequence of str or None
        The metrics that the experiments show; None for all in which rows differ.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"task": ["copy", "copy"], "seed": [0, 1], "aer": [0.5, 0.5], "run_id": ["a", "b"]})
    >>> list(telling(frame)), list(telling(frame, ["aer"]))
    (['seed'], ['seed', 'aer'])
    """
    shown = [m for m in metrics or () if m in frame.columns and frame[m].notna().any()]
    measured = metric_columns(frame)
    failed = ["status"] if "status" in frame and (frame["status"] != "ok").any() else []
    whole = {"metric", "value", *shown, *failed}
    out = {"run_id", *LAST, *(measured if shown else ())}

    def tells(column: str) -> bool:
        if len(frame) < 2:
            return True
        is_of_the_grid = column in AXES or "." in column
        return _differs_within_part(frame, column) if is_of_the_grid else differs(frame[column])

    return frame[[c for c in frame.columns if c in whole or (c not in out and tells(c))]]


# -- the table --------------------------------------------------------------------------------------------------------
def shown_metrics(frame: pd.DataFrame) -> list[list[str]]:
    """The metrics that each experiment of a results table shows, as `sweep` and `load_results` noted them."""
    noted = frame.attrs.get("metrics", {})
    names = frame["experiment"].unique() if "experiment" in frame else noted
    return [list(noted[name]) for name in names if noted.get(name)]


def summarise(
    frame: pd.DataFrame,
    metric: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    *,
    standing: bool = False,
) -> pd.DataFrame:
    """The table of a sweep: a row for each combination of the axes that vary and each test condition, ranked task by task.

    Parameters
    ----------
    frame : DataFrame
        The results table of `sweep` or `load_results`, or a part of its rows.
    metric : str, sequence of str or None
        Which metric to show. With several, the first ranks and has an interval, and the others have their mean. A task that has
        no value of the first is ranked by the next that it has, which the column `ranked_by` then names; the interval, `n` and
        `standing` are of it. None is the first metric of the experiment.
    by : str, sequence of str or None
        The axes that tell the rows apart, such as "similarity" or ["similarity", "task.d"]. The runs that differ in other
        axes are then pooled, as seeds are. None is every axis that varies.
    standing : bool
        Say how each row stands to the best of its task, and what guessing gets there: the columns `standing`, `chance` and
        `identical`.

    Returns
    -------
    DataFrame
        The axes ("similarity", "normaliser" and "aggregator" if none varies), `test` if there are several test conditions,
        the mean of the metric in its own units, `low` and `high` (its 95 % Student t interval over the runs, within the
        bounds of the metric and as wide as `Task.overlap` makes it, NaN below two runs), the means of the other metrics (as
        text where only some runs have a value), `n` (the runs with a value), and `ok` ("4/5": how many of the runs
        succeeded). Tasks (with their settings) and test conditions follow each other, since only what was asked the same can
        be ranked. Within each the best row comes first, or the greatest for a metric without a better direction. There are
        no test conditions where all metrics are those of a whole run.

        Results are often bimodal: some seeds learn a task and others do not. Where it is known what counts as solved,
        `solved` is the share of seeds that solved it, from `solved_low` to `solved_high` (Wilson's 95 % interval), and
        `mean_solved` the mean of those. A run has solved its task if it misses at most 5 % of the range of a metric that is
        bounded on both sides; for other metrics the task may say it (`Task.solved`).

        With `standing=True`, the column of that name says how a row stands to the best of its task and test condition:
        "best"; "not shown to differ", where a paired t test over the seeds that both have shows no difference (Holm over
        the rows, 5 %); or "differs". `chance` is there where it is known for `alignment_accuracy`: what a guess among the
        allowed keys gets. `identical` is there where rows of one task are the same in every digit of every metric, such as
        those of mechanisms that a model does not read: it names the others. `attrs["identical"]` says it in words.

    Raises
    ------
    SettingError
        When the frame is no wide results table or is empty, when the metric or an axis is not in it, or when the metric
        is None and the frame does not say which metric is first.

    Examples
    --------
    >>> import pandas as pd
    >>> import attnlab
    >>> rows = {"similarity": ["dot", "dot", "cosine", "cosine"], "seed": [0, 1, 0, 1], "recall": [0.4, 0.6, 0.9, 0.9]}
    >>> frame = pd.DataFrame(rows).assign(run_id=list("abcd"), test="test", status="ok")
    >>> attnlab.summarise(frame, "recall")[["similarity", "recall", "n", "ok"]]
      similarity  recall  n   ok
    0     cosine     0.9  2  2/2
    1        dot     0.5  2  2/2
    """
    check_table(frame, ("run_id", "test", "status"))
    first, *others = _metrics(frame, metric)
    if all(is_per_run(m) for m in (first, *others)):
        frame = one_row_a_run(frame, first)
    axes = varied(frame) if by is None else _axes(frame, by)
    keys = axes or [c for c in ALWAYS if c in frame.columns and by is None]
    # a run that failed has one row, whatever the test conditions are: it counts in each
    conditions = sorted(frame.loc[frame["status"] == "ok", "test"].unique(), key=_natural) or ["test"]
    bounds = {m: bounds_of(m, frame.get(m, ())) for m in (first, *others)}
    tells = first in frame and all(solved_at(first, str(task)) is not None for task in _tasks(frame).unique())
    points = [k for k in keys if k != "test"]
    told = [m for m in metric_columns(frame) if is_numeric_dtype(frame[m]) and not is_per_run(m)] if standing else []
    data = Measured(frame, points, [first, *others, *told])
    done = _solves(data, first) if tells else None
    named = dict(zip(points, (frame[c].tolist() for c in points), strict=True))
    tasks = _TasksOf(frame)
    guessed = standing and GUESSED in (first, *others)
    rows, cells = [], list(data.cells(conditions))
    asked = [c for c in points if c == "task" or c.startswith("task.")]
    headlines = _headlines(data, cells, [named[c] for c in asked], (first, *others))
    mixed = set(headlines) != {first} and bool(headlines)
    ranks = []  # what sorts the rows of a task: less is better
    for cell, headline in zip(cells, headlines, strict=True):
        values = data.values(headline, cell.here)
        mean, low, high, n = t_interval(values, overlap=tasks.overlap(cell))
        low, high = cut((low, high), bounds[headline])
        ranks.append(mean if direction_of(headline) == "down" else -mean)
        row: dict[str, Any] = {c: named[c][cell.group[0]] for c in points}
        if "test" in keys or len(conditions) > 1:
            row["test"] = cell.condition
        row |= {"ranked_by": headline} if mixed else {}
        row |= {first: mean if headline == first else np.nan, "low": low, "high": high}
        row |= {"standing": ""} if standing else {}
        row |= {"chance": tasks.chance(cell)} if guessed and first == GUESSED else {}
        row |= {} if done is None else _solved(data, cell, first, done)
        for m in others:
            row |= {m: mean if m == headline else _mean_of_some(data.values(m, cell.here), len(values))}
            row |= {"chance": tasks.chance(cell)} if guessed and m == GUESSED else {}
        runs = [len(np.unique(data.runs[some])) for some in (cell.here, cell.group)]
        rows.append(row | {"n": n, "ok": f"{runs[0]}/{runs[1]}"})
    table = pd.DataFrame(rows)
    if "chance" in table and table["chance"].isna().all():
        table = table.drop(columns="chance")
    asked += ["test"] if "test" in table else []
    places = _places(table, asked)
    if standing:
        table.attrs["identical"] = _stand(table, data, cells, places, headlines, (first, *told), points, tasks)
    order = table.assign(rank_=ranks).sort_values("rank_", kind="stable", na_position="last", key=alike)
    order = order.drop(columns="rank_")
    if "test" in table:
        order = order.sort_values("test", key=lambda c: c.map(conditions.index), kind="stable")
    by_task = _places(order, [c for c in asked if c != "test"], table)
    return order.assign(place_=by_task).sort_values("place_", kind="stable", ignore_index=True).drop(columns="place_")


def _headlines(data: Measured, cells: Sequence[Cell], tasks: Sequence[Any], metrics: Sequence[str]) -> list[str]:
    """What ranks each cell: the first of the metrics that a row of its task and test condition has; the first where none has any."""
    found: dict[Any, str] = {}
    keys = [(*(repr(column[cell.group[0]]) for column in tasks), cell.condition) for cell in cells]
    for metric in reversed(metrics):
        there = np.isfinite(data.column(metric))
        found |= {key: metric for key, cell in zip(keys, cells, strict=True) if there[cell.here].any()}
    return [found.get(key, metrics[0]) for key in keys]


def _places(table: pd.DataFrame, columns: Sequence[str], within: pd.DataFrame | None = None) -> list[int]:
    """A number for each row by its values in some columns, in the order in which they first occur in `within`."""
    found: dict[tuple[str, ...], int] = {}
    for row in (table if within is None else within)[list(columns)].itertuples(index=False, name=None):
        found.setdefault(tuple(map(repr, row)), len(found))
    return [found[tuple(map(repr, row))] for row in table[list(columns)].itertuples(index=False, name=None)]


class _TasksOf:
    """What is known of the tasks of cells. Cells of the same task share the answers."""

    def __init__(self, frame: pd.DataFrame) -> None:
        columns = [c for c in frame.columns if c == "task" or c.startswith("task.")]
        self._tasks = frame[columns]
        self._codes: Any = np.zeros(len(frame), dtype=np.int64)
        if columns:
            self._codes = self._tasks.groupby(columns, dropna=False, sort=False).ngroup().to_numpy(np.int64)
        self._known: dict[Any, float] = {}

    def chance(self, cell: Cell) -> float:
        """What guessing gets; NaN where the cell has several tasks in which it differs."""
        found = {self._of(task, cell.condition) for task in np.unique(self._codes[cell.group])}
        return found.pop() if len(found) == 1 else float("nan")

    def overlap(self, cell: Cell) -> float:
        """`Task.overlap`; of several tasks the greatest."""
        return max((self._of(task, None) for task in np.unique(self._codes[cell.here])), default=0.0)

    def _of(self, task: int, condition: str | None) -> float:
        if (task, condition) not in self._known:
            row = self._tasks.iloc[[int(np.argmax(self._codes == task))]]
            self._known[task, condition] = overlap_of(row) if condition is None else chance_of(row, condition)
        return self._known[task, condition]


def _stand(
    table: pd.DataFrame,
    data: Measured,
    cells: Sequence[Cell],
    places: Sequence[int],
    headlines: Sequence[str],
    metrics: Sequence[str],
    axes: Sequence[str],
    tasks: _TasksOf,
) -> list[str]:
    """Fill the columns `standing` and `identical`, and say what is identical. Rows are compared with those at the same place."""
    same, standing = [""] * len(table), [""] * len(table)
    said: dict[str, int] = {}
    together: dict[int, list[int]] = {}
    for i, place in enumerate(places):
        together.setdefault(place, []).append(i)
    for here in together.values() if data.has_seed else ():
        headline = headlines[here[0]]
        means, first = table[headline].tolist(), data.column(headline)
        values = np.full((len(here), int(data.seeds.max()) + 1), np.nan)
        for at, i in enumerate(here):
            seeds, mean_of_each = data.by_seed(first[cells[i].here], cells[i].here)
            values[at, seeds] = mean_of_each
        overlap = max(tasks.overlap(cells[i]) for i in here)
        own = standings(values, [means[i] for i in here], direction_of(headline), overlap)
        for i, word in zip(here, own, strict=True):
            standing[i] = word
        measured = [m for m in dict.fromkeys(metrics) if not is_per_run(m)]
        contents = [data.content(measured, cells[i].here) if measured and len(cells[i].here) else None for i in here]
        for members in alike_places(contents):
            rows = table.iloc[[here[m] for m in members]]
            differing = [c for c in axes if differs(rows[c])]
            names = [", ".join(setting_text(value) for value in row) for row in rows[differing].itertuples(index=False)]
            for i, m in enumerate(members):
                same[here[m]] = "; ".join(name for j, name in enumerate(names) if j != i)
            shared = [c for c in axes if c not in differing and not c.startswith("task") and differs(table[c])]
            where = [f"{c} {setting_text(rows[c].iloc[0])}" for c in shared]
            sentence = " = ".join(names) + (f" ({', '.join(where)})" if where else "")
            said[sentence] = said.get(sentence, 0) + 1
    table["standing"] = standing
    if any(same):
        table.insert(list(table.columns).index("n"), "identical", same)
    of = len(together)
    return [
        sentence + ("" if of == 1 else f", on {n} of {of} tasks and test conditions") for sentence, n in said.items()
    ]


def _tasks(rows: pd.DataFrame) -> pd.Series:
    return rows["task"] if "task" in rows else pd.Series("", index=rows.index)


def _solves(data: Measured, metric: str) -> Any:
    """Whether each row has solved its task, as 0 or 1."""
    tasks = _tasks(data.frame)
    thresholds = {task: solved_at(metric, str(task)) for task in tasks.unique()}
    return solves(data.column(metric), metric, tasks.map(thresholds).to_numpy(float))


def _solved(data: Measured, cell: Cell, metric: str, done: Any) -> dict[str, float]:
    """The share of seeds that solved their task, its interval, and the mean of the runs that did.

    Of a seed of the data that was run with several seeds of the model, the share of them counts.
    """
    own = done[cell.here]
    share, _, _, n = t_interval(data.one_a_seed(own, cell.here))
    low, high = wilson(share * n, n) if n else (np.nan, np.nan)
    mean_solved = t_interval(data.column(metric)[cell.here][own == 1])[0]
    return {"solved": share, "solved_low": low, "solved_high": high, "mean_solved": mean_solved}


def _metrics(frame: pd.DataFrame, metric: str | Sequence[str] | None) -> list[str]:
    """The metrics to show; each is a column of the frame, or one that its experiments show but no run has measured."""
    known = list(dict.fromkeys([*metric_columns(frame), *numeric_columns(frame)]))
    if metric is None:
        first = list(dict.fromkeys(names[0] for names in shown_metrics(frame)))
        if len(first) != 1:
            why = (
                f"these experiments rank by {' and by '.join(first)}"
                if first
                else "this table does not say which is first"
            )
            raise SettingError(f"metric: {why}; name one (metric=), such as {', '.join(known) or 'alignment_accuracy'}")
        return first
    asked = [metric] if isinstance(metric, str) else list(metric) if isinstance(metric, Iterable) else []
    if not asked or not all(isinstance(name, str) for name in asked):
        raise SettingError(f"metric: {metric!r} is neither the name of a metric nor a list of names")
    noted = [name for names in shown_metrics(frame) for name in names]
    for name in asked:
        if name not in known and name not in noted:
            raise SettingError(
                f"metric: no metric {name!r} in these results{did_you_mean(name, known)}; there are "
                f"{', '.join(known) or 'none'}"
            )
    return list(dict.fromkeys(asked))


def _axes(frame: pd.DataFrame, by: str | Sequence[str]) -> list[str]:
    """`by` as the names of columns that can tell rows apart."""
    asked = [by] if isinstance(by, str) else list(by) if isinstance(by, Iterable) else []
    numbers = [c for c in metric_columns(frame) if pd.api.types.is_numeric_dtype(frame[c])]
    allowed = [c for c in frame.columns if c not in {"seed", *FIRST[1:], *LAST, *numbers}]
    for name in asked:
        if name not in allowed:
            near = did_you_mean(str(name), allowed)
            raise SettingError(
                f"by: no axis {name!r}{near}; the axes that vary are {', '.join(varied(frame)) or 'none'}"
            )
    if not asked:
        raise SettingError("by: names no axis; leave it out for all axes that vary")
    return list(dict.fromkeys(asked))


def _natural(condition: str) -> tuple[bool, list[tuple[float, str]]]:
    """The order of test conditions: `test` first, and n=64 before n=256."""
    return condition != "test", natural(condition)


def _mean_of_some(values: Any, n: int) -> Any:
    """The mean, with a note if only some of n runs have a value."""
    mean, _, _, k = t_interval(np.asarray(values))
    return mean if k in (0, n) else f"{mean:.4g} ({k} of {n})"
