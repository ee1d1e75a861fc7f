"""What a notebook shows of a mechanism: its parts and settings, with nothing of it taken for markup."""

from html.parser import HTMLParser

import numpy as np

import attnlab
from attnlab.mechanisms.html import facts_html, mechanism_html


class Texts(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_parts_with_their_settings():
    mask = ["causal", np.ones((2, 3), dtype=bool)]
    shown = Texts(mechanism_html(attnlab.Mechanism({"neg_l2": {"sigma": 2.5}}, "sparsemax", mask=mask)))
    assert {"neg_l2(sigma=2.5)", "causal()", "boolean array (2, 3)", "weighted_sum()"} <= set(shown.texts)
    assert any(text.startswith("sparsemax(") for text in shown.texts)
    assert attnlab.components().set_index(["kind", "name"]).loc[("normaliser", "sparsemax"), "summary"] in shown.texts


def test_text_stays_text():
    evil = "<script>alert(1)</script>\"'&amp;"
    shown = Texts(facts_html(evil, [(evil, evil, evil)]))
    assert set(shown.tags) == {"table", "caption", "tr", "th", "td", "code"}
    assert shown.texts == [evil] * 4
