"""The dotted columns of a run: what it is made of, under the names that the frame, `--only` and claims use.

Masks that are combined are one mapping of several names in a run, `{"causal": {}, "window": {"width": 2}}`; the column
`mask` is then `causal+window`, with the settings `mask.window.width`.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from typing import Any

from attnlab.errors import SettingError, did_you_mean
from attnlab.kinds import PARTS
from attnlab.registry import Own, entries
from attnlab.sweeps.experiment.grid import holds, prefix_of
from attnlab.sweeps.run import Run

__all__ = ["ROLES", "buildable", "columns", "columns_of", "components_of", "only", "seed_columns", "with_chosen"]

ROLES = ("task", "mechanism", "model")
_WORDS = {"True": "true", "False": "false", "None": "null"}  # as Python, and the table, write them


def components_of(role: str, spec: Mapping[str, Any]) -> Iterable[tuple[str, str, str, dict[str, Any]]]:
    """(column, kind, name, settings) of a component and of those among its settings, outermost first.

    A name without its distribution is attnlab's own.
    """
    for _, column, kind, name, settings in _walk(role, role, spec, frozenset()):
        yield column, kind, Own(name), settings


def _walk(
    shown_in: str, kind: str, spec: Mapping[str, Any], taken: frozenset[str]
) -> Iterable[tuple[str, str, str, str, dict[str, Any]]]:
    """The same, after the column that shows the name: of masks that are combined one column shows all names."""
    for name, settings in spec.items():
        column = shown_in if len(spec) == 1 else f"{shown_in}.{_bare(name)}"
        yield shown_in, column, kind, name, settings
        inner_taken = taken | {s for s in settings if s in PARTS} if kind == "mechanism" else frozenset()
        for setting, value in settings.items():
            if _is_component(kind, setting, value):
                yield from _walk(prefix_of(column, setting, taken), setting, value, inner_taken)


def _bare(name: str) -> str:
    return name.rpartition(":")[2]


def _shown(kind: str, name: str) -> str:
    """The bare name, unless another distribution gives it as well: two components are never one value."""
    distribution, qualified, bare = name.rpartition(":")
    clashes = qualified and any(e.distribution != distribution for e in entries(kind).get(bare, []))
    return name if clashes else bare


def _is_component(kind: str, setting: str, value: Any) -> bool:
    return holds(kind, setting) and isinstance(value, dict)


def columns_of(role: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a task, a mechanism or a model; names are bare where that is clear, and a list or mapping is its JSON text.

    The parts come first, in the order in which attention uses them, then the mechanism they are parts of.
    """
    row: dict[str, Any] = {}
    found = sorted(
        _walk(role, role, spec, frozenset()), key=lambda c: PARTS.index(c[0]) if c[0] in PARTS else len(PARTS)
    )
    for shown_in, column, kind, name, settings in found:
        shown = _shown(kind, name)
        row[shown_in] = f"{row[shown_in]}+{shown}" if shown_in in row else shown
        row |= {f"{column}.{s}": as_cell(v) for s, v in settings.items() if not _is_component(kind, s, v)}
    return row


def as_cell(value: Any) -> Any:
    """A setting as a cell of a table."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def columns(run: Run) -> dict[str, Any]:
    """The dotted columns of a run: `task`, `task.<setting>`, `similarity`, ..., `mask`, `mechanism`, `model`, `seed`, and `model_seed` where it was set apart.

    A setting that is tuned has no column here: what was chosen is known after the run.
    """
    spec = run.spec
    row: dict[str, Any] = {}
    for role in ROLES:
        row |= columns_of(role, spec[role])
    return row | seed_columns(spec["seed"], spec.get("model_seed"))


def seed_columns(seed: int, model_seed: int | None) -> dict[str, int]:
    """`seed`, that of the data, and `model_seed` where it was set apart."""
    return {"seed": seed} if model_seed is None else {"seed": seed, "model_seed": model_seed}


def with_chosen(run: Run, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The specification of a run with its tuned settings, by dotted column, at the values chosen."""
    spec: dict[str, Any] = json.loads(run.canonical)
    settings = {column: s for role in ROLES for column, _, _, s in components_of(role, spec[role])}
    for dotted, value in chosen.items():
        column, _, setting = dotted.rpartition(".")
        settings[column][setting] = value
    return spec


def buildable(kind: str, spec: Mapping[str, Any]) -> Any:
    """A component of a run as `build` takes it: names without distribution are attnlab's own, combined masks a list."""
    built = [
        {Own(name): {s: buildable(s, v) if _is_component(kind, s, v) else v for s, v in settings.items()}}
        for name, settings in spec.items()
    ]
    return built[0] if len(built) == 1 else built


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
    if value is None or isinstance(value, bool):
        return fnmatch.fnmatchcase(json.dumps(value), _WORDS.get(wanted, wanted))
    if fnmatch.fnmatchcase(str(value), wanted):
        return True
    if isinstance(value, (int, float)):
        try:
            return float(wanted) == value
        except ValueError:
            return False
    return False
