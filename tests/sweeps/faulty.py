"""A plugin file for tests: similarities that fail in every way, one that counts its runs, and one that can be edited."""

import ctypes
import os
import signal
import time

import numpy as np

import attnlab
from attnlab import Similarity, hookimpl, namespace


def scaled(Q, K):
    return Q @ namespace(K).matrix_transpose(K)


class Raises(Similarity):
    """Raises."""

    name = "raises"

    def score(self, Q, K):
        raise RuntimeError("no score today")


class Exits(Similarity):
    """Leaves the process."""

    name = "exits"

    def score(self, Q, K):
        os._exit(3)


class Segfaults(Similarity):
    """Reads address zero."""

    name = "segfaults"

    def score(self, Q, K):
        ctypes.string_at(0)


class Sleeps(Similarity):
    """Never ends."""

    name = "sleeps"

    def score(self, Q, K):
        time.sleep(600)


class Allocates(Similarity):
    """Takes all memory."""

    name = "allocates"

    def score(self, Q, K):
        hoard = []
        while True:
            hoard.append(np.ones(2**24))


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls the one that it raises."""


class FillsTheGpu(Similarity):
    """Raises what PyTorch raises where a GPU has no memory left."""

    name = "fills_the_gpu"

    def score(self, Q, K):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 90.00 GiB.")


class GivesNan(Similarity):
    """NaN scores."""

    name = "gives_nan"

    def score(self, Q, K):
        return scaled(Q, K) * np.nan


class WrongShape(Similarity):
    """One key short."""

    name = "wrong_shape"

    def score(self, Q, K):
        return scaled(Q, K)[..., :-1]


class Refuses(Similarity):
    """Refuses, with a reason."""

    name = "refuses"

    def score(self, Q, K):
        raise attnlab.Unsupported("only on Sundays")


class SystemExits(Similarity):
    """Calls sys.exit."""

    name = "system_exits"

    def score(self, Q, K):
        raise SystemExit(0)


class BaseRaises(Similarity):
    """Raises what is no Exception."""

    name = "base_raises"

    def score(self, Q, K):
        raise BaseException("beyond exceptions")


class KillsItself(Similarity):
    """Sends SIGKILL to its process."""

    name = "kills_itself"

    def score(self, Q, K):
        os.kill(os.getpid(), signal.SIGKILL)


class GivesAnObject(Similarity):
    """Scores that no process could send."""

    name = "gives_an_object"

    def score(self, Q, K):
        return (lambda: Q,)


class Prints(Similarity):
    """Prints a million characters."""

    name = "prints"

    def score(self, Q, K):
        print("y" * 10**6)
        raise RuntimeError("z" * 10**6)


class Forks(Similarity):
    """Is two processes afterwards."""

    name = "forks"
    forked = False

    def score(self, Q, K):
        if not Forks.forked:
            Forks.forked = True
            os.fork()
        return scaled(Q, K)


class ClosesFiles(Similarity):
    """Closes the way to its parent."""

    name = "closes_files"

    def score(self, Q, K):
        os.closerange(3, 256)
        return scaled(Q, K)


@hookimpl
def attnlab_similarities():
    return [
        *(Raises, Exits, Segfaults, Sleeps, Allocates, FillsTheGpu, GivesNan, WrongShape, Refuses, SystemExits),
        *(BaseRaises, KillsItself, GivesAnObject, Prints, Forks, ClosesFiles),
    ]
