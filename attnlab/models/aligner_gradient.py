"""The aligner's loss and its hand-written gradient, which use a bound mechanism's own pullback."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.models.batches import Examples
from attnlab.models.fenchel_young import loss_of_scores

__all__ = ["LEAST", "loss_and_gradient"]

LEAST = 1e-12  # added to a probability before its logarithm

Array = np.ndarray[Any, Any]


def loss_and_gradient(
    bound: Any, params: Any, X: Examples, aligns: bool, family: Any = None, back_too: bool = True
) -> tuple[float, dict[str, Any]]:
    """The loss over some examples, and its gradient by params.

    Parameters
    ----------
    bound : BoundMechanism or BoundComposition
    params : {"mechanism": ..., "projection": {} or {"Wq", "Wk"}, "readout": {} or {"R"}}
    X : Examples
    aligns : bool
        Whether `X.target` holds gold weights, (n, q, k), instead of vectors, (n, q, v).
    family : Normaliser or None
        The normaliser whose own loss it is; None is the squared error, or with a readout the likelihood.
    back_too : bool
        Whether the gradient is wanted.
    """
    own, readout = params["projection"], params["readout"]
    Q, K, V = X.Q, X.K, X.V
    wants = {"params"}
    if own:
        Q, K = _mapped(Q, own["Wq"]), _mapped(K, own["Wk"])
        wants |= {"Q", "K"}
    if readout and not aligns:
        V = _softmax(_mapped(V, readout["R"]))
        wants |= {"V"}
    out, back = bound.pull(params["mechanism"], Q, K, None if aligns else V, X.context, frozenset(wants))
    if family is not None:
        loss, g = loss_of_scores(family, out, X, aligns)
    else:
        loss, g = _likelihood(out, X) if readout and not aligns else _squared_error(out, X, aligns)
    if not back_too:
        return loss, {}
    found = back(g)
    gradient: dict[str, Any] = {"mechanism": found["params"], "projection": {}, "readout": {}}
    if own:
        gradient["projection"] = {"Wq": _of_map(X.Q, found["Q"]), "Wk": _of_map(X.K, found["K"])}
    if readout:
        if aligns:
            gradient["readout"] = {"R": np.zeros_like(readout["R"])}
        else:
            dV = found["V"] - np.einsum("...v,...v->...", found["V"], V)[..., None]
            dV *= V
            gradient["readout"] = {"R": _of_map(X.V, dV)}
    return loss, gradient


def _squared_error(out: Array, X: Examples, aligns: bool) -> tuple[float, Array]:
    """The mean over living queries (and features, unless weights are compared), and its gradient."""
    away = out - X.target
    if X.context.all_alive:
        n = float(X.alive.size)
    else:
        away *= X.alive
        n = max(1.0, float(X.alive.sum()))
    if not aligns:
        n *= X.target.shape[-1]
    flat = away.reshape(-1)
    loss = float(flat.dot(flat)) / n
    away *= 2 / n
    return loss, away


def _likelihood(out: Array, X: Examples) -> tuple[float, Array]:
    """The mean of -log of the probability of the right class, and the gradient."""
    right = (out * X.target).sum(axis=-1, keepdims=True) + LEAST
    n = max(1.0, float(X.alive.sum()))
    g = X.target * (X.alive / right)
    g *= -1 / n
    return -float((np.log(right) * X.alive).sum()) / n, g


def _mapped(X: Array, W: Array) -> Array:
    """X W for X (..., d), W (d, h), as one matrix product."""
    return (X.reshape(-1, X.shape[-1]) @ W).reshape(*X.shape[:-1], W.shape[1])


def _of_map(X: Array, g: Array) -> Array:
    """The gradient of W in X W."""
    return X.reshape(-1, X.shape[-1]).T @ g.reshape(-1, g.shape[-1])


def _softmax(Z: Array) -> Array:
    E = np.exp(Z - Z.max(axis=-1, keepdims=True))
    E /= E.sum(axis=-1, keepdims=True)
    return E
