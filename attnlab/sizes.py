"""Sizes that there is no memory for: refused in a sentence that names the setting, where possible before anything is allocated."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

from attnlab.component import Component, settings_of
from attnlab.errors import TooLarge
from attnlab.libraries import no_memory

__all__ = ["EACH", "memory", "readable", "refuse_sizes", "room_for", "sized"]

LARGE = 1000  # a smaller number is not what used up the memory
# Bytes that one more word, key or feature of a task takes at least: each is in arrays, or an object of Python's
EACH = 64


def memory() -> int:
    """Bytes of memory that this machine has, or that this process may have where that is less; a huge number if nobody knows."""
    known = [2**62]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        known.append(soft if (soft := resource.getrlimit(resource.RLIMIT_AS)[0]) > 0 else 2**62)
    return min(known)


def readable(size: float) -> str:
    """Bytes in a sentence: '29.1 TiB'."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} PiB"


def refuse_sizes(component: Any, bytes_of: Callable[[str, int], int]) -> None:
    """Refuse a setting that is a whole number, or a list of such, by what it needs.

    Parameters
    ----------
    bytes_of : function of (setting, value), the least number of bytes; 0 where nothing is known

    Raises
    ------
    TooLarge
    """
    most = memory()
    for setting, value in _whole(component):
        if (needed := bytes_of(setting, value)) > most:
            raise TooLarge(
                f"{_named(component)}: {setting} = {value} needs {readable(needed)} of memory at least, and there are "
                f"{readable(most)}: take a smaller one"
            )


@contextlib.contextmanager
def room_for(component: Any) -> Iterator[None]:
    """Within, what NumPy says of arrays that are too large becomes a sentence about the component's settings.

    Raises
    ------
    TooLarge
    """
    try:
        yield
    except (MemoryError, ValueError, OverflowError) as error:
        if isinstance(error, TooLarge) or not (no_memory(error) or "int too" in str(error)):
            raise
        large = sorted({f"{s} = {v}" for s, v in _whole(component) if v >= LARGE}, key=len, reverse=True)[:3]
        if not large and not isinstance(error, MemoryError):
            raise
        said = str(error).strip().rstrip(".")
        raise TooLarge(
            f"{_named(component)}{' with ' + ' and '.join(large) if large else ''} needs more memory than there is"
            f"{f' ({said})' if said else ''}: take {'a smaller one' if len(large) == 1 else 'smaller ones' if large else 'fewer examples, or shorter ones'}"
        ) from error


def sized(verb: Callable[..., Any]) -> Callable[..., Any]:
    """A component's verb within `room_for`."""

    @functools.wraps(verb)
    def held(self: Any, *args: Any, **named: Any) -> Any:
        with room_for(self):
            return verb(self, *args, **named)

    return held


def _named(component: Any) -> str:
    return f"{component.kind} {component.name!r}" if getattr(component, "name", "") else type(component).__name__


def _whole(component: Any) -> Iterator[tuple[str, int]]:
    """The settings that are whole numbers, those in lists and of components among them too."""
    for setting in settings_of(type(component)):
        value = getattr(component, setting, None)
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, int) and not isinstance(one, bool):
                yield setting, one
            elif isinstance(one, Component):
                yield from ((f"{setting}__{inner}", v) for inner, v in _whole(one))
