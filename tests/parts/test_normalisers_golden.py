"""Every normaliser against its formula in fifty digits: weights and gradients. `golden/make_normalisers.py` made the table."""

from __future__ import annotations

import json
from pathlib import Path

import autograd
import numpy as np
import pytest

import attnlab

CASES = json.loads(Path(__file__).with_name("golden").joinpath("normalisers.json").read_text())
ELSEWHERE = {"monotonic"}  # couples queries, and is tested against its recurrence


def name_of(case):
    settings = ",".join(f"{k}={v}" for k, v in {**case["settings"], **case["learned"]}.items())
    return f"{case['name']}({settings})-{case['row']}"


def test_every_normaliser_is_in_the_table():
    assert {case["name"] for case in CASES} == set(attnlab.names("normaliser")) - ELSEWHERE


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_weights_and_gradients(case):
    part = attnlab.get("normaliser", case["name"], **case["settings"])
    S, M = np.array([case["scores"]]), np.array([case["mask"]], dtype=bool)
    given = {
        "mask": M,
        "n_allowed": M.sum(axis=-1, keepdims=True).astype(float),
        "k_index": np.arange(M.shape[-1]),
        "q_index": np.array([M.shape[-1]]),
        "training": False,
        "rng": None,
        **{name: np.asarray(value) for name, value in case["learned"].items()},
    }
    r = np.array([(-1.0) ** j * (j + 1) for j in range(M.shape[-1])])

    def weights(S, M=M):
        masked = attnlab.namespace(S).where(M, S, -np.inf + 0 * M)
        return attnlab.namespace(S).where(M, attnlab.call(part, "normalise", S=masked, **given), 0.0 * M)

    np.testing.assert_allclose(weights(S)[0], case["weights"], rtol=1e-9, atol=1e-13)
    small = weights(S.astype(np.float32))
    np.testing.assert_allclose(small[0], case["weights"], rtol=2e-4, atol=2e-6)
    if case["gradient"] is not None:
        found = autograd.grad(lambda S: (weights(S)[0] * r).sum())(S)
        np.testing.assert_allclose(found[0], case["gradient"], rtol=1e-7, atol=1e-9)
