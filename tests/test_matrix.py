"""Parts of every kind with parts of every other kind: a cell works, or is refused with a reason that holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import attnlab
from attnlab.errors import Unsupported
from tools import matrix

KNOWN = matrix.names()
CELLS = matrix.cells(KNOWN)
SAMPLE = CELLS[:: max(1, len(CELLS) // 24)]


def test_each_pair_meets_in_a_cell():
    met = {pair for cell in CELLS for pair in itertools.combinations(enumerate(cell), 2)}
    assert met >= set(matrix.pairs(KNOWN))


def test_a_pair_that_can_work_meets_in_a_cell_that_is_not_refused():
    working = [cell for cell in CELLS if not matrix.mechanism_of(cell).refusal()]
    met = {pair for cell in working for pair in itertools.combinations(enumerate(cell), 2)}
    never = set(matrix.pairs(KNOWN)) - met
    plain = {
        "similarity": "taylor",
        "normaliser": "softmax",
        "aggregator": "weighted_sum",
        "position": "none",
        "modifier": "none",
    }
    for (i, one), (j, other) in never:
        cell = tuple({i: one, j: other}.get(n, plain[axis]) for n, axis in enumerate(matrix.AXES))
        assert matrix.mechanism_of(cell).refusal(), cell


@pytest.mark.parametrize("cell", SAMPLE, ids="-".join)
def test_a_cell_works_or_is_refused(cell):
    found = matrix.judged(cell)
    assert found.verdict in ("works", "refused"), found.reason
    assert bool(found.reason) == (found.verdict == "refused")


@pytest.mark.long
def test_every_cell_works_or_is_refused():
    assert [found for found in map(matrix.judged, CELLS) if found.verdict == "wrong"] == []


class Shy(attnlab.Similarity):
    """Says that no score is negative, and gives negative ones."""

    name = "shy"
    nonnegative = True

    def score(self, Q, K):
        return Q @ np.swapaxes(K, -1, -2)


class Stern(attnlab.Normaliser):
    """Softmax that refuses what it does not declare."""

    name = "stern"

    def normalise(self, S):
        raise Unsupported("not today")


class Off(attnlab.Normaliser):
    """Weights of NaN."""

    name = "off"

    def normalise(self, S):
        return S * np.nan


@pytest.mark.parametrize(
    ("part", "cell", "why"),
    [
        (Shy, ("shy", "l1", "weighted_sum", "none", "none"), "refused only when it attends: the normaliser 'l1'"),
        (Stern, ("dot", "stern", "weighted_sum", "none", "none"), "refused only when it attends: not today"),
        (Off, ("dot", "off", "weighted_sum", "none", "none"), "not finite"),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_what_is_wrong_is_found(part, cell, why, monkeypatch):
    monkeypatch.setattr(attnlab.registry, "_registered", {})
    attnlab.register(part)
    found = matrix.judged(cell)
    assert found.verdict == "wrong"
    assert why in found.reason


def test_the_command_prints_counts(capsys):
    assert matrix.main(["--own", "--sample", "5"]) == 0
    assert "wrong 0" in capsys.readouterr().out
