"""Run and Result: what a sweep plans, and what it gets back."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnlab.kinds import PARTS

__all__ = ["STATUSES", "Result", "Run"]

STATUSES = ("ok", "failed", "timeout", "crashed", "oom", "invalid", "skipped")


@dataclass(frozen=True)
class Run:
    """One task point x one mechanism x one model point x one seed.

    `canonical` is the whole run as canonical JSON, everything that can change its numbers and nothing else: file names,
    order, limits, workers and the metrics to show are no part of it.

        {"mechanism": {name: {setting: value}},      parts are {"similarity": {name: {setting: value}}, ...}
         "model":     {name: {setting: value}},
         "seed":      0,
         "task":      {name: {setting: value}},
         "tune":      {"model.learning_rate": [0.01, 0.1]}}

    Settings are complete: defaults are written out. The name of a component that is not attnlab's own is written
    `distribution:name`.
    """

    canonical: str

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Run:
        """The run of a specification; NaN and unknown types are refused (TypeError, ValueError)."""
        return cls(json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False))

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.canonical)
        return loaded

    @functools.cached_property
    def run_id(self) -> str:
        """A content hash: sixteen hexadecimal digits."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:16]

    @property
    def seed(self) -> int:
        return int(self.spec["seed"])

    def label(self) -> str:
        """A short line for people: task, mechanism and seed."""
        spec = self.spec
        task, model = next(iter(spec["task"])), next(iter(spec["model"]))
        return f"{task} · {_called(spec['mechanism'])} · {model} · seed {spec['seed']}"


def _called(mechanism: Mapping[str, Any]) -> str:
    """A mechanism by its parts; one that is made of others by its name, with what it is made of."""
    ((name, settings),) = mechanism.items()
    each = {s: [one for one in (v if isinstance(v, list) else [v]) if _names(one)] for s, v in settings.items()}
    parts = " ".join("+".join(name for one in each[role] for name in one) for role in PARTS if each.get(role))
    inner = [_called(one) for setting, found in each.items() if setting not in PARTS for one in found if len(one) == 1]
    return f"{name}({', '.join([*filter(None, [parts]), *inner])})" if inner else parts or name


def _names(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(settings, dict) for settings in value.values())


@dataclass(frozen=True)
class Result:
    """What became of a run: a status, a reason when it is not `ok`, and what was measured."""

    status: str
    reason: str = ""
    traceback: str = ""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # test condition -> metric -> value
    facts: Mapping[str, Any] = field(default_factory=dict)  # fit_seconds, n_parameters, ..., tuned settings, backend
    versions: Mapping[str, str] = field(default_factory=dict)  # attnlab, python, numpy, and each plugin's
    artifacts: bytes = b""  # an .npz, without pickle: loss curve, learned arrays, a few examples' weights
    attempts: int = 1
    executor: str = ""
    started_at: str = ""  # ISO 8601, UTC
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {self.status!r}")
