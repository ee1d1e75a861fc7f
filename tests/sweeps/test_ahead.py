"""Tables that are computed while the next experiment is at work are those that are computed afterwards."""

import sys
import threading

import pandas as pd
import pytest
from commands import attnlab_command

import attnlab
from attnlab.commands.ahead import Ahead, made
from attnlab.sweeps.experiment.read import read

EXPERIMENT = {
    "attnlab": 1,
    "question": "Which is it?",
    "task": {"lookup": {"n_keys": 4, "d": 4, "n_train": 16, "n_validation": 4, "n_test": 8}},
    "mechanism": {"similarity": ["dot", "cosine"]},
    "model": {"aligner": {"projection": 4, "steps": 3}},
    "seeds": 3,
    "metrics": ["alignment_accuracy"],
    "claims": [{"say": "it finds some", "metric": "alignment_accuracy", "at_least": 0.1}],
}


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
def test_what_is_made_ahead_is_what_is_made_later(tmp_path):
    store = str(tmp_path / "s.db")
    experiments = [read({**EXPERIMENT, "name": name}) for name in ("one", "two")]
    with Ahead(store, None) as ahead:
        frame = attnlab.sweep(*experiments, store=store, quiet=True, finished=ahead.finished)
        assert threading.active_count() > 1
    assert set(ahead._made) == {"one", "two"}
    for experiment in experiments:
        rows = frame[frame["experiment"] == experiment.name]
        found, later = ahead.of(experiment, rows), made(experiment, store, rows.copy())
        assert found is ahead._made[experiment.name]
        pd.testing.assert_frame_equal(found.summary, later.summary)
        pd.testing.assert_frame_equal(found.claims, later.claims)
        assert found.report == later.report


def test_rows_that_were_left_out_are_not_summarised(tmp_path):
    store = str(tmp_path / "s.db")
    experiment = read({**EXPERIMENT, "name": "one"})
    with Ahead(store, None) as ahead:
        frame = attnlab.sweep(experiment, store=store, quiet=True, finished=ahead.finished)
    few = frame[frame["similarity"] == "dot"].copy()
    assert ahead.of(experiment, few).summary["n"].tolist() == [3]


def test_one_that_cannot_be_made_ahead_is_made_when_it_is_printed(tmp_path):
    experiment = read({**EXPERIMENT, "name": "one"})
    with Ahead(str(tmp_path / "none.db"), None) as ahead:
        ahead.finished(experiment)
    assert ahead._made == {}
    with pytest.raises(attnlab.StoreError):
        ahead.of(experiment, pd.DataFrame())


@pytest.mark.parametrize("executor", ["serial", "dask"])
def test_where_runs_share_the_process_nothing_is_made_beside(tmp_path, executor):
    with Ahead(str(tmp_path / "s.db"), executor) as ahead:
        ahead.finished(read({**EXPERIMENT, "name": "one"}))
        assert ahead._thread is None


def test_parts_of_others_are_not_touched_by_the_thread(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import threading\nfrom attnlab import Similarity, hookimpl\n\n"
        "class Mine(Similarity):\n    '''Mine.'''\n    name = 'mine'\n\n    def score(self, Q, K):\n"
        "        assert threading.current_thread() is threading.main_thread()\n        return Q @ K.mT\n\n"
        "@hookimpl\ndef attnlab_similarities():\n    return [Mine]\n"
    )
    (tmp_path / "e.yaml").write_text(
        "attnlab: 1\nquestion: Is it?\ntask: {lookup: {n_keys: 4, n_train: 8, n_validation: 4, n_test: 4}}\n"
        "mechanism: {similarity: [mine]}\nmodel: {aligner: {steps: 2}}\nseeds: 2\nmetrics: [alignment_accuracy]\n"
    )
    done = attnlab_command("sweep", "e.yaml", "--plugin", "mine.py", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
