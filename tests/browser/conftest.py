"""A real Chromium for the tests of this folder, and an open page with what tests ask of it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
# How many pieces of text are shown, and which have less contrast than WCAG AA asks (4.5:1).
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const over = (top, ground, alpha) => ground.map((g, i) => g + (top[i] - g) * alpha);
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const [r, g, b, a] = rgba(getComputedStyle(element).backgroundColor);
    let colour = a === 255 ? [r, g, b] : over([r, g, b], ground(element.parentElement), a / 255);
    const heat = element.parentElement && element.tagName === 'SPAN' && element.parentElement.querySelector(':scope > i');
    if (heat) { const c = rgba(getComputedStyle(heat).backgroundColor); colour = over(c.slice(0, 3), ground(element.parentElement), Number(heat.style.opacity)); }
    return colour;
  };
  const poor = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, style = getComputedStyle(element);
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('.sr, script, :disabled')) continue;
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color), back = ground(element instanceof SVGElement ? element.closest('figure, .panel, section') : element);
    const [a, b] = [light(over(ink.slice(0, 3), back, ink[3] / 255)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen++;
    if (ratio < 4.5) poor.push([walker.currentNode.textContent.trim().slice(0, 30), ratio.toFixed(2), element.className]);
  }
  return [seen, poor];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser):
    """Open a page as a window of that size and colour scheme would; what happened before is forgotten."""

    def open_page(path, width=1280, height=900, scheme="light", at=""):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        browser.get("about:blank")
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(f"{Path(path).as_uri()}{at}")
        return Opened(browser)

    return open_page


class Opened:
    """An open report, with what its tests ask of it."""

    def __init__(self, driver):
        self.driver = driver

    def __call__(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def all(self, selector):
        """The elements that are seen. Charts are drawn anew when their width changes; what went meanwhile is looked for again."""
        from selenium.common.exceptions import StaleElementReferenceException

        for _ in range(20):
            with contextlib.suppress(StaleElementReferenceException):
                return [e for e in self.driver.find_elements("css selector", selector) if e.is_displayed()]
        raise AssertionError(f"{selector} is drawn again and again")

    def one(self, selector):
        (element,) = self.all(selector)
        return element

    def texts(self, selector):
        return [element.text for element in self.all(selector)]

    def column(self, part, name):
        """The cells of a column of a table of the shown experiment, as they stand."""
        return self(
            "(() => { const t = [...document.querySelectorAll(`article:not([hidden]) [data-part=${arguments[0]}]`)][0];"
            "const at = [...t.querySelectorAll('thead th')].findIndex((th) => th.textContent.replace(/ [↑↓]$/, '') === arguments[1]);"
            "return [...t.querySelectorAll('tbody tr:not(.detail)')].map((tr) => tr.children[at].textContent); })()",
            part,
            name,
        )

    def header(self, part, name):
        buttons = self.all(f"article:not([hidden]) [data-part={part}] thead button")
        return next(button for button in buttons if button.get_attribute("data-column") == name)

    def count(self, part):
        return self.one(f"article:not([hidden]) [data-part={part}] .count").text

    def settled(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 10).until(lambda _: condition())

    def contrast(self):
        """How many pieces of text are shown, and those with too little contrast."""
        return self(CONTRAST)
