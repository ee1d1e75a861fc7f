"""How weights lie over the keys: counted by hand, and by plain loops over random weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import attnlab
from attnlab.data import AlignmentData
from attnlab.metrics.shape import (
    DiagonalDistance,
    HeadRedundancy,
    MonotonicityViolations,
    SinkMass,
    WeightGini,
)


def data_of(mask):
    n, q, k = np.shape(mask)
    return AlignmentData(np.ones((n, q, 2)), np.ones((n, k, 2)), np.ones((n, k, 2)), np.asarray(mask, dtype=bool))


def test_weights_by_hand():
    #     key 0 is padding; query 2 is padding
    mask = [[[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]]
    W = [[[9.0, 0.5, 0.5, 0.0], [9.0, 0.2, 0.2, 0.2], [9.0, 9, 9, 9], [9.0, 9.0, 0.4, 0.0]]]
    data = data_of(mask)
    assert SinkMass().measure(data, W) == pytest.approx((1 / 2 + 1 / 3) / 2)  # query 3 cannot see key 1
    # of (0, .5, .5): sum |p_i - p_j| = 4 * .5, over 2 * 2 * 1; of equal weights 0; of (1, 0) one key has all
    assert WeightGini().measure(data, W) == pytest.approx((0.5 + 0 + 1) / 3)
    # queries lie at 0, 1/2, 1 and keys at 0, 1/2, 1
    assert DiagonalDistance().measure(data, W) == pytest.approx(((0 + 0.5) / 2 + (0.5 + 0 + 0.5) / 3 + 0.5) / 3)
    # centres 1.5, 2, 2: no step back; with the last two changed, one of two
    assert MonotonicityViolations().measure(data, W) == 0.0
    W[0][1] = [0, 0, 0, 0.1]
    assert MonotonicityViolations().measure(data, W) == 0.5
    W[0][1] = [0, 0, 0, 0]  # looks nowhere: the step is from the first to the last
    assert MonotonicityViolations().measure(data, W) == 0.0


def test_against_loops_over_random_weights():
    rng = np.random.default_rng(0)
    mask = rng.random((20, 5, 6)) < 0.7
    data, W = data_of(mask), rng.random((20, 5, 6))
    gini, sink, away, back = [], [], [], []
    for M, w in zip(mask, W, strict=True):
        queries, keys = np.flatnonzero(M.any(axis=1)), np.flatnonzero(M.any(axis=0))
        centres = []
        for i, query in enumerate(queries):
            own = [j for j in keys if M[query, j]]
            p = {j: w[query, j] / sum(w[query, other] for other in own) for j in own}
            if len(own) > 1:
                spread = sum(abs(p[a] - p[b]) for a in own for b in own)
                gini.append(spread / (2 * (len(own) - 1)))
                if keys[0] in own:
                    sink.append(p[keys[0]])
            at = i / max(1, len(queries) - 1)
            away.append(sum(p[j] * abs(at - list(keys).index(j) / max(1, len(keys) - 1)) for j in own))
            centres.append(sum(p[j] * j for j in own))
        back += [b < a for a, b in itertools.pairwise(centres)]
    assert WeightGini().measure(data, W) == pytest.approx(np.mean(gini))
    assert SinkMass().measure(data, W) == pytest.approx(np.mean(sink))
    assert DiagonalDistance().measure(data, W) == pytest.approx(np.mean(away))
    assert MonotonicityViolations().measure(data, W) == pytest.approx(np.mean(back))


def test_nothing_to_look_at_is_nan():
    data = data_of(np.zeros((1, 2, 2)))
    for metric in (SinkMass(), WeightGini(), DiagonalDistance(), MonotonicityViolations()):
        assert math.isnan(metric.measure(data, np.ones((1, 2, 2))))


class Heads:
    def __init__(self, W):
        self.W = np.asarray(W, dtype=float)

    def align(self, X, heads=False):
        return self.W if heads else self.W.mean(axis=1)


def test_heads_that_agree_and_heads_that_do_not():
    data = data_of(np.ones((1, 1, 3)))
    alike, apart, partly = ([0.5, 0.5, 0], [0, 0, 1]), ([1, 0, 0], [0, 1, 0]), ([1, 0, 0], [0.5, 0.5, 0])
    measured = [
        HeadRedundancy().measure(data, Heads([[[h] for h in heads]])) for heads in (alike[:1] * 3, apart, partly)
    ]
    # of partly: m = (.75, .25), JS = (log2(4/3) + (log2(2/3) + log2(2)) / 2) / 2
    js = (math.log2(4 / 3) + (math.log2(2 / 3) + math.log2(2)) / 2) / 2
    assert measured == pytest.approx([1.0, 0.0, 1 - js])
    assert math.isnan(HeadRedundancy().measure(data, Heads([[alike[:1]]])))
    assert math.isnan(HeadRedundancy().measure(data, object()))


def test_an_aligner_gives_the_weights_of_each_head():
    splits = attnlab.get("task", "lookup", n_keys=4, d=4, n_train=32, n_test=8).make(np.random.default_rng(0))
    data = splits.tests["test"]
    several = attnlab.AttentionAligner(attnlab.get("mechanism", "multi_head", heads=2), steps=3, random_state=0)
    W = several.fit(splits.train).align(data, heads=True)
    assert W.shape == (8, 2, 4, 4)
    np.testing.assert_allclose(W.mean(axis=1), several.align(data), atol=1e-12)
    assert 0 < HeadRedundancy().measure(data, several) < 1
    single = attnlab.AttentionAligner(attnlab.Mechanism("general"), steps=3, random_state=0).fit(splits.train)
    assert single.align(data, heads=True).shape == (8, 1, 4, 4)
    assert math.isnan(HeadRedundancy().measure(data, single))


def test_examples_without_keys_have_no_sink():
    data = AlignmentData(np.ones((2, 3, 1)), np.ones((2, 0, 1)), np.ones((2, 0, 1)))
    assert math.isnan(SinkMass().measure(data, np.ones((2, 3, 0))))
