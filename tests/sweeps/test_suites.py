"""Suites: directories of experiments, each with a citation, from attnlab, from plugins, or by their path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import attnlab
from attnlab.cli import cli
from attnlab.plugins import configure, plugins
from attnlab.sweeps.pipeline import distinct
from attnlab.sweeps.suites import suites

ROOT = Path(attnlab.__file__).parent
PLUGIN = """
from pathlib import Path
from attnlab import hookimpl

@hookimpl
def attnlab_suites():
    return [Path(__file__).parent / "suites" / "mine"]
"""
EXPERIMENT = """attnlab: 1
question: Which similarity?
{source}
task: {{norm_hubs: {{n_train: 1, n_validation: 1, n_test: 8}}}}
mechanism: {{similarity: [dot, cosine]}}
model: {{aligner: {{steps: 0}}}}
seeds: 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "suites" / "mine"
    folder.mkdir(parents=True)
    (folder / "hubs.yaml").write_text(EXPERIMENT.format(source="source: Henry et al. 2020"))
    (tmp_path / "bringing.py").write_text(PLUGIN)
    yield folder
    configure()


def run(*arguments):
    return CliRunner().invoke(cli, list(arguments), standalone_mode=False)


def test_attnlabs_own_are_those_of_its_experiments():
    """The package holds copies, so that they are installed with it."""
    own = suites()
    assert "max-retrieval" in own
    for suite in own.values():
        assert suite.plugin == "attnlab"
        for file in suite.files:
            (twin,) = (ROOT.parent / "experiments").rglob(file.name)
            assert file.read_text() == twin.read_text()
    named = [experiment.name for experiment in distinct(["suite:max-retrieval"])]
    assert (
        named
        == [experiment.name for experiment in distinct(["suite:max_retrieval"])]
        == ["dispersion", "max_retrieval"]
    )


def test_a_plugin_brings_one(mine):
    listed = json.loads(run("list", "suite", "--plugin", "bringing.py", "--format", "json").stdout)
    (row,) = (row for row in listed if row["suite"] == "mine")
    assert (row["experiment"], row["citation"]) == ("hubs", "Henry et al. 2020")
    assert {"max-retrieval"} < {row["suite"] for row in listed}
    assert all(row["citation"] for row in listed)
    swept = run("sweep", "suite:mine", "--plugin", "bringing.py", "-q", "--executor", "serial")
    assert swept.return_value == 0, swept.exception
    assert "hubs: Which similarity?" in swept.stdout
    for command in (
        ["claims", "suite:mine"],
        ["referee", "suite:mine"],
        ["plan", "suite:mine"],
        ["preregister", "suite:mine"],
    ):
        assert run(*command, "--plugin", "bringing.py").exception is None
    assert len(attnlab.sweep("suite:mine", rerun="none", quiet=True, executor="serial")) == 6


def test_a_directory_by_its_path(mine):
    assert [one.name for one in distinct(["suite:suites/mine"])] == ["hubs"]


def test_what_is_no_suite(mine):
    with pytest.raises(attnlab.UnknownName, match=r"no suite 'max-retrievel' .did you mean max-retrieval"):
        distinct(["suite:max-retrievel"])
    (mine / "bare.yaml").write_text(EXPERIMENT.format(source=""))
    with pytest.raises(attnlab.SettingError, match=r"bare.yaml: .* needs a citation: add `source:"):
        distinct(["suite:suites/mine"])
    (mine.parent / "empty").mkdir()
    with pytest.raises(attnlab.SettingError, match="no experiment"):
        distinct(["suite:suites/empty"])
    (mine.parent / "max-retrieval").mkdir()
    Path("bringing.py").write_text(PLUGIN.replace('"mine"', '"max-retrieval"'))
    configure(files=["bringing.py"])
    with pytest.raises(attnlab.SettingError, match="two suites are called 'max-retrieval'"):
        suites()
    Path("bringing.py").write_text(PLUGIN.replace('"mine"', '"gone"'))
    configure(files=["bringing.py"])
    assert "gone" not in suites()
    assert "is no directory" in plugins().records[-1].reason
