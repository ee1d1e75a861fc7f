"""Reading experiments: what is meant, and every mistake at its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from annotated_types import Gt
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab import registry
from attnlab.errors import ExperimentError
from attnlab.sweeps.experiment import source as located
from attnlab.sweeps.experiment.read import parse_memory, parse_time, read
from attnlab.sweeps.plan import plan

DIMENSION = """\
attnlab: 1
question: What is the divisor sqrt(d) for?
source: Vaswani et al. 2017, section 3.2.1
task:
  lookup: {d: 16, n_keys: 32, noise: 0.3}
mechanism:
  similarity: [dot, scaled_dot]
  normaliser: softmax
model:
  aligner: {projection: [16, 64, 256, 1024], learning_rate: [0.01, 0.1], steps: 300}
seeds: 5
metrics: [alignment_accuracy, steps_to_95, weight_entropy]
claims:
  - say: at a high learning rate wide dot products stop learning and scaled ones do not
    metric: alignment_accuracy
    better: {similarity: scaled_dot}
    than: {similarity: dot}
    where: {model.projection: 1024, model.learning_rate: 0.1}
    by: 0.3
  - say: at a low learning rate there is no difference, so what the divisor buys is a wider range of usable rates
    metric: alignment_accuracy
    equal: [{similarity: scaled_dot}, {similarity: dot}]
    within: 0.03
    where: {model.projection: [16, 64, 256], model.learning_rate: 0.01}
"""
SMALL = "attnlab: 1\nquestion: q\nmetrics: [aer]\nseeds: 2\n"


@pytest.fixture(autouse=True)
def strangers() -> Iterator[None]:
    """Third-party components: settings undeclared, declared, required, an object, and a wrapper."""
    before = dict(registry._registered)

    class Stretched(attnlab.Similarity):
        """Dot product, stretched."""

        name = "stretched"

        def __init__(self, scale=1.0, width: Annotated[int, Gt(0)] = 1, shape: tuple[int, ...] = (1, 2)):
            self.scale, self.width, self.shape = scale, width, shape

        def score(self, Q, K):
            return Q @ K.swapaxes(-1, -2) * self.scale

    class Needy(attnlab.Normaliser):
        """Needs a setting, and has an object for a default."""

        name = "needy"

        def __init__(self, power: float, how=math.exp):
            self.power, self.how = power, how

        def normalise(self, S):
            return S**self.power

    class Around(attnlab.MechanismComponent):
        """Another mechanism, several times."""

        name = "around"

        def __init__(self, times: int = 2, mechanism="single_head"):
            self.times, self.mechanism = times, mechanism

    for cls in (Stretched, Needy, Around):
        attnlab.register(cls)
    yield
    registry._registered.clear()
    registry._registered.update(before)


def problems(tmp_path: Path, text: str | bytes, name: str = "x.yaml") -> list[str]:
    """The problems of a file, without its directory."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ExperimentError) as caught:
        read(path)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


# -- what is meant ----------------------------------------------------------------------------------------------------
def test_one_metric_needs_no_list():
    base = {"attnlab": 1, "question": "?", "task": "lookup"}
    assert read({**base, "metrics": "aer"}).metrics == read({**base, "metrics": ["aer"]}).metrics == ("aer",)
    with pytest.raises(ExperimentError, match="did you mean aer"):
        read({**base, "metrics": "aerr"})


def test_the_example_of_the_design(tmp_path: Path) -> None:
    path = tmp_path / "dimension.yaml"
    path.write_text(DIMENSION)
    experiment = read(path)
    assert experiment.name == "dimension"
    assert experiment.path == path
    assert experiment.text == DIMENSION
    assert experiment.question == "What is the divisor sqrt(d) for?"
    assert experiment.metrics == ("alignment_accuracy", "steps_to_95", "weight_entropy")
    assert experiment.count == 2 * 4 * 2 * 5
    first, second = experiment.claims
    assert (first.form, first.by, first.where) == (
        "better",
        0.3,
        {"model.projection": 1024, "model.learning_rate": 0.1},
    )
    assert (second.form, second.within) == ("equal", 0.03)
    with pytest.raises(Exception, match="frozen"):
        experiment.name = "other"


def test_a_mapping_means_the_same_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SMALL + "task: {lookup: {d: [8, 16]}}\nmechanism: {similarity: dot}\n")
    mapping = {
        "attnlab": 1,
        "question": "q",
        "metrics": ("aer",),
        "seeds": np.int64(2),
        "task": {"lookup": {"d": np.array([8, 16])}},
        "mechanism": {"similarity": "dot"},
    }
    assert plan(read(mapping)) == plan(read(path))
    assert read(mapping).name == "experiment"
    assert read({**mapping, "name": "mine"}).name == "mine"


def test_what_may_be_left_out() -> None:
    experiment = read({"attnlab": 1, "question": "q", "task": "lookup"})
    assert experiment.seeds == (0, 1, 2, 3, 4)
    assert [c.name for c in experiment.mechanisms + experiment.models] == ["single_head", "aligner"]
    assert experiment.metrics == ("alignment_accuracy",)
    assert (experiment.limits.time, experiment.limits.memory, experiment.limits.runs) == (None, None, 10_000)


def test_the_number_of_runs_is_the_users_own() -> None:
    many = {"attnlab": 1, "question": "q", "task": "lookup", "seeds": 150_000, "limits": {"runs": 200_000}}
    assert read(many).count == 150_000


def test_yaml_1_2_numbers_and_words(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "attnlab: 1\nquestion: on\nsource: no\ntask: {lookup: {noise: 1e-3, d: 0x10, n_keys: 0o10}}\nmetrics: [aer]\n"
    )
    experiment = read(path)
    assert (experiment.question, experiment.source) == ("on", "no")
    assert dict(experiment.tasks[0].settings)["noise"] == (1e-3,)
    assert dict(experiment.tasks[0].settings)["d"] == (16,)
    assert dict(experiment.tasks[0].settings)["n_keys"] == (8,)


def test_anchors_and_aliases_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        SMALL + "task: lookup\nmechanism:\n  - &a {similarity: &s [dot, cosine]}\n  - {similarity: *s, mask: causal}\n"
    )
    assert read(path).count == 4 * 2


def test_an_alias_counts_as_much_as_what_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for times, fits in ((190, True), (200, False)):
        path.write_text(f"a: &a [{', '.join(50 * ['1'])}]\nb: [{', '.join(times * ['*a'])}]\n")
        if fits:
            assert located.Document(path).value["b"] == times * [50 * [1]]
        else:
            with pytest.raises(ExperimentError, match=r":2:\d+: more than 10000 values"):
                located.Document(path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("2m", 120), ("1h", 3600), ("500ms", 0.5), ("1.5 h", 5400), (7, 7), ("7", 7), (0.5, 0.5)],
)
def test_times(text: Any, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2**31), ("512MB", 512 * 10**6), ("1 KiB", 1024), (2**20, 2**20), ("100B", 100)]
)
def test_sizes(text: Any, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "soon", "-1s", 0, "0s", True, None, "5 parsecs", [1], "1e3s"])
def test_what_is_no_time_or_size(text: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_time(text)
    with pytest.raises(ValueError, match="must be"):
        parse_memory(text)


@pytest.mark.parametrize("value", [1, "2", 4096, 2**20 - 1])
def test_a_size_without_a_unit_is_not_taken_for_a_few_bytes(value: Any) -> None:
    with pytest.raises(ValueError, match="must have a unit, such as 2GiB"):
        parse_memory(value)


# -- mistakes, at their place -----------------------------------------------------------------------------------------
MISTAKES = [
    # fixed structure
    ("attnlab: 2\nquestion: q\ntask: lookup\n", r"x.yaml:1:10: .*version.* must be 1; got 2"),
    ("question: q\ntask: lookup\n", r"x.yaml:1:1: missing key 'attnlab'"),
    ("attnlab: 1\ntask: lookup\n", r"x.yaml:1:1: missing key 'question'"),
    ("attnlab: 1\nquestion: q\n", r"x.yaml:1:1: missing key 'task'"),
    (SMALL + "tsk: lookup\n", r"x.yaml:5:1: unknown key 'tsk' \(did you mean task\?\); allowed are attnlab, "),
    ("attnlab: 1\nquestion: 3\ntask: lookup\n", r"x.yaml:2:11: question must be a string; got 3"),
    (SMALL + "task: lookup\nname: [a]\n", r"x.yaml:6:7: name must be a string; got \['a'\]"),
    (SMALL + "task: lookup\nlimits: {tme: 1}\n", r"x.yaml:6:10: unknown key 'tme' \(did you mean time\?\); allowed are time"),
    (SMALL + "task: lookup\nlimits: {time: soon}\n", r"x.yaml:6:16: limits.time: must be a time .* got 'soon'"),
    (SMALL + "task: lookup\nlimits: {memory: 2 cups}\n", r"x.yaml:6:18: limits.memory: must be a size .* got '2 cups'"),
    (SMALL + "task: lookup\nlimits: [1]\n", r"x.yaml:6:9: limits must be .*; got \[1\]"),
    (SMALL + "task: lookup\nname: ../x\n", r"x.yaml:6:7: name: .* no /, .*got '../x'"),
    (SMALL + 'task: lookup\nname: "a\\tb"\n', r"x.yaml:6:7: name: .*no control character"),
    (SMALL + "task: lookup\nlimits: {runs: 0}\n", r"x.yaml:6:16: limits.runs must be greater than or equal to 1; got 0"),
    # metrics and seeds
    ("attnlab: 1\nquestion: q\ntask: lookup\nmetrics: [aer, gold_mas]\n", r"x.yaml:4:16: no metric 'gold_mas' \(did you mean gold_mass"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nmetrics: []\n", r"x.yaml:4:10: metrics must have at least 1 item"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nmetrics: 3\n", r"x.yaml:4:10: metrics must be a list; got 3"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: 0\n", r"x.yaml:4:8: seeds must be a number n, at least 1, .* got 0"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: yes\n", r"x.yaml:4:8: seeds must be a number n"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: [1, 2.5]\n", r"x.yaml:4:12: a seed is a whole number, at least 0; got 2.5"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: [1, 1]\n", r"x.yaml:4:12: seed 1 occurs twice"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: {data: 2, modell: 3}\n", r"x.yaml:4:18: unknown key 'modell' \(did you mean model\?\); allowed are data, model"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: {data: 2}\n", r"x.yaml:4:8: seeds that are set apart need both data and model, .*; model is missing"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: {data: 0, model: 2}\n", r"x.yaml:4:15: seeds.data must be a number n, at least 1, or a list of seeds; got 0"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: {data: 1, model: many}\n", r"x.yaml:4:25: seeds.model must be a number n, for 0..n-1, or a list of whole numbers; got 'many'"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: {data: 1, model: [3, 4, 3]}\n", r"x.yaml:4:32: seed 3 occurs twice"),
    (SMALL.replace("seeds: 2", "seeds: {data: 2, model: [7, 8]}") + "task: lookup\nlimits: {runs: 3}\n", r"x.yaml:6:16: 4 runs \(1 task x 1 mechanism x 1 model x 2 data seeds x 2 model seeds\) are more than 3"),
    # names and settings
    (SMALL + "task: lokup\n", r"x.yaml:5:7: no task 'lokup' \(did you mean lookup"),
    (SMALL + "task:\n  lokup: {d: 3}\n", r"x.yaml:6:3: no task 'lokup' \(did you mean lookup"),
    (SMALL + "task: {lookup: {n_kees: 3}}\n", r"x.yaml:5:17: task 'lookup' has no setting 'n_kees' \(did you mean n_keys"),
    (SMALL + "task: {lookup: {n_keys: -3}}\n", r"x.yaml:5:25: task 'lookup': n_keys must be int, >= 1; got -3"),
    (SMALL + "task: {lookup: {n_keys: [4, x]}}\n", r"x.yaml:5:29: task 'lookup': n_keys must be int, >= 1; got 'x'"),
    (SMALL + "task: {lookup: {n_keys: []}}\n", r"x.yaml:5:25: an empty list is no axis"),
    (SMALL + "task: {lookup: {n_keys: [[4]]}}\n", r"x.yaml:5:26: a list in a list: .*\{value: \[4\]\}"),
    (SMALL + "task: {lookup: {n_keys: {value: 2.5}}}\n", r"x.yaml:5:33: task 'lookup': n_keys must be int"),
    (SMALL + "task: {lookup: 3}\n", r"x.yaml:5:16: the settings of task 'lookup' must be a mapping; got 3"),
    (SMALL + "task: {lookup: {}, copy: {}}\n", r"x.yaml:5:7: a task is written .* one name; got 'lookup', 'copy' \(for several write a list"),
    (SMALL + "task: 3\n", r"x.yaml:5:7: a task is a name, or .*; got 3"),
    (SMALL + "task: []\n", r"x.yaml:5:7: an empty list"),
    (SMALL + "task: dot\n", r"x.yaml:5:7: no task 'dot'.* 'dot' is a similarity"),
    (SMALL + "task: nobody:lookup\n", r"x.yaml:5:7: no task 'nobody:lookup'; there is attnlab:lookup"),
    (SMALL + "task: lookup\nmechanism:\n  similarty: dot\n", r"x.yaml:7:3: unknown key 'similarty' in mechanism \(did you mean similarity"),
    (SMALL + "task: lookup\nmechanism: {similarty: dot, normalizer: softmax}\n", r"x.yaml:6:29: unknown key 'normalizer' .*mean normaliser"),
    (SMALL + "task: lookup\nmechanism:\n  mask: all\n  similarty: dot\n", r"x.yaml:8:3: unknown key 'similarty' in mechanism"),
    (SMALL + "task: lookup\nmechanism: [{similarity: dott}]\n", r"x.yaml:6:26: no similarity 'dott' \(did you mean dot"),
    (SMALL + "task: lookup\nmodel: {aligner: {mechanism: dot}}\n", r"x.yaml:6:19: 'mechanism' of model 'aligner' is filled in"),
    (SMALL + "task: lookup\nmodel: {aligner: {random_state: 1}}\n", r"x.yaml:6:19: 'random_state' of model 'aligner' is filled in"),
    # strangers
    (SMALL + "task: lookup\nmechanism: {similarity: {stretched: {scael: 1}}}\n", r"x.yaml:6:38: .* no setting 'scael' \(did you mean scale"),
    (SMALL + "task: lookup\nmechanism: {similarity: {stretched: {width: [1, 0]}}}\n", r"x.yaml:6:49: similarity 'stretched': width must be int, > 0; got 0"),
    (SMALL + "task: lookup\nmechanism: {normaliser: {needy: {how: exp}}}\n", r"x.yaml:6:26: normaliser 'needy' needs the setting 'power' \(float\)"),
    (SMALL + "task: lookup\nmechanism: {normaliser: {needy: {power: 1}}}\n", r"x.yaml:6:26: the default of 'how' of normaliser 'needy' is builtin_function"),
    (SMALL + "task: lookup\nmechanism:\n  around: {times: 2, mechanism: {similarity: dott}}\n", r"x.yaml:7:46: no similarity 'dott'"),
    # tune
    (SMALL + "task: lookup\ntune: {model.stepz: [1]}\n", r"x.yaml:6:8: nothing here has the setting 'model.stepz' \(did you mean model.steps"),
    (SMALL + "task: lookup\ntune: {model.steps: [1, -1]}\n", r"x.yaml:6:25: model 'aligner': steps must be int, >= 0 or None; got -1"),
    (SMALL + "task: lookup\ntune: {model.steps: 3}\n", r"x.yaml:6:21: tune.model.steps must be a list; got 3"),
    (SMALL + "task: lookup\ntune: {task.d: [3]}\n", r"x.yaml:6:8: task.d: the task cannot be tuned"),
    (SMALL + "task: lookup\ntune: {model.steps: [3]}\nmodel: {aligner: {steps: [1, 2]}}\n", r"x.yaml:7:19: model.steps is both set here and tuned \(line 6\)"),
    # YAML
    (SMALL + "task: lookup\ntask: copy\n", r"x.yaml:6:1: duplicate key 'task': line 5 has it already"),
    (SMALL + "task: {lookup: {d: 3, d: 4}}\n", r"x.yaml:5:23: duplicate key 'd'"),
    (SMALL + "task: {lookup: {noise: .nan}}\n", r"x.yaml:5:24: must be a finite number; got nan"),
    (SMALL + "task: {lookup: {noise: -.inf}}\n", r"x.yaml:5:24: must be a finite number; got -inf"),
    (SMALL + "task: {lookup: {noise: 1e999}}\n", r"x.yaml:5:24: must be a finite number"),
    (SMALL + "task: {lookup: {d: 99999999999999999999}}\n", r"x.yaml:5:20: the number is too large"),
    (SMALL + "task: {lookup: {d: 1" + "0" * 5000 + "}}\n", r"x.yaml:5:20: a number of 5001 digits is too large"),
    (SMALL + "task: {lookup: {d: -_}}\n", r"x.yaml:5:20: -_ is no number"),
    (SMALL + "task: {lookup: {d: [1, 0x_, ._]}}\n", r"x.yaml:5:24: 0x_ is no number"),
    (SMALL + "source: 2020-01-01\ntask: lookup\n", r"x.yaml:5:9: 2020-01-01 is a date in YAML; .*quotes"),
    (SMALL + "task: !!python/object:os.system lookup\n", r"x.yaml:5:7: tags such as .* are not used"),
    (SMALL + "task: lookup\nmodel: {<<: {a: 1}}\n", r"x.yaml:6:9: merge keys"),
    (SMALL + "task: lookup\n1: 2\n[a]: 3\n", r"x.yaml:7:1: a key must be a word"),
    (SMALL + "task: *a\n", r"x.yaml:5:7: \*a refers to nothing above it"),
    (SMALL + "task: &a [*a]\n", r"x.yaml:5:11: \*a refers to nothing above it"),
    (SMALL + "task:\n\tlookup: {}\n", r"x.yaml:6:1: not YAML: .*spaces, not tabs"),
    (SMALL + "task: [lookup\n", r"x.yaml:6:1: not YAML: "),
    (SMALL + "task: lookup\n---\nattnlab: 1\n", r"x.yaml:6:1: a second document"),
    ("%YAML 1.1\n---\n" + SMALL, r"x.yaml:1:1: leave the % lines out"),
    ("- attnlab: 1\n- task: lookup\n", r"x.yaml:1:1: an experiment is a mapping .*; got a list of 2"),
    ("just words\n", r"x.yaml:1:1: an experiment is a mapping .*; got 'just words'"),
    ("", r"x.yaml:1:1: the file is empty"),
    ("# only a comment\n", r"x.yaml:1:1: the file is empty"),
    (b"attnlab: 1\nquestion: caf\xe9\n", r"x.yaml:2:14: is not UTF-8: byte 0xe9"),
    ("attnlab: 1\n".encode("utf-16"), r"x.yaml:1:1: is not UTF-8"),
    (b"attnlab: 1\nquestion: a\x00b\n", r"x.yaml:2:12: not YAML: the character"),
    ('attnlab: 1\nquestion: "\\ud800"\ntask: lookup\n', r"x.yaml:2:11: holds half of a surrogate pair"),
    ("a: " + "[" * 100, r"x.yaml:1:28: nested deeper than 24 levels"),
    ("a: &a [1,2,3,4,5,6,7,8]\n" + "".join(f"b{i}: &{'bcdefghij'[i]} [{','.join(['*' + 'abcdefghij'[i]] * 9)}]\n" for i in range(9)), r"x.yaml:\d:\d+: more than 10000 values"),
    ("#" * (located.MAX_BYTES + 1), r"x.yaml:1:1: is larger than 64 KiB"),
    # nothing where a part should be, masks that combine, settings that are lists
    (SMALL + "task: lookup\nmechanism:\n  normaliser:\n", r"x.yaml:\d:\d+: a normaliser is a name, or .*; got None"),
    (SMALL + "task: lookup\nmechanism: {similarity: [dot, null]}\n", r"x.yaml:6:31: a similarity is a name, or .*; got None"),
    (SMALL + "task: lookup\nmechanism: {mask: {value: []}}\n", r"x.yaml:6:\d+: an empty list combines no masks"),
    (SMALL + "task: lookup\nmechanism: {mask: [[causal, causl]]}\n", r"x.yaml:6:29: no mask 'causl' \(did you mean causal"),
    (SMALL + "task: lookup\nmechanism: {mask: {value: [causal, causal]}}\n", r"x.yaml:6:36: the mask 'causal' occurs twice"),
    (SMALL + "task: lookup\nmechanism: {mask: [[causal, [window]]]}\n", r"x.yaml:6:29: a mask is a name, or .*; got \['window'\]"),
    (SMALL + "task: {max_retrieval: {longer: [64, 128]}}\n", r"x.yaml:5:32: longer of task 'max_retrieval' is a list itself, and a list is an axis: write \{value: \[64, 128\]\}$"),
    (SMALL + "task: {max_retrieval: {longer: 64}}\n", r"x.yaml:5:32: task 'max_retrieval': longer must be a list of int, >= 1; got 64$"),
    # too many runs
    (SMALL + "task: {lookup: {d: [1, 2, 3]}}\nlimits: {runs: 5}\n", r"x.yaml:6:16: 6 runs \(3 task x 1 mechanism x 1 model x 2 seeds\) are more than 5"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: 10001\n", r"x.yaml:1:1: 10001 runs .* are more than 10000, which limits.runs allows; .* `limits: {runs: 10001}`"),
    ("attnlab: 1\nquestion: q\ntask: lookup\nseeds: 9000000000000000000\n", r"x.yaml:1:1: 9000000000000000000 runs .* are more than 10000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pattern"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_reported_at_its_place(tmp_path: Path, text: str | bytes, pattern: str) -> None:
    found = problems(tmp_path, text)
    assert any(re.match(pattern, line) for line in found), "\n".join(found)


CLAIMS = [
    ("{metric: aer, at_least: 0}", r"x.yaml:9:5: missing key 'say'"),
    ("{say: s, metric: aer, at_leest: 0}", r"x.yaml:9:27: unknown key 'at_leest' \(did you mean at_least"),
    ("{say: s, metric: aer}", r"x.yaml:9:5: claims.0: a claim has exactly one of better, .* got none"),
    ("{say: s, metric: aer, at_least: 0, at_most: 1}", r"x.yaml:9:5: .* got at_least and at_most"),
    ("{say: s, metric: aer, better: {similarity: dot}}", r"x.yaml:9:5: .*'better' needs 'than' beside it"),
    ("{say: s, metric: aer, equal: [{similarity: dot}, {similarity: cosine}]}", r"x.yaml:9:5: .*'equal' needs 'within'"),
    ("{say: s, metric: aer, equal: [{similarity: dot}], within: 1}", r"x.yaml:9:34: .*at least 2 items"),
    ("{say: s, metric: aer, at_least: 0, by: 1}", r"x.yaml:9:5: .*'by' belongs to 'better' and 'than'"),
    ("{say: s, metric: aer, at_least: x}", r"x.yaml:9:37: claims.0.at_least must be a number; got 'x'"),
    ("{say: s, at_least: 0}", r"x.yaml:9:5: .*missing key 'metric'"),
    ("{say: s, metric: aerr, at_least: 0}", r"x.yaml:9:22: no metric 'aerr' \(did you mean aer"),
    ("{say: s, metric: aer, at_most: 0, exact: true}", r"x.yaml:9:5: .*an exact claim cannot be otherwise; add 'why'"),
    ("{say: s, metric: aer, at_most: 0, exact: yes, why: w}", r"x.yaml:9:46: claims.0.exact must be"),
    ("{say: s, correlation: [aer, gold_mass], exact: true, why: w}", r"x.yaml:9:5: .*a correlation is estimated"),
    ("{say: s, metric: aer, correlation: [aer, aer]}", r"x.yaml:9:5: .*leave 'metric' out"),
    ("{say: s, correlation: [aer]}", r"x.yaml:9:27: .*at least 2 items"),
    ("{say: s, correlation: [aer, nix]}", r"x.yaml:9:33: no metric 'nix'"),
    ("{say: s, correlation: [aer, gold_mass], at_least: 2}", r"x.yaml:9:5: .*between -1 and 1"),
    ("{say: s, metric: aer, at_least: 0, where: {simlarity: dot}}", r"x.yaml:9:48: unknown key 'simlarity' \(did you mean similarity"),
    ("{say: s, metric: aer, at_least: 0, where: {similarity: additive}}", r"x.yaml:9:60: similarity is never 'additive' .*; it is dot, cosine"),
    ("{say: s, metric: aer, at_least: 0, where: {task.d: [8, 9]}}", r"x.yaml:9:60: task.d is never 9 in this experiment; it is 8, 16"),
    ("{say: s, metric: aer, at_least: 0, where: {task.d: []}}", r"x.yaml:9:56: an empty list fits no run"),
    ("{say: s, metric: aer, at_least: 0, where: {seed: true}}", r"x.yaml:9:54: seed is never True"),
    ("{say: s, metric: aer, at_least: 0, where: {model.steps: 3}}", r"x.yaml:9:48: model.steps is tuned"),
    ("{say: s, metric: aer, at_least: 0, where: {task: copy, task.d: 8}}", r"x.yaml:9:47: no planned run has all of task: 'copy', task.d: 8"),
    ("{say: s, metric: aer, better: {similarity: dot}, than: {similarity: cosine}, where: {similarity: dot}}", r"x.yaml:9:36: similarity is in 'where' as well"),
    ("{say: s, metric: aer, better: {similarity: dot}, than: {similarity: dot}}", r"x.yaml:9:60: both sides select the same runs"),
    ("{say: s, metric: aer, equal: [{similarity: dot}, {similarity: [attnlab:dot]}], within: 1}", r"x.yaml:9:54: both sides select the same runs"),
    ("{say: s, metric: aer, better: {test: [a, b]}, than: {test: [b, a]}}", r"x.yaml:9:57: both sides select the same runs"),
]  # fmt: skip
CLAIMED = SMALL + (
    "task: [{lookup: {d: [8, 16]}}, {copy: {d: 16}}]\nmechanism: {similarity: [dot, cosine]}\ntune: {model.steps: [3, 5]}\nclaims:\n"
)


@pytest.mark.parametrize(("claim", "pattern"), CLAIMS, ids=range(len(CLAIMS)))
def test_a_mistaken_claim_is_reported_at_its_place(tmp_path: Path, claim: str, pattern: str) -> None:
    found = problems(tmp_path, CLAIMED + f"  - {claim}\n")
    assert any(re.match(pattern, line) for line in found), "\n".join(found)


@pytest.mark.parametrize(
    "claim",
    [
        "{say: s, metric: aer, better: {similarity: dot}, than: {similarity: cosine}}",
        "{say: s, metric: aer, equal: [{similarity: dot}, {similarity: attnlab:cosine}], within: 0.1, where: {task: copy}}",
        "{say: s, metric: aer, at_most: 1, where: {test: anything, seed: [0, 1], task.d: 16.0}}",
        "{say: s, metric: aer, better: {test: far}, than: {test: near}}",
        "{say: s, metric: aer, equal: [{similarity: dot}, {similarity: cosine}], exact: true, why: w}",
        "{say: s, correlation: [aer, gold_mass], at_most: -0.5}",
        "{say: s, correlation: [aer, gold_mass]}",
        "{say: s, metric: aer, at_least: 0.5, where: {model.projection: null}}",
    ],
)
def test_claims_that_can_be_judged(tmp_path: Path, claim: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(CLAIMED + f"  - {claim}\n")
    (read_claim,) = read(path).claims
    assert read_claim.form in claim


def test_all_problems_at_once_in_order(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "attnlab: 1\nquestin: q\ntask: lokup\nmechanism: {similarity: dott, normaliser: softmax}\nseeds: -1\nmetrics: [nix]\n",
    )
    assert [re.match(r"x\.yaml:(\d+):", line)[1] for line in found] == ["1", "2", "3", "4", "5"]  # type: ignore[index]


def test_the_problems_of_claims_stand_among_all_others(tmp_path: Path) -> None:
    claim = "claims: [{say: s, metric: nix, at_least: 0, where: {similarty: dot}}]\n"
    whole = problems(tmp_path, "attnlab: 1\nquestion: q\ntask: lookup\nmetrics: [nix]\n" + claim)
    assert [re.match(r"x\.yaml:(\d+):", line)[1] for line in whole] == ["4", "5", "5"]  # type: ignore[index]
    assert "unknown key 'similarty' (did you mean similarity" in whole[2]
    broken = problems(tmp_path, "attnlab: 1\nquestion: q\ntask: lokup\n" + claim)
    assert [line.split(": ")[1][:12] for line in broken] == ["no task 'lok", "no metric 'n"], "no plan, no selections"


def test_an_endless_list_of_problems_is_cut(tmp_path: Path) -> None:
    found = problems(tmp_path, "".join(f"k{i}: 1\n" for i in range(500)))
    assert len(found) == 51
    assert "stopped after 50 problems" in found[-1] + found[-2]


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "no.yaml", "no such file"),
        (tmp_path, "is a directory"),
        ("a\0b", "cannot be read|no such"),
    ]:
        with pytest.raises(ExperimentError, match=rf":1:1: .*({said})"):
            read(path)
    with pytest.raises(ExperimentError, match="a path or a mapping; got int"):
        read(3)  # type: ignore[arg-type]


def test_problems_of_a_mapping_stand_at_their_dotted_path() -> None:
    with pytest.raises(ExperimentError) as caught:
        read(
            {
                "attnlab": 1,
                "question": date(2020, 1, 1),
                "task": {"lookup": {"noise": float("nan"), 3: 4}},
                "mechanism": {"similarity": math.exp},
            }
        )
    lines = str(caught.value).splitlines()
    assert "experiment: question: a date is no value of an experiment; got 2020-01-01" in lines
    assert "experiment: task.lookup.noise: must be a finite number; got nan" in lines
    assert "experiment: task.lookup: a key must be a string; got 3" in lines
    assert any(line.startswith("experiment: mechanism.similarity: must be a name, a number") for line in lines)
    with pytest.raises(ExperimentError, match=r"experiment: mechanism\.similarity\.stretched\.width: .* > 0; got 0"):
        read(
            {"attnlab": 1, "question": "q", "task": "lookup", "mechanism": {"similarity": {"stretched": {"width": 0}}}}
        )
    endless: dict[str, Any] = {}
    endless["task"] = endless
    with pytest.raises(ExperimentError, match="nested deeper"):
        read(endless)


def test_a_path_is_found_beside_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "x.npz").write_bytes(b"one")
    (folder / "x.yaml").write_text(SMALL + "task: {arrays: {path: x.npz}}\n")
    monkeypatch.chdir(tmp_path)
    first = plan(read(folder / "x.yaml"))[0]
    assert first.spec["task"]["arrays"]["path"] == str(folder / "x.npz")
    assert list(first.spec["inputs"]) == [str(folder / "x.npz")]
    (folder / "x.npz").write_bytes(b"two")
    assert plan(read(folder / "x.yaml"))[0].run_id != first.run_id
    (folder / "x.npz").unlink()
    with pytest.raises(ExperimentError, match=r"x.yaml:5:23: task 'arrays': path: no such file: x.npz"):
        read(folder / "x.yaml")


# -- five hundred mutated files -----------------------------------------------------------------------------------------
_BITS = [
    "[", "]", "{", "}", "&a ", "*a", "!!x ", "'", '"', "\n", "\t", "\r", ": ", "- ", "? ", "| ", "> ", "%", "#", "@", "`", "\0",
    "\x85", "\u2028", "\ufeff", "é", "1e999", ".nan", "2020-01-01", "<<: ", "null", "0x", "-", "9" * 30, "---\n", "...\n",
    '"\\ud800"', "10000000", "{value: ", "[" * 50, "{a: " * 50, "- " * 50, "  ", "similarity", "task.d", "[]", "{}",
]  # fmt: skip


def _twisted(draw: st.DrawFn, text: str) -> str:
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, max(len(text) - 1, 0)))
        lines = text.split("\n")
        i, j = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match draw(st.sampled_from(["insert", "delete", "change", "swap", "repeat", "drop", "words", "bomb"])):
            case "insert":
                text = text[:where] + draw(st.sampled_from(_BITS)) + text[where:]
            case "delete":
                text = text[:where] + text[where + draw(st.integers(1, 20)) :]
            case "change":
                text = text[:where] + draw(st.characters(codec="utf-8")) + text[where + 1 :]
            case "swap":
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case "repeat":
                text = "\n".join([*lines[:i], lines[j], *lines[i:]])
            case "drop":
                text = "\n".join(lines[:i] + lines[i + 1 :])
            case "words":
                words = re.findall(r"\w+", text) or ["x"]
                text = text.replace(draw(st.sampled_from(words)), draw(st.sampled_from(words)), 1)
            case "bomb":
                text += "\nz0: &z0 [1,1,1,1,1,1,1,1]" + "".join(
                    f"\nz{n + 1}: &z{n + 1} [{','.join([f'*z{n}'] * 8)}]" for n in range(draw(st.integers(1, 12)))
                )
    return text


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    raw = _twisted(draw, draw(st.sampled_from([DIMENSION, CLAIMED + f"  - {CLAIMS[-1][0]}\n"]))).encode(
        "utf-8", "replace"
    )
    if draw(st.integers(0, 9)) == 0:
        where = draw(st.integers(0, len(raw)))
        raw = raw[:where] + draw(st.binary(min_size=1, max_size=4)) + raw[where:]
    return raw


@settings(max_examples=500)
@given(raw=mutated())
def test_a_mutated_file_is_valid_or_refused_with_its_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(raw)
    try:
        assert read(path).count >= 1
    except ExperimentError as error:
        lines = str(error).splitlines()
        assert lines
        for line in lines:
            assert re.match(rf"{re.escape(str(path))}:\d+:\d+: \S", line), line
