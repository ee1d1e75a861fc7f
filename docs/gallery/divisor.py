"""What the divisor sqrt(d_k) saves: softmax before training, for queries and keys with independent N(0, 1) features."""

import numpy as np
from style import BLUE, ORANGE, line, main, panels

import attnlab

WIDTHS = [4, 8, 16, 32, 64, 128, 256, 512]
N_KEYS = 32


def numbers():
    """The greatest weight, and how much weights move with scores: the norm of the Jacobian diag(w) - w w'."""
    rng = np.random.default_rng(0)
    found = {name: {"max": [], "gradient": []} for name in ("dot", "scaled_dot")}
    for d in WIDTHS:
        Q, K = rng.normal(size=(256, 1, d)), rng.normal(size=(256, N_KEYS, d))
        for name, measured in found.items():
            w = attnlab.attention_weights(Q, K, similarity=name)[:, 0]  # (256, k)
            jacobian = w[:, :, None] * (np.eye(N_KEYS) - w[:, None, :])  # (256, k, k)
            measured["max"].append(float(w.max(axis=1).mean()))
            measured["gradient"].append(float(np.median(np.linalg.norm(jacobian, axis=(1, 2)))))
    return found


def draw(found):
    figure, (left, right) = panels(2)
    names = {"dot": ("dot product", ORANGE), "scaled_dot": ("over the square root of d", BLUE)}
    for key, (name, colour) in names.items():
        line(left, WIDTHS, found[key]["max"], colour, name)
        line(right, WIDTHS, found[key]["gradient"], colour, name)
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set(xlabel="features d of queries and keys", xticks=WIDTHS[::2])
        ax.set_xticklabels([str(d) for d in WIDTHS[::2]])
    left.set(title="mean greatest weight of 32", ylim=(0, 1))
    right.set(title="how far weights follow scores, median", yscale="log")
    right.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
