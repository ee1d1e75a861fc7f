"""Hops through a sequence: from a token to what followed its last occurrence, several times."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import of_lengths, sequence, to_the_one_before

__all__ = ["KHop"]

SAMPLE = 4096  # sequences from which the level of chance is found


@dataclass(eq=False, repr=False)
class KHop(DrawnTask):
    """From a place go to the one after the last occurrence of its token, k times, and say the token there.

    An example is L tokens. The first is uniform, and each other one is uniform among those that differ from the one before it. Of a
    place j, hop(j) is the place after the last place before j with the same token. A place asks if it can hop k times. With vectors
    e_x and p_x ~ N(0, I_d) for each token, drawn once for all splits,

        q_j = e_x(j),   k_j = e_x(j) + trace * p_x(j-1),   v_j = the one-hot vector of x_j

    Gold: the link to hop^k(j). By layer: from each place to the one before it, to hop(j), to hop(j) again, to hop^2(j), to hop^4(j) and so
    on, 2 + ceil(log2 k) layers. Target: the token of hop^k(j), int (n, L), of `vocabulary` classes. Chance: the mean of 1/(j - 1) over the
    places j that ask, as a place may attend to all places before it; it is estimated from 4,096 sequences.

    Parameters
    ----------
    hops : int, at least 1
        How many hops, k. One is induction.
    length : int, at least 3
        Tokens of an example, L.
    vocabulary : int, at least 2
        Different tokens. With few of them most places can hop.
    trace : float, at least 0
        How much a key holds of the token before it, as a first layer would leave it. Models of sequences read the tokens alone.
    d : int, at least 1
        Features of a query or key.
    longer : sequence of int, each at least 3
        Further test conditions of these lengths, named `n=64` for 64.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    One layer of attention takes one hop, if keys hold the token before them. A stack of layers can double the length of a hop
    from layer to layer, so that about log2 k layers more than two are enough: a place that knows where m hops lead looks there, and reads
    where up to m further hops lead. In the original a token may follow itself.

    References
    ----------
    Sanford, Hsu, Telgarsky (2024), Transformers, parallel computation, and logarithmic depth, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> data = KHop(hops=2, length=8, vocabulary=3, n_train=1).make(np.random.default_rng(0)).train
    >>> data.ids[0].tolist(), data.alive[0].astype(int).tolist(), data.gold[0, -1].astype(int).tolist()
    ([1, 2, 1, 2, 0, 2, 1, 2], [0, 0, 0, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0])
    """

    name = "k_hop"
    source = Source(
        "Transformers, Parallel Computation, and Logarithmic Depth",
        "C. Sanford, D. Hsu, M. Telgarsky",
        2024,
        "arXiv:2402.09268",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    hops: Count = 2
    length: Annotated[int, Ge(3)] = 32
    vocabulary: Annotated[int, Ge(2)] = 4
    trace: Annotated[float, Ge(0)] = 0.5
    d: Count = 16
    longer: Sequence[Annotated[int, Ge(3)]] = ()

    @property
    def chance(self) -> float:
        return _chance(self.hops, self.length, self.vocabulary)

    def shared(self, rng: Rng) -> dict[str, Array]:
        return {"E": rng.normal(size=(self.vocabulary, self.d)), "P": rng.normal(size=(self.vocabulary, self.d))}

    def conditions(self) -> dict[str, dict[str, int]]:
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, E: Array, P: Array, length: int | None = None) -> AlignmentData:
        k = length or self.length
        tokens = _tokens(rng, n, k, self.vocabulary)
        place = _hopped(tokens, self.hops)
        asked, place = place >= 0, np.maximum(place, 0)
        K = E[tokens]
        K[:, 1:] += self.trace * P[tokens[:, :-1]]
        target = np.take_along_axis(tokens, place, axis=1)
        by_layer = _by_layer(tokens, self.hops)
        V = np.eye(self.vocabulary)[tokens]
        return sequence(K, V, asked, np.eye(k)[place], target, Q=E[tokens], ids=tokens, by_layer=by_layer)


def _tokens(rng: Rng, n: int, length: int, vocabulary: int) -> Array:
    """Tokens (n, length), none like the one before it."""
    steps = rng.integers(1, vocabulary, size=(n, length))
    steps[:, 0] = rng.integers(vocabulary, size=n)
    return np.asarray(steps.cumsum(axis=1) % vocabulary)


def _hopped(tokens: Array, hops: int) -> Array:
    """Where each place comes to by so many hops, int (n, L); -1 where it cannot hop so often."""
    n, length = tokens.shape
    example = np.arange(n)
    last = np.full((n, tokens.max() + 1), -2)
    to = np.empty_like(tokens)
    for j in range(length):
        to[:, j] = last[example, tokens[:, j]] + 1
        last[example, tokens[:, j]] = j
    place = np.broadcast_to(np.arange(length), tokens.shape)
    for _ in range(hops):
        place = np.where(place < 0, -1, np.take_along_axis(to, np.maximum(place, 0), axis=1))
    return place


def _by_layer(tokens: Array, hops: int) -> Array:
    """bool (n, 2 + ceil(log2 hops), L, L): where each layer attends that doubles the hops of the layer before."""
    n, length = tokens.shape
    found = [to_the_one_before(n, length)[:, 0]]
    known = 0  # so many hops each place has made before a layer
    while known < hops:
        made = max(1, known)
        then = min(hops, 2 * known) if known else 1
        place = np.where(_hopped(tokens, min(then, made + 1)) < 0, -1, _hopped(tokens, made))  # of use where it hops on
        if then == hops:
            place = np.where(_hopped(tokens, hops) < 0, -1, place)
        found.append(np.eye(length + 1, length, dtype=bool)[place])  # the last row is empty
        known = then
    return np.stack(found, axis=1)


@functools.lru_cache(maxsize=64)
def _chance(hops: int, length: int, vocabulary: int) -> float:
    place = _hopped(_tokens(np.random.default_rng(0), SAMPLE, length, vocabulary), hops)
    if not (place >= 0).any():
        return float("nan")
    return float((1 / np.maximum(np.arange(length), 1))[np.nonzero(place >= 0)[1]].mean())
