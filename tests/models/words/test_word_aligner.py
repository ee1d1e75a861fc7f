"""The word aligner against plain loops, on small texts, on real ones, and from the command line."""

from __future__ import annotations

import errno
import itertools
import math
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from commands import attnlab_command
from rounds import quick
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from attnlab import AttentionAligner, Mechanism
from attnlab.bitext import error_rate, read_links, read_pairs, to_alignment_data
from attnlab.cli import cli, main
from attnlab.commands.align import align as align_command
from attnlab.data import AlignmentData
from attnlab.errors import SettingError, ShapeError, Unsupported
from attnlab.metrics.alignment import Aer, AlignmentAccuracy
from attnlab.models.words.estimator import WordAligner
from attnlab.models.words.lexicon import Cells, spelled_alike
from attnlab.tasks.fertility import Fertility
from attnlab.tasks.translation import BlockReorder, ToyTranslation
from attnlab.testing import check_component

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "bitext"
HANSARDS = SHARED / "hansards.en-fr"
real = pytest.mark.skipif(not HANSARDS.is_file(), reason=f"needs the bitext {HANSARDS.name} of the shared data")

PLAIN = {"warm_up": 0, "agreement": False, "smoothing": 0.0, "spelling": 0.0, "stem": 0, "variational": False}
UNIFORM = {"similarity": "uniform", "position": "none"}
TEXT = [
    ("the cat", "le chat"),
    ("the dog sleeps", "le chien dort"),
    ("a cat", "un chat"),
    ("a dog", "un chien"),
    ("the", "le"),
]


def ibm1(pairs, iterations, null, tension=None):
    """IBM model 1, with FastAlign's alignment if a tension is given, in plain loops: posteriors of the last iteration."""
    pairs = [(s.split(), t.split()) for s, t in pairs]
    said = [w for _, t in pairs for w in t]
    together = defaultdict(set)
    for s, t in pairs:
        for x in s:
            together[x] |= set(t)
    table = {(x, y): 1 / len(ys) for x, ys in together.items() for y in ys}
    table |= {(None, y): said.count(y) / len(said) for y in said}
    for step in range(iterations + 1):
        counts, posteriors = defaultdict(float), []
        for s, t in pairs:
            P = np.zeros((len(t), len(s)))
            for i, y in enumerate(t):
                a = np.array(
                    [math.exp(-(tension or 0) * abs((i + 1) / len(t) - (j + 1) / len(s))) for j in range(len(s))]
                )
                each = (1 - null) * a / a.sum() * [table[x, y] for x in s]
                none = null * table[None, y]
                P[i] = each / (each.sum() + none)
                for j, x in enumerate(s):
                    counts[x, y] += P[i, j]
                counts[None, y] += 1 - P[i].sum()
            posteriors.append(P)
        if step < iterations:
            total = defaultdict(float)
            for (x, _), c in counts.items():
                total[x] += c
            table = {(x, y): c / total[x] for (x, y), c in counts.items()}
    return posteriors


@pytest.mark.parametrize("tension", [None, 4.0])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_plain_settings_are_ibm_model_1_also_with_fast_aligns_prior(iterations, tension):
    position = "none" if tension is None else {"diagonal": {"tension": tension}}
    aligner = WordAligner({**UNIFORM, "position": position}, null=0.1, iterations=iterations, **PLAIN).fit(TEXT)
    for found, expected in zip(aligner.align(TEXT), ibm1(TEXT, iterations, 0.1, tension), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_plain_expectation_maximisation_never_lowers_the_likelihood():
    pairs = [
        (" ".join(s), " ".join(t))
        for s, t in ToyTranslation(length=1, n_train=60).make(np.random.default_rng(0)).train.tokens
    ]
    for mechanism in (
        UNIFORM,
        {**UNIFORM, "position": {"diagonal": {"tension": "learned"}}},
        {**UNIFORM, "position": "t5_bias"},
    ):
        curve = WordAligner(mechanism, iterations=12, **PLAIN).fit(pairs).loss_curve_
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(curve))
        assert curve[-1] < curve[0]


def test_rows_are_posteriors_and_symmetrised_links_come_from_both_directions():
    aligner = WordAligner().fit(TEXT)
    for P, (s, t) in zip(aligner.align(TEXT), TEXT, strict=True):
        assert P.shape == (len(t.split()), len(s.split()))
        assert (P >= 0).all()
        assert (P.sum(axis=1) <= 1 + 1e-9).all()
    assert aligner.links(TEXT)[:2] == [[(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)]]
    by = {how: aligner.links(TEXT, how) for how in ("forward", "backward", "intersection", "union", "grow-diag")}
    for f, b, both, either, grown in zip(*by.values(), strict=True):
        assert set(both) == set(f) & set(b) <= set(grown) <= set(either) == set(f) | set(b)
    turned = WordAligner().fit([(t, s) for s, t in TEXT]).links([(t, s) for s, t in TEXT], "backward")
    assert turned == [sorted((j, i) for i, j in line) for line in by["forward"]]


def test_grammar_tasks_are_aligned_without_gold():
    toy = ToyTranslation(length=1, n_train=400).make(np.random.default_rng(0))
    test = toy.tests["test"]
    aligner = WordAligner().fit(toy.train)
    W = aligner.align(test)
    assert W.shape == (len(test), test.n_queries, test.n_keys)
    assert not W[~test.allowed].any()
    assert AlignmentAccuracy().measure(test, W) > 0.9  # `in the` and 在 ... 里 always come together
    assert aligner.links(test)[0] == [(0, 0), (1, 1), (2, 2)]
    assert aligner.score(test) < 0
    assert aligner.predict(test).shape == (len(test), test.n_queries, test.V.shape[2])
    blocks = BlockReorder(n_train=400).make(np.random.default_rng(0))
    assert Aer().measure(blocks.tests["test"], WordAligner().fit(blocks.train).align(blocks.tests["test"])) < 0.1


def test_gold_is_never_looked_at():
    data = ToyTranslation(length=1, n_train=50).make(np.random.default_rng(0)).train
    wrong = AlignmentData(data.Q, data.K, data.V, data.mask, 1 - data.gold, data.target, tokens=data.tokens)
    bare = AlignmentData(data.Q, data.K, data.V, data.mask, tokens=data.tokens)
    first, *others = (WordAligner().fit(d).align(bare) for d in (data, wrong, bare))
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_learning_from_the_mechanism_a_skewed_order_has_no_tension_and_a_straight_one_has_much():
    rng = np.random.default_rng(0)
    source = [[f"w{i}" for i in rng.permutation(40)[:8]] for _ in range(150)]
    straight = [(s, [w.upper() for w in s]) for s in source]
    shuffled = [(s, [s[j].upper() for j in rng.permutation(8)]) for s in source]
    tension = {}
    for name, pairs in (("straight", straight), ("shuffled", shuffled)):
        aligner = WordAligner(lowercase=False, spelling=0.0).fit(pairs)
        tension[name] = math.exp(aligner.params_["forward"]["position"]["log_tension"])
        right = sum(
            t[i] == s[j].upper() for (s, t), line in zip(pairs, aligner.links(pairs), strict=True) for j, i in line
        )
        assert right > 0.95 * 150 * 8
    assert tension["shuffled"] < 1 < 10 < tension["straight"]


def test_spelling_and_stems_help_rare_words_and_case_does_not_matter():
    pairs = [
        ("Ottawa is big", "Ottawa est grand"),
        ("the parliament sat", "le parlement siege"),
        ("he walked", "il marchait"),
    ]
    aligner = WordAligner().fit(pairs)
    assert (0, 0) in aligner.links(pairs)[0]
    assert (1, 1) in aligner.links(pairs)[1]
    upper = [(s.upper(), t) for s, t in pairs]
    assert WordAligner().fit(upper).links(upper) == aligner.links(pairs)
    cells = Cells([(["commission", "猫"], ["commission", "commissions", "猫", "chat"])])
    alike = {
        (cells.words[0][s], cells.words[1][t]): v for (s, t), v in zip(cells.types, spelled_alike(cells), strict=True)
    }
    assert alike["commission", "commission"] == alike["猫", "猫"] == 1
    assert 0.7 < alike["commission", "commissions"] < 1
    assert alike["commission", "猫"] == alike["猫", "chat"] == 0


def test_new_pairs_and_unknown_words_are_aligned_and_known_ones_as_before():
    aligner = WordAligner().fit(TEXT)
    whole = aligner.align(TEXT)
    for one, expected in zip(TEXT, whole, strict=True):
        np.testing.assert_allclose(aligner.align([one])[0], expected, rtol=1e-9)
    new = aligner.align([("the zebra sleeps", "le zebre dort"), ("qux", "quux")])
    assert all(np.isfinite(P).all() for P in new)
    assert new[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_an_empty_side_has_no_links_and_disturbs_nobody():
    pairs = [*TEXT[:2], ("", "seul"), ("alone", ""), ("", ""), *TEXT[2:]]
    aligner = WordAligner().fit(pairs)
    links = aligner.links(pairs)
    assert links[2:5] == [[], [], []]
    assert [P.shape for P in aligner.align(pairs)[2:5]] == [(1, 0), (0, 1), (0, 0)]
    assert links[:2] == [[(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)]]


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        ([], ValueError, "at least one pair of sentences; there are no pairs"),
        ([("", "a")], ValueError, "at least one pair with words on both sides"),
        ("a b", TypeError, r"sequence of \(source, target\) pairs; got str"),
        ([("a", "b", "c")], TypeError, r"pair 0 must be \(source, target\)"),
        ([("a", "b"), (["a", 3], "b")], TypeError, r"pair 1: words must be strings; got 3 \(int\)"),
        (AlignmentData(np.ones((1, 1, 1)), np.ones((1, 1, 1)), np.ones((1, 1, 1))), Unsupported, "must have tokens"),
        (
            AlignmentData(np.ones((1, 1, 1)), np.ones((1, 1, 1)), np.ones((1, 1, 1)), tokens=[("a b", "c")]),
            ShapeError,
            r"example 0 has 2 source and 1 target words, and room for k = 1",
        ),
    ],
)
def test_what_cannot_be_aligned_is_refused(X, error, words):
    with pytest.raises(error, match=words):
        WordAligner().fit(X)


def test_settings_and_mechanisms_that_cannot_be_are_refused():
    with pytest.raises(SettingError, match="null"):
        WordAligner(null=1.0).fit(TEXT)
    with pytest.raises(SettingError, match="needs smoothing above 0"):
        WordAligner(smoothing=0.0).fit(TEXT)
    with pytest.raises(SettingError, match="similarty"):
        WordAligner({"similarty": "dot"}).fit(TEXT)
    with pytest.raises(SettingError, match=r"random_state must be an integer from 0, .* got 'x'"):
        WordAligner(random_state="x").fit(TEXT)
    with pytest.raises(
        SettingError,
        match=r"such as Mechanism\('additive'\), .* got 'additve' \(did you mean additive or additive_wn\?\)",
    ):
        WordAligner("additve").fit(TEXT)
    with pytest.raises(Unsupported, match="the weights of this mechanism are 0 for every word"):
        WordAligner({**UNIFORM, "mask": np.zeros((1, 1), dtype=bool)}).fit(TEXT)
    with pytest.raises(Unsupported, match="sum to more than 1"):
        WordAligner({**UNIFORM, "normaliser": {"sigmoid": {"minus_log_n": False}}}, warm_up=0).fit(TEXT)
    with pytest.raises(TypeError, match="predict takes AlignmentData"):
        WordAligner().fit(TEXT).predict(TEXT)


@pytest.mark.parametrize(
    "mechanism",
    [
        {**UNIFORM, "position": {"alibi": {"slope": "learned"}}},
        {**UNIFORM, "position": "gaussian_local"},
        {"similarity": "cosine", "normaliser": "softmax_n"},
        {"similarity": "general", "normaliser": "sparsemax", "position": "sinusoidal"},
        Mechanism("uniform"),
    ],
    ids=repr,
)
def test_any_mechanism_can_say_where_words_are_aligned(mechanism):
    aligner = WordAligner(mechanism, iterations=3, warm_up=2, random_state=0)
    first, second = aligner.fit(TEXT).align(TEXT), clone(aligner).fit(TEXT).align(TEXT)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one.sum(axis=1) <= 1 + 1e-9).all()


def test_settings_reach_into_the_mechanism_from_the_one_that_none_stands_for():
    parts = WordAligner().set_params(mechanism__normaliser__temperature=0.5).mechanism.parts()
    assert (parts.similarity.name, parts.position.tension, parts.normaliser.temperature) == ("uniform", "learned", 0.5)
    by_hand = WordAligner({**UNIFORM, "position": "alibi"}).fit(TEXT).align(TEXT)
    for found, expected in zip(
        WordAligner().set_params(mechanism__position="alibi").fit(TEXT).align(TEXT), by_hand, strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    search = GridSearchCV(WordAligner(iterations=2), {"mechanism__position": ["alibi", "diagonal"]}, cv=2)
    assert search.fit(TEXT).best_params_["mechanism__position"] in ("alibi", "diagonal")


@pytest.mark.parametrize("similarity", ["additive", "general"])
def test_a_monotonic_mechanism_is_asked_for_what_it_expects_over_all_ways(similarity):
    """At prediction it takes one way, which at the start of learning stops nowhere: no word would ever be linked."""
    aligner = WordAligner({"similarity": similarity, "normaliser": "monotonic"}, random_state=0).fit(TEXT)
    assert aligner.links(TEXT) == WordAligner().fit(TEXT).links(TEXT)


def test_no_pairs_are_aligned_to_nothing_and_have_no_score():
    aligner = WordAligner().fit(TEXT)
    assert aligner.links([]) == aligner.align([]) == []
    none = to_alignment_data([(["the"], ["le", "chat"])])[:0]
    assert aligner.align(none).shape == (*aligner.predict(none).shape[:2], 1) == (0, 2, 1)
    with pytest.raises(ValueError, match="score needs at least one target word; none of 0 pairs has"):
        aligner.score([])


def test_strings_are_split_at_white_space_of_ascii_alone():
    assert [P.shape for P in WordAligner().fit(TEXT).align([("10\u00a0000 euros\n", "10\u00a0000")])] == [(1, 2)]


def test_it_keeps_the_contract_of_models():
    assert check_component(WordAligner)


# -- mixing predictions in the attention aligner ------------------------------------------------------------------------
def test_mixing_predictions_is_exact_latent_alignment():
    data = Fertility(length=4, n_train=300, transfer=()).make(np.random.default_rng(0))
    aligner = AttentionAligner(
        {"similarity": "uniform"}, mix="predictions", optimizer="lbfgs", steps=60, random_state=0
    ).fit(data.train)
    test = data.tests["test"]
    P = aligner.predict(test)[test.alive]
    np.testing.assert_allclose(P.sum(axis=-1), 1)
    # IBM model 1: the alignment is even, the table is learned, and only the posterior tells where a word comes from
    assert AlignmentAccuracy().measure(test, aligner.align(test)) == pytest.approx(Fertility(length=4).chance, abs=0.05)
    W = aligner.posterior(test)
    np.testing.assert_allclose(W[test.alive].sum(axis=-1), 1)
    assert AlignmentAccuracy().measure(test, W) > 0.8
    # the loss is minus the mean log-probability of the classes
    alive = data.train.alive
    chosen = np.take_along_axis(aligner.predict(data.train)[alive], data.train.target[alive][:, None], axis=-1)
    assert aligner.loss_curve_[-1] == pytest.approx(-np.log(chosen).mean(), rel=1e-6)


def test_mixing_predictions_needs_classes():
    lookup = AlignmentData(np.ones((2, 1, 2)), np.ones((2, 3, 2)), np.ones((2, 3, 2)), target=np.ones((2, 1, 2)))
    with pytest.raises(Unsupported, match="learns from class targets"):
        AttentionAligner(mix="predictions").fit(lookup)
    classes = AlignmentData(lookup.Q, lookup.K, lookup.V, gold=np.ones((2, 1, 3)), target=np.ones((2, 1), dtype=int))
    with pytest.raises(Unsupported, match='got objective="alignment"'):
        AttentionAligner(mix="predictions", objective="alignment").fit(classes)
    with pytest.raises(SettingError, match='posterior needs mix="predictions"'):
        AttentionAligner(projection=2, steps=1).fit(classes).posterior(classes)


def test_true_lengths_reach_positions_through_the_mask():
    rng = np.random.default_rng(0)
    Q, K = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 5, 3))
    lengths = np.array([[4, 5], [2, 3]])
    mask = (np.arange(4) < lengths[:, :1])[:, :, None] & (np.arange(5) < lengths[:, 1:])[:, None, :]
    data = AlignmentData(Q, K, K, mask, target=rng.normal(size=(2, 4, 3)))
    W = (
        AttentionAligner({"similarity": "general", "position": "diagonal"}, steps=1, random_state=0)
        .fit(data)
        .align(data)
    )
    alone = AlignmentData(Q[1:, :2], K[1:, :3], K[1:, :3], target=data.target[1:, :2])
    aligner = AttentionAligner({"similarity": "general", "position": "diagonal"}, steps=1, random_state=0).fit(data)
    np.testing.assert_allclose(aligner.align(alone)[0], W[1, :2, :3], atol=1e-12)


# -- the command ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def align(monkeypatch, capsys, folder):
    """The command in this process: (status, stdout, stderr)."""
    monkeypatch.chdir(folder)
    if "align" not in cli.commands:
        monkeypatch.setitem(cli.commands, "align", align_command)

    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main(["align", *args])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text").write_text("".join(f"{s} ||| {t}\n" for s, t in [*TEXT, ("", "seul")]))
    (tmp_path / "s").write_text("".join(f"{s}\n" for s, _ in TEXT))
    (tmp_path / "t").write_text("".join(f"{t}\n" for _, t in TEXT))
    (tmp_path / "tabs").write_text("".join(f"{i}\t{t}\t{s}\n" for i, (s, t) in enumerate(TEXT)))
    (tmp_path / "gold").write_text("1-1 2-2\n1-1 2-2 3p3\n1-1 2-2\n1-1 2-2\n1-1\n\n")
    (tmp_path / "blank").write_text("0p0\n" + 5 * "\n")
    (tmp_path / "unclear").write_text("1-1\n" + 5 * "\n")
    return tmp_path


def test_align_writes_a_line_a_pair_and_the_error_rate_on_stderr(align):
    status, out, err = align("text", "--gold", "gold")
    assert status == 0
    assert out == "0-0 1-1\n0-0 1-1 2-2\n0-0 1-1\n0-0 1-1\n0-0\n\n"
    assert "1 of 6 pairs have an empty side" in err
    assert "AER 0.000  precision 1.000  recall 1.000  (6 pairs, grow-diag)" in err
    first_five = "".join(out.splitlines(keepends=True)[:5])
    assert align("s", "t", "--symmetrise", "union")[:2] == (0, first_five)
    assert align("tabs", "--columns", "3,2", "--tokens", "raw")[:2] == (0, first_five)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_align_reads_standard_input(folder, name):
    command = [sys.executable, "-m", "attnlab", "align", name]
    text = (folder / "text").read_text()
    done = subprocess.run(command, input=text, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0-0 1-1\n0-0 1-1 2-2\n0-0 1-1\n0-0 1-1\n0-0\n\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], "no such file: nowhere"),
        (["tabs"], "tabs:1: a line must be `source ||| target`"),
        (["text", "s"], "text has 6 lines and s has 5"),
        (["tabs", "--columns", "3"], "two numbers counted from 1"),
        (["tabs", "--columns", "2,2"], "source and target must be two columns; got column 2 for both"),
        (["."], ". is a directory"),
        (["text", "--gold", "blank"], "blank: no line has a sure link"),
        (["tabs", "--columns", "1,9"], "tabs:1: there is no column 9"),
        (["text", "--gold", "s"], "s has 5 lines for 6 pairs"),
        (["text", "--gold", "gold", "--gold-first", "0"], "gold:1: 2-2 points outside the pair"),
        (["text", "--symmetrise", "grow"], "grow-diag"),
        (
            ["text", "--gold", "unclear"],
            "unclear: it is not clear whether its words are counted from 0 or from 1; say which: `--gold-first`",
        ),
        (["-", "-"], "standard input can be one file only; got - for FILE and TARGET_FILE"),
        (["-", "--gold", "-"], "standard input can be one file only; got - for FILE and --gold"),
    ],
)
def test_align_refuses_with_status_2_and_writes_nothing(align, args, words):
    status, out, err = align(*args)
    assert (status, out) == (2, "")
    assert words in err


def test_align_reads_standard_input_once(folder):
    done = attnlab_command("align", "-", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard input is empty, or was read before: it can be one file only" in done.stderr


@pytest.mark.parametrize(
    ("command", "gone", "unbuffered"),
    quick(
        itertools.product(["align s t", "list similarity"], ["disk", "reader"], ["", "1"]),
        {("align s t", "disk", ""), ("list similarity", "reader", "1")}.__contains__,
    ),
)
def test_output_that_cannot_be_written_is_no_bug(folder, command, gone, unbuffered):
    """A full disk is said in one line, with status 2; a reader that is gone, such as `head`, has what it wants."""
    if gone == "reader":
        reader, writer = os.pipe()
        os.close(reader)
    elif os.path.exists("/dev/full"):
        writer = os.open("/dev/full", os.O_WRONLY)
    else:
        pytest.skip("needs /dev/full, which is always full")
    done = subprocess.run(
        [sys.executable, "-m", "attnlab", *command.split()],
        cwd=folder,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    full = f"attnlab: standard output: {os.strerror(errno.ENOSPC)}\n"
    assert (done.returncode, done.stderr) == ((0, "") if gone == "reader" else (2, full))


@real
def test_real_sentences_are_aligned_better_than_by_fast_align_and_its_elders():
    """447 pairs alone; forward FastAlign has an error rate of 0.302 on them, the hidden Markov model 0.470, IBM model 1 0.511.

    Eflomal has 0.180. Both directions, and what they give together, are in docs/word-alignment.md, by
    benchmarks/word_alignment.py.
    """
    pairs = read_pairs(HANSARDS)
    gold = read_links(f"{HANSARDS}.gold", pairs)
    aligner = WordAligner().fit(pairs)
    rate = {how: error_rate(aligner.links(pairs, how), gold)[0] for how in ("grow-diag", "intersection", "forward")}
    assert max(rate.values()) < 0.2
    data = to_alignment_data(pairs, gold)
    assert Aer().measure(data, aligner.align(data)) < 0.21
    # what each idea is worth, so that none is carried along for nothing
    for without in ({"spelling": 0.0}, {"agreement": False}):
        other = WordAligner(**without).fit(pairs)
        assert error_rate(other.links(pairs, "forward"), gold)[0] > rate["forward"] + 0.01
    unplaced = WordAligner(UNIFORM).fit(pairs)
    assert error_rate(unplaced.links(pairs), gold)[0] > rate["grow-diag"] + 0.05


@real
def test_real_sentences_of_another_script_and_order():
    pairs = read_pairs(SHARED / "tatoeba.en-zh.tsv", columns=(1, 2), tokens="raw")[:1500]
    links = WordAligner().fit(pairs).links(pairs)
    told = {pair: n for pair, n in _said(pairs, links).items() if n >= 3}
    for english, chinese in (("i", "我"), ("not", "不"), (".", "。"), ("?", "？"), ("he", "他")):
        assert max((n, c) for (e, c), n in told.items() if e == english)[1] == chinese


def _said(pairs, links):
    counted = defaultdict(int)
    for (source, target), line in zip(pairs, links, strict=True):
        for i, j in line:
            counted[source[i].lower(), target[j]] += 1
    return counted
