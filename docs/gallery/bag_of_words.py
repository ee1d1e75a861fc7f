"""A bag of words: `copy` learned without and with positions. The query is the same marker at every step."""

import numpy as np
from style import INK, main, panels

import attnlab


def numbers():
    splits = attnlab.get("task", "copy", length=12).make(np.random.default_rng(0))
    test = splits.tests["test"]
    found = {"tokens": test.tokens[0][0]}
    for position in ("none", "sinusoidal"):
        mechanism = attnlab.Mechanism("general", position=position)
        model = attnlab.AttentionAligner(mechanism, steps=150, random_state=0).fit(splits.train)
        W = model.align(test)
        found[position] = {"W": W[0], "right": float((W.argmax(axis=-1) == np.arange(12)).mean())}
    return found


def draw(found):
    figure, axes = panels(2, height=3.5, sharey=True)
    names = {"none": "no positions", "sinusoidal": "sinusoidal positions"}
    for ax, (position, name) in zip(axes, names.items(), strict=True):
        image = ax.imshow(found[position]["W"], cmap="Blues", vmin=0, vmax=1)
        ax.set(title=f"{name}: {found[position]['right']:.0%} of places found", xlabel="token of the input")
        ax.set_xticks(range(12), found["tokens"])
        ax.set_yticks(range(12), range(1, 13))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("step of the output")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, aspect=24, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=INK)
    bar.set_label("weight")
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
