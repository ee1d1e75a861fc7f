"""Masks by content: blocks of keys that a query chooses."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import namespace
from attnlab.errors import Unsupported
from attnlab.interfaces import Mask, Source

__all__ = ["BlockTopk"]


class BlockTopk(Mask):
    """A query may attend to the blocks of keys whose mean answers it best.

    Positions are cut into blocks of `block`. Query i may attend to the keys of the `top` blocks with the largest q_i . mean(k), where
    the mean is over the keys of the block that other masks allow. The first block wins a tie.

    Parameters
    ----------
    block : int > 0, positions
    top : int > 0, blocks

    Raises
    ------
    Unsupported
        When queries and keys have different numbers of features.

    Notes
    -----
    It looks at queries and keys as the mechanism was given them, not as a position placed them, and the choice has no gradient.
    Keys that other masks forbid do not count, so that with `causal` nothing after the query decides. MoBA's mean is over whole
    blocks, and the block of the query itself is always allowed. NSA learns how to sum up a block, and adds a window and the sums
    themselves. The number of keys need not be a multiple of `block`.

    References
    ----------
    Lu et al. (2025), equations 5 and 6.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> K, Q = np.array([[1.0], [1.0], [9.0], [-9.0], [2.0]]), np.array([[1.0]])
    >>> attnlab.attention_weights(Q, K, "uniform", mask={"block_topk": {"block": 2, "top": 1}})     # means 1, 0 and 2
    array([[0., 0., 0., 0., 1.]])
    """

    name = "block_topk"
    source = Source("MoBA: Mixture of Block Attention for Long-Context LLMs", "Lu et al.", 2025, "arXiv:2502.13189")

    def __init__(self, block: Annotated[int, Gt(0)] = 4, top: Annotated[int, Gt(0)] = 2) -> None:
        self.block = block
        self.top = top

    def allow(self, k_index: Any, Q: Any, K: Any, mask: Any) -> Any:
        if Q.shape[-1] != K.shape[-1]:
            raise Unsupported(
                f"mask 'block_topk' compares queries with means of keys: both need the same features; got {Q.shape[-1]} of queries "
                f"and {K.shape[-1]} of keys"
            )
        xp = namespace(Q, K)
        S = xp.matmul(Q, xp.matrix_transpose(K))
        found = np.unique(k_index // self.block, return_inverse=True)
        inverse = found[1].reshape(k_index.shape)
        members = inverse[..., None] == np.arange(len(found[0]))  # (..., k, blocks)
        of_block = xp.astype(xp.asarray(members), S.dtype)
        counted = xp.ones_like(S) if mask is None else xp.astype(xp.broadcast_to(mask, _wider(S, mask)), S.dtype)
        S = xp.where(counted > 0, S, xp.zeros_like(S))
        total, n = xp.matmul(S, of_block), xp.matmul(counted, of_block)  # (..., q, blocks)
        mean = xp.where(n > 0, total / xp.maximum(n, xp.ones_like(n)), xp.full_like(n, -xp.inf))
        order = xp.argsort(mean, axis=-1, descending=True, stable=True)
        rank = xp.argsort(order, axis=-1)
        best = xp.astype((rank < self.top) & (n > 0), S.dtype)
        return xp.matmul(best, xp.matrix_transpose(of_block)) > 0.5


def _wider(S: Any, mask: Any) -> tuple[int, ...]:
    """The shape of scores with the leading axes of a mask."""
    return (*np.broadcast_shapes(tuple(S.shape[:-2]), tuple(mask.shape[:-2])), *S.shape[-2:])
