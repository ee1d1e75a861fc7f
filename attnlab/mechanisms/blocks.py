"""Work in blocks: how arrays are cut, and threads that do it, as many as threadpoolctl's limit allows.

The blocks depend on shapes alone, and within each BLAS has one thread, so that numbers do not depend on how many threads
there are. No thread outlives the call.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["Tile", "cut", "in_threads", "slices", "tiles", "wide"]

Tile = tuple[tuple[slice, ...], slice]  # slices of the leading axes, and of the queries
ALL = slice(None)


# --------------------------------------------------------------------------------------------------------------------
# cutting
# --------------------------------------------------------------------------------------------------------------------
def slices(size: int, at_once: int) -> list[slice]:
    """The slices of an axis, `at_once` long and the last one shorter."""
    return [slice(start, min(start + at_once, size)) for start in range(0, size, at_once)]


def tiles(lead: Sequence[int], q: int, rows: int, together: int) -> list[Tile]:
    """Blocks of the axes (*lead, q): at most `rows` queries, and then, where all queries fit in, some examples together.

    Parameters
    ----------
    lead : the leading axes
    q : int, queries
    rows : int, at most so many queries a block
    together : int, at most so many examples a block
    """
    sizes = [1] * len(lead)
    for axis in reversed(range(len(lead))):
        sizes[axis] = max(1, min(lead[axis], together))
        if sizes[axis] < lead[axis]:
            break
        together //= max(1, sizes[axis])
    axes = [slices(n, size) for n, size in zip(lead, sizes, strict=True)]
    return [(tuple(head), here) for *head, here in itertools.product(*axes, slices(q, max(1, rows)))]


def cut(array: Any, lead: tuple[slice, ...], *tail: slice) -> Any:
    """A block of an array (..., *tail); an axis of size one is that of every block, and leading axes may be missing."""
    own = array.ndim - len(tail)
    picks = (*lead[len(lead) - own :], *tail) if own else tail
    return array[tuple(ALL if n == 1 else pick for n, pick in zip(array.shape, picks, strict=True))]


def wide(lead: tuple[slice, ...], sizes: Sequence[int]) -> tuple[slice, ...]:
    """Slices of axes that are cut, and all of those of size one, for arrays in which they are larger."""
    return tuple(ALL if n == 1 else pick for n, pick in zip(sizes, lead, strict=True))


# --------------------------------------------------------------------------------------------------------------------
# threads
# --------------------------------------------------------------------------------------------------------------------
class _Items:
    """What is left to do, taken by several threads."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._left = iter(items)
        self._lock = threading.Lock()
        self.failed: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        while self.failed is None:
            with self._lock:
                item = next(self._left, self)
            if item is self:
                return
            yield item


def in_threads(worker: Callable[[Iterable[Any]], None], items: Sequence[Any], at_most: int = 64) -> None:
    """Call `worker(items)` in several threads, each of which is given those items that the others have not taken.

    Parameters
    ----------
    worker : callable of an iterable
        It may make itself room once, before it goes through its items.
    items : sequence
    at_most : int, threads
    """
    with _one_thread_each() as allowed:
        helpers = min(allowed, len(items), at_most) - 1
        if helpers < 1:
            worker(items)
            return
        left = _Items(items)

        def work() -> None:
            try:
                worker(left)
            except BaseException as error:  # raised again below
                left.failed = error

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work,), name="attnlab", daemon=True)
            for _ in range(helpers)
        ]
        for thread in threads:
            thread.start()
        try:
            work()
        finally:
            for thread in threads:
                thread.join()
        if left.failed is not None:
            raise left.failed


class _Held:
    """How many calls hold BLAS to one thread at this moment, and what it had before."""

    lock = threading.Lock()
    calls = 0
    allowed = 1
    limiter: Any = None


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def _one_thread_each() -> Iterator[int]:
    """BLAS has one thread inside; gives how many it had. Calls that overlap, in threads of the user's, are counted."""
    with _Held.lock:
        if not _Held.calls:
            counts = [library.num_threads for library in _blas().lib_controllers]
            _Held.allowed = min(counts, default=1)
            _Held.limiter = _blas().limit(limits=1) if math.prod(counts) > 1 else None
        _Held.calls += 1
        allowed = _Held.allowed
    try:
        yield allowed
    finally:
        with _Held.lock:
            _Held.calls -= 1
            if not _Held.calls and _Held.limiter is not None:
                _Held.limiter.restore_original_limits()
                _Held.limiter = None
