"""Sweeps tell of themselves, line by line; the plugin is the installed one, or else the file beside these tests."""

import importlib.util
import json
from pathlib import Path

import pytest

import attnlab
from attnlab.plugins import configure, plugins

FOUND = importlib.util.find_spec("attnlab_notify") or importlib.util.spec_from_file_location(
    "attnlab_notify", Path(__file__).parents[1] / "attnlab_notify.py"
)
plugin = importlib.util.module_from_spec(FOUND)
FOUND.loader.exec_module(plugin)

EXPERIMENT = {
    "attnlab": 1,
    "name": "told",
    "question": "Is every run told of?",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 8, "n_validation": 4, "n_test": 4}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"steps": 0}},
    "seeds": 2,
}


@pytest.fixture
def listening(monkeypatch, tmp_path):
    """attnlab with this plugin, and the file that it is to write."""
    monkeypatch.setenv(plugin.VARIABLE, str(tmp_path / "runs.jsonl"))
    if not any(record.name == "notify" for record in plugins().records):
        configure(files=[plugin.__file__])
        yield tmp_path / "runs.jsonl"
        configure()
    else:
        yield tmp_path / "runs.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_run_has_its_line(listening, tmp_path):
    frame = attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path / "a.db", quiet=True)
    first, *told, last = lines(listening)
    assert (first["event"], first["experiment"], first["runs"]) == ("sweep_started", "told", 4)
    accuracies = frame.set_index("run_id")["alignment_accuracy"]
    assert sorted(line["run_id"] for line in told) == sorted(accuracies.index)
    for line in told:
        assert (line["event"], line["status"]) == ("run_finished", "ok")
        assert line["metrics"]["test"]["alignment_accuracy"] == accuracies[line["run_id"]]
    assert (last["event"], last["statuses"]) == ("sweep_finished", {"ok": 4})


def test_a_second_sweep_is_appended(listening, tmp_path):
    attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path / "a.db", quiet=True, limit=1)
    attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path / "a.db", quiet=True)
    assert [line["event"] for line in lines(listening)].count("run_finished") == 4
    assert [line.get("runs") for line in lines(listening) if line["event"] == "sweep_started"] == [1, 3]


def test_what_json_has_no_word_for_is_null(listening):
    from attnlab.sweeps.run import Result, Run

    parts = {"task": {"t": {}}, "mechanism": {"m": {}}, "model": {"a": {}}, "seed": 0}
    metrics = {"test": {"a": float("nan"), "b": float("inf"), "c": 0.5}}
    plugin.attnlab_run_finished(Run.of(parts), Result("failed", reason='line\n"two"', metrics=metrics))
    (line,) = lines(listening)
    assert line["metrics"] == {"test": {"a": None, "b": None, "c": 0.5}}
    assert line["reason"] == 'line\n"two"'


def test_a_file_that_cannot_be_written_does_not_stop_a_sweep(listening, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(plugin.VARIABLE, str(tmp_path))
    frame = attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path / "a.db", quiet=True)
    assert set(frame["status"]) == {"ok"}
    assert "IsADirectoryError" in capsys.readouterr().err


def test_without_the_variable_nothing_is_written(listening, tmp_path, monkeypatch):
    monkeypatch.delenv(plugin.VARIABLE)
    attnlab.sweep(EXPERIMENT, executor="serial", store=tmp_path / "a.db", quiet=True)
    assert not listening.exists()
