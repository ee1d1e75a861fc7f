"""float16, bfloat16 and the ends of float32: every built-in part gives what float64 gives, to the rounding of its dtype."""

from __future__ import annotations

import importlib.util
from fractions import Fraction

import autograd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab import AlignmentData, AttentionAligner, attention_weights, get, namespace
from attnlab.arrays import to_numpy
from attnlab.kinds import LEARNING
from attnlab.parts import modifiers, normalisers, positions, relative, rotary, similarities, stateful
from attnlab.registry import entries
from attnlab.testing.subject import Subject, flat, unflat

OWN = [e.cls for kind in (*LEARNING, "mechanism") for found in entries(kind).values() for e in found]
SET = [  # settings that take another way through the code
    similarities.Cosine(temperature=0.1),
    similarities.NegL2(sigma=0.5),
    normalisers.Softmax(temperature=0.5),
    normalisers.Entmax(alpha=1.3),
    normalisers.Entmax(alpha=2.0),
    normalisers.Sigmoid(minus_log_n=False),
    rotary.Rope(layout="half", dims=2),
    relative.Alibi(slope="learned"),
    relative.Diagonal(tension="learned"),
]
LOW = {"float16": 1e-3, "bfloat16": 8e-3}  # with the size of half a unit in the last place of 1
each = pytest.mark.parametrize(
    "component", OWN + SET, ids=lambda c: getattr(c, "name", "") + ("" if isinstance(c, type) else repr(c))
)


def subject(component):
    s = Subject(component)
    if s.is_stateful and not getattr(s.object, "differentiable", True):
        pytest.skip("what it chooses jumps with rounding")
    return s


def numpy_dtype(name):
    return (
        np.float16
        if name == "float16"
        else pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
    )


def close(found, right, unit):
    right = np.asarray(right, dtype=np.float64)
    np.testing.assert_allclose(
        np.asarray(found, dtype=np.float64), right, atol=4 * unit * max(1.0, abs(right).max(initial=0))
    )


def as_float64(draw, params):
    wide = {n: np.asarray(a, dtype=np.float64) for n, a in flat(params).items()}
    arrays = {n: np.asarray(getattr(draw, n), dtype=np.float64) for n in ("Q", "K", "V")}
    return draw.replace(**arrays), unflat(params, wide)


# -- every part -------------------------------------------------------------------------------------------------------
@each
@pytest.mark.parametrize("low", LOW)
def test_a_mechanism_gives_its_dtype_and_the_values_of_float64(component, low):
    s, dtype = subject(component), numpy_dtype(low)
    for draw in s.draws("precision", dtype=dtype):
        params = s.params(draw)
        wide, wide_params = as_float64(draw, params)
        for view in s.views:
            found = s.output(view, params, draw, draw.M)
            assert found.dtype == dtype
            close(found, s.output(view, wide_params, wide, draw.M), LOW[low])


@each
@pytest.mark.filterwarnings("ignore:Output seems independent")  # of uniform
def test_gradients_keep_float16_and_are_those_of_float64(component):
    s = subject(component)
    for draw in s.draws("precision", dtype=np.float16):
        params = s.params(draw)
        for view in s.views:
            found = s.gradients(view, params, draw, draw.M)
            wide = s.gradients(view, as_float64(draw, params)[1], as_float64(draw, params)[0], draw.M)
            for name, g in found.items():
                assert g.dtype == np.float16, name
                if getattr(s.cls, "differentiable", True):
                    close(g, wide[name], 4 * LOW["float16"])


@each
@pytest.mark.parametrize("low", LOW)
def test_a_verb_alone_gives_its_dtype_and_the_values_of_float64(component, low):
    s, dtype = subject(component), numpy_dtype(low)
    if s.kind == "mechanism":
        return
    for draw in s.draws("precision", dtype=np.float64, lead=()):
        rounded = draw.replace(**{n: getattr(draw, n).astype(dtype).astype(np.float64) for n in ("Q", "K", "V")})
        learned = {n: a.astype(dtype).astype(np.float64) for n, a in flat(s.learned(s.params(draw))).items()}
        for verb in s.verbs:
            nouns = s.nouns(verb, rounded, learned)
            if getattr(s.cls, "nonnegative_scores", False):
                nouns["S"] = np.abs(nouns["S"])
            arrays = {n: a for n, a in nouns.items() if getattr(a, "dtype", None) == np.float64 and n != "n_allowed"}
            small = {n: a.astype(dtype) for n, a in arrays.items()}
            nouns.update({n: a.astype(np.float64) for n, a in small.items()})
            found = s.direct(
                verb,
                {n: a.astype(dtype) for n, a in learned.items()},
                {**nouns, **small, "n_allowed": nouns["n_allowed"].astype(dtype)},
            )
            right = s.direct(verb, learned, nouns)
            for one, other in zip(found, right, strict=True) if isinstance(found, tuple) else [(found, right)]:
                assert one.dtype == dtype
                close(one, other, LOW[low])


@each
@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.filterwarnings("ignore:Output seems independent")
def test_other_libraries_keep_the_dtype_and_have_the_values_and_gradients_of_float64(component, low, library):
    if importlib.util.find_spec(library) is None:
        pytest.skip({"torch": "PyTorch is not installed", "jax": "JAX is not installed"}[library])
    s = subject(component)
    for draw in s.draws("precision", n=1, dtype=np.float16, lead=(2,)):
        wide, params = as_float64(draw, s.params(draw))
        leaves = {"Q": wide.Q, "K": wide.K, "V": wide.V, **flat(params)}
        for view in s.views:
            expected = s.output(view, params, wide, draw.M)
            found, gradients = _theirs(library, low, s, view, params, wide, leaves, draw.M)
            assert low in str(found.dtype)
            close(np.asarray(to_numpy(namespace(found).astype(found, namespace(found).float32))), expected, LOW[low])
            if not getattr(s.cls, "differentiable", True):
                continue
            right = _gradients(s, view, params, wide, leaves, draw.M)
            for name, g in gradients.items():
                close(g, right[name], 8 * LOW[low])


def _output(s, view, params, draw, now, mask):
    return s.output(
        view, unflat(params, {n: now[n] for n in flat(params)}), draw.replace(Q=now["Q"], K=now["K"], V=now["V"]), mask
    )


def _gradients(s, view, params, draw, leaves, mask):
    return autograd.grad(lambda now: _output(s, view, params, draw, now, mask).sum())(leaves)


def _theirs(library, low, s, view, params, draw, leaves, mask):
    if library == "torch":
        import torch

        now = {n: torch.tensor(a, dtype=getattr(torch, low), requires_grad=True) for n, a in leaves.items()}
        found = _output(s, view, params, draw, now, torch.tensor(mask))
        if not found.requires_grad:
            return found, {}
        got = torch.autograd.grad(found.float().sum(), list(now.values()), allow_unused=True)
        return found, {n: g.float().numpy() for n, g in zip(now, got, strict=True) if g is not None}
    import jax

    now = {n: jax.numpy.asarray(a, dtype=low) for n, a in leaves.items()}
    found = _output(s, view, params, draw, now, jax.numpy.asarray(mask))
    got = jax.grad(lambda now: _output(s, view, params, draw, now, jax.numpy.asarray(mask)).astype("float32").sum())(
        now
    )
    return found, {n: np.asarray(g, dtype=np.float64) for n, g in got.items()}


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_a_bias_may_have_few_digits(low, library):
    Q, B = np.ones((2, 2)), np.array([[0.0, -np.inf, 1.0], [0.5, 0.0, -np.inf]])
    right = attention_weights(Q, np.ones((3, 2)), modifier={"bias": {"array": B}})
    if library == "torch":
        torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
        Q, K, B = (torch.tensor(a, dtype=getattr(torch, low)) for a in (Q, np.ones((3, 2)), B))
    elif library == "jax":
        jax = pytest.importorskip("jax", reason="JAX is not installed")
        Q, K, B = (jax.numpy.asarray(a, dtype=low) for a in (Q, np.ones((3, 2)), B))
    else:
        Q, K, B = (a.astype(numpy_dtype(low)) for a in (Q, np.ones((3, 2)), B))
    close(np.asarray(to_numpy(attention_weights(Q, K, modifier={"bias": {"array": B}}))), right, LOW[low])


# -- what is far or large ---------------------------------------------------------------------------------------------
def test_rotary_positions_turn_by_the_angle_of_an_integer():
    x = np.array([[1.0, 0.0]])
    for dtype in (np.float16, np.float32, np.float64):
        for far in (0, 300, 70_000, 20_000_000, 1_700_000_000):
            Q, K = rotary.Rope().place(x.astype(dtype), x.astype(dtype), np.array([far + 1]), np.array([far]))
            np.testing.assert_allclose(Q @ K.T, [[np.cos(1.0)]], atol=2e-3 if dtype == np.float16 else 2e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distances_and_lengths_are_exact_however_far_the_positions(dtype):
    S, far = np.zeros((1, 3), dtype=dtype), 4097 if dtype == np.float16 else 2**24 + 1
    index = np.array([far - 1, far, far + 1])
    np.testing.assert_array_equal(relative.Alibi(0.5).bias(S, index[1:2], index), [[-0.5, 0, -0.5]])
    diagonal = relative.Diagonal(4.0).bias(S, index[1:2], index, np.array([far + 2, far + 2]))
    np.testing.assert_allclose(diagonal, [[-4 / (far + 2), 0, -4 / (far + 2)]], rtol=1e-2)
    P, _ = positions.Sinusoidal().place(np.zeros((3, 4), dtype=dtype), np.zeros((3, 4), dtype=dtype), index, index)
    np.testing.assert_allclose(P[:, 0], np.sin(index), atol=1e-3 if dtype == np.float16 else 1e-7)


def test_alibi_over_many_rows_in_float16():
    Q = np.zeros((1, 2), dtype=np.float16)
    K = np.zeros((4100, 2), dtype=np.float16)
    mechanism = attnlab.Mechanism("dot", position={"alibi": {"slope": 0.5}})
    found = mechanism.weights(None, Q, K, q_index=np.array([4099]))
    right = mechanism.weights(None, Q.astype(float), K.astype(float), q_index=np.array([4099]))
    np.testing.assert_allclose(found, right, atol=5e-4)


@pytest.mark.parametrize("normaliser", ["softmax", "softmax_n", "logn_softmax", "sparsemax", "entmax", "sigmoid"])
def test_seventy_thousand_keys_in_float16(normaliser):
    """More than the largest number of float16: the weights are still what they are, and sum to what they sum to."""
    S = np.linspace(-1, 1, 70_000, dtype=np.float16)[None]
    right = attnlab.normalise(S.astype(np.float64), normaliser)
    found = attnlab.normalise(S, normaliser)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, right, rtol=1e-3, atol=6e-8)
    np.testing.assert_allclose(found.sum(dtype=np.float64), right.sum(), rtol=1e-2)
    part = get("normaliser", normaliser)
    alone = attnlab.call(part, "normalise", S=S, mask=np.ones((1, 1), bool), n_allowed=np.array([[70_000]]))
    np.testing.assert_allclose(alone, right, rtol=1e-3, atol=6e-8)


LARGE = [  # similarity, numbers, dtype: the products are beyond the dtype
    ("scaled_dot", [[130.0] * 4], [[130.0] * 4, [129.0] * 4], np.float16),
    ("dot", [[60000.0] * 4], [[60000.0] * 4, [59000.0] * 4], np.float16),
    ("scaled_dot", [[2e19] * 4], [[2e19] * 4, [1.9e19] * 4], np.float32),
    ("dot", [[2e19, -2e19]], [[2e19, 1e19], [1e19, 2e19]], np.float32),
    ("cosine", [[2e30, 1e30]], [[2e30, 1e30], [1e30, 2e30]], np.float32),
    ("neg_l2", [[3e19, 0.0]], [[0.0, 0.0], [1e19, 0.0]], np.float32),
    ("neg_l2", [[60000.0, 0.0]], [[0.0, 0.0], [300.0, 0.0]], np.float16),
    ({"neg_l2": {"sigma": 1e19}}, [[3e19, 0.0]], [[0.0, 0.0], [1e19, 0.0]], np.float32),
    ("general", [[60000.0, 0.0]], [[50000.0, 0.0], [300.0, 0.0]], np.float16),
    ("additive", [[60000.0, 0.0]], [[50000.0, 0.0], [300.0, 0.0]], np.float16),
]


@pytest.mark.parametrize(("similarity", "Q", "K", "dtype"), LARGE)
@pytest.mark.parametrize(
    "normaliser", ["softmax", {"softmax": {"temperature": 1e4}}, "sparsemax", "entmax", "logn_softmax"]
)
def test_scores_beyond_the_dtype_have_the_weights_of_float64(similarity, Q, K, dtype, normaliser):
    Q, K, V = np.array(Q, dtype=dtype), np.array(K, dtype=dtype), np.array([[1.0], [2.0]], dtype=dtype)
    mechanism = attnlab.Mechanism(similarity, normaliser)
    params = mechanism.init(np.random.default_rng(0), Q.shape[-1], K.shape[-1], 1)
    narrow = unflat(params, {n: np.asarray(a, dtype=dtype) for n, a in flat(params).items()})
    wide = unflat(params, {n: np.asarray(a, dtype=dtype).astype(float) for n, a in flat(params).items()})
    right = mechanism.weights(wide, Q.astype(float), K.astype(float))
    found = mechanism.weights(narrow, Q, K)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, right, atol=2e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_allclose(mechanism.attend(narrow, Q, K, V), right @ [[1.0], [2.0]], atol=4e-3)
    gradient = autograd.grad(lambda Q: namespace(Q).sum(mechanism.weights(narrow, Q, K)[..., 0]))(Q)
    assert np.isfinite(gradient).all()
    assert gradient.dtype == dtype


def exact_scores(similarity, Q, K):
    """Scores as fractions, up to a factor that is the same for a row."""
    Q, K = ([[Fraction(float(x)) for x in row] for row in X] for X in (Q, K))
    if similarity == "neg_l2":
        return [[-sum((a - b) ** 2 for a, b in zip(q, k, strict=True)) for k in K] for q in Q]
    return [[sum(a * b for a, b in zip(q, k, strict=True)) for k in K] for q in Q]


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="this platform has no wider float")
@pytest.mark.parametrize("scale", [1e155, 1e300])
@pytest.mark.parametrize(
    "normaliser", ["softmax", "sparsemax", "entmax", "topk_softmax", "hardmax", "logn_softmax", "stieltjes"]
)
@pytest.mark.parametrize("similarity", ["dot", "scaled_dot", "neg_l2", "general", "diag_mahalanobis"])
def test_products_beyond_float64_have_the_weights_of_exact_numbers(similarity, normaliser, scale):
    """Every score, or none, would be infinite: all keys would share the weight, or get NaN."""
    rng = np.random.default_rng(3)
    Q, K = scale * rng.normal(size=(3, 4)), scale * rng.normal(size=(5, 4))
    V, M = rng.normal(size=(5, 2)), np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)
    mechanism = attnlab.Mechanism(similarity, normaliser)
    params = mechanism.init(np.random.default_rng(0), 4, 4, 2)
    if similarity == "general":
        params["similarity"]["W"] = np.eye(4)
    S = exact_scores("neg_l2" if similarity in ("neg_l2", "diag_mahalanobis") else "dot", Q, K)
    right = np.zeros((3, 5))
    for row, of_row, allowed in zip(right, S, M, strict=True):
        if allowed.any():
            row[max(np.flatnonzero(allowed), key=lambda j: of_row[j])] = 1
    found = mechanism.weights(params, Q, K, M)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, right, atol=1e-12)
    np.testing.assert_allclose(mechanism.attend(params, Q, K, V, M), right @ V, atol=1e-12)
    both = np.asfortranarray(np.stack([Q, Q]))[::-1]
    np.testing.assert_allclose(mechanism.weights(params, both, K, M), [right, right], atol=1e-12)


def test_one_large_number_among_small_ones_is_seen():
    Q, K = np.array([[1e-200, 1.0]]), np.array([[0.0, 1.0], [1e300, 2.0], [-1e300, 0.0]])
    np.testing.assert_allclose(attention_weights(Q, K, "dot"), [[0, 1, 0]], atol=1e-12)


@pytest.mark.parametrize(("normaliser", "what"), [("identity", "weights"), ({"relu_over_n": {"power": 2}}, "contexts")])
def test_a_result_beyond_float64_is_refused(normaliser, what):
    Q = np.array([[1e200, 1e200]])
    with pytest.raises(attnlab.Unsupported, match=r"beyond the range of float64.*scale queries and keys down"):
        attention_weights(Q, Q, "dot", normaliser) if what == "weights" else attnlab.attend(Q, Q, Q, "dot", normaliser)
    np.testing.assert_array_equal(attention_weights(Q, Q * np.nan, "dot"), [[np.nan]])  # NaN that was given stays


def test_a_score_that_is_in_range_needs_no_more_than_its_dtype():
    """Called alone: the products of float16 are 67600, their sum over sqrt(d) 33800."""
    Q = np.full((1, 4), 130, dtype=np.float16)
    np.testing.assert_array_equal(similarities.ScaledDot().score(Q, Q), [[33792.0]])
    Q = np.array([[1.5e19, 1.5e19]], dtype=np.float32)
    np.testing.assert_allclose(similarities.ScaledDot().score(Q, Q), [[4.5e38 / 2**0.5]], rtol=1e-6)


def test_the_state_of_a_step_is_not_rounded():
    """Three thousand steps that each add .5 to a coverage: in float16 the sum would stay at 1024."""
    mechanism = attnlab.Mechanism({"coverage": {"hidden": 2}})
    params = mechanism.init(np.random.default_rng(0), 2, 2, 1)
    params["similarity"]["v"] = np.zeros(2)
    Q, K, V = (np.zeros(shape, dtype=np.float16) for shape in ((1, 2), (2, 2), (2, 1)))
    state = None
    for t in range(3000):
        _, W, state = mechanism.step(params, Q, K, V, state, t)
        assert W.dtype == np.float16
    np.testing.assert_array_equal(state["similarity"], [[1500.0, 1500.0]])


# -- settings ---------------------------------------------------------------------------------------------------------
WITH_NUMBERS = [
    (similarities.NegL2, {"sigma": np.float64(0.7)}),
    (similarities.Cosine, {"temperature": np.float64(0.2)}),
    (normalisers.Softmax, {"temperature": np.float64(0.7)}),
    (normalisers.SoftmaxN, {"n0": np.float64(2)}),
    (normalisers.LognSoftmax, {"scale": np.float64(0.4)}),
    (normalisers.Entmax, {"alpha": np.float64(1.3)}),
    (relative.Alibi, {"slope": np.float64(0.3)}),
    (rotary.Rope, {"base": np.float64(100)}),
    (relative.GaussianLocal, {"width": np.float64(3)}),
    (relative.Diagonal, {"tension": np.float64(3)}),
    (relative.Learned, {"positions": np.int64(9), "scale": np.float64(0.2)}),
    (relative.T5Bias, {"buckets": np.int64(32)}),
    (positions.Sinusoidal, {"base": np.float64(100)}),
    (modifiers.Softcap, {"cap": np.float64(2)}),
    (stateful.Monotonic, {"bias": np.float64(-1), "noise": np.float64(1)}),
]


@pytest.mark.parametrize(("part", "given"), WITH_NUMBERS, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_setting_of_numpy_makes_no_float64(part, given, later, dtype):
    made = part() if later else part(**given)
    if later:
        made.set_params(**given)
    s = Subject(made)
    for draw in s.draws("settings", dtype=dtype):
        params = s.params(draw)
        assert s.output("W", params, draw).dtype == dtype
        learned = s.learned(params)
        for verb in s.verbs:
            found = s.direct(
                verb, learned, {**s.nouns(verb, draw, learned), "rng": np.random.default_rng(0), "training": True}
            )
            assert {a.dtype for a in (found if isinstance(found, tuple) else (found,))} == {np.dtype(dtype)}, verb
    assert made.get_params() == {**part().get_params(), **{n: v.item() for n, v in given.items()}}


# -- models -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("low", LOW)
def test_data_of_few_digits_are_learned_from_in_float32(low):
    rng, dtype = np.random.default_rng(0), numpy_dtype(low)
    K = rng.normal(size=(8, 4, 3)).astype(dtype)
    data = AlignmentData(K[:, :2], K, K, target=K[:, :2].astype(np.float32))
    assert {a.dtype for a in (data.Q, data.K, data.V)} == {np.dtype(np.float32)}
    model = AttentionAligner({"similarity": "general"}, steps=3, random_state=0).fit(data)
    assert {a.dtype for a in flat(model.params_).values()} == {np.dtype(np.float32)}


def test_a_bound_mechanism_refuses_what_it_would_compute_badly():
    Q = np.ones((1, 2), dtype=np.float16)
    with pytest.raises(TypeError, match=r"float32 or float64; got Q of float16: call the mechanism"):
        attnlab.Mechanism().bind().context(Q, Q)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(1, 6e4), st.sampled_from(["scaled_dot", "dot", "cosine", "neg_l2"]))
def test_any_finite_float16_has_finite_weights(seed, size, similarity):
    rng = np.random.default_rng(seed)
    Q, K = (np.clip(rng.normal(size=s) * size, -65000, 65000).astype(np.float16) for s in ((3, 5), (4, 5)))
    right = attention_weights(Q.astype(np.float64), K.astype(np.float64), similarity=similarity, rng=0)
    found = attention_weights(Q, K, similarity=similarity, rng=0)
    np.testing.assert_allclose(found.sum(-1), 1, atol=2e-3)
    assert (np.take_along_axis(right, found.argmax(-1)[:, None], -1)[:, 0] >= right.max(-1) - 0.1).all()
