"""Models on PyTorch: the same definition and the same draws, with PyTorch's gradient and Adam, on a processor or a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from attnlab.errors import SettingError
from attnlab.libraries import no_memory
from attnlab.models.library_steps import by_steps, given_gpu, not_there, restored
from attnlab.models.torch_compiled import COMPILED, TorchStep
from attnlab.models.training import Fitted, Tree, Watch, leaves, rebuild

__all__ = ["OnTorch"]


class OnTorch:
    """PyTorch on a device.

    Parameters
    ----------
    device : str
    dtype : "float32", "float64" or "bfloat16"
        With bfloat16 the products of a step of learning are of bfloat16, and all else, and what is learned, is float32.
    compile : "auto", True or False
        Whether a step of learning is compiled; auto: on a GPU.

    Attributes
    ----------
    step : str
        "torch.compile" where the last steps were compiled.

    Raises
    ------
    SettingError
        When PyTorch is not installed, or the device is not there.
    """

    step = ""

    def __init__(self, device: str, dtype: str, compile: Any = "auto") -> None:
        try:
            import torch
        except ImportError as error:
            raise SettingError(
                f"library='torch' needs PyTorch, which cannot be imported ({error}): pip install 'attnlab[torch]', or a build "
                "of it for your GPU from pytorch.org"
            ) from None
        asked, device = device, given_gpu(device)
        try:
            torch.zeros(1, device=device).item()
        except (RuntimeError, AssertionError, ImportError) as error:  # it knows no such device, or has none
            if no_memory(error):
                raise
            devices = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
            raise not_there(device, error, f"PyTorch has {devices}") from None
        self.torch, self.device = torch, device
        self.mixed = dtype == "bfloat16"
        self.dtype = torch.float32 if self.mixed else getattr(torch, dtype)
        self._made_of = asked, dtype, compile
        self.asked = compile is True
        # a step is compiled anew for each shape
        self.needs_fixed_shapes = self.asked or (compile == "auto" and torch.device(device).type == "cuda")

    def __reduce__(self) -> Any:
        return restored, (type(self), *self._made_of)

    def tensor(self, array: Any) -> Any:
        """An array on the device; numbers that are not whole in the one dtype."""
        array = np.asarray(array)
        dtype = self.dtype if array.dtype.kind == "f" else None
        return self.torch.tensor(np.ascontiguousarray(array), device=self.device, dtype=dtype)

    def blank(self, shape: tuple[int, ...]) -> Any:
        """Zeros of a shape, which take no memory."""
        return self.tensor(np.zeros(())).expand(shape)

    def tree(self, params: Tree) -> Tree:
        """Nested arrays on the device."""
        return rebuild(params, [self.tensor(a) for _, a in leaves(params)])

    def numpy(self, tensor: Any) -> Any:
        """A tensor as a NumPy array."""
        return tensor.detach().cpu().numpy()

    def arrays(self, params: Tree) -> Tree:
        """Nested tensors as NumPy arrays, which later steps do not change."""
        return rebuild(params, [self.numpy(a).copy() for _, a in leaves(params)])

    def working(self) -> Any:
        """A context in which the library works as the model needs it."""
        return contextlib.nullcontext()

    def without_gradients(self) -> Any:
        """A context in which no gradient is kept."""
        return self.torch.no_grad()

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
        """As `attnlab.models.training.minimise_adam`, with a loss of tensors; the watch looks at NumPy arrays.

        Raises
        ------
        Diverged
            At the first step whose loss or parameters are not finite.
        """
        torch = self.torch
        tensors = [self.tensor(a).requires_grad_() for _, a in leaves(params)]
        tree = rebuild(params, tensors)
        step_of, gradient = self.stepping(loss, tree, tensors, clip_norm, rng)

        def all_finite() -> bool:
            return all(bool(torch.isfinite(a).all()) for a in tensors)

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as NumPy's fits have one
        try:
            given = (params, batches, steps, learning_rate, watch, warm_up)
            return by_steps(step_of, all_finite, lambda: self.arrays(tree), *given)
        finally:
            torch.set_num_threads(threads)
            self.step = COMPILED if gradient.compiled is not None else ""

    def stepping(
        self,
        loss: Callable[[Tree, Any], Any],
        tree: Tree,
        tensors: list[Any],
        clip_norm: float | None = None,
        rng: Any = None,
    ) -> tuple[Callable[[Any, float], float], TorchStep]:
        """(a step of Adam with a batch and a learning rate, which changes the tensors of the tree and gives the loss before; the
        gradient that it takes)."""
        torch = self.torch
        adam = torch.optim.Adam(tensors, lr=0.001, betas=(0.9, 0.999), eps=1e-8)

        def around() -> Any:
            return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.mixed)

        gradient = TorchStep(torch, loss, tensors, around, self.needs_fixed_shapes, self.asked, rng)

        def step_of(batch: Any, rate: float) -> float:
            value = gradient(tree, self.tensor(batch) if self.needs_fixed_shapes else batch)
            for a in tensors:  # what the loss does not depend on has gradient zero, as in NumPy
                a.grad = torch.zeros_like(a) if a.grad is None else a.grad
            if clip_norm is not None:
                length = torch.sqrt(sum((a.grad * a.grad).sum() for a in tensors))
                shrink = torch.clamp(clip_norm / length, max=1.0)
                for a in tensors:
                    a.grad *= shrink
            adam.param_groups[0]["lr"] = rate
            adam.step()
            return float(value)

        return step_of, gradient
