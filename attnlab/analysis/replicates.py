"""From runs to one number for each competitor and task: what is a replicate, what is averaged, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnlab.analysis.measures import bounds_of, direction_of, is_per_run, numeric_columns, one_row_a_run
from attnlab.analysis.missing import POINT, VARIANT, count_missing, list_missing, mixed
from attnlab.analysis.summary import check_table
from attnlab.errors import SettingError, did_you_mean
from attnlab.registry import entries
from attnlab.sweeps.frame import FIRST, LAST, metric_columns
from attnlab.tables import differs, setting_text

__all__ = ["MISSING", "UNITS", "Scores", "score_table"]

MISSING = ("error", "complete-tasks", "worst-rank")
UNITS = ("setting", "task")
NEEDED = ("run_id", "task", "test", "seed", "status")


@dataclass(frozen=True)
class Scores:
    """One number for each competitor and unit.

    `good` is (c, n), greater is better, and -inf for a run that is missing under "worst-rank". `by_seed` is (c, n, s), the
    same for each seed; it is NaN where a unit has fewer seeds than another.
    """

    metric: str
    sign: int  # raw value = sign * good
    by: tuple[str, ...]
    names: tuple[tuple[Any, ...], ...]  # the values of the columns `by`, for each competitor
    good: NDArray[np.float64]
    by_seed: NDArray[np.float64]
    tasks: tuple[str, ...]  # the name of the task of each unit
    notes: tuple[str, ...]  # what a reader of the numbers must know
    unit: str  # of UNITS; "task" only where a unit has several settings or test conditions
    bounds: tuple[float, float]  # of the metric, in its own units and direction
    units: tuple[str, ...]  # the name of each unit: its task, and of what tells it from others of its kind

    @property
    def kinds(self) -> int:
        """How many kinds of task the units are of."""
        return len(set(self.tasks))

    @property
    def about(self) -> str:
        """What the verdicts are about, where several units are of one kind of task: "on these 3 kinds of task"; else ""."""
        if self.kinds == self.n:
            return ""
        return "on this kind of task" if self.kinds == 1 else f"on these {self.kinds} kinds of task"

    @property
    def noun(self) -> str:
        """What a unit is called, one and several."""
        return "kind of task" if self.unit == "task" else "task"

    @property
    def labels(self) -> list[str]:
        return _labels(self.names)

    @property
    def n(self) -> int:
        return int(self.good.shape[1])

    @property
    def n_seeds(self) -> NDArray[np.int64]:
        """Seeds of each unit."""
        return np.asarray((~np.isnan(self.by_seed)).any(axis=0).sum(axis=1))

    def index(self, wanted: Any) -> int:
        """The place of a competitor, given by its label, its value, or its values in the order of `by`.

        Raises
        ------
        SettingError
            When there is no such competitor.
        """
        values = [wanted[c] for c in self.by] if isinstance(wanted, dict) and set(wanted) == set(self.by) else wanted
        values = list(values) if isinstance(values, (list, tuple)) else [values]
        label = ", ".join(part for value in values for part in _parts(value))
        if label not in self.labels:
            raise SettingError(
                f"no competitor {label!r} in {' and '.join(self.by)}{did_you_mean(label, self.labels)}; "
                f"there are {'; '.join(self.labels)}"
            )
        return self.labels.index(label)


def _parts(value: Any) -> list[str]:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else [setting_text(value)]


def score_table(
    frame: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    direction: str | None = None,
    missing: str = "error",
    unit: str | None = None,
    enough: Callable[[int, int], bool] | None = None,
) -> Scores:
    """The scores that are compared. `compare` describes the parameters and errors.

    Where `unit` is None, it is "task" if `enough(kinds of task, competitors)` kinds are there, else "setting".
    """
    by = _columns(by)
    _check(frame, metric, by, missing, unit)
    sign = _sign(metric, direction)
    if is_per_run(metric):
        frame = one_row_a_run(frame, metric)
    frame = frame.drop_duplicates(["run_id", "test"])  # a run that two experiments share
    values = _numbers(frame, metric)
    axes = _axes(frame, by)
    rows = pd.DataFrame(
        {
            "competitor": _codes(frame, by),
            "own": _codes(frame, axes["own"]),
            "crossed": _codes(frame, axes["crossed"]),
            "point": _codes(frame, axes["task"]),
            "test": frame["test"].astype(str).to_numpy(),
            "seed": _codes(frame, ["seed"]),
            "value": sign * values,
            "at": np.arange(len(frame)),
        }
    )
    names = tuple(tuple(frame[c].iloc[at] for c in by) for at in rows.groupby("competitor")["at"].first())
    if len(names) < 2:
        raise SettingError(
            f"all runs have the same {' and '.join(by)} ({'; '.join(_labels(names))}): there is nothing to compare it with"
        )
    ok = (frame["status"] == "ok").to_numpy()
    expected, notes = _expected(rows, ok, metric)
    expected["task"] = expected["point"].map(
        dict(zip(rows["point"], frame["task"].astype(str), strict=True))  # the same for all rows of a point
    )
    expected["unit"] = _codes(expected, ["point", "test"])
    lost = expected["value"].isna()
    if lost.any():
        head = count_missing(int(lost.sum()), expected.loc[lost, "unit"].nunique(), expected["unit"].nunique())
        if missing == "error":
            raise SettingError(list_missing(head, frame, rows, expected[lost], _labels(names), ok, metric))
        notes.append(
            head
            + (
                "; those tasks are left out for every competitor."
                if missing == "complete-tasks"
                else "; a competitor with a missing run on a task is placed last there."
            )
        )
        if missing == "complete-tasks":
            expected = expected[~expected["unit"].isin(expected.loc[lost, "unit"])]
            if expected.empty:
                raise SettingError(f"{mixed(frame)}no task has all runs: complete-tasks leaves nothing. {notes[-1]}")
        expected = expected.assign(value=expected["value"].fillna(-np.inf))
    settings, kinds = expected["unit"].nunique(), expected["task"].nunique()
    if unit is None:
        unit = "task" if enough is not None and enough(kinds, len(names)) else "setting"
    if kinds == settings:
        unit = "setting"
    if unit == "task":
        expected["unit"] = _codes(expected, ["task"])
    notes = [*_averaged(frame, axes, unit), *_kinship(settings, kinds, unit), *notes]
    good, by_seed = _means(expected, len(names))
    tasks = expected.drop_duplicates("unit").sort_values("unit")["task"]
    units = tuple(tasks) if unit == "task" else _named_units(frame, rows, expected, axes["task"])
    bounds = bounds_of(metric, values)
    return Scores(metric, sign, by, names, good, by_seed, tuple(tasks), tuple(notes), unit, bounds, units)


def _named_units(
    frame: pd.DataFrame, rows: pd.DataFrame, expected: pd.DataFrame, axes: Sequence[str]
) -> tuple[str, ...]:
    """The name of each unit: its task, the settings in which it differs from others of its kind, and its test condition."""
    units = expected.drop_duplicates("unit").sort_values("unit")
    row_of = rows.drop_duplicates("point").set_index("point")["at"]
    points = frame.iloc[row_of[units["point"]].to_numpy()].reset_index(drop=True)
    points["test"] = units["test"].to_numpy()
    names = []
    for task, point in zip(units["task"], points.to_dict("records"), strict=True):
        kin = points[units["task"].to_numpy() == task]
        settings = [c for c in axes if c != "task" and differs(kin[c])]
        words = [f"{c.removeprefix('task.')}={setting_text(point[c])}" for c in settings]
        if kin["test"].nunique() > 1 or (points["test"].nunique() > 1 and point["test"] != "test"):
            words.append(str(point["test"]))
        names.append(", ".join([str(task), *words]))
    return tuple(names)


def _labels(names: Sequence[tuple[Any, ...]]) -> list[str]:
    return [", ".join(map(setting_text, name)) for name in names]


def _sign(metric: str, direction: str | None) -> int:
    known = direction_of(metric)
    if direction not in (None, "up", "down"):
        raise SettingError(f"direction: must be up (greater is better) or down (--direction); got {direction!r}")
    if known and direction and known != direction:
        raise SettingError(f"direction: {direction!r}, but the metric {metric} says {known!r}; leave direction out")
    if not known and not direction:
        known_here = metric in entries("metric") or metric in LAST
        why = "does not say" if known_here else "is no metric of the plugins that are loaded, which say"
        load = "" if known_here else "load its plugin (--plugin FILE.py), or "
        raise SettingError(f"{metric} {why} which way is better; {load}say up or down (direction=, --direction)")
    return 1 if (known or direction) == "up" else -1


def _columns(by: Any) -> tuple[str, ...]:
    """`by` as a tuple of names."""
    names = (by,) if isinstance(by, str) else tuple(by) if isinstance(by, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingError(
            "by: name the columns that tell the competitors apart, such as 'similarity' or ['similarity', 'normaliser'] "
            f"(--by similarity,normaliser); got {by!r}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingError(f"by: {', '.join(twice)} is named more than once")
    return names


def _check(frame: pd.DataFrame, metric: str, by: tuple[str, ...], missing: str, unit: str | None) -> None:
    check_table(frame, NEEDED)
    numbers = [c for c in numeric_columns(frame) if c not in by]
    metrics = [*(c for c in metric_columns(frame) if c not in by), *numbers]
    if metric in by:
        raise SettingError(f"{metric} cannot both be the metric and tell the competitors apart")
    if metric not in metrics:
        near = did_you_mean(metric, numbers)
        raise SettingError(f"no metric {metric!r} in these results{near}; there are {', '.join(numbers)}")
    measured = entries("metric")
    allowed = [
        c
        for c in frame.columns
        if c not in {*FIRST, *LAST, *numbers, *measured, "task", "test", "seed", "model_seed"}
        and not c.startswith("task.")
    ]
    for column in by:
        if column in ("task", "test", "seed", "model_seed") or column.startswith("task."):
            raise SettingError(f"by {column!r}: tasks and seeds are what competitors are compared on")
        if column not in allowed:
            what = f"{column!r} is a metric" if column in measured else f"no column {column!r}"
            near = did_you_mean(column, allowed)
            raise SettingError(f"by: {what}{near}; competitors may differ in {', '.join(allowed)}")
    for name, given, choices in (("missing", missing, MISSING), ("unit", unit, UNITS)):
        if given not in choices and (name, given) != ("unit", None):
            raise SettingError(f"{name}: {given!r} is not one of {', '.join(choices)} (--{name})")


def _numbers(frame: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """The column of a metric as numbers."""
    numbers = pd.to_numeric(frame[metric], errors="coerce")
    words = frame.loc[numbers.isna() & frame[metric].notna(), metric]
    if len(words):
        raise SettingError(f"a metric is a column of numbers; {metric} has {words.iloc[0]!r}")
    return numbers.to_numpy(float)


def _codes(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """A number for each combination of values. It does not depend on the order of the rows."""
    codes = np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        cells = frame[column]
        if cells.dtype == object:  # what is equal in Python may differ here: 1 and true
            cells = cells.map(repr)
        places, values = pd.factorize(cells, use_na_sentinel=False)
        _, order = np.unique([repr(value) for value in values.tolist()], return_inverse=True)
        codes = np.unique(codes * len(values) + order[places], return_inverse=True)[1]
    return codes


def _axes(frame: pd.DataFrame, by: tuple[str, ...]) -> dict[str, list[str]]:
    """The columns that vary, by their use: "task", "own" (settings of competitors) and "crossed"."""
    left_out = {*FIRST, *LAST, *metric_columns(frame), *by, *frame.attrs.get("tuned", ()), "test", "seed"}
    axes: dict[str, list[str]] = {"task": [], "own": [], "crossed": []}
    competitor = _codes(frame, by)
    owners = list(by)
    groups = not set(by).isdisjoint(metric_columns(frame))  # the user made a column, such as families of similarities
    for column in frame.columns:
        if column in left_out or not differs(frame[column]):
            continue
        if column == "task" or column.startswith("task."):
            axes["task"].append(column)
            continue
        cells = frame[column].map(repr)
        most = cells.groupby(competitor).nunique().max()
        if groups and most > 1 and pd.Series(competitor).groupby(cells.to_numpy()).nunique().max() == 1:
            owners.append(column)  # the members of the groups
            axes["own"].append(column)
        elif any(column.startswith(f"{owner}.") for owner in owners):
            if most > 1:  # otherwise it is a part of the competitor
                axes["own"].append(column)
        else:
            if most == 1:
                raise SettingError(
                    f"{column} goes along with {' and '.join(by)}: each competitor has one value of it, so their effects "
                    f"cannot be told apart; compare by both (by={[*by, column]}, --by {','.join([*by, column])}), or "
                    "give runs with one value of it"
                )
            axes["crossed"].append(column)
    return axes


def _expected(rows: pd.DataFrame, ok: NDArray[np.bool_], metric: str) -> tuple[pd.DataFrame, list[str]]:
    """Every run of a full comparison with its value; NaN if it has none."""
    found = rows[ok]
    keys = [*VARIANT, *POINT, "test"]
    twice = found[found.duplicated(keys, keep=False)]
    if len(twice):
        raise SettingError(
            f"{len(twice)} rows are runs of the same point and seed ({len(twice.drop_duplicates(keys))} points), perhaps "
            "because several experiments are mixed; take one of them (load_results(experiment=NAME), --experiment NAME)"
        )
    tests = found[["point", "test"]].drop_duplicates()
    never = rows.loc[~rows["point"].isin(tests["point"]), ["point"]].drop_duplicates().assign(test="test")
    plan = rows[POINT].drop_duplicates().merge(rows[VARIANT].drop_duplicates(), how="cross")
    plan = plan.merge(pd.concat([tests, never]), on="point")
    expected = plan.merge(found[[*keys, "value", "at"]], on=keys, how="left").sort_values(keys, ignore_index=True)
    here = expected.groupby(["point", "test"])
    unmeasured = here["at"].transform("count").gt(0) & here["value"].transform("count").eq(0)
    if unmeasured.all():
        raise SettingError(f"{metric} has no value in any of these runs")
    count = len(expected[unmeasured].drop_duplicates(["point", "test"]))
    notes = [f"{count} tasks on which {metric} is not measured are left out."] if count else []
    return expected[~unmeasured].reset_index(drop=True), notes


def _averaged(frame: pd.DataFrame, axes: dict[str, list[str]], unit: str) -> list[str]:
    """What else varied and was averaged within a task."""
    averaged = axes["crossed"] + axes["own"]
    if unit == "task":
        averaged = averaged + [c for c in axes["task"] if c != "task"]
        averaged += ["test"] if frame["test"].nunique() > 1 else []
    words = []
    for column in averaged:
        values = sorted({setting_text(v) for v in frame[column].unique()} - {"none"})
        if len(values) > 1:
            words.append(f"{column} ({', '.join(values[:6])}{', ...' if len(values) > 6 else ''})")
    return [f"Averaged within a task: {'; '.join(words)}."] if words else []


def _kinship(settings: int, kinds: int, unit: str) -> list[str]:
    """What the replicates are, if several settings or test conditions are of one kind of task."""
    if kinds == settings:
        return []
    if unit == "task":
        what = "task" if kinds == 1 else f"{kinds} kinds of task"
        return [
            f"The {settings} settings and test conditions are averaged within their {what}, since those of one kind "
            "resemble each other; --unit setting (unit='setting') takes each for itself."
        ]
    return [
        f"The {settings} tasks are settings and test conditions of {kinds} {'task' if kinds == 1 else 'kinds of task'}: "
        "tasks of one kind resemble each other. So the conclusion is about "
        f"{'this kind' if kinds == 1 else 'these kinds'} of task; for other tasks p values and intervals are too sure"
        + ("; --unit task (unit='task') averages them." if kinds > 5 else ".")
    ]


def _means(expected: pd.DataFrame, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(c, n) the means over seeds, and (c, n, s) the mean of each seed over everything else that varied in the unit."""
    each = expected.groupby(["competitor", "unit", "seed"], as_index=False)["value"].mean()
    units = np.unique(each["unit"], return_inverse=True)[1]
    place = each.groupby(["competitor", "unit"]).cumcount()
    by_seed = np.full((k, units.max() + 1, int(place.max()) + 1), np.nan)
    by_seed[each["competitor"], units, place] = each["value"]
    with np.errstate(over="ignore"):  # a mean that overflows is infinite
        return np.nanmean(by_seed, axis=2), by_seed
