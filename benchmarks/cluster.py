"""What a run costs besides itself on one machine and on a cluster: `python -m benchmarks.cluster [-q] [PART ...]`.

PART is one of these, by default all:

    throughput   empty runs a second, for the executors `local` and `dask` with 1 and 2 workers, from plan to table
    efficiency   time of 1 worker by twice the time of 2 workers, on real runs, for `local` and `dask`. "busy" is the part of the time
                 in which 2 workers are within a run; "slower" is how much longer a run takes beside another one, for which the
                 machine is answerable; "around" is what a whole sweep takes before its first run and after its last
    model        processor time of a run and of an order at the coordinator, the scheduler and a worker (an empty run takes it
                 none), bytes of a run on the wire and in the store, and what follows for 10^6 and 10^8 runs

The cluster is a scheduler and workers of dask as processes of this machine. An empty run answers at once: in the worker process of
`local`, and in the worker of dask itself (a preload script puts it there). Real runs take about a tenth of a second each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import common

EMPTY = """
from attnlab.sweeps.executors import remote
from attnlab.sweeps.executors.messages import pack
from attnlab.sweeps.run import Result

measured = {"test": {"alignment_accuracy": 1.0, "gold_mass": 1.0, "context_error": 0.0}}
reply = pack(Result("ok", metrics=measured, facts={"fit_seconds": 0.0}, executor="dask", started_at="2026-01-01T00:00:00.000+00:00"))
remote._done_beside = lambda executor, run: reply
"""
CALM = {  # as docs/cluster.md says
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "2s",
}
PARTS = ("throughput", "efficiency", "model")
FIRST = 4  # runs of which the time is not counted


def empty(n_runs: int) -> dict[str, Any]:
    """Runs that differ in their seed."""
    return {
        "attnlab": 1,
        "name": "empty",
        "question": "What does a run cost besides itself?",
        "task": "lookup",
        "mechanism": {"similarity": ["dot", "scaled_dot"]},
        "seeds": n_runs // 2,
        "limits": {"runs": 10**7},
    }


def real(n_runs: int, steps: int) -> dict[str, Any]:
    """Small runs that learn."""
    return {
        "attnlab": 1,
        "name": "real",
        "question": "Do two workers do twice as much?",
        "task": {"lookup": {"n_keys": 16, "d": 16}},
        "mechanism": {"similarity": ["scaled_dot", "cosine"]},
        "model": {"aligner": {"projection": 16, "steps": steps}},
        "seeds": n_runs // 2,
    }


@contextlib.contextmanager
def cluster(n_workers: int, preload: str = "") -> Iterator[tuple[str, int]]:
    """(scheduler file, process of the scheduler) of a scheduler with workers of one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        (Path(folder) / "preload.py").write_text(preload, encoding="utf-8")
        said = (Path(folder) / "said").open("wb")
        run = {
            "stdout": said,
            "stderr": said,
            "cwd": folder,
            "env": {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                **CALM,
            },
        }
        options = ["--scheduler-file", str(file), "--no-dashboard"]
        python = [sys.executable, "-m"]
        processes = [subprocess.Popen([*python, "distributed.cli.dask_scheduler", "--port", "0", *options], **run)]  # type: ignore[call-overload]
        try:
            while not (file.exists() and file.read_text().strip().endswith("}")):
                time.sleep(0.05)
            worker = [*python, "distributed.cli.dask_worker", *options, "--nthreads", "1", "--no-nanny"]
            worker += ["--preload", str(Path(folder) / "preload.py")] if preload else []
            processes += [subprocess.Popen(worker, **run) for _ in range(n_workers)]  # type: ignore[call-overload]
            _all_there(str(file), n_workers)
            yield str(file), processes[0].pid
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()
            said.close()


def _all_there(file: str, n_workers: int) -> None:
    from distributed import Client

    with Client(scheduler_file=file, set_as_default=False) as client:
        client.wait_for_workers(n_workers)


def swept(spec: dict[str, Any], executor: Any) -> tuple[float, float, int]:
    """Seconds of a sweep, processor seconds of this process for it, and the bytes of its store."""
    import attnlab

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "s.db"
        wall, own = time.perf_counter(), time.process_time()
        frame = attnlab.sweep(spec, executor=executor, store=store, quiet=True)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        assert (frame["status"] == "ok").all(), frame[["status", "reason"]]
        return wall, own, sum(f.stat().st_size for f in Path(folder).iterdir())


def _nothing(run: Any) -> Any:
    from attnlab.sweeps.run import Result

    return Result("ok", metrics={"test": {"alignment_accuracy": 1.0}}, facts={"fit_seconds": 0.0})


def _local_empty(jobs: int) -> str:
    """The name of a registered executor that does empty runs as `local` does runs."""
    import attnlab
    from attnlab.sweeps.executors.local import LocalExecutor

    class Empty(LocalExecutor):
        """Empty runs in worker processes."""

        name = f"empty_local_{jobs}"

        def __init__(self) -> None:
            super().__init__(jobs=jobs, execute=_nothing)

    attnlab.register(Empty)
    return Empty.name


def beside_start(
    spec: Callable[[int], dict[str, Any]], n_runs: int, executor: Any, repeats: int
) -> list[tuple[float, float]]:
    """(seconds, processor seconds of this process) a run, without what a sweep of few runs costs: start, tables, end."""
    found = []
    swept(spec(n_runs // 10), executor)  # what a process does once
    for _ in range(repeats):
        few, many = swept(spec(n_runs // 10), executor), swept(spec(n_runs), executor)
        more = n_runs - n_runs // 10
        found.append(((many[0] - few[0]) / more, (many[1] - few[1]) / more))
    return found


def throughput(quick: bool) -> list[dict[str, Any]]:
    n_runs, repeats = (1000, 1) if quick else (4000, 5)
    rows = []
    for n_workers in (1, 2):
        ways: dict[str, list[tuple[float, float]]] = {}
        ways["local"] = beside_start(empty, n_runs, _local_empty(n_workers), repeats)
        with cluster(n_workers, EMPTY) as (file, _):
            ways["dask"] = beside_start(empty, n_runs, {"dask": {"address": file}}, repeats)
        for name, times in ways.items():
            wall, own = (statistics.median(t[i] for t in times) for i in (0, 1))
            row = {"executor": name, "workers": n_workers, "runs a second": 1 / wall, "ms a run": wall * 1e3}
            rows.append({**row, "of it processor time here, ms": own * 1e3})
            common.say(rows[-1])
    return rows


def efficiency(quick: bool) -> list[dict[str, Any]]:
    n_runs, steps, repeats = (40, 200, 1) if quick else (120, 400, 5)
    rows = []
    with cluster(1) as (one, _), cluster(2) as (two, _):
        ways = {
            "local": ({"local": {"jobs": 1}}, {"local": {"jobs": 2}}),
            "dask": ({"dask": {"address": one}}, {"dask": {"address": two}}),
        }
        for name, (single, double) in ways.items():
            found = []
            for _ in range(repeats):
                (a, within_a), (b, within_b) = (_of_runs(n_runs, steps, executor) for executor in (single, double))
                whole, _, _ = swept(real(n_runs, steps), double)
                around = whole - b * n_runs / (n_runs - FIRST)
                found.append((a / (2 * b), within_b / (2 * b), within_b / within_a, b, around))
            ratio, busy, slower, seconds, around = (statistics.median(column) for column in zip(*found, strict=True))
            row = {"executor": name, "runs": n_runs - FIRST, "seconds with 2": seconds, "efficiency of 2": ratio}
            row |= {"least": min(found)[0], "most": max(found)[0], "busy": busy, "slower": slower, "around, s": around}
            rows.append(row)
            common.say(rows[-1])
    return rows


def _of_runs(n_runs: int, steps: int, executor: Any) -> tuple[float, float]:
    """Seconds from the first to the last result, without start, tables and end; of all workers together within runs."""
    from attnlab.registry import build
    from attnlab.sweeps.experiment.read import read
    from attnlab.sweeps.plan import plan

    runs = plan(read(real(n_runs, steps)))
    with contextlib.closing(build("executor", executor)) as workers:
        if hasattr(workers, "prepare"):
            workers.prepare(runs)
        for run in runs[:FIRST]:  # workers have started, and drawn their first examples
            workers.submit(run)
        assert all(result.status == "ok" for _, result in workers.as_completed())
        began = time.perf_counter()
        for run in runs[FIRST:]:
            workers.submit(run)
        results = [result for _, result in workers.as_completed()]
        took = time.perf_counter() - began
        assert all(result.status == "ok" for result in results)
        return took, sum(result.seconds for result in results)


def _of_empty_runs(n_runs: int, most: int) -> dict[str, float]:
    """Processor time of a run in ms: of this process, the scheduler and the worker, with so many runs in an order."""
    import psutil

    from attnlab.sweeps.executors import dask

    before, dask._MOST = dask._MOST, most
    try:
        with cluster(1, EMPTY) as (file, pid):
            swept(empty(100), {"dask": {"address": file}})
            worker = next(p.pid for p in psutil.Process().children() if "distributed.cli.dask_worker" in p.cmdline())
            there = [psutil.Process(one) for one in (pid, worker)]
            began = [sum(process.cpu_times()[:2]) for process in there]
            ((_, own),) = beside_start(empty, n_runs, {"dask": {"address": file}}, 1)
            # `beside_start` does a tenth twice, and then all
            took = [
                (sum(p.cpu_times()[:2]) - s) / (n_runs + n_runs // 10 * 2) for p, s in zip(there, began, strict=True)
            ]
    finally:
        dask._MOST = before
    return {"coordinator": own * 1e3, "scheduler": took[0] * 1e3, "worker": took[1] * 1e3}


def model(quick: bool) -> list[dict[str, Any]]:
    from attnlab.sweeps.execute import execute
    from attnlab.sweeps.executors.agreement import behind, described
    from attnlab.sweeps.executors.dask import _MOST, _SECONDS, worth
    from attnlab.sweeps.executors.messages import pack
    from attnlab.sweeps.executors.remote import order_of
    from attnlab.sweeps.experiment.read import read
    from attnlab.sweeps.plan import plan

    n_runs = 1000 if quick else 4000
    runs = plan(read(real(20, 50)))
    results = [execute(run) for run in runs]
    reply = statistics.mean(len(pack(result)) for result in results)
    here = described(behind(runs[0]))
    limits = {"time_limit": None, "memory_limit": None, "retries": 1}
    several, single = (
        len(order_of("0" * 32, {}, limits, here, some, _SECONDS)) / len(some) for some in (runs, runs[:1])
    )
    _, _, few = swept(real(20, 50), "serial")
    _, _, many = swept(real(120, 50), "serial")
    stored = (many - few) / 100
    few_at_once, one_at_once = (_of_empty_runs(n_runs, most) for most in (_MOST, 1))
    an_order = {who: (one_at_once[who] - few_at_once[who]) / (1 - 1 / _MOST) for who in few_at_once}
    a_run = {who: max(0.0, few_at_once[who] - an_order[who] / _MOST) for who in few_at_once}
    row = {f"{who}, ms a run": ms for who, ms in a_run.items()} | {
        f"{who}, ms an order": ms for who, ms in an_order.items()
    }
    sizes = {"order, bytes": several, "order of one, bytes": single, "result, bytes": reply, "store, bytes": stored}
    print(
        f"\nOf empty runs:\n\n{common.markdown([row])}\n\nA run:\n\n{common.markdown([sizes])}\n\nThen:\n", flush=True
    )
    rows = []
    for seconds in (0.01, 0.1, 1, 60):
        threads = 1.0
        for _ in range(100):  # the more threads, the more runs are in an order
            at_once = max(1, min(_MOST, int(worth(int(threads)) / seconds)))
            own, there = (a_run[who] + an_order[who] / at_once for who in ("coordinator", "scheduler"))
            threads = seconds * 1e3 / max(own, there)
        row = {"runs of, s": f"{seconds:g}", "runs an order": at_once, "coordinator, ms": own, "scheduler, ms": there}
        row |= {"threads kept busy": threads}
        rows.append({**row, **{f"10^{k} runs, h": 10**k * max(own, there) / 3.6e6 for k in (6, 8)}})
    for k in (6, 8):
        common.say({"runs": f"10^{k}", "store, GB": 10**k * stored / 1e9, "wire, GB": 10**k * (reply + several) / 1e9})
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("-q", "--quick", action="store_true", help="fewer runs, and less exact")
    parser.add_argument("-o", "--output", type=Path, help="a JSON file for the rows")
    given = parser.parse_args(arguments)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    print(common.machine(), f"; {os.cpu_count()} processors")
    found = {}
    for part in given.parts or PARTS:
        found[part] = globals()[part](given.quick)
        print(f"\n## {part}\n\n{common.markdown(found[part])}\n", flush=True)
    if given.output:
        given.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
