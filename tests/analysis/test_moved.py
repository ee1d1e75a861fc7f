"""`attnlab diff`: which verdicts and effects moved between two stores."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import attnlab
from attnlab.cli import cli

HUBS = {
    "attnlab": 1,
    "question": "Which similarity?",
    "name": "hubs",
    "task": {"norm_hubs": {"n_train": 1, "n_validation": 1, "n_test": 16}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"steps": 0}},
    "seeds": 3,
    "claims": [
        {"say": "dot finds all", "metric": "alignment_accuracy", "at_least": 0.9, "where": {"similarity": "dot"}}
    ],
}


def told(*arguments):
    done = CliRunner().invoke(cli, ["diff", *arguments], standalone_mode=False)
    assert done.exception is None, done.exception
    return done


@pytest.fixture
def stores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weaker = {**HUBS, "claims": [{**HUBS["claims"][0], "at_least": 0.05}]}
    harder = {**HUBS, "task": {"norm_hubs": {"n_train": 1, "n_validation": 1, "n_test": 16, "sigma": 2.5}}}
    for name, experiment in (
        ("a", HUBS),
        ("same", HUBS),
        ("weaker", weaker),
        ("harder", harder),
        ("other", {**HUBS, "name": "o"}),
    ):
        attnlab.sweep(experiment, store=f"{name}.db", executor="serial", quiet=True)


def test_what_moved_and_what_did_not(stores):
    same = told("a.db", "same.db", "--strict", "--format", "json")
    assert same.return_value == 0
    assert json.loads(same.stdout) == []
    assert "claims: 1 the same; rows of tables: 2 the same" in same.stderr
    assert len(json.loads(told("a.db", "same.db", "--all", "--format", "json").stdout)) == 3

    weaker = told("a.db", "weaker.db", "--format", "json")
    assert weaker.return_value == 0
    (row,) = json.loads(weaker.stdout)
    assert (row["moved"], row["verdict_a"], row["verdict_b"]) == ("verdict", "refuted", "supported")
    assert row["effect_a"] == row["effect_b"]
    assert told("a.db", "weaker.db", "--strict").return_value == 1

    harder = json.loads(told("a.db", "harder.db", "--format", "json").stdout)
    assert {(r["what"], r["moved"]) for r in harder} >= {
        ("dot finds all", "beyond its interval"),
        ("dot", "beyond its interval"),
    }
    assert {r["moved"] for r in json.loads(told("a.db", "other.db", "--format", "json").stdout)} == {
        "only in a",
        "only in b",
    }
    for people in (told("a.db", "harder.db").stdout, told("a.db", "harder.db", "--format", "markdown").stdout):
        assert "beyond its interval" in people
        assert "refuted, " in people
