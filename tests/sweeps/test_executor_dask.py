"""Runs on a real dask cluster of local processes; skipped where distributed is not installed."""

from pathlib import Path

import pytest

import attnlab

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

FAULTY = Path(__file__).parent / "faulty.py"


@pytest.fixture
def faulty():
    from attnlab.plugins import configure

    configure(files=[str(FAULTY)])
    yield
    configure()


def experiment(similarities, seeds=2):
    return {
        "attnlab": 1,
        "question": "Does a cluster give the same numbers?",
        "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
        "mechanism": {"similarity": similarities},
        "model": {"aligner": {"projection": 4, "steps": 3}},
        "seeds": seeds,
    }


def test_same_numbers_and_one_death_costs_one_run(tmp_path, faulty):
    asked = experiment(["dot", "exits", "raises", "cosine"])
    frame = attnlab.sweep(asked, executor="dask", jobs=1, store=tmp_path / "d.db", quiet=True)
    assert frame.groupby("similarity")["status"].unique().map(list).to_dict() == {
        "dot": ["ok"],
        "cosine": ["ok"],
        "raises": ["failed"],
        "exits": ["crashed"],
    }
    serial = attnlab.sweep(experiment(["dot", "cosine"]), executor="serial", store=tmp_path / "s.db", quiet=True)
    metrics = ["alignment_accuracy", "gold_mass", "context_error"]
    ours = frame[frame["status"] == "ok"].sort_values("run_id")[metrics].to_numpy()
    assert (ours == serial.sort_values("run_id")[metrics].to_numpy()).all()
