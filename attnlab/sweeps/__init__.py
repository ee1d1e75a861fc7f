"""The flow of a sweep, one arrow a file: read it in `pipeline.py`."""
