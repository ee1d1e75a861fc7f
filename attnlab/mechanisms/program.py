"""The program of a mechanism: its verbs in order, each with the slots that it reads and writes.

    place   Q, K -> Q', K'        score   Q', K' -> S        bias, modify   S -> S        mask   S -> S, -inf where forbidden
    normalise   S -> W            reweigh   W -> W           strike   W -> W, 0 where forbidden        aggregate   W, V -> Y

The order and the nouns come from the table of kinds, so that a new kind is a new step. Verbs that do nothing are left
out. Each slot is written once, so that gradients can go back through the steps.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from attnlab.injection import asks_for
from attnlab.interfaces import EVERY_VERB
from attnlab.kinds import KINDS

__all__ = ["Program", "Step", "program_of"]

Path = tuple[str, ...]
MASK, STRIKE, UPDATE = 50, 80, 85  # the places of the engine's own steps among the verbs of the table
OF_MASK = frozenset({"mask", "n_allowed"})


@dataclass(frozen=True, slots=True)
class Step:
    """One verb: its part, and what it reads and writes."""

    path: Path  # where the part's learned arrays are in params; empty for the engine's own steps
    verb: str
    reads: Mapping[str, str]  # argument -> slot
    writes: tuple[str, ...]
    asks: tuple[str, ...] = ()  # what it asks of the context
    learned: frozenset[str] = frozenset()  # learned arrays that it may ask for
    gives: str = ""  # "S" or "W" if it writes scores or weights
    couples: bool = False  # whether its part looks at several queries together

    @property
    def counts(self) -> bool:
        """Whether it sees the true mask, in which a query may have no key: an aggregator does, and what couples queries."""
        return (self.verb == "aggregate" or self.couples) and not OF_MASK.isdisjoint(self.asks)


class Program(NamedTuple):
    """The steps, the last of which aggregates, and the slots that hold the weights and the contexts at the end."""

    steps: tuple[Step, ...]
    W: str
    Y: str
    asks: frozenset[str]  # what the steps ask of the context, all together


@functools.lru_cache(maxsize=1024)
def program_of(classes: tuple[tuple[Path, Any], ...]) -> Program:
    """The program for parts of these classes, ((path, class), ...); parts of one kind act in the given order."""
    ordered = [
        (MASK, Step((), "mask", {"S": "S"}, ("S",), gives="S")),
        (STRIKE, Step((), "strike", {"W": "W"}, ("W",), gives="W")),
    ]
    for path, cls in classes:
        kind = KINDS[path[0]]
        for name, verb in kind.verbs.items():
            if verb.order is not None and getattr(cls, name) is not getattr(kind.interface, name):
                ordered.append((verb.order, _step(path, cls, name, verb.reads, verb.writes)))
        if any("state" in asks_for(cls, name) for name in kind.verbs):
            ordered.append((UPDATE, _step(path, cls, "update", ("W",), (f"next.{'.'.join(path)}",))))
    ordered.sort(key=lambda step: step[0])  # stable: parts of one kind stay in their order

    here: dict[str, str] = {}  # noun -> the slot that holds it now; at first its own name
    steps = []
    for n, (_, step) in enumerate(ordered):
        raw = bool(step.path) and step.verb != "update" and KINDS[step.path[0]].verbs[step.verb].raw
        reads = {a: noun if raw and noun in ("Q", "K") else here.get(noun, noun) for a, noun in step.reads.items()}
        here |= {noun: noun if "." in noun else f"{noun}{n}" for noun in step.writes}
        steps.append(replace(step, reads=reads, writes=tuple(here[noun] for noun in step.writes)))
    asks = frozenset(name for step in steps for name in step.asks)
    return Program(tuple(steps), here["W"], here["Y"], asks)


def _step(path: Path, cls: Any, verb: str, nouns: tuple[str, ...], writes: tuple[str, ...]) -> Step:
    asked = asks_for(cls, verb)
    reads = {noun: noun for noun in nouns if noun in asked}
    if "state" in asked:
        reads["state"] = f"state.{'.'.join(path)}"
    asks = tuple(name for name in EVERY_VERB if name in asked and name != "state")
    couples = bool(getattr(cls, "couples_rows", False))
    gives = writes[0] if writes in (("S",), ("W",)) else ""
    return Step(path, verb, reads, writes, asks, asked - set(nouns) - set(EVERY_VERB), gives, couples)
