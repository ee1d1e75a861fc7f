"""How far a fit is: on a terminal by itself, elsewhere where it is asked for, and never in a sweep."""

from __future__ import annotations

import inspect
import io

import numpy as np
import pytest
from sklearn.base import clone

import attnlab
from attnlab import progress

SPLITS = attnlab.get("task", "lookup", n_keys=4, d=4, n_train=32).make(np.random.default_rng(0))
PAIRS = [("the house", "das haus"), ("the book", "das buch")]
FITS = {
    "AttentionAligner: 5 steps in": lambda **v: attnlab.AttentionAligner(projection=2, steps=5).fit(SPLITS.train, **v),
    "AttentionSeq2Seq: 4 steps in": lambda **v: attnlab.AttentionSeq2Seq(steps=4).fit(
        [["a", "b"], ["b"]], [["x", "y"], ["y"]], **v
    ),
    "AttentionRegressor: 3 steps in": lambda **v: attnlab.AttentionRegressor(projection="scale", steps=3).fit(
        np.arange(20.0).reshape(-1, 1), np.arange(20.0), **v
    ),
    "AttentionClassifier: 3 steps in": lambda **v: attnlab.AttentionClassifier(projection="scale", steps=3).fit(
        np.arange(20.0).reshape(-1, 1), np.arange(20) > 9, **v
    ),
    "WordAligner: 2 iterations in": lambda **v: attnlab.WordAligner(warm_up=1, iterations=1).fit(PAIRS, **v),
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("said", FITS)
def test_a_fit_says_how_far_it_is_where_it_is_asked(said, capsys):
    FITS[said]()
    FITS[said](verbose=False)
    assert capsys.readouterr().err == ""
    FITS[said](verbose=True)
    told = capsys.readouterr().err.strip()
    assert told.startswith(said)
    assert "\n" not in told


@pytest.mark.parametrize("verbose", [None, True, False])
def test_on_a_terminal_a_long_fit_has_a_bar(monkeypatch, verbose):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(progress, "AFTER", 0.0)  # every fit is long
    FITS["AttentionAligner: 5 steps in"](verbose=verbose)
    told = progress.sys.stderr.getvalue()
    if verbose is False:
        assert told == ""
    else:
        assert "AttentionAligner" in told
        assert "5/5" in told
        assert "loss" in told


def test_a_short_fit_has_no_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(progress, "AFTER", 1e9)
    FITS["AttentionAligner: 5 steps in"]()
    assert progress.sys.stderr.getvalue() == ""


def test_a_sweep_has_no_bars_of_fits(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(progress, "AFTER", 0.0)
    experiment = {
        "attnlab": 1,
        "question": "?",
        "task": {"lookup": {"n_keys": 4, "n_train": 16}},
        "model": {"aligner": {"steps": 3, "projection": 2}},
    }
    attnlab.sweep(experiment, store=tmp_path / "a.db", executor="serial", quiet=True)
    assert progress.sys.stderr.getvalue() == ""


def test_verbose_changes_no_number_and_is_no_setting():
    one, two = (FITS["AttentionAligner: 5 steps in"] for _ in range(2))
    assert inspect.signature(attnlab.AttentionAligner.fit).parameters["verbose"].default is None
    assert "verbose" not in attnlab.AttentionAligner().get_params()
    model = attnlab.AttentionAligner(projection=2, steps=5, random_state=0)
    curves = [clone(model).fit(SPLITS.train, verbose=v).loss_curve_ for v in (None, False, True)]
    assert curves[0] == curves[1] == curves[2]
    assert one is two


def test_warnings_of_a_fit_point_at_who_called_it():
    with pytest.warns(attnlab.errors.NothingToLearn) as caught:
        attnlab.AttentionAligner(steps=0).fit(SPLITS.train)
    assert caught[0].filename == __file__


def test_what_is_gone_through_has_a_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(progress, "AFTER", 0.0)
    assert list(progress.over([1, 2, 3], "report", "experiments")) == [1, 2, 3]
    assert "3/3" in progress.sys.stderr.getvalue()
