"""Positions that mix each key with the keys just before it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import namespace
from attnlab.interfaces import Position, Source
from attnlab.precision import in_float32

__all__ = ["ShortConv"]


class ShortConv(Position):
    """Each key gains a learned multiple of the keys just before it.

    k_j + sum_{t=1..width} c_t * k_{j-t}, feature by feature; keys before the first are zero. Learned: C (width, d_key), which
    starts at 0. Cost: 2 width d operations a key.

    Parameters
    ----------
    width : int > 0, keys
        How many keys before each key it mixes in.

    Notes
    -----
    With it one layer can do induction: a key that holds the token before its own is found by that token. Keys follow each other
    in the order of the array, whatever `k_index` says, and a key that a mask forbids is still mixed in. Padding therefore
    belongs after the last key, where it changes nothing. A causal mask stays causal. Other software
    also convolves queries and values, and counts the key itself: its width is one more than here.

    References
    ----------
    Arora et al. (2024), section 4 (Based); Allen-Zhu (2025), Canon layers (Physics of Language Models, part 4.1).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> conv, K = attnlab.get("position", "short_conv", width=1), np.array([[1.0], [2.0], [3.0]])
    >>> conv.place(K, K, C=np.array([[10.0]]))[1]
    array([[ 1.],
           [12.],
           [23.]])
    """

    name = "short_conv"
    source = Source(
        "Simple Linear Attention Language Models Balance the Recall-Throughput Tradeoff", "Arora et al.", 2024, "ICML"
    )
    permutation_equivariant = False
    mixes_keys = True

    def __init__(self, width: Annotated[int, Gt(0)] = 3) -> None:
        self.width = width

    def init(self, d_key: int) -> dict[str, Any]:
        return {"C": np.zeros((self.width, d_key))}

    @in_float32
    def place(self, Q: Any, K: Any, C: Any) -> Any:
        xp = namespace(Q, K, C)
        mixed, n = K, K.shape[-2]
        for t in range(1, min(self.width, n - 1) + 1):
            before = xp.zeros((*K.shape[:-2], t, K.shape[-1]), dtype=K.dtype)
            mixed = mixed + C[t - 1] * xp.concat([before, K[..., : n - t, :]], axis=-2)
        return Q, mixed

    def operations(self, n_keys: int, d_key: int) -> float:
        return 2.0 * self.width * n_keys * d_key
