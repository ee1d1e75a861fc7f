"""Sequences that ask about their own past: the last write, the mean since the start, the bracket that is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Lt, MultipleOf

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import chance_at, of_lengths, sequence

__all__ = ["Dyck", "FlipFlop", "TriggerAverage"]

Even = Annotated[int, Ge(2), MultipleOf(2)]
Share = Annotated[float, Gt(0), Lt(1)]


@dataclass(eq=False, repr=False)
class FlipFlop(DrawnTask):
    """Write, ignore, read: a read must give the bit of the last write, whatever was said to be ignored since.

    Each of the k places holds an instruction and a bit: write, ignore, or read, whose bit is hidden. The first place writes
    and the last reads. The others ignore with probability p_ignore, and else write or read alike. Bits are uniform. With
    vectors of the instructions and bits ~ N(0, I_d), drawn once for all splits,

        k_j = the vector of the instruction + that of the bit (reads have none),   v_j = the one-hot vector of the bit (zero)

    Gold: the link from each read to the last write before it. Target: that bit, int (n, k), of 2 classes. Chance: the mean
    over reads of 1/(j - 1), where j counts places from 1, as a place may attend to all places before it.

    Parameters
    ----------
    length : int, at least 2
        Places of an example, k.
    p_ignore : float, between 0 and 1
        Share of the places in the middle that say to ignore.
    d : int, at least 1
        Features of a query or key.
    longer : sequence of int, each at least 2
        Further test conditions of these lengths, named `n=64` for 64.
    ignores : sequence of float, between 0 and 1
        Further test conditions with these values of p_ignore, named `ignore=0.98`.
    distances : sequence of int, each at least 1
        Further test conditions in which only the last place is asked, and the last write is just so far before it, named
        `distance=8`; less than `length`.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When a distance is not less than `length`.

    Notes
    -----
    A mechanism that cannot tell early from late spreads its weight on all writes. The original has instruction and bit as two
    tokens, trains with p_ignore = 0.8, and tests with 0.98 and 0.1.

    References
    ----------
    Liu et al. (2023), Exposing attention glitches with flip-flop language modeling.

    Examples
    --------
    >>> import numpy as np
    >>> data = FlipFlop(length=8, n_train=100).make(np.random.default_rng(0)).train
    >>> bool(((data.gold @ data.V).argmax(axis=-1) == data.target)[data.alive].all())
    True
    """

    name = "flip_flop"
    source = Source(
        "Exposing Attention Glitches with Flip-Flop Language Modeling",
        "B. Liu, J. T. Ash, S. Goel, A. Krishnamurthy, C. Zhang",
        2023,
        "arXiv:2306.00946",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer", "ignores", "distances")

    length: Annotated[int, Ge(2)] = 32
    p_ignore: Share = 0.8
    d: Count = 16
    longer: Sequence[Annotated[int, Ge(2)]] = ()
    ignores: Sequence[Share] = ()
    distances: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        reads = np.full(self.length, (1 - self.p_ignore) / 2)
        reads[-1] = 1
        return chance_at(reads, np.arange(self.length))

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"instructions": rng.normal(size=(3, self.d)), "bits": rng.normal(size=(2, self.d))}

    def conditions(self) -> dict[str, dict[str, Any]]:
        for distance in self.distances:
            if distance >= self.length:
                raise SettingError(
                    f"task 'flip_flop': distances must be less than length = {self.length}; got {distance}"
                )
        return {
            **of_lengths(self.longer),
            **{f"ignore={p:g}": {"p_ignore": p} for p in self.ignores},
            **{f"distance={far}": {"distance": far} for far in self.distances},
        }

    def draw(
        self,
        rng: Rng,
        n: int,
        instructions: Array,
        bits: Array,
        length: int | None = None,
        p_ignore: float | None = None,
        distance: int | None = None,
    ) -> AlignmentData:
        k, p = length or self.length, p_ignore or self.p_ignore
        said = rng.choice(3, size=(n, k), p=[(1 - p) / 2, p, (1 - p) / 2])  # write, ignore, read
        said[:, 0], said[:, -1] = 0, 2
        if distance is not None:
            since = said[:, k - distance : -1]
            since[since == 0] = 1
            said[:, k - 1 - distance] = 0
        bit = rng.integers(2, size=(n, k))
        shown = (said != 2)[:, :, None]
        written = np.where(said == 0, np.arange(k), -1)
        last = np.maximum.accumulate(written, axis=1)  # a read writes nothing
        asked = asked_to_read = said == 2
        if distance is not None:
            asked = asked & (np.arange(k) == k - 1)
        return sequence(
            instructions[said] + bits[bit] * shown,
            np.eye(2)[bit] * shown,
            asked,
            np.eye(k)[last],
            np.take_along_axis(bit, last, axis=1),
            ids=np.where(asked_to_read, 4, 2 * said + bit),
        )


@dataclass(eq=False, repr=False)
class TriggerAverage(DrawnTask):
    """With a trigger the mean of all before, else nothing: the places without a trigger should abstain.

    The first of the k places is a start token, with value zero. The others hold a content c_j ~ N(0, I_v) and, with
    probability p_trigger, a trigger. With vectors s (start), t (trigger) and u (no trigger) ~ N(0, I_d), drawn once for all
    splits,

        k_1 = q_1 = s,   k_j = q_j = t or u,   v_1 = 0,   v_j = c_j

    Gold: of a place with a trigger the uniform distribution on the places before it without the start; of the other places a
    row of zeros, as they are null queries. Target: the mean of the contents, or zero, float (n, k, v). The places from the
    third on ask, and may attend to all places before them. Chance: the mean of (j - 2)/(j - 1) over the places j that ask.

    Parameters
    ----------
    length : int, at least 3
        Places of an example, k.
    p_trigger : float, between 0 and 1
        Share of places with a trigger.
    d : int, at least 1
        Features of a query or key.
    d_value : int, at least 1
        Features of a value, v.
    longer : sequence of int, each at least 3
        Further test conditions of these lengths, named `n=64` for 64.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    Nearly all keys are gold where any is, so that alignment accuracy says little: read `context_error`, `null_mass` and
    `sink_mass`. Softmax abstains by spending its weight on the start token. Weights that need not sum to one abstain by
    themselves.

    References
    ----------
    arXiv:2603.11487 (2026), Attention sinks are provably necessary in softmax transformers; there all places before a trigger
    count, and the start token is one.

    Examples
    --------
    >>> import numpy as np
    >>> data = TriggerAverage(length=5, p_trigger=0.5, n_train=1).make(np.random.default_rng(0)).train
    >>> bool(np.allclose(data.gold @ data.V, data.target)), data.gold[0, 4].round(2).tolist()
    (True, [0.0, 0.33, 0.33, 0.33, 0.0])
    """

    name = "trigger_average"
    source = Source(
        "Attention Sinks Are Provably Necessary in Softmax Transformers: Evidence from Trigger-Conditional Tasks",
        "the authors of arXiv:2603.11487",
        2026,
        "arXiv:2603.11487",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    length: Annotated[int, Ge(3)] = 16
    p_trigger: Share = 0.3
    d: Count = 16
    d_value: Count = 8
    longer: Sequence[Annotated[int, Ge(3)]] = ()

    @property
    def chance(self) -> float:
        before = np.arange(2, self.length)
        return chance_at(np.ones(1), before, before - 1)

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"marks": rng.normal(size=(3, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, marks: Array, length: int | None = None) -> AlignmentData:
        k = length or self.length
        trigger = rng.random((n, k)) < self.p_trigger
        kind = np.where(trigger, 1, 2)
        kind[:, 0] = 0
        V = rng.normal(size=(n, k, self.d_value))
        V[:, 0] = 0
        links = np.tri(k, k=-1) * trigger[:, :, None]
        links[:, :, 0] = 0
        asked = np.broadcast_to(np.arange(k) >= 2, (n, k))
        links = links / np.maximum(links.sum(axis=-1, keepdims=True), 1)
        return sequence(marks[kind], V, asked, links, links @ V, ids=kind, inputs=V)


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
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When one of `depths` is more than `depth`, or deeper than `length` allows.

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
        most = min(self.depth, self.length // 2)
        for at in self.depths:
            if at > most:
                raise SettingError(f"task 'dyck': depths must be at most {most}, with this depth and length; got {at}")
        return of_lengths(self.longer) | {f"depth={at}": {"at": at} for at in self.depths}

    def draw(
        self,
        rng: Rng,
        n: int,
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
        return sequence(
            kinds[(~opens).astype(np.intp)] + types[kind] * shown + deep[level],
            np.eye(self.n_types)[kind] * shown,
            asked,
            np.eye(k)[answer],
            np.take_along_axis(kind, answer, axis=1),
            ids=np.where(opens, kind, self.n_types),
        )
