"""AttentionAligner: learn one mechanism, from targets or from gold alignments."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from attnlab.arrays import namespace
from attnlab.data import AlignmentData
from attnlab.errors import AttnlabError, NothingToLearn, SettingError, ShapeError
from attnlab.interfaces import Model, Source
from attnlab.kernels.layers import dense
from attnlab.kernels.steps import STEP, whole_step
from attnlab.mechanisms.binding import attended, weighed
from attnlab.models.aligner_data import learnable, needed, predicted_and_aligned
from attnlab.models.aligner_gradient import LEAST, loss_and_gradient
from attnlab.models.batches import (
    Examples,
    alignment_data,
    chunks,
    held_out,
    rows_to_one,
    top_gold,
    true_lengths,
    vectors,
)
from attnlab.models.estimating import Estimator, check_is_fitted
from attnlab.models.fenchel_young import own_loss, refusal_of_losses, scored
from attnlab.models.mechanism_setting import Attending, answered, refuse_positions
from attnlab.models.on_library import library_of, working
from attnlab.models.predictions import refuse_no_mixture
from attnlab.models.stopping import Every, Fraction, Patience, Steps, Stopping, Tolerance
from attnlab.models.training import (
    cast,
    count,
    minibatches,
    minimise_adam,
    minimise_lbfgs,
    on_one_thread,
    seed_sequence,
)
from attnlab.progress import told
from attnlab.settings import checked

__all__ = ["AttentionAligner"]


class AttentionAligner(Attending, Model, Estimator):
    """One attention mechanism, learned from targets (the alignment stays latent) or from gold alignments.

    `fit` minimises the squared error of the contexts, the mean of (Y - target)^2 over queries and features. With
    ``objective="alignment"`` it minimises that of the weights, the mean of |w - gold|^2 over queries, with gold rows scaled to
    sum to one. Class targets count as one-hot vectors. The loss is a squared error, because a likelihood has no gradient at the
    exact zeros of sparse normalisers. Cost: steps x batch_size times that of the mechanism and its gradient.

    With ``mix="predictions"`` the alignment is a true latent variable. Each value gives probabilities of the classes,
    p(y | v_j) = softmax(v_j R). The weights mix them, p(y_i) = sum_j w_ij p(y_i | v_j), and `fit` minimises the mean of
    -log p(y_i). That is exact hard attention, or IBM model 1 with learned scores.

    Parameters
    ----------
    mechanism : Mechanism, mapping of parts, or None
        What to learn; None is scaled dot product, softmax, weighted sum.
    projection : int > 0 or None, units
        Width of learned projections of queries and keys before the similarity, W_q (d_query, width) and W_k (d_key, width),
        started at N(0, 1/d); None has no projections.
    objective : "values" or "alignment"
        Learn from `target`, or from `gold`.
    mix : "values" or "predictions"
        Sum up values, or their predictions. Predictions need class targets and use a learned R (v, v), which starts at 0.
    optimizer : "adam" or "lbfgs"
        Adam on minibatches, or scipy's L-BFGS-B on all examples.
    learning_rate : float > 0, dimensionless
        Adam's.
    batch_size : int > 0, examples
    steps, early_stopping, validation_fraction, validate_every, n_iter_no_change, tol
        When `fit` ends; `attnlab.models.stopping.Stopping` explains these settings for all models. Without `steps`, `fit`
        ends when validation no longer improves. `tol` is in the unit of the loss.
    random_state : int, numpy.random.Generator or RandomState, or None
    loss : "squared" or "fenchel_young"
        The squared error, or the loss of Fenchel and Young that belongs to softmax, sparsemax or entmax: of the scores and gold keys
        for ``objective="alignment"``, else of contexts as scores of class targets. Its gradient is weights less gold.
    library, device : "numpy", "torch" or "jax"; "cpu", "cuda", "cuda:1", ..
        What `fit` computes with, and where; NumPy computes on the cpu. All see the same examples and give NumPy arrays.
    compile : "auto", True or False
        Whether PyTorch or JAX compiles the steps; auto: JAX does, and PyTorch on a GPU.

    Attributes
    ----------
    mechanism_ : the mechanism that was learned
    params_ : dict, the learned arrays: "mechanism", what its `init` returns; "projection"; "readout"
    n_iter_ : int, steps taken
    converged_ : bool, whether the loss no longer fell when `fit` ended
    loss_curve_ : list of float, the loss of each step
    validation_curve_ : list of dict with step, loss and, where gold is known, alignment_accuracy
    n_parameters_ : int, numbers learned
    kernels_ : dict, what computed each verb, "reference" or `distribution:name` of a kernel; "step": all at once, in training
    backend_ : "fast" where some kernel answered, else "reference"
    n_features_in_, n_features_key_ : int, features of a query and of a key
    operations_per_query_ : float, floating-point operations for one query, projections included

    Raises
    ------
    Diverged
        When the loss or a learned array becomes NaN or infinite; its `step` says when.

    Notes
    -----
    If there is nothing to learn, `fit` trains nothing and gives the warning `NothingToLearn`. The dtype is that of the data.
    Positions that ask for true lengths get those of the data's mask.

    References
    ----------
    Bahdanau, Cho, Bengio (2015), for the alignment as a latent variable learned from targets; Deng et al. (2018), equation 4,
    and Wu, Shapiro, Cotterell (2018), equation 5, for mixing predictions; Kingma and Ba (2015), for Adam.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> splits = attnlab.get("task", "lookup", n_keys=4, d=8, n_train=256).make(np.random.default_rng(0))
    >>> aligner = attnlab.AttentionAligner(attnlab.Mechanism("general"), steps=100, random_state=0).fit(splits.train)
    >>> aligner.score(splits.tests["test"]) > 0.5
    True
    """

    name = "aligner"
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )
    former: ClassVar[Mapping[str, Any]] = {"steps": 300}
    _refusal_of = refusal_of_losses

    def __init__(
        self,
        mechanism: Any = None,
        projection: Annotated[int, Gt(0)] | None = None,
        objective: Literal["values", "alignment"] = "values",
        mix: Literal["values", "predictions"] = "values",
        optimizer: Literal["adam", "lbfgs"] = "adam",
        learning_rate: Annotated[float, Gt(0)] = 0.03,
        steps: Steps = None,
        batch_size: Annotated[int, Gt(0)] = 32,
        early_stopping: bool = False,
        validation_fraction: Fraction = 0.1,
        validate_every: Every = 10,
        n_iter_no_change: Patience = 10,
        tol: Tolerance = 1e-5,
        random_state: Any = None,
        loss: Literal["squared", "fenchel_young"] = "squared",
        library: Literal["numpy", "torch", "jax"] = "numpy",
        device: str = "cpu",
        compile: Literal["auto", True, False] = "auto",
    ) -> None:
        self.mechanism = mechanism
        self.projection = projection
        self.objective = objective
        self.mix = mix
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.steps = steps
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validate_every = validate_every
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.loss = loss
        self.library = library
        self.device = device
        self.compile = compile

    # -- learning -----------------------------------------------------------------------------------------------
    @told("steps")
    @on_one_thread
    def fit(self, X: Any, y: Any = None, validation: AlignmentData | None = None) -> AttentionAligner:
        """Learn from examples.

        Parameters
        ----------
        X : AlignmentData with `target`, or with `gold` for ``objective="alignment"``
        y : array or None
            Targets to use instead of those of X.
        validation : AlignmentData or None
            Used every `validate_every` steps, for `validation_curve_` and early stopping.
        verbose : bool or None
            Whether to say how far it is, on stderr. None shows a bar on a terminal where it takes longer than 3 seconds.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            When a number to learn from is NaN or infinite. Places that the mask forbids may hold anything.
        """
        checked("model", type(self), self.get_params(deep=False))
        X = learnable(self, alignment_data(X, y), "fit")
        seeds = seed_sequence(self.random_state).spawn(4)
        streams = [np.random.default_rng(s) for s in seeds]
        if validation is not None:
            validation = learnable(self, alignment_data(validation), "fit's validation data")

        self.mechanism_ = self._attending_with(self.mechanism)
        start = cast(self._init(streams[0], X), X.Q.dtype)
        refuse_no_mixture(self, start, X)
        self.params_ = start
        self.n_parameters_ = count(start)
        self.operations_per_query_ = self._operations(X)
        self.n_features_in_, self.n_features_key_ = X.Q.shape[2], X.K.shape[2]
        stopping = Stopping.of(self)
        if validation is None and stopping.stops and self.n_parameters_:
            X, validation = held_out(X, stopping.held(len(X), "examples"), streams[3])
        with np.errstate(all="ignore"), warnings.catch_warnings():  # each step checks that its numbers are finite
            warnings.filterwarnings("ignore", "Output seems independent of input")  # uniform: gradients of zero
            self._learn(X, start, validation, streams, stopping)
        return self

    @property
    def learns(self) -> bool:
        """Whether `fit` may learn anything: whether it takes steps, and there is something that they can change."""
        if Stopping.of(self).most == 0:
            return False
        try:
            learned = self._attending_with(self.mechanism).init(np.random.default_rng(0), 4, 4, 4)
        except (AttnlabError, ValueError):  # of other numbers of features: `fit` will say
            return True
        return self.projection is not None or self.mix == "predictions" or bool(count(learned))

    def _learn(self, X: AlignmentData, start: Any, validation: Any, streams: list[Any], stopping: Stopping) -> None:
        bound, own = self.mechanism_.bind(), own_loss(self)
        learned = scored(self.mechanism_) if own and self.objective == "alignment" else bound
        other = library_of(self, X.Q.dtype)
        self.kernels_ = bound.kernels(X.Q.dtype if other is None else other.dtype, self.library)
        self.backend_ = answered(self.kernels_)
        with working(other):
            examples = self._examples(bound, start, X, other, rng=streams[2], training=True)
        looked_at = [] if validation is None else [self._examples(bound, start, part) for part in chunks(validation)]

        def gradient(params: Any, batch: Any) -> Any:
            here = examples if batch is None else examples.pick(batch)
            return loss_and_gradient(learned, params, here, self.objective == "alignment", own)

        def whole(flat: Any) -> Any:
            step = whole_step(bound, flat.tree, flat.slopes, examples, self.objective == "alignment", own)
            self.kernels_ |= {} if step is None else {"step": STEP}
            return step

        def look(params: Any) -> dict[str, float]:
            return self._look(bound, params, validation, looked_at)

        watch = None
        if validation is not None:
            watch = stopping.watch(look, None if self.optimizer == "adam" else 1)
        if not self.n_parameters_ or not stopping.most:
            why = "there is nothing to learn" if not self.n_parameters_ else "steps is 0"
            warnings.warn(
                f"{why}: the mechanism is used as it is"
                + ("; projection=16 gives it projections to learn" if not self.n_parameters_ else ""),
                NothingToLearn,
                stacklevel=5,
            )
            self.n_iter_, self.loss_curve_, self.converged_ = 0, [], True
            if watch is not None:
                watch.seen(0, start)
            self.validation_curve_ = watch.curve if watch else []
            return
        batches, rate = minibatches(len(X), min(self.batch_size, len(X)), streams[1]), self.learning_rate
        if other is not None:

            def loss(params: Any, batch: Any) -> Any:
                return self._loss(bound, params, examples.at(batch))

            fitted = other.minimise_adam(loss, start, batches, stopping.most, rate, watch, rng=streams[2])
            self.kernels_ |= {"step": other.step} if other.step else {}
        elif self.optimizer == "adam":
            fitted = minimise_adam(gradient, start, batches, stopping.most, rate, watch, by_hand=True, whole=whole)
        else:
            fitted = minimise_lbfgs(gradient, start, stopping.most, watch, by_hand=True)
        self.params_, self.n_iter_, self.converged_ = fitted.params, fitted.n_iter, stopping.converged(fitted)
        self.loss_curve_, self.validation_curve_ = fitted.loss_curve, fitted.validation_curve

    def _init(self, rng: np.random.Generator, X: AlignmentData) -> dict[str, Any]:
        d_query, d_key, d_value = X.Q.shape[2], X.K.shape[2], X.V.shape[2]
        projection = {}
        if self.projection is not None:
            width = int(self.projection)
            projection = {
                "Wq": rng.normal(size=(d_query, width)) / math.sqrt(d_query),
                "Wk": rng.normal(size=(d_key, width)) / math.sqrt(d_key),
            }
            d_query = d_key = width
        readout = {"R": np.zeros((d_value, d_value))} if self.mix == "predictions" else {}
        refuse_positions(self.mechanism_, X.n_keys, d_value)
        learned = self.mechanism_.init(rng, d_query, d_key, d_value)
        return {"mechanism": learned, "projection": projection, "readout": readout}

    def _operations(self, X: AlignmentData) -> float:
        d_query, d_key, d_value = X.Q.shape[2], X.K.shape[2], X.V.shape[2]
        projecting = 0.0
        if self.projection is not None:
            width = int(self.projection)
            projecting = 2.0 * width * (d_query + d_key * X.n_keys / max(1, X.n_queries))
            d_query = d_key = width
        operations = getattr(self.mechanism_, "operations", None)
        inside = operations(X.n_keys, d_query, d_key, d_value) if operations else float("nan")
        return projecting + float(inside)

    # -- the mechanism on examples --------------------------------------------------------------------------------
    def _placed(self, params: Any, X: Any) -> tuple[Any, Any]:
        """Queries and keys as the mechanism compares them."""
        own = params["projection"]
        mapped = (lambda X, W: dense(X, W, 0)) if isinstance(X.Q, np.ndarray) else operator.matmul
        return (mapped(X.Q, own["Wq"]), mapped(X.K, own["Wk"])) if own else (X.Q, X.K)

    def _values(self, params: Any, X: Any) -> Any:
        """What the weights mix: the values, or their predictions."""
        if not params["readout"]:
            return X.V
        xp = namespace(X.V)
        return xp.softmax(xp.matmul(X.V, params["readout"]["R"]), axis=-1)

    def _examples(self, bound: Any, params: Any, X: AlignmentData, other: Any = None, **given: Any) -> Examples:
        """Examples in the form that training uses, with all that does not change from step to step."""
        there = np.asarray if other is None else other.tensor
        Q, K = X.Q, X.K
        if own := params["projection"]:  # only the shapes of the projected arrays matter here
            Q, K = (np.broadcast_to(A[..., :1], (*A.shape[:-1], own["Wq"].shape[1])) for A in (Q, K))
        context = bound.context(there(Q), there(K), there(X.V), X.mask, lengths=true_lengths(X), **given)
        learned_from = rows_to_one(X.gold, X.Q.dtype) if self.objective == "alignment" else vectors(X)
        alive = there(X.alive[..., None].astype(X.Q.dtype))
        return Examples(there(X.Q), there(X.K), there(X.V), there(learned_from), alive, context)

    def _loss(self, bound: Any, params: Any, X: Examples) -> Any:
        Q, K = self._placed(params, X)
        n = max(1.0, float(X.alive.sum())) if isinstance(X.alive, np.ndarray) else _at_least_one(X.alive)
        if own := own_loss(self):
            learned = scored(self.mechanism_) if self.objective == "alignment" else bound
            return loss_and_gradient(learned, params, X, self.objective == "alignment", own, False)[0]
        if self.objective == "alignment":
            away = bound.weights(params["mechanism"], Q, K, X.context) - X.target
            return _sum(away * away * X.alive) / n
        Y = bound.attend(params["mechanism"], Q, K, self._values(params, X), X.context)
        if self.mix == "predictions":
            return -_sum(namespace(Y).log(_sum(Y * X.target, axis=-1) + LEAST) * X.alive[..., 0]) / n
        away = Y - X.target
        return _sum(away * away * X.alive) / (n * X.target.shape[-1])

    def _look(self, bound: Any, params: Any, X: AlignmentData | None, parts: list[Examples]) -> dict[str, float]:
        if X is None:
            return {}
        alive = [max(1.0, float(p.alive.sum())) for p in parts]
        seen = {"loss": float(np.average([float(self._loss(bound, params, p)) for p in parts], weights=alive))}
        if X.gold is not None:
            W = [bound.weights(params["mechanism"], *self._placed(params, p), p.context) for p in parts]
            seen["alignment_accuracy"] = top_gold(np.concatenate(W), X)
        return seen

    def _align(self, params: Any, X: AlignmentData, heads: bool = False) -> Any:
        rows = []
        for part in chunks(X):
            Q, K = self._placed(params, part)
            asked = {"mask": part.mask, "lengths": true_lengths(part), **({"heads": True} if heads else {})}
            W = weighed(self.mechanism_, params["mechanism"], Q, K, **asked)
            n, q, k = part.allowed.shape
            if heads and W.ndim < 4:  # one head
                W = W[..., None, :, :]
            rows.append(np.broadcast_to(W, (n, W.shape[-3], q, k) if heads else (n, q, k)))
        return np.concatenate(rows)

    # -- using it -------------------------------------------------------------------------------------------------
    def align(self, X: Any, heads: bool = False) -> Any:
        """The weights, (n, q, k), of each query over the keys of its example; with heads=True of each head, (n, h, q, k)."""
        check_is_fitted(self, "params_")
        with np.errstate(all="ignore"):
            return self._align(self.params_, self._fitting(X), heads)

    def predict(self, X: Any) -> Any:
        """The contexts, (n, q, v); for class targets scores of the classes, or with mix="predictions" probabilities."""
        check_is_fitted(self, "params_")
        X = self._fitting(X)
        rows = []
        with np.errstate(all="ignore"):
            for part in chunks(X):
                Q, K = self._placed(self.params_, part)
                V = self._values(self.params_, part)
                learned, lengths = self.params_["mechanism"], true_lengths(part)
                rows.append(attended(self.mechanism_, learned, Q, K, V, mask=part.mask, lengths=lengths))
        return np.concatenate(rows)

    def predict_and_align(self, X: Any) -> tuple[Any, Any]:
        """What `predict` and `align` give, the contexts and the weights, with the weights computed once where that can be."""
        check_is_fitted(self, "params_")
        own = all(getattr(type(self), verb) is getattr(AttentionAligner, verb) for verb in ("predict", "align"))
        return predicted_and_aligned(self, self._fitting(X)) if own else (self.predict(X), self.align(X))

    def posterior(self, X: Any) -> Any:
        """With ``mix="predictions"``: the alignment given the class, w_ij p(y_i | v_j) over its sum, (n, q, k)."""
        check_is_fitted(self, "params_")
        if self.mix != "predictions":
            raise SettingError(f'posterior needs mix="predictions"; got mix="{self.mix}"')
        W = self.align(X)
        X = needed(self, alignment_data(X), "posterior")
        said = np.take_along_axis(self._values(self.params_, X), X.target[:, None, :], axis=-1)  # (n, k, q)
        joint = W * np.swapaxes(said, 1, 2)
        total = joint.sum(axis=-1, keepdims=True)
        return joint / np.where(total > 0, total, 1)

    def score(self, X: Any, y: Any = None) -> float:
        """How well it does, up is better: alignment accuracy if it learned from alignments, else accuracy for classes, else
        1 - (mean squared error) / (variance of the targets)."""
        check_is_fitted(self, "params_")
        X = needed(self, alignment_data(X, y), "score")
        alive = X.alive
        if self.objective == "alignment":
            return top_gold(self.align(X), X)
        Y = self.predict(X)
        if X.is_classification:
            return float((Y.argmax(axis=-1) == X.target)[alive].mean())
        target = np.asarray(X.target)[alive]
        spread = float(((target - target.mean(axis=0)) ** 2).mean())
        error = float(((Y[alive] - target) ** 2).mean())
        return 1 - error / spread if spread > 0 else (1.0 if error == 0 else 0.0)

    def _fitting(self, X: Any) -> AlignmentData:
        X = alignment_data(X)
        sizes = ("queries", X.Q.shape[2], self.n_features_in_), ("keys", X.K.shape[2], self.n_features_key_)
        for name, size, fitted in sizes:
            if size != fitted:
                raise ShapeError(f"axis 'd' disagrees: fitted on {name} with {fitted} features, got {size}")
        return X


# --------------------------------------------------------------------------------------------------------------------
def _sum(x: Any, axis: Any = None) -> Any:
    return namespace(x).sum(x, axis=axis)


def _at_least_one(alive: Any) -> Any:
    return namespace(alive).clip(_sum(alive), min=1.0)
