"""The loop of training that models on other libraries share: what a step is, the library says."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from attnlab.errors import Diverged, SettingError
from attnlab.models.training import AT_FIRST, Fitted, Tree, Watch, leaves
from attnlab.process import DEVICE
from attnlab.progress import at

__all__ = ["by_steps", "given_gpu", "not_there", "restored"]

SAID = 160  # letters of an error of a library, which may list all its devices


def given_gpu(device: str) -> str:
    """The device with the number of the GPU that a sweep has given to this process, where it asks for any GPU."""
    number = os.environ.get(DEVICE, "")
    return f"{device}:{number}" if device in ("cuda", "gpu") and number else device


def not_there(device: str, error: BaseException, has: str) -> SettingError:
    """The error that says that a device cannot be used, and why, and which can."""
    first = (str(error).splitlines() or [""])[0]
    if len(first) > SAID:
        first = first[:SAID].rstrip() + " .."
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    hides = "" if shown is None or not device.startswith(("cuda", "gpu")) else f"; CUDA_VISIBLE_DEVICES is {shown!r}"
    return SettingError(f"device={device!r} cannot be used ({first}); {has} here{hides}")


def restored(cls: Any, device: str, dtype: str, compile: Any = "auto") -> Any:
    """The library of a model that is loaded; None, which is NumPy, with a warning where the library or its device is not there."""
    try:
        return cls(device, dtype, compile)
    except SettingError as error:
        warnings.warn(f"{error}. The model that is loaded computes with NumPy instead", UserWarning, stacklevel=2)
        return None


def by_steps(
    step_of: Callable[[Any, float], float],
    all_finite: Callable[[], bool],
    arrays: Callable[[], Tree],
    params: Tree,
    batches: Iterator[Any],
    steps: int,
    learning_rate: float,
    watch: Watch | None = None,
    warm_up: int = 0,
) -> Fitted:
    """Take the steps, look at validation data between them, and give the best arrays.

    Parameters
    ----------
    step_of : function of a batch and the learning rate of this step, which changes what is learned and gives the loss before
    all_finite : function, whether all that is learned is finite now
    arrays : function, what is learned now, as NumPy arrays that later steps do not change
    params : nested NumPy arrays, where it starts
    batches, steps, learning_rate, watch, warm_up : as of `attnlab.models.training.minimise_adam`

    Raises
    ------
    Diverged
        At the first step whose loss or parameters are not finite.
    """
    hint = f"learning_rate={learning_rate:g}: a lower one may help"
    curve: list[float] = []
    step = 0
    if watch is not None:
        watch.seen(0, params)
    for step in range(1, steps + 1):
        curve.append(step_of(next(batches), learning_rate * min(1.0, step / warm_up if warm_up else 1.0)))
        at(step, steps, "steps", curve[-1])
        if not math.isfinite(curve[-1]):
            why = AT_FIRST if step == 1 else hint
            raise Diverged(f"the loss became {curve[-1]} at step {step} of {steps} ({why})", step)
        looks = watch is not None and (step % watch.every == 0 or step == steps)
        if (looks or step == 1) and not all_finite():
            raise Diverged(f"a learned array is not finite after step {step} of {steps} ({hint})", step)
        if looks and watch is not None and watch.seen(step, arrays()):
            break
    final = arrays()
    if watch is not None and watch.best_params is not None:
        final = watch.best_params
    if not all(np.isfinite(a).all() for _, a in leaves(final)):
        raise Diverged(f"a learned array is not finite after step {step} of {steps} ({hint})", step)
    return Fitted(final, step, curve, watch.curve if watch else [], watch is not None and watch.done)
