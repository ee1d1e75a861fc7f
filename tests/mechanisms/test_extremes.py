"""Settings near the ends of what floats hold are computed rightly or refused; none gives NaN without a word."""

from __future__ import annotations

import math
import typing

import numpy as np
import pytest

import attnlab
from attnlab import registry
from attnlab.component import settings_of
from attnlab.errors import Unsupported
from attnlab.mechanisms.extremes import beyond
from attnlab.nested import hints

pytestmark = pytest.mark.filterwarnings("ignore")  # of overflows on the way, and of temperatures that cannot align
KINDS = ("similarity", "normaliser", "aggregator", "position", "modifier")
VALUES = (1e-300, 1e-320, 1e300, 1e38, 1e-38, 1e-45, 1e-20, 1e20)


def holds_float(hint):
    return hint is float or any(map(holds_float, typing.get_args(hint)))


def settings():
    for kind in KINDS:
        for name in registry.names(kind):
            cls = registry.entry(kind, name).cls
            yield from ((kind, name, s) for s in settings_of(cls) if holds_float(hints(cls).get(s)))


def mechanism_with(kind, part):
    for more in ({}, {"similarity": "poly_kernel"}, {"similarity": "poly_kernel", "normaliser": "l1"}):
        mechanism = attnlab.Mechanism(**{**more, kind: part})
        if not mechanism.refusal():
            break
    return mechanism


@pytest.mark.parametrize(("kind", "name", "setting"), list(settings()))
def test_no_size_of_a_setting_gives_nan_without_a_word(kind, name, setting):
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 6, 3))
    for value in VALUES:
        for dtype in (np.float32, np.float64):
            try:
                mechanism = mechanism_with(kind, registry.get(kind, name, **{setting: value}))
                given = [array.astype(dtype) for array in (Q, K, V)]
                found = attnlab.attend(*given, rng=0, **{role: getattr(mechanism, role) for role in (*KINDS, "mask")})
            except (attnlab.errors.SettingError, Unsupported) as error:
                found = error
            fine = setting in str(found) if isinstance(found, Exception) else np.isfinite(found).all()
            assert fine, (value, dtype, found)


def test_what_a_float_cannot_hold_is_refused_with_what_it_can():
    Q = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(
        Unsupported, match=r"'softmax' has temperature = 1e-300, which float32 cannot hold: .* 1.18e-38 to"
    ):
        attnlab.attention_weights(Q, Q, normaliser={"softmax": {"temperature": 1e-300}})
    with pytest.raises(Unsupported, match="which float32 cannot hold"):
        attnlab.normalise(Q, {"softmax": {"temperature": 1e-300}})


def test_what_no_float_holds_is_refused_before_there_are_data():
    assert "float64 cannot hold" in attnlab.Mechanism({"neg_l2": {"sigma": 1e-320}}).refusal()
    assert attnlab.Mechanism({"neg_l2": {"sigma": 1e-300}}).refusal() == ""


def test_a_score_is_no_nan():
    task = attnlab.get("task", "lookup", n_keys=4, n_train=16, n_test=8).make(np.random.default_rng(0))
    aligner = attnlab.AttentionAligner(attnlab.Mechanism({"neg_l2": {"sigma": 1e-300}}), steps=1)
    with pytest.raises(Unsupported, match=r"'neg_l2' has sigma = 1e-300, and with these queries and keys"):
        aligner.fit(task.train).score(task.tests["test"])


class Narrow(attnlab.Similarity):
    """A part of others, over the square of a width that nobody checks."""

    name = "narrow"

    def __init__(self, width=1.0):
        self.width = width

    def score(self, Q, K):
        away = Q[..., :, None, :] - K[..., None, :, :]
        return -(away * away).sum(axis=-1) / np.asarray(self.width * self.width)


def test_a_part_of_others_is_held_to_it_as_well():
    Q = np.ones((2, 3))
    with pytest.raises(Unsupported, match="'narrow' has width = 1e-200"):
        attnlab.attention_weights(Q, Q, Narrow(1e-200))
    assert np.isnan(attnlab.attention_weights(Q * math.nan, Q, Narrow(1e-200))).all()  # NaN in, NaN out


def test_whole_numbers_and_defaults_are_no_extremes():
    assert beyond([], "float32") == ""
    assert attnlab.Mechanism({"random": {"seed": 2**70}}).bind().extremes == ()
    assert attnlab.Mechanism("expressive").bind().extremes == ()  # eps is small by default
