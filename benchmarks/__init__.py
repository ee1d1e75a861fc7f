"""How fast attnlab is, as ratios against its peers: `python -m benchmarks`."""
