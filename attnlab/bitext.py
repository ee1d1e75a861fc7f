"""Sentence pairs and word alignments in files: read with every mistake at its line, and written.

A pair is (source tokens, target tokens). Links are (i, j), source word i and target word j, counted from 0. Files are
UTF-8, a pair a line, in one of three formats: `source ||| target`; two files, a side each; columns separated by tabs.
Alignments are in Pharaoh's format, a pair a line: `i-j` a sure link, `ipj` or `i?j` a possible one.

No line is skipped. A side may be empty (its pair has no links); a line without its separator or column is an error, also a
blank one.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import BitextError, did_you_mean

__all__ = [
    "SYMMETRISATIONS",
    "Link",
    "Links",
    "Pair",
    "Symmetrise",
    "error_rate",
    "read_links",
    "read_pairs",
    "spelling_vectors",
    "symmetrised",
    "to_alignment_data",
    "tokenise",
    "write_links",
]

Pair = tuple[list[str], list[str]]  # the source words and the target words of one sentence pair
Link = tuple[int, int]  # (source word, target word), counted from 0
# the type of a way to join two directions: one of `SYMMETRISATIONS`
Symmetrise = Literal["forward", "backward", "intersection", "union", "grow-diag"]
# the ways to join the alignments of two directions; `symmetrised` explains them
SYMMETRISATIONS = ("forward", "backward", "intersection", "union", "grow-diag")
Tokens = Literal["words", "raw", "characters"]
TOKENS = ("words", "raw", "characters")
PathLike = str | os.PathLike[str]

_WORD = re.compile(r"[^ \t\n\v\f\r]+")
# Scripts that are written without spaces: kana, Han and its extensions. Each of their characters is a token of its own.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_LINK = re.compile(r"([0-9]+)([-p?])([0-9]+)")


class Links(NamedTuple):
    """The alignment of one pair: sure links, and possible ones besides them."""

    sure: frozenset[Link]
    possible: frozenset[Link] = frozenset()


# -- reading ----------------------------------------------------------------------------------------------------------
def tokenise(text: str, tokens: Tokens = "words") -> list[str]:
    """The tokens of a sentence.

    Parameters
    ----------
    text : str
    tokens : "words", "raw" or "characters"
        "words" splits at ASCII white space, for text that is tokenised: a no-break space is part of a word, as it is for
        other aligners, so that links count the same words. "raw" splits at any white space, sets punctuation marks apart
        (3.5 and 1,000 stay whole), and makes each Chinese or Japanese character a token. "characters" makes each character
        a token. Combining marks, such as vowel signs and accents, stay with the character before them.

    Examples
    --------
    >>> tokenise("Tom's  cat."), tokenise("Tom's  cat.", "raw"), tokenise("汤姆 runs。", "raw"), tokenise("a b", "characters")
    (["Tom's", 'cat.'], ["Tom's", 'cat', '.'], ['汤', '姆', 'runs', '。'], ['a', 'b'])
    """
    if tokens == "words":
        return _WORD.findall(text)
    if tokens in ("raw", "characters"):
        raw, characters = _patterns()
        return (raw if tokens == "raw" else characters).findall(text)
    raise ValueError(f"tokens must be one of {', '.join(TOKENS)}; got {tokens!r}{did_you_mean(str(tokens), TOKENS)}")


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What a token is: in raw text, and of one character; each with its marks, which `\\w` does not know."""
    marks = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c).startswith("M"))
    mark = f"[{marks}\u00ad\u200c\u200d]"  # and what joins or parts the letters of one word without being seen
    unspaced, letter = f"[{_UNSPACED}]{mark}*", f"(?:[^\\W_{_UNSPACED}]{mark}*)"
    raw = rf"{unspaced}|{letter}+(?:(?:['’\-]|(?<=\d)[.,](?=\d)){letter}+)*|\S{mark}*"
    return re.compile(raw), re.compile(rf"\S{mark}*")


def read_pairs(
    path: PathLike,
    target_path: PathLike | None = None,
    columns: Sequence[int] | None = None,
    tokens: Tokens = "words",
) -> list[Pair]:
    """Read sentence pairs.

    Parameters
    ----------
    path : the file of pairs, or of source sentences; "-" is standard input
    target_path : the file of target sentences, or None
    columns : the two columns of source and target, counted from 1, of a file with tabs; or None for `source ||| target`
    tokens : how to split sentences: see `tokenise`

    Returns
    -------
    list of (source tokens, target tokens)

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    BitextError
        With file and line, when a line is not in the format, is not UTF-8, or the two files differ in length.
    """
    if target_path is not None:
        if columns is not None:
            raise BitextError("columns are of one file with tabs; give either two files or columns")
        sides = [_lines(path), _lines(target_path)]
        if len(sides[0]) != len(sides[1]):
            raise BitextError(
                f"{os.fspath(path)} has {len(sides[0])} lines and {os.fspath(target_path)} has {len(sides[1])}: "
                "line n of one must translate line n of the other"
            )
        return [(tokenise(s, tokens), tokenise(t, tokens)) for s, t in zip(*sides, strict=True)]
    if columns is not None:
        if len(columns) != 2 or not all(isinstance(c, (int, np.integer)) and c >= 1 for c in columns):
            raise BitextError(f"columns must be two numbers counted from 1, source and target; got {tuple(columns)}")
        if columns[0] == columns[1]:
            raise BitextError(f"source and target must be two columns; got column {columns[0]} for both")
        split = _columns(path, int(columns[0]), int(columns[1]))
    else:
        split = _barred(path)
    return [(tokenise(s, tokens), tokenise(t, tokens)) for s, t in split]


def _lines(path: PathLike) -> list[str]:
    """The lines of a UTF-8 file, or of standard input, without their ends."""
    name = os.fspath(path)
    if name != "-" and not os.path.exists(name):
        raise FileNotFoundError(f"no such file: {name}")
    if os.path.isdir(name):
        raise BitextError(f"{name} is a directory; give one of its files")
    try:
        if name == "-":
            if sys.stdin is None:
                raise BitextError("-: there is no standard input; give a file, or pipe one in")
            content = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:
                content = file.read()
    except OSError as error:
        raise BitextError(f"{name}: cannot be read ({error.strerror})") from error
    raw = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if raw[-1] == b"":
        raw.pop()
    lines = []
    for number, line in enumerate(raw, 1):
        try:
            lines.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise BitextError(f"{name}:{number}: not UTF-8 ({error.reason} at byte {error.start})") from None
    if not lines and name == "-":
        raise BitextError("standard input is empty, or was read before: it can be one file only")
    if not lines:
        raise BitextError(f"{name}: the file is empty")
    return lines


def _barred(path: PathLike) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(_lines(path), 1):
        sides = line.split("|||")
        if len(sides) != 2:
            what = "a blank line" if not line.strip() else f"{len(sides) - 1} separators |||"
            raise BitextError(
                f"{os.fspath(path)}:{number}: a line must be `source ||| target`; got {what}"
                + (" (a file with tabs needs columns, such as 1,2)" if "\t" in line else "")
            )
        yield sides[0], sides[1]


def _columns(path: PathLike, source: int, target: int) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(_lines(path), 1):
        cells = line.split("\t")
        if len(cells) < max(source, target):
            raise BitextError(
                f"{os.fspath(path)}:{number}: there is no column {max(source, target)}; the line has {len(cells)}, "
                "separated by tabs"
            )
        yield cells[source - 1], cells[target - 1]


def read_links(path: PathLike, pairs: Sequence[Pair], first: Literal[0, 1] | None = None) -> list[Links]:
    """Read the alignment of each pair.

    Parameters
    ----------
    path : the file, a line a pair; a blank line has no links
    pairs : the pairs, for which every link must hold
    first : the number of the first word, 0 or 1. None finds out, where the file proves it: a 0 says 0, and a number that is
        the length of its sentence says 1.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    BitextError
        With file and line, when a link is malformed or points outside its pair, when there are more or fewer lines than
        pairs, or when the file does not prove its first number.
    """
    name = os.fspath(path)
    lines = _lines(path)
    if len(lines) != len(pairs):
        raise BitextError(f"{name} has {len(lines)} lines for {len(pairs)} pairs; there must be a line for each pair")
    found = [[_link(f"{name}:{number}", word) for word in line.split()] for number, line in enumerate(lines, 1)]
    if first is None:
        first = _first_number(name, found, pairs)
    links = []
    for number, (line, (source, target)) in enumerate(zip(found, pairs, strict=True), 1):
        sure: set[Link] = set()
        possible: set[Link] = set()
        for i, sign, j in line:
            if not (first <= i < first + len(source) and first <= j < first + len(target)):
                raise BitextError(
                    f"{name}:{number}: {i}{sign}{j} points outside the pair, which has {len(source)} source and "
                    f"{len(target)} target words, counted from {first}"
                )
            (sure if sign == "-" else possible).add((i - first, j - first))
        links.append(Links(frozenset(sure), frozenset(possible - sure)))
    return links


def _link(where: str, word: str) -> tuple[int, str, int]:
    match = _LINK.fullmatch(word)
    if match is None:
        raise BitextError(f"{where}: a link must be i-j, or ipj or i?j where it is possible; got {word!r}")
    return int(match[1]), match[2], int(match[3])


def _first_number(name: str, found: Sequence[Sequence[tuple[int, str, int]]], pairs: Sequence[Pair]) -> Literal[0, 1]:
    beyond = False
    for line, (source, target) in zip(found, pairs, strict=True):
        for i, _, j in line:
            if i == 0 or j == 0:
                return 0
            beyond |= i == len(source) or j == len(target)
    if not beyond and any(found):
        raise BitextError(
            f"{name}: it is not clear whether its words are counted from 0 or from 1; say which: `--gold-first` of attnlab "
            "align, `gold_first` of the task bitext, `first` of read_links"
        )
    return 1


def write_links(links: Iterable[Iterable[Link]]) -> str:
    """Pharaoh lines of links (i, j), counted from 0 and sorted.

    >>> write_links([{(1, 0), (0, 2)}, set()])
    '0-2 1-0\\n\\n'
    """
    return "".join(" ".join(f"{i}-{j}" for i, j in sorted(line)) + "\n" for line in links)


# -- links --------------------------------------------------------------------------------------------------------------
def symmetrised(forward: set[Link], backward: set[Link], how: Symmetrise) -> set[Link]:
    """The links (source, target) that two directions give together.

    "forward" and "backward" are one of them. "grow-diag" starts from the intersection and adds links of the union that
    touch one that is there, diagonally or not, and bring a word that has none yet (Koehn, Och, Marcu 2003).

    >>> sorted(symmetrised({(0, 0), (1, 1), (3, 3)}, {(0, 0), (1, 2)}, "grow-diag"))
    [(0, 0), (1, 1), (1, 2)]
    """
    if how not in SYMMETRISATIONS:
        raise ValueError(f"symmetrise must be one of {', '.join(SYMMETRISATIONS)}; got {how!r}")
    if how in ("forward", "backward"):
        return forward if how == "forward" else backward
    if how == "union":
        return forward | backward
    found = forward & backward
    if how == "intersection":
        return found
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    while True:
        added = set()
        for i, j in sorted((forward | backward) - found):
            touches = any((i + di, j + dj) in found for di in (-1, 0, 1) for dj in (-1, 0, 1))
            if touches and (i not in sources or j not in targets):
                added.add((i, j))
                found.add((i, j))
                sources.add(i)
                targets.add(j)
        if not added:
            return found


def error_rate(found: Iterable[Iterable[Link]], gold: Iterable[Links]) -> tuple[float, float, float]:
    """(AER, precision, recall) of links over the whole corpus; NaN where there is nothing to divide by.

    With the found links A, the sure links S and the possible ones P, which include S: 1 - (|A & S| + |A & P|) / (|A| + |S|),
    |A & P| / |A| and |A & S| / |S| (Och and Ney 2003).

    >>> error_rate([{(0, 0), (1, 1)}], [Links(frozenset({(0, 0)}), frozenset({(1, 0)}))])
    (0.33333333333333337, 0.5, 1.0)
    """
    a = s = a_s = a_p = 0
    for line, (sure, possible) in zip(found, gold, strict=True):
        links = set(line)
        a, s, a_s, a_p = a + len(links), s + len(sure), a_s + len(links & sure), a_p + len(links & (sure | possible))
    nan = float("nan")
    return 1 - (a_s + a_p) / (a + s) if a + s else nan, a_p / a if a else nan, a_s / s if s else nan


# -- as arrays --------------------------------------------------------------------------------------------------------
def spelling_vectors(words: Sequence[str], d: int) -> np.ndarray[Any, Any]:
    """Vectors (n, d) of length one whose inner products say how alike words are spelled.

    Letters and pairs of letters, with the word's borders, are counted into d places by a hash (the same everywhere), with
    a sign each, so that the inner product of words that share nothing is 0 on average.
    """
    from zlib import crc32

    X = np.zeros((len(words), d))
    for row, word in zip(X, words, strict=True):
        inside = f"^{word}$"
        for gram in [*word, *(inside[i : i + 2] for i in range(len(inside) - 1)), inside]:
            code = crc32(gram.encode())
            row[(code >> 1) % d] += 1.0 if code & 1 else -1.0
    length = np.linalg.norm(X, axis=-1, keepdims=True)
    return X / np.where(length > 0, length, 1)


def to_alignment_data(pairs: Sequence[Pair], links: Sequence[Links] | None = None, d: int = 32) -> AlignmentData:
    """Pairs as examples: queries are target words, keys and values source words, each by its `spelling_vectors`.

    Parameters
    ----------
    pairs : sequence of (source tokens, target tokens)
    links : sequence of Links, or None
        What becomes `gold` (sure links) and `possible`.
    d : int > 0
        Width of the vectors.

    Returns
    -------
    AlignmentData
        With the longest sentences as n_queries and n_keys, the others padded, and `tokens`.
    """
    n = len(pairs)
    q, k = (max([1, *(len(pair[side]) for pair in pairs)]) for side in (1, 0))
    Q, K = np.zeros((n, q, d)), np.zeros((n, k, d))
    mask = np.zeros((n, q, k), dtype=bool)
    words = sorted({word.lower() for pair in pairs for side in pair for word in side})
    vectors = spelling_vectors(words, d)
    place = {word: i for i, word in enumerate(words)}
    gold, possible = (
        (None, None) if links is None else (np.zeros((n, q, k), dtype=bool), np.zeros((n, q, k), dtype=bool))
    )
    for e, (source, target) in enumerate(pairs):
        Q[e, : len(target)] = vectors[[place[w.lower()] for w in target]]
        K[e, : len(source)] = vectors[[place[w.lower()] for w in source]]
        mask[e, : len(target), : len(source)] = True
        if links is not None:
            for array, some in ((gold, links[e].sure), (possible, links[e].possible)):
                for i, j in some:
                    array[e, j, i] = True  # type: ignore[index]
    return AlignmentData(Q, K, K, mask=mask, gold=gold, possible=possible, tokens=list(pairs))
