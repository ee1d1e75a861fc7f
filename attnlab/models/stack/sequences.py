"""Sequences of tokens, from AlignmentData or lists, in the form that a stack reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.data import PADDING, AlignmentData
from attnlab.errors import SettingError, Unsupported
from attnlab.models.on_library import OnLibrary, working
from attnlab.models.stack.network import Places

__all__ = ["Reader", "agreement", "counted", "in_parts", "labels_of", "sequences_of"]

Array = np.ndarray[Any, Any]
CHUNK = 2**22  # weights of all heads of a layer: sequences are read in parts of at most this many


def sequences_of(X: Any, y: Any, causal: bool, verb: str, labelled: bool = True) -> AlignmentData:
    """Sequences as AlignmentData with ids, and with class targets where `labelled`.

    Raises
    ------
    Unsupported
        For AlignmentData without ids, or with targets that are no classes.
    ValueError
        When there is no example, or no place that counts.
    """
    if not isinstance(X, AlignmentData):
        X = AlignmentData.of_sequences(X, y, causal=causal)
    elif X.ids is None:
        raise Unsupported(
            "a stack reads sequences of tokens: AlignmentData with ids, an int array (n, L); these have none. Make them with "
            "AlignmentData.of_sequences(ids, labels), or choose a task that gives ids, such as induction"
        )
    elif y is not None:
        X = AlignmentData(X.Q, X.K, X.V, X.mask, X.gold, y, X.possible, X.tokens, X.ids)
    if not len(X):
        raise ValueError(f"{verb} needs at least one sequence; got 0")
    if not labelled:
        return X
    if X.target is None:
        raise SettingError(
            f"{verb} needs labels, a class for each place: AlignmentData with target, int (n, L); it has none"
        )
    if not X.is_classification:
        raise Unsupported(f"a stack predicts classes, int (n, L); got targets of {X.target.dtype} {X.target.shape}")
    counts = counted(X)
    if not counts.any():
        raise ValueError(f"{verb} needs a place that counts; the labels count nowhere")
    if (low := X.target[counts].min()) < 0:
        raise ValueError(f"{verb}: labels must be classes from 0; got {low}")
    return X


def counted(X: AlignmentData) -> Array:
    """bool (n, L): the places whose labels count."""
    assert X.ids is not None
    return X.alive & (X.ids != PADDING)


def labels_of(X: AlignmentData) -> Array:
    """int (n, L): the class of each place, -1 where it does not count."""
    return np.where(counted(X), np.asarray(X.target), PADDING)


def in_parts(X: AlignmentData, heads: int) -> Iterator[AlignmentData]:
    """The sequences, some at a time."""
    size = max(1, CHUNK // max(1, heads * X.n_queries**2))
    return (X[start : start + size] for start in range(0, len(X), size))


@dataclass(frozen=True)
class Reader:
    """Makes sequences into what the network reads.

    Parameters
    ----------
    bound : list of a bound mechanism for each layer
    heads, d : int
    n_tokens : int
        Tokens that the network knows; the others are read as zeros.
    causal : bool
    dtype : str
    library : OnLibrary, or None for NumPy
    """

    bound: Sequence[Any]
    heads: int
    d: int
    n_tokens: int
    causal: bool
    dtype: str
    library: OnLibrary | None = None

    def _array(self, array: Any) -> Any:
        return array if self.library is None else self.library.tensor(array)

    def numpy(self, array: Any) -> Any:
        """What the network computed, as a NumPy array."""
        return array if self.library is None else self.library.numpy(array)

    def working(self) -> Any:
        """A context in which the library works as the network needs it."""
        return working(self.library)

    @contextlib.contextmanager
    def computing(self, params: Any) -> Iterator[Any]:
        """The arrays where the network computes with them, without gradients."""
        if self.library is None:
            yield params
        else:
            with self.library.without_gradients():
                yield self.library.tree(params)

    def read(self, X: AlignmentData, **given: Any) -> Places:
        """All sequences of X; `given` is what else parts may ask for, such as `rng` and `training`."""
        ids = X.ids
        assert ids is not None
        n, length = ids.shape
        there, known = ids != PADDING, (ids >= 0) & (ids < self.n_tokens)
        mask = np.tri(length, dtype=bool) if self.causal else None
        if not there.all():
            both = (there[:, :, None] & there[:, None, :])[:, None]  # (n, 1, L, L)
            mask = both if mask is None else both & mask
        shape = (n, self.heads, length, self.d // self.heads)
        heads = np.broadcast_to(np.zeros((), dtype=self.dtype), shape)  # only its shape matters here
        if self.library is not None:
            heads = self.library.blank(shape)
        lengths = np.broadcast_to(X.lengths[:, None, None], (n, self.heads, 2))
        made: dict[int, Any] = {}
        for bound in self.bound:
            if id(bound) not in made:
                made[id(bound)] = bound.context(heads, heads, heads, mask, lengths=lengths, **given)
        contexts = [made[id(bound)] for bound in self.bound]
        if X.is_classification:
            where = np.flatnonzero(counted(X))
            labels = labels_of(X).reshape(-1)[where]
        else:
            where = labels = np.zeros(0, dtype=np.intp)
        known_or_none = None if known.all() else self._array(known[..., None].astype(self.dtype))
        ids = self._array(np.where(known, ids, 0))
        return Places(ids, known_or_none, contexts, self._array(where), self._array(labels))

    def labels(self, X: AlignmentData) -> Any:
        """`labels_of` in the form that `pick` reads."""
        labels = labels_of(X)
        return self._array(labels) if self._fixed else labels

    @property
    def _fixed(self) -> bool:
        return self.library is not None and self.library.needs_fixed_shapes

    def pick(self, places: Places, rows: Any, counts: Any) -> Places:
        """Some of the sequences, in this order; `counts` (n, L) are the labels, -1 where a place does not count."""
        n = len(places.ids)
        made: dict[int, Any] = {}
        for context in places.contexts:
            if id(context) not in made:
                made[id(context)] = context.pick(rows, n)
        labels = counts[rows].reshape(-1)
        if self._fixed:  # however many places count, all are read
            return Places(
                places.ids[rows],
                None if places.known is None else places.known[rows],
                [made[id(context)] for context in places.contexts],
                None,
                labels,
            )
        where = np.flatnonzero(labels >= 0)
        rows = self._array(rows)
        return Places(
            places.ids[rows],
            None if places.known is None else places.known[rows],
            [made[id(context)] for context in places.contexts],
            self._array(where),
            self._array(labels[where]),
        )


def agreement(W: Array, X: AlignmentData) -> Array:
    """How much of its weight a head spends on gold: W (n, h, L, L) -> (h,), the mean over places that count and have gold."""
    gold = np.asarray(X.gold) > 0
    asked = counted(X) & gold.any(axis=-1)
    if not asked.any():
        return np.full(W.shape[1], np.nan)
    on_gold = np.einsum("nhqk,nqk->nhq", W, gold.astype(W.dtype))
    return np.asarray(on_gold.transpose(1, 0, 2)[:, asked].mean(axis=-1))
