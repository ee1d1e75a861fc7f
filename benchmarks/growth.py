"""How the time and the memory of `attend` grow: with queries and keys to 65,536, and with their width d.

Time is processor time of all threads together, so that a busy machine changes it little. Memory is the most that NumPy held at once
beyond inputs and output. `GFLOP/s` counts the two products, and is left out where the scores are no products.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np

import attnlab
from benchmarks import common

THREADS = 2
PAIRS = (("scaled_dot", "softmax"), ("scaled_dot", "sparsemax"), ("additive", "softmax"))
KEYS, WIDTH = (1024, 4096, 16384, 65536), 64
WIDTHS, MANY = (16, 64, 256, 1024), 4096
SLOW = {"additive": 16384}  # the most keys of a similarity that takes too long for more


def main(quick: bool = False) -> list[dict[str, Any]]:
    """A row for each similarity with a normaliser, number of keys and width."""
    sizes = [(keys, WIDTH) for keys in KEYS] + [(MANY, width) for width in WIDTHS if width != WIDTH]
    rows = []
    for similarity, normaliser in PAIRS:
        for keys, d in sizes:
            if keys > (4096 if quick else SLOW.get(similarity, keys)):
                continue
            rows.append(_row(similarity, normaliser, keys, d))
            common.say(rows[-1])
    return rows


def _row(similarity: str, normaliser: str, keys: int, d: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    Q, K, V = (rng.standard_normal((keys, d)).astype(np.float32) for _ in range(3))
    mechanism = attnlab.Mechanism(similarity, normaliser)
    learned = mechanism.init(rng, d, d, d)
    params = {role: {name: np.asarray(a, np.float32) for name, a in own.items()} for role, own in learned.items()}
    mechanism.attend(params, Q[:1024], K[:1024], V[:1024])  # compiles, where it has to
    tracemalloc.start()
    start = time.process_time()
    Y = mechanism.attend(params, Q, K, V)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1] - Y.nbytes
    tracemalloc.stop()
    row: dict[str, Any] = {"similarity": similarity, "normaliser": normaliser, "keys": keys, "d": d}
    row |= {"processor s": seconds, "MiB": peak / 2**20}
    if similarity == "scaled_dot":
        row["GFLOP/s"] = 4e-9 * keys * keys * d / seconds
    return row
