"""Heads: queries, keys and values that are projected and split, and contexts that are joined again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnlab.arrays import detach, namespace
from attnlab.errors import NotInitialised, Unsupported
from attnlab.interfaces import MechanismComponent

__all__ = [
    "grouped",
    "head_of",
    "in_heads",
    "operations_of",
    "out_of_heads",
    "own_of",
    "readable",
    "refused",
    "with_features",
]


def operations_of(mechanism: Any, *dims: int) -> float:
    """Operations of a mechanism for one query; NaN where the mechanism does not declare them."""
    return float(mechanism.operations(*dims)) if hasattr(mechanism, "operations") else float("nan")


def own_of(mechanism: MechanismComponent, params: Any) -> Any:
    """The params, or an error where there are none."""
    if not isinstance(params, Mapping):
        raise NotInitialised(
            f"the mechanism {mechanism.name!r} has arrays to learn: params = mechanism.init(rng, d_query, d_key, d_value)"
        )
    return params


def in_heads(X: Any, W: Any, heads: int) -> Any:
    """Projected vectors, (..., heads, n, e)."""
    xp = namespace(X, W)
    P = xp.matmul(X, W)
    P = xp.reshape(P, (*P.shape[:-1], heads, P.shape[-1] // heads))
    return xp.permute_dims(P, (*range(P.ndim - 3), P.ndim - 2, P.ndim - 3, P.ndim - 1))


def grouped(heads: int, kv: int, split: list[Any]) -> list[Any]:
    """Queries (..., heads, q, e). Groups of heads share keys and values, which are repeated for each head."""
    if heads == kv:
        return split
    index = np.repeat(np.arange(kv), heads // kv)
    return [split[0], *(namespace(X).take(X, namespace(X).asarray(index), axis=X.ndim - 3) for X in split[1:])]


def head_of(i: int, kv: int, split: list[Any]) -> list[Any]:
    """Head i's queries, keys and values, (..., n, e)."""
    group = split[0].shape[-3] // kv
    return [split[0][..., i, :, :], *(X[..., i // group, :, :] for X in split[1:])]


def out_of_heads(Y: Any) -> Any:
    """(..., heads, q, e) -> (..., q, heads e)."""
    xp = namespace(Y)
    Y = xp.permute_dims(Y, (*range(Y.ndim - 3), Y.ndim - 2, Y.ndim - 3, Y.ndim - 1))
    return xp.reshape(Y, (*Y.shape[:-2], Y.shape[-2] * Y.shape[-1]))


def readable(X: Any, M: Any) -> Any:
    """Keys or values (..., k, n), with zeros for those that no query may attend to, which may hold anything."""
    if M is None:
        return X
    xp = namespace(X)
    return xp.where(xp.any(M, axis=-2)[..., None], X, xp.zeros_like(detach(X)))


def with_features(name: str, mechanisms: Any) -> Any:
    """The mechanisms, unless the contexts of one have a feature for each key instead of one for each feature of a value.

    Raises
    ------
    Unsupported
    """
    for one in mechanisms if isinstance(mechanisms, (list, tuple)) else [mechanisms]:
        if getattr(one, "over_keys", False):
            raise Unsupported(
                f"{name} joins heads whose contexts have the features of values; the aggregator of {one.name!r} gives one feature "
                "for each key: choose another aggregator"
            )
    return mechanisms


def refused(made: Callable[[], Any]) -> str:
    """Why something cannot be made, in the words of the `Unsupported` that it raises; empty where it can."""
    try:
        made()
    except Unsupported as error:
        return str(error)
    return ""
