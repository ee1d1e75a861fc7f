"""`attnlab align`: a word aligner on its own. Alignments go to stdout, scores and messages to stderr."""

from __future__ import annotations

from typing import Any, Literal

import click

__all__ = ["align"]


def _columns(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    words = value.split(",")
    if len(words) != 2 or not all(w.strip().isdecimal() and int(w) >= 1 for w in words):
        raise click.BadParameter(f"two numbers counted from 1, source and target, such as 1,2; got {value!r}")
    return int(words[0]), int(words[1])


@click.command()
@click.argument("file")
@click.argument("target_file", required=False)
@click.option(
    "--columns",
    callback=_columns,
    metavar="S,T",
    help="FILE has columns separated by tabs: the numbers of source and target, from 1.",
)
@click.option(
    "--tokens",
    type=click.Choice(["words", "raw", "characters"]),
    default="words",
    show_default=True,
    help="words: split at ASCII white space. raw: also set punctuation apart, and Chinese and Japanese characters. "
    "characters: each by itself.",
)
@click.option(
    "--symmetrise",
    type=click.Choice(["grow-diag", "intersection", "union", "forward", "backward"]),
    default="grow-diag",
    show_default=True,
    help="How the two directions become one alignment.",
)
@click.option(
    "--gold", metavar="FILE", help="Alignments to compare with, a line a pair: i-j sure, ipj or i?j possible."
)
@click.option(
    "--gold-first",
    type=click.Choice(["0", "1", "find-out"]),
    default="find-out",
    show_default=True,
    help="The number of the first word in the gold file.",
)
def align(
    file: str,
    target_file: str | None,
    columns: tuple[int, int] | None,
    tokens: Literal["words", "raw", "characters"],
    symmetrise: Any,
    gold: str | None,
    gold_first: str,
) -> None:
    """Align the words of sentence pairs, learning from these pairs alone.

    FILE has one pair a line, `source ||| target`. With TARGET_FILE, FILE has the source sentences and TARGET_FILE the
    target sentences. With --columns, FILE has columns separated by tabs. A FILE of - is standard input.

    The output has one line for each pair, with links i-j: source word i and target word j, counted from 0. With --gold the
    alignment error rate, precision and recall are printed on stderr; nothing is learned from gold. A pair with an empty
    side has no links. A line in another format is an error, and nothing is written.

    \b
    attnlab align corpus.en-fr > links.txt
    attnlab align corpus.en corpus.fr --symmetrise intersection
    attnlab align sentences.tsv --columns 1,2 --tokens raw
    """
    from attnlab.bitext import error_rate, read_links, read_pairs, write_links
    from attnlab.errors import BitextError
    from attnlab.models.words.estimator import WordAligner

    inputs = {"FILE": file, "TARGET_FILE": target_file, "--gold": gold}
    piped = [name for name, given in inputs.items() if given == "-"]
    if len(piped) > 1:
        raise click.UsageError(f"standard input can be one file only; got - for {' and '.join(piped)}")
    pairs = read_pairs(file, target_file, columns, tokens)
    first: Literal[0, 1] | None = None if gold_first == "find-out" else 0 if gold_first == "0" else 1
    known = None if gold is None else read_links(gold, pairs, first)
    if known is not None and not any(links.sure for links in known):
        raise BitextError(f"{gold}: no line has a sure link i-j, so there is nothing to compare with")
    empty = sum(not (source and target) for source, target in pairs)
    if empty == len(pairs):
        raise BitextError(f"{file}: no pair has words on both sides")
    if empty:
        click.echo(f"attnlab: {empty} of {len(pairs)} pairs have an empty side, and no links", err=True)
    found = WordAligner().fit(pairs).links(pairs, symmetrise)
    click.echo(write_links(found), nl=False)
    if known is not None:
        aer, precision, recall = error_rate(found, known)
        click.echo(
            f"AER {aer:.3f}  precision {precision:.3f}  recall {recall:.3f}  ({len(pairs)} pairs, {symmetrise})",
            err=True,
        )
