"""A whole step of training in one compiled call, for mechanisms of the usual parts: the loss of a batch and its gradient.

It stands for the kernels of the three parts, one after another, and for the learned projections around them. Products of
learned maps are taken first where that saves work: with projections Wq and Wk the scores of `dot` are Q (Wq Wk') K', so that
only one map is applied to the examples, and only one has a gradient that is summed over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.kernels.normalisers import compiled
from attnlab.mechanisms.bound import BoundMechanism
from attnlab.plugins import BUILTIN

__all__ = ["STEP", "whole_step"]

Array = np.ndarray[Any, Any]
Gradient = Callable[[Array], tuple[float, int]]  # the rows of a batch -> the sum of squares, and how many rows are odd

STEP = f"{BUILTIN}:whole_step"  # how a run names it
VERBS = {"score", "mask", "normalise", "strike", "aggregate"}
PAIRS = 2**18  # queries times keys of an example; more go through in blocks
HIDDEN = 2**20  # numbers (q, k, h) of an example
SPARED = 1.5  # one map for two is used if it takes at most so many times the operations
KERNELS = {  # by name, so that the code of one part is not behind the runs of another
    "dot": "dot_product",
    "scaled_dot": "scaled_dot_product",
    "general": "general_product",
    "cosine": "cosine_product",
    "additive": "additive_loops",
    "softmax": "softmax_rows",
    "sparsemax": "sparsemax_rows",
    "entmax": "entmax_rows",
    "weighted_sum": "weighted_sum_product",
}


def whole_step(
    bound: Any, params: Any, gradients: Any, X: Any, aligns: bool, family: Any = None
) -> Callable[[Array], float | None] | None:
    """A function of the rows of a batch that returns its loss and writes the gradient; None where there is no such kernel.

    The function returns None for a batch in which a score is not finite, or a vector has no length: the parts then compute it.

    Parameters
    ----------
    bound : a bound mechanism
    params, gradients : {"mechanism": ..., "projection": {} or {"Wq", "Wk"}, "readout": {}}
        Arrays that the function reads anew, and writes into, at each call.
    X : the examples: Q (n, q, d), K (n, k, e), V (n, k, v), target (n, q, v) or (n, q, k), alive (n, q, 1), context
    aligns : bool
        Whether `target` holds weights instead of contexts.
    family : Normaliser or None
        The normaliser whose own loss is minimised; None is the squared error.
    """
    loops = None if family is not None else _loops(bound, params, X)
    if loops is None:
        return None
    batch = _batch(loops, bound, X, aligns)
    make = {"cosine": _cosine, "additive": _additive}.get(bound.parts.similarity.name, _product)
    size = 1 if aligns else X.target.shape[-1]
    alive = None if X.context.all_alive else X.alive[..., 0].sum(axis=-1)
    factor = [X.Q.dtype.type(0)]
    gradient: Gradient | None = make(loops, bound.parts.similarity, params, gradients, batch, factor)
    if gradient is None:
        return None
    found, one, q = gradient, X.Q.dtype.type, X.Q.shape[1]

    def step(rows: Array) -> float | None:
        n = len(rows) * q * size if alive is None else max(1.0, float(alive.take(rows).sum())) * size
        factor[0] = one(2 / n)
        squares, odd = found(rows)
        return None if odd else squares / n

    return step


def _loops(bound: Any, params: Any, X: Any) -> Any:
    """The compiled loops, if they compute this mechanism on these examples; else None."""
    if type(bound) is not BoundMechanism or compiled() is None or params.get("readout"):
        return None
    context, parts, arrays = X.context, bound.parts, (X.Q, X.K, X.V, X.target)
    if bound.stateful or context.later is not None or context.content is not None or 0 in context.shape:
        return None
    if any(type(a) is not np.ndarray or a.ndim != 3 or a.dtype != X.Q.dtype for a in arrays):
        return None
    if X.Q.dtype not in (np.float32, np.float64):
        return None
    if context.shape != (len(X.Q), X.Q.shape[1], X.K.shape[1]) or math.prod(context.shape[1:]) > PAIRS:
        return None
    three = (parts.similarity, parts.normaliser, parts.aggregator)
    if {step.verb for step in bound.program.steps} - VERBS or any(part.name not in KERNELS for part in three):
        return None
    answers = bound.kernels(X.Q.dtype)
    for role, part in zip(("similarity.score", "normaliser.normalise", "aggregator.aggregate"), three, strict=True):
        if answers.get(role) != f"{BUILTIN}:{KERNELS[part.name]}":  # it answers for the part of this name alone
            return None
    if parts.normaliser.name == "entmax" and getattr(parts.normaliser, "alpha", None) != 1.5:
        return None
    from attnlab.kernels import compiled_steps

    return compiled_steps


def _batch(loops: Any, bound: Any, X: Any, aligns: bool) -> Any:
    normaliser, context, n, q = bound.parts.normaliser, X.context, len(X.Q), X.Q.shape[1]
    M, alive, dtype = context.M, np.ones((1, q), X.Q.dtype), X.Q.dtype
    if M is not None:
        M = M.reshape((1,) * (3 - M.ndim) + M.shape)
        alive = np.broadcast_to(X.alive[..., 0], (n, q))
    which = {"softmax": loops.SOFTMAX, "sparsemax": loops.SPARSEMAX, "entmax": loops.ENTMAX15}[normaliser.name]
    return loops.Batch(
        *(_fixed(a) for a in (X.Q, X.K, X.V, X.target)),
        _fixed(np.ones((1, 1, 1), bool) if M is None else M),
        _fixed(alive),
        M is not None,
        aligns,
        which,
        dtype.type(1 / getattr(normaliser, "temperature", 1)),
    )


def _fixed(array: Array) -> Array:
    """A read-only contiguous view or copy: loops are compiled once, for such arrays, whether the data may be written or not."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


# --------------------------------------------------------------------------------------------------------------------
# the maps
# --------------------------------------------------------------------------------------------------------------------
def _product(
    loops: Any, similarity: Any, params: Any, gradients: Any, batch: Any, factor: list[Any]
) -> Gradient | None:
    """`dot`, `scaled_dot` and `general`: scores are products of Q F K', F = Wq W Wk' times the scale."""
    own, slopes = params["projection"], gradients["projection"]
    inner, inner_slopes = params["mechanism"]["similarity"], gradients["mechanism"]["similarity"]
    if not own and not inner:
        return None
    (q, d), (k, e) = batch.Q.shape[1:], batch.K.shape[1:]
    dtype, W, dW = batch.Q.dtype, inner.get("W"), inner_slopes.get("W")
    if own:
        w, u = own["Wq"].shape[1], own["Wk"].shape[1]
        apart = 2 * q * d * w + 2 * k * e * u + 3 * q * k * u + (0 if W is None else 3 * q * w * u)
        if 2 * q * d * e + 2 * q * k * e > SPARED * apart:
            return None
        scale = dtype.type(w**-0.5 if similarity.name == "scaled_dot" else 1)
        Wq, Wk, dWq, dWk = own["Wq"], own["Wk"], slopes["Wq"], slopes["Wk"]
        F, dF, left, dleft = (np.empty(shape, dtype) for shape in ((d, e), (d, e), (d, u), (d, u)))

        def projected(rows: Array) -> tuple[float, int]:
            if W is None:
                np.multiply(Wq, scale, out=left)
            else:
                np.dot(Wq, W, out=left)
            np.dot(left, Wk.T, out=F)
            found: tuple[float, int] = loops.product_step(rows, batch, factor[0], F, dF)
            np.dot(dF.T, left, out=dWk)
            if W is None:
                np.dot(dF, Wk, out=dWq)
                np.multiply(dWq, scale, out=dWq)
            else:
                np.dot(dF, Wk, out=dleft)
                np.dot(Wq.T, dleft, out=dW)
                np.dot(dleft, W.T, out=dWq)
            return found

        return projected
    return lambda rows: loops.product_step(rows, batch, factor[0], W, dW)


def _cosine(loops: Any, similarity: Any, params: Any, gradients: Any, batch: Any, factor: list[Any]) -> Gradient | None:
    """`cosine` of projected queries and keys."""
    own, slopes = params["projection"], gradients["projection"]
    if not own:
        return None
    dtype = batch.Q.dtype
    log_temperature = params["mechanism"]["similarity"].get("log_temperature")
    slope = gradients["mechanism"]["similarity"].get("log_temperature")
    fixed = None if log_temperature is not None else dtype.type(1 / float(similarity.temperature))
    least = dtype.type(np.finfo(dtype).tiny / np.finfo(dtype).eps)
    A, B, dA, dB = own["Wq"], own["Wk"], slopes["Wq"], slopes["Wk"]

    def gradient(rows: Array) -> tuple[float, int]:
        sharp = fixed if log_temperature is None else np.exp(-log_temperature)
        squares, odd, steep = loops.cosine_step(rows, batch, factor[0], sharp, least, A, B, dA, dB)
        if slope is not None:
            slope[...] = -steep
        return squares, odd

    return gradient


def _additive(loops: Any, _: Any, params: Any, gradients: Any, batch: Any, factor: list[Any]) -> Gradient | None:
    """`additive`; its own maps of queries and keys take the projections up."""
    own, slopes = params["projection"], gradients["projection"]
    inner, inner_slopes = params["mechanism"]["similarity"], gradients["mechanism"]["similarity"]
    W, Z, b, v = (inner[name] for name in ("Wq", "Wk", "b", "v"))
    dW, dZ, db, dv = (inner_slopes[name] for name in ("Wq", "Wk", "b", "v"))
    if batch.Q.shape[1] * batch.K.shape[1] * len(v) > HIDDEN:
        return None
    if not own:
        return lambda rows: loops.additive_step(rows, batch, factor[0], W, Z, b, v, dW, dZ, db, dv)
    Wq, Wk, dWq, dWk = own["Wq"], own["Wk"], slopes["Wq"], slopes["Wk"]
    A, dA, B, dB = (np.empty((len(P), len(v)), v.dtype) for P in (Wq, Wq, Wk, Wk))

    def projected(rows: Array) -> tuple[float, int]:
        np.dot(Wq, W, out=A)
        np.dot(Wk, Z, out=B)
        found: tuple[float, int] = loops.additive_step(rows, batch, factor[0], A, B, b, v, dA, dB, db, dv)
        np.dot(Wq.T, dA, out=dW)
        np.dot(Wk.T, dB, out=dZ)
        np.dot(dA, W.T, out=dWq)
        np.dot(dB, Z.T, out=dWk)
        return found

    return projected
