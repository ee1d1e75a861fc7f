"""Masks: which keys, True = may attend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnlab import SettingError, attention_weights, get

sizes = st.integers(0, 7)


@given(sizes, sizes, sizes)
def test_all_causal_and_window_key_by_key(q, k, width):
    shapes = {
        name: get("mask", name, **s).allow(np.arange(q), np.arange(k))
        for name, s in (("all", {}), ("causal", {}), ("window", {"width": width}))
    }
    for name, allowed in shapes.items():
        assert allowed.dtype == bool, name
        assert allowed.shape == (q, k), name
    for i, j in np.ndindex(q, k):
        assert shapes["all"][i, j]
        assert shapes["causal"][i, j] == (j <= i)
        assert shapes["window"][i, j] == (abs(j - i) <= width)


def test_weights_are_zero_outside_and_only_there():
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(5, 3)), rng.normal(size=(6, 3))
    for mask in ("causal", {"window": {"width": 1}}):
        W = attention_weights(Q, K, mask=mask)
        ((name, settings),) = mask.items() if isinstance(mask, dict) else [(mask, {})]
        np.testing.assert_array_equal(W > 0, get("mask", name, **settings).allow(np.arange(5), np.arange(6)))
        np.testing.assert_allclose(W.sum(axis=-1), 1)


def test_width_is_not_negative():
    with pytest.raises(SettingError, match="width must be int, >= 0; got -1"):
        get("mask", "window", width=-1)
