"""What an alignment costs: steps to learn it, parameters, operations, seconds.

They read what a fitted model says of itself (scikit-learn's trailing underscore). A model that does not say is NaN.
"""

from __future__ import annotations

from typing import Any

from attnlab.interfaces import Metric, Source

__all__ = ["FitSeconds", "NParameters", "OperationsPerQuery", "StepsPerSecond", "StepsTo95"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
NAN = float("nan")


class StepsTo95(Metric):
    """The first training step at which validation alignment accuracy is at least 0.95.

        min {t : alignment_accuracy(t) >= 0.95}

    over the entries of `model.validation_curve_`, each a mapping with `step` and `alignment_accuracy`; as fine as the
    model looks. NaN if it never is, or if the model keeps no curve. Range 0 upwards, in steps; down is better.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> curve = [{"step": 10, "alignment_accuracy": 0.5}, {"step": 20, "alignment_accuracy": 0.97}]
    >>> StepsTo95().measure(SimpleNamespace(validation_curve_=curve))
    20.0
    """

    name = "steps_to_95"
    source = HERE
    direction = "down"
    bounds = (0.0, float("inf"))
    per = "run"

    def applies(self, data: Any) -> bool:
        return data.gold is not None

    def measure(self, model: Any) -> float:
        for entry in getattr(model, "validation_curve_", ()):
            if entry.get("alignment_accuracy", NAN) >= 0.95 - 1e-12:  # a share of 0.95, but for rounding
                return float(entry["step"])
        return NAN


class NParameters(Metric):
    """Number of learned numbers.

    `model.n_parameters_`: the elements of all learned arrays, projections included. Range 0 upwards, a count; down is
    better.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> NParameters().measure(SimpleNamespace(n_parameters_=512))
    512.0
    """

    name = "n_parameters"
    source = HERE
    direction = "down"
    bounds = (0.0, float("inf"))
    per = "run"

    def measure(self, model: Any) -> float:
        return float(getattr(model, "n_parameters_", NAN))


class OperationsPerQuery(Metric):
    """Floating-point operations to answer one query.

    `model.operations_per_query_`, as the model counts them. Range 0 upwards, in operations; down is better.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> OperationsPerQuery().measure(SimpleNamespace(operations_per_query_=2048))
    2048.0
    """

    name = "operations_per_query"
    source = HERE
    direction = "down"
    bounds = (0.0, float("inf"))
    per = "run"

    def measure(self, model: Any) -> float:
        return float(getattr(model, "operations_per_query_", NAN))


class FitSeconds(Metric):
    """Wall time of the fit.

    Range 0 upwards, in seconds; down is better. A cost: it differs from one run to the next.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> FitSeconds().measure(1.5)
    1.5
    """

    name = "fit_seconds"
    source = HERE
    direction = "down"
    bounds = (0.0, float("inf"))
    per = "run"

    def measure(self, fit_seconds: float) -> float:
        return float(fit_seconds)


class StepsPerSecond(Metric):
    """Training steps per second of wall time.

        model.n_iter_ / fit_seconds

    NaN when nothing was trained. Range 0 upwards, in 1/s; up is better.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> StepsPerSecond().measure(SimpleNamespace(n_iter_=300), 1.5)
    200.0
    """

    name = "steps_per_second"
    source = HERE
    direction = "up"
    bounds = (0.0, float("inf"))
    per = "run"

    def measure(self, model: Any, fit_seconds: float) -> float:
        steps = getattr(model, "n_iter_", 0)
        return steps / fit_seconds if steps and fit_seconds > 0 else NAN
