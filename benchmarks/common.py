"""What the benchmarks share: alternating repeats, ratios of medians, one thread, the machine by name, and tables."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def alternate(
    ways: Mapping[str, Callable[[], Any]], repeats: int, pause: float = 0.0, burst: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of each way, by turns, after one turn that is not counted.

    With several threads each turn begins after a pause: the threads of OpenMP and OpenBLAS turn idly for some milliseconds
    after their work, and would take a processor from the next way. After a pause a system may leave a new thread on the
    processor of its parent for some milliseconds. A turn with a burst is therefore the median of the calls of that many
    seconds, after one call that is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            time.sleep(pause)
            if burst:
                way()
            calls: list[float] = []
            while not calls or sum(calls) < burst:
                start = time.perf_counter()
                way()
                calls.append(time.perf_counter() - start)
            if turn:
                times[name].append(statistics.median(calls))
    return times


def repeated(step: Callable[[], Any], n: int) -> Callable[[], None]:
    """A function that takes n steps."""

    def steps() -> None:
        for _ in range(n):
            step()

    return steps


def median(times: Sequence[float]) -> float:
    return statistics.median(times)


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times as fast: the median of the ratios of turns."""
    return statistics.median(t / o for t, o in zip(theirs, ours, strict=True))


def geometric_mean(ratios: Sequence[float]) -> float:
    return statistics.geometric_mean(ratios) if ratios else float("nan")


def one_thread() -> Any:
    """Limits BLAS, and PyTorch where it is installed, to one thread; keep what it returns."""
    return threads(1)


def threads(n: int) -> Any:
    from threadpoolctl import threadpool_limits

    if installed("torch"):
        import torch

        torch.set_num_threads(n)
    return threadpool_limits(n)


def machine() -> str:
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("attnlab", "numpy", "numba", "torch", "entmax", "jax", "scipy", "scikit-learn")
        if installed(name.replace("scikit-learn", "sklearn"))
    ]
    return f"{_processor()}; Python {platform.python_version()}; {', '.join(versions)}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, (float, np.floating)) else str(value)


def say(row: Mapping[str, Any]) -> None:
    print("  ".join(f"{name} {shown(value)}" for name, value in row.items()), file=sys.stderr, flush=True)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(shown(row.get(name, "")) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
