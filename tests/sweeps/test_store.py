"""The store: what was acknowledged is there, what is damaged is said, and nothing is overwritten in silence."""

import contextlib
import math
import os
import random
import shutil
import signal
import sqlite3
import string
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import AmbiguousName, StoreError, UnknownName
from attnlab.sweeps.checksums import agree, digest, digest_of_row
from attnlab.sweeps.database import Database
from attnlab.sweeps.earlier import digest_of_run
from attnlab.sweeps.rows import Row, signed
from attnlab.sweeps.run import STATUSES, Result, Run
from attnlab.sweeps.store import Known, Store

FINGERPRINTS = {"similarity": "f00d"}


def run_of(seed: int, **more: object) -> Run:
    return Run.of({"seed": seed, **more})


def result_of(seed: int) -> Result:
    """A result that says which run it is of, in every part."""
    return Result(
        "ok" if seed % 3 else "failed",
        reason="" if seed % 3 else f"reason {seed}",
        metrics={"test": {"m": seed + 0.1, "bad": math.nan}, "long": {"m": -math.inf}},
        facts={"seed": seed},
        versions={"attnlab": f"{seed}"},
        artifacts=bytes([seed % 256]) * 3000,
        seconds=seed / 7,
    )


def same(a: Result, b: Result, artifacts: bool = True) -> bool:
    """Equal with NaN equal to itself; `repr` of floats is exact."""
    return repr(a) == repr(b) if artifacts else repr(a).replace(repr(a.artifacts), "b''") == repr(b)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "attnlab.db"


# -- checksums --------------------------------------------------------------------------------------------------------
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_fast_checksum_of_a_run_is_that_of_its_text(data):
    value = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8))
    row = tuple(data.draw(st.lists(value, min_size=13, max_size=13)))
    names = st.one_of(st.text(max_size=4), st.sampled_from(["100%", "%a", "'", b"m"]))
    measures = data.draw(st.lists(st.tuples(names, names, value), max_size=4))
    assert digest_of_run(row, measures) == digest(row, measures)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_checksum_is_of_each_byte_of_a_row_and_of_where_it_is(data):
    texts = st.lists(st.binary(max_size=3), min_size=13, max_size=13)
    numbers = st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.5]))
    one, other = (
        Row(run_id, b"", *data.draw(numbers), *said) for run_id, *said in (data.draw(texts), data.draw(texts))
    )
    assert (digest_of_row(one) == digest_of_row(other)) == (one == other)
    moved = [*one]
    moved[4], moved[5] = moved[4] + moved[5], b""
    assert (digest_of_row(moved) == digest_of_row(one)) == (not one[5])
    assert [*agree([signed(one), one._replace(sha256=bytes(32)), signed(one)._replace(attempts=7)])] == [
        True,
        False,
        False,
    ]
    for strange in (None, 5, 2**70, "x"):
        changed = one._replace(attempts=strange, facts=strange)
        assert [*agree([signed(changed)])] == [True]
        assert digest_of_row(changed) != digest_of_row(one)


# -- round trip -------------------------------------------------------------------------------------------------------
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBER = st.floats(allow_nan=True, allow_infinity=True).map(lambda x: x + 0.0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(TEXT, s),
)


@settings(max_examples=60)
@given(
    result=st.builds(
        Result,
        status=st.sampled_from(STATUSES),
        reason=TEXT,
        traceback=TEXT,
        metrics=st.dictionaries(TEXT, st.dictionaries(TEXT, NUMBER, min_size=1, max_size=4), max_size=3),
        facts=st.dictionaries(TEXT, JSON, max_size=3),
        versions=st.dictionaries(TEXT, TEXT, max_size=3),
        artifacts=st.binary(max_size=200),
        attempts=st.integers(1, 2),
        executor=TEXT,
        started_at=TEXT,
        seconds=st.floats(0, 1e9).map(lambda x: x + 0.0),
    ),
    seed=st.integers(0, 3),
)
def test_a_result_comes_back_as_it_was_nan_and_infinity_too(path, result, seed):
    with Store(path) as store:
        store.append(run_of(seed), result, FINGERPRINTS)
    with Store(path, create=False) as store:
        run, found = store.load_run(run_of(seed).run_id)
        assert (run, same(result, found)) == (run_of(seed), True)
        ((again, without),) = store.results([run.run_id])
        assert (again, same(result, without, artifacts=False)) == (run, True)


def test_a_transaction_that_an_interruption_left_open_is_undone(path):
    with contextlib.closing(Database(path, create=True, timeout=5)) as db:
        db.execute("BEGIN IMMEDIATE")  # as where Ctrl-C comes right after it
        db.execute("CREATE TABLE left_behind (x)")
        with db.transaction():
            db.execute("CREATE TABLE kept (x)")
        found = db.execute("SELECT name FROM sqlite_master WHERE name IN ('left_behind', 'kept')").fetchall()
        assert found == [("kept",)]


def test_text_that_utf8_cannot_hold_is_written_out(path):
    with Store(path) as store:
        store.append(run_of(0), Result("failed", reason="a \ud800 b", traceback="\udfff"), {})
        assert store.load_run(run_of(0).run_id)[1].reason == "a \\ud800 b"


def test_a_rerun_replaces_the_row_and_the_history_keeps_what_it_was(path):
    with Store(path) as store:
        store.append(run_of(1), Result("failed", reason="first", seconds=2.5), {"task": "old"})
        store.append(run_of(1), Result("timeout", reason="second", metrics={"t": {"x": 1.0, "y": 2.0}}), {})
        store.append(run_of(1), Result("ok", metrics={"t": {"z": 3.0}}), {"task": "new"})
        ((_, result),) = store.results([run_of(1).run_id])
        assert (result.status, result.metrics) == ("ok", {"t": {"z": 3.0}})
        assert store.known([run_of(1).run_id]) == {run_of(1).run_id: Known("ok", {"task": "new"})}
        history = store.history(run_of(1).run_id)
        assert [(a.status, a.reason, a.seconds) for a in history] == [
            ("failed", "first", 2.5),
            ("timeout", "second", 0.0),
        ]


def test_known_answers_for_few_and_for_many(path):
    runs = [run_of(i) for i in range(700)]
    with Store(path) as store:
        assert store.known([]) == store.known([runs[0].run_id]) == {}
        for run in runs[::2]:
            store.append(run, Result("ok"), FINGERPRINTS)
        for asked in (runs[:4], runs):
            stored = {run.run_id for run in asked} & {run.run_id for run in runs[::2]}
            assert store.known(run.run_id for run in asked) == {i: Known("ok", FINGERPRINTS) for i in stored}


# -- experiments ------------------------------------------------------------------------------------------------------
def test_experiments_keep_their_order_and_share_runs(path):
    ids = [run_of(i).run_id for i in range(6)]
    with Store(path) as store:
        store.add_experiment("zebra", "why?", "text", [ids[3], ids[1], ids[5], ids[1]], path="z.yaml")
        store.add_experiment("ant", "how?", "text", [ids[1], ids[0]])
        for i in (0, 1, 2, 3):
            store.append(run_of(i), result_of(i), {})
        expected = [("zebra", 3), ("zebra", 1), ("ant", 1), ("ant", 0), ("", 2)]
        assert [(key, run.seed) for key, run, _ in store.rows()] == expected
        store.add_experiment("zebra", "why?", "text", [ids[3], ids[1], ids[5]], path="z.yaml")
        assert [(key, run.seed) for key, run, _ in store.rows()] == expected
        assert [(e.key, e.question, e.path, e.run_ids) for e in store.experiments()] == [
            ("zebra", "why?", "z.yaml", (ids[3], ids[1], ids[5])),
            ("ant", "how?", "", (ids[1], ids[0])),
        ]
        store.add_experiment("zebra", "why?", "other text", [ids[1]])
        assert [run.seed for _, run, _ in store.rows("zebra")] == [1]
        assert {run.seed for key, run, _ in store.rows() if key == ""} == {2, 3}
        assert [(key, run.seed) for key, run, _ in store.errors()] == [("ant", 0), ("", 3)]
        assert all(result.artifacts == b"" for _, _, result in store.rows())
        with pytest.raises(UnknownName, match=r"'bee'.*zebra, ant"):
            list(store.rows("bee"))


def test_a_run_is_found_by_the_beginning_of_its_id(path):
    with Store(path) as store:
        for i in range(40):
            store.append(run_of(i), result_of(i), {})
        run_id = run_of(17).run_id
        assert store.load_run(run_id)[0] == store.load_run(run_id[:12])[0] == run_of(17)
        ids = [run_of(i).run_id for i in range(40)]
        shared = next(c for c in string.hexdigits if sum(i.startswith(c) for i in ids) > 1)
        with pytest.raises(AmbiguousName, match="several runs"):
            store.load_run(shared)
        for prefix in ("", "nothing", "%", run_id + "0"):
            with pytest.raises(UnknownName, match="no run"):
                store.load_run(prefix)


# -- refusals ---------------------------------------------------------------------------------------------------------
def refusal(path: Path, create: bool = True, timeout: float = 30.0) -> str:
    with pytest.raises(StoreError) as caught, Store(path, create=create, timeout=timeout) as store:
        store.append(run_of(0), Result("ok"), {})
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_not_a_store_is_refused_and_left_alone(tmp_path):
    text, other, empty = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "empty.db"
    text.write_text("Attention is a weighted sum of values.\n" * 40)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    empty.touch()
    before = text.read_bytes(), other.read_bytes()
    assert "not a results store" in refusal(text)
    assert "another program" in refusal(other)
    assert (text.read_bytes(), other.read_bytes()) == before
    assert "file is empty" in refusal(empty, create=False)
    assert "no results store" in refusal(tmp_path / "missing.db", create=False)
    assert not (tmp_path / "missing.db").exists()
    assert "cannot be" in refusal(tmp_path)
    assert "cannot be used" in refusal(text / "attnlab.db")


def test_a_newer_schema_is_refused_with_both_versions(path):
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    message = refusal(path)
    assert "version 7" in message
    assert "up to 5" in message
    assert "upgrade attnlab" in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(path):
    Store(path).close()
    path.parent.chmod(0o555)
    path.chmod(0o444)
    try:
        assert "writable" in refusal(path)
    finally:
        path.parent.chmod(0o755)


READER = """
import os, sys
from attnlab.errors import StoreError
from attnlab.sweeps.store import Store
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
with Store(sys.argv[1], create=False) as store:
    run, result = store.load_run(sys.argv[2])
    print(run.canonical, result.status)
    try:
        store.append(run, result, {})
    except StoreError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the permissions of POSIX")
def test_a_store_that_may_only_be_read_is_read():
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    path = folder / "attnlab.db"
    try:
        with Store(path) as store:
            store.append(run_of(1), result_of(1), FINGERPRINTS)
        path.chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", READER, str(path), run_of(1).run_id], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        read, refused = done.stdout.splitlines()
        assert read == f"{run_of(1).canonical} ok"
        assert "it is read-only; make the file and its folder writable" in refused
        assert sorted(folder.iterdir()) == [path]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is where even the superuser may not write")
def test_a_place_where_nothing_can_be_made_is_refused():
    assert "cannot be" in refusal(Path("/proc/attnlab.db"))


def test_a_store_that_another_process_keeps_locked_is_given_up_after_the_timeout(path):
    Store(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        assert "locked for 0.1 s" in refusal(path, timeout=0.1)
    finally:
        holder.close()
    with Store(path) as store:
        store.append(run_of(0), Result("ok"), {})


FULL_DISK = """
    import resource, sys
    from attnlab.errors import StoreError
    from attnlab.sweeps.run import Result, Run
    from attnlab.sweeps.store import Store
    import random

    with Store(sys.argv[1]) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        try:
            for seed in range(1000):
                store.append(Run.of({"seed": seed}), Result("ok", artifacts=random.randbytes(20_000)), {})
                print(seed, flush=True)
        except StoreError as error:
            print(error, file=sys.stderr)
            sys.exit(6)
"""


def script(text: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_a_full_disk_is_said_and_what_was_acknowledged_is_kept(path):
    process = script(FULL_DISK, path, stderr=subprocess.PIPE)
    printed, said = process.communicate()
    assert process.returncode == 6
    assert "disk" in said
    acknowledged = [run_of(int(line)).run_id for line in printed.split()]
    with Store(path) as store:
        assert len(acknowledged) > 3
        assert set(acknowledged) <= set(store.known(acknowledged))


# -- damage -----------------------------------------------------------------------------------------------------------
def test_a_value_changed_behind_our_back_is_never_shown(path):
    runs = [run_of(i) for i in range(4)]
    with Store(path) as store:
        store.add_experiment("e", "", "", [run.run_id for run in runs])
        for run in runs:
            store.append(run, result_of(run.seed), FINGERPRINTS)
    db = sqlite3.connect(path)
    db.execute("UPDATE runs SET numbers = replace(numbers, '1.1', '2.1') WHERE run_id = ?", (runs[1].run_id,))
    db.execute("UPDATE artifacts SET content = zeroblob(3000) WHERE run_id = ?", (runs[2].run_id,))
    db.execute("DELETE FROM artifacts WHERE run_id = ?", (runs[3].run_id,))
    db.commit()
    db.close()
    with Store(path) as store:
        assert set(store.damaged()) == {runs[i].run_id for i in (1, 2, 3)}
        assert store.known([runs[0].run_id, runs[1].run_id]) == {
            runs[0].run_id: Known("failed", FINGERPRINTS),
            runs[1].run_id: Known("damaged", {}),
        }
        by_status = {run.run_id: result.status for _, run, result in store.rows()}
        assert by_status == {run.run_id: "damaged" if run == runs[1] else result_of(run.seed).status for run in runs}
        assert [run.run_id for _, run, _ in store.errors("e")] == [
            r.run_id for r in runs if by_status[r.run_id] != "ok"
        ]
        for run in runs[1:]:
            with pytest.raises(StoreError, match=run.run_id):
                store.load_run(run.run_id)
            store.append(run, result_of(run.seed), FINGERPRINTS)
        assert store.damaged() == []
        assert len(list(store.rows())) == 4
        assert [a.status for a in store.history(runs[1].run_id)] == ["damaged"]


def test_rows_that_can_no_longer_be_found_are_told_when_the_store_is_opened(path):
    runs = sorted((run_of(i) for i in range(8)), key=lambda run: run.run_id)
    with Store(path) as store:
        for run in runs:
            store.append(run, result_of(run.seed), {})
    path.write_bytes(path.read_bytes().replace(runs[2].run_id.encode(), b"f" * 16))  # no longer in order
    assert "PRIMARY KEY order" in refusal(path)


def test_links_changed_behind_our_back_are_never_followed(path):
    with Store(path) as store:
        store.add_experiment("e", "", "", ["a" * 16, "b" * 16])
    db = sqlite3.connect(path)
    db.execute("DELETE FROM links WHERE place = 1")
    db.commit()
    db.close()
    with Store(path) as store, pytest.raises(StoreError, match="experiment e"):
        store.experiments()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store with a few rows in every table."""
    path = tmp_path_factory.mktemp("sound") / "attnlab.db"
    fill(path)
    return path


def fill(path):
    with Store(path) as store:
        store.add_experiment("e", "why?", "text " * 50, [run_of(i).run_id for i in range(8)])
        for i in range(8):
            store.append(run_of(i), result_of(i), FINGERPRINTS)
        store.append(run_of(0), result_of(0), FINGERPRINTS)


PLACE = st.integers(0, 2**20)  # of a byte, counted round and round


@settings(max_examples=250)
@given(
    flips=st.lists(
        st.tuples(PLACE | st.integers(0, 99) | st.integers(0, 150).map(lambda i: 512 * i), st.integers(0, 255))
    ),
    cut=st.none() | st.tuples(PLACE, st.integers(1, 5000)),
)
def test_random_damage_is_a_store_error_or_harmless_and_never_a_wrong_value(tmp_path, sound, flips, cut):
    is_told_or_harmless(tmp_path, sound, flips, cut)


def is_told_or_harmless(tmp_path, sound, flips, cut):
    damaged = bytearray(sound.read_bytes())
    for where, byte in flips:
        damaged[where % len(damaged)] = byte
    if cut is not None:
        start, length = cut[0] % len(damaged), cut[1]
        del damaged[start : start + length]
    path = tmp_path / "attnlab.db"
    for leftover in tmp_path.iterdir():
        leftover.unlink()
    path.write_bytes(damaged)
    with contextlib.suppress(StoreError), Store(path, create=False) as store:
        assert {e.key: e.run_ids for e in store.experiments()} == {"e": tuple(run_of(i).run_id for i in range(8))}
        known = store.known(run_of(i).run_id for i in range(8))
        possible = (Known("ok", FINGERPRINTS), Known("failed", FINGERPRINTS), Known("damaged", {}))
        assert all(k._replace(seconds=0.0) in possible for k in known.values())
        rows = list(store.rows("e"))  # a row whose name was hit is missing, and would be run again
        assert [run.run_id for _, run, _ in rows] == [run_of(i).run_id for i in range(8) if run_of(i).run_id in known]
        rows = [(run, result) for _, run, result in rows if result.status != "damaged" or result.metrics]
        assert all(same(result_of(run.seed), result, artifacts=False) for run, result in rows)
        for run, _ in rows:
            assert same(store.load_run(run.run_id)[1], result_of(run.seed))
        assert {a.reason for a in store.history(run_of(0).run_id)} <= {"reason 0"}
        store.append(run_of(3), result_of(3), FINGERPRINTS)
        assert same(store.load_run(run_of(3).run_id)[1], result_of(3))


# -- many processes, and their deaths ---------------------------------------------------------------------------------
APPENDS = """
    import sys
    from attnlab.sweeps.run import Result, Run
    from attnlab.sweeps.store import Store

    first, n = int(sys.argv[2]), int(sys.argv[3])
    sys.stdin.readline()
    with Store(sys.argv[1]) as store:
        for seed in range(first, first + n):
            run = Run.of({"seed": seed})
            store.append(run, Result("ok", metrics={"test": {"m": seed + 0.5}}, artifacts=bytes(2000)), {})
            print(seed, flush=True)
"""


def integrity(path: Path) -> str:
    db = sqlite3.connect(path)
    found = db.execute("PRAGMA integrity_check").fetchone()[0]
    db.close()
    return str(found)


def test_what_was_acknowledged_survives_kill_9(path):
    chance = random.Random(11)
    acknowledged: list[int] = []
    for round_ in range(5):
        process = script(APPENDS, path, 10_000 * round_, 10_000)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        for _ in range(chance.randint(1, 150)):
            acknowledged.append(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines()]
        process.wait()
        process.stdout.close()
    with Store(path, create=False) as store:
        found = dict(store.results(run_of(seed).run_id for seed in acknowledged))
        assert {run.seed: result.metrics["test"]["m"] for run, result in found.items()} == {
            seed: seed + 0.5 for seed in acknowledged
        }
    assert integrity(path) == "ok"


def test_twelve_processes_race_to_make_the_store_and_fill_it(path):
    processes = [script(APPENDS, path, 6 * i, 12) for i in range(12)]  # each run is written by two of them
    time.sleep(1)  # until all stand at the line; a late one makes the race easier, not wrong
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        assert process.stdout is not None
        process.stdout.read()
        process.stdout.close()
        process.wait()
    assert [process.returncode for process in processes] == [0] * 12
    with Store(path, create=False) as store:
        seeds = [run.seed for _, run, _ in store.rows()]
        assert sorted(seeds) == list(range(78))
        assert all(len(store.history(run_of(seed).run_id)) == (6 <= seed < 72) for seed in range(78))
    assert integrity(path) == "ok"


def test_the_store_loads_no_pandas():
    code = "import sys, attnlab.sweeps.store; print(sorted({'pandas', 'sklearn', 'numba'} & set(sys.modules)))"
    process = script(code)
    assert process.communicate()[0].strip() == "[]"


def test_numpy_numbers_are_kept_and_what_is_not_plain_is_refused_before_anything_changes(path):
    with Store(path) as store:
        store.append(run_of(0), Result("ok", facts={"n": np.int64(3)}, metrics={"t": {"m": np.float32(0.5)}}), {})
        with pytest.raises(TypeError, match="object"):
            store.append(run_of(0), Result("ok", facts={"n": object()}), {})
        ((_, result),) = store.results([run_of(0).run_id])
        assert (result.facts, result.metrics) == ({"n": 3}, {"t": {"m": 0.5}})


# -- code of others in this process -----------------------------------------------------------------------------------
def test_a_file_of_the_store_that_others_close_is_told_and_nothing_is_lost(path, tmp_path):
    store = Store(path)
    for seed in range(3):
        store.append(run_of(seed), result_of(seed), FINGERPRINTS)
    held = store._db.descriptors()._open
    assert {Path(name).name for name, _ in held.values()} == {"attnlab.db", "attnlab.db-wal", "attnlab.db-shm"}
    lent = store.lent()
    lent.__enter__()
    for n, descriptor in enumerate(held):
        theirs = os.open(tmp_path / f"theirs-{n}", os.O_RDWR | os.O_CREAT)
        os.dup2(theirs, descriptor)  # closes the one that the store has, and takes its number
        os.close(theirs)
    with pytest.raises(StoreError, match="closed this file while the sweep had it open"):
        lent.__exit__(None, None, None)
    store.close()  # which writes what is in the log into the file
    assert [p.stat().st_size for p in sorted(tmp_path.glob("theirs-*"))] == [0] * len(held)
    with Store(path) as store:
        assert len(store.known([run_of(seed).run_id for seed in range(3)])) == 3


def test_a_connection_that_others_close_is_told(path):
    store = Store(path)
    store.append(run_of(0), result_of(0), FINGERPRINTS)
    store._db._connection.close()
    with pytest.raises(StoreError, match="closed this file while the sweep had it open"):
        store.append(run_of(1), result_of(1), FINGERPRINTS)
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):  # a mistake of the caller stays one
        store.append(run_of(1), result_of(1), FINGERPRINTS)


def test_code_of_others_may_read_the_store(path):
    with Store(path) as store:
        store.append(run_of(0), result_of(0), FINGERPRINTS)
        with store.lent(), Store(path, create=False) as again:
            assert len(again.results([run_of(0).run_id])) == 1
        assert store.append(run_of(1), result_of(1), FINGERPRINTS)
