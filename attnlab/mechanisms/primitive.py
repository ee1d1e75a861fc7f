"""A bound mechanism on autograd's boxes: one primitive, whose gradient is the bound mechanism's own pullback.

For gradients of gradients, and for boxes within boxes, the parts themselves compute, so that autograd sees every operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox

from attnlab.mechanisms.pullback import leaves, pulled, rebuilt

__all__ = ["on_boxes"]


def on_boxes(bound: Any, params: Mapping[str, Any], nouns: Mapping[str, Any], context: Any) -> Any:
    """Y, or W where `nouns` has no V, where some arrays are boxes.

    Parameters
    ----------
    bound : BoundMechanism
    params : complete learned arrays
    nouns : {"Q": (..., q, d), "K": (..., k, d)}, and "V": (..., k, v) for the contexts
    context : Context
    """
    learned = dict(leaves(params))
    flat = (*nouns.values(), *learned.values())
    wants = frozenset(name for name, array in nouns.items() if isbox(array))
    if any(isbox(array) for array in learned.values()):
        wants |= {"params"}
    call = _Call(bound, params, tuple(nouns), tuple(learned), context, wants)
    return _attended(call, *flat)


class _Call:
    """The arguments of a call of the primitive, and the pullback that its values left."""

    def __init__(
        self,
        bound: Any,
        params: Mapping[str, Any],
        nouns: tuple[str, ...],
        paths: tuple[tuple[str, ...], ...],
        context: Any,
        wants: frozenset[str],
    ) -> None:
        self.bound, self.params, self.context, self.wants = bound, params, context, wants
        self.nouns, self.paths = nouns, paths
        self.back: Any = None

    def given(self, flat: tuple[Any, ...]) -> tuple[dict[str, Any], Any]:
        """The nouns by name, and the params, from a flat list of arrays."""
        n = len(self.nouns)
        return dict(zip(self.nouns, flat[:n], strict=True)), rebuilt(
            self.params, dict(zip(self.paths, flat[n:], strict=True))
        )


@primitive
def _attended(call: _Call, *flat: Any) -> Any:
    nouns, params = call.given(flat)
    value, call.back = call.bound.pull(params, nouns["Q"], nouns["K"], nouns.get("V"), call.context, call.wants)
    return value


def _vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    call, *flat = args
    places = [number - 1 for number in argnums]

    def back(g: Any) -> list[Any]:
        if isbox(g) or any(isbox(array) for array in flat):
            return _seen_through(call, flat, places, g)
        found = call.back(g)
        learned = dict(leaves(found["params"])) if "params" in found else {}
        names = (*call.nouns, *call.paths)
        return [found[n] if isinstance(n := names[place], str) else learned[n] for place in places]

    return back


defvjp_argnums(_attended, _vjps)


def _seen_through(call: _Call, flat: list[Any], places: list[int], g: Any) -> list[Any]:
    """The gradients by autograd over the parts themselves."""

    def whole(**now: Any) -> Any:
        nouns, params = call.given(tuple(now.get(f"a{i}", array) for i, array in enumerate(flat)))
        return call.bound.seen_through(params, nouns, call.context)

    _, back = pulled(whole, {f"a{i}": flat[i] for i in places})
    found = back(g)
    return [found.get(f"a{i}", np.zeros_like(flat[i])) for i in places]
