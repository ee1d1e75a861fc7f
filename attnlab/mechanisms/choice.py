"""Which kernel answers a verb of a part: first the process's own, then the part's distribution, then attnlab's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attnlab.plugins import BUILTIN
from attnlab.registry import NOTEBOOK, Entry, entries, kept

__all__ = ["kernel_of"]


def kernel_of(parts: Any, verb: str, library: str, dtype: str, backend: str = "auto") -> tuple[Any, str] | None:
    """The kernel that answers, as (object, `distribution:name`), or None if the part itself answers.

    Parameters
    ----------
    parts : a part, or a tuple of the three that a fused kernel replaces
    verb : str
    library : "numpy", "torch" or "jax"
    dtype : str, such as "float32"
    backend : "auto", "reference", or the distribution whose kernels come first
    """
    if backend == "reference":
        return None
    for found in _candidates(parts, verb, backend):
        kernel: Any = found.cls()
        if kernel.supports(parts, library, dtype):
            return kernel, found.qualified
    return None


def _candidates(parts: Any, verb: str, backend: str) -> tuple[Entry, ...]:
    """The kernels that replace exactly these classes and have the verb, in the order in which they are asked."""
    replaced = tuple(type(p) for p in parts) if isinstance(parts, tuple) else type(parts)
    key = ("kernels", replaced, verb, backend)
    found = (mine := kept()).get(key)
    if found is None:
        found = mine[key] = tuple(_ordered(replaced, verb, backend))
    return found


def _ordered(replaced: Any, verb: str, backend: str) -> Iterator[Entry]:
    fitting = [
        found
        for name in sorted(entries("kernel"))
        for found in entries("kernel")[name]
        if _replaces(found.cls, replaced) and callable(getattr(found.cls, verb, None))
    ]
    own = _distribution(replaced) if isinstance(replaced, type) else BUILTIN
    ranks = dict.fromkeys(d for d in (backend, NOTEBOOK, own, BUILTIN) if d != "auto")
    for distribution in ranks:
        yield from (found for found in fitting if found.distribution == distribution)


def _replaces(kernel: Any, replaced: Any) -> bool:
    given = kernel.replaces
    several = isinstance(given, tuple) and given and isinstance(given[0], tuple)
    return replaced in given if several else isinstance(given, type(replaced)) and given == replaced


def _distribution(cls: Any) -> str:
    """The distribution that gives a class of a part."""
    for several in entries(cls.kind).values():
        for found in several:
            if found.cls is cls:
                return found.distribution
    return NOTEBOOK
