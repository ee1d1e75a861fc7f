"""Sweeps with plugins of others: executors from the page of hooks, metrics that write, names that clash, code that changes."""

from __future__ import annotations

import inspect
import math
import textwrap
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import attnlab
from attnlab import hookspecs
from attnlab.errors import AmbiguousName, ExperimentError, SettingError
from attnlab.plugins import configure
from attnlab.sweeps.measuring import number_of
from attnlab.sweeps.pipeline import plan_with_reasons

TINY = {
    "attnlab": 1,
    "question": "Does it work with what others wrote?",
    "name": "tiny",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
    "model": {"aligner": {"projection": 4, "steps": 3}},
    "seeds": 2,
}
METRIC = '''
from attnlab import Metric, hookimpl


class Mine(Metric):
    """A plugin's metric."""

    name = "{name}"
    direction = "up"

    def measure(self, data, W, Y):
        {body}


@hookimpl
def attnlab_metrics():
    return [Mine]
'''
SOFTMAX = '''
from attnlab import Normaliser, hookimpl, namespace


class Mine(Normaliser):
    """A softmax of somebody else."""

    name = "softmax"

    def normalise(self, S, n_allowed):
        xp = namespace(S)
        return xp.maximum(S, xp.zeros_like(S)) / n_allowed


@hookimpl
def attnlab_normalisers():
    return [Mine]
'''


@pytest.fixture
def plugin(tmp_path):
    """Load a source as the plugin file of a name."""

    def load(name, source):
        path = tmp_path / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        configure(files=[str(path)])

    yield load
    configure()


@pytest.fixture
def sweep(tmp_path):
    def run(*experiments, **options):
        options = {"executor": "serial", "store": tmp_path / "s.db", "quiet": True, **options}
        return attnlab.sweep(*(TINY | one for one in experiments), **options)

    return run


def example(hook):
    doc = inspect.cleandoc(getattr(hookspecs, hook).__doc__)
    return textwrap.dedent(doc.partition("Example::\n")[2])


# -- executors --------------------------------------------------------------------------------------------------------
def test_the_executor_of_the_page_of_hooks_carries_out_a_sweep(plugin, sweep):
    plugin("mine", example("attnlab_executors"))
    frame = sweep({}, executor="one_by_one")
    assert frame["status"].tolist() == ["ok", "ok"]


@pytest.mark.parametrize("executor", [3, {}, {"serial": {}, "local": {}}, ["serial"]])
def test_what_names_no_executor_is_refused(sweep, executor):
    with pytest.raises(SettingError, match="executor must be a name, or"):
        sweep({}, executor=executor)


def test_a_files_limits_are_left_out_where_the_executor_keeps_none(sweep, capsys, tmp_path):
    frame = sweep({}, {"name": "limited", "limits": {"time": "5s"}, "seeds": 3})
    assert frame.groupby("experiment").size().to_dict() == {"tiny": 2, "limited": 3}
    assert (
        "limited: the executor 'serial' does not keep limits: time_limit of the file is left out"
        in capsys.readouterr().err
    )
    assert (frame["status"] == "ok").all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_limit": "5s"}, "'serial' has no time_limit to set, so --time says nothing to it"),
        ({"memory_limit": "1GiB"}, "'serial' has no memory_limit to set, so --memory says"),
        ({"jobs": 2}, "'serial' has no jobs to set, so --jobs says"),
    ],
)
def test_a_limit_that_is_asked_for_and_cannot_be_kept_is_refused_before_anything_runs(sweep, tmp_path, options, said):
    with pytest.raises(SettingError, match=said):
        sweep({}, **options)
    assert not (tmp_path / "s.db").exists()


# -- metrics ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("body", ["W[W < 0.999] = 0", "Y[:] = 0", "data.gold[:] = 0", "data.K *= 2"])
def test_a_metric_that_writes_spoils_no_other(plugin, sweep, body):
    sound = sweep({})
    plugin("evil", METRIC.format(name="sharp", body=f"{body}\n        return float(W.mean())"))
    spoilt = sweep({"metrics": ["alignment_accuracy", "sharp"]}, rerun="all")
    for metric in ("alignment_accuracy", "weight_entropy", "context_error", "gold_mass"):
        assert spoilt[metric].tolist() == sound[metric].tolist(), metric
    assert spoilt["sharp"].isna().all()
    assert spoilt["notes"].str.contains("metric sharp raised ValueError").all()


def test_a_part_that_writes_into_the_examples_fails_its_run(sweep, plugin):
    plugin("evil", example("attnlab_similarities").replace("xp = namespace(Q, K)", "K[...] = 0; xp = namespace(Q, K)"))
    frame = sweep({"mechanism": {"similarity": ["laplace", "dot"]}, "model": {"aligner": {"steps": 0}}})
    assert frame.groupby("similarity")["status"].unique().map(list).to_dict() == {"dot": ["ok"], "laplace": ["failed"]}


def test_an_infinite_metric_is_told(plugin, sweep):
    plugin("mine", METRIC.format(name="endless", body='return float("inf")'))
    assert (
        sweep({"metrics": ["endless"]})["notes"]
        .str.contains("metric endless is infinite, and counts as no value")
        .all()
    )


class Floats:
    def __float__(self):
        return 0.5


@pytest.mark.parametrize(
    ("given", "number"),
    [
        *(
            (kind(1), 1.0)
            for kind in (int, float, np.int8, np.uint64, np.float16, np.float32, np.longdouble, Decimal, Fraction)
        ),
        *((kind(True), 1.0) for kind in (bool, np.bool_)),
        *((np.array(1, kind), 1.0) for kind in (bool, int, "u1", "f2", "f4", "g")),
        (math.inf, math.inf),
        *((nan, math.nan) for nan in (math.nan, np.float32("nan"), np.array(np.nan), np.ma.masked, Decimal("nan"))),
    ],
    ids=repr,
)
def test_a_metric_gives_one_real_number(given, number):
    np.testing.assert_equal(number_of(given), number)


@pytest.mark.parametrize(
    "given",
    [
        *("0.5", "nan", b"0.5", bytearray(b"1"), np.str_("0.5"), np.array("0.5"), np.bytes_(b"1"), np.array(b"1")),
        *(
            None,
            1j,
            np.complex64(1),
            np.array(1 + 0j),
            np.array(0.5, object),
            Floats(),
            float,
            [0.5],
            (0.5,),
            {},
            {0.5},
        ),
        *(
            np.array([0.5]),
            np.array([[1]]),
            np.timedelta64(1, "s"),
            np.array(1, "m8[s]"),
            np.datetime64("2020"),
            10**400,
        ),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_number_is_no_value_of_a_metric(given):
    with pytest.raises((TypeError, OverflowError)):
        number_of(given)


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_numbers_of_other_libraries_are_numbers(library):
    xp = pytest.importorskip(library)
    for dtype in (xp.float32, xp.bfloat16, xp.int32, xp.bool if library == "torch" else xp.bool_):
        assert number_of((xp.tensor if library == "torch" else xp.asarray)(1, dtype=dtype)) == 1.0
    with pytest.raises(TypeError):
        number_of((xp.tensor if library == "torch" else xp.asarray)([1.0]))


def test_text_that_looks_like_a_number_is_told(plugin, sweep):
    plugin("mine", METRIC.format(name="text", body="return '0.5'"))
    found = sweep({"metrics": ["text"]})
    assert found["text"].isna().all()
    assert found["notes"].str.contains("metric text raised TypeError: measure must give a number; got str '0.5'").all()


def test_metrics_may_be_named_with_their_distribution(plugin, sweep):
    plugin("brc", METRIC.format(name="alignment_accuracy", body="return 0.25"))
    frame = sweep({"metrics": ["attnlab:alignment_accuracy", "file:alignment_accuracy", "attnlab:aer"]})
    ((experiment, _),) = plan_with_reasons(
        [
            TINY
            | {
                "metrics": ["attnlab:alignment_accuracy", "file:alignment_accuracy", "attnlab:aer"],
                "claims": [
                    {"say": "a", "metric": "attnlab:alignment_accuracy", "at_least": 0.0},
                    {"say": "b", "correlation": ["file:alignment_accuracy", "attnlab:aer"], "at_least": 0.0},
                ],
            }
        ],
        "none.db",
    )
    assert experiment.metrics == ("alignment_accuracy", "file:alignment_accuracy", "aer")
    assert [claim.metrics for claim in experiment.claims] == [
        ("alignment_accuracy",),
        ("file:alignment_accuracy", "aer"),
    ]
    assert set(experiment.metrics) <= set(frame.columns)
    assert (frame["file:alignment_accuracy"] == 0.25).all()
    verdicts = attnlab.check_claims(frame, experiment)
    assert verdicts["effect"][0] == pytest.approx(frame["alignment_accuracy"].mean())
    with pytest.raises(ExperimentError, match="is given by both file and attnlab"):
        sweep({"metrics": ["alignment_accuracy"]})


def test_an_edited_metric_is_measured_again_where_it_is_shown(plugin, sweep, tmp_path):
    shown = {"metrics": ["alignment_accuracy", "mine"]}
    plugin("mine", METRIC.format(name="mine", body="return 1.0"))
    sweep({}, shown | {"name": "shows", "seeds": 1})
    plugin("mine", METRIC.format(name="mine", body="return 2.0"))
    ((_, hidden), (_, planned)) = plan_with_reasons([TINY, TINY | shown | {"name": "shows"}], tmp_path / "s.db")
    assert {p.reason for p in hidden} == {"done"}, "an experiment that does not show it has nothing to do"
    assert [p.reason for p in planned] == ["stale: metric mine changed", "missing: metric mine was not measured"]
    assert sweep(shown)["mine"].tolist() == [2.0, 2.0]
    plugin("mine", METRIC.format(name="mine", body="return 2.0  # the same"))
    assert {p.action for _, ps in plan_with_reasons([TINY | shown], tmp_path / "s.db") for p in ps} == {"keep"}
    plugin("mine", METRIC.format(name="fresh", body="return 1.0"))
    added = TINY | {"metrics": ["fresh"]}
    ((_, planned),) = plan_with_reasons([added], tmp_path / "s.db")
    assert {(p.action, p.reason) for p in planned} == {("run", "missing: metric fresh was not measured")}
    assert sweep({"metrics": ["fresh"]})["fresh"].tolist() == [1.0, 1.0]
    assert {p.action for _, ps in plan_with_reasons([added], tmp_path / "s.db") for p in ps} == {"keep"}


# -- names that clash -------------------------------------------------------------------------------------------------
def test_a_clash_stops_only_what_names_its_parts_bare(plugin, sweep, tmp_path):
    before = sweep({})
    plugin("brc", SOFTMAX)
    after = sweep({}, {"name": "named", "mechanism": {"normaliser": ["attnlab:softmax", "file:softmax"]}}, rerun="all")
    assert (after["status"] == "ok").all(), after["reason"].tolist()
    assert after[after["experiment"] == "tiny"]["run_id"].tolist() == before["run_id"].tolist()
    same = [*before["gold_mass"]]
    assert after[after["experiment"] == "tiny"]["gold_mass"].tolist() == same
    assert after[after["experiment"] == "named"]["normaliser"].tolist() == ["softmax"] * 2 + ["file:softmax"] * 2
    assert after[after["experiment"] == "named"]["gold_mass"].tolist()[:2] == same
    assert after[after["experiment"] == "named"]["gold_mass"].tolist()[2:] != same
    with pytest.raises(ExperimentError, match="is given by both file and attnlab"):
        sweep({"mechanism": {"normaliser": "softmax"}})


def test_a_clash_leaves_the_defaults_as_they_are(plugin):
    Q, K, V = (np.random.default_rng(i).normal(size=(3, 4)) for i in range(3))
    attend = [attnlab.attend(Q, K, V), attnlab.attention_weights(Q, K)]
    mechanism = attnlab.Mechanism()
    plugin("brc", SOFTMAX)
    assert (attnlab.attend(Q, K, V) == attend[0]).all()
    assert (attnlab.attention_weights(Q, K) == attend[1]).all()
    assert (mechanism.set_params(similarity="dot").weights({}, Q, K) != attend[1]).any()
    with pytest.raises(AmbiguousName):
        attnlab.attend(Q, K, V, normaliser="softmax")


# -- what the results say ---------------------------------------------------------------------------------------------
def test_masks_that_combine_forbid_what_either_forbids(sweep, tmp_path):
    task = {"copy": {"length": 5, "n_train": 8, "n_validation": 4, "n_test": 4}}
    masks = ["causal", {"window": {"width": 1}}, ["causal", {"window": {"width": 1}}]]
    frame = sweep({"task": task, "mechanism": {"mask": masks}, "seeds": 1})
    weights = {
        row.mask: attnlab.load_run(row.run_id, tmp_path / "s.db").arrays["test.test.W"] > 0
        for row in frame.itertuples()
    }
    assert (weights["causal+window"] == (weights["causal"] & weights["window"])).all()
    assert weights["causal+window"].sum() < min(weights["causal"].sum(), weights["window"].sum())
    assert frame["mask.window.width"].dropna().tolist() == [1.0]


NO_TESTS = """
import numpy as np
from attnlab import AlignmentData, Splits, Task, hookimpl


class Untested(Task):
    \"\"\"Nothing to test on.\"\"\"

    name = "untested"

    def make(self, rng):
        def draw(n):
            K = rng.normal(size=(n, 3, 2))
            return AlignmentData(K, K, K, gold=np.eye(3)[None].repeat(n, 0), target=K)

        return Splits(draw(8), draw(4), {"test": draw(4), "long": draw(0)})


@hookimpl
def attnlab_tasks():
    return [Untested]
"""


def test_runs_that_failed_are_rows_of_the_tidy_table_too(plugin, sweep, tmp_path):
    plugin("untested", NO_TESTS)
    frame = sweep({"task": "untested"})
    assert frame["status"].tolist() == ["failed"] * 2
    assert frame["reason"].str.contains("gives no examples to test on: long has 0").all()
    tidy = attnlab.load_results(tmp_path / "s.db", tidy=True)
    assert tidy["run_id"].tolist() == frame["run_id"].tolist()
    assert tidy["status"].tolist() == ["failed"] * 2
    assert tidy["value"].isna().all()
