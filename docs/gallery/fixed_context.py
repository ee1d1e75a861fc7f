"""One fixed context C against a context C_i for each output word: the same networks, on sentences of growing length."""

import numpy as np
from style import BLUE, ORANGE, line, main, panels

import attnlab

LENGTHS = range(3, 11)


def numbers():
    task = attnlab.get("task", "toy_translation", length=1, n_test=512)
    splits = task.make(np.random.default_rng(0))
    english, chinese = (list(map(list, side)) for side in zip(*splits.tests["test"].tokens, strict=True))
    length = np.array([len(sentence) for sentence in english])
    found = {}
    for context in ("attention", "fixed"):
        model = attnlab.AttentionSeq2Seq(
            context=context,
            encoder="rnn",
            hidden_dim=32,
            embedding_dim=16,
            steps=130,
            learning_rate=0.02,
            random_state=0,
        ).fit(splits.train)
        pairs = zip(model.predict(english), chinese, strict=True)
        right = np.array([said == true for said, true in pairs])
        found[context] = [float(right[length == n].mean()) for n in LENGTHS]
    return found


def draw(found):
    figure, (ax,) = panels(1, height=3.0)
    line(ax, LENGTHS, found["attention"], BLUE, "a context C_i for each output word")
    line(ax, LENGTHS, found["fixed"], ORANGE, "one fixed context C")
    ax.set(xlabel="English words in the sentence", ylabel="unseen sentences translated exactly", ylim=(0, 1.02))
    ax.legend(loc="center", bbox_to_anchor=(0.53, 0.62))
    return figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
