"""`attnlab sweep` as its users meet it: real processes, real files, faults, signals and resumption."""

import io
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import attnlab_command

import attnlab
from attnlab.sweeps.store import Store

HERE = Path(__file__).parent
FAULTY = HERE / "faulty.py"
TINY = """\
attnlab: 1
question: Does a tiny sweep work?
task:
  lookup: {n_keys: 4, d: 4, n_train: 16, n_validation: 4, n_test: 8}
mechanism:
  similarity: [%s]
model:
  aligner: {projection: 4, steps: 3}
seeds: %d
metrics: [%s]
"""


def write(path, similarities="dot, cosine", seeds=2, metrics="alignment_accuracy", extra=""):
    path.write_text(TINY % (similarities, seeds, metrics) + extra, encoding="utf-8")
    return str(path)


def done_by(process):
    """How many runs a sweep carried out, from what it says on stderr."""
    counts = re.findall(r": (\d+) runs in ", process.stderr)
    return sum(map(int, counts))


def metrics_of(store):
    """The numbers of a store, bit for bit, without costs."""
    with sqlite3.connect(store) as db:
        rows = [
            (run_id, test, metric, value)
            for run_id, measured, numbers in db.execute("SELECT run_id, measured, numbers FROM runs")
            for (test, metric), value in zip(
                ((test, metric) for test, metrics in json.loads(measured).items() for metric in metrics),
                json.loads(numbers),
                strict=True,
            )
        ]
    costs = {"fit_seconds", "steps_per_second"}
    return sorted((run, test, metric, str(value)) for run, test, metric, value in rows if metric not in costs)


def test_a_second_sweep_runs_nothing_and_prints_the_same(tmp_path):
    write(tmp_path / "one.yaml")
    first = attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    second = attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert "Does a tiny sweep work?" in first.stdout
    assert (done_by(first), done_by(second)) == (4, 0)
    assert (tmp_path / "results" / "attnlab.db").exists()


def test_an_empty_store_has_no_run_that_could_have_failed(tmp_path):
    Store(tmp_path / "empty.db").close()
    assert "this store has no runs" in attnlab_command("errors", "--store", "empty.db", cwd=tmp_path).stderr
    write(tmp_path / "one.yaml", similarities="dot", seeds=1)
    attnlab_command("sweep", "one.yaml", "--store", "one.db", cwd=tmp_path)
    assert "every run succeeded" in attnlab_command("errors", "--store", "one.db", cwd=tmp_path).stderr


def test_outputs_that_cannot_be_are_the_users_to_mend(tmp_path):
    write(tmp_path / "one.yaml", similarities="dot", seeds=1)
    attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    for form in ("csv", "parquet", "latex"):
        made = attnlab_command("results", "--format", form, "-o", f"none/x.{form}", cwd=tmp_path)
        assert made.returncode == 2, form
        assert "there is no folder none; make it first" in made.stderr, form
        assert "bug in attnlab" not in made.stderr, form
    over = attnlab_command("results", "--store", ".", cwd=tmp_path)
    assert over.returncode in (2, 6)
    assert "Traceback" not in over.stderr


def test_only_what_is_new_is_run(tmp_path):
    write(tmp_path / "one.yaml")
    attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    write(tmp_path / "one.yaml", similarities="dot, cosine, neg_l2")
    assert done_by(attnlab_command("sweep", "one.yaml", cwd=tmp_path)) == 2
    write(tmp_path / "one.yaml", similarities="dot, cosine, neg_l2", metrics="weight_entropy, alignment_accuracy")
    shown = attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    assert done_by(shown) == 0
    assert "weight_entropy" in shown.stdout
    (tmp_path / "one.yaml").rename(tmp_path / "renamed.yaml")
    renamed = attnlab_command("sweep", "renamed.yaml", cwd=tmp_path)
    assert done_by(renamed) == 0
    assert "renamed: Does a tiny" in renamed.stdout


def test_an_edited_scorer_is_run_again_and_nothing_else(tmp_path):
    plugin = tmp_path / "mine.py"
    source = FAULTY.read_text(encoding="utf-8").replace(
        'raise RuntimeError("no score today")', "return scaled(Q, K) * 2.0"
    )
    plugin.write_text(source, encoding="utf-8")
    write(tmp_path / "one.yaml", similarities="dot, raises")
    command = ("sweep", "one.yaml", "--plugin", "mine.py")
    assert done_by(attnlab_command(*command, cwd=tmp_path)) == 4
    plugin.write_text("# a comment\n" + source, encoding="utf-8")
    assert done_by(attnlab_command(*command, cwd=tmp_path)) == 0
    plugin.write_text(source.replace("* 2.0", "* 3.0"), encoding="utf-8")
    plan = attnlab_command("plan", "one.yaml", "--plugin", "mine.py", "--format", "json", cwd=tmp_path)
    reasons = {row["reason"] for row in json.loads(plan.stdout) if row["action"] == "run"}
    assert len(reasons) == 1
    assert "stale" in reasons.pop()
    assert done_by(attnlab_command(*command, cwd=tmp_path)) == 2


def test_the_same_numbers_for_any_number_of_workers_and_any_order(tmp_path):
    write(tmp_path / "a.yaml", seeds=3)
    write(tmp_path / "b.yaml", similarities="additive, dot", seeds=2)
    attnlab_command("sweep", "a.yaml", "b.yaml", "-j", "1", "--store", "one.db", cwd=tmp_path)
    attnlab_command("sweep", "b.yaml", "a.yaml", "-j", "2", "--store", "two.db", cwd=tmp_path)
    attnlab_command("sweep", "a.yaml", "b.yaml", "--executor", "serial", "--store", "serial.db", cwd=tmp_path)
    attnlab_command("sweep", "a.yaml", "--limit", "2", "--store", "resumed.db", cwd=tmp_path)
    attnlab_command("sweep", "b.yaml", "a.yaml", "--store", "resumed.db", cwd=tmp_path)
    expected = metrics_of(tmp_path / "one.db")
    assert len(expected) > 50
    for store in ("two.db", "serial.db", "resumed.db"):
        assert metrics_of(tmp_path / store) == expected


def test_each_fault_is_one_row_and_all_others_succeed(tmp_path):
    faults = {
        "raises": "failed",
        "exits": "crashed",
        "segfaults": "crashed",
        "sleeps": "timeout",
        "allocates": "oom",
        "fills_the_gpu": "oom",
        "gives_nan": "invalid",
        "wrong_shape": "failed",
        "refuses": "skipped",
    }
    write(tmp_path / "faults.yaml", similarities=", ".join(["dot", *faults, "cosine"]), seeds=1)
    options = ("--plugin", FAULTY, "--time", "6s", "--memory", "600MB")
    swept = attnlab_command("sweep", "faults.yaml", "-j", "2", *options, cwd=tmp_path)
    assert swept.returncode == 1, swept.stderr
    frame = attnlab.load_results(tmp_path / "results" / "attnlab.db")
    found = dict(zip(frame["similarity"], frame["status"], strict=True))
    assert found == {**faults, "dot": "ok", "cosine": "ok"}
    reasons = dict(zip(frame["similarity"], frame["reason"], strict=True))
    assert "no score today" in reasons["raises"]
    assert "3" in reasons["exits"]
    assert "SIGSEGV" in reasons["segfaults"]
    assert "CUDA out of memory" in reasons["fills_the_gpu"]
    assert reasons["refuses"] == "only on Sundays"
    assert "step 1" in reasons["gives_nan"]
    assert "(..., q, k)" in reasons["wrong_shape"]
    assert frame.loc[frame["status"] != "ok", "alignment_accuracy"].isna().all()
    listed = attnlab_command("errors", "--format", "json", cwd=tmp_path)
    assert {row["status"] for row in json.loads(listed.stdout)} == set(faults.values())
    again = frame.loc[frame["similarity"] == "raises", "run_id"].item()
    repeated = attnlab_command("run", again, "--plugin", FAULTY, cwd=tmp_path)
    assert repeated.returncode == 1
    assert "RuntimeError: no score today" in repeated.stderr
    assert "Traceback" in repeated.stderr


def test_what_was_skipped_or_invalid_is_not_run_again_but_what_failed_is(tmp_path):
    write(tmp_path / "faults.yaml", similarities="refuses, gives_nan, raises, dot", seeds=1)
    attnlab_command("sweep", "faults.yaml", "--plugin", FAULTY, cwd=tmp_path)
    plan = attnlab_command("plan", "faults.yaml", "--plugin", FAULTY, "--format", "json", cwd=tmp_path)
    actions = {row["similarity"]: row["action"] for row in json.loads(plan.stdout)}
    assert actions == {"refuses": "keep", "gives_nan": "keep", "raises": "run", "dot": "keep"}


def start(*args, cwd):
    command = [sys.executable, "-m", "attnlab", *map(str, args)]
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(store):
    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM runs").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def children_of(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly_and_it_can_be_resumed(tmp_path, sent, status):
    write(tmp_path / "long.yaml", seeds=200)
    process = start("sweep", "long.yaml", "-j", "2", cwd=tmp_path)
    store = tmp_path / "results" / "attnlab.db"
    wait_for(lambda: stored(store) > 3)
    workers = children_of(process.pid)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == status, stderr
    assert "Resume with: attnlab sweep long.yaml -j 2" in stderr
    assert "Traceback" not in stderr
    wait_for(lambda: not any(is_running(w) for w in workers), 10)
    done = stored(store)
    assert 3 < done < 400
    resumed = attnlab_command("sweep", "long.yaml", "-j", "2", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert done_by(resumed) == 400 - done


def kill_after_one_more(folder, store, before, delay):
    """Start a sweep, SIGKILL it after one more run is stored and a little while; how many runs are stored then."""
    process = start("sweep", "long.yaml", "-j", "2", cwd=folder)
    wait_for(lambda: stored(store) > before or process.poll() is not None)
    time.sleep(delay)
    workers = children_of(process.pid)
    acknowledged = stored(store)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    wait_for(lambda: not any(is_running(w) for w in workers), 10)
    with sqlite3.connect(store) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    now = stored(store)
    assert now >= acknowledged
    return now


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_coordinator_loses_nothing_and_leaves_nobody(tmp_path):
    write(tmp_path / "long.yaml", seeds=40)
    store = tmp_path / "results" / "attnlab.db"
    rng = random.Random(5)
    before = 0
    for _ in range(3):
        before = kill_after_one_more(tmp_path, store, before, rng.uniform(0, 0.1))
    resumed = attnlab_command("sweep", "long.yaml", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert done_by(resumed) == 80 - before
    assert len(attnlab.load_results(store)) == 80


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TINY % ("dott", 1, "alignment_accuracy"), "did you mean dot?"),
        ("attnlab: 1\nquestion: [", "bad.yaml:"),
        (TINY % ("dot", 1, "aligment_accuracy"), "did you mean alignment_accuracy or"),
        (TINY.replace("n_keys: 4", "n_kees: 4") % ("dot", 1, "aer"), "did you mean n_keys or"),
        (TINY.replace("steps: 3", "steps: -3") % ("dot", 1, "aer"), "must be int, >= 0 or None; got -3"),
    ],
)
def test_a_mistake_in_a_file_runs_nothing(tmp_path, text, said):
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    process = attnlab_command("sweep", "bad.yaml", cwd=tmp_path)
    assert process.returncode == 2
    assert said in process.stderr
    assert re.match(r"bad\.yaml:\d+:\d+: ", process.stderr)
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "results").exists()


def test_a_store_that_cannot_be_used_is_exit_6(tmp_path):
    write(tmp_path / "one.yaml")
    (tmp_path / "text.db").write_text("not a database, and long enough to be looked at" * 10)
    attnlab_command("sweep", "one.yaml", "--store", "newer.db", cwd=tmp_path)
    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute("PRAGMA user_version = 99")
    before = (tmp_path / "text.db").read_bytes()
    for store, said in (("text.db", "text.db"), ("newer.db", "99"), ("absent.db", "absent.db")):
        command = "results" if store == "absent.db" else "sweep"
        files = () if store == "absent.db" else ("one.yaml",)
        process = attnlab_command(command, *files, "--store", store, cwd=tmp_path)
        assert process.returncode == 6, process.stderr
        assert said in process.stderr
        assert "Traceback" not in process.stderr
    assert (tmp_path / "text.db").read_bytes() == before


def test_results_come_in_every_format(tmp_path):
    write(tmp_path / "one.yaml")
    attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    frame = attnlab.load_results(tmp_path / "results" / "attnlab.db")
    assert "run_id" in attnlab_command("results", cwd=tmp_path).stdout
    (tmp_path / "r.csv").write_text(attnlab_command("results", "--format", "csv", cwd=tmp_path).stdout)
    assert pd.read_csv(tmp_path / "r.csv")["alignment_accuracy"].tolist() == frame["alignment_accuracy"].tolist()
    rows = json.loads(attnlab_command("results", "--format", "json", "--tidy", cwd=tmp_path).stdout)
    assert {"metric", "value", "run_id"} <= set(rows[0])
    written = attnlab_command("results", "--format", "parquet", "--output", "r.parquet", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert pd.read_parquet(tmp_path / "r.parquet")["run_id"].tolist() == frame["run_id"].tolist()
    refused = attnlab_command("results", "--format", "parquet", "--output", "r.parquet", cwd=tmp_path)
    assert refused.returncode == 2
    assert "nothing is overwritten" in refused.stderr


def test_the_frame_has_the_pinned_columns(tmp_path):
    frame = attnlab.sweep(write(tmp_path / "one.yaml"), store=tmp_path / "s.db", executor="serial", quiet=True)
    pinned = [
        "experiment",
        "run_id",
        "task",
        "task.n_keys",
        "test",
        "similarity",
        "normaliser",
        "aggregator",
        "position",
        "mask",
        "mechanism",
        "model",
        "model.projection",
        "seed",
        "alignment_accuracy",
        "status",
        "reason",
        "attempts",
        "fit_seconds",
        "n_parameters",
        "operations_per_query",
        "n_tuned",
        "backend",
        "executor",
        "plugin_versions",
        "attnlab_version",
        "started_at",
    ]
    assert [c for c in frame.columns if c in pinned] == pinned
    assert (frame["status"] == "ok").all()
    assert frame["similarity.temperature"].dropna().unique().tolist() == ["learned"]
    tidy = attnlab.load_results(tmp_path / "s.db", tidy=True)
    assert set(tidy["metric"]) > {"alignment_accuracy", "weight_entropy"}


def test_only_limit_and_fail_fast(tmp_path):
    write(tmp_path / "one.yaml", similarities="raises, dot, cosine", seeds=2)
    plugin = ("--plugin", FAULTY)
    some = attnlab_command("sweep", "one.yaml", "--only", "similarity=dot", *plugin, cwd=tmp_path)
    assert done_by(some) == 2
    assert some.returncode == 0
    wrong = attnlab_command("sweep", "one.yaml", "--only", "similarty=dot", *plugin, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean similarity?" in wrong.stderr
    nothing = attnlab_command("sweep", "one.yaml", "--only", "similarity=additive", *plugin, cwd=tmp_path)
    assert nothing.returncode == 2
    assert "leaves none of 6 runs" in nothing.stderr
    fast = attnlab_command("sweep", "one.yaml", "--fail-fast", "-j", "1", *plugin, cwd=tmp_path)
    assert fast.returncode == 1
    assert "no score today" in fast.stderr
    assert len(attnlab.load_results(tmp_path / "results" / "attnlab.db")) == 3


def test_a_limit_is_so_many_more(tmp_path):
    write(tmp_path / "one.yaml", similarities="dot, cosine, neg_l2", seeds=2)
    planned = attnlab_command("plan", "one.yaml", "--limit", "2", cwd=tmp_path)
    assert "2 to run, 0 to keep, 4 to run later (beyond --limit 2)" in planned.stderr
    for stored_runs in (2, 4, 5, 5):
        limit = "2" if stored_runs < 5 else "1"
        assert attnlab_command("sweep", "one.yaml", "--limit", limit, cwd=tmp_path).returncode == 0
        if stored_runs == 5:
            break
        assert len(attnlab.load_results(tmp_path / "results" / "attnlab.db")) == stored_runs
    assert len(attnlab.load_results(tmp_path / "results" / "attnlab.db")) == 5


CLAIMS = """
claims:
  - {say: dot is better, better: {similarity: dot}, than: {similarity: cosine}, metric: alignment_accuracy}
  - {say: it is a share, metric: alignment_accuracy, where: {similarity: cosine}, at_least: 0.0}
"""


def test_claims_are_judged_by_the_whole_store(tmp_path):
    write(
        tmp_path / "one.yaml",
        similarities="dot, cosine",
        seeds=3,
        extra=CLAIMS,
    )
    first = attnlab_command("sweep", "one.yaml", "--only", "similarity=dot", cwd=tmp_path)
    assert "3 not run" in first.stdout
    other = attnlab_command("sweep", "one.yaml", "--only", "similarity=cosine", cwd=tmp_path)
    assert "not run" not in other.stdout, other.stdout
    assert (
        "the claims are judged by all 6 runs that the store has; 3 of them lie outside --only similarity=cosine"
        in other.stdout
    )
    limited = attnlab_command("sweep", "one.yaml", "--limit", "1", cwd=tmp_path)
    assert "not run" not in limited.stdout
    assert "outside" not in limited.stdout


def test_a_sweep_that_fails_prints_its_first_reasons(tmp_path):
    write(tmp_path / "one.yaml", similarities="raises, refuses, dot", seeds=2)
    process = attnlab_command("sweep", "one.yaml", "--plugin", FAULTY, "-q", cwd=tmp_path)
    assert process.returncode == 1
    assert "attnlab: 2 failed, 2 skipped; `attnlab errors` lists them" in process.stderr
    assert re.search(r"  failed \(2 runs, such as \w{16}\): RuntimeError: no score today", process.stderr)
    assert re.search(r"  skipped \(2 runs, such as \w{16}\): only on Sundays", process.stderr)


PLAIN = """
import numpy as np

from attnlab import Similarity, hookimpl


class Plain(Similarity):
    name = "plain"

    def score(self, Q, K):
        return Q @ K.mT / (1 + np.linalg.norm(Q))


@hookimpl
def attnlab_similarities():
    return [Plain]
"""


def test_plain_numpy_is_a_runs_reason_with_its_line(tmp_path):
    (tmp_path / "my.py").write_text(PLAIN)
    write(tmp_path / "one.yaml", similarities="plain", seeds=1)
    process = attnlab_command("sweep", "one.yaml", "--plugin", "my.py", cwd=tmp_path)
    said = "my.py:11: a NumPy function met a traced array; take xp = namespace(Q, K), and xp.linalg.vector_norm instead of norm"
    assert process.returncode == 1
    assert said in process.stderr
    assert said in attnlab_command("errors", cwd=tmp_path).stdout
    assert attnlab.load_results(tmp_path / "results" / "attnlab.db")["reason"].tolist() == [f"ComponentError: {said}"]


def test_a_dry_run_makes_nothing(tmp_path):
    write(tmp_path / "one.yaml")
    process = attnlab_command("sweep", "one.yaml", "--dry-run", cwd=tmp_path)
    assert process.returncode == 0
    assert "missing" in process.stdout
    assert "4 to run, 0 to keep" in process.stderr
    assert not (tmp_path / "results").exists()


def test_tuning_chooses_on_validation_data_with_the_same_budget_for_all(tmp_path):
    write(tmp_path / "one.yaml", extra="tune: {model.learning_rate: [0.0001, 0.05]}\n")
    attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    frame = attnlab.load_results(tmp_path / "results" / "attnlab.db")
    assert (frame["n_tuned"] == 2).all()
    assert set(frame["model.learning_rate"]) <= {0.0001, 0.05}


def test_looking_back_at_a_run(tmp_path):
    frame = attnlab.sweep(write(tmp_path / "one.yaml"), store=tmp_path / "s.db", executor="serial", quiet=True)
    stored_run = attnlab.load_run(frame["run_id"].iloc[0][:10], tmp_path / "s.db")
    assert stored_run.arrays["loss_curve"].shape == (3,)
    assert stored_run.arrays["test.test.W"].shape[-1] == 4
    assert "params.projection.Wq" in stored_run.arrays


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["sweep", "--help"], ["list", "similarity"], ["plugins"]])
def test_asking_works(tmp_path, args):
    process = attnlab_command(*args, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["sweeep"], "did you mean sweep?"),
        (["sweep"], "FILE..."),
        (["sweep", "absent.yaml"], "absent.yaml"),
        (["show", "additiv"], "did you mean additive"),
        (["results", "--format", "xml"], "xml"),
        (["sweep", "x.yaml", "-p", "laplace"], "no:NAME"),
    ],
)
def test_mistakes_in_usage_are_exit_2(tmp_path, args, said):
    process = attnlab_command(*args, cwd=tmp_path)
    assert process.returncode == 2 or args[0] == "results"
    assert said in process.stderr
    assert "Traceback" not in process.stderr


def test_show_prints_settings_with_their_ranges(tmp_path):
    process = attnlab_command("show", "additive", cwd=tmp_path)
    assert "hidden = 32    int, > 0" in process.stdout
    assert "Bahdanau" in process.stdout


def test_a_damaged_row_is_run_again_and_never_shown(tmp_path):
    write(tmp_path / "one.yaml")
    attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    store = tmp_path / "results" / "attnlab.db"
    expected = metrics_of(store)
    with sqlite3.connect(store) as db:
        db.execute(
            "UPDATE runs SET numbers = replace(numbers, '0.', '0.2') WHERE run_id = (SELECT min(run_id) FROM runs)"
        )
    shown = attnlab_command("results", "--format", "csv", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    frame = pd.read_csv(io.StringIO(shown.stdout))
    assert frame["status"].value_counts().to_dict() == {"ok": 3, "damaged": 1}
    assert frame[frame["status"] == "damaged"]["aer"].isna().all()
    plan = attnlab_command("plan", "one.yaml", "--format", "json", cwd=tmp_path)
    assert sum("damaged" in row["reason"] for row in json.loads(plan.stdout)) == 1
    assert done_by(attnlab_command("sweep", "one.yaml", cwd=tmp_path)) == 1
    assert metrics_of(store) == expected


METRICS = """
from attnlab import Metric, hookimpl


class Boom(Metric):
    \"\"\"Raises.\"\"\"

    name = "boom"

    def measure(self, data, W):
        raise RuntimeError("metric boom")


@hookimpl
def attnlab_metrics():
    return [Boom]
"""


def test_what_a_run_has_to_say_is_printed(tmp_path):
    (tmp_path / "mine.py").write_text(METRICS, encoding="utf-8")
    write(tmp_path / "one.yaml", similarities="{cosine: {temperature: 1.0}}", metrics="alignment_accuracy, boom")
    process = attnlab_command("sweep", "one.yaml", "--plugin", "mine.py", cwd=tmp_path)
    assert process.returncode == 0
    assert "note of 2 of 2 runs: metric boom raised RuntimeError: metric boom" in process.stderr
    assert "cannot align" in process.stderr
    assert "boom has no value in these runs\n" in process.stdout


def test_an_experiment_given_twice_counts_once(tmp_path):
    path = write(tmp_path / "one.yaml")
    once = attnlab_command("sweep", "one.yaml", cwd=tmp_path)
    twice = attnlab_command("sweep", "one.yaml", "one.yaml", cwd=tmp_path)
    assert twice.stdout == once.stdout
    assert len(attnlab.sweep(path, path, store=tmp_path / "s.db", executor="serial", quiet=True)) == 4
    write(tmp_path / "other.yaml", seeds=3, extra="name: one\n")
    process = attnlab_command("sweep", "one.yaml", "other.yaml", cwd=tmp_path)
    assert process.returncode == 2
    assert "two experiments are called 'one'" in process.stderr


def test_what_was_left_out_or_broken_is_said(tmp_path):
    write(tmp_path / "one.yaml", similarities="raises")
    (tmp_path / "syntax.py").write_text("def", encoding="utf-8")
    for args, said in (
        (("--plugin", "syntax.py"), "--plugin syntax.py: SyntaxError"),
        (("-p", "no:nosuch"), "no such plugin"),
        (("-p", "no:attnlab"), "attnlab's own parts"),
    ):
        process = attnlab_command("plan", "one.yaml", *args, cwd=tmp_path)
        assert process.returncode == 2
        assert said in process.stderr
        assert "Traceback" not in process.stderr
    env = {**os.environ, "ATTNLAB_PLUGINS": "raisez"}
    process = attnlab_command("plan", "one.yaml", cwd=tmp_path, env=env)
    assert "ATTNLAB_PLUGINS names raisez, which is not installed" in process.stderr


def test_a_part_whose_plugin_was_left_out_is_shown_to_be(tmp_path):
    for command in ("show", "check"):
        process = attnlab_command(command, "raises", "--plugin", FAULTY, cwd=tmp_path)
        assert process.returncode < 2, process.stderr
        process = attnlab_command(command, "raises", "-p", "no:faulty", "--plugin", FAULTY, cwd=tmp_path)
        assert process.returncode == 2
        assert "no such plugin" in process.stderr
        env = {**os.environ, "ATTNLAB_PLUGINS": "raisez"}
        process = attnlab_command(command, "raises", cwd=tmp_path, env=env)
        assert process.returncode == 2
        assert "ATTNLAB_PLUGINS names raisez, which is not installed" in process.stderr


def test_what_a_plugins_parts_cite_is_told(tmp_path):
    write(tmp_path / "one.yaml", similarities="raises, additive")
    assert attnlab_command("cite", "one.yaml", cwd=tmp_path).returncode == 2
    process = attnlab_command("cite", "one.yaml", "--plugin", FAULTY, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "Bahdanau" in process.stdout


def test_a_run_whose_plugin_is_gone_says_so(tmp_path):
    write(tmp_path / "one.yaml", similarities="raises", seeds=1)
    attnlab_command("sweep", "one.yaml", "--plugin", FAULTY, cwd=tmp_path)
    (run_id,) = attnlab.load_results(tmp_path / "results" / "attnlab.db")["run_id"]
    process = attnlab_command("run", run_id, cwd=tmp_path)
    assert process.returncode == 2
    assert "--plugin FILE.py" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(tmp_path, limit):
    with pytest.raises(attnlab.SettingError, match="limit must be 1 or more"):
        attnlab.sweep(write(tmp_path / "one.yaml"), store=tmp_path / "s.db", limit=limit)


NO_SCORE = """
import math

from sklearn.base import BaseEstimator

from attnlab import Mechanism, Model, hookimpl


class Picky(Model, BaseEstimator):
    \"\"\"Untrained, and without a score where `level` is 0.\"\"\"

    name = "picky"

    def __init__(self, mechanism=None, level=0, random_state=None):
        self.mechanism = mechanism
        self.level = level
        self.random_state = random_state

    def fit(self, data, y=None):
        return self

    def predict(self, data):
        return self.mechanism.attend(None, data.Q, data.K, data.V, data.mask)

    def align(self, data):
        return self.mechanism.weights(None, data.Q, data.K, data.mask)

    def score(self, data, y=None):
        return self.level or math.nan


@hookimpl
def attnlab_models():
    return [Picky]
"""


def test_a_candidate_without_a_score_is_not_chosen(tmp_path):
    (tmp_path / "picky.py").write_text(NO_SCORE, encoding="utf-8")
    text = TINY.replace("aligner: {projection: 4, steps: 3}", "picky: {}") % ("dot", 1, "alignment_accuracy")
    (tmp_path / "one.yaml").write_text(text + "tune: {model.level: [0, 1, 2, 0]}\n", encoding="utf-8")
    process = attnlab_command("sweep", "one.yaml", "--plugin", "picky.py", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert attnlab.load_results(tmp_path / "results" / "attnlab.db")["model.level"].tolist() == [2]
