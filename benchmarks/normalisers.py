"""Normalisers alone, `attnlab.normalise`, against PyTorch's softmax and the entmax package: rows of 8 to 8,192 keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import attnlab
from benchmarks import common

SIZES = ((4096, 8), (4096, 32), (2048, 128), (512, 1024), (128, 8192))
PEERS = {"softmax": "softmax", "sparsemax": "sparsemax", "entmax": "entmax15"}


def main(quick: bool = False) -> list[dict[str, Any]]:
    """A row for each normaliser and size, values alone and with the gradient: milliseconds, and times as fast as the peer."""
    rows = []
    for name, peer in PEERS.items():
        for n, k in SIZES:
            S = 2 * np.random.default_rng(0).standard_normal((n, k)).astype(np.float32)
            repeats = max(1, 2**21 // (n * k)) // (4 if quick else 1) or 1
            ways: dict[str, Callable[[], Any]] = {"attnlab": lambda S=S, name=name: attnlab.normalise(S, name)}
            if common.installed("torch", "entmax"):
                theirs = _peer(peer)
                ours, its = attnlab.normalise(S, name), theirs(S)
                assert np.abs(ours - its).max() < 1e-5, f"{name} is not {peer}"
                ways["peer"] = lambda S=S, theirs=theirs: theirs(S)
            times = common.alternate({w: common.repeated(f, repeats) for w, f in ways.items()}, 5)
            row = {"normaliser": name, "rows": n, "keys": k}
            row |= {f"{w} ms": 1e3 * common.median(t) / repeats for w, t in times.items()}
            if "peer" in times:
                row["x"] = common.ratio(times["peer"], times["attnlab"])
            common.say(row)
            rows.append(row)
    return rows


def _peer(name: str) -> Callable[[Any], Any]:
    import entmax
    import torch

    functions = {"softmax": torch.softmax, "sparsemax": entmax.sparsemax, "entmax15": entmax.entmax15}
    function = functions[name]

    def of(S: Any) -> Any:
        with torch.no_grad():
            return function(torch.from_numpy(S), -1).numpy()

    return of


if __name__ == "__main__":
    import sys

    limit = common.one_thread()
    found = main("-q" in sys.argv)
    for name in PEERS:
        if ratios := [row["x"] for row in found if row["normaliser"] == name and "x" in row]:
            print(f"{name}: {common.geometric_mean(ratios):.2f} times, least {min(ratios):.2f}")
