"""The contract of attnlab, published values, and each projection against a general optimiser."""

import numpy as np
import pytest
from scipy import optimize

plugin = pytest.importorskip("attnlab_structured", reason="not installed: pip install ./plugins/attnlab-structured")

import attnlab  # noqa: E402

SET = [plugin.Budget(k=3), plugin.Normmax(alpha=1.5), plugin.Fusedmax(strength=1.0), plugin.Sinkhorn(iterations=3)]
X = np.array([[-2.0, 0.0, 0.5]])


@attnlab.testing.parametrize_with_checks([plugin.Budget, plugin.Normmax, plugin.Fusedmax, plugin.Sinkhorn, *SET])
def test_contract(component, check):
    check(component)


def test_published_values():
    np.testing.assert_allclose(attnlab.normalise(X, plugin.Budget(k=2)), [[0, 1, 1]], atol=1e-12)
    np.testing.assert_allclose(attnlab.normalise(X, plugin.Budget(k=1)), [[0, 0.25, 0.75]], atol=1e-12)
    np.testing.assert_allclose(attnlab.normalise(X, plugin.Normmax()), [[0, 0.3110, 0.6890]], atol=5e-5)
    S = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1.0, 2.0]])
    W = [[0.555371, 0.254870, 0.189759], [0.355770, 0.443812, 0.200418], [0.088859, 0.301318, 0.609823]]
    np.testing.assert_allclose(attnlab.normalise(S, plugin.Sinkhorn(iterations=100)), W, atol=5e-7)


def best(objective, n, total, upper=1.0):
    found = optimize.minimize(
        objective,
        np.full(n, total / n),
        bounds=[(0, upper)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - total},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return found.x


@pytest.mark.parametrize("seed", range(5))
def test_they_solve_their_problems(seed):
    s = 1.5 * np.random.default_rng(seed).normal(size=6)
    for k in (1, 2, 4):
        W = attnlab.normalise(s[None], plugin.Budget(k=k))[0]
        np.testing.assert_allclose(W, best(lambda w: ((w - s) ** 2).sum(), 6, k), atol=1e-5)
    for alpha in (1.5, 2.0, 3.0):
        W = attnlab.normalise(s[None], plugin.Normmax(alpha=alpha))[0]
        right = best(lambda w, a=alpha: (np.abs(w) ** a).sum() ** (1 / a) - w @ s, 6, 1)
        np.testing.assert_allclose(W, right, atol=2e-4)


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.7, 3.0])
def test_the_taut_string_solves_its_problem(strength):
    """The dual problem: z = y - D'u with |u| <= strength, where D takes differences of neighbours."""
    rng = np.random.default_rng(1)
    for n in (1, 2, 5, 9):
        y = rng.normal(size=n)
        D = np.diff(np.eye(n), axis=0)
        u = optimize.lsq_linear(D.T, y, (-strength - 1e-12, strength + 1e-12), tol=1e-14).x if n > 1 else np.zeros(0)
        np.testing.assert_allclose(plugin.taut_string(y, strength), y - D.T @ u, atol=1e-5)


def test_sinkhorn_makes_rows_and_columns_sum_alike():
    rng = np.random.default_rng(0)
    S = rng.normal(size=(2, 3, 5))
    W = attnlab.normalise(S, plugin.Sinkhorn(iterations=200))
    np.testing.assert_allclose(W.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(W.sum(axis=-2), 3 / 5, rtol=1e-9)
    mask = np.ones((4, 5), bool)
    mask[2] = False
    more = np.insert(S[0], 2, 9.0, axis=0)
    found = attnlab.normalise(more, plugin.Sinkhorn(iterations=200), mask)  # a query without keys counts as absent
    np.testing.assert_allclose(np.delete(found, 2, axis=0), W[0], rtol=1e-9)
    assert (found[2] == 0).all()


def test_names_are_known():
    assert {"budget", "fusedmax", "normmax", "sinkhorn"} <= set(attnlab.names("normaliser"))
