"""Whether data have what an aligner learns from, or is scored by."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import SettingError, ShapeError, Unsupported
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.models.batches import chunks, readable, true_lengths

__all__ = ["learnable", "needed", "predicted_and_aligned"]


def learnable(model: Any, X: AlignmentData, verb: str) -> AlignmentData:
    """Examples, after checks that they have what the verb needs and that it is finite where it is read."""
    X = needed(model, X, verb)
    try:
        return readable(X, "Q", "K", *(("V", "target") if model.objective == "values" else ()))
    except ValueError as error:
        raise ValueError(f"{verb}: {error}") from None


def needed(model: Any, X: AlignmentData, verb: str) -> AlignmentData:
    array = "gold" if model.objective == "alignment" else "target"
    if model.mix == "predictions" and (model.objective == "alignment" or not (X.target is None or X.is_classification)):
        raise Unsupported(
            'mix="predictions" learns from class targets, int (n, q), with objective="values"; got '
            + ('objective="alignment"' if model.objective == "alignment" else "float targets")
        )
    if model.loss != "squared" and array == "target" and not (X.target is None or X.is_classification):
        raise Unsupported('loss="fenchel_young" learns from class targets, int (n, q), or from gold; got float targets')
    if getattr(X, array) is None:
        other = {"gold": "values", "target": "alignment"}[array]
        has = "target" if array == "gold" else "gold"
        instead = "" if getattr(X, has) is None else f'; it has {has}, to learn from with objective="{other}"'
        raise SettingError(
            f'{verb} with objective="{model.objective}" needs AlignmentData with {array}; it has none{instead}'
        )
    if array == "target" and X.is_classification and X.target is not None and X.target.size:
        low, high = int(X.target.min()), int(X.target.max())
        if low < 0 or high >= X.V.shape[2]:
            raise ShapeError(
                f"class targets must be 0..{X.V.shape[2] - 1}, one for each feature of a value (V is (n, k, v) = "
                f"{X.V.shape}); got {low}..{high}"
            )
    if array == "target" and not X.is_classification and np.asarray(X.target).shape[-1] != X.V.shape[2]:
        raise ShapeError(
            f"axis 'v' disagrees: V has {X.V.shape[2]}, target has {np.asarray(X.target).shape[-1]} "
            f"(target is (n, q, v) = {np.asarray(X.target).shape})"
        )
    if not len(X):
        raise ValueError(f"{verb} needs at least one example; got 0")
    return X


def predicted_and_aligned(model: Any, X: AlignmentData) -> tuple[Any, Any]:
    """The contexts (n, q, v) and the weights (n, q, k) of a fitted aligner, from one pass where the mechanism has one."""
    if type(model.mechanism_) is not Mechanism:
        return model.predict(X), model.align(X)
    contexts, weights = [], []
    with np.errstate(all="ignore"):
        for part in chunks(X):
            Q, K = model._placed(model.params_, part)
            Y, W = model.mechanism_.attend_and_weigh(
                model.params_["mechanism"],
                Q,
                K,
                model._values(model.params_, part),
                mask=part.mask,
                lengths=true_lengths(part),
            )
            contexts.append(Y)
            weights.append(np.broadcast_to(W, part.allowed.shape))
    return np.concatenate(contexts), np.concatenate(weights)
