"""From weights to links, and which queries count: the rules that the metrics share."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.metrics.sharing import once
from attnlab.shapes import check_shapes

__all__ = [
    "asked",
    "gold_of",
    "heaviest",
    "heaviest_of",
    "linked",
    "links",
    "mean_over",
    "null",
    "shares",
    "shares_of",
    "weights_of",
]

Array = np.ndarray[Any, Any]


def gold_of(data: AlignmentData) -> Array:
    """The gold alignment (n, q, k).

    Raises
    ------
    ValueError
        When the data have none; `metric.applies(data)` tells before.
    """
    if data.gold is None:
        raise ValueError("these data have no gold alignment to measure against; metric.applies(data) tells before")
    return data.gold


@once
def linked(data: AlignmentData) -> Array:
    """bool (n, q, k): the gold links."""
    return np.asarray(gold_of(data) > 0)


@once
def asked(data: AlignmentData) -> Array:
    """bool (n, q): queries that are alive (no padding) and have a gold link.

    >>> data = AlignmentData([[[1.0], [2.0]]], [[[1.0]]], [[[1.0]]], gold=[[[1], [0]]])
    >>> asked(data).tolist()
    [[True, False]]
    """
    return data.alive & linked(data).any(axis=-1)


def null(data: AlignmentData) -> Array:
    """bool (n, q): null queries, alive and without a gold link."""
    return data.alive & ~asked(data)


@once
def weights_of(data: AlignmentData, W: Any) -> Array:
    """The weights as a NumPy array (n, q, k), 0 where the data's mask forbids.

    Raises
    ------
    ShapeError
        When W is not (n, q, k).
    """
    W = np.asarray(W)
    check_shapes(Q=("n q d", data.Q), K=("n k e", data.K), W=("n q k", W))
    return W if data.mask is None and W.dtype.kind == "f" else np.where(data.allowed, W, 0.0)


@once
def shares_of(data: AlignmentData, W: Any) -> tuple[Array, Array]:
    """Weights as shares (n, q, k), p = max(w, 0) / sum max(w, 0), and bool (n, q): where there is a positive weight."""
    return shares(weights_of(data, W))


def shares(W: Any) -> tuple[Array, Array]:
    """Weights (..., k) as shares, and bool (...): where there is a positive weight; the others have shares of 0."""
    w = np.maximum(np.asarray(W, dtype=np.float64), 0)
    total = w.sum(axis=-1, keepdims=True)
    return w / np.where(total > 0, total, 1), total[..., 0] > 0


@once
def heaviest_of(data: AlignmentData, W: Any) -> Array:
    """bool (n, q, k): `heaviest` of weights among the keys that the data allow."""
    return heaviest(weights_of(data, W), data.allowed)


def mean_over(values: Array, rows: Array) -> float:
    """The mean of values (n, q) over rows (n, q), NaN when there is none."""
    return float(values[rows].mean()) if rows.any() else float("nan")


def heaviest(W: Array, allowed: Array) -> Array:
    """bool (n, q, k): the allowed keys of the greatest weight of each query, all of them where several are equal.

    Weights that differ by less than eight units in the last place of the greatest count as equal, so that the order of
    the keys, which changes how sums are rounded, changes nothing.

    >>> W = np.array([[[0.4, 0.4, 0.2, 0.9]]])
    >>> heaviest(W, np.array([[[True, True, True, False]]])).tolist()
    [[[True, True, False, False]]]
    """
    if W.dtype.kind != "f":
        W = W.astype(np.float64)
    top = np.max(W, axis=-1, keepdims=True, where=allowed, initial=-np.inf)  # -inf where nothing is allowed
    slack = 8 * np.finfo(W.dtype).eps * np.abs(np.where(np.isfinite(top), top, 0))
    return allowed & (top - slack <= W)


def links(W: Any, allowed: Any = None, null_below: float = 0.5) -> Array:
    """Links read off weights: each query is linked to its heaviest key, unless it is predicted null.

    A query is predicted null when its total weight over the allowed keys is at most `null_below`: half of what softmax
    would spend. Rows that sum to one are never null. Where several keys are equally the heaviest, all are linked (an
    undecided query pays with its precision). A query that may attend to nothing has no links.

    Parameters
    ----------
    W : array (..., q, k)
        Weights.
    allowed : bool array (..., q, k), or None for all
        True = may attend.
    null_below : float
        The greatest total weight of a query predicted null.

    Returns
    -------
    bool array (..., q, k)

    Examples
    --------
    >>> links([[0.1, 0.9], [0.1, 0.2]]).astype(int).tolist()
    [[0, 1], [0, 0]]
    """
    W = np.asarray(W)
    allowed = np.ones(W.shape, dtype=bool) if allowed is None else np.broadcast_to(np.asarray(allowed), W.shape)
    slack = (
        8 * np.finfo(np.result_type(W, np.float16)).eps * null_below
    )  # a sum of as much, but for rounding, is no more
    speaks = np.where(allowed, W, 0).sum(axis=-1, keepdims=True) > null_below + slack
    return heaviest(W, allowed) & speaks
