"""Reading an experiment: text -> Experiment. Every mistake at file:line:column, all of them at once.

The fixed structure is checked by pydantic, the open part (components and their settings) by `grid.GridReader`, the claims
against both. Nothing is built: an Experiment holds names and values.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from attnlab.errors import SettingError, did_you_mean
from attnlab.registry import Own, entry
from attnlab.sweeps.columns import columns_of, seed_columns
from attnlab.sweeps.experiment.allowed import ALLOW_SCHEMA, Allowed, each, with_reasons
from attnlab.sweeps.experiment.budgets import Budget, check_widths
from attnlab.sweeps.experiment.choices import Choice, Learners, count
from attnlab.sweeps.experiment.claims import Claim, Table, check_selections, column_of_metric, with_columns
from attnlab.sweeps.experiment.grid import GridReader
from attnlab.sweeps.experiment.inputs import Inputs
from attnlab.sweeps.experiment.source import At, Document, short

__all__ = ["Experiment", "Layout", "Limits", "parse_memory", "parse_time", "read", "text_of"]

_TIMES = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_APART = ("data", "model")  # whose seeds may be set apart
_QUANTITY = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*")


def _quantity(value: Any, units: Mapping[str, float], what: str) -> float:
    number, unit = (value, "") if not isinstance(value, str) else (None, "")
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        number, unit = float(match[1]), match[2]
    if number is None or isinstance(number, bool) or not isinstance(number, (int, float)) or unit not in {"", *units}:
        raise SettingError(f"must be {what}; got {short(value)}")
    total = number * units.get(unit, 1)
    if not (math.isfinite(total) and total > 0):
        raise SettingError(f"must be more than nothing; got {short(value)}")
    return total


def parse_time(value: Any) -> float:
    """Seconds of `60s`, `2m`, `1.5h`, `500ms`, or a number of seconds; SettingError otherwise."""
    return _quantity(value, _TIMES, "a time such as 60s, 2m or 1h, or a number of seconds")


def parse_memory(value: Any) -> int:
    """Bytes of `2GiB`, `512MB`, or a number of bytes; SettingError otherwise."""
    size = int(_quantity(value, _SIZES, "a size such as 2GiB or 512MB, or a number of bytes"))
    if size < 2**20 and not str(value).strip().endswith("B"):
        raise SettingError(f"must have a unit, such as 2GiB, or be at least a mebibyte in bytes; got {short(value)}")
    return size


def _several(value: Any) -> Any:
    """One name as a list of one."""
    return [value] if isinstance(value, str) else value


def _plain_name(name: str) -> str:
    """The name, which files are called by; ValueError if they could not be."""
    if not name.isprintable() or set(name) & set("/\\") or name in (".", ".."):
        raise ValueError(
            f"files are called by it, so it may hold no /, no \\ and no control character; got {short(name)}"
        )
    return name


_TIME_SCHEMA: JsonDict = {
    "anyOf": [{"type": "string", "examples": ["60s", "2m", "1h"]}, {"type": "number", "exclusiveMinimum": 0}]
}
_SIZE_SCHEMA: JsonDict = {
    "anyOf": [{"type": "string", "examples": ["2GiB", "512MB"]}, {"type": "number", "minimum": 2**20}]
}


class Limits(BaseModel):
    """What a run may take, and how many may be planned; no part of a run's identity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    time: Annotated[float | None, BeforeValidator(lambda v: None if v is None else parse_time(v))] = Field(
        default=None, description="Of one run: 60s, 2m, 1h, or seconds.", json_schema_extra=_TIME_SCHEMA
    )
    memory: Annotated[int | None, BeforeValidator(lambda v: None if v is None else parse_memory(v))] = Field(
        default=None, description="Of one run: 2GiB, 512MB, or bytes.", json_schema_extra=_SIZE_SCHEMA
    )
    runs: Annotated[int, Ge(1)] = Field(default=10_000, description="Of the experiment; more are refused.")


class Layout(BaseModel):
    """An experiment as it is written: the keys, and what pydantic can check of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    attnlab: Literal[1] = Field(description="The version of this format.")
    question: Annotated[str, Len(1)] = Field(description="What the experiment asks, in a sentence.")
    source: str | None = Field(default=None, description="Where the question comes from.")
    author: Annotated[str, Len(1)] | None = Field(
        default=None, description="Who predicts what the claims say; who committed the file, unless given."
    )
    name: Annotated[str, Len(1), AfterValidator(_plain_name)] | None = Field(
        default=None, description="Its name; the file's, unless given."
    )
    task: Any = Field(description="What there is to align: a name, {name: {setting: value}}, or a list of these.")
    mechanism: Any = Field(
        default=None,
        description="Parts by kind, or a mechanism with settings, or a list of these; each model's own, unless given.",
    )
    model: Any = Field(
        default="aligner", description="What learns: a name, {name: {setting: value}}, or a list of these."
    )
    seeds: Any = Field(
        default=5,
        description="A number n for the seeds 0..n-1, or a list of seeds; {data: ..., model: ...} sets those of the data and "
        "of the model apart.",
    )
    metrics: Annotated[list[str], Len(1), BeforeValidator(_several)] = Field(
        default=["alignment_accuracy"], description="The metric to show, or a list of these; the first ranks."
    )
    claims: Annotated[list[Claim], Len(0, 100)] = Field(default=[], description="What is expected.")
    tune: dict[str, Annotated[list[Any], Len(1)]] = Field(
        default={}, description="Settings chosen on validation data, by dotted name, with their candidates."
    )
    budget: Budget | None = Field(
        default=None, description="How much each mechanism may cost; widths are chosen so that it does, within 10 %."
    )
    limits: Limits = Field(default=Limits(), description="What a run may take, and how many there may be.")
    allow: Annotated[list[Allowed], BeforeValidator(each)] = Field(
        default=[],
        description="Findings of the referee that are no objection here, each with its reason.",
        json_schema_extra=ALLOW_SCHEMA,
    )


class Experiment(BaseModel):
    """A question, and the grid of runs that answers it. Nothing is built yet; `plan` expands it."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    path: Path | None
    question: str
    source: str | None
    author: str | None
    tasks: tuple[Choice, ...]
    learners: tuple[Learners, ...]
    seeds: tuple[int, ...]  # of the data, and of the model where model_seeds is None
    model_seeds: tuple[int, ...] | None
    metrics: tuple[str, ...]
    claims: tuple[Claim, ...]
    tune: dict[str, list[Any]]
    budget: Budget | None
    limits: Limits
    allow: tuple[Allowed, ...]
    inputs: dict[str, str]  # files that tasks read: path in a run -> SHA-256
    text: str
    warnings: tuple[str, ...] = ()  # one for each claim that can compare nothing, with its place

    @property
    def count(self) -> int:
        """The number of runs, before those that are the same are counted once."""
        seeds = len(self.seeds) * len(self.model_seeds or (0,))
        return count(self.tasks) * sum(group.count for group in self.learners) * seeds

    @property
    def chosen(self) -> list[str]:
        """The columns that no axis varies: what is tuned on validation data, and what the budget chooses."""
        return list(dict.fromkeys([*self.tune, *(self.budget.columns(self.models) if self.budget else ())]))

    @property
    def allowance(self) -> tuple[str, float, list[str]] | None:
        """The column that the budget is about, how many, and the columns that it chooses; None without one."""
        return (self.budget.column, self.budget.target, self.budget.columns(self.models)) if self.budget else None

    @property
    def mechanisms(self) -> tuple[Choice, ...]:
        """The mechanisms, those that are models' own included."""
        return tuple(dict.fromkeys(choice for group in self.learners for choice in group.mechanisms))

    @property
    def models(self) -> tuple[Choice, ...]:
        """The models."""
        return tuple(choice for group in self.learners for choice in group.models)


def read(source: str | os.PathLike[str] | Mapping[str, Any] | Document) -> Experiment:
    """Read an experiment from a YAML file, from a mapping of the same form, or from a document of either.

    Raises
    ------
    ExperimentError
        With one line for each problem: `file:line:column: what was given, what is allowed`. For a mapping the dotted path
        replaces line and column.
    """
    document = source if isinstance(source, Document) else Document(source)
    layout = _layout(document)
    inputs = Inputs(document.path.parent if document.path else Path())
    written = {key: field.default for key, field in Layout.model_fields.items() if not field.is_required()}
    written["model"] = Own(written["model"])  # a default means attnlab's own
    default = [Own(name) for name in Layout.model_fields["metrics"].default]
    written |= document.value
    reader = GridReader(document, _mapping(written["tune"]), inputs)
    tasks = tuple(reader.axis("task", written["task"], ("task",), "task")) if "task" in written else ()
    learners = _learners(reader, written["mechanism"], written["model"])
    seeds, model_seeds = _both_seeds(document, written["seeds"])
    _check_tune(document, reader)
    if layout is None:
        document.refuse()
        raise AssertionError("pydantic refused the layout, but no problem was noted")
    budget = layout.budget
    check_widths(document, budget, [one for group in learners for one in group.models], tuple(layout.tune))
    expandable = document.sound and _check_count(document, tasks, learners, seeds, model_seeds, layout.limits.runs)
    metrics = tuple(
        dict.fromkeys(
            column_of_metric(document, metric, ("metrics", i))
            for i, metric in enumerate(layout.metrics if "metrics" in document.value else default)
        )
    )
    claims = with_columns(document, layout.claims)
    if expandable and claims:
        rows = _rows(tasks, learners)
        if budget is not None:
            chosen = budget.columns([one for group in learners for one in group.models])
            rows = {
                role: [{c: v for c, v in row.items() if c not in chosen} for row in each] for role, each in rows.items()
            }
        rows["seed"] = [seed_columns(*pair) for pair in itertools.product(seeds, model_seeds or (None,))]
        check_selections(document, claims, Table(rows, tuple(layout.tune)))
    document.refuse()
    return Experiment(
        name=layout.name or (text_of(document.path.stem) if document.path else "experiment"),
        path=document.path,
        question=layout.question,
        source=layout.source,
        author=layout.author,
        tasks=tasks,
        learners=learners,
        seeds=tuple(seeds),
        model_seeds=None if model_seeds is None else tuple(model_seeds),
        metrics=metrics,
        claims=claims,
        tune=layout.tune,
        budget=layout.budget,
        limits=layout.limits,
        allow=with_reasons(document, layout.allow),
        inputs=inputs.hashes,
        text=document.text,
        warnings=document.warnings,
    )


def text_of(path: str) -> str:
    """The name of a file as text that every file and stream can hold; bytes that are none are escaped."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _learners(reader: GridReader, mechanism: Any, model: Any) -> tuple[Learners, ...]:
    """Every mechanism with every model; where no mechanism is given, each model with its own."""
    given = None if mechanism is None else tuple(reader.axis("mechanism", mechanism, ("mechanism",), "mechanism"))
    models = tuple(reader.axis("model", model, ("model",), "model"))
    if given is not None:
        return (Learners(given, models),)
    own = [getattr(entry("model", Own(one.name)).cls, "preferred", {}) for one in models]
    return tuple(
        Learners(tuple(reader.default("mechanism", preferred, ("model",), "mechanism")), (one,))
        for one, preferred in zip(models, own, strict=True)
    )


def _rows(tasks: tuple[Choice, ...], learners: tuple[Learners, ...]) -> dict[str, list[dict[str, Any]]]:
    """The columns of every task, mechanism and model: of mechanism and model together where not all go together."""
    rows = {"task": [columns_of("task", p.spec) for choice in tasks for p in choice.points()]}
    if len(learners) == 1:
        for role, choices in (("mechanism", learners[0].mechanisms), ("model", learners[0].models)):
            rows[role] = [columns_of(role, p.spec) for choice in choices for p in choice.points()]
    else:
        rows["mechanism and model"] = [
            columns_of("mechanism", mechanism.spec) | columns_of("model", model.spec)
            for group in learners
            for mechanism, model in group.points()
        ]
    return rows


def _check_count(
    document: Document,
    tasks: tuple[Choice, ...],
    learners: tuple[Learners, ...],
    seeds: Sequence[int],
    model_seeds: Sequence[int] | None,
    limit: int,
) -> bool:
    """Note a grid of more runs than allowed, before anything is expanded; whether it may be."""
    n_learners = sum(group.count for group in learners)
    n_runs = count(tasks) * n_learners * len(seeds) * len(model_seeds or (0,))
    if n_runs > limit:
        if len(learners) == 1:
            learning = [f"{count(learners[0].mechanisms)} mechanism", f"{count(learners[0].models)} model"]
        else:
            learning = [f"{n_learners} model with its own mechanism"]
        drawn = [f"{len(seeds)} {'data ' if model_seeds else ''}seeds"]
        drawn += [f"{len(model_seeds)} model seeds"] if model_seeds else []
        numbers = " x ".join([f"{count(tasks)} task", *learning, *drawn])
        message = f"{n_runs} runs ({numbers}) are more than {limit}, which limits.runs allows; narrow the grid or write `limits: {{runs: {n_runs}}}`"
        document.problem(("limits", "runs"), message)
    return n_runs <= limit


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _layout(document: Document) -> Layout | None:
    """The fixed structure, or None with the problems noted."""
    if not isinstance(document.value, dict):
        what = f"a list of {len(document.value)}" if isinstance(document.value, list) else short(document.value)
        document.problem((), f"an experiment is a mapping with the keys attnlab, question, task, ...; got {what}")
        document.refuse()
    try:
        return Layout.model_validate(document.value)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            _translate(document, problem)
    return None


def _translate(document: Document, problem: Any) -> None:
    """One of pydantic's findings, in our words and at its place."""
    at: At = problem["loc"]
    kind, value = problem["type"], problem["input"]
    parts: dict[Any, type[BaseModel]] = {"claims": Claim, "limits": Limits, "allow": Allowed, "budget": Budget}
    model = parts.get(at[0], Layout) if len(at) > 1 else Layout
    if kind == "extra_forbidden":
        known = list(model.model_fields)
        message = f"unknown key {short(at[-1])}{did_you_mean(str(at[-1]), known)}; allowed are {', '.join(known)}"
        document.problem(at, message, key=True)
    elif kind == "missing":
        description = model.model_fields[str(at[-1])].description
        document.problem(at[:-1], f"missing key {at[-1]!r}: {description}")
    elif kind == "value_error":
        document.problem(at, f"{_dotted(at)}: {problem['ctx']['error']}")
    elif kind == "literal_error" and at == ("attnlab",):
        document.problem(at, f"attnlab: the version of the format must be 1; got {short(value)}")
    else:
        said = problem["msg"].replace("Input should be", "must be").replace("a valid dictionary", "a mapping")
        said = said.replace("a valid ", "a ").replace("Dictionary should", "must").replace("List should", "must")
        document.problem(at, f"{_dotted(at)} {said[0].lower()}{said[1:]}; got {short(value)}")


def _dotted(at: At) -> str:
    return ".".join(str(part) for part in at)


def _both_seeds(document: Document, value: Any) -> tuple[Sequence[int], Sequence[int] | None]:
    """The seeds of the data, and those of the model where they are set apart."""
    if not isinstance(value, dict):
        return _seeds(document, value, ("seeds",)), None
    for key in value:
        if key not in _APART:
            message = f"unknown key {short(key)}{did_you_mean(str(key), _APART)}; allowed are {', '.join(_APART)}"
            document.problem(("seeds", key), message, key=True)
    if missing := [key for key in _APART if key not in value]:
        document.problem(
            ("seeds",),
            f"seeds that are set apart need both data and model, each a number or a list; {missing[0]} is missing",
        )
    data, model = (_seeds(document, value[key], ("seeds", key)) if key in value else () for key in _APART)
    return data, model


def _seeds(document: Document, value: Any, at: At) -> Sequence[int]:
    """An int n for 0..n-1, not yet written out, or the list itself."""
    name = _dotted(at)
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= 1:
            return range(value)
        document.problem(at, f"{name} must be a number n, at least 1, or a list of seeds; got {value}")
        return ()
    if not isinstance(value, list) or not value:
        apart = ", or {data: ..., model: ...}" if at == ("seeds",) else ""
        what = f"a number n, for 0..n-1, or a list of whole numbers{apart}"
        document.problem(at, f"{name} must be {what}; got {short(value)}")
        return ()
    seen: dict[int, None] = {}
    for i, seed in enumerate(value):
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            document.problem((*at, i), f"a seed is a whole number, at least 0; got {short(seed)}")
        elif seed in seen:
            document.problem((*at, i), f"seed {seed} occurs twice")
        else:
            seen[seed] = None
    return tuple(seen)


def _check_tune(document: Document, reader: GridReader) -> None:
    """Note tuned settings that nothing here has, and those that may not be tuned."""
    if reader.incomplete:
        return  # the component that could not be read may have the setting
    for column in reader.tune:
        if column.startswith("task."):
            message = (
                f"{column}: the task cannot be tuned, since it is what mechanisms are compared on; make it a grid axis"
            )
        elif column not in reader.tuned:
            known = sorted(c for c in reader.tunable if not c.startswith("task."))
            message = f"nothing here has the setting {short(column)}{did_you_mean(column, known)}; there are {', '.join(known)}"
        else:
            continue
        document.problem(("tune", column), message, key=True)
