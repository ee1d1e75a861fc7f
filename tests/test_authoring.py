"""`attnlab new` starts plugins that work; `attnlab cite` names the sources."""

import re
import subprocess
import sys
import types

import numpy as np
import pytest
from commands import attnlab_command

import attnlab
import attnlab.interfaces
from attnlab.cli import _status
from attnlab.commands.authoring import bibtex, references, template
from attnlab.kinds import HOOKS
from attnlab.plugins import configure
from attnlab.sweeps.experiment.read import read


@pytest.mark.parametrize("kind", HOOKS)
def test_every_template_can_be_imported(kind):
    files = template(kind, "my_own")
    given = {}
    for path, text in files.items():
        if path.endswith("/attnlab_my_own.py"):
            exec(compile(text, path, "exec"), given)
        elif path.endswith(".py"):
            compile(text, path, "exec")
    (cls,) = given[HOOKS[kind]]()
    assert (cls.kind, cls.name) == (kind, "my_own")


def test_the_kernel_of_the_template_gives_what_it_replaces():
    given = {}
    exec(template("kernel", "my_own")["attnlab-my-own/attnlab_my_own.py"], given)
    rng = np.random.default_rng(3)
    Q, K = rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 6, 5))
    part = given["MyOwn"].replaces()
    S, back = given["MyOwn"]().score(part, Q, K)
    np.testing.assert_allclose(S, part.score(Q, K), atol=1e-12)
    assert {name: g.shape for name, g in back(S).items()} == {"Q": Q.shape, "K": K.shape}


@pytest.mark.parametrize("kind", ["similarity", "normaliser", "task", "kernel"])
def test_a_new_plugin_passes_its_own_test(tmp_path, kind):
    made = attnlab_command("new", kind, "my_own", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "attnlab-my-own"
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=folder, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    again = attnlab_command("new", kind, "my_own", cwd=tmp_path)
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr


@pytest.mark.parametrize(
    ("args", "said"), [(["similarty", "x"], "did you mean similarity"), (["similarity", "My-Own"], "small letters")]
)
def test_what_new_refuses(tmp_path, args, said):
    made = attnlab_command("new", *args, cwd=tmp_path)
    assert made.returncode == 2
    assert said in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_new_writes_documents_itself(tmp_path):
    """The class has every section that a check asks for, and so no warning but that of its source."""
    from attnlab.testing import check_component

    for kind in ("normaliser", "mechanism", "metric", "modifier"):
        files = template(kind, "my_own")
        given = {"__name__": "attnlab_my_own"}
        module = types.ModuleType("attnlab_my_own")
        sys.modules["attnlab_my_own"] = module
        try:
            exec(compile(files["attnlab-my-own/attnlab_my_own.py"], "x.py", "exec"), module.__dict__)
            (cls,) = getattr(module, HOOKS[kind])()
            report = check_component(cls, only=["C002", "C003", "C006"])
        finally:
            del sys.modules["attnlab_my_own"]
        assert report.codes("passed") == ["C002", "C006"], str(report)
        readme = files["attnlab-my-own/README.md"]
        assert readme.startswith(f"# attnlab-my-own\n\nThe {kind} `my_own` for attnlab: {cls.summary()}")
        assert "attnlab check my_own" in readme
        assert "def test_my_own():" in files["attnlab-my-own/test_attnlab_my_own.py"]
        assert given


SOURCES = [
    attnlab.interfaces.Source("One & Two", "Luong, Pham, Manning", 2015, "EMNLP, equation 7"),
    attnlab.interfaces.Source("One & Two", "Luong, Pham, Manning", 2015, "EMNLP, equation 8"),
    attnlab.interfaces.Source("Another", "Luong", 2015),
    attnlab.interfaces.Source("All_You Need", "Vaswani et al.", 2017, "NeurIPS"),
    attnlab.interfaces.Source("Ours", "The attnlab developers", 2026),
    attnlab.interfaces.Source("Über", "J. Demšar and B. Müller", 2006),
]


def test_bibtex():
    text = bibtex(SOURCES)
    assert re.findall(r"^@misc\{(\w+),$", text, re.MULTILINE) == [
        "luong2015",
        "luong2015b",
        "vaswani2017",
        "attnlab2026",
        "demsar2006",
    ]
    assert "author = {Luong and Pham and Manning}" in text
    assert "title = {{One \\& Two}}" in text
    assert "howpublished = {EMNLP, equation 7}" in text
    assert "author = {Vaswani and others}" in text
    assert "title = {{All\\_You Need}}" in text
    assert "author = {{The attnlab developers}}" in text
    assert "author = {J. Demšar and B. Müller}" in text
    bare = re.sub(r"\\[&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")


def test_cite_names_what_has_no_source(tmp_path, capsys):
    (tmp_path / "my.py").write_text(
        "from attnlab import Similarity, hookimpl\n\n\nclass Mine(Similarity):\n    name = 'mine'\n\n"
        "    def score(self, Q, K):\n        return Q @ K.mT\n\n\n"
        "@hookimpl\ndef attnlab_similarities():\n    return [Mine]\n"
    )
    (tmp_path / "x.yaml").write_text(
        "attnlab: 1\nquestion: '?'\ntask: lookup\nmechanism: {similarity: [mine, additive]}\nmetrics: weight_entropy\n"
    )
    command = ["cite", str(tmp_path / "x.yaml"), "--plugin", str(tmp_path / "my.py"), "--format"]
    try:
        for form, begins in (("text", "A. Graves"), ("bibtex", "@misc{")):
            assert _status([*command, form]) == 0
            said = capsys.readouterr()
            assert said.out.startswith(begins)
            assert "Jointly Learning to Align" in said.out
            assert "Mathematical Theory of Communication" in said.out  # of a metric
            assert said.err == "attnlab: no source is given for similarity file:mine\n"
    finally:
        configure()


def test_sources_of_an_experiment():
    experiment = read(
        {"attnlab": 1, "question": "?", "task": "lookup", "mechanism": {"similarity": ["additive", "dot"]}}
    )
    found = references(experiment)
    (bahdanau,) = [source for source in found if "Jointly Learning to Align" in source]
    assert "similarity additive" in found[bahdanau]
