"""Kernel regression is attention: training rows are keys, their targets values, and the new row is the query."""

import numpy as np
from style import BLUE, GREEN, INK, ORANGE, main, panels

from attnlab import AttentionRegressor

BANDWIDTHS = {"narrow: it follows the noise": 0.05, "wide: it sees no curve": 2.0}


def truth(x):
    return 2 * np.sin(x) + x**0.8


def numbers():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 5, 60))
    y = truth(x) + rng.normal(scale=0.5, size=60)
    grid = np.linspace(0.02, 5, 200)
    fits = {}
    for name, sigma in BANDWIDTHS.items():
        similarity = {"neg_l2": {"sigma": sigma}}
        model = AttentionRegressor(similarity, n_neighbors=None, standardise=False).fit(x[:, None], y)
        fits[name] = model.predict(grid[:, None])
    learned = AttentionRegressor(projection="scale", random_state=0).fit(x[:, None], y)
    fits["learned"] = learned.predict(grid[:, None])
    return {"x": x, "y": y, "grid": grid, "fits": fits}


def draw(found):
    figure, axes = panels(3, sharey=True, height=2.6)
    for ax, (name, fit), colour in zip(axes, found["fits"].items(), (ORANGE, GREEN, BLUE), strict=True):
        ax.scatter(found["x"], found["y"], s=11, color="#9a9a9a", linewidths=0)
        ax.plot(found["grid"], truth(found["grid"]), color=INK, linewidth=1, linestyle=(0, (4, 3)), label="truth")
        ax.plot(found["grid"], fit, color=colour, label="attention")
        ax.set(title=name, xlabel="x", xticks=range(6))
    axes[0].set_ylabel("y")
    axes[2].legend(loc="lower right", handlelength=1.6)
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
