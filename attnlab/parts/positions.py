"""Positions: where queries and keys are. place(Q, K), bias(S), reweigh(W); each is the identity by default."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Gt

from attnlab.arrays import namespace
from attnlab.interfaces import Position, Source
from attnlab.precision import exact, in_float32

__all__ = ["NoPosition", "Sinusoidal", "sinusoid"]


class NoPosition(Position):
    """No positions: attention sees a bag of words.

    Permuting keys and values together changes no output. Cost: none.

    References
    ----------
    Kazemnejad et al. (2023), `NoPE`.

    Examples
    --------
    >>> import attnlab
    >>> attnlab.get("position", "none")
    NoPosition()
    """

    name = "none"
    source = Source(
        "The Impact of Positional Encoding on Length Generalization in Transformers",
        "Kazemnejad et al.",
        2023,
        "NeurIPS",
    )
    permutation_equivariant = True
    mixes_keys = False

    def operations(self) -> float:
        return 0.0


def sinusoid(xp: Any, index: Any, d: int, base: float, dtype: Any) -> Any:
    """The table (..., n, d): sin(p / base^(2i/d)) at the even places 2i, the cosine at the odd places 2i + 1."""
    p = exact(xp, index)[..., :, None]
    angle = p / base ** (exact(xp, xp.arange(0, d, 2)) / d)  # (..., n, ceil(d / 2)); cast once it is a sine
    both = xp.astype(xp.stack([xp.sin(angle), xp.cos(angle)], axis=-1), dtype)
    return xp.reshape(both, (*angle.shape[:-1], 2 * angle.shape[-1]))[..., :d]


class Sinusoidal(Position):
    """Sines and cosines of the position, added to queries and keys.

    PE(p, 2i) = sin(p / base^(2i/d)), PE(p, 2i+1) = cos(p / base^(2i/d)), p = 0, 1, ...; added to the vectors that are
    compared, each at its own position. Cost: d operations a vector.

    Parameters
    ----------
    base : float > 1, dimensionless
        Wavelengths run from 2 pi to 2 pi base.

    Notes
    -----
    Positions are added to the vectors that the similarity compares. Some software adds them to the embeddings before the
    projections. With learned projections, that is the same linear map applied to another table.

    References
    ----------
    Vaswani et al. (2017), section 3.5.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> Q = np.zeros((2, 4))
    >>> P, _ = attnlab.get("position", "sinusoidal").place(Q, Q, np.arange(2), np.arange(2))
    >>> P.round(4)
    array([[0.    , 1.    , 0.    , 1.    ],
           [0.8415, 0.5403, 0.01  , 1.    ]])
    """

    name = "sinusoidal"
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        self.base = base

    @in_float32
    def place(self, Q: Any, K: Any, q_index: Any, k_index: Any) -> Any:
        xp = namespace(Q, K)
        Q = Q + sinusoid(xp, q_index, Q.shape[-1], self.base, Q.dtype)
        K = K + sinusoid(xp, k_index, K.shape[-1], self.base, K.dtype)
        return Q, K

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return float(d_query + n_keys * d_key)
