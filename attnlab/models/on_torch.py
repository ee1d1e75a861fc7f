"""Models on PyTorch: the same definition and the same draws, with PyTorch's gradient and Adam, on a processor or a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from attnlab.errors import Diverged, SettingError
from attnlab.models.training import AT_FIRST, Fitted, Tree, Watch, leaves, rebuild
from attnlab.progress import at

__all__ = ["OnTorch", "library_for", "library_of"]


def library_of(model: Any, dtype: Any) -> OnTorch | None:
    """`library_for` the settings of an aligner, of which PyTorch does not have all.

    Raises
    ------
    SettingError
    """
    found = library_for(model.library, model.device, dtype)
    for name, value in (("optimizer", "adam"), ("loss", "squared")):
        if found is not None and getattr(model, name) != value:
            raise SettingError(f"library='torch' needs {name}={value!r}; got {name}={getattr(model, name)!r}")
    return found


def library_for(library: str, device: str, dtype: Any) -> OnTorch | None:
    """What computes for a model: None for NumPy.

    Raises
    ------
    SettingError
        When PyTorch is not installed, or the device is not there.
    """
    if library == "numpy":
        if device != "cpu":
            raise SettingError(f"device={device!r} needs library='torch'; NumPy computes on the cpu alone")
        return None
    try:
        import torch
    except ImportError as error:
        raise SettingError(
            f"library='torch' needs PyTorch, which cannot be imported ({error}): pip install 'attnlab[torch]', or a build of it "
            "for your GPU from pytorch.org"
        ) from None
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # it knows no such device, or has none
        devices = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        first = str(error).splitlines()[0]
        raise SettingError(f"device={device!r} cannot be used ({first}); PyTorch has {devices} here") from None
    return OnTorch(torch, device, str(np.dtype(dtype)))


class OnTorch:
    """PyTorch on a device.

    Parameters
    ----------
    torch : the module
    device : str
    dtype : "float32" or "float64"
    """

    def __init__(self, torch: Any, device: str, dtype: str) -> None:
        self.torch, self.device, self.dtype = torch, device, getattr(torch, dtype)

    def tensor(self, array: Any) -> Any:
        """An array on the device; numbers that are not whole in the one dtype."""
        array = np.asarray(array)
        dtype = self.dtype if array.dtype.kind == "f" else None
        return self.torch.tensor(np.ascontiguousarray(array), device=self.device, dtype=dtype)

    def tree(self, params: Tree) -> Tree:
        """Nested arrays on the device."""
        return rebuild(params, [self.tensor(a) for _, a in leaves(params)])

    def numpy(self, tensor: Any) -> Any:
        """A tensor as a NumPy array."""
        return tensor.detach().cpu().numpy()

    def arrays(self, params: Tree) -> Tree:
        """Nested tensors as NumPy arrays, which later steps do not change."""
        return rebuild(params, [self.numpy(a).copy() for _, a in leaves(params)])

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
    ) -> Fitted:
        """As `attnlab.models.training.minimise_adam`, with a loss of tensors; the watch looks at NumPy arrays.

        Raises
        ------
        Diverged
            At the first step whose loss or parameters are not finite.
        """
        torch = self.torch
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as NumPy's fits have one
        try:
            return self._minimised(loss, params, batches, steps, learning_rate, watch, clip_norm, warm_up)
        finally:
            torch.set_num_threads(threads)

    def _minimised(
        self,
        loss: Callable[[Tree, Any], Any],
        params: Tree,
        batches: Iterator[Any],
        steps: int,
        learning_rate: float,
        watch: Watch | None,
        clip_norm: float | None,
        warm_up: int,
    ) -> Fitted:
        torch = self.torch
        tensors = [self.tensor(a).requires_grad_() for _, a in leaves(params)]
        tree = rebuild(params, tensors)
        adam = torch.optim.Adam(tensors, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8)
        hint = f"learning_rate={learning_rate:g}: a lower one may help"
        curve: list[float] = []
        step = 0
        if watch is not None:
            watch.seen(0, params)
        for step in range(1, steps + 1):
            value = loss(tree, next(batches))
            adam.zero_grad()
            if value.requires_grad:
                value.backward()
            for a in tensors:  # what the loss does not depend on has gradient zero, as in NumPy
                a.grad = torch.zeros_like(a) if a.grad is None else a.grad
            curve.append(float(value.detach()))
            at(step, steps, "steps", curve[-1])
            if not math.isfinite(curve[-1]):
                why = AT_FIRST if step == 1 else hint
                raise Diverged(f"the loss became {curve[-1]} at step {step} of {steps} ({why})", step)
            if clip_norm is not None:
                length = torch.sqrt(sum((a.grad * a.grad).sum() for a in tensors))
                shrink = torch.clamp(clip_norm / length, max=1.0)
                for a in tensors:
                    a.grad *= shrink
            adam.param_groups[0]["lr"] = learning_rate * min(1.0, step / warm_up if warm_up else 1.0)
            adam.step()
            looks = watch is not None and (step % watch.every == 0 or step == steps)
            if (looks or step == 1) and not all(bool(torch.isfinite(a).all()) for a in tensors):
                raise Diverged(f"a learned array is not finite after step {step} of {steps} ({hint})", step)
            if looks and watch is not None and watch.seen(step, self.arrays(tree)):
                break
        final = self.arrays(tree)
        if watch is not None and watch.best_params is not None:
            final = watch.best_params
        if not all(np.isfinite(a).all() for _, a in leaves(final)):
            raise Diverged(f"a learned array is not finite after step {step} of {steps} ({hint})", step)
        return Fitted(final, step, curve, watch.curve if watch else [], watch is not None and watch.done)
