"""Limits that are kept, whatever a run starts; deaths that are tried again; and what a run says, however long and wild."""

import collections
import ctypes
import io
import mmap
import os
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import attnlab_command

import attnlab
from attnlab.errors import StoreError
from attnlab.plugins import configure
from attnlab.sweeps.executors.local import LocalExecutor
from attnlab.sweeps.executors.quarantine import Quarantine
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store
from attnlab.tables import for_spreadsheets, print_table, visible

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


def run_of(seed, **more):
    return Run.of({"seed": seed, **more})


def done(runs, executor):
    for run in runs:
        executor.submit(run)
    pairs = list(executor.as_completed())
    assert collections.Counter(run for run, _ in pairs) == collections.Counter(runs)
    return dict(pairs)


# -- limits -----------------------------------------------------------------------------------------------------------
@linux
def test_runs_that_are_overdue_at_once_are_told_at_once():
    """Each is asked where it is before the first answer is waited for."""

    def hangs(run):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # and so it never answers
        time.sleep(600)

    with LocalExecutor(jobs=8, time_limit=2.0, execute=hangs) as executor:
        results = done([run_of(i) for i in range(8)], executor)
    assert {r.status for r in results.values()} == {"timeout"}
    ends = [r.seconds for r in results.values()]
    assert max(ends) - min(ends) < 4 * 0.8, "one after another, they would wait 0.8 s each"


@linux
def test_the_memory_of_all_processes_of_a_run_counts_and_shared_pages_once():
    def swells_in_children(run):
        for _ in range(4):  # each is below the limit of address space that it inherits
            if os.fork() == 0:
                held = np.ones(150 * MIB // 8)
                time.sleep(600)
                os._exit(int(held[0]))
        time.sleep(600)

    def shares(run):
        held = np.ones(150 * MIB // 8)
        children = []
        for _ in range(4):
            if (child := os.fork()) == 0:
                time.sleep(1.0)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        return Result("ok", facts={"sum": float(held.sum())})

    with LocalExecutor(jobs=1, memory_limit=250 * MIB, time_limit=60, execute=swells_in_children) as executor:
        (result,) = done([run_of(0)], executor).values()
    assert (result.status, "memory limit of 250 MiB" in result.reason) == ("oom", True)
    with LocalExecutor(jobs=1, memory_limit=250 * MIB, time_limit=60, execute=shares) as executor:
        (result,) = done([run_of(0)], executor).values()
    assert result.status == "ok", result.reason


@linux
def test_a_mapping_that_the_limit_refuses_is_oom():
    def maps(run):
        return Result("ok", facts={"size": len(mmap.mmap(-1, 400 * MIB))})

    with LocalExecutor(jobs=1, memory_limit=250 * MIB, time_limit=60, execute=maps) as executor:
        (result,) = done([run_of(0)], executor).values()
    assert (result.status, "memory limit of 250 MiB is used up" in result.reason) == ("oom", True), result.reason


@linux
@pytest.mark.parametrize("number", [signal.SIGSTOP, None])
def test_runs_that_stop_themselves_or_hear_no_signal_are_told_at_once(number):
    def hangs(run):
        if number is not None:
            os.kill(os.getpid(), number)
        for one in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(one, signal.SIG_IGN)
        ctypes.PyDLL(None).sleep(600)  # with Python's lock

    with LocalExecutor(jobs=8, time_limit=1.0, execute=hangs) as executor:
        results = done([run_of(i) for i in range(8)], executor)
    assert {r.status for r in results.values()} == {"timeout"}
    assert all("exceeded its time limit" in r.reason for r in results.values())


def daemon(path, then):
    """Start a process that leaves its session and its parent, and writes its number; then do what is asked."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            path.write_text(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return then()


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


@linux
@pytest.mark.parametrize("ending", ["returns", "hangs", "crashes"])
def test_a_daemon_does_not_outlive_its_run(tmp_path, ending):
    endings = {"returns": lambda: Result("ok"), "hangs": lambda: time.sleep(600), "crashes": lambda: os._exit(3)}
    then = endings[ending]
    with LocalExecutor(jobs=1, time_limit=5.0, execute=lambda run: daemon(tmp_path / "pid", then)) as executor:
        done([run_of(0)], executor)
        pid = int((tmp_path / "pid").read_text())
        end = time.monotonic() + 20
        while is_there(pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert not is_there(pid)


# -- deaths -----------------------------------------------------------------------------------------------------------
@linux
@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT", "SIGSEGV", "SIGKILL", "SIGTERM", "SIGABRT", "SIGUSR2"])
def test_a_signal_from_outside_is_tried_again(tmp_path, name):
    def waits_for_its_end(run):
        if not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            (tmp_path / "pid").write_text(str(os.getpid()))
            time.sleep(600)
        return Result("ok")

    def shoot():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        os.kill(int((tmp_path / "pid").read_text()), getattr(signal, name))

    shooter = threading.Thread(target=shoot)
    shooter.start()
    with LocalExecutor(jobs=1, time_limit=60, execute=waits_for_its_end) as executor:
        (result,) = done([run_of(0)], executor).values()
    shooter.join()
    assert (result.status, result.attempts) == ("ok", 2)


@linux
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_run_is_tried_again_as_often_as_asked(tmp_path, retries):
    def dies(run):
        with open(tmp_path / "tries", "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    with LocalExecutor(jobs=1, retries=retries, execute=dies) as executor:
        (result,) = done([run_of(0)], executor).values()
    assert (result.status, result.attempts) == ("crashed", retries + 1)
    assert (tmp_path / "tries").read_text() == "x" * (retries + 1)


def with_parts(seed, similarity, task="lookup"):
    mechanism = {"single_head": {"similarity": {similarity: {}}}}
    return run_of(seed, task={task: {}}, mechanism=mechanism, model={"aligner": {}})


def test_only_what_was_in_every_death_is_put_in_quarantine():
    quarantine = Quarantine()
    for seed in range(3):
        assert quarantine.refuses(with_parts(9, "p:bad")) == ""
        quarantine.died(with_parts(seed, "p:bad", task=f"p:t{seed}"))
    assert "similarity p:bad killed 3 workers in a row" in quarantine.refuses(with_parts(9, "p:bad", task="p:t0"))
    assert quarantine.refuses(with_parts(9, "p:good", task="p:t0")) == ""
    quarantine = Quarantine()
    for seed in range(9):
        quarantine.died(with_parts(seed, "dot"))  # attnlab's own
        quarantine.died(with_parts(seed, "p:mixed"))
        quarantine.lived(with_parts(seed, "p:mixed"))
    assert quarantine.refuses(with_parts(9, "dot")) == quarantine.refuses(with_parts(9, "p:mixed")) == ""
    for seed in range(3):
        quarantine.died(with_parts(seed, "p:one", task="p:other"))
    assert quarantine.refuses(with_parts(9, "p:one")) == "", "it may be the other"
    assert "similarity p:one and task p:other" in quarantine.refuses(with_parts(9, "p:one", task="p:other"))


KILLER = """
import os
import attnlab

class Deadly(attnlab.Similarity):
    "Kills its process."
    name = "deadly"

    def score(self, Q, K):
        with open("tries", "a") as file:
            file.write("x")
        os._exit(9)

@attnlab.hookimpl
def attnlab_similarities():
    return [Deadly]
"""


@linux
def test_a_component_that_kills_three_workers_in_a_row_costs_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "killer.py").write_text(KILLER)
    configure(files=["killer.py"])
    try:
        experiment = {
            "attnlab": 1,
            "name": "deadly",
            "question": "How many die?",
            "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
            "mechanism": {"similarity": ["deadly", "dot"]},
            "model": {"aligner": {"projection": 4, "steps": 2}},
            "seeds": 8,
        }
        frame = attnlab.sweep(experiment, store="s.db", jobs=1, quiet=True)
    finally:
        configure()
    by_similarity = frame.groupby("similarity")["status"].agg(lambda s: sorted(set(s))).to_dict()
    assert by_similarity == {"deadly": ["crashed"], "dot": ["ok"]}
    assert (tmp_path / "tries").read_text() == "xxx"
    assert frame["reason"].str.contains("similarity file:deadly killed 3 workers in a row").sum() == 5


# -- what a run says --------------------------------------------------------------------------------------------------
def test_reasons_tracebacks_and_notes_have_an_end(tmp_path):
    long = "é" * 10**6
    with Store(tmp_path / "s.db") as store:
        store.append(run_of(0), Result("failed", long, long, facts={"notes": ["short", long, "x"]}), {})
        store.append(run_of(1), Result("failed", "é" * 32768, facts={"notes": ["a" * 10] * 100}), {})
        (_, found), (_, exact) = store.results([run_of(0).run_id, run_of(1).run_id])
    for text in (found.reason, found.traceback):
        assert text.endswith("é... cut")
        assert len(text.encode()) <= 2**16
    assert found.facts["notes"][0] == "short"
    assert found.facts["notes"][-1].endswith("... cut")
    assert sum(len(note.encode()) for note in found.facts["notes"]) <= 2**16
    assert (exact.reason, exact.facts["notes"]) == ("é" * 32768, ["a" * 10] * 100)


WILD = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202e \rback \x00"


def test_a_terminal_obeys_nothing_that_a_run_says(tmp_path, capsys):
    with Store(tmp_path / "s.db") as store:
        spec = {"task": {"lookup": {}}, "mechanism": {"single_head": {}}, "model": {"aligner": {}}, "seed": 0}
        run = Run.of(spec)
        store.add_experiment("e", f"why {WILD}?", "{}", [run.run_id])
        store.append(run, Result("failed", reason=WILD, traceback=f"a\n{WILD}\tb"), {})
    for words in (["errors", "--traceback"], ["results"]):
        shown = attnlab_command(*words, "--store", "s.db", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert not set(shown.stdout + shown.stderr) & set("\x1b\x07\x9b\u202e\r\x00")
        assert "\\x1b[2J" in shown.stdout
    print_table(pd.DataFrame({f"name{WILD}": [WILD]}), WILD)
    assert "\x1b" not in capsys.readouterr().out
    assert visible("a\tb\nc é 漢") == "a\tb\nc é 漢"


def packed(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def bomb():
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("loss_curve.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**25,)})
        for _ in range(256):
            member.write(bytes(MIB))
    return buffer.getvalue()


def liar():
    """An array that says it is a terabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file, file.open("loss_curve.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**37,)})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "what",
    [bomb, liar, lambda: b"PK\x03\x04 and no more", lambda: b"\x80\x04N."],
    ids=["bomb", "liar", "cut", "pickle"],
)
def test_artifacts_that_are_none_are_told_and_not_unpacked(tmp_path, what):
    with Store(tmp_path / "s.db") as store:
        store.add_experiment("e", "why?", "{}", [run_of(0).run_id])
        store.append(run_of(0), Result("ok", artifacts=what()), {})
    with pytest.raises(StoreError, match=f"s.db: run {run_of(0).run_id}: its artifacts"):
        attnlab.load_run(run_of(0).run_id, tmp_path / "s.db")


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"loss_curve": np.arange(5.0), "test.test.W": np.ones((2, 3, 4)), "words": np.array("漢")}
    with Store(tmp_path / "s.db") as store:
        store.append(run_of(0), Result("ok", artifacts=packed(**arrays)), {})
    found = attnlab.load_run(run_of(0).run_id, tmp_path / "s.db").arrays
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_text_for_spreadsheets_is_no_formula():
    frame = pd.DataFrame({"=a": ["=1+1", "+x", "-y", "@z", "w", None], "n": [-1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})
    escaped = for_spreadsheets(frame)
    assert escaped.columns.tolist() == ["'=a", "n"]
    assert escaped["'=a"].tolist()[:5] == ["'=1+1", "'+x", "'-y", "'@z", "w"]
    assert escaped["n"].tolist() == frame["n"].tolist()
