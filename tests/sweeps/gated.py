"""A plugin file for tests of clusters: similarities that say when they begin, that wait, and that kill what does them."""

import contextlib
import os
import signal
import time
from pathlib import Path

from attnlab import Similarity, hookimpl, namespace

BEGUN = set()  # in the process of this run


def begin(folder):
    """Note once that this run has begun, and by which worker of the cluster; wait while a file `hold` is there."""
    if folder in BEGUN:
        return
    BEGUN.add(folder)
    zygote = os.getppid()
    worker = int(Path(f"/proc/{zygote}/stat").read_text().rpartition(") ")[2].split()[1])
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{os.getpid()} {zygote} {worker}\n")
    while os.path.exists(f"{folder}/hold"):
        time.sleep(0.01)


class Noted(Similarity):
    """Says that it has begun, and goes on when it may."""

    name = "noted"

    def __init__(self, folder: str = "", bias: float = 0.0):
        self.folder = folder
        self.bias = bias

    def score(self, Q, K):
        begin(self.folder)
        return Q @ namespace(K).matrix_transpose(K)


class KillsZygote(Similarity):
    """Kills the process from which its own was forked."""

    name = "kills_zygote"

    def score(self, Q, K):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)


class KillsWorker(Similarity):
    """Kills the cluster's worker."""

    name = "kills_worker"

    def __init__(self, folder: str = ""):
        self.folder = folder

    def score(self, Q, K):
        with contextlib.suppress(FileNotFoundError):
            begin(self.folder)
            line = (Path(self.folder) / "log").read_text().splitlines()[-1]
            os.kill(int(line.split()[2]), signal.SIGKILL)
        time.sleep(600)


@hookimpl
def attnlab_similarities():
    return [Noted, KillsZygote, KillsWorker]
