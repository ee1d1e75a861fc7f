"""Masks that are sparse patterns of positions: prefixes, documents, gaps, global tokens, chance.

Each is a rule about the two positions alone, and says of any block of queries and keys what it says of the whole.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le, MinLen

from attnlab.interfaces import Mask, Source

__all__ = ["Dilated", "Document", "GlobalWindow", "Prefix", "Random"]

_SPARSE = Source("Longformer: The Long-Document Transformer", "Beltagy, Peters, Cohan", 2020, "arXiv:2004.05150")


def _pair(q_index: Any, k_index: Any) -> tuple[Any, Any]:
    """Positions of queries (..., q, 1) and keys (..., 1, k)."""
    return q_index[..., :, None], k_index[..., None, :]


class Prefix(Mask):
    """Every query may attend to the first keys, and causally to the others.

    Query i may attend to key j when j < length or j <= i.

    Parameters
    ----------
    length : int >= 0, positions
        How many keys the prefix has. With 0 it is `causal`.

    Notes
    -----
    Keys of the prefix see each other in both directions, as in an encoder. Software for prefix language models takes one length
    for each example; here all examples share one.

    References
    ----------
    Raffel et al. (2020), section 3.2.1, `causal with prefix`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "prefix", length=2).allow(np.arange(3), np.arange(3))
    array([[ True,  True, False],
           [ True,  True, False],
           [ True,  True,  True]])
    """

    name = "prefix"
    source = Source(
        "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
        "Raffel et al.",
        2020,
        "JMLR 21",
    )

    def __init__(self, length: Annotated[int, Ge(0)] = 2) -> None:
        self.length = length

    def allow(self, q_index: Any, k_index: Any) -> Any:
        i, j = _pair(q_index, k_index)
        return (j < self.length) | (j <= i)


class Document(Mask):
    """A query may attend to the keys of its own document, where several lie one after the other.

    Query i may attend to key j when both positions lie in the same document.

    Parameters
    ----------
    length : int > 0, or a list of int > 0, positions
        The length that all documents have; or the length of each, after which one last document goes on without end.

    Notes
    -----
    It does not look at order: join it with `causal` for a language model over packed documents. Other software calls it a block
    mask, a block-diagonal mask, or `cu_seqlens`, the sums of the lengths. All examples share the boundaries.

    References
    ----------
    Krell et al. (2021), section 3, packing without contamination.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "document", length=[1, 2]).allow(np.arange(4), np.arange(4))
    array([[ True, False, False, False],
           [False,  True,  True, False],
           [False,  True,  True, False],
           [False, False, False,  True]])
    """

    name = "document"
    source = Source("Efficient Sequence Packing without Cross-contamination", "Krell et al.", 2021, "arXiv:2107.02027")

    def __init__(self, length: Annotated[int, Gt(0)] | Annotated[list[Annotated[int, Gt(0)]], MinLen(1)] = 4) -> None:
        self.length = length

    def allow(self, q_index: Any, k_index: Any) -> Any:
        i, j = _pair(self._of(q_index), self._of(k_index))
        return i == j

    def _of(self, index: Any) -> Any:
        """The number of the document at each position."""
        if isinstance(self.length, (list, tuple)):
            return np.searchsorted(np.cumsum(self.length), index, side="right")
        return index // self.length


class Dilated(Mask):
    """A query may attend to every so many-th key around it.

    Query i may attend to key j when |j - i| is a multiple of `gap`, and at most width gap.

    Parameters
    ----------
    width : int >= 0, keys
        How many keys to each side.
    gap : int > 0, positions
        The distance from one to the next; with 1 it is `window`.

    Notes
    -----
    The strided pattern of sparse transformers joins a window with every gap-th key up to the query; this is the second
    half of it, in both directions and within the width.

    References
    ----------
    Beltagy, Peters, Cohan (2020), section 3.1, `dilated sliding window`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "dilated", width=1, gap=2).allow(np.arange(2), np.arange(5))
    array([[ True, False,  True, False, False],
           [False,  True, False,  True, False]])
    """

    name = "dilated"
    source = _SPARSE

    def __init__(self, width: Annotated[int, Ge(0)] = 2, gap: Annotated[int, Gt(0)] = 2) -> None:
        self.width = width
        self.gap = gap

    def allow(self, q_index: Any, k_index: Any) -> Any:
        i, j = _pair(q_index, k_index)
        away = abs(j - i)
        return (away % self.gap == 0) & (away <= self.width * self.gap)


class GlobalWindow(Mask):
    """A window around each query, and some first positions that see all and are seen by all.

    Query i may attend to key j when |j - i| <= width, j < tokens, or i < tokens.

    Parameters
    ----------
    width : int >= 0, positions
        How far the window reaches to each side.
    tokens : int >= 0, positions
        How many positions at the start are global.

    Notes
    -----
    Longformer has projections of its own for global positions. BigBird joins this with `random`. Joined with `causal`,
    the first positions are what streaming language models keep as attention sinks.

    References
    ----------
    Beltagy, Peters, Cohan (2020), section 3.1, `global attention`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("mask", "global_window", width=0, tokens=1).allow(np.arange(3), np.arange(3))
    array([[ True,  True,  True],
           [ True,  True, False],
           [ True, False,  True]])
    """

    name = "global_window"
    source = _SPARSE

    def __init__(self, width: Annotated[int, Ge(0)] = 2, tokens: Annotated[int, Ge(0)] = 1) -> None:
        self.width = width
        self.tokens = tokens

    def allow(self, q_index: Any, k_index: Any) -> Any:
        i, j = _pair(q_index, k_index)
        return (abs(j - i) <= self.width) | (j < self.tokens) | (i < self.tokens)


class Random(Mask):
    """A query may attend to keys that chance allows, the same at each call.

    Query i may attend to key j when a hash of i, j and the seed, spread evenly over [0, 1), is less than `share`.

    Parameters
    ----------
    share : float in (0, 1], dimensionless
        The share of keys that a query may attend to, on average.
    seed : int >= 0
        Another seed allows other keys.

    Notes
    -----
    A hash instead of a random generator makes it a rule: a step, or a block of a long input, sees the same keys as the whole. A
    query may be left without any key when keys are few. BigBird draws the same number of keys, in blocks, for each query; here
    the number varies.

    References
    ----------
    Zaheer et al. (2020), section 2, `random attention`; Steele, Lea, Flood (2014) for the hash.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> M = attnlab.get("mask", "random", share=0.25).allow(np.arange(200), np.arange(200))
    >>> round(float(M.mean()), 2)
    0.25
    """

    name = "random"
    source = Source("Big Bird: Transformers for Longer Sequences", "Zaheer et al.", 2020, "NeurIPS")

    def __init__(self, share: Annotated[float, Gt(0), Le(1)] = 0.5, seed: Annotated[int, Ge(0)] = 0) -> None:
        self.share = share
        self.seed = seed

    def allow(self, q_index: Any, k_index: Any) -> Any:
        seed = np.asarray(self.seed % 2**64, dtype=np.uint64)
        i = _mixed(_mixed(seed) ^ q_index.astype(np.uint64))
        h = _mixed(i[..., :, None] ^ k_index.astype(np.uint64)[..., None, :])
        return (h >> np.uint64(11)).astype(np.float64) < self.share * 2.0**53


def _mixed(x: Any) -> Any:
    """Integers of 64 bits, each mixed into another that looks random (splitmix64)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
