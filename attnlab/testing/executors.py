"""X9xx: what executors keep."""

from __future__ import annotations

import contextlib
from typing import Any

from attnlab.errors import SettingError
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.run import Result, Run
from attnlab.testing.checks import check
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Subject

SMALL = {  # an experiment whose runs are done at once
    "attnlab": 1,
    "question": "Does the executor carry out its runs?",
    "task": {"lookup": {"n_keys": 2, "d": 2, "n_train": 2, "n_validation": 2, "n_test": 2}},
    "model": {"aligner": {"steps": 0}},
    "seeds": 2,
}


def _started(s: Subject, runs: list[Run]) -> Any:
    """An executor of its own, to which the runs are submitted; what is not installed or set up here cannot be checked."""
    executor = s.renewed().object
    if lacks := executor.unavailable():
        raise Skipped(f"it cannot be used here: {lacks}")
    try:
        for run in runs:
            executor.submit(run)
    except SettingError as refusal:
        executor.close()
        raise Skipped(f"it cannot be used here: {refusal}") from None
    return executor


def _completed(executor: Any) -> dict[Run, Result]:
    results: dict[Run, Result] = {}
    for given in executor.as_completed():
        if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Result)):
            raise Failed(f"as_completed must yield (run, Result); got {given!r}")
        run, result = given
        if run in results:
            raise Failed(f"the run {run.run_id} comes back twice")
        results[run] = result
    return results


@check("X901", "executor")
def executor_gives_each_run_back(s: Subject) -> None:
    """Each submitted run comes back once, with its Result; one that cannot be carried out as `failed`, not as an exception."""
    good, other = plan(read(SMALL))
    bad = Run.of({**other.spec, "task": {"no_such_task": {}}})
    with contextlib.closing(_started(s, [bad, good])) as executor:
        results = _completed(executor)
    if set(results) != {good, bad}:
        raise Failed(f"of 2 submitted runs {len(set(results) & {good, bad})} came back, and {len(results)} in all")
    found = (results[good].status, results[bad].status)
    if found != ("ok", "failed"):
        raise Failed(f"a sound run and one that cannot be ended as {found} instead of ('ok', 'failed')")


@check("X902", "executor")
def executor_lets_go(s: Subject) -> None:
    """A run that is cancelled before it began yields nothing, and closing twice does nothing."""
    first, second = plan(read(SMALL))
    executor = _started(s, [first, second])
    executor.cancel(second)
    results = _completed(executor)
    executor.close()
    executor.close()
    if set(results) != {first}:
        raise Failed(f"one of 2 runs was cancelled, and {len(results)} came back")
