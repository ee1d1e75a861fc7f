"""Words of a bitext aligned by attnlab, with and without spelling, beside the aligners of sil-thot, if that is installed.

    python benchmarks/word_alignment.py TEXT GOLD [--columns 1,2] [--tokens raw] [--gold-first 1]

TEXT has a pair a line, `source ||| target`, or columns separated by tabs; GOLD its links, a line a pair, `i-j` sure and `ipj`
possible. Every aligner sees these pairs alone, lower-cased, and no gold. Prints a Markdown table of alignment error rates, a
row an aligner, a column a direction or a way to make one alignment of two, which is the same code for all.

`pip install sil-thot` gives the peers: FastAlign, after five iterations as its authors run it and after as many as attnlab
takes, and Eflomal with its own schedule, which draws samples: its median of `--repeats` seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Iterator
from typing import Any

from attnlab import WordAligner
from attnlab.bitext import SYMMETRISATIONS, Link, Links, Pair, error_rate, read_links, read_pairs, symmetrised

Rates = dict[str, float]


def attnlab_rates(pairs: list[Pair], gold: list[Links], **settings: Any) -> Rates:
    aligner = WordAligner(**settings).fit(pairs)
    return {how: error_rate(aligner.links(pairs, how), gold)[0] for how in SYMMETRISATIONS}


def thot_links(model: Any, iterations: int | None, pairs: list[Pair]) -> Iterator[set[Link]]:
    """The links of each pair that training ends with, from its first side to its second; None is the model's own schedule."""
    model.emit_training_alignments = True
    for source, target in pairs:
        model.add_sentence_pair(source, target)
    model.start_training()
    for _ in range(model.scheduled_iterations if iterations is None else iterations):  # it knows once training starts
        model.train()
    model.end_training()
    for n in range(len(pairs)):
        matrix = model.get_training_alignment(n)[1]
        yield {(i, j) for i in range(matrix.row_length) for j in range(matrix.column_length) if matrix[i, j]}


def thot_rates(models: tuple[Any, Any], iterations: int | None, pairs: list[Pair], gold: list[Links]) -> Rates:
    whole = [pair for pair in pairs if all(pair)]  # an empty side has no links
    there = thot_links(models[0], iterations, whole)
    back = ({(i, j) for j, i in line} for line in thot_links(models[1], iterations, [(t, s) for s, t in whole]))
    found = iter(list(zip(there, back, strict=True)))
    both = [next(found) if all(pair) else (set(), set()) for pair in pairs]
    return {how: error_rate([symmetrised(f, b, how) for f, b in both], gold)[0] for how in SYMMETRISATIONS}


def eflomal_rates(pairs: list[Pair], gold: list[Links], repeats: int) -> Rates:
    from thot.alignment import EflomalAlignmentModel

    found = []
    for seed in range(repeats):
        models = EflomalAlignmentModel(), EflomalAlignmentModel()
        for number, model in enumerate(models):
            model.seed, model.deterministic = 2 * seed + number + 1, True
        found.append(thot_rates(models, None, pairs, gold))
    return {how: statistics.median(rates[how] for rates in found) for how in SYMMETRISATIONS}


def print_row(name: str, rates: Rates) -> None:
    print(f"| {name} | {' | '.join(f'{rates[how]:.3f}' for how in SYMMETRISATIONS)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("gold")
    parser.add_argument("--columns", type=lambda given: [int(c) for c in given.split(",")])
    parser.add_argument("--tokens", choices=["words", "raw", "characters"], default="words")
    parser.add_argument("--gold-first", type=int, choices=[0, 1])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    pairs = read_pairs(options.text, columns=options.columns, tokens=options.tokens)
    gold = read_links(options.gold, pairs, options.gold_first)
    pairs = [([w.lower() for w in source], [w.lower() for w in target]) for source, target in pairs]

    defaults = WordAligner()
    passes = defaults.warm_up + defaults.iterations
    print(f"| {len(pairs)} pairs, AER | {' | '.join(SYMMETRISATIONS)} |\n| --- |{' ---: |' * len(SYMMETRISATIONS)}")
    print_row("attnlab", attnlab_rates(pairs, gold))
    print_row("attnlab, `spelling=0`", attnlab_rates(pairs, gold, spelling=0.0))
    if importlib.util.find_spec("thot") is None:
        print("\nsil-thot is not installed: no peers")
        return
    from thot.alignment import FastAlignModel

    for iterations in (5, passes):
        models = FastAlignModel(), FastAlignModel()
        print_row(f"FastAlign, {iterations} iterations", thot_rates(models, iterations, pairs, gold))
    print_row(f"Eflomal, median of {options.repeats} seeds", eflomal_rates(pairs, gold, options.repeats))


if __name__ == "__main__":
    main()
