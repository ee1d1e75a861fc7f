"""How many threads BLAS has."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["blas", "one_thread"]


def blas() -> Any:
    """The BLAS libraries that are loaded, as a threadpoolctl controller. To find them takes milliseconds, so it is done once.

    It is done again after further modules were imported, because they may load another BLAS.
    """
    return _blas(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _blas(n_modules: int) -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_thread(libraries: Any) -> Iterator[None]:
    """Within, the libraries of a threadpoolctl controller have one thread each. Those that have one are told nothing.

    In a process that was forked, OpenBLAS starts its threads anew when it is told how many it may use, even if that is one.
    Measured in a run of its own: 50 ms instead of 15.
    """
    has_more = any(library.num_threads != 1 for library in libraries.lib_controllers)
    with libraries.limit(limits=1) if has_more else contextlib.nullcontext():
        yield
