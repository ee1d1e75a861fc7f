"""The same parts on torch tensors: the same numbers, the same gradients, and torch's own attention."""

from __future__ import annotations

import autograd
import numpy as np
import pytest

from attnlab import Mechanism, attend, attention_weights

torch = pytest.importorskip("torch", exc_type=ImportError)

SIMILARITIES = ("dot", "scaled_dot", "cosine", "general", "additive", "neg_l2", "uniform")
NORMALISERS = ("softmax", "softmax_n", "logn_softmax", "sparsemax", "entmax", "sigmoid", "hardmax")


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((2, 4, 6)) < 0.6
    mask[0, 1] = False
    return rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 6, 3)), mask


def tensors(tree, grad=False):
    if isinstance(tree, dict):
        return {name: tensors(a, grad) for name, a in tree.items()}
    return torch.tensor(tree, requires_grad=grad)


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize("aggregator", ["weighted_sum", "gather"])
@pytest.mark.parametrize("position", ["none", "sinusoidal"])
@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_values_and_gradients_are_numpys(similarity, normaliser, position, aggregator):
    Q, K, V, mask = drawn()
    mechanism = Mechanism(similarity, normaliser, aggregator, position, mask=["all", {"window": {"width": 4}}])
    params = mechanism.init(np.random.default_rng(0), 5, 5, 3)

    def loss(Q, K, V, params):
        return (mechanism.attend(params, Q, K, V, mask) ** 2).sum()

    tQ, tK, tV = (tensors(a, grad=True) for a in (Q, K, V))
    tparams = tensors(params, grad=True)
    Y = mechanism.attend(tparams, tQ, tK, tV, torch.tensor(mask))
    assert isinstance(Y, torch.Tensor)
    np.testing.assert_allclose(Y.detach().numpy(), mechanism.attend(params, Q, K, V, mask), rtol=1e-10, atol=1e-12)

    (Y**2).sum().backward()
    ours = [autograd.grad(loss, i)(Q, K, V, params) for i in range(4 if params["similarity"] else 3)]
    for tensor, g in zip((tQ, tK, tV), ours, strict=False):
        theirs = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(theirs, g, rtol=1e-8, atol=1e-10)
    for name, g in ours[3]["similarity"].items() if params["similarity"] else ():
        np.testing.assert_allclose(tparams["similarity"][name].grad.numpy(), g, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [None, "array", "causal"])
def test_scaled_dot_product_attention(masked, dtype):
    Q, K, V, mask = (torch.tensor(a) for a in drawn())
    mask[0, 1, 0] = True  # torch has no answer for a query without keys
    Q, K, V = (a.to(dtype) for a in (Q, K, V))
    theirs = torch.nn.functional.scaled_dot_product_attention(
        Q, K, V, attn_mask=mask if masked == "array" else None, is_causal=masked == "causal"
    )
    ours = attend(Q, K, V, mask={None: "all", "array": mask, "causal": "causal"}[masked])
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs)
    numpys = attend(
        *(a.numpy() for a in (Q, K, V)), mask={None: "all", "array": mask.numpy(), "causal": "causal"}[masked]
    )
    np.testing.assert_allclose(numpys, theirs.numpy(), rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)


def test_no_keys_dead_rows_and_rng():
    Q, K, V, mask = (torch.tensor(a) for a in drawn())
    assert attend(Q, K[:, :0], V[:, :0]).shape == (2, 4, 3)
    assert (attention_weights(Q, K, mask=mask)[0, 1] == 0).all()
    Y = attend(Q, K, V, similarity="additive", rng=0)
    assert isinstance(Y, torch.Tensor)
    np.testing.assert_allclose(Y.numpy(), attend(*(a.numpy() for a in (Q, K, V)), similarity="additive", rng=0))


@pytest.mark.parametrize(
    "normaliser", ["softmax", "sparsemax", "entmax", {"entmax": {"alpha": 8.0}}, "hardmax"], ids=str
)
def test_what_nobody_may_read_changes_nothing_and_nan_stays(normaliser):
    Q, K, V, _ = (torch.tensor(a) for a in drawn())
    mask = torch.ones(Q.shape[-2], K.shape[-2], dtype=torch.bool)
    mask[:, 0] = False
    mask[1:, 1] = False
    K2, V2 = K.clone(), V.clone()
    K2[:, 0], V2[:, 0] = torch.nan, torch.inf
    found = [a.clone().requires_grad_() for a in (Q, K2, V2)]
    expected = [a.clone().requires_grad_() for a in (Q, K, V)]
    for arrays in (found, expected):
        attend(*arrays, mask=mask, normaliser=normaliser).square().sum().backward()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    V2[:, 1] = torch.nan
    seen = attend(Q, K2, V2, mask=mask, normaliser=normaliser)
    assert seen[:, 0].isnan().all()
    torch.testing.assert_close(seen[:, 1:], attend(Q, K, V, mask=mask, normaliser=normaliser)[:, 1:])
    K2[:, 1] = torch.nan
    assert attention_weights(Q, K2, mask=mask, normaliser=normaliser)[:, 0].isnan().any(dim=-1).all()


def test_libraries_do_not_mix():
    Q, K, V, mask = drawn()
    with pytest.raises(TypeError, match="arrays of different libraries are mixed: numpy, torch"):
        attend(torch.tensor(Q), K, V)
    with pytest.raises(TypeError, match="arrays of different libraries are mixed: numpy, torch"):
        attend(Q, K, V, mask=torch.tensor(mask))
