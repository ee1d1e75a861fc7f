"""AlignmentData: examples of what there is to align; Splits: how a task hands them out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnlab.errors import ShapeError
from attnlab.precision import is_low
from attnlab.shapes import as_array, check_shapes

__all__ = ["AlignmentData", "Splits"]

Array = np.ndarray[Any, Any]
_ROWS = {"Q": "query", "K": "key", "V": "value", "target": "query"}  # what a row of an array stands for
_ARRAYS = ("Q", "K", "V", "mask", "gold", "target", "possible", "ids", "inputs", "gold_by_layer")
PADDING = -1  # the id of a place after the end of a sequence


class AlignmentData:
    """n examples of queries, keys and values, with what each query should attend to and what it should get.

    It is an `X` for scikit-learn: it has a length, `shape == (n,)`, and is indexed by integers, slices, boolean masks,
    integer arrays and `(indices, ...)`.

    Parameters
    ----------
    Q : array (n, q, d)
        Queries.
    K : array (n, k, d_key)
        Keys; d_key is d unless the similarity says otherwise.
    V : array (n, k, v)
        Values.
    mask : bool array, broadcast to (n, q, k), or None
        True = may attend. A query that may attend to nothing is padding: it counts in no metric and in no loss.
    gold : array (n, q, k) or None
        The true alignment: each row 0/1 links or a distribution; a row of zeros is a null query.
    target : float array (n, q, v), int array (n, q), or None
        What each query should get: a vector, or a class (then the values are scores of classes).
    possible : bool array (n, q, k) or None
        Possible links besides the sure ones in `gold`, for the alignment error rate.
    tokens : sequence of n examples' tokens, or None
        What to print: (source tokens, target tokens) of each example.
    ids : int array (n, L), or None
        Of a sequence that attends to itself, where L = q = k: the token at each place, from 0, and -1 for padding after the end.
        Models of sequences read these ids instead of Q, K and V.
    inputs : array (n, L, f), or None
        With ids: numbers that each place of the sequence holds beside its token, such as the x of a regression. Those of padding
        are not read.
    gold_by_layer : array (n, s, q, k), or None
        Where each of s layers would attend in a known solution, the first layer first, in the form of `gold`. A row of zeros says
        nothing of its place. `mask` does not matter here.

    Notes
    -----
    Q, K, V and inputs of integers become float64, of float16 and bfloat16 float32.

    Raises
    ------
    ShapeError
        When axes disagree.
    TypeError
        When the mask is not boolean, or an array does not hold real numbers.
    """

    def __init__(
        self,
        Q: Any,
        K: Any,
        V: Any,
        mask: Any = None,
        gold: Any = None,
        target: Any = None,
        possible: Any = None,
        tokens: Any = None,
        ids: Any = None,
        inputs: Any = None,
        gold_by_layer: Any = None,
    ) -> None:
        self.Q, self.K, self.V = as_array(Q, "Q"), as_array(K, "K"), as_array(V, "V")
        for name in ("Q", "K", "V"):
            setattr(self, name, _floats(getattr(self, name), name))
        sizes = check_shapes(Q=("n q d", self.Q), K=("n k e", self.K), V=("n k v", self.V))
        n, q, k = sizes["n"], sizes["q"], sizes["k"]

        self.mask: Array | None = None
        if mask is not None:
            mask = as_array(mask, "mask")
            if mask.dtype != bool:
                raise TypeError(f"mask must be boolean, True = may attend; got dtype {mask.dtype}")
            try:
                self.mask = np.broadcast_to(mask, (n, q, k))
            except ValueError:
                raise ShapeError(f"mask {mask.shape} does not broadcast to (n, q, k) = {(n, q, k)}") from None
        self.gold = self._links("gold", gold, (n, q, k))
        self.possible = self._links("possible", possible, (n, q, k))

        self.target: Array | None = None
        if target is not None:
            target = as_array(target, "target")
            if target.dtype.kind in "iu":
                check_shapes(Q=("n q d", self.Q), target=("n q", target))
            elif target.dtype.kind == "f":
                check_shapes(Q=("n q d", self.Q), target=("n q t", target))
            else:
                raise TypeError(f"target must be floats (n, q, v) or integer classes (n, q); got dtype {target.dtype}")
            self.target = target
        if tokens is not None and len(tokens) != n:
            raise ShapeError(f"axis 'n' disagrees: Q has {n}, tokens has {len(tokens)}")
        self.tokens = tokens
        self.ids: Array | None = None if ids is None else _checked_ids(ids, (n, q, k))
        self.inputs: Array | None = None if inputs is None else _checked_inputs(inputs, self.ids)
        self.gold_by_layer = self._links("gold_by_layer", gold_by_layer, (n, q, k), layers=True)

    @classmethod
    def of_sequences(
        cls,
        ids: Any,
        labels: Any = None,
        gold: Any = None,
        causal: bool = True,
        inputs: Any = None,
        gold_by_layer: Any = None,
    ) -> AlignmentData:
        """Sequences of tokens that attend to themselves, as examples.

        Parameters
        ----------
        ids : int array (n, L), or a list of n sequences of different lengths, or None
            Tokens, numbered from 0; in an array -1 is padding after the end. None is the token 0 at all places of `inputs`.
        labels : like ids, or float array (n, L, t), or None
            What each place should say: a class from 0, -1 where it does not count; or a vector, NaN where it does not count. None
            is the token at the next place, so that the last place does not count.
        gold : array (n, L, L), or None
            Where the answer of each place is.
        causal : bool
            Whether a place may attend only to itself and the places before it.
        inputs, gold_by_layer : arrays (n, L, f) and (n, s, L, L), or None
            As of `AlignmentData`.

        Notes
        -----
        `target` holds the labels, zero where a place does not count. A place that does not count may attend to nothing in `mask`, so
        that no metric counts it. Q, K and V are the ids as one feature, for lack of vectors.

        Raises
        ------
        ShapeError, TypeError, ValueError
            When ids or labels are no whole numbers, or do not fit each other.

        Examples
        --------
        >>> data = AlignmentData.of_sequences([[3, 1, 2], [0, 4]])
        >>> data.ids.tolist(), data.target.tolist(), data.alive.tolist()
        ([[3, 1, 2], [0, 4, -1]], [[1, 2, 0], [4, 0, 0]], [[True, True, False], [True, False, False]])
        """
        if ids is None:
            if inputs is None:
                raise TypeError("of_sequences needs ids, or inputs, an array (n, L, f); got neither")
            ids = np.zeros(np.shape(inputs)[:2], dtype=np.intp)
        ids = _rows(ids, "ids")
        n, length = ids.shape
        ids = _checked_ids(ids, (n, length, length))
        labels, counts = _checked_labels(labels, ids)
        mask = counts[:, :, None] & (ids != PADDING)[:, None, :]
        if causal:
            mask &= np.tri(length, dtype=bool)
        X = ids[:, :, None].astype(np.float32)
        return cls(X, X, X, mask, gold, labels, ids=ids, inputs=inputs, gold_by_layer=gold_by_layer)

    @staticmethod
    def _links(name: str, links: Any, shape: tuple[int, int, int], layers: bool = False) -> Array | None:
        if links is None:
            return None
        array = as_array(links, name)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold numbers or booleans; got dtype {array.dtype}")
        if layers and (array.ndim != 4 or (array.shape[0], *array.shape[2:]) != shape):
            n, q, k = shape
            raise ShapeError(f"{name} must be (n, s, q, k) = ({n}, s, {q}, {k}), s its layers; got shape {array.shape}")
        if not layers and array.shape != shape:
            raise ShapeError(f"{name} must be (n, q, k) = {shape}; got shape {array.shape}")
        if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array >= 0).all()):
            raise ValueError(f"{name} must be finite and not negative")
        return array

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> AlignmentData:
        """Read arrays `Q`, `K`, `V` and any other of `AlignmentData` but `tokens` from an .npz file, without pickle.

        Raises
        ------
        FileNotFoundError, ShapeError, TypeError, ValueError
            With the path, when there is no such file, it lacks or has other arrays than these, or they do not fit.
        """
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"no such file: {os.fspath(path)} (an .npz with Q, K, V and, if known, gold, target)"
            )
        try:
            with open(path, "rb") as content:
                loaded = np.load(content, allow_pickle=False)
                if not isinstance(loaded, np.lib.npyio.NpzFile):
                    raise ValueError("it holds one array, not named ones")
                with loaded as file:
                    arrays = {name: file[name] for name in file.files}
        except Exception as error:
            raise ValueError(
                f"{os.fspath(path)} is not an .npz of plain arrays: {error}; write one with numpy.savez(path, Q=..., K=..., V=...)"
            ) from error
        missing = [name for name in ("Q", "K", "V") if name not in arrays]
        unknown = sorted(set(arrays) - set(_ARRAYS))
        if missing or unknown:
            said = f"lacks {', '.join(missing)}" if missing else f"has unknown arrays {', '.join(unknown)}"
            raise ValueError(f"{os.fspath(path)} {said}; allowed are {', '.join(_ARRAYS)}, of which Q, K, V are needed")
        try:
            return cls(**arrays)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{os.fspath(path)}: {error}") from None

    # -- being an X ---------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return int(self.Q.shape[0])

    @property
    def shape(self) -> tuple[int]:
        """(n,), as scikit-learn asks for it."""
        return (len(self),)

    @property
    def n_queries(self) -> int:
        """The number of queries of an example, padding included."""
        return int(self.Q.shape[1])

    @property
    def n_keys(self) -> int:
        """The number of keys of an example, padding included."""
        return int(self.K.shape[1])

    def __getitem__(self, index: Any) -> AlignmentData:
        if isinstance(index, tuple):
            if len(index) != 2 or index[1] is not Ellipsis:
                raise IndexError(
                    "AlignmentData has one axis: index it by [i], [i:j], [mask], [indices] or [indices, ...]"
                )
            index = index[0]
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"example {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        elif not isinstance(index, slice):
            index = np.asarray(index)
            if index.size == 0:
                index = index.astype(np.intp)
            if index.ndim != 1:
                raise IndexError(f"AlignmentData has one axis: an array of indices must have one too; got {index.ndim}")
        picked = {name: None if (a := getattr(self, name)) is None else a[index] for name in _ARRAYS}
        tokens = None
        if self.tokens is not None:
            order = np.arange(len(self))[index]
            tokens = [self.tokens[i] for i in order]
        new = object.__new__(AlignmentData)
        new.__dict__.update(picked, tokens=tokens)
        return new

    def __iter__(self) -> Iterator[AlignmentData]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        n, q, d = self.Q.shape
        names = ("mask", "gold", "target", "possible", "tokens", "ids", "inputs", "gold_by_layer")
        has = [name for name in names if getattr(self, name) is not None]
        return f"<AlignmentData n={n} q={q} k={self.n_keys} d={d} v={self.V.shape[2]} {self.Q.dtype}; has {', '.join(has) or 'no gold'}>"

    @property
    def lengths(self) -> Array:
        """int (n,): the places of each sequence that are no padding; all of them where there are no ids."""
        if self.ids is None:
            return np.full(len(self), self.n_queries)
        return np.asarray((self.ids != PADDING).sum(axis=1))

    # -- what the metrics ask -----------------------------------------------------------------------------------
    @property
    def allowed(self) -> Array:
        """bool (n, q, k): the mask, or all True."""
        return np.ones((len(self), self.n_queries, self.n_keys), dtype=bool) if self.mask is None else self.mask

    @property
    def alive(self) -> Array:
        """bool (n, q): queries that may attend to something; the others are padding."""
        if self.mask is None and self.n_keys:
            return np.ones((len(self), self.n_queries), dtype=bool)
        return np.asarray(self.allowed.any(axis=-1))

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class for each query."""
        return self.target is not None and self.target.dtype.kind in "iu"

    def finite(self, *names: str) -> AlignmentData:
        """The same examples, with zeros for what is NaN or infinite where nobody reads it.

        Nobody reads a query that may attend to nothing, what it should get, and keys and values that no query may attend to.

        Parameters
        ----------
        *names : of "Q", "K", "V" and "target", those to look at; by default all

        Raises
        ------
        ValueError
            When a number that is read is NaN or infinite, naming the array, the example and the row.
        """
        new = self
        for name in names or _ROWS:
            array = getattr(self, name)
            if array is None or array.dtype.kind != "f" or np.isfinite(array).all():
                continue
            read: Array = self.alive if name in ("Q", "target") else np.asarray(self.allowed.any(axis=1))
            spoilt = np.asarray(~np.isfinite(array).all(axis=-1) & read)
            if spoilt.any():
                example, row = (int(i) for i in np.argwhere(spoilt)[0])
                numbers = array[example, row]
                raise ValueError(
                    f"{name} must be finite where it is read: example {example}, {_ROWS[name]} {row} holds "
                    f"{numbers[~np.isfinite(numbers)][0]} ({int(spoilt.any(axis=-1).sum())} of {len(self)} examples have "
                    "such); leave these examples out, or forbid the place by the mask"
                )
            new = self[:] if new is self else new
            setattr(new, name, np.where(read[..., None], array, array.dtype.type(0)))
        return new

    def astype(self, dtype: Any) -> AlignmentData:
        """The same examples with floats of another precision."""
        new = self[:]
        for name in ("Q", "K", "V", "target", "inputs"):
            array = getattr(new, name)
            if array is not None and array.dtype.kind == "f":
                setattr(new, name, array.astype(dtype))
        return new


def _floats(array: Array, name: str) -> Array:
    """The numbers with as many digits as sums of them need."""
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    if is_low(array):
        return array.astype(np.float32)  # sums of fewer digits would not learn
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _rows(given: Any, name: str, length: int | None = None) -> Array:
    """Whole numbers (n, L) of an array, or of sequences of different lengths, with -1 after the end of each."""
    if isinstance(given, np.ndarray) and given.ndim == 2:
        rows = given
    else:
        try:
            each = [np.asarray(row) for row in given]
        except TypeError:
            raise TypeError(
                f"{name} must be an int array (n, L) or a list of sequences; got {type(given).__name__}"
            ) from None
        if wrong := [i for i, row in enumerate(each) if row.ndim != 1 or (row.size and row.dtype.kind not in "iu")]:
            raise TypeError(f"{name}[{wrong[0]}] must be a sequence of whole numbers; got {given[wrong[0]]!r}")
        longest = max([0 if length is None else length, *(len(row) for row in each)])
        rows = np.full((len(each), longest), PADDING)
        for i, row in enumerate(each):
            rows[i, : len(row)] = row
    if rows.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers; got dtype {rows.dtype}")
    return rows.astype(np.intp)


def _checked_ids(ids: Any, shape: tuple[int, int, int]) -> Array:
    ids = as_array(ids, "ids")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be whole numbers, the tokens of sequences; got dtype {ids.dtype}")
    n, q, k = shape
    if q != k or ids.shape != (n, k):
        raise ShapeError(
            f"ids (n, L) must have a token for each query, which is also a key: (n, q, k) = {shape}, ids {ids.shape}"
        )
    ids = ids.astype(np.intp)
    if (ids < PADDING).any():
        raise ValueError(f"ids must be tokens from 0, or -1 for padding; got {ids.min()}")
    there = ids != PADDING
    if (there[:, 1:] & ~there[:, :-1]).any():
        example = int((there[:, 1:] & ~there[:, :-1]).any(axis=1).argmax())
        raise ValueError(f"padding must come after the end: in example {example} a token follows the id -1")
    return ids


def _checked_inputs(inputs: Any, ids: Array | None) -> Array:
    """Numbers (n, L, f), zero at padding."""
    if ids is None:
        raise TypeError("inputs are of sequences: give ids too, the token of each place, such as 0 at all of them")
    inputs = _floats(as_array(inputs, "inputs"), "inputs")
    check_shapes(ids=("n L", ids), inputs=("n L f", inputs))
    there = (ids != PADDING)[:, :, None]
    if (spoilt := there & ~np.isfinite(inputs)).any():
        example, place, feature = (int(i) for i in np.argwhere(spoilt)[0])
        raise ValueError(
            f"inputs must be finite: example {example}, place {place} holds {inputs[example, place, feature]}"
        )
    return np.where(there, inputs, inputs.dtype.type(0))


def _checked_labels(labels: Any, ids: Array) -> tuple[Array, Array]:
    """What each place should say, zero where it does not count, and bool (n, L): which places count."""
    there = ids != PADDING
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "f":
        check_shapes(ids=("n L", ids), labels=("n L t", labels))
        counts = there & ~np.isnan(labels).any(axis=-1)
        return np.where(counts[:, :, None], labels, labels.dtype.type(0)), counts
    if labels is None:
        labels = np.full_like(ids, PADDING)
        labels[:, :-1] = ids[:, 1:]
    else:
        labels = _rows(labels, "labels", ids.shape[1])
        check_shapes(ids=("n L", ids), labels=("n L", labels))
    if (labels < PADDING).any():
        raise ValueError(f"labels must be classes from 0, or -1 where a place does not count; got {labels.min()}")
    counts = there & (labels != PADDING)
    return np.where(counts, labels, 0), counts


@dataclass(frozen=True)
class Splits:
    """What a task makes: examples to learn from, to choose by, and to report on (one or more test conditions)."""

    train: AlignmentData
    validation: AlignmentData
    tests: Mapping[str, AlignmentData] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, data in [("train", self.train), ("validation", self.validation), *self.tests.items()]:
            if not isinstance(data, AlignmentData):
                raise TypeError(f"Splits: {name} must be AlignmentData; got {type(data).__name__}")
        if not self.tests:
            raise ValueError('Splits needs at least one test condition: tests={"test": AlignmentData(...)}')
