"""One fixed context C against a context C_i for each output word: the same networks, trained briefly and ten times as long."""

import numpy as np
from style import BLUE, ORANGE, line, main, panels

import attnlab

LENGTHS = range(3, 11)
STEPS = (130, 1300)


def numbers():
    task = attnlab.get("task", "toy_translation", length=1, n_test=512)
    splits = task.make(np.random.default_rng(0))
    english, chinese = (list(map(list, side)) for side in zip(*splits.tests["test"].tokens, strict=True))
    length = np.array([len(sentence) for sentence in english])
    found = {}
    for context in ("attention", "fixed"):
        for steps in STEPS:
            model = attnlab.AttentionSeq2Seq(
                context=context,
                encoder="rnn",
                hidden_dim=32,
                embedding_dim=16,
                steps=steps,
                learning_rate=0.02,
                random_state=1,
            ).fit(splits.train)
            pairs = zip(model.predict(english), chinese, strict=True)
            right = np.array([said == true for said, true in pairs])
            found[context, steps] = [float(right[length == n].mean()) for n in LENGTHS]
    return found


def draw(found):
    figure, axes = panels(2, height=3.0)
    for ax, steps in zip(axes, STEPS, strict=True):
        line(ax, LENGTHS, found["attention", steps], BLUE, "a context C_i for each output word")
        line(ax, LENGTHS, found["fixed", steps], ORANGE, "one fixed context C")
        ax.set(xlabel="English words in the sentence", title=f"after {steps} steps", ylim=(0, 1.03))
    axes[0].set_ylabel("translated exactly")
    axes[1].legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
