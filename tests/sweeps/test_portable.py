"""Without processes, POSIX modules and threads, all but the executor `local` works, and `local` says what is missing."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import attnlab
from attnlab.plugins import plugins

# A fresh process from which is taken what Windows or a browser lacks. NumPy and scikit-learn ask for some of it where
# sys.platform is "linux", as it is here: so `os.uname` stays, and scikit-learn is loaded before.
TAKE_AWAY = """
    import faulthandler, os, signal, socket, sys, threading

    import sklearn.preprocessing

    for module in ("resource", "fcntl", "termios", "tty", "pty", "pwd", "grp", "_multiprocessing", "_posixshmem"):
        sys.modules[module] = None
    for module in ("multiprocessing.connection", "distributed"):
        sys.modules[module] = None
    for name in ("fork", "forkpty", "killpg", "setpgid", "sched_getaffinity", "sysconf", "posix_spawn", "pidfd_open"):
        if hasattr(os, name):
            delattr(os, name)
    for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "pthread_sigmask", "set_wakeup_fd", "setitimer"):
        if hasattr(signal, name):
            delattr(signal, name)
    del faulthandler.register, socket.socketpair

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse
"""

EXPERIMENT = {
    "attnlab": 1,
    "name": "portable",
    "question": "Does it run everywhere?",
    "task": {"lookup": {"n_keys": 3, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
    "model": {"aligner": {"steps": 2}},
    "mechanism": {"normaliser": ["softmax", "sparsemax"]},
    "seeds": 3,
}


def run(script, folder, take_away=TAKE_AWAY):
    lines = textwrap.dedent(take_away) + f"\nEXPERIMENT = {EXPERIMENT!r}\n" + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", lines], cwd=folder, capture_output=True, text=True, timeout=300)


def succeeds(script, folder, take_away=TAKE_AWAY):
    done = run(script, folder, take_away)
    assert done.returncode == 0, done.stderr
    return done


def test_a_sweep_is_serial_by_default_and_says_so_once(tmp_path):
    done = succeeds(
        """
        import attnlab

        another = {**EXPERIMENT, "name": "another", "seeds": 1}
        frame = attnlab.sweep(EXPERIMENT, another, store="s.db", quiet=True)
        assert frame.shape[0] == 8 and (frame.status == "ok").all(), frame.reason.tolist()
        assert set(attnlab.load_results("s.db").run_id) == set(frame.run_id)
        """,
        tmp_path,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("attnlab:")]
    assert line.startswith("attnlab: runs are done one after another in this process (the executor 'serial'): ")
    for name in ("os.fork", "os.killpg", "signal.SIGKILL", "faulthandler.register", "multiprocessing.connection"):
        assert name in line
    assert "resource" not in line  # it is needed for memory limits alone


def test_who_asks_for_local_or_its_options_is_told_what_is_missing(tmp_path):
    succeeds(
        """
        import attnlab

        def refused(*words, **options):
            try:
                attnlab.sweep(EXPERIMENT, store="s.db", quiet=True, **options)
            except attnlab.SettingError as error:
                assert all(word in str(error) for word in words), error
            else:
                raise AssertionError(f"{options} was not refused")

        refused("the executor 'local' cannot be used here", "os.fork", "--executor serial", executor="local")
        refused("the executor 'local' cannot be used here", "os.fork", executor={"local": {"jobs": 2}})
        refused("--jobs cannot be kept here", "os.fork", "Leave it out", jobs=2)
        refused("--jobs, --time cannot be kept here", "Leave them out", jobs=2, time_limit=3.0)
        refused("the executor 'dask' cannot be used here", "pip install 'attnlab[dask]'", executor="dask")
        try:
            attnlab.get("executor", "local", memory_limit=10)
        except attnlab.SettingError as error:
            assert "memory_limit can be kept on Linux only, with Python's module resource" in str(error)
        else:
            raise AssertionError("a memory limit was accepted")
        """,
        tmp_path,
    )


def test_the_command_line_works(tmp_path):
    (tmp_path / "x.yaml").write_text(__import__("json").dumps(EXPERIMENT), encoding="utf-8")
    done = succeeds(
        """
        import contextlib, io
        from attnlab.cli import main

        def status(*args):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                try:
                    main(args)
                except SystemExit as stop:
                    return stop.code, out.getvalue()

        assert status("sweep", "x.yaml", "--executor", "local")[0] == 2
        assert status("sweep", "x.yaml", "--executor", "serial")[0] == 0
        code, compared = status("compare", "alignment_accuracy", "--by", "normaliser", "--baseline", "softmax")
        assert code == 0 and "sparsemax" in compared, compared
        code, listed = status("list", "executor")
        assert code == 0 and all(name in listed for name in ("serial", "local", "dask")), listed
        assert status("check", "executor:serial")[0] == 0
        code, checked = status("check", "executor:local")
        assert "skipped" in checked and "os.fork" in checked, checked
        assert status("report", "-o", "r.html")[0] == 0
        """,
        tmp_path,
    )
    assert "the executor 'local' cannot be used here" in done.stderr


def test_compare_report_and_estimators_work(tmp_path):
    done = succeeds(
        """
        import numpy as np
        import attnlab

        frame = attnlab.sweep(EXPERIMENT, store="s.db", executor="serial", quiet=True)
        compared = attnlab.compare(frame, "alignment_accuracy", by="normaliser", baseline="softmax")
        assert "sparsemax" in str(compared)
        from attnlab.analysis.report import collect, write_report
        write_report(collect("s.db"), "report.html")
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(30, 4)), rng.integers(2, size=30)
        attnlab.AttentionClassifier(steps=3).fit(X, y).predict(X)
        attnlab.AttentionRegressor(steps=3).fit(X, X[:, 0]).predict(X)
        splits = attnlab.get("task", "lookup", n_keys=3, d=4, n_train=8).make(rng)
        attnlab.AttentionAligner(attnlab.Mechanism("general"), steps=3).fit(splits.train).align(splits.tests["test"])
        X = [["Tom", "chases", "Jerry"], ["Jerry", "chases", "Tom"]]
        attnlab.AttentionSeq2Seq(embedding_dim=4, hidden_dim=4, steps=3).fit(X, X).predict(X)
        attnlab.WordAligner().fit([("the cat", "le chat"), ("the dog", "le chien")]).links([("the dog", "le chien")])
        print("done")
        """,
        tmp_path,
    )
    assert done.stdout.strip() == "done"
    assert done.stderr == ""
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_an_executor_that_cannot_be_imported_takes_no_other_away(tmp_path):
    done = succeeds(
        """
        import sys

        sys.modules["attnlab.sweeps.executors.local"] = None
        from attnlab.registry import entry, names

        assert names("executor") == ["dask", "serial"]
        try:
            entry("executor", "local")
        except LookupError as error:
            print(error)
        """,
        tmp_path,
        take_away="",
    )
    assert "no executor 'local'" in done.stdout
    assert "attnlab.sweeps.executors.local" in done.stdout


def test_a_plugin_may_implement_a_hook_several_times(tmp_path):
    (tmp_path / "twice.py").write_text(
        textwrap.dedent(
            """
            from attnlab.hookspecs import hookimpl
            from attnlab import Mask

            class First(Mask):
                \"\"\"One.\"\"\"
                name = "first_of_two"
                def allow(self, q_index, k_index):
                    raise NotImplementedError

            @hookimpl(specname="attnlab_masks")
            def attnlab_masks_first():
                return [First]

            @hookimpl(specname="attnlab_masks")
            def attnlab_masks_second():
                raise ImportError("no module named quux")
            """
        ),
        encoding="utf-8",
    )
    done = succeeds(
        """
        import attnlab.plugins
        from attnlab.registry import names

        attnlab.plugins.configure(files=["twice.py"])
        assert "first_of_two" in names("mask")
        print(attnlab.plugins.plugins().records[-1].reason)
        """,
        tmp_path,
        take_away="",
    )
    assert "attnlab_masks: ImportError: no module named quux" in done.stdout


def test_nothing_is_missing_here():
    if sys.platform == "linux":
        assert attnlab.get("executor", "local").unavailable() == ""
    assert [p.reason for p in plugins().records if p.name == "attnlab"] == [""]


@pytest.mark.parametrize("vfs", ["unix-dotfile", pytest.param("unix-none", marks=pytest.mark.long)])
def test_a_store_needs_no_shared_memory(vfs, tmp_path):
    """SQLite's other ways to lock a file have no shared memory, and so no write-ahead log."""
    if sys.platform != "linux":
        pytest.skip("SQLite's file systems are named otherwise here")
    succeeds(
        f"""
        import sqlite3
        connect = sqlite3.connect
        sqlite3.connect = lambda path, **options: connect(f"{{path}}&vfs={vfs}", **options)
        import attnlab

        frame = attnlab.sweep(EXPERIMENT, store="s.db", executor="serial", quiet=True)
        assert len(attnlab.load_results("s.db")) == 6
        """,
        tmp_path,
        take_away="",
    )
