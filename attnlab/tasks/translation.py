"""Translations with known word alignments: phrases that change places, and a small grammar of English and Chinese."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnlab.data import AlignmentData
from attnlab.errors import SettingError
from attnlab.interfaces import Source
from attnlab.tasks.drawn import Count, DrawnTask, Rng
from attnlab.tasks.said import SaidTask
from attnlab.tasks.words import MOST_TRIES, Dictionary, Factor, HeldOut, Said, Unseen, chance_of, longer

__all__ = ["BlockReorder", "ToyTranslation", "translate"]

Sizes = dict[tuple[int, int], float]  # the probability of (English words, those that have a counterpart)
Share = Annotated[float, Ge(0), Lt(1)]


@dataclass(eq=False, repr=False)
class BlockReorder(SaidTask):
    """Subject verb object becomes subject object verb: whole phrases change places, words are dropped and put in.

    A source has three phrases of 1..length words each, uniform: nouns, verbs, nouns. They are drawn from `vocabulary` words
    of each sort with repetition. Each word becomes one of the two synonyms of its translation, or is dropped with probability
    `drop` (the first never is). After each target word a particle without counterpart is put in with probability `insert`.
    The order of the phrases is then subject, object, verb. Source and target words have independent vectors ~ N(0, I_d). A
    query is the vector of its target word, a value the one-hot vector of the class of the translation.

    Gold, the sure links: from each target word to the word that it translates; particles have none. Possible: from it to the
    other words of the same phrase. Target: the class, int (n, q); synonyms are of one class, particles of their own. Chance:
    the mean of 1/k over all target words that are no particles.

    Parameters
    ----------
    length : int, at least 1
        The most words that a phrase has, L.
    vocabulary : int, at least 1
        Different nouns, and different verbs.
    drop, insert : float, 0 to less than 1
        Probabilities.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions with phrases of so many times L words, named `2L` for 2.
    unseen : float, 0 to less than 0.5
        Share of all possible sources that belongs to the test split; the same share belongs to validation, and no source of one
        occurs in another. With 0 they are drawn alike, and short ones occur in several.
    layout : str
        pairs, or tokens: one sequence of the source, a separator and what is said, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    The object's phrase comes before the verb's. So the alignment leaves the diagonal, and a local window about the diagonal
    misses it, by more words when the phrases are longer.

    References
    ----------
    Defined here; sure and possible links are those of Och and Ney (2003), section 5.

    Examples
    --------
    >>> import numpy as np
    >>> data = BlockReorder(length=1, insert=0.0, drop=0.0, n_train=1).make(np.random.default_rng(0)).train
    >>> data.tokens[0], data.gold[0].astype(int).tolist()
    ((['n4', 'v5', 'n10'], ['N4', "N10'", 'V5']), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    """

    name = "block_reorder"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
    revision = 2
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 3
    vocabulary: Count = 12
    drop: Share = 0.1
    insert: Share = 0.1
    d: Count = 32
    transfer: Sequence[Factor] = ()
    unseen: Unseen = 0.2

    @property
    def chance(self) -> float:
        sizes = Counter(sum(three) for three in itertools.product(range(1, self.length + 1), repeat=3))
        return self.chance_in(chance_of((ways, k, 1 + (k - 1) * (1 - self.drop)) for k, ways in sizes.items()))

    def conditions(self) -> dict[str, dict[str, int]]:
        return longer(self.transfer)

    def shared(self, rng: Rng) -> dict[str, Any]:
        source = [f"{sort}{i}" for sort in "nv" for i in range(self.vocabulary)]
        classes = {word: i for i, word in enumerate(source)}
        class_of = {w.upper() + mark: i for w, i in classes.items() for mark in ("", "'")}
        class_of |= {f"-{p}": len(source) + i for i, p in enumerate("abc")}
        book = Dictionary(rng, source, class_of, classes, self.d, asks=True, class_of=class_of)
        return {"book": book, "held_out": HeldOut(rng.bytes(16), self.unseen)}

    def draw(self, rng: Rng, n: int, split: str, book: Dictionary, held_out: HeldOut, factor: int = 1) -> AlignmentData:
        k = 3 * self.length * factor
        q = 2 * k if self.insert else k  # a particle after each word
        found = held_out.sentences(lambda: self._say(rng, factor), n, split, self.name)
        return book.data(found, k, q, possible=True, layout=self.layout)

    def _say(self, rng: Rng, factor: int) -> Said:
        long = self.length * factor
        sizes = rng.integers(1, self.length + 1, size=3) if factor == 1 else np.full(3, long)
        source = [
            f"{sort}{rng.integers(self.vocabulary)}"
            for sort, size in zip("nvn", sizes, strict=True)
            for _ in range(size)
        ]
        starts = np.cumsum(sizes) - sizes
        target: list[str] = []
        sure, possible = [], []
        for phrase in (0, 2, 1):
            places = range(starts[phrase], starts[phrase] + sizes[phrase])
            for j in places:
                if j > 0 and rng.random() < self.drop:
                    continue
                sure.append((j, len(target)))
                possible += [(other, len(target)) for other in places if other != j]
                target.append(source[j].upper() + ("'" if rng.random() < 0.5 else ""))
                if rng.random() < self.insert:
                    target.append(f"-{'abc'[rng.integers(3)]}")
        return Said(source, target, sure, possible)


# -- a small grammar of English and Chinese ---------------------------------------------------------------------------
NAMES = {"Tom": "汤姆", "Jerry": "杰瑞", "Spike": "斯派克", "Nibbles": "尼布尔"}
NOUNS = {"cat": "猫", "mouse": "老鼠", "dog": "狗", "bird": "鸟", "duck": "鸭子", "fish": "鱼"}
ADJECTIVES = {"big": "大", "small": "小", "old": "老", "hungry": "饿", "clever": "聪明", "lazy": "懒"}
VERBS = {  # third person, and plain after "does not"
    "chases": "追逐",
    "sees": "看见",
    "likes": "喜欢",
    "follows": "跟随",
    "hears": "听见",
    "fears": "害怕",
    "finds": "找到",
    "bites": "咬",
}
PLACES = {"garden": "花园", "kitchen": "厨房", "house": "房子", "street": "街道"}
DAYS = {"today": "今天", "now": "现在"}
OTHERS = {"not": "不", "in": "在", "and": "而且", "this": "这", "that": "那"}
CLASSIFIER, OF, INSIDE = "只", "的", "里"  # Chinese words without an English counterpart
UNTRANSLATED = ("the", "does")  # English words without a Chinese one
P_NAME, P_ADJECTIVE, P_NOT, P_PLACE, P_DAY = 0.4, 0.4, 0.2, 0.3, 0.2
LONGEST = (13, 16)  # the most English and Chinese words of a clause
FIRST = Said(["Tom", "chases", "Jerry"], ["汤姆", "追逐", "杰瑞"], [(0, 0), (1, 1), (2, 2)])


class Piece(NamedTuple):
    """English words, and Chinese words with the place of the English word that each translates, or None."""

    english: list[str]
    chinese: list[tuple[str, int | None]]

    def __add__(self, other: Piece) -> Piece:  # type: ignore[override]
        n = len(self.english)
        return Piece(
            self.english + other.english,
            self.chinese + [(word, None if j is None else n + j) for word, j in other.chinese],
        )


def _plain(english: str) -> str:
    return english.removesuffix("s")


def _pick(rng: Rng, words: Mapping[str, str]) -> str:
    return list(words)[rng.integers(len(words))]


def _noun_phrase(rng: Rng) -> Piece:
    """Tom; or the (this, that) [adjective] noun, where 的 follows an adjective and a classifier this or that."""
    if rng.random() < P_NAME:
        word = _pick(rng, NAMES)
        return Piece([word], [(NAMES[word], 0)])
    article = ("the", "this", "that")[rng.integers(3)]
    chinese: list[tuple[str, int | None]] = []
    if article != "the":
        chinese = [(OTHERS[article], 0), (CLASSIFIER, None)]
    english = [article]
    if rng.random() < P_ADJECTIVE:
        word = _pick(rng, ADJECTIVES)
        chinese += [(ADJECTIVES[word], len(english)), (OF, None)]
        english.append(word)
    noun = _pick(rng, NOUNS)
    return Piece([*english, noun], [*chinese, (NOUNS[noun], len(english))])


def _clause(rng: Rng) -> Piece:
    """Subject [does not] verb object [in the place] [today] -> subject [today] [在 place 里] [不] verb object."""
    subject, thing, verb = _noun_phrase(rng), _noun_phrase(rng), _pick(rng, VERBS)
    negative, somewhere, someday = (rng.random() < p for p in (P_NOT, P_PLACE, P_DAY))
    place, day = _pick(rng, PLACES), _pick(rng, DAYS)
    said = subject + Piece(["does", "not"] if negative else [], [])
    at_verb = len(said.english)
    said = said + Piece([_plain(verb) if negative else verb], []) + thing
    at_place = len(said.english)
    english = said.english + (["in", "the", place] if somewhere else [])
    at_day = len(english)
    middle: list[tuple[str, int | None]] = []
    if someday:
        middle.append((DAYS[day], at_day))
    if somewhere:
        middle += [(OTHERS["in"], at_place), (PLACES[place], at_place + 2), (INSIDE, None)]
    if negative:
        middle.append((OTHERS["not"], at_verb - 1))
    middle.append((VERBS[verb], at_verb))
    n = len(subject.chinese)
    return Piece(english + ([day] if someday else []), [*said.chinese[:n], *middle, *said.chinese[n:]])


def _sentence(rng: Rng, clauses: int) -> Said:
    piece = _clause(rng)
    for _ in range(clauses - 1):
        piece = piece + Piece(["and"], [(OTHERS["and"], 0)]) + _clause(rng)
    links = [(j, i) for i, (_, j) in enumerate(piece.chinese) if j is not None]
    return Said(piece.english, [word for word, _ in piece.chinese], links)


def translate(english: str) -> str:
    """The Chinese word for an English word of the grammar, or '' if it has no counterpart.

    >>> translate("Tom"), translate("chases"), translate("chase"), translate("the")
    ('汤姆', '追逐', '追逐', '')
    """
    return _DICTIONARY.get(english, "")


_DICTIONARY: dict[str, str] = {
    **{**NAMES, **NOUNS, **ADJECTIVES, **VERBS, **PLACES, **DAYS, **OTHERS},
    **{_plain(verb): chinese for verb, chinese in VERBS.items()},
}
_ENGLISH = [*_DICTIONARY, *UNTRANSLATED]
_CHINESE = list(dict.fromkeys([*_DICTIONARY.values(), CLASSIFIER, OF, INSIDE]))


@dataclass(eq=False, repr=False)
class ToyTranslation(SaidTask):
    """English to Chinese by a small grammar: Tom chases Jerry, 汤姆 追逐 杰瑞, with every word's counterpart known.

    A sentence has one clause or more, joined by `and`. A clause is: subject, verb, object, and perhaps `does not`, a place
    and a day. A noun phrase is a name, or an article or demonstrative with a noun and perhaps an adjective. Chinese says the
    day and the place before the verb, has no articles and no `does`, and puts in the classifier 只, the particle 的 and the
    postposition 里, which translate nothing.

    English and Chinese words have independent vectors ~ N(0, I_d). A query is the vector of its target word, a value the
    one-hot vector of the translation (zero for words without one). So a model of vectors can align what a model of words
    translates.

    Gold: the link from each Chinese word to the English one that it translates; words without counterpart have a row of
    zeros. Target: the class of the Chinese word, int (n, q). Chance: the mean of 1/k over all words that have a counterpart.

    Parameters
    ----------
    length : int, at least 1
        The most clauses that a sentence has, L; their number is uniform on 1..length.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions of sentences with so many times L clauses, named `2L` for 2.
    unseen : float, more than 0, less than 0.5
        Share of all possible sentences that belongs to the test split; the same share belongs to validation.
    layout : str
        pairs, or tokens: one sequence of the source, a separator and what is said, for models of sequences (`attnlab.tasks.said`).
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    No sentence of one split occurs in another: a keyed hash of its English words says to which split it belongs, and the key
    is drawn from `rng`. The sentence is unseen, not its words. The first test sentence is always `Tom chases Jerry`, which
    belongs to that split. Sentences of `2L` clauses are longer than those of training.

    References
    ----------
    The grammar is written for this project. Tom and Jerry are the example of many introductions to attention. The question is
    that of Bahdanau, Cho, Bengio (2015), figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> test = ToyTranslation(n_train=4).make(np.random.default_rng(0)).tests["test"]
    >>> test.tokens[0]
    (['Tom', 'chases', 'Jerry'], ['汤姆', '追逐', '杰瑞'])
    """

    name = "toy_translation"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
    revision = 1
    counts = (*DrawnTask.counts, "transfer")

    length: Count = 2
    d: Count = 32
    transfer: Sequence[Factor] = ()
    unseen: Annotated[float, Gt(0), Lt(0.5)] = 0.2
    n_train: Count = field(default=2048, kw_only=True)

    @property
    def chance(self) -> float:
        return self.chance_in(chance_of((p, k, asked) for (k, asked), p in self._sizes().items()))

    def _sizes(self) -> Sizes:
        """The probability of sentences by (English words, those that have a Chinese counterpart)."""
        one: Sizes = {(1, 1): 1.0}
        noun = _sums({(1, 0): 1 / 3, (1, 1): 2 / 3}, _perhaps(P_ADJECTIVE, (1, 1)), one)
        phrase = {size: (1 - P_NAME) * p for size, p in noun.items()} | {(1, 1): P_NAME}
        more = [_perhaps(p, size) for p, size in ((P_NOT, (2, 1)), (P_PLACE, (3, 2)), (P_DAY, (1, 1)))]
        clause = _sums(phrase, one, phrase, *more)
        sentence, total = clause, dict(clause)
        for _ in range(self.length - 1):
            sentence = _sums(sentence, one, clause)
            total = {size: total.get(size, 0.0) + sentence.get(size, 0.0) for size in total.keys() | sentence.keys()}
        return total

    def conditions(self) -> dict[str, dict[str, int]]:
        return longer(self.transfer)

    def shared(self, rng: Rng) -> dict[str, Any]:
        classes = {word: _CHINESE.index(chinese) for word, chinese in _DICTIONARY.items()}
        return {"key": rng.bytes(16), "book": Dictionary(rng, _ENGLISH, _CHINESE, classes, self.d, asks=True)}

    def draw(
        self, rng: Rng, n: int, split: str, block: int, key: bytes, book: Dictionary, factor: int = 1
    ) -> AlignmentData:
        clauses = self.length * factor
        k, q = (most * clauses + clauses - 1 for most in LONGEST)
        if factor > 1:
            return book.data([_sentence(rng, clauses) for _ in range(n)], k, q, layout=self.layout)
        found = [FIRST] if split == "test" and block == 0 else []
        in_vain = 0
        while len(found) < n:
            said = _sentence(rng, int(rng.integers(1, clauses + 1)))
            if self._split_of(said, key) == split:
                found.append(said)
                in_vain = 0
            elif (in_vain := in_vain + 1) > MOST_TRIES:
                raise SettingError(
                    f"task {self.name!r}: of {MOST_TRIES} sentences that were drawn one after the other, none belongs to {split} with "
                    f"unseen = {self.unseen!r}: take more, such as 0.2"
                )
        return book.data(found, k, q, layout=self.layout)

    def _split_of(self, said: Said, key: bytes) -> str:
        """train, validation or test, by the hash of what is said."""
        return "test" if said.source == FIRST.source else HeldOut(key, self.unseen).split_of(said.source)


def _perhaps(probability: float, size: tuple[int, int]) -> Sizes:
    return {(0, 0): 1 - probability, size: probability}


def _sums(*sizes: Sizes) -> Sizes:
    """The distribution of a sum of independent pairs of numbers."""
    total: Sizes = {(0, 0): 1.0}
    for one in sizes:
        both = [((k + i, a + j), p * q) for (k, a), p in total.items() for (i, j), q in one.items()]
        total = {}
        for size, p in both:
            total[size] = total.get(size, 0.0) + p
    return total
