"""What sparsemax zeroes: the weight of one key, and the number of keys with weight, as its lead over the others grows."""

import numpy as np
from style import BLUE, GREEN, ORANGE, line, main, name_end, panels

import attnlab

LEADS = np.linspace(0, 4, 33)
PARTS = ("softmax", "entmax", "sparsemax")
OTHERS = np.array([0.0, -0.5, -1.0, -1.5])  # the best of the others is at 0


def numbers():
    S = np.column_stack([LEADS, np.tile(OTHERS, (len(LEADS), 1))])  # (leads, keys)
    return {name: attnlab.get("normaliser", name).normalise(S) for name in PARTS}


def draw(weights):
    figure, (left, right) = panels(2)
    colours = dict(zip(PARTS, (BLUE, GREEN, ORANGE), strict=True))
    for name, W in weights.items():
        line(left, LEADS, W[:, 0], colours[name], name, markevery=4)
        support = (W > 0).sum(axis=1)
        line(right, LEADS, support, colours[name], name, markevery=4, drawstyle="steps-post")
    left.set(title="weight of the best key", xlabel="its lead over the next", ylim=(0, 1.02), xlim=(0, 4))
    right.set(title="keys with any weight, of five", xlabel="lead of the best key", ylim=(0, 5.2), xlim=(0, 4))
    right.set_yticks(range(6))
    for name in PARTS:
        name_end(
            right, 4, (weights[name][-1] > 0).sum(), name, colours[name], {"entmax": 7, "sparsemax": -5}.get(name, 0)
        )
    left.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
