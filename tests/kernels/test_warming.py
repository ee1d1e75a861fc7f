"""What is compiled once for all workers is what their runs call."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("numba")

from attnlab.kernels import compiled, compiled_rows, compiled_steps
from attnlab.sweeps.execute import execute
from attnlab.sweeps.executors.compiling import warm
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.warming import kinds

MODULES = (compiled, compiled_rows, compiled_steps)


def runs_of(**model):
    experiment = {
        "attnlab": 1,
        "question": "q",
        "task": {"lookup": {"n_keys": 5, "d": 8, "n_train": 40, "n_validation": 8, "n_test": 8}},
        "mechanism": {"similarity": ["scaled_dot", "additive"], "normaliser": ["softmax", "sparsemax"]},
        "model": {"aligner": {"steps": 3, **model}},
        "seeds": 2,
    }
    return plan(read(experiment))


def compiled_by_now():
    return {
        (module.__name__, name, str(signature))
        for module in MODULES
        for name, value in vars(module).items()
        for signature in getattr(value, "signatures", ())
    }


def test_a_run_after_it_compiles_nothing():
    runs = runs_of(projection=16)
    for run in kinds(runs):
        warm(run)
    before = compiled_by_now()
    assert before
    assert {result.status for result in map(execute, runs)} == {"ok"}
    assert compiled_by_now() == before


def test_one_of_each_kind():
    runs = runs_of(projection=[16, 32])
    assert len(kinds(runs)) == 4
    assert kinds(()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_what_cannot_be_warmed_is_left_to_the_run():
    (run, *_) = runs_of(projection=16, objective="alignment", mix="predictions")
    warm(run)
    assert execute(run).status != "ok"
