"""The flax example runs and learns; its module computes what attnlab does, and its parameters are attnlab's `params`."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

for needed in ("flax", "jax", "optax"):
    pytest.importorskip(needed, reason="flax is not installed", exc_type=ImportError)

import jax  # noqa: E402

import attnlab  # noqa: E402

EXAMPLE = Path(__file__).parents[1] / "flax_example.py"
MECHANISMS = [
    attnlab.Mechanism(similarity="additive", normaliser="sparsemax"),
    attnlab.Mechanism(similarity="general", position="learned", modifier="forget"),
    attnlab.Mechanism(similarity="coverage"),  # it remembers
    attnlab.Mechanism(),  # it learns nothing
    attnlab.get("mechanism", "multi_head", heads=2),
]


def test_the_example_learns(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--steps", "100"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    out = capsys.readouterr().out
    said = [(float(loss), float(right)) for loss, right in re.findall(r"loss (\S+), right (\S+)", out)]
    (before, chance), (after, learned) = said
    assert after < 0.8 * before
    assert learned > chance + 0.2
    assert "similarity.Wk (16, 32)" in out


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=repr)
def test_its_parameters_are_those_of_attnlab_both_ways(mechanism):
    module = runpy.run_path(str(EXAMPLE))["Attention"](mechanism)
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(3, n, 6)).astype("float32") for n in (4, 5, 5))
    mask = rng.random((3, 4, 5)) < 0.7
    mask[..., 0] = True
    variables = jax.jit(module.init)(jax.random.key(0), Q, K, V)
    theirs = jax.tree.map(np.asarray, variables["params"]["arrays"])
    expected = mechanism.attend(theirs, Q, K, V, mask)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, Q, K, V, mask), expected, atol=1e-5)

    mine = mechanism.init(np.random.default_rng(5), 6, 6, 6)  # what attnlab has, put where flax looks for it
    assert jax.tree.structure(mine) == jax.tree.structure(theirs)
    found = module.apply({"params": {"arrays": mine}}, Q, K, V, mask)
    np.testing.assert_allclose(found, mechanism.attend(mine, Q, K, V, mask), atol=1e-5)
    other = module.init(jax.random.key(1), Q, K, V)["params"]["arrays"]
    pairs = list(zip(jax.tree.leaves(other), jax.tree.leaves(theirs), strict=True))
    assert any((a != b).any() for a, b in pairs) == bool(jax.tree.leaves(mine))
