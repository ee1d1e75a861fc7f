"""What the estimators on tables share: settings by name, stored rows, predictions in blocks, and explanations."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from attnlab.errors import AttnlabError, SettingError, Unsupported
from attnlab.kernels.similarities import fast_similarity
from attnlab.mechanisms.bound import BoundMechanism
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.models.stopping import Every, Fraction, Patience, Steps, Stopping, Tolerance
from attnlab.models.tabular.learning import Memory, learn, project, start_projection
from attnlab.models.tabular.width import bandwidth, middle_and_unit
from attnlab.models.training import cast, count, on_one_thread
from attnlab.progress import told
from attnlab.registry import build
from attnlab.settings import checked

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AttentionOverRows"]

PARTS = ("similarity", "normaliser", "aggregator")


class AttentionOverRows(BaseEstimator):
    """What both estimators share. A subclass defines the values (`_values`) and what it computes from a context."""

    def __init__(
        self,
        similarity: Any = "neg_l2",
        normaliser: Any = "softmax",
        aggregator: Any = "weighted_sum",
        n_neighbors: Annotated[float, Gt(0)] | None = 15.0,
        projection: Literal["scale", "diagonal"] | Annotated[int, Gt(0)] | None = None,
        alpha: Annotated[float, Ge(0)] = 0.0,
        standardise: bool = True,
        learning_rate: Annotated[float, Gt(0)] = 0.03,
        steps: Steps = None,
        batch_size: Annotated[int, Gt(0)] = 128,
        early_stopping: bool = True,
        validation_fraction: Fraction = 0.2,
        validate_every: Every = 10,
        n_iter_no_change: Patience = 10,
        tol: Tolerance = 1e-4,
        backend: Literal["fast", "reference"] = "fast",
        random_state: Any = None,
    ) -> None:
        self.similarity = similarity
        self.normaliser = normaliser
        self.aggregator = aggregator
        self.n_neighbors = n_neighbors
        self.projection = projection
        self.alpha = alpha
        self.standardise = standardise
        self.learning_rate = learning_rate
        self.steps = steps
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validate_every = validate_every
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.backend = backend
        self.random_state = random_state

    # -- settings -------------------------------------------------------------------------------------------------
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings; with `deep`, also those of each part, as `similarity__sigma`, even if the part is a name."""
        params: dict[str, Any] = super().get_params(deep=False)
        for role in PARTS if deep else ():
            with contextlib.suppress(AttnlabError):  # an unknown name has no settings to list; fit refuses it
                part = build(role, params[role])
                params |= {f"{role}__{key}": value for key, value in part.get_params(deep=True).items()}
        return params

    def set_params(self, **params: Any) -> Any:
        """Change settings; `similarity="neg_l2", similarity__sigma=2.0` sets a name and its settings together."""
        inner = {key: value for key, value in params.items() if key.split("__")[0] in PARTS}
        mechanism = self._mechanism().set_params(**inner)
        super().set_params(**{key: value for key, value in params.items() if key not in inner})
        for role in {key.split("__")[0] for key in inner}:
            setattr(self, role, getattr(mechanism, role))
        return self

    def _mechanism(self) -> Mechanism:
        return Mechanism(self.similarity, self.normaliser, self.aggregator)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # -- learning -------------------------------------------------------------------------------------------------
    @told("steps")
    @on_one_thread
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Keep the rows and their targets; learn if there is something to learn.

        Parameters
        ----------
        X : array or DataFrame (n, d) of real numbers
        y : array, Series or DataFrame (n,) or (n, v)
        sample_weight : array (n,) of numbers >= 0, or None
            How many times each row counts. Rows of weight 0 are left out. Weights that are less than 1 on average are
            shares, and are scaled to an average of 1. See the Notes of the class.
        verbose : bool or None
            Whether to say how far it is, on stderr. None shows a bar on a terminal where it takes longer than 3 seconds.

        Returns
        -------
        self
        """
        checked("model", type(self), self.get_params(deep=False))
        labels, self._outputs = _labels(X), list(getattr(y, "columns", ()))
        X, target = self._validated(X, y)
        V = self._values(target).astype(X.dtype, copy=False)
        labelled = labels is not None
        labels = labels if labelled else np.arange(len(X))
        w = None
        if sample_weight is not None:
            w = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
            kept = w > 0
            if not kept.any():
                raise ValueError("sample_weight is zero for every row: there is nothing to attend to")
            X, V, target, labels, w = X[kept], V[kept], target[kept], labels[kept], w[kept]
            w = w / min(1, w.mean())

        rng = _generator(self.random_state)
        mechanism = self._mechanism()
        parts = mechanism.parts()
        _refuse(mechanism)
        self.backend_ = "reference"
        if self.backend == "fast" and (twin := fast_similarity(parts.similarity)) is not None:
            self.backend_, parts = "fast", parts._replace(similarity=twin)

        self.offset_, self.unit_ = np.zeros(X.shape[1], dtype=X.dtype), np.ones(X.shape[1], dtype=X.dtype)
        if self.standardise:
            middle, spread = middle_and_unit(X, w)
            self.offset_ = middle.astype(X.dtype)
            self.unit_ = np.where(spread > 10 * np.finfo(X.dtype).eps * abs(self.offset_), spread, 1).astype(X.dtype)
        self.centre_ = np.average(V, axis=0, weights=w).astype(X.dtype)
        bound = BoundMechanism(parts)
        memory = Memory(bound, self._placed(X), V - self.centre_, w)

        learned = start_projection(self.projection, memory)
        width = learned["W"].shape[1] if "W" in learned else X.shape[1]
        params = {"mechanism": mechanism.init(rng, width, width, V.shape[1]), "projection": learned}
        params = cast(params, X.dtype)
        self.bandwidth_, self.n_neighbors_ = 1.0, np.nan
        if self.n_neighbors is not None:
            self._enough(self.n_neighbors, len(X) if w is None else float(w.sum()))
            self.bandwidth_, self.n_neighbors_ = bandwidth(memory, params, self.n_neighbors)
            self.unit_ = (self.unit_ * self.bandwidth_).astype(X.dtype)
            memory = Memory(bound, self._placed(X), memory.V, w)
        self.n_parameters_, self.n_iter_, self.converged_ = count(params), 0, True
        self.loss_curve_: list[float] = []
        self.validation_curve_: list[dict[str, float]] = []
        if self.n_parameters_ and self.steps != 0:
            params = self._learned(memory, params, rng)

        self.params_ = params
        self._rows, self._labelled = memory.X, labelled
        self._memory = Memory(bound, project(params["projection"], memory.X), memory.V, w)
        self.training_labels_, self.training_target_ = labels, target
        return self

    def _enough(self, n_neighbors: float, rows: float) -> None:
        by_default = inspect.signature(type(self)).parameters["n_neighbors"].default
        if n_neighbors > rows and n_neighbors != by_default:  # which nobody asked for
            warnings.warn(
                f"n_neighbors={n_neighbors:g} is more than the {rows:g} rows of the training data: a row attends to a quarter "
                f"of them, effectively, {max(1.0, rows / 4):g}; lower n_neighbors",
                UserWarning,
                stacklevel=5,
            )

    def _learned(self, memory: Memory, params: Any, rng: np.random.Generator) -> Any:
        if len(memory.X) < 2:
            raise ValueError(
                "a leave-one-out loss needs at least 2 rows; got 1 sample (of positive weight): give more rows, "
                "or projection=None and a similarity with nothing to learn"
            )
        settings = {name: getattr(self, name) for name in ("learning_rate", "batch_size", "alpha")}
        stopping = Stopping.of(self)
        fitted = learn(memory, params, self._spread(memory), rng, stopping, **settings)
        self.n_iter_, self.loss_curve_, self.converged_ = fitted.n_iter, fitted.loss_curve, stopping.converged(fitted)
        self.validation_curve_ = fitted.validation_curve
        return fitted.params

    def _placed(self, X: Any) -> Any:
        return (X - self.offset_) / self.unit_

    # -- using it -------------------------------------------------------------------------------------------------
    def _asked(self, X: Any) -> tuple[Any, dict[str, Any]]:
        """New rows as queries, and the learned arrays of the parts."""
        check_is_fitted(self, "params_")
        X = validate_data(self, X, reset=False, dtype=self.offset_.dtype)
        inner = {role: learned for role, learned in self.params_.items() if role != "projection"}
        return project(self.params_["projection"], self._placed(X)), inner

    def _contexts(self, X: Any) -> Any:
        """Y (q, v): the weighted sums of the values, a block of rows at a time."""
        Q, inner = self._asked(X)
        memory = self._memory
        blocks = memory.blocks(len(Q), len(memory.X), Q.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # the check below finds what is not finite
            rows = [memory.answer(inner, Q[here], memory.X, memory.V, memory.w) for here in blocks]
        Y = np.concatenate(rows) + self.centre_
        if (lost := np.flatnonzero(~np.isfinite(Y).all(axis=1))).size:
            i = int(lost[0])
            raise ValueError(
                f"row {i} of X has no prediction: its similarity to the training rows is not finite. It is as far as "
                f"{abs(Q[i]).max():.3g} bandwidths from their mean in one direction: leave such rows out"
            )
        return Y

    def explain(self, X: Any, top: int | None = 5, *, exclude_self: bool = False) -> pd.DataFrame:
        """The training rows that made each prediction, with their weights.

        Parameters
        ----------
        X : array or DataFrame (q, d)
        top : int > 0 or None
            How many training rows to list for each row of X, heaviest first; None lists all that have any weight.
        exclude_self : bool
            Whether a row of X does not attend to itself among the training rows, as in the leave-one-out loss: to training
            rows with the same values and, where both are DataFrames, the same index label. Its weights then explain what
            would be predicted without it.

        Returns
        -------
        DataFrame
            One line for each row of X and training row. The columns are `row` and `training_row` (index labels of a
            DataFrame, else positions in X and in the training data), `rank` from 1, `weight`, and `target`. Several outputs
            have one column `target_<output>` each, with the output's name or number. With ``top=None``, the weighted sum
            aggregator and a normaliser whose rows sum to one, the lines of a row give its prediction: the sum of weight times
            target, or the sum of weight over the lines of a class for its probability.
        """
        import pandas as pd

        check_is_fitted(self, "params_")
        if top is not None and (isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1):
            raise SettingError(f"explain: top must be an int > 0 or None; got {top!r}")
        Q, inner = self._asked(X)
        memory = self._memory
        mask = self._others(X) if exclude_self else None
        rows, keys, ranks, weights = [], [], [], []
        for here in memory.blocks(len(Q), len(memory.X), Q.shape[1]):
            W, _ = memory.weights(inner, Q[here], memory.X, memory.w, None if mask is None else mask(here))
            order = np.argsort(-W, axis=1, kind="stable")[:, :top]
            heaviest = np.take_along_axis(W, order, axis=1)
            at, rank = np.nonzero(heaviest)
            rows.append(at + here.start)
            ranks.append(rank)
            keys.append(order[at, rank])
            weights.append(heaviest[at, rank])
        key = np.concatenate(keys)
        labels = _labels(X)
        frame = pd.DataFrame(
            {
                "row": np.concatenate(rows) if labels is None else labels[np.concatenate(rows)],
                "rank": np.concatenate(ranks) + 1,
                "training_row": self.training_labels_[key],
                "weight": np.concatenate(weights),
            }
        )
        target = self.training_target_
        if target.ndim == 1:
            frame["target"] = target[key]
        else:
            for i, output in enumerate(self._outputs or range(target.shape[1])):
                frame[f"target_{output}"] = target[key, i]
        return frame

    def _others(self, X: Any) -> Callable[[slice], Any]:
        """For some rows of X, which training rows (q, n) are others: not the row itself."""
        labels = _labels(X) if self._labelled else None
        placed = self._placed(validate_data(self, X, reset=False, dtype=self.offset_.dtype)) + 0.0  # -0 is 0
        n = len(self._rows)
        known: dict[Any, list[int]] = {}
        for i, row in enumerate(self._rows + 0.0):
            known.setdefault((row.tobytes(), None if labels is None else self.training_labels_[i]), []).append(i)

        def mask(here: slice) -> Any:
            others = np.ones((len(placed[here]), n), dtype=bool)
            for at, row in enumerate(placed[here]):
                label = None if labels is None else labels[here.start + at]
                others[at, known.get((row.tobytes(), label), [])] = False
            return others

        return mask

    def _deviations(self, X: Any) -> Any:
        """The standard deviation (q, v) of the targets as the weights of each row of X spread over them."""
        Q, inner = self._asked(X)
        memory = self._memory
        found = []
        for here in memory.blocks(len(Q), len(memory.X), Q.shape[1]):
            W, _ = memory.weights(inner, Q[here], memory.X, memory.w)
            mean, left = (
                W @ memory.V,
                1 - W.sum(axis=-1, keepdims=True),
            )  # what is left goes to the mean of all, which is 0
            away = [(W * (memory.V[:, j] - mean[:, j : j + 1]) ** 2).sum(axis=-1) for j in range(memory.V.shape[1])]
            found.append(np.sqrt(np.maximum(np.stack(away, axis=-1) + left * mean**2, 0.0)))
        return np.concatenate(found)


# --------------------------------------------------------------------------------------------------------------------
def _refuse(mechanism: Mechanism) -> None:
    parts = mechanism.parts()
    if parts.normaliser.couples_rows:
        raise Unsupported(
            f"the normaliser {parts.normaliser.name!r} couples rows of weights: a prediction would depend on the other rows "
            "asked about; choose one that does not"
        )
    if parts.aggregator.over_keys:
        raise Unsupported(
            f"the aggregator {parts.aggregator.name!r} points at training rows and gives no target: choose another aggregator"
        )
    if mechanism.is_stateful:
        raise Unsupported(
            f"{type(parts.similarity).__name__} or another part remembers the queries before: rows of a table have no order"
        )


def _labels(X: Any) -> Any:
    """The index labels of a DataFrame; None for other inputs."""
    return np.asarray(X.index) if hasattr(X, "index") and hasattr(X, "columns") else None


def _generator(random_state: Any) -> np.random.Generator:
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
