"""What a run of others' code does to its process reaches no other run: every mess is followed by two innocent runs.

`python -m pytest -m long tests/sweeps/test_isolation.py` tries them in many orders, with two workers, and all of them on each executor.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import platform
import random
import runpy
import sys
from pathlib import Path

import pytest

from attnlab.plugins import configure
from attnlab.sweeps.executors.local import LocalExecutor
from attnlab.sweeps.executors.quarantine import Quarantine
from attnlab.sweeps.executors.serial import SerialExecutor
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

if sys.platform != "linux":
    pytest.skip("a run of others has a fork to itself on Linux", allow_module_level=True)

FILE = Path(__file__).parent / "messes.py"
MESSES = runpy.run_path(str(FILE))["MESSES"]
MORE = ("leak", "collector", "trace", "exit_hook")  # tried by the long version
SOME = (
    "chdir",
    "exp",
    "builtin_import",
    "plugins",
    "few_files",
    "close_everything",
    "hits_its_parent",
    "modules",
    "fork",
)
NEWER = ("encoder", "rounding", "gradients", "names_of_os", "storm", "odd_exit")
ALWAYS = {
    "serial": (*[*MESSES][: [*MESSES].index("exit_thread")], *NEWER),
    "local": (
        *SOME,
        "thread_that_patches",
        "write_everywhere",
        "blocked",
        "environment",
        "child",
        "stops_its_parent",
        *NEWER,
    ),
    "dask": (*SOME[:5], *NEWER[:2]),
}


def runs_of(similarity):
    experiment = {
        "attnlab": 1,
        "question": "Does a mess reach others?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 64}},
        "mechanism": {"similarity": similarity},
        "model": {"aligner": {"projection": 4, "steps": 3}},
        "seeds": 1,
    }
    return plan(read(experiment))


@pytest.fixture(scope="module", autouse=True)
def messes():
    configure(files=[str(FILE)])
    yield
    configure()


@pytest.fixture(scope="module")
def runs(messes):
    (own,), (calm,) = runs_of("scaled_dot"), runs_of("calm")
    return own, calm, {mess: runs_of({"messy": {"mess": mess}})[0] for mess in MESSES}


def numbers(executor, runs):
    """The metrics of each run, and of a mess its status, in the order of the runs; what is not a number is 'nan'."""
    for run in runs:
        executor.submit(run)
    found = {}
    for run, result in executor.as_completed():
        found.setdefault(run.run_id, []).append(result)
    return {run_id: [(r.status, r.reason, measured(r)) for r in results] for run_id, results in found.items()}


def measured(result):
    """Every number of a result but its time, to the last bit."""
    return repr([(test, m, v) for test, row in result.metrics.items() for m, v in row.items() if "second" not in m])


@pytest.fixture(scope="module")
def alone(runs):
    """The innocent runs, each in an executor that has seen nothing else."""
    found = {}
    for run in runs[:2]:
        with LocalExecutor(jobs=1) as executor:
            ((found[run.run_id],),) = numbers(executor, [run]).values()
    assert {status for status, *_ in found.values()} == {"ok"}
    return found


@pytest.fixture(scope="module")
def executors(messes):
    """One of each kind for the whole file, so that each mess comes after all before it."""
    with contextlib.ExitStack() as stack:
        made = {}

        def executor(name):
            if name not in made:
                made[name] = stack.enter_context(EXECUTORS[name]())
            return made[name]

        yield executor


def on_dask():
    pytest.importorskip("distributed")
    from attnlab.sweeps.executors.dask import DaskExecutor

    return DaskExecutor(jobs=1)


EXECUTORS = {"serial": SerialExecutor, "local": lambda: LocalExecutor(jobs=1), "dask": on_dask}
CASES = [
    pytest.param(name, mess, marks=[] if mess in ALWAYS.get(name, MESSES) else [pytest.mark.long])
    for name in EXECUTORS
    for mess in MESSES
    if mess not in MORE
]


@pytest.mark.parametrize(("name", "mess"), CASES)
def test_a_mess_reaches_no_other_run(executors, runs, alone, name, mess):
    executor = executors(name)
    own, calm, messy = runs
    for one in (executor, getattr(executor, "_apart", None)):
        if hasattr(one, "_quarantine"):
            one._quarantine = Quarantine()  # the similarity of every mess has one name
    folder, mask = os.getcwd(), os.umask(0o022)
    found = numbers(executor, [messy[mess], calm, own])
    assert len(found[messy[mess].run_id]) == 1
    assert found[calm.run_id] == [alone[calm.run_id]]
    assert found[own.run_id] == [alone[own.run_id]]
    assert (os.getcwd(), os.umask(mask)) == (folder, 0o022)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_messes_in_any_order_reach_no_other_run(runs, alone, seed):
    own, calm, messy = runs
    order = [run for mess in MESSES for run in (messy[mess], calm, own)]
    random.Random(seed).shuffle(order)
    with LocalExecutor(jobs=2) as executor:
        found = numbers(executor, order)
    assert found[calm.run_id] == [alone[calm.run_id]] * len(MESSES)
    assert found[own.run_id] == [alone[own.run_id]] * len(MESSES)
    assert all(len(found[run.run_id]) == 1 for run in messy.values())


def test_what_a_run_will_write_to_is_copied_before_it_begins():
    from attnlab.sweeps.executors import rehearsal

    size = 64 * mmap.PAGESIZE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.write(b"a" * size)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    wanted = [[first + i * mmap.PAGESIZE, mmap.PAGESIZE] for i in range(0, 64, 3)]
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            before = rehearsal._copied([(first, first + size, "")])
            rehearsal._written[:] = rehearsal._in_calls(wanted)
            rehearsal.write_ahead()
            after = rehearsal._copied([(first, first + size, "")])
            os.write(theirs, json.dumps([before.tolist(), after.tolist(), memory[:] == b"a" * size]).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        before, after, same = json.loads(pipe.read())
    os.waitpid(pid, 0)
    if not after and tuple(map(int, platform.release().split(".")[:2])) < (6, 13):
        pytest.skip("a process cannot ask for that on this system")
    assert (before, after, same) == ([], wanted, True)
