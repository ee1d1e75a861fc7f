"""Models on JAX: the same definition and the same draws, with JAX's gradient, compiled where it can be."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from attnlab.errors import SettingError
from attnlab.models.library_steps import by_steps, given_gpu, not_there, restored
from attnlab.models.training import Fitted, Tree, Watch, leaves, rebuild

__all__ = ["OnJax"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's
COMPILED = "jax.jit"  # what `kernels_` of a model names


class OnJax:
    """JAX on a device.

    Parameters
    ----------
    device : str
        "cpu", or the name of another platform of JAX, such as "cuda" or "tpu", with a number after a colon or without.
    dtype : "float32" or "float64"
    compile : "auto", True or False
        Whether a step of learning is compiled; auto: it is.

    Attributes
    ----------
    step : str
        "jax.jit" where the last steps were compiled.

    Raises
    ------
    SettingError
        When JAX is not installed, or the device is not there.
    """

    needs_fixed_shapes = True  # a step is compiled anew for each shape
    step = ""

    def __init__(self, device: str, dtype: str, compile: Any = "auto") -> None:
        try:
            import jax
        except ImportError as error:
            raise SettingError(
                f"library='jax' needs JAX, which cannot be imported ({error}): pip install 'attnlab[jax]', or a build of it for "
                "your GPU, such as jax[cuda13]"
            ) from None
        self.jax, self.device, self.dtype = jax, _device(jax, given_gpu(device)), np.dtype(dtype)
        self._made_of = device, dtype, compile
        self.compiles = compile is not False

    def __reduce__(self) -> Any:
        return restored, (type(self), *self._made_of)

    def tensor(self, array: Any) -> Any:
        """An array on the device; numbers that are not whole in the one dtype."""
        array = np.asarray(array)
        return self.jax.numpy.asarray(array, dtype=self.dtype if array.dtype.kind == "f" else None)

    def blank(self, shape: tuple[int, ...]) -> Any:
        """Zeros of a shape."""
        return self.jax.numpy.zeros(shape, dtype=self.dtype)

    def tree(self, params: Tree) -> Tree:
        """Nested arrays on the device."""
        return rebuild(params, [self.tensor(a) for _, a in leaves(params)])

    def numpy(self, array: Any) -> Any:
        """An array as NumPy's."""
        return np.asarray(array)

    def arrays(self, params: Tree) -> Tree:
        """Nested arrays as NumPy's, which later steps do not change."""
        return rebuild(params, [np.array(a) for _, a in leaves(params)])

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A context in which JAX puts arrays on the device, and has float64 if the model has."""
        home = self.jax if hasattr(self.jax, "enable_x64") else importlib.import_module("jax.experimental")
        with home.enable_x64(self.dtype == np.float64), self.jax.default_device(self.device):
            yield

    def without_gradients(self) -> Any:
        """As `working`: JAX keeps no gradient that nobody asks for."""
        return self.working()

    def minimise_adam(
        self,
        loss: Callable[[Tree, Any], Any],
        params: Tree,
        batches: Iterator[Any],
        steps: int,
        learning_rate: float,
        watch: Watch | None = None,
        clip_norm: float | None = None,
        warm_up: int = 0,
        rng: Any = None,
    ) -> Fitted:
        """As `attnlab.models.training.minimise_adam`, with a loss of JAX's arrays; the watch looks at NumPy arrays.

        A step is compiled. It is not if the loss draws from `rng`, since what is compiled would draw once for all steps, or if it
        looks at numbers that are not there while it is compiled.

        Raises
        ------
        Diverged
            At the first step whose loss or parameters are not finite.
        """
        with self.working():
            learner = _Learner(self, loss, params, clip_norm, rng)
            given = (params, batches, steps, learning_rate, watch, warm_up)
            fitted = by_steps(learner.step, learner.all_finite, learner.learned, *given)
            self.step = COMPILED if learner.compiles else ""
            return fitted


class _Learner:
    """What is learned, and the step that changes it."""

    def __init__(
        self, library: OnJax, loss: Callable[[Tree, Any], Any], params: Tree, clip_norm: float | None, rng: Any
    ) -> None:
        xp = library.jax.numpy
        self.library, self.loss, self.params, self.clip_norm, self.rng = library, loss, params, clip_norm, rng
        self.arrays = [library.tensor(a) for _, a in leaves(params)]
        self.m, self.v = [xp.zeros_like(a) for a in self.arrays], [xp.zeros_like(a) for a in self.arrays]
        self.t = 0
        self.compiles = library.compiles
        self.compiled = library.jax.jit(self.changed)

    def changed(self, arrays: Any, m: Any, v: Any, rows: Any, rate: Any, t: Any) -> Any:
        """(the loss, the arrays and both moments after a step)."""
        xp = self.library.jax.numpy
        of = self.library.jax.value_and_grad(lambda own: self.loss(rebuild(self.params, own), rows))
        value, found = of(arrays)
        if self.clip_norm is not None:
            length = xp.sqrt(sum(xp.sum(g * g) for g in found))
            found = [g * xp.minimum(self.clip_norm / length, 1.0) for g in found]
        m = [BETA1 * one + (1 - BETA1) * g for one, g in zip(m, found, strict=True)]
        v = [BETA2 * one + (1 - BETA2) * g * g for one, g in zip(v, found, strict=True)]
        bias1, bias2 = 1 - BETA1**t, 1 - BETA2**t
        moved = [
            a - rate * (one / bias1) / (xp.sqrt(two / bias2) + EPSILON)
            for a, one, two in zip(arrays, m, v, strict=True)
        ]
        return value, moved, m, v

    def step(self, batch: Any, rate: float) -> float:
        """One step; the loss before it."""
        library, errors = self.library, self.library.jax.errors
        self.t += 1
        rows, *numbers = (library.tensor(one) for one in (batch, float(rate), float(self.t)))
        given = (self.arrays, self.m, self.v, rows, *numbers)
        found = None
        if self.compiles:
            before = _state(self.rng)
            try:
                found = self.compiled(*given)
            except (errors.JAXTypeError, errors.JAXIndexError):  # it looks at numbers
                self.compiles = False
                if self.rng is not None:
                    self.rng.bit_generator.state = before
            if _state(self.rng) != before:  # what it drew would be the same in all steps
                self.compiles = False
        value, self.arrays, self.m, self.v = self.changed(*given) if found is None else found
        return float(value)

    def all_finite(self) -> bool:
        """Whether all that is learned is finite."""
        return all(bool(self.library.jax.numpy.isfinite(a).all()) for a in self.arrays)

    def learned(self) -> Tree:
        """What is learned, as NumPy arrays."""
        return self.library.arrays(rebuild(self.params, self.arrays))


def _state(rng: Any) -> Any:
    return None if rng is None else rng.bit_generator.state


def _device(jax: Any, name: str) -> Any:
    platform, _, number = name.partition(":")
    there = [f"{kind}:{i}" for kind in _platforms(jax) for i in range(len(jax.devices(kind)))]
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        raise not_there(name, error, f"JAX has {', '.join(there)}") from None


def _platforms(jax: Any) -> list[str]:
    """The kinds of devices that there are."""
    found = [str(jax.default_backend())]
    return found if "cpu" in found else ["cpu", *found]
