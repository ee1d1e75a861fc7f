"""Writes normalisers.json: weights and gradients of each normaliser, from its formula, with fifty digits. It needs mpmath.

    python tests/parts/golden/make_normalisers.py

A case is a name, settings, learned arrays, a row of scores, which of its keys are allowed, the weights, and the gradient of sum_j r_j w_j by
the scores, r_j = 1, -2, 3, -4, ... The formulas here are written from the papers and share nothing with attnlab's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mpmath as mp

mp.mp.dps = 50

Row = Sequence[Any]
ROWS = {
    "the catalogue's": ([-2, 0, 0.5], [1, 1, 1]),
    "five": ([0.3, -1.7, 2.2, 1.9, -0.4], [1, 1, 1, 1, 1]),
    "one forbidden": ([0.3, 5.0, 0.9, -1.1], [1, 0, 1, 1]),
    "wide": ([30.0, -300.0, 29.25, 3.0], [1, 1, 1, 1]),
    "small": ([1e-7, -2e-7, 3e-7], [1, 1, 1]),
    "one key": ([0.75], [1]),
}


def softmax(s: Row, temperature: Any = 1) -> list[Any]:
    e = [mp.e ** (x / mp.mpf(temperature)) for x in s]
    return [x / mp.fsum(e) for x in e]


def softmax_n(s: Row, n0: Any = 1) -> list[Any]:
    e = [mp.e**x for x in s]
    return [x / (mp.mpf(n0) + mp.fsum(e)) for x in e]


def sink_softmax(s: Row, b: Any) -> list[Any]:
    return softmax_n(s, mp.e ** mp.mpf(b))


def logn_softmax(s: Row, scale: Any = 1) -> list[Any]:
    return softmax([mp.mpf(scale) * mp.log(len(s)) * x for x in s])


def entmax(s: Row, alpha: Any = 1.5) -> list[Any]:
    a = mp.mpf(alpha)
    if a == 1:
        return softmax(s)
    z = [(a - 1) * x for x in s]
    # tau by bisection: the sum falls as tau grows
    low, high = max(z) - 1, max(z)
    for _ in range(180):
        tau = (low + high) / 2
        total = mp.fsum(max(x - tau, mp.mpf(0)) ** (1 / (a - 1)) for x in z)
        low, high = (tau, high) if total >= 1 else (low, tau)
    return [max(x - low, mp.mpf(0)) ** (1 / (a - 1)) for x in z]


def sparsemax(s: Row) -> list[Any]:
    """By sorting, as Martins and Astudillo's algorithm 1."""
    z = sorted(s, reverse=True)
    k = max(i for i in range(1, len(z) + 1) if 1 + i * z[i - 1] > mp.fsum(z[:i]))
    tau = (mp.fsum(z[:k]) - 1) / k
    return [max(x - tau, mp.mpf(0)) for x in s]


def sigmoid(s: Row, minus_log_n: bool = True) -> list[Any]:
    n = len(s) if minus_log_n else 1
    return [1 / (1 + mp.e ** (mp.log(n) - x)) for x in s]


def hardmax(s: Row) -> list[Any]:
    return [mp.mpf(int(i == list(s).index(max(s)))) for i in range(len(s))]


def softpick(s: Row, eps: Any = 1e-8) -> list[Any]:
    e = [mp.e**x - 1 for x in s]
    return [max(x, mp.mpf(0)) / (mp.fsum(map(abs, e)) + mp.mpf(eps)) for x in e]


def relu_over_n(s: Row, power: int = 1) -> list[Any]:
    return [max(x, mp.mpf(0)) ** power / len(s) for x in s]


def stick_breaking(s: Row) -> list[Any]:
    p = [1 / (1 + mp.e**-x) for x in s]
    return [p[j] * mp.fprod(1 - q for q in p[j + 1 :]) for j in range(len(p))]


def cog(s: Row) -> list[Any]:
    return [mp.sign(x) * w for x, w in zip(s, softmax([abs(x) for x in s]), strict=True)]


def identity(s: Row) -> list[Any]:
    return list(s)


def l1(s: Row) -> list[Any]:
    return [x / mp.fsum(s) for x in s]


def compact_kernel(s: Row, kernel: str = "epanechnikov") -> list[Any]:
    kappa: dict[str, Callable[[Any], Any]] = {
        "boxcar": lambda u: mp.mpf(int(abs(u) <= 1)),
        "triangular": lambda u: max(1 - abs(u), mp.mpf(0)),
        "epanechnikov": lambda u: mp.mpf(3) / 4 * max(1 - u * u, mp.mpf(0)),
    }
    k = [kappa[kernel](x) for x in s]
    return [x / mp.fsum(k) if mp.fsum(k) else mp.mpf(0) for x in k]


def adaptive_temperature(s: Row) -> list[Any]:
    p = softmax(s)
    H = -mp.fsum(x * mp.log(x) for x in p if x)
    beta = mp.polyval([mp.mpf(c) for c in ("-0.037", "0.481", "-2.3", "4.917", "-1.791")], H)
    return softmax([max(beta, mp.mpf(1)) * x for x in s]) if mp.mpf("0.5") < H else p


def topk_softmax(s: Row, k: int = 2) -> list[Any]:
    least = sorted(s, reverse=True)[min(k, len(s)) - 1]
    e = [mp.e**x if x >= least else mp.mpf(0) for x in s]
    return [x / mp.fsum(e) for x in e]


def gumbel(s: Row, temperature: Any = 0.5) -> list[Any]:
    """Without noise, as in prediction."""
    return softmax(s, temperature)


def stieltjes(s: Row, q: Any = 1) -> list[Any]:
    q = mp.mpf(q)
    top, n = max(s), len(s)
    low, high = mp.mpf(1), mp.mpf(n) ** (1 / q)
    for _ in range(180):
        middle = (low + high) / 2
        enough = mp.fsum((top + middle - x) ** -q for x in s) >= 1
        low, high = (middle, high) if enough else (low, middle)
    return [(top + low - x) ** -q for x in s]


CASES: list[tuple[Callable[..., list[Any]], dict[str, Any], dict[str, Any]]] = [
    (softmax, {}, {}),
    (softmax, {"temperature": 0.5}, {}),
    (softmax_n, {}, {}),
    (softmax_n, {"n0": 2.5}, {}),
    (sink_softmax, {}, {"b": 0.75}),
    (logn_softmax, {}, {}),
    (logn_softmax, {"scale": 0.43}, {}),
    (sparsemax, {}, {}),
    (entmax, {}, {}),
    (entmax, {"alpha": 1.2}, {}),
    (entmax, {"alpha": 2.5}, {}),
    (sigmoid, {}, {}),
    (sigmoid, {"minus_log_n": False}, {}),
    (hardmax, {}, {}),
    (softpick, {}, {}),
    (relu_over_n, {}, {}),
    (relu_over_n, {"power": 2}, {}),
    (stick_breaking, {}, {}),
    (cog, {}, {}),
    (identity, {}, {}),
    (l1, {}, {}),
    (compact_kernel, {}, {}),
    (compact_kernel, {"kernel": "triangular"}, {}),
    (compact_kernel, {"kernel": "boxcar"}, {}),
    (adaptive_temperature, {}, {}),
    (topk_softmax, {}, {}),
    (gumbel, {}, {}),
    (stieltjes, {}, {}),
    (stieltjes, {"q": 4.0}, {}),
]
NO_GRADIENT = ("hardmax",)  # its gradient is another's, straight through


def made() -> Iterator[dict[str, Any]]:
    for weigh, settings, learned in CASES:
        for row, (scores, mask) in ROWS.items():
            if weigh is l1:
                scores = [abs(x) for x in scores]
            here = [i for i, allowed in enumerate(mask) if allowed]

            weights = functools.partial(weigh, **settings, **learned)
            s = [mp.mpf(scores[i]) for i in here]
            W, g = [mp.mpf(0)] * len(mask), [mp.mpf(0)] * len(mask)
            kinks = 0 in s and weigh in (softpick, relu_over_n, cog, compact_kernel)
            for place, w in zip(here, weights(s), strict=True):
                W[place] = w
            h = mp.mpf(10) ** -16
            for n, place in enumerate(here):
                ends = [weights([x + sign * h * (i == n) for i, x in enumerate(s)]) for sign in (1, -1)]
                up, down = (mp.fsum((-1) ** j * (j + 1) * w for j, w in zip(here, end, strict=True)) for end in ends)
                g[place] = (up - down) / (2 * h)
            case = {
                "name": weigh.__name__,
                "settings": settings,
                "learned": learned,
                "row": row,
                "scores": scores,
                "mask": mask,
            }
            yield {
                **case,
                "weights": [float(w) for w in W],
                "gradient": None if kinks or weigh.__name__ in NO_GRADIENT else [float(x) for x in g],
            }


if __name__ == "__main__":
    path = Path(__file__).with_name("normalisers.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in made()) + "\n]\n")
