"""AttentionSeq2Seq: an encoder, a decoder and one mechanism between them, learned from pairs of sentences."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from attnlab.data import AlignmentData
from attnlab.errors import NothingToLearn, SettingError
from attnlab.interfaces import Model, Source
from attnlab.kernels.decoder import FastPreviousState
from attnlab.kernels.decoder_chain import ChainedPreviousState
from attnlab.kernels.gru import FastGru
from attnlab.models.batches import top_gold
from attnlab.models.estimating import Estimator, check_is_fitted
from attnlab.models.mechanism_setting import Attending, answered, refusal_of_decoder, refuse_positions
from attnlab.models.seq2seq.decoders import CurrentState, FixedContext, PreviousState
from attnlab.models.seq2seq.decoding import beam_search, greedy
from attnlab.models.seq2seq.network import Network
from attnlab.models.seq2seq.pairs import Pairs, in_chunks, ragged_to, sentences_of, sources_of
from attnlab.models.seq2seq.recurrence import Elman, Gru
from attnlab.models.seq2seq.vocabulary import Vocabulary, bucketed
from attnlab.models.stopping import Every, Fraction, Patience, Steps, Stopping, Tolerance
from attnlab.models.training import cast, count, minimise_adam, on_one_thread, seed_sequence
from attnlab.progress import told
from attnlab.registry import Own, build
from attnlab.settings import checked

__all__ = ["AttentionSeq2Seq"]


class AttentionSeq2Seq(Attending, Model, Estimator):
    """An encoder-decoder for sequences, with one attention mechanism, learned from pairs of sentences.

    The encoder gives h_1..h_m. The decoder computes a state s_t for each output token, from the token before and a context
    c_t. tanh([s_t; c_t] Wr + br) Wy + by scores the next token. `fit` minimises the cross entropy of the target tokens and the
    stop, in nats a token, by Adam with the true tokens as inputs (teacher forcing). The alignment is latent: it is the weights
    of the contexts, unless `alignment_weight` trains them directly. Cost: steps x batch_size times a few hundred operations for
    each number learned.

    Parameters
    ----------
    mechanism : Mechanism, mapping of parts, or None
        The attention; None is additive, softmax, weighted sum.
    encoder : name, {name: {setting: value}}, or Encoder
        `embedding`, `rnn`, `birnn`, or a plugin's.
    decoder : "rnn"
        A recurrent network.
    cell : "gru" or "rnn"
        The decoder's unit: the gated recurrent unit, or Elman's plain one, which has no fast twin. An encoder has its own
        setting, ``encoder={"birnn": {"cell": "rnn"}}``.
    context : "attention" or "fixed"
        A context c_t for each output token, or one fixed context C for all of them.
    fixed_context : "last" or "mean"
        C = F(h_1..h_m): the encoder's state at the end, or the mean of its states. The decoder's first state is tanh of a
        linear map of C in any case.
    attend_with : "previous_state" or "current_state"
        Compare with s_{t-1}, so that s_t knows c_t (Bahdanau), or with s_t (Luong). It has no meaning for a fixed context,
        which enters every step.
    embedding_dim, hidden_dim : int > 0, units
        Widths of the embeddings of both languages, and of the encoder's and the decoder's states and the read-out.
    batch_size : int > 0, pairs
        Pairs of similar length form a batch.
    learning_rate : float > 0, dimensionless
        Adam's.
    clip_norm : float > 0 or None, in the unit of the gradient
        The greatest length of the gradient.
    alignment_weight : float >= 0, nats
        If it is above 0, the loss also contains `alignment_weight` times the squared error of the weights. This error is the
        mean of |w - gold|^2 over target tokens with gold links, with gold rows scaled to sum to one. It needs AlignmentData
        with gold.
    beam : int > 0
        Sentences kept in `predict`; 1 is greedy.
    max_length : int > 0 or None, tokens
        The most tokens that `predict` gives. None is 10 more than the source's length times the largest ratio of target to
        source length in training.
    min_count : int > 0
        Tokens seen less often in training are unknown.
    steps, early_stopping, validation_fraction, validate_every, n_iter_no_change, tol
        When `fit` ends; `attnlab.models.stopping.Stopping` explains these settings for all models. Without `steps`, `fit`
        ends when validation no longer improves. `tol` is in nats a token.
    dtype : "float32" or "float64"
    backend : "fast" or "reference"
        The decoder's hand-written gradient if there is one, or plain maths under autograd. Both give the same numbers. Encoders
        have their own setting.
    linear_before_reset : bool
        The reset gate of the decoder's GRU acts after the matrix, as in PyTorch, or on the state itself, as in the papers and by
        ONNX's default. Encoders have their own setting.
    random_state : int, numpy.random.Generator or RandomState, or None

    Attributes
    ----------
    mechanism_ : the mechanism that was learned
    encoder_ : the encoder
    params_ : dict, the learned arrays, by "embedding", "encoder", "start", "decoder", "readout"
    source_vocabulary_, target_vocabulary_ : the tokens known
    class_of_ : dict, the class of each target token: from the data if they have classes, else its place in the vocabulary
    n_iter_ : int, steps taken
    converged_ : bool, whether the loss no longer fell when `fit` ended
    loss_curve_ : list of float, nats a token, of each step
    validation_curve_ : list of dict with step, loss and, where gold is known, alignment_accuracy
    n_parameters_ : int, numbers learned
    operations_per_query_ : float, of the mechanism, for one output token and a source of mean length; 0 for a fixed context
    backend_ : str
        What answered: "fast", a hand-written gradient, or "reference". If decoder, encoder and mechanism differ, it lists
        each, such as "decoder=fast, encoder=fast, mechanism=reference".

    Raises
    ------
    Diverged
        When the loss or a learned array becomes NaN or infinite; its `step` says when.
    Unsupported
        For AlignmentData without tokens.

    Notes
    -----
    Tokens are strings or integers. A token that training has not seen is unknown. All unknown tokens share one embedding,
    which stays at zero unless `min_count` leaves out some tokens in training. `predict` never gives the unknown token. An empty
    source sentence is an error; an empty target stops at once. The decoder's queries have the positions 0, 1, .... Parts that
    ask for true lengths get the target's length with its stop; `predict` estimates it as the source's length times the mean ratio.

    For AlignmentData, as in a sweep, the sentences are `data.tokens`, pairs (source tokens, target tokens). `align` and
    `predict` then give arrays in the shapes of the data. Places beyond the tokens are padding.

    References
    ----------
    Bahdanau, Cho, Bengio (2015); Luong, Pham, Manning (2015); Cho et al. (2014) for the fixed context; Hupkes et al. (2018)
    for training the alignment directly, there by cross entropy.

    Examples
    --------
    >>> X = [["Tom", "chases", "Jerry"], ["Jerry", "chases", "Tom"]] * 8
    >>> y = [["汤姆", "追逐", "杰瑞"], ["杰瑞", "追逐", "汤姆"]] * 8
    >>> model = AttentionSeq2Seq(embedding_dim=16, hidden_dim=16, steps=60, learning_rate=0.02, random_state=0).fit(X, y)
    >>> model.predict([["Jerry", "chases", "Tom"]])
    [['杰瑞', '追逐', '汤姆']]
    >>> model.align(X[:1], y[:1])[0].shape
    (3, 3)
    """

    name = "seq2seq"
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )
    former: ClassVar[Mapping[str, Any]] = {"steps": 1000}
    _refusal_of = refusal_of_decoder
    preferred: ClassVar[Any] = {"similarity": Own("additive"), "normaliser": Own("softmax")}

    def __init__(
        self,
        mechanism: Any = None,
        encoder: Any = "birnn",
        decoder: Literal["rnn"] = "rnn",
        cell: Literal["gru", "rnn"] = "gru",
        context: Literal["attention", "fixed"] = "attention",
        fixed_context: Literal["last", "mean"] = "last",
        attend_with: Literal["previous_state", "current_state"] = "previous_state",
        embedding_dim: Annotated[int, Gt(0)] = 64,
        hidden_dim: Annotated[int, Gt(0)] = 64,
        steps: Steps = None,
        batch_size: Annotated[int, Gt(0)] = 32,
        learning_rate: Annotated[float, Gt(0)] = 0.003,
        clip_norm: Annotated[float, Gt(0)] | None = 1.0,
        alignment_weight: Annotated[float, Ge(0)] = 0.0,
        beam: Annotated[int, Gt(0)] = 1,
        max_length: Annotated[int, Gt(0)] | None = None,
        min_count: Annotated[int, Gt(0)] = 1,
        early_stopping: bool = False,
        validation_fraction: Fraction = 0.1,
        validate_every: Every = 100,
        n_iter_no_change: Patience = 5,
        tol: Tolerance = 1e-4,
        dtype: Literal["float32", "float64"] = "float32",
        backend: Literal["fast", "reference"] = "fast",
        linear_before_reset: bool = True,
        random_state: Any = None,
    ) -> None:
        self.mechanism = mechanism
        self.encoder = encoder
        self.decoder = decoder
        self.cell = cell
        self.context = context
        self.fixed_context = fixed_context
        self.attend_with = attend_with
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.alignment_weight = alignment_weight
        self.beam = beam
        self.max_length = max_length
        self.min_count = min_count
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validate_every = validate_every
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.dtype = dtype
        self.backend = backend
        self.linear_before_reset = linear_before_reset
        self.random_state = random_state

    # -- learning -----------------------------------------------------------------------------------------------
    @told("steps")
    @on_one_thread
    def fit(self, X: Any, y: Any = None, validation: Any = None) -> AttentionSeq2Seq:
        """Learn from pairs of sentences.

        Parameters
        ----------
        X : list of source sentences, each a list of tokens; or AlignmentData with `tokens`
        y : list of target sentences; None for AlignmentData
        validation : (X, y), AlignmentData, or None
            Used every `validate_every` steps, for `validation_curve_` and early stopping.
        verbose : bool or None
            Whether to say how far it is, on stderr. None shows a bar on a terminal where it takes longer than 3 seconds.

        Returns
        -------
        self
        """
        checked("model", type(self), self.get_params(deep=False))
        streams = [np.random.default_rng(s) for s in seed_sequence(self.random_state).spawn(4)]
        sources, targets = sentences_of(X, y, "fit")
        if not sources:
            raise ValueError("fit needs at least one pair of sentences; got 0")
        if not any(targets):
            raise ValueError(f"fit needs a target token to learn; all {len(targets)} sentences of y are empty")
        self.source_vocabulary_ = self._vocabulary(sources, "source")
        self.target_vocabulary_ = self._vocabulary(targets, "target")
        ratios = np.array([(len(t) + 1) / len(s) for s, t in zip(sources, targets, strict=True)])
        self._ratio, self._longest_ratio = float(ratios.mean()), float(ratios.max())
        self._learn_classes(X, targets)
        pairs = self._numbered(X, sources, targets)
        self._check_taught(pairs)
        looked_at = None
        if validation is not None:
            X, y = _x_and_y(validation)
            looked_at = self._numbered(X, *sentences_of(X, y, "fit's validation data"))
            if not looked_at.source:
                raise ValueError("fit's validation data need at least one pair of sentences; got 0")
        stopping = Stopping.of(self)
        if looked_at is None and stopping.stops and stopping.most:
            pairs, looked_at = pairs.held_out(stopping.held(len(pairs.source), "pairs"), streams[3])

        self.mechanism_ = self._attending_with(self.mechanism)
        refuse_positions(self.mechanism_)
        self.encoder_ = build("encoder", self.encoder)
        decoder = self._decoder()
        bound = decoder.bound if hasattr(decoder, "bound") else self.mechanism_.bind()
        self.kernels_ = {} if self.context == "fixed" else bound.kernels(self.dtype)
        self.backend_ = self._backend(decoder)
        self._network = Network(self.encoder_, decoder, self.fixed_context, float(self.alignment_weight))
        sizes = len(self.source_vocabulary_), len(self.target_vocabulary_)
        self.params_ = cast(self._network.init(streams[0], *sizes, self.embedding_dim, self.hidden_dim), self.dtype)
        self.n_parameters_ = count(self.params_)
        self.operations_per_query_ = self._operations(sources)
        with np.errstate(all="ignore"), warnings.catch_warnings():  # what is not finite is found at its step
            warnings.filterwarnings("ignore", "Output seems independent of input")
            self._learn(pairs, looked_at, streams, stopping)
        return self

    def _vocabulary(self, sentences: Any, side: str) -> Vocabulary:
        known = Vocabulary(sentences, self.min_count)
        if not known.tokens:
            most = max(Counter(token for sentence in sentences for token in sentence).values())
            raise SettingError(
                f"min_count={self.min_count} leaves no {side} token to learn; the most frequent is seen {most} times"
            )
        return known

    def _learn(self, pairs: Pairs, validation: Pairs | None, streams: list[Any], stopping: Stopping) -> None:
        sentences = pairs if self.alignment_weight else pairs._replace(data=None)

        def loss(params: Any, rows: Any) -> Any:
            return self._network.loss(params, sentences.pick(rows), rng=streams[2], training=True)

        watch = None if validation is None else stopping.watch(lambda params: self._look(params, validation))
        if not stopping.most:
            warnings.warn("steps is 0: the model is used as it starts", NothingToLearn, stacklevel=5)
            self.n_iter_, self.loss_curve_, self.validation_curve_, self.converged_ = 0, [], [], True
            return
        batches = bucketed(pairs.lengths, self.batch_size, streams[1])
        fitted = minimise_adam(loss, self.params_, batches, stopping.most, self.learning_rate, watch, self.clip_norm)
        self.params_, self.n_iter_, self.converged_ = fitted.params, fitted.n_iter, stopping.converged(fitted)
        self.loss_curve_, self.validation_curve_ = fitted.loss_curve, fitted.validation_curve

    def _decoder(self) -> Any:
        fast = self.backend == "fast" and self.cell == "gru"
        gru = Elman() if self.cell == "rnn" else (FastGru if fast else Gru)(self.linear_before_reset)
        backend = "reference" if self.backend == "reference" else "auto"
        if self.context == "fixed":
            return FixedContext(gru)
        if self.attend_with == "current_state":
            return CurrentState(self.mechanism_, gru, self.alignment_weight > 0, backend)
        if fast and self.linear_before_reset and not self.alignment_weight and FastPreviousState.fits(self.mechanism_):
            return FastPreviousState(self.mechanism_)
        if fast and ChainedPreviousState.fits(self.mechanism_):
            return ChainedPreviousState(self.mechanism_, gru, weigh=self.alignment_weight > 0)
        return PreviousState(self.mechanism_, gru, backend)

    def _backend(self, decoder: Any) -> str:
        """What answers for each role, as `backend_` has it."""
        whole = isinstance(decoder, (FastPreviousState, ChainedPreviousState))  # the decoder with its mechanism
        roles = {"decoder": whole or isinstance(decoder.gru, FastGru)}
        if isinstance(given := getattr(self.encoder_, "backend", None), str):
            roles["encoder"] = given == "fast" and getattr(self.encoder_, "cell", "gru") == "gru"
        if self.context != "fixed":
            roles["mechanism"] = whole or answered(self.kernels_) == "fast"
        answers = {role: "fast" if fast else "reference" for role, fast in sorted(roles.items())}
        alike = len(set(answers.values())) == 1
        return answers["decoder"] if alike else ", ".join(f"{role}={answer}" for role, answer in answers.items())

    def _check_taught(self, pairs: Pairs) -> None:
        if not self.alignment_weight:
            return
        given = f"alignment_weight={self.alignment_weight:g}"
        if self.context == "fixed":
            raise SettingError(f'{given} needs context="attention": a fixed context has no weights to teach')
        if pairs.data is None or pairs.data.gold is None:
            raise SettingError(f"{given} needs AlignmentData with gold in fit, to teach")

    def _operations(self, sources: Any) -> float:
        operations = getattr(self.mechanism_, "operations", None)
        if self.context == "fixed" or operations is None:
            return 0.0 if self.context == "fixed" else float("nan")
        d = self.params_["start"]["W"].shape[0]
        return float(operations(max(1, round(np.mean([len(s) for s in sources]))), self.hidden_dim, d, d))

    def _learn_classes(self, X: Any, targets: Any) -> None:
        """The class of each target token, from data whose targets are classes; else its place in the vocabulary."""
        self.class_of_: dict[Any, int] = {token: i for i, token in enumerate(self.target_vocabulary_.tokens)}
        self._n_classes = len(self.class_of_)
        if not isinstance(X, AlignmentData) or not X.is_classification:
            return
        classes = np.asarray(X.target)
        self.class_of_ = {}
        for i, sentence in enumerate(targets):
            for t, token in enumerate(sentence):
                if self.class_of_.setdefault(token, int(classes[i, t])) != classes[i, t]:
                    raise ValueError(
                        f"the target token {token!r} has class {self.class_of_[token]} and, in example {i}, class "
                        f"{classes[i, t]}; a token must have one class"
                    )
        self._n_classes = max([X.V.shape[2], *(c + 1 for c in self.class_of_.values())])

    def _look(self, params: Any, pairs: Pairs) -> dict[str, float]:
        parts = [pairs.pick(rows) for rows in in_chunks(pairs.lengths)]
        tokens = [sum(len(t) + 1 for t in part.target) for part in parts]
        seen = {"loss": float(np.average([float(self._network.loss(params, part)) for part in parts], weights=tokens))}
        if pairs.data is not None and pairs.data.gold is not None:
            seen["alignment_accuracy"] = top_gold(
                ragged_to(pairs.data, self._network.weights(params, pairs)), pairs.data
            )
        return seen

    # -- using it -------------------------------------------------------------------------------------------------
    def predict(self, X: Any) -> Any:
        """Predict a list of target tokens for each source sentence.

        For AlignmentData it gives an array (n, q, classes + 1): 1 at the class of each predicted token and 0 elsewhere. The
        last class means no token (the sentence ended before) or a token without class. The true target tokens are not used.
        """
        check_is_fitted(self, "params_")
        said = self._say(sources_of(X))
        if not isinstance(X, AlignmentData):
            return said
        nothing = self._n_classes
        classes = np.full((len(X), X.n_queries), nothing)
        for i, sentence in enumerate(said):
            known = [self.class_of_.get(token, nothing) for token in sentence[: X.n_queries]]
            classes[i, : len(known)] = known
        return np.eye(nothing + 1)[classes]

    def _say(self, sources: Any) -> list[Any]:
        checked("model", type(self), self.get_params(deep=False))  # beam and max_length may have changed since fit
        numbers = self.source_vocabulary_.numbers(sources)
        step = functools.partial(self._network.step, self.params_)
        said: list[Any] = [None] * len(numbers)
        with np.errstate(all="ignore"):
            for rows in in_chunks([(len(sentence),) for sentence in numbers]):
                there = np.array([len(numbers[i]) for i in rows])
                limits = np.ceil(there * self._longest_ratio).astype(int) + 10
                if self.max_length is not None:
                    limits = np.full(len(rows), self.max_length)
                lengths = np.stack([np.maximum(np.rint(there * self._ratio), 1).astype(int), there], axis=1)
                state = self._network.encoded(self.params_, [numbers[i] for i in rows], lengths)
                if self.beam == 1:
                    ids = greedy(step, state, limits)
                else:
                    ids = beam_search(step, state, limits, self.beam)
                for row, line in zip(rows, ids, strict=True):
                    said[row] = self.target_vocabulary_.words(line)
        return said

    def align(self, X: Any, y: Any = None) -> Any:
        """The weights of each target token over the source tokens; the decoder's inputs are the true tokens before it.

        It gives a list with an array (target tokens, source tokens) for each pair; for AlignmentData one array (n, q, k), 0
        beyond the tokens. A fixed context prefers no token, so its weights are uniform.
        """
        check_is_fitted(self, "params_")
        pairs = self._numbered(X, *sentences_of(X, y, "align"))
        with np.errstate(all="ignore"):
            weights = self._network.weights(self.params_, pairs)
        return weights if pairs.data is None else ragged_to(pairs.data, weights)

    def token_accuracy(self, X: Any, y: Any = None) -> float:
        """The number of tokens that `predict` gives correctly, in place, over the length of the longer sentence."""
        said, targets = self._said_and_true(X, y)
        right = sum(a == b for one, two in zip(said, targets, strict=True) for a, b in zip(one, two, strict=False))
        return right / max(1, sum(max(len(one), len(two)) for one, two in zip(said, targets, strict=True)))

    def exact_match(self, X: Any, y: Any = None) -> float:
        """The share of sentences that `predict` gives exactly like the target."""
        said, targets = self._said_and_true(X, y)
        return sum(one == two for one, two in zip(said, targets, strict=True)) / max(1, len(said))

    def score(self, X: Any, y: Any = None) -> float:
        """`token_accuracy`; up is better, 1 is perfect."""
        return self.token_accuracy(X, y)

    def _said_and_true(self, X: Any, y: Any) -> tuple[list[Any], list[Any]]:
        check_is_fitted(self, "params_")
        sources, targets = sentences_of(X, y, "score")
        if not sources:
            raise ValueError("score needs at least one pair of sentences; got 0")
        return self._say(sources), targets

    def _numbered(self, X: Any, sources: Any, targets: Any) -> Pairs:
        data = X if isinstance(X, AlignmentData) else None
        return Pairs(self.source_vocabulary_.numbers(sources), self.target_vocabulary_.numbers(targets), data)


# --------------------------------------------------------------------------------------------------------------------
def _x_and_y(validation: Any) -> tuple[Any, Any]:
    if isinstance(validation, AlignmentData):
        return validation, None
    if isinstance(validation, (tuple, list)) and len(validation) == 2:
        return validation[0], validation[1]
    raise TypeError(f"validation must be (X, y) or AlignmentData; got {type(validation).__name__}")
