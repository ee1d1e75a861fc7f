"""Budgets: widths are chosen so that all mechanisms of an experiment cost about the same, as nearly as whole numbers allow.

    budget: {parameters: 10k}      or {operations: 20k}, of one query

For each task, mechanism and model the width with the nearest cost is searched: the cost of a width is that of a model that takes no
step. What is planned is a run with that width, like any other.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping
from typing import Any

from attnlab.errors import AttnlabError, ExperimentError
from attnlab.interfaces import settings_of
from attnlab.registry import Own, build, built, entry
from attnlab.sweeps.columns import buildable, buildable_settings
from attnlab.sweeps.execute import splits_of
from attnlab.sweeps.experiment.budgets import Budget
from attnlab.sweeps.run import Run

__all__ = ["MOST", "matched"]

MOST = 0.1  # of the budget, that a cost may be off
WIDEST = 2**16
_STEPS = ("steps", "iterations", "max_iter")


def matched(budget: Budget, spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The specification of a run with the width whose cost is nearest to the budget.

    Parameters
    ----------
    budget : Budget
    spec : mapping
        A run without its seed, as `Run` describes it.
    name : str
        Of the experiment, for messages.

    Raises
    ------
    ExperimentError
        When the nearest cost is more than 10 % off, or the model has no such width.
    """
    ((model, settings),) = spec["model"].items()
    width = budget.width_of(model)
    if width not in settings:
        raise ExperimentError(
            f"{name}: budget: the model {model} has no setting {width!r} to choose; write `budget: {{width: ...}}` with one of "
            f"{', '.join(s for s in settings if isinstance(settings[s], int)) or 'its whole numbers'}"
        )
    text = json.dumps({**spec, "seed": 0}, sort_keys=True)
    try:
        found, cost = _nearest(budget.what, budget.target, text, width)
    except (AttnlabError, ValueError, TypeError) as error:
        raise ExperimentError(f"{name}: budget: the cost of {Run(text).label()} cannot be counted: {error}") from error
    if abs(cost - budget.target) > MOST * budget.target:
        raise ExperimentError(
            f"{name}: budget: {Run(text).label()} has {cost:g} {budget.what} at {width} = {found}, the nearest, which is "
            f"{100 * (cost / budget.target - 1):+.0f} % off the {budget.target:g} asked for; at most 10 % are allowed: "
            f"change the budget, or leave this one out"
        )
    return {**spec, "model": {model: {**settings, width: found}}}


@functools.lru_cache(maxsize=4096)
def _nearest(what: str, target: float, text: str, width: str) -> tuple[int, float]:
    """The width whose cost is nearest, and the cost; costs grow with the width."""

    @functools.cache
    def cost(n: int) -> float:
        return _cost(what, text, width, n)

    low, high = 1, 2
    while cost(high) < target and high < WIDEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < target else (low, middle)
    best = min((low, high), key=lambda n: abs(cost(n) - target))
    return best, cost(best)


def _cost(what: str, text: str, width: str, n: int) -> float:
    """What a model of some width costs, before it takes a step."""
    spec = json.loads(text)
    ((name, settings),) = spec["model"].items()
    cls = entry("model", Own(name)).cls
    settings = {**settings, width: n} | {s: 0 for s in _STEPS if s in settings_of(cls)}
    if "early_stopping" in settings:
        settings["early_stopping"] = False
    mechanism = build("mechanism", buildable("mechanism", spec["mechanism"]))
    model: Any = cls(**built(cls, buildable_settings("model", name, settings)), mechanism=mechanism, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(splits_of(Run.of({key: value for key, value in spec.items() if key != "tune"})).train)
    return float(getattr(model, {"parameters": "n_parameters_", "operations": "operations_per_query_"}[what]))
