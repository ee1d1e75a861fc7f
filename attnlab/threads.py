"""How many threads BLAS has."""

from __future__ import annotations

import functools
import sys
from typing import Any

__all__ = ["blas"]


def blas() -> Any:
    """The BLAS libraries that are loaded, as a threadpoolctl controller. To find them takes milliseconds, so it is done once.

    It is done again after further modules were imported, because they may load another BLAS.
    """
    return _blas(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _blas(n_modules: int) -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
