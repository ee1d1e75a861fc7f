"""Hubs: keys of the same directions and different lengths, and how many queries each one wins."""

import numpy as np
from style import BLUE, FAINT, GREY, ORANGE, main, panels

import attnlab


def numbers():
    rng = np.random.default_rng(0)
    n, d = 64, 16
    directions = rng.normal(size=(n, d))
    directions *= np.sqrt(d) / np.linalg.norm(directions, axis=1, keepdims=True)
    norms = np.exp(rng.normal(size=(n, 1)))
    owners = np.repeat(np.arange(n), 8)  # eight queries want each key
    Q = directions[owners] + 0.3 * rng.normal(size=(len(owners), d))
    won = {}
    for name in ("dot", "cosine"):
        W = attnlab.attention_weights(Q, norms * directions, similarity=name, rng=0)
        won[name] = np.bincount(W.argmax(axis=1), minlength=n)
    return {"norms": norms[:, 0], "won": won}


def draw(found):
    figure, axes = panels(2, sharey=True)
    for ax, (name, colour) in zip(axes, {"dot": ORANGE, "cosine": BLUE}.items(), strict=True):
        ax.axhline(8, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.scatter(found["norms"], found["won"][name], s=22, color=colour, alpha=0.7, linewidths=0, clip_on=False)
        ax.set(title={"dot": "dot product", "cosine": "cosine"}[name], xlabel="length of the key, over the typical one")
        ax.set_xscale("log")
        ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        ax.set_ylim(0, None)
    axes[0].set_ylabel("queries that the key wins")
    axes[1].text(0.04, 14, "eight queries want each key", fontsize=8, color=GREY)
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
