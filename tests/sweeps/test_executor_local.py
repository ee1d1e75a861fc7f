"""The executors: what a run does to its process costs only that run, and every run is heard of exactly once."""

import collections
import contextlib
import ctypes
import dataclasses
import math
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from attnlab.errors import SettingError
from attnlab.sweeps.execute import execute
from attnlab.sweeps.executors.local import LocalExecutor
from attnlab.sweeps.executors.serial import SerialExecutor
from attnlab.sweeps.executors.worker import frame
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.run import Result, Run

MIB = 2**20
LINUX = sys.platform == "linux"
if not LINUX:
    pytest.skip(
        "the misdeeds below are functions of this file, which only a fork can hand over", allow_module_level=True
    )


def run_of(seed: int, do: str = "succeed", **settings: object) -> Run:
    return Run.of({"seed": seed, "do": do, **settings})


def succeed(run):
    return Result("ok", metrics={"test": {"seed": float(run.seed), "nothing": math.nan}}, facts={"pid": os.getpid()})


def raises(run):
    raise ValueError("no such luck")


def raises_unprintable(run):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("and no words either")

    raise Unprintable


def exits_python(run):
    sys.exit(0)


def exits(run):
    os._exit(3)


def segfaults(run):
    ctypes.string_at(0)


def kills_itself(run):
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps(run):
    time.sleep(600)


def holds_the_gil(run):
    """One C call that neither returns nor looks at signals, on a worker that ignores the polite ones."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mutex, lock = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)


def swells(run):
    return [np.empty(10**6) for _ in range(1000)]


def asks_for_too_much(run):
    return np.ones(10**13)


def prints(run):
    for _ in range(20):
        print("y" * 10**6)
    return Result("ok")


def forks(run):
    os.fork()
    return Result("ok")


def returns_a_number(run):
    return 3


def returns_an_object(run):
    return Result("ok", facts={"lock": threading.Lock()})


def returns_too_much(run):
    return Result("ok", artifacts=bytes(65 * MIB))


def closes_its_files(run):
    os.closerange(3, 100)
    return Result("ok")


def leaves_a_thread(run):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return Result("ok", facts={"pid": os.getpid()})


def leaves_an_alarm(run):
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return Result("ok")


def naps(run):
    time.sleep(0.2)
    return Result("ok")


def dies_once(run):
    marker = Path(run.spec["marker"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Result("ok")


def act(run: Run) -> Result:
    return globals()[run.spec["do"]](run)


# what a run does, and the status and reason it gets for it
MISDEEDS = {
    "raises": ("failed", "ValueError: no such luck"),
    "raises_unprintable": ("failed", "Unprintable"),
    "exits_python": ("failed", "SystemExit: 0"),
    "exits": ("crashed", "exited with code 3"),
    "segfaults": ("crashed", "SIGSEGV, 2 times"),
    "kills_itself": ("crashed", "SIGKILL from outside, 2 times"),
    "sleeps": ("timeout", "time limit of 3 s"),
    "holds_the_gil": ("timeout", "time limit of 3 s"),
    "swells": ("oom", "memory limit of 200 MiB"),
    "asks_for_too_much": ("oom", "memory limit of 200 MiB"),
    "prints": ("ok", ""),
    "forks": ("ok", ""),
    "returns_a_number": ("failed", "returned int, not a Result"),
    "returns_an_object": ("failed", "facts is not plain data"),
    "returns_too_much": ("failed", "at most 64 MiB"),
    "closes_its_files": ("crashed", "exited with code 0"),
    "leaves_a_thread": ("ok", ""),
}


def once_each(runs, executor):
    """What as_completed yields by run, having checked that it is each run exactly once."""
    for run in runs:
        executor.submit(run)
    pairs = list(executor.as_completed())
    assert collections.Counter(run for run, _ in pairs) == collections.Counter(runs)
    return dict(pairs)


def test_every_misdeed_costs_exactly_the_run_that_did_it(capfd):
    runs = [
        run
        for i, misdeed in enumerate(MISDEEDS)
        for run in (run_of(2 * i, misdeed), run_of(2 * i + 1), run_of(2 * i + 50))
    ]
    with LocalExecutor(jobs=2, time_limit=3.0, memory_limit=200 * MIB, execute=act) as executor:
        results = once_each(runs, executor)
    for run, result in results.items():
        status, reason = MISDEEDS.get(run.spec["do"], ("ok", ""))
        assert result.status == status, (run.spec, result)
        assert reason in result.reason
        assert bool(result.reason) == (status != "ok")
        assert result.executor == "local"
        assert result.attempts == (2 if run.spec["do"] in ("kills_itself", "segfaults") else 1)
        assert result.started_at
        if run.spec["do"] == "succeed":
            assert result.metrics["test"]["seed"] == run.seed
            assert math.isnan(result.metrics["test"]["nothing"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("misdeed", ["segfaults", "sleeps", "holds_the_gil"])
def test_a_run_that_was_stopped_says_where_it_stood_and_nothing_of_ours(misdeed):
    with LocalExecutor(jobs=1, time_limit=0.3, execute=act) as executor:
        (result,) = once_each([run_of(0, misdeed)], executor).values()
    assert f"in {misdeed}" in result.traceback
    assert "supervisor" not in result.traceback


def test_a_memory_limit_that_the_run_lifts_is_kept_from_outside():
    def lifts_and_swells(run):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        held = [np.ones(10**7) for _ in range(5)]
        time.sleep(600)
        return Result("ok", facts={"held": len(held)})

    with LocalExecutor(jobs=1, time_limit=30, memory_limit=200 * MIB, execute=lifts_and_swells) as executor:
        (result,) = once_each([run_of(0)], executor).values()
    assert (result.status, "memory limit of 200 MiB" in result.reason) == ("oom", True)


def test_a_run_whose_worker_was_killed_from_outside_is_tried_once_more(tmp_path):
    runs = [run_of(0, "dies_once", marker=str(tmp_path / "marker")), *(run_of(i) for i in range(1, 6))]
    with LocalExecutor(jobs=2, execute=act) as executor:
        results = once_each(runs, executor)
    assert {r.status for r in results.values()} == {"ok"}
    assert [results[run].attempts for run in runs] == [2, 1, 1, 1, 1, 1]


def test_workers_killed_from_outside_while_two_hundred_runs_go():
    """Runs long enough to be hit; the killer picks any worker, busy or idle, the first time or the second."""
    rng = np.random.default_rng(7)

    def works(run):
        time.sleep(0.004)
        return succeed(run)

    with LocalExecutor(jobs=2, execute=works) as executor:
        stop, shots = threading.Event(), 0

        def kill():
            nonlocal shots
            while shots < 12 and not stop.wait(float(rng.uniform(0.01, 0.06))):
                for worker in executor._workers[:1]:
                    if worker._process is not None and worker._process.pid:
                        try:
                            os.kill(worker._process.pid, [signal.SIGKILL, signal.SIGTERM][shots % 2])
                        except ProcessLookupError:
                            continue
                        shots += 1

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            results = once_each([run_of(i) for i in range(200)], executor)
        finally:
            stop.set()
            killer.join()
    assert shots > 3
    assert {r.status for r in results.values()} <= {"ok", "crashed"}
    assert all(r.attempts == 2 for r in results.values() if r.status == "crashed")
    assert sum(r.status == "crashed" for r in results.values()) <= shots // 2


def test_workers_stay_for_many_runs_and_are_no_more_than_there_are_runs():
    with LocalExecutor(jobs=8, execute=act) as executor:
        results = once_each([run_of(i) for i in range(2)], executor)
        assert len(executor._workers) <= 2
        executor.jobs = 1
    with LocalExecutor(jobs=1, execute=act) as executor:
        results = once_each([run_of(i) for i in range(20)], executor)
        assert len({r.facts["pid"] for r in results.values()}) == 1
        results |= once_each([run_of(100, "leaves_a_thread"), run_of(101)], executor)
        assert results[run_of(100, "leaves_a_thread")].facts["pid"] != results[run_of(101)].facts["pid"]


def test_large_results_and_hostile_text_come_back_unchanged():
    artifacts = np.random.default_rng(3).bytes(20 * MIB)
    text = "\x00 \ud800 é \u2028\n" * 100

    def returns_much(run):
        return Result("ok", reason=text, artifacts=artifacts, facts={"n": np.int64(3), "x": np.float32(0.5)})

    results = [
        once_each([run_of(0)], e)[run_of(0)]
        for e in (LocalExecutor(1, execute=returns_much), SerialExecutor(returns_much))
    ]
    for result in results:
        assert (result.artifacts, result.reason, result.facts) == (artifacts, text, {"n": 3, "x": 0.5})


def test_an_alarm_that_a_run_left_behind_does_not_ring_in_the_next():
    with LocalExecutor(jobs=1, execute=act) as executor:
        results = once_each([run_of(0, "leaves_an_alarm"), run_of(1, "naps")], executor)
    assert [r.status for r in results.values()] == ["ok", "ok"]


def test_submitting_while_results_come_in():
    with LocalExecutor(jobs=2, execute=act) as executor:
        executor.submit(run_of(0))
        seen = []
        for run, _ in executor.as_completed():
            seen.append(run.seed)
            if run.seed < 30:
                executor.submit(run_of(run.seed + 1))
        assert seen == list(range(31))
        assert list(executor.as_completed()) == []


def test_a_cancelled_run_yields_nothing():
    with LocalExecutor(jobs=2, execute=act) as executor:
        for run in (run_of(0, "sleeps"), run_of(1), run_of(2), run_of(3, "sleeps")):
            executor.submit(run)
        seen = []
        for run, _ in executor.as_completed():
            seen.append(run.seed)
            executor.cancel(run_of(3, "sleeps"))  # waiting
            executor.cancel(run_of(0, "sleeps"))  # running
        assert seen == [1, 2]


def test_closing_ends_running_workers_and_is_final():
    executor = LocalExecutor(jobs=2, execute=act)
    for run in (run_of(0), run_of(1, "holds_the_gil")):
        executor.submit(run)
    ((_, result), *_) = [next(executor.as_completed())]
    pids = [w._process.pid for w in executor._workers]
    assert result.facts["pid"] in pids
    executor.close()
    executor.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert list(executor.as_completed()) == []
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(run_of(2))


def test_an_interrupt_while_waiting_comes_through_and_what_was_running_is_not_lost():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with LocalExecutor(jobs=1, time_limit=1.0, execute=act) as executor:
            for run in (run_of(0, "sleeps"), run_of(1)):
                executor.submit(run)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Stop):
                list(executor.as_completed())
            assert [(run.seed, result.status) for run, result in executor.as_completed()] == [(0, "timeout"), (1, "ok")]
    finally:
        signal.signal(signal.SIGALRM, before)


COORDINATOR = """
    import os, sys, time
    from attnlab.sweeps.executors.local import LocalExecutor
    from attnlab.sweeps.run import Result, Run

    def busy(run):
        global report  # kept open until this process ends
        report = os.open(sys.argv[1], os.O_WRONLY)
        os.write(report, f"{os.getpid()}\\n".encode())
        if run.seed == 0:
            return Result("ok")
        time.sleep(600)

    executor = LocalExecutor(jobs=3, execute=busy)
    for seed in range(4):
        executor.submit(Run.of({"seed": seed}))
    for run, result in executor.as_completed():
        pass
"""


def test_no_worker_outlives_a_coordinator_that_was_killed(tmp_path):
    os.mkfifo(fifo := tmp_path / "reports")
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reports:
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(COORDINATOR), str(fifo)])
        said = b""
        while said.count(b"\n") < 4:
            assert process.poll() is None, "it has ended by itself"
            if select.select([reports], [], [], 0.1)[0]:
                said += reports.read(1000) or b""
        pids = {int(pid) for pid in said.split()}
        assert len(pids) == 3
        process.kill()
        process.wait()
        try:  # the pipe ends when nobody has it any more: all are gone
            assert select.select([reports], [], [], 30)[0]
            assert reports.read(1000) == b""
        except BaseException:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise


def test_a_run_that_answers_several_times_has_one_result():
    def answers(run):
        if run.seed == 0:
            for descriptor in range(3, 64):
                with contextlib.suppress(OSError):
                    socket.socket(fileno=os.dup(descriptor)).sendall(3 * frame(b"\1 mine"))
        return Result("ok")

    with LocalExecutor(jobs=1, execute=answers) as executor:
        results = once_each([run_of(0), run_of(1), run_of(2)], executor)
    assert [result.status for result in results.values()] == ["failed", "ok", "ok"]


def test_a_forked_run_starts_no_threads_of_blas():
    """OpenBLAS would start them anew in each process, which takes longer than a short run."""
    experiment = {
        "attnlab": 1,
        "question": "How many threads has a run?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 4}},
        "model": {"aligner": {"projection": 4, "steps": 3}},
        "seeds": 1,
    }
    (run,) = plan(read(experiment))

    def counted(run):
        result = execute(run)
        return dataclasses.replace(result, facts={"threads": len(os.listdir("/proc/self/task"))})

    np.ones((300, 300)) @ np.ones((300, 300))  # here it has them
    with LocalExecutor(jobs=1, execute=counted) as executor:
        executor.submit(run)
        ((_, result),) = executor.as_completed()
    assert (result.status, result.facts["threads"]) == ("ok", 1), result.reason


def test_a_run_has_no_pipe_and_no_socket_of_the_process_that_made_the_executor(tmp_path):
    """A file that was opened for reading stays; nothing that can be written to does."""
    readable = tmp_path / "read"
    readable.write_text("attnlab")
    read_end, write_end = os.pipe()
    with (
        open(readable) as reads,
        open(tmp_path / "written", "w+") as writes,
        socket.socket(socket.AF_UNIX) as unix,
        contextlib.closing(os.fdopen(read_end)),
        contextlib.closing(os.fdopen(write_end, "w")),
    ):
        here = {d: os.fstat(d).st_ino for d in (reads.fileno(), writes.fileno(), unix.fileno(), read_end, write_end)}

        def found(run):
            for descriptor in here:
                os.fstat(descriptor)
            os.write(writes.fileno(), b"from a run")
            same = [d for d, inode in here.items() if os.fstat(d).st_ino == inode]
            return Result("ok", facts={"same": same, "read": os.pread(reads.fileno(), 100, 0).decode()})

        with LocalExecutor(jobs=1, execute=found) as executor:
            executor.submit(run_of(0))
            ((_, result),) = executor.as_completed()
        assert (result.status, result.reason) == ("ok", "")
        assert result.facts == {"same": [reads.fileno()], "read": "attnlab"}
    assert (tmp_path / "written").read_text() == ""


def test_serial_runs_in_order_and_survives_what_can_be_survived():
    misdeeds = [
        "raises",
        "raises_unprintable",
        "exits_python",
        "asks_for_too_much",
        "returns_a_number",
        "returns_an_object",
    ]
    runs = [run_of(i, misdeed) for i, misdeed in enumerate([*misdeeds, "succeed"])]
    executor = SerialExecutor(execute=act)
    for run in [*runs, run_of(99)]:
        executor.submit(run)
    executor.cancel(run_of(99))
    pairs = list(executor.as_completed())
    assert [run for run, _ in pairs] == runs
    assert [result.status for _, result in pairs] == ["failed", "failed", "failed", "oom", "failed", "failed", "ok"]
    assert {(result.executor, bool(result.started_at)) for _, result in pairs} == {("serial", True)}
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(run_of(0))


@pytest.mark.parametrize("library", ["torch", "jax", "words"])
def test_memory_that_a_library_lacks_is_oom_and_costs_one_run(library):
    if library != "words":
        other = pytest.importorskip(library, reason=f"{library} is not installed", exc_type=ImportError)

    def asks(run):
        if run.seed != 1:
            return Result("ok")
        if library == "words":  # a GPU's
            raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")
        return other.empty(2**50) if library == "torch" else other.numpy.zeros(2**50)

    executor = SerialExecutor(execute=asks)
    for i in range(3):
        executor.submit(run_of(i))
    results = [result for _, result in executor.as_completed()]
    assert [result.status for result in results] == ["ok", "oom", "ok"]
    assert results[1].reason.startswith("out of memory")


def test_serial_lets_the_users_interrupt_through_and_no_other():
    def interrupted(run):
        if run.seed:
            os.kill(os.getpid(), signal.SIGINT)
            with contextlib.suppress(KeyboardInterrupt):  # however much a run wishes to go on
                time.sleep(5)
        raise KeyboardInterrupt

    executor = SerialExecutor(execute=interrupted)
    for seed in range(3):
        executor.submit(run_of(seed))
    done = executor.as_completed()
    run, result = next(done)
    assert (run.seed, result.status, result.reason) == (0, "failed", "KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        next(done)


def test_a_fork_inside_a_serial_run_is_one_answer(tmp_path):
    def forks_and_writes(run):
        os.fork()
        return Result("ok")

    executor = SerialExecutor(execute=forks_and_writes)
    for seed in range(3):
        executor.submit(run_of(seed))
    me, seen = os.getpid(), tmp_path / "seen"
    for run, _ in executor.as_completed():
        with seen.open("a") as file:
            file.write(f"{run.seed} {os.getpid() == me}\n")
    assert seen.read_text() == "0 True\n1 True\n2 True\n"


@pytest.mark.parametrize("setting", ["jobs", "time_limit", "memory_limit"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_out_of_range_are_refused_with_their_name(setting, value):
    with pytest.raises(SettingError, match=rf"{setting} must be .*got {value}"):
        LocalExecutor(**{setting: value})
