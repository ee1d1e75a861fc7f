"""Sequence to sequence: the encoder-decoder of the study notes. `estimator.py` is where to start."""
