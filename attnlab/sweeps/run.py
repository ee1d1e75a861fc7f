"""Run and Result: what a sweep plans, and what it gets back."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnlab.kinds import PARTS
from attnlab.plugins import FILE

__all__ = ["DAMAGED", "STATUSES", "Result", "Run", "with_file_names"]

_SEED = re.compile(r',"seed":-?\d+,"task":')  # in the canonical text of a run
STATUSES = ("ok", "failed", "timeout", "crashed", "oom", "invalid", "skipped")
DAMAGED = "damaged"  # what a store says of a row that does not agree with its checksum; no run ends so


def _canonical(spec: Any) -> str:
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _members(mapping: Mapping[str, Any]) -> dict[str, str]:
    """The canonical text of each member of a mapping, with its key."""
    return {key: _member(key, value) for key, value in mapping.items()}


_quoted = functools.lru_cache(maxsize=256)(_canonical)


def _member(key: str, value: Any) -> str:
    return f"{_quoted(key)}:{value if type(value) is int else _canonical(value)}"


class _Extended:
    """The canonical text of a mapping with some more members. What comes before and after them is put together once."""

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self._members = _members(mapping)
        self._around: dict[tuple[str, ...], tuple[str, str] | None] = {}

    def with_members(self, added: dict[str, str]) -> str:
        """With the texts of members, by key, in the order of their keys."""
        keys = tuple(added)
        if keys not in self._around:
            others = sorted(self._members.keys() - added.keys())
            before = [key for key in others if keys and key < keys[0]]
            after = [key for key in others if keys and key > keys[-1]]
            together = len(before) + len(after) == len(others)
            texts = (
                "".join(f"{self._members[key]}," for key in before),
                "".join(f",{self._members[key]}" for key in after),
            )
            self._around[keys] = texts if keys and together else None
        if (around := self._around[keys]) is None:
            return _joined({**self._members, **added})
        return f"{{{around[0]}{','.join(added.values())}{around[1]}}}"


def _joined(members: Mapping[str, str]) -> str:
    """The canonical text of a mapping."""
    return "{" + ",".join(members[key] for key in sorted(members)) + "}"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """One task point x one mechanism x one model point x one seed.

    `canonical` is the run as it is carried out, as canonical JSON: everything that can change its numbers and nothing else.
    File names of experiments, order, limits, workers and the metrics to show are no part of it.

        {"mechanism": {name: {setting: value}},      parts are {"similarity": {name: {setting: value}}, ...}
         "model":     {name: {setting: value}},
         "seed":      0,                             of the data, and of the model too without "model_seed"
         "model_seed": 0,                            only where it is set apart
         "task":      {name: {setting: value}},
         "tune":      {"model.learning_rate": [0.01, 0.1]},
         "inputs":    {path: SHA-256}}                 only where a setting is a file

    Settings are complete: defaults are written out. The name of a component that is not attnlab's own is written
    `distribution:name`.

    `run_id` is what the run is known by, a content hash of sixteen hexadecimal digits: of `canonical`, unless another
    identity is given (`attnlab.sweeps.identity` says what that of a planned run is).

    `metrics` are the columns of metrics of others that are to be measured as well, and `time_limit` is how many seconds the
    run may take, where that is known. They say what to do this time and are no part of what the run is.
    """

    canonical: str
    run_id: str = ""
    metrics: tuple[str, ...] = field(default=(), compare=False)
    time_limit: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.run_id:
            object.__setattr__(self, "run_id", _hashed(self.canonical))

    @classmethod
    def of(cls, spec: Mapping[str, Any], identity: Mapping[str, Any] | None = None) -> Run:
        """The run of a specification; NaN and unknown types are refused (TypeError, ValueError)."""
        return cls(_canonical(spec), "" if identity is None else _hashed(_canonical(identity)))

    @classmethod
    def each(
        cls, spec: Mapping[str, Any], identity: Mapping[str, Any], several: Iterable[Mapping[str, Any]]
    ) -> Iterator[Run]:
        """The runs of a specification with each of several additions: `of({**spec, **more}, {**identity, **more})`."""
        carried_out, meant = _Extended(spec), _Extended(identity)
        rest: dict[str, str] = {}
        for more in several:
            added = {key: _member(key, more[key]) for key in sorted(more)}
            run = cls(carried_out.with_members(added), _hashed(meant.with_members(added)))
            others = ",".join(text for key, text in added.items() if key != "seed")
            if "seed" in added and others in rest:
                run.__dict__["but_the_seed"] = rest[others]  # one text for all
            elif run.but_the_seed != run.canonical:
                rest[others] = run.but_the_seed
            yield run

    @functools.cached_property
    def but_the_seed(self) -> str:
        """`canonical` without the seed: equal for runs that differ in it alone."""
        return sys.intern(_SEED.sub("", self.canonical))

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.canonical)
        return loaded

    @property
    def seed(self) -> int:
        """The seed of the data."""
        return int(self.spec["seed"])

    @property
    def model_seed(self) -> int:
        """The seed of the model: that of the data, unless it was set apart."""
        return int(self.spec.get("model_seed", self.seed))

    @functools.cached_property
    def examples(self) -> str:
        """What says which examples it has: equal for runs whose task, settings of it, input files and seed are the same."""
        spec = self.spec
        return _canonical([spec.get("task"), spec.get("inputs"), spec.get("seed")])

    def label(self) -> str:
        """A short line for people: task, mechanism and seed."""
        spec = self.spec
        if not all(spec.get(role) for role in ("task", "mechanism", "model")):
            return "?"
        task, model = next(iter(spec["task"])), next(iter(spec["model"]))
        apart = f", model seed {self.model_seed}" if "model_seed" in spec else ""
        return f"{task} · {_called(spec['mechanism'])} · {model} · seed {spec['seed']}{apart}"


def _called(mechanism: Mapping[str, Any]) -> str:
    """A mechanism by its parts; one that is made of others by its name, with what it is made of."""
    ((name, settings),) = mechanism.items()
    each = {s: [one for one in (v if isinstance(v, list) else [v]) if _names(one)] for s, v in settings.items()}
    parts = " ".join("+".join(name for one in each[role] for name in one) for role in PARTS if each.get(role))
    inner = [_called(one) for setting, found in each.items() if setting not in PARTS for one in found if len(one) == 1]
    return f"{name}({', '.join([*filter(None, [parts]), *inner])})" if inner else parts or name


def _names(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(settings, dict) for settings in value.values())


def with_file_names(canonical: str, versions: Mapping[str, str]) -> str:
    """A run that schema version 1 kept, which named what a plugin file gives after the file, as it is named now."""
    files = {name for name, version in versions.items() if version == FILE}
    if not files:
        return canonical

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {_of_file(key, files): named(inner) for key, inner in value.items()}
        return [named(inner) for inner in value] if isinstance(value, list) else value

    return _canonical(named(json.loads(canonical)))


def _of_file(key: str, files: set[str]) -> str:
    distribution, colon, name = key.rpartition(":")
    return f"{FILE}:{name}" if colon and distribution in files else key


@dataclass(frozen=True)
class Result:
    """What became of a run: a status, a reason when it is not `ok`, and what was measured."""

    status: str
    reason: str = ""
    traceback: str = ""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # test condition -> metric -> value
    facts: Mapping[str, Any] = field(default_factory=dict)  # fit_seconds, n_parameters, ..., tuned settings, backend
    versions: Mapping[str, str] = field(default_factory=dict)  # attnlab, its environment, and each plugin's
    artifacts: bytes = b""  # an .npz, without pickle: loss curve, learned arrays, a few examples' weights
    attempts: int = 1
    executor: str = ""
    started_at: str = ""  # ISO 8601, UTC
    seconds: float = 0.0
    fingerprints: Mapping[str, str] = field(
        default_factory=dict
    )  # of the code that ran, from its worker; a store has them apart

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {self.status!r}")

    @classmethod
    def damaged(cls, reason: str) -> Result:
        """What is left of a result whose row is damaged: no number, and why. No run can return it, and no store keeps it."""
        result = cls("failed", reason)
        object.__setattr__(result, "status", DAMAGED)
        return result
