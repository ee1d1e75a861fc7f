"""Which cases of a test are tried at every run of the tests; the others have the marker `long`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], chosen: Callable[[Any], bool]) -> list[Any]:
    """The cases, of which those that are not chosen have the marker `long`."""
    return [case if chosen(case) else pytest.param(*_values(case), marks=pytest.mark.long) for case in cases]


def _values(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)


def spread(*axes: Iterable[Any]) -> Callable[[Any], bool]:
    """Of pairs of two axes: the first of an axis with each of the other, and each once with another; all pairs of others."""
    first, second = map(list, axes)

    def chosen(pair: tuple[Any, Any]) -> bool:
        if pair[0] not in first or pair[1] not in second:
            return True
        i, j = first.index(pair[0]), second.index(pair[1])
        return i == 0 or j == 0 or i % len(second) == j

    return chosen
