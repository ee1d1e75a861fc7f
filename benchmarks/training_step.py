"""A training step of AttentionAligner against the same step in PyTorch eager and in JAX under jit, cell by cell.

A cell is a similarity, a normaliser and a size (n examples a batch, q = k queries and keys, d features). The step draws a
batch, projects queries and keys by learned maps, attends, and takes Adam's step on the mean squared error.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import attnlab
from benchmarks import common

SIMILARITIES = ("dot", "scaled_dot", "cosine", "general", "additive")
NORMALISERS = ("softmax", "sparsemax", "entmax")
SIZES = ((32, 8, 16), (64, 16, 32), (64, 32, 64))
HIDDEN, RATE = 32, 0.03


def main(quick: bool = False) -> list[dict[str, Any]]:
    """A row for each cell: milliseconds a step, and how many times as fast as each peer."""
    rows = []
    for size, similarity, normaliser in itertools.product(SIZES, SIMILARITIES, NORMALISERS):
        n, q, d = size
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal((4 * n, q, d)).astype(np.float32) for _ in range(4)]
        steps = {8: 300, 16: 100, 32: 30}[q] // (5 if quick else 1)
        peers = {}
        if common.installed("torch", "entmax"):
            peers["torch"] = in_torch(similarity, normaliser, *arrays, n)
        if common.installed("jax"):
            peers["jax"] = in_jax(similarity, normaliser, *arrays, n)
        ways = {"attnlab": ours(similarity, normaliser, *arrays, n, steps)}
        ways |= {name: common.repeated(f, steps) for name, f in peers.items()}
        times = common.alternate(ways, 5)
        rows.append(
            {"n": n, "q": q, "d": d, "similarity": similarity, "normaliser": normaliser}
            | {f"{name} ms": 1e3 * common.median(t) / steps for name, t in times.items()}
            | {f"x {name}": common.ratio(times[name], times["attnlab"]) for name in times if name != "attnlab"}
        )
        common.say(rows[-1])
    return rows


def ours(similarity: str, normaliser: str, Q: Any, K: Any, V: Any, T: Any, batch: int, steps: int) -> Callable[[], Any]:
    """A whole fit, what it prepares included."""
    data = attnlab.AlignmentData(Q, K, V, target=T)
    aligner = attnlab.AttentionAligner(
        attnlab.Mechanism(similarity, normaliser),
        projection=Q.shape[-1],
        batch_size=batch,
        learning_rate=RATE,
        steps=steps,
        random_state=0,
    )

    def fit() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            aligner.fit(data)

    return fit


def in_torch(similarity: str, normaliser: str, Q: Any, K: Any, V: Any, T: Any, batch: int) -> Callable[[], float]:
    import entmax
    import torch

    draw = torch.Generator().manual_seed(0)
    d = Q.shape[-1]
    Q, K, V, T = map(torch.tensor, (Q, K, V, T))

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw)

    P = {"Wq": normal(d, d) / d**0.5, "Wk": normal(d, d) / d**0.5}
    if similarity == "general":
        P["W"] = normal(d, d) / d**0.5
    if similarity == "additive":
        P |= {"A": normal(d, HIDDEN) / d**0.5, "B": normal(d, HIDDEN) / d**0.5}
        P |= {"b": torch.zeros(HIDDEN), "v": normal(HIDDEN) / HIDDEN**0.5}
    if similarity == "cosine":
        P["t"] = torch.tensor(math.log(0.1))
    for p in P.values():
        p.requires_grad_(True)
    optimizer = torch.optim.Adam(list(P.values()), lr=RATE)
    unit = torch.nn.functional.normalize
    score = {
        "dot": lambda q, k: q @ k.mT,
        "scaled_dot": lambda q, k: q @ k.mT / d**0.5,
        "cosine": lambda q, k: unit(q, dim=-1) @ unit(k, dim=-1).mT * torch.exp(-P["t"]),
        "general": lambda q, k: q @ P["W"] @ k.mT,
        "additive": lambda q, k: torch.tanh((q @ P["A"])[:, :, None] + (k @ P["B"])[:, None] + P["b"]) @ P["v"],
    }[similarity]
    weigh = {
        "softmax": lambda s: torch.softmax(s, -1),
        "sparsemax": lambda s: entmax.sparsemax(s, -1),
        "entmax": lambda s: entmax.entmax15(s, -1),
    }[normaliser]

    def batches() -> Iterator[Any]:
        while True:
            yield from torch.randperm(len(Q), generator=draw).split(batch)

    order = batches()

    def step() -> float:
        i = next(order)
        optimizer.zero_grad()
        Y = weigh(score(Q[i] @ P["Wq"], K[i] @ P["Wk"])) @ V[i]
        loss = ((Y - T[i]) ** 2).mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())  # both keep the loss of each step

    return step


def in_jax(similarity: str, normaliser: str, Q: Any, K: Any, V: Any, T: Any, batch: int) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp

    d, rng = Q.shape[-1], np.random.default_rng(0)
    Q, K, V, T = map(jnp.asarray, (Q, K, V, T))

    def normal(*shape: int) -> Any:
        return jnp.asarray(rng.standard_normal(shape).astype(np.float32) / shape[0] ** 0.5)

    P = {"Wq": normal(d, d), "Wk": normal(d, d)}
    if similarity == "general":
        P["W"] = normal(d, d)
    if similarity == "additive":
        P |= {"A": normal(d, HIDDEN), "B": normal(d, HIDDEN), "b": jnp.zeros(HIDDEN), "v": normal(HIDDEN)}
    if similarity == "cosine":
        P["t"] = jnp.asarray(math.log(0.1))

    def unit(x: Any) -> Any:
        return x / jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12)

    score = {
        "dot": lambda p, q, k: q @ k.mT,
        "scaled_dot": lambda p, q, k: q @ k.mT / d**0.5,
        "cosine": lambda p, q, k: unit(q) @ unit(k).mT * jnp.exp(-p["t"]),
        "general": lambda p, q, k: q @ p["W"] @ k.mT,
        "additive": lambda p, q, k: jnp.tanh((q @ p["A"])[:, :, None] + (k @ p["B"])[:, None] + p["b"]) @ p["v"],
    }[similarity]
    weigh = {"softmax": lambda s: jax.nn.softmax(s, -1), "sparsemax": _jax_sparsemax, "entmax": _jax_entmax15}[
        normaliser
    ]

    def loss(p: Any, q: Any, k: Any, v: Any, t: Any) -> Any:
        return ((weigh(score(p, q @ p["Wq"], k @ p["Wk"])) @ v - t) ** 2).mean()

    @jax.jit
    def update(p: Any, m: Any, s: Any, at: Any, i: Any) -> Any:
        value, g = jax.value_and_grad(loss)(p, Q[i], K[i], V[i], T[i])
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        s = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, s, g)
        rate = RATE * jnp.sqrt(1 - 0.999**at) / (1 - 0.9**at)
        p = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + 1e-8), p, m, s)
        return value, p, m, s

    state = [P, jax.tree.map(jnp.zeros_like, P), jax.tree.map(jnp.zeros_like, P), 0]

    def batches() -> Iterator[Any]:
        while True:
            yield from np.split(rng.permutation(len(Q)), len(Q) // batch)

    order = batches()

    def step() -> float:
        state[3] += 1
        value, *state[:3] = update(*state[:3], float(state[3]), next(order))
        return float(value)

    return step


def _jax_sparsemax(S: Any) -> Any:
    import jax.numpy as jnp
    from jax import lax

    Z = S - S.max(-1, keepdims=True)
    plain = lax.stop_gradient(Z)
    down = -jnp.sort(-plain, -1)
    rank = jnp.arange(1, S.shape[-1] + 1)
    inside = 1 + rank * down > jnp.cumsum(down, -1)
    least = jnp.min(jnp.where(inside, down, 0), -1, keepdims=True)
    support = plain >= least
    tau = (jnp.sum(jnp.where(support, Z, 0), -1, keepdims=True) - 1) / support.sum(-1, keepdims=True)
    return jnp.where(support, jnp.maximum(Z - tau, 0), 0)


def _jax_entmax15(S: Any) -> Any:
    import jax.numpy as jnp
    from jax import lax

    Z = (S - S.max(-1, keepdims=True)) / 2
    down = -jnp.sort(-lax.stop_gradient(Z), -1)
    rank = jnp.arange(1, S.shape[-1] + 1)
    mean, square = jnp.cumsum(down, -1) / rank, jnp.cumsum(down * down, -1) / rank
    taus = mean - jnp.sqrt(jnp.maximum((1 - rank * (square - mean * mean)) / rank, 0))
    size = jnp.sum(taus <= down, -1, keepdims=True)
    tau = jnp.take_along_axis(taus, size - 1, -1)
    W = lax.stop_gradient(jnp.maximum(Z - tau, 0) ** 2)
    u = jnp.sqrt(W)
    dS = S - lax.stop_gradient(S)
    return W + u * (dS - jnp.sum(u * dS, -1, keepdims=True) / jnp.sum(u, -1, keepdims=True))


if __name__ == "__main__":
    import sys

    limit = common.one_thread()
    found = main("-q" in sys.argv)
    for peer in ("torch", "jax"):
        if ratios := [row[f"x {peer}"] for row in found if f"x {peer}" in row]:
            print(f"{peer}: {common.geometric_mean(ratios):.2f} times, least {min(ratios):.2f}")
