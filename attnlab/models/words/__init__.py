"""Words aligned in parallel text, without gold alignments. `estimator.py` is where to start."""
