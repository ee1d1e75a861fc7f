"""`library`: the same definition on NumPy, PyTorch and JAX, which see the same examples and learn the same arrays."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import warnings

import numpy as np
import pytest

import attnlab
from attnlab import AttentionAligner, AttentionStack, SettingError
from attnlab.models.training import leaves

OTHERS = {"torch": "PyTorch", "jax": "JAX"}
every_other = pytest.mark.parametrize("other", OTHERS)


def need(library):
    return pytest.importorskip(library, reason=f"{OTHERS[library]} is not installed", exc_type=ImportError)


def apart(one, other):
    """The greatest difference of what two models learned, by the scale of the arrays."""
    return max(
        np.abs(a - b).max() / max(1.0, np.abs(a).max())
        for (_, a), (_, b) in zip(leaves(one.params_), leaves(other.params_), strict=True)
    )


def stacks(mechanism, steps, dtype, libraries, **settings):
    rng = np.random.default_rng(0)
    ids = [rng.integers(6, size=size) for size in rng.integers(4, 12, size=40)]
    given = {
        "hidden_dim": 16,
        "heads": 2,
        "steps": steps,
        "warm_up": 10,
        "batch_size": 8,
        "random_state": 0,
        "dtype": dtype,
    }
    made = [AttentionStack(mechanism, library=library, **given, **settings).fit(ids) for library in libraries]
    return ids, *made


@every_other
@pytest.mark.parametrize(
    ("mechanism", "settings"),
    [
        (None, {"short_conv": 1}),
        ({"normaliser": "sparsemax", "position": "alibi"}, {"norm": "layer", "layers": 1}),
        ("differential", {"tied": True, "layers": 1, "causal": False}),
    ],
    ids=["plain", "sparse", "differential"],
)
def test_a_stack_learns_the_same_in_float64(mechanism, settings, other):
    need(other)
    ids, one, other = stacks(mechanism, 20, "float64", ("numpy", other), **settings)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    assert apart(one, other) < 1e-8
    np.testing.assert_allclose(one.predict(ids), other.predict(ids), atol=1e-8)
    np.testing.assert_allclose(one.align(ids), other.align(ids), atol=1e-8)
    assert all(type(a) is np.ndarray for _, a in leaves(other.params_))


@every_other
def test_a_stack_that_reads_and_says_numbers_learns_the_same(other):
    need(other)
    task = attnlab.get("task", "in_context_regression", layout="tokens", d=2, n_keys=4, n_train=40, n_validation=9)
    data = task.make(np.random.default_rng(0))
    given = {"hidden_dim": 8, "heads": 2, "layers": 1, "mlp": 1, "steps": 20, "warm_up": 10, "dtype": "float64"}
    one, other = (
        AttentionStack(library=library, validate_every=10, random_state=0, **given).fit(
            data.train, validation=data.validation
        )
        for library in ("numpy", other)
    )
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    assert apart(one, other) < 1e-8
    np.testing.assert_allclose(one.predict(data.validation), other.predict(data.validation), atol=1e-8)
    assert one.validation_curve_[-1] == pytest.approx(other.validation_curve_[-1])


@every_other
def test_a_fitted_stack_is_pickled_and_needs_no_library_to_be_used(other, monkeypatch):
    need(other)
    ids, fitted = stacks({"similarity": "scaled_dot"}, 2, "float32", (other,), layers=1)
    data, expected = pickle.dumps(fitted), fitted.predict(ids)
    np.testing.assert_array_equal(pickle.loads(data).predict(ids), expected)
    np.testing.assert_array_equal(copy.deepcopy(fitted).predict(ids), expected)
    monkeypatch.setitem(sys.modules, other, None)
    with pytest.warns(UserWarning, match=f"needs {OTHERS[other]}.*computes with NumPy instead"):
        loaded = pickle.loads(data)
    np.testing.assert_allclose(loaded.predict(ids), expected, atol=1e-5)


@every_other
@pytest.mark.long
def test_a_stack_learns_the_same_in_float32_after_200_steps(other):
    need(other)
    ids, one, other = stacks(None, 200, "float32", ("numpy", other))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, atol=0.02)
    assert one.score(ids) == pytest.approx(other.score(ids), abs=0.05)


@every_other
@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("lookup", {"projection": 3}),
        ("induction", {"mechanism": {"similarity": "additive", "position": "short_conv"}}),
        ("copy", {"objective": "alignment", "projection": 4, "mechanism": {"position": "sinusoidal"}}),
        ("copy", {"mix": "predictions", "projection": 4}),
    ],
)
def test_an_aligner_learns_the_same(task, settings, other):
    need(other)
    data = attnlab.get("task", task, n_train=40, n_validation=4).make(np.random.default_rng(0))
    one, other = (
        AttentionAligner(**settings, steps=20, validate_every=10, library=library, random_state=0).fit(
            data.train, validation=data.validation
        )
        for library in ("numpy", other)
    )
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    assert apart(one, other) < 1e-8
    np.testing.assert_allclose(one.align(data.validation), other.align(data.validation), atol=1e-8)
    assert [row["step"] for row in one.validation_curve_] == [row["step"] for row in other.validation_curve_]


def test_what_draws_at_random_in_training_draws_the_same_on_jax():
    """A compiled step would draw once for all steps."""
    need("jax")
    data = attnlab.get("task", "lookup", n_train=40).make(np.random.default_rng(0)).train
    given = {"projection": 3, "mechanism": {"normaliser": "gumbel"}, "steps": 6, "random_state": 0}
    one, other = (AttentionAligner(**given, library=library).fit(data) for library in ("numpy", "jax"))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize(
    "mechanism",
    [
        "differential",
        {"multi_head": {"heads": 2}},
        {"similarity": "location"},
        {"position": "learned", "modifier": "bias"},
        {"mask": "block_topk"},
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["outside", "inside"])
def test_what_looks_at_places_can_be_compiled_by_jax(mechanism, where):
    """An array of places has its numbers while JAX compiles, wherever the context was made."""
    jax = need("jax")
    made = AttentionStack(mechanism)._mechanisms(None)[0]
    params = jax.tree.map(jax.numpy.asarray, made.init(np.random.default_rng(0), 4, 4, 4))
    Q, bound = jax.numpy.asarray(np.random.default_rng(1).normal(size=(2, 5, 4))), made.bind()
    before = bound.context(Q, Q, Q)

    def compiled(params, Q):
        return bound.attend(params, Q, Q, Q, before if where == "outside" else bound.context(Q, Q, Q))

    assert jax.make_jaxpr(compiled)(params, Q).out_avals[0].shape == (2, 5, 4)


@every_other
def test_a_fit_that_diverges_says_when(other):
    need(other)
    with pytest.raises(attnlab.Diverged, match="step"):
        AttentionStack(library=other, hidden_dim=8, learning_rate=1e30, warm_up=0, clip_norm=None, steps=9).fit(
            [[0, 1, 2, 3]] * 4
        )


def lookup():
    return attnlab.get("task", "lookup", n_train=40).make(np.random.default_rng(0)).train


def quickly_compiled(monkeypatch):
    """`torch.compile` without the C++ compiler, which takes half a minute: the graph is made, and computed as it is."""
    torch = need("torch")
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, options, **given: compile(f, backend="aot_eager", **given))


class TestCompiledSteps:
    """`compile` with PyTorch: a step is one graph, and learns what it learns without; or it is not compiled, and says so."""

    def compiled(self, fit, **given):
        """(the model, what it said)."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            return fit(library="torch", compile=True, **given), [str(w.message) for w in said]

    @pytest.mark.long
    def test_a_stack_learns_the_same(self, monkeypatch):
        quickly_compiled(monkeypatch)
        mechanism = {"normaliser": "sparsemax", "position": "alibi"}
        given = {"steps": 8, "dtype": "float64", "layers": 1, "mlp": 0, "libraries": ("torch",)}
        _ids, one = stacks(mechanism, **given)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, other = stacks(mechanism, **given, compile=True)
        assert "step" not in one.kernels_
        assert other.kernels_["step"] == "torch.compile"
        np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
        assert apart(one, other) < 1e-8

    def test_an_aligner_learns_the_same(self, monkeypatch):
        quickly_compiled(monkeypatch)

        def fit(**given):
            return AttentionAligner(projection=3, steps=5, random_state=0, **given).fit(lookup())

        one, (other, said) = fit(library="torch"), self.compiled(fit)
        assert not said
        assert other.kernels_["step"] == "torch.compile"
        np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)

    @pytest.mark.parametrize(
        ("mechanism", "why"),
        [
            ({"normaliser": "gumbel"}, "a part draws at random in training"),
            ({"aggregator": "parallax"}, "data-dependent"),  # it looks whether its weights sum to one
        ],
        ids=["draws", "looks"],
    )
    def test_what_cannot_be_compiled_says_so_once_and_learns_the_same(self, mechanism, why, monkeypatch):
        quickly_compiled(monkeypatch)

        def fit(**given):
            return AttentionAligner(mechanism, projection=3, steps=5, random_state=0, **given).fit(lookup())

        one, (other, said) = fit(library="torch"), self.compiled(fit)
        assert len(said) == 1
        assert "steps are not compiled, with the same results" in said[0]
        assert why in said[0]
        assert "step" not in other.kernels_
        np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)

    @pytest.mark.parametrize("when", ["at first", "while it computes"])
    def test_a_compiler_that_fails_costs_only_itself(self, when, monkeypatch):
        torch = need("torch")

        def fails(*args, **given):
            raise RuntimeError("no C++ compiler here\nand much more")

        monkeypatch.setattr(torch, "compile", fails if when == "at first" else lambda *args, **given: fails)

        def fit(**given):
            return AttentionAligner(projection=3, steps=5, random_state=0, **given).fit(lookup())

        one, (other, said) = fit(library="torch"), self.compiled(fit)
        assert said == ["steps are not compiled, with the same results: RuntimeError: no C++ compiler here"]
        np.testing.assert_array_equal(one.loss_curve_, other.loss_curve_)

    def test_memory_that_is_exhausted_is_no_failure_of_the_compiler(self, monkeypatch):
        torch = need("torch")

        def fills(*given):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(torch, "compile", lambda *args, **given: fills)
        with pytest.raises(torch.OutOfMemoryError):
            self.compiled(lambda **given: AttentionAligner(projection=3, steps=5, **given).fit(lookup()))

    @pytest.mark.long
    def test_by_the_compiler_itself_many_times_in_one_process(self):
        """PyTorch gives up a function that it has compiled eight times, and keeps threads that compile."""
        need("torch")
        before = threading.active_count()
        for seed in range(10):
            given = {"steps": 3, "dtype": "float64", "layers": 1, "libraries": ("torch",)}
            _, one = stacks({"position": "alibi"}, **given)
            _, other = stacks({"position": "alibi"}, **given, compile=True)
            assert other.kernels_["step"] == "torch.compile", seed
            np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
        assert threading.active_count() == before

    def test_numpy_compiles_no_steps(self):
        with pytest.raises(SettingError, match="compile=True needs library='torch' or 'jax'"):
            AttentionStack(compile=True, steps=1).fit([[0, 1]])

    def test_jax_need_not_compile(self):
        need("jax")
        one, other = (
            AttentionAligner(projection=3, steps=3, random_state=0, library="jax", compile=compile).fit(lookup())
            for compile in ("auto", False)
        )
        assert one.kernels_["step"] == "jax.jit"
        assert "step" not in other.kernels_
        np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-12)


def test_compositions_learn_in_bfloat16_and_are_pickled():
    need("torch")
    for mechanism in ("differential", "hopfield"):
        ids, fitted = stacks(mechanism, 2, "bfloat16", ("torch",), layers=1, mlp=0)
        assert np.isfinite(fitted.loss_curve_).all()
        np.testing.assert_array_equal(
            copy.deepcopy(pickle.loads(pickle.dumps(fitted))).predict(ids), fitted.predict(ids)
        )


def test_bfloat16_learns_like_float32_and_keeps_float32():
    need("torch")
    ids, one, other = (None, None, None)
    for dtype in ("float32", "bfloat16"):
        ids, fitted = stacks({"normaliser": "sparsemax", "position": "rope"}, 60, dtype, ("torch",))
        one, other = other, fitted
    assert {a.dtype for _, a in leaves(other.params_)} == {np.dtype("float32")}
    assert other.predict(ids).dtype == np.float32
    assert 0 < np.abs(np.subtract(one.loss_curve_, other.loss_curve_)).max() < 0.1
    assert one.score(ids) == pytest.approx(other.score(ids), abs=0.1)


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_bfloat16_is_pytorchs(library):
    with pytest.raises(SettingError, match=f"dtype='bfloat16' needs library='torch'; got library='{library}'"):
        AttentionStack(dtype="bfloat16", library=library, steps=1).fit([[0, 1]])


@pytest.mark.parametrize(
    ("fit", "data"),
    [
        (lambda **given: AttentionStack(steps=1, **given).fit([[0, 1]]), None),
        (
            lambda **given: AttentionAligner(projection=2, steps=1, **given).fit(
                attnlab.get("task", "lookup", n_train=8).make(np.random.default_rng(0)).train
            ),
            None,
        ),
    ],
    ids=["stack", "aligner"],
)
class TestWhatIsMissing:
    @every_other
    def test_without_the_library_it_says_how_to_install_it(self, fit, data, other, monkeypatch):
        monkeypatch.setitem(sys.modules, other, None)
        with pytest.raises(SettingError, match=rf"needs {OTHERS[other]}.*pip install 'attnlab\[{other}\]'"):
            fit(library=other)

    def test_numpy_has_no_other_device(self, fit, data):
        with pytest.raises(SettingError, match="device='cuda' needs library='torch' or 'jax'"):
            fit(device="cuda")

    @every_other
    def test_a_device_that_is_not_there_is_named_with_those_that_are(self, fit, data, other):
        need(other)
        with pytest.raises(SettingError, match=r"device='cuda:99' cannot be used.*has cpu"):
            fit(library=other, device="cuda:99")
