"""The stack's gradient by hand: that of autograd, finite differences, and PyTorch's own modules."""

from __future__ import annotations

import autograd
import numpy as np
import pytest

import attnlab
from attnlab.data import AlignmentData
from attnlab.models.stack.gradient import loss_and_gradient
from attnlab.models.training import leaves, rebuild

SETTINGS = [
    {},
    {"norm": "layer", "short_conv": 2, "layers": 1},
    {"norm": "none", "mlp": 0, "tied": True},
    {"causal": False, "layers": 3, "mlp": 1},
    {"mechanism": {"similarity": "additive", "normaliser": "sparsemax", "position": "alibi"}},
    {"mechanism": {"modifier": "forget", "mask": "window", "position": "short_conv"}},
    {"mechanism": "differential", "layers": 1},
    {"mechanism": {"similarity": "coverage"}, "layers": 1, "mlp": 0},  # a part that remembers
    {"by_layer": [{"normaliser": "sigmoid"}, {"similarity": "general", "position": "t5_bias"}]},
]
NUMBERS = [(3, 0), (3, 2), (0, 1)]  # inputs of a place beside its token, and numbers that it says; 0 is a class


def sequences(rng, n=5, length=7, tokens=6, inputs=0, says=0):
    sizes = rng.integers(2, length + 1, size=n)
    ids = [rng.integers(tokens, size=size) for size in sizes]
    labels = [np.where(rng.random(size) < 0.7, rng.integers(4, size=size), -1) for size in sizes]
    labels[0][:2] = 3
    if not inputs and not says:
        return AlignmentData.of_sequences(ids, labels)
    longest = max(sizes)
    numbers = rng.normal(size=(n, longest, inputs)) if inputs else None
    if says:
        counts = AlignmentData.of_sequences(ids, labels).alive
        labels = np.where(counts[:, :, None], rng.normal(size=(n, longest, says)), np.nan)
    return AlignmentData.of_sequences(ids, labels, inputs=numbers)


def moved(settings, seed=0, **sizes):
    """A stack with arrays that nothing makes special, its places, and their arrays as a list."""
    rng = np.random.default_rng(seed)
    data = sequences(rng, **sizes)
    stack = attnlab.AttentionStack(hidden_dim=8, heads=2, dtype="float64", steps=1, random_state=seed, **settings).fit(
        data
    )
    arrays = [a + 0.1 * rng.normal(size=a.shape) for _, a in leaves(stack.params_)]
    return stack, stack._reader.read(data), rebuild(stack.params_, arrays)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_is_that_of_autograd(settings):
    stack, places, params = moved(settings)
    arrays = [a for _, a in leaves(params)]
    loss, found = loss_and_gradient(stack._network, params, places)
    expected, gradients = autograd.value_and_grad(lambda now: stack._network.loss(rebuild(params, now), places))(arrays)
    assert loss == pytest.approx(expected, rel=1e-12)
    for (path, mine), his in zip(leaves(found), gradients, strict=True):
        np.testing.assert_allclose(mine, his, atol=1e-12, err_msg=".".join(path))


@pytest.mark.parametrize(
    "settings", [{"layers": 1}, {"norm": "layer", "mlp": 0, "short_conv": 1, "layers": 1}], ids=str
)
@pytest.mark.parametrize(("inputs", "says"), NUMBERS)
def test_it_is_that_of_autograd_where_places_read_or_say_numbers(inputs, says, settings):
    stack, places, params = moved(settings, inputs=inputs, says=says)
    arrays = [a for _, a in leaves(params)]
    loss, found = loss_and_gradient(stack._network, params, places)
    expected, gradients = autograd.value_and_grad(lambda now: stack._network.loss(rebuild(params, now), places))(arrays)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert [path for path, _ in leaves(found)] == [path for path, _ in leaves(params)]
    assert (("inputs", "F") in dict(leaves(found))) == bool(inputs)
    for (path, mine), his in zip(leaves(found), gradients, strict=True):
        np.testing.assert_allclose(mine, his, atol=1e-12, err_msg=".".join(path))


def test_the_loss_of_numbers_is_the_mean_squared_error_of_the_places_that_count():
    stack, places, params = moved({"layers": 1}, inputs=2, says=3)
    data = sequences(np.random.default_rng(0), inputs=2, says=3)
    stack.params_ = params
    away = (stack.predict(data) - data.target)[data.alive]
    assert loss_and_gradient(stack._network, params, places)[0] == pytest.approx((away**2).mean())
    assert stack._look(params, data) == {"loss": pytest.approx((away**2).mean())}
    target = data.target[data.alive]
    assert stack.score(data) == pytest.approx(1 - (away**2).mean() / target.var(axis=0).mean())


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_finite_differences_agree(settings):
    stack, places, params = moved(settings, seed=1)
    found = dict(leaves(loss_and_gradient(stack._network, params, places)[1]))
    rng = np.random.default_rng(2)
    for path, array in leaves(params):
        direction = rng.normal(size=array.shape)
        ahead, behind = (
            loss_and_gradient(
                stack._network,
                rebuild(params, [a + step * direction if p == path else a for p, a in leaves(params)]),
                places,
            )[0]
            for step in (1e-5, -1e-5)
        )
        assert np.vdot(found[path], direction) == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-8), path


def test_tokens_that_are_not_known_are_zeros_and_learn_nothing():
    stack, _, params = moved({})
    data = AlignmentData.of_sequences([[0, 99, 1]], [[1, 1, 1]])
    _, found = loss_and_gradient(stack._network, params, stack._reader.read(data))
    used = np.flatnonzero(np.abs(found["embedding"]["E"]).sum(axis=1))
    assert used.tolist() == [0, 1]


# -- PyTorch's own modules ------------------------------------------------------------------------------------------
def peer(torch, norm, conv, tied, layers, mlp, n_tokens, n_classes, d=8, heads=2):
    """The same model in PyTorch, without positions."""
    from torch import nn

    def normed():
        return {"rms": nn.RMSNorm, "layer": nn.LayerNorm}[norm](d, eps=1e-5)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.mlp_norm = normed(), normed() if mlp else None
            self.conv = nn.Conv1d(d, d, conv + 1, padding=conv, groups=d, bias=False) if conv else None
            self.heads = nn.MultiheadAttention(d, heads, bias=False, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(d, mlp * d), nn.GELU("tanh"), nn.Linear(mlp * d, d)) if mlp else None

        def forward(self, x, forbidden):
            h = self.norm(x)
            if self.conv is not None:
                h = self.conv(h.mT)[..., : x.shape[1]].mT
            x = x + self.heads(h, h, h, attn_mask=forbidden, need_weights=False)[0]
            return x if self.mlp is None else x + self.mlp(self.mlp_norm(x))

    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(n_tokens, d)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = normed()
            self.readout = None if tied else nn.Linear(d, n_classes, bias=False)

        def forward(self, ids):
            x = self.embedding(ids)
            length = ids.shape[1]
            forbidden = torch.ones(length, length, dtype=torch.bool).triu(1)
            for layer in self.layers:
                x = layer(x, forbidden)
            x = self.norm(x)
            return x @ self.embedding.weight.T / d**0.5 if tied else self.readout(x)

    return Stack().double()


def copied(torch, model, params, norm, conv):
    """Which array of the stack each parameter of the peer is, after copying it over: {name: (path, transform)}."""
    found = {"embedding.weight": (("embedding", "E"), lambda a: a)}
    gains = {"weight": "gain"} | ({"bias": "shift"} if norm == "layer" else {})
    for mine, his in gains.items():
        found[f"norm.{mine}"] = (("norm", his), lambda a: a)
    if model.readout is not None:
        found["readout.weight"] = (("readout", "U"), lambda a: a.T)
    for i in params["layers"]:
        at, to = f"layers.{i}.", ("layers", i)
        for mine, his in gains.items():
            found[f"{at}norm.{mine}"] = ((*to, "norm", his), lambda a: a)
            if params["layers"][i]["mlp"]:
                found[f"{at}mlp_norm.{mine}"] = ((*to, "mlp_norm", his), lambda a: a)
        found[at + "heads.out_proj.weight"] = ((*to, "attention", "Wo"), lambda a: a.T)
        if params["layers"][i]["mlp"]:
            for mine, his in (("mlp.0.weight", "W1"), ("mlp.2.weight", "W2")):
                found[at + mine] = ((*to, "mlp", his), lambda a: a.T)
            for mine, his in (("mlp.0.bias", "b1"), ("mlp.2.bias", "b2")):
                found[at + mine] = ((*to, "mlp", his), lambda a: a)
    flat, named = dict(leaves(params)), dict(model.named_parameters())
    with torch.no_grad():
        for name, (path, change) in found.items():
            named[name].copy_(torch.tensor(np.array(change(flat[path]))))
        for i, layer in enumerate(model.layers):
            own = params["layers"][str(i)]
            joined = np.concatenate([own["attention"][w].T for w in ("Wq", "Wk", "Wv")])
            layer.heads.in_proj_weight.copy_(torch.tensor(joined))
            if conv:  # PyTorch's last weight is the place's own
                C = np.concatenate([own["conv"]["C"][::-1], np.ones((1, joined.shape[1]))])
                layer.conv.weight.copy_(torch.tensor(C.T[:, None].copy()))
    return found


@pytest.mark.parametrize(
    ("norm", "conv", "tied", "layers", "mlp"),
    [("rms", 0, False, 2, 4), ("layer", 2, False, 2, 2), ("rms", 1, True, 3, 0), ("layer", 0, True, 1, 1)],
)
def test_values_and_every_gradient_are_those_of_pytorchs_modules(norm, conv, tied, layers, mlp):
    torch = pytest.importorskip("torch", reason="pip install 'attnlab[torch]'")
    settings = {"norm": norm, "short_conv": conv, "tied": tied, "layers": layers, "mlp": mlp}
    stack, places, params = moved({**settings, "mechanism": {"similarity": "scaled_dot"}}, n=4, length=9)
    model = peer(torch, norm, conv, tied, layers, mlp, stack.n_tokens_, stack.n_classes_)
    found = copied(torch, model, params, norm, conv)
    loss, gradient = loss_and_gradient(stack._network, params, places)

    scores = model(torch.tensor(places.ids)).reshape(-1, stack.n_classes_)[torch.tensor(places.where)]
    his = torch.nn.functional.cross_entropy(scores, torch.tensor(places.labels))
    his.backward()
    assert loss == pytest.approx(his.item(), abs=1e-9)
    states = stack._network.states(params, places)
    mine = stack._network.logits(params, states).reshape(-1, stack.n_classes_)[places.where]
    np.testing.assert_allclose(mine, scores.detach().numpy(), atol=1e-9)
    flat, named = dict(leaves(gradient)), dict(model.named_parameters())
    for name, (path, change) in found.items():
        np.testing.assert_allclose(change(flat[path]), named[name].grad.numpy(), atol=1e-9, err_msg=name)
    for i, layer in enumerate(model.layers):
        own = gradient["layers"][str(i)]
        joined = np.concatenate([own["attention"][w].T for w in ("Wq", "Wk", "Wv")])
        np.testing.assert_allclose(joined, layer.heads.in_proj_weight.grad.numpy(), atol=1e-9)
        if conv:
            np.testing.assert_allclose(own["conv"]["C"], layer.conv.weight.grad.numpy()[:, 0, :-1].T[::-1], atol=1e-9)
