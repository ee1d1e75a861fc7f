"""What several metrics ask of the same weights is computed once, and nothing that they say depends on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab.data import AlignmentData
from attnlab.injection import asks_for, call
from attnlab.metrics.sharing import once, sharing
from attnlab.registry import entry


def measured(data, W):
    given = {"data": data, "W": W, "Y": W @ data.V}
    values = {}
    for name in attnlab.names("metric"):
        metric = entry("metric", name).cls()
        if "model" not in asks_for(metric, "measure") and "fit_seconds" not in asks_for(metric, "measure"):
            values[name] = call(metric, "measure", **given) if metric.applies(data) else None
    return values


@given(seed=st.integers(0, 2**31), masked=st.booleans(), single=st.booleans())
def test_metrics_say_the_same_together_and_one_by_one(seed, masked, single):
    rng = np.random.default_rng(seed)
    n, q, k = rng.integers(1, 5, size=3)
    mask = rng.random((n, q, k)) < 0.7 if masked else None
    gold = (rng.random((n, q, k)) < 0.4) & (True if mask is None else mask)
    V = rng.normal(size=(n, k, 2))
    data = AlignmentData(
        rng.normal(size=(n, q, 3)), rng.normal(size=(n, k, 3)), V, mask=mask, gold=gold, target=V[:, :1].repeat(q, 1)
    )
    W = rng.dirichlet(np.ones(k), size=(n, q)).astype(np.float32 if single else np.float64)
    W.setflags(write=False)
    alone = measured(data, W)
    assert len(alone) > 12
    with sharing():
        together, again = measured(data, W), measured(data, W)
    np.testing.assert_equal(together, alone)
    np.testing.assert_equal(again, alone)
    other = W[..., ::-1].copy()
    expected = measured(data, other)
    with sharing():  # other weights of the same examples are other weights
        measured(data, W)
        np.testing.assert_equal(measured(data, other), expected)


def test_it_is_computed_once_inside_and_each_time_outside():
    calls = []
    doubled = once(lambda x: calls.append(1) or 2 * x)
    x = np.ones(2)
    with sharing():
        assert doubled(x) is doubled(x)
        with pytest.raises(ValueError, match="read-only"):
            doubled(x)[0] = 0
    assert len(calls) == 1
    x[0] = 5
    assert doubled(x)[0] == 10
    assert len(calls) == 2
