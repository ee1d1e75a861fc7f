"""Overhead of a sweep per run: plan, leases, dispatch and store, on runs that do nothing.

    python benchmarks/sweep_overhead.py [RUNS]
    python benchmarks/sweep_overhead.py apart [RUNS]

Prints the medians of several repeats, in milliseconds a run, for the serial and the local executor: time, and processor time of
all its processes, which does not wait for the disk.

`apart` compares runs of milliseconds whose similarity is attnlab's own with the same runs whose similarity is a plugin's, and so has
a process to itself: `attnlab sweep` with one worker, in turns. What the command costs without these runs is taken off.
"""

from __future__ import annotations

import os
import statistics
import subprocess
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


_SMALL = """
attnlab: 1
question: What does it cost that a run has a process to itself?
task: {{lookup: {{n_keys: 4, d: 4, n_train: 16, n_validation: 4, n_test: 64}}}}
mechanism: {{similarity: {similarity}}}
model: {{aligner: {{projection: 4, steps: 3}}}}
seeds: {seeds}
"""
_PLUGIN = """
from attnlab import hookimpl
from attnlab.parts.similarities import ScaledDot

class Apart(ScaledDot):
    name = "apart"

@hookimpl
def attnlab_similarities():
    return [Apart]
"""


def apart(n_runs: int, repeats: int = 5) -> None:
    """Print what a run costs more that has a process to itself."""
    costs: dict[str, list[tuple[float, float]]] = {"scaled_dot": [], "apart": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for similarity, found in costs.items():
                few, many = (_swept(Path(folder), similarity, n) for n in (10, 10 + n_runs))
                found.append(((many[0] - few[0]) / n_runs * 1e3, (many[1] - few[1]) / n_runs * 1e3))
    for similarity, found in costs.items():
        took, own = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{similarity:18} {took:6.2f} ms a run, processor time {own:.2f}")
    pairs = [*zip(costs["scaled_dot"], costs["apart"], strict=True)]
    took, own = (statistics.median(theirs[i] - ours[i] for ours, theirs in pairs) for i in (0, 1))
    print(f"{'more':18} {took:6.2f} ms a run, processor time {own:.2f} (medians of {repeats}, {n_runs} runs)")


def _swept(folder: Path, similarity: str, n_runs: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a command that does so many runs."""
    plugin, experiment, store = folder / "apart.py", folder / "e.yaml", folder / "s.db"
    plugin.write_text(_PLUGIN)
    experiment.write_text(_SMALL.format(similarity=similarity, seeds=n_runs))
    store.unlink(missing_ok=True)
    began, before = time.perf_counter(), _processor_time()
    command = ("sweep", str(experiment), "--plugin", str(plugin), "--store", str(store), "-q", "-j1")
    subprocess.run([sys.executable, "-m", "attnlab", *command], check=True, capture_output=True)
    return time.perf_counter() - began, _processor_time() - before


def main() -> None:
    if sys.argv[1:2] == ["apart"]:
        apart(int(sys.argv[2]) if len(sys.argv) > 2 else 60)
        return
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
