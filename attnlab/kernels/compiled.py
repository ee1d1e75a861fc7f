"""Loops that numba compiles: rows of weights, and additive scores. It is imported only if numba is installed.

Arrays must be contiguous, because numba would compile another layout anew. Rows are two-dimensional, (n, k). The loops only
count rows that hold NaN or +infinity; the caller then gives such arrays to the reference.

There are four ways to compile. `loops` may reorder sums, and its division by zero gives infinity, as in NumPy (Python's
error would keep a loop scalar). `search` also assumes that there is no NaN, so that conditional sums are vectorised. `small`
is inlined where it is called. `exact` is put into the loop that calls it, and takes its own sums as they are written. All four
allow infinity, because masked scores are -inf.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = [
    "additive",
    "additive_back",
    "entmax15_back",
    "entmax15_rows",
    "softmax_back",
    "softmax_rows",
    "sparsemax_back",
    "sparsemax_rows",
    "through_length",
    "unit_rows",
]

Array = np.ndarray[Any, Any]
f32 = np.float32

LONG = 64  # keys
LEAST, MOST = f32(0.02), f32(1e7)  # a sum of exponentials between them has lost nothing
REORDER = {"contract", "reassoc", "nsz", "arcp"}
loops = numba.njit(fastmath=REORDER, cache=True, error_model="numpy", nogil=True)
search = numba.njit(fastmath=REORDER | {"nnan"}, cache=True, error_model="numpy", nogil=True)
small = numba.njit(inline="always", fastmath=REORDER, error_model="numpy")
exact = numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True)

EXPONENT = f32(1.5 * 2**23 + 127)  # n + EXPONENT has n + 127, the exponent of 2^n, in its last bits


# --------------------------------------------------------------------------------------------------------------------
# functions of one number, float32
# --------------------------------------------------------------------------------------------------------------------
@exact
def exp(x):
    """e^x for -87 <= x <= 88: 2^n times a polynomial on [-log(2)/2, log(2)/2] (Cephes' expf), relative error 2e-7."""
    t = x * f32(1.44269504) + EXPONENT
    n = t - EXPONENT
    r = (x - n * f32(0.693359375)) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * (r * r) + r + f32(1)
    return p * np.int32(np.float32(t).view(np.int32) << np.int32(23)).view(np.float32)


@small
def tanh(x):
    """tanh as a ratio of polynomials, of degree 13 and 6 (Eigen's coefficients), absolute error 3e-7."""
    x = min(max(x, f32(-7.90531110763549805)), f32(7.90531110763549805))
    y = x * x
    p = f32(-2.76076847742355e-16)
    p = p * y + f32(2.00018790482477e-13)
    p = p * y + f32(-8.60467152213735e-11)
    p = p * y + f32(5.12229709037114e-08)
    p = p * y + f32(1.48572235717979e-05)
    p = p * y + f32(6.37261928875436e-04)
    p = p * y + f32(4.89352455891786e-03)
    q = f32(1.19825839466702e-06)
    q = q * y + f32(1.18534705686654e-04)
    q = q * y + f32(2.26843463243900e-03)
    q = q * y + f32(4.89352518554385e-03)
    return x * p / q


# --------------------------------------------------------------------------------------------------------------------
# rows of weights
# --------------------------------------------------------------------------------------------------------------------
@search
def top_of(row):
    """The largest number of a row. Long rows have four largest ones at a time, so that none waits for another."""
    n, top = row.shape[0], row[0]
    if n < LONG:
        for j in range(n):
            top = row[j] if row[j] > top else top
        return top
    a = b = c = d = top
    for j in range(0, n // 4 * 4, 4):
        a = row[j] if row[j] > a else a
        b = row[j + 1] if row[j + 1] > b else b
        c = row[j + 2] if row[j + 2] > c else c
        d = row[j + 3] if row[j + 3] > d else d
    for j in range(n // 4 * 4, n):
        a = row[j] if row[j] > a else a
    a, c = b if b > a else a, d if d > c else c
    return c if c > a else a


@loops
def below_top(s, w, scale):
    """w = exp(scale (s - its largest number)); their sum."""
    top, total = top_of(s), f32(0)
    for j in range(s.shape[0]):
        z = (s[j] - top) * scale
        e = exp(z)
        e = f32(0) if z < f32(-87) else e  # NaN stays
        w[j] = e
        total += e
    return total


@loops
def softmax_rows(S, W, scale):
    """W = softmax(scale S), float32; how many rows hold NaN or +infinity, or -infinity alone.

    The first score of a row is subtracted from all of them, because it needs no search. If the sum of the exponentials shows that it
    is too far from the others, the largest is subtracted instead.
    """
    again = bad = 0
    for i in range(S.shape[0]):
        s, w = S[i], W[i]
        first, total = s[0] if abs(s[0]) < f32(np.inf) else f32(0), f32(0)
        for j in range(S.shape[1]):
            z = (s[j] - first) * scale
            e = exp(z)
            e = f32(0) if z < f32(-87) else e
            e = f32(np.inf) if z > f32(88) else e
            w[j] = e
            total += e
        fine = total > LEAST and total < MOST  # not so with NaN
        again += not fine
        share = f32(1) / total if fine else f32(np.nan)
        for j in range(S.shape[1]):
            w[j] *= share
    for i in range(S.shape[0] if again else 0):
        w = W[i]
        if not (w[0] >= f32(0)):
            total = below_top(S[i], w, scale)
            bad += not (total >= f32(0.5))  # the largest score has exp(0) = 1
            share = f32(1) / total
            for j in range(S.shape[1]):
                w[j] *= share
    return bad


@loops
def unit_rows(X, U, shorter, small):
    """Rows of length one, and what each was multiplied by; how many have squares that are not between `small` and infinity."""
    bad, one = 0, X.dtype.type(1)
    for i in range(X.shape[0]):
        x, u = X[i], U[i]
        squares = X.dtype.type(0)
        for j in range(X.shape[1]):
            squares += x[j] * x[j]
        bad += not (squares > small and squares < np.inf)
        factor = one / np.sqrt(squares)
        shorter[i] = factor
        for j in range(X.shape[1]):
            u[j] = x[j] * factor
    return bad


@loops
def through_length(d, U, shorter, sharp, dX):
    """dX = (d - U (U . d)) shorter sharp, row by row."""
    for i in range(d.shape[0]):
        one, u, out = d[i], U[i], dX[i]
        along = d.dtype.type(0)
        for j in range(d.shape[1]):
            along += one[j] * u[j]
        factor = shorter[i] * sharp
        for j in range(d.shape[1]):
            out[j] = (one[j] - u[j] * along) * factor


@loops
def softmax_back(W, g, dS, scale):
    """dS = scale W (g - sum W g)."""
    for i in range(W.shape[0]):
        mean = W.dtype.type(0)
        for j in range(W.shape[1]):
            mean += W[i, j] * g[i, j]
        for j in range(W.shape[1]):
            dS[i, j] = W[i, j] * (g[i, j] - mean) * scale


@search
def sparsemax_threshold(row, top):
    """tau with sum max(row - top - tau, 0) = 1; it starts at -1 and only rises (Michelot 1986)."""
    zero, one = row.dtype.type(0), row.dtype.type(1)
    tau, before = -one, -one
    for _ in range(row.shape[0] + 1):  # the loop ends, whatever rounding does
        total, n = zero, zero
        for j in range(row.shape[0]):
            z = row[j] - top
            inside = z > tau
            total += z if inside else zero
            n += one if inside else zero
        if n == before or n == zero:  # noqa: SIM109 - compiled
            break
        before = n
        tau = max(tau, (total - one) / n)
    return tau


@loops
def sparsemax_rows(S, W):
    """W = sparsemax(S); how many rows hold NaN or infinity."""
    zero, one, bad = S.dtype.type(0), S.dtype.type(1), 0
    for i in range(S.shape[0]):
        top = top_of(S[i])
        tau, odd = sparsemax_threshold(S[i], top), zero
        for j in range(S.shape[1]):
            z = S[i, j] - top
            odd += zero if z <= zero else one
            W[i, j] = max(z - tau, zero)
        bad += odd > zero
    return bad


@search
def sparsemax_back(W, g, dS):
    """dS = g minus its mean over the support, on the support; 0 elsewhere."""
    zero = W.dtype.type(0)
    for i in range(W.shape[0]):
        total, n = zero, zero
        for j in range(W.shape[1]):
            total += g[i, j] if W[i, j] > zero else zero
            n += W.dtype.type(1) if W[i, j] > zero else zero
        mean = total / n
        for j in range(W.shape[1]):
            dS[i, j] = g[i, j] - mean if W[i, j] > zero else zero


@search
def entmax15_threshold(row, top):
    """tau with sum max((row - top) / 2 - tau, 0)^2 = 1, from below.

    A closed form gives tau for a support, and it is right if the whole support lies above tau. If the support is too large, the
    closed form is too high, because it counts entries below tau as squares. Then Newton's method takes a step on the length
    |max(z - tau, 0)|, which is convex in tau, so that the step stays below.
    """
    zero, one, half = row.dtype.type(0), row.dtype.type(1), row.dtype.type(0.5)
    tau = -one
    for _ in range(60):
        total, squares, n = zero, zero, zero
        for j in range(row.shape[0]):
            away = (row[j] - top) * half - tau
            y = away if away > zero else zero
            total += y
            squares += y * y
            n += one if away > zero else zero
        inner = total * total - n * (squares - one)
        closed = tau + (total - np.sqrt(inner if inner > zero else zero)) / n
        above = zero
        for j in range(row.shape[0]):
            above += one if (row[j] - top) * half > closed else zero
        if inner >= zero and above == n:
            return closed
        length = np.sqrt(squares)
        higher = tau + (length - one) * length / total
        if not higher > tau:
            break
        tau = higher
    return tau


@loops
def entmax15_rows(S, W):
    """W = entmax(S), alpha 1.5; how many rows hold NaN or infinity."""
    zero, one, half, bad = S.dtype.type(0), S.dtype.type(1), S.dtype.type(0.5), 0
    for i in range(S.shape[0]):
        top = top_of(S[i])
        tau, odd, total = entmax15_threshold(S[i], top), zero, zero
        for j in range(S.shape[1]):
            z = (S[i, j] - top) * half
            odd += zero if z <= zero else one
            z = max(z - tau, zero)
            W[i, j] = z * z
            total += z * z
        bad += odd > zero
        share = one / total
        for j in range(S.shape[1]):
            W[i, j] *= share
    return bad


@loops
def entmax15_back(W, g, dS):
    """dS = u (g - sum u g / sum u), u = sqrt(W)."""
    zero = W.dtype.type(0)
    for i in range(W.shape[0]):
        total, size = zero, zero
        for j in range(W.shape[1]):
            u = np.sqrt(W[i, j])
            dS[i, j] = u
            total += u * g[i, j]
            size += u
        mean = total / size
        for j in range(W.shape[1]):
            dS[i, j] *= g[i, j] - mean


# --------------------------------------------------------------------------------------------------------------------
# additive scores, float32
# --------------------------------------------------------------------------------------------------------------------
@loops
def additive_by_fours(A, B, v, S):
    """The same as `additive`, for four keys at a time."""
    for n in range(A.shape[0]):
        for i in range(A.shape[1]):
            a, s, left = A[n, i], S[n, i], B.shape[1] // 4 * 4
            for j in range(0, left, 4):
                b, c, d, e = B[n, j], B[n, j + 1], B[n, j + 2], B[n, j + 3]
                p = q = r = t = f32(0)
                for h in range(v.shape[0]):
                    p += v[h] * tanh(a[h] + b[h])
                    q += v[h] * tanh(a[h] + c[h])
                    r += v[h] * tanh(a[h] + d[h])
                    t += v[h] * tanh(a[h] + e[h])
                s[j], s[j + 1], s[j + 2], s[j + 3] = p, q, r, t
            for j in range(left, B.shape[1]):
                b, total = B[n, j], f32(0)
                for h in range(v.shape[0]):
                    total += v[h] * tanh(a[h] + b[h])
                s[j] = total


@loops
def additive(A, B, v, S):
    """S_nij = sum_h v_h tanh(A_nih + B_njh): A (n, q, h), B (n, k, h), v (h,), S (n, q, k)."""
    if 16 < v.shape[0] < 64:  # so short a sum takes no longer than its end
        additive_by_fours(A, B, v, S)
        return
    for n in range(A.shape[0]):
        for i in range(A.shape[1]):
            a = A[n, i]
            for j in range(B.shape[1]):
                b, total = B[n, j], f32(0)
                for h in range(v.shape[0]):
                    total += v[h] * tanh(a[h] + b[h])
                S[n, i, j] = total


@loops
def additive_back(A, B, v, g, dA, dB, dv):
    """The gradients of A, B and v; they compute tanh again instead of storing it."""
    here = np.empty(v.shape[0], f32)
    dB[:] = f32(0)
    dv[:] = f32(0)
    for n in range(A.shape[0]):
        for i in range(A.shape[1]):
            a = A[n, i]
            here[:] = f32(0)
            for j in range(B.shape[1]):
                w, b, there = g[n, i, j], B[n, j], dB[n, j]
                for h in range(v.shape[0]):
                    t = tanh(a[h] + b[h])
                    dv[h] += w * t
                    u = w * v[h] * (f32(1) - t * t)
                    here[h] += u
                    there[h] += u
            dA[n, i] = here
