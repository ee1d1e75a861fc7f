"""Layers with hand-written gradients: an embedding lookup, a linear map, and the cross entropy of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from autograd.extend import defvjp, defvjp_argnums, primitive
from autograd.tracer import getval

__all__ = ["cross_entropy", "dense", "embed"]

Array = np.ndarray[Any, Any]


@primitive
def embed(table: Array, ids: Array) -> Array:
    """The rows of a table: table (v, d), ids int (...,) -> (..., d)."""
    return table[ids]


def _summed_by_id(g: Array, ids: Array, like: Array) -> Array:
    """The gradient of the table: the sum of the rows of g for each id, in order of the ids."""
    out = np.zeros_like(like)
    flat = ids.ravel()
    if flat.size:
        order = np.argsort(flat, kind="stable")
        found, starts = np.unique(flat[order], return_index=True)
        out[found] = np.add.reduceat(g.reshape(flat.size, -1)[order], starts, axis=0)
    return out


defvjp(embed, lambda ans, table, ids: lambda g: _summed_by_id(g, ids, getval(table)), argnums=(0,))


@primitive
def dense(X: Array, W: Array, b: Any) -> Array:
    """X W + b for X (..., d), W (d, h), b (h,) or 0, as one matrix product: (..., h)."""
    out = X.reshape(-1, X.shape[-1]) @ W
    out += b
    return out.reshape(*X.shape[:-1], W.shape[1])


def _dense_vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    X, W, _ = (getval(a) for a in args)

    def back(g: Any) -> Any:
        flat = g.reshape(-1, g.shape[-1])
        of = {
            0: lambda: (flat @ W.T).reshape(X.shape),
            1: lambda: X.reshape(-1, X.shape[-1]).T @ flat,
            2: lambda: flat.sum(axis=0),
        }
        return [of[i]() for i in argnums]

    return back


defvjp_argnums(dense, _dense_vjps)


@primitive
def _cross_entropy(logits: Array, classes: Array, weights: Array, tape: dict[str, Any]) -> Any:
    E = logits - logits.max(axis=1, keepdims=True)
    chosen = E[np.arange(len(classes)), classes]
    np.exp(E, out=E)
    total = E.sum(axis=1)
    tape.update(E=E, total=total)
    return (weights * (np.log(total) - chosen)).sum()


def _cross_entropy_vjp(ans: Any, logits: Any, classes: Array, weights: Array, tape: dict[str, Any]) -> Any:
    def back(g: Any) -> Array:
        share = weights * g
        out = tape["E"] * (share / tape["total"])[:, None]
        out[np.arange(len(classes)), classes] -= share
        return out

    return back


defvjp(_cross_entropy, _cross_entropy_vjp, argnums=(0,))


def cross_entropy(logits: Any, classes: Array, weights: Array) -> Any:
    """The weighted sum of -log softmax(logits)[class]: logits (n, c), classes int (n,), weights (n,) -> nats, a scalar."""
    return _cross_entropy(logits, classes, np.asarray(weights, dtype=getval(logits).dtype), {})
