"""How good a stack is: on validation data, as a score, and what its heads spend on gold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.metrics.layers import of_weights
from attnlab.models.stack.sequences import counted, labels_of

__all__ = ["agreement", "score_of", "table_by_head", "table_by_layer", "told_of", "what_layers_do"]

Array = np.ndarray[Any, Any]


def told_of(parts: Iterable[tuple[AlignmentData, Array]]) -> dict[str, float]:
    """The loss over sequences and what is said of them, some at a time, and of classes the accuracy."""
    loss = right = places = 0.0
    classes = True
    for part, said in parts:
        labels, counts = labels_of(part), counted(part)
        said, labels = said[counts], labels[counts]
        classes = part.is_classification
        places += len(labels)
        if not classes:
            loss += float(((said - labels) ** 2).mean(axis=-1).sum(dtype=np.float64))
            continue
        top = said.max(axis=-1)
        chosen = said[np.arange(len(labels)), labels]
        loss += float((top + np.log(np.exp(said - top[:, None]).sum(axis=-1)) - chosen).sum(dtype=np.float64))
        right += float((said.argmax(axis=-1) == labels).sum())
    return {"loss": loss / places} | ({"accuracy": right / places} if classes else {})


def score_of(said: Array, X: AlignmentData) -> float:
    """The share of places that count whose class is right, or 1 - (mean squared error) / (variance of the targets)."""
    target, said = np.asarray(X.target)[counted(X)], said[counted(X)]
    if X.is_classification:
        return float((said.argmax(axis=-1) == target).mean())
    error, spread = (float((away**2).mean()) for away in (said - target, target - target.mean(axis=0)))
    return 1 - error / spread if spread > 0 else float(error == 0)


def agreement(W: Array, X: AlignmentData) -> Array:
    """How much of its weight a head spends on gold: W (n, h, L, L) -> (h,), the mean over places that count and have gold."""
    gold = np.asarray(X.gold) > 0
    asked = counted(X) & gold.any(axis=-1)
    if not asked.any():
        return np.full(W.shape[1], np.nan)
    on_gold = np.einsum("nhqk,nqk->nhq", W, gold.astype(W.dtype))
    return np.asarray(on_gold.transpose(1, 0, 2)[:, asked].mean(axis=-1))


def what_heads_do(found: Sequence[Array], X: AlignmentData) -> dict[str, Array]:
    """What each head of each layer does, (layers, h), by name; `found` are the weights by layer, each (n, h, L, L)."""
    gold = [np.full(W.shape[1], np.nan) if X.gold is None else agreement(W, X) for W in found]
    return {"gold_mass": np.stack(gold), **of_weights(X, found)}


def what_layers_do(found: Sequence[Array], X: AlignmentData) -> dict[str, Array]:
    """What each layer does, (layers,), by name: its best head, and of the weight on the first token the mean of its heads."""
    columns = what_heads_do(found, X)
    return {n: a.mean(axis=1) if n == "first_token_mass" else a.max(axis=1) for n, a in columns.items()}


def table_by_head(found: Sequence[Array], X: AlignmentData) -> Any:
    """`what_heads_do` as a table, a row for each layer and head."""
    import pandas as pd

    columns = what_heads_do(found, X)
    layer, head = np.indices(columns["gold_mass"].shape)
    return pd.DataFrame({"layer": layer.ravel(), "head": head.ravel()} | {n: a.ravel() for n, a in columns.items()})


def table_by_layer(found: Sequence[Array], X: AlignmentData) -> Any:
    """`what_layers_do` as a table, a row for each layer."""
    import pandas as pd

    return pd.DataFrame({"layer": np.arange(len(found))} | what_layers_do(found, X))
