"""The unit of each feature, and the bandwidth at which a row attends to a given number of others."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.spatial import KDTree
from scipy.special import entr

from attnlab.models.tabular.learning import Memory, project
from attnlab.models.training import cast

__all__ = ["bandwidth", "middle_and_unit"]

FENCE = 8.0  # multiple of the distance from the median within which three quarters of the values lie
ASKED = 2**19  # pairs used to search for the bandwidth, from at least 64 rows
CHECKED = 2**22  # pairs used to refine it, from 256 rows if that is at most four times as many pairs
WIDE = 1000.0  # multiple of the largest distance, beyond which the weights no longer change
TOLERANCE = 1e-3  # on the logarithm of a number of neighbours

Array = np.ndarray[Any, Any]


# --------------------------------------------------------------------------------------------------------------------
# the unit of a feature
# --------------------------------------------------------------------------------------------------------------------
def middle_and_unit(X: Array, w: Array | None) -> tuple[Array, Array]:
    """The means (d,) and standard deviations (d,) of features, without values that are far beyond all others.

    Take the distance from the median within which three quarters of the values lie. Values equal to the median do not count,
    because a feature may have one value nearly everywhere. A value further away than `FENCE` times this distance is left out.
    Thus a rare value, or a number that means "missing", does not set the unit. No unit makes squares vanish.
    """
    size = abs(X).max(axis=0).astype(np.float64)
    size[size == 0] = 1
    R, counts = X / size, np.ones(len(X)) if w is None else w
    found = [_of_one(R[:, f], counts) for f in range(X.shape[1])]
    middle, unit = np.array(found).reshape(-1, 2).T
    return middle * size, unit * size


def _of_one(x: Array, counts: Array) -> tuple[float, float]:
    order = np.argsort(x)
    sums = np.cumsum(counts[order], dtype=np.float64)
    ends = (sums.searchsorted(sums[-1] / 2 * (1 - 1e-9)), sums.searchsorted(sums[-1] / 2 * (1 + 1e-9)))
    median = x[order[np.minimum(ends, len(x) - 1)]].mean()
    away = abs(x - median)
    inside = np.ones(len(x), dtype=bool)
    if (other := away > 10 * np.finfo(np.float64).eps * abs(median)).any():
        distances, their = away[other], counts[other]
        order = np.argsort(distances)
        sums = np.cumsum(their[order], dtype=np.float64)
        inside = away <= FENCE * distances[order[sums.searchsorted(0.75 * sums[-1] * (1 - 1e-9))]]
    mean = np.average(x[inside], weights=counts[inside])
    return mean, math.sqrt(np.average((x[inside] - mean) ** 2, weights=counts[inside]))


# --------------------------------------------------------------------------------------------------------------------
# how wide to look
# --------------------------------------------------------------------------------------------------------------------
def bandwidth(memory: Memory, params: Any, n_neighbors: float) -> tuple[float, float]:
    """(h, got): the h for which rows / h attend to `n_neighbors` others, effectively, and to how many they do.

    The effective number is the exponential of the weights' entropy, the perplexity of stochastic neighbour embedding. Here it
    is the geometric mean over rows. A row does not see rows that are equal to it. Sample weights count as repetitions. The
    number is at least one and at most a quarter of the rows. If there are many rows, an evenly spaced sample of the sorted rows
    is used. All is computed in float64.

    Sometimes no h gives the number. If a row has more nearest others than that, because they are repeated or equally near, h is
    the widest at which a row attends to them alone. If there are fewer others in all, h is the narrowest at which a row attends
    to all. If the number does not depend on h at all, h is a fifth of the typical distance to the nearest other.
    """
    X, index = np.unique(memory.X, axis=0, return_inverse=True)
    if len(X) == 1:
        return 1.0, 0.0
    w = np.bincount(index.reshape(-1), weights=memory.counts)
    params = cast(params, np.float64)
    Z = project(params["projection"], X.astype(np.float64))
    size = float(abs(Z).max())
    if not 0 < size < np.inf:
        return 1.0, math.nan
    total, numbers = float(w.sum()), memory.numbers(Z.shape[1])
    rows = max(64, ASKED // (len(Z) * numbers))
    asked, shares = _spread_out(w, rows)
    nearest = KDTree(Z / size).query(Z[asked] / size, k=2, p=np.inf)[0][:, 1]
    if not (apart := nearest > 0).any():
        return 1.0, math.nan
    typical = math.log(size) + float(np.average(np.log(nearest[apart]), weights=shares[apart]))
    narrow = (
        float(np.finfo(memory.X.dtype).eps) ** 0.25
    )  # of the least: then distances alike but for rounding still are
    low = math.log(size) + math.log(nearest[apart].min() * narrow)
    high = math.log(size) + math.log(2 * Z.shape[1] * WIDE)
    goal = max(math.log(max(1.0, min(n_neighbors, total / 4))), TOLERANCE)
    scale = math.hypot(*middle_and_unit(Z, w)[1]) / math.sqrt(Z.shape[1])
    start = min(max(math.log(scale) if scale else typical, low), high)

    def others(asked: Array, shares: Array) -> Callable[[float], float]:
        return functools.cache(lambda log_h: _log_neighbours(memory, params, Z, w, asked, shares, log_h))

    all_asked = len(asked) == len(Z)
    f = others(asked, shares)
    found, met = _solved(f, goal, start, low, high, 1.0, typical, 1e-12 if all_asked else TOLERANCE)
    if met and not all_asked:
        rows = max(rows, CHECKED // (len(Z) * numbers), min(256, 4 * CHECKED // (len(Z) * numbers)))
        f = others(*_spread_out(w, rows))
        found, _ = _solved(f, goal, found, low, high, 0.05, typical, TOLERANCE / 10)
    return math.exp(found), math.exp(f(found))


def _spread_out(w: Array, rows: int) -> tuple[Array, Array]:
    """At most so many of the sorted rows, evenly spaced by sample weight, and the share of each in the mean."""
    if rows >= len(w):
        return np.arange(len(w)), w / w.sum()
    places = np.cumsum(w).searchsorted((np.arange(rows) + 0.5) * (w.sum() / rows))
    return places.clip(max=len(w) - 1), np.full(rows, 1 / rows)


def _log_neighbours(
    memory: Memory, params: Any, Z: Array, w: Array, asked: Array, shares: Array, log_h: float
) -> float:
    """The mean logarithm of the effective number of others that the sampled rows attend to."""
    scaled, log_w, total = Z / math.exp(log_h), np.log(w), 0.0
    for here in memory.blocks(len(asked), len(Z), Z.shape[1]):
        mine = asked[here]
        W, _ = memory.weights(params, scaled[mine], scaled, w, mine[:, None] != np.arange(len(Z))[None, :])
        P = W / np.maximum(W.sum(axis=-1, keepdims=True), np.finfo(W.dtype).tiny)
        entropy = entr(P).sum(axis=-1)
        total += float(shares[here] @ (entropy + P @ log_w if log_w.any() else entropy))
    return total


def _solved(
    f: Callable[[float], float],
    goal: float,
    start: float,
    low: float,
    high: float,
    step: float,
    typical: float,
    xtol: float,
) -> tuple[float, bool]:
    """Where the rising function f equals `goal`, and whether it does; the bracket (`low`, `high`) widens if need be."""
    known = {start: f(start)}
    here = start
    while (known[here] > goal and here > low) or (known[here] < goal and here < high):
        up = known[here] < goal
        after = min(high, here + step) if up else max(low, here - step)
        known[after] = f(after)
        if (known[after] < goal) != up:
            break
        here, step = after, 2 * step
    places = sorted(known)
    least, most = known[places[0]], known[places[-1]]
    met = least <= goal <= most
    if not met:  # then the weights no longer change beyond one end
        end = places[0] if least > goal else places[-1]
        other = high if least > goal else low
        if other not in known:
            known[other] = f(other)
        if not abs(known[other] - known[end]) > 2 * TOLERANCE:
            return typical - math.log(5), False
        goal = known[end] + (TOLERANCE if least > goal else -TOLERANCE)
        places = sorted(known)
    below = max((p for p in places if known[p] <= goal), default=places[0])
    above = min((p for p in places if p > below and known[p] >= goal), default=places[-1])
    if known[below] == goal or not (known[below] < goal < known[above]):
        return (below if known[below] == goal else above if known[above] == goal else start), met
    return float(brentq(lambda x: f(x) - goal, below, above, xtol=max(xtol, 4e-16 * abs(below)))), met
