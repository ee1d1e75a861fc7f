"""A plugin file for tests: a similarity that makes a mess of its process, in a way that its setting names, and a calm one."""

from attnlab import Similarity, hookimpl, namespace

MESSES = {
    # where it is
    "chdir": "os.chdir('/')",
    "chdir_to_a_removed_folder": "d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    "umask": "os.umask(0o777)",
    "nice": "ONCE or os.nice(1)",
    "no_temporary_folder": "tempfile.tempdir = '/nowhere'; os.environ['TMPDIR'] = '/nowhere'",
    # functions of others
    "exp": "np.exp = lambda x, *a, **k: np.ones_like(x)",
    "matmul": "np.matmul = lambda a, b, **k: np.zeros(a.shape[:-1] + b.shape[-1:])",
    "numpy_sum": "np.sum = lambda *a, **k: 0.0",
    "default_rng": "np.random.default_rng = lambda *a: None",
    "einsum": "np.einsum = None",
    "linalg": "np.linalg.norm = lambda *a, **k: 1.0",
    "autograd_exp": "import autograd.numpy as anp; anp.exp = lambda x: x * 0 + 1",
    "builtin_float": "builtins.float = lambda *a: 0.5",
    "builtin_len": "builtins.len = lambda *a: 3",
    "builtin_sum": "builtins.sum = lambda *a: 3",
    "builtin_open": "builtins.open = None",
    "builtin_import": "builtins.__import__ = None",
    "json": "import json; json.dumps = lambda *a, **k: '{}'; json.loads = lambda *a, **k: {}",
    "clock": "time.perf_counter = lambda: 0.0; time.monotonic = lambda: 0.0; time.time = lambda: 0.0",
    "hashlib": "import hashlib; hashlib.sha256 = None",
    # attnlab
    "softmax": "import attnlab.parts.normalisers as m; m.Softmax.normalise = lambda self, S: S * 0",
    "a_metric": "import attnlab.metrics.alignment as m; m.AlignmentAccuracy.measure = lambda self, data, W: 0.0625",
    "every_metric": "import attnlab.registry as m; m.entries = lambda kind: {}",
    "a_task": "import attnlab.tasks.recall as m; vars(m).clear()",
    "execute": "import attnlab.sweeps.execute as m; m.measure = lambda *a: ({'alignment_accuracy': 1.0}, [])",
    "examples": "import attnlab.sweeps.execute as m; m.DRAWN.get = None",
    "pack": "import attnlab.sweeps.executors.messages as m; m.unpack = None",
    "plugins": "import attnlab.plugins as m; m.configure(); m._active = None",
    "train": "import attnlab.models.training as m; m.fit = None",
    # limits
    "few_files": "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))",
    "small_files": "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))",
    "no_core": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "a_second_of_processor": "resource.setrlimit(resource.RLIMIT_CPU, (60, 60))",
    "shallow": "sys.setrecursionlimit(150)",
    # descriptors and streams
    "close_everything": "os.closerange(3, 256)",
    "leak": "leaked = [os.open('/dev/null', 0) for _ in range(200)]",
    "streams": "sys.stdout = sys.stderr = sys.stdin = None; os.close(1); os.close(2)",
    "write_everywhere": "[write(fd) for fd in range(3, 64)]",
    # threads and children
    "thread": "ONCE or threading.Thread(target=time.sleep, args=(600,)).start()",
    "thread_that_patches": "ONCE or threading.Thread(target=patch_for_ever, daemon=True).start()",
    "child": "ONCE or subprocess.Popen(['sleep', '600'])",
    "fork": "ONCE or ONCE.append(1) or os.fork()",
    "alarm": "signal.setitimer(signal.ITIMER_REAL, .2)",
    # signals
    "ignored": "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGCHLD, signal.SIGSEGV)]",
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))",
    "hits_its_parent": "os.kill(os.getppid(), signal.SIGTERM); os.kill(os.getppid(), signal.SIGINT)",
    "stops_its_parent": "os.kill(os.getppid(), signal.SIGSTOP)",
    "other_clocks": "signal.setitimer(signal.ITIMER_PROF, .05); signal.setitimer(signal.ITIMER_VIRTUAL, .05)",
    # what a process has one of
    "environment": "os.environ.clear(); os.environ['OMP_NUM_THREADS'] = '7'; os.environ['ATTNLAB_PLUGINS'] = 'none'",
    "errors_of_numpy": "np.seterr(all='raise'); warnings.simplefilter('error')",
    "random": "np.random.seed(0); random.seed(0)",
    "modules": "[sys.modules.pop(n) for n in [*sys.modules] if n.startswith(('numpy', 'attnlab', 'autograd'))]",
    "small_numbers": "import ctypes; ctypes.memset(id(7) + 24, 5, 1)",
    "audit": "sys.addaudithook(lambda *a: (_ for _ in ()).throw(RuntimeError()))",
    "one_processor": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "no_memory": "resource.setrlimit(resource.RLIMIT_AS, (2**20, 2**20))",
    "session": "os.setsid() if os.getpgrp() != os.getpid() else os.setpgid(0, os.getpgid(os.getppid())); os.nice(19)",
    "collector": "gc.disable(); gc.set_threshold(1); sys.setswitchinterval(10.0)",
    "trace": "sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
    "exit_hook": "atexit.register(os._exit, 7)",
    "exit_thread": "ONCE or threading.Thread(target=lambda: (time.sleep(.05), os._exit(0)), daemon=True).start()",
    "stack_later": "import faulthandler as f; f.dump_traceback_later(.05, exit=True)",
    "socket_timeout": "import socket; socket.setdefaulttimeout(.001)",
    "adapter": "import sqlite3; sqlite3.register_adapter(float, lambda x: .5)",
    "encoder": "import json; json.JSONEncoder.encode = None",
    "inside_numpy": "np._core.fromnumeric._wrapreduction = None",
    "path_exists": "import pathlib; pathlib.Path.exists = None",
    # arithmetic, registries and what hides builtin functions
    "rounding": "import ctypes; ctypes.CDLL('libm.so.6').fesetround(0x400)",
    "buffer": "np.setbufsize(16); np.seterrcall(boom); np.set_printoptions(precision=1, formatter={'all': boom})",
    "gradients": "import autograd.core as c; c.primitive_vjps.update(dict.fromkeys(c.primitive_vjps, boom))",
    "box_types": "from autograd.tracer import Box; Box.type_mappings.clear()",
    "every_array": "import ctypes; [ctypes.memset(a.ctypes.data, 0, a.nbytes) for a in gc.get_objects() if type(a) is np.ndarray]",
    "families": "import numbers, collections.abc as c; c.Mapping.register(str); numbers.Real.register(str)",
    "copyreg": "import copyreg; copyreg.dispatch_table.update({np.ndarray: boom, dict: boom, type(boom): boom})",
    "hidden": "import attnlab.sweeps.execute as e, attnlab.sweeps.executors.worker as w; e.len = w.len = e.float = boom",
    "no_modules": "sys.modules.update({n: type(sys)(n) for n in ('json', 'zlib', 'struct', 'pandas', 'scipy')})",
    "names_of_sys": "sys.platform = 'win32'; sys.executable = '/no'; sys.argv = None; sys.maxsize = 3",
    "names_of_os": "os.path = None; os.environ = None; os.name = 'nt'",
    "raising_trace": "sys.settrace(boom); sys.setprofile(boom)",
    "storm": "signal.signal(signal.SIGALRM, boom); signal.setitimer(signal.ITIMER_REAL, .0005, .0005)",
    "digits": "sys.set_int_max_str_digits(640); gc.set_debug(gc.DEBUG_LEAK); gc.callbacks.append(boom); gc.freeze()",
    "hooks_of_sys": "sys.excepthook = sys.unraisablehook = threading.excepthook = boom",
    "stacks": "import linecache, traceback; linecache.getlines = linecache.checkcache = traceback.TracebackException = boom",
    # streams, processes, the kernel
    "detached": "sys.stdout.detach(); sys.stderr.detach()",
    "never_waits": "[os.set_blocking(fd, False) for fd in range(64) if os.path.exists(f'/dev/fd/{fd}')]",
    "prints": "ONCE or os.write(2, b'x' * 2_000_000)",
    "at_fork": "os.register_at_fork(before=boom, after_in_child=lambda: os._exit(5))",
    "death_signal": "import ctypes; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)",
    "kernel_mode": "import ctypes; ctypes.CDLL(None).prctl(22, 1, 0, 0, 0)",
    "kills_its_parent": "ONCE or os.kill(os.getppid(), signal.SIGKILL)",
    "pool": "import multiprocessing as m; ONCE or m.get_context('fork').Pool(2)",
    "daemon": "ONCE or os.fork() or (os.setsid(), os.fork() or time.sleep(600), os._exit(0))",
    "no_stack": "resource.setrlimit(resource.RLIMIT_STACK, (8192, 8192)); sys.setrecursionlimit(10**6)",
    "closes_by_c": "import ctypes; [ctypes.CDLL(None).close(fd) for fd in range(64)]",
    # what is raised and warned
    "odd_error": "raise type('Odd', (Exception,), {'__str__': boom, '__repr__': boom})()",
    "odd_exit": "raise type('Odd', (BaseException,), {'__str__': lambda e: sys.exit(0), '__getattribute__': boom})()",
    "endless_error": "raise type('Odd', (Exception,), {'__str__': lambda e: 'x' * 10**8})()",
    "circle": "e = ValueError('a'); e.__cause__ = e.__context__ = e; raise e",
    "group": "raise BaseExceptionGroup('g', [KeyboardInterrupt(), SystemExit(0)])",
    "odd_warning": "warnings.warn(type('W', (UserWarning,), {'__str__': boom})())",
}

IMPORTS = (
    "import atexit, builtins, gc, os, random, resource, signal, subprocess, sys, tempfile, threading, time, warnings\n"
    "import numpy as np\n"
    "def boom(*a, **k): raise RuntimeError('boom')\n"
    "def write(fd):\n"
    "    try: os.write(fd, b'x' * 100)\n"
    "    except OSError: pass\n"
    "def patch_for_ever():\n"
    "    while True: np.exp = np.tanh = abs; time.sleep(.001)\n"
)


ONCE: list[object] = []  # not empty once a mess was made in this process


def scaled(Q, K):
    return Q @ namespace(K).matrix_transpose(K)


class Messy(Similarity):
    """Makes a mess."""

    name = "messy"

    def __init__(self, mess: str = "") -> None:
        self.mess = mess

    def score(self, Q, K):
        S = scaled(Q, K)
        exec(IMPORTS + MESSES[self.mess], {"ONCE": ONCE})
        ONCE.append(self.mess)
        return S


class Calm(Similarity):
    """Does no harm, and takes exponentials as the process has them."""

    name = "calm"

    def score(self, Q, K):
        xp = namespace(Q, K)
        return xp.exp(scaled(Q, K) / 4)


@hookimpl
def attnlab_similarities():
    return [Messy, Calm]
