"""Normalisers that divide by the sum: of scores that are kernels already, and of kernels that reach a limited way."""

from __future__ import annotations

from typing import Any, Literal

from attnlab.arrays import detach, namespace
from attnlab.errors import Unsupported
from attnlab.interfaces import Normaliser, Source
from attnlab.libraries import is_traced
from attnlab.precision import in_float32

__all__ = ["L1", "CompactKernel"]


class L1(Normaliser):
    """Scores over their sum, for scores that are never negative.

    w_j = s_j / sum_i s_i. A row of zeros is shared equally. Cost: 2 operations a score.

    Raises
    ------
    Unsupported
        When an allowed score is negative.

    Notes
    -----
    It is for kernels: `poly_kernel`, `feature_map_elu`, `taylor`. Scores of any sign have no such weights, since their sum may be
    zero or negative. Scikit-learn's `normalize(norm="l1")` divides by the sum of sizes, which is the same here. In JAX's `jit`
    the numbers cannot be looked at, and nothing is refused.

    References
    ----------
    Nadaraya (1964); Watson (1964).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[2.0, 0.0, 6.0]]), "l1")
    array([[0.25, 0.  , 0.75]])
    """

    name = "l1"
    source = Source("On Estimating Regression", "Nadaraya", 1964, "Theory of Probability and Its Applications")
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = False
    nonnegative_scores = True

    @in_float32
    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        plain = xp.where(mask, detach(S), zero)
        if not is_traced(plain) and bool(xp.any(plain < 0)):
            raise Unsupported(
                f"the normaliser 'l1' divides scores by their sum, so none may be negative; got {float(xp.min(plain)):.3g}: "
                "take a similarity that is a kernel (poly_kernel, feature_map_elu, taylor), or another normaliser"
            )
        top = xp.max(plain, axis=-1, keepdims=True)
        endless, empty = top == xp.inf, top == 0
        given = xp.where(mask & ~endless, S, zero) / xp.where(
            endless | empty, xp.ones_like(top), top
        )  # sums stay in range
        same = xp.astype(xp.where(endless, plain == xp.inf, mask & (plain == plain)), S.dtype)
        given = xp.where(endless | empty, same, given)
        return given / xp.sum(given, axis=-1, keepdims=True)

    def operations(self, n_keys: int) -> float:
        return 2.0 * n_keys


class CompactKernel(Normaliser):
    """A kernel of the score that is zero from 1 on, over the sum of kernels: keys beyond its reach get exactly zero.

    w_j = kappa(s_j) / sum_i kappa(s_i), kappa one of

        boxcar 1[|u| <= 1],   triangular max(1 - |u|, 0),   epanechnikov 3/4 max(1 - u^2, 0).

    A query with no key in reach has weights of zero. Cost: 5 operations a score.

    Parameters
    ----------
    kernel : "boxcar", "triangular" or "epanechnikov"
        Boxcar has no gradient.

    Notes
    -----
    The score is taken for a distance over a bandwidth, of whatever sign: give it `laplace` of the plugin attnlab-distance, or
    `neg_l2`, whose score is the squared distance over 2 sigma^2. "Dive into Deep Learning" calls the triangular kernel
    Epanechikov's, and leaves 3/4, which cancels, out.

    References
    ----------
    Epanechnikov (1969); Nadaraya (1964).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.array([[-2.0, 0.0, 0.5]])
    >>> {name: attnlab.normalise(S, {"compact_kernel": {"kernel": name}})[0].round(4).tolist() for name in ("boxcar", "triangular")}
    {'boxcar': [0.0, 0.5, 0.5], 'triangular': [0.0, 0.6667, 0.3333]}
    """

    name = "compact_kernel"
    source = Source(
        "Non-Parametric Estimation of a Multivariate Probability Density",
        "Epanechnikov",
        1969,
        "Theory of Probability and Its Applications",
    )
    rows_sum_to_one_or_zero = True
    rows_sum_to_one = False
    nonnegative = True
    sparse = True
    shift_invariant = False

    def __init__(self, kernel: Literal["boxcar", "triangular", "epanechnikov"] = "epanechnikov") -> None:
        self.kernel = kernel

    @in_float32
    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        reached = mask & ~(xp.abs(detach(S)) > 1)  # with NaN, which stays NaN
        U = xp.where(reached, S, zero)
        if self.kernel == "boxcar":
            kappa = 1 + 0 * U
        else:
            kappa = 1 - xp.abs(U) if self.kernel == "triangular" else 1 - U * U
        kappa = xp.where(reached, kappa, zero)
        total = xp.sum(kappa, axis=-1, keepdims=True)
        none = detach(total) == 0
        return kappa / xp.where(none, xp.ones_like(total), total)

    def operations(self, n_keys: int) -> float:
        return 5.0 * n_keys
