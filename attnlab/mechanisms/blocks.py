"""Work in blocks: arrays are cut, and as many threads work on the blocks as threadpoolctl's limit allows.

The blocks depend on shapes alone, and BLAS has one thread within each block. The results thus do not depend on the number
of threads. No thread outlives the call.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from attnlab.threads import blas

__all__ = ["Tile", "cut", "in_threads", "slices", "tiles", "wide"]

Tile = tuple[tuple[slice, ...], slice]  # slices of the leading axes, and of the queries
ALL = slice(None)


# --------------------------------------------------------------------------------------------------------------------
# cutting
# --------------------------------------------------------------------------------------------------------------------
def slices(size: int, at_once: int) -> list[slice]:
    """Slices that cut an axis: each is `at_once` long, and the last one may be shorter."""
    return [slice(start, min(start + at_once, size)) for start in range(0, size, at_once)]


def tiles(lead: Sequence[int], q: int, rows: int, together: int) -> list[Tile]:
    """Blocks of the axes (*lead, q): each has at most `rows` queries; if all queries fit, it has several examples.

    Parameters
    ----------
    lead : the leading axes
    q : int, queries
    rows : int, the most queries of a block
    together : int, the most examples of a block
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
    """A block of an array (..., *tail); every block shares an axis of size one, and leading axes may be missing."""
    own = array.ndim - len(tail)
    picks = (*lead[len(lead) - own :], *tail) if own else tail
    return array[tuple(ALL if n == 1 else pick for n, pick in zip(array.shape, picks, strict=True))]


def wide(lead: tuple[slice, ...], sizes: Sequence[int]) -> tuple[slice, ...]:
    """The slices for one array: an axis that is cut has its slice, and an axis of size one stays whole."""
    return tuple(ALL if n == 1 else pick for n, pick in zip(sizes, lead, strict=True))


# --------------------------------------------------------------------------------------------------------------------
# threads
# --------------------------------------------------------------------------------------------------------------------
class _Items:
    """The items that are left to do; several threads take from them."""

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
    """Call `worker(items)` in several threads; each gets the items that the others have not taken.

    Parameters
    ----------
    worker : callable of an iterable
        It may allocate its working arrays once, before it goes through its items.
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
    """How many calls hold BLAS to one thread at this moment, and how many threads it had before."""

    lock = threading.Lock()
    calls = 0
    allowed = 1
    limiter: Any = None


@contextlib.contextmanager
def _one_thread_each() -> Iterator[int]:
    """BLAS has one thread inside; yields how many it had. It counts calls that overlap in the user's own threads."""
    with _Held.lock:
        if not _Held.calls:
            counts = [library.num_threads for library in blas().lib_controllers]
            _Held.allowed = min(counts, default=1)
            _Held.limiter = blas().limit(limits=1) if math.prod(counts) > 1 else None
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
