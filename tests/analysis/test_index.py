"""The commands `claims`, `plot` and `index`, on the results of a small sweep."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import attnlab
from attnlab.analysis.index import stored_experiments, write_index
from attnlab.analysis.weights import kept_example
from attnlab.cli import _status
from attnlab.plugins import configure
from attnlab.sweeps.execute import splits_of
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.store import Store

HUBS = """\
attnlab: 1
question: Do long keys | mislead the dot product?
source: Henry et al. 2020
task: {norm_hubs: {sigma: 1.5, n_train: 1, n_validation: 1, n_test: 16}}
mechanism: {similarity: [dot, cosine]}
model: {aligner: {steps: 0}}
seeds: 3
claims:
  - {say: cosine is better, metric: alignment_accuracy, better: {similarity: cosine}, than: {similarity: dot}}
  - {say: dot is better, metric: alignment_accuracy, better: {similarity: dot}, than: {similarity: cosine}, why: It prefers long keys.}
  - {say: dot is better by far, metric: alignment_accuracy, better: {similarity: dot}, than: {similarity: cosine}, by: 0.1}
  - {say: nothing is known, metric: alignment_accuracy, at_least: 0.5, where: {test: n=9}}
"""
HALVED = """\
import attnlab


class Halved(attnlab.Similarity):
    \"\"\"Half the dot product.\"\"\"

    name = "halved"

    def score(self, Q, K):
        return 0.5 * Q @ attnlab.namespace(Q, K).swapaxes(K, -1, -2)


@attnlab.hookimpl
def attnlab_similarities():
    return [Halved]
"""
SILENT = """\
attnlab: 1
question: Does this claim anything?
task: {norm_hubs: {sigma: 1.5, n_train: 1, n_validation: 1, n_test: 16}}
mechanism: {similarity: cosine}
model: {aligner: {steps: 0}}
seeds: 2
"""


@pytest.fixture
def attnlab_command(capsys):
    def run(*args):
        status = _status([str(arg) for arg in args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def swept(tmp_path, monkeypatch, attnlab_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "hubs.yaml").write_text(HUBS)
    (tmp_path / "experiments" / "silent.yaml").write_text(SILENT)
    status, out, err = attnlab_command(
        "sweep", "experiments/hubs.yaml", "experiments/silent.yaml", "--executor", "serial", "-q"
    )
    assert status == 0, err
    return out


def test_a_sweep_prints_its_verdicts(swept):
    lines = {line.split("  ")[0] for line in swept.splitlines()}
    assert {"supported", "refuted", "undecided"} <= lines
    assert "It prefers long keys." in swept


def test_claims_of_files_and_of_the_store_are_the_same(swept, attnlab_command):
    _, of_file, _ = attnlab_command("claims", "experiments/hubs.yaml", "--format", "json")
    _, of_store, _ = attnlab_command("claims", "--experiment", "hubs", "--format", "json")
    _, of_all, _ = attnlab_command("claims", "--format", "json")
    rows = json.loads(of_file)
    assert rows == json.loads(of_store) == json.loads(of_all)
    assert [row["verdict"] for row in rows] == ["supported", "refuted", "refuted", "undecided"]
    assert {row["experiment"] for row in rows} == {"hubs"}
    _, csv, _ = attnlab_command("claims", "experiments/hubs.yaml", "--format", "csv")
    assert csv.splitlines()[0].startswith("experiment,say,form,metric,verdict,effect,low,high,n,by,within")
    _, table, _ = attnlab_command("claims")
    assert "no claims" in table  # of the silent one


def test_a_stored_experiment_is_the_one_that_was_swept(swept):
    (hubs, silent), unreadable = stored_experiments("results/attnlab.db")
    assert unreadable == {}
    assert hubs.claims == read("experiments/hubs.yaml").claims
    assert (hubs.name, silent.name) == ("hubs", "silent")


@pytest.fixture
def with_a_plugin(swept, attnlab_command, tmp_path):
    """The store, with an experiment that needs a plugin, which is not loaded."""
    (tmp_path / "halved.py").write_text(HALVED)
    (tmp_path / "experiments" / "own.yaml").write_text(HUBS.replace("dot, cosine]", "dot, cosine, halved]"))
    status, _, err = attnlab_command(
        "sweep", "experiments/own.yaml", "--executor", "serial", "-q", "--plugin", "halved.py"
    )
    assert status == 0, err
    configure()
    yield
    configure()


def test_claims_that_cannot_be_read_hide_no_others(with_a_plugin, attnlab_command):
    status, out, err = attnlab_command("claims")
    assert status == 1
    assert "hubs: Do long keys" in out
    assert "no claims" in out  # of the silent one
    first, *lines = err.splitlines()
    assert first.startswith("attnlab: own: its claims were not judged")
    assert first.endswith("give --plugin FILE.py or FILE.yaml")
    assert any("no similarity 'halved'" in line for line in lines)
    status, out, _ = attnlab_command("claims", "--format", "json")
    assert (status, {row["experiment"] for row in json.loads(out)}) == (1, {"hubs"})
    status, out, err = attnlab_command("claims", "--experiment", "own")
    assert (status, out) == (1, "")
    assert err.startswith("attnlab: own: ")
    status, out, err = attnlab_command("claims", "--plugin", "halved.py")
    assert status == 0, err
    assert "own: Do long keys" in out


def test_a_store_without_experiments_has_no_claims_and_says_so(tmp_path, attnlab_command):
    with Store(tmp_path / "empty.db"):
        pass
    for form in ("table", "csv", "json"):
        status, out, err = attnlab_command("claims", "--store", tmp_path / "empty.db", "--format", form)
        assert status == 0
        assert "empty.db: this store has no experiments" in err
    assert json.loads(out) == []


MARKED = """\
attnlab: 1
question: Must softmax spend all its weight?
task: {null_queries: {n_train: 1, n_validation: 1, n_test: 16}}
model: {aligner: {steps: 0}}
seeds: 3
claims:
  - {say: it must, metric: null_mass, at_most: 0.001, exact: true, why: Its weights sum to one.}
  - {say: and no seed does otherwise, metric: null_mass, at_most: 0.001}
  - {say: it cannot spread it, metric: weight_entropy, at_most: 0.0, exact: true, why: It was thought so.}
"""


def test_identities_and_doubtful_verdicts_are_marked_wherever_verdicts_stand(tmp_path, attnlab_command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spend.yaml").write_text(MARKED, encoding="utf-8")
    status, swept, err = attnlab_command("sweep", "spend.yaml", "--executor", "serial", "-q")
    assert status == 0, err
    lines = {line.split("  ")[0]: line for line in swept.splitlines()}
    assert (
        "Its weights sum to one.; an identity, and no support: it holds of every one of 3 values" in lines["identity"]
    )
    assert lines["supported"].split()[1] == "doubtful"
    assert "3 of 3 seeds alike: seeds that fail up to 63 % of the time are not excluded" in lines["supported"]
    assert "3 of 3 values are otherwise" in lines["refuted"]
    _, text, _ = attnlab_command("claims", "--format", "json")
    assert [(row["verdict"], row["exact"], row["doubtful"]) for row in json.loads(text)] == [
        ("identity", True, False),
        ("supported", False, True),
        ("refuted", True, False),
    ]
    _, text, _ = attnlab_command("claims", "--format", "markdown")
    assert ["doubtful" in row for row in text.splitlines()[2:]] == [False, True, False]
    assert attnlab_command("index", "spend.yaml", "-o", "page.md")[0] == 0
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| experiment | question | supported | refuted | undecided | identity | doubtful |" in page
    assert "| 1 | 1 |  | 1 | 1 |" in page
    assert "judged one by one, 1 here:" in page
    assert "- Identity: it must. Its weights sum to one (an identity, and no support" in page
    assert attnlab_command("report", "-o", "page.html")[0] == 0
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<strong>doubtful</strong>" in html
    assert 'class="verdict identity"' in html


def test_the_index_has_the_share_of_seeds_that_solved_the_task(swept, tmp_path):
    hubs, frame = read("experiments/hubs.yaml"), attnlab.load_results("results/attnlab.db", experiment="hubs")
    frame["alignment_accuracy"] = np.where((frame["similarity"] == "cosine") & (frame["seed"] < 2), 0.97, 0.5)
    write_index([(hubs, frame)], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "The share of seeds that solved the task, by alignment\\_accuracy, with Wilson's interval:" in page
    rows = [line for line in page.splitlines() if line.startswith(("| cosine |", "| dot |"))]
    assert rows == ["| cosine | 0.667 [0.208, 0.939] | 3 |", "| dot | 0 [0, 0.561] | 3 |"]
    for same in (0.5, 1.0):
        write_index([(hubs, frame.assign(alignment_accuracy=same))], tmp_path / "page.md")
        assert "share of seeds" not in (tmp_path / "page.md").read_text(encoding="utf-8")
    one = frame[frame["similarity"] == "cosine"]
    write_index([(hubs, one)], tmp_path / "page.md")
    assert "| 0.667 [0.208, 0.939] | 3 |" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_the_index_says_how_many_claims_it_judges(swept, attnlab_command, tmp_path):
    assert attnlab_command("index", "experiments/hubs.yaml", "-o", "page.md")[0] == 0
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    said = "Claims are judged one by one, 4 here: of so many whose effects lie at their bounds, 0.1 are expected"
    assert said in page


def test_claims_as_a_paper_takes_them(swept, attnlab_command, tmp_path):
    (tmp_path / "experiments" / "more.yaml").write_text(HUBS.replace("sigma: 1.5", "sigma: 1.0"))
    assert attnlab_command("sweep", "experiments/more.yaml", "--executor", "serial", "-q")[0] == 0
    _, text, err = attnlab_command("claims", "--experiment", "hubs", "--format", "markdown")
    head, _, *rows = text.splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns == ["claim", "metric", "claimed", "effect", "95% interval", "n", "verdict"]
    assert [row.split("|")[-2].strip() for row in rows] == ["supported", "refuted", "refuted", "undecided"]
    assert "&gt; 0.100" in rows[2]
    assert "reasons are left out" in err
    _, text, _ = attnlab_command("claims", "--format", "latex")
    lines = text.splitlines()
    assert lines[2].startswith("experiment & claim & metric")
    assert [line.split(" & ")[0] for line in lines[4:-2]] == ["hubs"] * 4 + ["more"] * 4
    assert r"$\geq$ 0.500" in lines[7]
    assert r"\textgreater{} 0.100" in lines[6]


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["claims", "--experiment", "nix"], 2, "no experiment 'nix' in this store; there are: hubs, silent"),
        (["claims", "experiments/hubs.yaml", "--experiment", "hubs"], 2, "not both"),
        (["claims", "--store", "nix.db"], 6, "nix.db"),
        (["plot", "claim", "experiments/hubs.yaml", "--claim", "4", "-o", "x.png"], 2, "hubs has 4 claims"),
        (["plot", "claim", "experiments/silent.yaml", "-o", "x.png"], 2, "makes no claim"),
        (["plot", "claim", "experiments/hubs.yaml", "-o", "x.pdf"], 2, ".png or .svg"),
        (["plot", "alignment", "nix", "-o", "x.png"], 2, "no run 'nix'"),
    ],
)
def test_mistakes_are_answered(swept, attnlab_command, args, status, said):
    got, _, err = attnlab_command(*args)
    assert got == status
    assert said in err


def run_id(attnlab_command):
    _, out, _ = attnlab_command("results", "--format", "json", "--experiment", "hubs")
    return json.loads(out)[0]["run_id"]


def test_plot_writes_pictures(swept, attnlab_command, tmp_path):
    pytest.importorskip("matplotlib")
    assert attnlab_command("plot", "claim", "experiments/hubs.yaml", "-o", "all.png")[0] == 0
    assert attnlab_command("plot", "claim", "experiments/hubs.yaml", "--claim", "1", "-o", "one.svg")[0] == 0
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    one = (tmp_path / "one.svg").read_text()
    assert "dot is better" in one
    assert "by far" not in one
    run = run_id(attnlab_command)
    assert attnlab_command("plot", "alignment", run, "--example", "3", "-o", "w.png")[0] == 0
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = attnlab_command("plot", "alignment", run, "--example", "4", "-o", "v.png")
    assert status == 2
    assert "the weights of 4 examples were kept" in err
    status, _, err = attnlab_command("plot", "alignment", run, "--test", "tset", "-o", "v.png")
    assert status == 2
    assert "did you mean test?" in err


@pytest.mark.parametrize("task", [{"toy_translation": {}}, {"block_reorder": {}}])
def test_an_example_has_its_weights_tokens_and_links_without_padding(tmp_path, task):
    small = {name: {**settings, "n_train": 4, "n_validation": 2, "n_test": 4} for name, settings in task.items()}
    spec = {
        "attnlab": 1,
        "question": "?",
        "task": small,
        "mechanism": {"similarity": "dot"},
        "model": {"aligner": {"steps": 0}},
        "seeds": 1,
    }
    frame = attnlab.sweep(spec, executor="serial", store=tmp_path / "s.db", quiet=True)
    stored = attnlab.load_run(frame["run_id"][0], tmp_path / "s.db")
    data = splits_of(stored.run).tests["test"]
    for i in range(4):
        found = kept_example(stored, "test", i)
        source, target = data.tokens[i]
        assert (found.source, found.target) == (list(source), list(target))
        assert found.W.shape == found.gold.shape == (len(target), len(source))
        np.testing.assert_array_equal(found.gold, data.gold[i, : len(target), : len(source)])
        np.testing.assert_allclose(found.W.sum(axis=1), 1)
        assert (found.possible is None) == (data.possible is None)


def test_tokens_of_a_task_that_has_changed_since_are_left_out(tmp_path):
    spec = {"attnlab": 1, "question": "?", "task": {"block_reorder": {"n_train": 4, "n_test": 4}}}
    spec |= {"model": {"aligner": {"steps": 0}}, "mechanism": {"similarity": "dot"}, "seeds": 1}
    frame = attnlab.sweep(spec, executor="serial", store=tmp_path / "s.db", quiet=True)
    stored = attnlab.load_run(frame["run_id"][0], tmp_path / "s.db")
    other = {**stored.arrays, "test.test.gold": stored.arrays["test.test.gold"][::-1]}
    with pytest.warns(UserWarning, match="has changed since, so its tokens are left out"):
        found = kept_example(dataclasses.replace(stored, arrays=other))
    assert found.source is None


def test_the_index_has_every_question_claim_verdict_and_picture(swept, attnlab_command, tmp_path):
    pytest.importorskip("matplotlib")
    command = ["index", "experiments/hubs.yaml", "experiments/silent.yaml", "-o", "experiments/README.md"]
    status, _, err = attnlab_command(*command)
    assert status == 0
    assert "hubs: refuted, and no `why:` says why: dot is better by far" in err
    assert "silent makes no claim" in err
    page = (tmp_path / "experiments" / "README.md").read_text()
    picture = (tmp_path / "experiments" / "pictures" / "hubs.svg").read_text()
    assert "| [hubs](#hubs) | Do long keys \\| mislead the dot product? | 1 | 2 | 1 |" in page
    assert "Henry et al. 2020. [hubs.yaml](hubs.yaml)" in page
    assert "- Refuted: dot is better. It prefers long keys" in page
    assert "- Undecided: nothing is known (6 of 6 runs have no value" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| cosine is better |")]
    effect = pd.DataFrame(json.loads(attnlab_command("claims", "experiments/hubs.yaml", "--format", "json")[1]))[
        "effect"
    ]
    assert f"{effect[0]:.3f} [" in row
    assert row.endswith("| 3 | **supported** |")
    assert "![seeds, intervals and bounds](pictures/hubs.svg)" in page
    assert "refuted, n = 3" in picture
    assert attnlab_command(*command)[0] == 0
    assert (tmp_path / "experiments" / "README.md").read_text() == page
    assert (tmp_path / "experiments" / "pictures" / "hubs.svg").read_text() == picture


def test_a_page_of_somebody_else_is_not_overwritten(swept, attnlab_command, tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n")
    status, _, err = attnlab_command("index", "experiments/hubs.yaml", "-o", "README.md")
    assert status == 2
    assert "was not made by `attnlab index`" in err
    assert (tmp_path / "README.md").read_text() == "# Mine\n"


# -- what users wrote is text -----------------------------------------------------------------------------------------
HOSTILE = "- is <alpha and q> *it*, `b` | [c](d) $e$ __f__ &lt; https://doi.org/10.1/a_b_c?"


def shown_by(markdown_text):
    """The text that a browser shows of a line of Markdown, and its elements."""
    from html.parser import HTMLParser

    from markdown_it import MarkdownIt

    class Text(HTMLParser):
        def __init__(self):
            super().__init__()
            self.words, self.tags = [], []

        def handle_data(self, data):
            self.words.append(data)

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

    text = Text()
    text.feed(MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown_text))
    return "".join(text.words).strip(), set(text.tags)


@pytest.mark.parametrize(
    "text", [HOSTILE, "1. one", "+ two", "# three", "> four", "a\n\nb", "~~x~~", "<!-- no -->", "汤姆 *是*"]
)
def test_markdown_shows_what_was_written(text):
    from attnlab.analysis.presentation import markdown_text

    said, tags = shown_by(markdown_text(text))
    assert said == " ".join(text.split())
    assert tags == {"p"}


def test_the_index_shows_questions_and_claims_as_they_were_written(swept, attnlab_command, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "experiments" / "hubs.yaml"
    text = file.read_text("utf-8").replace("Do long keys | mislead the dot product?", json.dumps(HOSTILE))
    text = text.replace("say: dot is better,", f"say: {json.dumps(HOSTILE)},").replace("why: It prefers long keys.", f"why: {json.dumps(HOSTILE)}")  # fmt: skip
    file.write_text(text, "utf-8")
    assert attnlab_command("index", "experiments/hubs.yaml", "-o", "experiments/README.md")[0] == 0
    page = (tmp_path / "experiments" / "README.md").read_text("utf-8")
    said, tags = shown_by(page)
    assert said.count("is <alpha and q> *it*, `b` | [c](d) $e$ __f__ &lt; https://doi.org/10.1/a_b_c") >= 3
    assert "<alpha" not in page
    assert tags <= {
        "p",
        "h1",
        "h2",
        "strong",
        "em",
        "a",
        "ul",
        "li",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
