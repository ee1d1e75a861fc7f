"""The contract of attnlab, and the distance pair by pair."""

import numpy as np
import pytest

plugin = pytest.importorskip("attnlab_tropical", reason="not installed: pip install ./plugins/attnlab-tropical")

import attnlab  # noqa: E402


@attnlab.testing.parametrize_with_checks([plugin.Tropical])
def test_contract(component, check):
    check(component)


def test_the_distance_of_each_pair():
    assert plugin.Tropical().score(np.array([[1.0, 2, 4]]), np.array([[0.0, 3, 1]])) == [[-4]]
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    S = plugin.Tropical().score(Q, K)
    for i, j in np.ndindex(4, 5):
        pairs = [(Q[i, a] - K[j, a]) - (Q[i, b] - K[j, b]) for a in range(3) for b in range(3)]
        assert S[i, j] == pytest.approx(-max(pairs), rel=1e-12)
    np.testing.assert_allclose(plugin.Tropical().score(Q + 7, K - 3), S, atol=1e-12)


def test_the_name_is_known():
    assert "tropical" in attnlab.names("similarity")
