"""Parallel text and alignments in every format, and every mistake at its file and line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnlab.bitext import (
    Links,
    error_rate,
    read_links,
    read_pairs,
    spelling_vectors,
    symmetrised,
    to_alignment_data,
    tokenise,
    write_links,
)
from attnlab.errors import BitextError, SettingError
from attnlab.metrics.alignment import Aer, AerPrecision, AerRecall
from attnlab.tasks.bitext import Bitext
from attnlab.testing import check_component

HANSARDS = Path(__file__).parents[2].parent / "shared" / "data" / "bitext" / "hansards.en-fr"
TEXT = "the cat ||| le chat\nTom sees it ||| Tom le voit\n ||| rien\n"
PAIRS = [(["the", "cat"], ["le", "chat"]), (["Tom", "sees", "it"], ["Tom", "le", "voit"]), ([], ["rien"])]


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# -- text -------------------------------------------------------------------------------------------------------------
def test_the_three_formats_give_the_same_pairs(tmp_path):
    one = write(tmp_path, "one", TEXT)
    two = [write(tmp_path, n, t) for n, t in (("a", "the cat\nTom sees it\n\n"), ("b", "le chat\nTom le voit\nrien\n"))]
    tabs = write(tmp_path, "tabs", "7\tle chat\tthe cat\n8\tTom le voit\tTom sees it\n9\trien\t\n")
    assert read_pairs(one) == read_pairs(*two) == read_pairs(tabs, columns=(3, 2)) == PAIRS


def test_ends_of_lines_and_marks_of_order_are_no_words(tmp_path):
    assert read_pairs(write(tmp_path, "dos", TEXT.replace("\n", "\r\n"))) == PAIRS
    assert read_pairs(write(tmp_path, "bom", b"\xef\xbb\xbf" + TEXT.encode())) == PAIRS
    assert read_pairs(write(tmp_path, "open", TEXT.removesuffix("\n"))) == PAIRS
    # what other software takes for the end of a line is none, and no white space of ASCII either
    assert read_pairs(write(tmp_path, "odd", "a\x0bb\u2028c ||| d\x85e\n")) == [(["a", "b\u2028c"], ["d\x85e"])]


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u2009", "\u3000"])
def test_words_are_split_where_other_aligners_split_them(tmp_path, space):
    """A number may have a no-break space in it; link numbers count the words that it is part of."""
    text = write(tmp_path, "text", f"it cost\t10{space}000 euros ||| cela  coute 10{space}000 euros\n")
    assert read_pairs(text) == [(["it", "cost", f"10{space}000", "euros"], ["cela", "coute", f"10{space}000", "euros"])]
    assert tokenise(f"10{space}000 euros", "raw") == ["10", "000", "euros"]


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("a ||| b\n\nc ||| d\n", None, r":2: a line must be `source \|\|\| target`; got a blank line"),
        ("a ||| b\nc d\n", None, r":2: .* got 0 separators"),
        ("a ||| b ||| c\n", None, r":1: .* got 2 separators"),
        ("a\tb\n", None, r":1: .* \(a file with tabs needs columns, such as 1,2\)"),
        ("a\tb\nc\n", (1, 2), r":2: there is no column 2; the line has 1"),
        ("a\tb\n\n", (1, 2), r":2: there is no column 2"),
        ("a\tb\n", (0, 1), "columns must be two numbers counted from 1"),
        ("a\tb\n", (1,), "columns must be two numbers counted from 1"),
        (b"a ||| b\n\xff ||| c\n", None, r":2: not UTF-8"),
        ("", None, "the file is empty"),
    ],
)
def test_a_line_that_is_not_in_the_format_is_an_error_at_its_place(tmp_path, text, columns, words):
    with pytest.raises(BitextError, match=words):
        read_pairs(write(tmp_path, "text", text), columns=columns)


def test_two_files_must_have_as_many_lines_and_be_there(tmp_path):
    a, b = write(tmp_path, "a", "x\ny\n"), write(tmp_path, "b", "x\n")
    with pytest.raises(BitextError, match=r"a has 2 lines and .*b has 1: line n of one must translate line n"):
        read_pairs(a, b)
    with pytest.raises(BitextError, match="either two files or columns"):
        read_pairs(a, b, columns=(1, 2))
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere"):
        read_pairs(a, str(tmp_path / "nowhere"))


def test_raw_text_is_split_at_punctuation_and_between_chinese_characters():
    assert tokenise("汤姆 sees 杰瑞, 3.5次。", "raw") == [*"汤姆", "sees", *"杰瑞", ",", "3.5", "次", "。"]
    assert tokenise("1,000. Or 2, .5 a.b?", "raw") == ["1,000", ".", "Or", "2", ",", ".", "5", "a", ".", "b", "?"]
    assert tokenise("人々は〆る snake_case", "raw") == [*"人々は〆る", "snake", "_", "case"]
    assert tokenise("l'arbre (vert) — well-known", "raw") == ["l'arbre", "(", "vert", ")", "—", "well-known"]
    assert tokenise("ネコ がs", "characters") == ["ネ", "コ", "が", "s"]
    with pytest.raises(ValueError, match="did you mean words"):
        tokenise("a", "word")


@pytest.mark.parametrize(
    "words",
    [
        ["हिन्दी", "नमस्ते"],
        [unicodedata.normalize("NFD", word) for word in ("café", "élève", "Việt")],
        ["مَرحَبًا", "كِتَابٌ"],
        ["می\u200cخواهم", "co\u00adoperate"],
        ["ภาษาไทยก็"],
    ],
    ids=["hindi", "decomposed", "arabic", "joined", "thai"],
)
def test_combining_marks_stay_with_their_letters(words):
    assert tokenise(" ".join(words) + "!", "raw") == [*words, "!"]
    for character in tokenise(" ".join(words), "characters"):
        assert not unicodedata.category(character[0]).startswith("M")
    kana = unicodedata.normalize("NFD", "がぎ")
    assert tokenise(kana, "raw") == tokenise(kana, "characters") == [kana[:2], kana[2:]]


@given(st.text())
def test_tokens_lose_nothing_but_white_space(text):
    visible = "".join(text.split())
    assert "".join(tokenise(text, "raw")) == visible
    assert "".join(tokenise(text, "characters")) == visible
    assert "".join(tokenise(text, "words")) == "".join(c for c in text if c not in " \t\n\v\f\r")


@given(st.text(st.characters(max_codepoint=0x10FF)), st.sampled_from(["words", "raw", "characters"]))
def test_a_composed_text_has_the_tokens_of_the_decomposed_one(text, tokens):
    """Of European letters, whose marks are many; Korean letters are composed of characters that are no marks."""
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert len(tokenise(composed, tokens)) == len(tokenise(decomposed, tokens))


# -- alignments ---------------------------------------------------------------------------------------------------------
def test_sure_and_possible_links_from_0_or_from_1(tmp_path):
    expected = [
        Links(frozenset({(0, 0), (1, 1)})),
        Links(frozenset({(0, 0)}), frozenset({(1, 2), (2, 1)})),
        Links(frozenset()),
    ]
    one = write(tmp_path, "one", "2-2 1-1\n1-1 2p3 3?2 1p1\n\n")
    zero = write(tmp_path, "zero", "0-0 1-1\n0-0 1p2 2?1\n\n")
    for path, first in ((one, 1), (one, None), (zero, 0), (zero, None)):
        assert read_links(path, PAIRS, first) == expected


def test_grow_diag_adds_what_touches_and_brings_a_new_word():
    core = {(0, 0), (1, 1)}
    assert symmetrised(core | {(0, 1)}, core, "grow-diag") == core  # touches, and brings nothing new
    assert symmetrised(core | {(2, 2)}, core | {(2, 3)}, "grow-diag") == core | {(2, 2), (2, 3)}
    assert symmetrised(core | {(3, 3)}, core, "grow-diag") == core  # does not touch


def test_where_words_are_counted_from_is_proved_or_asked_for(tmp_path):
    either = write(tmp_path, "either", "1-1\n1-1 2-1\n\n")
    pairs = [(["a", "b", "c"], ["d", "e", "f"]), (["a", "b", "c"], ["d", "e", "f"]), (["a"], ["b"])]
    with pytest.raises(
        BitextError, match=r"not clear whether .* from 0 or from 1; .*`gold_first` of .*`first` of read"
    ):
        read_links(either, pairs)
    assert read_links(either, pairs, 1)[0].sure == {(0, 0)}
    assert read_links(either, pairs, 0)[0].sure == {(1, 1)}


@pytest.mark.parametrize(
    ("text", "first", "words"),
    [
        ("0-0\n0-x\n\n", None, r":2: a link must be i-j, or ipj or i\?j where it is possible; got '0-x'"),
        ("0-0\n-1-0\n\n", None, r":2: a link must be i-j"),
        (
            "0-0 1-2\n\n\n",
            None,
            r":1: 1-2 points outside the pair, which has 2 source and 2 target words, counted from 0",
        ),
        ("1-1\n1-0\n\n", 1, r":2: 1-0 points outside"),
        ("0-0\n\n0-0\n", 0, r":3: 0-0 points outside the pair, which has 0 source"),
        ("0-0\n", None, "has 1 lines for 3 pairs"),
    ],
)
def test_a_wrong_link_is_an_error_at_its_place(tmp_path, text, first, words):
    with pytest.raises(BitextError, match=words):
        read_links(write(tmp_path, "gold", text), PAIRS, first)


LINKS = st.lists(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 6))), min_size=1, max_size=5)


@given(LINKS)
def test_what_is_written_is_read_again(lines):
    import tempfile

    pairs = [(["s"] * 5, ["t"] * 7)] * len(lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "links")
        path.write_text(write_links(lines))
        assert [set(links.sure) for links in read_links(path, pairs, 0)] == lines


@given(LINKS, LINKS)
def test_symmetrisations_lie_between_intersection_and_union(ahead, back):
    for f, b in zip(ahead, back, strict=False):
        grown = symmetrised(f, b, "grow-diag")
        assert symmetrised(f, b, "intersection") == f & b <= grown <= f | b == symmetrised(f, b, "union")
        assert symmetrised(b, f, "grow-diag") == grown
        for i, j in grown - (f & b):
            assert any((i + di, j + dj) in grown for di in (-1, 0, 1) for dj in (-1, 0, 1) if di or dj)
    with pytest.raises(ValueError, match="grow-diag"):
        symmetrised(set(), set(), "grow")


@given(LINKS, LINKS, LINKS)
def test_the_error_rate_of_links_is_that_of_the_metric_on_one_link_a_word(found, sure, possible):
    """A row of weights speaks for one link, so the found links are thinned to one of each target word."""
    n = min(map(len, (found, sure, possible)))
    found = [set({j: (i, j) for i, j in line}.values()) for line in found[:n]]
    gold = [Links(frozenset(s), frozenset(p - s)) for s, p in zip(sure[:n], possible[:n], strict=True)]
    data = to_alignment_data([(["s"] * 5, ["t"] * 7)] * n, gold)
    W = to_alignment_data([(["s"] * 5, ["t"] * 7)] * n, [Links(frozenset(line)) for line in found]).gold
    measured = [metric().measure(data, W) for metric in (Aer, AerPrecision, AerRecall)]
    np.testing.assert_allclose(measured, error_rate(found, gold), atol=1e-12)


def test_words_spelled_alike_have_near_vectors():
    X = spelling_vectors(["commission", "commissions", "parlement", "parliament", "猫"], 64)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1)
    S = X @ X.T
    assert S[0, 1] > 0.7
    assert S[2, 3] > 0.4
    assert abs(S[0, 2]) < 0.4
    assert abs(S[0, 4]) < 0.4


# -- the task -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bitext")
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(9)]
    lines, gold = [], []
    for _ in range(30):
        source = [words[i] for i in rng.integers(9, size=rng.integers(1, 6))]
        order = rng.permutation(len(source))
        lines.append(f"{' '.join(source)} ||| {' '.join(source[j].upper() for j in order)}\n")
        gold.append(" ".join(f"{j + 1}{'p' if rng.random() < 0.2 else '-'}{i + 1}" for i, j in enumerate(order)) + "\n")
    return write(folder, "text", "".join(lines)), write(folder, "gold", "".join(gold))


def test_the_task_keeps_the_contract(written):
    text, gold = written
    for task in (Bitext(text, gold_path=gold), Bitext(text, limit=12)):
        check_component(task).raise_for_failures()


def test_gold_is_in_the_test_condition_and_nowhere_else(written):
    text, gold = written
    splits = Bitext(text, gold_path=gold).make(np.random.default_rng(0))
    test = splits.tests["test"]
    for data in (splits.train, splits.validation):
        assert data.gold is None
        assert data.possible is None
        assert data.target is None
        assert sorted(data.tokens) == sorted(test.tokens)
    assert test.tokens == read_pairs(text)
    links = read_links(gold, test.tokens)
    for e, (sure, possible) in enumerate(links):
        assert {(int(j), int(i)) for i, j in zip(*np.nonzero(test.gold[e]), strict=True)} == sure
        assert {(int(j), int(i)) for i, j in zip(*np.nonzero(test.possible[e]), strict=True)} == possible
        source, target = test.tokens[e]
        assert all(source[j].upper() == target[i] for j, i in sure | possible)
    assert Bitext(text).make(np.random.default_rng(0)).tests["test"].gold is None
    assert np.isnan(Bitext(text).chance)
    assert len(Bitext(text, limit=7).make(np.random.default_rng(0)).train) == 7
    with pytest.raises(SettingError, match="either target_path or columns"):
        Bitext(text, target_path=text, columns=[1, 2]).make(np.random.default_rng(0))


def test_a_share_is_drawn_by_the_seed_and_keeps_pairs_with_their_gold(tmp_path):
    text = write(tmp_path, "text", "".join(f"w{i} a ||| v{i}\n" for i in range(40)))
    gold = write(tmp_path, "gold", "".join(f"{1 + i % 2}-1\n" for i in range(40)))
    make = lambda seed: Bitext(text, gold_path=gold, limit=30, share=0.5).make(np.random.default_rng(seed))  # noqa: E731
    first, again, other = (make(seed).tests["test"] for seed in (0, 0, 1))
    words = [int(source[0][1:]) for source, _ in first.tokens]
    assert len(words) == 15
    assert words == sorted(set(words))
    assert max(words) < 30
    assert [int(g.argmax()) for g in first.gold] == [i % 2 for i in words]
    assert first.tokens == again.tokens != other.tokens
    splits = make(0)
    assert sorted(map(str, splits.train.tokens)) == sorted(map(str, splits.tests["test"].tokens))
    assert len(Bitext(text, share=0.001).make(np.random.default_rng(0)).train) == 1


def test_a_bootstrap_sample_is_reported_on_and_all_pairs_are_learned_from(tmp_path):
    lines = [f"s{i} ||| t{i} u{i}" for i in range(40)]
    text, gold = write(tmp_path, "text", "\n".join(lines)), write(tmp_path, "gold", "1-1\n" * 40)
    make = lambda seed: Bitext(text, gold_path=gold, bootstrap=True).make(np.random.default_rng(seed))  # noqa: E731
    splits = make(3)
    words = [source[0] for source, _ in splits.tests["test"].tokens]
    assert len(words) == len(splits.train) == 40
    assert len(set(words)) < 35
    assert len({source[0] for source, _ in splits.train.tokens}) == 40
    assert words == [source[0] for source, _ in make(3).tests["test"].tokens]
    assert words != [source[0] for source, _ in make(4).tests["test"].tokens]
    with pytest.raises(SettingError, match=r"a share \(0.5\) and a bootstrap sample are two ways .* give one"):
        Bitext(text, share=0.5, bootstrap=True).make(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "overlap"),
    [({}, 0.0), ({"share": 0.5}, 1.0), ({"share": 0.8}, 4.0), ({"bootstrap": True}, 1.0)],
)
def test_how_much_seeds_have_in_common_is_the_variance_of_the_mean_over_the_corpus(settings, overlap):
    """The variance of what a seed measures, times the overlap, is that of the mean of a corpus."""
    task = Bitext("text", **settings)
    assert task.overlap == pytest.approx(overlap)
    if not settings:
        return
    rng = np.random.default_rng(0)
    corpus = rng.exponential(size=400)
    seeds = []
    for _ in range(4000):
        drawn = rng.integers(400, size=400) if task.bootstrap else rng.permutation(400)[: round(400 * task.share)]
        seeds.append(corpus[drawn].mean())
    assert np.var(seeds) * task.overlap == pytest.approx(corpus.var(ddof=1) / 400, rel=0.1)


@pytest.mark.skipif(not HANSARDS.is_file(), reason=f"needs the bitext {HANSARDS.name} of the shared data")
def test_real_text_with_real_gold():
    task = Bitext(str(HANSARDS), gold_path=str(HANSARDS) + ".gold")
    test = task.make(np.random.default_rng(0)).tests["test"]
    assert len(test) == 447
    assert int((test.gold > 0).sum()) == 4038
    assert int((test.possible > 0).sum()) == 13400
    assert 0 < task.chance < 0.2
