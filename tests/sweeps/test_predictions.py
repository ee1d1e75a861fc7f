"""Predictions are kept before the first result, and a verdict says whether its claim was there first."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import attnlab
from attnlab.analysis.report import collect, page
from attnlab.cli import cli
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan
from attnlab.sweeps.predictions import BEFORE, content_of, origin_of, written
from attnlab.sweeps.store import Store
from attnlab.sweeps.upkeep.moves import export, merge, repair

HUBS = {
    "attnlab": 1,
    "question": "Which similarity?",
    "name": "hubs",
    "author": "Ada",
    "task": {"norm_hubs": {"n_train": 1, "n_validation": 1, "n_test": 16}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"steps": 0}},
    "seeds": 3,
    "claims": [
        {
            "say": "cosine is better",
            "metric": "alignment_accuracy",
            "better": {"similarity": "cosine"},
            "than": {"similarity": "dot"},
            "by": 0.2,
        },
        {"say": "dot finds all", "metric": "alignment_accuracy", "at_least": 0.9, "where": {"similarity": "dot"}},
    ],
}


def sweep(experiment=HUBS, store="s.db", **options):
    return attnlab.sweep(experiment, store=store, executor="serial", quiet=True, **options)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def changed(change):
    other = copy.deepcopy(HUBS)
    change(other)
    return other


def test_a_sweep_registers_before_its_first_run_and_says_what_changed_after():
    claims = attnlab.check_claims(sweep(), HUBS)
    assert claims["written"].tolist() == [BEFORE] * 2
    with Store("s.db") as store:
        (one,) = store.predictions.of("hubs")
    assert one.n_runs == 0
    assert one.author == "Ada"
    assert one.registered_at[:19] <= attnlab.load_results("s.db")["started_at"].min()[:19]

    def weaker(value):
        value["claims"][0]["by"] = 0.1
        value["claims"][1] |= {"say": "dot finds some, on second thoughts", "at_least": 0.05}
        value["claims"].append({"say": "new", "metric": "alignment_accuracy", "at_most": 0.99})

    other = changed(weaker)
    claims = attnlab.check_claims(sweep(other), other)
    assert claims["written"].tolist() == ["changed after 6 runs", "added after 6 runs", "added after 6 runs"]
    assert claims["change"].tolist() == ["by 0.2 -> 0.1", "", ""]
    assert claims.attrs["registered"] == ["the claim “dot finds all” was dropped after 6 runs"]
    table = attnlab.referee(attnlab.load_results("s.db"))
    seen = table.loc[table["code"] == "R116", "seen"].tolist()
    assert seen[0] == "changed after 6 runs: by 0.2 -> 0.1"
    assert "was dropped" in seen[-1]
    back = attnlab.check_claims(sweep(), HUBS)  # what was there first stays first
    assert back["written"].tolist() == [BEFORE] * 2


def test_a_claim_at_the_place_of_another_is_a_changed_one():
    sweep()
    other = changed(lambda value: value["claims"][1].update(say="dot finds some", at_least=0.1))
    unseen = changed(lambda value: value.update(seeds=[7, 8, 9], claims=other["claims"]))
    assert attnlab.check_claims(attnlab.load_results("s.db"), unseen)["written"].tolist() == [
        BEFORE,
        "not registered yet",
    ]
    for frame in (attnlab.load_results("s.db"), sweep(other)):  # at once, and when it was registered
        claims = attnlab.check_claims(frame, other)
        assert claims["written"].tolist() == [BEFORE, "changed after 6 runs"]
        assert claims["change"].tolist() == ["", "at_least 0.9 -> 0.1"]
    assert claims.attrs["registered"] == []
    html = page(collect("s.db"))
    assert "✓</span> written before the first run" in html
    assert "!</span> changed after 6 runs" in html
    assert "at_least 0.9 -&gt; 0.1" in html


def test_other_words_are_the_same_claim_and_fresh_seeds_are_fresh():
    sweep()
    worded = changed(lambda value: value["claims"][0].update(say="in other words", why="nobody knows"))
    assert attnlab.check_claims(sweep(worded), worded)["written"].tolist() == [BEFORE] * 2

    def fresh(value):
        value["seeds"] = [100, 101]
        value["claims"][0]["by"] = 0.05

    other = changed(fresh)
    assert attnlab.check_claims(sweep(other), other)["written"].tolist() == [BEFORE] * 2

    def more(value):
        value["seeds"] = [100, 101, 102]
        value["claims"][0]["by"] = 0.06

    other = changed(more)
    claims = attnlab.check_claims(sweep(other), other)
    assert claims["written"].tolist() == ["changed after 4 runs", BEFORE]
    assert claims.attrs["registered"][-1].startswith(
        "the plan was changed after 4 runs: runs 4 -> 6; seeds 100, 101 ->"
    )


def test_what_is_not_known_is_not_said():
    assert [one.when for one in written(read(HUBS).claims, [])[0]] == ["", ""]
    frame = sweep()
    frame.attrs.pop("registered")
    assert attnlab.check_claims(frame, HUBS)["written"].tolist() == ["", ""]


def test_the_commands(tmp_path):
    Path("hubs.yaml").write_text(json.dumps({key: v for key, v in HUBS.items() if key != "name"}))
    run = CliRunner()
    first = run.invoke(cli, ["preregister", "hubs.yaml", "--store", "s.db", "--format", "json"], standalone_mode=False)
    (said,) = json.loads(first.stdout)
    assert (said["n_runs"], said["planned"], said["claims"], said["author"]) == (0, 6, 2, "Ada")
    assert len(said["sha256"]) == 64
    again = run.invoke(cli, ["preregister", "hubs.yaml", "--store", "s.db"], standalone_mode=False)
    assert "registered already" in again.stderr
    with Store("s.db") as store:
        assert store.experiments() == []
        assert len(store.predictions.of()) == 1
    assert sweep("hubs.yaml")["status"].eq("ok").all()
    told = run.invoke(cli, ["claims", "hubs.yaml", "--store", "s.db"], standalone_mode=False)
    assert "written before the first run: all 2 claims" in told.stdout
    board = run.invoke(cli, ["scoreboard", "--store", "s.db", "--format", "json"], standalone_mode=False)
    (row,) = json.loads(board.stdout)
    assert (row["author"], row["predictions"], row["supported"], row["refuted"], row["later"]) == ("Ada", 2, 1, 1, 0)
    assert row["came_true"] == 0.5
    assert row["low"] < 0.5 < row["high"]


def test_git_says_commit_and_author(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=Grace", "-c", "user.email=g@x", *arguments], check=True, cwd=tmp_path)

    file = tmp_path / "hubs.yaml"
    nobody = {key: value for key, value in HUBS.items() if key != "author"}
    file.write_text(json.dumps(nobody))
    assert origin_of(read(file)) == ("", "")
    git("init", "-q")
    git("add", "hubs.yaml")
    git("commit", "-q", "-m", "a question")
    commit, author = origin_of(read(file))
    assert len(commit) == 40
    assert author == "Grace"
    file.write_text(json.dumps({**nobody, "question": "Another?"}))
    assert origin_of(read(file))[0] == f"{commit}+"
    file.write_text(json.dumps(HUBS))
    assert origin_of(read(file))[1] == "Ada"


def test_they_move_with_the_store():
    sweep()
    Path("hubs.yaml").write_text(json.dumps({**HUBS, "name": "never", "seeds": [7]}))
    experiment = read("hubs.yaml")
    with Store("s.db") as store:
        store.predictions.add(experiment, plan(experiment))
        kept = [dataclasses.replace(one) for one in store.predictions.of()]
    repair("s.db", "repaired.db")
    export("s.db", "part.db", ["hubs"])
    merge("into.db", ["part.db", "s.db"])
    for name, expected in (("repaired.db", kept), ("part.db", kept[:1]), ("into.db", kept)):
        with Store(name, create=False) as store:
            assert sorted(store.predictions.of(), key=lambda one: one.key) == sorted(
                expected, key=lambda one: one.key
            ), name
    assert (
        attnlab.check_claims(attnlab.load_results("into.db", experiment="hubs"), HUBS)["written"].tolist()
        == [BEFORE] * 2
    )


def test_the_content_is_question_claims_and_plan():
    experiment = read(HUBS)
    text = content_of(experiment, plan(experiment))
    for other in ({"limits": {"runs": 50}}, {"allow": ["R102"]}, {"source": "x"}, {"author": "Bob"}):
        same = read({**HUBS, **other})
        assert content_of(same, plan(same)) == text
    for other in ({"question": "?"}, {"seeds": 4}, {"metrics": "gold_mass"}, {"claims": HUBS["claims"][:1]}):
        different = read({**HUBS, **other})
        assert content_of(different, plan(different)) != text


def test_a_store_of_version_3_is_read_and_migrated_with_a_copy(tmp_path):
    shutil.copytree(Path(__file__).parent / "data" / "version_3", tmp_path / "third")
    numbers = attnlab.load_results("third/v3.db")
    assert numbers["status"].tolist() == ["ok"] * 4
    with Store("third/v3.db", create=False) as store:
        assert store.predictions.of() == []
    after = sweep("third/three.yaml", store="third/v3.db", rerun="none")
    assert after["alignment_accuracy"].tolist() == numbers["alignment_accuracy"].tolist()
    assert Path("third/v3.db.version-3").exists()
    with Store("third/v3.db", create=False) as store:
        (one,) = store.predictions.of()
    assert one.n_runs == 4
