"""The JSON Schema of an experiment: what it knows, and that it agrees with the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnlab import registry
from attnlab.errors import ExperimentError
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.experiment.schema import json_schema
from attnlab.sweeps.experiment.source import Document

GOOD: list[dict[str, Any]] = [
    {"task": "lookup"},
    {"task": ["lookup", {"copy": None}, {"lookup": {"d": [4, 8], "noise": {"value": 0.5}}}]},
    {"task": "attnlab:lookup", "mechanism": "single_head"},
    {"task": "lookup", "mechanism": [{"similarity": ["dot", {"additive": {"hidden": 4}}]}, {"single_head": {"mask": "causal"}}]},
    {"task": "lookup", "model": {"aligner": {"projection": [None, 8], "steps": 3}}, "tune": {"model.learning_rate": [0.1, 1]}},
    {"task": "lookup", "limits": {"time": "3s", "memory": 10**9}, "seeds": [1, 2], "metrics": ["aer"]},
    {"task": "lookup", "seeds": {"data": 5, "model": [3, 4]}},
    {"task": "lookup", "claims": [{"say": "s", "metric": "aer", "at_least": 0, "where": {"seed": 1}}]},
    {"task": "lookup", "mechanism": {"mask": {"value": ["causal", {"window": {"width": [1, 2]}}]}}},
    {"task": "lookup", "mechanism": {"mask": ["all", ["causal", "window"], {"value": ["window"]}]}},
]  # fmt: skip
BAD: list[dict[str, Any]] = [
    {},
    {"task": "lokup"},
    {"task": {"lookup": {"n_kees": 3}}},
    {"task": {"lookup": {"d": -3}}},
    {"task": {"lookup": {"d": ["x"]}}},
    {"task": {"lookup": {}, "copy": {}}},
    {"task": "lookup", "mechanism": {"similarty": "dot"}},
    {"task": "lookup", "mechanism": {"similarity": {"additive": {"hidden": 0}}}},
    {"task": "lookup", "model": {"aligner": {"random_state": 3}}},
    {"task": "lookup", "metrics": ["nix"]},
    {"task": "lookup", "seeds": 0},
    {"task": "lookup", "seeds": {"data": 5}},
    {"task": "lookup", "seeds": {"data": 5, "model": 0}},
    {"task": "lookup", "limits": {"tme": 3}},
    {"task": "lookup", "claims": [{"say": "s", "metric": "nix", "at_least": 0}]},
    {"task": "lookup", "questin": "q"},
    {"task": "lookup", "mechanism": {"normaliser": None}},
    {"task": "lookup", "mechanism": {"mask": {"value": []}}},
    {"task": "lookup", "mechanism": {"mask": [["causl"]]}},
]


def test_it_is_json_and_knows_every_component_and_setting() -> None:
    schema = json.loads(json.dumps(json_schema(), allow_nan=False))
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["required"] == ["attnlab", "question", "task"]
    for kind in ("task", "model", "similarity", "normaliser", "aggregator", "position", "mask"):
        name, settings = schema["$defs"][kind]["anyOf"][:2]
        assert set(registry.names(kind)) <= set(name["enum"])
        assert set(name["enum"]) == set(settings["properties"])
    by_name = schema["$defs"]["similarity"]["anyOf"][1]["properties"]
    assert by_name["additive"] == by_name["attnlab:additive"]
    hidden = schema["$defs"][by_name["additive"]["$ref"].removeprefix("#/$defs/")]["properties"]["hidden"]
    assert hidden["default"] == 32
    assert hidden["anyOf"][0] == {"type": "integer", "exclusiveMinimum": 0}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        mine = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return mine.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


def test_every_reference_is_defined() -> None:
    schema = json_schema()
    assert _references(schema) <= {f"#/$defs/{name}" for name in schema["$defs"]}


@pytest.mark.parametrize("keys", GOOD)
def test_what_is_valid_is_read(keys: dict[str, Any]) -> None:
    assert read({"attnlab": 1, "question": "q", **keys}).count > 0


@pytest.mark.parametrize("keys", BAD)
def test_what_is_not_is_refused_by_the_reader(keys: dict[str, Any]) -> None:
    with pytest.raises(ExperimentError):
        read({"attnlab": 1, "question": "q", **keys})


def test_it_agrees_with_the_reader() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for keys in GOOD:
        assert validator.is_valid({"attnlab": 1, "question": "q", **keys}), keys
    for keys in BAD:
        assert not validator.is_valid({"attnlab": 1, "question": "q", **keys}), keys
    for path in sorted(Path(__file__).parents[3].glob("experiments/**/*.yaml")):
        problems = [e.message for e in validator.iter_errors(Document(path).value)]
        assert not problems, path
