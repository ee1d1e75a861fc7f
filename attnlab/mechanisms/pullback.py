"""A function with its way back: values now, gradients of whatever was asked for when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from autograd.core import VJPNode, add_outgrads
from autograd.tracer import isbox, new_box, toposort, trace_stack

__all__ = ["add", "pulled", "unbroadcast"]

Back = Callable[[Any], dict[str, Any]]


def pulled(function: Callable[..., Any], arrays: Mapping[str, Any]) -> tuple[Any, Back]:
    """(function(**arrays), back): the value, and the gradients of the named arrays by autograd, in one trace.

    Parameters
    ----------
    function : callable of the arrays, by name
        It returns an array, or a tuple of arrays.
    arrays : mapping of name to array

    Returns
    -------
    value : what the function returns, without boxes
    back : callable
        `back(g)` gives `{name: gradient}` for a gradient of the value (a tuple of them for a tuple; None counts as zero).
        It may be called more than once. A name that the value does not depend on is left out.
    """
    trace_stack.top += 1  # autograd's own context manager leaves the level behind when the function raises
    try:
        level = trace_stack.top
        roots = {name: VJPNode.new_root() for name in arrays}
        result = function(**{name: new_box(array, level, roots[name]) for name, array in arrays.items()})
    finally:
        trace_stack.top -= 1
    several = isinstance(result, tuple)
    outs = result if several else (result,)
    nodes = [out._node if isbox(out) and out._trace == level else None for out in outs]
    values = tuple(out if node is None else out._value for out, node in zip(outs, nodes, strict=True))

    def back(g: Any) -> dict[str, Any]:
        found: dict[Any, Any] = {}
        for one, node in zip(g if several else (g,), nodes, strict=True):
            if node is not None and one is not None:
                found[node] = add_outgrads(found.get(node), one)
        end = object.__new__(VJPNode)  # above all outputs, so that one pass serves them
        end.parents = list(found)
        for node in toposort(end):
            given = found.get(node)
            if node is not end and node.parents and given is not None:
                for parent, part in zip(node.parents, node.vjp(found.pop(node)[0]), strict=False):
                    found[parent] = add_outgrads(found.get(parent), part)
        return {name: found[root][0] for name, root in roots.items() if root in found}

    return (values if several else values[0]), back


def unbroadcast(g: Any, like: Any) -> Any:
    """A gradient summed to the shape that `like` had before it was broadcast, in its dtype."""
    g, shape = np.asarray(g), np.shape(like)
    if g.shape != shape:
        if extra := g.ndim - len(shape):
            g = g.sum(axis=tuple(range(extra)))
        if axes := tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1):
            g = g.sum(axis=axes, keepdims=True)
    dtype = getattr(like, "dtype", g.dtype)
    return g if g.dtype == dtype else g.astype(dtype)


def add(sums: dict[Any, Any], name: Any, g: Any) -> None:
    """Add a gradient to the others of the same array; no gradient is written into."""
    sums[name] = sums[name] + g if name in sums else g
