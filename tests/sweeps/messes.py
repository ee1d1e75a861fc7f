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
}

IMPORTS = (
    "import atexit, builtins, gc, os, random, resource, signal, subprocess, sys, tempfile, threading, time, warnings\n"
    "import numpy as np\n"
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
