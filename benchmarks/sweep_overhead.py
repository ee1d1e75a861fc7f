"""Overhead of a sweep per run: plan, leases, dispatch and store, on runs that do nothing.

    python benchmarks/sweep_overhead.py [RUNS]

Prints the medians of several repeats, in milliseconds a run, for the serial and the local executor: time, and processor time of
all its processes, which does not wait for the disk.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from attnlab.sweeps.executors.local import LocalExecutor
from attnlab.sweeps.executors.serial import SerialExecutor
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.fingerprint import fingerprints
from attnlab.sweeps.frame import frame_of
from attnlab.sweeps.plan import decide, plan
from attnlab.sweeps.progress import Progress
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.sharing import Shared
from attnlab.sweeps.store import Store


def nothing(run: Run) -> Result:
    return Result("ok", metrics={"test": {"alignment_accuracy": 1.0}}, facts={"fit_seconds": 0.0})


def once(n_runs: int, executor: object) -> tuple[float, float]:
    experiment = {
        "attnlab": 1,
        "question": "What does a run cost that does nothing?",
        "task": "lookup",
        "mechanism": {"similarity": ["dot", "scaled_dot"]},
        "seeds": n_runs // 2,
    }
    with tempfile.TemporaryDirectory() as folder:
        began, before = time.perf_counter(), _processor_time()
        read_experiment = read(experiment)
        runs = plan(read_experiment)
        with Store(Path(folder) / "s.db") as store, executor as workers:  # type: ignore[attr-defined]
            store.add_experiment("overhead", "?", read_experiment.text, [r.run_id for r in runs])
            todo = [planned.run for planned in decide(runs, store.known([r.run_id for r in runs]), fingerprints)]
            shared = Shared(store, todo, {}, workers, Progress("overhead", len(todo), quiet=True))
            for run, result in shared.as_completed():
                store.append(run, result, fingerprints(run))
            frame = frame_of(("overhead", run, result) for run, result in store.results([r.run_id for r in runs]))
        assert len(frame) == len(runs)
        took = time.perf_counter() - began
        return took / len(runs) * 1e3, (_processor_time() - before) / len(runs) * 1e3


def _processor_time() -> float:
    """Seconds, of this process and of those that it waited for."""
    return sum(os.times()[:4])


def main() -> None:
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for name, make in (
        ("serial", lambda: SerialExecutor(execute=nothing)),
        ("local, 2 workers", lambda: LocalExecutor(jobs=2, execute=nothing)),
    ):
        times, own = zip(*(once(n_runs, make()) for _ in range(5)), strict=True)
        print(
            f"{name:18} {statistics.median(times):6.2f} ms a run, of it processor time {statistics.median(own):.2f} "
            f"(medians of 5, {n_runs} runs; {min(times):.2f}..{max(times):.2f})"
        )


if __name__ == "__main__":
    main()
