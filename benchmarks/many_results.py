"""What a store of many results costs: `python benchmarks/many_results.py [RUNS [FOLDER]]`, by default 100,000 runs.

The results are made up: those of a few real runs, given to all. Each is written by `Store.append`, without waiting for the disk.
Then processes of their own plan the experiment, load the table, and sweep it again, which finds nothing to do. Prints for each
seconds, seconds of the processor, and the most memory. A folder that is named is kept, and its store is used again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attnlab.sweeps.execute import execute
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.store import Store

LOAD = "import attnlab; frame = attnlab.load_results('s.db'); print(len(frame), 'rows')"
MEASURED = {
    "start python, import attnlab and pandas": [
        "-c",
        "import attnlab.cli, attnlab.sweeps.pipeline, pandas, sklearn.base",
    ],
    "plan": ["-m", "attnlab", "plan", "many.yaml", "--store", "s.db"],
    "load": ["-c", LOAD],
    "sweep again": ["-m", "attnlab", "sweep", "many.yaml", "--store", "s.db", "-q"],
}


def experiment(n_runs: int) -> dict[str, object]:
    return {
        "attnlab": 1,
        "name": "many",
        "question": "What do many results cost?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
        "mechanism": {"similarity": ["dot", "scaled_dot", "cosine", "general"], "normaliser": ["softmax", "sparsemax"]},
        "model": {"aligner": {"projection": 4, "steps": [2, 3]}},
        "seeds": -(-n_runs // 16),
        "limits": {"runs": 10**7},
    }


def fill(folder: Path, n_runs: int) -> None:
    """Write the experiment and a store that has a result of each of its runs."""
    (folder / "many.yaml").write_text(json.dumps(experiment(n_runs)), encoding="utf-8")  # YAML contains JSON
    began, own = time.perf_counter(), time.process_time()
    asked = read(folder / "many.yaml")
    runs = plan(asked)
    n_seeds = len(runs) // 16
    with Store(folder / "s.db") as store:
        store._db.execute("PRAGMA synchronous = OFF")
        store.add_experiment(
            asked.name, asked.question, asked.text, [run.run_id for run in runs], str(folder / "many.yaml")
        )
        for _, some in itertools.groupby(enumerate(runs), lambda pair: pair[0] // n_seeds):
            result = None
            for _, run in some:
                result = execute(run) if result is None else result
                value = (run.seed % 97) / 97
                measured = {test: {**values, "alignment_accuracy": value} for test, values in result.metrics.items()}
                store.append(run, dataclasses.replace(result, metrics=measured), result.fingerprints)
    size = (folder / "s.db").stat().st_size
    said(
        f"append {len(runs)} results", time.perf_counter() - began, time.process_time() - own, 0, f"{size / 1e6:.0f} MB"
    )


def said(what: str, seconds: float, processor: float, peak: float, more: str = "") -> None:
    memory = f"{peak:8.0f} MB at most" if peak else ""
    print(f"{what:40} {seconds:8.2f} s {processor:8.2f} s of the processor {memory} {more}", flush=True)


def main() -> None:
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as made:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else made).resolve()
        folder.mkdir(exist_ok=True)
        if sys.argv[3:] == ["fill"]:
            fill(folder, n_runs)
            return
        if not (folder / "s.db").exists():  # in a process of its own, whose memory those below do not inherit
            subprocess.run([sys.executable, __file__, str(n_runs), str(folder), "fill"], check=True)
        for what, arguments in MEASURED.items():
            began = time.perf_counter()
            with (folder / "printed").open("wb") as printed:
                process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=printed)
                _, status, used = os.wait4(process.pid, 0)
            assert status == 0, f"{what}: {status}"
            said(what, time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
