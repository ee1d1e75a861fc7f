"""A row says what made it: the code that ran, what answered, the plugins, and the machine."""

from __future__ import annotations

import importlib.metadata
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

import attnlab
from attnlab.analysis.report import collect
from attnlab.plugins import configure, plugins
from attnlab.registry import INTERFACES, entries
from attnlab.sweeps.environment import commit_of, environment
from attnlab.sweeps.fingerprint import fingerprint
from attnlab.sweeps.pipeline import plan_with_reasons
from attnlab.sweeps.store import Store

TINY = {
    "attnlab": 1,
    "question": "q",
    "name": "tiny",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 8}},
    "mechanism": {"similarity": "mine"},
    "model": {"aligner": {"projection": 4, "steps": 1}},
    "seeds": 1,
}
PLUGIN = '''
from attnlab import Metric, Similarity, hookimpl


class Mine(Similarity):
    """The dot product, scaled."""

    name = "mine"

    def score(self, Q, K):
        return Q @ K.swapaxes(-1, -2) * {scale}


@hookimpl
def attnlab_similarities():
    return [Mine]
'''
METRIC = '''
from attnlab import Metric, hookimpl


class Third(Metric):
    """A third."""

    name = "third"

    def measure(self, W):
        return 1 / 3


@hookimpl
def attnlab_metrics():
    return [Third]
'''


@pytest.fixture(autouse=True)
def clean():
    yield
    configure()


def reasons(experiment: dict[str, object], store: Path) -> set[str]:
    ((_, decided),) = plan_with_reasons([experiment], store)
    return {p.reason for p in decided}


# -- the code that ran ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("executor", ["serial", "local"])
def test_numbers_have_the_fingerprint_of_the_code_that_made_them(tmp_path, executor):
    """The file is edited after it was imported: what runs is what it was."""
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(scale=1.0))
    configure(files=[str(path)])
    assert plugins().records[-1].status == "ok"
    path.write_text(PLUGIN.format(scale=9.0))
    attnlab.sweep(TINY, store=tmp_path / "s.db", executor=executor, quiet=True)
    assert reasons(TINY, tmp_path / "s.db") == {"done"}
    configure(files=[str(path)])  # as another process would read it
    assert reasons(TINY, tmp_path / "s.db") == {"stale: similarity mine changed"}
    path.write_text(PLUGIN.format(scale=1.0))
    configure(files=[str(path)])
    assert reasons(TINY, tmp_path / "s.db") == {"done"}


def test_a_module_that_a_worker_imports_late_counts_as_it_was_then(tmp_path, monkeypatch):
    """It is edited after the sweep has started and before a run imports it."""
    (tmp_path / "late_part.py").write_text("SCALE = 1.0\n")
    (tmp_path / "mine.py").write_text(
        PLUGIN.replace("def score(self, Q, K):", "def score(self, Q, K):\n        from late_part import SCALE\n")
        .replace("{scale}", "SCALE")
        .replace("hookimpl\n\n", "hookimpl\n\n\n@hookimpl\ndef attnlab_sweep_started(experiment, runs):\n"
                 "    import pathlib\n    pathlib.Path(__file__).with_name('late_part.py').write_text('SCALE = 2.0\\n')\n\n", 1)
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    configure(files=[str(tmp_path / "mine.py")])
    attnlab.sweep(TINY, store=tmp_path / "s.db", executor="local", quiet=True)
    configure(files=[str(tmp_path / "mine.py")])
    with Store(tmp_path / "s.db") as store:
        ((_, kept),) = store.known([attnlab.load_results(tmp_path / "s.db")["run_id"][0]]).items()
    (cls,) = (e.cls for e in entries("similarity")["mine"])
    import late_part  # noqa: F401  as the worker did: the text is read again, SCALE = 2.0

    assert kept.status == "ok"
    assert kept.fingerprints["similarity"] == f"mine:{fingerprint(cls, 'file')}"


def test_every_component_of_attnlab_has_a_fingerprint():
    for kind in INTERFACES:
        for found in entries(kind).values():
            for e in found:
                if e.distribution == "attnlab":
                    assert re.fullmatch(r"-/[0-9a-f]{16}", fingerprint(e.cls)), e.qualified


def test_fingerprints_listed_as_equal_are_those_of_now():
    """An entry whose last hash is not the code's is of no use any more: take it out, or add the new hash if no number changed."""
    listed = json.loads((files("attnlab") / "sweeps" / "equal_fingerprints.json").read_text("utf-8"))
    now = {
        (e.name, fingerprint(e.cls).split("/")[1])
        for kind in INTERFACES
        for found in entries(kind).values()
        for e in found
        if e.distribution == "attnlab"
    }
    for name, groups in listed.items():
        for hashes in groups:
            assert len(set(hashes)) == len(hashes) > 1, name
            assert all(re.fullmatch("[0-9a-f]{16}", one) for one in hashes), name
            assert name == "execute" or (name, hashes[-1]) in now, name


# -- what answered -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "answered"),
    [
        ({}, "fast"),
        ({"backend": "reference", "context": "fixed"}, "decoder=reference, encoder=fast"),
        ({"attend_with": "current_state"}, "fast"),
        ({"backend": "reference"}, "decoder=reference, encoder=fast, mechanism=reference"),
        ({"backend": "reference", "encoder": {"rnn": {"backend": "reference"}}}, "reference"),
        ({"encoder": "embedding", "context": "fixed"}, "fast"),
    ],
)
def test_each_role_says_what_answered(tmp_path, settings, answered):
    experiment = TINY | {
        "task": {"copy": {"n_train": 8, "n_validation": 4, "n_test": 4}},
        "mechanism": {"similarity": "additive"},
        "model": {"seq2seq": {"steps": 1, "embedding_dim": 4, "hidden_dim": 4, **settings}},
    }
    frame = attnlab.sweep(experiment, store=tmp_path / "s.db", executor="serial", quiet=True)
    assert frame["status"].tolist() == ["ok"]
    assert frame["backend"].tolist() == [answered]


# -- versions ------------------------------------------------------------------------------------------------------------
def test_the_plugin_of_a_metric_is_among_the_plugins(tmp_path):
    (tmp_path / "mine.py").write_text(METRIC)
    configure(files=[str(tmp_path / "mine.py")])
    shown = TINY | {"mechanism": {}, "metrics": ["third"]}
    frame = attnlab.sweep(shown, store=tmp_path / "s.db", executor="serial", quiet=True)
    assert frame["third"].tolist() == [1 / 3]
    assert frame["plugin_versions"].tolist() == ["file=mine.py"]


def test_a_run_that_was_killed_says_what_made_it_too(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN.format(scale="__import__('os')._exit(3)"))
    configure(files=[str(tmp_path / "mine.py")])
    frame = attnlab.sweep(TINY, store=tmp_path / "s.db", executor="local", quiet=True)
    assert frame["status"].tolist() == ["crashed"]
    assert frame["plugin_versions"].tolist() == ["file=mine.py"]
    assert reasons(TINY, tmp_path / "s.db") == {"failed: crashed"}


def test_the_environment_is_in_the_row_and_in_the_report(tmp_path):
    attnlab.sweep(TINY | {"mechanism": {}}, store=tmp_path / "s.db", executor="local", quiet=True)
    (run_id,) = attnlab.load_results(tmp_path / "s.db")["run_id"]
    versions = attnlab.load_run(run_id, tmp_path / "s.db").result.versions
    assert versions == environment()
    for library in ("numpy", "scipy", "autograd", "scikit-learn", "pandas"):
        assert versions[library] == importlib.metadata.version(library)
    assert versions["system"]
    assert versions["processor"]
    shown = dict(collect(tmp_path / "s.db").environment)
    assert {name: shown[name] for name in versions} == versions


@pytest.mark.parametrize("layout", ["loose", "packed", "detached", "worktree"])
def test_the_commit_of_a_checkout_is_read_without_git(tmp_path, layout):
    commit = "0123456789abcdef0123456789abcdef01234567"
    root, git = tmp_path / "checkout", tmp_path / "checkout" / ".git"
    git.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "attnlab"\n')
    (git / "HEAD").write_text(f"{commit}\n" if layout == "detached" else "ref: refs/heads/main\n")
    if layout == "packed":
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{commit} refs/heads/main\n")
    elif layout != "detached":
        (git / "refs" / "heads").mkdir(parents=True)
        (git / "refs" / "heads" / "main").write_text(f"{commit}\n")
    if layout == "worktree":
        (git / "worktrees" / "other").mkdir(parents=True)
        (git / "worktrees" / "other" / "HEAD").write_text("ref: refs/heads/main\n")
        (git / "worktrees" / "other" / "commondir").write_text("../..\n")
        root = tmp_path / "other"
        root.mkdir()
        (root / "pyproject.toml").write_text('[project]\nname = "attnlab"\n')
        (root / ".git").write_text(f"gitdir: {git / 'worktrees' / 'other'}\n")
    assert commit_of(root) == commit
    (root / "pyproject.toml").write_text('[project]\nname = "of somebody else"\n')
    assert commit_of(root) is None
    assert commit_of(tmp_path) is None
