"""Answers that lie a step beyond what matches the query: what followed a token or several, and the first of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import chance_at, of_lengths, sequence, to_the_one_before

__all__ = ["Induction", "NgramCopy", "VariableTracking"]


MOST_TRIES = 100  # draws in vain before a task is said to be impossible


@dataclass(eq=False, repr=False)
class Induction(DrawnTask):
    """A B ... A: what comes next is B, which followed A before.

    An example is k tokens, uniform with repetition. A place asks where its token occurred exactly once before, and not just
    before it. With vectors e_x and p_x ~ N(0, I_d) for each token, drawn once for all splits,

        q_j = e_x(j),   k_j = e_x(j) + trace * p_x(j-1),   v_j = the one-hot vector of x_j

    Gold: the link to the place after the earlier occurrence. By layer: from each place to the one before it, then gold. Target: its
    token, int (n, k), of `vocabulary` classes. Chance: the mean of 1/(j - 1) over the places j that ask, as a place may attend to all
    places before it.

    Parameters
    ----------
    length : int, at least 3
        Tokens of an example, k.
    vocabulary : int, at least 2
        Different tokens.
    trace : float, at least 0
        How much a key holds of the token before it, as a first layer would leave it. With 0 nothing, and only keys that see
        their neighbours can do it: the position `short_conv`, or a second layer.
    d : int, at least 1
        Features of a query or key.
    longer : sequence of int, each at least 3
        Further test conditions of these lengths, named `n=64` for 64.
    distances : sequence of int, each at least 1
        Further test conditions in which only the places ask whose answer is just so far before them, named `distance=8`.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When a distance leaves no place that could ask.

    References
    ----------
    Olsson et al. (2022), In-context learning and induction heads.

    Examples
    --------
    >>> import numpy as np
    >>> data = Induction(trace=0.0, n_train=50).make(np.random.default_rng(0)).train
    >>> places = data.gold.argmax(axis=-1)[data.alive]
    >>> bool((data.K[np.nonzero(data.alive)[0], places - 1] == data.Q[data.alive]).all())
    True
    """

    name = "induction"
    source = Source("In-context Learning and Induction Heads", "C. Olsson et al.", 2022, "arXiv:2209.11895")
    revision = 1
    counts = (*DrawnTask.counts, "longer", "distances")

    length: Annotated[int, Ge(3)] = 32
    vocabulary: Annotated[int, Ge(2)] = 16
    trace: Annotated[float, Ge(0)] = 0.5
    d: Count = 16
    longer: Sequence[Annotated[int, Ge(3)]] = ()
    distances: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        before = np.arange(2, self.length)  # places before one that may ask
        alone = (before - 1) / self.vocabulary * (1 - 1 / self.vocabulary) ** (before - 1)
        return chance_at(alone, before)

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"E": rng.normal(size=(self.vocabulary, self.d)), "P": rng.normal(size=(self.vocabulary, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        for distance in self.distances:
            if distance > self.length - 2:
                raise SettingError(
                    f"task 'induction': distances must be at most length - 2 = {self.length - 2}; got {distance}"
                )
        return of_lengths(self.longer) | {f"distance={far}": {"distance": far} for far in self.distances}

    def draw(
        self, rng: Rng, n: int, E: Array, P: Array, length: int | None = None, distance: int | None = None
    ) -> AlignmentData:
        k = length or self.length
        tokens = rng.integers(self.vocabulary, size=(n, k))
        if distance is not None:  # somebody asks: the last token is that of the place before the answer
            tokens = self._with(rng, tokens, distance)
        same = (tokens[:, :, None] == tokens[:, None, :]) & np.tri(k, k=-1, dtype=bool)
        answer = same.argmax(axis=-1) + 1  # (n, k), the place after the first occurrence
        asked = (same.sum(axis=-1) == 1) & (answer < np.arange(k))
        if distance is not None:
            asked &= np.arange(k) - answer == distance
        K = E[tokens]
        K[:, 1:] += self.trace * P[tokens[:, :-1]]
        answer = np.minimum(answer, k - 1)
        target = np.take_along_axis(tokens, answer, axis=1)
        links = np.eye(k, dtype=bool)[answer] & asked[:, :, None]
        by_layer = np.concatenate([to_the_one_before(n, k), links[:, None]], axis=1)
        V = np.eye(self.vocabulary)[tokens]
        return sequence(K, V, asked, links, target, Q=E[tokens], ids=tokens, by_layer=by_layer)

    def _with(self, rng: Rng, tokens: Array, distance: int) -> Array:
        """The tokens, with a last one that occurs once before, at distance + 1 places."""
        k = tokens.shape[1]
        name = tokens[:, k - 2 - distance].copy()
        other = (name[:, None] + rng.integers(1, self.vocabulary, size=tokens.shape)) % self.vocabulary
        tokens = np.where(tokens == name[:, None], other, tokens)
        tokens[:, k - 2 - distance] = tokens[:, -1] = name
        return tokens


@dataclass(eq=False, repr=False)
class VariableTracking(DrawnTask):
    """x = 7, y = x, z = y, and what is z? A query must find the assignment with which its chain began.

    An example has n_chains chains of `depth` assignments, in a random order in which each comes after the one it refers to. All
    names are different. The first of a chain gives a value, each other one the name before it. With vectors l_x and r_x ~
    N(0, I_d) for each name, drawn once for all splits,

        k_j = l_left(j) + r_right(j) (nothing for a value),   v_j = the one-hot vector of the value (zero),   q_i = l_x(i)

    Gold: the link to the first assignment of the chain of x(i), which is uniform on all names. Target: its value, int (n, q), of
    `n_values` classes. Chance: 1/k, where k = n_chains * depth.

    Parameters
    ----------
    n_chains : int, at least 1
        Chains of an example.
    depth : int, at least 1
        Assignments of a chain. At depth 1 the task is a lookup.
    vocabulary : int, at least 1
        Different names; at least as many as an example has.
    n_values : int, at least 2
        Classes of values.
    n_queries : int, at least 1
        Queries of an example.
    d : int, at least 1
        Features of a query or key.
    depths : sequence of int, each at least 1
        Further test conditions in which all names that are asked for have this place in their chain, named `depth=2`.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When there are too few names, or one of `depths` is more than `depth`.

    Notes
    -----
    One layer of attention takes one step. It can find the value of a name of depth 1; for the others it can do no better than
    to guess among the first assignments.

    References
    ----------
    Hsieh et al. (2024), RULER: what's the real context size of your long-context language models?

    Examples
    --------
    >>> import numpy as np
    >>> splits = VariableTracking(depths=[1, 3], n_train=4).make(np.random.default_rng(0))
    >>> splits.train, list(splits.tests)
    (<AlignmentData n=4 q=4 k=12 d=16 v=8 float64; has gold, target>, ['test', 'depth=1', 'depth=3'])
    """

    name = "variable_tracking"
    source = Source(
        "RULER: What's the Real Context Size of Your Long-Context Language Models?", "C.-P. Hsieh et al.", 2024, "COLM"
    )
    revision = 1
    counts = (*DrawnTask.counts, "depths")

    n_chains: Count = 4
    depth: Count = 3
    vocabulary: Count = 32
    n_values: Annotated[int, Ge(2)] = 8
    n_queries: Count = 4
    d: Count = 16
    depths: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        return 1 / (self.n_chains * self.depth)

    def shared(self, rng: Rng) -> dict[str, Array]:
        if self.vocabulary < self.n_chains * self.depth:
            raise SettingError(
                f"task 'variable_tracking': names differ, so vocabulary must be at least n_chains * depth = "
                f"{self.n_chains * self.depth}; got {self.vocabulary}"
            )
        return {"left": rng.normal(size=(self.vocabulary, self.d)), "right": rng.normal(size=(self.vocabulary, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        for at in self.depths:
            if at > self.depth:
                raise SettingError(f"task 'variable_tracking': depths must be at most depth = {self.depth}; got {at}")
        return {f"depth={at}": {"at": at} for at in self.depths}

    def draw(self, rng: Rng, n: int, left: Array, right: Array, at: int | None = None) -> AlignmentData:
        c, depth = self.n_chains, self.depth
        k = c * depth
        chain = rng.permuted(np.broadcast_to(np.arange(k) % c, (n, k)), axis=1)  # of each assignment
        same = chain[:, :, None] == chain[:, None, :]
        step = (same & np.tri(k, k=-1, dtype=bool)).sum(axis=-1)  # how many of its chain come before it
        name = rng.permuted(np.broadcast_to(np.arange(self.vocabulary), (n, self.vocabulary)), axis=1)[:, :k]
        before = (same & (step[:, :, None] == step[:, None, :] + 1)).argmax(axis=-1)  # the assignment it refers to
        root = (same & (step == 0)[:, None, :]).argmax(axis=-1)
        value = rng.integers(self.n_values, size=(n, k))
        example = np.arange(n)[:, None]
        refers = (step > 0)[:, :, None]
        which = rng.integers(c, size=(n, self.n_queries)), rng.integers(depth, size=(n, self.n_queries))
        place = np.empty((n, c, depth), dtype=np.intp)
        place[example, chain, step] = np.arange(k)
        asked = place[example, which[0], which[1] if at is None else at - 1]
        return AlignmentData(
            left[name[example, asked]],
            left[name] + right[name[example, before]] * refers,
            np.eye(self.n_values)[value] * ~refers,
            gold=np.eye(k)[root[example, asked]],
            target=value[example, root[example, asked]],
        )


@dataclass(eq=False, repr=False)
class NgramCopy(DrawnTask):
    """Say what follows: a few tokens are given, and the answer is the token after the one place where they occurred.

    An example is k tokens x_1..x_k, uniform with repetition. The key of place j is what stands before it, the vectors of
    x_(j-n), .., x_(j-1) side by side in d/n features each (zeros before the first place). Its value is the one-hot vector of
    x_j. A query is n tokens that stand before exactly one place, in the same form.

    Gold: the link to that place. Target: its token, int (n, q), of `vocabulary` classes. Chance: 1/k.

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

    @property
    def chance(self) -> float:
        return 1 / self.length

    def shared(self, rng: Rng) -> dict[str, Any]:
        if self.d % self.n_gram:
            raise SettingError(f"task 'ngram_copy': d must be a multiple of n_gram = {self.n_gram}; got {self.d}")
        if self.n_gram >= (least := min([self.length, *self.longer])):
            raise SettingError(
                f"task 'ngram_copy': n_gram must be less than each length, here {least}; got {self.n_gram}"
            )
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
        padded = np.concatenate([np.zeros((n, self.n_gram, E.shape[1])), E[tokens]], axis=1)
        K = np.concatenate([padded[:, i : i + k] for i in range(self.n_gram)], axis=-1)
        places = np.argsort(np.where(alone, rng.random((n, k)), np.inf), axis=1)[:, : self.n_queries]
        example = np.arange(n)[:, None]
        V = np.eye(self.vocabulary)[tokens]
        return AlignmentData(K[example, places], K, V, gold=np.eye(k)[places], target=tokens[example, places])

    def _alone(self, tokens: Array) -> Array:
        """bool (n, k): places with n tokens before them that no other place has before it."""
        n, k = tokens.shape
        same = np.ones((n, k, k), dtype=bool)
        for back in range(1, self.n_gram + 1):
            shifted = np.concatenate([np.full((n, back), -1), tokens[:, :-back]], axis=1)  # -1: nothing there
            same &= shifted[:, :, None] == shifted[:, None, :]
        return (same.sum(axis=-1) == 1) & (np.arange(k) >= self.n_gram)
