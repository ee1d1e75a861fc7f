"""Attention as a smoother: weights that a kernel or a regression would give, over points with their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Array, Count, DrawnTask, Rng
from attnlab.tasks.places import of_lengths, sequence

__all__ = ["InContextRegression", "KernelRecovery", "NadarayaWatson"]

Kernel = Literal["boxcar", "epanechnikov", "gaussian"]
Positive = Annotated[float, Gt(0)]
RANGE = 5.0  # x is between 0 and this
LEAST_GAUSSIAN = 0.15  # of this width the weight of a point at the other end is still a number


def _kernel(name: str, u: Array) -> Array:
    """The kernel of distances u in units of the width."""
    if name == "gaussian":
        return np.exp(-(u**2) / 2)
    return np.where(u < 1, 1.0 if name == "boxcar" else 1 - u**2, 0.0)


@dataclass(eq=False, repr=False)
class KernelRecovery(DrawnTask):
    """Weights made by a kernel: which normaliser can learn them from the mean that they give?

    The k keys of an example are points on a circle, at equal distances and in random order; a query is anywhere on it. With the
    distance r on the circle, of length 1, a width h = n_near / (2k), and orthonormal f, g in R^d drawn once for all splits,

        w_j = kappa(r_ij / h) / sum_l kappa(r_il / h),   y_i = sum_j w_j v_j,   v_j ~ N(0, I_v)
        k_j = scale * (cos(2 pi x_j) f + sin(2 pi x_j) g) + noise * e_j,   q_i the same of its own place

        boxcar         kappa(u) = 1 for u < 1                 equal weights on the n_near nearest keys
        epanechnikov   kappa(u) = 1 - u^2 for u < 1           what sparsemax makes of a squared distance
        gaussian       kappa(u) = exp(-u^2 / 2)               what softmax makes of it

    Gold: w, a distribution. Target: y, float. Chance: n_near / k; with `gaussian` 1, as every key has weight.

    Parameters
    ----------
    kernel : str
        kappa: boxcar, epanechnikov or gaussian.
    n_keys : int, at least 2
        Keys of an example, k.
    n_near : int, at least 1
        Keys nearer than h to a query; at most n_keys, and at least n_keys / 32.
    noise : float, at least 0
        Blur of queries and keys, per feature.
    scale : float, at least 0
        Radius of the circle among the queries and keys.
    n_queries : int, at least 1
        Queries of an example.
    d : int, at least 2
        Features of a query or key.
    d_value : int, at least 1
        Features of a value, v.
    longer : sequence of int
        Further test conditions with so many keys and the same h, named `n=64` for 64; multiples of n_keys.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When n_near is out of range, or a longer condition is no multiple of n_keys.

    Notes
    -----
    On a circle inner product, cosine and squared distance say the same. So the similarity has little to do and the normaliser
    much. Read `kl_to_gold` and `support_size`.

    References
    ----------
    Defined here; Epanechnikov (1969) for the kernel.

    Examples
    --------
    >>> import numpy as np
    >>> data = KernelRecovery(n_keys=16, n_near=4, n_train=100).make(np.random.default_rng(0)).train
    >>> np.unique((data.gold > 0).sum(axis=-1)), float(data.gold.max())
    (array([4]), 0.25)
    """

    name = "kernel_recovery"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    kernel: Kernel = "boxcar"
    n_keys: Annotated[int, Ge(2)] = 32
    n_near: Count = 4
    noise: Annotated[float, Ge(0)] = 0.5
    scale: Annotated[float, Ge(0)] = 4.0
    n_queries: Count = 4
    d: Annotated[int, Ge(2)] = 16
    d_value: Count = 16
    longer: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        return 1.0 if self.kernel == "gaussian" else self.n_near / self.n_keys

    def shared(self, rng: Rng) -> dict[str, Array]:
        if not self.n_keys / 32 <= self.n_near <= self.n_keys:
            raise SettingError(
                f"task 'kernel_recovery': n_near must be from n_keys / 32 to n_keys = {self.n_keys}; got {self.n_near}"
            )
        return {"frame": np.linalg.qr(rng.normal(size=(self.d, 2)))[0].T}

    def conditions(self) -> dict[str, dict[str, int]]:
        for k in self.longer:
            if k % self.n_keys:
                raise SettingError(
                    f"task 'kernel_recovery': longer must be multiples of n_keys = {self.n_keys}; got {k}"
                )
        return of_lengths(self.longer)

    def draw(self, rng: Rng, n: int, frame: Array, length: int | None = None) -> AlignmentData:
        k, q = length or self.n_keys, self.n_queries
        x = rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1) / k
        at = rng.random((n, q))
        away = np.abs(at[:, :, None] - x[:, None, :])
        away = np.minimum(away, 1 - away)
        w = _kernel(self.kernel, away * 2 * self.n_keys / self.n_near)
        gold = w / w.sum(axis=-1, keepdims=True)
        V = rng.normal(size=(n, k, self.d_value))

        def placed(y: Array) -> Array:
            spot = self.scale * np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=-1) @ frame
            return spot + self.noise * rng.normal(size=spot.shape)

        return AlignmentData(placed(at), placed(x), V, gold=gold, target=gold @ V)


@dataclass(eq=False, repr=False)
class NadarayaWatson(DrawnTask):
    """Kernel regression of a curve: weights of the nearby points, whose noisy values give the curve.

        x_j ~ U(0, 5),   y_j = f(x_j) + noise * N(0, 1),   f(x) = 2 sin(x) + x,   k_j = x_j,   v_j = y_j,   q_i ~ U(0, 5)

    Gold: the weights of a kernel of the given width, kappa(|q_i - x_j| / width) over their sum; where it has no point, the
    nearest one. Target: f(q_i), which is free of noise, float (n, q, 1). Chance: the expected share of keys within the width,
    or 1/k where there is none; with the gaussian kernel 1, as every key has weight.

    Parameters
    ----------
    n_keys : int, at least 1
        Points of an example, k.
    noise : float, at least 0
        Standard deviation of a point's value.
    kernel : str
        Of the gold weights: boxcar, epanechnikov or gaussian, with kappa as in `kernel_recovery`.
    width : float, above 0
        Of the gold kernel, in units of x; of the gaussian one at least 0.15, so that no weight is too small to be a number.
    n_queries : int, at least 1
        Queries of an example.
    longer : sequence of int
        Further test conditions with so many points, named `n=160` for 160.
    edges : sequence of "inside" or "edge"
        Further test conditions in which queries lie within `width` of an end of the range (`edge`), or elsewhere (`inside`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When a gaussian kernel is too narrow, or `inside` is asked for and nothing is: the width is half of the range, 2.5, or more.

    Notes
    -----
    Queries and keys have one feature. A distance (`neg_l2`) fits; an inner product of numbers can only prefer the greatest or
    the least. Near an edge all points are on one side, so that a mean is biased, and a local line is not.

    References
    ----------
    Nadaraya (1964), On estimating regression; Watson (1964), Smooth regression analysis.

    Examples
    --------
    >>> import numpy as np
    >>> splits = NadarayaWatson(edges=["edge"], n_train=4).make(np.random.default_rng(0))
    >>> splits.train, list(splits.tests)
    (<AlignmentData n=4 q=4 k=40 d=1 v=1 float64; has gold, target>, ['test', 'edge'])
    """

    name = "nadaraya_watson"
    source = Source(
        "On Estimating Regression", "E. A. Nadaraya", 1964, "Theory of Probability and Its Applications 9(1)"
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer", "edges")

    n_keys: Count = 40
    noise: Annotated[float, Ge(0)] = 0.5
    kernel: Kernel = "epanechnikov"
    width: Positive = 0.5
    n_queries: Count = 4
    longer: Sequence[Count] = ()
    edges: Sequence[Literal["inside", "edge"]] = ()

    @property
    def chance(self) -> float:
        if self.kernel == "gaussian":
            return 1.0
        x = (np.arange(20_000) + 0.5) * (RANGE / 20_000)
        near = (np.minimum(x + self.width, RANGE) - np.maximum(x - self.width, 0)) / RANGE
        return float((near + (1 - near) ** self.n_keys / self.n_keys).mean())

    def conditions(self) -> dict[str, dict[str, Any]]:
        if self.kernel == "gaussian" and self.width < LEAST_GAUSSIAN:
            raise SettingError(
                f"task 'nadaraya_watson': width must be at least {LEAST_GAUSSIAN} with the gaussian kernel; got {self.width}"
            )
        if "inside" in self.edges and 2 * self.width >= RANGE:
            raise SettingError(
                f"task 'nadaraya_watson': nothing is inside with a width of 2.5 or more; got {self.width}"
            )
        return {**of_lengths(self.longer), **{edge: {"edge": edge} for edge in self.edges}}

    def draw(self, rng: Rng, n: int, length: int | None = None, edge: str | None = None) -> AlignmentData:
        k, q = length or self.n_keys, self.n_queries
        x, at = RANGE * rng.random((n, k)), RANGE * rng.random((n, q))
        width = min(self.width, RANGE / 2)
        if edge == "inside":
            at = width + at * (RANGE - 2 * width) / RANGE
        elif edge == "edge":
            at = at * 2 * width / RANGE
            at = np.where(at < width, at, RANGE - 2 * width + at)
        away = np.abs(at[:, :, None] - x[:, None, :])
        w = _kernel(self.kernel, away / self.width)
        if self.kernel != "gaussian":
            alone = ~(w > 0).any(axis=-1)
            w[alone] = np.eye(k)[away.argmin(axis=-1)[alone]]
        gold = w / w.sum(axis=-1, keepdims=True)
        values = _curve(x) + self.noise * rng.normal(size=x.shape)
        return AlignmentData(at[..., None], x[..., None], values[..., None], gold=gold, target=_curve(at)[..., None])


def _curve(x: Array) -> Array:
    return 2 * np.sin(x) + x


@dataclass(eq=False, repr=False)
class InContextRegression(DrawnTask):
    """Linear regression in context: k examples (x, y) of an unknown linear map, and a new x; the map may drift.

        x_j ~ N(0, I_d),   y_j = b_j . x_j + noise * N(0, 1),   b_1 ~ N(0, I_d / d),   b_j = b_(j-1) + drift * N(0, I_d / d)

    Keys are the x_j, values the y_j, and the query x asks for the last map, b_k . x. The best prediction is linear in the
    values, sum_j h_j y_j: h is the row of the hat matrix of the Bayes estimate,

        h = c (C + noise^2 I)^-1,   C_ij = x_i . x_j (1 + drift^2 (min(i, j) - 1)) / d,   c_j = x . x_j (1 + drift^2 (j - 1)) / d

    Gold: |h_j| / sum_l |h_l|, how much each example counts; the signs of h are left out, as an alignment has none. Target:
    b_k . x, float (n, q, 1). Chance: 1, as every example counts.

    With ``layout="tokens"``, as published, an example is one sequence x_1, y_1, .., x_k, y_k, x_(k+1) for models of sequences. A
    place has `inputs` (n, 2k + 1, d), x or (y, 0, .., 0), and the token 0 or 1, which says which. Each x but the first asks for b_i . x_i,
    given the examples before it, and gold lies on their y. By layer: from each y to its x, then gold. Keys and queries are the
    inputs and the one-hot token side by side, values y or 0. Chance: 1/2.

    Parameters
    ----------
    d : int, at least 1
        Features of x.
    n_keys : int, at least 1
        Examples in context, k.
    noise : float, 0.001 to 1e100
        Standard deviation of a value about the map; that of the map itself is 1.
    drift : float, 0 to 1e100
        Standard deviation of a step of the map, relative to that of the map at the start; 0 is the usual task.
    n_queries : int, at least 1
        Queries of an example.
    longer : sequence of int
        Further test conditions with so many examples in context, named `n=64` for 64.
    layout : str
        joined: an example in context is a place. tokens: its x and its y are two places of a sequence.
    shots : sequence of int, each at least 1
        Of layout tokens: further test conditions in which only the x after so many examples asks, named `shots=4`; at most n_keys.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Raises
    ------
    SettingError
        When shots are asked for in layout joined, or more of them than n_keys.

    Notes
    -----
    Alignment accuracy is 1 whatever the weights: read `context_error` and `kl_to_gold`. Weights that are positive and sum to
    one cannot follow a map that is steeper than the points reach; identity weights (linear attention) can, and an aggregator
    that fits a local line can. The original asks at the first x too, has d = 20 and 40 examples, and targets with the noise of the values,
    which here are free of it.

    References
    ----------
    Garg et al. (2022), What can transformers learn in-context?; Rasmussen and Williams (2006), equation 2.25, for the row of
    weights.

    Examples
    --------
    >>> import numpy as np
    >>> InContextRegression(n_train=4).make(np.random.default_rng(0)).train
    <AlignmentData n=4 q=4 k=16 d=4 v=1 float64; has gold, target>
    """

    name = "in_context_regression"
    source = Source(
        "What Can Transformers Learn In-Context? A Case Study of Simple Function Classes",
        "S. Garg, D. Tsipras, P. Liang, G. Valiant",
        2022,
        "arXiv:2208.01066",
    )
    revision = 1
    counts = (*DrawnTask.counts, "longer")

    d: Count = 4
    n_keys: Count = 16
    noise: Annotated[float, Ge(0.001), Le(1e100)] = 0.1
    drift: Annotated[float, Ge(0), Le(1e100)] = 0.0
    n_queries: Count = 4
    longer: Sequence[Count] = ()
    layout: Literal["joined", "tokens"] = "joined"
    shots: Sequence[Count] = ()

    @property
    def chance(self) -> float:
        return 1.0 if self.layout == "joined" else 0.5

    def conditions(self) -> dict[str, dict[str, int]]:
        most = self.n_keys if self.layout == "tokens" else 0
        for shots in self.shots:
            if shots > most:
                raise SettingError(
                    f"task 'in_context_regression': shots are of layout='tokens', and at most n_keys = {self.n_keys}; "
                    f"got {shots} with layout={self.layout!r}"
                )
        return of_lengths(self.longer) | {f"shots={shots}": {"shots": shots} for shots in self.shots}

    def draw(self, rng: Rng, n: int, length: int | None = None, shots: int | None = None) -> AlignmentData:
        k = length or self.n_keys
        if self.layout == "tokens":
            return self._tokens(rng, n, k, shots)
        x, at = rng.normal(size=(n, k, self.d)), rng.normal(size=(n, self.n_queries, self.d))
        steps = rng.normal(size=(n, k, self.d)) / self.d**0.5
        steps[:, 1:] *= self.drift
        b = np.cumsum(steps, axis=1)
        y = (b * x).sum(axis=-1) + self.noise * rng.normal(size=(n, k))
        common = 1 + self.drift**2 * np.minimum.outer(np.arange(k), np.arange(k))  # (k, k)
        C = x @ np.swapaxes(x, 1, 2) * common / self.d + self.noise**2 * np.eye(k)
        c = at @ np.swapaxes(x, 1, 2) * common[-1] / self.d  # (n, q, k)
        h = np.abs(np.swapaxes(np.linalg.solve(C, np.swapaxes(c, 1, 2)), 1, 2))
        return AlignmentData(at, x, y[..., None], gold=h / h.sum(axis=-1, keepdims=True), target=at @ b[:, -1, :, None])

    def _tokens(self, rng: Rng, n: int, k: int, shots: int | None) -> AlignmentData:
        """Sequences of x and y in turn, whose last x has no y."""
        d, places = self.d, 2 * k + 1
        x, steps = rng.normal(size=(n, k + 1, d)), rng.normal(size=(n, k + 1, d)) / self.d**0.5
        steps[:, 1:] *= self.drift
        true = (np.cumsum(steps, axis=1) * x).sum(axis=-1)
        y = true + self.noise * rng.normal(size=true.shape)
        common = 1 + self.drift**2 * np.minimum.outer(np.arange(k + 1), np.arange(k + 1))
        C = x @ np.swapaxes(x, 1, 2) * common / d  # of the true values
        links, inputs = np.zeros((n, places, places)), np.zeros((n, places, d))
        for i in range(1, k + 1):
            seen = C[:, :i, :i] + self.noise**2 * np.eye(i)
            links[:, 2 * i, 1 : 2 * i : 2] = np.abs(np.linalg.solve(seen, C[:, i, :i, None])[..., 0])
        inputs[:, ::2], inputs[:, 1::2, 0] = x, y[:, :k]
        ids = np.broadcast_to(np.arange(places) % 2, (n, places))
        asks = np.zeros(places, dtype=bool)
        asks[slice(2, None, 2) if shots is None else 2 * shots] = True
        target, V = np.zeros((n, places, 1)), np.zeros((n, places, 1))
        target[:, ::2, 0], V[:, 1::2, 0] = true, y[:, :k]
        by_layer = np.zeros((n, 2, places, places), dtype=bool)
        by_layer[:, 0, 1::2] = np.eye(places, dtype=bool)[0 : 2 * k : 2]
        by_layer[:, 1] = (links > 0) & asks[:, None]
        X = np.concatenate([inputs, np.eye(2)[ids]], axis=-1)
        asked = np.broadcast_to(asks, (n, places))
        return sequence(X, V, asked, links, target, ids=ids, by_layer=by_layer, inputs=inputs)
