"""Copying by what stood before: the token after the one place where a few tokens occurred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import of_lengths, sequence

__all__ = ["NgramCopy"]

MOST_TRIES = 100  # draws in vain before a task is said to be impossible


@dataclass(eq=False, repr=False)
class NgramCopy(DrawnTask):
    """Say what follows: a few tokens are given, and the answer is the token after the one place where they occurred.

    An example is k tokens x_1..x_k, uniform with repetition. The key of place j is what stands before it, the vectors of
    x_(j-n), .., x_(j-1) side by side in d/n features each (zeros before the first place). Its value is the one-hot vector of
    x_j. A query is n tokens that stand before exactly one place, in the same form.

    Gold: the link to that place. Target: its token, int (n, q), of `vocabulary` classes. Chance: 1/k.

    With ``layout="tokens"`` an example is one sequence: the k tokens, and for each query a separator and its n tokens, the last of which
    is asked and may attend to all places before it. Keys, queries and values are those of the tokens. By layer: from each of the k
    places to the n before it, and from the place that is asked to the other tokens of its query; then gold. Chance: the mean of
    1/(k + (n + 1) t - 1) over the queries t = 1..q.

    Parameters
    ----------
    length : int, at least 2
        Tokens of an example, k.
    n_gram : int, at least 1
        Tokens that are given, n; fewer than `length`.
    vocabulary : int, at least 2
        Different tokens. With few of them, and a small n, places before which the tokens differ in one are many.
    n_queries : int, at least 1
        Queries of an example, each for another place.
    d : int, at least 1
        Features of a query or key, a multiple of n_gram.
    longer : sequence of int
        Further test conditions of these lengths, named `n=128` for 128.
    layout : str
        joined: a key holds the tokens before its place. tokens: a place holds a token, for models of sequences.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When d is no multiple of n_gram, n_gram is not less than each length, or hardly any example has n_queries places that are
        alone with their tokens.

    Notes
    -----
    A phone book is looked up in this way, and a copy that finds its place by the last n tokens said. In a transformer a first
    layer gathers the tokens before each place; here the keys hold them.

    References
    ----------
    Jelassi et al. (2024), Repeat after me: transformers are better than state space models at copying.

    Examples
    --------
    >>> import numpy as np
    >>> data = NgramCopy(n_train=4).make(np.random.default_rng(0)).train
    >>> alike = (data.Q[:, :, None] == data.K[:, None]).all(axis=-1)
    >>> data, bool((alike == data.gold).all())
    (<AlignmentData n=4 q=4 k=64 d=6 v=8 float64; has gold, target>, True)
    """

    name = "ngram_copy"
    source = Source(
        "Repeat After Me: Transformers are Better than State Space Models at Copying",
        "S. Jelassi, D. Brandfonbrener, S. M. Kakade, E. Malach",
        2024,
        "arXiv:2402.01032",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    length: Annotated[int, Ge(2)] = 64
    n_gram: Count = 3
    vocabulary: Annotated[int, Ge(2)] = 8
    n_queries: Count = 4
    d: Count = 6
    longer: Sequence[Count] = ()
    layout: Literal["joined", "tokens"] = "joined"

    @property
    def chance(self) -> float:
        if self.layout == "joined":
            return 1 / self.length
        return float(np.mean(1 / (self.length + (self.n_gram + 1) * np.arange(1, self.n_queries + 1) - 1)))

    def shared(self, rng: Rng) -> dict[str, Any]:
        if self.d % self.n_gram:
            raise SettingError(f"task 'ngram_copy': d must be a multiple of n_gram = {self.n_gram}; got {self.d}")
        if self.n_gram >= (least := min([self.length, *self.longer])):
            raise SettingError(
                f"task 'ngram_copy': n_gram must be less than each length, here {least}; got {self.n_gram}"
            )
        if self.layout == "tokens":
            return {"E": rng.normal(size=(self.vocabulary + 1, self.d))}
        return {"E": rng.normal(size=(self.vocabulary, self.d // self.n_gram))}

    def conditions(self) -> dict[str, dict[str, int]]:
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, E: Array, length: int | None = None) -> AlignmentData:
        k = length or self.length
        tokens, alone = np.zeros((n, k), dtype=np.intp), np.zeros((n, k), dtype=bool)
        for _ in range(MOST_TRIES):
            few = alone.sum(axis=1) < self.n_queries
            if not few.any():
                break
            tokens[few] = rng.integers(self.vocabulary, size=(few.sum(), k))
            alone[few] = self._alone(tokens[few])
        else:
            raise SettingError(
                f"task 'ngram_copy': of {MOST_TRIES} examples hardly one has n_queries = {self.n_queries} places that are alone "
                f"with the n_gram = {self.n_gram} tokens before them; raise vocabulary or n_gram, or lower n_queries"
            )
        places = np.argsort(np.where(alone, rng.random((n, k)), np.inf), axis=1)[:, : self.n_queries]
        if self.layout == "tokens":
            return self._tokens(E, tokens, places)
        padded = np.concatenate([np.zeros((n, self.n_gram, E.shape[1])), E[tokens]], axis=1)
        K = np.concatenate([padded[:, i : i + k] for i in range(self.n_gram)], axis=-1)
        example = np.arange(n)[:, None]
        V = np.eye(self.vocabulary)[tokens]
        return AlignmentData(K[example, places], K, V, gold=np.eye(k)[places], target=tokens[example, places])

    def _tokens(self, E: Array, tokens: Array, places: Array) -> AlignmentData:
        """Sequences of the tokens (n, k), and for each of the places (n, q) a separator and the tokens before it."""
        (n, k), q, m = tokens.shape, places.shape[1], self.n_gram
        length = k + q * (m + 1)
        given = np.take_along_axis(tokens[:, None], places[:, :, None] - np.arange(m, 0, -1), axis=2)  # (n, q, m)
        queries = np.concatenate([np.full((n, q, 1), self.vocabulary), given], axis=2)
        ids = np.concatenate([tokens, queries.reshape(n, -1)], axis=1)
        asks = k + (m + 1) * np.arange(1, q + 1) - 1
        where = np.zeros((n, length), dtype=np.intp)
        where[:, asks] = places
        asked = np.zeros((n, length), dtype=bool)
        asked[:, asks] = True
        links = np.eye(length, dtype=bool)[where] & asked[:, :, None]
        back = np.subtract.outer(np.arange(length), np.arange(length))  # how far back a place is
        gathers = (back > 0) & (back <= m)
        gathers[:m] = gathers[k:] = False
        gathers[asks] = (back[asks] > 0) & (back[asks] < m)
        by_layer = np.stack([np.broadcast_to(gathers, links.shape), links], axis=1)
        target = np.take_along_axis(ids, where, axis=1)
        return sequence(E[ids], np.eye(len(E))[ids], asked, links, target, ids=ids, by_layer=by_layer)

    def _alone(self, tokens: Array) -> Array:
        """bool (n, k): places with n tokens before them that no other place has before it."""
        n, k = tokens.shape
        same = np.ones((n, k, k), dtype=bool)
        for back in range(1, self.n_gram + 1):
            shifted = np.concatenate([np.full((n, back), -1), tokens[:, :-back]], axis=1)  # -1: nothing there
            same &= shifted[:, :, None] == shifted[:, None, :]
        return (same.sum(axis=-1) == 1) & (np.arange(k) >= self.n_gram)
