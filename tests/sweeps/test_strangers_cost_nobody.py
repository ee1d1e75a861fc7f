"""Somebody else's plugin, a reader that is gone and a signal, at the command line: each with its exit status and its word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from commands import attnlab_command

import attnlab

if sys.platform != "linux":
    pytest.skip("signals, forks and /dev/full", allow_module_level=True)

IDEA = """\
attnlab: 1
question: Does it go on?
task: {lookup: {n_keys: 4, d: 4, n_train: 16, n_validation: 4, n_test: 8}}
mechanism: {similarity: [dot, cosine]}
model: {aligner: {projection: 4, steps: 3}}
seeds: 2
"""
SLOW = '''
import time
from attnlab import Similarity, hookimpl, namespace

class Slow(Similarity):
    """Slow."""
    name = "slow"

    def score(self, Q, K):
        BODY
        return Q @ namespace(K).matrix_transpose(K)

@hookimpl
def attnlab_similarities():
    return [Slow]
'''
METRICS = '''
import os, time
from attnlab import Metric, hookimpl

class Mine(Metric):
    """Of others."""
    name = "mine"
    direction = "up"

    def measure(self, data, W, Y, model):
        BODY
        return 0.25

class Fine(Metric):
    """Of others."""
    name = "fine"
    direction = "up"

    def measure(self, data, W):
        return float(W.mean())

@hookimpl
def attnlab_metrics():
    return [Mine, Fine]
'''


def some(*cases, always=()):
    """Cases of a test: some at every run of the tests, all of them with the marker long."""
    return [pytest.param(*case, marks=[] if i in always else [pytest.mark.long]) for i, case in enumerate(cases)]


@pytest.fixture
def at(tmp_path):
    """Run attnlab in a folder of its own, forked; or through a shell line where `{}` is the command."""
    (tmp_path / "idea.yaml").write_text(IDEA)

    def run(args, line=None, plugin=None, **environment):
        if plugin is not None:
            (tmp_path / "theirs.py").write_text(plugin)
            args = f"{args} --plugin theirs.py"
        if line is None:
            return attnlab_command(*args.split(), cwd=tmp_path, env={**os.environ, **environment})
        return subprocess.run(
            ["bash", "-c", line.format(f"{sys.executable} -m attnlab {args}")],
            cwd=tmp_path,
            capture_output=True,
            timeout=100,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )

    run.folder = tmp_path
    return run


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The rows of the sweep that nobody disturbs."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "idea.yaml").write_text(IDEA)
    done = attnlab_command("sweep", "idea.yaml", "-q", "--store", "s.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    return attnlab.load_results(folder / "s.db")


def rows(at, store="results/attnlab.db"):
    return attnlab.load_results(at.folder / store)


# -- imports ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "said"),
    some(
        ("import os; os._exit(0)", "its import ends the process: exit code 0"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import os; os.chdir('/')", "the working directory"),
        ("import sys; sys.stdout = None", "sys.stdout"),
        ("import sys; sys.setrecursionlimit(100)", "the recursion limit"),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "what happens at SIGTERM"),
        ("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (9, 9))", "RLIMIT_NOFILE"),
        ("import numpy; numpy.exp = numpy.ones_like", "numpy.exp"),
        ("import os; os.fork()", ""),
        ("from attnlab import hookimpl\nimport os\n@hookimpl\ndef attnlab_masks(): os._exit(0)", "attnlab_masks"),
        ("import hashlib; hashlib.sha256 = hashlib.md5", "hashlib.sha256"),
        ("import numpy; numpy.random.default_rng = None", "numpy.random.default_rng"),
        ("import attnlab.sweeps.measuring as m; m.read_only = None", "attnlab.sweeps.measuring.read_only"),
        ("import attnlab.tasks.recall as m; vars(m).clear()", "attnlab.tasks.recall"),
        ("import sys; sys.path.clear()", "sys.path"),
        ("import sys; del sys.modules['os']", "sys.modules"),
        ("import sys; sys.stdout.write = len", "sys.stdout.write"),
        always=(0, 4, 11, 12, 14),
    ),
)
def test_an_import_that_ends_or_changes_the_process_is_named_and_costs_nobody(at, body, said):
    (at.folder / "theirs-1.dist-info").mkdir()
    (at.folder / "theirs-1.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    (at.folder / "theirs-1.dist-info" / "entry_points.txt").write_text("[attnlab]\ntheirs = theirs_module\n")
    (at.folder / "theirs_module.py").write_text(f"{body}\n")
    swept = at("sweep idea.yaml -q", ATTNLAB_PLUGINS="theirs")
    assert (swept.returncode, len(rows(at))) == (0, 4), swept.stderr
    if said:
        listed = at("plugins --format json", ATTNLAB_PLUGINS="theirs")
        assert said in listed.stdout
        assert "broken" in listed.stdout


def test_what_a_plugin_prints_is_not_among_the_data(at):
    done = at("schema", plugin="import os\nprint('banner')\nos.write(1, b'raw')\n")
    assert (done.returncode, done.stdout[:1]) == (0, "{")
    assert "banner" in done.stderr


def test_a_thread_of_a_plugin_does_not_delay_the_end(at):
    began = time.monotonic()
    done = at("list mask", plugin="import threading, time\nthreading.Thread(target=time.sleep, args=(90,)).start()\n")
    assert done.returncode == 0
    assert time.monotonic() - began < 80


def test_what_a_plugin_registers_for_the_end_is_done(at):
    """A command ends without taking Python's modules apart; what asks to be called at the end is called."""
    done = at("list mask", plugin="import atexit\natexit.register(print, 'one last word')\n")
    assert done.returncode == 0
    assert "one last word" in done.stdout + done.stderr


# -- events -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    some(
        ("raise SystemExit(0)",),
        ("raise KeyboardInterrupt",),
        ("os.fork()",),
        ("os.chdir('/')",),
        ("np.exp = np.ones_like",),
        ("os._exit(0)",),
        ("os.execv('/bin/true', ['true'])",),
        ("sys.stdout.write = len",),
        ("sys.path.clear(), sys.meta_path.clear()",),
        ("sys.modules.clear()",),
        ("builtins.__import__ = None",),
        ("os.closerange(3, 4096)",),
        ("[os.close(d) for d in range(3, 256)]",),
        ("result.metrics.clear(); run.spec.clear(); object.__setattr__(run, 'run_id', 'x')",),
        ("raise type('Odd', (BaseException,), {'__str__': lambda e: sys.exit(0), '__getattribute__': None})()",),
        ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",),
        ("import attnlab.plugins as p; p._active = None; p._options['files'] = ('/nowhere.py',)",),
        ("import json, pandas; json.JSONEncoder.encode = pandas.DataFrame.__getitem__ = None",),
        ("import signal; signal.signal(signal.SIGALRM, lambda *a: 1 / 0); signal.setitimer(0, .0005, .0005)",),
        ("sys.settrace(lambda *a: 1 / 0); sys.setprofile(lambda *a: 1 / 0)",),
        ("os.path = os.environ = None; sys.stdout.detach(); sys.stderr.detach()",),
        ("import sqlite3, socket; sqlite3.register_adapter(float, lambda x: 0.5); socket.setdefaulttimeout(0.001)",),
        ("os.register_at_fork(before=lambda: 1 / 0, after_in_child=lambda: os._exit(5))",),
        ("import copyreg; copyreg.dispatch_table.update({dict: None, type(len): None, np.ndarray: None})",),
        always=(1, 4, 5, 9, 13, 14, 18),
    ),
)
@pytest.mark.parametrize("executor", ["serial", *(pytest.param(e, marks=pytest.mark.long) for e in ("local", "dask"))])
def test_a_hook_of_an_event_ends_no_sweep(at, alone, body, executor):
    hook = f"import builtins, os, sys\nimport numpy as np\nfrom attnlab import hookimpl\n@hookimpl\ndef attnlab_run_finished(run, result):\n    {body}\n"
    done = at(f"sweep idea.yaml -q --executor {executor}", plugin=hook)
    assert done.returncode == 0, done.stderr
    assert "alignment_accuracy" in done.stdout
    columns = ["run_id", "alignment_accuracy", "gold_mass"]
    assert rows(at)[columns].values.tolist() == alone[columns].values.tolist()


def test_what_a_hook_changes_of_a_table_is_not_printed(at):
    hook = "from attnlab import hookimpl\n@hookimpl\ndef attnlab_sweep_finished(experiment, frame):\n    frame['alignment_accuracy'] = 0.0\n"
    hook += "    object.__setattr__(experiment, 'metrics', ('gold_mass',))\n"
    hook += "@hookimpl\ndef attnlab_sweep_started(experiment, runs):\n    runs.clear()\n"
    calm = at("sweep idea.yaml -q --store calm.db")
    done = at("sweep idea.yaml -q --executor serial", plugin=hook)
    assert (done.returncode, len(rows(at))) == (0, 4), done.stderr
    assert done.stdout.splitlines()[:5] == calm.stdout.splitlines()[:5]


def test_what_a_hook_raises_is_shown_and_not_obeyed(at):
    hook = (
        "from attnlab import hookimpl\n@hookimpl\ndef attnlab_run_finished(run):\n    raise ValueError('\\x1b[31m')\n"
    )
    done = at("sweep idea.yaml -q --executor serial", plugin=hook)
    assert (done.returncode, "\x1b" in done.stderr, "ValueError" in done.stderr) == (0, False, True), done.stderr


def test_a_hook_that_gives_components_without_end_is_named(at):
    hook = "import itertools\nfrom attnlab import hookimpl\n@hookimpl\ndef attnlab_masks():\n    return itertools.repeat(int)\n"
    done = at("list mask", plugin=hook)
    assert "more than 10,000 components" in at("plugins", plugin=hook).stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize("executor", ["serial", "local", "dask"])
@pytest.mark.parametrize(
    "body",
    [
        "[o.close() for o in gc.get_objects() if isinstance(o, sqlite3.Connection)]",
        "[libc.close(int(d)) for d in os.listdir('/dev/fd') if '.db' in os.path.realpath(f'/dev/fd/{d}')]",
    ],
)
def test_a_hook_that_closes_the_store_ends_the_sweep_with_a_sentence(at, executor, body):
    hook = f"import ctypes, gc, os, sqlite3\nfrom attnlab import hookimpl\nlibc = ctypes.CDLL(None)\n@hookimpl\ndef attnlab_run_finished(run):\n    {body}\n"
    done = at(f"sweep idea.yaml -q --executor {executor}", plugin=hook)
    assert done.returncode == 6, done.stderr
    assert "closed this file while the sweep had it open" in done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(rows(at)) < 4


# -- metrics ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "said"),
    some(
        ("raise SystemExit(0)", "metric mine raised SystemExit"),
        ("os._exit(0)", "metric mine ended its process (exit code 0)"),
        ("time.sleep(600)", "metric mine took longer than"),
        ("W.setflags(write=True); W[:] = 0", "metric mine raised ValueError"),
        ("data.gold = None; model.params_ = None; __import__('numpy').mean = None", ""),
        always=(1, 4),
    ),
)
def test_a_metric_of_others_costs_its_own_number(at, alone, body, said):
    hidden = at("sweep idea.yaml -q --store hidden.db", plugin=METRICS.replace("BODY", body))
    (at.folder / "idea.yaml").write_text(f"{IDEA}metrics: [alignment_accuracy, mine, fine]\n")
    shown = at("sweep idea.yaml -q --time 20s", plugin=METRICS.replace("BODY", body))
    assert (hidden.returncode, shown.returncode) == (0, 0), shown.stderr
    found = rows(at)
    for metric in ("alignment_accuracy", "gold_mass", "context_error", "weight_entropy"):
        assert found[metric].tolist() == alone[metric].tolist() == rows(at, "hidden.db")[metric].tolist()
    assert found["fine"].tolist() == [0.25] * 4
    assert "mine" not in rows(at, "hidden.db")
    assert found["mine"].tolist() == [0.25] * 4 if not said else found["mine"].isna().all()
    assert found["notes"].str.contains(said, regex=False).all()


def test_a_metric_of_others_with_the_name_of_the_default_stops_nothing(at):
    done = at("sweep idea.yaml -q", plugin=METRICS.replace("BODY", "pass").replace('"mine"', '"alignment_accuracy"'))
    assert (done.returncode, len(rows(at))) == (0, 4), done.stderr


# -- streams ----------------------------------------------------------------------------------------------------------
LINES = ("{} 2> >(true)", "{} 2>/dev/full", "{} 2>&-", "{} | true; exit ${{PIPESTATUS[0]}}", "{} >&-")


@pytest.mark.parametrize(
    ("line", "fails"), some(*((line, fails) for line in LINES for fails in (False, True)), always=(1, 5))
)
def test_who_reads_what_is_printed_changes_no_status(at, line, fails):
    plugin = SLOW.replace("BODY", "raise ValueError('no')" if fails else "pass")
    (at.folder / "idea.yaml").write_text(IDEA.replace("cosine", "slow"))
    done = at("sweep idea.yaml", line, plugin)
    assert (done.returncode, len(rows(at))) == (int(fails), 4), done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_named_and_leaves_no_half_file(at):
    at("sweep idea.yaml -q")
    done = at("results --format csv", "{} >/dev/full")
    assert done.returncode == 2
    assert "No space left" in done.stderr
    done = at("report -o out.html", "ulimit -f 40; trap '' XFSZ; {}")  # KiB: enough for the store, and not for the page
    assert done.returncode == 2, done.stderr
    assert "out.html" in done.stderr
    assert sorted(p.name for p in at.folder.iterdir() if "out" in p.name or "partial" in p.name) == []


@pytest.mark.parametrize("encoding", some(("ascii",), ("latin-1",), ("utf-8",), always=(1,)))
def test_an_encoding_that_lacks_letters_costs_no_row(at, encoding):
    name = b"id\xff\xe2\x82\xac.yaml"
    (at.folder / os.fsdecode(name)).write_text(IDEA.replace("go on", "cost \u20ac \u4e2d"))
    swept = at("sweep id[!e]*.yaml -q", "{}", PYTHONIOENCODING=encoding)
    assert swept.returncode == 0, swept.stderr
    done = at("results --format csv", "{}", PYTHONIOENCODING=encoding)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5), done.stderr


def test_no_standard_input_is_a_sentence(at):
    done = at("align -", "{} <&-")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# -- signals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("executor", "number"),
    some(
        *((where, one) for where in ("serial", "local") for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
        always=(0, 4),
    ),
)
def test_a_signal_ends_a_sweep_with_its_status_and_no_row(at, executor, number):
    marker = at.folder / "began"
    (at.folder / "theirs.py").write_text(SLOW.replace("BODY", f"open({str(marker)!r}, 'w').close(); time.sleep(60)"))
    (at.folder / "idea.yaml").write_text(IDEA.replace("dot, cosine", "slow"))
    arguments = f"sweep idea.yaml --plugin theirs.py -q --executor {executor}".split()
    process = subprocess.Popen(
        [sys.executable, "-m", "attnlab", *arguments],
        cwd=at.folder,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not marker.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Resume with" in said
    assert len(rows(at)) == 0


@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.long) for n in (signal.SIGTERM, signal.SIGHUP))]
)
def test_a_signal_ends_any_command_with_its_status_and_a_word(at, number):
    os.mkfifo(at.folder / "pairs")
    process = subprocess.Popen(
        [sys.executable, "-m", "attnlab", "align", "pairs"],
        cwd=at.folder,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with open(at.folder / "pairs", "w"):  # from here on it reads
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (128 + number, b"attnlab: interrupted")


def test_ctrl_c_during_the_imports_prints_no_traceback(at):
    """A package that is imported early stands for all that takes its time."""
    (at.folder / "click.py").write_text(
        "open('began', 'w').close()\nimport time\ntime.sleep(60)\nraise SystemExit(9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "attnlab", "plugins"],
        cwd=at.folder,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(at.folder), *sys.path])},
    )
    while not (at.folder / "began").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-signal.SIGINT, b"")


@pytest.mark.long
def test_who_started_it_may_ignore_the_ends_of_children(at):
    plugin = SLOW.replace("BODY", "os._exit(3)").replace("import time", "import os")
    (at.folder / "idea.yaml").write_text(IDEA.replace("cosine", "slow"))
    done = at("sweep idea.yaml -q", "trap '' CHLD; exec {}", plugin)
    assert done.returncode == 1, done.stderr
    found = rows(at)
    assert found.groupby("similarity")["status"].unique().map(list).to_dict() == {"dot": ["ok"], "slow": ["crashed"]}
    assert (found["reason"].dropna() == "its process exited with code 3").sum() == 2


def test_a_signal_during_an_import_is_not_swallowed(at):
    (at.folder / "theirs.py").write_text(
        "open('began', 'w').close()\nimport time\ntry:\n    time.sleep(50)\nexcept BaseException:\n    pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "attnlab", "sweep", "idea.yaml", "--plugin", "theirs.py"],
        cwd=at.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not (at.folder / "began").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert not (at.folder / "results").exists()
