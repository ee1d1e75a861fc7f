"""A JSON Lines file of what happens in sweeps, as it happens: a plugin for attnlab that listens to its events."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attnlab import hookimpl

VARIABLE = "ATTNLAB_NOTIFY"  # the environment variable that says where to


def tell(event: str, **facts: Any) -> None:
    """Append one line, if ATTNLAB_NOTIFY names a file.

    Raises
    ------
    OSError
        When it cannot be written; attnlab reports that and goes on.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"event": event, "at": at, **facts}, allow_nan=False, ensure_ascii=False) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode("utf-8", "backslashreplace"))  # one write: lines of several sweeps never mix
    finally:
        os.close(descriptor)


@hookimpl
def attnlab_sweep_started(experiment: Any, runs: Any) -> None:
    tell("sweep_started", experiment=experiment.name, question=experiment.question, runs=len(runs))


@hookimpl
def attnlab_run_finished(run: Any, result: Any) -> None:
    measured = {test: _finite(metrics) for test, metrics in result.metrics.items()}
    outcome = {
        "status": result.status,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
        "metrics": measured,
    }
    tell("run_finished", run_id=run.run_id, run=run.label(), **outcome)


@hookimpl
def attnlab_sweep_finished(experiment: Any, frame: Any) -> None:
    runs = frame.drop_duplicates("run_id")["status"]
    tell(
        "sweep_finished",
        experiment=experiment.name,
        statuses={status: int((runs == status).sum()) for status in set(runs)},
    )


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has neither NaN nor infinity: they are null."""
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
