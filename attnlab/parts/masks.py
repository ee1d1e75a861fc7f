"""Masks: which keys may a query attend to?  allow(q_index (..., q), k_index (..., k)) -> bool (..., q, k), True = may attend.

A mask is a rule about positions. Long inputs can thus be masked block by block, and a decoder can ask about step t alone.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from attnlab.interfaces import Mask, Source

__all__ = ["AllKeys", "Causal", "Window"]


class AllKeys(Mask):
    """Every query may attend to every key.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "all").allow(np.arange(1), np.arange(3))
    array([[ True,  True,  True]])

    References
    ----------
    Vaswani et al. (2017), section 3.2.3, encoder-decoder attention.
    """

    name = "all"
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")

    def allow(self, q_index: Any, k_index: Any) -> Any:
        lead = np.broadcast_shapes(q_index.shape[:-1], k_index.shape[:-1])
        return np.ones((*lead, q_index.shape[-1], k_index.shape[-1]), dtype=bool)


class Causal(Mask):
    """A query may attend to keys at its own position and before.

    Query i may attend to key j when j <= i. Both count from 0, even when there are more keys than queries. (Some software
    aligns the last query with the last key instead.)

    References
    ----------
    Vaswani et al. (2017), section 3.2.3, decoder self-attention.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "causal").allow(np.arange(2), np.arange(3))
    array([[ True, False, False],
           [ True,  True, False]])
    """

    name = "causal"
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")

    def allow(self, q_index: Any, k_index: Any) -> Any:
        return k_index[..., None, :] <= q_index[..., :, None]


class Window(Mask):
    """A query may attend to keys at most `width` away from its own position.

    Query i may attend to key j when |j - i| <= width. This is Luong's local attention with monotonic alignment, local-m.

    Parameters
    ----------
    width : int >= 0, positions
        Luong's D; the window holds 2 width + 1 keys.

    References
    ----------
    Luong, Pham, Manning (2015), section 3.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "window", width=1).allow(np.arange(2), np.arange(4))
    array([[ True,  True, False, False],
           [ True,  True,  True, False]])
    """

    name = "window"
    source = Source(
        "Effective Approaches to Attention-based Neural Machine Translation", "Luong, Pham, Manning", 2015, "EMNLP"
    )

    def __init__(self, width: Annotated[int, Ge(0)] = 2) -> None:
        self.width = width

    def allow(self, q_index: Any, k_index: Any) -> Any:
        return abs(k_index[..., None, :] - q_index[..., :, None]) <= self.width
