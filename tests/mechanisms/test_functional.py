"""attend and attention_weights: attention in one call."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from attnlab import Mechanism, NotInitialised, SettingError, ShapeError, Similarity, attend, attention_weights
from attnlab.errors import ComponentError
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


def test_data_frames_are_taken():
    Q, K, V = (a[0] for a in drawn(2))
    found = attend(pd.DataFrame(Q), pd.DataFrame(K), pd.DataFrame(V))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, attend(Q, K, V))
    assert type(attention_weights(pd.DataFrame(Q), pd.DataFrame(K))) is np.ndarray
    with pytest.raises(TypeError, match="Q must hold real numbers; got dtype object"):
        attend(pd.DataFrame({"x": ["a"]}, dtype=object), K, V)


def test_what_is_no_array_is_refused():
    Q, K, _ = drawn()
    with pytest.raises(TypeError, match="V must be an array, or lists of real numbers; got NoneType"):
        attend(Q, K, None)
    with pytest.raises(TypeError, match="Q must be an array, or lists of real numbers; got str"):
        attention_weights("Q", K)


@pytest.mark.parametrize("similarity", ["additive", "general"])
def test_learned_arrays_of_another_width_are_named(similarity):
    Q, K, V = drawn()
    params = Mechanism(similarity).init(np.random.default_rng(0), 7, 7, 3)
    said = rf"arrays of the similarity '{similarity}' do not fit: for d_query = 5, d_key = 5.*\(.*got .*7"
    with pytest.raises(ShapeError, match=said):
        attend(Q, K, V, similarity=similarity, params=params)


@pytest.mark.parametrize("dtype", [complex, bool, int])
def test_scores_are_real_floats(dtype):
    class Odd(Similarity):
        name = "odd"

        def score(self, Q, K):
            return np.ones((Q.shape[-2], K.shape[-2]), dtype=dtype)

    with pytest.raises(ComponentError, match=rf"Odd\.score must return real floats; got dtype {dtype.__name__}"):
        attend(*drawn(), similarity=Odd())


def test_no_mask_forbids_nothing():
    Q, K = np.eye(2), np.ones((3, 2))
    Y = attend(Q, K, np.eye(3), mask=None)
    np.testing.assert_array_equal(Y, attend(Q, K, np.eye(3)))
    np.testing.assert_array_equal(
        attention_weights(Q, K, mask=[None, "causal"]), attention_weights(Q, K, mask="causal")
    )


@pytest.mark.parametrize("name", ["Q", "K", "V"])
def test_ragged_lists_are_refused_by_name(name):
    given = {"Q": np.ones((1, 2)), "K": np.ones((2, 2)), "V": np.ones((2, 1)), name: [[1.0, 2.0], [3.0]]}
    with pytest.raises(
        ShapeError, match=rf"^{name} must be an array, or lists of lists of the same length; here they differ"
    ):
        attend(**given)


def test_rng_is_a_generator_or_a_number():
    with pytest.raises(
        SettingError, match=r"rng must be a numpy\.random\.Generator, an integer from 0, or None; got 'x'"
    ):
        attend(np.ones((1, 2)), np.ones((2, 2)), np.ones((2, 1)), similarity="general", rng="x")
