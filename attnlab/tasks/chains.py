"""Answers that lie a step beyond what matches the query: what followed a token, and the first of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import chance_at, of_lengths, sequence, to_the_one_before

__all__ = ["Induction", "VariableTracking"]


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

    With ``layout="tokens"`` an example is one sequence of two tokens for each assignment, what is left of the sign and what is right of
    it, and the names that are asked for, of which a place may attend to all places before it. The label is the token of the value,
    gold its place, and keys, queries and values are those of the tokens. Chance: the mean of 1/(2k + t) over t = 0..q - 1.

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
    layout : str
        joined: a place holds an assignment. tokens: a place holds a token, for models of sequences.
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
    layout: Literal["joined", "tokens"] = "joined"

    @property
    def chance(self) -> float:
        k = self.n_chains * self.depth
        return 1 / k if self.layout == "joined" else float(np.mean(1 / (2 * k + np.arange(self.n_queries))))

    def shared(self, rng: Rng) -> dict[str, Array]:
        if self.vocabulary < self.n_chains * self.depth:
            raise SettingError(
                f"task 'variable_tracking': names differ, so vocabulary must be at least n_chains * depth = "
                f"{self.n_chains * self.depth}; got {self.vocabulary}"
            )
        tokens = self.vocabulary + (self.n_values if self.layout == "tokens" else 0)
        return {"left": rng.normal(size=(tokens, self.d)), "right": rng.normal(size=(self.vocabulary, self.d))}

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
        if self.layout == "tokens":
            said = np.where(step > 0, name[example, before], self.vocabulary + value)
            return self._tokens(left, name, said, name[example, asked], root[example, asked])
        return AlignmentData(
            left[name[example, asked]],
            left[name] + right[name[example, before]] * refers,
            np.eye(self.n_values)[value] * ~refers,
            gold=np.eye(k)[root[example, asked]],
            target=value[example, root[example, asked]],
        )

    def _tokens(self, E: Array, name: Array, said: Array, asks: Array, root: Array) -> AlignmentData:
        """Sequences of names (n, k) and what each is said to be, then the names that are asked for (n, q), first assigned at `root`."""
        (n, k), q = name.shape, asks.shape[1]
        length = 2 * k + q
        ids = np.concatenate([np.stack([name, said], axis=2).reshape(n, 2 * k), asks], axis=1)
        asked = np.broadcast_to(np.arange(length) >= 2 * k, (n, length))
        places = np.concatenate([np.zeros((n, 2 * k), dtype=np.intp), 2 * root + 1], axis=1)
        target = np.take_along_axis(ids, places, axis=1)
        return sequence(E[ids], np.eye(len(E))[ids], asked, np.eye(length)[places], target, ids=ids)
