"""A sweep reads each row of its store once, and again when somebody changed it."""

import sqlite3

from attnlab.sweeps.reading import Reading
from attnlab.sweeps.run import DAMAGED, Result, Run
from attnlab.sweeps.store import Store

RUNS = [Run.of({"seed": seed}) for seed in range(4)]


def result_of(value: float) -> Result:
    return Result("ok", metrics={"test": {"m": value}})


def test_a_row_is_read_once_and_again_when_it_changed(tmp_path):
    with Store(tmp_path / "s.db") as opened, Store(tmp_path / "s.db") as another:
        for run in RUNS[:3]:
            opened.append(run, result_of(1.0), {"similarity": "f00d"})
        reading = Reading(opened)
        known, marks = reading.known(RUNS)
        assert list(known) == [run.run_id for run in RUNS[:3]]
        assert known == opened.known(known)
        assert marks == opened.leases.row_marks([run.run_id for run in RUNS])
        first = reading.results(RUNS)
        assert first == opened.results(known)
        another.append(RUNS[1], result_of(2.0), {"similarity": "f00d"})
        another.append(RUNS[3], result_of(3.0), {"similarity": "f00d"})
        second = reading.results(RUNS)
        assert [result.metrics["test"]["m"] for _, result in second] == [1.0, 2.0, 1.0, 3.0]
        assert [second[i][1] is first[i][1] for i in range(3)] == [True, False, True]
        assert reading.results(RUNS[:1])[0][1] is first[0][1]


def test_a_damaged_row_is_shown_as_planned_and_one_that_is_gone_not_at_all(tmp_path):
    with Store(tmp_path / "s.db") as opened:
        for run in RUNS:
            opened.append(run, result_of(1.0), {})
        with sqlite3.connect(tmp_path / "s.db") as other:
            other.execute("UPDATE runs SET numbers = '[2.0]' WHERE run_id = ?", (RUNS[0].run_id,))
        other.close()
        reading = Reading(opened)
        assert [known.status for known in reading.known(RUNS)[0].values()].count(DAMAGED) == 1
        with sqlite3.connect(tmp_path / "s.db") as other:
            other.execute("DELETE FROM runs WHERE run_id = ?", (RUNS[1].run_id,))
        other.close()
        found = reading.results(RUNS)
        assert [run for run, _ in found] == [RUNS[0], RUNS[2], RUNS[3]]
        assert [result.status for _, result in found] == [DAMAGED, "ok", "ok"]
