"""Brackets in brackets: which one is open?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, MultipleOf

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import chance_at, needs_tokens, of_lengths, sequence

__all__ = ["Dyck"]

Even = Annotated[int, Ge(2), MultipleOf(2)]


@dataclass(eq=False, repr=False)
class Dyck(DrawnTask):
    """Brackets: each one that closes must find the one that it closes, and say its type.

    A sequence of k brackets of n_types types is opened and closed in order, never deeper than `depth`: at each place a bracket
    opens or closes with equal probability where both are possible. With vectors o (opens), c (closes), t_x for the types and
    z_1, z_2, .. for the depths, ~ N(0, I_d), drawn once for all splits,

        k_j = o + t_x + z (opens),   q_j = k_j = c + z (closes, its type hidden),   v_j = the one-hot vector of x (zero)

    where z is that of the depth of the bracket if show_depth is on, and zero if not.

    Gold: from each closing bracket the link to the opening one. Target: its type, int (n, k), of n_types classes. Chance: the
    mean of 1/(j - 1) over the places j that close, as a place may attend to all places before it.

    With ``layout="tokens"``, as a language model reads them, closing brackets show their types, and the place before each says which
    bracket it closes: the label is the token of the closing bracket, one of 2 n_types, and gold the opening one. A place may attend to
    itself too. Keys, queries and values are those of the tokens, keys and queries with z.

    Parameters
    ----------
    length : int, at least 2 and even
        Brackets of an example, k.
    n_types : int, at least 2
        Types of brackets.
    depth : int, at least 1
        How deep they may be nested, counted from 1.
    show_depth : bool
        Whether queries and keys know their depth, as a first layer would count it. Then the opening bracket is the last of the
        same depth.
    d : int, at least 1
        Features of a query or key.
    longer : sequence of int, each at least 2 and even
        Further test conditions of these lengths, named `n=64` for 64.
    depths : sequence of int, each at least 1
        Further test conditions in which only brackets of this depth ask, named `depth=2`.
    layout : str
        joined: a closing bracket hides its type, and says it. tokens: as published, for models of sequences.
    every_token : bool
        Of layout tokens: whether in training and validation each place says the next token and counts, as a language model learns. Only
        the types of closing brackets can be known, so tests count these alone.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When one of `depths` is more than `depth`, or deeper than `length` allows, or every_token is asked for in layout joined.

    References
    ----------
    Hewitt et al. (2020), RNNs can generate bounded hierarchical languages with optimal memory, for Dyck-(k, m).

    Examples
    --------
    >>> import numpy as np
    >>> data = Dyck(length=4, depth=1, n_train=1).make(np.random.default_rng(0)).train
    >>> data.gold[0].astype(int).tolist()
    [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    """

    name = "dyck"
    source = Source(
        "RNNs Can Generate Bounded Hierarchical Languages with Optimal Memory",
        "J. Hewitt, M. Hahn, S. Ganguli, P. Liang, C. D. Manning",
        2020,
        "EMNLP",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer", "depths")

    length: Even = 32
    n_types: Annotated[int, Ge(2)] = 4
    depth: Count = 4
    show_depth: bool = True
    d: Count = 16
    longer: Sequence[Even] = ()
    depths: Sequence[Count] = ()
    layout: Literal["joined", "tokens"] = "joined"
    every_token: bool = False

    @property
    def chance(self) -> float:
        k = self.length
        at = np.zeros(self.depth + 1)  # how likely each depth is
        at[0] = 1
        closes = np.zeros(k)
        for j in range(k):
            opens = at * self._opening(np.arange(self.depth + 1), k - j)
            closes[j] = (at - opens).sum()
            at = np.append(0, opens[:-1]) + np.append((at - opens)[1:], 0)
        return chance_at(closes, np.arange(k))

    def _opening(self, open_now: Array, left: int) -> Array:
        """The probability that the next bracket opens, where so many are open and so many places are left."""
        may_open = (open_now < self.depth) & (open_now < left)
        return np.where(open_now == 0, 1.0, np.where(may_open, 0.5, 0.0))

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {
            "kinds": rng.normal(size=(2, self.d)),
            "types": rng.normal(size=(self.n_types, self.d)),
            "deep": rng.normal(size=(self.depth + 1, self.d)) * self.show_depth,
        }

    def conditions(self) -> dict[str, dict[str, int]]:
        needs_tokens(self)
        most = min(self.depth, self.length // 2)
        for at in self.depths:
            if at > most:
                raise SettingError(f"task 'dyck': depths must be at most {most}, with this depth and length; got {at}")
        return of_lengths(self.longer) | {f"depth={at}": {"at": at} for at in self.depths}

    def draw(
        self,
        rng: Rng,
        n: int,
        split: str,
        kinds: Array,
        types: Array,
        deep: Array,
        length: int | None = None,
        at: int | None = None,
    ) -> AlignmentData:
        k = length or self.length
        opens, level, answer = (
            np.zeros((n, k), dtype=bool),
            np.zeros((n, k), dtype=np.intp),
            np.zeros((n, k), dtype=np.intp),
        )
        example, open_now = np.arange(n), np.zeros(n, dtype=np.intp)
        latest = np.zeros((n, self.depth + 1), dtype=np.intp)  # the last place that opened at each depth
        for j in range(k):
            opens[:, j] = rng.random(n) < self._opening(open_now, k - j)
            level[:, j] = open_now + opens[:, j]
            latest[example, level[:, j]] = np.where(opens[:, j], j, latest[example, level[:, j]])
            answer[:, j] = latest[example, level[:, j]]
            open_now = level[:, j] - ~opens[:, j]
        kind = rng.integers(self.n_types, size=(n, k))
        shown = opens[:, :, None]
        asked = ~opens if at is None else ~opens & (level == at)
        if self.layout == "tokens":
            every = self.every_token and split in ("train", "validation")
            kind = np.take_along_axis(kind, np.where(opens, np.arange(k), answer), axis=1)
            X = kinds[(~opens).astype(np.intp)] + types[kind] + deep[level]
            return _as_language(X, kind + self.n_types * ~opens, answer, asked, 2 * self.n_types, every)
        return sequence(
            kinds[(~opens).astype(np.intp)] + types[kind] * shown + deep[level],
            np.eye(self.n_types)[kind] * shown,
            asked,
            np.eye(k)[answer],
            np.take_along_axis(kind, answer, axis=1),
            ids=np.where(opens, kind, self.n_types),
        )


def _as_language(X: Array, ids: Array, answer: Array, asked: Array, n_tokens: int, every: bool) -> AlignmentData:
    """Brackets of which each says the next: the place before one that closes attends to the place that opened it."""
    n, k = ids.shape

    def before(array: Array) -> Array:
        """What the next place has; nothing at the last."""
        return np.concatenate([array[:, 1:], np.zeros_like(array[:, :1])], axis=1)

    asks = before(asked)
    links = np.eye(k, dtype=bool)[before(answer)] & asks[:, :, None]
    if every:
        asks = np.broadcast_to(np.arange(k) < k - 1, (n, k))
    return sequence(X, np.eye(n_tokens)[ids], asks, links, before(ids), itself=True, ids=ids)
