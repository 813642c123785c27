"""Timing and agreement with other libraries; `python -m benchmarks.NAME --help`."""
