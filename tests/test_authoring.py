"""`attnlab new` starts plugins that work; `attnlab cite` names the sources."""

import subprocess
import sys

import numpy as np
import pytest

from attnlab.commands.authoring import references, template
from attnlab.kinds import HOOKS
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
    made = subprocess.run(
        [sys.executable, "-m", "attnlab", "new", kind, "my_own"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "attnlab-my-own"
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=folder, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    again = subprocess.run(
        [sys.executable, "-m", "attnlab", "new", kind, "my_own"], cwd=tmp_path, capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr


@pytest.mark.parametrize(
    ("args", "said"), [(["similarty", "x"], "did you mean similarity"), (["similarity", "My-Own"], "small letters")]
)
def test_what_new_refuses(tmp_path, args, said):
    made = subprocess.run([sys.executable, "-m", "attnlab", "new", *args], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 2
    assert said in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_sources_of_an_experiment():
    experiment = read(
        {"attnlab": 1, "question": "?", "task": "lookup", "mechanism": {"similarity": ["additive", "dot"]}}
    )
    found = references(experiment)
    (bahdanau,) = [source for source in found if "Jointly Learning to Align" in source]
    assert "similarity additive" in found[bahdanau]
