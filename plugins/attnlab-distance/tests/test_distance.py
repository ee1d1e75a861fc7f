"""The contract of attnlab, and that the names are there once the plugin is installed."""

import numpy as np
import pytest

plugin = pytest.importorskip("attnlab_distance", reason="not installed: pip install ./plugins/attnlab-distance")

import attnlab  # noqa: E402


@attnlab.testing.parametrize_with_checks([plugin.Laplace, plugin.Laplace(scale=3.0), plugin.Gaussian])
def test_contract(component, check):
    check(component)


def test_names_are_known():
    Q, K = np.zeros((1, 2)), np.array([[0.0, 0.0], [2.0, 2.0]])
    for name in ("laplace", {"laplace": {"scale": 1.0}}, "attnlab-distance:gaussian"):
        W = attnlab.attention_weights(Q, K, similarity=name, rng=0)
        np.testing.assert_allclose(W, [[1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))]])
