"""What happens in a sweep, told to hooks of others: each gets copies, so that none changes what the sweep goes on with."""

from __future__ import annotations

import copy
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from attnlab.plugins import plugins
from attnlab.sweeps.executors.strangers import hooks_of_others
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.run import Result, Run
from attnlab.tables import visible

if TYPE_CHECKING:
    from attnlab.sweeps.store import Store

__all__ = ["told"]

_TABLES = ("metrics", "facts", "versions", "fingerprints")


def told(opened: Store, event: str, **facts: Any) -> None:
    """Tell every plugin of an event; what their hooks raise or change is said on stderr."""
    if not hooks_of_others():
        return
    failures: list[str] = []
    try:
        with opened.lent():
            failures = plugins().report(event, lambda: {name: _copied(fact) for name, fact in facts.items()})
    finally:
        for failure in failures:
            print(f"attnlab: {visible(failure)}", file=sys.stderr)


def _copied(fact: Any) -> Any:
    """The same, of which nothing that can be changed is shared."""
    if isinstance(fact, Run):
        return Run(fact.canonical, fact.run_id, fact.metrics, fact.time_limit)
    if isinstance(fact, Result):
        tables: dict[str, Any] = {name: copy.deepcopy(getattr(fact, name)) for name in _TABLES}
        return dataclasses.replace(fact, **tables)
    if isinstance(fact, Experiment):
        return fact.model_copy(deep=True)
    if isinstance(fact, list):
        return [_copied(one) for one in fact]
    return fact.copy() if hasattr(fact, "copy") else fact  # a table
