"""The identity of a run: what the run means, and not how it was written or where its files are.

* A setting that is equal to its default is left out, and a part at its default too. If a component gains a setting, or a
  mechanism gains an axis, its runs keep their identity. They are stale, because their code changed.
* A file is identified by its content, `sha256:...`, not by its path.
* A component is its name, with `@n` where its class has `revision = n` other than 0. Its author raises the revision when
  the meaning of a setting or a default changes. If only a default changes, `former` may hold its earlier value. That value is
  then left out, so that earlier runs keep their identity, and the present default is written out.

Task, mechanism and model are always named. Each stored row keeps its settings as they were run.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from attnlab.errors import AmbiguousName, UnknownName
from attnlab.nested import nested
from attnlab.plugins import BUILTIN, FILE
from attnlab.registry import Entry, Own, entry
from attnlab.sweeps.columns import ROLES
from attnlab.sweeps.defaults import default_of, spec_of
from attnlab.sweeps.experiment.grid import canonical
from attnlab.sweeps.experiment.inputs import Inputs
from attnlab.sweeps.run import Run

__all__ = ["by_content", "identity", "of_version_1", "proven"]


def identity(
    spec: Mapping[str, Any], revisions: bool = True, known: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What a specification means, as plain data.

    Parameters
    ----------
    spec : mapping
        Complete, as `Run` describes it.
    revisions : bool
        Whether the revisions of the components count.
    known : dict or None
        For many specifications give one to all calls, empty at first: they share their components with others.

    Raises
    ------
    UnknownName, AmbiguousName
        When a component is not installed.
    """
    hashes = spec.get("inputs", {})
    found = {key: value for key, value in spec.items() if key not in ("inputs", "tune", *ROLES)}
    if spec.get("tune"):
        found["tune"] = {column: [_content(v, hashes) for v in values] for column, values in spec["tune"].items()}
    known = {} if known is None else known
    for role in ROLES:
        text = repr((role, spec[role], hashes, revisions))
        if text not in known:
            known[text] = _component(role, spec[role], hashes, revisions)
        found[role] = known[text]
    return found


def _component(kind: str, spec: Mapping[str, Any], hashes: Mapping[str, str], revisions: bool) -> dict[str, Any]:
    """A component, or several that act as one without an order, without what is as by default."""
    meant = {}
    for name, settings in spec.items():
        found = entry(kind, Own(name))
        kept = {}
        for setting, value in settings.items():
            inner = _setting(found, setting, value, hashes, revisions)
            default = default_of(found, setting)
            if default is inspect.Parameter.empty or not _same(
                inner, _setting(found, setting, default, hashes, revisions)
            ):
                kept[setting] = inner
        shown = found.name if found.distribution == BUILTIN else found.qualified
        revision = found.cls.revision if revisions else 0  # type: ignore[attr-defined]
        meant[f"{shown}@{revision}" if revision else shown] = kept
    return meant


def _setting(found: Entry, setting: str, value: Any, hashes: Mapping[str, str], revisions: bool) -> Any:
    """The value of a setting, or a default of it, as the identity has it."""
    held = nested(found.cls, setting)
    if held and isinstance(value, (list, tuple)):
        each = [_component(held.kind, spec_of(held.kind, one), hashes, revisions) for one in value]
        if held.joined and len(each) == 1:
            return each[0]
        return {name: settings for one in each for name, settings in one.items()} if held.joined == "and" else each
    if held and value is not None:
        return _component(held.kind, spec_of(held.kind, value), hashes, revisions)
    if Inputs.is_path(found.cls, setting):
        return _content(value, hashes)
    try:
        return canonical(value)
    except TypeError:  # a default that an experiment cannot write down is nobody's value
        return None


def _same(one: Any, other: Any) -> bool:
    """Whether two values mean the same: 1 and 1.0 do, 1 and true do not."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (one, other))
    return bool(one == other) if numbers else json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _content(value: Any, hashes: Mapping[str, str]) -> Any:
    return f"sha256:{hashes[value]}" if isinstance(value, str) and value in hashes else canonical(value)


def by_content(run: Run) -> dict[str, Any]:
    """The task of a run with its files as their content: what its data depend on, wherever the files lie."""
    hashes = run.spec.get("inputs", {})

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [known(inner) for inner in value]
        return f"sha256:{hashes[value]}" if isinstance(value, str) and value in hashes else value

    return {
        name: {setting: known(value) for setting, value in settings.items()}
        for name, settings in run.spec["task"].items()
    }


# -- stores of earlier attnlabs ---------------------------------------------------------------------------------------
def of_version_1(run: Run) -> Run | None:
    """A run that a store of schema version 1 kept, under the identity that it has now; None if that is unknown.

    Version 1 had no revisions. The data of a task that a plugin file gave depended on the name of the file: they are drawn anew,
    and what is kept is no run of now.
    """
    if any(name.startswith(f"{FILE}:") for name in run.spec.get("task", ())):
        return None
    try:
        return Run.of(run.spec, identity(run.spec, revisions=False))
    except (UnknownName, AmbiguousName, KeyError, TypeError, ValueError, AttributeError):
        return None  # a component is not installed, or what is stored is no run of a sweep


# -- damaged rows -----------------------------------------------------------------------------------------------------
def proven(run_id: str, canonical: Any) -> Run:
    """A run whose row is damaged: with its settings if they have this very identity, and else with none."""
    try:
        run = Run(canonical, run_id)
        meant = Run.of(run.spec, identity(run.spec)).run_id
    except (UnknownName, AmbiguousName, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Run("{}", run_id)
    return run if meant == run_id else Run("{}", run_id)
