"""attend and attention_weights: attention in one call."""

from __future__ import annotations

import numpy as np
import pytest

from attnlab import Mechanism, NotInitialised, SettingError, attend, attention_weights
from attnlab.parts.similarities import Additive


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 6, 3))


def test_it_is_the_mechanism():
    Q, K, V = drawn()
    mask = np.random.default_rng(1).random((2, 4, 6)) < 0.7
    how = {"similarity": {"neg_l2": {"sigma": 2.0}}, "normaliser": "entmax", "position": "sinusoidal"}
    mechanism = Mechanism(**how, mask=[mask, "causal"])
    np.testing.assert_array_equal(attend(Q, K, V, **how, mask=[mask, "causal"]), mechanism.attend(None, Q, K, V))
    np.testing.assert_array_equal(attention_weights(Q, K, **how, mask=[mask, "causal"]), mechanism.weights(None, Q, K))


def test_lists_and_integers_are_taken():
    np.testing.assert_array_equal(attend([[0, 0]], [[1, 2], [3, 4]], [[2], [4]]), [[3.0]])
    assert attend(np.ones((1, 2), dtype=int), np.ones((2, 2), dtype=bool), [[2], [4]]).dtype == np.float64
    with pytest.raises(TypeError, match="V must hold real numbers; got dtype <U1"):
        attend([[0.0]], [[1.0]], [["a"]])


def test_arrays_to_learn_come_from_params_or_rng():
    Q, K, V = drawn()
    with pytest.raises(NotInitialised, match="neither params nor rng"):
        attend(Q, K, V, similarity="additive")
    one = attend(Q, K, V, similarity="additive", rng=0)
    np.testing.assert_array_equal(one, attend(Q, K, V, similarity="additive", rng=np.random.default_rng(0)))
    assert not np.array_equal(one, attend(Q, K, V, similarity="additive", rng=1))
    params = Mechanism(Additive()).init(np.random.default_rng(0), 5, 5, 3)
    np.testing.assert_array_equal(one, attend(Q, K, V, similarity=Additive(), params=params))
    with pytest.raises(SettingError, match=r"params must be what Mechanism\.init returned, a dict by part; got list"):
        attend(Q, K, V, params=[])
    assert attend(*(a.astype(np.float32) for a in (Q, K, V)), similarity="additive", rng=0).dtype == np.float32
