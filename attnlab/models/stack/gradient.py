"""The stack's loss and its gradient by hand; each mechanism's is its own pullback. The same numbers as `Network.loss`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.models.stack.network import EPSILON, GELU, Network, Places

__all__ = ["loss_and_gradient"]

Array = np.ndarray[Any, Any]
Back = Callable[
    [Array], tuple[Any, dict[str, Any]]
]  # gradient of what came out -> (of what went in, of the learned arrays)

WANTS = frozenset({"Q", "K", "V", "params"})


def loss_and_gradient(network: Network, params: Any, places: Places) -> tuple[float, dict[str, Any]]:
    """The loss over some sequences, and its gradient by params.

    Parameters
    ----------
    network : Network
    params : what `network.init` gives
    places : Places
    """
    E = params["embedding"]["E"]
    n, length = places.ids.shape
    x = E[places.ids.reshape(-1)]
    if places.known is not None:
        x *= places.known.reshape(-1, 1)
    if places.inputs is not None:
        inputs = places.inputs.reshape(n * length, -1)
        x += inputs @ params["inputs"]["F"]
    shape = (n, length, network.heads)
    backs = []
    for i in range(len(network.bound)):
        own = params["layers"][str(i)]
        x, back = _attention(network, i, own, x, shape, places.contexts[i])
        backs.append((str(i), back))
        if network.mlp:
            x, back = _mlp(network, own, x)
            backs.append((str(i), back))
    chosen = x[places.where]
    states, back_norm = _norm(network.norm, params["norm"], chosen)
    U = params["readout"]["U"] if not network.tied else E.T * np.asarray(1 / math.sqrt(E.shape[1]), dtype=E.dtype)
    judged = _squared_error if places.labels.ndim == 2 else _cross_entropy
    loss, g = judged(states @ U, places.labels)

    dU = states.T @ g
    g, own = back_norm(g @ U.T)
    gradient: dict[str, Any] = {"norm": own, "readout": {} if network.tied else {"U": dU}, "layers": {}}
    dx = np.zeros_like(x)
    dx[places.where] = g  # a place counts at most once
    for layer, back in reversed(backs):
        dx, own = back(dx)
        gradient["layers"].setdefault(layer, {"mlp": {}, "mlp_norm": {}}).update(own)
    gradient["inputs"] = {} if places.inputs is None else {"F": inputs.T @ dx}
    if places.known is not None:
        dx = dx * places.known.reshape(-1, 1)
    dE = _summed_by_id(dx, places.ids.reshape(-1), E)
    if network.tied:
        dE += dU.T * np.asarray(1 / math.sqrt(E.shape[1]), dtype=E.dtype)
    return loss, gradient | {"embedding": {"E": dE}}


def _attention(
    network: Network, i: int, own: Any, x: Array, shape: tuple[int, int, int], context: Any
) -> tuple[Array, Back]:
    """x + concat_h(A(h Wq_h, h Wk_h, h Wv_h)) Wo of x (n L, d)."""
    n, length, heads = shape
    d = x.shape[1]
    a, out = own["attention"], own["attention"]["Wo"]
    normed, back_norm = _norm(network.norm, own["norm"], x)
    h, back_conv = _convolved(network.short_conv, own["conv"], normed, n)
    W = np.concatenate([a["Wq"], a["Wk"], a["Wv"]], axis=1)
    joined = (h @ W).reshape(n, length, 3, heads, d // heads)
    Q, K, V = np.ascontiguousarray(joined.transpose(2, 0, 3, 1, 4))
    Y, back_mechanism = network.bound[i].pull(own["mechanism"], Q, K, V, context, WANTS)
    Y = Y.transpose(0, 2, 1, 3).reshape(n * length, d)

    def back(g: Array) -> tuple[Array, dict[str, Any]]:
        dY = (g @ out.T).reshape(n, length, heads, d // heads).transpose(0, 2, 1, 3)
        found = back_mechanism(np.ascontiguousarray(dY))
        dj = np.empty((n, length, 3, heads, d // heads), dtype=x.dtype)
        for place, name in enumerate(("Q", "K", "V")):
            dj[:, :, place] = found[name].transpose(0, 2, 1, 3)
        flat = dj.reshape(n * length, 3 * d)
        dW = h.T @ flat
        dh, of_conv = back_conv(flat @ W.T)
        dx, of_norm = back_norm(dh)
        dx += g
        return dx, {
            "attention": {"Wq": dW[:, :d], "Wk": dW[:, d : 2 * d], "Wv": dW[:, 2 * d :], "Wo": Y.T @ g},
            "mechanism": found["params"],
            "norm": of_norm,
            "conv": of_conv,
        }

    return x + Y @ out, back


def _mlp(network: Network, own: Any, x: Array) -> tuple[Array, Back]:
    """x + gelu(norm(x) W1 + b1) W2 + b2 of x (n L, d)."""
    mlp = own["mlp"]
    h, back_norm = _norm(network.norm, own["mlp_norm"], x)
    z = h @ mlp["W1"]
    z += mlp["b1"]
    inside, slope = _gelu(z)
    out = inside @ mlp["W2"]
    out += mlp["b2"]
    out += x

    def back(g: Array) -> tuple[Array, dict[str, Any]]:
        dz = g @ mlp["W2"].T
        dz *= slope
        dx, of_norm = back_norm(dz @ mlp["W1"].T)
        dx += g
        of_mlp = {"W1": h.T @ dz, "b1": dz.sum(axis=0), "W2": inside.T @ g, "b2": g.sum(axis=0)}
        return dx, {"mlp": of_mlp, "mlp_norm": of_norm}

    return out, back


def _gelu(z: Array) -> tuple[Array, Array]:
    """gelu(z), and its derivative."""
    a, b = (np.asarray(number, dtype=z.dtype) for number in GELU)
    square = z * z
    t = square * b
    t += 1
    t *= z
    t *= a
    np.tanh(t, out=t)
    half = t + 1
    half *= np.asarray(0.5, dtype=z.dtype)  # (1 + tanh) / 2
    slope = square
    slope *= 3 * b
    slope += 1
    slope *= a
    slope *= z  # z times the derivative of what tanh is taken of
    t *= t
    np.subtract(1, t, out=t)
    slope *= t
    slope *= np.asarray(0.5, dtype=z.dtype)
    slope += half
    half *= z
    return half, slope


def _norm(norm: str, own: Any, x: Array) -> tuple[Array, Back]:
    """x (..., d) before a layer reads it."""
    if norm == "none":
        return x, lambda g: (g, {})
    d, gain = x.shape[-1], own["gain"]
    away = x if norm == "rms" else x - x.mean(axis=-1, keepdims=True)
    scale = np.einsum("nd,nd->n", away, away)[:, None]
    scale /= d
    scale += EPSILON
    np.sqrt(scale, out=scale)
    unit = away / scale
    out = unit * gain
    if norm == "layer":
        out += own["shift"]

    def back(g: Array) -> tuple[Array, dict[str, Any]]:
        of_own = {"gain": np.einsum("nd,nd->d", g, unit)} | ({"shift": g.sum(axis=0)} if norm == "layer" else {})
        dx = g * gain
        along = np.einsum("nd,nd->n", dx, unit)[:, None]
        along /= d
        if norm == "layer":
            dx -= dx.mean(axis=-1, keepdims=True)
        dx -= unit * along
        dx /= scale
        return dx, of_own

    return out, back


def _convolved(width: int, own: Any, h: Array, n: int) -> tuple[Array, Back]:
    """h_j + sum_{t=1..width} c_t * h_{j-t} of h (n L, d), within each of n sequences."""
    if not width:
        return h, lambda g: (g, {})
    C, length = own["C"], len(h) // n
    rows = h.reshape(n, length, -1)
    most = min(width, length - 1)
    mixed = rows.copy()
    for t in range(1, most + 1):
        mixed[:, t:] += C[t - 1] * rows[:, : length - t]

    def back(g: Array) -> tuple[Array, dict[str, Any]]:
        g = g.reshape(rows.shape)
        dh, dC = g.copy(), np.zeros_like(C)
        for t in range(1, most + 1):
            dh[:, : length - t] += C[t - 1] * g[:, t:]
            dC[t - 1] = np.einsum("nld,nld->d", g[:, t:], rows[:, : length - t])
        return dh.reshape(h.shape), {"C": dC}

    return mixed.reshape(h.shape), back


def _cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """The mean of -log softmax(scores)[label], and its gradient by scores (m, c)."""
    here, m = np.arange(len(labels)), max(1, len(labels))
    scores = scores - scores.max(axis=1, keepdims=True)
    chosen = scores[here, labels]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - chosen).sum(dtype=np.float64)) / m
    scores /= total
    scores[here, labels] -= 1
    scores /= m
    return loss, scores


def _squared_error(said: Array, labels: Array) -> tuple[float, Array]:
    """The mean of (said - label)^2, and its gradient by what is said (m, t)."""
    away = said - labels
    many = max(1, away.size)
    return float(np.vdot(away, away)) / many, away * np.asarray(2 / many, dtype=away.dtype)


def _summed_by_id(g: Array, ids: Array, like: Array) -> Array:
    """The gradient of the table: the sum of the rows of g for each id."""
    out = np.zeros_like(like)
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    out[found] = np.add.reduceat(g[order], starts, axis=0)
    return out
