"""Sentences: checks them, turns them into numbers, and pads them into batches of similar length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["PAD", "START", "STOP", "UNKNOWN", "Vocabulary", "bucketed", "checked_sentences", "padded"]

Array = np.ndarray[Any, Any]
Token = str | int
PAD, START, STOP, UNKNOWN = range(4)  # these are not tokens: a user's "<unk>" is an ordinary word


def checked_sentences(given: Any, name: str, allow_empty: bool = False) -> list[list[Token]]:
    """Sentences as lists of tokens, each a str or an int.

    Raises
    ------
    TypeError, ValueError
        The message names the sentence and what was given.
    """
    if isinstance(given, str) or not hasattr(given, "__len__") or isinstance(given, (dict, set)):
        raise TypeError(f"{name} must be a list of sentences, each a list of tokens; got {type(given).__name__}")
    sentences: list[list[Token]] = []
    for i, sentence in enumerate(given):
        if isinstance(sentence, str):
            raise TypeError(
                f"{name}[{i}] is one string, {sentence[:40]!r}; give a list of tokens, for example sentence.split()"
            )
        if not hasattr(sentence, "__len__") or isinstance(sentence, (dict, set, bytes)):
            raise TypeError(f"{name}[{i}] must be a list of tokens; got {type(sentence).__name__}")
        tokens: list[Token] = []
        for j, token in enumerate(sentence):
            if isinstance(token, (bool, np.bool_)) or not isinstance(token, (str, int, np.integer)):
                raise TypeError(f"{name}[{i}][{j}] must be a str or an int; got {type(token).__name__} {token!r}")
            tokens.append(str(token) if isinstance(token, str) else int(token))
        if not tokens and not allow_empty:
            raise ValueError(f"{name}[{i}] is empty; a source sentence needs at least one token: leave such pairs out")
        sentences.append(tokens)
    return sentences


class Vocabulary:
    """The tokens seen in training, by number; 0 to 3 are padding, start, stop and unknown.

    Parameters
    ----------
    sentences : lists of tokens
    min_count : int
        A token seen less often is unknown.
    """

    def __init__(self, sentences: Sequence[Sequence[Token]], min_count: int = 1) -> None:
        seen = Counter(token for sentence in sentences for token in sentence)
        kept = [token for token, times in seen.items() if times >= min_count]
        self.tokens: list[Token] = sorted(kept, key=lambda token: (isinstance(token, str), token))
        self.index = {token: UNKNOWN + 1 + i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens) + UNKNOWN + 1

    def numbers(self, sentences: Sequence[Sequence[Token]]) -> list[list[int]]:
        """The sentences in numbers."""
        return [[self.index.get(token, UNKNOWN) for token in sentence] for sentence in sentences]

    def words(self, numbers: Sequence[int]) -> list[Token]:
        """The tokens again, up to the first stop."""
        words = []
        for number in numbers:
            if number == STOP:
                break
            words.append(self.tokens[number - UNKNOWN - 1])
        return words


def padded(sentences: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """(ids (n, m), mask (n, m)) of ragged sentences."""
    m = max((len(s) for s in sentences), default=0)
    ids = np.full((len(sentences), m), PAD)
    mask = np.arange(m) < np.array([len(s) for s in sentences], dtype=int).reshape(-1, 1)
    ids[mask] = [number for sentence in sentences for number in sentence]
    return ids, mask


def bucketed(lengths: Sequence[tuple[int, ...]], size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Endless batches of `size` indices of examples of similar length, so padding is small; each epoch is shuffled."""
    columns = np.array(lengths).T
    while True:
        shuffled = rng.permutation(len(lengths))
        order = shuffled[np.lexsort(columns[:, shuffled][::-1])]  # by the first length, then the second, then at random
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for i in rng.permutation(len(batches)):
            yield batches[i]
