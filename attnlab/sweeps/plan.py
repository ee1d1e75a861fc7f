"""Planning: Experiment -> tuple[Run, ...], and what is to be done about each run. Pure: the same in, the same out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from attnlab.errors import SettingError, did_you_mean
from attnlab.sweeps.experiment.inputs import Inputs
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.fingerprint import METRIC
from attnlab.sweeps.run import Run

__all__ = ["RERUN", "Planned", "decide", "parse_rerun", "plan"]

DEFAULT_RERUN = frozenset({"missing", "failed", "stale"})
RERUN = ("missing", "failed", "stale", "all", "none")
_FAILED = ("failed", "timeout", "crashed", "oom")  # invalid and skipped are results: the same run ends the same way


def plan(experiment: Experiment) -> tuple[Run, ...]:
    """Every run of an experiment, once: task by task, mechanism by mechanism, model by model, seed by seed."""
    tasks = [point for choice in experiment.tasks for point in choice.points()]
    learners = [pair for group in experiment.learners for pair in group.points()]
    runs: dict[str, Run] = {}
    for task, (mechanism, model) in itertools.product(tasks, learners):
        spec: dict[str, Any] = {
            "task": task.spec,
            "mechanism": mechanism.spec,
            "model": model.spec,
            "tune": {column: list(values) for column, values in {**mechanism.tune, **model.tune}.items()},
        }
        if inputs := Inputs.of([task.spec, mechanism.spec, model.spec], experiment.inputs):
            spec["inputs"] = inputs
        for seed in experiment.seeds:
            run = Run.of({**spec, "seed": seed})
            runs.setdefault(run.canonical, run)
    return tuple(runs.values())


@dataclass(frozen=True)
class Planned:
    """A run, whether it is to be run, and why."""

    run: Run
    action: str  # "run" or "keep"
    reason: str


def parse_rerun(text: str) -> frozenset[str]:
    """The words of `--rerun missing,failed,stale`; SettingError for one that is none of them."""
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    for word in sorted(words):
        if word not in RERUN:
            raise SettingError(f"--rerun: unknown {word!r}{did_you_mean(word, RERUN)}; allowed are {', '.join(RERUN)}")
    if not words or ("none" in words and len(words) > 1):
        raise SettingError(f"--rerun {text!r}: give some of missing, failed, stale, or all alone, or none alone")
    return words


def decide(
    runs: Iterable[Run],
    known: Mapping[str, tuple[str, Mapping[str, str]]],
    fingerprints: Callable[[Run], Mapping[str, str]],
    rerun: Collection[str] = DEFAULT_RERUN,
) -> tuple[Planned, ...]:
    """What is to be done about each run, and why.

    Parameters
    ----------
    runs : iterable of Run
    known : mapping of run_id to (status, fingerprints at that time)
        What the store holds.
    fingerprints : callable, Run -> {role: "name:hash"}
        What the code is now; asked only for runs that are known. A metric counts where both have a fingerprint of it.
    rerun : collection of str
        Of `missing`, `failed`, `stale`, `all`, `none`. `ok`, `skipped` and `invalid` are results and count as done.
    """
    return tuple(_decide(run, known.get(run.run_id), fingerprints, rerun) for run in runs)


def _decide(
    run: Run,
    known: tuple[str, Mapping[str, str]] | None,
    fingerprints: Callable[[Run], Mapping[str, str]],
    rerun: Collection[str],
) -> Planned:
    def planned(reason: str, *words: str) -> Planned:
        if {*words} & set(rerun):
            return Planned(run, "run", reason)
        return Planned(run, "run", f"asked for ({reason})") if "all" in rerun else Planned(run, "keep", reason)

    if known is None:
        return planned("missing", "missing")
    if known[0] == "damaged":
        return planned("missing: what the store holds of it is damaged", "missing")
    status, before = known
    words, reasons = [], []
    if status in _FAILED:
        words.append("failed")
        reasons.append(f"failed: {status}" if status != "failed" else "failed")
    if changed := _changed(before, fingerprints(run)):
        words.append("stale")
        reasons.append(f"stale: {', '.join(changed)} changed")
    return planned("; ".join(reasons) or ("done" if status == "ok" else f"done: {status}"), *words)


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The roles that changed, each with its component. A metric not shown, or measured for the first time, did not."""
    roles = [*now, *(role for role in before if role not in now)]
    changed = [role for role in roles if now.get(role) != before.get(role)]
    return [
        role if role.startswith(METRIC) else f"{role} {now.get(role, before.get(role, '')).partition(':')[0]}"
        for role in changed
        if not role.startswith(METRIC) or (role in now and role in before)
    ]
