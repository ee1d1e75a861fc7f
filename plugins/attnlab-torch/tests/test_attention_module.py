"""The module computes what attnlab does, learns, and gives its numbers back."""

import copy
import io

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


KINDS = ("similarity", "normaliser", "aggregator", "position", "modifier", "mask", "mechanism")
QUICK = ("general", "gumbel", "local_linear", "differential")  # the others take a minute
EVERY = [
    pytest.param(kind, name, marks=[] if name in QUICK else pytest.mark.long)
    for kind in KINDS
    for name in attnlab.names(kind)
]


def made_of(kind, name, seed=0, dtype=torch.float64):
    """The module of a mechanism with this part, and with what else the part needs."""
    parts = {kind: name} | ({"similarity": "taylor"} if name == "l1" else {})
    if name == "bias":
        parts = {"modifier": attnlab.get("modifier", "bias", array=np.random.default_rng(0).normal(size=(5, 5)))}
    return plugin.AttentionModule(name if kind == "mechanism" else parts, 6, rng=seed, dtype=dtype)


def same_sizes(*lead):
    rng = np.random.default_rng(3)
    mask = rng.random((*lead, 5, 5)) < 0.7
    mask[..., 0] = True
    return (*(rng.normal(size=(*lead, 5, 6)) for _ in range(3)), mask)


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize(("kind", "name"), EVERY)
class TestEveryPart:
    def test_values_and_gradients(self, kind, name):
        module = made_of(kind, name)
        for training, arrays in ((True, same_sizes(3)), (False, (*same_sizes(2, 2)[:3], np.tri(5, dtype=bool)))):
            module.train(training)
            bound = module.mechanism.bind("reference")
            rng = copy.deepcopy(module._rng) if training else None
            context = bound.context(*arrays, training=training, rng=rng)
            Y, back = bound.pull(module.params(), *arrays[:3], context, frozenset({"Q", "K", "V", "params"}))
            R = np.random.default_rng(1).normal(size=Y.shape)
            expected = back(R)
            expected |= dict(plugin._leaves(expected.get("params", {})))
            tensors = {n: torch.tensor(a, requires_grad=True) for n, a in zip("QKV", arrays[:3], strict=True)}
            module.zero_grad(set_to_none=True)
            found = module(*tensors.values(), mask=torch.tensor(arrays[3]))
            np.testing.assert_allclose(found.detach(), Y, rtol=1e-9, atol=1e-9)
            (found * torch.tensor(R)).sum().backward()
            for noun, tensor in {**tensors, **dict(plugin._leaves(module.arrays.tree()))}.items():
                mine = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
                theirs = expected.get(noun, np.zeros(tensor.shape))
                np.testing.assert_allclose(mine, theirs, atol=1e-9 * max(1, np.abs(theirs).max()), err_msg=noun)

    def test_it_is_a_module_like_others(self, kind, name):
        module = made_of(kind, name).eval()
        Q, K, V = (torch.tensor(a) for a in same_sizes(3)[:3])
        with torch.no_grad():
            Y = module(Q, K, V)
            assert torch.equal(copy.deepcopy(module)(Q, K, V), Y)
            file = io.BytesIO()
            torch.save(module, file)
            file.seek(0)
            assert torch.equal(torch.load(file, weights_only=False)(Q, K, V), Y)
            other = made_of(kind, name, seed=7).eval()
            other.load_state_dict(module.state_dict())
            assert torch.equal(other(Q, K, V), Y)
            assert torch.equal(made_of(kind, name, seed=7).eval().load_params(module.params())(Q, K, V), Y)
            assert module(Q[:0], K[:0], V[:0]).shape[:2] == (0, 5)

    def test_it_trains_in_every_dtype(self, kind, name):
        Q = torch.tensor(same_sizes(3)[0])
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            module = made_of(kind, name).to(dtype)
            Y = module(Q.to(dtype).requires_grad_())
            assert Y.dtype == dtype
            assert torch.isfinite(Y).all()
            if Y.requires_grad:
                Y.float().sum().backward()
        net = torch.nn.Sequential(torch.nn.Linear(6, 6), made_of(kind, name, dtype=torch.float32))
        with torch.autocast("cpu", torch.bfloat16):
            Y = net(Q.float())
        assert Y.dtype == torch.bfloat16
        adam = torch.optim.Adam(net.parameters())
        Y.float().square().mean().backward() if Y.requires_grad else None
        adam.step()
        assert all(torch.isfinite(one).all() for one in net.parameters())


def test_what_draws_at_random_draws_in_training_alone():
    module = plugin.AttentionModule({"normaliser": "gumbel"}, 6, rng=0)
    Q = torch.tensor(same_sizes(3)[0])
    assert not torch.equal(module(Q), module(Q))
    module.eval()
    assert torch.equal(module(Q), module(Q))


def test_it_shows_its_mechanism():
    assert "Mechanism(similarity='additive'" in repr(plugin.AttentionModule({"similarity": "additive"}, 6))


def test_places_can_be_given():
    module = plugin.AttentionModule({"position": "alibi"}, 6, rng=0)
    Q, K, V, _ = (torch.tensor(a) for a in same_sizes(3))
    whole, weights = module(Q, K, V), module.weights(Q, K)
    last = torch.tensor([4])
    torch.testing.assert_close(module(Q[:, 4:], K, V, q_index=last), whole[:, 4:])
    torch.testing.assert_close(module.weights(Q[:, 4:], K, q_index=last), weights[:, 4:])


@pytest.mark.parametrize("mechanism", [{"similarity": "general"}, "multi_head", "differential"])
def test_what_does_not_fit_is_refused(mechanism):
    module = plugin.AttentionModule(mechanism, 6, rng=0)
    Q = torch.ones(3, 5, 6)
    with pytest.raises(attnlab.ShapeError, match=r"query must be \(\.\.\., q, 6\) as d_query=6; got \(3, 5, 7\)"):
        module(torch.ones(3, 5, 7), Q)
    with pytest.raises(TypeError, match=r"key must be a torch\.Tensor; got ndarray"):
        module(Q, np.ones((3, 5, 6)))
    with pytest.raises(TypeError, match="mask must be boolean, True = may attend"):
        module(Q, mask=torch.zeros(5, 5))
