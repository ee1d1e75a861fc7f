"""The module computes what attnlab does, learns, and gives its numbers back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
plugin = pytest.importorskip("attnlab_torch", reason="not installed: pip install ./plugins/attnlab-torch")

import attnlab  # noqa: E402

MECHANISMS = [
    {"similarity": "additive", "normaliser": "sparsemax"},
    {"similarity": "general", "position": "t5_bias", "modifier": "forget"},
    {"multi_head": {"heads": 2}},
    "differential",
]


def nouns(seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(3, 4, 6)),
        rng.normal(size=(3, 5, 6)),
        rng.normal(size=(3, 5, 6)),
        rng.random((3, 4, 5)) < 0.7,
    )


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_values_and_gradients_are_those_of_attnlab(mechanism):
    module = plugin.AttentionModule(mechanism, 6, rng=0, dtype=torch.float64)
    Q, K, V, mask = nouns()
    mask[..., 0] = True
    tensors = [torch.tensor(a, requires_grad=True) for a in (Q, K, V)]
    Y = module(*tensors, mask=torch.tensor(mask))
    np.testing.assert_allclose(Y.detach(), module.mechanism.attend(module.params(), Q, K, V, mask), atol=1e-9)
    W = module.weights(*tensors[:2], mask=torch.tensor(mask)).detach()
    np.testing.assert_allclose(W, module.mechanism.weights(module.params(), Q, K, mask), atol=1e-9)
    R = np.random.default_rng(1).normal(size=Y.shape)
    (Y * torch.tensor(R)).sum().backward()
    bound = module.mechanism.bind()
    context = bound.context(Q, K, V, mask)
    _, back = bound.pull(module.params(), Q, K, V, context, frozenset({"Q", "K", "V", "params"}))
    found = back(R)
    for name, tensor in zip("QKV", tensors, strict=True):
        np.testing.assert_allclose(tensor.grad, found[name], atol=1e-9)
    mine = dict(plugin._leaves(module.arrays.tree()))
    assert mine
    for name, gradient in plugin._leaves(found["params"]):
        np.testing.assert_allclose(mine[name].grad, gradient, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_state_and_params_go_round(mechanism):
    one, other = (plugin.AttentionModule(mechanism, 6, rng=seed) for seed in (0, 1))
    Q, K, V, _ = (torch.tensor(a, dtype=torch.float32) for a in nouns())
    assert not torch.allclose(one(Q, K, V), other(Q, K, V))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(Q, K, V), other(Q, K, V))
    third = plugin.AttentionModule(mechanism, 6, rng=2).load_params(one.params())
    assert torch.equal(one(Q, K, V), third(Q, K, V))
    assert all(name.startswith("arrays.") for name in one.state_dict())


def test_it_takes_what_an_estimator_learned_and_learns_on():
    data = attnlab.get("task", "lookup", n_keys=6, d=6, n_train=64).make(np.random.default_rng(0)).train
    aligner = attnlab.AttentionAligner({"similarity": "general"}, steps=5, random_state=0).fit(data)
    module = plugin.AttentionModule(aligner.mechanism_, 6, dtype=torch.float64).load_params(
        aligner.params_["mechanism"]
    )
    Q, K, V = (torch.tensor(a) for a in (data.Q, data.K, data.V))
    np.testing.assert_allclose(module.weights(Q, K).detach(), aligner.align(data), atol=1e-9)
    adam = torch.optim.Adam(module.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = ((module(Q, K, V) - torch.tensor(np.asarray(data.gold @ data.V))) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_params_that_do_not_fit_are_named_and_change_nothing():
    module = plugin.AttentionModule({"similarity": "general"}, 3, rng=0)
    before = module.params()
    wrong = {"similarity": {"W": np.zeros((2, 3)), "U": np.zeros(1)}}
    with pytest.raises(
        ValueError, match=r"similarity\.U is none of similarity\.W; similarity\.W must be \(3, 3\); got \(2, 3\)"
    ):
        module.load_params(wrong)
    np.testing.assert_array_equal(module.params()["similarity"]["W"], before["similarity"]["W"])
