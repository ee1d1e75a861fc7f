"""A step of learning that PyTorch compiles, as one graph or not at all."""

from __future__ import annotations

import contextlib
import itertools
import types
import warnings
from collections.abc import Callable
from typing import Any

from attnlab.libraries import no_memory

__all__ = ["COMPILED", "TorchStep"]

COMPILED = "torch.compile"  # what `kernels_` of a model names

_numbers = itertools.count()


class TorchStep:
    """The loss of a batch, whose gradient is then in `grad` of the learned tensors.

    The first step is not compiled: it shows whether the loss draws from `rng`, since what is compiled would draw once for all
    steps. From the second on the loss and its gradient are compiled, anew for each shape of a batch. Where PyTorch cannot do
    that, one warning says why, and the steps go on without.

    Parameters
    ----------
    torch : the module
    loss : function of the nested tensors and a batch
    tensors : the learned tensors
    around : function that gives the context in which the loss is computed
    compile : bool
    asked : bool, whether somebody asked for compiled steps; else nothing is said of a loss that draws
    rng : numpy.random.Generator, or None
    """

    def __init__(
        self, torch: Any, loss: Any, tensors: list[Any], around: Any, compile: bool, asked: bool, rng: Any = None
    ) -> None:
        self.torch, self.loss, self.tensors, self.around = torch, loss, tensors, around
        self.wanted, self.asked, self.rng = compile, asked, rng
        self.compiled: Any = None

    def __call__(self, tree: Any, batch: Any) -> Any:
        """The loss of a batch."""
        if self.compiled is not None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore"
                    )  # PyTorch's, while it compiles; attnlab's were heard in the first step
                    return self._gradient(self.compiled, tree, batch)
            except Exception as error:
                if no_memory(error):
                    raise
                self.compiled = None
                self._say(_reason(error))
        before = None if self.rng is None else self.rng.bit_generator.state
        value = self._gradient(self.loss, tree, batch)
        if self.wanted:
            self.wanted = False
            if self.rng is not None and self.rng.bit_generator.state != before:
                if self.asked:
                    self._say("a part draws at random in training, and would draw once for all steps")
            else:
                self._compile()
        return value

    def _compile(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # on a processor the compiler's threads would stay; on others kernels are many, and compiled side by side
                on_processor = all(a.device.type == "cpu" for a in self.tensors)
                options = {"compile_threads": 1} if on_processor else None
                own = _own_code(self.loss)
                self.compiled = self.torch.compile(own, dynamic=False, fullgraph=True, options=options)
        except Exception as error:  # not on this platform, or with this Python
            self._say(_reason(error))

    def _gradient(self, loss: Callable[[Any, Any], Any], tree: Any, batch: Any) -> Any:
        for a in self.tensors:
            a.grad = None
        with self.around():
            value = loss(tree, batch)
        if value.requires_grad:
            value.backward()
        return value.detach()

    def _say(self, why: str) -> None:
        warnings.warn(f"steps are not compiled, with the same results: {why}", UserWarning, stacklevel=2)


def _own_code(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The loss in a function whose code nobody shares: PyTorch keeps what it compiled by code, and gives up after eight."""

    def step(params: Any, rows: Any) -> Any:
        return loss(params, rows)

    code = step.__code__.replace(co_name=f"step_{next(_numbers)}")
    return types.FunctionType(code, step.__globals__, code.co_name, None, step.__closure__)


def _reason(error: Exception) -> str:
    """What an error of the compiler says, in one line."""
    said = ""
    with contextlib.suppress(Exception):  # whose words may fail
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said[:300]}"
