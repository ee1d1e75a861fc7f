"""Losses of Fenchel and Young: each belongs to a normaliser of the entmax family, and its gradient is what it gives less the target.

    L(s, y) = max_p (p.s + H(p)) - y.s - H(y) >= 0,     dL/ds = normaliser(s) - y,

with H = H_alpha, the entropy that the normaliser maximises: Shannon's for softmax, Tsallis' for entmax, for sparsemax (1 - |p|^2) / 2. It
is 0 where the normaliser gives the target. Unlike a likelihood it has a gradient where the normaliser gives an exact zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.errors import Unsupported
from attnlab.injection import call
from attnlab.interfaces import Normaliser, Position
from attnlab.mechanisms.bound import BoundMechanism
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.models.batches import Examples
from attnlab.models.predictions import mixes_no_predictions
from attnlab.parts.normalisers import Entmax, Softmax, Sparsemax

__all__ = ["fenchel_young", "loss_of_scores", "own_loss", "refusal_of_losses", "scored"]

Array = np.ndarray[Any, Any]


def _alpha(normaliser: Any) -> float | None:
    """The alpha of a normaliser of the family whose alpha is fixed; None for any other."""
    if type(normaliser) is Softmax:
        return 1.0
    if type(normaliser) is Sparsemax:
        return 2.0
    fixed = type(normaliser) is Entmax and normaliser.alpha != "learned"
    return float(normaliser.alpha) if fixed else None


class _AsTheyAre(Normaliser):
    """Scores in the place of weights."""

    name = "as_they_are"

    def normalise(self, S: Any) -> Any:
        return S


def own_loss(model: Any) -> Any:
    """The normaliser whose loss an aligner minimises, or None for its other losses.

    Raises
    ------
    Unsupported
        When its mechanism has none.
    """
    if model.loss == "squared":
        return None
    if why := refusal_of_losses(model, model.mechanism_):
        raise Unsupported(why)
    return model.mechanism_.parts().normaliser


def refusal_of_losses(model: Any, mechanism: Any) -> str:
    """Why an aligner has not the loss that it was asked for, in words; empty where it has."""
    aligns = model.objective == "alignment"
    if model.mix == "predictions" and aligns:
        return 'mix="predictions" learns from class targets; objective="alignment" has none'
    if model.mix == "predictions" and (why := mixes_no_predictions(mechanism)):
        return why
    if model.loss == "squared":
        return ""
    if model.mix == "predictions":
        return 'mix="predictions" has a loss of its own, the likelihood: choose loss="squared"'
    return _refusal(mechanism, aligns)


def _refusal(mechanism: Any, aligns: bool) -> str:
    """Why a mechanism has no loss of its own; `aligns` says whether its weights are learned, rather than its contexts."""
    begin = 'loss="fenchel_young" is the loss that belongs to softmax, sparsemax or entmax with a fixed alpha'
    if type(mechanism) is not Mechanism:
        return f'{begin}; {mechanism.name!r} has no normaliser of its own: choose loss="squared"'
    parts = mechanism.parts()
    if _alpha(parts.normaliser) is None:
        return f'{begin}; got {parts.normaliser.name!r}: choose another normaliser, or loss="squared"'
    if aligns and type(parts.position).reweigh is not Position.reweigh:
        return (
            f'{begin}; the position {parts.position.name!r} reweighs what they give: choose another, or loss="squared"'
        )
    if aligns and mechanism.is_stateful:
        return (
            f'{begin}, of scores that do not depend on the weights before: choose another similarity, or loss="squared"'
        )
    return ""


def scored(mechanism: Any, backend: str = "auto") -> BoundMechanism:
    """A mechanism that gives its scores in the place of weights, 0 where the mask forbids a key."""
    return BoundMechanism(mechanism.parts()._replace(normaliser=_AsTheyAre()), backend)


def fenchel_young(normaliser: Any, S: Array, target: Array, mask: Any) -> tuple[Array, Array]:
    """(L (..., q), its gradient by S (..., q, k)) of scores and rows that sum to one, over the keys that the mask allows.

    Parameters
    ----------
    normaliser : Softmax, Sparsemax or Entmax
    S, target : arrays (..., q, k)
    mask : bool array (..., q, k), each row with one True at least
    """
    alpha = _alpha(normaliser)
    assert alpha is not None
    unit = float(getattr(normaliser, "temperature", 1.0))
    W = np.where(mask, call(normaliser, "normalise", S=np.where(mask, S, -np.inf), mask=mask), 0)
    loss = ((W - target) * np.where(mask, S, 0)).sum(axis=-1) / unit + _entropy(W, alpha) - _entropy(target, alpha)
    return np.maximum(loss, 0), (W - target) / unit


def loss_of_scores(normaliser: Any, S: Array, X: Examples, aligns: bool) -> tuple[float, Array]:
    """The mean over queries that have a target, and its gradient; `S` are scores of keys, or contexts as scores of classes."""
    mask = np.ones((1,) * S.ndim, dtype=bool)
    if aligns and X.context.M is not None:
        mask = np.asarray(X.context.M)
    mask = np.broadcast_to(mask, S.shape)
    counted = (X.alive > 0) & (X.target.sum(axis=-1, keepdims=True) > 0)
    mask = mask | ~mask.any(axis=-1, keepdims=True)
    loss, g = fenchel_young(normaliser, S, np.broadcast_to(X.target, S.shape), mask)
    n = max(1.0, float(counted.sum()))
    return float((loss * counted[..., 0]).sum()) / n, (g * (counted / n)).astype(S.dtype)


def _entropy(P: Array, alpha: float) -> Array:
    """H_alpha of rows: Shannon's for 1, else sum(p - p^alpha) / (alpha (alpha - 1))."""
    if alpha == 1:
        some = P > 0
        return np.asarray(-np.where(some, P * np.log(np.where(some, P, 1)), 0).sum(axis=-1))
    return np.asarray((P - P**alpha).sum(axis=-1) / (alpha * (alpha - 1)))
