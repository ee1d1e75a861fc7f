"""What `attnlab plan` says after an edit: real files in a copy of the package, real processes.

Each row is an edit and what becomes of six runs: `dot`, `cosine`, `additive` and `far` (of a package of another distribution,
in two modules) in an aligner, `seq2seq`, and `file`, which reads one.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rounds import quick

import attnlab

FAR = '''
"""A similarity in a package of two modules."""
from attnlab import Similarity, hookimpl

from far.maths import product


class Far(Similarity):
    """The dot product, from elsewhere."""

    name = "far"

    def score(self, Q, K):
        return product(Q, K)


@hookimpl
def attnlab_similarities():
    return [Far]
'''
MATHS = "def product(Q, K):\n    return 2 * (Q @ K.swapaxes(-1, -2))\n"
SMALL = "lookup: {n_keys: 4, d: 4, n_train: 8, n_validation: 4, n_test: 8}"
EXPERIMENTS = {
    "aligner": f"task: {{{SMALL}}}\nmechanism: {{similarity: [dot, cosine, additive, far]}}\nmodel: {{aligner: {{steps: 1}}}}",
    "seq2seq": "task: {copy: {n_train: 8, n_validation: 4, n_test: 4}}\nmechanism: {similarity: additive}\n"
    "model: {seq2seq: {steps: 1, embedding_dim: 4, hidden_dim: 4}}",
    "file": "task: {arrays: {path: mine.npz}}\nmodel: {aligner: {steps: 1}}",
}
ALL = {"dot", "cosine", "additive", "far", "seq2seq", "file"}


class Lab:
    """A copy of attnlab, another distribution beside it, and three experiments that were swept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        here = Path(attnlab.__file__).parent
        shutil.copytree(here, folder / "attnlab", ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in {"far/__init__.py": FAR, "far/maths.py": MATHS}.items():
            self.write(name, text)
        self.write("far-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: far\nVersion: 1.0\n")
        self.write("far-1.0.dist-info/entry_points.txt", "[attnlab]\nfar = far\n")
        self.npz(0)
        for name, text in EXPERIMENTS.items():
            self.write(f"{name}.yaml", f"attnlab: 1\nquestion: q\nname: {name}\n{text}\nseeds: 1\n")
        self.call("sweep", "-q", "--executor", "serial")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def npz(self, shift: float) -> None:
        K = np.random.default_rng(0).normal(size=(20, 3, 4)) + shift
        np.savez(self.folder / "mine.npz", Q=K[:, :1], K=K, V=K, target=K[:, :1])

    def call(self, command: str, *options: str) -> str:
        files = [f"{name}.yaml" for name in EXPERIMENTS]
        done = subprocess.run(
            [sys.executable, "-m", "attnlab", command, *files, *options, "--store", "s.db"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "ATTNLAB_PLUGINS": "far"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        self.said = done.stderr
        return done.stdout

    def plan(self, *options: str) -> dict[str, str]:
        """Run -> the reason that `plan` gives."""
        rows = csv.DictReader(io.StringIO(self.call("plan", "--format", "csv", *options)))
        return {
            row["similarity"] if row["experiment"] == "aligner" else row["experiment"]: row["reason"] for row in rows
        }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def edit(lab: Lab) -> Iterator[object]:
    """Edit a file of the lab; it is as before after the test."""
    before: dict[Path, bytes] = {}

    def change(name: str, old: str, new: str) -> None:
        path = lab.folder / name
        before.setdefault(path, path.read_bytes())
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r} to edit: choose another line"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    yield change
    for path, content in before.items():
        path.write_bytes(content)


ENGINE = "attnlab/mechanisms/bound.py"
if not (Path(attnlab.__file__).parents[1] / ENGINE).is_file():
    ENGINE = "attnlab/mechanisms/engine.py"
FUTURE = "from __future__ import annotations\n"

# an edit: file, old text, new text, the runs that are stale, and a word of their reason
EDITS = {
    "_unit, the maths of cosine": (
        ("attnlab/parts/similarities.py", "return X / xp.sqrt(xp.where(top", "return 2 * X / xp.sqrt(xp.where(top"),
        {"cosine"},
        "attnlab changed behind similarity cosine",
    ),
    "a default of cosine's neighbour": (
        ("attnlab/parts/similarities.py", "hidden: Annotated[int, Gt(0)] = 32", "hidden: Annotated[int, Gt(0)] = 33"),
        {"additive", "seq2seq"},
        "similarity additive",
    ),
    "Adam.step": (
        ("attnlab/models/training.py", "away += self.epsilon", "away += 2 * self.epsilon"),
        ALL,
        "model",
    ),
    "the body of softmax": (
        (
            "attnlab/gradients.py",
            "return e / np.sum(e, axis=axis, keepdims=True)",
            "return 2 * e / np.sum(e, axis=axis)",
        ),
        ALL,
        "normaliser softmax",
    ),
    "the engine": ((ENGINE, FUTURE, f"{FUTURE}EDITED = 1\n"), ALL, "mechanism single_head"),
    "a kernel": (
        ("attnlab/kernels/gru.py", FUTURE, f"{FUTURE}EDITED = 1\n"),
        {"seq2seq"},
        "model seq2seq",
    ),
    "what fits and measures": (
        ("attnlab/sweeps/execute.py", "best is None or score > best[0]", "best is None or score >= best[0]"),
        ALL,
        "execution",
    ),
    "a metric that is shown": (
        ("attnlab/metrics/links.py", FUTURE, f"{FUTURE}EDITED = 1\n"),
        ALL - {"file"},  # which has no gold
        "metric alignment_accuracy",
    ),
    "a second module of another distribution": (
        ("far/maths.py", "2 * (Q", "3 * (Q"),
        {"far"},
        "stale: similarity far changed",
    ),
    "a default": (
        ("attnlab/tasks/recall.py", "noise: Noise = 0.3", "noise: Noise = 0.4"),
        {"dot", "cosine", "additive", "far"},
        "task lookup",
    ),
    "a comment": (("attnlab/gradients.py", FUTURE, f"# a word\n{FUTURE}"), set(), ""),
    "a docstring": (
        ("attnlab/parts/similarities.py", '"""Vectors of length one;', '"""Unit vectors;'),
        set(),
        "",
    ),
    "tables.py": (("attnlab/tables.py", FUTURE, f"{FUTURE}EDITED = 1\n"), set(), ""),
}


def test_nothing_is_stale_before_an_edit(lab: Lab) -> None:
    assert lab.plan() == dict.fromkeys(ALL, "done")


QUICK = {"_unit, the maths of cosine", "a kernel", "a metric that is shown", "a comment"}  # of the others, with long


@pytest.mark.parametrize("name", quick(EDITS, QUICK.__contains__))
def test_an_edit_makes_stale_what_it_can_change_and_nothing_else(lab: Lab, edit, name: str) -> None:
    change, stale, word = EDITS[name]
    edit(*change)
    found = lab.plan()
    assert {run for run, reason in found.items() if reason != "done"} == stale
    assert all(word in found[run] for run in stale), found
    assert f"{len(stale)} to run" in lab.said
    own = {run for run in stale if "stale-own" in found[run]}
    assert own in (set(), stale)
    assert (f"{len(own)} stale by attnlab's own code (stale-own): they took" in lab.said) == bool(own)


def test_what_attnlab_made_stale_can_be_left(lab: Lab, edit) -> None:
    edit(*EDITS["_unit, the maths of cosine"][0])
    edit(*EDITS["a second module of another distribution"][0])
    lab.plan("--rerun", "missing,failed,stale")
    assert "1 to run, 5 to keep" in lab.said
    lab.plan("--rerun", "stale-own")
    assert "1 to run, 5 to keep" in lab.said


def test_another_content_of_a_file_is_another_run(lab: Lab) -> None:
    lab.npz(1)
    assert {run for run, reason in lab.plan().items() if reason == "missing"} == {"file"}
    lab.npz(0)
    assert lab.plan()["file"] == "done", "the former content is the former run"


def test_a_release_can_say_that_its_edits_change_no_number(lab: Lab, edit) -> None:
    before = own_hashes(lab)
    edit("attnlab/parts/similarities.py", "return X / xp.sqrt(xp.where(top", "return 1 * X / xp.sqrt(xp.where(top")
    assert lab.plan()["cosine"] != "done"
    pair = [before["cosine"], own_hashes(lab)["cosine"]]
    assert pair[0] != pair[1]
    edit("attnlab/sweeps/equal_fingerprints.json", "{}", f'{{"cosine": [["{pair[0]}", "{pair[1]}"]]}}')
    assert lab.plan() == dict.fromkeys(ALL, "done")


def own_hashes(lab: Lab) -> dict[str, str]:
    code = (
        "from attnlab.registry import entry; from attnlab.sweeps.fingerprint import fingerprint\n"
        "print(fingerprint(entry('similarity', 'cosine').cls).split('/')[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=lab.folder,
        env={**os.environ, "PYTHONPATH": str(lab.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {"cosine": done.stdout.strip()}
