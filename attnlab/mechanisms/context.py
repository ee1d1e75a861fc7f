"""Context: what all verbs of a call share. It is checked and made once, for a whole data set if need be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from attnlab.arrays import detach, namespace, to_numpy
from attnlab.errors import ShapeError
from attnlab.libraries import constant
from attnlab.mechanisms.allowed import allowed_by, by_content, is_rule, of_content, of_mask
from attnlab.mechanisms.blocks import ALL, cut, slices
from attnlab.shapes import broadcast_leading, check_shapes

__all__ = ["Context", "context_of"]

_ALL = np.ones((1, 1), dtype=bool)
_ALL.setflags(write=False)

LARGE = 2**22  # queries times keys: above it, masks that are rules about positions are made block by block


class Later(NamedTuple):
    """Masks that are not made yet, and what else must be made with them."""

    rules: tuple[Any, ...]
    asks: frozenset[str]  # the names among "mask" and "n_allowed" that a part asks for
    dtype: Any  # of counts


class Content(NamedTuple):
    """Masks that look at the queries and keys of a call."""

    masks: tuple[Any, ...]
    asks: frozenset[str]  # the names among "mask" and "n_allowed" that a part asks for


@dataclass(frozen=True, slots=True)
class Context:
    """Masks, positions and everything else that a verb may ask for.

    Attributes
    ----------
    shape : tuple of int
        The shape of the weights, (..., q, k).
    M : bool array, broadcast to `shape` with both of its last axes whole, or None
        True = may attend; None: all may.
    alive : bool array (..., q, 1), or None
        Which queries may attend to something; None where every query may.
    given : mapping
        What a verb may ask for by name: `q_index`, `k_index`, `rng`, `training`, and, where a part asks for them, `mask`
        (in which queries that may attend to nothing are shown every key), `n_allowed` and `lengths`.
    later : Later or None
        Masks that are not in M yet. `alive`, `mask` and `n_allowed` are then missing too. `whole` and `cut` add them.
    content : Content or None
        Masks that depend on what queries and keys hold. `chosen` adds them.
    """

    shape: tuple[int, ...]
    M: Any
    alive: Any
    given: Mapping[str, Any]
    later: Later | None = None
    content: Content | None = None

    @property
    def forbids(self) -> bool:
        """Whether there is a mask at all."""
        return self.M is not None or self.later is not None or self.content is not None

    @property
    def all_alive(self) -> bool:
        """Whether it is known that every query may attend to something."""
        return self.alive is None and self.later is None and self.content is None

    def pick(self, rows: Any, n: int) -> Context:
        """The context of some of the n examples on the first axis; `rows` is a slice or an array of indices."""
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
        """The same context with an axis of heads, of size one, before the last two axes."""
        rank = len(self.shape)

        def up(array: Any, axes: int) -> Any:
            own = getattr(array, "ndim", 0)
            if axes == rank:
                return array[..., None, :, :] if own > 2 else array
            return array[..., None, :] if own > 1 else array

        return self._changed(up, (*self.shape[:-2], 1, *self.shape[-2:]))

    def _changed(self, change: Callable[[Any, int], Any], shape: tuple[int, ...]) -> Context:
        """A context with every array changed: those with the axes of the weights, and those with one axis fewer."""
        rank = len(self.shape)
        axes = {"mask": rank, "n_allowed": rank, "q_index": rank - 1, "k_index": rank - 1, "lengths": rank - 1}
        given = {name: change(a, axes[name]) if name in axes else a for name, a in self.given.items()}
        return Context(shape, change(self.M, rank), change(self.alive, rank), given, self.later, self.content)

    # -- blocks -------------------------------------------------------------------------------------------------------
    def allowed(self, lead: tuple[slice, ...] | None, rows: slice, keys: slice = ALL) -> Any:
        """The mask of a block of queries and keys, or None where there is no mask.

        Parameters
        ----------
        lead : slices of the leading axes of the call; None for all
        rows, keys : slice
        """
        tails = {"M": (rows, keys), "q_index": (rows,), "k_index": (keys,)}
        M, q_index, k_index = self.M, self.given["q_index"], self.given["k_index"]
        M = None if M is None else _cut(M, lead, *tails["M"])
        if self.later is not None:
            q_index, k_index = _cut(q_index, lead, rows), _cut(k_index, lead, keys)
            for rule in self.later.rules:
                one = of_mask(rule, q_index, k_index)
                M = one if M is None else M & one
        return M

    def cut(self, lead: tuple[slice, ...] | None, rows: slice, keys: slice = ALL) -> Context:
        """The context of a block; if the block lacks some keys, it has no `alive`, `mask` and `n_allowed`."""
        q, k = len(range(self.shape[-2])[rows]), len(range(self.shape[-1])[keys])
        own = len(self.shape) - 2
        cuts = () if not own else (ALL,) * own if lead is None else lead[len(lead) - own :]
        front = (n if n == 1 else len(range(n)[here]) for n, here in zip(self.shape[:-2], cuts, strict=True))
        shape, tails = (*front, q, k), {"q_index": (rows,), "k_index": (keys,), "lengths": (ALL,)}
        given = {name: _cut(a, lead, *tails[name]) if name in tails else a for name, a in self.given.items()}
        M = self.allowed(lead, rows, keys)
        if k < self.shape[-1]:
            given = {name: a for name, a in given.items() if name not in ("mask", "n_allowed")}
            return Context(shape, None if M is None else np.broadcast_to(M, (*M.shape[:-2], q, k)), None, given)
        if self.later is not None:
            M, alive, counted = _counted(np, M, shape, self.later.dtype, self.later.asks)
            return Context(shape, M, alive, {**given, **counted}, content=self.content)
        for name in ("mask", "n_allowed"):
            if name in given:
                given[name] = _cut(given[name], lead, rows, ALL)
        alive = None if self.alive is None else _cut(self.alive, lead, rows, ALL)
        return Context(shape, M, alive, given, content=self.content)

    def chosen(self, Q: Any, K: Any) -> Context:
        """The same context with the masks made that look at queries (..., q, d) and keys (..., k, d)."""
        if self.content is None or 0 in self.shape:
            return self
        now, Q, K = self.whole(), detach(Q), detach(K)
        q_index, k_index = to_numpy(self.given["q_index"]), to_numpy(self.given["k_index"])
        M = now.M
        for mask in self.content.masks:
            one = of_content(mask, Q, K, now.M, q_index, k_index)
            M = one if M is None else M & one
        shape = (*np.broadcast_shapes(self.shape[:-2], tuple(M.shape[:-2])), *self.shape[-2:])
        xp = np if isinstance(M, np.ndarray) else namespace(M)
        M, alive, counted = _counted(xp, M, shape, Q.dtype, self.content.asks)
        return Context(shape, M, alive, {**now.given, **counted})

    def whole(self) -> Context:
        """The same context with all masks made."""
        return self if self.later is None else self.cut(None, ALL)

    def in_rows(self) -> Iterator[tuple[slice, Any]]:
        """(some queries, their mask over all keys), a few queries at a time; once, with ALL, if it is made already."""
        if self.later is None:
            yield ALL, self.M
            return
        lead = math.prod(np.broadcast_shapes(self.shape[:-2], self.given["q_index"].shape[:-1]))
        for rows in slices(self.shape[-2], max(1, LARGE // max(1, self.shape[-1] * lead))):
            yield rows, self.allowed(None, rows)

    def readers(self) -> tuple[Any, Any]:
        """Which queries may attend to something, (..., q, 1), and which keys somebody may attend to, (..., k, 1)."""
        alive, read = [], None
        for _, M in self.in_rows():
            xp = namespace(M)
            alive.append(xp.any(M, axis=-1, keepdims=True))
            here = xp.any(M, axis=-2)[..., None]
            read = here if read is None else read | here
        return (alive[0] if len(alive) == 1 else np.concatenate(alive, axis=-2)), read

    def reaching(self, spoilt: Any) -> Any:
        """Which queries may attend to a key that is marked in `spoilt` (..., k), as (..., q, 1)."""
        found = []
        for _, M in self.in_rows():
            xp = namespace(M)
            q = M.shape[-2]
            seen = xp.broadcast_to(M, (*M.shape[:-2], q, self.shape[-1])) & spoilt[..., None, :]
            found.append(xp.any(seen, axis=-1, keepdims=True))
        return found[0] if len(found) == 1 else np.concatenate(found, axis=-2)


def _cut(array: Any, lead: tuple[slice, ...] | None, *tail: slice) -> Any:
    return cut(array, (ALL,) * (array.ndim - len(tail)) if lead is None else lead, *tail)


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
    later: bool = False,
) -> Context:
    """Check shapes and combine masks.

    Parameters
    ----------
    masks : iterable of Mask objects, boolean arrays that broadcast to (..., q, k), functions of q_index and k_index that
        give one, and None
    Q, K, V : arrays (..., q, d), (..., k, d), (..., k, v); V may be None
    features : "same", "free" or "none"
        Whether queries and keys need the same features, may have different ones, or need none.
    who : str, the part that compares features, for errors
    asks : the names among "mask", "n_allowed" and "lengths" that a part asks for
    later : bool, whether rules may wait until their masks are needed, where there are many queries and keys

    Raises
    ------
    ShapeError, ComponentError, TypeError, ValueError
        The message names the array, its shape and what it should be.
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
    here = isinstance(detach(Q), np.ndarray)  # NumPy arrays need no conversion
    shape, M, rules, content = (*lead, q, k), None, [], []
    later = later and here and q * k > LARGE
    for one in masks:
        if by_content(one):
            content.append(one)
            continue
        if later and is_rule(one):
            of_mask(one, q_index[..., :1], k_index[..., :1])  # raises an error now rather than in a block
            rules.append(one)
            wider = np.broadcast_shapes(q_index.shape[:-1], k_index.shape[:-1])
            shape = (*broadcast_leading(("Q and K", shape[:-2]), ("q_index and k_index", wider)), q, k)
            continue
        allowed = allowed_by(one, q_index, k_index, shape)
        if allowed is None:
            continue
        if isinstance(allowed, np.ndarray):
            allowed = allowed if here else namespace(Q, K).asarray(np.array(allowed))
        else:
            namespace(Q, K, allowed)  # refuses a mixture of libraries
        M = allowed if M is None else M & allowed
    if M is not None and len(M.shape) > 2:
        shape = (*broadcast_leading(("Q and K", shape[:-2]), ("mask", tuple(M.shape[:-2]))), q, k)
    if (M is not None or rules) and V is not None and V.shape[:-2] != shape[:-2]:
        broadcast_leading(("Q, K and mask", shape[:-2]), ("V", tuple(V.shape[:-2])))
    given = {"q_index": q_index, "k_index": k_index}
    if "lengths" in asks:
        given["lengths"] = np.broadcast_to([q, k], (*lead, 2)) if lengths is None else lengths
        if isinstance(given["lengths"], (list, tuple)):
            given["lengths"] = np.asarray(given["lengths"])
    if not here:
        xp = namespace(Q, K)
        given = {name: constant(xp, a) if isinstance(a, np.ndarray) else a for name, a in given.items()}
    alive: Any = None
    counted: dict[str, Any] = {}
    chosen = Content(tuple(content), asks & {"mask", "n_allowed"}) if content else None
    if rules:
        M = None if M is None else np.broadcast_to(M, (*M.shape[:-2], q, k))
        wait = Later(tuple(rules), asks & {"mask", "n_allowed"}, Q.dtype)
        return Context(shape, M, None, {**given, "rng": rng, "training": training}, wait, chosen)
    if M is not None and 0 not in shape:
        M, alive, counted = _counted(namespace(Q, K) if not here else np, M, shape, Q.dtype, asks)
    elif "mask" in asks or "n_allowed" in asks:
        xp = namespace(Q, K)
        counted = {"mask": _ALL if here else xp.asarray(np.array(_ALL)), "n_allowed": xp.full((1, 1), k, dtype=Q.dtype)}
    return Context(shape, M, alive, {**given, **counted, "rng": rng, "training": training}, content=chosen)


def _sizes(Q: Any, K: Any, V: Any, features: str, who: str) -> tuple[tuple[int, ...], int, int]:
    """(leading axes, queries, keys); the usual case is recognised quickly."""
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
    """The mask with its last axes whole, the queries that are alive, and the form of both that parts see."""
    if M.shape[-1] != shape[-1]:
        M = xp.broadcast_to(M, (*M.shape[:-1], shape[-1]))
    alive = xp.any(M, axis=-1, keepdims=True)
    all_alive = _concrete(alive) and bool(xp.all(alive))
    counted = {}
    if "mask" in asks or "n_allowed" in asks:
        shown = M if all_alive else M | ~alive
        if isinstance(shown, np.ndarray):
            n_allowed = np.count_nonzero(shown, axis=-1, keepdims=True).astype(dtype)
        else:
            n_allowed = xp.sum(namespace(M).astype(shown, dtype), axis=-1, keepdims=True)
        counted = {"mask": _with_rows(xp, shown, shape), "n_allowed": _with_rows(xp, n_allowed, shape)}
    return _with_rows(xp, M, shape), None if all_alive else _with_rows(xp, alive, shape), counted


def _with_rows(xp: Any, array: Any, shape: tuple[int, ...]) -> Any:
    """An array (..., q or 1, n) with all its rows."""
    return (
        array
        if array.shape[-2] == shape[-2]
        else xp.broadcast_to(array, (*array.shape[:-2], shape[-2], array.shape[-1]))
    )


def _concrete(array: Any) -> bool:
    """Whether the numbers of an array can be read. JAX's arrays cannot be read while they are traced."""
    return not type(array).__module__.startswith("jax")


def _index(letter: str, index: Any, size: int) -> Any:
    index = to_numpy(index)
    if index.shape[-1:] != (size,):
        raise ShapeError(f"{letter}_index must end in axis {letter!r} = {size}; got shape {index.shape}")
    if index.size and (index.dtype.kind not in "iu" or index.min() < 0):
        raise ValueError(f"{letter}_index must hold positions, integers from 0; got {index.dtype} {index.tolist()!r}")
    return index.astype(np.intp)
