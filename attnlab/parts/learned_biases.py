"""Positions that add a learned function of where keys are to the scores: of gates that content opens, or of distances."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Position, Source
from attnlab.precision import exact, in_float32

__all__ = ["Cope", "Fire"]


class Cope(Position):
    """Counts the keys that matter to a query instead of all keys, and adds a learned bias for each count.

    s_ij + q_i . e(p_ij), p_ij = sum_{l >= j} sigmoid(s_il) over the keys that query i may attend to, at most positions - 1; e is
    the table E between its rows, read by linear interpolation. Learned: E (d_query, positions), which starts at 0. Cost: 10
    operations a pair, and 2 d positions a query.

    Parameters
    ----------
    positions : int > 1, counts
        Rows of the table, for the counts 0, 1, ....

    Notes
    -----
    Keys are counted from the last key backwards in the order of the array. With a causal mask that is from the query backwards,
    as in the paper. All gates at 1 give the distance in keys, a learned relative position. The gates are of the scores as the
    similarity gives them, with its scale. A forbidden key has no gate.

    References
    ----------
    Golovneva et al. (2024), equations 3 to 5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> cope = attnlab.get("position", "cope", positions=4)
    >>> S, Q, M = np.full((1, 2), 50.0), np.ones((1, 1)), np.ones((1, 2), dtype=bool)     # gates of 1: counts 2 and 1
    >>> cope.bias(S, Q, M, E=np.array([[0.0, 0.5, 0.25, 0.0]])) - S
    array([[0.25, 0.5 ]])
    """

    name = "cope"
    source = Source(
        "Contextual Position Encoding: Learning to Count What's Important", "Golovneva et al.", 2024, "arXiv:2405.18719"
    )
    keeps_nonnegative = False
    permutation_equivariant = False
    mixes_keys = True

    def __init__(self, positions: Annotated[int, Gt(1)] = 64) -> None:
        self.positions = positions

    def init(self, d_query: int) -> dict[str, Any]:
        return {"E": np.zeros((d_query, self.positions))}

    @in_float32
    def bias(self, S: Any, Q: Any, mask: Any, E: Any) -> Any:
        xp = namespace(S, Q, E)
        gates = xp.where(mask, xp.sigmoid(S), xp.zeros_like(detach(S)))
        p = xp.flip(xp.cumulative_sum(xp.flip(gates, axis=-1), axis=-1), axis=-1)
        p = xp.clip(p, max=float(self.positions - 1))
        table = xp.broadcast_to(xp.matmul(Q, E), (*S.shape[:-1], self.positions))  # q_i . e_p
        below = xp.astype(xp.floor(detach(p)), xp.int64)
        above = xp.where(below + 1 < self.positions, below + 1, below)
        share = p - xp.astype(below, S.dtype)
        low, high = xp.take_along_axis(table, below, axis=-1), xp.take_along_axis(table, above, axis=-1)
        return S + (1 - share) * low + share * high

    def operations(self, n_keys: int, d_query: int) -> float:
        return 10.0 * n_keys + 2.0 * d_query * self.positions


class Fire(Position):
    """A learned function of the distance as a share of the position, on a logarithmic scale, added to scores.

    s_ij + v' relu(u x_ij + b) + a, x_ij = log(1 + c |i - j|) / log(1 + c max(L, i)). Learned: u, b, v (hidden,), started at N(0, 1),
    N(0, 1) and N(0, 1/hidden), a () at 0, and the logarithms of c and L, log_c () and log_L (), started at c = 0.1 and
    L = `threshold`. Cost: 4 hidden operations a pair.

    Parameters
    ----------
    hidden : int > 0, units
    threshold : float > 0, positions
        The start of L. Queries before it have one scale; after it each distance counts as a share of the query's position, so that
        longer sequences give no value that training did not see.

    Notes
    -----
    The paper's attention is causal, j <= i, where x is at most 1 once i >= L. Here keys after the query count by |i - j| too.
    Each head of the paper has an output of its own; here a mechanism has one, and `multi_head` with one mechanism a head has
    several.

    References
    ----------
    Li et al. (2024), equation 8.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> fire = attnlab.get("position", "fire", hidden=1)
    >>> own = dict(u=np.ones(1), b=np.zeros(1), v=-np.ones(1), a=np.zeros(()), log_c=np.zeros(()), log_L=np.log(3.0))
    >>> fire.bias(np.zeros((1, 4)), np.array([3]), np.arange(4), **own).round(4)      # -log(1 + 3 - j) / log 4
    array([[-1.    , -0.7925, -0.5   ,  0.    ]])
    """

    name = "fire"
    source = Source(
        "Functional Interpolation for Relative Positions Improves Long Context Transformers",
        "Li et al.",
        2024,
        "ICLR",
    )
    keeps_nonnegative = False
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, hidden: Annotated[int, Gt(0)] = 32, threshold: Annotated[float, Gt(0)] = 512.0) -> None:
        self.hidden = hidden
        self.threshold = threshold

    def init(self, rng: Any) -> dict[str, Any]:
        return {
            "u": rng.normal(size=self.hidden),
            "b": rng.normal(size=self.hidden),
            "v": rng.normal(size=self.hidden) / math.sqrt(self.hidden),
            "a": np.zeros(()),
            "log_c": np.asarray(math.log(0.1)),
            "log_L": np.asarray(math.log(self.threshold)),
        }

    @in_float32
    def bias(self, S: Any, q_index: Any, k_index: Any, u: Any, b: Any, v: Any, a: Any, log_c: Any, log_L: Any) -> Any:
        xp = namespace(S, u, log_c)
        i, j = exact(xp, q_index)[..., :, None], exact(xp, k_index)[..., None, :]
        away, i = xp.astype(xp.abs(i - j), S.dtype), xp.astype(i, S.dtype)
        c, L = xp.exp(log_c), xp.exp(log_L)
        whole = xp.log1p(c * xp.maximum(i, L + xp.zeros_like(i)))
        least = float(xp.finfo(S.dtype).smallest_normal)  # an L that vanishes leaves the first query no scale
        x = xp.log1p(c * away) / xp.maximum(whole, whole * 0 + least)
        H = x[..., None] * u + b
        return S + xp.matmul(xp.maximum(H, xp.zeros_like(detach(H))), v) + a

    def numbers(self, n_keys: int, d: int) -> float:
        return float(self.hidden)

    def operations(self, n_keys: int) -> float:
        return (4.0 * self.hidden + 8.0) * n_keys
