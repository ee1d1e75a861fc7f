"""What the contexts predict, against the target: an error for vectors, accuracy for classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.interfaces import Metric, Source
from attnlab.metrics.links import heaviest, mean_over
from attnlab.shapes import check_shapes

__all__ = ["Accuracy", "ContextError", "ExactMatch"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")


class ContextError(Metric):
    """Mean squared error of the contexts, per element of the target.

        mean over queries that are alive, and features, of (Y - target)^2

    For float targets (n, q, v). Range 0 upwards, in squared units of the target: where targets have unit variance,
    guessing zero gives 1. NaN where no query is alive; down is better.

    Raises
    ------
    ShapeError
        When Y has not the target's shape.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0]]], [[[1.0, 3.0]]], target=[[[1.0, 3.0]]])
    >>> ContextError().measure(data, [[[1.0, 1.0]]])
    2.0
    """

    name = "context_error"
    source = HERE
    direction = "down"
    bounds = (0.0, float("inf"))

    def applies(self, data: AlignmentData) -> bool:
        return data.target is not None and not data.is_classification

    def measure(self, data: AlignmentData, Y: Any) -> float:
        Y = np.asarray(Y)
        check_shapes(target=("n q v", data.target), Y=("n q v", Y))
        return mean_over(((Y - data.target) ** 2).mean(axis=-1), data.alive)


class Accuracy(Metric):
    """Share of queries whose class is predicted.

    For integer targets (n, q); Y (n, q, classes) holds a score for each class. A query whose greatest scores are equal
    scores what choosing among them at random would on average. Averaged over the queries that are alive, NaN where
    there is none. Range 0 to 1, dimensionless; up is better.

    Raises
    ------
    ShapeError
        When Y is not (n, q, classes).

    References
    ----------
    Defined here.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0]]], [[[0.0, 1.0]]], target=[[1]])
    >>> Accuracy().measure(data, [[[0.2, 0.8]]])
    1.0
    """

    name = "accuracy"
    source = HERE
    direction = "up"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.is_classification

    def measure(self, data: AlignmentData, Y: Any) -> float:
        Y = np.asarray(Y)
        check_shapes(target=("n q", data.target), Y=("n q c", Y))
        top = heaviest(Y, np.ones(Y.shape, dtype=bool))
        right = np.arange(Y.shape[-1]) == data.target[:, :, None]  # type: ignore[index]
        return mean_over((top & right).sum(axis=-1) / np.maximum(top.sum(axis=-1), 1), data.alive)


class ExactMatch(Metric):
    """Share of examples in which every query's class is predicted.

    For integer targets (n, q); Y (n, q, classes) holds a score for each class. An example counts when the greatest score of
    each of its queries that are alive is its class's alone; NaN where no query is alive. A model of sentences that has an
    `exact_match` of its own is asked instead, where the data have tokens: a sentence that goes on after its end is no match,
    which the scores of its queries cannot tell. Range 0 to 1, dimensionless; up is better.

    Raises
    ------
    ShapeError
        When Y is not (n, q, classes).

    References
    ----------
    Defined here.

    Examples
    --------
    >>> data = AlignmentData([[[1.0], [1.0]]], [[[1.0]]], [[[0.0, 1.0]]], target=[[1, 0]])
    >>> ExactMatch().measure(data, [[[0.2, 0.8], [0.6, 0.4]]]), ExactMatch().measure(data, [[[0.2, 0.8], [0.4, 0.6]]])
    (1.0, 0.0)
    """

    name = "exact_match"
    source = HERE
    direction = "up"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.is_classification

    def measure(self, data: AlignmentData, Y: Any, model: Any = None) -> float:
        if data.tokens is not None and hasattr(model, "exact_match"):
            return float(model.exact_match(data))
        Y = np.asarray(Y)
        check_shapes(target=("n q", data.target), Y=("n q c", Y))
        top = heaviest(Y, np.ones(Y.shape, dtype=bool))
        right = np.arange(Y.shape[-1]) == data.target[:, :, None]  # type: ignore[index]
        alone = (top & right).any(axis=-1) & (top.sum(axis=-1) == 1)
        asked = data.alive.any(axis=-1)
        return float((alone | ~data.alive).all(axis=-1)[asked].mean()) if asked.any() else float("nan")
