"""What attention looks at: a translator that nobody told which word belongs to which, on a sentence whose words change places.

Draws the picture of the README. `python docs/pictures/alignment.py` draws it again; it takes a folder or a file, like the
scripts of the gallery.
"""

import sys
from pathlib import Path

import numpy as np

import attnlab

sys.path.insert(0, str(Path(__file__).parents[1] / "gallery"))
from style import main

SIMILARITIES = ("general", "additive")
EXAMPLE = 108  # of the test split


def numbers():
    """English words, Chinese words, the true links, and the weights (Chinese, English) by similarity."""
    splits = attnlab.get("task", "toy_translation", length=1).make(np.random.default_rng(0))
    test = splits.tests["test"][[EXAMPLE]]
    ((english, chinese),) = test.tokens
    here = slice(len(chinese)), slice(len(english))
    weights = {}
    for similarity in SIMILARITIES:
        model = attnlab.AttentionSeq2Seq(
            attnlab.Mechanism(similarity),
            hidden_dim=32,
            embedding_dim=24,
            steps=180,
            learning_rate=0.02,
            random_state=0,
        )
        weights[similarity] = model.fit(splits.train).align(test)[0][here]
    return english, chinese, test.gold[0][here], weights


def draw(found):
    english, chinese, gold, weights = found
    return attnlab.plot_alignments(weights, english, chinese, gold)[0].figure


if __name__ == "__main__":
    main(__file__, numbers, draw)
