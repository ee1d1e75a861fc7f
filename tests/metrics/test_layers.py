"""What the heads of all layers do, against plain loops over random weights."""

from __future__ import annotations

import numpy as np
import pytest

from attnlab.data import AlignmentData
from attnlab.metrics import layers
from attnlab.metrics.layers import FirstTokenMass, InductionScore, SolutionMass


class Fitted:
    """A model with given weights for sequences that it knows by their first two tokens."""

    def __init__(self, data, W):
        self.known = {tuple(row): w for row, w in zip(data.ids.tolist(), W, strict=True)}

    def by_layer_and_head(self, X):
        return np.stack([self.known[tuple(row)] for row in X.ids.tolist()])


@pytest.mark.parametrize("chunk", [layers.CHUNK, 1])
def test_against_loops(chunk, monkeypatch):
    monkeypatch.setattr(layers, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    data = AlignmentData.of_sequences([rng.integers(4, size=size) for size in (9, 5, 7, 8)])
    W = rng.dirichlet(np.ones(9), size=(4, 2, 3, 9))
    after, first = [], []
    for ids, w in zip(data.ids.tolist(), W, strict=True):
        for i, token in enumerate(ids):
            if token == -1:
                continue
            if i > 0:
                first.append(w[:, :, i, 0])
            before = [j for j in range(i) if ids[j] == token]
            if before and before[-1] + 1 < i:
                after.append(w[:, :, i, before[-1] + 1])
    model = Fitted(data, W)
    assert InductionScore().measure(data, model) == pytest.approx(np.mean(after, axis=0).max())
    assert FirstTokenMass().measure(data, model) == pytest.approx(np.mean(first, axis=0).mean(axis=1).max())


def test_without_layers_or_without_repeats_there_is_no_number():
    data = AlignmentData.of_sequences([[0, 1, 2]])
    assert np.isnan(InductionScore().measure(data, object()))
    assert np.isnan(FirstTokenMass().measure(data, object()))
    assert np.isnan(InductionScore().measure(data, Fitted(data, np.ones((1, 1, 1, 3, 3)))))
    assert not InductionScore().applies(AlignmentData([[[1.0]]], [[[1.0]]], [[[1.0]]]))


@pytest.mark.parametrize("chunk", [layers.CHUNK, 1])
def test_the_mass_of_a_solution_against_loops(chunk, monkeypatch):
    monkeypatch.setattr(layers, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    steps = rng.random((3, 2, 6, 6)) < 0.15
    data = AlignmentData.of_sequences(rng.integers(9, size=(3, 6)), gold_by_layer=steps)
    W = rng.dirichlet(np.ones(6), size=(3, 4, 2, 6))  # four layers of two heads, and a solution of two steps
    mass = np.zeros((2, 4, 2))
    for t in range(2):
        asked = [(e, i) for e in range(3) for i in range(6) if steps[e, t, i].any()]
        for layer in range(4):
            for head in range(2):
                mass[t, layer, head] = np.mean([W[e, layer, head, i][steps[e, t, i]].sum() for e, i in asked])
    np.testing.assert_allclose(layers.solution_masses(data, Fitted(data, W)), mass)
    found = layers.of_weights(data, [W[:, layer] for layer in range(4)])
    np.testing.assert_allclose([found["solution_0"], found["solution_1"]], mass)
    np.testing.assert_allclose(found["induction_score"], layers.induction_scores(data, Fitted(data, W)))
    np.testing.assert_allclose(found["first_token_mass"], layers.first_token_masses(data, Fitted(data, W)))
    best = mass.max(axis=2)
    expected = max(min(best[0, i], best[1, j]) for i in range(4) for j in range(i + 1, 4))
    assert SolutionMass().measure(data, Fitted(data, W)) == pytest.approx(expected)


def test_without_enough_layers_the_mass_of_a_solution_is_no_number():
    data = AlignmentData.of_sequences([[0, 1]], gold_by_layer=np.ones((1, 2, 2, 2)))
    assert np.isnan(SolutionMass().measure(data, Fitted(data, np.ones((1, 1, 1, 2, 2)))))
    assert SolutionMass().measure(data, Fitted(data, np.ones((1, 2, 1, 2, 2)) / 2)) == pytest.approx(1)
    assert np.isnan(SolutionMass().measure(data, object()))
    assert not SolutionMass().applies(AlignmentData.of_sequences([[0, 1]]))
