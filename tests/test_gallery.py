"""The gallery: every script draws its picture, what it measures is what its lesson says, and the page shows it."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path for path in (DOCS / "gallery").glob("*.py") if path.stem != "style")
SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 120_000  # bytes


# -- what each lesson says, of the numbers that its picture shows -----------------------------------------------------
def temperature(weights):
    best = [w[0] for _, w in sorted(weights.items())]
    assert best == sorted(best, reverse=True)
    assert all((w > 0).all() for w in weights.values())


def sparsemax(weights):
    leads = np.linspace(0, 4, 33)
    assert np.array_equal(weights["sparsemax"][:, 0] == 1, leads >= 1)
    assert np.allclose(weights["entmax"][leads >= 2, 0], 1)
    assert weights["entmax"][leads < 2, 0].max() < 1
    assert (weights["softmax"] > 0).all()


def dispersion(weight):
    assert weight["softmax"][0] > 0.95 > 0.1 > weight["softmax"][-1]
    assert min(weight["softmax of log n times the score"][-3:]) > 0.95
    assert min(weight["sparsemax"]) > 0.99


def divisor(found):
    assert found["dot"]["max"][-1] > 0.9
    assert max(found["scaled_dot"]["max"]) < 0.2
    assert found["dot"]["gradient"][-1] < 0.01 * found["scaled_dot"]["gradient"][-1]


def bag_of_words(found):
    W = found["none"]["W"]
    assert np.allclose(W, W[:1], rtol=0, atol=1e-12)  # the same at every step
    assert np.allclose(W, 1 / 12, atol=0.01)
    assert found["sinusoidal"]["right"] > 0.98


def fixed_context(found):
    short, long = 130, 1300
    assert all(c_i > c for c_i, c in zip(found["attention", short], found["fixed", short], strict=True))
    assert found["fixed", short][0] > 0.5 > 0.1 > found["fixed", short][-2]
    assert found["attention", short][-2] > 0.3
    assert min(found["fixed", long]) > 0.7  # it was time to learn that was missing, for the most part
    assert min(found["attention", long]) > 0.95


def tom_chases_jerry(found):
    english, chinese, W, gold = found[0]
    assert (english, chinese) == (["Tom", "chases", "Jerry"], ["汤姆", "追逐", "杰瑞"])
    assert np.array_equal(W.argmax(axis=1), [0, 1, 2])
    english, chinese, W, gold = found[1]
    true = gold.any(axis=1)
    away = abs(W.argmax(axis=1) - gold.argmax(axis=1))[true]  # a weight may sit beside the true word
    assert (away <= 1).sum() >= 6
    assert len(away) == 8


def hubs(found):
    assert set(found["won"]["cosine"]) == {8}
    assert found["won"]["dot"][found["norms"].argmax()] > 100
    assert np.median(found["won"]["dot"]) == 0


def abstain(found):
    softmax, softmax1, distance = found.values()
    assert np.allclose(softmax["has none"], 1)
    assert softmax1["has none"].mean() > 0.9
    assert distance["has none"].mean() < 0.2 < 0.8 < distance["has a match"].mean()


def kernel_regression(found):
    true = 2 * np.sin(found["grid"]) + found["grid"] ** 0.8
    narrow, wide, learned = (((fit - true) ** 2).mean() for fit in found["fits"].values())
    assert learned < narrow < wide


def positions(pictures):
    for name, S in list(pictures.items())[1:]:
        for offset in range(-31, 32):
            assert np.ptp(np.diagonal(S, offset)) < 1e-9, name


def draws(script, folder, monkeypatch):
    """Run a script; what it measured."""
    monkeypatch.syspath_prepend(str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script), str(folder)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no installed font has", UserWarning)  # Chinese is then drawn as code points
        parts = runpy.run_path(str(script))
        found = parts["numbers"]()
        parts["main"](str(script), lambda: found, parts["draw"])
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_draws_its_picture_and_its_lesson_holds(script, tmp_path, monkeypatch):
    found = draws(script, tmp_path, monkeypatch)
    globals()[script.stem](found)
    (picture,) = tmp_path.iterdir()
    assert picture.name == f"{script.stem}.svg"
    assert ElementTree.parse(picture).getroot().tag == f"{SVG}svg"


def test_a_script_says_what_it_does_and_takes_a_file(tmp_path, monkeypatch):
    script = DOCS / "gallery" / "divisor.py"

    def run(*args):
        return subprocess.run(
            [sys.executable, str(script), *args], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )

    helped = run("--help")
    assert helped.returncode == 0
    assert "square root" in " ".join(helped.stdout.split()) or "divisor" in helped.stdout
    assert "a file that ends in .svg, .png or .pdf" in " ".join(helped.stdout.split())
    assert "is no folder, and no file that ends in" in run("picture.bmp").stderr
    assert "there is no folder nowhere" in run("nowhere/picture.png").stderr
    assert run("picture.png").returncode == 0
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_picture_is_there_and_stands_alone(script):
    picture = script.with_suffix(".svg")
    assert picture.stat().st_size < LARGEST
    root = ElementTree.parse(picture).getroot()
    assert not list(root.iter(f"{SVG}text")), "letters must be paths, so that no font is needed"
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith("href"):
                assert value.startswith(("#", "data:")), value


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_page_shows_it_with_words_for_those_who_cannot_see_it(script):
    (alt,) = re.findall(rf"!\[([^\]]+)\]\(gallery/{script.stem}\.svg\)", PAGE)
    assert len(alt.split()) >= 15
    assert f"[Script](gallery/{script.stem}.py)" in PAGE


def test_the_page_shows_nothing_else():
    shown = re.findall(r"\]\(gallery/(\w+)\.svg\)", PAGE)
    assert sorted(shown) == sorted(path.stem for path in SCRIPTS)
    assert sorted(path.stem for path in (DOCS / "gallery").glob("*.svg")) == sorted(shown)
    assert len(shown) >= 10


def test_chinese_is_drawn_by_a_font_that_has_it():
    svg = (DOCS / "gallery" / "tom_chases_jerry.svg").read_text(encoding="utf-8")
    assert re.search(r'id="\w*(CJK|Han|Hei|Song|WenQuan)', svg)


def test_the_readme_begins_with_an_alignment_that_attnlab_draws(tmp_path, monkeypatch):
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    shown = re.match(r"# attnlab\n\n!\[([^\]]+)\]\(docs/pictures/(\w+)\.svg\)\n", readme)
    assert shown is not None
    assert len(shown[1].split()) >= 15
    script = DOCS / "pictures" / f"{shown[2]}.py"
    monkeypatch.syspath_prepend(str(DOCS / "gallery"))
    english, chinese, gold, weights = draws(script, tmp_path, monkeypatch)
    assert {W.shape for W in weights.values()} == {gold.shape, (len(chinese), len(english))}
    found = weights["general"].argmax(axis=1)[gold.any(axis=1)]
    assert (found == gold.argmax(axis=1)[gold.any(axis=1)]).mean() >= 0.7
    picture = script.with_suffix(".svg")
    assert picture.stat().st_size < LARGEST
    assert not list(ElementTree.parse(picture).getroot().iter(f"{SVG}text"))
    assert re.search(r'id="\w*(CJK|Han|Hei|Song|WenQuan)', picture.read_text(encoding="utf-8"))


def test_the_same_picture_is_the_same_file(tmp_path):
    script = DOCS / "gallery" / "temperature.py"
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        process = subprocess.run(
            [sys.executable, str(script), str(tmp_path / folder)], capture_output=True, text=True, timeout=120
        )
        assert process.returncode == 0, process.stderr
    one, two = ((tmp_path / folder / "temperature.svg").read_bytes() for folder in ("one", "two"))
    assert one == two
