"""One kernel from queries, keys and values to contexts, so that the weights are never one large array."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from attnlab.interfaces import Kernel, Source
from attnlab.kernels.bounded import in_loops
from attnlab.kernels.normalisers import numpy_floats, rows
from attnlab.kernels.products import mapped, through_length, turned, unit
from attnlab.mechanisms.blocks import ALL, Tile, cut, in_threads, slices, tiles, wide
from attnlab.mechanisms.pullback import unbroadcast
from attnlab.parts.aggregators import WeightedSum
from attnlab.parts.normalisers import Softmax
from attnlab.parts.similarities import Cosine, Dot, General, ScaledDot

__all__ = ["SoftmaxChain"]

Array = np.ndarray[Any, Any]

SHORT, LONG = (512, 512), (1024, 256)  # queries and keys of a block, for few queries and for many
MANY = 4096
GROUPS = 4  # groups of queries; each sums up its own share of the gradients of keys and values
SAFE = {"float32": 60.0, "float64": 400.0}  # scores, as powers of two, up to which no sum overflows
LN2 = math.log(2.0)


class SoftmaxChain(Kernel):
    """Softmax of product scores and the weighted sum, in blocks; gradients compute the weights again.

    y_i = sum_j 2^(x_i.z_j) v_j / sum_j 2^(x_i.z_j), where x contains the scale of the scores and log2(e). If the lengths of
    the vectors bound the scores, no maximum is subtracted; else a running maximum is. Memory beyond inputs and outputs does not
    grow with queries times keys. Cost: 4 d operations a pair, 10 d with gradients.

    References
    ----------
    Dao, Fu, Ermon, Rudra, Re (2022), algorithms 1 and 4.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> parts = tuple(attnlab.get(*p) for p in (("similarity", "dot"), ("normaliser", "softmax"), ("aggregator", "weighted_sum")))
    >>> Q, K, V = np.ones((1, 2)), np.ones((3, 2)), np.array([[1.0], [2.0], [6.0]])
    >>> Y, back = SoftmaxChain().attend(parts, Q, K, V, allowed=None, learned={}, wants=frozenset({"V"}))
    >>> Y, back(np.ones((1, 1)))["V"].round(4)
    (array([[3.]]), array([[0.3333],
           [0.3333],
           [0.3333]]))
    """

    name = "softmax_chain"
    source = Source(
        "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness",
        "Dao, Fu, Ermon, Rudra, Re",
        2022,
        "NeurIPS",
    )
    replaces = tuple((similarity, Softmax, WeightedSum) for similarity in (Dot, ScaledDot, General, Cosine))
    pairs = (2**19, 2**20)

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        return numpy_floats(library, dtype)

    def attend(self, parts: Any, Q: Any, K: Any, V: Any, allowed: Any, learned: Any, wants: Any) -> Any:
        similarity, normaliser, _ = parts
        X, Z, factor, through = _product(similarity, Q, K, learned.get("similarity", {}), wants)
        chain = _Chain(X, Z, V, factor / normaliser.temperature, allowed, bool(wants))
        if not wants:
            return chain.forward(), None
        Y, L = chain.forward_with_sums()

        def back(g: Any) -> Any:
            dX, dZ, dV = chain.backward(g, Y, L, wants)
            found = through(dX, dZ)
            if dV is not None:
                found["V"] = dV
            return found

        return Y, back


def _product(
    similarity: Any, Q: Array, K: Array, learned: Mapping[str, Any], wants: Any
) -> tuple[Array, Array, float, Any]:
    """(X, Z, factor, pullback): the scores are factor X Z'."""
    if isinstance(similarity, General):
        W = learned["W"]
        X = mapped(Q, W)

        def through_map(dX: Any, dZ: Any) -> dict[str, Any]:
            found: dict[str, Any] = {"K": dZ}
            if dX is not None:
                dX = unbroadcast(dX, X)
                found["similarity"] = {"W": rows(Q).T @ rows(dX)}
                if "Q" in wants:
                    found["Q"] = mapped(dX, W.T)
            return found

        return X, K, 1.0, through_map
    if isinstance(similarity, Cosine):
        (A, shorter_a), (B, shorter_b) = unit(Q), unit(K)
        log_temperature = learned.get("log_temperature")
        sharp = 1 / float(similarity.temperature) if log_temperature is None else float(np.exp(-log_temperature))

        def through_lengths(dX: Any, dZ: Any) -> dict[str, Any]:
            found: dict[str, Any] = {}
            if log_temperature is not None and dX is not None:  # sum dS S; dX holds one factor of it
                found["similarity"] = {
                    "log_temperature": np.asarray(-np.vdot(dX, np.broadcast_to(A, dX.shape)), A.dtype)
                }
            if dX is not None:
                found["Q"] = through_length(dX, A, shorter_a, A.dtype.type(1))
            if dZ is not None:
                found["K"] = through_length(dZ, B, shorter_b, B.dtype.type(1))
            return found

        return A, B, sharp, through_lengths
    scale = Q.shape[-1] ** -0.5 if isinstance(similarity, ScaledDot) else 1.0
    return Q, K, scale, lambda dX, dZ: {"Q": dX, "K": dZ}


class _Room:
    """The arrays that a thread writes into; all its blocks use them."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.kept: dict[str, Array] = {}

    def array(self, name: str, *shape: int) -> Array:
        size = math.prod(shape)
        if (found := self.kept.get(name)) is None or found.size < size:
            found = self.kept[name] = np.empty(size, self.dtype)
        return found[:size].reshape(shape)


class _Chain:
    """softmax(factor X Z') V, X (..., q, d), Z (..., k, d), V (..., k, v), in blocks; with a pullback if `ways`."""

    def __init__(self, X: Array, Z: Array, V: Array, factor: float, allowed: Any, ways: bool) -> None:
        self.X, self.Z, self.V, self.allowed = X, Z, V, allowed
        self.q, self.k, self.dtype = X.shape[-2], Z.shape[-2], X.dtype
        self.factor, self.powers, self.safe = factor, X.dtype.type(factor / LN2), SAFE[X.dtype.name]
        fronts = [X.shape[:-2], Z.shape[:-2]]
        if allowed is not None:
            fronts.append(allowed(None, slice(0, 1), slice(0, 1)).shape[:-2])
        scores = np.broadcast_shapes(*fronts)
        self.front = np.broadcast_shapes(scores, V.shape[:-2])
        # of the scores; with a way back, on which the gradients of scores of many values are added up, of the contexts
        self.lead = self.front if ways else (1,) * (len(self.front) - len(scores)) + scores
        self.rows, self.keys = SHORT if self.q < MANY else LONG
        self.blocks = slices(self.k, self.keys)
        self.together = max(1, self.rows * self.keys // (min(self.q, self.rows) * min(self.k, self.keys)))
        self.tiles = tiles(self.lead, self.q, self.rows, self.together)

    # -- there --------------------------------------------------------------------------------------------------------
    def forward(self) -> Array:
        """Y (..., q, v)."""
        Y = np.empty((*self.front, self.q, self.V.shape[-1]), self.dtype)
        self._run(Y, None)
        return Y

    def forward_with_sums(self) -> tuple[Array, Array]:
        """Y, and the base-2 logarithm of each row's sum of exponentials, (..., q, 1); infinity where there is no key."""
        Y, L = (np.empty((*f, self.q, n), self.dtype) for f, n in ((self.front, self.V.shape[-1]), (self.lead, 1)))
        self._run(Y, L)
        return Y, L

    def _run(self, Y: Array, L: Any) -> None:
        loops = in_loops(self, Y, L)

        def worker(items: Iterable[Tile]) -> None:
            room = _Room(self.dtype)
            for tile in items:
                if loops is not None and loops(tile, room):
                    continue
                O, sums = self._tile(tile, room)
                Y[(*wide(tile[0], self.lead), tile[1])] = O
                if L is not None:
                    L[(*tile[0], tile[1])] = sums()

        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            in_threads(worker, self.tiles)

    @functools.cached_property
    def longest(self) -> Array:
        """The length of the longest of the keys, (..., 1, 1)."""
        return np.sqrt(np.einsum("...d,...d->...", self.Z, self.Z).max(axis=-1))[..., None, None]

    def _scaled(self, front: tuple[slice, ...], here: slice) -> Array:
        """The left factor of the scores, scaled so that the scores are powers of two."""
        return np.multiply(cut(self.X, front, here, ALL), self.powers, order="C")

    def _bounded(self, x: Array, front: tuple[slice, ...]) -> bool:
        """Whether the lengths of the vectors bound the scores enough that exponentials need no maximum."""
        length = math.sqrt(float(np.einsum("...d,...d->...", x, x).max()))
        return bool(length * float(cut(self.longest, front, ALL, ALL).max()) <= self.safe)

    def _mask(self, front: tuple[slice, ...], here: slice, there: slice) -> Any:
        """The mask of a block: None where everything is allowed, False where nothing is."""
        if self.allowed is None:
            return None
        M = self.allowed(front, here, there)
        return False if not M.any() else None if M.all() else M

    def _shape(self, front: tuple[slice, ...], x: Array) -> tuple[int, ...]:
        return (*(here.stop - here.start for here in front), x.shape[-2])

    def _tile(self, tile: Tile, room: _Room) -> tuple[Array, Any]:
        """(contexts of a block of queries, a function that gives the logarithms of their sums)."""
        front, here = tile
        x = self._scaled(front, here)
        if self._bounded(x, front):
            O, total = self._bounded_tile(front, here, x, room)
            if np.isfinite(O).all():
                return O, lambda: np.where(total > 0, np.log2(total), np.inf)
        O, top, total = self._any_tile(front, here, x, room)
        return O, lambda: np.where(total == 0, np.inf, top + np.log2(total))

    def _bounded_tile(self, front: Any, here: slice, x: Array, room: _Room) -> tuple[Array, Array]:
        shape, ones = self._shape(front, x), np.ones((min(self.k, self.keys), 1), self.dtype)
        total, add = np.zeros((*shape, 1), self.dtype), room.array("add", *shape, 1)
        O = None
        for there in self.blocks:
            if (M := self._mask(front, here, there)) is False:
                continue
            n = there.stop - there.start
            E = room.array("S", *shape, n)
            np.matmul(x, turned(packed(cut(self.Z, front, there, ALL))), out=E)
            np.exp2(E, out=E)
            if M is not None:
                E *= M
            np.matmul(E, ones[:n], out=add)
            total += add
            O = self._summed(O, E, front, there, room)
        return self._divided(O, total, front, x, total == 0), total

    def _any_tile(self, front: Any, here: slice, x: Array, room: _Room) -> tuple[Array, Array, Array]:
        shape = self._shape(front, x)
        total, top = np.zeros((*shape, 1), self.dtype), np.full((*shape, 1), -np.inf, self.dtype)
        O = None
        for there in self.blocks:
            if (M := self._mask(front, here, there)) is False:
                continue
            S = room.array("S", *shape, there.stop - there.start)
            np.matmul(x, turned(packed(cut(self.Z, front, there, ALL))), out=S)
            if M is not None:
                np.copyto(S, -np.inf, where=~M)
            higher = np.maximum(top, S.max(axis=-1, keepdims=True))
            base = np.where(np.isinf(higher), self.dtype.type(0), higher)
            fade = np.exp2(top - base)
            if (endless := np.isposinf(higher)).any():  # scores of +inf share all the weight equally
                np.copyto(S, np.where(np.isposinf(S), 0, -np.inf), where=endless)
                fade = np.where(endless, np.isposinf(top), fade).astype(self.dtype)
            S -= base
            np.exp2(S, out=S)
            total *= fade
            total += S.sum(axis=-1, keepdims=True)
            if O is not None:
                O *= fade
            O = self._summed(O, S, front, there, room)
            top = higher
        dead = total == 0
        if dead.any():  # a query that may attend, but has only scores of -inf, has no weights: NaN
            dead = dead & np.logical_not(self._alive(front, here))
        return self._divided(O, total, front, x, dead), top, total

    def _summed(self, O: Any, E: Array, front: Any, there: slice, room: _Room) -> Array:
        v = packed(cut(self.V, wide(front, self.lead), there, ALL))
        if O is None:
            return np.matmul(E, v)
        part = room.array("O", *O.shape)
        np.matmul(E, v, out=part)
        O += part
        return O

    def _divided(self, O: Any, total: Array, front: Any, x: Array, dead: Array) -> Array:
        if O is None:
            return np.zeros((*self._shape(front, x), self.V.shape[-1]), self.dtype)
        O /= total
        return np.where(dead, self.dtype.type(0), O) if dead.any() else O

    def _alive(self, front: Any, here: slice) -> Any:
        """Which queries may attend to something."""
        if self.allowed is None:
            return True
        alive: Any = False
        for there in self.blocks:
            alive = alive | self.allowed(front, here, there).any(axis=-1, keepdims=True)
        return alive

    # -- back ---------------------------------------------------------------------------------------------------------
    def backward(self, g: Array, Y: Array, L: Array, wants: Any) -> tuple[Any, Any, Any]:
        """The gradients among those of X, Z and V that are wanted."""
        work = _Backward(self, g, Y, L, wants)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            in_threads(work.worker, work.items)
        return work.dX, work.summed(work.dZ, LN2), work.summed(work.dV, 1.0)


class _Backward:
    """The pullback of a chain: it computes the weights again, block by block, from the sums of their rows."""

    def __init__(self, chain: _Chain, g: Array, Y: Array, L: Array, wants: Any) -> None:
        self.chain, self.g, self.L = chain, g, L
        self.mean = np.einsum("...v,...v->...", g, Y)[..., None]
        X, Z, V, dtype = chain.X, chain.Z, chain.V, chain.dtype
        examples = tiles(chain.lead, 1, 1, chain.together if chain.q <= chain.rows and chain.k <= chain.keys else 1)
        groups = 1 if len(examples) >= 2 * GROUPS else min(GROUPS, -(-chain.q // chain.rows))
        self.rows = slices(chain.q, -(-chain.q // groups))
        self.items = [(front, n) for front, _ in examples for n in range(len(self.rows))]
        self.dX = None
        if "Q" in wants or "similarity" in wants:
            self.dX = np.empty((*chain.lead, chain.q, X.shape[-1]), dtype)
        shares = range(len(self.rows))
        self.dZ = [np.zeros((*chain.lead, chain.k, Z.shape[-1]), dtype) for _ in shares] if "K" in wants else None
        self.dV = [np.zeros((*chain.front, chain.k, V.shape[-1]), dtype) for _ in shares] if "V" in wants else None

    def summed(self, shares: Any, factor: float) -> Any:
        """The sum of the groups' shares, in a fixed order."""
        if shares is None:
            return None
        total = shares[0]
        for share in shares[1:]:
            total += share
        if factor != 1:
            total *= self.chain.dtype.type(factor)
        return total

    def worker(self, items: Iterable[tuple[tuple[slice, ...], int]]) -> None:
        room = _Room(self.chain.dtype)
        for front, n in items:
            stop = self.rows[n].stop
            for start in range(self.rows[n].start, stop, self.chain.rows):
                self._block(front, slice(start, min(start + self.chain.rows, stop)), n, room)

    def _block(self, front: tuple[slice, ...], here: slice, n: int, room: _Room) -> None:
        """The shares of some queries."""
        chain = self.chain
        x = chain._scaled(front, here)
        bounded = chain._bounded(x, front)
        g, L, mean = (cut(a, front, here, ALL) for a in (self.g, self.L, self.mean))
        g, shape = packed(g), chain._shape(front, x)
        dX = None if self.dX is None else np.zeros((*shape, x.shape[-1]), chain.dtype)
        shares = self._shares(front, here, x, L) if not bounded and np.isposinf(L).any() else None
        for there in chain.blocks:
            if (M := chain._mask(front, here, there)) is False:
                continue
            z, v = packed(cut(chain.Z, front, there, ALL)), packed(cut(chain.V, front, there, ALL))
            P = room.array("S", *shape, z.shape[-2])
            np.matmul(x, turned(z), out=P)
            if M is not None and not bounded:
                np.copyto(P, -np.inf, where=~M)
            endless = None if shares is None else np.where(np.isposinf(P), shares, 0)
            P -= L
            np.exp2(P, out=P)
            if endless is not None:
                np.copyto(P, endless, where=np.isposinf(L))
            if M is not None and bounded:
                P *= M
            if self.dV is not None:
                cut(self.dV[n], front, there, ALL)[...] += np.matmul(turned(P), g)
            if dX is None and self.dZ is None:
                continue
            D = room.array("D", *P.shape)
            np.matmul(g, turned(v), out=D)
            D -= mean
            D *= P
            if shares is not None:  # they are constants
                np.copyto(D, 0, where=np.isposinf(L))
            if dX is not None:
                dX += np.matmul(D, z)
            if self.dZ is not None:
                cut(self.dZ[n], front, there, ALL)[...] += np.matmul(turned(D), x)
        if dX is not None and self.dX is not None:
            np.multiply(dX, chain.dtype.type(chain.factor), out=cut(self.dX, front, here, ALL))

    def _shares(self, front: tuple[slice, ...], here: slice, x: Array, L: Array) -> Array:
        """The weight of each key with score +inf, by query; 0 for queries that may attend to nothing."""
        count = np.zeros(L.shape, self.chain.dtype)
        for there in self.chain.blocks:
            if (M := self.chain._mask(front, here, there)) is not False:
                S = np.matmul(x, turned(packed(cut(self.chain.Z, front, there, ALL))))
                count += (np.isposinf(S) & (True if M is None else M)).sum(axis=-1, keepdims=True)
        return np.where(count > 0, 1 / np.maximum(count, 1), 0).astype(self.chain.dtype)


def packed(X: Array) -> Array:
    """X in a layout that BLAS accepts: one of its last two axes is contiguous."""
    size, (far, near) = X.itemsize, X.strides[-2:]
    n, d = X.shape[-2:]
    fits = (near == size and far >= d * size and far % size == 0) or (
        far == size and near >= n * size and near % size == 0
    )
    return X if fits else np.ascontiguousarray(X)
