"""GPUs are handed out one run at a time. The logic needs none, and neither do these tests."""

from __future__ import annotations

import itertools
import json
import os
from collections import deque
from types import SimpleNamespace

import pytest

from attnlab.process import DEVICE
from attnlab.sweeps.executors.devices import Devices, asked_for, n_visible
from attnlab.sweeps.executors.local import LocalExecutor
from attnlab.sweeps.run import Result, Run


def run_on(device, seed=0):
    return Run.of({"model": {"stack": {"library": "torch", **({"device": device} if device else {})}}, "seed": seed})


@pytest.mark.parametrize(
    ("listed", "there", "n"),
    [
        (None, 2, 2),
        ("", 2, 0),
        ("0", 2, 1),
        ("1, 0", 2, 2),
        ("0,-1,1", 2, 1),
        ("0,5,1", 2, 1),
        ("0,0", 2, 0),
        ("GPU-8932f937,GPU-11", 2, 2),
        ("MIG-7", 1, 1),
        ("NoDevFiles", 2, 0),
        ("0", 0, 0),
    ],
)
def test_as_many_are_visible_as_cuda_shows(listed, there, n):
    assert n_visible({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}, there) == n


@pytest.mark.parametrize(
    ("device", "number"), [(None, None), ("cpu", None), ("cuda", -1), ("cuda:3", 3), ("gpu", -1), ("mps", None)]
)
def test_a_run_asks_for_the_device_of_its_model(device, number):
    assert asked_for(run_on(device)) == number


def workers(*at_work):
    return [SimpleNamespace(run=None if device == "idle" else run_on("cuda"), device=device) for device in at_work]


def test_runs_at_work_have_different_gpus():
    two = Devices(2)
    assert two.of(run_on("cuda"), workers()) == 0
    assert two.of(run_on("cuda"), workers(0)) == 1
    assert two.of(run_on("cuda"), workers(0, 1)) is None
    assert two.of(run_on("cuda"), workers("idle"), before=1) == 1
    assert two.of(run_on("cuda:1"), workers()) == 1
    assert two.of(run_on(None), workers(0)) is None


def test_a_run_that_waits_for_a_gpu_lets_others_pass():
    two, first, other = Devices(2), run_on("cuda", 1), run_on("cpu", 2)
    waiting = deque([first, run_on("cuda", 3), other])
    assert two.bring(waiting, workers(0, 1))
    assert waiting[0] == other
    assert two.bring(waiting, workers(0))
    assert waiting[0] == other
    waiting.popleft()
    assert not two.bring(waiting, workers(0, 1))
    assert waiting[0] == first
    one_of_its_own = deque([run_on("cuda:0", 1), run_on("cuda:1", 2)])
    assert two.bring(one_of_its_own, workers(0))
    assert asked_for(one_of_its_own[0]) == 1


@pytest.mark.parametrize("n", [0, 1])
def test_a_run_on_what_is_not_there_starts_and_says_so(n):
    assert Devices(n).bring(deque([run_on("cuda:5")]), workers(0))
    assert Devices(n).of(run_on("cuda:5"), workers(0)) is None


def says_its_gpu(run):
    """Where it was: its GPU, and when it began and ended."""
    import time

    began = time.monotonic()
    time.sleep(0.02)
    return Result("ok", facts={"gpu": os.environ.get(DEVICE, ""), "from": began, "to": time.monotonic()})


@pytest.mark.skipif(bool(LocalExecutor.unavailable()), reason="worker processes cannot be started here")
def test_workers_share_the_gpus_and_never_one_of_them():
    with LocalExecutor(jobs=3, execute=says_its_gpu, devices=2) as executor:
        for seed in range(6):
            executor.submit(run_on("cuda", seed))
        executor.submit(run_on("cpu", 9))
        done = [(json.loads(run.canonical)["seed"], result.facts) for run, result in executor.as_completed()]
    assert len(done) == 7
    spans = [(f["gpu"], f["from"], f["to"]) for seed, f in done if seed < 9]
    assert {gpu for gpu, _, _ in spans} <= {"0", "1"}
    for gpu in "01":
        own = sorted((began, ended) for name, began, ended in spans if name == gpu)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(own))
