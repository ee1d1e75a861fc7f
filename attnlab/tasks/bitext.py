"""Real sentence pairs from files, with gold alignments where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Le

from attnlab.bitext import Links, read_links, read_pairs, to_alignment_data
from attnlab.data import Splits
from attnlab.errors import SettingError
from attnlab.interfaces import Source, Task
from attnlab.tasks.drawn import Count

__all__ = ["Bitext"]


class Bitext(Task):
    """Your own sentence pairs, with their word alignments where they are known.

    Rows of an alignment are target words, columns source words. Formats: one file of lines `source ||| target`; two files,
    one for each side (`target_path`); one file with tabs and the two `columns`. Gold alignments are lines of Pharaoh links
    `i-j`, or `ipj` and `i?j` for possible links. A mistake is an error with file and line; no line is skipped. A pair may have
    an empty side, and then has no links.

    Training and validation have all pairs, without gold, in an order drawn from `rng`. The test condition `test` has the same
    pairs with gold, in the file's order. A word aligner learns from the text that it aligns, so gold is held out and text is
    not. `rng` also draws the pairs that `share` keeps, as one permutation: a larger share keeps those of a smaller one.

    Seeds thus draw from one corpus and have pairs in common. By `overlap` the intervals of claims know it: with either `share`
    or `bootstrap` they are about sentences like these. With neither a seed draws no pairs, and they are about these sentences.

    Queries are the target words and keys and values the source words, as vectors of how they are spelled
    (`attnlab.bitext.spelling_vectors`); `tokens` has the words.

    Gold: the sure links; a word may have several. Possible links are in `possible`. Target: none, the task is unsupervised.
    Chance: the mean share of source words that are gold, over the target words that have a link; NaN without gold.

    Parameters
    ----------
    path : str
        The file of pairs, or of source sentences. This and the other files are relative to the experiment file, or in Python
        to the current directory.
    target_path : str or None
        The file of target sentences.
    columns : two ints, at least 1, or None
        The columns of source and target, counted from 1.
    gold_path : str or None
        The file of alignments.
    gold_first : 0, 1 or None
        The number of the first word in it; with None it is found where the file proves it.
    tokens : "words", "raw" or "characters"
        How a line is split: "words" at ASCII white space; "raw" at any white space, with punctuation marks and Chinese and
        Japanese characters as tokens of their own; "characters" at every character.
    d : int, at least 1
        Features of a query or key.
    limit : int, at least 1, or None
        Only the first so many pairs.
    share : float in (0, 1]
        Only this part of them, drawn from `rng`. The parts that several seeds draw overlap: results of halves differ from seed
        to seed about as much as a result of the whole corpus would differ from one corpus to another, and the mean of many
        seeds is no surer than that.
    bootstrap : bool
        Whether the test condition is a bootstrap sample: as many pairs as there are, drawn from `rng` with replacement. All
        pairs are learned from.

    Raises
    ------
    FileNotFoundError, BitextError
        When there is no such file, or a line of it is wrong.
    SettingError
        When target_path and columns are both given, or share below 1 and bootstrap.

    References
    ----------
    Mihalcea and Pedersen (2003), the shared task whose test sets have this form; Och and Ney (2003), for sure and possible;
    Shao and Wu (1989), A general theory for jackknife variance estimation, for parts of a sample; Efron (1979), Bootstrap
    methods: another look at the jackknife.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text, gold = pathlib.Path(folder, "text"), pathlib.Path(folder, "gold")
    ...     n = text.write_text("the cat ||| le chat\\nthank you ||| merci\\n", encoding="utf-8")
    ...     n = gold.write_text("1-1 2-2\\n1-1 2p1\\n", encoding="utf-8")
    ...     test = Bitext(str(text), gold_path=str(gold)).make(np.random.default_rng(0)).tests["test"]
    >>> test.tokens[1], test.gold[1].astype(int).tolist(), test.possible[1].astype(int).tolist()
    ((['thank', 'you'], ['merci']), [[1, 0], [0, 0]], [[0, 1], [0, 0]])
    """

    name = "bitext"
    source = Source("An Evaluation Exercise for Word Alignment", "R. Mihalcea, T. Pedersen", 2003, "HLT-NAACL workshop")
    revision = 1
    counts = ()

    def __init__(
        self,
        path: str,
        target_path: str | None = None,
        columns: Sequence[Count] | None = None,
        gold_path: str | None = None,
        gold_first: Literal[0, 1] | None = None,
        tokens: Literal["words", "raw", "characters"] = "words",
        d: Count = 32,
        limit: Count | None = None,
        share: Annotated[float, Gt(0), Le(1)] = 1.0,
        bootstrap: bool = False,
    ) -> None:
        self.path = path
        self.target_path = target_path
        self.columns = columns
        self.gold_path = gold_path
        self.gold_first = gold_first
        self.tokens = tokens
        self.d = d
        self.limit = limit
        self.share = share
        self.bootstrap = bootstrap

    def _read(self) -> tuple[list[tuple[list[str], list[str]]], list[Links] | None]:
        if self.target_path is not None and self.columns is not None:
            raise SettingError("task 'bitext': columns are of one file with tabs; give either target_path or columns")
        pairs = read_pairs(self.path, self.target_path, self.columns, self.tokens)
        links = None if self.gold_path is None else read_links(self.gold_path, pairs, self.gold_first)
        return pairs[: self.limit], links and links[: self.limit]

    @property
    def chance(self) -> float:
        pairs, links = self._read()
        shares = []
        for (source, _), line in zip(pairs, links or [], strict=False):
            linked = [j for _, j in line.sure]
            shares += [linked.count(j) / len(source) for j in set(linked)]
        return float(np.mean(shares)) if shares else float("nan")

    @property
    def overlap(self) -> float:
        """As `Task.overlap`: by the delete-d jackknife share / (1 - share), by the bootstrap 1."""
        return 1.0 if self.bootstrap else self.share / (1 - self.share) if self.share < 1 else 0.0

    def make(self, rng: np.random.Generator) -> Splits:
        pairs, links = self._read()
        if self.share < 1 and self.bootstrap:
            raise SettingError(
                f"task 'bitext': a share ({self.share}) and a bootstrap sample are two ways to draw sentences; give one of them"
            )
        if self.share < 1:
            kept = np.sort(rng.permutation(len(pairs))[: max(1, round(self.share * len(pairs)))])
            pairs, links = [pairs[i] for i in kept], links and [links[i] for i in kept]
        train = to_alignment_data([pairs[i] for i in rng.permutation(len(pairs))], d=self.d)
        if self.bootstrap:
            drawn = np.sort(rng.integers(len(pairs), size=len(pairs)))
            pairs, links = [pairs[i] for i in drawn], links and [links[i] for i in drawn]
        return Splits(train, train, {"test": to_alignment_data(pairs, links, d=self.d)})
