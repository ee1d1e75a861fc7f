"""The table of kinds: one record a kind. Every other list of kinds, verbs, hooks, axes and flags is derived from it.

To add a kind: its interface (`interfaces.py`), its record here, its hook (`hookspecs.py`), and a file of components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from attnlab import interfaces as i

__all__ = [
    "AXES",
    "COMBINES",
    "FLAGS",
    "HOOKS",
    "INTERFACES",
    "KINDS",
    "LEARNING",
    "PARTS",
    "TABLE",
    "VERBS",
    "Kind",
    "Verb",
]


@dataclass(frozen=True)
class Verb:
    """What a kind does: the nouns that it reads and those that it writes.

    `order` is the verb's place in one pass of a mechanism; None outside it. `optional`: the interface has a default, which
    does nothing. `raw`: it reads queries and keys as they were given, not as a position placed them.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    order: int | None = None
    optional: bool = False
    raw: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of component.

    Parameters
    ----------
    name, plural : str
        The noun in YAML, on the command line and in columns; its hook is `attnlab_<plural>`.
    interface : type
        What its components derive from.
    verbs : mapping of name to Verb
    learns : bool
        Whether its components may have `init`, and so arrays to learn.
    in_mechanism : bool
        Whether `Mechanism` is composed of it.
    combines : "and", "in order" or None
        How several of them are one: masks by "and", where order means nothing; modifiers one after the other.
    axis : bool
        Whether it is an axis of a sweep, with columns of its own.
    composes : bool
        Whether its components may be settings of other components.
    flags : tuple of str
        What its components say of themselves, and the contract tests check.
    """

    name: str
    plural: str
    interface: type
    verbs: Mapping[str, Verb] = field(default_factory=dict)
    learns: bool = False
    in_mechanism: bool = False
    combines: Literal["and", "in order"] | None = None
    axis: bool = False
    composes: bool = False
    flags: tuple[str, ...] = ()

    @property
    def hook(self) -> str:
        return f"attnlab_{self.plural}"


_PART = ("permutation_equivariant", "differentiable")

TABLE: tuple[Kind, ...] = (
    Kind(
        "similarity",
        "similarities",
        i.Similarity,
        {"score": Verb(("Q", "K"), ("S",), order=20)},
        learns=True,
        in_mechanism=True,
        axis=True,
        composes=True,
        flags=("symmetric", "content_free", *_PART),
    ),
    Kind(
        "normaliser",
        "normalisers",
        i.Normaliser,
        {"normalise": Verb(("S",), ("W",), order=60)},
        learns=True,
        in_mechanism=True,
        axis=True,
        composes=True,
        flags=("rows_sum_to_one", "nonnegative", "sparse", "shift_invariant", "couples_rows", *_PART),
    ),
    Kind(
        "aggregator",
        "aggregators",
        i.Aggregator,
        {"aggregate": Verb(("W", "V", "Q", "K"), ("Y",), order=90, raw=True)},
        learns=True,
        in_mechanism=True,
        axis=True,
        composes=True,
        flags=("mixes_values", *_PART),
    ),
    Kind(
        "position",
        "positions",
        i.Position,
        {
            "place": Verb(("Q", "K"), ("Q", "K"), order=10, optional=True),
            "bias": Verb(("S", "Q", "K"), ("S",), order=30, optional=True),
            "reweigh": Verb(("W", "Q", "K"), ("W",), order=70, optional=True),
        },
        learns=True,
        in_mechanism=True,
        axis=True,
        composes=True,
        flags=_PART,
    ),
    Kind(
        "mask",
        "masks",
        i.Mask,
        {"allow": Verb(("q_index", "k_index", "Q", "K", "mask"))},
        in_mechanism=True,
        combines="and",
        axis=True,
        composes=True,
    ),
    Kind(
        "modifier",
        "modifiers",
        i.Modifier,
        {"modify": Verb(("S", "Q", "K"), ("S",), order=40)},
        learns=True,
        in_mechanism=True,
        combines="in order",
        axis=True,
        composes=True,
        flags=("elementwise", "couples_rows", "mixes_keys", *_PART),
    ),
    Kind("mechanism", "mechanisms", i.MechanismComponent, axis=True, composes=True),
    Kind("encoder", "encoders", i.Encoder, {"encode": Verb(("X", "mask"))}, composes=True),
    Kind("kernel", "kernels", i.Kernel),
    Kind("task", "tasks", i.Task, {"make": Verb(("rng",))}, axis=True),
    Kind("metric", "metrics", i.Metric, {"measure": Verb(("data", "W", "Y", "model", "fit_seconds"))}),
    Kind("model", "models", i.Model, {verb: Verb() for verb in ("fit", "predict", "align", "score")}, axis=True),
    Kind(
        "executor",
        "executors",
        i.Executor,
        {"submit": Verb(("run",)), "as_completed": Verb(), "cancel": Verb(("run",)), "close": Verb()},
    ),
)

# -- derived ----------------------------------------------------------------------------------------------------------
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in TABLE}
INTERFACES: Mapping[str, type] = {kind.name: kind.interface for kind in TABLE}
HOOKS: Mapping[str, str] = {kind.name: kind.hook for kind in TABLE}
# What each verb of a kind may ask for, besides its learned arrays and `interfaces.EVERY_VERB`.
VERBS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    kind.name: {name: verb.reads for name, verb in kind.verbs.items()} for kind in TABLE
}
PARTS: tuple[str, ...] = tuple(kind.name for kind in TABLE if kind.in_mechanism)  # of a mechanism, as they are listed
LEARNING: tuple[str, ...] = tuple(kind.name for kind in TABLE if kind.in_mechanism and kind.learns)
COMBINES: Mapping[str, str] = {kind.name: kind.combines for kind in TABLE if kind.combines}
FLAGS: tuple[str, ...] = tuple(dict.fromkeys(flag for kind in TABLE for flag in kind.flags))
# The axes of a sweep, as the results table has them.
AXES: tuple[str, ...] = ("task", "test", *PARTS, "mechanism", "model", "seed", "model_seed")
