"""Axis letters, and the one sentence in which arrays of wrong shapes are refused.

letter  axis                              array        shape
q       queries                           Q            (..., q, d)
k       keys                              K            (..., k, d)
d       features of a query or key        V            (..., k, v)
v       features of a value               S, W         (..., q, k)
h       hidden units, or heads            Y            (..., q, v)
n       examples                          mask         bool, broadcast to (..., q, k)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.errors import ShapeError

__all__ = ["as_array", "broadcast_leading", "check_shapes"]


def as_array(x: Any, name: str) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array, for an argument of that name.

    Raises
    ------
    ShapeError
        When lists in it differ in length.
    """
    try:
        return np.asarray(x)
    except ValueError as error:
        if not isinstance(x, (list, tuple)):
            raise
        raise ShapeError(
            f"{name} must be an array, or lists of lists of the same length; here they differ in length or depth: "
            "pad the shorter ones, and forbid the padding by a mask"
        ) from error


def _written(axes: str, shape: tuple[int, ...]) -> str:
    return f"({axes.replace(' ', ', ')}) = {tuple(int(s) for s in shape)}"


def check_shapes(**arrays: tuple[str, Any]) -> dict[str, int]:
    """Check that arrays agree about their named axes; return the size of each.

    Each keyword is an array's name, its value the axes and the array: ``Q=("... q d", Q)``. Leading axes (``...``)
    must broadcast. An axis written ``1|q`` may also have size one.

    Raises
    ------
    ShapeError
        Naming the axis, both arrays and their whole shapes.
    TypeError
        When one is no array.
    """
    sizes: dict[str, tuple[int, str]] = {}
    leading: list[tuple[str, tuple[int, ...], str]] = []
    for name, (axes, array) in arrays.items():
        if not hasattr(array, "shape"):
            raise TypeError(
                f"{name} must be an array; got a {type(array).__name__}: convert it with numpy.asarray first"
            )
        shape = tuple(array.shape)
        letters = axes.split()
        open_ended = letters[0] == "..."
        named = letters[1:] if open_ended else letters
        if len(shape) < len(named) or (not open_ended and len(shape) != len(named)):
            least = "at least " if open_ended else ""
            raise ShapeError(
                f"{name} must have {least}{len(named)} axes, ({', '.join(letters)}); got {len(shape)}: shape {shape}"
            )
        tail = shape[len(shape) - len(named) :]
        for letter, size in zip(named, tail, strict=True):
            if letter.startswith("1|"):
                letter = letter[2:]
                if size == 1:
                    continue
            if letter in sizes and sizes[letter][0] != size:
                first = sizes[letter][1]
                raise ShapeError(
                    f"axis {letter!r} disagrees: {first} has {sizes[letter][0]}, {name} has {size} "
                    f"({name} is {_written(axes, shape)}; {first} is "
                    f"{_written(arrays[first][0], tuple(arrays[first][1].shape))})"
                )
            sizes.setdefault(letter, (size, name))
        if open_ended:
            leading.append((name, shape[: len(shape) - len(named)], axes))
    broadcast_leading(*((name, lead) for name, lead, _ in leading))
    return {letter: size for letter, (size, _) in sizes.items()}


def broadcast_leading(*named: tuple[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The common leading shape of arrays, or a ShapeError naming the two that disagree."""
    result: tuple[int, ...] = ()
    who = ""
    for name, lead in named:
        width = max(len(result), len(lead))
        a = (1,) * (width - len(result)) + result
        b = (1,) * (width - len(lead)) + tuple(lead)
        if any(x != y and x != 1 and y != 1 for x, y in zip(a, b, strict=True)):
            raise ShapeError(f"leading axes do not broadcast: {who} has {result}, {name} has {tuple(lead)}")
        result = tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))
        who = f"{who} and {name}" if who else name
    return result
