"""AttentionStack: a stack of one to four self-attention layers, learned from sequences of tokens, or of numbers."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from attnlab.data import AlignmentData
from attnlab.errors import NothingToLearn, SettingError, ShapeError, Unsupported
from attnlab.interfaces import MechanismComponent, Model, Source
from attnlab.mechanisms.heads import with_features
from attnlab.models.batches import held_out
from attnlab.models.estimating import Estimator, check_is_fitted
from attnlab.models.mechanism_setting import Attending, answered
from attnlab.models.on_library import library_for
from attnlab.models.stack.gradient import loss_and_gradient
from attnlab.models.stack.judging import agreement, score_of, table_by_head, table_by_layer, told_of, what_layers_do
from attnlab.models.stack.network import Network
from attnlab.models.stack.sequences import Reader, in_parts, same_kind, sequences_of, sizes_of
from attnlab.models.stopping import Every, Fraction, Patience, Steps, Stopping, Tolerance
from attnlab.models.training import cast, count, minibatches, minimise_adam, on_one_thread, seed_sequence
from attnlab.progress import told
from attnlab.registry import Own
from attnlab.settings import checked

__all__ = ["AttentionStack"]


class AttentionStack(Attending, Model, Estimator):
    """A stack of self-attention layers over sequences of tokens, each several heads of one mechanism.

    With x_j the embedding of the token at place j, each layer adds what its heads find, and what an MLP makes of it:

        x = x + concat_h(A(n Wq_h, n Wk_h, n Wv_h)) Wo,   n = conv(norm(x));   x = x + gelu(norm(x) W1 + b1) W2 + b2

    and norm(x) U scores the classes. `fit` minimises the cross entropy of the labels, in nats a place that counts, by Adam. Where
    places hold numbers too, `inputs`, x starts at the embedding + inputs F. Where targets are vectors, norm(x) U is what is said, and
    `fit` minimises its squared error. Cost: steps x batch_size x L times layers x (8 + 4 mlp) d^2 operations and those of the mechanism, three times.

    Parameters
    ----------
    mechanism : Mechanism, mapping of parts, or None
        What each head of each layer is; None is scaled dot product, softmax, weighted sum with the position `rope`.
    layers : int, 1 to 4
    by_layer : list of a mechanism for each layer, or None
        Mechanisms in place of `mechanism`, the first layer's first.
    hidden_dim : int > 0, units
        Width d of x.
    heads : int > 0
        Heads of a layer, each d / heads wide. They share the arrays that the mechanism itself learns.
    norm : "rms", "layer" or "none"
        What x is divided by before a layer, an MLP or U reads it: its root mean square, or its standard deviation after its mean is
        taken off; with learned gains (and shifts). It is never applied to x itself.
    mlp : int >= 0
        Width of the MLPs by d; 0 has none.
    short_conv : int >= 0, places
        How many places before it each place mixes in before it is projected, n_j + sum_t c_t n_{j-t}; the learned c starts at 0.
    causal : bool
        Whether a place may attend only to itself and the places before it.
    tied : bool
        Whether U is the table of embeddings, transposed and divided by sqrt(d). Then classes are tokens.
    batch_size : int > 0, sequences
    learning_rate : float > 0, dimensionless
        Adam's.
    warm_up : int >= 0, steps
        In so many steps at first the learning rate grows evenly from 0 to its value.
    clip_norm : float > 0 or None, in the unit of the gradient
        The greatest length of the gradient.
    steps, early_stopping, validation_fraction, validate_every, n_iter_no_change, tol
        When `fit` ends; `attnlab.models.stopping.Stopping` explains these settings for all models. Without `steps`, `fit`
        ends when validation no longer improves. `tol` is in nats a place.
    dtype : "float32", "float64" or "bfloat16"
        With bfloat16, which needs PyTorch, a step of learning multiplies in bfloat16; what is learned is float32, as are predictions.
    library, device : "numpy", "torch" or "jax"; "cpu", "cuda", "cuda:1", ..
        What computes, and where: NumPy with a gradient by hand, or PyTorch or JAX with its own; NumPy computes on the cpu.
    compile : "auto", True or False
        Whether PyTorch or JAX compiles the steps of learning; auto: JAX does, and PyTorch on a GPU.
    random_state : int, numpy.random.Generator or RandomState, or None

    Attributes
    ----------
    mechanisms_ : list, the mechanism of each layer
    params_ : dict, the learned arrays, by "embedding", "layers" ("0", "1", ..), "norm", "readout" and "inputs"
    head_ : (layer, head), both from 0, or None
        The head whose weights `align` gives: the one that spends most weight on gold on the validation data, or without such data on
        the training data. None where there is no gold; `align` then gives the mean over the heads of the last layer.
    head_chosen_on_ : "validation", "training" or ""
    n_tokens_, n_classes_ : int, one more than the largest id and the largest label of the data that `fit` was given; of targets that
        are vectors n_classes_ is 0
    n_inputs_, n_outputs_ : int, the numbers that a place reads beside its token, and the classes or numbers that it says
    n_iter_ : int, steps taken
    converged_ : bool, whether the loss no longer fell when `fit` ended
    loss_curve_ : list of float, of each step: nats a place, or the mean squared error
    validation_curve_ : list of dict with step, loss, accuracy (of classes) and, where gold is known, the columns of `best_by_layer` for each layer:
        `gold_mass.0`, `gold_mass.1`, .., `induction_score.0`, ..
    n_parameters_ : int, numbers learned
    operations_per_query_ : float, floating-point operations of one place
    kernels_ : dict, what computed each verb of the mechanism of each layer
    backend_ : "fast" where some kernel answered, else "reference"

    Raises
    ------
    Diverged
        When the loss or a learned array becomes NaN or infinite; its `step` says when.
    Unsupported
        For AlignmentData without ids, and for a mechanism that points at keys.
    ShapeError
        For data with other inputs, or other targets, than those of `fit`.

    Notes
    -----
    A sequence is int ids from 0; a list may hold sequences of different lengths. Labels are classes from 0, and -1 where a place
    does not count. Without labels each place says the token at the next one. Of AlignmentData the places count that are alive. A
    token that `fit` has not seen is read as zeros. gelu is its approximation by tanh. There are no biases but in MLPs. E starts at N(0, 1),
    the other arrays at N(0, 1/rows), and Wo and W2 are divided by sqrt(2 layers) at the start.

    References
    ----------
    Vaswani et al. (2017); Radford et al. (2019), for norms before the layers; Zhang and Sennrich (2019), for `rms`.

    Examples
    --------
    >>> ids = [[1, 2, 3, 1, 2, 3, 1, 2], [4, 5, 4, 5, 4, 5], [2, 5, 1, 2, 5, 1]] * 8
    >>> stack = AttentionStack(hidden_dim=16, heads=2, steps=60, learning_rate=0.01, warm_up=10, random_state=0).fit(ids)
    >>> stack.generate([[4, 5, 4]], 3)
    [[4, 5, 4, 5, 4, 5]]
    >>> stack.align(ids[:1], layer=1, head=0).shape
    (1, 8, 8)
    """

    name = "stack"
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")
    preferred: ClassVar[Any] = {"position": Own("rope")}

    def __init__(
        self,
        mechanism: Any = None,
        layers: Annotated[int, Gt(0), Le(4)] = 2,
        by_layer: list[MechanismComponent] | None = None,
        hidden_dim: Annotated[int, Gt(0)] = 64,
        heads: Annotated[int, Gt(0)] = 4,
        norm: Literal["rms", "layer", "none"] = "rms",
        mlp: Annotated[int, Ge(0)] = 4,
        short_conv: Annotated[int, Ge(0)] = 0,
        causal: bool = True,
        tied: bool = False,
        batch_size: Annotated[int, Gt(0)] = 32,
        learning_rate: Annotated[float, Gt(0)] = 0.003,
        warm_up: Annotated[int, Ge(0)] = 100,
        clip_norm: Annotated[float, Gt(0)] | None = 1.0,
        steps: Steps = None,
        early_stopping: bool = False,
        validation_fraction: Fraction = 0.1,
        validate_every: Every = 50,
        n_iter_no_change: Patience = 10,
        tol: Tolerance = 1e-4,
        dtype: Literal["float32", "float64", "bfloat16"] = "float32",
        library: Literal["numpy", "torch", "jax"] = "numpy",
        device: str = "cpu",
        compile: Literal["auto", True, False] = "auto",
        random_state: Any = None,
    ) -> None:
        self.mechanism = mechanism
        self.layers = layers
        self.by_layer = by_layer
        self.hidden_dim = hidden_dim
        self.heads = heads
        self.norm = norm
        self.mlp = mlp
        self.short_conv = short_conv
        self.causal = causal
        self.tied = tied
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warm_up = warm_up
        self.clip_norm = clip_norm
        self.steps = steps
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validate_every = validate_every
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.dtype = dtype
        self.library = library
        self.device = device
        self.compile = compile
        self.random_state = random_state

    # -- learning -----------------------------------------------------------------------------------------------
    @told("steps")
    @on_one_thread
    def fit(self, X: Any, y: Any = None, validation: Any = None) -> AttentionStack:
        """Learn from sequences.

        Parameters
        ----------
        X : AlignmentData with `ids` and targets; or int array (n, L), or list of sequences of ids
        y : labels like X, or None
            None is the target of AlignmentData, and of other sequences the token at the next place.
        validation : AlignmentData, (X, y), or None
            Used every `validate_every` steps, for `validation_curve_` and early stopping, and to choose `head_`.
        verbose : bool or None
            Whether to say how far it is, on stderr. None shows a bar on a terminal where it takes longer than 3 seconds.

        Returns
        -------
        self
        """
        settings = self.get_params(deep=False)
        if isinstance(self.by_layer, (list, tuple)):  # names and mappings of parts are mechanisms too
            settings["by_layer"] = [self._attending_with(one) for one in self.by_layer]
        checked("model", type(self), settings)
        streams = [np.random.default_rng(s) for s in seed_sequence(self.random_state).spawn(4)]
        X = sequences_of(X, y, self.causal, "fit")
        if validation is not None:
            given, labels = validation if isinstance(validation, tuple) else (validation, None)
            validation = sequences_of(given, labels, self.causal, "fit's validation data")
        self.mechanisms_ = self._mechanisms(settings["by_layer"])
        every = [X] if validation is None else [X, validation]
        self.n_tokens_, self.n_classes_, self.n_inputs_, self.n_outputs_ = sizes_of(every, self.tied)
        stopping = Stopping.of(self)
        if validation is None and stopping.stops and stopping.most:
            X, validation = held_out(X, stopping.held(len(X), "sequences"), streams[3])

        self._bind()
        start = self._network.init(streams[0], self.n_tokens_, self.n_outputs_, self.hidden_dim, self.n_inputs_)
        self.params_ = cast(start, self._kept_as)
        self.n_parameters_ = count(self.params_)
        self.operations_per_query_ = self._network.operations(
            X.n_queries, self.n_outputs_, self.hidden_dim, self.n_inputs_
        )
        with np.errstate(all="ignore"), warnings.catch_warnings():  # each step checks that its numbers are finite
            warnings.filterwarnings("ignore", "Output seems independent of input")
            with self._reader.working():
                self._learn(X, validation, streams, stopping)
            self.head_ = self._best_head(X if validation is None else validation)
        self.head_chosen_on_ = "" if self.head_ is None else "training" if validation is None else "validation"
        return self

    @property
    def _kept_as(self) -> str:
        return "float32" if self.dtype == "bfloat16" else self.dtype

    def _mechanisms(self, by_layer: list[Any] | None) -> list[Any]:
        if self.hidden_dim % self.heads:
            raise SettingError(f"stack: heads must divide hidden_dim = {self.hidden_dim}; got {self.heads}")
        if by_layer is None:
            by_layer = [self._attending_with(self.mechanism)] * self.layers
        if len(by_layer) != self.layers:
            raise SettingError(
                f"stack: by_layer has one mechanism for each of {self.layers} layers; got {len(by_layer)}"
            )
        return list(with_features("stack", by_layer))

    def _bind(self) -> None:
        made = {id(one): one.bind() for one in self.mechanisms_}
        bound = [made[id(one)] for one in self.mechanisms_]
        self._network = Network(bound, self.mechanisms_, self.heads, self.norm, self.mlp, self.short_conv, self.tied)
        library = library_for(self.library, self.device, self.dtype, self.compile)
        self._reader = Reader(bound, self.heads, self.hidden_dim, self.n_tokens_, self.causal, self._kept_as, library)
        dtype = self._kept_as if library is None else library.dtype
        several = self.by_layer is not None
        self.kernels_ = {
            f"{i}.{verb}" if several else verb: kernel
            for i, one in enumerate(bound if several else bound[:1])
            for verb, kernel in one.kernels(dtype, self.library).items()
        }
        self.backend_ = answered(self.kernels_)

    def _learn(
        self, X: AlignmentData, validation: AlignmentData | None, streams: list[Any], stopping: Stopping
    ) -> None:
        network, reader = self._network, self._reader
        places, labels = reader.read(X, rng=streams[2], training=True), reader.labels(X)

        def gradient(params: Any, rows: Any) -> Any:
            return loss_and_gradient(network, params, reader.pick(places, rows, labels))

        def loss(params: Any, rows: Any) -> Any:
            return network.loss(params, reader.pick(places, rows, labels))

        watch = None
        if validation is not None:
            watch = stopping.watch(lambda params: self._look(params, validation))
        if not stopping.most:
            warnings.warn("steps is 0: the model is used as it starts", NothingToLearn, stacklevel=5)
            self.n_iter_, self.loss_curve_, self.validation_curve_, self.converged_ = 0, [], [], True
            return
        batches = minibatches(len(X), min(self.batch_size, len(X)), streams[1])
        given = (self.params_, batches, stopping.most, self.learning_rate, watch, self.clip_norm)
        if reader.library is None:
            fitted = minimise_adam(gradient, *given, by_hand=True, warm_up=self.warm_up)
        else:
            fitted = reader.library.minimise_adam(loss, *given, warm_up=self.warm_up, rng=streams[2])
            self.kernels_ |= {"step": reader.library.step} if reader.library.step else {}
        self.params_, self.n_iter_, self.converged_ = fitted.params, fitted.n_iter, stopping.converged(fitted)
        self.loss_curve_, self.validation_curve_ = fitted.loss_curve, fitted.validation_curve

    def _look(self, params: Any, X: AlignmentData) -> dict[str, float]:
        parts = [(part, self._scores(params, part)) for part in in_parts(X, self.heads)]
        seen = told_of(parts)
        if X.gold is not None:
            for name, each in what_layers_do(self._weights(params, X), X).items():
                seen |= {f"{name}.{layer}": float(value) for layer, value in enumerate(each)}
        return seen

    def _scores(self, params: Any, X: AlignmentData) -> Any:
        """What is said, (n, L, c), scores of the classes or numbers."""
        with self._reader.computing(params) as here:
            states = self._network.states(here, self._reader.read(X))
            return self._reader.numpy(self._network.logits(here, states))

    def _agreement(self, params: Any, X: AlignmentData) -> Any:
        """Of each layer and head the share of weight on gold, (layers, h)."""
        found = self._weights(params, X)
        return np.stack([agreement(W, X) for W in found])

    def _best_head(self, X: AlignmentData) -> tuple[int, int] | None:
        if X.gold is None:
            return None
        found = self._agreement(self.params_, X)
        if np.isnan(found).any():
            return None
        layer, head = np.unravel_index(int(found.argmax()), found.shape)
        return int(layer), int(head)

    # -- using it -------------------------------------------------------------------------------------------------
    def _weights(self, params: Any, X: AlignmentData) -> list[Any]:
        """The weights of all heads, (n, h, L, L), by layer."""
        parts = []
        with self._reader.computing(params) as here:
            for part in in_parts(X, self.heads):
                found = self._network.weights(here, self._reader.read(part))
                parts.append([self._reader.numpy(W) for W in found])
        return [
            np.concatenate([np.broadcast_to(W, (W.shape[0], self.heads, *W.shape[-2:])) for W in (p[i] for p in parts)])
            for i in range(self.layers)
        ]

    def align(self, X: Any, layer: int | None = None, head: int | None = None) -> Any:
        """The weights of a head, (n, L, L), of each place over the places of its sequence.

        Parameters
        ----------
        X : AlignmentData with `ids`, int array (n, L), or list of sequences
        layer, head : int from 0, or None
            None is `head_`. With a layer and no head it is the mean over the heads of the layer.

        Notes
        -----
        Weights are 0 where the mask of AlignmentData forbids, as of places that do not count.
        """
        check_is_fitted(self, "params_")
        X = self._sequences(X, "align")
        if layer is None and head is not None:
            raise SettingError(f"align: give the layer of head {head} too, 0 to {self.layers - 1}")
        if layer is None and self.head_ is not None:
            layer, head = self.head_
        layer = self.layers - 1 if layer is None else layer
        for name, value, most in (("layer", layer, self.layers), ("head", head or 0, self.heads)):
            if not isinstance(value, (int, np.integer)) or not 0 <= value < most:
                raise SettingError(f"align: {name} must be 0 to {most - 1}; got {value!r}")
        with np.errstate(all="ignore"):
            W = self._weights(self.params_, X)[layer]
        W = W.mean(axis=1) if head is None else W[:, head]
        return np.where(X.allowed, W, np.zeros((), dtype=W.dtype))

    def by_layer_and_head(self, X: Any) -> Any:
        """The weights of all heads of all layers, (n, layers, h, L, L), whether a place counts or not."""
        check_is_fitted(self, "params_")
        with np.errstate(all="ignore"):
            return np.stack(self._weights(self.params_, self._sequences(X, "by_layer_and_head")), axis=1)

    def by_head(self, X: Any) -> Any:
        """What each head does, a row for each layer and head.

        Returns
        -------
        DataFrame with layer and head, from 0; gold_mass, its weight on gold (NaN without gold); induction_score, its weight on what
            followed the same token before; first_token_mass, its weight on the first token; and solution_0, solution_1, .., its
            weight on what each layer of the known solution attends to, where the data have `gold_by_layer`
        """
        check_is_fitted(self, "params_")
        X = self._sequences(X, "by_head")
        with np.errstate(all="ignore"):
            return table_by_head(self._weights(self.params_, X), X)

    def best_by_layer(self, X: Any) -> Any:
        """What each layer does, a row for each: the greatest of its heads in the columns of `by_head`, and of first_token_mass the mean."""
        check_is_fitted(self, "params_")
        X = self._sequences(X, "best_by_layer")
        with np.errstate(all="ignore"):
            return table_by_layer(self._weights(self.params_, X), X)

    def predict(self, X: Any) -> Any:
        """Scores of the classes at each place, (n, L, c), the greatest is the prediction; or the vectors said, (n, L, t)."""
        check_is_fitted(self, "params_")
        X = self._sequences(X, "predict")
        with np.errstate(all="ignore"):
            return np.concatenate([self._scores(self.params_, part) for part in in_parts(X, self.heads)])

    def score(self, X: Any, y: Any = None) -> float:
        """The share of places that count whose class is predicted, or 1 - (mean squared error) / (variance of the targets)."""
        check_is_fitted(self, "params_")
        X = sequences_of(X, y, self.causal, "score")
        return score_of(self.predict(X), X)

    def generate(self, X: Any, n_tokens: int = 10) -> list[list[int]]:
        """Continue sequences greedily, by the most likely token each time.

        Parameters
        ----------
        X : list of sequences of ids, none of them empty, or int array (n, L)
        n_tokens : int >= 0
            Tokens to add to each.

        Raises
        ------
        Unsupported
            When the stack reads or says numbers, its classes are more than the tokens that it knows, or it is not causal.
        """
        check_is_fitted(self, "params_")
        if not isinstance(n_tokens, (int, np.integer)) or n_tokens < 0:
            raise SettingError(f"generate: n_tokens must be a whole number from 0; got {n_tokens!r}")
        if not self.causal or self.n_inputs_ or not 0 < self.n_classes_ <= self.n_tokens_:
            numbers = self.n_inputs_ or not self.n_classes_
            why = "it reads or says numbers" if numbers else f"its {self.n_classes_} classes are no tokens"
            why = why if self.causal else "it is not causal"
            raise Unsupported(f"a stack generates if it is causal and its classes are tokens; {why}")
        given = self._sequences(X, "generate")
        if len(given) and not given.lengths.all():
            raise ValueError(f"generate needs a token to start from; sequence {int(given.lengths.argmin())} is empty")
        said = [row[:size].tolist() for row, size in zip(np.asarray(given.ids), given.lengths, strict=True)]
        for _ in range(n_tokens):
            for row, one in zip(self.predict(said), said, strict=True):
                one.append(int(row[len(one) - 1].argmax()))
        return said

    def _sequences(self, X: Any, verb: str) -> AlignmentData:
        data = sequences_of(X, None, self.causal, verb, labelled=False)
        if not data.n_queries:
            raise ShapeError(f"{verb} needs sequences of at least one token")
        return same_kind(data, (self.n_inputs_, None if self.n_classes_ else self.n_outputs_), verb)
