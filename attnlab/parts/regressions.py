"""Aggregators that fit a line through keys and values around the query, where the weighted sum fits a constant.

Weights are those of a local regression, so each row of them must sum to one. A row of zeros, of a query that may attend to
nothing, gives zero.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.errors import Unsupported
from attnlab.interfaces import Aggregator, Source
from attnlab.libraries import is_traced
from attnlab.precision import in_float32

__all__ = ["LocalLinear", "Parallax", "solved"]

AWAY = 1e-3  # how far a sum of weights may be from one, rounding included


def _sums_to_one(name: str, W: Any) -> None:
    """Refuse rows of weights that sum to neither one nor zero. Inside JAX's jit there are no numbers to look at."""
    plain = detach(W)
    if is_traced(plain) or 0 in plain.shape:
        return
    xp = namespace(plain)
    total = xp.sum(plain, axis=-1)
    wrong = (xp.abs(total - 1) > AWAY) & xp.any(plain != 0, axis=-1)
    if bool(xp.any(wrong)):
        worst = float(xp.max(xp.where(wrong, xp.abs(total - 1), xp.zeros_like(total))))
        raise Unsupported(
            f"aggregator {name!r} needs weights of which each row sums to one, or is all zeros; here a sum is {worst:.3g} away "
            "from one: choose a normaliser with rows_sum_to_one, such as softmax, and a position that does not reweigh"
        )


def solved(who: str, A: Any, b: Any) -> Any:
    """x (..., d, 1) of A x = b, A (..., d, d) symmetric, none of its eigenvalues below zero, and some ridge on its diagonal.

    Raises
    ------
    Unsupported
        When rounding leaves no digit of x: the ridge is too small beside the squared keys, which span fewer directions than d.
    """
    xp = namespace(A, b)
    try:
        x = _of_system(xp, A, b)
    except (RuntimeError, np.linalg.LinAlgError) as error:  # PyTorch's is a RuntimeError
        if "singular" not in str(error).lower():
            raise
        lost = 1.0
    else:
        plain, sides, right = detach(x), detach(A), detach(b)
        if is_traced(plain) or 0 in plain.shape:
            return x
        largest = [xp.max(xp.abs(X), axis=(-2, -1)) for X in (plain, sides, right)]
        rounding = float(xp.finfo(xp.float32 if "32" in str(plain.dtype) else xp.float64).eps)
        zero = right[..., 0, 0] * 0
        given = xp.where(largest[2] > 0, largest[2], zero + 1)
        lost = float(xp.max(rounding * xp.where(largest[2] > 0, largest[0] * (largest[1] / given), zero)))
    if lost > 0.1:
        raise Unsupported(
            f"{who} solves a system of equations whose ridge is lost in rounding beside keys as large as these, which span fewer "
            "directions than they have features: set ridge higher, or scale keys down"
        )
    return x


def _of_system(xp: Any, A: Any, b: Any) -> Any:
    if "64" in str(A.dtype) or "32" in str(A.dtype):
        return xp.linalg.solve(A, b)
    # NumPy solves no wider floats: in units in which the diagonal is 1, the numbers are in the range of float64
    unit = np.sqrt(np.diagonal(detach(A), axis1=-2, axis2=-1))[..., None]
    scaled = xp.astype(A / unit / xp.matrix_transpose(unit), np.float64)
    size = np.max(np.abs(detach(b / unit)), axis=-2, keepdims=True)
    size = np.where(size > 0, size, 1)
    return xp.astype(xp.linalg.solve(scaled, xp.astype(b / unit / size, np.float64)), A.dtype) * size / unit


class Parallax(Aggregator):
    """The weighted sum, moved along the covariance of values and keys in a direction that the query gives.

    y_i = c_i - Cov_i(v, k) r_i, r_i = R' q_i, c_i = sum_j w_ij v_j, Cov_i(v, k) = sum_j w_ij v_j (k_j - m_i)',
    m_i = sum_j w_ij k_j. Learned: R (d_query, d_key), started at 0, with which it is the weighted sum. Cost: 2 (v + d)
    operations a pair, and 2 d d a query.

    Raises
    ------
    Unsupported
        When a row of weights sums to neither one nor zero.

    Notes
    -----
    It is `local_linear` with the matrix Cov(k, k)^-1 replaced by something learned, and thus needs no system of equations.
    Keys and queries are those that the mechanism was given, not those that a position placed.

    References
    ----------
    arXiv:2605.29157.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> parallax = attnlab.get("aggregator", "parallax")
    >>> W, V = np.array([[0.2, 0.3, 0.5]]), np.array([[1.0], [2.0], [4.0]])
    >>> K = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> parallax.aggregate(W, V, Q=np.array([[0.5, -1.0]]), K=K, R=np.eye(2)).round(6)
    array([[3.04]])
    """

    name = "parallax"
    mixes_values = False
    source = Source("Parallax", "the authors of arXiv:2605.29157", 2026, "arXiv:2605.29157")
    rows_must_sum_to_one = True

    def init(self, d_query: int, d_key: int) -> dict[str, Any]:
        return {"R": np.zeros((d_query, d_key))}

    @in_float32
    def aggregate(self, W: Any, V: Any, Q: Any, K: Any, R: Any) -> Any:
        _sums_to_one(self.name, W)
        xp = namespace(W, V, Q, K, R)
        along = xp.matmul(xp.matmul(Q, R), xp.matrix_transpose(K))  # k_j . r_i, (..., q, k)
        along = along - xp.sum(W * along, axis=-1, keepdims=True)
        return xp.matmul(W * (1 - along), V)

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        return n_keys * (2.0 * d_value + 2.0 * d_key + 4.0) + 2.0 * d_query * d_key


class LocalLinear(Aggregator):
    """A weighted least-squares line through keys and values, read at the query.

    y_i = c_i + Cov_i(v, k) (Cov_i(k, k) + ridge I)^-1 (q_i - m_i), with the weighted means c_i of the values and m_i of the
    keys, and covariances about them. Cost: 2 (v + d) d operations a pair, and d^3 a query.

    Parameters
    ----------
    ridge : float > 0, in the unit of squared keys
        Keeps the system solvable. The larger it is, the closer the result is to the weighted sum.

    Raises
    ------
    Unsupported
        When queries and keys have different numbers of features, a row of weights sums to neither one nor zero, or the ridge is lost
        in rounding.

    Notes
    -----
    The weighted sum is the local constant fit (Nadaraya and Watson). It is biased where keys lie on one side of the query, as
    at a boundary; a line is not. Queries must be points in the space of the keys. They are those that the mechanism was given,
    not those that a position placed. Cleveland's loess has tricube weights of the nearest keys, and no ridge.

    References
    ----------
    Cleveland (1979), section 2; arXiv:2510.01450 for attention.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> line = attnlab.get("aggregator", "local_linear", ridge=0.1)
    >>> W, V = np.array([[0.2, 0.3, 0.5]]), np.array([[1.0], [2.0], [4.0]])
    >>> K = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> line.aggregate(W, V, Q=np.array([[0.3, 0.8]]), K=K).round(6)
    array([[2.363636]])
    """

    name = "local_linear"
    mixes_values = False
    source = Source(
        "Robust Locally Weighted Regression and Smoothing Scatterplots",
        "Cleveland",
        1979,
        "Journal of the American Statistical Association 74",
    )
    rows_must_sum_to_one = True

    def __init__(self, ridge: Annotated[float, Gt(0)] = 0.1) -> None:
        self.ridge = ridge

    @in_float32
    def aggregate(self, W: Any, V: Any, Q: Any, K: Any) -> Any:
        d = K.shape[-1]
        if Q.shape[-1] != d:
            raise Unsupported(
                f"aggregator 'local_linear' reads a line through the keys at the query: both need the same features; got "
                f"{Q.shape[-1]} of queries and {d} of keys"
            )
        _sums_to_one(self.name, W)
        xp = namespace(W, V, Q, K)
        mean = xp.matmul(W, K)  # (..., q, d)
        away = K[..., None, :, :] - mean[..., :, None, :]  # (..., q, k, d)
        weighed = xp.matrix_transpose(W[..., None] * away)  # (..., q, d, k)
        with_keys = xp.matmul(weighed, away)
        with_keys = with_keys + self.ridge * xp.eye(d, dtype=with_keys.dtype)
        with_values = xp.matmul(weighed, V[..., None, :, :])  # (..., q, d, v)
        slope = solved("aggregator 'local_linear'", with_keys, (Q - mean)[..., None])  # (..., q, d, 1)
        return xp.matmul(W, V) + xp.sum(with_values * slope, axis=-2)

    def numbers(self, n_keys: int, d: int) -> float:
        return float(d)

    def operations(self, n_keys: int, d_key: int, d_value: int) -> float:
        return 2.0 * n_keys * (d_value + d_key) * (d_key + 1) + d_key**3
