"""Attending to nothing: all the weight that a query gives away, when it has a matching key and when it has none."""

import numpy as np
from style import BLUE, FAINT, ORANGE, main, panels

import attnlab

MECHANISMS = {
    "dot product, softmax": ("dot", "softmax"),
    "dot product, softmax1": ("dot", {"softmax_n": {"n0": 1.0}}),
    "distance, n0 = 0.01": ("neg_l2", {"softmax_n": {"n0": 0.01}}),
}


def numbers():
    data = attnlab.get("task", "null_queries", pi=0.5, noise=0.2, n_train=100).make(np.random.default_rng(0)).train
    known = data.gold.any(axis=-1)
    found = {}
    for name, (similarity, normaliser) in MECHANISMS.items():
        mass = attnlab.attention_weights(data.Q, data.K, similarity, normaliser).sum(axis=-1)
        found[name] = {"has a match": mass[known], "has none": mass[~known]}
    return found


def draw(found):
    figure, axes = panels(3, sharey=True, height=2.6)
    edges = np.linspace(0, 1, 21)
    for ax, (name, masses) in zip(axes, found.items(), strict=True):
        for (who, mass), colour, side in zip(masses.items(), (BLUE, ORANGE), (-1, 1), strict=True):
            share = np.histogram(np.clip(mass, 0, 1), edges)[0] / len(mass)
            ax.barh(edges[:-1] + 0.025, side * share, height=0.043, color=colour, label=who)
        ax.axvline(0, color=FAINT, linewidth=1)
        ax.set(title=name, xlim=(-1.05, 1.05), xticks=[], ylim=(0, 1.0), yticks=[0, 0.5, 1])
        ax.spines["bottom"].set_visible(False)
    axes[0].set_ylabel("weight given away, in all")
    axes[0].legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, -0.16), handlelength=1, columnspacing=1)
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
