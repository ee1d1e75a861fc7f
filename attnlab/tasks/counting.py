"""Small functions of a sequence: what was said n places ago, how often, and the first, the majority or the parity of bits."""

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
from attnlab.tasks.places import chance_at, of_lengths, sequence
from attnlab.tasks.said import SaidTask, in_one_sequence

__all__ = ["Boolean", "LocalCount", "NBack"]

HERE = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
Scale = Annotated[float, Ge(0)]
Even = Annotated[int, Ge(2), MultipleOf(2)]


@dataclass(eq=False, repr=False)
class NBack(DrawnTask):
    """Say the token n places back.

    An example is k tokens, uniform with repetition. With vectors e_x ~ N(0, token_scale^2 I_d) and a marker c of the same
    distribution, drawn once for all splits, k_j = e_x(j), q_j = c (the same at every place), v_j = the one-hot vector of x_j. A
    place may attend to itself and to all before it.

    Gold: the link from place j to place j - n, for each j > n; the places before ask nothing. Target: the token there, int
    (n, k), of `vocabulary` classes. Chance: the mean of 1/j over the places j that ask.

    Parameters
    ----------
    length : int, at least 2
        Tokens of an example, k.
    n_back : int, at least 1
        How far back, n; less than `length`.
    vocabulary : int, at least 2
        Different tokens.
    d : int, at least 2 and even
        Features of a query or key; even, so that a sinusoidal table fits.
    token_scale : float, at least 0
        Standard deviation of a feature of a token. As in `copy`, large tokens hide places that are added to them.
    longer : sequence of int, each more than n_back
        Further test conditions of these lengths, named `n=64` for 64.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When n_back is not less than each length.

    Notes
    -----
    The contents say nothing. A position is needed that knows distances.

    References
    ----------
    Kirchner (1958), Age differences in short-term retention of rapidly changing information.

    Examples
    --------
    >>> import numpy as np
    >>> data = NBack(length=4, n_back=2, n_train=1).make(np.random.default_rng(0)).train
    >>> data.gold[0].astype(int).tolist()
    [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    """

    name = "n_back"
    source = Source(
        "Age Differences in Short-Term Retention of Rapidly Changing Information",
        "W. K. Kirchner",
        1958,
        "Journal of Experimental Psychology 55(4)",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    length: Annotated[int, Ge(2)] = 16
    n_back: Count = 2
    vocabulary: Annotated[int, Ge(2)] = 8
    d: Even = 32
    token_scale: Scale = 0.1
    longer: Sequence[Annotated[int, Ge(2)]] = ()

    @property
    def chance(self) -> float:
        return chance_at(np.ones(1), np.arange(self.n_back, self.length) + 1)

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"E": self.token_scale * rng.normal(size=(self.vocabulary + 1, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        if self.n_back >= (least := min([self.length, *self.longer])):
            raise SettingError(f"task 'n_back': n_back must be less than each length, here {least}; got {self.n_back}")
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, E: Array, length: int | None = None) -> AlignmentData:
        k = length or self.length
        tokens = rng.integers(self.vocabulary, size=(n, k))
        back = np.maximum(np.arange(k) - self.n_back, 0)
        return sequence(
            E[tokens],
            np.eye(self.vocabulary)[tokens],
            np.broadcast_to(np.arange(k) >= self.n_back, (n, k)),
            np.eye(k)[back],
            tokens[:, back],
            itself=True,
            Q=np.tile(E[-1], (n, k, 1)),
            ids=tokens,
        )


@dataclass(eq=False, repr=False)
class LocalCount(DrawnTask):
    """How often did each token occur among the last few? Shares of the last `window` places.

    As `n_back`: tokens x_j, uniform with repetition, with vectors of standard deviation token_scale; the query is the same
    marker at every place; values are one-hot. A place may attend to itself and to all before it.

    Gold: from place j on, for each j >= window, the uniform distribution on the places j - window + 1 to j. Target: the mean of
    their values, float (n, k, vocabulary); times `window` it is how often each token occurred. Chance: the mean of window / j
    over the places j that ask.

    Parameters
    ----------
    length : int, at least 2
        Tokens of an example, k.
    window : int, at least 1
        How many places count, the last one included; less than `length`.
    vocabulary, d, token_scale, longer, n_train, n_validation, n_test
        As in `n_back`.

    Raises
    ------
    SettingError
        When `window` is not less than each length.

    Notes
    -----
    A window (`mask: {window: {width: 3}}` together with `causal`) solves it without learning: uniform weights on what is left.

    References
    ----------
    Defined here.

    Examples
    --------
    >>> import numpy as np
    >>> data = LocalCount(length=5, window=4, n_train=1).make(np.random.default_rng(0)).train
    >>> data.gold[0, 3:].tolist(), (4 * data.target[0, 4]).sum()
    ([[0.25, 0.25, 0.25, 0.25, 0.0], [0.0, 0.25, 0.25, 0.25, 0.25]], np.float64(4.0))
    """

    name = "local_count"
    source = HERE
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    length: Annotated[int, Ge(2)] = 16
    window: Count = 4
    vocabulary: Annotated[int, Ge(2)] = 4
    d: Even = 32
    token_scale: Scale = 0.1
    longer: Sequence[Annotated[int, Ge(2)]] = ()

    @property
    def chance(self) -> float:
        return chance_at(np.ones(1), np.arange(self.window, self.length + 1), self.window)

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"E": self.token_scale * rng.normal(size=(self.vocabulary + 1, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        if self.window >= (least := min([self.length, *self.longer])):
            raise SettingError(
                f"task 'local_count': window must be less than each length, here {least}; got {self.window}"
            )
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, E: Array, length: int | None = None) -> AlignmentData:
        k = length or self.length
        tokens = rng.integers(self.vocabulary, size=(n, k))
        V = np.eye(self.vocabulary)[tokens]
        links = (np.tri(k) - np.tri(k, k=-self.window)) / self.window
        asked = np.broadcast_to(np.arange(k) >= self.window - 1, (n, k))
        Q = np.tile(E[-1], (n, k, 1))
        links = np.broadcast_to(links, (n, k, k))
        return sequence(E[tokens], V, asked, links, links @ V, itself=True, Q=Q, ids=tokens)


@dataclass(eq=False, repr=False)
class Boolean(SaidTask):
    """A function of bits: the first one, the majority, or the parity.

    An example is k bits, uniform, and one query, a marker. With vectors e_0, e_1 and the marker ~ N(0, token_scale^2 I_d), drawn
    once for all splits, a key is the vector of its bit and its value the one-hot vector of it.

        first      gold: the link to place 1             target: its bit                           chance: 1/k
        majority   gold: uniform on all places           target: the bit that most places hold     chance: 1
        parity     gold: uniform on the places with 1    target: 1 if they are odd in number       chance: 1 / (2 - 2^(1-k))

    Target: int (n, 1), of 2 classes. Of `parity` an example without a 1 has a null query.

    Parameters
    ----------
    function : str
        first, majority or parity.
    length : int, at least 2
        Bits of an example, k; odd for "majority".
    d : int, at least 2 and even
        Features of a query or key; even, so that a sinusoidal table fits.
    token_scale : float, at least 0
        Standard deviation of a feature of a bit. Large vectors of bits hide places that are added to
        them: with 0.1 sinusoidal places make `first` easy, with 1.0 they do not.
    longer : sequence of int, each at least 2
        Further test conditions of these lengths, named `n=65` for 65; odd for "majority".
    layout : str
        pairs, or tokens: one sequence of the bits, a separator and the answer, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When a length is even for "majority".

    Notes
    -----
    Each is a limit of attention. `first` needs one place among ever more, `majority` needs equal weights, and of `parity` a
    single layer finds the places but not the target, whose class is no mean of values.

    References
    ----------
    Chiang and Cholak (2022), Overcoming a theoretical limitation of self-attention.

    Examples
    --------
    >>> import numpy as np
    >>> data = Boolean("parity", length=5, n_train=100).make(np.random.default_rng(0)).train
    >>> bool(((data.gold > 0).sum(axis=-1) % 2 == data.target).all())
    True
    """

    name = "boolean"
    source = Source(
        "Overcoming a Theoretical Limitation of Self-Attention", "D. Chiang, P. Cholak", 2022, "arXiv:2202.12172"
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    function: Literal["first", "majority", "parity"] = "first"
    length: Annotated[int, Ge(2)] = 17
    d: Even = 32
    token_scale: Scale = 1.0
    longer: Sequence[Annotated[int, Ge(2)]] = ()

    @property
    def chance(self) -> float:
        shares = {"first": 1 / self.length, "majority": 1.0, "parity": 1 / (2 - 2.0 ** (1 - self.length))}
        return self.chance_in(shares[self.function])

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"E": self.token_scale * rng.normal(size=(3, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        even = [k for k in (self.length, *self.longer) if k % 2 == 0]
        if self.function == "majority" and even:
            raise SettingError(f"task 'boolean': lengths must be odd, so that there is a majority; got {even[0]}")
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, E: Array, length: int | None = None) -> AlignmentData:
        k = length or self.length
        bits = rng.integers(2, size=(n, k))
        ones = bits.sum(axis=1)
        links, target = {
            "first": (np.tile(np.eye(k)[0], (n, 1)), bits[:, 0]),
            "majority": (np.ones((n, k)), (2 * ones > k).astype(np.intp)),
            "parity": (bits, ones % 2),
        }[self.function]
        gold = links / np.maximum(links.sum(axis=1, keepdims=True), 1)
        data = AlignmentData(
            np.tile(E[2], (n, 1, 1)), E[bits], np.eye(2)[bits], gold=gold[:, None], target=target[:, None]
        )
        return data if self.layout == "pairs" else in_one_sequence(data, bits.tolist(), target[:, None].tolist(), 2)
