"""How the weights lie over the keys: on a sink, in few hands, along the diagonal, in order, and alike from head to head.

None has a better direction, since none asks what the weights ought to be. All look at the keys that the data's mask allows, of
queries that are alive; NaN where there is none.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.interfaces import Metric, Source
from attnlab.metrics.links import mean_over, shares, shares_of

__all__ = ["DiagonalDistance", "HeadRedundancy", "MonotonicityViolations", "SinkMass", "WeightGini"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")


class SinkMass(Metric):
    """Mean share of the weight on the first key.

        p_1,   p = max(w, 0) / sum max(w, 0),

    where key 1 is the first that any query of the example may attend to, averaged over the queries that may attend to it and to
    another, and have a positive weight. Range 0 to 1, dimensionless; no direction: where the first key is gold it should be high.

    Notes
    -----
    A mechanism whose weights must sum to one needs a key to spend them on where nothing fits. Without any need the share is about
    1/k.

    References
    ----------
    Xiao et al. (2023), Efficient streaming language models with attention sinks.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]])
    >>> SinkMass().measure(data, [[[0.75, 0.25]]])
    0.75
    """

    name = "sink_mass"
    source = Source(
        "Efficient Streaming Language Models with Attention Sinks", "G. Xiao et al.", 2023, "arXiv:2309.17453"
    )
    direction = None
    bounds = (0.0, 1.0)

    def measure(self, data: AlignmentData, W: Any) -> float:
        p, weighs = shares_of(data, W)
        if not p.shape[-1]:
            return float("nan")
        first = data.allowed.any(axis=1).argmax(axis=-1)[:, None, None]  # (n, 1, 1)
        here, sees = (np.take_along_axis(a, first, axis=-1)[..., 0] for a in (p, data.allowed))
        return mean_over(here, sees & weighs & (data.allowed.sum(axis=-1) > 1))


class WeightGini(Metric):
    """Mean Gini coefficient of the weights: 0 where all keys have the same, 1 where one has all.

        G = sum_ij |p_i - p_j| / (2 (m - 1) sum_j p_j),   p = max(w, 0),

    with m the number of keys that the query may attend to, averaged over the queries with m > 1 and any positive weight. Dividing
    by m - 1 instead of m lets one key that has all give 1 for every m. Range 0 to 1, dimensionless; no direction.

    References
    ----------
    Hurley and Rickard (2009), Comparing measures of sparsity.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0], [3.0]]], [[[1.0], [2.0], [3.0]]])
    >>> [WeightGini().measure(data, [[w]]) for w in ([0.25, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5])]
    [0.0, 1.0, 0.5]
    """

    name = "weight_gini"
    source = Source(
        "Comparing Measures of Sparsity",
        "N. Hurley, S. Rickard",
        2009,
        "IEEE Transactions on Information Theory 55(10)",
    )
    direction = None
    bounds = (0.0, 1.0)

    def measure(self, data: AlignmentData, W: Any) -> float:
        p, weighs = shares_of(data, W)
        m = data.allowed.sum(axis=-1)
        rows = weighs & (m > 1)
        least_first = np.sort(np.where(data.allowed, p, -1.0), axis=-1)[rows]  # forbidden keys come first
        rank = np.arange(1, data.n_keys + 1) - (data.n_keys - m[rows])[:, None]  # 1..m of the allowed
        gini = (np.maximum(least_first, 0) * (2 * rank - m[rows][:, None] - 1)).sum(axis=-1) / (m[rows] - 1)
        return float(np.clip(gini, 0, 1).mean()) if gini.size else float("nan")


class DiagonalDistance(Metric):
    """Mean distance of the weights from the diagonal of the example.

        sum_j p_j |(i - 1) / (q - 1) - (j - 1) / (k - 1)|,   p = max(w, 0) / sum max(w, 0),

    where i and j count the queries that are alive and the keys that any of them may attend to, q and k are their numbers, and a
    single one lies at 0. Averaged over the queries with a positive weight. 0: the alignment goes straight from the first pair to
    the last. Uniform weights have about 1/3. Range 0 to 1, as a share of the length; no direction, since not every alignment is
    straight.

    References
    ----------
    Tachibana, Uenoyama and Aihara (2018), section 3, whose guided attention punishes this distance.

    Examples
    --------
    >>> data = AlignmentData([[[1.0], [2.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]])
    >>> DiagonalDistance().measure(data, [[[1.0, 0.0], [0.0, 1.0]]]), DiagonalDistance().measure(data, [[[0, 1], [1, 0]]])
    (0.0, 1.0)
    """

    name = "diagonal_distance"
    source = Source(
        "Efficiently Trainable Text-to-Speech System Based on Deep Convolutional Networks with Guided Attention",
        "H. Tachibana, K. Uenoyama, S. Aihara",
        2018,
        "ICASSP",
    )
    direction = None
    bounds = (0.0, 1.0)

    def measure(self, data: AlignmentData, W: Any) -> float:
        p, weighs = shares_of(data, W)
        i, j = _along(data.alive), _along(data.allowed.any(axis=1))
        away = np.abs(i[:, :, None] - j[:, None, :])
        return mean_over((p * away).sum(axis=-1), weighs & data.alive)


def _along(there: Any) -> Any:
    """(n, m) of bool (n, m): the place of each among those that are there, from 0 to 1."""
    place = np.cumsum(there, axis=-1) - 1
    return np.maximum(place, 0) / np.maximum(there.sum(axis=-1, keepdims=True) - 1, 1)


class MonotonicityViolations(Metric):
    """Share of steps at which the attention goes back.

        c_i = sum_j p_ij j,   p = max(w, 0) / sum max(w, 0);   a step i -> i + 1 goes back if c_(i+1) < c_i

    of the steps from each query that is alive and has a positive weight to the next such one. A step back of less than 1e-9 keys
    is none. NaN without a step. Range 0 to 1, dimensionless; no direction, since not every alignment is monotonic.

    Notes
    -----
    The centre c of the weights, and not the heaviest key, says where a query looks: it needs no rule for ties. A softmax that
    spreads its weight has centres that hardly move, and may go back by little.

    References
    ----------
    Raffel et al. (2017), Online and linear-time attention by enforcing monotonic alignments, for monotonic alignments.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]] * 3], [[[1.0], [2.0]]], [[[1.0], [2.0]]])
    >>> MonotonicityViolations().measure(data, [[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]])
    0.5
    """

    name = "monotonicity_violations"
    source = Source(
        "Online and Linear-Time Attention by Enforcing Monotonic Alignments",
        "C. Raffel, M.-T. Luong, P. J. Liu, R. J. Weiss, D. Eck",
        2017,
        "ICML",
    )
    direction = None
    bounds = (0.0, 1.0)

    def measure(self, data: AlignmentData, W: Any) -> float:
        p, weighs = shares_of(data, W)
        centre, rows = (p * np.arange(data.n_keys)).sum(axis=-1), weighs & data.alive
        i, j = rows.nonzero()  # (example, query) of those that are there, in order
        moves = np.diff(centre[i, j])[i[1:] == i[:-1]]
        steps, back = moves.size, int((moves < -1e-9).sum())
        return back / steps if steps else float("nan")


class HeadRedundancy(Metric):
    """How alike the heads are: 1 where all have the same weights, 0 where no two share a key.

        1 - JS(p_g || p_h) / log 2,   JS(p || r) = (KL(p || m) + KL(r || m)) / 2,   m = (p + r) / 2

    with p_h the weights of head h as shares, p = max(w, 0) / sum max(w, 0), averaged over the pairs of heads and the queries that
    are alive and to which both heads give a positive weight. NaN for a mechanism of one head, and for a model whose `align` knows
    no `heads`. Range 0 to 1, dimensionless; no direction.

    References
    ----------
    Lin (1991), Divergence measures based on the Shannon entropy, for JS; Clark et al. (2019), section 6, for comparing heads by
    it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]])
    >>> class Fitted:
    ...     def align(self, X, heads=False):
    ...         return np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> HeadRedundancy().measure(data, Fitted())
    0.0
    """

    name = "head_redundancy"
    source = Source(
        "Divergence Measures Based on the Shannon Entropy",
        "J. Lin",
        1991,
        "IEEE Transactions on Information Theory 37(1)",
    )
    direction = None
    bounds = (0.0, 1.0)

    def measure(self, data: AlignmentData, model: Any) -> float:
        align = getattr(model, "align", None)
        if align is None or "heads" not in inspect.signature(align).parameters:
            return float("nan")
        if len(data) > 1 and np.shape(align(data[:1], heads=True))[1] < 2:  # one head is like no other
            return float("nan")
        W = np.asarray(align(data, heads=True))  # (n, h, q, k)
        p, weighs = shares(np.where(data.allowed[:, None], W, 0))
        total, number = 0.0, 0
        for g in range(p.shape[1]):
            for h in range(g):
                rows = weighs[:, g] & weighs[:, h] & data.alive
                total += float((1 - _divergence(p[:, g][rows], p[:, h][rows])).sum())
                number += int(rows.sum())
        return min(1.0, max(0.0, total / number)) if number else float("nan")


def _divergence(p: Any, r: Any) -> Any:
    """The Jensen-Shannon divergence of rows (rows, k), in units of log 2."""
    m = (p + r) / 2
    safe = np.where(m > 0, m, 1)
    terms = sum(a * np.log2(np.where(a > 0, a, safe) / safe) for a in (p, r))
    return np.asarray(terms).sum(axis=-1) / 2
