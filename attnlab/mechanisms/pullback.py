"""A function with its pullback: it gives values now, and the gradients that are asked for later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from autograd.core import VJPNode, add_outgrads
from autograd.tracer import isbox, new_box, toposort, trace_stack

__all__ = ["leaves", "pulled", "pulled_verb", "pulled_whole", "rebuilt", "unbroadcast", "way_back"]

Back = Callable[[Any], dict[str, Any]]


def pulled(function: Callable[..., Any], arrays: Mapping[str, Any]) -> tuple[Any, Back]:
    """(function(**arrays), back): the value, and the gradients of the named arrays. Autograd traces it once.

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
    if type(g) is np.ndarray and type(like) is np.ndarray and g.shape == like.shape and g.dtype == like.dtype:
        return g
    g, shape = np.asarray(g), np.shape(like)
    if g.shape != shape:
        if extra := g.ndim - len(shape):
            g = g.sum(axis=tuple(range(extra)))
        if axes := tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1):
            g = g.sum(axis=axes, keepdims=True)
    dtype = getattr(like, "dtype", g.dtype)
    return g if g.dtype == dtype else g.astype(dtype)


def _add(sums: dict[Any, Any], name: Any, g: Any) -> None:
    """Add a gradient to the others of the same array; no gradient is written into."""
    sums[name] = sums[name] + g if name in sums else g


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def rebuilt(tree: Any, arrays: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Any:
    """The tree with the arrays at the given paths replaced."""
    if isinstance(tree, Mapping):
        return {name: rebuilt(value, arrays, (*path, name)) for name, value in tree.items()}
    return arrays.get(path, tree)


def pulled_verb(
    verb: Any, arguments: Mapping[str, Any], learned: Mapping[str, Any], through: frozenset[str], learns: bool
) -> tuple[Any, Any]:
    """A verb and its pullback by autograd, for the arguments and learned arrays that have gradients."""
    live = {name: arguments[name] for name in through} | (dict(learned) if learns else {})
    still = {name: value for name, value in {**arguments, **learned}.items() if name not in live}
    return pulled(lambda **now: verb(**still, **now), live)


def way_back(
    tape: list[Any],
    slots: Mapping[str, Any],
    params: Mapping[str, Any],
    g: dict[str, Any],
    wants: frozenset[str],
    inner: str = "",
) -> dict[str, Any]:
    """Gradients from the end to the start: those in `wants`, each in the shape and dtype of its array, and that of a slot `inner`."""
    g, gradients = dict(g), {}
    learned_g: dict[tuple[str, ...], Any] = {}
    for call, back, learned in reversed(tape):
        step = call.step
        given: Any = tuple(g.pop(slot, None) for slot in step.writes)
        if all(one is None for one in given):
            continue
        if len(step.writes) == 1:
            (given,) = given
            if step.writes[0] == inner:
                gradients[inner] = given
        elif call.kernel:  # a kernel gets a gradient for each array that it wrote
            given = tuple(
                np.zeros_like(slots[slot]) if one is None else one for slot, one in zip(step.writes, given, strict=True)
            )
        for name, one in back(given).items():
            if name not in call.wants and name != "P":
                continue
            slot = "P" if name == "P" else step.reads.get(name)
            if slot is not None:
                _add(g, slot, unbroadcast(one, slots[slot]))
            elif not step.path:  # the learned arrays of a fused kernel's part, by role
                for inner, x in one.items():
                    _add(learned_g, (name, inner), unbroadcast(x, learned[name][inner]))
            elif name in learned:
                _add(learned_g, (*step.path, name), unbroadcast(one, learned[name]))
    for name in wants:
        if name != "params":
            found = g.get(name)
            gradients[name] = np.zeros_like(slots[name]) if found is None else found
    if "params" in wants:
        gradients["params"] = _or_zeros(params, learned_g, ())
    return gradients


def _or_zeros(tree: Mapping[str, Any], found: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> dict[str, Any]:
    """A tree like params, with the gradients that were found and zeros for the rest."""
    grown = {}
    for name, value in tree.items():
        here = (*path, name)
        if isinstance(value, Mapping):
            grown[name] = _or_zeros(value, found, here) if value else {}
        else:
            one = found.get(here)
            grown[name] = np.zeros_like(value) if one is None else one
    return grown


def pulled_whole(
    bound: Any, params: Mapping[str, Any], Q: Any, K: Any, V: Any, context: Any, wants: frozenset[str]
) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    """`pull` of a bound mechanism by autograd over the whole of its `attend`, or of its `weights` where V is None."""
    nouns = {"Q": Q, "K": K} if V is None else {"Q": Q, "K": K, "V": V}
    learned = dict(leaves(params)) if "params" in wants else {}
    arrays = {name: a for name, a in nouns.items() if name in wants} | {".".join(p): a for p, a in learned.items()}

    def whole(**now: Any) -> Any:
        mine = rebuilt(params, {path: now[".".join(path)] for path in learned})
        q, k = now.get("Q", Q), now.get("K", K)
        if V is None:
            return bound.weights(mine, q, k, context)
        return bound.attend(mine, q, k, now.get("V", V), context)

    value, pulled_back = pulled(whole, arrays)

    def back(g: Any) -> dict[str, Any]:
        found = pulled_back(g)
        gradients = {n: found.get(n, np.zeros_like(a)) for n, a in nouns.items() if n in wants}
        if "params" in wants:
            own = {path: found.get(".".join(path), np.zeros_like(a)) for path, a in learned.items()}
            gradients["params"] = rebuilt(params, own)
        return gradients

    return value, back
