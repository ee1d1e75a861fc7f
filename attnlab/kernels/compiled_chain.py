"""Loops that numba compiles: softmax of product scores and the weighted sum, for queries and keys whose lengths bound the scores.

Products go to BLAS without Python between them. A product leaves the caches cold, and Python would then take longer than the
exponentials do.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - numba's products; imported here, its threads are known to threadpoolctl

from attnlab.kernels.compiled import exact, loops

__all__ = ["bounded"]

f32 = np.float32
WHOLE = f32(1.5 * 2**23 + 127)  # n + WHOLE has n + 127, the exponent of 2^n, in its last bits
TERMS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)  # Cephes' expf
P7, P6, P5, P4, P3, P2 = (
    f32(term * math.log(2.0) ** power) for term, power in zip(TERMS, range(7, 1, -1), strict=True)
)
P1 = f32(math.log(2.0))


@exact
def exp2(x):
    """2^x for -126 <= x <= 127, float32: a whole power times a polynomial on [-1/2, 1/2], relative error 2e-7."""
    t = x + WHOLE
    r = x - (t - WHOLE)
    p = P7
    p = p * r + P6
    p = p * r + P5
    p = p * r + P4
    p = p * r + P3
    p = p * r + P2
    p = p * r + P1
    p = p * r + f32(1)
    return p * np.int32(np.float32(t).view(np.int32) << np.int32(23)).view(np.float32)


@loops
def bounded(X, Z, V, Y, total, powers, safe, keys, examples, queries, room):
    """Y = sum_j 2^(powers X.z_j) v_j / total, total = sum_j 2^(powers X.z_j), for some examples and some of their queries.

    It returns False, and leaves the rest, where the lengths of the vectors do not bound the scores by `safe`, or Y is not finite.

    Parameters
    ----------
    X, Z, V, Y, total : float32 arrays (n, q, d), (n, k, d), (n, k, v), (n, q, v), (n, q)
    keys : int, how many at a time
    examples, queries : (first, last + 1)
    room : float32 array that holds d + keys + v numbers for each of the queries
    """
    (first, last), (start, stop), (k, d), v = examples, queries, Z.shape[1:], V.shape[2]
    q = stop - start
    x, more = room[: q * d].reshape(q, d), room[q * d : q * (d + v)].reshape(q, v)
    block = room[q * (d + v) :]
    for m in range(first, last):
        O, sums, length = Y[m, start:stop], total[m, start:stop], f32(0)
        for i in range(q):
            given, scaled, squares = X[m, start + i], x[i], f32(0)
            for j in range(d):
                here = given[j] * powers
                scaled[j] = here
                squares += here * here
            length = length if length >= squares else squares
            sums[i] = f32(0)
        longest = f32(0)
        for j in range(k):
            squares = f32(0)
            for c in range(d):
                squares += Z[m, j, c] * Z[m, j, c]
            longest = longest if longest >= squares else squares
        if not np.sqrt(length) * np.sqrt(longest) <= safe:
            return False
        for begin in range(0, k, keys):
            end = min(begin + keys, k)
            P = block[: q * (end - begin)].reshape(q, end - begin)
            np.dot(x, Z[m, begin:end].T, P)
            for i in range(q):
                row, here = P[i], f32(0)
                for j in range(end - begin):
                    e = exp2(row[j])
                    row[j] = e
                    here += e
                sums[i] += here
            if begin == 0:
                np.dot(P, V[m, begin:end], O)
            else:
                np.dot(P, V[m, begin:end], more)
                for i in range(q):
                    for j in range(v):
                        O[i, j] += more[i, j]
        odd = f32(0)
        for i in range(q):
            share = f32(1) / sums[i]
            for j in range(v):
                O[i, j] *= share
                odd += O[i, j] * f32(0)
        if odd != f32(0):  # so with NaN
            return False
    return True
