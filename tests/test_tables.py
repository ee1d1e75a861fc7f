"""Tables for people: captions on one line, and only the columns that tell rows apart."""

import pandas as pd
import pytest

from attnlab.tables import print_frame, print_table


def test_a_caption_is_one_line_after_the_table(capsys):
    caption = "alignment_accuracy, higher is better; mean and 95 % t interval over seeds [0, 1]"
    print_table(pd.DataFrame({"a": [1], "b": [2]}), caption)
    assert capsys.readouterr().out.splitlines() == ["a  b", "1  2", caption]


@pytest.mark.parametrize("rows", [1, 2])
def test_columns_that_are_the_same_in_every_row_are_left_out_of_the_table_and_counted(capsys, rows):
    frame = pd.DataFrame(
        {
            "experiment": ["one"] * 2,
            "run_id": ["a1", "b2"],
            "task.n_keys": [8, 8],
            "model.depth": [None, None],
            "similarity": ["dot", "cosine"],
            "aer": [0.5, 0.5],
            "status": ["ok", "ok"],
            "backend": ["numpy", "numpy"],
        }
    )[:rows]
    print_frame(frame, "table")
    said = capsys.readouterr()
    kept = ["experiment", "run_id", "similarity", "aer", "status"] if rows == 2 else list(frame.columns)
    assert said.out.splitlines()[0].split() == kept
    assert said.err.startswith("attnlab: 3 columns are the same in every row") is (rows == 2)
    print_frame(frame, "csv")
    assert capsys.readouterr().out.splitlines()[0] == ",".join(frame.columns)
