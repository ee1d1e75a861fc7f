"""Plugins that were written for version 0.1 run unchanged. The files in `frozen/` are what `attnlab new` of 0.1 wrote; nobody edits them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import attnlab
from attnlab.loading import given_by
from attnlab.plugins import configure, plugins
from attnlab.sweeps.pipeline import sweep
from attnlab.testing import check_component

FILES = sorted(Path(__file__).with_name("frozen").glob("attnlab_frozen_*.py"))
AS_WRITTEN = "c456e5104c0d15ee74a2973f3df501c1b840feacc89e8a4a00dc79f3c2e05aa2"
KINDS = (
    "aggregator",
    "encoder",
    "executor",
    "mask",
    "mechanism",
    "metric",
    "model",
    "normaliser",
    "position",
    "similarity",
    "task",
)
BEFORE = "kernel"  # the interface of kernels changed in 0.4: the page on what is stable says so


@pytest.fixture(scope="module")  # each file is tried in a process first
def frozen():
    configure((), [str(path) for path in FILES])
    yield {record.name: record for record in plugins().records}
    configure((), [])


def test_the_files_are_as_they_were_written():
    whole = hashlib.sha256()
    for path in FILES:
        whole.update(path.name.encode() + path.read_bytes())
    assert whole.hexdigest() == AS_WRITTEN


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_of_each_kind_keeps_the_contract(frozen, kind):
    record = frozen[f"attnlab_frozen_{kind}"]
    assert record.status == "ok", record.reason
    (cls,) = given_by(record).classes
    assert (cls.kind, cls.name) == (kind, f"frozen_{kind}")
    report = check_component(cls)
    assert not report.codes("failed"), str(report)


def test_what_changed_is_refused_with_what_to_do(frozen):
    record = frozen[f"attnlab_frozen_{BEFORE}"]
    given_by(record)
    assert record.status == "broken"
    assert "a kernel has no settings; those of the part are on `part`, its first argument" in record.reason


def test_they_work_together_in_a_sweep_and_are_told_of_it(frozen, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLAB_NOTIFY", str(tmp_path / "told.jsonl"))
    parts = {kind: f"frozen_{kind}" for kind in ("normaliser", "aggregator", "position", "mask")}
    found = sweep(
        {
            "attnlab": 1,
            "name": "frozen",
            "question": "Do they still run?",
            "task": "frozen_task",
            "mechanism": [
                {"similarity": ["frozen_similarity", {"laplace": {"scale": 2.0}}, "gaussian"], **parts},
                "frozen_mechanism",
            ],
            "model": [{"aligner": {"steps": 2, "projection": 2}}, "frozen_model"],
            "seeds": 1,
            "metrics": ["frozen_metric", "gold_mass"],
        },
        executor="frozen_executor",
        store=tmp_path / "s.db",
        quiet=True,
    )
    assert list(found["status"]) == ["ok"] * 8, found[["status", "reason"]].to_string()
    measured = [column for column in found if column.endswith("frozen_metric")]
    assert found[measured].notna().all(axis=None)
    told = [json.loads(line)["event"] for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert told == ["sweep_started", *["run_finished"] * 8, "sweep_finished"]


def test_what_the_first_page_of_0_1_said_of_a_plugin_holds(frozen):
    similarity = attnlab.get("similarity", "laplace", scale=2.0)
    assert similarity.get_params() == {"scale": 2.0}
    with pytest.raises(attnlab.SettingError):
        attnlab.get("similarity", "laplace", scale=-1.0)
