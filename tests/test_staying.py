"""What code of others does to this process while it is called, and to its files."""

import faulthandler
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from attnlab.guard import called


@pytest.mark.parametrize(
    "closes", [lambda d: os.closerange(3, 4096), lambda d: [os.close(n) for n in range(3, 4096)], lambda d: os.close(d)]
)
def test_it_closes_none_that_others_opened(closes):
    ours, theirs = os.pipe()
    try:
        found = called(closes, theirs)
        assert isinstance(found.error, SystemExit)
        assert (str(found.error)[:8], found.changes) == ("os.close", [])
        os.write(theirs, b"a")
        assert os.read(ours, 1) == b"a"
    finally:
        os.close(ours)
        os.close(theirs)


def test_it_closes_its_own_also_when_it_is_called_again():
    opened = called(os.open, os.devnull, os.O_RDONLY).value
    assert called(os.fstat, opened).error is None
    closed = called(lambda: os.close(opened))
    assert (closed.error, closed.changes) == (None, [])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened)
    other = os.open(os.devnull, os.O_RDWR)
    try:
        if other != opened:
            os.dup2(other, opened)  # now ours, with the same number
        assert isinstance(called(lambda: os.close(opened)).error, SystemExit)
    finally:
        for descriptor in {other, opened}:
            os.close(descriptor)


def test_functions_that_close_are_the_systems_afterwards():
    close = os.close
    called(len, ())
    assert os.close is close


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("signal.setitimer(signal.ITIMER_PROF, 600)", "an alarm clock"),
        ("signal.setitimer(signal.ITIMER_VIRTUAL, 600)", "an alarm clock"),
        ("socket.setdefaulttimeout(0.001)", "the timeout of sockets"),
        ("sqlite3.register_adapter(float, lambda x: 0.5)", "what sqlite3 makes of float"),
        ("json.JSONEncoder.encode = None", "json.encoder.JSONEncoder.encode"),
        ("np._core.fromnumeric._wrapreduction = None", "numpy._core.fromnumeric._wrapreduction"),
        ("pathlib.Path.exists = None", "pathlib.Path.exists"),
    ],
)
def test_what_everybody_has_in_common_is_put_back(body, said):
    found = called(exec, f"import json, pathlib, signal, socket, sqlite3\nimport numpy as np\n{body}", {})
    assert (found.error, found.changes) == (None, [said])
    assert {signal.getitimer(n) for n in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL)} == {(0.0, 0.0)}
    assert called(exec, "import json, pathlib\njson.dumps([sum([1.5])]), pathlib.Path('/').exists()", {}).error is None
    with sqlite3.connect(":memory:") as database:
        assert database.execute("SELECT ?", (0.25,)).fetchone() == (0.25,)
    database.close()


def test_nobody_is_left_to_end_or_to_hear_the_process(tmp_path):
    with open(tmp_path / "stacks", "w") as stacks:
        called(lambda: faulthandler.dump_traceback_later(0.05, file=stacks))
        time.sleep(0.15)
    assert (tmp_path / "stacks").read_text() == ""
    heard: list[str] = []
    found = called(lambda: sys.addaudithook(lambda *event: heard.append(str(event))))
    assert isinstance(found.error, SystemExit)
    assert heard == []


@pytest.mark.parametrize(
    "body",
    [
        "atexit.register(os._exit, 0)",
        "threading.Thread(target=lambda: (time.sleep(0.1), os._exit(0)), daemon=True).start()",
    ],
)
def test_no_plugin_sets_the_status_of_a_command(tmp_path, body):
    (tmp_path / "theirs.py").write_text(f"import atexit, os, threading, time\n{body}\ntime.sleep(0.3)\n")
    script = (
        "import sys; sys.argv[1:] = ['list', 'nonsense', '--plugin', 'theirs.py']; from attnlab.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
