"""Aggregators with their pullback."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.interfaces import Kernel
from attnlab.kernels.normalisers import numpy_floats
from attnlab.parts.aggregators import WeightedSum

__all__ = ["WeightedSumProduct"]


class WeightedSumProduct(Kernel):
    """The weighted sum as one matrix product; each gradient is one more, made only where it is wanted.

    References
    ----------
    Bahdanau, Cho, Bengio (2015), equation 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> part = attnlab.get("aggregator", "weighted_sum")
    >>> Y, back = WeightedSumProduct().aggregate(part, np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]]), ())
    >>> Y
    array([[7.]])
    """

    name = "weighted_sum_product"
    source = WeightedSum.source
    replaces = WeightedSum

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def aggregate(self, part: Any, W: Any, V: Any, wants: Any) -> Any:
        def back(g: Any) -> Any:
            found = {}
            if "W" in wants:
                found["W"] = np.matmul(g, V.swapaxes(-1, -2))
            if "V" in wants:
                found["V"] = np.matmul(W.swapaxes(-1, -2), g)
            return found

        return np.matmul(W, V), back
