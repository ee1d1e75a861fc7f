"""PyTorch's own attention, with its kernels for each device, for the parts that it supports."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.interfaces import Kernel
from attnlab.parts.aggregators import WeightedSum
from attnlab.parts.normalisers import Softmax
from attnlab.parts.similarities import ScaledDot

__all__ = ["TorchAttention"]


class TorchAttention(Kernel):
    """`torch.nn.functional.scaled_dot_product_attention`, on PyTorch's tensors.

    Its gradient is PyTorch's, and some of PyTorch's kernels have no second derivative. A mechanism bound with "reference" has one.

    References
    ----------
    Dao, Fu, Ermon, Rudra, Re (2022), for one of its kernels.

    Examples
    --------
    >>> import attnlab
    >>> attnlab.Mechanism().bind().kernels("torch.float32", "torch")["attend"]
    'attnlab:torch_attention'
    """

    name = "torch_attention"
    source = ScaledDot.source
    replaces = (ScaledDot, Softmax, WeightedSum)

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return library == "torch" and "float" in dtype and part[1].temperature == 1

    def attend(self, parts: Any, Q: Any, K: Any, V: Any, mask: Any, alive: Any, learned: Any, wants: Any) -> Any:
        from torch.nn.functional import scaled_dot_product_attention

        fronts = [tuple(X.shape[:-2]) for X in (Q, K, V)]
        if mask is not None:
            fronts.append(tuple(mask.shape[:-2]))
        front = np.broadcast_shapes(*fronts)
        Q, K, V = (_with_heads(X, front) for X in (Q, K, V))
        if mask is not None:  # a query that may attend to nothing sees every key, and its result is zeroed afterwards
            mask = _with_heads(mask if alive is None else mask | ~alive, front)
        Y = scaled_dot_product_attention(Q, K, V, attn_mask=mask).reshape(*front, Q.shape[-2], V.shape[-1])
        return (Y if alive is None else Y.where(alive, Y.new_zeros(()))), None


def _with_heads(X: Any, front: tuple[int, ...]) -> Any:
    """X (..., n, d) as (examples, heads, n, d), the form for which there are fast kernels."""
    X = X.expand(*front, *X.shape[-2:])
    if len(front) < 2:
        return X[None, None] if not front else X[:, None]
    return X.reshape(-1, *X.shape[-3:])
