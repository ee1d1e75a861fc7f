"""`mix="predictions"` with mechanisms whose contexts are no mixtures of values: refused, before there are data where that is known."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import attnlab
from attnlab import AttentionAligner
from attnlab.errors import Unsupported


class Doubled(attnlab.Aggregator):
    """Twice the weighted sum; says nothing of what it mixes."""

    name = "doubled"

    def aggregate(self, W, V):
        return 2 * (W @ V)


class Plain(attnlab.Aggregator):
    """The weighted sum; says nothing of what it mixes."""

    name = "plain"

    def aggregate(self, W, V):
        return W @ V


@pytest.mark.parametrize(
    ("mechanism", "why"),
    [
        ({"aggregator": "laser"}, "the aggregator 'laser' does something else"),
        ({"aggregator": "max_plus"}, "the aggregator 'max_plus'"),
        ({"aggregator": "gated"}, "the aggregator 'gated'"),
        ({"normaliser": "identity"}, "the normaliser 'identity' gives weights below zero"),
        ("multi_head", "the mechanism 'multi_head'"),
        ({"mixture": {"first": {"multi_head": {"heads": 2}}}}, "the mechanism 'mixture'"),
    ],
    ids=str,
)
def test_what_mixes_no_predictions_is_refused_before_there_are_data(mechanism, why):
    assert why in AttentionAligner(mechanism, mix="predictions").refusal()
    assert AttentionAligner(mechanism).refusal() == ""


@pytest.mark.parametrize("mechanism", [{}, {"aggregator": "gather"}, "mixture", "hopfield"], ids=str)
def test_what_mixes_predictions_or_does_not_say_is_not_refused_before(mechanism):
    assert AttentionAligner(mechanism, mix="predictions").refusal() == ""


def test_what_does_not_say_what_it_mixes_is_found_out_when_fit_begins():
    data = attnlab.get("task", "copy", length=4, n_train=16, n_test=8).make(np.random.default_rng(0)).train
    for aggregator, refused in ((Doubled(), True), (Plain(), False)):
        aligner = AttentionAligner({"aggregator": aggregator}, mix="predictions", steps=1)
        assert aligner.refusal() == ""
        with (
            pytest.raises(Unsupported, match="of probabilities the aggregator 'doubled' makes none")
            if refused
            else nullcontext()
        ):
            aligner.fit(data)
