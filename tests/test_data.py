"""AlignmentData: an X for scikit-learn that refuses what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import _safe_indexing, indexable

from attnlab import AlignmentData, ShapeError, Splits

N, Q, K, D, V = 6, 3, 4, 5, 2


def example(**changes):
    rng = np.random.default_rng(0)
    gold = np.eye(K)[rng.integers(K, size=(N, Q))]
    arrays = {
        "Q": rng.normal(size=(N, Q, D)),
        "K": rng.normal(size=(N, K, D)),
        "V": rng.normal(size=(N, K, V)),
        "mask": rng.random((N, Q, K)) < 0.7,
        "gold": gold,
        "target": rng.normal(size=(N, Q, V)),
        "possible": gold > 0,
        "tokens": [([f"s{i}"], [f"t{i}"]) for i in range(N)],
    }
    return AlignmentData(**{**arrays, **changes})


def same(a, b):
    for name in ("Q", "K", "V", "mask", "gold", "target", "possible"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert list(a.tokens) == list(b.tokens)


@given(st.lists(st.integers(-N, N - 1), max_size=8))
def test_indices_slices_and_masks_pick_the_same_examples(indices):
    data = example()
    picked = data[np.array(indices)]
    assert len(picked) == len(indices)
    assert picked.shape == (len(indices),)
    same(picked, data[indices])
    same(picked, data[np.array(indices, dtype=int), ...])
    np.testing.assert_array_equal(picked.Q, data.Q[np.array(indices, dtype=int)])
    assert picked.tokens == [data.tokens[i] for i in indices]
    mask = np.isin(np.arange(N), indices)
    same(data[mask], data[np.flatnonzero(mask)])


def test_one_example_keeps_its_axis():
    data = example()
    for i in (0, 2, -1, np.int64(-2)):
        assert data[i].Q.shape == (1, Q, D)
        same(data[i], data[[i]])
    same(data[1:4], data[[1, 2, 3]])
    assert [len(one) for one in data] == [1] * N


@pytest.mark.parametrize(
    "index", [N, -N - 1, (0, 1), (..., 0), np.zeros((2, 2), dtype=int), np.array(1), np.ones(N + 1, dtype=bool), [0.5]]
)
def test_other_indices_are_refused(index):
    with pytest.raises(IndexError):
        example()[index]


def test_scikit_learn_takes_it():
    data = example()
    assert indexable(data)[0] is data
    same(_safe_indexing(data, np.array([4, 1])), data[[4, 1]])
    train, test = train_test_split(data, test_size=2, random_state=0)
    assert (len(train), len(test)) == (4, 2)
    assert sum(len(data[test]) for _, test in KFold(3).split(data)) == N


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"K": np.ones((N, K + 1, D))}, ShapeError, "axis 'k' disagrees: K has 5, V has 4"),
        ({"Q": np.ones((N + 1, Q, D))}, ShapeError, "axis 'n' disagrees: Q has 7, K has 6"),
        ({"Q": np.ones((N, D))}, ShapeError, r"Q must have 3 axes, \(n, q, d\)"),
        ({"Q": np.full((N, Q, D), "x")}, TypeError, "Q must hold real numbers; got dtype <U1"),
        ({"K": [[[1.0, 2.0], [3.0]]]}, ShapeError, "^K must be an array, or lists of lists of the same length"),
        ({"mask": [[True], [True, False]]}, ShapeError, "^mask must be an array, or lists of lists of the same length"),
        ({"gold": [[[1.0]], [[1.0, 0.0]]]}, ShapeError, "^gold must be an array, or lists of lists of the same length"),
        ({"target": [[1], [1, 0]]}, ShapeError, "^target must be an array, or lists of lists of the same length"),
        ({"mask": np.ones((N, Q, K))}, TypeError, "mask must be boolean, True = may attend; got dtype float64"),
        ({"mask": np.ones((N, Q, K + 1), dtype=bool)}, ShapeError, r"does not broadcast to \(n, q, k\) = \(6, 3, 4\)"),
        ({"gold": np.ones((N, Q))}, ShapeError, r"gold must be \(n, q, k\) = \(6, 3, 4\); got shape \(6, 3\)"),
        ({"gold": -np.ones((N, Q, K))}, ValueError, "gold must be finite and not negative"),
        ({"gold": np.full((N, Q, K), np.nan)}, ValueError, "gold must be finite and not negative"),
        ({"possible": np.full((N, Q, K), "x")}, TypeError, "possible must hold numbers or booleans"),
        ({"target": np.ones((N, Q + 1, V))}, ShapeError, "axis 'q' disagrees: Q has 3, target has 4"),
        ({"target": np.ones((N, Q, V), dtype=bool)}, TypeError, "target must be floats"),
        ({"target": np.ones((N, Q, V), dtype=int)}, ShapeError, r"target must have 2 axes, \(n, q\)"),
        ({"tokens": [1, 2]}, ShapeError, "axis 'n' disagrees: Q has 6, tokens has 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        example(**changes)


def test_masks_broadcast_and_dead_rows_are_not_alive():
    data = example(mask=np.array([True, False, True, True]))
    assert data.mask.shape == (N, Q, K)
    assert not data.allowed[..., 1].any()
    assert data.alive.all()
    assert example(mask=None).allowed.all()
    mask = np.ones((N, Q, K), dtype=bool)
    mask[2, 1] = False
    assert (~example(mask=mask).alive).nonzero() == (2, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "row"), [("Q", "query"), ("K", "key"), ("V", "value"), ("target", "query")])
def test_what_is_read_must_be_finite_and_the_rest_is_zero(name, row, bad):
    mask = np.ones((N, Q, K), dtype=bool)
    mask[2, 1] = mask[3, :, 2] = False  # query 1 of example 2 and key 2 of example 3 are padding
    data = example(mask=mask).astype(np.float32)
    assert data.finite() is data
    at = (2, 1) if row == "query" else (3, 2)
    getattr(data, name)[at] = bad
    clean = data.finite()
    assert (getattr(clean, name)[at] == 0).all()
    assert getattr(clean, name).dtype == np.float32
    assert not np.isfinite(getattr(data, name)).all()  # the examples themselves stay as they are
    others = ~np.isfinite(getattr(data, name))
    np.testing.assert_array_equal(getattr(clean, name)[~others], getattr(data, name)[~others])
    getattr(data, name)[[4, 5], 0, 1] = bad
    said = rf"^{name} must be finite where it is read: example 4, {row} 0 holds {bad} \(2 of 6 examples have such\)"
    with pytest.raises(ValueError, match=said):
        data.finite()
    (other,) = {"Q", "K"} - {name} if name in "QK" else {"Q"}
    assert data.finite(other) is data


def test_integers_become_floats_and_float32_stays():
    ints = AlignmentData(np.ones((1, 2, 3), dtype=int), np.ones((1, 4, 3), dtype=bool), np.ones((1, 4, 1)))
    assert ints.Q.dtype == ints.K.dtype == np.float64
    data = example(target=np.zeros((N, Q), dtype=int)).astype(np.float32)
    assert {data.Q.dtype, data.K.dtype, data.V.dtype} == {np.dtype(np.float32)}
    assert data.is_classification
    assert data.target.dtype.kind == "i"
    assert not example().is_classification


def test_from_npz(tmp_path):
    data = example()
    path = tmp_path / "a.npz"
    np.savez(path, Q=data.Q, K=data.K, V=data.V, gold=data.gold)
    read = AlignmentData.from_npz(path)
    np.testing.assert_array_equal(read.gold, data.gold)
    assert read.target is None
    with pytest.raises(FileNotFoundError, match="no such file"):
        AlignmentData.from_npz(tmp_path / "b.npz")
    np.savez(path, Q=data.Q, K=data.K, value=data.V)
    with pytest.raises(ValueError, match=r"lacks V; allowed are Q, K, V, mask, gold"):
        AlignmentData.from_npz(path)
    np.savez(path, Q=data.Q, K=data.K, V=data.V, y=data.V)
    with pytest.raises(ValueError, match="has unknown arrays y"):
        AlignmentData.from_npz(path)
    np.savez(path, Q=np.array([object()]), K=data.K, V=data.V)
    with pytest.raises(ValueError, match=r"is not an \.npz of plain arrays"):
        AlignmentData.from_npz(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"is not an \.npz of plain arrays"):
        AlignmentData.from_npz(path)
    np.save(tmp_path / "one.npy", data.Q)
    with pytest.raises(ValueError, match="one array, not named ones"):
        AlignmentData.from_npz(tmp_path / "one.npy")


def test_splits_need_data_and_a_test():
    data = example()
    with pytest.raises(ValueError, match="at least one test condition"):
        Splits(data, data)
    with pytest.raises(TypeError, match="validation must be AlignmentData; got ndarray"):
        Splits(data, data.Q, {"test": data})
    assert "n=6 q=3 k=4 d=5 v=2 float64" in repr(data)


def test_sequences_may_have_inputs_labels_that_are_vectors_and_gold_by_layer(tmp_path):
    ids, by_layer = np.array([[0, 1, -1], [2, 0, 1]]), np.zeros((2, 2, 3, 3))
    by_layer[:, 0, 1, 0] = 1
    labels = np.arange(12.0).reshape(2, 3, 2)
    labels[1, 0, 1] = np.nan
    inputs = np.ones((2, 3, 4))
    inputs[0, 2] = np.inf  # padding is not read
    data = AlignmentData.of_sequences(ids, labels, inputs=inputs, gold_by_layer=by_layer)
    assert data.alive.tolist() == [[True, True, False], [False, True, True]]
    assert data.target[1].tolist() == [[0, 0], [8, 9], [10, 11]]
    assert data.inputs[0].tolist() == [[1] * 4, [1] * 4, [0] * 4]
    assert data[1:].gold_by_layer.shape == (1, 2, 3, 3)
    assert data.astype(np.float32).inputs.dtype == np.float32
    assert "inputs, gold_by_layer" in repr(data)
    assert AlignmentData.of_sequences(None, inputs=np.ones((2, 3, 1))).ids.tolist() == [[0] * 3] * 2
    kept = {n: getattr(data, n) for n in ("Q", "K", "V", "mask", "target", "ids", "inputs", "gold_by_layer")}
    np.savez(tmp_path / "data.npz", **kept)
    again = AlignmentData.from_npz(tmp_path / "data.npz")
    np.testing.assert_array_equal(again.gold_by_layer, by_layer)
    np.testing.assert_array_equal(again.inputs, data.inputs)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"inputs": np.ones((1, 2))}, ShapeError, "inputs"),
        ({"inputs": np.ones((1, 3, 1))}, ShapeError, "axis 'L' disagrees"),
        ({"inputs": np.full((1, 2, 1), np.nan)}, ValueError, "inputs must be finite: example 0, place 0 holds nan"),
        ({"inputs": np.full((1, 2, 1), "a")}, TypeError, "inputs must hold real numbers"),
        ({"gold_by_layer": np.ones((1, 2, 2))}, ShapeError, r"gold_by_layer must be \(n, s, q, k\) = \(1, s, 2, 2\)"),
        ({"gold_by_layer": -np.ones((1, 1, 2, 2))}, ValueError, "gold_by_layer must be finite and not negative"),
        ({"labels": np.ones((1, 3, 1))}, ShapeError, "axis 'L' disagrees"),
        ({"ids": None}, TypeError, "of_sequences needs ids, or inputs"),
    ],
)
def test_what_does_not_fit_a_sequence_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        AlignmentData.of_sequences(**{"ids": [[0, 1]], **given})
    if "inputs" in given:
        X = np.ones((1, 2, 1))
        with pytest.raises(TypeError, match="inputs are of sequences: give ids too"):
            AlignmentData(X, X, X, inputs=given["inputs"])
