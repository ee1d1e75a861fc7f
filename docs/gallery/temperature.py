"""What temperature does: the same five scores, sharper or flatter weights."""

import numpy as np
from style import BLUE, FAINT, GREY, main, panels

import attnlab

SCORES = np.array([[2.0, 1.5, 0.5, 0.0, -1.0]])
TEMPERATURES = (0.25, 1.0, 4.0)


def numbers():
    softmax = [attnlab.get("normaliser", "softmax", temperature=t) for t in TEMPERATURES]
    return {t: part.normalise(SCORES)[0] for t, part in zip(TEMPERATURES, softmax, strict=True)}


def draw(weights):
    figure, axes = panels(3, height=2.5, sharey=True)
    keys = np.arange(1, SCORES.shape[1] + 1)
    for ax, (temperature, w) in zip(axes, weights.items(), strict=True):
        ax.bar(keys, w, width=0.68, color=BLUE)
        for key, weight in zip(keys, w, strict=True):
            ax.text(key, weight + 0.02, f"{weight:.2f}", ha="center", fontsize=8)
        ax.axhline(1 / len(keys), color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.set(title=f"temperature {temperature:g}", xticks=keys, ylim=(0, 1), yticks=[0, 0.5, 1])
        ax.set_xticklabels([f"{s:g}" for s in SCORES[0]])
        ax.set_xlabel("score of the key")
    axes[0].set_ylabel("weight")
    axes[0].text(5.5, 0.22, "all alike", ha="right", fontsize=8, color=GREY)
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
