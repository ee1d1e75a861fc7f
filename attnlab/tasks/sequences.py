"""Sequences of tokens to say again: copy and reverse. The query asks for a place, so positions are needed.

The query is the same marker at every step and says only "the next one, please". Tokens are repeated. So a mechanism that
computes from contents alone does the same at every step, and reaches no more than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, MultipleOf

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.said import SaidTask, in_one_sequence
from attnlab.tasks.words import Factor, longer

__all__ = ["Copy", "Reverse"]


def _embeddings(rng: Rng, vocabulary: int, d: int, token_scale: float, common_scale: float) -> dict[str, Array]:
    """The embeddings of the tokens (vocabulary, d) with what they have in common, and of the marker (d,), for all splits."""
    E = token_scale * rng.normal(size=(vocabulary + 1, d))
    return {"E": E[:-1] + common_scale * rng.normal(size=d), "marker": E[-1]}


def _say(tokens: Array, places: Array, E: Array, marker: Array, lengths: Array | None = None) -> dict[str, Any]:
    """Examples in which step t must say the token at places[t]; tokens (n, k), places (q,), true lengths (n,) or None."""
    n, k = tokens.shape
    sizes = np.full(n, k) if lengths is None else lengths
    words = [[f"w{token}" for token in row] for row in tokens]
    return {
        "Q": np.tile(marker, (n, len(places), 1)),
        "K": E[tokens],
        "V": np.eye(len(E))[tokens],
        "gold": np.tile(np.eye(k)[places], (n, 1, 1)),
        "target": tokens[:, places],
        "tokens": [
            (row[:size], [row[place] for place in places[:size]]) for row, size in zip(words, sizes, strict=True)
        ],
    }


def _laid_out(task: SaidTask, data: AlignmentData) -> AlignmentData:
    """The examples as the task's layout has them; the number of a word is its class."""
    if task.layout == "pairs" or data.tokens is None:
        return data
    sources, said = ([[int(word[1:]) for word in side] for side in sides] for sides in zip(*data.tokens, strict=True))
    return in_one_sequence(data, sources, said, data.V.shape[2])


@dataclass(eq=False, repr=False)
class Copy(SaidTask):
    """Say a sequence again: step t must attend to place t.

    x_1..x_k are tokens, uniform with repetition. With embeddings e_x ~ N(0, token_scale^2 I_d) and a marker c of the
    same distribution, and u ~ N(0, common_scale^2 I_d), drawn once for all splits,

        k_j = e_x(j) + u,   v_j = the one-hot vector of x_j,   q_t = c   (the same at every step)

    Gold: the link t -> t. Target: the class x_t, int (n, q), of `vocabulary` classes. There are as many queries as
    keys, q = k. Chance: 1/k (with padding, the mean over all steps that are not padding).

    Parameters
    ----------
    length : int, at least 1
        Tokens of an example, k.
    vocabulary : int, at least 2
        Different tokens; fewer than `length`, so that tokens are repeated.
    d : int, at least 2 and even
        Features of an embedding; even, so that a sinusoidal table fits.
    token_scale : float, at least 0
        Standard deviation of an embedding's feature. A vector of sinusoidal positions has length sqrt(d/2), and two
        neighbouring places differ little in it. At 0.1 the difference can be seen; at 1.0 the tokens hide it.
    common_scale : float, at least 0
        Standard deviation of the features of one vector that is added to all tokens, as embeddings of real models have
        one. Positions that rotate keys (`rope`) need it: they can only turn what keys have in common.
    min_length : int or None
        If given, each example's length is uniform on min_length..length; the rest is padding: its keys are masked (and
        zero), and its queries may attend to nothing.
    longer : sequence of int
        Further test conditions of these lengths, named `n=32` for 32 tokens, without padding.
    transfer : sequence of int, each at least 2
        Further test conditions so many times `length` long, named `2L` for 2, without padding.
    layout : str
        pairs, or tokens: one sequence of the source, a separator and what is said, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When min_length is larger than length.

    References
    ----------
    Graves, Wayne and Danihelka (2014), Neural Turing Machines, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> splits = Copy(length=8, longer=[16], n_train=4).make(np.random.default_rng(0))
    >>> splits.train, list(splits.tests)
    (<AlignmentData n=4 q=8 k=8 d=32 v=8 float64; has gold, target, tokens>, ['test', 'n=16'])
    """

    name = "copy"
    source = Source("Neural Turing Machines", "A. Graves, G. Wayne, I. Danihelka", 2014, "arXiv:1410.5401, section 4.1")
    revision = 1
    counts = (*DrawnTask.counts, "longer", "transfer")

    length: Count = 16
    vocabulary: Annotated[int, Ge(2)] = 8
    d: Annotated[int, Ge(2), MultipleOf(2)] = 32
    token_scale: Annotated[float, Ge(0)] = 0.1
    common_scale: Annotated[float, Ge(0)] = 0.0
    min_length: Count | None = None
    longer: Sequence[Count] = ()
    transfer: Sequence[Factor] = ()

    def _shortest(self) -> int:
        if self.min_length is None:
            return self.length
        if self.min_length > self.length:
            raise SettingError(f"task 'copy': min_length must be at most length = {self.length}; got {self.min_length}")
        return self.min_length

    @property
    def chance(self) -> float:
        lengths = np.arange(self._shortest(), self.length + 1)
        return self.chance_in(float(1 / lengths.mean()))  # of the k steps of an example of length k, a guess gets one

    def shared(self, rng: Rng) -> dict[str, Array]:
        return _embeddings(rng, self.vocabulary, self.d, self.token_scale, self.common_scale)

    def conditions(self) -> dict[str, dict[str, int]]:
        return {f"n={k}": {"length": k} for k in self.longer} | {
            name: {"length": given["factor"] * self.length} for name, given in longer(self.transfer).items()
        }

    def draw(self, rng: Rng, n: int, E: Array, marker: Array, length: int | None = None) -> AlignmentData:
        shortest, k = self._shortest(), length or self.length
        tokens = rng.integers(self.vocabulary, size=(n, k))
        if self.min_length is None or length:
            return _laid_out(self, AlignmentData(**_say(tokens, np.arange(k), E, marker)))
        lengths = rng.integers(shortest, k + 1, size=(n, 1))
        arrays = _say(tokens, np.arange(k), E, marker, lengths[:, 0])
        there = np.arange(k) < lengths  # (n, k), and (n, q)
        for name in ("Q", "K", "V", "gold"):
            arrays[name] = arrays[name] * there[:, :, None]
        arrays["target"] = arrays["target"] * there
        return _laid_out(self, AlignmentData(**arrays, mask=there[:, :, None] & there[:, None, :]))


@dataclass(eq=False, repr=False)
class Reverse(SaidTask):
    """Say a sequence backwards: step t must attend to place k + 1 - t.

    As `copy`, without padding (with padding the place of the answer depends on the length, which no query knows).

    Gold: the link t -> k + 1 - t. Target: the class of that token, int (n, q), of `vocabulary` classes. Chance: 1/k.

    Parameters
    ----------
    length, vocabulary, d, token_scale, common_scale, transfer, layout, n_train, n_validation, n_test
        As in `copy`.

    Notes
    -----
    Absolute positions and a learned map from query to key positions solve it. A bias that favours the nearest key
    (`alibi`) cannot, and a plain inner product of positions points the wrong way. Expect nothing of longer test
    conditions: after training at one length, every absolute map is wrong by a shift at another.

    References
    ----------
    Grefenstette et al. (2015), Learning to transduce with unbounded memory.

    Examples
    --------
    >>> import numpy as np
    >>> data = Reverse(length=4, n_train=1).make(np.random.default_rng(0)).train
    >>> data.gold[0].astype(int).tolist()
    [[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    """

    name = "reverse"
    source = Source(
        "Learning to Transduce with Unbounded Memory",
        "E. Grefenstette, K. M. Hermann, M. Suleyman, P. Blunsom",
        2015,
        "NeurIPS",
    )
    revision = 1
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 16
    vocabulary: Annotated[int, Ge(2)] = 8
    d: Annotated[int, Ge(2), MultipleOf(2)] = 32
    token_scale: Annotated[float, Ge(0)] = 0.1
    common_scale: Annotated[float, Ge(0)] = 0.0
    transfer: Sequence[Factor] = ()

    @property
    def chance(self) -> float:
        return self.chance_in(1 / self.length)

    def shared(self, rng: Rng) -> dict[str, Array]:
        return _embeddings(rng, self.vocabulary, self.d, self.token_scale, self.common_scale)

    def conditions(self) -> dict[str, dict[str, int]]:
        return longer(self.transfer)

    def draw(self, rng: Rng, n: int, E: Array, marker: Array, factor: int = 1) -> AlignmentData:
        k = factor * self.length
        tokens = rng.integers(self.vocabulary, size=(n, k))
        return _laid_out(self, AlignmentData(**_say(tokens, np.arange(k)[::-1], E, marker)))
