"""What the heads of all layers do, whether a place counts or not. A model of one layer, or of vectors, has none of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from attnlab.data import PADDING, AlignmentData
from attnlab.interfaces import Metric, Source

__all__ = [
    "FirstTokenMass",
    "InductionScore",
    "SolutionMass",
    "first_token_masses",
    "induction_scores",
    "of_weights",
    "solution_masses",
]

Array = np.ndarray[Any, Any]
CHUNK = 2**20  # weights of one head that are looked at together


def _in_parts(data: AlignmentData, model: Any) -> Iterator[tuple[AlignmentData, Array]]:
    """Some of the sequences at a time, with all weights (n, layers, h, L, L)."""
    size = max(1, CHUNK // max(1, data.n_queries**2))
    for start in range(0, len(data), size):
        part = data[start : start + size]
        yield part, np.asarray(model.by_layer_and_head(part), dtype=np.float64)


def _mean(data: AlignmentData, model: Any, place_of: Any) -> Array:
    """Of each layer and head the mean weight on one place: place_of(ids) -> int (n, L), -1 where a place is left out."""
    total: Any = 0.0
    places = 0
    for part, W in _in_parts(data, model):
        place = place_of(np.asarray(part.ids))
        n, i = np.nonzero(place >= 0)
        total = total + W[n, :, :, i, place[n, i]].sum(axis=0)
        places += len(n)
    return np.asarray(total / places if places else np.full(W.shape[1:3], np.nan))


def _after_the_same_token(ids: Array) -> Array:
    """The place after the last place before with the same token, where that lies before the present place."""
    length = ids.shape[1]
    same = (ids[:, :, None] == ids[:, None, :]) & np.tri(length, k=-1, dtype=bool) & (ids != PADDING)[:, :, None]
    last = length - 1 - same[:, :, ::-1].argmax(axis=-1)
    there = same.any(axis=-1) & (last + 1 < np.arange(length))
    return np.where(there, last + 1, -1)


def _the_first(ids: Array) -> Array:
    return np.where((ids != PADDING) & (np.arange(ids.shape[1]) > 0), 0, -1)


def induction_scores(data: AlignmentData, model: Any) -> Array:
    """Of each layer and head, (layers, h): the mean weight on the place after the last place with the same token."""
    return _mean(data, model, _after_the_same_token)


def first_token_masses(data: AlignmentData, model: Any) -> Array:
    """Of each layer and head, (layers, h): the mean weight of the places after the first on the first place."""
    return _mean(data, model, _the_first)


def solution_masses(data: AlignmentData, model: Any) -> Array:
    """Of each step of the known solution, layer and head, (s, layers, h): the mean weight on what the step attends to.

    It is the mean over the places of which `gold_by_layer` says something.
    """
    total: Any = 0.0
    places: Any = 0
    for part, W in _in_parts(data, model):
        links = np.asarray(part.gold_by_layer) > 0
        total = total + np.einsum("nlhqk,nsqk->slh", W, links.astype(W.dtype), optimize=True)
        places = places + links.any(axis=-1).sum(axis=(0, 2))
    with np.errstate(invalid="ignore"):
        return np.asarray(total / places[:, None, None])


def of_weights(data: AlignmentData, found: Sequence[Array]) -> dict[str, Array]:
    """What the heads do whose weights are given, by layer, each (n, h, L, L).

    Returns
    -------
    dict of (layers, h): "induction_score", "first_token_mass", and "solution_0", "solution_1", .. for each step of a known solution
    """
    ids = np.asarray(data.ids)

    def on(place: Array) -> Array:
        n, i = np.nonzero(place >= 0)
        if not len(n):
            return np.full((len(found), found[0].shape[1]), np.nan)
        return np.stack([W[n, :, i, place[n, i]].mean(axis=0, dtype=np.float64) for W in found])

    columns = {"induction_score": on(_after_the_same_token(ids)), "first_token_mass": on(_the_first(ids))}
    if data.gold_by_layer is not None:
        for step, links in enumerate(np.moveaxis(np.asarray(data.gold_by_layer) > 0, 1, 0)):
            asked = links.any(axis=-1)
            on_links = [np.einsum("nhqk,nqk->hnq", W, links.astype(W.dtype))[:, asked] for W in found]
            with np.errstate(invalid="ignore"):
                columns[f"solution_{step}"] = np.stack(
                    [a.sum(axis=1, dtype=np.float64) / asked.sum() for a in on_links]
                )
    return columns


class InductionScore(Metric):
    """How much the best head looks at what followed the present token before.

        max over layers and heads of the mean over places i of w_{i, j + 1},   j = the last place before i with x_j = x_i,

    over the places i with such a j, and j + 1 < i. For models that show the weights of all heads (`by_layer_and_head`), on
    sequences with `ids`; NaN for others, and where no token comes again. Range 0 to 1, for weights that are shares; no direction: it
    says how a task is solved.

    References
    ----------
    Olsson et al. (2022), In-context learning and induction heads, on the score of prefix matching.

    Examples
    --------
    >>> data = AlignmentData.of_sequences([[5, 7, 5]])
    >>> class Fitted:
    ...     def by_layer_and_head(self, X):
    ...         return np.array([[[[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.1, 0.7, 0.2]]]]])
    >>> InductionScore().measure(data, Fitted())
    0.7
    """

    name = "induction_score"
    source = Source("In-context Learning and Induction Heads", "C. Olsson et al.", 2022, "arXiv:2209.11895")
    direction = None

    def applies(self, data: AlignmentData) -> bool:
        return data.ids is not None

    def measure(self, data: AlignmentData, model: Any) -> float:
        if not hasattr(model, "by_layer_and_head"):
            return float("nan")
        return float(induction_scores(data, model).max())


class FirstTokenMass(Metric):
    """How much of the weight of a layer lies on the first token, in the layer where it is most.

        max over layers of the mean over heads, and over places i > 1, of w_{i, 1}

    For models that show the weights of all heads (`by_layer_and_head`), on sequences with `ids`; NaN for others. Range 0 to 1, for
    weights that are shares; no direction. Even weights give the mean of 1/i over the places.

    References
    ----------
    Xiao et al. (2023), Efficient streaming language models with attention sinks.

    Examples
    --------
    >>> data = AlignmentData.of_sequences([[5, 7]])
    >>> class Fitted:
    ...     def by_layer_and_head(self, X):
    ...         return np.array([[[[[1.0, 0.0], [0.75, 0.25]]]]])
    >>> FirstTokenMass().measure(data, Fitted())
    0.75
    """

    name = "first_token_mass"
    source = Source(
        "Efficient Streaming Language Models with Attention Sinks", "G. Xiao et al.", 2023, "arXiv:2309.17453"
    )
    direction = None

    def applies(self, data: AlignmentData) -> bool:
        return data.ids is not None

    def measure(self, data: AlignmentData, model: Any) -> float:
        if not hasattr(model, "by_layer_and_head"):
            return float("nan")
        return float(first_token_masses(data, model).mean(axis=1).max())


class SolutionMass(Metric):
    """How much the layers attend as a known solution does, at the step where they do it least.

        max over layers l_1 < .. < l_s of min over steps t of max over heads of the mean over places i of sum_j w_{i, j}

    where w is of layer l_t, and j is among what step t of the solution attends to from i (`gold_by_layer`); places from which it attends
    to nothing do not count. For models that show the weights of all heads (`by_layer_and_head`); NaN for others, and for models of fewer
    layers than the solution has steps. Range 0 to 1, for weights that are shares; no direction: a task may be solved in
    another way.

    References
    ----------
    Defined here. Olsson et al. (2022), In-context learning and induction heads, look at heads for the token before in this way.

    Examples
    --------
    >>> by_layer = [[[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0], [0, 1, 0]]]]
    >>> data = AlignmentData.of_sequences([[5, 7, 5]], gold_by_layer=by_layer)
    >>> class Fitted:
    ...     def by_layer_and_head(self, X):
    ...         before, after = [[1, 0, 0], [0.8, 0.2, 0], [0, 0.6, 0.4]], [[1, 0, 0], [0, 1, 0], [0, 0.9, 0.1]]
    ...         return np.array([[[before], [after]]])
    >>> SolutionMass().measure(data, Fitted())
    0.7
    """

    name = "solution_mass"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
    direction = None

    def applies(self, data: AlignmentData) -> bool:
        return data.ids is not None and data.gold_by_layer is not None

    def measure(self, data: AlignmentData, model: Any) -> float:
        if not hasattr(model, "by_layer_and_head"):
            return float("nan")
        found = solution_masses(data, model).max(axis=2)  # (s, layers)
        steps = np.arange(len(found))
        orders = combinations(range(found.shape[1]), len(found))
        return max((float(found[steps, list(layers)].min()) for layers in orders), default=float("nan"))
