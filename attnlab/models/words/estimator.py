"""WordAligner: exact latent alignment of words in sentence pairs, learned without gold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnlab.bitext import Link, Pair, Symmetrise, symmetrised, tokenise
from attnlab.data import AlignmentData
from attnlab.errors import SettingError, ShapeError, Unsupported
from attnlab.interfaces import Model, Source
from attnlab.models.estimating import Estimator, check_is_fitted
from attnlab.models.mechanism_setting import Attending
from attnlab.models.training import count, on_one_thread, seed_sequence
from attnlab.models.words.lexicon import BACKWARD, FORWARD, Cells, Direction, Prior
from attnlab.models.words.prior import Alignment, D
from attnlab.progress import at, told
from attnlab.registry import Own
from attnlab.settings import checked

__all__ = ["WordAligner"]

Array = np.ndarray[Any, Any]


class WordAligner(Attending, Model, Estimator):
    """Aligns words by exact latent alignment: it mixes predictions, not values.

    The probability of target word y_i is p(y_i | x) = sum_j a_ij p(y_i | x_j) + a_i0 p(y_i | null). A mechanism gives the prior
    alignment a_ij, and the table p(y | x) is learned. The result is the posterior alignment a_ij p(y_i | x_j) / p(y_i | x).
    That is IBM model 1 with a prior of your choice; the position `diagonal` is FastAlign's prior. Expectation maximisation
    learns the table, in both directions. The mechanism learns from the gradient of the expected log-likelihood. Gold is never
    used. Cost: about 15 sums over the cells (target word, source word) of all pairs, and a second one for the mechanism.

    Parameters
    ----------
    mechanism : Mechanism, mapping of parts, or None
        The prior alignment of a word, before its identity is seen; queries are target words. None is the similarity
        `uniform`, softmax, and the position `diagonal` with a learned tension. Mechanisms that compare contents get vectors
        that describe the spelling of words.
    null : float in [0, 1), probability
        The prior probability that a word is aligned to nothing.
    iterations : int > 0
        Iterations of expectation maximisation.
    warm_up : int >= 0
        Iterations of a first pass in which every key is equally probable. The mechanism learns from its posterior. Then the
        table is reset and learned anew. 0 starts with the mechanism as it is initialised.
    agreement : bool
        Learn both directions from the geometric mean of their posteriors instead of each from its own.
    smoothing : float >= 0, pseudo-counts of each pair of words
    spelling : float >= 0, pseudo-counts
        For a pair of words with the same spelling. Words with similar spelling get a part of it. Words in different scripts
        get none.
    stem : int >= 0, letters
        Words that share their first `stem` letters share what is learned; 0 turns this off.
    stem_weight : float >= 0, pseudo-counts
        The weight of what is shared.
    variational : bool
        Use the probabilities of variational Bayes, which discourage rare accidents, instead of those from counts alone.
    lowercase : bool
    random_state : int, numpy.random.Generator or RandomState, or None
        For mechanisms with a random start.

    Attributes
    ----------
    mechanism_ : the mechanism for both directions
    params_ : {"forward": ..., "backward": ...}, the learned arrays of the mechanism in each direction
    cells_ : Cells, the words and pairs of words that were seen
    directions_ : the two Directions, each with its table
    loss_curve_ : list of float, for each iteration minus the log-likelihood of a word, the mean of both directions
    n_iter_ : int
    n_parameters_ : int, numbers learned
    operations_per_query_ : float, floating-point operations of the mechanism for one word

    Raises
    ------
    Unsupported
        For AlignmentData without `tokens`, and for mechanisms whose weights sum to more than 1, or are all 0.

    Notes
    -----
    Set `warm_up=0, agreement=False, smoothing=0, spelling=0, stem=0, variational=False` for plain expectation maximisation.
    With `mechanism={"similarity": "uniform"}` that is IBM model 1. With the default mechanism and `null=0.08` it has
    FastAlign's prior. FastAlign itself differs: its table and its null word start uniform (here the null word starts from word
    frequencies), it counts by variational Bayes, and its program keeps the tension at 14 or below (here it has no bound).

    The mechanism runs as in training, but without noise. A `monotonic` normaliser thus gives the expected weights over all
    paths, instead of those of one path.

    References
    ----------
    Brown et al. (1993), section 4.1; Dyer, Chahuneau, Smith (2013); Deng et al. (2018) and Wu, Shapiro, Cotterell (2018) for
    the exact latent alignment; Liang, Taskar, Klein (2006) for agreement; Riley and Gildea (2012) for variational Bayes.

    Examples
    --------
    >>> pairs = [("the cat", "le chat"), ("the dog", "le chien"), ("a cat", "un chat"), ("a dog", "un chien")]
    >>> WordAligner().fit(pairs).links([("the dog", "le chien")])
    [[(0, 0), (1, 1)]]
    """

    name = "word_aligner"
    source = Source(
        "Hard Non-Monotonic Attention for Character-Level Transduction", "Wu, Shapiro, Cotterell", 2018, "EMNLP"
    )
    preferred: ClassVar[Any] = {
        "similarity": Own("uniform"),
        "position": {Own("diagonal"): {"tension": "learned"}},
    }

    def __init__(
        self,
        mechanism: Any = None,
        null: Annotated[float, Ge(0), Lt(1)] = 0.2,
        iterations: Annotated[int, Gt(0)] = 8,
        warm_up: Annotated[int, Ge(0)] = 5,
        agreement: bool = True,
        smoothing: Annotated[float, Ge(0)] = 0.03,
        spelling: Annotated[float, Ge(0)] = 1.0,
        stem: Annotated[int, Ge(0)] = 4,
        stem_weight: Annotated[float, Ge(0)] = 1.0,
        variational: bool = True,
        lowercase: bool = True,
        random_state: Any = None,
    ) -> None:
        self.mechanism = mechanism
        self.null = null
        self.iterations = iterations
        self.warm_up = warm_up
        self.agreement = agreement
        self.smoothing = smoothing
        self.spelling = spelling
        self.stem = stem
        self.stem_weight = stem_weight
        self.variational = variational
        self.lowercase = lowercase
        self.random_state = random_state

    # -- learning -----------------------------------------------------------------------------------------------------
    @told("iterations")
    @on_one_thread
    def fit(self, X: Any, y: Any = None) -> WordAligner:
        """Learn from pairs of sentences.

        Parameters
        ----------
        X : sequence of (source, target), each a list of words or a string of words; or AlignmentData with `tokens`
        y : ignored
        verbose : bool or None
            Whether to say how far it is, on stderr. None shows a bar on a terminal where it takes longer than 3 seconds.

        Returns
        -------
        self
        """
        checked("model", type(self), self.get_params(deep=False))
        if self.variational and not self.smoothing:
            raise SettingError("model 'word_aligner': variational=True needs smoothing above 0; got smoothing=0")
        rng = np.random.default_rng(seed_sequence(self.random_state))
        pairs = self._pairs(X)
        if not pairs:
            raise ValueError("fit needs at least one pair of sentences; there are no pairs")
        if not any(s and t for s, t in pairs):
            raise ValueError(f"fit needs at least one pair with words on both sides; none of {len(pairs)} has")
        self.mechanism_ = self._attending_with(self.mechanism)
        self.cells_ = Cells(pairs)
        prior = Prior(self.smoothing, self.spelling, self.stem, self.stem_weight, self.variational)
        self.directions_ = tuple(Direction(self.cells_, given, prior) for given in (FORWARD, BACKWARD))
        alignments = self._alignments(pairs, self.cells_)
        params = [self.mechanism_.init(rng, D, D, D) for _ in alignments]
        self.loss_curve_: list[float] = []
        if self.warm_up:
            even = [alignment.even() for alignment in alignments]
            for _ in range(self.warm_up):
                mass = self._step(even)
            params = [al.fit(p, m, steps=50) for al, p, m in zip(alignments, params, mass, strict=True)]
            for direction in self.directions_:
                direction.forget()
        for _ in range(self.iterations):
            mass = self._step([al.probabilities(p) for al, p in zip(alignments, params, strict=True)])
            params = [al.fit(p, m, steps=5) for al, p, m in zip(alignments, params, mass, strict=True)]
        self.params_ = dict(zip(("forward", "backward"), params, strict=True))
        self.n_iter_ = len(self.loss_curve_)
        self.n_parameters_ = 2 * len(self.cells_.types) + sum(map(len, self.cells_.words)) + count(self.params_)
        operations = getattr(self.mechanism_, "operations", None)
        keys = self.cells_.lengths[:, 0].mean()
        self.operations_per_query_ = float(operations(keys, D, D, D)) if operations else float("nan")
        return self

    def _step(self, alignments: Sequence[tuple[Array, Array]]) -> list[Array]:
        """One iteration: the mass of each cell that each direction learned from."""
        if not all(a.any() for a, _ in alignments):
            raise Unsupported("the weights of this mechanism are 0 for every word: there is no alignment to learn")
        posteriors = [d.posterior(*a) for d, a in zip(self.directions_, alignments, strict=True)]
        mass = [p for p, _, _ in posteriors]
        if self.agreement:
            mass = [np.sqrt(mass[0] * mass[1])] * 2
        for direction, one in zip(self.directions_, mass, strict=True):
            direction.count(one)
        at(len(self.loss_curve_) + 1, self.warm_up + self.iterations, "iterations")
        words = [max(1, len(d.words)) for d in self.directions_]
        self.loss_curve_.append(float(-np.mean([p[2] / w for p, w in zip(posteriors, words, strict=True)])))
        return mass

    def _alignments(self, pairs: Sequence[Pair], cells: Cells) -> list[Alignment]:
        return [Alignment(self.mechanism_, pairs, cells, given, self.null) for given in (FORWARD, BACKWARD)]

    # -- using it -----------------------------------------------------------------------------------------------------
    def _posteriors(
        self, pairs: Sequence[Pair]
    ) -> tuple[Cells, list[tuple[Array, Array, float]], list[tuple[Array, Array]]]:
        cells = Cells(pairs, known=self.cells_)
        given = [
            al.probabilities(p) for al, p in zip(self._alignments(pairs, cells), self.params_.values(), strict=True)
        ]
        return cells, [d.of(cells).posterior(*a) for d, a in zip(self.directions_, given, strict=True)], given

    def align(self, X: Any) -> Any:
        """The posterior of each link, target words by source words; the rest of a row up to 1 belongs to the null word.

        Returns
        -------
        list of float (target words, source words) for pairs; float (n, q, k) for AlignmentData
        """
        check_is_fitted(self, "params_")
        cells, posteriors, _ = self._posteriors(self._pairs(X))
        return _like(X, cells.split(posteriors[0][0]))

    def links(self, X: Any, symmetrise: Symmetrise = "grow-diag") -> list[list[Link]]:
        """The links (source, target) of each pair, counted from 0 and sorted.

        Each direction links a word to its most probable word on the other side, if that is more probable than the null
        word. `symmetrise` says how to combine the two directions; see `symmetrised`.
        """
        check_is_fitted(self, "params_")
        pairs = self._pairs(X)
        cells, ((forward, unsaid, _), (backward, unsaid_back, _)), _ = self._posteriors(pairs)
        if not pairs:
            return []
        nulls = [np.split(u, np.cumsum(cells.lengths[:, side])[:-1]) for u, side in ((unsaid, 1), (unsaid_back, 0))]
        found = []
        for f, b, no_f, no_b in zip(cells.split(forward), cells.split(backward), *nulls, strict=True):
            ahead = {(j, i) for i, j in _most_probable(f, no_f)}
            found.append(sorted(symmetrised(ahead, set(_most_probable(b.T, no_b)), symmetrise)))
        return found

    def predict(self, X: AlignmentData) -> Any:
        """The context of each target word before it is seen, (n, q, v): the values weighted by the prior alignment a."""
        check_is_fitted(self, "params_")
        if not isinstance(X, AlignmentData):
            raise TypeError(
                f"predict takes AlignmentData, whose values it weighs; got {type(X).__name__}: see links and align"
            )
        cells, _, given = self._posteriors(self._pairs(X))
        return np.matmul(_like(X, cells.split(given[0][0])), X.V)

    def score(self, X: Any, y: Any = None) -> float:
        """The log-likelihood of a target word given its source sentence, mean, in nats; up is better."""
        check_is_fitted(self, "params_")
        pairs = self._pairs(X)
        if not any(target for _, target in pairs):
            raise ValueError(f"score needs at least one target word; none of {len(pairs)} pairs has")
        cells, posteriors, _ = self._posteriors(pairs)
        return posteriors[0][2] / len(cells.tokens[1])

    def _pairs(self, X: Any) -> list[Pair]:
        pairs = _checked_pairs(X)
        return [([w.lower() for w in s], [w.lower() for w in t]) for s, t in pairs] if self.lowercase else pairs


# --------------------------------------------------------------------------------------------------------------------
def _checked_pairs(X: Any) -> list[Pair]:
    """Pairs of lists of words, or an error that says what is wrong and where."""
    if isinstance(X, AlignmentData):
        if X.tokens is None:
            raise Unsupported(
                "word_aligner learns from words: AlignmentData must have tokens, (source, target) of each example"
            )
        pairs = _checked_pairs(list(X.tokens))
        for e, (source, target) in enumerate(pairs):
            if len(target) > X.n_queries or len(source) > X.n_keys:
                raise ShapeError(
                    f"example {e} has {len(source)} source and {len(target)} target words, and room for k = {X.n_keys} and "
                    f"q = {X.n_queries}"
                )
        return pairs
    if isinstance(X, str) or not isinstance(X, Iterable):
        raise TypeError(f"X must be AlignmentData or a sequence of (source, target) pairs; got {type(X).__name__}")
    pairs = []
    for e, pair in enumerate(X):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"pair {e} must be (source, target); got {pair!r}")
        sides = [tokenise(side) if isinstance(side, str) else list(side) for side in pair]
        for side in sides:
            if wrong := [w for w in side if not isinstance(w, str)]:
                raise TypeError(f"pair {e}: words must be strings; got {wrong[0]!r} ({type(wrong[0]).__name__})")
        pairs.append((sides[0], sides[1]))
    return pairs


def _like(X: Any, parts: list[Array]) -> Any:
    """The list of arrays for pairs; for AlignmentData one array, padded to (n, q, k)."""
    if not isinstance(X, AlignmentData):
        return parts
    W = np.zeros((len(X), X.n_queries, X.n_keys))
    for row, part in zip(W, parts, strict=True):
        row[: part.shape[0], : part.shape[1]] = part
    return np.where(X.allowed, W, 0.0)


def _most_probable(W: Array, null: Array) -> list[Link]:
    """(query, key) for each query's most probable key, if that key is more probable than the null word."""
    if not W.size:
        return []
    best = W.argmax(axis=1)
    return [(i, int(j)) for i, j in enumerate(best) if W[i, j] > null[i]]
