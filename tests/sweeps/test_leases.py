"""Several sweeps on one store: each run is done once, whoever does it, and whoever dies."""

import collections
import json
import os
import random
import select
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from commands import attnlab_command
from sweeps.forked import PATIENCE, Forked, until

import attnlab
from attnlab.sweeps.executors.serial import SerialExecutor
from attnlab.sweeps.leases import Leases, this_machine
from attnlab.sweeps.pipeline import plan_with_reasons
from attnlab.sweeps.run import Result, Run
from attnlab.sweeps.store import Store

EXPERIMENT = {
    "attnlab": 1,
    "name": "shared",
    "question": "Who does what?",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"projection": 4, "steps": 2}},
}

STARTED = []


@pytest.fixture(autouse=True)
def none_is_left():
    """A test that fails leaves no process behind."""
    yield
    for process in STARTED:
        process.send_signal(signal.SIGKILL)
        process.ended()
    STARTED.clear()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """What a first sweep imports and finds out is there before coordinators are forked."""
    attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path_factory.mktemp("warm") / "s.db", quiet=True)


class Coordinator(Forked):
    """A process that sweeps once it is told to. Its runs write down that they were done, and by whom.

    A run takes so many seconds; with -1, until a file is there.
    """

    def __init__(self, store, n_seeds, seconds, **options):
        self.folder = Path(f"{store}.{len(STARTED)}")
        self.folder.mkdir()
        waits, self.begin = os.pipe()
        super().__init__(self.folder, lambda: self._sweep(waits, Path(store), n_seeds, seconds, options))
        os.close(waits)
        STARTED.append(self)

    def _sweep(self, waits, store, n_seeds, seconds, options):
        log = os.open(f"{store}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def noted(run):
            os.write(log, f"{run.run_id} {os.getpid()}\n".encode())
            while seconds < 0 and not os.path.exists(f"{store}.go"):
                time.sleep(0.02)
            time.sleep(max(0.0, seconds))
            return Result("ok", metrics={"test": {"alignment_accuracy": run.seed / 1000}}, facts={"fit_seconds": 0.0})

        class Noting(SerialExecutor):
            """Does nothing but to write down what is done."""

            name = "noting"

            def __init__(self):
                super().__init__(execute=noted)

        attnlab.register(Noting)
        assert select.select([waits], [], [], PATIENCE)[0]
        frame = attnlab.sweep(EXPERIMENT | {"seeds": n_seeds}, store=store, executor="noting", **options)
        elsewhere = frame.attrs.get("elsewhere", {}).get("shared", [])
        (self.folder / "found.json").write_text(json.dumps([len(frame), *elsewhere]))


def start(*processes):
    for process in processes:
        os.write(process.begin, b"x")
        os.close(process.begin)


def ended(process):
    """How many rows its table had, the runs that were elsewhere, and what it said."""
    assert process.ended() == 0, process.said.read_text()
    return json.loads((process.folder / "found.json").read_text()), process.said.read_text()


def executions(store):
    """How often each run was begun, and the processes that began it."""
    begun = collections.defaultdict(list)
    for line in Path(f"{store}.log").read_text().splitlines():
        run_id, pid = line.split()
        begun[run_id].append(int(pid))
    return begun


def stored(store):
    with Store(store, create=False) as opened:
        return {run.run_id: run for _, run, _ in opened.rows()}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "s.db"


def test_two_sweeps_of_the_same_runs_share_them(store):
    two = [Coordinator(store, 20, 0.02) for _ in range(2)]
    start(*two)
    for process in two:
        (rows,), _ = ended(process)
        assert rows == 40, "each has all results at its end"
    begun = executions(store)
    assert {len(pids) for pids in begun.values()} == {1}
    assert len(begun) == 40
    assert len({pid for pids in begun.values() for pid in pids}) == 2, "both have worked"
    with sqlite3.connect(store) as db:
        assert db.execute("SELECT (SELECT count(*) FROM leases), (SELECT count(*) FROM owners)").fetchone() == (0, 0)


def kill_rounds(tmp_path, n_rounds, n_seeds, seconds):
    """Six coordinators, some of which are killed at any time: nothing is done twice but what the killed had begun."""
    chance = random.Random(3)
    n_twice = n_killed = 0
    for n in range(n_rounds):
        store = tmp_path / f"{n}.db"
        six = [Coordinator(store, n_seeds, seconds, quiet=True) for _ in range(6)]
        start(*six)
        killed = chance.sample(six, 3)
        for process in killed:
            time.sleep(chance.uniform(0, n_seeds * 2 * seconds / 4))
            process.send_signal(signal.SIGKILL)
        n_killed += len(killed)
        for process in six:
            if process not in killed:
                (rows,), _ = ended(process)
                assert rows == 2 * n_seeds
            else:
                process.ended()
        begun = executions(store)
        assert begun.keys() == stored(store).keys()
        dead = {process.pid for process in killed}
        for run_id, pids in begun.items():
            assert len(set(pids) - dead) <= 1, f"round {n}: {run_id} was done twice by those that lived"
            n_twice += len(pids) - 1
    assert n_twice <= n_killed, "a coordinator that dies had begun one run"


def test_six_sweeps_of_which_three_are_killed(tmp_path):
    kill_rounds(tmp_path, n_rounds=1, n_seeds=30, seconds=0.02)


@pytest.mark.long
def test_twenty_rounds_of_six_sweeps_of_which_three_are_killed(tmp_path):
    kill_rounds(tmp_path, n_rounds=20, n_seeds=60, seconds=0.02)


def test_a_sweep_waits_for_others_or_says_that_it_did_not(store):
    first = Coordinator(store, 2, -1)
    start(first)
    while not Path(f"{store}.log").exists() or not executions(store):
        time.sleep(0.05)
    ((_, planned),) = plan_with_reasons([EXPERIMENT | {"seeds": 2}], store)
    at_work = [p for p in planned if p.action == "elsewhere"]
    assert at_work
    assert all(f"at work elsewhere (process {first.pid} on " in p.reason for p in at_work)
    hasty = Coordinator(store, 2, 0.0, wait=False)
    start(hasty)
    (rows, *elsewhere), said = ended(hasty)
    assert elsewhere
    assert rows + len(elsewhere) <= 4
    assert "at work elsewhere" in said
    assert "not waited for" in said
    patient = Coordinator(store, 2, 0.0)
    start(patient)
    until(lambda: "waiting for" in patient.said.read_text(), "a word of what it waits for")
    Path(f"{store}.go").touch()
    (rows,), _ = ended(patient)
    assert rows == 4
    ended(first)
    assert {len(pids) for pids in executions(store).values()} == {1}


def command(*args, cwd):
    return attnlab_command(*args, cwd=cwd)


def test_the_command_line_says_what_is_at_work_elsewhere(tmp_path):
    (tmp_path / "shared.yaml").write_text(json.dumps(EXPERIMENT | {"seeds": 2}))  # YAML contains JSON
    first = Coordinator(tmp_path / "s.db", 2, -1)
    start(first)
    while not Path(tmp_path / "s.db.log").exists() or not executions(tmp_path / "s.db"):
        time.sleep(0.05)
    plan = command("plan", "shared.yaml", "--store", "s.db", cwd=tmp_path)
    assert "at work elsewhere" in plan.stderr
    swept = command("sweep", "shared.yaml", "--store", "s.db", "--no-wait", "--executor", "serial", cwd=tmp_path)
    assert swept.returncode == 1, swept.stderr
    assert "runs are at work elsewhere" in swept.stdout
    first.send_signal(signal.SIGKILL)
    first.ended()
    again = command("sweep", "shared.yaml", "--store", "s.db", "--no-wait", "--executor", "serial", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


# -- the rules, one by one --------------------------------------------------------------------------------------------
RUNS = [Run.of({"seed": i}) for i in range(6)]
IDS = [run.run_id for run in RUNS]


def as_on_another_machine(store, lease):
    """A store whose lease holder is said to be on another machine."""
    store.leases = Leases(store._db, lease=lease)
    claim = store.leases.claim(IDS, {}, 4)
    store._db.execute("UPDATE owners SET machine = 'another', host = 'far'")
    return claim


def test_a_coordinator_on_another_machine_lives_as_long_as_its_heart_beats(store):
    with Store(store) as far, Store(store) as near:
        assert as_on_another_machine(far, lease=0.8).mine == IDS[:4]
        near.leases = Leases(near._db, lease=0.8)
        end = time.monotonic() + 2.0  # several leases long
        while time.monotonic() < end:
            claim = near.leases.claim(IDS, {}, 0)
            assert claim.mine == []
            time.sleep(0.1)
        claim = near.leases.claim(IDS, {}, 6)
        assert (claim.mine, sorted(claim.held)) == (IDS[4:], sorted(IDS[:4]))
        assert str(claim.held[IDS[0]]) == f"process {os.getpid()} on far"
        far.leases._stop.set()  # its machine loses power
        while not (claim := near.leases.claim(IDS[:4], {}, 6)).mine:
            time.sleep(0.1)
        assert claim.mine == IDS[:4]
        far.append(
            RUNS[0], Result("ok", metrics={"t": {"m": 1.0}}), {}
        )  # it was only asleep, and is first all the same
        assert near.append(RUNS[1], Result("ok", metrics={"t": {"m": 2.0}}), {})
        assert not far.append(RUNS[1], Result("ok", metrics={"t": {"m": 3.0}}), {}), "somebody else has done it"
        assert near.results([IDS[1]])[0][1].metrics == {"t": {"m": 2.0}}


def test_a_wrong_clock_takes_nothing_over(store):
    """The time of day of another machine may be an hour behind."""
    with Store(store) as far, Store(store) as near:
        as_on_another_machine(far, lease=60.0)
        far._db.execute("UPDATE owners SET heartbeat = heartbeat - 3600, expires = expires - 3600")
        assert near.leases.claim(IDS[:4], {}, 4).mine == []


def test_a_process_number_that_is_used_again_is_another_process(store):
    with Store(store) as gone, Store(store) as near:
        gone.leases.claim(IDS, {}, 6)
        assert near.leases.claim(IDS, {}, 6).mine == []
        if sys.platform == "linux":
            gone._db.execute("UPDATE owners SET started = '1'")
            assert near.leases.claim(IDS, {}, 6).mine == IDS


def test_what_somebody_else_has_done_since_is_not_claimed(store):
    with Store(store) as one, Store(store) as two:
        before = two.leases.row_marks(IDS)
        one.append(RUNS[0], Result("failed", reason="so"), {})
        claim = two.leases.claim(IDS, before, 2)
        assert (claim.changed, claim.mine) == (IDS[:1], IDS[1:3])
        two.leases.leave()
        assert one.leases.claim(IDS[1:], {}, 9).mine == IDS[1:]


def test_a_machine_is_known_and_leases_that_nobody_wrote_hold_nothing(store):
    assert this_machine() == this_machine()
    with Store(store) as opened:
        opened._db.execute("INSERT INTO leases VALUES (?, 'x')", (IDS[0],))
        opened._db.execute("INSERT INTO owners VALUES ('x', 1, 2, 'three', 4, 5, 6, 7)")
        assert opened.leases.at_work(IDS) == {}
        assert opened.leases.claim(IDS, {}, 6).mine == IDS


def test_leases_and_threads_leave_forked_workers_alone(store):
    """The heartbeat is a thread, and local workers are forked beside it."""
    frame = attnlab.sweep(EXPERIMENT | {"seeds": 3}, store=store, jobs=2, quiet=True)
    assert (frame["status"] == "ok").all()
    assert len(frame) == 6
