"""Loops that numba compiles: the loss of a batch and its gradient, from the examples to the learned maps, in one call.

Examples go through in groups that stay in the cache. A call computes the scores of a group, gives them to `middle`, which
makes weights, contexts, the loss and the gradient of the scores, and takes that gradient back to the learned maps. All arrays
are contiguous and of one dtype; the data are read-only. A call returns the loss and a number of odd rows: if it is not zero,
a row of scores holds NaN or +infinity, or a vector has no length, and the parts must compute the batch.

Three things make these loops fast. Products of small matrices go to BLAS without Python between them. What is elementwise runs
over whole groups, as short rows do not fill the vectors. No loop reads and writes through two arrays that may be the same one,
because it would then be scalar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attnlab.kernels.compiled import loops, small, unit_rows
from attnlab.kernels.compiled_functions import tanh
from attnlab.kernels.compiled_rows import (
    entmax15,
    entmax15_back,
    softmax,
    softmax_back,
    sparsemax,
    sparsemax_back,
)

__all__ = ["ENTMAX15", "SOFTMAX", "SPARSEMAX", "Batch", "additive_step", "cosine_step", "product_step"]

SOFTMAX, SPARSEMAX, ENTMAX15 = 0, 1, 2
TOGETHER = 128  # queries of a group of examples, at least


class Batch(NamedTuple):
    """The examples and what is done with their scores, as compiled loops take it.

    Attributes
    ----------
    Q, K, V : read-only arrays (N, q, d), (N, k, e), (N, k, v)
    target : read-only array (N, q, v), or (N, q, k) of weights
    M : read-only bool array (N or 1, q or 1, k)
    alive : read-only array (N or 1, q), 1 where the loss counts a query, else 0
    masked, aligns : bool, whether M forbids anything, and whether the target are weights
    normaliser : SOFTMAX, SPARSEMAX or ENTMAX15
    sharp : number of the dtype, one over the temperature of softmax
    """

    Q: np.ndarray
    K: np.ndarray
    V: np.ndarray
    target: np.ndarray
    M: np.ndarray
    alive: np.ndarray
    masked: bool
    aligns: bool
    normaliser: int
    sharp: float


# --------------------------------------------------------------------------------------------------------------------
# matrices; an assignment of arrays would take seconds to compile
# --------------------------------------------------------------------------------------------------------------------
@loops
def copy(X, Z):
    """Z = X."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            Z[i, j] = X[i, j]


@loops
def add(X, Z):
    """Z = Z + X."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            Z[i, j] += X[i, j]


@loops
def raise_by(X, b):
    """X = X + b, in every row."""
    for i in range(X.shape[0]):
        x = X[i]
        for j in range(X.shape[1]):
            x[j] += b[j]


@loops
def stretch(X, v, total):
    """X = X v, in every row; the rows are added to `total`."""
    for i in range(X.shape[0]):
        x = X[i]
        for j in range(X.shape[1]):
            x[j] *= v[j]
            total[j] += x[j]


# --------------------------------------------------------------------------------------------------------------------
# from scores to their gradient
# --------------------------------------------------------------------------------------------------------------------
@loops
def hide(S, M):
    """Scores (q, k) that M (q or 1, k) forbids become -infinity; a query that may attend to nothing gets scores of zero."""
    for i in range(S.shape[0]):
        m = M[i if M.shape[0] > 1 else 0]
        some = False
        for j in range(S.shape[1]):
            some |= m[j]
            S[i, j] = S[i, j] if m[j] else -np.inf
        if not some:
            S[i] = 0


@loops
def strike(W, M):
    """What M (q or 1, k) forbids becomes zero in W (q, k)."""
    for i in range(W.shape[0]):
        m, w = M[i if M.shape[0] > 1 else 0], W[i]
        for j in range(W.shape[1]):
            w[j] = w[j] if m[j] else 0


@loops
def away(Y, T, alive, factor):
    """Y becomes factor (Y - T) alive, (q, v); returns the sum of the squares of (Y - T) alive."""
    total = 0.0
    for i in range(Y.shape[0]):
        here, live = Y.dtype.type(0), alive[i]
        y, t = Y[i], T[i]
        for j in range(Y.shape[1]):
            d = (y[j] - t[j]) * live
            here += d * d
            y[j] = d * factor
        total += here
    return total


@loops
def middle(S, G, Y, rows, batch, factor):
    """From scores S (n, q, k) of some examples to their gradient G: (loss, odd rows). S becomes the weights."""
    n, q, k = S.shape
    M, alive, V, T = batch.M, batch.alive, batch.V, batch.target
    if batch.masked:
        for a in range(n):
            hide(S[a], M[rows[a] if M.shape[0] > 1 else 0])
    flat, found = S.reshape(n * q, k), G.reshape(n * q, k)
    if batch.normaliser == SOFTMAX:
        odd = softmax(flat, batch.sharp)
    elif batch.normaliser == SPARSEMAX:
        odd = sparsemax(flat)
    else:
        odd = entmax15(flat)
    loss = 0.0
    for a in range(n):
        i = rows[a]
        live = alive[i if alive.shape[0] > 1 else 0]
        if batch.masked:
            strike(S[a], M[i if M.shape[0] > 1 else 0])
        if batch.aligns:
            copy(S[a], G[a])
            loss += away(G[a], T[i], live, factor)
        else:
            np.dot(S[a], V[i], Y[a])
            loss += away(Y[a], T[i], live, factor)
            np.dot(Y[a], V[i].T, G[a])
    if batch.normaliser == SOFTMAX:
        softmax_back(flat, found, batch.sharp)
    elif batch.normaliser == SPARSEMAX:
        sparsemax_back(flat, found)
    else:
        entmax15_back(flat, found)
    if batch.masked:
        for a in range(n):
            strike(G[a], M[rows[a] if M.shape[0] > 1 else 0])
    return loss, odd


@small
def group(rows, q):
    """How many examples go through together."""
    return min(rows.shape[0], max(1, TOGETHER // q))


# --------------------------------------------------------------------------------------------------------------------
# whole steps
# --------------------------------------------------------------------------------------------------------------------
@loops
def product_step(rows, batch, factor, F, dF):
    """Scores Q F K', and the gradient of the map F (d, e)."""
    Q, K = batch.Q, batch.K
    q, k, d, e = Q.shape[1], K.shape[1], Q.shape[2], K.shape[2]
    some = group(rows, q)
    X, P, part = np.empty((some, q, d), F.dtype), np.empty((some, q, e), F.dtype), np.empty((d, e), F.dtype)
    S, G = np.empty((some, q, k), F.dtype), np.empty((some, q, k), F.dtype)
    Y = np.empty((some, q, batch.target.shape[2]), F.dtype)
    dF[:] = 0
    loss, odd = 0.0, 0
    for start in range(0, rows.shape[0], some):
        here = rows[start : start + some]
        n = here.shape[0]
        for a in range(n):
            copy(Q[here[a]], X[a])
            np.dot(X[a], F, P[a])
            np.dot(P[a], K[here[a]].T, S[a])
        one, bad = middle(S[:n], G[:n], Y[:n], here, batch, factor)
        loss, odd = loss + one, odd + bad
        for a in range(n):
            np.dot(G[a], K[here[a]], P[a])
        np.dot(X[:n].reshape(n * q, d).T, P[:n].reshape(n * q, e), part)
        add(part, dF)
    return loss, odd


@loops
def lengthen(d, U, shorter, sharp):
    """d becomes (d - U (U . d)) shorter sharp; returns the sum of U . d."""
    total = 0.0
    for i in range(d.shape[0]):
        one, u = d[i], U[i]
        along = d.dtype.type(0)
        for j in range(d.shape[1]):
            along += one[j] * u[j]
        size = shorter[i] * sharp
        for j in range(d.shape[1]):
            one[j] = (one[j] - u[j] * along) * size
        total += along
    return total


@loops
def cosine_step(rows, batch, factor, sharp, least, A, B, dA, dB):
    """Scores: cosines of Q A and K B, times sharp. The gradients of the maps A (d, w) and B (e, w) and of log(sharp)."""
    Q, K = batch.Q, batch.K
    q, k, d, e, w = Q.shape[1], K.shape[1], Q.shape[2], K.shape[2], A.shape[1]
    some = group(rows, q)
    X, Z = np.empty((some, q, d), A.dtype), np.empty((some, k, e), A.dtype)
    P, R = np.empty((some * q, w), A.dtype), np.empty((some * k, w), A.dtype)
    U, T = np.empty((some, q, w), A.dtype), np.empty((some, k, w), A.dtype)
    p, r = np.empty(some * q, A.dtype), np.empty(some * k, A.dtype)
    S, G = np.empty((some, q, k), A.dtype), np.empty((some, q, k), A.dtype)
    Y = np.empty((some, q, batch.target.shape[2]), A.dtype)
    partA, partB = np.empty((d, w), A.dtype), np.empty((e, w), A.dtype)
    dA[:] = 0
    dB[:] = 0
    loss, odd, slope = 0.0, 0, 0.0
    for start in range(0, rows.shape[0], some):
        here = rows[start : start + some]
        n = here.shape[0]
        for a in range(n):
            copy(Q[here[a]], X[a])
            copy(K[here[a]], Z[a])
        x, z, u, t = X[:n].reshape(n * q, d), Z[:n].reshape(n * k, e), U[:n].reshape(n * q, w), T[:n].reshape(n * k, w)
        np.dot(x, A, P[: n * q])
        np.dot(z, B, R[: n * k])
        odd += unit_rows(P[: n * q], u, p, least) + unit_rows(R[: n * k], t, r, least)
        for a in range(n):
            np.dot(U[a], T[a].T, S[a])
        flat = S[:n].reshape(n * q * k)
        for j in range(flat.shape[0]):
            flat[j] *= sharp
        one, bad = middle(S[:n], G[:n], Y[:n], here, batch, factor)
        loss, odd = loss + one, odd + bad
        for a in range(n):
            np.dot(G[a], T[a], P[a * q : a * q + q])
            np.dot(G[a].T, U[a], R[a * k : a * k + k])
        slope += lengthen(P[: n * q], u, p, sharp)
        lengthen(R[: n * k], t, r, sharp)
        np.dot(x.T, P[: n * q], partA)
        np.dot(z.T, R[: n * k], partB)
        add(partA, dA)
        add(partB, dB)
    return loss, odd, slope * sharp


@loops
def hidden(P, R, H):
    """H (q, k, h) = tanh of all sums of P (q, h) and R (k, h)."""
    for i in range(P.shape[0]):
        p = P[i]
        for j in range(R.shape[0]):
            r, t = R[j], H[i, j]
            for c in range(P.shape[1]):
                t[c] = tanh(p[c] + r[c])


@loops
def hidden_back(G, H, dP, dR, dv):
    """From the gradient G (q, k) of the scores to those of P and R, both up to the factor v; that of v is added to dv."""
    zero, one = H.dtype.type(0), H.dtype.type(1)
    for j in range(dR.shape[0]):
        for c in range(dR.shape[1]):
            dR[j, c] = zero
    for i in range(H.shape[0]):
        p = dP[i]
        for c in range(p.shape[0]):
            p[c] = zero
        for j in range(H.shape[1]):
            g, r, t = G[i, j], dR[j], H[i, j]
            for c in range(p.shape[0]):
                dv[c] += g * t[c]
                u = g * (one - t[c] * t[c])
                p[c] += u
                r[c] += u


@loops
def additive_step(rows, batch, factor, A, B, b, v, dA, dB, db, dv):
    """Scores v . tanh(Q A + K B + b), and the gradients of A (d, h), B (e, h), b and v (h,)."""
    Q, K = batch.Q, batch.K
    q, k, d, e, h = Q.shape[1], K.shape[1], Q.shape[2], K.shape[2], A.shape[1]
    some = min(rows.shape[0], max(1, TOGETHER // (4 * q)))  # fewer, because H is large
    X, Z = np.empty((some, q, d), A.dtype), np.empty((some, k, e), A.dtype)
    P, R, H = np.empty((some * q, h), A.dtype), np.empty((some * k, h), A.dtype), np.empty((some, q, k, h), A.dtype)
    S, G = np.empty((some, q, k), A.dtype), np.empty((some, q, k), A.dtype)
    Y = np.empty((some, q, batch.target.shape[2]), A.dtype)
    partA, partB, left = np.empty((d, h), A.dtype), np.empty((e, h), A.dtype), np.empty(h, A.dtype)
    dA[:] = 0
    dB[:] = 0
    db[:] = 0
    dv[:] = 0
    loss, odd = 0.0, 0
    for start in range(0, rows.shape[0], some):
        here = rows[start : start + some]
        n = here.shape[0]
        for a in range(n):
            copy(Q[here[a]], X[a])
            copy(K[here[a]], Z[a])
        x, z = X[:n].reshape(n * q, d), Z[:n].reshape(n * k, e)
        np.dot(x, A, P[: n * q])
        np.dot(z, B, R[: n * k])
        raise_by(R[: n * k], b)
        for a in range(n):
            hidden(P[a * q : a * q + q], R[a * k : a * k + k], H[a])
            np.dot(H[a].reshape(q * k, h), v, S[a].reshape(q * k))
        one, bad = middle(S[:n], G[:n], Y[:n], here, batch, factor)
        loss, odd = loss + one, odd + bad
        for a in range(n):
            hidden_back(G[a], H[a], P[a * q : a * q + q], R[a * k : a * k + k], dv)
        stretch(P[: n * q], v, left)
        stretch(R[: n * k], v, db)
        np.dot(x.T, P[: n * q], partA)
        np.dot(z.T, R[: n * k], partB)
        add(partA, dA)
        add(partB, dB)
    return loss, odd
