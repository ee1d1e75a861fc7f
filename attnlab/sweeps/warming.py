"""Kernels are compiled once, in the process that workers are forked from, and not by each worker in its first run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable

from attnlab.kernels.normalisers import compiled
from attnlab.sweeps.executors.strangers import is_apart
from attnlab.sweeps.run import Run

__all__ = ["kinds", "warmed"]

LONG = 3.0  # seconds after which it is said


def kinds(runs: Iterable[Run]) -> list[Run]:
    """One of each kind of run that compiled kernels may carry out: attnlab's own parts in an aligner on NumPy."""
    found: dict[str, Run] = {}
    for run in runs:
        mechanism, model = run.spec["mechanism"], run.spec["model"]
        if set(model) == {"aligner"} and not is_apart(run):
            found.setdefault(repr((mechanism, bool(model["aligner"].get("projection")))), run)
    return list(found.values())


def warmed(runs: Iterable[Run]) -> None:
    """Ask the process that workers are forked from to warm what some runs call, and say so where that takes long."""
    if compiled() is None or sys.platform != "linux":
        return
    from attnlab.sweeps.executors.zygote import current

    if (zygote := current()) is None:
        return
    began = time.monotonic()
    with contextlib.suppress(OSError):  # it is gone: executors start another one
        for run in kinds(runs):
            zygote.warm(run)
    if (seconds := time.monotonic() - began) > LONG:
        print(f"attnlab: kernels were compiled in {seconds:.0f} s, and are kept on disk", file=sys.stderr)
