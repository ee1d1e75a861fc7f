"""Care for a store: maintenance is no damage, damage costs what it hit, and what is whole is kept."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from commands import attnlab_command

import attnlab
from attnlab.cli import main
from attnlab.errors import StoreError, UnknownName
from attnlab.sweeps.checksums import digest, digest_of_row
from attnlab.sweeps.pipeline import plan_with_reasons
from attnlab.sweeps.place import file_system, journal_mode
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store
from attnlab.sweeps.upkeep.contents import contents_of
from attnlab.sweeps.upkeep.moves import collect_garbage, export, merge, repair, unnamed, vacuum

EXPERIMENT = {
    "attnlab": 1,
    "name": "cared",
    "question": "Is all of it there?",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"projection": 4, "steps": 2}},
    "seeds": 2,
}


def command(*args, cwd, **options):
    return attnlab_command(*args, cwd=cwd, **options)


def status_of(*args):
    """The exit status of a command in this process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stop:
            main([*map(str, args)])
    finally:
        signal.signal(signal.SIGTERM, before)
    return stop.value.code


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A store as a sweep leaves it; copy it before you touch it."""
    path = tmp_path_factory.mktemp("swept") / "s.db"
    attnlab.sweep(EXPERIMENT, store=path, executor="serial", quiet=True)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def store(swept, tmp_path):
    return Path(shutil.copy(swept, tmp_path / "s.db"))


def sql(path, *statements):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        return [db.execute(statement).fetchall() for statement in statements]


def signed_anew(path, run_id, **columns):
    """Change a row and give it the right checksum, as somebody who knows attnlab could."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
        row = dict(zip(names, db.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone(), strict=True))
        row |= columns
        row["sha256"] = digest_of_row([*row.values()])
        for name in names[1:]:
            db.execute(f"UPDATE runs SET {name} = ? WHERE run_id = ?", (row[name], run_id))


def ids_of(path):
    with Store(path, create=False) as opened:
        return [run.run_id for _, run, _ in opened.rows()]


# -- maintenance ------------------------------------------------------------------------------------------------------
MAINTENANCE = {
    "vacuum": ["VACUUM"],
    "analyze": ["ANALYZE"],
    "automatic vacuum": ["PRAGMA auto_vacuum = FULL", "VACUUM"],
    "another page size": ["PRAGMA journal_mode = DELETE", "PRAGMA page_size = 8192", "VACUUM"],
    "another journal": ["PRAGMA journal_mode = DELETE"],
    "a new index, and all anew": ["CREATE INDEX by_status ON runs (status)", "REINDEX"],
    "a view and a table of somebody's": ["CREATE VIEW failures AS SELECT * FROM runs", "CREATE TABLE notes (x)"],
    "optimised": ["PRAGMA optimize", "ANALYZE", "VACUUM"],
}


@pytest.mark.parametrize("kind", MAINTENANCE)
def test_maintenance_is_no_damage(store, kind):
    before = attnlab.load_results(store)
    sql(store, *MAINTENANCE[kind])
    assert attnlab.load_results(store).equals(before)
    ((_, planned),) = plan_with_reasons([EXPERIMENT], store)
    assert {p.action for p in planned} == {"keep"}
    with Store(store) as opened:
        assert opened.append(Run.of({"seed": 9}), Result("ok"), {})


def test_a_copy_by_sqlite_is_a_store(store, tmp_path):
    sql(store, f"VACUUM INTO '{tmp_path}/copy.db'")
    assert attnlab.load_results(tmp_path / "copy.db").equals(attnlab.load_results(store))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON links BEGIN DELETE FROM runs; END", "the trigger t could change"),
        ("CREATE UNIQUE INDEX once ON runs (status)", "the index once could refuse"),
        ("ALTER TABLE runs ADD COLUMN more", "runs is not as attnlab makes it"),
        ("DROP TABLE links", "it lacks links"),
    ],
)
def test_what_could_change_a_result_is_told(store, statement, said):
    if "UNIQUE" in statement:
        sql(store, "DELETE FROM runs WHERE run_id > (SELECT min(run_id) FROM runs)")
    sql(store, statement)
    with pytest.raises(StoreError, match=said):
        Store(store)


# -- damage -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("column", ["reason", "canonical"])
def test_one_damaged_row_is_one_row(store, tmp_path, column, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = attnlab.load_results(store)
    hit = whole["run_id"][0]
    change = "reason || ' '" if column == "reason" else "replace(canonical, '\"seed\":0', '\"seed\":7')"
    sql(store, f"UPDATE runs SET {column} = {change} WHERE run_id = '{hit}'")
    frame = attnlab.load_results(store)
    assert len(frame) == len(whole)
    assert frame["status"].tolist() == ["damaged"] + ["ok"] * (len(whole) - 1)
    assert frame["run_id"].tolist() == whole["run_id"].tolist()
    row = frame.iloc[0]
    assert "does not agree with its checksum" in row["reason"]
    if column == "reason":  # its settings are proven by its name
        assert (row["similarity"], row["seed"]) == (whole["similarity"][0], whole["seed"][0])
    else:
        assert row["similarity"] != row["similarity"]
    assert row["alignment_accuracy"] != row["alignment_accuracy"]
    (tmp_path / "cared.yaml").write_text(json.dumps(EXPERIMENT))
    for words in (
        ["results"],
        ["results", "--summary"],
        ["errors"],
        ["claims"],
        ["plan", "cared.yaml"],
        ["report", "-o", "r.html"],
    ):
        assert status_of(*words, "--store", "s.db") == 0, (words, capsys.readouterr().err)
    capsys.readouterr()
    assert status_of("store", "verify", "--store", "s.db", "--format", "json") == 1
    assert [(f["table"], f["key"]) for f in json.loads(capsys.readouterr().out)] == [("runs", hit)]
    again = attnlab.sweep(EXPERIMENT, store=store, executor="serial", quiet=True)
    assert again["alignment_accuracy"].equals(whole["alignment_accuracy"])
    assert contents_of(store).findings == []


DEEP = "[" * 5000 + "]" * 5000
SPEC = {"task": {"lookup": {}}, "mechanism": {"single_head": {}}, "model": {"aligner": {}}, "seed": 0}
HOSTILE = {
    "canonical that is no JSON": {"canonical": "{"},
    "canonical that is a list": {"canonical": "[]"},
    "canonical without a seed": {"canonical": "{}"},
    "a seed that is a word": {"canonical": json.dumps(SPEC | {"seed": "x"})},
    "a seed of a thousand digits": {"canonical": json.dumps(SPEC).replace('"seed": 0', '"seed": ' + "9" * 1000)},
    "a task that is a number": {"canonical": json.dumps(SPEC | {"task": 3})},
    "a task of settings that are a number": {"canonical": json.dumps(SPEC | {"task": {"lookup": 3}})},
    "parts that are numbers": {
        "canonical": json.dumps(SPEC | {"mechanism": {"single_head": {"similarity": {"dot": 3}}}})
    },
    "settings without end": {"canonical": json.dumps(SPEC).replace('"aligner": {}', f'"aligner": {{"x": {DEEP}}}')},
    "tune that is a number": {"canonical": json.dumps(SPEC | {"tune": 3})},
    "inputs that are numbers": {"canonical": json.dumps(SPEC | {"inputs": {"x": 3}})},
    "a status of somebody's": {"status": "splendid"},
    "the status of damage": {"status": "damaged"},
    "facts that are a list": {"facts": "[]"},
    "facts without end": {"facts": f'{{"notes": {DEEP}}}'},
    "notes that are a number": {"facts": '{"notes": 3}'},
    "notes that are numbers": {"facts": '{"notes": [3]}'},
    "tuned that is a list": {"facts": '{"tuned": [1]}'},
    "converged that is a word": {"facts": '{"converged": "perhaps"}'},
    "seconds of a thousand digits": {"facts": '{"fit_seconds": ' + "9" * 1000 + "}"},
    "versions that are a list": {"versions": "[1]"},
    "versions that are numbers": {"versions": '{"attnlab": 1}'},
    "fingerprints that are a word": {"fingerprints": '"x"'},
    "a reason of bytes": {"reason": b"\xff\xfe"},
    "attempts that are a word": {"attempts": "many"},
    "endless seconds": {"seconds": float("inf")},
    "a start that is a number": {"started_at": b"1"},
    "a measure that has no name of text": {"measured": '{"test": [1]}'},
    "a measure that is there twice": {"measured": '{"test": ["m", "m"]}', "numbers": "[1.0, 1.0]"},
    "fewer numbers than names": {"numbers": "[1.0]"},
    "a number that is a word": {"numbers": '["x"]', "measured": '{"test": ["m"]}'},
    "numbers that are none": {"numbers": "1"},
    "numbers without end": {"numbers": DEEP},
    "two facts in one": {"facts": "{},{}"},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_row_with_the_right_checksum_is_told_with_its_place(store, kind):
    hit = ids_of(store)[1]
    signed_anew(store, hit, **HOSTILE[kind])
    said = []
    for read in (
        lambda: attnlab.load_results(store),
        lambda: attnlab.load_run(hit, store),
        lambda: plan_with_reasons([EXPERIMENT], store),
        lambda: attnlab.sweep(EXPERIMENT, store=store, executor="serial", quiet=True, rerun="none"),
    ):
        try:
            read()
        except StoreError as error:
            said.append(str(error))
    assert said
    assert all(str(store) in text and hit in text and len(text) < 3000 for text in said)
    assert [(f.table, f.key) for f in contents_of(store).findings] == [("runs", hit)]


def test_the_command_line_has_a_status_for_hostile_stores(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hit = ids_of(store)[1]
    signed_anew(store, hit, facts="[]")
    (tmp_path / "cared.yaml").write_text(json.dumps(EXPERIMENT))
    for words in (
        ["results"],
        ["errors"],
        ["report", "-o", "r.html"],
        ["sweep", "cared.yaml"],
        ["claims"],
        ["run", hit],
    ):
        assert status_of(*words, "--store", "s.db") == 6, words
        said = capsys.readouterr().err
        assert f"s.db: run {hit}: facts is no mapping" in said
        assert "Traceback" not in said


def test_a_damaged_store_whose_names_are_no_text_is_told(store):
    one = "place = 0 AND key = (SELECT min(key) FROM links)"
    sql(store, f"UPDATE links SET run_id = CAST(x'91ff' AS TEXT) WHERE {one}", "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(store.read_bytes())
    content[36:40] = (5).to_bytes(4, "big")  # free pages that are not there
    store.write_bytes(content)
    found = contents_of(store)
    assert found.findings[0].table == "file"


# -- repair -----------------------------------------------------------------------------------------------------------
def big_store(path, n=60):
    runs = [Run.of({"seed": i}) for i in range(n)]
    with Store(path) as opened:
        opened.add_experiment("e", "why?", "text", [run.run_id for run in runs])
        for run in runs:
            metrics = {"test": {f"m{i}": run.seed + i / 7 for i in range(6)} | {"whole": 3.0}}
            opened.append(
                run, Result("ok", metrics=metrics, artifacts=bytes([run.seed]) * 9000, seconds=2.0), {"a": "b"}
            )
        opened.append(runs[0], Result("ok", metrics={"test": {"m": 1.5}}), {})
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return runs


def test_repair_of_a_sound_store_keeps_everything(store, tmp_path):
    before = store.read_bytes()
    assert repair(store, tmp_path / "new.db").findings == []
    assert store.read_bytes() == before
    assert attnlab.load_results(tmp_path / "new.db").equals(attnlab.load_results(store))
    for run_id in ids_of(store):
        ours, theirs = (attnlab.load_run(run_id, path) for path in (store, tmp_path / "new.db"))
        assert ours.result == theirs.result
    with pytest.raises(StoreError, match="exists and is not overwritten"):
        repair(store, tmp_path / "new.db")


def test_repair_keeps_what_pages_still_hold_when_the_trees_are_gone(tmp_path):
    runs = big_store(tmp_path / "s.db")
    content = bytearray((tmp_path / "s.db").read_bytes())
    content[:4096] = bytes(4096)  # the header, and the way to every table
    (tmp_path / "s.db").write_bytes(content)
    with pytest.raises(StoreError, match="not a results store"):
        Store(tmp_path / "s.db")
    repair(tmp_path / "s.db", tmp_path / "new.db")
    assert (tmp_path / "s.db").read_bytes() == content
    with Store(tmp_path / "new.db", create=False) as opened:
        assert opened.damaged() == []
        found = {run.run_id: result for _, run, result in opened.rows("e")}
        assert found.keys() == {run.run_id for run in runs}
        assert found[runs[0].run_id].metrics == {"test": {"m": 1.5}}
        assert opened.load_run(runs[7].run_id)[1].artifacts == bytes([7]) * 9000


def test_random_damage_never_makes_a_wrong_value_and_leaves_the_rest(tmp_path):
    """Pages overwritten at random: what comes out is what went in, and most of it."""
    runs = big_store(tmp_path / "sound.db")
    sound = (tmp_path / "sound.db").read_bytes()
    true = contents_of(tmp_path / "sound.db").runs
    chance = random.Random(5)
    n_kept = 0
    for n in range(12):
        content = bytearray(sound)
        page = chance.randrange(len(content) // 4096) * 4096
        content[page : page + 4096] = chance.randbytes(4096) if n % 2 else bytes(4096)
        (tmp_path / "s.db").write_bytes(content)
        (tmp_path / "new.db").unlink(missing_ok=True)
        repair(tmp_path / "s.db", tmp_path / "new.db")
        kept = contents_of(tmp_path / "new.db")
        assert kept.findings == []
        for run_id, run in kept.runs.items():
            assert run.measures == true[run_id].measures
            assert run.artifacts in (true[run_id].artifacts, b"")
        n_kept += len(kept.runs)
    assert n_kept > 0.8 * 12 * len(runs)


# -- merge, export, gc, vacuum ----------------------------------------------------------------------------------------
def filled(path, values, experiment="e", text="t", status="ok"):
    runs = [Run.of({"seed": seed}) for seed in values]
    with Store(path) as opened:
        opened.add_experiment(experiment, "why?", text, [run.run_id for run in runs])
        for run in runs:
            value = values[run.seed]
            metrics = {"test": {"m": value, "fit_seconds": os.getpid() / 7 + value}} if value is not None else {}
            opened.append(run, Result(status if value is not None else "failed", metrics=metrics), {})
    return path


def numbers(path):
    with Store(path, create=False) as opened:
        return {run.seed: result.metrics.get("test", {}).get("m") for _, run, result in opened.rows()}


def test_merge_joins_what_several_machines_have_done(tmp_path):
    a, b = (
        filled(tmp_path / "a.db", {0: 1.0, 1: None, 2: 2.0}),
        filled(tmp_path / "b.db", {1: 5.0, 2: 2.0 + 1e-9, 3: 3.0}, "f"),
    )
    before = b.read_bytes()
    done = merge(a, [b])
    assert (done.added, done.replaced, done.same, done.conflicts) == (1, 1, 1, [])
    assert b.read_bytes() == before
    assert numbers(a) == {0: 1.0, 1: 5.0, 2: 2.0, 3: 3.0}
    with Store(a, create=False) as opened:
        assert [e.key for e in opened.experiments()] == ["e", "f"]
        assert [h.status for h in opened.history(Run.of({"seed": 1}).run_id)] == ["failed"]
        assert opened.damaged() == []
    again = merge(a, [b])
    assert (again.added, again.replaced, again.same) == (0, 0, 3)


def test_merge_names_numbers_that_differ_and_keeps_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    filled(tmp_path / "a.db", {0: 1.0, 1: 1.0})
    filled(tmp_path / "b.db", {0: 1.5, 1: 1.0 + 1e-4}, text="another text")
    assert status_of("store", "merge", "a.db", "b.db") == 1
    done = capsys.readouterr()
    said = sorted(line.split("\t") for line in done.out.splitlines())
    assert said == sorted(
        [Run.of({"seed": seed}).run_id, "m (test)", "1.0", str(other), "b.db"]
        for seed, other in ((0, 1.5), (1, 1.0001))
    )
    assert "the first is kept" in done.err
    assert "the experiment e with another text was added as e-merged-2" in done.err
    assert numbers(tmp_path / "a.db") == {0: 1.0, 1: 1.0}
    filled(tmp_path / "c.db", {1: 1.0 + 1e-4})
    assert merge(tmp_path / "a.db", [tmp_path / "c.db"], tolerance=1e-3).conflicts == []


@pytest.mark.parametrize("text", ["", "[]", '{"claims": [1], "plan": {"sha256": ""}, "question": ""}', "[" * 5000])
def test_what_was_registered_and_cannot_be_read_is_told_and_repair_leaves_it_out(
    store, tmp_path, monkeypatch, capsys, text
):
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as db:
        row = [*db.execute("SELECT * FROM registered").fetchone()]
        row[6] = text
        db.execute("UPDATE registered SET text = ?, sha256 = ?", (text, digest(row[:-1])))
    for words in (["claims"], ["results"]):
        assert status_of(*words, "--store", "s.db") == 6
        assert "s.db: what the experiment cared registered (0)" in capsys.readouterr().err
    assert status_of("store", "verify", "--store", "s.db") == 1
    assert status_of("store", "repair", "--store", "s.db", "-o", "new.db") == 0
    assert status_of("claims", "--store", "new.db") == 0


def test_a_reason_with_control_characters_goes_into_a_spreadsheet(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run_id, *_) = ids_of(store)
    signed_anew(store, run_id, status="failed", reason="\x1b[31mred\x1b[0m \0")
    pytest.importorskip("openpyxl")
    assert status_of("results", "--store", "s.db", "-o", "o.xlsx") == 0
    read = pd.read_excel("o.xlsx")
    assert read["reason"].dropna().tolist() == ["\\x1b[31mred\\x1b[0m \\x00"]


def test_a_run_of_which_a_store_says_too_little_is_not_repeated(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (run_id, other, *_) = ids_of(store)
    ((text,),) = sql(store, f"SELECT canonical FROM runs WHERE run_id = '{run_id}'")[0]
    spec = json.loads(text)
    del spec["mechanism"]
    signed_anew(store, run_id, canonical=json.dumps(spec))
    assert status_of("run", run_id, "--store", "s.db") == 6
    assert "canonical has no mechanism" in capsys.readouterr().err
    signed_anew(
        store, other, fingerprints='{"task": "lookup-/1b/50", "mechanism": ":/", "model": "/", "similarity": "dot:/"}'
    )
    Path("x.yaml").write_text(json.dumps(EXPERIMENT))
    assert status_of("plan", "x.yaml", "--store", "s.db", "--format", "csv") == 0
    assert f"{other},run," in capsys.readouterr().out


def test_the_name_of_a_machine_is_shown_and_not_obeyed(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(json.dumps({**EXPERIMENT, "question": "What does it say?"}))
    (run_id, *_) = ids_of(store)
    owner = "INSERT INTO owners VALUES ('x', char(27) || '[2J', 'another', 5, '1', 1, 1.0, 1e300)"
    sql(store, owner, f"INSERT INTO leases VALUES ('{run_id}', 'x')", "DELETE FROM runs")
    assert status_of("sweep", "x.yaml", "-q", "--store", "s.db", "--no-wait", "--executor", "serial") == 1
    said = capsys.readouterr()
    assert "process 5 on \\x1b[2J" in said.err
    assert "\x1b" not in said.err + said.out


def test_what_is_left_out_obeys_no_name_of_a_run(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (run_id, *_) = ids_of(store)
    signed_anew(store, run_id, facts="[]")
    sql(store, f"UPDATE runs SET run_id = 'a' || char(27) || '[2J' WHERE run_id = '{run_id}'")
    for words in (("repair", "--store", "s.db", "-o", "new.db"), ("merge", "other.db", "s.db")):
        status_of("store", *words)
        said = capsys.readouterr().err
        assert "\\x1b[2J" in said
        assert "\x1b" not in said


def test_a_store_whose_name_is_no_text_is_read_by_every_command(store, tmp_path):
    name = os.fsdecode(b"ff\xff ?#%41.db")
    store.rename(tmp_path / name)
    for words in (("diff", name, name), ("results", "--format", "csv"), ("store", "verify"), ("scoreboard",)):
        done = command(*words, *([] if words[0] == "diff" else ["--store", name]), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = command("diff", name, name, "--all", cwd=tmp_path)
    assert done.stdout.count("ff\\udcff") == 2, done.stdout


def test_merge_into_a_new_store_joins_shards_with_whatever_is_whole(tmp_path):
    shards = [filled(tmp_path / f"{i}.db", {i: float(i), i + 10: i / 2}, f"e{i}") for i in range(3)]
    sql(shards[1], f"UPDATE runs SET numbers = '[99.0]' WHERE run_id = '{Run.of({'seed': 11}).run_id}'")
    done = merge(tmp_path / "all.db", shards)
    assert [f.key for f in done.findings] == [Run.of({"seed": 11}).run_id]
    assert numbers(tmp_path / "all.db") == {0: 0.0, 10: 0.0, 1: 1.0, 2: 2.0, 12: 1.0}


def test_export_writes_a_store_or_lines(tmp_path):
    filled(tmp_path / "a.db", {0: 1.0, 1: 2.0}, "one")
    filled(tmp_path / "a.db", {2: 3.0}, "two")
    assert export(tmp_path / "a.db", tmp_path / "two.db", ["two"]) == 1
    assert numbers(tmp_path / "two.db") == {2: 3.0}
    assert export(tmp_path / "a.db", tmp_path / "all.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [(line["experiment"], line["run"]["seed"], line["metrics"]["test"]["m"]) for line in lines] == [
        ("one", 0, 1.0), ("one", 1, 2.0), ("two", 2, 3.0),
    ]  # fmt: skip
    with pytest.raises(UnknownName, match="one, two"):
        export(tmp_path / "a.db", tmp_path / "x.db", ["three"])


def test_gc_deletes_what_nobody_names_after_asking(tmp_path):
    filled(tmp_path / "a.db", {0: 1.0, 1: 2.0, 2: 3.0}, "one")
    filled(tmp_path / "a.db", {0: 1.0}, "one", text="fewer")
    ids = sorted(Run.of({"seed": i}).run_id for i in (1, 2))
    assert sorted(unnamed(tmp_path / "a.db")) == ids
    with Store(tmp_path / "a.db") as working:
        before = working.leases.row_marks(ids)
        working.leases.claim(ids[:1], before, 1)
        assert collect_garbage(tmp_path / "a.db", ids) == 1, "somebody is at work on the other"
    refused = command("store", "gc", "--store", "a.db", cwd=tmp_path, input="n\n")
    assert refused.returncode == 1
    assert "nothing was deleted" in refused.stderr
    nobody = command("store", "gc", "--store", "a.db", cwd=tmp_path)  # the end of the input is no answer
    assert nobody.returncode == 1
    assert "--yes does not ask" in nobody.stderr
    done = command("store", "gc", "--store", "a.db", "--yes", cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ids[:1])
    assert numbers(tmp_path / "a.db") == {0: 1.0}
    before, after = vacuum(tmp_path / "a.db")
    assert after <= before


# -- where the file is ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["", " ", ":memory:", "file:x.db", "file::memory:?cache=shared", "a\0b"])
def test_what_names_no_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for use in (
        lambda: Store(name),
        lambda: attnlab.sweep(EXPERIMENT, store=name, quiet=True),
        lambda: plan_with_reasons([EXPERIMENT], name),
        lambda: attnlab.load_results(name),
        lambda: contents_of(name),
    ):
        with pytest.raises(StoreError, match="a results store is a file"):
            use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["loop.db", "s.db/x.db", "x" * 300])
def test_where_no_store_can_be_every_command_says_so(store, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    Path("loop.db").symlink_to("loop.db")
    Path("x.yaml").write_text(json.dumps(EXPERIMENT))
    for words in (("plan", "x.yaml"), ("results",), ("store", "verify"), ("store", "vacuum"), ("store", "gc")):
        assert status_of(*words, "--store", name) == 6, words
        assert f"{name}: cannot be used" in capsys.readouterr().err


def deleted(path):
    path.unlink()


def moved(path):
    path.rename(path.with_name("moved.db"))


def replaced(path):
    path.rename(path.with_name("moved.db"))
    shutil.copy(path.with_name("moved.db"), path)


def without_its_log(path):
    Path(f"{path}-wal").unlink()


def without_its_folder(path):
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("what", [deleted, moved, replaced, without_its_log, without_its_folder])
def test_a_store_that_goes_away_is_noticed_at_the_next_append_and_nothing_is_lost(tmp_path, what):
    (tmp_path / "f").mkdir()
    path = tmp_path / "f" / "s.db"
    with Store(path) as opened:
        for seed in range(3):
            opened.append(Run.of({"seed": seed}), Result("ok", metrics={"t": {"m": float(seed)}}), {})
        what(path)
        with pytest.raises(StoreError, match="while it was in use") as caught:
            opened.append(Run.of({"seed": 3}), Result("ok", metrics={"t": {"m": 3.0}}), {})
    assert str(path) in str(caught.value)
    with Store(f"{path}.rescued", create=False) as rescued:
        assert sorted(run.seed for _, run, _ in rescued.rows()) == [0, 1, 2, 3]
        assert rescued.damaged() == []


def test_a_store_may_be_a_link_to_a_file_elsewhere(tmp_path):
    (tmp_path / "disk").mkdir()
    path = tmp_path / "s.db"
    path.symlink_to(tmp_path / "disk" / "real.db")  # which is not there yet
    with Store(path) as opened:
        for seed in range(3):
            opened.append(Run.of({"seed": seed}), Result("ok", metrics={"t": {"m": float(seed)}}), {})
        assert (tmp_path / "disk" / "real.db-wal").stat().st_size > 0
        assert sorted(contents_of(path).runs) == sorted(Run.of({"seed": s}).run_id for s in range(3))
    assert path.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "s.db"]


def test_a_sweep_whose_store_goes_away_ends_with_its_status(tmp_path):
    plugin = (
        "import os, attnlab\n\nclass Removing(attnlab.Similarity):\n    'Removes the store.'\n    name = 'removing'\n\n"
    )
    plugin += "    def score(self, Q, K):\n        os.path.exists('s.db') and os.unlink('s.db')\n        return Q @ K.swapaxes(-1, -2)\n\n"
    plugin += "@attnlab.hookimpl\ndef attnlab_similarities():\n    return [Removing]\n"
    (tmp_path / "p.py").write_text(plugin)
    (tmp_path / "cared.yaml").write_text(json.dumps(EXPERIMENT | {"mechanism": {"similarity": ["dot", "removing"]}}))
    done = command("sweep", "cared.yaml", "--store", "s.db", "--plugin", "p.py", "-j", "1", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "s.db was deleted or moved while it was in use" in done.stderr
    assert "s.db.rescued" in done.stderr


def test_an_experiment_of_the_same_name_says_what_it_replaces(tmp_path, capsys):
    for folder, question in (("a", "Is it one?"), ("b", "Is it another?")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text(
            json.dumps({**EXPERIMENT, "name": "x", "question": question, "seeds": 1})
        )
    sweep = {"store": tmp_path / "s.db", "executor": "serial", "quiet": True}
    for _ in range(2):
        attnlab.sweep(tmp_path / "a" / "x.yaml", **sweep)
    assert "takes the place" not in capsys.readouterr().err
    attnlab.sweep(tmp_path / "b" / "x.yaml", **sweep)
    said = capsys.readouterr().err
    assert "takes the place of another one of the same name" in said
    assert "Is it one?" in said


MOUNTS = """\
/dev/root / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/here\\040too xfs rw 0 0
share /mnt/share cifs rw 0 0
me@there:/ /mnt/there fuse.sshfs rw 0 0
/dev/sdc1 /mnt/stick fuse.ntfs rw 0 0
host /mnt/host 9p rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "mode"),
    [
        ("/srv/s.db", "ext4", "WAL"),
        ("/home/me/s.db", "nfs4", "DELETE"),
        ("/home/here too/s.db", "xfs", "WAL"),
        ("/homes/s.db", "ext4", "WAL"),
        ("/mnt/share/s.db", "cifs", "DELETE"),
        ("/mnt/there/s.db", "fuse.sshfs", "DELETE"),
        ("/mnt/stick/s.db", "fuse.ntfs", "WAL"),
        ("/mnt/host/s.db", "9p", "DELETE"),
    ],
)
def test_the_file_system_decides_the_journal(tmp_path, path, kind, mode):
    (tmp_path / "mounts").write_text(MOUNTS)
    assert file_system(Path(path), tmp_path / "mounts") == kind
    assert journal_mode(Path(path), tmp_path / "mounts") == mode


def test_without_a_write_ahead_log_all_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLAB_STORE_JOURNAL", "delete")
    frame = attnlab.sweep(EXPERIMENT, store=tmp_path / "s.db", jobs=2, quiet=True)
    assert len(frame) == 4
    assert sql(tmp_path / "s.db", "PRAGMA journal_mode") == [[("delete",)]]
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]
    monkeypatch.setenv("ATTNLAB_STORE_JOURNAL", "off")
    with pytest.raises(StoreError, match="may be wal or delete"):
        Store(tmp_path / "s.db")
