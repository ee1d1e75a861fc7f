"""A cluster of real processes: workers that die, come and differ, a scheduler that is lost, and an interruption."""

import collections
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import attnlab
from attnlab.plugins import configure
from attnlab.sweeps.executors import agreement
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

pytest.importorskip("distributed")
from sweeps.processes import PATIENCE, Processes, Sweep, until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
PLUGIN = Path(__file__).parent / "gated.py"


@pytest.fixture(autouse=True)
def patience(request, monkeypatch):
    """Long rounds have no limit of time, and wait longer where a machine is busy."""
    if request.node.get_closest_marker("long") is not None:
        monkeypatch.setattr("sweeps.processes.PATIENCE", 3000.0)


@pytest.fixture
def folder(tmp_path):
    """A folder with the plugin, which this process has loaded."""
    shutil.copy(PLUGIN, tmp_path / "gated.py")
    configure(files=[str(tmp_path / "gated.py")])
    yield tmp_path
    configure()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and one worker, for tests that leave them alive."""
    made = Processes(tmp_path_factory.mktemp("cluster"))
    try:
        made.start_worker()
        yield made
    finally:
        made.end()


@pytest.fixture
def processes(tmp_path):
    """A scheduler of the test's own."""
    made = Processes(tmp_path)
    yield made
    made.end()


def experiment(folder, *similarities, seeds=2):
    """An experiment of small runs; `noted` and `kills_worker` write down in the folder that they have begun."""
    named = [{one: {"folder": str(folder)}} if one in ("noted", "kills_worker") else one for one in similarities]
    spec = {
        "attnlab": 1,
        "name": "cluster",
        "question": "Does a cluster give the same numbers?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
        "mechanism": {"similarity": named},
        "model": {"aligner": {"projection": 4, "steps": 2}},
        "seeds": seeds,
        "limits": {"runs": 10**6},
    }
    (folder / "e.yaml").write_text(json.dumps(spec))
    return spec


def sweep(folder, spec, address, store="s.db", **options):
    return attnlab.sweep(spec, executor="dask", address=address, store=folder / store, quiet=True, **options)


def command(folder, *arguments, **environment):
    """The same from the command line."""
    plugin = ("--plugin", folder / "gated.py")
    return Sweep(folder, "e.yaml", "--store", "s.db", "--executor", "dask", *plugin, *arguments, **environment)


def ended(started, status):
    """What a sweep said on stderr, which ends with a status and without a traceback."""
    code, _, said = started.ended()
    assert code == status, said
    assert "Traceback" not in said, said
    return said


def begun(folder):
    """(process of the run, process it was forked from, worker) of each run that began."""
    with (folder / "log").open("a+") as log:
        log.seek(0)
        return [tuple(map(int, line.split())) for line in log]


def hold(folder):
    (folder / "hold").touch()


def let_go(folder):
    (folder / "hold").unlink()


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def statuses(frame):
    return dict(frame.drop_duplicates("run_id").groupby("similarity")["status"].unique().map(list))


def stored(folder):
    with sqlite3.connect(folder / "s.db") as db:
        return collections.Counter(status for (status,) in db.execute("SELECT status FROM runs"))


# -- what differs -----------------------------------------------------------------------------------------------------
def test_a_difference_is_shown_once_for_all_workers_that_have_it():
    here = {"python": "3.11", "attnlab": "0.4.0", "similarity dot": "-/1", "kernels of plugins": ""}
    old = {**here, "attnlab": "0.3.0", "similarity dot": "-/2"}
    assert agreement.difference(here, here) == {}
    differs = {worker: agreement.difference(here, old) for worker in ("tcp://a:1", "tcp://b:1")}
    other = {"tcp://c:1": agreement.difference(here, {"python": "3.12"})}
    assert agreement.table({**differs, **other}).splitlines() == [
        "  worker                what                here   there",
        "  tcp://a:1 and 1 more  attnlab             0.4.0  0.3.0",
        "                        similarity dot      -/1    -/2",
        "  tcp://c:1             python              3.11   3.12",
        "                        attnlab             0.4.0  not there",
        "                        similarity dot      -/1    not there",
        "                        kernels of plugins  none   not there",
    ]
    assert agreement.table({"a": {str(n): ("1", "2") for n in range(50)}}).splitlines()[-1] == "  and 30 more"


def test_what_is_compared(folder):
    (run, *_) = plan(read(experiment(folder, "noted")))
    found = agreement.described(agreement.behind(run))
    assert {"python", "attnlab", "numpy", "task lookup", "similarity file:noted", "plugin file", "execution"} <= {
        *found
    }
    assert found["plugin file"] == "gated.py"
    lost = agreement.described({"similarity dot", "similarity other:dot", "metric nobodys"})
    assert lost["similarity other:dot"] == lost["metric nobodys"] == agreement.ABSENT != lost["similarity dot"]


def test_a_worker_that_differs_is_refused_before_the_first_run(folder, cluster):
    spec = experiment(folder, "noted", "dot")
    plan(read(spec))  # the plugin is loaded, as it is now
    (folder / "gated.py").write_text(PLUGIN.read_text().replace("return Q @", "return 2 * Q @"))
    with pytest.raises(attnlab.SettingError) as refused:
        sweep(folder, spec, cluster.address)
    (line,) = [line for line in str(refused.value).splitlines() if "similarity file:noted" in line]
    here, there = line.split()[-2:]
    assert here != there
    assert here.partition("/")[2] == there.partition("/")[2], "the plugin differs, attnlab does not"
    assert "similarity dot" not in str(refused.value)
    assert "start the workers anew" in str(refused.value)
    (folder / "gated.py").unlink()
    with pytest.raises(attnlab.SettingError, match=r"plugin file .*gated\.py +\S+ +not there"):
        sweep(folder, spec, cluster.address)
    assert not begun(folder)
    assert not stored(folder)


def test_an_address_that_is_none(folder):
    for address, why in (("nonsense", "cannot use the address"), ("tcp://127.0.0.1:9", "no scheduler answers")):
        with pytest.raises(attnlab.AttnlabError, match=why):
            sweep(folder, experiment(folder, "dot"), address, patience=0.1)
    with pytest.raises(attnlab.SettingError, match="jobs or address, not both"):
        sweep(folder, experiment(folder, "dot"), "tcp://127.0.0.1:9", jobs=2)
    with pytest.raises(attnlab.SettingError, match=r"'local' has no address to set.*use the executor 'dask'"):
        attnlab.sweep(experiment(folder, "dot"), executor="local", address="tcp://127.0.0.1:9", store=folder / "s.db")


@pytest.mark.long
def test_who_listens_there_and_says_nothing_is_no_scheduler(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(attnlab.AttnlabError, match="no scheduler answers"):
            sweep(folder, experiment(folder, "dot"), address, patience=0.1)


@pytest.mark.long
def test_a_script_without_a_guard_is_told_what_to_write(folder):
    experiment(folder, "dot")
    script = 'import attnlab\nattnlab.sweep("e.yaml", executor="dask", jobs=1, store="s.db", quiet=True)\n'
    (folder / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    assert 'below `if __name__ == "__main__":`' in done.stderr
    (folder / "script.py").write_text(script.replace("attnlab.sweep", 'if __name__ == "__main__": attnlab.sweep'))
    assert subprocess.run([sys.executable, "script.py"], cwd=folder, env={**os.environ}).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_none_of_the_workers(folder, closed):
    experiment(folder, "dot")
    command = f"{sys.executable} -m attnlab sweep e.yaml -q --executor dask -j1 --store s.db {closed}"
    subprocess.run(["bash", "-c", command], cwd=folder, timeout=PATIENCE, check=True, stdout=subprocess.DEVNULL)
    assert stored(folder) == {"ok": 2}


# -- runs -------------------------------------------------------------------------------------------------------------
def test_the_numbers_of_a_serial_sweep_and_runs_that_cost_themselves(folder, cluster):
    spec = experiment(folder, "dot", "kills_zygote", "noted", seeds=1)
    frame = sweep(folder, spec, cluster.address, retries=0)
    assert statuses(frame) == {"dot": ["ok"], "noted": ["ok"], "kills_zygote": ["crashed"]}
    assert set(frame["executor"]) == {"dask"}
    assert len(begun(folder)) == 1
    ok = frame[frame["status"] == "ok"].sort_values("run_id")
    alone = attnlab.sweep(
        experiment(folder, "dot", "noted", seeds=1), executor="serial", store=folder / "t.db", quiet=True
    )
    metrics = ["alignment_accuracy", "gold_mass", "context_error"]
    assert (ok[metrics].to_numpy() == alone.sort_values("run_id")[metrics].to_numpy()).all()


@pytest.mark.long
def test_limits_are_kept_on_workers_and_the_scheduler_never_holds_much(folder, cluster):
    from distributed import Client

    from attnlab.sweeps.executors.dask import DaskExecutor

    hold(folder)
    runs = plan(read(experiment(folder, "noted", seeds=3000)))
    with DaskExecutor(address=cluster.address, time_limit=600.0) as executor:
        for run in runs:
            executor.submit(run)
        thread = threading.Thread(target=lambda: next(executor.as_completed()), daemon=True)
        thread.start()
        until(lambda: begun(folder), "a run")
        with Client(cluster.address, set_as_default=False) as client:
            held = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        let_go(folder)
        thread.join(PATIENCE)
    assert 1 <= held <= 2, "one at work, one that waits"
    hold(folder)
    frame = sweep(folder, experiment(folder, "noted", seeds=1), cluster.address, time_limit=0.5)
    assert statuses(frame) == {"noted": ["timeout"]}


def test_an_interruption_ends_it_and_its_runs(folder, cluster):
    hold(folder)
    experiment(folder, "noted", seeds=3)
    started = command(folder, "--address", cluster.address)
    until(lambda: begun(folder), "a run")
    os.killpg(started.process.pid, signal.SIGINT)  # as a terminal does
    said = ended(started, 130)
    assert "Resume with: attnlab sweep e.yaml" in said, said
    until(lambda: not any(is_there(pid) for pid, *_ in begun(folder)), "the end of the runs")


@pytest.mark.long
def test_workers_die_and_come(folder, processes):
    """The only worker holds a run; a second one comes, and gets another run; a run kills three workers, and costs itself."""
    hold(folder)
    spec = experiment(folder, "noted", "kills_worker", seeds=1)
    spec["mechanism"]["similarity"][0]["noted"]["bias"] = [0.0, 1.0, 2.0, 3.0]
    (folder / "e.yaml").write_text(json.dumps(spec))
    processes.start_worker()
    started = command(folder, "--address", str(processes.file))
    ((_, _, first),) = until(lambda: begun(folder), "a run")
    second = processes.start_worker()
    until(lambda: len(begun(folder)) == 2, "a run of the second worker")
    assert {worker for *_, worker in begun(folder)} == {first, second.pid}
    workers = [processes.start_worker() for _ in range(4)]
    let_go(folder)
    ended(started, 1)
    assert stored(folder) == {"ok": 4, "crashed": 1}
    assert sum(worker.poll() is not None for worker in processes.started[1:]) == 3, workers


def test_a_scheduler_that_is_lost_ends_it_with_a_sentence(folder, cluster):
    """The last test of the cluster that tests share."""
    experiment(folder, "noted", seeds=4)
    hold(folder)
    started = command(folder, "--address", cluster.address, "--patience", "1s")
    until(lambda: begun(folder), "a run")
    cluster.scheduler.kill()
    said = ended(started, 4)
    assert "no scheduler answers at tcp://" in said
    assert "Resume with: attnlab sweep e.yaml" in said
    let_go(folder)
    assert len(attnlab.sweep(folder / "e.yaml", executor="serial", store=folder / "s.db", quiet=True)) == 4


# -- rounds -----------------------------------------------------------------------------------------------------------
@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_no_run_is_lost_while_workers_are_killed_and_come(folder, processes, seed):
    chance = random.Random(seed)
    experiment(folder, "noted", "dot", seeds=30)
    workers = [processes.start_worker(threads=chance.choice((1, 2))) for _ in range(3)]
    started = command(folder, "--address", processes.address, "--retries", "50")
    n_killed = 0
    for n in sorted(chance.sample(range(1, 28), 6)):
        until(lambda n=n: len(begun(folder)) >= n or started.process.poll() is not None, f"{n} runs")
        workers.append(processes.start_worker(threads=chance.choice((1, 2))))
        victim = workers.pop(chance.randrange(len(workers)))
        victim.kill()
        n_killed += 1
    ended(started, 0)
    assert stored(folder) == {"ok": 60}
    assert 30 <= len(begun(folder)) <= 30 + 64 * n_killed


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_a_scheduler_that_is_started_again_goes_on(folder, processes, seed):
    chance = random.Random(seed)
    experiment(folder, "noted", "dot", seeds=30)
    workers = [processes.start_worker() for _ in range(2)]
    started = command(folder, "--address", str(processes.file), "--patience", "500s")
    for n in sorted(chance.sample(range(1, 25), 2)):
        until(lambda n=n: len(begun(folder)) >= n or started.process.poll() is not None, f"{n} runs")
        processes.scheduler.kill()
        processes.scheduler.wait()
        for worker in workers:  # without a nanny they end with their scheduler
            worker.kill()
        processes.scheduler = processes.start_scheduler()
        workers = [processes.start_worker() for _ in range(2)]
    said = ended(started, 0)
    assert stored(folder) == {"ok": 60}
    assert "answers again" in said


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_an_interruption_at_any_time_ends_it_at_once(folder, seed):
    """Also while the cluster of this machine starts, which a terminal's Ctrl-C reaches as well."""
    chance = random.Random(seed)
    experiment(folder, "noted", "dot", seeds=200)
    started = command(folder, "--jobs", "2")
    if seed % 2:
        until(lambda: len(begun(folder)) > chance.randrange(60), "some runs")
    else:
        time.sleep(chance.uniform(2, 8))  # any time will do
    os.killpg(started.process.pid, signal.SIGINT)
    ended(started, 130)
    until(lambda: not any(is_there(pid) for line in begun(folder) for pid in line), "the end of all processes")


# -- a link that is cut -----------------------------------------------------------------------------------------------
@pytest.fixture
def link():
    """A second network on this machine, the way into it, and a function that cuts (False) or restores (True) its link."""
    name, here, there = f"attnlab{os.getpid()}", f"al{os.getpid()}a"[:15], f"al{os.getpid()}b"[:15]

    def ip(*words, check=True):
        return subprocess.run(["ip", *words], check=check, capture_output=True).returncode == 0

    if os.geteuid() != 0 or not shutil.which("ip") or not ip("netns", "add", name, check=False):
        pytest.skip("needs root, and network namespaces")
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there)
        ip("link", "set", there, "netns", name)
        ip("addr", "add", "10.213.7.1/24", "dev", here)
        ip("link", "set", here, "up")
        for words in (
            ("addr", "add", "10.213.7.2/24", "dev", there),
            ("link", "set", there, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", name, *words)
        yield ["ip", "netns", "exec", name], lambda on: ip("link", "set", here, "up" if on else "down")
    finally:
        ip("link", "del", here, check=False)
        ip("netns", "del", name, check=False)


@pytest.mark.long
@pytest.mark.parametrize("for_long", [False, True])
def test_the_link_to_a_worker_is_cut_and_restored(folder, link, for_long):
    from distributed import Client

    into, connect = link
    # dask takes no timeout of TCP below 11 s
    environment = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s"}
    processes = Processes(folder, "--host", "10.213.7.1", **environment)
    try:
        worker = processes.start_worker(before=into, **environment)
        hold(folder)
        experiment(folder, "noted", seeds=3)
        started = command(folder, "--address", processes.address, "--retries", "5")
        until(lambda: begun(folder) or worker.poll() is not None, "a run")
        assert worker.poll() is None, processes.said(worker)
        ((pid, *_),) = begun(folder)
        connect(False)
        if for_long:  # until the scheduler gives the worker up
            with Client(processes.address, set_as_default=False) as client:
                until(lambda: not client.nthreads(), "the loss of the worker")
        let_go(folder)
        until(lambda: not is_there(pid), "the end of the run")
        connect(True)
        if for_long:
            processes.start_worker(before=into, **environment)
        said = ended(started, 0)
        assert stored(folder) == {"ok": 3}, said
        assert len(begun(folder)) == 3 + for_long
    finally:
        processes.end()


@pytest.mark.long
@pytest.mark.parametrize("restored", [False, True])
def test_the_link_of_the_coordinator_is_cut(folder, link, restored):
    into, connect = link
    processes = Processes(folder, "--host", "10.213.7.1")
    try:
        processes.start_worker()
        hold(folder)
        experiment(folder, "noted", seeds=3)
        patience = "5s" if not restored else "500s"
        started = command(folder, "--address", processes.address, "--patience", patience, before=into)
        until(lambda: begun(folder), "a run")
        connect(False)
        let_go(folder)
        if restored:
            until(lambda: len(begun(folder)) >= 2, "the run that was ready")
            connect(True)
        ended(started, 0 if restored else 4)
        if restored:
            assert stored(folder) == {"ok": 3}
    finally:
        processes.end()
