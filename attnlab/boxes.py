"""What a traced array (a box of autograd's) says to plain NumPy: where it was met, and what to do instead.

Gradients come from a trace of functions that autograd knows. NumPy and SciPy read an array by themselves, `math` and `float`
want one number, and an assignment overwrites what the trace needs. What autograd cannot follow is refused here, with the line
of the component's own code. What it can follow, such as `np.exp` of a box, goes on as it did. Outside attnlab's calls boxes
are as autograd made them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import isbox

from attnlab.errors import ComponentError

__all__ = ["address", "install", "only_the_namespace", "place_of"]

# whose lines are not where a component's author can mend something
_LIBRARIES = {
    "attnlab",
    "autograd",
    "numpy",
    "scipy",
    "array_api_compat",
    "torch",
    "jax",
    "jaxlib",
    "sklearn",
    "pluggy",
}
_OTHERWISE = {  # NumPy's and SciPy's names, and what the namespace has instead
    "norm": "xp.linalg.vector_norm",
    "concatenate": "xp.concat",
    "expit": "xp.sigmoid",
    "transpose": "xp.permute_dims",
    "cumsum": "xp.cumulative_sum",
    "cumprod": "xp.cumulative_prod",
    "power": "xp.pow",
    "nan_to_num": "xp.where(xp.isfinite(x), x, 0.0)",
    "einsum": "xp.matmul (or xp.sum of a product)",
    "dot": "xp.matmul",
    "swapaxes": "x.mT (or xp.permute_dims)",
}
# names that a namespace has on every library
_KNOWN = (
    "exp log log1p expm1 sqrt abs maximum minimum where sum mean std var max min softmax logsumexp erf tanh sin cos sign floor "
    "ceil stack expand_dims sort argsort clip reshape zeros_like ones_like full_like broadcast_to matmul multiply add subtract "
    "divide isfinite isnan isinf prod any all argmax argmin tril triu flip roll tile repeat squeeze take_along_axis logaddexp "
    "square log2 log10"
)
# what `array * box` and its like arrive as: an operator, not a function that somebody called
_OPERATORS = (
    "add subtract multiply divide floor_divide remainder power float_power matmul equal not_equal less less_equal greater "
    "greater_equal bitwise_and bitwise_or bitwise_xor"
)

_strict = False
_ufunc = getattr(ArrayBox, "__array_ufunc__", None)  # autograd's own, which calls what it knows


# -- where ------------------------------------------------------------------------------------------------------------
def _top(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_library(frame: FrameType) -> bool:
    return _top(frame) in _LIBRARIES or _top(frame) in sys.stdlib_module_names - {"__main__"}


def address(path: str, line: int) -> str:
    """file:line, as an editor in this folder opens it."""
    if os.path.isabs(path):
        near = os.path.relpath(path)
        path = path if near.startswith(os.pardir) else near
    return f"{path}:{line}"


def place_of(error: BaseException) -> str:
    """file:line of the last line outside attnlab and the libraries that led to an error; empty where there is none."""
    found = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if not _is_library(trace.tb_frame):
            found = address(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _caller() -> tuple[FrameType | None, str, bool]:
    """The frame that asked (None: attnlab itself), the function of a library that it called, and whether attnlab called it."""
    frame, function = sys._getframe(1), ""
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back  # type: ignore[assignment]
    asked: FrameType | None = frame
    while asked is not None and _is_library(asked):
        if _top(asked) == "attnlab":
            return None, "", True
        if _top(asked) in ("numpy", "scipy"):
            function = asked.f_code.co_name
        asked = asked.f_back
    outer = asked
    while outer is not None and _top(outer) != "attnlab":
        outer = outer.f_back
    return asked, function, outer is not None


def _namespace(frame: FrameType) -> str:
    """`namespace(Q, K)`, of the traced arguments of the function that a frame runs."""
    code = frame.f_code
    names = [n for n in code.co_varnames[: code.co_argcount] if n != "self" and isbox(frame.f_locals.get(n))]
    return f"namespace({', '.join(names) or 'Q, K'})"


# -- what -------------------------------------------------------------------------------------------------------------
def _refused(frame: FrameType, what: str) -> ComponentError:
    return ComponentError(f"{address(frame.f_code.co_filename, frame.f_lineno)}: {what}")


def _met(frame: FrameType, function: str) -> ComponentError:
    """A NumPy function met a box."""
    instead = _OTHERWISE.get(function, f"xp.{function}" if function in _KNOWN.split() else "")
    called = f", and {instead} instead of {function}" if instead else ", and its functions"
    return _refused(frame, f"a NumPy function met a traced array; take xp = {_namespace(frame)}{called}")


def _overwritten(frame: FrameType) -> ComponentError:
    return _refused(
        frame,
        "a traced array cannot be assigned into; make a new one, xp.where(condition, new, old), with "
        f"xp = {_namespace(frame)}",
    )


def _array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    called = method == "__call__" and "out" not in kwargs
    if _strict and not (called and ufunc.__name__ in _OPERATORS.split() and not isbox(inputs[0])):
        frame, _, inside = _caller()
        if frame is not None and inside:
            raise _overwritten(frame) if "out" in kwargs else _met(frame, ufunc.__name__)
    found = NotImplemented if _ufunc is None else _ufunc(self, ufunc, method, *inputs, **kwargs)
    plain = (np.ndarray, np.generic, bool, int, float, list, tuple)
    if found is NotImplemented and all(isbox(x) or isinstance(x, plain) for x in inputs):
        frame, function, inside = _caller()
        if frame is not None and inside:
            raise _overwritten(frame) if "out" in kwargs else _met(frame, function or ufunc.__name__)
    return found


def _array_function(self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """Only there while `only_the_namespace` holds: NumPy's functions, most of which ask the array's own methods first."""
    frame, outer, inside = _caller()
    if frame is not None and inside:
        raise _met(frame, outer or function.__name__)
    return function._implementation(*args, **kwargs)


def _array(self: Any, dtype: Any = None, copy: Any = None) -> Any:
    frame, function, inside = _caller()
    if frame is not None and inside:
        raise _met(frame, function)
    found = np.empty(self.shape, dtype=object)  # as NumPy makes of what is indexed like an array
    for at in np.ndindex(self.shape):
        found[at] = self[at] if at else self
    return found if dtype is None else found.astype(dtype)


def _setitem(self: Any, index: Any, value: Any) -> None:
    frame, _, _ = _caller()
    raise TypeError("a traced array cannot be assigned into") if frame is None else _overwritten(frame)


def _float(self: Any) -> float:
    frame, _, _ = _caller()
    if frame is None:
        raise TypeError("a traced array is no Python number")
    raise _refused(
        frame,
        f"a traced array was taken for a Python number (float, int, math); take functions from xp = {_namespace(frame)}, or "
        "attnlab.detach(x) where no gradient is wanted",
    )


def _getattr(self: Any, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    frame, _, _ = _caller()
    where = "" if frame is None else f"{address(frame.f_code.co_filename, frame.f_lineno)}: "
    instead = "" if frame is None else f"; take functions from xp = {_namespace(frame)}"
    raise AttributeError(f"{where}a traced array has no .{name}{instead}", name=name, obj=self)


def install() -> None:
    """Give autograd's arrays what is above; once, when `attnlab.arrays` is imported."""
    ArrayBox.mT = property(lambda self: anp.swapaxes(self, -1, -2))  # NumPy's arrays have it
    ArrayBox.__array_ufunc__ = _array_ufunc
    ArrayBox.__array__ = _array
    ArrayBox.__setitem__ = _setitem
    ArrayBox.__float__ = ArrayBox.__int__ = _float
    ArrayBox.__getattr__ = _getattr


@contextmanager
def only_the_namespace() -> Iterator[None]:
    """Within, a component's code that gives a traced array to any NumPy function is refused, also where autograd could follow."""
    global _strict
    before, _strict = _strict, True
    ArrayBox.__array_function__ = _array_function
    try:
        yield
    finally:
        _strict = before
        if not before:
            del ArrayBox.__array_function__
