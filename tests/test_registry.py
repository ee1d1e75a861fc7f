"""Names to classes: what is found, and what an error says when it is not."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt
from hypothesis import given
from hypothesis import strategies as st

import attnlab
from attnlab import registry
from attnlab.errors import AmbiguousName, AttnlabError, ComponentError, SettingError, UnknownName
from attnlab.parts.similarities import Dot, NegL2


@pytest.fixture
def notebook(monkeypatch):
    """`attnlab.register` in a process of its own, so to speak."""
    monkeypatch.setattr(registry, "_registered", {})


def similarity(name, **body):
    def score(self, Q, K):
        return Dot().score(Q, K)

    return type("Mine", (attnlab.Similarity,), {"__doc__": "Mine.", "name": name, "score": score, **body})


# -- look-up --------------------------------------------------------------------------------------------------------------
def test_get_gives_an_object_with_settings():
    assert type(attnlab.get("similarity", "dot")) is Dot
    assert attnlab.get("similarity", "neg_l2", sigma=2.0).sigma == 2.0
    assert attnlab.get("similarity", "attnlab:neg_l2", sigma=3.0).sigma == 3.0


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_name_resolves_bare_and_qualified(kind):
    for name in attnlab.names(kind):
        e = registry.entry(kind, name)
        assert e.kind == kind == e.cls.kind
        assert registry.entry(kind, e.qualified) == e


def test_names_are_sorted():
    names = attnlab.names("normaliser")
    assert names == sorted(names)
    assert {"softmax", "sparsemax", "entmax"} <= set(names)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("similarity", "dott", r"no similarity 'dott' \(did you mean dot.*\); there are additive, "),
        ("similarity", "attnlab:dott", r"no similarity 'attnlab:dott' \(did you mean attnlab:dot"),
        ("similarity", "elsewhere:dot", r"no similarity 'elsewhere:dot'"),
        ("similarity", 3, "named by a string; got 3"),
        ("similarities", "dot", r"no kind 'similarities' \(did you mean similarity"),
    ],
)
def test_unknown_names(kind, name, message):
    with pytest.raises(UnknownName, match=message):
        attnlab.get(kind, name)


def test_a_name_of_another_kind_is_told():
    attnlab.names("normaliser")
    with pytest.raises(UnknownName, match="'softmax' is a normaliser"):
        attnlab.get("similarity", "softmax")


def test_errors_are_key_errors_with_readable_text():
    with pytest.raises(KeyError) as caught:
        attnlab.get("mask", "casual")
    assert str(caught.value).startswith("no mask 'casual' (did you mean causal?)")


# -- settings ---------------------------------------------------------------------------------------------------------------
class Choosy(attnlab.Mask):
    """Settings of several types."""

    name = "choosy"

    def __init__(
        self,
        width: Annotated[int, Ge(0)] = 1,
        scale: Annotated[float, Gt(0)] = 1.0,
        side: Literal["left", "right"] = "left",
        loud: bool = False,
        limit: Annotated[float, Gt(0)] | None = None,
        anything=None,
    ):
        self.width, self.scale, self.side, self.loud, self.limit, self.anything = (
            width,
            scale,
            side,
            loud,
            limit,
            anything,
        )

    def allow(self, q_index, k_index):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("width", -1, "mask 'choosy': width must be int, >= 0; got -1"),
        ("width", 1.5, "width must be int, >= 0; got 1.5"),
        ("width", True, "width must be int, >= 0; got True"),
        ("width", "3", "width must be int, >= 0; got '3'"),
        ("scale", 0, "scale must be float, > 0; got 0"),
        ("scale", "big", "scale must be float, > 0; got 'big'"),
        ("side", "lefft", r"side must be 'left' or 'right'; got 'lefft' \(did you mean left"),
        ("loud", 1, "loud must be bool; got 1"),
        ("limit", -2.0, "limit must be float, > 0 or None; got -2.0"),
        ("widht", 1, r"mask 'choosy' has no setting 'widht' \(did you mean width\?\); it has width, scale, side"),
    ],
)
def test_settings_out_of_range(notebook, setting, value, message):
    attnlab.register(Choosy)
    with pytest.raises(SettingError, match=message) as refused:
        attnlab.get("mask", "choosy", **{setting: value})
    assert "valid" not in str(refused.value)  # our sentence alone, without pydantic's
    assert "nput should" not in str(refused.value)


def test_settings_in_range(notebook):
    import numpy as np

    attnlab.register(Choosy)
    made = attnlab.get("mask", "choosy", width=np.int64(3), scale=2, side="right", limit=None, anything=[1])
    assert (made.width, made.scale, made.side, made.limit, made.anything) == (3, 2.0, "right", None, [1])
    assert type(made.width) is int
    assert type(made.scale) is float, "a whole number is a float where a float is declared"


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_range_holds_for_every_float(sigma):
    if 0 < sigma < float("inf"):
        assert attnlab.get("similarity", "neg_l2", sigma=sigma).sigma == sigma
    else:
        with pytest.raises(SettingError, match="sigma must be float, > 0"):
            attnlab.get("similarity", "neg_l2", sigma=sigma)


def test_resolve_gives_all_settings():
    assert registry.resolve("normaliser", "entmax", {}) == {"alpha": 1.5}
    assert registry.resolve("normaliser", "entmax", {"alpha": 2}) == {"alpha": 2.0}


# -- build ------------------------------------------------------------------------------------------------------------------
def test_build_takes_names_mappings_and_objects():
    part = NegL2(sigma=4.0)
    assert registry.build("similarity", part) is part
    assert registry.build("similarity", "neg_l2").sigma == 1.0
    assert registry.build("similarity", {"neg_l2": {"sigma": 4.0}}).sigma == 4.0
    assert registry.build("similarity", {"neg_l2": None}).sigma == 1.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"dot": {}, "cosine": {}}, "with one name"),
        ({}, "with one name"),
        ({"neg_l2": 3}, "settings of similarity 'neg_l2' must be a mapping; got 3"),
        (NegL2, "NegL2 is a class: give an object"),
        (3, "got int: 3"),
        (None, "got NoneType: None"),
    ],
)
def test_build_refuses(spec, message):
    with pytest.raises(SettingError, match=message):
        registry.build("similarity", spec)


def test_build_refuses_a_part_of_another_kind():
    with pytest.raises(SettingError, match="a normaliser is a name"):
        registry.build("normaliser", Dot())


# -- register ---------------------------------------------------------------------------------------------------------------
def test_register_serves_a_notebook(notebook):
    one = attnlab.register(similarity("mine"))
    assert type(attnlab.get("similarity", "mine")) is one
    assert type(attnlab.get("similarity", "this-process:mine")) is one
    two = attnlab.register(similarity("mine"))  # the cell is run again
    assert type(attnlab.get("similarity", "mine")) is two
    assert attnlab.names("similarity").count("mine") == 1


def test_register_is_a_decorator(notebook):
    @attnlab.register
    class Decorated(attnlab.Mask):
        """Decorated."""

        name = "decorated"

        def allow(self, q_index, k_index):
            raise NotImplementedError

    assert Decorated.name in attnlab.names("mask")


def test_register_refuses_the_name_of_an_installed_one(notebook):
    with pytest.raises(AmbiguousName, match="the similarity name 'dot' is given by attnlab: choose another name"):
        attnlab.register(similarity("dot"))
    assert type(attnlab.get("similarity", "dot")) is Dot


def test_one_name_may_stand_for_two_kinds(notebook):
    attnlab.register(similarity("softmax"))
    assert attnlab.get("similarity", "softmax").kind == "similarity"
    assert attnlab.get("normaliser", "softmax").kind == "normaliser"


def _swallows(self, **kwargs): ...


def _starred(self, *arrays): ...


def _positional(self, Q, K, /): ...


def _typo(self, Q, mesk): ...


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (3, "register takes a class derived from one of attnlab.Similarity"),
        (object, "register takes a class derived from"),
        (Dot(), "register takes a class"),
        (attnlab.Similarity, "must derive from attnlab.Similarity"),
        (similarity(""), "name must be a word of letters, digits and underscores, such as 'mine'; got ''"),
        (similarity("two words"), "got 'two words'"),
        (similarity("a:b"), "got 'a:b'"),
        (type("Mine", (attnlab.Similarity,), {"name": "mine"}), r"Mine must define score\(Q, K\); it is a similarity"),
        (similarity("mine", score=_swallows), r"\*kwargs would swallow the rest"),
        (similarity("mine", score=_starred), r"\*arrays would swallow the rest"),
        (similarity("mine", score=_positional), "arguments are given by name; 'Q' cannot be"),
        (
            similarity("mine", score=_typo),
            r"unknown argument 'mesk' \(did you mean mask\?\); score may ask for Q, K, mask",
        ),
        (similarity("mine", __init__=_swallows), "settings are named one by one"),
        (
            similarity("mine", init=lambda self, rgn: {}),
            r"unknown argument 'rgn' \(did you mean rng\?\); init may ask for",
        ),
        (similarity("mine", score=lambda self, Q, K, state: 0), "asks for state, so it must define initial_state"),
    ],
)
def test_register_refuses_what_breaks_the_contract(notebook, cls, message):
    with pytest.raises(ComponentError, match=message):
        attnlab.register(cls)
    assert not registry._registered


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0,), [0, 1], (0, float("nan")), ("0", "1"), (False, True), None])
def test_a_metrics_bounds_are_checked(notebook, bounds):
    body = {"name": "mine", "bounds": bounds, "measure": lambda self, data, W: 0.0}
    with pytest.raises(ComponentError, match=r"bounds must be two numbers, the least and the greatest .* got"):
        attnlab.register(type("Mine", (attnlab.Metric,), body))


def test_what_a_metric_is_measured_of_is_checked(notebook):
    body = {"name": "mine", "per": "seed", "measure": lambda self, data, W: 0.0}
    with pytest.raises(ComponentError, match=r'per must be "condition", or "run" .*; got \'seed\''):
        attnlab.register(type("Mine", (attnlab.Metric,), body))


@pytest.mark.parametrize("solved", [0.05, {"context_error": "low"}, {1: 0.05}, None])
def test_what_solves_a_task_is_checked(notebook, solved):
    body = {"name": "mine", "solved": solved, "make": lambda self, rng: None}
    with pytest.raises(ComponentError, match=r"solved must give a number for the name of each metric, .* got"):
        attnlab.register(type("Mine", (attnlab.Task,), body))


def test_a_metrics_direction_is_checked(notebook):
    body = {"name": "mine", "direction": "higher", "measure": lambda self, data, W: 0.0}
    with pytest.raises(ComponentError, match='direction must be "up", "down" or None; got \'higher\''):
        attnlab.register(type("Mine", (attnlab.Metric,), body))


@pytest.mark.parametrize("name", ["seed", "similarity", "status", "run_id", "plugin_versions", "metric", "value"])
def test_a_metric_may_not_be_called_as_another_column(notebook, name):
    body = {"name": name, "measure": lambda self, data, W: 7.0}
    with pytest.raises(ComponentError, match=rf"Mine\.name: '{name}' is a column of the results table"):
        attnlab.register(type("Mine", (attnlab.Metric,), body))


def test_a_metric_needs_no_setting(notebook):
    def init(self, top):
        self.top = top

    body = {"name": "mine", "__init__": init, "measure": lambda self, data, W: 0.0}
    with pytest.raises(
        ComponentError, match=r"init__\(self, top\): a sweep measures with the defaults; give 'top' one"
    ):
        attnlab.register(type("Mine", (attnlab.Metric,), body))


def test_a_model_has_the_settings_that_a_run_fills_in(notebook):
    def init(self, steps=3, random_state=None):
        self.steps, self.random_state = steps, random_state

    body = dict.fromkeys(("fit", "predict", "align", "score"), lambda self, data: None)
    with pytest.raises(
        ComponentError, match=r"mechanism and random_state, which a run fills in; here mechanism is miss"
    ):
        attnlab.register(type("Mine", (attnlab.Model,), {"name": "mine", "__init__": init, **body}))


def test_what_is_refused_is_an_attnlab_error():
    for call in (
        lambda: attnlab.get("similarity", "x"),
        lambda: attnlab.register(3),
        lambda: registry.build("mask", 3),
    ):
        with pytest.raises(AttnlabError):
            call()


# -- components -------------------------------------------------------------------------------------------------------------
def test_components_is_the_whole_menu(notebook):
    attnlab.register(similarity("mine", symmetric=True))
    frame = attnlab.components()
    assert list(frame)[:6] == ["kind", "name", "summary", "plugin", "version", "source"]
    for kind in registry.KINDS:
        assert sorted(frame.loc[frame["kind"] == kind, "name"]) == attnlab.names(kind)
    own = frame[frame["plugin"] == "attnlab"]
    assert (own["version"] == attnlab.__version__).all()
    assert (own["summary"].str.len() > 10).all()
    row = frame.set_index(["kind", "name"]).loc[("similarity", "mine")]
    assert row["plugin"] == "this-process"
    assert row["symmetric"] is True or bool(row["symmetric"])


def test_flags_are_those_of_the_kind():
    frame = attnlab.components().set_index(["kind", "name"])
    assert bool(frame.loc[("normaliser", "sparsemax"), "sparse"])
    assert not bool(frame.loc[("normaliser", "softmax"), "sparse"])
    assert frame.loc[("similarity", "dot"), "sparse"] is attnlab_na()
    assert frame["sparse"].dtype == "boolean"


def attnlab_na():
    import pandas as pd

    return pd.NA
