"""namespace(): values are NumPy's, gradients those of finite differences, float32 stays, libraries do not mix."""

from __future__ import annotations

import types

import autograd
import numpy as np
import pytest
from autograd.test_util import check_grads
from scipy import special

from attnlab import ShapeError, detach, namespace
from attnlab.arrays import as_float, to_numpy

NP = namespace(np.zeros(1))


def away(*shape, seed=0):
    """Numbers with no two alike and none near a kink at 0 or 1/2."""
    size = int(np.prod(shape))
    values = np.linspace(-2.3, 2.6, size) + 0.01
    return np.random.default_rng(seed).permutation(values).reshape(shape)


A, B = away(2, 3, 4), away(2, 4, 3, seed=1)
INDICES = np.argsort(away(2, 3, 4, seed=2)[..., :3], axis=-1)[..., :2]
ROWS = np.array([[[True], [False], [True]]])

# name: (function of xp and x, the same by NumPy or SciPy alone, x)
FUNCTIONS = {
    # without a gradient in autograd
    "matrix_transpose": (lambda xp, x: xp.matrix_transpose(x) * B, lambda x: np.swapaxes(x, -1, -2) * B, A),
    "mT": (lambda xp, x: x.mT * B, lambda x: np.swapaxes(x, -1, -2) * B, A),
    "linalg.matrix_transpose": (lambda xp, x: xp.linalg.matrix_transpose(x) * B, lambda x: x.mT * B, A),
    "vecdot": (lambda xp, x: xp.vecdot(x, x[:1]), lambda x: np.einsum("ijk,jk->ij", x, x[0]), A),
    "vecdot of another axis": (lambda xp, x: xp.vecdot(x, x, axis=1), lambda x: (x * x).sum(axis=1), A),
    "matvec": (lambda xp, x: xp.matvec(x, x[:, 0]), lambda x: np.einsum("nij,nj->ni", x, x[:, 0]), A),
    "vecmat": (lambda xp, x: xp.vecmat(x[..., 0], x), lambda x: np.einsum("nj,njk->nk", x[..., 0], x), A),
    "linalg.vector_norm": (
        lambda xp, x: xp.linalg.vector_norm(x, axis=-1),
        lambda x: np.sqrt((x**2).sum(axis=-1)),
        A,
    ),
    "linalg.vector_norm of all": (lambda xp, x: xp.linalg.vector_norm(x), lambda x: np.sqrt((x**2).sum()), A),
    "linalg.vector_norm, kept": (
        lambda xp, x: x / xp.linalg.vector_norm(x, axis=(0, 2), keepdims=True),
        lambda x: x / np.sqrt((x**2).sum(axis=(0, 2), keepdims=True)),
        A,
    ),
    "linalg.matmul": (lambda xp, x: xp.linalg.matmul(x, B), lambda x: np.einsum("nij,njk->nik", x, B), A),
    "linalg.vecdot": (lambda xp, x: xp.linalg.vecdot(x, x), lambda x: (x * x).sum(axis=-1), A),
    "linalg.outer": (lambda xp, x: xp.linalg.outer(x, x), lambda x: np.outer(x, x), away(4)),
    "cumulative_sum": (lambda xp, x: xp.cumulative_sum(x, axis=1) ** 2, lambda x: np.cumsum(x, axis=1) ** 2, A),
    "cumulative_sum with its initial 0": (
        lambda xp, x: xp.cumulative_sum(x, axis=-1, include_initial=True) ** 2,
        lambda x: np.cumsum(np.concatenate([np.zeros((2, 3, 1)), x], axis=-1), axis=-1) ** 2,
        A,
    ),
    "cumulative_prod": (lambda xp, x: xp.cumulative_prod(x, axis=-1), lambda x: np.cumprod(x, axis=-1), A),
    "cumulative_prod with a zero": (
        lambda xp, x: xp.cumulative_prod(x, axis=0),
        lambda x: np.cumprod(x, axis=0),
        np.array([2.0, 0.0, 3.0, 0.5]),
    ),
    "cumulative_prod with its initial 1": (
        lambda xp, x: xp.cumulative_prod(x, axis=-1, include_initial=True),
        lambda x: np.cumprod(np.concatenate([np.ones((2, 3, 1)), x], axis=-1), axis=-1),
        A,
    ),
    "cumprod": (lambda xp, x: xp.cumprod(x, axis=1), lambda x: np.cumprod(x, axis=1), A),
    "take": (lambda xp, x: xp.take(x, INDICES[0, :, 0], axis=1), lambda x: np.take(x, INDICES[0, :, 0], axis=1), A),
    "take_along_axis": (
        lambda xp, x: xp.take_along_axis(x, INDICES, axis=-1) ** 2,
        lambda x: np.take_along_axis(x, INDICES, axis=-1) ** 2,
        A,
    ),
    "take_along_axis, one row of indices for all": (
        lambda xp, x: xp.take_along_axis(x, xp.asarray([[[3, 0]]]), axis=-1) ** 2,
        lambda x: x[..., [3, 0]] ** 2,
        A,
    ),
    "take_along_axis, one row of numbers for all": (
        lambda xp, x: xp.take_along_axis(x, xp.asarray([[3, 0], [1, 1], [2, 3]]), axis=-1) ** 2,
        lambda x: x[0][np.array([[3, 0], [1, 1], [2, 3]])] ** 2,
        away(1, 4),
    ),
    "flip": (lambda xp, x: xp.flip(x, axis=1) * A, lambda x: x[:, ::-1] * A, A),
    "flip of all": (lambda xp, x: xp.flip(x) * A, lambda x: x[::-1, ::-1, ::-1] * A, A),
    "unstack": (lambda xp, x: xp.unstack(x, axis=1)[2] ** 2, lambda x: x[:, 2] ** 2, A),
    "clip from below": (lambda xp, x: xp.clip(x, min=0.5), lambda x: np.maximum(x, 0.5), A),
    "clip from above": (lambda xp, x: xp.clip(x, max=0.5), lambda x: np.minimum(x, 0.5), A),
    "clip": (lambda xp, x: xp.clip(x, -1.0, 0.5) * x, lambda x: np.clip(x, -1, 0.5) * x, A),
    "sort": (lambda xp, x: xp.sort(x, axis=1) * A, lambda x: np.sort(x, axis=1) * A, A),
    "sort, descending": (
        lambda xp, x: xp.sort(x, descending=True) * A,
        lambda x: np.sort(x, axis=-1)[..., ::-1] * A,
        A,
    ),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x, (3, 2, 4)) ** 2, lambda x: np.array([[x, x]] * 3) ** 2, away(4)),
    "broadcast_to of a middle axis": (
        lambda xp, x: xp.broadcast_to(x, (2, 3, 4)) * A,
        lambda x: x * A,
        away(2, 1, 4),
    ),
    # with a wrong one
    "where": (lambda xp, x: xp.where(A > 0, x, x * x), lambda x: np.where(A > 0, x, x * x), A),
    "where, x broadcast": (lambda xp, x: xp.where(A > 0, x, A), lambda x: np.where(A > 0, x, A), away(4)),
    "where, y broadcast": (lambda xp, x: xp.where(A > 0, A, x), lambda x: np.where(A > 0, A, x), away(3, 1)),
    "where, condition broadcast": (lambda xp, x: xp.where(ROWS, x, 2.0), lambda x: np.where(ROWS, x, 2.0), A),
    "where, all broadcast": (
        lambda xp, x: xp.where(ROWS, x, x**2) * A,
        lambda x: np.where(ROWS, x, x**2) * A,
        away(1, 1, 4),
    ),
    "var": (lambda xp, x: xp.var(x, axis=-1, correction=1), lambda x: np.var(x, axis=-1, ddof=1), A),
    "var of all": (lambda xp, x: xp.var(x, correction=2.0), lambda x: np.var(x, ddof=2), A),
    "std": (lambda xp, x: xp.std(x, axis=(0, 2), keepdims=True), lambda x: np.std(x, axis=(0, 2), keepdims=True), A),
    "concat": (lambda xp, x: xp.concat([x, x * x], axis=-2) ** 2, lambda x: np.concatenate([x, x * x], -2) ** 2, A),
    # that leave float32
    "max": (lambda xp, x: xp.max(x, axis=1), lambda x: np.max(x, axis=1), A),
    "max of all": (lambda xp, x: xp.max(x), lambda x: np.max(x), A),
    "min, kept": (lambda xp, x: x - xp.min(x, axis=-1, keepdims=True), lambda x: x - x.min(-1, keepdims=True), A),
    "mean": (lambda xp, x: xp.mean(x, axis=1) ** 2, lambda x: np.mean(x, axis=1) ** 2, A),
    "mean of all": (lambda xp, x: xp.mean(x) ** 2, lambda x: np.mean(x) ** 2, A),
    "mean of two axes": (lambda xp, x: xp.mean(x, axis=(0, -1)) ** 2, lambda x: np.mean(x, axis=(0, -1)) ** 2, A),
    "maximum": (lambda xp, x: xp.maximum(x, 0.5), lambda x: np.maximum(x, 0.5), A),
    "maximum of broadcast": (lambda xp, x: xp.maximum(A, x), lambda x: np.maximum(A, x), away(4, seed=3)),
    "minimum": (lambda xp, x: xp.minimum(x, x * x), lambda x: np.minimum(x, x * x), A),
    "astype": (lambda xp, x: xp.astype(x, x.dtype) ** 2, lambda x: x**2, A),
    # additions, and the names of the array API
    "tanh": (lambda xp, x: xp.tanh(x), np.tanh, A),
    "sigmoid": (lambda xp, x: xp.sigmoid(x), special.expit, A),
    "softplus": (lambda xp, x: xp.softplus(x), lambda x: np.log1p(np.exp(x)), A),
    "erf": (lambda xp, x: xp.erf(x), special.erf, A),
    "softmax": (lambda xp, x: xp.softmax(x, axis=1), lambda x: special.softmax(x, axis=1), A),
    "logsumexp": (lambda xp, x: xp.logsumexp(x, axis=-1), lambda x: special.logsumexp(x, axis=-1), A),
    "logsumexp of all": (lambda xp, x: xp.logsumexp(x) * x, lambda x: special.logsumexp(x) * x, A),
    "logsumexp, kept": (
        lambda xp, x: x - xp.logsumexp(x, axis=(1, 2), keepdims=True),
        lambda x: special.log_softmax(x, axis=(1, 2)),
        A,
    ),
    "permute_dims": (lambda xp, x: xp.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), A),
    "atan2": (lambda xp, x: xp.atan2(x, x * x), lambda x: np.arctan2(x, x * x), A),
    "pow": (lambda xp, x: xp.pow(x, 3), lambda x: x**3, A),
}
each = pytest.mark.parametrize("name", FUNCTIONS)


@each
def test_value_is_numpys(name):
    function, reference, x = FUNCTIONS[name]
    before = x.copy()
    np.testing.assert_allclose(function(NP, x), reference(x), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(x, before)


@each
def test_gradient_is_that_of_finite_differences(name):
    function, _, x = FUNCTIONS[name]
    check_grads(lambda x: function(NP, x), modes=["rev"], order=1)(x)


def with_constants(function, convert):
    """The same function with A, B, INDICES and ROWS converted."""
    scope = {name: convert(globals()[name]) for name in ("A", "B", "INDICES", "ROWS")}
    return types.FunctionType(function.__code__, {**globals(), **scope})


@each
def test_float32_stays_float32_on_both_ways(name):
    function, _, x = FUNCTIONS[name]
    function = with_constants(function, lambda a: a.astype(np.float32) if a.dtype == np.float64 else a)
    x = x.astype(np.float32)
    seen = []

    def loss(x):
        y = function(NP, x)
        seen.append(detach(y).dtype)
        return NP.sum(y * y)

    gradient = autograd.grad(loss)(x)
    assert seen == [np.float32]
    assert gradient.dtype == np.float32
    assert gradient.shape == x.shape


def test_the_gradient_of_float32_is_float32_beside_float64():
    x, y = np.ones((2, 3), dtype=np.float32), away(2, 3)
    for f in (
        lambda x: NP.where(y > 0, x, y),
        lambda x: NP.where(y > 0, y, x),
        lambda x: NP.maximum(x, y),
        lambda x: NP.broadcast_to(x[:1], (2, 3)) + NP.astype(y, np.float32),
        lambda x: NP.astype(NP.astype(x, np.float64) * y, np.float32),
    ):
        assert autograd.grad(lambda x, f=f: NP.sum(f(x)))(x).dtype == np.float32


def test_what_is_not_in_the_array_api_and_has_no_gradient_says_so():
    with pytest.raises(NotImplementedError, match="convolve"):
        autograd.grad(lambda x: NP.sum(NP.convolve(x, np.ones(2))))(np.ones(3))
    with pytest.raises(NotImplementedError, match="ord=2 only; got ord=1"):
        NP.linalg.vector_norm(np.ones(3), ord=1)
    with pytest.raises(AttributeError):
        NP.no_such_function  # noqa: B018


def test_gradients_at_ties_are_shared():
    ties = np.array([1.0, 3.0, 3.0])
    np.testing.assert_array_equal(autograd.grad(NP.max)(ties), [0, 0.5, 0.5])
    np.testing.assert_array_equal(autograd.grad(lambda x: NP.sum(NP.maximum(x, 3.0)))(ties), [0, 0.5, 0.5])
    np.testing.assert_array_equal(autograd.grad(lambda x: NP.sum(NP.clip(x, 1.0, 3.0)))(ties), [1, 1, 1])


def test_tanh_sigmoid_softplus_are_safe_far_out():
    x = np.array([-1e4, 1e4])
    with np.errstate(all="raise", under="ignore"):
        for name in ("tanh", "sigmoid", "softplus", "erf"):
            f = getattr(NP, name)
            assert np.isfinite(f(x)).all(), name
            gradient = autograd.grad(lambda x, f=f: NP.sum(f(x)))(x)
            np.testing.assert_allclose(gradient, [0, 1] if name == "softplus" else [0, 0], atol=1e-300, err_msg=name)


def test_softmax_and_logsumexp_take_minus_infinity():
    x = np.array([[-np.inf, 1e4, 1e4 + 1], [-np.inf, -np.inf, -1e4]])
    np.testing.assert_allclose(NP.softmax(x), [[0, 1 / (1 + np.e), np.e / (1 + np.e)], [0, 0, 1]])
    for f in (NP.softmax, lambda x: NP.logsumexp(x, axis=-1)):
        assert np.isfinite(autograd.grad(lambda x, f=f: NP.sum(f(x) ** 2))(x)).all()
    nothing = np.full(3, -np.inf)
    assert NP.logsumexp(nothing) == -np.inf
    np.testing.assert_array_equal(autograd.grad(NP.logsumexp)(nothing), 0)


def test_the_norm_of_nothing_has_gradient_zero():
    gradient = autograd.grad(lambda x: NP.sum(NP.linalg.vector_norm(x, axis=-1)))(np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(gradient, [[0, 0], [0.6, 0.8]])


def test_clip_hides_no_nan():
    assert np.isnan(NP.clip(np.array([np.nan]), -1.0, 1.0)).all()


def test_integers_and_booleans_have_no_gradient():
    x = np.array([0.4, 1.6])
    gradient = autograd.grad(lambda x: NP.sum(x * NP.astype(NP.astype(x, np.int64), x.dtype)))(x)
    np.testing.assert_array_equal(gradient, [0, 1])


def test_argsort_is_stable_both_ways():
    x = np.array([1.0, 2.0, 1.0, 2.0])
    assert NP.argsort(x).tolist() == [0, 2, 1, 3]
    assert NP.argsort(x, descending=True).tolist() == [1, 3, 0, 2]


def test_detach_has_the_value_and_no_gradient():
    x = np.array([3.0, -1.0])
    assert detach(x) is x
    np.testing.assert_array_equal(autograd.grad(lambda x: NP.sum(x * detach(x)))(x), x)
    twice = autograd.grad(lambda x: NP.sum(autograd.grad(lambda y: NP.sum(y**2 * detach(x)))(x)))(x)
    np.testing.assert_array_equal(twice, 2 * x)


@pytest.mark.parametrize(
    "arguments", [(), (1.5, None), (np.ones(2), None, 3), (np.float32(1), np.ones((1, 2)), True)], ids=repr
)
def test_numbers_and_none_count_for_nothing(arguments):
    assert namespace(*arguments) is NP


def test_lists_are_refused():
    with pytest.raises(TypeError, match=r"got a list: convert it with numpy\.asarray first"):
        namespace(np.ones(2), [1.0, 2.0])
    with pytest.raises(TypeError):
        namespace("words")


def test_as_float_keeps_float32_and_refuses_words():
    assert as_float([1, 2], "Q").dtype == np.float64
    assert as_float(np.ones(2, dtype=bool), "Q").dtype == np.float64
    x = np.ones(2, dtype=np.float32)
    assert as_float(x, "Q") is x
    for bad in (["a"], np.array([1j]), [object()]):
        with pytest.raises(TypeError, match="K must hold real numbers; got dtype"):
            as_float(bad, "K")


# -- another library -------------------------------------------------------------------------------------------------
@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)


def test_libraries_do_not_mix(torch):
    with pytest.raises(TypeError, match="arrays of different libraries are mixed: numpy, torch"):
        namespace(np.ones(2), torch.ones(2))


@each
def test_torch_has_the_same_names_and_values(name, torch):
    function, reference, x = FUNCTIONS[name]
    function = with_constants(function, torch.tensor)
    t = torch.tensor(x)
    np.testing.assert_allclose(to_numpy(function(namespace(t), t)), reference(x), rtol=1e-12, atol=1e-12)


def test_torch_arrays_are_made_where_the_arguments_lie(torch):
    xp = namespace(torch.ones(2, device="meta"))
    assert xp.zeros(3).device.type == "meta"
    assert xp.arange(3).device.type == "meta"
    assert namespace(torch.ones(2)).zeros(3).device.type == "cpu"


def test_torch_additions_are_differentiable_and_safe(torch):
    x = torch.tensor([-1e4, -1.0, 2.0, 1e4], dtype=torch.float64, requires_grad=True)
    xp = namespace(x)
    for name in ("softmax", "sigmoid", "softplus", "erf", "tanh", "logsumexp"):
        y = getattr(xp, name)(x)
        (g,) = torch.autograd.grad(y.sum(), x)
        assert torch.isfinite(y).all(), name
        assert torch.isfinite(g).all(), name
        np.testing.assert_allclose(to_numpy(y), getattr(NP, name)(to_numpy(x)), rtol=1e-14, atol=1e-300, err_msg=name)
    assert not detach(x).requires_grad


def test_as_float_refuses_ragged_lists_by_name():
    with pytest.raises(ShapeError, match="V must be an array, or lists of lists of the same length"):
        as_float([[1.0], [2.0, 3.0]], "V")
