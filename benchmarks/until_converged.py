"""How long to learn: unseen sentences of a cipher that is said backwards, by steps and by how long validation is waited for.

    python benchmarks/until_converged.py [--seeds 3]

20 words, sentences of 3 to 9, 3,000 pairs to learn from, 500 unseen. With 1,000 steps; with `early_stopping`, five looks without
improvement; and without `steps`, where half as many steps must pass as there were up to the best as well. `docs/estimators.md` quotes what it prints.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from attnlab import AttentionSeq2Seq
from attnlab.models.stopping import MOST_STEPS


def language(n: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Pairs of sentences: each word has its cipher, and the sentence is said backwards."""
    rng = np.random.default_rng(seed)
    cipher = rng.permutation(20)
    numbers = [rng.integers(20, size=rng.integers(3, 10)) for _ in range(n)]
    return [[f"w{w}" for w in s] for s in numbers], [[f"c{cipher[w]}" for w in reversed(s)] for s in numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print("settings                                  seed  steps  converged  unseen sentences  seconds")
    waits: list[dict[str, Any]] = [{"steps": 1000}, {"steps": MOST_STEPS, "early_stopping": True}, {}]
    for settings in waits:
        for seed in seeds:
            X, y = language(3500, seed)
            began = time.perf_counter()
            model = AttentionSeq2Seq(random_state=seed, **settings).fit(X[:3000], y[:3000])
            seconds = time.perf_counter() - began
            share = model.exact_match(X[3000:], y[3000:])
            said = f"{settings!s:41} {seed:4}  {model.n_iter_:5}  {model.converged_!s:9}  {share:16.3f}  {seconds:7.1f}"
            print(said, flush=True)


if __name__ == "__main__":
    main()
