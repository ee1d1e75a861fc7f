"""A plan is a program for one library, one dtype and certain gradients; each verb has the kernel that answers."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from attnlab.injection import asks_for
from attnlab.interfaces import EVERY_VERB, Part
from attnlab.kinds import VERBS
from attnlab.mechanisms.choice import kernel_of
from attnlab.mechanisms.program import Step

__all__ = ["ALLOWED", "FUSED", "Call", "fused", "numbers", "planned", "prepared"]

FUSED = ("similarity", "normaliser", "aggregator")  # what a fused kernel replaces, from its `score` to its `aggregate`
ALLOWED = ("allowed",)  # what a fused kernel asks for if it applies masks in blocks
NONE: frozenset[str] = frozenset()


class Call(NamedTuple):
    """One step as it is executed."""

    step: Step
    part: Any  # None for the engine's own steps; a tuple for a fused kernel
    verb: Any  # the method that answers, of the part or of the kernel
    kernel: str  # the name of the kernel that answers, or ""
    reads: tuple[tuple[str, str], ...]  # (argument, slot)
    asks: tuple[str, ...]  # what it asks of the context
    learned: tuple[str, ...]  # the learned arrays that it may ask for
    told: bool  # whether the verb takes `wants`, the gradients that are needed
    live: frozenset[str]  # the nouns through which gradients flow
    learns: bool  # whether its learned arrays have gradients
    wants: frozenset[str] = NONE  # both, by name
    prepare: Any = None  # makes P from the keys once, for many queries; `verb` then takes P instead of the keys
    fused: Any = None  # a fused kernel; it knows from how many pairs it is worth using
    forms: Any = None  # `numbers` of the part, or of the kernel (with the part as first argument); None: one a pair
    exact: bool = False  # for strike only: masked weights are zero already, except where a query may attend to nothing


def planned(
    verbs: tuple[tuple[Step, Any], ...], library: str, dtype: str, wants: frozenset[str], backend: str
) -> tuple[Call, ...]:
    """The calls of some steps with their parts.

    Parameters
    ----------
    verbs : the steps, each with the part that has the verb
    library : "numpy", "torch" or "jax"; "" where no kernel may answer
    dtype : str
    wants : slots whose gradients will be needed, and "params"
    backend : "auto", "reference" or a distribution
    """
    return tuple(_calls(verbs, library, dtype, wants, backend))


def _calls(
    verbs: tuple[tuple[Step, Any], ...], library: str, dtype: str, wants: frozenset[str], backend: str
) -> Iterator[Call]:
    slots, exact = set(wants), False
    for step, part in verbs:
        live = frozenset(a for a, slot in step.reads.items() if slot in slots)
        learns = "params" in wants and bool(step.learned)
        if live or learns:
            slots.update(step.writes)
        if part is None:
            reads = tuple(step.reads.items())
            yield Call(step, None, None, "", reads, (), (), False, live, False, live, exact=exact)
            continue
        wanted = live | step.learned if learns else live
        chosen = None
        if library and step.verb in VERBS[step.path[0]]:
            chosen = kernel_of(part, step.verb, library, dtype, backend)
        if step.verb in ("normalise", "reweigh"):
            exact = step.verb == "normalise" and chosen is not None
        if chosen is None:
            verb, reads = getattr(part, step.verb), tuple(step.reads.items())
            forms = None if type(part).numbers is Part.numbers else part.numbers
            yield Call(
                *(step, part, verb, "", reads, step.asks, tuple(step.learned), False, live, learns, wanted),
                forms=forms,
            )
            continue
        kernel, name = chosen
        asked = asks_for(kernel, step.verb)
        reads = tuple((a, slot) for a, slot in step.reads.items() if a in asked)
        asks = tuple(n for n in EVERY_VERB if n in asked and n != "state")
        learned = tuple(n for n in step.learned if n in asked)
        verb, prepare = getattr(kernel, step.verb), None
        if step.verb == "score" and "P" in asked:
            verb, prepare = prepared(kernel), getattr(kernel, "prepare", None)
            reads, learned = tuple(step.reads.items()), tuple(step.learned)
        told = "wants" in asked or prepare is not None
        own = getattr(kernel, "numbers", None)
        forms = None if own is None else functools.partial(own, part)
        yield Call(step, part, verb, name, reads, asks, learned, told, live, learns, wanted, prepare, forms=forms)


def prepared(kernel: Any) -> Any:
    """`score` of a kernel that prepares the keys: it prepares them, or takes `P` from a caller that goes by steps."""
    of_keys, of_score = asks_for(kernel, "prepare"), asks_for(kernel, "score")

    def score(part: Any, Q: Any, wants: frozenset[str], K: Any = None, P: Any = None, **given: Any) -> tuple[Any, Any]:
        whole = P is None
        prepare_back: Any = None
        if whole:
            own = {name: a for name, a in given.items() if name in of_keys}
            P, prepare_back = kernel.prepare(part, K, **own)
        asked = {name: a for name, a in given.items() if name in of_score}
        if "wants" in of_score:
            asked["wants"] = wants | {"P"} if wants & of_keys or "P" in wants else wants
        S, score_back = kernel.score(part, Q=Q, P=P, **asked)

        def back(g: Any) -> dict[str, Any]:
            found = dict(score_back(g))
            dP = found.pop("P", None) if whole else None
            if dP is not None and wants & of_keys:
                for name, one in prepare_back(dP).items():
                    found[name] = found[name] + one if name in found else one
            return found

        return S, back

    return score


def fused(
    verbs: tuple[tuple[Step, Any], ...], library: str, dtype: str, wants: frozenset[str], backend: str
) -> tuple[Call, ...] | None:
    """The calls with one kernel from the scores to the contexts, or None where no kernel supports the three parts.

    It is also None where a bias, a modifier, a reweighing or a state comes between the parts.
    """
    between = {"bias", "modify", "reweigh", "update"}
    if not library or any(step.verb in between or "state" in step.reads for step, _ in verbs):
        return None
    parts = {step.path[0]: part for step, part in verbs if step.path}
    steps = {step.verb: step for step, _ in verbs}
    three = tuple(parts.get(role) for role in FUSED)
    if None in three or (chosen := kernel_of(three, "attend", library, dtype, backend)) is None:
        return None
    first = next(n for n, (step, _) in enumerate(verbs) if step.verb == "score")
    before = planned(verbs[:first], library, dtype, wants, backend)
    slots = set(wants).union(*(call.step.writes for call in before if call.wants))
    score, last = steps["score"], steps["aggregate"]
    reads = {"Q": score.reads.get("Q", "Q"), "K": score.reads.get("K", "K"), "V": "V"}
    roles = frozenset(step.path[0] for step, _ in verbs[first:] if step.learned)
    step = Step((), "attend", reads, last.writes, (), roles)
    live = frozenset(a for a, slot in reads.items() if slot in slots)
    learns = "params" in wants and bool(roles)
    kernel, name = chosen
    wanted = live | roles if learns else live
    asks = ALLOWED if "allowed" in asks_for(kernel, "attend") else ()
    told = "wants" in asks_for(kernel, "attend")
    last_call = Call(
        *(step, three, kernel.attend, name, tuple(reads.items()), asks, FUSED, told, live, learns, wanted),
        fused=kernel,
    )
    return (*before, last_call)


def numbers(calls: tuple[Call, ...], n_keys: int, d: int) -> float:
    """The most numbers that a call forms for each query and key. A kernel says it for its part; the default is one."""
    most = 1.0
    for call in calls:
        if call.forms is not None:
            most = max(most, call.forms(n_keys, d))
    return most
