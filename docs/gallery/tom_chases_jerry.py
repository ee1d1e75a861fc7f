"""Tom chases Jerry: which English word each Chinese word was made from, learned from translations alone."""

import numpy as np
from matplotlib.figure import Figure
from style import main

import attnlab

EXAMPLES = (0, 108)  # of the test split: Tom chases Jerry, and one whose words change places


def numbers():
    """English words, Chinese words, the weights (Chinese, English), and the true links of each example."""
    splits = attnlab.get("task", "toy_translation", length=1).make(np.random.default_rng(0))
    model = attnlab.AttentionSeq2Seq(
        attnlab.Mechanism("general"), hidden_dim=32, embedding_dim=24, steps=180, learning_rate=0.02, random_state=0
    )
    test = splits.tests["test"][list(EXAMPLES)]
    weights = model.fit(splits.train).align(test)
    found = []
    for (english, chinese), W, gold in zip(test.tokens, weights, test.gold, strict=True):
        here = slice(len(chinese)), slice(len(english))
        found.append((english, chinese, W[here], gold[here]))
    return found


def draw(found):
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots(1, len(found), width_ratios=[len(english) + 2 for english, _, _, _ in found])
    for ax, (english, chinese, W, gold) in zip(axes, found, strict=True):
        attnlab.plot_alignment(W, english, chinese, gold, ax=ax)
        ax.set_anchor("N")
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
