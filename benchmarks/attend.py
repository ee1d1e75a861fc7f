"""Attention over long inputs: `attend` against PyTorch's own attention and the entmax package.

Two threads each. PyTorch's side of sparsemax forms scores and weights whole, which is what one writes there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import attnlab
from benchmarks import common

D, THREADS = 64, 2
SIZES = ((8, 512), (2, 2048), (1, 16384))  # examples, and queries and keys of each
SPARSE = ((8, 512), (2, 2048), (1, 8192))


def main(quick: bool = False) -> list[dict[str, Any]]:
    """A row for each size and normaliser against its peer."""
    rows = []
    for normaliser, sizes in (("softmax", SIZES), ("sparsemax", SPARSE)):
        for n, k in sizes[: 2 if quick else None]:
            rows.append(_against(normaliser, n, k, 3 if quick else 9))
            common.say(rows[-1])
    return rows


def _drawn(n: int, k: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, k, D)).astype(np.float32) for _ in range(3)]


def _against(normaliser: str, n: int, k: int, repeats: int) -> dict[str, Any]:
    Q, K, V = _drawn(n, k)
    ways: dict[str, Callable[[], Any]] = {"attnlab": lambda: attnlab.attend(Q, K, V, normaliser=normaliser)}
    peer = _peer(normaliser, Q, K, V)
    if peer is not None:
        name, way = peer
        ways[name] = way
        away = float(np.abs(ways["attnlab"]() - np.asarray(way())).max())
        if away > 1e-4:
            raise AssertionError(f"{normaliser}, {k} keys: attnlab and {name} differ by {away:.2g}")
    times = common.alternate(ways, repeats if k < 8192 else min(repeats, 5), pause=0.03, burst=0.15)
    row = {"normaliser": normaliser, "n": n, "keys": k, "d": D}
    row |= {f"{name} ms": 1e3 * common.median(t) for name, t in times.items()}
    row["GFLOP/s"] = 4e-9 * n * k * k * D / common.median(times["attnlab"])
    return row | {f"x {name}": common.ratio(t, times["attnlab"]) for name, t in times.items() if name != "attnlab"}


def _peer(normaliser: str, Q: Any, K: Any, V: Any) -> tuple[str, Callable[[], Any]] | None:
    """(name, the same in PyTorch), or None where it is not installed."""
    if not common.installed("torch") or (normaliser == "sparsemax" and not common.installed("entmax")):
        return None
    import torch

    q, k, v = (torch.tensor(a) for a in (Q, K, V))
    if normaliser == "softmax":
        return "sdpa", lambda: torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0]
    import entmax

    return "entmax", lambda: entmax.sparsemax(q @ k.mT / D**0.5, -1) @ v


if __name__ == "__main__":
    import sys

    limit = common.threads(THREADS)
    print(common.machine())
    print(common.markdown(main("-q" in sys.argv)))
