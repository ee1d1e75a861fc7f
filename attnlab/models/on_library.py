"""Which library computes a model: NumPy, or another one on a device."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import numpy as np

from attnlab.errors import SettingError
from attnlab.models.on_jax import OnJax
from attnlab.models.on_torch import OnTorch

__all__ = ["OnLibrary", "library_for", "library_of", "working"]

OTHERS: dict[str, Any] = {"torch": OnTorch, "jax": OnJax}


class OnLibrary(Protocol):
    """Another library on a device: what models ask of it. `OnTorch` says what each function does."""

    dtype: Any
    needs_fixed_shapes: bool
    step: str  # what compiled the last steps of learning, if something did

    def tensor(self, array: Any) -> Any: ...
    def blank(self, shape: tuple[int, ...]) -> Any: ...
    def tree(self, params: Any) -> Any: ...
    def numpy(self, array: Any) -> Any: ...
    def arrays(self, params: Any) -> Any: ...
    def working(self) -> Any: ...
    def without_gradients(self) -> Any: ...
    def minimise_adam(self, *given: Any, **settings: Any) -> Any: ...


def library_of(model: Any, dtype: Any) -> OnLibrary | None:
    """`library_for` the settings of an aligner, of which other libraries do not have all.

    Raises
    ------
    SettingError
    """
    found = library_for(model.library, model.device, dtype, model.compile)
    for name, value in (("optimizer", "adam"), ("loss", "squared")):
        if found is not None and getattr(model, name) != value:
            raise SettingError(f"library={model.library!r} needs {name}={value!r}; got {name}={getattr(model, name)!r}")
    return found


def library_for(library: str, device: str, dtype: Any, compile: Any = "auto") -> OnLibrary | None:
    """What computes for a model: None for NumPy.

    Raises
    ------
    SettingError
        When the library is not installed, or the device is not there.
    """
    name = dtype if isinstance(dtype, str) else str(np.dtype(dtype))
    if name == "bfloat16" and library != "torch":
        raise SettingError(f"dtype='bfloat16' needs library='torch'; got library={library!r}")
    if library != "numpy":
        found: OnLibrary = OTHERS[library](device, name, compile)
        return found
    if compile is True:
        raise SettingError(
            "compile=True needs library='torch' or 'jax'; NumPy computes with kernels that are compiled already"
        )
    if device != "cpu":
        raise SettingError(f"device={device!r} needs library='torch' or 'jax'; NumPy computes on the cpu alone")
    return None


def working(library: OnLibrary | None) -> Any:
    """A context in which the library works as a model needs it; NumPy always does."""
    return contextlib.nullcontext() if library is None else library.working()
