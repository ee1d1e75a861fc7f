"""The dotted columns of a run: what it is made of, under the names that the frame, `--only` and claims use."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from typing import Any

from attnlab.errors import SettingError, did_you_mean
from attnlab.sweeps.grid import PARTS, holds, prefix_of
from attnlab.sweeps.runs import Run

__all__ = ["ROLES", "columns", "columns_of", "components_of", "only", "with_chosen"]

ROLES = ("task", "mechanism", "model")


def components_of(role: str, spec: Mapping[str, Any]) -> Iterable[tuple[str, str, str, dict[str, Any]]]:
    """(column, kind, name, settings) of a component and of those among its settings, outermost first."""
    return _walk(role, role, spec, frozenset())


def _walk(
    column: str, kind: str, spec: Mapping[str, Any], taken: frozenset[str]
) -> Iterable[tuple[str, str, str, dict[str, Any]]]:
    ((name, settings),) = spec.items()
    yield column, kind, name, settings
    inner_taken = taken | {s for s in settings if s in PARTS} if kind == "mechanism" else frozenset()
    for setting, value in settings.items():
        if _is_component(kind, setting, value):
            yield from _walk(prefix_of(column, setting, taken), setting, value, inner_taken)


def _is_component(kind: str, setting: str, value: Any) -> bool:
    return holds(kind, setting) and isinstance(value, dict)


def columns_of(role: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a task, a mechanism or a model; names are bare, and a list or mapping is its JSON text.

    The parts come first, in the order in which attention uses them, then the mechanism they are parts of.
    """
    row: dict[str, Any] = {}
    found = sorted(components_of(role, spec), key=lambda c: PARTS.index(c[0]) if c[0] in PARTS else len(PARTS))
    for column, kind, name, settings in found:
        row[column] = name.rpartition(":")[2]
        row |= {f"{column}.{s}": as_cell(v) for s, v in settings.items() if not _is_component(kind, s, v)}
    return row


def as_cell(value: Any) -> Any:
    """A setting as a cell of a table."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def columns(run: Run) -> dict[str, Any]:
    """The dotted columns of a run: `task`, `task.<setting>`, `similarity`, ..., `mask`, `mechanism`, `model`, `seed`.

    A setting that is tuned has no column here: what was chosen is known after the run.
    """
    spec = run.spec
    row: dict[str, Any] = {}
    for role in ROLES:
        row |= columns_of(role, spec[role])
    row["seed"] = spec["seed"]
    return row


def with_chosen(run: Run, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The specification of a run with its tuned settings, by dotted column, at the values chosen."""
    spec: dict[str, Any] = json.loads(run.canonical)
    settings = {column: s for role in ROLES for column, _, _, s in components_of(role, spec[role])}
    for dotted, value in chosen.items():
        column, _, setting = dotted.rpartition(".")
        settings[column][setting] = value
    return spec


def only(runs: Iterable[Run], expression: str) -> tuple[Run, ...]:
    """The runs that a filter leaves: `similarity=dot,task.d=16`.

    A comma is "and", a key that stands twice is "or", and a value may be a pattern (`similarity=*dot`).

    Raises
    ------
    SettingError
        When it cannot be read, or a key is no column of any of the runs.
    """
    wanted: dict[str, list[str]] = {}
    for clause in expression.split(","):
        key, equals, value = (part.strip() for part in clause.partition("="))
        if not equals or not key:
            raise SettingError(
                f"--only {expression!r}: {clause.strip()!r} is not KEY=VALUE, such as similarity=dot,task.d=16"
            )
        wanted.setdefault(key, []).append(value)
    rows = [(run, columns(run)) for run in runs]
    known = sorted({column for _, row in rows for column in row})
    for key in wanted:
        if rows and key not in known:
            raise SettingError(f"--only: unknown key {key!r}{did_you_mean(key, known)}; known are {', '.join(known)}")
    return tuple(
        run for run, row in rows if all(k in row and any(_fits(row[k], v) for v in vs) for k, vs in wanted.items())
    )


def _fits(value: Any, wanted: str) -> bool:
    shown = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    if fnmatch.fnmatchcase(shown, wanted):
        return True
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(wanted) == value
        except ValueError:
            return False
    return False
