"""The parts of a mechanism: reference maths that reads like the papers, one kind a file."""
