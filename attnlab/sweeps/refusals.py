"""Runs that cannot be carried out, known from their parts alone: planned with a reason, and recorded as `skipped`."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from attnlab.guard import called
from attnlab.registry import kept
from attnlab.sweeps.execute import candidates, model_of
from attnlab.sweeps.executors.strangers import is_apart
from attnlab.sweeps.plan import Planned
from attnlab.sweeps.run import Result, Run

__all__ = ["Refusing", "refusal", "with_refusals"]


def refusal(run: Run) -> str:
    """Why a run cannot be carried out, whatever its data are; empty where nothing is known against it.

    A run that is tuned is refused if one of its candidates is. A run whose parts cannot be built is not refused: it fails, and says
    why.
    """
    spec = {name: run.spec.get(name) for name in ("mechanism", "model", "tune")}
    key = "refusal", json.dumps(spec, sort_keys=True, default=str)
    found: str | None = (mine := kept()).get(key)
    if found is None:
        found = mine[key] = _refusal(run)
    return found


def _refusal(run: Run) -> str:
    def asked() -> str:
        reasons = (model_of(run, chosen).refusal() for chosen in candidates(run.spec.get("tune", {})))
        return next((str(why) for why in reasons if why), "")

    if is_apart(run):  # code of others is guarded wherever it is called
        answer = called(asked)
        return answer.value if answer.error is None else ""
    try:
        return asked()
    except Exception:  # what is wrong is said where the run is carried out
        return ""


def with_refusals(decided: Iterable[Planned]) -> tuple[Planned, ...]:
    """What was decided; runs that are refused are not to run but to skip, and each says why."""
    return tuple(_with_refusal(p) for p in decided)


def _with_refusal(planned: Planned) -> Planned:
    if planned.action == "run" and (why := refusal(planned.run)):
        return dataclasses.replace(planned, action="skip", reason=f"{planned.reason}; refused: {why}")
    if planned.action == "keep" and planned.reason == "done: skipped" and (why := refusal(planned.run)):
        return dataclasses.replace(planned, reason=f"{planned.reason}: {why}")
    return planned


class Refusing:
    """An executor in front of another: it answers itself for runs that are refused, and hands on all others.

    Parameters
    ----------
    executor : Executor
    """

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._refused: deque[tuple[Run, Result]] = deque()

    def submit(self, run: Run) -> None:
        if why := refusal(run):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._refused.append((run, Result("skipped", reason=why, started_at=now)))
        else:
            self._executor.submit(run)

    def as_completed(self) -> Iterator[tuple[Run, Result]]:
        yield from self._answers()
        for done in self._executor.as_completed():
            yield done
            yield from self._answers()

    def _answers(self) -> Iterator[tuple[Run, Result]]:
        while self._refused:
            yield self._refused.popleft()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
