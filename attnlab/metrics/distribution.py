"""What the weights look like, whatever they ought to be: entropy, support, greatest weight.

None has a better direction. All look at the keys that the data's mask allows, of queries that are alive; NaN where
there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.interfaces import Metric, Source
from attnlab.metrics.links import mean_over, weights_of

__all__ = ["MaxWeight", "SupportSize", "WeightEntropy"]

TOLERANCE = 1e-9  # a weight of at most this is no support


class WeightEntropy(Metric):
    """Mean normalised entropy of the weights.

        H(p) / log m,   H(p) = -sum_j p_j log p_j,   p = max(w, 0) / sum max(w, 0)

    with m the number of keys that the query may attend to, averaged over the queries with m > 1 and any positive
    weight. 0: all on one key; 1: uniform. Range 0 to 1, dimensionless; no direction.

    Notes
    -----
    Computed after masking. Keys that only the mechanism's own mask forbids (`causal`, `window`) count in m, since the
    data allow them.

    References
    ----------
    Shannon (1948), A mathematical theory of communication, section 6.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]])
    >>> WeightEntropy().measure(data, [[[0.5, 0.5]]]), WeightEntropy().measure(data, [[[1.0, 0.0]]])
    (1.0, 0.0)
    """

    name = "weight_entropy"
    source = Source("A Mathematical Theory of Communication", "C. E. Shannon", 1948, "Bell System Technical Journal 27")
    direction = None
    bounds = (0.0, 1.0)

    def measure(self, data: AlignmentData, W: Any) -> float:
        w = np.maximum(weights_of(data, W).astype(np.float64), 0)
        total = w.sum(axis=-1)
        m = data.allowed.sum(axis=-1)
        rows = (m > 1) & (total > 0)
        p = w[rows] / total[rows][:, None]  # (rows, k)
        terms = p * np.log(np.where(p > 0, p, 1))
        share = np.maximum(-terms.sum(axis=-1), 0) / np.log(m[rows])
        return float(share.mean()) if share.size else float("nan")


class SupportSize(Metric):
    """Mean number of keys with weight.

        |{j : w_j > 1e-9}|,

    averaged over the queries that are alive. A softmax weight counts until it is 20.7 below the greatest score. Range 0
    to k, in keys; no direction.

    References
    ----------
    Martins and Astudillo (2016), From softmax to sparsemax.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0], [3.0]]], [[[1.0], [2.0], [3.0]]])
    >>> SupportSize().measure(data, [[[0.5, 0.5, 0.0]]])
    2.0
    """

    name = "support_size"
    source = Source(
        "From Softmax to Sparsemax: A Sparse Model of Attention and Multi-Label Classification",
        "A. F. T. Martins, R. F. Astudillo",
        2016,
        "ICML",
    )
    direction = None
    bounds = (0.0, float("inf"))

    def measure(self, data: AlignmentData, W: Any) -> float:
        return mean_over((weights_of(data, W) > TOLERANCE).sum(axis=-1), data.alive)


class MaxWeight(Metric):
    """Mean of the greatest weight of each query.

        max_j w_j,

    over the allowed keys, averaged over the queries that are alive. Range 1/k (uniform) to 1 (one key) for rows that
    sum to one; dimensionless; no direction.

    References
    ----------
    Velickovic et al. (2024), Softmax is not enough (for sharp out-of-distribution), on dispersion.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]])
    >>> MaxWeight().measure(data, [[[0.25, 0.75]]])
    0.75
    """

    name = "max_weight"
    source = Source(
        "Softmax is not Enough (for Sharp Size Generalisation)", "P. Velickovic et al.", 2024, "arXiv:2410.01104"
    )
    direction = None

    def measure(self, data: AlignmentData, W: Any) -> float:
        return mean_over(np.max(weights_of(data, W), axis=-1, where=data.allowed, initial=-np.inf), data.alive)
