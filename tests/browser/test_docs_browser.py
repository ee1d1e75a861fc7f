"""The documentation in a real Chromium, opened from a folder: its search works, and everybody can read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("selenium.webdriver", reason="pip install 'attnlab[test]'")
for needed in ("mkdocs", "material", "latex2mathml"):
    pytest.importorskip(needed, reason="pip install 'attnlab[docs]'")
pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None,
    reason="no chromium and chromedriver: apt-get install chromium chromium-driver",
)

ROOT = Path(__file__).parents[2]
PAGES = ("reference/normalisers.html", "reference/interfaces.html", "reference/commands.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_search_works_from_a_folder_and_asks_no_network(site, opened):
    page = opened(site / "index.html")
    page.one(".md-search__input").send_keys("sparsemax")
    page.settled(lambda: page.all(".md-search-result__link"))
    targets = [link.get_attribute("href") for link in page.all(".md-search-result__link")]
    assert any("normalisers.html" in target for target in targets), targets
    assert all(target.startswith("file:") for target in targets)
    assert [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "about", "blob"}


def test_formulas_are_typeset_and_can_be_heard(site, opened):
    page = opened(site / PAGES[0])
    formulas = page.all("math")
    assert len(formulas) >= 8
    assert all(formula.get_attribute("alttext") for formula in formulas)
    assert all(formula.size["height"] > 12 for formula in formulas)
    height = page("Math.max(...[...document.querySelectorAll('mfrac')].map((e) => e.getBoundingClientRect().height))")
    assert height > 25, "a fraction is two lines high"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_contrast_of_all_text(site, opened, path, scheme):
    page = opened(site / path, scheme=scheme)
    page("localStorage.clear()")  # where the theme keeps the colours that it was last shown in
    page.driver.refresh()
    paper = page("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(x) for x in re.findall(r"\d+", paper)[:3]) < 300) == (scheme == "dark"), paper
    seen, poor = page.contrast()
    assert seen > 200
    assert poor == []


@pytest.mark.parametrize("path", PAGES)
def test_everything_to_press_or_fill_has_a_name(site, opened, path):
    page = opened(site / path)
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    asked = {"button", "combobox", "searchbox", "textbox", "link", "checkbox", "radio"}
    found = [n for n in nodes if n.get("role", {}).get("value", "").lower() in asked and not n.get("ignored")]
    assert len(found) > 30
    assert [n for n in found if not n.get("name", {}).get("value", "").strip()] == []
    assert page("[...document.images].filter((image) => !image.alt).length") == 0


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_never_scrolls_sideways_and_names_stay_whole(site, opened, path):
    page = opened(site / path, width=390, height=844)
    assert page("document.documentElement.scrollWidth") <= 390
    broken = page(
        "[...document.querySelectorAll('article td:first-child code, article th code')].filter((e) =>"
        " e.getClientRects().length > 1).map((e) => e.textContent)"
    )
    assert broken == []
