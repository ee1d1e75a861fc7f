"""Planning: Experiment -> tuple[Run, ...], and what to do about each run. It is a pure function of its input."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from attnlab.errors import SettingError, did_you_mean
from attnlab.sweeps.budget import matched
from attnlab.sweeps.columns import seed_columns
from attnlab.sweeps.experiment.inputs import Inputs
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.fingerprint import METRIC, Changes, changes, unmeasured
from attnlab.sweeps.identity import identity
from attnlab.sweeps.run import Run

__all__ = [
    "DEFAULT_RERUN",
    "DEFAULT_WORDS",
    "RERUN",
    "Planned",
    "but_for_the_seed",
    "by_examples",
    "decide",
    "parse_rerun",
    "plan",
]

DEFAULT_WORDS = "missing,failed,stale,stale-own"
DEFAULT_RERUN = frozenset(DEFAULT_WORDS.split(","))
RERUN = ("missing", "failed", "stale", "stale-own", "all", "none")
_FAILED = ("failed", "timeout", "crashed", "oom")  # invalid and skipped are results: the same run ends the same way

_NOTHING: Mapping[str, str] = {}


def plan(experiment: Experiment) -> tuple[Run, ...]:
    """Every run of an experiment, once: task by task, mechanism by mechanism, model by model, seed by seed."""
    tasks = [point for choice in experiment.tasks for point in choice.points()]
    learners = [pair for group in experiment.learners for pair in group.points()]
    drawn = [seed_columns(*pair) for pair in itertools.product(experiment.seeds, experiment.model_seeds or (None,))]
    known: dict[str, dict[str, Any]] = {}
    runs: dict[str, Run] = {}
    for task, (mechanism, model) in itertools.product(tasks, learners):
        spec: dict[str, Any] = {
            "task": task.spec,
            "mechanism": mechanism.spec,
            "model": model.spec,
            "tune": {column: list(values) for column, values in {**mechanism.tune, **model.tune}.items()},
        }
        if inputs := Inputs.of([task.spec, mechanism.spec, model.spec, spec["tune"]], experiment.inputs):
            spec["inputs"] = inputs
        if experiment.budget is not None:
            spec = matched(experiment.budget, spec, experiment.name)
        meant = identity(spec, known=known)
        for run in Run.each(spec, meant, drawn):
            runs.setdefault(run.run_id, run)
    return tuple(runs.values())


@dataclass(frozen=True)
class Planned:
    """A run, whether it is to be run, and why."""

    run: Run
    action: str  # "run"; "keep"; "skip": to record as skipped; "later": beyond the limit; or "elsewhere": another sweep is at it
    reason: str
    stale_own: bool = False  # whether attnlab's own code changed
    seconds: float = 0.0  # that it took when it was run
    measured: tuple[str, ...] = ()  # the columns of metrics that the stored run has


def parse_rerun(text: str) -> frozenset[str]:
    """The words of `--rerun missing,failed,stale,stale-own`; SettingError for one that is none of them."""
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    for word in sorted(words):
        if word not in RERUN:
            raise SettingError(f"--rerun: unknown {word!r}{did_you_mean(word, RERUN)}; allowed are {', '.join(RERUN)}")
    if not words or ("none" in words and len(words) > 1):
        raise SettingError(
            f"--rerun {text!r}: give some of missing, failed, stale, stale-own, or all alone, or none alone"
        )
    return words


def decide(
    runs: Iterable[Run],
    known: Mapping[str, tuple[Any, ...]],
    fingerprints: Callable[[Run], Mapping[str, str]],
    rerun: Collection[str] = DEFAULT_RERUN,
) -> tuple[Planned, ...]:
    """What to do about each run, and why.

    Parameters
    ----------
    runs : iterable of Run
    known : mapping of run_id to (status, fingerprints at that time, seconds that it took)
        What the store holds; the seconds may be left out.
    fingerprints : callable, Run -> {role: "name:hash"}
        What the code is now; asked only for runs that are known. A metric counts where both have a fingerprint of it; one
        of others is measured where it is shown, and so is missing where the store has none.
    rerun : collection of str
        Of `missing`, `failed`, `stale` (the code of a plugin, a plugin file or a notebook changed), `stale-own` (attnlab's own
        code changed), `all`, `none`. `ok`, `skipped` and `invalid` are results and count as done.
    """
    compared = _Compared(fingerprints)
    return tuple(_decide(run, known.get(run.run_id), compared, rerun) for run in runs)


def but_for_the_seed(fingerprints: Callable[[Run], Mapping[str, str]]) -> Callable[[Run], Mapping[str, str]]:
    """The same function, asked once for all runs that differ in their seed alone; for one moment, in which no code changes."""
    found: dict[str, Mapping[str, str]] = {}

    def behind(run: Run) -> Mapping[str, str]:
        rest = run.but_the_seed
        if rest not in found:
            found[rest] = fingerprints(run)
        return found[rest]

    return behind


class _Compared:
    """Compares the fingerprints that a run had with those of the code now; most runs have the same ones as others."""

    def __init__(self, fingerprints: Callable[[Run], Mapping[str, str]]) -> None:
        self._fingerprints = fingerprints
        self._known: dict[tuple[int, int], tuple[Any, ...]] = {}  # with the mappings themselves, whose ids the keys are
        self._measured: dict[int, tuple[Any, tuple[str, ...]]] = {}

    def __call__(self, run: Run, before: Mapping[str, str]) -> tuple[list[str], Changes]:
        """The metrics of others that were not measured, and what changed."""
        now = self._fingerprints(run)
        key = id(before), id(now)
        if key not in self._known:
            self._known[key] = before, now, unmeasured(before, now), changes(before, now)
        _, _, new, changed = self._known[key]
        return new, changed

    def measured(self, before: Mapping[str, str]) -> tuple[str, ...]:
        """The metrics that a run was measured by, by column."""
        if (key := id(before)) not in self._measured:
            found = tuple(role.removeprefix(METRIC) for role in before if role.startswith(METRIC))
            self._measured[key] = before, found
        return self._measured[key][1]


def _decide(
    run: Run,
    known: tuple[Any, ...] | None,
    compared: _Compared,
    rerun: Collection[str],
) -> Planned:
    status, before, seconds = (None, _NOTHING, 0.0) if known is None else (*known, 0.0)[:3]
    stale_own = False

    def planned(reason: str, *words: str) -> Planned:
        asked = {*words} & set(rerun)
        if "all" in rerun and not asked:
            reason = f"asked for ({reason})"
        action = "run" if asked or "all" in rerun else "keep"
        return Planned(run, action, reason, stale_own, seconds, compared.measured(before))

    if status is None:
        return planned("missing", "missing")
    if status == "damaged":
        return planned("missing: what the store holds of it is damaged", "missing")
    words, reasons = [], []
    if status in _FAILED:
        words.append("failed")
        reasons.append(f"failed: {status}" if status != "failed" else "failed")
    new, changed = compared(run, before)
    if new:
        words.append("missing")
        reasons.append(f"missing: metric {', '.join(new)} was not measured")
    if changed.theirs:
        words.append("stale")
        reasons.append(f"stale: {', '.join(changed.theirs)} changed")
    if changed.own:
        words.append("stale-own")
        stale_own = True
        behind = f"attnlab changed behind {', '.join(changed.own)}"
        earlier = "done by an earlier attnlab, whose fingerprints covered less of its code"
        reasons.append(f"stale-own: {earlier if changed.of_earlier_form else behind}")
    return planned("; ".join(reasons) or ("done" if status == "ok" else f"done: {status}"), *words)


def by_examples(runs: Iterable[Run]) -> list[Run]:
    """The runs with those next to each other that have the same examples, so that these are drawn once; else in their order."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.examples, []).append(run)
    return [run for same in found.values() for run in same]
