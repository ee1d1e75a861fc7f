"""Loops that numba compiles: rows of weights in place, and a step of Adam.

A loop that reads and writes through two arrays, which may be the same one, is scalar wherever they are. So these loops change their
rows in place. They count rows that hold NaN or infinity, as those of `attnlab.kernels.compiled` do.
"""

from __future__ import annotations

import numpy as np

from attnlab.kernels.compiled import entmax15_threshold, loops, search, sparsemax_threshold, top_of
from attnlab.kernels.compiled_functions import exp, least

__all__ = ["adam", "entmax15", "entmax15_back", "softmax", "softmax_back", "sparsemax", "sparsemax_back"]


@loops
def softmax(S, sharp):
    """S (n, k) becomes softmax(sharp S); how many rows hold NaN or +infinity."""
    (n, k), zero, one, half = S.shape, S.dtype.type(0), S.dtype.type(1), S.dtype.type(0.5)
    for i in range(n):
        s = S[i]
        top = top_of(s)
        for j in range(k):
            s[j] = (s[j] - top) * sharp
    flat, bad = S.reshape(n * k), 0
    for j in range(n * k):
        z = flat[j]
        e = exp(z)
        flat[j] = zero if z <= least(z) else e  # NaN stays
    for i in range(n):
        s, total = S[i], zero
        for j in range(k):
            total += s[j]
        bad += not (total >= half)  # the largest score has exp(0) = 1
        share = one / total
        for j in range(k):
            s[j] *= share
    return bad


@loops
def softmax_back(W, G, sharp):
    """G becomes sharp W (G - sum W G)."""
    for i in range(W.shape[0]):
        w, g = W[i], G[i]
        mean = w.dtype.type(0)
        for j in range(W.shape[1]):
            mean += w[j] * g[j]
        for j in range(W.shape[1]):
            g[j] = w[j] * (g[j] - mean) * sharp


@loops
def sparsemax(S):
    """S (n, k) becomes sparsemax(S); how many rows hold NaN or infinity."""
    zero, one, bad = S.dtype.type(0), S.dtype.type(1), 0
    for i in range(S.shape[0]):
        s = S[i]
        top = top_of(s)
        tau, odd = sparsemax_threshold(s, top), zero
        for j in range(S.shape[1]):
            z = s[j] - top
            odd += zero if z <= zero else one
            s[j] = max(z - tau, zero)
        bad += odd > zero
    return bad


@search
def sparsemax_back(W, G):
    """G becomes G minus its mean over the support, on the support; 0 elsewhere."""
    zero, one = W.dtype.type(0), W.dtype.type(1)
    for i in range(W.shape[0]):
        w, g = W[i], G[i]
        total, n = zero, zero
        for j in range(W.shape[1]):
            total += g[j] if w[j] > zero else zero
            n += one if w[j] > zero else zero
        mean = total / n
        for j in range(W.shape[1]):
            g[j] = g[j] - mean if w[j] > zero else zero


@loops
def entmax15(S):
    """S (n, k) becomes entmax(S), alpha 1.5; how many rows hold NaN or infinity."""
    zero, one, half, bad = S.dtype.type(0), S.dtype.type(1), S.dtype.type(0.5), 0
    for i in range(S.shape[0]):
        s = S[i]
        top = top_of(s)
        tau, odd, total = entmax15_threshold(s, top), zero, zero
        for j in range(S.shape[1]):
            z = (s[j] - top) * half
            odd += zero if z <= zero else one
            z = max(z - tau, zero)
            s[j] = z * z
            total += z * z
        bad += odd > zero
        share = one / total
        for j in range(S.shape[1]):
            s[j] *= share
    return bad


@loops
def entmax15_back(W, G):
    """G becomes u (G - sum u G / sum u), u = sqrt(W)."""
    zero = W.dtype.type(0)
    for i in range(W.shape[0]):
        w, g = W[i], G[i]
        total, size = zero, zero
        for j in range(W.shape[1]):
            u = np.sqrt(w[j])
            total += u * g[j]
            size += u
        mean = total / size
        for j in range(W.shape[1]):
            g[j] = np.sqrt(w[j]) * (g[j] - mean)


@loops
def adam(x, g, m, v, fade1, fade2, unbias2, epsilon, rate):
    """One step of Adam on vectors, in place; returns the sum of squares of x, which is finite where x is."""
    one, squares = x.dtype.type(1), x.dtype.type(0)
    for i in range(x.shape[0]):
        m[i] = m[i] * fade1 + g[i] * (one - fade1)
        v[i] = v[i] * fade2 + g[i] * (one - fade2) * g[i]
        x[i] -= rate * (m[i] / (np.sqrt(v[i] / unbias2) + epsilon))
        squares += x[i] * x[i]
    return squares
