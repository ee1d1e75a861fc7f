"""Where runs happen, and the only place that knows clocks, limits and crashes: `local.py` and `serial.py`."""
