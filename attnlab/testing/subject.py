"""What is under test: a component, the mechanism in which the engine uses it, and inputs that vary but are seeded."""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np

from attnlab.arrays import namespace
from attnlab.data import AlignmentData, Splits
from attnlab.errors import ComponentError
from attnlab.injection import asks_for, call
from attnlab.interfaces import Normaliser, settings_of
from attnlab.kinds import INTERFACES, VERBS
from attnlab.mechanisms import Mechanism
from attnlab.parts.aggregators import WeightedSum
from attnlab.parts.feature_maps import PolyKernel
from attnlab.parts.masks import AllKeys
from attnlab.parts.modifiers import NoModifier
from attnlab.parts.normalisers import Softmax
from attnlab.parts.positions import NoPosition
from attnlab.parts.similarities import Dot, ScaledDot
from attnlab.testing.report import Skipped

__all__ = ["Draw", "Subject", "example_data", "example_sequences", "flat", "unflat"]

Array = np.ndarray[Any, Any]


class _AsTheyAre(Normaliser):
    """Scores as weights, so that a similarity's scores can be seen through the engine."""

    name = "as_they_are"

    def normalise(self, S: Any, mask: Any) -> Any:
        xp = namespace(S)
        return xp.where(mask, S, xp.zeros_like(S))


@dataclass(frozen=True)
class Draw:
    """Random inputs: Q (..., q, d), K (..., k, d), V (..., k, v), a mask M (..., q, k) that leaves each query a key."""

    Q: Array
    K: Array
    V: Array
    M: Array
    rng: np.random.Generator

    @property
    def q(self) -> int:
        return int(self.Q.shape[-2])

    @property
    def k(self) -> int:
        return int(self.K.shape[-2])

    def replace(self, **arrays: Any) -> Draw:
        return replace(self, **arrays)


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as one dict, 'similarity.W' -> array."""
    leaves: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            leaves.update(flat(value, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = value
    return leaves


def unflat(params: Mapping[str, Any], leaves: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The nested params again, with arrays from `leaves`."""
    return {
        name: unflat(value, leaves, f"{prefix}{name}.") if isinstance(value, Mapping) else leaves[prefix + name]
        for name, value in params.items()
    }


class Subject:
    """A component under test.

    Parameters
    ----------
    component : class or object of one of attnlab's kinds
    seed : int
        Another seed gives other inputs.

    Raises
    ------
    ComponentError
        When it is not a component of any kind.
    """

    def __init__(self, component: Any, seed: int = 0) -> None:
        self.cls: type = component if isinstance(component, type) else type(component)
        self.kind: str = getattr(self.cls, "kind", "")
        if self.kind not in INTERFACES:
            allowed = ", ".join(f"attnlab.{i.__name__}" for i in INTERFACES.values())
            raise ComponentError(f"only a component can be checked, derived from one of {allowed}; got {component!r}")
        self.label: str = getattr(self.cls, "name", "") or self.cls.__name__
        self.own = self.cls.__module__.partition(".")[0] == "attnlab"
        self.seed = seed
        self._given = None if isinstance(component, type) else component
        self._splits: dict[int, Splits] = {}

    # -- the object -----------------------------------------------------------------------------------------------
    @functools.cached_property
    def object(self) -> Any:
        """The component, with its settings as given or by default."""
        if self._given is not None:
            return self._given
        if self.unchecked:
            raise Skipped(self.unchecked)
        return self.cls()

    @property
    def unchecked(self) -> str:
        """Why only the class can be checked: it needs settings, and no object was given; else empty."""
        needed = [n for n, p in settings_of(self.cls).items() if p.default is inspect.Parameter.empty]
        if self._given is not None or not needed:
            return ""
        name, given = self.cls.__name__, ", ".join(f"{n}=..." for n in needed)
        return (
            f"{name} needs the settings {', '.join(needed)}: check an object instead, check_component({name}({given}))"
        )

    def renewed(self) -> Subject:
        """The same with a new object, on which no verb has run yet."""
        return Subject(self.cls(**self.object.get_params(deep=False)), self.seed)

    @property
    def verbs(self) -> list[str]:
        """The verbs of a part, of a position only those that it overrides."""
        interface = INTERFACES[self.kind]
        return [v for v in VERBS[self.kind] if getattr(self.cls, v, None) is not getattr(interface, v, None)]

    @property
    def is_stateful(self) -> bool:
        if self.kind == "mechanism":
            return bool(getattr(self.object, "is_stateful", False))
        return any("state" in asks_for(self.cls, verb) for verb in self.verbs)

    @property
    def couples_rows(self) -> bool:
        return bool(getattr(self.cls, "couples_rows", False))

    @property
    def mechanism(self) -> Any:
        """The component in the engine, among the plainest partners."""
        if self.kind == "mechanism":
            return self.object
        parts = {
            "similarity": self._scorer() if self.kind == "normaliser" else ScaledDot(),
            "normaliser": _AsTheyAre() if self.kind in ("similarity", "modifier") else Softmax(),
            "aggregator": WeightedSum(),
            "position": NoPosition(),
            "mask": AllKeys(),
            "modifier": NoModifier(),
        }
        return Mechanism(**{**parts, self.kind: self.object})

    def _scorer(self) -> Any:
        """What scores for a normaliser: of any sign, or never negative where it refuses negative ones."""
        return PolyKernel() if getattr(self.cls, "nonnegative_scores", False) else Dot()

    @property
    def views(self) -> tuple[str, ...]:
        """What of the engine's output shows the component: W, or Y, or both."""
        if not getattr(self.cls, "forms_weights", True):
            return ("Y",)
        return {"aggregator": ("Y",), "mechanism": ("W", "Y")}.get(self.kind, ("W",))

    def by_key(self, view: str) -> bool:
        """Whether the last axis of a view is that of the keys: of W, and of contexts that have one feature a key."""
        return view == "W" or bool(getattr(self.object, "over_keys", False))

    # -- inputs -----------------------------------------------------------------------------------------------------
    def draws(
        self, code: str, n: int = 3, dtype: Any = np.float64, lead: tuple[int, ...] | None = None
    ) -> Iterator[Draw]:
        """`n` inputs of different shapes and numbers, always the same for one check, component and seed."""
        for i in range(n):
            rng = np.random.default_rng([self.seed, zlib.crc32(code.encode()), zlib.crc32(self.label.encode()), i])
            front = ((), (2,), (2, 2))[i % 3] if lead is None else lead
            q, k, d, v = (int(rng.integers(low, high)) for low, high in ((2, 5), (3, 7), (2, 5), (1, 4)))
            Q, K, V = (rng.normal(size=(*front, *s)).astype(dtype) for s in ((q, d), (k, d), (k, v)))
            M = rng.random((*front, q, k)) < 0.6
            M[..., np.arange(q), rng.integers(k, size=q)] = True
            yield Draw(Q, K, V, M, rng)

    def params(self, draw: Draw) -> dict[str, Any]:
        """What the component starts with, moved a little, so that nothing learned stands at a special value."""
        d, v = draw.Q.shape[-1], draw.V.shape[-1]
        params = self.mechanism.init(draw.rng, d, d, v)
        moved = {
            n: (np.asarray(a) + 0.1 * draw.rng.normal(size=np.shape(a))).astype(draw.Q.dtype)
            for n, a in flat(params).items()
        }
        return unflat(params, moved)

    def learned(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Of the mechanism's params, the component's own arrays."""
        own = params if self.kind == "mechanism" else params.get(self.kind, {})
        return dict(
            own.get(self.label, {}) if self.kind == "modifier" else own
        )  # modifiers are several, each by its name

    def splits(self, seed: int) -> Splits:
        """What a task makes, kept, since several checks look at it."""
        if seed not in self._splits:
            self._splits[seed] = self.object.make(np.random.default_rng(seed))
        return self._splits[seed]

    # -- outputs ----------------------------------------------------------------------------------------------------
    def output(self, view: str, params: Any, draw: Draw, mask: Any = None, **context: Any) -> Any:
        """W (..., q, k) or Y (..., q, v) of the engine."""
        if view == "W":
            return self.mechanism.weights(params, draw.Q, draw.K, mask, **context)
        return self.mechanism.attend(params, draw.Q, draw.K, draw.V, mask, **context)

    def nouns(self, verb: str, draw: Draw, learned: Mapping[str, Any]) -> dict[str, Any]:
        """What a verb may ask for, of these inputs, when it is called without the engine. Stateful parts see one query."""
        Q = draw.Q[..., :1, :] if self.is_stateful else draw.Q
        S = Q @ np.swapaxes(draw.K, -1, -2)
        W = namespace(S).softmax(S)
        nouns = {"Q": Q, "K": draw.K, "V": draw.V, "S": S, "W": W}
        nouns = {name: nouns[name] for name in VERBS[self.kind][verb]}
        q, k = Q.shape[-2], draw.k
        state = {}
        if self.is_stateful:
            facts = {**learned, "n_keys": k, "leading": Q.shape[:-2], "Q": Q, "K": draw.K}
            state["state"] = call(self.object, "initial_state", **facts)
        return {
            **nouns,
            **state,
            "mask": np.ones((1, 1), dtype=bool),
            "q_index": np.arange(q),
            "k_index": np.arange(k),
            "n_allowed": np.full((1, 1), k, dtype=Q.dtype),
            "lengths": np.broadcast_to([q, k], (*Q.shape[:-2], 2)),
            "rng": None,
            "training": False,
        }

    def direct(self, verb: str, learned: Mapping[str, Any], nouns: Mapping[str, Any]) -> Any:
        """A verb called without the engine."""
        return call(self.object, verb, **{**nouns, **learned})

    def gradients(self, view: str, params: Any, draw: Draw, mask: Any = None) -> dict[str, Array]:
        """Of a random weighting of the output: the gradient with respect to each input and each learned array."""
        leaves, loss = self.loss(view, params, draw, mask)
        names = list(leaves)
        found = autograd.grad(lambda arrays: loss(dict(zip(names, arrays, strict=True))))(tuple(leaves.values()))
        return dict(zip(names, found, strict=True))

    def loss(self, view: str, params: Any, draw: Draw, mask: Any = None) -> tuple[dict[str, Array], Any]:
        """The inputs and learned arrays by name, and a scalar function of them."""
        leaves = {"Q": draw.Q, "K": draw.K} | ({"V": draw.V} if view == "Y" else {}) | flat(params)
        shape = np.shape(self.output(view, params, draw, mask))
        R = np.random.default_rng(self.seed).normal(size=shape).astype(draw.Q.dtype)

        def loss(now: Mapping[str, Any]) -> Any:
            moved = draw.replace(Q=now["Q"], K=now["K"], V=now.get("V", draw.V))
            return anp.sum(self.output(view, unflat(params, now), moved, mask) * R)

        return leaves, loss


def example_data(rng: np.random.Generator, n: int = 4, classes: bool = False) -> AlignmentData:
    """Examples with everything a metric or a model may ask for: mask, gold, possible links, target, and a null query."""
    q, k, d, v = 3, 5, 4, 3
    Q, K, V = rng.normal(size=(n, q, d)), rng.normal(size=(n, k, d)), rng.normal(size=(n, k, v))
    mask = rng.random((n, q, k)) < 0.7
    best = rng.integers(k, size=(n, q))
    gold = np.eye(k)[best]
    mask |= gold > 0
    gold[0, 0] = 0.0
    possible = (gold > 0) | (mask & (rng.random((n, q, k)) < 0.2))
    target: Any = (gold @ V).argmax(axis=-1) if classes else gold @ V
    return AlignmentData(Q, K, V, mask=mask, gold=gold, target=target, possible=possible)


def example_sequences(rng: np.random.Generator, n: int = 4) -> AlignmentData:
    """Sequences of tokens of different lengths, with gold, in which some places do not count."""
    length, tokens = 6, 5
    sizes = rng.integers(3, length + 1, size=n)
    sizes[0] = length
    ids = rng.integers(tokens, size=(n, length))
    source = np.minimum(rng.integers(length, size=(n, length)), np.arange(length))
    labels = np.where(rng.random((n, length)) < 0.7, np.take_along_axis(ids, source, axis=1), -1)
    labels[:, 1] = np.take_along_axis(ids, source, axis=1)[:, 1]
    there = np.arange(length) < sizes[:, None]
    counts = there & (labels >= 0)
    gold = np.eye(length)[source] * counts[:, :, None]
    return AlignmentData.of_sequences(np.where(there, ids, -1), np.where(there, labels, -1), gold)
