"""Sequences that ask about their own past: the last write, and the mean since the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import chance_at, needs_tokens, of_lengths, sequence

__all__ = ["FlipFlop", "TriggerAverage"]

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

    With ``layout="tokens"``, as published, an instruction and its bit are two places, 2k in all, and the bit of a read is the one that
    was written. The place of a read's instruction says the token at the next place. Gold is the bit of the last write; the bits of reads
    since then, which say the same, are possible links. By layer: from each bit to its instruction, then gold. Keys, queries and
    values are those of the tokens. Chance: the mean over reads of 1/(2j - 2).

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
    layout : str
        joined: a place holds an instruction and its bit. tokens: as published, for models of sequences.
    every_token : bool
        Of layout tokens: whether in training and validation each place says the next token and counts, as a language model learns. Only
        the bits of reads can be known, so tests count these alone.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When a distance is not less than `length`, or every_token is asked for in layout joined.

    Notes
    -----
    A mechanism that cannot tell early from late spreads its weight on all writes. The original has the layout tokens with
    every_token, trains with p_ignore = 0.8, and tests with 0.98 and 0.1.

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
    layout: Literal["joined", "tokens"] = "joined"
    every_token: bool = False

    @property
    def chance(self) -> float:
        reads = np.full(self.length, (1 - self.p_ignore) / 2)
        reads[-1] = 1
        return chance_at(reads, np.arange(self.length) * (1 if self.layout == "joined" else 2))

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"instructions": rng.normal(size=(3, self.d)), "bits": rng.normal(size=(2, self.d))}

    def conditions(self) -> dict[str, dict[str, Any]]:
        needs_tokens(self)
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
        split: str,
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
        if self.layout == "tokens":
            every = self.every_token and split in ("train", "validation")
            return _as_published(said, bit, last, asked, np.concatenate([bits, instructions]), every)
        return sequence(
            instructions[said] + bits[bit] * shown,
            np.eye(2)[bit] * shown,
            asked,
            np.eye(k)[last],
            np.take_along_axis(bit, last, axis=1),
            ids=np.where(asked_to_read, 4, 2 * said + bit),
        )


def _as_published(said: Array, bit: Array, last: Array, asked: Array, E: Array, every: bool) -> AlignmentData:
    """Instructions and bits as tokens: 0 and 1 are bits, 2 to 4 write, ignore and read."""
    n, k = said.shape
    bit = np.where(said == 2, np.take_along_axis(bit, last, axis=1), bit)
    ids = np.stack([said + 2, bit], axis=2).reshape(n, 2 * k)
    links, possible = (np.zeros((n, 2 * k, 2 * k), dtype=bool) for _ in range(2))
    links[:, ::2] = np.eye(2 * k, dtype=bool)[2 * last + 1] & asked[:, :, None]
    same = (said == 2)[:, None, :] & (last[:, :, None] == last[:, None, :]) & np.tri(k, k=-1, dtype=bool)
    possible[:, ::2, 1::2] = same & asked[:, :, None]
    by_layer = np.stack([np.zeros_like(links), links], axis=1)
    by_layer[:, 0, 1::2] = np.eye(2 * k, dtype=bool)[::2]
    asks = np.zeros((n, 2 * k), dtype=bool)
    asks[:, ::2] = asked
    target = np.roll(ids, -1, axis=1)
    if every:
        asks = np.broadcast_to(np.arange(2 * k) < 2 * k - 1, (n, 2 * k))
    itself = every  # the first place has nothing else
    return sequence(E[ids], np.eye(5)[ids], asks, links, target, itself, ids=ids, by_layer=by_layer, possible=possible)


@dataclass(eq=False, repr=False)
class TriggerAverage(DrawnTask):
    """With a trigger the mean of all before, else nothing: the places without a trigger should abstain.

    The first of the k places is a start token, with value zero. The others hold a content c_j ~ N(0, I_v) and, with
    probability p_trigger, a trigger. With vectors s (start), t (trigger) and u (no trigger) ~ N(0, I_d), drawn once for all
    splits,

        k_1 = q_1 = s,   k_j = q_j = t or u,   v_1 = 0,   v_j = c_j

    Gold: of a place with a trigger the uniform distribution on the places before it without the start; of the other places a
    row of zeros, as they are null queries. Target: the mean of the contents, or zero, float (n, k, v). The places from the
    third on ask, and may attend to all places before them. Chance: the mean of (j - 2)/(j - 1) over the places j that ask. Models of
    sequences read the kind of a place as its token and the content as its `inputs`.

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
