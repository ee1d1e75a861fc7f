"""C031 and C032: the same on PyTorch and on JAX, where they are installed, on every device there is."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.arrays import to_numpy
from attnlab.libraries import library_of
from attnlab.testing.checks import check, same
from attnlab.testing.parts import ENGINE
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Draw, Subject, unflat

DTYPES = ((np.float64, 1e-8), (np.float32, 2e-3))  # with the tolerance

Leaves = Mapping[str, Any]


@dataclass(frozen=True)
class _Library:
    """How one library makes arrays on a device, and takes gradients."""

    name: str
    title: str
    devices: tuple[str, ...]
    draws: int
    make: Callable[[Any, str], Any]
    gradients: Callable[[Callable[[Leaves], Any], Leaves], tuple[Any, dict[str, Any]]]


@check("C031", *ENGINE)
def torch_gives_the_same(s: Subject) -> str:
    """On PyTorch, where it is installed, values and gradients are NumPy's, in float64 and float32, and float32 stays."""
    torch = _imported("torch", "PyTorch")
    from torch.overrides import TorchFunctionMode

    class NumPyStaysOut(TorchFunctionMode):
        """Refuses what fails on a GPU: NumPy reading a tensor by itself."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.Tensor.__array__:
                raise Failed("a NumPy function was called on a tensor: take functions from namespace(...)")
            return func(*args, **(kwargs or {}))

    def gradients(function: Callable[[Leaves], Any], leaves: Leaves) -> tuple[Any, dict[str, Any]]:
        leaves = {name: a.requires_grad_() for name, a in leaves.items()}
        output, loss = function(leaves)
        if not loss.requires_grad:
            return output, {}
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return output, {n: g for n, g in zip(leaves, found, strict=True) if g is not None}

    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    library = _Library("torch", "PyTorch", devices, 3, lambda a, device: torch.tensor(a, device=device), gradients)
    with NumPyStaysOut():
        return _as_on_numpy(s, "C031", library, str(torch.__version__))


@check("C032", *ENGINE)
def jax_gives_the_same(s: Subject) -> str:
    """On JAX, where it is installed, values and gradients are NumPy's, in float64 and float32, and float32 stays."""
    jax = _imported("jax", "JAX")

    def gradients(function: Callable[[Leaves], Any], leaves: Leaves) -> tuple[Any, dict[str, Any]]:
        def loss(leaves: Leaves) -> tuple[Any, Any]:
            output, total = function(leaves)
            return total, output

        (_, output), found = jax.value_and_grad(loss, has_aux=True)(dict(leaves))
        return output, found

    devices = (
        str(jax.default_backend()),
    )  # where JAX puts new arrays; it compiles each step for each shape, so one draw
    library = _Library("jax", "JAX", devices, 1, lambda a, device: jax.numpy.asarray(a), gradients)
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    with home.enable_x64(True):  # JAX has float64 only where it is asked for
        return _as_on_numpy(s, "C032", library, str(jax.__version__))


def _imported(module: str, title: str) -> Any:
    if importlib.util.find_spec(module) is None:
        raise Skipped(f"{title} is not installed")
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise Skipped(f"{title} cannot be imported: {type(error).__name__}: {error}") from error


def _as_on_numpy(s: Subject, code: str, library: _Library, version: str) -> str:
    """Compare with NumPy's values and autograd's gradients; what was compared, in words.

    Raises
    ------
    Failed
        For the first difference.
    """
    differentiable = getattr(s.cls, "differentiable", True)
    for dtype, tolerance in DTYPES:
        for i, draw in enumerate(s.draws(code, n=library.draws, dtype=dtype, lead=(2,))):
            params = s.params(draw)
            mask = draw.M.copy()
            mask[..., -1, :] = False  # a query that may attend to nothing
            for view in s.views:
                for device in library.devices:
                    where = f"{view} on {library.title}, {device}, {np.dtype(dtype)}"
                    for M in (mask, None) if i else (mask,):
                        _compare(s, view, params, draw, M, library, device, where, tolerance, differentiable)
    kinds = "values and gradients" if differentiable else "values"
    return f"{library.title} {version} ({', '.join(library.devices)}): {kinds}, float64 and float32"


def _compare(
    s: Subject,
    view: str,
    params: Any,
    draw: Draw,
    mask: Any,
    library: _Library,
    device: str,
    where: str,
    tolerance: float,
    differentiable: bool,
) -> None:
    leaves, _ = s.loss(view, params, draw, mask)
    expected = s.output(view, params, draw, mask)
    R = np.random.default_rng(s.seed).normal(size=np.shape(expected)).astype(expected.dtype)
    weighting = library.make(R, device)
    there = None if mask is None else library.make(mask, device)

    def function(now: Leaves) -> tuple[Any, Any]:
        moved = draw.replace(Q=now["Q"], K=now["K"], V=now.get("V", library.make(draw.V, device)))
        output = s.output(view, unflat(params, now), moved, there)
        if library_of(output) != library.name:
            raise Failed(f"{where}: gives a {type(output).__module__}.{type(output).__name__}")
        return output, (output * weighting).sum()

    output, found = library.gradients(function, {n: library.make(a, device) for n, a in leaves.items()})
    if to_numpy(output).dtype != expected.dtype:
        raise Failed(f"{where}: is {to_numpy(output).dtype}")
    same(to_numpy(output), expected, where, tolerance)
    if not differentiable:
        return
    for name, g in s.gradients(view, params, draw, mask).items():
        theirs = to_numpy(found[name]) if name in found else np.zeros_like(g)
        if theirs.dtype != g.dtype:
            raise Failed(f"{where}: the gradient with respect to {name} is {theirs.dtype}")
        same(theirs, g, f"{where}: the gradient with respect to {name}", tolerance)
