"""The same parts on torch tensors: the same numbers, the same gradients, and torch's own attention, on every device.

On a machine with a GPU: python -m pytest tests/mechanisms/test_torch.py
"""

from __future__ import annotations

import autograd
import numpy as np
import pytest
from rounds import quick, spread

import attnlab
from attnlab import Mechanism, Unsupported, attend, attention_weights
from attnlab.arrays import to_numpy
from attnlab.testing.subject import flat, unflat

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MASKS = ["all", "causal", {"window": {"width": 1}}]
# with kernels or a state each with each; every other one with a plain partner
SIMILARITIES = ("dot", "scaled_dot", "cosine", "general", "additive", "neg_l2", "uniform", "location_aware", "coverage")
NORMALISERS = ("softmax", "softmax_n", "logn_softmax", "sparsemax", "entmax", "sigmoid", "hardmax", "monotonic")
PAIRS = [
    *((similarity, normaliser) for similarity in SIMILARITIES for normaliser in NORMALISERS),
    *((name, "softmax") for name in attnlab.names("similarity") if name not in SIMILARITIES),
    *(("taylor", name) for name in attnlab.names("normaliser") if name not in (*NORMALISERS, "l1")),
]


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Where the tensors lie. NumPy may not read them, as it cannot on a GPU: attnlab asks for `to_numpy`."""

    def refuse(tensor, *args, **settings):
        raise TypeError("can't convert this tensor to numpy")

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
    return request.param


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((2, 4, 6)) < 0.6
    mask[0, 1] = False
    return rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 6, 3)), mask


def moved(leaves, device, dtype=np.float64):
    """Leaves as tensors that ask for gradients."""
    return {n: torch.tensor(np.asarray(a, dtype), device=device, requires_grad=True) for n, a in leaves.items()}


def numbers(mechanism, params, arrays, device, dtype=np.float64, **context):
    """attend's Y, and the gradient of its squares for each input and learned array: by autograd, and by torch."""
    Q, K, V, mask = arrays
    leaves = {n: np.asarray(a, dtype) for n, a in {"Q": Q, "K": K, "V": V, **flat(params)}.items()}

    def Y_of(now, mask, context):
        return mechanism.attend(unflat(params, now), now["Q"], now["K"], now["V"], mask, **context)

    ours = autograd.grad(lambda now: (Y_of(now, mask, context) ** 2).sum())(leaves)
    tensors = moved(leaves, device, dtype)
    there = {name: torch.tensor(a, device=device) for name, a in context.items()}
    Y = Y_of(tensors, torch.tensor(mask, device=device), there)
    assert isinstance(Y, torch.Tensor)
    assert Y.device.type == device
    (Y**2).sum().backward()
    theirs = {n: np.zeros(t.shape, dtype) if t.grad is None else to_numpy(t.grad) for n, t in tensors.items()}
    return (Y_of(leaves, mask, context), ours), (to_numpy(Y), theirs)


def same(found, expected, rtol, atol, what):
    (Y, gradients), (Y2, gradients2) = expected, found
    np.testing.assert_allclose(Y2, Y, rtol=rtol, atol=atol, err_msg=f"{what}: Y")
    assert Y2.dtype == Y.dtype
    for name, g in gradients.items():
        np.testing.assert_allclose(gradients2[name], g, rtol=rtol, atol=atol, err_msg=f"{what}: gradient of {name}")


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize(("similarity", "normaliser"), quick(PAIRS, spread(SIMILARITIES, NORMALISERS)))
def test_values_and_gradients_are_numpys(similarity, normaliser, device):
    remembers = Mechanism(similarity, normaliser).is_stateful  # goes query by query, which takes long
    for position in attnlab.names("position"):
        for mask in MASKS[-1:] if remembers else MASKS:
            what = f"{similarity}, {normaliser}, {position}, {mask}"
            mechanism = Mechanism(similarity, normaliser, position=position, mask=mask)
            params = mechanism.init(np.random.default_rng(0), 5, 5, 3)
            ours, theirs = numbers(mechanism, params, drawn(), device)
            same(theirs, ours, 1e-8, 1e-10, what)


@pytest.mark.parametrize("position", attnlab.names("position"))
def test_positions_stay_on_the_device(position, device, monkeypatch):
    part = attnlab.get("position", position)
    learned = attnlab.call(part, "init", rng=np.random.default_rng(0), d_query=5, d_key=5) if part.init else {}
    Q, K, _, _ = drawn()
    W = np.full((2, 4, 6), 1 / 6)
    nouns = {"Q": Q, "K": K, "S": Q @ K.mT, "W": W, "q_index": np.arange(4), "k_index": np.arange(6), **learned}
    nouns["lengths"], nouns["mask"] = np.array([[4, 6], [4, 6]]), np.tri(4, 6, dtype=bool)
    tensors = {name: torch.tensor(array, device=device) for name, array in nouns.items()}

    def refuse(tensor, *args, **settings):
        raise AssertionError("a copy from the device")

    verbs = [v for v in ("place", "bias", "reweigh") if getattr(type(part), v) is not getattr(attnlab.Position, v)]
    with monkeypatch.context() as patch:
        for name in ("numpy", "cpu", "tolist"):
            patch.setattr(torch.Tensor, name, refuse)
        found = {verb: attnlab.call(part, verb, **tensors) for verb in verbs}
    for verb, result in found.items():
        expected = attnlab.call(part, verb, **nouns)
        pairs = zip(result, expected, strict=True) if verb == "place" else [(result, expected)]
        for one, two in pairs:
            assert one.device.type == device
            np.testing.assert_allclose(to_numpy(one), two, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize("aggregator", attnlab.names("aggregator"))
@pytest.mark.parametrize("position", attnlab.names("position"))
def test_indices_and_lengths_lie_with_the_arrays(position, aggregator, device):
    mechanism = Mechanism("scaled_dot", "softmax", aggregator, position, "causal")
    params = mechanism.init(np.random.default_rng(0), 5, 5, 3)
    context = {
        "q_index": np.array([[3, 0, 7, 2], [0, 1, 2, 3]]),
        "k_index": np.array([[5, 1, 0, 2, 9, 3], [0, 1, 2, 3, 4, 5]]),
        "lengths": np.array([[9, 12], [4, 6]]),
    }
    if position == "gaussian_local" and aggregator in ("local_linear", "parallax"):
        with pytest.raises(Unsupported, match="needs weights of which each row sums to one"):
            numbers(mechanism, params, drawn(), device, **context)
        return
    ours, theirs = numbers(mechanism, params, drawn(), device, **context)
    same(theirs, ours, 1e-8, 1e-10, f"{position}, {aggregator}")


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize(("similarity", "normaliser"), PAIRS)
def test_float32_stays_float32(similarity, normaliser, device):
    mechanism = Mechanism(similarity, normaliser, position="t5_bias")
    params = mechanism.init(np.random.default_rng(0), 5, 5, 3)
    ours, theirs = numbers(mechanism, params, drawn(), device, np.float32)
    same(theirs, ours, 1e-3, 1e-4, f"{similarity}, {normaliser}")
    assert all(g.dtype == np.float32 for g in theirs[1].values())


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


def test_integers_become_floats():
    """As NumPy's do: scores of integers would be integers, and a part refused them in words about itself."""
    rng = np.random.default_rng(0)
    Q, K, V = (rng.integers(-3, 4, size=shape) for shape in ((2, 3), (4, 3), (4, 2)))
    for similarity in ("dot", "uniform", "cosine", "neg_l2"):
        right = attend(Q, K, V, similarity, rng=0)
        found = attend(*(torch.asarray(X) for X in (Q, K, V)), similarity, rng=0)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), right, atol=1e-12)
    with pytest.raises(TypeError, match="real numbers"):
        attend(torch.ones((1, 2), dtype=torch.complex64), torch.ones((1, 2)), torch.ones((1, 2)))


def test_products_beyond_the_dtype():
    """In float32 they are computed in float64, which has the range; beyond that there is nothing wider."""
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(2, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    right = attention_weights(1e30 * Q, 1e30 * K)
    large = [torch.asarray((1e30 * X).astype(np.float32)) for X in (Q, K)]
    found = attention_weights(*large)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), right, atol=1e-6)
    with pytest.raises(Unsupported, match=r"beyond the range of torch.float64"):
        attend(*(torch.asarray(X) for X in (1e300 * Q, 1e300 * K, V)))
