"""Several mechanisms on one Q and K: the weights are theirs, the pictures have one scale, and a cell is shown in all."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import attnlab

rng = np.random.default_rng(0)
Q, K = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))


def test_the_weights_are_those_of_each_mechanism():
    mask = np.ones((3, 5), dtype=bool)
    mask[:, 2] = False
    given = [
        "softmax",
        "cosine",
        {"similarity": "dot", "normaliser": "sparsemax"},
        {"entmax": {"alpha": 1.2}},
        attnlab.Mechanism("neg_l2"),
    ]
    found = attnlab.compare_weights(Q, K, given, mask)
    assert list(found) == found.names == ["softmax", "cosine", "dot sparsemax", "entmax alpha=1.2", "neg_l2"]
    assert np.array_equal(found["softmax"], attnlab.attention_weights(Q, K, mask=mask))
    assert np.array_equal(found["dot sparsemax"], attnlab.attention_weights(Q, K, "dot", "sparsemax", mask=mask))
    assert np.array_equal(found["neg_l2"], attnlab.attention_weights(Q, K, "neg_l2", mask=mask))
    assert all((W[:, 2] == 0).all() for W in found.values())
    frame = found.to_frame()
    assert list(frame.columns) == ["query", "key", *found]
    assert np.array_equal(frame["neg_l2"].to_numpy().reshape(3, 5), found["neg_l2"])


def test_what_learns_starts_alike_and_is_marked():
    mechanism = attnlab.Mechanism("additive")
    params = mechanism.init(np.random.default_rng(3), 4, 4, 4)
    found = attnlab.compare_weights(Q, K, {"mine": mechanism, "dot": "dot"}, params={"mine": params})
    assert found.untrained == ()
    assert np.array_equal(found["mine"], mechanism.weights(params, Q, K))
    again = attnlab.compare_weights(Q, K, ["additive", "additive", "dot"])
    assert again.names == ["additive", "additive 2", "dot"]
    assert again.untrained == ("additive", "additive 2")
    assert np.array_equal(again["additive"], again["additive 2"])


def test_a_notebook_shows_one_scale_and_every_mechanism_at_a_cell():
    found = attnlab.compare_weights(
        Q, K, {"<b>": "dot", "sparse": "sparsemax"}, queries=["<q>", "b", "c"], keys=list("vwxyz")
    )
    tree = ElementTree.fromstring(found._repr_html_())
    cells = [rect for rect in tree.iter("rect") if len(rect)]
    assert len(cells) == 2 * 15
    assert all("<b>: " in cell[0].text and "sparse: " in cell[0].text for cell in cells)
    assert cells[0][0].text.startswith("query <q> → key v\n")
    drawn = np.array([float(cell.get("fill-opacity")) for cell in cells]).reshape(2, 3, 5)
    assert np.allclose(drawn, np.stack([found["<b>"], found["sparse"]]) / found.scale, atol=6e-4)
    large = attnlab.compare_weights(np.zeros((2, 60, 4)), np.zeros((2, 99, 4)), ["dot"])._repr_html_()
    assert "The first 24 of 60 queries and 48 of 99 keys. The first example." in large


def test_it_is_saved_as_a_page_that_loads_nothing(tmp_path):
    found = attnlab.compare_weights(Q, K, ["dot", "cosine"])
    found.save(tmp_path / "w.html")
    text = (tmp_path / "w.html").read_text()
    assert not re.search(r"https?:|src=|@import|<script", text)
    with pytest.raises(attnlab.SettingError):
        found.save(tmp_path / "w.html")
    axes = found.plot()
    assert [ax.get_title() for ax in axes] == ["dot", "cosine"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mechanisms": "softmax"}, "give a list"),
        ({"mechanisms": []}, "give a list"),
        ({"mechanisms": ["softmx"]}, "did you mean softmax"),
        ({"mechanisms": [3]}, "each must be a mechanism.* got int"),
        ({"mechanisms": ["dot"], "params": {"dit": {}}}, "no mechanism 'dit' .did you mean dot"),
        ({"mechanisms": ["dot"], "queries": ["a"]}, "queries must be 3 words"),
        ({"mechanisms": ["dot"], "Q": np.ones(4)}, r"Q must be \(..., q, d\)"),
    ],
)
def test_mistakes_are_answered(arguments, said):
    with pytest.raises((attnlab.SettingError, attnlab.ShapeError), match=said):
        attnlab.compare_weights(**{"Q": Q, "K": K, **arguments})
