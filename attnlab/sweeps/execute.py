"""Run -> Result: build by name, make data, fit, measure. Strings become objects here, and nowhere below.

The data of a run depend on its task, on the task's settings that change an example, and on its seed. The model has a
separate random stream. So mechanisms are compared on the same examples, seed by seed.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import itertools
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from attnlab.data import AlignmentData, Splits
from attnlab.errors import AmbiguousName, Diverged, InputChanged, InvalidResult, UnknownName, Unsupported, message_of
from attnlab.gradients import special
from attnlab.injection import asks_for, call
from attnlab.interfaces import settings_of
from attnlab.libraries import no_memory
from attnlab.metrics.sharing import sharing
from attnlab.plugins import BUILTIN
from attnlab.progress import silent
from attnlab.registry import Own, build, built, entries, entry
from attnlab.settings import prepared
from attnlab.sweeps.columns import ROLES, buildable, buildable_settings, components_of, with_chosen
from attnlab.sweeps.environment import environment, versions_of
from attnlab.sweeps.experiment.inputs import check
from attnlab.sweeps.fingerprint import fingerprints, fingerprints_of_metrics
from attnlab.sweeps.identity import by_content
from attnlab.sweeps.measuring import Tested, measure_others, read_only, sealed, unshared
from attnlab.sweeps.run import Result, Run
from attnlab.tasks.drawn import DrawnTask
from attnlab.threads import one_thread

__all__ = ["candidates", "data_rng", "execute", "look_up", "measure", "model_of", "splits_of", "threads"]

EXAMPLES_KEPT = 4  # examples of each test condition whose weights are kept
NOTES_KEPT = 10  # sentences: what warned, which metric has no number
ARRAY_LIMIT = 2**16  # numbers: larger arrays are not kept


def execute(run: Run, raise_errors: bool = False) -> Result:
    """Execute one run; an error in it becomes the result's status and reason.

    Parameters
    ----------
    run : Run
    raise_errors : bool
        Raise instead, for looking into one run.

    Raises
    ------
    MemoryError, or what PyTorch or JAX raise where memory is exhausted
        Always; the executor decides what it means.
    """
    libraries = threads()  # before the clock starts
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    began = time.perf_counter()
    outcome: dict[str, Any]
    try:
        with one_thread(libraries), silent():
            outcome = {"status": "ok", **_carry_out(run, began)}
            check(run.spec.get("inputs", {}))  # what was read in between is what was planned
    except Exception as error:
        if raise_errors or no_memory(error):
            raise
        outcome = {"status": _status(error), "reason": _reason(error), "traceback": traceback.format_exc()}
    seconds = time.perf_counter() - began
    measured = {metric for values in outcome.get("metrics", {}).values() for metric in values} | {*run.metrics}
    return Result(
        **outcome,
        versions=versions_of(run, measured),
        fingerprints=_behind(run, measured),
        started_at=started_at,
        seconds=seconds,
    )


def look_up(run: Run) -> None:
    """Find out what each run like this one needs to know and no run changes, so that a process forked later knows it.

    The fingerprints are those of the code as it was imported by now.
    """
    with contextlib.suppress(UnknownName, AmbiguousName):  # the run will say so
        versions_of(run)
        fingerprints(run)
        for role in ROLES:
            for _, kind, name, settings in components_of(role, run.spec[role]):
                if (e := entry(kind, name)).distribution == BUILTIN:
                    prepared(e.cls, settings)
    fingerprints_of_metrics({e.shown for found in entries("metric").values() for e in found})
    environment()


def _behind(run: Run, measured: set[str]) -> dict[str, str]:
    """The fingerprints of the code that ran; none where a component is not there."""
    try:
        return {**fingerprints(run), **fingerprints_of_metrics(measured)}
    except (UnknownName, AmbiguousName):
        return {}


def _status(error: Exception) -> str:
    if isinstance(error, Unsupported):
        return "skipped"
    return "invalid" if isinstance(error, (Diverged, InvalidResult)) else "failed"


def _reason(error: Exception) -> str:
    text = message_of(error) or type(error).__name__
    return (
        text
        if isinstance(error, (Unsupported, Diverged, InvalidResult, InputChanged))
        else f"{type(error).__name__}: {text}"
    )


@functools.lru_cache(maxsize=1)
def threads() -> ThreadpoolController:
    """The libraries in this process that have threads of their own. SciPy's is loaded first, which comes with another BLAS."""
    special()
    return ThreadpoolController()


# --------------------------------------------------------------------------------------------------------------------
def data_rng(task: Mapping[str, Any], seed: int) -> np.random.Generator:
    """The random stream of a task's data. It depends on the task, the settings that change an example, and the seed.

    A task says by `counts` which settings change no example. These are left out, and so are settings at their defaults.
    Where a task does not say, every setting counts.
    """
    digest = hashlib.sha256(json.dumps(_drawn_from(task), sort_keys=True).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([int.from_bytes(digest[:16], "big"), seed]))


def _drawn_from(task: Mapping[str, Any]) -> dict[str, Any]:
    ((name, settings),) = task.items()
    cls: Any = entry("task", Own(name)).cls
    if cls.counts is not None:
        known = settings_of(cls)
        kept = {s: v for s, v in settings.items() if s not in cls.counts}
        settings = {s: v for s, v in kept.items() if s not in known or not _is_default(v, known[s].default)}
    return {name: settings, **({"revision": cls.revision} if cls.revision else {})}


def _is_default(value: Any, default: Any) -> bool:
    """Whether a setting of a run, plain data, is the default of its class."""
    return bool((list(default) if isinstance(default, tuple) else default) == value)


def splits_of(run: Run, learned_from: bool = True) -> Splits:
    """The examples of a run.

    Parameters
    ----------
    run : Run
    learned_from : bool
        Whether a model learns from the training examples. Otherwise a task of attnlab's own draws one of them, for its shape.

    Raises
    ------
    InputChanged
        When a file of the run is gone, or holds something else than was planned.
    """
    check(run.spec.get("inputs", {}))
    ((name, _),) = run.spec["task"].items()
    if entry("task", Own(name)).distribution != BUILTIN:
        return _drawn(run)
    told = json.dumps([run.spec["task"], run.spec.get("inputs", {})], sort_keys=True)
    return DRAWN.get((told, run.seed, learned_from), run, learned_from)


def _drawn(run: Run, learned_from: bool = True) -> Splits:
    task = build("task", buildable("task", run.spec["task"]))
    to_measure = not learned_from and getattr(type(task), "make", None) is DrawnTask.make
    make = task.make_to_measure if to_measure else task.make
    splits = make(data_rng(by_content(run), run.seed))
    if not isinstance(splits, Splits):
        raise TypeError(f"{type(task).__name__}.make must return Splits; got {type(splits).__name__}")
    if empty := [condition for condition, data in splits.tests.items() if not len(data)]:
        raise ValueError(f"{type(task).__name__}.make gives no examples to test on: {', '.join(empty)} has 0")
    tests = {condition: _guarded(data) for condition, data in splits.tests.items()}
    return Splits(_guarded(splits.train), _guarded(splits.validation), tests)


class _Drawn:
    """Keeps the examples of the last tasks and seeds for the next mechanism; only for attnlab's own tasks.

    The arrays lie in memory that nobody can write to; all else is copied for each run.
    """

    def __init__(self, most: int) -> None:
        self.most = most  # bytes
        self.kept: dict[Any, tuple[Splits, int]] = {}

    def get(self, key: Any, run: Run, learned_from: bool = True) -> Splits:
        found = self.kept.pop(key, None)
        if found is None:
            splits = _each(_drawn(run, learned_from), sealed)
            found = (
                splits,
                sum(
                    a.nbytes
                    for data in (splits.train, splits.validation, *splits.tests.values())
                    for a in vars(data).values()
                    if isinstance(a, np.ndarray)
                ),
            )
        if found[1] <= self.most:
            self.kept[key] = found  # the last used is the last to go
            while sum(size for _, size in self.kept.values()) > self.most:
                del self.kept[next(iter(self.kept))]
        return _each(found[0], unshared)


DRAWN = _Drawn(2**28)


def _each(splits: Splits, change: Callable[[AlignmentData], AlignmentData]) -> Splits:
    tests = {condition: change(data) for condition, data in splits.tests.items()}
    return Splits(change(splits.train), change(splits.validation), tests)


def _carry_out(run: Run, began: float) -> dict[str, Any]:
    splits = splits_of(run, learned_from=bool(run.spec.get("tune")) or _learns(run))
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, facts = _fit_best(run, splits)
        facts["n_parameters"] = float(getattr(model, "n_parameters_", float("nan")))
        facts["operations_per_query"] = float(getattr(model, "operations_per_query_", float("nan")))
        facts["converged"] = bool(model.converged_) if hasattr(model, "converged_") else None
        measured: dict[str, dict[str, float]] = {}
        kept: dict[str, Any] = {}
        tested: dict[str, Tested] = {}
        for condition, data in splits.tests.items():
            W, Y = _used(model, data)
            _check(condition, data, W, Y)
            measured[condition], failures = measure(data, W, Y, model, facts["fit_seconds"])
            notes += failures
            kept |= _examples(condition, data, W)
            if run.metrics:
                tested[condition] = Tested(data, W, Y)
        artifacts = _packed({**_learned(model), **kept})
        left = None if run.time_limit is None else run.time_limit - (time.perf_counter() - began)
        others, failures = measure_others(run.metrics, tested, model, facts["fit_seconds"], left)
        notes += failures
    measured = {condition: {**own, **others.get(condition, {})} for condition, own in measured.items()}
    notes += [
        message_of(w.message) if isinstance(w.message, Warning) else w.message
        for w in caught
        if issubclass(w.category, (UserWarning, RuntimeWarning))
    ]
    facts["notes"] = list(dict.fromkeys(notes))[:NOTES_KEPT]
    return {"metrics": measured, "facts": facts, "artifacts": artifacts}


def candidates(tune: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The settings that a run tries, of columns and the values of each."""
    names = list(tune)
    for values in itertools.product(*tune.values()):
        yield dict(zip(names, values, strict=True))


def _fit_best(run: Run, splits: Splits) -> tuple[Any, dict[str, Any]]:
    """Fit the model with each candidate setting; keep the best on validation data, or the first of equals.

    A candidate that diverges loses. If all diverge, the run ends with the last divergence.
    """
    tried = list(candidates(run.spec.get("tune", {})))
    best: tuple[float, Any, dict[str, Any], float] | None = None
    diverged: Diverged | None = None
    for chosen in tried:
        model = model_of(run, chosen)
        began = time.perf_counter()
        try:
            _fit(model, splits)
        except Diverged as error:
            diverged = error
            continue
        seconds = time.perf_counter() - began
        score = float(model.score(splits.validation)) if len(tried) > 1 else 0.0
        score = -np.inf if np.isnan(score) else score  # a candidate without a score loses to every other
        if best is None or score > best[0]:
            best = score, model, chosen, seconds
    if best is None:
        assert diverged is not None
        raise diverged
    _, model, chosen, seconds = best
    return model, {
        "fit_seconds": seconds,
        "n_tuned": len(tried),
        "tuned": chosen,
        "backend": getattr(model, "backend_", "reference"),
        "kernels": dict(getattr(model, "kernels_", {})),
    }


def _fit(model: Any, splits: Splits) -> None:
    if "validation" in asks_for(model, "fit"):
        model.fit(splits.train, validation=splits.validation)
    else:
        model.fit(splits.train)


def model_of(run: Run, chosen: Mapping[str, Any]) -> Any:
    """The run's model, unfitted, with the chosen candidates among its settings."""
    spec = with_chosen(run, chosen)
    ((name, settings),) = spec["model"].items()
    mechanism = build("mechanism", buildable("mechanism", spec["mechanism"]))
    cls = entry("model", Own(name)).cls
    settings = built(cls, buildable_settings("model", name, settings))
    return cls(**settings, mechanism=mechanism, random_state=run.model_seed)


def _used(model: Any, data: AlignmentData) -> tuple[Any, Any]:
    """The weights and the contexts."""
    if both := getattr(model, "predict_and_align", None):
        Y, W = both(data)
        return np.asarray(W), np.asarray(Y)
    return np.asarray(model.align(data)), np.asarray(model.predict(data))


def _learns(run: Run) -> bool:
    """Whether the run's model may learn anything; a model that does not say so may."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are heard when the model is made for its fit
        return bool(getattr(model_of(run, {}), "learns", True))


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
    """Every metric of attnlab's own that applies, by its column, and a list of notes on those that have no number.

    A metric that raises is NaN. All see the same read-only arrays.
    """
    with sharing():
        return _measured(data, W, Y, model, fit_seconds)


def _measured(
    data: AlignmentData, W: Any, Y: Any, model: Any, fit_seconds: float
) -> tuple[dict[str, float], list[str]]:
    W, Y = read_only(np.array(W)), read_only(np.array(Y))
    available = {"data": _guarded(data), "W": W, "Y": Y, "model": model, "fit_seconds": fit_seconds}
    values: dict[str, float] = {}
    notes = []
    for e in [e for found in entries("metric").values() for e in found if e.distribution == BUILTIN]:
        try:
            metric = e.cls()
            if metric.applies(available["data"]):
                values[e.shown] = value = float(call(metric, "measure", **available))
                if np.isinf(value):
                    notes.append(f"metric {e.shown} is infinite, and counts as no value")
        except Exception as error:
            values[e.shown] = float("nan")
            notes.append(f"metric {e.shown} raised {type(error).__name__}: {message_of(error)}")
    return values, notes


def _guarded(data: AlignmentData) -> AlignmentData:
    """The same examples, as views that cannot be written to."""
    guarded = copy.copy(data)
    for name, array in vars(data).items():
        if isinstance(array, np.ndarray):
            setattr(guarded, name, read_only(array.view()))
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
