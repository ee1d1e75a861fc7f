"""The chained decoder against the reference, for mechanisms of all kinds: states, contexts, weights, every gradient."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from attnlab import Mechanism
from attnlab.kernels.decoder_chain import ChainedPreviousState
from attnlab.kernels.gru import FastGru
from attnlab.mechanisms.compositions import MultiHead
from attnlab.models.seq2seq.decoders import Memory, PreviousState
from attnlab.models.seq2seq.recurrence import Elman, Gru
from attnlab.models.training import leaves, rebuild

MECHANISMS = {
    "additive, sparsemax": Mechanism("additive", "sparsemax"),
    "cosine, entmax": Mechanism("cosine", "entmax"),
    "neg_l2, softmax_n, alibi": Mechanism("neg_l2", "softmax_n", position="alibi"),
    "general, logn_softmax, rope": Mechanism("general", "logn_softmax", position="rope"),
    "location_aware": Mechanism("location_aware"),
    "coverage, sparsemax": Mechanism("coverage", "sparsemax"),
    "additive, monotonic": Mechanism("additive", "monotonic"),
    "scaled_dot, gather, window, softcap": Mechanism(
        "scaled_dot", "softmax", "gather", mask="window", modifier="softcap"
    ),
    "uniform, sigmoid, gaussian": Mechanism("uniform", "sigmoid", position="gaussian_local"),
}


def drawn(seed, dtype=np.float64, masked=True):
    rng = np.random.default_rng(seed)
    n, T, m, e, h, d = 3, 4, 5, 3, 4, 4
    E, start, H = (rng.normal(size=s).astype(dtype) for s in ((n, T, e), (n, h), (n, m, d)))
    mask = np.arange(m) < rng.integers(1, m + 1, size=n)[:, None] if masked else None
    lengths = np.stack([np.full(n, T), m if mask is None else mask.sum(axis=1)], axis=1) if masked else None
    return E, start, H, mask, lengths, (e, h, d)


def _reference(cell):
    return cell if isinstance(cell, Elman) else Gru(cell.linear_before_reset)


def outputs(decoder, params, E, start, H, mask, lengths):
    return decoder.run(params, E, start, Memory(H, mask, H[:, 0], lengths), training=True)


@pytest.mark.parametrize("weigh", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "cell",
    [Gru(), FastGru(), Gru(False), FastGru(False), Elman()],
    ids=["gru", "fast", "gru-reset-first", "fast-reset-first", "elman"],
)
@pytest.mark.parametrize("name", MECHANISMS)
def test_values_and_gradients_are_the_references(name, cell, masked, weigh):
    mechanism = MECHANISMS[name]
    E, start, H, mask, lengths, sizes = drawn(len(name), masked=masked)
    slow, fast = PreviousState(mechanism, _reference(cell)), ChainedPreviousState(mechanism, cell, weigh=weigh)
    params = slow.init(np.random.default_rng(1), *sizes)
    learned = [np.asarray(a, dtype=float) for _, a in leaves(params)]
    SC, W = outputs(slow, params, E, start, H, mask, lengths)
    sc, w = outputs(fast, params, E, start, H, mask, lengths)
    np.testing.assert_allclose(sc, SC, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(w, W, rtol=1e-10, atol=1e-12)
    rng = np.random.default_rng(2)
    A, B = rng.normal(size=SC.shape), rng.normal(size=W.shape)

    def gradients(decoder):
        def loss(arrays):
            now = rebuild(params, list(arrays[3:]))
            SC, W = outputs(decoder, now, *arrays[:3], mask, lengths)
            return anp.sum(SC * A) + (anp.sum(W * B) if weigh else 0.0)

        return autograd.grad(loss)([E, start, H, *learned])

    for found, expected in zip(gradients(fast), gradients(slow), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", MECHANISMS)
def test_float32_stays(name):
    mechanism = MECHANISMS[name]
    E, start, H, mask, lengths, sizes = drawn(3, np.float32)
    fast = ChainedPreviousState(mechanism, FastGru())
    params = rebuild(p := fast.init(np.random.default_rng(1), *sizes), [np.float32(a) for _, a in leaves(p)])

    def loss(arrays):
        return anp.sum(outputs(fast, rebuild(params, list(arrays[3:])), *arrays[:3], mask, lengths)[0])

    arrays = [E, start, H, *(a for _, a in leaves(params))]
    assert outputs(fast, params, E, start, H, mask, lengths)[0].dtype == np.float32
    assert {np.asarray(g).dtype for g in autograd.grad(loss)(arrays)} == {np.dtype("float32")}


def test_what_it_does_not_fit():
    assert not ChainedPreviousState.fits(MultiHead(heads=2))
    assert not ChainedPreviousState.fits(Mechanism(mask=np.ones(5, dtype=bool)))
    assert ChainedPreviousState.fits(Mechanism("location_aware", mask="causal"))
