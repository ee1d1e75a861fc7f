"""The plain recurrent unit: its formula, its gradients, and where encoders and the decoder are made of it."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import attnlab
from attnlab import AttentionSeq2Seq, SettingError
from attnlab.models.seq2seq.recurrence import Elman

MASK = np.array([[True] * 4, [True] * 2 + [False] * 2])
X = [["a", "b"], ["b", "a"], ["a", "c"], ["c", "b"]] * 6
Y = [[w.upper() for w in reversed(x)] for x in X]
SMALL = {"embedding_dim": 12, "hidden_dim": 12, "learning_rate": 0.02, "random_state": 0}


def drawn(rng, n=2, m=4, d=3, h=5):
    shapes = [(n, m, d), (n, h), (d, h), (h, h), (h,), (h,)]
    return [rng.normal(size=shape) for shape in shapes]


def test_each_state_is_tanh_of_the_input_and_the_state_before():
    inputs, start, Wi, Wh, bi, bh = drawn(np.random.default_rng(0))
    H = Elman().run(inputs, start, MASK, Wi, Wh, bi, bh)
    for e in range(2):
        s = start[e]
        for t in range(4):
            if MASK[e, t]:
                s = np.tanh(inputs[e, t] @ Wi + bi + s @ Wh + bh)
            np.testing.assert_allclose(H[e, t], s, atol=1e-14)


def test_its_gradients_are_those_of_central_differences():
    rng = np.random.default_rng(1)
    arrays, R = drawn(rng), rng.normal(size=(2, 4, 5))

    def loss(arrays):
        return anp.sum(R * Elman().run(*arrays[:2], MASK, *arrays[2:]))

    for i, g in enumerate(autograd.grad(loss)(arrays)):
        towards = rng.normal(size=g.shape)
        ends = [loss([a + sign * 1e-6 * towards if j == i else a for j, a in enumerate(arrays)]) for sign in (1, -1)]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(np.sum(g * towards), abs=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_the_rnn_of_pytorch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    inputs, start, *learned = [a.astype(dtype) for a in drawn(np.random.default_rng(2))]
    peer = torch.nn.RNN(3, 5, batch_first=True).to(getattr(torch, dtype))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    with torch.no_grad():
        for name, array in zip(names, learned, strict=True):
            getattr(peer, name).copy_(torch.from_numpy(np.ascontiguousarray(array.T)))
        H, _ = peer(torch.tensor(inputs), torch.tensor(start[None]))
    np.testing.assert_allclose(Elman().run(inputs, start, None, *learned), H.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "birnn"])
def test_an_encoder_of_plain_units_encodes_each_sentence_as_if_alone(name):
    rng = np.random.default_rng(3)
    encoder = attnlab.get("encoder", name, cell="rnn")
    learned = {k: v + 0.1 * rng.normal(size=v.shape) for k, v in encoder.init(rng, d_input=3, d_hidden=5).items()}
    inputs = rng.normal(size=(2, 4, 3))
    H = encoder.encode(inputs, MASK, **learned)
    for e, m in enumerate(MASK.sum(axis=1)):
        alone = encoder.encode(inputs[e : e + 1, :m], np.ones((1, m), dtype=bool), **learned)
        np.testing.assert_allclose(H[e, :m], alone[0], atol=1e-12)
    there = learned["Wi"].shape[1]
    first = np.tanh(inputs[:, 0] @ learned["Wi"] + learned["bi"] + learned["bh"])
    np.testing.assert_allclose(H[:, 0, :there], first, atol=1e-12)


@pytest.mark.parametrize(
    "settings", [{}, {"attend_with": "current_state"}, {"context": "fixed"}, {"encoder": {"birnn": {"cell": "rnn"}}}]
)
def test_a_decoder_of_plain_units_learns_and_says_what_answers(settings):
    model = AttentionSeq2Seq(cell="rnn", steps=150, **SMALL, **settings).fit(X, Y)
    assert model.exact_match(X, Y) > 0.9
    gated = AttentionSeq2Seq(steps=1, **SMALL, **settings).fit(X, Y)
    assert model.n_parameters_ < gated.n_parameters_
    encoder = "reference" if "encoder" in settings else "fast"
    roles = ["decoder=reference", f"encoder={encoder}"]
    roles += [] if "context" in settings else ["mechanism=fast"]
    assert model.backend_ == ", ".join(roles)


def test_there_are_two_units():
    with pytest.raises(SettingError, match="cell must be 'gru' or 'rnn'; got 'lstm'"):
        AttentionSeq2Seq(cell="lstm", **SMALL).fit(X, Y)
    with pytest.raises(SettingError, match="cell must be 'gru' or 'rnn'; got 'lstm'"):
        attnlab.get("encoder", "birnn", cell="lstm")
