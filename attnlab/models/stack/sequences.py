"""Sequences of tokens, from AlignmentData or lists, in the form that a stack reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.data import PADDING, AlignmentData
from attnlab.errors import SettingError, ShapeError, Unsupported
from attnlab.models.batches import with_target
from attnlab.models.on_library import OnLibrary, working
from attnlab.models.stack.network import Places

__all__ = ["Reader", "counted", "in_parts", "labels_of", "same_kind", "sequences_of", "sizes_of"]

Array = np.ndarray[Any, Any]
CHUNK = 2**22  # weights of all heads of a layer: sequences are read in parts of at most this many


def sequences_of(X: Any, y: Any, causal: bool, verb: str, labelled: bool = True) -> AlignmentData:
    """Sequences as AlignmentData with ids, and with targets where `labelled`.

    Raises
    ------
    Unsupported
        For AlignmentData without ids.
    ValueError
        When there is no example, or no place that counts, or a vector of a place that counts is not finite.
    """
    if not isinstance(X, AlignmentData):
        X = AlignmentData.of_sequences(X, y, causal=causal)
    elif X.ids is None:
        raise Unsupported(
            "a stack reads sequences of tokens: AlignmentData with ids, an int array (n, L); these have none. Make them with "
            "AlignmentData.of_sequences(ids, labels), or choose a task that gives ids, such as induction, or copy with layout='tokens'"
        )
    elif y is not None:
        X = with_target(X, y)
    if not len(X):
        raise ValueError(f"{verb} needs at least one sequence; got 0")
    if not labelled:
        return X
    if X.target is None:
        raise SettingError(
            f"{verb} needs labels: AlignmentData with target, a class for each place, int (n, L), or a vector, float (n, L, t); "
            "it has none"
        )
    if not X.is_classification:
        X = X.finite("target")
    counts = counted(X)
    if not counts.any():
        raise ValueError(f"{verb} needs a place that counts; the labels count nowhere")
    if X.is_classification and (low := X.target[counts].min()) < 0:
        raise ValueError(f"{verb}: labels must be classes from 0; got {low}")
    return X


def counted(X: AlignmentData) -> Array:
    """bool (n, L): the places whose labels count."""
    assert X.ids is not None
    return X.alive & (X.ids != PADDING)


def labels_of(X: AlignmentData) -> Array:
    """int (n, L): the class of each place, -1 where it does not count; or float (n, L, t): what it should say, NaN there."""
    target = np.asarray(X.target)
    if X.is_classification:
        return np.where(counted(X), target, PADDING)
    return np.where(counted(X)[:, :, None], target, target.dtype.type(np.nan))


def sizes_of(every: Sequence[AlignmentData], tied: bool) -> tuple[int, int, int, int]:
    """(tokens, classes, inputs of a place, classes or numbers that it says) of the data that a stack is given to learn from.

    Raises
    ------
    SettingError
        For `tied` with targets that are vectors.
    ShapeError
        When the data are of several kinds.
    """
    n_inputs = 0 if every[0].inputs is None else every[0].inputs.shape[2]
    said = None if every[0].is_classification else int(np.asarray(every[0].target).shape[2])
    for data in every[1:]:
        same_kind(data, (n_inputs, said), "fit's validation data")
    n_tokens = 1 + max(int(np.asarray(data.ids).max()) for data in every)
    if said is not None:
        if tied:
            raise SettingError("stack: with tied it says tokens, and these targets are vectors; set tied=False")
        return n_tokens, 0, n_inputs, said
    n_classes = 1 + max(int(labels_of(data).max()) for data in every)
    if tied:
        n_tokens = n_classes = max(n_tokens, n_classes)
    return n_tokens, n_classes, n_inputs, n_classes


def same_kind(X: AlignmentData, fitted: tuple[int, int | None], verb: str) -> AlignmentData:
    """X, if it has as many inputs as the data that the stack learned from, and targets of the same kind where it has any.

    Parameters
    ----------
    fitted : (inputs of a place, numbers that a place says or None for a class)

    Raises
    ------
    ShapeError
        When they differ, with both.
    """
    n_inputs, n_said = fitted
    given = 0 if X.inputs is None else X.inputs.shape[2]
    if given != n_inputs:
        raise ShapeError(
            f"{verb}: places have {given} inputs beside their tokens; those that the stack learned from have {n_inputs}"
        )
    said = None if X.target is None or X.is_classification else X.target.shape[2]
    if X.target is not None and said != n_said:
        names = ["classes, int (n, L)" if t is None else f"vectors, float (n, L, {t})" for t in (said, n_said)]
        raise ShapeError(f"{verb}: the targets are {names[0]}; those that the stack learned from are {names[1]}")
    return X


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
        where = labels = np.zeros(0, dtype=np.intp)
        if X.target is not None:
            where = np.flatnonzero(counted(X))
            labels = self._flat(self._labels(X))[where]
        known_or_none = None if known.all() else self._array(known[..., None].astype(self.dtype))
        ids = self._array(np.where(known, ids, 0))
        inputs = None if X.inputs is None else self._array(X.inputs.astype(self.dtype))
        return Places(ids, known_or_none, contexts, self._array(where), self._array(labels), inputs)

    def _labels(self, X: AlignmentData) -> Array:
        labels = labels_of(X)
        return labels if labels.ndim == 2 else labels.astype(self.dtype)

    @staticmethod
    def _flat(labels: Any) -> Any:
        """Labels of all places of all sequences, one after the other."""
        return labels.reshape(-1, *labels.shape[2:])

    def labels(self, X: AlignmentData) -> Any:
        """`labels_of` in the form that `pick` reads."""
        labels = self._labels(X)
        return self._array(labels) if self._fixed else labels

    @property
    def _fixed(self) -> bool:
        return self.library is not None and self.library.needs_fixed_shapes

    def pick(self, places: Places, rows: Any, counts: Any) -> Places:
        """Some of the sequences, in this order; `counts` is what `labels` gives."""
        n = len(places.ids)
        made: dict[int, Any] = {}
        for context in places.contexts:
            if id(context) not in made:
                made[id(context)] = context.pick(rows, n)
        labels = self._flat(counts[rows])
        if self._fixed:  # however many places count, all are read
            return Places(
                places.ids[rows],
                None if places.known is None else places.known[rows],
                [made[id(context)] for context in places.contexts],
                None,
                labels,
                None if places.inputs is None else places.inputs[rows],
            )
        where = np.flatnonzero(labels >= 0 if labels.ndim == 1 else ~np.isnan(labels[:, 0]))
        rows = self._array(rows)
        return Places(
            places.ids[rows],
            None if places.known is None else places.known[rows],
            [made[id(context)] for context in places.contexts],
            self._array(where),
            self._array(labels[where]),
            None if places.inputs is None else places.inputs[rows],
        )
