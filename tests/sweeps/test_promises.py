"""What attnlab promises about sweeps, tried in many rounds on each executor; `docs/promises.md` has the table.

`python -m pytest -m long tests/sweeps/test_promises.py` prints rounds and failures. The short versions are in the other files here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import attnlab
from attnlab.cli import main
from attnlab.plugins import configure
from attnlab.sweeps.executors.local import LocalExecutor
from attnlab.sweeps.run import Result, Run

sys.path.insert(0, str(Path(__file__).parent))
from forked import Forked, descendants, integrity, is_running, rows, until

if sys.platform != "linux":
    pytest.skip("signals, forks and /proc", allow_module_level=True)
HERE = Path(__file__).parent
EXECUTORS = ("serial", "local", "dask")
KILLS = {"serial": 12, "local": 12, "dask": 10}  # P1: of a coordinator
INTERRUPTIONS = {"serial": 4, "local": 4, "dask": 4}  # P2: each of four ways to go on
FAULTY_SWEEPS = {"serial": 1, "local": 1, "dask": 1}  # P3: each fault has two runs in each
OVERDUE = 4  # P4: of each kind
LATE = 20.0  # P4: seconds over the limit; those that are seen on a machine with nothing else to do are below 2
SHOT_SWEEPS = {"local": 2, "dask": 1}  # P5
DAMAGES = 1000  # P7
SEEDS = 1  # P9: of each similarity
FULL_DISKS = {"serial": 6, "local": 4, "dask": 2}  # P10
SIGNALS = {"serial": 2, "local": 1, "dask": 1}  # P12: of each of three kinds

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

CLUSTER = """
    import sys
    from distributed import LocalCluster

    if __name__ == "__main__":
        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
            print(cluster.scheduler_address, flush=True)
            sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A scheduler with one worker."""
    pytest.importorskip("distributed")
    script = tmp_path_factory.mktemp("cluster") / "cluster.py"
    script.write_text(textwrap.dedent(CLUSTER))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, str(script)], **pipes) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture(params=EXECUTORS)
def name(request):
    """An executor."""
    return request.param


@pytest.fixture
def on(name, request):
    """The executor as `attnlab.sweep` takes it."""
    return {"dask": {"address": request.getfixturevalue("address")}} if name == "dask" else name


@pytest.fixture(autouse=True)
def no_plugins():
    yield
    configure()


def experiment(similarities=("dot", "cosine"), seeds=2, **more):
    return {
        "attnlab": 1,
        "name": "promised",
        "question": "Is it kept?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
        "mechanism": {"similarity": list(similarities)},
        "model": {"aligner": {"projection": 4, "steps": 2}},
        "seeds": seeds,
        **more,
    }


def write(path, asked):
    path.write_text(json.dumps(asked))  # YAML contains JSON
    return str(path)


def coordinator(folder, on, asked, *options, before=lambda: None, file="promised.yaml"):
    """`attnlab sweep` in a process of its own; a cluster that is there is named from Python."""
    write(folder / file, asked)
    files = [option for option in options if str(option).endswith(".py")]

    def do():
        before()
        if isinstance(on, dict):
            configure(files=files)
            attnlab.sweep(file, store="s.db", executor=on, quiet=True)
        else:
            plugins = [word for path in files for word in ("--plugin", path)]
            rest = [option for option in options if option not in files]
            arguments = ["sweep", file, "--store", "s.db", "--executor", on, "-q", *plugins, *rest]
            sys.argv = ["attnlab", *arguments]
            main(arguments)

    return Forked(folder, do)


def swept(folder, on, asked, *files, file="promised.yaml", **options):
    """A sweep from Python, in a process of its own, that ends well."""

    def do():
        configure(files=files)
        attnlab.sweep(write(folder / file, asked), store="s.db", executor=on, quiet=True, **options)

    process = Forked(folder, do)
    assert process.ended() == 0, process.said.read_text()


def loaded(file):
    """Another test file, for what it has."""
    spec = importlib.util.spec_from_file_location(file, HERE / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_p1_what_was_acknowledged_survives_the_death_of_its_coordinator(tmp_path, name, on, tally):
    """What another process has read before the kill is there after it, with the numbers of a sweep that nobody disturbed."""
    count, chance = tally("P1", name), random.Random(1)
    asked, store = experiment(seeds=70 * KILLS[name]), tmp_path / "s.db"
    acknowledged = {}
    for _ in range(KILLS[name]):
        with count.round():
            process = coordinator(tmp_path, on, asked)
            before = len(acknowledged)
            until(lambda: len(rows(store)) > before or process.poll() is not None, "another run")  # noqa: B023
            time.sleep(chance.uniform(0, 0.2))
            children = descendants(process.pid)
            acknowledged = rows(store)
            assert process.poll() is None, process.said.read_text()
            process.send_signal(signal.SIGKILL)
            process.ended()
            until(lambda: not any(map(is_running, children)), "the end of its workers")  # noqa: B023
            assert integrity(store) == "ok"
            now = rows(store)
            assert {run_id: now.get(run_id) for run_id in acknowledged} == acknowledged
    count.notes.append(f"{len(acknowledged)} results acknowledged")
    (tmp_path / "undisturbed").mkdir()
    swept(tmp_path / "undisturbed", "serial", experiment(seeds=40))
    true = rows(tmp_path / "undisturbed" / "s.db")
    assert len(true) == 80
    both = true.keys() & rows(store).keys()
    assert both
    assert {run_id: rows(store)[run_id] for run_id in both} == {run_id: true[run_id] for run_id in both}


def test_p2_going_on_does_what_is_missing_and_nothing_else(tmp_path, name, on, tally):
    """Interrupted after k of n, a sweep goes on with n - k, also if the file was reordered, renamed, made larger, or with other workers."""
    count, chance = tally("P2", name), random.Random(2)
    plugin = str(HERE / "noting.py")
    for n in range(INTERRUPTIONS[name]):
        folder = tmp_path / str(n)
        folder.mkdir()
        log = folder / "log"

        def begun(log=log):
            return len(log.read_text().split()) if log.exists() else 0

        asked = experiment([{"noted": {"log": str(log), "bias": [0.0, 0.5]}}], seeds=12)
        with count.round():
            process = coordinator(folder, on, asked, plugin)
            k = chance.randint(1, 12)
            until(lambda: len(rows(folder / "s.db")) >= k or process.poll() is not None, f"{k} runs")  # noqa: B023
            process.send_signal(signal.SIGINT)
            process.ended()
            assert process.returncode == 130, process.said.read_text()
            if name == "dask":  # the run that its only worker was at when the sweep ended is over, and lost
                assert Forked(folder, lambda: idle(on["dask"]["address"])).ended() == 0
            done, before = len(rows(folder / "s.db")), begun()
            assert k <= done < 24
            changed, file, options = dict(asked), "promised.yaml", {}
            match n % 4:
                case 0:
                    changed = dict(reversed(changed.items()))
                    changed["mechanism"] = {"similarity": [{"noted": {"bias": [0.5, 0.0], "log": str(log)}}]}
                case 1:
                    file = "renamed.yaml"
                case 2:
                    changed["seeds"] = 14
                case 3 if name == "local":
                    options = {"jobs": 1 + chance.randrange(3)}
            total = 2 * changed["seeds"]
            swept(folder, on, changed, plugin, file=file, **options)
            assert (begun() - before, len(rows(folder / "s.db"))) == (total - done, total)
            swept(folder, on, changed, plugin, file=file)
            assert begun() - before == total - done, "the second time nothing is left"


def idle(address):
    """Wait until a worker with one thread has ended what it was asked before."""
    from distributed import Client

    with Client(address) as client:
        client.submit(len, "idle", pure=False).result()


def test_p3_a_bad_component_costs_its_own_runs(tmp_path, name, on, tally):
    """Two runs of each fault among sound ones: as many rows as runs, and every sound one is ok."""
    count, chance = tally("P3", name), random.Random(3)
    configure(files=[str(HERE / "faulty.py")])
    faults = [*attnlab_names("file:"), "dot", "cosine"]
    limits = {"time_limit": 5.0, "memory_limit": "600MB"} if name == "local" else {}
    if not limits:  # nobody would end them
        faults = [fault for fault in faults if fault not in ("file:sleeps", "file:allocates")]
    sound = {"dot", "cosine", "file:forks"}
    for n in range(FAULTY_SWEEPS[name]):
        chance.shuffle(faults)
        asked = experiment(faults)
        frame = attnlab.sweep(asked, store=tmp_path / f"{n}.db", executor=on, quiet=True, retries=None, **limits)
        for fault in faults:
            for seed in range(2):
                with count.round():
                    names = frame["similarity"].str.removeprefix("file:")
                    found = frame[(names == fault.removeprefix("file:")) & (frame["seed"] == seed)]
                    ((status, reason),) = found[["status", "reason"]].to_numpy().tolist()
                    assert (status == "ok") == (fault in sound), (fault, status, reason)
        assert frame["run_id"].nunique() == len(frame) == 2 * len(faults)
    count.notes.append(f"{len(faults) - 2} faults")


def attnlab_names(prefix):
    return [name for name in attnlab.names("similarity") if name.startswith(prefix)] or [
        f"file:{cls.name}" for cls in loaded("faulty").attnlab_similarities()
    ]


def hangs(run):
    if run.spec["do"] == "loop":
        while True:
            pass
    if run.spec["do"] == "ignore":
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_IGN)
    if run.spec["do"] == "gil":
        re.match("(a+)+b", "a" * 64)
    time.sleep(600)


def test_p4_a_limit_of_time_is_kept(tally):
    count = tally("P4", "local")
    latest = 0.0
    with LocalExecutor(jobs=2, time_limit=1.0, execute=hangs) as executor:
        for seed in range(OVERDUE):
            for do in ("loop", "gil", "sleep", "ignore"):
                executor.submit(Run.of({"seed": seed, "do": do}))
        for _, result in executor.as_completed():
            with count.round():
                latest = max(latest, result.seconds - 1.0)
                assert result.status == "timeout", result.reason
                assert result.seconds < 1.0 + LATE
    assert count.rounds == 4 * OVERDUE
    count.notes.append(f"at most {latest:.1f} s late")


def works(run):
    time.sleep(0.004)
    return Result("ok", metrics={"test": {"seed": float(run.seed)}})


def test_p5_workers_of_400_runs_are_shot(tally):
    count, chance = tally("P5", "local"), random.Random(5)
    n_shots = 0
    for _ in range(SHOT_SWEEPS["local"]):
        with count.round(), LocalExecutor(jobs=2, execute=works) as executor:
            over = threading.Event()

            def shoot(executor=executor, over=over):
                nonlocal n_shots
                while not over.wait(chance.uniform(0.01, 0.1)):
                    workers = [w._process.pid for w in list(executor._workers) if w._process is not None]
                    for pid in chance.sample(workers, min(1, len(workers))):
                        with contextlib.suppress(ProcessLookupError, TypeError):
                            os.kill(pid, chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)))
                            n_shots += 1

            shooter = threading.Thread(target=shoot)
            for seed in range(400):
                executor.submit(Run.of({"seed": seed}))
            shooter.start()
            try:
                ended = [(run.seed, result) for run, result in executor.as_completed()]
            finally:
                over.set()
                shooter.join()
            assert sorted(seed for seed, _ in ended) == [*range(400)]
            assert all(result.status == "ok" or result.attempts > 1 for _, result in ended)
            assert all(
                result.metrics == {"test": {"seed": float(seed)}} for seed, result in ended if result.status == "ok"
            )
    count.notes.append(f"{n_shots} shots")
    assert n_shots > 3 * SHOT_SWEEPS["local"]


def test_p5_workers_of_a_cluster_are_shot(tmp_path, tally):
    """Its nannies start new ones; a run that was on a dead one is done again, and none is missing or twice."""
    pytest.importorskip("distributed")
    count, chance = tally("P5", "dask"), random.Random(5)
    n_shots = 0
    for n in range(SHOT_SWEEPS["dask"]):
        folder = tmp_path / str(n)
        folder.mkdir()
        with count.round():
            process = coordinator(folder, "dask", experiment(seeds=100), "--jobs", "2")
            for k in sorted(chance.sample(range(1, 120), 2)):
                until(lambda: len(rows(folder / "s.db")) >= k or process.poll() is not None, f"{k} runs")  # noqa: B023
                workers = [pid for pid in descendants(process.pid) if "spawn_main" in command_of(pid)]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    n_shots += 1
            process.ended()
            found = rows(folder / "s.db")
            assert len(found) == 200, process.said.read_text()
            assert {status for status, _ in found.values()} <= {"ok", "crashed"}
    count.notes.append(f"{n_shots} shots")


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_p7_damage_is_told_or_harmless(tmp_path, tally):
    count, chance = tally("P7", "-"), random.Random(7)
    stores = loaded("test_store")
    sound = tmp_path / "sound.db"
    stores.fill(sound)
    size = sound.stat().st_size
    (tmp_path / "damaged").mkdir()
    for _ in range(DAMAGES):
        flips = [
            (chance.choice((chance.randrange(size), chance.randrange(100))), chance.randrange(256))
            for _ in range(chance.randrange(6))
        ]
        cut = None if chance.random() < 0.7 else (chance.randrange(size), chance.randint(1, 5000))
        with count.round():
            stores.is_told_or_harmless(tmp_path / "damaged", sound, flips, cut)


def test_p9_the_same_numbers_whatever_does_the_runs(tmp_path, address, tally):
    """Each similarity of attnlab, in serial, by one worker and by two, backwards, and on a cluster."""
    similarities = attnlab.names("similarity")
    ways = {
        "serial": ({}, "serial"),
        "local -j1": ({"jobs": 1}, "local"),
        "local -j2": ({"jobs": 2}, "local"),
        "backwards": ({}, "serial"),
        "dask": ({}, {"dask": {"address": address}}),
    }
    true = None
    for way, (options, on) in ways.items():
        count = tally("P9", way)
        order = similarities[::-1] if way == "backwards" else similarities
        asked = experiment(order, seeds=[*range(SEEDS)][:: -1 if way == "backwards" else 1])
        attnlab.sweep(asked, store=tmp_path / f"{way}.db", executor=on, quiet=True, **options)
        found = rows(tmp_path / f"{way}.db")
        true = true or found
        assert found.keys() == true.keys()
        for run_id in true:
            with count.round():
                assert found[run_id] == true[run_id]
        count.notes.append(f"{sum(len(numbers) for _, numbers in found.values())} numbers")


def test_p10_a_store_that_cannot_be_written_ends_it_aloud(tmp_path, name, on, tally):
    """A disk that is full after a random number of bytes: exit status 6, a sentence, and what was read before is there."""
    count, chance = tally("P10", name), random.Random(10)
    for n in range(FULL_DISKS[name]):
        folder = tmp_path / str(n)
        folder.mkdir()
        size = chance.randrange(100_000, 400_000)

        def full(size=size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        with count.round():
            process = coordinator(folder, on, experiment(seeds=200), before=full)
            process.ended()
            said = process.said.read_text()
            if name == "dask":  # from Python it is the exception
                assert "StoreError" in said.splitlines()[-1], said
            else:
                assert process.returncode == 6, said
                assert "Traceback" not in said
            assert "s.db" in said
            assert re.search("disk|full|too large|written", said), said
            assert integrity(folder / "s.db") == "ok"
            assert len(attnlab.load_results(folder / "s.db")) == len(rows(folder / "s.db")) < 400


def test_p12_a_signal_ends_it_and_nobody_is_left(tmp_path, name, tally):
    pytest.importorskip("distributed" if name == "dask" else "attnlab")
    count, chance = tally("P12", name), random.Random(12)
    for n in range(SIGNALS[name]):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            folder = tmp_path / f"{n}-{number}"
            folder.mkdir()
            with count.round():
                process = coordinator(folder, name, experiment(seeds=400), *(["--jobs", "1"] if name == "dask" else []))
                children = set()
                until(lambda: children.update(descendants(process.pid)) or rows(folder / "s.db"), "a run")  # noqa: B023
                time.sleep(chance.uniform(0, 0.3))
                children |= descendants(process.pid)
                process.send_signal(number)
                process.ended()
                said = process.said.read_text()
                assert process.returncode == 128 + number, said
                assert "Resume with: attnlab sweep promised.yaml" in said
                assert "Traceback" not in said
                until(lambda: not any(map(is_running, children)), "the end of all that it started")  # noqa: B023
                assert integrity(folder / "s.db") == "ok"
                assert 0 < len(rows(folder / "s.db")) < 800
