"""Metrics: how good an alignment is, what its weights look like, what it predicts, and what it costs."""
