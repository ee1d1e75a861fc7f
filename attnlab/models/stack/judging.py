"""How good a stack is: on validation data, as a score, and what its heads spend on gold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.metrics.layers import first_token_masses, induction_scores, solution_masses
from attnlab.models.stack.sequences import counted, labels_of

__all__ = ["agreement", "score_of", "table_by_head", "table_by_layer", "told_of"]

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


def _columns(stack: Any, X: AlignmentData, agreements: Callable[[Any, AlignmentData], Array]) -> dict[str, Array]:
    """What each head of each layer does, (layers, h), by name."""
    with np.errstate(all="ignore"):
        gold = np.full((stack.layers, stack.heads), np.nan) if X.gold is None else agreements(stack.params_, X)
    columns = {
        "gold_mass": gold,
        "induction_score": induction_scores(X, stack),
        "first_token_mass": first_token_masses(X, stack),
    }
    steps: Any = [] if X.gold_by_layer is None else solution_masses(X, stack)
    return columns | {f"solution_{i}": mass for i, mass in enumerate(steps)}


def table_by_head(stack: Any, X: AlignmentData, agreements: Callable[[Any, AlignmentData], Array]) -> Any:
    """A row for each layer and head; `agreements` gives the weight on gold, (layers, h)."""
    import pandas as pd

    columns = _columns(stack, X, agreements)
    layer, head = np.indices((stack.layers, stack.heads))
    return pd.DataFrame({"layer": layer.ravel(), "head": head.ravel()} | {n: a.ravel() for n, a in columns.items()})


def table_by_layer(stack: Any, X: AlignmentData, agreements: Callable[[Any, AlignmentData], Array]) -> Any:
    """A row for each layer: its best head, and of the weight on the first token the mean of its heads."""
    import pandas as pd

    columns = _columns(stack, X, agreements)
    best = {n: a.mean(axis=1) if n == "first_token_mass" else a.max(axis=1) for n, a in columns.items()}
    return pd.DataFrame({"layer": np.arange(stack.layers)} | best)
