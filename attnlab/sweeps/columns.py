"""The dotted columns of a run: what it is made of, under the names that the frame, `--only` and claims use.

Masks that are combined are one mapping of several names in a run, `{"causal": {}, "window": {"width": 2}}`; the column
`mask` is then `causal+window`, with the settings `mask.window.width`. Components that act as one in order are a list in a
run, with the same columns. In a setting that is a list of components, each one's columns have its index:
`mechanism.heads.0.similarity`.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attnlab.errors import AmbiguousName, SettingError, UnknownName, did_you_mean
from attnlab.kinds import PARTS
from attnlab.nested import Nested, is_named_for_a_kind, nested
from attnlab.registry import Own, entries, entry
from attnlab.sweeps.defaults import complete
from attnlab.sweeps.experiment.grid import prefix_of
from attnlab.sweeps.run import Run

__all__ = [
    "ROLES",
    "buildable",
    "buildable_settings",
    "columns",
    "columns_of",
    "components_of",
    "only",
    "only_rows",
    "seed_columns",
    "seed_in",
    "with_chosen",
]

ROLES = ("task", "mechanism", "model")
_SEED = re.compile(r',"seed":(-?\d+),"task":')  # in the canonical text of a run
_WORDS = {"True": "true", "False": "false", "None": "null"}  # as Python, and the table, write them


def components_of(role: str, spec: Mapping[str, Any]) -> Iterable[tuple[str, str, str, dict[str, Any]]]:
    """(column, kind, name, settings) of a component and of those among its settings, outermost first.

    A name without its distribution is attnlab's own.
    """
    for _, column, kind, name, settings in _walk(role, role, spec, frozenset()):
        yield column, kind, Own(name), settings


def _walk(
    shown_in: str, kind: str, spec: Any, taken: frozenset[str]
) -> Iterable[tuple[str, str, str, str, dict[str, Any]]]:
    """The same, after the column that shows the name: of components that act as one, one column shows all names."""
    named = [*spec.items()] if isinstance(spec, Mapping) else [pair for one in spec for pair in one.items()]
    for name, settings in named:
        column = shown_in if len(named) == 1 else f"{shown_in}.{_bare(name)}"
        yield shown_in, column, kind, name, settings
        inner_taken = taken | {s for s in settings if s in PARTS} if kind == "mechanism" else frozenset()
        for setting, value in settings.items():
            if held := _held(kind, name, setting, value):
                prefix = prefix_of(column, setting, taken)
                if isinstance(value, list) and held.several:
                    for i, one in enumerate(value):
                        yield from _walk(f"{prefix}.{i}", held.kind, one, inner_taken)
                else:
                    yield from _walk(prefix, held.kind, value, inner_taken)


def _held(kind: str, name: str, setting: str, value: Any) -> Nested | None:
    """What a setting of a run holds, where its value is a component or several."""
    if not (isinstance(value, dict) or (isinstance(value, list) and value)):
        return None
    try:
        return nested(entry(kind, Own(name)).cls, setting)
    except (UnknownName, AmbiguousName):  # not installed any more: what its name says
        named = isinstance(value, dict) and is_named_for_a_kind(kind, setting)
        return Nested(setting) if named else None


def _bare(name: str) -> str:
    return name.rpartition(":")[2]


def _shown(kind: str, name: str) -> str:
    """The bare name, unless another distribution gives it as well: two components are never one value."""
    distribution, qualified, bare = name.rpartition(":")
    clashes = qualified and any(e.distribution != distribution for e in entries(kind).get(bare, []))
    return name if clashes else bare


def columns_of(role: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a task, a mechanism or a model; names are bare if unambiguous, and lists and mappings are JSON.

    The parts come first, in the order in which attention uses them, then the mechanism they are parts of.
    """
    row: dict[str, Any] = {}
    found = sorted(
        _walk(role, role, spec, frozenset()), key=lambda c: PARTS.index(c[0]) if c[0] in PARTS else len(PARTS)
    )
    for shown_in, column, kind, name, settings in found:
        shown = _shown(kind, name)
        row[shown_in] = f"{row[shown_in]}+{shown}" if shown_in in row else shown
        row |= {f"{column}.{s}": as_cell(v) for s, v in settings.items() if not _held(kind, name, s, v)}
    return row


def as_cell(value: Any) -> Any:
    """A setting as a cell of a table."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def columns(run: Run, known: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """The dotted columns of a run: `task`, `task.<setting>`, `similarity`, ..., `mask`, `mechanism`, `model`, `seed`.

    `model_seed` is one more if it was set apart. A tuned setting has no column, because its value is known only after the run. A
    setting that is newer than the run has the default that the run was made with (`attnlab.sweeps.defaults`).
    For many runs give one `known` to all calls, an empty mapping at first: most runs differ from others in their seed alone.
    """
    seed = seed_in(run) if known is not None else None
    rest = "" if seed is None else run.but_the_seed
    if known is not None and rest in known:
        return known[rest] | {"seed": seed}
    spec = run.spec
    row: dict[str, Any] = {}
    for role in ROLES:
        row |= columns_of(role, complete(role, spec[role])) if role in spec else {}
    for tuned in spec.get("tune", ()):
        row.pop(tuned, None)
    row |= seed_columns(spec["seed"], spec.get("model_seed")) if "seed" in spec else {}
    if known is not None and rest:
        known[rest] = row
    return row


def seed_in(run: Run) -> int | None:
    """The seed, where it stands in the text of a run as it does in those of planned ones, which is told without parsing it."""
    if (told := run.__dict__.get("seed_in_text")) is not None:  # by whoever has read the text (`attnlab.sweeps.bulk`)
        return int(told)
    found = _SEED.findall(run.canonical)
    return int(found[0]) if len(found) == 1 else None


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


def buildable(kind: str, spec: Any) -> Any:
    """A component of a run as `build` takes it: names without distribution are attnlab's own, several are a list."""
    each = [{name: settings} for name, settings in spec.items()] if isinstance(spec, Mapping) else spec
    built = [{Own(name): buildable_settings(kind, name, settings)} for one in each for name, settings in one.items()]
    return built[0] if isinstance(spec, Mapping) and len(built) == 1 else built


def buildable_settings(kind: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a component of a run, with components among them as `build` takes them."""
    done = {}
    for setting, value in settings.items():
        held = _held(kind, name, setting, value)
        done[setting] = buildable(held.kind, value) if held else value
    return done


def only(runs: Iterable[Run], expression: str) -> tuple[Run, ...]:
    """The runs that a filter leaves: `similarity=dot,task.d=16`.

    A comma means "and", a key that occurs twice means "or", and a value may be a pattern (`similarity=*dot`).

    Raises
    ------
    SettingError
        When it cannot be read, or a key is no column of any of the runs.
    """
    seen: dict[str, dict[str, Any]] = {}
    rows = [(run, columns(run, seen)) for run in runs]
    known = sorted({column for _, row in rows for column in row})
    kept = only_rows([row for _, row in rows], expression, known)
    return tuple(run for (run, _), fits in zip(rows, kept, strict=True) if fits)


def only_rows(rows: Sequence[Mapping[str, Any]], expression: str, known: Collection[str]) -> list[bool]:
    """Which rows, each the columns that it has, a filter leaves; `known` are the columns that there are.

    Raises
    ------
    SettingError
        As `only` does.
    """
    wanted: dict[str, list[str]] = {}
    for clause in expression.split(","):
        key, equals, value = (part.strip() for part in clause.partition("="))
        if not equals or not key:
            raise SettingError(
                f"--only {expression!r}: {clause.strip()!r} is not KEY=VALUE, such as similarity=dot,task.d=16"
            )
        wanted.setdefault(key, []).append(value)
    for key in wanted:
        if rows and key not in known:
            raise SettingError(f"--only: unknown key {key!r}{did_you_mean(key, known)}; known are {', '.join(known)}")
    return [all(k in row and any(_fits(row[k], v) for v in vs) for k, vs in wanted.items()) for row in rows]


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
