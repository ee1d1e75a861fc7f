"""What several metrics ask of the same examples and weights is computed once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

__all__ = ["once", "sharing"]

_KEPT: ContextVar[dict[Any, Any] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Compute only once, inside, what several metrics ask of the same examples and weights.

    For metrics that are all given the same objects, which nobody changes.
    """
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def once(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A function of examples and weights that is computed once for the same objects inside `sharing`."""

    @functools.wraps(compute)
    def shared(*of: Any) -> Any:
        kept = _KEPT.get()
        if kept is None:
            return compute(*of)
        key = (compute, *map(id, of))
        if key not in kept:
            found = compute(*of)
            for array in found if isinstance(found, tuple) else (found,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)
            kept[key] = (of, found)  # `of` is held, so that its id stays its own
        return kept[key][1]

    return shared
