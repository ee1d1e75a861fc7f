"""FrozenExecutor, a executor for attnlab."""

from attnlab import Executor, hookimpl
from attnlab.sweeps.execute import execute


class FrozenExecutor(Executor):
    """In this process, in order."""
    name = "frozen_executor"

    def __init__(self):
        self.waiting = []

    def submit(self, run):
        self.waiting.append(run)

    def as_completed(self):
        while self.waiting:
            run = self.waiting.pop(0)
            yield run, execute(run)

    def cancel(self, run):
        self.waiting.remove(run)

    def close(self):
        self.waiting.clear()


@hookimpl
def attnlab_executors():
    return [FrozenExecutor]
