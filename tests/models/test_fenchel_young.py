"""Losses of Fenchel and Young: values, gradients, and learning where a likelihood has no gradient."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

import attnlab
from attnlab import AlignmentData, AttentionAligner, Mechanism, Unsupported
from attnlab.models.fenchel_young import fenchel_young
from attnlab.parts.normalisers import Entmax, Softmax, Sparsemax

FAMILY = [Softmax(), Softmax(temperature=0.5), Sparsemax(), Entmax(1.5), Entmax(1.2), Entmax(1), Entmax(2.5)]
RNG = np.random.default_rng(0)
S = RNG.normal(size=(6, 5)) * 2
Y = np.eye(5)[RNG.integers(5, size=6)]
EVERY = np.ones((6, 5), dtype=bool)


@pytest.mark.parametrize("normaliser", FAMILY, ids=repr)
def test_the_gradient_is_that_of_the_value(normaliser):
    _, g = fenchel_young(normaliser, S, Y, EVERY)
    for i, j in np.ndindex(*S.shape):
        step = np.zeros_like(S)
        step[i, j] = 1e-6
        up, down = (fenchel_young(normaliser, S + sign * step, Y, EVERY)[0].sum() for sign in (1, -1))
        assert (up - down) / 2e-6 == pytest.approx(g[i, j], abs=1e-7)


def test_of_softmax_it_is_the_cross_entropy():
    loss, _ = fenchel_young(Softmax(), S, Y, EVERY)
    np.testing.assert_allclose(loss, logsumexp(S, axis=-1) - (S * Y).sum(axis=-1), atol=1e-12)


def test_of_sparsemax_it_is_that_of_martins_and_astudillo():
    """L = -s_y + 1/2 sum over the support of (s_j^2 - tau^2) + 1/2."""
    loss, _ = fenchel_young(Sparsemax(), S, Y, EVERY)
    W = attnlab.normalise(S, "sparsemax")
    tau = np.array([(s[w > 0] - w[w > 0]).mean() for s, w in zip(S, W, strict=True)])
    support = np.where(W > 0, S**2 - tau[:, None] ** 2, 0).sum(axis=-1)
    np.testing.assert_allclose(loss, -(S * Y).sum(axis=-1) + support / 2 + 0.5, atol=1e-12)


@pytest.mark.parametrize(
    ("normaliser", "margin"), [(Sparsemax(), 1.0), (Entmax(1.5), 2.0), (Entmax(2.5), 2 / 3)], ids=repr
)
def test_it_is_zero_from_the_margin_on(normaliser, margin):
    """The margin is 1 / (alpha - 1)."""
    for lead, zero in ((margin + 1e-6, True), (margin - 1e-2, False)):
        loss, g = fenchel_young(normaliser, np.array([[lead, 0.0, 0.0]]), np.eye(3)[:1], np.ones((1, 3), dtype=bool))
        assert bool(loss[0] < 1e-12) == zero
        assert bool(np.abs(g).max() < 1e-5) == zero


def test_a_forbidden_key_takes_no_part():
    mask = EVERY.copy()
    mask[:, 2] = Y[:, 2] > 0
    wild = np.where(mask, S, np.nan)
    for normaliser in FAMILY:
        loss, g = fenchel_young(normaliser, wild, Y, mask)
        short = np.array(
            [fenchel_young(normaliser, S[i : i + 1, m], Y[i : i + 1, m], m[None, m])[0][0] for i, m in enumerate(mask)]
        )
        np.testing.assert_allclose(loss, short, atol=1e-12)
        assert not g[~mask].any()


def lookup(n=200, seed=0, **settings):
    task = attnlab.get("task", "lookup", n_keys=8, d=8, noise=0.1, n_train=n, n_test=100, **settings)
    return task.make(np.random.default_rng(seed))


@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "entmax"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_it_learns_alignments(normaliser, optimizer):
    splits = lookup()
    model = AttentionAligner(
        Mechanism("dot", normaliser),
        projection=16,
        objective="alignment",
        loss="fenchel_young",
        optimizer=optimizer,
        steps=60,
        random_state=0,
    ).fit(splits.train, validation=splits.validation)
    assert model.score(splits.tests["test"]) > 0.9
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.validation_curve_[-1]["loss"] < model.validation_curve_[0]["loss"]


def test_it_learns_from_weights_of_exactly_zero():
    """All weight is on the wrong key: the squared error of sparsemax has no gradient there, its own loss has."""
    K = np.broadcast_to(np.eye(2) * 4, (8, 2, 2))
    Q = K[:, ::-1]
    gold = np.broadcast_to(np.eye(2), (8, 2, 2))
    data = AlignmentData(Q, K, K, gold=gold, target=K)
    learned = {}
    for loss in ("squared", "fenchel_young"):
        model = AttentionAligner(
            Mechanism({"general": {}}, "sparsemax"), objective="alignment", loss=loss, steps=1, random_state=0
        )
        model.mechanism_ = model.mechanism
        start = model._init(np.random.default_rng(0), data)
        start["mechanism"]["similarity"]["W"] = np.eye(2)
        from attnlab.models.aligner_gradient import loss_and_gradient
        from attnlab.models.fenchel_young import own_loss, scored

        own = own_loss(model)
        bound = scored(model.mechanism) if own else model.mechanism.bind()
        _, found = loss_and_gradient(bound, start, model._examples(bound, start, data), True, own)
        learned[loss] = np.abs(found["mechanism"]["similarity"]["W"]).max()
    assert learned["squared"] == 0
    assert learned["fenchel_young"] > 1


def test_contexts_are_scores_of_class_targets():
    rng = np.random.default_rng(0)
    K = rng.normal(size=(300, 6, 8))
    classes = rng.integers(3, size=(300, 6))
    best = rng.integers(6, size=(300, 1))
    Q = np.take_along_axis(K, best[..., None], axis=1)
    data = AlignmentData(Q, K, np.eye(3)[classes] * 4, target=np.take_along_axis(classes, best, axis=1))
    model = AttentionAligner(Mechanism("general", "entmax"), loss="fenchel_young", steps=150, random_state=0).fit(data)
    assert model.score(data) > 0.9


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"mechanism": Mechanism("dot", "sigmoid")}, "got 'sigmoid'"),
        ({"mechanism": Mechanism("dot", Entmax("learned"))}, "got 'entmax'"),
        ({"mechanism": attnlab.get("mechanism", "multi_head")}, "'multi_head' has no normaliser of its own"),
        ({"mechanism": Mechanism("coverage"), "objective": "alignment"}, "do not depend on the weights before"),
        (
            {"mechanism": Mechanism("dot", position="gaussian_local"), "objective": "alignment"},
            "'gaussian_local' reweighs",
        ),
        ({"mix": "predictions"}, "a loss of its own, the likelihood"),
    ],
    ids=lambda one: "" if isinstance(one, str) else str(one),
)
def test_what_has_no_such_loss_is_refused(settings, why):
    model = AttentionAligner(loss="fenchel_young", steps=2, **settings)
    assert why in model.refusal()
    data = lookup(n=8).train
    if model.objective == "values":
        data = AlignmentData(data.Q, data.K, data.V, target=np.zeros(data.Q.shape[:2], dtype=int))
    with pytest.raises(Unsupported, match=why):
        model.fit(data)


def test_float_targets_are_refused():
    with pytest.raises(Unsupported, match="got float targets"):
        AttentionAligner(loss="fenchel_young", steps=2).fit(lookup(n=8).train)
