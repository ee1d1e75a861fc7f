"""Runs that a store of schema version 1 kept, under the identity that they have now.

Version 1 identified a run by all its settings and by the paths of its files. If its components are installed, its present
identity can be computed. The row then belongs to that run. It is stale, because the fingerprints of version 1 covered less
code. A sweep renames such rows in the store. `plan`, `claims` and `compare` translate them while they read, and change nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from attnlab.sweeps.identity import of_version_1
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Known, Store

__all__ = ["adopt", "known", "results"]


def _translated(opened: Store) -> dict[str, tuple[Run, Run, Result]]:
    """By present run_id: the run as it is kept, the run under its present identity, and its result."""
    found: dict[str, tuple[Run, Run, Result]] = {}
    for run, result in opened.former():
        if (now := of_version_1(run)) is not None:
            found.setdefault(now.run_id, (run, now, result))
    return found


def adopt(opened: Store) -> None:
    """Rename the runs whose present identity is known."""
    if renamed := {before.run_id: now for before, now, _ in _translated(opened).values()}:
        opened.rename(renamed)


def known(opened: Store, run_ids: Collection[str]) -> dict[str, Known]:
    """What the store knows of runs, those that it keeps under a former identity included."""
    found = opened.known(run_ids)
    wanted = set(run_ids) - set(found)
    former = {now: run.run_id for now, (run, _, _) in (_translated(opened) if wanted else {}).items() if now in wanted}
    kept = opened.known(former.values()) if former else {}
    return found | {now: kept[before] for now, before in former.items()}


def results(opened: Store, run_ids: Collection[str]) -> list[tuple[Run, Result]]:
    """The runs that the store has, in the order asked for, those that it keeps under a former identity included."""
    found = {run.run_id: (run, result) for run, result in opened.results(run_ids)}
    if any(run_id not in found for run_id in run_ids):
        found = {run_id: (now, result) for run_id, (_, now, result) in _translated(opened).items()} | found
    return [found[run_id] for run_id in dict.fromkeys(run_ids) if run_id in found]
