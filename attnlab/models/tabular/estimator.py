"""Attention on tables: the training rows are the keys, their targets are the values, and a new row is the query."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from attnlab.interfaces import Source
from attnlab.models.tabular.learning import Memory
from attnlab.models.tabular.rows import AttentionOverRows

__all__ = ["AttentionClassifier", "AttentionRegressor"]


class AttentionRegressor(RegressorMixin, AttentionOverRows):
    """Regression by attention: a prediction is the weighted mean of the targets of similar training rows.

    y(x) = sum_j w_j(x) y_j, with w(x) = normaliser(similarity(x, x_j)). With the defaults nothing is learned; the model is then
    Nadaraya and Watson's kernel regression with a Gaussian kernel. With a `projection`, or a similarity that has arrays to
    learn, `fit` learns the metric from the leave-one-out squared error, as MLKR does. A prediction costs about 2 d n
    operations. Learning costs steps x batch_size predictions with their gradients.

    Parameters
    ----------
    similarity, normaliser, aggregator : name, {name: {setting: value}}, or object
        The parts of the attention. Names such as `similarity__sigma` change their settings.
    n_neighbors : float > 0 or None, rows
        How many others a training row attends to, effectively: the perplexity of its weights, at least 1 and at most a
        quarter of the rows. The inputs are divided by the bandwidth that gives this number. A larger number makes predictions
        smoother. None leaves the inputs as they are, so that the similarity's own settings are the bandwidth.
    projection : None, "scale", "diagonal" or int > 0
        What is learned of the metric: nothing, one bandwidth, a weight for each feature, or a linear map to that many
        dimensions (at most d). The map starts from the directions that the targets explain best, by discriminant analysis or
        least squares. There are fewer of them than classes, and at most as many as outputs. If the map needs more, it starts
        from the principal directions.
    alpha : float >= 0, rows
        How strongly the projection is held to its start. If the projection is as far from its start as the start is from
        zero, the cost equals that of `alpha` rows predicted no better than by the mean. The fewer rows there are, the more
        it matters. It does not act on "scale".
    standardise : bool
        Subtract each feature's mean and divide by its standard deviation. Values far beyond all others count in neither.
    learning_rate : float > 0, dimensionless
        Adam's.
    batch_size : int > 0, rows
    steps, early_stopping, validation_fraction, validate_every, n_iter_no_change, tol
        When `fit` ends; `attnlab.models.stopping.Stopping` explains these settings for all models. Without `steps`, `fit`
        ends when validation no longer improves. `tol` is in units of the variance of the targets. The metric is learned
        without the rows held out. The start of a linear map has seen them, so its first validation loss is too low, and
        learning must beat it. After learning these rows join the memory. At least two rows are not held out.
    backend : "fast" or "reference"
        "fast" uses a faster twin of each part that has one (`neg_l2` by matrix products); "reference" the plain definitions.
    random_state : int, numpy.random.Generator or RandomState, or None
        The random numbers of learning; prediction uses none.

    Attributes
    ----------
    bandwidth_ : float, in standard deviations (of the unit of X without `standardise`)
    n_neighbors_ : float, how many others a training row attends to at this bandwidth, effectively, before anything is
        learned. It equals `n_neighbors` where that is possible, and is NaN without `n_neighbors`.
    offset_, unit_ : arrays (d,): rows are compared as (X - offset_) / unit_; the bandwidth is in unit_
    centre_ : array (v,), the mean of the values
    params_ : dict, the learned arrays; "projection" has `log_scale` or `W`
    n_parameters_, n_iter_ : int, numbers learned and steps taken
    converged_ : bool, whether the loss no longer fell when `fit` ended
    loss_curve_, validation_curve_ : the leave-one-out loss of each step (with the term of `alpha`), and of each look at the
        rows held out
    backend_ : "fast" or "reference", the one that was used
    training_labels_, training_target_ : arrays (n,), index labels and targets of the rows in memory
    n_features_in_, feature_names_in_ : as in scikit-learn

    Raises
    ------
    Unsupported
        For parts that make a prediction depend on the other rows of X (coupled rows, state).

    Warns
    -----
    UserWarning
        When `n_neighbors` is not the default and is more than the number of rows.
    Diverged
        When the loss or a learned array becomes NaN or infinite; its `step` says when.

    Notes
    -----
    Sample weights multiply the attention weights, which are then scaled to their former sum. Under softmax that adds
    log-weights to the scores. Sample weights count rows, in `n_neighbors` and `alpha` too. If they are less than 1 on average,
    they are shares, and their unit does not matter. If nothing is learned and the normaliser treats keys alike (softmax,
    hardmax), a weight of 2 is the same as having the row twice. If something is learned, it is not the same: a row is left out
    with all its weight, while each of two equal rows sees the other, and minibatches are drawn from rows. If a row of weights
    sums to less than 1 (`softmax_n`, `sigmoid`), the rest goes to the mean of the targets. If it sums to more, it is scaled to 1.

    Predictions are computed in blocks of rows, so memory does not grow with the product of training and new rows. A learning
    step attends to at most 4096 training rows, which are drawn anew for each step.

    Equal rows do not count as others. If a row has more nearest others than `n_neighbors`, because they are repeated or equally
    near, it attends to them alone. If there are fewer others in all, it attends to all of them. If there is only one other, it
    hardly attends to it. A value is far beyond all others if it is further from the median than 8 times the distance within
    which three quarters of the values lie; values equal to the median do not count.

    A constant feature is not scaled, nor is one whose differences are smaller than rounding. Output containers (`set_output`)
    concern transformers; `explain` gives a DataFrame.

    See Also
    --------
    sklearn.neighbors.KNeighborsRegressor, sklearn.neighbors.NeighborhoodComponentsAnalysis

    References
    ----------
    Nadaraya (1964), On Estimating Regression; Watson (1964), Smooth Regression Analysis; Weinberger and Tesauro (2007),
    Metric Learning for Kernel Regression; Hinton and Roweis (2002), for the perplexity as an effective number of
    neighbours; Ledoit and Wolf (2004), for the shrinkage of the covariance that measures the directions.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = attnlab.AttentionRegressor({"neg_l2": {"sigma": 0.5}}, n_neighbors=None, standardise=False)
    >>> model.fit(X, [0.0, 1.0, 4.0]).predict([[1.0]]).round(3)
    array([1.213])
    >>> model.explain([[1.0]], top=2).round(3)
       row  rank  training_row  weight  target
    0    0     1             1   0.787     1.0
    1    0     2             0   0.107     0.0
    """

    __metadata_request__predict = {"return_std": UNUSED}  # noqa: RUF012 - scikit-learn's form; it is nothing to route
    source = Source("On Estimating Regression", "Nadaraya", 1964, "Theory of Probability and Its Applications")

    def _validated(self, X: Any, y: Any) -> tuple[Any, Any]:
        return validate_data(self, X, y, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True)

    def _values(self, target: Any) -> Any:
        self._single_output = target.ndim == 1
        return np.asarray(target, dtype=np.float64).reshape(len(target), -1)

    def _spread(self, memory: Memory) -> Any:
        variance = np.average(memory.V**2, axis=0, weights=memory.w)
        return np.sqrt(np.where(variance > 0, variance, 1)).astype(memory.V.dtype)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The targets of new rows, (q,), or (q, v) if `fit` got several outputs.

        Parameters
        ----------
        X : array or DataFrame (q, d)
        return_std : bool
            Whether to return the standard deviation of the targets beside them, in the same shape and unit: how far the
            targets of the training rows are spread, as the weights of a row count them. What weights leave of one counts as
            the mean of the targets. It is the spread of single targets and not the error of their mean.

        Returns
        -------
        Y, or (Y, std)
        """
        Y = self._contexts(X)
        if not return_std:
            return Y[:, 0] if self._single_output else Y
        std = self._deviations(X)
        return (Y[:, 0], std[:, 0]) if self._single_output else (Y, std)


class AttentionClassifier(ClassifierMixin, AttentionOverRows):
    """Classification by attention: the weights of the training rows of a class add up to its probability.

    p(c | x) = sum_j w_j(x) [y_j = c], with w(x) = normaliser(similarity(x, x_j)). With the defaults nothing is learned.
    With a `projection`, or a similarity that has arrays to learn, `fit` learns the metric from the leave-one-out squared
    error of the probabilities (Brier's score), as neighbourhood components analysis does from their expectation.

    Parameters, attributes, errors and notes are those of `AttentionRegressor`, and:

    Attributes
    ----------
    classes_ : sorted array, or a list of sorted arrays if `fit` got several outputs

    Notes
    -----
    If a row of weights sums to less than 1, the rest goes to the frequencies of the classes. The first of equally probable
    classes is predicted.

    See Also
    --------
    sklearn.neighbors.KNeighborsClassifier, sklearn.neighbors.NeighborhoodComponentsAnalysis

    References
    ----------
    Goldberger, Roweis, Hinton, Salakhutdinov (2004), Neighbourhood Components Analysis; Vinyals et al. (2016), Matching
    Networks for One Shot Learning, equation 1.

    Examples
    --------
    >>> import attnlab
    >>> model = attnlab.AttentionClassifier(n_neighbors=1).fit([[0.0], [1.0], [5.0], [6.0]], ["a", "a", "b", "b"])
    >>> model.predict([[0.7], [5.2]])
    array(['a', 'b'], dtype='<U1')
    """

    source = Source("Neighbourhood Components Analysis", "Goldberger, Roweis, Hinton, Salakhutdinov", 2004, "NeurIPS")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _validated(self, X: Any, y: Any) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], multi_output=True)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True) if y.ndim == 1 or y.shape[1] == 1 else y

    def _values(self, target: Any) -> Any:
        self._single_output = target.ndim == 1
        outputs = [target] if self._single_output else list(target.T)
        found = [np.unique(one, return_inverse=True) for one in outputs]
        self._classes = [classes for classes, _ in found]
        self.classes_ = self._classes[0] if self._single_output else self._classes
        return np.concatenate([np.eye(len(classes))[codes.reshape(-1)] for classes, codes in found], axis=1)

    def _spread(self, memory: Memory) -> Any:
        variance = float(np.average(memory.V**2, axis=0, weights=memory.w).mean())
        return np.full(memory.V.shape[1], variance**0.5 if variance > 0 else 1.0, dtype=memory.V.dtype)

    def predict_proba(self, X: Any) -> Any:
        """The probabilities, (q, classes) in the order of `classes_`; a list of such arrays for several outputs."""
        Y = self._contexts(X).clip(min=0)
        ends = np.cumsum([len(classes) for classes in self._classes])[:-1]
        probabilities = [P / P.sum(axis=1, keepdims=True) for P in np.split(Y, ends, axis=1)]
        return probabilities[0] if self._single_output else probabilities

    def predict(self, X: Any) -> Any:
        """The most probable class of each row, (q,), or (q, v) if `fit` got several outputs."""
        P = self.predict_proba(X)
        if self._single_output:
            return self.classes_[P.argmax(axis=1)]
        best = [classes[p.argmax(axis=1)] for classes, p in zip(self._classes, P, strict=True)]
        return np.stack(best, axis=1)
