"""The report in a real Chromium, opened from a file: it works, asks no network, and can be read by everybody."""

from __future__ import annotations

import base64
import itertools
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

import attnlab
from attnlab.analysis.compare import pairwise
from attnlab.analysis.report import Book, Chapter, collect, write_report
from attnlab.analysis.report.curves_and_weights import Lookback
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install 'attnlab[test]'")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None,
    reason="no chromium and chromedriver: apt-get install chromium chromium-driver",
)

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'"
GRID = {
    "attnlab": 1,
    "name": "grid",
    "question": "Which similarity goes with which normaliser?",
    "task": {"lookup": {"n_keys": [5, 9], "d": 8, "n_train": 32, "n_validation": 8, "n_test": 16}},
    "mechanism": {"similarity": ["dot", "scaled_dot", "cosine"], "normaliser": ["softmax", "sparsemax"]},
    "model": {"aligner": {"projection": 8, "steps": 12, "validate_every": 4}},
    "seeds": 2,
    "metrics": ["alignment_accuracy", "weight_entropy"],
    "claims": [
        {
            "say": "softmax spreads its weight more than sparsemax",
            "metric": "weight_entropy",
            "better": {"normaliser": "sparsemax"},
            "than": {"normaliser": "softmax"},
        },
        {"say": "all are perfect", "metric": "alignment_accuracy", "at_least": 0.999},
    ],
}

MERIT = {"dot": 0.5, "scaled_dot": 0.51, "cosine": 0.7, "additive": 0.9}


def add_hostile(path):
    def spec(similarity):
        parts = {"similarity": {similarity: {}}, "normaliser": {"softmax": {}}}
        task, model = {f"evil:{EVIL}": {EVIL: EVIL}}, {"aligner": {}}
        return {"task": task, "mechanism": {"single_head": parts}, "model": model, "seed": 0}

    with Store(path) as opened:
        runs = [Run.of(spec(f"evil:{EVIL}")), Run.of(spec("dot"))]
        opened.append(
            runs[0], Result("ok", metrics={EVIL: {EVIL: 0.5, "max_weight": math.inf}}, versions={EVIL: EVIL}), {}
        )
        opened.append(runs[1], Result("failed", reason=EVIL, traceback=f"Traceback\n{EVIL}"), {})
        opened.add_experiment(EVIL, EVIL, EVIL, [run.run_id for run in runs])


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of a real sweep, and of an experiment whose every name is an attack."""
    folder = tmp_path_factory.mktemp("report")
    attnlab.sweep(GRID, executor="serial", store=folder / "a.db", quiet=True)
    add_hostile(folder / "a.db")
    write_report(collect(folder / "a.db"), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A report of made-up scores on so many tasks that there are p values."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("compared")
    experiment = read(
        {
            **{k: v for k, v in GRID.items() if k != "claims"},
            "name": "compared",
            "task": {"lookup": {"n_keys": list(range(4, 14)), "d": 8}},
            "mechanism": {"similarity": list(MERIT), "normaliser": ["softmax", "sparsemax"]},
            "seeds": 1,
        }
    )
    runs = plan(experiment)
    with Store(folder / "c.db") as store:
        store.add_experiment("compared", experiment.question, experiment.text, [run.run_id for run in runs])
        for run in runs:
            (similarity,) = run.spec["mechanism"]["single_head"]["similarity"]
            scores = {"alignment_accuracy": MERIT[similarity] + rng.normal(0, 0.03), "weight_entropy": rng.random()}
            store.append(run, Result("ok", metrics={"test": scores}), {})
    write_report(collect(folder / "c.db"), folder / "compared.html")
    return folder / "compared.html"


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    """A report of ten thousand runs."""
    rng = np.random.default_rng(0)
    n = 10_000
    frame = pd.DataFrame(
        {
            "experiment": "many",
            "run_id": [f"{i:016x}" for i in range(n)],
            "task": "lookup",
            "task.d": rng.integers(2, 30, n),
            "test": "test",
            "similarity": rng.choice(["dot", "cosine", "additive"], n),
            "normaliser": rng.choice(["softmax", "sparsemax"], n),
            "seed": np.arange(n),
            **{f"metric_{i}": rng.random(n) for i in range(12)},
            "status": "ok",
            "reason": "",
        }
    )
    ranking = frame.groupby(["task.d", "similarity", "normaliser"], as_index=False)["metric_0"].mean()
    ranking = ranking.assign(low=ranking["metric_0"] - 0.1, high=ranking["metric_0"] + 0.1, n=1, ok="1/1")
    points = ["task.d", "similarity", "normaliser"]
    texts = {
        "name": "many",
        "question": "Are they many?",
        "source": "",
        "text": "",
        "linked_at": "",
        "claims_problem": "",
    }
    lists = {"comparisons": [], "failures": [], "notes": [], "metrics": ["metric_0"], "points": points}
    chapter = Chapter(**texts, **lists, n_planned=n, frame=frame, ranking=ranking, claims=None, lookback=Lookback())
    path = tmp_path_factory.mktemp("many") / "many.html"
    assert write_report(Book("many.db", [chapter], []), path) < 6_000_000
    return path


def select(page, part, label):
    field = next(f for f in page.all(f"article:not([hidden]) [data-part={part}] .field") if f.text.startswith(label))
    return Select(field.find_element(By.TAG_NAME, "select"))


# -- it loads ---------------------------------------------------------------------------------------------------------
def test_it_loads_without_errors_and_without_a_network(report, opened):
    page = opened(report)
    for part in ("filters", "ranking", "heatmap", "curves", "alignments", "runs"):
        assert page(f"document.querySelector('article [data-part={part}]').children.length > 0"), part
    assert page.driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked, "the log has at least the page itself"
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "about"}
    assert sum(url.startswith("file:") for url in asked) == 1, asked


def test_what_strangers_say_is_text(report, opened):
    page = opened(report, at="#e1")
    assert page("document.title") == "attnlab report"
    assert page("document.images.length") == 0
    assert page("document.querySelectorAll('script').length") == 2
    assert page.one("article h2").text.startswith("</script><script>")
    assert page.column("runs", "similarity") == [EVIL, "dot"]
    assert "∞" in page.column("runs", "max_weight")
    page.one("article:not([hidden]) details.failure summary").click()
    assert EVIL in page.one("article:not([hidden]) details.failure pre").text
    page.all("article:not([hidden]) [data-part=runs] button[aria-expanded]")[0].click()
    assert page.driver.get_log("browser") == []
    assert page("document.title") == "attnlab report"


def test_a_script_that_is_not_ours_does_not_run(report, opened):
    page = opened(report)
    page(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = \"owned\"'}))"
    )
    assert page("document.title") == "attnlab report"
    assert any("Content Security Policy" in entry["message"] for entry in page.driver.get_log("browser"))


def test_pages_with_little_on_them_load_too(report, opened, tmp_path):
    spec = {"task": {"t": {}}, "mechanism": {"m": {}}, "model": {"a": {}}, "seed": 0}
    with Store(tmp_path / "little.db") as store:
        write_report(collect(tmp_path / "little.db"), tmp_path / "0.html")
        store.add_experiment("waiting", "Was it never run?", "", [Run.of(spec).run_id])
        write_report(collect(tmp_path / "little.db"), tmp_path / "1.html")
        store.append(Run.of(spec), Result("failed", reason="no"), {})
        write_report(collect(tmp_path / "little.db"), tmp_path / "2.html")
        store.append(Run.of({**spec, "seed": 1}), Result("ok", metrics={"test": {"gold_mass": 0.5}}), {})
        write_report(collect(tmp_path / "little.db"), tmp_path / "3.html")
    for name, said in enumerate(
        ["no runs yet", "1 not run yet", "1 failed", "Runs that no experiment plans any longer"]
    ):
        page = opened(tmp_path / f"{name}.html")
        assert page.driver.get_log("browser") == []
        assert said in page.one("main").text


# -- it answers -------------------------------------------------------------------------------------------------------
def test_claims_and_failures_stand_there(report, opened):
    page = opened(report)
    assert len(page.all("article:not([hidden]) .claim")) == 2
    assert len(page.all("article:not([hidden]) .claim svg[role=img]")) == 2
    words = page.texts("article:not([hidden]) .claim .verdict")
    assert all(word.split()[1].rstrip(",") in ("supported", "refuted", "undecided") for word in words)


def test_tables_sort(report, opened):
    page = opened(report)
    page.header("runs", "alignment_accuracy").click()
    first = [float(x) for x in page.column("runs", "alignment_accuracy")]
    assert first == sorted(first, reverse=True), "best first, where higher is better"
    assert (
        page.header("runs", "alignment_accuracy").find_element(By.XPATH, "..").get_attribute("aria-sort")
        == "descending"
    )
    page.header("runs", "alignment_accuracy").click()
    then = [float(x) for x in page.column("runs", "alignment_accuracy")]
    assert then == sorted(then)


def test_tables_search(report, opened):
    page = opened(report)
    box = page.one("article:not([hidden]) [data-part=runs] input[type=search]")
    box.send_keys("normaliser=sparsemax")
    assert set(page.column("runs", "normaliser")) == {"sparsemax"}
    assert page.count("runs") == "1–12 of 12"
    box.send_keys(" weight_entropy>0.2")
    assert all(float(x) >= 0.2 for x in page.column("runs", "weight_entropy"))  # 0.2003 is shown as 0.200
    box.send_keys(" nothing-is-called-so")
    assert page.count("runs") == "nothing fits"


def test_an_empty_search_shows_one_that_finds_something(report, compared, opened):
    for path in (report, compared):
        page = opened(path)
        for box in page.all("article:not([hidden]) input[type=search]"):
            words = box.get_attribute("placeholder")
            assert len(words.split()) >= 2, words
            box.send_keys(words)
            place = page("arguments[0].closest('section, [data-axis]')", box)
            assert place.find_element(By.CSS_SELECTOR, ".hint").text == ""
        counts = page.texts("article:not([hidden]) .count")
        assert counts
        assert "nothing fits" not in counts


def test_a_column_may_be_named_in_part(report, opened):
    page = opened(report)
    box = page.one("article:not([hidden]) [data-part=runs] input[type=search]")
    for word, column, wanted in [("n_keys=5", "task.n_keys", {"5"}), ("simil=cosine", "similarity", {"cosine"})]:
        box.clear()
        box.send_keys(word)
        assert set(page.column("runs", column)) == wanted
    value = page.column("runs", "weight_entropy")[0]
    box.clear()
    box.send_keys(f"weight_ent={value}")
    assert value in page.column("runs", "weight_entropy"), "a number as it stands there"


def test_a_search_that_names_no_column_says_so(report, opened):
    page = opened(report)
    box = page.one("article:not([hidden]) [data-part=runs] input[type=search]")
    hint = page.driver.find_element(By.CSS_SELECTOR, "article:not([hidden]) [data-part=runs] .hint")
    assert (hint.text, hint.get_attribute("role")) == ("", "status")
    assert box.get_attribute("aria-describedby") == hint.get_attribute("id")
    box.send_keys("acuracy>0.9")
    assert "no column “acuracy”" in hint.text
    assert "alignment_accuracy" in hint.text
    box.clear()
    box.send_keys("s=1")
    assert "may be" in hint.text
    assert "similarity" in hint.text
    box.clear()
    box.send_keys("weight_entropy>much")
    assert hint.text == "“much” is no number."
    box.send_keys(Keys.BACKSPACE * 4)
    assert hint.text == ""
    assert page.count("runs") == "1–24 of 24", "the number is still to be typed"


def cells(page, place, name):
    return page(
        "(() => { const t = arguments[0].querySelector('table');"
        "const at = [...t.querySelectorAll('thead th')].findIndex((th) => th.textContent.replace(/ [↑↓]$/, '') === arguments[1]);"
        "return [...t.querySelectorAll('tbody tr')].map((tr) => tr.children[at].textContent); })()",
        place,
        name,
    )


def test_comparisons_are_tables_that_sort_search_and_filter(compared, opened):
    page = opened(compared)
    frame = attnlab.load_results(compared.parent / "c.db")
    pairs = pairwise(frame, "alignment_accuracy", "similarity", tidy=True)
    merit, each = (
        page.one(f"[aria-label='By similarity, {which}']") for which in ("in order of merit", "each with each")
    )
    assert (
        cells(page, merit, "similarity")
        == attnlab.compare(frame, "alignment_accuracy", "similarity")["similarity"].tolist()
    )
    assert cells(page, each, "second") == pairs["second"].tolist()
    assert cells(page, each, "verdict") == pairs["verdict"].tolist()
    better = pairs["verdict"].str.startswith("better")
    assert 0 < better.sum() < len(pairs), "or little is compared here"
    for name in ("improvement", "low", "high", "wins", "ties", "losses", "p_holm", "rank_biserial", "p_improvement"):
        numbers = [float(x.replace("−", "-")) for x in cells(page, each, name)]
        np.testing.assert_allclose(numbers, pairs[name], rtol=6e-3, atol=6e-4)
    button = each.find_element(By.CSS_SELECTOR, "button[data-column=improvement]")
    page("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    improvement = pairs["improvement"].sort_values(ascending=False)
    assert cells(page, each, "second") == pairs["second"][improvement.index].tolist()
    assert page("document.activeElement.dataset.column") == "improvement"
    select(page, "filters", "similarity").select_by_visible_text("cosine")
    assert cells(page, merit, "similarity") == ["cosine"]
    assert all("cosine" in pair for pair in zip(cells(page, each, "first"), cells(page, each, "second"), strict=True))
    select(page, "filters", "similarity").select_by_visible_text("all")
    box = page("arguments[0].parentElement.querySelectorAll('input[type=search]')[1]", each)
    box.send_keys("better p_holm<=0.05 wins>=9")
    wanted = pairs[better & (pairs["p_holm"] <= 0.05) & (pairs["wins"] >= 9)]
    assert len(cells(page, each, "first")) == len(wanted) > 0


def test_the_matrix_of_p_values(compared, opened):
    page = opened(compared)
    matrix = pairwise(attnlab.load_results(compared.parent / "c.db"), "alignment_accuracy", "similarity")
    details = page.one("[data-axis='0'] details.matrix")
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    rows = [row.text.split() for row in details.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert [row[0] for row in rows] == matrix.index.tolist()
    shown = [[math.nan if x == "–" else float(x) for x in row[1:]] for row in rows]
    np.testing.assert_allclose(shown, matrix.to_numpy(), rtol=6e-3, atol=6e-4)


def test_one_filter_holds_for_tables_heatmap_and_curves(report, opened):
    page = opened(report)
    everything = len(page.all("article:not([hidden]) .curve"))
    select(page, "filters", "similarity").select_by_visible_text("cosine")
    assert set(page.column("runs", "similarity")) == set(page.column("ranking", "similarity")) == {"cosine"}
    assert page.texts("article:not([hidden]) .heat tbody th") == ["cosine"]
    assert len(page.all("article:not([hidden]) .curve")) == everything // 3
    assert page.count("runs") == "1–8 of 8"


def test_the_heatmap_is_the_mean_of_the_runs(report, opened):
    page = opened(report)
    frame = attnlab.load_results(report.parent / "a.db", experiment="grid")
    means = frame.groupby(["similarity", "normaliser"])["weight_entropy"].mean()
    select(page, "heatmap", "Metric").select_by_visible_text("weight_entropy")
    heads, columns = page.texts(".heat tbody th"), page.texts(".heat thead th")[1:]
    cells = [float(x) for x in page.texts(".heat tbody td")]
    expected = [means[row, column] for row in heads for column in columns]
    np.testing.assert_allclose(cells, expected, atol=6e-4)
    page.all(".heat tbody td")[0].click()
    assert "mean of 4 runs" in page.one("[data-part=heatmap] .readout").text


def test_every_row_has_its_command(report, opened):
    page = opened(report)
    ids = attnlab.load_results(report.parent / "a.db", experiment="grid")["run_id"]
    commands = page.column("runs", "command")
    assert [c.removeprefix("copy") for c in commands] == [f"attnlab run {i} --store {report.parent}/a.db" for i in ids]
    page.all("article:not([hidden]) [data-part=ranking] button[aria-expanded]")[0].click()
    assert len(page.all("article:not([hidden]) [data-part=ranking] tr.detail code")) == 2, "a command for each seed"


def test_pointing_at_curves_and_weights_tells_their_values(report, opened):
    page = opened(report)
    chart = page.one("article:not([hidden]) svg.chart")
    webdriver.ActionChains(page.driver).scroll_to_element(chart).move_to_element(chart).perform()
    assert "mean of 2 seeds" in page.one("[data-part=curves] .readout").text
    picture = page.all("svg.weights")[0]
    webdriver.ActionChains(page.driver).scroll_to_element(picture).move_to_element(picture).perform()
    told = page.texts(".panel .readout")
    assert len(told) == 2
    assert told[0].split(" weight")[0] == told[1].split(" weight")[0], "both pictures follow"
    assert page("document.querySelectorAll('.weights ellipse.gold').length") > 0


# -- for everybody ----------------------------------------------------------------------------------------------------
def test_weights_by_keyboard(report, opened):
    page = opened(report)
    store = attnlab.load_results(report.parent / "a.db", experiment="grid")
    W = attnlab.load_run(store["run_id"][0], report.parent / "a.db").arrays["test.test.W"][1]
    select(page, "alignments", "Example").select_by_visible_text("2 of 3")
    picture = page.all("svg.weights")[0]
    page("arguments[0].focus()", picture)
    key = int(W[1].argmax())
    picture.send_keys(*[Keys.ARROW_RIGHT] * key, Keys.ARROW_DOWN)
    told = page.texts(".panel .readout")[0]
    assert told.startswith(f"query 1 → key {key}")
    assert float(told.split("weight ")[1].split()[0].rstrip(".,")) == pytest.approx(W[1, key], abs=6e-4)
    assert f"query 1 to key {key}" in page("document.getElementById('said').textContent"), "and a screen reader is told"


def test_all_can_be_reached_by_keyboard(report, opened):
    page = opened(report)
    reached = []
    for _ in range(60):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(
            page(
                "document.activeElement.id || document.activeElement.className.baseVal || document.activeElement.tagName"
            )
        )
    assert reached[0] == "A", "first of all a link to the results"
    assert {"chapter", "theme", "SELECT", "INPUT", "BUTTON"} <= set(reached)
    header = page.header("runs", "seed")
    page("arguments[0].focus()", header)
    header.send_keys(Keys.ENTER)
    assert page("document.activeElement.dataset.column") == "seed", "sorting keeps the focus"
    toggle = page.all("article:not([hidden]) [data-part=runs] button[aria-expanded]")[0]
    toggle.send_keys(Keys.SPACE)
    assert page("document.activeElement.getAttribute('aria-expanded')") == "true"


@pytest.mark.parametrize("which", ["report", "compared"])
def test_everything_to_press_or_fill_has_a_name(request, opened, which):
    page = opened(request.getfixturevalue(which))
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    asked = {"button", "combobox", "searchbox", "link", "checkbox", "img", "image", "application", "region", "table"}
    found = [n for n in nodes if n.get("role", {}).get("value", "").lower() in asked and not n.get("ignored")]
    assert len(found) > 40
    nameless = [n for n in found if not n.get("name", {}).get("value", "").strip() and n["role"]["value"] != "table"]
    assert nameless == []
    levels = page("[...document.querySelectorAll('h1,h2,h3,h4,h5')].map((h) => Number(h.tagName[1]))")
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), levels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_all_text(report, compared, opened, scheme):
    for path in (report, compared):
        page = opened(path, scheme=scheme)
        page("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        page.all("[data-part=runs] input[type=search]")[0].send_keys("accurate>2")
        seen, poor = page.contrast()
        assert seen > 200
        assert poor == []


def test_light_and_dark(report, opened):
    page = opened(report, scheme="dark")

    def paper():
        return sum(int(x) for x in page("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(","))

    dark = paper()
    assert dark < 150, "dark where the reader's system is"
    button = page.one("#theme")
    assert button.get_attribute("aria-label") == "Switch to light colours"
    button.click()
    assert paper() > 700
    assert button.get_attribute("aria-label") == "Switch to dark colours"
    opened(report, scheme="light")
    assert paper() > 700


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_window_never_scrolls_sideways(report, compared, opened, width):
    for path, at in ((report, "#e0"), (report, "#e1"), (compared, "")):
        page = opened(path, width=width, height=800, at=at)
        page("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        for box in page.all("[data-part=runs] input[type=search]"):
            box.send_keys("accurate>2")
        assert page("document.documentElement.scrollWidth") <= width
        assert page("[...document.querySelectorAll('.overview .scroll')].every((e) => e.scrollWidth <= e.clientWidth)")
        wide = page(
            "[...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() && !e.closest('.scroll, .sr, pre') &&"
            " e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 90))"
        )
        assert wide == []


@pytest.mark.parametrize("width", [768, 1000, 1280])
def test_every_section_is_seen_in_the_bar(report, opened, width):
    page = opened(report, width=width, at="#e0")
    assert page.texts("nav a")[-1] == "Environment"
    least = "Math.min(document.getElementById('theme').getBoundingClientRect().left, innerWidth)"
    assert page(f"[...document.querySelectorAll('nav a')].every((a) => a.getBoundingClientRect().right <= {least})")


def test_it_prints(report, opened):
    page = opened(report)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.all(".bar") == page.all("input") == page.all(".pager button") == []
    assert page.texts(".panel select"), "what was chosen is said"
    assert page.all("article:not([hidden]) .claim")
    assert page.all("svg.chart")
    pdf = base64.b64decode(page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert pdf.startswith(b"%PDF")
    assert 1 < pdf.count(b"/Type /Page\n") < 30


# -- many rows --------------------------------------------------------------------------------------------------------
@pytest.mark.long
def test_ten_thousand_rows_stay_usable(many_rows, opened):
    page = opened(many_rows)
    assert page.count("runs") == "1–25 of 10000"
    assert page("document.querySelectorAll('*').length") < 5000, "what is not shown is not there"
    page.header("runs", "metric_0").click()
    first = [float(x.replace("−", "-")) for x in page.column("runs", "metric_0")]
    assert first == sorted(first)
    page.one("[data-part=runs] input[type=search]").send_keys("similarity=cosine metric_0>0.99")
    n = int(page.count("runs").split()[-1])
    assert 10 < n < 80
    page.one("[data-part=runs] input[type=search]").clear()
    page.one("[data-part=runs] input[type=search]").send_keys(Keys.SPACE)
    page.all("[data-part=runs] .pager button")[1].click()
    assert page.count("runs") == "26–50 of 10000"
    assert page.driver.get_log("browser") == []
