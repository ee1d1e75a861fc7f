"""Positions that turn queries and keys by angles: rope, and pope, where the angle is of the position alone."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MultipleOf

from attnlab.arrays import namespace
from attnlab.errors import ShapeError
from attnlab.interfaces import Position, Source
from attnlab.precision import exact, in_float32

__all__ = ["Pope", "Rope"]


class Rope(Position):
    """Queries and keys are turned by angles that grow with their positions: scores depend on the distance.

    Features 2i and 2i + 1 of a vector at position p are turned by the angle p / base^(2i/d), so that q_i . k_j depends on
    the positions through j - i alone. An odd last feature stays. Cost: 3 d operations a vector.

    Parameters
    ----------
    base : float > 1, dimensionless
        Wavelengths run from 2 pi to 2 pi base positions.
    layout : "interleaved" or "half"
        Which features are a pair: 2i and 2i + 1, or i and i + d/2.
    dims : int >= 2, even, or None
        How many features are turned, counted from the first. It is also the d of the formula. None turns all of them.

    share : float in (0, 1], dimensionless
        The share of the pairs that are turned, those of the highest frequencies; the others are left alone (p-RoPE).

    Raises
    ------
    ShapeError
        When there are fewer features than `dims`.

    Notes
    -----
    Neighbouring features are paired by default, as in the paper. GPT-NeoX and Llama use layout="half", which is the same up
    to the order of the features. GPT-NeoX turns only some features, `dims`. ONNX's RotaryEmbedding calls the two settings
    `interleaved` and `rotary_embedding_dim`. `share` keeps the frequencies of the whole and stops the slowest, so that features
    without a position remain; `dims` makes fewer features the whole. Some software calls `dims` a partial rotation too. Angles are computed in float64 where the library has it; only their sines and
    cosines are cast. Turning keeps lengths, so the scores of `cosine` depend on the distance too. Those of `additive` do not.

    References
    ----------
    Su et al. (2021), equations 14, 15 and 34; Black et al. (2022), section 2.1, for the half layout and a part of the features;
    Barbero et al. (2024), section 6, for `share`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> rope, x = attnlab.get("position", "rope"), np.array([[1.0, 0.0]])
    >>> near, _ = rope.place(x, x, np.array([0]), np.array([0]))
    >>> far, _ = rope.place(x, x, np.array([2]), np.array([0]))
    >>> near.round(4), far.round(4)
    (array([[1., 0.]]), array([[-0.4161,  0.9093]]))
    """

    name = "rope"
    source = Source("RoFormer: Enhanced Transformer with Rotary Position Embedding", "Su et al.", 2021)
    permutation_equivariant = False
    mixes_keys = False

    def __init__(
        self,
        base: Annotated[float, Gt(1)] = 10000.0,
        layout: Literal["interleaved", "half"] = "interleaved",
        dims: Annotated[int, Ge(2), MultipleOf(2)] | None = None,
        share: Annotated[float, Gt(0), Le(1)] = 1.0,
    ) -> None:
        self.base = base
        self.layout = layout
        self.dims = dims
        self.share = share

    @in_float32
    def place(self, Q: Any, K: Any, q_index: Any, k_index: Any) -> Any:
        return self._turned(Q, q_index), self._turned(K, k_index)

    def _turned(self, X: Any, index: Any) -> Any:
        xp = namespace(X)
        d = X.shape[-1] if self.dims is None else self.dims
        if d > X.shape[-1]:
            raise ShapeError(
                f"position 'rope' turns dims = {d} features; queries and keys have {X.shape[-1]}: lower dims"
            )
        pairs = d // 2
        if not pairs:
            return X
        p = exact(xp, index)
        frequencies = self.base ** (-2.0 * np.arange(pairs) / d)
        frequencies[math.floor(self.share * pairs + 1e-9) :] = 0.0
        angle = p[..., :, None] * xp.astype(xp.asarray(frequencies), p.dtype)
        cos, sin = xp.astype(xp.cos(angle), X.dtype), xp.astype(xp.sin(angle), X.dtype)  # (..., n, pairs)
        if self.layout == "half":
            x, y = X[..., :pairs], X[..., pairs : 2 * pairs]
            turned = xp.concat([x * cos - y * sin, x * sin + y * cos], axis=-1)
        else:
            x, y = X[..., 0 : 2 * pairs : 2], X[..., 1 : 2 * pairs : 2]
            both = xp.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
            turned = xp.reshape(both, (*both.shape[:-2], 2 * pairs))
        return turned if X.shape[-1] == 2 * pairs else xp.concat([turned, X[..., 2 * pairs :]], axis=-1)

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return 3.0 * (d_query + n_keys * d_key)


class Pope(Position):
    """Features give lengths and positions give angles: what and where are separate.

    Feature c of a query at position i becomes a pair of length softplus(q_ic) at the angle i / base^(c/d), c = 0..d-1, and that
    of a key a pair of length softplus(k_jc) at the angle j / base^(c/d) + delta_c. The dot product is thus

        s_ij = sum_c softplus(q_ic) softplus(k_jc) cos((j - i) / base^(c/d) + delta_c)

    Placed vectors have 2 d features: all cosines, then all sines. Learned: delta (d,), which starts at 0. Cost: 8 d operations
    a vector.

    Parameters
    ----------
    base : float > 1, dimensionless
        Wavelengths run from 2 pi to 2 pi base positions.

    Raises
    ------
    ShapeError
        When queries and keys have different numbers of features.

    Notes
    -----
    In `rope` the angle between a pair of features of q and k adds to that of the positions, so that content and position mix.
    Here no content has an angle. The paper divides scores by sqrt(d); `scaled_dot` sees 2 d features and divides by sqrt(2 d). It
    keeps delta between -2 pi and 0, which changes no score.

    References
    ----------
    arXiv:2509.10534, the polar coordinate positional embedding.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> pope, x = attnlab.get("position", "pope"), np.array([[0.0]])
    >>> Q, K = pope.place(x, x, np.array([0]), np.array([1]), delta=np.zeros(1))
    >>> (Q @ K.T / np.log(2.0) ** 2).round(4), np.cos(1.0).round(4)
    (array([[0.5403]]), np.float64(0.5403))
    """

    name = "pope"
    source = Source(
        "Decoupling the 'What' and 'Where' With Polar Coordinate Positional Embeddings",
        "the authors of arXiv:2509.10534",
        2025,
        "arXiv:2509.10534",
    )
    permutation_equivariant = False
    mixes_keys = False

    def __init__(self, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        self.base = base

    def init(self, d_key: int) -> dict[str, Any]:
        return {"delta": np.zeros(d_key)}

    def features(self, d: int) -> int:
        return 2 * d

    @in_float32
    def place(self, Q: Any, K: Any, q_index: Any, k_index: Any, delta: Any) -> Any:
        if Q.shape[-1] != K.shape[-1]:
            raise ShapeError(
                f"position 'pope' gives feature c of queries and of keys one frequency; queries have {Q.shape[-1]} features and "
                f"keys {K.shape[-1]}"
            )
        return self._polar(Q, q_index, None), self._polar(K, k_index, delta)

    def _polar(self, X: Any, index: Any, delta: Any) -> Any:
        xp = namespace(X, delta)
        p, d = exact(xp, index), X.shape[-1]
        angle = p[..., :, None] * xp.astype(xp.asarray(self.base ** (-np.arange(d) / d)), p.dtype)
        cos, sin = xp.astype(xp.cos(angle), X.dtype), xp.astype(xp.sin(angle), X.dtype)
        if delta is not None:  # cos(a + delta) and sin(a + delta), so that large angles are computed exactly
            c, s = xp.cos(delta), xp.sin(delta)
            cos, sin = cos * c - sin * s, sin * c + cos * s
        length = xp.softplus(X)
        return xp.concat([length * cos, length * sin], axis=-1)

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return 8.0 * (d_query + n_keys * d_key)
