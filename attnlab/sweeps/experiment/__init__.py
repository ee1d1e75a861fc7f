"""An experiment, read: text -> Experiment, every mistake at its line. `read.py` is where to start."""
