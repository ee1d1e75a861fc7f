"""What is asked of a sweep: the executor, its limits and its other settings, with each experiment's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from attnlab.errors import SettingError
from attnlab.interfaces import settings_of
from attnlab.registry import Own, entry
from attnlab.settings import checked
from attnlab.sweeps.experiment.read import Experiment, parse_memory, parse_time

__all__ = ["executor_of", "limits", "usable"]

OPTIONS = {
    **{"jobs": "--jobs", "address": "--address", "patience": "--patience", "retries": "--retries"},
    **{"time_limit": "--time", "memory_limit": "--memory"},
}


def limits(
    time_limit: float | str | None, memory_limit: int | str | None, patience: float | str | None
) -> dict[str, Any]:
    """The limits that are asked for, as numbers, by the setting of an executor.

    Raises
    ------
    SettingError
        When one is no time or no size.
    """
    found: dict[str, Any] = {}
    given: list[tuple[str, Any, Any]] = [("time_limit", time_limit, parse_time), ("patience", patience, parse_time)]
    for name, value, parse in (*given, ("memory_limit", memory_limit, parse_memory)):
        if value is not None:
            try:
                found[name] = parse(value)
            except ValueError as error:
                raise SettingError(f"{name} {error}") from None
    return found


def usable(
    executor: str | Mapping[str, Mapping[str, Any]] | None, asked: Mapping[str, Any]
) -> str | Mapping[str, Mapping[str, Any]]:
    """The executor that was asked for; by default "local", or "serial" where workers cannot be started.

    Raises
    ------
    SettingError
        When the one that was asked for cannot be used here, or an option needs worker processes and there are none.
    """
    chosen = Own("local") if executor is None else executor
    if not isinstance(chosen, (str, Mapping)) or (isinstance(chosen, Mapping) and len(chosen) != 1):
        raise SettingError(f"executor must be a name, or {{name: {{setting: value}}}} with one name; got {executor!r}")
    name = chosen if isinstance(chosen, str) else next(iter(chosen))
    lacks = entry("executor", name).cls.unavailable()  # type: ignore[attr-defined]
    if not lacks:
        return chosen
    if executor is not None:
        raise SettingError(
            f"the executor {name!r} cannot be used here: {lacks}. "
            f"--executor serial (in Python executor='serial') does the runs in this process"
        )
    if options := [OPTIONS[setting] for setting, value in asked.items() if value is not None]:
        raise SettingError(
            f"{', '.join(options)} cannot be kept here: {lacks}. Leave {'it' if len(options) == 1 else 'them'} out; the "
            f"runs are then done one after another in this process (the executor 'serial')"
        )
    print(f"attnlab: runs are done one after another in this process (the executor 'serial'): {lacks}", file=sys.stderr)
    return Own("serial")


def executor_of(
    executor: str | Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any], experiment: Experiment
) -> dict[str, dict[str, Any]]:
    """The executor of one experiment, `{name: {setting: value}}`, with the jobs and limits that are asked for.

    The experiment's own limits that it does not keep are left out, which is said.

    Raises
    ------
    SettingError
        When a limit that the user asks for is none that this executor keeps, or a setting is mistaken.
    """
    name, given = (executor, None) if isinstance(executor, str) else next(iter(executor.items()))
    cls = entry("executor", name).cls
    known = settings_of(cls)
    own = {"time_limit": experiment.limits.time, "memory_limit": experiment.limits.memory}
    wanted = {setting: value for setting, value in asked.items() if value is not None}
    for setting in wanted:
        if setting not in known:
            raise SettingError(
                f"the executor {name!r} has no {setting} to set, so {OPTIONS[setting]} says nothing to it: "
                f"leave it out, or use the executor {'dask' if setting in ('address', 'patience') else 'local'!r}"
            )
    left_out = [key for key in own if own[key] is not None and key not in known and key not in wanted]
    if left_out:
        print(
            f"attnlab: {experiment.name}: the executor {name!r} does not keep limits: {', '.join(left_out)} of the file "
            f"{'is' if len(left_out) == 1 else 'are'} left out",
            file=sys.stderr,
        )
    kept = {key: value for key, value in own.items() if value is not None and key in known}
    return {name: checked("executor", cls, {**(given or {}), **kept, **wanted})}
