"""Pictures show what they are given, in any script, and are the same file each time."""

import itertools
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
from attnlab.cli import _status
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
def swept_store(tmp_path_factory):
    return tmp_path_factory.mktemp("store") / "s.db"


@pytest.fixture(scope="module")
def swept(swept_store):
    spec = {
        "attnlab": 1,
        "question": "?",
        "task": {"norm_hubs": {"sigma": [0.5, 1.5], "n_train": 1, "n_validation": 1, "n_test": 8}},
        "mechanism": {"similarity": ["dot", "cosine"]},
        "model": {"aligner": {"steps": 0}},
        "seeds": 4,
        "claims": CLAIMS,
    }
    return attnlab.sweep(spec, executor="serial", store=swept_store, quiet=True), read(spec)


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


# -- scales, numbers on axes, several mechanisms -----------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (1, 30), (40, 1), (12, 15)])
def test_numbers_on_the_axes_are_whole_and_few(shape):
    figure, ax = alignment_figure(shape)
    plot_alignment(np.full(shape, 1 / shape[1]), ax=ax)
    figure.draw_without_rendering()
    for axis, size in ((ax.xaxis, shape[1]), (ax.yaxis, shape[0])):
        ticks = list(axis.get_ticklocs())
        assert ticks == sorted({int(t) for t in ticks}), "whole, each once"
        assert 1 <= len(ticks) <= 10
        assert ticks[0] == 0
        assert ticks[-1] < size
        labels = [label.get_text() for label in axis.get_ticklabels()]
        assert labels == [str(int(t)) for t in ticks]


def test_a_scale_can_be_set():
    assert drawn(W, vmax=2.0).images[0].get_clim() == (0.0, 2.0)
    assert drawn(W - 0.5, vmax=1.0).images[0].get_clim() == (-1.0, 1.0)
    (bar,) = drawn(W, vmax=0.5).child_axes
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", "0.25", "≥ 0.5"], "0.9 has the full colour too"
    for vmax in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="vmax: must be a weight above 0"):
            plot_alignment(W, vmax=vmax)


@pytest.mark.parametrize("shape", [(1, 5), (3, 3), (20, 4), (4, 20)])
def test_the_colour_bar_is_as_tall_as_the_weights(shape):
    figure, ax = alignment_figure(shape, target=["Tom"] * shape[0])
    plot_alignment(np.full(shape, 0.5), target=["Tom"] * shape[0], ax=ax)
    figure.draw_without_rendering()
    (bar,) = ax.child_axes
    matrix, beside = ax.get_window_extent(), bar.get_window_extent()
    assert (beside.y0, beside.y1) == (pytest.approx(matrix.y0, abs=1), pytest.approx(matrix.y1, abs=1))
    assert beside.x0 > matrix.x1
    assert beside.x1 < figure.bbox.x1


def test_several_mechanisms_have_one_scale_one_bar_and_one_legend():
    weights = {"dot": W, "cosine $x": W / 2, "汤姆": W * 1.2}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no font has")
        axes = attnlab.plot_alignments(weights, source=["a", "b", "c"], target=["x", "y"], gold=W > 0.5)
    try:
        assert [ax.images[0].get_clim() for ax in axes] == [(0.0, pytest.approx(1.08))] * 3
        assert [len(ax.child_axes) for ax in axes] == [0, 0, 1]
        assert [ax.get_legend() is None for ax in axes] == [False, True, True]
        assert [ax.get_title() for ax in axes][:2] == ["dot", "cosine $x"]
        assert all(dots(ax, "sure") == {(0, 0), (1, 1)} for ax in axes)
        figure = axes[0].figure
        figure.draw_without_rendering()
        sides = [ax.get_window_extent() for ax in axes]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(sides))
        assert len({round(side.height, 3) for side in sides}) == 1
    finally:
        plt.close(axes[0].figure)


def test_many_mechanisms_are_in_several_rows():
    axes = attnlab.plot_alignments({f"m{i}": np.eye(12) for i in range(7)}, vmax=0.5)
    axes[0].figure.draw_without_rendering()
    assert len({round(ax.get_window_extent().y0) for ax in axes}) > 1
    assert axes[0].figure.get_figwidth() <= 14
    plt.close(axes[0].figure)


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ({}, SettingError, "must be a mapping with the weights of each mechanism"),
        ([W], SettingError, "must be a mapping"),
        ({"a": W, "b": W.T}, ShapeError, r"one shape .* a \(2, 3\), b \(3, 2\)"),
        ({"a": W * np.nan}, ShapeError, "the weights of a must be finite"),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(weights, error, said):
    with pytest.raises(error, match=said):
        attnlab.plot_alignments(weights)


def test_runs_of_the_same_examples_are_drawn_together(swept, swept_store, tmp_path, capsys):
    frame, _ = swept
    here = frame[frame["task.sigma"] == 0.5]
    same = here[here["seed"] == 0]["run_id"].tolist()
    other = here[here["seed"] == 1]["run_id"].iloc[0]
    assert len(same) == 2
    arguments = ["plot", "alignment", *same, "--store", str(swept_store), "-o", str(tmp_path / "two.svg")]
    assert _status(arguments) == 0
    text = (tmp_path / "two.svg").read_text("utf-8")
    assert ">dot<" in text
    assert ">cosine<" in text
    assert (
        _status(["plot", "alignment", same[0], other, "--store", str(swept_store), "-o", str(tmp_path / "no.svg")]) == 2
    )
    assert f"run {other} was tested on other examples than run {same[0]}" in capsys.readouterr().err
