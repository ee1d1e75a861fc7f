"""The interfaces: the one page a plugin author reads. No maths here.

A component is a class with a `name`, a docstring whose first line says what it is, a `source`, and settings that its
`__init__` stores untouched. Its kind is the interface it derives from, and its verb is that interface's method:

    Similarity.score(Q, K) -> S                 (..., q, d), (..., k, d) -> (..., q, k)
    Normaliser.normalise(S) -> W                (..., q, k) -> (..., q, k); masked scores come as -inf
    Aggregator.aggregate(W, V) -> Y             (..., q, k), (..., k, v) -> (..., q, v)
    Position.place(Q, K) -> (Q, K), .bias(S) -> S, .reweigh(W) -> W          each the identity unless overridden
    Mask.allow(q_index, k_index) -> bool (..., q, k)                         True = may attend
    Modifier.modify(S) -> S                     (..., q, k) -> (..., q, k), between the position's bias and the mask
    Task.make(rng) -> Splits;   Metric.measure(data, W, Y) -> float;   Encoder.encode(X, mask) -> H
    Executor.submit(run), .as_completed(), .cancel(run), .close();     Model: a scikit-learn estimator

A verb takes, by name, what it needs of its nouns, of `EVERY_VERB` and of its own learned arrays (see `attnlab.call`). A part with
something to learn has `init(rng, d_query, d_key, d_value)`, of these what it needs, which returns its arrays by name.
A part that asks for `state` has `initial_state(...)` and `update(state, W)`.

Settings live on self, learned arrays in params, chance in rng; nothing is global and no input is modified. Interfaces
are never instantiated, components never subclassed: to tweak one, wrap it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from attnlab.component import Component, Source, first_line, names_of, settings_of
from attnlab.sizes import sized

if TYPE_CHECKING:
    from attnlab.data import Splits

__all__ = [
    "EVERY_VERB",
    "Aggregator",
    "Component",
    "Encoder",
    "Executor",
    "Kernel",
    "Mask",
    "MechanismComponent",
    "Metric",
    "Model",
    "Modifier",
    "Normaliser",
    "Part",
    "Position",
    "Similarity",
    "Source",
    "Task",
    "names_of",
    "settings_of",
]


# What every verb of a part may ask for, besides its own nouns and its learned arrays. No learned array may be called so.
EVERY_VERB: Mapping[str, str] = {
    "mask": "bool, broadcast to (..., q, k): True = may attend",
    "q_index": "int (q,): the position of each query, so that a decoder can ask for step t alone",
    "k_index": "int (k,): the position of each key",
    "n_allowed": "float (..., q, 1): how many keys each query may attend to",
    "lengths": "int (..., 2): true numbers of queries and keys of each example, without padding",
    "state": "what initial_state and update returned: a part that asks for it is stateful",
    "rng": "numpy.random.Generator, or None: without it a part must be deterministic",
    "training": "bool: whether the model is being fitted",
}


class Part(Component):
    """A similarity, normaliser, aggregator, position or modifier: what a mechanism is composed of."""

    # True when the gradient of the output with respect to every input and learned array is the true one.
    differentiable: ClassVar[bool] = True
    # True when permuting keys (with values and mask) permutes the weights and nothing else.
    permutation_equivariant: ClassVar[bool | None] = True  # None: not said

    # of a part with something to learn: init(rng, d_query, d_key, d_value), of these what it needs, -> its arrays by name
    init: ClassVar[Callable[..., dict[str, Any]] | None] = None
    # of a stateful part, one that asks for `state`: initial_state(n_keys, leading) -> state; `leading` is the shape before
    # the last two axes
    initial_state: ClassVar[Callable[..., Any] | None] = None
    # of a stateful part too: update(state, W) -> state; W (..., 1, k) has the weights of the step just taken
    update: ClassVar[Callable[..., Any] | None] = None

    def numbers(self, n_keys: int, d: int) -> float:
        """How many numbers a verb forms for each pair of a query and a key with d features; blocks are cut accordingly."""
        return 1.0


class Similarity(Part):
    """How well does key j answer query i?   score(Q (..., q, d), K (..., k, d)) -> S (..., q, k)."""

    kind = "similarity"
    # score(Q, K) == score(K, Q) transposed. None: not said, and not checked.
    symmetric: ClassVar[bool | None] = None
    # the scores do not depend on what Q and K hold. None: not said, and not checked.
    content_free: ClassVar[bool | None] = None
    # a score depends on what other keys hold. None: not said, and the keys are never gone through in blocks
    mixes_keys: ClassVar[bool | None] = None
    # no score is negative: a kernel, which a normaliser with `nonnegative_scores` weighs. None: not said, seen when it scores
    nonnegative: ClassVar[bool | None] = None

    def score(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Normaliser(Part):
    """Turn scores into weights.   normalise(S (..., q, k)) -> W (..., q, k); a masked score is -inf, its weight 0."""

    kind = "normaliser"
    # every row of weights sums to one
    rows_sum_to_one: ClassVar[bool] = False
    # every row of weights sums to one, or is all zeros where no score is large enough
    rows_sum_to_one_or_zero: ClassVar[bool] = False
    # no weight is negative
    nonnegative: ClassVar[bool] = False
    # some scores that may be attended to get a weight of exactly zero
    sparse: ClassVar[bool] = False
    # adding a constant to a row of scores changes no weight
    shift_invariant: ClassVar[bool] = False
    # a row of weights depends on other rows of scores (the engine then never splits or fills in rows)
    couples_rows: ClassVar[bool] = False
    # it weighs scores of zero and above, and refuses a negative one (`Unsupported`)
    nonnegative_scores: ClassVar[bool] = False

    # To take keys in blocks: begin(shape (..., q, 1), dtype) -> state; absorb(state, S (..., q, some keys)) -> (E, factor, state),
    # so that Y becomes Y factor + E V; finish(state) -> factor. A masked score is -inf; each may ask for `n_allowed`.

    def normalise(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Aggregator(Part):
    """Sum up values by their weights.   aggregate(W (..., q, k), V (..., k, v)) -> Y (..., q, v)."""

    kind = "aggregator"
    # a context has one feature for each key, Y (..., q, k), whatever the values have
    over_keys: ClassVar[bool] = False
    # it refuses weights of which a row sums to neither one nor zero (`Unsupported`)
    rows_must_sum_to_one: ClassVar[bool] = False
    # weights of zero and above that sum to one mix the values: probabilities of classes give probabilities. None: not said
    mixes_values: ClassVar[bool | None] = None

    def aggregate(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Position(Part):
    """Where things stand: place(Q, K) -> (Q, K), bias(S) -> S, reweigh(W) -> W, each the identity by default."""

    kind = "position"
    permutation_equivariant = False
    mixes_keys: ClassVar[bool | None] = None  # as of a similarity
    # `bias` makes no score negative that was not. None: not said
    keeps_nonnegative: ClassVar[bool | None] = None
    # `reweigh` gives weights that sum to one where those that it is given do
    keeps_sums: ClassVar[bool] = False

    def features(self, d: int) -> int:
        """How many features `place` gives a query or key that has d; what compares them learns arrays for so many."""
        return d

    if TYPE_CHECKING:  # each may ask for more by name, which is no error of types
        place: Callable[..., Any]
        bias: Callable[..., Any]
        reweigh: Callable[..., Any]
    else:

        def place(self, Q, K):
            return Q, K

        def bias(self, S):
            return S

        def reweigh(self, W):
            return W


class Mask(Component):
    """Which keys may a query attend to?   allow(q_index (..., q), k_index (..., k)) -> bool (..., q, k), True = may attend.

    A rule about positions, asked for any block of them; an axis of the result along which all are alike may have size one. A
    mask by content also asks for Q (..., q, d), K (..., k, d) or `mask`, what all other masks allow, bool (..., q, k) or None. It
    gets arrays without gradients, of any library, and is made whole for each query, from all keys.
    """

    kind = "mask"

    if TYPE_CHECKING:  # a mask by content asks for more by name, which is no error of types
        allow: Callable[..., Any]
    else:

        def allow(self, q_index, k_index):
            raise NotImplementedError


class Modifier(Part):
    """Change scores by content or by a rule.   modify(S (..., q, k)) -> S, between the position's bias and the mask.

    Masked scores reach it as they are, and become -inf after it. It may ask for the queries and keys that were compared. For
    finite scores it gives finite scores.
    """

    kind = "modifier"
    # a score depends on that score alone (and its place): it may run on any block of queries and keys
    elementwise: ClassVar[bool] = False
    # a score depends on the scores of other queries: the engine never splits queries, and decoders refuse it
    couples_rows: ClassVar[bool] = False
    # a score depends on what other keys hold, so that a masked key may change something
    mixes_keys: ClassVar[bool] = False
    # it makes no score negative that was not. None: not said
    keeps_nonnegative: ClassVar[bool | None] = None

    # A modifier that forbids keys defines allowed(q_index, k_index) -> bool (..., q or 1, k or 1), or None for all
    allowed: ClassVar[Callable[..., Any] | None] = None

    def modify(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class MechanismComponent(Component):
    """Queries, keys and values in, contexts out: parts composed, or mechanisms composed.

    init(rng, d_query, d_key, d_value) -> params;   attend(params, Q, K, V, mask=None, ...) -> Y (..., q, v);
    weights(params, Q, K, mask=None, ...) -> W (..., q, k);   step(params, Q, K, V, state, t, ...) -> (Y, W, state).

    A mechanism made of mechanisms writes `init`, `attend` and `weights`, in which it uses those among its settings; `bind`
    and `step` follow from these. `attend` and `weights` take, by name, what they need of `mask`, `q_index`, `k_index`,
    `lengths`, `rng` and `training`, or all of it as `**context`, to hand on. `params` is a dict of arrays, nested to any depth.
    """

    kind = "mechanism"
    # False: contexts are formed without weights, which `weights` refuses (`Unsupported`)
    forms_weights: ClassVar[bool] = True
    # a context is a mixture of the values: probabilities of classes give probabilities. None: not said
    mixes_values: bool | None = None

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "init" in cls.__dict__:
            cls.init = sized(cls.init)  # type: ignore[method-assign]

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        raise NotImplementedError

    def attend(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def weights(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def refusal(self) -> str:
        """Why it cannot work, whatever the data are, in words; empty where nothing is known against it.

        A sweep asks before it runs anything. By default a mechanism is refused as those among its settings are.
        """
        found: str = _binding().refusal_of(self, "refusal")
        return found

    def refusal_of_steps(self) -> str:
        """Why it cannot attend one query at a time, as `step` and decoders do, in words; empty where nothing is known against it."""
        found: str = _binding().refusal_of(self, "refusal_of_steps")
        return found

    def bind(self, backend: str = "auto") -> Any:
        """The mechanism with all that is in it built, for many calls: what `attnlab.Mechanism.bind` gives."""
        return _binding().BoundComposition(self, backend)

    def step(
        self, params: Any, Q: Any, K: Any, V: Any, state: Any, t: int, mask: Any = None, **context: Any
    ) -> tuple[Any, Any, Any]:
        """One query at position t, as `attnlab.Mechanism.step`: (Y (..., 1, v), W (..., 1, k), state)."""
        found: tuple[Any, Any, Any] = _binding().step_of(self, params, Q, K, V, state, t, mask, **context)
        return found


def _binding() -> Any:
    """What binds mechanisms made of mechanisms: found when it is used, since it is made of all that lies between."""
    return importlib.import_module("attnlab.mechanisms.binding")


class Encoder(Component):
    """The states h_1..h_m of a sequence.   init(rng, ...) -> params; encode(X, mask, **learned) -> H (n, m, d)."""

    kind = "encoder"

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Kernel(Component):
    """The same function, faster; `replaces` names the class whose values and gradients it has.

    A kernel of a part has the verbs that it replaces, with the part before the nouns: `score(part, Q, K, ..., wants)` returns
    (S, back), and `back(g)` gives the gradients by argument. `wants` may be asked for: the arguments whose gradients will be
    asked for, none in prediction. A name left out has gradient zero. It has no settings, for those of the part are on the part;
    it never writes into its arguments or g. For decoders it may `prepare(part, K, **learned)`, which returns (P, back); its
    `score` then asks for P instead of K. A fused kernel replaces (a similarity, a normaliser, an aggregator) by
    `attend(parts, Q, K, V, mask, alive, learned, wants)`, which returns (Y, back); in the place of mask and alive it may ask
    for `allowed`: None, or a function of slices, `allowed(lead, rows, keys)`, that gives the mask of a block. On arrays of
    other libraries back is None: the library's own gradients go through what the kernel called.
    """

    kind = "kernel"
    replaces: ClassVar[Any] = None  # a class, or three classes for a fused kernel, or a tuple of such threes
    pairs: ClassVar[tuple[int, int]] = (
        0,
        0,
    )  # of queries and keys, from which a fused kernel pays: forwards, and with back

    def supports(self, part: Any, library: str, dtype: str) -> bool:
        """Whether it answers for this part (or these parts) on arrays of "numpy", "torch" or "jax" of this dtype."""
        return False

    def row_by_row(self, part: Any, dtype: str) -> bool:
        """Whether `normalise` takes S and wants alone, forms nothing beyond its result, and is right for finite scores of any size."""
        return False


class Task(Component):
    """What there is to align.   make(rng) -> Splits; `chance` is the alignment accuracy of guessing."""

    kind = "task"
    # settings that say only how many examples or which test conditions there are, and change no example; None: not said,
    # and every setting changes the random stream of the data
    counts: ClassVar[tuple[str, ...] | None] = None
    # from which value of a metric on a run has solved the task, by the metric's name: {"context_error": 0.05}. It is for
    # metrics that are not bounded on both sides; of the others a run has all but 5 % of the range
    solved: ClassVar[Mapping[str, float]] = {}

    @property
    def chance(self) -> float:
        """The expected alignment accuracy of a uniform random guess; NaN where it is not known."""
        return float("nan")

    @property
    def overlap(self) -> float:
        """The variance that all seeds share, as they draw from the same examples, by that between seeds; 0: each has its own."""
        return 0.0

    def make(self, rng: Any) -> Splits:
        raise NotImplementedError


class Metric(Component):
    """How good is an alignment?   measure(data, W, Y) -> float; `direction` says which way is better."""

    kind = "metric"
    direction: ClassVar[str | None] = None  # "up", "down" or None
    # the least and the greatest value that it can have, for any weights whatever; infinite where there is none
    bounds: ClassVar[tuple[float, float]] = (float("-inf"), float("inf"))
    # what has one value of it: each test "condition", or the whole "run", such as its cost
    per: ClassVar[str] = "condition"

    def applies(self, data: Any) -> bool:
        """Whether it can be measured on these data (has it gold links, a target, ...)."""
        return True

    def measure(self, *args: Any, **kwargs: Any) -> float:
        raise NotImplementedError


class Model:
    """A scikit-learn estimator: fit(data), predict(data), align(data) -> W, score(data); `mechanism` among its settings."""

    name: ClassVar[str] = ""
    source: ClassVar[Source | None] = None
    kind: ClassVar[str] = "model"
    revision: ClassVar[int] = 0
    former: ClassVar[Mapping[str, Any]] = {}
    # The mechanism that it learns where none is given: parts by kind, {name: {setting: value}}, or an object. Bare names
    # mean attnlab's own. An empty mapping is scaled dot product, softmax, weighted sum.
    preferred: ClassVar[Any] = {}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return first_line(cls)

    def refusal(self) -> str:
        """Why it cannot learn with these settings, whatever the data are, in words; empty where nothing is known against it."""
        mechanism = getattr(self, "mechanism", None)
        return mechanism.refusal() if isinstance(mechanism, MechanismComponent) else ""


class Executor(Component):
    """Where runs happen: submit(run), as_completed() -> (run, Result) and never raises, cancel(run), close()."""

    kind = "executor"

    @classmethod
    def unavailable(cls) -> str:
        """Why no run can be carried out here, in words that follow "cannot be used here:"; empty where they can."""
        return ""

    def submit(self, run: Any) -> None:
        raise NotImplementedError

    def as_completed(self) -> Iterator[tuple[Any, Any]]:
        raise NotImplementedError

    def cancel(self, run: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
