"""Mechanisms made of mechanisms, as strangers write them: planned, carried out, resumed, shown, compared."""

from __future__ import annotations

import inspect
import json
import textwrap

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import attnlab
from attnlab import hookspecs
from attnlab.cli import main
from attnlab.commands.authoring import template
from attnlab.errors import ExperimentError, SettingError, UnknownName
from attnlab.plugins import configure
from attnlab.sweeps.experiment.schema import json_schema
from attnlab.sweeps.pipeline import plan_with_reasons

TINY = {
    "attnlab": 1,
    "question": "Does it work with mechanisms made of mechanisms?",
    "name": "tiny",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
    "model": {"aligner": {"steps": 3}},
    "seeds": 2,
}
PLUGIN = '''
"""Mechanisms made of mechanisms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Optional

from annotated_types import Len

from attnlab import Mechanism, MechanismComponent, Model, Similarity, hookimpl, namespace
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from attnlab import MechanismComponent as Inner


class MH(MechanismComponent):
    """Heads that share the features among them."""

    name = "mh"

    def __init__(self, heads=2, mechanism=None):
        self.heads = heads
        self.mechanism = mechanism

    def _split(self, X):
        xp = namespace(X)
        d = X.shape[-1] // self.heads
        return [X[..., i * d : (i + 1) * d] for i in range(self.heads)]

    def init(self, rng, d_query, d_key, d_value):
        sizes = [size // self.heads for size in (d_query, d_key, d_value)]
        return {f"head{i}": self.mechanism.init(rng, *sizes) for i in range(self.heads)}

    def weights(self, params, Q, K, mask=None, **context):
        pairs = enumerate(zip(self._split(Q), self._split(K)))
        return sum(self.mechanism.weights(params[f"head{i}"], q, k, mask, **context) for i, (q, k) in pairs) / self.heads

    def attend(self, params, Q, K, V, mask=None, **context):
        heads = enumerate(zip(self._split(Q), self._split(K), self._split(V)))
        done = [self.mechanism.attend(params[f"head{i}"], q, k, v, mask, **context) for i, (q, k, v) in heads]
        return namespace(*done).concat(done, axis=-1)


class _Mean(MechanismComponent):
    """The mean of mechanisms."""

    def init(self, rng, d_query, d_key, d_value):
        return {f"m{i}": m.init(rng, d_query, d_key, d_value) for i, m in enumerate(self._all())}

    def weights(self, params, Q, K, mask=None, **context):
        each = [m.weights(params[f"m{i}"], Q, K, mask, **context) for i, m in enumerate(self._all())]
        return sum(each) / len(each)

    def attend(self, params, Q, K, V, mask=None, **context):
        return self.weights(params, Q, K, mask, **context) @ V


class Two(_Mean):
    """The mean of two mechanisms."""

    name = "two"

    def __init__(self, left: Inner, right: Optional[Inner] = Mechanism("cosine", "sparsemax")):
        self.left = left
        self.right = right

    def _all(self):
        return [self.left] if self.right is None else [self.left, self.right]


class Panel(_Mean):
    """The mean of many mechanisms."""

    name = "panel"

    def __init__(self, members: Annotated[list[MechanismComponent], Len(1, 3)] = (Mechanism("dot"),)):
        self.members = members

    def _all(self):
        return self.members


class Crew(_Mean):
    """One mechanism twice, or several."""

    name = "crew"

    def __init__(self, members: MechanismComponent | list[MechanismComponent]):
        self.members = members

    def _all(self):
        return self.members if isinstance(self.members, list) else [self.members, self.members]


class Doubled(Similarity):
    """Twice another similarity."""

    name = "doubled"

    def __init__(self, of: Similarity):
        self.of = of

    def score(self, Q, K):
        return 2 * self.of.score(Q, K)


class Alone(Model, BaseEstimator):
    """Untrained, with a mechanism of its own."""

    name = "alone"
    preferred = {"two": {"left": {"similarity": "dot"}, "right": None}}

    def __init__(self, mechanism=None, random_state=None):
        self.mechanism = mechanism
        self.random_state = random_state

    def fit(self, data, y=None):
        self.params_ = self.mechanism.init(self.random_state, data.Q.shape[2], data.K.shape[2], data.V.shape[2])
        return self

    def predict(self, data):
        return self.mechanism.attend(self.params_, data.Q, data.K, data.V, data.mask)

    def align(self, data):
        return self.mechanism.weights(self.params_, data.Q, data.K, data.mask)

    def score(self, data, y=None):
        return 0.0


@hookimpl
def attnlab_mechanisms():
    return [MH, Two, Panel, Crew]


@hookimpl
def attnlab_similarities():
    return [Doubled]


@hookimpl
def attnlab_models():
    return [Alone]
'''


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "made_of.py"
    path.write_text(PLUGIN, encoding="utf-8")
    configure(files=[str(path)])
    yield path
    configure()


@pytest.fixture
def sweep(plugin, tmp_path):
    def run(mechanism, **keys):
        experiment = TINY | keys | ({} if mechanism is None else {"mechanism": mechanism})
        frame = attnlab.sweep(experiment, executor="serial", store=tmp_path / "s.db", quiet=True)
        assert frame["reason"].tolist() == [""] * len(frame)
        assert (frame["status"] == "ok").all()
        ((_, again),) = plan_with_reasons([experiment], store=tmp_path / "s.db")
        assert {(p.action, p.reason) for p in again} == {("keep", "done")}
        repeated = attnlab.sweep(experiment, executor="serial", store=tmp_path / "s.db", quiet=True)
        assert repeated["started_at"].tolist() == frame["started_at"].tolist()  # nothing ran
        return frame

    return run


LEFT = {"similarity": ["dot", {"additive": {"hidden": [2, 3]}}]}


def test_heads_over_an_inner_mechanism_with_grids_inside(sweep):
    frame = sweep({"mh": {"heads": [1, 2], "mechanism": {"similarity": ["dot", "general"]}}})
    assert frame[["mechanism", "mechanism.heads", "similarity", "mechanism.mechanism", "seed"]].values.tolist() == [
        ["mh", heads, similarity, "single_head", seed]
        for heads in (1, 2)
        for similarity in ("dot", "general")
        for seed in (0, 1)
    ]
    alone = sweep({"similarity": ["dot", "general"]})
    one = frame[frame["mechanism.heads"] == 1]
    assert one["alignment_accuracy"].tolist() == alone["alignment_accuracy"].tolist()
    assert one["n_parameters"].tolist() == [0, 0, 16, 16]


def test_two_mechanisms_whose_settings_are_left_and_right(sweep):
    right = {"normaliser": "softmax", "position": ["none", "sinusoidal"]}
    frame = sweep({"two": {"left": LEFT, "right": right}}, seeds=1)
    assert len(frame) == 6
    assert frame["mechanism.left.similarity"].tolist() == ["dot", "dot"] + ["additive"] * 4
    assert frame["mechanism.left.similarity.hidden"].tolist()[2:] == [2, 2, 3, 3]
    assert frame["mechanism.right.position"].tolist() == ["none", "sinusoidal"] * 3
    assert set(frame["mechanism.right"]) == {"single_head"}
    assert "similarity" not in frame.columns


def test_one_in_the_other_to_any_depth(sweep):
    inner = {"two": {"left": {"mh": {"mechanism": {"similarity": ["cosine", "dot"]}}}, "right": None}}
    frame = sweep({"two": {"left": inner, "right": inner}}, seeds=1)
    sides = [f"mechanism.{side}.left.mechanism.similarity" for side in ("left", "right")]
    assert frame[sides].values.tolist() == [[a, b] for a in ("cosine", "dot") for b in ("cosine", "dot")]
    assert frame["mechanism.left.right"].isna().all()


def test_a_default_that_is_an_object_is_written_out_and_a_setting_of_a_part_holds_a_part(sweep):
    frame = sweep({"two": {"left": {"similarity": {"doubled": {"of": ["dot", {"neg_l2": {"sigma": 2.0}}]}}}}}, seeds=1)
    assert frame["mechanism.left.similarity.of"].tolist() == ["dot", "neg_l2"]
    assert frame["mechanism.left.similarity.of.sigma"].tolist()[1] == 2.0
    assert set(frame["mechanism.right.similarity"] + frame["mechanism.right.normaliser"]) == {"cosinesparsemax"}


def test_a_list_of_mechanisms(sweep):
    members = [{"value": [{"similarity": ["dot", "cosine"]}, {"similarity": "general"}]}, {"value": ["single_head"]}]
    frame = sweep({"panel": {"members": members}}, seeds=1)
    assert frame["mechanism.members.0.similarity"].tolist() == ["dot", "cosine", "scaled_dot"]
    assert frame["mechanism.members.1.similarity"].tolist()[:2] == ["general", "general"]
    assert sweep("panel", seeds=1)["mechanism.members.0.similarity"].tolist() == ["dot"]


def test_one_mechanism_or_a_list_and_in_processes_of_their_own(plugin, tmp_path):
    members = ["single_head", {"similarity": "general"}, {"value": [{"similarity": "dot"}, {"mask": "causal"}]}]
    experiment = TINY | {"mechanism": {"crew": {"members": members}}, "seeds": 1}
    frame = attnlab.sweep(experiment, executor="local", jobs=2, store=tmp_path / "s.db", quiet=True)
    assert frame["reason"].tolist() == [""] * 3
    columns = ["mechanism.members", "mechanism.members.similarity", "mechanism.members.0.similarity"]
    assert frame[columns].fillna("").values.tolist() == [
        ["single_head", "scaled_dot", ""],
        ["single_head", "general", ""],
        ["", "", "dot"],
    ]
    assert frame["mechanism.members.1.mask"].tolist()[2] == "causal"


def test_modifiers_are_in_order_inside_and_outside(sweep, tmp_path):
    np.save(tmp_path / "bias.npy", np.array([5.0, 0.0, 0.0, -5.0]))
    bias = {"bias": {"path": str(tmp_path / "bias.npy")}}
    several = {"value": [bias, {"softcap": {"cap": [3.0, 30.0]}}]}
    inside = sweep({"two": {"left": {"modifier": several}, "right": None}}, seeds=1)
    outside = sweep({"modifier": several}, seeds=1)
    assert outside["modifier"].tolist() == inside["mechanism.left.modifier"].tolist() == ["bias+softcap"] * 2
    assert outside["modifier.softcap.cap"].tolist() == [3.0, 30.0]
    assert inside["mechanism.left.modifier.softcap.cap"].tolist() == [3.0, 30.0]
    other = sweep({"modifier": {"value": [{"softcap": {"cap": 3.0}}, bias]}}, seeds=1)
    assert other["modifier"].tolist() == ["softcap+bias"]
    assert other["weight_entropy"][0] != outside["weight_entropy"][0]


def test_settings_inside_are_tuned(sweep):
    tune = {"mechanism.left.similarity.hidden": [2, 5], "mechanism.right.similarity.sigma": [1.0, 2.0]}
    frame = sweep({"two": {"left": {"similarity": "additive"}, "right": {"similarity": "neg_l2"}}}, tune=tune, seeds=1)
    assert frame["n_tuned"].tolist() == [4]
    assert frame["mechanism.left.similarity.hidden"].isin([2, 5]).all()


def test_claims_select_by_what_is_inside(sweep, tmp_path):
    claim = {
        "say": "They are equal.",
        "metric": "alignment_accuracy",
        "equal": [{"mechanism.left.similarity": "dot"}, {"mechanism.left.similarity": "cosine"}],
        "within": 2.0,
    }
    two = {"two": {"left": {"similarity": ["dot", "cosine"]}, "right": {"similarity": "general"}}}
    sweep(two, claims=[claim])
    wrong = {**claim, "where": {"mechanism.left.normaliser": "sparsemax"}}
    with pytest.raises(ExperimentError, match=r"mechanism\.left\.normaliser is never 'sparsemax' in this experiment"):
        sweep(two, claims=[wrong])


def test_the_commands(sweep, plugin, tmp_path, monkeypatch, capsys):
    task = {"lookup": {**TINY["task"]["lookup"], "n_keys": [3, 4, 5, 6, 7]}}
    frame = sweep({"two": {"left": {"similarity": ["dot", "cosine"]}, "right": {"similarity": "general"}}}, task=task)
    monkeypatch.chdir(tmp_path)

    def command(*words):
        with pytest.raises(SystemExit) as done:
            main([*words, "--plugin", str(plugin)])
        out, err = capsys.readouterr()
        assert done.value.code == 0, err
        return out

    run = frame["run_id"][0]
    assert "alignment_accuracy" in command("run", run, "--store", "s.db")
    assert "left    a mechanism" in command("show", "two")
    assert "members = (" in command("show", "panel")
    assert "a list of a mechanism" in command("show", "panel")
    assert "Mechanism unless one is given: two: {left: {similarity: dot}, right: None}" in command("show", "alone")
    assert "cosine" in command("compare", "alignment_accuracy", "--by", "mechanism.left.similarity", "--store", "s.db")
    command("report", "--store", "s.db", "-o", "out.html")
    assert "mechanism.left.similarity" in (tmp_path / "out.html").read_text(encoding="utf-8")
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(TINY | {"mechanism": {"two": {"left": LEFT}}}), encoding="utf-8")
    planned = json.loads(command("plan", str(file), "--only", "mechanism.left.similarity.hidden=3", "--format", "json"))
    assert [row["mechanism.left.similarity"] for row in planned] == ["additive"] * 2


def test_a_run_is_known_by_what_is_in_it(plugin, tmp_path):
    def run_id(mechanism):
        ((_, (planned,)),) = plan_with_reasons([TINY | {"mechanism": mechanism, "seeds": 1}])
        return planned.run.run_id

    whole = {"similarity": "cosine", "normaliser": {"sparsemax": {}}, "mask": "all"}
    assert run_id({"two": {"left": {}}}) == run_id({"two": {"left": "single_head", "right": whole}})
    assert run_id("panel") == run_id({"panel": {"members": {"value": [{"similarity": "dot"}]}}})
    a, b = {"similarity": "dot"}, {"mask": {"value": ["causal", "window"]}}
    turned = {"mask": {"value": [{"window": {}}, "causal"]}}
    assert run_id({"two": {"left": a, "right": b}}) == run_id({"two": {"left": a, "right": turned}})
    softcap, bias = "softcap", {"bias": {"path": str(tmp_path / "b.npy")}}
    np.save(tmp_path / "b.npy", np.zeros(4))
    different = [
        {"two": {"left": a, "right": b}},
        {"two": {"left": b, "right": a}},
        {"panel": {"members": {"value": [a, b]}}},
        {"panel": {"members": {"value": [b, a]}}},
        {"panel": {"members": {"value": [a]}}},
        {"panel": {"members": {"value": [a, a]}}},
        {"crew": {"members": a}},
        {"crew": {"members": {"value": [a]}}},
        {"modifier": {"value": [softcap, bias]}},
        {"modifier": {"value": [bias, softcap]}},
        {"modifier": bias},
    ]
    assert len(set(map(run_id, different))) == len(different)
    assert run_id({"modifier": {"value": [bias]}}) == run_id({"modifier": bias})


def test_a_run_is_called_by_what_is_in_it(plugin):
    right = {"similarity": {"doubled": {"of": "dot"}}, "mask": {"value": ["window", "causal"]}}
    ((_, planned),) = plan_with_reasons([TINY | {"mechanism": {"two": {"left": "panel", "right": right}}, "seeds": 1}])
    (label,) = [p.run.label() for p in planned]
    assert label.replace("file:", "") == (
        "lookup · two(panel(dot softmax weighted_sum none all none), doubled softmax weighted_sum none causal+window none)"
        " · aligner · seed 0"
    )


@pytest.mark.parametrize("source", ["hook", "template"])
def test_the_example_on_the_page_of_hooks_is_configured_and_runs(tmp_path, source):
    if source == "hook":
        doc = inspect.cleandoc(hookspecs.attnlab_mechanisms.__doc__)
        code, name = textwrap.dedent(doc.partition("Example::\n")[2]), "averaged"
    else:
        code, name = template("mechanism", "mine")["attnlab-mine/attnlab_mine.py"], "mine"
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    configure(files=[str(tmp_path / "example.py")])
    try:
        mechanism = {name: {"first": [None, {"similarity": ["cosine"]}], "second": {name: {}}}}
        frame = attnlab.sweep(TINY | {"mechanism": mechanism}, executor="serial", store=tmp_path / "s.db", quiet=True)
        assert frame["status"].tolist() == ["ok"] * 4
        assert frame["mechanism.first"].fillna("none").tolist() == ["none", "none", "single_head", "single_head"]
        assert frame["mechanism.first.similarity"].tolist()[2:] == ["cosine"] * 2
        assert set(frame["mechanism.second"]) == {name}
        jsonschema = pytest.importorskip("jsonschema")
        assert jsonschema.Draft202012Validator(json_schema()).is_valid(TINY | {"mechanism": mechanism})
    finally:
        configure()


# -- in Python --------------------------------------------------------------------------------------------------------
def test_settings_that_hold_components_are_built_innermost_first(plugin):
    heads = attnlab.get("mechanism", "mh", mechanism={"similarity": {"doubled": {"of": "dot"}}})
    assert repr(heads.mechanism.similarity) == "Doubled(of=Dot())"
    panel = attnlab.get("mechanism", "panel", members=[{"two": {"left": {"mask": ["causal", "window"]}}}, heads])
    assert [type(m).__name__ for m in panel.members] == ["Two", "MH"]
    assert [m.name for m in panel.members[0].left.mask] == ["causal", "window"]
    with pytest.raises(UnknownName, match="mechanism 'two': left: mechanism 'single_head': similarity: no similarity"):
        attnlab.get("mechanism", "two", left={"similarity": "dott"})
    with pytest.raises(SettingError, match="mechanism 'two': left must be a mechanism; got 3"):
        attnlab.get("mechanism", "two", left=3)
    with pytest.raises(SettingError, match=r"mechanism 'two' needs the setting 'left' \(a mechanism\)"):
        attnlab.get("mechanism", "two")


def test_a_model_takes_a_composition_by_name_and_searches_inside_it(plugin):
    splits = attnlab.get("task", "lookup", n_keys=4, d=4, n_train=32).make(np.random.default_rng(0))
    aligner = attnlab.AttentionAligner({"two": {"left": {"similarity": "additive"}}}, steps=2, random_state=0)
    aligner.set_params(mechanism__left__normaliser="sparsemax", mechanism__right=attnlab.Mechanism("general"))
    assert aligner.get_params()["mechanism__left__similarity__hidden"] == 32
    copy = clone(aligner)
    assert repr(copy) == repr(aligner)
    assert copy.mechanism.left is not aligner.mechanism.left
    search = GridSearchCV(aligner, {"mechanism__left__similarity__hidden": [2, 3]}, cv=2)
    search.fit(splits.train)
    best = search.best_params_["mechanism__left__similarity__hidden"]
    assert search.best_estimator_.mechanism_.left.similarity.hidden == best
    assert len(search.cv_results_["params"]) == 2


def test_settings_in_a_list_are_reached_by_their_index(plugin):
    panel = attnlab.get("mechanism", "panel", members=[{"similarity": "additive"}, {"similarity": "dot"}])
    panel.set_params(members__0__similarity__hidden=3, members__1=attnlab.Mechanism("cosine"))
    assert panel.get_params()["members__0__similarity__hidden"] == 3
    assert panel.get_params()["members__1__similarity"] == "cosine"
    assert repr(clone(panel)) == repr(panel)
    with pytest.raises(SettingError, match="Panel: members is a list of 2: an item is named 0 to n - 1; got '2'"):
        panel.set_params(members__2__similarity="dot")
    with pytest.raises(SettingError, match="Two: right is None, which has no settings to change"):
        attnlab.get("mechanism", "two", left="single_head", right=None).set_params(right__mask="causal")


# -- mistakes, and what the schema says of them -----------------------------------------------------------------------
BAD = [
    ({"two": {"left": {"similarity": "dott"}}}, r"mechanism\.two\.left\.similarity: no similarity 'dott'"),
    ({"two": {"left": {"similarity": {"additive": {"hiden": 2}}}}}, "'additive' has no setting 'hiden'"),
    ({"two": {"left": 3}}, "a mechanism is a name, or .*; got 3"),
    ({"two": {"left": None}}, "a mechanism is a name, or .*; got None"),
    ({"two": {"left": []}}, "an empty list: give at least one mechanism"),
    ({"two": {"left": {"value": ["mh"]}}}, "unknown key 'value' in mechanism"),
    ({"panel": {"members": ["mh"]}}, r"a list of 1 to 3 mechanisms is written {value: \[...\]}; got 'mh'"),
    ({"panel": {"members": [["mh"]]}}, r"a list of 1 to 3 mechanisms is written {value: \[...\]}; got \['mh'\]"),
    ({"panel": {"members": {"value": "mh"}}}, "must be a list of 1 to 3 mechanisms; got 'mh'"),
    ({"panel": {"members": {"value": [3]}}}, "a mechanism is a name, or .*; got 3"),
    ({"panel": {"members": {"value": []}}}, "must be a list of 1 to 3 mechanisms; got 0"),
    ({"mh": {"mechanism": {"similarity": {"doubled": {"of": "softmax"}}}}}, "no similarity 'softmax'"),
]


@pytest.mark.parametrize(("mechanism", "said"), BAD)
def test_mistakes_inside_are_told_before_anything_runs(plugin, mechanism, said):
    with pytest.raises(ExperimentError, match=said):
        plan_with_reasons([TINY | {"mechanism": mechanism}])


def test_what_must_be_given_is_asked_for(plugin):
    with pytest.raises(ExperimentError, match=r"mechanism 'two' needs the setting 'left' \(a mechanism\)"):
        plan_with_reasons([TINY | {"mechanism": "two"}])


def test_the_schema_agrees(plugin):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    good = [
        {"two": {"left": LEFT, "right": [None, {"mask": {"value": ["causal", "window"]}}]}},
        {"panel": {"members": [{"value": ["mh", {"similarity": ["dot", "cosine"]}]}, {"value": ["two"]}]}},
        None,
    ]
    for mechanism in good:
        assert validator.is_valid(TINY | {"mechanism": mechanism}), mechanism
    for mechanism, _ in BAD:
        assert not validator.is_valid(TINY | {"mechanism": mechanism}), mechanism


# -- a model's own mechanism ------------------------------------------------------------------------------------------
def test_each_model_learns_its_own_mechanism_where_none_is_given(sweep):
    frame = sweep(None, model=["alone", {"aligner": {"steps": [2, 3]}}], seeds=1)
    assert frame["model"].tolist() == ["alone", "aligner", "aligner"]
    assert frame["mechanism"].tolist() == ["two", "single_head", "single_head"]
    assert frame["mechanism.left.similarity"].tolist()[:1] == ["dot"]
    assert frame["similarity"].tolist()[1:] == ["scaled_dot"] * 2


WORDS = {
    "task": {"toy_translation": {"n_train": 16, "n_validation": 4, "n_test": 4}},
    "model": [
        {"word_aligner": {"iterations": 1, "warm_up": 0}},
        {"seq2seq": {"embedding_dim": 4, "hidden_dim": 4, "steps": 2}},
        {"aligner": {"steps": 1}},
    ],
    "seeds": 1,
}


def test_attnlabs_models_learn_what_they_prefer(sweep):
    frame = sweep(None, **WORDS)
    assert frame[["model", "similarity", "position", "position.tension"]].fillna("").values.tolist() == [
        ["word_aligner", "uniform", "diagonal", "learned"],
        ["seq2seq", "additive", "none", ""],
        ["aligner", "scaled_dot", "none", ""],
    ]
    same = sweep({"similarity": "additive"}, **{**WORDS, "model": WORDS["model"][1]})
    assert same["run_id"].tolist() == frame["run_id"].tolist()[1:2]  # named or not, it is the same run


def test_what_each_model_prefers_is_tuned_and_claimed_about(sweep):
    claim = {"say": "One.", "metric": "alignment_accuracy", "where": {"similarity": "uniform"}, "at_least": 0.0}
    frame = sweep(None, **WORDS, tune={"similarity.hidden": [2, 3]}, claims=[claim])
    assert frame["n_tuned"].tolist() == [1, 2, 1]
    both = {**claim, "where": {"similarity": "uniform", "model": "seq2seq"}}
    with pytest.raises(ExperimentError, match="no planned run has all of similarity: 'uniform', model: 'seq2seq'"):
        sweep(None, **WORDS, claims=[both])


def test_a_grid_that_is_too_large_says_that_each_model_has_its_own_mechanism(sweep):
    with pytest.raises(ExperimentError, match=r"6 runs \(1 task x 3 model with its own mechanism x 2 seeds\)"):
        sweep(None, **{**WORDS, "seeds": 2}, limits={"runs": 5})


def test_attnlabs_own_parts_are_preferred_whatever_plugins_call_theirs(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN.replace('name = "doubled"', 'name = "additive"'), encoding="utf-8")
    configure(files=[str(tmp_path / "mine.py")])
    try:
        assert type(attnlab.AttentionSeq2Seq()._attending_with(None).parts().similarity).__module__ == (
            "attnlab.parts.similarities"
        )
        ((_, planned),) = plan_with_reasons([TINY | {"model": "seq2seq"}])
        assert {name for p in planned for name in p.run.spec["mechanism"]["single_head"]["similarity"]} == {"additive"}
    finally:
        configure()
