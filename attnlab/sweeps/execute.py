"""Run -> Result: build by name, make data, fit, measure. Strings become objects here, and nowhere below.

The data of a run depend on its task, the task's settings and its seed; the model's own randomness is a separate stream.
So mechanisms are compared on the same examples, seed by seed.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import itertools
import json
import platform
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

import attnlab
from attnlab.data import AlignmentData, Splits
from attnlab.errors import Diverged, InvalidResult, Unsupported
from attnlab.injection import asks_for, call
from attnlab.registry import Own, build, built, entries, entry
from attnlab.sweeps.columns import ROLES, buildable, buildable_settings, components_of, with_chosen
from attnlab.sweeps.run import Result, Run

__all__ = ["data_rng", "execute", "measure", "splits_of", "versions_of"]

EXAMPLES_KEPT = 4  # examples of each test condition whose weights are kept
NOTES_KEPT = 10  # sentences: what warned, which metric has no number
ARRAY_LIMIT = 2**16  # numbers: larger arrays are not kept


def execute(run: Run, raise_errors: bool = False) -> Result:
    """Carry out one run; what goes wrong in it becomes the result's status and reason.

    Parameters
    ----------
    run : Run
    raise_errors : bool
        Raise instead, for looking into one run.

    Raises
    ------
    MemoryError
        Always: what that means is for the executor to say.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    began = time.perf_counter()
    outcome: dict[str, Any]
    try:
        with _threads().limit(limits=1):
            outcome = {"status": "ok", **_carry_out(run)}
    except MemoryError:
        raise
    except Exception as error:
        if raise_errors:
            raise
        outcome = {"status": _status(error), "reason": _reason(error), "traceback": traceback.format_exc()}
    return Result(**outcome, versions=versions_of(run), started_at=started_at, seconds=time.perf_counter() - began)


def _status(error: Exception) -> str:
    if isinstance(error, Unsupported):
        return "skipped"
    return "invalid" if isinstance(error, (Diverged, InvalidResult)) else "failed"


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if isinstance(error, (Unsupported, Diverged, InvalidResult)) else f"{type(error).__name__}: {text}"


@functools.lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


# --------------------------------------------------------------------------------------------------------------------
def data_rng(task: Mapping[str, Any], seed: int) -> np.random.Generator:
    """The stream of a task's data: of the task, its settings and the seed, and of nothing else."""
    digest = hashlib.sha256(json.dumps(task, sort_keys=True).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([int.from_bytes(digest[:16], "big"), seed]))


def splits_of(run: Run) -> Splits:
    """The examples of a run."""
    task = build("task", buildable("task", run.spec["task"]))
    splits = task.make(data_rng(run.spec["task"], run.seed))
    if not isinstance(splits, Splits):
        raise TypeError(f"{type(task).__name__}.make must return Splits; got {type(splits).__name__}")
    if empty := [condition for condition, data in splits.tests.items() if not len(data)]:
        raise ValueError(f"{type(task).__name__}.make gives no examples to test on: {', '.join(empty)} has 0")
    tests = {condition: _guarded(data) for condition, data in splits.tests.items()}
    return Splits(_guarded(splits.train), _guarded(splits.validation), tests)


def _carry_out(run: Run) -> dict[str, Any]:
    splits = splits_of(run)
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, facts = _fit_best(run, splits)
        facts["n_parameters"] = float(getattr(model, "n_parameters_", float("nan")))
        facts["operations_per_query"] = float(getattr(model, "operations_per_query_", float("nan")))
        measured: dict[str, dict[str, float]] = {}
        kept: dict[str, Any] = {}
        for condition, data in splits.tests.items():
            W, Y = np.asarray(model.align(data)), np.asarray(model.predict(data))
            _check(condition, data, W, Y)
            measured[condition], failures = measure(data, W, Y, model, facts["fit_seconds"])
            notes += failures
            kept |= _examples(condition, data, W)
    notes += [str(w.message) for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning))]
    facts["notes"] = list(dict.fromkeys(notes))[:NOTES_KEPT]
    return {"metrics": measured, "facts": facts, "artifacts": _packed({**_learned(model), **kept})}


def _candidates(tune: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    names = list(tune)
    for values in itertools.product(*tune.values()):
        yield dict(zip(names, values, strict=True))


def _fit_best(run: Run, splits: Splits) -> tuple[Any, dict[str, Any]]:
    """The model fitted with each candidate setting, and the best on validation data; the first of equals.

    A candidate that diverges loses; when all do, the last divergence is the run's.
    """
    candidates = list(_candidates(run.spec.get("tune", {})))
    best: tuple[float, Any, dict[str, Any], float] | None = None
    diverged: Diverged | None = None
    for chosen in candidates:
        model = _model(run, chosen)
        began = time.perf_counter()
        try:
            _fit(model, splits)
        except Diverged as error:
            diverged = error
            continue
        seconds = time.perf_counter() - began
        score = float(model.score(splits.validation)) if len(candidates) > 1 else 0.0
        score = -np.inf if np.isnan(score) else score  # what has no score loses, and never stands in another's way
        if best is None or score > best[0]:
            best = score, model, chosen, seconds
    if best is None:
        assert diverged is not None
        raise diverged
    _, model, chosen, seconds = best
    return model, {
        "fit_seconds": seconds,
        "n_tuned": len(candidates),
        "tuned": chosen,
        "backend": getattr(model, "backend_", "reference"),
    }


def _fit(model: Any, splits: Splits) -> None:
    if "validation" in asks_for(model, "fit"):
        model.fit(splits.train, validation=splits.validation)
    else:
        model.fit(splits.train)


def _model(run: Run, chosen: Mapping[str, Any]) -> Any:
    """The run's model, unfitted, with the chosen candidates among its settings."""
    spec = with_chosen(run, chosen)
    ((name, settings),) = spec["model"].items()
    mechanism = build("mechanism", buildable("mechanism", spec["mechanism"]))
    cls = entry("model", Own(name)).cls
    return cls(**built(cls, buildable_settings("model", name, settings)), mechanism=mechanism, random_state=run.seed)


def _check(condition: str, data: AlignmentData, W: Any, Y: Any) -> None:
    expected = (len(data), data.n_queries, data.n_keys)
    if W.shape != expected:
        raise InvalidResult(f"{condition}: the weights must be (n, q, k) = {expected}; got {W.shape}")
    if Y.shape[:2] != expected[:2]:
        raise InvalidResult(f"{condition}: predictions must begin with (n, q) = {expected[:2]}; got {Y.shape}")
    for name, array in (("weights", W), ("predictions", Y)):
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise InvalidResult(f"{condition}: {bad} of {array.size} {name} are NaN or infinite")


def measure(data: AlignmentData, W: Any, Y: Any, model: Any, fit_seconds: float) -> tuple[dict[str, float], list[str]]:
    """Every metric that applies, by its column; one that raises is NaN, and what is no number is told in the second list.

    All see the same arrays, which cannot be written to: one that tries raises, and the others measure what there is.
    """
    W, Y = _read_only(np.array(W)), _read_only(np.array(Y))
    available = {"data": _guarded(data), "W": W, "Y": Y, "model": model, "fit_seconds": fit_seconds}
    values: dict[str, float] = {}
    notes = []
    for e in [e for found in entries("metric").values() for e in found]:
        try:
            metric = e.cls()
            if metric.applies(available["data"]):
                values[e.shown] = value = float(call(metric, "measure", **available))
                if np.isinf(value):
                    notes.append(f"metric {e.shown} is infinite, and counts as no value")
        except Exception as error:
            values[e.shown] = float("nan")
            notes.append(f"metric {e.shown} raised {type(error).__name__}: {error}")
    return values, notes


def _read_only(array: Any) -> Any:
    array.setflags(write=False)
    return array


def _guarded(data: AlignmentData) -> AlignmentData:
    """The same examples, as views that cannot be written to."""
    guarded = copy.copy(data)
    for name, array in vars(data).items():
        if isinstance(array, np.ndarray):
            setattr(guarded, name, _read_only(array.view()))
    return guarded


# -- looking back -----------------------------------------------------------------------------------------------------
def _learned(model: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {"loss_curve": np.asarray(getattr(model, "loss_curve_", []), dtype=float)}
    curve = getattr(model, "validation_curve_", None) or []
    for column in sorted({key for row in curve for key in row}):
        arrays[f"validation_curve.{column}"] = np.array([row.get(column, np.nan) for row in curve], dtype=float)
    params = getattr(model, "params_", None)
    if isinstance(params, dict):
        from attnlab.models.training import leaves

        arrays |= {".".join(("params", *path)): np.asarray(a) for path, a in leaves(params)}
    return arrays


def _examples(condition: str, data: AlignmentData, W: Any) -> dict[str, Any]:
    kept = {f"test.{condition}.W": W[:EXAMPLES_KEPT]}
    if data.gold is not None:
        kept[f"test.{condition}.gold"] = data.gold[:EXAMPLES_KEPT]
    if data.mask is not None:
        kept[f"test.{condition}.mask"] = data.mask[:EXAMPLES_KEPT]
    if data.tokens is not None:
        words = [[[str(token) for token in side] for side in pair] for pair in data.tokens[:EXAMPLES_KEPT]]
        kept[f"test.{condition}.tokens"] = np.array(json.dumps(words))
    return kept


def _packed(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{n: a for n, a in arrays.items() if a.size <= ARRAY_LIMIT and a.dtype != object})
    return buffer.getvalue()


# -- provenance -------------------------------------------------------------------------------------------------------
def versions_of(run: Run) -> dict[str, str]:
    """Versions of attnlab, Python, NumPy and of each plugin whose component the run uses."""
    versions = {"attnlab": attnlab.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for role in ROLES:
        for _, kind, name, _ in components_of(role, run.spec[role]):
            distribution, colon, _ = name.rpartition(":")
            if colon:
                versions[distribution] = entry(kind, name).version
    return versions
