"""One meaning on NumPy, PyTorch and JAX: axes, dtypes, order, and what happens at kinks, at infinity and with nothing."""

from __future__ import annotations

import contextlib

import autograd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from attnlab import namespace
from attnlab.arrays import to_numpy

NP = namespace(np.zeros(1))
inf, nan = np.inf, np.nan


class NumPy:
    make = staticmethod(np.asarray)

    @staticmethod
    def gradient(function, x):
        return autograd.grad(lambda x: NP.sum(function(x)))(x)


class Torch:
    def __init__(self, torch):
        self.make, self.torch = torch.asarray, torch

    def gradient(self, function, x):
        x = self.torch.tensor(x, requires_grad=True)
        return self.torch.autograd.grad(function(x).sum(), x)[0].numpy()


class Jax:
    def __init__(self, jax):
        self.make, self.jax = jax.numpy.asarray, jax

    def gradient(self, function, x):
        return np.asarray(self.jax.grad(lambda x: function(x).sum())(self.make(x)))


@pytest.fixture(params=["numpy", "torch", "jax"])
def library(request):
    with contextlib.ExitStack() as stack:
        if request.param == "numpy":
            yield NumPy
        elif request.param == "torch":
            yield Torch(pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError))
        else:
            jax = pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
            stack.enter_context(jax.enable_x64(True))
            yield Jax(jax)


A = np.random.default_rng(0).permutation(np.linspace(-2.3, 2.6, 24) + 0.01).reshape(2, 3, 4)
REDUCE = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "var": np.var,
    "std": np.std,
    "logsumexp": special.logsumexp,
    "any": np.any,
    "all": np.all,
    "count_nonzero": np.count_nonzero,
}
AXES = [None, 0, -1, np.int64(1), np.int32(-2), (0, 2), (np.int64(0), -1), (np.int64(-1), np.int64(0))]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=repr)
@pytest.mark.parametrize("name", REDUCE)
def test_an_axis_may_be_any_integer_a_tuple_or_none(name, axis, keepdims, library):
    x = library.make(A)
    found = getattr(namespace(x), name)(x, axis=axis, keepdims=keepdims)
    expected = REDUCE[name](A, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-13)
    assert to_numpy(found).shape == np.shape(expected)


ALONG = {
    "argmax": np.argmax,
    "argmin": np.argmin,
    "softmax": special.softmax,
    "flip": np.flip,
    "cumulative_sum": np.cumsum,
    "cumulative_prod": np.cumprod,
    "sort": np.sort,
    "argsort": np.argsort,
    "expand_dims": np.expand_dims,
    "unstack": lambda x, axis: np.moveaxis(x, axis, 0),
}


@pytest.mark.parametrize("axis", [0, -1, np.int64(1), np.int64(-1)], ids=repr)
@pytest.mark.parametrize("name", ALONG)
def test_along_one_axis(name, axis, library):
    x = library.make(A)
    xp = namespace(x)
    found = getattr(xp, name)(x, axis=axis)
    found = xp.stack(list(found)) if name == "unstack" else found
    np.testing.assert_allclose(to_numpy(found), ALONG[name](A, axis=axis), rtol=1e-13)


@pytest.mark.parametrize("axis", [1, np.int64(1)], ids=repr)
def test_functions_that_join_take_and_measure_along_an_axis(axis, library):
    x = library.make(A)
    xp = namespace(x)
    indices = library.make(np.array([2, 0]))
    along = library.make(np.argsort(A, axis=1))
    for found, expected in [
        (xp.concat([x, x], axis=axis), np.concatenate([A, A], axis=1)),
        (xp.concat([x, x], axis=None), np.concatenate([A, A], axis=None)),
        (xp.stack([x, x], axis=axis), np.stack([A, A], axis=1)),
        (xp.take(x, indices, axis=axis), np.take(A, [2, 0], axis=1)),
        (xp.take_along_axis(x, along, axis=axis), np.sort(A, axis=1)),
        (xp.linalg.vector_norm(x, axis=axis), np.sqrt((A**2).sum(axis=1))),
        (xp.squeeze(xp.expand_dims(x, axis=axis), axis=axis), A),
        (xp.vecdot(x, x, axis=-1), (A * A).sum(axis=-1)),
        (xp.matvec(x, x[:, 0]), np.einsum("nij,nj->ni", A, A[:, 0])),
        (xp.vecmat(x[:, :, 0], x), np.einsum("nj,njk->nk", A[:, :, 0], A)),
        (xp.stack(list(xp.broadcast_arrays(x, x[:1]))), np.stack(np.broadcast_arrays(A, A[:1]))),
    ]:
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-13)


def test_several_axes_need_one_to_be_named():
    for name in ("take", "cumulative_sum", "cumulative_prod"):
        function = getattr(NP, name)
        indices = (np.array([0]),) if name == "take" else ()
        with pytest.raises(ValueError, match=f"{name} needs an axis for an array of 3 dimensions"):
            function(A, *indices)
        assert function(A[0, 0], *indices).ndim == 1


# -- order ---------------------------------------------------------------------------------------------------------------
def expected_order(x, descending):
    """What a stable sort does, by Python's own, which is."""
    return sorted(range(len(x)), key=lambda i: x[i], reverse=descending)


DTYPES = [np.bool_, np.uint8, np.uint32, np.uint64, np.int8, np.int64, np.float32, np.float64]


@settings(max_examples=40)
@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays(
            dtype,
            st.integers(0, 9),
            elements=st.booleans()
            if dtype is np.bool_
            else st.sampled_from([0, 1, 2, np.iinfo(dtype).max, np.iinfo(dtype).min])
            if np.issubdtype(dtype, np.integer)
            else st.sampled_from([-inf, -1.0, 0.0, 1.0, inf]),
        )
    ),
    st.booleans(),
)
def test_sorting_is_stable_both_ways_for_every_dtype(x, descending):
    order = expected_order(x.tolist(), descending)
    assert NP.argsort(x, descending=descending).tolist() == order
    found = NP.sort(x, descending=descending)
    assert found.dtype == x.dtype
    assert found.tolist() == [x.tolist()[i] for i in order]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, np.float64])
def test_sorting_is_the_same_everywhere(dtype, descending, library):
    x = np.array([0, 1, 2, 1, 0, 2, 1]).astype(dtype)
    given = library.make(x)
    xp = namespace(given)
    assert to_numpy(xp.argsort(given, descending=descending)).tolist() == expected_order(x.tolist(), descending)
    assert to_numpy(xp.sort(given, descending=descending)).dtype == dtype


def test_nan_is_the_largest_both_ways(library):
    x = library.make(np.array([nan, 1.0, -inf, inf]))
    xp = namespace(x)
    assert to_numpy(xp.argsort(x)).tolist() == [2, 1, 3, 0]
    assert to_numpy(xp.argsort(x, descending=True)).tolist() == [0, 3, 1, 2]


# -- dtypes --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.uint64, np.int64])
@pytest.mark.parametrize("name", ["softmax", "softplus", "sigmoid", "erf", "logsumexp", "mean", "var", "std"])
def test_integers_and_booleans_give_what_their_floats_give(name, dtype):
    x = np.array([[0, 1, 2], [2, 1, 1]]).astype(dtype)
    found = getattr(NP, name)(x, **({} if name in ("softplus", "sigmoid", "erf") else {"axis": 1}))
    expected = getattr(NP, name)(x.astype(float), **({} if name in ("softplus", "sigmoid", "erf") else {"axis": 1}))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_cumulative_functions_of_integers_do_not_overflow(dtype):
    x = np.full(9, 2).astype(dtype)
    for ours, numpys in ((NP.cumulative_sum, np.cumsum), (NP.cumulative_prod, np.cumprod)):
        found = ours(x)
        assert found.dtype == numpys(x).dtype
        assert found.tolist() == numpys(x).tolist()


@pytest.mark.parametrize("name", ["abs", "log2", "log10", "exp2", "std", "clip", "softplus", "logsumexp", "softmax"])
def test_float32_stays_on_both_ways(name, library):
    def function(x):
        return getattr(namespace(x), name)(x, *((0.5, 2.0) if name == "clip" else ()))

    x = np.array([0.3, 0.7, 2.5], dtype=np.float32)
    if name == "exp2" and library is not NumPy:
        pytest.skip("exp2 is not in the array API")
    assert to_numpy(function(library.make(x))).dtype == np.float32
    assert library.gradient(function, x).dtype == np.float32


# -- kinks, infinity and nothing -----------------------------------------------------------------------------------------
AT = {  # name: (x, value, gradient)
    "softplus": ([-inf, -1e4, 0.0, -0.0, 1e4, inf], [0, 0, np.log(2), np.log(2), 1e4, inf], [0, 0, 0.5, 0.5, 1, 1]),
    "sigmoid": ([-inf, -1e4, 0.0, 1e4, inf], [0, 0, 0.5, 1, 1], [0, 0, 0.25, 0, 0]),
    "tanh": ([-inf, -1e4, 0.0, 1e4, inf], [-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
    "erf": ([-inf, -1e4, 0.0, 1e4, inf], [-1, -1, 0, 1, 1], [0, 0, 2 / np.sqrt(np.pi), 0, 0]),
    "abs": ([-inf, -2.0, 0.0, 2.0, inf], [inf, 2, 0, 2, inf], [-1, -1, 0, 1, 1]),
    "sign": ([-inf, -2.0, 0.0, 2.0, inf], [-1, -1, 0, 1, 1], [0, 0, 0, 0, 0]),
    "max": ([1.0, 3.0, 3.0], 3, [0, 0.5, 0.5]),
    "min": ([1.0, 3.0, 1.0], 1, [0.5, 0, 0.5]),
    "std": ([2.0, 2.0, 2.0], 0, [0, 0, 0]),
    "logsumexp": ([-inf, -inf], -inf, [0, 0]),
    "logsumexp of one": ([-inf, 3.0], 3, [0, 1]),
    "clip": ([-inf, -1.0, 0.5, 2.0, 3.0, inf], [-1, -1, 0.5, 2, 2, 2], [0, 1, 1, 1, 0, 0]),
    "norm": ([0.0, 0.0], 0, [0, 0]),
    "norm of 3 and 4": ([3.0, 4.0], 5, [0.6, 0.8]),
}
SPECIAL = {
    "clip": lambda xp, x: xp.clip(x, -1.0, 2.0),
    "norm": lambda xp, x: xp.linalg.vector_norm(x),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", AT)
@pytest.mark.filterwarnings("ignore:divide by zero encountered in log", "ignore:Output seems independent")
def test_kinks_and_extremes(name, dtype, library):
    x, value, gradient = (np.asarray(a, dtype=dtype) for a in AT[name])
    kind = name.partition(" ")[0]

    def function(x):
        xp = namespace(x)
        return SPECIAL[kind](xp, x) if kind in SPECIAL else getattr(xp, kind)(x)

    tight = 1e-15 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(to_numpy(function(library.make(x))), value, rtol=tight, atol=0)
    np.testing.assert_allclose(library.gradient(function, x), gradient, rtol=tight, atol=0)


@pytest.mark.parametrize(
    "name", ["softplus", "sigmoid", "tanh", "erf", "abs", "clip", "max", "std", "logsumexp", "softmax"]
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_nan_stays_nan(name, library):
    x = library.make(np.array([nan, 1.0]))
    xp = namespace(x)
    found = to_numpy(SPECIAL["clip"](xp, x) if name == "clip" else getattr(xp, name)(x))
    assert np.isnan(found.ravel()[0])


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_plus_infinity_and_minus_infinity_alone(library):
    nothing, everything = (library.make(np.array([[a, a], [a, 0.0]])) for a in (-inf, inf))
    xp = namespace(nothing)
    assert to_numpy(xp.logsumexp(nothing, axis=-1)).tolist() == [-inf, 0.0]
    assert to_numpy(xp.logsumexp(everything, axis=-1)).tolist() == [inf, inf]
    assert np.isnan(to_numpy(xp.softmax(nothing))[0]).all()  # 0/0, as in SciPy; a mechanism strikes such rows out
    assert to_numpy(xp.softmax(nothing))[1].tolist() == [0.0, 1.0]


def test_the_gradient_of_logsumexp_at_infinity_is_shared_by_the_infinite():
    np.testing.assert_array_equal(autograd.grad(NP.logsumexp)(np.array([inf, 0.0, inf])), [0.5, 0, 0.5])
    assert np.isnan(autograd.grad(NP.logsumexp)(np.array([nan, 0.0]))).all()


@settings(max_examples=60)
@given(
    arrays(np.float64, 4, elements=st.floats(-30, 30)),
    st.floats(-30, 30) | st.none(),
    st.floats(-30, 30) | st.none(),
)
def test_clip_is_numpys_also_where_the_bounds_cross(x, least, most):
    expected = x if least is None and most is None else np.clip(x, least, most)
    np.testing.assert_array_equal(NP.clip(x, least, most), expected)


def test_clip_with_bounds_that_cross_or_are_nan(library):
    x = library.make(np.array([1.0, 5.0]))
    xp = namespace(x)
    assert to_numpy(xp.clip(x, 3.0, 2.0)).tolist() == [2.0, 2.0]
    assert np.isnan(to_numpy(xp.clip(x, nan, None))).all()
    assert to_numpy(xp.clip(x, max=library.make(np.array([0.0, 9.0])))).tolist() == [0.0, 5.0]


@pytest.mark.parametrize("correction", [0.0, 1, 1.5])
def test_variance_is_corrected(correction, library):
    x = np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 5.0]])
    given = library.make(x)
    xp = namespace(given)
    expected = ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (3 - correction)
    np.testing.assert_allclose(to_numpy(xp.var(given, axis=1, correction=correction)), expected, rtol=1e-14)
    np.testing.assert_allclose(to_numpy(xp.std(given, axis=1, correction=correction)), expected**0.5, rtol=1e-14)


@pytest.mark.filterwarnings("ignore:divide by zero encountered")
@pytest.mark.parametrize("name", ["softmax", "cumulative_sum", "cumulative_prod", "sort", "flip"])
def test_nothing_along_an_axis_is_no_error(name, library):
    x = np.zeros((2, 0))
    given = library.make(x)
    xp = namespace(given)
    for axis in (0, 1):
        assert to_numpy(getattr(xp, name)(given, axis=axis)).shape == (2, 0)
        assert library.gradient(lambda x, axis=axis: getattr(namespace(x), name)(x, axis=axis), x).shape == (2, 0)


@pytest.mark.filterwarnings("ignore:divide by zero encountered")
def test_the_sum_of_no_exponentials_is_zero(library):
    x = np.zeros((2, 0))
    given = library.make(x)
    assert to_numpy(namespace(given).logsumexp(given, axis=1)).tolist() == [-inf, -inf]
    assert library.gradient(lambda x: namespace(x).logsumexp(x, axis=1), x).shape == (2, 0)


def test_python_numbers_are_arrays_without_axes():
    for name in ("softplus", "softmax", "logsumexp", "sigmoid", "erf", "tanh"):
        of_one = np.ravel(getattr(NP, name)(np.array([0.5])))
        np.testing.assert_allclose(getattr(NP, name)(0.5), of_one[0], rtol=1e-15)
