"""Context: what is the same for every verb of a call. It is checked and made once, for a whole data set if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnlab.arrays import detach, namespace, to_numpy
from attnlab.errors import ComponentError, ShapeError
from attnlab.interfaces import Mask
from attnlab.parts.masks import AllKeys
from attnlab.shapes import broadcast_leading, check_shapes

__all__ = ["Context", "context_of"]

_ALL = np.ones((1, 1), dtype=bool)
_ALL.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Context:
    """Masks, positions and whatever else a verb may ask for.

    Attributes
    ----------
    shape : tuple of int
        Of the weights, (..., q, k).
    M : bool array, broadcast to `shape` with both of its last axes whole, or None
        True = may attend; None: all may.
    alive : bool array (..., q, 1), or None
        Which queries may attend to something; None where every query may.
    given : mapping
        What a verb may ask for by name: `q_index`, `k_index`, `rng`, `training`, and, where a part asks for them, `mask`
        (in which queries that may attend to nothing are shown every key), `n_allowed` and `lengths`.
    """

    shape: tuple[int, ...]
    M: Any
    alive: Any
    given: Mapping[str, Any]

    def pick(self, rows: Any, n: int) -> Context:
        """The context of some of n examples, which are the first axis: `rows` is a slice or an array of indices."""
        rank = len(self.shape)
        if n == 1 or rank < 3 or self.shape[0] != n:
            return self

        def some(array: Any, axes: int) -> Any:
            return array[rows] if getattr(array, "ndim", 0) == axes and array.shape[0] == n else array

        size = len(range(n)[rows]) if isinstance(rows, slice) else len(rows)
        return self._changed(some, (size, *self.shape[1:]))

    def rows(self, here: slice) -> Context:
        """The context of some of the queries."""
        q = self.shape[-2]

        def some(array: Any, axes: int) -> Any:
            if axes < len(self.shape):  # positions, (..., q); lengths have no axis of queries
                return array
            return array[..., here, :] if getattr(array, "ndim", 0) >= 2 and array.shape[-2] == q > 1 else array

        shape = (*self.shape[:-2], len(range(q)[here]), self.shape[-1])
        changed = self._changed(some, shape)
        return replace(changed, given={**changed.given, "q_index": self.given["q_index"][..., here]})

    def row(self, t: int) -> Context:
        """The context of query t alone."""
        return self.rows(slice(t, t + 1))

    def heads(self) -> Context:
        """The same with an axis of heads, of size one, before the last two."""
        rank = len(self.shape)

        def up(array: Any, axes: int) -> Any:
            own = getattr(array, "ndim", 0)
            if axes == rank:
                return array[..., None, :, :] if own > 2 else array
            return array[..., None, :] if own > 1 else array

        return self._changed(up, (*self.shape[:-2], 1, *self.shape[-2:]))

    def _changed(self, change: Callable[[Any, int], Any], shape: tuple[int, ...]) -> Context:
        """Every array changed: those with the axes of the weights, and those with one axis less."""
        rank = len(self.shape)
        axes = {"mask": rank, "n_allowed": rank, "q_index": rank - 1, "k_index": rank - 1, "lengths": rank - 1}
        given = {name: change(a, axes[name]) if name in axes else a for name, a in self.given.items()}
        return Context(shape, change(self.M, rank), change(self.alive, rank), given)


def context_of(
    masks: Iterable[Any],
    Q: Any,
    K: Any,
    V: Any,
    *,
    features: str = "same",
    who: str = "mechanism",
    asks: frozenset[str] = frozenset(),
    q_index: Any = None,
    k_index: Any = None,
    lengths: Any = None,
    rng: Any = None,
    training: bool = False,
) -> Context:
    """Shapes checked, masks combined.

    Parameters
    ----------
    masks : iterable of Mask objects, boolean arrays that broadcast to (..., q, k), functions of q_index and k_index that
        give one, and None
    Q, K, V : arrays (..., q, d), (..., k, d), (..., k, v); V may be None
    features : "same", "free" or "none"
        Whether queries and keys have the same features, may have different ones, or need have any.
    who : str, what compares features, for errors
    asks : of "mask", "n_allowed" and "lengths", those that a part asks for

    Raises
    ------
    ShapeError, ComponentError, TypeError, ValueError
        Naming the array, its shape and what it should be.
    """
    for name, X in (("Q", Q), ("K", K)):
        if X.dtype.itemsize < 4:
            raise TypeError(
                f"a bound mechanism computes in the dtype of its arrays, float32 or float64; got {name} of {X.dtype}: call the "
                "mechanism, which casts, or cast it"
            )
    lead, q, k = _sizes(Q, K, V, features, who)
    q_index = np.arange(q) if q_index is None else _index("q", q_index, q)
    k_index = np.arange(k) if k_index is None else _index("k", k_index, k)
    if lengths is not None and np.shape(lengths)[-1:] != (2,):
        raise ShapeError(
            f"lengths must be (..., 2), the numbers of queries and keys of each example; got shape {np.shape(lengths)}"
        )
    here = isinstance(detach(Q), np.ndarray)  # NumPy's own arrays need no conversion
    shape, M = (*lead, q, k), None
    for one in masks:
        allowed = _allowed(one, q_index, k_index, shape)
        if allowed is None:
            continue
        if isinstance(allowed, np.ndarray):
            allowed = allowed if here else namespace(Q, K).asarray(np.array(allowed))
        else:
            namespace(Q, K, allowed)  # refuses a mixture of libraries
        M = allowed if M is None else M & allowed
    if M is not None:
        if len(M.shape) > 2:
            shape = (*broadcast_leading(("Q and K", lead), ("mask", tuple(M.shape[:-2]))), q, k)
        if V is not None and V.shape[:-2] != shape[:-2]:
            broadcast_leading(("Q, K and mask", shape[:-2]), ("V", tuple(V.shape[:-2])))
    given = {"q_index": q_index, "k_index": k_index}
    if "lengths" in asks:
        given["lengths"] = np.broadcast_to([q, k], (*lead, 2)) if lengths is None else lengths
        if isinstance(given["lengths"], (list, tuple)):
            given["lengths"] = np.asarray(given["lengths"])
    if not here:
        xp = namespace(Q, K)
        given = {name: xp.asarray(np.array(a)) if isinstance(a, np.ndarray) else a for name, a in given.items()}
    alive: Any = None
    counted: dict[str, Any] = {}
    if M is not None and 0 not in shape:
        M, alive, counted = _counted(namespace(Q, K) if not here else np, M, shape, Q.dtype, asks)
    elif "mask" in asks or "n_allowed" in asks:
        xp = namespace(Q, K)
        counted = {"mask": _ALL if here else xp.asarray(np.array(_ALL)), "n_allowed": xp.full((1, 1), k, dtype=Q.dtype)}
    return Context(shape, M, alive, {**given, **counted, "rng": rng, "training": training})


def _sizes(Q: Any, K: Any, V: Any, features: str, who: str) -> tuple[tuple[int, ...], int, int]:
    """(leading axes, queries, keys); the usual case is seen at a glance."""
    if (
        type(Q) is type(K) is np.ndarray
        and Q.ndim >= 2
        and Q.shape[:-2] == K.shape[:-2]
        and (Q.shape[-1] == K.shape[-1] > 0 or features == "none")
        and (V is None or (type(V) is np.ndarray and V.shape[:-1] == K.shape[:-1]))
    ):
        return Q.shape[:-2], Q.shape[-2], K.shape[-2]
    namespace(Q, K, V)
    dims = "d" if features == "same" else "e"
    arrays = {"Q": ("... q d", Q), "K": (f"... k {dims}", K)}
    sizes = check_shapes(**arrays) if V is None else check_shapes(**arrays, V=("... k v", V))
    if 0 in (Q.shape[-1], K.shape[-1]) and features != "none":
        raise ShapeError(
            f"the {who} compares features, and there are none: Q is (..., q, d) = {tuple(Q.shape)}, "
            f"K is (..., k, {dims}) = {tuple(K.shape)}"
        )
    lead = broadcast_leading(("Q", tuple(Q.shape[:-2])), ("K", tuple(K.shape[:-2])))
    return lead, sizes["q"], sizes["k"]


def _counted(
    xp: Any, M: Any, shape: tuple[int, ...], dtype: Any, asks: frozenset[str]
) -> tuple[Any, Any, dict[str, Any]]:
    """The mask with its last axes whole, which queries are alive, and what parts are shown of both."""
    if M.shape[-2:] != shape[-2:]:
        M = xp.broadcast_to(M, (*M.shape[:-2], *shape[-2:]))
    alive = xp.any(M, axis=-1, keepdims=True)
    all_alive = _concrete(alive) and bool(xp.all(alive))
    counted = {}
    if "mask" in asks or "n_allowed" in asks:
        shown = M if all_alive else M | ~alive
        counted = {"mask": shown, "n_allowed": xp.sum(namespace(M).astype(shown, dtype), axis=-1, keepdims=True)}
    return M, None if all_alive else alive, counted


def _concrete(array: Any) -> bool:
    """Whether its numbers can be asked for: those of JAX's arrays cannot, while they are traced."""
    return not type(array).__module__.startswith("jax")


def _index(letter: str, index: Any, size: int) -> Any:
    index = to_numpy(index)
    if index.shape[-1:] != (size,):
        raise ShapeError(f"{letter}_index must end in axis {letter!r} = {size}; got shape {index.shape}")
    if index.size and (index.dtype.kind not in "iu" or index.min() < 0):
        raise ValueError(f"{letter}_index must hold positions, integers from 0; got {index.dtype} {index.tolist()!r}")
    return index.astype(np.intp)


def _allowed(mask: Any, q_index: Any, k_index: Any, shape: tuple[int, ...]) -> Any:
    """One mask as a boolean array that broadcasts to `shape` with its own leading axes, or None when it allows all."""
    if mask is None or isinstance(mask, AllKeys):
        return None
    if isinstance(mask, Mask):
        n_queries, n_keys = (int(i.max()) + 1 if i.size else 0 for i in (q_index, k_index))
        array = np.asarray(mask.allow(n_queries, n_keys))
        if array.dtype != bool or array.shape != (n_queries, n_keys):
            raise ComponentError(
                f"{type(mask).__name__}.allow({n_queries}, {n_keys}) must return bool (q, k) = ({n_queries}, {n_keys}); "
                f"got {array.dtype} {array.shape}"
            )
        return array[q_index[..., :, None], k_index[..., None, :]]
    if callable(mask) and (mask := mask(q_index, k_index)) is None:
        return None
    array = mask if hasattr(mask, "dtype") else np.asarray(mask)
    if "bool" not in str(array.dtype):
        raise TypeError(
            f"mask must be boolean, True = may attend; got dtype {array.dtype}. Numbers to add to the scores are the "
            f"modifier 'bias': modifier={{'bias': {{'array': ...}}}}"
        )
    q, k = shape[-2:]
    if array.ndim < 2:
        array = array[None, :] if array.ndim else array[None, None]
    if array.shape[-2] not in (1, q) or array.shape[-1] not in (1, k):
        raise ShapeError(f"mask {tuple(array.shape)} does not broadcast to (..., q, k) = (..., {q}, {k})")
    return array
