"""Translations with known word alignments: phrases that change places, and a small grammar of English and Chinese."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnlab.data import AlignmentData, Splits
from attnlab.interfaces import Source, Task
from attnlab.tasks.words import Count, Dictionary, Factor, Said, chance_of, conditions

__all__ = ["BlockReorder", "ToyTranslation", "translate"]

Sizes = dict[tuple[int, int], float]  # the probability of (English words, those that have a counterpart)
Share = Annotated[float, Ge(0), Lt(1)]


class BlockReorder(Task):
    """Subject verb object becomes subject object verb: whole phrases change places, words are dropped and put in.

    A source has three phrases of 1..length words each, uniform: nouns, verbs, nouns, drawn from `vocabulary` words of each
    sort with repetition. Each word becomes one of the two synonyms of its translation, or is dropped with probability `drop`
    (never the first); after each target word a particle without counterpart is put in with probability `insert`. The phrases
    then stand in the order subject, object, verb. Source and target words have vectors ~ N(0, I_d) that have nothing to do
    with each other: a query is the vector of its target word, a value is one-hot for the class of the translation.

    Gold, the sure links: from each target word to the word that it translates; particles have none. Possible: from it to the
    other words of the same phrase. Target: the class, int (n, q); synonyms are of one class, particles of their own. Chance:
    the mean of 1/k over all target words that are no particles.

    Parameters
    ----------
    length : int, at least 1
        Words of a phrase at most, L.
    vocabulary : int, at least 1
        Different nouns, and different verbs.
    drop, insert : float, 0 to less than 1
        Probabilities.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions with phrases of so many times L words, named `2L` for 2.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    The verb's phrase jumps over the object's: local windows about the diagonal miss it, the more the longer the phrases.

    References
    ----------
    Defined here; sure and possible links are those of Och and Ney (2003), section 5.

    Examples
    --------
    >>> import numpy as np
    >>> data = BlockReorder(length=1, insert=0.0, drop=0.0, n_train=1).make(np.random.default_rng(0)).train
    >>> data.tokens[0], data.gold[0].astype(int).tolist()
    ((['n7', 'v8', 'n4'], ['N7', 'N4', "V8'"]), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    """

    name = "block_reorder"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")

    def __init__(
        self,
        length: Count = 3,
        vocabulary: Count = 12,
        drop: Share = 0.1,
        insert: Share = 0.1,
        d: Count = 32,
        transfer: Sequence[Factor] = (),
        n_train: Count = 512,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.length = length
        self.vocabulary = vocabulary
        self.drop = drop
        self.insert = insert
        self.d = d
        self.transfer = transfer
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        sizes = Counter(sum(three) for three in itertools.product(range(1, self.length + 1), repeat=3))
        return chance_of((ways, k, 1 + (k - 1) * (1 - self.drop)) for k, ways in sizes.items())

    def make(self, rng: np.random.Generator) -> Splits:
        shared, train, validation, test, longer = rng.spawn(5)
        source = [f"{sort}{i}" for sort in "nv" for i in range(self.vocabulary)]
        classes = {word: i for i, word in enumerate(source)}
        class_of = {w.upper() + mark: i for w, i in classes.items() for mark in ("", "'")}
        class_of |= {f"-{p}": len(source) + i for i, p in enumerate("abc")}
        book = Dictionary(shared, source, class_of, classes, self.d, asks=True, class_of=class_of)

        def draw(rng: np.random.Generator, n: int, factor: int = 1) -> AlignmentData:
            return book.data([self._say(rng, factor) for _ in range(n)], possible=True)

        tests = {"test": draw(test, self.n_test)}
        tests |= conditions(self.transfer, longer, lambda rng, factor: draw(rng, self.n_test, factor))
        return Splits(draw(train, self.n_train), draw(validation, self.n_validation), tests)

    def _say(self, rng: np.random.Generator, factor: int) -> Said:
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


class Piece(NamedTuple):
    """English words and Chinese words, each of which names the English word that it translates, or none."""

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


def _pick(rng: np.random.Generator, words: Mapping[str, str]) -> str:
    return list(words)[rng.integers(len(words))]


def _noun_phrase(rng: np.random.Generator) -> Piece:
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


def _clause(rng: np.random.Generator) -> Piece:
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


def _sentence(rng: np.random.Generator, clauses: int) -> Said:
    piece = _clause(rng)
    for _ in range(clauses - 1):
        piece = piece + Piece(["and"], [(OTHERS["and"], 0)]) + _clause(rng)
    links = [(j, i) for i, (_, j) in enumerate(piece.chinese) if j is not None]
    return Said(piece.english, [word for word, _ in piece.chinese], links)


def translate(english: str) -> str:
    """The Chinese word of an English word of the grammar, or '' for one without counterpart.

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


class ToyTranslation(Task):
    """English to Chinese by a small grammar: Tom chases Jerry, 汤姆 追逐 杰瑞, with every word's counterpart known.

    A sentence has one clause or more, joined by `and`. A clause is: subject, verb, object, and perhaps `does not`, a place
    and a day. A noun phrase is a name, or an article or demonstrative with a noun and perhaps an adjective. Chinese says the
    day and the place before the verb, has no articles and no `does`, and puts in the classifier 只, the particle 的 and the
    postposition 里, which translate nothing.

    English and Chinese words have vectors ~ N(0, I_d) that have nothing to do with each other: a query is the vector of its
    target word, a value the one-hot vector of the translation (zero for words without one), so that a model of vectors can
    align what a model of words translates.

    Gold: the link from each Chinese word to the English one that it translates; words without counterpart have a row of
    zeros. Target: the class of the Chinese word, int (n, q). Chance: the mean of 1/k over all words that have a counterpart.

    Parameters
    ----------
    length : int, at least 1
        Clauses of a sentence at most, L; uniform on 1..length.
    d : int, at least 1
        Features of a query or key.
    transfer : sequence of int, each at least 2
        Further test conditions of sentences with so many times L clauses, named `2L` for 2.
    unseen : float, more than 0, less than 0.5
        Share of all possible sentences that belongs to the test split, and as much to validation.
    n_train, n_validation, n_test : int, at least 1
        Examples of each split, and of each test condition.

    Notes
    -----
    No sentence of one split occurs in another: a keyed hash of its English words, the key drawn from `rng`, says to which it
    belongs. What is unseen is the sentence, not its words. The first test sentence is always `Tom chases Jerry`, which
    belongs to that split. Sentences of `2L` clauses are longer than any of training.

    References
    ----------
    The grammar is written for this project; the example of Tom and Jerry is that of many introductions to attention. For the
    question, Bahdanau, Cho, Bengio (2015), figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> test = ToyTranslation(n_train=4).make(np.random.default_rng(0)).tests["test"]
    >>> test.tokens[0]
    (['Tom', 'chases', 'Jerry'], ['汤姆', '追逐', '杰瑞'])
    """

    name = "toy_translation"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")

    def __init__(
        self,
        length: Count = 2,
        d: Count = 32,
        transfer: Sequence[Factor] = (),
        unseen: Annotated[float, Gt(0), Lt(0.5)] = 0.2,
        n_train: Count = 2048,
        n_validation: Count = 128,
        n_test: Count = 256,
    ) -> None:
        self.length = length
        self.d = d
        self.transfer = transfer
        self.unseen = unseen
        self.n_train = n_train
        self.n_validation = n_validation
        self.n_test = n_test

    @property
    def chance(self) -> float:
        return chance_of((p, k, asked) for (k, asked), p in self._sizes().items())

    def _sizes(self) -> Sizes:
        """How probable k English words are, of which so many have a Chinese counterpart."""
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

    def make(self, rng: np.random.Generator) -> Splits:
        shared, train, validation, test, longer = rng.spawn(5)
        key = shared.bytes(16)
        book = Dictionary(
            shared, _ENGLISH, _CHINESE, {w: _CHINESE.index(c) for w, c in _DICTIONARY.items()}, self.d, asks=True
        )
        first = Said(["Tom", "chases", "Jerry"], ["汤姆", "追逐", "杰瑞"], [(0, 0), (1, 1), (2, 2)])

        def belongs(said: Said) -> str:
            """train, validation or test, by the hash of what is said."""
            digest = hashlib.blake2b(" ".join(said.source).encode(), key=key, digest_size=8).digest()
            share = int.from_bytes(digest, "big") / 2**64
            if said.source == first.source or share < self.unseen:
                return "test"
            return "validation" if share < 2 * self.unseen else "train"

        def draw(rng: np.random.Generator, n: int, split: str) -> list[Said]:
            found: list[Said] = []
            while len(found) < n:
                said = _sentence(rng, int(rng.integers(1, self.length + 1)))
                if belongs(said) == split:
                    found.append(said)
            return found

        def draw_longer(rng: np.random.Generator, factor: int) -> AlignmentData:
            return book.data([_sentence(rng, self.length * factor) for _ in range(self.n_test)])

        tests = {"test": book.data([first, *draw(test, self.n_test - 1, "test")])}
        tests |= conditions(self.transfer, longer, draw_longer)
        return Splits(
            book.data(draw(train, self.n_train, "train")),
            book.data(draw(validation, self.n_validation, "validation")),
            tests,
        )


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
