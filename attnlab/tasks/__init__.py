"""Tasks: what there is to align, one family a file."""
