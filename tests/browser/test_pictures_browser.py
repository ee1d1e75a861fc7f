"""The pictures of a report in a real Chromium: what is drawn is what was measured, for words in any script."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest

from attnlab.analysis.report import collect, write_report
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install 'attnlab[test]'")
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None,
    reason="no chromium and chromedriver: apt-get install chromium chromium-driver",
)

# (source words, target words): keys and queries
SENTENCES = [
    (["汤姆", "喜欢", "音乐"], ["Tom", "likes", "music"]),
    (["我们", "昨天", "在", "图书馆", "学习", "了", "汉语"], ["we", "studied", "Chinese", "in", "the", "library"]),
    (["she", "is", "a", "doctor"], ["她", "是", "一名", "中华人民共和国医疗卫生机构工作人员"]),
]
PEAK = {"dot": 0.3, "scaled_dot": 0.6, "additive": 1.0}  # the largest weight of each mechanism
Q, K = 12, 15  # of the grid in which they are padded


def spec(similarity, seed=0, task="words", **settings):
    parts = {"similarity": {similarity: {}}, "normaliser": {"softmax": {}}}
    return {"task": {task: settings}, "mechanism": {"single_head": parts}, "model": {"aligner": {}}, "seed": seed}


def kept(peak, tokens=True):
    """The arrays that a run with these sentences keeps. Query i looks at key i with the peak, and evenly elsewhere."""
    W, gold, mask = (np.zeros((3, Q, K)) for _ in range(3))
    for n, (keys, queries) in enumerate(SENTENCES):
        k = len(keys)
        for i in range(len(queries)):
            W[n, i, :k] = (1 - peak) / (k - 1)
            W[n, i, min(i, k - 1)] = peak
            mask[n, i, :k] = gold[n, i, min(i, k - 1)] = 1
    buffer = io.BytesIO()
    words = {"test.test.tokens": np.array(json.dumps([[list(s), list(t)] for s, t in SENTENCES]))} if tokens else {}
    np.savez_compressed(buffer, **{"test.test.W": W, "test.test.gold": gold, "test.test.mask": mask}, **words)
    return buffer.getvalue()


@pytest.fixture(scope="module", params=["words", "numbers"])
def alignments(request, tmp_path_factory):
    """A report with three mechanisms' alignments of sentences in a padded grid, with words and without."""
    folder = tmp_path_factory.mktemp("alignments")
    with Store(folder / "w.db") as store:
        runs = [Run.of(spec(name)) for name in PEAK]
        for run, peak in zip(runs, PEAK.values(), strict=True):
            metrics = {"test": {"alignment_accuracy": peak}}
            store.append(run, Result("ok", metrics=metrics, artifacts=kept(peak, request.param == "words")), {})
        store.add_experiment("words", "Who is linked to whom?", "", [run.run_id for run in runs])
    write_report(collect(folder / "w.db"), folder / "words.html")
    return folder / "words.html", request.param == "words"


def opacity(page, panel, query, key):
    """How strongly a cell is drawn, and how high its bar is when its query is pointed at."""
    return page(
        "(() => { const svg = document.querySelectorAll('.panel svg.weights')[arguments[0]], ground = svg.querySelector('.ground');"
        "const cells = [...svg.querySelectorAll('rect.cell:not(.bar)')], bars = [...svg.querySelectorAll('rect.bar')];"
        "const w = Number(cells[0].getAttribute('width')), h = Number(cells[0].getAttribute('height'));"
        "const x = Number(ground.getAttribute('x')) + arguments[2] * w, y = Number(ground.getAttribute('y')) + arguments[1] * h;"
        "const cell = cells.find((c) => Math.abs(c.getAttribute('x') - x) < 1 && Math.abs(c.getAttribute('y') - y) < 1);"
        "return [Number(cell?.getAttribute('fill-opacity') ?? 0), Number(bars[arguments[2]].getAttribute('height'))]; })()",
        panel,
        query,
        key,
    )


def choose(page, label, text):
    for field in page.all("[data-part=alignments] .field, [data-part=filters] .field"):
        if field.text.startswith(label):
            Select(field.find_element("tag name", "select")).select_by_visible_text(text)
            return
    raise AssertionError(f"no field {label}")


def test_two_alignments_are_on_one_scale(alignments, opened):
    path, _ = alignments
    page = opened(path)
    (weak, low), (strong, high) = (opacity(page, side, 0, 0) for side in (0, 1))
    assert (weak, strong) == (pytest.approx(0.3, abs=1e-2), pytest.approx(0.6, abs=1e-2)), (
        "a weight is as strong as it is"
    )
    assert low / high == pytest.approx(0.5, abs=0.01), "the bars too"
    (key,) = page.texts(".weights-key .bar-of-colours")
    assert key.split() == ["weight", "0", "1"]


def test_padding_is_not_drawn(alignments, opened):
    path, has_words = alignments
    page = opened(path)
    for example, (keys, queries) in enumerate(SENTENCES):
        choose(page, "Example", f"{example + 1} of 3")
        words = page(
            "[...document.querySelector('.panel svg.weights').querySelectorAll('text.word')].map((t) => t.textContent)"
        )
        assert len(words) == len(queries) + len(keys)
        if has_words and example < 2:
            assert words == [*queries, *keys]
        label = page.all("svg.weights[role=application]")[0].get_attribute("aria-label")
        assert f"{len(queries)} queries by {len(keys)} keys" in label


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_words_are_whole_or_end_with_dots_and_never_leave_the_picture(alignments, opened, width):
    path, has_words = alignments
    page = opened(path, width=width)
    for example in range(3):
        choose(page, "Example", f"{example + 1} of 3")
        outside = page(
            "[...document.querySelectorAll('.panel svg.weights')].flatMap((svg) => { const box = svg.getBoundingClientRect();"
            "return [...svg.querySelectorAll('text')].filter((t) => { const b = t.getBoundingClientRect();"
            "return b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1; }).map((t) => t.textContent); })"
        )
        assert outside == []
    shown = [word for word in page.texts(".panel:first-child svg.weights text.word") if word]
    if has_words:
        assert shown[:3] == ["她", "是", "一名"]
        assert shown[3][:3] == "中华人"
        assert shown[3].endswith("…")


def test_alignments_follow_what_is_shown_only(alignments, opened):
    page = opened(alignments[0])
    assert len(page.all(".panel")) == 2
    choose(page, "similarity", "additive")
    assert len(page.all(".panel")) == 1
    assert "additive" in page.one("svg.weights[role=application]").get_attribute("aria-label")
    choose(page, "similarity", "all")
    assert len(page.all(".panel")) == 2


def test_the_marks_are_explained(alignments, opened):
    page = opened(alignments[0])
    key = page.one(".weights-key").text
    assert "a true link (gold)" in key
    assert "mask" not in key, "nothing is forbidden within the sentence"


def test_a_weight_can_be_read_by_pointing_and_by_keyboard(alignments, opened):
    path, has_words = alignments
    page = opened(path)
    choose(page, "Example", "2 of 3")
    picture = page.all("svg.weights[role=application]")[1]
    page("arguments[0].focus()", picture)
    picture.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    told = page.texts(".panel .readout")
    wanted = "studied → 昨天" if has_words else "query 1 → key 1"
    assert [text.split(".")[0] for text in told] == [f"{wanted} weight 0"] * 2
    assert "weight 0.300, a true link" in told[0]
    assert "weight 0.600, a true link" in told[1]
    for _ in range(20):
        picture.send_keys(Keys.ARROW_RIGHT)
    assert "汉语" in page.texts(".panel .readout")[0] or not has_words, "the cursor stays inside the sentence"
