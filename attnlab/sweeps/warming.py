"""Kernels are compiled once, in the process that workers are forked from, and not by each worker in its first run."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterable

import numpy as np

from attnlab.data import AlignmentData
from attnlab.kernels.normalisers import compiled
from attnlab.sweeps.execute import candidates, model_of
from attnlab.sweeps.executors.strangers import is_apart
from attnlab.sweeps.run import Run

__all__ = ["kinds", "warm", "warmed"]

N, QUERIES, KEYS, D = 4, 2, 3, 16  # of the examples on which a kernel is tried
LONG = 3.0  # seconds after which it is said


def kinds(runs: Iterable[Run]) -> list[Run]:
    """One of each kind of run that compiled kernels may carry out: attnlab's own parts in an aligner on NumPy."""
    found: dict[str, Run] = {}
    for run in runs:
        mechanism, model = run.spec["mechanism"], run.spec["model"]
        if set(model) == {"aligner"} and not is_apart(run):
            found.setdefault(repr((mechanism, bool(model["aligner"].get("projection")))), run)
    return list(found.values())


def warm(run: Run) -> None:
    """Take two steps on a handful of numbers, so that what a run like this one calls is compiled, or read from disk.

    Whatever goes wrong here is said by the run itself.
    """
    if compiled() is None:
        return
    rng = np.random.default_rng(0)
    Q, K, V = (rng.standard_normal((N, n, D)) for n in (QUERIES, KEYS, KEYS))
    gold = np.eye(KEYS)[np.zeros((N, QUERIES), int)]
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_of(run, next(candidates(run.spec.get("tune", {}))))
        if model.library != "numpy":
            return
        model.set_params(steps=2, batch_size=2, early_stopping=False)
        data = AlignmentData(Q, K, V, gold=gold, target=gold @ V)
        model.fit(data)
        model.align(data)
        model.predict(data)


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
