"""Encoders: widths, ragged lengths, directions, and the fast way against the plain one."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import attnlab
from attnlab import AttentionSeq2Seq

MASK = np.array([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])


def made(name, rng, **settings):
    encoder = attnlab.get("encoder", name, **settings)
    learned = {k: v + 0.1 * rng.normal(size=v.shape) for k, v in encoder.init(rng, d_input=3, d_hidden=5).items()}
    return encoder, learned


@pytest.mark.parametrize(("name", "width"), [("embedding", 3), ("rnn", 5), ("birnn", 5)])
def test_each_sentence_is_encoded_as_if_alone(name, width):
    rng = np.random.default_rng(0)
    encoder, learned = made(name, rng)
    X = rng.normal(size=(3, 5, 3))
    H = encoder.encode(X, MASK, **learned)
    assert H.shape == (3, 5, width)
    for i, m in enumerate(MASK.sum(axis=1)):
        alone = encoder.encode(X[i : i + 1, :m], np.ones((1, m), dtype=bool), **learned)
        np.testing.assert_allclose(H[i, :m], alone[0], atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "birnn"])
def test_last_is_the_end_of_each_direction(name):
    rng = np.random.default_rng(1)
    encoder, learned = made(name, rng)
    H = encoder.encode(rng.normal(size=(3, 5, 3)), MASK, **learned)
    last = encoder.last(H, MASK)
    ends = MASK.sum(axis=1) - 1
    there = 5 if name == "rnn" else 3
    np.testing.assert_array_equal(last[:, :there], H[np.arange(3), ends, :there])
    np.testing.assert_array_equal(last[:, there:], H[:, 0, there:])


def test_birnn_knows_what_comes_and_rnn_does_not():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(1, 5, 3))
    other = X.copy()
    other[:, 4] += 1
    for name, knows in (("rnn", False), ("birnn", True)):
        encoder, learned = made(name, rng)
        mask = np.ones((1, 5), dtype=bool)
        changed = encoder.encode(other, mask, **learned)[:, 0] - encoder.encode(X, mask, **learned)[:, 0]
        assert bool(np.abs(changed).max() > 1e-9) is knows


@pytest.mark.parametrize("name", ["rnn", "birnn"])
def test_the_fast_encoder_is_the_reference(name):
    rng = np.random.default_rng(3)
    fast, learned = made(name, rng)
    plain = attnlab.get("encoder", name, backend="reference")
    X, R = rng.normal(size=(3, 5, 3)), rng.normal(size=(3, 5, 5))

    def of(encoder):
        def loss(arrays):
            return anp.sum(R * encoder.encode(arrays[0], MASK, **dict(zip(learned, arrays[1:], strict=True))))

        return autograd.value_and_grad(loss)([X, *learned.values()])

    (a, found), (b, expected) = of(fast), of(plain)
    assert a == pytest.approx(b)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-11)


# -- where the reset gate acts ------------------------------------------------------------------------------------------
SAID = [["a", "b", "c"], ["c", "a"], ["b"]] * 4


@pytest.mark.parametrize("encoder", ["rnn", "birnn"])
@pytest.mark.parametrize(
    "settings", [{}, {"attend_with": "current_state"}, {"context": "fixed"}], ids=["before", "after", "fixed"]
)
def test_a_model_whose_state_is_reset_first_is_the_same_fast_and_plain(encoder, settings):
    def fitted(backend, linear):
        return AttentionSeq2Seq(
            encoder={encoder: {"backend": backend, "linear_before_reset": linear}},
            backend=backend,
            linear_before_reset=linear,
            embedding_dim=4,
            hidden_dim=5,
            steps=5,
            dtype="float64",
            random_state=0,
            **settings,
        ).fit(SAID, SAID)

    fast, plain, other = fitted("fast", False), fitted("reference", False), fitted("fast", True)
    np.testing.assert_allclose(fast.loss_curve_, plain.loss_curve_, rtol=1e-9)
    assert abs(np.array(fast.loss_curve_) - other.loss_curve_).max() > 1e-6
    assert fast.predict(SAID) == plain.predict(SAID)
    for one, two in zip(fast.align(SAID, SAID), plain.align(SAID, SAID), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_the_setting_of_the_decoder_alone_changes_the_model():
    def losses(**settings):
        return (
            AttentionSeq2Seq(embedding_dim=4, hidden_dim=5, steps=3, random_state=0, **settings)
            .fit(SAID, SAID)
            .loss_curve_
        )

    assert losses() == losses(linear_before_reset=True)
    assert losses() != losses(linear_before_reset=False)
    assert losses() != losses(encoder={"birnn": {"linear_before_reset": False}})
