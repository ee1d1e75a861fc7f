"""Which runs have code that is not attnlab's own, and so a process to themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from attnlab.errors import AmbiguousName, UnknownName
from attnlab.plugins import BUILTIN, plugins
from attnlab.registry import entries, entry, kept
from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.run import Result, Run

__all__ = ["NOTE", "hooks_of_others", "is_apart", "metrics_of_others", "noted"]

NOTE = "it was done in a process that other runs share, and what they changed there may have reached it"
_EVENTS = ("attnlab_sweep_started", "attnlab_run_finished", "attnlab_sweep_finished")


def is_apart(run: Run) -> bool:
    """Whether a part, task, model, mechanism or kernel of a run, or a metric that is measured, is not attnlab's own."""
    if run.metrics:
        return True
    key = ("apart", run.but_the_seed)
    found = (mine := kept()).get(key)
    if found is None:
        found = mine[key] = _kernels_of_others() or _parts_of_others(run.spec)
    return bool(found)


def _parts_of_others(spec: dict[str, Any]) -> bool:
    try:
        return any(
            entry(kind, name).distribution != BUILTIN
            for role in ROLES
            if role in spec
            for _, kind, name, _ in components_of(role, spec[role])
        )
    except (UnknownName, AmbiguousName):  # not installed any more, and whatever it is, not attnlab's
        return True


def _kernels_of_others() -> bool:
    return any(e.distribution != BUILTIN for found in entries("kernel").values() for e in found)


def metrics_of_others(columns: Any) -> tuple[str, ...]:
    """Those of some columns that are metrics of others, sorted."""
    given = {e.shown for found in entries("metric").values() for e in found if e.distribution != BUILTIN}
    return tuple(sorted(given.intersection(columns)))


def hooks_of_others() -> bool:
    """Whether code of others is called in the process of the sweep between runs."""
    hook = plugins().manager.hook
    return any(getattr(hook, event).get_hookimpls() for event in _EVENTS)


def noted(result: Result) -> Result:
    """The result of a run of others' code that had no process to itself, with a note that says so."""
    return dataclasses.replace(result, facts={**result.facts, "notes": [*result.facts.get("notes", ()), NOTE]})
