"""A whole compiled step of training has the loss and every gradient that the parts have, and leaves to them what it cannot do."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest

import attnlab
from attnlab import AlignmentData, AttentionAligner, Mechanism, registry
from attnlab.kernels.steps import whole_step
from attnlab.models.aligner_gradient import loss_and_gradient
from attnlab.models.training import Flat, cast, minibatches, minimise_adam

SIMILARITIES = ["dot", "scaled_dot", "general", "cosine", {"cosine": {"temperature": 0.3}}, "additive"]
NORMALISERS = ["softmax", {"softmax": {"temperature": 0.5}}, "sparsemax", "entmax"]
SHAPE = {"n": 12, "q": 6, "k": 9, "d": 7, "e": 7, "v": 5}

NUMBA = importlib.util.find_spec("numba") is not None

compiled = pytest.mark.skipif(not NUMBA, reason="numba compiles the step, and is not installed")


def examples(masked=False, scale=1.0, dtype="float32", **sizes):
    n, q, k, d, e, v = {**SHAPE, **sizes}.values()
    rng = np.random.default_rng(0)
    Q, K, V, T = (rng.normal(size=s).astype(dtype) for s in ((n, q, d), (n, k, e), (n, k, v), (n, q, v)))
    mask = None
    if masked:
        mask = rng.random((n, q, k)) < 0.5
        mask[:3, 2] = False  # a query that may attend to nothing
        mask[:, 4, 0] = True
    return AlignmentData((scale * Q).astype(dtype), K, V, mask=mask, gold=rng.random((n, q, k)) < 0.3, target=T)


def prepared(mechanism, X, projection=None, objective="values"):
    """(bound, flat vector of what is learned, examples as a fit has them)."""
    aligner = AttentionAligner(mechanism, projection=projection, objective=objective)
    aligner.mechanism_ = mechanism
    start = cast(aligner._init(np.random.default_rng(1), X), X.Q.dtype)
    bound = mechanism.bind()
    return bound, Flat(start), aligner._examples(bound, start, X, training=True)


def step_of(mechanism, X, projection=None, objective="values"):
    bound, flat, here = prepared(mechanism, X, projection, objective)
    return whole_step(bound, flat.tree, flat.slopes, here, objective == "alignment")


def compare(mechanism, X, projection=None, objective="values", rows=(3, 0, 0, 11, 7)):
    rows, aligns = np.asarray(rows), objective == "alignment"
    bound, flat, here = prepared(mechanism, X, projection, objective)
    step = whole_step(bound, flat.tree, flat.slopes, here, aligns)
    assert step is not None
    expected, tree = loss_and_gradient(mechanism.bind("reference"), flat.tree, here.pick(rows), aligns)
    true = Flat(flat.tree).gathered(tree)
    for _ in range(2):  # what a call leaves behind changes nothing
        flat.gradient[:] = np.nan
        close = 1e-4 if X.Q.dtype == np.float32 else 1e-12
        assert step(rows) == pytest.approx(expected, rel=close)
        size = max(1e-3, float(np.abs(true).max()))
        np.testing.assert_allclose(flat.gradient / size, true / size, atol=close)


@compiled
@pytest.mark.parametrize("normaliser", NORMALISERS, ids=str)
@pytest.mark.parametrize("similarity", SIMILARITIES, ids=str)
def test_loss_and_gradients_are_those_of_the_parts(similarity, normaliser):
    cosine = "cosine" in str(similarity)
    for projection, masked in itertools.product((8,) if cosine else (8, None), (False, True)):
        if projection is None and similarity in ("dot", "scaled_dot"):
            continue  # nothing to learn
        compare(Mechanism(similarity, normaliser), examples(masked), projection)
    compare(Mechanism(similarity, normaliser, mask="causal"), examples(True), 4, "alignment")


@compiled
@pytest.mark.parametrize("normaliser", NORMALISERS, ids=str)
@pytest.mark.parametrize("similarity", ["scaled_dot", "general", "cosine", "additive"])
def test_float64_has_its_own_exactness(similarity, normaliser):
    for masked, objective in ((False, "values"), (True, "values"), (True, "alignment")):
        X = examples(masked, dtype="float64", k=19)
        compare(Mechanism(similarity, normaliser), X, 6, objective)


@compiled
def test_functions_of_one_number_in_float64():
    """Relative errors against 80 bits: 4e-16 and 1e-15."""
    from attnlab.kernels import compiled_functions as f

    @numba_loop
    def both(x, e, t):
        for i in range(x.shape[0]):
            e[i], t[i] = f.exp(x[i]), f.tanh(x[i])

    rng = np.random.default_rng(0)
    x = -np.concatenate([700 * rng.random(20000), 10 ** rng.uniform(-20, 2.8, 20000)])
    (e, t), wide = np.empty((2, x.size)), x.astype(np.longdouble)
    both(x, e, t)
    assert float(np.abs(e / np.exp(wide) - 1).max()) < 4e-16
    assert float(np.abs(t / np.tanh(wide) - 1).max()) < 1e-15
    odd = np.array([np.nan, -np.inf, np.inf])
    both(odd, e[:3], t[:3])
    assert np.isnan(t[0])
    assert t[1:3].tolist() == [-1, 1]


def numba_loop(function):
    import numba

    return numba.njit(function, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")


@compiled
def test_sizes_and_groups():
    """More examples than a group, more queries than a group, and single ones."""
    many = np.arange(60)[::-1].copy()
    for sizes in (
        {"n": 60},
        {"n": 60, "q": 1, "k": 1},
        {"n": 60, "q": 300, "k": 3},
        {"n": 60, "q": 7, "k": 70, "d": 5, "e": 3, "v": 1},
    ):
        for similarity in ("general", "cosine", "additive"):
            compare(Mechanism(similarity, "entmax"), examples(**sizes), 6, rows=many)
            compare(Mechanism(similarity, "softmax"), examples(sizes.get("q") != 1, **sizes), 6, rows=many[5:40])


@compiled
def test_layouts():
    X = examples(True)
    for change in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a[::-1]):
        Y = AlignmentData(*(change(a) for a in (X.Q, X.K, X.V)), mask=change(X.mask), target=change(X.target))
        compare(Mechanism("dot", "sparsemax"), Y, 5)
    for a in (X.Q, X.K, X.V, X.target):
        a.flags.writeable = False
    compare(Mechanism("dot", "sparsemax"), X, 5)


@compiled
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_odd_batches_are_left_to_the_parts():
    rows = np.arange(4)
    for similarity, normaliser in itertools.product(("dot", "general", "additive", "cosine"), NORMALISERS):
        X = examples()
        step = step_of(Mechanism(similarity, normaliser), X, 8)
        assert step(rows) is not None
        X.Q[2] = 0 if similarity == "cosine" else np.inf
        bound, flat, here = prepared(Mechanism(similarity, normaliser), X, 8)
        step = whole_step(bound, flat.tree, flat.slopes, here, False)
        assert step(rows) is None
        assert step(rows + 3) is not None


def test_what_the_step_leaves_to_the_parts(monkeypatch):
    class Mine(attnlab.Kernel):
        """Another kernel of dot."""

        name = "mine_for_test"
        replaces = type(attnlab.get("similarity", "dot"))

        def supports(self, part, library, dtype):
            return True

        def score(self, part, Q, K, wants):
            return Q @ K.swapaxes(-1, -2), lambda g: {"Q": g @ K, "K": g.swapaxes(-1, -2) @ Q}

    X = examples()
    assert step_of(Mechanism("dot", {"entmax": {"alpha": 1.3}}), X, 8) is None
    assert step_of(Mechanism("dot", position="t5_bias"), X, 8) is None
    assert step_of(Mechanism("neg_l2"), X, 8) is None
    assert step_of(Mechanism("dot"), examples(dtype="longdouble"), 8) is None
    assert step_of(Mechanism("dot", modifier="softcap"), X, 8) is None
    assert (
        step_of(Mechanism("dot"), examples(d=200, e=200), 2) is None
    )  # two small maps take fewer operations than a large one
    monkeypatch.setattr(registry, "_registered", {})
    attnlab.register(Mine)
    assert step_of(Mechanism("dot"), X, 8) is None


@pytest.mark.parametrize("similarity", ["scaled_dot", "cosine", "additive"])
def test_a_fit_takes_the_steps_that_the_parts_take(similarity):
    X = examples(True)
    mechanism = Mechanism(similarity, "entmax")
    aligner = AttentionAligner(mechanism, projection=6, steps=12, batch_size=5, random_state=0).fit(X)
    seeds = np.random.SeedSequence(0).spawn(4)
    aligner.mechanism_ = mechanism
    start = cast(aligner._init(np.random.default_rng(seeds[0]), X), X.Q.dtype)
    bound = mechanism.bind("reference")
    here = aligner._examples(bound, start, X, rng=np.random.default_rng(seeds[2]), training=True)
    fitted = minimise_adam(
        lambda params, rows: loss_and_gradient(bound, params, here.pick(rows), False),
        start,
        minibatches(12, 5, np.random.default_rng(seeds[1])),
        12,
        0.03,
        by_hand=True,
    )
    np.testing.assert_allclose(aligner.loss_curve_, fitted.loss_curve, rtol=1e-4)
    assert ("step" in aligner.kernels_) == NUMBA


def test_another_loss_is_left_to_the_parts():
    X = examples(True)
    aligner = AttentionAligner(Mechanism("dot"), projection=6, steps=2, objective="alignment", random_state=0)
    assert ("step" in aligner.fit(X).kernels_) == NUMBA
    assert "step" not in aligner.set_params(loss="fenchel_young").fit(X).kernels_
