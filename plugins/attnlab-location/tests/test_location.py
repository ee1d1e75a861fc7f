"""The contract of attnlab, and the weights by loops."""

import math

import numpy as np
import pytest

plugin = pytest.importorskip("attnlab_location", reason="not installed: pip install ./plugins/attnlab-location")

import attnlab  # noqa: E402


@attnlab.testing.parametrize_with_checks([plugin.LocationAttender, plugin.LocationAttender(least=2.0)])
def test_contract(component, check):
    check(component)


def test_the_weights_by_loops():
    rng = np.random.default_rng(0)
    Q, K, M = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.random((4, 5)) < 0.7
    M[:, 0] = True
    M[2] = False
    mechanism = attnlab.Mechanism("dot", position=plugin.LocationAttender())
    params = mechanism.init(rng, 3, 3, 2)
    own = params["position"] = {
        name: one + 0.3 * rng.normal(size=one.shape) for name, one in params["position"].items()
    }
    contents = attnlab.attention_weights(Q, K, "dot", mask=M)
    place, right = -1.0, np.zeros((4, 5))
    for i in range(4):
        moves = own["a"] + own["A"].T @ Q[i]
        mu = moves @ [place, 1, i, 4]
        share = 1 / (1 + math.exp(-(own["c"] + own["G"] @ Q[i])))
        bell = [math.exp(-(((j - mu) / (0.27 + math.exp(own["s"]))) ** 2) / 2) if M[i, j] else 0 for j in range(5)]
        if M[i].any():
            right[i] = (1 - share) * contents[i] + share * np.array(bell) / sum(bell)
            place = right[i] @ range(5)
    np.testing.assert_allclose(mechanism.weights(params, Q, K, M), right, atol=1e-12)


def test_sums_of_one_stay_and_no_others():
    """What it declares: a line needs weights that sum to one. A row of zeros gets the bell's share."""
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    place = plugin.LocationAttender()
    line = attnlab.Mechanism("dot", "sparsemax", "local_linear", position=place)
    params = line.init(rng, 3, 3, 2)
    assert line.refusal() == ""
    np.testing.assert_allclose(line.weights(params, Q, K).sum(axis=-1), 1, rtol=1e-12)
    assert line.attend(params, Q, K, V).shape == (4, 2)
    assert "reweighs" in attnlab.Mechanism("dot", "compact_kernel", "local_linear", position=place).refusal()


def test_the_name_is_known():
    assert "location_attender" in attnlab.names("position")
