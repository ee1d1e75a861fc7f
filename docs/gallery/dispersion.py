"""How softmax disperses: one key leads by a fixed gap, and only the number of keys grows."""

import numpy as np
from style import BLUE, FAINT, GREEN, GREY, ORANGE, line, main, panels

import attnlab

KEYS = [2**i for i in range(2, 13)]
GAP = 6.0
PARTS = {
    "sparsemax": "sparsemax",
    "softmax of log n times the score": {"logn_softmax": {"scale": 1 / np.log(16)}},
    "softmax": "softmax",
}


def numbers():
    """The weight of the leading key of n; its score is GAP, the others' are N(0, 1)."""
    rng = np.random.default_rng(0)
    weight = {name: [] for name in PARTS}
    for n in KEYS:
        scores = rng.normal(size=(256, n - 1))
        K = np.concatenate([np.full((256, 1), GAP), scores], axis=1)[..., None]  # (256, n, 1)
        for name, spec in PARTS.items():
            W = attnlab.attention_weights(np.ones((256, 1, 1)), K, similarity="dot", normaliser=spec)
            weight[name].append(float(W[..., 0].mean()))
    return weight


def draw(weight):
    figure, (ax,) = panels(1, height=3.0)
    for (name, w), colour in zip(weight.items(), (ORANGE, GREEN, BLUE), strict=True):
        line(ax, KEYS, w, colour, name)
    ax.set_xscale("log", base=2)
    ax.set(xlabel="number of keys", ylabel="weight of the leading key", ylim=(0, 1.02), xticks=KEYS[::2])
    ax.set_xticklabels([str(n) for n in KEYS[::2]])
    ax.axvline(16, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.text(17, 0.04, "16 keys: the two softmaxes are the same", fontsize=8, color=GREY)
    ax.legend(loc="lower left", bbox_to_anchor=(0.225, 0.08))
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
