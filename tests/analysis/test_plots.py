"""Pictures show what they are given, in any script, and are the same file each time."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab.analysis.claims import judge
from attnlab.analysis.plots import (
    FALLBACKS,
    alignment_figure,
    claims_figure,
    new_picture,
    plot_alignment,
    plot_claim,
    save,
)
from attnlab.errors import SettingError, ShapeError
from attnlab.sweeps.experiment.read import read

plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("agg")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.font_manager import get_font_names  # noqa: E402

W = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])


def drawn(*args, **kwargs):
    figure, ax = alignment_figure((2, 3), kwargs.get("source"), kwargs.get("target"))
    plot_alignment(*args, **kwargs, ax=ax)
    figure.draw_without_rendering()
    return ax


def dots(ax, label):
    """The (row, column) of the links drawn under a label."""
    return {(int(y), int(x)) for c in ax.collections if c.get_label() == label for x, y in c.get_offsets()}


def test_weights_tokens_and_links_are_where_they_belong():
    gold = np.array([[1, 0, 0], [0, 1, 0]])
    possible = np.array([[1, 1, 0], [0, 1, 1]], dtype=bool)
    ax = drawn(W, source=["a", "b", "c"], target=["x", "y"], gold=gold, possible=possible)
    np.testing.assert_array_equal(ax.images[0].get_array(), W)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x", "y"]
    assert dots(ax, "sure") == {(0, 0), (1, 1)}
    assert dots(ax, "possible") == {(0, 1), (1, 2)}
    sure, hollow = (next(c for c in ax.collections if c.get_label() == label) for label in ("sure", "possible"))
    assert len(sure.get_facecolors()) == 1
    assert len(hollow.get_facecolors()) == 0


def test_without_tokens_and_links_there_are_numbers_and_no_legend():
    ax = drawn(W)
    assert ax.get_legend() is None
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")


def test_negative_weights_have_zero_in_the_middle():
    image = drawn(W - 0.5).images[0]
    assert image.norm.vmin == -image.norm.vmax == -0.45


def test_a_new_figure_is_made_where_no_axes_are_given():
    ax = attnlab.plot_alignment(W)
    assert ax.figure.number in plt.get_fignums()
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"W": W[None]}, r"one example, such as W\[0\]; got shape \(1, 2, 3\)"),
        ({"W": W * np.nan}, "finite"),
        ({"W": W, "source": ["a"]}, "axis 'k' disagrees: W has 3, source has 1 tokens"),
        ({"W": W, "target": "abc"}, "axis 'q' disagrees"),
        ({"W": W, "gold": W.T}, r"gold must be \(q, k\) = \(2, 3\)"),
        ({"W": W, "possible": W[0]}, "possible must be"),
    ],
)
def test_what_does_not_fit_is_refused(kwargs, message):
    with pytest.raises(ShapeError, match=message):
        plot_alignment(**kwargs)


@settings(max_examples=12)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=3, max_size=3))
def test_any_token_can_be_drawn(tokens):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no font has")
        ax = drawn(W, source=tokens)
    assert all(len(label.get_text()) <= 20 for label in ax.get_xticklabels())


def test_dollars_are_no_formula():
    ax = drawn(W, source=["$x", "y$", "$\\frac$"])
    assert ax.get_xticklabels()[2].get_text() == "$\\frac$"


def ink(token):
    """The pixels of the only label of a picture."""
    figure, ax = alignment_figure((1, 1), target=[token])
    plot_alignment([[1.0]], target=[token], ax=ax)
    figure.draw_without_rendering()
    (label,) = ax.get_yticklabels()
    other = Figure(figsize=(2, 1))
    other.text(0.1, 0.4, label.get_text(), fontfamily=label.get_fontfamily(), fontsize=30)
    canvas = FigureCanvasAgg(other)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_chinese_is_drawn_with_a_font_that_has_it():
    if set(FALLBACKS[:10]).isdisjoint(get_font_names()):
        pytest.skip("no font with Chinese is installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that is missing
        ax = drawn(W, target=["汤姆", "Jerry 杰瑞"])
        assert [t.get_text() for t in ax.get_yticklabels()] == ["汤姆", "Jerry 杰瑞"]
        assert (ink("汤") != ink("姆")).any()  # two glyphs that are missing would be the same box


def test_characters_that_no_font_has_are_code_points_and_one_warning_names_them():
    nobody_has = ["\u0378", "\u0379\u0378"]  # not assigned
    with pytest.warns(UserWarning, match="no font has \u0378 \u0379, drawn as code points; install") as warned:
        ax = drawn(W, target=nobody_has)
    assert len(warned) == 1
    assert [t.get_text() for t in ax.get_yticklabels()] == ["<U+0378>", "<U+0379><U+0378>"]


def test_the_font_of_the_user_comes_first():
    with plt.rc_context({"font.family": ["DejaVu Serif", "DejaVu Sans"]}):
        ax = drawn(W, target=["a", "b"])
    assert ax.get_yticklabels()[0].get_fontfamily() == ["DejaVu Serif", "DejaVu Sans"]  # and no other is needed


CLAIMS = [
    {"say": "汤姆 $wins", "metric": "context_error", "better": {"similarity": "cosine"}, "than": {"similarity": "dot"}},
    {"say": "a long sentence " * 9, "metric": "alignment_accuracy", "at_least": 2.0},
    {"say": "one seed", "metric": "alignment_accuracy", "at_most": 2.0, "where": {"seed": 0}},
    {"say": "no seed", "metric": "alignment_accuracy", "at_most": 2.0, "where": {"test": "none"}},
    {"say": "go together", "correlation": ["alignment_accuracy", "context_error"]},
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    spec = {
        "attnlab": 1,
        "question": "?",
        "task": {"norm_hubs": {"sigma": [0.5, 1.5], "n_train": 1, "n_validation": 1, "n_test": 8}},
        "mechanism": {"similarity": ["dot", "cosine"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 4,
        "claims": CLAIMS,
    }
    store = tmp_path_factory.mktemp("store") / "s.db"
    return attnlab.sweep(spec, executor="serial", store=store, quiet=True), read(spec)


@pytest.mark.filterwarnings("ignore:no font has")
def test_a_claim_shows_its_seeds_interval_and_bound(swept):
    (judged, *_) = judge(*swept)
    figure = claims_figure([judged])
    (ax,) = figure.axes
    seeds, mean = ax.collections[0].get_offsets(), ax.collections[1].get_offsets()
    assert list(seeds[:, 0]) == list(judged.by_seed.values())
    assert mean[0, 0] == judged.decision.effect
    lines = [list(line.get_xdata()) for line in ax.lines]
    assert [judged.decision.low, judged.decision.high] in lines
    assert [0.0, 0.0] in lines
    assert ax.get_xlabel() == "context_error: dot minus cosine"
    assert ax.get_title(loc="right") == "supported, n = 4"


@pytest.mark.filterwarnings("ignore:no font has")
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures_of_every_kind_of_claim_are_the_same_each_time(swept, tmp_path, suffix):
    judged = judge(*swept)
    assert [j.decision.n for j in judged] == [4, 4, 1, 0, 2]
    for name in ("one", "two"):
        save(claims_figure(judged), tmp_path / f"{name}.{suffix}")
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(one) > 10_000


@pytest.mark.filterwarnings("ignore:no font has")
def test_plot_claim_draws_the_claim_asked_for(swept):
    frame, experiment = swept
    ax = plot_claim(frame, experiment, 1)
    assert "a long sentence" in ax.get_title(loc="left")
    plt.close(ax.figure)
    with pytest.raises(SettingError, match="no claim 5; the experiment has 5"):
        plot_claim(frame, experiment, 5)


def test_pictures_have_the_names_of_pictures_and_are_not_overwritten(tmp_path):
    with pytest.raises(SettingError, match=r"\.png or \.svg"):
        new_picture(tmp_path / "a.pdf")
    (tmp_path / "a.png").touch()
    with pytest.raises(SettingError, match="nothing is overwritten"):
        new_picture(tmp_path / "a.png")


def test_without_matplotlib_the_extra_is_named():
    code = "import sys; sys.modules['matplotlib'] = None; import attnlab; attnlab.plot_alignment([[1.0]])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "SettingError: pictures need matplotlib: pip install 'attnlab[report]'" in found.stderr
