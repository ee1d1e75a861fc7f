"""A store of schema version 1, as the attnlab of that time wrote it: readable, translated, renamed, never damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

import attnlab
from attnlab.analysis.report import collect
from attnlab.errors import StoreError
from attnlab.plugins import configure
from attnlab.sweeps.checksums import digest
from attnlab.sweeps.columns import columns
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.pipeline import plan_with_reasons
from attnlab.sweeps.plan import plan
from attnlab.sweeps.store import Store
from attnlab.sweeps.upkeep.contents import contents_of

KEPT = Path(__file__).parent / "data" / "version_1"
OLD_ID = "b15d9c2d13b4965e"  # of a run with a part of the plugin file mine.py


@pytest.fixture
def project(tmp_path, monkeypatch):
    """`kept`, of an installed plugin's task; `arrays`, of a task whose data attnlab has redrawn since (its revision is 1)."""
    shutil.copytree(KEPT, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    monkeypatch.setenv("ATTNLAB_PLUGINS", "nearby")
    configure(files=["mine.py"])
    yield tmp_path / "project"
    configure()
    sys.modules.pop("nearby", None)


def version(store: str = "v1.db") -> int:
    db = sqlite3.connect(store)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(found)


def test_looking_changes_nothing(project):
    before = Path("v1.db").read_bytes()
    frame = attnlab.load_results("v1.db")
    assert frame.groupby("experiment").size().to_dict() == {"kept": 4, "arrays": 2}
    assert (frame["status"] == "ok").all()
    assert frame["similarity"].tolist()[:4] == ["dot", "dot", "halved", "halved"]
    assert frame["plugin_versions"].tolist()[:4] == ["nearby=1.0"] * 2 + ["mine=file nearby=1.0"] * 2
    stored = attnlab.load_run(OLD_ID[:6], "v1.db")
    assert columns(stored.run)["similarity.by"] == 3.0
    assert "test.test.W" in stored.arrays
    book = collect("v1.db")
    assert [chapter.n_planned for chapter in book.chapters] == [4, 2]
    assert book.chapters[0].claims is not None
    assert version() == 1
    assert Path("v1.db").read_bytes()[:18] == before[:18]


def test_its_runs_are_stale_and_not_missing(project):
    ((_, planned),) = plan_with_reasons(["kept.yaml"], "v1.db")
    assert {p.reason for p in planned} == {
        "stale-own: done by an earlier attnlab, whose fingerprints covered less of its code"
    }
    assert all(p.stale_own and p.seconds > 0 for p in planned)
    ((_, kept),) = plan_with_reasons(["kept.yaml"], "v1.db", rerun="missing,failed,stale")
    assert {p.action for p in kept} == {"keep"}
    assert version() == 1


def test_what_was_drawn_anew_since_is_another_run(project):
    ((_, planned),) = plan_with_reasons(["arrays.yaml"], "v1.db")
    assert {p.reason for p in planned} == {"missing"}


def test_without_its_plugin_a_run_is_still_there(project):
    configure()
    assert len(attnlab.load_results("v1.db", experiment="kept")) == 4
    sweep = {"store": "v1.db", "rerun": "none", "executor": "serial", "quiet": True}
    attnlab.sweep("arrays.yaml", **sweep)
    assert attnlab.load_run(OLD_ID, "v1.db").run.run_id == OLD_ID, "nobody can tell what it is called now"
    configure(files=["mine.py"])
    attnlab.sweep("arrays.yaml", **sweep)
    assert attnlab.load_run(OLD_ID, "v1.db").run.run_id != OLD_ID


def test_a_sweep_renames_what_it_can_and_keeps_every_number(project):
    before = attnlab.load_results("v1.db", experiment="kept")
    after = attnlab.sweep("kept.yaml", store="v1.db", rerun="none", quiet=True)
    assert version() == 5
    assert set(before["run_id"]).isdisjoint(after["run_id"])
    same = ["alignment_accuracy", "aer", "fit_seconds", "started_at", "attnlab_version"]
    assert after[same].equals(before[same])
    ids = [run.run_id for run in plan(read("kept.yaml"))]
    with Store("v1.db", create=False) as store:
        assert {e.key: list(e.run_ids) for e in store.experiments()}["kept"] == ids
        assert store.damaged() == []
        assert store.former() == []
        run, result = store.load_run(OLD_ID)
    assert run.run_id in ids
    assert run.spec["mechanism"]["single_head"]["similarity"] == {"file:halved": {"by": 3.0}}
    assert result.status == "ok"
    assert len(attnlab.load_results("v1.db")) == 6


def test_what_is_done_again_is_like_any_run(project):
    before = attnlab.load_results("v1.db", experiment="kept")
    after = attnlab.sweep("kept.yaml", store="v1.db", executor="serial", quiet=True)
    for metric in ("alignment_accuracy", "context_error"):
        assert after[metric].tolist() == pytest.approx(
            before[metric].tolist(), rel=1e-4
        )  # trained anew, by the arithmetic of now
    ((_, planned),) = plan_with_reasons(["kept.yaml"], "v1.db")
    assert {p.reason for p in planned} == {"done"}
    with Store("v1.db") as store:
        assert all(len(store.history(p.run.run_id)) == 1 for p in planned)


def test_a_store_that_was_tidied_up_is_not_damaged(project):
    attnlab.sweep("kept.yaml", store="v1.db", rerun="none", quiet=True)
    db = sqlite3.connect("v1.db")
    db.execute("VACUUM")
    db.close()
    assert len(attnlab.load_results("v1.db")) == 6


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_it_is_read_where_nobody_may_write(project):
    Path("v1.db").chmod(0o444)
    project.chmod(0o555)
    try:
        assert len(attnlab.load_results("v1.db")) == 6
    finally:
        project.chmod(0o755)


# -- schema version 2 -------------------------------------------------------------------------------------------------
@pytest.fixture
def second(tmp_path, monkeypatch):
    shutil.copytree(KEPT.with_name("version_2"), tmp_path / "second")
    monkeypatch.chdir(tmp_path / "second")
    return tmp_path / "second"


def test_a_store_of_version_2_is_read_as_it_is(second):
    before = Path("v2.db").read_bytes()
    frame = attnlab.load_results("v2.db")
    assert frame["status"].tolist() == ["ok"] * 4
    ((_, planned),) = plan_with_reasons(["two.yaml"], "v2.db", rerun="missing,failed")
    assert {p.action for p in planned} == {"keep"}
    assert version("v2.db") == 2
    assert Path("v2.db").read_bytes()[:18] == before[:18]


def test_a_sweep_brings_version_2_to_now_after_a_copy_of_it(second):
    numbers = attnlab.load_results("v2.db")
    after = attnlab.sweep("two.yaml", store="v2.db", rerun="none", executor="serial", quiet=True)
    assert version("v2.db") == 5
    assert after["alignment_accuracy"].tolist() == numbers["alignment_accuracy"].tolist()
    assert version("v2.db.version-2") == 2
    assert attnlab.load_results("v2.db.version-2").equals(numbers)
    with Store("v2.db", create=False) as store:
        assert [len(store.history(run_id)) for run_id in store.experiments()[0].run_ids] == [1, 1, 0, 0]
    assert not Path("v2.db.version-2.part").exists()


def test_who_has_a_store_open_that_another_attnlab_migrates_is_told_so(second):
    """Nothing is written that the other one would not read, and nobody takes it for damage."""
    with Store("v2.db", create=False) as reading:
        ids = reading.experiments()[0].run_ids
        Store("v2.db").close()
        with pytest.raises(StoreError, match="from schema version 2 to 5 since it was opened here"):
            reading.results(ids)
    with Store("v2.db") as writing:
        ((run, result),) = writing.results(ids[:1])
        with contextlib.closing(sqlite3.connect("v2.db")) as db:
            db.execute("PRAGMA user_version = 6")
        for use in (lambda: writing.append(run, result, {}), lambda: writing.leases.claim(ids, {}, 1)):
            with pytest.raises(StoreError, match="from schema version 5 to 6"):
                use()
    with contextlib.closing(sqlite3.connect("v2.db")) as db:
        assert db.execute("SELECT count(*) FROM history").fetchone() == (2,)


def test_a_migration_whose_copy_cannot_be_made_changes_nothing(second):
    Path("v2.db.version-2.part").mkdir()
    with pytest.raises(StoreError, match="cannot be"):
        Store("v2.db")
    assert version("v2.db") == 2


# -- schema version 4 -------------------------------------------------------------------------------------------------
def test_the_rows_of_version_4_get_another_form_and_say_the_same(tmp_path, monkeypatch):
    """A damaged row stays damaged, and one with the right checksum that attnlab never writes stays one."""
    shutil.copytree(KEPT.with_name("version_4"), tmp_path / "fourth")
    monkeypatch.chdir(tmp_path / "fourth")
    with Store("v4.db", create=False) as store:
        damaged, hostile, *whole = store.experiments()[0].run_ids
    db = sqlite3.connect("v4.db")
    db.execute("CREATE VIEW mine AS SELECT status FROM runs")
    db.execute("UPDATE measures SET value = value + 1 WHERE place = 3 AND run_id = ?", (damaged,))
    row = db.execute("SELECT * FROM runs WHERE run_id = ?", (hostile,)).fetchone()
    measures = db.execute(
        "SELECT test, metric, value FROM measures WHERE run_id = ? ORDER BY place", (hostile,)
    ).fetchall()
    row = (*row[:5], "[]", *row[6:-1])
    db.execute("UPDATE runs SET facts = ?, sha256 = ? WHERE run_id = ?", (row[5], digest(row, measures), hostile))
    db.commit()
    db.close()

    def found():
        with Store("v4.db", create=False) as store:
            with pytest.raises(StoreError, match=f"{hostile}: facts is no mapping"):
                store.results([hostile])
            assert store.damaged() == [damaged]
            kept = [(run, *dataclasses.astuple(store.load_run(run.run_id)[1])) for run, _ in store.results(whole)]
        return repr(kept), [(f.table, f.key) for f in contents_of("v4.db").findings]

    before = found()
    assert set(before[1]) == {("runs", damaged), ("runs", hostile)}
    assert version("v4.db") == 4
    Store("v4.db").close()
    assert version("v4.db") == 5
    assert found() == before
    with contextlib.closing(sqlite3.connect("v4.db")) as db:
        assert len(db.execute("SELECT * FROM mine").fetchall()) == 4
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
