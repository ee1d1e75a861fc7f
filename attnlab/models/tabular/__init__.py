"""Attention over the rows of a table. `estimator.py` is where to start."""
