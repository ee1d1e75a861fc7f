"""Positions in pictures: what each adds to the comparison of place i with place j, when contents say nothing."""

import numpy as np
from matplotlib.ticker import MaxNLocator
from style import INK, main, panels

import attnlab

PLACES, FEATURES = 32, 32


def numbers():
    i = np.arange(PLACES)
    nothing = np.zeros((PLACES, FEATURES))
    table, _ = attnlab.get("position", "sinusoidal").place(nothing, nothing, i, i)
    rng = np.random.default_rng(2)
    query, key = (np.tile(rng.normal(size=FEATURES), (PLACES, 1)) for _ in range(2))  # the same at every place
    Q, K = attnlab.get("position", "rope").place(query, key, i, i)
    return {
        "sinusoidal: the table": table,
        "its products": table @ table.T,
        "rope: a query, a key": Q @ K.T,
        "alibi": attnlab.get("position", "alibi").bias(np.zeros((PLACES, PLACES)), i, i),
    }


def draw(pictures):
    figure, axes = panels(4, height=2.4)
    for ax, (name, S) in zip(axes, pictures.items(), strict=True):
        image = ax.imshow(S, cmap="cividis")
        ax.set(title=name, xlabel="key's place", ylabel="query's place", xticks=[0, 15, 31], yticks=[0, 15, 31])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, orientation="horizontal", fraction=0.05, aspect=20, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=7, labelcolor=INK)
        bar.locator = MaxNLocator(3)
    axes[0].set(xlabel="feature", ylabel="place")
    for ax in axes[2:]:
        ax.set(ylabel="", yticklabels=[])
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
