"""Weights with a structure: of a given sum, of neighbours, of rows and columns together, of a given norm. A plugin for attnlab."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from attnlab import Normaliser, Source, detach, hookimpl, namespace
from attnlab.arrays import to_numpy
from attnlab.parts.normalisers import Sparsemax


def _below_best(xp: Any, S: Any) -> Any:
    return S - xp.max(detach(S), axis=-1, keepdims=True)


class Budget(Normaliser):
    """Weights between 0 and 1 whose sum is given: the projection onto a cube cut by a plane.

    w = argmin |w - s|^2 over 0 <= w <= 1, sum w = k; w_j = min(max(s_j - tau, 0), 1). A query with at most k keys gives each of
    them 1. Cost: a bisection, about 240 operations a score.

    Parameters
    ----------
    k : int > 0, keys
        The sum of the weights. 1 is sparsemax.

    Notes
    -----
    The entmax package has it as `budget_bisect`, and calls k `budget`. It suits questions whose answer is a set of k keys.

    References
    ----------
    Malaviya, Ferreira, Martins (2018), section 3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.array([[-2.0, 0.0, 0.5]])
    >>> [attnlab.normalise(S, Budget(k))[0].round(6).tolist() for k in (1, 2)]
    [[0.0, 0.25, 0.75], [0.0, 1.0, 1.0]]
    """

    name = "budget"
    source = Source(
        "Sparse and Constrained Attention for Neural Machine Translation", "Malaviya, Ferreira, Martins", 2018, "ACL"
    )
    rows_sum_to_one = False
    nonnegative = True
    sparse = True
    shift_invariant = True

    def __init__(self, k: Annotated[int, Gt(0)] = 2) -> None:
        self.k = k

    def normalise(self, S: Any, mask: Any, n_allowed: Any) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        one = zero + 1
        Z = xp.where(mask, _below_best(xp, S), zero)
        plain = detach(Z)
        few = n_allowed <= self.k
        low = xp.min(plain, axis=-1, keepdims=True) - 1  # here every weight is 1
        high = xp.zeros_like(low)  # and here every one is 0
        for _ in range(40 if "32" in str(S.dtype) else 70):
            tau = (low + high) / 2
            W = xp.where(mask, xp.minimum(xp.maximum(plain - tau, zero), one), zero)
            enough = xp.sum(W, axis=-1, keepdims=True) >= self.k
            low, high = xp.where(enough, tau, low), xp.where(enough, high, tau)
        tau = (low + high) / 2
        full = mask & (plain - tau >= 1)
        part = mask & ~full & ~(plain - tau <= 0)  # with NaN, which stays NaN
        size = xp.sum(xp.where(part, one, zero), axis=-1, keepdims=True)
        over = xp.sum(xp.where(full, one, xp.where(part, Z, zero)), axis=-1, keepdims=True) - self.k
        exact = xp.where(size > 0, over / xp.where(size > 0, size, xp.ones_like(size)), tau)
        W = xp.where(part, xp.minimum(xp.maximum(Z - exact, zero), one), xp.where(full, one, zero))
        return xp.where(few & mask, one + 0 * Z, W)  # NaN stays NaN

    def operations(self, n_keys: int) -> float:
        return 240.0 * n_keys


class Normmax(Normaliser):
    """Sparse weights from a norm in the place of an entropy: how many keys share depends less on how many there are.

    w = argmax over the simplex of w.s - |w|_alpha; w is proportional to max(s - tau, 0)^(1/(alpha-1)), where the powers
    alpha/(alpha-1) of max(s - tau, 0) sum to one. Cost: a bisection, about 180 operations a score.

    Parameters
    ----------
    alpha : float > 1, dimensionless
        Towards 1 softer, towards infinity the keys that get weight get alike.

    Notes
    -----
    The entmax package has it as `normmax_bisect`. One key gets all the weight once its score leads by 1, for every alpha.

    References
    ----------
    Blondel, Martins, Niculae (2020), section 4.3, norm-entropies.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[-2.0, 0.0, 0.5]]), Normmax(alpha=2.0)).round(4)
    array([[0.   , 0.311, 0.689]])
    """

    name = "normmax"
    source = Source("Learning with Fenchel-Young Losses", "Blondel, Martins, Niculae", 2020, "JMLR")
    rows_sum_to_one = True
    nonnegative = True
    sparse = True
    shift_invariant = True

    def __init__(self, alpha: Annotated[float, Gt(1)] = 2.0) -> None:
        self.alpha = alpha

    def normalise(self, S: Any) -> Any:
        xp = namespace(S)
        Z = _below_best(xp, S)
        plain, zero = detach(Z), xp.zeros_like(detach(Z))
        power, norm = 1 / (self.alpha - 1), self.alpha / (self.alpha - 1)
        one = xp.ones_like(plain[..., :1])
        low, high = one * float(plain.shape[-1]) ** (-1 / norm), one
        for _ in range(30 if "32" in str(S.dtype) else 60):
            m = (low + high) / 2
            enough = xp.sum(xp.maximum(m + plain, zero) ** norm, axis=-1, keepdims=True) >= 1
            low, high = xp.where(enough, low, m), xp.where(enough, m, high)
        m = (low + high) / 2
        inside = ~(m + plain <= 0)
        Y = xp.where(inside, xp.where(inside, m + plain, zero + 1) ** power, zero)
        P = Y / xp.sum(Y, axis=-1, keepdims=True)
        # tau moves by p.ds, so that the part of w's base that a score moves is ds - p.ds
        given = xp.where(inside, Z, zero)
        moved = given - detach(given)
        base = xp.where(inside, m + plain + moved - xp.sum(P * moved, axis=-1, keepdims=True), zero + 1)
        Y = xp.where(inside, base**power, zero)
        return Y / xp.sum(Y, axis=-1, keepdims=True)

    def operations(self, n_keys: int) -> float:
        return 180.0 * n_keys


class Fusedmax(Normaliser):
    """Sparsemax of scores in which neighbours are fused: keys in a run share their weight.

    w = sparsemax(z), z = argmin |z - s|^2 / 2 + strength sum_j |z_{j+1} - z_j|. Cost: a taut string, about n^2 operations a
    row in the worst case, and n^2 for its gradient.

    Parameters
    ----------
    strength : float >= 0, in the unit of the scores
        0 is sparsemax. The greater it is, the longer are the runs.

    Notes
    -----
    Neighbours are neighbours among the allowed keys, in the order in which keys are given. The string is found on the host, row by
    row. Its gradient is the mean over each run.

    References
    ----------
    Niculae and Blondel (2017), section 3.2; Davies and Kovac (2001) for the taut string.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.normalise(np.array([[-2.0, 1.0, 1.2, 0.9, -2.0]]), Fusedmax(strength=0.3)).round(4)
    array([[0.    , 0.3333, 0.3333, 0.3333, 0.    ]])
    """

    name = "fusedmax"
    source = Source(
        "A Regularized Framework for Sparse and Structured Neural Attention", "Niculae, Blondel", 2017, "NeurIPS"
    )
    rows_sum_to_one = True
    nonnegative = True
    sparse = True
    shift_invariant = True
    permutation_equivariant = False

    def __init__(self, strength: Annotated[float, Ge(0)] = 0.3) -> None:
        self.strength = strength

    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        host = to_numpy(S).astype(np.float64)
        allowed = np.broadcast_to(to_numpy(mask), host.shape)
        flat, keys = host.reshape(-1, host.shape[-1]), allowed.reshape(-1, host.shape[-1])
        fused, runs = flat.copy(), np.zeros((*flat.shape, flat.shape[-1]))
        for row, (s, on) in enumerate(zip(flat, keys, strict=True)):
            places = np.flatnonzero(on)
            z = taut_string(s[places], self.strength) if np.isfinite(s[places]).all() else s[places]
            fused[row, places] = z
            run = np.cumsum(np.concatenate([[False], z[1:] != z[:-1]])) if len(z) else np.zeros(0)
            same = run[:, None] == run[None, :]
            runs[np.ix_([row], places, places)] = same / same.sum(axis=-1, keepdims=True)
        Z = xp.astype(xp.asarray(fused.reshape(host.shape)), S.dtype)
        A = xp.astype(xp.asarray(runs.reshape((*host.shape, host.shape[-1]))), S.dtype)
        finite = xp.where(mask & (xp.abs(detach(S)) < xp.inf), S, xp.zeros_like(detach(S)))
        moved = finite - detach(finite)
        return Sparsemax().normalise(Z + xp.matmul(A, moved[..., None])[..., 0])

    def operations(self, n_keys: int) -> float:
        return 3.0 * n_keys**2


def taut_string(y: Any, strength: float) -> Any:
    """argmin |z - y|^2 / 2 + strength sum |z_{j+1} - z_j|: the slopes of a string pulled tight around the sums of y."""
    n, z = len(y), np.array(y, dtype=np.float64)
    if n < 2 or strength == 0:
        return z
    sums = np.concatenate([[0.0], np.cumsum(y)])
    least, most = sums - strength, sums + strength
    least[[0, n]] = most[[0, n]] = sums[[0, n]]
    start, height = 0, 0.0
    while start < n:
        up, down, above, below = np.inf, -np.inf, start, start
        for j in range(start + 1, n + 1):
            high, low = (most[j] - height) / (j - start), (least[j] - height) / (j - start)
            if low > up:  # the string bends around the upper edge
                z[start:above], height, start = up, most[above], above
                break
            if high < down:
                z[start:below], height, start = down, least[below], below
                break
            if high <= up:
                up, above = high, j
            if low >= down:
                down, below = low, j
        else:
            z[start:n], start = (sums[n] - height) / (n - start), n
    return z


class Sinkhorn(Normaliser):
    """Rows and columns of weights sum alike: each query takes one, and each key gives as much as every other.

    exp(s) is divided by the sums of its rows and of its columns in turns, last by those of its rows. Rows sum to one. Columns
    come to sum to q/k, for q queries with keys and k keys with queries, as far as the mask lets them. Cost: 6 operations a score and
    iteration.

    Parameters
    ----------
    iterations : int > 0
        Pairs of divisions. Many are needed where scores are sharp.

    Notes
    -----
    It suits permutations, such as sorting. A query's weights depend on the other queries: a decoder, which sees one at a time,
    sees softmax. A query that may attend to nothing counts as absent. The paper starts with rows too.

    References
    ----------
    Sander et al. (2022), section 3; Sinkhorn (1964).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> S = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 2.0]])
    >>> attnlab.normalise(S, Sinkhorn()).round(4)
    array([[0.5554, 0.2549, 0.1898],
           [0.3558, 0.4438, 0.2004],
           [0.0889, 0.3013, 0.6098]])
    """

    name = "sinkhorn"
    source = Source("Sinkformers: Transformers with Doubly Stochastic Attention", "Sander et al.", 2022, "AISTATS")
    rows_sum_to_one = True
    nonnegative = True
    sparse = False
    shift_invariant = True
    couples_rows = True

    def __init__(self, iterations: Annotated[int, Gt(0)] = 20) -> None:
        self.iterations = iterations

    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        never = zero - xp.inf
        mask = mask & (zero == 0)
        rows, keys = xp.any(mask, axis=-1, keepdims=True), xp.any(mask, axis=-2, keepdims=True)
        n_rows, n_keys = (
            xp.sum(xp.astype(one, S.dtype), axis=axis, keepdims=True) for one, axis in ((rows, -2), (keys, -1))
        )
        share = xp.log(xp.where(n_rows > 0, n_rows, xp.ones_like(n_rows)))
        share = share - xp.log(xp.where(n_keys > 0, n_keys, xp.ones_like(n_keys)))
        S = xp.where(mask, S, zero)
        of_key = zero[..., :1, :]
        for _ in range(self.iterations):
            of_row = 0 - xp.logsumexp(xp.where(mask | ~rows, S + of_key, never), axis=-1, keepdims=True)
            of_key = share - xp.logsumexp(xp.where(mask | ~keys, S + of_row, never), axis=-2, keepdims=True)
        return xp.where(mask, xp.softmax(xp.where(mask | ~rows, S + of_key, never), axis=-1), zero)

    def operations(self, n_keys: int) -> float:
        return 6.0 * self.iterations * n_keys


@hookimpl
def attnlab_normalisers() -> list[type[Normaliser]]:
    return [Budget, Normmax, Fusedmax, Sinkhorn]
