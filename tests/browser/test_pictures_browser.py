"""The pictures of a report in a real Chromium: what is drawn is what was measured, for words in any script."""

from __future__ import annotations

import io
import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import attnlab
from attnlab.analysis.report import collect, write_report
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install 'attnlab[test]'")
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

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


# -- rankings, curves, figures and files ------------------------------------------------------------------------------
FIVE = {
    "attnlab": 1,
    "name": "five",
    "question": "Which normaliser is the best on five tasks?",
    "task": [{"lookup": {"n_keys": 4}}, {"lookup": {"n_keys": 8}}, "copy", "sort", "reverse"],
    "mechanism": {
        "similarity": ["dot", "scaled_dot", "cosine", "additive"],
        "normaliser": ["softmax", "sparsemax", "sigmoid", "entmax"],
    },
    "model": "aligner",
    "seeds": 3,
    "metrics": ["alignment_accuracy", "weight_entropy", "gold_mass"],
    "claims": [
        {
            "say": "softmax is better",
            "metric": "alignment_accuracy",
            "better": {"normaliser": "softmax"},
            "than": {"normaliser": "sparsemax"},
        }
    ],
}
MERIT = {"dot": 0.5, "scaled_dot": 0.52, "cosine": 0.7, "additive": 0.9}


def curve(peak):
    steps = np.arange(0, 50, 10)
    buffer = io.BytesIO()
    values = peak * (1 - np.exp(-steps / 15))
    np.savez_compressed(
        buffer,
        **{"validation_curve.step": steps, "validation_curve.alignment_accuracy": values, "loss_curve": 1 - values},
    )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def five_tasks(tmp_path_factory):
    """A report of four similarities and four normalisers on five tasks, with curves."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("five")
    experiment = read(FIVE)
    runs = plan(experiment)
    with Store(folder / "five.db") as store:
        store.add_experiment("five", experiment.question, experiment.text, [run.run_id for run in runs])
        for run in runs:
            (similarity,), (normaliser,) = (
                run.spec["mechanism"]["single_head"][part] for part in ("similarity", "normaliser")
            )
            level = MERIT[similarity] - (0.4 if normaliser == "entmax" else 0.0)
            scores = {"alignment_accuracy": min(1.0, level + 0.02 * rng.random())}
            scores |= {"weight_entropy": rng.random(), "gold_mass": rng.random()}
            store.append(run, Result("ok", metrics={"test": scores}, artifacts=curve(level)), {})
    write_report(collect(folder / "five.db"), folder / "five.html")
    return folder / "five.html"


def groups(page):
    """The heads of the ranking, each with the rows that follow it."""
    rows = page(
        "[...document.querySelectorAll('article:not([hidden]) [data-part=ranking] tbody tr')].map((tr) =>"
        "tr.classList.contains('group') ? tr.textContent : [...tr.children].map((td) => td.textContent))"
    )
    found = []
    for row in rows:
        if isinstance(row, str):
            found.append((row, []))
        else:
            found[-1][1].append(row)
    return found


def test_a_ranking_is_of_one_task_with_chance_and_the_best_marked(five_tasks, opened):
    page = opened(five_tasks)
    found = groups(page)
    assert [head.split(" · ")[0] for head, _ in found] == ["lookup", "lookup"], "25 rows a page"
    assert "n_keys 4" in found[0][0]
    assert "guessing: alignment_accuracy 0.250" in found[0][0]
    head = page("[...document.querySelectorAll('[data-part=ranking] thead th')].map((th) => th.textContent)")
    at = head.index("alignment_accuracy")
    for _, rows in found[:1]:
        assert len(rows) == 16
        values = [float(row[at]) for row in rows]
        assert values == sorted(values, reverse=True)
        marks = [row[at - 1] for row in rows]
        assert marks[0] == "●best"
        assert "○not shown to differ" in marks
        assert "" in marks
    page.one("article:not([hidden]) [data-part=ranking] thead button[data-column=similarity]").click()
    (_, rows), *_ = groups(page)
    names = [row[head.index("similarity")] for row in rows]
    assert names == sorted(names)
    assert len(names) == 16, "sorting keeps tasks together"


def test_three_metrics_fit_and_on_a_phone_the_metric_is_seen(five_tasks, opened):
    for width, names in ((1280, ["alignment_accuracy", "weight_entropy", "gold_mass"]), (390, ["alignment_accuracy"])):
        page = opened(five_tasks, width=width)
        for name in names:
            button = page.one(f"article:not([hidden]) [data-part=ranking] thead button[data-column={name}]")
            right = page("arguments[0].closest('th').getBoundingClientRect().right", button)
            edge = page("arguments[0].closest('.scroll').getBoundingClientRect().right", button)
            assert right <= edge + 1, (width, name)


def test_rows_that_are_the_same_are_said_to_be(alignments, opened, tmp_path):
    with Store(tmp_path / "same.db") as store:
        runs = []
        for context in ("fixed", "attention"):
            for similarity in PEAK:
                for seed in range(2):
                    run = Run.of({**spec(similarity, seed), "model": {"seq2seq": {"context": context}}})
                    score = seed / 7 if context == "fixed" else PEAK[similarity] + seed / 9
                    store.append(run, Result("ok", metrics={"test": {"accuracy": score}}), {})
                    runs.append(run.run_id)
        store.add_experiment("same", "Which?", "", runs)
    write_report(collect(tmp_path / "same.db"), tmp_path / "same.html")
    page = opened(tmp_path / "same.html")
    (said,) = page.texts(".identical")
    assert said == "Identical in every value: dot = scaled_dot = additive (model.context fixed)."


def test_curves_of_a_wide_grid_are_means_in_a_panel_for_each_task(five_tasks, opened):
    page = opened(five_tasks)
    titles = page.texts("article:not([hidden]) svg.chart .panel-title")
    assert titles == ["lookup · n_keys 4", "lookup · n_keys 8", "copy", "sort", "reverse"]
    assert len(page.all("article:not([hidden]) .curve")) == 5 * 4, "by normaliser, which the claim asks about"
    assert "the mean over the other axes and seeds" in page.one("[data-part=curves] .readout").text
    last = [float(text) for text in page.texts("[data-part=curves] .legend button .quiet")]
    top = np.mean([*MERIT.values()]) * (1 - np.exp(-40 / 15))
    assert last == pytest.approx([(np.mean([*MERIT.values()]) - 0.4) * (1 - np.exp(-40 / 15)), top, top, top], abs=2e-3)
    choose_in(page, "curves", "Lines", "each point of the grid")
    assert len(page.all("article:not([hidden]) .curve")) == 5 * 16


def choose_in(page, part, label, text):
    for field in page.all(f"[data-part={part}] .field"):
        if field.text.startswith(label):
            Select(field.find_element("tag name", "select")).select_by_visible_text(text)
            return
    raise AssertionError(f"no field {label}")


def test_the_forest_plot_ends_where_the_metric_ends(five_tasks, opened):
    page = opened(five_tasks)
    for plot in page.all("svg.forest-plot"):
        ends = page(
            "[...arguments[0].querySelectorAll('.whole')].map((l) => [l.x1.baseVal.value, l.x2.baseVal.value])", plot
        )
        axis = page(
            "(() => { const a = arguments[0].querySelector('.axis'); return [a.x1.baseVal.value, a.x2.baseVal.value]; })()",
            plot,
        )
        assert len(ends) == 4
        assert all(axis[0] - 1 <= low <= high <= axis[1] + 1 for low, high in ends)
        ticks = [
            float(t)
            for t in page("[...arguments[0].querySelectorAll('text:not(.word)')].map((t) => t.textContent)", plot)
            if t.replace(".", "").isdigit()
        ]
        assert all(0 <= t <= 1 for t in ticks)
    Select(page.all("[data-axis='0'] .field select")[0]).select_by_visible_text("differences from the first")
    for part, n in (("whole", 3), ("zero", 1)):
        assert page(f"document.querySelectorAll('[data-axis=\"0\"] svg.forest-plot .{part}').length") == n


@pytest.fixture
def saved(browser, tmp_path):
    """Press a button that saves, and get the file's name and text."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})

    def press(button):
        before = set(tmp_path.iterdir())
        browser.execute_script("arguments[0].click()", button)
        WebDriverWait(browser, 10).until(
            lambda _: [p for p in set(tmp_path.iterdir()) - before if p.suffix in (".csv", ".svg")]
        )
        (path,) = [p for p in set(tmp_path.iterdir()) - before if p.suffix in (".csv", ".svg")]
        return path.name, path.read_text("utf-8")

    return press


def test_every_table_is_a_csv(five_tasks, opened, saved):
    page = opened(five_tasks)
    page("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    tables = len(page.all("article:not([hidden]) table"))
    buttons = [b for b in page.all("article:not([hidden]) button.save") if b.text == "CSV"]
    assert len(buttons) == tables + 2, "and the claims and the curves"
    assert all(b.get_attribute("aria-label").startswith("Save as CSV: ") for b in buttons)
    files = {}
    for i, name in enumerate([b.get_attribute("aria-label") for b in buttons]):
        if i % 8 == 0:  # a browser lets a page save ten files by itself
            page = opened(five_tasks)
            page("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        (button,) = [b for b in page.all("article:not([hidden]) button.save") if b.get_attribute("aria-label") == name]
        files |= [saved(button)]
    assert len(files) == len(buttons), "each has a name of its own"
    ranking = pd.read_csv(io.StringIO(files["five-Ranking.csv"]))
    assert len(ranking) == 80
    assert {"task", "task.n_keys", "chance", "standing", "low", "high"} <= set(ranking.columns)
    runs = pd.read_csv(io.StringIO(files["five-Runs.csv"]))
    wanted = attnlab.load_results(five_tasks.parent / "five.db")
    np.testing.assert_allclose(runs["gold_mass"], wanted["gold_mass"], rtol=1e-5)
    claims = pd.read_csv(io.StringIO(files["five-claims.csv"]))
    assert claims["say"].tolist() == ["softmax is better"]


def test_every_figure_is_an_svg_that_needs_no_page(five_tasks, alignments, opened, saved):
    for path, figures in ((five_tasks, 5), (alignments[0], 2)):
        page = opened(path)
        buttons = [b for b in page.all("article:not([hidden]) button.save") if b.text == "SVG"]
        assert len(buttons) == figures, [b.get_attribute("aria-label") for b in buttons]
        for button in buttons:
            name, text = saved(button)
            root = ElementTree.fromstring(text)
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert "var(" not in text, name
            assert "class=" not in text, name
            box = [float(x) for x in root.get("viewBox").split()]
            assert all(size > 40 for size in box[2:])
            shapes = [e for e in root.iter() if e.tag.rpartition("}")[2] in ("rect", "line", "path", "ellipse")]
            assert len(shapes) > 3, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_all_text_has_contrast_and_every_control_a_name(five_tasks, alignments, opened, scheme, width):
    for path in (five_tasks, alignments[0]):
        page = opened(path, width=width, scheme=scheme)
        page("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        seen, poor = page.contrast()
        assert seen > 60
        assert poor == []
        nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        controls = {"button", "combobox", "searchbox", "link", "checkbox", "img", "image", "application", "region"}
        found = [n for n in nodes if n.get("role", {}).get("value", "").lower() in controls and not n.get("ignored")]
        assert len(found) > 10
        assert [n for n in found if not n.get("name", {}).get("value", "").strip()] == []
        assert page("document.documentElement.scrollWidth") <= width
        assert page.driver.get_log("browser") == []
