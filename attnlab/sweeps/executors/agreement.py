"""Whether another machine would give the same numbers: its versions and fingerprints beside those of this process."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Collection, Mapping

from attnlab.errors import AmbiguousName, UnknownName
from attnlab.kinds import KINDS
from attnlab.plugins import BUILTIN
from attnlab.registry import Own, entries, entry
from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.fingerprint import EXECUTION, METRIC, execution, fingerprint, fingerprints_of_metrics
from attnlab.sweeps.run import Run
from attnlab.version import __version__

__all__ = ["ABSENT", "FILE_AT", "KEPT", "LIMITS", "THERE", "behind", "described", "difference", "is_component", "table"]

ABSENT, THERE = "not there", "there"
FILE_AT = "plugin file "  # and a path
LIBRARIES = ("numpy", "scipy", "autograd", "scikit-learn", "numba")  # whose versions may change the last digits
LIMITS, KEPT = "limits of time and memory", "kept"
METRICS = "attnlab's metrics"
KERNELS = "kernels of plugins"
_ROWS = 20  # of a table; the rest is counted


def behind(run: Run) -> frozenset[str]:
    """What a run is made of and measured by, as `kind name`; a name without its distribution is attnlab's own."""
    parts = {f"{kind} {name}" for role in ROLES for _, kind, name, _ in components_of(role, run.spec[role])}
    return frozenset(parts | {METRIC + column for column in run.metrics})


def is_component(name: str) -> bool:
    """Whether a name among those of `described` is `kind name`."""
    kind, space, _ = name.partition(" ")
    return bool(space) and kind in KINDS


def described(components: Collection[str]) -> dict[str, str]:
    """What this process has: Python, attnlab, libraries, the plugins behind some components, and the code of these.

    Fingerprints are those of the code as this process imported it. What is not there is `ABSENT`, or says why.
    """
    found = {"python": ".".join(map(str, sys.version_info[:2])), "attnlab": __version__}
    found |= {library: _version(library) for library in LIBRARIES}
    found[EXECUTION] = execution()
    metrics = {e.shown: e for several in entries("metric").values() for e in several}
    own = fingerprints_of_metrics({column for column, e in metrics.items() if e.distribution == BUILTIN})
    found[METRICS] = hashlib.sha256(repr(sorted(own.items())).encode()).hexdigest()[:16]
    kernels = (e for several in entries("kernel").values() for e in several if e.distribution != BUILTIN)
    found[KERNELS] = ", ".join(sorted(f"{e.qualified} {fingerprint(e.cls, e.distribution)}" for e in kernels))
    for component in sorted(components):
        kind, _, name = component.partition(" ")
        try:
            if kind == METRIC.strip():
                e = metrics[name]
            else:
                e = entry(kind, name if ":" in name else Own(name))
        except KeyError as error:  # UnknownName, AmbiguousName, no such metric
            why = str(error) if isinstance(error, (UnknownName, AmbiguousName)) and "broken" in str(error) else ""
            found[component] = why or ABSENT
            continue
        if e.distribution != BUILTIN:
            found[f"plugin {e.distribution}"] = e.version
        found[component] = fingerprint(e.cls, e.distribution)
    return found


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def difference(here: Mapping[str, str], there: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """By name what differs: (here, there)."""
    names = [*here, *(name for name in there if name not in here)]
    pairs = {name: (here.get(name, ABSENT), there.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def table(by_worker: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """What differs, as lines of four columns; workers with the same differences share their lines."""
    alike: dict[tuple[tuple[str, tuple[str, str]], ...], list[str]] = {}
    for worker, differs in by_worker.items():
        alike.setdefault(tuple(differs.items()), []).append(worker)
    rows = [("worker", "what", "here", "there")]
    for differs_, workers in alike.items():
        who = workers[0] if len(workers) == 1 else f"{workers[0]} and {len(workers) - 1} more"
        for name, (here, there) in differs_:
            rows.append((who, name, here or "none", there or "none"))
            who = ""
    more = [f"  and {len(rows) - 1 - _ROWS} more"] if len(rows) - 1 > _ROWS else []
    rows = rows[: _ROWS + 1]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
    return "\n".join(line.rstrip() for line in [*lines, *more])
