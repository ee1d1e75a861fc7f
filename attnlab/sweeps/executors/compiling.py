"""What runs call, compiled by a process before it is forked."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np

from attnlab.data import AlignmentData
from attnlab.kernels.normalisers import compiled
from attnlab.sweeps.execute import candidates, model_of
from attnlab.sweeps.run import Run

__all__ = ["warm"]

N, QUERIES, KEYS, D = 4, 2, 3, 16  # of the examples on which a kernel is tried


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
