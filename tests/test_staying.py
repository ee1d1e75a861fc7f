"""What code of others does to this process while it is called, and to its files."""

import faulthandler
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from attnlab.errors import message_of
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
        ("signal.signal(signal.SIGALRM, boom); signal.setitimer(0, .0005, .0005)", "an alarm clock"),
        ("import ctypes; ctypes.CDLL('libm.so.6').fesetround(0x400)", "how the processor rounds"),
        ("import autograd.core as c; c.primitive_vjps.popitem()", "autograd.core.primitive_vjps"),
        ("import collections.abc as c; c.Mapping.register(str)", "what is a Mapping"),
        ("import copyreg; copyreg.pickle(dict, boom)", "copyreg.dispatch_table"),
        ("import attnlab.data as d; d.len = boom", "attnlab.data.len"),
        (
            "import attnlab.data as d; d.AlignmentData.__getattribute__ = boom",
            "attnlab.data.AlignmentData.__getattribute__",
        ),
        ("import sys; sys.modules['json'] = type(sys)('json')", "sys.modules['json']"),
        ("import sys; sys.modules['cProfile'] = type(sys)('cProfile')", "sys.modules['cProfile']"),
        ("import os; os.path = None", "os.path"),
        ("import builtins; builtins.len = builtins.getattr = builtins.isinstance = boom", "builtins.getattr"),
        ("import sys; sys.executable = '/nowhere'", "sys.executable"),
        ("import os, posixpath; posixpath.join = boom", "posixpath.join"),
        ("np.pi = 3", "numpy.pi"),
    ],
)
def test_what_everybody_has_in_common_is_put_back(body, said):
    imports = "import json, pathlib, signal, socket, sqlite3\nimport numpy as np\ndef boom(*a): raise RuntimeError"
    found = called(exec, f"{imports}\n{body}", {})
    assert said in found.changes
    assert len({change.split(",")[0] for change in found.changes}) <= 3
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


def test_what_is_played_with_is_put_back_without_a_word():
    settings = (
        sys.getswitchinterval,
        gc.isenabled,
        gc.get_threshold,
        gc.get_debug,
        np.getbufsize,
        np.geterr,
        sys.gettrace,
    )
    before = [get() for get in settings], sys.excepthook, np.get_printoptions()["precision"], os.get_blocking(2)
    body = (
        "sys.setswitchinterval(9); gc.disable(); gc.set_threshold(1); gc.set_debug(gc.DEBUG_STATS); np.setbufsize(16)\n"
        "np.seterr(all='raise'); np.set_printoptions(precision=1); sys.excepthook = print; os.set_blocking(2, False)\n"
        "sys.setprofile(lambda *a: 1 / 0); sys.settrace(lambda *a: 1 / 0)\n"
    )
    assert called(exec, f"import gc, os, sys\nimport numpy as np\n{body}", {}).changes == []
    assert before == (
        [get() for get in settings],
        sys.excepthook,
        np.get_printoptions()["precision"],
        os.get_blocking(2),
    )


def test_a_stream_that_was_taken_apart_is_made_anew(tmp_path):
    script = (
        "import sys; from attnlab.guard import called\n"
        "print(called(lambda: (sys.stdout.detach(), sys.stderr.detach())).changes)\n"
        "called(lambda: sys.stdout.reconfigure(encoding='utf-16')); print('and on')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["and on"]), done.stderr
    assert "sys.stdout, which it closed," in done.stdout


def test_the_most_that_a_limit_may_be_is_not_lowered():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = called(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
    assert "the limit RLIMIT_NOFILE" in found.changes
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_what_is_done_at_each_fork_ends_no_process():
    script = (
        "import os; from attnlab.guard import called\n"
        "called(lambda: os.register_at_fork(before=lambda: 1 / 0, after_in_child=lambda: os._exit(5)))\n"
        "pid = os.fork()\n"
        "os._exit(0 if pid == 0 else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


class Odd(Exception):
    def __str__(self):
        raise SystemExit(0)


def test_an_error_that_cannot_be_printed_has_a_message():
    assert message_of(Odd()) == "(what it says cannot be had: its __str__ raised SystemExit)"
    assert message_of(ValueError("x" * 10**6)) == "x" * 2**16


@pytest.mark.parametrize(
    "body",
    [
        "atexit.register(time.sleep, 600)",
        "o = type('O', (), {'__del__': lambda o: os._exit(0)})(); o.me = o; del o",
        "atexit.register(os._exit, 0)",
        "threading.Thread(target=lambda: (time.sleep(0.1), os._exit(0)), daemon=True).start()",
    ],
)
def test_no_plugin_sets_the_status_of_a_command(tmp_path, body):
    (tmp_path / "theirs.py").write_text(f"import atexit, os, threading, time\n{body}\ntime.sleep(0.3)\n")
    script = (
        "import sys; sys.argv[1:] = ['list', 'nonsense', '--plugin', 'theirs.py']; from attnlab.cli import main; "
        "from attnlab.commands import streams; streams.PATIENCE = 1.0; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr


def test_a_time_zone_that_is_looked_up_again_or_another_one_is_no_change():
    """Libraries look it up when they are imported; `time.tzname` is a new tuple then."""
    found = called(exec, "import os, time; time.tzset(); os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()", {})
    assert not found.changes
    found = called(exec, "del os.environ['TZ']; time.tzset()", {"os": os, "time": time})
    assert not found.changes
