"""What is said of a source, as queries and keys apart or as one sequence: the source, a separator, and what is said."""

# The annotation of `layout` is an object, not text, as in `attnlab.tasks.drawn`: tasks in other modules inherit it.

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from attnlab.data import PADDING, AlignmentData
from attnlab.tasks.drawn import Array, DrawnTask
from attnlab.tasks.places import sequence

__all__ = ["SaidTask", "asked_after", "in_one_sequence", "numbered"]

SAMPLE = 1024  # examples from which the level of chance is found in the layout tokens


@dataclass(eq=False, repr=False)
class SaidTask(DrawnTask):
    """A task in which something is said of a source, word by word, or queries ask about a set.

    With ``layout="pairs"`` the words of the source are keys, and a query asks for each word that is said. With ``layout="tokens"`` an
    example is one sequence, as a decoder reads it: the source, a separator, and what is said. The place of the separator and those
    after it say the word at the next place, and no other place counts. Of a set the keys come first, and then the queries, which count.

    Parameters
    ----------
    layout : str
        pairs or tokens.
    """

    layout: Literal["pairs", "tokens"] = field(default="pairs", kw_only=True)

    def laid_out(self, data: AlignmentData) -> AlignmentData:
        """Keys and queries in the layout of the task."""
        return data if self.layout == "pairs" else asked_after(data)

    def chance_in(self, pairs: float) -> float:
        """The level of chance, from that of the layout pairs; that of tokens is found from 1,024 examples."""
        if self.layout == "pairs":
            return pairs
        kept = {name: value for name, value in self.get_params(deep=False).items() if name not in self.counts}
        kind: Any = type(self)
        return _chance(kind, tuple(kept.items()))


def numbered(source: Iterable[str], class_of: Mapping[str, int]) -> dict[str, int]:
    """The token of each word: a class has the number of its first word, then come the other words.

    Parameters
    ----------
    source : words of sources
    class_of : words that are said, and the class of each, from 0
    """
    first: dict[int, str] = {}
    for word, number in class_of.items():
        first.setdefault(number, word)
    words = [first[number] for number in range(len(first))]
    return {word: i for i, word in enumerate(dict.fromkeys([*words, *class_of, *source]))}


def in_one_sequence(
    data: AlignmentData, sources: Sequence[Sequence[int]], said: Sequence[Sequence[int]], separator: int
) -> AlignmentData:
    """Examples of the layout pairs as sequences.

    Parameters
    ----------
    data : AlignmentData with gold (n, q, k) and classes (n, q)
    sources, said : of each example the tokens of its source, at most k, and of what is said, at most q
    separator : int
        The token between them, the largest of all.

    Returns
    -------
    AlignmentData of n sequences of k + 1 + q places, padded. The label of a place is the class of what is said next, gold the place of its
    source. Queries, keys and values are one-hot vectors of the tokens.
    """
    gold, classes = np.asarray(data.gold), np.asarray(data.target)
    n, q, k = gold.shape
    length = k + 1 + q
    ids, target = np.full((n, length), PADDING), np.zeros((n, length), dtype=np.intp)
    asked, links = np.zeros((n, length), dtype=bool), np.zeros((n, length, length))
    possible = None if data.possible is None else np.zeros((n, length, length), dtype=bool)
    for e, (source, words) in enumerate(zip(sources, said, strict=True)):
        m, u = len(source), len(words)
        ids[e, : m + 1 + u] = [*source, separator, *words]
        asked[e, m : m + u] = True
        target[e, m : m + u] = classes[e, :u]
        links[e, m : m + u, :m] = gold[e, :u, :m]
        if possible is not None and data.possible is not None:
            possible[e, m : m + u, :m] = data.possible[e, :u, :m]
    vectors: Array = np.eye(separator + 2)[ids][..., :-1]  # padding is the last row, which is cut to zeros
    return sequence(vectors, vectors, asked, links, target, ids=ids, possible=possible)


def asked_after(data: AlignmentData) -> AlignmentData:
    """Sets of keys and values, and queries about them, as sequences: first the keys, then the queries.

    Parameters
    ----------
    data : AlignmentData with gold and target, and queries as wide as keys

    Returns
    -------
    AlignmentData of n sequences of k + q places. `inputs` (n, k + q, d + v) are a key and its value side by side, or a query and zeros;
    the token is 0 or 1, which says which. Each query asks, and may attend to all before it. Keys that no query may attend to are left
    out, so that there is padding at the end. Keys and queries are the inputs, values those of the keys, and 0.
    """
    n, q, k, v = len(data), data.n_queries, data.n_keys, data.V.shape[2]
    none = np.zeros((n, q, v))
    places = np.concatenate([np.concatenate([data.K, data.V], axis=2), np.concatenate([data.Q, none], axis=2)], axis=1)
    there = np.concatenate([data.allowed.any(axis=1), np.ones((n, q), dtype=bool)], axis=1)
    asks = np.broadcast_to(np.arange(k + q) >= k, (n, k + q))
    target = np.asarray(data.target)
    target = np.concatenate([np.zeros((n, k, *target.shape[2:]), dtype=target.dtype), target], axis=1)
    links = np.zeros((n, k + q, k + q))
    links[:, k:, :k] = data.gold
    V = np.concatenate([data.V, none], axis=1)

    order = np.argsort(~there, axis=1, kind="stable")  # padding comes last
    e = np.arange(n)[:, None]
    links = links[e[:, :, None], order[:, :, None], order[:, None, :]]
    there, asks, places, V, target = (array[e, order] for array in (there, asks, places, V, target))
    ids = np.where(there, asks, PADDING)
    return sequence(places, V, asks, links, target, ids=ids, inputs=places)


@functools.lru_cache(maxsize=64)
def _chance(cls: Any, settings: tuple[tuple[str, Any], ...]) -> float:
    task = cls(**dict(settings), n_train=1, n_validation=1, n_test=SAMPLE)
    data = task.make_to_measure(np.random.default_rng(0)).tests["test"]
    links = (data.gold > 0).sum(axis=-1)
    return float((links / np.maximum(data.allowed.sum(axis=-1), 1))[links > 0].mean())
