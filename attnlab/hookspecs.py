"""Every extension point on one page, each with a complete example.

A plugin is a module with hook implementations, named in its distribution's `pyproject.toml`:

    [project.entry-points.attnlab]
    laplace = "attnlab_laplace"

Nouns give: `attnlab_<plural noun>()` takes nothing and returns an iterable of classes. Verbs report: an event hook is
told what happened, returns nothing and cannot change the flow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from attnlab import interfaces

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("attnlab")
hookimpl = pluggy.HookimplMarker("attnlab")


# -- parts of a mechanism ---------------------------------------------------------------------------------------------
@hookspec
def attnlab_similarities() -> Iterable[type[interfaces.Similarity]]:
    """How well does key j answer query i?

    Example::

        from attnlab import Similarity, hookimpl, namespace

        class Laplace(Similarity):
            \"\"\"Minus the city-block distance over a length scale.\"\"\"
            name = "laplace"

            def __init__(self, scale=1.0):
                self.scale = scale

            def score(self, Q, K):                    # Q (..., q, d), K (..., k, d) -> S (..., q, k)
                xp = namespace(Q, K)
                return -xp.sum(xp.abs(Q[..., :, None, :] - K[..., None, :, :]), axis=-1) / self.scale

        @hookimpl
        def attnlab_similarities():
            return [Laplace]
    """
    raise NotImplementedError


@hookspec
def attnlab_normalisers() -> Iterable[type[interfaces.Normaliser]]:
    """Turn scores into weights.

    Example::

        from attnlab import Normaliser, hookimpl, namespace

        class ReluOverN(Normaliser):
            \"\"\"Positive scores over the number of keys that may be attended to.\"\"\"
            name = "my_relu"
            nonnegative = True
            sparse = True

            def normalise(self, S, n_allowed):        # S (..., q, k), masked scores are -inf -> W (..., q, k)
                xp = namespace(S)
                return xp.maximum(S, xp.zeros_like(S)) / n_allowed

        @hookimpl
        def attnlab_normalisers():
            return [ReluOverN]
    """
    raise NotImplementedError


@hookspec
def attnlab_aggregators() -> Iterable[type[interfaces.Aggregator]]:
    """Sum up values by their weights.

    Example::

        from attnlab import Aggregator, hookimpl

        class Halved(Aggregator):
            \"\"\"Half the weighted sum.\"\"\"
            name = "halved"

            def aggregate(self, W, V):                # W (..., q, k), V (..., k, v) -> Y (..., q, v)
                return W @ V / 2

        @hookimpl
        def attnlab_aggregators():
            return [Halved]
    """
    raise NotImplementedError


@hookspec
def attnlab_positions() -> Iterable[type[interfaces.Position]]:
    """Where queries and keys stand: change Q and K (place), the scores (bias) or the weights (reweigh).

    Example::

        from attnlab import Position, hookimpl, namespace

        class LinearBias(Position):
            \"\"\"A penalty that grows with distance.\"\"\"
            name = "linear_bias"

            def __init__(self, slope=0.5):
                self.slope = slope

            def bias(self, S, q_index, k_index):
                away = abs(q_index[:, None] - k_index[None, :])           # int (q, k)
                return S - self.slope * namespace(S).astype(away, S.dtype)

        @hookimpl
        def attnlab_positions():
            return [LinearBias]
    """
    raise NotImplementedError


@hookspec
def attnlab_masks() -> Iterable[type[interfaces.Mask]]:
    """Which keys may a query attend to?

    Example::

        from attnlab import Mask, hookimpl

        class EvenAway(Mask):
            \"\"\"Only keys at an even distance.\"\"\"
            name = "even_away"

            def allow(self, q_index, k_index):       # (..., q), (..., k) -> bool (..., q, k), True = may attend
                return (k_index[..., None, :] - q_index[..., :, None]) % 2 == 0

        @hookimpl
        def attnlab_masks():
            return [EvenAway]
    """
    raise NotImplementedError


@hookspec
def attnlab_modifiers() -> Iterable[type[interfaces.Modifier]]:
    """Change scores by content or by a rule, between the position's bias and the mask.

    Example::

        from attnlab import Modifier, hookimpl, namespace

        class Clipped(Modifier):
            \"\"\"Scores no further from zero than a limit.\"\"\"
            name = "clipped"
            elementwise = True

            def __init__(self, limit=5.0):
                self.limit = limit

            def modify(self, S):                      # S (..., q, k), not masked yet -> S (..., q, k)
                return namespace(S).clip(S, -self.limit, self.limit)

        @hookimpl
        def attnlab_modifiers():
            return [Clipped]
    """
    raise NotImplementedError


@hookspec
def attnlab_mechanisms() -> Iterable[type[interfaces.MechanismComponent]]:
    """Compositions of parts or of mechanisms. A setting annotated with an interface holds a component.

    Example::

        from attnlab import Mechanism, MechanismComponent, hookimpl

        class Averaged(MechanismComponent):
            \"\"\"The mean of two mechanisms' contexts.\"\"\"
            name = "averaged"

            def __init__(self, first: MechanismComponent | None = None, second: MechanismComponent | None = None):
                self.first = first                    # in a file: {averaged: {first: {similarity: dot}}}
                self.second = second
            def _two(self):
                return self.first or Mechanism("dot"), self.second or Mechanism("cosine")
            def init(self, rng, d_query, d_key, d_value):
                return {str(i): m.init(rng, d_query, d_key, d_value) for i, m in enumerate(self._two())}
            def weights(self, params, Q, K, mask=None, **context):
                return sum(m.weights(params[str(i)], Q, K, mask, **context) for i, m in enumerate(self._two())) / 2
            def attend(self, params, Q, K, V, mask=None, **context):
                return self.weights(params, Q, K, mask, **context) @ V

        @hookimpl
        def attnlab_mechanisms():
            return [Averaged]
    """
    raise NotImplementedError


@hookspec
def attnlab_encoders() -> Iterable[type[interfaces.Encoder]]:
    """The states of a sequence.

    Example::

        from attnlab import Encoder, hookimpl

        class Identity(Encoder):
            \"\"\"The embeddings themselves.\"\"\"
            name = "identity"

            def init(self, rng, d_input):
                return {}

            def encode(self, X, mask):                # X (n, m, d) -> H (n, m, d)
                return X

        @hookimpl
        def attnlab_encoders():
            return [Identity]
    """
    raise NotImplementedError


@hookspec
def attnlab_kernels() -> Iterable[type[interfaces.Kernel]]:
    """The same function, faster: it names the class that it replaces, and gives the way back with the values.

    Example::

        from attnlab import Kernel, hookimpl
        from attnlab.parts.similarities import ScaledDot

        class ScaledBefore(Kernel):
            \"\"\"The scaled dot product, with the queries scaled and not the scores, which are more.\"\"\"
            name = "scaled_before"
            replaces = ScaledDot

            def supports(self, part, library, dtype):
                return library == "numpy" and dtype in ("float32", "float64")

            def score(self, part, Q, K):              # Q (..., q, d), K (..., k, d) -> S (..., q, k), and the way back
                scale = Q.dtype.type(Q.shape[-1] ** -0.5)
                return (Q * scale) @ K.mT, lambda g: {"Q": (g @ K) * scale, "K": g.mT @ (Q * scale)}

        @hookimpl
        def attnlab_kernels():
            return [ScaledBefore]
    """
    raise NotImplementedError


# -- what to measure on -----------------------------------------------------------------------------------------------
@hookspec
def attnlab_tasks() -> Iterable[type[interfaces.Task]]:
    """What there is to align.

    Example::

        import numpy as np
        from attnlab import AlignmentData, Splits, Task, hookimpl

        class Same(Task):
            \"\"\"Each query is one of the keys.\"\"\"
            name = "same"
            def __init__(self, n_keys=8):
                self.n_keys = n_keys
            @property
            def chance(self):
                return 1 / self.n_keys
            def make(self, rng):
                def draw(n):
                    K = rng.normal(size=(n, self.n_keys, 4))
                    i = rng.integers(self.n_keys, size=n)
                    gold = np.eye(self.n_keys)[i][:, None, :]
                    return AlignmentData(gold @ K, K, K, gold=gold, target=gold @ K)
                return Splits(draw(256), draw(64), {"test": draw(128)})

        @hookimpl
        def attnlab_tasks():
            return [Same]
    """
    raise NotImplementedError


@hookspec
def attnlab_metrics() -> Iterable[type[interfaces.Metric]]:
    """How good is an alignment?

    Example::

        from attnlab import Metric, hookimpl

        class FirstWeight(Metric):
            \"\"\"Share of queries whose first key has more than half of the weight.\"\"\"
            name = "first_weight"
            direction = None                          # or "up", "down": which way is better
            bounds = (0.0, 1.0)                       # for any weights whatever; left out: anything
            per = "condition"                         # or "run": what a run has once, whatever it is tested on

            def measure(self, data, W):               # may also ask for Y, model, fit_seconds
                return float((W[..., 0] > 0.5)[data.alive].mean())

        @hookimpl
        def attnlab_metrics():
            return [FirstWeight]
    """
    raise NotImplementedError


@hookspec
def attnlab_models() -> Iterable[type[interfaces.Model]]:
    """scikit-learn estimators that learn a mechanism: fit(data), predict(data), align(data), score(data).

    `preferred` is the mechanism that a sweep gives the model where the file names none, written as in a file; without it
    that is scaled dot product, softmax, weighted sum.

    Example::

        from sklearn.base import BaseEstimator
        from attnlab import Mechanism, Model, hookimpl

        class Untrained(Model, BaseEstimator):
            \"\"\"The mechanism as it starts.\"\"\"
            name = "untrained"
            preferred = {"similarity": "cosine", "normaliser": {"softmax": {"temperature": 0.5}}}
            def __init__(self, mechanism=None, random_state=None):
                self.mechanism = mechanism
                self.random_state = random_state
            def fit(self, data, y=None):
                import numpy as np
                rng = np.random.default_rng(self.random_state)
                self.mechanism_ = self.mechanism or Mechanism(**self.preferred)
                d, e, v = data.Q.shape[2], data.K.shape[2], data.V.shape[2]
                self.params_ = self.mechanism_.init(rng, d, e, v)
                return self
            def predict(self, data):
                return self.mechanism_.attend(self.params_, data.Q, data.K, data.V, data.mask)
            def align(self, data):
                return self.mechanism_.weights(self.params_, data.Q, data.K, data.mask)
            def score(self, data, y=None):
                return -float(((self.predict(data) - data.target) ** 2).mean())

        @hookimpl
        def attnlab_models():
            return [Untrained]
    """
    raise NotImplementedError


@hookspec
def attnlab_executors() -> Iterable[type[interfaces.Executor]]:
    """Where the runs of a sweep happen.

    Example::

        from attnlab import Executor, hookimpl
        from attnlab.sweeps.execute import execute

        class OneByOne(Executor):
            \"\"\"In this process, in order.\"\"\"
            name = "one_by_one"
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
            return [OneByOne]
    """
    raise NotImplementedError


@hookspec
def attnlab_suites() -> Iterable[Any]:
    """Paths of directories of experiments, each with a citation (`source:`): `attnlab sweep suite:NAME` of the directory.

    Example::

        from pathlib import Path
        from attnlab import hookimpl

        @hookimpl
        def attnlab_suites():
            return [Path(__file__).parent / "suites" / "mine"]
    """
    raise NotImplementedError


# -- events -----------------------------------------------------------------------------------------------------------
@hookspec
def attnlab_sweep_started(experiment: Any, runs: Any) -> None:
    """A sweep is about to run `runs` of `experiment`.

    Example::

        from attnlab import hookimpl

        @hookimpl
        def attnlab_sweep_started(experiment, runs):
            print(f"{experiment.name}: {len(runs)} runs")
    """


@hookspec
def attnlab_run_finished(run: Any, result: Any) -> None:
    """A run ended, well or not, and its row is in the store.

    Example::

        from attnlab import hookimpl

        @hookimpl
        def attnlab_run_finished(run, result):
            if result.status != "ok":
                print(run.run_id, result.status, result.reason)
    """


@hookspec
def attnlab_sweep_finished(experiment: Any, frame: Any) -> None:
    """All runs of `experiment` have ended; `frame` is its results table.

    Example::

        from attnlab import hookimpl

        @hookimpl
        def attnlab_sweep_finished(experiment, frame):
            frame.to_csv(f"{experiment.name}.csv")
    """
