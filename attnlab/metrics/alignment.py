"""Weights against the gold alignment: accuracy, alignment error rate, gold mass, divergence, null mass.

Padding never counts: neither dead queries (which may attend to nothing) nor masked keys. Where no query counts, the
value is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.interfaces import Metric, Source
from attnlab.metrics.links import asked, gold_of, heaviest_of, linked, links, mean_over, null, weights_of
from attnlab.metrics.sharing import once

__all__ = [
    "Aer",
    "AerPrecision",
    "AerRecall",
    "AlignmentAccuracy",
    "GoldMass",
    "KlToGold",
    "NullMass",
    "ShiftedAlignmentAccuracy",
]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
OCH_NEY = Source(
    "A Systematic Comparison of Various Statistical Alignment Models",
    "F. J. Och, H. Ney",
    2003,
    "Computational Linguistics 29(1), 19-51",
)

FLOOR = 1e-12  # the least weight that kl_to_gold knows


class AlignmentAccuracy(Metric):
    """Share of queries whose heaviest key is gold.

    For each query, with H its heaviest allowed keys (one, unless weights are equal) and G = {j : gold_j > 0},

        |H & G| / |H|,

    averaged over the queries that are alive and have a gold link. Ties thus score what choosing among them at random
    would on average: uniform weights score chance. Range 0 to 1, dimensionless; up is better.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 0]]])
    >>> AlignmentAccuracy().measure(data, [[[0.7, 0.3]]]), AlignmentAccuracy().measure(data, [[[0.5, 0.5]]])
    (1.0, 0.5)
    """

    name = "alignment_accuracy"
    source = HERE
    direction = "up"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None and bool(asked(data).any())

    def measure(self, data: AlignmentData, W: Any) -> float:
        rows = asked(data)
        top = heaviest_of(data, W)
        hits = (top & linked(data)).sum(axis=-1)
        return mean_over(hits / np.maximum(top.sum(axis=-1), 1), rows)


class ShiftedAlignmentAccuracy(Metric):
    """Share of queries whose next query's heaviest key is gold for them.

    With H the heaviest allowed keys of query i + 1 and G = {j : gold_ij > 0}, |H & G| / |H|, averaged over the queries i that are
    alive and have a gold link, and whose next query is alive. NaN where there is none. Range 0 to 1, dimensionless; no direction, since
    weights that are right at their own step are not late.

    Notes
    -----
    It is for decoders, whose step i + 1 has heard the token that step i said. `alignment_accuracy` reads the weights of step i.
    The last token has no next step here; the papers look at that of the end of the sentence.

    References
    ----------
    Chen et al. (2020), section 3.1, `Shift-Att`.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]] * 2], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 0], [0, 1]]])
    >>> ShiftedAlignmentAccuracy().measure(data, [[[0.3, 0.7], [0.9, 0.1]]])
    1.0
    """

    name = "shifted_alignment_accuracy"
    source = Source(
        "Accurate Word Alignment Induction from Neural Machine Translation",
        "Y. Chen, Y. Liu, G. Chen, X. Jiang, Q. Liu",
        2020,
        "EMNLP",
    )
    direction = None
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None and bool((asked(data)[:, :-1] & data.alive[:, 1:]).any())

    def measure(self, data: AlignmentData, W: Any) -> float:
        rows = asked(data)[:, :-1] & data.alive[:, 1:]
        top = heaviest_of(data, W)[:, 1:]
        hits = (top & linked(data)[:, :-1]).sum(axis=-1)
        return mean_over(hits / np.maximum(top.sum(axis=-1), 1), rows)


@once
def _counts(data: AlignmentData, W: Any) -> tuple[int, int, int, int]:
    """|A|, |S|, |A & S| and |A & P| over all queries that are alive."""
    alive = data.alive[:, :, None]
    A = links(weights_of(data, W), data.allowed)
    S = linked(data) & alive
    P = S if data.possible is None else S | ((data.possible > 0) & alive)
    return int(A.sum()), int(S.sum()), int((A & S).sum()), int((A & P).sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


class Aer(Metric):
    """Alignment error rate of the links read off the weights.

    With A the predicted links, S the sure links (gold > 0) and P the possible ones (S and `data.possible`), counted
    over the whole corpus,

        AER = 1 - (|A & S| + |A & P|) / (|A| + |S|)

    0 if and only if S <= A <= P. Links are read by the rule of `attnlab.metrics.links.links`: the heaviest key of each
    query whose total weight is more than one half; the others are predicted null and have none. Links of null queries
    count, as wrong ones. NaN without any link in A and S. Range 0 to 1, dimensionless; down is better.

    Notes
    -----
    Fraser and Marcu (2007) show that AER favours precision when there are many possible links; read it with
    `aer_precision` and `aer_recall`. With one link a query, a query with several sure links cannot reach 0.

    References
    ----------
    Och and Ney (2003), section 5, equation for AER.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 0]]], possible=[[[1, 1]]])
    >>> Aer().measure(data, [[[0.7, 0.3]]]), Aer().measure(data, [[[0.3, 0.7]]])
    (0.0, 0.5)
    """

    name = "aer"
    source = OCH_NEY
    direction = "down"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None

    def measure(self, data: AlignmentData, W: Any) -> float:
        a, s, a_s, a_p = _counts(data, W)
        return 1 - _ratio(a_s + a_p, a + s)


class AerPrecision(Metric):
    """Share of the predicted links that are possible.

    |A & P| / |A|, with A and P as in `aer`, over the whole corpus; NaN when no link is predicted. Range 0 to 1,
    dimensionless; up is better.

    References
    ----------
    Och and Ney (2003), section 5.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 0]]])
    >>> AerPrecision().measure(data, [[[0.3, 0.7]]])
    0.0
    """

    name = "aer_precision"
    source = OCH_NEY
    direction = "up"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None

    def measure(self, data: AlignmentData, W: Any) -> float:
        a, _, _, a_p = _counts(data, W)
        return _ratio(a_p, a)


class AerRecall(Metric):
    """Share of the sure links that are predicted.

    |A & S| / |S|, with A and S as in `aer`, over the whole corpus; NaN without sure links. Range 0 to 1, dimensionless;
    up is better.

    References
    ----------
    Och and Ney (2003), section 5.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 1]]])
    >>> AerRecall().measure(data, [[[0.3, 0.7]]])
    0.5
    """

    name = "aer_recall"
    source = OCH_NEY
    direction = "up"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None

    def measure(self, data: AlignmentData, W: Any) -> float:
        _, s, a_s, _ = _counts(data, W)
        return _ratio(a_s, s)


class GoldMass(Metric):
    """Mean weight on the gold keys.

        sum_j w_j [gold_j > 0],

    averaged over the queries that are alive and have a gold link. Weights are taken as they are. Range 0 to 1 for rows
    that sum to one, more is possible for sigmoid weights; dimensionless; up is better.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 0]]])
    >>> GoldMass().measure(data, [[[0.75, 0.25]]])
    0.75
    """

    name = "gold_mass"
    source = HERE
    direction = "up"

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None and bool(asked(data).any())

    def measure(self, data: AlignmentData, W: Any) -> float:
        rows = asked(data)
        return mean_over((weights_of(data, W) * linked(data)).sum(axis=-1), rows)


class KlToGold(Metric):
    """Kullback-Leibler divergence of the weights from the gold distribution.

        KL(g || p) = sum_j g_j log(g_j / p_j),   g = gold / sum gold,   p = max(w, 0) / sum max(w, 0)

    over the allowed keys, averaged over the queries that are alive and have a gold link. A weight of p below 1e-12 is
    taken as 1e-12, so that a sparse normaliser that misses a gold key gets a finite, large value (27.6 for a single
    link). Range 0 to 27.7, in nats; down is better.

    References
    ----------
    Kullback and Leibler (1951), equation 2.4.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[1, 0]]])
    >>> round(KlToGold().measure(data, [[[0.5, 0.5]]]), 4)
    0.6931
    """

    name = "kl_to_gold"
    source = Source(
        "On Information and Sufficiency", "S. Kullback, R. A. Leibler", 1951, "Annals of Mathematical Statistics 22(1)"
    )
    direction = "down"
    bounds = (0.0, float("inf"))

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None and bool(asked(data).any())

    def measure(self, data: AlignmentData, W: Any) -> float:
        rows = asked(data)
        gold = gold_of(data)[rows].astype(np.float64)  # (rows, k)
        g = gold / gold.sum(axis=-1, keepdims=True)
        w = np.maximum(weights_of(data, W)[rows].astype(np.float64), 0)
        total = w.sum(axis=-1, keepdims=True)
        p = np.maximum(w / np.where(total > 0, total, 1), FLOOR)
        kl = np.where(g > 0, g * np.log(np.where(g > 0, g, 1) / p), 0).sum(axis=-1)
        return float(np.maximum(kl, 0).mean()) if kl.size else float("nan")


class NullMass(Metric):
    """Mean weight that null queries withhold.

        max(0, 1 - sum_j |w_j|),

    averaged over the null queries, which are alive and have no gold link: the mass that goes to "nothing". Softmax,
    which must spend 1, has 0; a mechanism that abstains has 1. Range 0 to 1, dimensionless; up is better.

    References
    ----------
    Miller (2023), Attention is off by one.

    Examples
    --------
    >>> data = AlignmentData([[[1.0]]], [[[1.0], [2.0]]], [[[1.0], [2.0]]], gold=[[[0, 0]]])
    >>> NullMass().measure(data, [[[0.25, 0.25]]])
    0.5
    """

    name = "null_mass"
    source = Source("Attention Is Off By One", "E. Miller", 2023, "evanmiller.org/attention-is-off-by-one.html")
    direction = "up"
    bounds = (0.0, 1.0)

    def applies(self, data: AlignmentData) -> bool:
        return data.gold is not None and bool(null(data).any())

    def measure(self, data: AlignmentData, W: Any) -> float:
        rows = null(data)
        return mean_over(np.maximum(1 - np.abs(weights_of(data, W)).sum(axis=-1), 0), rows)
